"""Faults of form planted in trainers' files and folders, each found by its name and by no other."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from form_rows import (
    CLASS,
    DPR,
    LEGACY,
    LIST,
    NEMO,
    SCORED,
    asked,
    chat,
    edit,
    exported,
    flag,
    lines,
    ntuple,
    opened,
    pair_set,
    passage,
    read,
    said,
    tevatron,
    triplet,
)

from pairmine.files.forms.faults import FAULTS

Planted = tuple[str, str, bytes, dict[str, int]]

PLANTED: dict[str, Planted] = {
    # name: (format, file, bytes, findings with their counts)
    "a torn line": ("flag-embedder", "a.jsonl", lines(flag(1), b'{"query": "q", ', flag(2)), {"invalid-json": 1}),
    "a line of another file": ("flag-embedder", "a.jsonl", lines(flag(1), b"query,pos,neg"), {"invalid-json": 1}),
    "a line that is a list": ("flag-embedder", "a.jsonl", lines(flag(1), ["q", "p"], 7), {"not-an-object": 2}),
    "NaN": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1, pos_scores=[1.0], neg_scores=[0.1, float("nan")])),
        {"nan-in-json": 1, "scores-as-text": 1},
    ),
    "half a surrogate pair": ("flag-embedder", "a.jsonl", lines(flag(1), b'{"query": "\\ud800"}'), {"invalid-json": 1}),
    "Latin-1": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1), json.dumps(flag(2, query="caf\xe9"), ensure_ascii=False).encode("latin1")),
        {"not-utf8": 1},
    ),
    "a byte order mark": ("flag-embedder", "a.jsonl", b"\xef\xbb\xbf" + lines(flag(1)), {"byte-order-mark": 1}),
    "carriage returns": ("flag-embedder", "a.jsonl", lines(flag(1), flag(2)).replace(b"\n", b"\r\n"), {"line-ends": 2}),
    "a string for the positives": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1), flag(2, pos="yes")),
        {"string-for-list": 1},
    ),
    "a string for both lists": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1, pos="yes", neg="no"), flag(2)),
        {"string-for-list": 1},
    ),
    "a list for the query": ("flag-embedder", "a.jsonl", lines(flag(1, query=["q"])), {"list-for-string": 1}),
    "a number for the query": ("flag-embedder", "a.jsonl", lines(flag(1, query=7)), {"not-text": 1}),
    "numbers among the negatives": ("flag-embedder", "a.jsonl", lines(flag(1, neg=["no", 7])), {"not-text": 1}),
    "no negatives": ("flag-embedder", "a.jsonl", lines(flag(1), flag(2, neg=[])), {"empty-negatives": 1}),
    "no positives": ("flag-embedder", "a.jsonl", lines(flag(1), flag(2, pos=[])), {"empty-positives": 1}),
    "null for the negatives": (
        "flag-embedder",
        "a.jsonl",
        b'{"query": "q", "pos": ["p"], "neg": null}\n',
        {"missing-field": 1},
    ),
    "the negatives left out": ("flag-embedder", "a.jsonl", lines(flag(1), flag(2, neg=None)), {"missing-field": 1}),
    "too few scores": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1, pos_scores=[1.0], neg_scores=[0.5]), flag(2, pos_scores=[1.0], neg_scores=[0.5, 0.1])),
        {"uneven-lengths": 1},
    ),
    "scores in some rows": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1, pos_scores=[1.0], neg_scores=[0.5, 0.1]), flag(2), flag(3)),
        {"keys-vary": 1},
    ),
    "scores in quotes": (
        "flag-embedder",
        "a.jsonl",
        lines(flag(1, pos_scores=["1.0"], neg_scores=[0.5, 0.1])),
        {"scores-as-text": 1},
    ),
    "a prompt that rerankers do not read": (
        "flag-reranker",
        "a.jsonl",
        lines(flag(1, prompt="Find it")),
        {"unread-field": 1},
    ),
    "an id beside the text": ("st-triplet", "a.jsonl", lines(triplet(1, id="7")), {"extra-column": 1}),
    "the positive first": (
        "st-triplet",
        "a.jsonl",
        lines({"positive": "yes", "anchor": "q", "negative": "no"}),
        {"column-order": 1},
    ),
    "a negative that is missing": (
        "st-ntuple",
        "a.jsonl",
        lines(ntuple(1), ntuple(2, negative_2="left out")),
        {"n-varies": 1},
    ),
    "a negative that is null": ("st-ntuple", "a.jsonl", lines(ntuple(1), ntuple(2, negative_2=None)), {"n-varies": 1}),
    "the same row twice": ("st-triplet", "a.jsonl", lines(triplet(1), triplet(2), triplet(1)), {"repeated-rows": 1}),
    "the anchor left out": (
        "st-triplet",
        "a.jsonl",
        lines(triplet(1), {"positive": "yes", "negative": "no"}),
        {"missing-field": 1},
    ),
    "a list of negatives where there is one": (
        "st-triplet",
        "a.jsonl",
        lines(triplet(1), triplet(2, negative=["a", "b"])),
        {"list-for-string": 1},
    ),
    "a label and a score": ("st-pair-class", "a.jsonl", lines(CLASS | {"score": 0.5}), {"several-labels": 1}),
    "a label of 2": (
        "st-pair-class",
        "a.jsonl",
        lines(CLASS, CLASS | {"label": 2, "sentence2": "three"}),
        {"label-not-0-1": 1},
    ),
    "a label in quotes": ("st-pair-class", "a.jsonl", lines(CLASS, CLASS | {"label": "1"}), {"label-not-0-1": 1}),
    "no label": (
        "st-pair-class",
        "a.jsonl",
        lines(CLASS, {"sentence1": "one", "sentence2": "two"}),
        {"missing-field": 1},
    ),
    "a score in quotes": ("st-pair-score", "a.jsonl", lines(SCORED, SCORED | {"score": "0.5"}), {"scores-as-text": 1}),
    "a score of 5": ("st-pair-score", "a.jsonl", lines(SCORED, SCORED | {"score": 5}), {"score-beyond-1": 1}),
    "an id beside a pair": (
        "st-pair",
        "a.jsonl",
        lines({"anchor": "q", "positive": "yes", "id": 7}),
        {"extra-column": 1},
    ),
    "a margin that is a list": (
        "st-margin",
        "a.jsonl",
        lines(triplet(1, label=0.5), triplet(2, label=[0.5])),
        {"uneven-lengths": 1},
    ),
    "a margin short": (
        "st-margin-list",
        "a.jsonl",
        lines(ntuple(1, label=[0.5, 0.1]), ntuple(2, label=[0.5])),
        {"uneven-lengths": 1},
    ),
    "a score too many": (
        "st-scores",
        "a.jsonl",
        lines(ntuple(1, label=[0.9, 0.5, 0.1]), ntuple(2, label=[0.9, 0.5, 0.1, 0.2])),
        {"uneven-lengths": 1},
    ),
    "a string for the docs": (
        "st-labeled-list",
        "a.jsonl",
        lines(LIST, LIST | {"docs": "yes", "labels": [1]}),
        {"string-for-list": 1},
    ),
    "a label short": ("st-labeled-list", "a.jsonl", lines(LIST, LIST | {"labels": [1]}), {"uneven-lengths": 1}),
    "an empty list": (
        "st-labeled-list",
        "a.jsonl",
        lines(LIST, LIST | {"docs": [], "labels": []}),
        {"empty-positives": 1},
    ),
    "an id beside the list": ("st-labeled-list", "a.jsonl", lines(LIST | {"query_id": "q1"}), {"extra-column": 1}),
    "a fourth column": (
        "simcse-triplet",
        "a.csv",
        b"sent0,sent1,hard_neg,id\na,b,c,1\n",
        {"too-many-columns": 1, "extra-column": 1},
    ),
    "NA": ("simcse-triplet", "a.csv", b"sent0,sent1,hard_neg\na,NA,c\nd,e,f\n", {"misread-texts": 1}),
    "a picture": ("swift-legacy", "a.jsonl", lines(LEGACY, LEGACY | {"query": "<image> what?"}), {"misread-texts": 1}),
    "a kind of file that is not opened": ("flag-embedder", "a.ndjson", lines(flag()), {"wrong-file-kind": 1}),
    "tsv in the name of a csv": ("simcse-pair", "tsv.csv", b"sent0,sent1\na,b\n", {"wrong-file-kind": 1}),
    "a comma without quotes": (
        "simcse-triplet",
        "a.csv",
        b"sent0,sent1,hard_neg\na,b,c\na,b,c,d\n",
        {"uneven-fields": 1},
    ),
    "an open quote": ("simcse-triplet", "a.csv", b'sent0,sent1,hard_neg\na,b,c\na,"b,c\nd,e,f\n', {"uneven-fields": 1}),
    "a passage without a title": (
        "tevatron",
        "a.jsonl",
        lines(tevatron(positive_passages=[{"docid": "p1", "text": "yes"}])),
        {"missing-title": 1},
    ),
    "a passage without an id": (
        "tevatron",
        "a.jsonl",
        lines(tevatron(positive_passages=[{"title": "", "text": "yes"}])),
        {"missing-field": 1},
    ),
    "passages that are texts": ("tevatron", "a.jsonl", lines(tevatron(negative_passages=["no"])), {"not-text": 1}),
    "a score in one passage": (
        "tevatron",
        "a.jsonl",
        lines(tevatron(negative_passages=[passage("n1", score=0.5)])),
        {"keys-vary": 1},
    ),
    "ids as text and numbers": (
        "tevatron",
        "a.jsonl",
        lines(tevatron(), tevatron(query_id=2, query="why?")),
        {"mixed-types": 1},
    ),
    "no passages to lose": (
        "tevatron",
        "a.jsonl",
        lines(tevatron(), tevatron(query_id="q2", negative_passages=[])),
        {"empty-negatives": 1},
    ),
    "no answers": (
        "dpr",
        "a.json",
        json.dumps([DPR, {k: v for k, v in DPR.items() if k != "answers"}]).encode(),
        {"missing-field": 1},
    ),
    "an array that is torn": (
        "dpr",
        "a.json",
        b"[\n" + json.dumps(DPR).encode() + b",\n" + json.dumps(DPR).encode()[:40],
        {"invalid-json": 1},
    ),
    "two positives for NeMo": (
        "nemo-inline",
        "a.jsonl",
        lines(NEMO | {"pos_doc": ["a", "b"]}),
        {"several-positives": 1},
    ),
    "a string for NeMo's negatives": (
        "nemo-inline",
        "a.jsonl",
        lines(NEMO, NEMO | {"neg_doc": "no", "query": "r"}),
        {"string-for-list": 1},
    ),
    "a string for what was rejected": (
        "swift-legacy",
        "a.jsonl",
        lines(LEGACY, LEGACY | {"rejected_response": "x"}),
        {"string-for-list": 1},
    ),
    "one chat for a list of chats": (
        "swift-embedding",
        "a.jsonl",
        lines(chat(), chat(positive_messages=said("x"))),
        {"chat-layout": 1},
    ),
    "two positives for InfoNCE": (
        "swift-embedding",
        "a.jsonl",
        lines(chat(positive_messages=[said("a"), said("b")])),
        {"several-positives": 1},
    ),
    "a document in the user's mouth": (
        "swift-reranker",
        "a.jsonl",
        lines(chat("assistant"), chat("assistant", negative_messages=[said("no")])),
        {"wrong-role": 1},
    ),
    "a prompt in some rows": (
        "swift-embedding",
        "a.jsonl",
        lines(chat(), chat(messages=[*said("Find.", "system"), *said("r")])),
        {"prompt-missing": 1},
    ),
    "no negative to rank": (
        "swift-reranker",
        "a.jsonl",
        lines(chat("assistant"), chat("assistant", messages=said("r"), negative_messages=[])),
        {"empty-negatives": 1},
    ),
    "a class of 3": (
        "swift-embedding-class",
        "a.jsonl",
        lines(*({"messages": said("q"), "positive_messages": [said("p")], "label": each} for each in (1, 0, 3))),
        {"label-not-0-1": 1},
    ),
    "no instruction": ("reranker-sft", "a.jsonl", lines(asked("<Query>: q\n<Document>: d")), {"prompt-missing": 1}),
    "an answer of maybe": (
        "reranker-sft",
        "a.jsonl",
        lines(
            asked("<Instruct>: i\n<Query>: q\n<Document>: d", "maybe"),
            asked("<Instruct>: i\n<Query>: q\n<Document>: e"),
        ),
        {"label-not-0-1": 1},
    ),
    "no document in the chat": (
        "reranker-sft",
        "a.jsonl",
        lines(asked("hello"), asked("<Instruct>: i\n<Query>: q\n<Document>: d")),
        {"chat-layout": 1},
    ),
}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda name: name.replace(" ", "-"))
def test_a_planted_fault_is_found_by_its_name_and_by_no_other(planted: str, tmp_path: Path) -> None:
    name, file, content, expected = PLANTED[planted]
    (tmp_path / file).write_bytes(content)
    form = opened(tmp_path / file, form=name)
    table = read(form)
    assert {finding.name: finding.count for finding in form.findings} == expected
    assert table.num_rows
    assert expected.keys() <= {test for test, _, _ in form.tests}
    for finding in form.findings:
        assert 0 < finding.count <= finding.out_of
        assert finding.examples


def drop(path: Path) -> None:
    path.unlink()


def rewrite(path: Path, **columns: list[Any]) -> None:
    table = pq.read_table(path)
    for name, values in columns.items():
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    pq.write_table(table, path)


def edit_compressed(path: Path, old: str, new: str) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace(old, new).encode()))


def swap(path: Path) -> None:
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *rest]))


FOLDER_FAULTS: dict[str, tuple[str, Any, dict[str, int]]] = {
    "a judgment of no document": (
        "beir",
        lambda out: edit(out / "qrels/test.tsv", "\tn1\t", "\tn9\t"),
        {"unresolved-ids": 1},
    ),
    "a judgment of no query": ("beir", lambda out: edit(out / "queries.jsonl", '"q3"', '"q9"'), {"unresolved-ids": 3}),
    "no header": (
        "beir",
        lambda out: edit(out / "qrels/test.tsv", "query-id\tcorpus-id\tscore\n", ""),
        {"qrels-header": 1},
    ),
    "another header": ("beir", lambda out: edit(out / "qrels/test.tsv", "query-id", "qid"), {"qrels-header": 1}),
    "a grade in words": ("beir", lambda out: edit(out / "qrels/test.tsv", "n1\t0", "n1\tbad"), {"scores-as-text": 1}),
    "a judgment with a blank": (
        "beir",
        lambda out: edit(out / "qrels/test.tsv", "n1\t0", "n1 0"),
        {"uneven-fields": 1},
    ),
    "an id twice": (
        "beir",
        lambda out: edit(out / "corpus.jsonl", '"n3"', '"n1"'),
        {"duplicate-ids": 1, "unresolved-ids": 1},
    ),
    "a text left out": ("beir", lambda out: edit(out / "corpus.jsonl", '"text"', '"txt"'), {"missing-field": 1}),
    "a table without a document": (
        "mteb",
        lambda out: rewrite(out / "corpus.parquet", id=["p1", "n1", "n2", "日 2", "p3", "n9"]),
        {"unresolved-ids": 1},
    ),
    "a rank of no document": (
        "mteb-reranking",
        lambda out: rewrite(out / "top_ranked/test.parquet", **{"corpus-ids": [["p1"], ["n9"], ["p3"]]}),
        {"unresolved-ids": 1},
    ),
    "no documents for Tevatron": (
        "tevatron-v2",
        lambda out: edit(out / "corpus.jsonl", '"docid":"p1"', '"docid":"p9"'),
        {"unresolved-ids": 2},
    ),
    "a string of ids": ("tevatron-v2", lambda out: edit(out / "train.jsonl", '["p1"]', '"p1"'), {"string-for-list": 1}),
    "no query for PyLate": (
        "pylate-kd",
        lambda out: rewrite(out / "queries.parquet", query_id=["q1", "q2", "q9"]),
        {"unresolved-ids": 1},
    ),
    "a score short for PyLate": (
        "pylate-kd",
        lambda out: rewrite(out / "train.parquet", scores=[[0.9, 0.1, 0.2], [0.8, 0.3, 0.5], [0.7, 0.25]]),
        {"uneven-lengths": 1},
    ),
    "a negative short": (
        "st-ids",
        lambda out: rewrite(out / "train.parquet", negative_ids=[["n1", "n2"], ["n1", "n2"], ["p1"]]),
        {"n-varies": 1},
    ),
    "no metadata for NeMo": ("nemo-corpus", lambda out: drop(out / "corpus/merlin_metadata.json"), {"missing-file": 1}),
    "a corpus of another name": (
        "nemo-corpus",
        lambda out: edit(out / "corpus/merlin_metadata.json", '"corpus_id": "out"', '"corpus_id": "in"'),
        {"unresolved-ids": 3},
    ),
    "a reference to nothing": (
        "nemo-corpus",
        lambda out: edit(out / "train.json", '{"id":"n3"}', '{"id":"n9"}'),
        {"unresolved-ids": 1},
    ),
    "no negatives for NeMo": (
        "nemo-corpus",
        lambda out: edit(out / "train.json", '[{"id":"p1"},{"id":"n3"}]', "[]"),
        {"empty-negatives": 1},
    ),
    "a triple of two": (
        "colbert-triples",
        lambda out: edit(out / "triples.train.colbert.jsonl", "[0,0,1]", "[0,1]"),
        {"uneven-fields": 1},
    ),
    "a triple of no passage": (
        "colbert-triples",
        lambda out: edit(out / "triples.train.colbert.jsonl", "[0,0,1]", "[0,0,77]"),
        {"unresolved-ids": 1},
    ),
    "a tab in a passage": (
        "colbert-triples",
        lambda out: edit(out / "corpus.train.colbert.tsv", "about p1", "about\tp1"),
        {"uneven-fields": 1, "unresolved-ids": 3},
    ),
    "passages in another order": (
        "colbert-triples",
        lambda out: swap(out / "corpus.train.colbert.tsv"),
        {"numbers-apart": 2},
    ),
    "a margin that is NaN": (
        "gpl",
        lambda out: edit(out / "gpl-training-data.tsv", "0.8\n", "nan\n"),
        {"scores-as-text": 1},
    ),
    "a margin in words": (
        "gpl",
        lambda out: edit(out / "gpl-training-data.tsv", "0.8\n", "high\n"),
        {"scores-as-text": 1},
    ),
    "no mined negatives": ("gpl", lambda out: drop(out / "hard-negatives.jsonl"), {"missing-file": 1}),
    "a count too many": ("contrastors", lambda out: edit(out / "counts.json", ":3}", ":4}"), {"counts-differ": 1}),
    "a shard that was edited": (
        "contrastors",
        lambda out: edit_compressed(out / "shard-00000.jsonl.gz", "what is q2", "what was q2"),
        {"offsets-differ": 1},
    ),
    "no offsets": ("contrastors", lambda out: drop(out / "offsets.json.gz"), {"missing-file": 1}),
}

EXPORTS: dict[str, dict[str, bytes]] = {}


def copied(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A folder of the format, exported once; shards are exported anew, since they name the place where they lie."""
    if name not in EXPORTS or name == "contrastors":
        out = exported(folder, name, patch, pair_set(""))
        EXPORTS[name] = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for file, content in EXPORTS[name].items():
        path = folder / "out" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "out"


