"""What an encoder is: texts to unit vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from pairmine.backends.models import Advance

Side = Literal["query", "document"]


class Encoder(Protocol):
    """Texts to vectors; the same text always gives the same vector."""

    facts: dict[str, Any]

    def identity(self, side: Side) -> dict[str, Any]:
        """All that a vector depends on beside its text, to be stored as JSON: weights, prompt, length, dtype, ..."""

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = ...
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some rows of `texts` (m,) and their vectors (m, dim) float32, as soon as these are there, in any order."""

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = ...) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length; (0, dim) or (0, 0) for none."""


def nothing(_: int) -> None:
    """Progress that nobody watches."""
