"""A description and copies of it in which one fact is wrong: hard negatives by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.recipes import Option, Recipe, Resource
from pairmine.schema import NEGATIVE
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, Pair
from pairmine.stages.derive.wording import like
from pairmine.stages.derive.words import NO_WORDS, Lexicon
from pairmine.text import is_wordless

NUMBER, RELATION, LABEL = "number", "relation", "label"


class _Change(NamedTuple):
    """A place in a text and what may stand there instead, as a function of draws."""

    kind: str
    start: int
    end: int
    other: Callable[[Draws], str]


_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_RELATIONS = (
    "parallel perpendicular", "above below", "over under", "left right", "inside outside", "greater less",
    "more fewer", "larger smaller", "bigger smaller", "longer shorter", "higher lower", "before after",
    "earlier later", "north south", "east west", "northern southern", "eastern western", "increase decrease",
    "increases decreases", "increased decreased", "increasing decreasing", "rise fall", "rises falls", "rose fell",
    "all none", "always never", "first last", "maximum minimum", "most least", "acute obtuse", "convex concave",
    "even odd", "positive negative", "open closed", "clockwise counterclockwise", "horizontal vertical",
    "ascending descending", "import export", "imports exports", "win lose", "wins loses", "won lost", "with without",
    "internal external", "upper lower", "front back", "equilateral isosceles", "tangent secant", "radius diameter",
    "inscribed circumscribed", "bisects trisects",
)  # fmt: skip
"""English words that put two things into opposite or other relations (ours)."""

_NUMBER = re.compile(r"(?<![\w.,/-])[+-]?\d+(?:[.,]\d+)*(?!\d|[.,]\d|-[A-Z]\b|(?:st|nd|rd|th)\b)", re.ASCII)
"""Numbers in figures; not the 10 of a form 10-K, nor those whose ending would tell the change: 21st."""

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_MONTH_BEFORE = re.compile(rf"\b{_MONTH}\s+$", re.IGNORECASE)
_MONTH_BEHIND = re.compile(rf"\s+{_MONTH}(?![^\W\d_])", re.IGNORECASE)
_LONGEST_MONTH = len("september ")
_DAYS = 28
_WORD = re.compile(r"[^\W\d_]+")
_LABELLED = re.compile(
    r"(?:\b(?:points?|lines?|angles?|triangles?|quadrilaterals?|squares?|circles?|arcs?|rays?|sides?|segments?|edges?|"
    r"vertex|vertices|nodes?|figures?|tables?|groups?|class|types?|panels?|parts?|steps?|options?|sections?)\s|[∠△⊙▱Δ]\s?)"
    r"([A-Z]{1,5}[0-9']?)(?![\w])",
    re.IGNORECASE,
)


def attribute_flip(*, views: int, kinds: str, positive: bool, flips: Lexicon | None) -> FromDocument:
    """A text with copies in which a number, a relation or a label is another, as its negatives."""
    finders: dict[str, Callable[[str], Iterator[_Change]]] = {
        NUMBER: _numbers,
        RELATION: lambda text: _words(text, RELATION, _both_ways() if flips is None else flips),
        LABEL: _labels,
    }
    names = [name.strip() for name in kinds.split(",") if name.strip()]
    if unknown := next((name for name in names if name not in finders), None):
        raise PairmineError(f"--kinds has {unknown!r}; choose of {', '.join(finders)}")
    if not names:
        raise PairmineError(f"--kinds names none; choose of {', '.join(finders)}")
    if flips is not None and RELATION not in names:
        raise PairmineError("--flips has no use without relation in --kinds; add it there")

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        if is_wordless(text):
            return NO_WORDS
        changes = [change for name in dict.fromkeys(names) for change in finders[name](text)]
        if not changes:
            return Found((), "no number, relation or label to change")
        pairs: list[Pair] = []
        if positive:
            pairs.append(Pair(f"{document.id}#q0", text, document.id, text, role="same"))
        seen = {text}
        for at in draws.shuffled(len(changes)):
            change = changes[at]
            other = change.other(draws)
            wrong = text[: change.start] + other + text[change.end :]
            if wrong in seen:
                continue
            extra = (text[change.start : change.end], other, change.start, change.end)
            number = len(seen) - 1
            pairs.append(
                Pair(f"{document.id}#q0", text, f"{document.id}#n{number}", wrong, NEGATIVE, extra, change.kind)
            )
            seen.add(wrong)
            if len(seen) == views:
                break
        return Found(pairs) if len(seen) > 1 else Found((), "no number, relation or label to change")

    return of_document


@cache
def _both_ways() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for pair in _RELATIONS:
        one, other = pair.split()
        found.setdefault(one, (other,))
        found.setdefault(other, (one,))
    return found


def _numbers(text: str) -> Iterator[_Change]:
    """Numbers in figures, and the small ones in English words; another one has as many digits and decimals."""
    for found in _NUMBER.finditer(text):
        other = _other_day if _is_day(text, found) else _other_number
        yield _Change(NUMBER, *found.span(), partial(other, found[0]))
    yield from _words(text, NUMBER, _number_words())


def _words(text: str, kind: str, others_of: Lexicon) -> Iterator[_Change]:
    """The words of `text` that `others_of` has others for."""
    for found in _WORD.finditer(text):
        word = found[0]
        others = others_of.get(word) or others_of.get(word.lower())
        if others:
            yield _Change(kind, *found.span(), partial(_another, word, others))


def _another(model: str, others: Sequence[str], draws: Draws) -> str:
    return like(model, others[draws.below(len(others))])


@cache
def _number_words() -> dict[str, tuple[str, ...]]:
    """Each number's name with the others of its row; "one" is as often a pronoun."""
    found = {word: tuple(other for other in row if other != word) for row in (_COUNTS, _ORDINALS) for word in row}
    del found["one"]
    return found


