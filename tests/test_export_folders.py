"""Formats of several files, read back as their trainers read them."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.files.folder import FolderSink
from pairmine.schema import as_pairs, empty_pairs
from pairmine.stages.export import TARGETS, Shared, export
from pairmine.stages.export.once import Once

UGLY = 'tab\tand\nline\r end "quoted" 日本語 \u2028 \''
FOLDERS = [name for name, target in TARGETS.items() if target.fill]

Row = tuple[str, str, int]
ROWS: list[Row] = [
    ("q1", "p1", 1),
    ("q1", "n1", 0),
    ("q1", "n2", 0),
    ("q2", "n1", 0),
    ("q2", "日 2", 1),
    ("q2", "p3", 1),
    ("q2", "n2", 0),
    ("q3", "n3", 0),
]
SCORES = [0.9, 0.1, 0.2, 0.3, 0.8, 0.7, 0.5, 0.4]


def pair_set(rows: list[Row] = ROWS, **columns: Any) -> pa.Table:
    made: dict[str, Any] = {
        "query_id": [query for query, _, _ in rows],
        "query": [f"what is {query}? {UGLY}" for query, _, _ in rows],
        "doc_id": [doc for _, doc, _ in rows],
        "document": [f"about {doc} {UGLY}" for _, doc, _ in rows],
        "label": pa.array([label for _, _, label in rows], pa.int8()),
        "origin": ["given"] * len(rows),
    }
    if "score_ce" not in columns:
        made["score_ce"] = pa.array((SCORES * (len(rows) // 8 + 1))[: len(rows)], pa.float32())
    return as_pairs(pa.table(made | columns))


def options(name: str) -> dict[str, str]:
    return {"scores": "ce"} if "scores" in TARGETS[name].requires else {}


class Here:
    """Runs commands in a folder; what they say on stderr."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self._patch, self._heard = patch, heard

    def run(self, *words: str) -> tuple[int, str]:
        self._patch.setattr(sys, "argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
        heard = self._heard.readouterr()
        return int(left.value.code or 0), heard.err + heard.out

    def export(self, name: str, *words: str, table: pa.Table | None = None, out: str = "out") -> Path:
        pq.write_table(pair_set() if table is None else table, "pairs.parquet")
        scores = ("--scores", "ce") if "scores" in TARGETS[name].requires and "--scores" not in words else ()
        code, said = self.run("export", "pairs.parquet", "--to", name, *scores, *words, "-q", "-o", out)
        assert code == 0, said
        return Path(out)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]


