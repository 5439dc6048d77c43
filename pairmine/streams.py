"""The three standard streams, on a full disk or closed: what can be done with them without a second fault."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


def open_all() -> None:
    """See to it that three files are open for the standard streams, and that talk which cannot be written is let go.

    A log on a full disk is no reason to lose a night's work. And where a stream was closed, the first file that a
    command opens would take its number, and whatever goes to that number would go into the file. Rows that are to
    go to a standard output that is closed are an error, so nothing can be written there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (as long as the process)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if not isinstance(sys.stdout, _Out):
        sys.stdout = cast("TextIO", _Out(sys.stdout))
    if not isinstance(sys.stderr, _Talk):
        sys.stderr = cast("TextIO", _Talk(sys.stderr))


class _Out:
    """Standard output; an error of it says so, since the operating system names files alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As any stream's."""
        with _named():
            return self._stream.write(text)

    def flush(self) -> None:
        """As any stream's."""
        with _named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = "standard output"
        raise


class _Talk:
    """The stream for people: what it cannot write is dropped, and all after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As any stream's."""
        try:
            return self._stream.write(text)
        except OSError:
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        """As any stream's."""
        flushed(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def flushed(stream: TextIO) -> OSError | None:
    """Have all that `stream` holds written; where that fails the rest is dropped, and the reason given."""
    try:
        stream.flush()
    except OSError as error:
        silence(stream)
        return error
    return None


def silence(stream: Any) -> None:
    """Have what `stream` still holds, and all that is written to it from now on, go nowhere.

    Else the interpreter tries again at its end, complains in several lines, and exits with a code of its own.
    """
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
