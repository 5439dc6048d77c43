from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared"


def labelled(*rows: tuple[Any, ...], names: tuple[str, ...] = ("text", "label")) -> pa.Table:
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def short(outcome: Outcome) -> list[tuple[str, str, int]]:
    return [(row["query"], row["document"], row["label"]) for row in outcome.kept.to_pylist()]


def weights(outcome: Outcome) -> dict[tuple[str, str], float]:
    return {(row["query"], row["document"]): row["weight"] for row in outcome.kept.to_pylist()}


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def refused(recipe: str, rows: pa.Table, **options: Any) -> str:
    with pytest.raises(PairmineError) as error:
        derive(recipe, rows, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# Three of one label and one of another: 3 positives (ab, ac, bc) and 3 negatives (ax, bx, cx).
FOUR = labelled(("a", "1"), ("b", "1"), ("c", "1"), ("x", "2"))
# Two of one label and two others alone: 1 positive and 5 negatives.
RARE = labelled(("a", "1"), ("b", "1"), ("x", "2"), ("y", "3"))


# --- labels ------------------------------------------------------------------------------------


def test_texts_of_one_label_are_positives_and_all_others_negatives() -> None:
    outcome = derive("labels", FOUR)
    assert short(outcome) == [
        ("a", "b", 1),
        ("a", "c", 1),
        ("a", "x", 0),
        ("b", "c", 1),
        ("b", "x", 0),
        ("c", "x", 0),
    ]
    assert set(weights(outcome).values()) == {1.0}


def test_oversampling_weighs_the_one_positive_as_often_as_setfit_repeats_it() -> None:
    outcome = derive("labels", RARE)
    assert weights(outcome) == {
        ("a", "b"): 5.0,
        **dict.fromkeys([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("x", "y")], 1.0),
    }


def test_undersampling_keeps_as_few_negatives_and_unique_takes_all() -> None:
    few = derive("labels", RARE, strategy="undersampling")
    assert Counter(few.kept["label"].to_pylist()) == {1: 1, 0: 1}
    assert len(set(reasons(few)) - {"in no pair"}) == 0
    every = derive("labels", RARE, strategy="unique")
    assert Counter(every.kept["label"].to_pylist()) == {1: 1, 0: 5}
    assert set(weights(every).values()) == {1.0}


def test_iterations_give_as_many_of_both_kinds_for_each_text() -> None:
    outcome = derive("labels", FOUR, iterations=2)
    # SetFit makes 2 * 4 positives out of 3 pairs and as many negatives.
    total: Counter[int] = Counter()
    for row in outcome.kept.to_pylist():
        total[row["label"]] += int(row["weight"])
        assert row["weight"] in (2.0, 3.0)
    assert total == {1: 8, 0: 8}


def test_a_shared_label_among_several_is_enough() -> None:
    lists = labelled(("a", ["x", "y"]), ("b", ["y"]), ("c", ["z"]), ("d", []))
    outcome = derive("labels", lists, strategy="unique")
    assert short(outcome) == [("a", "b", 1), ("a", "c", 0), ("b", "c", 0)]
    assert reasons(outcome) == ["no label"]
    written = labelled(("a", "x; y"), ("b", "y"), ("c", "z"), ("d", " "))
    assert short(derive("labels", written, strategy="unique", separator=";")) == short(outcome)


def test_copies_of_a_text_share_their_labels_and_come_once() -> None:
    outcome = derive(
        "labels", labelled(("雨だ", 1), ("b", 2), ("雨だ ", 2), (None, 1), ("c", None), ("d", 9)), strategy="unique"
    )
    assert short(outcome) == [("雨だ", "b", 1), ("雨だ", "d", 0), ("b", "d", 0)]
    assert reasons(outcome) == ["a copy of a text before it", "no text", "no label"]


def test_positives_across_domains_leave_out_those_within_one() -> None:
    rows = labelled(
        ("a", "good", "books"),
        ("b", "good", "books"),
        ("c", "good", "films"),
        ("d", "bad", "films"),
        names=("text", "label", "domain"),
    )
    assert short(derive("labels", rows, across=True, strategy="unique")) == [
        ("a", "c", 1),
        ("a", "d", 0),
        ("b", "c", 1),
        ("b", "d", 0),
        ("c", "d", 0),
    ]
    assert short(derive("labels", rows, across=True, positives_only=True)) == [("a", "c", 1), ("b", "c", 1)]
    assert refused("labels", FOUR, across=True).startswith("--across needs a column with the domain")


def test_most_pairs_are_an_even_seeded_sample_and_the_rest_is_counted() -> None:
    rows = labelled(*((f"text {at}", at % 10) for at in range(300)))
    outcome = derive("labels", rows, max_pairs=400, seed=1)
    # 10 labels of 30 texts: 4350 positives of 44850 pairs; oversampling goes to 40500 of each.
    assert Counter(outcome.kept["label"].to_pylist()) == {1: 200, 0: 200}
    assert outcome.notes == {"pairs beyond --max-pairs": 4350 + 40500 - 400}
    assert set(weights(outcome).values()) == {1.0}
    drawn = Counter(row["query"] for row in outcome.kept.to_pylist())
    assert len(drawn) > 120
    assert not outcome.kept.equals(derive("labels", rows, max_pairs=400, seed=2).kept)
    assert outcome.kept.equals(derive("labels", rows, max_pairs=400, seed=1).kept)


def test_rare_positives_weigh_as_much_as_the_negatives_that_fit_under_the_limit() -> None:
    rows = labelled(("a", "1"), ("b", "1"), *((f"x{at}", f"l{at}") for at in range(40)))
    outcome = derive("labels", rows, max_pairs=100)
    assert weights(outcome)["a", "b"] == 50.0
    assert Counter(outcome.kept["label"].to_pylist()) == {1: 1, 0: 50}


def test_a_single_label_or_no_two_alike_gives_what_there_is() -> None:
    assert short(derive("labels", labelled(("a", "1"), ("b", "1")))) == [("a", "b", 1)]
    assert short(derive("labels", labelled(("a", "1"), ("b", "2")))) == [("a", "b", 0)]
    alone = derive("labels", labelled(("a", "1")))
    assert (alone.kept.num_rows, reasons(alone)) == (0, ["in no pair"])


def test_a_strategy_beside_iterations_is_an_error() -> None:
    line = refused("labels", FOUR, strategy="unique", iterations=2)
    assert line.startswith("--strategy unique has no effect with --iterations")


@pytest.mark.skipif(not (SHARED / "data/banking77").exists(), reason="needs the real corpora in ../shared/data")
def test_banking77_pairs_share_an_intent_or_do_not() -> None:
    with gzip.open(SHARED / "data/banking77/queries.jsonl.gz", "rt") as lines:
        given = [json.loads(line) for line in lines][:2000]
    rows = pa.Table.from_pylist(given).rename_columns({"intent": "label"})
    intents = {row["text"].strip(): row["intent"] for row in given}
    outcome = derive("labels", rows, iterations=3)
    kept = outcome.kept.to_pylist()
    assert all((intents[row["query"]] == intents[row["document"]]) == bool(row["label"]) for row in kept)
    assert Counter(row["label"] for row in kept) == {
        1: 6000 - 3 * len(reasons(outcome)),
        0: 6000 - 3 * len(reasons(outcome)),
    }


# --- label-text --------------------------------------------------------------------------------

QUESTIONS = labelled(("Where is it?", "card_arrival"), ("How much?", "fee"), ("Who are you?", "identity"))


def test_a_labels_name_in_words_is_the_document_and_one_wrong_one_the_negative() -> None:
    outcome = derive("label-text", QUESTIONS)
    pairs = short(outcome)
    assert [(query, document) for query, document, label in pairs if label] == [
        ("Where is it?", "card arrival"),
        ("How much?", "fee"),
        ("Who are you?", "identity"),
    ]
    assert [label for *_, label in pairs] == [1, 0] * 3
    assert all(document in {"card arrival", "fee", "identity"} for _, document, _ in pairs)


def test_all_wrong_labels_or_none_when_asked_for() -> None:
    assert [label for *_, label in short(derive("label-text", QUESTIONS, negatives="oversample"))] == [1, 0, 0] * 3
    assert [label for *_, label in short(derive("label-text", QUESTIONS, negatives="none"))] == [1] * 3


def test_described_labels_use_every_description_and_unseen_labels_are_negatives() -> None:
    described = {
        "card_arrival": ("When a card comes.", "Kartenversand"),
        "fee": ("What it costs.",),
        "other": ("Else.",),
    }
    rows = labelled(("Where is it?", ["card_arrival", "fee"]))
    outcome = derive("label-text", rows, negatives="oversample", resources={"descriptions": described})
    assert short(outcome) == [
        ("Where is it?", "When a card comes.", 1),
        ("Where is it?", "Kartenversand", 1),
        ("Where is it?", "What it costs.", 1),
        ("Where is it?", "Else.", 0),
    ]


def test_a_label_without_a_description_is_named() -> None:
    with pytest.raises(PairmineError) as error:
        derive("label-text", QUESTIONS, resources={"descriptions": {"fee": ("x",)}})
    assert str(error.value) == "--descriptions has none for 2 of 3 labels: card_arrival, identity; add them"


def test_a_text_that_is_its_labels_description_gives_nothing() -> None:
    outcome = derive("label-text", labelled(("Card Arrival", "card_arrival"), ("b", "fee")))
    assert reasons(outcome) == ["the text is the description of its label"]
    assert {row["query"] for row in outcome.kept.to_pylist()} == {"b"}


# --- sets --------------------------------------------------------------------------------------


def test_each_text_gets_one_of_its_set_and_texts_of_no_set_of_its_own() -> None:
    rows = labelled(*((f"a{at}", "A") for at in range(3)), *((f"b{at}", "B") for at in range(3)), names=("text", "set"))
    outcome = derive("sets", rows, positives=2, negatives=2)
    for query in {row["query"] for row in outcome.kept.to_pylist()}:
        mine = [(document, label) for asked, document, label in short(outcome) if asked == query]
        assert [label for _, label in mine] == [1, 1, 0, 0]
        assert {document for document, label in mine if label} == {f"{query[0]}{at}" for at in range(3)} - {query}
        assert all(document[0] != query[0] for document, label in mine if not label)


def test_fewer_texts_elsewhere_than_wanted_are_all_taken() -> None:
    rows = labelled(("a1", "A"), ("a2", "A"), ("b", "B"), ("c", "C"), names=("text", "set"))
    outcome = derive("sets", rows, negatives=5)
    assert sorted(short(outcome)[1:3]) == [("a1", "b", 0), ("a1", "c", 0)]
    assert reasons(outcome) == ["alone in its set"] * 2


def test_a_text_of_two_sets_is_a_negative_of_neither() -> None:
    rows = labelled(("a", ["A"]), ("b", ["B"]), ("ab", ["A", "B"]), ("c", ["C"]), ("c2", ["C"]), names=("text", "set"))
    negatives = {(query, document) for query, document, label in short(derive("sets", rows)) if not label}
    assert negatives.isdisjoint({("a", "ab"), ("ab", "b"), ("ab", "a"), ("b", "ab")})
    assert {("a", "b"), ("ab", "c"), ("c", "ab")} <= negatives


def test_a_row_may_hold_a_whole_set() -> None:
    rows = labelled(("rain", ["It pours.", "雨だ。"]), ("cost", ["Dear.", "Dear. ", ""]), names=("set", "text"))
    outcome = derive("sets", rows, negatives=0)
    assert short(outcome) == [("It pours.", "雨だ。", 1), ("雨だ。", "It pours.", 1)]
    assert reasons(outcome) == ["alone in its set"]


def test_numbers_where_texts_belong_are_an_error() -> None:
    assert refused("sets", labelled((1, "A"), names=("text", "set"))) == (
        '"text" holds int64, where text or a list of texts belongs'
    )
