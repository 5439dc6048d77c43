"""Export: what a trainer gets, what is left out and why, and where each training row came from."""

from __future__ import annotations

import json
from collections import Counter
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.schema import TEXT, as_pairs, empty_pairs, score_field
from pairmine.stages.export import TARGETS, Exported, Survey, export, find_target, survey
from pairmine.stages.export.survey import Surveyor

Row = tuple[str, str, int | None]


def pair_set(rows: list[Row], **columns: list[Any]) -> pa.Table:
    """Pairs from (query_id, doc_id, label); the texts name their ids, `columns` replace or add."""
    made: dict[str, Any] = {
        "query_id": [query for query, _, _ in rows],
        "query": [f"text of {query}" for query, _, _ in rows],
        "doc_id": [doc for _, doc, _ in rows],
        "document": [f"text of {doc}" for _, doc, _ in rows],
        "label": pa.array([label for _, _, label in rows], pa.int8()),
        "origin": ["given" if label == 1 else "mine:bm25" for _, _, label in rows],
    }
    return as_pairs(pa.table(made | columns))


def reasons(exported: Exported) -> list[tuple[str, str, str]]:
    rejected = exported.outcome.rejected
    return list(zip(*(rejected[name].to_pylist() for name in ("query_id", "doc_id", "reason")), strict=True))


TWO_QUERIES: list[Row] = [
    ("q1", "p1", 1),
    ("q1", "n1", 0),
    ("q1", "n2", 0),
    ("q1", "n3", 0),
    ("q2", "n4", 0),
    ("q2", "p2", 1),
    ("q2", "p3", 1),
]


def test_st_pair_holds_each_positive_once_and_says_that_negatives_are_not_used() -> None:
    exported = export(pair_set(TWO_QUERIES), to="st-pair")
    assert exported.outcome.kept.to_pylist() == [
        {"anchor": "text of q1", "positive": "text of p1"},
        {"anchor": "text of q2", "positive": "text of p2"},
        {"anchor": "text of q2", "positive": "text of p3"},
    ]
    assert {reason for _, _, reason in reasons(exported)} == {"st-pair takes no negatives"}
    assert [doc for _, doc, _ in reasons(exported)] == ["n1", "n2", "n3", "n4"]


def test_st_triplet_crosses_each_positive_with_each_negative_in_row_order() -> None:
    exported = export(pair_set(TWO_QUERIES), to="st-triplet")
    assert [tuple(row.values()) for row in exported.outcome.kept.to_pylist()] == [
        ("text of q1", "text of p1", "text of n1"),
        ("text of q1", "text of p1", "text of n2"),
        ("text of q1", "text of p1", "text of n3"),
        ("text of q2", "text of p2", "text of n4"),
        ("text of q2", "text of p3", "text of n4"),
    ]
    assert exported.outcome.kept.column_names == ["anchor", "positive", "negative"]
    assert reasons(exported) == []


def test_st_triplet_uses_a_query_with_fewer_negatives_than_asked_for() -> None:
    exported = export(pair_set(TWO_QUERIES), to="st-triplet", negatives=2)
    assert exported.outcome.kept.num_rows == 4
    assert reasons(exported) == [("q1", "n3", "beyond 2 negatives")]


def test_st_ntuple_takes_the_first_n_negatives_and_leaves_out_queries_with_fewer() -> None:
    exported = export(pair_set(TWO_QUERIES), to="st-ntuple", negatives=2)
    assert exported.outcome.kept.to_pylist() == [
        {
            "anchor": "text of q1",
            "positive": "text of p1",
            "negative_1": "text of n1",
            "negative_2": "text of n2",
        }
    ]
    assert reasons(exported) == [
        ("q1", "n3", "beyond 2 negatives"),
        ("q2", "n4", "query has 1 of 2 negatives"),
        ("q2", "p2", "query has 1 of 2 negatives"),
        ("q2", "p3", "query has 1 of 2 negatives"),
    ]
    assert exported.outcome.notes == {"queries with fewer than 2 negatives": 1}


def test_st_ntuple_has_as_many_negatives_as_the_richest_query_of_the_survey() -> None:
    pairs = pair_set(TWO_QUERIES)
    assert export(pairs, to="st-ntuple").outcome.kept.column_names[-1] == "negative_3"
    seen = survey(pairs) + survey(pair_set([("q9", "p", 1), *(("q9", f"m{i}", 0) for i in range(5))]))
    exported = export(pairs, to="st-ntuple", survey=seen)
    assert exported.outcome.kept.column_names == ["anchor", "positive", *(f"negative_{i}" for i in range(1, 6))]
    assert exported.outcome.kept.num_rows == 0
    assert exported.outcome.notes == {"queries with fewer than 5 negatives": 2}


