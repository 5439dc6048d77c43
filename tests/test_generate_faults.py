"""`generate` against a server that fails in every way, and under kill -9: the same rows, nothing paid for twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from llm_server import Faults, LLMServer

COMMAND = [sys.executable, "-c", "from pairmine.cli.main import main; main()"]


def answer(body: dict[str, Any]) -> str:
    """A query and a passage of the prompt's own, the same whenever it is asked."""
    draw = random.Random(body["messages"][-1]["content"])
    query, passage = (" ".join(draw.choices(LEXICON, k=count)) for count in (8, 20))
    return json.dumps({"query": f"{query}?", "hard_negative": f"{passage}."})


LEXICON = [f"{one}{two}{end}" for one in ("ba", "ke", "li", "mo", "nu") for two in ("da", "fi", "go") for end in "nrst"]


def corpus(folder: Path, count: int) -> None:
    draw = random.Random(1)
    rows = [
        {"id": str(number), "text": f"Item {number}: {' '.join(draw.choices(LEXICON, k=30))}"}
        for number in range(count)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def command(server: LLMServer, *more: str) -> list[str]:
    options = ["--llm", "openai:test-model", "--base-url", server.base_url, "-o", "out.parquet", *more]
    return [*COMMAND, "generate", "queries", "corpus.jsonl", *options]


def faultless(folder: Path) -> Any:
    """The rows of an undisturbed run with a ledger of its own."""
    with LLMServer(answer) as server:
        subprocess.run(command(server, "--ledger", "other.sqlite"), cwd=folder, check=True, capture_output=True)
    return pq.read_table(folder / "out.parquet")


@pytest.mark.slow
@pytest.mark.long
def test_random_faults_and_restarts_change_no_row_and_no_prompt_is_paid_for_twice(tmp_path: Path) -> None:
    corpus(tmp_path, 400)
    expected = faultless(tmp_path)
    (tmp_path / "out.parquet").unlink()
    shares = {"busy": 0.08, "error_500": 0.03, "error_503": 0.03, "reset": 0.05, "stall": 0.01}
    plan = Faults(seed=3, **shares, truncated=0.03, garbage=0.03, error_body=0.03)
    with LLMServer(answer, plan=plan, delay_s=0.01) as server:
        options = ("--concurrency", "64", "--timeout", "1")
        with subprocess.Popen(command(server, *options), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
            for share in (0.3, 0.6):
                wait_for(lambda share=share: len(server.paid) > share * 400 or run.poll() is not None)
                server.restart(0.2)
            said = run.communicate(timeout=120)[1]
        assert run.returncode == 0, said
        faults = server.requests - len(server.paid)
        assert len(server.paid) == 400, said
        assert set(server.paid.values()) == {1}
    assert faults > 60
    assert pq.read_table(tmp_path / "out.parquet").equals(expected)


def wait_for(condition: Any, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def killed_runs(folder: Path, kills: int, count: int, concurrency: int) -> None:
    """Kill as many runs at random moments, finish with one that is left alone, and compare."""
    corpus(folder, count)
    expected = faultless(folder)
    (folder / "out.parquet").unlink()
    draw = random.Random(7)
    with LLMServer(answer, delay_s=0.05) as server:
        line = command(server, "--concurrency", str(concurrency), "-q")
        for _ in range(kills):
            before = server.requests
            with subprocess.Popen(line, cwd=folder) as run:
                wait_for(lambda before=before: server.requests > before or run.poll() is not None)
                time.sleep(draw.uniform(0.0, 0.4))
                run.kill()
            assert run.returncode == -9, "the corpus is too small for so many kills"
            assert not (folder / "out.parquet").exists()
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        twice = sum(server.paid.values()) - count
        assert len(server.paid) == count
    assert twice <= kills * concurrency
    assert pq.read_table(folder / "out.parquet").equals(expected)
    left = {path.name for path in folder.iterdir()} - {"corpus.jsonl", "other.sqlite", ".pairmine"}
    assert left == {"out.parquet"}


@pytest.mark.slow
@pytest.mark.long
def test_runs_killed_at_random_moments_lose_only_what_was_in_flight(tmp_path: Path) -> None:
    killed_runs(tmp_path, kills=3, count=400, concurrency=16)


@pytest.mark.slow
@pytest.mark.long
def test_ten_kills_change_no_row(tmp_path: Path) -> None:
    killed_runs(tmp_path, kills=10, count=1200, concurrency=16)


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on_and_keeps_its_replies(tmp_path: Path) -> None:
    corpus(tmp_path, 300)
    with LLMServer(answer, delay_s=0.05) as server:
        line = command(server, "--concurrency", "8")
        with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
            wait_for(lambda: len(server.paid) > 60)
            run.terminate()
            said = run.communicate()[1]
        assert run.returncode == 130
        assert said.endswith("interrupted; nothing was half-written, run the same command again to continue\n")
        asked = server.requests
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert server.requests <= 300 + 8
        assert asked < server.requests


@pytest.mark.slow
def test_two_runs_on_one_ledger_both_finish_and_pay_once(tmp_path: Path) -> None:
    corpus(tmp_path, 200)
    expected = faultless(tmp_path)
    (tmp_path / "out.parquet").unlink()
    with LLMServer(answer, delay_s=0.01) as server:
        first = command(server, "-q")
        lines = [first, [word if word != "out.parquet" else "second.parquet" for word in first]]
        threads = [threading.Thread(target=subprocess.run, args=(line,), kwargs={"cwd": tmp_path}) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.paid) == 200
        assert set(server.paid.values()) == {1}
    assert pq.read_table(tmp_path / "out.parquet").equals(expected)
    assert pq.read_table(tmp_path / "second.parquet").equals(expected)


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_as_an_interrupt_does(tmp_path: Path) -> None:
    corpus(tmp_path, 200)
    with (
        LLMServer(answer, delay_s=0.05) as server,
        subprocess.Popen(command(server, "--concurrency", "4"), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run,
    ):
        wait_for(lambda: len(server.paid) > 20)
        run.send_signal(signal.SIGHUP)
        said = run.communicate()[1]
    assert run.returncode == 130
    assert "interrupted; nothing was half-written" in said


FANNED = """
name: fanned
summary: Searches about a text, and for each of them a passage that is rewritten twice.
reads: documents
expand: {step: searches, each: reply.searches}
steps:
  searches:
    prompt: "JSON with searches about: {{ row.text }}"
    schema: {properties: {searches: {type: array, items: {type: string}}}}
  passage:
    rounds: 3
    prompt: |
      Answer {{ part }}{% for each in previous %} -- {{ each.text }}{% endfor %}
    checks:
      text: {words: [3, 60], differs_from: previous.text}
emits:
  pair:
    step: passage
    each: reply.rounds
    query: "{{ part }}"
    document: "{{ each.text }}"
    label: "{{ 1 if index == 0 else 0 }}"
    numbers: {rank: "{{ index + 1 }}"}
"""
PER_DOCUMENT = 1 + 3 * 3


def fan(body: dict[str, Any]) -> str:
    """Three searches about a text, or a passage of the prompt's own."""
    prompt = body["messages"][-1]["content"]
    draw = random.Random(prompt)
    if prompt.startswith("JSON"):
        return json.dumps({"searches": [" ".join(draw.choices(LEXICON, k=5)) for _ in range(3)]})
    return " ".join(draw.choices(LEXICON, k=12))


def fanned(server: LLMServer, *more: str) -> list[str]:
    options = ["--llm", "openai:test-model", "--base-url", server.base_url, "-o", "out.parquet", *more]
    return [*COMMAND, "generate", "--recipe", "fanned.yaml", "corpus.jsonl", *options]


@pytest.mark.slow
@pytest.mark.long
def test_runs_with_parts_and_rounds_that_are_killed_go_on_and_pay_for_nothing_twice(tmp_path: Path) -> None:
    count, kills, concurrency = 40, 2, 16
    corpus(tmp_path, count)
    (tmp_path / "fanned.yaml").write_text(FANNED)
    with LLMServer(fan) as server:
        whole = fanned(server, "--ledger", "other.sqlite", "--rejects", "rejects.jsonl")
        subprocess.run(whole, cwd=tmp_path, check=True, capture_output=True)
    expected = (tmp_path / "out.parquet").read_bytes()
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["rank"].to_pylist() == [1, 2, 3] * (3 * count)
    assert (tmp_path / "rejects.jsonl").read_text() == ""
    (tmp_path / "out.parquet").unlink()
    draw = random.Random(11)
    with LLMServer(fan, delay_s=0.05) as server:
        line = fanned(server, "--concurrency", str(concurrency), "-q")
        for _ in range(kills):
            before = server.requests
            with subprocess.Popen(line, cwd=tmp_path) as run:
                wait_for(lambda before=before: server.requests > before or run.poll() is not None)
                time.sleep(draw.uniform(0.1, 0.4))
                run.kill()
            assert run.returncode == -9, "the corpus is too small for so many kills"
            assert not (tmp_path / "out.parquet").exists()
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert len(server.paid) == PER_DOCUMENT * count
        assert sum(server.paid.values()) - PER_DOCUMENT * count <= kills * concurrency
        asked = server.requests
        subprocess.run(line, cwd=tmp_path, check=True)
        assert server.requests == asked
    assert (tmp_path / "out.parquet").read_bytes() == expected


@pytest.mark.slow
def test_faults_of_the_server_change_no_part_and_no_round(tmp_path: Path) -> None:
    corpus(tmp_path, 40)
    (tmp_path / "fanned.yaml").write_text(FANNED)
    with LLMServer(fan) as server:
        subprocess.run(fanned(server, "--ledger", "other.sqlite"), cwd=tmp_path, check=True, capture_output=True)
    expected = (tmp_path / "out.parquet").read_bytes()
    plan = Faults(seed=5, busy=0.1, error_500=0.04, reset=0.05, truncated=0.03, garbage=0.03)
    with LLMServer(fan, plan=plan, delay_s=0.01) as server:
        done = subprocess.run(
            fanned(server, "--concurrency", "32"), cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert len(server.paid) == PER_DOCUMENT * 40
        assert set(server.paid.values()) == {1}
    assert (tmp_path / "out.parquet").read_bytes() == expected
