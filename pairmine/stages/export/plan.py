"""From labelled pairs to training rows: what a target is, which pairs it uses, how they are arranged.

A target picks one of the arrangements here and says how its columns are made. Arrangements work
on row numbers alone; texts, ids and scores are looked up at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from pairmine.stages.export.rows import PairRows
from pairmine.stages.export.survey import nth

if TYPE_CHECKING:
    from pairmine.stages.export.folders.by_id import Chunk, Shared

Layout = str | tuple[str, str]
"""The name of a layout of `pairmine.files.layouts`, or what stands before and after the rows of one JSON value."""


@dataclass(frozen=True)
class Lists:
    """m lists of pair rows: list i is ``rows[offsets[i]:offsets[i + 1]]``. Both are int64."""

    offsets: np.ndarray
    rows: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The length of each list, (m,) int64."""
        return np.diff(self.offsets)

    def arrow(self, values: pa.Array) -> pa.ListArray:
        """These lists with `values`, one for each of `rows`, in the place of the rows."""
        return pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), values)


@dataclass(frozen=True)
class Plan:
    """The pair rows that make each of m training rows.

    `anchors` is (m,) int64, a row that holds the training row's query.
    """

    anchors: np.ndarray
    positives: Lists
    negatives: Lists


@dataclass(frozen=True)
class Options:
    """What the user asked of a target; `scores` is a column of the pair set."""

    negatives: int | None = None
    scores: str | None = None
    prompt: str | None = None
    passage_prompt: str | None = None
    task: str | None = None


@dataclass(frozen=True)
class Choice:
    """Which pairs a target uses. `reason` is (n,) int64: 0 for a used row, else a place in `reasons`."""

    rows: PairRows
    positive: np.ndarray
    negative: np.ndarray
    reason: np.ndarray
    reasons: list[str]
    short: int
    """Queries that have a positive but too few negatives."""


