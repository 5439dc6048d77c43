"""A file that appears whole or not at all: written beside its target, synced, renamed at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import IO

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import cause, filesystem_of, is_remote, remotely

STDOUT = "-"
_LONGEST_NAME = 200


class Partial:
    """A file that is written beside its target under a name of its own and renamed when whole.

    A lock is held on it while it is written, so that what a killed run left behind is told
    from what another run is writing, and removed. A link is followed to the file behind it;
    a device or a named pipe is written straight to.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._remote = is_remote(target)
        self._path: Path | None = None
        self._final = Path(target) if self._remote else Path(os.path.realpath(target))
        if not self._remote and self._final.is_dir():
            raise PairmineError(f"{target}: is a folder; name a file in it")
        self.is_direct = not self._remote and self._final.exists() and not self._final.is_file()
        folder = Path(tempfile.gettempdir()) if self._remote else self._final.parent
        if not folder.is_dir():
            raise PairmineError(f"{target}: no folder {Path(target).parent}; make it first")
        try:
            self.handle = self._final.open("wb") if self.is_direct else self._beside(folder)
        except OSError as error:
            raise PairmineError(f"{target}: {cause(error)}") from None

    def _beside(self, folder: Path) -> IO[bytes]:
        name = self._final.name[:_LONGEST_NAME]
        _sweep(folder, name)
        while True:
            path = folder / f".{name}.{secrets.token_hex(4)}.partial"
            handle = path.open("xb")
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists():
                self._path = path
                return handle
            handle.close()

    def restart(self) -> None:
        """Forget what was written."""
        self.handle.seek(0)
        self.handle.truncate()

    def sync(self) -> None:
        """Put the bytes written so far on disk."""
        self.handle.flush()
        if self._path is not None:
            os.fsync(self.handle.fileno())

    def commit(self) -> None:
        """Sync the bytes and rename the file to its target; a remote one is sent there."""
        self.sync()
        if self._path is None:
            self.handle.close()
            return
        if self._remote:
            with remotely(self.target, "cannot be written"):
                filesystem, inner = filesystem_of(self.target)
                filesystem.put(str(self._path), inner)
            self.remove()
            return
        self._path.replace(self._final)
        self._path = None
        self.handle.close()
        folder = os.open(self._final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self) -> None:
        """Drop the unfinished file; nothing happens after `commit`."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        with contextlib.suppress(OSError):
            self.handle.close()


def _sweep(folder: Path, name: str) -> None:
    """Remove what killed runs left behind: partial files that nobody holds a lock on."""
    for left in folder.glob(f".{escape(name)}.*.partial"):
        with contextlib.suppress(OSError), left.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def said_plainly(target: str) -> Iterator[None]:
    """Turns the operating system's refusal to write `target` into one line; a reader that left is no error."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        name = "standard output" if target == STDOUT else target
        raise PairmineError(
            f"{name}: {cause(error)}; nothing was put there, mend that and run the same command again",
            exit_code=GAVE_UP,
        ) from None


def write_atomically(target: str, text: str) -> None:
    """`text` as the file `target`, or on standard output for "-"."""
    if target == STDOUT:
        with said_plainly(target):
            sys.stdout.write(text)
            sys.stdout.flush()
        return
    partial = Partial(target)
    try:
        with said_plainly(target):
            partial.handle.write(text.encode())
            partial.commit()
    except BaseException:
        partial.remove()
        raise
