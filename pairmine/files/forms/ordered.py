"""Layouts of columns that the trainer takes by their order: pairs, triplets, n-tuples, with labels or without.

sentence-transformers, PyLate's contrastive losses and SimCSE look at no name but that of the label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pairmine.errors import PairmineError
from pairmine.files.columns import listed
from pairmine.files.forms.group import At, Group, Parse, Row, sides
from pairmine.files.forms.layout import MARGIN, SCORE, Head, Layout, Prepare
from pairmine.files.forms.notes import Notes
from pairmine.files.forms.values import kind, number, numbers, parsed, text, texts

LABELS = ("label", "labels", "score", "scores")
QUERIES = ("anchor", "query", "question", "sentence1", "sent0", "text1", "sentence_a")
POSITIVES = ("positive", "document", "passage", "answer", "response", "sentence2", "sent1", "text2", "sentence_b")
NEGATIVE = re.compile(r"(hard[-_]?)?neg(ative)?([-_]?\d+)?")
_RESERVED = "dataset_name"
_BEYOND = 1.0001
"""Cosines in float16 lie above 1 by as much."""

Extra = dict[str, list[Any]]
Labelled = Callable[[Row, int, At], Extra]
"""What the label of a row with so many negatives says of its documents."""


@dataclass(frozen=True)
class Columns:
    """Which column of a file is which."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    label: str
    is_delimited: bool


def columns_of(head: Head, notes: Notes, *, negatives: int | None, labelled: bool) -> Columns:
    """The columns by their names, and where those say nothing by their order; at most so many `negatives`.

    Raises PairmineError where there are too few.
    """
    inputs = [name for name in head.columns if name not in LABELS and name != _RESERVED]
    found = [name for name in LABELS if name in head.columns]
    named = _named(inputs)
    least = 3 if negatives is None or negatives else 2
    if len(inputs) < least or (labelled and not found):
        wanted = ("a label and " if labelled else "") + f"{least} columns of text"
        raise PairmineError(f"{wanted} belong here (found: {listed(head.columns)})")
    used = named if named and len(named) >= least else inputs
    used = used if negatives is None else used[: 2 + negatives]
    _note_columns(head, inputs, used, found if labelled else found[:1], notes)
    return Columns(used[0], used[1], tuple(used[2:]), found[0] if found else "", head.is_delimited)


def _named(inputs: Sequence[str]) -> list[str]:
    """The query, the positive and the negatives, nothing where the names do not say which is which."""
    query = next((name for name in QUERIES if name in inputs), None)
    positive = next((name for name in POSITIVES if name in inputs), None)
    if query is None or positive is None:
        return []
    return [query, positive, *sorted(filter(NEGATIVE.fullmatch, inputs), key=_place_in_name)]


def _place_in_name(name: str) -> int:
    return int("0" + re.sub(r"\D", "", name))


def _note_columns(head: Head, inputs: list[str], used: list[str], labels: list[str], notes: Notes) -> None:
    all_of = len(head.columns)
    for name in inputs:
        if name not in used:
            notes.add("extra-column", f'column "{name}"', f"the trainer reads {listed(inputs)}")
            notes.among("extra-column", 0, "columns")
    if [name for name in inputs if name in used] != used:
        notes.add("column-order", "the columns", f"{listed(inputs)}; they should be {listed(used)}")
        notes.among("column-order", 1, "files")
    for name in labels[1:]:
        notes.add("several-labels", f'column "{name}"', f'"{labels[0]}" is the label')
        notes.among("several-labels", 0, "columns")
    notes.among("extra-column", all_of, "columns")
    notes.among("several-labels", all_of, "columns")


def tuples(*, negatives: int | None, label: Labelled | None = None) -> Prepare:
    """A layout of a query, a positive and so many negatives, None for any number; `label` reads their label."""

    def prepare(head: Head, notes: Notes) -> Parse:
        columns = columns_of(head, notes, negatives=negatives, labelled=label is not None)

        def parse(row: Row, at: At) -> Group | None:
            found = _negatives(row, columns, at)
            positive = text(row, columns.positive, at)
            query = text(row, columns.query, at)
            if columns.query not in row or (columns.positive not in row and not found):
                return None
            extra = None if label is None else label({"label": _label(row, columns, at)}, len(found), at)
            return Group(query, [positive, *found], sides(1, len(found)), extra=extra)

        return parse

    return prepare


def _negatives(row: Row, columns: Columns, at: At) -> list[str | None]:
    found: list[str | None] = []
    for name in columns.negatives:
        value = row.get(name)
        if value is None:
            at.note("n-varies", f'"{name}" is null' if name in row else f'no "{name}"')
        else:
            found.append(value if type(value) is str else text(row, name, at))
    return found


def _label(row: Row, columns: Columns, at: At) -> Any:
    if columns.label not in row or row[columns.label] is None:
        at.note("missing-field", f'no "{columns.label}"')
    value = row.get(columns.label)
    said = parsed(value) if columns.is_delimited else None
    return value if said is None else said


def _margin(row: Row, count: int, at: At) -> Extra:
    if isinstance(row["label"], list):
        at.note("uneven-lengths", f"the label is a list of {len(row['label'])}, where one margin belongs")
        return {}
    return {MARGIN: [None, number(row["label"], "label", at)]} if count == 1 else {}


