from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from derive_samples.linked import STORM

from pairmine.backends.encoders import FakeEncoder
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive


def rows_of(outcome: Outcome) -> list[tuple[str, str, int]]:
    kept = outcome.kept
    return list(zip(*(kept[name].to_pylist() for name in ("query", "document", "label")), strict=True))


def reasons(outcome: Outcome) -> dict[str, int]:
    return dict(Counter(outcome.rejected["reason"].to_pylist()))


def test_every_caption_of_an_image_is_a_query_for_the_others() -> None:
    rows = pa.table({"image": [1, 2, 1, 1], "caption": ["A dog.", "A cat.", "A brown dog.", "a  DOG."]})
    outcome = derive("co-captions", rows)
    assert rows_of(outcome) == [("A dog.", "A brown dog.", 1), ("A brown dog.", "A dog.", 1)]
    assert reasons(outcome) == {"alone with its image": 1, "duplicate": 1}


def test_per_query_draws_some_of_the_positives() -> None:
    rows = pa.table({"image": [1] * 5, "caption": [f"Dog number {n}." for n in range(5)]})
    assert derive("co-captions", rows).kept.num_rows == 20
    assert derive("co-captions", rows, per_query=2).kept.num_rows == 10


def test_headlines_of_one_text_go_together() -> None:
    rows = pa.table(
        {
            "id": ["a", "b", "c", "d", "e"],
            "title": ["Storm hits coast", "Roofs torn off", "storm hits  COAST", "Other", ""],
            "text": [STORM, STORM + " Nobody was hurt.", STORM, "The council met and talked of parking.", STORM],
        }
    )
    outcome = derive("same-source", rows)
    assert rows_of(outcome) == [("Storm hits coast", "Roofs torn off", 1), ("Roofs torn off", "Storm hits coast", 1)]
    assert reasons(outcome) == {"the same title": 1, "no other print of the text": 1, "no title": 1}
    assert outcome.kept["source_id"].to_pylist() == ["b", "a"]


def test_names_of_an_entity_are_positives_and_look_alikes_negatives() -> None:
    rows = pa.table(
        {
            "entity": ["a", "a", "b", "b", "c"],
            "name": ["Acme Steel Co.", "Acme Steel Company", "Acme Steam Co.", "Zebra Ltd", "Quartz"],
        }
    )
    found = rows_of(derive("aliases", rows))
    assert ("Acme Steel Co.", "Acme Steel Company", 1) in found
    assert ("Acme Steel Co.", "Acme Steam Co.", 0) in found
    assert [row for row in found if row[0] == "Acme Steam Co."] == [
        ("Acme Steam Co.", "Zebra Ltd", 1),
        ("Acme Steam Co.", "Acme Steel Co.", 0),
    ]
    assert [row for row in found if row[0] == "Zebra Ltd"] == [("Zebra Ltd", "Acme Steam Co.", 1)]
    assert reasons(derive("aliases", rows)) == {"no other name of its entity": 1}
    assert {label for *_, label in rows_of(derive("aliases", rows, negatives=0))} == {1}


def test_a_name_that_two_entities_share_is_never_a_negative_of_either() -> None:
    rows = pa.table({"entity": ["a", "a", "b", "b"], "name": ["Acme", "Acme One", "ACME", "Acme Two"]})
    outcome = derive("aliases", rows)
    assert reasons(outcome) == {"a name of several entities": 2, "no other name of its entity": 2}


def test_questions_about_one_text_all_get_it_with_their_turn() -> None:
    rows = pa.table({"context": ["The mill is old."], "queries": [["How old?", " ", "Who built it?", "how  OLD?"]]})
    outcome = derive("multi-queries", rows)
    assert rows_of(outcome) == [("How old?", "The mill is old.", 1), ("Who built it?", "The mill is old.", 1)]
    assert outcome.kept["turn"].to_pylist() == [0, 2]
    assert outcome.notes == {"queries skipped: blank": 1, "queries skipped: duplicate": 1}


def test_history_puts_earlier_questions_first() -> None:
    rows = pa.table({"context": ["The mill is old."], "queries": [["How old is it?", "Who built it?", "Why?"]]})
    asked = derive("multi-queries", rows, history=1, glue=" | ").kept["query"].to_pylist()
    assert asked == ["How old is it?", "How old is it? | Who built it?", "Who built it? | Why?"]


def test_one_question_to_a_row_is_read_too_and_a_question_of_two_texts_has_both() -> None:
    rows = pa.table({"context": ["Text A.", "Text B.", "Text A."], "queries": ["Why?", "Why?", "Why?"]})
    outcome = derive("multi-queries", rows)
    assert rows_of(outcome) == [("Why?", "Text A.", 1), ("Why?", "Text B.", 1)]
    assert reasons(outcome) == {"duplicate": 1}


