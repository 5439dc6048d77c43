"""`pairmine generate` and `score --recipe` as a shell sees them: output, counts, errors, money."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LLMServer

COMMAND = [sys.executable, "-c", "from pairmine.cli.main import main; main()"]
KEY = "sk-marked-4242424242"


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, as a shell would: its words, its folder, its environment."""
    from pairmine.cli.main import main

    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PAIRMINE_LEDGER"):
        monkeypatch.delenv(name, raising=False)

    def run(folder: Path, *words: str, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["pairmine", *words])
            for name, value in environment.items():
                patch.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as left:
                main()
        said = capsys.readouterr()
        return Done(int(left.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    topics = ["lime kilns", "tide mills", "rope walks", "salt pans", "ice houses", "signal towers"]
    rows = [
        {"id": topic.replace(" ", "-"), "text": f"The {topic} of the coast were built by hand. Most are ruins now."}
        for topic in topics
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def answer(body: dict[str, Any]) -> str:
    topic = next(word for word in body["messages"][-1]["content"].split() if word in "lime tide rope salt ice signal")
    query = {"query": f"who made the old {topic} works by the sea and why did they decay"}
    return json.dumps({**query, "hard_negative": f"Trade in {topic} goods paid for new harbours further inland."})


@pytest.fixture
def generate(run: Run) -> Run:
    def generate(folder: Path, *more: str, recipe: str = "queries", **environment: str) -> Done:
        return run(folder, "generate", recipe, "corpus.jsonl", *more, **environment)

    return generate


def test_the_stand_in_writes_pairs_that_say_so(folder: Path, generate: Run) -> None:
    done = generate(folder, "--llm", "fake:", "-o", "out.parquet")
    assert done.returncode == 0, done.stderr
    origins = set(pq.read_table(folder / "out.parquet")["origin"].to_pylist())
    assert origins == {"generate:queries/positive/fake", "generate:queries/negative/fake"}
    assert "pairs planned in  12" in done.stderr


def test_the_same_run_again_asks_nobody_and_gives_the_same_bytes(folder: Path, generate: Run) -> None:
    with LLMServer(answer) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "-o"]
        assert generate(folder, *words, "one.parquet").returncode == 0
        done = generate(folder, *words, "two.parquet")
        assert server.requests == 6
    assert "6 replies from the ledger, paid for before" in done.stderr
    assert (folder / "one.parquet").read_bytes() == (folder / "two.parquet").read_bytes()


def test_offline_writes_what_the_ledger_has_and_counts_the_rest(folder: Path, generate: Run) -> None:
    with LLMServer(answer) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url]
        assert generate(folder, *words, "--limit", "4", "-o", "some.parquet").returncode == 0
    done = generate(folder, "--llm", "openai:test-model", "--offline", "-o", "all.parquet")
    assert done.returncode == 1
    assert "failed: not in the ledger  -4" in done.stderr
    assert "4 of 12 pairs got no reply, more than --max-failed 0.01" in done.stderr
    assert pq.read_table(folder / "all.parquet").num_rows == 8
    more = ["--llm", "openai:test-model", "--offline", "--max-failed", "0.5", "-o", "all.parquet"]
    assert generate(folder, *more).returncode == 0


def test_a_dry_run_prices_the_calls_shows_the_prompt_and_makes_none(folder: Path, generate: Run) -> None:
    with LLMServer(answer) as server:
        words = [
            "--llm",
            "openai:test-model",
            "--base-url",
            server.base_url,
            "--price",
            "1,2",
            "--summary",
            "cost.json",
        ]
        done = generate(folder, *words, "--dry-run")
        assert server.requests == 0
    assert done.returncode == 0, done.stderr
    assert "The lime kilns of the coast" in done.stdout
    cost = json.loads((folder / "cost.json").read_text())
    assert (cost["calls"], cost["rows"]) == (6, 6)
    low, high = cost["usd"]
    assert 0 < low < high < 6 * (2000 * 1 + 600 * 2) / 1e6
    assert not (folder / ".pairmine").exists()


def test_a_probe_makes_few_calls_and_narrows_the_estimate(folder: Path, generate: Run) -> None:
    with LLMServer(answer) as server:
        words = [
            "--llm",
            "openai:test-model",
            "--base-url",
            server.base_url,
            "--price",
            "1,2",
            "--summary",
            "cost.json",
        ]
        done = generate(folder, *words, "--dry-run", "--probe", "3")
        assert done.returncode == 0, done.stderr
        assert server.requests == 3
        cost = json.loads((folder / "cost.json").read_text())
        assert (cost["calls"], cost["replayed"]) == (3, 3)
        _, high = cost["completion_tokens"]
        assert high < 3 * 60
        assert generate(folder, *words[:4], "-o", "out.parquet").returncode == 0
        assert server.requests == 6


def test_a_spent_budget_exits_3_keeps_the_replies_and_goes_on(folder: Path, generate: Run) -> None:
    with LLMServer(answer) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "--concurrency", "1", "-o", "out.parquet"]
        stopped = generate(folder, *words, "--max-tokens", "1500")
        assert stopped.returncode == 3
        assert "of --max-tokens 1,500 on" in stopped.stderr
        assert "run the same command again to continue" in stopped.stderr
        assert not (folder / "out.parquet").exists()
        assert 0 < server.requests < 6
        assert generate(folder, *words).returncode == 0
        assert server.requests == 6


