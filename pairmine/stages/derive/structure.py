"""Structure that is already there: titles with their texts, judged sentence pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise, text_keys
from pairmine.recipes import Input, Option, Recipe
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import (
    DOCUMENT,
    Derivation,
    Document,
    Found,
    FoundInTable,
    FromDocument,
    FromTable,
    Pair,
    is_text,
)
from pairmine.text import count_words, is_wordless

ENTAILMENT, NEUTRAL, CONTRADICTION, NO_LABEL = "entailment", "neutral", "contradiction", ""

_LABELS = {
    **dict.fromkeys(("entailment", "entails", "entail", "e", "0", "supports", "supported"), ENTAILMENT),
    **dict.fromkeys(("neutral", "n", "1", "not enough info", "unknown"), NEUTRAL),
    **dict.fromkeys(("contradiction", "contradicts", "contradict", "c", "2", "refutes", "refuted"), CONTRADICTION),
    **dict.fromkeys(("-", "-1", "", "none"), NO_LABEL),
}


def title(*, min_words: int) -> FromDocument:
    """The title of a document as the query for its text."""

    def of_document(document: Document, draws: Draws) -> Found:
        heading = (document.title or "").strip()
        if not heading or is_wordless(heading):
            return Found((), "no title")
        if count_words(heading) < min_words:
            return Found((), "title too short")
        if normalise(heading) == normalise(document.text):
            return Found((), "the title is the whole text")
        return Found([Pair(f"{document.id}#q0", heading, document.id, document.text)])

    return of_document


@dataclass
class _Premise:
    """The hypotheses of one premise by sameness key, each as row and pair label; the first row of a copy counts."""

    text: str
    hypotheses: dict[int, tuple[int, int]] = field(default_factory=dict)
    disputed: set[int] = field(default_factory=set)


def nli(*, neutral_negatives: bool, keep_unpaired: bool) -> FromTable:
    """What follows from a premise as its positives, what contradicts it as its hard negatives."""
    judged = {ENTAILMENT: POSITIVE, CONTRADICTION: NEGATIVE}
    if neutral_negatives:
        judged[NEUTRAL] = NEGATIVE

    def of_table(rows: pa.Table) -> FoundInTable:
        premises, hypotheses = _texts(rows, "premise"), _texts(rows, "hypothesis")
        reasons: dict[int, str] = {}
        pairs: list[tuple[int, Pair]] = []
        for premise in _by_premise(rows, premises, judged, reasons):
            of_label = _undisputed(premise, reasons)
            missing = next((label for label in (POSITIVE, NEGATIVE) if not of_label[label]), None)
            if missing is not None and not keep_unpaired:
                reason = f"no {ENTAILMENT if missing == POSITIVE else CONTRADICTION} of this premise"
                reasons.update(dict.fromkeys(of_label[POSITIVE] + of_label[NEGATIVE], reason))
                continue
            query_id = content_id(premise.text)
            for label in (POSITIVE, NEGATIVE):
                for row in of_label[label]:
                    text = hypotheses[row]
                    pairs.append((row, Pair(query_id, premise.text, content_id(text), text, label)))
        return FoundInTable(pairs, reasons)

    return of_table


def _texts(rows: pa.Table, name: str) -> list[str]:
    """The column's texts without white space around them, "" for null."""
    if not is_text(rows[name].type):
        raise PairmineError(f'"{name}" holds {rows[name].type}, where text belongs')
    return [(text or "").strip() for text in rows[name].to_pylist()]


def _labels(values: Sequence[object]) -> list[str]:
    """Each value as entailment, neutral, contradiction or "" for no gold label."""
    known: dict[object, str] = {None: NO_LABEL}
    labels = []
    for number, value in enumerate(values, start=1):
        if value not in known:
            known[value] = _label(value, number)
        labels.append(known[value])
    return labels


