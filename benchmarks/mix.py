"""Time and peak memory of `pairmine mix` planning batches of a large pair set.

The table is made up: queries of 8 words with one positive and some negatives each, drawn from as many documents of 40
words as there are queries. So every negative is some query's positive, and a tenth of the documents nearly copy
another one. Each command is a process of its own that reads one file and writes another.

    python benchmarks/mix.py --queries 1000000          # 1 positive and 5 negatives each
    python benchmarks/mix.py --queries 100000 --runs 3
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

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--batches", "none"),
    ("--batches", "source", "--batch-size", "64"),
    ("--batches", "source", "--batch-size", "64", "--no-near"),
    ("--batches", "source", "--batch-size", "64", "--bucket", "length", "--full-batches", "--ranks", "8"),
)
WORDS, COPIES, BLOCK = 40, 0.1, 50_000


def main() -> None:
    """Make the table, run the commands over it, and print a line for each."""
    options = _options()
    if options.make:
        _make(Path(options.make), options.queries, options.negatives)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table = Path(folder) / "pairs.parquet"
        words = ("--make", str(table), "--queries", str(options.queries), "--negatives", str(options.negatives))
        subprocess.run([sys.executable, __file__, *words], check=True)
        print(f"{options.queries:,} queries with {options.negatives} negatives, {table.stat().st_size / 1e6:,.0f} MB")
        for command in COMMANDS:
            _show(" ".join(command), [_mix(table, command) for _ in range(options.runs)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000, help="how many queries the table has")
    parser.add_argument("--negatives", type=int, default=5, help="negatives of each")
    parser.add_argument("--runs", type=int, default=1, help="how often each command runs; the median is shown")
    parser.add_argument("--folder", help="where the tables go; the system's temporary folder")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    return parser.parse_args()


def _mix(table: Path, command: tuple[str, ...]) -> Cost:
    return run([PAIRMINE, "mix", table, "--alpha", "1", *command, "-q", "-o", table.with_name("out.parquet")])


def _show(what: str, costs: list[Cost]) -> None:
    seconds, cpu, peak = (median(getattr(cost, name) for cost in costs) for name in ("seconds", "cpu_s", "peak_mb"))
    print(f"  {seconds:6.1f} s  {cpu:6.1f} s of the processor  {peak:6,.0f} MB  {what}", flush=True)


def _make(path: Path, queries: int, negatives: int) -> None:
    """Write a pair set of `queries` queries with a positive of their own and `negatives` drawn from the others'."""
    import numpy as np
    import pyarrow as pa

    from pairmine.files.sink import Sink

    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(20_000)], object)
    chosen = rng.integers(0, len(words), (queries, WORDS))
    copies = np.flatnonzero(rng.random(queries) < COPIES)
    chosen[copies, :-1] = chosen[rng.integers(0, queries, len(copies)), :-1]
    ids = pa.array([f"doc-{number}" for number in range(queries)])
    documents = pa.concat_arrays(
        [
            pa.array([" ".join(text) for text in words[chosen[start : start + BLOCK]]])
            for start in range(0, queries, BLOCK)
        ]
    )
    sink = Sink(str(path), None)
    for start in range(0, queries, BLOCK):
        sink.write(_block(rng, start, min(BLOCK, queries - start), negatives, documents, ids, words))
    sink.commit([])


def _block(
    rng: np.random.Generator,
    start: int,
    queries: int,
    negatives: int,
    documents: pa.Array,
    ids: pa.Array,
    words: np.ndarray,
) -> pa.Table:
    """The rows of `queries` queries from number `start` on."""
    import numpy as np
    import pyarrow as pa

    from pairmine.schema import as_pairs

    query = np.repeat(np.arange(queries), negatives + 1)
    place = np.tile(np.arange(negatives + 1), queries)
    at = np.where(place == 0, query + start, rng.integers(0, len(ids), len(query)))
    texts = pa.array([" ".join(text) for text in words[rng.integers(0, len(words), (queries, 8))]])
    used, codes = np.unique(at, return_inverse=True)
    columns = {
        "query_id": pa.array([f"query-{start + number}" for number in range(queries)]).take(pa.array(query)),
        "query": pa.DictionaryArray.from_arrays(pa.array(query, pa.int32()), texts),
        "doc_id": ids.take(pa.array(at)),
        "document": pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), documents.take(pa.array(used))),
        "label": pa.array(place == 0).cast(pa.int8()),
        "origin": pa.array(["given", "mine:bm25"]).take(pa.array(np.minimum(place, 1))),
    }
    return as_pairs(pa.table(columns))


if __name__ == "__main__":
    main()