def test_the_key_is_in_no_output_and_no_error(folder: Path, generate: Run) -> None:
    with LLMServer(answer, key=KEY) as server:
        words = [
            "--llm",
            "openai:test-model",
            "--base-url",
            server.base_url,
            "--summary",
            "s.json",
            "-o",
            "out.parquet",
        ]
        done = generate(folder, *words, OPENAI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        wrong = generate(folder, *words, "--ledger", "new.sqlite", OPENAI_API_KEY=f"{KEY}-wrong")
        assert wrong.returncode == 3
        assert wrong.stderr.count("\n") <= 2
    assert KEY not in done.stderr + wrong.stderr
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_rejects_hold_the_reply_and_the_reason(folder: Path, generate: Run) -> None:
    with LLMServer(lambda body: "I'm sorry, but I can't help with that.") as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "--limit", "1"]
        done = generate(folder, *words, "-o", "out.parquet", "--rejects", "rejects.jsonl")
        assert server.requests == 2
    assert done.returncode == 1
    assert "no pairs came out; 2 of 2 rejected: refusal" in done.stderr
    rows = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    assert [(row["id"], row["role"], row["reason"]) for row in rows] == [
        ("lime-kilns", "positive", "refusal"),
        ("lime-kilns", "negative", "refusal"),
    ]
    assert rows[0]["reply"].startswith("I'm sorry")


def test_a_recipe_of_ones_own_runs_from_its_file(folder: Path, run: Run) -> None:
    (folder / "my.yaml").write_text(
        "name: titles\nsummary: A title.\npaper: ours\nreads: documents\n"
        'steps:\n  write:\n    prompt: "Give a title to: {{ row.text }}"\n'
        'emits:\n  title:\n    query: "{{ reply.text }}"\n    document: "{{ row.text }}"\n    label: 1\n'
        "example: pairmine generate --recipe my.yaml corpus.jsonl -o titles.parquet\n"
    )
    done = run(folder, "generate", "--recipe", "my.yaml", "corpus.jsonl", "--llm", "fake:", "-o", "out.parquet")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "out.parquet").num_rows == 6
    assert "generate corpus.jsonl --llm fake: --recipe my.yaml" in run(folder, "info", "out.parquet").stdout


def test_info_prints_a_command_that_writes_the_same_bytes(folder: Path, generate: Run, run: Run) -> None:
    assert generate(folder, "--llm", "fake:", "--samples", "2", "-o", "one.parquet").returncode == 0
    line = run(folder, "info", "one.parquet").stdout.strip().splitlines()[-1]
    assert run(folder, *line.removeprefix("pairmine ").split()).returncode == 0
    assert (folder / "one.parquet").read_bytes() == (folder / "out.parquet").read_bytes()


def test_drawn_attributes_can_be_narrowed(folder: Path, generate: Run) -> None:
    narrowed = ["--draw", "form=question", "--draw", "language=Basque", "-o", "out.jsonl", "--llm", "fake:"]
    assert generate(folder, *narrowed, "--max-failed", "1").returncode in (0, 1)
    wrong = generate(folder, "--draw", "form=sonnet", "--llm", "fake:", "-o", "out.jsonl")
    assert wrong.returncode == 2
    assert "question" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--llm", "gpt-4o"], "--llm gpt-4o: no such kind of model; did you mean openai:gpt-4o?"),
        (["--llm", "openai:"], "--llm openai:: name a model after the colon, as in openai:gpt-5-mini"),
        (["--llm", "fake:", "--rpm", "5"], "--rpm has no effect with --llm fake:"),
        (["--llm", "fake:", "--vllm-arg", "a=1"], "--vllm-arg has no effect with --llm fake:"),
        (["--llm", "fake:", "--set", "nonsense=1"], "nonsense"),
        (["--llm", "fake:", "--probe", "3"], "--probe has no effect without --dry-run"),
        (["--llm", "openai:x", "--max-usd", "1"], "--max-usd: no price known for openai:x; add --price IN,OUT"),
        (["--llm", "openai:gpt-5-mini"], "no key for api.openai.com: set OPENAI_API_KEY"),
        (["--llm", "openai:x", "--price", "cheap"], "--price 'cheap': not IN,OUT"),
        (["--llm", "openai:x", "--batch", "--batch-files", "d"], "--batch and --batch-files are two ways of sending"),
        (["--llm", "fake:", "--text-column", "nope"], 'corpus.jsonl:1: no column "nope" for --text-column'),
        (["--llm", "fake:", "--query-column", "nope"], "recipe queries reads id, text, title, no query"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder: Path, words: list[str], line: str, generate: Run) -> None:
    done = generate(folder, *words, "-o", "out.parquet")
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("pairmine: ")
    assert "Traceback" not in done.stderr
    assert not (folder / "out.parquet").exists()


def test_a_recipe_that_judges_is_sent_to_score(folder: Path, generate: Run) -> None:
    done = generate(folder, "--llm", "fake:", "-o", "out.parquet", recipe="judge")
    assert done.returncode == 2
    assert "run 'pairmine score PAIRS --scorer fake: --recipe judge'" in done.stderr


