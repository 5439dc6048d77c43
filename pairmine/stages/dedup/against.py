"""Decontamination: which texts are in a test set, whole, nearly, or as a part of something longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.stages.dedup.gram_lengths import GRAM_WORDS, WHOLE_BELOW, gram_lengths
from pairmine.stages.dedup.grams import RunIndex
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.dedup.kernel.slices import Engine, Slice, settled, slices
from pairmine.stages.dedup.scan import Scan, Streams, scanner, streams_of, whole
from pairmine.tokens import tokens

CONTAINMENT = 0.5
_SAMPLE, _OPENING = 2000, 1000

KINDS = ("exact", "near", "contains")
EXACT, NEAR, CONTAINS = range(3)
REASON = "in the test set: "


@dataclass(frozen=True)
class EvalSet:
    """A test set: the `ids` and `texts` of n things that training data must not hold, none null, and its `name`."""

    name: str
    ids: pa.Array
    texts: pa.ChunkedArray


@dataclass(frozen=True)
class Hits:
    """Texts that are in a test set: their places, ascending, and the test text `of` that each is most like.

    `kind` is an index into `KINDS`. `similarity` (n,) float64 is 1.0 for an exact copy, the Jaccard similarity for a
    near one, else the share of the test text's n-grams that the text holds.
    """

    places: np.ndarray
    of: np.ndarray
    kind: np.ndarray
    similarity: np.ndarray

    def take(self, at: np.ndarray) -> Hits:
        """The hits `at` these places."""
        return Hits(self.places[at], self.of[at], self.kind[at], self.similarity[at])

    def moved(self, places: np.ndarray) -> Hits:
        """The same hits where the text at place i stands at ``places[i]``."""
        return replace(self, places=places[self.places])


class Against:
    """The texts of test sets, indexed, so that any number of other texts can be held against them.

    A text is in a test set when it is an exact copy of one of its texts, by dedup's rule (`exact`); a near copy, of
    a Jaccard similarity of `threshold` or more between their sets of `ngram`-word shingles, whatever their length; or
    when it holds `containment` or more of a test text's n-grams. `gram_lengths` says how long these are, and which test
    texts are too short for that, so that they must be the whole of another text. A `threshold` of None looks for exact
    copies alone.
    """

    def __init__(
        self,
        sets: Sequence[EvalSet],
        *,
        threshold: float | None,
        ngram: int,
        unit: str = "word",
        containment: float = CONTAINMENT,
        whole_below: int = WHOLE_BELOW,
        exact: str = "normalised",
        workers: int = 1,
        engine: str = "auto",
        tell: Tell | None = None,
    ) -> None:
        _check(containment, whole_below)
        for each in sets:
            _check_texts(each)
        nothing = pa.array([], pa.large_string())
        self.ids = pa.concat_arrays([nothing, *(each.ids.cast(pa.large_string()) for each in sets)])
        self._names = pa.array([each.name for each in sets], pa.string())
        self._set = np.repeat(np.arange(len(sets)), [len(each.ids) for each in sets])
        self._threshold, self._ngram, self._by_character = threshold, ngram, unit == "character"
        self._containment, self._exact = containment, exact
        self._workers, self._engine, self._tell = workers, engine, tell
        texts = pa.concat_arrays(
            [nothing, *(each for one in sets for each in one.texts.cast(pa.large_string()).chunks)]
        )
        self._streams = streams_of(texts, self._by_character)
        self._first_of = _first_of_each(texts, exact)
        self._whole, self._first_whole = np.unique(whole(self._streams.words), return_index=True)
        self._grams = gram_lengths(texts, whole_below)
        self._indexes: list[RunIndex] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def short(self) -> int:
        """How many test texts must be the whole of another text to be found."""
        return int((self._grams == 0).sum())

    def quiet(self) -> Against:
        """The same, to travel to another process: it tells nobody what it does, and works in one thread."""
        found = copy(self)
        found._tell, found._workers = None, 1
        return found

    def find(self, texts: pa.ChunkedArray) -> Hits:
        """Which of `texts`, none null, are in a test set; the same for any number of threads."""
        if not len(self):
            return _joined([])
        if self._indexes is None:
            self._indexes = self._indexed(texts)
        path, scan = scanner(texts.nbytes, engine=self._engine, tell=self._tell)
        with ThreadPoolExecutor(self._workers) as pool:
            return _joined(list(pool.map(lambda piece: self._find(piece, path, scan), slices(texts))))

    def told(self, hits: Hits) -> dict[str, pa.Array]:
        """The columns that say of each hit why its text leaves."""
        ids = self.ids.take(pa.array(hits.of)).cast(pa.string())
        return {
            "reason": pa.array([REASON + kind for kind in KINDS]).take(pa.array(hits.kind)),
            "duplicate_of": ids,
            "similarity": pa.array(hits.similarity),
            "similar_to": ids,
            "against": self._names.take(pa.array(self._set[hits.of])),
        }

    def name_of(self, of: int) -> str:
        """The test set that a test text is from."""
        return str(self._names[int(self._set[of])])

    def _indexed(self, texts: pa.ChunkedArray) -> list[RunIndex]:
        """The index for near copies, then one for each length of n-grams; `texts` are sampled for what is rare."""
        if self._threshold is None:
            return []
        sample = streams_of(_sample(texts), self._by_character)
        long_enough = np.flatnonzero(self._streams.members.sizes >= self._ngram)
        near = RunIndex(self._streams, long_enough, self._ngram, self._threshold, sample, of_members=True)
        of_lengths = [(each, np.flatnonzero(self._grams == each)) for each in range(1, GRAM_WORDS + 1)]
        return [near] + [
            RunIndex(self._streams, of, length, self._containment, sample, of_members=False)
            for length, of in of_lengths
            if len(of)
        ]

    def _find(self, piece: Slice, path: Engine, scan: Scan) -> Hits:
        """The hits in a piece of the texts."""
        assert self._indexes is not None
        hashes, sightings = scan(settled(piece, path), self._by_character, [index.look for index in self._indexes])
        found = list(self._copies(piece.texts, hashes))
        candidates = [index.candidates(each) for index, each in zip(self._indexes, sightings, strict=True)]
        texts = distinct(np.concatenate([np.empty(0, np.int64), *(each.texts for each in candidates)]))
        streams = streams_of(piece.texts.take(pa.array(texts)), self._by_character)
        for index, each in zip(self._indexes, candidates, strict=True):
            judge = self._near if index is self._indexes[0] else _held
            found.append(judge(index, *index.find(each, streams, texts), streams).moved(texts))
        return _best(_joined(found)).moved(np.arange(len(piece)) + piece.place)

    def _copies(self, texts: pa.Array, hashes: np.ndarray) -> Iterator[Hits]:
        """The exact copies, and the texts that have the words of a test text in its order."""
        place = np.minimum(np.searchsorted(self._whole, hashes), len(self._whole) - 1)
        at = np.flatnonzero(self._whole[place] == hashes)
        of = self._exact_of(texts, at)
        yield _hits(at[of >= 0], of[of >= 0], EXACT, np.ones(int((of >= 0).sum())))
        if self._threshold is not None and not self._by_character:
            worded = at[hashes[at] != 0]
            yield _hits(worded, self._first_whole[place[worded]], NEAR, np.ones(len(worded)))

    def _exact_of(self, texts: pa.Array, at: np.ndarray) -> np.ndarray:
        """The first test text that each of the texts `at` copies exactly, -1 for none."""
        keys = [_exact_key(text, self._exact) for text in texts.take(pa.array(at)).to_pylist()]
        return np.array([self._first_of.get(key, -1) for key in keys], np.int64)

    def _near(self, index: RunIndex, row: np.ndarray, of: np.ndarray, shared: np.ndarray, streams: Streams) -> Hits:
        """Near copies among texts that share enough shingles with a test text."""
        similarity = shared / (index.sizes(of) + index.sizes_of(streams, row) - shared)
        near = similarity >= self._threshold
        return _hits(row[near], of[near], NEAR, similarity[near])


def _held(index: RunIndex, row: np.ndarray, of: np.ndarray, shared: np.ndarray, streams: Streams) -> Hits:
    """Texts that hold enough of a test text."""
    return _hits(row, of, CONTAINS, shared / index.sizes(of))


def _check_texts(test: EvalSet) -> None:
    try:
        test.texts.validate(full=True)
    except pa.ArrowInvalid as err:
        line = f"--against {test.name}: a text is not UTF-8 ({err}); write the file again as UTF-8"
        raise PairmineError(line) from None


def _check(containment: float, whole_below: int) -> None:
    if not 0 < containment <= 1:
        raise PairmineError(f"--containment is {containment:g}; pass a share above 0 and up to 1")
    if whole_below < 1:
        raise PairmineError(f"--whole-below is {whole_below}; pass 1 or more")


def _exact_key(text: str, exact: str) -> str:
    """Equal for exact copies; "" for a blank text, which copies nothing."""
    normal = normalise(text)
    if exact == "words":
        return " ".join(tokens(text)) or normal
    return text if exact == "bytes" and normal else normal


def _first_of_each(texts: pa.Array, exact: str) -> dict[str, int]:
    """The first text of each key, by number."""
    first: dict[str, int] = {}
    for number, text in enumerate(texts.to_pylist()):
        if key := _exact_key(text, exact):
            first.setdefault(key, number)
    return first


def _hits(places: np.ndarray, of: np.ndarray, kind: int, similarity: np.ndarray) -> Hits:
    return Hits(places, of, np.full(len(places), kind), similarity)


def _joined(parts: Sequence[Hits]) -> Hits:
    kinds = {"places": np.int64, "of": np.int64, "kind": np.int64, "similarity": np.float64}
    return Hits(
        *(np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)]) for name, kind in kinds.items())
    )


def _best(hits: Hits) -> Hits:
    """One hit for each text: an exact copy before a near one before a part, the most similar, the first."""
    order = np.lexsort((hits.of, -hits.similarity, hits.kind, hits.places))
    return hits.take(order[np.flatnonzero(np.diff(hits.places[order], prepend=-1))])


def _sample(texts: pa.ChunkedArray) -> pa.Array:
    """The beginnings of some texts from here and there; the others are not copied, however long they are."""
    places = np.linspace(0, max(len(texts) - 1, 0), min(len(texts), _SAMPLE)).astype(np.int64)
    chosen = [texts.slice(place, 1).cast(pa.large_string()) for place in places.tolist()]
    openings = (pc.utf8_slice_codeunits(each, 0, _OPENING) for each in chosen)
    return pa.concat_arrays([pa.array([], pa.large_string()), *(each for some in openings for each in some.chunks)])
