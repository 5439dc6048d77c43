"""What others may have put where an output goes: in a folder that all may write to, their links are not followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pairmine.errors import PairmineError

_MOST_LINKS = 40


def followed(target: str) -> Path:
    """The file or folder that `target` is, behind links.

    Linux follows no link in a folder such as /tmp that is neither ours nor the folder owner's, lest it lead a program
    to write over a file of its user; what is renamed into a place was not opened there, so we must look ourselves.
    Raises PairmineError for such a link.
    """
    path = os.path.abspath(target)
    for _ in range(_MOST_LINKS):
        link = _first_link(path)
        if link is None:
            break
        _check(target, link)
        behind = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(link)), os.readlink(link)))
        path = behind + path[len(link) :]
    return Path(os.path.realpath(target))


def check_own(folder: str, remedy: str) -> None:
    """Raise PairmineError where `folder`, which a run makes, reads back and removes, was put there by somebody else."""
    try:
        found = os.lstat(folder)
    except OSError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise PairmineError(f"{folder}: is a link, where a run keeps its own folder; remove it{remedy}")
    if _is_of_others(found, os.path.dirname(folder)):
        raise PairmineError(f"{folder}: belongs to another user, where a run keeps its own folder{remedy}")


def _first_link(path: str) -> str | None:
    """The first part of a path that is a link."""
    parts = [Path(path), *Path(path).parents]
    return next((str(each) for each in reversed(parts) if each.is_symlink()), None)


def _check(target: str, link: str) -> None:
    try:
        found = os.lstat(link)
    except OSError:
        return
    if _is_of_others(found, os.path.dirname(link)):
        raise PairmineError(
            f"{target}: {link} is a link of another user in a folder that all may write to; name another place"
        )


def _is_of_others(found: os.stat_result, folder: str) -> bool:
    """Whether something in a folder that everybody may write to is neither ours nor the folder's owner's."""
    try:
        parent = os.stat(folder or ".")
    except OSError:
        return False
    is_open = parent.st_mode & stat.S_ISVTX and parent.st_mode & stat.S_IWOTH
    return bool(is_open) and found.st_uid not in (os.geteuid(), parent.st_uid)
