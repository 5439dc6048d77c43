"""The outline of a document: titles with what stands under them, sentences of one section against another's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise
from pairmine.recipes import Input, Option, Recipe
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.cuts import POSITIONS, SENTENCE_WORDS, is_full, paragraphs
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.markup import Section, kind_of, plain, sections
from pairmine.stages.derive.registry import (
    DOCUMENT,
    Derivation,
    Document,
    DrawsOf,
    Found,
    FoundInTable,
    FromDocument,
    FromTable,
    Pair,
    is_text,
)
from pairmine.text import sentence_spans

_TEXT_NAMES = ("contents", "content", "body", "paragraph", "passage", "section_text")
_MARKUPS = ("auto", "wiki", "markdown", "none")
_MARKUP = Option(
    "markup",
    str,
    "auto",
    "how headings are written: == so == (wiki), # so (markdown), not at all, or whichever is found (our default)",
    choices=_MARKUPS,
)


class _Cut(NamedTuple):
    """A sentence or paragraph without marks, and where it stands where it had none."""

    text: str
    start: int | None
    end: int | None


def _kind(text: str, markup: str) -> str:
    if markup == "auto":
        return kind_of(text)
    return "" if markup == "none" else markup


def _paragraphs(text: str, section: Section, kind: str) -> Iterator[list[_Cut]]:
    """The sentences of each paragraph of the section."""
    body = text[section.start : section.end]
    prose = plain(body, kind)
    cursor = section.start
    for start, end in paragraphs(prose):
        found = []
        for first, last in sentence_spans(prose[start:end]):
            sentence = prose[start + first : start + last]
            # Far enough to skip a link or a note, near enough that a text full of marks stays quick.
            at = text.find(sentence, cursor, min(section.end, cursor + 4 * len(sentence) + 2000))
            cursor = at + len(sentence) if at >= 0 else cursor
            found.append(_Cut(sentence, at, cursor) if at >= 0 else _Cut(sentence, None, None))
        yield found


def outline(*, unit: str, markup: str, per_document: int, min_words: int) -> FromDocument:
    """The document's title and the section's title as queries for what stands under them, with its place."""

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        kind = _kind(text, markup)
        parts = sections(text, kind)
        title = (document.title or "").strip() or _title_of(parts)
        if not title and not any(part.title for part in parts):
            return Found((), "no title and no heading")
        found = [
            (number, each)
            for number, part in enumerate(parts)
            for each in _units(text, part, list(_paragraphs(text, part, kind)), unit, min_words)
        ]
        chosen = [found[at] for at in draws.sample(len(found), per_document or len(found))]
        pairs = list(_under(document.id, "#t", title, "title", chosen, parts)) if title else []
        for number, own in groupby(chosen, key=itemgetter(0)):
            heading = parts[number].title
            if heading and normalise(heading) != normalise(title):
                pairs += _under(document.id, f"#s{number}", heading, "section", own, parts)
        return Found(pairs) if pairs else Found((), "no sentence under a heading" if parts else "too short")

    return of_document


class _Unit(NamedTuple):
    """A sentence or paragraph; the positions are in [0, 1], 0 for the first in its paragraph or section."""

    cut: _Cut
    id: str
    in_paragraph: float | None
    in_section: float


def _title_of(parts: Sequence[Section]) -> str:
    """The heading that all others stand under, as the document's title."""
    tops = [part for part in parts if part.level == 1]
    return tops[0].title if len(tops) == 1 and parts[0] is tops[0] else ""


def _units(text: str, part: Section, found: list[list[_Cut]], unit: str, min_words: int) -> Iterator[_Unit]:
    for number, cuts in enumerate(found):
        in_section = _relative(number, len(found))
        if unit == "paragraph":
            whole = _whole(text, cuts)
            if is_full(whole.text, min_words):
                yield _Unit(whole, f"{part.start}-{number}", None, in_section)
            continue
        for at, cut in enumerate(cuts):
            if is_full(cut.text, min_words):
                yield _Unit(cut, f"{part.start}-{number}-{at}", _relative(at, len(cuts)), in_section)


def _relative(number: int, count: int) -> float:
    return number / (count - 1) if count > 1 else 0.0


