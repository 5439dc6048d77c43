"""Which column of somebody's file is the id, which the text: the usual names, and what was taken for what."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pairmine.errors import PairmineError

_LONGEST_NAME = 60


@dataclass(frozen=True)
class Wanted:
    """A column that a reader looks for: its name here, the names that files use, the flag that names another."""

    name: str
    aliases: tuple[str, ...]
    flag: str
    required: bool = False


DOCUMENT = (
    Wanted(
        "id",
        ("_id", "docid", "doc_id", "document_id", "pid", "passage_id", "corpus_id", "corpus-id", "docno"),
        "--id-column",
    ),
    Wanted(
        "text",
        (
            "contents",
            "content",
            "document",
            "passage",
            "body",
            "document_text",
            "passage_text",
            "sentence",
            "raw_content",
        ),
        "--text-column",
        required=True,
    ),
    Wanted("title", ("heading", "headline"), "--title-column"),
)

QUERY = (
    Wanted("id", ("_id", "qid", "query_id", "query-id", "question_id"), "--id-column"),
    Wanted("text", ("query", "question", "anchor", "query_text", "sentence"), "--text-column", required=True),
)

PAIR = (
    Wanted("query_id", ("qid", "query-id", "question_id", "anchor_id", "topic"), "--query-id-column"),
    Wanted(
        "query",
        ("anchor", "question", "query_text", "sentence1", "sent0", "sentence_a", "text1", "source", "input"),
        "--query-column",
    ),
    Wanted(
        "doc_id",
        ("docid", "doc-id", "document_id", "corpus-id", "corpus_id", "pid", "passage_id", "positive_id"),
        "--doc-id-column",
    ),
    Wanted(
        "document",
        (
            "positive",
            "passage",
            "answer",
            "response",
            "sentence2",
            "sent1",
            "sentence_b",
            "text2",
            "doc",
            "text",
            "contents",
            "target",
        ),
        "--document-column",
    ),
    Wanted("label", ("relevance", "is_duplicate", "is_relevant"), "--label-column"),
)


@dataclass(frozen=True)
class Mapped:
    """`names`: canonical name to the file's name. `renamed`: the part of it worth telling."""

    names: Mapping[str, str]

    @property
    def renamed(self) -> dict[str, str]:
        return {canonical: found for canonical, found in self.names.items() if canonical != found}


def map_columns(
    found: Sequence[str],
    wanted: Sequence[Wanted],
    overrides: Mapping[str, str],
    where: str,
    hint: str = "",
    *,
    texts: Sequence[str] | None = None,
) -> Mapped:
    """Which of the `found` columns is which of the `wanted` ones: an override, else the name itself, else an alias.

    Names are compared without case, "-" and "_". Raises PairmineError for an override that names
    no column and for a required column that is not there; `where` opens the message, `hint` ends
    it, and it proposes one of `texts`, the columns of text (without it, of all that were found), that is not taken yet.
    """
    by_key = {_key(name): name for name in reversed(found)}
    exact = set(found)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for column in wanted:
        chosen = overrides.get(column.name)
        if chosen is not None and chosen not in exact:
            raise PairmineError(f'{where}: no column "{chosen}" for {column.flag} (found: {listed(found)})')
        if chosen is None:
            candidates = [by_key.get(_key(name)) for name in (column.name, *column.aliases)]
            reserved = taken | set(overrides.values())
            chosen = next((name for name in candidates if name is not None and name not in reserved), None)
        if chosen is not None:
            names[column.name] = chosen
            taken.add(chosen)
        elif column.required:
            space = "" if column.flag.endswith("=") else " "
            free = [name for name in (found if texts is None else texts) if name not in taken]
            flag = f"{column.flag}{space}{proposed(free)}"
            raise PairmineError(f'{where}: no "{column.name}" (found: {listed(found)}); pass {flag}{hint}')
    return Mapped(names)


def proposed(texts: Sequence[str]) -> str:
    """A column of text for a flag, quoted for a shell; NAME where there is none but ids, titles and whole texts."""
    could_be = (name for name in texts if _key(name) != "title" and not _key(name).endswith("id"))
    return next((shlex.quote(name) for name in could_be if len(name) <= _LONGEST_NAME), "NAME")


def names_one_of(found: Sequence[str], wanted: Sequence[Wanted], *columns: str) -> bool:
    """Whether one of the `found` columns has the name of one of the canonical `columns`, or an alias of it."""
    known = {_key(name) for each in wanted if each.name in columns for name in (each.name, *each.aliases)}
    return any(_key(name) in known for name in found)


def listed(names: Sequence[str], most: int = 12) -> str:
    """`names` for a message, on one line; shortened when there are many, or where one is a whole text."""
    shown = ", ".join(" ".join(name.split())[:_LONGEST_NAME] for name in names[:most])
    return (f"{shown}, and {len(names) - most} more" if len(names) > most else shown) or "no columns"


def _key(name: str) -> str:
    return re.sub(r"[-_\s]", "", name.casefold())
