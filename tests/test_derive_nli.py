from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.identity import content_id
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared"
SLEEPS = "A man sleeps."


def judged(*rows: tuple[Any, Any, Any]) -> pa.Table:
    premises, hypotheses, labels = zip(*rows, strict=True)
    return pa.table({"premise": premises, "hypothesis": hypotheses, "label": labels, "genre": ["x"] * len(rows)})


def short(outcome: Outcome) -> list[tuple[str, str, int]]:
    return [(row["query"], row["document"], row["label"]) for row in outcome.kept.to_pylist()]


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def test_nli_takes_what_follows_as_positive_and_what_contradicts_as_negative() -> None:
    outcome = derive(
        "nli",
        judged(
            (SLEEPS, "A man runs.", "contradiction"),
            ("It snows.", "It is cold.", "entailment"),
            (SLEEPS, "He is tired.", "neutral"),
            (SLEEPS, "Someone rests.", "entailment"),
            ("It snows.", "It is July.", "contradiction"),
        ),
    )
    assert short(outcome) == [
        (SLEEPS, "Someone rests.", 1),
        (SLEEPS, "A man runs.", 0),
        ("It snows.", "It is cold.", 1),
        ("It snows.", "It is July.", 0),
    ]
    assert reasons(outcome) == ["neutral"]
    first = outcome.kept.to_pylist()[0]
    assert first["query_id"] == content_id(SLEEPS)
    assert first["doc_id"] == content_id("Someone rests.")
    assert first["source_id"] is None
    assert first["genre"] == "x"


@pytest.mark.parametrize(
    "labels",
    [
        ("entailment", "contradiction"),
        ("ENTAILMENT", " Contradiction "),
        (0, 2),
        ("0", "2"),
        (0.0, 2.0),
        ("e", "c"),
        ("SUPPORTS", "REFUTES"),
    ],
)
def test_nli_reads_the_labels_that_real_files_use(labels: tuple[object, object]) -> None:
    rows = judged((SLEEPS, "Someone rests.", labels[0]), (SLEEPS, "A man runs.", labels[1]))
    assert [label for *_, label in short(derive("nli", rows))] == [1, 0]


@pytest.mark.parametrize("label", ["-", "", None])
def test_a_row_without_a_gold_label_is_rejected_as_such(label: str | None) -> None:
    rows = judged((SLEEPS, "Someone rests.", "entailment"), (SLEEPS, "No.", "contradiction"), (SLEEPS, "Hm.", label))
    assert reasons(derive("nli", rows)) == ["no gold label"]


def test_minus_one_and_nan_are_no_gold_labels() -> None:
    assert reasons(derive("nli", judged((SLEEPS, "Hm.", -1)))) == ["no gold label"]
    assert reasons(derive("nli", judged((SLEEPS, "Hm.", float("nan"))))) == ["no gold label"]


@pytest.mark.parametrize("label", ["not_entailment", 3, 0.5, True])
def test_an_unknown_label_stops_the_run_with_its_row(label: object) -> None:
    with pytest.raises(PairmineError, match=r'row 1: "label" is .*; a label is entailment, neutral, contradiction'):
        derive("nli", judged((SLEEPS, "Hm.", label)))


def test_a_premise_without_one_side_is_rejected_unless_it_is_to_be_kept() -> None:
    rows = judged((SLEEPS, "Someone rests.", "entailment"), ("It snows.", "It is July.", "contradiction"))
    outcome = derive("nli", rows)
    assert outcome.kept.num_rows == 0
    assert reasons(outcome) == ["no contradiction of this premise", "no entailment of this premise"]
    kept = derive("nli", rows, keep_unpaired=True)
    assert [label for *_, label in short(kept)] == [1, 0]
    assert kept.rejected.num_rows == 0


def test_neutral_sentences_are_negatives_when_asked_for() -> None:
    rows = judged((SLEEPS, "Someone rests.", 0), (SLEEPS, "He is tired.", 1))
    assert short(derive("nli", rows, neutral_negatives=True)) == [
        (SLEEPS, "Someone rests.", 1),
        (SLEEPS, "He is tired.", 0),
    ]


def test_copies_of_a_hypothesis_come_once_and_disputed_ones_not_at_all() -> None:
    rows = judged(
        (SLEEPS, "Someone rests.", "entailment"),
        (" a man  SLEEPS.", "someone rests.", "entailment"),
        (SLEEPS, "He snores.", "entailment"),
        (SLEEPS, "He snores.", "contradiction"),
        (SLEEPS, "A man runs.", "contradiction"),
        (SLEEPS, "A MAN SLEEPS.", "entailment"),
    )
    outcome = derive("nli", rows)
    assert short(outcome) == [(SLEEPS, "Someone rests.", 1), (SLEEPS, "A man runs.", 0)]
    assert reasons(outcome) == ["duplicate", "labels disagree", "duplicate", "the hypothesis is the premise"]


