"""`mine --dry-run`, `--memory`, and what `mine` settles before it spends any time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairmine.backends.retrievers import dense
from pairmine.cli import index_options
from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.files.lineage import decode

WORDS = [
    "wing",
    "lift",
    "drag",
    "heat",
    "flow",
    "shock",
    "plate",
    "shell",
    "cone",
    "jet",
    "wake",
    "gas",
    "film",
    "skin",
    "nose",
    "tail",
]


@pytest.fixture(autouse=True)
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_collection(120, 12)


def write_collection(documents: int, queries: int) -> None:
    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(WORDS, 20)) + f" {number}" for number in range(documents)]
    write("corpus.jsonl", [{"id": f"d{n}", "title": f"part {n}", "text": text} for n, text in enumerate(texts)])
    asked = [(f"q{n}", texts[n].rpartition(" ")[0][:40]) for n in range(queries)]
    write(
        "pairs.jsonl",
        [{"query_id": id_, "query": text, "doc_id": f"d{n}", "label": 1} for n, (id_, text) in enumerate(asked)],
    )


def write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(*words: str) -> None:
    app(list(words), standalone_mode=False)


def mine(*words: str, pairs: str = "pairs.jsonl") -> None:
    run("mine", pairs, "--corpus", "corpus.jsonl", *words)


def refuses(*words: str, pairs: str = "pairs.jsonl") -> str:
    with pytest.raises(PairmineError) as raised:
        mine(*words, pairs=pairs)
    assert raised.value.exit_code == 2
    return str(raised.value)


def planned(*words: str) -> dict[str, Any]:
    mine("--dry-run", "--summary", "plan.json", *words)
    body = json.loads(Path("plan.json").read_text())
    assert isinstance(body, dict)
    return body


def embed_all() -> None:
    run("embed", "corpus.jsonl", "--encoder", "fake:", "-o", "docs.npy")
    run("embed", "pairs.jsonl", "--side", "query", "--encoder", "fake:", "-o", "queries.npy")


# --- what a plan says -----------------------------------------------------------------------------------


def test_a_plan_counts_what_a_run_then_embeds_and_keeps() -> None:
    plan = planned("--retriever", "fake:", "--store", "vectors", "--depth", "5")
    assert (plan["queries"], plan["documents"], plan["rows"]) == (12, 120, 60)
    assert not Path("vectors").exists()
    mine("--retriever", "fake:", "--store", "vectors", "--depth", "5", "--summary", "run.json", "-o", "mined.parquet")
    done = json.loads(Path("run.json").read_text())
    assert plan["retrievers"][0]["embed"] == done["embedded"] == 132
    assert done["added"] == plan["rows"]
    kept = sum(file.stat().st_size for file in Path("vectors").rglob("*") if file.is_file())
    assert plan["disk_bytes"] <= kept <= plan["disk_bytes"] + 20_000, "a shard has a header, a store its description"
    assert planned("--retriever", "fake:", "--store", "vectors", "--depth", "5")["retrievers"][0]["embed"] == 0


def test_a_plan_is_for_standard_output_and_writes_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    mine("--retriever", "fake:", "--retriever", "bm25", "--dry-run", "--quiet")
    told = capsys.readouterr()
    assert told.out.startswith("pairmine mine: dry run\n")
    assert not told.err
    assert "120 searched" in told.out
    assert "132 texts to embed" in told.out
    assert "index of at most" in told.out
    assert sorted(Path().iterdir()) == before


def test_no_more_candidates_are_planned_than_there_are_documents() -> None:
    assert planned("--retriever", "bm25", "--depth", "5000")["rows"] == 12 * 120


def test_ready_vectors_and_words_are_planned_with_their_memory_and_time() -> None:
    embed_all()
    plan = planned("--retriever", "npy:docs.npy,queries.npy", "--retriever", "bm25")["retrievers"]
    dim = np.load("docs.npy").shape[1]
    assert plan[0]["dim"] == dim
    assert plan[0]["memory"] >= 4 * dim * 120
    assert plan[0]["embed"] == 0
    assert plan[1]["memory"] > 8 * 120 * 10, "8 bytes a posting"
    assert plan[1]["index_s"] > 0


@pytest.mark.slow
def test_the_memory_that_is_planned_is_what_a_run_takes() -> None:
    write_collection(30_000, 2_000)
    embed_all()
    for words in (["--retriever", "npy:docs.npy,queries.npy"], ["--retriever", "bm25"]):
        body = planned(*words, "--depth", "50", "--memory", "2GB")
        command = [sys.executable, "-m", "pairmine", "mine", "pairs.jsonl", "--corpus", "corpus.jsonl", *words]
        peak = peak_bytes([*command, "--depth", "50", "--memory", "2GB", "-q", "-o", "mined.parquet"])
        assert peak / 2.5 < body["memory_bytes"] < peak * 2.5, f"{words}: {body['memory_bytes']:,} planned, {peak:,}"


def peak_bytes(command: list[str]) -> int:
    """The most memory that a process had, measured in one that starts nothing else."""
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", measure, *command], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


# --- --memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["lots", "-1GB", "10", "0.5GB", "1e9", "", "GB"])
def test_a_size_that_is_none_or_too_small_is_one_line(size: str) -> None:
    assert refuses("--retriever", "bm25", f"--memory={size}", "-o", "x.parquet").startswith(f"--memory {size}: ")


@pytest.mark.parametrize("retrievers", [["bm25"], ["fake:"], ["fake:", "bm25"]], ids="+".join)
def test_less_memory_gives_the_same_bytes(retrievers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for each in retrievers for word in ("--retriever", each)]
    mine(*words, "--depth", "7", "--memory", "8GB", "-o", "much.parquet")
    # Texts and vectors on disk, and one query at a time: what a corpus of millions is to a gigabyte.
    from pairmine.memory import Memory

    monkeypatch.setattr(Memory, "of", classmethod(lambda cls, size, flag="": cls(10**9, 1, 1, 1)))
    mine(*words, "--depth", "7", "--memory", "1GB", "-o", "little.parquet")
    assert Path("much.parquet").read_bytes() == Path("little.parquet").read_bytes()


# --- settled before time is spent -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--rejects", "nowhere/rejects.parquet"], "no folder nowhere"),
        (["--rejects", "rejects.xyz"], "the ending says no format"),
        (["--rejects", "mined.parquet"], "-o and --rejects both name mined.parquet"),
        (["--rejects", "pairs.jsonl"], "is an input too and would be lost"),
        (["--summary", "corpus.jsonl"], "is an input too and would be lost"),
        (["--known", "nowhere.tsv"], "nowhere.tsv: no such file"),
        (["--since", "-"], "mine reads standard input once, and PAIRS and --since name it"),
        (["--near-cosine", "7"], "a cosine from -1 to 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_shows_before_anything_is_embedded(
    words: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embeds(*_: Any) -> None:
        raise AssertionError("embedded before the mistake was told")

    monkeypatch.setattr(dense.DenseRetriever, "index", embeds)
    before = Path("pairs.jsonl").read_bytes()
    pairs = "-" if "-" in words else "pairs.jsonl"
    assert line in refuses("--retriever", "fake:", *words, "-o", "mined.parquet", pairs=pairs)
    assert Path("pairs.jsonl").read_bytes() == before
    assert not Path("mined.parquet").exists()


@pytest.mark.parametrize(
    "words",
    [["-o", "run.tsv"], ["-o", "x.parquet", "--summary", "run.tsv"], ["--dry-run", "--summary", "run.tsv"]],
    ids=" ".join,
)
def test_no_output_takes_the_place_of_what_a_retriever_reads(words: list[str]) -> None:
    Path("run.tsv").write_text("q0 Q0 d3 1 2.5 x\n")
    assert "would be lost" in refuses("--retriever", "run:run.tsv", *words)
    assert Path("run.tsv").read_text() == "q0 Q0 d3 1 2.5 x\n"


@pytest.mark.parametrize("place", ["pairs.jsonl", "./pairs.jsonl", "corpus.jsonl"])
def test_the_numbers_of_a_plan_take_no_inputs_place(place: str) -> None:
    before = Path(place).read_bytes()
    assert "would be lost" in refuses("--retriever", "bm25", "--dry-run", "--summary", place)
    with pytest.raises(PairmineError, match="would be lost"):
        run("embed", place, "--encoder", "fake:", "--dry-run", "--summary", place)
    assert Path(place).read_bytes() == before


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_bm25_wants_numbers_that_it_can_reckon_with(value: str) -> None:
    assert "--bm25-k1" in refuses("--retriever", "bm25", f"--bm25-k1={value}", "-o", "x.parquet")


# --- rebuilding -----------------------------------------------------------------------------------------


def rebuilt(*words: str) -> str:
    """The command that the lineage of a mined set names, once it has given the same bytes."""
    mine(*words, "-o", "mined.parquet")
    entries = decode(pq.read_metadata("mined.parquet").metadata, "mined.parquet")
    command = commands(entries)[-1]
    run(*command.split()[1:])
    assert Path("out.parquet").read_bytes() == Path("mined.parquet").read_bytes(), command
    return command


def test_absolute_paths_of_two_vector_files_are_both_in_the_command_that_rebuilds() -> None:
    embed_all()
    here = Path().resolve()
    command = rebuilt("--retriever", f"npy:{here}/docs.npy,{here}/queries.npy", "--depth", "5")
    assert "npy:docs.npy,queries.npy" in command


def test_a_rebuild_takes_the_index_that_auto_took(monkeypatch: pytest.MonkeyPatch) -> None:
    from pairmine.backends.vectors import approximate

    write_collection(2_500, 40)
    monkeypatch.setattr(approximate, "choose", lambda *_, **__: "ivf")
    command = rebuilt("--retriever", "fake:", "--depth", "5", "--index", "auto")
    assert "--index ivf" in command
    monkeypatch.setattr(approximate, "choose", lambda *_, **__: "exact")
    command = rebuilt("--retriever", "fake:", "--depth", "5", "--index", "auto", "--recall", "0.9")
    assert "--index" not in command
    assert "--recall" not in command


def test_auto_takes_the_same_index_whatever_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from pairmine.backends.vectors import approximate

    asked: list[int] = []
    monkeypatch.setattr(approximate, "choose", lambda *_, threads, **__: asked.append(threads) or "exact")
    for workers in ("1", "7"):
        mine("--retriever", "fake:", "--index", "auto", "--workers", workers, "-o", f"{workers}.parquet")
    assert asked == [index_options.AUTO_THREADS] * 2
    assert Path("1.parquet").read_bytes() == Path("7.parquet").read_bytes()


# --- what is said of the known positives ------------------------------------------------------------------


def test_positives_named_by_their_ids_count_though_their_texts_lack_the_titles() -> None:
    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]
    texts = {row["id"]: row["text"] for row in map(json.loads, Path("corpus.jsonl").read_text().splitlines())}
    write("texts.jsonl", [{**row, "document": texts[row["doc_id"]]} for row in rows])
    found = []
    for pairs in ("pairs.jsonl", "texts.jsonl"):
        mine("--retriever", "bm25", "--depth", "20", "--summary", "run.json", "-o", "mined.parquet", pairs=pairs)
        found.append(json.loads(Path("run.json").read_text())["sources"]["bm25"])
    assert found[0] == found[1]
    assert found[0]["positives"] == 12
    assert found[0]["recall_at_10"] > 0.9
