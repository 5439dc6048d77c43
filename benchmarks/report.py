"""Time and peak memory of `pairmine report`, and the size of its page.

The table is that of `mix.py`: queries of 8 words with one positive and some negatives each, of 40 words.

    python benchmarks/report.py --queries 166667           # with 1 positive and 5 negatives each, a million rows
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from _process import PAIRMINE, run


def main() -> None:
    """Make the table, report on it with the data tests and without them, and print a line for each run."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table, page = Path(folder) / "pairs.parquet", Path(folder) / "report.html"
        words = ("--make", str(table), "--queries", str(options.queries))
        subprocess.run([sys.executable, str(Path(__file__).with_name("mix.py")), *words], check=True)
        for flags in ([], ["--no-check"]):
            cost = run([PAIRMINE, "report", table, "-q", "-o", page, *flags])
            size = page.stat().st_size / 1e6
            print(
                f"  {cost.seconds:6.1f} s  {cost.cpu_s:6.1f} s of the processor  {cost.peak_mb:6,.0f} MB  "
                f"page {size:.2f} MB  report {' '.join(flags)}",
                flush=True,
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=166_667, help="how many queries the table has")
    parser.add_argument("--folder", help="where the table goes; the system's temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
