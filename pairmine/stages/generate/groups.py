"""A pair set by query: the rows of one query as one row, for recipes that look at all its documents together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.identity import content_id
from pairmine.llm.recipes.recipe import CANDIDATES
from pairmine.llm.tasks import Plan

_ROWS_A_TABLE = 2048
_OF_CANDIDATES = ("doc_id", "document", "label", "rank")


def group_starts(pairs: pa.Table) -> np.ndarray:
    """The rows at which a query's rows begin, (queries,) int64. Without ids a query is its text."""
    if not pairs.num_rows:
        return np.empty(0, np.int64)
    ids = pairs["query_id" if "query_id" in pairs.column_names else "query"].cast(pa.large_string()).combine_chunks()
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1]).astype(np.int64)


def queries_in(plan: Plan, pairs: pa.Table) -> Iterator[tuple[pa.Table, int, dict[str, Any]]]:
    """Each query as a row, with a table that holds its pairs and the place of the first one there.

    The row has the columns that the recipe reads, as the first pair has them, and the candidates in their order.
    """
    starts = group_starts(pairs)
    own = [each.name for each in plan.recipe.inputs if each.name in pairs.column_names]
    of_candidates = [name for name in _OF_CANDIDATES if name in pairs.column_names]
    names = list(dict.fromkeys([*own, *of_candidates]))
    for bounds in _bounds(starts, pairs.num_rows):
        # Copied, so that a few queries under way do not keep a large table in memory.
        part = pairs.take(pa.array(np.arange(bounds[0], bounds[-1])))
        rows = part.select(names).to_pylist()
        for first, end in pairwise((bounds - bounds[0]).tolist()):
            found = rows[first:end][: plan.most]
            row = {name: rows[first][name] for name in own}
            row[CANDIDATES] = [_candidate(each) for each in found]
            yield part, first, row


def _bounds(starts: np.ndarray, end: int) -> Iterator[np.ndarray]:
    """Where queries begin and the last one ends, for runs of queries that make a table each."""
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(starts, starts[first] + _ROWS_A_TABLE, "right")) - 1, first + 1)
        if last >= len(starts) or end - starts[first] <= _ROWS_A_TABLE:
            last = len(starts)
        yield np.append(starts[first:last], starts[last] if last < len(starts) else end)
        first = last


def _candidate(pair: dict[str, Any]) -> dict[str, Any]:
    if pair["document"] is None:
        raise PairmineError(
            f"query {pair.get('query_id') or pair.get('query')}: document {pair.get('doc_id')} has no text; "
            "give a pair set with the texts of its documents"
        )
    return {
        "doc_id": pair.get("doc_id") or content_id(pair["document"]),
        "text": pair["document"],
        "label": pair.get("label"),
        "rank": pair.get("rank"),
    }
