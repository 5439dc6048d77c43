"""Judged sentence pairs: what follows from a sentence, what contradicts it, what is left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, text_keys
from pairmine.recipes import Input, Option, Recipe
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.cells import texts
from pairmine.stages.derive.registry import Derivation, DrawsOf, FoundInTable, FromTable, Pair

ENTAILMENT, NEUTRAL, CONTRADICTION, NO_LABEL = "entailment", "neutral", "contradiction", ""

_LABELS = {
    **dict.fromkeys(("entailment", "entails", "entail", "e", "0"), ENTAILMENT),
    **dict.fromkeys(("supports", "supported", "support", "true"), ENTAILMENT),
    **dict.fromkeys(("neutral", "n", "1", "unknown", "nei", "not enough info", "not_enough_info"), NEUTRAL),
    **dict.fromkeys(("contradiction", "contradicts", "contradict", "c", "2"), CONTRADICTION),
    **dict.fromkeys(("refutes", "refuted", "refute", "false"), CONTRADICTION),
    **dict.fromkeys(("-", "-1", "", "none"), NO_LABEL),
}
_NAMES = {name: name for name in (ENTAILMENT, NEUTRAL, CONTRADICTION)} | {"none": NO_LABEL}
_GRADES = {ENTAILMENT: 1.0, NEUTRAL: 0.5, CONTRADICTION: 0.0}


@dataclass
class _Premise:
    """The hypotheses of one premise by sameness key, each as row and label; the first row of a copy counts."""

    text: str
    hypotheses: dict[int, tuple[int, str]] = field(default_factory=dict)
    disputed: set[int] = field(default_factory=set)


def nli(*, as_: str, label_map: str, neutral_negatives: bool, keep_unpaired: bool) -> FromTable:
    """What follows from a premise as its positives, what contradicts it as its hard negatives."""
    if as_ != "triplet" and keep_unpaired:
        raise PairmineError(f"--keep-unpaired has no effect with --as {as_}, which keeps every judged row")
    known = _LABELS | _read_map(label_map)
    pair_labels: dict[str, int | None] = {ENTAILMENT: POSITIVE, CONTRADICTION: NEGATIVE}
    if neutral_negatives:
        pair_labels[NEUTRAL] = NEGATIVE
    elif as_ != "triplet":
        pair_labels[NEUTRAL] = None

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        premises, hypotheses = texts(rows, "premise"), texts(rows, "hypothesis")
        reasons: dict[int, str] = {}
        pairs: list[tuple[int, Pair]] = []
        for premise in _by_premise(rows, premises, known, pair_labels, reasons):
            judged = _undisputed(premise, reasons)
            if as_ == "triplet":
                judged = _with_both_sides(judged, pair_labels, reasons, keep_unpaired=keep_unpaired)
            query_id = content_id(premise.text)
            for row, verdict in judged:
                text, label = hypotheses[row], pair_labels[verdict]
                role = "" if as_ == "triplet" else verdict
                extra = (_GRADES[verdict],) if as_ == "score" else ()
                pairs.append((row, Pair(query_id, premise.text, content_id(text), text, label, extra, role)))
        return FoundInTable(pairs, reasons)

    return of_table


def _columns(*, as_: str, **options: Any) -> Sequence[pa.Field]:
    return [pa.field("grade", pa.float32())] if as_ == "score" else []


def _read_map(written: str) -> dict[str, str]:
    """The labels that the user explains: "entailment=SUPPORTS|TRUE,contradiction=REFUTES" by small-letter label."""
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in written.split(","))):
        name, equals, values = part.partition("=")
        meaning = _NAMES.get(name.strip().casefold())
        if meaning is None or not equals:
            raise PairmineError(
                f"--label-map has {part!r}; write entailment=LABEL,neutral=LABEL,contradiction=LABEL, "
                "several labels with | between them, none=LABEL for no judgment"
            )
        for value in values.split("|"):
            plain = value.strip().casefold()
            if found.setdefault(plain, meaning) != meaning:
                raise PairmineError(f"--label-map gives {value.strip()!r} two meanings")
    return found


def _verdicts(values: Sequence[object], known: Mapping[str, str]) -> list[str]:
    """Each value as entailment, neutral, contradiction or "" for no gold label."""
    read: dict[object, str] = {}
    verdicts = []
    for number, value in enumerate(values, start=1):
        # True equals 1, and only one of them is a label.
        key = (type(value), value)
        if key not in read:
            read[key] = _verdict(value, number, known)
        verdicts.append(read[key])
    return verdicts


def _verdict(value: object, number: int, known: Mapping[str, str]) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return NO_LABEL
    plain = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().casefold()
    if plain in known and not isinstance(value, bool):
        return known[plain]
    raise PairmineError(
        f'row {number}: "label" is {value!r}; a label is entailment, neutral, contradiction, '
        "their numbers 0, 1, 2, or - where people did not agree; --label-map explains others"
    )


def _by_premise(
    rows: pa.Table,
    premises: list[str],
    known: Mapping[str, str],
    used: Mapping[str, int | None],
    reasons: dict[int, str],
) -> list[_Premise]:
    """The usable rows by premise, in the order in which premises appear; the others get their reason."""
    verdicts = _verdicts(rows["label"].to_pylist(), known)
    hypotheses = text_keys(rows["hypothesis"]).tolist()
    groups: dict[int, _Premise] = {}
    for row, key in enumerate(text_keys(rows["premise"]).tolist()):
        verdict, hypothesis = verdicts[row], hypotheses[row]
        if not key or not hypothesis:
            reasons[row] = "no hypothesis" if key else "no premise"
        elif verdict not in used:
            reasons[row] = verdict or "no gold label"
        elif hypothesis == key:
            reasons[row] = "the hypothesis is the premise"
        else:
            if key not in groups:
                groups[key] = _Premise(premises[row])
            _add(groups[key], row, verdict, hypothesis, reasons)
    return list(groups.values())


def _add(premise: _Premise, row: int, verdict: str, hypothesis: int, reasons: dict[int, str]) -> None:
    first, known = premise.hypotheses.setdefault(hypothesis, (row, verdict))
    if first == row:
        return
    reasons[row] = "duplicate"
    if verdict != known:
        premise.disputed.add(hypothesis)


def _undisputed(premise: _Premise, reasons: dict[int, str]) -> list[tuple[int, str]]:
    """Row and verdict of each hypothesis; one that came with two verdicts is rejected."""
    for hypothesis in premise.disputed:
        reasons[premise.hypotheses[hypothesis][0]] = "labels disagree"
    return [found for hypothesis, found in premise.hypotheses.items() if hypothesis not in premise.disputed]


def _with_both_sides(
    judged: Sequence[tuple[int, str]],
    pair_labels: Mapping[str, int | None],
    reasons: dict[int, str],
    *,
    keep_unpaired: bool,
) -> list[tuple[int, str]]:
    """The positives, then the negatives; nothing where one side is missing, unless it is to be kept."""
    positives = [each for each in judged if pair_labels[each[1]] == POSITIVE]
    negatives = [each for each in judged if pair_labels[each[1]] == NEGATIVE]
    if (positives and negatives) or keep_unpaired:
        return positives + negatives
    missing = CONTRADICTION if positives else ENTAILMENT
    reasons.update({row: f"no {missing} of this premise" for row, _ in judged})
    return []


DERIVATIONS = (
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
                    "as",
                    str,
                    "triplet",
                    "triplet: premises with both sides (SimCSE); label: every judged row, its verdict in origin "
                    "(SBERT); score: the same with grade 1, 0.5 or 0 (the pair-score form of sentence-transformers)",
                    choices=("triplet", "label", "score"),
                ),
                Option(
                    "label-map",
                    str,
                    "",
                    "what other labels mean: entailment=SUPPORTS|TRUE,contradiction=REFUTES,none=OTHER (ViCLSR)",
                ),
                Option(
                    "neutral-negatives",
                    bool,
                    False,
                    "take neutral sentences as negatives too (SimCSE leaves them out; label and score leave them "
                    "undecided)",
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
        extra=_columns,
    ),
)
