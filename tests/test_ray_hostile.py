"""Folders of parts that somebody changed, runs that were stopped at a bad moment, two at once: nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_shell import Counting, Killed, RayShell

from pairmine.cli.main import main
from pairmine.files.sharded import PLAN, WorkFolder
from pairmine.files.sink import Sink

DERIVE = "derive title corpus.jsonl --engine ray --shard-rows 3"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    found.write("corpus.jsonl", documents("Title"))
    return found


def documents(title: str) -> list[dict[str, Any]]:
    return [{"id": f"d{at}", "title": f"{title} {at}", "text": f"What number {at} says."} for at in range(12)]


def parts(shell: RayShell) -> Path:
    """A folder of four parts with three queries each."""
    assert shell(f"{DERIVE} -o parts") == 0, shell.said
    return shell.folder / "parts"


def marked(folder: Path, **values: Any) -> None:
    """Change what the mark of a folder says."""
    mark = folder / ".pairmine.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | values))


def with_a_column(folder: Path) -> None:
    path = folder / "part-00002.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("note", pa.array(["n"] * table.num_rows)), path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "a mark that names a file elsewhere": lambda folder: marked(
        folder, files=["../corpus.jsonl", *(f"part-0000{at}.parquet" for at in (1, 2, 3))]
    ),
    "rows that are no numbers": lambda folder: marked(folder, rows=["a"] * 4),
    "rows that the parts do not have": lambda folder: marked(folder, rows=[3, 4, 2, 3]),
    "a lineage that is none": lambda folder: marked(folder, lineage={"a": 3}),
    "no mark that can be read": lambda folder: marked(folder, files={"a": 1}, rows=None),
    "a part with a column of its own": with_a_column,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_was_changed_is_read_as_the_local_engine_reads_it(shell: RayShell, change: str) -> None:
    CHANGES[change](parts(shell))
    shell.same("score parts --scorer fake:", rows=5, rejects=False)


def test_queries_that_go_on_in_another_part_are_told_as_ever(shell: RayShell) -> None:
    folder = parts(shell)
    shutil.copy(folder / "part-00000.parquet", folder / "part-00003.parquet")
    said = []
    for engine in ("", "--engine ray"):
        assert shell(f"score parts --scorer fake: -o out.parquet {engine}") == 2
        said.append(shell.said)
    assert said[0] == said[1]
    assert 'rows of query "d0#q0" stand apart' in said[0]


def test_a_corpus_in_parts_has_each_id_once(shell: RayShell) -> None:
    folder = shell.folder / "corpus"
    folder.mkdir()
    for at, text in enumerate(("one", "one", "two")):
        sink = Sink(str(folder / f"part-0000{at}.parquet"))
        sink.write(pa.table({"id": [f"d{at // 2}"], "text": [text], "title": ["T"]}))
        sink.commit([])
    (folder / ".pairmine.json").write_text("{}")
    marked(folder, files=[f"part-0000{at}.parquet" for at in range(3)], rows=[1, 1, 1], lineage=[])
    shell.same("derive title corpus", rows=1)
    assert shell.table("ray.parquet").num_rows == 2


@pytest.mark.parametrize("engine", ["", "--engine ray"])
def test_a_part_that_is_gone_is_missed(shell: RayShell, engine: str) -> None:
    (parts(shell) / "part-00001.parquet").unlink()
    assert shell(f"score parts --scorer fake: -o out.parquet {engine}") == 2
    assert "part-00001.parquet is missing, one of the 4 parts that were written there" in shell.said


def stopped(shell: RayShell, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command as one that is killed as soon as its outputs are in place."""

    def dies(folder: WorkFolder) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "remove", dies)
        patch.setattr(sys, "argv", ["pairmine", *words.split()])
        with pytest.raises(Killed):
            main()


