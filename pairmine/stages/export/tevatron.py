"""Training files for Tevatron in its first layout, which every release reads: passages with their texts."""

from __future__ import annotations

import pyarrow as pa

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Lists, Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows, document_ids, query_ids
from pairmine.stages.export.scores import scores, short
from pairmine.stages.export.titles import bare_texts, titles


def passages(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query_id`, `query`, `positive_passages`, `negative_passages`: objects with docid, title, text, perhaps score.

    Its reranker needs the key `title`, so that is there, and empty where the pair set has none.
    """
    columns = {
        "query_id": query_ids(rows, plan.anchors),
        "query": rows.query_texts.take(plan.anchors),
        "positive_passages": _passages(rows, plan.positives, options),
        "negative_passages": _passages(rows, plan.negatives, options),
    }
    kind = columns["positive_passages"].type
    types = (pa.string(), TEXT, kind, kind)
    return pa.table(list(columns.values()), schema=pa.schema(list(zip(columns, types, strict=True))))


def _passages(rows: PairRows, lists: Lists, options: Options) -> pa.ListArray:
    parts = {
        "docid": document_ids(rows, lists.rows),
        "title": titles(rows, lists.rows),
        "text": bare_texts(rows, lists.rows),
    }
    if options.scores:
        parts["score"] = short(scores(rows, options.scores, lists.rows))
    return lists.arrow(pa.StructArray.from_arrays(list(parts.values()), names=list(parts)))


TARGETS = (
    Target(
        name="tevatron",
        trainer="Tevatron",
        version="0.1.0 and its repository of 2025",
        summary="a line per query with its passages, each with docid, title and text; with --scores for distillation",
        columns=("query_id", "query", "positive_passages", "negative_passages"),
        formats=("jsonl", "parquet"),
        needs="some negatives",
        arrange=per_query,
        build=passages,
        takes=frozenset({"negatives", "scores"}),
    ),
)
