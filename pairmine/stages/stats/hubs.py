"""Hubs: documents that are a negative of very many queries, and how unevenly negatives are spread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.schema import NEGATIVE
from pairmine.stages.check.chunk import id_keys
from pairmine.stages.export.rows import Texts, one_array
from pairmine.stages.stats.labels import LABELS, UNDECIDED, share

TOP = 10
_LEAST = 2
_SHOWN = 80
_KINDS = (NEGATIVE, UNDECIDED)
_SLOTS = 1 << 20


class Hubs:
    """Of how many queries each document is a negative, or an undecided candidate. 16 bytes for each document."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._counts = np.empty((0, len(_KINDS)), np.int32)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._pending_size = 0
        self._top = {kind: _Top() for kind in _KINDS}

    def add(self, doc_ids: pa.ChunkedArray, query: np.ndarray, label: np.ndarray, texts: Texts | None) -> None:
        """Count a chunk of whole queries; `query` and `label` (n,) and the documents' texts belong to its rows."""
        if not len(doc_ids):
            return
        encoded = one_array(doc_ids).dictionary_encode()
        codes, names = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
        keys = _keys(names)
        counts = np.stack([_queries_of(codes, query, label == kind, len(names)) for kind in _KINDS], axis=1)
        order = np.argsort(keys)
        self._pending.append((keys[order], counts[order]))
        self._pending_size += len(keys)
        for at, kind in enumerate(_KINDS):
            top = self._top[kind]
            chosen = top.candidates(keys, counts[:, at])
            if len(chosen):
                top.update(names.take(pa.array(chosen)).to_pylist(), self._count(keys[chosen])[:, at])
                top.note_texts(texts, codes, names)
        if self._pending_size > max(len(self._keys), 1 << 16):
            self._merge()

    def merge(self, other: Hubs) -> None:
        """Count the rows of `other` too; from now on `take_names` must say which documents come first."""
        if len(other):
            self._pending.append((other._keys, other._counts))
            self._pending_size += len(other._keys)
        if self._pending_size > max(len(self._keys), 1 << 16):
            self._merge()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which merges."""
        self._merge()
        return {**vars(self), "_top": None}

    def leading(self) -> Leading:
        """The documents that may come first, by their keys: a second look at the rows tells their ids."""
        self._merge()
        kind = self._kind()
        counts = self._counts[:, _KINDS.index(kind)] if kind is not None else np.zeros(len(self._keys), np.int32)
        floor = _LEAST
        if len(counts) > TOP:
            floor = max(_LEAST, int(np.partition(counts, len(counts) - TOP)[len(counts) - TOP]))
        chosen = counts >= floor
        return Leading(self._keys[chosen], counts[chosen])

    def take_names(self, found: Iterable[Named]) -> None:
        """Take in what `Leading.named` said of all rows, in their order."""
        if (kind := self._kind()) is None:
            return
        top = self._top[kind] = _Top()
        for name, count, text in found:
            top.update_one(name, count, text)

    def _kind(self) -> int | None:
        """The label whose rows are told of."""
        return next((kind for at, kind in enumerate(_KINDS) if self._counts[:, at].any()), None)

    def _count(self, keys: np.ndarray) -> np.ndarray:
        """The counts so far of some documents, (n, 2) int64."""
        found = np.zeros((len(keys), len(_KINDS)), np.int64)
        for known, counts in ((self._keys, self._counts), *self._pending):
            if len(known):
                places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
                found += np.where((known[places] == keys)[:, None], counts[places], 0)
        return found

    def _merge(self) -> None:
        if not self._pending:
            return
        parts = [(self._keys, self._counts), *self._pending]
        self._pending, self._pending_size = [], 0
        keys = np.concatenate([each for each, _ in parts])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        self._counts = np.add.reduceat(np.concatenate([counts for _, counts in parts])[order], starts, axis=0)
        self._keys = keys[starts]

    def __len__(self) -> int:
        """The number of documents."""
        self._merge()
        return len(self._keys)

    def to_dict(self, queries: int) -> dict[str, Any]:
        """The numbers of the negatives; of the undecided candidates where nothing is a negative."""
        self._merge()
        kind = self._kind()
        counts = self._counts[:, _KINDS.index(kind)] if kind is not None else np.zeros(len(self._keys), np.int32)
        top = self._top[kind].to_list(queries) if kind is not None else []
        return {"of": None if kind is None else LABELS[kind], **spread(counts), "top": top}


def spread(counts: np.ndarray) -> dict[str, Any]:
    """How evenly rows are spread over documents, of which each has `counts` (n,); those with none count too.

    `skewness` is that of the k-occurrences, the third moment about the mean by the cube of the standard deviation
    (Radovanovic, Nanopoulos and Ivanovic 2010, JMLR 11); 0 is a symmetric spread, hubs make it large. `gini` is 0
    where all have as many, and near 1 where one has all. `top_percent_share` is what the 1 % of the documents with
    the most rows, at least one document, hold of all rows. Null where nothing can be said.
    """
    size, rows = len(counts), int(counts.sum(dtype=np.int64))
    values, times = (each.tolist() for each in np.unique(counts, return_counts=True))
    upper = -(-size // 100)
    most = int(np.partition(counts, size - upper)[size - upper :].sum(dtype=np.int64)) if size else 0
    return {
        "documents": size,
        "rows": rows,
        "max": max(values, default=None),
        "mean": share(rows, size),
        "never": int((counts == 0).sum()),
        "top_percent_share": share(most, rows),
        "skewness": _skewness(values, times),
        "gini": _gini(values, times),
    }


def _skewness(values: list[int], times: list[int]) -> float | None:
    """In whole numbers until the end, so that it does not depend on the order."""
    size = sum(times)
    if len(values) < 2:
        return None
    first, second, third = (sum(v**power * n for v, n in zip(values, times, strict=True)) for power in (1, 2, 3))
    mean = Fraction(first, size)
    variance = Fraction(second, size) - mean**2
    moment = Fraction(third, size) - 3 * mean * Fraction(second, size) + 2 * mean**3
    return float(moment) / float(variance) ** 1.5


def _gini(values: list[int], times: list[int]) -> float | None:
    rows, size, before, places = 0, sum(times), 0, 0
    for value, count in zip(values, times, strict=True):
        places += value * count * (2 * before + count + 1)
        rows += value * count
        before += count
    return float(Fraction(places, size * rows) - Fraction(size + 1, size)) if rows else None


Named = tuple[str, int, str | None]
"""A document's id, of how many queries it is a negative, and the first letters of its text."""


