"""Training files for rerankers that are language models: chats whose last turn is yes or no."""

from __future__ import annotations

import pyarrow as pa

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
    queries = rows.query_texts.plain(plan.anchors).to_pylist()
    documents = rows.documents.plain(plan.positives.rows).to_pylist()
    answers = ["yes" if label == POSITIVE else "no" for label in labels(rows.pairs)[plan.positives.rows]]
    chats = [
        [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"},
            {"role": "assistant", "content": answer},
        ]
        for query, document, answer in zip(queries, documents, answers, strict=True)
    ]
    return pa.table({"messages": pa.array(chats, pa.list_(_TURN))})


TARGETS = (
    Target(
        name="reranker-sft",
        trainer="supervised fine-tuning of a language model",
        summary="a chat per pair that ends in yes or no, for rerankers that are language models",
        columns=("messages",),
        formats=("jsonl", "parquet"),
        needs="single pairs",
        arrange=per_positive,
        build=reranker_sft,
        takes=frozenset({"prompt"}),
    ),
)
