"""Whole pipelines through the shell: pipes, files between, workers, interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PAIRMINE = Path(sys.executable).with_name("pairmine")
SHARED = Path(__file__).parents[2] / "shared"
needs_collections = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the test collections are not beside the checkout"
)

SENTENCES = ("Rivers carry {0} to the sea.", "The {0} of {1} was built by hand.", "Nobody knows why {1} has no {0}.")
NOUNS = ("gravel", "bridges", "timber", "copper", "salt", "grain", "ice", "clay", "wool", "amber", "slate", "peat")
PLACES = ("Lima", "Oslo", "Kyoto", "Accra", "Quito", "Turku", "Graz", "Cusco", "Riga", "Sfax", "Pune")


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{PAIRMINE.parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", **variables}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = []
    for number, (noun, place) in enumerate((noun, place) for noun in NOUNS for place in PLACES):
        text = " ".join(sentence.format(noun, place) for sentence in SENTENCES)
        rows.append({"id": f"d{number}", "text": text})
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


STEPS = (
    "derive ict {0} -o {1}",
    "mine {0} --corpus corpus.jsonl --retriever bm25 --depth 20 -o {1}",
    "filter {0} --negatives 3 -o {1}",
    "export {0} --to st-ntuple -o {1}",
)


@pytest.mark.slow
def test_a_pipe_gives_the_same_bytes_as_files_between(corpus: Path) -> None:
    folder = corpus.parent
    names = ["corpus.jsonl", "-", "-", "-", "piped.parquet"]
    pipe = " | ".join("pairmine " + step.format(names[i], names[i + 1]) for i, step in enumerate(STEPS))
    piped = shell(pipe, folder)
    assert piped.returncode == 0, piped.stderr
    names = ["corpus.jsonl", "one.arrow", "two.parquet", "three.parquet", "filed.parquet"]
    filed = shell(
        " && ".join("pairmine " + step.format(names[i], names[i + 1]) for i, step in enumerate(STEPS)), folder
    )
    assert filed.returncode == 0, filed.stderr
    assert (folder / "piped.parquet").read_bytes() == (folder / "filed.parquet").read_bytes()
    assert pq.read_table(folder / "piped.parquet").num_rows > 50


@needs_collections
@pytest.mark.slow
def test_the_pipe_of_the_readme_runs_on_a_real_collection_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl.gz").write_bytes((SHARED / "data" / "cisi" / "corpus.jsonl.gz").read_bytes())
    pipe = (
        "pairmine derive ict corpus.jsonl.gz -o - | pairmine mine - --corpus corpus.jsonl.gz --retriever bm25 -o - | "
        "pairmine filter - --negatives 5 -o - | pairmine export - --to st-ntuple -o train.parquet"
    )
    done = shell(pipe, tmp_path)
    assert done.returncode == 0, done.stderr
    files = (
        "pairmine derive ict corpus.jsonl.gz -o a.parquet && pairmine mine a.parquet --corpus corpus.jsonl.gz "
        "--retriever bm25 -o b.parquet && pairmine filter b.parquet --negatives 5 -o c.parquet && "
        "pairmine export c.parquet --to st-ntuple -o filed.parquet"
    )
    assert shell(files, tmp_path).returncode == 0
    assert (tmp_path / "train.parquet").read_bytes() == (tmp_path / "filed.parquet").read_bytes()
    table = pq.read_table(tmp_path / "train.parquet")
    assert table.column_names == ["anchor", "positive", *(f"negative_{n}" for n in range(1, 6))]
    assert table.num_rows > 500


def test_a_failing_command_leaves_no_output_behind_it(corpus: Path) -> None:
    done = shell(
        "pairmine derive ict nowhere.jsonl -o - | "
        "pairmine mine - --corpus corpus.jsonl --retriever bm25 -o out.parquet",
        corpus.parent,
    )
    assert done.returncode != 0
    assert sorted(path.name for path in corpus.parent.iterdir()) == ["corpus.jsonl"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("step", ["derive ict corpus.jsonl", "derive crops corpus.jsonl", "dedup corpus.jsonl"])
@pytest.mark.slow
def test_one_worker_and_two_give_the_same_bytes(corpus: Path, step: str) -> None:
    done = shell(
        f"pairmine {step} --workers 1 -o one.parquet && pairmine {step} --workers 2 -o two.parquet", corpus.parent
    )
    assert done.returncode == 0, done.stderr
    assert (corpus.parent / "one.parquet").read_bytes() == (corpus.parent / "two.parquet").read_bytes()


def test_another_seed_gives_other_rows(corpus: Path) -> None:
    done = shell(
        "pairmine derive crops corpus.jsonl --seed 1 -o one.parquet && "
        "pairmine derive crops corpus.jsonl --seed 2 -o two.parquet",
        corpus.parent,
    )
    assert done.returncode == 0, done.stderr
    one, two = (pq.read_table(corpus.parent / name)["query"].to_pylist() for name in ("one.parquet", "two.parquet"))
    assert one != two


@pytest.mark.slow
def test_every_stage_counts_each_of_its_rows(corpus: Path) -> None:
    folder = corpus.parent
    names = ["corpus.jsonl", "a.parquet", "b.parquet", "c.parquet", "d.parquet"]
    for i, step in enumerate(STEPS):
        summary = f"--summary {i}.json" + (" --rejects r.parquet" if i == 2 else "")
        done = shell(f"pairmine {step.format(names[i], names[i + 1])} {summary}", folder)
        assert done.returncode == 0, done.stderr
        counts = json.loads((folder / f"{i}.json").read_text())
        rejected = sum(counts["rejected"].values())
        assert counts["rows_out"] == pq.read_table(folder / names[i + 1]).num_rows
        if i in (1, 2):
            assert counts["rows_in"] + counts.get("added", 0) == counts["rows_out"] + rejected
        if i == 2:
            assert pq.read_table(folder / "r.parquet").num_rows == rejected > 0
            assert pq.read_table(folder / "r.parquet")["reason"].null_count == 0


@pytest.mark.slow
def test_info_prints_commands_that_rebuild_the_file_byte_for_byte(corpus: Path) -> None:
    folder = corpus.parent
    names = ["corpus.jsonl", "-", "-", "-", "train.parquet"]
    shell(" | ".join("pairmine " + step.format(names[i], names[i + 1]) for i, step in enumerate(STEPS)), folder)
    printed = shell("pairmine info train.parquet", folder).stdout
    script = "\n".join(line for line in printed.splitlines() if line.startswith(("pairmine ", "#")))
    again = shell("set -e\n" + script, folder)
    assert again.returncode == 0, again.stderr
    assert (folder / "out.parquet").read_bytes() == (folder / "train.parquet").read_bytes()


@pytest.mark.slow
def test_help_of_every_command_shows_an_example(tmp_path: Path) -> None:
    listed = shell("pairmine --help", tmp_path).stdout
    commands = ["recipes", "derive", "mine", "score", "filter", "dedup", "export", "convert", "info", "head", "stats"]
    for command in commands:
        assert f"  {command} " in listed
        shown = shell(f"pairmine {command} --help", tmp_path)
        assert shown.returncode == 0
        assert f"pairmine {command}" in shown.stdout.partition("\n")[2]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("filter x.parquet", "pairmine: missing option '--output' / '-o'; see 'pairmine filter --help'"),
        ("mine x.parquet", "pairmine: missing option '--output' / '-o'; only --dry-run goes without it"),
        ("mine x.parquet -o y.parquet", "pairmine: x.parquet: no such file or folder"),
        ("filter corpus.jsonl --pick best -o y.parquet", "pairmine: --pick best: choose top, random"),
        (
            "mine corpus.jsonl --retriever sb:model -o y.parquet",
            "pairmine: --retriever sb:model: no such kind of model",
        ),
        ("derive crop corpus.jsonl -o y.parquet", "did you mean crops"),
        ("export corpus.jsonl --to st-tuple -o y.parquet", "st-ntuple"),
        ("derive ict corpus.jsonl -o y.doc", "the ending says no format"),
        ("frobnicate", "pairmine: no such command 'frobnicate'"),
    ],
)
@pytest.mark.slow
def test_a_mistake_on_the_command_line_gets_one_line_and_exit_2(corpus: Path, command: str, line: str) -> None:
    done = shell(f"pairmine {command}", corpus.parent)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (corpus.parent / "y.parquet").exists()
