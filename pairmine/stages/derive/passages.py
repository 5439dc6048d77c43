"""Finer or larger rows out of given pairs: parts of a document that answer its query, documents made of pairs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id
from pairmine.recipes import Input, Option, Recipe, Resource
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.cuts import POSITIONS, SENTENCE_WORDS, Span, full_sentences, passages
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import PAIR, Derivation, DrawsOf, Found, FoundInTable, FromRow, FromTable, Pair
from pairmine.text import count_words, has_unspaced, sentence_spans, word_pieces, words

_WORD = re.compile(r"\w+")
_K1, _B = 1.5, 0.75
"""BM25's settings, the same as of the retriever bm25."""

_ENCODER = Resource("encoder", "encoder", "a bi-encoder that picks the parts, instead of shared words")


def subcontext(*, query: str, chunk_words: int, top: int, encoder: Any) -> FromRow:
    """A long document with its parts that have to do with the question, as one shorter document."""

    def of_row(row: Mapping[str, Any], draws: Draws) -> Found:
        question, text = row["query"] or "", row["document"] or ""
        if not question.strip() or not text.strip():
            return Found((), "no text")
        if row["label"] == NEGATIVE:
            return Found((), "not a positive")
        spans = sentence_spans(text)
        lengths = [count_words(text[start:end]) for start, end in spans]
        chunks = [(spans[run[0]][0], spans[run[-1]][1]) for run, _ in passages(lengths, chunk_words)]
        if len(chunks) <= top:
            return Found((), "too short")
        best = _best(question, [text[slice(*chunk)] for chunk in chunks], top, encoder)
        if not best:
            return Found((), "no word in common")
        part, place = _rejoined(text, chunks, best)
        query_id, doc_id = row["query_id"] or content_id(question), row["doc_id"] or content_id(text)
        part_id = f"{doc_id}#{query_id}"
        if query == "question":
            return Found([Pair(query_id, question, part_id, part, POSITIVE, (None, None, *place, question))])
        return Found([Pair(f"{part_id}q", text, part_id, part, POSITIVE, (0, len(text), *place, question))])

    return of_row


def _best(question: str, texts: list[str], top: int, encoder: Any) -> list[int]:
    """The numbers of the texts that fit the question best, in ascending order, without those that share nothing."""
    if encoder is not None:
        scores = _cosines(question, texts, encoder)
    else:
        scores = _bm25(_tokens(question), list(map(_tokens, texts)))
    best = sorted(range(len(texts)), key=lambda at: (-scores[at], at))[:top]
    return sorted(at for at in best if scores[at] > 0)


def _rejoined(text: str, chunks: list[Span], best: list[int]) -> tuple[str, tuple[int | None, int | None]]:
    """The chosen chunks as they stand in the text, with a line break where others were between them."""
    runs = [[at for _, at in run] for _, run in groupby(enumerate(best), lambda each: each[1] - each[0])]
    places = [(chunks[run[0]][0], chunks[run[-1]][1]) for run in runs]
    place = places[0] if len(places) == 1 else (None, None)
    return "\n".join(text[slice(*each)] for each in places), place


def multi_grain(*, runner_up: float, negative_below: float, min_words: int, encoder: Any) -> FromRow:
    """The passage of a query, and each of its sentences, graded by how much of the query it holds."""

    def of_row(row: Mapping[str, Any], draws: Draws) -> Found:
        query, text = row["query"] or "", row["document"] or ""
        if not query.strip() or not text.strip():
            return Found((), "no text")
        query_id, doc_id = row["query_id"] or content_id(query), row["doc_id"] or content_id(text)
        pairs = [Pair(query_id, query, doc_id, text, row["label"], (None, 0, len(text)), "passage")]
        spans, full = full_sentences(text, min_words)
        if len(spans) < 2 or not full:
            return Found(pairs, skipped=["passages of one sentence"])
        places = [spans[at] for at in full]
        grades = _grades(query, [text[slice(*place)] for place in places], encoder)
        best = max(grades)
        if best <= 0:
            return Found(pairs, skipped=["passages that share nothing with their query"])
        labels = _labels(grades, row["label"], runner_up, negative_below)
        for at, place, grade, label in zip(full, places, grades, labels, strict=True):
            extra = (grade, *place)
            pairs.append(Pair(query_id, query, f"{doc_id}#s{at}", text[slice(*place)], label, extra, "sentence"))
        return Found(pairs)

    return of_row


