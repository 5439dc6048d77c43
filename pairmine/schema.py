"""The tables that every stage reads and writes: columns, units, who fills them.

A *pair set* is one long table with a row per (query, document) pair; rows of one query are
contiguous. A *corpus* holds documents, a *query file* holds queries. Everything that a user
brought along passes through untouched, behind the columns named here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError

POSITIVE = 1
NEGATIVE = 0

TEXT = pa.dictionary(pa.int32(), pa.string())
"""Texts repeat from row to row, so pair sets hold each one once per chunk."""


@dataclass(frozen=True)
class Column:
    """One named column: its Arrow type, whether it may be null, and what it means."""

    name: str
    type: pa.DataType
    nullable: bool
    meaning: str


PAIR_COLUMNS: tuple[Column, ...] = (
    Column("query_id", pa.string(), False, "identity of the query (anchor)"),
    Column("query", TEXT, True, "its text"),
    Column("doc_id", pa.string(), False, "identity of the document"),
    Column("document", TEXT, True, "its text"),
    Column("label", pa.int8(), True, "1 positive, 0 negative, null a candidate not decided yet"),
    Column("grade", pa.float32(), True, "graded similarity or relevance in [0, 1]"),
    Column("origin", pa.string(), False, "who put the row there: given, derive:crops, mine:bm25, fill:random"),
    Column("rank", pa.int32(), True, "rank in the list that it was mined from, from 1"),
    Column("previous_rank", pa.int32(), True, "its rank in an earlier mined set, null where it is new there"),
    Column("source_id", pa.string(), True, "the document that the pair was cut from; never a negative of its query"),
    Column("weight", pa.float32(), True, "training weight"),
    Column("batch", pa.int32(), True, "planned batch"),
)

CORPUS_COLUMNS: tuple[Column, ...] = (
    Column("id", pa.string(), False, "identity of the document"),
    Column("title", pa.large_string(), True, "its title, where there is one"),
    Column("text", pa.large_string(), False, "its text"),
)

QUERY_COLUMNS: tuple[Column, ...] = (
    Column("id", pa.string(), False, "identity of the query"),
    Column("text", pa.large_string(), False, "its text"),
)

SCORE_PREFIX = "score_"
SCALES = ("cosine", "probability", "logit", "bm25", "similarity", "logprob", "rrf", "run", "difference")
"""What a score column may hold: a cosine in [-1, 1]; a probability or a similarity in [0, 1];
a raw model output that crosses zero; a BM25 sum from 0 up; a mean natural
log-probability, 0 at most; a sum of reciprocal ranks, above 0, which only what was ranked has
(no positive does); what another search wrote into its run, of which nothing is known but its order; a
difference of two cosines, in [-2, 2]."""

FEEDBACK = SCORE_PREFIX + "feedback"
"""The mean cosine of a document to the known positives of its query less that to the query's candidates. It goes with
a score of the pair itself, and no command takes it for that unasked."""

_PAIR_TYPES = {column.name: column.type for column in PAIR_COLUMNS}
_LEADING = ("query_id", "query", "doc_id", "document", "label", "grade", "origin", "rank", "previous_rank", "source_id")
_TRAILING = ("weight", "batch")


def score_field(name: str, scale: str) -> pa.Field:
    """The field of `score_<name>`, a nullable float32 whose metadata names its scale."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    return pa.field(SCORE_PREFIX + name, pa.float32(), metadata={"scale": scale})


def scale_of(field: pa.Field) -> str | None:
    """The scale that a score column declares, or None for a column from elsewhere."""
    scale = (field.metadata or {}).get(b"scale")
    return scale.decode() if scale else None


def score_names(schema: pa.Schema) -> list[str]:
    """The score columns of a pair set, in column order, with their prefix."""
    return [name for name in schema.names if name.startswith(SCORE_PREFIX)]


def pair_score_names(schema: pa.Schema) -> list[str]:
    """The score columns that judge a pair by itself: all but `FEEDBACK`."""
    return [name for name in score_names(schema) if name != FEEDBACK]


def pair_type(name: str) -> pa.DataType | None:
    """The type that a pair set's column must have, None where the user decides."""
    if name.startswith(SCORE_PREFIX):
        return pa.float32()
    return _PAIR_TYPES.get(name)


def free_name(name: str, ours: Collection[str], theirs: Collection[str]) -> str:
    """`name` for a user's column, or `other_<name>` where the pair set has a column of that name."""
    free = name
    while pair_type(free) is not None or free in ours or (free != name and free in theirs):
        free = f"other_{free}"
    return free


