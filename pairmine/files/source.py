"""Inputs as streams of canonical tables: a corpus, a query file, a recipe's rows, a pair set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import convert, lineage
from pairmine.files.columns import DOCUMENT, PAIR, QUERY, Mapped, Wanted, map_columns
from pairmine.files.locations import STDIN, Shard, StandardInput, find_shards
from pairmine.files.raw import Raw, read_ipc_stream, read_raw
from pairmine.files.seen import SeenIds

Say = Callable[[str], None]
CHUNK_ROWS = 65_536


@dataclass(frozen=True)
class Role:
    """What an input is read as: its columns, the conversion of a batch, whether ids must be unique."""

    name: str
    wanted: Sequence[Wanted]
    to_table: Callable[[Raw, Mapped], pa.Table]
    unique: bool
    may_be_empty: bool = False


class Source:
    """An input that yields canonical tables, as often as asked (a pipe is kept in a temporary file for that).

    Text formats are looked through once before the first table, so that a bad line far down is
    told before slow work starts, and so that every table has the same column types.
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
    ) -> None:
        self.path = path
        self.role = role
        self.name = "standard input" if path == STDIN else path
        self.rows = 0
        self._overrides = {name: found for name, found in overrides.items() if found}
        self._say = say
        self._announced = False
        self._mapped: Mapped | None = None
        self._schema: pa.Schema | None = None
        self._entries: list[lineage.Entry] = []
        self._spool: Any = None
        self._pipe: StandardInput | None = None
        self._shards: list[Shard] = []
        if opened is not None:
            self._shards, self._spool = opened._shards, opened._spool
        elif path == STDIN:
            self._pipe = StandardInput()
            if replay or not self._pipe.is_arrow_stream:
                shard, self._spool = self._pipe.spool()
                self._shards, self._pipe = [shard], None
        else:
            self._shards = find_shards(path)

    def tables(self) -> Iterator[pa.Table]:
        """The rows in batches, in order; an id that comes again with the same content is read once."""
        if self._schema is None and self._is_text:
            seen = []
            for table in self._converted():
                seen.append(table.schema)
            self._schema = schema.union_schema(seen)
        self.rows = 0
        for table in self._converted():
            self.rows += table.num_rows
            yield table if self._schema is None else schema.cast_table(table, self._schema)

    def read(self) -> pa.Table:
        """All rows as one table."""
        tables = list(self._converted())
        joined = schema.union_schema([table.schema for table in tables])
        self.rows = sum(table.num_rows for table in tables)
        return pa.concat_tables([schema.cast_table(table, joined) for table in tables])

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record this input; to be called when all of it was read."""
        digest = None if self._entries or not self._shards else self._digest()
        record.add_input(role, self._entries, path=self.path, sha256=digest, rows=self.rows)

    @property
    def entries(self) -> list[lineage.Entry]:
        """The lineage that came with the input; of a pipe only after its last batch."""
        return self._entries

    @property
    def _is_text(self) -> bool:
        return any(shard.kind in ("jsonl", "csv", "tsv") for shard in self._shards)

    def _digest(self) -> str:
        if len(self._shards) == 1:
            return self._shards[0].sha256()
        digest = sha256()
        for shard in self._shards:
            digest.update(f"{shard.name.rpartition('/')[2]} {shard.sha256()}\n".encode())
        return digest.hexdigest()

    def _raw(self) -> Iterator[Raw]:
        if self._pipe is not None:
            yield from read_ipc_stream(self._pipe.name, self._pipe.stream)
            return
        for shard in self._shards:
            yield from read_raw(shard)

    def _converted(self) -> Iterator[pa.Table]:
        seen = SeenIds() if self.role.unique else None
        rows, repeats = 0, 0
        empty: pa.Table | None = None
        for raw in self._raw():
            self._take_lineage(raw)
            table = self.role.to_table(raw, self._map(raw))
            if seen is not None and table.num_rows:
                table, dropped = self._first_of_each(table, raw, seen)
                repeats += dropped
            rows += table.num_rows + 0
            if table.num_rows:
                yield table
            else:
                empty = table
        if not rows and not repeats:
            if empty is None or not self.role.may_be_empty:
                raise PairmineError(f"{self.name}: no rows in it; a {self.role.name} needs at least one")
            yield empty
        if repeats:
            self._tell(f"{self.name}: {repeats} rows repeat an id with the same text; each id is read once")
        self._announced = True

    def _take_lineage(self, raw: Raw) -> None:
        found = lineage.decode(raw.table.schema.metadata, raw.name)
        if found and not self._entries:
            self._entries = found

    def _map(self, raw: Raw) -> Mapped:
        if self._mapped is None:
            where = raw.where(0) if raw.table.num_rows and self._is_text else raw.name
            self._mapped = map_columns(raw.table.column_names, self.role.wanted, self._overrides, where)
            if renamed := self._mapped.renamed:
                self._tell(f"{self.name}: " + ", ".join(f"{ours} from {theirs}" for ours, theirs in renamed.items()))
            return self._mapped
        return self._fitting(self._mapped, raw)

    def _fitting(self, mapped: Mapped, raw: Raw) -> Mapped:
        """`mapped` for a later batch, whose columns may differ in a text format."""
        here = set(raw.table.column_names)
        absent = [name for name, found in mapped.names.items() if found not in here]
        by_name = {column.name: column for column in self.role.wanted}
        for name in absent:
            if by_name[name].required or name == "id":
                raise PairmineError(convert.absent_line(raw, 0, name, mapped.names[name]))
        late = [
            column.name
            for column in self.role.wanted
            if column.name not in mapped.names and column.name in here and column.name == "title"
        ]
        names = {name: found for name, found in mapped.names.items() if found in here}
        return Mapped({**names, **{name: name for name in late}})

    def _tell(self, line: str) -> None:
        if not self._announced:
            self._say(line)

    def _first_of_each(self, table: pa.Table, raw: Raw, seen: SeenIds) -> tuple[pa.Table, int]:
        content = schema.document_text(table)
        found = seen.add(table["id"].to_pylist(), content.to_pylist())
        if found.conflict:
            at, earlier = found.conflict
            place, text = self._place_of(earlier)
            if text is None or text[0] == table["id"][at].as_py():
                raise PairmineError(
                    f'{raw.where(at)}: id "{table["id"][at]}" stands at {place} with another text; '
                    "give each document an id of its own, or drop the id column to have ids made from the texts"
                )
        if not found.repeated.any():
            return table, 0
        return table.filter(pa.array(~found.repeated)), int(found.repeated.sum())

    def _place_of(self, number: int) -> tuple[str, tuple[str] | None]:
        """Where the row with this number (from 0) stands, read again from the start; a pipe cannot be."""
        if self._pipe is not None:
            return f"row {number + 1}", None
        for raw in self._raw():
            if number < raw.table.num_rows:
                table = self.role.to_table(raw, self._map(raw))
                return raw.where(number), (table["id"][number].as_py(),)
            number -= raw.table.num_rows
        raise AssertionError("a row that was read is not in the file any more")


class PairSource(Source):
    """A pair set: canonical columns, rows of one query together."""

    def read(self) -> pa.Table:
        """All rows as one table; rows of a query that stand apart are brought together at its first place."""
        table = schema.as_pairs(super().read())
        order = contiguous_order(table["query_id"])
        if order is not None:
            self._tell(f"{self.name}: rows of one query stood apart; brought together")
            table = table.take(pa.array(order))
        return table.unify_dictionaries()

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
        """Tables of about `rows` rows, each with whole queries; told apart rows of one query are an error."""
        done = SeenIds()
        pending: list[pa.Table] = []
        count = 0
        for table in self.tables():
            pending.append(table)
            count += table.num_rows
            if count < rows:
                continue
            joined = pa.concat_tables(pending)
            cut = _last_query_start(joined["query_id"])
            if cut:
                yield self._checked(joined.slice(0, cut), done)
                joined = joined.slice(cut)
            pending, count = [joined], joined.num_rows
        if pending:
            yield self._checked(pa.concat_tables(pending), done)

    def _checked(self, table: pa.Table, done: SeenIds) -> pa.Table:
        if table.num_rows:
            ids = query_starts(table["query_id"])[1]
            repeated = done.add(ids, [None] * len(ids)).repeated
            if repeated.any():
                raise PairmineError(
                    f'{self.name}: rows of query "{ids[int(np.argmax(repeated))]}" stand apart; '
                    "run 'pairmine convert' on it first, which brings them together"
                )
        return schema.as_pairs(table).unify_dictionaries()


def query_starts(query_ids: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Row numbers at which a block of one query starts, (blocks,) int64, and the query id of each block."""
    if not len(query_ids):
        return np.empty(0, np.int64), []
    ids = query_ids.combine_chunks() if isinstance(query_ids, pa.ChunkedArray) else query_ids
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1]).astype(np.int64)
    return starts, ids.take(pa.array(starts)).to_pylist()


