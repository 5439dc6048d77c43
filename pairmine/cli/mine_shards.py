"""`pairmine mine --engine ray`: the corpus, the vectors, the lists and the rows, each by shards on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pairmine.backends.encoders import Encoder, Side, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import DenseRetriever, ReadyRetriever, Retriever
from pairmine.backends.retrievers.bm25_parts import CountedPart, CountedWords, PartsBm25
from pairmine.backends.specs import Spec
from pairmine.backends.vectors import Subset, Vectors, matrix
from pairmine.backends.vectors.parts import PartVectors, write_part
from pairmine.backends.vectors.spans import VectorSpans
from pairmine.backends.vectors.store import distinct
from pairmine.cli.mine_indexes import INDEXES, Indexing, Tuning
from pairmine.engines.mining import (
    Copying,
    Counting,
    Embedding,
    Mining,
    Probing,
    TakeIn,
    Told,
    Weighing,
    read_told,
    with_lists,
)
from pairmine.engines.search import ITEMS_A_WORKER, QUERIES, Finder, Found, SpreadSearch, spans_of
from pairmine.engines.shards import Piece, Shared
from pairmine.errors import PairmineError
from pairmine.files.text_parts import TextParts
from pairmine.stages.mine.near_copies import Index, Spread, Stretch
from pairmine.stages.mine.search import OnMasked, Search
from pairmine.stages.mine.strategy import asked_of, innermost
from pairmine.stages.mine.texts import Corpus, Documents, Texts, check_group

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.files.source import Source
    from pairmine.memory import Memory


_TOGETHER, _ROWS_OF_A_SHARD = "together", "output-rows"
_POSTINGS = 1 << 27
"""Of a span that is searched by words: 1 GB in the memory of a worker, some 2 million passages."""
_FEWEST_QUERIES = 1024
_OUTPUT_ROWS = 1 << 17
_SHARDS_A_WORKER = 8


def check(named: Sequence[tuple[Spec, str]], index: str, clusters: int | None, dry_run: bool) -> None:
    """Raise a PairmineError for what `mine` cannot do on a cluster."""
    remedy = "leave out --engine ray, or"
    if dry_run:
        raise PairmineError(f"--dry-run says what this machine would take; {remedy} --dry-run")
    if index not in INDEXES:
        raise PairmineError(f"--index {index}: is built on one machine; {remedy} take --index ivf or exact")
    if clusters is not None:
        raise PairmineError(f"--clusters {clusters}: k-means wants all vectors on one machine; {remedy} --clusters")
    if asked := [spec for spec, _ in named if spec.kind == "openai"]:
        raise PairmineError(
            f"--retriever {asked[0]}: one machine keeps to a server's limits; {remedy} write its vectors with "
            "'pairmine embed' and search those with npy:"
        )


class Elsewhere:
    """Stands where a dense retriever has its model, which the workers have."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def identity(self, side: Side) -> dict[str, Any]:
        """Known to the workers."""
        raise NotImplementedError

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Done by the workers."""
        raise NotImplementedError

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Done by the workers."""
        raise NotImplementedError


