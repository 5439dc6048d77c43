"""Exact search, blockwise: a quick first pass, then the float32 product of every document that may be among the best.

On a processor that multiplies bfloat16 the first pass does so, at about three times the speed of float32; on a GPU
too; elsewhere FAISS does it in float32. In each block of documents only those that may still enter a
query's list are looked at, so memory does not grow with the corpus. What the rounding of the first
pass can have hidden is bounded by the lengths of what was rounded away; where a document beyond the
list could still belong among the best, the query is searched again with a longer list (vectors
that are equal, of texts cut to the same beginning, come by the hundred). So the result is that of a
float32 search over everything, in the same order, on every machine and with any number of threads.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from pairmine.backends.encoders.protocol import nothing
from pairmine.backends.models import Advance
from pairmine.backends.precision import has_bfloat16
from pairmine.backends.vectors.matrix import InMemory, Vectors
from pairmine.backends.vectors.search import NOT_FOUND, Hits

BLOCK_DOCUMENTS = 8192
_CHUNK_QUERIES = 4096
_STEP = 1024
_WIDER = 4
_FEW = 1 << 20
_SMALL = 1 << 31
"""Multiplications below which making ready for bfloat16 takes longer than it saves."""


class ExactSearch:
    """The nearest of `searchable` vectors by inner product, by looking at all of them.

    `budget_bytes` bounds what a search holds beside the vectors and its result; `device` is where the first pass is
    done, the processor unless it is a CUDA device.
    """

    def __init__(
        self,
        vectors: Vectors,
        searchable: int,
        *,
        threads: int = 0,
        budget_bytes: int = 1 << 30,
        device: str | None = None,
        first_pass: str | None = None,
    ) -> None:
        self.facts: dict[str, Any] = {"index": "exact"}
        self._vectors = vectors
        self._searchable = searchable
        self._threads = threads
        self._budget = budget_bytes
        self._first_pass = first_pass
        self._device = device or "cpu"

    def search(self, queries: np.ndarray, k: int, advance: Advance = nothing) -> Hits:
        """The `k` best places for each query, as `Searcher` says."""
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        values = np.full((len(queries), k), -np.inf, np.float32)
        rows, wide = np.arange(len(queries)), k + max(16, k // 2)
        while len(rows) and self._searchable:
            wide = min(wide, self._searchable)
            unsettled = []
            step = self._queries_at_once(wide)
            for start in range(0, len(rows), step):
                piece = rows[start : start + step]
                found[piece], values[piece], is_settled = self._nearest(queries[piece], k, wide, advance)
                unsettled.append(piece[~is_settled])
            rows, wide = np.concatenate(unsettled), wide * _WIDER
        return found, values

    def _queries_at_once(self, wide: int) -> int:
        """How many queries go through the documents together: a row holds its list several times while it is made."""
        row_bytes = 48 * wide + 8 * self._vectors.dim
        return max(1, self._budget // 2 // row_bytes)

    def _nearest(
        self, queries: np.ndarray, k: int, wide: int, advance: Advance
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The `k` best among the `wide` of the first pass, and for which queries no other can be among them."""
        lists = _Lists(len(queries), wide)
        products = self._products(queries, lists)
        for start, block in blocks(self._vectors, self._searchable, first=4 * wide):
            products.take(start, block)
            advance(len(block))
        scores = exact_products(queries, self._vectors, lists.places, threads=self._threads)
        found, values = best(lists.places, scores, k)
        if wide == self._searchable:
            return found, values, np.ones(len(queries), bool)
        return found, values, values[:, k - 1] > lists.scores[:, -1] + products.error(lists.scores[:, -1])

    def _products(self, queries: np.ndarray, lists: _Lists) -> _Products:
        first_pass = self._first_pass
        if first_pass is None:
            is_small = len(queries) * self._searchable * self._vectors.dim < _SMALL
            first_pass = "bfloat16" if not is_small and _is_quick_in_bfloat16(self._device) else "float32"
        if first_pass == "float32":
            return _Float32Products(queries, lists, self._threads)
        if self._device == "cpu":
            return _Bfloat16Products(queries, lists, self._budget // 4)
        return _DeviceProducts(queries, lists, self._device)


def _is_quick_in_bfloat16(device: str) -> bool:
    return not device.startswith("cpu") or has_bfloat16()


def blocks(vectors: Vectors, count: int, *, first: int) -> Iterator[tuple[int, np.ndarray]]:
    """The first `count` vectors, some thousands at a time, each time with the place of the first.

    The first blocks are small, each as large as all before it, so that what still enters a list is never much.
    """
    end = 0
    while end < count:
        start, end = end, min(end + min(max(first, end), BLOCK_DOCUMENTS), count)
        yield start, vectors.block(start, end)


def best(places: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    """Found documents (n, m) in order of falling score, then of place, cut or filled up to `k` columns."""
    order = np.lexsort((places, -scores), axis=1)[:, :k]
    found = np.take_along_axis(places, order, axis=1).astype(np.int64)
    values = np.take_along_axis(scores, order, axis=1)
    if found.shape[1] < k:
        room = ((0, 0), (0, k - found.shape[1]))
        found = np.pad(found, room, constant_values=NOT_FOUND)
        values = np.pad(values, room, constant_values=-np.inf)
    return found, values


def exact_products(queries: np.ndarray, vectors: Vectors, places: np.ndarray, *, threads: int = 0) -> np.ndarray:
    """The float32 product of each query (n, dim) with each of its places (n, k), -inf at place -1."""
    scores = np.full(places.shape, -np.inf, np.float32)
    rows, columns = np.nonzero(places != NOT_FOUND)
    scores[rows, columns] = pair_products(queries, vectors, rows, places[rows, columns], threads=threads)
    return scores


def pair_products(
    queries: np.ndarray, vectors: Vectors, rows: np.ndarray, places: np.ndarray, *, threads: int = 0
) -> np.ndarray:
    """The float32 products of `queries[rows]` and the vectors at `places`, (n,).

    Each is summed by itself, in the same order whoever stands beside it, so that a score is the
    same in every batch. Vectors on disk are read in the order of their places, a block at a time.
    """
    if isinstance(vectors, InMemory):
        return row_products(queries, vectors.matrix, rows, places, threads=threads)
    products = np.empty(len(rows), np.float32)
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(0, len(vectors) + BLOCK_DOCUMENTS, BLOCK_DOCUMENTS))
    for number, (low, high) in enumerate(pairwise(bounds)):
        if low == high:
            continue
        members = order[low:high]
        start = number * BLOCK_DOCUMENTS
        if (high - low) * 8 < BLOCK_DOCUMENTS:
            used, at = np.unique(places[members], return_inverse=True)
            block = vectors.take(used)
        else:
            block, at = vectors.block(start, min(start + BLOCK_DOCUMENTS, len(vectors))), places[members] - start
        products[members] = row_products(queries, block, rows[members], at, threads=threads)
    return products


def row_products(
    one: np.ndarray, other: np.ndarray, one_rows: np.ndarray, other_rows: np.ndarray, *, threads: int = 0
) -> np.ndarray:
    """Inner products of `one[one_rows]` and `other[other_rows]`, (n,) float32, each summed by itself."""
    products = np.empty(len(one_rows), np.float32)

    def piece(start: int) -> None:
        end = start + _STEP
        np.einsum("ij,ij->i", one[one_rows[start:end]], other[other_rows[start:end]], out=products[start:end])

    starts = range(0, len(one_rows), _STEP)
    if len(starts) < 4:
        for start in starts:
            piece(start)
        return products
    with ThreadPoolExecutor(threads or _cores()) as pool:
        list(pool.map(piece, starts))
    return products


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Lists:
    """The best `wide` documents of each query so far, by their rough scores, best first."""

    def __init__(self, count: int, wide: int) -> None:
        self.scores = np.full((count, wide), -np.inf, np.float32)
        self.places = np.full((count, wide), NOT_FOUND, np.int64)

    @property
    def least(self) -> np.ndarray:
        """The score that a document has to surpass to enter, (queries,) float32."""
        return self.scores[:, -1]

    def merge(self, rows: slice | np.ndarray, scores: np.ndarray, places: np.ndarray) -> None:
        """Let documents (n, m), place -1 for none, into the lists of `rows` (n,)."""
        joined = np.concatenate([self.scores[rows], scores], axis=1)
        at = _highest(joined, self.scores.shape[1])
        self.scores[rows] = np.take_along_axis(joined, at, axis=1)
        self.places[rows] = np.take_along_axis(np.concatenate([self.places[rows], places], axis=1), at, axis=1)


def _highest(scores: np.ndarray, count: int) -> np.ndarray:
    """The columns of the `count` highest in each row, highest first; by torch but where importing it takes longer."""
    if scores.size < _FEW and "torch" not in sys.modules:
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]
    import torch

    found: np.ndarray = torch.topk(torch.from_numpy(scores), count, dim=1).indices.numpy()
    return found


