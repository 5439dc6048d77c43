"""How alike two texts look: edit distances and ratios, without any model.

The matrices of the textbook algorithms are kept a column at a time in the bits of one integer, which Python
makes as wide as a text needs: Myers, "A fast bit-vector algorithm for approximate string matching based on
dynamic programming", J. ACM 46 (1999), and Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.schema import TEXT, cast_column
from pairmine.stages.filter.rows import join
from pairmine.tokens import tokens

_ROWS_AT_ONCE = 65_536
_MOST_BLOCKS = 16
"""Searching for more blocks than so takes as long as counting letters does."""

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Measure(Generic[Prepared]):
    """What is compared of two texts: `prepare` looks at each text once, `compare` at a query's and a document's."""

    prepare: Callable[[str], Prepared]
    compare: Callable[[Prepared, Prepared], float]


def measured(pairs: pa.Table, rows: np.ndarray, measure: Measure[Prepared], *, what: str) -> np.ndarray:
    """`measure` of query and document in each of `rows` (a mask), (n,) float64; NaN elsewhere and without text.

    Equal pairs of texts are compared once in each run of rows that share their dictionaries. Raises a
    PairmineError, which says `what` wants the texts, where the pair set has none.
    """
    for side in ("query", "document"):
        if side not in pairs.column_names:
            raise PairmineError(f'{what} compares texts, and the pair set has no "{side}" column; keep texts in it')
    found = np.full(pairs.num_rows, np.nan)
    texts = pa.table({side: cast_column(pairs[side], TEXT, side) for side in ("query", "document")})
    start = 0
    for batch in texts.to_batches(max_chunksize=_ROWS_AT_ONCE):
        here = slice(start, start + batch.num_rows)
        valid = batch["query"].is_valid().to_numpy(False) & batch["document"].is_valid().to_numpy(False)
        at = np.flatnonzero(rows[here] & valid)
        if len(at):
            found[start + at] = _compared(batch, at, measure)
        start += batch.num_rows
    return found


def _compared(batch: pa.RecordBatch, at: np.ndarray, measure: Measure[Prepared]) -> np.ndarray:
    sides = [batch[side].indices.fill_null(0).to_numpy(False)[at].astype(np.int64) for side in ("query", "document")]
    distinct, back = np.unique(join(*sides), return_inverse=True)
    prepared = [
        _prepared(batch[side].dictionary, codes, measure.prepare)
        for side, codes in zip(("query", "document"), (distinct >> 32, distinct & 0xFFFFFFFF), strict=True)
    ]
    values = np.fromiter(map(measure.compare, *prepared), np.float64, len(distinct))
    compared: np.ndarray = values[back]
    return compared


def _prepared(texts: pa.Array, codes: np.ndarray, prepare: Callable[[str], Prepared]) -> list[Prepared]:
    used, back = np.unique(codes, return_inverse=True)
    values = [prepare(text) for text in texts.take(pa.array(used)).to_pylist()]
    return [values[place] for place in back.tolist()]


def word_ratio() -> Measure[list[str]]:
    """2 * (longest common subsequence of words) / (words of both), 0 to 1: 1 minus the share of words to edit.

    Words as in `pairmine.tokens`: Chinese, Japanese and Thai characters are one each.
    """
    masks = _Masks()

    def compare(one: list[str], other: list[str]) -> float:
        return 2 * masks.common(one, other) / ((len(one) + len(other)) or 1)

    return Measure(tokens, compare)


def word_distance(most: int | None = None) -> Measure[list[str]]:
    """How many words to insert, delete or replace, Levenshtein's distance; above `most` perhaps too low a figure."""
    masks = _Masks()

    def compare(one: list[str], other: list[str]) -> float:
        if most is not None and (least := masks.least_distance(one, other)) > most:
            return least
        return masks.distance(one, other)

    return Measure(tokens, compare)


def alike(ratio: float) -> Measure[str]:
    """1 where more than `ratio` of the characters stay, else 0; texts as `identity.normalise` leaves them.

    The ratio is 2 * (longest common subsequence) / (both lengths), that of `Levenshtein.ratio`. Most pairs
    are settled by their lengths or letters, before any matrix.
    """
    masks = _Masks()

    def compare(one: str, other: str) -> float:
        short, total = min(len(one), len(other)), len(one) + len(other)
        if 2 * short <= ratio * total:
            return 0
        if one == other:
            return 1
        if not _share_a_block(one, other, math.ceil(total * (1 - ratio))):
            return 0
        left, right = _trimmed(one, other)
        same = (total - len(left) - len(right)) // 2
        letters = sum((Counter(left) & Counter(right)).values())
        if 2 * (same + letters) <= ratio * total:
            return 0
        return float(2 * (same + masks.common(left, right)) > ratio * total)

    return Measure(normalise, compare)


def _share_a_block(one: str, other: str, edits: int) -> bool:
    """False only where more than `edits` insertions and deletions lie between the two.

    Cut into more blocks than that, a text has one that no edit touches, and the other text has it too.
    """
    width = len(one) // (edits + 1)
    if not width or edits >= _MOST_BLOCKS:
        return True
    return any(one[start : start + width] in other for start in range(0, len(one), width))


def _trimmed(one: str, other: str) -> tuple[str, str]:
    """Both texts without the start and the end that they share; no optimal edit lies there."""
    head = _shared(one, other)
    one, other = one[head:], other[head:]
    tail = _shared(one[::-1], other[::-1])
    return one[: len(one) - tail], other[: len(other) - tail]


def _shared(one: str, other: str) -> int:
    """How many characters the two start with in common; found by halving, since slices compare in C."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class _Masks:
    """Where each item stands in a sequence, as bits; kept for the next call, as a query is compared many times."""

    def __init__(self) -> None:
        self._of: Sequence[Hashable] | None = None
        self._masks: dict[Hashable, int] = {}

    def _read(self, items: Sequence[Hashable]) -> dict[Hashable, int]:
        if items is not self._of:
            self._of, self._masks = items, {}
            for place, item in enumerate(items):
                self._masks[item] = self._masks.get(item, 0) | 1 << place
        return self._masks

    def common(self, one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
        """The length of the longest common subsequence."""
        masks = self._read(one)
        free = full = (1 << len(one)) - 1
        for here in [masks[item] for item in other if item in masks]:
            taken = free & here
            free = (free + taken) | (free - taken)
        return len(one) - (free & full).bit_count()

    def least_distance(self, one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
        """What Levenshtein's distance is at least: items that the longer one has alone must be edited."""
        masks = self._read(one)
        shared = len([item for item in other if item in masks])
        return max(len(other) - shared, len(one) - len(other))

    def distance(self, one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
        """Levenshtein's distance."""
        if not one:
            return len(other)
        masks = self._read(one)
        full, last = (1 << len(one)) - 1, 1 << len(one) - 1
        up, down, count = full, 0, len(one)
        for item in other:
            equal = masks.get(item, 0)
            carried = (((equal & up) + up) ^ up) | equal
            rise, fall = down | (full & ~(carried | up)), up & carried
            count += bool(rise & last) - bool(fall & last)
            rise, fall = rise << 1 | 1, fall << 1
            kept = equal | down
            up, down = (fall | ~(kept | rise)) & full, rise & kept & full
        return count
