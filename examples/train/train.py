"""Fine-tune a bi-encoder on an export, batch by batch as `pairmine mix` planned them, and say what that changed.

    python3 train.py MODEL train.parquet test.parquet documents.parquet OUT

MODEL is a name, a folder, or the MiniLM that pairmine brings along. train.parquet is an export to st-ntuple with its
sidecar beside it; the queries of the pair set test.parquet are searched for among the documents, before and after.
OUT, a folder, appears when the model is whole.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer

TOKENS = 64
RATE = 2e-5
SCALE = 20.0
CUT = 10


def batches(data: str) -> Iterator[list[list[str]]]:
    """The planned batches in their order: an anchor, its positive and its negatives in each row.

    What fills a batch is for `pairmine mix` to say, and nothing is shuffled here: the plan is drawn by a seed already.
    """
    rows = zip(*pq.read_table(data).to_pydict().values(), strict=True)
    planned = pq.read_table(f"{data}.ids.parquet", columns=["batch"])["batch"].to_pylist()
    for _, batch in groupby(zip(planned, rows, strict=True), key=itemgetter(0)):
        yield [list(row) for _, row in batch]


def vectors(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    """A unit vector for each text, ready for a backward pass."""
    features = model.tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    return torch.nn.functional.normalize(model(dict(features))["sentence_embedding"].float(), dim=1)


def train(model: SentenceTransformer, plan: list[list[list[str]]]) -> None:
    """A step for each batch, the rate falling to nothing; all positives and negatives of the others are negatives."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    model.train()
    for step, batch in enumerate(plan):
        optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / (0.1 * len(plan)), 1 - step / len(plan))
        anchors, *documents = zip(*batch, strict=True)
        with torch.autocast("cpu", torch.bfloat16):
            found = vectors(model, [text for column in documents for text in column])
            asked = vectors(model, list(anchors))
        # Each anchor's positive stands at the anchor's own number.
        loss = torch.nn.functional.cross_entropy(SCALE * asked @ found.T, torch.arange(len(batch)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"batch {step + 1} of {len(plan)}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    model.eval()


def ndcg(model: SentenceTransformer, pairs: str, corpus: str) -> float:
    """Mean nDCG at `CUT` of the queries of a pair set, searched for among all documents of a corpus."""
    documents = dict(_columns(corpus, "doc_id", "document"))
    ids = list(documents)
    queries, positives = dict(_columns(pairs, "query_id", "query")), dict[str, set[str]]()
    for query, document, label in _columns(pairs, "query_id", "doc_id", "label"):
        if label == 1:
            positives.setdefault(query, set()).add(document)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        known = model.encode([documents[each] for each in ids], show_progress_bar=False, normalize_embeddings=True)
        asked = model.encode([queries[each] for each in positives], show_progress_bar=False, normalize_embeddings=True)
    nearest = np.argsort(-(asked.astype(np.float32) @ known.astype(np.float32).T), axis=1, kind="stable")[:, :CUT]
    gains = 1 / np.log2(np.arange(2, CUT + 2))
    values = []
    for wanted, places in zip(positives.values(), nearest, strict=True):
        hits = np.array([ids[place] in wanted for place in places])
        values.append(gains[: len(hits)][hits].sum() / gains[: len(wanted)].sum())
    return float(np.mean(values))


def _columns(path: str, *names: str) -> Iterator[tuple]:
    table = pq.read_table(path, columns=list(names))
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def main(name: str, data: str, pairs: str, corpus: str, out: str) -> None:
    """Train and save; print both numbers as JSON."""
    from pairmine.backends.specs import locate, parse_spec

    torch.manual_seed(0)
    model = SentenceTransformer(locate(parse_spec(f"st:{name}", ("st",), "MODEL"), "MODEL"), device="cpu")
    model.max_seq_length = TOKENS
    plan = list(batches(data))
    before = ndcg(model, pairs, corpus)
    train(model, plan)
    after = ndcg(model, pairs, corpus)
    partial = Path(f"{out}.partial")
    model.save(str(partial))
    (partial / "ndcg.json").write_text(json.dumps({"before": before, "after": after}) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    print(f"nDCG@{CUT} on held-out modules: {before:.4f} before, {after:.4f} after {len(plan)} batches")


if __name__ == "__main__":
    main(*sys.argv[1:])