def test_a_judge_fills_score_llm_with_verdicts_from_0_to_1(folder: Path, generate: Run, run: Run) -> None:
    assert generate(folder, "--llm", "fake:", "-o", "pairs.parquet").returncode == 0
    verdicts = iter(["4.5", "0", "5", "nonsense", "2"] * 20)
    by_prompt: dict[str, str] = {}

    def judge(body: dict[str, Any]) -> str:
        verdict = by_prompt.setdefault(body["messages"][-1]["content"], next(verdicts))
        return (
            json.dumps({"reason": "Because of what they say.", "score": float(verdict)})
            if verdict[0] in "0245"
            else verdict
        )

    with LLMServer(judge) as server:
        words = [
            "--scorer",
            "openai:test-model",
            "--recipe",
            "judge",
            "--base-url",
            server.base_url,
            "-o",
            "out.parquet",
        ]
        done = run(folder, "score", "pairs.parquet", *words)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(folder / "out.parquet")
    assert table.schema.field("score_llm").metadata == {b"scale": b"similarity"}
    scores = table["score_llm"].to_pylist()
    assert {round(score, 3) for score in scores if score is not None} <= {0.9, 0.0, 1.0, 0.4}
    assert 1 <= scores.count(None) <= 3
    assert "rows without a score" in done.stderr
    assert "no score for" in done.stderr


def test_a_judge_takes_no_options_of_other_scorers_nor_they_its(folder: Path, generate: Run, run: Run) -> None:
    assert generate(folder, "--llm", "fake:", "-o", "pairs.parquet").returncode == 0
    words = ["score", "pairs.parquet", "-o", "out.parquet", "--scorer"]
    assert "--device has no effect" in run(folder, *words, "openai:x", "--device", "cpu").stderr
    assert "--rpm has no effect" in run(folder, *words, "st:all-MiniLM-L6-v2", "--rpm", "3").stderr
    assert "--recipe has no effect" in run(folder, *words, "st:all-MiniLM-L6-v2", "--recipe", "judge").stderr
    wrong = run(folder, *words, "fake:", "--recipe", "queries")
    assert "recipe queries writes pairs and gives no score; run 'pairmine generate queries" in wrong.stderr


def test_rows_come_through_a_pipe(folder: Path) -> None:
    corpus = (folder / "corpus.jsonl").read_bytes()
    words = [*COMMAND, "generate", "queries", "-", "--llm", "fake:", "-o", "-", "--format", "jsonl"]
    done = subprocess.run(words, cwd=folder, input=corpus, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 12


def test_batch_files_are_written_run_elsewhere_and_read_back_as_the_same_rows(folder: Path, generate: Run) -> None:
    with LLMServer(answer) as server:
        online = ["--llm", "openai:test-model", "--base-url", server.base_url, "--ledger", "online.sqlite"]
        assert generate(folder, *online, "-o", "online.parquet").returncode == 0
    words = ["--llm", "openai:test-model", "--batch-files", "exchange", "-o", "out.parquet"]
    first = generate(folder, *words)
    assert first.returncode == 3
    assert "6 requests are in exchange/requests-00001.jsonl: run it, e.g. python -m vllm" in first.stderr
    assert not (folder / "out.parquet").exists()
    requests = [json.loads(line) for line in (folder / "exchange/requests-00001.jsonl").read_text().splitlines()]
    assert len(requests) == 6
    with (folder / "exchange/results.jsonl").open("w") as results:
        for request in requests:
            message = {"role": "assistant", "content": answer(request["body"])}
            body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}}
            line = {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
            results.write(json.dumps(line) + "\n")
    assert generate(folder, *words).returncode == 0
    assert pq.read_table(folder / "out.parquet").equals(pq.read_table(folder / "online.parquet"))
    assert generate(folder, *words[:2], "--offline", "-o", "again.parquet").returncode == 0


def test_the_batch_api_gives_the_rows_of_online_calls_in_one_batch(
    folder: Path, generate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functools import partial

    from batch_server import BatchServer

    from pairmine.backends import openai_batch

    with LLMServer(answer) as server:
        online = ["--llm", "openai:test-model", "--base-url", server.base_url, "--ledger", "online.sqlite"]
        assert generate(folder, *online, "-o", "online.parquet").returncode == 0
    monkeypatch.setattr(openai_batch, "open_batch", partial(openai_batch.open_batch, poll_s=0.01))
    with BatchServer(answer) as service:
        done = generate(
            folder, "--llm", "openai:test-model", "--base-url", service.base_url, "--batch", "-o", "b.parquet"
        )
        assert done.returncode == 0, done.stderr
        assert len(service.batches) == 1
    assert pq.read_table(folder / "b.parquet").equals(pq.read_table(folder / "online.parquet"))


def test_batch_files_take_parts_and_rounds_in_one_exchange_each(folder: Path, fanned: Run) -> None:
    with LLMServer(fan) as server:
        assert fanned(folder, "--base-url", server.base_url, "--ledger", "l.db", "-o", "online.parquet").returncode == 0
    words = ["--batch-files", "exchange", "-o", "out.parquet"]
    counts = []
    for number in range(1, 6):
        done = fanned(folder, *words)
        if done.returncode == 0:
            break
        assert done.returncode == 3, done.stderr
        requests = (folder / "exchange/requests-00001.jsonl").read_text().splitlines()
        counts.append(len(requests))
        with (folder / f"exchange/results-{number}.jsonl").open("w") as results:
            for request in map(json.loads, requests):
                message = {"role": "assistant", "content": fan(request["body"])}
                body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}}
                response = {"status_code": 200, "body": body}
                results.write(
                    json.dumps({"custom_id": request["custom_id"], "response": response, "error": None}) + "\n"
                )
    assert counts == [6, 24, 24, 24]
    assert pq.read_table(folder / "out.parquet").equals(pq.read_table(folder / "online.parquet"))


