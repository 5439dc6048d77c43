"""What a scan of texts looks for, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACTOR = 0x9E3779B97F4A7C15

SECOND_BIT = np.uint64(32)
"""How many bits of a hash are left out to come to its second place in the table."""


@dataclass(frozen=True)
class Look:
    """Runs to look for: of `length` words, or members of shingles; `bits_of` their hashes are `bits`."""

    length: int
    of_members: bool
    bits: np.ndarray


@dataclass(frozen=True)
class Sighting:
    """Where runs are that may be among those of a `Look`: the text of each, ascending, and its hash."""

    texts: np.ndarray
    hashes: np.ndarray
