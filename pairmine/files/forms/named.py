"""Layouts whose fields go by their names: a query with lists of texts, or with lists of passages."""

from __future__ import annotations

from typing import Any

from pairmine.files.forms.group import At, Group, Row, sides
from pairmine.files.forms.layout import SCORE, Layout, static
from pairmine.files.forms.values import entries, identity, number, numbers, text, texts, unread, with_title

_FLAG = ("query", "pos", "neg", "pos_scores", "neg_scores")
_EMBEDDER = frozenset({*_FLAG, "prompt", "type"})
_RERANKER = frozenset({*_FLAG, "query_prompt", "passage_prompt"})
_NEMO = frozenset({"query", "question", "pos_doc", "neg_doc"})
_LEGACY = frozenset({"query", "response", "rejected_response", "system"})
_CONTRASTORS = frozenset({"query", "document", "negatives", "metadata", "document_score", "negatives_scores"})


def _side(row: Row, name: str, fault: str, at: At) -> list[str | None]:
    """The texts of the list `name`; one that is there and empty has the `fault`."""
    found = texts(row, name, at)
    if not found and row.get(name) is not None:
        at.note(fault, f'"{name}" is empty')
    return found


def _flag(row: Row, at: At, known: frozenset[str]) -> Group | None:
    """A line for FlagEmbedding: `query`, `pos` and `neg`, perhaps with the scores of each."""
    unread(row, known, at)
    query = text(row, "query", at)
    positives = _side(row, "pos", "empty-positives", at)
    negatives = _side(row, "neg", "empty-negatives", at)
    if "query" not in row or not (positives or negatives):
        return None
    scores: list[float | None] | None = None
    if "pos_scores" in row or "neg_scores" in row:
        first = numbers(row, "pos_scores", len(positives), at)
        rest = numbers(row, "neg_scores", len(negatives), at)
        if first is not None or rest is not None:
            scores = [*(first or [None] * len(positives)), *(rest or [None] * len(negatives))]
    extra = None if scores is None else {SCORE: scores}
    return Group(query, positives + negatives, sides(len(positives), len(negatives)), extra=extra)


def _embedder(row: Row, at: At) -> Group | None:
    return _flag(row, at, _EMBEDDER)


def _reranker(row: Row, at: At) -> Group | None:
    return _flag(row, at, _RERANKER)


def _nemo(row: Row, at: At) -> Group | None:
    """A line for NeMo Automodel: `query` or `question`, `pos_doc` as one text or a list, `neg_doc`."""
    unread(row, _NEMO, at)
    name = "question" if "question" in row and "query" not in row else "query"
    query = text(row, name, at)
    only = row.get("pos_doc")
    positives: list[str | None] = [only] if isinstance(only, str) else _side(row, "pos_doc", "empty-positives", at)
    if len(positives) > 1:
        at.note("several-positives", f"{len(positives)} positives")
    negatives = _side(row, "neg_doc", "empty-negatives", at)
    if name not in row or not (positives or negatives):
        return None
    return Group(query, positives + negatives, sides(len(positives), len(negatives)))


def _legacy(row: Row, at: At) -> Group | None:
    """A line for ms-swift before 3.9: `query`, `response`, `rejected_response`."""
    unread(row, _LEGACY, at)
    query, positive = text(row, "query", at), text(row, "response", at)
    negatives = _side(row, "rejected_response", "empty-negatives", at)
    if "query" not in row or ("response" not in row and not negatives):
        return None
    return Group(query, [positive, *negatives], sides(1, len(negatives)))


def _contrastors(row: Row, at: At) -> Group | None:
    """A line for contrastors: `query`, `document`, `negatives`, and the objective in its metadata."""
    unread(row, _CONTRASTORS, at)
    query, document = text(row, "query", at), text(row, "document", at)
    negatives = _side(row, "negatives", "empty-negatives", at)
    metadata = row.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("objective"), dict):
        at.note("missing-field", 'no "objective" in "metadata"')
    if at.differs("negatives", len(negatives)):
        at.note("n-varies", f"{len(negatives)} negatives")
    if "query" not in row or ("document" not in row and not negatives):
        return None
    extra: dict[str, list[Any]] | None = None
    if "document_score" in row or "negatives_scores" in row:
        rest = numbers(row, "negatives_scores", len(negatives), at) or [None] * len(negatives)
        extra = {SCORE: [number(row.get("document_score"), "document_score", at), *rest]}
    return Group(query, [document, *negatives], sides(1, len(negatives)), extra=extra)


