"""Inputs as canonical tables, whatever their columns and batches."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import raw
from pairmine.files import source as reader
from pairmine.files.blocks import contiguous_order
from pairmine.files.columns import Wanted
from pairmine.files.raw import BATCH_ROWS
from pairmine.files.sink import Sink
from pairmine.files.source import (
    ColumnsChanged,
    open_documents,
    open_either,
    open_pairs,
    open_queries,
    open_rows,
)
from pairmine.identity import content_id


class Heard(list[str]):
    """Keeps what a source says."""

    def __call__(self, line: str) -> None:
        self.append(line)


def put(folder: Path, name: str, rows: list[dict[str, object]] | str) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    text = rows if isinstance(rows, str) else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(path: str, *, pairs: bool = False, **columns: str | None) -> str:
    with pytest.raises(PairmineError) as caught:
        (open_pairs if pairs else open_documents)(path, Heard(), columns=columns).read()
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(Path(path).parent) + "/", "")


@pytest.mark.parametrize("name", ["c.jsonl", "c.parquet"])
def test_a_reading_that_is_broken_off_leaves_the_count_of_a_whole_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lineage of `check --fix` had too few rows, where the last test wanted but some."""
    monkeypatch.setattr(raw, "BATCH_ROWS", 4)
    rows: list[dict[str, object]] = [{"id": str(i), "text": f"t{i}"} for i in range(10)]
    path = put(tmp_path, "c.jsonl", rows)
    if name.endswith(".parquet"):
        path = str(tmp_path / name)
        pq.write_table(pa.Table.from_pylist(rows), path)
    source = open_documents(path, Heard(), replay=True)
    assert sum(table.num_rows for table in source.tables()) == source.rows == 10
    assert next(source.tables()).num_rows < 10
    assert next(source.each()).num_rows < 10
    assert source.rows == 10


def test_the_usual_names_are_taken_and_told_once(tmp_path: Path) -> None:
    heard = Heard()
    source = open_documents(put(tmp_path, "c.jsonl", [{"_id": 7, "contents": "x", "url": "u"}]), heard)
    assert source.read().to_pylist() == [{"id": "7", "text": "x", "url": "u"}]
    source.read()
    assert heard == [f"{tmp_path}/c.jsonl: id from _id, text from contents"]


def test_a_named_column_wins_over_a_usual_one(tmp_path: Path) -> None:
    path = put(tmp_path, "c.jsonl", [{"id": "1", "text": "short", "body": "long"}])
    found = open_documents(path, Heard(), text="body").read().to_pylist()
    assert found == [{"id": "1", "text": "long", "other_text": "short"}]


def test_without_ids_the_texts_hash_is_the_id_and_copies_are_read_once(tmp_path: Path) -> None:
    heard = Heard()
    found = open_documents(put(tmp_path, "c.csv", "text\nx\ny\nx\n"), heard).read()
    assert found["id"].to_pylist() == [content_id("x"), content_id("y")]
    assert heard == [f"{tmp_path}/c.csv: 1 rows repeat a text; each is read once"]


def test_rows_that_repeat_are_counted_in_a_corpus_and_all_handed_on_to_dedup(tmp_path: Path) -> None:
    for name, content in (("ids.jsonl", '{"id":"1","text":"x"}\n' * 3), ("texts.csv", "text\nx\nx\nx\n")):
        path = put(tmp_path, name, content)
        source = open_documents(path, Heard())
        for _ in range(2):
            assert (source.read().num_rows, source.rows, source.repeats) == (1, 1, 2)
        assert (sum(map(len, source.tables())), source.repeats) == (1, 2)
        heard = Heard()
        source = open_either(path, heard)
        assert (source.read().num_rows, source.repeats, heard) == (3, 0, [])


def test_dedup_too_refuses_one_id_with_two_texts(tmp_path: Path) -> None:
    path = put(tmp_path, "c.jsonl", '{"id":"1","text":"x"}\n{"id":"1","text":"x"}\n{"id":"1","text":"y"}\n')
    with pytest.raises(PairmineError, match=r'c.jsonl:3: id "1" stands at .*c.jsonl:1 with another text'):
        open_either(path, Heard()).read()


