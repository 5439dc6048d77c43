"""Near copies between the splits of one pair set, which a column `split` names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.schema import NEGATIVE
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.facts import Facts
from pairmine.stages.check.outside import index_texts, near_rows, noted
from pairmine.stages.check.tallies import Tallies
from pairmine.stages.dedup.against import Against, EvalSet

Tables = dict[int, list[pa.Table]]
"""The texts of some splits, by the numbers of the splits."""


@dataclass(frozen=True)
class Splits:
    """The splits of a pair set, of which each is held against those that are no smaller.

    `split` (n,) is that of each row, `exact` (n,) bool says which rows are known to be in several; `order` are the
    numbers of the splits, the smallest first, of those called `names`.
    """

    split: np.ndarray
    exact: np.ndarray
    order: list[int]
    names: list[str]

    @classmethod
    def of(cls, facts: Facts, exact: np.ndarray) -> Splits | None:
        """None where there are no two."""
        if facts.split is None:
            return None
        sizes = np.bincount(facts.split[facts.split >= 0], minlength=len(facts.split_names))
        order = [int(code) for code in np.argsort(sizes, kind="stable") if sizes[code]]
        return cls(facts.split, exact, order, facts.split_names) if len(order) > 1 else None

    def texts(self, chunk: Chunk) -> Tables:
        """The texts of a chunk in all splits but the largest."""
        split = self.split[chunk.first : chunk.first + len(chunk)]
        rows_of = {code: np.flatnonzero(split == code) for code in self.order[:-1]}
        return {code: _texts(chunk, rows) for code, rows in rows_of.items() if len(rows)}

    def indexes(self, texts: Iterable[Tables], workers: int) -> dict[int, Against]:
        """All splits but the largest, ready to be looked through, from the `texts` of all chunks in their order."""
        tables: Tables = {code: [] for code in self.order[:-1]}
        for some in texts:
            for code, parts in some.items():
                tables[code] += parts
        return {code: index_texts([_set(self.names[code], parts)], workers) for code, parts in tables.items()}

    def hold(self, chunk: Chunk, indexes: Mapping[int, Against], found: Tallies) -> None:
        """Hold the rows of a chunk against the smaller splits."""
        here = slice(chunk.first, chunk.first + len(chunk))
        notes: dict[int, str] = {}
        for place, code in enumerate(self.order[:-1]):
            rows = np.flatnonzero(np.isin(self.split[here], self.order[place + 1 :]) & ~self.exact[here])
            notes |= near_rows(indexes[code], chunk, rows)
        rows = np.array(sorted(notes), np.int64)
        found.found("straddling", chunk.rows(rows), noted(rows, notes))


def near_straddling(
    read: Callable[[], Iterable[Chunk]], facts: Facts, exact: np.ndarray, found: Tallies, *, workers: int = 1
) -> None:
    """Rows whose query or positive is nearly, or as a part, in a smaller split; those of `exact` (n,) bool are known.

    The pair set is read twice: for the texts of all splits but the largest, which are kept, and to hold the others
    against them.
    """
    if (splits := Splits.of(facts, exact)) is None:
        return
    indexes = splits.indexes(map(splits.texts, read()), workers)
    for chunk in read():
        splits.hold(chunk, indexes, found)


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
