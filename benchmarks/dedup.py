"""`pairmine dedup` against other removers of near duplicates, on passages with planted copies and exact truth.

    python benchmarks/dedup.py --work FOLDER                           # 150,000 passages, word 3-grams and 5-grams
    python benchmarks/dedup.py --work FOLDER --rows 10000              # small: start-up counts; datatrove as well
    python benchmarks/dedup.py --work FOLDER --only pairmine rensa --ngram 3 --rounds 1
    python benchmarks/dedup.py --work FOLDER --scale 300000 1000000 3000000 5000000 --memory 500MB

Each side is a whole process: it reads Parquet (id, text) and writes Parquet with the ids that stay; pairmine-rows and
pairmine-memory write the rows. Sides take turns, medians are shown. Peers get environments of their own, made by this
script and kept in FOLDER with the corpus and the truth (3 GB; 6 GB more for `--scale`). Truth: all pairs with an exact
Jaccard similarity of 0.5 or more (`_dedup_truth.py`), found without any sketch.

recall: of the pairs at a similarity or above, the share of which not both stay. precision: of the rows removed, the
share that has any partner at it or above. `ideal` counts what goes when one of each connected group stays. pairmine's
rules for short texts are off here, since the truth has none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from filecmp import cmp
from pathlib import Path
from statistics import median
from typing import Any

from _dedup_environments import python_of
from _process import PAIRMINE, Cost, run

OURS: dict[str, list[str]] = {
    "pairmine": ["--ids-only"],
    "pairmine-rows": [],
    "pairmine-plain": ["--ids-only"],
    "pairmine-memory": [],
}
"""Ids out as from the peers, whole rows out, without numba, and whole rows within `--memory`."""

PEERS = {
    "datasketch": "datasketch",
    "datasketch-xxh32": "datasketch",
    "text-dedup": "text-dedup",
    "datatrove": "datatrove",
    "rensa": "rensa",
    "rensa-32-bands": "rensa",
    "gaoya": "gaoya",
    "duckdb": "duckdb",
    "duckdb-verified": "duckdb",
}
"""Each side of `_dedup_peers.py` and its environment."""

SLOW = {"datatrove": 30_000}
"""Rows up to which a side takes part without being named."""

# Numba is there, but this process is not to find it.
_HIDDEN = """\
from importlib.machinery import PathFinder

