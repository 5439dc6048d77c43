"""What a scorer is: (query, document) pairs to numbers on a declared scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pairmine.backends.models import Advance


class Scorer(Protocol):
    """Scores pairs; the same pair always gets the same score."""

    facts: dict[str, Any]
    scale: str

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = ...) -> np.ndarray:
        """One score per pair, (n,) float32; the two sequences run side by side."""


@dataclass(frozen=True)
class Scored:
    """The scores of n pairs, (n,) float32, and which of them were cut at the model's limit, (n,) bool."""

    scores: np.ndarray
    is_cut: np.ndarray


@runtime_checkable
class CountsCuts(Protocol):
    """A scorer that knows which pairs it did not read to their end."""

    max_length: int | None

    def scored(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = ...) -> Scored:
        """What `score` gives, and which pairs were cut at `max_length` tokens."""


@runtime_checkable
class Closes(Protocol):
    """A scorer that holds an engine or connections."""

    def close(self) -> None:
        """Let go of them."""
