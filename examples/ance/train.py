"""A few steps of contrastive training, as short as it can be: put your own trainer in its place.

    python3 train.py MODEL train.parquet OUT

MODEL is a name, a folder, or the MiniLM that pairmine brings along; the rows are an anchor, its positive and its
negatives. OUT appears when all of it is written.
"""

import random
import shutil
import sys
from pathlib import Path

STEPS = 8
BATCH = 8
TOKENS = 64
SCALE = 20.0


def main(model: str, data: str, out: str) -> None:
    import pyarrow.parquet as pq
    import torch
    from sentence_transformers import SentenceTransformer

    from pairmine.backends.specs import locate, parse_spec

    torch.manual_seed(0)
    encoder = SentenceTransformer(locate(parse_spec(f"st:{model}", ("st",), "MODEL"), "MODEL"), device="cpu")
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=5e-5)
    rows = pq.read_table(data).to_pylist()
    random.Random(0).shuffle(rows)
    anchor, *others = rows[0]

    def embed(texts: list[str]) -> torch.Tensor:
        features = encoder.tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
        return torch.nn.functional.normalize(encoder(dict(features))["sentence_embedding"], dim=1)

    encoder.train()
    for step in range(STEPS):
        batch = [rows[(step * BATCH + at) % len(rows)] for at in range(min(BATCH, len(rows)))]
        documents = embed([row[name] for name in others for row in batch])
        # Each anchor's positive stands at its own number; all other documents are its negatives.
        scores = SCALE * embed([row[anchor] for row in batch]) @ documents.T
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(batch)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"{out}: loss {loss.item():.3f} after {STEPS} steps", file=sys.stderr)
    partial = Path(f"{out}.partial")
    encoder.save(str(partial))
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