def test_pairs_without_labels_are_told_once(tmp_path: Path) -> None:
    heard = Heard()
    source = open_pairs(put(tmp_path, "p.csv", "sentence1,sentence2,score\na,b,4.8\nc,d,0.2\n"), heard)
    for _ in range(2):
        assert source.read()["label"].to_pylist() == [1, 1]
    assert heard[1:] == [
        f"{tmp_path}/p.csv: no label column, every row is taken as a positive; "
        '"score" is not read as a label (--label-column names one)'
    ]


def two_texts(folder: Path, **more: object) -> str:
    texts = [("a", "1", "x"), ("a", "2", "y"), ("b", "3", None), ("a", "1", "x"), ("b", "3", "z"), ("b", "2", "日")]
    rows = [{"query_id": q, "query": q, "doc_id": d, "document": t, "label": 1, **more} for q, d, t in texts]
    return put(folder, "p.jsonl", rows)  # type: ignore[arg-type]


def test_one_document_with_two_texts_names_both_rows(tmp_path: Path) -> None:
    line = 'p.jsonl: doc_id "2" has one text in row 2 and another in row 6; give each text an id of its own, or drop'
    assert refused(two_texts(tmp_path), pairs=True).startswith(line)


def test_a_streaming_command_names_the_rows_of_the_file_too(tmp_path: Path) -> None:
    rows = [{"query_id": f"q{i}", "document": f"text {i}", "doc_id": f"d{min(i, 4)}"} for i in range(6)]
    source = open_pairs(put(tmp_path, "p.jsonl", rows), Heard())  # type: ignore[arg-type]
    with pytest.raises(PairmineError, match=r'doc_id "d4" has one text in row 5 and another in row 6'):
        list(source.chunks())
    schema.check_pairs(open_pairs(put(tmp_path, "q.jsonl", rows[:5]), Heard()).read())  # type: ignore[arg-type]


def test_chunks_hold_the_same_rows_whether_their_dictionaries_are_one_or_not(tmp_path: Path) -> None:
    rows = [{"query_id": f"q{at // 7}", "doc_id": f"d{at % 50}", "document": f"text {at % 50}"} for at in range(280)]
    for start in range(0, 280, 28):
        put(tmp_path, f"p/{start:03}.jsonl", rows[start : start + 28])  # type: ignore[arg-type]
    source = open_pairs(str(tmp_path / "p"), Heard())
    one, several = (list(source.chunks(60, unified=unified)) for unified in (True, False))
    assert [chunk.to_pylist() for chunk in one] == [chunk.to_pylist() for chunk in several]
    assert len(one) > 2
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in one[0]["document"].chunks}) == 1
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in several[0]["document"].chunks}) > 1


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_our_own_files_are_not_searched_for_two_texts(tmp_path: Path, ending: str) -> None:
    texts = pa.array(["x", "y"]).dictionary_encode()
    table = pa.table({"query_id": ["q", "q"], "doc_id": ["1", "1"], "document": texts})
    table = schema.as_pairs(table.append_column("label", [[1, 1]]).append_column("origin", [["given", "given"]]))
    sink = Sink(str(tmp_path / f"p.{ending}"))
    sink.write(table)
    sink.commit([{"command": "mine"}])
    source = open_pairs(str(tmp_path / f"p.{ending}"), Heard())
    assert sum(map(len, source.chunks())) == source.read().num_rows == 2
    pq.write_table(table, tmp_path / "theirs.parquet")
    with pytest.raises(PairmineError, match='doc_id "1" has one text in row 1 and another in row 2'):
        open_pairs(str(tmp_path / "theirs.parquet"), Heard()).read()


def test_a_column_to_take_for_the_text_is_proposed_as_a_shell_reads_it(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "1", "year": 1999, "the speech": "x"}]
    assert refused(put(tmp_path, "c.jsonl", rows)).endswith("; pass --text-column 'the speech'")
    assert refused(put(tmp_path, "c.jsonl", [{"id": "1", "year": 1999}])).endswith("; pass --text-column NAME")


