"""What workers do for `pairmine mine`: take in the corpus, embed, count words, look for near copies, write rows."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.backends.retrievers.bm25_parts import CountedPart, CountedWords, count_part
from pairmine.backends.specs import Spec
from pairmine.backends.vectors.parts import VectorPart, write_part
from pairmine.engines import kept
from pairmine.engines.search import Found, Span, TooShort
from pairmine.engines.shards import Piece, Shared
from pairmine.files.sharded import WorkFolder, open_part
from pairmine.files.text_parts import TextPart, write_texts
from pairmine.outcome import Outcome
from pairmine.stages.mine.near_copies import Index, Stretch
from pairmine.stages.mine.search import Search, Turn
from pairmine.stages.mine.strategy import innermost
from pairmine.stages.mine.texts import Corpus, InMemory, Texts


def quiet(line: str) -> None:
    """What is said of a shard was said of its input."""


@dataclass(frozen=True)
class Taken:
    """A shard of the corpus without its texts, where those are, and the columns that it has."""

    corpus: Corpus
    texts: TextPart
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TakeIn:
    """Makes what takes in a shard of the corpus: its texts go into a file as they are searched."""

    folder: WorkFolder
    titles: bool
    group: str | None

    def __call__(self) -> Callable[[Piece], Taken]:
        return self._take

    def _take(self, piece: Piece) -> Taken:
        from pairmine.files.source import open_documents

        tables = list(open_documents(piece.path, quiet).each())
        texts = InMemory()
        corpus = Corpus.of(tables, titles=self.titles, storage=texts, group=self.group)
        whole = texts.take(np.arange(len(texts)))
        part = write_texts(self.folder.place(f"texts/{piece.number:05}"), pa.chunked_array([whole]))
        columns = tuple(dict.fromkeys(name for table in tables for name in table.column_names))
        return Taken(replace(corpus, texts=InMemory()), part, columns)


@dataclass(frozen=True)
class Embedded:
    """Where the vectors of a shard's texts are, how many were made and how many were there, and by which model."""

    part: VectorPart
    embedded: int
    reused: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Embedding:
    """Makes what embeds a stretch of texts, or of those at `places`; vectors lie in `store` too, where there is one."""

    folder: WorkFolder
    name: str
    texts: Shared[Texts]
    places: Shared[np.ndarray | None]
    spec: Spec
    side: Any
    settings: Mapping[str, Any]
    store: str | None
    vector_type: str
    threads: int

    def __call__(self) -> Callable[[Piece], Embedded]:
        from pairmine.backends.encoders import open_encoder
        from pairmine.backends.models import use_threads
        from pairmine.backends.vectors.store import VectorStore

        use_threads(self.threads)
        encoder = open_encoder(self.spec, **self.settings)
        texts, places = self.texts.get(), self.places.get()

        def embed(piece: Piece) -> Embedded:
            store = VectorStore(self.store, vector_type=self.vector_type)
            numbers = np.arange(piece.first, piece.first + piece.rows)
            some = texts.at(numbers if places is None else places[numbers])
            vectors = store.vectors(encoder, some, self.side)
            part = write_part(self.folder.place(f"vectors/{self.name}/{piece.number:05}"), vectors)
            return Embedded(part, store.embedded, store.reused, encoder.facts)

        return embed


@dataclass(frozen=True)
class Counting:
    """Makes what counts the words of queries in a stretch of texts."""

    folder: WorkFolder
    name: str
    texts: Shared[Texts]
    known: Shared[dict[str, int]]

    def __call__(self) -> Callable[[Piece], CountedPart]:
        texts, known = self.texts.get(), self.known.get()

        def count(piece: Piece) -> CountedPart:
            some = texts.at(np.arange(piece.first, piece.first + piece.rows))
            return count_part(self.folder.place(f"words/{self.name}/{piece.number:05}"), some, known)

        return count


@dataclass(frozen=True)
class Weighing:
    """Makes what says how much each word gives a document of a span at most."""

    words: Shared[CountedWords]

    def __call__(self) -> Callable[[Span], np.ndarray]:
        words = self.words.get()
        return lambda span: words.highest(*span)