def test_positives_first_uses_one_positive_of_each_query() -> None:
    exported = export(pair_set(TWO_QUERIES), to="st-triplet", positives="first")
    assert [row["positive"] for row in exported.outcome.kept.to_pylist()] == ["text of p1"] * 3 + ["text of p2"]
    assert reasons(exported) == [("q2", "p3", "beyond the first positive")]


def test_flag_embedder_has_a_row_for_each_query_with_lists() -> None:
    exported = export(pair_set(TWO_QUERIES), to="flag-embedder", prompt="Find the answer: ")
    assert exported.outcome.kept.to_pylist() == [
        {
            "query": "text of q1",
            "pos": ["text of p1"],
            "neg": ["text of n1", "text of n2", "text of n3"],
            "prompt": "Find the answer: ",
        },
        {
            "query": "text of q2",
            "pos": ["text of p2", "text of p3"],
            "neg": ["text of n4"],
            "prompt": "Find the answer: ",
        },
    ]
    assert find_target("flag-embedder").formats == ("jsonl",)


def test_flag_embedder_leaves_out_a_query_without_negatives_which_would_crash_the_trainer() -> None:
    exported = export(pair_set([("q1", "p1", 1), ("q2", "p2", 1), ("q2", "n", 0)]), to="flag-embedder")
    assert exported.outcome.kept.num_rows == 1
    assert reasons(exported) == [("q1", "p1", "query has no negative")]
    assert exported.outcome.notes == {"queries without a negative": 1}


@pytest.mark.parametrize("name", ["ce", "score_ce"])
def test_flag_embedder_scores_are_lists_beside_their_documents_in_short_decimals(name: str) -> None:
    pairs = pair_set(TWO_QUERIES, score_ce=pa.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.8, 0.7], pa.float32()))
    kept = export(pairs, to="flag-embedder", scores=name, negatives=2).outcome.kept
    lines = [json.loads(json.dumps(row)) for row in kept.to_pylist()]
    assert [(row["pos_scores"], row["neg_scores"]) for row in lines] == [([0.9], [0.1, 0.2]), ([0.8, 0.7], [0.4])]


def test_flag_embedder_refuses_rows_without_a_score_but_not_for_rows_that_it_does_not_use() -> None:
    scores = pa.array([0.9, 0.1, 0.2, None, 0.4, 0.8, float("nan")], pa.float32())
    pairs = pair_set(TWO_QUERIES, score_ce=scores)
    with pytest.raises(PairmineError, match=r"1 of 3 rows to export have no score_ce; run 'pairmine score'"):
        export(pairs, to="flag-embedder", scores="ce")
    used = export(pairs, to="flag-embedder", scores="ce", negatives=2, positives="first")
    assert used.outcome.kept.num_rows == 2


def test_training_columns_carry_no_ids_and_no_metadata() -> None:
    ids = {"query_id", "doc_id", "origin", "row", "score_ce"}
    halves = pa.array([0.5] * 7, pa.float32())
    pairs = pair_set(TWO_QUERIES, score_ce=halves, grade=halves)
    labelled = ("st-pair-class", "st-margin", "st-margin-list", "st-scores", "swift-embedding-score")
    labelled += ("swift-embedding-class",)
    for name, target in TARGETS.items():
        if target.fill or name in ("dpr", "tevatron"):  # made of ids: see test_export_folders.py
            continue
        kept = export(pairs, to=name, scores="ce" if target.requires else None).outcome.kept
        assert not ids & set(kept.column_names)
        assert ("label" in kept.column_names) == (name in labelled)
        assert kept.schema.metadata is None


def test_graded_pairs_are_exported_whatever_their_label() -> None:
    pairs = pair_set(
        [("q1", "d1", None), ("q1", "d2", 1), ("q2", "d3", 0)], grade=pa.array([0.25, None, 1], pa.float32())
    )
    exported = export(pairs, to="st-pair-score")
    assert exported.outcome.kept.to_pylist() == [
        {"sentence1": "text of q1", "sentence2": "text of d1", "score": 0.25},
        {"sentence1": "text of q2", "sentence2": "text of d3", "score": 1.0},
    ]
    assert reasons(exported) == [("q1", "d2", "no grade")]