def test_an_id_that_comes_again_with_its_text_is_read_once(tmp_path: Path) -> None:
    heard = Heard()
    row = {"id": "1", "text": "x"}
    assert open_documents(put(tmp_path, "c.jsonl", [row, row, {"id": "2", "text": "x"}]), heard).read().num_rows == 2
    assert "1 rows repeat an id with the same text; each is read once" in heard[0]


def test_one_id_with_two_texts_names_both_places_across_shards(tmp_path: Path) -> None:
    many = [{"id": str(i), "text": f"t{i}"} for i in range(BATCH_ROWS + 5)]
    put(tmp_path, "c/a.jsonl", many)
    path = put(tmp_path, "c/b.jsonl", [{"id": "new", "text": "x"}, {"id": "16385", "text": "other"}])
    line = refused(str(Path(path).parent))
    assert 'c/b.jsonl:2: id "16385" stands at c/a.jsonl:16386 with another text; give each document' in line


def test_a_row_that_comes_again_where_titles_show_late_is_still_the_same(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": str(i), "text": f"t{i}"} for i in range(BATCH_ROWS)]
    path = put(tmp_path, "c.jsonl", [*rows, {"id": "5", "text": "t5"}, {"id": "z", "title": "T", "text": "z"}])
    assert open_documents(path, Heard()).read().num_rows == BATCH_ROWS + 1


def test_one_id_with_another_title_is_another_text(tmp_path: Path) -> None:
    rows = [{"id": "1", "title": "a b", "text": "c"}, {"id": "1", "title": "a", "text": "b c"}]
    assert 'id "1" stands at c.jsonl:1' in refused(put(tmp_path, "c.jsonl", rows))


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([{"id": "1", "speech": "x"}], 'c.jsonl:1: no "text" (found: id, speech); pass --text-column speech'),
        (
            [{"text": "x"}, {"body": "y"}],
            'c.jsonl:2: no "text" (found: body); pass --text-column body, or mend the row',
        ),
        ([{"text": "x"}, {"text": None}], 'c.jsonl:2: "text" is null; give the row a value or remove it'),
        ([{"text": ["x"]}], 'c.jsonl:1: "text" is a list where a string belongs'),
        ([{"text": 3}], 'c.jsonl:1: "text" is a number where a string belongs'),
        ([{"id": "1", "text": "x"}, {"id": None, "text": "y"}], 'c.jsonl:2: "id" is null'),
        (
            [{"id": "1", "text": "x"}, {"id": "", "text": "y"}],
            'c.jsonl:2: "id" is empty; give every row an id, or drop',
        ),
        ([{"id": True, "text": "x"}], 'c.jsonl:1: "id" holds a boolean; an id is text or a whole number'),
        ([{"id": 1.5, "text": "x"}], 'c.jsonl:1: "id" holds a number; an id is text or a whole number'),
        ("\n\n", "c.jsonl: no rows in it; a corpus needs at least one, name another"),
    ],
)
def test_a_row_that_is_no_document_is_told_with_its_line(tmp_path: Path, rows: object, line: str) -> None:
    assert refused(put(tmp_path, "c.jsonl", rows)).startswith(line)  # type: ignore[arg-type]


def test_a_csv_without_a_header_is_told_that_the_first_line_names_the_columns(tmp_path: Path) -> None:
    line = refused(put(tmp_path, "c.csv", "d1,some text\nd2,more text\n"))
    assert line.startswith('c.csv:2: no "text" (found: d1, some text)')
    assert line.endswith("its first line must name the columns, or --columns where it is no header")


def late(tmp_path: Path, last: dict[str, object]) -> str:
    rows: list[dict[str, object]] = [{"id": str(i), "text": f"t{i}", "note": None} for i in range(20_000)]
    return put(tmp_path, "late.jsonl", [*rows, last])


def test_a_column_that_is_null_for_20000_rows_and_text_later_is_text_in_every_table(tmp_path: Path) -> None:
    path = late(tmp_path, {"id": "z", "text": "z", "note": "日", "title": "T"})
    tables = list(open_documents(path, Heard()).tables())
    assert len(tables) > 1
    assert {str(table.schema) for table in tables} == {str(tables[0].schema)}
    assert tables[-1].to_pylist()[-1] == {"id": "z", "title": "T", "text": "z", "note": "日"}


