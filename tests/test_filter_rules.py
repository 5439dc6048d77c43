"""Rules of `filter`: every rule, anchor, action, gate and exemption against a reference that goes row by row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.schema import score_field
from pairmine.stages.filter import Filtered, filter_pairs
from pairmine.stages.filter.deciding import add_up
from pairmine.stages.filter.rules import RULES

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("doc_id", pa.string()),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        score_field("ce", "probability"),
        score_field("dense", "cosine"),
        score_field("llm", "similarity"),
        score_field("feedback", "difference"),
        pa.field("weight", pa.float32()),
        pa.field("line", pa.int64()),
    ]
)
OPTIONS: dict[str, Any] = {"by": "score_ce", "negatives": 2, "pick": "top"}
Row = dict[str, Any]
Fires = Callable[[Row], bool]


def run(rows: list[Row], **options: Any) -> Filtered:
    return filter_pairs(pa.Table.from_pylist(rows, schema=SCHEMA), **{**OPTIONS, **options})


def row(query: str, doc: str, label: int | None = None, ce: float | None = None, **more: Any) -> Row:
    return {"query_id": query, "doc_id": doc, "label": label, "origin": "mine:x", "score_ce": ce, **more}


def kept(outcome: Filtered) -> list[str]:
    return list(outcome.kept["doc_id"].to_pylist())


def reasons(outcome: Filtered) -> dict[str, str]:
    return dict(zip(outcome.rejected["doc_id"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True))


# ------------------------------------------------------------------ the reference


def single(value: float) -> float:
    return float(np.float32(value))


def anchored(values: list[float], anchor: str | float) -> float:
    """The number that stands for the positives' scores."""
    values = sorted(values) if anchor != "mean" else values
    if anchor == "mean":
        return sum(values) / len(values)
    share = {"min": 0.0, "median": 0.5, "max": 1.0}.get(str(anchor), anchor)
    place = (len(values) - 1) * float(share)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


WORDS = {"min": "lowest positive", "median": "median positive", "mean": "mean positive", "max": "highest positive"}


