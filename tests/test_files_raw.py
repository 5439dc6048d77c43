"""Rows as they stand in a file, and a line that says where one cannot be read."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.errors import PairmineError
from pairmine.files.locations import find_shards
from pairmine.files.raw import (
    BATCH_BYTES,
    BATCH_ROWS,
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_DEPTH,
    Raw,
    check_fields,
    read_ipc_stream,
    read_raw,
)

ROWS = "".join(json.dumps({"id": f"d{i}", "text": f"text {i} " * 9}) + "\n" for i in range(3000)).encode()


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), sink)
    return sink.getvalue().to_pybytes()


PARQUET = _parquet()


def raws(folder: Path, name: str, content: bytes | str) -> list[Raw]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [raw for shard in find_shards(str(path)) for raw in read_raw(shard)]


def rows(folder: Path, name: str, content: bytes | str) -> list[dict[str, object]]:
    return [row for raw in raws(folder, name, content) for row in raw.table.to_pylist()]


def named(folder: Path, name: str, content: bytes | str, fields: str) -> list[dict[str, object]]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    shards = find_shards(str(path), fields.split(","))
    return [row for shard in shards for raw in read_raw(shard) for row in raw.table.to_pylist()]


def line_of(folder: Path, name: str, content: bytes | str) -> str:
    with pytest.raises(PairmineError) as caught:
        raws(folder, name, content)
    line = str(caught.value)
    assert "\n" not in line
    return line.removeprefix(f"{folder}/")


def test_windows_line_ends_a_byte_order_mark_blank_lines_and_no_last_line_end_are_read_over(tmp_path: Path) -> None:
    wanted = [{"id": "1", "text": "é\n"}, {"id": "2", "text": "日"}]
    assert rows(tmp_path, "a.jsonl", '\ufeff{"id":"1","text":"é\\n"}\r\n\r\n\n{"id":"2","text":"日"}') == wanted
    assert rows(tmp_path, "a.csv", '\ufeffid,text\r\n1,"é\n"\r\n\r\n2,日') == wanted
    assert rows(tmp_path, "a.tsv", "\ufeffid\ttext\r\n1\té\r\n2\t日")[1] == wanted[1]


def test_a_json_array_of_objects_is_read_as_rows(tmp_path: Path) -> None:
    found = raws(tmp_path, "a.json", '\n[\n {"id": 1, "text": "x"},\n {"id": 2, "text": "y"}\n]\n')
    assert [row["id"] for raw in found for row in raw.table.to_pylist()] == [1, 2]
    assert found[0].where(1).endswith("a.json element 2")
    assert rows(tmp_path, "b.json", "[]") == []


def test_compressed_files_of_several_members_are_read_to_the_end(tmp_path: Path) -> None:
    assert len(rows(tmp_path, "a.jsonl.gz", gzip.compress(ROWS, mtime=0) + gzip.compress(ROWS, mtime=0))) == 6000
    frame = pa.compress(ROWS, codec="zstd", asbytes=True)
    assert len(rows(tmp_path, "a.jsonl.zst", frame + frame)) == 6000


def test_rows_just_over_a_batch_keep_their_line_numbers(tmp_path: Path) -> None:
    found = raws(tmp_path, "a.jsonl", "".join(f'{{"id":{i}}}\n' for i in range(BATCH_ROWS + 1)))
    assert [raw.table.num_rows for raw in found] == [BATCH_ROWS, 1]
    assert found[1].where(0).endswith(f":{BATCH_ROWS + 1}")


def test_a_line_longer_than_many_batches_is_read_whole(tmp_path: Path) -> None:
    long = "x" * (25 * BATCH_BYTES + 7)
    found = rows(tmp_path, "a.jsonl", f'{{"text":"a"}}\n{{"text":"{long}"}}\n{{"text":"b"}}\n')
    assert [row["text"] for row in found] == ["a", long, "b"]


def test_rows_with_different_keys_are_null_where_they_have_none(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.jsonl", '{"a":"x","b":1}\n{"c":null,"a":"y"}\n') == [
        {"a": "x", "b": 1, "c": None},
        {"a": "y", "b": None, "c": None},
    ]


def test_objects_without_keys_are_null_since_parquet_cannot_hold_them(tmp_path: Path) -> None:
    found = raws(tmp_path, "a.jsonl", '{"id":"1","metadata":{}}\n')[0]
    assert pa.types.is_null(found.table["metadata"].type)


def test_raw_quotes_in_tsv_are_text(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.tsv", 'id\ttext\n1\t"open and 5\' 3"\n') == [{"id": "1", "text": '"open and 5\' 3"'}]


def test_a_table_with_a_header_alone_has_columns_and_no_rows(tmp_path: Path) -> None:
    found = raws(tmp_path, "a.csv", "id,text\n")
    assert [raw.table.num_rows for raw in found] == [0]
    assert found[0].table.column_names == ["id", "text"]


def test_a_csv_row_over_several_lines_is_named_by_its_first_one(tmp_path: Path) -> None:
    found = raws(tmp_path, "a.csv", 'id,text\n1,"a\nb"\n2,c\n')[0]
    assert [found.where(i).rpartition(":")[2] for i in range(2)] == ["2", "4"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", '{"id":1}\n{"id":\n', "a.jsonl:2: not valid JSON (unexpected end of data); one object to a line"),
        ("a.jsonl", '{"id":"\\ud800"}\n', "a.jsonl:1: not valid JSON (no low surrogate in string)"),
        (
            "a.jsonl",
            b'{"id":"1"}\n\n{"id":"\xe9"}\n',
            "a.jsonl:3: not UTF-8 (byte 0xe9, number 8 of the line); convert",
        ),
        ("a.jsonl", '{"id":1}\n"text"\n', "a.jsonl:2: a JSON object belongs here, found a string; write rows as"),
        ("a.jsonl", '{"n":1}\n{"n":"a"}\n', 'a.jsonl:2: "n" is a string, but a number at a.jsonl:1; write all'),
        ("a.jsonl", '{"n":"a"}\n{"n":["b"]}\n', 'a.jsonl:2: "n" is a list, but a string at a.jsonl:1'),
        ("a.jsonl", '{"n":9223372036854775808}\n', 'a.jsonl:1: "n" is 9223372036854775808, which 64 bits do not hold'),
        ("a.jsonl", '{"n":[1]}\n{"n":["a"]}\n', 'a.jsonl:1: "n" holds lists or objects whose values differ in type'),
        ("a.json", "[1]", "a.json element 1: a JSON object belongs here, found a number"),
        ("a.json", '[{"id":1},]', "a.json: not valid JSON (trailing comma"),
        ("a.csv", 'id,text\n1,"open\n', "a.csv:2: not valid CSV (unexpected end of data); close the quote"),
        ("a.csv", "id,text\n1\n", "a.csv:2: 1 field where the header has 2 (id, text); mend the line or its quotes"),
        ("a.csv", "id,id\n1,2\n", 'a.csv:1: the header has "id" twice'),
        ("a.csv", b"id,text\n1,\xe9\n", "a.csv:2: not UTF-8"),
        ("a.tsv", "id\ttext\n1\n", "a.tsv:2: 1 field where the header has 2"),
        ("a.jsonl.gz", b'{"id":1}\n', "a.jsonl.gz: holds text that is not compressed; rename it to a.jsonl"),
        ("a.csv.zst", "id,text\n1,日\n", "a.csv.zst: holds text that is not compressed; rename it to a.csv"),
        (
            "a.jsonl.zst",
            gzip.compress(ROWS, mtime=0),
            "a.jsonl.zst: holds gzip data, not zstd; rename it to a.jsonl.gz",
        ),
        ("a.jsonl.gz", PARQUET, "a.jsonl.gz: holds parquet data, not gzip; rename it to a.parquet"),
        ("a.jsonl", gzip.compress(ROWS, mtime=0), "a.jsonl: holds gzip data; rename it to a.jsonl.gz"),
        ("a.csv", pa.compress(ROWS, codec="zstd", asbytes=True), "a.csv: holds zstd data; rename it to a.csv.zst"),
        ("a.jsonl", PARQUET, "a.jsonl: holds parquet data, not jsonl; rename it to a.parquet"),
        ("a.tsv", b"ARROW1\0\0rest", "a.tsv: holds arrow data, not tsv; rename it to a.arrow"),
        ("a.parquet", b"\xff\xff\xff\xffrest", "a.parquet: holds arrow data, not parquet; rename it to a.arrow"),
        ("a.parquet", gzip.compress(PARQUET, mtime=0), "a.parquet: holds gzip data, not parquet; decompress it first"),
        ("a.jsonl.gz", b"\0\1\2\3", "a.jsonl.gz: the gzip file is truncated or damaged; fetch or write it again"),
        ("a.csv", "id;text\n1;x\n", "a.csv:1: the header is one column, 'id;text', and seems to be separated by semic"),
        (
            "a.csv",
            "id\ttext\n1\tx\n",
            "a.csv:1: the header is one column, 'id\\ttext', and seems to be separated by ta",
        ),
        (
            "a.tsv",
            "id,text\n1,x\n",
            "a.tsv:1: the header is one column, 'id,text', and seems to be separated by commas",
        ),
        ("a.jsonl.gz", gzip.compress(ROWS, mtime=0)[:-900], "a.jsonl.gz: the gzip file is truncated or damaged"),
        ("a.jsonl.gz", gzip.compress(ROWS, mtime=0)[:-4], "a.jsonl.gz: the gzip file is truncated or damaged"),
        ("a.jsonl.zst", pa.compress(ROWS, codec="zstd", asbytes=True)[:-9], "a.jsonl.zst: the zstd file is truncated"),
        ("a.parquet", b"PAR1 and more", "a.parquet: not a whole Parquet file ("),
        ("a.arrow", b"ARROW1\0\0", "a.arrow: not a whole Arrow file ("),
    ],
)
def test_a_bad_file_is_told_with_its_place_and_what_to_do(
    tmp_path: Path, name: str, content: bytes | str, line: str
) -> None:
    assert line_of(tmp_path, name, content).replace(f"{tmp_path}/", "").startswith(line)


def test_a_damaged_stream_that_asks_for_all_memory_is_told_with_its_place() -> None:
    """Of a pipe nobody knows how long it is: a damaged length is asked for as it stands."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, pa.schema([("text", pa.string())])) as writer:
        writer.write_batch(pa.record_batch({"text": ["one"]}))
    whole = out.getvalue().to_pybytes()
    length = (16).to_bytes(8, "little")  # of the batch: its offsets and its letters, padded
    assert whole.count(length) == 1
    source, sink = os.pipe()
    os.write(sink, whole.replace(length, (1 << 45).to_bytes(8, "little")))
    os.close(sink)
    with open(source, "rb", buffering=0) as pipe, pytest.raises(PairmineError) as caught:
        list(read_ipc_stream("standard input", pipe))
    assert str(caught.value).startswith("standard input: a batch of it wants more memory than there is; it may be dama")