# --- Passages -----------------------------------------------------------------------------------


def _passages(row: Row, lists: tuple[tuple[str, int], ...], at: At) -> tuple[list[Row], list[int | None]]:
    """The passages of the lists by name and label, and the label of each."""
    found: list[Row] = []
    labels: list[int | None] = []
    for name, label in lists:
        passages = entries(row, name, at)
        found += passages
        labels += [label] * len(passages)
    for passage in found:
        if "title" not in passage:
            at.note("missing-title")
    return found, labels


def _of_passages(query: str | None, found: list[Row], labels: list[int | None], id_name: str, at: At) -> Group:
    documents = [with_title(passage.get("title"), text(passage, "text", at)) for passage in found]
    ids: list[str] | None = [given for passage in found if (given := _id(passage, id_name, at)) is not None]
    group = Group(query, documents, labels, ids=ids if ids is not None and len(ids) == len(found) else None)
    scored = sum("score" in passage for passage in found)
    if scored:
        if scored < len(found):
            at.note("keys-vary", f"{len(found) - scored} of {len(found)} passages have no score")
        group.extra = {SCORE: [number(passage.get("score"), "score", at) for passage in found]}
    return group


def _id(passage: Row, name: str, at: At) -> str | None:
    return identity(passage, name, at) if name == "docid" or passage.get(name) is not None else None


def _tevatron(row: Row, at: At) -> Group | None:
    """A line for Tevatron: `query_id`, `query`, `positive_passages`, `negative_passages`."""
    query_id, query = identity(row, "query_id", at), text(row, "query", at)
    found, labels = _passages(row, (("positive_passages", 1), ("negative_passages", 0)), at)
    for name, fault in (("positive_passages", "empty-positives"), ("negative_passages", "empty-negatives")):
        if row.get(name) == []:
            at.note(fault, f'"{name}" is empty')
    if "query" not in row or not found:
        return None
    group = _of_passages(query, found, labels, "docid", at)
    group.query_id = query_id
    return group


def _dpr(row: Row, at: At) -> Group | None:
    """A question for DPR, with `positive_ctxs`, `hard_negative_ctxs` and `negative_ctxs`."""
    query = text(row, "question", at)
    if "answers" not in row:
        at.note("missing-field", 'no "answers"')
    lists = (("positive_ctxs", 1), ("hard_negative_ctxs", 0), ("negative_ctxs", 0))
    found, labels = _passages(row, lists, at)
    if row.get("positive_ctxs") == []:
        at.note("empty-positives", '"positive_ctxs" is empty')
    if "question" not in row or not found:
        return None
    group = _of_passages(query, found, labels, "passage_id", at)
    group.query_id = identity(row, "question_id", at) if row.get("question_id") is not None else None
    return group


_TYPES = ("missing-field", "string-for-list", "list-for-string", "not-text", "sidecar-differs")
_NUMBERS = ("scores-as-text", "uneven-lengths", "keys-vary")
_EMPTY = ("empty-positives", "empty-negatives")
_PASSAGES = (*_TYPES, "empty-positives", "mixed-types", "missing-title", "scores-as-text", "keys-vary")

LAYOUTS = (
    Layout(
        "flag-embedder",
        static(_embedder),
        (*_TYPES, *_NUMBERS, *_EMPTY, "unread-field"),
        optional=("pos_scores", "neg_scores", "prompt", "type"),
    ),
    Layout(
        "flag-reranker",
        static(_reranker),
        (*_TYPES, *_NUMBERS, *_EMPTY, "unread-field"),
        optional=("pos_scores", "neg_scores", "query_prompt", "passage_prompt"),
    ),
    Layout(
        "nemo-inline",
        static(_nemo),
        (*_TYPES, *_EMPTY, "several-positives", "unread-field", "repeated-rows"),
        crossed=True,
    ),
    Layout(
        "swift-legacy",
        static(_legacy),
        (*_TYPES, "empty-negatives", "unread-field", "repeated-rows", "keys-vary", "misread-texts"),
        crossed=True,
        optional=("system",),
    ),
    Layout(
        "contrastors",
        static(_contrastors),
        (*_TYPES, *_NUMBERS, "empty-negatives", "n-varies", "unread-field", "repeated-rows"),
        crossed=True,
        optional=("document_score", "negatives_scores"),
    ),
    Layout("tevatron", static(_tevatron), (*_PASSAGES, "empty-negatives")),
    Layout("dpr", static(_dpr), _PASSAGES),
)
