"""Layouts that name queries and documents by their ids: a training row for each line, without its texts."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Sequence
from math import isnan
from typing import Any

from pairmine.files.forms.group import At, Group, Row, sides
from pairmine.files.forms.layout import MARGIN, SCORE, Layout, static
from pairmine.files.forms.values import entries, identities, identity, kind, numbers, parsed, text

JUDGED = ("query-id", "corpus-id", "score")
TRIPLE = ("query", "positive", "negative")
WITH_MARGIN = ("query_id", "positive_id", "negative_id", "margin")
RANKED = "corpus-ids"


def _ids(row: Row, name: str, at: At) -> list[str]:
    """The list of ids `name`, empty where there is none."""
    value = row.get(name)
    if isinstance(value, list):
        return identities(value, name, at)
    if value is None:
        at.note("missing-field", f'no "{name}"')
    else:
        fault = "string-for-list" if isinstance(value, str) else "not-text"
        at.note(fault, f'"{name}" is {kind(value)}')
    return []


def _group(
    query_id: str | None, query: str | None, positives: Sequence[str], negatives: Sequence[str], **extra: list[Any]
) -> Group | None:
    ids = [*positives, *negatives]
    if query_id is None or not ids:
        return None
    return Group(query, [None] * len(ids), sides(len(positives), len(negatives)), query_id, ids, dict(extra) or None)


def _tevatron(row: Row, at: At) -> Group | None:
    """A line for Tevatron's new layout."""
    query_id, query = identity(row, "query_id", at), text(row, "query_text", at)
    positives, negatives = _ids(row, "positive_document_ids", at), _ids(row, "negative_document_ids", at)
    for name, fault in (
        ("positive_document_ids", "empty-positives"),
        ("negative_document_ids", "empty-negatives"),
    ):
        if row.get(name) == []:
            at.note(fault, f'"{name}" is empty')
    return _group(query_id, query, positives, negatives)


def _distilled(row: Row, at: At) -> Group | None:
    """A row for PyLate's distillation: the positive first, then negatives, and a score for each.

    PyLate reads lists that stand there as text, too.
    """
    row = row | {name: _unquoted(row.get(name)) for name in ("document_ids", "scores") if name in row}
    query_id, ids = identity(row, "query_id", at), _ids(row, "document_ids", at)
    if row.get("document_ids") == []:
        at.note("empty-positives", '"document_ids" is empty')
    if "scores" not in row:
        at.note("missing-field", 'no "scores"')
    if ids and at.differs("document_ids", len(ids)):
        at.note("n-varies", f"{len(ids)} documents")
    scores = numbers(row, "scores", len(ids), at)
    return _group(query_id, None, ids[:1], ids[1:], **({} if scores is None else {SCORE: scores}))


def _unquoted(value: Any) -> Any:
    """The list that a text says, else `value`."""
    if not isinstance(value, str):
        return value
    try:
        said = literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return said if isinstance(said, list) else value


def _resolved(row: Row, at: At) -> Group | None:
    """A row for `resolve_ids` of sentence-transformers; with scores it is laid out as PyLate's."""
    if "document_ids" in row:
        return _distilled(row, at)
    query_id, positive = identity(row, "query_id", at), identity(row, "positive_id", at)
    negatives = _ids(row, "negative_ids", at)
    if at.differs("negative_ids", len(negatives)):
        at.note("n-varies", f"{len(negatives)} negatives")
    return _group(query_id, None, [] if positive is None else [positive], negatives)


def _nemo(row: Row, at: At) -> Group | None:
    """A question for NeMo Automodel, with references to the documents of a corpus."""
    query_id, query = identity(row, "question_id", at), text(row, "question", at)
    sides = [entries(row, name, at) for name in ("pos_doc", "neg_doc")]
    for name, fault in (("pos_doc", "empty-positives"), ("neg_doc", "empty-negatives")):
        if row.get(name) == []:
            at.note(fault, f'"{name}" is empty')
    positives, negatives = (
        [(found, each) for each in side if (found := identity(each, "id", at)) is not None] for side in sides
    )
    both = [each for _, each in (*positives, *negatives)]
    scored = sum("score" in each for each in both)
    if scored and scored < len(both):
        at.note("keys-vary", f"{len(both) - scored} of {len(both)} documents have no score")
    extra = {SCORE: numbers({"score": [e.get("score") for e in both]}, "score", len(both), at) or []} if scored else {}
    return _group(query_id, query, [found for found, _ in positives], [found for found, _ in negatives], **extra)


def _triple(row: Row, at: At) -> Group | None:
    """A triple of numbers for ColBERT."""
    found = [identity(row, name, at) for name in TRIPLE]
    if not all(type(row.get(name)) is int for name in TRIPLE):
        at.note("not-text", "an id that is no whole number, which ColBERT wants")
    query, positive, negative = found
    return _group(query, None, [positive] if positive else [], [negative] if negative else [])


def _margin(row: Row, at: At) -> Group | None:
    """A line of ids for GPL, with the margin between the two documents."""
    query, positive, negative = (identity(row, name, at) for name in WITH_MARGIN[:3])
    value = parsed(row.get("margin"))
    if value is None or isnan(value):
        at.note("scores-as-text", f'the margin is "{row.get("margin")}"'[:80])
    if positive is None or negative is None:
        return None
    return _group(query, None, [positive], [negative], **{MARGIN: [None, value]})


def _judgment(row: Row, at: At) -> Group | None:
    """A judgment of BEIR or MTEB: positive above 0; a grade beyond 1 is kept as a score."""
    query_id, doc_id = identity(row, "query-id", at), identity(row, "corpus-id", at)
    value = parsed(row.get("score"))
    if value is None or not value.is_integer():
        at.note("scores-as-text", f'the score is "{row.get("score")}", and is read as a whole number'[:80])
    if query_id is None or doc_id is None:
        return None
    group = Group(None, [None], [None if value is None or isnan(value) else int(value > 0)], query_id, [doc_id])
    if value not in (None, 0, 1):
        group.extra = {SCORE: [value]}
    return group


_TYPES = ("missing-field", "not-text", "mixed-types")
_LISTS = (*_TYPES, "string-for-list")
_QRELS = (*_TYPES, "scores-as-text")

LAYOUTS = (
    Layout("tevatron-v2", static(_tevatron), (*_LISTS, "empty-positives", "empty-negatives")),
    Layout(
        "pylate-kd",
        static(_distilled),
        (*_LISTS, "empty-positives", "n-varies", "uneven-lengths", "scores-as-text", "repeated-rows"),
        crossed=True,
    ),
    Layout(
        "st-ids",
        static(_resolved),
        (*_LISTS, "n-varies", "uneven-lengths", "scores-as-text", "repeated-rows"),
        crossed=True,
    ),
    Layout(
        "nemo-corpus",
        static(_nemo),
        (*_LISTS, "empty-positives", "empty-negatives", "scores-as-text", "keys-vary"),
    ),
    Layout("colbert-triples", static(_triple), (*_TYPES, "uneven-fields", "repeated-rows"), crossed=True),
    Layout(
        "gpl",
        static(_margin),
        (*_TYPES, "uneven-fields", "scores-as-text", "repeated-rows"),
        crossed=True,
    ),
    Layout("beir", static(_judgment), (*_QRELS, "uneven-fields", "qrels-header")),
    Layout("mteb", static(_judgment), _QRELS),
    Layout("mteb-reranking", static(_judgment), _QRELS),
)
