"""Time and peak memory of search and select: `pairmine mine` against sentence-transformers' `mine_hard_negatives`.

All get the same unit vectors, texts and positives and search on the CPU, each in a process of its own; runs take
turns. The peer searches with FAISS and makes n-tuples with scores, its fastest output that keeps them. Ours
hands each block on, as the command does, which writes it away: once by exact search, and once for every
`--index`, with the recall that was asked for.

    python benchmarks/mine.py                # 20,000 queries, 100,000 documents, 384 dimensions, depth 100
    python benchmarks/mine.py --queries 2000 --documents 10000 --runs 1
    python benchmarks/mine.py --index ivf hnsw --vectors documents.npy --query-vectors queries.npy

`--vectors` and `--query-vectors` are float32 matrices of unit vectors to use instead of made-up ones (clusters of
equal spread, which are hard for an index). A query's positive is then a document drawn at random.
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
from typing import TYPE_CHECKING, Any

import numpy as np
from _process import memory_mb

if TYPE_CHECKING:
    from pairmine.backends.retrievers.dense import MakeSearcher

PEER, OURS = "sentence-transformers", "pairmine"
WORDS = 20_000
Work = Callable[[], tuple[Callable[[], np.ndarray], dict[str, Any]]]
"""The part that is timed; it returns what makes the keys of the candidates out of the result, and facts."""


def main() -> None:
    """Run every side and print the ratios."""
    options = _options()
    if options.side:
        _measure(options)
        return
    sides = [PEER, OURS, *(f"{OURS} {index}" for index in options.index)]
    with tempfile.TemporaryDirectory() as folder:
        base = [sys.executable, __file__, "--folder", folder]
        for name in ("queries", "documents", "dim", "depth", "seed", "recall"):
            base += [f"--{name}", str(getattr(options, name))]
        if options.vectors:
            given = [str(options.vectors.resolve()), "--query-vectors", str(options.query_vectors.resolve())]
            base += ["--vectors", *given]
        subprocess.run([*base, "--side", "data"], check=True)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for number in range(options.runs):
            for side in sides if number % 2 == 0 else sides[::-1]:
                runs[side].append(_run([*base, "--side", side]))
        _report(options, runs, Path(folder))


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--index", nargs="*", default=["ivf"], choices=["ivf", "hnsw", "pq"])
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--vectors", type=Path, help="vectors of the documents, .npy")
    parser.add_argument("--query-vectors", type=Path, help="vectors of the queries, .npy")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if (options.vectors is None) != (options.query_vectors is None):
        parser.error("--vectors and --query-vectors go together")
    if options.vectors is not None:
        (options.documents, options.dim), (options.queries, _) = (
            np.load(path, mmap_mode="r").shape for path in (options.vectors, options.query_vectors)
        )
    return options


def _report(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    print(
        f"{options.queries:,} queries, {options.documents:,} documents, {options.dim} dimensions, "
        f"depth {options.depth}, median of {options.runs}"
    )
    names = {"seconds": "seconds", "CPU, s": "cpu_s", "peak, MB": "peak_mb", "above inputs, MB": "above_mb"}
    print(f"{'':<24}" + "".join(f"{name:>18}{'ratio':>8}" for name in names) + f"{'found of the peer':>20}")
    middle = {side: [median(run[name] for run in found) for name in names.values()] for side, found in runs.items()}
    theirs = np.load(folder / f"{PEER}.npy")
    for side, values in middle.items():
        cells = "".join(
            f"{value:>18,.1f}{value / other:>8.2f}" for value, other in zip(values, middle[PEER], strict=True)
        )
        print(f"{side:<24}{cells}{np.isin(theirs, np.load(folder / f'{side}.npy')).mean():>20.4%}")
    for side, found in runs.items():
        if index := found[0].get("index"):
            print(f"{side}: {index}")


def _measure(options: argparse.Namespace) -> None:
    if options.side == "data":
        _make_data(options)
        return
    import faiss  # noqa: F401
    import sentence_transformers  # noqa: F401

    prepare = _peer if options.side == PEER else _ours
    work = prepare(options)
    before = memory_mb("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    result, facts = work()
    taken = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    peak = memory_mb("VmHWM")
    print(json.dumps({**taken, "peak_mb": peak, "above_mb": peak - before, **facts}))
    np.save(options.folder / f"{options.side}.npy", result())


def _make_data(options: argparse.Namespace) -> None:
    """Unit vectors around 500 centres, and for each query a document of its centre as the positive."""
    generator = np.random.default_rng(options.seed)
    if options.vectors is not None:
        (options.folder / "documents-vectors.npy").symlink_to(options.vectors)
        (options.folder / "queries-vectors.npy").symlink_to(options.query_vectors)
        np.save(options.folder / "positives.npy", generator.integers(0, options.documents, options.queries))
        return
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


def _peer(options: argparse.Namespace) -> Work:
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

    def work() -> tuple[Callable[[], np.ndarray], dict[str, Any]]:
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
        return lambda: _peer_keys(mined, options), {}

    return work


def _peer_keys(mined: Any, options: argparse.Namespace) -> np.ndarray:
    number = {name: [int(text.split()[1]) for text in mined[name]] for name in mined.column_names if name != "scores"}
    anchors = np.asarray(number["anchor"])
    negatives = [np.asarray(found) for name, found in number.items() if name.startswith("negative")]
    return np.concatenate([anchors * options.documents + found for found in negatives])


def _ours(options: argparse.Namespace) -> Work:
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
    retriever = DenseRetriever(Spec("fake", ""), FakeEncoder(), make_searcher=_index(options))
    retriever.take_vectors(document_vectors, len(document_vectors))
    retriever.take_query_vectors(query_vectors)

    def work() -> tuple[Callable[[], np.ndarray], dict[str, Any]]:
        taken, found = Queries.of(pairs), Documents.of(pairs, corpus)
        keys = []
        for outcome in search_blocks(pairs, taken, found, [retriever], depth=options.depth):
            mined = outcome.kept.filter(pc.field("label").is_null())
            ids = [mined[name].cast(pa.int64()).to_numpy() for name in ("query_id", "doc_id")]
            keys.append(ids[0] * options.documents + ids[1])
        return lambda: np.concatenate(keys), {"index": retriever.searcher.facts}

    return work


def _index(options: argparse.Namespace) -> MakeSearcher | None:
    """What makes the index of this side; None for an exact search."""
    from pairmine.backends.vectors import Searcher, Vectors
    from pairmine.backends.vectors.approximate import ApproximateSearch

    kind = options.side.removeprefix(OURS).strip()

    def make(documents: Vectors, searchable: int, queries: Vectors) -> Searcher:
        every = queries.block(0, len(queries))
        return ApproximateSearch.of(
            kind, documents, searchable, every, depth=options.depth, target_recall=options.recall, seed=options.seed
        )

    return make if kind else None


if __name__ == "__main__":
    main()
