"""What `--engine ray` costs beside the local engine on the same cores, and what a second worker gains.

    python benchmarks/ray.py --work FOLDER                      # every stage, 3 runs: hours
    python benchmarks/ray.py --work FOLDER --stage score filter --runs 1 --cores 2
    python benchmarks/ray.py --work FOLDER --stage derive --scale 0.02

Whole commands, Parquet in and out: the local engine and Ray in turns, on one core and on two, which the process may
leave no more than its children. The seconds of "ray" hold the start and end of a cluster of its own, with a worker for
each core; those of "there" are on one of that size that was started before and stays, as a cluster does.
Elapsed seconds alone: nobody counts the CPU time of processes that Ray ends. Inputs and results stay in FOLDER, so
that a run that was stopped goes on: `results.jsonl` has a line per run, and the table is made of them. Stages are sized
to take a minute on two cores.

Nothing here imports Ray: this file would be found in its place.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _process import PAIRMINE

HERE = Path(__file__).parent
MODEL = "st:all-MiniLM-L6-v2"
SHARDS = 16
"""Of each input: some for every worker, so that none waits long for the last."""
SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PAIRMINE_STORE": "none",
    "RAY_AUTH_MODE": "disabled",
}
ENGINES = ["local", "ray", "there"]
ADDRESS = "127.0.0.1:6399"
_CHILD_SUBREAPER = 36
_REAP_S = 30
_START_S = 180


@dataclass(frozen=True)
class Stage:
    """A command, what it reads (`{corpus}`: made by `Inputs`), and how many rows of that take about a minute."""

    words: str
    rows: int


STAGES = {
    "derive": Stage("derive crops {corpus}", 1_800_000),
    "score": Stage("score {pairs} --scorer ce:{reranker} --max-length 128", 2_400),
    "embed": Stage(f"embed {{corpus}} --encoder {MODEL} --dtype float32", 6_000),
    "dedup": Stage("dedup {corpus}", 2_000_000),
    "mine": Stage("mine {pairs} --corpus {corpus} --retriever bm25 --depth 50", 60_000),
    "mine-vectors": Stage("mine {pairs_of_vectors} --corpus {corpus_of_vectors} --retriever npy:{vectors}", 400_000),
    "mine-ivf": Stage(
        "mine {pairs_of_vectors} --corpus {corpus_of_vectors} --retriever npy:{vectors} --index ivf", 400_000
    ),
    "filter": Stage("filter {candidates}", 30_000_000),
}


class Inputs:
    """Files that commands read, made once."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._rows = folder, rows

    def fill(self, words: str, reranker: str) -> list[str]:
        """The words of a command with paths in place of names."""
        return [word.format_map(_Lazily(self, reranker)) for word in words.split()]

    def made(self, name: str) -> Path:
        """The path of an input."""
        path = self._folder / f"{name}-{self._rows}.parquet"
        if name in ("pairs_of_vectors", "corpus_of_vectors", "vectors"):
            return self._of_vectors(name)
        if not path.exists():
            beside = path.with_name(f"making-{path.name}")
            getattr(self, f"_{name}")(beside)
            beside.rename(path)
        return path

    def _corpus(self, path: Path) -> None:
        """Written by pairmine, as all but the first input of a build is."""
        raw = self._folder / "raw.parquet"
        code = "import sys; from pathlib import Path; from _dedup_corpus import write; "
        code += "write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 0)"
        planted = self._folder / "planted.parquet"
        subprocess.run([sys.executable, "-c", code, raw, planted, str(self._rows)], cwd=HERE, check=True)
        subprocess.run([PAIRMINE, "convert", raw, "-q", "-o", path], check=True)

    def _pairs(self, path: Path) -> None:
        subprocess.run([PAIRMINE, "derive", "ict", self.made("corpus"), "-q", "-o", path], check=True)

    def _candidates(self, path: Path) -> None:
        words = ["--make", path, "--rows", str(self._rows), "--each", "10"]
        subprocess.run([sys.executable, HERE / "filter.py", *words], check=True)

    def _of_vectors(self, name: str) -> Path:
        folder = self._folder / f"vectors-{self._rows}"
        if not (folder / "made").exists():
            folder.mkdir(exist_ok=True)
            words = ["--step", "data", "--folder", folder, "--sizes", str(self._rows), "--queries", "20000"]
            subprocess.run([sys.executable, HERE / "mine_scale.py", *words], check=True)
            (folder / "made").touch()
        files = {
            "pairs_of_vectors": folder / "pairs.parquet",
            "corpus_of_vectors": folder / f"corpus-{self._rows}.parquet",
            "vectors": Path(f"{folder}/documents-{self._rows}.npy,{folder}/queries.npy"),
        }
        return files[name]


class _Lazily(dict[str, str]):
    def __init__(self, inputs: Inputs, reranker: str) -> None:
        super().__init__(reranker=reranker)
        self._inputs = inputs

    def __missing__(self, name: str) -> str:
        return str(self._inputs.made(name))