_find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in ("numba", "llvmlite") else _find(name, *rest)
"""


def main() -> None:
    """Make what is missing, let the sides take turns, print tables in Markdown."""
    options = _options()
    if options.step:
        _step(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.work = options.work or Path(folder)
        options.work.mkdir(parents=True, exist_ok=True)
        if options.scale:
            _scale(options)
            return
        sides = _sides(options)
        for ngram in options.ngram:
            _compare(options, sides, ngram)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--ngram", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--permutations", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*OURS, *PEERS], metavar="SIDE", help=", ".join([*OURS, *PEERS]))
    parser.add_argument("--scale", type=int, nargs="+", metavar="ROWS", help="pairmine alone, on growing corpora")
    parser.add_argument("--memory", help="run pairmine within this bound as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="corpora, truth and environments, kept; else a temporary folder")
    parser.add_argument("--peers-venv", type=Path, help="where the environments are; WORK/environments")
    parser.add_argument("--step", choices=("corpus", "truth", "judge"), help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threshold < 0.6:
        parser.error("--threshold: the truth begins at 0.5, and 0.1 below the threshold is shown as well")
    if "pairmine-memory" in (options.only or ()) and not options.memory:
        parser.error("pairmine-memory wants --memory SIZE")
    return options


def _step(options: argparse.Namespace) -> None:
    """What needs much memory, in a process of its own."""
    files = _files(options, options.rows, options.ngram[0])
    if options.step == "corpus":
        import _dedup_corpus

        _dedup_corpus.write(files["corpus"], files["planted"], options.rows, options.seed)
    elif options.step == "truth":
        import _dedup_truth

        _dedup_truth.write(files["corpus"], files["planted"], files["truth"], options.ngram[0])
    else:
        import _dedup_judge

        sides = options.side.split(",")
        kept = {side: _kept(options, side) for side in sides}
        print(json.dumps(_dedup_judge.judge(files["truth"], files["planted"], kept, options.threshold)))


def _files(options: argparse.Namespace, rows: int, ngram: int) -> dict[str, Path]:
    stem = f"{rows}-seed-{options.seed}"
    return {
        "corpus": options.work / f"corpus-{stem}.parquet",
        "planted": options.work / f"planted-{stem}.parquet",
        "truth": options.work / f"truth-{stem}-ngram-{ngram}.npz",
    }


def _make(options: argparse.Namespace, what: str, rows: int, ngram: int) -> Path:
    path = _files(options, rows, ngram)[what]
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr, flush=True)
        _call(options, what, rows, ngram)
    return path


def _call(options: argparse.Namespace, step: str, rows: int, ngram: int, *words: str) -> str:
    command = [sys.executable, __file__, "--step", step, "--rows", str(rows), "--ngram", str(ngram)]
    command += ["--seed", str(options.seed), "--work", str(options.work), "--threshold", str(options.threshold), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# One side.


def _sides(options: argparse.Namespace) -> dict[str, Path]:
    """The Python of each side that takes part; a peer that does not install is named and left out."""
    names = options.only or [side for side in (*OURS, *PEERS) if options.rows <= SLOW.get(side, options.rows)]
    if not options.memory:
        names = [side for side in names if side != "pairmine-memory"]
    folder = options.peers_venv or options.work / "environments"
    sides, broken = {}, set()
    for side in names:
        environment = PEERS.get(side)
        if environment in broken:
            continue
        try:
            sides[side] = python_of(folder, environment) if environment else Path(sys.executable)
        except SystemExit as reason:
            print(f"{environment} does not install, so it takes no part: {reason}\n")
            broken.add(environment)
    return sides


def _kept(options: argparse.Namespace, side: str) -> Path:
    kept: Path = options.work / f"kept-{side}.parquet"
    return kept


def _run(options: argparse.Namespace, side: str, python: Path, corpus: Path, ngram: int) -> Cost:
    """One run of a side: what its process cost."""
    settings: list[str | Path] = ["--threshold", str(options.threshold), "--ngram", str(ngram)]
    settings += ["--permutations", str(options.permutations)]
    kept = _kept(options, side)
    kept.unlink(missing_ok=True)
    if side not in OURS:
        peers = Path(__file__).with_name("_dedup_peers.py")
        return run([python, peers, side, corpus, kept, *settings], HF_HUB_OFFLINE="1")
    command = [PAIRMINE, "dedup", corpus, "--quiet", "--sentence-words", "0", "--short-text-words", "0", *settings]
    command += OURS[side]
    if side == "pairmine-memory":
        command += ["--memory", options.memory]
    if side != "pairmine-plain":
        return run([*command, "-o", kept])
    hidden = options.work / "without-numba"
    hidden.mkdir(exist_ok=True)
    (hidden / "sitecustomize.py").write_text(_HIDDEN)
    return run([*command, "-o", kept], PYTHONPATH=str(hidden))


def _warm_up(options: argparse.Namespace, corpus: Path, ngram: int) -> None:
    """Let numba compile what it keeps from then on, and say how long that run took."""
    cost = _run(options, "pairmine", Path(sys.executable), corpus, ngram)
    print(f"pairmine, a first run that is not counted: {cost.seconds:.1f} s\n", flush=True)


# The comparison.


def _compare(options: argparse.Namespace, sides: dict[str, Path], ngram: int) -> None:
    corpus = _make(options, "corpus", options.rows, ngram)
    _make(options, "truth", options.rows, ngram)
    _warm_up(options, corpus, ngram)
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    failed: dict[str, str] = {}
    for number in range(options.rounds):
        for side in list(costs) if number % 2 == 0 else list(reversed(costs)):
            if side in failed:
                continue
            try:
                costs[side].append(_run(options, side, sides[side], corpus, ngram))
            except SystemExit as reason:
                failed[side] = str(reason).splitlines()[-1]
    ran = [side for side in sides if side not in failed]
    judged = json.loads(_call(options, "judge", options.rows, ngram, "--side", ",".join(ran)))
    print(
        f"{options.rows:,} rows, word {ngram}-grams, threshold {options.threshold}, {options.permutations} hashes, "
        f"median of {options.rounds}; {judged['truth']}\n"
    )
    middle = {side: _middle(costs[side]) for side in ran}
    _show_sides(options, middle, judged["sides"])
    for side, line in failed.items():
        print(f"{side} failed: {line}\n")
    _show_ratios(middle)
    _show_kinds(judged["kinds"], ran)


def _middle(costs: list[Cost]) -> Cost:
    return Cost(*(median(getattr(cost, name) for cost in costs) for name in ("seconds", "cpu_s", "peak_mb")))


def _show_sides(options: argparse.Namespace, middle: dict[str, Cost], judged: dict[str, dict[str, float]]) -> None:
    figures = list(next(iter(judged.values())))
    print("| | rows/s | seconds | CPU, s | peak, MB | " + " | ".join(figures) + " |")
    print("|---" * (5 + len(figures)) + "|")
    for side, cost in middle.items():
        values = [_figure(value) for value in judged[side].values()]
        row = [
            f"{options.rows / cost.seconds:,.0f}",
            f"{cost.seconds:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_mb:,.0f}",
        ]
        print(f"| {side} | " + " | ".join(row + values) + " |")
    print()


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _show_ratios(middle: dict[str, Cost]) -> None:
    """How many times as fast pairmine is, and its memory as a share of theirs."""
    ours = middle.get("pairmine")
    peers = [side for side in middle if side in PEERS]
    if not ours or not peers:
        return
    print("| pairmine to | times as fast | by CPU | of its memory |")
    print("|---|---|---|---|")
    for side in peers:
        cost = middle[side]
        speeds = f"{cost.seconds / ours.seconds:.1f} | {cost.cpu_s / ours.cpu_s:.1f}"
        print(f"| {side} | {speeds} | {ours.peak_mb / cost.peak_mb:.2f} |")
    print()


def _show_kinds(kinds: list[dict[str, Any]], sides: list[str]) -> None:
    print("Planted copies that are as similar as the threshold to their original, and of those the share removed:\n")
    print("| | so similar | " + " | ".join(sides) + " |")
    print("|---" * (2 + len(sides)) + "|")
    for kind in kinds:
        caught = ["" if share is None else f"{share:.3f}" for share in kind["caught"]]
        print(f"| {kind['kind']} | {kind['share']:.3f} | " + " | ".join(caught) + " |")
    print(flush=True)


# Growth.


def _scale(options: argparse.Namespace) -> None:
    sides = ["pairmine-rows", *(["pairmine-memory"] if options.memory else [])]
    ngram = options.ngram[0]
    _warm_up(options, _make(options, "corpus", options.scale[0], ngram), ngram)
    print("| rows | | seconds | CPU, s | seconds a million | CPU, s a million | peak, MB | kept, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in options.scale:
        corpus = _make(options, "corpus", rows, ngram)
        for side in sides:
            costs = [_run(options, side, Path(sys.executable), corpus, ngram) for _ in range(options.rounds)]
            cost = _middle(costs)
            times = [cost.seconds, cost.cpu_s, cost.seconds * 1e6 / rows, cost.cpu_s * 1e6 / rows]
            words = " | ".join(f"{value:,.1f}" for value in times)
            size = os.path.getsize(_kept(options, side)) / 1e6
            name = f"`--memory {options.memory}`" if side == "pairmine-memory" else ""
            print(f"| {rows:,} | {name} | {words} | {cost.peak_mb:,.0f} | {size:,.0f} |", flush=True)
        written = [_kept(options, side) for side in sides]
        if not cmp(written[0], written[-1], shallow=False):
            raise SystemExit(f"{rows:,} rows: within --memory {options.memory} other bytes are written")


if __name__ == "__main__":
    main()
