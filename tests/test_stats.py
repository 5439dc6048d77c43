"""Stats: the numbers that a user reads off a pair set, against slow but plain counting."""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.schema import as_pairs, empty_pairs, score_field
from pairmine.stages.stats import Stats


def pair_set(rows: list[tuple[str, str, int | None]], **columns: Any) -> pa.Table:
    made: dict[str, Any] = {
        "query_id": [query for query, _, _ in rows],
        "query": [f"about {query}" for query, _, _ in rows],
        "doc_id": [doc for _, doc, _ in rows],
        "document": [f"text of {doc}" for _, doc, _ in rows],
        "label": pa.array([label for _, _, label in rows], pa.int8()),
        "origin": ["given" if label == 1 else "mine:bm25" for _, _, label in rows],
    }
    return as_pairs(pa.table(made | columns))


def numbers(*chunks: pa.Table) -> dict[str, Any]:
    stats = Stats()
    for chunk in chunks:
        stats.add(chunk)
    return stats.to_dict()


ROWS: list[tuple[str, str, int | None]] = [
    ("q1", "a", 1),
    ("q1", "b", 0),
    ("q1", "c", 0),
    ("q2", "a", 0),
    ("q2", "d", None),
    ("q3", "c", 1),
    ("q3", "e", 1),
]


def test_rows_queries_documents_labels_and_origins_are_counted() -> None:
    found = numbers(pair_set(ROWS))
    assert (found["rows"], found["queries"], found["documents"]) == (7, 3, 5)
    assert found["queries_without_positive"] == 1
    assert found["labels"] == {"positive": 3, "negative": 3, "undecided": 1}
    assert found["origins"] == {
        "given": {"positive": 3, "negative": 0, "undecided": 0},
        "mine:bm25": {"positive": 0, "negative": 3, "undecided": 1},
    }


def test_positives_and_negatives_per_query_include_queries_without_any() -> None:
    found = numbers(pair_set(ROWS))["per_query"]
    assert found["positive"] == {"count": 3, "min": 0, "mean": 1, "p5": 0.1, "p50": 1, "p95": 1.9, "max": 2}
    assert found["negative"]["min"] == 0
    assert found["negative"]["max"] == 2


def test_lengths_count_a_query_once_and_a_document_in_each_of_its_rows() -> None:
    pairs = pair_set(
        [("q1", "a", 1), ("q1", "b", 0), ("q2", "a", 1), ("q3", "c", 1)],
        query=["three words here", "three words here", "日本語", None],
        document=["one\u00a0two", "x", "one\u00a0two", None],
    )
    found = numbers(pairs)["lengths"]
    assert (found["query"]["words"]["count"], found["query"]["words"]["mean"]) == (2, 2.0)
    assert found["query"]["characters"]["min"] == 3
    assert (found["document"]["words"]["count"], found["document"]["words"]["max"]) == (3, 2)
    assert found["document"]["characters"]["mean"] == pytest.approx(5.0)


def test_ranks_are_given_by_label_and_unranked_rows_are_left_out() -> None:
    pairs = pair_set(ROWS, rank=pa.array([None, 3, 7, 1, 2, None, None], pa.int32()))
    found = numbers(pairs)["ranks"]
    assert (found["negative"]["count"], found["negative"]["min"], found["negative"]["p50"]) == (3, 1, 3.0)
    assert found["positive"]["count"] == 0
    assert found["positive"]["mean"] is None


def test_scores_are_given_by_label_with_their_nulls_and_scale() -> None:
    pairs = pair_set(ROWS).append_column(
        score_field("ce", "logit"), pa.array([2.0, 1.0, -3.0, float("nan"), 5.0, None, -1.5], pa.float32())
    )
    found = numbers(pairs)["scores"]["score_ce"]
    assert found["scale"] == "logit"
    assert (found["positive"]["count"], found["positive"]["nulls"], found["positive"]["mean"]) == (2, 1, 0.25)
    assert (found["negative"]["count"], found["negative"]["nulls"], found["negative"]["min"]) == (2, 1, -3.0)
    assert (found["undecided"]["count"], found["undecided"]["p50"]) == (1, 5.0)
    assert (found["auc"], found["compared_pairs"]) == (1.0, 2)
    assert (found["negatives_above_lowest_positive"], found["compared_negatives"]) == (0.0, 2)


def test_auc_compares_within_a_query_only_and_halves_ties() -> None:
    rows: list[tuple[str, str, int | None]] = [
        ("q1", "a", 1),
        ("q1", "b", 0),
        ("q1", "c", 0),
        ("q2", "d", 1),
        ("q3", "e", 0),
    ]
    pairs = pair_set(rows, score_x=pa.array([0.5, 0.5, 0.9, 0.1, 0.99], pa.float32()))
    found = numbers(pairs)["scores"]["score_x"]
    assert (found["auc"], found["compared_pairs"]) == (0.25, 2)
    assert (found["negatives_above_lowest_positive"], found["compared_negatives"]) == (0.5, 2)


def test_a_constant_score_is_reported_as_it_is() -> None:
    pairs = pair_set(ROWS, score_x=pa.array([-0.3] * 7, pa.float32()))
    found = numbers(pairs)["scores"]["score_x"]["negative"]
    assert found["min"] == found["p5"] == found["p50"] == found["p95"] == found["max"] == found["mean"]