def test_text_that_begins_like_a_binary_format_is_text(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.csv", "PAR1,text\n1,x\n") == [{"PAR1": "1", "text": "x"}]
    assert rows(tmp_path, "b.csv", "ARROW1,text\n1,x\n") == [{"ARROW1": "1", "text": "x"}]


def test_a_header_of_one_column_that_is_a_sentence_is_a_name(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.csv", "one sentence; and more\nx\n") == [{"one sentence; and more": "x"}]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_file_cut_off_anywhere_is_an_error_and_never_fewer_rows(tmp_path: Path, ending: str) -> None:
    table = pa.table({"id": [str(i) for i in range(500)], "text": [os.urandom(20).hex() for _ in range(500)]})
    path = tmp_path / f"whole.{ending}"
    if ending == "parquet":
        pq.write_table(table, path, row_group_size=100)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    whole = path.read_bytes()
    for size in range(1, len(whole), len(whole) // 40):
        assert "not a whole" in line_of(tmp_path, f"cut.{ending}", whole[:size])


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), sink)
    assert 'two columns are named "text"' in line_of(tmp_path, "a.parquet", sink.getvalue().to_pybytes())


def test_a_text_file_is_a_text_to_each_line_that_is_not_blank(tmp_path: Path) -> None:
    found = raws(tmp_path, "a.txt", "\ufeffone, two\r\n\r\n  \n日本\there\nlast")
    assert [row["text"] for raw in found for row in raw.table.to_pylist()] == ["one, two", "日本\there", "last"]
    assert found[0].where(1).endswith("a.txt:4")
    assert rows(tmp_path, "b.txt.gz", gzip.compress(b"x\n", mtime=0)) == [{"text": "x"}]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.txt", "a.data", "corpus"])
def test_tabs_part_fields_without_a_header_where_the_first_line_has_one(tmp_path: Path, name: str) -> None:
    found = named(tmp_path, name, '1\t"open, quote\tx\n\n2\t日\ty\r\n', "id,text,_")
    assert found == [{"id": "1", "text": '"open, quote'}, {"id": "2", "text": "日"}]


def test_commas_part_fields_without_a_header_where_there_is_no_tab(tmp_path: Path) -> None:
    content = '\n1,"two, three",x\n2,"a\nb",y\n'
    assert named(tmp_path, "a.csv", content, "id,text,_") == [
        {"id": "1", "text": "two, three"},
        {"id": "2", "text": "a\nb"},
    ]


def test_a_single_name_takes_whole_lines_and_dots_leave_the_rest_out(tmp_path: Path) -> None:
    assert named(tmp_path, "c.en", "one, two\tthree\n\nfour\n", "text") == [
        {"text": "one, two\tthree"},
        {"text": "four"},
    ]
    assert named(tmp_path, "d.tsv", "a\tb\nc\td\te\tf\n", "one,two,...") == [
        {"one": "a", "two": "b"},
        {"one": "c", "two": "d"},
    ]
    assert named(tmp_path, "e.tsv.gz", gzip.compress(b"a\tb\n", mtime=0), "one,...") == [{"one": "a"}]


@pytest.mark.parametrize(
    ("name", "content", "fields", "line"),
    [
        ("a.tsv", "a\tb\n\nc\n", "x,y", "a.tsv:3: 1 field where --columns names 2 (x, y); mend the line, or the names"),
        ("a.tsv", "a\tb\tc\n", "x,y", "a.tsv:1: 3 fields where --columns names 2 (x, y); end it with ,... to leave"),
        ("a.tsv", "a\n", "x,y,...", "a.tsv:1: 1 field where --columns names 2 (x, y); mend the line"),
        ("a.csv", 'a,"b\n', "x,y", "a.csv:1: not valid CSV (unexpected end of data); close the quote"),
        ("a.jsonl", '{"x":1}\n', "x", "a.jsonl: is jsonl, which names its columns itself; leave out --columns"),
        ("a.parquet", PARQUET, "x", "a.parquet: is parquet, which names its columns itself; leave out --columns"),
        ("a.data", PARQUET, "x", "a.data: holds parquet data, which names its columns itself; leave out --columns"),
        ("a.data", gzip.compress(ROWS, mtime=0), "x", "a.data: holds gzip data; rename it to a.data.gz"),
        ("a.data", b"a\n\xe9\n", "x", "a.data:2: not UTF-8"),
        ("a.data", "", "x", "a.data: the file is empty; write it again or name another"),
    ],
)
def test_a_table_that_does_not_fit_its_names_is_told_with_its_place(
    tmp_path: Path, name: str, content: bytes | str, fields: str, line: str
) -> None:
    with pytest.raises(PairmineError) as caught:
        named(tmp_path, name, content, fields)
    assert "\n" not in str(caught.value)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(line)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ("a,,b", "--columns a,,b: has an empty name; write _ for a field that is left out"),
        ("a,b,a", '--columns a,b,a: "a" comes twice'),
        ("_,_", "--columns _,_: names no column"),
        ("...", "--columns ...: names no column"),
        ("a,...,b", "--columns a,...,b: ... has its place at the end alone"),
    ],
)
def test_names_that_cannot_be_are_told_before_the_file_is_opened(fields: str, line: str) -> None:
    with pytest.raises(PairmineError) as caught:
        check_fields(fields.split(","))
    assert str(caught.value).startswith(line)


