"""Runs commands for the benchmarks: their time, and the most memory that they held."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAIRMINE = str(Path(sys.executable).with_name("pairmine"))
_POLL_S = 0.1


@dataclass(frozen=True)
class Cost:
    """What a finished command took: elapsed and processor seconds of it and its children, its peak in MB (10^6)."""

    seconds: float
    cpu_s: float
    peak_mb: float


def run(command: Sequence[str | Path], **environment: str) -> Cost:
    """Run a command in the environment of this one, and `environment` over it; what it says is shown if it fails.

    The peak is the resident set (files mapped into memory included) as the kernel keeps it for the
    largest process; where the command starts others, the sum of all at one moment counts if it is more.
    This process has to stay smaller than what it measures, so it imports nothing large.
    """
    with tempfile.TemporaryFile() as said:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        child = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        together = _Together(child.pid)
        together.start()
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        together.done.set()
        together.join()
        if child.returncode:
            said.seek(0)
            raise SystemExit(
                f"{' '.join(map(str, command))}\nexit code {child.returncode}\n{said.read()[-4000:].decode()}"
            )
    if used.ru_maxrss <= before:
        raise SystemExit("the benchmark itself holds more memory than the command, so the peak is not known")
    return Cost(seconds, used.ru_utime + used.ru_stime, max(used.ru_maxrss * 1024 / 1e6, together.peak_mb))


class _Together(threading.Thread):
    """Watches the sum of the resident sets of all processes of a session; with one process there is nothing to add."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.peak_mb = 0.0
        self._session = session

    def run(self) -> None:
        while not self.done.wait(_POLL_S):
            sizes = [size for each in Path("/proc").glob("[0-9]*") if (size := self._size(each))]
            if len(sizes) > 1:
                self.peak_mb = max(self.peak_mb, sum(sizes))

    def _size(self, process: Path) -> float:
        try:
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) != self._session:
                return 0.0
            return int((process / "statm").read_text().split()[1]) * resource.getpagesize() / 1e6
        except (OSError, IndexError, ValueError):  # it has gone in the meantime
            return 0.0


def memory_mb(field: str) -> float:
    """MB of 10^6 bytes that this process holds in memory: now (VmRSS) or at its highest (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6
