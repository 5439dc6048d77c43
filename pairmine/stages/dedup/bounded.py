"""Dedup of a corpus that is larger than memory: the rows that `dedup` leaves, from three readings of the corpus.

The first reading sketches every document and puts the keys on disk. A document that shares a key with no other
is done with; of the others the second reading takes the words, and the third one writes what stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.dedup.against import Against
from pairmine.stages.dedup.bounds import Advance, Earlier, Keys, Nothing, Scratch, Tables
from pairmine.stages.dedup.choice import Choice, Giant, group_names
from pairmine.stages.dedup.decide import decide, notes_of
from pairmine.stages.dedup.groups import LARGE_SHARE
from pairmine.stages.dedup.kernel.hashes import mixed
from pairmine.stages.dedup.kernel.shingles import Texts
from pairmine.stages.dedup.leaving import Loss, Verdicts, losses, reject_copies
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.preference import BEST
from pairmine.stages.dedup.sketching import band_count, hashed, keys_of, sets_of
from pairmine.stages.dedup.stage import reasons_of, reject_contaminated
from pairmine.stages.dedup.suspects import Suspects, find_suspects
from pairmine.stages.dedup.units import Units, sides_of
from pairmine.stages.dedup.verified import Sets

SEEN_IN, GROUP = "seen_in", "document_group"
MOST = 1 << 31
"""Documents of a corpus, and of an index: together they are numbered by 32 bits."""


@dataclass(frozen=True)
class Found:
    """Which documents of a corpus copy another one.

    `choice` speaks of the documents at the ascending `places` alone, all others stay. A place below `earlier.rows`
    is a document of the index, those above are rows of the corpus. `notes` are counts for the report.
    """

    places: np.ndarray
    choice: Choice
    earlier: Earlier
    rows: int
    notes: Mapping[str, int]
    giants: Sequence[Giant] = ()

    @property
    def leaves(self) -> np.ndarray:
        """The rows that leave, ascending."""
        leaving = self.places[self.choice.leaves]
        return leaving[leaving >= self.earlier.rows] - self.earlier.rows


def nothing_found(rows: int) -> Found:
    """For a corpus of `rows` documents where no copies are looked for."""
    none = np.empty(0, np.int64)
    ids = pa.array([], pa.large_string())
    choice = Choice("document", ids, none, np.empty(0, bool), np.empty(0), none, np.empty(0, bool))
    return Found(none, choice, Nothing(), rows, {})


# --- first reading --------------------------------------------------------------------------------------


def sketch_corpus(
    tables: Tables,
    scratch: Scratch,
    *,
    near: Near | None,
    exact: str,
    workers: int,
    against: Against | None,
    advance: Advance,
) -> int:
    """Put the keys of all documents into `scratch`, save for the blocks that it has, and count the documents.

    Documents that a test set of `against` takes have none.
    """
    rows = 0
    pending: list[dict[str, Keys]] = []
    for table in tables():
        if rows + table.num_rows > MOST:
            raise PairmineError(f"more than {MOST:,} documents; dedup the corpus in parts that share an --index")
        start = 0
        while start < table.num_rows:
            block, place = divmod(rows, scratch.block_rows)
            size = min(table.num_rows - start, scratch.block_rows - place)
            if not scratch.has(block):
                units = _units(table.slice(start, size))
                gone = against.find(units.texts).places if against else np.empty(0, np.int64)
                pending.append(keys_of(units.ids, units.texts, gone, rows, near=near, exact=exact, workers=workers))
            rows, start = rows + size, start + size
            if pending and rows % scratch.block_rows == 0:
                scratch.put(block, _joined(pending))
                pending = []
        advance(table.num_rows)
    if pending:
        scratch.put(rows // scratch.block_rows, _joined(pending))
    return rows


def _units(table: pa.Table) -> Units:
    (units,) = sides_of(table, "document")
    return units


def _joined(pending: list[dict[str, Keys]]) -> Iterator[tuple[str, Keys]]:
    """The keys of all of `pending` under each name, which are let go of then."""
    for name in list(pending[0]):
        some = [each.pop(name) for each in pending]
        yield name, (np.concatenate([keys for keys, _ in some]), np.concatenate([rows for _, rows in some]))


# --- second reading -------------------------------------------------------------------------------------


def find_copies(
    tables: Tables,
    scratch: Scratch,
    earlier: Earlier,
    rows: int,
    *,
    near: Near | None,
    keep: str,
    group: str,
    conflict: Callable[[], None],
    advance: Advance,
) -> Found:
    """Find the copies among the `rows` documents whose keys are in `scratch`, and in `earlier`.

    `conflict` is called where one id has two texts, to tell of it.
    """
    suspects = find_suspects(scratch, earlier, rows, band_count(near), near.engine if near else "auto")
    candidates = suspects.candidates()
    sets = Sets(candidates, scratch, earlier)
    places = distinct(np.concatenate([suspects.copies, suspects.firsts, candidates]))
    gathered = _gather(tables, places - earlier.rows, suspects, sets, near, keep, advance)
    sets.finish()
    if gathered.is_in_conflict:
        conflict()
    ids = pa.concat_arrays([earlier.ids(places[places < earlier.rows]), *gathered.ids])
    decided = decide(suspects, sets, places, ids, gathered.values, scratch.budget_bytes, near, keep, group)
    choice, large = decided.choice, [giant for giant in decided.giants if giant.size > LARGE_SHARE * rows]
    return Found(places, choice, earlier, rows, notes_of(choice, decided.compared, decided.passed_over), large)


@dataclass(frozen=True)
class _Gathered:
    """Of some documents: their `ids` and what they are ranked by, and whether one id has two texts."""

    ids: list[pa.Array]
    values: list[pa.Array]
    is_in_conflict: bool


def _gather(
    tables: Tables,
    rows: np.ndarray,
    suspects: Suspects,
    sets: Sets,
    near: Near | None,
    keep: str,
    advance: Advance,
) -> _Gathered:
    """Read the documents at the ascending `rows` again; rows below 0 are no rows of the corpus."""
    ids, values, twice = [], [], [np.empty((0, 2), np.uint64)]
    earlier = suspects.earlier
    first = 0
    for table in tables():
        here = between(rows, first, first + table.num_rows)
        if len(here):
            of_ids, of_values = ids_and_values(table.take(pa.array(here - first)), keep)
            ids.append(of_ids)
            values.append(of_values)
        candidates = between(sets.places - earlier, first, first + table.num_rows)
        if near and len(candidates):
            sets.append(sets_at(table, candidates - first, near))
        again = between(suspects.again, first, first + table.num_rows)
        if len(again):
            twice.append(contents(table.take(pa.array(again - first))))
        first += table.num_rows
        advance(table.num_rows)
    return _Gathered(ids, values, are_in_conflict(twice))


def between(ascending: np.ndarray, low: int, high: int) -> np.ndarray:
    """Those of the `ascending` numbers from `low` to before `high`."""
    start, stop = np.searchsorted(ascending, [low, high])
    return ascending[start:stop]


def ids_and_values(table: pa.Table, keep: str) -> tuple[pa.Array, pa.Array]:
    """The ids of some documents, and what `keep` ranks them by."""
    units = _units(table)
    return units.ids, _values(table, units, keep)


def sets_at(table: pa.Table, rows: np.ndarray, near: Near) -> Texts:
    """The shingles and words of these rows of `table`."""
    return sets_of(_units(table.take(pa.array(rows))).texts, near)


def are_in_conflict(found: Sequence[np.ndarray]) -> bool:
    """Whether one id has two texts among `contents`."""
    said = np.unique(np.concatenate(found), axis=0)
    return len(distinct(said[:, 0])) < len(said)


def contents(table: pa.Table) -> np.ndarray:
    """A hash of each document's id and one of its title and text, (n, 2) uint64."""
    titles = table["title"] if "title" in table.column_names else pa.nulls(table.num_rows, pa.string())
    content = mixed(hashed(pc.fill_null(titles, ""))) + hashed(table["text"])
    return np.stack([hashed(table["id"]), content], axis=1)


