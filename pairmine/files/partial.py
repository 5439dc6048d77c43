"""A file that appears whole or not at all: written beside its target, synced, renamed at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from glob import escape
from pathlib import Path
from typing import IO

from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError, code_of
from pairmine.files.links import followed
from pairmine.files.locations import cause, filesystem_of, is_remote, remotely, told_of_tempdir
from pairmine.files.unfinished import begun, over
from pairmine.streams import silence
from pairmine.visible import visible_lines

STDOUT = "-"
_LONGEST_NAME = 200
"""Bytes of a target's name in that of the unfinished file; most file systems hold 255, whatever the letters."""


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
        self._final = Path(target) if self._remote else followed(target)
        if not self._remote and self._final.is_dir():
            raise PairmineError(f"{target}: is a folder; name a file in it")
        self.is_direct = not self._remote and self._final.exists() and not self._final.is_file()
        if self._remote:
            with told_of_tempdir("what is to be sent"):
                self.handle = self._beside(Path(tempfile.gettempdir()), 0o600)  # where others look in
            return
        if not self._final.parent.is_dir():
            raise PairmineError(f"{target}: no folder {Path(target).parent}; make it first")
        with said_plainly(target, opens=True):
            self.handle = self._final.open("wb") if self.is_direct else self._beside(self._final.parent)

    def _beside(self, folder: Path, mode: int = 0o666) -> IO[bytes]:
        name = _cut(self._final.name)
        _sweep(folder, name)
        while True:
            path = folder / f".{name}.{secrets.token_hex(4)}.partial"
            begun(path)
            try:
                handle = open(path, "xb", opener=partial(os.open, mode=mode))  # noqa: SIM115 (its keeper closes it)
            except OSError:
                over(path)
                raise
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists():
                self._path = path
                return handle
            handle.close()

    def restart(self) -> None:
        """Forget what was written."""
        with said_plainly(self.target):
            self.handle.seek(0)
            self.handle.truncate()

    def sync(self) -> None:
        """Put the bytes written so far on disk."""
        self.handle.flush()
        if self._path is not None:
            os.fsync(self.handle.fileno())

    def commit(self) -> None:
        """Sync the bytes and rename the file to its target; a remote one is sent there.

        May raise OSError; then nothing is in its place.
        """
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
        over(self._path)
        self._path = None
        self.handle.close()
        sync_names(self.target, self._final.parent)

    def remove(self) -> None:
        """Drop the unfinished file; nothing happens after `commit`."""
        if self._path is not None:
            with contextlib.suppress(OSError):  # what went wrong before is to be told, and the next run sweeps
                self._path.unlink(missing_ok=True)
            over(self._path)
            self._path = None
        with contextlib.suppress(OSError):
            self.handle.close()


def _cut(name: str) -> str:
    """The beginning of a name, in whole letters."""
    encoded = os.fsencode(name)
    stop = min(_LONGEST_NAME, len(encoded))
    for _ in range(3):  # of UTF-8; any bytes may be a name
        if stop < len(encoded) and encoded[stop] & 0xC0 == 0x80:
            stop -= 1
    return os.fsdecode(encoded[:stop])


def sync_names(target: str, folder: Path) -> None:
    """Have the names in `folder` on disk, once `target` has its place there.

    Raises PairmineError where the disk does not confirm it; a folder that can be written and not read, and a
    filesystem that syncs no folders, are none of our business.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            line = f"{target}: is written, and the disk does not confirm that it stays ({cause(error)})"
            raise PairmineError(f"{line}; mend that and run the same command again", exit_code=GAVE_UP) from None
    finally:
        os.close(descriptor)


def _sweep(folder: Path, name: str) -> None:
    """Remove what killed runs left behind: partial files that nobody holds a lock on."""
    for left in folder.glob(f".{escape(name)}.*.partial"):
        with contextlib.suppress(OSError):
            # Somebody's pipe of that name would not open until it is written to.
            handle = os.open(left, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink(missing_ok=True)
            finally:
                os.close(handle)


@contextlib.contextmanager
def said_plainly(target: str, *, opens: bool = False) -> Iterator[None]:
    """Turns the operating system's refusal to write `target` into one line; a reader that left is no error.

    A place that was open and then failed is worth another try (exit code 3), whatever the reason; one that is refused
    as such where the block `opens` it is not.
    """
    try:
        yield
    except BrokenPipeError:
        silence(sys.stdout)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if target == STDOUT:
            silence(sys.stdout)
        name = "standard output" if target == STDOUT else target
        what = "not all of it is there" if target == STDOUT else "nothing was put there"
        raise PairmineError(
            f"{name}: {cause(error)}; {what}, mend that and run the same command again",
            exit_code=code_of(error) if opens else GAVE_UP,
        ) from None


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Makes a file that cannot be opened worth another try (exit code 3): its folder has been written to before."""
    try:
        yield
    except PairmineError as error:
        if error.exit_code != BAD_INPUT:
            raise
        raise PairmineError(str(error), exit_code=GAVE_UP) from None


def check_place(target: str) -> None:
    """Raise PairmineError where no file `target` can be begun, before slow work; a pipe is not opened yet."""
    if target == STDOUT or is_remote(target) or (os.path.exists(target) and not os.path.isfile(target)):
        if os.path.isdir(target):
            raise PairmineError(f"{target}: is a folder; name a file in it")
        return
    Partial(target).remove()


def write_atomically(target: str, text: str) -> None:
    """`text` as the file `target`, or on standard output for "-"."""
    if target == STDOUT:
        with said_plainly(target):
            sys.stdout.write(visible_lines(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()
        return
    partial = Partial(target)
    try:
        with said_plainly(target):
            partial.handle.write(text.encode("utf-8", "backslashreplace"))
            partial.commit()
    except BaseException:
        partial.remove()
        raise
