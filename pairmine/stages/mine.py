"""Mining: candidates for hard negatives out of the corpus, by any number of retrievers.

Mining adds rows and never decides: candidates have a null label, the rank and the origin of the
list that they came from, and the score of every retriever; `filter` decides later, in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND, Hits, Retriever
from pairmine.errors import PairmineError
from pairmine.identity import NO_TEXT, text_keys
from pairmine.outcome import Outcome, no_rejects

BLOCK_QUERIES = 4096
REASONS = ("a known positive, its source or a copy", "the query's own text", "in the pair set already")
_POSITIVE, _OWN_TEXT, _PRESENT = range(3)


def mine(
    pairs: pa.Table, corpus: pa.Table | None, retrievers: Sequence[Retriever], *, depth: int, prepared: bool = False
) -> Outcome:
    """`pairs` with up to `depth` candidates per query and retriever added behind each query's rows.

    `corpus` has the columns id, text and perhaps title; without one the documents of `pairs` are
    searched. Exact copies in the corpus (by normalised text) are one candidate, under the id of
    the first. Never a candidate: a known positive, the document that it was cut from, a copy of
    either, the query's own text, a document that the query has a row for already.

    `prepared` says that the retrievers have taken in documents and queries themselves.
    """
    outcomes = list(mine_blocks(pairs, corpus, retrievers, depth=depth, prepared=prepared))
    notes: Counter[str] = Counter()
    for outcome in outcomes:
        notes.update(outcome.notes)
    kept = pa.concat_tables([outcome.kept for outcome in outcomes])
    added = sum(outcome.added for outcome in outcomes)
    return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows, added=added, notes=notes)


def mine_blocks(
    pairs: pa.Table,
    corpus: pa.Table | None,
    retrievers: Sequence[Retriever],
    *,
    depth: int,
    prepared: bool = False,
    block: int = BLOCK_QUERIES,
) -> Iterator[Outcome]:
    """`mine`, a block of queries at a time."""
    if depth < 1:
        raise PairmineError(f"--depth {depth}: at least 1")
    names = [retriever.score for retriever in retrievers]
    if not retrievers or len(set(names)) < len(names):
        raise PairmineError(f"retrievers must be one or more, with different names, and are: {', '.join(names) or 'none'}")
    queries = Queries.of(pairs)
    documents = Documents.of(pairs, corpus)
    if not prepared:
        for retriever in retrievers:
            retriever.index(documents.texts, documents.searchable)
            retriever.prepare(queries.texts)
    yield from search_blocks(pairs, queries, documents, retrievers, depth=depth, block=block)


def search_blocks(
    pairs: pa.Table,
    queries: Queries,
    documents: Documents,
    retrievers: Sequence[Retriever],
    *,
    depth: int,
    block: int = BLOCK_QUERIES,
) -> Iterator[Outcome]:
    """The candidates of each block of queries, once the retrievers have taken everything in."""
    own = [schema.SCORE_PREFIX + retriever.score for retriever in retrievers]
    plain = pairs.drop_columns([name for name in own if name in pairs.column_names])
    masks = Masks.of(pairs, queries, documents)
    for start in range(0, max(len(queries), 1), block):
        yield _mine_block(plain, queries, documents, masks, retrievers, depth, start, min(start + block, len(queries)))


class TextColumn(Sequence[str]):
    """An Arrow column of texts as a Python sequence; a slice is a list, so that few are unpacked at a time."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self._column))
            return list(self._column.slice(start, stop - start).to_pylist())
        return str(self._column[at].as_py())


@dataclass(frozen=True)
class Queries:
    """The queries of a pair set in their order: first row of each, (n + 1,) with the end; ids; texts."""

    starts: np.ndarray
    ids: pa.Array
    texts: TextColumn
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, pairs: pa.Table) -> Queries:
        """Raises PairmineError where rows of a query stand apart or a query has no text."""
        ids = pairs["query_id"].combine_chunks()
        changes = np.flatnonzero(pc.not_equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))).to_numpy(False)) + 1
        firsts = np.concatenate([[0], changes]).astype(np.int64) if len(ids) else np.empty(0, np.int64)
        own = ids.take(pa.array(firsts))
        if len(own) != len(pc.unique(own)):
            raise PairmineError("rows of one query stand apart; run 'pairmine convert' on the pair set first")
        if "query" not in pairs.column_names:
            raise PairmineError('the pair set has no "query" texts to search with')
        texts = pairs["query"].take(pa.array(firsts)).cast(pa.string())
        if texts.null_count:
            at = int(np.flatnonzero(pc.is_null(texts).to_numpy())[0])
            raise PairmineError(f'query "{own[at]}" has no text; mining needs one for every query')
        return cls(np.append(firsts, len(ids)), own, TextColumn(texts), text_keys(texts))

    def of_rows(self, first: int, last: int) -> np.ndarray:
        """The query number of each row of the queries `first` to `last`, counted from `first`."""
        return np.repeat(np.arange(last - first), np.diff(self.starts[first : last + 1]))


