"""Sentences and words of a text, as cuts of it: nothing is joined again, so its spacing stays as it was.

Works on any script. Where words stand without blanks between them (Chinese, Japanese, Thai, Lao,
Burmese, Khmer), lengths count each character with its marks, which takes no dictionary, while cuts go
between words as ICU's dictionaries find them. Every function takes time proportional to the length
of its text.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LAST_MARKS = ".!?…"
_LAST_MARKS_WITHOUT_BLANK = "。！？｡．।॥۔؟։።၊။។៕"
_CLOSERS = "\"')\\]}”’»›」』）】》〉］｣"
_OPENERS = "\"'([{“‘«‹„‚「『（【《〈［｢¿¡"

# One set of first characters in front: the regex engine skips to the next of them in C.
_END = re.compile(
    rf"[\n{_LAST_MARKS}{_LAST_MARKS_WITHOUT_BLANK}](?:"
    rf"(?<=\n)\s*+"
    rf"|(?<=[{_LAST_MARKS_WITHOUT_BLANK}])[{_LAST_MARKS_WITHOUT_BLANK}{_LAST_MARKS}]*+[{_CLOSERS}]*+"
    rf"|(?<=[{_LAST_MARKS}])(?<![{_LAST_MARKS}]{{2}})[{_LAST_MARKS}]*+[{_CLOSERS}]*+(?:\[\d{{1,3}}\])*+(?=\s)"
    r")"
)
_END_WITH_THAI = re.compile(_END.pattern + r"|[ \u00a0](?<=[\u0e01-\u0e4e].)[ \u00a0]*+(?=[\u0e01-\u0e4e])")
_THAI = re.compile("[\u0e01-\u0e4e]")
_THAI_SENTENCE = 100
"""Thai has no full stop; a blank ends a phrase, and from this many characters on a sentence.

With 100, a text has about as many sentences as its translations do (48 articles of XQuAD: 1377, English 1177,
German 1321); with 40 it had twice as many.
"""
_THAI_SHORT = 9
"""In Thai a full stop marks something shortened, as a date, a measure or the initial of a name (ค.ศ., มม., ดับเบิลยู.);
after more characters than these it may be that of another language's habit."""

_GAP = re.compile(r"\s*")
_NEXT_WORD = re.compile(rf"[{re.escape(_OPENERS)}]*([^\W\d_]+)")
_ACRONYM = re.compile(r"[^\W\d_]|(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_LIST_ITEM = re.compile(r"(?:[-*•–—·▪◦‣+]|\d{1,3}[.)]|[A-Za-z][.)])\s")