def test_quantiles_of_many_scores_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    pairs = pair_set([(f"q{i}", "d", 1) for i in range(2000)], score_x=pa.array(values))
    found = numbers(pairs)["scores"]["score_x"]["positive"]
    assert found["mean"] == pytest.approx(float(values.astype(np.float64).mean()), rel=1e-12)
    for percent in (5, 50, 95):
        assert found[f"p{percent}"] == pytest.approx(float(np.quantile(values, percent / 100)), rel=1e-4, abs=1e-6)


def test_an_empty_pair_set_has_zeros_and_nulls_that_json_can_hold() -> None:
    found = numbers(empty_pairs())
    assert (found["rows"], found["queries"], found["documents"], found["origins"]) == (0, 0, 0, {})
    assert found["lengths"]["query"]["words"]["mean"] is None
    assert json.loads(json.dumps(found)) == found
    assert numbers() == found


def test_a_pair_set_without_texts_labels_and_ranks_is_still_counted() -> None:
    pairs = pair_set(ROWS).select(["query_id", "doc_id", "origin"])
    found = numbers(pairs)
    assert found["labels"] == {"positive": 0, "negative": 0, "undecided": 7}
    assert found["lengths"]["document"]["characters"]["count"] == 0


def test_what_is_no_pair_set_is_refused_in_one_line() -> None:
    with pytest.raises(PairmineError, match='no "doc_id"'):
        Stats().add(pair_set(ROWS).drop_columns(["doc_id"]))
    with pytest.raises(PairmineError, match='rows of query "q1" lie apart'):
        Stats().add(pair_set([("q1", "a", 1), ("q2", "a", 1), ("q1", "b", 0)]))


SCORE = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.5, 1.0, -2.5, 1e-30]), st.floats(-4, 4, width=32))
QUERIES = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdé"), st.sampled_from([1, 0, None]), SCORE), min_size=1, max_size=6),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(QUERIES, st.integers(0, 6))
def test_numbers_agree_with_plain_counting_and_do_not_depend_on_the_chunks(
    queries: list[list[tuple[str, int | None, float | None]]], cut: int
) -> None:
    parts = [
        pair_set(
            [(f"q{number}", doc, label) for doc, label, _ in rows],
            score_x=pa.array([score for _, _, score in rows], pa.float32()),
        )
        for number, rows in enumerate(queries)
    ]
    found = numbers(pa.concat_tables(parts))
    assert numbers(*(pa.concat_tables(part) for part in (parts[:cut], parts[cut:]) if part)) == found
    assert numbers(*reversed(parts)) == found
    assert found["documents"] == len({doc for rows in queries for doc, _, _ in rows})

    wins, compared, above, negatives = 0.0, 0, 0, 0
    for rows in queries:
        up = [score for _, label, score in rows if label == 1 and score is not None]
        down = [score for _, label, score in rows if label == 0 and score is not None]
        wins += sum((p > n) + (p == n) / 2 for p in up for n in down)
        compared += len(up) * len(down)
        above += sum(n > min(up) for n in down) if up else 0
        negatives += len(down) if up else 0
    scores = found["scores"]["score_x"]
    assert (scores["compared_pairs"], scores["compared_negatives"]) == (compared, negatives)
    assert scores["auc"] == (wins / compared if compared else None)
    assert scores["negatives_above_lowest_positive"] == (above / negatives if negatives else None)


def test_tokens_of_a_text_that_comes_again_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def count(texts: Any) -> np.ndarray:
        asked.extend(texts)
        return np.array([len(text.split()) for text in texts])

    def counted() -> dict[str, Any]:
        stats = Stats(tokens=count, max_tokens=3)
        for at in range(3):
            stats.add(pair_set([(f"q{at}", "a", 1), (f"q{at}", f"b{at}", 0)]))
        return stats.to_dict()

    found = counted()
    assert asked.count("text of a") == 1
    tokens = found["lengths"]["document"]["tokens"]
    assert (tokens["count"], tokens["mean"], tokens["over"]) == (6, 3.0, 0)
    asked.clear()
    monkeypatch.setattr("pairmine.stages.stats.lengths._REMEMBERED", 0)
    assert counted() == found
    assert asked.count("text of a") == 3


def of_many_origins(rows: int) -> pa.Table:
    made = [(f"q{at // 2}", f"d{at}", 1 - at % 2) for at in range(rows)]
    return pair_set(
        made,
        origin=[f"generate:recipe/{at}" for at in range(rows)],
        template=[f"t{at}" for at in range(rows)],
        rank=pa.array(range(1, rows + 1), pa.int32()),
        score_ce=pa.array(np.linspace(0, 1, rows), pa.float32()),
    )


@pytest.mark.slow
def test_very_many_origins_take_a_line_of_time_and_little_memory() -> None:
    spent = []
    for rows in (4_000, 32_000):
        table = of_many_origins(rows)
        started = time.process_time()
        counted = Stats()
        counted.add(table)
        spent.append(time.process_time() - started)
        # Each had 5 kB of zeros.
        assert len(pickle.dumps(counted)) < 3_000 * rows
    assert spent[1] < 24 * max(spent[0], 0.05), spent


def test_values_that_were_drawn_are_counted_by_label() -> None:
    found = numbers(of_many_origins(6))["templates"]["recipe"]
    assert {value: each["positive"] for value, each in found["by"]["template"].items()} == {
        f"t{at}": 1 - at % 2 for at in range(6)
    }
    assert found["rows"] == {"positive": 3, "negative": 3, "undecided": 0}
