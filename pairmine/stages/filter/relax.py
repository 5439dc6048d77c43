"""Candidates that the rules rejected, given back to queries that are short: those that break the rules least first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pairmine.stages.filter.firing import Fired
from pairmine.stages.filter.order import in_turn
from pairmine.stages.filter.rows import Rows, places
from pairmine.stages.filter.rules import RELAXABLE, Rules
from pairmine.stages.filter.verdicts import Remarks, Verdicts

STEP = 0.25
"""By what part of its own number a rule gives way at each step; ours. A margin of 0.04 is 0.03, 0.02, 0.01, 0."""

_ROUNDING = 1e-4
"""Part of a step that the rounding of scores and thresholds to float32 may cost."""


@dataclass(frozen=True)
class Strained:
    """Rejected rows that may come back: `at` by query and from the best down, each with its `strain`.

    The strain is that of the rule that it breaks most, in parts of that rule's number; `broken` has a bit
    for each rule of `names` that it breaks.
    """

    at: np.ndarray
    strain: np.ndarray
    broken: np.ndarray
    names: list[str]

    @property
    def step(self) -> np.ndarray:
        """The first step at which no rule fires on each row any more, (n,) float64 from 1, inf for never."""
        return np.maximum(np.ceil(self.strain / STEP - _ROUNDING), 1)


def strained(at: np.ndarray, fired: list[Fired], rules: Rules) -> Strained:
    """What the rules `fired` say of the rows `at`; rules that do not give way put a row out of reach."""
    held = [one for one in fired if rules.action(one.name).what in ("drop", "relabel")]
    strain = np.zeros(len(at))
    broken = np.zeros(len(at), np.int64)
    names: list[str] = []
    for one in held:
        mine = one.rows[at]
        if one.strain is None or one.name not in RELAXABLE or rules.action(one.name).what == "relabel":
            strain[mine] = np.inf
            continue
        if one.name not in names:
            names.append(one.name)
        broken[mine] |= 1 << names.index(one.name)
        strain[mine] = np.maximum(strain[mine], one.strain()[at[mine]])
    return Strained(at, strain, broken, names)


def take_back(
    rows: Rows, found: Strained, missing: np.ndarray, steps: int, verdicts: Verdicts, remarks: Remarks
) -> tuple[np.ndarray, Counter[str]]:
    """Let the first `missing[query]` rows of each query stay after all, those of the lowest strain first.

    At most `steps` steps far. Returns the rows, by query and in that order, and how many came at which step.
    """
    step = found.step
    near = np.flatnonzero(step <= steps)
    order = near[in_turn(rows.query[found.at[near]], [found.strain[near]])]
    query = rows.query[found.at[order]]
    order = order[places(query) < missing[query]]
    taken = found.at[order]
    verdicts.take_back(taken)
    notes: Counter[str] = Counter()
    kinds, which = np.unique(np.stack([step[order], found.broken[order]]).astype(int), axis=1, return_inverse=True)
    for kind, (number, broken) in enumerate(kinds.T.tolist()):
        mine = taken[which == kind]
        rules = ", ".join(name for bit, name in enumerate(found.names) if broken >> bit & 1)
        remarks.add(mine, f"relaxed {number}: {rules}")
        notes[f"candidates taken back at step {number}"] += len(mine)
    return taken, notes
