"""From somebody's columns to a corpus, a query file or a pair set."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files.columns import Mapped, Wanted, listed, proposed
from pairmine.files.raw import Raw
from pairmine.identity import content_id

_LIST_NAMES = re.compile(r"^(pos|neg|positives|negatives|hard_negatives|pos_list|neg_list)$", re.I)
_POSITIVE_NAMES = re.compile(r"^(pos|positives?|pos_list)$", re.I)
_JUDGMENTS = re.compile(r"^(score|similarity|similarity_score|relatedness|rating|gold_label)$|(^|_)is_", re.I)
_OUR_NAMES = {"query_id", "doc_id", "label", "origin"}
_NEGATIVE_NAMES = re.compile(r"^(hard[-_]?)?neg(ative)?s?([-_]?\d+)?$|^neg_list$", re.I)


def documents(raw: Raw, mapped: Mapped) -> pa.Table:
    """A corpus or query chunk: `id` string, `text` (and `title`) large_string, then everything else."""
    names = mapped.names
    columns = {"text": texts(raw, names["text"], "text", nullable=False)}
    if "title" in names:
        columns["title"] = texts(raw, names["title"], "title", nullable=True)
    columns["id"] = ids(raw, names.get("id"), schema.document_text(pa.table(columns)))
    rest = passed_through(raw, names, reserved={"id", "title", "text"})
    return pa.table({name: columns[name] for name in ("id", "title", "text") if name in columns} | rest)


def rows(raw: Raw, mapped: Mapped, wanted: Sequence[Wanted]) -> pa.Table:
    """A recipe's own input columns under their canonical names, then everything else."""
    for column in wanted:
        if column.required and (nulls := _first_null(raw, mapped.names[column.name])) is not None:
            raise PairmineError(absent_line(raw, nulls, column.name, mapped.names[column.name]))
    own = {name: raw.table[found] for name, found in mapped.names.items()}
    return pa.table({**own, **passed_through(raw, mapped.names, reserved=set(own))})


def long_pairs(raw: Raw, mapped: Mapped) -> pa.Table:
    """A pair-set chunk from rows that hold one query and one document each."""
    names = mapped.names
    table = raw.table
    columns: dict[str, pa.ChunkedArray] = {}
    for name, text in (("query_id", "query"), ("doc_id", "document")):
        content = texts(raw, names[text], text, nullable=name in names, kind=schema.TEXT) if text in names else None
        if name not in names and text not in names:
            flag = f"--{text}-column NAME or --{text}-id-column NAME".replace("--document-id", "--doc-id")
            found = [column for column in table.column_names if not column.startswith("pairmine:")]
            raise PairmineError(
                f'{raw.name}: no "{text}" and no "{name}" (found: {listed(found)}); '
                f"'pairmine convert --as pairs' reads files of trainers, and takes {flag}"
            )
        columns[name] = ids(raw, names.get(name), content)
        if content is not None:
            columns[text] = content
    if "label" in names:
        columns["label"] = numbers(raw, names["label"], pa.int8())
    else:
        columns["label"] = pa.chunked_array([pa.repeat(pa.scalar(schema.POSITIVE, pa.int8()), table.num_rows)])
    used = set(names.values())
    rest = {name: column for name, column in zip(table.column_names, table.columns, strict=True) if name not in used}
    if "origin" not in rest:
        columns["origin"] = pa.chunked_array([pa.repeat("given", table.num_rows)])
    for name, column in rest.items():
        kind = schema.pair_type(name)
        if name in columns:
            columns[f"other_{name}"] = column
        elif kind is None:
            columns[name] = column
        else:
            columns[name] = numbers(raw, name, kind) if not pa.types.is_dictionary(kind) else column
    fields = [_field(table, name, column, names.get(name, name)) for name, column in columns.items()]
    pairs = schema.as_pairs(pa.table(list(columns.values()), schema=pa.schema(fields)))
    if (at := _first_bad_label(pairs)) is not None:
        schema.check_pairs(pairs.slice(at, 1), where=raw.where(at))
    schema.check_pairs(pairs, where=raw.name)
    return pairs


def _first_bad_label(pairs: pa.Table) -> int | None:
    is_good = pc.is_in(pairs["label"], value_set=pa.array([schema.NEGATIVE, schema.POSITIVE, None], pa.int8()))
    return None if pc.all(is_good, min_count=0).as_py() else _first(pc.invert(is_good))


def _field(table: pa.Table, name: str, column: pa.ChunkedArray, source: str) -> pa.Field:
    """A field for `column` with the score scale that its source declared, and no other metadata."""
    field = pa.field(name, column.type)
    if name.startswith(schema.SCORE_PREFIX) and source in table.column_names:
        kept = {k: v for k, v in (table.schema.field(source).metadata or {}).items() if k in (b"scale", b"model")}
        return field.with_metadata(kept or None)
    return field


