"""What is written comes back unchanged, and the same rows are the same bytes."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files.lineage import decode
from pairmine.files.sink import Sink
from pairmine.files.source import open_documents, open_pairs, open_rows
from pairmine.files.writers import GROUP_CELLS

UGLY = [
    "plain",
    "",
    "日本語のテキスト",
    'quo"ted, with commas',
    "line\nend",
    "tab\there",
    "cr\r\nlf",
    "\r",
    "é\u2028x",
    " pad ",
]
ENTRIES = [{"command": "convert", "options": {}, "inputs": [], "counts": {}, "version": "0"}]


def write(path: Path, *tables: pa.Table) -> Path:
    sink = Sink(str(path))
    for table in tables:
        sink.write(table)
    sink.commit(ENTRIES)
    return path


def quietly(line: str) -> None:
    del line


def pairs() -> pa.Table:
    texts = pa.array([*UGLY, None], schema.TEXT)
    n = len(texts)
    fields = [
        pa.field("query_id", pa.string()),
        pa.field("query", schema.TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", schema.TEXT),
        pa.field("label", pa.int8()),
        pa.field("grade", pa.float32()),
        pa.field("origin", pa.string()),
        schema.score_field("ce", "probability"),
        pa.field("tags", pa.list_(pa.string())),
    ]
    columns = [
        pa.repeat("q", n),
        pa.array(["the query"] * n, schema.TEXT),
        pa.array([f"d{i}" for i in range(n)]),
        texts,
        pa.array([[1, 0, None][i % 3] for i in range(n)], pa.int8()),
        pa.array([None, *[i / 10 for i in range(n - 1)]], pa.float32()),
        pa.repeat("given", n),
        pa.array([0.9, None, *[0.1] * (n - 2)], pa.float32()),
        pa.array([None, [], ["a", "日"], *[["b"]] * (n - 3)], pa.list_(pa.string())),
    ]
    return pa.table(columns, schema=pa.schema(fields))


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_pair_set_comes_back_with_every_value_type_and_scale(tmp_path: Path, ending: str) -> None:
    back = open_pairs(str(write(tmp_path / f"p.{ending}", pairs())), quietly).read()
    assert back.to_pydict() == pairs().to_pydict()
    assert back.schema.field("score_ce").metadata == {b"scale": b"probability"}
    assert back.schema.field("document").type == schema.TEXT


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_a_pair_set_comes_back_from_json_lines_value_by_value(tmp_path: Path, ending: str) -> None:
    back = open_pairs(str(write(tmp_path / f"p.{ending}", pairs())), quietly).read()
    assert back.to_pydict() == pairs().to_pydict()


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst"])
def test_texts_with_commas_quotes_and_line_ends_come_back_from_csv(tmp_path: Path, ending: str) -> None:
    table = pairs().drop_columns("tags").slice(0, len(UGLY))
    back = open_pairs(str(write(tmp_path / f"p.{ending}", table)), quietly).read()
    assert back.to_pydict() == table.to_pydict()


def test_tsv_keeps_quotes_and_turns_tabs_and_line_ends_into_blanks(tmp_path: Path) -> None:
    table = pa.table({"id": [f"d{i}" for i in range(4)], "text": ['a "raw" quote', "tab\there", "line\nend", '"']})
    path = write(tmp_path / "c.tsv", table)
    assert path.read_text() == 'id\ttext\nd0\ta "raw" quote\nd1\ttab here\nd2\tline end\nd3\t"\n'
    assert open_documents(str(path), quietly).read()["text"].to_pylist()[0] == 'a "raw" quote'


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "csv", "tsv"])
def test_a_corpus_of_one_row_comes_back(tmp_path: Path, ending: str) -> None:
    table = pa.table(
        {"id": ["日"], "title": pa.array(["t"], pa.large_string()), "text": pa.array(["x"], pa.large_string())}
    )
    path = write(tmp_path / f"c.{ending}", table)
    assert open_documents(str(path), quietly).read().to_pydict() == table.to_pydict()


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
def test_a_pair_set_without_rows_can_be_read_by_the_next_command(tmp_path: Path, ending: str) -> None:
    empty = schema.empty_pairs("query_id", "query", "doc_id", "document", "label", "origin")
    back = open_pairs(str(write(tmp_path / f"p.{ending}", empty)), quietly).read()
    assert back.num_rows == 0
    assert back.schema.names == empty.schema.names


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_lists_are_refused_by_csv_with_the_formats_that_hold_them(tmp_path: Path, ending: str) -> None:
    sink = Sink(str(tmp_path / f"x.{ending}"))
    with pytest.raises(PairmineError, match=r"cannot hold lists: column tags; write .parquet or .jsonl"):
        sink.write(pairs())
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_floats_are_written_as_short_as_they_read(tmp_path: Path) -> None:
    first = json.loads(write(tmp_path / "p.jsonl", pairs()).read_text().splitlines()[0])
    assert first["score_ce"] == 0.9


def test_parquet_holds_each_text_once_per_row_group_and_can_be_read_by_others(tmp_path: Path) -> None:
    many = pa.concat_tables([pairs()] * 1000)
    path = write(tmp_path / "p.parquet", many)
    assert path.stat().st_size < 30_000
    assert pq.read_table(path).num_rows == many.num_rows
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded[2]["document"] == UGLY[2]
    assert loaded[2]["tags"] == ["a", "日"]


def test_the_lineage_is_in_the_parquet_footer_and_in_the_last_arrow_batch(tmp_path: Path) -> None:
    parquet, arrow = write(tmp_path / "p.parquet", pairs()), write(tmp_path / "p.arrow", pairs())
    assert decode(pq.read_metadata(parquet).metadata, "p") == ENTRIES
    source = open_pairs(str(arrow), quietly)
    source.read()
    assert source.entries == ENTRIES


def cut(table: pa.Table, at: list[int]) -> list[pa.Table]:
    ends = sorted({min(end, table.num_rows) for end in at} | {0, table.num_rows})
    return [table.slice(a, b - a) for a, b in pairwise(ends)]


@settings(max_examples=25, deadline=None)
@given(at=st.lists(st.integers(0, 60), max_size=6), ending=st.sampled_from(["parquet", "arrow", "jsonl", "csv"]))
def test_the_same_rows_are_the_same_bytes_whatever_the_batches(
    tmp_path_factory: pytest.TempPathFactory, at: list[int], ending: str
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    table = pa.concat_tables([pairs()] * 5)
    table = table.drop_columns("tags") if ending == "csv" else table
    whole = write(folder / f"a.{ending}", table).read_bytes()
    # A dictionary in another order, as a stage leaves it behind, changes nothing either.
    parts = [part.take(pa.array(range(part.num_rows))) for part in cut(table, at)]
    assert write(folder / f"b.{ending}", *parts).read_bytes() == whole


def test_row_groups_of_long_texts_have_the_same_bytes_whatever_the_batches(tmp_path: Path) -> None:
    corpus = pa.table(
        {
            "id": [str(i) for i in range(40_000)],
            "text": pa.array([f"{i} " * 250 for i in range(40_000)], pa.large_string()),
        }
    )
    one = write(tmp_path / "a.parquet", corpus)
    two = write(tmp_path / "b.parquet", *cut(corpus, [1, 17_000, 17_001, 39_999]))
    assert pq.ParquetFile(one).num_row_groups > 1
    assert one.read_bytes() == two.read_bytes()


def test_a_later_table_with_its_columns_in_another_order_is_put_in_order(tmp_path: Path) -> None:
    one = pa.table({"a": ["1"], "b": pa.array([1], pa.int64())})
    two = pa.table({"b": pa.array([2], pa.int32()), "a": ["2"]})
    path = write(tmp_path / "x.parquet", one, two)
    assert pq.read_table(path).to_pydict() == {"a": ["1", "2"], "b": [1, 2]}


def test_a_column_that_parquet_cannot_hold_is_named_with_a_way_out(tmp_path: Path) -> None:
    sink = Sink(str(tmp_path / "x.parquet"))
    with pytest.raises(PairmineError, match=r"parquet cannot hold .* write \.jsonl"):
        sink.write(pa.table({"meta": pa.array([{"inner": {}}])}))
    sink.abort()


@pytest.mark.parametrize(
    ("target", "kind", "line"),
    [
        ("x", None, "the ending says no format"),
        ("x.parquet.gz", None, "the ending says no format"),
        ("x.jsonl", "parquet", "--format parquet and the ending disagree"),
        ("x.jsonl", "excel", "--format excel: no such format"),
    ],
)
def test_an_ending_that_says_nothing_or_another_thing_is_refused(target: str, kind: str | None, line: str) -> None:
    with pytest.raises(PairmineError, match=line):
        Sink(target, kind)


def test_a_format_without_an_ending_is_taken_from_the_option(tmp_path: Path) -> None:
    sink = Sink(str(tmp_path / "out"), "jsonl")
    sink.write(pa.table({"a": [1]}))
    sink.commit([])
    assert (tmp_path / "out").read_text() == '{"a":1}\n'


def test_a_restart_forgets_rows_and_columns(tmp_path: Path) -> None:
    sink = Sink(str(tmp_path / "x.parquet"))
    sink.write(pa.table({"a": [1, 2, 3]}))
    sink.restart()
    sink.write(pa.table({"b": ["x"]}))
    sink.commit([])
    assert pq.read_table(tmp_path / "x.parquet").to_pydict() == {"b": ["x"]}


def test_remote_addresses_are_written_and_read(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "text": pa.array(["日本"], pa.large_string())})
    for target in (f"file://{tmp_path}/c.parquet", "memory://folder/c.jsonl.gz"):
        sink = Sink(target)
        sink.write(table)
        sink.commit([])
        assert open_documents(target, quietly).read().to_pydict() == table.to_pydict()
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]
    assert open_rows("memory://folder", [], quietly).read().num_rows == 1


@pytest.mark.slow
def test_a_table_of_very_many_columns_has_small_row_groups(tmp_path: Path) -> None:
    columns = {f"c{at}": pa.array(range(3000)) for at in range(8000)}
    path = write(tmp_path / "out.parquet", pa.table(columns))
    assert pq.ParquetFile(path).metadata.row_group(0).num_rows == GROUP_CELLS // 8000
    assert pq.ParquetFile(write(tmp_path / "few.parquet", pa.table({"c": range(3000)}))).num_row_groups == 1


def test_columns_are_put_in_place_in_a_line_of_time() -> None:
    spent = []
    for count in (2_000, 16_000):
        table = pa.table({f"c{at}": pa.array([at], pa.int32()) for at in range(count)})
        wanted = pa.schema([(f"c{at}", pa.int64()) for at in range(count + 10)])
        started = time.process_time()
        schema.cast_table(table, wanted)
        schema.pair_schema(pa.schema([(f"score_{at}", pa.float32()) for at in range(count)]))
        spent.append(time.process_time() - started)
    assert spent[1] < 24 * max(spent[0], 0.05), spent
