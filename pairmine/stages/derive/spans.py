"""Stretches of one document that answer each other: spans of words, sentences of a window, sentences in order."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.recipes import Option, Recipe, Resource
from pairmine.schema import POSITIVE
from pairmine.stages.derive.cuts import POSITIONS, SENTENCE_WORDS, Span, full_sentences, word_starts
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, Pair
from pairmine.text import is_wordless

_ATTEMPTS = 8
"""How often a span that repeats another one of its group is drawn again."""


def spans(*, views: int, anchors: int, min_words: int, max_words: int, positives: str, tokenizer: Any) -> FromDocument:
    """Long spans as queries, shorter ones around them as their documents.

    Each anchor has an equal part of the document for itself and its positives, so that the spans of
    two anchors never meet; a document must have twice the room that its anchors could take.
    """
    if min_words > max_words:
        raise PairmineError(f"--min-words {min_words} is above --max-words {max_words}; lower it")
    least = 2 * anchors * max_words
    too_short = Found((), f"fewer than {least} {'tokens' if tokenizer else 'words'}, 2 x --anchors x --max-words")
    around = _AROUND[positives]

    def length(draws: Draws, first: int, second: int) -> int:
        return min_words + int(draws.beta(first, second) * (max_words - min_words + 1))

    def group(text: str, starts: list[int], part: Span, draws: Draws) -> dict[str, int]:
        """The anchor and its positives, each with where it starts."""
        low, high = part
        of_anchor = length(draws, 4, 2)
        start = low + draws.below(high - low - of_anchor + 1)
        anchor = start, start + of_anchor
        found: dict[str, int] = {}
        take(text, starts, anchor, found)
        for _ in range((views - 1) * _ATTEMPTS if found else 0):
            take(text, starts, around(anchor, part, length(draws, 2, 4), draws), found)
            if len(found) == views:
                break
        return found

    def take(text: str, starts: list[int], span: Span, found: dict[str, int]) -> None:
        start = starts[span[0]]
        cut = text[start : starts[span[1]]].rstrip()
        if cut not in found and not is_wordless(cut):
            found[cut] = start

    def of_document(document: Document, draws: Draws) -> Found:
        name, text = document.id, document.text
        starts = _token_starts(text, tokenizer) if tokenizer else word_starts(text)
        count = len(starts) - 1
        if count < least:
            return too_short
        pairs = []
        for number in range(anchors):
            part = count * number // anchors, count * (number + 1) // anchors
            query, *others = group(text, starts, part, draws).items() or [("", 0)]
            place = query[1], query[1] + len(query[0])
            query_id, first = f"{name}#q{number}", number * (views - 1)
            pairs += [
                Pair(query_id, query[0], f"{name}#p{at}", cut, POSITIVE, (*place, start, start + len(cut)))
                for at, (cut, start) in enumerate(others, first)
            ]
        return Found(pairs) if pairs else Found((), "no two different spans")

    return of_document


def _token_starts(text: str, tokenizer: Any) -> list[int]:
    """For each token, where the word begins that it stands in, so that no cut parts a word."""
    words = word_starts(text)
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return [words[max(0, bisect_right(words, start) - 1)] for start, _ in offsets] + [len(text)]


def _anywhere(anchor: Span, part: Span, length: int, draws: Draws) -> Span:
    """A span that overlaps the anchor, touches it, or lies within it."""
    first = max(part[0], anchor[0] - length)
    start = first + draws.below(min(part[1] - length, anchor[1]) - first + 1)
    return start, start + length


def _adjacent(anchor: Span, part: Span, length: int, draws: Draws) -> Span:
    """A span that ends where the anchor starts or starts where it ends, shorter where its part of the text ends."""
    before, after = anchor[0] - part[0], part[1] - anchor[1]
    is_before = draws.unit() < 0.5 if min(before, after) >= length else before > after
    length = min(length, max(before, after))
    return (anchor[0] - length, anchor[0]) if is_before else (anchor[1], anchor[1] + length)


def _within(anchor: Span, part: Span, length: int, draws: Draws) -> Span:
    """A span of the anchor."""
    length = min(length, anchor[1] - anchor[0])
    start = anchor[0] + draws.below(anchor[1] - anchor[0] - length + 1)
    return start, start + length


_AROUND = {"any": _anywhere, "adjacent": _adjacent, "subsumed": _within}


def context_window(*, views: int, window: int, per_document: int, min_words: int) -> FromDocument:
    """Each sentence as the query of others that stand near it."""

    def of_document(document: Document, draws: Draws) -> Found:
        name, text = document.id, document.text
        places, full = full_sentences(text, min_words)
        if len(places) < 2:
            return Found((), "only one sentence")
        if len(full) < 2:
            return Found((), "too short")
        texts = [text[slice(*places[at])] for at in full]
        keys = list(map(normalise, texts))
        near = [_near(full, keys, at, window) for at in range(len(full))]
        candidates = [at for at, others in enumerate(near) if others]
        pairs = []
        for drawn in draws.sample(len(candidates), per_document or len(candidates)):
            at = candidates[drawn]
            query, query_id, place = texts[at], f"{name}#q{full[at]}", places[full[at]]
            for other in map(near[at].__getitem__, draws.sample(len(near[at]), views - 1)):
                extra = (*place, *places[full[other]], full[other] - full[at])
                pairs.append(Pair(query_id, query, f"{name}#p{full[other]}", texts[other], POSITIVE, extra))
        return Found(pairs) if pairs else Found((), "no two different sentences in a window")

    return of_document


def _near(full: list[int], keys: list[str], at: int, window: int) -> list[int]:
    """Which of the `full` sentences stand at most `window` sentences from number `at` and say something else."""
    first = last = at
    while first and full[at] - full[first - 1] <= window:
        first -= 1
    while last + 1 < len(full) and full[last + 1] - full[at] <= window:
        last += 1
    return [other for other in range(first, last + 1) if keys[other] != keys[at]]


def ordered_triples(*, per_document: int, min_words: int) -> FromDocument:
    """A sentence as the query of two later ones, with the time at which the one between them stands."""

    def of_document(document: Document, draws: Draws) -> Found:
        name, text = document.id, document.text
        places, full = full_sentences(text, min_words)
        keys = {normalise(text[slice(*places[at])]): at for at in reversed(full)}
        if len(keys) < 3:
            return Found((), "fewer than three sentences")
        full = sorted(keys.values())
        pairs: list[Pair] = []
        seen: set[tuple[int, ...]] = set()
        for number in range(per_document):
            triple = next(filter(lambda drawn: drawn not in seen, (_triple(full, draws) for _ in range(_ATTEMPTS))), ())
            if not triple:
                break
            seen.add(triple)
            start, middle, end = (places[at] for at in triple)
            query, time = text[slice(*start)], (triple[1] - triple[0]) / (triple[2] - triple[0])
            for at, (cut, role, moment) in enumerate(((middle, "middle", time), (end, "end", 1.0)), 2 * number):
                extra = (*start, *cut, moment)
                pairs.append(
                    Pair(f"{name}#q{number}", query, f"{name}#p{at}", text[slice(*cut)], POSITIVE, extra, role)
                )
        return Found(pairs)

    return of_document


def _triple(full: list[int], draws: Draws) -> tuple[int, ...]:
    return tuple(map(full.__getitem__, draws.sample(len(full), 3)))


DERIVATIONS = (
    Derivation(
        Recipe(
            name="spans",
            group="views",
            summary="Long spans of a document, each with shorter spans that overlap it, touch it or lie within it.",
            paper="DeCLUTR, arXiv 2006.03659",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views",
                    int,
                    3,
                    "spans of a group: an anchor, the query, and its positives (DeCLUTR)",
                    low=2,
                    high=64,
                ),
                Option("anchors", int, 2, "anchors of a document (DeCLUTR)", low=1),
                Option("min-words", int, 32, "words of the shortest span (DeCLUTR, in tokens)", low=1),
                Option(
                    "max-words",
                    int,
                    512,
                    "words of the longest span; a document needs twice as many for each anchor (DeCLUTR, in tokens)",
                    low=1,
                ),
                Option(
                    "positives",
                    str,
                    "any",
                    "where positives stand: anywhere around their anchor, next to it, or within it (DeCLUTR)",
                    choices=("any", "adjacent", "subsumed"),
                ),
            ),
            resources=(
                Resource("tokenizer", "tokenizer", "count its tokens instead of words; cuts still go between words"),
            ),
            example=(
                """echo '{"id": "d1", "text": "The mill by the river was rebuilt after the flood. Its wheel is of """
                """oak and turns slowly, and on Sundays the miller shows how flour was made before steam came."}' """
                "| pairmine derive spans - --anchors 1 --min-words 3 --max-words 12 -o -"
            ),
        ),
        from_document=spans,
        extra=POSITIONS,
    ),
    Derivation(
        Recipe(
            name="context-window",
            group="views",
            summary="Each sentence with another one that stands near it.",
            paper="CCP, arXiv 2206.03281",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views",
                    int,
                    2,
                    "a sentence and how many of its window, drawn at random: 2 is the sentence and one other "
                    "(our default)",
                    low=2,
                    high=64,
                ),
                Option("window", int, 2, "sentences to each side that count as near (our default)", low=1),
                Option(
                    "per-document",
                    int,
                    0,
                    "most queries from each document, drawn at random; 0 takes all (our default)",
                    low=0,
                ),
                SENTENCE_WORDS,
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres. Nobody in town was """
                """hurt."}' | pairmine derive context-window - -o -"""
            ),
        ),
        from_document=context_window,
        extra=(*POSITIONS, pa.field("distance", pa.int32())),
    ),
    Derivation(
        Recipe(
            name="ordered-triples",
            group="views",
            summary="A sentence with two later ones and the relative time of the one in the middle.",
            paper="Time Control, arXiv 2203.11370",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option("per-document", int, 1, "most triples from each document, drawn at random (our default)", low=1),
                SENTENCE_WORDS,
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres. Nobody in town was """
                """hurt."}' | pairmine derive ordered-triples - -o -"""
            ),
        ),
        from_document=ordered_triples,
        extra=(*POSITIONS, pa.field("time", pa.float32())),
    ),
)
