"""The words of a text, to be left out, moved, doubled or replaced, and the text that is left of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence

from pairmine.stages.derive.draws import Draws
from pairmine.text import word_pieces

_UNSPACED_CHARACTER = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\uabff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
_ATTEMPTS = 8
"""How often a view that repeats another one is drawn again."""


class Wording:
    """A text as its words, punctuation on them, and the white space behind each.

    `gaps` is None for the usual text with one blank between its words. Every method but `delete` and
    `insert` gives a new wording; gaps stay where they are while words move, and no two words run into one unless their
    script writes them so.
    """

    __slots__ = ("gaps", "words")

    def __init__(self, words: list[str], gaps: list[str] | None) -> None:
        self.words = words
        self.gaps = gaps

    def __len__(self) -> int:
        return len(self.words)

    def without(self, numbers: Collection[int]) -> Wording:
        """The words whose numbers are not among `numbers`."""
        return self.with_copies(numbers, ())

    def in_order(self, numbers: Sequence[int]) -> Wording:
        """The words in another order."""
        return Wording([self.words[at] for at in numbers], self.gaps)

    def replaced(self, others: Mapping[int, str]) -> Wording:
        """Another word in place of each whose number is in `others`."""
        words = self.words.copy()
        for at, word in others.items():
            words[at] = word
        return Wording(words, self.gaps)

    def with_repeats(self, numbers: Collection[int]) -> Wording:
        """The words whose numbers are among `numbers` twice in a row."""
        return self.with_copies((), numbers)

    def with_copies(self, gone: Collection[int], twice: Collection[int]) -> Wording:
        """No copy of the words in `gone`, two of those in `twice`, one of the others; `gone` comes first."""
        none, two = set(gone), set(twice)
        order = [at for at in range(len(self.words)) if at not in none for _ in range(2 if at in two else 1)]
        words = [self.words[at] for at in order]
        if self.gaps is None:
            return Wording(words, None)
        after = [*order, -1]
        return Wording(words, ["" if at == after[place] else self.gaps[at] for place, at in enumerate(order, start=1)])

    def copy(self) -> Wording:
        """The same words, to be changed in place by `delete` and `insert`."""
        return Wording(self.words.copy(), None if self.gaps is None else self.gaps.copy())

    def delete(self, at: int) -> None:
        """Take a word out of this wording."""
        del self.words[at]
        if self.gaps is not None:
            del self.gaps[at]

    def insert(self, at: int, word: str) -> None:
        """Put a word into this wording, before word number `at`."""
        self.words.insert(at, word)
        if self.gaps is not None:
            self.gaps.insert(at, "")

    def text(self) -> str:
        """The words with what stands between them."""
        if self.gaps is None:
            return " ".join(self.words)
        parts: list[str] = []
        for word, gap in zip(self.words, self.gaps, strict=True):
            if parts and parts[-1] and word and _run_together(parts[-1][-1], word[0]):
                parts.append(" ")
            parts.append(word)
            if gap:
                parts.append(gap)
        return "".join(parts).strip()


def _run_together(before: str, after: str) -> bool:
    return not (before.isspace() or _UNSPACED_CHARACTER.match(before) or _UNSPACED_CHARACTER.match(after))


def wording(text: str) -> Wording:
    """The words of `text`; those of a script without blanks as a dictionary cuts them.

    >>> wording("Cut 北京大学, please.").words
    ['Cut', '北京', '大学,', 'please.']
    """
    pieces, glue = word_pieces(text)
    if glue:
        return Wording(pieces, None)
    words = [piece.rstrip() for piece in pieces]
    return Wording(words, [piece[len(word) :] for piece, word in zip(pieces, words, strict=True)])


def core(word: str) -> tuple[str, str, str]:
    """The marks before a word, the word, the marks behind it.

    >>> core('"Hills."')
    ('"', 'Hills', '."')
    """
    if word[:1].isalnum() and word[-1:].isalnum():
        return "", word, ""
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not (word[end - 1].isalnum() or is_mark(word[end - 1])):
        end -= 1
    return word[:start], word[start:end], word[end:]


def is_mark(character: str) -> bool:
    """Whether `character` is a mark on the letter before it: an accent, or a vowel sign of Hindi or Thai."""
    return not character.isascii() and unicodedata.category(character)[0] == "M"


def like(model: str, word: str) -> str:
    """`word` with the capitals of `model`, as far as it has none of its own.

    >>> like("Big", "large"), like("BIG", "large"), like("big", "Rome")
    ('Large', 'LARGE', 'Rome')
    """
    if not word or word != word.lower():
        return word
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if model[:1].isupper() else word


def others_for(word: str, lexicon: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What `lexicon` offers in place of a word with its punctuation and capitals; never the word itself."""
    before, inside, after = core(word)
    if not inside:
        return []
    found = lexicon.get(inside) or lexicon.get(inside.lower()) or ()
    folded = inside.casefold()
    return [before + like(inside, other) + after for other in found if other.casefold() != folded]


def number_of(count: int, rate: float) -> int:
    """How many of `count` words a rate is: rounded, at least one, all but one at most."""
    return max(1, min(count - 1, int(rate * count + 0.5)))


def span_starts(count: int, spans: int, length: int, draws: Draws) -> list[int]:
    """Where `spans` spans of `length` words start that do not overlap, in a text of `count` words, in order."""
    slots = draws.sample(count - spans * (length - 1), spans)
    return [slot + at * (length - 1) for at, slot in enumerate(slots)]


def distinct(make: Callable[[], str], wanted: int, taken: Sequence[str]) -> list[str]:
    """Up to `wanted` texts out of `make`, none blank, that differ from each other and from those `taken`."""
    seen = {text.strip() for text in taken}
    found: list[str] = []
    for _ in range(wanted * _ATTEMPTS):
        if len(found) == wanted:
            break
        text = make()
        if text and text not in seen:
            seen.add(text)
            found.append(text)
    return found
