"""The numbers of a pair set, gathered chunk by chunk in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import NEGATIVE, POSITIVE, as_pairs, check_pairs, scale_of, score_names
from pairmine.stages.export.rows import Texts, labels, one_array, query_runs

UNDECIDED = -1
LABELS = {POSITIVE: "positive", NEGATIVE: "negative", UNDECIDED: "undecided"}

_DROPPED_BITS = 8
_MANTISSA_BITS = 24
_LOWEST_EXPONENT = -160


class Stats:
    """Counts over a pair set: `add` each chunk of whole queries, then `to_dict`.

    The result depends neither on the chunking nor on the order of the rows. Memory grows with the
    number of distinct documents (16 bytes each), lengths, ranks and score bins, not with the rows.
    Scores are binned by their leading 16 significant bits, so that their quantiles are nearer to
    zero by up to 0.004 %; every other number is exact.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._queries = 0
        self._queries_without_positive = 0
        self._by_label = dict.fromkeys(LABELS, 0)
        self._origins: dict[str, dict[int, int]] = {}
        self._documents = Tally()
        self._per_query = {label: Tally() for label in LABELS}
        self._lengths = {(text, unit): Tally() for text in ("query", "document") for unit in ("characters", "words")}
        self._ranks = {label: Tally() for label in LABELS}
        self._scores: dict[str, Scores] = {}

    def add(self, pairs: pa.Table) -> None:
        """Count a chunk; raises PairmineError for what is no pair set and for a query whose rows lie apart."""
        check_pairs(pairs)
        pairs = as_pairs(pairs)
        query = query_runs(pairs["query_id"])
        label = labels(pairs)
        self._rows += pairs.num_rows
        for value in LABELS:
            self._by_label[value] += int((label == value).sum())
        self._add_queries(query, label)
        self._add_origins(pairs, label)
        # Python salts string hashes per process; the keys of one Stats never leave its process.
        self._documents.add(np.fromiter(map(hash, pc.unique(pairs["doc_id"]).to_pylist()), np.int64))
        self._add_lengths(pairs, query)
        self._add_ranks(pairs, label)
        for name in score_names(pairs.schema):
            scores = self._scores.setdefault(name, Scores(scale_of(pairs.schema.field(name))))
            scores.add(_as_floats(pairs[name]), query, label)

    def _add_queries(self, query: np.ndarray, label: np.ndarray) -> None:
        queries = int(query[-1]) + 1 if len(query) else 0
        self._queries += queries
        for value in LABELS:
            counts = np.bincount(query[label == value], minlength=queries)
            self._per_query[value].add(counts)
            if value == POSITIVE:
                self._queries_without_positive += int((counts == 0).sum())

    def _add_origins(self, pairs: pa.Table, label: np.ndarray) -> None:
        encoded = one_array(pairs["origin"]).dictionary_encode()
        codes = encoded.indices.to_numpy()
        for value in LABELS:
            counts = np.bincount(codes[label == value], minlength=len(encoded.dictionary))
            for origin, count in zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True):
                self._origins.setdefault(origin, dict.fromkeys(LABELS, 0))[value] += count

    def _add_lengths(self, pairs: pa.Table, query: np.ndarray) -> None:
        for name in ("query", "document"):
            if name not in pairs.column_names:
                continue
            texts = Texts.of(pairs[name])
            present = texts.values.is_valid().to_numpy(zero_copy_only=False)[texts.codes]
            rows = np.flatnonzero(present)
            if name == "query":
                rows = rows[np.unique(query[rows], return_index=True)[1]]
            times = np.bincount(texts.codes[rows], minlength=len(texts.values))
            for unit, lengths in _lengths(texts.values).items():
                self._lengths[name, unit].add(lengths[times > 0], times[times > 0])

    def _add_ranks(self, pairs: pa.Table, label: np.ndarray) -> None:
        if "rank" not in pairs.column_names:
            return
        ranks = one_array(pairs["rank"])
        ranked = ranks.is_valid().to_numpy(zero_copy_only=False)
        numbers = ranks.fill_null(0).to_numpy(zero_copy_only=False)
        for value in LABELS:
            self._ranks[value].add(numbers[ranked & (label == value)])

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain Python values, ready for JSON; null where nothing was counted.

        `documents` counts distinct doc_ids. A summary has `count`, `min`, `mean`, `p5`, `p50`,
        `p95` and `max`. Lengths of queries are of each query once, those of documents of each
        row; a word is what white space sets apart, which says little of Chinese or Japanese.
        Under `scores`, `nulls` are rows without a finite score; `auc` is the share of the
        `compared_pairs` (positive and negative of one query) in which the positive scores
        higher, ties counting half; `negatives_above_lowest_positive` is a share of the
        `compared_negatives`, those of queries that have a scored positive.
        """
        return {
            "rows": self._rows,
            "queries": self._queries,
            "documents": len(self._documents),
            "queries_without_positive": self._queries_without_positive,
            "labels": _named(self._by_label),
            "origins": {origin: _named(self._origins[origin]) for origin in sorted(self._origins)},
            "per_query": {LABELS[label]: tally.summary() for label, tally in self._per_query.items()},
            "lengths": {
                text: {unit: self._lengths[text, unit].summary() for unit in ("characters", "words")}
                for text in ("query", "document")
            },
            "ranks": {LABELS[label]: tally.summary() for label, tally in self._ranks.items()},
            "scores": {name: scores.to_dict(self._by_label) for name, scores in self._scores.items()},
        }


class Tally:
    """How often each whole number occurred. Memory grows with the distinct numbers."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._pending_size = 0

    def add(self, keys: np.ndarray, times: np.ndarray | None = None) -> None:
        """Count each of the integer `keys`, as often as `times` says (once when it is None)."""
        if times is None:
            keys, times = np.unique(keys, return_counts=True)
        self._pending.append((keys.astype(np.int64), times.astype(np.int64)))
        self._pending_size += len(keys)
        if self._pending_size > max(len(self._keys), 1 << 16):
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        parts = [(self._keys, self._counts), *self._pending]
        self._keys, places = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
        counts = np.zeros(len(self._keys), np.int64)
        np.add.at(counts, places, np.concatenate([times for _, times in parts]))
        self._counts = counts
        self._pending, self._pending_size = [], 0

    def __len__(self) -> int:
        """The number of distinct keys."""
        self._merge()
        return len(self._keys)

    def total(self) -> int:
        """How many keys were counted."""
        self._merge()
        return int(self._counts.sum())

    def quantile(self, share: float, value_of: Callable[[int], float] = int) -> float | None:
        """The value below which `share` of all lie, between two neighbours in proportion; None without any."""
        total = self.total()
        if not total:
            return None
        place = (total - 1) * share
        low = int(place)
        upto = np.cumsum(self._counts)
        below, above = (
            value_of(int(self._keys[np.searchsorted(upto, at, side="right")])) for at in (low, min(low + 1, total - 1))
        )
        return float(below + (above - below) * (place - low))

    def summary(self) -> dict[str, Any]:
        """`count`, `min`, `mean`, `p5`, `p50`, `p95` and `max`."""
        count = self.total()
        some = count > 0
        return {
            "count": count,
            "min": int(self._keys[0]) if some else None,
            "mean": int(np.dot(self._keys, self._counts)) / count if some else None,
            **{f"p{percent}": self.quantile(percent / 100) for percent in (5, 50, 95)},
            "max": int(self._keys[-1]) if some else None,
        }


