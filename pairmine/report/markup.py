"""Markup that is safe by construction: whatever is no `Html` is text, and text is escaped in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_CONTROL = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_REORDERING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)), 0xFFFD)
_TEXT = str.maketrans(_ENTITIES) | _CONTROL | _REORDERING
_DATA = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_LONGEST = 5_000
_VOID = frozenset({"meta", "link", "br", "input"})


class Html(str):
    """Markup that may stand in the page as it is."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """`text` as the page shows it: nothing in it is markup.

    Control characters become their pictures, and what reorders letters (which could make a path or
    an option read as another) or is half of a character becomes U+FFFD.
    """
    return text if isinstance(text, Html) else Html(str(text).translate(_TEXT))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element; ``tag("p", "a < b", class_="note")`` is ``<p class="note">a &lt; b</p>``.

    Children are escaped unless they are `Html`; None and False are left out, as are attributes of
    these values. An attribute that is True stands without a value, `aria_label` means aria-label.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(attribute if value is True else f'{attribute}="{escaped(value)}"')
    opened = " ".join(parts)
    return Html(f"<{opened}>") if name in _VOID and not children else Html(f"<{opened}>{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """All `parts` one after another, each as a child of `tag`; a text of more than `_LONGEST` characters is cut."""
    return Html("".join(escaped(_cut(part)) for part in parts if part is not None and part is not False))


def _cut(part: object) -> object:
    return (
        f"{part[:_LONGEST]}…" if isinstance(part, str) and not isinstance(part, Html) and len(part) > _LONGEST else part
    )


def embedded(body: Any) -> Html:
    """`body` as JSON that can stand inside a script element: no tag, comment or line end of JavaScript in it."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, written in _DATA.items():
        text = text.replace(character, written)
    return Html(text.encode("utf-8", "backslashreplace").decode())


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: whole ones with separators, others to `digits` digits; "-" for None."""
    if value is None:
        return "-"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def share(part: float, whole: float) -> str:
    """`part` of `whole` in per cent; no tenth where it is 10 or more, "-" where there is nothing."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    return f"{percent:.0f}%" if percent >= 10 or percent == 0 else f"{percent:.1f}%"


def counted(many: int, one: str, several: str | None = None) -> str:
    """``counted(1, "row")`` is "1 row", ``counted(2000, "row")`` "2,000 rows"."""
    return f"{many:,} {one if many == 1 else several or one + 's'}"
