"""Which texts are near copies: candidates by MinHash, each verified by its exact Jaccard similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.stages.dedup.minhash import banding, candidates, sketch
from pairmine.stages.dedup.shingles import Ragged, Texts, read_column

MOST_COMPARED = 5000


@dataclass(frozen=True)
class Near:
    """When two texts are near copies, and how hard to look.

    Their sets of `ngram`-word shingles have a Jaccard similarity of `threshold` or more. Two texts
    that both have fewer than `short_text_words` words must also nest, one holding all words of the
    other: a passage cut or extended is a copy, but "... near the gate" and "... behind the gate" are
    two statements. Below `sentence_words` they hold the same words, in another order at most.
    """

    threshold: float
    ngram: int
    permutations: int
    sentence_words: int
    short_text_words: int
    workers: int
    seed: int


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts that were verified as near copies, with their Jaccard similarity, float64.

    `compared` counts the pairs whose similarity was computed to find these, `passed_over` those that
    `join` left out for their number.
    """

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray
    compared: int
    passed_over: int = 0


@dataclass(frozen=True)
class Matches:
    """Near copies among n texts. `texts` are those at the ascending positions `members`, all matched ones among them.

    A pair that other pairs connect already may be missing from `pairs`.
    """

    pairs: Pairs
    members: np.ndarray
    texts: Texts
    near: Near

    def similarity_of(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For pairs of `members`: their Jaccard similarity, float64, and whether they are near copies, bool."""
        left, right = np.searchsorted(self.members, left), np.searchsorted(self.members, right)
        return compare_pairs(self.texts, left, right, self.near)


def find_matches(column: pa.ChunkedArray, near: Near) -> Matches:
    """The near copies in a column without nulls; a text without a word is never one."""
    bands, rows = banding(near.threshold, near.permutations)
    sketches = sketch(column, bands=bands, rows=rows, ngram=near.ngram, seed=near.seed, workers=near.workers)
    worded = np.flatnonzero(sketches.has_words)
    left, right, crowded = candidates(sketches.keys[worded])
    candidate = np.zeros(len(column), bool)
    candidate[worded[np.concatenate([left, right, crowded])]] = True
    members = np.flatnonzero(candidate)
    texts = read_column(column.filter(pa.array(candidate)), near.ngram, near.workers)
    left, right, crowd = (np.searchsorted(members, worded[found]) for found in (left, right, crowded))
    plain = _verify(texts, left, right, near)
    joined = join(texts.take(crowd), sketches.keys[worded[crowded]], near)
    pairs = Pairs(
        members[np.concatenate([plain.left, crowd[joined.left]])],
        members[np.concatenate([plain.right, crowd[joined.right]])],
        np.concatenate([plain.similarity, joined.similarity]),
        plain.compared + joined.compared,
        joined.passed_over,
    )
    return Matches(pairs, members, texts, near)


def _verify(texts: Texts, left: np.ndarray, right: np.ndarray, near: Near) -> Pairs:
    possible = _sizes_allow(texts.shingles.sizes[left], texts.shingles.sizes[right], near.threshold)
    left, right = left[possible], right[possible]
    similarity, is_match = compare_pairs(texts, left, right, near)
    return Pairs(left[is_match], right[is_match], similarity[is_match], len(left))


def _sizes_allow(left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """A set smaller than t times the other cannot reach Jaccard similarity t with it."""
    allowed: np.ndarray = np.minimum(left, right) / np.maximum(left, right) >= threshold
    return allowed


def compare_pairs(texts: Texts, left: np.ndarray, right: np.ndarray, near: Near) -> tuple[np.ndarray, np.ndarray]:
    """For pairs of `texts` that have a word: their Jaccard similarity, float64, and whether they are near copies."""
    similarity, is_match = np.empty(len(left)), np.empty(len(left), bool)
    order = np.argsort(left, kind="stable")
    for run in np.split(order, np.flatnonzero(np.diff(left[order])) + 1):
        if len(run):
            similarity[run], is_match[run] = _compare(texts, int(left[run[0]]), right[run], near)
    return similarity, is_match


def _compare(texts: Texts, one: int, others: np.ndarray, near: Near) -> tuple[np.ndarray, np.ndarray]:
    similarity = texts.jaccard(one, others)
    is_match = similarity >= near.threshold
    size, sizes = texts.words.sizes[one], texts.words.sizes[others]
    longer = np.maximum(size, sizes)
    is_match &= (longer >= near.sentence_words) | (size == sizes)
    doubtful = np.flatnonzero(is_match & (longer < max(near.sentence_words, near.short_text_words)))
    if len(doubtful):
        is_match[doubtful] = texts.nested(one, others[doubtful])
    return similarity, is_match


def join(texts: Texts, keys: np.ndarray, near: Near) -> Pairs:
    """Pairs enough to connect all near copies among texts in crowded buckets, without comparing everyone to everyone.

    A template filled a thousand times puts a thousand texts into one bucket. So two texts are
    compared only when they share a band (`keys`, (n, bands)), are not connected yet, and share one
    of their rarest shingles: sets with Jaccard similarity t share one among the |A| - ceil(t |A|) + 1
    rarest of each (prefix filter; Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and Srikant,
    WWW 2007). None of the three loses a connection. Where more than `MOST_COMPARED` texts are left
    to compare one with, it is compared with those that share the most bands, which the matches do;
    that keeps the work in proportion to the number of texts, and `passed_over` tells of it.
    """
    forest = _Forest(len(keys))
    sizes = texts.shingles.sizes
    lefts, rights, similarities, compared, passed_over = [], [], [], 0, 0
    for text, others in _sharing_rare_shingles(texts.shingles, near.threshold, forest):
        others = others[_sizes_allow(sizes[text], sizes[others], near.threshold)]
        shared_bands = (keys[others] == keys[text]).sum(axis=1)
        closest = np.argsort(-shared_bands, kind="stable")[: np.count_nonzero(shared_bands)]
        passed_over += max(0, len(closest) - MOST_COMPARED)
        others = others[closest[:MOST_COMPARED]]
        similarity, is_match = _compare(texts, text, others, near)
        forest.unite(text, others[is_match])
        compared += len(others)
        lefts.append(np.full(int(is_match.sum()), text))
        rights.append(others[is_match])
        similarities.append(similarity[is_match])
    nothing = np.empty(0, np.int64)
    left, right = np.concatenate([nothing, *lefts]), np.concatenate([nothing, *rights])
    return Pairs(left, right, np.concatenate([np.empty(0), *similarities]), compared, passed_over)


def _sharing_rare_shingles(sets: Ragged, threshold: float, forest: _Forest) -> Iterator[tuple[int, np.ndarray]]:
    """Each text with the later ones that share a rare shingle and are not connected with it yet."""
    shingles, owners = _rarest(sets, threshold)
    is_first = np.diff(shingles, prepend=-1) != 0
    bucket_of = np.cumsum(is_first) - 1
    ends = np.append(np.flatnonzero(is_first)[1:], len(shingles))
    by_owner = np.argsort(owners, kind="stable")
    own = np.searchsorted(owners[by_owner], np.arange(len(sets) + 1))
    settled = np.zeros(len(ends), bool)
    for text in range(len(sets)):
        found = []
        for position in by_owner[own[text] : own[text + 1]]:
            bucket = bucket_of[position]
            if settled[bucket]:
                continue
            later = owners[position + 1 : ends[bucket]]
            apart = later[forest.roots(later) != forest.root(text)]
            # The later ones are connected with this text, hence with each other: nothing is left to find here.
            settled[bucket] = not len(apart)
            found.append(apart)
        others = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
        if len(others):
            yield text, others


def _rarest(sets: Ragged, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(shingle, set), ascending: the rarest shingles of each set, as far as another set has them among its own."""
    _, shingles, counts = np.unique(sets.values, return_inverse=True, return_counts=True)
    owners = np.repeat(np.arange(len(sets)), sets.sizes)
    order = np.lexsort((shingles, counts[shingles], owners))
    # The small number keeps t |A| = 4.000000000000001 from being rounded up to 5.
    wanted = sets.sizes - np.ceil(threshold * sets.sizes - 1e-9).astype(np.int64) + 1
    is_rare = np.arange(len(owners)) - sets.offsets[owners] < wanted[owners]
    shingles, owners = shingles[order][is_rare], owners[is_rare]
    order = np.lexsort((owners, shingles))
    shingles, owners = shingles[order], owners[order]
    is_shared = np.bincount(shingles)[shingles] > 1
    return shingles[is_shared], owners[is_shared]


class _Forest:
    """Union-find over n texts, in arrays."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)

    def root(self, text: int) -> int:
        return int(self.roots(np.array([text]))[0])

    def roots(self, texts: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._parents[texts]
        while not np.array_equal(above := self._parents[found], found):
            found = above
        self._parents[texts] = found
        return found

    def unite(self, text: int, others: np.ndarray) -> None:
        roots = np.append(self.roots(others), self.root(text))
        self._parents[roots] = roots.min()
