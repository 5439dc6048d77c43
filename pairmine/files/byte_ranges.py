"""Stretches of a file's bytes, on this machine or at an fsspec address: for what many workers write and read."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import cause, filesystem_of, is_remote, remotely
from pairmine.files.partial import Partial, said_plainly


class ByteRanges:
    """A file that is read a stretch at a time, and opened when it is read first: plain data until then."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._remote: tuple[Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_descriptor": None, "_remote": None}

    def read_into(self, into: np.ndarray, start: int) -> None:
        """Fill `into` (n,) uint8 from byte `start` on. Raises PairmineError where the file ends before that."""
        if is_remote(self.path):
            found = self._fetched(start, start + len(into))
            if len(found) < len(into):
                raise _cut_short(self.path)
            into[:] = np.frombuffer(found, np.uint8)
            return
        view = into.data
        while len(view):
            with _read_plainly(self.path):
                count = os.preadv(self._opened(), [view], start)
            if not count:
                raise _cut_short(self.path)
            view, start = view[count:], start + count

    def read(self, start: int, stop: int) -> np.ndarray:
        """The bytes from `start` to before `stop`, (n,) uint8."""
        found = np.empty(stop - start, np.uint8)
        self.read_into(found, start)
        return found

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def _fetched(self, start: int, stop: int) -> bytes:
        with remotely(self.path, "cannot be read"):
            if self._remote is None:
                self._remote = filesystem_of(self.path)
            filesystem, inner = self._remote
            return bytes(filesystem.cat_file(inner, start=start, end=stop))


def put_bytes(path: str, pieces: Iterable[Any]) -> None:
    """Write `pieces`, which have the buffer interface, one after the other: whole, or not there at all."""
    if not is_remote(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    partial = Partial(path)
    try:
        with said_plainly(path):
            for piece in pieces:
                partial.handle.write(piece)
            partial.commit()
    except BaseException:
        partial.remove()
        raise


def _cut_short(path: str) -> PairmineError:
    return PairmineError(f"{path}: was cut short while it was read; run the same command again", exit_code=GAVE_UP)


@contextmanager
def _read_plainly(path: str) -> Iterator[None]:
    """Turns the operating system's refusal to read into one line."""
    try:
        yield
    except OSError as error:
        line = f"{path}: cannot be read ({cause(error)}); mend that and run the same command again"
        raise PairmineError(line, exit_code=GAVE_UP) from None


def whole_file(path: str) -> bytes:
    """All bytes of a file."""
    if is_remote(path):
        filesystem, inner = filesystem_of(path)
        with remotely(path, "cannot be read"):
            return bytes(filesystem.cat_file(inner))
    with _read_plainly(path):
        return Path(path).read_bytes()
