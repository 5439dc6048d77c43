"""Time from text to vectors: pairmine's encoder against sentence-transformers' `encode` with its defaults.

Documents and queries are texts of real length (docstrings of installed packages; queries are first sentences), or
the `text` of JSONL files. Each run is a process of its own, runs take turns, and the median counts; loading the
libraries and the model is told apart. The overlap is that of each query's nearest `--depth` documents with those
by the peer's vectors.

    python benchmarks/embed.py                                    # 10,000 documents, 2,000 queries, three runs
    python benchmarks/embed.py --documents 500 --queries 100 --runs 1
    python benchmarks/embed.py --dtype auto float32 --backend onnx-int8 --corpus corpus.jsonl --query-file queries.jsonl
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _documentation import passages
from _process import memory_mb

PEER = "sentence-transformers"


def main() -> None:
    """Run every side in turns and print the ratios."""
    options = _options()
    if options.side:
        _measure(options)
        return
    sides = [PEER, *(f"torch {dtype}" for dtype in options.dtype), *(f"{name} auto" for name in options.backend)]
    with tempfile.TemporaryDirectory() as folder:
        documents, queries = _texts(options)
        (Path(folder) / "texts.json").write_text(json.dumps([documents, queries]), encoding="utf-8")
        base = [sys.executable, __file__, "--folder", folder, "--model", options.model]
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for number in range(options.runs):
            for side in sides if number % 2 == 0 else sides[::-1]:
                runs[side].append(_run([*base, "--side", side]))
        _report(runs, Path(folder), options.depth, len(documents) + len(queries))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--corpus", type=Path, help="JSONL with text (and title), instead of docstrings")
    parser.add_argument("--query-file", type=Path, help="JSONL with text")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--dtype", nargs="*", default=["auto"])
    parser.add_argument("--backend", nargs="*", default=[], choices=["onnx", "onnx-int8", "openvino"])
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _texts(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    if (options.corpus is None) != (options.query_file is None):
        raise SystemExit("--corpus and --query-file go together")
    if options.corpus:
        return _read(options.corpus)[: options.documents], _read(options.query_file)[: options.queries]
    found = passages(options.documents + options.queries)
    return found[: options.documents], [text.partition(". ")[0][:200] for text in found[options.documents :]]


def _read(path: Path) -> list[str]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(options: argparse.Namespace) -> None:
    """One run of one side in this process: its times as JSON, its vectors as files."""
    documents, queries = json.loads((options.folder / "texts.json").read_text(encoding="utf-8"))
    begun = time.perf_counter()
    encode = _peer(options.model) if options.side == PEER else _ours(options.model, options.side)
    loaded, used = time.perf_counter(), time.process_time()
    found = {"documents": encode(documents, "document"), "queries": encode(queries, "query")}
    done = time.perf_counter()
    for name, vectors in found.items():
        np.save(options.folder / f"{options.side} {name}.npy", vectors)
    times = {"load_s": loaded - begun, "encode_s": done - loaded, "cpu_s": time.process_time() - used}
    print(json.dumps(times | {"peak_mb": memory_mb("VmHWM")}))


def _peer(model: str) -> Any:
    from sentence_transformers import SentenceTransformer

    from pairmine.backends.specs import Spec, locate

    loaded = SentenceTransformer(locate(Spec("st", model), "--model"))
    encode = {"query": loaded.encode_query, "document": loaded.encode_document}
    return lambda texts, side: encode[side](texts, normalize_embeddings=True)


def _ours(model: str, side: str) -> Any:
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.specs import Spec

    backend, dtype = side.split()
    return open_encoder(Spec("st", model), backend=backend, dtype=dtype).encode


def _report(runs: dict[str, list[dict[str, Any]]], folder: Path, depth: int, texts: int) -> None:
    def middle(side: str, name: str) -> float:
        return median(run[name] for run in runs[side])

    wanted = _nearest(folder, PEER, depth)
    print(f"{'':24}{'load s':>8}{'encode s':>10}{'of peer':>9}{'cpu s':>9}{'texts/s':>9}{'peak MB':>9}{'overlap':>9}")
    for side in runs:
        seconds = middle(side, "encode_s")
        shared = [len(np.intersect1d(*pair)) for pair in zip(_nearest(folder, side, depth), wanted, strict=True)]
        print(
            f"{side:24}{middle(side, 'load_s'):8.1f}{seconds:10.1f}{seconds / middle(PEER, 'encode_s'):9.3f}"
            f"{middle(side, 'cpu_s'):9.1f}{texts / seconds:9.0f}{middle(side, 'peak_mb'):9.0f}"
            f"{np.mean(shared) / wanted.shape[1]:9.4f}"
        )


def _nearest(folder: Path, side: str, depth: int) -> np.ndarray:
    """The places of each query's nearest documents, (queries, depth)."""
    documents, queries = (np.load(folder / f"{side} {name}.npy") for name in ("documents", "queries"))
    depth = min(depth, len(documents))
    blocks = [queries[start : start + 256] @ documents.T for start in range(0, len(queries), 256)]
    return np.concatenate([np.argsort(-block, axis=1, kind="stable")[:, :depth] for block in blocks])


if __name__ == "__main__":
    main()
