"""What stays of documents that share keys: of all of a corpus, or of those that may copy each other and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.stages.dedup.choice import Choice, Giant, choose_units, giants
from pairmine.stages.dedup.copies import Copies, best_ranks
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.preference import column_ranks, places_of
from pairmine.stages.dedup.suspects import Suspects
from pairmine.stages.dedup.units import Units
from pairmine.stages.dedup.verified import Sets, matches_among


@dataclass(frozen=True)
class Decided:
    """What stays of some documents, what was compared for that, and their `giants`, however few they are of all."""

    choice: Choice
    compared: int
    passed_over: int
    giants: list[Giant]


def decide(
    suspects: Suspects,
    sets: Sets,
    places: np.ndarray,
    ids: pa.Array,
    values: Sequence[pa.Array],
    budget_bytes: int,
    near: Near | None,
    keep: str,
    group: str,
) -> Decided:
    """Which of the documents at the ascending `places` stay, which are all `suspects`; `ids` are theirs.

    `values` are what `keep` ranks them by, but for those of an index.
    """
    ranks = _ranks(values, len(places), keep)
    copies = _copies(places, suspects, sets, near, group, ranks, budget_bytes)
    units = Units("document", ids, pa.chunked_array([], pa.large_string()), np.arange(len(places)))
    choice = choose_units(units, copies, ranks)
    return Decided(choice, copies.compared, copies.passed_over, giants(choice, copies))


def notes_of(choice: Choice, compared: int, passed_over: int) -> dict[str, int]:
    """The counts for the report."""
    return {
        "groups": choice.groups,
        "largest group": int(choice.sizes.max(initial=0)) if choice.groups else 0,
        "pairs compared": compared,
        "pairs passed over": passed_over,
    }


def _ranks(values: Sequence[pa.Array], count: int, keep: str) -> np.ndarray:
    """As `preference.unit_ranks`; of `count` documents those of the index come first."""
    if keep == "first" or not values:
        return np.arange(count)
    column = pa.chunked_array(list(values))
    keys = -column.to_numpy() if keep == "longest" else column_ranks(column)
    ahead = np.full(count - len(keys), np.iinfo(np.int64).min)
    return places_of(np.concatenate([ahead, keys]))


def _copies(
    places: np.ndarray, suspects: Suspects, sets: Sets, near: Near | None, group: str, ranks: np.ndarray, budget: int
) -> Copies:
    exact = np.arange(len(places))
    exact[np.searchsorted(places, suspects.copies)] = np.searchsorted(places, suspects.firsts)
    if near is None:
        return Copies(exact, exact, None)
    best = best_ranks(exact, ranks)
    matches = matches_among(suspects, places, sets, near, group=group, ranks=best, budget_bytes=budget)
    return Copies(exact, matches.groups[exact], matches)
