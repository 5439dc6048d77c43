"""Which columns make a pair set or a corpus of somebody's table."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import convert
from pairmine.files.columns import DOCUMENT, PAIR, Mapped, Wanted, map_columns
from pairmine.files.raw import Raw


def raw(table: pa.Table) -> Raw:
    return Raw(table, "f", lambda row: f"f:{row + 1}", lambda row: table.column_names)


def mapped_pairs(table: pa.Table) -> Mapped:
    return map_columns(table.column_names, PAIR, {}, "f")


def is_wide(table: pa.Table) -> bool:
    return convert.is_wide(raw(table), mapped_pairs(table))


def pairs(table: pa.Table) -> pa.Table:
    make = convert.wide_pairs if is_wide(table) else convert.long_pairs
    return make(raw(table), mapped_pairs(table))


@pytest.mark.parametrize(
    ("names", "wide"),
    [
        (["query", "positive", "negative"], True),
        (["anchor", "positive", "negative_3"], True),
        (["query", "pos", "neg"], True),
        (["anchor", "positive"], False),
        (["query", "document", "label"], False),
        (["query_id", "doc_id", "negative"], False),
        (["anchor", "positive", "negative", "label"], True),
        (["query", "positive", "negative_1", "document"], True),
        (["query_id", "query", "doc_id", "document", "label", "origin", "positive", "negative"], False),
        (["question", "answer", "pos"], False),
        (["question", "answer", "pos", "neg"], True),
        (["question", "pos"], True),
    ],
)
def test_rows_with_several_documents_are_told_by_their_columns(names: list[str], wide: bool) -> None:
    assert is_wide(pa.table({name: ["x"] for name in names})) == wide


def test_a_list_of_positives_beside_a_document_is_still_a_list_of_positives() -> None:
    assert is_wide(pa.table({"question": ["q"], "answer": ["a"], "pos": [["p"]]}))


def test_a_triplet_with_a_label_keeps_its_negatives_and_the_label_moves_aside() -> None:
    found = pairs(pa.table({"query": ["q"], "positive": ["p"], "negative": ["n"], "label": [0.7], "document": ["d"]}))
    columns = ("document", "label", "other_label", "other_document")
    assert found.select(columns).to_pylist() == [
        {"document": "p", "label": 1, "other_label": 0.7, "other_document": "d"},
        {"document": "n", "label": 0, "other_label": 0.7, "other_document": "d"},
    ]


def test_a_part_of_speech_stays_a_column_beside_a_question_and_its_answer() -> None:
    found = pairs(pa.table({"question": ["q"], "answer": ["a"], "pos": ["NOUN"]}))
    assert found.select(["document", "label", "pos"]).to_pylist() == [{"document": "a", "label": 1, "pos": "NOUN"}]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"query": ["q"], "document": ["d"]}, "no label column, every row is taken as a positive"),
        ({"query": ["q"], "document": ["d"], "score": [4.8]}, '; "score" is not read as a label (--label-column names'),
        ({"query": ["q"], "document": ["d"], "query_is_for_document": ["true"]}, '"query_is_for_document" is not read'),
        ({"query": ["q"], "document": ["d"], "matches": [True]}, '"matches" is not read as a label'),
    ],
)
def test_pairs_without_a_label_are_said_to_be_positives(columns: dict[str, list[object]], line: str) -> None:
    table = pa.table(columns)
    said = convert.label_remark(raw(table), mapped_pairs(table))
    assert said is not None
    assert line in said


@pytest.mark.parametrize(
    "columns",
    [
        {"query": ["q"], "document": ["d"], "label": [1], "score": [0.5]},
        {"anchor": ["q"], "positive": ["p"], "negative": ["n"], "score": [0.5]},
    ],
)
def test_labels_and_triplets_need_no_remark(columns: dict[str, list[object]]) -> None:
    table = pa.table(columns)
    assert convert.label_remark(raw(table), mapped_pairs(table)) is None


@pytest.mark.parametrize("values", [["1.0", "0.0", "", "-0.0", "1"], [1.0, 0.0, None, 0.0, 1.0]])
def test_labels_may_be_written_as_whole_floats(values: list[object]) -> None:
    table = pa.table({"query": ["q"] * 5, "document": list("abcde"), "label": values})
    assert pairs(table)["label"].to_pylist() == [1, 0, None, 0, 1]


def test_a_label_between_two_numbers_is_told_with_its_place() -> None:
    table = pa.table({"query": ["q"] * 2, "document": ["a", "b"], "label": ["1.0", "0.5"]})
    with pytest.raises(PairmineError, match=r"f:2: \"label\" holds '0[.]5', which is no whole number"):
        pairs(table)


def test_a_score_column_keeps_its_scale_and_no_other_metadata() -> None:
    fields = [pa.field("query", pa.string()), pa.field("document", pa.string())]
    score = pa.field("score_ce", pa.float64(), metadata={"scale": "logit", "PARQUET:field_id": "3"})
    table = pa.table([["q"], ["d"], [0.5]], schema=pa.schema([*fields, score]))
    assert pairs(table).schema.field("score_ce").metadata == {b"scale": b"logit"}


def test_a_row_per_positive_then_per_negative_in_the_order_of_the_file() -> None:
    table = pa.table({"query": ["q", "r"], "neg": [["n1", "n2"], []], "pos": [["p"], ["s", "t"]], "lang": ["de", "en"]})
    found = pairs(table)
    assert found["document"].to_pylist() == ["p", "n1", "n2", "s", "t"]
    assert found["label"].to_pylist() == [1, 0, 0, 1, 1]
    assert found["lang"].to_pylist() == ["de", "de", "de", "en", "en"]


def test_lists_in_a_slice_of_a_table_belong_to_their_own_rows() -> None:
    table = pa.table({"query": ["a", "b", "c"], "pos": [["1"], ["2", "3"], ["4"]]}).slice(1)
    assert list(zip(*(pairs(table)[name].to_pylist() for name in ("query", "document")), strict=True)) == [
        ("b", "2"),
        ("b", "3"),
        ("c", "4"),
    ]


def test_a_users_column_under_one_of_our_names_moves_aside() -> None:
    table = pa.table({"id": ["1"], "body": ["x"], "text": ["y"]})
    mapped = map_columns(table.column_names, DOCUMENT, {"text": "body"}, "f")
    assert convert.documents(raw(table), mapped).to_pylist() == [{"id": "1", "text": "x", "other_text": "y"}]


def test_a_recipes_rows_are_renamed_and_their_nulls_told() -> None:
    wanted = [Wanted("question", ("q",), "--question-column", required=True)]
    table = pa.table({"q": ["a", None], "n": [1, 2]})
    mapped = map_columns(table.column_names, wanted, {}, "f")
    with pytest.raises(PairmineError, match='f:2: "q" is null'):
        convert.rows(raw(table), mapped, wanted)
    assert convert.rows(raw(table.slice(0, 1)), mapped, wanted).to_pylist() == [{"question": "a", "n": 1}]


def test_an_empty_table_keeps_its_columns() -> None:
    found = pairs(pa.table({"query": pa.array([], pa.string()), "document": pa.array([], pa.string())}))
    assert found.num_rows == 0
    assert found.schema.field("query").type == schema.TEXT
