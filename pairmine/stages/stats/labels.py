"""How the numbers of a pair set call its labels."""

from __future__ import annotations

from collections.abc import Mapping

from pairmine.schema import NEGATIVE, POSITIVE

UNDECIDED = -1
LABELS = {POSITIVE: "positive", NEGATIVE: "negative", UNDECIDED: "undecided"}


def named(counts: Mapping[int, int]) -> dict[str, int]:
    """Counts by label with its name in place of its number."""
    return {LABELS[label]: count for label, count in counts.items()}


def share(part: int, whole: int) -> float | None:
    """The part of the whole, None where there is no whole."""
    return part / whole if whole else None
