from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.stages.derive import derive
from pairmine.text import sentences

FLOOD = "It rained all day in the hills. The river rose by two metres in one night. Nobody was hurt by the flood."
LINKED = "It rained all day. However, nobody in town was hurt. For example, the mill stood dry. The road was open."


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(recipe: str, *texts: str | None, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    return derive(recipe, corpus(*texts), seed=seed, **options).kept.to_pylist()


def reasons(recipe: str, *texts: str | None, **options: Any) -> list[str]:
    return derive(recipe, corpus(*texts), **options).rejected["reason"].to_pylist()


def test_two_neighbours_come_in_order_or_turned_around_as_often() -> None:
    first, second, third = sentences(FLOOD)
    labels = Counter[int]()
    for seed in range(100):
        rows = made("discourse", FLOOD, seed=seed, kinds="order", per_document=0)
        in_order = {(first, second), (second, third)}
        for row in rows:
            assert ((row["query"], row["document"]) in in_order) == (row["label"] == 1)
            assert ((row["document"], row["query"]) in in_order) == (row["label"] == 0)
            labels[row["label"]] += 1
    assert labels[0] + labels[1] == 200
    assert min(labels.values()) > 70


def test_the_next_sentence_stands_among_later_ones() -> None:
    text = " ".join(f"This is sentence {at}." for at in range(6))
    rows = made("discourse", text, kinds="next", per_document=0)
    assert [(row["query_id"], row["doc_id"], row["label"]) for row in rows] == [
        ("d0#n0", "d0#p3", 1),
        ("d0#n0", "d0#p4", 0),
        ("d0#n0", "d0#p5", 0),
        ("d0#n1", "d0#p4", 1),
        ("d0#n1", "d0#p5", 0),
    ]
    assert rows[0]["query"] == "This is sentence 0. This is sentence 1. This is sentence 2."
    assert len(made("discourse", text, kinds="next", candidates=2, context_sentences=1, per_document=1)) == 2


def test_a_connective_is_taken_off_and_kept_with_its_kind() -> None:
    rows = made("discourse", LINKED, kinds="conjunction")
    found = [(row["query"], row["document"], row["connective"], row["link"], row["label"]) for row in rows]
    assert found == [
        ("It rained all day.", "nobody in town was hurt.", "however", "contrast", 1),
        ("However, nobody in town was hurt.", "the mill stood dry.", "for example", "specific", 1),
    ]
    assert LINKED[rows[1]["start"] : rows[1]["end"]] == "the mill stood dry."


def test_a_word_that_only_begins_like_a_connective_is_none() -> None:
    assert reasons(
        "discourse", "It rained all day. Sonic booms were heard too. Thusly he spoke.", kinds="conjunction"
    ) == ["no example of any kind"]


@pytest.mark.parametrize(
    "sentence",
    [
        "In contrast to the rest it was cold.",
        "Further studies of the mill were made.",
        "That is why the mill stood still.",
        "Rather than go home we stayed there.",
        "Also known as the old mill of stone.",
        "Clearly defined costs are good to have.",
        "So far nobody in town was hurt.",
        "So-called experts said that it was cold.",
        "Thus far nobody in town was hurt.",
        "Although it rained, nobody in town was hurt.",
    ],
)
def test_words_that_do_other_work_at_the_start_of_a_sentence_are_no_connectives(sentence: str) -> None:
    assert reasons("discourse", f"It rained all day. {sentence}", kinds="conjunction") == ["no example of any kind"]


def test_connectives_can_be_those_of_another_language() -> None:
    text = "雨が一日中降った。しかし、誰も怪我をしなかった。Es regnete den ganzen Tag. Aber niemand war dort verletzt."
    lexicon = {"しかし": ("contrast",), "Aber": ("contrast",)}
    rows = derive("discourse", corpus(text), kinds="conjunction", resources={"connectives": lexicon}).kept.to_pylist()
    assert [(row["document"], row["connective"]) for row in rows] == [
        ("誰も怪我をしなかった。", "しかし"),
        ("niemand war dort verletzt.", "aber"),
    ]


def test_a_kind_that_does_not_exist_is_an_error() -> None:
    assert made("discourse", FLOOD, kinds="order, order") == made("discourse", FLOOD, kinds="order")
    with pytest.raises(PairmineError, match="--kinds is 'order,topic'; give some of order, next, conjunction"):
        made("discourse", FLOOD, kinds="order,topic")
    assert reasons("discourse", "Only one sentence stands here.", "No. Yes. Oh.", "") == [
        "only one sentence",
        "no example of any kind",
        "no text",
    ]


def test_a_paragraph_contains_its_own_sentence_and_not_that_of_another_document() -> None:
    mill = "The mill has been closed for years. Its wheel is of oak."
    for seed in range(20):
        rows = made("contains", FLOOD, mill, seed=seed)
        assert [(row["query"], row["label"], row["origin"]) for row in rows] == [
            (FLOOD, 1, "derive:contains/own"),
            (FLOOD, 0, "derive:contains/foreign"),
            (mill, 1, "derive:contains/own"),
            (mill, 0, "derive:contains/foreign"),
        ]
        for row in rows:
            assert (row["document"] in row["query"]) == (row["label"] == 1)
            assert row["document"] in sentences(FLOOD) + sentences(mill)


def test_a_foreign_sentence_can_come_from_another_paragraph_of_the_document() -> None:
    text = (
        "The mill has closed for good. Its wheel is of oak.\n\nThe river is slow. It freezes every winter.\n\nA title"
    )
    rows = made("contains", text, "Another document is here. It has two sentences.", foreign_from="document")
    own = [row for row in rows if row["source_id"] == "d0"]
    assert len(own) == 4
    for row in own:
        assert text[row["start"] : row["end"]] == row["document"]
        assert (row["document"] in row["query"]) == (row["label"] == 1)
    # The second document has no other paragraph.
    assert [row["label"] for row in rows if row["source_id"] == "d1"] == [1]


def test_a_copy_elsewhere_is_no_foreign_sentence() -> None:
    rows = made("contains", FLOOD, FLOOD.upper())
    assert [row["label"] for row in rows] == [1, 1]


def test_documents_without_two_sentences_in_a_paragraph_are_told() -> None:
    assert reasons("contains", "One sentence stands here.\n\nAnother one stands there.", " ", None) == [
        "no paragraph of two sentences",
        "no text",
        "no text",
    ]


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        (
            "The river rose by two metres in one night, because it had rained all day in the hills.",
            "The river rose by two metres in one night",
            "because it had rained all day in the hills.",
        ),
        (
            "If you want to go there, take the bus that leaves at nine.",
            "If you want to go there",
            "take the bus that leaves at nine.",
        ),
        (
            "We bought apples, pears, and plums, and then we went home.",
            "We bought apples, pears, and plums",
            "and then we went home.",
        ),
        (
            "He left the old house; she stayed in it, as always.",
            "He left the old house",
            "she stayed in it, as always.",
        ),
        ("The cat slept while the dog watched the door.", "The cat slept", "while the dog watched the door."),
        (
            "Der Zug kam zu spät, weil die Strecke gesperrt war.",
            "Der Zug kam zu spät",
            "weil die Strecke gesperrt war.",
        ),
        (
            "雨が降ったので、試合は中止になり、みんな家に帰った。",
            "雨が降ったので、試合は中止になり",
            "みんな家に帰った。",
        ),
        (
            "The sea was dry land, mainly because the ice of the north held the water.",
            "The sea was dry land",
            "mainly because the ice of the north held the water.",
        ),
        (
            "The sea was dry land mainly because the ice held the water.",
            "The sea was dry land",
            "mainly because the ice held the water.",
        ),
        (
            "The plague of 1576–77 killed 50,000 in Venice, almost a third of the population.",
            "The plague of 1576–77 killed 50,000 in Venice",
            "almost a third of the population.",
        ),
        (
            "He stayed in the old house—nobody knew why he did.",
            "He stayed in the old house",
            "nobody knew why he did.",
        ),
        ("药房技术员一旦取得资格 ，必须在委员会注册为专家。", "药房技术员一旦取得资格", "必须在委员会注册为专家。"),
    ],
)
def test_a_sentence_is_cut_where_a_clause_ends(text: str, left: str, right: str) -> None:
    rows = made("split", text, cutouts=0, satellite_drop=0)
    assert [(row["query"], row["document"], row["label"]) for row in rows] == [(text, left, 1), (text, right, 1)]
    assert [row["origin"] for row in rows] == ["derive:split/left", "derive:split/right"]
    assert [text[row["start"] : row["end"]] for row in rows] == [left, right]


