"""Time and memory of `pairmine convert` on a large JSONL corpus.

    python benchmarks/convert.py            # 2 GB
    python benchmarks/convert.py --mb 200

The corpus is made of pseudo-words with the frequencies of a natural text (Zipf), in a temporary
folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VOCABULARY = 50_000
BLOCK = 20_000


def write_corpus(path: Path, size: int) -> int:
    """Write at least `size` bytes of {"_id", "title", "text", "url"} lines; returns the number of lines."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = ["".join(letters[np.minimum(rng.geometric(0.12, rng.integers(2, 11)) - 1, 25)]) for _ in range(VOCABULARY)]
    written = rows = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            drawn = np.minimum(rng.zipf(1.2, (BLOCK // 100, 100)), VOCABULARY) - 1
            for row in drawn:
                text = " ".join([words[at] for at in row])
                document = {
                    "_id": f"doc-{rows}",
                    "title": text[:30],
                    "text": text,
                    "url": f"https://example.org/{rows}",
                }
                written += file.write(json.dumps(document) + "\n")
                rows += 1
    return rows


def main() -> None:
    """Make the corpus, convert it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mb", type=int, default=2000, help="size of the corpus")
    parser.add_argument("--to", default="parquet", help="ending of the output")
    given = parser.parse_args()
    command = shutil.which("pairmine", path=str(Path(sys.executable).parent)) or "pairmine"
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder, "corpus.jsonl"), Path(folder, f"corpus.{given.to}")
        rows = write_corpus(corpus, given.mb * 1_000_000)
        started = time.perf_counter()
        subprocess.run([command, "convert", str(corpus), "-q", "-o", str(out)], check=True)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = corpus.stat().st_size / 1e6
        print(
            f"{size:,.0f} MB in {rows:,} rows: {seconds:.1f} s, {size / seconds:.0f} MB/s, peak {peak:.0f} MB,", end=" "
        )
        print(f"{out.stat().st_size / 1e6:,.0f} MB out")


if __name__ == "__main__":
    main()
