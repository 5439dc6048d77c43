"""Search by an index: it proposes candidates, and each is scored by itself in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from pairmine.backends.models import Advance
from pairmine.backends.precision import has_bfloat16
from pairmine.backends.vectors.approximate.choice import FEWEST_DOCUMENTS, index_bytes, lists_for
from pairmine.backends.vectors.approximate.faiss_indexes import Hnsw, Pq
from pairmine.backends.vectors.approximate.ivf import Ivf
from pairmine.backends.vectors.approximate.recall import SAMPLE, Effort, Recall
from pairmine.backends.vectors.approximate.workers import cores
from pairmine.backends.vectors.exact import ExactSearch, best, exact_products
from pairmine.backends.vectors.matrix import Vectors, as_vectors
from pairmine.backends.vectors.search import NOT_FOUND, Hits, Searcher
from pairmine.errors import PairmineError

_AS_DEEP = 8
_AS_MANY = 100
"""Up to so many times the depth at which it was measured, and so many more, a recall still says something."""
HIT_BYTES = 64
"""What a proposed document takes while it is scored."""


class Index(Protocol):
    """Proposes documents; `effort` is a whole number, and more of it finds more."""

    first_effort: int
    largest_effort: int
    widenings: tuple[float, ...]

    def candidates(self, queries: np.ndarray, wide: int, effort: int, advance: Advance) -> np.ndarray:
        """`wide` places for each query, (n, wide) int64, -1 for none; those of a query never depend on the others."""

    def settings(self, effort: int) -> dict[str, Any]:
        """What the facts say of it."""


def nothing(_: int) -> None:
    """Nobody is told."""


class ApproximateSearch:
    """The nearest of `searchable` vectors among those that an index proposes.

    Scores are exact and a query's result is its own, whatever stands beside it. How much of the
    index a query looks at was settled by measuring the recall on a sample of the queries.
    """

    def __init__(self, kind: str, index: Index, exact: ExactSearch, vectors: Vectors, searchable: int) -> None:
        self.facts: dict[str, Any] = {"index": kind}
        self._index = index
        self._exact = exact
        self._vectors = vectors
        self._searchable = searchable
        self._effort = index.first_effort
        self._widening = index.widenings[0]
        self._threads = 1
        self._depth = 1
        self._room = 1 << 28

    @classmethod
    def of(
        cls,
        kind: str,
        vectors: Vectors,
        searchable: int,
        queries: Vectors | np.ndarray,
        *,
        depth: int,
        budget_bytes: int = 1 << 30,
        threads: int = 0,
        seed: int = 0,
        target_recall: float = 0.98,
        advance: Advance = nothing,
    ) -> Searcher:
        """An index of `kind` (ivf, hnsw or pq) for searching `depth` documents for each of `queries` (n, dim).

        A sample of the queries settles its effort. `facts` hold the kind, its settings, the `recall` measured, the
        number of queries it was `measured_on` and the `target_recall`. Where an index makes no sense, an exact search
        is the answer, and `facts` say `why`. Raises a PairmineError where the index does not fit into
        `budget_bytes`.
        """
        threads, queries = cores(threads), as_vectors(queries)
        exact = ExactSearch(vectors, searchable, threads=threads, budget_bytes=budget_bytes)
        if why := needless(searchable, len(queries), depth):
            exact.facts = {"index": "exact", "asked_for": kind, "why": why}
            return exact
        _check_budget(kind, searchable, vectors.dim, budget_bytes)
        index = _build(kind, vectors, searchable, budget_bytes, threads, seed, advance)
        search = cls(kind, index, exact, vectors, searchable)
        search._threads, search._depth, search._room = threads, depth, budget_bytes // 4
        measured = Recall(sample_of(queries, seed), exact, depth)
        chosen, search.facts = settled(kind, index, measured, search._with, target_recall)
        search._effort, search._widening = chosen.effort, chosen.widening
        return search

    def search(self, queries: np.ndarray, k: int, advance: Advance = nothing) -> Hits:
        """The `k` best places for each query, as `Searcher` says.

        Exactly, where `k` is a quarter of them and more, or far beyond the depth at which the recall was measured; and
        for each query for which the index finds too few.
        """
        if is_beyond(k, self._depth, self._searchable):
            return self._exact.search(queries, k, advance)
        places, scores = self._with(queries, k, self._effort, self._widening, advance)
        if len(short := np.flatnonzero((places == NOT_FOUND).any(axis=1))):
            places[short], scores[short] = self._exact.search(queries[short], k)
        return places, scores

    def _with(self, queries: np.ndarray, k: int, effort: int, widening: float, advance: Advance = nothing) -> Hits:
        places = np.full((len(queries), k), NOT_FOUND, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        wide = proposed(k, widening, self._searchable)
        together = max(1, self._room // (HIT_BYTES * wide))
        for start in range(0, len(queries), together):
            rows = slice(start, start + together)
            found = self._index.candidates(queries[rows], wide, effort, nothing)
            values = exact_products(queries[rows], self._vectors, found, threads=self._threads)
            places[rows], scores[rows] = best(found, values, k)
            advance(self._searchable)
        return places, scores


def needless(searchable: int, queries: int, depth: int) -> str | None:
    """Why an index would make no sense, and None where it does."""
    if searchable < FEWEST_DOCUMENTS:
        return f"{searchable:,} documents are soon looked at"
    if 4 * depth >= searchable:
        return f"{depth:,} of {searchable:,} documents are wanted"
    return None if queries else "there are no queries"


def is_beyond(k: int, depth: int, searchable: int) -> bool:
    """Whether a list of `k` is to be exact, where the recall of an index was measured on `depth`."""
    return 4 * k >= searchable or k > _AS_DEEP * depth + _AS_MANY


def proposed(k: int, widening: float, searchable: int) -> int:
    """How many documents an index proposes for a list of `k`."""
    return min(max(k + 16, int(k * widening)), searchable)


def sample_of(queries: Vectors, seed: int) -> np.ndarray:
    """The queries that the recall is measured on, (n, dim) float32."""
    generator = np.random.default_rng(seed)
    return queries.take(np.sort(generator.choice(len(queries), min(SAMPLE, len(queries)), replace=False)))


def settled(
    kind: str, index: Index, measured: Recall, search: Callable[[np.ndarray, int, int, float], Hits], target: float
) -> tuple[Effort, dict[str, Any]]:
    """The effort with which `search(queries, k, effort, widening)` has the recall that is the target, and the facts."""
    chosen = measured.choose(
        search,
        index.first_effort,
        index.largest_effort,
        index.widenings,
        target,
        index.effort_for if isinstance(index, Ivf) else None,
    )
    facts: dict[str, Any] = {"index": kind, **index.settings(chosen.effort)}
    if chosen.widening != index.widenings[0]:
        facts["rescored"] = chosen.widening
    told = {"depth": measured.depth, "recall": round(chosen.recall, 4), "measured_on": measured.sample}
    return chosen, {**facts, **told, "target_recall": target}


def _check_budget(kind: str, searchable: int, dim: int, budget_bytes: int) -> None:
    least = index_bytes("ivf-ids" if kind == "ivf" else kind, searchable, dim)
    if least <= budget_bytes:
        return
    smaller = "--index ivf, --index exact" if kind != "ivf" else "--index exact"
    raise PairmineError(
        f"--index {kind}: takes {_megabytes(least)} for {searchable:,} documents, and there are "
        f"{_megabytes(budget_bytes)}; raise --memory, or take {smaller}"
    )


def _megabytes(count: int) -> str:
    return f"{-(-count // 1_000_000):,} MB"


def _build(
    kind: str, vectors: Vectors, searchable: int, budget_bytes: int, threads: int, seed: int, advance: Advance
) -> Index:
    lists, quick = lists_for(searchable), has_bfloat16()
    if kind == "hnsw":
        return Hnsw(vectors, searchable, threads=threads, advance=advance)
    if kind == "pq":
        return Pq(vectors, searchable, lists=lists, seed=seed, threads=threads, quick=quick, advance=advance)
    return Ivf.of(
        vectors,
        searchable,
        lists=lists,
        seed=seed,
        threads=threads,
        packed=index_bytes("ivf", searchable, vectors.dim) <= budget_bytes // 2,
        block_bytes=min(budget_bytes // 4, 1 << 28),
        quick=quick,
    )


def describe(facts: dict[str, Any]) -> str:
    """One line on an index for the user: `index ivf (632 lists, 8.1 % of the documents looked at): recall ...`."""
    if "why" in facts:
        return f"index {facts['asked_for']}: not needed, {facts['why']}; the search is exact"
    settings = {
        "ivf": "{lists:,} lists, {scanned:.1%} of the documents looked at",
        "hnsw": "{links} links, ef {ef}",
        "pq": "{lists:,} lists, {probed:,} probed, {bytes_per_document} bytes a document",
    }[facts["index"]].format(**facts)
    measured = f"recall of the first {facts['depth']} {facts['recall']:.3f}, measured on {facts['measured_on']} queries"
    return f"index {facts['index']} ({settings}): {measured}"


def warning(facts: dict[str, Any]) -> str | None:
    """What to say of a recall below its target, and None where it is reached."""
    if facts.get("recall", 1.0) >= facts.get("target_recall", 0.0):
        return None
    return (
        f"--index {facts['index']} finds {facts['recall']:.1%} of what an exact search finds, "
        f"below {facts['target_recall']:.1%}; --index exact finds all"
    )
