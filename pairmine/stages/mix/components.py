"""Which queries must not be parted: those that share a text, a document or a group, and all that these tie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.schema import POSITIVE, prune
from pairmine.stages.dedup.copies import copies_of
from pairmine.stages.dedup.groups import components
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.units import Units
from pairmine.stages.export.rows import Texts, labels, query_runs
from pairmine.stages.mix.standins import NearCopies
from pairmine.stages.mix.values import codes_of, rows_with_value

APART = ("queries", "positives", "documents")
COPIES = ("near", "exact", "ids")
NEAR = Near(0.8, 3, 128, 0, 0, 1, 0)
_TEXTS = ("query", "document")
_NEEDED = ("query_id", "query", "doc_id", "document", "label", "origin", "source_id", "source")

NEGATIVES, DOCUMENTS, NEAR_COPIES, GROUPS = "negatives", "documents", "near copies", "groups"
"""The ties that can be left out, one by one; queries of one text always stay together."""
_TEXT, _ID, _GROUP = "text", "id", "group"


@dataclass(frozen=True)
class Ties:
    """What ties two queries.

    `apart` says which texts no two splits may share: the "queries" alone, their "positives" as well, or all
    "documents", negatives and undecided ones too. `copies` says when two texts are one: "near" copies, "exact" ones
    but for NFKC, case and blanks, or never, so that "ids" count alone. `group` is a column whose values tie as well.
    """

    apart: str = "positives"
    copies: str = "near"
    group: str | None = None


@dataclass(frozen=True)
class Links:
    """Pairs of a row and a thing that its query has, both (n,) int64; things of one `space` are numbered together."""

    kind: str
    space: str
    row: np.ndarray
    thing: np.ndarray


@dataclass(frozen=True)
class Tied:
    """What the queries of a pair set have in common. `query` and `positive` (rows,) say whose a row is, and whether it
    is a positive one. Of each text `exact` is the first one equal to it, `near` the first one of its group of near
    copies; both are (texts,) int64."""

    query: np.ndarray
    positive: np.ndarray
    links: Sequence[Links]
    exact: np.ndarray
    near: np.ndarray

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return int(self.query[-1]) + 1 if len(self.query) else 0

    def components(self, without: str | None = None) -> np.ndarray:
        """For each query the first one of those it must stay with, (queries,) int64; one kind of ties left out."""
        left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for space in (_TEXT, _ID, _GROUP):
            row, thing = self._things(space, without)
            firsts, others = _stars(self.query[row], thing)
            left.append(firsts)
            right.append(others)
        return components(self.queries, np.concatenate(left), np.concatenate(right))

    def _things(self, space: str, without: str | None) -> tuple[np.ndarray, np.ndarray]:
        """The rows and things of all links in a space, near copies being one thing."""
        links = [each for each in self.links if each.space == space and each.kind != without]
        row = np.concatenate([np.empty(0, np.int64), *(each.row for each in links)])
        thing = np.concatenate([np.empty(0, np.int64), *(each.thing for each in links)])
        if without == NEGATIVES:
            is_negative = np.concatenate([np.empty(0, bool), *(self._is_negative(each) for each in links)])
            row, thing = row[~is_negative], thing[~is_negative]
        if space == _TEXT:
            thing = (self.exact if without == NEAR_COPIES else self.near)[thing]
        return row, thing

    def _is_negative(self, links: Links) -> np.ndarray:
        is_negative: np.ndarray = ~self.positive[links.row] & (links.kind == DOCUMENTS)
        return is_negative


def positives_of(pairs: pa.Table, query: np.ndarray) -> np.ndarray:
    """The rows of label 1; where a query has none, as in a graded set, those without a label; (rows,) bool."""
    label = labels(pairs)
    has_one = np.zeros(int(query[-1]) + 1 if len(query) else 0, bool)
    has_one[query[label == POSITIVE]] = True
    found: np.ndarray = (label == POSITIVE) | ((label < 0) & ~has_one[query])
    return found


def telling(pairs: pa.Table, ties: Ties, column: str | None = None) -> pa.Table:
    """The rows and columns of whole queries that `tied` wants to see; those of all chunks make up for the pair set.

    They are the rows whose documents count, the first one of each query and of each of its texts, and with a column,
    of groups or of time, the positives and those that have a value there.
    """
    query = query_runs(pairs["query_id"])
    positive = positives_of(pairs, query)
    keep = np.diff(query, prepend=-1) > 0
    needed = _NEEDED if ties.copies != "ids" else tuple(name for name in _NEEDED if name not in _TEXTS)
    if "query" in needed and "query" in pairs.column_names:
        keep |= np.diff(Texts.of(pairs["query"]).codes, prepend=-1) != 0
    keep |= {"queries": np.zeros(len(keep), bool), "positives": positive}.get(ties.apart, True)
    values = [name for name in (ties.group, column) if name is not None]
    for name in values:
        keep |= positive
        keep[rows_with_value(pairs, name, query, positive)] = True
    wanted = [name for name in (*needed, *values) if name in pairs.column_names]
    rows = pairs.select(list(dict.fromkeys(wanted))).filter(pa.array(keep))
    return pa.table([prune(column) for column in rows.columns], schema=rows.schema)


def tied(
    pairs: pa.Table,
    query: np.ndarray,
    ties: Ties,
    *,
    near: NearCopies | None = None,
    workers: int = 1,
    tell: Tell | None = None,
) -> Tied:
    """What ties the queries of `pairs`, of which `query` (rows,) says the number in row order.

    Where stand-ins take the place of the texts, `near` says which of them are near copies.

    Raises PairmineError for a column that is missing, and where positives count and there are none.
    """
    positive = positives_of(pairs, query)
    rows = _rows_that_count(positive, ties)
    links = _id_links(pairs, rows) if len(rows) else []
    exact = alike = np.empty(0, np.int64)
    if ties.copies != "ids":
        found, texts = _text_links(pairs, rows)
        links += found
        exact, alike = _copies(texts, ties, near, workers, tell)
    if ties.group is not None:
        chosen = rows_with_value(pairs, ties.group, query, positive)
        links.append(Links(GROUPS, _GROUP, chosen, codes_of(pairs, ties.group, chosen)))
    return Tied(query, positive, links, exact, alike)


def _rows_that_count(positive: np.ndarray, ties: Ties) -> np.ndarray:
    """The rows whose documents no two splits may share."""
    if ties.apart == "positives" and len(positive) and not positive.any():
        raise PairmineError(
            "every row has label 0, so no document would count as shared; pass --split-apart documents, or queries for "
            "those alone"
        )
    return rows_apart(positive, ties.apart)


def rows_apart(positive: np.ndarray, apart: str) -> np.ndarray:
    """The rows whose documents go `apart`, out of rows of which some are `positive`."""
    if apart == "queries":
        return np.empty(0, np.int64)
    return np.arange(len(positive)) if apart == "documents" else np.flatnonzero(positive)


def _id_links(pairs: pa.Table, rows: np.ndarray) -> list[Links]:
    """Links to documents by their ids, and to those that they were cut from."""
    at = pa.array(rows)
    ids = pairs["doc_id"].take(at).combine_chunks()
    if "source_id" not in pairs.column_names:
        return [Links(DOCUMENTS, _ID, rows, _codes(ids))]
    sources = pairs["source_id"].take(at).combine_chunks()
    known = np.flatnonzero(sources.is_valid().to_numpy(zero_copy_only=False))
    both = pa.concat_arrays([ids, sources.take(pa.array(known))])
    return [Links(DOCUMENTS, _ID, np.concatenate([rows, rows[known]]), _codes(both))]


def _codes(ids: pa.Array) -> np.ndarray:
    codes: np.ndarray = ids.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _text_links(pairs: pa.Table, rows: np.ndarray) -> tuple[list[Links], pa.ChunkedArray]:
    """Links to texts, blank ones left out, and the texts; those of queries and of documents are numbered together."""
    links, values, count = list[Links](), list[pa.Array](), 0
    for kind, name, of_rows in (("queries", "query", np.arange(pairs.num_rows)), (DOCUMENTS, "document", rows)):
        if not len(of_rows):
            continue
        if name not in pairs.column_names:
            raise PairmineError(
                f'the pair set has no "{name}" (found: {", ".join(pairs.column_names)}), so copies under other ids '
                "would go unseen; split a set with texts, or pass --split-copies ids"
            )
        texts = Texts.of(pairs[name] if len(of_rows) == pairs.num_rows else pairs[name].take(pa.array(of_rows)))
        filled = np.flatnonzero(texts.filled())
        links.append(Links(kind, _TEXT, of_rows[filled], texts.codes[filled] + count))
        values.append(texts.values.cast(pa.large_string()).fill_null(""))
        count += len(texts.values)
    return links, pa.chunked_array(values, pa.large_string())


def _copies(
    texts: pa.ChunkedArray, ties: Ties, known: NearCopies | None, workers: int, tell: Tell | None
) -> tuple[np.ndarray, np.ndarray]:
    """For each text the first one equal to it, and the first one of its near copies, (texts,) int64 each.

    As with test sets (`dedup --against`), the rules of `dedup` for short texts do not hold: two queries too many that
    stay together cost nothing, and a leak costs the test.
    """
    near = replace(NEAR, workers=workers) if ties.copies == "near" and known is None else None
    units = Units("document", pa.nulls(0), texts, np.empty(0, np.int64))
    found = copies_of(units, exact="normalised", near=near, workers=workers, tell=tell)
    return found.exact, found.groups if known is None else known.groups(texts)


def _stars(query: np.ndarray, thing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of queries that connect all those of one thing: the first one with each other one."""
    packed = distinct(thing << 32 | query)
    thing, query = packed >> 32, packed & 0xFFFFFFFF
    starts = np.flatnonzero(np.append(True, thing[1:] != thing[:-1])[: len(thing)])
    firsts = np.repeat(query[starts], np.diff(starts, append=len(thing)))
    apart = firsts != query
    return firsts[apart], query[apart]
