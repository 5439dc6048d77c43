"""Random draws that are the same on every machine and Python version."""

from __future__ import annotations

import math

import numpy as np

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


class Draws:
    """The draws of one row, from a 64-bit seed made by `identity.seed_of`.

    SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
    2014): it needs no warming up, where `random.Random` takes as long to seed as a row to cut, and
    unlike `random.Random.sample` its results are not left to the Python version.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed

    def unit(self) -> float:
        """A number in [0, 1), a multiple of 2**-53."""
        self._state = mixed = (self._state + _STEP) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53

    def below(self, count: int) -> int:
        """A whole number in [0, count)."""
        return int(self.unit() * count)

    def sample(self, count: int, wanted: int) -> list[int]:
        """`wanted` different numbers in [0, count), in ascending order; all of them if `wanted` is as many or more.

        A larger sample holds every smaller one of the same draws.
        """
        if wanted >= count:
            return list(range(count))
        moved: dict[int, int] = {}
        taken = []
        for last in range(count - 1, count - 1 - wanted, -1):
            at = self.below(last + 1)
            taken.append(moved.get(at, at))
            moved[at] = moved.get(last, last)
        return sorted(taken)

    def beta(self, first: int, second: int) -> float:
        """A number in [0, 1) with the distribution Beta(`first`, `second`) of two whole numbers from 1.

        That is how the `first` smallest of `first` + `second` - 1 even numbers is distributed.
        """
        state, found = self._state, []
        # The steps of `unit`, in one loop because they are most of what a cut takes.
        for _ in range(first + second - 1):
            state = mixed = (state + _STEP) & _MASK
            mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
            found.append((mixed ^ (mixed >> 31)) >> 11)
        self._state = state
        found.sort()
        return found[first - 1] * 2.0**-53

    def shuffled(self, count: int) -> list[int]:
        """The numbers in [0, count) in a random order."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            at = self.below(last + 1)
            order[at], order[last] = order[last], order[at]
        return order

    def poisson(self, mean: float) -> int:
        """A whole number from 0 on, Poisson distributed; `mean` is small, since it takes as many steps."""
        left, drawn = math.exp(-mean), -1
        product = 1.0
        while product > left:
            product *= self.unit()
            drawn += 1
        return drawn

    def units(self, count: int) -> np.ndarray:
        """The next `count` draws of `unit`, (count,) float64: the same numbers, many at once."""
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
        mixed = np.uint64(self._state) + steps
        self._state = (self._state + _STEP * count) & _MASK
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found: np.ndarray = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
        return found
