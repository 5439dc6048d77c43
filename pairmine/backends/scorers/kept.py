"""Scores are kept: a pair that a model has read once is never given to it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pairmine.backends.encoders.protocol import nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers.protocol import Scored
from pairmine.backends.vectors.store import (
    SCORES,
    UNKNOWN_WEIGHTS,
    Made,
    Say,
    Shelf,
    StoredVectors,
    checked_folder,
    distinct_keys,
    shelf_name,
)


class KeepableScorer(Protocol):
    """A scorer whose scores depend on the two texts and on what its `identity` says, and come batch by batch."""

    facts: dict[str, Any]
    scale: str
    max_length: int | None

    def identity(self) -> dict[str, Any]:
        """All that a score depends on beside its two texts, to be stored as JSON."""

    def parts(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance = ...
    ) -> Iterator[tuple[np.ndarray, Scored]]:
        """Some of the pairs, (m,), and what is known of them, as soon as it is there, in any order."""


class KeptScorer:
    """A scorer that takes scores from `folder` where they are there, else from `scorer`, and then keeps them.

    They lie in a folder of their own for each identity (weights, length, dtype, backend, scale), in the same shards
    as vectors: written as they come, whole or not at all, with checksums, by several processes at once if need be,
    so that a run that is killed loses some seconds. A pair is known by 128 bits of its two texts' digests
    and takes 24 bytes: these, its score, and whether it was cut. The keys of all pairs of one identity are held in
    memory, 16 bytes each: 160 MB for ten million. `asked` and `reused` count the pairs of all calls so far.
    """

    def __init__(self, scorer: KeepableScorer, folder: str | Path, say: Say = lambda _: None) -> None:
        self.facts, self.scale, self.max_length = scorer.facts, scorer.scale, scorer.max_length
        self.folder = checked_folder(folder)
        self.asked = 0
        self.reused = 0
        self._scorer = scorer
        self._shelf = self._open(say)

    def _open(self, say: Say) -> Shelf | None:
        """Where the scores lie; None where nobody can say later whether it is the same model."""
        model = str(self.facts.get("model", "?"))
        identity = {"holds": SCORES, "type": "float32", "identity": self._scorer.identity()}
        if UNKNOWN_WEIGHTS in identity["identity"]:
            say(f"{model}: neither a digest nor a revision of its weights is known; its scores are not kept")
            return None
        shelf = Shelf(self.folder / shelf_name(identity), identity, say)
        shelf.names["models"].add(model)
        return shelf

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """One score per pair, (n,) float32."""
        return self.scored(queries, documents, advance).scores

    def scored(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> Scored:
        """The same, and which pairs were cut; equal pairs are scored once."""
        if not queries:
            return Scored(np.empty(0, np.float32), np.empty(0, bool))
        keys, first, of_pair = distinct_keys(pair_keys(queries, documents))
        advance(len(queries) - len(keys))

        def make(numbers: np.ndarray) -> Made:
            places = first[numbers].tolist()
            some = [queries[place] for place in places], [documents[place] for place in places]
            for rows, found in self._scorer.parts(*some, advance):
                yield rows, np.stack([found.scores, found.is_cut], axis=1)

        if self._shelf is None:
            rows = np.empty((len(keys), 2), np.float32)
            for places, found in make(np.arange(len(keys))):
                rows[places] = found
            self.asked += len(keys)
        else:
            rows = self._from_shelf(self._shelf, keys, make, advance)
        return Scored(rows[of_pair, 0], rows[of_pair, 1] > 0)

    def _from_shelf(
        self, shelf: Shelf, keys: np.ndarray, make: Callable[[np.ndarray], Made], advance: Advance
    ) -> np.ndarray:
        """The rows of distinct `keys`, (n, 2); `make` makes those that are not there yet."""
        found = shelf.find(keys)
        advance(int((found.shard >= 0).sum()))

        def write(missing: np.ndarray) -> int:
            return shelf.fill(keys[missing], lambda todo: make(missing[todo]), advance)

        found, made = shelf.complete(keys, found, write)
        self.asked += made
        self.reused += len(keys) - made
        return StoredVectors(found).block(0, len(keys))


def pair_keys(queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """The two halves of each pair's digest, (n, 2) uint64: BLAKE2b over the digests of its two texts."""
    sides = [_digests(texts) for texts in (queries, documents)]
    digests = b"".join(blake2b(one + other, digest_size=16).digest() for one, other in zip(*sides, strict=True))
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _digests(texts: Sequence[str]) -> Iterator[bytes]:
    """The digest of each text; one that comes again is not hashed again."""
    known: dict[str, bytes] = {}
    for text in texts:
        if text not in known:
            known[text] = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        yield known[text]
