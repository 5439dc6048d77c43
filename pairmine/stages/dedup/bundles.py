"""Dedup of a corpus in shards: documents that pairs or copies connect come together in a bundle, a corpus of its own.

Copies of a document are all in its bundle, so that what stays is decided there as it is for a whole corpus. Crowded
documents, whose pairs are sought in the crowd as a whole, are together in bundle `CROWD`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pairmine.distinct import distinct, union
from pairmine.stages.dedup.bounded import (
    Found,
    are_in_conflict,
    between,
    contents,
    ids_and_values,
    nothing_found,
    sets_at,
)
from pairmine.stages.dedup.bounds import Nothing, Spills
from pairmine.stages.dedup.candidates import is_among
from pairmine.stages.dedup.choice import Choice, Giant
from pairmine.stages.dedup.decide import decide, notes_of
from pairmine.stages.dedup.groups import LARGE_SHARE
from pairmine.stages.dedup.kernel.shingles import Texts
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.suspects import Suspects
from pairmine.stages.dedup.verified import Sets

CROWD = 0
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Shared:
    """Documents that share a key with another one, at the ascending `rows` of the corpus, and where each goes.

    `firsts` are the first documents with the same text, `bundles` those that they meet in. Pairs are sought among the
    candidates alone, which are not copies, and in the crowd among those that `is_crowded` says.
    """

    rows: np.ndarray
    firsts: np.ndarray
    bundles: np.ndarray
    is_candidate: np.ndarray
    is_crowded: np.ndarray

    def at(self, places: np.ndarray | slice) -> Shared:
        """Those at these places."""
        return Shared(*(column[places] for column in self._columns))

    def between(self, low: int, high: int) -> Shared:
        """Those from row `low` to before row `high`."""
        start, stop = np.searchsorted(self.rows, [low, high])
        return self.at(slice(start, stop))

    def bundle_of(self, rows: np.ndarray) -> np.ndarray:
        """The bundle of each of `rows`, which are all here."""
        found: np.ndarray = self.bundles[np.searchsorted(self.rows, rows)]
        return found

    @classmethod
    def joined(cls, parts: Sequence[Shared]) -> Shared:
        """All parts, one after the other."""
        return cls(*(np.concatenate(columns) for columns in zip(*(part._columns for part in parts), strict=True)))

    @property
    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.rows, self.firsts, self.bundles, self.is_candidate, self.is_crowded


def bundled(
    copies: np.ndarray, firsts: np.ndarray, vertices: np.ndarray, labels: np.ndarray, crowded: np.ndarray, size: int
) -> Shared:
    """Bundles of about `size` documents each, of what pairs and copies connect.

    `copies`, `vertices` and `crowded` ascend; `firsts` has the first document with the text of each copy, `labels` the
    first of those that pairs connect each vertex with.
    """
    candidates = union(vertices, crowded)
    rows = distinct(np.concatenate([copies, firsts, candidates]))
    first_of, label = rows.copy(), rows.copy()
    first_of[np.searchsorted(rows, copies)] = firsts
    label[np.searchsorted(rows, vertices)] = labels
    labelled = np.searchsorted(rows, label[np.searchsorted(rows, first_of)])
    is_label = np.zeros(len(rows), bool)
    is_label[labelled] = True
    of_component = (np.cumsum(is_label) - 1)[labelled]
    is_crowded = is_among(rows, crowded)
    sizes = np.bincount(of_component)
    in_crowd = np.zeros(len(sizes), bool)
    in_crowd[of_component[is_crowded]] = True
    sizes[in_crowd] = 0
    bundles = np.where(in_crowd, CROWD, CROWD + 1 + (np.cumsum(sizes) - sizes) // size)
    return Shared(rows, first_of, bundles[of_component], is_among(rows, candidates), is_crowded)


def pairs_by_bundle(pairs: np.ndarray, shared: Shared) -> Iterator[tuple[int, np.ndarray]]:
    """Packed `pairs` of documents by the bundle that they meet in."""
    of_pair = shared.bundle_of((pairs >> np.uint64(32)).astype(np.int64))
    order = np.argsort(of_pair, kind="stable")
    found, starts = np.unique(of_pair[order], return_index=True)
    yield from zip(found.tolist(), np.split(pairs[order], starts[1:]), strict=True)


@dataclass(frozen=True)
class Gathered:
    """What is read again of some documents: their `ids`, what they are ranked by, the sets of the candidates."""

    shared: Shared
    ids: pa.Array
    values: pa.Array
    texts: Texts | None


def gather(
    tables: Iterable[pa.Table], first: int, shared: Shared, near: Near | None, keep: str
) -> Iterator[tuple[int, Gathered]]:
    """For each bundle what it needs of a shard's documents, the first one of which is row `first`."""
    for table in tables:
        here = shared.between(first, first + table.num_rows)
        if len(here.rows):
            yield from _by_bundle(table, first, here, near, keep)
        first += table.num_rows


