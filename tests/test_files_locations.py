"""Where bytes come from: paths, folders of shards, addresses, standard input."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from pairmine.errors import PairmineError
from pairmine.files.locations import StandardInput, find_shards, format_of
from pairmine.files.raw import read_raw
from pairmine.files.vectors import find_vector_files


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/b.JSONL.GZ", ("jsonl", "gzip")),
        ("a.tsv.zst", ("tsv", "zstd")),
        ("a.parquet", ("parquet", None)),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("jsonl", None),
        ("a.txt", None),
    ],
)
def test_the_ending_says_the_format(name: str, found: object) -> None:
    assert format_of(name) == found


def refused(path: Path | str) -> str:
    with pytest.raises(PairmineError) as caught:
        find_shards(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_its_data_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("part-2.jsonl", "part-1.jsonl", "_SUCCESS", ".hidden.jsonl", "notes.md"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "deeper").mkdir()
    assert [Path(shard.name).name for shard in find_shards(str(tmp_path))] == ["part-1.jsonl", "part-2.jsonl"]


def test_a_folder_that_cannot_be_read_says_what_it_found(tmp_path: Path) -> None:
    assert "a folder without shards (found: nothing)" in refused(tmp_path)
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".hidden.jsonl").write_text("{}")
    assert "a folder without shards (found: readme.md, data/); name a folder or file with data" in refused(tmp_path)
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "b.csv").write_text("a")
    assert "holds shards of several formats (csv, jsonl)" in refused(tmp_path)


def test_data_in_folders_below_is_never_left_out_unsaid(tmp_path: Path) -> None:
    for name in ("sub/deep/a.jsonl", "more/b.parquet", ".cache/c.jsonl", "_tmp/d.jsonl", "notes/e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert refused(tmp_path).endswith(": holds no shards but folders with data (more, sub); name one of them")
    (tmp_path / "a.jsonl").write_text("{}")
    assert refused(tmp_path).endswith(": holds shards and also folders with data (more, sub); name one of them")
    (tmp_path / "sub" / "deep" / "a.jsonl").unlink()
    (tmp_path / "more" / "b.parquet").unlink()
    assert len(find_shards(str(tmp_path))) == 1


def test_data_in_folders_of_an_address_is_never_left_out_unsaid() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        for name in ("/pairmine-below/a.jsonl", "/pairmine-below/sub/deep/b.jsonl"):
            memory.pipe_file(name, b"{}")
        assert refused("memory://pairmine-below").endswith(
            "holds shards and also folders with data (sub); name one of them"
        )
        memory.rm("/pairmine-below/sub", recursive=True)
        assert len(find_shards("memory://pairmine-below")) == 1
    finally:
        memory.rm("/pairmine-below", recursive=True)


def test_a_path_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.jsonl").endswith("absent.jsonl: no such file or folder")
    (tmp_path / "empty.jsonl").touch()
    assert refused(tmp_path / "empty.jsonl").endswith("the file is empty; write it again or name another")
    (tmp_path / "a.xyz").write_text("x")
    assert "the ending says no format; known: .arrow" in refused(tmp_path / "a.xyz")
    assert "file name too long" in refused(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "not a regular file; pipe it into 'pairmine' and name the input -" in refused(tmp_path / "pipe.jsonl")


def test_an_address_that_nothing_reads_is_told() -> None:
    assert refused("memory://nowhere/x.jsonl") == "memory://nowhere/x.jsonl: no such file or folder"
    assert "Protocol not known: nope" in refused("nope://x/y.jsonl")


def test_s3_without_its_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert refused("s3://bucket/x.jsonl").endswith("; pip install 'pairmine[s3]'")


class Stdin:
    def __init__(self, raw: io.RawIOBase) -> None:
        self.buffer = io.BufferedReader(raw)

    def isatty(self) -> bool:
        return False


class Drips(io.RawIOBase):
    """A pipe that gives one byte at a time."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block, self.content = self.content[:1], self.content[1:]
        buffer[: len(block)] = block
        return len(block)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xff\xff\xff....", "arrow"),
        (b"PAR1", "parquet"),
        (b"ARROW1", "arrow"),
        (b'{"a":1}', "jsonl"),
        (b"{}", "jsonl"),
    ],
)
def test_standard_input_is_told_apart_however_slowly_it_comes(
    monkeypatch: pytest.MonkeyPatch, content: bytes, kind: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(Drips(content)))
    pipe = StandardInput()
    assert pipe.kind == kind
    shard, _spool = pipe.spool()
    assert Path(shard.path).read_bytes() == content


def test_an_empty_or_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(Drips(b"")))
    with pytest.raises(PairmineError, match="standard input is empty; did the command before the pipe fail"):
        StandardInput()
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PairmineError, match="pipe a pair set or a corpus into it, or name a file"):
        StandardInput()


def test_texts_by_the_line_are_data_where_no_table_stands_beside_them(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "a.txt").write_text("y")
    assert [(Path(shard.name).name, shard.kind) for shard in find_shards(str(tmp_path))] == [
        ("a.txt", "lines"),
        ("b.txt", "lines"),
    ]
    (tmp_path / "c.csv").write_text("id,text")
    assert [Path(shard.name).name for shard in find_shards(str(tmp_path))] == ["c.csv"]


def test_an_ending_without_a_format_is_an_error_unless_the_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "corpus.en").write_text("x")
    assert "the ending says no format; known: .arrow, .csv" in refused(tmp_path / "corpus.en")
    assert ".tsv, .txt, with .gz" in refused(tmp_path / "corpus.en")
    (shard,) = find_shards(str(tmp_path / "corpus.en"), ["text"])
    assert (shard.kind, shard.fields) == ("fields", ("text",))


def test_a_data_set_of_hugging_face_on_disk_is_its_tables(tmp_path: Path) -> None:
    for name in ("data-00000-of-00001.arrow", "dataset_info.json", "state.json"):
        (tmp_path / name).write_bytes(b"{}")
    assert [shard.name.rpartition("/")[2] for shard in find_shards(str(tmp_path))] == ["data-00000-of-00001.arrow"]


@pytest.mark.parametrize("how", ["truncated", "grown", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_read_is_never_taken_for_whole(tmp_path: Path, how: str) -> None:
    path = tmp_path / "c.jsonl"
    lines = "".join(f'{{"id":"{number}","text":"{"x" * 3000}"}}\n' for number in range(3000))
    path.write_text(lines)
    (shard,) = find_shards(str(path))
    rows = read_raw(shard)
    next(rows)
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        (tmp_path / "new").write_text(lines)
        (tmp_path / "new").replace(path)
    else:
        with path.open("r+b") as file:
            file.truncate(len(lines) // 3000 * 2000) if how == "truncated" else file.seek(0, 2)
            file.write(b'{"id":"more","text":"y"}\n' if how == "grown" else b"")
    what = "removed" if how == "removed" else "changed"
    with pytest.raises(PairmineError, match=f"was {what} while it was read; run the same command again") as told:
        list(rows)
    assert told.value.exit_code == 3
    with pytest.raises(PairmineError, match=f"was {what} while it was read"):
        shard.sha256()


def test_a_home_that_nobody_knows_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PairmineError, match="no such file"):
        find_vector_files("~nobody-at-all/vectors.npy", "--vectors")
