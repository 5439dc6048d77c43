"""The numbers of a pair set, gathered chunk by chunk in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.schema import NEGATIVE, POSITIVE, as_pairs, check_pairs, scale_of, score_names
from pairmine.stages.export.rows import Texts, labels, one_array, query_runs
from pairmine.stages.stats.hardness import Hardness
from pairmine.stages.stats.hubs import Hubs
from pairmine.stages.stats.labels import LABELS, UNDECIDED, named
from pairmine.stages.stats.lengths import Count, Lengths, Remembered
from pairmine.stages.stats.scores import Ordered, Scores
from pairmine.stages.stats.tally import Tally, merge_named, rows_of
from pairmine.stages.stats.templates import Templates

_SIDES = ("query", "document")


def no_draws(recipe: str) -> Sequence[str]:
    """No columns say what was drawn."""
    return ()


class Stats:
    """Counts over a pair set: `add` each chunk of whole queries, then `to_dict`.

    The result depends neither on the chunking nor on the order of the rows. Memory grows with the number of
    distinct documents (16 bytes each), lengths, ranks and score bins, not with the rows. Scores are binned by their
    leading 16 significant bits, so that their quantiles are too low by up to 0.004 %; every other number is exact.

    `tokens` counts the tokens of texts, and those longer than `max_tokens` are told; `draws_of` names the columns
    in which a recipe's rows say what was drawn for them.
    """

    def __init__(
        self,
        *,
        tokens: Count | None = None,
        max_tokens: int | None = None,
        draws_of: Callable[[str], Sequence[str]] = no_draws,
    ) -> None:
        self._rows = 0
        self._queries = 0
        self._queries_without_positive = 0
        self._by_label = dict.fromkeys(LABELS, 0)
        self._origins: dict[str, dict[int, int]] = {}
        self._per_query = {label: Tally() for label in LABELS}
        if tokens is not None and not isinstance(tokens, Remembered):
            tokens = Remembered(tokens)
        self._lengths = {side: Lengths(tokens, max_tokens) for side in _SIDES}
        self._ranks = {label: Tally() for label in LABELS}
        self._rank_origins: dict[int, dict[str, Tally]] = {NEGATIVE: {}, UNDECIDED: {}}
        self._scores: dict[str, Scores] = {}
        self._hardness: dict[str, Hardness] = {}
        self.hubs = Hubs()
        self.templates = Templates(draws_of)

    def add(self, pairs: pa.Table) -> None:
        """Count a chunk; raises PairmineError for what is no pair set and for a query whose rows lie apart."""
        check_pairs(pairs)
        pairs = as_pairs(pairs)
        query = query_runs(pairs["query_id"])
        label = labels(pairs)
        encoded = one_array(pairs["origin"]).dictionary_encode()
        origin, origins = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
        texts = {side: Texts.of(pairs[side]) for side in _SIDES if side in pairs.column_names}
        self._rows += pairs.num_rows
        self._add_queries(query, label)
        self._add_origins(label, origin, origins)
        self.hubs.add(pairs["doc_id"], query, label, texts.get("document"))
        for side, each in texts.items():
            self._lengths[side].add(each, query if side == "query" else None)
        self._add_ranks(pairs, label, origin, origins)
        self._add_scores(pairs, query, label, origin, origins)
        self.templates.add(pairs, label, origin, origins)

    def merge(self, other: Stats) -> None:
        """Count what `other`, which is not to be used any more, counted of further rows, in any order.

        It may come from another process; what it was made with (`tokens`, `draws_of`) stays there. The ids and texts
        of `hubs` are told by a second look at the rows: see `hubs.Leading`.
        """
        self._rows += other._rows
        self._queries += other._queries
        self._queries_without_positive += other._queries_without_positive
        for label, count in other._by_label.items():
            self._by_label[label] += count
        for name, counts in other._origins.items():
            own = self._origins.setdefault(name, dict.fromkeys(LABELS, 0))
            for label, count in counts.items():
                own[label] += count
        for mine, its in zip(self._named(), other._named(), strict=True):
            merge_named(mine, its)
        self.hubs.merge(other.hubs)
        self.templates.merge(other.templates)

    def _named(self) -> list[dict[Any, Any]]:
        """All that is counted by label, side, origin or score column."""
        by_origin = (self._rank_origins[label] for label in self._rank_origins)
        return [self._per_query, self._lengths, self._ranks, self._scores, self._hardness, *by_origin]

    def _add_queries(self, query: np.ndarray, label: np.ndarray) -> None:
        queries = int(query[-1]) + 1 if len(query) else 0
        self._queries += queries
        for value in LABELS:
            self._by_label[value] += int((label == value).sum())
            counts = np.bincount(query[label == value], minlength=queries)
            self._per_query[value].add(counts)
            if value == POSITIVE:
                self._queries_without_positive += int((counts == 0).sum())

    def _add_origins(self, label: np.ndarray, origin: np.ndarray, origins: Sequence[str]) -> None:
        for value in LABELS:
            counts = np.bincount(origin[label == value], minlength=len(origins))
            for name, count in zip(origins, counts.tolist(), strict=True):
                self._origins.setdefault(name, dict.fromkeys(LABELS, 0))[value] += count

    def _add_ranks(self, pairs: pa.Table, label: np.ndarray, origin: np.ndarray, origins: Sequence[str]) -> None:
        if "rank" not in pairs.column_names:
            return
        ranks = one_array(pairs["rank"])
        ranked = ranks.is_valid().to_numpy(zero_copy_only=False)
        numbers = ranks.fill_null(0).to_numpy(zero_copy_only=False)
        for value in LABELS:
            chosen = ranked & (label == value)
            own = numbers[chosen]
            self._ranks[value].add(own)
            for code, rows in rows_of(origin[chosen]) if value in self._rank_origins else ():
                self._rank_origins[value].setdefault(origins[code], Tally()).add(own[rows])

    def _add_scores(
        self, pairs: pa.Table, query: np.ndarray, label: np.ndarray, origin: np.ndarray, origins: Sequence[str]
    ) -> None:
        for name in score_names(pairs.schema):
            scale = scale_of(pairs.schema.field(name))
            scores = one_array(pairs[name]).fill_null(float("nan")).to_numpy(zero_copy_only=False)
            rows = Ordered.of(scores, query, label, origin)
            self._scores.setdefault(name, Scores(scale)).add(scores, label, rows)
            self._hardness.setdefault(name, Hardness(scale)).add(rows, origins)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain Python values, ready for JSON; null where nothing was counted.

        `documents` counts distinct doc_ids. A summary has `count`, `min`, `mean`, `p5`, `p50`, `p95` and `max`, a
        histogram up to 60 bins between its `edges`. Lengths of queries are of each query once, those of documents
        of each row; a word is what white space sets apart, which says little of Chinese or Japanese.

        Under `scores`, `nulls` are rows without a finite score; `auc` is the share of the `compared_pairs` (positive
        and negative of one query) in which the positive scores higher, ties counting half;
        `negatives_above_lowest_positive` is a share of the `compared_negatives`, those of queries that have a scored
        positive; `overlap` is `scores.overlap` of positives and negatives over the bins of `histogram`.

        Under `hardness`, of each column with a scored negative: the mean score of each query's negatives
        (`queries`), how far each negative lies below the lowest positive of its query (`margin`) and the same as a
        part of that positive's score (`relative_margin`, where the scale has a zero); and both by `origins`.
        `hubs` is `hubs.spread` of the negatives, `templates` what generated rows came of.
        """
        return {
            "rows": self._rows,
            "queries": self._queries,
            "documents": len(self.hubs),
            "queries_without_positive": self._queries_without_positive,
            "labels": named(self._by_label),
            "origins": {origin: named(self._origins[origin]) for origin in sorted(self._origins)},
            "per_query": {LABELS[label]: tally.summary() for label, tally in self._per_query.items()},
            "lengths": {side: lengths.to_dict() for side, lengths in self._lengths.items()},
            "ranks": {LABELS[label]: _with_histogram(tally) for label, tally in self._ranks.items()},
            "rank_origins": self._ranks_by_origin(),
            "scores": {name: scores.to_dict(self._by_label) for name, scores in self._scores.items()},
            "hardness": {name: hardness.to_dict() for name, hardness in self._hardness.items() if hardness},
            "hubs": self.hubs.to_dict(self._queries),
            "templates": self.templates.to_dict(),
        }

    def _ranks_by_origin(self) -> dict[str, Any]:
        """The ranks of negatives by origin, those of undecided rows where nothing is a negative."""
        found = self._rank_origins[NEGATIVE if self._by_label[NEGATIVE] else UNDECIDED]
        return {origin: found[origin].summary() for origin in sorted(found)}


def stats(pairs: pa.Table) -> dict[str, Any]:
    """The numbers of a whole pair set as plain Python values; `Stats.to_dict` says what they are.

    Raises PairmineError for what is no pair set and for a query whose rows lie apart.
    """
    counted = Stats()
    counted.add(pairs)
    return counted.to_dict()


def _with_histogram(tally: Tally) -> dict[str, Any]:
    return {**tally.summary(), "histogram": tally.histogram()}
