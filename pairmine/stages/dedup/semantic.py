"""Texts that say the same in other words: a text leaves when its vector is near that of a text that stays.

A text is held only against those that stay, in the order of preference, so that no chain of neighbours carries texts
away that are far apart (Abbas et al., SemDeDup, 2023, keeps one text of each such ball; it looks within clusters, here
all are looked at). What FAISS finds is measured again, each product summed by itself: no bit depends on blocks or
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.vectors import InMemory, Vectors
from pairmine.backends.vectors.exact import pair_products
from pairmine.identity import NO_TEXT
from pairmine.stages.dedup.choice import Choice
from pairmine.stages.dedup.units import Units

Embed = Callable[[Sequence[str], str], Vectors]
"""Unit vectors of texts; the side is "query" or "document"."""

Begin = Callable[[str, int], Advance]
"""Begins to count so many of something for the user."""

_TOGETHER = 1024
_ROUGH = 1e-3
"""More than a float32 sum of any model's length can be off: what is nearer to the threshold is measured again."""


@dataclass(frozen=True)
class Semantic:
    """For each of n texts the one that stays for it, (n,) int64, itself where it stays, and their cosine, float32."""

    kept: np.ndarray
    cosine: np.ndarray


@dataclass(frozen=True)
class Meaning:
    """Texts whose vectors have a cosine of `threshold` or more say the same."""

    embed: Embed
    threshold: float
    threads: int = 0
    begin: Begin = lambda what, total: nothing

    def thin(self, choice: Choice, units: Units, ranks: np.ndarray) -> Choice:
        """`choice` without the texts that say what a preferred one says, by `ranks` (n,); blank texts say nothing."""
        among = np.flatnonzero(~choice.leaves & (units.keys != NO_TEXT))
        if not len(among):
            return choice
        vectors = self.embed(units.texts.take(pa.array(among)).to_pylist(), choice.side)
        order = np.argsort(ranks[among], kind="stable")
        advance = self.begin("texts compared", len(among))
        found = semantic_copies(vectors, order, self.threshold, threads=self.threads, advance=advance)
        stays = np.arange(len(choice.kept))
        stays[among] = among[found.kept]
        moved = stays != np.arange(len(stays))
        cosine = np.ones(len(stays))
        cosine[among] = found.cosine
        return replace(
            choice,
            kept=stays[choice.kept],
            similarity=np.where(moved, cosine, choice.similarity),
            similar_to=np.where(moved, stays, choice.similar_to),
            is_semantic=moved,
        )


def semantic_copies(
    vectors: Vectors, order: np.ndarray, threshold: float, *, threads: int = 0, advance: Advance = nothing
) -> Semantic:
    """Which texts leave because a preferred one that stays has a cosine of `threshold` or more with them.

    `vectors` are of unit length, `order` (n,) are all places in order of preference. A text that is near several that
    stay leaves for the nearest, the first of equals. Texts are compared with all that stay: n times their number.
    """
    kept, cosine = np.arange(len(vectors)), np.ones(len(vectors), np.float32)
    stayed = _Stayed(vectors, threshold, threads)
    for start in range(0, len(order), _TOGETHER):
        places = order[start : start + _TOGETHER]
        block = np.ascontiguousarray(vectors.take(places))
        nearest, found = stayed.nearest(block)
        _settle(block, places, threshold, nearest, found)
        leaves = nearest >= 0
        kept[places[leaves]], cosine[places[leaves]] = nearest[leaves], found[leaves]
        stayed.add(places[~leaves], block[~leaves])
        advance(len(places))
    # A float32 sum over two equal vectors may come out a little above 1.
    return Semantic(kept, np.minimum(cosine, np.float32(1)))


class _Stayed:
    """The texts that stay so far, in an index of FAISS."""

    def __init__(self, vectors: Vectors, threshold: float, threads: int) -> None:
        import faiss

        if threads:
            faiss.omp_set_num_threads(threads)
        self._index = faiss.IndexFlatIP(vectors.dim)
        self._vectors, self._threshold, self._threads = vectors, threshold, threads
        self._places: list[np.ndarray] = []

    def add(self, places: np.ndarray, block: np.ndarray) -> None:
        self._index.add(block)
        self._places.append(places)

    def nearest(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of those that stay to each vector, -1 where none is near enough, and its cosine."""
        if not self._index.ntotal:
            return np.full(len(block), -1), np.zeros(len(block), np.float32)
        limits, _, found = self._index.range_search(block, self._threshold - _ROUGH)
        rows = np.repeat(np.arange(len(block)), np.diff(limits).astype(np.int64))
        places = np.concatenate(self._places)[found]
        return _best(rows, places, self._measured(block, rows, places), found, len(block), self._threshold)

    def _measured(self, block: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        return pair_products(block, self._vectors, rows, places, threads=self._threads)


def _best(
    rows: np.ndarray, places: np.ndarray, cosines: np.ndarray, since: np.ndarray, count: int, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of each row's places the one with the highest cosine, the one that has stayed longest of equals."""
    near = np.flatnonzero(cosines >= np.float32(threshold))
    near = near[np.lexsort((since[near], -cosines[near], rows[near]))]
    row, first = np.unique(rows[near], return_index=True)
    nearest, cosine = np.full(count, -1), np.zeros(count, np.float32)
    nearest[row], cosine[row] = places[near][first], cosines[near][first]
    return nearest, cosine


def _settle(block: np.ndarray, places: np.ndarray, threshold: float, nearest: np.ndarray, cosine: np.ndarray) -> None:
    """Let texts leave for earlier ones of their own block as well; `nearest` and `cosine` are brought up to date."""
    rows, others = np.nonzero(np.tril(block @ block.T >= threshold - _ROUGH, -1))
    products = pair_products(block, InMemory(block), rows, others)
    near = products >= np.float32(threshold)
    rows, others, products = rows[near], others[near], products[near]
    ends = np.searchsorted(rows, np.arange(len(block) + 1))
    for row in np.unique(rows):
        mine = slice(ends[row], ends[row + 1])
        staying = np.flatnonzero(nearest[others[mine]] < 0)
        if not len(staying):
            continue
        best = staying[np.argmax(products[mine][staying])]
        if nearest[row] < 0 or products[mine][best] > cosine[row]:
            nearest[row], cosine[row] = places[others[mine][best]], products[mine][best]
