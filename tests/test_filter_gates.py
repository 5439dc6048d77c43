"""Gates of `filter`: scores that decide labels, role or no role, and ladders that must fall."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import TEXT, score_field
from pairmine.stages.filter import filter_pairs

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("grade", pa.float32()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        score_field("st", "cosine"),
        score_field("llm", "similarity"),
        pa.field("cluster", pa.int32()),
    ]
)


def row(query: str, doc: str, label: int | None = None, **more: Any) -> dict[str, Any]:
    given = {"query_id": query, "query": f"question {query}", "doc_id": doc, "document": f"text of {doc}"}
    return {**given, "label": label, "origin": "test", **more}


def run(rows: list[dict[str, Any]], **options: Any) -> Outcome:
    settings: dict[str, Any] = {"by": None, "pick": None, **options}
    return filter_pairs(pa.Table.from_pylist(rows, schema=SCHEMA), **settings)


def labels(outcome: Outcome) -> dict[str, int | None]:
    return dict(zip(outcome.kept["doc_id"].to_pylist(), outcome.kept["label"].to_pylist(), strict=True))


def reasons(outcome: Outcome) -> dict[str, str]:
    return dict(zip(outcome.rejected["doc_id"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True))


# ------------------------------------------------------------------ --gate


def test_a_gate_decides_by_the_score_whatever_the_row_was_meant_to_be() -> None:
    rows = [
        row("q", "a", 1, score_st=0.9),
        row("q", "b", 0, score_st=0.85),
        row("q", "c", 1, score_st=0.2),
        row("q", "d", None, score_st=0.8),
        row("q", "e", None, score_st=0.7499),
        row("q", "f", 0, score_st=0.75),
        row("q", "g", 1, score_st=0.7999),
    ]
    outcome = run(rows, gate="st:0.75:0.80")
    assert labels(outcome) == {"a": 1, "b": 1, "c": 0, "d": 1, "e": 0}
    assert set(reasons(outcome)) == {"f", "g"}
    assert set(reasons(outcome).values()) == {"between the gates 0.75 and 0.8 of score_st"}
    assert outcome.notes == {
        "meant as positives, made negatives by the gate": 1,
        "meant as negatives, made positives by the gate": 1,
    }


def test_one_threshold_leaves_nothing_between_and_needs_no_labels() -> None:
    rows = [row("q", "a", grade=0.6), row("q", "b", grade=0.59), row("語", "c", grade=0.6)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).drop_columns("label")
    outcome = filter_pairs(table, by=None, gate="grade:0.6:0.6")
    assert labels(outcome) == {"a": 1, "b": 0, "c": 1}
    assert outcome.rejected.num_rows == 0


def test_a_query_whose_positive_the_gate_took_leaves_where_negatives_are_picked() -> None:
    rows = [row("q", "a", 1, score_st=0.5), row("q", "b", 0, score_st=0.2), row("r", "c", 0, score_st=0.9)]
    outcome = run(rows, gate="st:0.75:0.80", pick="top", negatives=1)
    assert labels(outcome) == {"c": 1}
    assert reasons(outcome) == {"a": "query has no positive", "b": "query has no positive"}


def test_a_row_that_fell_between_the_gates_does_not_come_back_as_a_random_negative() -> None:
    rows = [row("q", "p", 1, score_st=0.9), row("q", "between", 0, score_st=0.77)]
    fillers = pa.table({"doc_id": ["between", "x"], "document": ["text of between", "text of x"]})
    outcome = run(rows, gate="st:0.75:0.80", pick="top", negatives=2, shortage="fill", fillers=fillers)
    assert outcome.kept["doc_id"].to_pylist() == ["p", "x"]


def test_a_rejected_copy_does_not_take_the_place_of_a_later_row() -> None:
    rows = [
        row("q", "p", 1, score_st=0.9),
        row("q", "n", None, score_st=0.1, document="no"),
        row("q", "n2", None, score_st=0.1, document="five words are in here"),
    ]
    again = [*rows, row("q", "n", None, score_st=0.3, document="no longer the same short text")]
    outcome = run(again, complexity="3", pick="top", by="score_st", negatives=5)
    assert outcome.kept["doc_id"].to_pylist() == ["p", "n", "n2"]
    assert outcome.rejected["reason"].to_pylist() == ["document of fewer than 3 words"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "st"}, "gate st: write it as COLUMN:LOW:HIGH, as in score_st:0.75:0.80"),
        ({"gate": "st:low:0.8"}, 'gate st:low:0.8: "low" is no number'),
        ({"gate": "st:nan:0.8"}, '"nan" is no number'),
        ({"gate": "st:0.8:0.7"}, "0.8 is above 0.7; the lower threshold comes first"),
        ({"gate": "llm:3:3"}, r"gate: 3 is outside what score_llm holds, 0 to 1; .* \(3 of 5 is 0.6\)"),
        (
            {"gate": "ce:0.1:0.2"},
            "gate: no column ce; columns to choose from: score_st, score_llm, grade, rank, or run",
        ),
        ({"gate": "origin:0.1:0.2"}, "column origin holds string, no numbers"),
        ({"gate": "st:0.1:0.2"}, "gate: 1 of 2 rows have no score_st; run 'pairmine score' first"),
        ({"gate": "grade:0.1:0.2"}, "gate: 2 of 2 rows have no grade; use a recipe that grades its pairs"),
        ({"curate": "st:0.1:0.2"}, "curate: 1 of 2 labelled rows have no score_st"),
        ({"swap_by": "st"}, "swap: 1 of 2 labelled rows have no score_st"),
        ({"monotone": "st"}, "monotone: 1 of 2 rows have no score_st"),
        ({"monotone": "st:-1"}, "a tolerance is 0 or more"),
        ({"monotone": "st:0:mend"}, '"mend" is not one of: drop, cut'),
        ({"monotone": ":0"}, r"write it as COLUMN\[:TOLERANCE"),
        ({"shortage": "drop"}, 'shortage "drop" has no effect where nothing is picked'),
        ({"pick": "inverse-propensity"}, "pick inverse-propensity goes by a score; run 'pairmine score' first"),
        ({"drop_same_cluster": True}, "1 of 1 positives have no cluster to hold candidates against"),
    ],
)
def test_a_wrong_gate_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError, match=message) as error:
        run([row("q", "p", 1, score_st=0.9), row("q", "n", 0, score_st=None)], **options)
    assert error.value.exit_code == 2


def test_an_empty_pair_set_passes_every_gate() -> None:
    outcome = run([], gate="st:0.75:0.8", swap_by="llm", curate="llm:0.6:0.6", monotone="st")
    assert (outcome.kept.num_rows, outcome.rejected.num_rows, dict(outcome.notes)) == (0, 0, {})


# ------------------------------------------------------------------ --swap-by and --curate


def test_a_negative_that_scores_above_its_positive_changes_places_with_it() -> None:
    rows = [
        row("swap", "a", 1, score_llm=0.4),
        row("swap", "b", 0, score_llm=0.8),
        row("right", "c", 1, score_llm=0.8),
        row("right", "d", 0, score_llm=0.4),
        row("tie", "e", 0, score_llm=0.6),
        row("tie", "f", 1, score_llm=0.6),
        row("lone", "g", 0, score_llm=0.9),
    ]
    outcome = run(rows, swap_by="llm")
    assert labels(outcome) == {"a": 0, "b": 1, "c": 1, "d": 0, "e": 0, "f": 1, "g": 0}
    assert outcome.notes == {"pairs swapped for their scores": 1}


def test_with_several_of_each_the_best_scored_get_as_many_positive_labels_as_there_were() -> None:
    rows = [
        row("q", "a", 1, score_llm=0.9),
        row("q", "b", 1, score_llm=0.2),
        row("q", "c", 0, score_llm=0.7),
        row("q", "d", 0, score_llm=0.1),
        row("q", "e", None),
    ]
    outcome = run(rows, swap_by="score_llm")
    assert labels(outcome) == {"a": 1, "b": 0, "c": 1, "d": 0, "e": None}


def test_curating_keeps_roles_and_drops_what_does_not_live_up_to_them() -> None:
    """MultiCSR's preset: the positive 3 of 5 or more, the negative 3 or less, and not the same score."""
    rows = [
        row("good", "a", 1, score_llm=0.8),
        row("good", "b", 0, score_llm=0.4),
        row("equal", "c", 1, score_llm=0.6),
        row("equal", "d", 0, score_llm=0.6),
        row("weak", "e", 1, score_llm=0.59),
        row("weak", "f", 0, score_llm=0.1),
        row("near", "g", 1, score_llm=1.0),
        row("near", "h", 0, score_llm=0.61),
    ]
    outcome = run(rows, curate="llm:0.6:0.6", pick="top", negatives=1)
    assert labels(outcome) == {"a": 1, "b": 0, "c": 1, "g": 1}
    assert reasons(outcome) == {
        "d": "score_llm not below that of a positive",
        "e": "positive with score_llm below 0.6",
        "f": "query has no positive",
        "h": "negative with score_llm above 0.6",
    }


