"""A trainer's file or folder as a pair set, and what is wrong with its form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol

import numpy as np
import pyarrow as pa

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.forms.faults import FAULTS, ONLY_FOR_TRAINERS, of_bytes
from pairmine.files.forms.group import At, Group, Row
from pairmine.files.forms.layout import MARGIN, SCORE, Head, Layout
from pairmine.files.forms.notes import MOST_EXAMPLES, Notes, told
from pairmine.files.forms.rows import BROKEN, Batch, read_rows, unit_of
from pairmine.files.forms.sidecar import Sidecar
from pairmine.files.forms.tables import NUMBER, table_of
from pairmine.files.forms.targets import note_kind, note_misread
from pairmine.files.forms.together import Order, whole_queries, without_repeats
from pairmine.files.locations import Shard
from pairmine.files.seen import SeenIds
from pairmine.files.source import CHUNK_ROWS
from pairmine.identity import content_id
from pairmine.stages.check.finding import ERROR, WARNING, Finding

_HEAD_ROWS = 200
_EXTRAS = {SCORE: pa.field(SCORE, pa.float32()), MARGIN: pa.field(MARGIN, pa.float32())}


class Source(Protocol):
    """Where the rows of a form come from."""

    shards: list[Shard]
    """The files of the training rows."""
    inputs: list[Shard]
    """These, and the files of texts."""
    unit: str
    columns: dict[str, pa.Field]
    tests: tuple[str, ...]

    def batches(self, notes: Notes) -> Iterator[Batch]:
        """All rows, as often as asked."""

    def complete(self, groups: Sequence[Group], batch: Batch, notes: Notes) -> None:
        """Give the training rows of a batch what stands elsewhere."""


class FileRows:
    """The rows of a file, or of several shards."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = self.inputs = shards
        self.unit = unit_of(shards[0])
        self.columns: dict[str, pa.Field] = {}
        self.tests = ("wrong-file-kind", *of_bytes(shard.name for shard in shards))

    def batches(self, notes: Notes) -> Iterator[Batch]:
        """All rows, shard after shard."""
        several = len(self.shards) > 1
        for shard in self.shards:
            yield from read_rows(shard, notes, file=shard.name.rpartition("/")[2] if several else "")

    def complete(self, groups: Sequence[Group], batch: Batch, notes: Notes) -> None:
        """Nothing: a row has its texts."""


def head_of(source: Source) -> Head:
    """The first rows of `source`, broken ones left out; empty where there is none."""
    found: list[Row] = []
    for batch in source.batches(Notes(muted=True)):
        found += [row for row in batch.rows if row is not BROKEN]
        if len(found) >= _HEAD_ROWS:
            break
    rows = found[:_HEAD_ROWS]
    names = dict.fromkeys(name for row in rows for name in row)
    return Head(list(names), rows, source.shards[0].kind in ("csv", "tsv"))


@dataclass
class _Survey:
    """What is known of a form once all of it was read: how many rows, their order, the columns of its table."""

    rows: int
    order: Order
    columns: Mapping[str, pa.Field]


@dataclass
class _Facts:
    """What `_Survey` is made of, batch by batch."""

    keys: list[np.ndarray] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    wholes: SeenIds = field(default_factory=SeenIds)
    read: int = 0


