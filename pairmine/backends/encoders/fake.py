"""A stand-in without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from pairmine.backends.encoders.protocol import Side, nothing
from pairmine.backends.models import Advance


class FakeEncoder:
    """A stand-in without a model: words hashed into 64 dimensions. For trying a pipeline out and for tests of logic."""

    def __init__(self, dim: int = 64) -> None:
        self._dim = dim
        self.facts: dict[str, Any] = {"model": "fake:", "dim": dim}

    def identity(self, side: Side) -> dict[str, Any]:
        """All that a vector depends on beside its text."""
        return {"model": "fake:", "dim": self._dim}

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of `texts`, all at once."""
        yield np.arange(len(texts)), self.encode(texts, side, advance)

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Vectors of `texts`, (n, 64) float32, unit length; a text without words gets a constant vector."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        for row, text in enumerate(texts):
            for word in text.casefold().split() or [""]:
                digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                vectors[row, digest[0] % self._dim] += 1 if digest[1] % 2 else -1
                vectors[row, digest[2] % self._dim] += 0.5
            vectors[row, 0] += 1e-3
        advance(len(texts))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
