"""A folder is put in its place: whatever comes between, the old one or the new one is there, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pairmine.files.folder import MARK, FolderSink
from pairmine.files.placing import swap


def by_swap(folder: Path) -> None:
    """As a run on shards does."""
    made = folder / "work" / "parts"
    made.mkdir(parents=True)
    (made / "rows.jsonl").write_text("new")
    (made / MARK).write_text('{"files": ["rows.jsonl"], "lineage": []}')
    try:
        swap(made, str(folder / "out"))
    finally:
        for left in (*made.glob("*"), made, made.parent):
            if left.exists():
                left.rmdir() if left.is_dir() else left.unlink()


def by_sink(folder: Path) -> None:
    """As an export does."""
    sink = FolderSink(str(folder / "out"), {})
    try:
        sink.put("rows.jsonl", pa.table({"text": ["new"]}))
        sink.commit([])
    except BaseException:
        sink.abort()
        raise


WAYS = pytest.mark.parametrize("put", [by_swap, by_sink])


@WAYS
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("is_done", [True, False])
def test_an_interrupt_while_a_folder_is_replaced_loses_neither(
    put: Callable[[Path], None], nth: int, is_done: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_sink(tmp_path)
    before = (tmp_path / "out" / "rows.jsonl").read_text()
    rename, count = Path.rename, 0

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count != nth:
            return rename(self, target)
        if is_done:
            rename(self, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(tmp_path)
    assert (tmp_path / "out" / "rows.jsonl").read_text()[:3] in (before[:3], "new")
    by_sink(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("there", [True, False])
def test_two_exports_into_one_folder_at_once_both_finish(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        by_sink(tmp_path)
    rename, count = Path.rename, 0

    def overtaken(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if self.suffix == ".partial" and count < 3:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "rename", rename)
                by_sink(tmp_path)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    by_sink(tmp_path)
    assert count > 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@WAYS
def test_a_folder_that_a_killed_run_had_set_aside_goes_with_the_next(
    put: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / ".out.4711.old").mkdir()
    (tmp_path / ".out.4711.old" / "rows.jsonl").write_text("older")
    put(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_the_disk_would_not_remove_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_swap(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("pairmine.files.placing.drop_replaced", lambda final: None)
        by_swap(tmp_path)
        by_swap(tmp_path)
    by_swap(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
