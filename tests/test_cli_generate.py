"""`pairmine generate` and `score --recipe` as a shell sees them: output, counts, errors, money."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
