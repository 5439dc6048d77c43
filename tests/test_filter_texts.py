"""Text rules of `filter`: plain documents, near copies, minimal edits, and the distances under them."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import TEXT
from pairmine.stages.filter import filter_pairs
from pairmine.stages.filter.surface import alike, measured, word_distance, word_ratio
from pairmine.stages.filter.texts import count_clauses

DATA = Path(__file__).parents[2] / "shared" / "data"
SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
    ]
)


def table(rows: list[tuple[str | None, str | None, int | None]]) -> pa.Table:
    """(query, document, label) rows of one query."""
    names = ("query", "document", "label")
    dicts = [
        {"query_id": "q", "doc_id": f"d{n}", "origin": "test", **dict(zip(names, one, strict=True))}
        for n, one in enumerate(rows)
    ]
    return pa.Table.from_pylist(dicts, schema=SCHEMA)


def run(rows: list[tuple[str | None, str | None, int | None]], **options: Any) -> Outcome:
    return filter_pairs(table(rows), by=None, pick=None, **options)


def reasons(outcome: Outcome) -> dict[str, str]:
    return dict(zip(outcome.rejected["doc_id"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True))


# ------------------------------------------------------------------ complexity


def test_documents_with_too_few_words_leave_whatever_their_label() -> None:
    rows = [
        ("q", "a dog", 1),
        ("q", "a dog on a beach", 1),
        ("q", "!!! ... ???", 0),
        ("q", "東京都の首都", None),
        ("q", "สวัสดี", None),
        ("q", "", None),
        ("q", None, 1),
    ]
    outcome = run(rows, complexity="5")
    assert outcome.kept["doc_id"].to_pylist() == ["d1", "d3", "d4", "d6"]
    assert set(reasons(outcome).values()) == {"document of fewer than 5 words"}
    assert outcome.notes == {"rows without text, which no text rule looked at": 1}


def test_clauses_are_counted_between_marks_and_numbers_do_not_count() -> None:
    assert count_clauses("On 3 May, 1,200 people ran along the beach; it rained.") == 3
    assert count_clauses("A dog runs") == 1
    assert count_clauses("Berlin, Paris, Rome") == 0
    assert count_clauses("雨が降る。風が吹く、木が揺れる。") == 3
    assert count_clauses("a well-known state-of-the-art model - it is fast") == 2
    assert count_clauses("") == 0
    rows = [("q", "A dog runs along a beach", 1), ("q", "A dog runs, and its owner follows", 1)]
    assert reasons(run(rows, complexity="4:2")) == {"d0": "document of fewer than 2 clauses"}


# ------------------------------------------------------------------ near copies


def test_a_positive_that_is_almost_the_query_teaches_nothing_and_leaves() -> None:
    long = "The committee met on the third of March in the town hall of Gdansk to settle the dispute over water rights."
    rows = [
        (long, long.replace("Gdansk", "Gdansk,"), 1),
        (long, long.upper(), None),
        (long, long.replace("March", "May"), 1),
        (long, long.replace("third", "fifth"), 1),
        (long, long, 0),
        (long, None, 1),
        (long, "", 1),
    ]
    outcome = run(rows, max_edit_ratio=0.99)
    assert reasons(outcome) == dict.fromkeys(("d0", "d1"), "almost the query's own text (more than 99%)")
    everything = run(rows, max_edit_ratio=0.9, edits_of="all")
    assert set(reasons(everything)) == {"d0", "d1", "d2", "d3", "d4"}


def test_a_ratio_at_the_limit_is_not_above_it() -> None:
    """9 of 10 letters in common: 2 * 9 / 20 = 0.9."""
    rows = [("abcdefghij", "abcdefghix", 1)]
    assert run(rows, max_edit_ratio=0.9).rejected.num_rows == 0
    assert run(rows, max_edit_ratio=0.89).rejected.num_rows == 1


# ------------------------------------------------------------------ minimal edits


def test_only_negatives_that_are_a_few_words_from_the_query_stay() -> None:
    asked = "who was the first king of Poland"
    rows = [
        (asked, "who was the last king of Poland", 0),
        (asked, "who was the first queen of Lithuania", None),
        (asked, "when did the first king of Poland die", 0),
        (asked, "Who was the first king of Poland?", 0),
        (asked, "capital of France", 0),
        (asked, "in which year was the old castle of Malbork built", 1),
    ]
    outcome = run(rows, edit_distance=(1, 2))
    assert outcome.kept["doc_id"].to_pylist() == ["d0", "d1", "d5"]
    assert reasons(outcome) == {
        "d2": "more than 2 words edited",
        "d3": "fewer than 1 word edited",
        "d4": "more than 2 words edited",
    }
    assert run(rows, edit_distance=(None, 3)).kept["doc_id"].to_pylist() == ["d0", "d1", "d2", "d3", "d5"]
    assert run(rows, edit_distance=(4, None), edits_of="all").kept["doc_id"].to_pylist() == ["d4", "d5"]


def test_characters_are_the_words_of_chinese() -> None:
    rows = [("日本的首都是哪里", "法国的首都是哪里", 0), ("日本的首都是哪里", "今天天气怎么样呢", 0)]
    assert run(rows, edit_distance=(1, 2)).kept["doc_id"].to_pylist() == ["d0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"complexity": "few"}, r"complexity few: write it as WORDS\[:CLAUSES\]"),
        ({"complexity": "5:"}, "write it as WORDS"),
        ({"complexity": "0"}, "complexity counts from 1 word and 1 clause on"),
        ({"max_edit_ratio": 1.0}, "max edit ratio 1 is out of range; it lies between 0 and 1"),
        ({"max_edit_ratio": float("nan")}, "out of range"),
        ({"edit_distance": (3, 1)}, "edit distance 3:1 holds no number of words"),
        ({"edit_distance": (-1, None)}, "edit distance -1: holds no number of words"),
        ({"edit_distance": (1, 0)}, "edit distance 1:0 holds no number of words"),
        ({"edit_distance": (1, 2), "edits_of": "queries"}, 'edits of "queries"; choose positives, negatives, all'),
    ],
)
def test_a_wrong_text_rule_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError, match=message):
        run([("a", "b", 1)], **options)


@pytest.mark.parametrize("options", [{"complexity": "2"}, {"max_edit_ratio": 0.9}, {"edit_distance": (1, 2)}])
def test_a_pair_set_without_texts_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PairmineError, match=r'the pair set has no "(query|document)" column; keep texts in it'):
        filter_pairs(table([("a", "b", 1)]).drop_columns(["query", "document"]), by=None, pick=None, **options)


# ------------------------------------------------------------------ the distances


def levenshtein(one: list[str], other: list[str]) -> int:
    row = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        above, row = row, [at]
        for place, right in enumerate(other, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (left != right)))
    return row[-1]


def common(one: str | list[str], other: str | list[str]) -> int:
    row = [0] * (len(other) + 1)
    for left in one:
        above, row = row, [0]
        for place, right in enumerate(other, 1):
            row.append(above[place - 1] + 1 if left == right else max(above[place], row[-1]))
    return row[-1]


LETTERS = st.text(alphabet="ab東 ", max_size=90)


@settings(max_examples=300, deadline=None)
@given(LETTERS, LETTERS, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_distances_are_those_of_the_textbook(one: str, other: str, edits: int, chance: random.Random) -> None:
    if edits:
        changed = list(one)
        for _ in range(edits):
            changed[chance.randrange(len(changed) + 1) :][:1] = [chance.choice("ab東")]
            changed.insert(chance.randrange(len(changed) + 1), chance.choice("ab東"))
        other = "".join(changed)
    left, right = list(one), list(other)
    total = len(one) + len(other)
    assert word_distance().compare(left, right) == levenshtein(left, right)
    assert word_ratio().compare(left, right) == 2 * common(left, right) / (total or 1)
    for ratio in (0.5, 0.9, 0.97):
        assert alike(ratio).compare(one, other) == float(2 * common(one, other) > ratio * total)


def test_equal_pairs_in_many_chunks_are_measured_where_they_stand() -> None:
    rows = [("a b", "a c", 1), ("a b", None, 1), ("x", "x", 0), ("a b", "a c", 0), (None, "x", 1)]
    parts = [table(rows[:2]), table(rows[2:3]).slice(0, 0), table(rows[2:])]
    found = measured(pa.concat_tables(parts), np.array([True, True, False, True, True]), word_ratio(), what="it")
    np.testing.assert_array_equal(found, [0.5, np.nan, np.nan, 0.5, np.nan])


# ------------------------------------------------------------------ real texts


def breaking_nli() -> list[dict[str, Any]]:
    path = DATA / "breaking-nli" / "pairs.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path.name} of breaking-nli beside this checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_sentences_that_differ_in_one_word_or_phrase_are_minimal_edits() -> None:
    pairs = breaking_nli()[:2000]
    texts = [(one["premise"], one["hypothesis"], 0) for one in pairs]
    kept = [run(texts, edit_distance=(1, most)).kept.num_rows for most in (1, 2, 3)]
    assert kept == [1593, 1915, 2000]
    shuffled = [(query, texts[at - 1000][1], 0) for at, (query, _, _) in enumerate(texts)]
    assert run(shuffled, edit_distance=(1, 4)).kept.num_rows == 4
