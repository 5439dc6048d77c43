"""How long `pairmine --help` takes, next to an empty Python process.

Usage: python benchmarks/startup.py [--runs 15]
Prints the median of each, in milliseconds; the goal for --help is 300.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

PAIRMINE = Path(sys.executable).with_name("pairmine")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "pairmine --help": [str(PAIRMINE), "--help"],
    "pairmine mine --help": [str(PAIRMINE), "mine", "--help"],
    "pairmine derive --help": [str(PAIRMINE), "derive", "--help"],
}


def main() -> None:
    """Time the commands in turn and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - started)
    for name, seconds in taken.items():
        print(f"{name:<24} {statistics.median(seconds[1:]) * 1000:6.0f} ms")


if __name__ == "__main__":
    main()
