"""Training folders for contrastors: compressed shards, with where each line begins and ends."""

from __future__ import annotations

import pyarrow as pa

from pairmine.stages.export.folders.by_id import Chunk, Files
from pairmine.stages.export.plan import Options, Plan, Target, per_positive
from pairmine.stages.export.rows import PairRows
from pairmine.stages.export.scores import SCORES, score_lists, scores, short

_COLUMNS = pa.list_(pa.list_(pa.string()))
_OBJECTIVE = pa.struct([("self", _COLUMNS), ("paired", _COLUMNS), ("triplet", _COLUMNS)])
_METADATA = pa.struct([("objective", _OBJECTIVE)])
_OBJECTIVES = {"self": [], "paired": [["query", "document"]], "triplet": [["query", "document", "negatives"]]}


def grouped(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `document`, `negatives` and `metadata`; with scores `document_score` and `negatives_scores`.

    A batch is flattened into one list of texts, so every row has as many negatives as the others.
    """
    texts = pa.large_string()
    columns = {
        "query": rows.query_texts.plain(plan.anchors),
        "document": rows.documents.plain(plan.positives.rows),
        "negatives": plan.negatives.arrow(rows.documents.plain(plan.negatives.rows)),
    }
    types = [texts, texts, pa.list_(texts)]
    if options.scores:
        columns["document_score"] = short(scores(rows, options.scores, plan.positives.rows))
        columns["negatives_scores"] = score_lists(rows, options.scores, plan.negatives)
        types += [pa.float64(), SCORES]
    columns["metadata"] = pa.array([{"objective": _OBJECTIVES}] * len(plan.anchors), _METADATA)
    return pa.table(columns, schema=pa.schema(list(zip(columns, [*types, _METADATA], strict=True))))


def fill(chunk: Chunk) -> Files:
    """The shards; their counts and offsets come with them."""
    return {"shard-{number}.jsonl.gz": chunk.kept}


TARGETS = (
    Target(
        name="contrastors",
        trainer="contrastors",
        version="its repository of 2025",
        summary="compressed shards with counts.json and offsets.json.gz, which name OUT: do not move it",
        columns=("query", "document", "negatives", "metadata"),
        formats=("folder",),
        needs="equal negatives",
        arrange=per_positive,
        build=grouped,
        takes=frozenset({"negatives", "scores"}),
        fill=fill,
        layouts={"shard-{number}.jsonl.gz": "shards"},
    ),
)