def test_blank_sides_are_rejected() -> None:
    rows = judged((None, "x", "entailment"), ("x", None, "entailment"), (" ", "x", "entailment"))
    assert reasons(derive("nli", rows)) == ["no premise", "no hypothesis", "no premise"]


def test_numbers_where_sentences_belong_are_an_error() -> None:
    with pytest.raises(PairmineError, match='"premise" holds int64, where text belongs'):
        derive("nli", judged((1, "x", "entailment")))


@pytest.mark.skipif(not (SHARED / "data/xnli-dev").exists(), reason="needs the real corpora in ../shared/data")
@pytest.mark.slow
def test_xnli_in_fifteen_languages_gives_a_positive_and_a_negative_per_premise() -> None:
    with gzip.open(SHARED / "data/xnli-dev/dev.jsonl.gz", "rt") as lines:
        rows = pa.Table.from_pylist([json.loads(line) for line in lines])
    outcome = derive("nli", rows)
    assert outcome.rows_in == outcome.kept.num_rows + outcome.rejected.num_rows
    assert outcome.kept.num_rows > 24_000
    labels: dict[str, set[int]] = {}
    for row in outcome.kept.to_pylist():
        labels.setdefault(row["query_id"], set()).add(row["label"])
    assert all(found == {0, 1} for found in labels.values())
    assert len(set(outcome.kept["lang"].to_pylist())) == 15


def test_every_judged_row_is_a_pair_with_its_verdict_in_the_origin() -> None:
    rows = judged(
        (SLEEPS, "He is tired.", "neutral"),
        (SLEEPS, "Someone rests.", "entailment"),
        ("It snows.", "It is July.", "contradiction"),
        (SLEEPS, "Hm.", "-"),
    )
    outcome = derive("nli", rows, as_="label")
    assert [(*pair, row["origin"]) for pair, row in zip(short(outcome), outcome.kept.to_pylist(), strict=True)] == [
        (SLEEPS, "He is tired.", None, "derive:nli/neutral"),
        (SLEEPS, "Someone rests.", 1, "derive:nli/entailment"),
        ("It snows.", "It is July.", 0, "derive:nli/contradiction"),
    ]
    assert reasons(outcome) == ["no gold label"]
    assert "grade" not in outcome.kept.column_names
    binary = derive("nli", rows, as_="label", neutral_negatives=True)
    assert binary.kept["label"].to_pylist() == [0, 1, 0]


def test_verdicts_as_scores_are_one_a_half_and_nothing() -> None:
    rows = judged((SLEEPS, "a", "neutral"), (SLEEPS, "b", "entailment"), (SLEEPS, "c", "contradiction"))
    assert derive("nli", rows, **{"as": "score"}).kept["grade"].to_pylist() == [0.5, 1.0, 0.0]


def test_labels_of_other_collections_are_explained_by_a_map() -> None:
    rows = judged(("Smoke rises.", "x", "ỦNG HỘ"), ("Smoke rises.", "y", "bác bỏ"), ("Smoke rises.", "z", "OTHER"))
    outcome = derive("nli", rows, label_map="entailment=Ủng hộ, contradiction=BÁC BỎ|MIXED,none=other")
    assert [label for *_, label in short(outcome)] == [1, 0]
    assert reasons(outcome) == ["no gold label"]


def test_a_map_may_turn_the_usual_numbers_round() -> None:
    rows = judged((SLEEPS, "no", 0), (SLEEPS, "yes", 2))
    turned = derive("nli", rows, label_map="contradiction=0,entailment=2")
    assert short(turned) == [(SLEEPS, "yes", 1), (SLEEPS, "no", 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_map": "yes=1"}, "--label-map has 'yes=1'; write entailment=LABEL,neutral=LABEL"),
        ({"label_map": "entailment"}, "--label-map has 'entailment'"),
        ({"label_map": "entailment=A,neutral=a"}, "--label-map gives 'a' two meanings"),
        ({"as_": "score", "keep_unpaired": True}, "--keep-unpaired has no effect with --as score"),
        ({"as_": "pairs"}, "--as is 'pairs'; choose triplet, label, score"),
    ],
)
def test_options_that_cannot_be_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive("nli", judged((SLEEPS, "x", "neutral")), **options)
    assert str(error.value).startswith(message)


@pytest.mark.skipif(not (SHARED / "data/sick").exists(), reason="needs the real corpora in ../shared/data")
def test_sick_gives_each_of_its_verdicts_once() -> None:
    with gzip.open(SHARED / "data/sick/train.jsonl.gz", "rt") as lines:
        given = pa.Table.from_pylist([json.loads(line) for line in lines])
    rows = given.rename_columns({"sentence1": "premise", "sentence2": "hypothesis"})
    outcome = derive("nli", rows, as_="score")
    # SICK has 4500 training rows; 30 repeat a pair in another spelling.
    assert (outcome.rows_in, outcome.kept.num_rows, set(reasons(outcome))) == (4500, 4470, {"duplicate"})
    assert set(outcome.kept["grade"].to_pylist()) == {0.0, 0.5, 1.0}
