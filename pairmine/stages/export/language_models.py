"""Training files for rerankers that are language models: chats whose last turn is yes or no."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import POSITIVE
from pairmine.stages.export.plan import Options, Plan, Target, per_positive
from pairmine.stages.export.rows import PairRows, labels

_INSTRUCTION = "Given a search query, find documents that answer it."
_SYSTEM = 'Say whether the document does for the query what the instruction asks. The answer is "yes" or "no".'
_TURN = pa.struct([("role", pa.string()), ("content", pa.large_string())])


def reranker_sft(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`messages`, in the layout that Qwen3-Reranker reads: instruction, query, document, then yes or no.

    Dai et al. 2025 (arXiv 2510.14824) find such rows better than contrastive ones for rerankers of this kind.
    """
    instruction = options.prompt or _INSTRUCTION
    queries = rows.query_texts.plain(plan.anchors)
    documents = rows.documents.plain(plan.positives.rows)
    start, middle, nothing = (
        pa.scalar(text, pa.large_string()) for text in (f"<Instruct>: {instruction}\n<Query>: ", "\n<Document>: ", "")
    )
    asked = pc.binary_join_element_wise(start, queries, middle, documents, nothing)
    is_positive = pa.array(labels(rows.pairs)[plan.positives.rows] == POSITIVE)
    answers = pc.if_else(is_positive, "yes", "no").cast(pa.large_string())
    return pa.table({"messages": _chats(asked, answers)})


def _chats(asked: pa.Array, answers: pa.Array) -> pa.ListArray:
    """A chat of three turns for each: the system's, what is `asked`, the answer."""
    count = len(asked)
    contents = pa.concat_arrays([pa.array([_SYSTEM], pa.large_string()), asked, answers])
    each = np.arange(count)
    order = np.stack([np.zeros(count, np.int64), 1 + each, 1 + count + each], axis=1).reshape(-1)
    roles = pa.array(["system", "user", "assistant"]).take(pa.array(np.tile([0, 1, 2], count)))
    turns = pa.StructArray.from_arrays([roles, contents.take(pa.array(order))], fields=list(_TURN))
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * 3, pa.int32()), turns)


TARGETS = (
    Target(
        name="reranker-sft",
        trainer="language models",
        version="the chat template of Qwen3-Reranker",
        summary="a chat per pair that ends in yes or no, for rerankers that are language models",
        columns=("messages",),
        formats=("jsonl", "parquet"),
        needs="single pairs",
        arrange=per_positive,
        build=reranker_sft,
        takes=frozenset({"prompt"}),
    ),
)
