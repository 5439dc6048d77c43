"""Other candidates than the documents nearest to a query: near its positive, in a cluster, in a band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import NOT_FOUND, DenseRetriever, Hits, Retriever, RunRetriever
from pairmine.backends.vectors import Subset, Vectors
from pairmine.errors import PairmineError
from pairmine.stages.clusters import SAMPLED, Clusters
from pairmine.stages.mine.texts import Documents, Queries, Texts

SEARCH_WITH = ("query", "positive")
WITHIN = ("second", "all")
_PIECE = 65_536


@dataclass(frozen=True)
class Strategy:
    """Which documents become candidates.

    `search_with` is what is searched with: the query, or its first positive. `ranks` keeps the ranks from the
    first to the second of each list, both included; `scores` the scores from the first to the second, of the
    list's own kind. With `clusters`, documents are put into that many and candidates come from the one whose
    centroid is second nearest to the query's first positive (`within` "second"), or from anywhere ("all");
    `seed` is that of k-means.
    """

    search_with: str = "query"
    ranks: tuple[int, int] | None = None
    scores: tuple[float, float] | None = None
    clusters: int | None = None
    within: str = "second"
    seed: int = 0

    def check(self, depth: int, retrievers: int, dense: int) -> None:
        """Raise a PairmineError where it does not fit `depth`, or so many retrievers, of which so many are dense."""
        if self.search_with not in SEARCH_WITH:
            raise PairmineError(f"--search-with {self.search_with}: choose {', '.join(SEARCH_WITH)}")
        if self.within not in WITHIN:
            raise PairmineError(f"--within {self.within}: choose {', '.join(WITHIN)}")
        if self.ranks is not None:
            low, high = self.ranks
            if not 1 <= low <= high:
                raise PairmineError(f"--ranks {low}:{high}: from 1 up, the lower one first")
            if high > depth:
                raise PairmineError(f"--ranks {low}:{high} wants --depth {high} or more, and it is {depth}")
        if self.scores is not None:
            bottom, top = self.scores
            if math.isnan(bottom) or math.isnan(top) or bottom > top:
                raise PairmineError(f"--score-range {bottom:g}:{top:g}: the lower one first")
            if retrievers > 1:
                raise PairmineError(
                    "--score-range is for one --retriever, and there are several with scales of their own"
                )
        if self.clusters is None:
            return
        if dense != 1:
            raise PairmineError(f"--clusters wants one st: retriever, whose vectors make them, and there are {dense}")
        if self.clusters < 2:
            raise PairmineError(f"--clusters {self.clusters}: at least 2, of which one is second nearest")

    def keeps(self, hits: Hits) -> np.ndarray:
        """Which of the found documents lie in the bands, (n, k) bool."""
        places, scores = hits
        kept: np.ndarray = places != NOT_FOUND
        if self.ranks is not None:
            rank = np.arange(1, places.shape[1] + 1)
            kept = kept & ((rank >= self.ranks[0]) & (rank <= self.ranks[1]))[None]
        if self.scores is not None:
            kept = kept & (scores >= self.scores[0]) & (scores <= self.scores[1])
        return kept


NEAREST = Strategy()


@dataclass
class NearDocument:
    """A retriever that searches with each query's first positive instead of the query; without one it finds nothing.

    `pair_scores` stay those of the queries, so that later stages compare what they always compare; `near_scores`
    are those of the positive.
    """

    inner: Retriever

    def __post_init__(self) -> None:
        self.name = f"{self.inner.name}/near"
        self.score, self.scale = self.inner.score, self.inner.scale
        self._queries = 0
        self.anchors = np.empty(0, np.int64)

    @property
    def facts(self) -> dict[str, Any]:
        """Those of the inner one, which knows its index once it has searched."""
        return self.inner.facts

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """As the inner one."""
        self.inner.index(documents, searchable, advance)

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """As the inner one."""
        self._queries = len(queries)
        self.inner.prepare(queries, advance)

    def aim(self, anchors: np.ndarray, texts: Texts) -> None:
        """Take in the place of each query's positive, -1 for none, and all texts by place."""
        self.anchors = anchors
        places = np.maximum(anchors, 0)
        self.inner.near(places, texts.at(places))

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The documents nearest to each query's positive, with the scores of that."""
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.flatnonzero(self.anchors[queries] >= 0)
        if len(rows):
            found[rows], scores[rows] = self.inner.search(self.asked(queries), k)
        return found, scores

    def asked(self, queries: np.ndarray) -> np.ndarray:
        """The numbers by which the inner one knows the positives of `queries`, of those that have one."""
        return np.asarray(queries[self.anchors[queries] >= 0] + self._queries)

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """The scores of queries and documents."""
        return self.inner.pair_scores(queries, documents)

    def near_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """The scores of the queries' positives and documents; NaN where there is no positive."""
        scores = np.full(len(queries), np.nan, np.float32)
        rows = np.flatnonzero(self.anchors[queries] >= 0)
        if len(rows):
            scores[rows] = self.inner.pair_scores(queries[rows] + self._queries, documents[rows])
        return scores

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Not twice."""
        raise NotImplementedError


class SecondCluster:
    """A dense retriever that searches one cluster of documents for each query, and knows every document's cluster.

    That cluster is the one whose centroid is second nearest to the query's first positive, or to the query
    itself where there is none: near enough to be hard, and not where the positive and its false negatives are
    (ClusterNS, Deng et al. 2023, arXiv 2305.09892, whose hard negative is that centroid's vector). With `within`
    "all" every document is searched.
    """

    def __init__(self, dense: DenseRetriever, strategy: Strategy) -> None:
        assert strategy.clusters is not None
        self.inner = dense
        self._count, self._seed = strategy.clusters, strategy.seed
        self._is_open = strategy.within == "all"
        self.name = dense.name if self._is_open else f"{dense.name}/cluster"
        self.score, self.scale = dense.score, dense.scale
        self._searchable = 0
        self._clusters = Clusters(np.empty((0, 0), np.float32))
        self.cluster = np.empty(0, np.int64)
        self._targets = np.empty(0, np.int64)
        self._parts: list[tuple[np.ndarray, DenseRetriever]] = []

    @property
    def facts(self) -> dict[str, Any]:
        """Those of the dense one, and the number of clusters."""
        return {**self.inner.facts, "clusters": self._count}

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Embed `documents` and put them into clusters, made of the searchable ones."""
        if searchable < self._count:
            raise PairmineError(
                f"--clusters {self._count}: {searchable:,} documents are searched; ask for fewer clusters"
            )
        self.inner.index(documents, searchable, advance)
        vectors = self.inner.document_vectors
        self._searchable = searchable
        self._clusters = Clusters.of(sample(vectors, searchable, self._count, self._seed), self._count, seed=self._seed)
        self.cluster = np.empty(len(vectors), np.int64)
        for start in range(0, len(vectors), _PIECE):
            block = vectors.block(start, min(start + _PIECE, len(vectors)))
            self.cluster[start : start + _PIECE] = self._clusters.nearest(block, 1)[:, 0]

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Embed `queries`."""
        self.inner.prepare(queries, advance)

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Take in documents as further queries."""
        self.inner.near(places, texts)

    def aim(self, anchors: np.ndarray, texts: Texts) -> None:
        """Find the cluster of each query by its positive's place, -1 for none."""
        if self._is_open:
            return
        self._targets = np.empty(len(anchors), np.int64)
        for start in range(0, len(anchors), _PIECE):
            rows = np.arange(start, min(start + _PIECE, len(anchors)))
            known = anchors[rows] >= 0
            looked_from = self.inner.query_vectors.take(rows)
            looked_from[known] = self.inner.document_vectors.take(anchors[rows[known]])
            self._targets[rows] = self._clusters.nearest(looked_from, 2)[:, 1]
        order = np.argsort(self.cluster[: self._searchable], kind="stable")
        bounds = np.searchsorted(self.cluster[order], np.arange(self._count + 1))
        self._parts = []
        for low, high in pairwise(bounds):
            members = order[low:high]
            self._parts.append((members, self.inner.over(Subset(self.inner.document_vectors, members))))

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The nearest documents of each query's cluster."""
        if self._is_open:
            return self.inner.search(queries, k)
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        targets = self._targets[queries % len(self._targets)] if len(queries) else queries
        for target in np.unique(targets):
            rows = np.flatnonzero(targets == target)
            members, part = self._parts[target]
            part.take_query_vectors(Subset(self.inner.query_vectors, queries[rows]))
            places, values = part.search(np.arange(len(rows)), k)
            found[rows] = np.where(places == NOT_FOUND, NOT_FOUND, members[places]) if len(members) else NOT_FOUND
            scores[rows] = values
        return found, scores

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Cosines of single pairs."""
        return self.inner.pair_scores(queries, documents)


def sample(vectors: Vectors, count: int, clusters: int, seed: int) -> np.ndarray:
    """Of the first `count` vectors as many as k-means looks at for so many clusters, (n, dim) float32."""
    wanted = SAMPLED * clusters
    if count <= wanted:
        return vectors.take(np.arange(count))
    return vectors.take(np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False)))


def wrapped(retrievers: Sequence[Retriever], strategy: Strategy) -> list[Retriever]:
    """`retrievers` as `strategy` has them search."""
    found = list(retrievers)
    if strategy.search_with == "positive" and (runs := [each for each in found if isinstance(each, RunRetriever)]):
        raise PairmineError(
            f"--retriever {runs[0].name}: a run has lists for queries and none for documents; "
            "leave out --search-with positive"
        )
    if strategy.clusters is not None:
        found = [SecondCluster(each, strategy) if isinstance(each, DenseRetriever) else each for each in found]
    return [NearDocument(each) for each in found] if strategy.search_with == "positive" else found


def asked_of(retriever: Retriever, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of `queries` the innermost retriever is asked for, as rows, and by which numbers."""
    if isinstance(retriever, NearDocument):
        return np.flatnonzero(retriever.anchors[queries] >= 0), retriever.asked(queries)
    return np.arange(len(queries)), queries


def innermost(retriever: Retriever) -> Retriever:
    """The retriever that a strategy wraps, or itself."""
    while (inner := getattr(retriever, "inner", None)) is not None:
        retriever = inner
    return retriever


def first_dense(retrievers: Sequence[Retriever]) -> DenseRetriever | None:
    """The first of `retrievers` that has vectors, without what a strategy wraps around it; None where none has."""
    return next((each for each in map(innermost, retrievers) if isinstance(each, DenseRetriever)), None)


def aim(retrievers: Sequence[Retriever], queries: Queries, documents: Documents, positive: np.ndarray) -> None:
    """Tell `retrievers`, which have taken queries and documents in, each query's first positive.

    `positive` says which rows of the pair set are positive, (n,) bool.
    """
    if not len(queries):
        return
    anchors = np.full(len(queries), NOT_FOUND, np.int64)
    rows = np.flatnonzero(positive)
    owners, first = np.unique(queries.of_rows(0, len(queries))[rows], return_index=True)
    anchors[owners] = documents.of_pair[rows[first]]
    for each in retrievers:
        for one in (getattr(each, "inner", None), each):
            if isinstance(one, NearDocument | SecondCluster):
                one.aim(anchors, documents.texts)


def clusters_of(retrievers: Sequence[Retriever]) -> np.ndarray | None:
    """The cluster of every document by place, (documents,) int64; None where there are none."""
    for each in retrievers:
        for one in (getattr(each, "inner", None), each):
            if isinstance(one, SecondCluster):
                return one.cluster
    return None
