"""Time and peak memory from texts to the best 100 documents of each query: `bm25` of pairmine against bm25s.

Both sides read the same texts and make their words, index and search themselves, each in a process of its
own; runs take turns, and libraries are loaded (and numba's code made) before the clock starts. bm25s goes
its own way: its tokenizer, which leaves out English stopwords and words of one letter, and either backend on all
cores. pairmine keeps every word.

    python benchmarks/bm25.py                           # 100,000 documents and 2,000 queries of made-up text
    python benchmarks/bm25.py --documents 1000000 --queries 10000 --runs 1
    python benchmarks/bm25.py --corpus corpus.jsonl --query-file queries.jsonl
    python benchmarks/bm25.py --near --queries 500      # documents of the collection as queries

The numba side is left out where numba is not installed; --peer names the Python of another environment for both
of bm25s' sides.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

OURS = "pairmine"
SIDES = ("bm25s numpy", "bm25s numba", OURS)
FIGURES = (
    ("index_s", "words and index, seconds"),
    ("search_s", "queries, seconds"),
    ("seconds", "all, seconds"),
    ("cpu_s", "all, processor seconds"),
    ("peak_mb", "peak memory, MB"),
    ("above_mb", "peak above texts and libraries, MB"),
)
Found = tuple[float, float]


def main() -> None:
    """Run all sides and print the ratios."""
    options = _options()
    if options.side:
        _measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        _make_data(options, Path(folder))
        peer = options.peer or sys.executable
        has_numba = subprocess.run([peer, "-c", "import numba"], capture_output=True, check=False).returncode == 0
        sides = [side for side in SIDES if has_numba or side != "bm25s numba"]
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for number in range(options.runs):
            for side in sides if number % 2 == 0 else sides[::-1]:
                python = sys.executable if side == OURS else peer
                command = [python, __file__, "--side", side, "--folder", folder, "--depth", str(options.depth)]
                found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                runs[side].append(json.loads(found.stdout.splitlines()[-1]))
        _report(options, runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="of made-up text, when there is no --corpus")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--words", type=int, default=60, help="of a made-up document, on average")
    parser.add_argument("--corpus", type=Path, help="JSON lines (.gz) with text, and title where there is one")
    parser.add_argument(
        "--query-file", type=Path, help="JSON lines (.gz) with text; else --queries pieces of documents"
    )
    parser.add_argument("--near", action="store_true", help="whole documents as queries")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", help="the Python that runs bm25s; else this one")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(options: argparse.Namespace, runs: dict[str, list[dict[str, float]]]) -> None:
    any_run = runs[OURS][0]
    print(
        f"{any_run['documents']:,} documents of {any_run['characters']:,.0f} characters, "
        f"{any_run['queries']:,} queries, depth {options.depth}, median of {options.runs}"
    )
    print(f"{'':<38}" + "".join(f"{side:>14}" for side in runs) + f"{'ratios':>16}")
    for name, what in FIGURES:
        values = {side: median(run[name] for run in runs[side]) for side in runs}
        ratios = [values[OURS] / max(value, 1e-9) for side, value in values.items() if side != OURS]
        cells = "".join(f"{value:>14,.2f}" for value in values.values())
        print(f"{what:<38}{cells}" + "".join(f"{ratio:>8.2f}" for ratio in ratios))


def _make_data(options: argparse.Namespace, folder: Path) -> None:
    generator = np.random.default_rng(options.seed)
    if options.corpus:
        documents = [" ".join(filter(None, (row.get("title"), _text(row)))) for row in _rows(options.corpus)]
    else:
        documents = _made_up(options.documents, options.words, generator)
    if options.query_file:
        queries = [row["text"] for row in _rows(options.query_file)]
    else:
        chosen = generator.choice(len(documents), min(options.queries, len(documents)), replace=False).tolist()
        queries = [documents[row] if options.near else _cut(documents[row], generator) for row in chosen]
    for name, texts in (("documents", documents), ("queries", queries)):
        (folder / f"{name}.json").write_text(json.dumps(texts))


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]


def _text(row: dict[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    return " ".join([*row["lemmas"], row["definition"], *row["examples"]])


def _made_up(documents: int, words: int, generator: np.random.Generator) -> list[str]:
    """Texts whose words are as frequent as those of English: Zipf's law, a large vocabulary and known stopwords."""
    known = ["the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on"]
    number = 500_000
    letters = generator.integers(0, 26, (number, 12), np.uint8) + ord("a")
    sizes = np.clip(generator.poisson(6, number), 2, 12)
    known += [bytes(row[:size]).decode() for row, size in zip(letters, sizes.tolist(), strict=True)]
    weights = 1 / (np.arange(len(known)) + 2.7)
    ends = np.cumsum(weights / weights.sum())
    texts = []
    for size in np.clip(generator.gamma(4, words / 4, documents).astype(int), 3, 20 * words).tolist():
        chosen = np.minimum(np.searchsorted(ends, generator.random(size)), len(known) - 1)
        texts.append(" ".join([known[word] for word in chosen.tolist()]).capitalize() + ".")
    return texts


