"""Every format that export writes, read back as the pairs that it was made of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from form_rows import (
    FLAT,
    NO_NEGATIVES,
    ROWS,
    SCORES,
    UGLY,
    UNLABELLED,
    edit,
    exported,
    flag,
    lines,
    opened,
    pair_set,
    pairs_in,
    read,
    triplet,
)

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.files.forms import FORMS, open_form, pairs_of
from pairmine.stages.export import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_an_export_read_back_gives_the_same_pairs_and_has_no_finding(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pair_set("" if name in FLAT else UGLY)
    form = opened(exported(tmp_path, name, monkeypatch, whole), form=None)
    found = read(form)
    assert form.findings == []
    expected = {
        (query, document, None if name in UNLABELLED else label)
        for query, document, label in pairs_in(whole)
        if label or name not in NO_NEGATIVES
    }
    assert pairs_in(found) == expected
    assert found.num_rows == len(expected)
    if name in ("flag-reranker", "mteb-reranking"):
        assert form.name in (name, "flag-embedder")
    else:
        assert form.name == name


def test_every_format_of_export_has_a_reader() -> None:
    assert FORMS.keys() == TARGETS.keys()


def test_shuffled_triplets_come_as_whole_queries_whatever_fits_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [triplet(number, negative=f"no {turn}") for turn in range(3) for number in range(5)]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    whole = read(opened(tmp_path / "a.jsonl")).to_pylist()
    assert [row["place"] for row in whole if row["query"] == "query 1"] == ["line 2", "line 2", "line 7", "line 12"]
    assert [row["query"] for row in whole] == [f"query {number}" for number in range(5) for _ in range(4)]
    monkeypatch.setattr("pairmine.files.forms.together.BUCKET_ROWS", 2)
    assert read(opened(tmp_path / "a.jsonl"), rows=1).to_pylist() == whole


def test_the_sidecar_gives_ids_origins_and_scores_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = exported(tmp_path, "flag-reranker", monkeypatch, pair_set())
    form = opened(out)
    rows = read(form).to_pylist()
    assert [(row["query_id"], row["doc_id"], row["label"]) for row in rows] == ROWS
    assert [round(row["score_ce"], 3) for row in rows] == SCORES
    assert form.name == "flag-reranker"
    assert form.entries[-1]["command"] == "export"


def test_a_sidecar_of_another_file_is_told_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = exported(tmp_path, "flag-embedder", monkeypatch, pair_set())
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[1:]))
    form = opened(out)
    ids = set(read(form)["query_id"].to_pylist())
    assert [finding.name for finding in form.findings] == ["sidecar-differs"]
    assert not ids & {"q1", "q2", "q3"}


def test_a_sidecar_with_spoilt_texts_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = exported(tmp_path, "flag-embedder", monkeypatch, pair_set())
    beside = Path(f"{out}.ids.parquet")
    table = pq.read_table(beside)
    spoilt = pa.array([b"q\xff"] * table.num_rows).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("query_id"), "query_id", spoilt), beside)
    with pytest.raises(PairmineError, match=r"ids.parquet: cannot be read .*; remove it, or export again"):
        read(opened(out))


def test_what_else_a_file_could_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(flag()))
    heard: list[str] = []
    open_form(str(tmp_path / "a.jsonl"), heard.append)
    assert heard == [f"{tmp_path}/a.jsonl: read as flag-embedder; pass --form flag-reranker if it is that"]


@pytest.mark.parametrize(
    "row",
    [
        {"query_id": "q", "query": "q", "doc_id": "d", "document": "d", "label": 1, "origin": "given"},
        {"id": "d", "text": "about"},
        {"id": "q", "query": "what"},
        {"query": "q", "positive": ["p"], "negative": ["n"]},
        {"query": "q", "document": "d", "label": 1, "source": "wiki"},
        {"anchor": "q", "positive": ["p", "o"]},
    ],
)
def test_what_open_pairs_reads_by_itself_is_left_to_it(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(row))
    assert open_form(str(tmp_path / "a.jsonl"), lambda line: None) is None


@pytest.mark.parametrize(
    ("form", "content", "line"),
    [
        ("st-tuple", b"{}", "--form st-tuple: no such format; known: st-pair, "),
        ("st-triplet", lines({"anchor": "q"}), "cannot be read as st-triplet: 3 columns of text belong here"),
        ("flag-embedder", lines({"a": 1}, {"a": 2}), "none of 2 lines can be read as flag-embedder; missing-field"),
        (
            "flag-embedder",
            b"\x00\x01\x02\n",
            "none of 1 lines can be read as flag-embedder; invalid-json at line 1",
        ),
        ("dpr", b"[[[", "not valid JSON"),
        ("nemo-corpus", b'{"rows": []}', 'no list of rows in it; write {"data": [...]}'),
        ("beir", lines(flag()), "none of 0 lines can be read as beir"),
        ("st-pair", lines({"a\nb": 1}), "2 columns of text belong here (found: a b)"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_line(tmp_path: Path, form: str, content: bytes, line: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(PairmineError) as error:
        read(opened(tmp_path / "a.json", form=form))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_null_text_and_an_id_of_nothing_stay_in_the_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(flag(1, neg=["no", ""]), flag(2) | {"query": None, "pos": [None]}))
    rows = read(opened(tmp_path / "a.jsonl")).to_pylist()
    assert [row["document"] for row in rows] == ["positive 1", "no", "", None, "one 2", "two 2"]
    assert [row["query"] for row in rows[3:]] == [None] * 3
    out = exported(tmp_path, "beir", monkeypatch, pair_set())
    edit(out / "corpus.jsonl", '"n3"', '"n9"')
    lost = [row for row in read(opened(out)).to_pylist() if row["document"] is None]
    assert [(row["query_id"], row["doc_id"], row["label"]) for row in lost] == [("q3", "n3", 0)]


def test_labels_of_a_csv_file_are_numbers_though_they_stand_there_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'query,document,label\nq,d,1\nr,"e\r\nf",0\n')
    for told, findings in ((None, []), ("st-pair-class", ["wrong-file-kind"])):
        form = opened(tmp_path / "a.csv", form=told)
        assert pairs_in(read(form)) == {("q", "d", 1), ("r", "e\r\nf", 0)}
        assert (form.name, [finding.name for finding in form.findings]) == ("st-pair-class", findings)


def test_what_only_a_trainer_minds_is_an_error_once_the_trainer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(triplet(1, id=1), triplet(2, id=2)))
    for told, severity in ((None, "warning"), ("st-triplet", "error")):
        form = opened(tmp_path / "a.jsonl", form=told)
        read(form)
        assert [(finding.name, finding.severity) for finding in form.findings] == [("extra-column", severity)]
        assert ("extra-column", severity) in [test[:2] for test in form.tests]
        assert form.findings[0].remedy.endswith("; --form st-triplet makes it an error") == (told is None)
    out = exported(tmp_path, "st-triplet", monkeypatch, pair_set())
    table = pq.read_table(out)
    pq.write_table(table.append_column("id", pa.array(range(table.num_rows))), out)
    form = opened(out)
    read(form)
    assert [(finding.name, finding.severity) for finding in form.findings] == [("extra-column", "error")]


def test_a_margin_beside_one_hard_negative_is_that_of_a_triplet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"anchor": "q", "positive": "yes", "hard_neg": "no", "label": 0.5}))
    form = opened(tmp_path / "a.jsonl")
    assert [row["margin"] for row in read(form).to_pylist()] == [None, 0.5]
    assert (form.name, form.findings) == ("st-margin", [])


def test_scores_of_pairs_are_no_labels_whatever_command_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"genre,sentence1,sentence2,score\nnews,a,b,0.0\nnews,c,d,5.0\n")
    heard: list[str] = []
    rows = pairs_of(str(tmp_path / "a.csv"), heard.append).read().to_pylist()
    assert [(row["label"], row["score_given"]) for row in rows] == [(None, 0.0), (None, 5.0)]
    assert heard == [
        f"{tmp_path}/a.csv: read as st-pair-score",
        f'{tmp_path}/a.csv: column "genre" is left out',
    ]


def test_a_command_without_form_names_no_such_option(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(flag()))
    heard: list[str] = []
    pairs_of(str(tmp_path / "a.jsonl"), heard.append).read()
    assert not [line for line in heard if "--form" in line]


def test_several_splits_become_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pair_set().append_column("split", pa.array(["train"] * 3 + ["dev"] * 6))
    rows = read(opened(exported(tmp_path, "mteb", monkeypatch, pairs))).to_pylist()
    assert {(row["query_id"], row["split"]) for row in rows} == {("q1", "train"), ("q2", "dev"), ("q3", "dev")}


def test_a_command_that_reads_pair_sets_takes_a_folder_and_refuses_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = exported(tmp_path, "tevatron-v2", monkeypatch, pair_set())
    found = pairs_of(str(out), lambda line: None).read()
    assert pairs_in(found) == pairs_in(pair_set())
    assert "place" not in found.column_names
    edit(out / "corpus.jsonl", '"docid":"p1"', '"docid":"p9"')
    with pytest.raises(PairmineError, match=r"train.jsonl: line 1: unresolved-ids .*as have 2 of 3 lines; run 'pairm"):
        pairs_of(str(out), lambda line: None).read()


def test_convert_and_head_take_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(tmp_path, "nemo-corpus", monkeypatch, pair_set())
    for words in (("convert", str(out), "--as", "pairs", "-o", str(tmp_path / "back.parquet")), ("head", str(out))):
        monkeypatch.setattr(sys, "argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code, capsys.readouterr().err
    assert pairs_in(pq.read_table(tmp_path / "back.parquet")) == pairs_in(pair_set())
    assert "what is q1?" in capsys.readouterr().out