def _whole(text: str, cuts: list[_Cut]) -> _Cut:
    """The sentences as one paragraph."""
    whole, start, end = " ".join(cut.text for cut in cuts), cuts[0].start, cuts[-1].end
    if start is not None and end is not None and text[start:end] == whole:
        return _Cut(whole, start, end)
    return _Cut(whole, None, None)


def _under(
    name: str, query: str, title: str, role: str, chosen: Iterable[tuple[int, _Unit]], parts: Sequence[Section]
) -> Iterator[Pair]:
    for number, unit in chosen:
        if normalise(unit.cut.text) == normalise(title):
            continue
        part = parts[number]
        extra = (unit.cut.start, unit.cut.end, part.title or None, part.level, unit.in_paragraph, unit.in_section)
        yield Pair(f"{name}{query}", title, f"{name}#{unit.id}", unit.cut.text, POSITIVE, extra, role)


_Sentence = tuple[int, _Cut]
"""A sentence with the number of its row."""

_Path = tuple[str, ...]
"""The title of a section behind those of the sections that it stands in, all normalised."""


def section_triplets(
    *, views: int, negatives: int, per_section: int, markup: str, skip: str, min_words: int
) -> FromTable:
    """A sentence with others of its section, and with sentences of other sections of the same article."""
    left_out = {normalise(title) for title in skip.split(",")} - {""}

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        articles = _articles(rows, markup, left_out, min_words)
        pairs: list[tuple[int, Pair]] = []
        reasons: dict[int, str] = {}
        for name, parts in articles.items():
            draws = draws_of(name)
            for number, (title, own) in enumerate(parts.items()):
                elsewhere = [each for other, found in parts.items() if _apart(other, title) for each in found]
                if len(own) < 2 or not elsewhere:
                    reason = "only one section" if len(own) > 1 else "a section of fewer than two sentences"
                    reasons.update((row, reason) for row, _ in own)
                    continue
                for drawn, at in enumerate(draws.sample(len(own), per_section)):
                    query_id = f"{name}#{number}q{drawn}"
                    pairs += _triplet(query_id, own, at, elsewhere, draws, views - 1, negatives)
        used = {row for row, _ in pairs}
        for row, text in enumerate(_texts(rows, "text")):
            if row not in used:
                reasons.setdefault(row, "not drawn" if text.strip() else "no text")
        return FoundInTable(pairs, {row: reason for row, reason in reasons.items() if row not in used})

    return of_table


def _apart(one: _Path, other: _Path) -> bool:
    """Whether neither section stands in the other, so that a sentence of one has nothing to do in the other."""
    shared = min(len(one), len(other))
    return one[:shared] != other[:shared]


def _articles(
    rows: pa.Table, markup: str, left_out: set[str], min_words: int
) -> dict[str, dict[_Path, list[_Sentence]]]:
    """The sentences of each section of each article, from rows that name theirs and from headings in the text.

    A sentence that stands in two sections of an article belongs to neither.
    """
    blank = [""] * rows.num_rows
    articles = _texts(rows, "article") if "article" in rows.column_names else blank
    titles = _texts(rows, "section") if "section" in rows.column_names else blank
    found: dict[str, dict[_Path, list[_Sentence]]] = {}
    for row, (text, article, title) in enumerate(zip(_texts(rows, "text"), articles, titles, strict=True)):
        if not text.strip():
            continue
        of_article = found.setdefault(article.strip() or content_id(text), {})
        kind = "" if title.strip() else _kind(text, markup)
        parts = [Section(title, 1, (), 0, len(text))] if title.strip() else sections(text, kind)
        for part in parts:
            if normalise(part.title) not in left_out:
                path = tuple(map(normalise, (*part.parents, part.title)))
                cuts = (cut for cuts in _paragraphs(text, part, kind) for cut in cuts)
                of_article.setdefault(path, []).extend((row, cut) for cut in cuts if is_full(cut.text, min_words))
    return {name: _without_shared(parts) for name, parts in found.items()}


def _without_shared(parts: dict[_Path, list[_Sentence]]) -> dict[_Path, list[_Sentence]]:
    places = Counter(key for found in parts.values() for key in {normalise(cut.text) for _, cut in found})
    return {
        path: [(row, cut) for row, cut in found if places[normalise(cut.text)] == 1] for path, found in parts.items()
    }


