"""What the page needs of each pair set, gathered chunk by chunk."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.report.page import Seen
from pairmine.report.sample import QuerySample, ReasonSample, of_queries
from pairmine.report.survival import survival
from pairmine.report.thresholds import Threshold
from pairmine.schema import as_pairs, score_names
from pairmine.stages.stats import Stats

SURVIVAL_ROWS = 50_000
"""Rows of whole queries that survival curves are drawn from; ours."""
_REJECTED_OF_QUERY = 12


class Look:
    """One pair set, looked through once: `add` chunks of whole queries, then ask.

    Of its rows `rows` are drawn for the browser, those of the queries `wanted` first.
    """

    def __init__(self, seed: int, rows: int = 0, wanted: Collection[str] = (), stats: Stats | None = None) -> None:
        self.stats = stats or Stats()
        self.score_names: list[str] = []
        self.sample = QuerySample(rows, seed, wanted=wanted)
        self._tried = QuerySample(SURVIVAL_ROWS, seed, most=None)

    def add(self, chunk: pa.Table) -> None:
        """Take a chunk of whole queries."""
        self.score_names = score_names(chunk.schema)
        self.stats.add(chunk)
        self.sample.add(chunk)
        self._tried.add(chunk)

    def seen(self, name: str, negatives: int | None, marks: Iterable[Threshold]) -> Seen:
        """The numbers and the curves; without `negatives` a query is to have as many as most have."""
        found = self.stats.to_dict()
        usual = found["per_query"]["negative"]["p50"] or 0
        tried = self._tried.table()
        if tried is None:
            return Seen(name, found, "No rows.")
        return Seen(name, found, survival(tried, negatives or max(int(usual), 1), tuple(marks)))


class Rejected:
    """Rejected rows of several files, looked through once, and a second time for rows to show."""

    def __init__(self, seed: int, rows: int) -> None:
        self._seed = seed
        self._rows = rows
        self._reasons = ReasonSample(max(rows // 200, 1), seed)
        self._stats = Stats()
        self._any = False

    def add(self, table: pa.Table) -> None:
        """Take a chunk of rejected rows."""
        self._any = True
        self._reasons.add(table)
        self._stats.add(_undecided(table))

    @property
    def wanted(self) -> set[str]:
        """Queries that show something of each reason."""
        return self._reasons.queries() if self._rows else set()

    @property
    def stats(self) -> dict[str, object] | None:
        """The numbers of the rejected rows, all of them undecided; None where there are none."""
        return self._stats.to_dict() if self._any else None

    def rows(self, tables: Iterable[pa.Table], kept: pa.Table | None) -> pa.Table | None:
        """Rejected rows of the queries that are shown, and of `wanted` ones that nothing was kept of."""
        if not self._rows:
            return None
        queries = set(pc.unique(kept["query_id"]).to_pylist()) if kept is not None else set()
        shown = queries | self.wanted
        left = self._rows - (kept.num_rows if kept is not None else 0)
        most = min(max(left // max(len(shown), 1), 1), _REJECTED_OF_QUERY)
        return of_queries(tables, shown, seed=self._seed, most=most)


def shares(rows: int, *, rejects: bool) -> int:
    """How many of `rows` are left for kept rows where rejected ones are shown beside them."""
    return max(rows // 3, 1) if rejects and rows else rows


def as_rejected(table: pa.Table, name: str, first: int) -> pa.Table:
    """Rejected rows as pairs: those of a stage that reads documents are documents without a query.

    `first` is the number of the first row in the file `name`, from 0.
    """
    if "reason" not in table.column_names:
        raise PairmineError(
            f'{name}: no "reason" (found: {", ".join(table.column_names)}); --rejects takes what a stage wrote there'
        )
    table = table.set_column(table.column_names.index("reason"), "reason", table["reason"].cast(pa.string()))
    if not {"query_id", "doc_id"} <= set(table.column_names):
        return as_pairs(_alone(table, name, first))
    if "origin" not in table.column_names:
        table = table.append_column("origin", _unknown(table))
    return as_pairs(table)


def _alone(table: pa.Table, name: str, first: int) -> pa.Table:
    """Each row as the document of a query of its own, which has no text."""
    numbers = [str(number) for number in range(first + 1, first + table.num_rows + 1)]
    text = next((each for each in ("text", "document", "query") if each in table.column_names), None)
    found = next((each for each in ("id", "doc_id", "query_id") if each in table.column_names), None)
    return pa.table(
        {
            "query_id": pa.array([f"{name}, row {number}" for number in numbers], pa.string()),
            "doc_id": table[found].cast(pa.string()) if found else pa.array(numbers, pa.string()),
            "document": table[text].cast(pa.string()) if text else pa.nulls(table.num_rows, pa.string()),
            "label": pa.nulls(table.num_rows, pa.int8()),
            "origin": _unknown(table),
            "reason": table["reason"],
        }
    )


def _unknown(table: pa.Table) -> pa.Array:
    return pa.array(["unknown"] * table.num_rows, pa.string())


def _undecided(table: pa.Table) -> pa.Table:
    """Of rejected rows what their scores are counted from: without labels and texts, rows of a query together."""
    pairs = table.select(["query_id", "doc_id", "origin", *score_names(table.schema)])
    return pairs.take(pc.sort_indices(pairs["query_id"]))