class _Products(Protocol):
    """The first pass of some queries over one block of documents after the other."""

    def take(self, start: int, block: np.ndarray) -> None:
        """Let the documents of a block (m, dim) float32, whose first place is `start`, into the lists."""

    def error(self, scores: np.ndarray) -> np.ndarray:
        """By how much the product of a document left out at a rough score may at most be higher, (queries,) float32."""


class _Float32Products:
    """By FAISS."""

    def __init__(self, queries: np.ndarray, lists: _Lists, threads: int) -> None:
        self._queries = np.ascontiguousarray(queries)
        self._lists = lists
        self._threads = threads
        self._longest = 0.0
        self._lengths = np.linalg.norm(queries, axis=1)

    def take(self, start: int, block: np.ndarray) -> None:
        import faiss

        if self._threads:
            faiss.omp_set_num_threads(self._threads)
        self._longest = max(self._longest, _longest(block))
        wide = min(self._lists.scores.shape[1], len(block))
        for low in range(0, len(self._queries), _CHUNK_QUERIES):
            rows = slice(low, min(low + _CHUNK_QUERIES, len(self._queries)))
            block = np.ascontiguousarray(block)
            scores, places = faiss.knn(self._queries[rows], block, wide, metric=faiss.METRIC_INNER_PRODUCT)
            self._lists.merge(rows, scores, places + start)

    def error(self, scores: np.ndarray) -> np.ndarray:
        dim = self._queries.shape[1]
        found: np.ndarray = _summing_error(dim) * self._lengths * self._longest
        return found + _underflow(dim, self._lengths, self._longest)