def test_two_fields_may_be_left_out(tmp_path: Path) -> None:
    check_fields(["_", "a", "_"])
    assert named(tmp_path, "a.tsv", "x\ty\tz\n", "_,a,_") == [{"a": "y"}]


def test_a_long_parquet_file_is_not_held_in_memory_while_it_is_read(tmp_path: Path) -> None:
    """Nor are 16 thousand of its rows where each is as long as a book."""
    text = np.random.default_rng(0).integers(33, 126, 40_000, np.uint8).tobytes().decode()
    path = tmp_path / "books.parquet"
    with pq.ParquetWriter(path, pa.schema([("id", pa.string()), ("text", pa.string())])) as writer:
        for start in range(0, 3000, 300):
            texts = [text[at % 997 :] + str(at) for at in range(start, start + 300)]
            writer.write_table(pa.table({"id": [str(at) for at in range(start, start + 300)], "text": texts}))
    before = pa.total_allocated_bytes()
    most = rows = 0
    (shard,) = find_shards(str(path))
    for raw in read_raw(shard):
        most, rows = max(most, pa.total_allocated_bytes() - before), rows + raw.table.num_rows
    assert rows == 3000
    assert most < 100 << 20, f"{most / 1e6:.0f} MB of a file with 120 MB of text"


# --- too much of something ----------------------------------------------------------------------


