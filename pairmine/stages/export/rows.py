"""A chunk of a pair set as arrays: which query each row belongs to, which rows a trainer can use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE, as_pairs, check_pairs


@dataclass(frozen=True)
class Texts:
    """The n texts of a column as `codes`, (n,) int64 places among its m distinct `values`.

    Only values in use are there: a slice of a large pair set still carries that set's whole dictionary.
    """

    values: pa.Array
    codes: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Texts:
        """The texts of a dictionary-encoded column; null is a text of its own."""
        encoded = _one_dictionary(column)
        null = len(encoded.dictionary)
        used, places = _used(encoded.indices.fill_null(null).to_numpy(zero_copy_only=False), null + 1)
        if len(used) == null and not (used == null).any():
            return cls(encoded.dictionary, places)
        return cls(encoded.dictionary.take(pa.array(used, mask=used == null)), places)

    def filled(self) -> np.ndarray:
        """Whether each text is more than white space, (n,) bool; null is not."""
        return filled(self.values)[self.codes]

    def where(self, tells: Callable[[pa.Array], pa.Array] | None) -> np.ndarray:
        """Whether `tells`, which looks at an array of texts, finds each one, (n,) bool; None finds nothing."""
        if tells is None:
            return np.zeros(len(self.codes), bool)
        of_value: np.ndarray = pc.fill_null(tells(self.values), False).to_numpy(zero_copy_only=False)
        return of_value[self.codes]

    def take(self, rows: np.ndarray) -> pa.DictionaryArray:
        """The texts of the given rows; the dictionary holds those alone."""
        used, places = _used(self.codes[rows], len(self.values))
        return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), self.values.take(pa.array(used)))

    def plain(self, rows: np.ndarray) -> pa.LargeStringArray:
        """The texts of the given rows, written out; for lists, whose dictionaries Python unpacks slowly."""
        return self.values.cast(pa.large_string()).take(pa.array(self.codes[rows]))


@dataclass(frozen=True)
class PairRows:
    """A chunk of n pairs of q queries.

    `query` is (n,) int64, the query of each row from 0 in row order; `anchor` is (q,) int64, the
    row that holds each query's text. `positive`, `negative`, `textless` and `misread` are (n,) bool: a
    row whose query or document has no text is textless, one with a text that the trainer takes for something
    else is misread, and both are neither positive nor negative.
    """

    pairs: pa.Table
    query_texts: Texts
    documents: Texts
    query: np.ndarray
    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    textless: np.ndarray
    misread: np.ndarray
    undecided: int

    @property
    def queries(self) -> int:
        """How many queries the chunk holds."""
        return len(self.anchor)

    def per_query(self, chosen: np.ndarray) -> np.ndarray:
        """How many of the `chosen` rows, an (n,) bool, each query has: (q,) int64."""
        return np.bincount(self.query[chosen], minlength=self.queries)


def read_rows(pairs: pa.Table, unreadable: Callable[[pa.Array], pa.Array] | None = None) -> PairRows:
    """`pairs`, whole queries of a pair set, as arrays; `unreadable` tells the texts that a trainer misreads.

    Raises PairmineError when a column is missing, a label is no label, or a query's rows lie apart.
    """
    check_pairs(pairs)
    pairs = as_pairs(pairs)
    check_texts(pairs)
    query = query_runs(pairs["query_id"])
    query_texts, documents = Texts.of(pairs["query"]), Texts.of(pairs["document"])
    asked, told = query_texts.filled(), documents.filled()
    good_query, good_document = (
        has_text & ~texts.where(unreadable) for texts, has_text in ((query_texts, asked), (documents, told))
    )
    anchor, has_anchor = _anchors(query, good_query)
    usable = good_document & has_anchor[query]
    _, has_text = _anchors(query, asked)
    misread = ~usable & told & has_text[query]
    label = labels(pairs)
    return PairRows(
        pairs=pairs,
        query_texts=query_texts,
        documents=documents,
        query=query,
        anchor=anchor,
        positive=usable & (label == POSITIVE),
        negative=usable & (label == NEGATIVE),
        textless=~usable & ~misread,
        misread=misread,
        undecided=int((label < 0).sum()),
    )


def document_ids(rows: PairRows, at: np.ndarray) -> pa.Array:
    """The ids of the documents on the pair rows `at`."""
    return one_array(rows.pairs["doc_id"]).take(pa.array(at))


def query_ids(rows: PairRows, anchors: np.ndarray) -> pa.Array:
    """The ids of the queries on the pair rows `anchors`."""
    return one_array(rows.pairs["query_id"]).take(pa.array(anchors))


def check_texts(pairs: pa.Table) -> None:
    """Raise a PairmineError where the texts of a pair set are left out."""
    for name in ("query", "document"):
        if name not in pairs.column_names:
            raise PairmineError(
                f'the pair set has no "{name}" (found: {", ".join(pairs.column_names)}); '
                "training files hold texts, so export a pair set that has them"
            )


def labels(pairs: pa.Table) -> np.ndarray:
    """The labels, (n,) int8, -1 where there is none."""
    if "label" not in pairs.column_names:
        return np.full(pairs.num_rows, -1, np.int8)
    return one_array(pairs["label"].fill_null(-1)).to_numpy(zero_copy_only=False)


def _used(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of `size` codes occur, ascending, and the place of each of `codes` among them; both int64."""
    occurs = np.zeros(size, bool)
    occurs[codes] = True
    place = np.cumsum(occurs) - 1
    return np.flatnonzero(occurs), place[codes]


