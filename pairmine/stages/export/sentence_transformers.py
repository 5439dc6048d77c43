"""Training files for sentence-transformers: its trainer takes the columns in their order and trains on all."""

from __future__ import annotations

import pyarrow as pa

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Options, Plan, Target, per_positive, per_positive_and_negative
from pairmine.stages.export.rows import PairRows, labels, one_array

TRAINER = "sentence-transformers"

# No CSV: datasets reads it through pandas, to which a text such as "NA" or "null" is a missing value.
FORMATS = ("parquet", "jsonl", "arrow")


def pair(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`anchor`, `positive`."""
    return _texts(
        {
            "anchor": rows.query_texts.take(plan.anchors),
            "positive": rows.documents.take(plan.positives.rows),
        }
    )


def triplet(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`anchor`, `positive`, `negative`."""
    return _texts(
        {
            "anchor": rows.query_texts.take(plan.anchors),
            "positive": rows.documents.take(plan.positives.rows),
            "negative": rows.documents.take(plan.negatives.rows),
        }
    )


def ntuple(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`anchor`, `positive`, `negative_1` to `negative_n`."""
    negatives = plan.negatives.rows.reshape(len(plan.anchors), options.negatives or 0)
    columns = {
        "anchor": rows.query_texts.take(plan.anchors),
        "positive": rows.documents.take(plan.positives.rows),
    }
    for place, pair_rows in enumerate(negatives.T, start=1):
        columns[f"negative_{place}"] = rows.documents.take(pair_rows)
    return _texts(columns)


def pair_score(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`sentence1`, `sentence2`, `score`: the grade, or the score column that was asked for."""
    values = one_array(rows.pairs[options.scores or "grade"]).take(pa.array(plan.positives.rows))
    texts = _texts(_sentences(rows, plan))
    return texts.append_column("score", values.cast(pa.float32()))


def pair_class(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`sentence1`, `sentence2`, `label` as 1 or 0."""
    values = labels(rows.pairs)[plan.positives.rows]
    return _texts(_sentences(rows, plan)).append_column("label", pa.array(values, pa.int64()))


def _sentences(rows: PairRows, plan: Plan) -> dict[str, pa.DictionaryArray]:
    return {
        "sentence1": rows.query_texts.take(plan.anchors),
        "sentence2": rows.documents.take(plan.positives.rows),
    }


def _texts(columns: dict[str, pa.DictionaryArray]) -> pa.Table:
    return pa.table(columns, schema=pa.schema([(name, TEXT) for name in columns]))


TARGETS = (
    Target(
        name="st-pair",
        trainer=TRAINER,
        summary="query and positive, for losses with in-batch negatives",
        columns=("anchor", "positive"),
        formats=FORMATS,
        needs="no negatives",
        arrange=per_positive,
        build=pair,
    ),
    Target(
        name="st-triplet",
        trainer=TRAINER,
        summary="query, positive and one negative; each positive with each negative",
        columns=("anchor", "positive", "negative"),
        formats=FORMATS,
        needs="some negatives",
        arrange=per_positive_and_negative,
        build=triplet,
        takes=frozenset({"negatives"}),
    ),
    Target(
        name="st-ntuple",
        trainer=TRAINER,
        summary="query, positive and the same number of negatives in every row",
        columns=("anchor", "positive", "negative_1", "...", "negative_n"),
        formats=FORMATS,
        needs="equal negatives",
        arrange=per_positive,
        build=ntuple,
        takes=frozenset({"negatives"}),
    ),
    Target(
        name="st-pair-score",
        trainer=TRAINER,
        summary="two texts and their grade, or a score, for losses that regress it",
        columns=("sentence1", "sentence2", "score"),
        formats=FORMATS,
        needs="single pairs",
        arrange=per_positive,
        build=pair_score,
        takes=frozenset({"scores"}),
    ),
    Target(
        name="st-pair-class",
        trainer=TRAINER,
        summary="two texts and their label, 1 or 0, for pairwise losses and cross-encoders",
        columns=("sentence1", "sentence2", "label"),
        formats=FORMATS,
        needs="single pairs",
        arrange=per_positive,
        build=pair_class,
    ),
)
