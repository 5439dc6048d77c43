"""The words of many texts at once, as BM25 counts them: quick for ASCII, by the same rules for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.tokens import tokens

MOST_TEXTS = 1 << 14
"""Texts of one piece: few enough that a document's place in its piece fits 16 bits."""
MOST_CHARACTERS = 1 << 20
"""Characters of one piece, unless a single text has more."""


def lexical_words(text: str) -> list[str]:
    """The words of `text` as BM25 counts them: its tokens, cut at underscores too, as names in code want it.

    >>> lexical_words("Read_CSV, 東京!")
    ['read', 'csv', '東', '京']
    """
    return tokens(text.replace("_", " "))


@dataclass(frozen=True)
class WordLists:
    """The words of some texts: those of text i are `words[places[starts[i]:starts[i + 1]]]`, in their order."""

    words: list[str]
    places: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1


def pieces_of(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """`texts` in pieces of bounded size; a sequence that reads its texts from disk is never asked for all."""
    for start in range(0, len(texts), MOST_TEXTS):
        piece = texts[start : start + MOST_TEXTS]
        ends = np.cumsum([len(text) for text in piece])
        low = 0
        while low < len(piece):
            before = int(ends[low - 1]) if low else 0
            high = max(low + 1, int(np.searchsorted(ends, before + MOST_CHARACTERS, side="right")))
            yield piece[low:high]
            low = high


def word_lists(texts: Sequence[str]) -> WordLists:
    """`lexical_words` of each text, found for all of them together.

    Whatever `lexical_words` does (NFKC, case folding, joining marks to their letter) happens between two
    neighbouring blanks, and no ASCII character but a letter or digit is part of a word. So all texts are cut at
    those first; a part in ASCII is a word but for its case, and every other distinct part is looked at once.
    """
    parts = pc.ascii_split_whitespace(_plain(texts))
    encoded = parts.values.dictionary_encode()
    words, of_part, first, many = _words_of_parts(encoded.dictionary.to_pylist())
    found = encoded.indices.to_numpy()
    counts = many[found]
    ends = np.zeros(len(found) + 1, np.int32)
    np.cumsum(counts, out=ends[1:])
    if counts.max(initial=0) <= 1:
        places = of_part[first[found[counts == 1]]]
    else:
        places = of_part[np.repeat(first[found] - ends[:-1], counts) + np.arange(ends[-1], dtype=np.int32)]
    return WordLists(words, places, ends[parts.offsets.to_numpy()])


def _plain(texts: Sequence[str]) -> pa.LargeStringArray:
    """`texts` with a blank for each ASCII character that is neither a letter nor a digit."""
    try:
        array = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        # Halves of a surrogate pair, which UTF-8 has no bytes for; no word has them either.
        array = pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.large_string())
    _, offsets, data = array.buffers()
    folded = data.to_pybytes().translate(_table()) if data is not None else b""
    return pa.LargeStringArray.from_buffers(len(array), offsets, pa.py_buffer(folded))


@cache
def _table() -> bytes:
    kept = (chr(code) if chr(code).isalnum() else " " for code in range(0x80))
    return "".join(kept).encode() + bytes(range(0x80, 0x100))


def _words_of_parts(parts: list[str]) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Distinct words; then places in them for all parts in a row, and where each part begins there and how many it has.

    The empty part, which stands before a leading blank, has none.
    """
    numbers: dict[str, int] = {}
    places: list[int] = []
    counts = np.ones(len(parts), np.int32)
    for row, part in enumerate(parts):
        if part.isascii() and part:
            places.append(numbers.setdefault(part.lower(), len(numbers)))
        else:
            found = lexical_words(part)
            places += [numbers.setdefault(word, len(numbers)) for word in found]
            counts[row] = len(found)
    return list(numbers), np.array(places, np.int32), np.cumsum(counts, dtype=np.int32) - counts, counts