def query_runs(query_ids: pa.ChunkedArray) -> np.ndarray:
    """The query of each row, (n,) int64 from 0 in row order.

    Raises PairmineError when the rows of one query do not follow each other.
    """
    ids = one_array(query_ids)
    if not len(ids):
        return np.empty(0, np.int64)
    starts = np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False))
    first_ids = ids.filter(pa.array(starts))
    if pc.count_distinct(first_ids).as_py() < len(first_ids):
        raise _apart(first_ids)
    return np.cumsum(starts) - 1


def _apart(run_ids: pa.Array) -> PairmineError:
    codes = run_ids.dictionary_encode().indices.to_numpy()
    again = int(np.flatnonzero(codes < np.arange(len(codes)))[0])
    return PairmineError(
        f'rows of query "{run_ids[again].as_py()}" lie apart, with other queries between them; '
        "sort the pair set by query_id first"
    )


def _anchors(query: np.ndarray, has_query_text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each query, its first row that has its text (else its first row), and whether it has any."""
    queries = int(query[-1]) + 1 if len(query) else 0
    anchor = np.searchsorted(query, np.arange(queries))
    with_text = np.flatnonzero(has_query_text)
    found = query[with_text]
    anchor[found[::-1]] = with_text[::-1]  # of several rows of a query the first one is set last
    has_anchor = np.zeros(queries, bool)
    has_anchor[found] = True
    return anchor, has_anchor


def filled(values: pa.Array) -> np.ndarray:
    """Which texts are more than white space, (n,) bool; null is not. Few are read beyond their first letter."""
    found = _longer_than_white_space(pc.utf8_slice_codeunits(values, 0, 1))
    rest = np.flatnonzero(~found)
    found[rest] = _longer_than_white_space(values.take(pa.array(rest)))
    return found


def _longer_than_white_space(values: pa.Array) -> np.ndarray:
    length = pc.binary_length(pc.utf8_trim_whitespace(values)).fill_null(0)
    found: np.ndarray = length.to_numpy(zero_copy_only=False) > 0
    return found


def _one_dictionary(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    if len({_address(chunk.dictionary) for chunk in texts.chunks}) == 1:
        # Arrow would read every text to find that the dictionaries are one.
        indices = pa.concat_arrays([chunk.indices for chunk in texts.chunks])
        return pa.DictionaryArray.from_arrays(indices, texts.chunk(0).dictionary)
    if any(chunk.dictionary.null_count for chunk in texts.chunks):
        # Arrow unifies no dictionary that holds a null.
        texts = texts.cast(texts.type.value_type).dictionary_encode()
    return one_array(texts.unify_dictionaries())


def _address(values: pa.Array) -> tuple[int | None, ...]:
    """Where the values lie in memory; two arrays with one address hold the same."""
    places = (buffer.address if buffer else None for buffer in values.buffers())
    return (values.offset, len(values), *places)


def one_array(column: pa.ChunkedArray) -> Any:
    """A column's chunks as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