def _triplet(
    query_id: str, own: list[_Sentence], at: int, elsewhere: list[_Sentence], draws: Draws, most: int, negatives: int
) -> Iterator[tuple[int, Pair]]:
    """The rows of one anchor: `most` other sentences of its section, then `negatives` sentences from elsewhere."""
    row, anchor = own[at]
    keys = {normalise(anchor.text)}
    for label, role, pool, wanted in (
        (POSITIVE, "same", own[:at] + own[at + 1 :], most),
        (NEGATIVE, "other", elsewhere, negatives),
    ):
        taken = 0
        for _ in range(wanted * _ATTEMPTS):
            if taken == wanted:
                break
            other, cut = pool[draws.below(len(pool))]
            if (key := normalise(cut.text)) not in keys:
                keys.add(key)
                place = (cut.start, cut.end) if other == row else (None, None)
                extra = (anchor.start, anchor.end, *place)
                yield row, Pair(query_id, anchor.text, f"{query_id}{role[0]}{taken}", cut.text, label, extra, role)
                taken += 1


_ATTEMPTS = 8
"""How often a sentence is drawn again that says the same as another of its triplet."""


def _texts(rows: pa.Table, name: str) -> list[str]:
    """The column's texts, "" for null."""
    if not is_text(rows[name].type):
        raise PairmineError(f'"{name}" holds {rows[name].type}, where text belongs')
    return [text or "" for text in rows[name].to_pylist()]


DERIVATIONS = (
    Derivation(
        Recipe(
            name="outline",
            group="views",
            summary="Titles of documents and sections with the sentences under them, and where each of those stands.",
            paper="DiscoEval, arXiv 1909.00142",
            needs="none",
            reads="documents",
            inputs=(*DOCUMENT, Input("title", "the document's title, where no heading says it", required=False)),
            options=(
                Option(
                    "unit", str, "sentence", "what stands under a title (DiscoEval)", choices=("sentence", "paragraph")
                ),
                _MARKUP,
                Option(
                    "per-document",
                    int,
                    0,
                    "most sentences or paragraphs from each document, drawn at random; 0 takes all (our default)",
                    low=0,
                ),
                SENTENCE_WORDS,
            ),
            example=(
                """echo '{"id": "d1", "title": "Mills", "text": "== History ==\\nThe first mills were driven by """
                """oxen.\\n== Parts ==\\nThe wheel of a mill is of oak."}' | pairmine derive outline - -o -"""
            ),
        ),
        from_document=outline,
        extra=(
            *POSITIONS[2:],
            pa.field("section", pa.string()),
            pa.field("level", pa.int32()),
            pa.field("in_paragraph", pa.float32()),
            pa.field("in_section", pa.float32()),
        ),
    ),
    Derivation(
        Recipe(
            name="sections",
            group="structure",
            summary="A sentence with one of its own section (1) and one of another section of the article (0).",
            paper="Wikipedia section triplets, Sentence-BERT, arXiv 1908.10084",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "article",
                    "what its sections have in common; without it each text is an article",
                    ("article_title", "title", "page_title", "page", "document_title"),
                    required=False,
                ),
                Input(
                    "section",
                    "the title of the section; without it the headings in the text part it",
                    ("section_title", "heading", "section_name", "header", "subtitle"),
                    required=False,
                ),
                Input("text", "the text of a section, or of an article with headings in it", _TEXT_NAMES),
            ),
            options=(
                Option("views", int, 2, "the sentence and others of its section (Sentence-BERT)", low=2, high=64),
                Option("negatives", int, 1, "sentences of other sections (Sentence-BERT)", low=0),
                Option("per-section", int, 1, "most queries from each section (our default)", low=1),
                _MARKUP,
                Option(
                    "skip",
                    str,
                    "see also,references,external links,notes,further reading,bibliography,sources",
                    "titles of sections to leave out, with commas between them (our default)",
                ),
                SENTENCE_WORDS,
            ),
            example=(
                """printf '%s\\n' """
                """'{"article": "Mills", "section": "History", "text": "The first mills were driven by oxen. """
                """Wind came much later."}' """
                """'{"article": "Mills", "section": "Parts", "text": "The wheel is of oak. It turns slowly now."}' """
                "| pairmine derive sections - -o -"
            ),
            whole=True,
        ),
        from_table=section_triplets,
        extra=POSITIONS,
    ),
)
