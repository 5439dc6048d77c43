"""The one error that users see as a line instead of a traceback."""

from __future__ import annotations

CHECK_FAILED = 1
BAD_INPUT = 2
GAVE_UP = 3
INTERRUPTED = 130


class PairmineError(Exception):
    """Something that a user can fix: what was found, where, and what to do next.

    `exit_code` is what the shell sees: 1 a check failed, 2 the command line or an input is
    wrong (the default), 3 a model or server gave up and running again continues.
    """

    def __init__(self, message: str, *, exit_code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code
