from __future__ import annotations

import gc
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive
from pairmine.text import count_words, sentences, word_pieces

SHARED = Path(__file__).parents[2] / "shared"
FLOOD = "It rained all day in the hills. The river rose by two metres in one night. Nobody was hurt by the flood."
NUMBERS = " ".join(f"w{at}" for at in range(1000))


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict]:  # type: ignore[type-arg]
    return outcome.kept.to_pylist()


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def test_crops_are_stretches_of_one_chunk_within_the_ratios() -> None:
    for seed in range(40):
        for row in made(derive("crops", corpus(NUMBERS), seed=seed, delete=0)):
            chunk = int(row["query_id"].removeprefix("d0#q"))
            assert row["doc_id"] == f"d0#p{chunk}"
            for side in (row["query"], row["document"]):
                assert side in NUMBERS
                numbers = [int(word[1:]) for word in side.split()]
                assert 250 * chunk <= numbers[0] <= numbers[-1] < 250 * (chunk + 1)
                assert 25 <= len(numbers) <= 125


def test_a_text_longer_than_a_chunk_gives_a_pair_for_each_equal_part() -> None:
    assert len(made(derive("crops", corpus(NUMBERS)))) == 4
    assert len(made(derive("crops", corpus(NUMBERS), chunk_words=1000))) == 1


def test_one_word_in_ten_is_deleted_from_each_crop() -> None:
    def words_of_crops(delete: float) -> int:
        outcomes = [derive("crops", corpus(NUMBERS), seed=seed, delete=delete) for seed in range(200)]
        return sum(count_words(row["query"] + " " + row["document"]) for each in outcomes for row in made(each))

    assert 0.87 < words_of_crops(0.1) / words_of_crops(0) < 0.93


def test_deleting_a_word_leaves_one_blank_and_keeps_the_order() -> None:
    for row in made(derive("crops", corpus(NUMBERS), delete=0.5)):
        assert "  " not in row["document"]
        numbers = [int(word[1:]) for word in row["document"].split(" ")]
        assert numbers == sorted(numbers)


def test_more_views_are_more_documents_of_one_query() -> None:
    rows = made(derive("crops", corpus(NUMBERS), views=4))
    assert [row["query_id"] for row in rows] == [f"d0#q{chunk}" for chunk in range(4) for _ in range(3)]
    assert [row["doc_id"] for row in rows] == [f"d0#p{at}" for at in range(12)]
    assert len({row["query"] for row in rows}) == 4


def test_no_pair_is_a_text_with_itself() -> None:
    for seed in range(200):
        for row in made(derive("crops", corpus("one two three four five six seven"), seed=seed, views=3)):
            assert row["query"] != row["document"]
    assert reasons(derive("crops", corpus("la la la la la la la la"), delete=0, max_ratio=0.1)) == [
        "no two different crops"
    ]


def test_a_text_too_short_for_two_crops_is_rejected() -> None:
    assert reasons(derive("crops", corpus("five words are too few", "", None))) == ["too short", "no text", "no text"]
    assert made(derive("crops", corpus("six words are just about enough")))


def test_a_text_without_blanks_is_cut_between_words() -> None:
    japanese = "梅雨は北海道を除く東アジアの広範囲においてみられる特有の気象現象で五月から七月にかけて来る"
    pieces, _ = word_pieces(japanese)
    runs = {"".join(pieces[a:b]) for a in range(len(pieces)) for b in range(a + 3, len(pieces) + 1)}
    for seed in range(30):
        for row in made(derive("crops", corpus(japanese), seed=seed, delete=0)):
            for side in (row["query"], row["document"]):
                assert side in runs
                assert len(side) < len(japanese)


def test_thai_crops_never_part_a_letter_from_its_vowel_sign() -> None:
    thai = "ประเทศเป็นที่รู้จักดีในเรื่องความเด่นในการกรีฑาระยะกลางและระยะไกล"
    for seed in range(30):
        for row in made(derive("crops", corpus(thai), seed=seed, delete=0)):
            assert row["query"][0] not in "ะาิีึืฺุู่้๊๋็์ำ"
            assert row["query"][-1] not in "เแโใไ"


