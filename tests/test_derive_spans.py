from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.stages.derive import derive
from pairmine.stages.derive.cuts import paragraphs, word_starts
from pairmine.text import count_words, sentences

SHARED = Path(__file__).parents[2] / "shared"
FLOOD = "It rained all day in the hills. The river rose by two metres in one night. Nobody was hurt by the flood."
NUMBERS = " ".join(f"w{at}" for at in range(4096))


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(recipe: str, *texts: str | None, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    return derive(recipe, corpus(*texts), seed=seed, **options).kept.to_pylist()


def reasons(recipe: str, *texts: str | None, **options: Any) -> list[str]:
    return derive(recipe, corpus(*texts), **options).rejected["reason"].to_pylist()


def numbers(text: str) -> tuple[int, int]:
    """The first and last word of a stretch of NUMBERS."""
    words = text.split()
    return int(words[0][1:]), int(words[-1][1:])


def test_words_start_where_they_stand_in_the_text() -> None:
    for text in ("one two", " one\n two  three ", "我们在北京大学学习。OK then", "word", "ab  cd"):
        starts = word_starts(text)
        cuts = [text[a:b].rstrip() for a, b in pairwise(starts)]
        assert starts[-1] == len(text)
        assert "".join(cuts) == "".join(text.split())
    assert word_starts("Cut  me.") == [0, 5, 8]


def test_paragraphs_are_what_blank_lines_part() -> None:
    text = "\n one\ntwo\n \n\nthree\n"
    assert [text[a:b] for a, b in paragraphs(text)] == ["one\ntwo", "three"]
    assert list(paragraphs(" \n ")) == []


def test_spans_have_two_anchors_with_two_positives_each_of_the_published_lengths() -> None:
    for seed in range(20):
        rows = made("spans", NUMBERS, seed=seed)
        assert [row["query_id"] for row in rows] == ["d0#q0", "d0#q0", "d0#q1", "d0#q1"]
        assert [row["doc_id"] for row in rows] == ["d0#p0", "d0#p1", "d0#p2", "d0#p3"]
        for row in rows:
            assert NUMBERS[row["query_start"] : row["query_end"]] == row["query"]
            assert NUMBERS[row["start"] : row["end"]] == row["document"]
            assert 32 <= count_words(row["query"]) <= 512
            assert 32 <= count_words(row["document"]) <= 512


def test_a_positive_overlaps_touches_or_lies_within_its_anchor() -> None:
    for seed in range(50):
        for row in made("spans", NUMBERS, seed=seed):
            (first, last), (start, end) = numbers(row["query"]), numbers(row["document"])
            assert start <= last + 1
            assert end >= first - 1


def test_adjacent_positives_touch_and_subsumed_ones_lie_within() -> None:
    sides = Counter[bool]()
    for seed in range(50):
        for row in made("spans", NUMBERS, seed=seed, positives="adjacent"):
            (first, last), (start, end) = numbers(row["query"]), numbers(row["document"])
            assert end == first - 1 or start == last + 1
            sides[start > last] += 1
        for row in made("spans", NUMBERS, seed=seed, positives="subsumed"):
            (first, last), (start, end) = numbers(row["query"]), numbers(row["document"])
            assert first <= start <= end <= last
    assert min(sides[True], sides[False]) > 60


def test_anchors_are_longer_than_positives_as_their_beta_distributions_say() -> None:
    rows = [row for seed in range(200) for row in made("spans", NUMBERS, seed=seed, views=2)]
    anchors = sum(count_words(row["query"]) for row in rows) / len(rows)
    positives = sum(count_words(row["document"]) for row in rows) / len(rows)
    # 32 + 480 * 4/6 and 32 + 480 * 2/6
    assert 335 < anchors < 369
    assert 176 < positives < 208


def test_spans_of_two_anchors_never_meet() -> None:
    for seed in range(30):
        rows = made("spans", NUMBERS, seed=seed)
        for row in rows:
            half = row["query_id"] == "d0#q1"
            for side in ("query", "document"):
                assert all((word >= 2048) == half for word in numbers(row[side]))


def test_a_document_needs_twice_the_room_of_its_anchors() -> None:
    assert reasons("spans", " ".join(["word"] * 2047)) == ["fewer than 2048 words, 2 x --anchors x --max-words"]
    assert reasons("spans", FLOOD, anchors=1, min_words=2, max_words=12) == [
        "fewer than 24 words, 2 x --anchors x --max-words"
    ]
    assert made("spans", FLOOD, anchors=1, min_words=2, max_words=11)


def test_a_text_of_one_word_repeated_has_no_two_different_spans() -> None:
    text = "la " * 40
    assert reasons("spans", text, anchors=1, min_words=3, max_words=3) == ["no two different spans"]
    assert reasons("spans", "* " * 40, anchors=1, min_words=3, max_words=9) == ["no two different spans"]


def test_spans_of_japanese_and_thai_are_cut_between_words() -> None:
    for text in (
        "梅雨は東アジアの雨季である。五月から七月にかけて雨の多い日が続く。",
        "ประเทศเป็นที่รู้จักดีในเรื่องความเด่นในการกรีฑาระยะกลางและระยะไกล",
    ):
        words = {text[a:b] for a, b in pairwise(word_starts(text))}
        for row in made("spans", text, anchors=1, min_words=1, max_words=4):
            assert any(row["document"].startswith(word) for word in words)
            assert row["document"] in text


def test_spans_can_be_counted_in_the_tokens_of_a_model() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 2}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    text = "abc " * 20
    resources = {"tokenizer": tokenizer}
    options = {"anchors": 1, "min_words": 6, "max_words": 30}
    outcome = derive("spans", corpus(text, "abc " * 19), resources=resources, views=2, **options)
    assert outcome.rejected["reason"].to_pylist() == ["fewer than 60 tokens, 2 x --anchors x --max-words"]
    for row in outcome.kept.to_pylist():
        for side in ("query", "document"):
            assert set(row[side].split()) == {"abc"}
            assert 1 <= len(row[side].split()) <= 10