class Reference:
    """The rules as the docstring of `filter_pairs` words them, a query at a time and a row at a time."""

    def __init__(self, rows: list[Row], options: dict[str, Any]) -> None:
        self.o = options
        self.kept: list[Row] = []
        self.reasons: dict[int, str] = {}
        self.remarks: dict[int, list[str]] = {}
        self.factor: dict[int, float] = {}
        self.relabelled: set[int] = set()
        self.counts: dict[str, list[int]] = {}
        self.exempt: Counter[str] = Counter()
        blocks: dict[str, list[Row]] = {}
        for one in rows:
            blocks.setdefault(one["query_id"], []).append(dict(one))
        for block in blocks.values():
            self.query(block)

    def left(self, rows: list[Row]) -> list[Row]:
        return [one for one in rows if one["line"] not in self.reasons and one["line"] not in self.relabelled]

    def query(self, block: list[Row]) -> None:
        o = self.o
        for one in block:
            if one["label"] == 0 and any(fnmatch(one["origin"], pattern) for pattern in o.get("hold", ())):
                one |= {"label": None, "held": True}
        positives = [one for one in block if one["label"] == 1]
        candidates = [one for one in block if one["label"] is None]
        decided = [one for one in block if one["label"] == 0]
        if not positives:
            return self.reject(block, "query has no positive")
        for name, label, reason, fires in self.rules_for_positives(candidates):
            self.act(name, label, reason, fires, positives, [])
        positives = self.left(positives)
        if not positives:
            return self.reject(block, "query has no positive")
        free = [one for one in candidates if any(fnmatch(one["origin"], pattern) for pattern in o.get("exempt", ()))]
        for name, label, reason, fires in self.rules(positives, candidates):
            others = candidates if name in ("ranks", "suspects") else candidates + decided
            self.act(name, label, reason, fires, candidates, [one for one in others if one in free or one in decided])
        survivors = sorted(self.left(candidates), key=self.place)
        if skip := o.get("skip"):
            best = [one for one in survivors if one not in free][:skip]
            self.reject(best, f"among the {skip} best of its query, which are skipped")
            self.count(f"skip {skip}", len(candidates), len(best), len(best), 0)
            survivors = self.left(survivors)
        n = o["negatives"]
        self.reject(decided[n:], "surplus")
        picks = survivors[: max(n - len(decided), 0)]
        self.reject([one for one in survivors if one not in picks], "not picked")
        relabelled = [one for one in candidates if one["line"] in self.relabelled]
        self.kept += [{**one, "label": 1} for one in positives + relabelled]
        self.kept += [{**one, "label": 0} for one in decided[:n] + picks]
        return None

    def reject(self, rows: list[Row], reason: str) -> None:
        for one in rows:
            self.reasons.setdefault(one["line"], reason)

    def count(self, label: str, *numbers: int) -> None:
        sums = self.counts.setdefault(label, [0] * len(numbers))
        self.counts[label] = [a + b for a, b in zip(sums, numbers, strict=True)]

    def act(self, name: str, label: str, reason: str, fires: Fires, entered: list[Row], spared: list[Row]) -> None:
        hit = [one for one in entered if fires(one)]
        first = [one for one in self.left(hit) if one not in spared]
        action, _, factor = self.o.get("actions", {}).get(name, "drop").partition(":")
        for one in first:
            said = self.remarks.setdefault(one["line"], [])
            if action == "drop":
                self.reject([one], reason)
            elif action == "relabel":
                self.relabelled.add(one["line"])
                said.append(f"relabelled by {name}")
            elif action == "weight":
                self.factor[one["line"]] = self.factor.get(one["line"], 1.0) * float(factor or 0.5)
                said.append(f"weight times {float(factor or 0.5):g} by {name}")
            else:
                said.append(f"kept in spite of {name}")
        idle = sum(fires(one) for one in spared)
        self.exempt[f"exempt, but {reason}"] += idle
        self.count(label, len(entered), len(hit), len(first), idle)

    def place(self, one: Row, column: str = "score_ce") -> tuple[Any, ...]:
        return (-single(one[column]), math.inf if one["rank"] is None else one["rank"], one["doc_id"])

    def rules_for_positives(self, candidates: list[Row]) -> list[tuple[str, str, str, Fires]]:
        rules: list[tuple[str, str, str, Fires]] = []
        for column, x in self.limits("min_positive_score"):
            reason = f"positive with score_{column} below {x:g}"
            rules.append(("min-positive-score", f"min-positive-score {column}:{x:g}", reason, self.below(column, x)))
        for column, k in self.limits("consistency"):
            scores = [single(one[f"score_{column}"]) for one in candidates]

            def outscored(one: Row, column: str = column, k: float = k, scores: list[float] = scores) -> bool:
                return sum(score > single(one[f"score_{column}"]) for score in scores) >= k

            reason = f"positive below {k:g} candidates of its query by score_{column}"
            rules.append(("consistency", f"consistency {column}:{k:g}", reason, outscored))
        return rules

    def rules(self, positives: list[Row], candidates: list[Row]) -> list[tuple[str, str, str, Fires]]:
        o, rules = self.o, []
        if o.get("ranks"):
            low, high = (end if end is not None else "" for end in o["ranks"])
            rules.append(("ranks", f"ranks {low}:{high}", f"rank outside {low}:{high}", self.unranked(low, high)))
        if o.get("candidate_gate"):
            rules += self.gate()
        for column, x in self.limits("max_score"):
            reason = f"{self.called(column)} above {x:g}"
            rules.append(("max-score", f"max-score {column}:{x:g}", reason, self.above(column, single(x))))
        for column, x in self.limits("min_score"):
            reason = f"{self.called(column)} below {x:g}"
            rules.append(("min-score", f"min-score {column}:{x:g}", reason, self.below(column, x)))
        for name in ("absolute_margin", "relative_margin"):
            for column, x in self.limits(name):
                rules.append(self.margin(name, column, x, positives))
        if o.get("suspects") is not None:
            risky = {one["line"] for one in self.riskiest(candidates, len(positives))}
            reason = "suspected false negative: near its query's positives"
            rules.append(("suspects", f"suspects {o['suspects']:g}", reason, lambda one: one["line"] in risky))
        return rules

    def limits(self, name: str) -> list[tuple[str, float]]:
        given = self.o.get(name) or []
        several = given if isinstance(given, list) else [given]
        parts = [str(one).rpartition(":") for one in several]
        return [(column or "ce", float(number)) for column, _, number in parts]

    @staticmethod
    def called(column: str) -> str:
        return "score" if column == "ce" else f"score_{column}"

    @staticmethod
    def above(column: str, threshold: float) -> Fires:
        return lambda one: one[f"score_{column}"] is not None and single(one[f"score_{column}"]) > threshold

    @staticmethod
    def below(column: str, x: float) -> Fires:
        return lambda one: one[f"score_{column}"] is not None and single(one[f"score_{column}"]) < single(x)

    @staticmethod
    def unranked(low: Any, high: Any) -> Fires:
        return lambda one: one["rank"] is not None and not (low or 1) <= one["rank"] <= (high or math.inf)

    def gate(self) -> list[tuple[str, str, str, Fires]]:
        head, _, judged = self.o["candidate_gate"].partition(":judge=")
        column, low, high = head.split(":")
        name, low, high = f"score_{column}", float(low), float(high)

        def above(one: Row) -> bool:
            return one[name] is not None and single(one[name]) >= single(high)

        def middle(one: Row) -> bool:
            return one[name] is not None and single(one[name]) >= single(low) and not above(one)

        reason = f"candidate positive: {name} of {high:g} or more"
        rules: list[tuple[str, str, str, Fires]] = [("gate-high", f"gate-high {column}:{high:g}", reason, above)]
        between: Fires = middle
        if judged:
            judge, _, t = judged.partition(":")
            verdict = f"score_{judge}"
            reason = f"candidate positive: {verdict} of {float(t):g} or more"
            label = f"gate-high {judge}:{float(t):g}"
            rules.append(
                ("gate-high", label, reason, lambda one: middle(one) and (one[verdict] or -1) >= single(float(t)))
            )
            between = lambda one: middle(one) and one[verdict] is None  # noqa: E731
        label = f"gate-middle {column}:{low:g}:{high:g}"
        return [*rules, ("gate-middle", label, f"between {low:g} and {high:g} of {name}", between)]

    def margin(self, name: str, column: str, x: float, positives: list[Row]) -> tuple[str, str, str, Fires]:
        scores = [one[f"score_{column}"] for one in positives]
        anchor = self.o.get("anchor", "min")
        threshold = math.inf  # where a positive has no score, nothing may ask for it
        if None not in scores:
            s = anchored([single(score) for score in scores], anchor)
            threshold = single(s - (abs(s) * x if name == "relative_margin" else x))
        words = WORDS.get(str(anchor), f"{anchor} quantile of the positives")
        size = f"{x * 100:g}%" if name == "relative_margin" else f"{x:g}"
        by = "" if column == "ce" else f" by score_{column}"
        flag = name.replace("_", "-")
        return flag, f"{flag} {column}:{x:g}", f"within {size} of the {words}{by}", self.above(column, threshold)

    def riskiest(self, candidates: list[Row], positives: int) -> list[Row]:
        columns = [f"score_{name}" for name in self.o.get("suspects_by", ("ce", "feedback"))]
        pool = sorted(candidates, key=lambda one: self.place(one, columns[0]))[: self.o.get("suspects_pool", 200)]
        told = [standard([one[name] for one in pool], name) for name in columns]
        risk = [sum(scores) for scores in zip(*told, strict=True)]
        many = math.floor(min(self.o["suspects"] * math.sqrt(positives), 0.9 * len(pool)) + 0.5)
        many = min(many, max(len(pool) - (self.o["negatives"] if self.o.get("pick", "top") else 0), 0))
        return [pool[at] for at in sorted(range(len(pool)), key=lambda at: -risk[at])[:many]]


