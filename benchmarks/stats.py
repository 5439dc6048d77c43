"""Time and peak memory of `pairmine stats` over a million queries with one positive and five negatives each.

The table is made up: texts of 20 words out of 200,000 documents, some of them far more often a negative than others,
a rank and two scores. With --tokenizer its texts are counted in tokens in a run of its own.

    python benchmarks/stats.py --queries 1000000
    python benchmarks/stats.py --queries 100000 --tokenizer o200k_base
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from _process import PAIRMINE, run

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NEGATIVES, DOCUMENTS, WORDS, BLOCK = 5, 200_000, 20, 20_000


def main() -> None:
    """Make the table, count it, and print a line for each run."""
    options = _options()
    if options.make:
        _make(Path(options.make), options.queries)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table = Path(folder) / "pairs.parquet"
        words = ("--make", str(table), "--queries", str(options.queries))
        subprocess.run([sys.executable, __file__, *words], check=True)
        print(f"{options.queries * (1 + NEGATIVES):,} rows, {table.stat().st_size / 1e6:,.0f} MB")
        for more in [[], ["--tokenizer", options.tokenizer]] if options.tokenizer else [[]]:
            costs = [run([PAIRMINE, "stats", table, "--json", *more]) for _ in range(options.runs)]
            seconds, cpu, peak = (median(getattr(cost, n) for cost in costs) for n in ("seconds", "cpu_s", "peak_mb"))
            print(f"  {seconds:6.1f} s  {cpu:6.1f} s of the processor  {peak:6,.0f} MB  stats {' '.join(more)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000, help="queries of the table")
    parser.add_argument("--tokenizer", help="count tokens too, in a run of its own")
    parser.add_argument("--runs", type=int, default=1, help="how often each command runs; the median is shown")
    parser.add_argument("--folder", help="where the table goes; the system's temporary folder")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    return parser.parse_args()


def _make(path: Path, queries: int) -> None:
    """Write a pair set of `queries` queries, as `filter` writes its own."""
    import numpy as np
    import pyarrow as pa

    from pairmine.files.sink import Sink

    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(20_000)], object)
    documents = pa.array([" ".join(text) for text in words[rng.integers(0, len(words), (DOCUMENTS, WORDS))]])
    ids = pa.array([f"doc-{number}" for number in range(DOCUMENTS)])
    sink = Sink(str(path), None)
    for start in range(0, queries, BLOCK):
        sink.write(_block(rng, start, min(BLOCK, queries - start), documents, ids))
    sink.commit([])


def _block(rng: np.random.Generator, start: int, queries: int, documents: pa.Array, ids: pa.Array) -> pa.Table:
    """Rows of `queries` queries from number `start` on: a positive, then negatives, low numbers more often."""
    import numpy as np
    import pyarrow as pa

    from pairmine.schema import TEXT, as_pairs, score_field

    each = 1 + NEGATIVES
    query, place = np.repeat(np.arange(queries), each), np.tile(np.arange(each), queries)
    at = (rng.random(len(query)) ** 2 * len(ids)).astype(np.int64)
    dense = np.clip(np.where(place == 0, 0.75, 0.6) + rng.normal(0, 0.1, len(query)), -1, 1)
    ce = 1 / (1 + np.exp(-np.where(place == 0, 2.0, -1.0) - rng.normal(0, 1, len(query))))
    texts = pa.array([f"question {start + number} about {number % 977}" for number in range(queries)])
    origins = pa.array(["given", "mine:bm25", "mine:all-MiniLM-L6-v2"])
    columns = {
        pa.field("query_id", pa.string()): pa.array([f"q-{start + n}" for n in range(queries)]).take(pa.array(query)),
        pa.field("query", TEXT): pa.DictionaryArray.from_arrays(pa.array(query, pa.int32()), texts),
        pa.field("doc_id", pa.string()): ids.take(pa.array(at)),
        pa.field("document", TEXT): pa.DictionaryArray.from_arrays(pa.array(at, pa.int32()), documents),
        pa.field("label", pa.int8()): pa.array((place == 0).astype(np.int8)),
        pa.field("origin", pa.string()): origins.take(pa.array(np.where(place == 0, 0, 1 + place % 2))),
        pa.field("rank", pa.int32()): pa.array(place, pa.int32(), mask=place == 0),
        score_field("dense", "cosine"): pa.array(dense, pa.float32()),
        score_field("ce", "probability"): pa.array(ce, pa.float32()),
    }
    return as_pairs(pa.table(list(columns.values()), schema=pa.schema(list(columns))))


if __name__ == "__main__":
    main()
