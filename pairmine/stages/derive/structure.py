"""Structure that is already there: a title with its text."""

from __future__ import annotations

from pairmine.identity import normalise
from pairmine.recipes import Input, Option, Recipe
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, Pair
from pairmine.text import count_words, is_wordless


def title(*, min_words: int) -> FromDocument:
    """The title of a document as the query for its text."""

    def of_document(document: Document, draws: Draws) -> Found:
        heading = (document.title or "").strip()
        if not heading or is_wordless(heading):
            return Found((), "no title")
        if count_words(heading) < min_words:
            return Found((), "title too short")
        if normalise(heading) == normalise(document.text):
            return Found((), "the title is the whole text")
        return Found([Pair(f"{document.id}#q0", heading, document.id, document.text)])

    return of_document


DERIVATIONS = (
    Derivation(
        Recipe(
            name="title",
            group="structure",
            summary="The title of a document as the query for its text.",
            paper="E5, arXiv 2212.03533",
            needs="none",
            reads="documents",
            inputs=(*DOCUMENT, Input("title", "the document's title")),
            options=(Option("min-words", int, 1, "words that a title must have (our default)", low=1),),
            example=(
                """echo '{"id": "d1", "title": "Ebb and flow", "text": "The sea rises and falls twice a day."}' """
                "| pairmine derive title - -o -"
            ),
        ),
        from_document=title,
    ),
)
