"""Rules that look at the words of a row: too plain, too much alike, or edited too far."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.schema import POSITIVE, TEXT, cast_column
from pairmine.stages.filter.rows import UNDECIDED
from pairmine.stages.filter.rules import span
from pairmine.stages.filter.surface import alike, measured, word_distance
from pairmine.stages.filter.verdicts import Verdicts
from pairmine.tokens import tokens

EDITS_OF = ("positives", "negatives", "all")

_CLAUSE_END = re.compile(r"[,;:.!?]+(?=\s|$)|[()\[\]{}\"“”«»…、，；：。！？（）「」『』؛،؟।॥\n]+|\s[-–—]+\s|—")
_CLAUSE_WORDS = 2
"""A part between two marks counts as a clause from this many words on: a name or a date set off by commas does not."""


@dataclass(frozen=True)
class Complexity:
    """The fewest words and clauses that a document may have."""

    words: int
    clauses: int = 1


@dataclass(frozen=True)
class TextRules:
    """What a row's words must be like; None switches a rule off.

    `max_edit_ratio` is a share of characters, `edit_distance` a number of words to edit, inclusive at
    both ends, None for an open end. `edits_of` says which rows the two look at; None takes positives
    and undecided rows for the first, negatives and undecided rows for the second.
    """

    complexity: Complexity | None = None
    max_edit_ratio: float | None = None
    edit_distance: tuple[int | None, int | None] | None = None
    edits_of: str | None = None

    def __bool__(self) -> bool:
        return any(rule is not None for rule in (self.complexity, self.max_edit_ratio, self.edit_distance))

    def check(self) -> None:
        """Raise a PairmineError for values out of range."""
        if self.complexity and (self.complexity.words < 1 or self.complexity.clauses < 1):
            raise PairmineError("complexity counts from 1 word and 1 clause on; write it as WORDS[:CLAUSES]")
        if self.max_edit_ratio is not None and not 0 < self.max_edit_ratio < 1:
            raise PairmineError(f"max edit ratio {self.max_edit_ratio:g} is out of range; it lies between 0 and 1")
        low, high = self.edit_distance or (None, None)
        if any(end is not None and end < 0 for end in (low, high)) or (low and high is not None and low > high):
            raise PairmineError(f"edit distance {span(low, high)} holds no number of words; write it as 1:4, 1: or :4")
        if self.edits_of is not None and self.edits_of not in EDITS_OF:
            raise PairmineError(f'edits of "{self.edits_of}"; choose {", ".join(EDITS_OF)}')


def parse_complexity(text: str) -> Complexity:
    """``WORDS[:CLAUSES]``, as 5 or 5:2."""
    words, colon, clauses = text.partition(":")
    if not words.isdecimal() or (colon and not clauses.isdecimal()):
        raise PairmineError(f"complexity {text}: write it as WORDS[:CLAUSES], as in 5 or 5:2")
    return Complexity(int(words), int(clauses or 1))


def reject_texts(pairs: pa.Table, label: np.ndarray, rules: TextRules, verdicts: Verdicts) -> dict[str, int]:
    """Reject rows by their words; rows without text stay and are counted."""
    alive = verdicts.alive
    unread = np.zeros(len(label), bool)
    if rules.complexity is not None:
        unread |= _reject_plain(pairs, rules.complexity, verdicts)
    if rules.max_edit_ratio is not None:
        rows = verdicts.alive & _role(label, rules.edits_of or "positives")
        copies = measured(pairs, rows, alike(rules.max_edit_ratio), what="max edit ratio")
        verdicts.reject(copies == 1, f"almost the query's own text (more than {rules.max_edit_ratio * 100:g}%)")
        unread |= rows & np.isnan(copies)
    if rules.edit_distance is not None:
        low, high = rules.edit_distance
        rows = verdicts.alive & _role(label, rules.edits_of or "negatives")
        edits = measured(pairs, rows, word_distance(high), what="edit distance")
        if low is not None:
            verdicts.reject(edits < low, f"fewer than {counted(low, 'word')} edited")
        if high is not None:
            verdicts.reject(edits > high, f"more than {counted(high, 'word')} edited")
        unread |= rows & np.isnan(edits)
    count = int((unread & alive).sum())
    return {"rows without text, which no text rule looked at": count} if count else {}


def _role(label: np.ndarray, role: str) -> np.ndarray:
    """The rows that a rule looks at: decided ones of that role, and undecided ones."""
    positive = label == POSITIVE
    if role == "all":
        return np.ones(len(label), bool)
    return (positive if role == "positives" else ~positive) | (label == UNDECIDED)


def _reject_plain(pairs: pa.Table, least: Complexity, verdicts: Verdicts) -> np.ndarray:
    """Reject documents with too few words or clauses; returns which rows have no document text, (n,) bool."""
    if "document" not in pairs.column_names:
        raise PairmineError('complexity counts words, and the pair set has no "document" column; keep texts in it')
    words, clauses = np.full(pairs.num_rows, np.nan), np.full(pairs.num_rows, np.nan)
    start = 0
    for chunk in cast_column(pairs["document"], TEXT, "document").chunks:
        codes = chunk.indices.fill_null(len(chunk.dictionary)).to_numpy(zero_copy_only=False)
        used, back = np.unique(codes, return_inverse=True)
        texts = chunk.dictionary.take(pa.array(used[used < len(chunk.dictionary)])).to_pylist()
        here = slice(start, start + len(chunk))
        words[here] = np.r_[[len(tokens(text)) for text in texts], np.nan][back]
        if least.clauses > 1:
            clauses[here] = np.r_[[count_clauses(text, least.clauses) for text in texts], np.nan][back]
        start += len(chunk)
    verdicts.reject(words < least.words, f"document of fewer than {counted(least.words, 'word')}")
    verdicts.reject(clauses < least.clauses, f"document of fewer than {counted(least.clauses, 'clause')}")
    return np.isnan(words)


def counted(number: int, what: str) -> str:
    """`number` with its noun: 1 word, 2 words."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def count_clauses(text: str, enough: int | None = None) -> int:
    """How many parts of `text` between marks have two words or more; counts no further than `enough`.

    >>> count_clauses("On 3 May, 1,200 people ran along the beach; it rained.")
    3
    """
    found = 0
    for part in _CLAUSE_END.split(text):
        if enough is not None and found >= enough:
            break
        found += len(tokens(part)) >= _CLAUSE_WORDS
    return found
