"""Ctrl-C and its kin: the first one ends the command in order, and what comes while that is done changes nothing."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

CONTINUE = "interrupted; nothing was half-written, run the same command again to continue"
CODE = 130
_PATIENCE_S = 5.0
"""So long a command may take to end in order; after that, a further signal cuts that short as well."""
_AGAIN_S = 0.01
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Listener:
    """Raises KeyboardInterrupt for the first signal."""

    def __init__(self) -> None:
        self.is_over = False
        self._since: float | None = None

    def came(self, number: int, frame: object) -> None:
        """What a signal does."""
        now = time.monotonic()
        is_again = self._since is not None
        if self._since is not None and now - self._since < _PATIENCE_S:
            return
        self._since = now
        if not self.is_over:
            raise KeyboardInterrupt
        if is_again:  # the interpreter does not come to its end
            os._exit(CODE)

    def lost(self, what: Any) -> None:
        """What Python does with an error where none can be raised, as in a finalizer: an interrupt comes again.

        After one, others are no news: an object that was being made (an event loop, say) cannot close what it lacks.
        """
        if not issubclass(what.exc_type, KeyboardInterrupt):
            if self._since is None:
                sys.__unraisablehook__(what)
        elif not self.is_over:
            self._since = None
            signal.signal(signal.SIGALRM, self.came)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


_listening: _Listener | None = None


def settle() -> None:
    """What the command comes to is settled: from now on a signal changes nothing of it."""
    if _listening is not None:
        _listening.is_over = True


@contextlib.contextmanager
def heard(*, to_the_end: bool = False) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once; those that the shell had ignored stay so, but SIGTERM.

    `to_the_end` is for the process's own start: after the block, while the interpreter ends, they change nothing.
    """
    global _listening
    if _listening is not None:
        yield
        return
    _listening = listener = _Listener()
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    hook = sys.unraisablehook
    sys.unraisablehook = listener.lost
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, listener.came)
        yield
    finally:
        if to_the_end:
            listener.is_over = True
            atexit.register(_ignore)
            # `python -m` sends itself a SIGINT at its end, in place of the exit code, if an interrupt left code that
            # is run from a text, as libraries make their classes, and none was run since.
            exec("")
        else:
            _listening = None
            sys.unraisablehook = hook
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)


def _ignore() -> None:
    """Python's last steps take its handlers away, and a signal would end it with another code."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
