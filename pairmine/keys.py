"""Keys and passwords, which nothing shows: what people read, and what a server says, goes through `without_keys`."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

HIDDEN = "***"
_SHORTEST = 7
"""A shorter one ("none", "EMPTY") is a word, which is not taken out of texts."""
_HOLDS_A_KEY = re.compile(r"(?:_KEY|_TOKEN|_SECRET|PASSWORD|_PASS|_PWD|SECRET_ACCESS_KEY)$")
_LONG = 20
"""What is this long is taken out of replies too; "lm-studio", a key to some servers, may stand in a text."""
_PART = 12
"""So many characters in a row of a key, in any spelling, are hidden too: it may be cut off anywhere."""
_GRAM = 6
"""Of `_PART` characters in a row, wherever they stand, so many begin at a multiple of this."""

_LONG_TEXT = 1_000_000

_known: set[str] = set()
_places: set[str] = set()
"""Names and passwords with the @ behind them, hidden as a whole alone: a part may be somebody's name."""


def remember(key: str) -> None:
    """Have `key` hidden for the rest of the process."""
    if len(key) >= _SHORTEST:
        _known.add(key)


def remember_address(url: str) -> None:
    """Have what opens an address hidden, also as a server gets it: its password, or the one name before its host."""
    _known.update(_secrets_in(url))
    _places.update(_place_in(url))


def _secrets_in(url: str) -> set[str]:
    """What opens an address."""
    try:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        asked = parse_qsl(parts.query)
    except ValueError:
        return set()
    found = {value for _, value in asked if len(value) >= _LONG}
    if user or password:
        found |= {parts.password or parts.username or "", password or user}
        found.add(b64encode(f"{user}:{password}".encode()).decode())
    return {each for each in found if len(each) >= _SHORTEST}


def _place_in(url: str) -> set[str]:
    """What stands before the host of an address, with its @: it may be short."""
    try:
        before, at, _ = urlsplit(url).netloc.rpartition("@")
    except ValueError:
        return set()
    return {before + at} if before.strip(":") else set()


def without_keys(text: str) -> str:
    """`text` with *** for every key that this process knows, and every long part of one, in whatever spelling."""
    secrets, places = _of_environment()
    return _hidden(text, _forms(frozenset(_known | secrets), frozenset(_places | places)))


def without_keys_in(body: bytes) -> bytes:
    """The bytes of a reply without the keys that servers get from this process, where they are long."""
    keys, places = (frozenset(key for key in known if len(key) >= _LONG) for known in (_known, _places))
    if not keys and not places:
        return body
    text = body.decode("latin-1")  # a character for each byte
    shown = _hidden(text, _forms(keys, places, in_bytes=True))
    return body if shown is text else shown.encode("latin-1")


def without_keys_of(environment: dict[str, str]) -> dict[str, str]:
    """The variables for a process that asks nobody and needs no key."""
    return {name: value for name, value in environment.items() if not _HOLDS_A_KEY.search(name)}


def _of_environment() -> tuple[set[str], set[str]]:
    """Keys in variables, and what stands before hosts in them."""
    secrets, places = set(), set()
    for name, value in os.environ.items():
        value = value.strip()
        # What is ours stands for an option.
        if _HOLDS_A_KEY.search(name) and not name.startswith("PAIRMINE_") and _is_key(name, value):
            secrets.add(value)
        elif "://" in value:  # of a proxy, or of a server in PAIRMINE_BASE_URL
            secrets |= _secrets_in(value)
            places |= _place_in(value)
    return secrets, places


def _is_key(name: str, value: str) -> bool:
    """Whether a value is not a word, a number or the path of a file that is there.

    A key may look like a path: one in 64 of AWS begins with a "/".
    """
    if len(value) < _SHORTEST or value.isdigit():
        return False
    if value[0] not in "/.~" or name.startswith("AWS_"):
        return True
    try:
        return not os.path.lexists(os.path.expanduser(value))
    except ValueError:
        return True


class _Forms(NamedTuple):
    """What is looked for: texts that are hidden as a whole, parts, and what the parts have in any `_GRAM` places."""

    whole: tuple[str, ...]
    parts: frozenset[str]
    grams: frozenset[str]


