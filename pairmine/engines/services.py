"""Objects that one process keeps and all workers of a pool ask: ledgers, a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from pairmine.engines.shards import InProcess, Pool

GONE_S = 60.0
"""A worker that is silent for so long is gone; it says something every `BEAT_S`."""
BEAT_S = 5.0


class Service(Protocol):
    """An object of another process, as plain data that travels to whoever asks it."""

    def begin(self, method: str, *args: Any) -> Callable[[], Any]:
        """Call a method of the object; what comes back waits for its answer. A PairmineError comes out as itself."""


class Offered(Protocol):
    """What can be a service."""

    def close(self) -> None:
        """Let go of files."""


class Heard:
    """When each worker was heard of last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}

    def of(self, who: str) -> None:
        """`who` has said something."""
        self._at[who] = self._clock()

    def is_gone(self, who: str) -> bool:
        """Whether `who` has been silent for too long."""
        return self._clock() - self._at.get(who, float("-inf")) > GONE_S


@contextmanager
def served(pool: Pool, makes: Sequence[Callable[[], Offered]]) -> Iterator[list[Service]]:
    """What each of `makes` gives, offered on this machine to the workers of `pool` until the end, and closed there."""
    if isinstance(pool, InProcess):
        with _here(makes) as services:
            yield services
        return
    from pairmine.engines.ray.services import started

    with started(makes) as there:
        yield there


_HERE: dict[str, Any] = {}


@dataclass(frozen=True)
class _Here:
    name: str

    def begin(self, method: str, *args: Any) -> Callable[[], Any]:
        answer = getattr(_HERE[self.name], method)(*args)
        return lambda: answer


@contextmanager
def _here(makes: Sequence[Callable[[], Offered]]) -> Iterator[list[Service]]:
    names: list[str] = []
    try:
        for make in makes:
            names.append(uuid4().hex)
            _HERE[names[-1]] = make()
        yield [_Here(name) for name in names]
    finally:
        for name in names:
            with suppress(KeyError):
                _HERE.pop(name).close()
