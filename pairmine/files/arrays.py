"""Flat arrays in a file that is whole or not there at all, read a stretch at a time and without a memory map."""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import cause
from pairmine.files.partial import Partial, said_plainly
from pairmine.versions import check_format

_TAIL = struct.Struct("<Q8s")
_MAGIC = b"PMARRAYS"
FORMAT = 1
_PAGE = 512
_AT_ONCE = 1 << 20
_FENCE = ".fence"

Pieces = Iterator[tuple[np.ndarray, np.ndarray]]


class ArrayWriter:
    """Writes named arrays one after the other, each in as many pieces as it comes in; `commit` puts the file in place.

    Only whole arrays count: with `begin` one ends and the next one starts.
    """

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._partial = Partial(self._target)
        self._arrays: dict[str, dict[str, Any]] = {}
        self._offset = 0

    def begin(self, name: str, kind: Any) -> Callable[[np.ndarray], None]:
        """Start an array of numpy type `kind`; the function takes its pieces."""
        entry = self._arrays[name] = {"type": np.dtype(kind).str, "count": 0, "offset": self._offset}

        def append(piece: np.ndarray) -> None:
            data = np.ascontiguousarray(piece, entry["type"])
            with said_plainly(self._target):
                self._partial.handle.write(data.data.cast("B") if data.size else b"")
            entry["count"] += len(data)
            self._offset += data.nbytes

        return append

    def put(self, name: str, values: np.ndarray) -> None:
        """Write a whole array."""
        self.begin(name, values.dtype)(values)

    def put_keys(self, name: str, pieces: Pieces) -> None:
        """Write keys, uint64, ascending through all `pieces`, with a row, uint32, to each."""
        fence, count, rows = [np.empty(0, np.uint64)], 0, []
        append = self.begin(name, np.uint64)
        for keys, of_key in pieces:
            append(keys)
            fence.append(keys[-count % _PAGE :: _PAGE].copy())
            rows.append(of_key.astype(np.uint32))
            count += len(keys)
        append = self.begin(f"{name}.rows", np.uint32)
        for piece in rows:
            append(piece)
        self.put(f"{name}{_FENCE}", np.concatenate(fence))

    def commit(self, **facts: Any) -> None:
        """Finish the file, with some facts about it."""
        foot = json.dumps({"format": FORMAT, "arrays": self._arrays, "facts": facts}).encode()
        with said_plainly(self._target):
            self._partial.handle.write(foot + _TAIL.pack(len(foot), _MAGIC))
            self._partial.commit()

    def remove(self) -> None:
        """Drop the unfinished file; nothing happens after `commit`."""
        self._partial.remove()


class ArrayFile:
    """A file that `ArrayWriter` wrote. It is opened anew for each read, since there may be many.

    Raises PairmineError for a file that is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for
            raise damaged(path)
        size = state.st_size
        length, magic = _TAIL.unpack(self._bytes(max(size - _TAIL.size, 0), _TAIL.size))
        if magic != _MAGIC or length > size - _TAIL.size:
            raise damaged(path)
        try:
            foot = json.loads(self._bytes(size - _TAIL.size - length, length))
            # The first ones had no version.
            check_format(foot.get("format", 1), FORMAT, str(path))
            self._arrays: dict[str, dict[str, Any]] = foot["arrays"]
            self.facts: dict[str, Any] = foot["facts"]
            if not all(_is_inside(entry, size - _TAIL.size - length) for entry in self._arrays.values()):
                raise ValueError("an array that is not in the file")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SyntaxError):
            raise damaged(path) from None

    def count(self, name: str) -> int:
        """How long an array is."""
        return int(self._entry(name)["count"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """A stretch of an array."""
        entry = self._entry(name)
        kind = np.dtype(entry["type"])
        stop = entry["count"] if stop is None else min(stop, entry["count"])
        found = np.empty(max(stop - start, 0), kind)
        self._fill(found, entry["offset"] + start * kind.itemsize)
        return found

    def read_many(self, name: str, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Stretches of an array, one after the other. `starts` and ends ascend; neighbours are read together."""
        if not len(starts):
            return np.empty(0, self._entry(name)["type"])
        ends = starts + sizes
        if min(sizes.min(), starts.min()) < 0 or ends[-1] > self.count(name) or not _ascend(starts, ends):
            raise damaged(self.path)
        far = np.flatnonzero(starts[1:] - ends[:-1] > _PAGE) + 1
        cuts = [0, *far.tolist(), len(starts)]
        pieces = []
        for low, high in pairwise(cuts):
            whole = self.read(name, int(starts[low]), int(ends[high - 1]))
            wanted = sizes[low:high]
            at = np.repeat(starts[low:high] - starts[low] - (np.cumsum(wanted) - wanted), wanted)
            at += np.arange(len(at))
            pieces.append(whole[at])
        return np.concatenate(pieces)

    def keys(self, name: str) -> KeyRun:
        """The keys that `put_keys` wrote under that name."""
        return KeyRun(self, name)

    def _entry(self, name: str) -> dict[str, Any]:
        if name not in self._arrays:
            raise damaged(self.path)
        return self._arrays[name]

    def _bytes(self, offset: int, size: int) -> bytes:
        found = np.zeros(size, np.uint8)
        self._fill(found, offset)
        return found.tobytes()

    def _fill(self, into: np.ndarray, offset: int) -> None:
        view = into.data.cast("B") if into.size else memoryview(b"")
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise PairmineError(f"{self.path}: {cause(error)}; run the same command again", exit_code=GAVE_UP) from None
        try:
            while len(view):
                count = os.preadv(descriptor, [view], offset)
                if not count:
                    raise damaged(self.path)
                view, offset = view[count:], offset + count
        finally:
            os.close(descriptor)


