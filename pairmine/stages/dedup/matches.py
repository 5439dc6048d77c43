"""Which texts are near copies: candidates by MinHash, each verified by exact Jaccard similarity; and their groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from pairmine.stages.dedup.candidates import candidates
from pairmine.stages.dedup.crowds import Crowd, crowd_of, join
from pairmine.stages.dedup.groups import components, first_of_each, stars
from pairmine.stages.dedup.kernel import Sketches, read_column, sketch
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.stages.dedup.verify import Counts, Pairs, SetsOf, compare, compare_pairs, verify

__all__ = ["Matches", "Near", "Pairs", "compare_pairs", "find_matches", "grouped", "match"]


@dataclass(frozen=True)
class Near:
    """When two texts are near copies, and how hard to look.

    Their sets of shingles of `ngram` words, or with the `unit` "character" of as many code points, have a
    Jaccard similarity of `threshold` or more. Two texts that both have fewer than `short_text_words` words
    must also nest, one holding all words of the other: a passage cut or extended is a copy, but "... near
    the gate" and "... behind the gate" are two statements. Below `sentence_words` they hold the same words,
    in another order at most.
    `engine` is "compiled", "plain", or "auto" for the faster one.
    """

    threshold: float
    ngram: int
    permutations: int
    sentence_words: int
    short_text_words: int
    workers: int
    seed: int
    unit: str = "word"
    engine: str = "auto"


@dataclass(frozen=True)
class Matches:
    """Near copies among n texts: `groups` (n,) int64 holds, for each text, the first one of its group.

    A pair that other pairs connect already may be missing from `pairs`. The texts' sets come from `sets_of` when they
    are asked for; `shingles` (n,) says how many each has at most.
    """

    pairs: Pairs
    groups: np.ndarray
    shingles: np.ndarray
    sets_of: SetsOf
    near: Near

    def similarity_of(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For pairs of texts with words: their Jaccard similarity, float64, and whether they are near copies, bool."""
        packed, known = self._known
        wanted = _packed(left, right)
        at = np.minimum(np.searchsorted(packed, wanted), max(len(packed) - 1, 0))
        is_match = packed[at] == wanted if len(packed) else np.zeros(len(wanted), bool)
        similarity = np.empty(len(wanted))
        similarity[is_match] = known[at[is_match]]
        rest = np.flatnonzero(~is_match)
        similarity[rest], is_match[rest] = compare(self.sets_of, left[rest], right[rest], self.shingles, self.near)
        return similarity, is_match

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        packed = _packed(self.pairs.left, self.pairs.right)
        order = np.argsort(packed)
        return packed[order], self.pairs.similarity[order]


def _packed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    packed: np.ndarray = np.minimum(left, right) << 32 | np.maximum(left, right)
    return packed


def find_matches(column: pa.ChunkedArray, near: Near) -> Matches:
    """The near copies in a column without nulls; a text without a word is never one."""
    return match(column, sketch(column, near), np.arange(len(column)), near)


def match(
    column: pa.ChunkedArray,
    sketches: Sketches,
    texts: np.ndarray,
    near: Near,
    *,
    group: str = "chain",
    ranks: np.ndarray | None = None,
) -> Matches:
    """The near copies among those `texts` of a column, ascending positions, that have a word; see `grouped`."""

    def sets_of(some: np.ndarray) -> Texts:
        return read_column(_taken(column, some), near)

    worded = texts[sketches.shingles[texts] > 0]
    found = candidates(sketches.keys, worded, near.engine)
    counts = Counts(sketches.shingles, sketches.words)
    pairs = verify(sets_of, found.left, found.right, counts, near)
    keys = sketches.keys[:, found.crowded]
    return grouped(pairs, found.crowded, keys, counts.shingles, sets_of, near, group=group, ranks=ranks)


def _taken(column: pa.ChunkedArray, texts: np.ndarray) -> pa.ChunkedArray:
    """The texts at those ascending positions. `ChunkedArray.take` would copy the whole column first."""
    ends = np.cumsum([0, *map(len, column.chunks)])
    cuts = np.searchsorted(texts, ends)
    bounds = zip(column.chunks, ends, cuts, cuts[1:], strict=False)
    parts = [chunk.take(pa.array(texts[low:high] - first)) for chunk, first, low, high in bounds if low < high]
    return pa.chunked_array(parts, column.type)


def grouped(
    pairs: Pairs,
    crowded: np.ndarray,
    keys: np.ndarray,
    shingles: np.ndarray,
    sets_of: SetsOf,
    near: Near,
    *,
    group: str = "chain",
    ranks: np.ndarray | None = None,
) -> Matches:
    """The groups that verified `pairs` of n texts make, and the near copies among the `crowded` texts.

    `crowded` ascends; `keys` (bands, len(crowded)) are their band keys, `shingles` (n,) is how many each text has at
    most. In a ``chain``, copies of copies are one group. In a ``star``, each text in order of `ranks` (n,) joins the
    first kept one that it matches by itself, else it is kept; `ranks` None means that the first texts come first.
    """
    crowd = crowd_of(sets_of(crowded), keys, near)
    if group == "star":
        groups, pairs = _in_stars(pairs, crowded, crowd, np.arange(len(shingles)) if ranks is None else ranks, near)
    else:
        pairs = pairs.and_also(join(crowd, near).of(crowded))
        groups = components(len(shingles), pairs.left, pairs.right)
    return Matches(pairs, groups, shingles, sets_of, near)


def _in_stars(
    pairs: Pairs, crowded: np.ndarray, crowd: Crowd, ranks: np.ndarray, near: Near
) -> tuple[np.ndarray, Pairs]:
    """For each text the first one of its group, and all pairs."""
    is_member = np.zeros(len(ranks), bool)
    is_member[pairs.left] = is_member[pairs.right] = is_member[crowded] = True
    members = np.flatnonzero(is_member)
    members = members[np.argsort(ranks[members], kind="stable")]
    item = np.empty(len(ranks), np.int64)
    item[members] = np.arange(len(members))
    place = np.full(len(members), -1)
    place[item[crowded]] = np.arange(len(crowded))
    one, other = item[pairs.left], item[pairs.right]
    earlier, later = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((earlier, later))
    known = Ragged(earlier[order], np.searchsorted(later[order], np.arange(len(members) + 1)))
    found = stars(known, place, crowd, near)
    groups = np.arange(len(ranks))
    groups[members] = members[found.leaders]
    return first_of_each(groups), pairs.and_also(found.pairs.of(members))
