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


def test_runs_killed_at_random_moments_lose_only_what_was_in_flight(tmp_path: Path) -> None:
    killed_runs(tmp_path, kills=3, count=400, concurrency=16)


@pytest.mark.slow
def test_ten_kills_change_no_row(tmp_path: Path) -> None:
    killed_runs(tmp_path, kills=10, count=1200, concurrency=16)


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


def test_two_runs_on_one_ledger_both_finish(tmp_path: Path) -> None:
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
    assert pq.read_table(tmp_path / "out.parquet").equals(expected)
    assert pq.read_table(tmp_path / "second.parquet").equals(expected)


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
