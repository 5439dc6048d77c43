"""Tests that compare two texts of a query: near copies, queries copied from their document, lengths that tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.identity import normalise
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.check.catalog import COPIED_WORDS, NEAR_COPY, SURE_SHARE
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.tallies import Note, Tallies
from pairmine.stages.dedup.kernel import read_column
from pairmine.stages.dedup.matches import Near, compare_pairs
from pairmine.stages.export.rows import Texts
from pairmine.tokens import tokens

_NEAR = Near(NEAR_COPY, 3, 128, 32, 80, 1, 0)
"""The verdict of `pairmine dedup`, whose rules for short texts tell an edited sentence from a copy."""
_AT_ONCE, _PAIRS_AT_ONCE = 8_192, 2_000_000
MOST_POSITIVES = 200
"""So many positives of a query are held against each of its negatives (ours)."""
_FEW = 50


class Compared:
    """The tests of two texts; lengths are added up until the end."""

    def __init__(self, workers: int) -> None:
        self._near = replace(_NEAR, workers=workers)
        self._longer = self._shorter = 0
        self._examples: list[int] = []

    def add(self, chunk: Chunk, found: Tallies) -> None:
        """Look at a chunk of whole queries."""
        if chunk.documents is None:
            return
        if found.wants("near-positive-among-negatives"):
            _near_positives(chunk, chunk.documents, self._near, found)
        if chunk.queries is not None and found.wants("query-copies-document"):
            _copied(chunk, chunk.queries, chunk.documents, self._near, found)
        if found.wants("length-tells-label"):
            self._lengths(chunk, chunk.documents)

    def merge(self, other: Compared) -> None:
        """Take in the lengths in other rows."""
        self._longer += other._longer
        self._shorter += other._shorter
        self._examples = sorted({*self._examples, *other._examples})[:_FEW]

    def finish(self, found: Tallies) -> None:
        """Tell of the lengths."""
        compared = self._longer + self._shorter
        found.looked("length-tells-label", compared)
        more = max(self._longer, self._shorter)
        if compared >= _FEW and more > SURE_SHARE * compared:
            word = "longer" if self._longer > self._shorter else "shorter"
            found.found_many("length-tells-label", more, self._examples, f"the positive is {word} than its negatives")

    def _lengths(self, chunk: Chunk, documents: Texts) -> None:
        length = pc.fill_null(pc.utf8_length(documents.values), 0).to_numpy(zero_copy_only=False)[documents.codes]
        for one, other in pairs_of_labels(chunk):
            self._longer += int((length[one] > length[other]).sum())
            self._shorter += int((length[one] < length[other]).sum())
            if len(self._examples) < _FEW:
                more = chunk.rows(distinct(one)[:_FEW]).tolist()
                self._examples = sorted({*self._examples, *more})[:_FEW]


def pairs_of_labels(chunk: Chunk) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of a positive and a negative of one query, as places in the chunk, (m,) int64 each, a block at a time.

    All pairs of a negative are in one block, its positives in the order of their rows: the first `MOST_POSITIVES`,
    since a query with thousands of both has more pairs than memory holds.
    """
    stretch = np.cumsum(np.append(True, np.diff(chunk.query_ids) != 0)[: len(chunk)]) - 1
    positive, negative = np.flatnonzero(chunk.label == POSITIVE), np.flatnonzero(chunk.label == NEGATIVE)
    low = np.searchsorted(stretch[positive], stretch[negative], "left")
    high = np.searchsorted(stretch[positive], stretch[negative], "right")
    counts = np.minimum(high - low, MOST_POSITIVES)
    step = _PAIRS_AT_ONCE // MOST_POSITIVES if counts.sum() > _PAIRS_AT_ONCE else max(len(negative), 1)
    for start in range(0, len(negative), step):
        some = slice(start, start + step)
        ends = np.cumsum(counts[some])
        at = np.arange(int(counts[some].sum())) + np.repeat(low[some] - (ends - counts[some]), counts[some])
        yield positive[at], np.repeat(negative[some], counts[some])


