"""The two sides of a search: every query once, every distinct document text once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND
from pairmine.errors import PairmineError
from pairmine.identity import NO_TEXT, text_keys
from pairmine.stages.mine.forms import Forms

_PIECE = 65_536


class Storage(Protocol):
    """Where texts lie: in memory, or partly on disk."""

    def __len__(self) -> int:
        """How many there are."""

    def append(self, texts: pa.ChunkedArray) -> None:
        """Take in more texts."""

    def take(self, rows: np.ndarray) -> pa.Array:
        """Those at `rows` (n,), in any order, as large strings."""

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """The bytes of those at `rows`, (n,) int64."""


class InMemory:
    """Texts as Arrow holds them."""

    def __init__(self, *columns: pa.ChunkedArray) -> None:
        self._chunks: list[pa.Array] = []
        self._sizes: np.ndarray | None = None
        for column in columns:
            self.append(column)

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def append(self, texts: pa.ChunkedArray) -> None:
        """Take in more texts."""
        self._chunks += texts.cast(pa.large_string()).chunks
        self._sizes = None

    def take(self, rows: np.ndarray) -> pa.Array:
        """Those at `rows` (n,), as large strings."""
        return pa.chunked_array(self._chunks, pa.large_string()).take(pa.array(rows)).combine_chunks()

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """The bytes of those at `rows`, (n,) int64."""
        if self._sizes is None:
            self._sizes = _sizes_of(pa.chunked_array(self._chunks, pa.large_string()))
        return self._sizes[rows]


def _sizes_of(texts: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.binary_length(texts), 0).to_numpy())


class Texts(Sequence[str]):
    """Texts by place, as a Python sequence whose slices are lists, so that few are unpacked at a time.

    `rows` says where in `storage` the first of them lie, (n,); `extra` holds those behind.
    """

    def __init__(self, storage: Storage, rows: np.ndarray, extra: pa.ChunkedArray | None = None) -> None:
        self._storage = storage
        self._rows = rows
        self._extra = pa.chunked_array([], pa.large_string()) if extra is None else extra

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Texts:
        """All of `column`."""
        return cls(InMemory(column), np.arange(len(column)))

    def __len__(self) -> int:
        return len(self._rows) + len(self._extra)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return list(self.take(np.arange(len(self))[at]).to_pylist())
        return str(self.take(np.array([range(len(self))[at]]))[0].as_py())

    def take(self, places: np.ndarray) -> pa.Array:
        """The texts at `places` (n,), in any order, as large strings."""
        places = np.asarray(places, np.int64)
        stored = places < len(self._rows)
        if stored.all():
            return self._storage.take(self._rows[places])
        extra = self._extra.take(pa.array(places[~stored] - len(self._rows))).combine_chunks()
        if not stored.any():
            return extra
        both = pa.concat_arrays([self._storage.take(self._rows[places[stored]]), extra])
        at = np.empty(len(places), np.int64)
        at[stored], at[~stored] = np.arange(stored.sum()), stored.sum() + np.arange((~stored).sum())
        return both.take(pa.array(at))

    def sizes(self, places: np.ndarray) -> np.ndarray:
        """The bytes of the texts at `places` (n,), int64."""
        found = np.empty(len(places), np.int64)
        stored = places < len(self._rows)
        found[stored] = self._storage.sizes(self._rows[places[stored]])
        if not stored.all():
            found[~stored] = _sizes_of(self._extra)[places[~stored] - len(self._rows)]
        return found

    def at(self, places: np.ndarray) -> Picked:
        """The texts at `places` (n,) as a sequence of their own."""
        return Picked(self, places)


class Picked(Sequence[str]):
    """Some texts of others, in an order of their own; a slice is a list."""

    def __init__(self, texts: Texts, places: np.ndarray) -> None:
        self._texts = texts
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return list(self._texts.take(self._places[at]).to_pylist())
        return self._texts[int(self._places[at])]


@dataclass(frozen=True)
class Queries:
    """The queries of a pair set in their order: first row of each, (n + 1,) with the end; ids; texts; text keys."""

    starts: np.ndarray
    ids: pa.Array
    texts: Texts
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, pairs: pa.Table) -> Queries:
        """Raises PairmineError where rows of a query stand apart or a query has no text."""
        ids = pairs["query_id"].combine_chunks()
        if not len(ids):
            empty = pa.array([], pa.string())
            return cls(np.zeros(1, np.int64), empty, Texts.of(pa.chunked_array([empty])), np.empty(0, np.uint64))
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
        return cls(np.append(firsts, len(ids)), own, Texts.of(texts), keys_of(texts))

    def of_rows(self, first: int, last: int) -> np.ndarray:
        """The query number of each row of the queries `first` to `last`, counted from `first`."""
        return np.repeat(np.arange(last - first), np.diff(self.starts[first : last + 1]))


@dataclass(frozen=True)
class Corpus:
    """The documents of a corpus in their order: ids, texts, the text keys of each, in the searched form and others.

    With titles there are two forms: title and text, and the text alone; `others` are the keys of the forms that
    are not searched. `groups` is the number of each one's group, -1 where it has none, (n,) int64; `group_names` the
    names of the groups by number, and both are empty where no column was asked for.
    """

    ids: pa.ChunkedArray
    texts: Storage
    keys: np.ndarray
    others: Sequence[np.ndarray]
    groups: np.ndarray
    group_names: pa.Array
    has_titles: bool

    @classmethod
    def of(
        cls,
        tables: Iterable[pa.Table],
        *,
        titles: bool = True,
        storage: Storage | None = None,
        group: str | None = None,
        may_lack_group: bool = True,
    ) -> Corpus:
        """From its rows in batches, whose columns may differ, each title put before its text or left out.

        Raises PairmineError where no batch has the column `group`.
        """
        texts: Storage = InMemory() if storage is None else storage
        ids, keys, others, names = [], [], [], []
        columns: dict[str, None] = {}
        has_titles = False
        for table in tables:
            columns |= dict.fromkeys(table.column_names)
            has_titles |= "title" in table.column_names and table["title"].null_count < table.num_rows
            searched = schema.document_text(table) if titles else table["text"].cast(pa.large_string())
            ids.append(table["id"].cast(pa.string()))
            texts.append(searched)
            keys.append(keys_of(searched))
            others.append(_other_keys(table, titles, keys[-1]))
            names.append(_names_in(table, group))
        if not may_lack_group:
            check_group(group, columns)
        codes, group_names = _numbered(names)
        return cls(
            pa.chunked_array([chunk for column in ids for chunk in column.chunks], pa.string()),
            texts,
            _joined(keys),
            [_joined(others)] if "title" in columns else [],
            codes,
            group_names,
            has_titles,
        )

    @classmethod
    def joined(cls, parts: Sequence[Corpus], texts: Storage) -> Corpus:
        """Corpora one behind the other, whose texts are `texts`."""
        codes, group_names = _numbered([pa.chunked_array([_named(part)]) for part in parts])
        has_others = any(part.others for part in parts)
        others = [part.others[0] if part.others else part.keys for part in parts]
        return cls(
            pa.chunked_array([chunk for part in parts for chunk in part.ids.chunks], pa.string()),
            texts,
            _joined([part.keys for part in parts]),
            [_joined(others)] if has_others else [],
            codes,
            group_names,
            any(part.has_titles for part in parts),
        )

    def bare(self, keys: np.ndarray) -> int:
        """How many text keys are of documents that are searched with a title, which these texts leave out."""
        others = np.concatenate(self.others) if self.others else self.keys[:0]
        return int((np.isin(keys, others) & ~np.isin(keys, self.keys)).sum())


def check_group(group: str | None, columns: Iterable[str]) -> None:
    """Raise a PairmineError where the `columns` of a corpus lack that of groups."""
    columns = list(columns)
    if group is not None and group not in columns:
        raise PairmineError(f"--group-column {group}: no such column (found: {', '.join(columns)})")


def _names_in(table: pa.Table, group: str | None) -> pa.ChunkedArray:
    """The group of each row by name; nulls where there is no such column."""
    if group is None:
        return pa.chunked_array([], pa.string())
    if group not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    return table[group].cast(pa.string())


def _named(corpus: Corpus) -> pa.Array:
    """The group of each document by name."""
    if not len(corpus.groups):
        return pa.array([], pa.string())
    known = corpus.groups != NOT_FOUND
    return corpus.group_names.cast(pa.string()).take(pa.array(corpus.groups, mask=~known))


def _numbered(names: Sequence[pa.ChunkedArray]) -> tuple[np.ndarray, pa.Array]:
    """The number of each name, -1 for null, and the names by number."""
    joined = pa.chunked_array([chunk for column in names for chunk in column.chunks], pa.string())
    encoded = joined.combine_chunks().dictionary_encode()
    return _numbers(encoded.indices), encoded.dictionary


def _numbers(codes: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(codes.cast(pa.int64()), NOT_FOUND).to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class Documents:
    """Every distinct text once: those of the corpus, which are searched, then those only in the pair set.

    `texts` are all of them by place, the searched ones first. `ids` are the ids of the searched ones, `searchable`
    their number; `copy_ids` and `copy_places` the ids of their copies in the corpus and what those are copies
    of; `of_pair` is the place of each pair row's document; `of_id` and `of_source` the places of the corpus
    documents that the row's doc_id and source_id name, `of_known` those that the doc_ids of `known` name. Where there
    is none, a place is -1. `pair_keys` are the text keys of the pair rows' own documents, 0 where a row has none;
    `forms` says which searched ones share a text, with or without a title. `groups` is the number of each searched
    one's group and `pair_groups` that of each pair row's document, -1 where there is none. `blank` and `copies` count
    the corpus documents that are not searched.
    """

    texts: Texts
    ids: pa.Array
    copy_ids: pa.Array
    copy_places: np.ndarray
    of_pair: np.ndarray
    of_id: np.ndarray
    of_source: np.ndarray
    pair_keys: np.ndarray
    forms: Forms
    groups: np.ndarray
    pair_groups: np.ndarray
    of_known: np.ndarray
    blank: int
    copies: int

    @property
    def searchable(self) -> int:
        """How many texts are searched."""
        return len(self.ids)

    def named(self, pairs: pa.Table) -> tuple[pa.Array, np.ndarray]:
        """Ids and their places: of every searched document, of its copies, and of those that only `pairs` have."""
        rows = np.flatnonzero(self.of_pair >= self.searchable)
        places, first = np.unique(self.of_pair[rows], return_index=True)
        further = pairs["doc_id"].take(pa.array(rows[first])).cast(pa.string()).combine_chunks()
        ids = pa.concat_arrays([self.ids, self.copy_ids, further])
        return ids, np.concatenate([np.arange(self.searchable), self.copy_places, places])

    @classmethod
    def of(
        cls,
        pairs: pa.Table,
        corpus: pa.Table | Corpus | None,
        *,
        titles: bool = True,
        group: str | None = None,
        known: pa.Table | None = None,
    ) -> Documents:
        """The corpus, each title before its text or left out; without one, the documents of `pairs`.

        `group` is a column of the corpus, the pair set or both, `known` are rows with a doc_id. Raises PairmineError
        where a document of the pair
        set has neither a text nor a place in the corpus.
        """
        if corpus is None:
            corpus = _own_documents(pairs, group)
        if isinstance(corpus, pa.Table):
            corpus = Corpus.of([corpus], titles=titles, group=group)
        keys = corpus.keys
        own_keys, first = np.unique(keys, return_index=True)
        if len(own_keys) and own_keys[0] == NO_TEXT:
            own_keys, first = own_keys[1:], first[1:]
        rows = np.sort(first)
        key_places = np.searchsorted(rows, first)

        in_corpus = _places(keys, own_keys, key_places)
        for other in corpus.others:  # a document of a title alone is searched where another has that as its text
            in_corpus = np.where(keys == NO_TEXT, _places(other, own_keys, key_places), in_corpus)
        in_corpus = np.append(in_corpus, NOT_FOUND)
        is_copy = in_corpus[:-1] != NOT_FOUND
        is_copy[rows] = False
        row_of_id = _rows_by_id(pairs, "doc_id", corpus.ids)
        pair_keys = text_keys(pairs["document"]) if "document" in pairs.column_names else _no_keys(pairs.num_rows)
        of_pair, extra = _of_pairs(pairs, pair_keys, own_keys, key_places, row_of_id, in_corpus)
        groups = corpus.groups[rows] if len(corpus.groups) else np.full(len(rows), NOT_FOUND)
        pair_groups = _pair_groups(pairs, corpus, row_of_id, group)
        if not len(corpus.group_names):
            named = np.flatnonzero((of_pair >= 0) & (of_pair < len(rows)))[::-1]
            groups[of_pair[named]] = pair_groups[named]
        return cls(
            texts=Texts(corpus.texts, rows, extra),
            ids=corpus.ids.combine_chunks().take(pa.array(rows)),
            copy_ids=corpus.ids.filter(pa.array(is_copy)).combine_chunks(),
            copy_places=in_corpus[:-1][is_copy],
            of_pair=of_pair,
            of_id=in_corpus[row_of_id],
            of_source=in_corpus[_rows_by_id(pairs, "source_id", corpus.ids)],
            pair_keys=pair_keys,
            forms=Forms.of([keys, *corpus.others], in_corpus[:-1]),
            groups=groups,
            pair_groups=pair_groups,
            of_known=_nowhere(0) if known is None else in_corpus[_rows_by_id(known, "doc_id", corpus.ids)],
            blank=int((keys == NO_TEXT).sum()),
            copies=int((keys != NO_TEXT).sum()) - len(rows),
        )


def _pair_groups(pairs: pa.Table, corpus: Corpus, row_of_id: np.ndarray, group: str | None) -> np.ndarray:
    """The group of each pair row's document: the row's own where it names one, else what the corpus says.

    Where the corpus has no groups at all, those of the pair set are the only ones; its documents have them then.
    """
    groups = np.append(corpus.groups, NOT_FOUND)[row_of_id] if len(corpus.groups) else _nowhere(pairs.num_rows)
    if group is None or group not in pairs.column_names:
        return groups
    if not len(corpus.group_names):
        return _numbered([pairs[group].cast(pa.string())])[0]
    own = _numbers(pc.index_in(pairs[group].cast(pa.string()).combine_chunks(), value_set=corpus.group_names))
    return np.where(pc.is_null(pairs[group]).to_numpy(), groups, own)


def _nowhere(count: int) -> np.ndarray:
    return np.full(count, NOT_FOUND)


def keys_of(texts: pa.ChunkedArray) -> np.ndarray:
    """The text key of each text, (n,) uint64, unpacking a piece of them at a time."""
    return _joined([text_keys(texts.slice(start, _PIECE)) for start in range(0, len(texts), _PIECE)])


def _joined(keys: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(keys) if keys else np.empty(0, np.uint64)


def _no_keys(count: int) -> np.ndarray:
    return np.full(count, NO_TEXT)


def _other_keys(corpus: pa.Table, titles: bool, searched: np.ndarray) -> np.ndarray:
    """The text keys in the form that is not searched, without titles or with them; of no title the `searched` ones."""
    if "title" not in corpus.column_names:
        return searched
    return keys_of(corpus["text"] if titles else schema.document_text(corpus))


def _own_documents(pairs: pa.Table, group: str | None) -> pa.Table:
    """The documents of a pair set as a corpus: of each id the first text that is not blank."""
    if "document" not in pairs.column_names:
        raise PairmineError("the pair set has no document texts; pass --corpus")
    has_text = text_keys(pairs["document"]) != NO_TEXT
    if group is not None and group not in pairs.column_names:
        raise PairmineError(f"--group-column {group}: no such column (found: {', '.join(pairs.column_names)})")
    given = pairs.select(["doc_id", "document", *([group] if group else [])]).filter(pa.array(has_text))
    codes = given["doc_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    rows = pa.array(np.sort(first))
    found = {"id": given["doc_id"].take(rows), "text": given["document"].take(rows).cast(pa.large_string())}
    return pa.table(found | ({group: given[group].take(rows)} if group else {}))


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