@pytest.mark.parametrize("flag", ["-o", "--rejects", "--summary"])
def test_no_output_takes_the_place_of_the_ledger(folder: Path, generate: Run, flag: str) -> None:
    assert generate(folder, "--llm", "fake:", "--ledger", "kept.jsonl", "-o", "out.parquet").returncode == 0
    kept = (folder / "kept.jsonl").read_bytes()
    words = ["--llm", "fake:", "--ledger", "kept.jsonl", "--format", "jsonl", "-o", "other.jsonl"]
    done = generate(folder, *words, flag, "kept.jsonl") if flag != "-o" else generate(folder, *words[:-1], "kept.jsonl")
    assert done.returncode == 2
    assert f"{flag} kept.jsonl: is the ledger and would be lost" in done.stderr
    assert (folder / "kept.jsonl").read_bytes() == kept


def test_no_output_takes_the_place_of_the_recipe_or_the_key(folder: Path, run: Run) -> None:
    (folder / "my.yaml").write_text(NOTHING)
    words = ["generate", "--recipe", "my.yaml", "--llm", "fake:", "--format", "jsonl", "-o", "my.yaml"]
    assert "-o my.yaml: is the recipe and would be lost" in run(folder, *words).stderr
    (folder / "key").write_text(KEY)
    words = ["generate", "queries", "corpus.jsonl", "--llm", "openai:x", "--api-key-file", "key"]
    assert "is the file with the key and would be lost" in run(folder, *words, "--summary", "key", "-o", "o.csv").stderr


NOTHING = """
name: thoughts
summary: A sentence and another one.
reads: nothing
steps:
  write:
    system: |
      Reply with JSON: {"one": "...", "other": "..."}
    prompt: Write two sentences on the sea and its boats, nets, tides, gulls, ropes and harbours.
    schema:
      type: object
      properties: {one: {type: string}, other: {type: string}}
emits:
  pair: {query: "{{ reply.one }}", document: "{{ reply.other }}", label: 1}
"""


def test_a_recipe_that_reads_nothing_needs_no_input(folder: Path, run: Run) -> None:
    (folder / "nothing.yaml").write_text(NOTHING)
    words = ["generate", "--recipe", "nothing.yaml", "--llm", "fake:", "--samples", "5", "-o", "out.parquet"]
    done = run(folder, *words)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "out.parquet")["sample"].to_pylist() == [0, 1, 2, 3, 4]
    assert "pairs planned in  5" in done.stderr
    assert "reads nothing; leave corpus.jsonl out" in run(folder, *words, "corpus.jsonl").stderr


def test_without_a_recipe_one_is_asked_for(folder: Path, run: Run) -> None:
    done = run(folder, "generate", "--llm", "fake:", "-o", "out.parquet")
    assert done.returncode == 2
    assert "no RECIPE; name one" in done.stderr


def test_a_blank_document_is_rejected_before_a_call(folder: Path, generate: Run) -> None:
    rows = [{"id": "1", "text": "The lime kilns of the coast."}, {"id": "2", "text": "   "}, {"id": "3", "text": ""}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with LLMServer(answer) as server:
        done = generate(folder, "--llm", "openai:test-model", "--base-url", server.base_url, "-o", "out.parquet")
        assert server.requests == 1
    assert "rejected: no text  -4" in done.stderr
    assert pq.read_table(folder / "out.parquet").num_rows == 2


def test_a_probe_counts_invalid_replies_into_the_estimate(folder: Path, generate: Run) -> None:
    def half_bad(body: dict[str, Any]) -> str:
        return (
            "nonsense"
            if any(word in body["messages"][-1]["content"] for word in ("lime", "tide", "rope"))
            else answer(body)
        )

    with LLMServer(half_bad) as server:
        words = [
            "--llm",
            "openai:test-model",
            "--base-url",
            server.base_url,
            "--price",
            "1,2",
            "--summary",
            "cost.json",
        ]
        done = generate(folder, *words, "--dry-run", "--probe", "6", "--samples", "2")
    assert done.returncode == 0, done.stderr
    invalid = int(done.stdout.partition(" replies invalid")[0].rpartition(", ")[2])
    assert 1 <= invalid <= 5
    assert json.loads((folder / "cost.json").read_text())["calls"] == round(6 * (1 + invalid / 6) + invalid)


def test_a_probe_without_any_reply_says_so(folder: Path, generate: Run) -> None:
    from llm_server import error

    with LLMServer(answer, plan=lambda body, prompt, before: error(400, "no such template")) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "--dry-run", "--probe", "3"]
        done = generate(folder, *words)
    assert done.returncode == 3
    assert "none of the 3 samples of the probe got a reply" in done.stderr