def test_swapping_comes_before_curating() -> None:
    rows = [row("q", "a", 1, score_llm=0.2), row("q", "b", 0, score_llm=0.8)]
    assert labels(run(rows, swap_by="llm", curate="llm:0.6:0.6")) == {"a": 0, "b": 1}
    assert reasons(run(rows, curate="llm:0.6:0.6")) == {
        "a": "positive with score_llm below 0.6",
        "b": "negative with score_llm above 0.6",
    }


# ------------------------------------------------------------------ --monotone


def ladder(query: str, *scores: float, **more: Any) -> list[dict[str, Any]]:
    return [row(query, f"{query}{step}", score_st=score, rank=step, **more) for step, score in enumerate(scores, 1)]


def test_a_ladder_that_rises_leaves_as_a_whole_or_is_cut_at_the_rise() -> None:
    rows = [*ladder("up", 0.9, 0.7, 0.8, 0.3), *ladder("down", 0.9, 0.9, 0.5), *ladder("one", 0.1)]
    whole = run(rows, monotone="st")
    assert whole.kept["doc_id"].to_pylist() == ["down1", "down2", "down3", "one1"]
    assert set(reasons(whole).values()) == {"score_st rises along its chain"}
    cut = run(rows, monotone="st:0:cut")
    assert cut.kept["doc_id"].to_pylist() == ["up1", "up2", "down1", "down2", "down3", "one1"]
    assert reasons(cut) == dict.fromkeys(("up3", "up4"), "from the first rise of score_st on")