def _label(value: object, number: int) -> str:
    if isinstance(value, float) and value != value:
        return NO_LABEL
    plain = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().casefold()
    if plain in _LABELS and not isinstance(value, bool):
        return _LABELS[plain]
    raise PairmineError(
        f'row {number}: "label" is {value!r}; a label is entailment, neutral, contradiction, '
        "their numbers 0, 1, 2, or - where people did not agree"
    )


def _by_premise(
    rows: pa.Table, premises: list[str], judged: Mapping[str, int], reasons: dict[int, str]
) -> list[_Premise]:
    """The usable rows by premise, in the order in which premises appear; the others get their reason."""
    labels = _labels(rows["label"].to_pylist())
    hypotheses = text_keys(rows["hypothesis"]).tolist()
    groups: dict[int, _Premise] = {}
    for row, key in enumerate(text_keys(rows["premise"]).tolist()):
        label, hypothesis = labels[row], hypotheses[row]
        if not key or not hypothesis:
            reasons[row] = "no hypothesis" if key else "no premise"
        elif label not in judged:
            reasons[row] = label or "no gold label"
        elif hypothesis == key:
            reasons[row] = "the hypothesis is the premise"
        else:
            if key not in groups:
                groups[key] = _Premise(premises[row])
            _add(groups[key], row, judged[label], hypothesis, reasons)
    return list(groups.values())


def _add(premise: _Premise, row: int, label: int, hypothesis: int, reasons: dict[int, str]) -> None:
    first, known = premise.hypotheses.setdefault(hypothesis, (row, label))
    if first == row:
        return
    reasons[row] = "duplicate"
    if label != known:
        premise.disputed.add(hypothesis)


def _undisputed(premise: _Premise, reasons: dict[int, str]) -> dict[int, list[int]]:
    """The rows of each pair label; a hypothesis that came with both labels is rejected."""
    of_label: dict[int, list[int]] = {POSITIVE: [], NEGATIVE: []}
    for hypothesis, (row, label) in premise.hypotheses.items():
        if hypothesis in premise.disputed:
            reasons[row] = "labels disagree"
        else:
            of_label[label].append(row)
    return of_label


DERIVATIONS = (
    Derivation(
        Recipe(
            name="title",
            group="structure",
            summary="The title of a document as the query for its text.",
            paper="E5, arXiv 2212.03533",
            needs="none",
            reads="documents",
            inputs=(*DOCUMENT, Input("title", "the document's title")),
            options=(Option("min-words", int, 1, "words that a title must have (our default)", low=1),),
            example=(
                """echo '{"id": "d1", "title": "Ebb and flow", "text": "The sea rises and falls twice a day."}' """
                "| pairmine derive title - -o -"
            ),
        ),
        from_document=title,
    ),
    Derivation(
        Recipe(
            name="nli",
            group="structure",
            summary="Entailed sentences as positives of their premise, contradicting ones as hard negatives.",
            paper="SimCSE, arXiv 2104.08821",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "premise",
                    "the sentence that is taken as true",
                    ("sentence1", "sentence_a", "text1", "context", "evidence"),
                ),
                Input(
                    "hypothesis", "the sentence that is held against it", ("sentence2", "sentence_b", "text2", "claim")
                ),
                Input(
                    "label",
                    "entailment, neutral or contradiction, or 0, 1, 2 in that order; - or -1 where people disagreed",
                    ("gold_label", "entailment_label", "entailment_judgment", "verdict"),
                ),
            ),
            options=(
                Option(
                    "neutral-negatives", bool, False, "take neutral sentences as negatives too (SimCSE leaves them out)"
                ),
                Option(
                    "keep-unpaired",
                    bool,
                    False,
                    "keep premises without an entailment or a contradiction (SimCSE needs both)",
                ),
            ),
            example=(
                """printf '%s\\n' """
                """'{"premise": "A man sleeps.", "hypothesis": "Someone rests.", "label": "entailment"}' """
                """'{"premise": "A man sleeps.", "hypothesis": "A man runs.", "label": "contradiction"}' """
                "| pairmine derive nli - -o -"
            ),
            whole=True,
        ),
        from_table=nli,
    ),
)