def is_wide(raw: Raw, mapped: Mapped) -> bool:
    """Whether a file holds a query with its positives and negatives in columns of one row, as trainers read them.

    A column `pos` of strings beside a document is a part of speech.
    """
    names = {name.casefold() for name in raw.table.column_names}
    positives = [name for name in raw.table.column_names if _POSITIVE_NAMES.match(name)]
    negatives = [name for name in raw.table.column_names if _NEGATIVE_NAMES.match(name)]
    if positives and negatives:
        return not names >= _OUR_NAMES
    if names & {"label", "document", "doc_id"}:
        return False
    if negatives:
        return True
    is_told = mapped.names.get("document") not in (None, *positives)
    lists = [name for name in positives if _LIST_NAMES.match(name)]
    return any(_is_list(raw.table.schema.field(name).type) or not is_told for name in lists)


def label_remark(raw: Raw, mapped: Mapped) -> str | None:
    """What to say of pairs without a label, all of which count as positives; None where there is one."""
    if "label" in mapped.names or is_wide(raw, mapped):
        return None
    line = "no label column, every row is taken as a positive"
    for field in raw.table.schema:
        if field.name not in mapped.names.values() and (
            _JUDGMENTS.search(field.name) or pa.types.is_boolean(field.type)
        ):
            return f'{line}; "{field.name}" is not read as a label (--label-column names one)'
    return line


def wide_pairs(raw: Raw, mapped: Mapped) -> pa.Table:
    """A pair-set chunk from triplets, n-tuples or query/pos/neg lists: a row per positive, then per negative."""
    table = raw.table
    sides = [
        (name, schema.POSITIVE if _POSITIVE_NAMES.match(name) else schema.NEGATIVE)
        for name in table.column_names
        if _POSITIVE_NAMES.match(name) or _NEGATIVE_NAMES.match(name)
    ]
    if not any(label == schema.POSITIVE for _, label in sides):
        found = listed(table.column_names)
        raise PairmineError(f'{raw.name}: no "positive" or "pos" (found: {found}); name the column so')
    pieces = [(*_side(raw, name), label) for name, label in sorted(sides, key=lambda side: -side[1])]
    row = np.concatenate([piece[0] for piece in pieces])
    label = np.concatenate([np.full(len(piece[0]), piece[2], np.int8) for piece in pieces])
    document = pa.chunked_array([chunk for piece in pieces for chunk in piece[1].chunks], pa.string())
    order = np.argsort(row, kind="stable")
    taken = [name for name, _ in sides]
    spread = table.drop_columns(taken).take(pa.array(row[order]))
    aside = {"label": "other_label", "document": "other_document"}
    spread = spread.rename_columns([aside.get(name, name) for name in spread.column_names])
    spread = spread.append_column("document", document.take(pa.array(order)))
    spread = spread.append_column("label", pa.array(label[order]))
    names = {name: found for name, found in mapped.names.items() if found not in taken and name != "doc_id"}
    long = Raw(spread, raw.name, lambda at: raw.where(int(row[order][at])), lambda _: raw.table.column_names)
    return long_pairs(long, Mapped({**names, "document": "document", "label": "label"}))


def _side(raw: Raw, name: str) -> tuple[np.ndarray, pa.ChunkedArray]:
    """One column of positives or negatives: the row of each text, and the texts; null texts are left out."""
    column = raw.table[name].combine_chunks()
    kind = column.type
    if _is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        parents = np.repeat(np.arange(len(column)), lengths)
        values = column.flatten()
        if pa.types.is_null(values.type) and not len(values):
            values = values.cast(pa.string())
        if not _is_text(values.type) or values.null_count:
            at = int(parents[_first(values.is_null()) if values.null_count else 0]) if len(values) else 0
            place = raw.where(at) if len(column) else raw.name
            raise PairmineError(f'{place}: "{name}" must be a list of strings')
        return parents, pa.chunked_array([values.cast(pa.string())])
    if _is_text(kind) and _LIST_NAMES.match(name):
        at = _first(column.is_valid())
        raise PairmineError(f'{raw.where(at)}: "{name}" is a string where a list belongs; write it as ["..."]')
    if not _is_text(kind) and not pa.types.is_null(kind):
        place = raw.where(0) if len(column) else raw.name
        raise PairmineError(f'{place}: "{name}" is {_a(kind)} where a text or a list of texts belongs; write it so')
    valid = np.flatnonzero(pc.is_valid(column).to_numpy(zero_copy_only=False))
    return valid.astype(np.int64), pa.chunked_array([column.take(pa.array(valid)).cast(pa.string())])


