"""FlagEmbedding's own mining of hard negatives, for benchmarks/mine_peers.py, which runs this in its environment.

    python benchmarks/_hn_mine.py HN_MINE.py FOLDER DEPTH MODEL       # from text
    python benchmarks/_hn_mine.py HN_MINE.py FOLDER DEPTH vectors     # with the vectors that lie in FOLDER

Without random draws: of the `DEPTH + 1` nearest those that are no positive are taken, `DEPTH` of them. Prints seconds:
those of `find_knn_neg`, without imports and without loading the model, as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from FlagEmbedding import FlagModel  # type: ignore[import-not-found]


def main() -> None:
    """Mine, and print how long it took."""
    hn_mine, folder, depth, model = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    spec = importlib.util.spec_from_file_location("hn_mine", hn_mine)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    embedder = _Ready(folder) if model == "vectors" else _loaded(model)
    start = time.perf_counter()
    module.find_knn_neg(
        model=embedder,
        input_file=str(folder / "flagembedding-pairs.jsonl"),
        candidate_pool=str(folder / "corpus.jsonl"),
        output_file=str(folder / "flagembedding.jsonl"),
        sample_range=[0, depth + 1],
        negative_number=depth,
        use_gpu=False,
    )
    print(json.dumps({"seconds": time.perf_counter() - start - getattr(embedder, "lookup_s", 0.0)}))


def _loaded(model: str) -> Any:
    return FlagModel(
        model,
        pooling_method="mean",
        normalize_embeddings=True,
        use_fp16=False,
        devices="cpu",
        query_max_length=256,
        passage_max_length=256,
    )


class _Ready:
    """What `find_knn_neg` asks of a model, with vectors that are there; the time to find them does not count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lookup_s = 0.0

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        return self._vectors(texts, "documents")

    def encode_queries(self, texts: list[str], **_: Any) -> np.ndarray:
        return self._vectors(texts, "queries")

    def _vectors(self, texts: list[str], what: str) -> np.ndarray:
        """Every text has the number of its vector as its second word."""
        start = time.perf_counter()
        vectors: np.ndarray = np.load(self._folder / f"{what}.npy")[[int(text.split(None, 2)[1]) for text in texts]]
        self.lookup_s += time.perf_counter() - start
        return vectors


if __name__ == "__main__":
    main()
