"""A chunk of a pair set as arrays: which query each row belongs to, which rows a trainer can use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        used, places = np.unique(codes, return_inverse=True)
        return cls(encoded.dictionary.take(pa.array(used, mask=used < 0)), places)

    def filled(self) -> np.ndarray:
        """Whether each text is more than white space, (n,) bool; null is not."""
        length = pc.binary_length(pc.utf8_trim_whitespace(self.values.fill_null("")))
        of_value: np.ndarray = length.to_numpy(zero_copy_only=False) > 0
        return of_value[self.codes]

    def take(self, rows: np.ndarray) -> pa.DictionaryArray:
        """The texts of the given rows; the dictionary holds those alone."""
        used, places = np.unique(self.codes[rows], return_inverse=True)
        return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), self.values.take(pa.array(used)))

    def plain(self, rows: np.ndarray) -> pa.LargeStringArray:
        """The texts of the given rows, written out; for lists, whose dictionaries Python unpacks slowly."""
        return self.values.cast(pa.large_string()).take(pa.array(self.codes[rows]))


@dataclass(frozen=True)
class PairRows:
    """A chunk of n pairs of q queries.

    `query` is (n,) int64, the query of each row from 0 in row order; `anchor` is (q,) int64, the
    row that holds each query's text. `positive`, `negative` and `textless` are (n,) bool: a
    labelled row whose query or document has no text is textless, and neither of the others.
    """

    pairs: pa.Table
    query_texts: Texts
    documents: Texts
    query: np.ndarray
    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    textless: np.ndarray
    undecided: int

    @property
    def queries(self) -> int:
        """How many queries the chunk holds."""
        return len(self.anchor)

    def per_query(self, chosen: np.ndarray) -> np.ndarray:
        """How many of the `chosen` rows, an (n,) bool, each query has: (q,) int64."""
        return np.bincount(self.query[chosen], minlength=self.queries)


@dataclass(frozen=True)
class Survey:
    """What a first pass over a pair set counts; the surveys of its chunks add up with ``+``.

    `positives` counts positive rows with text, `undecided` rows without a label. `negatives`
    says for each number of negatives how many queries have that many, among those queries
    that have a positive.
    """

    rows: int = 0
    queries: int = 0
    positives: int = 0
    undecided: int = 0
    negatives: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, other: Survey) -> Survey:
        counts = sorted({*self.negatives, *other.negatives})
        return Survey(
            self.rows + other.rows,
            self.queries + other.queries,
            self.positives + other.positives,
            self.undecided + other.undecided,
            {count: self.negatives.get(count, 0) + other.negatives.get(count, 0) for count in counts},
        )

    @property
    def most_negatives(self) -> int:
        """The largest number of negatives that a query with a positive has; 0 when none has any."""
        return max(self.negatives, default=0)

    def queries_with(self, negatives: int) -> int:
        """How many queries have a positive and at least that many negatives."""
        return sum(queries for count, queries in self.negatives.items() if count >= negatives)


def read_rows(pairs: pa.Table) -> PairRows:
    """`pairs`, whole queries of a pair set, as arrays.

    Raises PairmineError when a column is missing, a label is no label, or a query's rows lie apart.
    """
    check_pairs(pairs)
    pairs = as_pairs(pairs)
    for name in ("query", "document"):
        if name not in pairs.column_names:
            raise PairmineError(
                f'the pair set has no "{name}" (found: {", ".join(pairs.column_names)}); '
                "training files hold texts, so export a pair set that has them"
            )
    query = query_runs(pairs["query_id"])
    query_texts, documents = Texts.of(pairs["query"]), Texts.of(pairs["document"])
    anchor, has_anchor = _anchors(query, query_texts.filled())
    usable = documents.filled() & has_anchor[query]
    label = labels(pairs)
    return PairRows(
        pairs=pairs,
        query_texts=query_texts,
        documents=documents,
        query=query,
        anchor=anchor,
        positive=usable & (label == POSITIVE),
        negative=usable & (label == NEGATIVE),
        textless=~usable,
        undecided=int((label < 0).sum()),
    )


def survey_rows(rows: PairRows) -> Survey:
    """The counts of one chunk."""
    with_positive = rows.per_query(rows.positive) > 0
    counts, queries = np.unique(rows.per_query(rows.negative)[with_positive], return_counts=True)
    return Survey(
        rows=rows.pairs.num_rows,
        queries=rows.queries,
        positives=int(rows.positive.sum()),
        undecided=rows.undecided,
        negatives=dict(zip(counts.tolist(), queries.tolist(), strict=True)),
    )


def labels(pairs: pa.Table) -> np.ndarray:
    """The labels, (n,) int8, -1 where there is none."""
    if "label" not in pairs.column_names:
        return np.full(pairs.num_rows, -1, np.int8)
    return one_array(pairs["label"].fill_null(-1)).to_numpy(zero_copy_only=False)


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
    found, first = np.unique(query[has_query_text], return_index=True)
    anchor[found] = np.flatnonzero(has_query_text)[first]
    has_anchor = np.zeros(queries, bool)
    has_anchor[found] = True
    return anchor, has_anchor


def _one_dictionary(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    if any(chunk.dictionary.null_count for chunk in texts.chunks):
        # Arrow unifies no dictionary that holds a null.
        texts = texts.cast(texts.type.value_type).dictionary_encode()
    return one_array(texts.unify_dictionaries())


def one_array(column: pa.ChunkedArray) -> Any:
    """A column's chunks as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