@dataclass(frozen=True)
class Documents:
    """Every distinct text once: those of the corpus, which are searched, then those only in the pair set.

    `ids` are the ids of the searched ones; `of_pair` is the place of each pair row's document;
    `of_id` and `of_source` the places of the corpus documents that the row's doc_id and
    source_id name, -1 where there is none.
    """

    texts: TextColumn
    column: pa.ChunkedArray
    ids: pa.Array
    searchable: int
    of_pair: np.ndarray
    of_id: np.ndarray
    of_source: np.ndarray
    blank: int
    copies: int

    @classmethod
    def of(cls, pairs: pa.Table, corpus: pa.Table | None) -> Documents:
        """Raises PairmineError where a document of the pair set has neither a text nor a place in the corpus."""
        if corpus is None:
            corpus = _own_documents(pairs)
        texts = schema.document_text(corpus)
        keys = text_keys(texts)
        known, first = np.unique(keys, return_index=True)
        if len(known) and known[0] == NO_TEXT:
            known, first = known[1:], first[1:]
        order = np.argsort(first)
        place_of = np.empty(len(known), np.int64)
        place_of[order] = np.arange(len(known))
        rows = first[order]

        in_corpus = _places(keys, known, place_of)
        of_id = _by_id(pairs["doc_id"], corpus["id"], in_corpus)
        has_source = "source_id" in pairs.column_names
        of_source = _by_id(pairs["source_id"], corpus["id"], in_corpus) if has_source else np.full(len(of_id), NOT_FOUND)
        of_pair, extra = _of_pairs(pairs, known, place_of, of_id)
        whole = len(rows) == len(texts)
        searched = texts if whole else texts.combine_chunks().take(pa.array(rows))
        column = pa.chunked_array([*_chunks(searched), *_chunks(extra)], pa.large_string())
        return cls(
            texts=TextColumn(column),
            column=column,
            ids=corpus["id"].combine_chunks().take(pa.array(rows)),
            searchable=len(rows),
            of_pair=of_pair,
            of_id=of_id,
            of_source=of_source,
            blank=int((keys == NO_TEXT).sum()),
            copies=int((keys != NO_TEXT).sum()) - len(rows),
        )


def _chunks(texts: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]


def _own_documents(pairs: pa.Table) -> pa.Table:
    """The distinct documents of a pair set as a corpus."""
    if "document" not in pairs.column_names:
        raise PairmineError("the pair set has no document texts; pass --corpus")
    codes = pairs["doc_id"].combine_chunks().dictionary_encode()
    _, first = np.unique(codes.indices.to_numpy(), return_index=True)
    rows = pa.array(np.sort(first))
    texts = pc.fill_null(pairs["document"].take(rows).cast(pa.large_string()), "")
    return pa.table({"id": pairs["doc_id"].take(rows), "text": texts})


def _places(keys: np.ndarray, known: np.ndarray, place_of: np.ndarray) -> np.ndarray:
    """The place of each key among the sorted `known` ones, -1 where it is none of them."""
    if not len(known):
        return np.full(len(keys), NOT_FOUND)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, place_of[at], NOT_FOUND)


def _by_id(ids: pa.ChunkedArray, corpus_ids: pa.ChunkedArray, in_corpus: np.ndarray) -> np.ndarray:
    if not len(ids):
        return np.empty(0, np.int64)
    rows = pc.fill_null(pc.index_in(ids, value_set=corpus_ids), NOT_FOUND).to_numpy()
    return np.where(rows >= 0, np.append(in_corpus, NOT_FOUND)[rows], NOT_FOUND)


def _of_pairs(
    pairs: pa.Table, known: np.ndarray, place_of: np.ndarray, of_id: np.ndarray
) -> tuple[np.ndarray, pa.Array]:
    """The place of each pair row's document, and the texts that only the pair set has."""
    if "document" not in pairs.column_names:
        keys = np.full(pairs.num_rows, NO_TEXT)
    else:
        keys = text_keys(pairs["document"])
    places = np.where(keys == NO_TEXT, of_id, _places(keys, known, place_of))
    missing = np.flatnonzero(places == NOT_FOUND)
    textless = missing[keys[missing] == NO_TEXT]
    if len(textless) and "document" not in pairs.column_names:
        raise PairmineError(
            f"{len(textless)} of {pairs.num_rows} rows have no document text and an id that the corpus does not have, "
            f'the first is "{pairs["doc_id"][int(textless[0])]}"; pass the --corpus that they come from'
        )
    extra_keys, first, inverse = np.unique(keys[missing], return_index=True, return_inverse=True)
    places[missing] = len(known) + inverse
    if not len(extra_keys):
        return places, pa.array([], pa.large_string())
    texts = pairs["document"].take(pa.array(missing[first])).cast(pa.large_string()).combine_chunks()
    return places, pc.fill_null(texts, "")


