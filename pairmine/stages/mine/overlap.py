"""What each retriever brought: candidates, how many of them alone, and the known positives that it ranked high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import combinations
from typing import Any

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.mine.candidates import Candidates
from pairmine.stages.mine.masks import Masks
from pairmine.stages.mine.texts import Documents, Queries

_NEAR_THE_TOP = 10
_TALLIES = ("_found", "_alone", "_both", "_kept", "_at_rank")


class Sources:
    """Counts of what each of several retrievers found, summed up block by block in memory that does not grow.

    `names` are the retrievers', `depth` is how many candidates each finds for a query. With `recall`
    the ranks of known positives are counted too: among all documents that were searched, with nothing masked.
    """

    def __init__(self, names: Sequence[str], depth: int, *, recall: bool = True) -> None:
        self._names, self._depth, self._recall = list(names), depth, recall
        count = len(self._names)
        self._found = np.zeros(count, np.int64)
        self._alone = np.zeros(count, np.int64)
        self._both = np.zeros((count, count), np.int64)
        self._kept = np.zeros(count, np.int64)
        self._queries = 0
        self._keys = np.empty(0, np.int64)
        self._width = 1
        self._at_rank = np.zeros((count, depth + 1), np.int64)

    def blank(self) -> Sources:
        """One that knows the same positives and has counted nothing."""
        other = copy(self)
        for name in _TALLIES:
            setattr(other, name, np.zeros_like(getattr(self, name)))
        return other

    def tallies(self) -> dict[str, np.ndarray]:
        """All that was counted, for `add_tallies`."""
        return {name: getattr(self, name) for name in _TALLIES}

    def add_tallies(self, found: Mapping[str, np.ndarray]) -> None:
        """Add what was counted elsewhere."""
        for name, counts in found.items():
            setattr(self, name, getattr(self, name) + counts)

    def know(self, queries: Queries, documents: Documents, masks: Masks) -> None:
        """Take in the known positives that can be found: each document of a query once."""
        self._queries, self._width = len(queries), masks.width
        if not self._recall:
            return
        # A pair row's own text may lack the title that is searched; then the corpus has it by its id.
        own, named = documents.of_pair, documents.of_id
        places = np.where((own >= 0) & (own < documents.searchable), own, named)
        rows = np.flatnonzero(masks.positive & (places >= 0))
        self._keys = distinct(queries.of_rows(0, len(queries))[rows] * self._width + places[rows])

    def saw(self, number: int, queries: np.ndarray, found: np.ndarray, is_masked: np.ndarray) -> None:
        """Count the positives among what retriever `number` found for `queries` (n,): places and masks, (n, k)."""
        if not len(self._keys):
            return
        rows, columns = np.nonzero(is_masked[:, : self._depth])
        keys = queries[rows] * self._width + found[rows, columns]
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        ranks = columns[self._keys[at] == keys] + 1
        self._at_rank[number] += np.bincount(ranks, minlength=self._depth + 1)

    def add(self, union: Candidates, kept: Candidates) -> None:
        """Count a block: what all retrievers found, and what was made of it."""
        found = union.ranks > 0
        self._found += found.sum(axis=1)
        self._alone += (found & (found.sum(axis=0) == 1)).sum(axis=1)
        for one, other in combinations(range(len(found)), 2):
            both = int((found[one] & found[other]).sum())
            self._both[one, other] += both
            self._both[other, one] += both
        self._kept += np.bincount(kept.source, minlength=len(self._names))

    def facts(self) -> dict[str, Any]:
        """All counts, for JSON: per retriever, and for each two of them what both found and its share of either."""
        sources = {}
        for number, name in enumerate(self._names):
            own: dict[str, Any] = {"candidates": int(self._found[number]), "rows": int(self._kept[number])}
            if len(self._names) > 1:
                own["only_by_it"] = int(self._alone[number])
            if self._recall:
                own |= self._recall_of(number)
            sources[name] = own
        facts: dict[str, Any] = {"sources": sources}
        if len(self._names) > 1:
            facts["overlap"] = [
                {
                    "of": name,
                    "with": other,
                    "both": int(self._both[one, two]),
                    "share": _share(self._both[one, two], self._found[one]),
                    "jaccard": _share(self._both[one, two], self._found[one] + self._found[two] - self._both[one, two]),
                }
                for one, name in enumerate(self._names)
                for two, other in enumerate(self._names)
                if one != two
            ]
        return facts

    def _recall_of(self, number: int) -> dict[str, Any]:
        total = len(self._keys)
        seen = np.cumsum(self._at_rank[number])
        facts: dict[str, Any] = {"positives": total, "positives_found": int(seen[-1])}
        for rank in sorted({_NEAR_THE_TOP, self._depth}):
            if rank <= self._depth:
                facts[f"recall_at_{rank}"] = _share(seen[rank], total)
        # Half of all positives, found or not, stand at this rank or above.
        middle = int(np.searchsorted(seen, (total + 1) // 2))
        facts["median_rank"] = middle if total and middle <= self._depth else None
        return facts

    def lines(self) -> list[str]:
        """The same for people: a table of the retrievers, and one of what each two of them share."""
        facts = self.facts()["sources"]
        several = len(self._names) > 1
        has_positives = self._recall and len(self._keys) > 0
        if not several and not has_positives:
            return []  # one number, which is that of the rows that were added
        heads = ["retriever", "candidates"] + (["only by it", "rows"] if several else [])
        if has_positives:
            heads += [
                f"recall@{rank}"
                for rank in (_NEAR_THE_TOP, self._depth)
                if f"recall_at_{rank}" in facts[self._names[0]]
            ]
            heads += ["median rank"]
        heads = list(dict.fromkeys(heads))
        rows = []
        for name in self._names:
            own = facts[name]
            row = [name, f"{own['candidates']:,}"]
            if several:
                row += [_percent(own["only_by_it"], own["candidates"]), f"{own['rows']:,}"]
            for head in heads[len(row) :]:
                if head.startswith("recall@"):
                    row.append(f"{own[f'recall_at_{head[7:]}']:.1%}")
                else:
                    row.append(f"{own['median_rank']}" if own["median_rank"] else f"over {self._depth}")
            rows.append(row)
        lines = _table([heads, *rows])
        if has_positives:
            what = "1 known positive" if len(self._keys) == 1 else f"the {len(self._keys):,} known positives"
            lines.append(f"  recall and median rank are those of {what} among all documents")
        return lines + (self._matrix() if several else [])

    def _matrix(self) -> list[str]:
        rows = [["found by", *self._names]]
        for one, name in enumerate(self._names):
            shares = [
                "-" if one == two else _percent(self._both[one, two], self._found[one])
                for two in range(len(self._names))
            ]
            rows.append([name, *shares])
        return ["of the candidates of each row, those found by the column too", *_table(rows)]


def _share(part: int | np.int64, whole: int | np.int64) -> float | None:
    """A share with four digits; None of nothing."""
    return round(int(part) / int(whole), 4) if whole else None


def _percent(part: int | np.int64, whole: int | np.int64) -> str:
    return f"{int(part) / int(whole):.1%}" if whole else "-"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{first:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    return lines
