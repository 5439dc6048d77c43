"""Splits that never leak: train, dev and others that share no query, text, document or group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.outcome import Outcome, with_reason
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.export.rows import query_runs
from pairmine.stages.mix.components import DOCUMENTS, GROUPS, NEAR_COPIES, NEGATIVES, Tied, Ties, positives_of, tied
from pairmine.stages.mix.parts import Part, wanted
from pairmine.stages.mix.sources import freed
from pairmine.stages.mix.standins import NearCopies
from pairmine.stages.mix.values import latest

NOWHERE = -1
BY_DEFAULT = Ties()
_WITHOUT = {
    NEGATIVES: "--split-apart positives",
    DOCUMENTS: "--split-apart queries",
    NEAR_COPIES: "--split-copies exact",
    GROUPS: "--split-by query",
}


@dataclass(frozen=True)
class Giant:
    """A component that is larger than the split named `short` is to be: it holds `size` of `queries` queries.

    `without` says for each option that would loosen a tie how many the largest component would have with it.
    """

    size: int
    queries: int
    short: str
    wanted: int
    without: Mapping[str, int]

    def __str__(self) -> str:
        """The warning in a line."""
        share = 100 * self.size / self.queries
        first = (
            f"{self.size:,} of {self.queries:,} queries ({share:.1f} %) hang together and go into one split, more than "
            f"the {self.wanted:,} that {self.short} is to have"
        )
        looser = [f"{size:,} with {flag}" for flag, size in self.without.items() if size < self.size]
        return f"{first}; the most would be {', '.join(looser)}" if looser else first


@dataclass(frozen=True)
class SplitPlan:
    """Which split each query of a pair set goes to: `placed` (queries,) int64 counts the `parts`, -1 for none of them.

    `components` (queries,) int64 is the first query that each one must stay with; `giant` is a component that is too
    large, where there is one.
    """

    parts: Sequence[Part]
    placed: np.ndarray
    components: np.ndarray
    giant: Giant | None

    def notes(self) -> Counter[str]:
        """Counts for the report."""
        sizes = np.bincount(self.components)
        notes = Counter(
            {"components": int((sizes > 0).sum()), "components, queries in the largest": int(sizes.max(initial=0))}
        )
        for number, part in enumerate(self.parts):
            notes[f"queries of split {part.name}"] = int((self.placed == number).sum())
        return notes


def plan_splits(
    rows: pa.Table,
    parts: Sequence[Part],
    *,
    seed: int,
    ties: Ties = BY_DEFAULT,
    time: str | None = None,
    near: NearCopies | None = None,
    workers: int = 1,
    tell: Tell | None = None,
) -> SplitPlan:
    """Place the queries of a pair set, of which `rows` are those that `components.telling` picks, or all.

    Queries that `ties` ties together, over others too, make a component, and that goes into one split as a whole. A
    component is drawn by the seed and the smallest key of its queries, a hash of the id, so as the set grows it stays
    where it was unless it lies at the edge of a split. Small splits are filled first, from the components in the
    order of their keys, one that is too large for the room left being passed over; each source (column `source`)
    gives its share. With `time`, the name of a column, the splits follow each other in the order of `parts` by the
    latest value in each component, equal ones together, and what is in none is the earliest.

    A split misses its number by less than the largest component (with `time`: by half of those of one time at each
    edge). Raises PairmineError for what is no pair set, and where a split stays empty.
    """
    schema.check_pairs(rows)
    rows = schema.as_pairs(rows)
    of_row = query_runs(rows["query_id"])
    firsts = np.flatnonzero(np.diff(of_row, prepend=-1))
    counts = wanted(parts, len(firsts))
    bonds = tied(rows, of_row, ties, near=near, workers=workers, tell=tell)
    component = bonds.components()
    giant = _giant(bonds, component, parts, counts)
    if time is not None:
        times = latest(rows, time, of_row, positives_of(rows, of_row))
        placed = _by_time(component, times, counts)
    else:
        heads = rows.take(pa.array(firsts))
        placed = _by_chance(component, _keys(heads, seed), _strata(heads, component), counts)
    _check_filled(placed, parts, counts, giant)
    return SplitPlan(parts, placed, component, giant)


def part_pairs(pairs: pa.Table, plan: SplitPlan, first: int = 0) -> Outcome:
    """`pairs` in their order with a column `split`; those in no split are rejected.

    They are whole queries, of which `first` is the number of the first one in the pair set that was planned. A column
    `split` that they bring becomes `other_split`.
    """
    of_row = query_runs(pairs["query_id"])
    placed = plan.placed[of_row + first]
    inside = pa.array(placed != NOWHERE)
    rejected = with_reason(pairs.filter(pc.invert(inside)), "in no split")
    pairs = freed(pairs, "split")
    notes = Counter() if first else plan.notes()
    for number, part in enumerate(plan.parts):
        notes[f"pairs of split {part.name}"] = int((placed == number).sum())
    names = pa.DictionaryArray.from_arrays(
        pa.array(placed[placed != NOWHERE], pa.int32()), pa.array([part.name for part in plan.parts], pa.string())
    )
    kept = pairs.filter(inside).append_column("split", names)
    return Outcome(kept, rejected, rows_in=pairs.num_rows, notes=notes)


def queries_in(pairs: pa.Table) -> int:
    """How many queries some whole queries' rows are."""
    return int((np.diff(query_runs(pairs["query_id"]), prepend=-1) > 0).sum())


