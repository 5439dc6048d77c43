"""The best documents for the words of a query, without going through all that have one of them."""

from __future__ import annotations

import numpy as np

from pairmine.backends.retrievers.postings import Postings

_LOOKUP_COST = 16
"""To look a document up among those of a word takes as long as to add about so many to their sums."""
_MANY = 8
"""When more than one document in so many is touched, going through all sums is quicker than keeping a list."""
_FEW = 1 << 15
"""So many sums are gone through in no time."""
_CHECK_COST = 1 << 13
"""To see whether the best are settled takes at least as long as to add about so many scores to their sums."""


class WordSearch:
    """Searches the first `searchable` documents, with 4 bytes of memory for each and a few more while it works."""

    def __init__(self, postings: Postings, searchable: int) -> None:
        self._postings = postings
        self._sums = np.zeros(searchable, np.float32)
        self._touched: list[np.ndarray] | None = None
        self._many = 0
        self._clear()

    def best(self, words: np.ndarray, weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and sums of at most `k` documents, best first, equal ones in their order; only sums above 0.

        `words` are distinct and come in the order in which they are summed up. Exact, like going through all
        documents of all words, but in two steps (the MaxScore rule of Turtle and Flood, 1995): as soon as `k`
        documents have more than all remaining words together can give, no other document can be among the
        best, and of these only such as can still get there are looked up in the remaining words.
        """
        starts, ends = self._postings.starts[words], self._postings.ends[words]
        work = (ends - starts)[::-1].cumsum()[::-1].tolist()
        rest = _at_most(self._postings.highest[words], weights)
        # A check can only succeed once the last one's k-th best sum and what came since exceed the rest.
        hope = 0.0
        candidates = None
        for number, (low, high, weight) in enumerate(
            zip(starts.tolist(), ends.tolist(), weights.tolist(), strict=True)
        ):
            if candidates is None and rest[number] < hope and self._many + _CHECK_COST < work[number]:
                hope, candidates = self._settle(k, rest[number])
            hope += rest[number] - rest[number + 1]
            documents, scores = self._postings.documents[low:high], self._postings.scores[low:high]
            if weight != 1:
                scores = scores * np.float32(weight)
            if candidates is None:
                self._add(documents, scores)
            else:
                self._add_to(candidates, documents, scores)
                if len(candidates) > 2 * k:
                    candidates = _rivals(self._sums, candidates, k, rest[number + 1])
        found = _ordered(self._sums, self._places() if candidates is None else candidates, k)
        self._clear()
        return found

    def _add(self, documents: np.ndarray, scores: np.ndarray) -> None:
        """Add the scores of a word to the sums of its documents."""
        if self._touched is not None:
            before = self._sums[documents]
            self._sums[documents] = before + scores
            new = documents[before == 0]
            self._touched.append(new)
            self._many += len(new)
            if self._many * _MANY > len(self._sums):
                self._touched, self._many = None, len(self._sums)
        else:
            np.add.at(self._sums, documents, scores)

    def _add_to(self, candidates: np.ndarray, documents: np.ndarray, scores: np.ndarray) -> None:
        """Add the scores of a word to the sums of the candidates; those of others do not matter any more."""
        if len(candidates) * _LOOKUP_COST < len(documents):
            place = np.minimum(np.searchsorted(documents, candidates), len(documents) - 1)
            there = documents[place] == candidates
            self._sums[candidates[there]] += scores[place[there]]
        elif len(documents):
            np.add.at(self._sums, documents, scores)
            self._touched = None

    def _settle(self, k: int, rest: float) -> tuple[float, np.ndarray | None]:
        """The `k`-th best sum so far, and, when no other document can reach it, the ascending documents that can."""
        places = self._places()
        if len(places) < k:
            return 0.0, None
        sums = self._sums[places]
        least = float(np.partition(sums, len(sums) - k)[len(sums) - k])
        return least, np.sort(places[sums + rest >= least]) if rest < least else None

    def _places(self) -> np.ndarray:
        """The documents with a sum above 0."""
        if self._touched is None:
            return np.flatnonzero(self._sums > 0).astype(np.int32)
        return np.concatenate([np.empty(0, np.int32), *self._touched])

    def _clear(self) -> None:
        """Make all sums 0 again."""
        if self._touched is None:
            self._sums.fill(0)
        else:
            self._sums[self._places()] = 0
        few = len(self._sums) <= _FEW
        self._touched, self._many = (None, len(self._sums)) if few else ([], 0)


def _at_most(highest: np.ndarray, weights: np.ndarray) -> list[float]:
    """For each place in a query, and its end: what the words from there on can give a document at most."""
    most = highest.astype(np.float64) * weights
    rest = np.append(most[::-1].cumsum()[::-1], 0.0)
    # Each word rounds a sum to float32: what that can amount to must never decide.
    found: list[float] = (rest + 2.4e-7 * len(most) * rest[0]).tolist()
    return found


def _rivals(sums: np.ndarray, places: np.ndarray, k: int, rest: float) -> np.ndarray:
    """Those of more than `k` `places` that can still be among the best `k` when no sum grows by more than `rest`."""
    own = sums[places]
    least = np.partition(own, len(own) - k)[len(own) - k]
    return places[own + np.float64(rest) >= least]


def _ordered(sums: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best of `places` with a sum above 0, best first, then by place."""
    own = sums[places]
    if len(own) > k:
        kept = own >= np.partition(own, len(own) - k)[len(own) - k]
        places, own = places[kept], own[kept]
    order = np.lexsort((places, -own))[:k]
    return places[order], own[order]