def _values(table: pa.Table, units: Units, keep: str) -> pa.Array:
    """What `keep` ranks these documents by."""
    if keep == "longest":
        return pa.array(units.lengths())
    if keep.startswith(BEST):
        return table[keep.removeprefix(BEST)].combine_chunks()
    return pa.nulls(table.num_rows)


# --- third reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """What becomes of one `table`: `outcome`, the rows that stay, (rows,) bool, and what each source lost."""

    table: pa.Table
    outcome: Outcome
    stays: np.ndarray
    losses: list[Loss]


def parts(
    tables: Tables, found: Found, *, against: Against | None, action: str, group_ids: bool, advance: Advance
) -> Iterator[Part]:
    """What stays and what leaves, table by table; the first outcome has the counts of `found`."""
    notes, first = found.notes, found.earlier.rows
    for table in tables():
        start, stop = np.searchsorted(found.places, [first, first + table.num_rows])
        items = np.arange(start, stop)
        yield _part(table, found, items, found.places[items] - first, against, action, group_ids, notes)
        advance(table.num_rows)
        notes, first = {}, first + table.num_rows


def _part(
    table: pa.Table,
    found: Found,
    items: np.ndarray,
    rows: np.ndarray,
    against: Against | None,
    action: str,
    group_ids: bool,
    notes: Mapping[str, int],
) -> Part:
    verdicts = Verdicts(table.num_rows, against=against is not None)
    if against is not None:
        reject_contaminated(verdicts, against, _units(table))
    if group_ids:
        table = _with_groups(table, found, items, rows, verdicts.leaves)
    reject_copies(verdicts, found.choice, items, rows)
    stays = ~verdicts.leaves
    lost = losses(table, verdicts.leaves)
    seen_in = _seen_in(table.num_rows, found, items, rows)
    rejected = _beside(verdicts.rejected(table), None if seen_in is None else seen_in.filter(pa.array(~stays)))
    kept = table.filter(pa.array(stays))
    if action == "mark":
        notes = {**notes} | {f"marked: {reason}": count for reason, count in reasons_of(rejected)}
        kept, rejected = _beside(verdicts.marked(table), seen_in), rejected.slice(0, 0)
    return Part(table, Outcome(kept, rejected, rows_in=table.num_rows, notes=notes), stays, lost)