def _by_bundle(
    table: pa.Table, first: int, here: Shared, near: Near | None, keep: str
) -> Iterator[tuple[int, Gathered]]:
    ids, values = ids_and_values(table.take(pa.array(here.rows - first)), keep)
    texts = sets_at(table, here.rows[here.is_candidate] - first, near) if near else None
    number = np.cumsum(here.is_candidate) - 1
    for bundle in distinct(here.bundles).tolist():
        some = np.flatnonzero(here.bundles == bundle)
        at, candidates = pa.array(some), some[here.is_candidate[some]]
        sets = texts.take(number[candidates]) if texts else None
        yield bundle, Gathered(here.at(some), ids.take(at), values.take(at), sets)


def said_of_ids(tables: Iterable[pa.Table], first: int, rows: np.ndarray) -> Iterator[np.ndarray]:
    """`contents` of the documents at the ascending `rows` of the corpus, for `have_conflict`."""
    for table in tables:
        here = between(rows, first, first + table.num_rows)
        if len(here):
            yield contents(table.take(pa.array(here - first)))
        first += table.num_rows


def have_conflict(found: Iterable[np.ndarray]) -> bool:
    """Whether one id has two texts."""
    return are_in_conflict(list(found))


@dataclass(frozen=True)
class Groups:
    """The documents of a bundle that are in groups of two or more, at the ascending `rows`.

    `kept` and `similar_to` are rows too. Of the bundle's `documents`, `compared` pairs were compared for that and
    `passed_over` were not; `giants` come with the row of the one that stays.
    """

    rows: np.ndarray
    ids: pa.Array
    kept: np.ndarray
    is_exact: np.ndarray
    similarity: np.ndarray
    similar_to: np.ndarray
    compared: int
    passed_over: int
    giants: list[tuple[int, Giant]]
    documents: int


def groups_of(
    parts: Iterable[Gathered],
    pairs: Iterable[np.ndarray],
    spills: Spills,
    budget_bytes: int,
    *,
    near: Near | None,
    keep: str,
    group: str,
) -> Groups:
    """What stays of a bundle: `parts` are all of its documents, `pairs` all that are to be compared, packed."""
    every = sorted(parts, key=lambda part: int(part.shared.rows[0]))
    shared = Shared.joined([part.shared for part in every])
    copies = shared.firsts != shared.rows
    held = spills.pairs()
    for some in pairs:
        held.add(some)
    crowded = shared.rows[shared.is_crowded]
    suspects = Suspects(shared.rows[copies], shared.firsts[copies], held, crowded, _NO_ROWS, 0)
    sets = Sets(shared.rows[shared.is_candidate], spills, Nothing())
    for part in every:
        if part.texts is not None:
            sets.append(part.texts)
    sets.finish()
    ids = pa.concat_arrays([part.ids for part in every])
    values = [part.values for part in every]
    found = decide(suspects, sets, shared.rows, ids, values, budget_bytes, near, keep, group)
    choice = found.choice
    some = np.flatnonzero(choice.sizes[choice.kept] > 1)
    return Groups(
        shared.rows[some],
        ids.take(pa.array(some)),
        shared.rows[choice.kept[some]],
        choice.is_exact[some],
        choice.similarity[some],
        shared.rows[choice.similar_to[some]],
        found.compared,
        found.passed_over,
        [(int(shared.rows[ids.index(each.kept).as_py()]), each) for each in found.giants],
        len(shared.rows),
    )


def found_in(parts: Sequence[Groups], rows: int) -> Found:
    """What stays of a corpus of so many `rows`, out of all bundles."""
    if not parts:
        none = nothing_found(rows)
        return replace(none, notes=notes_of(none.choice, 0, 0))
    places = np.concatenate([part.rows for part in parts])
    order = np.argsort(places)
    places = places[order]

    def column(name: str) -> np.ndarray:
        found: np.ndarray = np.concatenate([getattr(part, name) for part in parts])[order]
        return found

    choice = Choice(
        "document",
        pa.concat_arrays([part.ids for part in parts]).take(pa.array(order)),
        np.searchsorted(places, column("kept")),
        column("is_exact"),
        column("similarity"),
        np.searchsorted(places, column("similar_to")),
        np.zeros(len(places), bool),
    )
    notes = notes_of(choice, sum(part.compared for part in parts), sum(part.passed_over for part in parts))
    large = sorted((-each.size, row, each) for part in parts for row, each in part.giants)
    return Found(places, choice, Nothing(), rows, notes, [each for *_, each in large if each.size > LARGE_SHARE * rows])


def found_of_shard(found: Found, first: int, rows: int) -> Found:
    """The same as is said of the `rows` documents from `first` on, which become the first ones; it has no notes."""
    choice = found.choice
    start, stop = np.searchsorted(found.places, [first, first + rows])
    some = slice(start, stop)
    needed = distinct(np.concatenate([np.arange(start, stop), choice.kept[some], choice.similar_to[some]]))
    similar_to = np.searchsorted(needed, choice.similar_to[needed])
    # Those of other shards are here for their names alone.
    similar_to[similar_to == len(needed)] = 0
    part = choice.take(needed)
    part = replace(
        part, ids=choice.ids.take(pa.array(needed)), kept=np.searchsorted(needed, part.kept), similar_to=similar_to
    )
    return Found(found.places[needed] - first, part, Nothing(), rows, {})