def test_a_comma_in_brackets_or_in_a_number_ends_no_clause() -> None:
    texts = (
        "The model (which was trained on text, images, and code) is quite large.",
        "About 1,000 people came to the show.",
    )
    assert reasons("split", *texts) == ["no clause ends inside"] * 2
    halves = [row["document"] for row in made("split", texts[1], fallback="middle", cutouts=0)]
    assert halves == ["About 1,000 people", "came to the show."]


def test_one_satellite_in_five_gives_no_row_and_a_nucleus_always_does() -> None:
    text = "The river rose by two metres, because it had rained all day."
    rows = made("split", *[text] * 2000, cutouts=0)
    sides = Counter(row["origin"] for row in rows)
    assert sides["derive:split/left"] == 2000
    assert 1540 < sides["derive:split/right"] < 1660
    equal = made("split", *["The river rose by two metres, and the bridge was closed."] * 50, cutouts=0)
    assert len(equal) == 100


def test_a_cutout_lacks_one_stretch_of_words_and_is_a_negative() -> None:
    text = " ".join(f"w{at}" for at in range(10)) + ", " + " ".join(f"w{at}" for at in range(10, 20))
    words = [word.rstrip(",") for word in text.split()]
    for seed in range(30):
        (row,) = [row for row in made("split", text, seed=seed) if row["label"] == 0]
        left = [word.rstrip(",") for word in row["document"].split()]
        assert 4 <= len(words) - len(left) <= 10
        first = next((at for at in range(len(left)) if left[at] != words[at]), len(left))
        assert left == words[:first] + words[first + len(words) - len(left) :]
        assert row["start"] is None


