"""The commands end to end with a real engine: in process, and behind vLLM's own server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SERVED = "served"
COMMAND = [sys.executable, "-c", "from pairmine.cli.main import main; main()"]

# An untrained model writes words without sense, of any number: all that is asked of it is the form.
LENIENT = """
name: lenient
summary: Anything at all.
reads: documents
steps:
  write:
    system: |
      Reply with JSON: {"query": "...", "hard_negative": "..."}
    prompt: "{{ row.text }}"
    schema:
      type: object
      properties:
        query: {type: string, minLength: 3, maxLength: 60}
        hard_negative: {type: string, minLength: 3, maxLength: 60}
    sampling: {max_tokens: 300}
emits:
  positive: {query: "{{ reply.query }}", document: "{{ row.text }}", label: 1}
  negative: {query: "{{ reply.query }}", document: "{{ reply.hard_negative }}", label: 0}
"""

# Strings of an untrained model may say nothing, be equal, or copy the prompt: the checks of texts are switched off.
FANNED = """
name: fanned
summary: Searches about a text, each with a passage.
reads: documents
draws:
  tone: {meaning: how it sounds, per: part, choices: {gruff: a gruff tone, mild: a mild tone}}
expand: {step: searches, each: reply.searches}
steps:
  searches:
    prompt: "Reply with JSON, three searches about: {{ row.text }}"
    schema:
      type: object
      properties:
        searches: {type: array, minItems: 3, maxItems: 3, items: {type: string, minLength: 3, maxLength: 30}}
    sampling: {max_tokens: 300}
    checks: {searches: &none {not_empty: false, refusal: false, preamble: false, schema_leak: false, leak: false}}
  passage:
    prompt: "Reply with JSON, in {{ draws.tone }}: {{ part }}"
    schema: {type: object, properties: {passage: {type: string, minLength: 3, maxLength: 60}}}
    sampling: {max_tokens: 200}
    checks: {passage: *none}
emits:
  pair: {step: passage, query: "{{ part }}", document: "{{ reply.passage }}", label: 1}
"""

LADDER = """
name: ladder
summary: A text that drifts away.
reads: documents
steps:
  drift:
    rounds: 4
    prompt: "Reply with JSON, round {{ round }}: {{ previous[-1].text if previous else row.text }}"
    schema:
      type: object
      properties: {text: {type: string, minLength: 3, maxLength: 60}, near: {type: integer, enum: [0, 1, 2, 3, 4, 5]}}
    sampling: {max_tokens: 200}
    checks: {text: {not_empty: false, refusal: false, preamble: false, schema_leak: false, leak: false}}
emits:
  step:
    each: reply.rounds
    query: "{{ row.text }}"
    document: "{{ each.text }}"
    label: "{{ 1 if index == 0 else '' }}"
    numbers: {rank: "{{ index + 1 }}", score_near: "{{ each.near / 5 }}"}
"""

VERDICT = """
name: verdict
summary: A grade.
reads: pairs
steps:
  judge:
    system: |
      Reply with JSON: {"grade": 0}
    prompt: "{{ row.query }} {{ row.document }}"
    schema:
      type: object
      properties:
        grade: {type: integer, enum: [0, 1, 2, 3, 4, 5]}
