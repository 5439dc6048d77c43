"""Pair sets in the shape that a trainer reads. Every format is a target; `TARGETS` lists them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, with_reason
from pairmine.schema import SCORE_PREFIX, score_names
from pairmine.stages.export import flag_embedding, language_models, sentence_transformers
from pairmine.stages.export.plan import Choice, Options, Plan, Target, choose, choose_pairs, joined
from pairmine.stages.export.rows import PairRows, Survey, labels, one_array, read_rows, survey_rows

__all__ = ["TARGETS", "Exported", "Survey", "Target", "export", "find_target", "survey"]

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (sentence_transformers, flag_embedding, language_models)
    for target in module.TARGETS
}

_ELSEWHERE = {
    "negatives": "it takes no negatives",
    "scores": "it carries no scores",
    "prompt": "it carries no prompt; set prompts in the trainer's own arguments",
}


@dataclass(frozen=True)
class Exported:
    """Training rows, and a sidecar that says where each of them came from.

    `outcome.kept` holds the columns that the trainer reads and nothing else. `sidecar` has a row
    for each of its rows, in the same order: `row` int64 from 0 within this call; `query_id`;
    `positive_ids` and `negative_ids`, lists of doc_id; then `origins`, every score column and `weight` as
    lists that run over the positives first and the negatives after them.
    """

    outcome: Outcome
    sidecar: pa.Table


def find_target(name: str) -> Target:
    """The target of that name; raises PairmineError with the nearest name for one that is unknown."""
    if name in TARGETS:
        return TARGETS[name]
    near = get_close_matches(name, TARGETS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise PairmineError(f'no export target "{name}"; {hint}known: {", ".join(TARGETS)}')


def survey(pairs: pa.Table) -> Survey:
    """The counts of a chunk of whole queries; add those of all chunks up and hand them to `export`."""
    return survey_rows(read_rows(pairs))


def export(
    pairs: pa.Table,
    *,
    to: str,
    negatives: int | None = None,
    survey: Survey | None = None,
    positives: str = "each",
    scores: str | None = None,
    prompt: str | None = None,
) -> Exported:
    """The training rows that target `to` makes of `pairs`, a chunk of whole queries of a pair set.

    `negatives` is how many a query lends at most, the first ones in row order; where every row
    needs the same number, a query with fewer is rejected, and without `negatives` that number is
    the largest in `survey`. Without a survey the chunk is taken for the whole pair set.
    `positives` is "each" or "first", in row order. `scores` names a score column, with or without
    its prefix, `prompt` a text for every row; only some targets take them.

    Each pair is either used or rejected with a reason. A note counts the queries that have too
    few negatives. Raises PairmineError for undecided rows, an option that the target does not
    take, and a missing text, column or score.
    """
    target = find_target(to)
    _check_options(target, negatives=negatives, positives=positives, scores=scores, prompt=prompt)
    rows = read_rows(pairs)
    if target.needs == "single pairs":
        return _of_pairs(rows, target, Options(None, _score_column(rows, scores), prompt))
    counts = survey if survey is not None else survey_rows(rows)
    _check_labels(rows, counts)
    if target.needs == "equal negatives" and negatives is None:
        negatives = counts.most_negatives or _no_negatives(target)
    options = Options(negatives, _score_column(rows, scores), prompt)
    choice = choose(rows, target, negatives=negatives, first_positive=positives == "first")
    plan = target.arrange(choice)
    kept = target.build(rows, plan, options)
    outcome = Outcome(
        kept=kept,
        rejected=_rejected(choice),
        rows_in=pairs.num_rows,
        reshapes=True,
        notes=_notes(target, choice, negatives),
    )
    return Exported(outcome, _sidecar(rows, plan))


def _of_pairs(rows: PairRows, target: Target, options: Options) -> Exported:
    """A training row for each pair that has what the target makes of it."""
    if "scores" in target.takes:
        name = options.scores or "grade"
        if name not in rows.pairs.column_names:
            raise PairmineError(f'{target.name} writes grades, and the pair set has no "grade"; pass --scores NAME')
        value = one_array(rows.pairs[name].cast(pa.float64()).fill_null(np.nan)).to_numpy(zero_copy_only=False)
        choice = choose_pairs(rows, value, f"no {name}")
    else:
        _check_labels(rows, survey_rows(rows))
        choice = choose_pairs(rows, labels(rows.pairs).astype(np.float64), "no label")
    plan = target.arrange(choice)
    outcome = Outcome(
        kept=target.build(rows, plan, options),
        rejected=_rejected(choice),
        rows_in=rows.pairs.num_rows,
        reshapes=True,
    )
    return Exported(outcome, _sidecar(rows, plan))


def _check_options(
    target: Target, *, negatives: int | None, positives: str, scores: str | None, prompt: str | None
) -> None:
    if positives not in ("each", "first"):
        raise PairmineError(f'--positives is "{positives}"; it must be "each" or "first"')
    for name, value in (("negatives", negatives), ("scores", scores), ("prompt", prompt)):
        if value is not None and name not in target.takes:
            raise PairmineError(f"--{name} has no effect on {target.name}: {_ELSEWHERE[name]}")
    if negatives is not None and negatives < 1:
        raise PairmineError(f"--negatives is {negatives}; {target.name} needs at least 1 negative in every row")


def _check_labels(rows: PairRows, counts: Survey) -> None:
    for undecided, total in ((counts.undecided, counts.rows), (rows.undecided, rows.pairs.num_rows)):
        if undecided:
            raise PairmineError(f"{undecided} of {total} rows have no label yet; run 'pairmine filter' first")


def _no_negatives(target: Target) -> int:
    raise PairmineError(
        f"no query has both a positive and a negative, and {target.name} needs negatives in every row; "
        "run 'pairmine mine' and 'pairmine filter' first, or export to st-pair"
    )


def _score_column(rows: PairRows, scores: str | None) -> str | None:
    if scores is None:
        return None
    name = scores if scores.startswith(SCORE_PREFIX) else SCORE_PREFIX + scores
    found = score_names(rows.pairs.schema)
    if name not in found:
        have = f"score columns: {', '.join(found)}" if found else "it has no score column"
        raise PairmineError(f"the pair set has no {name} ({have}); run 'pairmine score' first")
    return name


def _rejected(choice: Choice) -> pa.Table:
    away = choice.reason > 0
    reasons = pa.array(choice.reasons, pa.string()).take(pa.array(choice.reason[away]))
    return with_reason(choice.rows.pairs.filter(pa.array(away)), reasons)


def _notes(target: Target, choice: Choice, negatives: int | None) -> dict[str, int]:
    if not choice.short:
        return {}
    if target.needs == "equal negatives":
        return {f"queries with fewer than {negatives} negatives": choice.short}
    return {"queries without a negative": choice.short}


def _sidecar(rows: PairRows, plan: Plan) -> pa.Table:
    pairs = rows.pairs
    doc_id, origin = one_array(pairs["doc_id"]), one_array(pairs["origin"])
    both = joined(plan.positives, plan.negatives)
    strings = pa.list_(pa.string())
    columns: list[tuple[pa.Field, pa.Array]] = [
        (pa.field("row", pa.int64()), pa.array(np.arange(len(plan.anchors)))),
        (pa.field("query_id", pa.string()), one_array(pairs["query_id"]).take(pa.array(plan.anchors))),
        (pa.field("positive_ids", strings), plan.positives.arrow(doc_id.take(pa.array(plan.positives.rows)))),
        (pa.field("negative_ids", strings), plan.negatives.arrow(doc_id.take(pa.array(plan.negatives.rows)))),
        (pa.field("origins", strings), both.arrow(origin.take(pa.array(both.rows)))),
    ]
    for name in [*score_names(pairs.schema), *(["weight"] if "weight" in pairs.column_names else [])]:
        scores = pa.field(name, pa.list_(pa.float32()), metadata=pairs.schema.field(name).metadata)
        columns.append((scores, both.arrow(one_array(pairs[name]).take(pa.array(both.rows)))))
    return pa.table([values for _, values in columns], schema=pa.schema([field for field, _ in columns]))