def test_a_batch_is_priced_as_a_batch_and_the_estimate_shows_both(folder: Path, generate: Run) -> None:
    def cost(*more: str) -> dict[str, Any]:
        words = ["--llm", "openai:gpt-5-mini", "--dry-run", "--summary", "cost.json", *more]
        assert generate(folder, *words, OPENAI_API_KEY=KEY).returncode == 0
        return json.loads((folder / "cost.json").read_text())

    assert cost() == cost("--batch")
    assert cost()["batch_usd"][1] < cost()["usd"][1]


def test_a_pair_set_may_have_several_rows_of_a_query(folder: Path, run: Run) -> None:
    (folder / "pairs.yaml").write_text(
        "name: again\nsummary: A document in other words.\nreads: pairs\n"
        'steps:\n  write:\n    prompt: "In other words: {{ row.document }}"\n'
        'emits:\n  copy: {query: "{{ row.query }}", document: "{{ reply.text }}", label: 1}\n'
    )
    rows = [
        {"query": "old towers", "document": f"A passage on tower {number}, its bells and its stairs."}
        for number in range(4)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(folder, "generate", "--recipe", "pairs.yaml", "pairs.jsonl", "--llm", "fake:", "-o", "out.parquet")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "out.parquet").num_rows == 4


def test_rejects_tell_what_the_model_wrote(folder: Path, generate: Run) -> None:
    same = json.dumps(
        {"query": "who built the old works by the sea", "hard_negative": "Trade paid for new harbours inland."}
    )
    with LLMServer(lambda body: same) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "-o", "o.jsonl", "--rejects", "r.jsonl"]
        assert generate(folder, *words).returncode == 0
    rows = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert {row["reply"] for row in rows} == {same}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--request-arg", "api_key=sk-1"], "--request-arg api_key: a key has no place on a command line"),
        (["--request-arg", "user=\udcff"], "--request-arg user: its value is no text in UTF-8"),
        (["--dry-run", "--rejects", "r.csv"], "--rejects has no effect with --dry-run"),
    ],
)
def test_more_mistakes(folder: Path, generate: Run, words: list[str], line: str) -> None:
    done = generate(folder, "--llm", "fake:", *words, *([] if "--dry-run" in words else ["-o", "out.parquet"]))
    assert done.returncode == 2
    assert line in done.stderr


FANNED = """
name: fanned
summary: Searches about a text, each with a passage that is rewritten.
reads: documents
options:
  turns: {default: 3, meaning: how often a passage is rewritten}
  searches: {default: 8, meaning: how many searches are asked for}
expand: {step: searches, each: reply.searches}
steps:
  searches:
    prompt: "JSON with {{ options.searches }} searches about: {{ row.text }}"
    schema: {properties: {searches: {type: array, items: {type: string}}}}
  passage:
    rounds: options.turns
    prompt: "Round {{ round }}. Answer the search {{ part }}"
emits:
  pair:
    step: passage
    each: reply.rounds
    query: "{{ part }}"
    document: "{{ each.text }}"
    label: "{{ 1 if index == 0 else '' }}"
    when: {test: index != 1, reason: the second round}
    columns: {title_of: "{{ row.title }}"}
    numbers: {score_round: "{{ 1 / (index + 1) }}"}
"""


def fan(body: dict[str, Any]) -> str:
    """Four searches about the text, or a passage that answers one."""
    prompt = body["messages"][-1]["content"]
    if prompt.startswith("JSON"):
        topic = next(word for word in prompt.split() if word in "lime tide rope salt ice signal")
        return json.dumps({"searches": [f"{verb} the {topic} works" for verb in ("paint", "find", "mend", "sell")]})
    return f"Ask at the harbour office, desk {len(prompt) % 7}, {prompt.split('. ')[0].lower()}."


@pytest.fixture
def fanned(folder: Path, run: Run) -> Run:
    (folder / "fanned.yaml").write_text(FANNED)

    def fanned(folder: Path, *words: str) -> Done:
        return run(folder, "generate", "--recipe", "fanned.yaml", "corpus.jsonl", "--llm", "openai:test-model", *words)

    return fanned


def test_rows_of_parts_and_rounds_reach_the_file_and_every_one_is_counted(folder: Path, fanned: Run, run: Run) -> None:
    with LLMServer(fan) as server:
        words = [
            "--base-url",
            server.base_url,
            "--rejects",
            "rejects.jsonl",
            "--summary",
            "s.json",
            "-o",
            "out.parquet",
        ]
        done = fanned(folder, *words)
        assert server.requests == 6 * (1 + 4 * 3)
    assert done.returncode == 0, done.stderr
    counts = json.loads((folder / "s.json").read_text())
    assert (counts["rows_in"], counts["added"], counts["rows_out"]) == (24, 48, 48)
    assert counts["rejected"] == {"pair: the second round": 24}
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    assert [(row["query"], row["label"], round(row["score_round"], 2)) for row in rows[:4]] == [
        ("paint the lime works", 1, 1.0),
        ("paint the lime works", None, 0.33),
        ("find the lime works", 1, 1.0),
        ("find the lime works", None, 0.33),
    ]
    first = json.loads((folder / "rejects.jsonl").read_text().splitlines()[0])
    assert (first["id"], first["part"], first["step"]) == ("lime-kilns", "paint the lime works", "passage")
    assert "score_round        float, probability" in run(folder, "info", "out.parquet").stdout


