"""`calibrate`: its numbers are those of `filter`, its estimates are right on average and its intervals hold."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine import calibrate
from pairmine.errors import PairmineError
from pairmine.schema import score_field
from pairmine.stages.calibrate import (
    RULE_NAMES,
    Calibration,
    Calibrator,
    HiddenPositives,
    Judgments,
    Labels,
    Point,
    answer,
    choices,
    kinds,
)
from pairmine.stages.calibrate.candidates import Candidates, Picking, checked
from pairmine.stages.calibrate.hiding import hide
from pairmine.stages.calibrate.intervals import Picks, Share, part_of, share_of
from pairmine.stages.calibrate.plot import plot
from pairmine.stages.calibrate.sample import Frame, inclusion
from pairmine.stages.filter import default_by, filter_pairs
from pairmine.stages.filter.rules import SUSPECTS

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", pa.string()),
        pa.field("doc_id", pa.string()),
        pa.field("document", pa.string()),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        score_field("dense", "cosine"),
        score_field("ce", "probability"),
        score_field("feedback", "difference"),
    ]
)
IDS = [*(f"d{number}" for number in range(14)), "文書", 'a "quoted" & <tagged> name']


def row(query: str, doc: str, label: int | None, score: float = 0.5, **more: Any) -> dict[str, Any]:
    made = {"query_id": query, "query": f"query {query}", "doc_id": doc, "document": f"text of {doc}", "origin": "x"}
    scores = {"score_dense": score, "score_ce": score, "score_feedback": score - 0.4}
    return {**made, "label": label, "rank": None, **scores, **more}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def ranked(queries: int = 12, depth: int = 30, positives: int = 4, seed: int = 0) -> pa.Table:
    """A mined set: scores of positives lie among those of the candidates, ranks fall with score_dense."""
    draw = np.random.default_rng(seed)
    rows = []
    for query in range(queries):
        scores = np.sort(draw.beta(2, 3, depth))[::-1]
        rows += [
            row(f"q{query}", f"p{query}-{n}", 1, float(score)) for n, score in enumerate(draw.beta(4, 3, positives))
        ]
        rows += [
            row(f"q{query}", f"c{query}-{rank}", None, float(score), rank=rank, score_ce=float(draw.beta(1, 3)))
            for rank, score in enumerate(scores, 1)
        ]
    return table(rows)


@st.composite
def mined(draw: st.DrawFn) -> pa.Table:
    """Queries with positives, decided negatives and candidates, copies and ties among them."""
    rows = []
    score = st.sampled_from([-0.5, -0.1, 0.0, 0.2, 0.25, 0.5, 0.5000001, 0.9])
    for query in range(draw(st.integers(1, 4))):
        docs = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=12))
        for at, doc in enumerate(docs):
            label = draw(st.sampled_from([1, 0, None, None, None])) if at else 1
            text = draw(st.sampled_from([f"text of {doc}", f"text of {doc}", "copy", ""]))
            more = {"score_feedback": draw(st.none() | score), "score_ce": abs(draw(score))}
            rows.append(row(f"q{query}", doc, label, draw(score), document=text, rank=at + 1, **more))
    return table(rows)


def as_options(point: Point) -> dict[str, Any]:
    """The flags of a point as keywords of `filter_pairs`."""
    words = [word for word in point.flags if not word.startswith("--no-")]
    found: dict[str, Any] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        found[name] = int(value) if name in ("negatives", "pool", "seed") else value
    if "ranks" in found:
        found["ranks"] = (int(found["ranks"].rstrip(":")), None)
    if "skip" in found:
        found["skip"] = int(found["skip"])
    if "suspects" in found:
        found |= {"suspects": float(found["suspects"]), "suspects_by": found["suspects_by"].split(",")}
    found["by"] = f"score_{found['by']}"
    return {"pick": "random", **found}


def points(found: Calibration) -> list[Point]:
    return [found.naive, *(point for curve in found.curves for point in curve.points)]


# ------------------------------------------------------------------ the numbers are those of filter


@settings(max_examples=15, deadline=None)
@given(pairs=mined(), pick=st.sampled_from(["top", "random"]), negatives=st.integers(1, 4), seed=st.integers(0, 3))
def test_every_number_is_what_filter_leaves_with_the_flags_that_are_shown(
    pairs: pa.Table, pick: str, negatives: int, seed: int
) -> None:
    settings = {"pick": pick, "negatives": negatives, "seed": seed, **({"pool": 5} if pick == "random" else {})}
    try:
        found = calibrate(pairs, anchors=["min", "median"], **settings)
    except PairmineError:
        return
    queries = len(set(pairs["query_id"].to_pylist()))
    for point in points(found)[:: 1 + len(points(found)) // 8]:
        kept = filter_pairs(pairs, **as_options(point)).kept
        others = kept.filter(pc.not_equal(kept["label"], 1))
        assert point.negatives * queries == pytest.approx(others.num_rows)
        counts = pc.value_counts(others["query_id"]).to_pylist()
        assert point.short == queries - sum(count["counts"] >= negatives for count in counts)


@pytest.mark.parametrize("rule", ["skip", "min-score", "min-positive-score", "consistency"])
@settings(max_examples=12, deadline=None)
@given(pairs=mined(), pick=st.sampled_from(["top", "random"]), negatives=st.integers(1, 3))
def test_a_rule_that_is_named_keeps_the_rows_that_filter_keeps(
    rule: str, pairs: pa.Table, pick: str, negatives: int
) -> None:
    try:
        calibrator = Calibrator(pairs, pick=pick, negatives=negatives, rules=[rule])
    except PairmineError:
        return
    candidates, found = calibrator._candidates, calibrator.calibration()
    queries = len(set(pairs["query_id"].to_pylist()))
    for curve in found.curves:
        for point in curve.points[::3]:
            assert point.value is not None
            kept = filter_pairs(pairs, **as_options(point)).kept
            picked = candidates.picked(calibrator.by, curve.rule.passes(candidates, point.value))
            ours = pairs.take(pa.array(candidates.row[picked])).select(["query_id", "doc_id"]).to_pylist()
            theirs = kept.filter(pc.not_equal(kept["label"], 1)).select(["query_id", "doc_id"]).to_pylist()
            assert point.rows == kept.num_rows
            assert point.positives == pc.sum(kept["label"]).as_py() if kept.num_rows else point.positives == 0
            assert point.queries - point.lost == len(set(kept["query_id"].to_pylist()))
            assert point.queries == queries
            assert {tuple(each.values()) for each in ours} <= {tuple(each.values()) for each in theirs}
            assert point.rows - point.positives == len(theirs)


def test_rules_that_add_nothing_are_tried_where_they_are_named_alone() -> None:
    pairs = ranked()
    usual = {curve.rule.name for curve in calibrate(pairs).curves}
    assert usual == {"relative-margin", "absolute-margin", "max-score", "suspects", "ranks"}
    for other in ({"by": "ce"}, {"by": "dense", "pairs": pairs.drop_columns(["rank"])}):
        assert "skip" in {curve.rule.name for curve in calibrate(**{"pairs": pairs, **other}).curves}
    for name in RULE_NAMES:
        assert {curve.rule.name for curve in calibrate(pairs, rules=[name]).curves} == {name}


def test_queries_that_lose_their_last_positive_count_as_short_and_no_choice_is_made_by_them() -> None:
    pairs = ranked(60, depth=60)
    found = calibrate(pairs, evidence=Judgments(judged(pairs)[0]), rules=["min-positive-score@dense=0.5,0.8", "ranks"])
    strict = found.curves[0].points[-1]
    assert strict.lost > 10
    assert strict.short >= strict.lost
    assert strict.queries == 60
    assert all(choice.point is None or choice.point.lost < 1 for choice in choices(found))


def test_positives_are_compared_with_candidates_once_for_all_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    count = kinds.outscored
    monkeypatch.setattr(kinds, "outscored", lambda *given: seen.append(given) or count(*given))
    found = calibrate(ranked(), rules=["consistency@dense"])
    assert len(found.curves[0].points) > 5
    assert len(seen) == 1


def test_hidden_positives_say_nothing_of_rules_for_positives() -> None:
    found = calibrate(ranked(), evidence=HiddenPositives(), rules=["consistency@dense", "ranks"])
    assert all(point.of_naive is None for point in found.curves[0].points)
    assert all(point.of_naive is not None for point in found.curves[1].points)
    assert found.remarks[0].startswith("no estimate for rules for positives")


def test_positives_without_a_score_cannot_be_held_to_a_least_one() -> None:
    pairs = pa.concat_tables([ranked(3), table([row("lone", "p", 1, score_dense=None)])])
    with pytest.raises(PairmineError, match="rule min-positive-score@dense cannot be tried on this pair set"):
        calibrate(pairs, rules=["min-positive-score@dense"])
    assert calibrate(pairs, rules=["consistency@dense"]).curves


def test_the_flags_that_are_shown_have_all_digits_of_a_threshold() -> None:
    found = calibrate(ranked(), rules=["max-score@ce=0.123456789", "ranks=1234567", "skip=1234567"])
    assert [curve.points[0].flags[-1] for curve in found.curves] == ["ce:0.123456789", "1234568:", "1234567"]


def test_the_rule_that_filter_takes_by_itself_is_tried_as_it_is_there() -> None:
    pairs = ranked()
    by = default_by(pairs.schema, suspects=True)
    kept = filter_pairs(pairs, by=by, suspects=SUSPECTS, pick="random").kept
    curve = next(curve for curve in calibrate(pairs).curves if curve.rule.spec == "suspects@dense")
    point = next(point for point in curve.points if point.value == SUSPECTS)
    assert point.flags[:2] == ("--by", by.removeprefix("score_"))
    assert filter_pairs(pairs, **as_options(point)).kept.equals(kept)


def test_hardness_and_rank_are_the_means_over_the_picks() -> None:
    pairs = ranked()
    found = calibrate(pairs, pick="top", negatives=3)
    for point in points(found)[::4]:
        kept = filter_pairs(pairs, **as_options(point)).kept
        picks = kept.filter(pc.equal(kept["label"], 0))
        assert point.picked == picks.num_rows
        assert point.rows == kept.num_rows
        if picks.num_rows:
            assert point.hardness == pytest.approx(pc.mean(picks["score_dense"]).as_py(), abs=1e-6)
            assert point.rank == pytest.approx(pc.mean(picks["rank"]).as_py())


def test_curves_run_from_loose_to_strict() -> None:
    for curve in calibrate(ranked(40)).curves:
        passed = [point.passed for point in curve.points]
        assert 8 <= len(passed) <= 17, curve.rule
        assert passed == sorted(passed, reverse=True), curve.rule


def test_a_rule_that_is_named_twice_is_tried_at_all_its_thresholds() -> None:
    found = calibrate(ranked(), rules=["ranks=3", "ranks=5,3", "max-score@ce=0.2", "max-score@ce=0.6"])
    assert [[point.value for point in curve.points] for curve in found.curves] == [[3, 5], [0.6, 0.2]]


def test_thresholds_that_are_named_are_the_only_ones_tried() -> None:
    found = calibrate(ranked(), rules=["max-score@ce=0.3,0.6", "ranks=10"])
    assert [[point.value for point in curve.points] for curve in found.curves] == [[0.6, 0.3], [10]]
    assert found.curves[1].points[0].flags[-2:] == ("--ranks", "11:")


# ------------------------------------------------------------------ evidence


def false_among_picks(pairs: pa.Table, point: Point, relevant: set[tuple[str, str]]) -> float:
    kept = filter_pairs(pairs, **as_options(point)).kept
    picks = kept.filter(pc.equal(kept["label"], 0)).select(["query_id", "doc_id"]).to_pylist()
    return sum((pick["query_id"], pick["doc_id"]) in relevant for pick in picks) / max(len(picks), 1)


def judged(pairs: pa.Table, share: float = 0.3, seed: int = 1) -> tuple[pa.Table, set[tuple[str, str]]]:
    """Judgments on every candidate, those that score high more often relevant."""
    draw = np.random.default_rng(seed)
    rows = pairs.filter(pc.is_null(pairs["label"])).to_pylist()
    told = [(each["query_id"], each["doc_id"], bool(draw.random() < 2 * share * each["score_dense"])) for each in rows]
    columns = dict(zip(("query_id", "doc_id", "relevant"), zip(*told, strict=True), strict=True))
    return pa.table({name: list(values) for name, values in columns.items()}), {told[:2] for told in told if told[2]}


def test_judgments_give_the_false_negatives_that_a_count_gives() -> None:
    pairs = ranked(30)
    table, relevant = judged(pairs)
    for point in points(calibrate(pairs, evidence=Judgments(table), pick="top"))[::4]:
        if point.picked:
            assert point.false is not None
            assert point.false.rate == pytest.approx(false_among_picks(pairs, point, relevant))
            assert point.false.low <= point.false.rate <= point.false.high


def test_unjudged_candidates_count_as_true_or_with_judged_only_not_at_all() -> None:
    pairs = table([row("q", "p", 1, 0.9), *(row("q", f"d{n}", None, 0.1 * n, rank=9 - n) for n in range(1, 5))])
    judgments = pa.table({"query_id": ["q"] * 3, "doc_id": ["d4", "p", "d1"], "relevant": [True, True, False]})
    every = calibrate(pairs, evidence=Judgments(judgments), negatives=4).naive.false
    alone = calibrate(pairs, evidence=Judgments(judgments, judged_only=True), negatives=4).naive.false
    assert every is not None
    assert alone is not None
    assert (every.rate, every.rows) == (0.25, 4)
    assert (alone.rate, alone.rows) == (0.5, 2)
    with pytest.raises(PairmineError, match="all 1 judgment of candidates say relevant"):
        calibrate(pairs, evidence=Judgments(judgments.slice(0, 2), judged_only=True))


def test_judgments_of_the_known_positives_alone_are_no_evidence() -> None:
    judgments = pa.table({"query_id": ["q0"], "doc_id": ["p0-0"], "relevant": [True]})
    with pytest.raises(PairmineError, match="none of the 1 judgments is of a candidate"):
        calibrate(ranked(), evidence=Judgments(judgments))


def test_hidden_positives_give_what_filter_picks_of_the_set_with_them_hidden() -> None:
    pairs = ranked(30)
    hidden = hide(Candidates(checked(pairs), Picking(pick="top")), share=0.5, seed=7)
    gone = hidden.pairs.filter(pa.array(hidden.false)).select(["query_id", "doc_id"]).to_pylist()
    relevant = {(each["query_id"], each["doc_id"]) for each in gone}
    assert hidden.hidden == len(relevant)
    found = calibrate(pairs, evidence=HiddenPositives(seed=7), pick="top", rules=["relative-margin", "ranks"])
    for point in points(found)[::4]:
        if point.false is not None:
            assert point.false.rate == pytest.approx(false_among_picks(hidden.pairs, point, relevant))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), share=st.sampled_from([0.1, 0.5, 0.9]), positives=st.integers(1, 5))
def test_a_hidden_positive_ranks_where_its_score_puts_it(seed: int, share: float, positives: int) -> None:
    pairs = ranked(3, depth=6, positives=positives, seed=seed)
    candidates = Candidates(checked(pairs), Picking())
    if positives == 1:
        with pytest.raises(PairmineError, match="no query has two positives"):
            hide(candidates, share=share, seed=seed)
        return
    hidden = hide(candidates, share=share, seed=seed)
    many = min(max(int(positives * share), 1), positives - 1)
    for query in ("q0", "q1", "q2"):
        rows = hidden.pairs.filter(pc.equal(hidden.pairs["query_id"], query)).to_pylist()
        assert sum(each["label"] == 1 for each in rows) == positives - many
        listed = sorted((each for each in rows if each["label"] is None), key=lambda each: each["rank"])
        assert [each["rank"] for each in listed] == list(range(1, len(listed) + 1))
        scores = [each["score_dense"] for each in listed]
        assert scores == sorted(scores, reverse=True)
        assert listed[-1]["doc_id"].startswith("c"), "what scores below a full list would not have been mined"


def test_a_copy_of_a_hidden_positive_is_false_as_well_and_no_copy_gives_it_away() -> None:
    rows = [row("q", "p1", 1, 0.9), row("q", "p2", 1, 0.8), row("q", "p3", 1, 0.8, document="text of p2")]
    rows += [row("q", "c1", None, 0.7, document="Text  of P2"), row("q", "c2", None, 0.6, document="Text of p1")]
    rows += [row("q", f"x{n}", None, 0.5 - n / 100) for n in range(3)]
    pairs = table(rows).drop_columns(["rank"])
    hidden = hide(Candidates(checked(pairs), Picking()), share=0.5, seed=0)
    assert hidden.hidden == 1
    left = {each["doc_id"]: each["label"] for each in hidden.pairs.to_pylist()}
    gone = next(doc for doc in ("p1", "p2", "p3") if left.get(doc, 1) is None)
    false = set(hidden.pairs.filter(pa.array(hidden.false))["doc_id"].to_pylist())
    assert false == ({"p1", "c2"} if gone == "p1" else {gone, "c1"})


def test_suspects_has_no_estimate_from_hidden_positives_unless_its_feedback_is_computed_anew() -> None:
    pairs = ranked()
    stale = calibrate(pairs, evidence=HiddenPositives(), rules=["suspects"])
    assert all(point.false is None for point in stale.curves[0].points)
    assert "--feedback st:MODEL" in stale.remarks[0]
    assert calibrate(pairs, evidence=HiddenPositives(), rules=["ranks"]).remarks == ()
    seen = []

    def measure(given: pa.Table) -> pa.Table:
        seen.append(given.num_rows)
        return given

    fresh = calibrate(pairs, evidence=HiddenPositives(measure=measure), rules=["suspects"])
    assert all(point.false is not None for point in fresh.curves[0].points)
    assert seen
    assert fresh.remarks == ()


def test_a_known_naive_rate_scales_what_hidden_positives_tell() -> None:
    pairs = ranked(20)
    plain, scaled = (calibrate(pairs, evidence=HiddenPositives(naive_rate=rate)) for rate in (None, 0.4))
    assert (plain.is_relative, scaled.is_relative) == (True, False)
    assert scaled.naive.false is not None
    assert scaled.naive.false.rate == pytest.approx(0.4)
    for one, other in zip(points(plain), points(scaled), strict=True):
        assert one.of_naive == other.of_naive
        if other.false is not None and one.of_naive is not None:
            assert other.false.rate == pytest.approx(min(0.4 * one.of_naive.rate, 1))
            assert other.false.low == pytest.approx(min(0.4 * one.of_naive.low, 1))
            assert other.false.low <= other.false.rate <= other.false.high


def test_without_a_score_that_made_the_ranks_nothing_is_hidden() -> None:
    pairs = ranked()
    turned = [None if rank is None else 31 - rank for rank in pairs["rank"].to_pylist()]
    shuffled = pairs.set_column(6, "rank", pa.array(turned, pa.int32()))
    assert "nobody knows where a hidden one would rank" in (Calibrator(shuffled).cannot_hide or "")


# ------------------------------------------------------------------ samples


def test_a_larger_sample_begins_with_the_smaller_one_and_no_row_comes_twice() -> None:
    calibrator = Calibrator(ranked(30))
    large, small = (calibrator.sample(size).select(["query_id", "doc_id"]).to_pylist() for size in (80, 25))
    assert large[:25] == small
    assert len({tuple(each.values()) for each in large}) == 80


def test_a_sample_of_everything_stands_for_itself() -> None:
    pairs = ranked(8)
    table, _ = judged(pairs)
    labels = table.append_column("label", pc.cast(table["relevant"], pa.int8()))
    known, whole = (
        calibrate(pairs, evidence=evidence, pick="top", rules=["ranks"])
        for evidence in (Labels(labels), Judgments(table))
    )
    for one, other in zip(points(known), points(whole), strict=True):
        assert one.false is not None
        assert other.false is not None
        assert one.false.rate == pytest.approx(other.false.rate)


def test_estimates_from_samples_are_right_on_average_and_their_intervals_hold() -> None:
    pairs = ranked(60, depth=40)
    table, _ = judged(pairs)
    labels = table.append_column("label", pc.cast(table["relevant"], pa.int8()))
    truth = points(calibrate(pairs, evidence=Judgments(table), pick="top", rules=["ranks"]))
    frame = Calibrator(pairs, pick="top", rules=["ranks"])._sweep.frame()
    candidates = Calibrator(pairs, pick="top", rules=["ranks"])._candidates
    ids = pairs.take(pa.array(candidates.row)).select(["query_id", "doc_id"])
    both = [f"{a} {b}" for a, b in zip(*(ids[name].to_pylist() for name in ("query_id", "doc_id")), strict=True)]
    keys = [f"{a} {b}" for a, b in zip(*(labels[name].to_pylist() for name in ("query_id", "doc_id")), strict=True)]
    false = np.array(labels["label"].to_pylist(), bool)[[keys.index(each) for each in both]]
    calibrator = Calibrator(pairs, pick="top", rules=["ranks"])
    found: list[list[Share | None]] = []
    for seed in range(100):
        lots = np.random.default_rng(seed).integers(0, 2**63, len(false)).astype(np.uint64)
        drawn = Frame(frame.mass, frame.hardness, lots)
        judged_rows = np.zeros(len(false), bool)
        judged_rows[drawn.sample(120)] = True
        weight = drawn.weights(judged_rows)
        found.append([_at(calibrator, point, false, weight) for point in truth])
    for at, point in enumerate(truth):
        shares = [each[at] for each in found if each[at] is not None]
        rates = [share.rate for share in shares if share]
        assert point.false is not None
        assert np.mean(rates) == pytest.approx(point.false.rate, abs=0.03)
        inside = [share.low <= point.false.rate <= share.high for share in shares if share]
        assert np.mean(inside) > 0.92, at


def _at(calibrator: Calibrator, point: Point, false: np.ndarray, weight: np.ndarray) -> Share | None:
    candidates = calibrator._candidates
    assert candidates.rank is not None
    picked = candidates.picked(calibrator.by, candidates.rank > (point.value or 0))
    return share_of(false[picked], weight[picked], candidates.query[picked])


@settings(max_examples=50, deadline=None)
@given(mass=st.lists(st.floats(0.01, 100), min_size=1, max_size=30), size=st.integers(0, 40))
def test_chances_of_being_drawn_add_up_to_the_sample(mass: list[float], size: int) -> None:
    chance = inclusion(np.array(mass), size)
    assert chance.sum() == pytest.approx(min(size, len(mass)))
    assert (chance >= 0).all()
    assert (chance <= 1).all()


def test_labels_of_another_sample_are_told_and_unsure_ones_left_out() -> None:
    pairs = ranked(30)
    drawn = Calibrator(pairs, rules=["max-score@ce"]).sample(30)
    unsure = [None, *[n % 2 for n in range(29)]]
    labels = drawn.select(["query_id", "doc_id"]).append_column("label", pa.array(unsure, pa.int8()))
    same = calibrate(pairs, rules=["max-score@ce"], evidence=Labels(labels))
    assert same.remarks == ()
    assert (same.evidence or "").startswith("29 labels")
    other = calibrate(pairs, rules=["ranks"], seed=1, evidence=Labels(labels))
    assert "not of the sample" in other.remarks[-1]


def test_labels_of_two_samples_in_one_file_are_each_held_to_their_own() -> None:
    pairs = ranked(40)
    rules = (["none"], ["ranks=5,10,15"])
    samples = [Calibrator(pairs, rules=each, pick="top").sample(40).select(["query_id", "doc_id"]) for each in rules]
    drawn = [sample.append_column("label", pa.array([0, 1] * 20, pa.int8())) for sample in samples]
    ids = set(zip(*(drawn[0][name].to_pylist() for name in ("query_id", "doc_id")), strict=True))
    rest = [each for each in drawn[1].to_pylist() if (each["query_id"], each["doc_id"]) not in ids]
    both = pa.concat_tables([drawn[0], pa.Table.from_pylist(rest, schema=drawn[0].schema)])
    alone, mixed = (calibrate(pairs, rules=rules[0], pick="top", evidence=Labels(each)) for each in (drawn[0], both))
    assert mixed.remarks == ()
    assert mixed.naive.false is not None
    assert alone.naive.false is not None
    assert alone.naive.false.rows == 40
    assert mixed.naive.false.rows <= 44


# ------------------------------------------------------------------ intervals


@pytest.mark.parametrize(
    ("rate", "alike", "queries"), [(0.3, 0.0, 60), (0.05, 0.2, 100), (0.05, 0.0, 40), (0.01, 0.3, 150), (0.2, 0.5, 25)]
)
def test_intervals_hold_the_true_share_in_95_of_100_runs_also_where_rows_of_a_query_go_together(
    rate: float, alike: float, queries: int
) -> None:
    draw = np.random.default_rng(5)
    query = np.repeat(np.arange(queries), 5)
    hits = []
    for _ in range(300):
        # Beta-binomial: `alike` is the correlation between two rows of one query.
        scale = 1 / alike - 1 if alike else 0
        own = draw.beta(rate * scale, (1 - rate) * scale, queries) if alike else np.full(queries, rate)
        share = share_of(draw.random(len(query)) < own[query], np.ones(len(query)), query, design=1 + 4 * alike)
        assert share is not None
        hits.append(share.low <= rate <= share.high)
    assert np.mean(hits) >= 0.93


@pytest.mark.parametrize(
    ("rate", "loss", "common"), [(0.3, 0.5, 0.0), (0.1, 0.2, 0.3), (0.4, 0.1, 0.8), (0.2, 0.3, 0.5)]
)
def test_the_interval_of_a_part_holds_it_in_95_of_100_runs_however_many_rows_both_have_in_common(
    rate: float, loss: float, common: float
) -> None:
    """A rule leaves `common` of what is picked without it, and puts rows in place that are less often false."""
    draw = np.random.default_rng(3)
    queries, many = 120, 5
    query = np.repeat(np.arange(queries), many)
    truth = common + (1 - common) * loss
    hits = []
    for _ in range(300):
        own = draw.beta(4 * rate, 4 * (1 - rate), queries)[query]
        naive = draw.random(len(query)) < own
        left = np.where(draw.random(len(query)) < common, naive, draw.random(len(query)) < own * loss)
        picks = []
        for false in (naive, left):
            share = share_of(false, np.ones(len(query)), query)
            assert share is not None
            picks.append(Picks(false, np.ones(len(query)), query, share))
        part = part_of(picks[1], picks[0])
        hits.append(part.low <= truth <= part.high)
    assert np.mean(hits) >= 0.92


def test_a_rule_that_changes_nothing_leaves_all_and_that_is_sure() -> None:
    share = share_of(np.arange(40) < 9, np.ones(40), np.arange(40) // 2)
    assert share is not None
    picks = Picks(np.arange(40) < 9, np.ones(40), np.arange(40) // 2, share)
    assert (part_of(picks, picks).low, part_of(picks, picks).high) == (1.0, 1.0)


def test_an_interval_of_rows_that_have_nothing_to_do_with_each_other_is_clopper_and_pearsons() -> None:
    share = share_of(np.arange(400) < 12, np.ones(400), np.arange(400))
    assert share is not None
    assert (share.low, share.high) == pytest.approx((0.01560, 0.05183), abs=2e-4)


def test_no_false_one_among_few_says_little_and_a_single_query_next_to_nothing() -> None:
    few = share_of(np.zeros(20, bool), np.ones(20), np.arange(20))
    one = share_of(np.zeros(20, bool), np.ones(20), np.zeros(20, int))
    assert few is not None
    assert one is not None
    assert 0.1 < few.high < 0.2
    assert one.high > 0.9
    assert share_of(np.zeros(0, bool), np.zeros(0), np.zeros(0, int)) is None


# ------------------------------------------------------------------ targets


def test_each_rule_gets_its_loosest_threshold_and_the_best_is_the_hardest_that_starves_nobody() -> None:
    pairs = ranked(60, depth=60)
    table, _ = judged(pairs)
    found = calibrate(pairs, evidence=Judgments(table), pick="top", by="dense")
    reached = answer(found, 0.25)
    for curve, point in reached.points:
        below = [each for each in curve.points if each.false and each.false.rate <= 0.25 and each.false.rows >= 20]
        assert point == (below[0] if below else None)
    best = reached.best
    assert best is not None
    assert best.false is not None
    assert best.false.rate <= 0.25
    spared = [each for each in points(found) if each.false and each.false.rate <= 0.25 and each.short <= best.short]
    assert best.hardness == max(each.hardness or 0 for each in spared)


def test_confident_holds_the_upper_end_to_the_target() -> None:
    pairs = ranked(60, depth=60)
    table, _ = judged(pairs)
    found = calibrate(pairs, evidence=Judgments(table), pick="top", by="dense")
    sure, likely = answer(found, 0.25, confident=True).best, answer(found, 0.25).best
    assert sure is not None
    assert likely is not None
    assert sure.false is not None
    assert sure.false.high <= 0.25
    assert (sure.hardness or 0) < (likely.hardness or 0)


def test_nothing_reaches_an_impossible_target() -> None:
    pairs = ranked(20)
    rows = pairs.filter(pc.is_null(pairs["label"]))
    every = rows.select(["query_id", "doc_id"]).append_column("relevant", pa.repeat(True, rows.num_rows))
    reached = answer(calibrate(pairs, evidence=Judgments(every)), 0.05)
    assert reached.best is None
    assert all(point is None for _, point in reached.points)


# ------------------------------------------------------------------ what is odd


def test_columns_that_cannot_serve_are_left_out_with_a_line_for_each() -> None:
    pairs = ranked()
    holed = [None if at == 7 else 0.5 for at in range(pairs.num_rows)]
    pairs = pairs.append_column(score_field("bm25", "bm25"), pa.array(holed, pa.float32()))
    pairs = pairs.append_column(score_field("rrf", "rrf"), pa.array([0.5] * pairs.num_rows, pa.float32()))
    pairs = pairs.append_column(score_field("raw", "logit"), pairs["score_dense"])
    found = calibrate(pairs)
    assert found.remarks == (
        "left out: 1 of 360 candidates have no score_bm25; run 'pairmine score' first",
        "left out: score_rrf scores what was listed alone, and no positives",
    )
    tried = {(curve.rule.name, curve.rule.column) for curve in found.curves}
    assert ("absolute-margin", "score_raw") in tried
    assert ("relative-margin", "score_raw") not in tried


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], "no rows, so there is nothing to calibrate on"),
        ([row("q", "p", 1)], "no candidates"),
        ([row("q", "d", None)], "none of the 1 rows is a positive"),
        ([row("q", "p", 1), row("q", "d", 0)], "no candidates"),
        ([row("q", "p", 1), row("q", "p", None)], "every candidate is a copy"),
        ([row("q", "p", 1), row("r", "d", None)], "every candidate is a copy of something that its query has, or of a"),
    ],
)
def test_a_set_with_nothing_to_choose_is_one_clear_line(rows: list[dict[str, Any]], line: str) -> None:
    with pytest.raises(PairmineError, match=line):
        calibrate(table(rows))


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_scores_that_are_no_numbers_leave_the_ranks_alone_or_nothing(score: float | None) -> None:
    bad = dict.fromkeys(("score_dense", "score_ce", "score_feedback"), score)
    rows = [row("q", "p", 1), *(row("q", f"d{n}", None, rank=n, **bad) for n in range(1, 9))]
    found = calibrate(table(rows))
    assert [curve.rule.name for curve in found.curves] == ["ranks"]
    assert found.naive.flags == ("--no-suspects", "--no-relative-margin")
    with pytest.raises(PairmineError, match="no rule to try: 8 of 8 candidates have no score_dense"):
        calibrate(table(rows).drop_columns(["rank"]))


def test_one_query_gives_curves_and_no_certainty() -> None:
    rows = [row("猫", "p1", 1, 0.9), row("猫", "p2", 1, 0.55)]
    rows += [row("猫", f"文書{n}", None, 0.9 - n / 20, rank=n) for n in range(1, 13)]
    found = calibrate(table(rows), evidence=HiddenPositives(), pick="top")
    assert found.queries == 1
    assert found.naive.false is not None
    assert found.naive.false.high > 0.8
    assert all(choice.point is None for choice in choices(found))
    with pytest.raises(PairmineError, match="not how many there are"):
        answer(found, 0.05)


def test_a_query_without_a_positive_counts_for_nothing() -> None:
    lone = pa.concat_tables([ranked(3), table([row("lone", f"d{n}", None, 0.9, rank=n) for n in range(1, 9)])])
    assert calibrate(lone).to_dict() == calibrate(ranked(3)).to_dict()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"negatives": 0}, "negatives is 0"),
        ({"pool": 0}, "pool is 0"),
        ({"pick": "mmr"}, 'pick "mmr" is not one that thresholds are tried with'),
        ({"rules": ["margin"]}, "rule margin cannot be tried on this pair set; these can: absolute-margin@ce"),
        ({"rules": ["max-score@ce=2"]}, "max score 2 is outside what score_ce holds"),
        ({"rules": ["max-score@ce=low"]}, "thresholds are numbers parted by commas"),
        ({"rules": ["max-score@llm"]}, "rule max-score@llm cannot be tried"),
        ({"by": "llm"}, "by: no column llm"),
        ({"anchors": ["lowest"]}, "anchor lowest"),
        ({"hardness": "rank"}, "hardness: column rank does not rise"),
        ({"hardness": "query"}, "hardness: column query holds dictionary"),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, Any], line: str) -> None:
    with pytest.raises(PairmineError, match=line):
        calibrate(ranked(), **options)


# ------------------------------------------------------------------ the picture


@pytest.mark.parametrize("estimated", [True, False])
def test_the_picture_has_titled_axes_a_line_for_each_rule_and_the_naive_point(estimated: bool) -> None:
    pairs = ranked(20)
    evidence = Judgments(judged(pairs)[0]) if estimated else None
    found = calibrate(pairs, evidence=evidence)
    root = ElementTree.fromstring(plot(found, target=0.05))
    texts = ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("text")]
    assert "mean score_dense of the picked negatives" in texts
    assert ("target 5%" in texts) == estimated
    assert {curve.rule.title for curve in found.curves} < set(texts)
    assert sum(each.tag.endswith("polyline") for each in root.iter()) == len(found.curves)
    assert ("more than 5% of queries short" in texts) == estimated
    assert "no rule" in texts


def test_the_picture_of_hidden_positives_shows_parts_and_no_shares() -> None:
    found = calibrate(ranked(20), evidence=HiddenPositives(), rules=["ranks"])
    root = ElementTree.fromstring(plot(found))
    texts = ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("text")]
    assert "part of the false negatives picked without a rule, with 95% interval" in texts
    assert "100%" in texts
    assert any(text.endswith(": 1.000 (1.000 to 1.000)") for text in map(str, root.itertext()))


def test_a_picture_of_a_single_point_can_be_drawn() -> None:
    found = calibrate(table([row("q", "p", 1, 0.9), row("q", "d<&>", None, 0.2, rank=1)]))
    assert ElementTree.fromstring(plot(found)).tag.endswith("svg")
