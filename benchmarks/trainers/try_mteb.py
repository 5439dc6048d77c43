"""MTEB's retrieval loader on a folder; a repository of the hub is the same to it."""

from __future__ import annotations

from pathlib import Path

from _trial import Seen, Setting, Trial, main
from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader


def loaded(folder: Path, setting: Setting) -> Seen:
    """The judgments, each of a query and a document that are there."""
    data = RetrievalDatasetLoader(str(folder), revision="main").load()
    queries, corpus = set(data["queries"]["id"]), set(data["corpus"]["id"])
    listed = data["top_ranked"] or {}
    for found in (data["relevant_docs"], listed):
        if not all(query in queries and corpus.issuperset(documents) for query, documents in found.items()):
            raise RuntimeError("a judged query or document is missing")
    judged = sum(len(found) for found in data["relevant_docs"].values())
    return Seen(judged, ["corpus", "queries", "qrels", *(["top_ranked"] if listed else [])])


TRIALS = tuple(Trial(target, "RetrievalDatasetLoader", loaded, ending="") for target in ("mteb", "mteb-reranking"))

if __name__ == "__main__":
    main("MTEB", "mteb", TRIALS)