class Scores:
    """The values of one score column by label, and how they order the positives and negatives of a query."""

    def __init__(self, scale: str | None) -> None:
        self._scale = scale
        self._values = {label: ScoreTally() for label in LABELS}
        self._half_wins = 0
        self._compared_pairs = 0
        self._above = 0
        self._compared_negatives = 0

    def add(self, scores: np.ndarray, query: np.ndarray, label: np.ndarray) -> None:
        """Count a chunk's rows: `scores` (n,) float32 with NaN for null, `query` and `label` (n,) integers."""
        finite = np.isfinite(scores)
        for value in LABELS:
            self._values[value].add(scores[finite & (label == value)])
        decided = finite & (label != UNDECIDED)
        order = np.lexsort((scores[decided], query[decided]))
        scores, query, positive = (x[decided][order] for x in (scores, query, label == POSITIVE))
        self._compare(scores, query, positive)

    def _compare(self, scores: np.ndarray, query: np.ndarray, positive: np.ndarray) -> None:
        if not len(scores):
            return
        positives, negatives = (np.bincount(query[chosen], minlength=query[-1] + 1) for chosen in (positive, ~positive))
        tied = np.flatnonzero(np.append(True, (query[1:] != query[:-1]) | (scores[1:] != scores[:-1])))
        tied_negatives = np.add.reduceat(~positive, tied, dtype=np.int64)
        tied_positives = np.add.reduceat(positive, tied, dtype=np.int64)
        of_earlier_queries = (np.cumsum(negatives) - negatives)[query[tied]]
        lower_negatives = np.cumsum(tied_negatives) - tied_negatives - of_earlier_queries
        self._half_wins += int(np.dot(tied_positives, 2 * lower_negatives + tied_negatives))
        self._compared_pairs += int(np.dot(positives, negatives))
        lowest = np.full(len(positives), np.inf, np.float32)
        found, first = np.unique(query[positive], return_index=True)
        lowest[found] = scores[positive][first]
        self._above += int((scores > lowest[query])[~positive].sum())
        self._compared_negatives += int(negatives[positives > 0].sum())

    def to_dict(self, rows: dict[int, int]) -> dict[str, Any]:
        """The column's numbers; `rows` counts the rows of each label, scored or not."""
        by_label = {}
        for label, values in self._values.items():
            summary = values.summary()
            by_label[LABELS[label]] = {"count": summary.pop("count"), "nulls": rows[label] - values.total(), **summary}
        return {
            "scale": self._scale,
            **by_label,
            "auc": _share(self._half_wins, 2 * self._compared_pairs),
            "compared_pairs": self._compared_pairs,
            "negatives_above_lowest_positive": _share(self._above, self._compared_negatives),
            "compared_negatives": self._compared_negatives,
        }