def test_a_score_column_may_take_the_place_of_the_grade() -> None:
    pairs = pair_set(TWO_QUERIES[:2], score_ce=pa.array([0.5, 0.125], pa.float32()))
    assert export(pairs, to="st-pair-score", scores="ce").outcome.kept["score"].to_pylist() == [0.5, 0.125]
    with pytest.raises(PairmineError, match='writes grades, and the pair set has no "grade"; pass --scores NAME'):
        export(pairs, to="st-pair-score")


@pytest.mark.parametrize("to", ["st-pair-score", "swift-embedding-score"])
def test_a_score_that_is_no_number_reaches_no_trainer(to: str) -> None:
    values = [float("inf"), float("-inf"), float("nan"), None, 0.5]
    pairs = pair_set([("q", f"d{number}", 1) for number in range(5)], score_ce=pa.array(values, pa.float32()))
    exported = export(pairs, to=to, scores="ce")
    assert exported.outcome.kept.num_rows == 1
    assert exported.outcome.rejected["reason"].to_pylist() == ["no score_ce"] * 4


def test_pairs_with_their_label_are_a_row_each() -> None:
    kept = export(pair_set(TWO_QUERIES[:2]), to="st-pair-class").outcome.kept
    assert kept.to_pylist() == [
        {"sentence1": "text of q1", "sentence2": "text of p1", "label": 1},
        {"sentence1": "text of q1", "sentence2": "text of n1", "label": 0},
    ]
    assert pa.types.is_integer(kept.schema.field("label").type)
    with pytest.raises(PairmineError, match="1 of 1 rows have no label yet; run 'pairmine filter' first"):
        export(pair_set([("q", "d", None)]), to="st-pair-class")


def test_rows_for_language_models_that_rerank_end_in_yes_or_no() -> None:
    kept = export(pair_set(TWO_QUERIES[:2]), to="reranker-sft", prompt="Find it.").outcome.kept
    chats = kept["messages"].to_pylist()
    assert [chat[-1] for chat in chats] == [{"role": "assistant", "content": word} for word in ("yes", "no")]
    assert chats[0][1] == {
        "role": "user",
        "content": "<Instruct>: Find it.\n<Query>: text of q1\n<Document>: text of p1",
    }


def test_weights_stand_in_the_sidecar_beside_the_ids() -> None:
    pairs = pair_set(TWO_QUERIES[:3], weight=pa.array([1, 0, 0.5], pa.float32()))
    assert export(pairs, to="st-ntuple").sidecar["weight"].to_pylist() == [[1.0, 0.0, 0.5]]


def test_sidecar_says_where_every_training_row_came_from() -> None:
    pairs = pair_set(TWO_QUERIES, score_ce=pa.array([0.9, 0.1, 0.2, None, 0.4, 0.8, 0.7], pa.float32()))
    pairs = pairs.set_column(pairs.column_names.index("score_ce"), score_field("ce", "probability"), pairs["score_ce"])
    sidecar = export(pairs, to="flag-embedder").sidecar
    assert sidecar.select(["row", "query_id", "positive_ids", "negative_ids", "origins"]).to_pylist() == [
        {
            "row": 0,
            "query_id": "q1",
            "positive_ids": ["p1"],
            "negative_ids": ["n1", "n2", "n3"],
            "origins": ["given", "mine:bm25", "mine:bm25", "mine:bm25"],
        },
        {
            "row": 1,
            "query_id": "q2",
            "positive_ids": ["p2", "p3"],
            "negative_ids": ["n4"],
            "origins": ["given", "given", "mine:bm25"],
        },
    ]
    rounded = [[None if x is None else round(x, 4) for x in scores] for scores in sidecar["score_ce"].to_pylist()]
    assert rounded == [[0.9, 0.1, 0.2, None], [0.8, 0.7, 0.4]]
    assert sidecar.schema.field("score_ce").metadata == {b"scale": b"probability"}
    assert sidecar.schema.field("row").type == pa.int64()


def test_rows_without_text_are_rejected_and_count_neither_as_positive_nor_as_negative() -> None:
    rows: list[Row] = [("q1", "p1", 1), ("q1", "n1", 0), ("q2", "p2", 1), ("q2", "n2", 0), ("q3", "p3", 1)]
    texts = ["p", "\u3000 \n", None, "n", "p"]
    pairs = pair_set(rows, document=texts, query=["one", "one", "two", "two", " "])
    exported = export(pairs, to="st-pair")
    assert exported.outcome.kept.to_pylist() == [{"anchor": "one", "positive": "p"}]
    assert reasons(exported) == [
        ("q1", "n1", "no text"),
        ("q2", "p2", "no text"),
        ("q2", "n2", "query has no positive"),
        ("q3", "p3", "no text"),
    ]
    assert survey(pairs) == Survey(rows=5, queries=3, positives=1, undecided=0, negatives={0: 1})


