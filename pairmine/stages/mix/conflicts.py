"""Which drawn queries must not meet in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pairmine.stages.dedup.kernel.shingles import Ragged
from pairmine.stages.mix.known import Answers

_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Conflicts:
    """Sets of marks for m draws: two draws must not meet where one's `asks` shares a mark with the other's `holds`.

    A mark that no two draws have is left out, so most draws of a large set have none at all.
    """

    asks: Ragged
    holds: Ragged

    @classmethod
    def of(cls, answers: Answers, query: np.ndarray, owner: np.ndarray, document: np.ndarray) -> Conflicts:
        """The conflicts of m draws of the queries `query` (m,), numbered as in `answers`.

        Row i of all their rows is one of draw ``owner[i]`` with the document ``document[i]``, numbered as there. Two
        draws conflict where they are of one query, or where a document of one answers the query of the other.

        A known pair of query and document is a mark of the side that is drawn less often: the document, which the
        draws of the query ask for, or the query, which the draws with the document hold. So a query with thousands
        of answers, or an answer of thousands of queries, adds little.
        """
        place_of_query, queries = _places(query)
        place_of_document, documents = _places(document)
        query_of, document_of, draws = place_of_query[query], place_of_document[document], len(query)
        asked, answer = _known_to_both(answers, place_of_query, place_of_document)
        by_document = _counts(query_of, asked) <= _counts(document_of, answer)
        asking, wanted = _join(query_of, asked[by_document], queries)
        holding, of_pair = _join(document_of, answer[~by_document], documents)
        is_wanted = np.zeros(documents, bool)
        is_wanted[answer[by_document]] = True
        is_wanted = is_wanted[document_of]
        every = np.arange(draws)
        asks = (
            np.concatenate([asking, every]),
            np.concatenate([answer[by_document][wanted], documents + query_of]),
        )
        holds = (
            np.concatenate([owner[is_wanted], owner[holding], every]),
            np.concatenate([document_of[is_wanted], documents + asked[~by_document][of_pair], documents + query_of]),
        )
        is_live = _live(asks, holds)
        return cls(_ragged(*asks, is_live, draws), _ragged(*holds, is_live, draws))

    @classmethod
    def none(cls, draws: int) -> Conflicts:
        """No conflicts among so many draws."""
        empty = Ragged(np.empty(0, np.int64), np.zeros(draws + 1, np.int64))
        return cls(empty, empty)

    @property
    def any(self) -> bool:
        """Whether any two draws must not meet."""
        return bool(len(self.asks.values))

    def lists(self, draws: np.ndarray) -> Iterator[tuple[list[int], list[int]]]:
        """What each of the `draws` asks for and what it holds, in their order."""
        for start in range(0, len(draws), _AT_ONCE):
            some = draws[start : start + _AT_ONCE]
            yield from zip(_lists(self.asks.take(some)), _lists(self.holds.take(some)), strict=True)


def _places(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Small numbers for the values that occur: that of each value, -1 for one that does not, and how many there are."""
    occurs = np.zeros(int(values.max(initial=-1)) + 1, bool)
    occurs[values] = True
    places = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return np.where(occurs, places, np.int32(-1)), int(occurs.sum())


def _known_to_both(
    answers: Answers, place_of_query: np.ndarray, place_of_document: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The known pairs of a query that is drawn and a document that a draw has, in small numbers."""
    both = (answers.asked < len(place_of_query)) & (answers.answer < len(place_of_document))
    asked, answer = place_of_query[answers.asked[both]], place_of_document[answers.answer[both]]
    both = (asked >= 0) & (answer >= 0)
    return asked[both], answer[both]


def _counts(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """How often each of `of` stands among `values`."""
    counts: np.ndarray = np.bincount(values, minlength=int(of.max(initial=-1)) + 1)[of]
    return counts


def _join(left: np.ndarray, right: np.ndarray, values: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of places with equal values, whole numbers below `values`, in `left` and `right`."""
    if not len(right):
        return right, right
    order = np.argsort(right, kind="stable")
    held = np.bincount(right, minlength=values)
    counts = held[left]
    before = np.cumsum(counts) - counts
    starts = (np.cumsum(held) - held)[left]
    places = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
    return np.repeat(np.arange(len(left)), counts), order[places]


def _live(asks: tuple[np.ndarray, np.ndarray], holds: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which marks one draw asks for and another one holds, (marks,) bool."""
    marks = int(max(asks[1].max(initial=-1), holds[1].max(initial=-1))) + 1
    asking, holding = (np.bincount(side[1], minlength=marks) for side in (asks, holds))
    who_asks, who_holds = (np.bincount(side[1], weights=side[0], minlength=marks) for side in (asks, holds))
    alone = (asking == 1) & (holding == 1) & (who_asks == who_holds)
    live: np.ndarray = (asking > 0) & (holding > 0) & ~alone
    return live


def _ragged(draw: np.ndarray, mark: np.ndarray, is_live: np.ndarray, draws: int) -> Ragged:
    kept = is_live[mark]
    draw, mark = draw[kept], mark[kept]
    order = np.argsort(draw, kind="stable")
    return Ragged(mark[order], np.concatenate([[0], np.cumsum(np.bincount(draw, minlength=draws))]))


def _lists(sets: Ragged) -> Iterator[list[int]]:
    values, bounds = sets.values.tolist(), sets.offsets.tolist()
    return (values[start:stop] for start, stop in pairwise(bounds))
