"""Keys and passwords, which nothing shows: what people read, and what a server says, goes through `without_keys`."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

HIDDEN = "***"
_SHORTEST = 7
"""A shorter one ("none", "EMPTY") is a word, which is not taken out of texts."""
_HOLDS_A_KEY = re.compile(r"(?:_KEY|_TOKEN|_SECRET|_PASSWORD|SECRET_ACCESS_KEY)$")
_LONG = 20
"""What is this long is taken out of replies too; "lm-studio", a key to some servers, may stand in a text."""

_known: set[str] = set()


def remember(key: str) -> None:
    """Have `key` hidden for the rest of the process."""
    if len(key) >= _SHORTEST:
        _known.add(key)


def remember_address(url: str) -> None:
    """Have what opens an address hidden, also as a server gets it: its password, or the one name before its host."""
    _known.update(_in_address(url))


def _in_address(url: str) -> set[str]:
    """What opens an address, with its @ where it is short."""
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
    found = {each for each in found if len(each) >= _SHORTEST}
    return found | {parts.netloc.rpartition("@")[0] + "@"} if user or password else found


def without_keys(text: str) -> str:
    """`text` with *** for every key that this process knows, in whatever spelling."""
    for form in _forms(frozenset(_known | _of_environment())):
        if form in text:
            text = text.replace(form, HIDDEN)
    return text


def without_keys_in(body: bytes) -> bytes:
    """The bytes of a reply without the keys that servers get from this process, where they are long."""
    for form in _forms(frozenset(key for key in _known if len(key) >= _LONG)):
        raw = form.encode("utf-8", "replace")
        if raw in body:
            body = body.replace(raw, HIDDEN.encode())
    return body


def without_keys_of(environment: dict[str, str]) -> dict[str, str]:
    """The variables for a process that asks nobody and needs no key."""
    return {name: value for name, value in environment.items() if not _HOLDS_A_KEY.search(name)}


def _of_environment() -> set[str]:
    found = set()
    for name, value in os.environ.items():
        value = value.strip()
        # A path or a number is no key, and what is ours stands for an option.
        is_secret = _HOLDS_A_KEY.search(name) and not name.startswith("PAIRMINE_")
        if is_secret and len(value) >= _SHORTEST and value[0] not in "/.~" and not value.isdigit():
            found.add(value)
        elif "://" in value:  # of a proxy, or of a server in PAIRMINE_BASE_URL
            found |= _in_address(value)
    return found


@lru_cache(8)
def _forms(keys: frozenset[str]) -> tuple[str, ...]:
    """All spellings of the keys, the longest first, since one may be part of another."""
    return tuple(sorted({form for key in keys for form in _spellings(key)}, key=lambda form: (-len(form), form)))


def _spellings(key: str) -> Iterator[str]:
    yield key
    yield key[::-1]
    yield quote(key, safe="")
    yield quote_plus(key)
    yield json.dumps(key)[1:-1]
    yield json.dumps(key)[1:-1].replace("/", "\\/")
    raw = key.encode("utf-8", "replace")
    yield raw.hex()
    # In base64 it is written in one of three ways, by what stands before it; its edges hang on its neighbours.
    for before in range(3):
        coded = b64encode(b"\0" * before + raw).decode().rstrip("=")
        inner = coded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        if len(inner) >= _SHORTEST:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")
