"""Soft copies of code and of its queries: some tokens masked, or replaced by the name of their kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pairmine.errors import PairmineError
from pairmine.identity import content_id
from pairmine.recipes import Option, Recipe
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import PAIR, Derivation, Found, FromRow, Pair
from pairmine.stages.derive.wording import distinct, wording


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_KEYWORDS = _set(
    "abstract and as assert async await bool boolean break case catch char class const continue def default "
    "defer del do double elif else elsif end enum except export extends extern false final finally float fn "
    "for foreach from func function global go goto if impl implements import in instanceof int interface is "
    "lambda let long match mod module mut namespace new nil none nonlocal not null or package pass private "
    "protected pub public raise require return self short signed sizeof static string struct super switch "
    "synchronized then this throw throws trait true try type typedef typeof undefined union unless unsigned "
    "until use using var void volatile when where while with yield"
)
"""Words that common languages keep for themselves; a lexer for any language need not be right about each (ours)."""

_TOKEN = re.compile(
    r"(?P<comment>#(?!include|define|if|endif|else|pragma)[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<string>[rbuf]{0,2}(?:'''.*?(?:'''|\Z)|\"\"\".*?(?:\"\"\"|\Z)|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|`[^`]*`?))"
    r"|(?P<number>\d(?:[\w.]|(?<=[eE])[+-])*)"
    r"|(?P<identifier>[^\W\d]\w*[?!]?|[$@][^\W\d]\w*)"
    r"|(?P<operator>[-+*/%=<>!&|^~?:]+)"
    r"|(?P<punctuation>[()\[\]{},.;\\])",
    re.S | re.IGNORECASE,
)

HOW = ("mask", "mask-one-kind", "type", "type-one-kind")


def tokens_of(code: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of each token of `code` in any common language.

    Kinds: comment, string, number, keyword, identifier, operator, punctuation. Nothing raises: an
    open string runs to the end of its line, an open comment to the end of the text.

    >>> tokens_of("if x1: y")
    [(0, 2, 'keyword'), (3, 5, 'identifier'), (5, 6, 'operator'), (7, 8, 'identifier')]
    """
    found = []
    for token in _TOKEN.finditer(code):
        kind = token.lastgroup or ""
        if kind == "identifier" and token[0].lower() in _KEYWORDS:
            kind = "keyword"
        found.append((token.start(), token.end(), kind))
    return found


def code_soft(*, views: int, side: str, how: str, rate: float, replaced: float, mask_token: str) -> FromRow:
    """Pairs with soft copies of the code, or of a text with a soft copy of itself."""
    if not mask_token.strip():
        raise PairmineError("--mask-token is blank; give the token that your model masks with, such as [MASK]")
    ways = HOW if how == "any" else (how,)

    def soft_code(code: str, spots: list[tuple[int, int, str]], draws: Draws) -> str:
        way = ways[draws.below(len(ways))]
        able = spots
        if way.endswith("one-kind"):
            kinds = sorted({kind for _, _, kind in spots})
            kind = kinds[draws.below(len(kinds))]
            able = [spot for spot in spots if spot[2] == kind]
        number = max(1, int(rate * len(spots) + 0.5))
        parts, done = [], 0
        for at in draws.sample(len(able), number):
            if draws.unit() >= replaced:
                continue
            start, end, kind = able[at]
            parts += [code[done:start], mask_token if way.startswith("mask") else f"<{kind}>"]
            done = end
        return "".join([*parts, code[done:]])

    def soft_text(text: str, draws: Draws) -> str:
        of_text = wording(text)
        number = max(1, int(rate * len(of_text) + 0.5))
        picked = [at for at in draws.sample(len(of_text), number) if draws.unit() < replaced]
        return of_text.replaced(dict.fromkeys(picked, mask_token)).text()

    def soft_copies(text: str, is_code: bool, draws: Draws) -> list[str]:
        if not is_code:
            return distinct(lambda: soft_text(text, draws), views - 1, [text])
        spots = tokens_of(text)
        return distinct(lambda: soft_code(text, spots, draws).strip(), views - 1, [text]) if spots else []

    def of_row(row: Mapping[str, Any], draws: Draws) -> Found:
        query, code = row["query"] or "", row["document"] or ""
        if row["label"] is not None and int(row["label"]) == NEGATIVE:
            return Found((), "a negative pair")
        if not code.strip() or (side != "code" and not query.strip()):
            return Found((), "no text")
        query_id = row["query_id"] or content_id(query)
        code_id = row["doc_id"] or content_id(code)
        anchor = (code_id, code) if side == "code" else (query_id, query)
        role = "" if side == "pair" else side
        pairs = [
            Pair(*anchor, content_id(copy), copy, row["label"] if side == "pair" else POSITIVE, role=role)
            for copy in soft_copies(query if side == "query" else code, side != "query", draws)
        ]
        return Found(pairs) if pairs else Found((), "no different view")

    return of_row


DERIVATIONS = (
    Derivation(
        Recipe(
            name="code-soft",
            group="code",
            summary="Pairs of query and code in which some code tokens are masked or replaced by their kind.",
            paper="CoCoSoDa, arXiv 2204.03293",
            needs="none",
            reads="pairs",
            inputs=PAIR,
            options=(
                Option(
                    "views",
                    int,
                    2,
                    "texts in a group: the query and soft copies of its code (our default)",
                    low=2,
                    high=64,
                ),
                Option(
                    "side",
                    str,
                    "pair",
                    "pair: the query with soft code; code or query: a text with its own soft copy (CoCoSoDa: all)",
                    choices=("pair", "code", "query"),
                ),
                Option(
                    "how",
                    str,
                    "any",
                    "mask tokens or put their kind for them, of all kinds or of one; any draws a way (CoCoSoDa)",
                    choices=("any", *HOW),
                ),
                Option("rate", float, 0.15, "tokens picked, as a part of all (CoCoSoDa)", low=0, high=1),
                Option("replaced", float, 0.8, "chance of a picked token to be changed (CoCoSoDa)", low=0, high=1),
                Option("mask-token", str, "[MASK]", "what stands for a masked token (our default; BERT's)"),
            ),
            example=(
                """echo '{"query": "area of a circle", "document": "def area(r):\\n    return 3.14 * r ** 2"}' """
                "| pairmine derive code-soft - -o -"
            ),
        ),
        from_row=code_soft,
    ),
)