@pytest.mark.parametrize("planted", FOLDER_FAULTS, ids=lambda name: name.replace(" ", "-"))
def test_a_fault_of_a_folder_is_found_by_its_name_and_by_no_other(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, spoil, expected = FOLDER_FAULTS[planted]
    out = copied(name, tmp_path, monkeypatch)
    spoil(out)
    form = opened(out)
    table = read(form)
    assert form.name == name
    assert {finding.name: finding.count for finding in form.findings} == expected
    assert table.num_rows
    assert expected.keys() <= {test for test, _, _ in form.tests}


def test_a_field_of_one_row_is_shown_in_that_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(flag(1), flag(2), flag(3, prompt="Find"), flag(4)))
    form = opened(tmp_path / "a.jsonl")
    read(form)
    assert [(each.place, each.note) for each in form.findings[0].examples] == [("line 3", 'has "prompt"')]


def test_a_remedy_by_convert_says_that_it_is_of_pairs() -> None:
    for fault in FAULTS.values():
        assert "pairmine convert" not in fault.remedy or "--as pairs" in fault.remedy, fault.name


def test_nan_among_the_scores_of_a_table_is_found(tmp_path: Path) -> None:
    rows = [ntuple(1, label=[0.5, 0.1]), ntuple(2, label=[0.5, float("nan")])]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    form = opened(tmp_path / "a.parquet")
    read(form)
    assert [(found.name, found.examples[0].place) for found in form.findings] == [("scores-as-text", "row 2")]


def test_lists_that_stand_as_text_are_read_where_pylate_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied("pylate-kd", tmp_path, monkeypatch)
    plain = read(opened(out)).to_pylist()
    rows = pq.read_table(out / "train.parquet").to_pylist()
    rows = [row | {name: str(row[name]) for name in ("document_ids", "scores")} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), out / "train.parquet")
    form = opened(out)
    assert read(form).to_pylist() == plain
    assert not form.findings


def test_a_folder_of_shards_that_was_moved_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = exported(tmp_path, "contrastors", monkeypatch, pair_set())
    form = opened(out.rename(tmp_path / "elsewhere"))
    read(form)
    assert [finding.name for finding in form.findings] == ["folder-moved"]
