"""Cuts of one text: two parts of a document answer each other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.recipes import Option, Recipe
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

    def crop(pieces: list[str], glue: str, draws: Draws) -> str:
        ratio = min_ratio + (max_ratio - min_ratio) * draws.unit()
        length = max(min_words, int(ratio * len(pieces)))
        start = draws.below(len(pieces) - length + 1)
        kept = pieces[start : start + length]
        if gaps:
            _delete(kept, gaps, draws)
        return glue.join(kept).strip()

    def distinct_crops(pieces: list[str], glue: str, draws: Draws) -> list[str]:
        found: list[str] = []
        for _ in range(views * _ATTEMPTS):
            text = crop(pieces, glue, draws)
            if text not in found and not is_wordless(text):
                found.append(text)
                if len(found) == views:
                    break
        return found

    def of_document(document: Document, draws: Draws) -> Found:
        pieces, glue = word_pieces(document.text)
        if len(pieces) < 2 * min_words:
            return _TOO_SHORT
        name = document.id
        pairs = []
        for number, chunk in enumerate(_chunks(pieces, chunk_words)):
            query, *others = distinct_crops(chunk, glue, draws) or [""]
            first = number * (views - 1)
            pairs += [Pair(f"{name}#q{number}", query, f"{name}#p{at}", text) for at, text in enumerate(others, first)]
        return Found(pairs) if pairs else Found((), "no two different crops")

    return of_document


def _chunks(pieces: list[str], most: int) -> Iterator[list[str]]:
    """`pieces` in chunks of equal length, to one word, none above `most`."""
    count = -(-len(pieces) // most)
    for chunk in range(count):
        yield pieces[len(pieces) * chunk // count : len(pieces) * (chunk + 1) // count]


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
            for passage, words in _passages(lengths, passage_words)
            for at in passage
            if min_words <= lengths[at] <= words - min_words and not is_wordless(text[slice(*spans[at])])
        ]
        if not candidates:
            return _TOO_SHORT
        pairs = []
        for drawn in draws.sample(len(candidates), per_document):
            at, passage = candidates[drawn]
            start, end = spans[at]
            if draws.unit() >= keep:
                doc_id, rest = f"{document.id}#p{at}", _without(text, spans, passage, at)
            elif len(passage) == len(spans):
                doc_id, rest = document.id, text
            else:
                doc_id, rest = f"{document.id}#p{at}", text[spans[passage[0]][0] : spans[passage[-1]][1]]
            pairs.append(Pair(f"{document.id}#q{at}", text[start:end], doc_id, rest))
        return Found(pairs)

    return of_document


def _passages(lengths: list[int], most: int) -> Iterator[tuple[range, int]]:
    """Runs of sentences with at most `most` words together, as even as whole sentences allow, and their words."""
    total = sum(lengths)
    share = total / -(-total // most)
    first = words = 0
    for at, length in enumerate(lengths):
        if at > first and (words + length > most or words + length / 2 > share):
            yield range(first, at), words
            first, words = at, 0
        words += length
    yield range(first, len(lengths)), words


def _without(text: str, spans: list[tuple[int, int]], passage: range, at: int) -> str:
    """The passage without its sentence `at`: of the two gaps around it, the one with more line breaks stays."""
    start, end = spans[at]
    before = text[spans[passage[0]][0] : spans[at - 1][1]] if at > passage[0] else ""
    after = text[spans[at + 1][0] : spans[passage[-1]][1]] if at < passage[-1] else ""
    if not before or not after:
        return before or after
    gaps = text[spans[at - 1][1] : start], text[end : spans[at + 1][0]]
    return before + max(gaps, key=lambda gap: gap.count("\n")) + after


def adjacent(*, per_document: int, min_words: int) -> FromDocument:
    """Each sentence as the query of the one after it."""

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        found = [text[start:end] for start, end in sentence_spans(text)]
        if len(found) < 2:
            return Found((), "only one sentence")
        long_enough = [count_words(sentence) >= min_words and not is_wordless(sentence) for sentence in found]
        candidates = [at for at in range(len(found) - 1) if long_enough[at] and long_enough[at + 1]]
        candidates = [at for at in candidates if normalise(found[at]) != normalise(found[at + 1])]
        if not candidates:
            return _TOO_SHORT
        chosen = draws.sample(len(candidates), per_document or len(candidates))
        name = document.id
        return Found(
            [
                Pair(f"{name}#q{at}", found[at], f"{name}#p{at + 1}", found[at + 1])
                for at in map(candidates.__getitem__, chosen)
            ]
        )

    return of_document


_SENTENCE_WORDS = Option(
    "min-words",
    int,
    4,
    "words that a sentence must have; a character counts where blanks part no words (our default)",
    low=1,
)

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
                _SENTENCE_WORDS,
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres. Nobody was hurt."}' """
                "| pairmine derive ict - -o -"
            ),
        ),
        from_document=ict,
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
                    "per-document",
                    int,
                    0,
                    "most pairs from each document, drawn at random; 0 takes all (our default)",
                    low=0,
                ),
                _SENTENCE_WORDS,
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres."}' """
                "| pairmine derive adjacent - -o -"
            ),
        ),
        from_document=adjacent,
    ),
)