def _grades(query: str, sentences: list[str], encoder: Any) -> list[float]:
    """How much of the query each sentence holds, in [0, 1]: a cosine, or the share of its words, rare ones counting
    more."""
    if encoder is not None:
        return [min(1.0, max(0.0, cosine)) for cosine in _cosines(query, sentences, encoder)]
    bags = [set(_tokens(sentence)) for sentence in sentences]
    weights = _rarity(set(_tokens(query)), bags)
    total = sum(weights.values())
    return [sum(weight for word, weight in weights.items() if word in bag) / total if total else 0.0 for bag in bags]


def _labels(grades: list[float], of_passage: int | None, runner_up: float, negative_below: float) -> list[int | None]:
    """For a positive passage: 1 for the best sentence where none comes close, 0 for those far below it, else null."""
    if of_passage != POSITIVE:
        return [of_passage] * len(grades)
    best, *others = sorted(grades, reverse=True)
    of_best = POSITIVE if not others or others[0] < runner_up * best else None
    return [of_best if grade == best else NEGATIVE if grade < negative_below * best else None for grade in grades]


def _cosines(query: str, texts: list[str], encoder: Any) -> list[float]:
    found: list[float] = np.asarray(encoder.encode(texts, "document") @ encoder.encode([query], "query")[0]).tolist()
    return found


def _tokens(text: str) -> list[str]:
    """The words of `text` without punctuation, case folded."""
    if has_unspaced(text):
        found = (_WORD.search(piece) for piece in word_pieces(text)[0])
        return [each[0].casefold() for each in found if each]
    return _WORD.findall(text.casefold())


def _rarity(wanted: set[str], bags: Sequence[set[str]]) -> dict[str, float]:
    """The inverse document frequency, as in BM25, of each wanted word that some of the bags hold."""
    count = len(bags)
    found = Counter(word for bag in bags for word in wanted & bag)
    return {word: math.log(1 + (count - held + 0.5) / (held + 0.5)) for word, held in sorted(found.items())}


def _bm25(question: list[str], texts: list[list[str]]) -> list[float]:
    """Lucene's BM25 of each text among `texts`."""
    weights = _rarity(set(question), list(map(set, texts)))
    mean = sum(map(len, texts)) / len(texts) or 1.0
    scores = []
    for text in texts:
        held = Counter(word for word in text if word in weights)
        norm = _K1 * (1 - _B + _B * len(text) / mean)
        scores.append(sum(weights[word] * times / (times + norm) for word, times in held.items()))
    return scores


def doc_diff(
    *,
    sentences: int,
    positive_ratio: float,
    inversions: int,
    by: str,
    documents: int,
    same_from: float,
    different_to: float,
) -> FromTable:
    """Two documents made of several pairs, with a mark on every word that the other one does not say."""
    most = sentences * (sentences - 1) // 2
    if inversions > most:
        raise PairmineError(f"--inversions is {inversions}; --sentences {sentences} allow at most {most}")
    if same_from <= different_to:
        raise PairmineError(f"--same-from {same_from:g} is not above --different-to {different_to:g}; raise it")
    same = round(positive_ratio * sentences)
    wanted = {POSITIVE: same, NEGATIVE: sentences - same}

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        queries, texts = rows["query"].to_pylist(), rows["document"].to_pylist()
        labels = _kinds(rows, same_from, different_to)
        pools, reasons = _pools(rows, by, labels)
        pairs: list[tuple[int, Pair]] = []
        seen: set[str] = set()
        for value, of_label in pools.items():
            draws = draws_of(value)
            if lacking := _lacking(of_label, wanted):
                reasons.update((row, lacking) for found in of_label.values() for row in found)
            for order in _documents(of_label, wanted, documents, draws):
                other = [order[at] for at in _permuted(len(order), inversions, draws)]
                query, document = _one_text(queries, order), _one_text(texts, other)
                query_id = content_id(query)
                if query_id in seen:
                    continue
                seen.add(query_id)
                differs = _marks(queries, order, labels), _marks(texts, other, labels)
                extra = (same / sentences, *differs)
                pairs.append((order[0], Pair(query_id, query, content_id(document), document, None, extra)))
                for row in order:
                    del reasons[row]
        return FoundInTable(pairs, reasons)

    return of_table