def test_samples_whose_parts_never_came_count_as_failed_however_many_rows_the_others_have(
    folder: Path, fanned: Run
) -> None:
    from llm_server import error

    def plan(body: dict[str, Any], prompt: str, before: int) -> Any:
        return error(400, "too long") if prompt.startswith("JSON") and "The ice" in prompt else None

    with LLMServer(fan, plan=plan) as server:
        words = ["--base-url", server.base_url, "-o", "out.parquet", "--max-failed", "0.1"]
        done = fanned(folder, *words)
        assert done.returncode == 1
        said = "1 of 6 samples got no reply that tells their parts, more than --max-failed 0.1; the output is written"
        assert said in done.stderr
        assert pq.read_table(folder / "out.parquet").num_rows == 40
        assert fanned(folder, *words[:-1], "0.2").returncode == 0


def test_a_dry_run_reckons_with_the_parts_that_the_recipe_asks_for(folder: Path, fanned: Run) -> None:
    words = ["--dry-run", "--price", "1,2", "--summary", "cost.json"]
    done = fanned(folder, *words)
    assert done.returncode == 0, done.stderr
    assert "8 a reply of searches, by options.searches; --probe tells better" in done.stdout
    assert "JSON with 8 searches about" in done.stdout
    assert "Round 1. Answer the search" in done.stdout
    cost = json.loads((folder / "cost.json").read_text())
    assert (cost["rows"], cost["calls"], cost["parts"]) == (6, 6 * (1 + 8 * 3), [8, 8])
    more = fanned(folder, *words, "--set", "turns=5", "--set", "searches=2")
    assert more.returncode == 0, more.stderr
    assert json.loads((folder / "cost.json").read_text())["calls"] == 6 * (1 + 2 * 5)


def test_a_probe_learns_how_many_parts_there_are(folder: Path, fanned: Run) -> None:
    with LLMServer(fan) as server:
        words = ["--base-url", server.base_url, "--price", "1,2", "--summary", "cost.json"]
        done = fanned(folder, *words, "--dry-run", "--probe", "2")
        assert done.returncode == 0, done.stderr
        assert server.requests == 2 * (1 + 4 * 3)
        assert "4 to 4 a reply of searches, from 2 real ones" in done.stdout
        cost = json.loads((folder / "cost.json").read_text())
        assert (cost["calls"], cost["replayed"]) == (4 * (1 + 4 * 3), 26)
        low, high = cost["completion_tokens"]
        assert fanned(folder, *words[:2], "--summary", "run.json", "-o", "out.parquet").returncode == 0
    spent = json.loads((folder / "run.json").read_text())["asked"]
    assert spent["calls"] == cost["calls"]
    assert low <= spent["completion_tokens"] <= high


def test_an_uncertain_number_of_parts_widens_the_estimate(folder: Path, fanned: Run) -> None:
    def uneven(body: dict[str, Any]) -> str:
        reply = fan(body)
        found = json.loads(reply) if reply.startswith("{") else None
        return json.dumps({"searches": found["searches"][: random.Random(reply).randint(1, 4)]}) if found else reply

    with LLMServer(uneven) as server:
        words = ["--base-url", server.base_url, "--dry-run", "--summary", "cost.json", "--probe", "4"]
        done = fanned(folder, *words)
    assert done.returncode == 0, done.stderr
    cost = json.loads((folder / "cost.json").read_text())
    low, high = cost["parts"]
    assert 0 <= low < high
    prompts = cost["prompt_tokens"]
    assert prompts[0] < prompts[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "turns=0"], "--set turns=0: the rounds of step passage are from 1 to 200"),
        (["--set", "turns=many"], "--set turns=many: give a whole number"),
        (["--bad-shots", "3"], "--bad-shots has no effect without --bad-examples; leave one of them out"),
        (["--bad-examples", "gone.jsonl"], "gone.jsonl"),
        (
            ["--bad-examples", "-"],
            "--bad-examples -: a pipe is read once, and this is read beside the input; name a file",
        ),
        (
            ["--bad-examples", "corpus.jsonl"],
            "--bad-examples corpus.jsonl: no row has both a reply and a reason to learn",
        ),
    ],
)
def test_mistakes_about_parts_and_bad_examples_are_one_line(
    folder: Path, words: list[str], line: str, fanned: Run
) -> None:
    done = fanned(folder, *words, "--base-url", "http://127.0.0.1:9/v1", "-o", "out.parquet")
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "out.parquet").exists()


