"""Evaluation sets: BEIR's folder, and the tables that MTEB reads; pairmine reads the first one too."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.stages.export.folders.by_id import IDS, Chunk, Files, Fill, check_ids, documents, queries
from pairmine.stages.export.plan import Lists, Options, Plan, Target, joined, per_query
from pairmine.stages.export.rows import PairRows, document_ids, one_array, query_ids
from pairmine.stages.export.titles import bare_texts, titles

SPLIT = "test"
"""What BEIR and MTEB read unless they are told otherwise; a pair set's column `split` says it instead."""

_BEIR = {"corpus.jsonl": {"_id": "id", "title": "title", "text": "bare text"}}
_MTEB = {"corpus.parquet": {"id": "id", "title": "title", "text": "bare text"}}
_PLAIN = re.compile(r"[\w-][\w.-]*")


def judgments(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query-id`, `corpus-id`, `score`: 1 for a positive, 0 for a negative; a pair that comes again is there once."""
    lists, score = _judged(rows, plan)
    owner = np.repeat(plan.anchors, lists.sizes)
    columns = {
        "query-id": query_ids(rows, owner),
        "corpus-id": document_ids(rows, lists.rows),
        "score": pa.array(score, pa.int32()),
    }
    return pa.table(columns, schema=pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), _SCORE]))


_SCORE = pa.field("score", pa.int32())


def _judged(rows: PairRows, plan: Plan) -> tuple[Lists, np.ndarray]:
    """The pairs of each query, positives first, each document once; and their scores."""
    lists = joined(plan.positives, plan.negatives)
    owner = np.repeat(np.arange(len(plan.anchors)), lists.sizes)
    document = document_ids(rows, lists.rows).dictionary_encode().indices.to_numpy().astype(np.int64)
    pair = owner * (document.max(initial=0) + 1) + document
    first = np.sort(np.unique(pair, return_index=True)[1])
    sizes = np.bincount(owner[first], minlength=len(plan.anchors))
    kept = lists.rows[first]
    return Lists(np.append(0, np.cumsum(sizes)), kept), rows.positive[kept].astype(np.int32)


def _by_split(chunk: Chunk, table: pa.Table, anchors: np.ndarray) -> list[tuple[str, pa.Table]]:
    """The rows of `table` by the split of the queries at `anchors`, (n,) pair rows."""
    if "split" not in chunk.rows.pairs.column_names:
        return [(SPLIT, table)]
    names = one_array(chunk.rows.pairs["split"].cast(pa.string())).take(pa.array(anchors))
    if names.null_count:
        raise PairmineError(f'"split" is null in {names.null_count} of {len(names)} rows to export; name one for each')
    for name in (found := pc.unique(names).to_pylist()):
        if not _PLAIN.fullmatch(name):
            raise PairmineError(f'"split" holds {name!r}, which cannot be the name of a file; use letters and digits')
    return [(name, table.filter(pc.equal(names, name))) for name in found]


def _texts(chunk: Chunk, id_name: str) -> tuple[pa.Table, pa.Table]:
    """The corpus and the queries, with their ids under `id_name`."""
    rows, new, asked = chunk.rows, documents(chunk).rows, queries(chunk)
    corpus = {id_name: document_ids(rows, new), "title": titles(rows, new), "text": bare_texts(rows, new)}
    return pa.table(corpus), pa.table({id_name: query_ids(rows, asked), "text": rows.query_texts.plain(asked)})


def beir(chunk: Chunk) -> Files:
    """`corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`."""
    for name in ("query-id", "corpus-id"):
        check_ids(one_array(chunk.kept[name]), name.removesuffix("-id"), "beir")
    corpus, asked = _texts(chunk, "_id")
    lists, _ = _judged(chunk.rows, chunk.plan)
    parts = _by_split(chunk, chunk.kept, np.repeat(chunk.plan.anchors, lists.sizes))
    qrels = {f"qrels/{name}.tsv": part for name, part in parts}
    return {"corpus.jsonl": corpus, "queries.jsonl": asked, **qrels}


def mteb(chunk: Chunk) -> Files:
    """`corpus.parquet`, `queries.parquet`, `qrels/SPLIT.parquet`."""
    corpus, asked = _texts(chunk, "id")
    lists, _ = _judged(chunk.rows, chunk.plan)
    parts = _by_split(chunk, chunk.kept, np.repeat(chunk.plan.anchors, lists.sizes))
    return {"corpus.parquet": corpus, "queries.parquet": asked} | {
        f"qrels/{name}.parquet": part for name, part in parts
    }


def mteb_reranking(chunk: Chunk) -> Files:
    """The same with `top_ranked/SPLIT.parquet`, the documents to rank for each query, in the order of their ids.

    In the order of the pair set the positives would stand first, and every tie would be decided for them.
    """
    lists, _ = _judged(chunk.rows, chunk.plan)
    ids = document_ids(chunk.rows, lists.rows)
    rank = np.empty(len(ids), np.int64)
    rank[pc.sort_indices(ids).to_numpy()] = np.arange(len(ids))
    order = np.lexsort((rank, np.repeat(np.arange(len(lists.sizes)), lists.sizes)))
    columns = {
        "query-id": query_ids(chunk.rows, chunk.plan.anchors),
        "corpus-ids": lists.arrow(ids.take(pa.array(order))),
    }
    table = pa.table(columns, schema=pa.schema([("query-id", pa.string()), ("corpus-ids", IDS)]))
    parts = _by_split(chunk, table, chunk.plan.anchors)
    return mteb(chunk) | {f"top_ranked/{name}.parquet": part for name, part in parts}


def _target(name: str, trainer: str, summary: str, fill: Fill) -> Target:
    return Target(
        name=name,
        trainer=trainer,
        version={"BEIR": "2.2.0", "MTEB": "2.20.0"}[trainer],
        summary=summary,
        columns=("query-id", "corpus-id", "score"),
        formats=("folder",),
        needs="any negatives",
        arrange=per_query,
        build=judgments,
        takes=frozenset({"negatives"}),
        fill=fill,
        corpus=_BEIR if trainer == "BEIR" else _MTEB,
    )


TARGETS = (
    _target("beir", "BEIR", "corpus.jsonl, queries.jsonl and qrels, to evaluate on; negatives are judged 0", beir),
    _target("mteb", "MTEB", "corpus, queries and qrels as the tables that its retrieval tasks read", mteb),
    _target("mteb-reranking", "MTEB", "the same with the documents to rank for each query", mteb_reranking),
)