def test_rows_with_names_of_their_own_come_in_batches_whose_cells_are_bounded(tmp_path: Path) -> None:
    content = "".join(json.dumps({"id": f"d{at}", f"k{at}": at}) + "\n" for at in range(6000))
    for text in (content, f"[{content.replace('}', '},').rstrip().rstrip(',')}]"):
        found = raws(tmp_path, "a.jsonl", text)
        assert sum(raw.table.num_rows for raw in found) == 6000
        assert max(raw.table.num_rows * raw.table.num_columns for raw in found) <= MAX_CELLS
        last = found[-1]
        assert last.table.to_pylist()[-1]["k5999"] == 5999
        assert last.where(last.table.num_rows - 1).endswith("6000")


def test_names_that_are_values_are_told_before_they_fill_the_memory(tmp_path: Path) -> None:
    row = json.dumps({f"c{at}": at for at in range(MAX_COLUMNS + 1)})
    told = f"a.jsonl:1: {MAX_COLUMNS + 1:,} columns, more than {MAX_COLUMNS:,}; are their names values?"
    assert line_of(tmp_path, "a.jsonl", row).startswith(told)
    header = ",".join(f"c{at}" for at in range(MAX_COLUMNS + 1))
    assert line_of(tmp_path, "a.csv", header + "\n").startswith(told.replace("jsonl", "csv"))


