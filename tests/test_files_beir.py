"""BEIR folders as a corpus and as a pair set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files.lineage import Lineage
from pairmine.files.source import open_documents, open_either, open_pairs, open_queries


def quietly(line: str) -> None:
    del line


def beir(folder: Path, **qrels: str) -> str:
    documents = [{"_id": str(i), "title": "T" if i else "", "text": f"text {i}", "metadata": {}} for i in range(4)]
    queries = [{"_id": "q1", "text": "one", "metadata": {}}, {"_id": "q2", "text": "zwei 日"}]
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    for name, body in qrels.items():
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + body)
    return str(folder)


def test_judgments_are_rows_with_label_grade_and_texts(tmp_path: Path) -> None:
    source = open_pairs(beir(tmp_path / "b", test="q2\t0\t2\nq1\t1\t1\nq2\t3\t0\n"), quietly)
    wanted = [
        {"query_id": "q2", "query": "zwei 日", "doc_id": "0", "document": "text 0", "label": 1, "grade": 1.0},
        {"query_id": "q2", "query": "zwei 日", "doc_id": "3", "document": "T text 3", "label": 0, "grade": 0.0},
        {"query_id": "q1", "query": "one", "doc_id": "1", "document": "T text 1", "label": 1, "grade": 0.5},
    ]
    rows = [{**row, "origin": "given"} for row in wanted]
    assert source.read().to_pylist() == rows
    assert [row for chunk in source.chunks(1) for row in chunk.to_pylist()] == rows
    schema.check_pairs(source.read())


def test_the_same_folder_is_a_corpus_and_a_query_file(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", test="q1\t1\t1\n")
    assert open_documents(folder, quietly).read().num_rows == 4
    assert open_either(folder, quietly).read().num_rows == 4
    assert open_queries(folder, quietly).read()["id"].to_pylist() == ["q1", "q2"]


def test_the_digest_covers_all_three_files(tmp_path: Path) -> None:
    digests = set()
    for name, grade in (("a", 1), ("b", 2)):
        source, record = open_pairs(beir(tmp_path / name, test=f"q1\t1\t{grade}\n"), quietly), Lineage()
        source.read()
        source.add_to(record, "pairs")
        assert record.inputs[0]["rows"] == 1
        digests.add(record.inputs[0]["sha256"])
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("q1\t9\t1\n", 'test.tsv: 1 of 1 judgments name a document that .*corpus.jsonl does not have, .* "9"'),
        ("q9\t1\t1\n", 'name a query that .*queries.jsonl does not have, the first of them "q9"'),
        ("q1\t1\t1\nq1\t2\tnan\n", 'test.tsv:3: "score" is no finite number; mend or remove the line'),
        ("q1\t1\tyes\n", "test.tsv:2: \"score\" holds 'yes', which is no number"),
        ("q1\t1\t\n", "test.tsv:2: a judgment without a score"),
        ("", "no rows in it"),
        ("q1\t1\n", "test.tsv:2: 2 fields where the header has 3"),
    ],
)
def test_judgments_that_do_not_fit_are_told(tmp_path: Path, body: str, line: str) -> None:
    with pytest.raises(PairmineError, match=line):
        open_pairs(beir(tmp_path / "b", test=body), quietly).read()


def test_splits_are_asked_for_where_there_are_several(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", test="q1\t1\t1\n", dev="q2\t1\t1\n")
    with pytest.raises(
        PairmineError, match=r"judgments for several splits; pass --split NAME \(dev, test\), or run"
    ) as e:
        open_pairs(folder, quietly)
    assert str(e.value).endswith(f"or run 'pairmine convert {folder} --as pairs --split NAME' first")
    assert open_pairs(folder, quietly, split="dev").read()["query_id"].to_pylist() == ["q2"]
    with pytest.raises(PairmineError, match=r'no split "train" \(found: dev, test\)'):
        open_pairs(folder, quietly, split="train")
    with pytest.raises(PairmineError, match="without judgments"):
        open_pairs(beir(tmp_path / "none"), quietly)
    with pytest.raises(PairmineError, match="is a BEIR folder, whose columns are known; leave out --query-column"):
        open_pairs(folder, quietly, split="dev", query="text")
    with pytest.raises(PairmineError, match="--split dev is for BEIR folders, and this is none"):
        open_pairs(str(tmp_path / "x.jsonl"), quietly, split="dev")


def test_graded_judgments_are_positives_from_the_bound_that_the_user_draws(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", test="q1\t0\t0\nq1\t1\t1\nq1\t2\t2\nq1\t3\t2\n")
    heard: list[str] = []
    source = open_pairs(folder, heard.append)
    for _ in range(2):
        assert source.read()["label"].to_pylist() == [0, 1, 1, 1]
    assert [line for line in heard if "above 0" in line] == [
        f"{folder}: every judgment above 0 is taken as a positive (1 of grade 0, 1 of grade 1, 2 of grade 2); "
        "'pairmine convert --as pairs --positive-from N' draws the line at N"
    ]
    found = open_pairs(folder, quietly, positive_from=2).read()
    assert found["label"].to_pylist() == [0, 0, 1, 1]
    assert found["grade"].to_pylist() == [0, 0.5, 1, 1]
    with pytest.raises(
        PairmineError, match=r"no judgment reaches --positive-from 3 \(1 of grade 0, 1 of grade 1, 2 of grade 2\)"
    ):
        open_pairs(folder, quietly, positive_from=3).read()
    with pytest.raises(PairmineError, match="--positive-from is for the judgments of BEIR folders, and this is none"):
        open_pairs(str(tmp_path / "x.jsonl"), quietly, positive_from=1)


def test_judgments_of_0_and_1_leave_nothing_to_say(tmp_path: Path) -> None:
    heard: list[str] = []
    open_pairs(beir(tmp_path / "b", test="q1\t0\t0\nq1\t1\t1\n"), heard.append).read()
    assert not any("above 0" in line for line in heard)


def test_documents_that_a_corpus_repeats_are_handed_on_to_dedup(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", test="q1\t1\t1\n")
    corpus = tmp_path / "b" / "corpus.jsonl"
    corpus.write_text(corpus.read_text() * 2)
    assert open_either(folder, quietly).read().num_rows == 8
    source = open_documents(folder, quietly)
    assert (source.read().num_rows, source.repeats) == (4, 4)


def test_a_corpus_whose_titles_and_columns_show_late_is_read(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", test="q1\tlate\t1\nq1\td0\t0\n")
    rows: list[dict[str, object]] = [{"_id": f"d{i}", "text": "x" * 3000} for i in range(15_000)]
    rows.append({"_id": "late", "title": "T", "text": "y", "more": [1]})
    (tmp_path / "b" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert open_pairs(folder, quietly).read()["document"].to_pylist() == ["T y", "x" * 3000]
