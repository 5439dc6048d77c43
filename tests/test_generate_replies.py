"""The recorded replies of an LLM to 320 abstracts, served over HTTP to the recipe `queries`."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LLMServer

DATA = Path(__file__).parents[2] / "shared" / "data"
COMMAND = [sys.executable, "-c", "from pairmine.cli.main import main; main()"]

REJECTED = {
    "837": "refusal",
    "286": "truncated",
    "783": "empty",
    "68": "missing field",
}
"""The malformed replies that nothing can be made of, and how the reason begins."""
REPAIRED = {"840", "614", "1025", "178", "632", "511", "496", "324", "1326"}


@pytest.fixture(scope="module")
def replies() -> dict[str, dict[str, Any]]:
    file = DATA / "llm-replies" / "cisi.jsonl"
    if not file.exists():
        pytest.skip("the recorded replies of shared/data are not on this machine")
    return {row["doc_id"]: row for row in map(json.loads, file.read_text().splitlines())}


@pytest.fixture(scope="module")
def documents(replies: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    with gzip.open(DATA / "cisi" / "corpus.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["_id"] in replies]


@pytest.fixture(scope="module")
def outcome(
    replies: dict[str, dict[str, Any]], documents: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[pa.Table, pa.Table, str]:
    """The pairs, the rejects, and what was said."""
    folder = tmp_path_factory.mktemp("replies")
    with (folder / "corpus.jsonl").open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in documents)
    by_text = {row["text"]: replies[row["_id"]] for row in documents}

    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][-1]["content"]
        row = next(row for text, row in by_text.items() if text[:300] in prompt)
        if "raw" in row:
            return row["raw"]
        return orjson.dumps({"query": row["query"], "hard_negative": row["hard_negative"]}).decode()

    with LLMServer(answer, models=("claude",)) as server:
        command = ["generate", "queries", "corpus.jsonl", "--llm", "openai:claude", "--base-url", server.base_url]
        run = subprocess.run(
            [*COMMAND, *command, "--set", "max_words=0", "-o", "pairs.parquet", "--rejects", "rejects.parquet"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert run.returncode == 0, run.stderr
    return pq.read_table(folder / "pairs.parquet"), pq.read_table(folder / "rejects.parquet"), run.stderr


@pytest.mark.slow
def test_every_well_formed_reply_becomes_its_pair_word_for_word(
    replies: dict[str, dict[str, Any]], outcome: tuple[pa.Table, pa.Table, str]
) -> None:
    rows = outcome[0].to_pylist()
    queries = {row["source_id"]: row["query"] for row in rows if row["label"] == 1}
    negatives = {row["source_id"]: row["document"] for row in rows if row["label"] == 0}
    good = {name: reply for name, reply in replies.items() if "raw" not in reply}
    assert len(good) == 307
    assert {name: queries.get(name) for name in good} == {name: reply["query"] for name, reply in good.items()}
    assert {name: negatives.get(name) for name in good} == {n: reply["hard_negative"] for n, reply in good.items()}


def test_every_malformed_reply_is_repaired_or_rejected_with_its_reason(outcome: tuple[pa.Table, pa.Table, str]) -> None:
    kept, rejected, said = outcome
    reasons = {row["id"]: row["reason"] for row in rejected.to_pylist()}
    assert {name: reason[: len(REJECTED.get(name, ""))] for name, reason in reasons.items()} == REJECTED
    assert set(kept["source_id"].to_pylist()) >= REPAIRED
    assert "replies repaired: code fence" in said


def test_every_planned_pair_is_accounted_for(outcome: tuple[pa.Table, pa.Table, str]) -> None:
    kept, rejected, _ = outcome
    assert kept.num_rows + rejected.num_rows == 2 * 320
    assert Counter(rejected["role"].to_pylist()) == {"positive": 4, "negative": 4}
