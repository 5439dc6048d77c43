"""Small files, and what somebody may have put in their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pairmine.errors import PairmineError
from pairmine.files.labels import Labels
from pairmine.files.places import read_mark, read_text
from pairmine.files.whole import read_whole


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\0b")
    assert read_whole(tmp_path / "a") == b"a\0b"
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "b")
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)


@pytest.mark.parametrize("name", ["pipe", "zero"])
def test_a_pipe_that_nobody_writes_to_and_a_device_without_an_end_are_told_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(PairmineError, match="not a regular file; put what it holds into one and name that"):
        read_whole(tmp_path / name)


def test_a_file_that_is_too_large_is_told_before_it_is_held(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as handle:
        handle.truncate(3 << 20)
    with pytest.raises(PairmineError, match="more than 2 MB, where a small file belongs"):
        read_whole(tmp_path / "large", most_bytes=2 << 20)


def test_a_small_file_takes_no_room_for_the_largest_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert read_whole(tmp_path / "a", most_bytes=1 << 60) == b"a"


def test_a_mark_that_is_no_mark_is_none(tmp_path: Path) -> None:
    for content in (b"\xff\xfe", b"[" * 100_000, b'{"files": [], "rows": [], "lineage": ["x"]}', b"[]", b"{}"):
        (tmp_path / ".pairmine.json").write_bytes(content)
        assert read_mark(str(tmp_path)) is None
    (tmp_path / "text").write_bytes(b"\xff")
    assert read_text(str(tmp_path / "text")) is None


@pytest.mark.parametrize("line", ['"label": ' + "[" * 100_000, '"query_id": "\\ud800", "doc_id": "d", "label": 1}'])
def test_labels_with_half_a_character_or_nested_without_end_are_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "labels.jsonl").write_text("{" + line + '\n{"query_id": "q", "doc_id": "d", "label": 1}\n')
    with pytest.raises(PairmineError, match=r"labels.jsonl:1: is no label"):
        Labels(str(tmp_path / "labels.jsonl"))