score: "{{ reply.grade / 5 }}"
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    (folder / "lenient.yaml").write_text(LENIENT)
    (folder / "verdict.yaml").write_text(VERDICT)
    (folder / "fanned.yaml").write_text(FANNED)
    (folder / "ladder.yaml").write_text(LADDER)
    rows = [{"id": str(number), "text": f"Document {number} is about {number * 3} boats."} for number in range(30)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def engine(tiny_model: Path, llm_args: dict[str, Any]) -> list[str]:
    args = [word for key, value in llm_args.items() for word in ("--vllm-arg", f"{key}={json.dumps(value)}")]
    return [f"vllm:{tiny_model}", *args]


def accounted(folder: Path, name: str) -> int:
    """The pairs that came out, after a look that none of those planned is missing."""
    kept = pq.read_table(folder / f"{name}.parquet").num_rows
    assert kept + pq.read_table(folder / f"{name}-rejects.parquet").num_rows == 60
    return kept


def test_an_engine_in_process_writes_pairs_and_the_ledger_writes_them_again(
    folder: Path, tiny_model: Path, llm_args: dict[str, Any]
) -> None:
    words = ["generate", "--recipe", "lenient.yaml", "corpus.jsonl", "--llm", *engine(tiny_model, llm_args)]
    done = run(folder, *words, "-o", "one.parquet", "--rejects", "one-rejects.parquet")
    assert done.returncode == 0, done.stderr
    assert accounted(folder, "one") >= 30
    origins = set(pq.read_table(folder / "one.parquet")["origin"].to_pylist())
    assert origins == {"generate:lenient/positive", "generate:lenient/negative"}
    again = run(folder, *words, "-o", "two.parquet")
    assert again.returncode == 0, again.stderr
    assert "from the ledger" in again.stderr
    assert "asked for:" not in again.stderr
    assert (folder / "one.parquet").read_bytes() == (folder / "two.parquet").read_bytes()


def test_engines_of_two_workers_of_a_cluster_write_what_one_engine_writes(
    folder: Path, tiny_model: Path, llm_args: dict[str, Any]
) -> None:
    pytest.importorskip("ray", reason="ray is not installed beside vllm")
    words = ["generate", "--recipe", "lenient.yaml", "corpus.jsonl", "--limit", "10"]
    words += ["--llm", *engine(tiny_model, llm_args)]
    alone = run(folder, *words, "-o", "alone.parquet", "--ledger", "alone.sqlite")
    assert alone.returncode == 0, alone.stderr
    ray = ["--engine", "ray", "--shard-rows", "3"]
    done = run(folder, *words, *ray, "-o", "spread.parquet", "--ledger", "spread.sqlite")
    assert done.returncode == 0, done.stderr
    assert (folder / "spread.parquet").read_bytes() == (folder / "alone.parquet").read_bytes()


def test_its_server_writes_pairs_through_openai(folder: Path, server: str) -> None:
    words = ["generate", "--recipe", "lenient.yaml", "corpus.jsonl", "--llm", f"openai:{SERVED}", "--base-url", server]
    done = run(folder, *words, "-o", "served.parquet", "--rejects", "served-rejects.parquet")
    assert done.returncode == 0, done.stderr
    assert accounted(folder, "served") >= 30


def test_an_engine_judges_pairs_from_0_to_1(folder: Path, tiny_model: Path, llm_args: dict[str, Any]) -> None:
    (folder / "pairs.jsonl").write_text(
        "".join(json.dumps({"query": f"boats {n}", "document": f"There are {n} boats."}) + "\n" for n in range(12))
    )
    words = ["score", "pairs.jsonl", "--scorer", *engine(tiny_model, llm_args), "--recipe", "verdict.yaml"]
    done = run(folder, *words, "-o", "scored.parquet")
    assert done.returncode == 0, done.stderr
    scores = pq.read_table(folder / "scored.parquet")["score_llm"].to_pylist()
    assert {round(score, 1) for score in scores} <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}
    assert len(scores) == 12


@pytest.mark.parametrize("name", ["fanned", "ladder"])
def test_an_engine_answers_about_parts_and_in_rounds_and_the_ledger_writes_them_again(
    name: str, folder: Path, tiny_model: Path, llm_args: dict[str, Any]
) -> None:
    words = ["generate", "--recipe", f"{name}.yaml", "corpus.jsonl", "--limit", "10"]
    words += ["--llm", *engine(tiny_model, llm_args)]
    one, rejects = folder / f"{name}-one.parquet", folder / f"{name}-rejects.parquet"
    done = run(folder, *words, "-o", one.name, "--rejects", rejects.name, "--summary", f"{name}.json")
    assert done.returncode == 0, done.stderr
    counts = json.loads((folder / f"{name}.json").read_text())
    table = pq.read_table(one)
    assert counts["rows_in"] + counts.get("added", 0) == table.num_rows + pq.read_table(rejects).num_rows
    assert counts["asked"]["calls"] >= 40 - len(pq.read_table(rejects))
    again = run(folder, *words, "-o", f"{name}-two.parquet")
    assert again.returncode == 0, again.stderr
    assert "asked for:" not in again.stderr
    assert one.read_bytes() == (folder / f"{name}-two.parquet").read_bytes()
    rows = table.to_pylist()
    if name == "fanned":
        assert counts["rows_in"] == 30
        assert len(rows) >= 15
        assert {row["tone"] for row in rows} == {"gruff", "mild"}
    else:
        assert len(rows) >= 20
        assert {row["label"] for row in rows if row["rank"] == 1} == {1}
        assert max(row["rank"] for row in rows) == 4
        assert {round(row["score_near"], 1) for row in rows} <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}