def test_a_description_and_other_names_ask_for_the_first_paragraph() -> None:
    rows = pa.table(
        {
            "text": ["The Elbe rises in the Giant Mountains.\n\nSecond paragraph.", "Bare.", ""],
            "description": ["river in Europe", None, "x"],
            "aliases": [["Labe", "labe"], None, None],
        }
    )
    outcome = derive("descriptions", rows)
    paragraph = "The Elbe rises in the Giant Mountains."
    assert rows_of(outcome) == [("river in Europe", paragraph, 1), ("Labe", paragraph, 1)]
    assert outcome.kept["origin"].to_pylist() == ["derive:descriptions/description", "derive:descriptions/alias"]
    assert outcome.rejected["reason"].to_pylist() == ["no description", "no text"]
    assert derive("descriptions", rows, max_words=3).kept["document"].to_pylist() == ["The Elbe rises"] * 2


def test_a_phrase_asks_for_its_sentence_and_not_for_another() -> None:
    rows = pa.table(
        {
            "id": ["1", "2", "3"],
            "text": ["She met the lighthouse keeper there.", "He is in the garden now.", "Nothing."],
        }
    )
    outcome = derive("phrase-context", rows)
    found = rows_of(outcome)
    assert found[0] == ("lighthouse keeper", "She met the lighthouse keeper there.", 1)
    assert found[1][::2] == ("lighthouse keeper", 0)
    assert found[1][1] in ("He is in the garden now.", "Nothing.")
    assert reasons(outcome) == {"no phrase": 2}


def test_phrases_of_a_list_are_found_in_any_script() -> None:
    rows = pa.table({"id": ["1", "2"], "text": ["我们在北京大学学习。", "The old mill stands by the river."]})
    outcome = derive("phrase-context", rows, resources={"phrases": ["北京大学", "OLD MILL", ""]}, negatives=0)
    assert [row[0] for row in rows_of(outcome)] == ["北京大学", "old mill"]


def test_a_swapped_part_comes_with_what_is_near_far_and_other() -> None:
    parts = ["red dogs", "red dogs here", "blue cats", "green cows"]
    rows = pa.table(
        {
            "query_id": [f"q{n}" for n in range(4)],
            "query": [f"Text {n}." for n in range(4)],
            "doc_id": [f"d{n}" for n in range(4)],
            "document": parts,
            "kind": ["subject"] * 4,
            "count": pa.array([2, None, 1, None], pa.float32()),
        }
    )
    kept = derive("gcse-swap", rows, resources={"encoder": FakeEncoder()}, part_neighbours=1).kept
    assert kept["document"].to_pylist() == parts
    assert kept["near"].to_pylist()[:2] == ["red dogs here", "red dogs"]
    assert kept["near"].to_pylist() == kept["far"].to_pylist()
    for part, near, other in zip(parts, kept["near"].to_pylist(), kept["other"].to_pylist(), strict=True):
        assert len({part, near, other}) == 3
    assert kept["count"].to_pylist() == [2, None, 1, None]
    assert kept["label"].null_count == 4


def test_topics_are_never_swapped_and_a_lone_part_has_nothing_beside_it() -> None:
    rows = pa.table(
        {
            "query_id": ["q1", "q1", "q2"],
            "query": ["A dog runs.", "A dog runs.", "Rain."],
            "doc_id": ["a", "b", "c"],
            "document": ["dog", "animals", "weather"],
            "kind": ["subject", "topic", "topic"],
        }
    )
    outcome = derive("gcse-swap", rows, resources={"encoder": FakeEncoder()})
    assert outcome.kept.select(["document", "near", "far", "other"]).to_pylist() == [
        {"document": "dog", "near": None, "far": None, "other": None}
    ]
    assert reasons(outcome) == {"not a part that is swapped": 2}
    with pytest.raises(PairmineError, match="recipe gcse-swap needs --encoder"):
        derive("gcse-swap", rows)


def test_captions_may_stand_as_a_list_with_their_image() -> None:
    rows = pa.table({"image": ["a", "b"], "caption": [["A dog.", None, "A brown dog.", "a  dog."], ["A cat."]]})
    outcome = derive("co-captions", rows)
    assert rows_of(outcome) == [("A dog.", "A brown dog.", 1), ("A brown dog.", "A dog.", 1)]
    assert reasons(outcome) == {"alone with its image": 1}


