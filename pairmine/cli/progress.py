"""How far a stage is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pairmine.cli import voice

Advance = Callable[[int], None]
Status = Callable[[], str]
EVERY_S = 10.0
SOON_S = 1.0
"""A file is read for so long before a word is said about it."""
_LOADED = frozenset({"st", "ce", "ql", "vllm", "mlm", "mt"})
"""Kinds of models that run on this machine."""


class Progress:
    """Counts of what is done, shown on stderr; `quiet` shows nothing."""

    def __init__(self, command: str, *, quiet: bool) -> None:
        self._command = command
        self._quiet = quiet or voice.is_quiet()
        self._bars: Any = None
        self._phase: _Phase | None = None
        self._pulse: _Pulse | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def begin(
        self, what: str, total: int | None, status: Status | None = None, started: float | None = None
    ) -> Advance:
        """Start a new count of `what`; the returned function adds to it. `status` is said beside the count.

        `started` says when the work began, where that was earlier.
        """
        self.end()
        what = voice.shown(what)
        self._phase = phase = _Phase(what, time.monotonic() if started is None else started)
        if self._quiet:
            return lambda _: None
        show = self._bar(what, total, status) if is_lively() else self._lines(what, total, status, phase.started)

        def advance(n: int) -> None:
            phase.done += n
            show(n)

        return advance

    def end(self) -> None:
        """Take the bar off the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if self._pulse is not None:
            self._pulse.end()
            self._pulse = None
        if self._phase is not None:
            self._phase.tell(self._command)
            self._phase = None

    def reading(self, name: str, total: int | None) -> Advance:
        """A count of the rows of a file, for a command that counts nothing else meanwhile and reads for a while.

        What follows until the next count is shown as work on that file, of no known length.
        """
        started = time.monotonic()
        waiting = 0
        shown: tuple[Advance, _Phase | None] | None = None

        def advance(n: int) -> None:
            nonlocal waiting, shown
            waiting += n
            if shown is None and self._phase is None and time.monotonic() - started > SOON_S:
                shown = self.begin(f"rows of {name}", total, started=started), self._phase
            if shown is None or shown[1] is not self._phase:
                return
            if n:
                shown[0](waiting)
                waiting = 0
            else:
                self.work(name)

        return advance

    def work(self, name: str, doing: str = "at work on") -> None:
        """Say that there is work on a file of which nobody knows how long it takes."""
        self.end()
        if self._quiet:
            return
        name = voice.shown(name)
        if is_lively():
            self._bar(f"{doing} {name}", None, None)
        else:
            self._pulse = _Pulse(f"pairmine {self._command}: {doing} {name}")

    @contextmanager
    def loading(self, *specs: Any) -> Iterator[None]:
        """Say while the work inside goes on which models are loaded: those that run on this machine."""
        if names := [str(each) for each in specs if each.kind in _LOADED]:
            self.work(", ".join(names), "loading")
        try:
            yield
        finally:
            self.end()

    def _bar(self, what: str, total: int | None, status: Status | None) -> Advance:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        ]
        more = [TextColumn("{task.fields[status]}", markup=False)] if status else []
        console = Console(stderr=True, highlight=False)
        self._bars = Bars(*columns, TimeRemainingColumn(), *more, console=console, transient=True)
        self._bars.start()
        task = self._bars.add_task(what, total=total, status="")
        bars = self._bars

        def advance(n: int) -> None:
            if status:
                bars.update(task, status=status())
            bars.advance(task, n)

        return advance

    def _lines(self, what: str, total: int | None, status: Status | None, started: float) -> Advance:
        last = started
        done = 0

        def advance(n: int) -> None:
            nonlocal done, last
            done += n
            now = time.monotonic()
            if now - last >= EVERY_S:
                last = now
                of = f" of {total:,}" if total else ""
                left = f", about {_span((now - started) / done * (total - done))} left" if total and done else ""
                more = f"; {status()}" if status else ""
                line = f"pairmine {self._command}: {done:,}{of} {what} in {_span(now - started)}{left}{more}"
                sys.stderr.write(line + "\n")

        return advance


class _Pulse:
    """A line every ten seconds for work that counts nothing, written from a thread beside it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._over = threading.Event()
        self._started = time.monotonic()
        threading.Thread(target=self._beat, daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(EVERY_S):
            sys.stderr.write(f"{self._what}, {_span(time.monotonic() - self._started)}\n")


class _Phase:
    """A count that is under way, for --verbose."""

    def __init__(self, what: str, started: float) -> None:
        self.done = 0
        self.started = started
        self._what = what

    def tell(self, command: str) -> None:
        if self.done:
            seconds = max(time.monotonic() - self.started, 1e-9)
            speed = f"{self.done / seconds:,.0f}/s"
            voice.tell(f"{command}: {self.done:,} {self._what} in {voice.span(seconds)}, {speed}")


def is_lively() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again and again."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