def _pools(
    rows: pa.Table, by: str, labels: Sequence[int | None]
) -> tuple[dict[str, dict[int, list[int]]], dict[int, str]]:
    """The rows of each label for each value of the column `by`, and why each row is in no document so far."""
    if by and by not in rows.column_names:
        raise PairmineError(f'--by: there is no column "{by}" (found: {", ".join(rows.column_names)})')
    values = rows[by].to_pylist() if by else [""] * rows.num_rows
    texts = zip(rows["query"].to_pylist(), rows["document"].to_pylist(), strict=True)
    pools: dict[str, dict[int, list[int]]] = {}
    reasons: dict[int, str] = {}
    for row, (value, label, (query, document)) in enumerate(zip(values, labels, texts, strict=True)):
        if not (query or "").strip() or not (document or "").strip():
            reasons[row] = "no text"
        elif label is None:
            reasons[row] = "neither the same nor different"
        else:
            reasons[row] = "left over"
            pools.setdefault(str(value), {POSITIVE: [], NEGATIVE: []})[label].append(row)
    return pools, reasons


def _lacking(of_label: Mapping[int, list[int]], wanted: Mapping[int, int]) -> str:
    """Why these rows make no document at all, "" where they make one."""
    for label, what in ((POSITIVE, "say the same"), (NEGATIVE, "differ")):
        if len(of_label[label]) < wanted[label]:
            return f"only {len(of_label[label])} of the {wanted[label]} pairs that {what} for a document"
    return ""