def table(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def text_of(doc: str) -> str:
    return f"about {doc} {UGLY}"


def test_tevatron_finds_every_document_of_its_training_rows_under_docid_and_text(here: Here) -> None:
    out = here.export("tevatron-v2")
    corpus = {row["docid"]: row["text"] for row in lines(out / "corpus.jsonl")}
    assert corpus == {doc: text_of(doc) for doc in ("p1", "n1", "n2", "日 2", "p3")}
    assert lines(out / "train.jsonl")[1] == {
        "query_id": "q2",
        "query_text": f"what is q2? {UGLY}",
        "positive_document_ids": ["日 2", "p3"],
        "negative_document_ids": ["n1", "n2"],
    }


def test_pylate_gets_the_positive_first_then_negatives_by_score_and_rows_of_one_length(here: Here) -> None:
    out = here.export("pylate-kd")
    rows = table(out / "train.parquet")
    assert [row["document_ids"] for row in rows] == [["p1", "n2", "n1"], ["日 2", "n2", "n1"], ["p3", "n2", "n1"]]
    assert [row["scores"] for row in rows] == [[0.9, 0.2, 0.1], [0.8, 0.5, 0.3], [0.7, 0.5, 0.3]]
    known = {row["document_id"]: row["text"] for row in table(out / "documents.parquet")}
    assert known == {doc: text_of(doc) for doc in ("p1", "n1", "n2", "日 2", "p3")}
    assert [row["query_id"] for row in table(out / "queries.parquet")] == ["q1", "q2"]


def test_a_positive_stands_first_for_pylate_even_where_its_teacher_ranks_a_negative_above_it(here: Here) -> None:
    scores = pa.array([0.2, 0.1, 0.9], pa.float32())
    out = here.export("pylate-kd", table=pair_set(ROWS[:3], score_ce=scores))
    assert table(out / "train.parquet")[0]["document_ids"] == ["p1", "n2", "n1"]
    assert table(out / "train.parquet")[0]["scores"] == pytest.approx([0.2, 0.9, 0.1])


def test_scores_are_asked_for_where_the_format_is_made_of_them() -> None:
    for name in ("pylate-kd", "gpl"):
        with pytest.raises(PairmineError, match="--scores"):
            export(pair_set(), to=name)
    with pytest.raises(PairmineError, match="have no score_ce"):
        export(pair_set(score_ce=pa.array([0.9, None, *SCORES[2:]], pa.float32())), to="pylate-kd", scores="ce")


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--scores", "ce")])
def test_sentence_transformers_resolves_the_ids_to_texts(here: Here, words: tuple[str, ...]) -> None:
    datasets = pytest.importorskip("datasets", reason="resolve_ids joins datasets; install pairmine[dev]")
    util = pytest.importorskip("sentence_transformers.util")
    out = here.export("st-ids", *words)
    load = {name: datasets.Dataset(pq.read_table(out / f"{name}.parquet")) for name in ("queries", "documents")}
    train = datasets.Dataset(pq.read_table(out / "train.parquet"))
    columns = [name for name in train.column_names if name != "scores"]
    lookups = {name: load["queries" if name == "query_id" else "documents"] for name in columns}
    row = train.with_transform(util.resolve_ids(lookups))[0]
    texts = [value for value in row.values() if isinstance(value, str)]
    negatives = ["n2", "n1"] if words else ["n1", "n2"]
    assert texts == [f"what is q1? {UGLY}", *map(text_of, ["p1", *negatives])]
    assert list(row)[:2] == ["query", "document_1" if words else "positive"]
    assert row.get("scores") == ([0.9, 0.2, 0.1] if words else None)


def test_nemo_finds_the_corpus_beside_the_questions_under_the_name_of_the_folder(here: Here) -> None:
    out = here.export("nemo-corpus", "--prompt", "find: ", "--scores", "ce", out="physics")
    train = json.loads((out / "train.json").read_text("utf-8"))
    assert train["corpus"] == [{"path": "./corpus"}]
    assert train["data"][0] == {
        "question_id": "q1",
        "question": f"what is q1? {UGLY}",
        "corpus_id": "physics",
        "pos_doc": [{"id": "p1", "score": 0.9}],
        "neg_doc": [{"id": "n1", "score": 0.1}, {"id": "n2", "score": 0.2}],
    }
    about = json.loads((out / "corpus/merlin_metadata.json").read_text("utf-8"))
    assert about == {"class": "TextQADataset", "corpus_id": "physics", "query_instruction": "find: "}
    assert {row["id"] for row in table(out / "corpus/train.parquet")} == {"p1", "n1", "n2", "日 2", "p3"}
    assert sorted(path.name for path in (out / "corpus").iterdir()) == ["merlin_metadata.json", "train.parquet"]


def test_colbert_reads_whole_numbers_and_the_line_of_a_passage_is_its_number(here: Here) -> None:
    out = here.export("colbert-triples")
    with (out / "corpus.train.colbert.tsv").open(encoding="utf-8") as passages:
        texts = []
        for at, line in enumerate(passages):  # as load_collection does
            number, passage, *rest = line.strip("\n\r ").split("\t")
            assert (int(number), rest) == (at, [])
            texts.append(passage)
    with (out / "queries.train.colbert.tsv").open(encoding="utf-8") as asked:
        queries = {int(line.strip().split("\t")[0]): line.strip().split("\t")[1] for line in asked}
    assert len(texts) == 5
    assert list(queries) == [0, 1]
    ids = {row["pid"]: row["doc_id"] for row in table(out / "corpus.ids.parquet")}
    for query, positive, negative in lines(out / "triples.train.colbert.jsonl"):
        assert texts[positive].startswith(f"about {ids[positive]} tab and line")
        assert ids[negative].startswith("n")
        assert queries[query].startswith(f"what is q{query + 1}?")
    assert len(lines(out / "triples.train.colbert.jsonl")) == 6


def test_what_a_line_cannot_hold_is_told(here: Here) -> None:
    pq.write_table(pair_set(), "pairs.parquet")
    code, said = here.run("export", "pairs.parquet", "--to", "colbert-triples", "-o", "out")
    assert code == 0
    assert "7 cells had tabs or line ends, now blanks" in said


def test_gpl_reads_margins_and_does_not_mine_again(here: Here) -> None:
    out = here.export("gpl")
    rows = [line.strip().split("\t") for line in (out / "gpl-training-data.tsv").read_text("utf-8").splitlines()]
    assert rows[0] == ["q1", "p1", "n1", "0.8"]
    assert rows[-1] == ["q2", "p3", "n2", "0.2"]
    corpus = {row["_id"]: row for row in lines(out / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in lines(out / "qgen-queries.jsonl")}
    assert all(query in queries and {positive, negative} <= set(corpus) for query, positive, negative, _ in rows)
    assert lines(out / "hard-negatives.jsonl")[0] == {"qid": "q1", "pos": ["p1"], "neg": {"pairmine": ["n1", "n2"]}}
    assert judged(out / "qgen-qrels/train.tsv")["q2"] == {"日 2": 1, "p3": 1}


def judged(path: Path) -> dict[str, dict[str, int]]:
    """As BEIR's loader reads judgments."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        assert next(rows) == ["query-id", "corpus-id", "score"]
        found: dict[str, dict[str, int]] = {}
        for query, document, score in rows:
            found.setdefault(query, {})[document] = int(score)
    return found


def test_beir_has_each_document_once_and_negatives_judged_0(here: Here) -> None:
    out = here.export("beir")
    assert judged(out / "qrels/test.tsv") == {
        "q1": {"p1": 1, "n1": 0, "n2": 0},
        "q2": {"日 2": 1, "p3": 1, "n1": 0, "n2": 0},
    }
    corpus = lines(out / "corpus.jsonl")
    assert corpus[0] == {"_id": "p1", "title": "", "text": text_of("p1")}
    assert [row["_id"] for row in corpus] == ["p1", "n1", "n2", "日 2", "p3"]


def test_a_beir_folder_comes_back_as_the_pair_set_that_it_was(here: Here) -> None:
    whole = pair_set(ROWS[:7])
    here.export("beir", table=whole)
    code, said = here.run("convert", "out", "--as", "pairs", "-q", "-o", "back.parquet")
    assert code == 0, said
    names = ["query_id", "query", "doc_id", "document", "label"]

    def told(table: pa.Table) -> list[list[Any]]:
        return sorted(list(row.values()) for row in table.select(names).to_pylist())

    assert told(pq.read_table("back.parquet")) == told(whole)


def test_a_whole_corpus_is_added_behind_the_documents_of_the_pairs(here: Here) -> None:
    documents = [{"_id": doc, "title": "", "text": text_of(doc)} for doc in ("n3", "p1", "n1", "z")]
    documents.append({"_id": "y", "title": "Titled", "text": "y"})
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    corpus = lines(here.export("beir", "--corpus", "corpus.jsonl") / "corpus.jsonl")
    assert [row["_id"] for row in corpus] == ["p1", "n1", "n2", "日 2", "p3", "n3", "z", "y"]
    assert corpus[-1] == {"_id": "y", "title": "Titled", "text": "y"}
    for name in FOLDERS:
        if not TARGETS[name].corpus:
            code, said = here.run("export", "pairs.parquet", "--to", name, "--corpus", "corpus.jsonl", "-o", name)
            assert (code, "--corpus has no effect" in said) == (2, True)
            continue
        out = here.export(name, "--corpus", "corpus.jsonl", out=name)
        for file in TARGETS[name].corpus:
            count = len(table(out / file)) if file.endswith("parquet") else (out / file).read_bytes().count(b"\n")
            assert count == 8, (name, file)
    assert "y\tTitled y" in (Path("colbert-triples/corpus.train.colbert.tsv").read_text("utf-8").replace("7", "y"))


def test_a_corpus_that_is_not_the_one_of_the_pairs_is_refused(here: Here) -> None:
    pq.write_table(pair_set(), "pairs.parquet")
    Path("corpus.jsonl").write_text('{"_id": "p1", "text": "something else"}\n')
    code, said = here.run("export", "pairs.parquet", "--to", "beir", "--corpus", "corpus.jsonl", "-o", "out")
    assert (code, 'pairmine: corpus.jsonl: document "p1" has two texts' in said) == (2, True)
    assert not Path("out").exists()


def test_a_pair_set_whose_rows_are_refused_is_named(here: Here) -> None:
    pq.write_table(pair_set([("q\t1", "p", 1)]), "pairs.parquet")
    code, said = here.run("export", "pairs.parquet", "--to", "beir", "-o", "out")
    assert (code, "pairmine: pairs.parquet: beir: query id" in said) == (2, True)


def test_a_column_split_parts_the_judgments(here: Here) -> None:
    split = ["train", "train", "train", "dev", "dev", "dev", "dev", "dev"]
    out = here.export("beir", table=pair_set(split=split))
    assert list(judged(out / "qrels/train.tsv")) == ["q1"]
    assert list(judged(out / "qrels/dev.tsv")) == ["q2"]
    with pytest.raises(PairmineError, match=r"'\.\./up', which cannot be the name of a file"):
        export(pair_set(split=["../up"] * 8), to="beir")


def test_titles_stand_in_their_own_place(here: Here) -> None:
    titled = pair_set(title=[f"Title of {doc}" if doc == "p1" else None for _, doc, _ in ROWS])
    assert lines(here.export("beir", table=titled) / "corpus.jsonl")[0]["title"] == "Title of p1"
    here.export("dpr", table=titled, out="dpr.json")
    (first, _) = json.loads(Path("dpr.json").read_text("utf-8"))
    assert first["positive_ctxs"][0] == {"title": "Title of p1", "text": text_of("p1"), "passage_id": "p1"}
    assert first["negative_ctxs"] == []
    assert [passage["title"] for passage in first["hard_negative_ctxs"]] == ["", ""]


def test_dpr_is_one_array_and_nothing_else(here: Here) -> None:
    here.export("dpr", "--scores", "ce", out="dpr.json")
    questions = json.loads(Path("dpr.json").read_text("utf-8"))
    assert [row["question"] for row in questions] == [f"what is q{n}? {UGLY}" for n in (1, 2)]
    assert questions[1]["positive_ctxs"][0]["score"] == 0.8
    code, said = here.run("export", "pairs.parquet", "--to", "dpr", "-o", "dpr.jsonl")
    assert (code, "DPR opens files that end in .json" in said) == (2, True)


@pytest.mark.slow
def test_mteb_loads_every_table_by_its_name_from_the_card(here: Here) -> None:
    datasets = pytest.importorskip("datasets", reason="MTEB loads through datasets; install pairmine[dev]")
    out = here.export("mteb-reranking")

    def load(name: str, split: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = datasets.load_dataset(str(out), name, split=split, cache_dir="cache").to_list()
        return rows

    assert load("default", "test")[0] == {"query-id": "q1", "corpus-id": "p1", "score": 1}
    assert load("corpus", "corpus")[0] == {"id": "p1", "title": "", "text": text_of("p1")}
    assert [row["id"] for row in load("queries", "queries")] == ["q1", "q2"]
    assert load("top_ranked", "test")[0] == {"query-id": "q1", "corpus-ids": ["n1", "n2", "p1"]}
    assert not list(here.export("mteb", out="plain").glob("top_ranked"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_the_tables_that_a_card_names_are_there_to_load(here: Here, name: str) -> None:
    datasets = pytest.importorskip("datasets", reason="a card is for load_dataset; install pairmine[dev]")
    out = here.export(name)
    for config in datasets.get_dataset_config_names(str(out)):
        for split, rows in datasets.load_dataset(str(out), config, cache_dir="cache").items():
            assert rows.num_rows, (config, split)
    if (out / "train.parquet").exists() or (out / "train.jsonl").exists():
        assert "query_id" in datasets.load_dataset(str(out), cache_dir="cache")["train"].column_names


def test_contrastors_seeks_to_each_line_by_its_offsets(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairmine.files.layouts.SHARD_ROWS", 2)
    out = here.export("contrastors", "--scores", "ce")
    counts = json.loads((out / "counts.json").read_text())
    with gzip.open(out / "offsets.json.gz") as file:
        offsets = json.load(file)
    names = ["/".join(path.absolute().parts[-3:]) for path in sorted(out.glob("shard-*"))]
    assert counts == {"total_count": 3, "count_per_file": dict(zip(names, [2, 1], strict=True))}
    rows = []
    for path in sorted(out.glob("shard-*")):
        with gzip.open(path) as shard:
            for at in range(counts["count_per_file"][name := "/".join(path.absolute().parts[-3:])]):
                start, end = offsets[name][str(at)]
                shard.seek(start)
                rows.append(json.loads(shard.read(end - start)))
    assert rows[0]["document"] == text_of("p1")
    assert (rows[2]["document_score"], rows[2]["negatives_scores"]) == (0.7, [0.3, 0.5])
    assert ["query", "document", "negatives"] in rows[0]["metadata"]["objective"]["triplet"]
    assert "path:\n    - shard-00000.jsonl.gz\n    - shard-00001.jsonl.gz\n" in (out / "README.md").read_text()


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_same_rows_are_the_same_bytes_however_they_are_cut(here: Here, name: str) -> None:
    whole, again = here.export(name), Path("again/out")
    again.parent.mkdir()
    sink = FolderSink(str(again), TARGETS[name].layouts)
    shared = Shared(name="out")
    survey = {"negatives": 2} if TARGETS[name].needs == "equal negatives" else {}
    for start, stop in ((0, 3), (3, 3), (3, 7), (7, 8)):
        chunk = pair_set().slice(start, stop - start)
        for file, rows in export(chunk, to=name, shared=shared, **options(name), **survey).files.items():
            sink.put(file, rows)
    sink.commit([])
    one, other = written(whole), written(again)
    assert {file for file in one if file.endswith((".jsonl", ".tsv", ".gz"))} <= set(other)
    for file, content in other.items():
        if file.endswith((".jsonl", ".tsv", ".json")) and file not in (".pairmine.json", "counts.json"):
            assert one[file] == content
        if file.endswith(".parquet"):
            assert table(whole / file) == table(again / file)


@pytest.mark.parametrize("name", FOLDERS)
def test_running_again_replaces_the_folder_by_the_same_bytes_and_leaves_nothing_beside_it(
    here: Here, name: str
) -> None:
    first = written(here.export(name))
    assert written(here.export(name)) == first
    assert sorted(path.name for path in Path().iterdir()) == ["out", "pairs.parquet"]


@pytest.mark.parametrize("name", FOLDERS)
def test_an_empty_chunk_has_all_files_and_their_columns(name: str) -> None:
    fitting = {"negatives": 1} if TARGETS[name].needs == "equal negatives" else {}
    score = pa.table({"score_ce": pa.array([], pa.float32())})
    nothing = empty_pairs().append_column(score.schema.field(0), score["score_ce"])
    some = export(pair_set(), to=name, **options(name), **fitting).files
    none = export(as_pairs(nothing), to=name, **options(name), **fitting).files
    assert {file: rows.schema for file, rows in none.items()} == {file: rows.schema for file, rows in some.items()}


def test_a_document_with_two_texts_is_refused_within_a_chunk_and_across_two() -> None:
    rows: list[Row] = [("q1", "p", 1), ("q1", "n", 0), ("q2", "p", 1), ("q2", "n", 0)]
    pairs = pair_set(rows, document=["one", "none", "two", "none"])
    with pytest.raises(PairmineError, match=r'document "p" has two texts.*an id of its own'):
        export(pairs, to="tevatron-v2")
    shared = Shared()
    export(pairs.slice(0, 2), to="tevatron-v2", shared=shared)
    with pytest.raises(PairmineError, match='document "p" has two texts'):
        export(pairs.slice(2), to="tevatron-v2", shared=shared)


@pytest.mark.parametrize("bad", ["a\tb", "a\nb", '"a"', " a", "a\u3000", ""])
def test_ids_that_a_tab_separated_file_cannot_hold_are_refused(bad: str) -> None:
    pairs = pair_set([("q", bad, 1), ("q", "n", 0)])
    with pytest.raises(PairmineError, match="cannot stand in its tab-separated file"):
        export(pairs, to="beir")
    with pytest.raises(PairmineError, match="cannot stand in its tab-separated file"):
        export(pairs, to="gpl", scores="ce")
    assert export(pairs, to="mteb").outcome.kept["corpus-id"].to_pylist() == [bad, "n"]


def test_a_pair_that_comes_again_is_judged_once_and_as_a_positive() -> None:
    pairs = pair_set([("q", "d", 0), ("q", "d", 1), ("q", "d", 1), ("q", "e", 0)], document=["t", "t", "t", "u"])
    kept = export(pairs, to="beir").outcome.kept.to_pylist()
    assert [(row["corpus-id"], row["score"]) for row in kept] == [("d", 1), ("e", 0)]


def test_a_folder_of_somebody_else_is_not_touched(here: Here) -> None:
    pq.write_table(pair_set(), "pairs.parquet")
    Path("theirs").mkdir()
    Path("theirs/thesis.txt").write_text("four years")
    Path("file").write_text("not a folder")
    refusals = (
        ("theirs", "did not write; name another"),
        ("file", "is a file, and this format is a folder"),
        ("out.parquet", "that is a file's name; name a folder"),
        ("-", "standard output: this format is a folder"),
        ("no/out", "no folder no; make it first"),
    )
    for name, line in refusals:
        code, said = here.run("export", "pairs.parquet", "--to", "beir", "-q", "-o", name)
        assert (code, line in said) == (2, True), said
    assert Path("theirs/thesis.txt").read_text() == "four years"
    out = here.export("beir")
    (out / "runs").mkdir()
    (out / "runs/model.bin").write_text("weights")
    code, said = here.run("export", "pairs.parquet", "--to", "beir", "-q", "-o", "out")
    assert (code, "holds what 'pairmine export' did not write (runs/model.bin)" in said) == (2, True)
    assert (out / "runs/model.bin").read_text() == "weights"
    (out / "runs/model.bin").unlink()
    (out / "runs/latest").symlink_to(Path("theirs").absolute())
    assert here.run("export", "pairs.parquet", "--to", "beir", "-q", "-o", "out")[0] == 2
    assert (out / "runs/latest").is_symlink()


@pytest.mark.parametrize("flag", ["--rejects", "--summary", "--sidecar", "--card"])
def test_what_would_go_with_the_folder_that_is_replaced_is_refused(here: Here, flag: str) -> None:
    before = written(here.export("beir"))
    words = ("export", "pairs.parquet", "--to", "beir", "-q", "-o", "out", flag, "out/inside.parquet")
    code, said = here.run(*words)
    assert (code, "lies in the folder that -o names" in said) == (2, True)
    assert written(Path("out")) == before


def test_an_export_that_fails_leaves_the_folder_as_it_was(here: Here) -> None:
    before = written(here.export("beir"))
    pq.write_table(pair_set([("q1", "p", 1), ("q2", "p\t", 1)]), "bad.parquet")
    code, _ = here.run("export", "bad.parquet", "--to", "beir", "-q", "-o", "out")
    assert code == 2
    assert written(Path("out")) == before
    assert not list(Path().glob(".*"))


def test_what_a_killed_run_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    left = tmp_path / ".out.00000000.partial"
    left.mkdir()
    (left / "half").write_text("x")
    other = FolderSink(str(tmp_path / "out"), {})
    assert not left.exists()
    FolderSink(str(tmp_path / "out"), {}).abort()
    other.put("a.jsonl", pa.table({"a": [1]}))
    other.commit([])
    assert lines(tmp_path / "out/a.jsonl") == [{"a": 1}]
    (tmp_path / "out").rename(tmp_path / ".out.00000000.old")  # killed between two renames
    FolderSink(str(tmp_path / "out"), {}).commit([])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_input_in_the_folder_that_is_replaced_is_not_lost(here: Here) -> None:
    out = here.export("beir")
    before = written(out)
    for words in (("pairs.parquet", "--corpus", "out/corpus.jsonl"), ("out/corpus.jsonl",)):
        code, said = here.run("export", *words, "--to", "beir", "-o", "out")
        assert (code, "out/corpus.jsonl: lies in the folder that -o names" in said) == (2, True), said
    assert written(out) == before


def test_info_shows_how_a_folder_came_to_be(here: Here) -> None:
    Path("more.jsonl").write_text('{"_id": "x", "text": "one"}\n{"_id": "y", "text": "two"}\n')
    here.export("tevatron-v2", "--corpus", "more.jsonl")
    _, said = here.run("info", "out")
    assert "  corpus.jsonl\n" in said
    assert "# more.jsonl: 2 rows, sha256 " in said
    assert "pairmine export pairs.parquet --corpus more.jsonl --to tevatron-v2 -o out\n" in said


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefghijkl日"), max_size=12), max_size=12))
def test_ids_are_numbered_in_the_order_in_which_they_first_come(chunks: list[list[str]]) -> None:
    once, numbers, firsts = Once("document"), list[int](), list[str]()
    for chunk in chunks:
        ids = pa.array(chunk, pa.string())
        texts = ids.dictionary_encode()
        found = once.add(ids, texts.dictionary, texts.indices.to_numpy())
        numbers += found.number.tolist()
        firsts += [chunk[at] for at in found.first]
        assert np.all(np.diff(found.first) > 0)
    came = [each for chunk in chunks for each in chunk]
    order = list(dict.fromkeys(came))
    assert firsts == order
    assert numbers == [order.index(each) for each in came]
    assert len(once) == len(order)
