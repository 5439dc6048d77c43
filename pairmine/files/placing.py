"""Putting a folder of parts in its place, of which nothing is lost that pairmine did not write."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from pairmine.errors import PairmineError
from pairmine.files.folder import MARK, drop_replaced, mark_of
from pairmine.files.links import followed
from pairmine.files.locations import UNFINISHED, filesystem_of, is_remote, remotely
from pairmine.files.partial import said_plainly, sync_names
from pairmine.files.places import read_mark

_PART = re.compile(r"part-\d{5,}\.\w+|" + re.escape(MARK))


def check_folder(target: str) -> None:
    """Raise PairmineError where something stands that no run wrote and that would be lost."""
    found, is_unfinished = _found_in(target)
    mark = read_mark(target) if is_remote(target) else mark_of(os.path.realpath(target))
    known = {*(str(name) for name in mark["files"]), MARK} if mark else set()
    if is_unfinished:
        known |= {name for name in found if _PART.fullmatch(name)} | {UNFINISHED}
    if strange := sorted(found - known):
        shown = ", ".join(strange[:3]) + (f", and {len(strange) - 3} more" if len(strange) > 3 else "")
        raise PairmineError(f"{target}: holds what pairmine did not write ({shown}); name another folder, or empty it")


def _found_in(target: str) -> tuple[set[str], bool]:
    """The names in a folder, none where there is no folder, and whether a run has not finished putting its parts."""
    is_file = PairmineError(f"{target}: is a file, and --engine ray writes a folder of parts there; name another")
    if not is_remote(target):
        final = followed(target)
        if final.is_file():
            raise is_file
        with said_plainly(target):
            return {each.name for each in final.iterdir()} if final.exists() else set(), False
    filesystem, inner = filesystem_of(target)
    with remotely(target, "cannot be read"):
        if not filesystem.exists(inner):
            return set(), False
        if filesystem.isfile(inner):
            raise is_file
        names = {str(name).rstrip("/").rpartition("/")[2] for name in filesystem.ls(inner, detail=False)}
        return names - {""}, UNFINISHED in names


def swap(made: Path, target: str) -> None:
    """Put the folder `made` in the place of `target`, and remove those that stood there before."""
    final = followed(target)
    # A name of its own: an earlier run's that could not be removed may stand there, and process numbers come again.
    before = final.with_name(f".{final.name}.{secrets.token_hex(4)}.old")
    try:
        if final.exists():
            final.rename(before)
        made.rename(final)
    except BaseException:  # an interrupt too: one of the two stands there
        if before.exists() and not final.exists():
            before.rename(final)
        raise
    drop_replaced(final)  # also the one that a run left which was killed here
    sync_names(target, final.parent)


def place_remotely(target: str, paths: list[str], names: list[str], mark: str) -> None:
    """Move the parts to where they belong; until the mark is there, the folder is known to be unfinished."""
    filesystem, inner = filesystem_of(target)
    listed = (read_mark(target) or {}).get("files", [])
    filesystem.makedirs(inner, exist_ok=True)
    before = {name for name in _found_in(target)[0] if name in listed or _PART.fullmatch(name)} - {MARK}
    filesystem.pipe_file(f"{inner}/{UNFINISHED}", b"")
    for path, name in zip(paths, names, strict=True):
        filesystem.copy(filesystem_of(path)[1], f"{inner}/{name}")
    for name in sorted(before - {*names}):
        filesystem.rm_file(f"{inner}/{name}")
    filesystem.pipe_file(f"{inner}/{MARK}", mark.encode())
    filesystem.rm_file(f"{inner}/{UNFINISHED}")