class ScoreTally:
    """Finite float32 values: an exact count, sum, minimum and maximum, and bins for quantiles.

    A bin holds the values that share their sign, exponent and leading 16 significant bits. The sum
    is kept as whole multiples of each power of two, so that it does not depend on the order.
    """

    def __init__(self) -> None:
        self._bins = Tally()
        self._sums = np.zeros(320, np.int64)
        self._min = np.inf
        self._max = -np.inf

    def add(self, values: np.ndarray) -> None:
        """Count (n,) float32 values."""
        if not len(values):
            return
        bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
        magnitude = (bits & 0x7FFFFFFF) >> _DROPPED_BITS
        self._bins.add(np.where(bits < 0, -magnitude, magnitude))
        fraction, exponent = np.frexp(values.astype(np.float64))
        # Whole numbers of up to 24 bits: their float64 sums are exact for any chunk under 2**29 rows.
        sums = np.bincount(exponent - _LOWEST_EXPONENT, weights=np.ldexp(fraction, _MANTISSA_BITS), minlength=320)
        self._sums += sums.astype(np.int64)
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))

    def total(self) -> int:
        """How many values were counted."""
        return self._bins.total()

    def summary(self) -> dict[str, Any]:
        """`count`, `min`, `mean`, `p5`, `p50`, `p95` and `max`."""
        count = self.total()
        places = np.flatnonzero(self._sums).tolist()
        total = sum(
            (int(self._sums[place]) * Fraction(2) ** (place + _LOWEST_EXPONENT - _MANTISSA_BITS) for place in places),
            Fraction(),
        )
        return {
            "count": count,
            "min": self._min if count else None,
            "mean": float(total / count) if count else None,
            **{f"p{percent}": self._quantile(percent / 100) for percent in (5, 50, 95)},
            "max": self._max if count else None,
        }

    def _quantile(self, share: float) -> float | None:
        value = self._bins.quantile(share, _score_of)
        return None if value is None else min(max(value, self._min), self._max)


def _score_of(key: int) -> float:
    magnitude = float(np.array([abs(key) << _DROPPED_BITS], np.int32).view(np.float32)[0])
    return -magnitude if key < 0 else magnitude


def _as_floats(column: pa.ChunkedArray) -> np.ndarray:
    """A float32 column as (n,) float32, NaN for null."""
    values: np.ndarray = one_array(column).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return values


def _lengths(texts: pa.Array) -> dict[str, np.ndarray]:
    """Of each text its characters and words, (n,) int64 each; 0 for null."""
    filled = texts.fill_null("")
    return {
        "characters": pc.utf8_length(filled).to_numpy(zero_copy_only=False),
        "words": np.fromiter((len(text.split()) for text in filled.to_pylist()), np.int64),
    }


def _named(counts: dict[int, int]) -> dict[str, int]:
    return {LABELS[label]: count for label, count in counts.items()}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