def _keys(heads: pa.Table, seed: int) -> np.ndarray:
    """A random key for each query, (queries,) uint64."""
    ids = heads["query_id"].to_pylist()
    return np.fromiter((seed_of(seed, "split", each) for each in ids), np.uint64, len(ids))


def _strata(heads: pa.Table, component: np.ndarray) -> np.ndarray:
    """A number for the set of sources that each query's component has, (queries,) int64."""
    if "source" not in heads.column_names or not heads.num_rows:
        return np.zeros(heads.num_rows, np.int64)
    names = heads["source"].cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    found = distinct(component << 32 | names.indices.to_numpy().astype(np.int64))
    members, starts = np.unique(found >> 32, return_index=True)
    codes = [tuple(some.tolist()) for some in np.split(found & 0xFFFFFFFF, starts[1:])]
    texts = names.dictionary.to_pylist()
    sets = {each: tuple(sorted(texts[code] for code in each)) for each in set(codes)}
    number = {each: place for place, each in enumerate(sorted(sets, key=lambda each: sets[each]))}
    of_component = np.zeros(len(component), np.int64)
    of_component[members] = [number[each] for each in codes]
    return of_component[component]


def _by_chance(component: np.ndarray, keys: np.ndarray, strata: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The split of each query, (queries,) int64: stratum by stratum, each in proportion to what is left to place."""
    lowest = np.full(len(component), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, component, keys)
    sizes = np.bincount(component, minlength=len(component))
    heads = np.flatnonzero(sizes)
    heads = heads[np.argsort(lowest[heads], kind="stable")]
    takes_all = counts.sum() == len(component)
    placed = np.full(len(component), NOWHERE)
    left, room = len(component), counts.copy()
    largest = np.zeros(int(strata.max(initial=-1)) + 1, np.int64)
    np.maximum.at(largest, strata[heads], sizes[heads])
    # Those with small components come last: they make up for what large ones left over or took too much.
    for stratum in np.argsort(-largest, kind="stable"):
        members = heads[strata[heads] == stratum]
        queries = int(sizes[members].sum())
        targets = np.floor(np.maximum(room, 0) * queries / left + 0.5).astype(np.int64)
        placed[members] = _filled(sizes[members], targets, counts, takes_all=takes_all)
        room -= _per_split(placed[members], sizes[members], len(counts))
        left -= queries
    return placed[component]


def _filled(sizes: np.ndarray, targets: np.ndarray, counts: np.ndarray, *, takes_all: bool) -> np.ndarray:
    """The split of each component of a stratum, (components,) int64: small splits first, by `counts`; with
    `takes_all` the largest gets all that is left."""
    placed = np.full(len(sizes), NOWHERE)
    order = np.argsort(counts, kind="stable").tolist()
    for turn, number in enumerate(order):
        free = np.flatnonzero(placed == NOWHERE)
        is_last = takes_all and turn == len(order) - 1
        placed[free if is_last else free[fitting(sizes[free], int(targets[number]))]] = number
    return placed


def fitting(sizes: np.ndarray, room: int) -> np.ndarray:
    """Which of some things to take, in their order, each one that fits into the room left, (n,) bool.

    >>> fitting(np.array([2, 5, 1, 3]), 6).tolist()
    [True, False, True, True]
    """
    taken = np.zeros(len(sizes), bool)
    rest = np.arange(len(sizes))
    while True:
        rest = rest[sizes[rest] <= room]
        if not len(rest):
            return taken
        fits = int(np.searchsorted(np.cumsum(sizes[rest]), room, side="right"))
        taken[rest[:fits]] = True
        room -= int(sizes[rest[:fits]].sum())
        rest = rest[fits:]


def _by_time(component: np.ndarray, times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The split of each query, (queries,) int64, by the latest time in its component; equal times go together."""
    latest_of = np.full(len(component), -1)
    np.maximum.at(latest_of, component, times)
    sizes = np.bincount(latest_of[component]) if len(component) else np.empty(0, np.int64)
    middles = np.cumsum(sizes) - sizes / 2
    ends = len(component) - counts.sum() + np.concatenate([[0], np.cumsum(counts)])
    of_time = np.searchsorted(ends, middles, side="right") - 1
    placed: np.ndarray = np.where(of_time < 0, NOWHERE, of_time)[latest_of[component]]
    return placed


def _per_split(placed: np.ndarray, sizes: np.ndarray, splits: int) -> np.ndarray:
    inside = placed != NOWHERE
    return np.bincount(placed[inside], weights=sizes[inside], minlength=splits).astype(np.int64)


def _giant(bonds: Tied, component: np.ndarray, parts: Sequence[Part], counts: np.ndarray) -> Giant | None:
    """The largest component, where it is larger than the smallest split is to be."""
    smallest, size = int(np.argmin(counts)), int(np.bincount(component).max(initial=0))
    if size <= counts[smallest]:
        return None
    without = {flag: int(np.bincount(bonds.components(kind)).max()) for kind, flag in _WITHOUT.items()}
    return Giant(size, bonds.queries, parts[smallest].name, int(counts[smallest]), without)


def _check_filled(placed: np.ndarray, parts: Sequence[Part], counts: np.ndarray, giant: Giant | None) -> None:
    found = _per_split(placed, np.ones(len(placed), np.int64), len(parts))
    for part, has, asked in zip(parts, found.tolist(), counts.tolist(), strict=True):
        if asked and not has:
            why = str(giant) if giant else "too many have one time, or share it by what ties them"
            raise PairmineError(f'split "{part.name}" stays empty, {asked:,} queries wanted: {why}')
