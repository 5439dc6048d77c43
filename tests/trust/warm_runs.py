"""Commands as processes of their own that start at once, and are stopped at a moment that is said beforehand.

`python tests/trust/warm_runs.py` is a process that has imported what commands import, and forks one for each request:
the child is led by the command line alone, from `pairmine.__main__` on. A moment is a time after its start, or the nth
time that it touches the disk: opens a file to write, renames, removes, syncs, locks, or tells sqlite something.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

HUNG_S = 60.0
_TELL = signal.SIGUSR1
"""Has a run that hangs write on stderr where its threads stand."""
_TOUCHES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "fcntl.flock", "fcntl.lockf"}


_LOADED = {"pairmine.llm.replies.language"}
"""What it loads, which takes longer than a command that writes sixty pairs, is loaded once."""


@dataclass(frozen=True)
class Moment:
    """When signals come: (seconds after the start, signal), and (number of the touch of the disk, signal).

    With `to_group` those by time go to every process of the command, as from a terminal.
    """

    times: Sequence[tuple[float, int]] = ()
    touches: Sequence[tuple[int, int]] = ()
    to_group: bool = False


UNDISTURBED = Moment()


@dataclass(frozen=True)
class Done:
    """What came of a run; `code` is that of the process, the negative number of a signal that ended it.

    `stopped_at` is the moment (of time.monotonic) just before the first signal, but for a SIGKILL at a touch.
    """

    code: int
    seconds: float
    touches: int
    said: str
    is_hung: bool = False
    group: int = 0
    stopped_at: float | None = None


@dataclass
class WarmRuns:
    """Runs commands in `folder`, which holds nothing else; a context manager."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> WarmRuns:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=30)

    def run(
        self,
        words: Sequence[str],
        moment: Moment = UNDISTURBED,
        *,
        settings: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> Done:
        """Run `pairmine *words`; `settings` are values for names of modules, as "pairmine.files.raw:BATCH_ROWS".

        Fails where it hangs, whatever it was sent, and tells where its threads stood.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        body = {
            "words": list(words),
            "folder": str(folder or self.folder),
            "times": list(moment.times),
            "touches": list(moment.touches),
            "to_group": moment.to_group,
            "settings": dict(settings or {}),
        }
        self._server.stdin.write(json.dumps(body) + "\n")
        self._server.stdin.flush()
        done = Done(**json.loads(self._server.stdout.readline()))
        assert not done.is_hung, f"hung for {HUNG_S:g} s: {' '.join(words)}: {moment}: {done.said}"
        return done


# --- the process that forks ---------------------------------------------------------------------------


def serve() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as facts:
            ready, started = os.pipe()
            if not (child := os.fork()):
                _become(asked, said.fileno(), facts.fileno(), started)
            os.close(started)
            done = _watch(child, ready, asked)
            os.close(ready)
            said.seek(0)
            facts.seek(0)
            found = json.loads(facts.read() or b"{}")
            done |= {"said": said.read().decode("utf-8", "replace"), "touches": found.get("touches", 0)}
            done["stopped_at"] = done["stopped_at"] or found.get("stopped_at")
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()
        # What one command had to import, the next finds there, and does not look through for garbage.
        for name in found.get("modules", ()):
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        for name in _LOADED & set(found.get("modules", ())):
            sys.modules[name]._identifier()
        gc.freeze()


def _watch(child: int, ready: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Send the signals at their times, and wait for the end."""
    os.read(ready, 1)
    start = time.monotonic()
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    is_hung, stopped_at = False, None
    for after_s, number in [*sorted(asked["times"]), (HUNG_S, signal.SIGKILL)]:
        if poll.poll(max(start + after_s - time.monotonic(), 0) * 1000):
            break
        is_hung = after_s == HUNG_S
        stopped_at = stopped_at or time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            if is_hung:
                os.kill(child, _TELL)
                poll.poll(1000)
            (os.killpg if asked["to_group"] or is_hung else os.kill)(child, number)
    _, status = os.waitpid(child, 0)
    os.close(handle)
    code = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    return {"code": code, "seconds": seconds, "is_hung": is_hung, "group": child, "stopped_at": stopped_at}


def _become(asked: dict[str, Any], said: int, facts: int, started: int) -> NoReturn:
    """Be the command: this process ends as one that was started anew does."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number, instead in ((0, nowhere), (1, nowhere), (2, said)):
        os.dup2(instead, number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(asked["folder"])
    sys.argv = ["pairmine", *asked["words"]]
    for name, value in asked["settings"].items():
        module, _, inner = name.partition(":")
        setattr(importlib.import_module(module), inner, value)
    faulthandler.register(_TELL, file=2)
    facts_of = _watch_disk(asked["folder"], dict(asked["touches"]))
    interrupts = importlib.import_module("pairmine.cli.interrupts")
    heard = interrupts.heard

    @contextlib.contextmanager
    def heard_and_told(**settings: Any) -> Iterator[None]:
        with heard(**settings):
            os.write(started, b".")
            yield

    interrupts.heard = heard_and_told
    try:
        runpy.run_module("pairmine", run_name="__main__")
    finally:
        os.write(facts, json.dumps({**facts_of(), "modules": list(sys.modules)}).encode())
    sys.exit()


def _watch_disk(folder: str, signals: Mapping[int, int]) -> Callable[[], dict[str, Any]]:
    """Count how often the command touches the disk below `folder`, and send itself what is due just then."""
    count = 0
    stopped_at: float | None = None
    due: list[int] = []

    def touch(is_sqlite: bool = False) -> None:
        nonlocal count, stopped_at
        count += 1
        if count in signals:
            due.append(signals[count])
        # What is raised inside of sqlite's calls would be lost, as a signal never is that comes by itself.
        if due and (due[0] == signal.SIGKILL or not is_sqlite):
            stopped_at = stopped_at or time.monotonic()
            os.kill(os.getpid(), due.pop(0))

    def is_here(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.join(folder, os.fspath(path)).startswith(folder)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if is_here(given[0]) and (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                touch()
        elif event in _TOUCHES and (isinstance(given[0], int) or is_here(given[0])):
            touch()

    def sync(descriptor: int) -> None:
        touch()
        synced(descriptor)
        touch()

    def connect(*given: Any, **more: Any) -> sqlite3.Connection:
        connection = connected(*given, **more)
        connection.set_trace_callback(lambda _: touch(is_sqlite=True))
        return connection

    synced, os.fsync = os.fsync, sync
    connected, sqlite3.connect = sqlite3.connect, connect
    sys.addaudithook(hook)
    return lambda: {"touches": count, "stopped_at": stopped_at}


if __name__ == "__main__":
    serve()
