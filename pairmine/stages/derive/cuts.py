"""What the recipes that cut texts share: where a cut stands, words with their places, sentences worth a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

import pyarrow as pa

from pairmine.recipes import Option
from pairmine.text import count_words, has_unspaced, is_wordless, sentence_spans, word_pieces

POSITIONS = tuple(pa.field(name, pa.int32()) for name in ("query_start", "query_end", "start", "end"))
"""The columns that say where query and document stand in their source, in characters; null for what is no stretch."""

SENTENCE_WORDS = Option(
    "min-words",
    int,
    4,
    "words that a sentence must have; where blanks part no words, those of a dictionary (our default)",
    low=1,
)

Span = tuple[int, int]

_CHARACTERS = 4
"""With so many characters for each word that is asked for, a text in Chinese, Japanese or Thai has them."""

_ONE_PLUS = (1).__add__
_PARAGRAPH_GAP = re.compile(r"\n[^\S\n]*\n\s*")


def word_starts(text: str) -> list[int]:
    """Where each word of `text` starts, in characters, and at last where the text ends.

    Word a to word b - 1 are ``text[starts[a]:starts[b]].rstrip()``.

    >>> word_starts("Cut  me.")
    [0, 5, 8]
    """
    pieces, glue = word_pieces(text)
    if glue:
        starts = list(accumulate(map(_ONE_PLUS, map(len, pieces)), initial=0))
        starts[-1] = len(text)
        return starts
    return list(accumulate(map(len, pieces), initial=len(text) - len(text.lstrip())))


def full_sentences(text: str, min_words: int) -> tuple[list[Span], list[int]]:
    """All sentences of `text`, and which of them have letters or digits and `min_words` words at least."""
    spans = sentence_spans(text)
    return spans, [at for at, span in enumerate(spans) if is_full(text[slice(*span)], min_words)]


def is_full(sentence: str, min_words: int) -> bool:
    """Whether the sentence is worth a row: has letters or digits, and `min_words` words.

    Where blanks part no words, those of ICU's dictionaries are meant: 議会は一院制。 is three. Characters, which
    are counted in no time, settle all but short sentences.

    >>> is_full("議会は一院制。", 3), is_full("議会は一院制。", 4)
    (True, False)
    """
    count = count_words(sentence)
    if count < min_words or is_wordless(sentence):
        return False
    return count >= _CHARACTERS * min_words or not has_unspaced(sentence) or len(word_starts(sentence)) > min_words


def paragraphs(text: str) -> Iterator[Span]:
    """Where the paragraphs of `text` stand: what blank lines part."""
    start = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    for gap in _PARAGRAPH_GAP.finditer(text, start, end):
        yield start, gap.start()
        start = gap.end()
    if start < end:
        yield start, end


def passages(lengths: list[int], most: int) -> Iterator[tuple[range, int]]:
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
