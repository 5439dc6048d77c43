"""Unit vectors by place, wherever they lie."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Vectors(Protocol):
    """Vectors numbered from 0, read as float32 a few at a time; they may lie on disk in another type.

    The same place always gives the same float32 values.
    """

    @property
    def dim(self) -> int:
        """The length of each."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, places: np.ndarray) -> np.ndarray:
        """Those at `places` (n,), in any order, as (n, dim) float32."""

    def block(self, start: int, stop: int) -> np.ndarray:
        """Those from `start` to before `stop` as (stop - start, dim) float32; a view where they lie in memory."""


class InMemory:
    """A float32 matrix."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return int(self.matrix.shape[1])

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Copies of some of them, (n, dim) float32."""
        found: np.ndarray = self.matrix[places]
        return found

    def block(self, start: int, stop: int) -> np.ndarray:
        """A view of neighbours, (stop - start, dim) float32."""
        return self.matrix[start:stop]


class Subset:
    """Some of other vectors, in an order of their own."""

    def __init__(self, whole: Vectors, places: np.ndarray) -> None:
        self._whole = whole
        self._places = places

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return self._whole.dim

    def __len__(self) -> int:
        return len(self._places)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Copies of some of them, (n, dim) float32."""
        return self._whole.take(self._places[places])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Copies of neighbours, (stop - start, dim) float32."""
        return self._whole.take(self._places[start:stop])


class Span:
    """A stretch of other vectors, from place `first` to before `stop`."""

    def __init__(self, whole: Vectors, first: int, stop: int) -> None:
        self._whole = whole
        self._first = first
        self._count = stop - first

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return self._whole.dim

    def __len__(self) -> int:
        return self._count

    def take(self, places: np.ndarray) -> np.ndarray:
        """Copies of some of them, (n, dim) float32."""
        return self._whole.take(places + self._first)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Neighbours, (stop - start, dim) float32."""
        return self._whole.block(start + self._first, stop + self._first)


class Joined:
    """Some vectors behind others."""

    def __init__(self, first: Vectors, second: Vectors) -> None:
        self._first = first
        self._second = second

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return self._first.dim if len(self._first) else self._second.dim

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Copies of some of them, (n, dim) float32."""
        found = np.empty((len(places), self.dim), np.float32)
        is_first = places < len(self._first)
        found[is_first] = self._first.take(places[is_first])
        found[~is_first] = self._second.take(places[~is_first] - len(self._first))
        return found

    def block(self, start: int, stop: int) -> np.ndarray:
        """Copies of neighbours, (stop - start, dim) float32."""
        return self.take(np.arange(start, stop))


def as_vectors(vectors: Vectors | np.ndarray) -> Vectors:
    """A matrix (n, dim) float32 as `Vectors`, others as they are."""
    return InMemory(vectors) if isinstance(vectors, np.ndarray) else vectors