def test_a_query_text_given_on_one_of_its_rows_serves_all_of_them() -> None:
    pairs = pair_set([("q", "p", 1), ("q", "n", 0)], query=[None, "written once"])
    assert export(pairs, to="st-triplet").outcome.kept["anchor"].to_pylist() == ["written once"]


def test_a_query_without_a_positive_is_rejected_with_its_reason() -> None:
    exported = export(pair_set([("q1", "n1", 0), ("q2", "p2", 1)]), to="st-pair")
    assert reasons(exported) == [("q1", "n1", "query has no positive")]


def test_only_queries_with_a_positive_are_counted_as_short_of_negatives() -> None:
    pairs = pair_set([("q1", "n1", 0), ("q2", "p2", 1), ("q3", "p3", 1), ("q3", "a", 0), ("q3", "b", 0)])
    assert export(pairs, to="st-ntuple").outcome.notes == {"queries with fewer than 2 negatives": 1}
    assert export(pairs, to="flag-embedder").outcome.notes == {"queries without a negative": 1}


def test_texts_come_out_as_they_went_in() -> None:
    texts = ["日本語のテスト。", "مرحبا", "  spaced \n\t", "NA", 'quo"te', "👩‍👩‍👧"]
    pairs = pair_set([("q", f"d{i}", int(i == 0)) for i in range(6)], document=texts, query=["質問"] * 6)
    kept = export(pairs, to="st-ntuple").outcome.kept
    assert list(kept.to_pylist()[0].values()) == ["質問", *texts]


def test_repeated_rows_are_each_used() -> None:
    rows: list[Row] = [("q", "p", 1), ("q", "p", 1), ("q", "n", 0), ("q", "n", 0)]
    exported = export(pair_set(rows), to="st-ntuple")
    assert exported.outcome.kept.num_rows == 2
    assert exported.sidecar["negative_ids"].to_pylist() == [["n", "n"]] * 2


def test_an_empty_pair_set_gives_an_empty_file_with_its_columns() -> None:
    for name, target in TARGETS.items():
        if target.needs == "equal negatives" or target.requires or target.fill or name == "dpr":
            continue
        exported = export(empty_pairs(), to=name)
        assert exported.outcome.kept.num_rows == exported.sidecar.num_rows == exported.outcome.rejected.num_rows == 0
        kept = exported.outcome.kept
        assert kept.column_names == list(target.columns[: kept.num_columns])
    assert survey(empty_pairs()) == Survey()


def test_an_empty_chunk_has_the_columns_of_the_other_chunks() -> None:
    whole = pair_set(TWO_QUERIES)
    seen = survey(whole)
    chunk = export(whole.slice(0, 0), to="st-ntuple", survey=seen).outcome.kept
    assert chunk.schema == export(whole, to="st-ntuple", survey=seen).outcome.kept.schema


def test_training_texts_hold_no_text_that_was_left_out() -> None:
    kept = export(pair_set(TWO_QUERIES), to="st-ntuple", negatives=3).outcome.kept
    assert kept["negative_2"].type == TEXT
    assert kept["negative_2"].chunk(0).dictionary.to_pylist() == ["text of n2"]


def test_texts_of_several_chunks_with_their_own_dictionaries_are_told_apart() -> None:
    one = pair_set([("q1", "p1", 1), ("q1", "n1", 0)])
    other = pair_set([("q2", "p2", 1), ("q2", "n2", 0)])
    kept = export(pa.concat_tables([one, other]), to="st-triplet").outcome.kept
    assert [row["negative"] for row in kept.to_pylist()] == ["text of n1", "text of n2"]


def test_a_null_inside_a_dictionary_counts_as_no_text() -> None:
    encoded = pa.array(["text", None, "other"]).dictionary_encode(null_encoding="encode")
    pairs = pair_set([("q", "p", 1), ("q", "n", 0), ("q", "m", 0)])
    column = pa.chunked_array([encoded.slice(0, 2), encoded.slice(2)])
    pairs = pairs.set_column(pairs.column_names.index("document"), "document", column)
    assert reasons(export(pairs, to="st-triplet")) == [("q", "n", "no text")]


