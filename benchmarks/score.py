"""The whole command `pairmine score` with a cross-encoder against sentence-transformers, on the same candidates.

Candidates are the `--depth` best documents by BM25 of each query of a judged collection, and its positives. The peers
score them with `CrossEncoder.predict` in its defaults: query by query, as `mine_hard_negatives` does ("by query"), or
in one list, which lets it sort by length over all queries ("at once"). Every side is a process of its own from a
file of pairs to a file of scores; sides take turns, and the median counts. "again" is pairmine's next run,
which finds everything in its store. Differences are to float32 probabilities of the peer: the largest,
the mean, Spearman's correlation, and how many pairs change sides at 0.1 and at 0.9.

    python benchmarks/score.py                                        # cranfield, 20 candidates a query, three runs
    python benchmarks/score.py --queries 20 --depth 5 --runs 1 --dtype auto
    python benchmarks/score.py --backend onnx-int8 --peers --data FOLDER --model FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from _process import PAIRMINE, Cost, run

SHARED = Path(__file__).resolve().parents[2] / "shared"
PEERS = {"by query": "the loop of mine_hard_negatives", "at once": "one list"}
AGAIN = "again, from the store"


def main() -> None:
    """Make the candidates, let the sides take turns, print a table."""
    options = _options()
    if options.step:
        _peer(options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs, count = _candidates(options, folder)
        sides = [*options.peers, *(f"torch {each}" for each in options.dtype), *options.backend, AGAIN]
        costs: dict[str, list[Cost]] = {side: [] for side in sides}
        for number in range(options.runs):
            store = tempfile.mkdtemp(dir=folder)
            for side in sides if number % 2 == 0 else [*sides[-2::-1], AGAIN]:
                costs[side].append(_run(side, options, folder, pairs, store))
        _report(costs, folder, count)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "cranfield", help="a folder in BEIR's form")
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "cross-encoder-minilm")
    parser.add_argument("--queries", type=int, help="the first so many; all of them otherwise")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--dtype", nargs="+", default=["auto", "float32"])
    parser.add_argument("--backend", nargs="*", default=[], choices=["onnx", "onnx-int8", "openvino"])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--step", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _candidates(options: argparse.Namespace, folder: Path) -> tuple[Path, int]:
    """A pair set of positives and BM25's candidates, and its rows."""
    mined, pairs = folder / "mined.jsonl", folder / "pairs.jsonl"
    words = ["--corpus", options.data / "corpus.jsonl.gz", "--retriever", "bm25", "--depth", str(options.depth)]
    run([PAIRMINE, "mine", options.data, *words, "--quiet", "-o", mined])
    wanted: set[str] = set()
    rows = 0
    with mined.open(encoding="utf-8") as lines, pairs.open("w", encoding="utf-8") as chosen:
        for line in lines:
            query = json.loads(line)["query_id"]
            if query in wanted or options.queries is None or len(wanted) < options.queries:
                wanted.add(query)
                chosen.write(line)
                rows += 1
    return pairs, rows


def _run(side: str, options: argparse.Namespace, folder: Path, pairs: Path, store: str) -> Cost:
    if side in PEERS:
        step = [sys.executable, __file__, "--step", side, "--folder", folder, "--model", options.model]
        return run(step, HF_HUB_OFFLINE="1")
    command: list[str | Path] = [PAIRMINE, "score", pairs, "--scorer", f"ce:{options.model}", "--quiet"]
    command += ["-o", folder / f"{side}.jsonl", "--store", store]
    if side in options.backend:
        command += ["--backend", side]
    else:
        command += ["--dtype", options.dtype[0] if side == AGAIN else side.split()[1]]
    return run(command, HF_HUB_OFFLINE="1")


def _peer(options: argparse.Namespace) -> None:
    """The peer's way from the file of pairs to a file of scores."""
    from sentence_transformers import CrossEncoder

    with (options.folder / "pairs.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    model = CrossEncoder(str(options.model))
    lists: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        lists.setdefault(row["query_id"] if options.step == "by query" else "", []).append(number)
    for numbers in lists.values():
        scores = model.predict([(rows[each]["query"], rows[each]["document"]) for each in numbers])
        for each, score in zip(numbers, scores.tolist(), strict=True):
            rows[each]["score_ce"] = score
    with (options.folder / f"{options.step}.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def _report(costs: dict[str, list[Cost]], folder: Path, count: int) -> None:
    def middle(side: str, what: str) -> float:
        return median(getattr(cost, what) for cost in costs[side])

    base = next(iter(costs))
    exact = next((side for side in ("by query", "at once", "torch float32") if side in costs), base)
    wanted = _scores(folder, exact)
    print(f"{count:,} pairs, median of {len(costs[base])}; differences to '{exact}'")
    heads = (
        "seconds",
        "of first",
        "CPU, s",
        "pairs/s",
        "peak MB",
        "max diff",
        "mean diff",
        "Spearman",
        "at .1",
        "at .9",
    )
    print(f"{'':24}" + "".join(f"{head:>11}" for head in heads))
    for side in costs:
        seconds = middle(side, "seconds")
        cells = [f"{seconds:.1f}", f"{seconds / middle(base, 'seconds'):.3f}", f"{middle(side, 'cpu_s'):.1f}"]
        cells += [f"{count / seconds:.0f}", f"{middle(side, 'peak_mb'):.0f}"]
        print(f"{side:24}" + "".join(f"{cell:>11}" for cell in [*cells, *_differences(_scores(folder, side), wanted)]))


def _scores(folder: Path, side: str) -> Any:
    import numpy as np

    with (folder / f"{side}.jsonl").open(encoding="utf-8") as lines:
        return np.array([json.loads(line)["score_ce"] for line in lines])


def _differences(found: Any, wanted: Any) -> list[str]:
    import numpy as np
    from scipy.stats import spearmanr

    apart = np.abs(found - wanted)
    turned = [int(((found < gate) != (wanted < gate)).sum()) for gate in (0.1, 0.9)]
    return [f"{apart.max():.5f}", f"{apart.mean():.6f}", f"{spearmanr(found, wanted)[0]:.6f}", *map(str, turned)]


if __name__ == "__main__":
    main()
