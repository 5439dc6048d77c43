"""Views that a model writes: near misses by a masked language model, there and back by translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pairmine.backends.masked import MaskedLM
from pairmine.backends.translators import Translator
from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.recipes import Option, Recipe, Resource
from pairmine.schema import NEGATIVE
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocuments, Pair, views_of
from pairmine.stages.derive.words import NO_WORDS
from pairmine.text import is_wordless


def mlm_edit(*, views: int, rate: float, positive: bool, mlm: MaskedLM) -> FromDocuments:
    """A text with copies in which a masked language model filled some tokens anew, as its near-miss negatives."""

    def of_documents(documents: Sequence[Document], draws: Sequence[Draws]) -> list[Found]:
        spans = mlm.spans([document.text for document in documents])
        asked: list[tuple[int, list[int], list[float]]] = []
        for at, (document, of_text, drawn) in enumerate(zip(documents, spans, draws, strict=True)):
            wordlike = [
                number for number, (start, end) in enumerate(of_text) if not is_wordless(document.text[start:end])
            ]
            for _ in range(views - 1 if wordlike else 0):
                picked = drawn.sample(len(wordlike), max(1, int(rate * len(wordlike) + 0.5)))
                asked.append((at, [wordlike[number] for number in picked], [drawn.unit() for _ in picked]))
        edited = mlm.edit(
            [documents[at].text for at, _, _ in asked],
            [masked for _, masked, _ in asked],
            [units for _, _, units in asked],
        )
        copies: list[list[tuple[str, int]]] = [[] for _ in documents]
        for (at, masked, _), copy in zip(asked, edited, strict=True):
            copies[at].append((copy, len(masked)))
        return [
            _near_misses(document, of_document, bool(of_text))
            for document, of_document, of_text in zip(documents, copies, spans, strict=True)
        ]

    def _near_misses(document: Document, copies: Sequence[tuple[str, int]], has_tokens: bool) -> Found:
        name, text = document.id, document.text
        kept = {copy: masked for copy, masked in copies if normalise(copy) != normalise(text)}
        if not kept:
            return Found((), "the model put the same words back") if copies else NO_WORDS
        pairs = [Pair(f"{name}#q0", text, name, text, role="same")] if positive else []
        pairs += [
            Pair(f"{name}#q0", text, f"{name}#n{at}", copy, NEGATIVE, (masked,), "edited")
            for at, (copy, masked) in enumerate(kept.items())
        ]
        return Found(pairs)

    return of_documents


def backtranslation(
    *,
    views: int,
    translator: Translator | None,
    back: Translator | None,
    translations: Mapping[str, Sequence[str]] | None,
) -> FromDocuments:
    """A text and what is left of it after a way through another language."""
    if translations is None and (translator is None or back is None):
        raise PairmineError(
            "recipe backtranslation needs --translator SPEC and --back SPEC, models for the way there and back, "
            "or --translations FILE, a table of a text and its back-translation, one to a row"
        )
    if translations is not None and (translator is not None or back is not None):
        raise PairmineError("--translations takes the place of --translator and --back; leave one of them out")

    def there_and_back(texts: list[str]) -> list[Sequence[str]]:
        if translations is not None:
            return [translations.get(text) or translations.get(text.strip()) or () for text in texts]
        assert translator is not None
        assert back is not None
        foreign = [found[0] if found else "" for found in translator.translate(texts)]
        full = [at for at, text in enumerate(foreign) if text.strip()]
        returned = dict(zip(full, back.translate([foreign[at] for at in full], views - 1), strict=True))
        return [returned.get(at, ()) for at in range(len(texts))]

    def of_document(document: Document, found: Sequence[str]) -> Found:
        text = document.text
        if not any(each.strip() for each in found):
            return Found((), "no back-translation" if translations is not None else "the model wrote nothing")
        seen = {normalise(text)}
        copies: list[str] = []
        for each in found:
            if normalise(each) and normalise(each) not in seen:
                seen.add(normalise(each))
                copies.append(each.strip())
        if not copies:
            return Found((), "came back as it was")
        return Found(views_of(document.id, 0, [text, *copies[: views - 1]]))

    def of_documents(documents: Sequence[Document], draws: Sequence[Draws]) -> list[Found]:
        found = there_and_back([document.text for document in documents])
        return [of_document(document, each) for document, each in zip(documents, found, strict=True)]

    return of_documents


DERIVATIONS = (
    Derivation(
        Recipe(
            name="mlm-edit",
            group="views",
            summary="A text and copies in which a masked language model filled words anew, as near-miss negatives.",
            paper="DiffCSE, arXiv 2204.10298",
            needs="mlm",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views", int, 2, "texts of each document: itself and its edited copies (DiffCSE)", low=2, high=64
                ),
                Option("rate", float, 0.3, "tokens masked and filled anew, as a part of all (DiffCSE)", low=0, high=1),
                Option(
                    "positive", bool, True, "the text as its own positive too, for triplets (DiffCSE trains on both)"
                ),
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day and the river rose by two metres."}' """
                "| pairmine derive mlm-edit - --mlm fake: -o -"
            ),
            resources=(
                Resource(
                    "mlm",
                    "mlm",
                    "the masked language model, such as mlm:distilbert/distilroberta-base; fake: tries it without one",
                    required=True,
                ),
            ),
        ),
        from_documents=mlm_edit,
        extra=(pa.field("masked", pa.int32()),),
    ),
    Derivation(
        Recipe(
            name="backtranslation",
            group="views",
            summary="A text and its translation into another language and back.",
            paper="SCT, arXiv 2311.03228",
            needs="translator",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views", int, 2, "texts of each document: itself and its back-translations (SCT)", low=2, high=16
                ),
            ),
            example=(
                """printf 'text\\tback_translation\\nIt rained all day.\\tRain fell the whole day.\\n' > back.tsv; """
                """echo '{"id": "d1", "text": "It rained all day."}' """
                "| pairmine derive backtranslation - --translations back.tsv -o -"
            ),
            resources=(
                Resource("translator", "translator", "the way there, such as mt:Helsinki-NLP/opus-mt-en-de"),
                Resource("back", "translator", "the way back, such as mt:Helsinki-NLP/opus-mt-de-en"),
                Resource("translations", "lexicon", "a table of a text and its back-translation, one to a row"),
            ),
        ),
        from_documents=backtranslation,
    ),
)
