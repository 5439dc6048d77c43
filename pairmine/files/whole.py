"""Small files read as a whole, whatever somebody has put in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pairmine.errors import PairmineError

MOST_BYTES = 256 << 20


def read_whole(path: str | Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file.

    Raises OSError where it cannot be read, and PairmineError for what is no file, such as a pipe that nobody writes to
    or a device without an end, and for one that is too large to be held.
    """
    with open(path, "rb", opener=_without_waiting) as handle:
        found = os.fstat(handle.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise PairmineError(f"{path}: not a regular file; put what it holds into one and name that")
        # Never read(most_bytes + 1): it takes room for that many at once, and fails where memory is limited.
        if found.st_size <= most_bytes and len(content := handle.read()) <= most_bytes:
            return content
    raise PairmineError(f"{path}: more than {most_bytes >> 20} MB, where a small file belongs; name another")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
