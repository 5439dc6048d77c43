"""Texts with gaps for an LLM to fill, as CLAIF has them: the more words are gone, the further off what comes back."""

from __future__ import annotations

import random
import re
from typing import Any

from pairmine.identity import seed_of
from pairmine.text import is_wordless, word_pieces

GAP = "<mask>"

_MERGED = 0.5
"""How often two gaps side by side become one (Cheng et al. 2023), so that a gap may stand for more words than one."""
_WORD = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)


def masked(text: Any, rate: float, seed: int) -> str:
    """The text with `rate` of its words, from 0 to 1, replaced by gaps; the marks around a word stay.

    A rate above 0 takes one word at least. Words of scripts without blanks are those of a dictionary.
    The same text, rate and seed give the same gaps. Raises ValueError for a rate that is none.

    >>> masked("The cat sat on the mat.", 0.4, 7)
    'The cat <mask> on the <mask>.'
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"mask takes a rate from 0 to 1, not {rate}")
    whole = "" if text is None else str(text)
    pieces, glue = word_pieces(whole)
    places = [at for at, piece in enumerate(pieces) if not is_wordless(piece)]
    if not rate or not places:
        return whole
    draw = random.Random(seed_of(0, str(seed), f"{rate:.6f}", whole))
    gone = set(draw.sample(places, max(1, round(rate * len(places)))))
    kept: list[str] = []
    for at, piece in enumerate(pieces):
        if at not in gone:
            kept.append(piece)
            continue
        before, _, after = _parts(piece)
        if at - 1 in gone and draw.random() < _MERGED:
            before, _, _ = _parts(kept.pop())
        kept.append(before + GAP + after)
    return glue.join(kept)


def _parts(piece: str) -> tuple[str, str, str]:
    """What stands before a word or gap, itself, and what stands after it."""
    if GAP in piece:
        return piece.partition(GAP)
    found = _WORD.fullmatch(piece)
    return (found[1], found[2], found[3]) if found else ("", piece, "")