def standard(scores: list[float | None], column: str) -> list[float]:
    """Each score as a z score among them, 0 for null; probabilities as logits."""
    known = [single(score) for score in scores if score is not None]
    if column == "score_ce":
        odds = np.clip(np.array(known), 1e-6, 1 - 1e-6)
        known = np.log(odds / (1 - odds)).tolist()
    mean = sum(known) / max(len(known), 1)
    spread = math.sqrt(sum((x - mean) * (x - mean) for x in known) / max(len(known), 1))
    found = iter([(x - mean) / spread if spread else 0.0 for x in known])
    return [0.0 if score is None else next(found) for score in scores]


SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.30001, 0.5, 0.5, 0.7, 0.9, 1.0])
ORIGINS = st.sampled_from(["given", "mine:bm25", "generate:x", "generate:é"])


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(0, 4))):
        for _ in range(draw(st.integers(1, 9))):
            label = draw(st.sampled_from([None, None, None, 0, 1]))
            scores = [draw(SCORES) for _ in range(2)]
            one = {
                "query_id": f"q{number}",
                "doc_id": f"d{draw(st.integers(0, 9))}-{len(rows)}",
                "label": label,
                "origin": draw(ORIGINS),
                "rank": draw(st.integers(1, 9)) if label is None else draw(st.none() | st.integers(1, 9)),
                "weight": draw(st.sampled_from([None, 1.0, 0.25])),
                "score_llm": draw(st.none() | SCORES),
                "line": len(rows),
            }
            one["score_feedback"] = draw(st.none() | st.sampled_from([-0.3, 0.0, 0.1, 0.4]))
            rows.append(one | dict(zip(("score_ce", "score_dense"), scores, strict=True)))
    return rows


