"""A disk that fails at the nth thing that is done to it: what Python asks of the operating system is counted.

Databases and Arrow's own files go past Python; for those `small_disk` is a real file system with little room.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_TAKES_ROOM = {"open", "write", "mkdir", "fsync", "truncate"}
"""What a disk that is full refuses; names can still be changed and removed there."""


@dataclass(frozen=True)
class Fault:
    """What the disk says, once or from then on."""

    number: int
    stays: bool

    @property
    def name(self) -> str:
        """As the headers of C call it."""
        return errno.errorcode[self.number]

    def refuses(self, operation: str) -> bool:
        """Whether the disk says so of this operation, once it has begun to."""
        return operation in _TAKES_ROOM or self.number not in (errno.ENOSPC, errno.EDQUOT)


FAULTS = (
    Fault(errno.ENOSPC, stays=True),
    Fault(errno.EIO, stays=False),
    Fault(errno.EDQUOT, stays=True),
    Fault(errno.ESTALE, stays=False),
    Fault(errno.EROFS, stays=True),
    Fault(errno.ENOSPC, stays=False),
    Fault(errno.EIO, stays=True),
)


class FailingDisk:
    """Counts what is done below `folder` and to descriptors, and from the `at`th time on does what `trouble` says.

    `trouble` is a `Fault` to raise, or a function that is called once, with the place, before the work goes on.
    """

    def __init__(self, folder: Path, at: int = 0, trouble: Fault | Callable[[str], None] | None = None) -> None:
        self.count = 0
        self.seen: list[str] = []
        self.places: list[str] = []
        self.refused: list[str] = []
        """The operations that failed."""
        self._folder = os.path.realpath(folder)
        self._at = at
        self._trouble = trouble
        self._real = {name: getattr(os, name) for name in _OF_OS}
        self._open = io.open

    def step(self, operation: str, place: Any) -> None:
        """Count one more; raises OSError where it fails."""
        if isinstance(place, str | bytes | os.PathLike) and not self._is_watched(place):
            return
        self.count += 1
        self.seen.append(operation)
        self.places.append(str(place))
        if not self._at or self.count < self._at:
            return
        if not isinstance(self._trouble, Fault):
            if self.count == self._at and self._trouble is not None:
                self._trouble(str(place))
            return
        if (self.count == self._at or self._trouble.stays) and self._trouble.refuses(operation):
            self.refused.append(operation)
            name = os.fspath(place) if isinstance(place, str | bytes | os.PathLike) else None
            raise OSError(self._trouble.number, os.strerror(self._trouble.number), name)

    def _is_watched(self, place: Any) -> bool:
        return f"{os.path.abspath(os.fsdecode(place))}/".startswith(f"{self._folder}/")

    def __enter__(self) -> FailingDisk:
        for name, operation in _OF_OS.items():
            setattr(os, name, self._counted(name, operation))
        io.open = builtins.open = self._opened  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        io.open = builtins.open = self._open

    def _counted(self, name: str, operation: str) -> Callable[..., Any]:
        real = self._real[name]

        def counted(place: Any, *rest: Any, **named: Any) -> Any:
            if name != "open" or (rest[0] if rest else named.get("flags", 0)) & _MAKES:
                self.step(operation, place)
            return real(place, *rest, **named)

        return counted

    def _opened(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wxa+") or not self._is_watched(file):
            return self._open(file, mode, buffering, *rest, **named)
        encoding, errors, newline, closefd, opener = _signature(*rest, **named)
        raw = _FailingFile(self, file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


_MAKES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_OF_OS = {
    **{"open": "open", "mkdir": "mkdir", "fsync": "fsync", "pwrite": "write", "ftruncate": "truncate"},
    **{"truncate": "truncate", "replace": "rename", "rename": "rename", "unlink": "unlink", "rmdir": "unlink"},
}


def _signature(
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> tuple[str | None, str | None, str | None, bool, Any]:
    return encoding, errors, newline, closefd, opener


class _FailingFile(io.FileIO):
    """A file that asks the disk before each write."""

    def __init__(self, disk: FailingDisk, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        disk.step("open", file)
        self._disk = disk
        self._place = str(file)
        super().__init__(file, mode, closefd, opener)

    def write(self, data: Any) -> int:
        self._disk.step("write", self._place)
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        self._disk.step("truncate", self._place)
        return super().truncate(size)


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own with so much room; the test is skipped where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=0777", "tmpfs", str(place)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("mounting a small disk needs the command mount")
    if done.returncode:
        pytest.skip(f"mounting a small disk needs root: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def remount(place: Path, option: str) -> None:
    """Have a small disk read-only ("ro") or writable again ("rw")."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], capture_output=True, check=True)


def fill(place: Path, leave: int) -> Path:
    """Fill the disk at `place` up to so many bytes; what is filled with, to be removed.

    It is written until the disk refuses: how much is free is an estimate, off by more than what some tests leave.
    """
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            for _ in range(1 << 20):  # 4 GiB
                file.write(bytes(1 << 12))
        file.truncate(max(file.tell() - leave, 0))
    return ballast