def _margins(row: Row, count: int, at: At) -> Extra:
    found = numbers(row, "label", count, at)
    return {MARGIN: [None, *found]} if found is not None else {}


def _scores(row: Row, count: int, at: At) -> Extra:
    found = numbers(row, "label", count + 1, at)
    return {SCORE: found} if found is not None else {}


def _csv(*, negatives: int) -> Prepare:
    """The same for SimCSE, which refuses a fourth column."""
    whole = tuples(negatives=negatives)

    def prepare(head: Head, notes: Notes) -> Parse:
        if len(head.columns) > 3:
            notes.add("too-many-columns", "the columns", f"{len(head.columns)}: {listed(head.columns)}")
            notes.among("too-many-columns", 1, "files")
        return whole(head, notes)

    return prepare


def _single(head: Head, notes: Notes, *, is_class: bool) -> Parse:
    columns = columns_of(head, notes, negatives=0, labelled=True)

    def parse(row: Row, at: At) -> Group | None:
        query, document = text(row, columns.query, at), text(row, columns.positive, at)
        if columns.query not in row or columns.positive not in row:
            return None
        value = _label(row, columns, at)
        if is_class:
            return Group(query, [document], [class_of(value, at)])
        return Group(query, [document], [None], extra={SCORE: [cosine(value, columns.label, at)]})

    return parse


def cosine(value: Any, name: str, at: At) -> float | None:
    """A score that a cosine is to reach; one that none can is noted."""
    found = number(value, name, at)
    if found is not None and abs(found) > _BEYOND:
        at.note("score-beyond-1", f'"{name}" is {found:g}')
    return found


def class_of(value: Any, at: At) -> int | None:
    """1 or 0, None for null; what else it says is noted."""
    if value is None or (isinstance(value, bool | int | float) and value in (0, 1)):
        return None if value is None else int(value)
    at.note("label-not-0-1", f"it is {value!r:.40}" if isinstance(value, str | int | float) else f"it is {kind(value)}")
    said = parsed(value)
    return int(said) if said in (0, 1) else None


def _list(head: Head, notes: Notes) -> Parse:
    found = [name for name in LABELS if name in head.columns]
    if "docs" not in head.columns or "query" not in head.columns or not found:
        raise PairmineError(f"query, docs and labels belong here (found: {listed(head.columns)})")
    inputs = [name for name in head.columns if name not in (*LABELS, _RESERVED)]
    _note_columns(head, inputs, ["query", "docs"], found, notes)
    label = found[0]

    def parse(row: Row, at: At) -> Group | None:
        query, docs = text(row, "query", at), texts(row, "docs", at)
        if "query" not in row or not docs:
            if docs == [] and "docs" in row:
                at.note("empty-positives", '"docs" is empty')
            return None
        if row.get(label) is None:
            at.note("missing-field", f'no "{label}"')
        return listed_group(query, docs, numbers(row, label, len(docs), at))

    return parse


def listed_group(query: str | None, docs: list[str | None], values: list[float | None] | None) -> Group:
    """Labels where all values are 0 or 1, else scores of documents that are not decided."""
    if values is not None and all(value in (0, 1) for value in values):
        return Group(query, docs, [int(value or 0) for value in values])
    return Group(query, docs, [None] * len(docs), extra={SCORE: values} if values is not None else None)


_TYPES = ("missing-field", "list-for-string", "not-text")
_ORDER = ("extra-column", "column-order", "several-labels")
_NUMBERS = ("scores-as-text", "uneven-lengths")
_TUPLE = (*_TYPES, *_ORDER, "repeated-rows", "sidecar-differs")

LAYOUTS = (
    Layout("st-pair", tuples(negatives=0), _TUPLE, crossed=True),
    Layout("st-triplet", tuples(negatives=1), (*_TUPLE, "n-varies"), crossed=True),
    Layout("st-ntuple", tuples(negatives=None), (*_TUPLE, "n-varies"), crossed=True),
    Layout("st-margin", tuples(negatives=1, label=_margin), (*_TUPLE, *_NUMBERS, "n-varies"), crossed=True),
    Layout("st-margin-list", tuples(negatives=None, label=_margins), (*_TUPLE, *_NUMBERS, "n-varies"), crossed=True),
    Layout("st-scores", tuples(negatives=None, label=_scores), (*_TUPLE, *_NUMBERS, "n-varies"), crossed=True),
    Layout(
        "st-labeled-list",
        _list,
        (*_TYPES, "string-for-list", *_ORDER, *_NUMBERS, "empty-positives", "sidecar-differs"),
    ),
    Layout(
        "st-pair-score",
        lambda head, notes: _single(head, notes, is_class=False),
        (*_TYPES, *_ORDER, "scores-as-text", "score-beyond-1", "sidecar-differs"),
    ),
    Layout(
        "st-pair-class",
        lambda head, notes: _single(head, notes, is_class=True),
        (*_TYPES, *_ORDER, "label-not-0-1", "sidecar-differs"),
    ),
    Layout("pylate-contrastive", tuples(negatives=None), (*_TUPLE, "n-varies"), crossed=True),
    Layout("simcse-pair", _csv(negatives=0), (*_TUPLE, "too-many-columns", "misread-texts"), crossed=True),
    Layout("simcse-triplet", _csv(negatives=1), (*_TUPLE, "too-many-columns", "misread-texts"), crossed=True),
)
