"""Runs of words in many texts, and which of them may be among a few that are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import pyarrow as pa

from pairmine.stages.dedup.kernel import plain
from pairmine.stages.dedup.kernel.compiled import NATIVE, Tell, compiled
from pairmine.stages.dedup.kernel.hashes import mixed
from pairmine.stages.dedup.kernel.looks import FACTOR, SECOND_BIT, Look, Sighting
from pairmine.stages.dedup.kernel.plain_segments import segments_of
from pairmine.stages.dedup.kernel.shingles import Ragged, joined
from pairmine.stages.dedup.kernel.slices import Slice, settled, slices

if TYPE_CHECKING:
    from pairmine.stages.dedup.kernel.slices import Engine

_BITS_A_GRAM = 32
_LEAST_BITS, _MOST_BITS = 1 << 16, 1 << 32


@dataclass(frozen=True)
class Streams:
    """The words of n texts in their order, and what shingles are made of, which may be their code points instead."""

    words: Ragged
    members: Ragged

    def take(self, texts: np.ndarray) -> Streams:
        """Those of the texts at these places."""
        words = self.words.take(texts)
        return Streams(words, words if self.members is self.words else self.members.take(texts))


class Scan(Protocol):
    """One of the two ways to scan a slice of texts, `plain_scan` or `native.scan`: the same from either."""

    def __call__(self, texts: Slice, by_character: bool, looks: Sequence[Look]) -> tuple[np.ndarray, list[Sighting]]:
        """The `whole` hash of each text, (n,) uint64, and a sighting for each of `looks`."""


def scanner(size: int, *, engine: str = "auto", tell: Tell | None = None) -> tuple[Engine, Scan]:
    """How texts of so many bytes are best read and scanned."""
    fast = compiled(NATIVE, size, engine=engine, tell=tell)
    return (cast("Engine", fast), fast.scan) if fast else (cast("Engine", plain), plain_scan)


def streams_of(texts: pa.Array, by_character: bool) -> Streams:
    """The words and the members of shingles of some texts."""
    parts = [_streams(settled(each, cast("Engine", plain)), by_character) for each in slices(texts)]
    words = joined([part.words for part in parts])
    return Streams(words, joined([part.members for part in parts]) if by_character else words)


def _streams(texts: Slice, by_character: bool) -> Streams:
    words, members = [], []
    for _, segments in segments_of(texts, by_character):
        words.append(plain.words_of(segments))
        members.append(plain.members_of(segments, words[-1]))
    row = joined(words)
    return Streams(row, joined(members) if by_character else row)


def plain_scan(texts: Slice, by_character: bool, looks: Sequence[Look]) -> tuple[np.ndarray, list[Sighting]]:
    """See `Scan`."""
    streams = _streams(texts, by_character)
    found = []
    for look in looks:
        runs = rolled(streams.members if look.of_members else streams.words, look.length)
        at = _possible(look.bits, runs.values)
        found.append(Sighting(np.searchsorted(runs.offsets, at, side="right") - 1, runs.values[at]))
    return whole(streams.words), found


def bits_of(hashes: np.ndarray) -> np.ndarray:
    """A table of bits, packed into uint64, two of which are set for each of `hashes` (Bloom, 1970)."""
    size = _LEAST_BITS
    while size < min(_BITS_A_GRAM * len(hashes), _MOST_BITS):
        size *= 2
    bits = np.zeros(size // 64, np.uint64)
    for places in (hashes, hashes >> SECOND_BIT):
        np.bitwise_or.at(bits, _word_of(bits, places), np.uint64(1) << (places & np.uint64(63)))
    return bits


def _possible(bits: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """The places of hashes that have both bits set, ascending."""
    at = np.flatnonzero(_is_set(bits, hashes))
    return at[_is_set(bits, hashes[at] >> SECOND_BIT)]


def _is_set(bits: np.ndarray, places: np.ndarray) -> np.ndarray:
    found: np.ndarray = (bits[_word_of(bits, places)] >> (places & np.uint64(63)) & np.uint64(1)).astype(bool)
    return found


def _word_of(bits: np.ndarray, places: np.ndarray) -> np.ndarray:
    return (places >> np.uint64(6)) & np.uint64(len(bits) - 1)


def rolled(words: Ragged, length: int) -> Ragged:
    """A hash for each run of `length` words of each text, in the order of the text; none for texts of fewer words."""
    sizes = np.maximum(words.sizes - length + 1, 0)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    windows = max(len(words.values) - length + 1, 0)
    sums = np.zeros(windows, np.uint64)
    for place in range(length):
        sums *= np.uint64(FACTOR)
        sums += words.values[place : place + windows]
    starts = np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], sizes)
    return Ragged(mixed(sums[starts]), offsets)


def whole(words: Ragged) -> np.ndarray:
    """A hash of each text's words and their order, (n,) uint64; 0 for a text without words."""
    place = np.arange(len(words.values)) - np.repeat(words.offsets[:-1], words.sizes)
    terms = mixed(words.values + place.astype(np.uint64) * np.uint64(FACTOR))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms)))
    hashes: np.ndarray = sums[words.offsets[1:]] - sums[words.offsets[:-1]]
    return hashes