def test_late_columns_ask_for_a_new_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairmine.files.source._FIRST_BYTES", 1)
    source = open_documents(late(tmp_path, {"id": "z", "text": "z", "note": "x"}), Heard())
    tables = source.tables(look_ahead=False)
    assert next(tables).num_rows
    with pytest.raises(ColumnsChanged):
        list(tables)
    again = pa.concat_tables(source.tables(look_ahead=False))
    assert (again.num_rows, source.rows, again["note"].type) == (20_001, 20_001, pa.string())


def test_without_looking_ahead_a_file_of_one_kind_is_read_in_one_go(tmp_path: Path) -> None:
    path = late(tmp_path, {"id": "z", "text": "z", "note": None})
    assert sum(table.num_rows for table in open_documents(path, Heard()).tables(look_ahead=False)) == 20_001


def test_a_type_that_changes_far_down_is_told_with_its_place(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": str(i), "text": "x" * 50 + str(i), "n": 1} for i in range(20_000)]
    path = put(tmp_path, "c.jsonl", [*rows, *({**row, "id": f"b{row['id']}", "n": "a"} for row in rows)])
    with pytest.raises(PairmineError, match=r'c.jsonl:\d+: (column )?"n" .*write all of them as one type'):
        list(open_documents(path, Heard()).tables())
    assert "write all of them as one type" in refused(path)


def test_ids_that_only_later_rows_have_are_told(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"t{i}"} for i in range(BATCH_ROWS)]
    line = refused(put(tmp_path, "c.jsonl", [*rows, {"id": "1", "text": "x"}]))
    place = f"c.jsonl:{BATCH_ROWS + 1}"
    assert line.startswith(f'{place}: rows from here on have "id" and earlier ones have none; give every row')


