"""In a folder that all may write to, nobody's link leads an output elsewhere, and nobody's folder is taken for ours."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pairmine.errors import PairmineError
from pairmine.files.folder import FolderSink
from pairmine.files.links import followed
from pairmine.files.partial import Partial, write_atomically
from pairmine.files.sharded import WorkFolder
from pairmine.files.sketches import SketchFolder

SOMEBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to somebody else")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder as /tmp is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def linked(link: Path, to: Path, owner: int = SOMEBODY) -> None:
    link.symlink_to(to)
    os.lchown(link, owner, owner)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_link_of_another_user_is_not_followed(shared: Path, tmp_path: Path, depth: int) -> None:
    precious = tmp_path / "precious.parquet"
    precious.write_text("mine")
    target = shared / "out.parquet"
    if depth == 0:
        linked(target, precious)
    elif depth == 1:  # by way of a link of ours
        linked(shared / "middle", precious)
        linked(target, shared / "middle", 0)
    else:  # a folder on the way
        linked(shared / "folder", tmp_path)
        target = shared / "folder" / "precious.parquet"
    with pytest.raises(PairmineError, match="is a link of another user"):
        write_atomically(str(target), "overwritten")
    with pytest.raises(PairmineError, match="is a link of another user"):
        Partial(str(target))
    assert precious.read_text() == "mine"


def test_ones_own_links_are_followed_as_ever(shared: Path, tmp_path: Path) -> None:
    linked(shared / "own", tmp_path / "real.txt", 0)
    linked(tmp_path / "elsewhere", tmp_path / "other.txt")  # not in a folder that all may write to
    (tmp_path / "relative").symlink_to("real.txt")
    write_atomically(str(shared / "own"), "one")
    write_atomically(str(tmp_path / "elsewhere"), "two")
    write_atomically(str(tmp_path / "relative"), "three")
    assert (tmp_path / "real.txt").read_text() == "three"
    assert (tmp_path / "other.txt").read_text() == "two"
    (tmp_path / "round").symlink_to("round")
    followed(str(tmp_path / "round"))


def test_a_folder_of_files_is_not_put_where_a_link_leads(shared: Path, tmp_path: Path) -> None:
    linked(shared / "out", tmp_path / "precious")
    with pytest.raises(PairmineError, match="is a link of another user"):
        FolderSink(str(shared / "out"), {})


def test_a_work_folder_of_somebody_else_is_neither_emptied_nor_read(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter.txt").write_text("mine")
    (shared / ".out.parquet.ray").symlink_to(tmp_path / "precious")
    with pytest.raises(PairmineError, match=r"\.out\.parquet\.ray: is a link, where a run keeps its own folder"):
        WorkFolder(str(shared / "out.parquet"), {})
    (shared / ".out.scratch").symlink_to(tmp_path / "precious")
    with pytest.raises(PairmineError, match="is a link"):
        SketchFolder(shared / ".out.scratch", {}, 1 << 20, block_rows=10)
    (shared / ".other.ray").mkdir()
    os.chown(shared / ".other.ray", SOMEBODY, SOMEBODY)
    with pytest.raises(PairmineError, match="belongs to another user"):
        WorkFolder(str(shared / "other"), {})
    assert (tmp_path / "precious" / "letter.txt").read_text() == "mine"


def test_somebodys_pipe_beside_an_output_stops_nothing(shared: Path) -> None:
    os.mkfifo(shared / ".out.txt.0123abcd.partial")
    done = threading.Thread(target=write_atomically, args=(str(shared / "out.txt"), "text"), daemon=True)
    done.start()
    done.join(5)
    assert not done.is_alive()
    assert (shared / "out.txt").read_text() == "text"
