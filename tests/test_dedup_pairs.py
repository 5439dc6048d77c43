"""What dedup can do beside dropping rows: choose, mark, group, spread labels, merge, warn."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.schema import as_pairs
from pairmine.stages.dedup import dedup
from pairmine.stages.dedup.stage import Deduped

LONG = [f"word{i}" for i in range(100)]
Row = tuple[str, str, str, str, int | None]


def run(table: pa.Table, by: str = "document", **options: Any) -> Deduped:
    return dedup(table, by=by, **{"near": True, "threshold": 0.8, "ngram": 3, "permutations": 128, **options})


def corpus(*texts: str, **columns: Any) -> pa.Table:
    ids = [f"d{i}" for i in range(len(texts))]
    return pa.table({"id": ids, "text": pa.array(texts, pa.large_string()), **columns})


def pair_set(*rows: Row, **columns: Any) -> pa.Table:
    names = ("query_id", "query", "doc_id", "document", "label")
    values = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    table = pa.table({name: pa.array(list(each)) for name, each in values.items()} | columns)
    return as_pairs(table.append_column("origin", pa.array(["given"] * len(rows), pa.string())))


def cells(table: pa.Table, *names: str) -> list[Any]:
    columns = [table[name].to_pylist() for name in names]
    return columns[0] if len(names) == 1 else list(zip(*columns, strict=True))


# Which one stays


def test_best_keeps_the_highest_number_and_nulls_come_last() -> None:
    texts = ["same", "same", "Same", "other", "other", "third", "third"]
    quality = pa.array([1.5, None, 7.25, None, float("nan"), float("-inf"), None])
    outcome = run(corpus(*texts, quality=quality), keep="best:quality")
    assert cells(outcome.kept, "id") == ["d2", "d3", "d5"]
    assert set(cells(outcome.rejected, "id", "duplicate_of")) == {
        ("d0", "d2"),
        ("d1", "d2"),
        ("d4", "d3"),
        ("d6", "d5"),
    }


def test_best_takes_the_latest_date_and_the_first_of_equals() -> None:
    days = [datetime.date(2020, 1, 1), datetime.date(2024, 1, 1), datetime.date(2024, 1, 1)]
    assert cells(run(corpus("a", "a", "a", day=pa.array(days)), keep="best:day").kept, "id") == ["d1"]
    assert cells(run(corpus("a", "a", ok=pa.array([False, True])), keep="best:ok").kept, "id") == ["d1"]


def test_best_of_a_text_in_a_pair_set_is_the_best_of_its_rows() -> None:
    rows: list[Row] = [
        ("q1", "one", "d1", "same", 1),
        ("q2", "two", "d1", "same", 1),
        ("q3", "three", "d2", "SAME", 1),
        ("q4", "four", "d2", "SAME", 1),
    ]
    scores = {"votes": pa.array([1, 5, 4, 4])}
    assert set(cells(run(pair_set(*rows, **scores), keep="best:votes").kept, "doc_id")) == {"d1"}
    same_query: list[Row] = [("q", "one", "d1", "same", 1), ("p", "ONE", "d2", "SAME", 1)]
    kept = run(pair_set(*same_query, votes=pa.array([1, 2])), "pair", keep="best:votes").kept
    assert cells(kept, "doc_id") == ["d2"]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("best:", '--keep is "best:"; pass one of first, longest, best:COLUMN'),
        ("best:votes", '--keep best:votes: no column "votes" (with numbers or dates: size)'),
        (
            "best:text",
            '--keep best:text: "text" holds text, as all of a CSV file is; name a column of numbers or dates (size)',
        ),
    ],
)
def test_a_column_that_cannot_decide_is_told(keep: str, message: str) -> None:
    with pytest.raises(PairmineError) as error:
        run(corpus("a", "b", size=[1, 2]), keep=keep)
    assert str(error.value) == message


def test_in_a_star_every_text_is_a_copy_of_the_one_that_stays() -> None:
    first, second, third = (" ".join(LONG[start : start + 90]) for start in (0, 5, 10))
    table = corpus(first, second, third)
    assert cells(run(table, threshold=0.85).kept, "id") == ["d0"]
    outcome = run(table, threshold=0.85, group="star")
    assert cells(outcome.kept, "id") == ["d0", "d2"]
    assert cells(outcome.rejected, "id", "duplicate_of", "similar_to") == [("d1", "d0", "d0")]
    best = corpus(first, second, third, quality=[1, 3, 2])
    assert cells(run(best, threshold=0.85, group="star", keep="best:quality").kept, "id") == ["d1"]


def test_a_long_chain_of_different_texts_is_told() -> None:
    words = [f"w{i}" for i in range(700)]
    chain = [" ".join(words[start : start + 100]) for start in range(0, 600, 5)]
    (giant,) = run(corpus(*chain)).giants
    assert (giant.side, giant.kept, giant.size) == ("document", "d0", 120)
    assert giant.apart > 0.9
    assert run(corpus(*chain), group="star").giants == []
    assert run(corpus(*(["same text"] * 200))).giants == []


# Marks and groups


def test_marked_rows_all_stay_and_say_what_they_copy() -> None:
    near = " ".join(["x", *LONG[1:]])
    table = corpus(" ".join(LONG), "other", near, "OTHER", reason=["mine"] * 4)
    outcome = run(table, action="mark")
    assert cells(outcome.kept, "id", "reason", "duplicate_of", "similar_to") == [
        ("d0", None, None, None),
        ("d1", None, None, None),
        ("d2", "near copy", "d0", "d0"),
        ("d3", "exact copy", "d1", "d1"),
    ]
    assert cells(outcome.kept, "similarity") == [None, None, pytest.approx(97 / 99), 1.0]
    assert outcome.rejected.num_rows == 0
    assert {name: count for name, count in outcome.notes.items() if name.startswith("marked")} == {
        "marked: exact copy": 1,
        "marked: near copy": 1,
    }


def test_marking_and_dropping_agree() -> None:
    table = pair_set(
        ("q1", "one", "d1", "same", 1),
        ("q2", "two", "d2", "Same", 1),
        ("q2", "two", "d3", "third", 0),
        ("q3", "ONE", "d4", "fourth", 1),
    )
    for by in ("document", "query", "pair"):
        dropped, marked = run(table, by), run(table, by, action="mark")
        named = ("doc_id", "reason", "duplicate_of", "similarity", "similar_to")
        assert [row for row in cells(marked.kept, *named) if row[1]] == cells(dropped.rejected, *named)


def test_every_row_gets_the_group_of_both_sides_whatever_is_compared() -> None:
    table = pair_set(
        ("q1", "one", "d1", "same", 1),
        ("q2", "ONE", "d2", "second", 1),
        ("q3", "three", "d3", "Same", 1),
    )
    for by in ("document", "query", "pair"):
        outcome = run(table, by, group_ids=True, action="mark")
        assert cells(outcome.kept, "query_group", "document_group") == [("q1", "d1"), ("q1", "d2"), ("q3", "d1")]
    dropped = run(table, group_ids=True)
    assert cells(dropped.kept, "query_group") == ["q1", "q1"]
    assert cells(dropped.rejected, "document_group") == ["d1"]
    assert cells(run(corpus("a", "b", "A"), group_ids=True, action="mark").kept, "document_group") == ["d0", "d1", "d0"]


def test_every_group_of_two_or_more_is_listed_its_kept_member_first() -> None:
    near = " ".join(["x", *LONG[1:]])
    outcome = run(corpus("once", " ".join(LONG), "same", near, "Same", "SAME"))
    assert cells(outcome.members(), "side", "group", "id", "kept", "similar_to", "reason") == [
        ("document", "d1", "d1", True, None, None),
        ("document", "d1", "d3", False, "d1", "near copy"),
        ("document", "d2", "d2", True, None, None),
        ("document", "d2", "d4", False, "d2", "exact copy"),
        ("document", "d2", "d5", False, "d2", "exact copy"),
    ]
    assert (outcome.notes["groups"], outcome.notes["largest group"]) == (2, 3)


def test_the_groups_of_pairs_come_with_those_of_their_sides() -> None:
    table = pair_set(("q1", "one", "d1", "same", 1), ("q2", "ONE", "d2", "Same", 1))
    assert cells(run(table, "pair").members(), "side", "group", "id") == [
        ("query", "q1", "q1"),
        ("query", "q1", "q2"),
        ("document", "d1", "d1"),
        ("document", "d1", "d2"),
        ("pair", "q1\td1", "q1\td1"),
        ("pair", "q1\td1", "q2\td2"),
    ]


def test_without_copies_there_are_no_groups() -> None:
    outcome = run(corpus("one", "two"))
    assert outcome.members().num_rows == 0
    assert outcome.members().column_names == ["side", "group", "id", "kept", "similarity", "similar_to", "reason"]


# Labels


SPREAD = pair_set(
    ("q1", "one", "d1", "the answer", 1),
    ("q1", "one", "d2", "The Answer", 0),
    ("q1", "one", "d3", "the  answer", None),
    ("q1", "one", "d4", "no answer", 0),
    ("q2", "two", "d2", "The Answer", 0),
    ("q2", "two", "d5", "another", 1),
)


def test_a_copy_of_a_positive_becomes_one_in_its_own_query_before_anything_leaves() -> None:
    outcome = run(SPREAD, spread_labels=True, action="mark")
    assert cells(outcome.kept, "label", "previous_label") == [
        (1, None),
        (1, 0),
        (1, None),
        (0, None),
        (0, None),
        (1, None),
    ]
    said = "relabelled by spread-labels"
    assert cells(outcome.kept, "decision") == [None, said, said, None, None, None]
    assert outcome.notes["copies of a positive made positive, were negative"] == 1
    assert outcome.notes["copies of a positive made positive, were undecided"] == 1
    assert cells(outcome.kept, "reason") == [None, "exact copy", "exact copy", None, "exact copy", None]


def test_what_earlier_runs_said_of_other_rows_stays() -> None:
    table = SPREAD.append_column("decision", pa.array(["earlier"] * 6))
    table = table.append_column("previous_label", pa.array([None, 1, None, 1, None, None], pa.int64()))
    kept = run(table, spread_labels=True, action="mark").kept
    assert cells(kept, "previous_label") == [None, 0, None, 1, None, None]
    assert cells(kept, "decision")[3] == "earlier"


def test_labels_spread_between_copies_of_one_query_where_queries_are_compared() -> None:
    table = pair_set(("q1", "one", "d1", "the answer", 0), ("q2", "ONE", "d2", "The Answer", 1))
    assert cells(run(table, "query", spread_labels=True).kept, "doc_id", "label") == [("d1", 1)]
    assert cells(run(table, "pair", spread_labels=True).kept, "doc_id", "label") == [("d1", 1)]
    assert cells(run(table, "document", spread_labels=True).kept, "doc_id", "label") == [("d1", 0)]


# Rows that move


def test_rows_move_to_the_document_that_stays_so_that_no_query_loses_its_positive() -> None:
    table = pair_set(
        ("q1", "one", "d1", "the answer", 1),
        ("q1", "one", "d3", "other", 0),
        ("q2", "two", "d2", "The Answer", 1),
        ("q2", "two", "d3", "other", 0),
    )
    outcome = run(table, merge=True)
    assert cells(outcome.kept, "query_id", "doc_id", "document", "label", "previous_doc_id") == [
        ("q1", "d1", "the answer", 1, None),
        ("q1", "d3", "other", 0, None),
        ("q2", "d1", "the answer", 1, "d2"),
        ("q2", "d3", "other", 0, None),
    ]
    assert outcome.rejected.num_rows == 0
    assert outcome.notes["rows moved to the copy that stays"] == 1
    assert outcome.kept.schema.field("document").type == table.schema.field("document").type
    assert {row["doc_id"] for row in run(table).rejected.to_pylist()} == {"d2", "d3"}


def test_of_rows_that_meet_the_positive_stays_else_the_first() -> None:
    table = pair_set(
        ("q1", "one", "d1", "the answer", 0),
        ("q1", "one", "d2", "The Answer", 1),
        ("q2", "two", "d2", "The Answer", None),
        ("q2", "two", "d1", "the answer", 0),
        ("q2", "two", "d3", "else", 1),
    )
    outcome = run(table, merge=True)
    assert cells(outcome.kept, "query_id", "doc_id", "label", "previous_doc_id") == [
        ("q1", "d1", 1, "d2"),
        ("q2", "d1", None, "d2"),
        ("q2", "d3", 1, None),
    ]
    assert cells(outcome.rejected, "query_id", "doc_id", "label", "reason", "duplicate_of") == [
        ("q1", "d1", 0, "merged", "d1"),
        ("q2", "d1", 0, "merged", "d1"),
    ]


def test_rows_of_a_query_move_to_the_one_that_stays_and_stand_together() -> None:
    table = pair_set(
        ("q1", "one", "d1", "first", 0),
        ("q2", "two", "d2", "second", 1),
        ("q3", "ONE", "d1", "first", 1),
        ("q3", "ONE", "d3", "third", 0),
    )
    outcome = run(table, "query", merge=True)
    assert cells(outcome.kept, "query_id", "query", "doc_id", "label", "previous_query_id") == [
        ("q1", "one", "d1", 1, "q3"),
        ("q1", "one", "d3", 0, "q3"),
        ("q2", "two", "d2", 1, None),
    ]
    assert cells(outcome.rejected, "query_id", "label", "reason") == [("q1", 0, "merged")]


words = st.lists(st.sampled_from(["a", "B", "b", "c"]), min_size=0, max_size=4).map(" ".join)
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from([0, 1, None])), max_size=14)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(words, min_size=4, max_size=4),
    st.lists(words, min_size=5, max_size=5),
    pairs,
    st.sampled_from(["query", "document"]),
    st.booleans(),
)
def test_merging_loses_no_row_and_no_positive(
    queries: list[str], documents: list[str], rows: list[tuple[int, int, int | None]], by: str, spreads: bool
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    table = pair_set(*((f"q{q}", queries[q], f"d{d}", documents[d], label) for q, d, label in rows))
    outcome = run(table, by, merge=True, spread_labels=spreads)
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows)
    meetings = cells(outcome.kept, "query_id", "doc_id")
    assert len(set(meetings)) == len(meetings)
    ids = [query for query, _ in meetings]
    assert [query for i, query in enumerate(ids) if i == 0 or ids[i - 1] != query] == list(dict.fromkeys(ids))
    group = {row["id"]: row["group"] for row in outcome.members().to_pylist()}
    place = 0 if by == "query" else 1
    wanted = set()
    for q, d, label in rows:
        names = [f"q{q}", f"d{d}"]
        names[place] = group.get(names[place], names[place])
        if label == 1:
            wanted.add(tuple(names))
    positive = {pair[:2] for pair in cells(outcome.kept, "query_id", "doc_id", "label") if pair[2] == 1}
    assert wanted <= positive
    assert spreads or wanted == positive
    assert set(cells(outcome.rejected, "reason")) <= {"merged"}


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (corpus("a"), {"merge": True}, '--merge is for pair sets, and this is a corpus (no "query_id"); leave it out'),
        (corpus("a"), {"spread_labels": True}, "--spread-labels is for pair sets"),
        (SPREAD.drop_columns("label"), {"spread_labels": True}, '--spread-labels: no "label"'),
        (SPREAD, {"merge": True, "by": "pair"}, "--merge has no effect with --by pair"),
        (SPREAD, {"merge": True, "action": "mark"}, "--merge has no effect with --action mark"),
        (SPREAD, {"action": "keep"}, '--action is "keep"; pass one of drop, mark'),
        (SPREAD, {"group": "ring"}, '--group is "ring"; pass one of chain, star'),
        (SPREAD.drop_columns("query"), {"group_ids": True}, 'no "query"'),
    ],
)
def test_what_cannot_be_done_is_told(table: pa.Table, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        run(table, **options)
    assert message in str(error.value)


# Sources


def test_a_source_that_loses_more_than_half_is_told() -> None:
    texts = ["same"] * 12 + [f"text number {i}" for i in range(12)]
    table = corpus(*texts, source=["bad"] * 12 + ["good"] * 12, origin=["x"] * 24)
    assert [(loss.value, loss.rows, loss.left, loss.is_much) for loss in run(table).losses] == [
        ("bad", 12, 11, True),
        ("good", 12, 0, False),
    ]
    assert run(corpus("a", "a", "a", source=["few"] * 3)).losses[0].is_much is False
    assert run(corpus("a", "a")).losses == []


# The command


def command(folder: Path, patch: pytest.MonkeyPatch, *words: str) -> int:
    patch.chdir(folder)
    patch.setattr(sys, "argv", ["pairmine", "dedup", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_groups_go_to_a_file_of_any_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(corpus("same", "Same", "other"), tmp_path / "c.parquet")
    for name in ("g.jsonl", "g.csv", "g.parquet"):
        assert command(tmp_path, monkeypatch, "c.parquet", "-q", "-o", "o.parquet", "--groups", name) == 0
    rows = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
    assert [(row["group"], row["id"], row["kept"]) for row in rows] == [("d0", "d0", True), ("d0", "d1", False)]
    assert pq.read_table(tmp_path / "g.parquet").num_rows == 2


def test_a_dry_run_counts_shows_the_largest_groups_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(corpus("same", "Same", "other", "SAME"), tmp_path / "c.parquet")
    assert command(tmp_path, monkeypatch, "c.parquet", "--dry-run") == 0
    said = capsys.readouterr().err
    assert "rejected: exact copy  -2" in said
    assert "largest document groups: members, id of the one that stays\n          3  d0\n" in said
    assert said.endswith("dry run: nothing was written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_the_report_says_how_likely_a_pair_is_found_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = [" ".join(f"w{i}" for i in range(start, start + 100)) for start in range(0, 600, 5)]
    pq.write_table(corpus(*chain, source=["web"] * 120), tmp_path / "c.parquet")
    assert command(tmp_path, monkeypatch, "c.parquet", "-o", "o.parquet", "--summary", "s.json") == 0
    said = capsys.readouterr().err
    counts = json.loads((tmp_path / "s.json").read_text())
    assert counts["minhash"]["probability_at_threshold"] >= 0.999
    assert f"{counts['minhash']['bands']} bands of {counts['minhash']['rows']} rows bring up a pair at 0.8" in said
    assert 'warning: 120 texts make one group around document "d0"' in said
    assert "--group star keeps them apart" in said
    assert 'warning: of 120 rows with source "web", 119 (99%) leave' in said


def test_queries_that_lose_their_positives_are_told_how_to_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Row] = [
        ("q1", "one", "d1", "same", 1),
        ("q2", "two", "d2", "Same", 1),
        ("q2", "two", "d3", "other", 0),
    ]
    pq.write_table(pair_set(*rows), tmp_path / "p.parquet")
    assert command(tmp_path, monkeypatch, "p.parquet", "-o", "o.parquet") == 0
    assert "1 rows leave with queries that lose all their positives; --merge moves" in capsys.readouterr().err
    assert command(tmp_path, monkeypatch, "p.parquet", "--merge", "-o", "o.parquet") == 0
    assert "--merge moves" not in capsys.readouterr().err
    rows = [("q1", "one", "d1", "same", 0), ("q1", "one", "d2", "Same", 1)]
    pq.write_table(pair_set(*rows), tmp_path / "p.parquet")
    assert command(tmp_path, monkeypatch, "p.parquet", "--by", "pair", "-o", "o.parquet") == 0
    said = capsys.readouterr().err
    assert "1 rows leave with queries that lose all their positives; --spread-labels makes" in said
    assert "warning: every row leaves\n" in said
    assert command(tmp_path, monkeypatch, "p.parquet", "--by", "pair", "--spread-labels", "-o", "o.parquet") == 0
    assert pq.read_table(tmp_path / "o.parquet")["label"].to_pylist() == [1]


def test_positives_that_a_test_set_takes_are_not_to_be_kept_by_merging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pair_set(("q1", "one", "d1", "same", 1), ("q1", "one", "d2", "other", 0)), tmp_path / "p.parquet")
    (tmp_path / "held-out.txt").write_text("same\n")
    assert command(tmp_path, monkeypatch, "p.parquet", "--against", "held-out.txt", "-o", "o.parquet") == 0
    said = capsys.readouterr().err
    assert "no positive left" in said
    assert "--merge" not in said
    assert "every row leaves; is a test set where the input came from?" in said


@pytest.mark.parametrize("memory", ["in memory", "bounded"])
def test_columns_that_are_replaced_are_told(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if memory == "bounded":
        monkeypatch.setattr("pairmine.cli.dedup_scale.read_within", lambda source, room, each=None: None)
    columns = {"reason": ["mine"] * 2, "similarity": [0.1] * 2, "document_group": ["g"] * 2}
    pq.write_table(corpus("some text", "other words", **columns), tmp_path / "c.parquet")
    assert command(tmp_path, monkeypatch, "c.parquet", "-o", "o.parquet") == 0
    assert "replaced" not in capsys.readouterr().err
    assert command(tmp_path, monkeypatch, "c.parquet", "--action", "mark", "-o", "o.parquet") == 0
    line = 'pairmine: "reason", "similarity" of the input are replaced; rename what you want to keep\n'
    assert capsys.readouterr().err.count(line) == 1
    assert command(tmp_path, monkeypatch, "c.parquet", "--group-ids", "-o", "o.parquet") == 0
    assert '"document_group" of the input is replaced' in capsys.readouterr().err


IDS_ONLY = ("--ids-only", "-o", "ids.parquet", "--rejects", "gone.parquet", "--groups", "groups.jsonl")


@pytest.mark.parametrize("memory", ["in memory", "bounded"])
def test_ids_only_writes_the_ids_of_what_stays_and_rejects_and_groups_as_ever(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if memory == "bounded":
        monkeypatch.setattr("pairmine.cli.dedup_scale.read_within", lambda source, room, each=None: None)
    texts = corpus("some text", "Some  text", "other words", "", quality=[1, 2, 3, 4])
    pq.write_table(texts, tmp_path / "c.parquet")
    options = ("--keep", "best:quality")
    assert command(tmp_path, monkeypatch, "c.parquet", *options, *IDS_ONLY) == 0
    ids, gone = pq.read_table(tmp_path / "ids.parquet"), pq.read_table(tmp_path / "gone.parquet")
    assert ids.to_pydict() == {"id": ["d1", "d2", "d3"]}
    assert cells(gone, "id") == ["d0"]
    assert cells(gone, "text") == ["some text"]
    assert cells(gone, "duplicate_of") == ["d1"]
    assert len((tmp_path / "groups.jsonl").read_text().splitlines()) == 2


def test_ids_only_of_a_pair_set_are_those_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pair_set(("q1", "one", "d1", "same", 1), ("q1", "one", "d2", "Same", 0)), tmp_path / "p.parquet")
    assert command(tmp_path, monkeypatch, "p.parquet", *IDS_ONLY) == 0
    assert pq.read_table(tmp_path / "ids.parquet").to_pydict() == {"query_id": ["q1"], "doc_id": ["d1"]}
    assert cells(pq.read_table(tmp_path / "gone.parquet"), "document") == ["Same"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-o", "o.parquet", "--keep", "best:"], "--keep best:: choose first, longest, best:COLUMN"),
        (["-o", "o.parquet", "--dry-run"], "--output has no effect with --dry-run; leave one of them out"),
        ([], "missing option '--output' / '-o'; only --dry-run goes without it"),
        (["-o", "o.parquet", "--action", "mark", "--merge"], "--merge has no effect with --action mark"),
        (["-o", "o.parquet", "--groups", "o.parquet"], "-o and --groups both name o.parquet"),
        (["-o", "o.parquet", "--exact-only", "--ngram", "2"], "--ngram has no effect with --exact-only"),
        (["-o", "o.parquet", "--shingles", "bytes"], "--shingles bytes: choose words, characters"),
    ],
)
def test_options_that_cannot_go_together_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    pq.write_table(corpus("same", "other"), tmp_path / "c.parquet")
    assert command(tmp_path, monkeypatch, "c.parquet", *words) == 2
    assert line in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_by_pair_reads_a_table_as_a_pair_set_whatever_its_columns_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.csv").write_text("question,answer\nwhy?,so\nwhy?,so\nwho?,so\n")
    assert command(tmp_path, monkeypatch, "p.csv", "--by", "pair", "-o", "o.parquet") == 0
    assert cells(pq.read_table(tmp_path / "o.parquet"), "query", "document") == [("why?", "so"), ("who?", "so")]
