"""Scores for some rows: a band of another score, kinds of rows, a cap, what is missing. Against plain Python."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.schema import as_pairs, empty_pairs, score_field
from pairmine.stages.filter.gates import Band
from pairmine.stages.score import open_scorer
from pairmine.stages.score_rows import RowChoice, Wanted, score_rows


class Lengths:
    """Scores a pair by the length of its document; remembers what it was asked."""

    scale = "probability"

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        self.asked += zip(queries, documents, strict=True)
        return np.array([len(text) for text in documents], np.float32)


Row = tuple[str, str, int | None, float | None, float | None]
"""Query, document, label, the score to take the band from, the score that is there already."""


def table_of(rows: Sequence[Row]) -> pa.Table:
    query, document, label, ce, llm = zip(*rows, strict=True) if rows else ([], [], [], [], [])
    table = pa.table(
        {
            "query_id": pa.array(query, pa.string()),
            "query": pa.array(query, pa.string()),
            "doc_id": pa.array(document, pa.string()),
            "document": pa.array(document, pa.string()),
            "label": pa.array(label, pa.int8()),
            "origin": pa.array(["given"] * len(rows), pa.string()),
        }
    )
    table = table.append_column(score_field("ce", "probability"), pa.array(ce, pa.float32()))
    return as_pairs(table.append_column(score_field("llm", "probability"), pa.array(llm, pa.float32())))


ROWS: list[Row] = [
    ("q", "a", None, 0.05, None),
    ("q", "bb", None, 0.1, 0.5),
    ("q", "ccc", None, 0.6, None),
    ("q", "dddd", 1, 0.5, None),
    ("q", "eeeee", 0, 0.5, 0.25),
    ("q", "ffffff", None, None, None),
    ("q", "ggggggg", None, 0.9, None),
]


def scored(rows: Sequence[Row], chunk: int = 100, **wanted: Any) -> tuple[list[float | None], dict[str, int], Lengths]:
    """The column, the counts and the scorer, of the rows in chunks."""
    scorer, choice = Lengths(), RowChoice(Wanted(**wanted), "llm")
    chunks = [table_of(rows[at : at + chunk]) for at in range(0, len(rows), chunk)] or [table_of([])]
    for table in chunks:
        choice.look(table)
    column: list[float | None] = []
    counts: dict[str, int] = {}
    for table in chunks:
        chosen, notes = choice.of(table)
        outcome = score_rows(table, scorer, chosen, name="llm", keep=choice.wanted.missing)
        column += outcome.kept["score_llm"].to_pylist()
        for what, count in notes.items():
            counts[what] = counts.get(what, 0) + count
    return column, counts, scorer


def test_only_candidates_in_the_band_are_asked_about_and_every_other_row_is_accounted_for() -> None:
    column, counts, scorer = scored(ROWS, band=Band("ce", 0.1, 0.9), only="candidates")
    assert column == [None, 2, 3, None, None, None, None]
    assert scorer.asked == [("q", "bb"), ("q", "ccc")]
    assert counts == {
        "not scored: not a candidate": 2,
        "not scored: no score_ce": 1,
        "not scored: score_ce outside [0.1, 0.9)": 2,
    }


@pytest.mark.parametrize(
    ("only", "column"),
    [
        ("positives", [None, None, None, 4, None, None, None]),
        ("negatives", [None, None, None, None, 5, None, None]),
        ("all", [None, 2, 3, 4, 5, None, None]),
    ],
)
def test_the_band_may_be_asked_of_other_rows(only: str, column: list[float | None]) -> None:
    assert scored(ROWS, band=Band("score_ce", 0.1, 0.9), only=only)[0] == column


def test_scores_that_are_there_stay_and_only_the_missing_ones_are_asked_for() -> None:
    column, counts, scorer = scored(ROWS, missing=True)
    assert column == [1, 0.5, 3, 4, 0.25, 6, 7]
    assert ("q", "bb") not in scorer.asked
    assert counts == {"not scored: has a score already": 2}
    column, _, _ = scored(ROWS, missing=True, band=Band("ce", 0.5, 0.7), only="candidates")
    assert column == [None, 0.5, 3, None, 0.25, None, None]


def test_a_cap_takes_the_pairs_nearest_to_the_middle_of_the_band() -> None:
    for chunk in (1, 2, 100):
        column, counts, _ = scored(ROWS, chunk, band=Band("ce", 0.1, 0.9), only="all", most=3)
        assert [value is not None for value in column] == [False, False, True, True, True, False, False]
        assert counts["not scored: beyond --max-judged 3"] == 1


def test_a_cap_without_a_band_draws_a_sample_that_a_higher_one_adds_to() -> None:
    rows: list[Row] = [(f"q{at}", f"document {at}", None, None, None) for at in range(200)]
    samples = [{at for at, value in enumerate(scored(rows, 30, most=most)[0]) if value} for most in (10, 50, 1000)]
    assert [len(sample) for sample in samples] == [10, 50, 200]
    assert samples[0] < samples[1]
    assert max(samples[0]) > 60


def test_equal_pairs_count_once_under_a_cap() -> None:
    rows: list[Row] = [("q", "a", None, 0.5, None)] * 5 + [("q", "b", None, 0.6, None), ("q", "c", None, 0.8, None)]
    column, _, scorer = scored(rows, 2, band=Band("ce", 0.0, 1.0), most=2)
    assert [value is not None for value in column] == [True] * 6 + [False]
    assert set(scorer.asked) == {("q", "a"), ("q", "b")}


numbers = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, math.nan]))
rows_strategy = st.lists(
    st.tuples(st.sampled_from("qr"), st.text("ab東", max_size=2), st.sampled_from([None, 0, 1]), numbers, numbers),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(rows_strategy, st.sampled_from(["all", "candidates", "positives", "negatives"]), st.booleans(), st.booleans())
def test_rows_are_chosen_as_a_plain_loop_chooses_them(
    rows: list[Row], only: str, missing: bool, has_band: bool
) -> None:
    def is_wanted(row: Row) -> bool:
        _, _, label, ce, llm = row
        of_kind = only == "all" or label == {"candidates": None, "positives": 1, "negatives": 0}[only]
        is_missing = not missing or llm is None or math.isnan(llm)
        in_band = not has_band or (ce is not None and 0.1 <= ce < 0.7)
        return of_kind and is_missing and in_band

    band = Band("ce", 0.1, 0.7) if has_band else None
    column, counts, scorer = scored(rows, 5, band=band, only=only, missing=missing)
    kept = [row[4] if missing and row[4] is not None and not math.isnan(row[4]) else None for row in rows]
    wanted = [len(row[1]) if is_wanted(row) else old for row, old in zip(rows, kept, strict=True)]
    assert column == [None if value is None else float(np.float32(value)) for value in wanted]
    assert sum(counts.values()) == sum(not is_wanted(row) for row in rows)
    assert len(scorer.asked) <= sum(map(is_wanted, rows))


def test_a_table_without_rows_labels_or_scores_is_no_fault() -> None:
    choice = RowChoice(Wanted(only="candidates", missing=True, most=3), "llm")
    for table in (empty_pairs(), table_of(ROWS).drop_columns(["label", "score_llm"])):
        choice.look(table)
    assert choice.of(empty_pairs())[0].tolist() == []
    assert choice.of(table_of(ROWS).drop_columns(["label", "score_llm"]))[0].sum() == 3


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(PairmineError, match="--only some: choose candidates, positives, negatives, all"):
        RowChoice(Wanted(only="some"), "llm")
    with pytest.raises(PairmineError, match="--band: no column cross; columns to choose from: score_ce, score_llm"):
        scored(ROWS, band=Band("cross", 0, 1))
    with pytest.raises(PairmineError, match="--band llm: is the column to fill"):
        scored(ROWS, band=Band("llm", 0, 1))
    scorer = Lengths()
    scorer.scale = "logit"
    with pytest.raises(PairmineError, match="--missing: score_llm holds a probability, and this scorer gives a logit"):
        score_rows(table_of(ROWS), scorer, np.arange(7) < 3, name="llm", keep=True)


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    pq.write_table(table_of(ROWS).drop_columns(["score_llm"]), tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def run(*words: object) -> None:
    app(["score", *map(str, words)], standalone_mode=False)


def test_a_judge_is_asked_about_the_band_alone_and_a_second_band_adds_to_it(
    pairs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, more = pairs.with_name("out.parquet"), pairs.with_name("more.parquet")
    judge = ["--scorer", "fake:", "--recipe", "judge", "--ledger", pairs.with_name("ledger")]
    run(pairs, *judge, "--band", "ce:0.5:0.9", "-o", out, "--summary", pairs.with_name("counts.json"))
    told = capfd.readouterr().err
    assert "asking about 1 of 7 rows; --dry-run tells what that costs" in told
    assert "score_ce outside [0.5, 0.9)" in told
    first = pq.read_table(out)["score_llm"].to_pylist()
    assert [value is not None for value in first] == [False, False, True, False, False, False, False]
    run(out, *judge, "--missing", "--only", "all", "-q", "-o", more)
    second = pq.read_table(more)["score_llm"].to_pylist()
    assert None not in second
    assert second[2] == first[2]


def test_what_a_judge_is_asked_by_default_is_told(pairs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    judge = ["--scorer", "fake:", "--recipe", "judge", "--ledger", pairs.with_name("ledger"), "-o"]
    told = []
    for number, more in enumerate(([], ["--set", "relation=relevance"], ["--dry-run"])):
        run(pairs, *judge, pairs.with_name(f"out{number}.parquet"), *more)
        told.append("--set relation=relevance asks how well" in capfd.readouterr().err)
    assert told == [True, False, True]


def test_a_scorer_may_be_named_as_its_column_is(pairs: Path) -> None:
    out = pairs.with_name("out.parquet")
    run(pairs, "--scorer", "score_mine=fake:", "--store", "none", "-q", "-o", out)
    assert [name for name in pq.read_schema(out).names if name.startswith("score_")] == ["score_ce", "score_mine"]


def test_a_column_is_filled_up_by_the_model_and_prompt_that_began_it_alone(pairs: Path) -> None:
    begun, out = pairs.with_name("begun.parquet"), pairs.with_name("out.parquet")
    judge = ["--scorer", "fake:", "--recipe", "judge", "--ledger", pairs.with_name("ledger"), "-q"]
    run(pairs, *judge, "--max-judged", 2, "-o", begun)
    for words, what in (
        ([*judge, "--set", "relation=relevance"], "fake: by another prompt; leave --missing out"),
        (["--scorer", "llm=ql:fake:"], "fake:; leave --missing out to score every row alike, or give the new scores"),
    ):
        with pytest.raises(PairmineError, match=f"--missing: score_llm comes from {what}"):
            run(begun, *words, "--missing", "-o", out)
    run(begun, *judge, "--missing", "--max-judged", 3, "-o", out)
    assert pq.read_table(out)["score_llm"].null_count == 2


def test_the_price_is_that_of_the_band(pairs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--scorer", "openai:gpt-5-mini", "--dry-run", "--ledger", pairs.with_name("ledger")]
    run(pairs, *words, "--band", "ce:0.1:0.9", "--only", "all", "--max-judged", 2)
    told = capfd.readouterr().out
    assert re.search(r"  asked about +4 of 7 rows, 2 pairs of them\n  samples +2\n  calls +2\n", told)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--band", "ce:0.9:0.1"], "--band ce:0.9:0.1: 0.9 is above 0.1"),
        (["--band", "ce"], "--band ce: write it as COLUMN:LOW:HIGH"),
        (["--band", "nope:0:1"], "--band: no column nope"),
        (["--only", "some"], "--only some: choose candidates"),
    ],
)
def test_a_band_that_cannot_be_is_told_before_a_model_is_asked(pairs: Path, words: list[str], line: str) -> None:
    with pytest.raises(PairmineError) as told:
        run(pairs, "--scorer", "fake:", *words, "-o", pairs.with_name("out.parquet"))
    assert line in str(told.value)
    assert not pairs.with_name("out.parquet").exists()


def test_rows_cannot_be_chosen_for_a_teachers_vectors(pairs: Path) -> None:
    with pytest.raises(PairmineError, match="--band has no effect with --vectors"):
        run(pairs, "--vectors", "fake:", "--band", "ce:0:1", "-o", pairs.with_name("out.parquet"))


def test_the_bar_counts_the_rows_that_are_asked_about() -> None:
    pairs = pa.table(
        {
            "query_id": ["q"] * 3,
            "query": ["a"] * 3,
            "doc_id": ["1", "2", "3"],
            "document": ["x", "y", "z"],
            "label": pa.array([1, None, None], pa.int8()),
            "origin": ["given"] * 3,
        }
    )
    choice = RowChoice(Wanted(only="candidates"), "st")
    choice.look(pairs)
    told: list[int] = []
    chosen, _ = choice.of(pairs)
    score_rows(pairs, open_scorer("fake:"), chosen, name="st", advance=told.append)
    assert sum(told) == choice.many(pairs.num_rows) == 2
    assert RowChoice(Wanted(), "st").many(3) == 3