def _documents(
    of_label: Mapping[int, list[int]], wanted: Mapping[int, int], most: int, draws: Draws
) -> Iterator[list[int]]:
    """The rows of one document after the other, so many of each label, in a random order; none is used twice."""
    shuffled = {label: [rows[at] for at in draws.shuffled(len(rows))] for label, rows in of_label.items()}
    count = min(len(shuffled[label]) // each for label, each in wanted.items() if each)
    for number in range(min(count, most or count)):
        taken = [row for label, each in wanted.items() for row in shuffled[label][number * each : (number + 1) * each]]
        yield [taken[at] for at in draws.shuffled(len(taken))]


def _one_text(texts: Sequence[str], rows: Sequence[int]) -> str:
    return " ".join(texts[row].strip() for row in rows)


def _marks(texts: Sequence[str], rows: Sequence[int], labels: Sequence[int | None]) -> list[int]:
    """1 for each word of a text whose counterpart says something else, 0 for the others."""
    return [int(labels[row] == NEGATIVE) for row in rows for _ in words(texts[row])]


def _kinds(rows: pa.Table, same_from: float, different_to: float) -> list[int | None]:
    """Each row's label, else what its grade says."""
    nothing = [None] * rows.num_rows
    labels = rows["label"].to_pylist() if "label" in rows.column_names else nothing
    grades = rows["grade"].to_pylist() if "grade" in rows.column_names else nothing
    return [
        _by_grade(grade, same_from, different_to) if label is None else label
        for label, grade in zip(labels, grades, strict=True)
    ]


def _by_grade(grade: float | None, same_from: float, different_to: float) -> int | None:
    if grade is None:
        return None
    return POSITIVE if grade >= same_from else NEGATIVE if grade <= different_to else None


def _permuted(count: int, inversions: int, draws: Draws) -> list[int]:
    """The numbers in [0, count) in an order with so many pairs that stand the wrong way around."""
    order = list(range(count))
    for _ in range(inversions):
        ascending = [at for at in range(count - 1) if order[at] < order[at + 1]]
        at = ascending[draws.below(len(ascending))]
        order[at], order[at + 1] = order[at + 1], order[at]
    return order


DERIVATIONS = (
    Derivation(
        Recipe(
            name="subcontext",
            group="views",
            summary="A long document with the parts of it that have to do with a question, as one short document.",
            paper="Focused learning (Wu et al.), arXiv 2411.05928",
            needs="none",
            reads="pairs",
            inputs=PAIR,
            options=(
                Option(
                    "query",
                    str,
                    "context",
                    "what the short document answers: the long one (the paper) or the question",
                    choices=("context", "question"),
                ),
                Option(
                    "chunk-words",
                    int,
                    64,
                    "most words in a part, which is whole sentences (our default)",
                    low=1,
                    high=1_000_000,
                ),
                Option("top", int, 4, "parts that are kept (our default)", low=1),
            ),
            resources=(_ENCODER,),
            example=(
                """echo '{"query": "who owns the mill", "document": "The village has a bridge. The mill is owned by """
                """Ada Lee. It rains a lot there. The road is old."}' """
                "| pairmine derive subcontext - --chunk-words 6 --top 1 -o -"
            ),
        ),
        from_row=subcontext,
        extra=(*POSITIONS, pa.field("question", pa.string())),
    ),
    Derivation(
        Recipe(
            name="multi-grain",
            group="views",
            summary="A query with its passage and with each sentence of it, graded by how much of the query it holds.",
            paper="AGRaME, arXiv 2405.15028",
            needs="none",
            reads="pairs",
            inputs=PAIR,
            options=(
                Option(
                    "runner-up",
                    float,
                    0.8,
                    "the best sentence is a positive where all others have less than this part of its grade, else "
                    "undecided (our default)",
                    low=0,
                    high=1,
                ),
                Option(
                    "negative-below",
                    float,
                    0.5,
                    "a sentence with less than this part of the best one's grade is a negative; those between stay "
                    "undecided (our default)",
                    low=0,
                    high=1,
                ),
                SENTENCE_WORDS,
            ),
            resources=(_ENCODER,),
            example=(
                """echo '{"query": "who owns the mill", "document": "The mill is owned by Ada Lee. It rains a lot """
                """there. The road to the mill is old."}' | pairmine derive multi-grain - -o -"""
            ),
        ),
        from_row=multi_grain,
        extra=(pa.field("grade", pa.float32()), *POSITIONS[2:]),
    ),
    Derivation(
        Recipe(
            name="doc-diff",
            group="views",
            summary="Two documents made of pairs that say the same or do not, with a mark on every word that differs.",
            paper="Recognising semantic differences (Vamvas, Sennrich), arXiv 2305.13303",
            needs="none",
            reads="pairs",
            inputs=(
                *PAIR,
                Input("grade", "how similar the two are, from 0 to 1, where there is no label", required=False),
            ),
            options=(
                Option("sentences", int, 5, "pairs in a document (our default)", low=1, high=1000),
                Option("positive-ratio", float, 0.5, "the part of them that say the same (our default)", low=0, high=1),
                Option(
                    "inversions",
                    int,
                    0,
                    "neighbours that change places in the second document, one after the other (our default)",
                    low=0,
                ),
                Option("by", str, "", "column whose value all pairs of a document share, such as lang (our default)"),
                Option(
                    "documents",
                    int,
                    0,
                    "most documents, of each value of --by; 0 makes as many as the pairs allow (our default)",
                    low=0,
                ),
                Option(
                    "same-from",
                    float,
                    0.8,
                    "without a label: grade from which two say the same (our default)",
                    low=0,
                    high=1,
                ),
                Option(
                    "different-to",
                    float,
                    0.4,
                    "without a label: grade up to which they do not (our default)",
                    low=0,
                    high=1,
                ),
            ),
            example=(
                """printf '%s\\n' '{"query": "A man sleeps.", "document": "Someone is asleep.", "label": 1}' """
                """'{"query": "It rains.", "document": "The sun shines.", "label": 0}' """
                "| pairmine derive doc-diff - --sentences 2 -o -"
            ),
            whole=True,
        ),
        from_table=doc_diff,
        extra=(
            pa.field("grade", pa.float32()),
            pa.field("query_differs", pa.list_(pa.int8())),
            pa.field("document_differs", pa.list_(pa.int8())),
        ),
    ),
)
