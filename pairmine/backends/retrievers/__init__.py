"""Retrievers: the best documents for each query, and the score of any pair."""

from __future__ import annotations

from typing import Any

from pairmine.backends.retrievers.bm25 import Bm25Retriever, lexical_words
from pairmine.backends.retrievers.dense import DenseRetriever, Embed, MakeSearcher, embed_in_memory
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits, Retriever, best
from pairmine.backends.retrievers.ready import ReadyRetriever
from pairmine.backends.retrievers.runs import RunRetriever
from pairmine.backends.specs import Spec

__all__ = [
    "NOT_FOUND",
    "Bm25Retriever",
    "DenseRetriever",
    "Hits",
    "MakeSearcher",
    "ReadyRetriever",
    "Retriever",
    "RunRetriever",
    "best",
    "lexical_words",
    "open_retriever",
]


def open_retriever(
    spec: Spec,
    *,
    score: str | None = None,
    threads: int = 0,
    embed: Embed = embed_in_memory,
    make_searcher: MakeSearcher | None = None,
    budget_bytes: int = 1 << 30,
    search_device: str | None = None,
    **settings: Any,
) -> Retriever:
    """The retriever that `spec` names; `settings` go to the encoder of a dense one, the others as `DenseRetriever`."""
    from pairmine.backends.encoders import open_encoder

    if spec.kind == "bm25":
        return Bm25Retriever(spec, threads=threads, **settings)
    if spec.kind == "run":
        return RunRetriever(spec, score=score or "run", **settings)
    if spec.kind == "npy":
        return ReadyRetriever(
            spec,
            score=score or "dense",
            threads=threads,
            make_searcher=make_searcher,
            budget_bytes=budget_bytes,
            device=search_device,
            **settings,
        )
    return DenseRetriever(
        spec,
        open_encoder(spec, **settings),
        score=score or "dense",
        threads=threads,
        embed=embed,
        make_searcher=make_searcher,
        budget_bytes=budget_bytes,
        device=search_device,
    )
