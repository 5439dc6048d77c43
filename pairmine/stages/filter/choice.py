"""The choice among a query's candidates, once every rule for single rows is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.filter.assemble import assemble
from pairmine.stages.filter.columns import remedy
from pairmine.stages.filter.deciding import Decided, RuleCount, decide
from pairmine.stages.filter.finish import finish
from pairmine.stages.filter.known import reject_copies, reject_known
from pairmine.stages.filter.order import best_first, ranks_of
from pairmine.stages.filter.picks import Candidates, Pick, picked
from pairmine.stages.filter.propensity import Compare
from pairmine.stages.filter.relax import strained, take_back
from pairmine.stages.filter.rows import NO_CODE, UNDECIDED, Rows, hold_again, places, read_rows
from pairmine.stages.filter.rules import Rules
from pairmine.stages.filter.shortage import NO_FILLS, Fillers, Shortage, fill
from pairmine.stages.filter.verdicts import Verdicts

_UNREAD = "rows without text, compared by id alone"
_UNFILLED = "queries that could not be filled"


@dataclass(frozen=True)
class Choice:
    """The options of `filter_pairs` about candidates; `pick` None chooses none, `supply` is there to fill with."""

    rules: Rules
    negatives: int
    pick: Pick | None
    shortage: Shortage
    supply: Fillers | None
    seed: int
    compare: Compare | None = None


@dataclass(frozen=True)
class Chosen:
    """The kept rows, how many of them are fills, and counts for the report, those of the rules apart."""

    kept: pa.Table
    added: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    rules: list[RuleCount] = field(default_factory=list)


def choose(pairs: pa.Table, choice: Choice, verdicts: Verdicts) -> Chosen:
    """What is left of `pairs`, a pair set of whole queries; rows that `verdicts` rejected count for nothing."""
    rules, picks = choice.rules, choice.pick is not None
    rows = hold_again(
        read_rows(pairs, verdicts.alive, texts=picks or rules.relabels, keyed=choice.supply is not None),
        pairs,
        rules.hold,
    )
    if picks:
        reject_known(rows, verdicts)
    rows, decided = decide(pairs, rows, rules, verdicts)
    if choice.pick is not None:
        return _picked(pairs, rows, decided, choice, choice.pick, verdicts)
    reject_copies(rows, decided.relabelled, verdicts)
    alive = verdicts.alive
    kept = _finished(pairs.filter(pa.array(alive)), np.flatnonzero(alive), decided, choice)
    return Chosen(kept, 0, {k: v for k, v in decided.notes.items() if v}, decided.counts)


def _finished(kept: pa.Table, came: np.ndarray, decided: Decided, choice: Choice) -> pa.Table:
    rules = choice.rules
    remarks = rules.remarks or choice.shortage.steps > 0
    return finish(kept, came, decided, decides=choice.pick is not None, remarks=remarks, weighs=rules.weighs)


def _picked(pairs: pa.Table, rows: Rows, decided: Decided, choice: Choice, pick: Pick, verdicts: Verdicts) -> Chosen:
    counts = dict(decided.notes)
    counts[_UNREAD] = int(((rows.text == NO_CODE) & np.isin(rows.label, (NEGATIVE, UNDECIDED))).sum())
    ruled_out = decided.entered.candidates & ~verdicts.alive
    picks = _pick(pairs, rows, decided, choice, pick, verdicts)
    if choice.shortage.steps:
        back, taken = _relaxed(pairs, rows, ruled_out, decided, choice, verdicts)
        picks, counts = np.r_[picks, back], counts | taken
    have, missing = _missing(rows, choice, verdicts)
    fills = NO_FILLS
    if choice.supply is not None:
        fills = fill(rows, missing, choice.supply, negatives=choice.negatives, seed=choice.seed)
        counts[_UNFILLED] = int((missing > np.bincount(fills.query, minlength=len(missing))).sum())
    if choice.shortage.last == "drop":
        _drop_short(rows, verdicts, have, missing, choice.negatives)
    ordered = _in_order(rows, decided, verdicts, picks)
    kept, came = assemble(pairs, rows.query, ordered, fills, choice.supply)
    kept = _finished(kept, came, decided, choice)
    return Chosen(kept, len(fills.query), _notes(choice, counts, int((missing > 0).sum())), decided.counts)


def _pick(pairs: pa.Table, rows: Rows, decided: Decided, choice: Choice, pick: Pick, verdicts: Verdicts) -> np.ndarray:
    """Reject what is too much; returns the picked candidates, by query and from the best down."""
    before = np.flatnonzero(verdicts.alive & (rows.label == NEGATIVE))
    verdicts.reject(before[places(rows.query[before]) >= choice.negatives], "surplus")
    held = np.bincount(rows.query[before], minlength=len(rows.query_ids))
    alive = verdicts.alive & (rows.label == UNDECIDED)
    scores = _deciding_scores(alive, decided, choice.rules.by)
    ordered = _ordered(pairs, rows, alive, scores)
    if choice.rules.skip:
        ordered = _skipped(rows, ordered, decided, choice.rules.skip, verdicts)
    need = np.maximum(choice.negatives - held, 0)
    anchors = _anchors(decided, choice.rules.by)
    candidates = Candidates(pairs, rows, ordered, need, choice.seed, alive, scores, anchors, choice.compare)
    chosen = picked(candidates, pick.wide(choice.negatives))
    verdicts.reject(ordered[~chosen], "not picked")
    return ordered[chosen]


def _anchors(decided: Decided, by: str | None) -> Callable[[], np.ndarray] | None:
    """What the positives of each query score, for a pick that asks for it."""
    return None if by is None else lambda: decided.entered.anchors(by)


def _relaxed(
    pairs: pa.Table, rows: Rows, ruled_out: np.ndarray, decided: Decided, choice: Choice, verdicts: Verdicts
) -> tuple[np.ndarray, dict[str, int]]:
    """Give short queries back what the rules rejected (a mask), as `relax.take_back` does; an exempt row never left."""
    _, missing = _missing(rows, choice, verdicts)
    at = ruled_out & (rows.label == UNDECIDED) & (missing > 0)[rows.query]
    scores = None if choice.rules.by is None else decided.entered.scores(choice.rules.by)
    if scores is not None:
        at &= np.isfinite(scores)
    found = strained(_ordered(pairs, rows, at, scores), decided.fired, choice.rules)
    return take_back(rows, found, missing, choice.shortage.steps, verdicts, decided.remarks)


def _deciding_scores(alive: np.ndarray, decided: Decided, by: str | None) -> np.ndarray | None:
    """The column that decides, (n,) float32; raises a PairmineError where a candidate that is left has none."""
    if by is None:
        return None
    scores = decided.entered.scores(by)
    if missing := int((alive & ~np.isfinite(scores)).sum()):
        raise PairmineError(f"{missing} of {int(alive.sum())} rows have no {by}; {remedy(by, decides=True)}")
    return scores


def _ordered(pairs: pa.Table, rows: Rows, alive: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
    at = np.flatnonzero(alive)
    return best_first(rows, at, None if scores is None else scores[at], ranks_of(pairs, at))


def _skipped(rows: Rows, ordered: np.ndarray, decided: Decided, skip: int, verdicts: Verdicts) -> np.ndarray:
    """`ordered` without the `skip` best of each query; candidates of exempt origins are not counted among them."""
    exempt = decided.entered.exempt[ordered]
    obliged = ordered[~exempt]
    best = obliged[places(rows.query[obliged]) < skip]
    verdicts.reject(best, f"among the {skip} best of its query, which are skipped")
    of = int(decided.entered.candidates.sum())
    decided.counts.append(RuleCount(f"skip {skip}", "drop", "candidates", of, len(best), len(best)))
    return ordered[verdicts.alive[ordered]]


def _missing(rows: Rows, choice: Choice, verdicts: Verdicts) -> tuple[np.ndarray, np.ndarray]:
    """How many negatives each query has, and how many more it should have; of queries without a positive none."""
    have = np.bincount(rows.query[verdicts.alive & (rows.label != POSITIVE)], minlength=len(rows.query_ids))
    return have, np.where(rows.answered, choice.negatives - have, 0)


def _drop_short(rows: Rows, verdicts: Verdicts, have: np.ndarray, missing: np.ndarray, negatives: int) -> None:
    of_row = np.where(missing > 0, have, negatives)[rows.query]
    for count in np.unique(have[missing > 0]):
        verdicts.reject(of_row == count, f"query has {count} of {negatives} negatives")


def _in_order(rows: Rows, decided: Decided, verdicts: Verdicts, picks: np.ndarray) -> np.ndarray:
    """The kept rows: by query, then positives, candidates that became positives, decided negatives, picks."""
    alive = verdicts.alive
    positives = np.flatnonzero(alive & (rows.label == POSITIVE) & ~decided.relabelled)
    relabelled = np.flatnonzero(alive & decided.relabelled)
    before = np.flatnonzero(alive & (rows.label == NEGATIVE))
    kept = np.r_[positives, relabelled, before, picks[alive[picks]]]
    return kept[np.argsort(rows.query[kept], kind="stable")]


def _notes(choice: Choice, counts: dict[str, int], short: int) -> dict[str, int]:
    found = {k: v for k, v in counts.items() if v}
    before = " before they were filled" if choice.shortage.last == "fill" else ""
    return {f"queries with fewer than {choice.negatives} negatives{before}": short, **found}