def test_parquet_shards_with_different_columns_become_one_table(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    pq.write_table(pa.table({"id": ["1"], "text": ["x"], "n": pa.array([1], pa.int32())}), tmp_path / "c/a.parquet")
    pq.write_table(pa.table({"id": ["2"], "text": ["y"], "u": ["z"]}), tmp_path / "c/b.parquet")
    tables = list(open_documents(str(tmp_path / "c"), Heard()).tables())
    assert tables[0].schema == tables[1].schema
    assert pa.concat_tables(tables).to_pylist()[1] == {"id": "2", "text": "y", "n": None, "u": "z"}


def test_objects_may_have_other_keys_in_other_batches(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": str(i), "text": f"t{i}", "meta": {"a": 1}} for i in range(BATCH_ROWS)]
    path = put(tmp_path, "c.jsonl", [*rows, {"id": "z", "text": "z", "meta": {"b": "x"}}])
    assert open_documents(path, Heard()).read()["meta"][-1].as_py() == {"a": None, "b": "x"}


@pytest.mark.parametrize(
    "rows",
    [
        [{"anchor": "q", "positive": "p", "negative": "n"}],
        [{"anchor": "q", "positive": "p", "negative_1": "n"}],
        [{"query": "q", "pos": ["p"], "neg": ["n"]}],
        [{"query": "q", "positive": "p", "hard_negatives": ["n"]}],
        [{"sentence1": "q", "sentence2": "p"}, {"sentence1": "q", "sentence2": "n", "label": 0}],
        [{"query": "q", "document": "p"}, {"query": "q", "document": "n", "label": False}],
    ],
)
def test_trainer_files_are_read_as_pairs(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    if len(rows) == 2:
        rows[0]["label"] = True if rows[1]["label"] is False else 1
    found = open_pairs(put(tmp_path, "p.jsonl", rows), Heard()).read()
    assert list(zip(*(found[name].to_pylist() for name in ("query", "document", "label", "origin")), strict=True)) == [
        ("q", "p", 1, "given"),
        ("q", "n", 0, "given"),
    ]
    assert found["doc_id"].to_pylist() == [content_id("p"), content_id("n")]


def test_a_row_of_many_texts_keeps_its_own_columns_and_leaves_nulls_out(tmp_path: Path) -> None:
    rows = [
        {"qid": 5, "query": "q", "pos": ["p1", "p2"], "neg": []},
        {"qid": 6, "query": "r", "pos": None, "neg": ["日"]},
    ]
    found = open_pairs(put(tmp_path, "p.jsonl", rows), Heard()).read()  # type: ignore[arg-type]
    assert list(
        zip(found["query_id"].to_pylist(), found["document"].to_pylist(), found["label"].to_pylist(), strict=True)
    ) == [
        ("5", "p1", 1),
        ("5", "p2", 1),
        ("6", "日", 0),
    ]


def test_the_id_of_a_positive_is_not_given_to_its_negatives(tmp_path: Path) -> None:
    rows = [{"query": "q", "positive": "p", "positive_id": "7", "negative": "n"}]
    found = open_pairs(put(tmp_path, "p.jsonl", rows), Heard()).read()  # type: ignore[arg-type]
    assert len(set(found["doc_id"].to_pylist())) == 2


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"query": "q", "pos": "p", "neg": ["n"]},
            'p.jsonl:1: "pos" is a string where a list belongs; write it as ["..."]',
        ),
        ({"query": "q", "pos": ["p", None]}, 'p.jsonl:1: "pos" must be a list of strings'),
        ({"query": "q", "pos": [1]}, 'p.jsonl:1: "pos" must be a list of strings'),
        ({"query": "q", "negative": "n"}, 'p.jsonl: no "positive" or "pos" (found: query, negative)'),
        ({"query": ["q"], "document": "d"}, 'p.jsonl:1: "query" is a list where a string belongs'),
        ({"query": None, "document": "d"}, 'p.jsonl:1: "query" is null'),
        ({"query": "q", "document": "d", "label": 2}, 'p.jsonl:1: "label" holds 2; write 1, 0 or null'),
        ({"query": "q", "document": "d", "label": 0.5}, "p.jsonl:1: \"label\" holds '0.5', which is no whole number"),
        ({"query": "q", "document": "d", "grade": "high"}, "p.jsonl:1: \"grade\" holds 'high', which is no number"),
        (
            {"id": "1", "body": "x"},
            'p.jsonl: no "query" and no "query_id" (found: id, body); '
            "'pairmine convert --as pairs' reads files of trainers, and takes --query-column NAME",
        ),
    ],
)
def test_a_row_that_is_no_pair_is_told(tmp_path: Path, row: dict[str, object], line: str) -> None:
    assert refused(put(tmp_path, "p.jsonl", [row]), pairs=True).startswith(line)


def test_empty_cells_of_a_csv_pair_set_are_nulls_where_numbers_and_sources_stand(tmp_path: Path) -> None:
    path = put(tmp_path, "p.csv", "query,document,label,score_x,source_id,rank\nq,d,,,,\nq,e,1,0.5,s,3\n")
    found = open_pairs(path, Heard()).read()
    assert found.select(["label", "score_x", "source_id", "rank"]).to_pylist() == [
        {"label": None, "score_x": None, "source_id": None, "rank": None},
        {"label": 1, "score_x": 0.5, "source_id": "s", "rank": 3},
    ]


def apart(tmp_path: Path) -> str:
    rows = [{"query_id": q, "doc_id": d, "label": 1} for q, d in (("a", "1"), ("b", "2"), ("a", "3"))]
    return put(tmp_path, "p.jsonl", rows)  # type: ignore[arg-type]


def test_rows_of_a_query_that_stand_apart_are_brought_together(tmp_path: Path) -> None:
    heard = Heard()
    assert open_pairs(apart(tmp_path), heard).read()["doc_id"].to_pylist() == ["1", "3", "2"]
    assert "rows of one query stood apart; brought together" in heard[-1]


@pytest.mark.parametrize("rows", [1, 100])
def test_a_streaming_command_refuses_rows_that_stand_apart_and_says_what_helps(tmp_path: Path, rows: int) -> None:
    with pytest.raises(PairmineError, match=r"rows of query \"a\" stand apart; run 'pairmine convert"):
        list(open_pairs(apart(tmp_path), Heard()).chunks(rows))


