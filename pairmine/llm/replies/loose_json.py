"""Objects in text that is almost JSON: what models write, read without ever making up a value.

A field that the text breaks off in is left out, so that what is found is whole.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import Any

import orjson

_DEEPEST = 32
_MOST_STARTS = 64
"""Braces that are tried as the start of an object: text full of formulas must not take minutes."""

_LONGEST_NAME = 400
"""Characters of a field's name: looking on for its end would read the whole text for each of many braces."""

_JSON = json.JSONDecoder()
_BLANK = re.compile(r"[\s\ufeff\u200b]*")
_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d{1,300}(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w/])")
_RATIO = re.compile(r"\d+(?:\.\d+)?/\d+\b")
_BARE_KEY = re.compile(r"[A-Za-z_][\w-]*+(?=\s*+:)")
_LITERAL = re.compile(r"[A-Za-z]+")
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}

_CLOSERS = {'"': '"', "'": "'", "“": "”", "”": "”", "„": "“", "‘": "’", "«": "»", "`": "`"}
_QUOTED_KEY = r"[\"'“‘][^\"'“”‘’\n]{1,80}+[\"'”’]\s*+:"
_KEY = rf"(?:{_QUOTED_KEY}|[A-Za-z_][\w-]*+\s*+:)"
_AFTER_KEY = re.compile(r"\s*+:")
_AFTER_VALUE = re.compile(
    rf"\s*+(?:[}}\]]|\Z|```|//|/\*|\#|,\s*+(?:{_KEY}|[}}\]]|\Z|//|/\*|\#)|{_QUOTED_KEY})|[^\S\n]*+\n\s*+{_KEY}"
)
_AFTER_ITEM = re.compile(r"\s*+(?:[\]}]|\Z|```|,\s*+(?:[\[{\"'“‘\d\]-]|true|false|null|\Z))")
_SWALLOWED_FIELD = re.compile(r"[\"'”’]\s*:\s*[\"'“‘\d\[{]")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "\n"}
_CONTROL = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Found:
    """An object in a text: where it stands, what had to be mended, and whether the text broke off inside it."""

    value: dict[str, Any]
    start: int
    end: int
    repairs: tuple[str, ...]
    is_cut: bool


def objects(text: str, *, may_be_cut: bool = False) -> list[Found]:
    """The outermost objects of `text`, in order; [] where there is none.

    `may_be_cut` says that the writer was stopped: a last value that only seems to be whole is left out.
    """
    found: list[Found] = []
    at = text.find("{")
    for _ in range(_MOST_STARTS):
        if at < 0:
            break
        if (strict := _strictly(text, at)) is not None:
            found.append(strict)
            at = text.find("{", strict.end)
            continue
        reader = _Reader(text, at, may_be_cut)
        try:
            value = reader.object()
        except _NotJson:
            at = text.find("{", at + 1)
            continue
        found.append(Found(value, at, reader.at, tuple(dict.fromkeys(reader.repairs)), reader.is_cut))
        if reader.is_cut and value:
            break
        at = text.find("{", at + 1 if reader.is_cut else reader.at)
    return found


def _strictly(text: str, at: int) -> Found | None:
    """The object at `at` where it is JSON as it should be; half a character or a NaN is not."""
    try:
        end = _JSON.raw_decode(text, at)[1]
        return Found(orjson.loads(text[at:end]), at, end, (), False)
    except (ValueError, RecursionError):
        return None


class _NotJson(Exception):
    """The text at hand is not an object, however kindly read."""


class _Cut(Exception):
    """The text ended inside a value."""


