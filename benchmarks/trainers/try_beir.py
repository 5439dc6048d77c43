"""BEIR's loader on its folder."""

from __future__ import annotations

from pathlib import Path

from _trial import Seen, Setting, Trial, main
from beir.datasets.data_loader import GenericDataLoader


def loaded(folder: Path, setting: Setting) -> Seen:
    """The judgments, each of a query and a document that are there."""
    corpus, queries, judged = GenericDataLoader(str(folder)).load(split="test")
    pairs = [(query, document) for query, found in judged.items() for document in found]
    if not all(queries[query] and corpus[document]["text"] for query, document in pairs):
        raise RuntimeError("a judged text is missing")
    return Seen(len(pairs), ["corpus", "queries", "qrels"])


TRIALS = (Trial("beir", "GenericDataLoader", loaded, ending=""),)

if __name__ == "__main__":
    main("BEIR", "beir", TRIALS)