def main() -> None:
    """Make the inputs, run what has no result yet, and print the table."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    results = options.work / "results.jsonl"
    for stage in options.stage:
        rows = max(int(STAGES[stage].rows * options.scale), 1_000)
        words = Inputs(options.work, rows).fill(STAGES[stage].words, str(options.reranker))
        for number in range(options.runs):
            for cores in options.cores:
                for engine in options.engine:
                    case = {"stage": stage, "rows": rows, "cores": cores, "engine": engine, "run": number}
                    if not any(case.items() <= done.items() for done in _read(results)):
                        found = case | _measured(_command(words, engine, rows, options.work), cores, engine)
                        with results.open("a") as lines:
                            lines.write(json.dumps(found) + "\n")
        _show(stage, rows, _read(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where inputs and results are kept")
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES), metavar="NAME", help="all of them")
    parser.add_argument("--scale", type=float, default=1, help="so many times the rows of a stage")
    parser.add_argument("--runs", type=int, default=3, help="how often each case runs; medians are shown")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES, help="all of them")
    reranker = HERE.parents[1] / "shared" / "models" / "cross-encoder-minilm"
    parser.add_argument("--reranker", type=Path, default=reranker, help="the cross-encoder of stage score")
    return parser.parse_args()


def _command(words: list[str], engine: str, rows: int, work: Path) -> list[str]:
    out = work / "out" / ("out.parquet" if engine == "local" else "parts")
    shutil.rmtree(out.parent, ignore_errors=True)
    out.parent.mkdir()
    command = [PAIRMINE, *words, "-q", "-o", str(out)]
    if engine != "local":
        command += ["--engine", "ray", "--shard-rows", str(max(rows // SHARDS, 1))]
    if engine == "there":
        command += ["--ray-address", ADDRESS]
    return command


def _measured(command: list[str], cores: int, engine: str) -> dict[str, float]:
    """Elapsed seconds of a command, of which no process may use more than `cores` cores."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < cores:
        raise SystemExit(f"this machine gives {len(allowed)} cores; pass --cores")
    os.sched_setaffinity(0, allowed[:cores])
    try:
        with _cluster(cores) if engine == "there" else nullcontext():
            start = time.perf_counter()
            subprocess.run(command, check=True, env={**os.environ, **SETTINGS}, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, allowed)
    _wait_for_orphans()
    return {"seconds": round(seconds, 2)}


@contextmanager
def _cluster(cores: int) -> Iterator[None]:
    """A cluster of one node at `ADDRESS`, for as long as this is open."""
    host, port = ADDRESS.split(":")
    ray = str(Path(sys.executable).with_name("ray"))
    words = ["start", "--head", "--block", f"--node-ip-address={host}", f"--port={port}", f"--num-cpus={cores}"]
    words += ["--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={256 << 20}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, **SETTINGS}
    head = subprocess.Popen([ray, *words], env=environment, **quiet)
    asking = [ray, "status", f"--address={ADDRESS}"]
    try:
        end = time.monotonic() + _START_S
        while subprocess.run(asking, env=environment, capture_output=True, check=False).returncode:
            if time.monotonic() > end or head.poll() is not None:
                raise SystemExit(f"no cluster came up at {ADDRESS}")
            time.sleep(0.5)
        yield
    finally:
        head.kill()  # asked to end, it takes its leave of a cluster that it ends first
        head.wait()
        for left in _children():
            os.kill(left, signal.SIGKILL)


def _children() -> list[int]:
    """The processes whose parent is this one; those of a parent that is gone are among them."""
    return [int(pid) for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()]


def _wait_for_orphans() -> None:
    """Until all processes have ended that the command left, which are this one's children now."""
    end = time.monotonic() + _REAP_S
    with suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.05)


def _read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _show(stage: str, rows: int, results: list[dict[str, Any]]) -> None:
    """A line per number of cores and engine, with its cost in times of the local engine's; what a second core gains."""
    found = [each for each in results if (each["stage"], each["rows"]) == (stage, rows)]
    taken: dict[tuple[str, int], list[float]] = {}
    for each in found:
        taken.setdefault((each["engine"], each["cores"]), []).append(each["seconds"])
    middle = {case: median(seconds) for case, seconds in taken.items()}
    for engine, cores in sorted(middle, key=lambda case: (case[1], ENGINES.index(case[0]))):
        seconds = middle[engine, cores]
        print(f"{stage:<13} {rows:>11,} rows  {cores} cores  {engine:<5} {seconds:7.1f} s", end="")
        print(f"  ratio {seconds / middle['local', cores]:.2f}" if ("local", cores) in middle else "", flush=True)
    for engine in ENGINES:
        if (engine, 1) in middle and (engine, 2) in middle:
            print(f"{stage:<13} 1 to 2 cores: {engine} {middle[engine, 1] / middle[engine, 2]:.2f} times as fast")


if __name__ == "__main__":
    main()
