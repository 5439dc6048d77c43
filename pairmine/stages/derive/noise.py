"""Noisy copies: slips and lost words, names as a scanner reads them, phrases as people vary them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pairmine.errors import PairmineError
from pairmine.recipes import Option, Recipe, Resource
from pairmine.stages.derive.characters import (
    KINDS,
    has_kana,
    look_alike_places,
    look_alikes,
    look_alikes_without_kana,
    places,
    with_slip,
)
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, Pair
from pairmine.stages.derive.wording import Wording, distinct, others_for, wording
from pairmine.stages.derive.words import NO_VIEW, NO_WORDS, Lexicon
from pairmine.text import is_wordless

CHARACTER, SYNONYM, PARAPHRASE, SWAP, SAME = "character", "synonym", "paraphrase", "swap", "same"


def noise(*, views: int, delete: float, swap: float, repeat: float, characters: float) -> FromDocument:
    """A noisy copy of a text as the query for the text itself."""
    if not delete + swap + repeat + characters:
        raise PairmineError("--delete, --swap, --repeat and --characters are all 0; raise one of them")
    if delete + swap + repeat + characters > 1:
        raise PairmineError("--delete, --swap, --repeat and --characters make more than 1 together; lower them")
    doubled = delete + swap + repeat
    misspelt = doubled + characters

    def change(word: str, draws: Draws) -> str:
        """The word with a slip in it, of the first kind in a random order that the word has a place for."""
        for at in draws.shuffled(len(KINDS)):
            if slipped := with_slip(word, KINDS[at], draws):
                return slipped
        return word

    def noisy(text: Wording, draws: Draws) -> str:
        drawn = draws.units(len(text)).tolist()
        order = list(range(len(text)))
        slips: dict[int, str] = {}
        for at, chance in enumerate(drawn):
            if delete <= chance < delete + swap and at + 1 < len(order):
                order[at], order[at + 1] = order[at + 1], order[at]
            elif doubled <= chance < misspelt:
                slips[at] = change(text.words[at], draws)
        moved = text.replaced(slips).in_order(order)
        doubles = [place for place, at in enumerate(order) if delete + swap <= drawn[at] < doubled]
        gone = [place for place, at in enumerate(order) if drawn[at] < delete]
        return moved.with_copies(gone, doubles).text()

    def of_document(document: Document, draws: Draws) -> Found:
        if is_wordless(document.text):
            return NO_WORDS
        text = wording(document.text)

        def make() -> str:
            made = noisy(text, draws)
            return "" if is_wordless(made) else made

        return _queries(document, distinct(make, views - 1, [document.text]))

    return of_document


def ocr(*, views: int, rate: float, confusions: Lexicon | None) -> FromDocument:
    """A text as a scanner might read it, as the query for the text itself."""
    given = None if confusions is None else (dict(confusions), places(dict(confusions)))

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        table, pattern = given or _own_look_alikes(text)
        spots = [spot.span() for spot in pattern.finditer(text)]
        if not spots:
            return Found((), "nothing that a scanner would misread")
        letters = sum(map(str.isalnum, text))
        number = max(1, int(rate * letters + 0.5))

        def make() -> str:
            parts, done = [], 0
            for at in draws.sample(len(spots), number):
                start, end = spots[at]
                read = table[text[start:end]]
                parts += [text[done:start], read[draws.below(len(read))]]
                done = end
            return "".join([*parts, text[done:]]).strip()

        return _queries(document, distinct(make, views - 1, [text]))

    return of_document


def _own_look_alikes(text: str) -> tuple[dict[str, tuple[str, ...]], re.Pattern[str]]:
    kana = has_kana(text)
    return look_alikes() if kana else look_alikes_without_kana(), look_alike_places(kana=kana)


def _queries(document: Document, noisy: list[str]) -> Found:
    """Each noisy copy as a query of its own for the document."""
    name = document.id
    found = [Pair(f"{name}#q{at}", text, name, document.text) for at, text in enumerate(noisy)]
    return Found(found) if found else NO_VIEW


_Choice = str | dict[int, str]
"""A text, or the words that others take the place of, by number."""


def phrase(
    *,
    views: int,
    character: float,
    synonym: float,
    paraphrase: float,
    swap: float,
    same: float,
    synonyms: Lexicon | None,
    paraphrases: Lexicon | None,
) -> FromDocument:
    """A phrase and variants of it, each of a kind drawn by its share among those that the phrase has."""
    shares = {CHARACTER: character, SYNONYM: synonym, PARAPHRASE: paraphrase, SWAP: swap, SAME: same}
    if not sum(shares.values()):
        raise PairmineError("--character, --synonym, --paraphrase, --swap and --same are all 0; raise one of them")
    for name, lexicon in ((SYNONYM, synonyms), (PARAPHRASE, paraphrases)):
        if shares[name] and lexicon is None:
            raise PairmineError(
                f"recipe phrase takes a {name} for {shares[name]:g} of its views: give --{name}s FILE, "
                f"a table of a phrase and another for it, one to a row, or set --{name} 0"
            )
        if not shares[name] and lexicon is not None:
            raise PairmineError(f"--{name}s has no use with --{name} 0; leave one of them out")

    def variants(text: str) -> dict[str, list[_Choice]]:
        """Of the kinds whose share is above 0, what the phrase gives by look-up; a kind without any is left out."""
        found: dict[str, list[_Choice]] = {kind: [] for kind in (CHARACTER, SWAP, SAME) if shares[kind]}
        phrase_words = wording(text)
        if synonyms is not None:
            found[SYNONYM] = [
                {at: other} for at, word in enumerate(phrase_words.words) for other in others_for(word, synonyms)
            ]
        if paraphrases is not None:
            found[PARAPHRASE] = list(others_for(text.strip(), paraphrases))
        if len(phrase_words) < 2:
            found.pop(SWAP, None)
        return {kind: choices for kind, choices in found.items() if choices or kind in (CHARACTER, SWAP, SAME)}

    def vary(text: str, kind: str, choices: list[_Choice], draws: Draws) -> str:
        if kind == SAME:
            return text
        if kind == SWAP:
            phrase_words = wording(text)
            at = draws.below(len(phrase_words) - 1)
            order = list(range(len(phrase_words)))
            order[at], order[at + 1] = order[at + 1], order[at]
            return phrase_words.in_order(order).text()
        if kind == CHARACTER:
            return next((made for at in draws.shuffled(len(KINDS)) if (made := with_slip(text, KINDS[at], draws))), "")
        choice = choices[draws.below(len(choices))]
        return choice if isinstance(choice, str) else wording(text).replaced(choice).text()

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        if is_wordless(text):
            return NO_WORDS
        possible = variants(text)
        made: list[tuple[str, str]] = []

        def make() -> str:
            kind = _drawn({each: shares[each] for each in possible}, draws)
            varied = vary(text, kind, possible[kind], draws)
            made.append((kind, varied.strip()))
            return "" if kind != SAME and varied.strip() == text.strip() else varied.strip()

        found = distinct(make, views - 1, []) if possible else []
        kinds = {varied: kind for kind, varied in reversed(made)}
        name = document.id
        pairs = [Pair(f"{name}#q0", text, f"{name}#p{at}", each, role=kinds[each]) for at, each in enumerate(found)]
        return Found(pairs) if pairs else NO_VIEW

    return of_document


def _drawn(shares: Mapping[str, float], draws: Draws) -> str:
    """One of the names, with a chance as large as its share of all."""
    left = draws.unit() * sum(shares.values())
    for name, share in shares.items():
        left -= share
        if left < 0:
            return name
    return name


def _chance(name: str, default: float, meaning: str) -> Option:
    return Option(name, float, default, meaning, low=0, high=1)


_NOISY_VIEWS = Option(
    "views",
    int,
    2,
    "texts of each document: itself and its noisy copies, each a query for it (our default)",
    low=2,
    high=64,
)

DERIVATIONS = (
    Derivation(
        Recipe(
            name="noise",
            group="views",
            summary="A noisy copy of a text, with words lost, swapped, doubled and misspelt, as the query for it.",
            paper="DenoSent, arXiv 2401.13621",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                _NOISY_VIEWS,
                _chance("delete", 0.1, "chance of each word to be lost (our default)"),
                _chance("swap", 0.05, "chance of each word to change places with the next (our default)"),
                _chance("repeat", 0.05, "chance of each word to stand twice (our default)"),
                _chance("characters", 0.1, "chance of each word to have one wrong character (our default)"),
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day and the river rose by two metres."}' """
                "| pairmine derive noise - -o -"
            ),
        ),
        from_document=noise,
    ),
    Derivation(
        Recipe(
            name="ocr",
            group="views",
            summary="A text or name with characters misread as a scanner does, as the query for the clean one.",
            paper="CLIPPINGS, arXiv 2304.03464",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                _NOISY_VIEWS,
                Option(
                    "rate",
                    float,
                    0.05,
                    "misread characters, as a part of all; one at least (our default)",
                    low=0,
                    high=1,
                ),
            ),
            example="""echo '{"id": "f1", "text": "Harbour Milling Company 1908"}' | pairmine derive ocr - -o -""",
            resources=(
                Resource(
                    "confusions",
                    "lexicon",
                    "a table of characters and what they are read as, one to a row, in place of our list "
                    "of Latin, Cyrillic and Japanese look-alikes",
                ),
            ),
        ),
        from_document=ocr,
    ),
    Derivation(
        Recipe(
            name="phrase",
            group="views",
            summary="A phrase or name and a variant of it: misspelt, with a synonym, paraphrased, words swapped.",
            paper="PEARL, arXiv 2401.10407",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option("views", int, 2, "texts of each phrase: itself and its variants (our default)", low=2, high=64),
                _chance("character", 0.1, "share of variants with one wrong character (PEARL)"),
                _chance("synonym", 0.3, "share of variants with a synonym for a word, from --synonyms (PEARL)"),
                _chance("paraphrase", 0.5, "share of variants that stand in --paraphrases (PEARL)"),
                _chance("swap", 0.05, "share of variants with two neighbouring words swapped (PEARL)"),
                _chance("same", 0.05, "share of variants that are the phrase itself (PEARL)"),
            ),
            example=(
                "printf 'word\\tsynonym\\nriver\\tstream\\n' > synonyms.tsv; "
                "printf 'phrase\\tparaphrase\\nriver bank\\tbank of a river\\n' > paraphrases.tsv; "
                """echo '{"id": "p1", "text": "river bank"}' | pairmine derive phrase - """
                "--synonyms synonyms.tsv --paraphrases paraphrases.tsv -o -"
            ),
            resources=(
                Resource("synonyms", "lexicon", "a table of a word and another for it, one to a row"),
                Resource("paraphrases", "lexicon", "a table of a phrase and another for it, one to a row"),
            ),
        ),
        from_document=phrase,
    ),
)
