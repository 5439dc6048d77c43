"""What a run adds to the index of documents that were kept, so that the next run's are checked against them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.stages.dedup.bounds import Keys, Scratch, Segment
from pairmine.stages.dedup.kernel.minhash import banding
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.sketching import KEYS, band_count, band_name, sets_of
from pairmine.stages.dedup.units import sides_of

MADE = ("keys", "bands", "rows")
"""Settings that are no options."""


def index_settings(near: Near | None, exact: str) -> dict[str, Any]:
    """What the keys and sets of an index depend on: two runs that differ here cannot share one."""
    if near is None:
        return {"exact_only": True, "exact": exact, "keys": KEYS}
    bands, rows = banding(near.threshold, near.permutations)
    names = ("threshold", "ngram", "permutations", "sentence_words", "short_text_words", "seed")
    chosen = {name: getattr(near, name) for name in names}
    shingles = {"word": "words", "character": "characters"}[near.unit]
    made = {"keys": KEYS, "bands": bands, "rows": rows}
    return {"exact_only": False, "exact": exact, **chosen, "shingles": shingles, **made}


class Addition:
    """Adds the documents that stay to a `segment`: their ids and sets table by table, in the end their keys."""

    def __init__(self, segment: Segment, rows: int, near: Near | None) -> None:
        self._segment = segment
        self._near = near
        self._stays = np.zeros(rows, bool)
        self._seen = 0

    def add(self, table: pa.Table, stays: np.ndarray) -> None:
        """Take the documents of the next `table` that stay, (rows,) bool."""
        self._stays[self._seen : self._seen + len(stays)] = stays
        self._seen += len(stays)
        (units,) = sides_of(table.filter(pa.array(stays)), "document")
        self._segment.put("ids", *_bytes_of(units.ids))
        if self._near:
            texts = sets_of(units.texts, self._near)
            self._segment.put("shingles", texts.shingles.values, texts.shingles.sizes)
            counts = texts.words.sizes
            is_short = counts < max(self._near.sentence_words, self._near.short_text_words)
            values = texts.words.values[np.repeat(is_short, counts)]
            self._segment.put("words", values, np.where(is_short, counts, 0), counts)

    def finish(self, scratch: Scratch, sources: Sequence[tuple[str, int]]) -> None:
        """Write the keys, out of `scratch`. `sources` are the names of the inputs with their rows, in order."""
        names = ["exact", *(band_name(band) for band in range(band_count(self._near)))]
        number = np.cumsum(self._stays, dtype=np.uint32) - np.uint32(1)
        keys = {name: self._kept(scratch.parts(name, scratch.budget_bytes), number) for name in names}
        self._segment.finish(keys, self._kept_of(sources))

    def _kept(self, parts: Iterator[Keys], number: np.ndarray) -> Iterator[Keys]:
        for keys, rows in parts:
            stays = self._stays[rows]
            yield keys[stays], number[rows[stays]]

    def _kept_of(self, sources: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        found, first = [], 0
        for name, rows in sources:
            found.append((name, int(self._stays[first : first + rows].sum())))
            first += rows
        return found


def _bytes_of(ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    if not len(ids):
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    ends = np.frombuffer(ids.buffers()[1], np.int64)[ids.offset : ids.offset + len(ids) + 1]
    data = np.frombuffer(ids.buffers()[2] or b"", np.uint8)
    return data[ends[0] : ends[-1]], np.diff(ends)
