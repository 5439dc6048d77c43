"""The candidates of a pair set as `filter` meets them, ready to be picked from at many thresholds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE, as_pairs, check_pairs
from pairmine.stages.filter.firing import Entered
from pairmine.stages.filter.known import reject_known
from pairmine.stages.filter.luck import lots
from pairmine.stages.filter.order import best_first, ranks_of
from pairmine.stages.filter.picks import MOST
from pairmine.stages.filter.rows import UNDECIDED, Rows, places, read_rows
from pairmine.stages.filter.rules import Rules
from pairmine.stages.filter.verdicts import Verdicts

PICKS = ("top", "random")


@dataclass(frozen=True)
class Picking:
    """How `filter` picks among survivors: its `negatives`, `pick`, `pool` and `seed`, with their defaults there."""

    negatives: int = 5
    pick: str = "random"
    pool: int = 10
    seed: int = 0

    def check(self) -> None:
        """Raise a PairmineError for values out of range."""
        for name, value in (("negatives", self.negatives), ("pool", self.pool)):
            if not 1 <= value <= MOST:
                raise PairmineError(
                    f"{name} is {value}; it must be 1 or more{', and no more than 1e9' * (value > MOST)}"
                )
        if self.pick not in PICKS:
            raise PairmineError(f'pick "{self.pick}" is not one that thresholds are tried with: {", ".join(PICKS)}')


class Candidates:
    """Undecided rows that are no copy of what their query has, of queries that have a positive.

    Arrays are (n,), one entry a candidate: `row` in the pair set, `query` the code of its query.
    `need` (queries,) is how many picks each query still wants beside its decided negatives.
    """

    def __init__(self, pairs: pa.Table, picking: Picking) -> None:
        self.pairs = pairs
        self.picking = picking
        self.rows: Rows = read_rows(pairs)
        self._verdicts = Verdicts(pairs.num_rows)
        self._exempt = np.zeros(pairs.num_rows, bool)
        reject_known(self.rows, self._verdicts)
        alive = self._verdicts.alive
        self.row = np.flatnonzero(alive & (self.rows.label == UNDECIDED))
        self.query = self.rows.query[self.row]
        self.answered = self.rows.answered
        held = np.bincount(self.rows.query[alive & (self.rows.label == NEGATIVE)], minlength=len(self.answered))
        self.held = np.minimum(held, picking.negatives)
        self.need = picking.negatives - self.held
        self._of_row = np.full(pairs.num_rows, -1, np.int64)
        self._of_row[self.row] = np.arange(len(self.row))
        self._made: dict[Hashable, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.row)

    @property
    def queries(self) -> int:
        """How many queries there are to pick for: those with a positive."""
        return int(self.answered.sum())

    @property
    def positives_per_query(self) -> np.ndarray:
        """How many positives each query has, copies counted once by id, (queries,) int64."""
        at = np.flatnonzero(self.rows.label == POSITIVE)
        documents = distinct(self.rows.joined(self.rows.doc[at], at))
        return np.bincount(documents >> 32, minlength=len(self.answered))

    @cached_property
    def positive(self) -> np.ndarray:
        """Which rows are positives, (rows,) bool."""
        found: np.ndarray = self.rows.label == POSITIVE
        return found

    def positive_scores(self, column: str) -> np.ndarray:
        """The positives' numbers in `column`, float32, NaN for none."""
        return self._all(column)[self.positive]

    def with_positive(self, positive: np.ndarray | None) -> np.ndarray:
        """Which queries have one of the rows `positive` (a mask, None for all positives), (queries,) bool."""
        if positive is None:
            return self.answered
        return np.bincount(self.rows.query[positive], minlength=len(self.answered)) > 0

    def scores(self, column: str) -> np.ndarray:
        """The candidates' numbers in `column`, float32, NaN for none."""
        return self._all(column)[self.row]

    def entered(self, rules: Rules) -> Entered:
        """What `rules` are held against."""
        return Entered(self.pairs, self.rows, rules, self._verdicts, self._exempt)

    def once(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What `make` gives, made the first time that `key` is asked for."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def unscored(self, column: str) -> tuple[int, int]:
        """How many candidates, and how many positives of their queries, have no score in `column`."""
        asked = np.bincount(self.query, minlength=len(self.answered)) > 0
        positive = (self.rows.label == POSITIVE) & asked[self.rows.query]
        missing = ~np.isfinite(self._all(column))
        return int(missing[self.row].sum()), int((missing & positive).sum())

    @cached_property
    def rank(self) -> np.ndarray | None:
        """The candidates' ranks, float64; None where one has none."""
        if "rank" not in self.pairs.column_names:
            return None
        ranks = pc.cast(self.pairs["rank"], pa.float64()).to_numpy()[self.row]
        return None if np.isnan(ranks).any() else ranks

    def picked(self, by: str | None, passes: np.ndarray) -> np.ndarray:
        """The candidates that `filter` picks of those that pass (a mask), best score in column `by` first."""
        ordered = self.ordered(by)
        ordered = ordered[passes[ordered]]
        place = places(self.query[ordered])
        if self.picking.pick == "top":
            return ordered[place < self.need[self.query[ordered]]]
        pooled = np.zeros(len(self), bool)
        pooled[ordered[place < max(self.picking.pool, self.picking.negatives)]] = True
        drawn = self._by_lot[pooled[self._by_lot]]
        return drawn[places(self.query[drawn]) < self.need[self.query[drawn]]]

    def places(self, by: str) -> np.ndarray:
        """The place of each candidate in its query by column `by`, from 0, (n,) int64."""
        return self.once(("places", by), lambda: self._placed(self.ordered(by)))

    @cached_property
    def lots(self) -> np.ndarray:
        """Each candidate's luck, uint64, which hangs on the seed, the query and the document."""
        return lots(self.rows, self.row, self.picking.seed)

    @cached_property
    def _by_lot(self) -> np.ndarray:
        return np.lexsort((self.lots, self.query))

    def ordered(self, by: str | None) -> np.ndarray:
        """The candidates by query, best score in column `by` first, by rank where that is None."""
        return self.once(("order", by), lambda: self._best_first(by))

    def _placed(self, ordered: np.ndarray) -> np.ndarray:
        found = np.empty(len(ordered), np.int64)
        found[ordered] = places(self.query[ordered])
        return found

    def _best_first(self, by: str | None) -> np.ndarray:
        scores = None if by is None else self.scores(by)
        return self._of_row[best_first(self.rows, self.row, scores, ranks_of(self.pairs, self.row))]

    def _all(self, column: str) -> np.ndarray:
        return self.once(column, lambda: pc.cast(self.pairs[column], pa.float32(), safe=False).to_numpy())


def checked(pairs: pa.Table) -> pa.Table:
    """`pairs` as a pair set with something to choose from and something to choose for, else a PairmineError."""
    if "label" not in pairs.column_names:
        raise PairmineError(
            f"no label column, so no positives to hold candidates against (found: {', '.join(pairs.column_names)})"
        )
    pairs = as_pairs(pairs)
    check_pairs(pairs)
    if not pairs.num_rows:
        raise PairmineError("no rows, so there is nothing to calibrate on; run 'pairmine mine' on pairs first")
    if not pc.any(pc.equal(pairs["label"], POSITIVE)).as_py():
        raise PairmineError(
            f"none of the {pairs.num_rows:,} rows is a positive (label 1), and a query without one gets no negatives; "
            "give pairs with positives"
        )
    if not pairs["label"].null_count:
        raise PairmineError("no candidates (label null) to choose from; run 'pairmine mine' first")
    return pairs