def _last_query_start(query_ids: pa.ChunkedArray) -> int:
    starts, _ = query_starts(query_ids)
    return int(starts[-1]) if len(starts) else 0


def contiguous_order(query_ids: pa.ChunkedArray) -> np.ndarray | None:
    """The stable order that brings each query's rows together, None where they are."""
    starts, ids = query_starts(query_ids)
    if len(set(ids)) == len(ids):
        return None
    codes = query_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.argsort(codes, kind="stable")


def open_documents(path: str, say: Say, *, replay: bool = False, **overrides: str | None) -> Source:
    """A corpus; a BEIR folder is read for its corpus."""
    from pairmine.files.beir import find_beir

    beir = find_beir(path)
    role = Role("corpus", DOCUMENT, convert.documents, unique=True)
    return Source(beir.corpus if beir else path, role, _given(overrides), say, replay=replay)


def open_queries(path: str, say: Say, **overrides: str | None) -> Source:
    """A query file; a BEIR folder is read for its queries."""
    from pairmine.files.beir import find_beir

    beir = find_beir(path)
    role = Role("query file", QUERY, convert.documents, unique=True)
    return Source(beir.queries if beir else path, role, _given(overrides), say)


def open_rows(path: str, wanted: Sequence[Wanted], say: Say, **overrides: str | None) -> Source:
    """Rows with a recipe's own columns."""
    role = Role("table", wanted, lambda raw, mapped: convert.rows(raw, mapped, wanted), unique=False)
    return Source(path, role, _given(overrides), say)


