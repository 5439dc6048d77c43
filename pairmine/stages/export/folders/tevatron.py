"""Training folders for Tevatron 2: queries with the ids of their documents, and a corpus."""

from __future__ import annotations

import pyarrow as pa

from pairmine.stages.export.folders.by_id import IDS, Chunk, Files, documents, id_lists
from pairmine.stages.export.plan import Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows, document_ids, query_ids


def by_ids(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query_id`, `query_text`, `positive_document_ids`, `negative_document_ids`."""
    columns = {
        "query_id": query_ids(rows, plan.anchors),
        "query_text": rows.query_texts.plain(plan.anchors),
        "positive_document_ids": id_lists(rows, plan.positives),
        "negative_document_ids": id_lists(rows, plan.negatives),
    }
    types = [pa.string(), pa.large_string(), IDS, IDS]
    return pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True))))


def fill(chunk: Chunk) -> Files:
    """The training rows, and `docid` and `text` of their documents.

    The README of Tevatron calls the text `document_text`, its code reads `text`. There is no `title`: training would
    leave it out, and encoding put it in front once more.
    """
    new = documents(chunk).rows
    corpus = {"docid": document_ids(chunk.rows, new), "text": chunk.rows.documents.plain(new)}
    return {"train.jsonl": chunk.kept, "corpus.jsonl": pa.table(corpus)}


TARGETS = (
    Target(
        name="tevatron-v2",
        trainer="Tevatron",
        version="its repository of 2025",
        summary="queries with document ids, and a corpus (its new layout); --dataset_path and --corpus_path",
        columns=("query_id", "query_text", "positive_document_ids", "negative_document_ids"),
        formats=("folder",),
        needs="some negatives",
        arrange=per_query,
        build=by_ids,
        takes=frozenset({"negatives"}),
        fill=fill,
        corpus={"corpus.jsonl": {"docid": "id", "text": "text"}},
    ),
)