@dataclass(frozen=True)
class Target:
    """A training format: who reads it, what its columns are, how it is made.

    `version` is the trainer's release whose code this was read against. `formats` are the kinds of
    file that it reads, the default first, and `endings` the names that it opens where those are fewer.
    `needs` says whether a training row takes no negatives, any number, at least one, or the same number in
    every row, or is a single pair whatever its label. `takes` names the options that have an effect,
    `requires` those that it cannot do without. `unreadable` tells the texts, (n,) bool, that the trainer takes
    for something else; their pairs leave with the reason `because`. A file whose name has `not_in_name` in it is
    read as another format.
    """

    name: str
    trainer: str
    summary: str
    columns: tuple[str, ...]
    formats: tuple[str, ...]
    needs: Literal["no negatives", "any negatives", "some negatives", "equal negatives", "single pairs"]
    arrange: Callable[[Choice], Plan]
    build: Callable[[PairRows, Plan, Options], pa.Table]
    takes: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    version: str = ""
    endings: tuple[str, ...] = ()
    unreadable: Callable[[pa.Array], pa.Array] | None = None
    because: str = ""
    not_in_name: str = ""
    fill: Callable[[Chunk], Mapping[str, pa.Table]] | None = None
    """Of a format that is a folder: its files, from what `build` made of a chunk."""
    texts: Callable[[Shared, Options], Mapping[str, str]] | None = None
    """Its small files that do not depend on the rows."""
    corpus: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Its files that a whole corpus may be added to: what each column is made of, see `folders.whole_corpus`."""
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    """How its files are laid out where their ending does not say it."""


def choose(rows: PairRows, target: Target, *, negatives: int | None, first_positive: bool) -> Choice:
    """The pairs of each query that `target` uses, and the reason for each one that it does not.

    Of more than `negatives` negatives the first ones in row order are used.
    """
    positive = rows.positive & (nth(rows.positive, rows.query) == 1) if first_positive else rows.positive
    wanted = rows.negative if target.needs != "no negatives" else np.zeros_like(rows.negative)
    negative = wanted & (nth(wanted, rows.query) <= negatives) if negatives is not None else wanted
    found = rows.per_query(wanted)
    no_positive = rows.per_query(rows.positive) == 0
    too_few = ~no_positive & (found < least_negatives(target, negatives))
    extra_positive, extra_negative = rows.positive & ~positive, rows.negative & ~negative
    reason = np.select(
        [rows.textless, rows.misread, no_positive[rows.query], too_few[rows.query], extra_positive, extra_negative],
        [1, 2, 3, 6 + found[rows.query], 4, 5],
        default=0,
    )
    used = reason == 0
    reasons = _reasons(target, negatives, int(found.max(initial=0)))
    return Choice(rows, positive & used, negative & used, reason, reasons, int(too_few.sum()))


def choose_pairs(rows: PairRows, target: Target, valued: np.ndarray, missing: str) -> Choice:
    """Every pair with text that is `valued`, (n,) bool; one that is not leaves with the reason `missing`."""
    reason = np.select([rows.textless, rows.misread, ~valued], [1, 2, 3], default=0)
    nothing = np.zeros(len(reason), bool)
    return Choice(rows, reason == 0, nothing, reason, ["", "no text", target.because, missing], 0)


def least_negatives(target: Target, negatives: int | None) -> int:
    """How many negatives a query must have for a training row."""
    if target.needs == "equal negatives":
        assert negatives is not None
        return negatives
    return 1 if target.needs == "some negatives" else 0


def _reasons(target: Target, negatives: int | None, most: int) -> list[str]:
    """What the numbers of `choose` mean where no query has more than `most` negatives."""
    beyond = f"{target.name} takes no negatives" if target.needs == "no negatives" else f"beyond {negatives} negatives"
    if target.needs == "equal negatives":
        few = [f"query has {found} of {negatives} negatives" for found in range(min(negatives or 0, most + 1))]
    else:
        few = ["query has no negative"]
    return ["", "no text", target.because, "query has no positive", "beyond the first positive", beyond, *few]


def per_positive(choice: Choice) -> Plan:
    """A training row for each positive, with all the negatives of its query."""
    positives = np.flatnonzero(choice.positive)
    query = choice.rows.query[positives]
    return Plan(choice.rows.anchor[query], _singles(positives), _of_queries(choice, choice.negative, query))


def per_positive_and_negative(choice: Choice) -> Plan:
    """A training row for each positive with each negative of its query."""
    plan = per_positive(choice)
    times = plan.negatives.sizes
    return Plan(
        np.repeat(plan.anchors, times),
        _singles(np.repeat(plan.positives.rows, times)),
        _singles(plan.negatives.rows),
    )


def per_query(choice: Choice) -> Plan:
    """A training row for each query, with all its positives and all its negatives."""
    query = np.flatnonzero(choice.rows.per_query(choice.positive))
    return Plan(
        choice.rows.anchor[query],
        _of_queries(choice, choice.positive, query),
        _of_queries(choice, choice.negative, query),
    )


def _singles(rows: np.ndarray) -> Lists:
    return Lists(np.arange(len(rows) + 1), rows)


def _of_queries(choice: Choice, chosen: np.ndarray, queries: np.ndarray) -> Lists:
    """The chosen rows of each of the given queries."""
    counts = choice.rows.per_query(chosen)
    first = (np.cumsum(counts) - counts)[queries]
    offsets = np.append(0, np.cumsum(counts[queries]))
    places = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], counts[queries])
    return Lists(offsets, np.flatnonzero(chosen)[places])


def joined(one: Lists, other: Lists) -> Lists:
    """Each list of `one` followed by the same list of `other`."""
    offsets = one.offsets + other.offsets
    rows = np.empty(offsets[-1], np.int64)
    for lists, start in ((one, offsets[:-1]), (other, offsets[:-1] + one.sizes)):
        rows[np.arange(len(lists.rows)) + np.repeat(start - lists.offsets[:-1], lists.sizes)] = lists.rows
    return Lists(offsets, rows)
