"""An output appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pairmine.errors import PairmineError
from pairmine.files.partial import Partial, write_atomically


def test_the_target_is_untouched_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    partial = Partial(str(target))
    partial.handle.write(b"after")
    assert target.read_text() == "before"
    partial.commit()
    assert target.read_text() == "after"
    assert os.listdir(tmp_path) == ["out"]


def test_a_partial_file_that_a_killed_run_left_is_removed_and_a_live_one_is_not(tmp_path: Path) -> None:
    (tmp_path / ".out.123.partial").write_text("left by a killed run")
    (tmp_path / ".other.123.partial").write_text("another target's")
    live = Partial(str(tmp_path / "out"))
    second = Partial(str(tmp_path / "out"))
    assert len(list(tmp_path.glob(".out.*.partial"))) == 2
    live.handle.write(b"one")
    second.handle.write(b"two")
    live.commit()
    second.commit()
    assert (tmp_path / "out").read_text() == "two"
    assert sorted(os.listdir(tmp_path)) == [".other.123.partial", "out"]


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    partial = Partial(str(tmp_path / "out"))
    partial.remove()
    partial.remove()
    assert not os.listdir(tmp_path)


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    write_atomically(str(tmp_path / "out"), "x")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "real").read_text() == "x"


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    write_atomically("/dev/null", "x")
    assert not Path("/dev/null").is_file()
    assert not list(Path("/dev").glob(".null.*"))


def test_names_with_brackets_and_long_ones_work(tmp_path: Path) -> None:
    names = ("a[1]*?.txt", "n" * 250, "\u6f22" * 80 + ".jsonl", "e" + "\u0301" * 120, "n\udcff" + "\udc80" * 250)
    for name in names:
        write_atomically(str(tmp_path / name), "x")
        assert (tmp_path / name).read_text() == "x"
    assert len(os.listdir(tmp_path)) == len(names)


@pytest.mark.parametrize(
    "letters", ["n" * 250, "\u6f22" * 80, "e" + "\u0301" * 120, "\U0001f469" * 60], ids=["1", "3", "2", "4"]
)
def test_a_long_name_is_cut_between_letters(tmp_path: Path, letters: str) -> None:
    partial = Partial(str(tmp_path / letters))
    (found,) = os.listdir(tmp_path)
    partial.remove()
    kept = found[1:].partition(".")[0]
    assert letters.startswith(kept)
    assert 197 <= len(os.fsencode(kept)) <= 200


@pytest.mark.parametrize(("target", "line"), [("", "is a folder; name a file in it"), ("no/out", "make it first")])
def test_a_target_that_cannot_be_is_told(tmp_path: Path, target: str, line: str) -> None:
    with pytest.raises(PairmineError, match=line):
        Partial(str(tmp_path / target))