def test_rows_without_a_label_stop_the_export_and_name_the_command_to_run() -> None:
    pairs = pair_set([("q", "p", 1), ("q", "n", None)])
    with pytest.raises(PairmineError, match=r"1 of 2 rows have no label yet; run 'pairmine filter' first"):
        export(pairs, to="st-pair")
    assert survey(pairs).undecided == 1
    with pytest.raises(PairmineError, match=r"3 of 9 rows have no label yet"):
        export(pair_set(TWO_QUERIES), to="st-pair", survey=Survey(rows=9, undecided=3))
    with pytest.raises(PairmineError, match=r"2 of 2 rows have no label yet"):
        export(pairs.drop_columns(["label"]), to="st-pair")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "st-tripel"}, 'no export target "st-tripel"; did you mean st-triplet? known: st-pair'),
        ({"to": "st-pair", "negatives": 3}, "--negatives has no effect on st-pair: it takes no negatives"),
        ({"to": "st-triplet", "scores": "ce"}, "--scores has no effect on st-triplet: it carries no scores"),
        ({"to": "st-pair", "prompt": "x"}, "--prompt has no effect on st-pair: it carries no prompt; set prompts"),
        ({"to": "st-ntuple", "negatives": 0}, "--negatives is 0; st-ntuple needs at least 1 negative in every row"),
        ({"to": "st-pair", "positives": "all"}, '--positives is "all"; it must be "each" or "first"'),
        ({"to": "flag-embedder", "scores": "ce"}, "the pair set has no score_ce (it has no score column); run"),
    ],
)
def test_an_option_that_cannot_take_effect_is_an_error_that_names_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as raised:
        export(pair_set(TWO_QUERIES), **options)
    assert message in str(raised.value)


def test_st_ntuple_without_any_negative_says_what_to_run() -> None:
    with pytest.raises(PairmineError, match=r"no query has both a positive and a negative.*or export to st-pair"):
        export(pair_set([("q", "p", 1)]), to="st-ntuple")


def test_a_pair_set_without_texts_is_not_exported() -> None:
    pairs = pair_set(TWO_QUERIES)
    with pytest.raises(PairmineError, match=r'no "document" .*export a pair set that has them'):
        export(pairs.drop_columns(["document"]), to="st-pair")
    with pytest.raises(PairmineError, match=r'no "query" .*export a pair set that has them'):
        survey(pairs.drop_columns(["query"]))


def test_a_query_whose_rows_lie_apart_is_named() -> None:
    pairs = pair_set([("q1", "p", 1), ("q2", "p", 1), ("q1", "n", 0)])
    with pytest.raises(PairmineError, match=r'rows of query "q1" lie apart.*sort the pair set by query_id'):
        export(pairs, to="st-triplet")


def test_a_survey_tells_how_many_queries_a_smaller_n_would_keep() -> None:
    seen = survey(pair_set(TWO_QUERIES)) + Survey(queries=1, negatives={3: 2, 0: 4})
    assert seen.negatives == {0: 4, 1: 1, 3: 3}
    assert (seen.queries_with(1), seen.queries_with(2), seen.most_negatives) == (4, 3, 3)


def test_columns_that_the_user_brought_stay_on_rejected_rows() -> None:
    pairs = pair_set([("q", "n", 0)], note=["mine"])
    rejected = export(pairs, to="st-pair").outcome.rejected
    assert rejected.column_names == [*pairs.column_names, "reason"]
    assert rejected["note"].to_pylist() == ["mine"]


TEXTS = st.sampled_from(["a", "b", "ば", "", " ", None])
QUERY = st.lists(st.tuples(st.sampled_from("stuvw"), st.sampled_from([0, 0, 1]), TEXTS), min_size=1, max_size=6)
OPTIONS = st.sampled_from(
    [
        {"to": "st-pair"},
        {"to": "st-triplet"},
        {"to": "st-triplet", "negatives": 1},
        {"to": "st-ntuple", "negatives": 1},
        {"to": "st-ntuple", "negatives": 3},
        {"to": "st-ntuple"},
        {"to": "flag-embedder"},
        {"to": "flag-embedder", "negatives": 2, "scores": "ce"},
    ]
)


