"""Plain texts with one item to a line, as a list."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.files.lineage import Lineage
from pairmine.files.text_lines import open_lines


def put(folder: Path, name: str, content: bytes | str) -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / name)


def refused(path: str) -> str:
    with pytest.raises(PairmineError) as caught:
        open_lines(path).read()
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(Path(path).parent) + "/", "")


@pytest.mark.parametrize("name", ["corpus.en", "corpus.txt", "corpus", "lines.tsv"])
def test_blank_lines_keep_their_place_beside_another_file_whatever_the_ending(tmp_path: Path, name: str) -> None:
    source = open_lines(put(tmp_path, name, "\ufeffone\r\n\r\n  日本語 \ntab\there"))
    assert source.read() == ["one", "", "  日本語 ", "tab\there"]
    assert source.rows == 4


def test_a_last_line_end_is_no_further_line(tmp_path: Path) -> None:
    assert open_lines(put(tmp_path, "a.de", "x\ny\n")).read() == ["x", "y"]
    assert open_lines(put(tmp_path, "b.de", "x\n\n")).read() == ["x", ""]


def test_compressed_lines_are_read(tmp_path: Path) -> None:
    assert open_lines(put(tmp_path, "a.en.gz", gzip.compress(b"x\ny\n"))).read() == ["x", "y"]
    assert open_lines(put(tmp_path, "a.en.zst", pa.compress(b"x\ny\n", codec="zstd", asbytes=True))).read() == [
        "x",
        "y",
    ]


def test_lines_come_out_of_a_pipe_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"one\ntwo\n")), isatty=lambda: False)  # type: ignore[arg-type]
    monkeypatch.setattr("sys.stdin", stdin)
    assert open_lines("-").read() == ["one", "two"]


def test_the_lineage_has_the_files_digest_and_its_lines(tmp_path: Path) -> None:
    source = open_lines(put(tmp_path, "a.en", "x\ny\n"))
    source.read()
    record = Lineage()
    source.add_to(record, "target")
    (noted,) = record.inputs
    assert (noted["role"], noted["rows"], len(noted["sha256"])) == ("target", 2, 64)


def test_what_is_no_text_by_the_line_is_told(tmp_path: Path) -> None:
    assert (
        refused(put(tmp_path, "a.jsonl", "{}\n"))
        == "a.jsonl: is jsonl, where a plain text with one item to a line belongs; name one"
    )
    assert refused(put(tmp_path, "a.en", "")) == "a.en: the file is empty; write it again or name another"
    assert refused(put(tmp_path, "b.en", b"x\n\xe9\n")).startswith("b.en:2: not UTF-8")
    assert refused(put(tmp_path, "c.en", gzip.compress(b"x\n"))) == "c.en: holds gzip data; rename it to c.en.gz"
    (tmp_path / "folder").mkdir()
    told = "folder: is a folder, where a file with one item to a line belongs; name one"
    assert refused(str(tmp_path / "folder")) == told
    assert refused(str(tmp_path / "none.en")) == "none.en: no such file or folder"
