"""What a first pass over a pair set counts, so that what a trainer needs is checked before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.files.blocks import LastQuery
from pairmine.schema import NEGATIVE, POSITIVE, cast_column, score_names
from pairmine.stages.export.rows import filled, labels, one_array

OTHER_POSITIVE, FIRST_POSITIVE = -1, 0
"""Places of a row within its query; the negatives are counted from 1."""

GRADE = "grade"
"""What may stand for a score beside the score columns."""

Unreadable = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True)
class Survey:
    """What a first pass over a pair set counts; the surveys of its parts add up with ``+``.

    `positives` counts positive rows with text, `undecided` rows without a label. `negatives`
    says for each number of negatives how many queries have that many, among those queries
    that have a positive. `places` has for their rows, by that number and the row's place, how many there are
    and how many lack the score that is asked for; `score_columns` are those that were seen.
    """

    rows: int = 0
    queries: int = 0
    positives: int = 0
    undecided: int = 0
    negatives: Mapping[int, int] = field(default_factory=dict)
    places: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict, compare=False)
    score_columns: tuple[str, ...] = field(default=(), compare=False)

    def __add__(self, other: Survey) -> Survey:
        places = dict(self.places)
        for key, (rows, missing) in other.places.items():
            before = places.get(key, (0, 0))
            places[key] = (before[0] + rows, before[1] + missing)
        return Survey(
            self.rows + other.rows,
            self.queries + other.queries,
            self.positives + other.positives,
            self.undecided + other.undecided,
            dict(sorted((Counter(self.negatives) + Counter(other.negatives)).items())),
            places,
            tuple(dict.fromkeys(self.score_columns + other.score_columns)),
        )

    @property
    def most_negatives(self) -> int:
        """The largest number of negatives that a query with a positive has; 0 when none has any."""
        return max(self.negatives, default=0)

    def queries_with(self, negatives: int) -> int:
        """How many queries have a positive and at least that many negatives."""
        return sum(queries for count, queries in self.negatives.items() if count >= negatives)

    def unscored(self, least: int, most: int | None, *, first_positive: bool) -> tuple[int, int]:
        """How many of the rows that an export uses lack the score, and how many it uses.

        It uses queries with `least` negatives, and of those the first `most`.
        """
        used = [
            counts
            for (found, place), counts in self.places.items()
            if found >= least and (most is None or place <= most) and not (first_positive and place == OTHER_POSITIVE)
        ]
        return sum(missing for _, missing in used), sum(rows for rows, _ in used)


class Surveyor:
    """Counts a pair set table by table, wherever its queries are cut. Of the texts it sees whether they are there."""

    def __init__(self, scores: str | None = None, unreadable: Unreadable | None = None) -> None:
        self._scores = scores
        self._unreadable = unreadable
        self._pending: list[pa.Table] = []
        self._last = LastQuery()
        self._found = Survey()

    def add(self, pairs: pa.Table) -> None:
        """Take in the next rows."""
        self._found += Survey(score_columns=tuple(score_columns(pairs.schema)))
        self._pending.append(self._facts(pairs))
        self._last.add(pairs["query_id"])
        if cut := self._last.start:
            facts = pa.concat_tables(self._pending)
            self._found += _count(facts.slice(0, cut))
            self._pending = [facts.slice(cut).combine_chunks()]
            self._last.cut()

    def result(self) -> Survey:
        """The counts of all rows so far."""
        return self._found + _count(pa.concat_tables(self._pending)) if self._pending else self._found

    def _facts(self, pairs: pa.Table) -> pa.Table:
        """`query_id`, `label` (-1 for none), and whether the query, the document and the score are there."""
        facts = {
            "query": _there(pairs, "query", self._unreadable),
            "document": _there(pairs, "document", self._unreadable),
            "score": self._scored(pairs),
        }
        columns = {name: pa.array(values) for name, values in facts.items()}
        return pa.table({"query_id": pairs["query_id"], "label": pa.array(labels(pairs)), **columns})

    def _scored(self, pairs: pa.Table) -> np.ndarray:
        if self._scores is None or self._scores not in pairs.column_names:
            return np.full(pairs.num_rows, self._scores is None)
        return finite(one_array(cast_column(pairs[self._scores], pa.float32(), self._scores)))


def score_columns(schema: pa.Schema) -> list[str]:
    """What `scores` may name in a pair set: its score columns, and the grade."""
    return [*score_names(schema), *([GRADE] if GRADE in schema.names else [])]


def finite(scores: pa.Array) -> np.ndarray:
    """Which scores are numbers, (n,) bool: neither null nor NaN nor infinite."""
    found: np.ndarray = pc.fill_null(pc.is_finite(scores), False).to_numpy(zero_copy_only=False)
    return found


def _there(pairs: pa.Table, name: str, unreadable: Unreadable | None) -> np.ndarray:
    if name not in pairs.column_names:
        return np.zeros(pairs.num_rows, bool)
    parts = [_readable(chunk, unreadable) for chunk in pairs[name].chunks]
    return np.concatenate([*parts, np.empty(0, bool)])


def _readable(chunk: pa.Array, unreadable: Unreadable | None) -> np.ndarray:
    if pa.types.is_dictionary(chunk.type):
        of_value = np.append(_readable(chunk.dictionary, unreadable), False)
        return of_value[chunk.indices.fill_null(len(chunk.dictionary)).to_numpy(zero_copy_only=False)]
    found = filled(chunk)
    if unreadable is not None:
        found &= ~pc.fill_null(unreadable(chunk), False).to_numpy(zero_copy_only=False)
    return found


def _starts(ids: pa.ChunkedArray) -> np.ndarray:
    """Whether each row is the first of a run of one query, (n,) bool."""
    if not len(ids):
        return np.empty(0, bool)
    whole = one_array(ids)
    return np.append(True, pc.not_equal(whole[1:], whole[:-1]).to_numpy(zero_copy_only=False))


def _count(facts: pa.Table) -> Survey:
    if not facts.num_rows:
        return Survey()
    label, asked, told, scored = (
        one_array(facts[name]).to_numpy(zero_copy_only=False) for name in ("label", "query", "document", "score")
    )
    query = np.cumsum(_starts(facts["query_id"])) - 1
    queries = int(query[-1]) + 1
    usable = told & (np.bincount(query[asked], minlength=queries) > 0)[query]
    positive, negative = usable & (label == POSITIVE), usable & (label == NEGATIVE)
    found = np.bincount(query[negative], minlength=queries)
    able = np.bincount(query[positive], minlength=queries) > 0
    counts, each = np.unique(found[able], return_counts=True)
    return Survey(
        rows=len(query),
        queries=queries,
        positives=int(positive.sum()),
        undecided=int((label < 0).sum()),
        negatives=dict(zip(counts.tolist(), each.tolist(), strict=True)),
        places=_places(query, positive, negative & able[query], found, scored),
    )


def _places(
    query: np.ndarray, positive: np.ndarray, negative: np.ndarray, found: np.ndarray, scored: np.ndarray
) -> dict[tuple[int, int], tuple[int, int]]:
    used = np.flatnonzero(positive | negative)
    place = np.where(
        positive[used],
        np.where(nth(positive, query)[used] == 1, FIRST_POSITIVE, OTHER_POSITIVE),
        nth(negative, query)[used],
    )
    width = int(place.max(initial=0)) + 2
    keys, inverse, rows = np.unique(found[query[used]] * width + place + 1, return_inverse=True, return_counts=True)
    missing = np.bincount(inverse, weights=~scored[used], minlength=len(keys))
    return {
        (int(key // width), int(key % width) - 1): (int(all_), int(lacking))
        for key, all_, lacking in zip(keys, rows, missing, strict=True)
    }


def nth(chosen: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Of each chosen row its place among the chosen rows of its query, from 1; `query` counts from 0."""
    counts = np.bincount(query[chosen], minlength=int(query[-1]) + 1 if len(query) else 0)
    before = np.cumsum(counts) - counts
    place: np.ndarray = np.cumsum(chosen) - before[query]
    return place