def _cut(text: str, generator: np.random.Generator) -> str:
    """Four to twelve words in a row, as long as questions are."""
    words = text.split()
    size = int(generator.integers(4, 13))
    start = int(generator.integers(0, max(1, len(words) - size)))
    return " ".join(words[start : start + size])


def _measure(options: argparse.Namespace) -> None:
    documents, queries = (
        json.loads((options.folder / f"{name}.json").read_text()) for name in ("documents", "queries")
    )
    prepare = _ours if options.side == OURS else _peer
    work = prepare(options)
    before, started, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    index_s, search_s = work(documents, queries)
    taken = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    peak = _memory("VmHWM")
    sizes = {
        "documents": len(documents),
        "queries": len(queries),
        "characters": sum(map(len, documents)) / len(documents),
    }
    print(json.dumps({**taken, **sizes, "index_s": index_s, "search_s": search_s} | _peaks(peak, before)))


def _peaks(peak: float, before: float) -> dict[str, float]:
    return {"peak_mb": peak, "above_mb": peak - before}


def _memory(field: str) -> float:
    """MB of resident memory, now or at its highest; unlike ru_maxrss it knows nothing of the parent process."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _ours(options: argparse.Namespace) -> Callable[[list[str], list[str]], Found]:
    from pairmine.backends.retrievers.bm25 import Bm25Retriever
    from pairmine.backends.specs import Spec

    def work(documents: list[str], queries: list[str]) -> Found:
        started = time.perf_counter()
        retriever = Bm25Retriever(Spec("bm25", ""))
        retriever.index(documents, len(documents))
        indexed = time.perf_counter()
        retriever.prepare(queries)
        # As mining does it: a block of queries at a time.
        for start in range(0, len(queries), 1024):
            retriever.search(np.arange(start, min(start + 1024, len(queries))), options.depth)
        return indexed - started, time.perf_counter() - indexed

    few = ["a first text", "a second é one"]
    work(few, few)
    return work


def _peer(options: argparse.Namespace) -> Callable[[list[str], list[str]], Found]:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)
    backend = options.side.split()[-1]

    def work(documents: list[str], queries: list[str]) -> Found:
        started = time.perf_counter()
        words = bm25s.tokenize(documents, show_progress=False)
        index = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend=backend)
        index.index(words, show_progress=False)
        del words
        indexed = time.perf_counter()
        asked = bm25s.tokenize(queries, show_progress=False)
        depth = min(options.depth, len(documents))
        index.retrieve(asked, k=depth, n_threads=_cores(), show_progress=False)
        return indexed - started, time.perf_counter() - indexed

    few = ["first text here", "second one there", "third text"]
    work(few, few)
    return work


if __name__ == "__main__":
    main()
