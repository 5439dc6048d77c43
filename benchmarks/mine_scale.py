"""Time and peak memory of `pairmine mine` as the corpus grows, under `--memory` and without a bound.

    python benchmarks/mine_scale.py                          # 125,000 to 1,000,000 documents, 10,000 queries
    python benchmarks/mine_scale.py --sizes 20000 40000 --queries 1000 --runs 1
    python benchmarks/mine_scale.py --sizes 1000000 --pairmine --index ivf

The whole command on files: a corpus and a pair set in Parquet, ready-made vectors of 384 dimensions in `.npy`, which
pairmine reads by `npy:`. The peak is the resident set of the process, pages of mapped files included, as the kernel
keeps it. Runs take turns; the last size is run without the bound as well. A straight line is fitted through the
medians, and how far each lies off it is printed.
"""

from __future__ import annotations

import argparse
import os
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

CHUNK = 100_000
CENTRES = 500
VOCABULARY = 50_000
WORDS = 60


def main() -> None:
    """Make the data, run every size in turn, print the table and the lines through it."""
    options = _options()
    if options.step:
        _make_data(options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        base = [sys.executable, __file__, "--step", "data", "--folder", name, "--sizes", *map(str, options.sizes)]
        for setting in ("queries", "dim", "seed"):
            base += [f"--{setting}", str(getattr(options, setting))]
        subprocess.run(base, check=True)
        cases = [(size, True) for size in options.sizes] + [(options.sizes[-1], False)]
        costs: dict[tuple[int, bool], list[Cost]] = {case: [] for case in cases}
        for number in range(options.runs):
            for case in cases if number % 2 == 0 else cases[::-1]:
                costs[case].append(run(_command(options, folder, *case)))
        _compare_outputs(folder, options.sizes[-1])
        sizes = {case: _output(folder, *case).stat().st_size / 1e6 for case in cases}
        _report(options, costs, sizes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[125_000, 250_000, 500_000, 1_000_000], metavar="N")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--unbounded", default="1TB", help="the --memory of the run without a bound")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where files are put meanwhile: about 2.2 GB per million documents")
    parser.add_argument("--pairmine", nargs=argparse.REMAINDER, default=[], help="more options for it; the last one")
    parser.add_argument("--step", choices=["data"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.sizes.sort()
    return options


def _command(options: argparse.Namespace, folder: Path, size: int, is_bounded: bool) -> list[str]:
    vectors = f"npy:{folder / f'documents-{size}.npy'},{folder / 'queries.npy'}"
    command = [PAIRMINE, "mine", str(folder / "pairs.parquet"), "--corpus", str(folder / f"corpus-{size}.parquet")]
    command += ["--retriever", vectors, "--depth", str(options.depth), "--quiet"]
    command += ["--memory", options.memory if is_bounded else options.unbounded]
    return [*command, "-o", str(_output(folder, size, is_bounded)), *options.pairmine]


def _output(folder: Path, size: int, is_bounded: bool) -> Path:
    return folder / f"mined-{size}-{'bounded' if is_bounded else 'unbounded'}.parquet"


def _compare_outputs(folder: Path, size: int) -> None:
    """That memory changes no row: the largest size with and without the bound gives the same table."""
    code = """
import sys
import pyarrow.parquet as pq
one, other = (pq.ParquetFile(path) for path in sys.argv[1:])
same = one.metadata.num_rows == other.metadata.num_rows and all(
    a.cast(b.schema).equals(b)
    for a, b in zip(one.iter_batches(65536), other.iter_batches(65536), strict=True)
)
print(f"{one.metadata.num_rows:,} rows; with and without the bound", "the same" if same else "NOT THE SAME")
"""
    subprocess.run(
        [sys.executable, "-c", code, *(str(_output(folder, size, bounded)) for bounded in (True, False))], check=True
    )


def _report(
    options: argparse.Namespace, costs: dict[tuple[int, bool], list[Cost]], sizes: dict[tuple[int, bool], float]
) -> None:
    print(f"{options.queries:,} queries, {options.dim} dimensions, depth {options.depth}, median of {options.runs}")
    print(f"{'documents':>12}{'--memory':>12}{'seconds':>10}{'CPU, s':>10}{'peak, MB':>10}{'output, MB':>12}")
    middle = {}
    for (size, is_bounded), found in costs.items():
        values = [median(each) for each in zip(*((c.seconds, c.cpu_s, c.peak_mb) for c in found), strict=True)]
        middle[size, is_bounded] = values
        memory = options.memory if is_bounded else options.unbounded
        figures = f"{values[0]:>10,.1f}{values[1]:>10,.1f}{values[2]:>10,.0f}{sizes[size, is_bounded]:>12,.0f}"
        print(f"{size:>12,}{memory:>12}{figures}")
    last = options.sizes[-1]
    ratios = [one / other for one, other in zip(middle[last, True], middle[last, False], strict=True)]
    print(f"with / without the bound: seconds {ratios[0]:.2f}, CPU {ratios[1]:.2f}, peak {ratios[2]:.2f}")
    if len(options.sizes) > 2:
        for at, what in enumerate(("seconds", "CPU, s", "peak, MB")):
            _print_line(what, options.sizes, [middle[size, True][at] for size in options.sizes])


def _print_line(what: str, sizes: list[int], values: list[float]) -> None:
    """The line of least squares through the values, and how far each is off it."""
    millions = [size / 1e6 for size in sizes]
    mean_size, mean = sum(millions) / len(sizes), sum(values) / len(values)
    spread = sum((size - mean_size) ** 2 for size in millions)
    slope = sum((s - mean_size) * (v - mean) for s, v in zip(millions, values, strict=True)) / spread
    start = mean - slope * mean_size
    off = [value / (start + slope * size) - 1 for size, value in zip(millions, values, strict=True)]
    print(
        f"{what} = {start:,.1f} + {slope:,.1f} per million; off the line: " + " ".join(f"{each:+.1%}" for each in off)
    )


def _make_data(options: argparse.Namespace) -> None:
    """Unit vectors around 500 centres, made-up texts of 60 words, and for each query one positive document."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    centres = np.random.default_rng(options.seed).standard_normal((CENTRES, options.dim), np.float32)
    for size in options.sizes:
        path = options.folder / f"documents-{size}.npy"
        vectors = np.lib.format.open_memmap(path, "w+", np.float32, (size, options.dim))
        with pq.ParquetWriter(options.folder / f"corpus-{size}.parquet", _corpus_schema(), compression="zstd") as out:
            for start in range(0, size, CHUNK):  # the same first documents in every size
                end = min(start + CHUNK, size)
                vectors[start:end] = _unit_vectors(centres, options.seed + 1 + start, CHUNK)[: end - start]
                out.write_table(_texts(start, end))
        vectors.flush()
        del vectors
        _write_ids(path, size, "")
    np.save(options.folder / "queries.npy", _unit_vectors(centres, options.seed + 2, options.queries))
    _write_ids(options.folder / "queries.npy", options.queries, "q")
    positives = np.random.default_rng(options.seed).integers(0, options.sizes[0], options.queries)
    texts = _texts(0, options.sizes[0])["text"].take(pa.array(positives))
    pairs = {
        "query_id": [f"q{number}" for number in range(options.queries)],
        "query": [f"query {number}" for number in range(options.queries)],
        "doc_id": [str(place) for place in positives],
        "document": texts,
        "label": pa.array([1] * options.queries, pa.int8()),
        "origin": ["given"] * options.queries,
    }
    pq.write_table(pa.table(pairs), options.folder / "pairs.parquet")
    os.sync()  # so that writing it does not go on while the commands are timed


def _corpus_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema({"id": pa.string(), "text": pa.string()})


def _unit_vectors(centres: np.ndarray, seed: int, rows: int) -> np.ndarray:
    import numpy as np

    generator = np.random.default_rng(seed)
    vectors = centres[generator.integers(0, len(centres), rows)]
    vectors += generator.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _texts(start: int, end: int) -> pa.Table:
    """Documents of 60 made-up words of English length, as frequent as Zipf's law has it, and their number."""
    import numpy as np
    import pyarrow as pa

    generator = np.random.default_rng(7)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    lengths = generator.integers(2, 9, VOCABULARY)
    words = np.array(["".join(letters[generator.geometric(0.1, n).clip(1, 26) - 1]) for n in lengths], object)
    ranks = (VOCABULARY ** np.random.default_rng(start + 11).random((end - start, WORDS))).astype(np.int64) - 1
    texts = [f"document {start + at} " + " ".join(line) for at, line in enumerate(words[ranks].tolist())]
    return pa.table({"id": [str(number) for number in range(start, end)], "text": texts}, _corpus_schema())


def _write_ids(path: Path, rows: int, mark: str) -> None:
    with path.with_suffix(".ids.txt").open("w") as file:
        file.writelines(f"{mark}{row}\n" for row in range(rows))


if __name__ == "__main__":
    main()
