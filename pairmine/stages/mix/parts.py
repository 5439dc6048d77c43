"""What `--split` asks for: the splits' names, and how many queries each is to have."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairmine.errors import PairmineError

_NAME = re.compile(r"\w[\w.-]*")
_EXAMPLE = "as in train=.9,dev=.1 or dev=1000,train=rest"


@dataclass(frozen=True)
class Part:
    """A split that is asked for: a `share` of all queries, a `count` of them, or with neither what is left over."""

    name: str
    share: float | None = None
    count: int | None = None

    def __str__(self) -> str:
        """As it may be written."""
        number = "rest" if self.share is None else f"{self.share:g}"
        return f"{self.name}={number if self.count is None else self.count}"


def parse_parts(text: str) -> tuple[Part, ...]:
    """The splits that ``NAME=SHARE,...`` asks for; raises a PairmineError for what cannot be.

    A share is a fraction (.9, 90%), a number of queries (1000), or ``rest`` for one of the splits.

    >>> [str(part) for part in parse_parts("dev=1000,train=rest")]
    ['dev=1000', 'train=rest']
    """
    parts = tuple(_part(each.strip()) for each in text.split(","))
    names = [part.name for part in parts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PairmineError(f'--split {text}: "{twice}" stands there twice; give every split a name of its own')
    if sum(part.share is None and part.count is None for part in parts) > 1:
        raise PairmineError(f"--split {text}: one split alone can have the rest; give the others a number")
    if (whole := sum(part.share or 0 for part in parts)) > 1 + 1e-9:
        raise PairmineError(f"--split {text}: the shares add up to {whole:g}; they may be 1 in all")
    return parts


def _part(text: str) -> Part:
    name, equals, value = (each.strip() for each in text.partition("="))
    if not equals or not _NAME.fullmatch(name):
        raise PairmineError(
            f'--split: "{text}" is no NAME=SHARE ({_EXAMPLE}); a name has letters, digits, ".", "-" and "_"'
        )
    if value == "rest":
        return Part(name)
    if re.fullmatch(r"[0-9]+", value):
        return Part(name, count=_count(text, int(value)))
    try:
        share = float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise PairmineError(f"--split {text}: a share is above 0 and up to 1, or a number of queries, or rest")
    return Part(name, share=share)


def _count(text: str, count: int) -> int:
    if count == 0:
        raise PairmineError(f"--split {text}: leave a split without queries out")
    if count == 1:
        raise PairmineError(f"--split {text}: one query, or all of them? write 100% for all, or 2 queries and more")
    return count


def wanted(parts: Sequence[Part], queries: int) -> np.ndarray:
    """How many of the `queries` each split is to have, (parts,) int64; where they ask for all, it is all of them.

    Raises PairmineError for more than there are, and where a split would get none.

    >>> wanted(parse_parts("train=.9,dev=.1"), 225)
    array([202,  23])
    """
    counts = np.array([part.count or math.floor((part.share or 0) * queries + 0.5) for part in parts], np.int64)
    taker = _taker(parts)
    if taker is not None:
        counts[taker] = 0
        counts[taker] = queries - counts.sum()
    asked = ",".join(map(str, parts))
    if counts.sum() > queries or counts.min() < 0:
        raise PairmineError(f"--split {asked}: there are {queries:,} queries in all; ask for fewer")
    for part, count in zip(parts, counts.tolist(), strict=True):
        if not count and queries:
            raise PairmineError(f"--split {part}: none of {queries:,} queries; ask for more, or leave that split out")
    return counts


def _taker(parts: Sequence[Part]) -> int | None:
    """The split that takes what the others leave: that of the rest, or where the shares add up to 1 the largest one."""
    for number, part in enumerate(parts):
        if part.share is None and part.count is None:
            return number
    shares = [part.share or 0 for part in parts]
    if all(part.count is None for part in parts) and math.isclose(sum(shares), 1, abs_tol=1e-9):
        return shares.index(max(shares))
    return None