@dataclass(frozen=True)
class Masks:
    """Which documents may not be candidates of which query: sorted (query, place) keys, with the reason of each."""

    keys: np.ndarray
    reasons: np.ndarray
    per_query: np.ndarray
    width: int

    @classmethod
    def of(cls, pairs: pa.Table, queries: Queries, documents: Documents) -> Masks:
        """Everything that the pair set knows about its queries."""
        width = max(len(documents.texts), 1)
        rows = queries.of_rows(0, len(queries))
        label = pc.fill_null(pairs["label"], -1).to_numpy() if "label" in pairs.column_names else np.full(len(rows), -1)
        reason = np.where(label == schema.POSITIVE, _POSITIVE, _PRESENT)
        searched = np.where(documents.of_pair < documents.searchable, documents.of_pair, NOT_FOUND)
        own = _own_texts(queries, documents)
        query = np.concatenate([rows, rows, rows, np.arange(len(queries))])
        place = np.concatenate([searched, documents.of_id, documents.of_source, own])
        why = np.concatenate([reason, reason, reason, np.full(len(queries), _OWN_TEXT)])
        found = place >= 0
        keys = query[found] * width + place[found]
        order = np.lexsort((why[found], keys))
        unique, first = np.unique(keys[order], return_index=True)
        per_query = np.bincount(unique // width, minlength=len(queries))
        return cls(unique, why[found][order][first], per_query, width)

    def find(self, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The reason why each place (n, k) is masked for its query (n,), -1 where it is not or there is none."""
        if not len(self.keys):
            return np.full(places.shape, NOT_FOUND)
        keys = queries[:, None] * self.width + places
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where((self.keys[at] == keys) & (places >= 0), self.reasons[at], NOT_FOUND)


def _own_texts(queries: Queries, documents: Documents) -> np.ndarray:
    """The place of the searched document that is the query's own text, -1 where there is none."""
    keys = text_keys(documents.column.slice(0, documents.searchable))
    order = np.argsort(keys)
    return _places(queries.keys, keys[order], order)


def _mine_block(
    pairs: pa.Table,
    queries: Queries,
    documents: Documents,
    masks: Masks,
    retrievers: Sequence[Retriever],
    depth: int,
    first: int,
    last: int,
) -> Outcome:
    numbers = np.arange(first, last)
    notes: Counter[str] = Counter()
    hits = [_search(retriever, numbers, masks, depth, notes) for retriever in retrievers]
    candidates = Candidates.of(hits, numbers, masks.width)
    low, high = (int(queries.starts[first]), int(queries.starts[last])) if len(queries) else (0, 0)
    given = pairs.slice(low, high - low)
    given_queries = queries.of_rows(first, last) + first if len(queries) else np.empty(0, np.int64)

    found = candidates.table(queries, documents, retrievers)
    for number, retriever in enumerate(retrievers):
        field = schema.score_field(retriever.score, retriever.scale)
        scores = retriever.pair_scores(given_queries, documents.of_pair[low:high])
        given = given.append_column(field, pa.array(scores, pa.float32()))
        found = found.append_column(field, pa.array(candidates.scores(number, retriever, hits[number], first), pa.float32()))
    for name in _rank_names(retrievers):
        given = given.append_column(name, pa.nulls(given.num_rows, pa.int32())) if name not in given.column_names else given
    short = len(numbers) - int((candidates.counts(len(numbers), first) >= depth).sum())
    if short:
        notes[f"queries with fewer than {depth} candidates"] = short
    joined = schema.concat_pairs([given, found]).unify_dictionaries().combine_chunks()
    order = np.lexsort((np.arange(joined.num_rows), np.concatenate([given_queries, candidates.query])))
    kept = joined.take(pa.array(order))
    return Outcome(kept, no_rejects(kept), rows_in=given.num_rows, added=found.num_rows, notes=notes)


def _search(retriever: Retriever, numbers: np.ndarray, masks: Masks, depth: int, notes: Counter[str]) -> Hits:
    """The first `depth` documents of each query that are not masked.

    So many more are searched as the query has masked ones; queries are taken together by the
    power of two above that number, so that one with thousands of positives slows no other down.
    """
    places = np.full((len(numbers), depth), NOT_FOUND, np.int64)
    scores = np.full((len(numbers), depth), -np.inf, np.float32)
    room = 1 << np.ceil(np.log2(np.maximum(masks.per_query[numbers], 8))).astype(np.int64)
    for spare in np.unique(room):
        members = np.flatnonzero(room == spare)
        found, values = retriever.search(numbers[members], depth + int(spare))
        reasons = masks.find(numbers[members], found)
        for reason in range(len(REASONS)):
            if masked := int((reasons == reason).sum()):
                notes[f"masked for {retriever.name}: {REASONS[reason]}"] += masked
        free = (reasons == NOT_FOUND) & (found != NOT_FOUND)
        column = np.cumsum(free, axis=1) - 1
        rows, columns = np.nonzero(free & (column < depth))
        target = (members[rows], column[rows, columns])
        places[target] = found[rows, columns]
        scores[target] = values[rows, columns]
    return places, scores


@dataclass(frozen=True)
class Candidates:
    """The candidates of a block, each (query, document) once, in the order of their rows.

    `query` and `place` name them, `source` is the retriever that ranked them best (the first of
    several), `ranks` their rank in each retriever's list, (retrievers, n), 0 where they are not in it.
    """

    query: np.ndarray
    place: np.ndarray
    source: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, hits: Sequence[Hits], numbers: np.ndarray, width: int) -> Candidates:
        """Merge the lists of all retrievers."""
        parts = []
        for number, (places, _) in enumerate(hits):
            rows, columns = np.nonzero(places != NOT_FOUND)
            parts.append((numbers[rows] * width + places[rows, columns], columns + 1, np.full(len(rows), number)))
        key, rank, source = (np.concatenate([part[i] for part in parts]) for i in range(3))
        order = np.lexsort((source, rank, key))
        unique, first, inverse = np.unique(key[order], return_index=True, return_inverse=True)
        ranks = np.zeros((len(hits), len(unique)), np.int32)
        ranks[source[order], inverse] = rank[order]
        best_rank, best_source = rank[order][first], source[order][first]
        rows = np.lexsort((best_source, best_rank, unique // width))
        return cls((unique // width)[rows], (unique % width)[rows], best_source[rows], ranks[:, rows])

    def counts(self, queries: int, first: int) -> np.ndarray:
        """The number of candidates of each query of the block."""
        return np.bincount(self.query - first, minlength=queries)

    def scores(self, number: int, retriever: Retriever, hits: Hits, first: int) -> np.ndarray:
        """One retriever's score of every candidate: from its list where it is there, else computed.

        `first` is the number of the block's first query.
        """
        scores = np.empty(len(self.query), np.float32)
        ranks = self.ranks[number]
        listed = ranks > 0
        if listed.any():
            scores[listed] = hits[1][self.query[listed] - first, ranks[listed] - 1]
        if not listed.all():
            scores[~listed] = retriever.pair_scores(self.query[~listed], self.place[~listed])
        return scores

    def table(self, queries: Queries, documents: Documents, retrievers: Sequence[Retriever]) -> pa.Table:
        """The candidates as rows of a pair set, without scores."""
        used, codes = np.unique(self.place, return_inverse=True)
        texts = documents.column.take(pa.array(used)).cast(pa.string()).combine_chunks()
        asked, asked_codes = np.unique(self.query, return_inverse=True)
        wanted = pa.array([queries.texts[int(query)] for query in asked], pa.string())
        origins = pa.array([f"mine:{retriever.name}" for retriever in retrievers])
        rank = self.ranks[self.source, np.arange(len(self.source))]
        columns = {
            "query_id": queries.ids.take(pa.array(self.query)),
            "query": pa.DictionaryArray.from_arrays(pa.array(asked_codes.astype(np.int32)), wanted),
            "doc_id": documents.ids.take(pa.array(self.place)),
            "document": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts),
            "label": pa.nulls(len(self.query), pa.int8()),
            "origin": origins.take(pa.array(self.source)),
            "rank": pa.array(rank, pa.int32()),
        }
        for number, name in enumerate(_rank_names(retrievers)):
            ranks = self.ranks[number]
            columns[name] = pa.array(ranks, pa.int32(), mask=ranks == 0)
        return pa.table(columns)


def _rank_names(retrievers: Sequence[Retriever]) -> list[str]:
    """Where several retrievers search, the rank in each one's list has a column of its own."""
    return [f"rank_{retriever.score}" for retriever in retrievers] if len(retrievers) > 1 else []
