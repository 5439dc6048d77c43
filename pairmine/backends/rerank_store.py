"""Scores of a server's reranker are kept: a pair that was answered once is never sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.rerank_servers import RerankScorer
from pairmine.backends.scorers.kept import pair_keys
from pairmine.backends.vectors.store import (
    SCORES,
    Found,
    Made,
    Shelf,
    StoredVectors,
    checked_folder,
    distinct_keys,
    shelf_name,
)
from pairmine.errors import PairmineError

_SAME_MODEL = 0.05
"""How far two answers of one server for one pair may lie apart; sums in 16 bits and another order stay well below."""


class KeptReranker:
    """A reranker whose scores come from `folder` where they are there, else from its server, and are kept then.

    They lie beside vectors and the scores of models in this process, in the same kind of shards, under the model's
    name, the endpoint, the scale and further fields of requests; not under the server's address, which may change.
    What is answered before an interrupt or a fault is kept. A pair without a score is asked about by the next run.
    """

    def __init__(
        self, scorer: RerankScorer, folder: str | Path, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._scorer = scorer
        self.facts, self.scale, self.folder = scorer.facts, scorer.scale, checked_folder(folder)
        self.reused = 0
        self._is_checked = False
        self._again = 0
        identity = {"holds": SCORES, "type": "float32", "identity": scorer.identity()}
        self._shelf = Shelf(self.folder / shelf_name(identity), identity, say)
        self._shelf.names["models"].add(scorer.name)

    @property
    def asked(self) -> int:
        """How many pairs the server was asked about, but for the one that tells whether it is the same model."""
        return self._scorer.asked - self._again

    @property
    def reasons(self) -> Counter[str]:
        """Why some of them have no score."""
        return self._scorer.reasons

    def to_send(self, queries: Sequence[str], documents: Sequence[str]) -> tuple[int, int]:
        """How many pairs would be sent for these, and in how many requests; nothing is sent."""
        keys, first, _ = distinct_keys(pair_keys(queries, documents))
        places = first[self._shelf.find(keys).shard < 0].tolist()
        return self._scorer.to_send([queries[place] for place in places], [documents[place] for place in places])

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """One score per pair, (n,) float32, NaN where the server gives none."""
        keys, first, of_pair = distinct_keys(pair_keys(queries, documents))
        found = self._shelf.find(keys)
        there, missing = (np.flatnonzero(mask) for mask in (found.shard >= 0, found.shard < 0))
        advance(len(queries) - len(missing))
        self.reused += len(there)
        if len(missing):
            self._check_unchanged(queries, documents, first[there], found.of(there))
            self._ask(queries, documents, keys[missing], first[missing], advance)
            found = self._shelf.find(keys)
        return self._read(found, keys)[of_pair]

    def _ask(
        self, queries: Sequence[str], documents: Sequence[str], keys: np.ndarray, first: np.ndarray, advance: Advance
    ) -> None:
        """Send the pairs at `first`, whose keys are (n, 2), and write their scores as they come."""

        def make(todo: list[int]) -> Made:
            places = first[todo].tolist()
            some = [queries[place] for place in places], [documents[place] for place in places]
            for rows, scores in self._scorer.parts(*some, advance):
                yield rows, scores[:, None]

        self._shelf.open_for_writing()
        self._shelf.fill(keys, make, advance)

    def _read(self, found: Found, keys: np.ndarray) -> np.ndarray:
        """The scores of distinct `keys`, (n,) float32, NaN for those that are not there."""
        scores = np.full(len(keys), np.nan, np.float32)
        there = np.flatnonzero(found.shard >= 0)
        scores[there] = StoredVectors(found.of(there)).block(0, len(there))[:, 0] if len(there) else []
        self._shelf.tidy(found.of(there))
        self._shelf.touch()
        return scores

    def _check_unchanged(
        self, queries: Sequence[str], documents: Sequence[str], first: np.ndarray, found: Found
    ) -> None:
        """Raise a PairmineError where a server has another model by this name now.

        One kept pair is sent again, once a run and only in a run that also asks about others: old and new scores
        would stand side by side.
        """
        if self._is_checked or not len(first):
            return
        self._is_checked = True
        self._again = 1
        kept = float(StoredVectors(found.of(np.arange(1))).block(0, 1)[0, 0])
        again = float(self._scorer.score([queries[int(first[0])]], [documents[int(first[0])]])[0])
        if abs(again - kept) > _SAME_MODEL * max(1.0, abs(kept)):
            raise PairmineError(
                f"{self._scorer.name}: the server gives a pair {again:.3g} that it gave {kept:.3g} in an earlier run, "
                "so another model goes by this name now; name another --store, or remove the old scores with "
                f"'pairmine store prune --model {self._scorer.name}'"
            )
