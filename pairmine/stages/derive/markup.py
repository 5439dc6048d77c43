"""The sections of a text with headings in it, and its prose without the marks of Markdown or wiki text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pairmine.stages.derive.cuts import Span


class Section(NamedTuple):
    """A heading and where its own text stands, up to the next heading of any level.

    `level` is how deep it is nested, 1 for one that stands in no other, and 0 for what stands before
    the first heading; `parents` are the titles above it.
    """

    title: str
    level: int
    parents: tuple[str, ...]
    start: int
    end: int


class _Heading(NamedTuple):
    start: int
    end: int
    marks: int
    title: str


_WIKI = re.compile(r"^(={1,6})[ \t]*([^=\n][^\n]*?)[ \t]*\1[ \t]*$", re.MULTILINE)
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+([^\n]*?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)
_SETEXT = re.compile(r"^(?![ \t]*(?:[-*+>|#]|\d+[.)])[ \t])([^\n]+)\n(=+|-{2,})[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(```|~~~)[^\n]*\n.*?(?:^ {0,3}\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?^---[ \t]*$\n?", re.MULTILINE | re.DOTALL)

_WIKI_MARKS = (
    (re.compile(r"<ref\b[^<>]*/>|<ref\b[^<>]*>[^<]{0,2000}</ref>"), ""),
    (
        re.compile(
            r"\[\[(?:File|Image|Category|Datei|Bild|Kategorie|Fichier|Archivo):"
            r"[^\[\]]*+(?:\[\[[^\[\]]*+\]\][^\[\]]*+)*+\]\]",
            re.IGNORECASE,
        ),
        "",
    ),
    (re.compile(r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]|\n]*)\]\]"), r"\1"),
    (re.compile(r"\[(?:https?:)?//[^\s\]]+[ \t]*([^\[\]\n]*)\]"), r"\1"),
    (re.compile(r"'{2,5}"), ""),
    (re.compile(r"</?[a-zA-Z][^<>\n]*>"), ""),
    (re.compile(r"^[*#:;]+[ \t]*", re.MULTILINE), ""),
    (re.compile(r"__[A-Z]+__"), ""),
)
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{\|[^{}]*\|\}")
_TEMPLATES_DEEP = 8

_ADDRESS = r"\([^()\n]*+(?:\([^()\n]*+\)[^()\n]*+)*+\)"
"""What stands in brackets behind the words of a link; addresses of Wikipedia have brackets in them."""

_MARKDOWN_MARKS = (
    (_FRONT_MATTER, ""),
    (_FENCE, ""),
    (re.compile(r"^[ \t]*(?:[-*_][ \t]*){3,}$", re.MULTILINE), ""),
    (re.compile(r"^ {0,3}\[[^\[\]\n]+\]:[ \t]*[^\n]*$\n?", re.MULTILINE), ""),
    (re.compile(r"\[\^[^\[\]\n]+\]"), ""),
    (re.compile(r"(?<=\n\n)(?:(?: {4}|\t)[^\n]*(?:\n|\Z))+"), ""),
    (re.compile(r"(?<=[^\s|])\n {0,3}(?=[^\s#>|`~=<-])(?![*+]|\d{1,3}[.)])"), " "),
    (re.compile(rf"!\[[^\[\]\n]*\]{_ADDRESS}"), ""),
    (re.compile(rf"\[([^\[\]\n]+)\](?:{_ADDRESS}|\[[^\[\]\n]*\])"), r"\1"),
    (re.compile(r"^[ \t]*\|[^\n]*\|[ \t]*$\n?", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*(?:>[ \t]?|[-*+][ \t]+|\d{1,3}[.)][ \t]+)+", re.MULTILINE), ""),
    (re.compile(r"(\*\*\*|\*\*|__|\*|(?<!\w)_)(?=\S)([^*_\n]+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!`)`++([^`\n]+)`++"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>\n]*>"), ""),
)


def kind_of(text: str) -> str:
    """ "wiki" or "markdown", whose headings `text` has, "" where it has none."""
    if next(_WIKI.finditer(text), None):
        return "wiki"
    return "markdown" if next(_markdown_headings(text), None) else ""


def sections(text: str, kind: str) -> list[Section]:
    """The sections of `text` in order, those without text of their own included."""
    headings = list(_wiki_headings(text) if kind == "wiki" else _markdown_headings(text) if kind else ())
    first = headings[0].start if headings else len(text)
    found = [Section("", 0, (), 0, first)] if text[:first].strip() else []
    above: list[_Heading] = []
    for number, heading in enumerate(headings):
        while above and above[-1].marks >= heading.marks:
            above.pop()
        end = headings[number + 1].start if number + 1 < len(headings) else len(text)
        parents = tuple(each.title for each in above)
        above.append(heading)
        found.append(Section(heading.title, len(above), parents, heading.end, end))
    return found


def plain(text: str, kind: str) -> str:
    """`text` without marks: links are their words, pictures, notes, tables and code blocks are gone."""
    if kind:
        text = _without_comments(text)
    if kind == "wiki":
        for _ in range(_TEMPLATES_DEEP):
            text, count = _TEMPLATE.subn("", text)
            if not count:
                break
    for pattern, instead in _WIKI_MARKS if kind == "wiki" else _MARKDOWN_MARKS if kind else ():
        text = pattern.sub(instead, text)
    return text


def _without_comments(text: str) -> str:
    before, *parts = text.split("<!--")
    kept = [before]
    for part in parts:
        _, closed, after = part.partition("-->")
        kept.append(after if closed else part)
    return "".join(kept)


def _wiki_headings(text: str) -> Iterator[_Heading]:
    for found in _WIKI.finditer(text):
        yield _Heading(found.start(), found.end(), len(found[1]), _title(found[2], "wiki"))


def _markdown_headings(text: str) -> Iterator[_Heading]:
    if "#" not in text and "\n=" not in text and "\n-" not in text:
        return
    fences: list[Span] = [found.span() for found in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []
    fences += [found.span() for found in _FRONT_MATTER.finditer(text)]
    found = [_Heading(each.start(), each.end(), len(each[1]), each[2]) for each in _ATX.finditer(text)]
    found += [
        _Heading(each.start(), each.end(), 1 if each[2][0] == "=" else 2, each[1]) for each in _SETEXT.finditer(text)
    ]
    for heading in sorted(found):
        title = _title(heading.title, "markdown")
        if title and not any(start <= heading.start < end for start, end in fences):
            yield heading._replace(title=title)


def _title(marked: str, kind: str) -> str:
    return " ".join(plain(marked, kind).split())
