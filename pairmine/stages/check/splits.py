"""Near copies between the splits of one pair set, which a column `split` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from pairmine.schema import NEGATIVE
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.facts import Facts
from pairmine.stages.check.outside import index_texts, near_rows, noted
from pairmine.stages.check.tallies import Tallies
from pairmine.stages.dedup.against import Against, EvalSet


def near_straddling(
    read: Callable[[], Iterator[Chunk]], facts: Facts, exact: np.ndarray, found: Tallies, *, workers: int = 1
) -> None:
    """Rows whose query or positive is nearly, or as a part, in a smaller split; those of `exact` (n,) bool are known.

    The pair set is read twice: for the texts of all splits but the largest, which are kept, and to hold the others
    against them.
    """
    if facts.split is None:
        return
    sizes = np.bincount(facts.split[facts.split >= 0], minlength=len(facts.split_names))
    order = [int(code) for code in np.argsort(sizes, kind="stable") if sizes[code]]
    small = order[:-1]
    if not small:
        return
    indexes = _indexes(read, facts, small, workers)
    for chunk in read():
        split = facts.split[chunk.first : chunk.first + len(chunk)]
        notes: dict[int, str] = {}
        for place, code in enumerate(small):
            rows = np.flatnonzero(np.isin(split, order[place + 1 :]) & ~exact[chunk.first : chunk.first + len(chunk)])
            notes |= near_rows(indexes[code], chunk, rows)
        rows = np.array(sorted(notes), np.int64)
        found.found("straddling", chunk.rows(rows), noted(rows, notes))


def _indexes(read: Callable[[], Iterator[Chunk]], facts: Facts, splits: list[int], workers: int) -> dict[int, Against]:
    assert facts.split is not None
    tables: dict[int, list[pa.Table]] = {code: [] for code in splits}
    for chunk in read():
        split = facts.split[chunk.first : chunk.first + len(chunk)]
        for code in splits:
            rows = np.flatnonzero(split == code)
            if len(rows):
                tables[code] += _texts(chunk, rows)
    return {code: index_texts([_set(facts.split_names[code], parts)], workers) for code, parts in tables.items()}


def _texts(chunk: Chunk, rows: np.ndarray) -> list[pa.Table]:
    """The queries and the documents that are no negatives, each distinct text of the rows once."""
    found = []
    for ids, texts, keys, some in (
        ("query_id", chunk.queries, chunk.asked, rows),
        ("doc_id", chunk.documents, chunk.told, rows[chunk.label[rows] != NEGATIVE]),
    ):
        if texts is not None:
            some = some[keys[some] > 0]
            some = some[np.sort(np.unique(keys[some], return_index=True)[1])]
            found.append(pa.table({"id": chunk.pairs[ids].take(pa.array(some)), "text": texts.plain(some)}))
    return found


def _set(name: str, parts: list[pa.Table]) -> EvalSet:
    nothing = pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.large_string())})
    whole = pa.concat_tables([nothing, *parts])
    return EvalSet(f"split {name}", whole["id"].combine_chunks(), whole["text"])
