"""Training files for FlagEmbedding: one JSON object per query, with lists of positives and negatives.

Which keys a file has depends on the options alone: the trainer joins its files, and fills a key that one of them
lacks with nothing.
"""

from __future__ import annotations

import pyarrow as pa

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows
from pairmine.stages.export.scores import SCORES, score_lists

TRAINER = "FlagEmbedding"
VERSION = "1.4.2"
ENDINGS = (".jsonl", ".json")
_TEXTS = pa.list_(pa.large_string())


def embedder(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `pos`, `neg`; with scores `pos_scores` and `neg_scores`; with a prompt `prompt`; with a task `type`.

    FlagEmbedding heeds `prompt` only where its argument `query_instruction_for_retrieval` is set too.
    """
    return _with_constants(_groups(rows, plan, options), prompt=options.prompt, type=options.task)


def reranker(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """As for embedders, with the keys that its rerankers read for instructions: `query_prompt`, `passage_prompt`.

    They are heeded where `query_instruction_for_rerank` and `passage_instruction_for_rerank` are set too.
    """
    groups = _groups(rows, plan, options)
    return _with_constants(groups, query_prompt=options.prompt, passage_prompt=options.passage_prompt)


def _groups(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    columns: dict[str, tuple[pa.DataType, pa.Array]] = {
        "query": (TEXT, rows.query_texts.take(plan.anchors)),
        "pos": (_TEXTS, plan.positives.arrow(rows.documents.plain(plan.positives.rows))),
        "neg": (_TEXTS, plan.negatives.arrow(rows.documents.plain(plan.negatives.rows))),
    }
    if options.scores:
        columns["pos_scores"] = SCORES, score_lists(rows, options.scores, plan.positives)
        columns["neg_scores"] = SCORES, score_lists(rows, options.scores, plan.negatives)
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    return pa.table([values for _, values in columns.values()], schema=schema)


def _with_constants(table: pa.Table, **texts: str | None) -> pa.Table:
    for name, text in texts.items():
        if text is not None:
            table = table.append_column(name, pa.repeat(pa.scalar(text), table.num_rows))
    return table


TARGETS = (
    Target(
        name="flag-embedder",
        trainer=TRAINER,
        version=VERSION,
        summary="a JSON object per query with lists of positives and negatives, for its embedders",
        columns=("query", "pos", "neg", "pos_scores", "neg_scores", "prompt", "type"),
        formats=("jsonl",),
        endings=ENDINGS,
        needs="some negatives",
        arrange=per_query,
        build=embedder,
        takes=frozenset({"negatives", "scores", "prompt", "task"}),
    ),
    Target(
        name="flag-reranker",
        trainer=TRAINER,
        version=VERSION,
        summary="the same for its rerankers, whose instructions stand under other keys",
        columns=("query", "pos", "neg", "pos_scores", "neg_scores", "query_prompt", "passage_prompt"),
        formats=("jsonl",),
        endings=ENDINGS,
        needs="some negatives",
        arrange=per_query,
        build=reranker,
        takes=frozenset({"negatives", "scores", "prompt", "passage-prompt"}),
    ),
)
