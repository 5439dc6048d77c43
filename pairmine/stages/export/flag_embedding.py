"""Training files for FlagEmbedding: one JSON object per query, with lists of positives and negatives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import TEXT
from pairmine.stages.export.plan import Lists, Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows, one_array


def embedder(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `pos`, `neg`; with scores `pos_scores` and `neg_scores`; with a prompt `prompt`.

    FlagEmbedding heeds `prompt` only where its argument `query_instruction_for_retrieval` is set too.
    """
    columns: dict[str, pa.Array] = {
        "query": rows.query_texts.take(plan.anchors),
        "pos": plan.positives.arrow(rows.documents.plain(plan.positives.rows)),
        "neg": plan.negatives.arrow(rows.documents.plain(plan.negatives.rows)),
    }
    types: dict[str, pa.DataType] = {
        "query": TEXT,
        "pos": pa.list_(pa.large_string()),
        "neg": pa.list_(pa.large_string()),
    }
    if options.scores:
        for name, lists in (("pos_scores", plan.positives), ("neg_scores", plan.negatives)):
            columns[name] = lists.arrow(_scores(rows, options.scores, lists))
            types[name] = pa.list_(pa.float64())
    if options.prompt is not None:
        columns["prompt"] = pa.repeat(pa.scalar(options.prompt), len(plan.anchors))
        types["prompt"] = pa.string()
    return pa.table(columns, schema=pa.schema(list(types.items())))


def _scores(rows: PairRows, name: str, lists: Lists) -> pa.Array:
    """The scores as float64 with the few digits that name the float32: 0.9, not 0.8999999761581421."""
    scores = one_array(rows.pairs[name]).take(pa.array(lists.rows))
    missing = len(scores) - int(np.sum(pc.is_finite(scores).fill_null(False).to_numpy(zero_copy_only=False)))
    if missing:
        raise PairmineError(
            f"{missing} of {len(scores)} rows to export have no {name}; run 'pairmine score' on them first"
        )
    return scores.cast(pa.string()).cast(pa.float64())


TARGETS = (
    Target(
        name="flag-embedder",
        trainer="FlagEmbedding",
        summary="a JSON object per query with lists of positives and negatives, for its embedders",
        columns=("query", "pos", "neg", "pos_scores", "neg_scores", "prompt"),
        formats=("jsonl",),
        needs="some negatives",
        arrange=per_query,
        build=embedder,
        takes=frozenset({"negatives", "scores", "prompt"}),
    ),
)
