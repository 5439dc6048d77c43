"""The rows that the page's browser shows, as data: every text once, within a budget of bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pairmine.report.markup import embedded
from pairmine.schema import PAIR_COLUMNS, concat_pairs, scale_of, score_names

BUDGET = 2_200_000
"""Bytes that the rows may take in the page, so that it stays below 3 MB; ours."""
COLUMNS = 60
"""Columns of scores, and further ones of the user's, that the rows are shown with; ours."""
LONGEST = 4_000
"""Characters of a text that the page holds."""
_LONGEST_VALUE = 200
_OURS = {column.name for column in PAIR_COLUMNS} | {"reason"}
_ROW_BYTES = 24


def rows_data(
    kept: pa.Table | None, rejected: pa.Table | None, *, rows_of: Mapping[str, int] | None = None, budget: int = BUDGET
) -> dict[str, Any]:
    """Rows by query, what was kept before what was rejected; the last queries are left out where all are too much.

    `rows_of` says how many rows those queries have of which `kept` holds a part. Values are plain lists, one entry
    a row; texts and names stand once and are named by their place. Texts are cut after `LONGEST` characters.
    """
    tables = [table for table in (kept, rejected) if table is not None and table.num_rows]
    if not tables:
        return _Packed([], []).body({})
    table = concat_pairs(tables)
    scores, others = score_names(table.schema), _others(table.schema)
    packed = _Packed(scores[:COLUMNS], others[:COLUMNS])
    packed.scales = [scale_of(table.schema.field(name)) for name in packed.scores]
    by_query: dict[str, list[dict[str, Any]]] = {}
    shown = {*_OURS, *packed.scores, *packed.others}
    for row in table.select([name for name in table.column_names if name in shown]).to_pylist():
        by_query.setdefault(row["query_id"], []).append(row)
    for query, rows in by_query.items():
        if packed.size and packed.size + packed.cost(rows) > budget:
            break
        packed.add(query, rows)
    body = packed.body(rows_of or {})
    if left := len(scores) + len(others) - len(packed.scores) - len(packed.others):
        body["columns_left_out"] = left
    return body


def fitted(body: dict[str, Any], room: int) -> dict[str, Any]:
    """`body` with as many of its first queries as `room` bytes of the page hold."""
    while body["queries"] and (size := len(embedded(body).encode())) > room:
        body = _first(body, min(int(len(body["queries"]) * max(room, 0) / size), len(body["queries"]) - 1))
    return body


def _first(body: dict[str, Any], queries: int) -> dict[str, Any]:
    """The first `queries` of `body`, which number texts and names in the order in which they come."""
    rows = [row for row in body["rows"] if row[0] < queries]
    kept = body["queries"][:queries]

    def held(*places: int | None) -> int:
        return max((place + 1 for place in places if place is not None), default=0)

    texts = held(*(query[1] for query in kept), *(row[2] for row in rows))
    return body | {
        "queries": kept,
        "rows": rows,
        "values": body["values"][: len(rows)],
        "more": body["more"][: len(rows)],
        "texts": body["texts"][:texts],
        "cut": [each for each in body["cut"] if each[0] < texts],
        "origins": body["origins"][: held(*(row[4] for row in rows))],
        "reasons": body["reasons"][: held(*(row[5] for row in rows))],
    }


def _others(schema: pa.Schema) -> list[str]:
    """The columns that are neither ours nor scores, but for vectors and other lists."""
    nested = pa.types.is_nested
    ours = {*_OURS, *score_names(schema)}
    return [field.name for field in schema if field.name not in ours and not nested(field.type)]


class _Names:
    """Texts, each once, by their place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str | None) -> int | None:
        return None if text is None else self.places.setdefault(text, len(self.places))


class _Packed:
    def __init__(self, scores: Sequence[str], others: Sequence[str]) -> None:
        self.scores, self.others = list(scores), list(others)
        self.scales: list[str | None] = []
        self.size = 0
        self._texts, self._origins, self._reasons = _Names(), _Names(), _Names()
        self._cut: dict[int, int] = {}
        self._queries: list[list[Any]] = []
        self._rows: list[list[Any]] = []
        self._values: list[list[Any]] = []
        self._more: list[list[Any]] = []

    def cost(self, rows: Sequence[dict[str, Any]]) -> int:
        """About how many bytes `rows` of one query add to the page."""
        texts = {each for row in rows for each in (row.get("query"), row.get("document")) if each}
        new = sum(len(embedded(_short(text)).encode()) + 3 for text in texts if _short(text) not in self._texts.places)
        each = _ROW_BYTES + 9 * len(self.scores)
        more = sum(len(embedded(_plain(row.get(name))).encode()) for row in rows for name in ("doc_id", *self.others))
        return new + more + each * len(rows)

    def add(self, query: str, rows: Sequence[dict[str, Any]]) -> None:
        """The rows of one query."""
        self.size += self.cost(rows)
        self._queries.append([query, self._text(rows[0].get("query"))])
        for row in rows:
            rank = row.get("rank")
            self._rows.append(
                [
                    len(self._queries) - 1,
                    row["doc_id"],
                    self._text(row.get("document")),
                    row.get("label"),
                    self._origins.place(row.get("origin")),
                    self._reasons.place(row.get("reason")),
                    rank,
                ]
            )
            self._values.append([_rounded(row.get(name)) for name in self.scores])
            self._more.append([_plain(row.get(name)) for name in self.others])

    def _text(self, text: str | None) -> int | None:
        if text is None:
            return None
        place = self._texts.place(_short(text))
        if place is not None and len(text) > LONGEST:
            self._cut[place] = len(text)
        return place

    def body(self, rows_of: Mapping[str, int]) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "scores": [[name, scale] for name, scale in zip(self.scores, self.scales, strict=True)],
            "others": self.others,
            "origins": list(self._origins.places),
            "reasons": list(self._reasons.places),
            "texts": list(self._texts.places),
            "cut": sorted(self._cut.items()),
            "queries": [[*query, rows_of.get(query[0])] for query in self._queries],
            "rows": self._rows,
            "values": self._values,
            "more": self._more,
        }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def _plain(value: Any) -> Any:
    """A value of a user's column that JSON can hold."""
    if value is None or isinstance(value, bool | int):
        return value if value is None or abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return _rounded(value)
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