def test_a_short_opening_phrase_and_an_item_of_a_chinese_list_are_no_clauses() -> None:
    texts = (
        "そのため、しとしととあまり強くない雨を長時間降らせる。",
        "他描述了不少于七百种制剂以及它们的性质、作用方式和适应症。",
    )
    assert reasons("split", *texts) == ["no clause ends inside"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "It rained all day, and we stayed home.",
        "Both cities are governed by a mayor – but in the communes the mayor is called otherwise.",
        "According to the articles 9 and 10, the EU observes the principle of equality.",
        "公立学校的教师必须拥有学士学位 ，并且大多数教师必须获得他们任教的州的认证。",
    ],
)
def test_no_cutout_holds_a_whole_clause_or_is_a_piece_of_one(text: str) -> None:
    for seed in range(50):
        rows = made("split", text, seed=seed, cutouts=3, satellite_drop=0)
        clauses = [row["document"] for row in rows if row["label"] == 1]
        cutouts = [row["document"] for row in rows if row["label"] == 0]
        assert len(clauses) == 2
        assert cutouts
        assert len(set(cutouts)) == len(cutouts)
        for cutout in cutouts:
            assert not any(clause in cutout or cutout in clause for clause in clauses)


def test_cutouts_of_a_wrong_size_are_an_error() -> None:
    with pytest.raises(PairmineError, match=r"--min-cut 0\.6 is above --max-cut 0\.5; lower it"):
        made("split", FLOOD, min_cut=0.6)


@pytest.mark.parametrize("piece", ["- ", "a, ", "(a, b ", "、", "because ", "however, "])
@pytest.mark.parametrize("recipe", ["split", "discourse"])
def test_no_text_takes_longer_than_its_length_explains(recipe: str, piece: str) -> None:
    started = time.perf_counter()
    made(recipe, piece * 20_000)
    assert time.perf_counter() - started < 5