def test_a_tolerance_counts_from_the_lowest_score_so_far_so_that_small_rises_do_not_add_up() -> None:
    rows = ladder("q", 0.9, 0.5, 0.51, 0.52, 0.53)
    assert labels(run(rows, monotone="st:0.02:cut")).keys() == {"q1", "q2", "q3", "q4"}
    assert run(rows, monotone="st:0.03").rejected.num_rows == 0
    assert run(rows, monotone="st:0.02").kept.num_rows == 0


def test_a_ladder_is_read_by_rank_else_by_falling_grade_else_as_it_stands() -> None:
    shuffled = [ladder("q", 0.9, 0.7, 0.5)[at] for at in (2, 0, 1)]
    assert run(shuffled, monotone="st").rejected.num_rows == 0
    graded = [{**one, "rank": None, "grade": 1 - one["rank"] / 10} for one in shuffled]
    assert run(graded, monotone="st").rejected.num_rows == 0
    bare = [{**one, "rank": None} for one in shuffled]
    assert run(bare, monotone="st").rejected.num_rows == 3
    assert run(bare[1:], monotone="st").rejected.num_rows == 0


def test_a_ladder_may_fall_by_its_own_grade() -> None:
    rows = [row("q", "a", grade=1.0, rank=1), row("q", "b", grade=0.4, rank=2), row("q", "c", grade=0.6, rank=3)]
    assert labels(run(rows, monotone="grade:0:cut")).keys() == {"a", "b"}


# ------------------------------------------------------------------ --drop-same-cluster


def test_a_candidate_of_the_positives_own_cluster_is_no_negative() -> None:
    rows = [
        row("q", "p", 1, cluster=3),
        row("q", "p2", 1, cluster=5),
        row("q", "a", None, cluster=3),
        row("q", "b", None, cluster=4),
        row("q", "c", None, cluster=5),
        row("q", "d", None, cluster=None),
        row("q", "e", 0, cluster=3),
        row("r", "o", 1, cluster=4),
        row("r", "a", None, cluster=3),
        row("alone", "z", 1, cluster=None),
    ]
    outcome = run(rows, pick="top", drop_same_cluster=True)
    assert outcome.kept["doc_id"].to_pylist() == ["p", "p2", "e", "b", "d", "o", "a", "z"]
    assert reasons(outcome) == dict.fromkeys(("a", "c"), "in the cluster of a positive")
    assert outcome.notes["candidates without a cluster"] == 1
    assert outcome.notes["exempt, but in the cluster of a positive"] == 1


