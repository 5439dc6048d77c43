"""How far a stage is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

Advance = Callable[[int], None]
Status = Callable[[], str]
EVERY_S = 10.0


class Progress:
    """Counts of what is done, shown on stderr; `quiet` shows nothing."""

    def __init__(self, command: str, *, quiet: bool) -> None:
        self._command = command
        self._quiet = quiet
        self._bars: Any = None
        self._task: Any = None

    def begin(self, what: str, total: int | None, status: Status | None = None) -> Advance:
        """Start a new count of `what`; the returned function adds to it. `status` is said beside the count."""
        self.end()
        if self._quiet:
            return lambda _: None
        if sys.stderr.isatty():
            return self._bar(what, total, status)
        return self._lines(what, total, status)

    def end(self) -> None:
        """Take the bar off the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _bar(self, what: str, total: int | None, status: Status | None) -> Advance:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        more = [TextColumn("{task.fields[status]}")] if status else []
        self._bars = Bars(*columns, TimeRemainingColumn(), *more, console=Console(stderr=True), transient=True)
        self._bars.start()
        task = self._bars.add_task(what, total=total, status="")
        bars = self._bars

        def advance(n: int) -> None:
            if status:
                bars.update(task, status=status())
            bars.advance(task, n)

        return advance

    def _lines(self, what: str, total: int | None, status: Status | None) -> Advance:
        started = last = time.monotonic()
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


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
