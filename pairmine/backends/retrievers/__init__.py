"""Retrievers: the best documents for each query, and the score of any pair."""

from __future__ import annotations

from typing import Any

from pairmine.backends.retrievers.bm25 import Bm25Retriever, lexical_words
from pairmine.backends.retrievers.dense import DenseRetriever
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits, Retriever, best
from pairmine.backends.specs import Spec

__all__ = [
    "NOT_FOUND",
    "Bm25Retriever",
    "DenseRetriever",
    "Hits",
    "Retriever",
    "best",
    "lexical_words",
    "open_retriever",
]


def open_retriever(spec: Spec, *, score: str | None = None, threads: int = 0, **settings: Any) -> Retriever:
    """The retriever that `spec` names; `settings` go to the encoder of a dense one."""
    from pairmine.backends.encoders import open_encoder

    if spec.kind == "bm25":
        return Bm25Retriever(spec)
    return DenseRetriever(spec, open_encoder(spec, **settings), score=score or "dense", threads=threads)
