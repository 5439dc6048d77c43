"""A folder that one run at a time works in."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from pairmine.errors import PairmineError
from pairmine.files.locations import is_remote

LOCK = "lock"


def hold(folder: str, output: str) -> IO[bytes] | None:
    """A lock on a run's folder, held as long as the handle is open; raises PairmineError where another run has it.

    None at an address, which has no locks. The operating system lets go of the lock of a process that is killed.
    """
    if is_remote(folder):
        return None
    path = Path(folder, LOCK)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("wb")
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            handle.close()
            raise PairmineError(
                f"{output}: another run with this output is under way, in {folder}; wait for its end, or name another"
            ) from None
        except OSError:  # a filesystem without locks
            return handle
        if path.exists() and os.path.samestat(path.stat(), os.fstat(handle.fileno())):
            return handle
        handle.close()  # its run ended meanwhile, and the folder with it
