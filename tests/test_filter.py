"""`filter`: the cases that have bitten users, and what it says when something is wrong."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.outcome import Outcome
from pairmine.schema import TEXT, score_field
from pairmine.stages.filter import default_by, filter_pairs

OPTIONS: dict[str, Any] = {
    "by": "score_ce",
    "relative_margin": None,
    "absolute_margin": None,
    "max_score": None,
    "min_score": None,
    "ranks": None,
    "negatives": 2,
    "pick": "top",
    "pool": 10,
    "shortage": "keep",
}
TEXTS = ["alpha", " Alpha\n", "beta", "gamma", "日本の法律", "日本の 法律", "ﬁne", "FINE", "", None]
SCORES = [-2.5, -1.0, -0.0, 0.0, 0.2, 0.19, 0.5, 0.50001, 1.0]


SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        pa.field("source_id", pa.string()),
        score_field("ce", "probability"),
        pa.field("line", pa.int64()),
    ]
)


def pairs_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def row(query: str, doc: str, label: int | None = None, score: float | None = None, **more: Any) -> dict[str, Any]:
    given = {"query_id": query, "query": f"question {query}", "doc_id": doc, "document": f"text of {doc}"}
    return {**given, "label": label, "origin": "test", "score_ce": score, **more}


def run(rows: list[dict[str, Any]] | pa.Table, **options: Any) -> Outcome:
    if isinstance(rows, list):
        rows = pairs_of([{**one, "line": line} for line, one in enumerate(rows)])
    return filter_pairs(rows, **{**OPTIONS, **options})


def kept(outcome: Outcome) -> list[str]:
    return list(outcome.kept["doc_id"].to_pylist())


def reasons(outcome: Outcome) -> dict[str, str]:
    return dict(zip(outcome.rejected["doc_id"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True))


FILLERS = pa.table(
    {"doc_id": [f"d{n}" for n in range(4)] + [f"f{n}" for n in range(10)], "document": TEXTS[:4] + TEXTS}
)


# ------------------------------------------------------------------ cases that a user meets


def test_an_empty_pair_set_gives_an_empty_one() -> None:
    for shortage in ("keep", "drop", "fill"):
        outcome = run([], shortage=shortage, fillers=FILLERS, relative_margin=0.05)
        assert (outcome.kept.num_rows, outcome.rejected.num_rows, outcome.rows_in) == (0, 0, 0)
        assert outcome.rejected.column_names[-1] == "reason"
        assert outcome.kept.schema == outcome.rejected.schema.remove(outcome.kept.num_columns)


def test_one_positive_alone_is_kept_or_dropped() -> None:
    assert kept(run([row("q", "p", 1)], relative_margin=0.1)) == ["p"]
    assert reasons(run([row("q", "p", 1)], shortage="drop")) == {"p": "query has 0 of 2 negatives"}


def test_a_query_without_positive_leaves_with_all_its_rows() -> None:
    outcome = run([row("a", "x", None, 0.1), row("a", "y", 0), row("b", "p", 1, 0.9), row("b", "n", None, 0.2)])
    assert kept(outcome) == ["p", "n"]
    assert reasons(outcome) == {"x": "query has no positive", "y": "query has no positive"}
    assert outcome.notes == {"queries with fewer than 2 negatives": 1}


def test_a_copy_in_other_spelling_of_a_positive_is_no_negative() -> None:
    rows = [
        row("q", "p", 1, 0.9, document="The ﬁrst LAW"),
        row("q", "full-width", None, 0.5, document="Ｔｈｅ first   law"),
        row("q", "written", 0, None, document="THE\u3000FIRST LAW"),
        row("q", "asked", None, 0.4, document="QUESTION Q"),
        row("q", "twin", None, 0.3, document="другой"),
        row("q", "twin2", None, 0.2, document="ДРУГОЙ "),
    ]
    outcome = run(rows)
    assert kept(outcome) == ["p", "twin"]
    assert reasons(outcome) == {
        "full-width": "copy of a positive",
        "written": "copy of a positive",
        "asked": "copy of the query",
        "twin2": "same text twice",
    }


def test_a_margin_stays_a_margin_where_scores_are_negative() -> None:
    rows = [row("q", "p", 1, -1.0), row("q", "close", None, -1.02), row("q", "far", None, -1.2)]
    assert kept(run(rows, relative_margin=0.05)) == ["p", "far"]


def test_the_lowest_positive_sets_the_margin() -> None:
    rows = [row("q", "p", 1, 0.9), row("q", "p2", 1, 0.5), row("q", "n", None, 0.6), row("q", "m", None, 0.4)]
    outcome = run(rows, relative_margin=0.05)
    assert kept(outcome) == ["p", "p2", "m"]
    assert reasons(outcome) == {"n": "within 5% of the lowest positive"}


def test_a_score_equal_to_the_limit_is_not_above_it() -> None:
    rows = [row("q", "p", 1, 0.9), row("q", "at", None, 0.7), row("q", "over", None, 0.7001)]
    assert reasons(run(rows, max_score=0.7)) == {"over": "score above 0.7"}


def test_written_negatives_come_first_skip_the_score_rules_and_are_counted() -> None:
    rows = [row("q", "p", 1, 0.9), row("q", "c", None, 0.3), row("q", "w", 0, 0.89), row("q", "v", 0)]
    outcome = run(rows, relative_margin=0.05, max_score=0.5, negatives=3)
    assert kept(outcome) == ["p", "w", "v", "c"]
    assert outcome.notes["exempt, but within 5% of the lowest positive"] == 1
    assert outcome.notes["exempt, but score above 0.5"] == 1
    assert reasons(run(rows, negatives=1)) == {"v": "surplus", "c": "not picked"}


def test_without_scores_the_rank_decides() -> None:
    rows = [row("q", "p", 1), *(row("q", f"d{n}", None, rank=n) for n in (3, 1, 2))]
    assert kept(run(rows, by=None)) == ["p", "d1", "d2"]
    assert kept(run(rows, by=None, ranks=(2, None))) == ["p", "d2", "d3"]


def test_another_seed_draws_another_sample_and_the_same_seed_the_same() -> None:
    rows = [row("q", "p", 1, 2.0), *(row("q", f"d{n}", None, n / 100) for n in range(100))]
    samples = [kept(run(rows, pick="random", pool=20, negatives=4, seed=seed)) for seed in (0, 0, 1, 2)]
    assert samples[0] == samples[1] != samples[2] != samples[3]
    assert all(int(doc[1:]) >= 80 for sample in samples for doc in sample[1:])
    assert all(sample[1:] == sorted(sample[1:], reverse=True) for sample in samples)


def test_a_sample_takes_every_place_of_the_pool_about_as_often() -> None:
    rows = [
        one
        for q in range(2000)
        for one in (row(f"q{q}", "p", 1, 2.0), *(row(f"q{q}", f"d{n}", None, -n) for n in range(12)))
    ]
    drawn = Counter(kept(run(rows, pick="random", pool=10, negatives=3)))
    assert sum(drawn[f"d{n}"] for n in range(10)) == 6000
    assert all(500 < drawn[f"d{n}"] < 700 for n in range(10))


def test_fills_are_spread_over_the_documents_and_more_than_there_are_is_said() -> None:
    fillers = pa.table(
        {
            "doc_id": pa.array([f"f{n}" for n in range(500)], pa.large_string()),
            "document": [f"filler {n}" for n in range(500)],
        }
    )
    rows = [row(f"q{q}", "p", 1) for q in range(1000)]
    outcome = run(rows, shortage="fill", fillers=fillers)
    short = "queries with fewer than 2 negatives before they were filled"
    assert (outcome.added, outcome.notes[short]) == (2000, 1000)
    assert max(Counter(kept(outcome)[1::3]).values()) < 15
    few = run(rows[:3], shortage="fill", fillers=fillers.slice(0, 1))
    assert kept(few) == ["p", "f0"] * 3
    assert few.notes == {short: 3, "queries that could not be filled": 3}


def test_a_large_pool_of_copies_is_searched_to_the_end() -> None:
    texts = ["text of p"] * 997 + ["one", "ONE", "two"]
    fillers = pa.table({"doc_id": [f"f{n}" for n in range(1000)], "document": texts})
    outcome = run([row("q", "p", 1)], shortage="fill", fillers=fillers, negatives=3)
    assert sorted(text_key(text) for text in outcome.kept["document"].to_pylist()[1:]) == sorted(
        map(text_key, ("one", "two"))
    )


def test_the_source_of_a_positive_is_no_negative_and_no_fill() -> None:
    fillers = pa.table({"doc_id": ["whole", "f"], "document": ["the whole article", "another"]})
    rows = [row("q", "p", 1, source_id="whole"), row("q", "c", None, 0.5)]
    assert kept(run(rows, shortage="fill", fillers=fillers, negatives=3)) == ["p", "c", "f"]
    assert reasons(run([*rows, row("q", "whole", None, 0.4)])) == {"whole": "source of a positive"}


def test_columns_that_the_user_brought_pass_through_and_are_null_in_fills() -> None:
    rows = pairs_of([row(f"q{n}", f"d{m}", 1 if m == 0 else None, m / 9) for n in range(4) for m in range(3)])
    brought = {
        "lang": pa.array(["en", "de"] * 6).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string())),
        "grp": pa.array([7, None, 8] * 4, pa.int64()).dictionary_encode(),
        "tags": pa.array([[1], [], None] * 4, pa.list_(pa.int32())),
        "reason": pa.array(["an earlier run"] * 12),
    }
    for name, values in brought.items():
        rows = rows.append_column(name, values)
    rows = pa.concat_tables([rows.slice(0, 5), rows.slice(5)])
    outcome = run(rows, shortage="fill", fillers=FILLERS, negatives=3, max_score=0.15)
    rows = rows.to_pylist()
    for one in outcome.kept.to_pylist():
        if one["origin"] == "fill:random":
            assert {one[name] for name in brought} == {None}
        else:
            assert any({**one, "label": None} == {**came, "label": None} for came in rows)
    assert outcome.kept.schema.field("lang").type == brought["lang"].type
    assert outcome.rejected.column_names.count("reason") == 1
    assert set(outcome.rejected["reason"].to_pylist()) == {"score above 0.15"}


def test_tables_without_text_and_in_many_chunks_come_out_the_same() -> None:
    rng = np.random.default_rng(0)
    rows = [
        row(f"q{q}", f"d{d}", 1 if d == 0 else None, float(rng.random()), line=d) for q in range(40) for d in range(9)
    ]
    whole = pairs_of(rows)
    chunked = pa.concat_tables([pairs_of(rows[start : start + 50]) for start in range(0, len(rows), 50)])
    for options in ({"pick": "random"}, {"shortage": "fill", "fillers": FILLERS, "max_score": 0.2, "negatives": 9}):
        assert run(chunked, **options).kept.to_pylist() == run(whole, **options).kept.to_pylist()
    bare = whole.drop_columns(["query", "document"])
    outcome = run(bare, shortage="fill", fillers=FILLERS.drop_columns("document"), negatives=9)
    assert "document" not in outcome.kept.column_names
    assert outcome.notes["rows without text, compared by id alone"] == 320


def test_plain_types_of_a_users_table_are_read() -> None:
    table = pa.table(
        {"query_id": ["q", "q"], "doc_id": ["a", "b"], "label": [1, None], "origin": ["x", "x"], "score_ce": [1.0, 0.5]}
    )
    assert run(table).kept["label"].to_pylist() == [1, 0]


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "score_x"}, r"no column score_x \(found: score_ce\); run 'pairmine score' first"),
        ({"by": None, "max_score": 1.0}, "need a score column; name one of: score_ce"),
        ({"by": "origin"}, "column origin holds string, no numbers"),
        ({"relative_margin": 5.0}, "relative margin 5 is out of range; it is 0 to 1"),
        ({"absolute_margin": -0.1}, "absolute margin -0.1 is out of range; it is 0 or more"),
        ({"max_score": math.nan}, "max score nan is out of range"),
        ({"min_score": 0.9, "max_score": 0.1}, "min score 0.9 is above max score 0.1"),
        ({"ranks": (0, 10)}, "ranks 0:10 hold no rank"),
        ({"ranks": (20, 10)}, "ranks 20:10 hold no rank"),
        ({"ranks": (1, 10)}, "1 of 1 candidates have no rank"),
        ({"negatives": 0}, "negatives is 0; it must be 1 or more"),
        ({"pool": 0}, "pool is 0"),
        ({"pick": "best"}, 'pick "best": choose top, random, simans, softmax'),
        ({"shortage": "pad"}, 'shortage is "pad"; it is one of: keep, drop, fill, relax'),
        ({"shortage": "fill"}, "takes documents to draw from"),
        ({"shortage": "fill", "fillers": FILLERS.drop_columns("document")}, 'have no "document"'),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError, match=message) as error:
        run([row("q", "p", 1, 0.9), row("q", "n", None, 0.1)], **options)
    assert error.value.exit_code == 2


def test_missing_scores_are_counted_where_they_matter() -> None:
    rows = [row("q", "p", 1), row("q", "p", None), row("q", "n", None, 0.1), row("q", "m", None), row("q", "w", 0)]
    with pytest.raises(PairmineError, match="1 of 2 rows have no score_ce; run 'pairmine score' first"):
        run(rows)
    with pytest.raises(PairmineError, match="2 of 3 rows have no score_ce"):
        run(rows, relative_margin=0.05)
    rows[3]["score_ce"] = math.nan
    with pytest.raises(PairmineError, match="1 of 2 rows have no score_ce"):
        run(rows)
    assert kept(run(rows[:3])) == ["p", "n"]
    with pytest.raises(PairmineError, match="2 of 2 rows have no score_ce"):
        run([row("q", "p", 1), row("q", "a"), row("q", "b")], max_score=0.5)


def test_a_relative_margin_on_logits_is_refused_and_an_absolute_one_taken() -> None:
    table = pairs_of([row("q", "p", 1, 4.0), row("q", "n", None, -3.0)])
    place = SCHEMA.get_field_index("score_ce")
    table = table.set_column(place, score_field("ce", "logit"), table["score_ce"])
    with pytest.raises(PairmineError, match="score_ce holds logits"):
        run(table, relative_margin=0.05)
    assert kept(run(table, absolute_margin=1.0)) == ["p", "n"]


def test_scattered_rows_and_a_missing_label_are_refused() -> None:
    with pytest.raises(PairmineError, match="query 'a' comes up again after other queries"):
        run([row("a", "x", 1, 0.9), row("b", "y", 1, 0.9), row("a", "z", None, 0.1)])
    with pytest.raises(PairmineError, match="no label column"):
        run(pairs_of([row("a", "x")]).drop_columns("label"))


def test_the_score_to_filter_by_is_the_cross_encoders_else_the_only_one() -> None:
    def schema(*names: str) -> pa.Schema:
        return pa.schema([pa.field(name, pa.float32()) for name in names])

    assert default_by(schema("score_bm25", "score_dense", "score_llm", "score_ce")) == "score_ce"
    assert default_by(schema("score_dense", "score_llm")) == "score_llm"
    assert default_by(schema("score_bm25")) == "score_bm25"
    with pytest.raises(PairmineError, match="one of score_a, score_b"):
        default_by(schema("score_a", "score_b"))
    with pytest.raises(PairmineError, match="run 'pairmine score' first"):
        default_by(schema("label"))
