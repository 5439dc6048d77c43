from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared" / "data"
TRIANGLE = "In triangle ABC the side AB is 12 cm long and parallel to DE."


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.kept.to_pylist()


def wrong(text: str, **given: Any) -> set[tuple[str, str]]:
    """What was put for what, in 60 draws."""
    return {
        (row["before"], row["after"])
        for seed in range(60)
        for row in made(derive("attribute-flip", corpus(text), seed=seed, positive=False, views=9, **given))
    }


def test_a_description_is_its_own_positive_and_one_wrong_fact_makes_a_negative() -> None:
    rows = made(derive("attribute-flip", corpus(TRIANGLE), views=5))
    assert [(row["doc_id"], row["label"]) for row in rows] == [
        ("d0", 1),
        ("d0#n0", 0),
        ("d0#n1", 0),
        ("d0#n2", 0),
        ("d0#n3", 0),
    ]
    assert rows[0]["document"] == TRIANGLE
    assert {row["origin"] for row in rows[1:]} == {
        f"derive:attribute-flip/{kind}" for kind in ("number", "relation", "label")
    }
    for row in rows[1:]:
        assert row["query"] == TRIANGLE
        assert TRIANGLE[row["start"] : row["end"]] == row["before"] != row["after"]
        assert row["document"] == TRIANGLE[: row["start"]] + row["after"] + TRIANGLE[row["end"] :]


def test_relations_turn_round_with_their_capitals() -> None:
    assert wrong("Parallel lines are ABOVE it.", kinds="relation") == {
        ("Parallel", "Perpendicular"),
        ("ABOVE", "BELOW"),
    }


def test_another_number_is_written_like_the_first() -> None:
    for before, after in wrong("In 1908 it cost 12.5 or 3 or 1,250,000.", kinds="number"):
        assert before != after
        assert len(before) == len(after)
        assert [character.isdigit() for character in before] == [character.isdigit() for character in after]
        if before == "1908":
            assert after.startswith("19")
    assert wrong("two of the first", kinds="number") >= {("two", "five"), ("first", "third")}
    assert not wrong("One is v2.x-3 of A4", kinds="number")


def test_a_label_changes_one_of_its_letters_into_another_of_the_text() -> None:
    assert wrong("Angle ABC lies on line DE.", kinds="label") <= {
        *(("ABC", label) for label in ("DBC", "EBC", "ADC", "AEC", "ABD", "ABE")),
        *(("DE", label) for label in ("AE", "BE", "CE", "DA", "DB", "DC")),
    }
    assert not wrong("NASA and the USA; part of it; a point in time", kinds="label")


def test_a_text_without_facts_is_rejected() -> None:
    outcome = derive("attribute-flip", corpus("Nothing here.", "", "***"))
    assert outcome.rejected["reason"].to_pylist() == ["no number, relation or label to change", "no text", "no words"]


def test_relations_of_the_users_take_the_place_of_ours() -> None:
    flips = {"平行": ("垂直",), "parallel": ("crossing",)}
    assert wrong("lines parallel or above", kinds="relation", resources={"flips": flips}) == {("parallel", "crossing")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": "numbers"}, "--kinds has 'numbers'; choose of number, relation, label"),
        ({"kinds": ","}, "--kinds names none; choose of number"),
        (
            {"kinds": "number", "resources": {"flips": {}}},
            "--flips has no use without relation in --kinds; add it there",
        ),
    ],
)
def test_options_that_cannot_work_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive("attribute-flip", corpus(TRIANGLE), **given)
    assert message in str(error.value)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections in ../shared/data")
def test_real_passages_differ_from_their_negatives_in_one_place() -> None:
    with gzip.open(SHARED / "xquad" / "corpus.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines][:240]
    rows = made(derive("attribute-flip", corpus(*texts), views=3, positive=False))
    assert len(rows) > 300
    for row in rows:
        assert row["label"] == 0
        assert row["query"][: row["start"]] == row["document"][: row["start"]]
        assert row["document"].endswith(row["query"][row["end"] :])
        assert row["document"] != row["query"]


def test_another_day_of_a_date_is_a_day_that_there_is() -> None:
    rows = pa.table({"id": ["1", "2"], "text": ["It closed on December 31 for good.", "On 05 May it opened."]})
    for seed in range(20):
        kept = derive("attribute-flip", rows, kinds="number", positive=False, seed=seed).kept
        days = kept["after"].to_pylist()
        assert all(1 <= int(day) <= 28 for day in days)
        assert len(days[1]) == 2
        assert days[1] != "05"


def test_names_of_forms_and_ordinals_in_figures_are_no_numbers() -> None:
    rows = pa.table({"id": ["1", "2"], "text": ["See our Form 10-K there.", "It was the 21st of them."]})
    outcome = derive("attribute-flip", rows, kinds="number")
    assert outcome.kept.num_rows == 0
    assert outcome.rejected.num_rows == 2