def damaged(path: Path) -> PairmineError:
    """The error for a file that is not as it was written."""
    return PairmineError(f"{path}: is damaged; remove it, and what it belongs to")


def _ascend(*lists: np.ndarray) -> bool:
    return not any((each[1:] < each[:-1]).any() for each in lists)


def _is_inside(entry: dict[str, Any], size: int) -> bool:
    """Whether an array of numbers lies within the first `size` bytes of its file."""
    kind, count, offset = np.dtype(entry["type"]), entry["count"], entry["offset"]
    is_sound = kind.kind in "uif" and type(count) is int and type(offset) is int and count >= 0 <= offset
    return is_sound and offset + count * kind.itemsize <= size


class KeyRun:
    """Ascending keys in a file with the row of each; a fence of every 512th tells where to read."""

    def __init__(self, file: ArrayFile, name: str) -> None:
        self._file = file
        self._name = name
        self._fence = file.read(f"{name}{_FENCE}")

    def __len__(self) -> int:
        return self._file.count(self._name)

    def between(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys from `low` to before `high`, which may be 2^64, and their rows."""
        start, stop = self._place(low), self._place(high)
        return self._read(start, stop)

    def find(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the ascending keys `wanted` stand: the number of each found one among them, and its row."""
        numbers, rows = [np.empty(0, np.int64)], [np.empty(0, np.uint32)]
        # A key may fill several pages, from the one before the first fence that is as large.
        first = np.maximum(np.searchsorted(self._fence, wanted) - 1, 0)
        last = np.searchsorted(self._fence, wanted, side="right")
        for low, high in _stretches(first, last):
            keys, of_key = self._read(low * _PAGE, high * _PAGE)
            some = np.flatnonzero((first < high) & (last > low))
            start = np.searchsorted(keys, wanted[some])
            count = np.searchsorted(keys, wanted[some], side="right") - start
            numbers.append(np.repeat(some, count))
            shift = np.repeat(start - (np.cumsum(count) - count), count)
            rows.append(of_key[np.arange(len(shift)) + shift])
        return np.concatenate(numbers), np.concatenate(rows)

    def _place(self, key: int) -> int:
        """How many keys are less than `key`."""
        if key >= 1 << 64:
            return len(self)
        page = max(int(np.searchsorted(self._fence, np.uint64(key))) - 1, 0)
        keys = self._file.read(self._name, page * _PAGE, (page + 1) * _PAGE)
        return page * _PAGE + int(np.searchsorted(keys, np.uint64(key)))

    def _read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        keys, rows = self._file.read(self._name, start, stop), self._file.read(f"{self._name}.rows", start, stop)
        if len(rows) not in (0, len(keys)) or not _ascend(keys):  # pairs have no rows
            raise damaged(self._file.path)
        return keys, rows


def _stretches(first: np.ndarray, last: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pages from `first` to before `last`, both ascending, in stretches that are read at once."""
    if not len(first) or not last[-1]:
        return
    gaps = np.flatnonzero(first[1:] > last[:-1]) + 1
    lows, highs = first[np.append(0, gaps)], last[np.append(gaps, len(last)) - 1]
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        for start in range(low, high, _AT_ONCE // _PAGE):
            yield start, min(high, start + _AT_ONCE // _PAGE)
