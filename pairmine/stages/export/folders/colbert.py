"""Training folders for ColBERT and RAGatouille: triples of numbers, and tab-separated texts by number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.stages.export.folders.by_id import Chunk, Files, documents, queries
from pairmine.stages.export.plan import Options, Plan, Target, per_positive_and_negative
from pairmine.stages.export.rows import PairRows, document_ids, query_ids


def id_triples(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query_id`, `positive_id`, `negative_id`."""
    columns = {
        "query_id": query_ids(rows, plan.anchors),
        "positive_id": document_ids(rows, plan.positives.rows),
        "negative_id": document_ids(rows, plan.negatives.rows),
    }
    return pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns]))


def fill(chunk: Chunk) -> Files:
    """The triples, the texts by number, and the ids that the numbers stand for.

    ColBERT reads whole numbers alone, and takes the line of a passage for its number.
    """
    plan, found, asked = chunk.plan, documents(chunk), queries(chunk)
    numbers = chunk.shared.queries + np.arange(len(asked))
    chunk.shared.queries += len(asked)
    triples = {
        "query": numbers[np.searchsorted(asked, plan.anchors)],
        "positive": found.number[plan.positives.rows],
        "negative": found.number[plan.negatives.rows],
    }
    new = found.number[found.rows]
    return {
        "triples.train.colbert.jsonl": pa.table(triples),
        "queries.train.colbert.tsv": pa.table({"qid": numbers, "text": chunk.rows.query_texts.plain(asked)}),
        "corpus.train.colbert.tsv": pa.table({"pid": new, "text": chunk.rows.documents.plain(found.rows)}),
        "queries.ids.parquet": pa.table({"qid": numbers, "query_id": query_ids(chunk.rows, asked)}),
        "corpus.ids.parquet": pa.table({"pid": new, "doc_id": document_ids(chunk.rows, found.rows)}),
    }


TARGETS = (
    Target(
        name="colbert-triples",
        trainer="ColBERT, RAGatouille",
        version="ColBERT 0.2, RAGatouille 0.0.9",
        summary="triples of numbers, queries and corpus as tab-separated texts; each positive with each negative",
        columns=("query", "positive", "negative"),
        formats=("folder",),
        needs="some negatives",
        arrange=per_positive_and_negative,
        build=id_triples,
        takes=frozenset({"negatives"}),
        fill=fill,
        corpus={
            "corpus.train.colbert.tsv": {"pid": "number", "text": "text"},
            "corpus.ids.parquet": {"pid": "number", "doc_id": "id"},
        },
        layouts={
            "triples.train.colbert.jsonl": "arrays",
            "queries.train.colbert.tsv": "bare tsv",
            "corpus.train.colbert.tsv": "bare tsv",
        },
    ),
)
