"""GPL's dataset of margins, beside the BEIR folder that it looks texts up in, and steps of its loss."""

from __future__ import annotations

from pathlib import Path

import torch
from _trial import BATCH, RATE, STEPS, TOKENS, Seen, Setting, Trial, main
from beir.datasets.data_loader import GenericDataLoader
from gpl.toolkit.dataset import GenerativePseudoLabelingDataset
from gpl.toolkit.loss import MarginDistillationLoss
from sentence_transformers import SentenceTransformer


def distilled(folder: Path, setting: Setting) -> Seen:
    """Steps on one batch, as `gpl.train` takes them."""
    corpus, queries, _ = GenericDataLoader(str(folder), prefix="qgen").load(split="train")
    rows = GenerativePseudoLabelingDataset(str(folder / "gpl-training-data.tsv"), queries, corpus)
    examples = [rows[number] for number in range(len(rows))][:: max(1, len(rows) // BATCH)][:BATCH]
    model = SentenceTransformer(str(setting.model), device="cpu")
    model.max_seq_length = TOKENS
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    loss, losses = MarginDistillationLoss(model), []
    for _ in range(STEPS):
        features, margins = model.smart_batching_collate(examples)
        found = loss(features, margins)
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(found.item())
    return Seen(len(rows), ["query", "positive", "negative", "margin"], losses)


RAN = "GenerativePseudoLabelingDataset, MarginDistillationLoss"
TRIALS = (Trial("gpl", RAN, distilled, ("--scores", "dense"), ending=""),)

if __name__ == "__main__":
    main("GPL", "gpl", TRIALS)
