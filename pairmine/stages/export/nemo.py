"""Training files for NeMo Automodel's retrievers: a line per query with its texts."""

from __future__ import annotations

import pyarrow as pa

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Options, Plan, Target, per_positive
from pairmine.stages.export.rows import PairRows

_TEXTS = pa.list_(pa.large_string())


def inline(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `pos_doc` with one text, `neg_doc` in row order: the trainer takes the first n_passages - 1 of them.

    It trains on the first positive alone, so each positive is a line of its own.
    """
    return pa.table(
        [
            rows.query_texts.take(plan.anchors),
            plan.positives.arrow(rows.documents.plain(plan.positives.rows)),
            plan.negatives.arrow(rows.documents.plain(plan.negatives.rows)),
        ],
        schema=pa.schema([("query", TEXT), ("pos_doc", _TEXTS), ("neg_doc", _TEXTS)]),
    )


TARGETS = (
    Target(
        name="nemo-inline",
        trainer="NeMo Automodel",
        version="0.7.0",
        summary="a line per positive with its query and the negatives, texts and all",
        columns=("query", "pos_doc", "neg_doc"),
        formats=("jsonl",),
        endings=(".jsonl", ".json"),
        needs="some negatives",
        arrange=per_positive,
        build=inline,
        takes=frozenset({"negatives"}),
    ),
)
