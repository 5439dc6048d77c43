"""Training files for DPR and what reads its layout: an array of questions with their passages."""

from __future__ import annotations

import pyarrow as pa

from pairmine.stages.export.plan import Lists, Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows, document_ids, query_ids
from pairmine.stages.export.scores import scores, short
from pairmine.stages.export.titles import bare_texts, titles

_STRINGS = pa.list_(pa.string())


def questions(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`question_id`, `question`, `answers`, `positive_ctxs`, `negative_ctxs`, `hard_negative_ctxs`.

    Negatives are hard ones; what is drawn at random is left to the trainer. Each passage has the keys `title` and
    `text`, which DPR reads without looking, and its id.
    """
    nothing = Lists(plan.positives.offsets * 0, plan.positives.rows[:0])
    columns = {
        "question_id": query_ids(rows, plan.anchors),
        "question": rows.query_texts.plain(plan.anchors),
        "answers": nothing.arrow(pa.array([], pa.string())),
        "positive_ctxs": _passages(rows, plan.positives, options),
        "negative_ctxs": _passages(rows, nothing, options),
        "hard_negative_ctxs": _passages(rows, plan.negatives, options),
    }
    kind = columns["positive_ctxs"].type
    types = [pa.string(), pa.large_string(), _STRINGS, kind, kind, kind]
    return pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True))))


def _passages(rows: PairRows, lists: Lists, options: Options) -> pa.ListArray:
    parts = {
        "title": titles(rows, lists.rows),
        "text": bare_texts(rows, lists.rows),
        "passage_id": document_ids(rows, lists.rows),
    }
    if options.scores:
        parts["score"] = short(scores(rows, options.scores, lists.rows))
    return lists.arrow(pa.StructArray.from_arrays(list(parts.values()), names=list(parts)))


TARGETS = (
    Target(
        name="dpr",
        trainer="DPR",
        version="its repository of 2023",
        summary="an array of questions with positive and hard negative passages, each with its title",
        columns=("question_id", "question", "answers", "positive_ctxs", "negative_ctxs", "hard_negative_ctxs"),
        formats=("json",),
        endings=(".json",),
        needs="any negatives",
        arrange=per_query,
        build=questions,
        takes=frozenset({"negatives", "scores"}),
    ),
)