def _near_positives(chunk: Chunk, documents: Texts, near: Near, found: Tallies) -> None:
    """Negatives that nearly copy a positive of their query; exact copies are another test's."""
    for one, other in pairs_of_labels(chunk):
        found.looked("near-positive-among-negatives", len(distinct(other)))
        differ = (chunk.told[one] != chunk.told[other]) & (chunk.told[one] > 0) & (chunk.told[other] > 0)
        one, other = one[differ], other[differ]
        close = _alike(documents, documents.codes[one], documents.codes[other], near)
        rows, first = np.unique(other[close], return_index=True)
        found.found("near-positive-among-negatives", chunk.rows(rows), _near_to(chunk.rows(one[close][first])))


def _near_to(rows: np.ndarray) -> Note:
    return lambda at: f"row {rows[at] + 1:,}, a positive of its query, has nearly its text"


def _alike(texts: Texts, left: np.ndarray, right: np.ndarray, near: Near) -> np.ndarray:
    """Whether the texts with those codes are near copies, (n,) bool; few texts are read at a time."""
    length = pc.fill_null(pc.binary_length(texts.values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    # Texts whose lengths lie far apart cannot share four shingles in five, unless their words differ much in length.
    short, long = np.minimum(length[left], length[right]), np.maximum(length[left], length[right])
    worth = np.flatnonzero(3 * short >= long)
    found = np.zeros(len(left), bool)
    for start in range(0, len(worth), _AT_ONCE):
        some = worth[start : start + _AT_ONCE]
        used, places = np.unique(np.concatenate([left[some], right[some]]), return_inverse=True)
        sets = read_column(pa.chunked_array([texts.values.take(pa.array(used)).cast(pa.large_string())]), near)
        ones, others = places[: len(some)], places[len(some) :]
        worded = (sets.shingles.sizes[ones] > 0) & (sets.shingles.sizes[others] > 0)
        found[some[worded]] = compare_pairs(sets, ones[worded], others[worded], near)[1]
    return found


def _copied(chunk: Chunk, queries: Texts, documents: Texts, near: Near, found: Tallies) -> None:
    """Positives that hold their query word for word, or are it nearly."""
    rows = np.flatnonzero((chunk.label == POSITIVE) & (chunk.asked > 0) & (chunk.told > 0))
    found.looked("query-copies-document", len(rows))
    same = chunk.asked[rows] == chunk.told[rows]
    found.found("query-copies-document", chunk.rows(rows[same]), "query and document are one text")
    rows = rows[~same]
    held = _held(queries, documents, rows)
    found.found("query-copies-document", chunk.rows(rows[held]), "the document holds the query word for word")
    rows = rows[~held]
    both = Texts(
        pa.concat_arrays([each.values.cast(pa.large_string()) for each in (queries, documents)]), np.empty(0, np.int64)
    )
    alike = _alike(both, queries.codes[rows], documents.codes[rows] + len(queries.values), near)
    found.found("query-copies-document", chunk.rows(rows[alike]), "the query is a near copy of the document")


def _held(queries: Texts, documents: Texts, rows: np.ndarray) -> np.ndarray:
    """Whether the document of each row holds its query of some words, (n,) bool; titles are words too."""
    size = pc.fill_null(pc.utf8_length(queries.values), 0).to_numpy(zero_copy_only=False)
    found = np.zeros(len(rows), bool)
    codes = distinct(queries.codes[rows[size[queries.codes[rows]] > COPIED_WORDS]])
    wanted = {
        code: normal
        for code, text in zip(codes.tolist(), queries.values.take(pa.array(codes)).to_pylist(), strict=True)
        if len(tokens(normal := normalise(text).rstrip(" .?!"))) >= COPIED_WORDS
    }
    at = [number for number, row in enumerate(rows.tolist()) if int(queries.codes[row]) in wanted]
    texts = documents.values.take(pa.array(documents.codes[rows[at]])).to_pylist() if at else []
    for number, text in zip(at, texts, strict=True):
        found[number] = wanted[int(queries.codes[rows[number]])] in normalise(text)
    return found
