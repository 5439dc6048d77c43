"""What is compared: the documents of a corpus, the queries or the documents of a pair set, each id once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.identity import text_keys
from pairmine.schema import document_text


@dataclass(frozen=True)
class Units:
    """n texts to compare, in input order: the `ids` and `texts` of each.

    `of_row` (rows,) int64 says which of them a table row holds. `side` is "query" or "document".
    """

    side: str
    ids: pa.Array
    texts: pa.ChunkedArray
    of_row: np.ndarray

    @cached_property
    def keys(self) -> np.ndarray:
        """`identity.text_keys` of the texts, (n,) uint64."""
        return text_keys(self.texts)

    def lengths(self) -> np.ndarray:
        """(n,) int64, in code points."""
        lengths: np.ndarray = pc.utf8_length(self.texts).to_numpy()
        return lengths

    def of_rows(self, kept: np.ndarray) -> Units:
        """The units of the rows of `kept` (rows,) bool alone, in the order of those rows."""
        of_row = self.of_row[kept]
        codes, first = np.unique(of_row, return_index=True)
        codes = codes[np.argsort(first)]
        place = np.zeros(len(self.ids), np.int64)
        place[codes] = np.arange(len(codes))
        at = pa.array(codes)
        return Units(self.side, self.ids.take(at), self.texts.take(at), place[of_row])


def sides_of(table: pa.Table, by: str) -> list[Units]:
    """The units of each side that `by` compares: two for "pair", query first, one otherwise."""
    return [units_of(table, side) for side in sides_named(table, by)]


def sides_named(table: pa.Table, by: str) -> list[str]:
    """The sides that `by` compares, query first; raises a PairmineError for one that a corpus does not have."""
    if not is_pair_set(table) and by != "document":
        raise PairmineError(
            f'--by {by} needs a pair set, but there is no "query_id" (found: {_found(table)}); '
            "pass --by document for a corpus"
        )
    return ["query", "document"] if by == "pair" else [by]


def units_of(table: pa.Table, side: str) -> Units:
    """The texts of one side, "query" or "document", each id once."""
    if not is_pair_set(table):
        return _documents(table)
    _check_columns(table, _ID_COLUMN[side], side)
    return _units(table, side)


def is_pair_set(table: pa.Table) -> bool:
    """Whether `table` is a pair set; any other is a corpus."""
    return "query_id" in table.column_names


def id_column(table: pa.Table, side: str) -> str:
    """The column with the ids of a side's units."""
    return _ID_COLUMN[side] if is_pair_set(table) else "id"


_ID_COLUMN = {"query": "query_id", "document": "doc_id"}
_JOIN = "give every row its text, as 'pairmine convert --as pairs' does with a BEIR folder"


def codes_of(ids: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """A number for each row's id, 0 upwards in order of first appearance, and the ids so numbered."""
    encoded = _plain(ids).combine_chunks().dictionary_encode()
    codes: np.ndarray = encoded.indices.to_numpy().astype(np.int64)
    return codes, encoded.dictionary


def _documents(corpus: pa.Table) -> Units:
    for name in ("id", "text"):
        if name not in corpus.column_names:
            raise PairmineError(
                f'no "{name}" (found: {_found(corpus)}); dedup takes a corpus (id, text) or a pair set (query_id, ...)'
            )
    _check_nulls(corpus, "id", "id", "every document needs one")
    _check_nulls(corpus, "text", "id", "leave those rows out or give them a text")
    texts = document_text(corpus)
    return Units("document", _plain(corpus["id"]).combine_chunks(), texts, np.arange(corpus.num_rows))


def _units(pairs: pa.Table, side: str) -> Units:
    of_row, ids = codes_of(pairs[_ID_COLUMN[side]])
    first = np.unique(of_row, return_index=True)[1]
    _check_one_text(pairs[side], of_row, first, _ID_COLUMN[side], ids)
    is_first = np.zeros(pairs.num_rows, bool)
    is_first[first] = True
    return Units(side, ids, _plain(pairs[side].filter(pa.array(is_first))), of_row)


def _check_one_text(column: pa.ChunkedArray, of_row: np.ndarray, first: np.ndarray, name: str, ids: pa.Array) -> None:
    """Raise a PairmineError where one id has two texts; only rows whose text is another value are looked at closely."""
    texts = column.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    codes = texts.indices.to_numpy()
    other = np.flatnonzero(codes != codes[first[of_row]])
    differs = text_keys(texts.take(pa.array(other))) != text_keys(texts.take(pa.array(first[of_row[other]])))
    if differs.any():
        row = int(other[np.argmax(differs)])
        raise PairmineError(
            f'{name} "{ids[of_row[row]].as_py()}" has one text in row {first[of_row[row]] + 1} and another in '
            f"row {row + 1}; give each text an id of its own"
        )


def _plain(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    return texts.cast(pa.large_string())


def _check_columns(pairs: pa.Table, id_column: str, text_column: str) -> None:
    if id_column not in pairs.column_names:
        raise PairmineError(f'no "{id_column}" (found: {_found(pairs)}); dedup takes a corpus or a pair set')
    if text_column not in pairs.column_names:
        raise PairmineError(f'no "{text_column}" (found: {_found(pairs)}); {_JOIN}')
    _check_nulls(pairs, id_column, "", "every row needs one")
    _check_nulls(pairs, text_column, id_column, _JOIN)


def _check_nulls(table: pa.Table, name: str, id_column: str, remedy: str) -> None:
    nulls = np.flatnonzero(pc.is_null(_plain(table[name])).to_numpy())
    if not len(nulls):
        return
    row = int(nulls[0])
    first = f'{id_column} "{table[id_column][row].as_py()}"' if id_column else f"row {row + 1}"
    raise PairmineError(f'"{name}" is null in {len(nulls)} of {table.num_rows} rows (first: {first}); {remedy}')


def _found(table: pa.Table) -> str:
    return ", ".join(table.column_names)