RULES_FOR_CANDIDATES = {kind.name.replace("-", "_") for kind in RULES if not kind.of_positives} - {"skip"}
RULES_FOR_CANDIDATES |= {"candidate_gate"}


def several(*values: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    drawn = {
        "anchor": draw(st.sampled_from(["min", "median", "mean", "max", 0.25])),
        "min_positive_score": draw(several(0.3, "dense:0.3", ["ce:0.1", "dense:0.25"])),
        "consistency": draw(several(1, "dense:2")),
        "ranks": draw(several((2, None), (None, 6), (2, 8))),
        "candidate_gate": draw(several("ce:0.3:0.7", "ce:0.1:0.9:judge=llm:0.5", "dense:0.5:0.5")),
        "max_score": draw(several(0.7, ["ce:0.9", "dense:0.7"])),
        "min_score": draw(several(0.1, "dense:0.1")),
        "absolute_margin": draw(several(0.2, ["0", "dense:0.1"])),
        "relative_margin": draw(several(0.05, ["ce:0.5", "dense:0.2"])),
        "suspects": draw(several(0, 1, 2.5)),
        "skip": draw(st.sampled_from([0, 0, 1])),
        "negatives": draw(st.integers(1, 4)),
        "exempt": draw(st.sampled_from([(), ("generate:*",), ("given", "mine:*")])),
        "hold": draw(st.sampled_from([(), ("generate:*",), ("*",)])),
    }
    given = {name: value for name, value in drawn.items() if value not in (None, ())}
    if not given.get("skip") and not RULES_FOR_CANDIDATES & given.keys():
        given.pop("exempt", None)
    if "suspects" in given:
        given |= {"suspects_pool": draw(st.sampled_from([3, 200]))}
        given |= draw(st.sampled_from([{}, {"suspects_by": ["dense", "ce"]}]))
    flags = {name.replace("_", "-") for name in given}
    flags |= {"gate-high", "gate-middle"} if "candidate_gate" in given else set()
    actions = {}
    for kind in RULES:
        what = ["drop", "keep", "weight", "weight:0.25", *(["relabel"] if kind.tells_positives else [])]
        if kind.name in flags and kind.name != "skip" and draw(st.booleans()):
            actions[kind.name] = draw(st.sampled_from(what))
    return given | {"actions": actions}


@settings(max_examples=30, deadline=None)
@given(tables(), choices())
def test_every_rule_action_and_exemption_does_what_its_words_say(rows: list[Row], options: dict[str, Any]) -> None:
    check_against_reference(rows, options)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(tables(), choices())
@pytest.mark.long
def test_a_thousand_tables_come_out_as_the_rules_words_say(rows: list[Row], options: dict[str, Any]) -> None:
    check_against_reference(rows, options)


def check_against_reference(rows: list[Row], options: dict[str, Any]) -> None:
    expected = Reference(rows, options)
    outcome = run(rows, **options)
    found = outcome.kept.to_pylist()
    assert [(one["line"], one["label"]) for one in found] == [(one["line"], one["label"]) for one in expected.kept]
    rejected = zip(outcome.rejected["line"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True)
    assert list(rejected) == sorted(expected.reasons.items())
    counted = {one.rule: [one.of, one.fires, one.acted, one.exempt] for one in outcome.rules}
    assert {rule: numbers for rule, numbers in counted.items() if any(numbers)} == {
        rule: numbers for rule, numbers in expected.counts.items() if any(numbers)
    }
    assert {k: v for k, v in outcome.notes.items() if k.startswith("exempt")} == +expected.exempt
    said = {one["line"]: one.get("decision") for one in found}
    assert said == {line: "; ".join(expected.remarks.get(line, ())) or None for line in said}
    for one in found if "weight" in str(options["actions"]) else ():
        came = rows[one["line"]]["weight"]
        assert one["weight"] == single((1.0 if came is None else came) * expected.factor.get(one["line"], 1.0))


# ------------------------------------------------------------------ cases that a user meets

EVERY_RULE: dict[str, Any] = {
    "min_positive_score": "ce:0.2",
    "consistency": "dense:3",
    "ranks": (1, 50),
    "candidate_gate": "ce:0.1:0.9:judge=llm:0.5",
    "max_score": ["ce:0.8", "dense:0.9"],
    "min_score": 0.01,
    "absolute_margin": "dense:0.01",
    "relative_margin": 0.05,
    "suspects": 1,
    "skip": 1,
    "actions": ["gate-high=relabel", "suspects=weight:0.5", "max-score=keep"],
}


def test_an_empty_pair_set_has_the_columns_of_a_full_one_and_a_line_for_each_rule() -> None:
    rows = [row("q", "p", 1, 0.9, score_dense=0.9), row("q", "n", None, 0.05, score_dense=0.1, rank=1)]
    empty, full = run([], **EVERY_RULE), run(rows, **EVERY_RULE)
    assert (empty.kept.num_rows, empty.rejected.num_rows) == (0, 0)
    assert empty.kept.schema == full.kept.schema
    assert "decision" in empty.kept.column_names
    assert [one.rule for one in empty.rules] == [one.rule for one in full.rules]


def test_rows_of_one_query_a_query_without_positive_and_one_without_candidates_are_each_told_apart() -> None:
    rows = [row("a", "x", None), row("b", "p", 1), row("c", "日本", 0)]
    outcome = run(rows, **EVERY_RULE | {"min_positive_score": None, "consistency": None})
    assert kept(outcome) == ["p"]
    assert reasons(outcome) == {"x": "query has no positive", "日本": "query has no positive"}
    assert all((one.of, one.fires, one.exempt) == (0, 0, 0) for one in outcome.rules)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_score": 0.5}, "2 of 2 rows have no score_ce; run 'pairmine score' first"),
        ({"relative_margin": "dense:0.1"}, "3 of 3 rows have no score_dense; run 'pairmine score' first"),
        ({"min_positive_score": 0.5}, "1 of 1 rows have no score_ce"),
        ({"consistency": "dense:1"}, "3 of 3 rows have no score_dense"),
        ({"candidate_gate": "ce"}, "2 of 2 rows have no score_ce"),
        ({"suspects": 1}, "2 of 2 rows have no score_ce"),
        ({}, "2 of 2 rows have no score_ce"),
    ],
)
@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_scores_that_are_none_are_counted_by_the_rule_that_wants_them(
    options: dict[str, Any], message: str, nothing: float | None
) -> None:
    rows = [row("q", doc, 1 if doc == "p" else None, nothing, score_dense=nothing) for doc in ("p", "a", "b")]
    with pytest.raises(PairmineError, match=message) as error:
        run(rows, **options)
    assert error.value.exit_code == 2