def _is_day(text: str, found: re.Match[str]) -> bool:
    """Whether the number is the day of an English date, such as December 31 or 3 May."""
    if not found[0].isdigit() or not 1 <= int(found[0]) <= 31:
        return False
    before = text[max(0, found.start() - _LONGEST_MONTH) : found.start()]
    return bool(_MONTH_BEFORE.search(before) or _MONTH_BEHIND.match(text, found.end()))


def _other_day(written: str, draws: Draws) -> str:
    """Another day that every month has, with a zero in front where `written` has one."""
    days = [day for day in range(1, _DAYS + 1) if day != int(written)]
    return f"{days[draws.below(len(days))]:0{len(written) if written[0] == '0' else 1}d}"


def _other_number(written: str, draws: Draws) -> str:
    """Another number written alike: its last digits drawn anew, those in front of them kept where there are many.

    A year stays in its century, 12.5 becomes a number with one decimal, no number starts with a new zero.
    """
    digits = [at for at, character in enumerate(written) if character.isdigit()]
    drawn = digits[-2:] if len(digits) > 2 else digits
    while True:
        characters = list(written)
        for at in drawn:
            least = 1 if at == digits[0] and len(digits) > 1 else 0
            characters[at] = str(least + draws.below(10 - least))
        if characters != list(written):
            return "".join(characters)


def _labels(text: str) -> Iterator[_Change]:
    """Names of points, angles, figures: letters in capitals behind the word for what they name."""
    spots = [found for found in _LABELLED.finditer(text) if found[1][0].isupper() and found[1].upper() == found[1]]
    known = sorted({letter for found in spots for letter in found[1] if letter.isalpha()})
    for found in spots:
        yield _Change(LABEL, *found.span(1), partial(_other_label, found[1], known))


def _other_label(label: str, known: list[str], draws: Draws) -> str:
    """`label` with one letter changed into another that the text names things with, else into the next free one."""
    letters = [at for at, character in enumerate(label) if character.isalpha()]
    at = letters[draws.below(len(letters))]
    free = [letter for letter in known if letter not in label]
    if not free:
        free = [letter for letter in "ABCDEFGHKLMNPQRSTUVWXYZ" if letter not in label][:4]
    return label[:at] + free[draws.below(len(free))] + label[at + 1 :]


DERIVATIONS = (
    Derivation(
        Recipe(
            name="attribute-flip",
            group="views",
            summary="A description and copies with one wrong number, relation or label, as hard negatives.",
            paper="MMGeoLM, arXiv 2505.20152",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views", int, 2, "texts of each document: itself and its wrong copies (our default)", low=2, high=64
                ),
                Option("kinds", str, "number,relation,label", "what is changed, one thing in each copy (MMGeoLM)"),
                Option("positive", bool, True, "the text as its own positive too, for triplets (our default; SimCSE)"),
            ),
            example=(
                """echo '{"id": "g1", "text": "In triangle ABC the side AB is 12 cm long and parallel to DE."}' """
                "| pairmine derive attribute-flip - --views 4 -o -"
            ),
            resources=(
                Resource(
                    "flips",
                    "lexicon",
                    "a table of a word and one that makes the text wrong, one to a row, in place of our English list",
                ),
            ),
        ),
        from_document=attribute_flip,
        extra=(
            pa.field("before", pa.string()),
            pa.field("after", pa.string()),
            pa.field("start", pa.int32()),
            pa.field("end", pa.int32()),
        ),
    ),
)
