"""The two sides of a search: every query once, every distinct document text once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND
from pairmine.errors import PairmineError
from pairmine.identity import NO_TEXT, text_keys
from pairmine.stages.mine.forms import Forms

_PIECE = 65_536


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
            return list(self._column.slice(start, max(stop - start, 0)).to_pylist())
        return str(self._column[at].as_py())


@dataclass(frozen=True)
class Queries:
    """The queries of a pair set in their order: first row of each, (n + 1,) with the end; ids; texts; text keys."""

    starts: np.ndarray
    ids: pa.Array
    column: pa.ChunkedArray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def texts(self) -> TextColumn:
        """The texts of the queries."""
        return TextColumn(self.column)

    @classmethod
    def of(cls, pairs: pa.Table) -> Queries:
        """Raises PairmineError where rows of a query stand apart or a query has no text."""
        ids = pairs["query_id"].combine_chunks()
        if not len(ids):
            empty = pa.array([], pa.string())
            return cls(np.zeros(1, np.int64), empty, pa.chunked_array([empty]), np.empty(0, np.uint64))
        changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
        firsts = np.append(0, np.flatnonzero(changes) + 1)
        own = ids.take(pa.array(firsts))
        if len(own) != len(pc.unique(own)):
            raise PairmineError("rows of one query stand apart; run 'pairmine convert' on the pair set first")
        if "query" not in pairs.column_names:
            raise PairmineError('the pair set has no "query" texts to search with')
        texts = pairs["query"].take(pa.array(firsts)).cast(pa.string())
        if texts.null_count:
            at = int(np.flatnonzero(pc.is_null(texts).to_numpy())[0])
            raise PairmineError(f'query "{own[at]}" has no text; mining needs one for every query')
        return cls(np.append(firsts, len(ids)), own, texts, _keys(texts))

    def of_rows(self, first: int, last: int) -> np.ndarray:
        """The query number of each row of the queries `first` to `last`, counted from `first`."""
        return np.repeat(np.arange(last - first), np.diff(self.starts[first : last + 1]))


@dataclass(frozen=True)
class Documents:
    """Every distinct text once: those of the corpus, which are searched, then those only in the pair set.

    `ids` are the ids of the searched ones, `searchable` their number; `of_pair` is the place of
    each pair row's document; `of_id` and `of_source` the places of the corpus documents that the
    row's doc_id and source_id name. Where there is none, a place is -1. `pair_keys` are the text
    keys of the pair rows' own documents, 0 where a row has none; `forms` says which searched ones
    share a text, with or without a title. `blank` and `copies` count the corpus documents that are
    not searched.
    """

    column: pa.ChunkedArray
    ids: pa.Array
    of_pair: np.ndarray
    of_id: np.ndarray
    of_source: np.ndarray
    pair_keys: np.ndarray
    forms: Forms
    blank: int
    copies: int

    @property
    def texts(self) -> TextColumn:
        """All texts, the searched ones first."""
        return TextColumn(self.column)

    @property
    def searchable(self) -> int:
        """How many texts are searched."""
        return len(self.ids)

    @classmethod
    def of(cls, pairs: pa.Table, corpus: pa.Table | None, *, titles: bool = True) -> Documents:
        """The corpus, each title before its text or left out; without one, the documents of `pairs`.

        Raises PairmineError where a document of the pair set has neither a text nor a place in the corpus.
        """
        if corpus is None:
            corpus = _own_documents(pairs)
        texts = schema.document_text(corpus) if titles else corpus["text"].cast(pa.large_string())
        keys = _keys(texts)
        known, first = np.unique(keys, return_index=True)
        if len(known) and known[0] == NO_TEXT:
            known, first = known[1:], first[1:]
        rows = np.sort(first)
        known_places = np.searchsorted(rows, first)

        others = _other_keys(corpus, titles)
        in_corpus = _places(keys, known, known_places)
        for other in others:  # a document of a title alone is searched where another one has that as its text
            in_corpus = np.where(keys == NO_TEXT, _places(other, known, known_places), in_corpus)
        in_corpus = np.append(in_corpus, NOT_FOUND)
        ids = corpus["id"].cast(pa.string())
        row_of_id = _rows_by_id(pairs, "doc_id", ids)
        pair_keys = text_keys(pairs["document"]) if "document" in pairs.column_names else _no_keys(pairs.num_rows)
        of_pair, extra = _of_pairs(pairs, pair_keys, known, known_places, row_of_id, in_corpus)
        searched = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
        return cls(
            column=pa.chunked_array([*searched.chunks, *extra.chunks], pa.large_string()),
            ids=ids.combine_chunks().take(pa.array(rows)),
            of_pair=of_pair,
            of_id=in_corpus[row_of_id],
            of_source=in_corpus[_rows_by_id(pairs, "source_id", ids)],
            pair_keys=pair_keys,
            forms=Forms.of([keys, *others], in_corpus[:-1]),
            blank=int((keys == NO_TEXT).sum()),
            copies=int((keys != NO_TEXT).sum()) - len(rows),
        )


def _keys(texts: pa.ChunkedArray) -> np.ndarray:
    """The text key of each text, unpacking a piece of them at a time."""
    parts = [text_keys(texts.slice(start, _PIECE)) for start in range(0, len(texts), _PIECE)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _no_keys(count: int) -> np.ndarray:
    return np.full(count, NO_TEXT)


def _other_keys(corpus: pa.Table, titles: bool) -> list[np.ndarray]:
    """The text keys of a corpus with titles in the form that is not searched: without them, or with them."""
    if "title" not in corpus.column_names:
        return []
    return [_keys(corpus["text"] if titles else schema.document_text(corpus))]


def _own_documents(pairs: pa.Table) -> pa.Table:
    """The documents of a pair set as a corpus: of each id the first text that is not blank."""
    if "document" not in pairs.column_names:
        raise PairmineError("the pair set has no document texts; pass --corpus")
    has_text = text_keys(pairs["document"]) != NO_TEXT
    given = pairs.select(["doc_id", "document"]).filter(pa.array(has_text))
    codes = given["doc_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    rows = pa.array(np.sort(first))
    return pa.table({"id": given["doc_id"].take(rows), "text": given["document"].take(rows).cast(pa.large_string())})


def _places(keys: np.ndarray, known: np.ndarray, known_places: np.ndarray) -> np.ndarray:
    """The place of each key among the sorted `known` ones, -1 where it is none of them."""
    if not len(known):
        return np.full(len(keys), NOT_FOUND)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, known_places[at], NOT_FOUND)


def _rows_by_id(pairs: pa.Table, name: str, corpus_ids: pa.ChunkedArray) -> np.ndarray:
    """The corpus row with the id in column `name` of each pair row, -1 where there is none."""
    if name not in pairs.column_names or not pairs.num_rows:
        return np.full(pairs.num_rows, NOT_FOUND)
    found = pc.index_in(pairs[name], value_set=corpus_ids, skip_nulls=True)
    return pc.fill_null(found, NOT_FOUND).to_numpy().astype(np.int64)


def _of_pairs(
    pairs: pa.Table,
    keys: np.ndarray,
    known: np.ndarray,
    known_places: np.ndarray,
    row_of_id: np.ndarray,
    in_corpus: np.ndarray,
) -> tuple[np.ndarray, pa.ChunkedArray]:
    """The place of each pair row's document, and the texts that only the pair set has."""
    here = "document" in pairs.column_names
    null = pc.is_null(pairs["document"]).to_numpy() if here else np.ones(pairs.num_rows, bool)
    unknown = np.flatnonzero(null & (row_of_id == NOT_FOUND))
    if len(unknown):
        raise PairmineError(
            f"{len(unknown)} of {pairs.num_rows} rows have no document text and an id that the corpus does not have, "
            f'the first is "{pairs["doc_id"][int(unknown[0])]}"; pass the --corpus that they come from'
        )
    places = np.where(keys == NO_TEXT, in_corpus[row_of_id], _places(keys, known, known_places))
    missing = np.flatnonzero(places == NOT_FOUND)
    extra_keys, first, inverse = np.unique(keys[missing], return_index=True, return_inverse=True)
    places[missing] = len(known) + inverse
    if not len(extra_keys):
        return places, pa.chunked_array([], pa.large_string())
    if not here:
        return places, pa.chunked_array([[""]], pa.large_string())
    texts = pairs["document"].take(pa.array(missing[first])).cast(pa.large_string())
    return places, pc.fill_null(texts, "")