def test_a_header_of_very_many_names_is_looked_through_once(tmp_path: Path) -> None:
    names = [f"c{at}" for at in range(MAX_COLUMNS)]
    started = time.process_time()
    assert raws(tmp_path, "a.csv", ",".join(names) + "\n")[0].table.column_names == names
    assert time.process_time() - started < 2


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_lists_and_objects_that_stand_in_each_other_too_deep_are_told(tmp_path: Path, opened: str) -> None:
    closed = {"[": "]", '{"a":': "}"}[opened]
    fine, deep = (opened * times + "1" + closed * times for times in (MAX_DEPTH, MAX_DEPTH + 1))
    assert rows(tmp_path, "a.jsonl", f'{{"id":"1","m":{fine}}}')[0]["id"] == "1"
    line = line_of(tmp_path, "a.jsonl", f'{{"id":"1"}}\n{{"id":"1","m":{deep}}}\n')
    assert line.startswith(f'a.jsonl:2: "m" is nested more than {MAX_DEPTH} lists or objects deep; write it as text')


def test_a_deep_column_of_a_binary_table_is_told(tmp_path: Path) -> None:
    kind = pa.int8()
    for _ in range(MAX_DEPTH + 1):
        kind = pa.list_(kind)
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, pa.schema([("m", kind)])) as out:
        out.write_table(pa.table({"m": pa.nulls(1, kind)}))
    with pytest.raises(PairmineError, match='"m" is nested more than'):
        list(read_raw(find_shards(str(path))[0]))