@pytest.mark.parametrize(
    ("recipe", "columns"),
    [
        ("co-captions", {"image": ["x"] * 4000, "caption": [f"dog {n}" for n in range(4000)]}),
        ("aliases", {"entity": ["x"] * 4000, "name": [f"dog {n}" for n in range(4000)]}),
    ],
)
def test_a_group_too_large_for_all_its_pairs_asks_for_fewer(recipe: str, columns: dict[str, list[str]]) -> None:
    with pytest.raises(PairmineError, match=r'15,996,000 of them the 4,000 texts of "x".*--per-query'):
        derive(recipe, pa.table(columns))
    assert derive(recipe, pa.table(columns), per_query=1).kept.num_rows == 4000


def test_names_of_one_large_entity_hide_no_look_alike_of_another() -> None:
    names = [f"Acme Steel {n}" for n in range(700)]
    rows = pa.table({"entity": ["a"] * 700 + ["b"], "name": [*names, "Acme Steam 7"]})
    negatives = [row for row in rows_of(derive("aliases", rows, per_query=1, min_similarity=0.01)) if row[2] == 0]
    assert len(negatives) == 700
    assert {document for _, document, _ in negatives} == {"Acme Steam 7"}


@pytest.mark.parametrize("value", [[{"question": "When?"}], [5]])
def test_records_in_place_of_questions_are_no_queries(value: list[object]) -> None:
    rows = pa.table({"context": ["The mill was built in 1820."], "queries": [value]})
    with pytest.raises(PairmineError, match=r'"queries" holds .* where a text belongs'):
        derive("multi-queries", rows)


def test_a_list_in_place_of_a_description_is_no_query() -> None:
    rows = pa.table({"text": ["The Elbe rises."], "description": [["a river"]], "aliases": ["Labe"]})
    with pytest.raises(PairmineError, match=r'"description" holds .* where a text belongs'):
        derive("descriptions", rows)


def phrases_of(*texts: str, **options: object) -> set[str]:
    rows = pa.table({"id": [str(at) for at in range(len(texts))], "text": list(texts)})
    return set(derive("phrase-context", rows, per_document=50, negatives=0, **options).kept["query"].to_pylist())


def test_phrases_stop_at_brackets_and_numbers() -> None:
    text = "In 1909 there were 281,754 Jews (36.9%) among the market traders (mostly grain merchants) of Warsaw."
    assert phrases_of(text) == {"market traders", "mostly grain merchants"}


def test_phrases_of_scripts_without_blanks_hold_no_particles() -> None:
    assert "亜熱帯ジェット気流" in phrases_of("そのチベット高原の南側の上空を亜熱帯ジェット気流が流れる。")
    assert phrases_of("他也以高龄参加超级碗而成为史上年龄最大的四分卫。") >= {"四分卫"}


def test_a_thai_phrase_keeps_the_mark_on_its_last_letter() -> None:
    phrases = phrases_of("เจ้าหน้าที่ปกครองฝ่ายคอมมิวนิสต์ของโปแลนด์", min_words=1)
    assert any(phrase.endswith("คอมมิวนิสต์") for phrase in phrases)
    assert not any(phrase.endswith("คอมมิวนิสต") for phrase in phrases)


def test_given_phrases_are_found_whatever_their_length() -> None:
    text = "A man of the people of the old town spoke. Rain fell."
    rows = pa.table({"id": ["1"], "text": [text]})
    wanted = ["man of the people of the old town", "rain"]
    outcome = derive("phrase-context", rows, per_document=9, negatives=0, resources={"phrases": wanted})
    assert outcome.kept["query"].to_pylist() == ["man of the people of the old town", "Rain"]
    with pytest.raises(PairmineError, match="--phrases holds no phrase"):
        derive("phrase-context", rows, resources={"phrases": [" "]})
    with pytest.raises(PairmineError, match="--min-words 6 is above --max-words 5"):
        derive("phrase-context", rows, min_words=6)


def test_what_could_stand_for_a_part_is_another_part() -> None:
    count = 40
    rows = pa.table(
        {
            "query_id": [str(at) for at in range(count)],
            "query": [f"Text {at}." for at in range(count)],
            "doc_id": [str(at) for at in range(count)],
            "document": [f"part {at}" for at in range(count)],
            "label": pa.nulls(count, pa.int8()),
            "kind": ["entity"] * count,
            "type": ["x"] * count,
        }
    )
    for row in derive("gcse-swap", rows, resources={"encoder": FakeEncoder()}).kept.to_pylist():
        assert len({row["document"], row["near"], row["far"], row["other"]}) == 4