def open_pairs(
    path: str, say: Say, *, split: str | None = None, replay: bool = False, **overrides: str | None
) -> PairSource:
    """A pair set: ours, a table with one pair to a row, trainer files of several texts to a row, or a BEIR folder."""
    from pairmine.files.beir import BeirPairs, find_beir

    if beir := find_beir(path):
        return BeirPairs(beir, split, say)
    if split:
        raise PairmineError(f"{path}: --split {split} is for BEIR folders, and this is none")
    role = Role("pair set", PAIR, _pairs, unique=False, may_be_empty=True)
    return PairSource(path, role, _given(overrides), say, replay=replay)


def open_either(path: str, say: Say, **overrides: str | None) -> Source:
    """A pair set where the file has columns for queries and documents, else a corpus."""
    from pairmine.files.beir import find_beir

    if find_beir(path):
        return open_documents(path, say, **overrides)
    opened = Source(path, Role("table", (), lambda raw, mapped: raw.table, unique=False), {}, say, replay=True)
    names = {name.casefold() for name in next(opened._raw()).table.column_names}
    if names & _QUERY_NAMES and names & _DOCUMENT_NAMES:
        role = Role("pair set", PAIR, _pairs, unique=False, may_be_empty=True)
        if given := _given(overrides):
            raise PairmineError(f"{path}: is a pair set; --{next(iter(given))}-column is for a corpus")
        return PairSource(path, role, {}, say, opened=opened)
    role = Role("corpus", DOCUMENT, convert.documents, unique=True)
    return Source(path, role, _given(overrides), say, opened=opened)


_QUERY_NAMES = {"query_id", "query", "anchor", "sentence1", "sent0"}
_DOCUMENT_NAMES = {"doc_id", "document", "positive", "pos", "sentence2", "sent1"}


def _pairs(raw: Raw, mapped: Mapped) -> pa.Table:
    if convert.is_wide(raw.table.column_names):
        return convert.wide_pairs(raw, mapped)
    return convert.long_pairs(raw, mapped)


def _given(overrides: Mapping[str, str | None]) -> dict[str, str]:
    return {name: found for name, found in overrides.items() if found}


def first_rows(path: str, rows: int, say: Say) -> pa.Table:
    """The first rows of any file as they stand, without reading the rest."""
    found: list[pa.Table] = []
    for raw in _any(path, say)._raw():
        found.append(raw.table.slice(0, rows - sum(table.num_rows for table in found)))
        if sum(table.num_rows for table in found) >= rows:
            break
    kinds = schema.union_schema([table.schema.remove_metadata() for table in found])
    return pa.concat_tables([schema.cast_table(table, kinds) for table in found])


def describe(path: str, say: Say) -> dict[str, Any]:
    """The columns (name, type, scale of a score), the number of rows and the lineage of any file."""
    source = _any(path, say)
    kinds, rows = [], 0
    for raw in source._raw():
        source._take_lineage(raw)
        kinds.append(raw.table.schema)
        rows += raw.table.num_rows
    columns = []
    for field in schema.union_schema(kinds):
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        column = {"name": field.name, "type": str(plain)}
        if scale := schema.scale_of(field):
            column["scale"] = scale
        columns.append(column)
    return {"rows": rows, "columns": columns, "lineage": source.entries}


def _any(path: str, say: Say) -> Source:
    role = Role("table", (), lambda raw, mapped: raw.table, unique=False)
    return Source(path, role, {}, say)