@dataclass
class Cluster:
    """Does for `mine` what grows with the corpus on the workers of `engine`; `settings` are those of an encoder."""

    engine: RayEngine
    run: Run
    room: Memory
    settings: Mapping[str, Any]
    store: str | None
    vector_type: str
    threads: int
    device: str | None
    tuning: Tuning
    embedded: int = 0
    reused: int = 0

    def corpus(self, source: Source, *, titles: bool, group: str | None, may_lack_group: bool) -> Corpus:
        """The documents of `source`, whose texts lie in the work folder."""
        engine = self.engine
        pieces = engine.pieces(self.run, source)
        make = TakeIn(engine.folder, titles, group)
        found = engine.fold(self.run, pieces, make, what="documents taken in", step="corpus")
        taken = {piece.number: each for piece, each in found}
        parts = [taken[piece.number] for piece in pieces]
        if not may_lack_group:
            check_group(group, dict.fromkeys(name for part in parts for name in part.columns))
        return Corpus.joined([part.corpus for part in parts], TextParts([part.texts for part in parts]))

    def open(self, named: Sequence[tuple[Spec, str]], bm25: Mapping[str, Any]) -> list[Retriever]:
        """The retrievers; those with a model have it on the workers."""
        from pairmine.backends.retrievers import open_retriever

        found: list[Retriever] = []
        for spec, score in named:
            if spec.kind == "bm25":
                found.append(PartsBm25(spec, threads=self.threads, **bm25))
            elif spec.kind in ("run", "npy"):
                own: dict[str, Any] = {"vectors_bytes": self.room.vectors} if spec.kind == "npy" else {}
                found.append(open_retriever(spec, score=score, say=self.run.say, **own))
            else:
                found.append(self._dense(spec, score))
        return found

    def _dense(self, spec: Spec, score: str) -> DenseRetriever:
        model = Elsewhere()

        def embed(encoder: Encoder, texts: Sequence[str], side: Side, advance: Advance) -> Vectors:
            assert isinstance(texts, Texts)
            return self._embedded(model, spec, f"{score}-{side}", texts, side)

        return DenseRetriever(
            spec, model, score=score, threads=self.threads, embed=embed, budget_bytes=self.room.work, device=self.device
        )

    def _embedded(self, model: Elsewhere, spec: Spec, name: str, texts: Texts, side: Side) -> Vectors:
        """The vectors of `texts`; queries may have one text, which is embedded once, and documents do not."""
        engine, share = self.engine, self.engine.cluster.share
        store = None if self.store is None else os.path.abspath(self.store)
        settings = self.settings if spec.kind == "st" else {}
        first, of_text = distinct(texts)[1:] if side == "query" else (None, None)
        make = Embedding(
            *(engine.folder, name, share(texts), share(first), spec, side, settings),
            *(store, self.vector_type, self.threads),
        )
        pieces = self._stretches(len(texts) if first is None else len(first))
        parts = {}
        what = f"{'documents' if side == 'document' else 'queries'} for {spec.name}"
        for piece, found in engine.fold(self.run, pieces, make, what=what, step=f"embed-{name}", resident=True):
            parts[piece.number] = found.part
            self.embedded += found.embedded
            self.reused += found.reused
            model.facts = found.facts
        vectors = PartVectors([parts[number] for number in sorted(parts)])
        return vectors if of_text is None else Subset(vectors, of_text)

    def _stretches(self, count: int) -> list[Piece]:
        """So many texts in shards of the usual length; a single one without rows where there is none."""
        rows = self.engine.rows
        starts = range(0, max(count, 1), rows)
        return [Piece(at, "", min(rows, count - start), start) for at, start in enumerate(starts)]

    def near_copies(self, documents: Documents) -> Spread:
        """What looks for near copies among the `documents` that are searched."""
        texts = self.engine.cluster.share(documents.texts)
        numbers = count()

        def spread(index: Index) -> Iterator[Stretch]:
            make = Copying(self.engine.cluster.share(index), texts)
            step = f"near-{next(numbers)}"
            pieces = self._stretches(documents.searchable)
            found = self.engine.fold(self.run, pieces, make, what="documents read for near copies", step=step)
            return (stretch for _, stretch in found)

        return spread

    def settle(self, retrievers: Sequence[Retriever], documents: Documents) -> None:
        """Have what the retrievers took in lie where all workers see it."""
        for retriever in map(innermost, retrievers):
            if isinstance(retriever, ReadyRetriever) and len(retriever.query_vectors):
                own = retriever.document_vectors, retriever.query_vectors
                retriever.take_vectors(self._spread(own[0], f"{retriever.score}-document"), documents.searchable)
                retriever.take_query_vectors(self._spread(own[1], f"{retriever.score}-query"))

    def _spread(self, vectors: Vectors, name: str) -> PartVectors:
        """Vectors of this machine's files, in the work folder."""
        return PartVectors(
            [
                write_part(
                    self.engine.folder.place(f"vectors/{name}/{piece.number:05}"),
                    matrix.Span(vectors, piece.first, piece.first + piece.rows),
                )
                for piece in self._stretches(len(vectors))
            ]
        )

    def rows(self, search: Search, on_masked: OnMasked | None) -> None:
        """Search for all queries and write their rows, and what was masked."""
        engine = self.engine
        some = len(search.queries) > 0
        spreads = [self._spread_of(each, search.documents) if some else None for each in search.retrievers]
        shared = engine.cluster.share(search)  # once its retrievers have taken everything in
        together = self._as_at_first(_TOGETHER, search.together())
        bounds = _bounds(search, self._as_at_first(_ROWS_OF_A_SHARD, self._output_rows(search)), together)
        found = self._lists(search, shared, spreads, bounds)
        with_lists(search, found)
        starts = search.queries.starts[bounds]
        pieces = [Piece(at, "", int(stop - first), int(first)) for at, (first, stop) in enumerate(pairwise(starts))]
        work = Mining(engine.folder, shared, engine.cluster.share(found), bounds, on_masked is not None)
        engine.write(self.run, pieces, work, only=["out"])
        told = [read_told(engine.folder, piece.number) for piece in pieces]
        for each in told:
            if search.sources is not None:
                search.sources.add_tallies(each.sources)
            if search.since is not None:
                search.since.add_tallies(each.since)
        if on_masked is not None:
            _hand_over(told, bounds // together, on_masked)

    def _as_at_first(self, name: str, value: int) -> int:
        """`value`, or what it was at first: a run that goes on may have another room, and other workers."""
        folder = self.engine.folder
        if (kept := folder.read(name)) is None:
            folder.write(name, kept := str(value))
        return int(kept)

    def _output_rows(self, search: Search) -> int:
        """Rows of a shard of the output: many where that leaves each worker some, as all have their texts anew."""
        rows = len(search.queries) * _rows_of_a_query(search)
        return max(self.engine.rows, min(_OUTPUT_ROWS, rows // (_SHARDS_A_WORKER * self.engine.cluster.workers)))

    def _lists(
        self, search: Search, shared: Shared[Search], spreads: Sequence[Finder | None], bounds: np.ndarray
    ) -> list[Found | None]:
        """The lists of all queries by retriever, long enough for what is masked; None where it has its own."""
        every = np.arange(len(search.queries))
        for retriever, spread in zip(search.retrievers, spreads, strict=True):
            if spread is not None:
                rows, numbers = asked_of(retriever, every)
                watch = self.run.begin(f"lists of {retriever.name}", len(numbers) * len(spread.spans))
                spread.find(numbers, search.most + search.spare(every[rows]), watch)
        if search.masks.similar is not None or search.masks.near.crowds is not None:
            self._deepen(shared, spreads, bounds)
        return _lists_of(spreads)

    def _spread_of(self, retriever: Retriever, documents: Documents) -> Finder | None:
        """What searches for `retriever` on the workers; None for one that has its lists already."""
        inner, engine = innermost(retriever), self.engine
        workers = engine.cluster.workers
        if isinstance(inner, DenseRetriever):
            spans = spans_of(documents.searchable, engine.rows, workers)
            searched = VectorSpans(
                inner.document_vectors, inner.query_vectors, self.threads, self.room.work, self.device
            )
            count, on_gpus = len(inner.query_vectors), self.device not in (None, "cpu")
            exact = SpreadSearch(engine.cluster, engine.folder, inner.score, searched, spans, count, on_gpus=on_gpus)
            indexing = Indexing(engine, self.run, self.tuning, self.threads, self.room.work, self._stretches)
            return indexing.search_of(inner, exact, searched, documents.searchable)
        if isinstance(inner, PartsBm25):
            parts = spans_of(len(documents.texts), engine.rows, workers)
            inner.settle(partial(self._counted, inner.score), partial(self._highest, parts))
            spans, count = inner.spans(_POSTINGS), inner.query_count
            # What a query takes hardly grows with the span: one span for each worker would take all of them longer.
            at_once = min(max(-(-count * len(spans) // (ITEMS_A_WORKER * workers)), _FEWEST_QUERIES), QUERIES)
            return SpreadSearch(
                engine.cluster, engine.folder, inner.score, inner.searched, spans, count, together=at_once
            )
        return None

    def _counted(self, name: str, texts: Sequence[str], known: dict[str, int]) -> list[CountedPart]:
        engine = self.engine
        share = engine.cluster.share
        make = Counting(engine.folder, name, share(texts), share(known))  # type: ignore[arg-type]
        pieces = self._stretches(len(texts))
        found = {
            piece.number: part
            for piece, part in engine.fold(self.run, pieces, make, what="documents for bm25", step=f"words-{name}")
        }
        return [found[piece.number] for piece in pieces]

    def _highest(self, spans: Sequence[tuple[int, int]], words: CountedWords) -> np.ndarray:
        """What each word gives a document at most."""
        pool = self.engine.cluster
        highest = np.zeros(len(words.vocabulary), np.float32)
        for _, found in pool.map(Weighing(pool.share(words)), spans):
            np.maximum(highest, found, out=highest)
        return highest

    def _deepen(self, search: Shared[Search], spreads: Sequence[Finder | None], bounds: np.ndarray) -> None:
        """Make lists longer until all queries have enough that is not masked."""
        pool = self.engine.cluster
        stretches = list(pairwise(bounds.tolist()))
        while stretches:
            short = dict(pool.map(Probing(search, pool.share(_lists_of(spreads))), stretches))
            for number, spread in enumerate(spreads):
                own = [(queries, k) for each in short.values() for at, queries, k in each if at == number]
                if spread is not None and own:
                    queries = np.concatenate([queries for queries, _ in own])
                    spread.find(queries, np.repeat([k for _, k in own], [len(some) for some, _ in own]), nothing)
            stretches = [stretches[at] for at, each in sorted(short.items()) if each]


def _lists_of(spreads: Sequence[Finder | None]) -> list[Found | None]:
    return [None if each is None else each.lists for each in spreads]


def _rows_of_a_query(search: Search) -> int:
    return search.most * len(search.retrievers)


def _bounds(search: Search, rows: int, together: int) -> np.ndarray:
    """The first query of each shard of the output, with the end: of about so many rows each.

    None of them lies in two of the stretches of `together` queries that one machine searches at a time: so what is
    masked can be put in its order.
    """
    count = len(search.queries)
    each = max(1, rows // _rows_of_a_query(search))
    starts = [
        first for start in range(0, count, together) for first in range(start, min(start + together, count), each)
    ]
    return np.array([*(starts or [0]), count])


def _hand_over(told: Sequence[Told], stretch: np.ndarray, take: OnMasked) -> None:
    """Pass on what was masked as one machine would: by `stretch` of queries, which each shard has one of, and turn."""
    from pairmine.files.sharded import read_tables

    places = sorted(
        (int(stretch[number]), turn, number, path)
        for number, each in enumerate(told)
        for turn, path in each.masked.items()
    )
    for _, turn, _, path in places:
        for table in read_tables(path):
            take(table, turn)
