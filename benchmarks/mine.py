"""Time and peak memory of search and select: `pairmine mine` against sentence-transformers' `mine_hard_negatives`.

Both get the same unit vectors, texts and positives, both search with FAISS on the CPU, each in a
process of its own; runs take turns. The peer makes n-tuples with scores, its fastest output that
keeps them. Ours hands each block on, as the command does, which writes it away.

    python benchmarks/mine.py                # 20,000 queries, 100,000 documents, 384 dimensions, depth 100
    python benchmarks/mine.py --queries 2000 --documents 10000 --runs 1
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

SIDES = ("sentence-transformers", "pairmine")
WORDS = 20_000


def main() -> None:
    """Run both sides and print the ratios."""
    options = _options()
    if options.side:
        _measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        base = [sys.executable, __file__, "--folder", folder]
        for name in ("queries", "documents", "dim", "depth", "seed"):
            base += [f"--{name}", str(getattr(options, name))]
        subprocess.run([*base, "--side", "data"], check=True)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for number in range(options.runs):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                found = subprocess.run([*base, "--side", side], check=True, capture_output=True, text=True)
                runs[side].append(json.loads(found.stdout.splitlines()[-1]))
        _report(options, runs, _overlap(Path(folder)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(options: argparse.Namespace, runs: dict[str, list[dict[str, float]]], overlap: float) -> None:
    print(
        f"{options.queries:,} queries, {options.documents:,} documents, {options.dim} dimensions, "
        f"depth {options.depth}, median of {options.runs}"
    )
    print(f"{'':<36}{'sentence-transformers':>24}{'pairmine':>12}{'ratio':>8}")
    for name, what in (
        ("seconds", "seconds"),
        ("peak_mb", "peak memory, MB"),
        ("above_mb", "peak above the loaded inputs, MB"),
    ):
        theirs, ours = (median(run[name] for run in runs[side]) for side in SIDES)
        print(f"{what:<36}{theirs:>24,.1f}{ours:>12,.1f}{ours / theirs:>8.2f}")
    print(f"candidates that both found: {overlap:.4%}")


def _overlap(folder: Path) -> float:
    theirs, ours = (np.load(folder / f"{side}.npy") for side in SIDES)
    return float(np.isin(ours, theirs).mean())


def _measure(options: argparse.Namespace) -> None:
    if options.side == "data":
        _make_data(options)
        return
    import faiss  # noqa: F401
    import sentence_transformers  # noqa: F401

    prepare = _peer if options.side == SIDES[0] else _ours
    work = prepare(options)
    before = _memory("VmRSS")
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    peak = _memory("VmHWM")
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "above_mb": peak - before}))
    np.save(options.folder / f"{options.side}.npy", result())


def _memory(field: str) -> float:
    """MB of resident memory, now or at its highest; unlike ru_maxrss it knows nothing of the parent process."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _make_data(options: argparse.Namespace) -> None:
    """Unit vectors around 500 centres, and for each query a document of its centre as the positive."""
    generator = np.random.default_rng(options.seed)
    centres = generator.standard_normal((500, options.dim), np.float32)
    kinds = {}
    for name, rows in (("documents", options.documents), ("queries", options.queries)):
        kinds[name] = generator.integers(0, len(centres), rows)
        vectors = centres[kinds[name]] + generator.standard_normal((rows, options.dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(options.folder / f"{name}-vectors.npy", vectors)
    order = np.argsort(kinds["documents"], kind="stable")
    ends = np.searchsorted(kinds["documents"][order], kinds["queries"], side="right")
    np.save(options.folder / "positives.npy", order[np.maximum(ends - 1, 0)])


def _texts(what: str, rows: int) -> list[str]:
    """Texts of 60 words, told apart by their number."""
    generator = np.random.default_rng(rows)
    words = generator.integers(0, WORDS, (rows, 60))
    return [f"{what} {row} " + " ".join(map(str, line)) for row, line in enumerate(words.tolist())]


def _load(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], list[str]]:
    vectors = [np.load(options.folder / f"{name}-vectors.npy") for name in ("queries", "documents")]
    positives = np.load(options.folder / "positives.npy")
    return vectors[0], vectors[1], positives, _texts("query", options.queries), _texts("document", options.documents)


def _peer(options: argparse.Namespace) -> Callable[[], Callable[[], np.ndarray]]:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers.util import mine_hard_negatives, pairwise_dot_score

    query_vectors, document_vectors, positives, queries, documents = _load(options)

    class Ready:
        """What the peer asks of a model, with vectors that are there already."""

        device = torch.device("cpu")

        def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
            return query_vectors

        def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
            return document_vectors

        def get_embedding_dimension(self) -> int:
            return int(options.dim)

        def similarity_pairwise(self, one: np.ndarray, other: np.ndarray) -> torch.Tensor:
            return pairwise_dot_score(torch.from_numpy(one), torch.from_numpy(other))

    pairs = Dataset.from_dict({"anchor": queries, "positive": [documents[row] for row in positives]})

    def work() -> Callable[[], np.ndarray]:
        mined = mine_hard_negatives(
            pairs,
            Ready(),  # type: ignore[arg-type]
            corpus=documents,
            num_negatives=options.depth,
            use_faiss=True,
            output_format="n-tuple",
            output_scores=True,
            verbose=False,
        )
        return lambda: _peer_keys(mined, options)

    return work


def _peer_keys(mined: Any, options: argparse.Namespace) -> np.ndarray:
    number = {name: [int(text.split()[1]) for text in mined[name]] for name in mined.column_names if name != "scores"}
    anchors = np.asarray(number["anchor"])
    negatives = [np.asarray(found) for name, found in number.items() if name.startswith("negative")]
    return np.concatenate([anchors * options.documents + found for found in negatives])


def _ours(options: argparse.Namespace) -> Callable[[], Callable[[], np.ndarray]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from pairmine.backends.encoders import FakeEncoder
    from pairmine.backends.retrievers import DenseRetriever
    from pairmine.backends.specs import Spec
    from pairmine.schema import as_pairs
    from pairmine.stages.mine import Documents, Queries, search_blocks

    query_vectors, document_vectors, positives, queries, documents = _load(options)
    corpus = pa.table(
        {"id": [str(row) for row in range(len(documents))], "text": pa.array(documents, pa.large_string())}
    )
    columns = {
        "query_id": [str(row) for row in range(len(queries))],
        "query": queries,
        "doc_id": [str(row) for row in positives],
        "document": [documents[row] for row in positives],
        "label": [1] * len(queries),
        "origin": ["given"] * len(queries),
    }
    pairs = as_pairs(pa.table(columns))
    del queries, documents, columns
    retriever = DenseRetriever(Spec("fake", ""), FakeEncoder())
    retriever.take_vectors(document_vectors, len(document_vectors))
    retriever.take_query_vectors(query_vectors)

    def work() -> Callable[[], np.ndarray]:
        taken, found = Queries.of(pairs), Documents.of(pairs, corpus)
        keys = []
        for outcome in search_blocks(pairs, taken, found, [retriever], depth=options.depth):
            mined = outcome.kept.filter(pc.field("label").is_null())
            ids = [mined[name].cast(pa.int64()).to_numpy() for name in ("query_id", "doc_id")]
            keys.append(ids[0] * options.documents + ids[1])
        return lambda: np.concatenate(keys)

    return work


if __name__ == "__main__":
    main()
