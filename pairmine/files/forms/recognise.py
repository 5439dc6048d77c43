"""Which trainer's format a file is, by its columns and the values in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairmine.files.forms.group import Row
from pairmine.files.forms.layout import Head
from pairmine.files.forms.ordered import LABELS, NEGATIVE, POSITIVES, QUERIES
from pairmine.files.forms.values import parsed

_OUR_IDS = {"query_id", "doc_id"}


def recognise(head: Head) -> list[str]:
    """The formats that a file with this head may be, the likeliest first; none for what `open_pairs` reads alone."""
    found = set(head.columns)
    if found >= _OUR_IDS or {"doc_id", "origin"} <= found:
        return []
    for look in (_chats, _named, _by_id, _lists, _ordered):
        if names := look(found, head.rows):
            return names
    return []


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    return [row[name] for row in rows if row.get(name) is not None]


def _chats(found: set[str], rows: Sequence[Row]) -> list[str]:
    if "messages" not in found:
        return []
    if "positive_messages" not in found:
        return ["reranker-sft"] if len(found) == 1 else []
    if "negative_messages" not in found and "label" in found:
        is_class = all(value in (0, 1) for value in _values(rows, "label") if isinstance(value, int | float))
        return ["swift-embedding-class", "swift-embedding-score"][:: 1 if is_class else -1]
    roles = {role for row in rows for role in _roles(row)}
    return ["swift-reranker"] if "assistant" in roles else ["swift-embedding"]


def _roles(row: Row) -> list[Any]:
    chats = row.get("positive_messages")
    turns = [turn for chat in chats if isinstance(chat, list) for turn in chat] if isinstance(chats, list) else []
    return [turn.get("role") for turn in turns if isinstance(turn, dict)]


def _named(found: set[str], rows: Sequence[Row]) -> list[str]:
    if "positive_passages" in found or "negative_passages" in found:
        return ["tevatron"]
    if "positive_ctxs" in found:
        return ["dpr"]
    if "rejected_response" in found and "query" in found:
        return ["swift-legacy"]
    if "query" in found and {"pos", "neg"} <= found:
        if found & {"query_prompt", "passage_prompt"}:
            return ["flag-reranker"]
        return ["flag-embedder"] if found & {"prompt", "type"} else ["flag-embedder", "flag-reranker"]
    if "pos_doc" in found and found & {"query", "question"}:
        is_by_id = any(isinstance(each, dict) for value in _values(rows, "pos_doc") for each in _as_list(value))
        return ["nemo-corpus"] if is_by_id else ["nemo-inline"]
    return ["contrastors"] if {"query", "document", "negatives", "metadata"} <= found else []


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _by_id(found: set[str], rows: Sequence[Row]) -> list[str]:
    if found & {"positive_document_ids", "negative_document_ids"}:
        return ["tevatron-v2"]
    if {"query_id", "document_ids", "scores"} <= found:
        return ["pylate-kd", "st-ids"]
    return ["st-ids"] if {"query_id", "positive_id", "negative_ids"} <= found else []


def _lists(found: set[str], rows: Sequence[Row]) -> list[str]:
    return ["st-labeled-list"] if {"query", "docs"} <= found and found & set(LABELS) else []


def _ordered(found: set[str], rows: Sequence[Row]) -> list[str]:
    query = next((name for name in QUERIES if name in found), None)
    positive = next((name for name in POSITIVES if name in found), None)
    if query is None or positive is None or "origin" in found:
        return []
    negatives = [name for name in found if NEGATIVE.fullmatch(name)]
    if any(isinstance(value, list) for name in (positive, *negatives) for value in _values(rows, name)):
        return []
    label = next((name for name in LABELS if name in found), None)
    if query == "sent0":
        return ["simcse-triplet" if negatives else "simcse-pair"]
    if negatives:
        return _with_negatives(query, negatives, label, rows)
    if label is not None:
        is_ours = found > {"query", "document", "label"} and label == "label"
        return [] if is_ours else _labelled(label, rows)
    return ["st-pair"] if query == "anchor" or found <= {query, positive} else []


def _with_negatives(query: str, negatives: Sequence[str], label: str | None, rows: Sequence[Row]) -> list[str]:
    if label is None:
        if query == "query":
            return ["pylate-contrastive"]
        return ["st-triplet"] if negatives == ["negative"] else ["st-ntuple"]
    lists = [value for value in _values(rows, label) if isinstance(value, list)]
    if not lists:
        return ["st-margin"] if len(negatives) == 1 else ["st-margin-list"]
    longer = sum(len(value) > len(negatives) for value in lists)
    return ["st-scores"] if 2 * longer > len(lists) else ["st-margin-list"]


def _labelled(label: str, rows: Sequence[Row]) -> list[str]:
    said = (parsed(value) for value in _values(rows, label))
    values = [value for value in said if value is not None]
    whole = sum(value in (0, 1) for value in values)
    if label.startswith("score"):
        return ["st-pair-score"]
    return ["st-pair-class"] if 2 * whole >= len(values) else ["st-pair-score"]