class _Reader:
    """Reads one value from `at` on; `repairs` names what was not JSON."""

    def __init__(self, text: str, at: int, may_be_cut: bool) -> None:
        self.text, self.at, self.may_be_cut = text, at, may_be_cut
        self.repairs: list[str] = []
        self.is_cut = False
        self._depth = 0

    def object(self) -> dict[str, Any]:
        """The object that starts here; one that the text breaks off in holds the fields that are whole."""
        self._enter()
        members: dict[str, Any] = {}
        try:
            while not self._ends("}"):
                name = self._key()
                members[name] = self._value(_AFTER_VALUE)
                self._separator("}")
        except _Cut:
            self.is_cut = True
        self._depth -= 1
        return members

    def _array(self) -> list[Any]:
        self._enter()
        items: list[Any] = []
        while not self._ends("]"):
            items.append(self._value(_AFTER_ITEM))
            self._separator("]")
        self._depth -= 1
        return items

    def _enter(self) -> None:
        self.at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NotJson

    def _skip(self) -> str:
        """Passes blanks and comments; the next character, "" at the end of the text or of its code fence."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            comment = _COMMENT.match(self.text, self.at)
            if comment is None:
                return "" if self.text.startswith("```", self.at) else self.text[self.at : self.at + 1]
            self.repairs.append("comment")
            self.at = comment.end()

    def _ends(self, bracket: str) -> bool:
        char = self._skip()
        if char == bracket:
            self.at += 1
            return True
        if bracket == "]" and char == "}":
            self.repairs.append("missing closing bracket")
            return True
        if not char:
            if self.is_cut or self.may_be_cut:
                raise _Cut
            self.repairs.append("missing closing bracket")
            return True
        return False

    def _separator(self, bracket: str) -> None:
        char = self._skip()
        if char == ",":
            self.at += 1
            if self._skip() == bracket:
                self.repairs.append("trailing comma")
        elif char and char != bracket:
            if bracket == "]" and char == "}":
                return
            if bracket == "]" or not (char in _CLOSERS or _BARE_KEY.match(self.text, self.at)):
                raise _NotJson
            self.repairs.append("missing comma")

    def _key(self) -> str:
        if self._skip() in _CLOSERS:
            name = self._string(_AFTER_KEY, self.at + _LONGEST_NAME)
        elif bare := _BARE_KEY.match(self.text, self.at):
            self.repairs.append("unquoted field name")
            name, self.at = bare[0], bare.end()
        else:
            raise _NotJson
        colon = self._skip()
        if colon != ":":
            raise _NotJson if colon else _Cut
        self.at += 1
        return name

    def _value(self, after: re.Pattern[str]) -> Any:
        char = self._skip()
        if not char:
            raise _Cut
        if char == "{":
            return self.object()
        if char == "[":
            return self._array()
        return self._string(after) if char in _CLOSERS else self._scalar()

    def _scalar(self) -> Any:
        if ratio := _RATIO.match(self.text, self.at):
            self.at = ratio.end()
            return ratio[0]
        match = _NUMBER.match(self.text, self.at)
        if match:
            self.at = match.end()
            if self.may_be_cut and self.at == len(self.text):
                raise _Cut
            return float(match[0]) if any(char in match[0] for char in ".eE") else int(match[0])
        match = _LITERAL.match(self.text, self.at)
        if match is None or match[0] not in _LITERALS:
            at_end = match is not None and match.end() == len(self.text)
            raise _Cut if at_end and self.may_be_cut else _NotJson
        self.at = match.end()
        if match[0][0].isupper():
            self.repairs.append("Python literal")
        return _LITERALS[match[0]]

    def _string(self, after: re.Pattern[str], last: int = sys.maxsize) -> str:
        opener = self.text[self.at]
        start = self.at + 1
        end, has_inner = self._string_end(opener, start, after, last)
        body = self.text[start:end]
        self.at = end + 1
        if has_inner:
            if _SWALLOWED_FIELD.search(body):
                raise _NotJson
            if self.may_be_cut and _BLANK.fullmatch(self.text, self.at):
                raise _Cut
            self.repairs.append("unescaped quotes")
        if opener != '"':
            self.repairs.append({"'": "single quotes", "`": "backticks"}.get(opener, "smart quotes"))
        if _CONTROL.search(body):
            self.repairs.append("unescaped newline")
        return _unescaped(body) if "\\" in body else body

    def _string_end(self, opener: str, start: int, after: re.Pattern[str], last: int) -> tuple[int, bool]:
        """Where the string closes, before `last`: at the first quote after which the text goes on as JSON does."""
        closers = {_CLOSERS[opener]} | ({'"'} if opener in "“”„" else {"'"} if opener == "‘" else set())
        quote = re.compile(rf"\\.|[{''.join(closers)}]", re.DOTALL)
        has_inner = False
        for match in quote.finditer(self.text, start, last):
            if match[0][0] == "\\":
                continue
            if after.match(self.text, match.end()):
                return match.start(), has_inner
            has_inner = True
        raise _Cut if last >= len(self.text) else _NotJson


def _unescaped(body: str) -> str:
    text = _ESCAPE.sub(_unescape, body)
    # Escapes of the halves of one character arrive as two: joined here, and a lone half marked as broken.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "u" and len(code) == 5:
        return chr(int(code[1:], 16))
    if code in _ESCAPES:
        return _ESCAPES[code]
    return code if code in "\"'\\/`" else match[0]
