"""Many texts, in memory while they are few and in a temporary file beyond that."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.files.locations import tempdir, told_of_tempdir

_RUN_BYTES = 8 << 20
_GAP_BYTES = 32 << 10


class TextPool:
    """Texts numbered from 0; beyond `limit_bytes` they lie in a file without a name, which goes with the process.

    Offsets stay in memory, 8 bytes a text.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._chunks: list[pa.Array] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._ends: list[np.ndarray] = []
        self._offsets = np.zeros(1, np.int64)
        self._whole: pa.ChunkedArray | None = None
        self._sizes: np.ndarray | None = None

    def append(self, texts: pa.ChunkedArray) -> None:
        """Take in more texts; a null is a blank one."""
        self._whole = self._sizes = None
        for chunk in texts.cast(pa.large_string()).chunks:
            whole = chunk.fill_null("") if chunk.null_count else chunk
            self._chunks.append(whole)
            self._bytes += whole.nbytes
        if self._file is not None or self._bytes > self._limit:
            self._spill()

    def __len__(self) -> int:
        return sum(map(len, self._chunks)) + sum(map(len, self._ends)) + len(self._offsets) - 1

    @property
    def bytes_in_memory(self) -> int:
        """What the texts that are at hand take."""
        return self._bytes

    @property
    def bytes_on_disk(self) -> int:
        """How long the temporary file is, 0 without one."""
        self._join_offsets()
        return int(self._offsets[-1])

    def take(self, rows: np.ndarray) -> pa.Array:
        """The texts at `rows` (n,), in any order, as large strings."""
        if self._file is None:
            if self._whole is None:
                self._whole = pa.chunked_array(self._chunks, pa.large_string())
            found = self._whole.take(pa.array(rows))
            return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        self._join_offsets()
        return self._taken(rows)

    def _taken(self, rows: np.ndarray) -> pa.Array:
        """As `take`, of texts that do not lie in memory."""
        used, at = np.unique(rows, return_inverse=True)
        pieces = [self._read(run) for run in self._runs(used)]
        ordered = pa.concat_arrays(pieces) if pieces else pa.array([], pa.large_string())
        return ordered if len(used) == len(rows) and bool((used == rows).all()) else ordered.take(pa.array(at))

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """The bytes of the texts at `rows`, (n,) int64, without reading them."""
        if self._file is not None:
            self._join_offsets()
            return np.asarray(self._offsets[rows + 1] - self._offsets[rows])
        if self._sizes is None:
            self._sizes = pc.binary_length(pa.chunked_array(self._chunks, pa.large_string())).to_numpy()
        return self._sizes[rows]

    def _spill(self) -> None:
        if self._file is None:
            with told_of_tempdir("the texts"):
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the pool)
        with told_of_tempdir("the texts"):
            for chunk in self._chunks:
                _, offsets, data = chunk.buffers()
                ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
                if len(chunk):
                    self._file.write(memoryview(data)[int(ends[0]) : int(ends[-1])])
                    self._ends.append(np.diff(ends))
            self._file.flush()
        self._chunks, self._bytes, self._sizes = [], 0, None
        # Without this the allocator keeps what it once held, some times the limit.
        pa.default_memory_pool().release_unused()

    def _join_offsets(self) -> None:
        if self._ends:
            lengths = np.concatenate(self._ends)
            self._offsets = np.concatenate([self._offsets, self._offsets[-1] + np.cumsum(lengths)])
            self._ends = []

    def _runs(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Sorted `rows` cut where a long stretch of the file lies between two, or where enough is read at once."""
        low = 0
        starts, ends = self._offsets[rows], self._offsets[rows + 1]
        gaps = np.flatnonzero(starts[1:] - ends[:-1] > _GAP_BYTES) + 1
        for high in [*gaps.tolist(), len(rows)]:
            while low < high:
                end = int(np.searchsorted(ends[low:high], starts[low] + _RUN_BYTES)) + low
                end = min(max(end, low + 1), high)
                yield rows[low:end]
                low = end

    def _read(self, rows: np.ndarray) -> pa.Array:
        """The texts at sorted `rows`, by one read."""
        first, last = int(rows[0]), int(rows[-1])
        offsets = self._offsets[first : last + 2]
        start, size = int(offsets[0]), int(offsets[-1] - offsets[0])
        own = pa.py_buffer(np.ascontiguousarray(offsets - start))
        whole = pa.LargeStringArray.from_buffers(last - first + 1, own, pa.py_buffer(self._bytes_from(start, size)))
        return whole if len(rows) == len(whole) else whole.take(pa.array(rows - first))

    def _bytes_from(self, start: int, size: int) -> bytearray | np.ndarray:
        """So many bytes of the texts, from byte `start` on."""
        assert self._file is not None
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            count = os.preadv(self._file.fileno(), [view[done:]], start + done)
            if not count:
                raise OSError(f"a temporary file in {tempdir()} ended early")
            done += count
        return data
