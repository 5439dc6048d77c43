"""Texts as sets of word n-grams, and the exact Jaccard similarity of two such sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.tokens import tokens

TEXTS_A_CHUNK = 512

# Processes take a second to start, in which one of them reads about this many bytes of text.
WORTH_PROCESSES = 8_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Ragged:
    """n sets of 64-bit hashes, one after the other: set i is ``values[offsets[i]:offsets[i + 1]]``, ascending.

    `values` uint64, `offsets` (n + 1,) int64. Two different things share a hash once in 2^64; that
    is what "exact" means for counts of shared members.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,) int64: members of each set."""
        return np.diff(self.offsets)

    def take(self, items: np.ndarray) -> Ragged:
        """The sets at the positions `items`, in that order."""
        starts, sizes = self.offsets[items], self.sizes[items]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        return Ragged(self.values[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)], offsets)

    def shared(self, one: int, others: np.ndarray) -> np.ndarray:
        """How many members set `one` shares with each of `others`, (len(others),) int64."""
        base, taken = self.values[self.offsets[one] : self.offsets[one + 1]], self.take(others)
        if not len(base):
            return np.zeros(len(others), np.int64)
        found = np.minimum(np.searchsorted(base, taken.values), len(base) - 1)
        hits = np.concatenate(([0], np.cumsum(base[found] == taken.values)))
        shared: np.ndarray = hits[taken.offsets[1:]] - hits[taken.offsets[:-1]]
        return shared


def stack(rows: Sequence[np.ndarray]) -> Ragged:
    """One set per row, each (members,) uint64 and ascending."""
    sizes = [len(row) for row in rows]
    offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    return Ragged(np.concatenate([np.empty(0, np.uint64), *rows]), offsets)


@dataclass(frozen=True)
class Texts:
    """What is left of n texts: the set of `shingles` of each, nothing when it has no word, and its bag of `words`.

    A bag holds a word's second occurrence as a member of its own, so its size counts the words.
    """

    shingles: Ragged
    words: Ragged

    def take(self, items: np.ndarray) -> Texts:
        """The texts at the positions `items`, in that order."""
        return Texts(self.shingles.take(items), self.words.take(items))

    def jaccard(self, one: int, others: np.ndarray) -> np.ndarray:
        """Jaccard similarity of the shingles of text `one` and of each of `others`, (len(others),) float64.

        All of them have a word; the empty set is similar to nothing.
        """
        shared = self.shingles.shared(one, others)
        similarity: np.ndarray = shared / (self.shingles.sizes[one] + self.shingles.sizes[others] - shared)
        return similarity

    def nested(self, one: int, others: np.ndarray) -> np.ndarray:
        """Whether each of `others` and text `one` differ by words added on one side only, (len(others),) bool."""
        smaller = np.minimum(self.words.sizes[one], self.words.sizes[others])
        nested: np.ndarray = self.words.shared(one, others) == smaller
        return nested


def read_texts(texts: Sequence[str], ngram: int) -> Texts:
    """The shingles of `ngram` words and the words of each text; a shorter text is one shingle of all its words."""
    hashes: dict[str, int] = {}
    factors = _factors(ngram)
    shingles, words = [], []
    for text in texts:
        found = tokens(text)
        row = np.fromiter((hashes.get(token) or _hash(token, hashes) for token in found), np.uint64, len(found))
        shingles.append(np.unique(_shingles(row, factors)))
        words.append(_bag(row))
    return Texts(stack(shingles), stack(words))


def _hash(token: str, known: dict[str, int]) -> int:
    digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return known.setdefault(token, int.from_bytes(digest, "little") or 1)


@cache
def _factors(ngram: int) -> np.ndarray:
    """(ngram,) uint64, odd: the order of a shingle's tokens matters, so each place has a factor of its own."""
    return np.array([seed_of(0, "shingle", str(place)) | 1 for place in range(ngram)], np.uint64)


def _shingles(hashes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    ngram = min(len(factors), len(hashes))
    if not ngram:
        return hashes
    count = len(hashes) - ngram + 1
    mixed = np.zeros(count, np.uint64)
    for place in range(ngram):
        mixed += hashes[place : place + count] * factors[place]
    return mixed


def _bag(hashes: np.ndarray) -> np.ndarray:
    """Ascending, the k-th occurrence of a word made distinct from its first by k times an odd number."""
    ordered = np.sort(hashes)
    occurrence = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(ordered + occurrence.astype(np.uint64) * _factors(1)[0])


def read_column(texts: pa.ChunkedArray, ngram: int, workers: int) -> Texts:
    """`read_texts` of a column without nulls, over `workers` processes; the same for any number of them."""
    parts = list(in_chunks(partial(read_texts, ngram=ngram), texts, workers))
    return Texts(_joined([part.shingles for part in parts]), _joined([part.words for part in parts]))


def _joined(parts: Sequence[Ragged]) -> Ragged:
    sizes = np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)])
    values = np.concatenate([np.empty(0, np.uint64), *(part.values for part in parts)])
    return Ragged(values, np.concatenate(([0], np.cumsum(sizes))))


def in_chunks(work: Callable[[list[str]], T], texts: pa.ChunkedArray, workers: int) -> Iterator[T]:
    """`work` on each run of `TEXTS_A_CHUNK` texts, in order, in as many processes as there are `workers`.

    One worker, or less text than `WORTH_PROCESSES` bytes, means this process.
    """
    starts = range(0, len(texts), TEXTS_A_CHUNK)
    chunks = (texts.slice(start, TEXTS_A_CHUNK).to_pylist() for start in starts)
    if workers == 1 or len(starts) <= 1 or texts.nbytes < WORTH_PROCESSES:
        yield from map(work, chunks)
        return
    yield from _in_processes(work, chunks, min(workers, len(starts)))


def _in_processes(work: Callable[[list[str]], T], chunks: Iterator[list[str]], workers: int) -> Iterator[T]:
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    waiting: deque[Future[T]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise PairmineError(
                f"one of {workers} dedup processes died: out of memory, or started by a script that has no "
                "'if __name__ == \"__main__\":'; run again with fewer --workers"
            ) from None
