"""Training folders for NeMo Automodel's retriever recipes, and for its miner, which reads no other layout."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from pairmine.stages.export.folders.by_id import Chunk, Files, Shared, documents
from pairmine.stages.export.plan import Lists, Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows, document_ids, query_ids
from pairmine.stages.export.scores import scores, short


def questions(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`question_id`, `question`, `pos_doc` and `neg_doc`, lists of ids, with a score where one was asked for."""
    columns = {
        "question_id": query_ids(rows, plan.anchors),
        "question": rows.query_texts.plain(plan.anchors),
        "pos_doc": _references(rows, plan.positives, options),
        "neg_doc": _references(rows, plan.negatives, options),
    }
    kind = columns["neg_doc"].type
    types = [pa.string(), pa.large_string(), kind, kind]
    return pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True))))


def _references(rows: PairRows, lists: Lists, options: Options) -> pa.ListArray:
    parts: dict[str, pa.Array] = {"id": document_ids(rows, lists.rows)}
    if options.scores:
        parts["score"] = short(scores(rows, options.scores, lists.rows))
    return lists.arrow(pa.StructArray.from_arrays(list(parts.values()), names=list(parts)))


def fill(chunk: Chunk) -> Files:
    """The questions, and `id` and `text` of their documents in a folder of their own."""
    name = pa.array(np.full(chunk.kept.num_rows, chunk.shared.name), pa.string())
    new = documents(chunk).rows
    corpus = {"id": document_ids(chunk.rows, new), "text": chunk.rows.documents.plain(new)}
    return {"train.json": chunk.kept.add_column(2, "corpus_id", name), "corpus/train.parquet": pa.table(corpus)}


def texts(shared: Shared, options: Options) -> dict[str, str]:
    """What the corpus is called: sets that are trained on together need names of their own, so it is the folder's."""
    about = {"class": "TextQADataset", "corpus_id": shared.name}
    if options.prompt is not None:
        about["query_instruction"] = options.prompt
    return {"corpus/merlin_metadata.json": json.dumps(about, ensure_ascii=False, indent=2) + "\n"}


TARGETS = (
    Target(
        name="nemo-corpus",
        trainer="NeMo Automodel",
        version="0.7.0",
        summary="questions with document ids, and a corpus folder; trains on the first positive of a question",
        columns=("question_id", "question", "corpus_id", "pos_doc", "neg_doc"),
        formats=("folder",),
        needs="some negatives",
        arrange=per_query,
        build=questions,
        takes=frozenset({"negatives", "scores", "prompt"}),
        fill=fill,
        corpus={"corpus/train.parquet": {"id": "id", "text": "text"}},
        texts=texts,
        layouts={"train.json": ('{"corpus": [{"path": "./corpus"}], "data": [\n', "\n]}\n")},
    ),
)