def test_a_row_of_stars_is_no_query() -> None:
    assert reasons(derive("crops", corpus("* " * 50))) == ["no two different crops"]


def test_the_original_spacing_stays_inside_a_crop() -> None:
    text = "first line\nsecond\tline  with two blanks\n\nthird line of the text"
    for seed in range(30):
        for row in made(derive("crops", corpus(text), seed=seed, delete=0)):
            assert row["document"] in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_ratio": 0.6}, "--min-ratio 0.6 is above --max-ratio 0.5; lower it"),
        (
            {"chunk_words": 10, "min_words": 6},
            "--chunk-words 10 has no room for crops of --min-words 6; double it at least",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_an_error(options: dict[str, float], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive("crops", corpus(NUMBERS), **options)
    assert str(error.value) == message


def test_ict_takes_a_sentence_out_of_its_passage() -> None:
    rows = made(derive("ict", corpus(FLOOD), per_document=3, keep=0))
    first, second, third = sentences(FLOOD)
    assert [(row["query"], row["document"]) for row in rows] == [
        (first, f"{second} {third}"),
        (second, f"{first} {third}"),
        (third, f"{first} {second}"),
    ]
    assert [(row["query_id"], row["doc_id"]) for row in rows] == [(f"d0#q{at}", f"d0#p{at}") for at in range(3)]


def test_ict_leaves_the_sentence_in_one_passage_of_ten() -> None:
    rows = made(derive("ict", corpus(*[FLOOD] * 2000)))
    kept = [row for row in rows if row["query"] in row["document"]]
    assert 150 < len(kept) < 250
    assert all(row["doc_id"] == row["source_id"] and row["document"] == FLOOD for row in kept)
    assert all(row["doc_id"].startswith(row["source_id"] + "#p") for row in rows if row not in kept)


def test_ict_cuts_a_long_document_into_passages_of_whole_sentences() -> None:
    text = " ".join(f"Sentence number {at} has exactly eight words here." for at in range(100))
    rows = made(derive("ict", corpus(text), per_document=100, passage_words=80, keep=0.5))
    assert len(rows) == 100
    for row in rows:
        assert count_words(row["document"]) <= 80
        assert count_words(row["document"]) >= 40
        assert row["document"].startswith("Sentence number")
        near = int(row["query"].split()[2])
        assert all(abs(int(part.split()[0]) - near) < 10 for part in row["document"].split("number ")[1:])


def test_ict_works_without_blanks_and_across_paragraphs() -> None:
    rows = made(derive("ict", corpus("梅雨は雨季である。五月から七月まで続く。"), per_document=2, keep=0))
    assert rows[0]["document"] == "五月から七月まで続く。"
    text = "The first paragraph ends here.\n\nThe second has this. And it has that too."
    rows = made(derive("ict", corpus(text), per_document=3, keep=0))
    assert rows[1]["document"] == "The first paragraph ends here.\n\nAnd it has that too."


def test_ict_needs_two_sentences_and_a_query_of_some_words() -> None:
    outcome = derive(
        "ict", corpus("Only one sentence stands in here.", "No. Yes. Maybe so.", "Oh. The rest is longer.")
    )
    assert reasons(outcome) == ["only one sentence", "too short", "too short"]


def test_adjacent_pairs_each_sentence_with_the_next() -> None:
    rows = made(derive("adjacent", corpus(FLOOD)))
    first, second, third = sentences(FLOOD)
    assert [(row["query"], row["document"]) for row in rows] == [(first, second), (second, third)]
    assert [(row["query_id"], row["doc_id"]) for row in rows] == [("d0#q0", "d0#p1"), ("d0#q1", "d0#p2")]


def test_adjacent_leaves_out_short_and_repeated_neighbours() -> None:
    text = "Ah. It rained all day. It  RAINED all day. The river rose by night."
    rows = made(derive("adjacent", corpus(text)))
    assert [row["query"] for row in rows] == ["It  RAINED all day."]


def test_adjacent_can_draw_a_few_pairs_of_each_document() -> None:
    text = " ".join(f"Sentence number {at} is here." for at in range(50))
    few = made(derive("adjacent", corpus(text, FLOOD), per_document=3))
    assert [row["source_id"] for row in few] == ["d0"] * 3 + ["d1"] * 2
    everything = made(derive("adjacent", corpus(text, FLOOD)))
    assert all(row in everything for row in few)


def test_adjacent_can_take_the_next_two_sentences_of_a_run() -> None:
    rows = made(derive("adjacent", corpus(FLOOD), views=3))
    first, second, third = sentences(FLOOD)
    assert [(row["query"], row["document"]) for row in rows] == [(first, second), (first, third), (second, third)]
    assert [row["doc_id"] for row in rows] == ["d0#p1", "d0#p2", "d0#p2"]


def test_cuts_say_where_they_stand() -> None:
    row = made(derive("adjacent", corpus(FLOOD), per_document=1, seed=1))[0]
    assert FLOOD[row["query_start"] : row["query_end"]] == row["query"]
    first = made(derive("ict", corpus(FLOOD), per_document=3, keep=0))
    places = [(row["query_start"], row["query_end"], row["start"], row["end"]) for row in first]
    # The rest around the middle sentence is no one stretch.
    assert places == [(0, 31, 32, 104), (32, 74, None, None), (75, 104, 0, 74)]
    kept = made(derive("ict", corpus(FLOOD), per_document=1, keep=1))[0]
    assert (kept["start"], kept["end"]) == (0, len(FLOOD))


@pytest.mark.parametrize("text", [NUMBERS, f"  {FLOOD}\n{FLOOD}", "梅雨は東アジアの雨季である。" * 9])
def test_a_crop_says_where_it_stands_unless_it_lost_a_word(text: str) -> None:
    for row in made(derive("crops", corpus(text), delete=0)):
        assert text[row["query_start"] : row["query_end"]] == row["query"]
        assert text[row["start"] : row["end"]] == row["document"]
    for row in made(derive("crops", corpus(text), delete=0.1)):
        assert (row["start"] is None) == (row["end"] is None) == (row["document"] not in text)


def test_crops_of_a_given_seed_stay_the_same_from_version_to_version() -> None:
    row = made(derive("crops", corpus(FLOOD), seed=0))[0]
    assert (row["query"], row["document"]) == (
        "river rose by two metres",
        "It rained all day in the hills. The",
    )


@pytest.mark.skipif(not (SHARED / "data/cisi").exists(), reason="needs the real corpora in ../shared/data")
@pytest.mark.parametrize("name", ["cisi", "xquad", "jsquad"])
@pytest.mark.parametrize("recipe", ["crops", "ict", "adjacent"])
@pytest.mark.slow
def test_real_corpora_give_pairs_whose_parts_stand_in_their_document(name: str, recipe: str) -> None:
    with gzip.open(SHARED / "data" / name / "corpus.jsonl.gz", "rt") as lines:
        documents = [json.loads(line) for line in lines][::3]
    texts = {document["_id"]: document["text"] for document in documents}
    rows = pa.table({"id": list(texts), "text": list(texts.values())})
    outcome = derive(recipe, rows, **({"delete": 0} if recipe == "crops" else {}))
    pairs = made(outcome)
    assert len({row["source_id"] for row in pairs}) > 0.9 * len(texts)
    for row in pairs:
        assert row["query"] in texts[row["source_id"]]
        assert row["query"] != row["document"]
        if recipe != "ict":
            assert row["document"] in texts[row["source_id"]]


def test_derive_leaves_the_garbage_collector_as_it_was() -> None:
    before = gc.get_threshold()
    derive("adjacent", corpus(FLOOD))
    with pytest.raises(PairmineError):
        derive("crops", corpus(FLOOD), min_ratio=0.6)
    assert gc.get_threshold() == before


def test_a_sentence_of_three_words_is_too_short_in_any_script() -> None:
    text = "彼は村の水車小屋で生まれた。議会は一院制。川は一晩で二メートルも上がった。"
    pairs = made(derive("adjacent", corpus(text)))
    assert pairs == []
    assert [row["document"] for row in made(derive("context-window", corpus(text)))] == [
        "川は一晩で二メートルも上がった。",
        "彼は村の水車小屋で生まれた。",
    ]
    assert all(row["query"] != "議会は一院制。" for row in made(derive("ict", corpus(text), per_document=5)))
    assert len(made(derive("adjacent", corpus(text), min_words=3))) == 2
