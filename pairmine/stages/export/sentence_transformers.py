"""Training files for sentence-transformers: its trainer takes the columns in their order and trains on all."""

from __future__ import annotations

import pyarrow as pa

from pairmine.schema import POSITIVE, TEXT
from pairmine.stages.export.plan import (
    Options,
    Plan,
    Target,
    joined,
    per_positive,
    per_positive_and_negative,
    per_query,
)
from pairmine.stages.export.rows import PairRows, labels
from pairmine.stages.export.scores import SCORES, all_scores, grades, margins, short

TRAINER = "sentence-transformers"
VERSION = "6.2.0"

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
    return _texts(_triplet(rows, plan))


def ntuple(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`anchor`, `positive`, `negative_1` to `negative_n`."""
    return _texts(ntuple_columns(rows, plan, options))


def margin(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`anchor`, `positive`, `negative`, and `label`: the positive's score less the negative's.

    The label of MarginMSE (Hofstätter et al. 2020, arXiv 2010.02666).
    """
    values = pa.array(margins(rows, _named(options), plan), pa.float32())
    return _texts(_triplet(rows, plan)).append_column("label", values)


def margin_list(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """The columns of `ntuple`, and `label`: the positive's score less that of each negative."""
    values = plan.negatives.arrow(short(margins(rows, _named(options), plan)))
    return ntuple(rows, plan, options).append_column(pa.field("label", SCORES), values)


def raw_scores(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """The columns of `ntuple`, and `label`: the positive's score, then that of each negative."""
    return ntuple(rows, plan, options).append_column(pa.field("label", SCORES), all_scores(rows, _named(options), plan))


def labelled_list(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `docs` with the positives first, and `labels`, as many: 1 and 0, or the scores that were asked for."""
    documents = joined(plan.positives, plan.negatives)
    if options.scores:
        values = all_scores(rows, options.scores, plan)
    else:
        values = documents.arrow(pa.array(labels(rows.pairs)[documents.rows] == POSITIVE).cast(pa.float64()))
    docs = pa.list_(pa.large_string())
    return pa.table(
        [rows.query_texts.take(plan.anchors), documents.arrow(rows.documents.plain(documents.rows)), values],
        schema=pa.schema([("query", TEXT), ("docs", docs), ("labels", SCORES)]),
    )


def pair_score(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`sentence1`, `sentence2`, `score`: the grade, or the score column that was asked for."""
    values = pa.array(grades(rows, plan, options), pa.float32())
    return _texts(_sentences(rows, plan)).append_column("score", values)


def pair_class(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`sentence1`, `sentence2`, `label` as 1 or 0."""
    values = labels(rows.pairs)[plan.positives.rows]
    return _texts(_sentences(rows, plan)).append_column("label", pa.array(values, pa.int64()))


def _sentences(rows: PairRows, plan: Plan) -> dict[str, pa.DictionaryArray]:
    return {
        "sentence1": rows.query_texts.take(plan.anchors),
        "sentence2": rows.documents.take(plan.positives.rows),
    }


def _triplet(rows: PairRows, plan: Plan) -> dict[str, pa.DictionaryArray]:
    return {
        "anchor": rows.query_texts.take(plan.anchors),
        "positive": rows.documents.take(plan.positives.rows),
        "negative": rows.documents.take(plan.negatives.rows),
    }


def ntuple_columns(
    rows: PairRows, plan: Plan, options: Options, anchor: str = "anchor"
) -> dict[str, pa.DictionaryArray]:
    """The texts of `ntuple`; `anchor` names the first column."""
    negatives = plan.negatives.rows.reshape(len(plan.anchors), options.negatives or 0)
    columns = {
        anchor: rows.query_texts.take(plan.anchors),
        "positive": rows.documents.take(plan.positives.rows),
    }
    for place, pair_rows in enumerate(negatives.T, start=1):
        columns[f"negative_{place}"] = rows.documents.take(pair_rows)
    return columns


def _named(options: Options) -> str:
    assert options.scores is not None
    return options.scores


def _texts(columns: dict[str, pa.DictionaryArray]) -> pa.Table:
    return pa.table(columns, schema=pa.schema([(name, TEXT) for name in columns]))


TARGETS = (
    Target(
        name="st-pair",
        trainer=TRAINER,
        version=VERSION,
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
        version=VERSION,
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
        version=VERSION,
        summary="query, positive and the same number of negatives in every row",
        columns=("anchor", "positive", "negative_1", "...", "negative_n"),
        formats=FORMATS,
        needs="equal negatives",
        arrange=per_positive,
        build=ntuple,
        takes=frozenset({"negatives"}),
    ),
    Target(
        name="st-margin",
        trainer=TRAINER,
        version=VERSION,
        summary="query, positive, one negative and the margin between their scores, for MarginMSE",
        columns=("anchor", "positive", "negative", "label"),
        formats=FORMATS,
        needs="some negatives",
        arrange=per_positive_and_negative,
        build=margin,
        takes=frozenset({"negatives", "scores"}),
        requires=frozenset({"scores"}),
    ),
    Target(
        name="st-margin-list",
        trainer=TRAINER,
        version=VERSION,
        summary="query, positive, n negatives and their n margins, for MarginMSE",
        columns=("anchor", "positive", "negative_1", "...", "negative_n", "label"),
        formats=FORMATS,
        needs="equal negatives",
        arrange=per_positive,
        build=margin_list,
        takes=frozenset({"negatives", "scores"}),
        requires=frozenset({"scores"}),
    ),
    Target(
        name="st-scores",
        trainer=TRAINER,
        version=VERSION,
        summary="query, positive, n negatives and the n + 1 scores of a teacher, for DistillKLDiv and MarginMSE",
        columns=("anchor", "positive", "negative_1", "...", "negative_n", "label"),
        formats=FORMATS,
        needs="equal negatives",
        arrange=per_positive,
        build=raw_scores,
        takes=frozenset({"negatives", "scores"}),
        requires=frozenset({"scores"}),
    ),
    Target(
        name="st-labeled-list",
        trainer=TRAINER,
        version=VERSION,
        summary="query, a list of documents and as many labels or scores, for listwise losses of cross-encoders",
        columns=("query", "docs", "labels"),
        formats=FORMATS,
        needs="some negatives",
        arrange=per_query,
        build=labelled_list,
        takes=frozenset({"negatives", "scores"}),
    ),
    Target(
        name="st-pair-score",
        trainer=TRAINER,
        version=VERSION,
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
        version=VERSION,
        summary="two texts and their label, 1 or 0, for pairwise losses and cross-encoders",
        columns=("sentence1", "sentence2", "label"),
        formats=FORMATS,
        needs="single pairs",
        arrange=per_positive,
        build=pair_class,
    ),
)
