"""Queries short of negatives: what `relax` gives back, in which order, and what happens after it."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import TEXT, score_field
from pairmine.stages.filter import filter_pairs

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        score_field("st", "cosine"),
        score_field("ce", "probability"),
        pa.field("cluster", pa.int32()),
    ]
)


def row(of: str, doc: str, label: int | None = None, score: float | None = None, **more: Any) -> dict[str, Any]:
    given = {"query_id": of, "query": f"question {of}", "doc_id": doc, "document": f"text of {doc}"}
    return {**given, "label": label, "origin": "test", "score_st": score, **more}


def run(rows: list[dict[str, Any]], shortage: str = "relax", **options: Any) -> Outcome:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return filter_pairs(table, **{"by": "score_st", "negatives": 2, "shortage": shortage, **options})


def kept(outcome: Outcome, query: str = "q") -> dict[str, str | None]:
    """The decision on each negative of a query, in their order."""
    rows = [one for one in outcome.kept.to_pylist() if one["query_id"] == query and one["label"] == 0]
    return {one["doc_id"]: one["decision"] for one in rows}


# ------------------------------------------------------------------ by hand

MARGIN = [row("q", "p", 1, 0.8), *(row("q", f"s{n}", None, n / 100) for n in (90, 81, 79, 77, 75, 73, 71))]


def test_a_short_query_gets_back_what_broke_the_margin_least() -> None:
    """A margin of 0.1 of 0.8 rejects above 0.72, at steps 1 to 4 above 0.74, 0.76, 0.78, 0.8."""
    outcome = run(MARGIN, relative_margin=0.1, negatives=4)
    assert kept(outcome) == {
        "s71": None,
        "s73": "relaxed 1: relative-margin",
        "s75": "relaxed 2: relative-margin",
        "s77": "relaxed 3: relative-margin",
    }
    assert {k: v for k, v in outcome.notes.items() if "step" in k} == {
        f"candidates taken back at step {step}": 1 for step in (1, 2, 3)
    }
    assert outcome.notes["queries with fewer than 4 negatives"] == 0
    assert outcome.rejected["reason"].to_pylist() == ["within 10% of the lowest positive"] * 3


@pytest.mark.parametrize(("steps", "last"), [(1, "s73"), (3, "s77"), (4, "s79"), (5, "s81"), (9, "s90")])
def test_more_steps_reach_further(steps: int, last: str) -> None:
    assert list(kept(run(MARGIN, relative_margin=0.1, negatives=9, relax_steps=steps)))[-1] == last


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_step_is_the_same_run_with_the_rules_moved_by_quarters(step: int) -> None:
    """The rows that come back by a step are those that the rules, given with smaller numbers, let pass."""
    rows = [row("q", "p", 1, 0.83, score_ce=0.9)]
    rows += [row("q", f"d{n}", None, 0.501 + n / 100, score_ce=(n * 37 % 41) / 41, rank=n + 1) for n in range(40)]
    part = step / 4
    moved = {
        "absolute_margin": 0.16 * (1 - part),
        "max_score": f"ce:{0.4 * (1 + part)}",
        "ranks": (math.ceil(8 * (1 - part)) or 1, math.floor(20 * (1 + part))),
    }
    passed = run(rows, "keep", negatives=50, **moved).kept["doc_id"].to_pylist()
    given: dict[str, Any] = {"absolute_margin": 0.16, "max_score": "ce:0.4", "ranks": (8, 20)}
    back = kept(run(rows, negatives=50, relax_steps=step, **given))
    assert {"p", *back} == set(passed)
    assert all(said is None or int(said.split()[1].rstrip(":")) <= step for said in back.values())


def test_what_breaks_two_rules_says_both_and_waits_for_both() -> None:
    rows = [
        row("q", "p", 1, 0.8, score_ce=0.9),
        row("q", "both", None, 0.73, score_ce=0.55),
        row("q", "one", None, 0.75, score_ce=0.1),
    ]
    outcome = run(rows, relative_margin=0.1, max_score="ce:0.4")
    assert kept(outcome) == {"one": "relaxed 2: relative-margin", "both": "relaxed 2: max-score, relative-margin"}


def test_of_the_suspects_the_least_suspicious_come_back_first() -> None:
    """Four suspects, and with each step one fewer, where another rule took the last of twelve candidates."""
    rows = [row("q", f"d{n}", None, 0.8 - n / 100, cluster=n // 8) for n in range(12)]
    rows = [row("q", "p", 1, 0.9, cluster=1), *rows]
    outcome = run(rows, suspects=4, suspects_by=["st"], drop_same_cluster=True, negatives=6)
    assert kept(outcome) == dict.fromkeys(("d4", "d5", "d6", "d7")) | {
        "d3": "relaxed 1: suspects",
        "d2": "relaxed 2: suspects",
    }


def test_what_says_that_a_row_is_no_negative_is_never_relaxed() -> None:
    rows = [
        row("q", "p", 1, 0.8, score_ce=0.95, cluster=1),
        row("q", "p", None, 0.73),
        row("q", "copy", None, 0.73, document="text of p"),
        row("q", "cluster", None, 0.73, score_ce=0.1, cluster=1),
        row("q", "gate", None, 0.73, score_ce=0.92),
        row("q", "middle", None, 0.73, score_ce=0.5),
        row("q", "free", None, 0.73, score_ce=0.05, cluster=2),
    ]
    given: dict[str, Any] = {"drop_same_cluster": True, "candidate_gate": "ce"}
    outcome = run(rows, relative_margin=0.1, negatives=9, relax_steps=100, **given)
    assert kept(outcome) == {"free": "relaxed 1: relative-margin"}
    assert outcome.rejected.num_rows == 5


def test_what_another_rule_would_have_made_a_positive_does_not_come_back_as_a_negative() -> None:
    rows = [row("q", "p", 1, 0.8, score_ce=0.9), row("q", "d", None, 0.73, score_ce=0.5, rank=2)]
    options: dict[str, Any] = {"relative_margin": 0.1, "ranks": (3, None), "actions": ["relative-margin=relabel"]}
    assert kept(run(rows, **options)) == {}
    assert kept(run(rows, relative_margin=0.1, max_score="ce:0.4", actions=["max-score=keep"])) == {
        "d": "kept in spite of max-score; relaxed 1: relative-margin"
    }


def test_rules_with_the_number_0_do_not_give_way() -> None:
    rows = [row("q", "p", 1, 0.8), row("q", "d", None, 0.81)]
    assert kept(run(rows, relative_margin=0.0, relax_steps=100)) == {}
    assert kept(run(rows, max_score=0.0)) == {}


def test_queries_with_enough_are_left_as_they_are() -> None:
    rows = [*MARGIN, row("q", "s70", None, 0.7)]
    assert kept(run(rows, relative_margin=0.1)) == {"s71": None, "s70": None}
    before = [row("q", "p", 1, 0.8), row("q", "n", 0), row("q", "n2", 0), row("q", "d", None, 0.73)]
    assert kept(run(before, relative_margin=0.1)) == {"n": None, "n2": None}


def test_what_relaxing_leaves_short_is_dropped_or_filled() -> None:
    rows = [*MARGIN, row("r", "p2", 1, 0.8), row("r", "far", None, 0.9)]
    fillers = pa.table({"doc_id": ["f1", "f2"], "document": ["text of f1", "text of f2"]})
    options: dict[str, Any] = {"relative_margin": 0.1, "fillers": fillers}
    filled = run(rows, "relax+fill", **options)
    assert kept(filled) == {"s71": None, "s73": "relaxed 1: relative-margin"}
    assert set(kept(filled, "r")) == {"f1", "f2"}
    assert filled.added == 2
    dropped = run(rows, "relax+drop", **options)
    assert kept(dropped) == kept(filled)
    assert kept(dropped, "r") == {}
    assert "query has 0 of 2 negatives" in dropped.rejected["reason"].to_pylist()


def test_candidates_without_the_deciding_score_stay_out() -> None:
    rows = [row("q", "p", 1, 0.8), row("q", "d", None, None, rank=5), row("q", "e", None, 0.1, rank=5)]
    assert kept(run(rows, ranks=(None, 4))) == {"e": "relaxed 1: ranks"}
    assert kept(run(rows, ranks=(None, 4), by=None)) == {"d": "relaxed 1: ranks", "e": "relaxed 1: ranks"}


def test_empty_and_bare_pair_sets_relax_to_nothing() -> None:
    for shortage in ("relax", "relax+drop"):
        outcome = run([], shortage, relative_margin=0.1)
        assert (outcome.kept.num_rows, outcome.rejected.num_rows) == (0, 0)
        assert "decision" in outcome.kept.column_names
    assert run([row("q", "d", None, 0.5)], relative_margin=0.1).kept.num_rows == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortage": "relax+keep"}, 'shortage is "relax+keep"; it is one of: keep, drop, fill, relax, relax+drop'),
        ({"shortage": "relax"}, "shortage relax has no effect, since no rule is given that can give way"),
        ({"shortage": "relax", "candidate_gate": "ce"}, "no rule is given that can give way"),
        ({"shortage": "relax", "max_score": 0.1, "relax_steps": 0}, "relax steps is 0; it must be 1 to 100"),
        ({"shortage": "relax+fill", "max_score": 0.1}, "filling a shortage takes documents to draw from"),
        ({"shortage": "relax", "max_score": 0.1, "pick": None}, 'shortage "relax" has no effect where nothing is'),
    ],
)
def test_a_shortage_that_cannot_be_met_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError, match=re.escape(message)):
        run(MARGIN, **options)


# ------------------------------------------------------------------ the reference


def float32(value: float) -> np.float32:
    return np.float32(value)


def strain(one: dict[str, Any], lowest: float, rules: dict[str, Any]) -> float:
    """By which part of its number the rule that `one` breaks most had to give way; 0 where it breaks none."""
    worst = 0.0
    if rules["relative_margin"] is not None:
        size = abs(lowest) * rules["relative_margin"]
        excess = float32(one["score_st"]) - float32(lowest - size)
        worst = max(worst, (float(excess) / size if size else math.inf) if excess > 0 else 0)
    if rules["max_score"] is not None:
        limit = float32(float(rules["max_score"].removeprefix("ce:")))
        excess = float32(one["score_ce"]) - limit
        worst = max(worst, (float(excess / limit) if limit else math.inf) if excess > 0 else 0)
    if rules["ranks"] is not None:
        low, high = (float32(end) for end in rules["ranks"])
        worst = max(worst, float(float32(1) - one["rank"] / low), float(one["rank"] / high - float32(1)))
    if rules["min_score"] is not None:
        limit = float32(rules["min_score"])
        lack = limit - float32(one["score_st"])
        worst = max(worst, (float(lack / limit) if limit else math.inf) if lack > 0 else 0)
    return worst


def expected(block: list[dict[str, Any]], count: int, steps: int, rules: dict[str, Any]) -> list[str]:
    positives = [one for one in block if one["label"] == 1]
    lowest = min(float(float32(one["score_st"])) for one in positives)
    best = sorted(
        (one for one in block if one["label"] is None), key=lambda o: (-o["score_st"], o["rank"], o["doc_id"])
    )
    strains = {one["doc_id"]: strain(one, lowest, rules) for one in best}
    survivors = [one["doc_id"] for one in best if not strains[one["doc_id"]]][:count]
    broken = [one["doc_id"] for one in best if 0 < strains[one["doc_id"]] < math.inf]
    near = [doc for doc in broken if math.ceil(strains[doc] / 0.25 - 1e-4) <= steps]
    return survivors + sorted(near, key=lambda doc: strains[doc])[: count - len(survivors)]


@st.composite
def blocks(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 3))):
        for place in range(draw(st.integers(1, 9))):
            label = 1 if place == 0 else draw(st.sampled_from([None, None, None, 1]))
            score = draw(st.sampled_from([-0.3, 0.0, 0.2, 0.5, 0.51, 0.6, 0.7, 0.9]))
            more = {"score_ce": draw(st.sampled_from([0.0, 0.2, 0.3, 0.31, 0.5, 1.0])), "rank": draw(st.integers(1, 9))}
            rows.append(row(f"q{number}", f"d{place}", label, score, **more))
    return rows


RULES = st.fixed_dictionaries(
    {
        "relative_margin": st.sampled_from([None, 0.0, 0.05, 0.3]),
        "max_score": st.sampled_from([None, "ce:0.3", "ce:0.0"]),
        "ranks": st.sampled_from([None, (2, 5), (3, 4)]),
        "min_score": st.sampled_from([None, 0.0, 0.2]),
    }
).filter(lambda rules: any(number is not None for number in rules.values()))


@settings(max_examples=60, deadline=None)
@given(blocks(), RULES, st.integers(1, 5), st.integers(1, 8))
def test_relaxing_gives_back_what_a_plain_reference_gives_back(
    rows: list[dict[str, Any]], rules: dict[str, Any], count: int, steps: int
) -> None:
    outcome = run(rows, negatives=count, relax_steps=steps, **rules)
    for query in dict.fromkeys(one["query_id"] for one in rows):
        block = [one for one in rows if one["query_id"] == query]
        assert list(kept(outcome, query)) == expected(block, count, steps, rules)
