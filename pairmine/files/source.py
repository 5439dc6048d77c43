"""Inputs as streams of canonical tables: a corpus, a query file, a recipe's rows, a pair set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import convert, lineage
from pairmine.files.blocks import LastQuery, check_texts, check_together, contiguous_order
from pairmine.files.columns import DOCUMENT, PAIR, QUERY, Mapped, Wanted, listed, map_columns, names_one_of
from pairmine.files.locations import STDIN, Shard, StandardInput, find_shards
from pairmine.files.raw import MAX_CELLS, MAX_COLUMNS, Raw, check_fields, read_ipc_stream, read_raw, too_many_columns
from pairmine.files.seen import SeenIds
from pairmine.files.watch import Watch, rows_ahead, watched

if TYPE_CHECKING:
    from pairmine.files.beir import Beir

Say = Callable[[str], None]
CHUNK_ROWS = 65_536
CHUNK_CELLS = CHUNK_ROWS * 256
CHUNK_BYTES = 512 << 20
_FIRST_BYTES = 8 << 20
_IDENTITIES = {"id", "query_id", "doc_id"}


def _no_remark(raw: Raw, mapped: Mapped) -> str | None:
    return None


@dataclass(frozen=True)
class Role:
    """What an input is read as: its columns, the conversion of a batch, whether ids must be unique.

    Where they must, a row that repeats an id with its text is left out, unless `keeps_repeats`.
    `remark` is what a file's columns alone give reason to say.
    """

    name: str
    wanted: Sequence[Wanted]
    to_table: Callable[[Raw, Mapped], pa.Table]
    unique: bool
    may_be_empty: bool = False
    keeps_repeats: bool = False
    remark: Callable[[Raw, Mapped], str | None] = _no_remark


class ColumnsChanged(Exception):
    """Rows far down have columns that the first ones do not show; from now on `Source.tables` knows them."""


class Source:
    """An input that yields canonical tables, as often as asked (a pipe is kept in a temporary file for that).

    Once read, `rows` counts the rows that it gave, `repeats` those left out as repeats of an id with its text, and
    `shard_rows` the rows of each file. With `compares_ids` off, whoever reads looks for one id with two texts.
    """

    def __init__(
        self,
        path: str,
        role: Role,
        overrides: Mapping[str, str],
        say: Say,
        *,
        replay: bool = False,
        opened: Source | None = None,
        shards: Sequence[Shard] = (),
        fields: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.role = role
        self.name = StandardInput.name if path == STDIN else path
        self.rows = 0
        self.repeats = 0
        self.shard_rows: dict[str, int] = {}
        self.compares_ids = True
        self.watch: Watch | None = None
        self._overrides = overrides
        self._say = say
        self._announced = False
        self._place = self.name
        self._mapped: Mapped | None = None
        self._schema: pa.Schema | None = None
        self._entries: list[lineage.Entry] = []
        self._is_ours = False
        self._is_marked: bool | None = None
        self._digests: list[str] = []
        self._spools: list[Any] = []
        self._pipe: StandardInput | None = None
        self._shards: list[Shard] = []
        if fields:
            check_fields(fields)
        if shards:
            self._shards = list(shards)
        elif opened is not None:
            self._shards, self._spools = opened._shards, opened._spools
        elif path == STDIN:
            self._pipe = StandardInput()
            if fields or replay or not self._pipe.is_arrow_stream:
                self._keep(0, *self._pipe.spool(fields))
                self._pipe = None
        else:
            self._shards = find_shards(path, fields)

    @classmethod
    def of_shards(cls, shards: Sequence[Shard], role: Role, overrides: Mapping[str, str]) -> Self:
        """The same reader for some of a folder's files; it says nothing."""
        source = cls.__new__(cls)
        Source.__init__(source, shards[0].name, role, overrides, lambda line: None, shards=shards)
        return source

    def rows_ahead(self) -> int | None:
        """How many rows there are to read, None where that cannot be told beforehand."""
        return rows_ahead(self._shards)

    def tables(self, *, look_ahead: bool = True) -> Iterator[pa.Table]:
        """The rows in batches that all have the same columns; an id that comes again with its text is read once.

        What can only be known after reading on (a column that is null in the first million rows) is
        looked for first, so that a bad line far down is told before slow work starts. With
        `look_ahead` off that is put off: `ColumnsChanged` then says that all tables so far want to
        be forgotten, and the next call starts over.
        """
        if self._schema is None and self._varies:
            if look_ahead:
                self._learn_columns()
            else:
                yield from self._hopefully()
                return
        for table in self._counted(self.batches()):
            if self._schema is None:
                yield table
            else:
                yield from _widened(table, self._schema)

    def read(self) -> pa.Table:
        """All rows as one table."""
        table = self.read_while(lambda table: True)
        assert table is not None
        return table

    def read_while(self, fits: Callable[[pa.Table], bool]) -> pa.Table | None:
        """All rows as one table; None once one of the tables that it is made of does not fit any more."""
        tables: list[pa.Table] = []
        known: pa.Schema | None = None
        for table in self.batches():
            known = self._with_columns_of(table, known)
            tables.append(table)
            if not fits(table):
                return None
        self.rows = sum(table.num_rows for table in tables)
        return pa.concat_tables([schema.cast_table(table, known) for table in tables])

    def survey(self) -> Iterator[pa.Table]:
        """The rows as `each` gives them; once all are read, `tables` knows their columns and does not look ahead."""
        known: pa.Schema | None = None
        for table in self.each():
            known = self._with_columns_of(table, known)
            yield table
        self._schema = known

    def each(self) -> Iterator[pa.Table]:
        """The rows as they are read, once: in text files and folders the columns may differ from table to table."""
        yield from self._counted(self.batches())

    def _counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables; `rows` becomes what the reading that went furthest gave: a later one may be broken off."""
        rows = 0
        for table in tables:
            rows += table.num_rows
            self.rows = max(self.rows, rows)
            yield table

    def _learn_columns(self) -> None:
        known: pa.Schema | None = None
        for table in self.batches():
            known = self._with_columns_of(table, known)
        self._schema = known

    def _hopefully(self) -> Iterator[pa.Table]:
        """The tables while their columns stay those of the first ones."""
        tables = self.batches()
        first = list(_up_to(tables, _FIRST_BYTES))
        known: pa.Schema | None = None
        for table in first:
            known = self._with_columns_of(table, known)
        for table in self._counted(chain(_emptied(first), tables)):
            if self._with_columns_of(table, known) != known:
                self._learn_columns()
                raise ColumnsChanged
            yield from _widened(table, known)

    def _with_columns_of(self, table: pa.Table, known: pa.Schema | None) -> pa.Schema:
        try:
            found = schema.union_schema([table.schema] if known is None else [known, table.schema])
        except PairmineError as error:
            raise PairmineError(f"{self._place}: {error}; write all of them as one type") from None
        if len(found) > MAX_COLUMNS:
            raise PairmineError(f"{self._place}: {too_many_columns(len(found))}")
        return found

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record this input; to be called when all of it was read."""
        digest = None if self._entries or not self._shards else self._digest()
        record.add_input(role, self._entries, path=self.path, sha256=digest, rows=self.rows)

    @property
    def entries(self) -> list[lineage.Entry]:
        """The lineage that came with the input; of a pipe only after its last batch."""
        return self._entries

    def take_entries(self, entries: list[lineage.Entry]) -> None:
        """Record the lineage that came with the input, where it was read before."""
        self._entries = entries

    def look_at_first(self) -> None:
        """Read the first rows, for what they tell of columns and of how the input came to be."""
        raw = next(self.raw(keep=False), None)
        if raw is not None:
            self._map(raw)

    @property
    def is_ours(self) -> bool:
        """Whether pairmine wrote it, as far as it was read."""
        return self._is_ours

    def take_as_read(self, rows: int, repeats: int, digests: Sequence[str]) -> None:
        """Record what reading it gave that others did; `digests` are the SHA-256 of its files, none to take them."""
        self.rows, self.repeats = rows, repeats
        self._digests = list(digests)
        self._announced = True

    @property
    def digests(self) -> Sequence[str]:
        """The SHA-256 of its files, where others have taken them."""
        return self._digests

    @property
    def shards(self) -> Sequence[Shard]:
        """The files that it is read from."""
        return self._shards

    @property
    def overrides(self) -> Mapping[str, str]:
        """The columns of the input that the user named: canonical name to the file's."""
        return self._overrides

    @property
    def names(self) -> Mapping[str, str]:
        """The columns of the input by their canonical names, once some of it was read."""
        return {} if self._mapped is None else self._mapped.names

    @property
    def kind(self) -> str:
        """The format that it is read in: parquet, arrow, jsonl, csv, tsv, lines or fields."""
        return self._shards[0].kind if self._shards else "arrow"

    @property
    def files(self) -> list[str] | None:
        """The files on this machine that it is read from; None where one of them is a copy made for this run."""
        is_copied = self._pipe is not None or self._spools or any(shard.filesystem for shard in self._shards)
        return None if is_copied else [shard.path for shard in self._shards]

    @property
    def _is_text(self) -> bool:
        return any(shard.kind not in ("parquet", "arrow") for shard in self._shards)

    @property
    def _varies(self) -> bool:
        """Whether columns and types may differ from batch to batch."""
        return self._is_text or len(self._shards) > 1

    def _digest(self) -> str:
        if len(self._shards) == 1:
            return self._shards[0].sha256()
        digest = sha256()
        digests = self._digests or (shard.sha256() for shard in self._shards)
        for shard, each in zip(self._shards, digests, strict=True):
            digest.update(f"{shard.name.rpartition('/')[2]} {each}\n".encode())
        return digest.hexdigest()

    def raw(self, *, keep: bool = True) -> Iterator[Raw]:
        """The rows as they stand. A remote file is copied here first; with `keep` off it is read from there."""
        self._read_mark()
        batches = [read_ipc_stream(self._pipe.name, self._pipe.stream)] if self._pipe else self._read_shards(keep)
        for raw in chain.from_iterable(batches):
            found = lineage.decode(raw.table.schema.metadata, raw.name)
            if found and not self._entries:
                self._entries = found
            self._is_ours |= raw.is_ours or lineage.KEY in (raw.table.schema.metadata or {})
            yield raw

    def _read_mark(self) -> None:
        """Take the lineage of a folder of parts, which have none themselves."""
        is_folder = bool(self._shards) and self._shards[0].name != self.path
        if self._is_marked is not None or self._pipe is not None or not is_folder:
            return
        from pairmine.files.sharded import read_mark

        mark = read_mark(self.path)
        self._is_marked = mark is not None
        if mark is None:
            return
        there = {shard.name.rpartition("/")[2] for shard in self._shards}
        if gone := [name for name in mark["files"] if name not in there]:
            raise PairmineError(
                f"{self.path}: {gone[0]} is missing, one of the {len(mark['files']):,} parts that were written there; "
                "put it back, or run again what wrote them"
            )
        self._entries, self._is_ours = mark["lineage"], True

    def _read_shards(self, keep: bool) -> Iterator[Iterator[Raw]]:
        for at, shard in enumerate(self._shards):
            if keep and shard.filesystem is not None:
                self._keep(at, *shard.fetched())
            yield watched(self._shards[at], read_raw(self._shards[at]), self.watch)

    def _keep(self, at: int, shard: Shard, spool: Any) -> None:
        self._shards[at : at + 1] = [shard]
        self._spools.append(spool)

    def batches(self) -> Iterator[pa.Table]:
        """The rows as they come; in text files and folders the columns may differ from table to table."""
        seen = SeenIds() if self.role.unique and self.compares_ids else None
        rows, repeats = 0, 0
        empty: pa.Table | None = None
        self.shard_rows = {}
        for raw in self.raw():
            self._place = raw.where(0) if raw.table.num_rows else raw.name
            table = self.role.to_table(raw, self._map(raw))
            if seen is not None and table.num_rows:
                repeated = self._repeats_in(table, raw, seen)
                if repeated.any() and not self.role.keeps_repeats:
                    table = table.filter(pa.array(~repeated))
                    repeats += int(repeated.sum())
            rows += table.num_rows
            self.shard_rows[raw.name] = self.shard_rows.get(raw.name, 0) + table.num_rows
            if table.num_rows:
                yield table
            else:
                empty = table
        if not rows:
            if empty is None or not self.role.may_be_empty:
                raise PairmineError(f"{self.name}: no rows in it; a {self.role.name} needs at least one, name another")
            yield empty
        self.repeats = repeats
        if repeats:
            what = "an id with the same text" if self._mapped and "id" in self._mapped.names else "a text"
            self._tell(f"{self.name}: {repeats:,} rows repeat {what}; each is read once")
        self._announced = True

    def _map(self, raw: Raw) -> Mapped:
        if self._mapped is None:
            where = raw.where(0) if raw.table.num_rows and self._is_text else raw.name
            hint = _HINTS.get(self.kind, "")
            names = raw.table.column_names
            texts = convert.text_columns(raw.table)
            self._mapped = map_columns(names, self.role.wanted, self._overrides, where, hint, texts=texts)
            if renamed := self._mapped.renamed:
                self._tell(f"{self.name}: " + ", ".join(f"{ours} from {theirs}" for ours, theirs in renamed.items()))
            if remark := self.role.remark(raw, self._mapped):
                self._tell(f"{self.name}: {remark}")
            return self._mapped
        return self._fitting(self._mapped, raw)

    def _fitting(self, mapped: Mapped, raw: Raw) -> Mapped:
        """`mapped` for a later batch, whose columns may differ in a text format or in another shard."""
        here = raw.table.column_names
        if mapped.names.keys() == {column.name for column in self.role.wanted} and set(mapped.names.values()) <= set(
            here
        ):
            return mapped
        by_name = {column.name: column for column in self.role.wanted}
        for name, found in mapped.names.items():
            if found not in here and (by_name[name].required or name in _IDENTITIES):
                raise PairmineError(convert.absent_line(raw, 0, name, found))
        spare = [name for name in here if name not in mapped.names.values()]
        open_still = [column for column in self.role.wanted if column.name not in mapped.names]
        late = map_columns(spare, open_still, {}, raw.name).names
        if identity := next((name for name in late if name in _IDENTITIES), None):
            raise PairmineError(
                f'{raw.where(0)}: rows from here on have "{late[identity]}" and earlier ones have none; '
                "give every row an id, or none"
            )
        return Mapped({**{name: found for name, found in mapped.names.items() if found in here}, **late})

    def _tell(self, line: str) -> None:
        if not self._announced:
            self._say(line)

    def _repeats_in(self, table: pa.Table, raw: Raw, seen: SeenIds) -> np.ndarray:
        """Which rows repeat the id and the text of an earlier one, (rows,) bool."""
        titles = pc.fill_null(table["title"], "") if "title" in table.column_names else None
        contents = [
            None if each is None else each.cast(pa.large_binary()).to_pylist() for each in (titles, table["text"])
        ]
        found = seen.add(table["id"].to_pylist(), contents)
        if found.conflict:
            at, earlier = found.conflict
            place, text = self._place_of(earlier)
            if text is None or text == table["id"][at].as_py():
                raise PairmineError(
                    f'{raw.where(at)}: id "{table["id"][at]}" stands at {place} with another text; '
                    "give each document an id of its own, or drop the id column to have ids made from the texts"
                )
        return found.repeated

    def _place_of(self, number: int) -> tuple[str, str | None]:
        """Where the row with this number (from 0) stands, read again from the start; a pipe cannot be."""
        if self._pipe is not None:
            return f"row {number + 1}", None
        for raw in self.raw():
            if number < raw.table.num_rows:
                table = self.role.to_table(raw, self._map(raw))
                return raw.where(number), table["id"][number].as_py()
            number -= raw.table.num_rows
        raise AssertionError("a row that was read is not in the file any more")