def test_a_whole_number_that_loses_digits_beside_fractions_is_named(tmp_path: Path) -> None:
    line = line_of(tmp_path, "a.jsonl", '{"id":1.5}\n{"id":9007199254740993}\n')
    assert line == (
        'a.jsonl:2: "id" is 9007199254740993, which loses digits beside numbers with a fraction; write them as text'
    )


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_a_column_that_ends_beyond_its_texts_is_told_and_not_read(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "more": ["some text here"]})
    good = b"\0\0\0\0\x0e\0\0\0some"
    content = _ipc(table)
    assert good in content
    damaged = content.replace(good, b"\0\0\0\0\xff\xff\xff\x7fsome")
    assert line_of(tmp_path, "a.arrow", damaged).endswith("it may be truncated, write or fetch it again")
    nested = _ipc(pa.table({"id": ["1"], "more": [["some text here"]]})).replace(good, b"\0\0\0\0\xff\xff\xff\x7fsome")
    assert "a.arrow: " in line_of(tmp_path, "a.arrow", nested)


@pytest.mark.parametrize("column", ["id", "more"])
def test_texts_that_are_no_utf8_are_told_in_every_column(tmp_path: Path, column: str) -> None:
    pq.write_table(pa.table({"id": ["one"], "more": ["two"]}), tmp_path / "a.parquet")
    word = {"id": b"one", "more": b"two"}[column]
    content = (tmp_path / "a.parquet").read_bytes().replace(word, b"\xff" + word[1:])
    assert line_of(tmp_path, "a.parquet", content) == (
        f'a.parquet: "{column}" holds bytes that are no UTF-8; write its texts again'
    )


def test_what_has_no_line_ends_is_refused_where_it_gets_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairmine.files.raw.MAX_LINE_BYTES", 4 << 20)
    zeros = gzip.compress(bytes(20 << 20), 1)
    assert line_of(tmp_path, "a.jsonl.gz", zeros) == (
        "a.jsonl.gz:1: a line of over 4 MB, with zero bytes in it; is this a jsonl file? Write one row to a line"
    )
    assert line_of(tmp_path, "a.csv.gz", gzip.compress(b"x" * (20 << 20), 1)).startswith(
        "a.csv.gz:1: a line of over 4 MB;"
    )


@pytest.mark.parametrize("piece", [b"1,", b"1,\n"])
def test_a_json_array_is_held_up_to_a_limit_on_one_line_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr("pairmine.files.raw.MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr("pairmine.files.raw.MAX_ARRAY_BYTES", 5 << 20)
    assert line_of(tmp_path, "a.json.gz", gzip.compress(b"[" + piece * (9 << 20), 1)) == (
        "a.json.gz: a JSON array of over 5 MB; write one object to a line, as .jsonl"
    )
    row = b'{"id": "1", "text": "' + b"x" * (1 << 20) + b'"},'
    assert len(rows(tmp_path, "b.json", b"[" + row * 3 + b"{}]")) == 4


@pytest.mark.parametrize("rows", [0, 1])
def test_a_column_of_lists_may_have_the_name_of_a_text(tmp_path: Path, rows: int) -> None:
    table = pa.table({"query": [["a", "b"]], "document": [{"a": 1}]}).slice(0, rows)
    pq.write_table(table, tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    assert raws(tmp_path, "a.parquet", content)[0].table.to_pylist() == table.to_pylist()