@dataclass(frozen=True)
class Leading:
    """The ten documents with the most queries, and all that have as many as the tenth: `keys` ascending, `counts`."""

    keys: np.ndarray
    counts: np.ndarray

    def named(self, pairs: pa.Table) -> list[Named]:
        """Those among a chunk's documents, up to ten, as in the order of `to_dict`."""
        if not len(self.keys) or not pairs.num_rows:
            return []
        encoded = one_array(pairs["doc_id"]).dictionary_encode()
        keys = _keys(encoded.dictionary)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        there = np.flatnonzero(self.keys[places] == keys)
        names = encoded.dictionary.take(pa.array(there)).to_pylist()
        counts = self.counts[places[there]].tolist()
        best = sorted(zip(names, counts, there.tolist(), strict=True), key=lambda each: (-each[1], each[0]))[:TOP]
        texts = Texts.of(pairs["document"]) if "document" in pairs.column_names else None
        codes = encoded.indices.to_numpy()
        return [(name, count, _opening(texts, int(np.argmax(codes == code)))) for name, count, code in best]


class _Top:
    """The documents with the most queries so far, equal ones by their id.

    A document of the final ten is among the ten best once its last row is read, and nothing later takes it out, so
    that ten ids are enough. A small table of sums, which can only be too large, spares most documents a look.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(_SLOTS, np.int64)
        self._counts: dict[str, int] = {}
        self._texts: dict[str, str | None] = {}

    def candidates(self, keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Which of a chunk's documents may be among the first, (m,) int64 places."""
        slots = keys & (_SLOTS - 1)
        np.add.at(self._sums, slots, counts)
        floor = max(_LEAST, min(self._counts.values()) if len(self._counts) == TOP else 0)
        return np.flatnonzero((counts > 0) & (self._sums[slots] >= floor))

    def update(self, names: list[str], counts: np.ndarray) -> None:
        """Note how often some documents occurred so far."""
        told = zip(names, counts.tolist(), strict=True)
        self._counts.update((name, count) for name, count in told if count >= _LEAST)
        best = sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))[:TOP]
        self._counts = dict(best)
        self._texts = {name: self._texts.get(name) for name in self._counts}

    def update_one(self, name: str, count: int, text: str | None) -> None:
        """Note how often a document occurred in all, and its text unless that is known."""
        self.update([name], np.array([count]))
        if self._texts.get(name, "") is None:
            self._texts[name] = text

    def note_texts(self, texts: Texts | None, codes: np.ndarray, names: pa.Array) -> None:
        """Take the first letters of texts that are not known yet."""
        wanted = pa.array([name for name, text in self._texts.items() if text is None], pa.string())
        if not len(wanted) or texts is None:
            return
        for code in pc.index_in(wanted, names).drop_null().to_pylist():
            row = int(np.argmax(codes == code))
            self._texts[names[code].as_py()] = _opening(texts, row)

    def to_list(self, queries: int) -> list[dict[str, Any]]:
        """For JSON, the first one first."""
        return [
            {"doc_id": name, "queries": count, "share": share(count, queries), "document": self._texts[name]}
            for name, count in self._counts.items()
        ]


def _keys(names: pa.Array) -> np.ndarray:
    """A number for each id, the same in every process, (n,) int64."""
    return id_keys(pa.chunked_array([names])).view(np.int64)


def _opening(texts: Texts | None, row: int) -> str | None:
    """The first letters of a row's text."""
    text = None if texts is None else texts.values[int(texts.codes[row])].as_py()
    return None if text is None else text[:_SHOWN]


def _queries_of(codes: np.ndarray, query: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """How many queries have each of `size` documents among their `chosen` rows, (size,) int32."""
    if not chosen.any():
        return np.zeros(size, np.int32)
    pairs = distinct(query[chosen] * size + codes[chosen])
    return np.bincount(pairs % size, minlength=size).astype(np.int32)
