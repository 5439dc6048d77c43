"""Ends the engine processes that a killed pairmine left behind.

vLLM's engine runs in processes of its own. When the process that started them is killed outright, they live
on and keep the memory of the GPU, so that the next run finds none. A leash is one more small process: it
learns which processes the engine is made of, and ends those that outlive the one that it watches.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

from pairmine.keys import without_keys_of

PERIOD_S = 0.25
_PATIENCE_S = 5.0
_SIGNS = ("VLLM::", "multiprocessing.spawn", "multiprocessing.forkserver")


class Leash:
    """Watches this process from now on: make it before the engine starts, and tell it when the engine is `up`.

    An engine that runs already is none of its own.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "pairmine.backends.leash", str(os.getpid())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=without_keys_of(dict(os.environ))
        )

    def up(self) -> None:
        """Every engine process has been started: look for no further ones."""
        self._tell(b"up\n")

    def close(self) -> None:
        """End what is left of the engine, and the leash."""
        self._tell(b"end\n")
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            if self._process.stdin:
                self._process.stdin.write(word)
                self._process.stdin.flush()


def watch(watched: int) -> None:
    """Follow the process numbered `watched` until it is gone or says so, then end the engine that it started."""
    import psutil  # type: ignore[import-untyped]

    since = psutil.Process().create_time()
    held: set[Any] = set()
    starting = True
    while os.getppid() == watched:
        heard = _heard()
        if starting:
            held |= {process for process in _children(watched) if _is_engine(process, since)}
        if heard is not None and b"end" in (heard or b"end"):
            break
        starting = starting and not heard
    _end(held)


def _end(held: set[Any]) -> None:
    """Kill what still runs, and wait until it is gone; a zombie is, for the memory is free again."""
    import psutil

    for process in held:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until = time.monotonic() + _PATIENCE_S
    while any(_runs(process) for process in held) and time.monotonic() < until:
        time.sleep(0.02)


def _runs(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _heard() -> bytes | None:
    """What the watched process says, None when it said nothing for a while, empty when it is gone."""
    ready, _, _ = select.select([0], [], [], PERIOD_S)
    return os.read(0, 64) if ready else None


def _children(watched: int) -> list[Any]:
    import psutil

    try:
        return list(psutil.Process(watched).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _is_engine(process: Any, since: float) -> bool:
    """Whether a process is one that an engine is made of, and younger than this leash; the rest is not ours to end."""
    import psutil

    try:
        command = " ".join(process.cmdline())
        return process.create_time() >= since and any(sign in command for sign in _SIGNS)
    except psutil.Error:  # it is gone by now
        return False


def main() -> None:
    # Ctrl-C reaches the whole process group: the watched process may take its time to end in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    watch(int(sys.argv[1]))


if __name__ == "__main__":
    main()
