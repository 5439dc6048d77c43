"""Time and peak memory of `pairmine filter` over ten million candidates.

The tables are made up: one positive and some mined candidates per query, with texts of 20 words out of 200,000
documents, a rank, two scores, and the feedback of the known positives. Each command is a process of its own that
reads one file and writes another; only the thresholds differ, as when a user tries another margin.

    python benchmarks/filter.py --rows 10000000             # 1M queries of 10 candidates, 100k of 100
    python benchmarks/filter.py --rows 1000000 --runs 3
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

SHAPES = (10, 100)
"""Candidates per query."""

COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("--suspects", "20"),
    ("--relative-margin", "dense:0.05", "--max-score", "ce:0.6", "--anchor", "median", "--pick", "top"),
    ("--relative-margin", "0.05", "--no-suspects"),
    ("--candidate-gate", "ce:0.1:0.9", "--action", "gate-high=relabel", "--action", "gate-middle=keep"),
)
DOCUMENTS, WORDS, BLOCK = 200_000, 20, 220_000


def main() -> None:
    """Make the tables, run the commands over each, and print a line for each."""
    options = _options()
    if options.make:
        _make(Path(options.make), options.rows, options.each)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for each in SHAPES:
            table = Path(folder) / f"{each}.parquet"
            _again("--make", str(table), "--rows", str(options.rows), "--each", str(each))
            print(f"{options.rows // each:,} queries of {each} candidates, {table.stat().st_size / 1e6:,.0f} MB")
            for words in COMMANDS:
                costs = [
                    run([PAIRMINE, "filter", table, *words, "-q", "-o", Path(folder) / "out.parquet"])
                    for _ in range(options.runs)
                ]
                _show(" ".join(words) or "(the defaults)", costs)
            table.unlink()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="candidates in each table")
    parser.add_argument("--runs", type=int, default=1, help="how often each command runs; the median is shown")
    parser.add_argument("--folder", help="where the tables go; the system's temporary folder")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--each", type=int, default=SHAPES[0], help=argparse.SUPPRESS)
    return parser.parse_args()


def _again(*words: str) -> str:
    return subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True).stdout


def _show(what: str, costs: list[Cost]) -> None:
    seconds, cpu, peak = (median(getattr(cost, name) for cost in costs) for name in ("seconds", "cpu_s", "peak_mb"))
    print(f"  {seconds:6.1f} s  {cpu:6.1f} s of the processor  {peak:6,.0f} MB  {what}", flush=True)


def _make(path: Path, rows: int, each: int) -> None:
    """Write a pair set of `rows` candidates, `each` of them for every query, as `mine` writes its own."""
    import numpy as np
    import pyarrow as pa

    from pairmine.files.sink import Sink

    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(20_000)], object)
    documents = pa.array([" ".join(text) for text in words[rng.integers(0, len(words), (DOCUMENTS, WORDS))]])
    ids = pa.array([f"doc-{number}" for number in range(DOCUMENTS)])
    sink = Sink(str(path), None)
    for start in range(0, rows // each, BLOCK // each):
        sink.write(_block(rng, start, min(BLOCK // each, rows // each - start), each, documents, ids))
    sink.commit([])


def _block(
    rng: np.random.Generator, start: int, queries: int, each: int, documents: pa.Array, ids: pa.Array
) -> pa.Table:
    """Rows of `queries` queries from number `start` on: a positive, then candidates by falling cosine."""
    import numpy as np
    import pyarrow as pa

    from pairmine.schema import TEXT, as_pairs, score_field

    query = np.repeat(np.arange(queries), each + 1)
    place = np.tile(np.arange(each + 1), queries)
    at = rng.integers(0, len(ids), len(query))
    dense = np.where(place == 0, 0.75, 0.8 - 0.4 * (place / (each + 1)) ** 0.5) + rng.normal(0, 0.03, len(query))
    ce = 1 / (1 + np.exp(-(np.where(place == 0, 2.0, 1.0 - 4 * place / each) + rng.normal(0, 1, len(query)))))
    texts = pa.array(
        [f"question {start + number} about {number % 977} and {number % 389}" for number in range(queries)]
    )
    columns = {
        "query_id": pa.array([f"query-{start + number}" for number in range(queries)]).take(pa.array(query)),
        "query": pa.DictionaryArray.from_arrays(pa.array(query, pa.int32()), texts),
        "doc_id": ids.take(pa.array(at)),
        "document": pa.DictionaryArray.from_arrays(pa.array(at, pa.int32()), documents),
        "label": pa.array(np.ones(len(query)), pa.int8(), mask=place > 0),
        "origin": pa.array(["given", "mine:all-MiniLM-L6-v2"]).take(pa.array(np.minimum(place, 1))),
        "rank": pa.array(place, pa.int32(), mask=place == 0),
    }
    scores = {"dense": dense, "ce": ce, "feedback": rng.normal(0, 0.1, len(query))}
    scales = ("cosine", "probability", "difference")
    fields = [
        pa.field(name, TEXT if name in ("query", "document") else column.type) for name, column in columns.items()
    ]
    fields += [score_field(name, scale) for name, scale in zip(scores, scales, strict=True)]
    values = [pa.array(np.clip(column, -1, 1), pa.float32()) for column in scores.values()]
    return as_pairs(pa.table([*columns.values(), *values], schema=pa.schema(fields)))


if __name__ == "__main__":
    main()
