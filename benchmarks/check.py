"""Time and peak memory of `pairmine check`, all tests together and some by themselves.

The table is that of `mix.py`: queries of 8 words with one positive and some negatives each, of 40 words, a tenth of
them near copies of others. A run with a single test shows what reading costs; what it takes more is that test's.

    python benchmarks/check.py --queries 100000            # 1 positive and 5 negatives each
    python benchmarks/check.py --queries 1000000 --only-all
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from _process import PAIRMINE, run

ALONE = (
    "no-rows",
    "near-positive-among-negatives",
    "query-copies-document",
    "broken-text",
    "language-mixture",
    "length-tells-label",
)
PASSES = [part for name in ("no-positive", "positive-among-negatives") for part in ("--max", f"{name}=1.0")]


def main() -> None:
    """Make the table, check it, and print a line for each run."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table = Path(folder) / "pairs.parquet"
        words = ("--make", str(table), "--queries", str(options.queries), "--negatives", str(options.negatives))
        subprocess.run([sys.executable, str(Path(__file__).with_name("mix.py")), *words], check=True)
        rows = options.queries * (options.negatives + 1)
        print(f"{rows:,} rows, {table.stat().st_size / 1e6:,.0f} MB")
        _show("all tests", table, rows, PASSES)
        for name in () if options.only_all else ALONE:
            _show(name, table, rows, ["--only", name, "--max", f"{name}=1.0"])


def _show(what: str, table: Path, rows: int, arguments: list[str]) -> None:
    cost = run([PAIRMINE, "check", table, "-q", *arguments])
    speed = f"{rows / cost.seconds:9,.0f} rows/s"
    print(
        f"  {cost.seconds:6.1f} s  {cost.cpu_s:6.1f} s of the processor  {speed}  {cost.peak_mb:6,.0f} MB  {what}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000, help="how many queries the table has")
    parser.add_argument("--negatives", type=int, default=5, help="negatives of each")
    parser.add_argument("--only-all", action="store_true", help="leave out the runs with a single test")
    parser.add_argument("--folder", help="where the table goes; the system's temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
