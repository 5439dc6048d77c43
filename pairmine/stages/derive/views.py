"""Cuts of one text: two parts of a document answer each other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.recipes import Option, Recipe
from pairmine.schema import POSITIVE
from pairmine.stages.derive.cuts import POSITIONS, SENTENCE_WORDS, Span, full_sentences, is_full, passages
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, Pair
from pairmine.text import count_words, is_wordless, sentence_spans, word_pieces

_TOO_SHORT = Found((), "too short")
_ATTEMPTS = 8
"""How often a crop that repeats another view of its chunk is drawn again."""


def crops(
    *, views: int, chunk_words: int, min_ratio: float, max_ratio: float, delete: float, min_words: int
) -> FromDocument:
    """Independent crops of the same chunk of text; the first is the query of the others."""
    if min_ratio > max_ratio:
        raise PairmineError(f"--min-ratio {min_ratio:g} is above --max-ratio {max_ratio:g}; lower it")
    if chunk_words < 2 * min_words:
        raise PairmineError(
            f"--chunk-words {chunk_words} has no room for crops of --min-words {min_words}; double it at least"
        )
    gaps = _gaps_between_deletions(delete, chunk_words) if delete else []

    def crop(pieces: list[str], glue: str, draws: Draws) -> tuple[str, int]:
        """A crop and the number of its first word, -1 for one that lost a word."""
        ratio = min_ratio + (max_ratio - min_ratio) * draws.unit()
        length = max(min_words, int(ratio * len(pieces)))
        start = draws.below(len(pieces) - length + 1)
        kept = pieces[start : start + length]
        if gaps:
            _delete(kept, gaps, draws)
        return glue.join(kept).strip(), start if len(kept) == length else -1

    def distinct_crops(pieces: list[str], glue: str, draws: Draws) -> dict[str, int]:
        found: dict[str, int] = {}
        for _ in range(views * _ATTEMPTS):
            text, start = crop(pieces, glue, draws)
            if text not in found and not is_wordless(text):
                found[text] = start
                if len(found) == views:
                    break
        return found

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        pieces, glue = word_pieces(text)
        if len(pieces) < 2 * min_words:
            return _TOO_SHORT

        def place(cut: str, first: int, start: int) -> tuple[int | None, int | None]:
            if start < 0:
                return _NOWHERE
            at = _place(text, pieces, glue, first + start)
            return at, at + len(cut)

        name = document.id
        pairs = []
        for number, (first, chunk) in enumerate(_chunks(pieces, chunk_words)):
            (query, start), *others = distinct_crops(chunk, glue, draws).items() or [("", -1)]
            if not others:
                continue
            of_query = place(query, first, start)
            pairs += [
                Pair(
                    f"{name}#q{number}", query, f"{name}#p{at}", cut, POSITIVE, (*of_query, *place(cut, first, begins))
                )
                for at, (cut, begins) in enumerate(others, number * (views - 1))
            ]
        return Found(pairs) if pairs else Found((), "no two different crops")

    return of_document


_NOWHERE = None, None


def _chunks(pieces: list[str], most: int) -> Iterator[tuple[int, list[str]]]:
    """`pieces` in chunks of equal length, to one word, none above `most`, with the number of each one's first word."""
    count = -(-len(pieces) // most)
    for chunk in range(count):
        first = len(pieces) * chunk // count
        yield first, pieces[first : len(pieces) * (chunk + 1) // count]


def _place(text: str, pieces: list[str], glue: str, at: int) -> int:
    """Where word number `at` starts in `text`, in characters."""
    before = len(glue.join(pieces[:at]))
    return before + (at > 0) if glue else before + len(text) - len(text.lstrip())


def _gaps_between_deletions(probability: float, most: int) -> list[float]:
    """The chance, for each number of words from 0, that at most so many stay before the next deleted one."""
    table, none_yet = [], 1.0
    for _ in range(most):
        none_yet *= 1.0 - probability
        table.append(1.0 - none_yet)
    return table


def _delete(kept: list[str], gaps: list[float], draws: Draws) -> None:
    """Delete each word of `kept` with the probability that `gaps` was made for; one word always stays."""
    at = bisect_right(gaps, draws.unit())
    while at < len(kept) > 1:
        del kept[at]
        at += bisect_right(gaps, draws.unit())


def ict(*, per_document: int, keep: float, passage_words: int, min_words: int) -> FromDocument:
    """Sentences as queries for the rest of the passage around each."""

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        spans = sentence_spans(text)
        if len(spans) < 2:
            return Found((), "only one sentence")
        lengths = [count_words(text[start:end]) for start, end in spans]
        candidates = [
            (at, passage)
            for passage, words in passages(lengths, passage_words)
            for at in passage
            if min_words <= lengths[at] <= words - min_words and is_full(text[slice(*spans[at])], min_words)
        ]
        if not candidates:
            return _TOO_SHORT
        pairs = []
        for drawn in draws.sample(len(candidates), per_document):
            at, passage = candidates[drawn]
            doc_id = f"{document.id}#p{at}"
            place = spans[passage[0]][0], spans[passage[-1]][1]
            if draws.unit() >= keep:
                rest, extra = _without(text, spans, passage, at)
            elif len(passage) == len(spans):
                doc_id, rest, extra = document.id, text, (0, len(text))
            else:
                rest, extra = text[slice(*place)], place
            query = text[slice(*spans[at])]
            pairs.append(Pair(f"{document.id}#q{at}", query, doc_id, rest, POSITIVE, (*spans[at], *extra)))
        return Found(pairs)

    return of_document


def _without(text: str, spans: list[Span], passage: range, at: int) -> tuple[str, tuple[int, int] | tuple[None, None]]:
    """The passage without its sentence `at`, and its place where that is one stretch.

    Of the two gaps around the sentence, the one with more line breaks stays.
    """
    start, end = spans[at]
    if at == passage[0]:
        rest = spans[at + 1][0], spans[passage[-1]][1]
        return text[slice(*rest)], rest
    before = spans[passage[0]][0], spans[at - 1][1]
    if at == passage[-1]:
        return text[slice(*before)], before
    gaps = text[spans[at - 1][1] : start], text[end : spans[at + 1][0]]
    after = text[spans[at + 1][0] : spans[passage[-1]][1]]
    return text[slice(*before)] + max(gaps, key=lambda gap: gap.count("\n")) + after, _NOWHERE


def adjacent(*, views: int, per_document: int, min_words: int) -> FromDocument:
    """Each sentence as the query of the one after it, or of several."""

    def of_document(document: Document, draws: Draws) -> Found:
        name, text = document.id, document.text
        spans, full = full_sentences(text, min_words)
        if len(spans) < 2:
            return Found((), "only one sentence")
        found = {at: text[slice(*spans[at])] for at in full}
        keys = {at: normalise(sentence) for at, sentence in found.items()}
        candidates = [at for at in full if keys.get(at + 1, keys[at]) != keys[at]]
        if not candidates:
            return _TOO_SHORT
        return Found(
            [
                Pair(
                    f"{name}#q{at}", found[at], f"{name}#p{other}", found[other], POSITIVE, (*spans[at], *spans[other])
                )
                for at in map(candidates.__getitem__, draws.sample(len(candidates), per_document or len(candidates)))
                for other in range(at + 1, at + views)
                if keys.get(other, keys[at]) != keys[at]
            ]
        )

    return of_document


DERIVATIONS = (
    Derivation(
        Recipe(
            name="crops",
            group="views",
            summary="Two independent crops of the same chunk of text, with words deleted.",
            paper="Contriever, arXiv 2112.09118",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views",
                    int,
                    2,
                    "crops of a chunk; the first is the query of the others (Contriever)",
                    low=2,
                    high=64,
                ),
                Option(
                    "chunk-words",
                    int,
                    256,
                    "most words in a chunk; longer texts give several (Contriever, in tokens)",
                    low=2,
                    high=1_000_000,
                ),
                Option("min-ratio", float, 0.1, "shortest crop, as a part of its chunk (Contriever)", low=0, high=1),
                Option("max-ratio", float, 0.5, "longest crop, as a part of its chunk (Contriever)", low=0, high=1),
                Option(
                    "delete", float, 0.1, "chance of each word of a crop to be deleted (Contriever)", low=0, high=0.9
                ),
                Option("min-words", int, 3, "words of the shortest crop before deletion (our default)", low=1),
            ),
            example=(
                """echo '{"id": "d1", "text": "Two crops of one text share its topic without sharing all of its """
                """words, so a model that tells them apart from crops of other texts has learned to search."}' """
                "| pairmine derive crops - -o -"
            ),
        ),
        from_document=crops,
        extra=POSITIONS,
    ),
    Derivation(
        Recipe(
            name="ict",
            group="views",
            summary="A sentence as the query for the rest of its passage (inverse cloze task).",
            paper="ICT, arXiv 1906.00300",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option("per-document", int, 1, "sentences drawn from each document (our default)", low=1),
                Option("keep", float, 0.1, "chance that the passage keeps the sentence (ICT)", low=0, high=1),
                Option(
                    "passage-words", int, 288, "most words in a passage of whole sentences (ICT, in word pieces)", low=2
                ),
                SENTENCE_WORDS,
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres. Nobody was hurt."}' """
                "| pairmine derive ict - -o -"
            ),
        ),
        from_document=ict,
        extra=POSITIONS,
    ),
    Derivation(
        Recipe(
            name="adjacent",
            group="views",
            summary="Each sentence with the one that follows it.",
            paper="Quick-Thoughts, arXiv 1803.02893",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "views",
                    int,
                    2,
                    "sentences of a run: 2 is each with the next one, 3 with the next two (Quick-Thoughts)",
                    low=2,
                    high=64,
                ),
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
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres."}' """
                "| pairmine derive adjacent - -o -"
            ),
        ),
        from_document=adjacent,
        extra=POSITIONS,
    ),
)
