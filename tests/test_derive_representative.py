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

from pairmine.backends.masked import FakeMaskedLM
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared" / "data"


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.kept.to_pylist()


def run(*texts: str | None, **given: Any) -> Outcome:
    return derive("representative-words", corpus(*texts), **{"skip_short": 0, **given})


def test_the_likelihood_is_that_of_the_smoothed_unigram_model() -> None:
    """mu is the mean length, (4 + 2) / 2 = 3; the background: the documents that have a word, of 2 + 1 + 1 + 1."""
    rows = made(run("Rain, rain in Oslo", "in town", draws=40))
    background = {"rain": 1 / 5, "in": 2 / 5, "oslo": 1 / 5, "town": 1 / 5}
    counts = {"d0": {"rain": 2, "in": 1, "oslo": 1}, "d1": {"in": 1, "town": 1}}
    lengths = {"d0": 4, "d1": 2}
    for row in rows:
        name = row["source_id"]
        expected = sum(
            math.log((counts[name].get(word, 0) + 3 * background[word]) / (lengths[name] + 3))
            for word in row["document"].split()
        )
        assert row["likelihood"] == pytest.approx(expected, abs=1e-5)


def test_of_two_sets_of_equal_length_the_likelier_is_the_positive() -> None:
    rows = made(run("one two three four five six seven seven seven eight", "another text with other words", draws=20))
    by_query: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_query.setdefault(row["query_id"], []).append(row)
    assert len(by_query) > 30
    for better, worse in by_query.values():
        assert (better["label"], worse["label"]) == (1, 0)
        assert better["likelihood"] > worse["likelihood"]
        sets = [row["document"].split() for row in (better, worse)]
        assert len(sets[0]) == len(sets[1]) == len(set(sets[0])) == len(set(sets[1]))


def test_words_as_the_anchor_give_a_query_for_each_set() -> None:
    rows = made(run("one two three four five", "six seven two", anchor="words", draws=3))
    assert len({row["query_id"] for row in rows}) == len(rows)
    assert {row["doc_id"] for row in rows} == {"d0", "d1"}
    assert [row["label"] for row in rows] == [1, 0] * (len(rows) // 2)
    assert rows[0]["document"] == "one two three four five"


def test_lengths_are_poisson_distributed_and_never_zero() -> None:
    words = " ".join(f"w{at} " * at for at in range(30))
    rows = made(run(words, "other words", draws=1500))
    lengths = Counter(len(row["document"].split()) for row in rows if row["label"] == 1)
    total = lengths.total()
    assert 0 not in lengths
    for length in (1, 2, 3, 4):
        chance = math.exp(-3) * 3**length / math.factorial(length) / (1 - math.exp(-3))
        assert abs(lengths[length] / total - chance) < 0.05


def test_words_of_other_documents_fill_the_vocabulary_up() -> None:
    other = " ".join(f"other{at}" for at in range(50))
    some = {
        word
        for row in made(run("one two three", other, draws=50))
        if row["source_id"] == "d0"
        for word in row["document"].split()
    }
    assert some & set(other.split())
    none = made(run("one two three three", other, draws=50, vocabulary=0))
    assert {word for row in none if row["source_id"] == "d0" for word in row["document"].split()} <= {
        "one",
        "two",
        "three",
    }


def test_short_documents_are_left_out_four_times_in_five() -> None:
    short, long = "one two three two", " ".join(f"w{at % 90}" for at in range(120))
    outcome = derive("representative-words", corpus(*[short] * 500, long))
    reasons = Counter(outcome.rejected["reason"].to_pylist())
    assert 360 < reasons["short document"] < 440
    assert "d500" in outcome.kept["source_id"].to_pylist()


def test_stop_words_and_rare_words_are_never_drawn() -> None:
    drawn = {
        word
        for row in made(run("the river the hill", "The river rose", draws=40, resources={"stopwords": ["the ", ""]}))
        for word in row["document"].split()
    }
    assert drawn == {"river", "hill", "rose"}
    twice = made(run("the river the hill", "The river rose", draws=40, min_count=2))
    assert {word for row in twice for word in row["document"].split()} <= {"the", "river"}


def test_a_document_without_two_words_is_rejected() -> None:
    outcome = run("", None, "!!!", "alone", "one two three", vocabulary=0)
    assert outcome.rejected["reason"].to_pylist() == [
        *("no text", "no text", "too few words", "too few words", "all words equally likely")
    ]
    assert outcome.kept.num_rows == 0


def test_attention_takes_the_place_of_counts_as_in_bprop() -> None:
    """Two documents; the attention to a word is given, 0.01 for all, so each is saturated to v / (v + 0.01)."""

    class Even(FakeMaskedLM):
        def attention(self, texts: Any) -> list[np.ndarray]:
            return [np.full(len(spans), 0.01, np.float32) for spans in self.spans(texts)]

    rows = made(run("Rain, rain in Oslo", "in town 12", draws=30, resources={"mlm": Even()}))
    once, twice = 0.5, 2 / 3  # 0.01 / 0.02 and 0.02 / 0.03
    weights = {"d0": {"rain": twice, "in": once, "oslo": once}, "d1": {"in": once, "town": once}}
    total = twice + 4 * once
    mean = {"rain": twice / total, "in": 2 * once / total, "oslo": once / total, "town": once / total}
    assert {word for row in rows for word in row["document"].split()} == {"rain", "in", "oslo", "town"}
    for row in rows:
        name = row["source_id"]
        summed = sum(weights[name].values())
        expected = sum(weights[name][word] / summed * -math.log2(mean[word]) for word in row["document"].split())
        assert row["likelihood"] == pytest.approx(expected, abs=1e-5)


def test_words_of_chinese_and_thai_are_those_of_a_dictionary() -> None:
    rows = made(run("我们在北京大学学习。我们学习。", "ประเทศไทยมีฝนตกหนัก ประเทศไทย", draws=20, vocabulary=0))
    words = {word for row in rows for word in row["document"].split()}
    assert {"我们", "北京", "大学", "学习"} <= words
    assert {"ฝน", "มี", "ตกหนัก", "ประเทศไทย"} <= words


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections in ../shared/data")
def test_preferred_sets_of_real_abstracts_stand_in_them_more_often() -> None:
    with gzip.open(SHARED / "cisi" / "corpus.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines][::5]
    rows = made(derive("representative-words", corpus(*texts)))
    found = {1: 0, 0: 0}
    for row in rows:
        text = row["query"].casefold()
        found[row["label"]] += sum(word in text for word in row["document"].split())
    assert found[1] > 1.15 * found[0]
