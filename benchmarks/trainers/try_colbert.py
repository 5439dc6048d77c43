"""The batches that ColBERT trains on, of its own triples, queries and collection."""

from __future__ import annotations

from pathlib import Path

from _trial import BATCH, Seen, Setting, Trial, main
from colbert.infra.config.config import ColBERTConfig
from colbert.training.lazy_batcher import LazyBatcher


def batches(folder: Path, setting: Setting) -> Seen:
    """Every batch of a run, tokenized."""
    config = ColBERTConfig(bsize=BATCH, accumsteps=1, nway=2, checkpoint=str(setting.model))
    parts = [folder / "triples.train.colbert.jsonl", *sorted(folder.glob("*.train.colbert.tsv"), reverse=True)]
    batcher = LazyBatcher(config, *(str(part) for part in parts))
    made = sum(1 for _ in batcher)
    if made != len(batcher.triples) // BATCH:
        raise RuntimeError(f"{made} batches of {len(batcher.triples)} triples")
    return Seen(len(batcher.triples), ["query", "positive", "negative"])


TRIALS = (Trial("colbert-triples", "LazyBatcher, every batch of it", batches, ending=""),)

if __name__ == "__main__":
    main("ColBERT", "colbert-ai", TRIALS)
