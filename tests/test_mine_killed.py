"""`mine`, killed while it embeds and while it searches, and run again: the same bytes, nothing embedded twice."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pairmine.backends.vectors.shards import Shard

CRANFIELD = Path(__file__).parents[2] / "shared" / "data" / "cranfield"
QUERIES, DOCUMENTS = 24, 120
ASKED = "asked the model for "
SEARCHING = "searching"

OBSERVED = f"""
import sys, time
import pairmine.backends.vectors.store as store
from pairmine.backends.encoders.sentence_transformer import SentenceTransformerEncoder as Model
from pairmine.backends.vectors.exact import ExactSearch

def parts(self, texts, side, advance):
    for rows, vectors in embedded(self, texts, side, advance):
        print("{ASKED}%d" % len(rows), file=sys.stderr, flush=True)
        yield rows, vectors

def search(self, *given, **more):
    found = searched(self, *given, **more)
    if lingers:
        print("{SEARCHING}", file=sys.stderr, flush=True)
        time.sleep(120)
    return found

embedded, Model.parts = Model.parts, parts
searched, ExactSearch.search = ExactSearch.search, search
store.COMMIT_S = 0.3
lingers = sys.argv[1] == "linger"
del sys.argv[1]
from pairmine.cli.main import main
main()
"""
"""The command itself; it writes to stderr what the model is asked for, and can be made to linger in the search."""


def mine(folder: Path, how: str, store: str, *more: str) -> subprocess.Popen[str]:
    words = ["mine", "pairs.jsonl", "--corpus", "corpus.jsonl", "--store", store, "--depth", "10", *more]
    words += ["--retriever", "st:all-MiniLM-L6-v2", "-o", f"{store}.parquet"]
    return subprocess.Popen(
        [sys.executable, "-c", OBSERVED, how, *words], cwd=folder, stderr=subprocess.PIPE, text=True
    )


def asked(error: str) -> int:
    """How many texts the model embedded."""
    return sum(int(line.removeprefix(ASKED)) for line in error.splitlines() if line.startswith(ASKED))


def kept(store: Path) -> int:
    """How many vectors are there."""
    while True:
        try:
            return sum(Shard(path).rows for path in store.glob("*/*.shard"))
        except FileNotFoundError:  # just put together with others
            continue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some queries of a real collection, each with a document as its positive."""
    with gzip.open(CRANFIELD / "corpus.jsonl.gz", "rt") as lines:
        documents = [line for line in islice(lines, DOCUMENTS + 20) if json.loads(line)["text"].strip()][:DOCUMENTS]
    (tmp_path / "corpus.jsonl").write_text("".join(documents))
    with gzip.open(CRANFIELD / "queries.jsonl.gz", "rt") as lines:
        queries = [json.loads(line) for line in islice(lines, QUERIES)]
    ids = [json.loads(line).get("_id") or json.loads(line)["id"] for line in documents]
    pairs = [
        {"query_id": query.get("_id") or query["id"], "query": query["text"], "doc_id": ids[at], "label": 1}
        for at, query in enumerate(queries)
    ]
    texts = dict(zip(ids, (json.loads(line)["text"] for line in documents), strict=True))
    lines_out = (json.dumps({**pair, "document": texts[pair["doc_id"]]}) + "\n" for pair in pairs)
    (tmp_path / "pairs.jsonl").write_text("".join(lines_out))
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"no data in {CRANFIELD}")
@pytest.mark.long
def test_mine_goes_on_where_it_was_killed(folder: Path) -> None:
    whole = mine(folder, "go", "whole", "--summary", "whole.json")
    _, error = whole.communicate(timeout=500)
    assert whole.returncode == 0, error
    texts = asked(error)
    assert texts >= DOCUMENTS
    assert json.loads((folder / "whole.json").read_text())["embedded"] == texts

    killed = mine(folder, "go", "parts")
    end = time.monotonic() + 300
    while not (saved := kept(folder / "parts")):
        assert time.monotonic() < end
        assert killed.poll() is None, "it was done before it could be killed"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    _, error = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    saved = kept(folder / "parts")
    assert 0 < saved <= asked(error) < texts

    killed = mine(folder, "linger", "parts")
    assert killed.stderr is not None
    heard = ""
    for line in killed.stderr:
        heard += line
        if line.startswith(SEARCHING):
            break
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert asked(heard) == texts - saved
    assert kept(folder / "parts") == texts
    assert not (folder / "parts.parquet").exists()

    done = mine(folder, "go", "parts", "--summary", "parts.json")
    _, error = done.communicate(timeout=300)
    assert done.returncode == 0, error
    assert asked(error) == 0
    counts = json.loads((folder / "parts.json").read_text())
    assert (counts["embedded"], counts["reused"]) == (0, texts)
    assert (folder / "parts.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert pq.read_metadata(folder / "parts.parquet").num_rows > QUERIES
    assert not list((folder / "parts").glob("*/.*.partial"))