class PairSource(Source):
    """A pair set: canonical columns, rows of one query together, one text to a document.

    The last is checked in files from elsewhere, unless `compares_texts` is off: in the whole table by `read`, in each
    table by `chunks`.
    """

    compares_texts = True

    def read(self) -> pa.Table:
        """All rows as one table; rows of a query that stand apart are brought together at its first place."""
        table = schema.as_pairs(super().read()).unify_dictionaries()
        if self.compares_texts and not self._is_ours:
            check_texts(table, self.name)
        order = contiguous_order(table["query_id"])
        if order is not None:
            self._say(f"{self.name}: rows of one query stood apart; brought together")
            table = table.take(pa.array(order))
        return table

    def chunks(self, rows: int = CHUNK_ROWS, *, unified: bool = True) -> Iterator[pa.Table]:
        """Tables of about `rows` rows, or fewer long ones, each with whole queries; a query in two places is an error.

        Without `unified` the texts may come in several dictionaries, which saves reading all of them once more.
        """
        done = SeenIds()
        pending: list[pa.Table] = []
        last, first, size = LastQuery(), 0, 0
        for table in self.tables():
            pending.append(table)
            last.add(table["query_id"])
            cut, size = last.start, size + table.nbytes
            is_full = size >= CHUNK_BYTES or last.rows >= min(rows, CHUNK_CELLS // max(table.num_columns, 1))
            if not cut or not is_full:
                continue
            joined = pa.concat_tables(pending)
            yield self._checked(joined.slice(0, cut), done, first, unified)
            pending, size = [joined.slice(cut)], 0
            first += cut
            last.cut()
        if pending:
            yield self._checked(pa.concat_tables(pending), done, first, unified)

    def _checked(self, table: pa.Table, done: SeenIds, first: int, unified: bool) -> pa.Table:
        check_together(table, done, self.name)
        pairs = schema.as_pairs(table)
        pairs = pa.table([schema.prune(column) for column in pairs.columns], schema=pairs.schema)
        if unified:
            pairs = pairs.unify_dictionaries()
        if self.compares_texts and not self._is_ours:
            check_texts(pairs, self.name, first)
        return pairs


_HEADED_HINT = "; its first line must name the columns, or --columns where it is no header"
_HINTS = {
    "csv": _HEADED_HINT,
    "tsv": _HEADED_HINT,
    "lines": "; where a line holds several fields, --columns names them",
}

Columns = Mapping[str, str | None]
"""Which column of the file is which of ours, where the user said so: canonical name to the file's."""


def open_documents(
    path: str,
    say: Say,
    *,
    replay: bool = False,
    columns: Columns | None = None,
    fields: Sequence[str] = (),
    **more: str | None,
) -> Source:
    """A corpus; a BEIR folder is read for its corpus. Columns are named in `columns` or as id=, text=, title=.

    `fields` are the columns of a table of text without a header, `_` for one to be left out, "..." at
    the end for whatever follows.
    """
    beir = _beir_without(path, fields)
    return Source(beir.corpus if beir else path, _CORPUS_ROLE, _given(columns, more), say, replay=replay, fields=fields)


def open_queries(
    path: str, say: Say, *, columns: Columns | None = None, fields: Sequence[str] = (), **more: str | None
) -> Source:
    """A query file; a BEIR folder is read for its queries. `fields` as for `open_documents`."""
    role = Role("query file", QUERY, convert.documents, unique=True)
    beir = _beir_without(path, fields)
    return Source(beir.queries if beir else path, role, _given(columns, more), say, fields=fields)


def open_rows(
    path: str,
    wanted: Sequence[Wanted],
    say: Say,
    *,
    fields: Sequence[str] = (),
    rest: str | None = None,
    **columns: str | None,
) -> Source:
    """Rows with a recipe's own columns. `fields` as for `open_documents`.

    `rest` is a column that all others stand for where there is none of its name; the reader says so.
    """

    def remark(raw: Raw, mapped: Mapped) -> str | None:
        others = [name for name in raw.table.column_names if name not in mapped.names.values()]
        is_made = rest is not None and rest not in mapped.names and others
        return f"{rest} from {listed(others)}" if is_made else None

    role = Role("table", wanted, lambda raw, mapped: convert.rows(raw, mapped, wanted), unique=False, remark=remark)
    return Source(path, role, _given(columns), say, fields=fields)


def open_pairs(
    path: str,
    say: Say,
    *,
    split: str | None = None,
    positive_from: float | None = None,
    replay: bool = False,
    columns: Columns | None = None,
    fields: Sequence[str] = (),
    **more: str | None,
) -> PairSource:
    """A pair set: ours, a table with one pair to a row, trainer files of several texts to a row, or a BEIR folder.

    The judgments of a BEIR folder are positives from `positive_from` up, without it above 0. `fields` as
    for `open_documents`.
    """
    from pairmine.files.beir import BeirPairs

    given = _given(columns, more)
    if beir := _beir_without(path, fields):
        if given:
            raise PairmineError(f"{path}: is a BEIR folder, whose columns are known; leave out --{_flag(given)}-column")
        return BeirPairs(beir, split, say, positive_from=positive_from)
    if split:
        raise PairmineError(f"{path}: --split {split} is for BEIR folders, and this is none")
    if positive_from is not None:
        raise PairmineError(f"{path}: --positive-from is for the judgments of BEIR folders, and this is none")
    return PairSource(path, _PAIR_ROLE, given, say, replay=replay, fields=fields)


def _beir_without(path: str, fields: Sequence[str]) -> Beir | None:
    from pairmine.files.beir import find_beir

    beir = find_beir(path)
    if beir and fields:
        raise PairmineError(f"{path}: is a BEIR folder, whose columns are known; leave out --columns")
    return beir


def open_either(path: str, say: Say, *, pairs: bool = False, **columns: str | None) -> Source:
    """A pair set where the file has columns for queries and documents, else a corpus, with the rows that repeat.

    With `pairs` any name of such columns will do, as in every file that can be nothing but a pair set.
    """
    from pairmine.files.beir import find_beir

    role = Role("corpus", DOCUMENT, convert.documents, unique=True, keeps_repeats=True)
    if beir := find_beir(path):
        return Source(beir.corpus, role, _given(columns), say)
    opened = Source(path, ANY, {}, say, replay=True)
    first = next(opened.raw(), None)
    names = {name.casefold() for name in first.table.column_names} if first else set()
    given = _given(columns)
    sides = (("query", "query_id"), ("document", "doc_id"))
    could_be = all(names_one_of(sorted(names), PAIR, *side) for side in sides)
    if (pairs and could_be) or (names & _QUERY_NAMES and names & _DOCUMENT_NAMES):
        if given:
            raise PairmineError(f"{path}: is a pair set; --{_flag(given)}-column is for a corpus")
        return PairSource(path, _PAIR_ROLE, {}, say, opened=opened)
    return Source(path, role, given, say, opened=opened)


def open_texts(path: str, say: Say, *, queries: bool = False, **columns: str | None) -> Source:
    """A pair set where the file has columns for queries and documents, else a corpus, or with `queries` a query file.

    A BEIR folder is read for its corpus or its queries.
    """
    from pairmine.files.beir import find_beir

    opener = open_queries if queries else open_documents
    if find_beir(path):
        return opener(path, say, columns=columns)
    either = open_either(path, say)
    if isinstance(either, PairSource):
        if given := _given(columns):
            what = "a query file" if queries else "a corpus"
            raise PairmineError(f"{path}: is a pair set; --{_flag(given)}-column is for {what}")
        return either
    role = Role("query file", QUERY, convert.documents, unique=True) if queries else _CORPUS_ROLE
    return Source(path, role, _given(columns), say, opened=either)


_QUERY_NAMES = {"query_id", "query", "anchor", "sentence1", "sent0"}
_DOCUMENT_NAMES = {"doc_id", "document", "positive", "pos", "sentence2", "sent1"}


def _pairs(raw: Raw, mapped: Mapped) -> pa.Table:
    if convert.is_wide(raw, mapped):
        return convert.wide_pairs(raw, mapped)
    return convert.long_pairs(raw, mapped)


_CORPUS_ROLE = Role("corpus", DOCUMENT, convert.documents, unique=True)
_PAIR_ROLE = Role("pair set", PAIR, _pairs, unique=False, may_be_empty=True, remark=convert.label_remark)
ANY = Role("table", (), lambda raw, mapped: raw.table, unique=False)


def _given(*columns: Columns | None) -> dict[str, str]:
    return {name: found for some in columns if some for name, found in some.items() if found}


def _flag(given: Mapping[str, str]) -> str:
    return next(iter(given)).replace("_", "-")


def _widened(table: pa.Table, known: pa.Schema) -> Iterator[pa.Table]:
    """`table` with the columns of `known`, in pieces where these are so many that they make it much larger."""
    rows = table.num_rows if len(known) <= 2 * table.num_columns else max(1, MAX_CELLS // len(known))
    if rows >= table.num_rows:
        yield schema.cast_table(table, known)
        return
    for start in range(0, table.num_rows, rows):
        yield schema.cast_table(table.slice(start, rows), known)


def _up_to(tables: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """The first tables, until they come to `size` bytes."""
    for table in tables:
        yield table
        size -= table.nbytes
        if size <= 0:
            return


def _emptied(tables: list[pa.Table]) -> Iterator[pa.Table]:
    """Each of `tables`, let go of when it is passed on."""
    while tables:
        yield tables.pop(0)