@lru_cache(8)
def _forms(keys: frozenset[str], places: frozenset[str], *, in_bytes: bool = False) -> _Forms:
    """All spellings of the keys and places; `in_bytes`, with a character for each byte in UTF-8."""
    spelled, whole = ({form for each in given for form in _spellings(each)} for given in (keys, places))
    if in_bytes:
        spelled, whole = (
            {form.encode("utf-8", "replace").decode("latin-1") for form in each} for each in (spelled, whole)
        )
    whole |= {form for form in spelled if len(form) < _PART}
    parts, grams = (
        frozenset(form[at : at + size] for form in spelled if len(form) >= _PART for at in range(len(form) - size + 1))
        for size in (_PART, _GRAM)
    )
    return _Forms(tuple(sorted(whole)), parts, grams)


def _hidden(text: str, forms: _Forms) -> str:
    """`text` with *** for what is looked for; `text` itself where there is none of it."""
    shown, done = [], -1
    for first, behind in sorted([*_whole_spans(text, forms.whole), *_part_spans(text, forms)]):
        if first > done:
            shown += [text[max(done, 0) : first], HIDDEN]
        done = max(done, behind)
    return "".join([*shown, text[done:]]) if shown else text


def _whole_spans(text: str, forms: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for form in forms:
        at = text.find(form)
        while at >= 0:
            yield at, at + len(form)
            at = text.find(form, at + len(form))


def _part_spans(text: str, forms: _Forms) -> Iterator[tuple[int, int]]:
    """Where parts stand, longer ones as a whole; it takes a time that grows with the length of the text alone."""
    begun = done = -1
    for at in _suspects(text, forms.grams):
        for first in range(max(at + _GRAM - _PART, done + 1 - _PART, 0), at + 1):
            if text[first : first + _PART] in forms.parts:
                if first > done:
                    if done > 0:
                        yield begun, done
                    begun = first
                done = first + _PART
    if done > 0:
        yield begun, done


def _suspects(text: str, grams: frozenset[str]) -> list[int]:
    """Multiples of `_GRAM` at which there is one."""
    if not grams:
        return []
    places: Iterable[int] = range(0, len(text) - _GRAM + 1, _GRAM)
    if len(text) > _LONG_TEXT:
        with suppress(UnicodeEncodeError):  # replies are bytes, and so fit
            places = _likely(text.encode("latin-1"), grams)
    return [at for at in places if text[at : at + _GRAM] in grams]


def _likely(text: bytes, grams: frozenset[str]) -> list[int]:
    """Of a long text the few places to look at: where each two bytes are those of some gram."""
    import numpy as np

    pairs = np.frombuffer(text, np.uint16, len(text) // _GRAM * (_GRAM // 2)).reshape(-1, _GRAM // 2)
    sought = "".join(gram for gram in grams if max(gram) < "\u0100").encode("latin-1")
    is_likely = np.ones(len(pairs), np.bool_)
    for at, own in enumerate(np.frombuffer(sought, np.uint16).reshape(-1, _GRAM // 2).T):
        is_sought = np.zeros(1 << 16, np.bool_)
        is_sought[own] = True
        is_likely &= is_sought[pairs[:, at]]
    found: list[int] = (np.flatnonzero(is_likely) * _GRAM).tolist()
    return found


def _spellings(key: str) -> Iterator[str]:
    for turned in (key, key[::-1]):
        yield turned
        for quoted in (quote(turned, safe=""), quote_plus(turned), quote(turned)):
            yield quoted
            yield re.sub("%..", lambda found: found[0].lower(), quoted)
        yield json.dumps(turned)[1:-1]
        yield json.dumps(turned)[1:-1].replace("/", "\\/")
        raw = turned.encode("utf-8", "replace")
        yield raw.hex()
        yield raw.hex().upper()
        # In base64 it is written in one of three ways, by what stands before it; its edges hang on its neighbours.
        for before in range(3):
            coded = b64encode(b"\0" * before + raw).decode().rstrip("=")
            inner = coded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
            if len(inner) >= _SHORTEST:
                yield inner
                yield inner.replace("+", "-").replace("/", "_")
