"""Weights of `filter`: what each row counts, by hand on small sets and on real ones."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import TEXT, score_field
from pairmine.stages.filter import filter_pairs
from pairmine.stages.filter.propensity import Propensity

DATA = Path(__file__).parents[2] / "shared" / "data"
SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("grade", pa.float32()),
        pa.field("origin", pa.string()),
        score_field("st", "cosine"),
        score_field("ce", "probability"),
        score_field("logit", "logit"),
        pa.field("score_mine", pa.float32()),
    ]
)


def row(of: str, doc: str, label: int | None = None, **more: Any) -> dict[str, Any]:
    given = {"query_id": of, "query": f"question {of}", "doc_id": doc, "document": f"text of {doc}"}
    return {**given, "label": label, "origin": "test", **more}


def run(rows: list[dict[str, Any]], *weights: str, **options: Any) -> Outcome:
    settings: dict[str, Any] = {"by": None, "pick": None, **options}
    return filter_pairs(pa.Table.from_pylist(rows, schema=SCHEMA), weights=weights, **settings)


def weighed(outcome: Outcome) -> dict[str, float]:
    return {one["doc_id"]: round(one["weight"], 4) for one in outcome.kept.to_pylist()}


# ------------------------------------------------------------------ punish-similar


def test_negatives_that_are_too_near_their_query_weigh_nothing() -> None:
    rows = [
        row("q", "p", 1, score_st=0.99),
        row("q", "near", 0, score_st=0.91),
        row("q", "at", 0, score_st=0.9),
        row("q", "far", 0, score_st=-0.2),
        row("q", "open", None, score_st=0.95),
    ]
    outcome = run(rows, "punish-similar")
    assert weighed(outcome) == {"p": 1, "near": 0, "at": 1, "far": 1, "open": 1}
    assert outcome.notes == {"punish-similar: rows of weight 0": 1}
    assert weighed(run(rows, "punish-similar:phi=0.85"))["at"] == 0
    assert weighed(run(rows, "punish-similar:phi=0.95"))["near"] == 1


# ------------------------------------------------------------------ gaussian-decay


def test_a_negative_decays_with_its_nearness_to_the_lowest_positive() -> None:
    """sigma 0.17 and d 0.17: 1 - exp(-1/2) = 0.3935; d 0.34: 1 - exp(-2) = 0.8647."""
    rows = [
        row("q", "p", 1, score_st=0.8),
        row("q", "p2", 1, score_st=0.95),
        row("q", "one", 0, score_st=0.63),
        row("q", "two", 0, score_st=0.46),
        row("q", "equal", 0, score_st=0.8),
        row("q", "above", 0, score_st=0.9),
        row("r", "alone", 1),
    ]
    outcome = run(rows, "gaussian-decay")
    assert weighed(outcome) == {"p": 1, "p2": 1, "one": 0.3935, "two": 0.8647, "equal": 0, "above": 0, "alone": 1}
    assert outcome.notes == {"gaussian-decay: rows of weight 0": 2, "gaussian-decay: rows below 1": 2}
    assert weighed(run(rows, "gaussian-decay:sigma=0.34"))["two"] == 0.3935
    assert "score_st" in outcome.kept.column_names


# ------------------------------------------------------------------ ordinal


def test_rows_graded_near_the_positive_weigh_more() -> None:
    rows = [
        row("q", "p", 1, grade=0.9),
        row("q", "p2", 1, grade=0.4),
        row("q", "near", 0, grade=0.8),
        row("q", "far", 0, grade=0.4),
        row("graded", "a", grade=0.2),
        row("graded", "b", grade=0.7),
    ]
    outcome = run(rows, "ordinal")
    assert weighed(outcome) == {
        "p": 1,
        "p2": round(math.exp(-1), 4),
        "near": round(math.exp(-0.2), 4),
        "far": round(math.exp(-1), 4),
        "a": round(math.exp(-1), 4),
        "b": 1,
    }
    assert weighed(run(rows, "ordinal:tau=0.1"))["near"] == round(math.exp(-1), 4)


# ------------------------------------------------------------------ importance


def test_hard_negatives_weigh_more_and_a_querys_mean_stays_one() -> None:
    """exp(0), exp(-1), exp(-1) at temperature 0.1: 3 / (1 + 2/e) and that over e."""
    rows = [
        row("q", "p", 1, score_ce=0.99),
        row("q", "hard", 0, score_ce=0.8),
        row("q", "soft", 0, score_ce=0.7),
        row("q", "soft2", 0, score_ce=0.7),
        row("r", "p2", 1),
        row("r", "only", 0, score_ce=0.1),
    ]
    top = 3 / (1 + 2 / math.e)
    soft = round(top / math.e, 4)
    expected = {"p": 1, "hard": round(top, 4), "soft": soft, "soft2": soft, "p2": 1, "only": 1}
    assert weighed(run(rows, "importance", by="score_ce")) == expected
    assert weighed(run(rows, "importance:by=ce")) == expected
    logits = [{**one, "score_logit": 800.0 if one["doc_id"] == "hard" else -800.0} for one in rows]
    assert weighed(run(logits, "importance:by=logit,temperature=5"))["hard"] == 3


# ------------------------------------------------------------------ inverse-propensity


def test_pairs_whose_look_is_rare_for_their_score_weigh_more() -> None:
    """One band; words in common: three look-alikes in one bin, one that shares nothing in another: 4/3/2 and 4/1/2."""
    texts = {"a": "one two three", "b": "one two three", "c": "one two three", "d": "completely other words"}
    rows = [row("q", doc, 1, query="one two three", document=text, score_st=0.9) for doc, text in texts.items()]
    outcome = run(rows, "inverse-propensity:bands=1,by=st")
    assert weighed(outcome) == {"a": 0.6667, "b": 0.6667, "c": 0.6667, "d": 2}
    negative = [*rows, row("q", "n", 0, document="question q", score_st=0.1)]
    assert weighed(run(negative, "inverse-propensity:bands=1,by=st")) == {**weighed(outcome), "n": 1}
    untold = [*rows, row("q", "t", 1, document=None, score_st=0.1)]
    assert weighed(run(untold, "inverse-propensity:bands=1,by=st"))["t"] == 1


def test_every_look_has_the_same_total_in_a_band_unless_it_is_clipped() -> None:
    scores = np.repeat([0.1, 0.9], 50)
    ratios = np.r_[np.full(40, 0.05), np.full(10, 0.55), np.full(30, 0.95), np.full(20, 0.35)]
    free = Propensity(bands=2, most=100).weights(scores, ratios)
    assert free.round(4).tolist() == [0.625] * 40 + [2.5] * 10 + [0.8333] * 30 + [1.25] * 20
    tight = Propensity(bands=2, most=1.5).weights(scores, ratios)
    assert tight.max() == 1.5
    assert tight.mean() == pytest.approx(1, abs=1e-3)
    assert Propensity().weights(np.zeros(0), np.zeros(0)).shape == (0,)
    assert Propensity().weights(np.ones(3), np.ones(3)).tolist() == [1, 1, 1]


def test_the_pick_by_inverse_propensity_favours_what_looks_rare() -> None:
    """Nine look-alikes and one other candidate per query: the odds of the other are 9 to 1 or, clipped, 5 to 0.56."""
    rows = []
    for q in range(300):
        rows.append(row(f"q{q}", f"p{q}", 1, query="alpha beta", document=f"gold {q}", score_st=0.9))
        for n in range(9):
            rows.append(row(f"q{q}", f"a{q}-{n}", query="alpha beta", document=f"alpha beta {q} {n}", score_st=0.5))
        rows.append(row(f"q{q}", f"b{q}", query="alpha beta", document=f"gamma delta {q}", score_st=0.5))
    options: dict[str, Any] = {"by": "score_st", "negatives": 1, "pool": 10}
    plain = Counter(doc[0] for doc in run(rows, pick="random", **options).kept["doc_id"].to_pylist())
    rare = run(rows, pick="inverse-propensity", **options)
    drawn = Counter(doc[0] for doc in rare.kept["doc_id"].to_pylist())
    assert plain["b"] < 60
    assert 120 < drawn["b"] < 180
    again = run(rows, pick="inverse-propensity", **options)
    assert again.kept.equals(rare.kept)
    assert not run(rows, pick="inverse-propensity", seed=1, **options).kept.equals(rare.kept)


# ------------------------------------------------------------------ weights together


def test_several_weights_multiply_and_so_does_one_that_was_there() -> None:
    rows = [row("q", "p", 1, score_st=0.8), row("q", "a", 0, score_st=0.63), row("q", "b", 0, score_st=0.46)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).append_column("weight", pa.array([None, 2.0, 0.5], pa.float32()))
    outcome = filter_pairs(table, by=None, pick=None, weights=("gaussian-decay", "punish-similar:phi=0.6"))
    assert weighed(outcome) == {"p": 1, "a": 0, "b": 0.4323}
    assert outcome.notes["weights that were there, multiplied"] == 2
    twice = filter_pairs(outcome.kept, by=None, pick=None, weights=("gaussian-decay",))
    assert weighed(twice) == {"p": 1, "a": 0, "b": 0.3738}
    assert twice.kept.column_names.count("weight") == 1


def test_random_fills_need_no_score() -> None:
    rows = [row("q", "p", 1, score_st=0.8, grade=1.0), row("q", "n", 0, score_st=0.46, grade=0.5)]
    fillers = pa.table({"doc_id": ["x"], "document": ["text of x"]})
    weights = ("punish-similar", "gaussian-decay", "importance:by=st", "ordinal")
    options: dict[str, Any] = {"pick": "top", "negatives": 2, "shortage": "fill", "fillers": fillers, "by": "score_st"}
    outcome = run(rows, *weights, **options)
    expected = {"p": 1, "n": round(0.864665 * math.exp(-1), 4), "x": round(math.exp(-2), 4)}
    assert weighed(outcome) == expected
    assert weighed(run(rows, "inverse-propensity", **options)) == {"p": 1, "n": 1, "x": 1}


def test_only_rows_that_stay_are_weighed() -> None:
    rows = [
        row("q", "p", 1, score_st=0.9),
        row("q", "c", None, score_st=0.5),
        row("q", "c2", None, score_st=0.4),
        row("lost", "n", 0),
    ]
    outcome = run(rows, "importance", "gaussian-decay", by="score_st", pick="top", negatives=1)
    assert weighed(outcome) == {"p": 1, "c": round(1 - math.exp(-0.5 * (0.4 / 0.17) ** 2), 4)}
    assert "weight" not in outcome.rejected.column_names


def test_an_empty_pair_set_gets_the_column_too() -> None:
    for name in ("punish-similar", "gaussian-decay", "inverse-propensity:by=st", "ordinal", "importance:by=st"):
        outcome = run([], name)
        assert outcome.kept.schema.field("weight").type == pa.float32()
        assert (outcome.kept.num_rows, dict(outcome.notes)) == (0, {})


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("punish", "choose punish-similar, gaussian-decay, inverse-propensity, ordinal, importance"),
        ("", 'weight "": choose'),
        ("punish-similar:psi=1", '"psi=1" is no option; write key=value with phi, by'),
        ("punish-similar:phi", '"phi" is no option'),
        ("punish-similar:", '"" is no option'),
        ("punish-similar:phi=2", "phi=2 is out of range; -1 to 1"),
        ("punish-similar:phi=high", 'phi=high: "high" is no number; it is -1 to 1'),
        ("gaussian-decay:sigma=0", "sigma=0 is out of range; above 0"),
        ("inverse-propensity:bins=2.5", "bins=2.5 is out of range; a whole number, 1 to 1000"),
        ("inverse-propensity:max=0.5", "max=0.5 is out of range; 1 or more"),
        ("ordinal:tau=-1", "tau=-1 is out of range"),
        ("importance:temperature=inf", "temperature=inf is out of range"),
        ("punish-similar:by=ce", "score_ce holds a probability, and this takes a cosine or a similarity"),
        ("punish-similar:by=nowhere", "punish-similar: no column nowhere; columns to choose from: score_st, score_ce"),
        ("punish-similar:by=mine", r'score_mine is 4.5 in row 2 \(query "q"\), outside -1 to 1'),
        (
            "gaussian-decay",
            "gaussian-decay: 1 of 2 positives and negatives have no score_st; run 'pairmine score' first",
        ),
        ("ordinal", "ordinal: 1 of 2 rows have no grade; use a recipe that grades"),
        ("ordinal:by=mine", "score_mine is 4.5 in row 2"),
        ("importance", "importance: no score column to tell hard from easy; run 'pairmine score' first, or pass by="),
        ("importance:by=logit", "score_logit is no cosine or probability, so the default temperature 0.1"),
        ("inverse-propensity", "no score column to band pairs by"),
        ("inverse-propensity:by=st", "1 of 2 rows have no score_st"),
        ("punish-similar:by=st,phi=0.8,by=ce", "weight punish-similar: by is given twice"),
    ],
)
def test_a_wrong_weight_is_named(weight: str, message: str) -> None:
    rows = [row("q", "p", 1, grade=1.0, score_mine=0.5), row("q", "n", 0, score_st=0.1, score_mine=4.5, score_ce=0.1)]
    with pytest.raises(PairmineError, match=message) as error:
        run(rows, weight)
    assert error.value.exit_code == 2


def test_a_decay_without_positives_is_refused() -> None:
    with pytest.raises(PairmineError, match="1 queries have negatives and no positive to measure their distance from"):
        run([row("q", "n", 0, score_st=0.4)], "gaussian-decay")


def test_a_decay_leaves_out_queries_whose_positives_the_gate_took() -> None:
    rows = [
        row("lost", "p", 1, score_st=0.7),
        row("lost", "n", 0, score_st=0.1),
        row("between", "b", 1, score_st=0.78),
        row("between", "m", None, score_st=0.2),
        row("held", "good", 1, score_st=0.9),
        row("held", "bad", 0, score_st=0.5),
        row("unlabelled", "u", None, score_st=0.4),
        row("語", "v", None, score_st=0.8),
    ]
    outcome = run(rows, "gaussian-decay", gate="st:0.75:0.80")
    assert weighed(outcome) == {"good": 1, "bad": round(1 - math.exp(-0.5 * (0.4 / 0.17) ** 2), 4), "v": 1}
    gone = zip(outcome.rejected["doc_id"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True)
    lost = dict.fromkeys(("p", "n", "m", "u"), "query has no positive")
    assert dict(gone) == lost | {"b": "between the gates 0.75 and 0.8 of score_st"}
    unweighed = run(rows, gate="st:0.75:0.80")
    assert unweighed.kept["doc_id"].to_pylist() == ["good", "bad", "u", "v"]


def test_a_pair_set_without_cosines_is_told_how_to_get_them() -> None:
    table = pa.Table.from_pylist([row("q", "n", 0, score_ce=0.5)], schema=SCHEMA).drop_columns(["score_st"])
    with pytest.raises(
        PairmineError, match=r"\(found: score_ce, score_logit, score_mine\); run 'pairmine score --scorer st:"
    ):
        filter_pairs(table, by=None, pick=None, weights=("punish-similar",))


# ------------------------------------------------------------------ real grades


def test_graded_sentences_weigh_by_their_distance_from_the_best_of_their_anchor() -> None:
    path = DATA / "sick" / "train.jsonl.gz"
    if not path.exists():
        pytest.skip("no sick collection beside this checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    rows = [
        row(one["sentence1"], one["sentence2"], grade=(one["score"] - 1) / 4, document=one["sentence2"])
        for one in sorted(pairs, key=lambda one: str(one["sentence1"]))
    ]
    kept = run(rows, "ordinal").kept.to_pylist()
    best = {query: max(one["grade"] for one in rows if one["query_id"] == query) for query in {rows[0]["query_id"]}}
    assert len(kept) == len(rows) == len(pairs)
    assert all(math.exp(-2) - 1e-6 <= one["weight"] <= 1 for one in kept)
    assert kept[0]["weight"] == pytest.approx(math.exp((rows[0]["grade"] - best[rows[0]["query_id"]]) / 0.5), rel=1e-5)
    assert sum(one["weight"] == 1 for one in kept) >= len({one["query_id"] for one in rows})


def test_a_weight_that_is_given_twice_does_not_count_twice_unseen() -> None:
    rows = [row("q", "p", 1, score_st=0.9), row("q", "n", 0, score_st=0.1)]
    with pytest.raises(
        PairmineError, match=r"weight gaussian-decay:sigma=0\.17: it is given twice and would count twice"
    ):
        run(rows, "gaussian-decay", "gaussian-decay:sigma=0.17")
    assert run(rows, "gaussian-decay", "gaussian-decay:sigma=0.2").kept.num_rows == 2


@pytest.mark.parametrize(("sigma", "weight"), [("1e-200", 1.0), ("1e200", 0.0)])
def test_a_sigma_of_any_size_gives_a_number(sigma: str, weight: float) -> None:
    kept = run(
        [row("q", "p", 1, score_st=0.9), row("q", "same", 0, score_st=0.9), row("q", "n", 0, score_st=0.1)],
        f"gaussian-decay:sigma={sigma}",
    ).kept
    assert kept["weight"].to_pylist() == [1.0, 0.0, weight]


@pytest.mark.parametrize("there", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_there_must_be_a_number_from_0_on(there: float) -> None:
    rows = [row("q", "p", 1, score_st=0.9), row("q", "n", 0, score_st=0.1)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).append_column("weight", pa.array([1.0, there]))
    with pytest.raises(PairmineError, match=r'the weight that is there is .* in row 2 \(query "q"\)'):
        filter_pairs(table, by=None, pick=None, weights=["gaussian-decay"])