def texts(raw: Raw, found: str, name: str, *, nullable: bool, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """The column `found` as text; a value that is none, or null where it may not be, is an error with its place."""
    column = raw.table[found]
    if pa.types.is_null(column.type) and nullable:
        return pa.chunked_array([pa.nulls(len(column), kind or pa.large_string())])
    if not nullable and (at := _first_null(raw, found)) is not None:
        raise PairmineError(absent_line(raw, at, name, found))
    if not _is_text(column.type):
        at = _first(column.is_valid()) if len(column) > column.null_count else 0
        place = raw.where(at) if len(column) else raw.name
        raise PairmineError(f'{place}: "{found}" is {_a(column.type)} where a string belongs; write it as one')
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raise PairmineError(f'{raw.name}: "{found}" holds bytes that are no UTF-8; write its texts again') from None
    if kind is not None and pa.types.is_dictionary(kind):
        return schema.cast_column(column, kind, name)
    return column.cast(kind or pa.large_string())


def ids(raw: Raw, found: str | None, content: pa.ChunkedArray | None) -> pa.ChunkedArray:
    """The column `found` as string ids, or content hashes where there is none."""
    if found is None:
        assert content is not None
        if pa.types.is_dictionary(content.type):
            content = content.cast(content.type.value_type)
        return pa.chunked_array([pa.array([content_id(text) for text in content.to_pylist()], pa.string())])
    column = raw.table[found]
    if (at := _first_null(raw, found)) is not None:
        raise PairmineError(absent_line(raw, at, found, found))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (_is_text(column.type) or pa.types.is_integer(column.type)):
        at = _first_fraction(column) if pa.types.is_floating(column.type) else 0
        place = raw.where(at) if len(column) else raw.name
        hint = ", and larger ones than 64 bits hold are to be written as text" if at else ""
        raise PairmineError(f'{place}: "{found}" holds {_a(column.type)}; an id is text or a whole number{hint}')
    as_text = column.cast(pa.string())
    lengths = pc.binary_length(as_text)
    if pc.min(lengths).as_py() == 0:
        at = pc.index(lengths, 0).as_py()
        raise PairmineError(f'{raw.where(at)}: "{found}" is empty; give every row an id, or drop the column')
    return as_text


def _first_fraction(numbers: pa.ChunkedArray) -> int:
    """The first row of `numbers` that made all of them floating: a fraction, or what 64 bits do not hold; else 0."""
    values = enumerate(numbers.to_pylist())
    return next((at for at, value in values if not float(value).is_integer() or abs(value) >= 2**63), 0)


def passed_through(raw: Raw, names: object, reserved: set[str]) -> dict[str, pa.ChunkedArray]:
    """The columns that no canonical name claims; one that bears such a name becomes `other_<name>`."""
    used = set(names.values()) if isinstance(names, dict) else set()
    rest = {}
    for name in raw.table.column_names:
        if name not in used:
            rest[f"other_{name}" if name in reserved else name] = raw.table[name]
    return rest


def numbers(raw: Raw, found: str, kind: pa.DataType) -> pa.ChunkedArray:
    """The column `found` as `kind`; in text files an empty cell is null, a boolean counts as 0 or 1, 1.0 as 1."""
    column = raw.table[found]
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text and pc.min(pc.binary_length(column)).as_py() == 0:
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    if pa.types.is_integer(kind) and _is_text(column.type) and not _can_be(column, kind):
        column = pc.replace_substring_regex(column.cast(pa.string()), r"^(-?\d+)\.0*$", r"\1")
    try:
        return schema.cast_column(column, kind, found)
    except PairmineError:
        at = next(at for at in range(len(column)) if not _can_be(column.slice(at, 1), kind))
        value = str(column[at].as_py())[:40]
        what = "whole number" if pa.types.is_integer(kind) else "number" if pa.types.is_floating(kind) else "text"
        hint = '; write 1, 0 or null, and graded judgments as "grade" (0 to 1)'
        hint = hint if kind == pa.int8() else "; mend the value, or leave it out"
        raise PairmineError(f'{raw.where(at)}: "{found}" holds {value!r}, which is no {what}{hint}') from None


def _can_be(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _a(kind: pa.DataType) -> str:
    """A type in words, as a message names it."""
    if _is_list(kind):
        return "a list"
    if pa.types.is_struct(kind):
        return "an object"
    if pa.types.is_boolean(kind):
        return "a boolean"
    return "a number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else str(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def text_columns(table: pa.Table) -> list[str]:
    """The columns that hold text, in their order."""
    return [field.name for field in table.schema if _is_text(field.type)]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _first_null(raw: Raw, found: str) -> int | None:
    column = raw.table[found]
    if not column.null_count:
        return None
    return _first(column.is_null())


def _first(claim: pa.Array | pa.ChunkedArray) -> int:
    """The first row for which `claim` is true."""
    return pc.index(claim, True).as_py()


def absent_line(raw: Raw, at: int, name: str, found: str) -> str:
    keys = list(raw.found(at))
    if found not in keys:
        flag = f"--{name.replace('_', '-')}-column"
        spare = proposed([key for key in text_columns(raw.table) if key in keys])
        return f'{raw.where(at)}: no "{found}" (found: {listed(keys)}); pass {flag} {spare}, or mend the row'
    return f'{raw.where(at)}: "{found}" is null; give the row a value or remove it'
