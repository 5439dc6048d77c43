"""Who asks for what, among processes that work side by side: a killed one claims nothing any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

_MOST = 4_096
"""The system looks through the locks of a file one by one; who has more under way at once does without."""
_ANYBODY = 0
"""The byte on which everybody has a shared lock who has the file open."""


class Claims:
    """Claims on keys, each a lock on one byte of the file `path`, which stays empty and goes with the last user.

    Where no such file can be made, or a file system has no locks, every claim is granted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._held: set[bytes] = set()
        self._is_without = False

    def claim(self, key: bytes) -> bool:
        """Whether no other process has a claim on `key`; it is this one's now."""
        if key in self._held or self._is_without or len(self._held) >= _MOST:
            return True
        try:
            self._file = self._file or self._open()
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except BlockingIOError:
            return False
        except OSError:
            self._is_without = True
            return True
        self._held.add(key)
        return True

    def release(self, keys: Iterable[bytes]) -> None:
        """Let go of those of `keys` that were claimed."""
        for key in self._held.intersection(keys):
            assert self._file is not None
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(key))
            self._held.discard(key)

    def close(self) -> None:
        """Let go of everything; a file that a killed process left goes too."""
        try:
            self._leave()
        except KeyboardInterrupt:
            self._leave()
            raise

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            self._file = self._file or self._path.open("r+b")
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_in_place(self._file):
                self._path.unlink()
        self._file.close()
        self._file = None
        self._held.clear()

    def _open(self) -> IO[bytes]:
        while True:
            file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
            try:
                fcntl.lockf(file, fcntl.LOCK_SH, 1, _ANYBODY)
                if self._is_in_place(file):
                    return file
            except FileNotFoundError:
                pass
            except BaseException:
                file.close()
                raise
            file.close()  # its last user has just removed it

    def _is_in_place(self, file: IO[bytes]) -> bool:
        return self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(file.fileno()))


def _place(key: bytes) -> int:
    return 1 + int.from_bytes(key[:6], "little")