def test_rejects_of_one_run_are_the_bad_examples_of_the_next(folder: Path, generate: Run, run: Run) -> None:
    def sloppy(body: dict[str, Any]) -> str:
        warning, _, prompt = body["messages"][-1]["content"].rpartition("What you are to answer now:")
        is_bad = "The lime" in prompt and not warning
        return "I would rather not." if is_bad else answer({"messages": [{"content": prompt}]})

    with LLMServer(sloppy) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url]
        first = generate(folder, *words, "-o", "one.parquet", "--rejects", "rejects.jsonl")
        assert first.returncode == 0, first.stderr
        assert pq.read_table(folder / "one.parquet").num_rows == 10
        more = ["--bad-examples", "rejects.jsonl", "--bad-shots", "1"]
        second = generate(folder, *words, *more, "-o", "two.parquet")
        assert second.returncode == 0, second.stderr
        dry = generate(folder, *words[:2], *more, "--dry-run", "--samples", "2")
    assert pq.read_table(folder / "two.parquet").num_rows == 12
    assert "Bad reply: I would rather not.\nWhat is wrong with it: no JSON" in dry.stdout
    info = run(folder, "info", "two.parquet").stdout
    assert "# rejects.jsonl: 2 rows, sha256" in info
    assert "--bad-examples rejects.jsonl" in info.splitlines()[-1]
    assert "--bad-shots 1" in info.splitlines()[-1]
    lost = generate(folder, *words, *more, "-o", "rejects.jsonl")
    assert lost.returncode == 2
    assert "-o rejects.jsonl: is an input too and would be lost" in lost.stderr


PASSAGES = """
name: passages
summary: Which of several passages answers the query.
reads: rows
inputs:
  query: {meaning: the query}
  passages: {meaning: texts}
steps:
  judge:
    prompt: |
      JSON: {{ row.query }}
      {% for each in row.passages %}
      {{ loop.index }}. {{ each }}
      {% endfor %}
    schema: {properties: {best: {type: integer, minimum: 1, maximum: 2}}}
emits:
  passage:
    each: row.passages
    query: "{{ row.query }}"
    document: "{{ each }}"
    label: "{{ 1 if index + 1 == reply.best else 0 }}"
"""


