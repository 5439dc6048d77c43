"""Jobs that load a model: what they count, and how the workers of a cluster share a server's limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

Say = Callable[[str], None]
LIMITS = ("concurrency", "rpm", "tpm")


def quiet(line: str) -> None:
    """Say nothing: the driver has said it."""


class ModelJob(ABC):
    """A job of `shards.Job` whose model counts what it does from its start."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The model, for the lineage."""

    @abstractmethod
    def totals(self) -> dict[str, int]:
        """How much was computed and how much was found, so far."""

    def sums(self) -> dict[str, int]:
        """The totals since this was asked for last."""
        before, self._told = self._told, self.totals()
        return {name: count - before.get(name, 0) for name, count in self._told.items()}


def share_of(limits: Mapping[str, Any], workers: int) -> dict[str, Any]:
    """The limits of one of `workers` that ask a server together, at least one request at a time each.

    >>> share_of({"concurrency": 3, "rpm": 60, "tpm": None}, 4)
    {'concurrency': 1, 'rpm': 15.0, 'tpm': None}
    """
    found = {name: limits.get(name) for name in LIMITS}
    return {
        name: limit and (max(limit // workers, 1) if name == "concurrency" else limit / workers)
        for name, limit in found.items()
    }