@dataclass(frozen=True)
class Copying:
    """Makes what looks for near copies of an index's texts in a stretch of documents."""

    index: Shared[Index]
    texts: Shared[Texts]

    def __call__(self) -> Callable[[Piece], Stretch]:
        index, texts = self.index.get(), self.texts.get()
        return lambda piece: index.blank().among(texts, piece.first, piece.first + piece.rows)


@dataclass(frozen=True)
class Told:
    """What the rows of a shard of queries add to what is told at the end, and where its masked documents are."""

    sources: Mapping[str, Any]
    since: Mapping[str, Any]
    masked: Mapping[Turn, str]


@dataclass(frozen=True)
class Probing:
    """Makes what says of a stretch of queries how much longer their lists have to be, by retriever."""

    search: Shared[Search]
    lists: Shared[Sequence[Found | None]]

    def __call__(self) -> Callable[[tuple[int, int]], list[tuple[int, np.ndarray, int]]]:
        search = with_lists(self.search.get(), self.lists.get())
        search = replace(search, sources=None, since=None)

        def probe(stretch: tuple[int, int]) -> list[tuple[int, np.ndarray, int]]:
            short = []
            for number in range(len(search.retrievers)):
                try:
                    search.search(number, np.arange(*stretch), Counter())
                except TooShort as found:
                    short.append((number, found.queries, found.k))
            return short

        return probe


@dataclass(frozen=True)
class Mining:
    """Puts the rows of shards of queries together; the first query of shard i is `bounds[i]`. See `shards.Work`."""

    folder: WorkFolder
    search: Shared[Search]
    lists: Shared[Sequence[Found | None]]
    bounds: np.ndarray
    hands_on_masked: bool

    def open(self) -> _MiningJob:
        """Attach the lists to their retrievers."""
        return _MiningJob(self, with_lists(self.search.get(), self.lists.get()))


def with_lists(search: Search, lists: Sequence[Found | None]) -> Search:
    """`search`, whose retrievers take their documents from lists that were found before, save where that is None."""
    for retriever, own in zip(search.retrievers, lists, strict=True):
        if own is not None:
            innermost(retriever).lists = own  # type: ignore[attr-defined]
    return search


class _MiningJob:
    def __init__(self, work: Mining, search: Search) -> None:
        self._work = work
        self._search = search

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """The rows of a shard's queries."""
        whole = self._search
        sources = None if whole.sources is None else whole.sources.blank()
        since = None if whole.since is None else whole.since.blank()
        masked: dict[Turn, list[pa.Table]] = {}

        def keep(rows: pa.Table, turn: Turn) -> None:
            masked.setdefault(turn, []).append(rows)

        own = replace(whole, sources=sources, since=since, on_masked=keep if self._work.hands_on_masked else None)
        first, last = self._work.bounds[piece.number : piece.number + 2].tolist()
        yield from own.outcomes(first, last)
        told = Told(
            {} if sources is None else sources.tallies(),
            {} if since is None else since.tallies(),
            self._put(piece, masked),
        )
        self._work.folder.write(told_by(piece.number), base64.b85encode(kept.dumps(told)).decode())

    def _put(self, piece: Piece, masked: Mapping[Turn, list[pa.Table]]) -> dict[Turn, str]:
        places = {}
        for turn, tables in masked.items():
            path = self._work.folder.place(f"masked/{'-'.join(map(str, turn))}/{piece.number:05}.parquet")
            sink = open_part(path)
            try:
                for table in tables:
                    sink.write(table)
                sink.commit([])
            except BaseException:
                sink.abort()
                raise
            places[turn] = path
        return places

    def facts(self) -> dict[str, Any]:
        """Nothing: the retrievers are described where they were opened."""
        return {}

    def sums(self) -> dict[str, int]:
        """Nothing: what is told is kept beside the rows."""
        return {}


def told_by(number: int) -> str:
    """Where the work folder has what a shard of queries told."""
    return f"told/{number:05}"


def read_told(folder: WorkFolder, number: int) -> Told:
    """What a finished shard of queries told."""
    place = told_by(number)
    found: Told = kept.loads(base64.b85decode(folder.read(place) or ""), f"{folder.path}/{place}")
    return found