def test_spans_with_limits_the_wrong_way_around_are_an_error() -> None:
    with pytest.raises(PairmineError, match="--min-words 32 is above --max-words 9; lower it"):
        made("spans", FLOOD, max_words=9)


def test_a_window_pairs_each_sentence_with_one_near_it() -> None:
    first, second, third = sentences(FLOOD)
    for seed in range(20):
        rows = made("context-window", FLOOD, seed=seed, window=1)
        assert [(row["query"], row["distance"]) for row in rows][::2] == [(first, 1), (third, -1)]
        assert (rows[1]["query"], rows[1]["document"]) in {(second, first), (second, third)}


def test_a_window_gives_as_many_views_as_it_has_and_no_copy_of_the_query() -> None:
    rows = made("context-window", FLOOD, views=9)
    assert [(row["query_id"], row["doc_id"], row["distance"]) for row in rows] == [
        ("d0#q0", "d0#p1", 1),
        ("d0#q0", "d0#p2", 2),
        ("d0#q1", "d0#p0", -1),
        ("d0#q1", "d0#p2", 1),
        ("d0#q2", "d0#p0", -2),
        ("d0#q2", "d0#p1", -1),
    ]
    assert reasons("context-window", "It rained all day. IT rained all day. Oh.", "One sentence only.", "No. Yes.") == [
        "no two different sentences in a window",
        "only one sentence",
        "too short",
    ]


def test_a_short_sentence_counts_as_distance_and_is_no_row() -> None:
    rows = made("context-window", "It rained all day. Oh no. Well then. The river rose by night.", window=3)
    assert [(row["doc_id"], row["distance"]) for row in rows] == [("d0#p3", 3), ("d0#p0", -3)]
    assert reasons("context-window", "It rained all day. Oh no. Well then. The river rose by night.") == [
        "no two different sentences in a window"
    ]


def test_a_triple_is_in_order_and_says_when_its_middle_comes() -> None:
    text = " ".join(f"This is sentence number {at}." for at in range(11))
    for seed in range(20):
        middle, end = made("ordered-triples", text, seed=seed)
        assert middle["query"] == end["query"]
        places = [int(each.rstrip(".").split()[-1]) for each in (middle["query"], middle["document"], end["document"])]
        assert places == sorted(set(places))
        assert middle["time"] == pytest.approx((places[1] - places[0]) / (places[2] - places[0]))
        assert end["time"] == 1
        assert (middle["origin"], end["origin"]) == ("derive:ordered-triples/middle", "derive:ordered-triples/end")


def test_three_sentences_have_one_triple_and_two_have_none() -> None:
    rows = made("ordered-triples", FLOOD, per_document=5)
    first, second, third = sentences(FLOOD)
    assert [(row["query"], row["document"], row["time"]) for row in rows] == [(first, second, 0.5), (first, third, 1.0)]
    assert reasons("ordered-triples", "It rained all day. It RAINED all day. It stopped at night.", "") == [
        "fewer than three sentences",
        "no text",
    ]


@pytest.mark.skipif(not (SHARED / "data/scifact").exists(), reason="needs the real corpora in ../shared/data")
@pytest.mark.parametrize("name", ["scifact", "jsquad"])
@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("spans", {"anchors": 1, "min_words": 3, "max_words": 20}),
        ("context-window", {"views": 3}),
        ("ordered-triples", {"per_document": 2}),
        ("discourse", {}),
        ("split", {"cutouts": 0}),
        ("outline", {"markup": "none"}),
    ],
)
@pytest.mark.slow
def test_real_corpora_give_rows_that_stand_where_they_say(name: str, recipe: str, options: dict[str, Any]) -> None:
    with gzip.open(SHARED / "data" / name / "corpus.jsonl.gz", "rt") as lines:
        documents = [json.loads(line) for line in lines][::7]
    texts = {document["_id"]: document["text"] for document in documents}
    titles = [document.get("title") or "A title" for document in documents]
    rows = pa.table({"id": list(texts), "title": titles, "text": list(texts.values())})
    kept = derive(recipe, rows, **options).kept.to_pylist()
    assert len({row["source_id"] for row in kept}) > 0.3 * len(texts)
    for row in kept:
        text = texts[row["source_id"]]
        assert text[row["start"] : row["end"]] == row["document"]
        if recipe != "outline":
            assert text[row["query_start"] : row["query_end"]] == row["query"]
            assert row["query"] != row["document"]
