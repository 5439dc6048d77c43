"""Which searched documents share a text, with their titles or without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairmine.identity import NO_TEXT


@dataclass(frozen=True)
class Forms:
    """The text keys of searched documents as pairs (key, place), sorted by key and then by place.

    A document with a title has two keys, that of its text alone and that of title and text, and
    one place may stand for several documents; so a key may have many places and a place many keys.
    `by_place` is the order of the pairs by place.
    """

    keys: np.ndarray
    places: np.ndarray
    by_place: np.ndarray

    @classmethod
    def of(cls, keys: Sequence[np.ndarray], places: np.ndarray) -> Forms:
        """From the place of each document, -1 where it is not searched, and its key in each form."""
        key, place = np.concatenate(keys), np.tile(places, len(keys))
        kept = (key != NO_TEXT) & (place >= 0)
        key, place = distinct_pairs(key[kept], place[kept])
        return cls(key, place, np.argsort(place, kind="stable"))

    def places_of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All places that have one of `keys`: the number of the key asked for, and the place."""
        asked, at = matches(self.keys, keys)
        return asked, self.places[at]

    def keys_of(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All keys of `places`: the number of the place asked for, and the key."""
        asked, at = matches(self.places[self.by_place], places)
        return asked, self.keys[self.by_place[at]]


def distinct_pairs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of two arrays side by side, sorted, each once."""
    order = np.lexsort((other, one))
    one, other = one[order], other[order]
    new = np.ones(len(one), bool)
    new[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    return one[new], other[new]


def matches(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each wanted value and the index in the sorted `known`, for every match."""
    low, high = (np.searchsorted(known, wanted, side) for side in ("left", "right"))
    count = high - low
    number = np.repeat(np.arange(len(wanted)), count)
    before = np.cumsum(count) - count
    return number, np.arange(len(number)) - np.repeat(before - low, count)
