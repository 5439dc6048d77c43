"""Tests of languages, on a seeded sample: a classifier takes a millisecond for two texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pairmine.identity import seed_of
from pairmine.llm.replies.language import is_in_another_language, is_not_in, surest_language
from pairmine.schema import POSITIVE
from pairmine.stages.check.catalog import SURE_SHARE
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.tallies import Tallies
from pairmine.stages.dedup.kernel.hashes import mixed

SAMPLE = 2_000
"""Positives that are looked at (ours): a mixture of 1 % is told to half a percent."""
_FEW = 50


@dataclass(frozen=True)
class _Pair:
    row: int
    query: str
    document: str


class Languages:
    """Keeps the positives of the smallest seeded hashes, and looks at them at the end."""

    def __init__(self, *, seed: int, size: int = SAMPLE) -> None:
        self._salt = np.uint64(seed_of(seed, "check", "languages"))
        self._size = size
        self._keys = np.empty(0, np.uint64)
        self._pairs: list[_Pair] = []

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk."""
        if chunk.queries is None or chunk.documents is None:
            return
        rows = np.flatnonzero((chunk.label == POSITIVE) & (chunk.asked > 0) & (chunk.told > 0))
        keys = mixed(chunk.rows(rows).astype(np.uint64) ^ self._salt)
        best = np.argsort(keys, kind="stable")[: self._size]
        if len(self._keys) == self._size:
            best = best[keys[best] < self._keys.max()]
        rows, keys = rows[best], keys[best]
        texts = [each.plain(rows).to_pylist() for each in (chunk.queries, chunk.documents)]
        pairs = [_Pair(*each) for each in zip(chunk.rows(rows).tolist(), *texts, strict=True)]
        self._keep(pairs, keys)

    def merge(self, other: Languages) -> None:
        """Take in the sample of other rows."""
        self._keep(other._pairs, other._keys)

    def _keep(self, pairs: list[_Pair], keys: np.ndarray) -> None:
        everything = np.concatenate([self._keys, keys])
        order = np.argsort(everything, kind="stable")[: self._size]
        both = [*self._pairs, *pairs]
        self._pairs, self._keys = [both[at] for at in order], everything[order]

    def finish(self, found: Tallies) -> None:
        """Tell of the sample."""
        self._pairs.sort(key=lambda pair: pair.row)
        found.looked("language-mixture", len(self._pairs))
        other = [pair.row for pair in self._pairs if is_in_another_language(pair.query, pair.document)]
        found.found("language-mixture", np.array(other, np.int64))
        if found.wants("stray-language"):
            self._stray(found)

    def _stray(self, found: Tallies) -> None:
        """Documents that are surely not in the language of nearly all."""
        sure = [code for pair in self._pairs if (code := surest_language(pair.document)) is not None]
        found.looked("stray-language", len(self._pairs))
        if len(sure) < _FEW:
            return
        code, count = Counter(sure).most_common(1)[0]
        if count >= SURE_SHARE * len(sure):
            stray = [pair.row for pair in self._pairs if is_not_in(pair.document, code)]
            found.found("stray-language", np.array(stray, np.int64), f'nine in ten are in "{code}"')
