"""Commands run as processes of their own: what they said, the most memory that they held, the processor time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "PAIRMINE_STORE": "none"}

_RUN = """
import atexit, os, sys

told = int(sys.argv.pop(1))


def tell():
    import resource

    with open("/proc/self/status") as status:
        own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    used = os.times()
    os.write(told, f"{own} {workers} {used.user + used.system + used.children_user + used.children_system}".encode())


atexit.register(tell)
from pairmine.cli.main import main

main()
"""


@dataclass(frozen=True)
class Ended:
    """A command that ended: `peak_mb` (10^6 bytes) is its own peak and, where it had workers, that of the largest."""

    words: str
    code: int
    out: bytes
    said: str
    peak_mb: float
    cpu_s: float

    @property
    def is_answer(self) -> bool:
        """Whether it is done, or says in one line why not; a check that fails is an answer too."""
        if "Traceback" in self.said:
            return False
        return self.code in (0, 1) or (self.code in (2, 3) and self.is_one_line)

    @property
    def is_one_line(self) -> bool:
        """Whether stderr holds one line of ours, of a length that people read."""
        return self.said.startswith("pairmine: ") and len(self.said.splitlines()) == 1 and len(self.said) < 5_000

    def __str__(self) -> str:
        told = f"exit code {self.code}, {self.peak_mb:.0f} MB, {self.cpu_s:.1f} s"
        return f"pairmine {self.words}: {told}\n{self.said[-2000:]}"


def run(words: str | list[str], folder: Path, *, timeout_s: float = 300, **environment: str) -> Ended:
    """Run `pairmine WORDS` in `folder`; a command that takes longer than `timeout_s` is killed and fails the test."""
    parts = words.split() if isinstance(words, str) else words
    reads, writes = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(writes), *parts],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=said,
            env={**os.environ, **ENVIRONMENT, **environment},
            pass_fds=[writes],
            start_new_session=True,
        )
        os.close(writes)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"pairmine {' '.join(parts)[:500]}: not done after {timeout_s:g} s") from None
        finally:
            with os.fdopen(reads, "rb") as told:
                numbers = told.read().split() if process.returncode is not None else []
        out.seek(0)
        said.seek(0)
        own, workers, cpu_s = map(float, numbers or (0, 0, 0))
        peak_mb = (own + workers) * 1024 / 1e6
        shown = said.read().decode("utf-8", "backslashreplace")
        return Ended(" ".join(parts)[:500], process.returncode, out.read(), shown, peak_mb, cpu_s)
