"""Dedup of a corpus larger than memory: the same rows, and runs that go on where they were killed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dedup_shell import Shell, corpus, killed, sketched
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.files.arrays import ArrayFile, ArrayWriter
from pairmine.files.sketches import SketchFolder
from pairmine.files.spills import PairSpill, RaggedSpill

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


# --- the same rows for any --memory ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--exact-only",
        "--keep longest --group-ids",
        "--keep best:quality --exact bytes",
        "--action mark --threshold 0.7 --group star",
        "--group star --keep best:quality",
        "--shingles characters --ngram 9 --exact words",
        "--ngram 1 --sentence-words 0 --short-text-words 0 --threshold 0.5",
    ],
)
def test_a_corpus_larger_than_memory_loses_the_same_rows(shell: Shell, options: str) -> None:
    shell.write("corpus.jsonl", corpus(70))
    command = "dedup corpus.jsonl --rejects copies.parquet --groups groups.jsonl --summary counts.json -o out.parquet "
    shell.same(command + options, "out.parquet", "copies.parquet", "groups.jsonl", "counts.json")
    assert not list(shell.folder.glob(".*"))


@pytest.mark.slow
def test_licence_texts_lose_the_same_rows_in_bounded_memory(shell: Shell) -> None:
    corpus = DATA / "license-texts" / "corpus.jsonl.gz"
    if not corpus.exists():
        pytest.skip("needs ../shared/data/license-texts")
    (shell.folder / "corpus.jsonl.gz").symlink_to(corpus.resolve())
    options = "--ngram 5 --threshold 0.5 --sentence-words 0 --short-text-words 0 --rejects copies.parquet"
    shell.same(f"dedup corpus.jsonl.gz {options} -o out.parquet", "out.parquet", "copies.parquet")
    assert len(shell.rows("copies.parquet")) > 200


def test_titles_count_and_late_columns_are_read_in_bounded_memory(shell: Shell) -> None:
    rows: list[dict[str, Any]] = [{"id": f"d{i}", "text": f"number {i}"} for i in range(300)]
    rows += [{"id": "e0", "title": "Einstein", "text": "born 1879"}, {"id": "e1", "text": "Einstein born 1879", "n": 1}]
    shell.write("corpus.jsonl", rows)
    shell.same("dedup corpus.jsonl --rejects copies.parquet -o out.parquet", "out.parquet", "copies.parquet")
    assert [row["duplicate_of"] for row in shell.rows("copies.parquet")] == ["e0"]


def test_a_folder_of_shards_and_standard_input_are_read_in_bounded_memory(shell: Shell) -> None:
    rows = corpus(60)
    (shell.folder / "shards").mkdir()
    for number in range(3):
        shell.write(f"shards/{number}.jsonl", rows[number::3])
    shell.same("dedup shards --rejects copies.parquet -o out.parquet", "out.parquet", "copies.parquet")
    data = b"".join((shell.folder / f"shards/{number}.jsonl").read_bytes() for number in range(3))
    shell.pipe(data)
    assert shell("dedup - -o piped.parquet")[0] == 0
    assert shell.ids("piped.parquet") == shell.ids("out.parquet")


def test_test_sets_are_kept_out_in_bounded_memory(shell: Shell) -> None:
    rows = corpus(60)
    texts = [row["text"] for row in rows if len(row["text"].split()) > 20]
    shell.write("eval.jsonl", [{"id": f"e{i}", "text": text} for i, text in enumerate(texts[:5])])
    shell.write("corpus.jsonl", rows)
    command = "dedup corpus.jsonl --against eval.jsonl --rejects gone.parquet -o out.parquet"
    shell.same(command, "out.parquet", "gone.parquet")
    assert {"in the test set: exact", "near copy"} <= {row["reason"] for row in shell.rows("gone.parquet")}
    shell.same(command + " --against-only", "out.parquet", "gone.parquet")


def test_one_id_with_two_texts_names_both_lines_in_bounded_memory(shell: Shell) -> None:
    rows = [{"id": f"d{i}", "text": f"number {i}"} for i in range(300)]
    shell.write("corpus.jsonl", [*rows, {"id": "d7", "text": "number 7"}, {"id": "d9", "text": "another"}])
    said = []
    for prepare in (shell.roomy, shell.small):
        prepare()
        code, line = shell("dedup corpus.jsonl -o out.parquet")
        assert code == 2
        said.append(line)
    assert said[0] == said[1]
    assert 'corpus.jsonl:302: id "d9" stands at corpus.jsonl:10 with another text' in said[1]
    assert not list(shell.folder.glob(".*"))


def test_a_repeated_id_with_its_text_is_an_exact_copy_in_bounded_memory(shell: Shell) -> None:
    shell.write("corpus.jsonl", [{"id": "d1", "text": "one"}, {"id": "d2", "text": "two"}] * 2)
    shell.same("dedup corpus.jsonl --rejects copies.parquet -o out.parquet", "out.parquet", "copies.parquet")
    assert shell.ids("out.parquet") == ["d1", "d2"]


def test_a_null_text_is_refused_in_bounded_memory(shell: Shell) -> None:
    shell.small()
    shell.write("corpus.jsonl", [{"id": "d1", "text": "one"}, {"id": "d2", "text": None}])
    code, line = shell("dedup corpus.jsonl -o out.parquet")
    assert code == 2
    assert "corpus.jsonl:2" in line


def test_a_dry_run_in_bounded_memory_writes_nothing(shell: Shell) -> None:
    shell.small()
    shell.write("corpus.jsonl", corpus(50))
    code, said = shell("dedup corpus.jsonl --dry-run")
    assert code == 0
    assert "largest document groups" in said
    assert [path.name for path in shell.folder.iterdir()] == ["corpus.jsonl"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--memory 10MB", "--memory 10MB: at least 500MB"),
        ("--memory many", "--memory many: write a size"),
        (f"--memory {'9' * 400}", f"--memory {'9' * 400}: more than any machine has"),
        ("--no-append", "--no-append has no effect without --index"),
        ("--index idx --no-append", "--index idx: there is no index to look in"),
        ("--index corpus.jsonl", "--index corpus.jsonl: is a file; name a folder"),
        ("--index s3://bucket/seen", '--index "s3://bucket/seen": name a folder on this machine'),
        ("--index=", '--index "": name a folder on this machine'),
        ("--scratch=s3://bucket/here", '--scratch "s3://bucket/here": name a folder on this machine'),
    ],
)
def test_settings_of_scale_that_cannot_be_are_refused(shell: Shell, words: str, line: str) -> None:
    shell.write("corpus.jsonl", corpus(5))
    code, said = shell(f"dedup corpus.jsonl {words} -o out.parquet")
    assert code == 2
    assert line in said


def test_a_pair_set_stays_in_memory(shell: Shell) -> None:
    shell.write("pairs.jsonl", [{"query_id": "q", "query": "a", "doc_id": "d", "document": "b", "label": 1}])
    for option in ("--index idx", "--memory 1GB", "--scratch here"):
        code, said = shell(f"dedup pairs.jsonl {option} -o out.parquet")
        assert code == 2
        assert f"{option.split()[0]} is for a corpus, and pairs.jsonl is a pair set" in said


# --- runs that are killed -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("where", "again"), [("block 3", 150), ("second reading", 0), ("commit", 0)])
def test_a_killed_run_goes_on_with_the_sketches_that_are_there(shell: Shell, where: str, again: int) -> None:
    rows = corpus(120)
    shell.write("corpus.jsonl", rows)
    words = "dedup corpus.jsonl --rejects copies.parquet -o out.parquet"
    shell.roomy()
    assert shell(words)[0] == 0
    expected = [(shell.folder / name).read_bytes() for name in ("out.parquet", "copies.parquet")]
    (shell.folder / "out.parquet").unlink()
    assert killed(shell.folder, where, words).returncode == -signal.SIGKILL
    assert not (shell.folder / "out.parquet").exists()
    finished = killed(shell.folder, "nowhere", words)
    assert finished.returncode == 0
    assert sketched(finished.stderr) == (len(rows) - again if again else 0)
    assert [(shell.folder / name).read_bytes() for name in ("out.parquet", "copies.parquet")] == expected
    assert not [path for path in shell.folder.glob(".*") if path.is_dir()]


def test_a_run_that_fits_into_memory_removes_what_a_killed_one_left(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(5))
    command = "dedup corpus.jsonl -o out.parquet"
    left = SketchFolder(shell.folder / ".out.parquet.scratch", {}, 1000, block_rows=10)
    assert shell(command)[0] == 0
    assert left.path.exists(), "another run is at work there"
    left.close()
    assert shell(command)[0] == 0
    assert not left.path.exists()


@pytest.mark.parametrize("names", [["lock"], ["lock", "block-000001", ".block-000002.0123abcd.partial", "rows-words"]])
def test_what_is_left_of_a_scratch_folder_that_was_being_removed_goes_too(shell: Shell, names: list[str]) -> None:
    shell.write("corpus.jsonl", corpus(5))
    left = shell.folder / ".out.parquet.scratch"
    left.mkdir()
    for name in names:
        (left / name).write_bytes(b"")
    assert shell("dedup corpus.jsonl -q -o out.parquet")[0] == 0
    assert not left.exists()


def test_a_folder_of_that_name_with_somebodys_files_stays(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(5))
    (shell.folder / ".out.parquet.scratch").mkdir()
    (shell.folder / ".out.parquet.scratch" / "notes.txt").write_text("mine")
    assert shell("dedup corpus.jsonl -q -o out.parquet")[0] == 0
    assert (shell.folder / ".out.parquet.scratch" / "notes.txt").exists()


@pytest.mark.slow
def test_sketches_of_a_file_that_changed_are_not_taken_up(shell: Shell) -> None:
    rows = corpus(120)
    shell.write("corpus.jsonl", rows)
    killed(shell.folder, "second reading", "dedup corpus.jsonl -o out.parquet")
    shell.write("corpus.jsonl", rows[:-1])
    finished = killed(shell.folder, "nowhere", "dedup corpus.jsonl -o out.parquet")
    assert finished.returncode == 0
    assert sketched(finished.stderr) == len(rows) - 1


# --- where things lie -----------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_leaves_nothing_torn(shell: Shell) -> None:
    shell.small()
    shell.write("corpus.jsonl", corpus(50))

    def full(self: Any, *given: Any) -> int:
        raise OSError(28, "No space left on device")

    with shell.patched("pairmine.files.partial.Partial.commit", full):
        code, said = shell("dedup corpus.jsonl -o out.parquet")
    assert code == 3
    assert said.splitlines()[-1].endswith(
        "no space left on device; nothing was put there, mend that and run the same command again"
    )
    assert [path.name for path in shell.folder.iterdir() if path.is_file()] == ["corpus.jsonl"]
    assert shell("dedup corpus.jsonl -o out.parquet")[0] == 0
    assert not list(shell.folder.glob(".*"))


@settings(max_examples=15, deadline=None)
@given(
    keys=st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), max_size=1500),
    bounds=st.tuples(st.integers(0, 2**64), st.integers(0, 2**64)),
)
def test_keys_in_a_file_are_found_as_in_memory(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], bounds: tuple[int, int]
) -> None:
    held = np.sort(np.array(keys, np.uint64))
    rows = np.arange(len(held), dtype=np.uint32)
    writer = ArrayWriter(tmp_path_factory.mktemp("arrays") / "keys")
    writer.put_keys("k", iter(zip(np.array_split(held, 3), np.array_split(rows, 3), strict=True)))
    writer.commit()
    run = ArrayFile(Path(writer._target)).keys("k")
    low, high = sorted(bounds)
    among = np.array([low <= int(key) < high for key in held], bool)
    assert run.between(low, high)[1].tolist() == rows[among].tolist()
    wanted = np.unique(np.append(held[::3], np.arange(45, dtype=np.uint64)))
    numbers, found = run.find(wanted)
    expected = [(number, int(row)) for number, key in enumerate(wanted) for row in rows[held == key]]
    assert sorted(zip(numbers.tolist(), found.tolist(), strict=True)) == expected


@pytest.mark.parametrize("limit", [1 << 30, 4000, 100])
def test_pairs_and_sets_set_aside_come_back(tmp_path: Path, limit: int) -> None:
    draw = np.random.default_rng(0)
    pairs, rows = PairSpill(tmp_path, limit), RaggedSpill(tmp_path / "rows", limit)
    added, sets = [], []
    for _ in range(20):
        added.append(draw.integers(0, 5000, 100).astype(np.uint64) << np.uint64(32) | np.uint64(7000))
        pairs.add(added[-1])
        sizes = draw.integers(0, 30, 50)
        values = draw.integers(0, 1 << 60, sizes.sum()).astype(np.uint64)
        rows.append(values, sizes)
        sets += np.split(values, np.cumsum(sizes)[:-1])
    assert np.concatenate(list(pairs.runs())).tolist() == np.unique(np.concatenate(added)).tolist()
    rows.finish()
    numbers = np.sort(draw.choice(1000, 100, replace=False))
    values, ends = rows.take(numbers)
    assert [part.tolist() for part in np.split(values, ends[1:-1])] == [sets[number].tolist() for number in numbers]
