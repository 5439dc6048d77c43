"""What the rules make of the rows on which they fire: rejected, relabelled, weighed, or counted alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from pairmine.schema import POSITIVE
from pairmine.stages.filter.firing import Entered, Fired, fire_on_candidates, fire_on_positives
from pairmine.stages.filter.known import NO_POSITIVE
from pairmine.stages.filter.rows import REJECTED, Rows, of_origins
from pairmine.stages.filter.rules import Action, Rules
from pairmine.stages.filter.verdicts import Remarks, Verdicts

EXEMPT = "candidates of exempt origins"
HELD = "negatives held to the rules again"


@dataclass(frozen=True)
class RuleCount:
    """One line of the report: on how many of the rows that entered a rule fires, and on how many it acted.

    `of` are the candidates (or positives, as `among` says) that entered the rules, the same number for every
    rule. `acted` are those that no rule before it had rejected or relabelled; `exempt` are rows on which it
    fires to no effect, negatives decided before and candidates of exempt origins.
    """

    rule: str
    action: str
    among: str
    of: int
    fires: int
    acted: int
    exempt: int = 0


@dataclass
class Decided:
    """What the rules decided: which rows became positives, what each weighs, what is to be said of it.

    `fired` are the rules for candidates as they were held, in their order.
    """

    entered: Entered
    remarks: Remarks
    relabelled: np.ndarray
    factor: np.ndarray
    fired: list[Fired] = field(default_factory=list)
    counts: list[RuleCount] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def decide(pairs: pa.Table, rows: Rows, rules: Rules, verdicts: Verdicts) -> tuple[Rows, Decided]:
    """Hold the rules against `rows`; rejections go to `verdicts`.

    Returns the rows with the positives that left as `REJECTED` and the candidates that became positives as such.
    Queries leave that lose their last positive.
    """
    exempt = of_origins(pairs, rules.exempt)
    entered = Entered(pairs, rows, rules, verdicts, exempt)
    decided = Decided(entered, Remarks(len(rows.query)), np.zeros(len(rows.query), bool), np.ones(len(rows.query)))
    if rules.of_positives:
        rows = _decide_positives(entered, decided)
    _act(fire_on_candidates(entered), "candidates", decided, verdicts)
    if rules.exempt:
        decided.notes[EXEMPT] = int(entered.exempt.sum())
    if rules.hold:
        decided.notes[HELD] = int(rows.held.sum())
    decided.notes["candidates relabelled as positives"] = int(decided.relabelled.sum())
    label = np.where(decided.relabelled, POSITIVE, rows.label).astype(np.int8)
    return replace(rows, label=label), decided


def _decide_positives(entered: Entered, decided: Decided) -> Rows:
    """Hold the positives to their rules; those that leave are no positives any more."""
    rows, verdicts, came = entered.rows, entered.verdicts, entered.positives
    had = rows.answered
    _act(fire_on_positives(entered), "positives", decided, verdicts)
    lost = came & ~verdicts.alive
    rows = replace(rows, label=np.where(lost, REJECTED, rows.label).astype(np.int8))
    verdicts.reject((had & ~rows.answered)[rows.query], NO_POSITIVE)
    entered.enter(rows)
    return rows


def _act(firings: Iterable[Fired], among: str, decided: Decided, verdicts: Verdicts) -> None:
    """Do to each row what the action of the first rule that fires on it says, and count."""
    looked_at = decided.entered.positives if among == "positives" else decided.entered.candidates
    of = int(looked_at.sum())
    held = looked_at & ~decided.entered.exempt
    for fired in firings:
        action = decided.entered.rules.action(fired.name)
        first = fired.rows & held & verdicts.alive & ~decided.relabelled
        spared = int((fired.rows & ~held).sum())
        _apply(action, fired, first, decided, verdicts)
        fires, acted = int((fired.rows & looked_at).sum()), int(first.sum())
        decided.counts.append(RuleCount(fired.label, _shown(action), among, of, fires, acted, spared))
        decided.notes[f"exempt, but {fired.reason}"] += spared
        decided.notes.update(fired.notes)
        decided.fired.append(fired)


def _apply(action: Action, fired: Fired, first: np.ndarray, decided: Decided, verdicts: Verdicts) -> None:
    if action.what == "drop":
        verdicts.reject(first, fired.reason)
    elif action.what == "relabel":
        decided.relabelled |= first
        decided.remarks.add(first, f"relabelled by {fired.name}")
    elif action.what == "weight":
        decided.factor[first] *= action.factor
        decided.remarks.add(first, f"weight times {action.factor:g} by {fired.name}")
    else:
        decided.remarks.add(first, f"kept in spite of {fired.name}")


def _shown(action: Action) -> str:
    return f"weight:{action.factor:g}" if action.what == "weight" else action.what


def add_up(parts: Iterable[Sequence[RuleCount]]) -> list[RuleCount]:
    """The counts of a run out of those of its chunks, which held the same rules."""
    sums: list[RuleCount] = []
    for part in parts:
        if not (sums and part):
            sums = sums or list(part)
            continue
        sums = [
            replace(
                one,
                of=one.of + other.of,
                fires=one.fires + other.fires,
                acted=one.acted + other.acted,
                exempt=one.exempt + other.exempt,
            )
            for one, other in zip(sums, part, strict=True)
        ]
    return sums
