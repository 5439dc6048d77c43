"""What runs on the machines of a cluster: a driver's work, made once in a process, and its answers."""

from __future__ import annotations

import os
import pickle
import secrets
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa

from pairmine import __version__
from pairmine.engines.shards import Shared
from pairmine.errors import BAD_INPUT, PairmineError

_KEPT = 2
_MADE: dict[str, Callable[[Any], Any]] = {}
Value = TypeVar("Value")


@dataclass(frozen=True)
class Small(Generic[Value]):
    """A value that travels with whatever holds it."""

    value: Value

    def get(self) -> Value:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Stored(Generic[Value]):
    """A value in Ray's object store."""

    reference: Any

    def get(self) -> Value:
        """The value, from this machine's store once it is there."""
        import ray

        return ray.get(self.reference)


@dataclass(frozen=True)
class Made:
    """What a driver's `make` makes, once in each process while that does the same work."""

    make: Shared[bytes]
    version: str = __version__
    folder: str = field(default_factory=os.getcwd)
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    def made(self) -> Callable[[Any], Any]:
        """What to call. Raises PairmineError for another version here than the driver's."""
        if self.key not in _MADE:
            if len(_MADE) >= _KEPT:
                _MADE.clear()
            _check_version(self.version)
            with suppress(OSError):  # where the driver's folder is there too, relative paths mean the same
                os.chdir(self.folder)
            _MADE[self.key] = pickle.loads(self.make.get())()
        return _MADE[self.key]


def packed_error(error: Exception) -> bytes:
    """An error as bytes, with its traceback."""
    told = "".join(traceback.format_exception(error))
    if isinstance(error, PairmineError):
        return pickle.dumps((str(error), error.exit_code, told))
    try:
        found = pickle.dumps((error, None, told))
        pickle.loads(found)
    except Exception:  # it holds what cannot travel, or is made of other arguments than it keeps
        return pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), None, told))
    return found


def raise_error(packed: bytes) -> None:
    """Raise what `packed_error` was given, from the worker's traceback."""
    error, exit_code, told = pickle.loads(packed)
    if exit_code is not None:
        error = PairmineError(error, exit_code=exit_code)
    raise error from RuntimeError(f"on a worker:\n{told}")


def task(make: Shared[bytes]) -> Callable[[pa.Table], pa.Table]:
    """A function of batches of one item each, for any process."""
    mine = Made(make)

    def work_on(batch: pa.Table) -> pa.Table:
        return _answer(mine, batch)

    return work_on


def actor(make: Shared[bytes]) -> type:
    """A class whose objects work on batches of one item each."""
    mine = Made(make)

    class Worker:
        """Sets the work up at its first item, so that what goes wrong there comes back as an answer."""

        def __call__(self, batch: pa.Table) -> pa.Table:
            return _answer(mine, batch)

    return Worker


def answers(batch: pa.Table) -> Iterator[tuple[int, Any]]:
    """The places and results of items that were worked on. Raises the error of one that failed."""
    for place, done, error in zip(*(batch[name] for name in ("place", "done", "error")), strict=True):
        if error.is_valid:
            raise_error(error.as_py())
        yield place.as_py(), pickle.loads(done.as_buffer())


def _answer(mine: Made, batch: pa.Table) -> pa.Table:
    done: bytes | None = None
    error: bytes | None = None
    try:
        done = pickle.dumps(mine.made()(pickle.loads(batch["item"][0].as_py())), 5)
    except Exception as found:
        error = packed_error(found)
    columns = {"place": batch["place"], "done": pa.array([done], pa.large_binary())}
    return pa.table(columns | {"error": pa.array([error], pa.binary())})


def _check_version(driver: str) -> None:
    import socket

    if __version__ != driver:
        raise PairmineError(
            f"{socket.gethostname()}: has pairmine {__version__}, not {driver} as here; install one of them everywhere",
            exit_code=BAD_INPUT,
        )
