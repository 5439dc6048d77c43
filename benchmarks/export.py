"""Time and peak memory of `pairmine export` over a million queries, each with a positive and five negatives.

The pair set is made up: documents of 60 words, and a score for each pair. Each command is a process of its own that
reads one file and writes another with its sidecar.

    python benchmarks/export.py                                   # 1M queries over 100,000 documents
    python benchmarks/export.py --queries 100000 --to flag-embedder
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from _process import PAIRMINE, Cost, run

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

COMMANDS: dict[str, tuple[str, ...]] = {
    "st-ntuple": ("out.parquet",),
    "flag-embedder": ("out.jsonl",),
    "flag-reranker": ("out.jsonl", "--scores", "ce"),
    "tevatron": ("out.jsonl",),
    "swift-embedding": ("out.jsonl",),
}
NEGATIVES, WORDS, BLOCK = 5, 60, 30_000


def main() -> None:
    """Make the pair set, run the exports, and print a line for each."""
    options = _options()
    if options.make:
        _make(Path(options.make), options.queries, options.documents)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        pairs = Path(folder) / "pairs.parquet"
        _again("--make", str(pairs), "--queries", str(options.queries), "--documents", str(options.documents))
        print(f"{options.queries:,} queries of {1 + NEGATIVES} documents, {pairs.stat().st_size / 1e6:,.0f} MB")
        for target in options.to or COMMANDS:
            name, *words = COMMANDS[target]
            out = Path(folder) / name
            costs = [
                run([PAIRMINE, "export", pairs, "--to", target, *words, "-q", "-o", out]) for _ in range(options.runs)
            ]
            _show(f"{target}, {out.stat().st_size / 1e6:,.0f} MB", costs)
            out.unlink()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--to", action="append", choices=list(COMMANDS), help="this format alone; may be repeated")
    parser.add_argument("--runs", type=int, default=1, help="how often each command runs; the median is shown")
    parser.add_argument("--folder", help="where the files go; the system's temporary folder")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    return parser.parse_args()


def _again(*words: str) -> None:
    subprocess.run([sys.executable, __file__, *words], check=True)


def _show(what: str, costs: list[Cost]) -> None:
    seconds, cpu, peak = (median(getattr(cost, name) for cost in costs) for name in ("seconds", "cpu_s", "peak_mb"))
    print(f"  {seconds:6.1f} s  {cpu:6.1f} s of the processor  {peak:6,.0f} MB  {what}", flush=True)


def _make(path: Path, queries: int, documents: int) -> None:
    """Write a decided pair set as `filter` writes its own."""
    import numpy as np
    import pyarrow as pa

    from pairmine.files.sink import Sink

    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(20_000)], object)
    texts = pa.array([" ".join(text) for text in words[rng.integers(0, len(words), (documents, WORDS))]])
    ids = pa.array([f"doc-{number}" for number in range(documents)])
    sink = Sink(str(path), None)
    for start in range(0, queries, BLOCK):
        sink.write(_block(rng, start, min(BLOCK, queries - start), texts, ids))
    sink.commit([])


def _block(rng: np.random.Generator, start: int, queries: int, documents: pa.Array, ids: pa.Array) -> pa.Table:
    """Rows of `queries` queries from number `start` on: a positive, then the negatives."""
    import numpy as np
    import pyarrow as pa

    from pairmine.schema import TEXT, as_pairs, score_field

    query = np.repeat(np.arange(queries), 1 + NEGATIVES)
    place = np.tile(np.arange(1 + NEGATIVES), queries)
    at = rng.integers(0, len(ids), len(query))
    texts = pa.array(
        [f"question {start + number} about {number % 977} and {number % 389}" for number in range(queries)]
    )
    columns = {
        "query_id": pa.array([f"query-{start + number}" for number in range(queries)]).take(pa.array(query)),
        "query": pa.DictionaryArray.from_arrays(pa.array(query, pa.int32()), texts),
        "doc_id": ids.take(pa.array(at)),
        "document": pa.DictionaryArray.from_arrays(pa.array(at, pa.int32()), documents),
        "label": pa.array(place == 0).cast(pa.int8()),
        "origin": pa.array(["given", "mine:all-MiniLM-L6-v2"]).take(pa.array(np.minimum(place, 1))),
        "rank": pa.array(place, pa.int32(), mask=place == 0),
    }
    fields = [pa.field(name, TEXT if name in ("query", "document") else each.type) for name, each in columns.items()]
    fields.append(score_field("ce", "probability"))
    scores = pa.array(rng.random(len(query)), pa.float32())
    return as_pairs(pa.table([*columns.values(), scores], schema=pa.schema(fields)))


if __name__ == "__main__":
    main()
