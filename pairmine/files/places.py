"""Small files and folders wherever they lie, on this machine or at an address, and the marks of folders of parts."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairmine.files.folder import MARK
from pairmine.files.lineage import FORMAT, checked_entries
from pairmine.files.locations import STDIN, filesystem_of, is_remote, remotely
from pairmine.files.whole import read_whole
from pairmine.versions import check_format


def read_mark(folder: str) -> dict[str, Any] | None:
    """What the mark of a folder says, wherever it lies, None for one that pairmine did not write in parts."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        body = json.loads(read_text(f"{folder.rstrip('/')}/{MARK}") or "")
        check_format(body.get("format", 1), FORMAT, folder)
        files, rows, entries = list(body["files"]), list(body["rows"]), checked_entries(body["lineage"])
        is_sound = all(isinstance(name, str) and "/" not in name for name in files)
        is_sound &= all(type(count) is int and count >= 0 for count in rows)
        if is_sound:
            return {"files": files, "lineage": entries, "rows": rows}
    return None


def has_parts(folder: str) -> bool:
    """Whether a folder is a table in parts, as a run on shards writes it."""
    mark = None if folder == STDIN else read_mark(folder)
    return mark is not None and len(mark["rows"]) == len(mark["files"]) > 0


def read_text(path: str) -> str | None:
    """A small text, None where it is not there, or is no text any more."""
    if not is_remote(path):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return read_whole(path).decode()
        return None
    filesystem, inner = filesystem_of(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return str(filesystem.cat_file(inner).decode())
    return None


def exists(path: str) -> bool:
    """Whether there is such a file."""
    if not is_remote(path):
        return Path(path).is_file()
    filesystem, inner = filesystem_of(path)
    return bool(filesystem.exists(inner))


def remove_file(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if not is_remote(path):
            Path(path).unlink()
            return
        filesystem, inner = filesystem_of(path)
        filesystem.rm_file(inner)


def remove_tree(path: str) -> None:
    """Remove a folder and all that is in it, if it is there."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    filesystem, inner = filesystem_of(path)
    with contextlib.suppress(FileNotFoundError):
        filesystem.rm(inner, recursive=True)


@contextlib.contextmanager
def remotely_or_here(path: str) -> Iterator[None]:
    """Makes one line of what a remote filesystem raises; of this machine's, `said_plainly` does."""
    if not is_remote(path):
        yield
        return
    with remotely(path, "cannot be written"):
        yield