def _longest(block: np.ndarray) -> float:
    return math.sqrt(float(np.einsum("ij,ij->i", block, block).max(initial=0.0)))


def _summing_error(dim: int) -> float:
    """Of a float32 sum of `dim` products, relative to the lengths of the two vectors, and of another such sum."""
    return dim * 2.0**-22


def _underflow(dim: int, lengths: np.ndarray, longest: float) -> np.ndarray:
    """What may be lost of `dim` products where numbers below the least normal one count as zero."""
    return dim * 2.0**-125 * (2 + lengths + longest)


@dataclass
class _Rounded:
    """Float32 vectors as bfloat16: the longest of them, and the most that one lost."""

    longest: float = 0.0
    lost: float = 0.0

    def of(self, vectors: Any) -> Any:
        """`vectors`, a float32 tensor, as bfloat16."""
        import torch

        rounded = vectors.to(torch.bfloat16)
        back = rounded.to(torch.float32)
        self.longest = max(self.longest, float(torch.linalg.vector_norm(back, dim=1).max()) if len(back) else 0.0)
        back -= vectors
        self.lost = max(self.lost, float(torch.linalg.vector_norm(back, dim=1).max()) if len(back) else 0.0)
        return rounded


class _Bfloat16Products:
    """By the processor's own instructions for bfloat16, with sums in float32 and results in bfloat16."""

    def __init__(self, queries: np.ndarray, lists: _Lists, budget_bytes: int) -> None:
        import torch

        self._lists = lists
        self.documents = _Rounded()
        rounded = torch.from_numpy(np.ascontiguousarray(queries)).to(torch.bfloat16)
        back = rounded.to(torch.float32).numpy()
        self._lengths = np.linalg.norm(back, axis=1)
        self._lost = np.linalg.norm(back - queries, axis=1)
        self.queries = rounded
        per_query = 3 * BLOCK_DOCUMENTS
        self._chunk = int(min(_CHUNK_QUERIES, max(64, budget_bytes // per_query)))

    def take(self, start: int, block: np.ndarray) -> None:
        """As for any first pass."""
        import torch

        documents = self.documents.of(torch.from_numpy(np.ascontiguousarray(block))).T
        for low in range(0, len(self.queries), self._chunk):
            queries = self.queries[low : low + self._chunk]
            self._enter(low, start, torch.mm(queries, documents))

    def _enter(self, low: int, start: int, scores: Any) -> None:
        """Let a block's documents into the lists of the queries from `low` on; `scores` is (queries, documents)."""
        import torch

        least = self._lists.least[low : low + len(scores)]
        if not np.isfinite(least).all():
            self._enter_all(low, start, scores)
            return
        rows, columns = _above(scores, least)
        if not len(rows):
            return
        if len(rows) > scores.numel() // 8:
            self._enter_all(low, start, scores)
            return
        entering, first, counts = np.unique(rows, return_index=True, return_counts=True)
        slot = np.arange(len(rows)) - np.repeat(first, counts)
        values = np.full((len(entering), int(counts.max())), -np.inf, np.float32)
        places = np.full(values.shape, NOT_FOUND, np.int64)
        line = np.repeat(np.arange(len(entering)), counts)
        flat = torch.from_numpy(rows * scores.shape[1] + columns)
        values[line, slot] = scores.reshape(-1)[flat].float().numpy()
        places[line, slot] = columns + start
        self._lists.merge(entering + low, values, places)

    def _enter_all(self, low: int, start: int, scores: Any) -> None:
        import torch

        wide = min(self._lists.scores.shape[1], scores.shape[1])
        values, columns = torch.topk(scores.float(), wide, dim=1)
        self._lists.merge(slice(low, low + len(scores)), values.numpy(), columns.numpy() + start)

    def error(self, scores: np.ndarray) -> np.ndarray:
        """What queries and documents lost in rounding, what the sums may, and the result."""
        longest = self.documents.longest + self.documents.lost
        rounding = self._lost * longest + self._lengths * self.documents.lost + 2.0**-8 * np.abs(scores)
        dim = self.queries.shape[1]
        found: np.ndarray = rounding + _summing_error(dim) * (self._lengths + self._lost) * longest
        return found + _underflow(dim, self._lengths + self._lost, longest)


class _DeviceProducts:
    """By a GPU, in bfloat16 with sums in float32; the lists stay in the processor's memory."""

    def __init__(self, queries: np.ndarray, lists: _Lists, device: str) -> None:
        import torch

        self._inner = _Bfloat16Products(queries, lists, 0)
        self._lists = lists
        self._device = device
        self._documents = _Rounded()
        self._inner.documents = self._documents
        self._queries = self._inner.queries.to(torch.device(device))
        if device.startswith(
            "cuda"
        ):  # else parts of a sum may be added up in bfloat16, beyond the error that is allowed
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

    def take(self, start: int, block: np.ndarray) -> None:
        """As for any first pass."""
        import torch

        documents = self._documents.of(torch.from_numpy(np.ascontiguousarray(block)).to(self._device)).T
        wide = min(self._lists.scores.shape[1], len(block))
        for low in range(0, len(self._queries), _CHUNK_QUERIES):
            queries = self._queries[low : low + _CHUNK_QUERIES]
            values, columns = torch.topk(torch.mm(queries, documents).float(), wide, dim=1)
            rows = slice(low, low + len(queries))
            self._lists.merge(rows, values.cpu().numpy(), columns.cpu().numpy() + start)

    def error(self, scores: np.ndarray) -> np.ndarray:
        """As for the processor's bfloat16."""
        return self._inner.error(scores)


def _above(scores: Any, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where bfloat16 `scores` (n, m) surpass their row's `least` (n,): rows and columns, row by row.

    Positive bfloat16 numbers are in the order of their bits as integers, which are compared far faster.
    """
    import torch

    limits = torch.from_numpy(least).to(torch.bfloat16)
    if float(limits.min()) < 0:
        mask = (scores > limits[:, None]).numpy()
    else:
        mask = scores.view(torch.int16).numpy() > limits.view(torch.int16).numpy()[:, None]
    if mask.size % 8:
        return tuple(np.nonzero(mask))  # type: ignore[return-value]
    words = np.flatnonzero(mask.reshape(-1).view(np.uint64))
    hits = np.flatnonzero(mask.reshape(-1, 8)[words])
    flat = words[hits >> 3] * 8 + (hits & 7)
    return flat // mask.shape[1], flat % mask.shape[1]
