"""Text of unknown origin as people may be shown it: nothing in it moves a cursor, starts a line or turns letters."""

from __future__ import annotations

import re

# Controls of a terminal (C0, DEL, C1), ends of lines, marks that turn the direction of what follows, halves of letters.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSEEN_IN_LINES = re.compile(_UNSEEN.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))


def visible(text: str) -> str:
    r"""`text` on one line, what is unseen in it written out.

    >>> visible("a\nb\x1b[31mc")
    'a\\nb\\x1b[31mc'
    """
    return _UNSEEN.sub(_named, text)


def visible_lines(text: str) -> str:
    """The same for a text of several lines, which keeps its line ends and tabs."""
    return _UNSEEN_IN_LINES.sub(_named, text)


def _named(found: re.Match[str]) -> str:
    # As JSON writes it too, so that a line of JSON stays one and means the same.
    return found[0].encode("unicode_escape").decode("ascii") if found[0] < " " else f"\\u{ord(found[0]):04x}"
