"""Scores and margins as training files hold them: float64 with the few digits that name the float32."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.stages.export.plan import Lists, Options, Plan, joined
from pairmine.stages.export.requirements import check_scored
from pairmine.stages.export.rows import PairRows, one_array
from pairmine.stages.export.survey import GRADE, finite

SCORES = pa.list_(pa.float64())


def scores(rows: PairRows, name: str, at: np.ndarray) -> np.ndarray:
    """Column `name` on the pair rows `at`, float32; raises PairmineError with the number of rows that lack it."""
    found = one_array(rows.pairs[name]).take(pa.array(at))
    has_score = finite(found)
    check_scored(len(found) - int(has_score.sum()), len(found), name)
    values: np.ndarray = found.to_numpy(zero_copy_only=False)
    return values


def grades(rows: PairRows, plan: Plan, options: Options) -> np.ndarray:
    """Of a single pair each the grade, or the score that was asked for in its place, float32."""
    return scores(rows, options.scores or GRADE, plan.positives.rows)


def short(values: np.ndarray) -> pa.Array:
    """As 0.9 and not 0.8999999761581421."""
    return pa.array(values.astype(np.float32)).cast(pa.string()).cast(pa.float64())


def score_lists(rows: PairRows, name: str, lists: Lists) -> pa.ListArray:
    """The score of each pair in `lists`."""
    return lists.arrow(short(scores(rows, name, lists.rows)))


def all_scores(rows: PairRows, name: str, plan: Plan) -> pa.ListArray:
    """For each training row the scores of its positives, then of its negatives."""
    return score_lists(rows, name, joined(plan.positives, plan.negatives))


def margins(rows: PairRows, name: str, plan: Plan) -> np.ndarray:
    """The score of a row's one positive less that of each of its negatives, one for each of them, float64."""
    positive, negative = (
        short(scores(rows, name, lists.rows)).to_numpy(zero_copy_only=False)
        for lists in (plan.positives, plan.negatives)
    )
    margin: np.ndarray = np.repeat(positive, plan.negatives.sizes) - negative
    return margin
