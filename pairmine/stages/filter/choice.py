"""The choice among a query's candidates, once every rule for single rows is named."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.filter.assemble import assemble
from pairmine.stages.filter.picks import best_first, picked, ranks_of
from pairmine.stages.filter.propensity import Propensity
from pairmine.stages.filter.rows import NO_CODE, UNDECIDED, Rows, places, read_rows
from pairmine.stages.filter.rules import (
    Limits,
    Verdicts,
    read_scores,
    reject_clusters,
    reject_known,
    reject_ranks,
    reject_scores,
)
from pairmine.stages.filter.shortage import NO_FILLS, Fillers, fill

_UNREAD = "rows without text, compared by id alone"
_UNFILLED = "queries that could not be filled"
INVERSE_PROPENSITY = "inverse-propensity"


@dataclass(frozen=True)
class Choice:
    """The options of `filter_pairs` about candidates; `pick` None chooses none, `supply` is there to fill with."""

    limits: Limits
    drop_same_cluster: bool
    negatives: int
    pick: str | None
    pool: int
    drops_short: bool
    supply: Fillers | None
    seed: int


@dataclass(frozen=True)
class Chosen:
    """The kept rows, how many of them are fills, and counts for the report."""

    kept: pa.Table
    added: int = 0
    notes: dict[str, int] = field(default_factory=dict)


def choose(pairs: pa.Table, choice: Choice, verdicts: Verdicts) -> Chosen:
    """What is left of `pairs`, a pair set of whole queries; rows that `verdicts` rejected count for nothing."""
    if not pairs.num_rows:
        return Chosen(pairs, 0, {} if choice.pick is None else _notes(choice, {}, 0))
    rows = read_rows(pairs, verdicts.alive, texts=choice.pick is not None)
    if choice.pick is not None:
        reject_known(rows, verdicts)
    reject_ranks(pairs, rows, choice.limits, verdicts)
    counts = reject_clusters(pairs, rows, verdicts) if choice.drop_same_cluster else {}
    scores = None
    if choice.limits.by is not None:
        scores = read_scores(pairs, rows, choice.limits, verdicts, picks=choice.pick is not None)
        counts |= reject_scores(rows, scores, choice.limits, verdicts)
    if choice.pick is None:
        return Chosen(pairs.filter(pa.array(verdicts.alive)), 0, {k: v for k, v in counts.items() if v})
    return _picked(pairs, rows, scores, choice, verdicts, counts)


def _picked(
    pairs: pa.Table, rows: Rows, scores: np.ndarray | None, choice: Choice, verdicts: Verdicts, counts: dict[str, int]
) -> Chosen:
    counts[_UNREAD] = int(((rows.text == NO_CODE) & np.isin(rows.label, (NEGATIVE, UNDECIDED))).sum())
    picks = _pick(pairs, rows, scores, choice, verdicts)
    have = np.bincount(rows.query[verdicts.alive & (rows.label != POSITIVE)], minlength=len(rows.query_ids))
    missing = np.where(rows.answered, choice.negatives - have, 0)
    fills = NO_FILLS
    if choice.supply is not None:
        fills = fill(rows, missing, choice.supply, negatives=choice.negatives, seed=choice.seed)
        counts[_UNFILLED] = int((missing > np.bincount(fills.query, minlength=len(missing))).sum())
    if choice.drops_short:
        _drop_short(rows, verdicts, have, missing, choice.negatives)
    kept = assemble(pairs, rows.query, _in_order(rows, verdicts, picks), fills, choice.supply)
    return Chosen(kept, len(fills.query), _notes(choice, counts, int((missing > 0).sum())))


def _pick(pairs: pa.Table, rows: Rows, scores: np.ndarray | None, choice: Choice, verdicts: Verdicts) -> np.ndarray:
    """Reject what is too much; returns the picked candidates, by query and from the best down."""
    decided = np.flatnonzero(verdicts.alive & (rows.label == NEGATIVE))
    verdicts.reject(decided[places(rows.query[decided]) >= choice.negatives], "surplus")
    held = np.bincount(rows.query[decided], minlength=len(rows.query_ids))
    alive = verdicts.alive & (rows.label == UNDECIDED)
    at = np.flatnonzero(alive)
    ordered = best_first(rows, at, None if scores is None else scores[at], ranks_of(pairs, at))
    odds = None
    if choice.pick == INVERSE_PROPENSITY and scores is not None:
        odds = Propensity().of_rows(pairs, alive, scores, "pick inverse-propensity")[ordered]
    pool = None if choice.pick == "top" else max(choice.pool, choice.negatives)
    chosen = picked(rows, ordered, np.maximum(choice.negatives - held, 0), pool, choice.seed, odds)
    verdicts.reject(ordered[~chosen], "not picked")
    return ordered[chosen]


def _drop_short(rows: Rows, verdicts: Verdicts, have: np.ndarray, missing: np.ndarray, negatives: int) -> None:
    of_row = np.where(missing > 0, have, negatives)[rows.query]
    for count in np.unique(have[missing > 0]):
        verdicts.reject(of_row == count, f"query has {count} of {negatives} negatives")


def _in_order(rows: Rows, verdicts: Verdicts, picks: np.ndarray) -> np.ndarray:
    """The kept rows: by query, then positives, decided negatives, picks."""
    positives = np.flatnonzero(verdicts.alive & (rows.label == POSITIVE))
    decided = np.flatnonzero(verdicts.alive & (rows.label == NEGATIVE))
    kept = np.r_[positives, decided, picks[verdicts.alive[picks]]]
    return kept[np.argsort(rows.query[kept], kind="stable")]


def _notes(choice: Choice, counts: dict[str, int], short: int) -> dict[str, int]:
    found = {k: v for k, v in counts.items() if v}
    return {f"queries with fewer than {choice.negatives} negatives": short, **found}