def pair_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` in canonical order and types: known columns, scores, weight and batch, the rest."""
    names = schema.names
    known = [name for name in _LEADING if name in names]
    scores = score_names(schema)
    trailing = [name for name in _TRAILING if name in names]
    placed = {*known, *scores, *trailing}
    rest = [name for name in names if name not in placed]
    fields = []
    for name in (*known, *scores, *trailing, *rest):
        field = schema.field(name)
        fields.append(field.with_type(pair_type(name) or field.type))
    return pa.schema(fields)


def as_pairs(table: pa.Table) -> pa.Table:
    """`table` with a pair set's column order and types; says which column cannot be read as one."""
    return cast_table(table, pair_schema(table.schema))


def cast_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns of `schema`: cast where types differ, null where a column is missing."""
    columns = []
    there = set(table.column_names)
    for field in schema:
        if field.name not in there:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)], type=field.type))
            continue
        columns.append(cast_column(table[field.name], field.type, field.name))
    return pa.table(columns, schema=schema)


def cast_column(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    """`column` as `kind`, or a PairmineError that shows the first value which is no such thing."""
    if column.type == kind:
        return column
    try:
        if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
            encoded = column.cast(kind.value_type).dictionary_encode()
            return encoded if column.num_chunks else pa.chunked_array([], type=kind)
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row, value = _first_misfit(column, kind)
        where = f"row {row + 1}: " if row is not None else ""
        raise PairmineError(f'{where}column "{name}" holds {value}, which is no {_plain(kind)}') from None


def prune(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`column` with dictionaries of the values that occur in it alone.

    Readers and slices bring the dictionary of a whole file along, and whoever joins chunks reads all of it.
    """
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array([_pruned(chunk) for chunk in column.chunks], column.type)


def _pruned(values: pa.DictionaryArray) -> pa.DictionaryArray:
    size = len(values.dictionary)
    if not pa.types.is_int32(values.indices.type) or size <= len(values):
        return values
    indices = values.indices.fill_null(size).to_numpy()
    used = np.zeros(size + 1, bool)
    used[indices] = True
    place = np.cumsum(used, dtype=np.int32) - np.int32(1)
    dictionary = values.dictionary.take(pa.array(np.flatnonzero(used[:-1])))
    return pa.DictionaryArray.from_arrays(pa.array(place[indices], pa.int32(), mask=indices == size), dictionary)


def _first_misfit(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[int | None, str]:
    target = kind.value_type if pa.types.is_dictionary(kind) else kind
    for row, value in enumerate(column):
        try:
            value.cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            shown = repr(value.as_py())
            return row, shown if len(shown) <= 60 else shown[:57] + "..."
    return None, f"values of type {column.type}"


def _plain(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "whole number" if pa.types.is_integer(kind) else "number"


def empty_pairs(*names: str) -> pa.Table:
    """A pair set without rows, with the named columns (all of the schema's when none are named)."""
    wanted = names or tuple(column.name for column in PAIR_COLUMNS)
    fields = [pa.field(name, pair_type(name) or pa.string()) for name in wanted]
    return pair_schema(pa.schema(fields)).empty_table()


def concat_pairs(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all `tables`; a column that only some of them have is null in the others."""
    if len(tables) == 1:
        return as_pairs(tables[0])
    schema = pair_schema(union_schema([table.schema for table in tables]))
    return pa.concat_tables([cast_table(table, schema) for table in tables])


def union_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """One schema with the columns of all: the widest type of each, the first field's metadata."""
    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            seen = fields.get(field.name)
            if seen is None or (pa.types.is_null(seen.type) and not pa.types.is_null(field.type)):
                fields[field.name] = field
            elif seen.type != field.type and not pa.types.is_null(field.type):
                fields[field.name] = seen.with_type(_wider(field.name, seen.type, field.type))
    return pa.schema(list(fields.values()))


def _wider(name: str, one: pa.DataType, other: pa.DataType) -> pa.DataType:
    for text, plain in ((one, other), (other, one)):
        if pa.types.is_dictionary(text) and text.value_type == plain:
            return text
    try:
        merged = pa.unify_schemas(
            [pa.schema([pa.field(name, one)]), pa.schema([pa.field(name, other)])], promote_options="permissive"
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise PairmineError(f'column "{name}" holds {one} in one place and {other} in another') from None
    return merged.field(0).type


def check_pairs(table: pa.Table, *, where: str = "the pair set") -> None:
    """Raise a PairmineError unless `table` is a pair set: columns there, ids not null, labels 0 or 1.

    Arrow does not enforce `nullable=False` when it writes, so nulls are counted here.
    """
    for column in PAIR_COLUMNS:
        if column.nullable:
            continue
        if column.name not in table.column_names:
            raise PairmineError(f'{where}: no "{column.name}" (found: {", ".join(table.column_names)})')
        if nulls := table[column.name].null_count:
            remedy = 'write "given" there' if column.name == "origin" else "give every row a value"
            raise PairmineError(f'{where}: "{column.name}" is null in {nulls} of {table.num_rows} rows; {remedy}')
    if "label" in table.column_names and table.num_rows:
        values = pc.min_max(table["label"])
        low, high = values["min"].as_py(), values["max"].as_py()
        if low is not None and (low < NEGATIVE or high > POSITIVE):
            bad = low if low < NEGATIVE else high
            raise PairmineError(
                f'{where}: "label" holds {bad}; write 1, 0 or null, and graded judgments as "grade" (0 to 1)'
            )


def document_text(documents: pa.Table) -> pa.ChunkedArray:
    """What is embedded, scored and written for each document: its title, a blank, its text.

    Expects a corpus's columns; a document without a title is its text alone.
    """
    text = documents["text"].cast(pa.large_string())
    if "title" not in documents.column_names:
        return text
    title = pc.utf8_trim_whitespace(pc.fill_null(documents["title"].cast(pa.large_string()), ""))
    joined = pc.binary_join_element_wise(title, text, pa.scalar(" ", pa.large_string()))
    return pc.if_else(pc.equal(title, ""), text, pc.if_else(pc.equal(text, ""), title, joined))