_WRAPPED_LINE = range(40, 121)
"""A line of this length may be one line of wrapped prose; a shorter one is a heading, an item or a
verse, and a longer one a paragraph."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEVER_LAST = _set(
    "mr mrs ms dr prof st mt ft sgt capt col gen lt sen rep gov rev hon pres supt messrs mme mlle mgr dra sra srta "
    "e.g eg i.e ie viz vs v cf ca approx resp incl excl z.b d.h u.a bzw ggf vgl evtl hr fr frl ud uds p.ej "
    "б.т т.е т.н г.н"
)
_BEFORE_NUMBERS = _set(
    "no nos nr nrs num fig figs figure vol vols p pp pg eq eqs sec sect ch chap art tab abs bd op ex ed par "
    "núm nº n° стр рис табл"
)
_SELDOM_LAST = _set(
    "al inc ltd co corp llc plc jr sr bros dept est univ assn ave blvd rd mon tue tues wed thu thur thurs fri sat sun "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
_STARTERS = _set(
    "the a an this that these those it its he she they we i you his her their our my your there here in on at as of "
    "to for from with by after before since while when where what who why how if but and or so yet however although "
    "though because also then thus therefore moreover furthermore both each some many most all no not one two during "
    "der die das ein eine er sie es wir ich im am auf bei und aber doch dies diese le la les un une il elle ils elles "
    "ce cette en el los las una se su pero y o и в на он она они это но"
)

_UNSPACED = (
    "\u0e01-\u0e2f\u0e3f-\u0e46\u0e4f-\u0e5b\u0e81-\u0eaf\u0ebd-\u0ec6\u0ed0-\u0edf"  # Thai, Lao
    "\u1000-\u102a\u103f-\u1055\u105a-\u105d\u1780-\u17b3\u17d7-\u17e9"  # Burmese, Khmer
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"  # kana, bopomofo, Han
)
_MARKS = (
    "\u0300-\u036f\u0e30-\u0e3a\u0e45-\u0e4e\u0eb0-\u0ebc\u0ec6-\u0ece\u102b-\u103e\u1056-\u1059\u105e-\u1060"
    "\u17b4-\u17d3\u200c\u200d\u3099\u309a\ufe00-\ufe0f\uff9e\uff9f\U000e0100-\U000e01ef"
)
_WIDE_PUNCTUATION = (
    "\u3001-\u3004\u3008-\u3020\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\u17d4-\u17d6\u104a\u104b"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORDLIKE = re.compile(r"[^\W_]")
_SPACED_PIECE = re.compile(r"\S++\s*+")
_PIECE = re.compile(
    rf"[\u0e40-\u0e44\u0ec0-\u0ec4]?[{_UNSPACED}](?:[{_MARKS}]|\u17d2[\u1780-\u17a2])*+[{_WIDE_PUNCTUATION}]*+\s*"
    rf"|[^\s{_UNSPACED}]+\s*"
)


def words(text: str) -> list[str]:
    """The words of `text`, punctuation still on them.

    >>> words("Cut 東京, please.")
    ['Cut', '東', '京', ',', 'please.']
    """
    if not has_unspaced(text):
        return text.split()
    return [piece.rstrip() for piece in _PIECE.findall(text)]


def count_words(text: str) -> int:
    """How many words `text` has."""
    return len(_PIECE.findall(text) if has_unspaced(text) else text.split())


def word_pieces(text: str) -> tuple[list[str], str]:
    """The words of `text` with what stands between them, and the glue that joins any run of them.

    ``glue.join(pieces[a:b]).strip()`` is the stretch from word a to word b as it stands in `text`.
    The usual text, with one blank between its words, needs no pieces of its own: the glue is the blank.
    Scripts without blanks are cut by dictionary, so their words may be fewer than `count_words` says.

    >>> word_pieces("我们在北京大学学习。OK then")
    (['我们', '在', '北京', '大学', '学习。', 'OK ', 'then'], '')
    """
    if not has_unspaced(text):
        plain = text.split()
        if " ".join(plain) == text:
            return plain, " "
        return _SPACED_PIECE.findall(text), ""
    pieces: list[str] = []
    for piece in _SPACED_PIECE.findall(text):
        if has_unspaced(piece):
            pieces += _dictionary_pieces(piece)
        else:
            pieces.append(piece)
    return pieces, ""


def _dictionary_pieces(run: str) -> list[str]:
    """The words of a run without blanks, as ICU cuts it (UAX 29 with its dictionaries).

    Marks stay with the word before them, opening ones with the word after them. What is not of a
    script without blanks is not cut, as nowhere else: "iPhone-15" is one word.
    """
    from icu4py.breakers import WordBreaker

    try:
        parts = WordBreaker(run, "en")
    except UnicodeEncodeError:  # half a surrogate pair, which ICU does not take
        return _PIECE.findall(run)
    pieces: list[str] = []
    is_open = is_spaced = False
    for part in parts:
        kind = _part_kind(part)
        if kind == "opener":
            pieces.append(part)
            is_open = True
            continue
        joins = kind == "mark"
        if pieces and (joins or is_open or (kind == "spaced" and is_spaced)):
            pieces[-1] += part
        else:
            pieces.append(part)
        is_open = is_open and joins
        is_spaced = kind == "spaced" or (joins and is_spaced)
    return pieces


@lru_cache(maxsize=1 << 16)
def _part_kind(part: str) -> str:
    """What a part that ICU cut is: an "opener" or another "mark", a "word" of an unspaced script, or "spaced"."""
    if is_wordless(part):
        return "opener" if not part.isspace() and part[0] in _OPENERS else "mark"
    return "word" if has_unspaced(part) else "spaced"


def is_wordless(text: str) -> bool:
    """Whether `text` has no letter and no digit: a rule, a row of stars, an emoji."""
    return _WORDLIKE.search(text) is None


def has_unspaced(text: str) -> bool:
    """Whether `text` has characters of a script that puts no blanks between words."""
    return not text.isascii() and _HAS_UNSPACED.search(text) is not None


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order, without the white space between them.

    >>> sentences("Dr. Ada left. 次は？はい。")
    ['Dr. Ada left.', '次は？', 'はい。']
    """
    return [text[start:end] for start, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where the sentences of `text` start and end, in characters; blank text has none.

    A full stop ends no sentence after an abbreviation, an initial or a list number, nor before a
    small letter (unless the whole text is in small letters). A blank line always ends one; a
    single line break does unless the line is as long as a line of wrapped prose.
    """
    spans: list[tuple[int, int]] = []
    start = line = _gap_end(text, 0)
    small = text.islower()
    last = len(text) - 1
    for found in _end_pattern(text).finditer(text, start):
        at, end = found.span()
        # The usual gap, one blank, takes no search.
        is_blank = end < last and text[end] == " " and not text[end + 1].isspace()
        after = end + 1 if is_blank else _gap_end(text, end)
        if text[at] == "\n":
            ends = at > start and _line_ends(text, line, at, end)
            line, end = end, at
        else:
            ends = after <= last and _sentence_ends(text, start, at, end, after, small)
        if ends:
            _append(spans, text, start, end)
            start = after
    if start < len(text):
        _append(spans, text, start, len(text))
    return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """Add a sentence without the blanks at its end; stray marks belong to the sentence before them in their line."""
    if text[end - 1].isspace():
        end = start + len(text[start:end].rstrip())
    stray = spans and not text[start].isalnum() and is_wordless(text[start:end])
    if stray and "\n" not in text[spans[-1][1] : start]:
        spans[-1] = spans[-1][0], end
    else:
        spans.append((start, end))


def _end_pattern(text: str) -> re.Pattern[str]:
    return _END_WITH_THAI if not text.isascii() and _THAI.search(text) else _END


def _gap_end(text: str, position: int) -> int:
    found = _GAP.match(text, position)
    return found.end() if found else position


def _line_ends(text: str, line: int, at: int, end: int) -> bool:
    """Whether the line break at `at`, with the blanks after it up to `end`, ends the sentence."""
    if text.count("\n", at, end) > 1 or _LIST_ITEM.match(text, end):
        return True
    return at - line not in _WRAPPED_LINE or text[line] == "#"


def _sentence_ends(text: str, start: int, at: int, end: int, after: int, small: bool) -> bool:
    """Whether the marks from `at` to `end` end the sentence that began at `start`.

    `after` is where the text goes on, `small` says that all of it is in small letters.
    """
    mark = text[at]
    if mark in " \u00a0":
        return at - start >= _THAI_SENTENCE
    if mark in _LAST_MARKS_WITHOUT_BLANK:
        return _mark_without_blank_ends(text, at, end)
    following = _NEXT_WORD.match(text, after)
    next_word = following[1] if following else ""
    if next_word[:1].islower() and not small:
        return False
    if end - at > 1 or mark != ".":
        return True
    return not _is_abbreviation(text, start, at, next_word, text[after].isdigit())


def _mark_without_blank_ends(text: str, at: int, end: int) -> bool:
    if text[at] == "．":
        return not text[end].isdigit()
    quoted = text[end - 1] in _CLOSERS
    return not (quoted and text[end] in "とっ、，,")


def _is_abbreviation(text: str, start: int, dot: int, next_word: str, before_number: bool) -> bool:
    """Whether the full stop at `dot` belongs to the word before it."""
    before = text[max(start, dot - 24) : dot]
    if not before or before[-1].isspace():
        return False
    word = before.rsplit(None, 1)[-1].lstrip(_OPENERS)
    if dot - len(word) == start and word.isdigit() and len(word) <= 3:
        return True
    small = word.lower()
    if _THAI.match(word[-1:]) and len(word) <= _THAI_SHORT:
        return True
    if small in _NEVER_LAST and (len(word) == 1 or not word.isupper()):
        return True
    if small in _BEFORE_NUMBERS and before_number:
        return True
    if small in _SELDOM_LAST or _ACRONYM.fullmatch(word):
        return next_word.lower() not in _STARTERS
    return False
