"""`pairmine mine --engine ray --index ivf`: inverted lists whose documents lie on many machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pairmine.backends.precision import has_bfloat16
from pairmine.backends.retrievers import DenseRetriever
from pairmine.backends.vectors import InMemory, Vectors
from pairmine.backends.vectors.approximate import choose, describe, warning
from pairmine.backends.vectors.approximate.choice import lists_for
from pairmine.backends.vectors.approximate.clusters import centroids
from pairmine.backends.vectors.approximate.ivf import Ivf, Lists
from pairmine.backends.vectors.approximate.recall import Recall
from pairmine.backends.vectors.approximate.search import needless, sample_of, settled
from pairmine.backends.vectors.approximate.workers import cores
from pairmine.backends.vectors.search import Hits
from pairmine.backends.vectors.spans import VectorSpans
from pairmine.cli.index_options import AUTO_THREADS
from pairmine.engines.inverted import (
    Assigning,
    IndexSearch,
    InvertedSpans,
    ListsOfLengths,
    Measuring,
    Proposals,
    search_once,
)
from pairmine.engines.search import Finder, Nearest, Span, SpreadSearch, spans_of
from pairmine.engines.shards import Piece, Pool

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run

INDEXES = ("exact", "ivf", "auto")
"""A graph and compressed lists are built in one piece."""


@dataclass(frozen=True)
class Tuning:
    """What the user wants of the search of vectors; see `index_options`."""

    index: str
    recall: float
    depth: int
    seed: int


@dataclass(frozen=True)
class Indexing:
    """Makes the search of a retriever; `stretches` cuts so many documents into shards."""

    engine: RayEngine
    run: Run
    tuning: Tuning
    threads: int
    budget_bytes: int
    stretches: Callable[[int], list[Piece]]

    def search_of(
        self, retriever: DenseRetriever, exact: SpreadSearch, searched: VectorSpans, searchable: int
    ) -> Finder:
        """`exact`, which searches all of `searched`, or one by lists where that was asked for and makes sense."""
        tuning, say = self.tuning, self.run.say
        documents, queries = searched.documents, retriever.tuned_on
        kind = tuning.index
        if kind == "auto":
            room: dict[str, int] = {"budget_bytes": self.budget_bytes, "threads": AUTO_THREADS}
            kind = choose(searchable, len(queries), documents.dim, tuning.depth, **room)
            if kind == "exact":
                say("index auto: the search is exact, an index would save little")
        if kind == "exact":
            return exact
        if why := needless(searchable, len(queries), tuning.depth):
            exact.lists.facts = {"index": "exact", "asked_for": kind, "why": why}
            say(describe(exact.lists.facts))
            return exact
        return self._by_lists(retriever.score, exact, searched, queries, searchable)

    def _by_lists(
        self, name: str, exact: SpreadSearch, searched: VectorSpans, queries: Vectors, searchable: int
    ) -> IndexSearch:
        tuning, cluster = self.tuning, self.engine.cluster
        lists, nearest = self._lists(name, searched.documents, searchable)
        most = self.budget_bytes // 2 // (2 * max(searched.documents.dim, 1))
        spans = spans_of(searchable, self.engine.rows, cluster.workers, most=most)
        own: dict[str, Any] = {"threads": self.threads, "budget_bytes": self.budget_bytes}

        def inverted(queries: Vectors, effort: int, widening: float) -> tuple[InvertedSpans, Proposals]:
            proposals = Proposals(widening, searchable)
            settings: dict[str, Any] = {"effort": effort, "proposals": proposals, **own}
            return InvertedSpans(searched.documents, queries, lists, nearest, spans, **settings), proposals

        def search(queries: np.ndarray, k: int, effort: int, widening: float) -> Hits:
            return search_once(cluster, *inverted(InMemory(queries), effort, widening), spans, len(queries), k)

        whole = Ivf(
            searched.documents,
            nearest,
            lists,
            threads=cores(0),
            packed=False,
            block_bytes=1,
            quick=has_bfloat16(),
        )
        truth = _Exactly(cluster, searched, exact.spans)
        measured = Recall(sample_of(queries, tuning.seed), truth, tuning.depth)
        chosen, facts = settled("ivf", whole, measured, search, tuning.recall)
        self.run.say(describe(facts))
        if told := warning(facts):
            self.run.say(told)
        found = ListsOfLengths(len(searched.queries), searchable)
        found.facts = facts
        documents, merger = inverted(searched.queries, chosen.effort, chosen.widening)
        by_lists = SpreadSearch(
            cluster, self.engine.folder, f"{name}-ivf", documents, spans, len(searched.queries), merger=merger
        )
        by_lists.lists = exact.lists = found
        return IndexSearch(by_lists, exact, tuning.depth, searchable)

    def _lists(self, name: str, documents: Vectors, searchable: int) -> tuple[Lists, np.ndarray]:
        """The lists of all documents, and that of each."""
        engine, run = self.engine, self.run
        share, pieces = engine.cluster.share, self.stretches(searchable)
        shared = share(documents)
        lengths = engine.fold(run, pieces, Measuring(shared), what="vectors measured", step=f"lengths-{name}")
        length = max(found for _, found in lengths)
        centres = centroids(
            documents,
            searchable,
            lists_for(searchable),
            seed=self.tuning.seed,
            longest=length,
            threads=cores(0),
            quick=has_bfloat16(),
        )
        make = Assigning(shared, share(Lists(centres, np.zeros(len(centres), np.int64), length)), self.threads)
        parts = engine.fold(run, pieces, make, what="documents put in lists", step=f"lists-{name}")
        found = {piece.number: part for piece, part in parts}
        nearest = np.concatenate([found[piece.number] for piece in pieces])
        return Lists(centres, np.bincount(nearest, minlength=len(centres)), length), nearest


class _Exactly:
    """Searches for a few queries in all spans."""

    def __init__(self, pool: Pool, searched: VectorSpans, spans: list[Span]) -> None:
        self.facts: dict[str, Any] = {"index": "exact"}
        self._pool, self._searched, self._spans = pool, searched, spans

    def search(self, queries: np.ndarray, k: int, advance: Any = None) -> Hits:
        """See `Searcher`."""
        searched = replace(self._searched, queries=InMemory(queries))
        return search_once(self._pool, searched, Nearest(), self._spans, len(queries), k)
