"""Slips in single characters: of fingers, and of a machine that reads print."""

from __future__ import annotations

import re
from functools import cache

from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.wording import is_mark

KINDS = ("swap", "delete", "insert", "keyboard", "substitute", "ocr")

_KEYBOARDS = (("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm"), ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"))
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
)
_LOOK_ALIKE = (
    "m rn", "d cl", "w vv", "h li", "n ri", "u ii", "H li", "M rn", "ff fi", "0 O", "0 o", "O D", "O Q",
    "1 l", "1 I", "l I", "1 i", "5 S", "5 s", "8 B", "2 Z", "2 z", "6 G", "6 b", "9 g", "9 q", "4 A", "7 T", "c e",
    "e o", "a o", "h b", "h n", "u v", "t f", "i j", "f t", "y v", "C G", "E F", "P R", "U V", "K X", "и н", "ш щ",
    "ц щ", "з э", "б 6", "З 3", "О 0", "ъ ь", "ι ί", "ν υ", "ο σ", "ソ ン", "シ ツ", "ク タ", "ロ 口", "カ 力",
    "ニ 二", "エ 工", "ハ 八", "ー 一", "ト 卜", "ヌ 又", "チ 千", "ぬ ね", "る ろ", "は ほ", "わ れ", "土 士",
    "未 末", "日 目", "日 曰", "大 太", "大 犬", "人 入", "木 本", "王 玉", "田 由", "己 已", "石 右", "千 干",
    "午 牛", "鳥 烏", "末 朱", "間 問", "理 埋", "侍 待", "貿 賀", "微 徴",
)  # fmt: skip
"""Characters, or pairs of them, that print makes look alike, each way round (ours)."""


@cache
def look_alikes() -> dict[str, tuple[str, ...]]:
    """What each character or pair of characters may be read as."""
    found: dict[str, dict[str, None]] = {}
    for pair in _LOOK_ALIKE:
        one, other = pair.split()
        found.setdefault(one, {})[other] = None
        found.setdefault(other, {})[one] = None
    return {read: tuple(others) for read, others in found.items()}


@cache
def look_alikes_without_kana() -> dict[str, tuple[str, ...]]:
    """The same for a text without kana: a Chinese \u4e00 is read as no Japanese long vowel."""
    kept = {read: tuple(other for other in others if not has_kana(other)) for read, others in look_alikes().items()}
    return {read: others for read, others in kept.items() if others}


def has_kana(text: str) -> bool:
    """Whether hiragana or katakana stand in `text`."""
    return _KANA.search(text) is not None


_KANA = re.compile("[\u3041-\u30ff]")


def places(table: dict[str, tuple[str, ...]]) -> re.Pattern[str]:
    """A pattern that finds the keys of `table` in a text, the longest first."""
    return re.compile("|".join(map(re.escape, sorted(table, key=lambda key: (-len(key), key)))))


@cache
def look_alike_places(*, kana: bool) -> re.Pattern[str]:
    """`places` of our look-alikes, with those of kana or without."""
    return places(look_alikes() if kana else look_alikes_without_kana())


@cache
def _neighbours() -> dict[str, str]:
    """The keys beside each key: left and right, and the nearest two in the rows above and below."""
    found: dict[str, list[str]] = {}
    for rows in _KEYBOARDS:
        for row, keys in enumerate(rows):
            for at, key in enumerate(keys):
                near = [
                    (row, at - 1),
                    (row, at + 1),
                    (row - 1, at),
                    (row - 1, at + 1),
                    (row + 1, at - 1),
                    (row + 1, at),
                ]
                found[key] = [rows[r][c] for r, c in near if 0 <= r < len(rows) and 0 <= c < len(rows[r])]
    return {key: "".join(near) for key, near in found.items()}


def letters(text: str) -> list[str]:
    """The characters of `text`, each with the marks on it, so that no vowel sign is left alone."""
    if text.isascii():
        return list(text)
    found: list[str] = []
    for character in text:
        if found and (is_mark(character) or character == "\u200d"):
            found[-1] += character
        else:
            found.append(character)
    return found


def with_slip(text: str, kind: str, draws: Draws) -> str | None:
    """`text` with one slip of the `kind`, None where it has no place for one.

    Letters that are put in come from the alphabet of the letter beside, or where that has too many
    (Han, Thai, Hangul) from the text itself.
    """
    if kind == "ocr":
        return _misread(text, draws)
    found = letters(text)
    able = [at for at, letter in enumerate(found) if letter[0].isalnum()]
    if kind == "swap":
        able = [at for at in able if at + 1 < len(found) and found[at + 1][0].isalnum() and found[at] != found[at + 1]]
    elif kind == "delete":
        able = able if len(able) > 1 else []
    elif kind == "keyboard":
        able = [at for at in able if found[at].lower() in _neighbours()]
    else:
        able = [at for at in able if _others(found, at)]
    if not able:
        return None
    at = able[draws.below(len(able))]
    letter = found[at]
    if kind == "swap":
        found[at], found[at + 1] = found[at + 1], letter
    elif kind == "delete":
        del found[at]
    else:
        near = _neighbours()[letter.lower()] if kind == "keyboard" else _others(found, at)
        other = near[draws.below(len(near))]
        other = other.upper() if letter.isupper() else other
        found[at] = letter + other if kind == "insert" else other
    return "".join(found)


def _others(found: list[str], at: int) -> list[str] | str:
    """Letters that could stand in place of the one at `at`."""
    letter = found[at].lower()
    for alphabet in _ALPHABETS:
        if letter in alphabet:
            return alphabet.replace(letter, "")
    return [other for other in dict.fromkeys(found) if other != found[at] and other[0].isalnum()]


def _misread(text: str, draws: Draws) -> str | None:
    kana = has_kana(text)
    spots = list(look_alike_places(kana=kana).finditer(text))
    if not spots:
        return None
    spot = spots[draws.below(len(spots))]
    read = (look_alikes() if kana else look_alikes_without_kana())[spot[0]]
    return text[: spot.start()] + read[draws.below(len(read))] + text[spot.end() :]
