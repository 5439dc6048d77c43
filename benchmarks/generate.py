"""Requests a second and memory of `pairmine generate` against an instant chat server on this machine.

Next to it, on the same server, with the same chats and as many at once: a bare loop (`AsyncOpenAI`, a semaphore and
`asyncio.gather`; prompts rendered beforehand, replies parsed as JSON and nothing kept), and distilabel in a virtual
environment of its own, which is made when it is not there. Runs take turns. Each side is timed with two numbers of
requests, and the rate is that of the difference, so that start-up does not count.

    python benchmarks/generate.py                        # instant, 50 ms and 500 ms a reply; against both
    python benchmarks/generate.py --case 0:64 --runs 5 --without distilabel
    python benchmarks/generate.py --memory 20000 100000 200000
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import _words

HERE = Path(__file__).parent
SIDES = ("bare loop", "pairmine", "distilabel")
DISTILABEL = ("distilabel[openai]==1.5.3", "openai==3.52.0", "datasets==5.2.0", "requests==2.34.2")


@dataclass(frozen=True)
class Run:
    """One process: its requests, and the seconds that they took. `whole_s` and `cpu_s` are of the whole process."""

    rows: int
    seconds: float
    whole_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Case:
    """What the server is like: seconds until a reply, and how many requests at once."""

    delay_s: float
    concurrency: int

    @classmethod
    def of(cls, text: str) -> Case:
        """The case written as `DELAY_S:CONCURRENCY`."""
        delay_s, _, concurrency = text.partition(":")
        return cls(float(delay_s), int(concurrency))


def main() -> None:
    """Run what was asked for and print a table of it."""
    options = _options()
    if options.bare:
        _bare(*options.bare)
        return
    with tempfile.TemporaryDirectory() as name:
        if options.memory:
            _report_memory(Path(name), sorted(options.memory))
            return
        sides = [side for side in SIDES if side not in options.without]
        _write_documents(Path(name), options.rows[1], sentences=5)
        _write_requests(Path(name))
        for case in options.case:
            _report(case, _take_turns(case, sides, Path(name), options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = [Case(0.0, 64), Case(0.05, 64), Case(0.5, 256)]
    parser.add_argument("--case", type=Case.of, nargs="+", default=cases, metavar="DELAY_S:CONCURRENCY")
    parser.add_argument("--rows", type=int, nargs=2, default=[1000, 5000], metavar="N", help="the two sizes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--without", nargs="+", choices=SIDES, default=[])
    parser.add_argument("--memory", type=int, nargs="+", metavar="N", help="memory as so many are answered, instead")
    default = Path(tempfile.gettempdir()) / "pairmine-benchmark-distilabel"
    parser.add_argument("--venv", type=Path, default=default, help="distilabel's environment")
    parser.add_argument("--bare", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


# What is asked.


def _write_documents(folder: Path, rows: int, *, sentences: int) -> None:
    with (folder / "documents.jsonl").open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"id": str(number), "text": _words.document(number, sentences)}) + "\n")


def _write_requests(folder: Path) -> None:
    """The bodies of the requests that `pairmine generate` sends for the documents, for the other sides."""
    files = folder / "requests"
    command = [*_generate(folder), "--batch-files", str(files), "--ledger", str(folder / "none.db")]
    subprocess.run([*command, "-o", str(folder / "none.parquet")], stderr=subprocess.DEVNULL, check=False)
    with (folder / "requests.jsonl").open("w") as out:
        for file in sorted(files.glob("requests-*.jsonl")):
            with file.open() as lines:
                out.writelines(json.dumps(json.loads(line)["body"]) + "\n" for line in lines)


def _generate(folder: Path) -> list[str]:
    pairmine = Path(sys.executable).with_name("pairmine")
    return [str(pairmine), "generate", "queries", str(folder / "documents.jsonl"), "--llm", "openai:test-model"]


@contextmanager
def _server(delay_s: float) -> Iterator[str]:
    command = [sys.executable, str(HERE / "_chat_server.py"), str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


# The sides.


def _take_turns(case: Case, sides: list[str], folder: Path, options: argparse.Namespace) -> dict[str, list[list[Run]]]:
    """For each side a list of turns, each a run with fewer rows and one with more."""
    python = _distilabel_python(options.venv) if "distilabel" in sides else ""
    turns: dict[str, list[list[Run]]] = {side: [] for side in sides}
    with _server(case.delay_s) as base_url:
        for number in range(options.runs):
            for side in sides if number % 2 == 0 else sides[::-1]:
                turns[side].append([_run(side, case, base_url, rows, folder, python) for rows in options.rows])
    return turns


def _run(side: str, case: Case, base_url: str, rows: int, folder: Path, python: str) -> Run:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if side == "pairmine":
            return _measured(_ours(base_url, case.concurrency, rows, folder, scratch), rows, scratch)
        given = [base_url, str(folder / "requests.jsonl"), str(rows), str(case.concurrency)]
        if side == "distilabel":
            return _measured([python, str(HERE / "_distilabel.py"), *given, scratch], rows, scratch)
        whole = _measured([sys.executable, __file__, "--bare", *given], rows, scratch)
        loop = json.loads(Path(scratch, "out").read_text())
        return Run(rows, loop["seconds"], whole.whole_s, loop["cpu_s"], whole.peak_mb)


def _ours(base_url: str, concurrency: int, rows: int, folder: Path, scratch: str) -> list[str]:
    return [
        *_generate(folder),
        *("--base-url", base_url, "--concurrency", str(concurrency), "--limit", str(rows)),
        *("--ledger", f"{scratch}/ledger.db", "-o", f"{scratch}/pairs.parquet", "--summary", f"{scratch}/summary.json"),
    ]


def _measured(command: list[str], rows: int, scratch: str) -> Run:
    """Run a command to its end, its words kept in a file that is shown if it fails."""
    # Without its lines for each request, distilabel is four times as fast.
    environment = {**os.environ, "DISTILABEL_LOG_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}
    environment.pop("OPENAI_API_KEY", None)
    with Path(scratch, "out").open("w") as out, Path(scratch, "err").open("w") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        whole_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{Path(scratch, 'err').read_text()[-3000:]}")
    _check_rows(scratch, rows)
    return Run(rows, whole_s, whole_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _check_rows(scratch: str, rows: int) -> None:
    """Our run counts only if it wrote what was asked: two pairs a request, but for a few that came out alike."""
    summary = Path(scratch, "summary.json")
    if summary.exists():
        counts = json.loads(summary.read_text())
        if counts["rows_out"] < 1.95 * rows:
            raise SystemExit(f"only {counts['rows_out']} pairs of {rows} requests: {counts['rejected']}")


def _bare(base_url: str, requests: str, rows: str, concurrency: str) -> None:
    """The bare loop; prints the seconds that it took, without reading the requests."""
    import asyncio

    from openai import AsyncOpenAI

    with Path(requests).open() as lines:
        bodies = [json.loads(line) for line in islice(lines, int(rows))]
    assert len(bodies) == int(rows), f"{len(bodies)} requests were written, not {rows}"

    async def ask_all() -> list[Any]:
        gate = asyncio.Semaphore(int(concurrency))
        async with AsyncOpenAI(base_url=base_url, api_key="none") as client:

            async def ask(body: dict[str, Any]) -> Any:
                async with gate:
                    completion = await client.chat.completions.create(**body)
                return json.loads(completion.choices[0].message.content or "")

            return await asyncio.gather(*map(ask, bodies))

    start, start_cpu = time.perf_counter(), time.process_time()
    replies = asyncio.run(ask_all())
    assert all(reply["query"] for reply in replies)
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - start_cpu}))


def _distilabel_python(venv: Path) -> str:
    """The interpreter of distilabel's environment, which is made if it is not there."""
    python, done = venv / "bin" / "python", venv / ".installed"
    if not done.exists():
        print(f"installing {', '.join(DISTILABEL)} into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *DISTILABEL], check=True)
        done.touch()
    return str(python)


# What came out.


def _report(case: Case, turns: dict[str, list[list[Run]]]) -> None:
    some = next(iter(turns.values()))
    fewer, more = some[0]
    print(
        f"{case.delay_s:g} s a reply, {case.concurrency} at once: {more.rows:,} requests less {fewer.rows:,}, ", end=""
    )
    print(f"median of {len(some)}")
    columns = "".join(f"{name:>{width}}" for name, width in _COLUMNS.items())
    print(f"{'':<12}{columns}")
    bare = turns.get("bare loop", [])
    for side, runs in turns.items():
        cells = [
            f"{median(map(_rate, runs)):,.0f}",
            _against([_rate(own) / _rate(other) for own, other in zip(runs, bare, strict=False)]),
            f"{median(map(_cpu_us, runs)):,.0f}",
            _against([_cpu_us(own) / _cpu_us(other) for own, other in zip(runs, bare, strict=False)]),
            f"{median(turn[1].whole_s for turn in runs):.1f}",
            f"{median(turn[1].peak_mb for turn in runs):,.0f}",
        ]
        print(f"{side:<12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, _COLUMNS.values(), strict=True)))
    print(flush=True)


_COLUMNS = {"requests/s": 11, "of bare": 18, "CPU us each": 13, "of bare ": 18, "whole, s": 10, "peak, MB": 10}


def _against(ratios: list[float]) -> str:
    """The median of ratios, each between two runs of one turn, and their range."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else ""


def _cpu_us(runs: list[Run]) -> float:
    """Microseconds of processor time for a request: with other work on the machine, the steadier figure."""
    fewer, more = runs
    return (more.cpu_s - fewer.cpu_s) / (more.rows - fewer.rows) * 1e6


def _rate(runs: list[Run]) -> float:
    fewer, more = runs
    return (more.rows - fewer.rows) / (more.seconds - fewer.seconds)


def _report_memory(folder: Path, marks: list[int]) -> None:
    """Memory of one run about short documents as its replies pass each of `marks`, and its peak at the end."""
    _write_documents(folder, max(marks), sentences=2)
    print(f"{'replies':>10}{'seconds':>10}{'memory, MB':>12}{'peak, MB':>10}{'bytes a reply since the line above':>36}")
    start, before, memory = time.perf_counter(), (0, 0.0), (0.0, 0.0)
    with _server(0.0) as base_url, (folder / "err").open("w") as err:
        command = _ours(base_url, 64, max(marks), folder, str(folder))
        with subprocess.Popen(command, stderr=err) as process:
            for mark in marks:
                # At the last one the file is still to be finished.
                while process.poll() is None and (mark == marks[-1] or _replies_in(folder / "ledger.db") < mark):
                    memory = _memory_mb(process.pid) or memory
                    time.sleep(0.1)
                replies = _replies_in(folder / "ledger.db")
                slope = f"{(memory[1] - before[1]) * 2**20 / (replies - before[0]):,.0f}" if before[0] else ""
                seconds = time.perf_counter() - start
                print(f"{replies:>10,}{seconds:>10.1f}{memory[0]:>12,.1f}{memory[1]:>10,.1f}{slope:>36}", flush=True)
                before = replies, memory[1]
    if process.returncode:
        raise SystemExit((folder / "err").read_text()[-3000:])
    _check_rows(str(folder), max(marks))


def _replies_in(ledger: Path) -> int:
    if not ledger.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT max(id) FROM replies").fetchone()[0] or 0
    except sqlite3.Error:
        return 0  # It is being made.


def _memory_mb(pid: int) -> tuple[float, float] | None:
    """Resident memory of a process, now and at its highest; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    parts = (line.partition(":") for line in lines)
    sizes = {name: int(value.split()[0]) / 1024 for name, _, value in parts if value.endswith("kB")}
    return (sizes["VmRSS"], sizes["VmHWM"]) if "VmRSS" in sizes else None


if __name__ == "__main__":
    main()