def test_a_score_is_asked_only_of_rows_that_the_rules_before_left() -> None:
    rows = [
        row("q", "p", 1, 0.9, score_dense=0.8),
        row("q", "a", None, 0.95),
        row("q", "b", None, 0.2, score_dense=0.1),
    ]
    assert kept(run(rows, max_score="ce:0.9", relative_margin="dense:0.05")) == ["p", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_score": 3},
            "max score 3 is outside what score_ce holds, 0 to 1; thresholds are on the column's own scale",
        ),
        ({"min_score": "dense:-2"}, "min score -2 is outside what score_dense holds, -1 to 1"),
        ({"max_score": "gpt:0.5"}, "max score: no column gpt; columns to choose from: score_ce, score_dense"),
        ({"max_score": "ce:high"}, 'max score ce:high: "high" is no number; write it as 0.3 or as ce:0.3'),
        ({"max_score": [0.5, "ce:0.4"]}, "max score is given twice for score_ce; leave one of them out"),
        ({"max_score": 0.1, "min_score": "ce:0.9"}, "min score 0.9 is above max score 0.1: nothing is left"),
        ({"consistency": 1.5}, "consistency 1.5: it counts candidates, so write a whole number"),
        ({"consistency": 0}, "consistency 0 is out of range; it is 1 or more"),
        ({"anchor": "mode"}, "anchor mode: choose min, median, mean, max, or a quantile from 0 to 1, as 0.25"),
        ({"anchor": 1.5}, "anchor 1.5: choose min"),
        (
            {"candidate_gate": "ce:0.9:0.1"},
            "candidate gate ce:0.9:0.1: 0.9 is above 0.1; the lower threshold comes first",
        ),
        ({"candidate_gate": "ce:0.9"}, "candidate gate ce:0.9: write it as COLUMN:LOW:HIGH or"),
        ({"candidate_gate": "ce:1:5"}, "candidate gate 5 is outside what score_ce holds"),
        (
            {"candidate_gate": "dense"},
            "candidate gate dense: 0.1 and 0.9 are for a cross-encoder's probabilities, and score_dense holds a "
            "cosine; write it as dense:LOW:HIGH",
        ),
        ({"candidate_gate": "logit"}, "candidate gate: score_logit holds logits, whose size differs"),
        ({"candidate_gate": "ce:0.1:0.9:judge=llm"}, "candidate gate ce:0.1:0.9:judge=llm: write it as"),
        ({"candidate_gate": "ce:0.5:0.5:judge=llm:1"}, "nothing lies between 0.5 and 0.5 for a judge to decide"),
        ({"candidate_gate": "logit:-1:1"}, "candidate gate: score_logit holds logits, whose size differs"),
        ({"relative_margin": "logit:0.05"}, "score_logit holds logits, .* --no-relative-margin, and an --absolute"),
        ({"relative_margin": "rrf:0.05"}, "score_rrf holds sums of reciprocal ranks, which no positive has"),
        ({"absolute_margin": "run:0.05"}, "score_run holds another search's numbers, of no known scale"),
        ({"suspects": -1}, "suspects -1 is out of range; it is 0 or more"),
        ({"suspects": math.nan}, "suspects nan is out of range"),
        ({"suspects": 5, "suspects_by": ["ce", "ce"]}, "suspects: score_ce is given twice"),
        ({"suspects": 5, "by": None}, "suspects are told by a score and by feedback"),
        ({"suspects": 5, "suspects_by": ["ce", "rank"]}, "suspects: rank is no score, .*; choose among: score_ce"),
        ({"by": "score_feedback"}, "score_feedback says how near a document is to the known positives"),
        ({"exempt": ["generate:*"]}, r"exempt generate:\* has no effect, since no rule for candidates is given"),
        ({"exempt": ["g"], "min_positive_score": 0.1}, "exempt g has no effect, since no rule for candidates is given"),
        ({"hold": ["*"], "by": None}, r"hold \* has no effect, since there is neither a rule .* run 'pairmine score'"),
        ({"skip": -1}, "skip -1 is out of range; it is 0 or more"),
        ({"actions": ["max-score"]}, r"action max-score: write it as RULE=drop\|relabel\|weight\|keep"),
        (
            {"actions": ["margin=keep"]},
            'action margin=keep: "margin" is no rule; choose min-positive-score, consistency',
        ),
        ({"actions": ["max-score=keep"]}, "action max-score has no effect, since no max-score is given"),
        (
            {"max_score": 0.5, "actions": ["max-score=note"]},
            r"action max-score=note: choose drop, relabel, weight\[:F\]",
        ),
        ({"max_score": 0.5, "actions": ["max-score=weight:-1"]}, "a weight is a number from 0 on"),
        ({"max_score": 0.5, "actions": ["max-score=keep"] * 2}, "action max-score is given twice"),
        ({"suspects": 5, "actions": {"suspects": "relabel"}}, "suspects says nothing of a positive; these can relabel"),
        ({"skip": 1, "actions": ["skip=keep"]}, "what is skipped leaves; leave --skip out to keep it"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_what_to_do(options: dict[str, Any], message: str) -> None:
    rows = [row("q", "p", 1, 0.9, score_dense=0.9), row("q", "n", None, 0.1, score_dense=0.1)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    for scale in ("logit", "rrf", "run"):
        table = table.append_column(score_field(scale, scale), pa.array([1.0, 0.5], pa.float32()))
    with pytest.raises(PairmineError, match=message) as error:
        filter_pairs(table, **{**OPTIONS, **options})
    assert error.value.exit_code == 2


def test_feedback_that_is_not_there_is_asked_for_with_the_command_that_writes_it() -> None:
    rows = [row("q", "p", 1, 0.9), row("q", "n", None, 0.1)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).drop_columns("score_feedback")
    with pytest.raises(
        PairmineError, match=r"suspects: no column score_feedback; .* or run 'pairmine mine' with a dense"
    ):
        filter_pairs(table, **OPTIONS, suspects=1)


def test_rocketqas_gate_makes_positives_of_what_scores_high_and_a_judge_decides_the_rest() -> None:
    rows = [
        row("q", "p", 1, 0.95),
        row("q", "high", None, 0.93),
        row("q", "judged true", None, 0.5, score_llm=0.8),
        row("q", "judged false", None, 0.4, score_llm=0.1),
        row("q", "not judged", None, 0.3),
        row("q", "low", None, 0.05),
    ]
    outcome = run(rows, candidate_gate="ce:0.1:0.9:judge=llm:0.5", actions=["gate-high=relabel"])
    assert outcome.kept.select(["doc_id", "label", "decision"]).to_pylist() == [
        {"doc_id": "p", "label": 1, "decision": None},
        {"doc_id": "high", "label": 1, "decision": "relabelled by gate-high"},
        {"doc_id": "judged true", "label": 1, "decision": "relabelled by gate-high"},
        {"doc_id": "judged false", "label": 0, "decision": None},
        {"doc_id": "low", "label": 0, "decision": None},
    ]
    assert reasons(outcome) == {"not judged": "between 0.1 and 0.9 of score_ce"}
    assert reasons(run(rows, candidate_gate="ce"))["high"] == "candidate positive: score_ce of 0.9 or more"


def test_a_relabelled_row_does_not_move_the_margin_of_its_run() -> None:
    rows = [
        row("q", "p", 1, 0.5),
        row("q", "high", None, 0.95),
        row("q", "near", None, 0.49),
        row("q", "far", None, 0.2),
    ]
    options = {"max_score": 0.9, "relative_margin": 0.05, "anchor": "max", "actions": {"max-score": "relabel"}}
    assert reasons(run(rows, **options)) == {"near": "within 5% of the highest positive"}


def test_a_set_from_elsewhere_is_cleaned_of_its_false_negatives() -> None:
    rows = [
        row("q", "p", 1, 0.9, origin="given"),
        row("q", "false", 0, 0.88, origin="given"),
        row("q", "true", 0, 0.1, origin="given"),
        row("q", "written", 0, 0.89, origin="generate:x"),
    ]
    untouched = run(rows, relative_margin=0.05, negatives=3)
    assert kept(untouched) == ["p", "false", "true", "written"]
    assert untouched.notes["exempt, but within 5% of the lowest positive"] == 2
    cleaned = run(rows, relative_margin=0.05, negatives=3, hold=["given"], ranks=(1, 9))
    assert kept(cleaned) == ["p", "written", "true"]
    assert cleaned.notes["negatives held to the rules again"] == 2
    assert reasons(cleaned) == {"false": "within 5% of the lowest positive"}
    labels = run(rows, relative_margin=0.05, hold=["given"], pick=None).kept
    assert labels["label"].to_pylist() == [1, 0, 0]


def test_a_decision_of_an_earlier_run_stays_until_there_is_another() -> None:
    rows = [row("q", "p", 1, 0.9), row("q", "a", None, 0.6), row("q", "b", None, 0.2)]
    first = run(rows, max_score=0.5, actions=["max-score=keep"]).kept
    assert first["decision"].to_pylist() == [None, "kept in spite of max-score", None]
    again = filter_pairs(first, **OPTIONS, min_score=0.3, hold=["*"], actions=["min-score=weight:0.1"]).kept
    said = dict(zip(again["doc_id"].to_pylist(), again["decision"].to_pylist(), strict=True))
    assert said == {"p": None, "a": "kept in spite of max-score", "b": "weight times 0.1 by min-score"}
    assert filter_pairs(first, **OPTIONS).kept["decision"].to_pylist() == first["decision"].to_pylist()


def test_where_nothing_is_picked_rules_act_all_the_same() -> None:
    rows = [row("q", "n", None, 0.2), row("q", "p", 1, 0.9), row("q", "high", None, 0.95), row("q", "w", None, 0.5)]
    outcome = run(rows, pick=None, max_score=0.6, min_score=0.4, actions=["max-score=relabel", "min-score=weight"])
    assert outcome.kept.select(["doc_id", "label", "weight"]).to_pylist() == [
        {"doc_id": "n", "label": None, "weight": 0.5},
        {"doc_id": "p", "label": 1, "weight": 1.0},
        {"doc_id": "high", "label": 1, "weight": 1.0},
        {"doc_id": "w", "label": None, "weight": 1.0},
    ]


def test_what_a_positive_that_leaves_is_a_copy_of_does_not_come_back_as_its_negative() -> None:
    rows = [row("q", "bad", 1, 0.1), row("q", "p", 1, 0.9), row("q", "bad", None, 0.1), row("q", "n", None, 0.05)]
    outcome = run(rows, min_positive_score=0.5)
    assert kept(outcome) == ["p", "n"]
    assert outcome.rejected["reason"].to_pylist() == ["positive with score_ce below 0.5", "same document as a positive"]


def test_suspects_are_those_near_the_positives_and_more_of_them_where_there_are_more_positives() -> None:
    near = {"a": 0.3, "b": -0.1, "c": 0.25, "d": -0.2, "e": -0.1, "f": None}
    rows = [row("q", doc, None, 0.5, score_feedback=feedback) for doc, feedback in near.items()]
    one, four = ([row("q", f"p{n}", 1, 0.9) for n in range(many)] for many in (1, 4))
    reason = "suspected false negative: near its query's positives"
    options: dict[str, Any] = {"suspects": 1, "pick": None}
    assert reasons(run(one + rows, **options)) == {"a": reason}
    assert reasons(run(four + rows, **options)) == {"a": reason, "c": reason}
    assert len(reasons(run(one + rows, **options | {"suspects": 100}))) == 5  # 0.9 of the pool at most
    assert not reasons(run(one + rows, **options | {"suspects": 0}))


@pytest.mark.parametrize(("pool", "left"), [(3, 3), (4, 4), (5, 4), (12, 4), (40, 4), (60, 10)])
def test_suspects_alone_leave_no_query_fewer_negatives_than_it_could_have(pool: int, left: int) -> None:
    rows = [row("q", f"d{n:02}", None, 0.9 - n / 100, score_feedback=0.4 - n / 100) for n in range(pool)]
    outcome = run([row("q", "p", 1, 0.9), *rows], suspects=50, negatives=4)
    suspected = [one for one in reasons(outcome).values() if one.startswith("suspected")]
    assert pool - len(suspected) == left
    assert kept(outcome)[1:] == [f"d{n:02}" for n in range(pool - left, pool)][:4]


def test_candidates_without_feedback_are_counted() -> None:
    rows = [row("q", f"d{n}", None, 0.9 - n / 100, score_feedback=0.1 if n else None) for n in range(4)]
    outcome = run([row("q", "p", 1, 0.9), *rows], suspects=1)
    assert outcome.notes["candidates without score_feedback, suspected by the rest"] == 1


def test_nothing_stays_a_negative_that_became_a_positive_in_another_row_where_nothing_is_picked() -> None:
    table = pa.Table.from_pylist(
        [row("q", "p", 1, 0.9)]
        + [row("q", doc, label, ce) for doc, label, ce in (("a", None, 0.95), ("a", 0, 0.95), ("b", 0, 0.1))]
        + [row("q", "c", None, 0.05), row("r", "p", 1, 0.9), row("r", "a", 0, 0.1), row("r", "c", None, 0.95)],
        schema=SCHEMA,
    )
    texts = ["p", "one", "one", "two", " One ", "p", "one", "three"]
    table = table.append_column("document", pa.array(texts)).append_column("query", pa.array(["?"] * len(texts)))
    outcome = filter_pairs(table, by=None, pick=None, candidate_gate="ce", actions=["gate-high=relabel"])
    found = outcome.kept.select(["query_id", "doc_id", "label"]).to_pylist()
    assert [tuple(one.values()) for one in found] == [
        ("q", "p", 1),
        ("q", "a", 1),
        ("q", "b", 0),
        ("r", "p", 1),
        ("r", "a", 0),
        ("r", "c", 1),
    ]
    assert set(reasons(outcome).values()) == {"copy of a candidate that became a positive"}


def test_suspects_leave_as_many_of_their_pool_whatever_lies_behind_it() -> None:
    rows = [row("q", f"d{n}", None, 0.9 - n / 100) for n in range(9)]
    outcome = run([row("q", "p", 1, 0.9), *rows], suspects=50, suspects_by=["ce"], suspects_pool=3, negatives=2)
    assert kept(outcome) == ["p", "d1", "d2"]


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    rows = [
        row(f"q{q}", f"d{q}-{n}", 1 if n == 0 else None, 0.9 - n / 10, rank=n + 1, score_dense=0.5, score_feedback=0.0)
        for q in range(20)
        for n in range(7)
    ]
    options = EVERY_RULE | {"consistency": None}
    whole = run(rows, **options)
    parts = [run([one for one in rows if one["query_id"] == f"q{q}"], **options) for q in range(20)]
    assert add_up([[], *(part.rules for part in parts)]) == whole.rules
    assert whole.kept.to_pylist() == [one for part in parts for one in part.kept.to_pylist()]
