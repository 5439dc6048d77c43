"""Layouts of chats: those of ms-swift for embedders and rerankers, and rerankers that are language models."""

from __future__ import annotations

import re
from typing import Any

from pairmine.files.forms.group import At, Group, Parse, Row, sides
from pairmine.files.forms.layout import SCORE, Head, Layout, static
from pairmine.files.forms.notes import Notes
from pairmine.files.forms.ordered import class_of, cosine
from pairmine.files.forms.values import kind

_ASKED = re.compile(r"(?:<Instruct>: (.*?)\n)?<Query>: (.*?)\n<Document>: (.*)", re.DOTALL)
_ANSWERS = {"yes": 1, "no": 0}


def _turns(value: Any, what: str, at: At) -> list[Row] | None:
    """A chat as its turns, None where it is none, which is noted."""
    if isinstance(value, list) and value and all(type(turn) is dict and "role" in turn for turn in value):
        if all(isinstance(turn.get("content"), str) for turn in value):
            return value
        at.note("not-text", f'a turn of {what} has no text as its "content"')
        return None
    if value is None:
        at.note("missing-field", f"no {what}")
    else:
        at.note("chat-layout", f'{what} is {kind(value)}; write [{{"role": ..., "content": ...}}]')
    return None


def _chats(row: Row, name: str, role: str, at: At) -> list[str | None]:
    """The last text of each chat in the list `name`, spoken by `role`."""
    value = row.get(name)
    if not isinstance(value, list):
        _turns(value, f'"{name}"', at)
        return []
    if value and all(isinstance(each, dict) for each in value):
        at.note("chat-layout", f'"{name}" is one chat where a list of chats belongs')
        value = [value]
    found: list[str | None] = []
    for each in value:
        turns = _turns(each, f'"{name}"', at)
        if turns is not None:
            found.append(turns[-1]["content"])
            if turns[-1]["role"] != role:
                at.note("wrong-role", f'"{turns[-1]["role"]}" where "{role}" belongs')
    return found


def _query(row: Row, at: At) -> str | None:
    """The query of a row, which its user says last."""
    turns = _turns(row.get("messages"), '"messages"', at)
    if turns is None:
        return None
    said = [turn["content"] for turn in turns if turn["role"] == "user"]
    if not said:
        at.note("wrong-role", 'no turn of "messages" is the user\'s')
        return turns[-1]["content"]
    prompted = any(turn["role"] == "system" for turn in turns)
    if at.differs("system", prompted):
        at.note("prompt-missing", "with a system turn here and without one there")
    return said[-1]


def _grouped(row: Row, at: At, role: str) -> Group | None:
    query = _query(row, at)
    positives = _chats(row, "positive_messages", role, at)
    negatives = _chats(row, "negative_messages", role, at) if row.get("negative_messages") is not None else []
    if row.get("positive_messages") == []:
        at.note("empty-positives", '"positive_messages" is empty')
    if query is None or not (positives or negatives):
        return None
    return Group(query, positives + negatives, sides(len(positives), len(negatives)))


def _embedder(row: Row, at: At) -> Group | None:
    """A row for ms-swift's embedders with InfoNCE, which takes one positive."""
    group = _grouped(row, at, "user")
    if group is not None and group.labels.count(1) > 1:
        at.note("several-positives", f"{group.labels.count(1)} positives")
    return group


def _reranker(row: Row, at: At) -> Group | None:
    """A row for its rerankers: any number of positives, which an assistant says, and at least one negative."""
    group = _grouped(row, at, "assistant")
    if group is not None and 0 not in group.labels:
        at.note("empty-negatives", "no negative")
    return group


def _labelled(row: Row, at: At, *, is_class: bool) -> Group | None:
    query, documents = _query(row, at), _chats(row, "positive_messages", "user", at)
    if row.get("positive_messages") == []:
        at.note("empty-positives", '"positive_messages" is empty')
    if row.get("label") is None:
        at.note("missing-field", 'no "label"')
    if query is None or not documents:
        return None
    if len(documents) > 1:
        at.note("several-positives", f"{len(documents)} texts")
    if is_class:
        return Group(query, documents[:1], [class_of(row.get("label"), at)])
    return Group(query, documents[:1], [None], extra={SCORE: [cosine(row.get("label"), "label", at)]})


def _score(row: Row, at: At) -> Group | None:
    return _labelled(row, at, is_class=False)


def _class(row: Row, at: At) -> Group | None:
    return _labelled(row, at, is_class=True)


def _answered(head: Head, notes: Notes) -> Parse:
    """Chats of an instruction, a query and a document, whose last turn is yes or no."""

    def parse(row: Row, at: At) -> Group | None:
        turns = _turns(row.get("messages"), '"messages"', at)
        if turns is None:
            return None
        asked = next((turn["content"] for turn in turns if turn["role"] == "user"), "")
        found = _ASKED.fullmatch(asked)
        if found is None:
            at.note("chat-layout", "no <Query>: and <Document>: in what the user says")
            return None
        if found[1] is None:
            at.note("prompt-missing", "no <Instruct>: before the query")
        answer = turns[-1]["content"].strip().lower() if turns[-1]["role"] == "assistant" else ""
        if answer not in _ANSWERS:
            at.note("label-not-0-1", f'the answer is "{answer[:40]}", and should be yes or no')
        return Group(found[2], [found[3]], [_ANSWERS.get(answer)])

    return parse


_TYPES = ("missing-field", "not-text", "chat-layout", "sidecar-differs")
_CHATS = (*_TYPES, "wrong-role", "prompt-missing", "empty-positives")

LAYOUTS = (
    Layout("swift-embedding", static(_embedder), (*_CHATS, "several-positives", "repeated-rows"), crossed=True),
    Layout("swift-reranker", static(_reranker), (*_CHATS, "empty-negatives")),
    Layout("swift-embedding-score", static(_score), (*_CHATS, "several-positives", "scores-as-text", "score-beyond-1")),
    Layout("swift-embedding-class", static(_class), (*_CHATS, "several-positives", "label-not-0-1")),
    Layout("reranker-sft", _answered, (*_TYPES, "prompt-missing", "label-not-0-1")),
)
