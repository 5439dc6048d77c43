"""Pair sets in the shape that a trainer reads. Every format is a target; `TARGETS` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, with_reason
from pairmine.schema import score_names
from pairmine.stages.export import (
    dpr,
    flag_embedding,
    folders,
    language_models,
    ms_swift,
    nemo,
    pylate,
    sentence_transformers,
    simcse,
    tevatron,
)
from pairmine.stages.export.folders import Chunk, Shared
from pairmine.stages.export.plan import Choice, Options, Plan, Target, choose, choose_pairs, joined
from pairmine.stages.export.requirements import check_labels, check_options, negatives_in, score_column
from pairmine.stages.export.rows import PairRows, check_texts, document_ids, one_array, query_ids, read_rows
from pairmine.stages.export.survey import GRADE, Survey, Surveyor, finite, score_columns

__all__ = ["TARGETS", "Exported", "Shared", "Survey", "Target", "export", "find_target", "survey"]

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        sentence_transformers,
        flag_embedding,
        tevatron,
        pylate,
        ms_swift,
        simcse,
        nemo,
        language_models,
        dpr,
        folders,
    )
    for target in module.TARGETS
}


@dataclass(frozen=True)
class Exported:
    """Training rows, and a sidecar that says where each of them came from.

    `outcome.kept` holds the columns that the trainer reads and nothing else. `sidecar` has a row
    for each of its rows, in the same order: `row` int64 from 0 within this call; `query_id`;
    `positive_ids` and `negative_ids`, lists of doc_id; then `origins`, every score column and `weight` as
    lists that run over the positives first and the negatives after them; and the planned `batch` of the
    row's first positive. Of a format that is a folder, `files` are the tables that go into its files.
    """

    outcome: Outcome
    sidecar: pa.Table
    files: Mapping[str, pa.Table] = field(default_factory=dict)


def find_target(name: str) -> Target:
    """The target of that name; raises PairmineError with the nearest name for one that is unknown."""
    if name in TARGETS:
        return TARGETS[name]
    near = get_close_matches(name, TARGETS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise PairmineError(f'no export target "{name}"; {hint}known: {", ".join(TARGETS)}')


def survey(pairs: pa.Table, target: Target | None = None, scores: str | None = None) -> Survey:
    """The counts of whole queries; add those of all chunks up and hand them to `export`.

    What `target` cannot read counts as no text, and with `scores`, a column, what lacks it is counted.
    """
    check_texts(pairs)
    surveyor = Surveyor(scores, target.unreadable if target else None)
    surveyor.add(pairs)
    return surveyor.result()


def export(
    pairs: pa.Table,
    *,
    to: str,
    negatives: int | None = None,
    survey: Survey | None = None,
    positives: str = "each",
    scores: str | None = None,
    prompt: str | None = None,
    passage_prompt: str | None = None,
    task: str | None = None,
    shared: Shared | None = None,
) -> Exported:
    """The training rows that target `to` makes of `pairs`, a chunk of whole queries of a pair set.

    `negatives` is how many a query lends at most, the first ones in row order; where every row
    needs the same number, a query with fewer is rejected, and without `negatives` that number is
    the largest in `survey`. Without a survey the chunk is taken for the whole pair set.
    `positives` is "each" or "first", in row order. `scores` names a score column, with or without
    its prefix, or "grade"; `prompt` and `passage_prompt` are texts for every row, `task` is a kind of task of
    FlagEmbedding's. Only some targets take them.

    A format that is a folder writes each document once: chunks after the first hand in the same `shared`.

    Each pair is either used or rejected with a reason. A note counts the queries that have too
    few negatives. Raises PairmineError for undecided rows, an option that the target does not
    take, and a missing text, column or score.
    """
    target = find_target(to)
    words = {"negatives": negatives, "scores": scores, "prompt": prompt, "passage-prompt": passage_prompt, "task": task}
    check_options(target, words, positives)
    rows = read_rows(pairs, target.unreadable)
    column = None if scores is None else score_column(scores, score_columns(pairs.schema))
    options = Options(negatives, column, prompt, passage_prompt, task)
    if target.needs == "single pairs":
        choice = _single_pairs(rows, target, options)
    else:
        counts = survey if survey is not None else _survey(pairs, target)
        check_labels(counts.undecided, counts.rows)
        check_labels(rows.undecided, pairs.num_rows)
        options = replace(options, negatives=negatives_in(target, counts, negatives))
        choice = choose(rows, target, negatives=options.negatives, first_positive=positives == "first")
    plan = target.arrange(choice)
    kept = target.build(rows, plan, options)
    files = target.fill(Chunk(rows, plan, options, kept, shared or Shared())) if target.fill else {}
    outcome = Outcome(
        kept=kept,
        rejected=_rejected(choice),
        rows_in=pairs.num_rows,
        reshapes=True,
        notes=_notes(target, choice, options.negatives),
    )
    return Exported(outcome, _sidecar(rows, plan), files)


_survey = survey  # `export` has a parameter of that name


def _single_pairs(rows: PairRows, target: Target, options: Options) -> Choice:
    """Each pair that has what the target makes of it: a grade or a score, else a label."""
    if "scores" not in target.takes:
        check_labels(rows.undecided, rows.pairs.num_rows)
        return choose_pairs(rows, target, np.ones(rows.pairs.num_rows, bool), "no label")
    name = options.scores or GRADE
    if name not in rows.pairs.column_names:
        raise PairmineError(f'{target.name} writes grades, and the pair set has no "grade"; pass --scores NAME')
    return choose_pairs(rows, target, finite(one_array(rows.pairs[name])), f"no {name}")


def _rejected(choice: Choice) -> pa.Table:
    away = choice.reason > 0
    reasons = pa.array(choice.reasons, pa.string()).take(pa.array(choice.reason[away]))
    return with_reason(choice.rows.pairs.filter(pa.array(away)), reasons)


def _notes(target: Target, choice: Choice, negatives: int | None) -> dict[str, int]:
    if not choice.short or target.needs == "any negatives":
        return {}
    if target.needs == "equal negatives":
        return {f"queries with fewer than {negatives} negatives": choice.short}
    return {"queries without a negative": choice.short}


def _sidecar(rows: PairRows, plan: Plan) -> pa.Table:
    pairs = rows.pairs
    origin = one_array(pairs["origin"])
    both = joined(plan.positives, plan.negatives)
    strings = pa.list_(pa.string())
    columns: list[tuple[pa.Field, pa.Array]] = [
        (pa.field("row", pa.int64()), pa.array(np.arange(len(plan.anchors)))),
        (pa.field("query_id", pa.string()), query_ids(rows, plan.anchors)),
        (pa.field("positive_ids", strings), plan.positives.arrow(document_ids(rows, plan.positives.rows))),
        (pa.field("negative_ids", strings), plan.negatives.arrow(document_ids(rows, plan.negatives.rows))),
        (pa.field("origins", strings), both.arrow(origin.take(pa.array(both.rows)))),
    ]
    for name in [*score_names(pairs.schema), *(["weight"] if "weight" in pairs.column_names else [])]:
        scores = pa.field(name, pa.list_(pa.float32()), metadata=pairs.schema.field(name).metadata)
        columns.append((scores, both.arrow(one_array(pairs[name]).take(pa.array(both.rows)))))
    if "batch" in pairs.column_names:
        firsts = pa.array(plan.positives.rows[plan.positives.offsets[:-1]])
        columns.append((pa.field("batch", pa.int32()), one_array(pairs["batch"]).take(firsts)))
    return pa.table([values for _, values in columns], schema=pa.schema([field for field, _ in columns]))