@pytest.mark.parametrize("way", ["jsonl", "parquet", "pipe"])
def test_lists_of_a_file_are_lists_in_templates(folder: Path, way: str) -> None:
    (folder / "passages.yaml").write_text(PASSAGES)
    rows = [
        {"query": "who?", "passages": ["Ann sang.", "Bob wept."]},
        {"query": "いつ？", "passages": ["正午に。", "夜に。"]},
        {"query": "why?", "passages": []},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines)
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    source = "-" if way == "pipe" else f"rows.{way}"
    words = [*COMMAND, "generate", "--recipe", "passages.yaml", source, "--llm", "fake:", "-o", "out.parquet"]
    done = subprocess.run(words, cwd=folder, input=lines, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = pq.read_table(folder / "out.parquet").to_pylist()
    assert [(row["query"], row["document"]) for row in found] == [
        ("who?", "Ann sang."),
        ("who?", "Bob wept."),
        ("いつ？", "正午に。"),
        ("いつ？", "夜に。"),
    ]
    assert [row["label"] for row in found].count(1) == 2
    assert "rejected: no passages  -1" in done.stderr


def test_a_recipe_page_shows_parts_rounds_and_further_columns(folder: Path, run: Run) -> None:
    (folder / "fanned.yaml").write_text(FANNED)
    page = run(folder, "recipes", "fanned.yaml").stdout
    assert "expands the reply of step searches: other steps are asked, and rows made, for each part" in page
    assert "step passage, asked options.turns times in a row" in page
    assert "emits pair (label by the reply, from step passage)" in page
    for line in (
        "when           index != 1",
        "else           the second round",
        "score_round    {{ 1 / (index + 1) }}",
    ):
        assert line in page
    body = json.loads(run(folder, "recipes", "fanned.yaml", "--json").stdout)
    found = body[0] if isinstance(body, list) else body
    assert found["expand"] == {"step": "searches", "each": "reply.searches"}
    assert found["steps"][1]["rounds"] == "options.turns"
    assert found["emits"][0]["numbers"] == {"score_round": "{{ 1 / (index + 1) }}"}


# Groups, and what is asked of some rows only ------------------------------------------------------

PICKED = """
name: picked
summary: Which of a query's documents answers it.
reads: groups
options:
  most: {default: 2, meaning: how many documents are read, low: 1, high: 50}
  explain: {default: false, meaning: whether it says why}
groups: {most: options.most}
only:
  test: row.candidates | length > 1
  reason: one document alone
steps:
  pick:
    prompt: "Which? {{ row.query }}{% for each in row.candidates %} ({{ each.text }}){% endfor %}"
  why:
    only: options.explain
    prompt: "Why? {{ replies.pick.text }}"
emits:
  best: {step: pick, query: "{{ row.query }}", candidate: "row.candidates[reply.text | number]", label: 1}
  reason: {step: why, query: "{{ row.query }}", document: "{{ reply.text }}", label: 1}
"""


@pytest.fixture
def mined(folder: Path) -> Path:
    (folder / "picked.yaml").write_text(PICKED)
    documents = {"lime": 3, "alone": 1, "salt": 2}
    rows = [
        {"query_id": f"q-{query}", "query": query, "doc_id": f"{query}-{at}", "document": f"{query} text {at}"}
        for query, count in documents.items()
        for at in range(count)
    ]
    (folder / "mined.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def picks(body: dict[str, Any]) -> str:
    prompt = body["messages"][-1]["content"]
    return "number 1" if prompt.startswith("Which?") else "It says so in plain words."


def test_a_mined_pair_set_is_read_by_query_and_its_documents_keep_their_ids(mined: Path, run: Run) -> None:
    with LLMServer(picks) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "-o", "out.jsonl", "--summary", "s.json"]
        done = run(mined, "generate", "--recipe", "picked.yaml", "mined.jsonl", *words, OPENAI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert server.requests == 2
    rows = [json.loads(line) for line in (mined / "out.jsonl").read_text().splitlines()]
    assert [(row["query_id"], row["doc_id"], row["document"]) for row in rows] == [
        ("q-lime", "lime-1", "lime text 1"),
        ("q-salt", "salt-1", "salt text 1"),
    ]
    counts = json.loads((mined / "s.json").read_text())
    assert (counts["rows_in"], counts["rows_out"]) == (3, 2)
    assert counts["rejected"] == {"one document alone": 1}


def test_a_limit_counts_queries_and_a_dry_run_only_the_steps_that_are_asked(mined: Path, run: Run) -> None:
    words = ["generate", "--recipe", "picked.yaml", "mined.jsonl", "--llm", "fake:", "--summary", "s.json", "--dry-run"]
    for more, samples, calls in (([], 3, 2), (["--set", "explain=true"], 3, 4), (["--limit", "2"], 2, 1)):
        done = run(mined, *words, *more)
        assert done.returncode == 0, done.stderr
        summary = json.loads((mined / "s.json").read_text())
        assert (summary["rows"], summary["calls"]) == (samples, calls), more


def test_rows_of_a_query_that_stand_apart_are_told_before_a_call(mined: Path, run: Run) -> None:
    lines = (mined / "mined.jsonl").read_text().splitlines()
    (mined / "mined.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    done = run(mined, "generate", "--recipe", "picked.yaml", "mined.jsonl", "--llm", "fake:", "-o", "out.jsonl")
    assert done.returncode == 2
    assert "rows of query \"q-lime\" stand apart; run 'pairmine convert' on it first" in done.stderr


def test_what_is_mined_goes_through_a_pipe_into_relabel(folder: Path) -> None:
    rows = [
        {"query_id": str(at), "query": f"who built the {t} works", "doc_id": f"{t} works"}
        for at, t in enumerate(("lime", "tide", "rope"))
    ]
    texts = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    for row, text in zip(rows, texts, strict=False):
        row |= {"doc_id": text["id"], "document": text["text"]}
    (folder / "pairs.jsonl").write_text("".join(json.dumps({**row, "label": 1}) + "\n" for row in rows))
    pm = "from pairmine.cli.main import main; main()"
    mine = [
        sys.executable,
        "-c",
        pm,
        "mine",
        "pairs.jsonl",
        "--corpus",
        "corpus.jsonl",
        "--retriever",
        "bm25",
        "-o",
        "-",
    ]
    relabel = [
        sys.executable,
        "-c",
        pm,
        "generate",
        "relabel",
        "-",
        "--llm",
        "fake:",
        "-o",
        "out.jsonl",
        "--ledger",
        "l",
    ]
    found = subprocess.run(mine, cwd=folder, capture_output=True, check=True).stdout
    options = ["--set", "positive_from=0", "--set", "negative_to=5"]
    done = subprocess.run([*relabel, *options], cwd=folder, input=found, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert {row["query_id"] for row in out} == {"0", "1", "2"}
    assert {row["doc_id"] for row in out} <= {text["id"] for text in texts}
    assert "score_bm25" in out[0]


def test_a_flat_table_is_a_record_for_each_row_and_the_columns_are_told(folder: Path, run: Run) -> None:
    (folder / "houses.csv").write_text("id,city,rooms\n1,Köln,4\n2,Ghent,3\n")
    done = run(folder, "generate", "describe-record", "houses.csv", "--llm", "fake:", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "houses.csv: record from city, rooms" in done.stderr
    assert "<record>\ncity: Köln\nrooms: 4\n</record>" in done.stdout


def test_where_more_is_refused_than_was_planned_the_message_counts_all_of_it(folder: Path, run: Run) -> None:
    (folder / "fanned.yaml").write_text(FANNED.replace("index != 1", "index > 5"))
    with LLMServer(fan) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "--limit", "1", "-o", "out.jsonl"]
        done = run(folder, "generate", "--recipe", "fanned.yaml", "corpus.jsonl", *words, OPENAI_API_KEY=KEY)
    assert done.returncode == 1
    assert "no pairs came out; 12 of 12 rejected: pair: the second round" in done.stderr


def test_a_page_shows_what_is_asked_of_some_rows_only_and_the_limits_of_options(mined: Path, run: Run) -> None:
    page = run(mined, "recipes", "picked.yaml").stdout
    for line in (
        "of each query it reads the first options.most rows",
        "only rows for which\n  row.candidates | length > 1\n  else: one document alone",
        "how many documents are read [default: 2, from 1 to 50]",
        "step why (after pick)\n  only where options.explain",
        "candidate      row.candidates[reply.text | number]",
    ):
        assert line in page
    body = json.loads(run(mined, "recipes", "picked.yaml", "--json").stdout)
    found = body[0] if isinstance(body, list) else body
    assert found["only"] == {"test": "row.candidates | length > 1", "reason": "one document alone"}
    assert (found["most"], found["steps"][1]["only"]) == ("options.most", "options.explain")
    assert (found["options"][0]["low"], found["options"][0]["high"]) == (1, 50)
