"""Vectors in immutable files: the key of each text and its vector, with checksums; whole or not there at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
import weakref
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pairmine.backends.vectors.codec import VECTOR_TYPES, Codec
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.unfinished import begun, over
from pairmine.versions import check_format

ENDING = ".shard"
FORMAT = 1
_PARTIAL = ".partial"
_KEY_BYTES = 16
_HEAD = struct.Struct("<8sIIIQII")
_HEAD_BYTES = 64
_MAGIC = b"PMVECTOR"
_READ_BYTES = 8 << 20
_GAP = 16
"""Rows that are read along rather than left out: one longer read costs less than two."""


class Damaged(Exception):
    """A file that is no whole shard; the message says why."""


class Rows:
    """Rows of equal length in an open file, read without a memory map: what was read leaves no trace in memory."""

    def __init__(self, path: Path | str, descriptor: int, offset: int, row_bytes: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._offset = offset
        self._row_bytes = row_bytes
        weakref.finalize(self, os.close, descriptor)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` to before `stop`, (n, row_bytes) uint8."""
        found = np.empty((stop - start, self._row_bytes), np.uint8)
        self.read_bytes(found, self._offset + start * self._row_bytes)
        return found

    def read_bytes(self, into: np.ndarray, offset: int) -> None:
        """Fill `into` from `offset` of the file on."""
        view = into.data.cast("B") if into.size else memoryview(b"")
        while len(view):
            count = os.preadv(self._descriptor, [view], offset)
            if not count:
                raise PairmineError(
                    f"{self.path}: was cut short while it was read; run the same command again", exit_code=GAVE_UP
                )
            view, offset = view[count:], offset + count

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows with these numbers, in any order, (n, row_bytes) uint8; neighbours are read together."""
        if not len(rows):
            return np.empty((0, self._row_bytes), np.uint8)
        if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self.read(int(rows[0]), int(rows[-1]) + 1)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order].astype(np.int64)
        piece = ordered // max(_READ_BYTES // self._row_bytes, 1)
        ends = np.append(np.flatnonzero((np.diff(ordered) > _GAP) | (np.diff(piece) > 0)) + 1, len(ordered))
        found = np.empty((len(rows), self._row_bytes), np.uint8)
        start = 0
        for end in ends.tolist():
            first = int(ordered[start])
            read = self.read(first, int(ordered[end - 1]) + 1)
            found[order[start:end]] = read[ordered[start:end] - first]
            start = end
        return found

    def write(self, rows: np.ndarray, content: np.ndarray) -> None:
        """Put `content` (n, row_bytes) in the places of `rows`; may raise OSError."""
        order = np.argsort(rows, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(rows[order]) != 1) + 1, len(rows))
        start = 0
        for end in ends.tolist():
            view = np.ascontiguousarray(content[order[start:end]]).data.cast("B")
            offset = self._offset + int(rows[order[start]]) * self._row_bytes
            while len(view):
                count = os.pwrite(self._descriptor, view, offset)
                view, offset = view[count:], offset + count
            start = end


class Shard(Rows):
    """One file: (n, 2) uint64 `keys`, and as many vectors as `codec` packs them.

    Raises Damaged for a file that is torn or whose head or keys do not agree with their checksums, and
    FileNotFoundError for one that is gone. It stays open, so that it can be read when it is gone later.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        super().__init__(path, descriptor, 0, 1)
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        if len(head) < _HEAD_BYTES or zlib.crc32(head[:-4]) != int.from_bytes(head[-4:], "little"):
            raise Damaged("its head is damaged")
        magic, version, kind, dim, rows, crc_of_keys, self._crc = _HEAD.unpack_from(head)
        if magic != _MAGIC or not version:
            raise Damaged("it is no shard of vectors")
        check_format(version, FORMAT, str(path), ", or name another --store")
        if kind >= len(VECTOR_TYPES):
            raise Damaged("it is no shard of vectors")
        self.codec = Codec(VECTOR_TYPES[kind], dim)
        self.rows = rows
        self._offset, self._row_bytes = _HEAD_BYTES + rows * _KEY_BYTES, self.codec.row_bytes
        self.bytes = os.fstat(descriptor).st_size
        if self.bytes != self._offset + rows * self._row_bytes:
            raise Damaged("it was cut short")
        self.keys = np.empty((rows, 2), "<u8")
        self.read_bytes(self.keys, _HEAD_BYTES)
        if zlib.crc32(self.keys.data) != crc_of_keys:
            raise Damaged("its keys do not agree with their checksum")
        self._is_sound: bool | None = None

    @property
    def is_sound(self) -> bool:
        """Whether the vectors agree with their checksum; they are read for that once."""
        if self._is_sound is None:
            crc, step = 0, max(_READ_BYTES // self._row_bytes, 1)
            for start in range(0, self.rows, step):
                crc = zlib.crc32(self.read(start, min(start + step, self.rows)).data, crc)
            self._is_sound = crc == self._crc
        return self._is_sound


def write_shard(folder: Path, codec: Codec, keys: np.ndarray, pieces: Iterable[np.ndarray]) -> Path:
    """Write a shard of `keys` (n, 2) uint64 and packed rows: beside, synced, renamed. May raise OSError."""
    target = folder / (secrets.token_hex(8) + ENDING)
    keys = np.ascontiguousarray(keys, "<u8")
    with put_whole(target) as handle:
        handle.write(bytes(_HEAD_BYTES))
        handle.write(keys.data.cast("B") if keys.size else b"")
        crc = 0
        for piece in pieces:
            view = np.ascontiguousarray(piece).data.cast("B")
            crc = zlib.crc32(view, crc)
            handle.write(view)
        kind = VECTOR_TYPES.index(codec.kind)
        head = _HEAD.pack(_MAGIC, FORMAT, kind, codec.dim, len(keys), zlib.crc32(keys.data), crc)
        head = head.ljust(_HEAD_BYTES - 4, b"\0")
        handle.seek(0)
        handle.write(head + zlib.crc32(head).to_bytes(4, "little"))
    return target


@contextlib.contextmanager
def put_whole(target: Path) -> Iterator[IO[bytes]]:
    """A file to write, which is `target` when the block ends without an error: beside, synced, renamed.

    May raise OSError, and then leaves nothing behind.
    """
    partial, handle = _begin(target)
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        over(partial)
        raise
    over(partial)
    sync_folder(target.parent)


def _begin(target: Path) -> tuple[Path, IO[bytes]]:
    """A new partial file that is locked; another process's `sweep` may come before the lock."""
    while True:
        partial = target.parent / f".{target.name}.{secrets.token_hex(4)}{_PARTIAL}"
        begun(partial)
        try:
            handle = partial.open("xb")
        except OSError:
            over(partial)
            raise
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if partial.exists():
            return partial, handle
        handle.close()


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what killed runs left half-written in `folder`: partial files that nobody holds a lock on."""
    for left in folder.glob(f".*{_PARTIAL}"):
        with contextlib.suppress(OSError), left.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
