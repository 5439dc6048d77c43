"""Folders of ids and texts, joined while training: PyLate's distillation, resolve_ids of sentence-transformers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.stages.export.folders.by_id import IDS, Chunk, Files, documents, id_lists, queries
from pairmine.stages.export.plan import Lists, Options, Plan, Target, joined, per_positive
from pairmine.stages.export.rows import PairRows, document_ids, query_ids
from pairmine.stages.export.scores import SCORES, scores, short


def distilled(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query_id`, `document_ids`, `scores`: the positive first, then the negatives from the highest score down.

    Trainers keep the first so many as they stand, and make a matrix of the scores, so all rows are of one length.
    """
    lists = joined(plan.positives, plan.negatives)
    values = scores(rows, options.scores or "", lists.rows)
    order = _best_first(lists, values)
    columns = {
        "query_id": query_ids(rows, plan.anchors),
        "document_ids": lists.arrow(document_ids(rows, lists.rows[order])),
        "scores": lists.arrow(short(values[order])),
    }
    types = [pa.string(), IDS, SCORES]
    return pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True))))


def _best_first(lists: Lists, values: np.ndarray) -> np.ndarray:
    """The order within each list that leaves its first item there and sorts the others, highest score first."""
    owner = np.repeat(np.arange(len(lists.sizes)), lists.sizes)
    is_first = np.zeros(len(values), bool)
    is_first[lists.offsets[:-1]] = True
    return np.lexsort((-values, ~is_first, owner))


def ids(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query_id`, `positive_id`, `negative_ids`, which `resolve_ids` turns into query, positive, negative_1 to n.

    With scores it is what `pylate-kd` is: `resolve_ids` reads that as query, document_1 to n + 1 and scores.
    """
    if options.scores:
        return distilled(rows, plan, options)
    columns = {
        "query_id": query_ids(rows, plan.anchors),
        "positive_id": document_ids(rows, plan.positives.rows),
        "negative_ids": id_lists(rows, plan.negatives),
    }
    types = [pa.string(), pa.string(), IDS]
    return pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True))))


def fill(chunk: Chunk) -> Files:
    """The training rows, `query_id` and `text` of their queries, `document_id` and `text` of their documents."""
    new, asked = documents(chunk).rows, queries(chunk)
    texts = {"document_id": document_ids(chunk.rows, new), "text": chunk.rows.documents.plain(new)}
    questions = {"query_id": query_ids(chunk.rows, asked), "text": chunk.rows.query_texts.plain(asked)}
    return {
        "train.parquet": chunk.kept,
        "queries.parquet": pa.table(questions),
        "documents.parquet": pa.table(texts),
    }


TARGETS = (
    Target(
        name="pylate-kd",
        trainer="PyLate",
        version="1.6.0",
        summary="document ids with scores, queries and documents, for its knowledge distillation; needs --scores",
        columns=("query_id", "document_ids", "scores"),
        formats=("folder",),
        needs="equal negatives",
        arrange=per_positive,
        build=distilled,
        takes=frozenset({"negatives", "scores"}),
        requires=frozenset({"scores"}),
        fill=fill,
        corpus={"documents.parquet": {"document_id": "id", "text": "text"}},
    ),
    Target(
        name="st-ids",
        trainer="sentence-transformers",
        version="6.2.0",
        summary="ids, queries and documents, for its resolve_ids (6.0 and later)",
        columns=("query_id", "positive_id", "negative_ids"),
        formats=("folder",),
        needs="equal negatives",
        arrange=per_positive,
        build=ids,
        takes=frozenset({"negatives", "scores"}),
        fill=fill,
        corpus={"documents.parquet": {"document_id": "id", "text": "text"}},
    ),
)
