from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared"
MILL = (
    "The village has a bridge of stone. The mill is owned by Ada Lee. It rains a lot in the valley. "
    "The road to the mill is old. Nobody knows the price of flour."
)


def pairs(*rows: tuple[str | None, str | None, int | None]) -> pa.Table:
    return pa.table(
        {
            "query_id": [f"q{at}" for at in range(len(rows))],
            "query": pa.array([query for query, _, _ in rows], pa.string()),
            "doc_id": [f"d{at}" for at in range(len(rows))],
            "document": pa.array([document for _, document, _ in rows], pa.string()),
            "label": pa.array([label for _, _, label in rows], pa.int8()),
        }
    )


class Letters:
    """An encoder whose vectors count letters."""

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        counts = np.array(
            [[text.casefold().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        )
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def made(recipe: str, rows: pa.Table, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    return derive(recipe, rows, seed=seed, **options).kept.to_pylist()


def test_a_long_document_stands_with_the_part_that_has_to_do_with_the_question() -> None:
    (row,) = made("subcontext", pairs(("Who owned the mill?", MILL, 1)), chunk_words=7, top=1)
    assert (row["query_id"], row["query"], row["label"]) == ("d0#q0q", MILL, 1)
    assert (row["doc_id"], row["document"], row["question"]) == (
        "d0#q0",
        "The mill is owned by Ada Lee.",
        "Who owned the mill?",
    )
    assert MILL[row["start"] : row["end"]] == row["document"]


def test_parts_come_in_their_order_with_a_break_where_others_were_between() -> None:
    options = {"chunk_words": 7, "query": "question"}
    (row,) = made("subcontext", pairs(("Ada, road, price", MILL, 1)), top=3, **options)
    assert (row["query_id"], row["query"]) == ("q0", "Ada, road, price")
    assert row["document"] == (
        "The mill is owned by Ada Lee.\nThe road to the mill is old. Nobody knows the price of flour."
    )
    assert row["start"] is None
    (near,) = made("subcontext", pairs(("old road, price of flour", MILL, 1)), top=2, **options)
    assert MILL[near["start"] : near["end"]] == near["document"]
    assert near["document"].startswith("The road")


def test_documents_without_a_part_are_told() -> None:
    rows = pairs(
        ("mill", MILL, 0), ("mill", "The mill is old.", 1), ("zebra", MILL, None), ("", MILL, 1), ("x", None, 1)
    )
    assert derive("subcontext", rows, chunk_words=7, top=1).rejected["reason"].to_pylist() == [
        "not a positive",
        "too short",
        "no word in common",
        "no text",
        "no text",
    ]


def test_an_encoder_can_pick_the_part() -> None:
    rows = pairs(("zzz flour price zzz", "Aaa aaa aaa aaa. Zzz zzz zzz zz. Bbb bbb bbb bbb.", 1))
    (row,) = made("subcontext", rows, chunk_words=4, top=1, resources={"encoder": Letters()})
    assert row["document"] == "Zzz zzz zzz zz."


def test_a_passage_and_its_sentences_are_candidates_of_one_query() -> None:
    passage = "The mill is owned by Ada Lee. It rains a lot there. The road to the mill is old."
    rows = made("multi-grain", pairs(("who owned the mill", passage, 1)))
    # Of "owned" (in 1 of 3 sentences), "the" and "mill" (in 2 of 3): ln(1 + 2.5/1.5) = .981, ln(1 + 1.5/2.5) = .470.
    assert [(row["doc_id"], row["label"], row["grade"]) for row in rows] == [
        ("d0", 1, None),
        ("d0#s0", 1, 1.0),
        ("d0#s1", 0, 0.0),
        ("d0#s2", 0, pytest.approx(0.489, abs=0.001)),
    ]
    assert [row["origin"].partition("/")[2] for row in rows] == ["passage", "sentence", "sentence", "sentence"]
    assert [passage[row["start"] : row["end"]] for row in rows] == [row["document"] for row in rows]


def test_a_best_sentence_with_a_rival_stays_undecided() -> None:
    passage = "The mill is old and grey. The mill is new and red. It rains a lot there."
    rows = made("multi-grain", pairs(("the mill", passage, 1)))
    assert [row["label"] for row in rows] == [1, None, None, 0]
    near = made(
        "multi-grain", pairs(("the old mill of Lee", "The old mill is here. The mill is new. It rains there.", 1))
    )
    assert [row["label"] for row in near] == [1, 1, 0]
    assert [row["label"] for row in made("multi-grain", pairs(("the mill", passage, 1)), negative_below=0)] == [
        1,
        None,
        None,
        None,
    ]


def test_sentences_of_a_negative_passage_are_negatives_and_of_an_undecided_one_undecided() -> None:
    rows = made("multi-grain", pairs(("old road", MILL, 0), ("old road", MILL, None)))
    assert [row["label"] for row in rows] == [0] * 6 + [None] * 6


def test_a_passage_that_cannot_be_parted_stays_whole_and_is_counted() -> None:
    rows = pairs(("mill", "The mill is here.", 1), ("zebra", MILL, 1), (None, MILL, 1))
    outcome = derive("multi-grain", rows)
    assert outcome.kept["doc_id"].to_pylist() == ["d0", "d1"]
    assert outcome.notes == {"passages of one sentence": 1, "passages that share nothing with their query": 1}
    assert outcome.rejected["reason"].to_pylist() == ["no text"]


def test_an_encoder_can_grade_the_sentences() -> None:
    rows = made(
        "multi-grain", pairs(("aaa", "Aaa aa a aaa. Bbb bb b bbb. Aab ab a aba.", 1)), resources={"encoder": Letters()}
    )
    assert [row["grade"] for row in rows[1:]] == [pytest.approx(1), 0, pytest.approx(6 / 45**0.5, abs=0.01)]


@pytest.mark.skipif(not (SHARED / "data/xquad").exists(), reason="needs the real collections in ../shared/data")
@pytest.mark.parametrize(("language", "least"), [("en", 0.83), ("de", 0.76), ("zh", 0.82)])
@pytest.mark.slow
def test_the_sentence_that_is_picked_mostly_holds_the_answer(language: str, least: float) -> None:
    def read(name: str) -> dict[str, dict[str, Any]]:
        with gzip.open(SHARED / "data" / "xquad" / name, "rt") as lines:
            return {row["_id"]: row for row in map(json.loads, lines) if row["_id"].startswith(language)}

    corpus, queries = read("corpus.jsonl.gz"), read("queries.jsonl.gz")
    judged = [line.split() for line in (SHARED / "data" / "xquad" / "qrels.tsv").open() if line.startswith(language)]
    rows = pa.table(
        {
            "query_id": [query for query, *_ in judged],
            "query": [queries[query]["text"] for query, *_ in judged],
            "doc_id": [document for _, document, _ in judged],
            "document": [corpus[document]["text"] for _, document, _ in judged],
            "label": pa.array([1] * len(judged), pa.int8()),
        }
    )
    found = [
        row for row in made("multi-grain", rows) if row["label"] is not None and row["origin"].endswith("sentence")
    ]
    holds = {1: [], 0: []}
    for row in found:
        holds[row["label"]].append(queries[row["query_id"]]["answers"][0] in row["document"])
    assert sum(holds[1]) / len(holds[1]) > least
    assert sum(holds[0]) / len(holds[0]) < 0.08


SAME = [("A man sleeps.", "Someone is asleep.", 1), ("猫は寝る。", "猫が寝ている。", 1)]
OTHER = [("It rains.", "The sun shines.", 0), ("A dog runs.", "A dog stands.", 0)]


def test_documents_are_made_of_pairs_and_every_word_is_marked() -> None:
    (row,) = made("doc-diff", pairs(SAME[0], OTHER[0]), sentences=2)
    assert sorted([row["query"], row["document"]]) in (
        ["A man sleeps. It rains.", "Someone is asleep. The sun shines."],
        ["It rains. A man sleeps.", "The sun shines. Someone is asleep."],
    )
    first = row["query"].startswith("It")
    assert row["query_differs"] == ([1, 1, 0, 0, 0] if first else [0, 0, 0, 1, 1])
    assert row["document_differs"] == ([1, 1, 1, 0, 0, 0] if first else [0, 0, 0, 1, 1, 1])
    assert (row["label"], row["grade"]) == (None, 0.5)


def test_words_of_a_script_without_blanks_are_marked_one_by_one() -> None:
    (row,) = made("doc-diff", pairs(SAME[1]), sentences=1, positive_ratio=1)
    assert (row["query"], row["query_differs"]) == ("猫は寝る。", [0, 0, 0, 0])


def test_the_share_of_pairs_that_say_the_same_is_kept() -> None:
    table = pairs(
        *[(f"same {at} a", f"same {at} b", 1) for at in range(30)], *[(f"x {at}", f"y {at}", 0) for at in range(10)]
    )
    rows = made("doc-diff", table, sentences=4, positive_ratio=0.75)
    assert len(rows) == 10
    for row in rows:
        assert (sum(row["query_differs"]), len(row["query_differs"])) == (2, 11)
        assert row["grade"] == 0.75
    used = " ".join(row["query"] for row in rows)
    assert all(f"x {at} " in used + " " for at in range(10))
    assert len(made("doc-diff", table, sentences=4, documents=2)) == 2


@pytest.mark.parametrize("wanted", [0, 1, 4, 10])
def test_the_second_document_has_so_many_inversions(wanted: int) -> None:
    table = pairs(*[(f"w{at}", f"w{at}", 1) for at in range(5)])
    for seed in range(20):
        (row,) = made("doc-diff", table, seed, sentences=5, positive_ratio=1, inversions=wanted)
        order = [row["query"].split().index(word) for word in row["document"].split()]
        assert sum(order[a] > order[b] for a in range(5) for b in range(a, 5)) == wanted


def test_grades_stand_in_for_labels() -> None:
    table = pairs(("a", "b", None), ("c", "d", None), ("e", "f", None)).append_column(
        "grade", pa.array([0.9, 0.1, 0.6])
    )
    outcome = derive("doc-diff", table, sentences=2)
    assert outcome.kept.num_rows == 1
    assert outcome.rejected["reason"].to_pylist() == ["neither the same nor different"]


def test_documents_can_keep_to_one_language() -> None:
    table = pairs(*SAME, *OTHER).append_column("lang", pa.array(["en", "ja", "en", "ja"]))
    rows = made("doc-diff", table, sentences=2, by="lang")
    assert [(row["lang"], "猫" in row["query"]) for row in rows] == [("en", False), ("ja", True)]
    with pytest.raises(PairmineError, match='--by: there is no column "language"'):
        made("doc-diff", table, by="language")


def test_a_document_that_repeats_another_is_left_out() -> None:
    outcome = derive("doc-diff", pairs(SAME[0], SAME[0]), sentences=1, positive_ratio=1)
    assert outcome.kept.num_rows == 1
    assert outcome.rejected["reason"].to_pylist() == ["left over"]


def test_pairs_that_make_no_document_are_told() -> None:
    rows = pairs(SAME[0], SAME[1], OTHER[0], ("a", " ", 1), ("a", "b", None))
    assert derive("doc-diff", rows, sentences=2).rejected["reason"].to_pylist()[1:] == [
        "no text",
        "neither the same nor different",
    ]
    lacking = "only 0 of the 3 pairs that differ for a document"
    assert derive("doc-diff", pairs(*SAME)).rejected["reason"].to_pylist() == [lacking, lacking]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentences": 3, "inversions": 4}, "--inversions is 4; --sentences 3 allow at most 3"),
        ({"same_from": 0.3}, "--same-from 0.3 is not above --different-to 0.4; raise it"),
    ],
)
def test_options_that_do_not_fit_are_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        made("doc-diff", pairs(SAME[0]), **options)
    assert str(error.value) == message