def test_chunks_never_part_the_rows_of_a_query(tmp_path: Path) -> None:
    rows = [{"query": f"q{i // 7}", "document": f"d{i}"} for i in range(100)]
    source = open_pairs(put(tmp_path, "p.jsonl", rows), Heard())  # type: ignore[arg-type]
    for size in (1, 5, 7, 50, 1000):
        chunks = list(source.chunks(size))
        assert pa.concat_tables(chunks)["doc_id"].to_pylist() == source.read()["doc_id"].to_pylist()
        seen = [set(chunk["query_id"].to_pylist()) for chunk in chunks]
        assert sum(map(len, seen)) == len(set().union(*seen)) == 15


def test_a_file_is_a_pair_set_where_it_has_queries_and_documents(tmp_path: Path) -> None:
    pairs = put(tmp_path, "p.jsonl", [{"query": "q", "document": "d"}])
    corpus = put(tmp_path, "c.jsonl", [{"id": "1", "text": "x"}])
    assert "query_id" in open_either(pairs, Heard()).read().column_names
    assert open_either(corpus, Heard()).read().column_names == ["id", "text"]
    with pytest.raises(PairmineError, match="is a pair set; --text-column is for a corpus"):
        open_either(pairs, Heard(), text="x")
    with pytest.raises(PairmineError, match="no rows in it"):
        open_either(put(tmp_path, "e.jsonl", "\n"), Heard()).read()


def test_other_writers_large_and_dictionary_texts_are_read(tmp_path: Path) -> None:
    large = pa.array(["q", "q"], pa.large_string())
    table = pa.table({"query": large.dictionary_encode(), "document": large, "label": pa.array([1.0, 0.0])})
    pq.write_table(table, tmp_path / "p.parquet")
    found = open_pairs(str(tmp_path / "p.parquet"), Heard()).read()
    assert found.schema.field("query").type == found.schema.field("document").type == schema.TEXT
    assert found["label"].to_pylist() == [1, 0]


def test_queries_are_read_under_their_usual_names(tmp_path: Path) -> None:
    found = open_queries(put(tmp_path, "q.tsv", "qid\tquestion\n1\twhat?\n"), Heard()).read()
    assert found.to_pylist() == [{"id": "1", "text": "what?"}]


def test_an_empty_list_of_ids_is_in_order() -> None:
    assert contiguous_order(pa.chunked_array([], pa.string())) is None


def test_columns_can_be_named_for_a_corpus_for_rows_and_for_pairs(tmp_path: Path) -> None:
    path = put(tmp_path, "t.tsv", "1\tone\tin\n2\ttwo\tout\n")
    fields = ("id", "text", "kind")
    assert open_documents(path, Heard(), fields=fields).read().to_pylist()[0] == {
        "id": "1",
        "text": "one",
        "kind": "in",
    }
    assert open_queries(path, Heard(), fields=("id", "query", "_")).read()["text"].to_pylist() == ["one", "two"]
    wanted = (Wanted("word", ("lemma",), "--word-column", required=True),)
    rows = open_rows(path, wanted, Heard(), fields=("_", "lemma", "kind")).read()
    assert rows.to_pylist()[1] == {"word": "two", "kind": "out"}
    pairs = open_pairs(path, Heard(), fields=("query_id", "query", "document")).read()
    assert pairs["document"].to_pylist() == ["in", "out"]
    with pytest.raises(PairmineError, match=r't.tsv:1: no "word" \(found: a, b\); pass --word-column a$'):
        open_rows(path, wanted, Heard(), fields=("a", "b", "_")).read()


def test_a_pipe_of_fields_is_a_table_when_its_columns_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"1\tone\n2\ttwo\n")), isatty=lambda: False)  # type: ignore[arg-type]
    monkeypatch.setattr("sys.stdin", stdin)
    found = open_documents("-", Heard(), fields=("id", "text")).read()
    assert found.to_pylist() == [{"id": "1", "text": "one"}, {"id": "2", "text": "two"}]