def test_clusters_that_are_not_there_are_asked_for() -> None:
    table = pa.Table.from_pylist([row("q", "p", 1), row("q", "n")], schema=SCHEMA).drop_columns("cluster")
    with pytest.raises(PairmineError, match=r"no cluster column, .*run 'pairmine mine --clusters' first"):
        filter_pairs(table, by=None, drop_same_cluster=True)


def test_clusters_may_be_named_in_words() -> None:
    rows = pa.Table.from_pylist([row("q", "p", 1), row("q", "a"), row("q", "b")], schema=SCHEMA)
    named = pa.array(["sport", "sport", "天気"]).dictionary_encode()
    table = rows.set_column(rows.schema.get_field_index("cluster"), "cluster", named)
    assert filter_pairs(table, by=None, drop_same_cluster=True).kept["doc_id"].to_pylist() == ["p", "b"]


# ------------------------------------------------------------------ nothing picked


def test_with_nothing_to_pick_rows_keep_their_place_and_their_labels() -> None:
    rows = [
        row("q", "a", None, score_st=0.4),
        row("q", "a", 0, score_st=0.4),
        row("q", "p", 1, score_st=0.5),
        *(row("r", f"d{n}", 0) for n in range(9)),
    ]
    outcome = run(rows)
    assert outcome.kept["doc_id"].to_pylist() == [one["doc_id"] for one in rows]
    assert outcome.kept["label"].to_pylist()[:3] == [None, 0, 1]
    margin = run(rows, by="score_st", absolute_margin=0.2)
    assert reasons(margin) == {"a": "within 0.2 of the lowest positive"}
    assert margin.kept.num_rows == 11


def test_queries_come_out_the_same_alone_and_in_company() -> None:
    rows = [
        row(
            f"q{q}",
            f"d{n}",
            (1, 0, None)[n % 3],
            score_st=math.sin(7 * q + n),
            score_llm=abs(math.sin(3 * q + n)),
            rank=n,
        )
        for q in range(12)
        for n in range(1, 8)
    ]
    options: dict[str, Any] = {
        "swap_by": "llm",
        "curate": "llm:0.7:0.5",
        "monotone": "st:0.9:cut",
        "pick": "random",
        "by": "score_st",
        "negatives": 2,
        "weights": ("gaussian-decay", "importance:by=llm"),
    }
    together = run(rows, **options)
    alone = [run([one for one in rows if one["query_id"] == f"q{q}"], **options) for q in range(12)]
    assert together.kept.to_pylist() == [one for outcome in alone for one in outcome.kept.to_pylist()]
    assert together.rejected.to_pylist() == [one for outcome in alone for one in outcome.rejected.to_pylist()]
    assert together.kept.num_rows > 12


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"gate": "st:0.75:0.80"}, "between the gates 0.75 and 0.8 of score_st"),
        ({"curate": "st:0.9:0.9"}, "positive with score_st below 0.9"),
        ({"max_edit_ratio": 0.5}, "almost the query's own text (more than 50%)"),
        ({"monotone": "st:0:cut"}, "from the first rise of score_st on"),
    ],
)
def test_negatives_whose_positive_a_rule_took_leave_with_it_and_graded_rows_stay(
    options: dict[str, Any], why: str
) -> None:
    rows = [
        row("lost", "far", 0, score_st=0.1, rank=1),
        row("lost", "copy", 1, score_st=0.77, rank=2, document="question lost!"),
        row("held", "good", 1, score_st=0.95, rank=1),
        row("held", "bad", 0, score_st=0.2, rank=2),
        row("等级", "g", None, score_st=0.3, rank=1),
        row("negatives", "n", 0, score_st=0.3, rank=1),
    ]
    outcome = run(rows, **options)
    assert reasons(outcome) == {"far": "query has no positive", "copy": why}
    assert list(labels(outcome)) == ["good", "bad", "g", "n"]


# ------------------------------------------------------------------ against a reference that goes row by row

SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([1, 0, None]), SCORES, SCORES, st.integers(1, 6)), max_size=14
)


