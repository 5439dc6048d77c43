"""The index that runs of dedup share: what earlier ones kept, later ones do not keep again."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from dedup_shell import WORDS, Shell, corpus, killed

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.files.dedup_index import DedupIndex, described_index
from pairmine.files.sketches import SketchFolder


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_copies_of_what_earlier_runs_kept_leave_and_say_where_it_is(shell: Shell) -> None:
    words = " ".join(WORDS[:100])
    shell.write("may.jsonl", [{"id": "a", "text": words}, {"id": "b", "text": "short"}])
    shell.write(
        "june.jsonl", [{"id": "c", "text": "SHORT"}, {"id": "d", "text": words + " x"}, {"id": "e", "text": "new"}]
    )
    shell.write("july.jsonl", [{"id": "f", "text": "New"}, {"id": "g", "text": "newer"}, {"id": "h", "text": "newer"}])
    for month in ("may", "june", "july"):
        code, _ = shell(f"dedup {month}.jsonl --index idx --rejects {month}.copies.parquet -o {month}.parquet")
        assert code == 0
    told = [
        tuple(row[name] for name in ("id", "reason", "duplicate_of", "similar_to", "seen_in"))
        for month in ("june", "july")
        for row in shell.rows(f"{month}.copies.parquet")
    ]
    assert told == [
        ("c", "exact copy", "b", "b", "may.jsonl"),
        ("d", "near copy", "a", "a", "may.jsonl"),
        ("f", "exact copy", "e", "e", "june.jsonl"),
        ("h", "exact copy", "g", "g", None),
    ]
    assert shell.ids("july.parquet") == ["g"]


@pytest.mark.parametrize("options", ["", "--group star", "--exact-only", "--threshold 0.6 --ngram 2"])
def test_two_runs_with_an_index_keep_what_one_run_over_both_keeps(shell: Shell, options: str) -> None:
    one, two = corpus(40, 1), corpus(40, 2)
    two += [{**row, "id": f"again-{row['id']}"} for row in one[::7]]
    shell.write("one.jsonl", one)
    shell.write("two.jsonl", two)
    shell.write("both.jsonl", one + two)
    for name in ("one", "two"):
        assert shell(f"dedup {name}.jsonl --index idx {options} -o {name}.parquet")[0] == 0
    assert shell(f"dedup both.jsonl {options} -o both.parquet")[0] == 0
    assert shell.ids("one.parquet") + shell.ids("two.parquet") == shell.ids("both.parquet")


def test_what_is_in_the_index_stays_even_where_a_copy_is_longer(shell: Shell) -> None:
    words = " ".join(WORDS[:100])
    shell.write("one.jsonl", [{"id": "short", "text": words}])
    shell.write(
        "two.jsonl", [{"id": "long", "text": words + " and more"}, {"id": "longer", "text": words + " and more x"}]
    )
    for name in ("one", "two"):
        shell(f"dedup {name}.jsonl --index idx --keep longest --rejects gone.parquet -o out.parquet")
    assert [row["duplicate_of"] for row in shell.rows("gone.parquet")] == ["short", "short"]


def test_a_corpus_that_is_added_again_leaves_whole_and_that_is_said(shell: Shell) -> None:
    rows = [row for row in corpus(40) if row["text"].strip()]
    shell.write("corpus.jsonl", rows)
    shell("dedup corpus.jsonl --index idx -o first.parquet")
    code, said = shell("dedup corpus.jsonl --index idx -o second.parquet")
    assert code == 0
    assert shell.ids("second.parquet") == []
    assert "was this corpus added to it before?" in said


def test_to_look_only_leaves_the_index_as_it_was(shell: Shell) -> None:
    shell.write("one.jsonl", corpus(30, 1))
    shell.write("two.jsonl", corpus(30, 2))
    shell("dedup one.jsonl --index idx -o one.parquet")
    before = {path.name: path.read_bytes() for path in (shell.folder / "idx").iterdir()}
    assert shell("dedup two.jsonl --index idx --no-append -o two.parquet")[0] == 0
    assert shell("dedup two.jsonl --index idx --dry-run")[0] == 0
    assert {path.name: path.read_bytes() for path in (shell.folder / "idx").iterdir()} == before
    assert shell("dedup two.jsonl --index idx -o again.parquet")[0] == 0
    assert shell.ids("again.parquet") == shell.ids("two.parquet")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--threshold 0.7", "--index idx: was made with --threshold 0.8, and this run has 0.7"),
        ("--ngram 2", "--index idx: was made with --ngram 3, and this run has 2"),
        ("--exact bytes", "--index idx: was made with --exact normalised, and this run has bytes"),
        ("--seed 1", "--index idx: was made with --seed 0, and this run has 1"),
        ("--exact-only", "--index idx: was made without --exact-only, and this run has it"),
    ],
)
def test_an_index_with_other_settings_is_refused(shell: Shell, options: str, line: str) -> None:
    shell.write("corpus.jsonl", corpus(10))
    shell("dedup corpus.jsonl --index idx -o out.parquet")
    code, said = shell(f"dedup corpus.jsonl --index idx {options} -o out.parquet")
    assert code == 2
    assert line in said


def test_a_folder_with_other_files_is_not_made_an_index(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(10))
    (shell.folder / "data").mkdir()
    shell.write("data/segment-00001.jsonl", corpus(5))
    code, said = shell("dedup corpus.jsonl --index data -o out.parquet")
    assert code == 2
    assert "--index data: holds segment-00001.jsonl and no index; name a new or an empty folder" in said
    assert [path.name for path in (shell.folder / "data").iterdir()] == ["segment-00001.jsonl"]


def test_two_runs_at_once_do_not_share_an_index_or_a_scratch_folder(shell: Shell, tmp_path: Path) -> None:
    first = DedupIndex(tmp_path / "idx", {"exact": "bytes"}, append=True)
    with pytest.raises(PairmineError, match="another run is at work with it"):
        DedupIndex(tmp_path / "idx", {"exact": "bytes"}, append=True)
    first.close()
    DedupIndex(tmp_path / "idx", {"exact": "bytes"}, append=True).close()
    held = SketchFolder(tmp_path / "scratch", {}, 1 << 20, block_rows=100)
    with pytest.raises(PairmineError, match="another run of dedup works there"):
        SketchFolder(tmp_path / "scratch", {}, 1 << 20, block_rows=100)
    held.remove()


def test_a_damaged_or_newer_index_is_one_line(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(10))
    shell("dedup corpus.jsonl --index idx -o out.parquet")
    manifest = shell.folder / "idx/manifest.json"
    whole = manifest.read_text()
    for text, line in ((whole.replace('"format": 1', '"format": 99'), "newer pairmine"), ("{", "is damaged")):
        manifest.write_text(text)
        code, said = shell("dedup corpus.jsonl --index idx -o out.parquet")
        assert code == 2
        assert line in said
    manifest.write_text(whole)
    part = next((shell.folder / "idx").glob("*.keys"))
    part.write_bytes(part.read_bytes()[:-5])
    code, said = shell("dedup corpus.jsonl --index idx -o other.parquet")
    assert code == 2
    assert "is damaged" in said


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"holds": "documents that dedup kept"}'])
def test_an_index_whose_manifest_is_damaged_is_refused_and_not_emptied(shell: Shell, content: bytes) -> None:
    shell.write("corpus.jsonl", corpus(10))
    shell("dedup corpus.jsonl --index idx -o out.parquet")
    manifest = shell.folder / "idx/manifest.json"
    manifest.write_bytes(content)
    parts = sorted((shell.folder / "idx").glob("segment-*"))
    code, said = shell("dedup corpus.jsonl --index idx -o other.parquet")
    assert code == 2
    assert "its manifest.json is damaged" in said
    assert parts
    assert sorted((shell.folder / "idx").glob("segment-*")) == parts


@pytest.mark.parametrize(
    "change",
    [
        ('"count": ', '"count": 9'),
        ('"offset": 0', '"offset": -8'),
        ('"type": "<u8"', '"type": "|O8"'),
        ('"type": "<u8"', '"type": "<u9"'),
        ('"ends"', '"ands"'),
    ],
)
def test_an_index_whose_arrays_are_not_where_they_are_said_to_be_is_damaged(
    shell: Shell, change: tuple[str, str]
) -> None:
    shell.write("corpus.jsonl", corpus(10))
    shell("dedup corpus.jsonl --index idx -o out.parquet")
    part = next((shell.folder / "idx").glob("*.words"))
    content = part.read_bytes()
    length = int.from_bytes(content[-16:-8], "little")
    foot = content[-16 - length : -16].decode()
    assert change[0] in foot
    changed = foot.replace(*change).encode()
    part.write_bytes(content[: -16 - length] + changed + len(changed).to_bytes(8, "little") + content[-8:])
    code, said = shell("dedup corpus.jsonl --index idx -o other.parquet")
    assert code == 2
    assert "is damaged; remove it, and what it belongs to" in said


def test_a_pipe_in_the_place_of_a_part_is_not_waited_for(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(10))
    shell("dedup corpus.jsonl --index idx -o out.parquet")
    part = next((shell.folder / "idx").glob("*.words"))
    part.unlink()
    os.mkfifo(part)
    code, said = shell("dedup corpus.jsonl --index idx -o other.parquet")
    assert code == 2
    assert f"{part.name}: is damaged; remove it, and what it belongs to" in said


def test_info_shows_what_is_in_an_index(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.write("corpus.jsonl", corpus(10))
    shell("dedup corpus.jsonl --index idx -o out.parquet")
    count = len(shell.ids("out.parquet"))
    shell._patch.setattr(sys, "argv", ["pairmine", "info", "idx"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert f"idx: an index of dedup, {count:,} documents" in shown
    assert "corpus.jsonl" in shown


@pytest.mark.slow
def test_a_killed_run_leaves_the_index_as_it_was(shell: Shell) -> None:
    shell.write("one.jsonl", corpus(40, 1))
    shell.write("two.jsonl", corpus(40, 2))
    assert shell("dedup one.jsonl --index idx -o one.parquet")[0] == 0
    manifest = (shell.folder / "idx/manifest.json").read_bytes()
    assert killed(shell.folder, "commit", "dedup two.jsonl --index idx -o two.parquet").returncode == -signal.SIGKILL
    assert (shell.folder / "idx/manifest.json").read_bytes() == manifest
    assert shell("dedup two.jsonl --index idx -o two.parquet")[0] == 0
    kept = len(shell.ids("one.parquet")) + len(shell.ids("two.parquet"))
    assert (
        sum(each["rows"] for each in json.loads((shell.folder / "idx/manifest.json").read_text())["segments"]) == kept
    )


def test_a_run_that_was_killed_after_it_added_its_documents_can_be_run_again(shell: Shell) -> None:
    """It must not take its own documents for copies, which would leave an empty OUT."""
    shell.write("one.jsonl", corpus(30, 1))
    shell.write("two.jsonl", corpus(30, 2))
    shell("dedup one.jsonl --index idx -o one.parquet")
    command = "dedup two.jsonl --index idx --keep longest -o two.parquet"
    shell(command)  # killed from here on, it leaves what it leaves now
    kept = shell.ids("two.parquet")
    assert kept
    code, said = shell(command)
    assert code == 0
    assert "idx: the last run made two.parquet of the same input; this one takes its place" in said
    assert shell.ids("two.parquet") == kept
    assert [name for _, name, _ in described(shell)] == ["one.jsonl", "two.jsonl"]
    assert len(list((shell.folder / "idx").glob("segment-*"))) == 2 * 4
    assert shell("dedup two.jsonl --index idx -o third.parquet")[0] == 0
    assert shell.ids("third.parquet") == [row["id"] for row in corpus(30, 2) if not row["text"].strip()]


def test_a_run_again_that_keeps_nothing_takes_what_the_last_one_added_out_of_the_index(shell: Shell) -> None:
    shell.write("one.jsonl", [{"id": "a", "text": " ".join(WORDS[:50])}])
    (shell.folder / "held-out.txt").write_text(" ".join(WORDS[:50]) + "\n")
    shell("dedup one.jsonl --index idx -o one.parquet")
    assert shell("dedup one.jsonl --index idx --against held-out.txt -o one.parquet")[0] == 0
    assert described(shell) == []


def described(shell: Shell) -> list[tuple[int, str, int]]:
    """What each run added to the index."""
    found = described_index(str(shell.folder / "idx"))
    assert found is not None
    return list(found["added"])