def _with_groups(table: pa.Table, found: Found, items: np.ndarray, rows: np.ndarray, gone: np.ndarray) -> pa.Table:
    """`table` with the id of each document's kept copy; null where a test set took it before."""
    at = np.full(table.num_rows, -1)
    at[rows] = np.arange(len(items))
    names = group_names(found.choice, items).take(pa.array(at, mask=at < 0))
    column = pc.if_else(pa.array(gone), None, pc.coalesce(names, table["id"].cast(pa.string())))
    table = table.drop_columns([GROUP]) if GROUP in table.column_names else table
    return table.append_column(GROUP, column)


def _seen_in(count: int, found: Found, items: np.ndarray, rows: np.ndarray) -> pa.Array | None:
    """For each of `count` rows the run that the document came from that it copies; None without an index."""
    if isinstance(found.earlier, Nothing):
        return None
    kept = found.places[found.choice.kept[items]]
    is_earlier = kept < found.earlier.rows
    documents, place = np.unique(kept[is_earlier], return_inverse=True)
    at = np.full(count, -1)
    at[rows[is_earlier]] = place
    return found.earlier.seen_in(documents).take(pa.array(at, mask=at < 0))


def _beside(table: pa.Table, seen_in: pa.Array | None) -> pa.Table:
    if seen_in is None:
        return table
    table = table.drop_columns([SEEN_IN]) if SEEN_IN in table.column_names else table
    return table.append_column(SEEN_IN, seen_in)


def summed(one: Sequence[Loss], other: Sequence[Loss]) -> list[Loss]:
    """What each source lost in two parts of a corpus."""
    found = {loss.value: loss for loss in one}
    for loss in other:
        before = found.get(loss.value, replace(loss, rows=0, left=0))
        found[loss.value] = replace(loss, rows=before.rows + loss.rows, left=before.left + loss.left)
    return list(found.values())