def tables(queries: list[list[tuple[str, int, str | None]]]) -> list[pa.Table]:
    """A pair set for each query; `at` numbers the rows, and the score is that number."""
    made, first = [], 0
    for number, rows in enumerate(queries):
        at = range(first, first + len(rows))
        first += len(rows)
        texts = [
            None if text is None or not text.strip() else f"{text} {row}"
            for row, (_, _, text) in zip(at, rows, strict=True)
        ]
        made.append(
            pair_set(
                [(f"q{number}", f"{doc}{row}", label) for row, (doc, label, _) in zip(at, rows, strict=True)],
                document=texts,
                at=list(at),
                score_ce=pa.array(at, pa.float32()),
            )
        )
    return made


@settings(max_examples=120, deadline=None)
@given(st.lists(QUERY, min_size=1, max_size=6), OPTIONS, st.sampled_from(["each", "first"]), st.integers(0, 6))
def test_whatever_the_table_every_pair_is_used_or_rejected_and_stays_with_its_query(
    queries: list[list[tuple[str, int, str | None]]], options: dict[str, Any], positives: str, cut: int
) -> None:
    parts = tables(queries)
    whole = pa.concat_tables(parts)
    seen = survey(whole)
    assert reduce(add, map(survey, parts), Survey()) == seen
    if options["to"] == "st-ntuple" and "negatives" not in options and not seen.most_negatives:
        return
    exported = export(whole, survey=seen, positives=positives, **options)
    check_rows(whole, exported)

    chunks = [pa.concat_tables(chunk) for chunk in (parts[:cut], parts[cut:]) if chunk]
    pieces = [export(chunk, survey=seen, positives=positives, **options) for chunk in chunks]
    for table in ("kept", "rejected"):
        assert [row for piece in pieces for row in getattr(piece.outcome, table).to_pylist()] == getattr(
            exported.outcome, table
        ).to_pylist()
    sidecars = [piece.sidecar.drop_columns(["row"]) for piece in pieces]
    assert pa.concat_tables(sidecars).to_pylist() == exported.sidecar.drop_columns(["row"]).to_pylist()
    assert sum((Counter(piece.outcome.notes) for piece in pieces), Counter()) == Counter(exported.outcome.notes)


def check_rows(whole: pa.Table, exported: Exported) -> None:
    rows = {row["doc_id"]: row for row in whole.to_pylist()}
    used = set()
    for trained, origin in zip(exported.outcome.kept.to_pylist(), exported.sidecar.to_pylist(), strict=True):
        ids = [*origin["positive_ids"], *origin["negative_ids"]]
        assert all(rows[doc]["query_id"] == origin["query_id"] for doc in ids)
        assert all(rows[doc]["label"] == 1 for doc in origin["positive_ids"])
        assert all(rows[doc]["label"] == 0 for doc in origin["negative_ids"])
        assert origin["origins"] == [rows[doc]["origin"] for doc in ids]
        assert origin["score_ce"] == [rows[doc]["score_ce"] for doc in ids]
        texts = [value for name, value in trained.items() if name not in ("pos_scores", "neg_scores")]
        flat = [text for value in texts for text in (value if isinstance(value, list) else [value])]
        assert flat == [rows[ids[0]]["query"], *(rows[doc]["document"] for doc in ids)]
        used.update(ids)
    rejected = exported.outcome.rejected["doc_id"].to_pylist()
    assert len(rejected) == len(set(rejected))
    assert used.isdisjoint(rejected)
    assert used | set(rejected) == set(rows)
    assert exported.outcome.rows_in == whole.num_rows
    assert all(exported.outcome.rejected["reason"].to_pylist())


def test_more_negatives_than_anybody_has_are_told_or_cost_nothing() -> None:
    with pytest.raises(PairmineError, match="1,000,000,000 negatives in every row of st-ntuple"):
        export(pair_set(TWO_QUERIES), to="st-ntuple", negatives=10**9)
    assert export(pair_set(TWO_QUERIES), to="st-triplet", negatives=10**9).outcome.kept.num_rows == 5
    short = export(pair_set(TWO_QUERIES), to="st-ntuple", negatives=10_000)
    assert "query has 3 of 10000 negatives" in {reason for _, _, reason in reasons(short)}


def test_a_query_that_goes_on_over_many_tables_is_counted_once_and_as_one() -> None:
    rows: list[Row] = [("q0", "p", 1), *(("q1", f"d{at}", at % 2) for at in range(40)), ("q2", "p", 1), ("q2", "n", 0)]
    whole = pair_set(rows)
    wanted = survey(whole)
    for size in (1, 3, 50):
        surveyor = Surveyor()
        for start in range(0, len(rows), size):
            surveyor.add(whole.slice(start, size))
        found = surveyor.result()
        assert (found, found.places) == (wanted, wanted.places)
