"""A pair set in another language: both sides of a pair, or one of them, translated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.recipes import Option, Recipe, Resource
from pairmine.stages.derive import cells
from pairmine.stages.derive.registry import PAIR, Derivation, DrawsOf, FoundInTable, FromTable, Pair


def translate(*, sides: str, translations: Mapping[str, Sequence[str]] | None, translator: Any | None) -> FromTable:
    """The pairs with their texts in another language, label and grade as they were."""
    if translations is None and translator is None:
        raise PairmineError(
            "recipe translate needs --translations FILE, a table of texts and their translations, or --translator SPEC"
        )
    by_key = {text_key(text): found[0] for text, found in (translations or {}).items() if found}

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        queries, documents = cells.texts(rows, "query"), cells.texts(rows, "document")
        wanted = [queries if sides != "document" else [], documents if sides != "query" else []]
        known = _translated((text for some in wanted for text in some), by_key, translator)
        labels = _column(rows, "label")
        grades = _column(rows, "grade")
        pairs: list[tuple[int, Pair]] = []
        reasons: dict[int, str] = {}
        for row, given in enumerate(zip(_column(rows, "query_id"), _column(rows, "doc_id"), strict=True)):
            query = known.get(queries[row], "") if sides != "document" else queries[row]
            document = known.get(documents[row], "") if sides != "query" else documents[row]
            if not query or not document:
                reasons[row] = "no translation of the document" if query else "no translation of the query"
            elif text_key(query) == text_key(document) and queries[row] != documents[row]:
                reasons[row] = "both sides have the same translation"
            else:
                query_id, doc_id = _ids(given, sides)
                pairs.append((row, Pair(query_id, query, doc_id, document, labels[row], (grades[row],))))
        return FoundInTable(pairs, reasons)

    return of_table


def _column(rows: pa.Table, name: str) -> list[Any]:
    found: list[Any] = rows[name].to_pylist() if name in rows.column_names else [None] * rows.num_rows
    return found


def _ids(given: tuple[str, str], sides: str) -> tuple[str, str]:
    """A translated text is another text, so it has another id."""
    query_id, doc_id = given
    return query_id if sides == "document" else f"{query_id}#t", doc_id if sides == "query" else f"{doc_id}#t"


def _translated(texts: Iterable[str], known: Mapping[int, str], translator: Any | None) -> dict[str, str]:
    """The translation of each text, the user's before the model's; a text without one is left out."""
    found: dict[str, str] = {}
    open_still = []
    for text in dict.fromkeys(texts):
        if translation := known.get(text_key(text), ""):
            found[text] = translation
        elif text:
            open_still.append(text)
    if translator is not None and open_still:
        for text, best in zip(open_still, translator.translate(open_still), strict=True):
            if best and best[0].strip():
                found[text] = best[0].strip()
    return found


DERIVATIONS = (
    Derivation(
        Recipe(
            name="translate",
            group="structure",
            summary="A pair set in another language: its texts translated, its labels and grades kept.",
            paper="MahaSBERT, arXiv 2211.11187",
            needs="none",
            reads="pairs",
            inputs=PAIR,
            options=(
                Option(
                    "sides",
                    str,
                    "both",
                    "what is translated: both sides (MahaSBERT), or one, for search across languages",
                    choices=("both", "query", "document"),
                ),
            ),
            example=(
                """printf 'text,other\\nA man sleeps.,Ein Mann schläft.\\nSomeone rests.,Jemand ruht.\\n' """
                """> de.csv && echo '{"query": "A man sleeps.", "document": "Someone rests.", "label": 1}' """
                "| pairmine derive translate - --translations de.csv -o -"
            ),
            resources=(
                Resource("translations", "lexicon", "a table of text and translation, used before the model"),
                Resource("translator", "translator", "the model for texts that --translations does not hold"),
            ),
        ),
        from_table=translate,
        extra=(pa.field("grade", pa.float32()),),
    ),
)
