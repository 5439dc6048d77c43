"""Which columns make a pair set or a corpus of somebody's table."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import convert
from pairmine.files.columns import DOCUMENT, PAIR, Wanted, map_columns
from pairmine.files.raw import Raw


def raw(table: pa.Table) -> Raw:
    return Raw(table, "f", lambda row: f"f:{row + 1}", lambda row: table.column_names)


def pairs(table: pa.Table) -> pa.Table:
    mapped = map_columns(table.column_names, PAIR, {}, "f")
    make = convert.wide_pairs if convert.is_wide(table.column_names) else convert.long_pairs
    return make(raw(table), mapped)


@pytest.mark.parametrize(
    ("names", "wide"),
    [
        (["query", "positive", "negative"], True),
        (["anchor", "positive", "negative_3"], True),
        (["query", "pos", "neg"], True),
        (["anchor", "positive"], False),
        (["query", "document", "label"], False),
        (["query_id", "doc_id", "negative"], False),
    ],
)
def test_rows_with_several_documents_are_told_by_their_columns(names: list[str], wide: bool) -> None:
    assert convert.is_wide(names) == wide


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