def test_a_run_that_was_killed_at_its_very_end_can_be_run_again(
    shell: RayShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(shell, f"{DERIVE} -o out", monkeypatch)
    assert shell.table("out").num_rows == 12
    assert shell(f"{DERIVE} -o out") == 0, shell.said
    assert shell.table("out").num_rows == 12


def test_a_work_folder_that_was_removed_in_part_is_of_no_use(shell: RayShell, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(shell, f"{DERIVE} -o out.parquet", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("pairmine.files.sharded.remove_tree", lambda path: None)
        folder = WorkFolder("out.parquet", {})
        folder.remove()
    assert not Path(folder.path, PLAN).exists()


def test_an_input_at_an_address_that_changed_is_read_anew(shell: RayShell, monkeypatch: pytest.MonkeyPatch) -> None:
    there = fsspec.filesystem("memory")
    words = "derive title memory://hostile/corpus.jsonl --engine ray --shard-rows 3 -o out.parquet"
    for title in ("Old", "New"):
        text = "".join(json.dumps(row) + "\n" for row in documents(title))
        there.pipe_file("/hostile/corpus.jsonl", text.encode())
        if title == "Old":
            killed(shell, words, monkeypatch)
    assert shell(words) == 0, shell.said
    assert {query[:3] for query in shell.table("out.parquet")["query"].to_pylist()} == {"New"}


def test_an_input_in_the_folder_of_the_output_is_not_lost(shell: RayShell) -> None:
    folder = parts(shell)
    here = f"file://{shell.folder}"
    for source, output in (
        ("parts/part-00000.parquet", "parts"),
        ("parts", "parts/"),
        (f"{here}/parts", f"{here}/parts/"),
        (f"{here}/parts", "parts"),
        ("parts", f"{here}/parts"),
    ):
        assert shell(f"score {source} --scorer fake: --engine ray -o {output}") == 2
        assert "would be lost; name another" in shell.said
    assert len(list(folder.glob("part-*"))) == 4


def test_a_folder_at_an_address_is_replaced_only_where_all_of_it_is_ours(shell: RayShell) -> None:
    address = f"file://{shell.folder}/far"
    assert shell(f"{DERIVE} -o {address}") == 0, shell.said
    (shell.folder / "far/part-00017.parquet").write_bytes(b"of a run that was killed as it put its parts there")
    (shell.folder / "far/.unfinished").write_text("")
    assert shell(f"{DERIVE} -o {address}") == 0, shell.said
    assert shell.table("far").num_rows == 12
    (shell.folder / "far/thesis.parquet").write_text("years of work")
    assert shell(f"{DERIVE} -o {address}") == 2
    assert "holds what pairmine did not write (thesis.parquet)" in shell.said


def test_one_file_at_an_address_is_no_folder_of_parts(shell: RayShell) -> None:
    parts(shell)
    address = f"file://{shell.folder}/parts/part-00000.parquet"
    assert shell(f"score {address} --scorer fake: --engine ray -o out.parquet") == 0, shell.said
    assert shell(f"{DERIVE} -o file://{shell.folder}/corpus.jsonl/") == 2


def test_an_output_in_the_folder_of_another_is_refused(shell: RayShell) -> None:
    parts(shell)
    assert shell(f"{DERIVE} -o parts --rejects parts/rejects.parquet") == 2
    assert shell.said == "pairmine: -o and --rejects: one is in the folder of the other; name another place\n"


def test_nothing_is_written_over_the_root(shell: RayShell) -> None:
    assert shell("derive title corpus.jsonl --engine ray -o /") == 2
    assert shell.said.endswith("pairmine: /: is the root of this machine; name a folder in it\n")


HOLDS = """
import fcntl, sys
held = open(sys.argv[1], "wb")
fcntl.lockf(held, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def test_two_runs_do_not_share_an_output(shell: RayShell) -> None:
    (shell.folder / ".out.ray").mkdir()
    lock = str(shell.folder / ".out.ray/lock")
    with subprocess.Popen([sys.executable, "-S", "-c", HOLDS, lock], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert shell(f"{DERIVE} -o out") == 2
        other.kill()
    assert "out: another run with this output is under way, in " in shell.said
    assert shell(f"{DERIVE} -o out") == 0, shell.said
    assert not os.path.exists(lock)


def killed(shell: RayShell, words: str, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] = Killed) -> None:
    """Run a command as one that ends after two shards."""
    shell.pool = Counting(2, error)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["pairmine", *words.split()])
        with pytest.raises(error):
            main()
    shell.pool = Counting()


def test_a_test_with_other_limits_starts_from_nothing(shell: RayShell, monkeypatch: pytest.MonkeyPatch) -> None:
    parts(shell)
    monkeypatch.setattr("pairmine.cli.check.counter", lambda name: count_words)
    words = "check parts --json --tokenizer words --max-tokens"
    killed(shell, f"{words} 500 --engine ray", monkeypatch)
    said = []
    for engine in ("", "--engine ray"):
        assert shell(f"{words} 1 {engine}") == 0, shell.said
        said.append(shell.out)
    assert said[0] == said[1]
    assert " tokens, 1 at most" in said[0]


def count_words(texts: Sequence[str]) -> np.ndarray:
    return np.array([len(text.split()) for text in texts], np.int64)


def test_a_command_without_an_output_says_too_that_it_goes_on(shell: RayShell) -> None:
    parts(shell)
    shell.pool = Counting(2, KeyboardInterrupt)
    assert shell("stats parts --engine ray") == 130
    assert shell.said.endswith(".parts.stats.ray has what is finished, run the same command again to continue\n")


@pytest.mark.parametrize("rows", [1, 100])
def test_a_document_with_two_texts_in_two_shards_is_told(shell: RayShell, rows: int) -> None:
    pairs = [{"query": f"q{at}", "doc_id": f"d{at % 2}", "document": f"text {at}"} for at in range(4)]
    (shell.folder / "files").mkdir()
    for at in range(2):
        shell.write(f"files/{at}.jsonl", pairs[2 * at : 2 * at + 2])
    shell.write("pairs.jsonl", pairs)
    for source in ("files", "pairs.jsonl"):
        said = []
        for engine in ("", f"--engine ray --shard-rows {rows}"):
            assert shell(f"score {source} --scorer fake: -o out.parquet {engine}") == 2
            said.append(shell.said)
        assert said[0] == said[1]
        assert 'doc_id "d0" has one text in row 1 and another in row 3' in said[0]
