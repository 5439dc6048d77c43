"""What is compared: the documents of a corpus, the queries or the documents of a pair set, each id once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.identity import text_keys
from pairmine.schema import document_text


@dataclass(frozen=True)
class Units:
    """n texts to compare, in input order: the `ids`, `texts` and `identity.text_keys` of each.

    `of_row` (rows,) int64 says which of them a table row holds.
    """

    ids: pa.Array
    texts: pa.ChunkedArray
    keys: np.ndarray
    of_row: np.ndarray

    def lengths(self) -> np.ndarray:
        """(n,) int64, in code points."""
        lengths: np.ndarray = pc.utf8_length(self.texts).to_numpy()
        return lengths


def sides_of(table: pa.Table, by: str) -> list[Units]:
    """The units of each side that `by` compares: two for "pair", query first, one otherwise."""
    if "query_id" in table.column_names:
        queries, documents = ("query_id", "query", "--queries"), ("doc_id", "document", "--corpus")
        wanted = {"query": [queries], "document": [documents], "pair": [queries, documents]}[by]
        for side in wanted:
            _check_columns(table, *side)
        return [_units(table, ids, texts) for ids, texts, _ in wanted]
    if by != "document":
        raise PairmineError(
            f'--by {by} needs a pair set, but there is no "query_id" (found: {_found(table)}); '
            "pass --by document for a corpus"
        )
    return [_documents(table)]


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
    return Units(_plain(corpus["id"]).combine_chunks(), texts, text_keys(texts), np.arange(corpus.num_rows))


def _units(pairs: pa.Table, id_column: str, text_column: str) -> Units:
    of_row, ids = codes_of(pairs[id_column])
    first = np.unique(of_row, return_index=True)[1]
    keys = text_keys(pairs[text_column])
    differs = np.flatnonzero(keys != keys[first[of_row]])
    if len(differs):
        row = int(differs[0])
        raise PairmineError(
            f'{id_column} "{ids[of_row[row]].as_py()}" has one text in row {first[of_row[row]] + 1} and another in '
            f"row {row + 1}; give each text an id of its own"
        )
    is_first = np.zeros(pairs.num_rows, bool)
    is_first[first] = True
    texts = pairs[text_column].filter(pa.array(is_first))
    return Units(ids, _plain(texts), keys[first], of_row)


def _plain(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    return texts.cast(pa.large_string())


def _check_columns(pairs: pa.Table, id_column: str, text_column: str, flag: str) -> None:
    remedy = f"pass {flag} FILE to join the texts"
    if id_column not in pairs.column_names:
        raise PairmineError(f'no "{id_column}" (found: {_found(pairs)}); dedup takes a corpus or a pair set')
    if text_column not in pairs.column_names:
        raise PairmineError(f'no "{text_column}" (found: {_found(pairs)}); {remedy}')
    _check_nulls(pairs, id_column, "", "every row needs one")
    _check_nulls(pairs, text_column, id_column, remedy)


def _check_nulls(table: pa.Table, name: str, id_column: str, remedy: str) -> None:
    nulls = np.flatnonzero(pc.is_null(_plain(table[name])).to_numpy())
    if not len(nulls):
        return
    row = int(nulls[0])
    first = f'{id_column} "{table[id_column][row].as_py()}"' if id_column else f"row {row + 1}"
    raise PairmineError(f'"{name}" is null in {len(nulls)} of {table.num_rows} rows (first: {first}); {remedy}')


def _found(table: pa.Table) -> str:
    return ", ".join(table.column_names)