def expected(rows: list[dict[str, Any]], options: dict[str, Any]) -> tuple[dict[str, int | None], dict[str, str]]:
    """The labels of what stays and the reasons of what leaves, as the words of `filter_pairs` say it."""
    labels = {one["doc_id"]: one["label"] for one in rows}
    gone: dict[str, str] = {}
    for query in sorted({one["query_id"] for one in rows}):
        block = [one for one in rows if one["query_id"] == query]
        if "swap_by" in options:
            decided = [one for one in block if one["label"] is not None]
            many = sum(one["label"] for one in decided)
            decided.sort(key=lambda one: (-one["score_llm"], -one["label"]))
            labels |= {one["doc_id"]: int(place < many) for place, one in enumerate(decided)}
        for one in block if "gate" in options else ():
            if one["score_st"] < 0.5:
                labels[one["doc_id"]] = 0
            elif one["score_st"] >= 0.75:
                labels[one["doc_id"]] = 1
            else:
                gone[one["doc_id"]] = "between the gates 0.5 and 0.75 of score_st"
        if "curate" in options:
            left = [one for one in block if one["doc_id"] not in gone]
            for one in left:
                if labels[one["doc_id"]] == 1 and one["score_llm"] < 0.5:
                    gone[one["doc_id"]] = "positive with score_llm below 0.5"
                if labels[one["doc_id"]] == 0 and one["score_llm"] > 0.75:
                    gone[one["doc_id"]] = "negative with score_llm above 0.75"
            best = [one["score_llm"] for one in left if labels[one["doc_id"]] == 1 and one["doc_id"] not in gone]
            for one in left:
                if best and labels[one["doc_id"]] == 0 and one["score_llm"] >= min(best):
                    gone.setdefault(one["doc_id"], "score_llm not below that of a positive")
        if "monotone" in options:
            chain = sorted((one for one in block if one["doc_id"] not in gone), key=lambda one: one["rank"])
            lowest = math.inf
            for place, one in enumerate(chain):
                if one["score_st"] > lowest + 0.25:
                    gone |= {later["doc_id"]: "from the first rise of score_st on" for later in chain[place:]}
                    break
                lowest = min(lowest, one["score_st"])
        if any(one["label"] == 1 for one in block) and options:
            left = [one["doc_id"] for one in block if one["doc_id"] not in gone]
            if not any(labels[doc] == 1 for doc in left):
                gone |= dict.fromkeys(left, "query has no positive")
    return {doc: label for doc, label in labels.items() if doc not in gone}, gone


@settings(max_examples=300, deadline=None)
@given(ROWS, st.sets(st.sampled_from(["swap_by", "gate", "curate", "monotone"])))
def test_gates_do_what_their_words_say(drawn: list[tuple[int, int | None, float, float, int]], which: set[str]) -> None:
    rows = [
        row(f"q{query}", f"d{at}", label, score_st=first, score_llm=second, rank=rank)
        for at, (query, label, first, second, rank) in enumerate(sorted(drawn, key=lambda one: one[0]))
    ]
    spelled = {"swap_by": "llm", "gate": "st:0.5:0.75", "curate": "llm:0.75:0.5", "monotone": "st:0.25:cut"}
    options = {name: spelled[name] for name in which}
    outcome = run(rows, **options)
    assert (labels(outcome), reasons(outcome)) == expected(rows, options)


@pytest.mark.parametrize(
    "options",
    [
        {"swap_by": "st"},
        {"curate": "st:0.6:0.6"},
        {"by": "score_st", "relative_margin": 0.05},
        {"drop_same_cluster": True},
    ],
)
def test_what_compares_positives_and_negatives_is_refused_where_no_row_has_a_label(options: dict[str, Any]) -> None:
    rows = [row("q", "a", None, score_st=0.9), row("q", "b", None, score_st=0.1)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).drop_columns("label")
    with pytest.raises(PairmineError, match="no label column, so no positives to hold candidates against"):
        filter_pairs(table, **{"by": None, "pick": None, **options})


def test_an_empty_column_name_to_swap_by_is_an_error() -> None:
    with pytest.raises(PairmineError, match="swap: no column ;"):
        run([row("q", "p", 1, score_st=0.9), row("q", "n", 0, score_st=0.1)], swap_by="")


def test_a_list_of_clusters_is_refused() -> None:
    table = pa.Table.from_pylist([row("q", "p", 1), row("q", "n", None)], schema=SCHEMA).drop_columns("cluster")
    table = table.append_column("cluster", pa.array([[1], [2, 3]]))
    with pytest.raises(PairmineError, match='"cluster" holds list<item: int64>, and a document is in one cluster'):
        filter_pairs(table, by=None, pick=None, drop_same_cluster=True)