def test_a_beir_folder_and_an_arrow_pipe_name_their_columns_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "corpus.jsonl", [{"_id": "1", "text": "x"}])
    put(tmp_path, "queries.jsonl", [{"_id": "1", "text": "x"}])
    with pytest.raises(PairmineError, match="is a BEIR folder, whose columns are known; leave out --columns"):
        open_documents(str(tmp_path), Heard(), fields=("id", "text"))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("id", pa.string())])):
        pass
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(sink.getvalue().to_pybytes())), isatty=lambda: False)  # type: ignore[arg-type]
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(
        PairmineError, match="standard input: is arrow, which names its columns itself; leave out --col"
    ):
        open_documents("-", Heard(), fields=("id", "text"))


def test_lines_of_text_are_a_corpus_and_hint_at_columns_where_more_is_wanted(tmp_path: Path) -> None:
    path = put(tmp_path, "c.txt", "one\n\nzwei\n")
    assert open_documents(path, Heard()).read()["text"].to_pylist() == ["one", "zwei"]
    wanted = (Wanted("premise", (), "--premise-column", required=True),)
    with pytest.raises(
        PairmineError, match=r"no \"premise\" \(found: text\); .*where a line holds several fields, --columns"
    ):
        open_rows(path, wanted, Heard()).read()


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_texts_of_a_table_that_are_no_utf8_are_told(tmp_path: Path, is_dictionary: bool) -> None:
    spoilt = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    documents = spoilt.dictionary_encode() if is_dictionary else spoilt
    pq.write_table(pa.table({"query": ["q", "r"], "document": documents}), tmp_path / "p.parquet")
    with pytest.raises(PairmineError, match=r'p.parquet: "document" holds bytes that are no UTF-8'):
        open_pairs(str(tmp_path / "p.parquet"), Heard()).read()


def test_chunks_of_long_texts_have_fewer_rows_and_whole_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        {"query_id": f"q{at // 3}", "query": "x", "doc_id": f"d{at}", "document": f"{at} long " * 3000, "label": 1}
        for at in range(90)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(raw, "BATCH_BYTES", 100_000)
    monkeypatch.setattr(reader, "CHUNK_BYTES", 300_000)
    chunks = list(open_pairs(str(path), Heard()).chunks())
    assert len(chunks) > 5
    assert pa.concat_tables(chunks)["doc_id"].to_pylist() == [row["doc_id"] for row in rows]
    assert all(chunk.num_rows % 3 == 0 for chunk in chunks)


def test_a_late_row_of_very_many_columns_does_not_widen_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    rows = [{"id": f"d{at}", "text": "x"} for at in range(9000)]
    rows.append({"id": "wide", "text": "x", **{f"k{at}": "v" for at in range(5000)}})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = list(open_documents(str(path), Heard()).tables())
    assert sum(table.num_rows for table in tables) == 9001
    assert max(table.num_rows * table.num_columns for table in tables) <= raw.MAX_CELLS
    assert len({tuple(table.column_names) for table in tables}) == 1


def test_names_that_are_values_are_told_also_where_they_come_over_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{at}", "text": "x", f"k{at}": 1}) + "\n" for at in range(400)))
    monkeypatch.setattr(raw, "BATCH_ROWS", 50)
    monkeypatch.setattr(reader, "MAX_COLUMNS", 300)
    with pytest.raises(PairmineError, match="are their names values"):
        list(open_documents(str(path), Heard()).tables())


def test_a_number_beyond_64_bits_among_ids_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"id":1,"text":"a"}\n{"id":18446744073709551616,"text":"b"}\n')
    with pytest.raises(PairmineError, match=r"c.jsonl:2: \"id\" holds a number; .* are to be written as text"):
        list(open_documents(str(path), Heard()).tables())


@pytest.mark.parametrize("rows", [0, 2])
def test_lists_of_numbers_without_any_are_told_too(tmp_path: Path, rows: int) -> None:
    table = pa.table({"query": ["q", "r"], "pos": pa.array([[], None], pa.list_(pa.float32())), "neg": [["a"], ["b"]]})
    pq.write_table(table.slice(0, rows), tmp_path / "p.parquet")
    with pytest.raises(PairmineError, match='"pos" must be a list of strings'):
        open_pairs(str(tmp_path / "p.parquet"), Heard()).read()
