"""`pairmine embed` and `pairmine store`: vectors as files, and what is kept of them."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.encoders import FakeEncoder
from pairmine.backends.vectors.shards import Shard
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.stages.embed import as_table, stretches

CRANFIELD = Path(__file__).parents[2] / "shared" / "data" / "cranfield"
DOCUMENTS = [
    {"id": "a", "title": "Wings", "text": "They lift."},
    {"id": "b", "text": "Heat flows."},
    {"id": "c", "title": " ", "text": "\u3000\n"},
    {"id": "d", "title": "Only a title", "text": ""},
    {"id": "東", "text": "They lift."},
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAIRMINE_STORE", raising=False)
    write("corpus.jsonl", DOCUMENTS)


def write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(*words: str) -> None:
    app(list(words), standalone_mode=False)


def embed(*words: str) -> None:
    run("embed", *words, "--encoder", "fake:")


def refuses(*words: str) -> str:
    with pytest.raises(PairmineError) as raised:
        embed(*words)
    assert raised.value.exit_code == 2
    return str(raised.value)


def matrix(table: pa.Table) -> np.ndarray:
    column = table["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def truth(*texts: str) -> np.ndarray:
    return FakeEncoder().encode(texts, "document")


def test_a_corpus_becomes_ids_and_vectors_in_its_order() -> None:
    embed("corpus.jsonl", "-o", "vectors.parquet", "--rejects", "rejected.jsonl", "--summary", "counts.json")
    table = pq.read_table("vectors.parquet")
    assert table.column_names == ["id", "vector"]
    assert table["id"].to_pylist() == ["a", "b", "d", "東"]
    expected = truth("Wings They lift.", "Heat flows.", "Only a title", "They lift.")
    assert (matrix(table) == expected).all()
    (rejected,) = Path("rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["id"] == "c"
    assert json.loads(rejected)["reason"] == "no text"
    counts = json.loads(Path("counts.json").read_text())
    assert (counts["rows_in"], counts["rows_out"], counts["rejected"]) == (5, 4, {"no text": 1})
    assert (counts["embedded"], counts["reused"]) == (4, 0)


def test_titles_can_be_left_out() -> None:
    embed("corpus.jsonl", "--no-title", "-o", "vectors.parquet")
    table = pq.read_table("vectors.parquet")
    assert table["id"].to_pylist() == ["a", "b", "東"]
    assert (matrix(table) == truth("They lift.", "Heat flows.", "They lift.")).all()


def test_a_second_run_embeds_nothing_and_writes_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "other"):
        capsys.readouterr()
        embed("corpus.jsonl", "-o", f"{name}.parquet")
    assert "0 texts embedded, 4 found in .pairmine/vectors" in capsys.readouterr().err
    embed("corpus.jsonl", "-o", "third.parquet", "--store", "none")
    assert "4 texts embedded; --store none keeps no vectors" in capsys.readouterr().err
    assert Path("one.parquet").read_bytes() == Path("other.parquet").read_bytes() == Path("third.parquet").read_bytes()


def test_float16_and_int8_say_what_they_are() -> None:
    expected = truth("Wings They lift.", "Heat flows.", "Only a title", "They lift.")
    for name in ("half.parquet", "half.arrow"):
        embed("corpus.jsonl", "-o", name, "--vector-type", "float16")
    half = pq.read_table("half.parquet")
    assert half.schema.field("vector").type.value_type == pa.float16()
    assert (matrix(half) == expected.astype(np.float16)).all()
    assert pa.ipc.open_file("half.arrow").read_all()["vector"].to_pylist() == half["vector"].to_pylist()
    embed("corpus.jsonl", "-o", "small.parquet", "--vector-type", "int8")
    small = pq.read_table("small.parquet")
    assert small.schema.field("vector").type.value_type == pa.int8()
    found = matrix(small) * small["scale"].to_numpy()[:, None]
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    assert np.abs(found - expected).max() < 0.01


def test_npy_is_a_bare_matrix_with_its_ids_beside_it() -> None:
    for kind in ("float32", "float16"):
        embed("corpus.jsonl", "-o", "vectors.npy", "--vector-type", kind)
        found = np.load("vectors.npy", mmap_mode="r")
        assert found.dtype == kind
        expected = truth("Wings They lift.", "Heat flows.", "Only a title", "They lift.")
        assert (found == expected.astype(kind)).all()
        assert Path("vectors.ids.txt").read_text().splitlines() == ["a", "b", "d", "東"]
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == [".pairmine"]


def test_npy_refuses_what_it_cannot_hold() -> None:
    assert "has no room for the scales of int8 vectors" in refuses(
        "corpus.jsonl", "-o", "v.npy", "--vector-type", "int8"
    )
    write("odd.jsonl", [{"id": "two\nlines", "text": "x"}])
    assert refuses("odd.jsonl", "-o", "v.npy") == "v.npy: an id has a line end in it; write .parquet"
    assert not list(Path().glob("*v.npy*"))
    assert not list(Path().glob("*v.ids*"))


def test_a_pair_set_gives_its_documents_or_its_queries_once() -> None:
    write(
        "pairs.jsonl",
        [
            {"query_id": "q1", "query": "lift?", "doc_id": "a", "document": "They lift.", "label": 1},
            {"query_id": "q1", "query": "lift?", "doc_id": "b", "document": "Heat flows.", "label": 0},
            {"query_id": "q2", "query": "heat?", "doc_id": "b", "document": "Heat flows.", "label": 1},
            {"query_id": "q2", "query": "heat?", "doc_id": "c", "document": None, "label": 0},
        ],
    )
    embed("pairs.jsonl", "-o", "documents.parquet", "--summary", "counts.json")
    documents = pq.read_table("documents.parquet")
    assert documents["id"].to_pylist() == ["a", "b"]
    assert (matrix(documents) == truth("They lift.", "Heat flows.")).all()
    counts = json.loads(Path("counts.json").read_text())
    assert (counts["rows_in"], counts["rejected"], counts["rows_out"]) == (4, {"no text": 1}, 2)
    embed("pairs.jsonl", "--side", "query", "-o", "queries.parquet")
    assert pq.read_table("queries.parquet")["id"].to_pylist() == ["q1", "q2"]
    assert "has no effect on a pair set" in refuses("pairs.jsonl", "--no-title", "-o", "x.parquet")


def test_a_pair_set_without_texts_says_what_to_embed() -> None:
    pairs = {"query_id": ["q1"], "query": ["lift?"], "doc_id": ["a"], "label": [1], "origin": ["given"]}
    pq.write_table(pa.table(pairs), "pairs.parquet")
    line = refuses("pairs.parquet", "-o", "x.parquet")
    assert line == 'the pair set has no "document" texts; embed the corpus that its ids come from'


def test_a_query_file_and_a_beir_folder_are_read_by_side() -> None:
    write("queries.jsonl", [{"_id": "1", "text": "lift?"}])
    embed("queries.jsonl", "--side", "query", "-o", "one.parquet")
    assert pq.read_table("one.parquet")["id"].to_pylist() == ["1"]
    embed(".", "--side", "query", "-o", "two.parquet")
    assert pq.read_table("two.parquet").equals(pq.read_table("one.parquet"))
    embed(".", "-o", "three.parquet")
    assert pq.read_table("three.parquet")["id"].to_pylist() == ["a", "b", "d", "東"]


def test_a_dry_run_says_what_there_is_to_do_and_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    embed("corpus.jsonl", "--dry-run")
    lines = dict(line.strip().split(None, 1) for line in capsys.readouterr().out.splitlines()[1:4])
    assert lines["rows"] == "5"
    assert lines["texts"] == "4"
    assert not Path(".pairmine").exists()
    write("fewer.jsonl", DOCUMENTS[:2])
    embed("fewer.jsonl", "-o", "vectors.parquet")
    embed("corpus.jsonl", "--dry-run", "--summary", "plan.json")
    plan = json.loads(Path("plan.json").read_text())
    assert (plan["rows"], plan["texts"], plan["to_embed"], plan["in_store"]) == (5, 4, 2, 2)
    assert plan["bytes"] == 2 * (64 * 4 + 16)
    assert "-o has no effect with --dry-run" in refuses("corpus.jsonl", "--dry-run", "-o", "x.parquet").replace(
        "--output", "-o"
    )


def test_what_cannot_take_effect_is_an_error() -> None:
    assert refuses("corpus.jsonl") == "missing option '--output' / '-o'; only --dry-run goes without it"
    out = ("-o", "x.parquet")
    assert "--side passage: choose document, query" in refuses("corpus.jsonl", "--side", "passage", *out)
    assert "--vector-type int4: choose" in refuses("corpus.jsonl", "--vector-type", "int4", *out)
    assert "--no-title has no effect with --side query" in refuses("corpus.jsonl", "--side=query", "--no-title", *out)
    assert "--prompt is for st: encoders" in refuses("corpus.jsonl", "--prompt", "x", *out)
    assert "csv cannot hold lists" in refuses("corpus.jsonl", "-o", "x.csv")
    assert "is a file; name a folder with --store" in refuses("corpus.jsonl", "--store", "corpus.jsonl", *out)
    assert not Path("x.parquet").exists()


def test_a_corpus_without_any_text_gives_an_empty_table_of_the_same_columns() -> None:
    write("blank.jsonl", [{"id": "a", "text": " "}])
    embed("blank.jsonl", "-o", "vectors.parquet")
    table = pq.read_table("vectors.parquet")
    assert table.num_rows == 0
    assert table.schema.field("vector").type.list_size == 64


def test_long_inputs_are_cut_and_short_ones_put_together() -> None:
    tables = [
        pa.table({"id": pa.array([str(number)] * rows, pa.string())}) for number, rows in enumerate((3, 0, 150_000, 5))
    ]
    found = list(stretches(tables))
    assert pa.concat_tables(found)["id"].to_pylist() == pa.concat_tables(tables)["id"].to_pylist()
    assert [len(table) for table in found] == [3 + 65_536, 65_536, 150_000 - 2 * 65_536 + 5]


def test_tables_of_no_vectors_have_their_columns() -> None:
    table = as_table(pa.chunked_array([[]], pa.string()), np.empty((0, 3), np.float32), "int8")
    assert table.schema == pa.schema([("id", pa.string()), ("vector", pa.list_(pa.int8(), 3)), ("scale", pa.float32())])


# --- the store --------------------------------------------------------------------------------------------


def test_the_store_lists_what_it_has_and_gives_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    embed("corpus.jsonl", "-o", "x.parquet")
    embed("corpus.jsonl", "-o", "x.parquet", "--vector-type", "int8")
    capsys.readouterr()
    run("store")
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith(".pairmine/vectors: 8 vectors, ")
    assert [line.split()[1:5] for line in shown.splitlines()[3:]] == [
        ["fake:", "document", "-", "float32"],
        ["fake:", "document", "-", "int8"],
    ]
    run("store", "list", "--json")
    found = json.loads(capsys.readouterr().out)["vectors"]
    assert [each["vectors"] for each in found] == [4, 4]
    run("store", "prune", "--before", "1d", "--dry-run")
    assert "nothing to remove; .pairmine/vectors has vectors of: fake:" in capsys.readouterr().err
    run("store", "prune", "--id", found[0]["id"][:6], "--dry-run")
    assert "4 vectors would go; nothing was removed" in capsys.readouterr().err
    run("store", "prune", "--id", found[0]["id"][:6], "--yes")
    assert "4 vectors removed" in capsys.readouterr().err
    Path(".pairmine/vectors", found[1]["id"], "mine.txt").write_text("not the store's")
    run("store", "prune", "--model", "fake:", "-y")
    run("store")
    assert capsys.readouterr().out == ".pairmine/vectors: 0 vectors, 0 bytes\n"
    assert [path.name for path in Path(".pairmine/vectors").rglob("*.*")] == ["mine.txt"]


def test_the_store_asks_before_it_removes_and_says_where_none_is() -> None:
    with pytest.raises(PairmineError, match=r"nothing is kept there; 'pairmine embed', 'mine' and 'score' keep"):
        run("store", "--store", "nowhere")
    with pytest.raises(PairmineError, match="nothing says what goes; name it with --model, --before or --id"):
        run("store", "prune")
    with pytest.raises(PairmineError, match="--store before 'prune' has no effect; write it after that word"):
        run("store", "--store", "x", "prune", "--model", "y")


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PAIRMINE_STORE", "elsewhere")
    embed("corpus.jsonl", "-o", "x.parquet")
    assert "4 texts embedded, 0 found in elsewhere" in capsys.readouterr().err
    run("store")
    assert capsys.readouterr().out.startswith("elsewhere: 4 vectors")


# --- a real model -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_model_gives_the_vectors_that_its_library_gives() -> None:
    from sentence_transformers import SentenceTransformer

    from pairmine.backends.specs import Spec, locate

    spec = "st:all-MiniLM-L6-v2"
    run("embed", "corpus.jsonl", "--encoder", spec, "--dtype", "float32", "--prompt", "about: ", "-o", "x.parquet")
    found = matrix(pq.read_table("x.parquet"))
    model = SentenceTransformer(locate(Spec("st", "all-MiniLM-L6-v2"), "--encoder"), device="cpu")
    texts = ["Wings They lift.", "Heat flows.", "Only a title", "They lift."]
    expected = model.encode(texts, prompt="about: ", normalize_embeddings=True)
    assert np.abs(found - expected).max() < 1e-5
    run("embed", "corpus.jsonl", "--encoder", spec, "--dtype", "float32", "-o", "y.parquet")
    assert np.abs(matrix(pq.read_table("y.parquet")) - found).max() > 1e-3


OFTEN = """
import pairmine.backends.vectors.store as store
from pairmine.cli.main import main
store.COMMIT_S = 0.3
main()
"""
"""The command, with vectors on disk every 0.3 s."""


@pytest.mark.slow
@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"no data in {CRANFIELD}")
@pytest.mark.long
def test_embed_goes_on_where_it_was_killed() -> None:
    with gzip.open(CRANFIELD / "corpus.jsonl.gz", "rt") as lines:
        Path("corpus.jsonl").write_text("".join(islice(lines, 160)))
    words = ["corpus.jsonl", "--encoder", "st:all-MiniLM-L6-v2"]
    start = [sys.executable, "-c", OFTEN]
    subprocess.run([*start, "embed", *words, "-o", "whole.parquet", "--store", "one"], check=True)
    saved = 0
    for _ in range(2):
        killed = subprocess.Popen([*start, "embed", *words, "-o", "parts.parquet", "--store", "other"])
        end = time.monotonic() + 120
        while _rows_in("other") == saved and killed.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL, "it was done before it could be killed"
        assert not Path("parts.parquet").exists()
        before, saved = saved, _rows_in("other")
        assert before < saved < 160
    subprocess.run(
        [*start, "embed", *words, "-o", "parts.parquet", "--store", "other", "--summary", "counts.json"], check=True
    )
    counts = json.loads(Path("counts.json").read_text())
    texts = counts["embedded"] + counts["reused"]
    assert counts["reused"] == saved
    assert _rows_in("other") == texts == pq.read_metadata("whole.parquet").num_rows
    assert Path("parts.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def _rows_in(store: str) -> int:
    rows = 0
    for path in Path(store).glob("*/*.shard"):
        try:
            rows += Shard(path).rows
        except FileNotFoundError:
            return _rows_in(store)
    return rows
