"""Many texts in files that several machines write, a part each, and all of them read by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.files.byte_ranges import ByteRanges, put_bytes
from pairmine.files.text_pool import TextPool


@dataclass(frozen=True)
class TextPart:
    """A file of texts, one behind the other, and the bytes of each, (n,) int32."""

    path: str
    lengths: np.ndarray


def write_texts(path: str, texts: pa.ChunkedArray) -> TextPart:
    """Write the part `path`; a null is a blank text."""
    lengths = [np.empty(0, np.int32)]
    chunks = []
    for chunk in texts.cast(pa.large_string()).chunks:
        whole = chunk.fill_null("") if chunk.null_count else chunk
        if not len(whole):
            continue
        _, offsets, data = whole.buffers()
        ends = np.frombuffer(offsets, np.int64)[whole.offset : whole.offset + len(whole) + 1]
        lengths.append(np.diff(ends).astype(np.int32))
        chunks.append(memoryview(data if data is not None else b"")[int(ends[0]) : int(ends[-1])])
    put_bytes(path, chunks)
    return TextPart(path, np.concatenate(lengths))


class TextParts(TextPool):
    """The texts of some parts as one pool, numbered through; 8 bytes of memory for each, and plain data to send."""

    def __init__(self, parts: Sequence[TextPart]) -> None:
        super().__init__(0)
        self._parts = [ByteRanges(part.path) for part in parts]
        sizes = [np.empty(0, np.int32), *(part.lengths for part in parts)]
        self._offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes), dtype=np.int64)])
        self._firsts = np.cumsum([0, *(int(part.lengths.sum(dtype=np.int64)) for part in parts)])

    def append(self, texts: pa.ChunkedArray) -> None:
        """Parts are whole."""
        raise NotImplementedError

    def take(self, rows: np.ndarray) -> pa.Array:
        """The texts at `rows` (n,), in any order, as large strings."""
        return self._taken(rows)

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """The bytes of those at `rows`, (n,) int64, without reading them."""
        return np.asarray(self._offsets[rows + 1] - self._offsets[rows])

    def _bytes_from(self, start: int, size: int) -> np.ndarray:
        data = np.empty(size, np.uint8)
        stop = start + size
        number = int(np.searchsorted(self._firsts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self._firsts[number + 1]))
            at = start + size - stop
            self._parts[number].read_into(data[at : at + end - start], start - int(self._firsts[number]))
            start, number = end, number + 1
        return data
