"""The one error that users see as a line instead of a traceback."""

from __future__ import annotations

import errno

CHECK_FAILED = 1
BAD_INPUT = 2
GAVE_UP = 3
INTERRUPTED = 130


class PairmineError(Exception):
    """Something that a user can fix: what was found, where, and what to do next.

    `exit_code` is what the shell sees: 1 a check failed, 2 the command line or an input is
    wrong (the default), 3 a model, a server or the disk gave up and running again continues.
    """

    def __init__(self, message: str, *, exit_code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_REFUSED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ETXTBSY),
}


def code_of(error: OSError) -> int:
    """The exit code for what the operating system says of a place.

    BAD_INPUT where it refuses the place as such, so that another one is to be named or this one to be opened. GAVE_UP
    where a disk did (full, over quota, out of reach, broken): run again, the same command goes on.
    """
    return BAD_INPUT if error.errno in _REFUSED else GAVE_UP
