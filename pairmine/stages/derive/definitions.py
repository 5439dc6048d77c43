"""Dictionaries: an entry and what it means."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, text_key
from pairmine.recipes import Input, Option, Recipe, Resource
from pairmine.stages.derive import cells
from pairmine.stages.derive.registry import Derivation, DrawsOf, FoundInTable, FromTable, Pair


def definitions(*, query: str, entries: str, per_query: int, tokenizer: Any) -> FromTable:
    """Entries of a dictionary with their definitions; what one query has several of are all its positives."""
    if entries == "token" and tokenizer is None:
        raise PairmineError("--entries token needs --tokenizer, whose vocabulary says what a single token is")
    if entries != "token" and tokenizer is not None:
        raise PairmineError(f"--tokenizer has no effect with --entries {entries}; it is for --entries token")

    # What no vocabulary holds is the unknown token, or several bytes.
    unknown = _tokens(tokenizer, "\ue000") if entries == "token" else []

    def is_wanted(word: str) -> bool:
        if entries == "word":
            return len(word.split()) == 1
        # Inside a text, where a vocabulary of byte pairs has most of its words, a blank stands before the word.
        return entries == "any" or any(
            len(ids) == 1 and ids != unknown for ids in (_tokens(tokenizer, word), _tokens(tokenizer, f" {word}"))
        )

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        reasons: dict[int, str] = {}
        groups: dict[int, dict[int, tuple[int, Pair]]] = {}
        spelled: dict[int, str] = {}
        meanings = cells.text_lists(rows, "definition")
        for row, words in enumerate(cells.text_lists(rows, "word")):
            names = [word.replace("_", " ").strip() for word in words]
            chosen = [name for name in names if is_wanted(name)]
            if not names or not meanings[row]:
                reasons[row] = "no definition" if names else "no entry"
            elif not chosen:
                reasons[row] = "not a single token" if entries == "token" else "not a single word"
            else:
                reasons[row] = "duplicate"
                for name in chosen:
                    for meaning in meanings[row]:
                        sides = (name, meaning) if query == "word" else (meaning, name)
                        asked, answer = (text_key(side) for side in sides)
                        group = groups.setdefault(asked, {})
                        if asked == answer:
                            reasons[row] = "the definition is the entry"
                        elif answer not in group:
                            texts = [spelled.setdefault(*each) for each in zip((asked, answer), sides, strict=True)]
                            group[answer] = row, _pair(*texts)
        drawn = [found for group in groups.values() for found in _drawn(list(group.values()), per_query, draws_of)]
        for row, _ in drawn:
            reasons.pop(row, None)
        for group in groups.values():
            reasons.update({row: "beyond --per-query" for row, _ in group.values() if reasons.get(row) == "duplicate"})
        return FoundInTable(drawn, reasons)

    return of_table


def _tokens(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def _pair(query: str, document: str) -> Pair:
    return Pair(content_id(query), query, content_id(document), document)


def _drawn(group: list[tuple[int, Pair]], most: int, draws_of: DrawsOf) -> list[tuple[int, Pair]]:
    if not most or len(group) <= most:
        return group
    return [group[at] for at in draws_of(group[0][1].query_id).sample(len(group), most)]


DERIVATIONS = (
    Derivation(
        Recipe(
            name="definitions",
            group="structure",
            summary="Entries of a dictionary with their definitions.",
            paper="DefSent, arXiv 2105.04339",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "word",
                    "the entry, or a list of entries of one meaning",
                    ("lemma", "lemmas", "words", "term", "entry", "headword", "title", "phrase"),
                ),
                Input(
                    "definition",
                    "what it means, or a list of definitions",
                    ("definitions", "gloss", "meaning", "meanings", "description", "sense"),
                ),
            ),
            options=(
                Option(
                    "query",
                    str,
                    "word",
                    "which side is the query; all that the other side has for it are its positives (our default)",
                    choices=("word", "definition"),
                ),
                Option(
                    "entries",
                    str,
                    "any",
                    "any entry (DefSent+), entries of a single word, or of a single token of --tokenizer (DefSent)",
                    choices=("any", "word", "token"),
                ),
                Option(
                    "per-query", int, 0, "most positives of a query, drawn at random; 0 takes all (DefSent+)", low=0
                ),
            ),
            example=(
                """printf 'ebb\\tthe going out of the tide\\nebb\\ta poor state\\nflow\\tthe rising tide\\n' """
                "| pairmine derive definitions - --columns word,definition -o -"
            ),
            whole=True,
            resources=(
                Resource(
                    "tokenizer", "tokenizer", "with --entries token: whose vocabulary says what a single token is"
                ),
            ),
        ),
        from_table=definitions,
    ),
)
