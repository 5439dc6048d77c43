"""Runs on Ray that are watched from outside: what each worker does is written down, and takes its time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

PATCH = '''
import os, sys, time

def observe():
    """Write down what a worker has finished, just before its marker says so."""
    from pairmine.files import sharded

    def note(name):
        with open(os.environ["OBSERVED"], "a") as log:
            log.write(f"{os.getpid()} {name}\\n")
        time.sleep(float(os.environ["OBSERVED_S"]))

    def write(folder, name, text):
        if name.startswith("done/"):
            note(name)
        return written(folder, name, text)

    def put(path, content):
        if os.environ["OBSERVED_PUTS"]:
            note(path.rpartition(".ray/")[2].replace(" ", "-"))
        return placed(path, content)

    def read(path):
        return None if os.environ["UNSEEN"] and path.startswith(os.environ["UNSEEN"]) else found(path)

    from pairmine.backends.vectors import parts
    from pairmine.engines import spool

    placed = spool.put_bytes
    spool.put_bytes = parts.put_bytes = put
    written, sharded.WorkFolder.write = sharded.WorkFolder.write, write
    found, sharded.read_text = sharded.read_text, read

if any(word.endswith("default_worker.py") for word in sys.orig_argv):
    observe()
'''
"""Python runs it as it starts, on workers alone."""


class Watch:
    """What the workers of a cluster do that is started while `environment` holds."""

    def __init__(self, folder: Path) -> None:
        (folder / "patch").mkdir()
        (folder / "patch" / "sitecustomize.py").write_text(PATCH)
        self.folder = folder
        self._log = folder / "observed"

    def environment(self, seconds: float, unseen: str = "", *, puts: bool = False) -> dict[str, str]:
        """Variables for the nodes: each shard takes so many seconds more, and nothing below `unseen` is there.

        With `puts` what goes into a shuffle or is found by a search counts as well.
        """
        path = os.pathsep.join(filter(None, [str(self.folder / "patch"), os.environ.get("PYTHONPATH", "")]))
        told = {"OBSERVED": str(self._log), "OBSERVED_S": str(seconds), "OBSERVED_PUTS": "yes" * puts}
        return {"PYTHONPATH": path, "UNSEEN": unseen, **told}

    def lines(self) -> list[tuple[int, str]]:
        """A worker's process and the shard that it worked on, in the order of time."""
        text = self._log.read_text() if self._log.exists() else ""
        return [(int(pid), name) for pid, name in (line.split(" ", 1) for line in text.splitlines())]

    def shards(self) -> Counter[str]:
        """How often each shard was worked on."""
        return Counter(name for _, name in self.lines())

    def forget(self) -> None:
        """What comes is another run."""
        self._log.unlink(missing_ok=True)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the folder."""
        command = [sys.executable, "-m", "pairmine", *words]
        return subprocess.Popen(command, cwd=self.folder, stdout=PIPE, stderr=PIPE, text=True)

    def until(self, holds: Callable[[], bool], run: subprocess.Popen[str], seconds: float = 120) -> None:
        """Wait until something holds; fails where the run ends before it does."""
        end = time.monotonic() + seconds
        while not holds():
            assert run.poll() is None, f"over too early: {run.communicate()[1]}"
            assert time.monotonic() < end, f"not in {seconds:.0f} seconds"
            time.sleep(0.05)


def finished(folder: Path) -> set[str]:
    """The markers of the shards that a run has finished."""
    return {str(path.relative_to(folder)) for path in folder.glob("done/**/*.json")}
