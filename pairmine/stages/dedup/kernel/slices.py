"""A column of texts as slices of Arrow's own buffers, and what both ways of reading them are told and give back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.stages.dedup.kernel.minhash import Bands
from pairmine.stages.dedup.kernel.shingles import Texts

EXACT = ("normalised", "bytes", "words")

_SLICE_BYTES = 1 << 20
_SLICE_TEXTS = 1 << 14


@dataclass(frozen=True)
class Slice:
    """Texts in a row: `data` (bytes,) uint8, of which text i has those from ``offsets[i]`` to ``offsets[i + 1]``.

    `offsets` (n + 1,) int64 begins with 0. `own` (n,) bool: the text went through `identity.normalise` already.
    `place` is the number of the first text in its column.
    """

    texts: pa.LargeStringArray
    data: np.ndarray
    offsets: np.ndarray
    own: np.ndarray
    place: int

    @classmethod
    def of(cls, texts: pa.LargeStringArray, place: int, own: np.ndarray | None = None) -> Slice:
        """A slice of `texts`, none of them null."""
        _, where, content = texts.buffers()
        offsets = np.frombuffer(where, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        data = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
        data = data[offsets[0] : offsets[-1]]
        data.flags.writeable = False
        return cls(texts, data, offsets - offsets[0], np.zeros(len(texts), bool) if own is None else own, place)

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Plan:
    """What to make of a text: the numbers that every slice needs.

    `shingle` (ngram,) uint64 are factors by place. Without `bands` no near copies are sought.
    """

    exact: str
    by_character: bool
    shingle: np.ndarray
    bands: Bands | None


@dataclass(frozen=True)
class Sketches:
    """What is kept of n texts to find their copies.

    `exact` (n,) uint64: equal where the texts are equal in the sense of ``--exact``, 0 for a text that copies nothing.
    `keys` (bands, n) uint64: equal in a band where all minima of the two signatures are equal there. `shingles` and
    `words` (n,) uint32 count them, repeats included; a text without shingles has keys 0 and is no near copy.
    """

    exact: np.ndarray
    keys: np.ndarray
    shingles: np.ndarray
    words: np.ndarray

    @classmethod
    def blank(cls, texts: int, bands: int) -> Sketches:
        """Room for so many texts."""
        return cls(
            np.zeros(texts, np.uint64),
            np.zeros((bands, texts), np.uint64),
            np.zeros(texts, np.uint32),
            np.zeros(texts, np.uint32),
        )

    @classmethod
    def joined(cls, parts: list[Sketches]) -> Sketches:
        """Those of one part after the other; `parts` is emptied on the way, so that nothing is there twice."""
        texts = sum(len(part.exact) for part in parts)
        whole = cls.blank(texts, len(parts[0].keys) if parts else 0)
        first = 0
        while parts:
            part = parts.pop(0)
            here = slice(first, first + len(part.exact))
            whole.exact[here], whole.keys[:, here] = part.exact, part.keys
            whole.shingles[here], whole.words[here] = part.shingles, part.words
            first = here.stop
        return whole


class Engine(Protocol):
    """One of the two ways, `plain` or `native`: the same results from either."""

    def uneven(self, texts: Slice) -> np.ndarray:
        """Which texts `tables` cannot normalise, (n,) bool; afterwards `tables.letters` has all their letters."""

    def sketch(self, texts: Slice, plan: Plan, out: Sketches) -> None:
        """Write the sketches of `texts` into their places of `out`."""

    def read(self, texts: Slice, plan: Plan) -> Texts:
        """The set of shingles and the bag of words of each."""


def slices(column: pa.ChunkedArray | pa.Array) -> Iterator[Slice]:
    """The column in slices of about a megabyte, a longer text in one of its own; null counts as blank.

    Raises PairmineError where a text is not UTF-8.
    """
    place = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        chunk = _checked(chunk.cast(pa.large_string()), place)
        offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :] if len(chunk) else np.zeros(1, np.int64)
        start = 0
        while start < len(chunk):
            most = offsets[start : start + _SLICE_TEXTS + 1]
            texts = max(1, int(np.searchsorted(most[: len(chunk) - start + 1], most[0] + _SLICE_BYTES, "right")) - 1)
            yield Slice.of(chunk.slice(start, texts), place + start)
            start += texts
        place += len(chunk)


def _checked(chunk: pa.LargeStringArray, place: int) -> pa.LargeStringArray:
    if chunk.null_count:
        chunk = pc.fill_null(chunk, "")
    try:
        chunk.validate(full=True)
    except pa.ArrowInvalid as err:
        line = f"a text from row {place + 1} on is not UTF-8 ({err}); write the file again as UTF-8"
        raise PairmineError(line) from None
    return chunk


def settled(texts: Slice, path: Engine) -> Slice:
    """`texts` with those normalised in Python that the tables cannot do: marks that compose or change places."""
    uneven = path.uneven(texts)
    if not uneven.any():
        return texts
    mask = pa.array(uneven)
    normal = [normalise(text) for text in texts.texts.filter(mask).to_pylist()]
    rewritten = Slice.of(
        pc.replace_with_mask(texts.texts, mask, pa.array(normal, pa.large_string())), texts.place, uneven
    )
    path.uneven(rewritten)
    return rewritten