class Form:
    """A pair set out of a trainer's file: `chunks` gives its pairs, and then `findings` holds the faults of its form.

    `name` is the format; where it `is_guess`, from columns that any table may have, what trainers alone mind is a
    warning. All of the file is read before the first chunk, and once more for the chunks.
    """

    def __init__(
        self, path: str, layout: Layout, source: Source, head: Head, sidecar: Sidecar | None, *, is_guess: bool = False
    ) -> None:
        self.path = path
        self.name = layout.name
        self.rows = 0
        self.findings: Sequence[Finding] = ()
        self._layout = layout
        self._source = source
        self._head = head
        self._sidecar = sidecar
        self._is_guess = is_guess
        self._found: _Survey | None = None

    @property
    def entries(self) -> list[lineage.Entry]:
        """The lineage of the sidecar, where one lies beside the file."""
        return self._sidecar.entries if self._sidecar else []

    @property
    def shards(self) -> list[Shard]:
        """The files that the training rows stand in."""
        return self._source.shards

    @property
    def tests(self) -> Sequence[tuple[str, str, str]]:
        """(name, severity, what) of each test of the form."""
        names = {*self._source.tests, *self._layout.tests} - ({"wrong-file-kind"} if self._is_guess else set())
        return [(name, WARNING if self._is_mild(name) else severity, what) for name, severity, what in told(names)]

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
        """Tables of about `rows` pairs, whole queries each, with the `place` of each pair in the file.

        Raises PairmineError where no row of the file can be read.
        """
        found = self._survey()
        self.rows = 0
        tables = (table_of(groups, found.columns) for groups, _ in self._groups(Notes(muted=True)) if groups)
        for table in whole_queries(tables, found.order, rows):
            kept = without_repeats(table) if self._layout.crossed else table
            self.rows += kept.num_rows
            pairs = kept.drop_columns([NUMBER])
            yield pa.table(list(map(schema.prune, pairs.columns)), schema=pairs.schema).unify_dictionaries()
        if not self.rows:
            yield table_of([], found.columns).drop_columns([NUMBER])

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record this input; to be called when all of it was read."""
        digest = None if self.entries else _digest(self._source.inputs)
        record.add_input(role, self.entries, path=self.path, sha256=digest, rows=self.rows)

    def _survey(self) -> _Survey:
        """Read all of it, and keep what is wrong with it."""
        if self._found is None:
            notes = Notes()
            facts = self._facts(notes)
            if self._sidecar and self._sidecar.rows != facts.read:
                beside, self._sidecar = self._sidecar, None
                notes = Notes()
                notes.add("sidecar-differs", beside.path, f"{beside.rows:,} rows, and {facts.read:,} here")
                facts = self._facts(notes)
            keys = np.concatenate([np.empty(0, np.int64), *facts.keys])
            if not len(keys) and notes.first():
                raise self._unreadable(facts.read, notes)
            known = _EXTRAS | self._source.columns | (self._sidecar.columns if self._sidecar else {})
            columns = {name: known[name] for name in known if name in facts.names}
            if not self._is_guess:
                note_kind(self.name, self._source.shards, notes)
            self._found = _Survey(facts.read, Order(keys), columns)
            self.findings = [self._judged(found) for found in notes.findings(facts.read, f"{self._source.unit}s")]
        return self._found

    def _is_mild(self, name: str) -> bool:
        """Whether the fault `name` is one only if the file is for the trainer that it was taken for."""
        return self._is_guess and FAULTS[name].severity == ERROR and name in ONLY_FOR_TRAINERS

    def _judged(self, found: Finding) -> Finding:
        if not self._is_mild(found.name):
            return found
        return replace(found, severity=WARNING, remedy=f"{found.remedy}; --form {self.name} makes it an error")

    def _facts(self, notes: Notes) -> _Facts:
        facts = _Facts()
        for groups, facts.read in self._groups(notes):
            facts.keys.append(np.fromiter((hash(group.query_id) for group in groups), np.int64, len(groups)))
            note_misread(self.name, groups, notes)
            facts.names.update(name for group in groups if group.extra for name in group.extra)
            if self._layout.crossed:
                wholes = [str(hash((group.query_id, *group.texts, *(group.ids or ())))) for group in groups]
                for again in np.flatnonzero(facts.wholes.add(wholes).repeated).tolist():
                    notes.add("repeated-rows", groups[again].place)
        return facts

    def _unreadable(self, rows: int, notes: Notes) -> PairmineError:
        first = notes.first()
        why = f"; {first[0]} at {first[1].place}: {first[1].note}" if first else ""
        return PairmineError(
            f"{self.path}: none of {rows:,} {self._source.unit}s can be read as {self.name}{why}; "
            "if it is another format, name it: pairmine check FILE --form NAME"
        )

    def _groups(self, notes: Notes) -> Iterator[tuple[list[Group], int]]:
        """The training rows of each batch that can be used, and how many rows were read by then."""
        reader = _Reader(self._layout, self._head, self._sidecar, notes)
        read = 0
        for batch in self._source.batches(notes):
            groups = list(reader.groups(batch))
            read += len(batch.rows)
            self._source.complete(groups, batch, notes)
            for group in groups:
                if group.query_id is None:
                    group.query_id = content_id(group.query or "")
            yield groups, read
        reader.optional.tell(notes)


class _Reader:
    """Makes training rows of the rows of a file, in their order; those that can be used are numbered."""

    def __init__(self, layout: Layout, head: Head, sidecar: Sidecar | None, notes: Notes) -> None:
        self.optional = _Optional(layout.optional)
        self._at = At(notes)
        self._parse = layout.prepare(head, notes)
        self._sidecar = sidecar
        self._beside = sidecar.read() if sidecar else iter(())
        self._number = 0

    def groups(self, batch: Batch) -> Iterator[Group]:
        """The training rows of `batch`, each with what the sidecar knows of it."""
        at = self._at
        for place, row in enumerate(batch.rows):
            beside = next(self._beside, None)
            if row is BROKEN:
                continue
            at.place = batch.place(place)
            self.optional.look(row, at.place)
            group = self._parse(row, at)
            if group is None:
                continue
            group.number, group.place = self._number, at.place
            self._number += 1
            if beside is not None and self._sidecar is not None:
                self._sidecar.join(group, beside, at)
            yield group


class _Optional:
    """Counts the rows that have a field and those that lack it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._counts = {name: [0, 0] for name in names}
        self._places: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in names}

    def look(self, row: Row, place: str) -> None:
        """Take in one row."""
        for name, counts in self._counts.items():
            has = name in row
            counts[has] += 1
            if counts[has] <= MOST_EXAMPLES:
                self._places[name][has].append(place)

    def tell(self, notes: Notes) -> None:
        """Note the rows that are unlike most others."""
        for name, (lacking, having) in self._counts.items():
            if lacking and having:
                is_extra = having < lacking
                note = f'has "{name}"' if is_extra else f'no "{name}"'
                notes.add_many("keys-vary", min(lacking, having), self._places[name][is_extra], note)


def _digest(shards: Sequence[Shard]) -> str:
    if len(shards) == 1:
        return shards[0].sha256()
    whole = sha256()
    for shard in shards:
        whole.update(f"{shard.name.rpartition('/')[2]} {shard.sha256()}\n".encode())
    return whole.hexdigest()
