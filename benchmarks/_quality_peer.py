"""sentence-transformers' own `mine_hard_negatives` on pairmine's vectors and scores, for benchmarks/quality.py."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from _process import PAIRMINE
from _quality import DEPTH, NEGATIVES, RETRIEVER, Candidates
from datasets import Dataset  # type: ignore[import-untyped]
from sentence_transformers.util import mine_hard_negatives


def decided_by_sentence_transformers(
    here: Candidates, work: Path, *, rescored: bool = False, **arguments: Any
) -> set[tuple[str, str]]:
    """The negatives that it chooses, by ids of query and document; `rescored` by the cross-encoder.

    It looks a little deeper than `DEPTH`: at that many documents and as many more as a query has positives at most.
    Queries of equal texts are one to it, and documents too: they come back under the first id.
    """
    collection = here.collection
    if rescored:
        arguments["cross_encoder"] = _Scores(here)
    rows = [(query, document) for query, found in collection.visible.items() for document in found]
    queries = {text: query for query, text in reversed(collection.queries.items())}
    documents = {text: document for document, text in reversed(collection.documents.items())}
    mined = mine_hard_negatives(
        Dataset.from_dict(
            {
                "anchor": [collection.queries[query] for query, _ in rows],
                "positive": [collection.documents[document] for _, document in rows],
            }
        ),
        _Vectors(here, work),  # type: ignore[arg-type]
        corpus=list(documents),
        num_negatives=NEGATIVES,
        range_max=DEPTH,
        output_format="labeled-pair",
        use_faiss=True,
        verbose=False,
        **arguments,
    )
    return {
        (queries[anchor], documents[text])
        for anchor, text, label in zip(mined["anchor"], mined["positive"], mined["label"], strict=True)
        if label == 0
    }


class _Vectors:
    """What `mine_hard_negatives` asks of a bi-encoder, answered with the vectors that pairmine mined with."""

    device = torch.device("cpu")

    def __init__(self, here: Candidates, work: Path) -> None:
        folder = here.path.parent
        self._documents = _embedded(folder / "corpus.jsonl", "document", work)
        self._queries = _embedded(folder / "pairs.jsonl", "query", work)

    def encode_document(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        return np.stack([self._documents[text] for text in texts])

    def encode_query(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        return np.stack([self._queries[text] for text in texts])

    def get_embedding_dimension(self) -> int:
        return len(next(iter(self._queries.values())))

    def similarity_pairwise(self, one: np.ndarray, other: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.sum(one * other, axis=1))


def _embedded(source: Path, side: str, work: Path) -> dict[str, np.ndarray]:
    """The vectors of a file's texts, which `pairmine embed` finds in the store."""
    out = source.with_name(f"{side}-vectors.npy")
    if not out.exists():
        command = [PAIRMINE, "embed", str(source), "--encoder", RETRIEVER, "--side", side, "-o", str(out), "--quiet"]
        environment = {**os.environ, "PAIRMINE_STORE": str(work / "store"), "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, check=True, env=environment)
    ids = out.with_suffix(".ids.txt").read_text(encoding="utf-8").splitlines()
    id_name, text_name = ("query_id", "query") if side == "query" else ("id", "text")
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    texts = {row[id_name]: row[text_name] for row in rows}
    return {texts[key]: vector for key, vector in zip(ids, np.load(out), strict=True)}


class _Scores:
    """What it asks of a cross-encoder, answered with pairmine's scores; what pairmine has none for is out of reach."""

    def __init__(self, here: Candidates) -> None:
        table = pq.read_table(here.path.with_name("scored.parquet"), columns=["query", "document", "score_ce"])
        texts = zip(table["query"].to_pylist(), table["document"].to_pylist(), strict=True)
        self._scores = dict(zip(texts, table["score_ce"].to_pylist(), strict=True))

    def predict(self, pairs: list[tuple[str, str]], **_: Any) -> torch.Tensor:
        return torch.tensor([self._scores.get(pair, math.inf) for pair in pairs])
