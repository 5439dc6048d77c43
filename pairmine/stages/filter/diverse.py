"""Picks that look at a query's candidates together, so that its negatives are not all alike."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.stages.filter.columns import remedy
from pairmine.stages.filter.rows import join, places

VECTORS = "document_vector"
NO_TURN = np.iinfo(np.int64).max
_NUMBERS_AT_ONCE = 500_000
_STEPS = 2.0**26
"""Cosines of vectors rounded to so many steps in 1 are exact in float64, whatever the order of the sum."""


class DocumentVectors:
    """The column `document_vector` of a pair set that has one, read where it lies, for the rows `at`.

    Raises a PairmineError where one of these has no vector. `what` says in errors who asks.
    """

    def __init__(self, pairs: pa.Table, at: np.ndarray, what: str) -> None:
        self._what = what
        column = _fixed(pairs[VECTORS], what)
        if missing := int(column.is_null().to_numpy()[at].sum()):
            raise PairmineError(f"{what}: {missing} of {len(at)} candidates have no {VECTORS}; {remedy(VECTORS)}")
        self.dim = column.type.list_size
        self._parts = [_numbers(chunk, self.dim) for chunk in column.chunks]

    def take(self, at: np.ndarray) -> np.ndarray:
        """The vectors of the rows `at`, (len(at), dim) float64 of unit length; a vector of zeros stays one.

        Raises a PairmineError where one of them holds no number.
        """
        found = np.empty((len(at), self.dim))
        start = 0
        for part in self._parts:
            here = np.flatnonzero((at >= start) & (at < start + len(part)))
            found[here] = part[at[here] - start]
            start += len(part)
        wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(wrong):
            row = int(at[wrong[0]]) + 1
            raise PairmineError(
                f"{self._what}: {VECTORS} holds what is no finite number, first in row {row}; {remedy(VECTORS)}"
            )
        length = np.sqrt(np.einsum("rd,rd->r", found, found))
        found *= (_STEPS / np.where(length > 0, length, 1))[:, None]
        np.rint(found, out=found)
        found /= _STEPS
        return found


def _fixed(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    """`column` as lists of one size."""
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.list_(pa.float32(), 1))
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise PairmineError(f"{what}: column {VECTORS} holds {kind}, no vectors; {remedy(VECTORS)}")
    sizes = pc.unique(pc.drop_null(pc.list_value_length(column))).to_pylist() or [1]
    if len(sizes) > 1 or not sizes[0]:
        raise PairmineError(
            f"{what}: the vectors in {VECTORS} have {min(sizes)} to {max(sizes)} dimensions; {remedy(VECTORS)}"
        )
    return column if pa.types.is_fixed_size_list(kind) else column.cast(pa.list_(kind.value_type, sizes[0]))


def _numbers(chunk: pa.FixedSizeListArray, dim: int) -> np.ndarray:
    values = chunk.values.slice(chunk.offset * dim, len(chunk) * dim)
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(len(chunk), dim)
    return numbers


def marginal_turns(
    query: np.ndarray, at: np.ndarray, scores: np.ndarray, most: np.ndarray, vectors: DocumentVectors, balance: float
) -> np.ndarray:
    """When each row is taken by maximal marginal relevance, (n,) int64 from 0, `NO_TURN` for never.

    Rows come by query, best first; `at` says which row of the table each is, `most` (n,) how many its query takes.
    Next is the row of the highest ``balance * score - (1 - balance) * (its highest cosine to a row taken)``, of
    equal ones the first (Carbonell and Goldstein, "The use of MMR", SIGIR 1998).
    """
    turns = np.full(len(query), NO_TURN)
    starts = np.flatnonzero(places(query) == 0)
    sizes = np.diff(np.r_[starts, len(query)])
    for size in np.unique(sizes):
        of_size = starts[sizes == size]
        step = max(1, _NUMBERS_AT_ONCE // (int(size) * vectors.dim))
        for first in range(0, len(of_size), step):
            block = of_size[first : first + step, None] + np.arange(size)
            found = vectors.take(at[block.ravel()]).reshape(*block.shape, vectors.dim)
            turns[block] = _turns(scores[block], found, int(most[block[:, 0]].max()), balance)
    return turns


def _turns(scores: np.ndarray, vectors: np.ndarray, most: int, balance: float) -> np.ndarray:
    """`marginal_turns` of queries with equally many rows: `scores` (queries, rows), `vectors` (queries, rows, dim)."""
    turns = np.full(scores.shape, NO_TURN)
    each = np.arange(len(scores))
    worth = balance * scores.astype(np.float64)
    nearest = np.full(scores.shape, -np.inf)
    gain = worth
    for turn in range(min(most, scores.shape[1])):
        best = np.argmax(gain, axis=1)
        turns[each, best] = turn
        cosines = (vectors @ vectors[each, best][:, :, None])[:, :, 0]
        nearest = np.maximum(nearest, cosines)
        gain = np.where(turns == NO_TURN, worth - (1 - balance) * nearest, -np.inf)
    return turns


def cluster_rounds(query: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The place of each row among those of its query and cluster, (n,) int64 from 0; rows come by query."""
    cell = join(query, cluster)
    order = np.argsort(cell, kind="stable")
    rounds = np.empty(len(query), np.int64)
    rounds[order] = places(cell[order])
    return rounds
