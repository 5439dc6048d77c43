from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.files.columns import Wanted
from pairmine.files.source import open_rows
from pairmine.outcome import Outcome
from pairmine.recipes import find_recipe
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared"


def scored(*rows: tuple[Any, Any, Any]) -> pa.Table:
    first, second, scores = zip(*rows, strict=True)
    return pa.table({"sentence1": first, "sentence2": second, "score": scores})


def short(outcome: Outcome) -> list[tuple[str, str, Any]]:
    return [(row["query"], row["document"], round(row["grade"], 6)) for row in outcome.kept.to_pylist()]


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def refused(recipe: str, rows: pa.Table, **options: Any) -> str:
    with pytest.raises(PairmineError) as error:
        derive(recipe, rows, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- sts ---------------------------------------------------------------------------------------


def test_the_score_of_five_becomes_a_grade_of_one_and_the_label_stays_open() -> None:
    outcome = derive("sts", scored(("a", "b", 5.0), ("c", "d", 2.5), ("e", "f", 0.0)))
    assert short(outcome) == [("a", "b", 1.0), ("c", "d", 0.5), ("e", "f", 0.0)]
    assert outcome.kept["label"].to_pylist() == [None] * 3


def test_a_scale_from_one_to_five_starts_at_nothing() -> None:
    assert short(derive("sts", scored(("a", "b", 1), ("c", "d", 3), ("e", "f", 5)), low=1)) == [
        ("a", "b", 0.0),
        ("c", "d", 0.5),
        ("e", "f", 1.0),
    ]


FROM_ONE = "scores, none of them below 1: where the scale starts at 1, as in SICK, pass --low 1"


@pytest.mark.parametrize(
    ("scores", "options", "notes"),
    [
        ([1, 3.5, None, 5], {}, {FROM_ONE: 3}),
        ([1, 3.5, None, 5], {"low": 1}, {}),
        ([0.8, 3.5, 2, 5], {}, {}),
        ([1, 3.5, 2, 4.9], {}, {}),
        ([None, None], {}, {}),
    ],
)
def test_scores_that_all_start_at_one_are_told_and_left_as_they_are(
    scores: list[float | None], options: dict[str, Any], notes: dict[str, int]
) -> None:
    outcome = derive("sts", scored(*((f"a{n}", f"b{n}", score) for n, score in enumerate(scores))), **options)
    assert outcome.notes == notes
    low = options.get("low", 0)
    assert [row[2] for row in short(outcome)] == [
        round((score - low) / (5 - low), 6) for score in scores if score is not None
    ]


@pytest.mark.skipif(not (SHARED / "data/sick").exists(), reason="needs the real corpora in ../shared/data")
def test_sick_is_told_that_its_scale_starts_at_one_and_stsb_is_not() -> None:
    rows = open_rows(
        str(SHARED / "data/sick/train.jsonl.gz"),
        [Wanted(each.name, each.aliases, "", each.required) for each in find_recipe("sts").inputs],
        print,
    ).read()
    assert derive("sts", rows).notes == {FROM_ONE: rows.num_rows}
    assert derive("sts", rows, low=1).notes == {}


def test_cuts_give_labels_at_both_ends_and_none_between() -> None:
    rows = scored(("a", "b", 4), ("c", "d", 1), ("e", "f", 2.5))
    assert derive("sts", rows, positive_from=0.8, negative_to=0.2).kept["label"].to_pylist() == [1, 0, None]


def test_copies_come_once_and_pairs_of_one_sentence_stand_together() -> None:
    outcome = derive(
        "sts",
        scored(
            ("A dog.", "A cat.", "3"),
            ("雨だ。", "雨が降る。", "4"),
            ("a  DOG.", "A bird.", "1"),
            ("A dog.", "a cat.", "5"),
            ("Same.", "same.", "5"),
            ("x", "", "5"),
            (None, None, "5"),
            ("x", "y", ""),
        ),
    )
    assert short(outcome) == [("A dog.", "A cat.", 0.6), ("A dog.", "A bird.", 0.2), ("雨だ。", "雨が降る。", 0.8)]
    assert reasons(outcome) == [
        "duplicate",
        "both sentences are the same",
        "only one sentence",
        "no sentences",
        "no score",
    ]


def test_scores_outside_the_scale_and_words_for_scores_are_told_with_their_row() -> None:
    assert refused("sts", scored(("a", "b", 1), ("c", "d", 7))).startswith(
        'row 2: "score" is 7, outside --low 0 and --high 5'
    )
    assert refused("sts", scored(("a", "b", "good"))) == "row 1: \"score\" is 'good', where a number belongs"
    assert refused("sts", scored(("a", "b", 1)), low=5).startswith("--low 5 is not below --high 5")
    line = refused("sts", scored(("a", "b", 1)), positive_from=0.2, negative_to=0.2)
    assert line.startswith("--negative-to 0.2 is not below --positive-from 0.2")


def test_the_stsb_file_without_a_header_and_with_loose_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sts-train.csv"
    path.write_text(
        "main-captions\tMSRvid\t2012test\t0001\t5.000\tA plane is taking off.\tAn air plane is taking off.\n"
        'main-news\tMSRpar\t2012\t0104\t2.400\tHe said "no deal.\t"It is off, he said.\thttp://x\tlicence\n'
    )
    recipe = find_recipe("sts")
    wanted = [Wanted(each.name, each.aliases, "--x-column", each.required) for each in recipe.inputs]
    rows = open_rows(
        str(path), wanted, lambda line: None, fields=("genre", "_", "_", "_", "score", "s1", "s2", "...")
    ).read()
    outcome = derive("sts", rows)
    assert short(outcome) == [
        ("A plane is taking off.", "An air plane is taking off.", 1.0),
        ('He said "no deal.', '"It is off, he said.', 0.48),
    ]
    assert outcome.kept["genre"].to_pylist() == ["main-captions", "main-news"]


@pytest.mark.skipif(not (SHARED / "data/stsb-multi").exists(), reason="needs the real corpora in ../shared/data")
def test_stsb_in_ten_languages_keeps_every_score() -> None:
    with gzip.open(SHARED / "data/stsb-multi/dev.jsonl.gz", "rt") as lines:
        given = [json.loads(line) for line in lines]
    outcome = derive("sts", pa.Table.from_pylist(given))
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(given) == 15_000
    scores = {row["_id"]: row["score"] for row in given}
    assert all(abs(row["grade"] * 5 - scores[row["_id"]]) < 1e-5 for row in outcome.kept.to_pylist())
    assert outcome.kept.num_rows > 14_900
    assert outcome.notes == {}


# --- ranked-log --------------------------------------------------------------------------------


def log(**columns: list[Any]) -> pa.Table:
    return pa.table(columns)


def test_the_weight_falls_evenly_with_the_place_in_the_list() -> None:
    rows = log(query=["tea"] * 3, document=["c", "a", "b"], rank=[4, 1, 2], doc_id=["C", "A", "B"])
    outcome = derive("ranked-log", rows, depth=4)
    assert short(outcome) == [("tea", "a", 1.0), ("tea", "b", 0.75), ("tea", "c", 0.25)]
    assert outcome.kept["weight"].to_pylist() == outcome.kept["grade"].to_pylist()
    assert outcome.kept["doc_id"].to_pylist() == ["A", "B", "C"]
    assert outcome.kept["label"].to_pylist() == [1, 1, 1]
    assert short(derive("ranked-log", rows, curve="reciprocal"))[1:] == [("tea", "b", 0.5), ("tea", "c", 0.25)]


def test_without_ranks_the_order_of_the_file_counts_query_by_query() -> None:
    rows = log(query=["x", "y", "x", "y"], document=["a", "b", "c", "d"])
    assert short(derive("ranked-log", rows, depth=2)) == [
        ("x", "a", 1.0),
        ("x", "c", 0.5),
        ("y", "b", 1.0),
        ("y", "d", 0.5),
    ]


def test_clicks_weigh_as_a_part_of_the_most_clicked() -> None:
    rows = log(query=["x"] * 3, document=["a", "b", "c"], score=["2", "8", "0"])
    outcome = derive("ranked-log", rows, by="score", min_score=1)
    assert short(outcome) == [("x", "b", 1.0), ("x", "a", 0.25)]
    assert reasons(outcome) == ["score below 1"]


def test_rows_that_cannot_be_used_say_why() -> None:
    rows = log(
        query=["x", "x", "x", "", "x", "x"],
        document=["a", "A ", "b", "c", "", "d"],
        rank=[1, 2, 9, 1, 1, None],
        doc_id=["1", "1", "2", "3", "4", "5"],
    )
    assert reasons(derive("ranked-log", rows, depth=5)) == [
        "the document stands in the list already",
        "below rank 5",
        "no query",
        "no document",
        "no rank",
    ]


def test_the_split_is_a_grid_of_seen_and_unseen_queries_and_documents() -> None:
    rows = log(
        query=[f"q{q}" for q in range(200) for _ in range(20)],
        document=[f"d{(q * 7 + d) % 300}" for q in range(200) for d in range(20)],
    )
    kept = derive("ranked-log", rows, seed=3).kept.to_pylist()
    corner = {(row["query"], row["document"]): row["split"] for row in kept}
    seen_queries = {query for (query, _), split in corner.items() if split in ("train", "novel_document")}
    seen_documents = {document for (_, document), split in corner.items() if split in ("train", "novel_query")}
    for (query, document), split in corner.items():
        expected = {
            (True, True): "train",
            (True, False): "novel_document",
            (False, True): "novel_query",
            (False, False): "zero_shot",
        }[query in seen_queries, document in seen_documents]
        assert split == expected
    assert 140 <= len(seen_queries) <= 180
    assert 120 <= len(seen_documents) <= 180


def test_a_log_that_cannot_be_read_is_one_line() -> None:
    rows = log(query=["x"], document=["a"], rank=[0])
    assert refused("ranked-log", rows) == 'row 1: "rank" is 0; a rank starts at 1'
    assert refused("ranked-log", rows, by="score").startswith("--by score needs a column with it")
    assert refused("ranked-log", rows, by="score", curve="reciprocal").startswith("--curve reciprocal is for ranks")
