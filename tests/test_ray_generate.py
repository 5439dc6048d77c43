"""`pairmine generate --engine ray` writes what the local engine writes, and pays for each call once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from both_engines import Pipeline, Step, assert_same, read
from llm_server import LLMServer, error
from ray_nodes import add_node, nodes
from ray_shell import RayShell
from ray_shell import assert_same as assert_same_table
from ray_watched import Watch

from pairmine.backends.fake_llm import FakeLLM
from pairmine.engines.ledgers import shard_paths
from pairmine.llm.asking import Asker
from pairmine.llm.recipes.file import load_recipe
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import Plan
from pairmine.stages.generate import stage, tasks_of, write_pairs

TOPICS = ["lime kilns", "tide mills", "rope walks", "salt pans", "Eishäuser 氷室", "signal towers"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PAIRMINE_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    texts = [f"The {topic} of the coast were built by hand. Most are ruins now." for topic in TOPICS]
    # Equal texts, which make equal calls, in different shards.
    rows = [{"id": f"d{at}", "text": text} for at, text in enumerate([*texts, texts[1], *texts[2:5], texts[0]])]
    found.write("corpus.jsonl", rows)
    return found


def same(shell: RayShell, words: str, *, rows: int = 2) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs `words` by both engines, each with a ledger of its own; their summaries, once all else is equal."""
    found = []
    for name, engine in (("local", ""), ("ray", f"--engine ray --shard-rows {rows}")):
        outputs = f"-o {name}.parquet --rejects {name}-rejects.parquet --summary {name}.json --ledger {name}.sqlite"
        code = shell(f"generate {words} {outputs} {engine}")
        assert code in (0, 1), shell.said
        found.append({"code": code, **json.loads((shell.folder / f"{name}.json").read_text())})
    for part in ("", "-rejects"):
        assert_same_table(shell.table(f"local{part}.parquet"), shell.table(f"ray{part}.parquet"))
    assert not list(shell.folder.glob("*.shards"))
    assert not list(shell.folder.glob(".*.ray"))
    for summary in found:
        # Equal calls share their reply as long as they are under way together, which is a matter of time.
        del summary["from_ledger"]
    assert found[0] == found[1]
    return found[0], found[1]


@pytest.mark.parametrize(
    "words",
    [
        "queries corpus.jsonl --llm fake:",
        "queries corpus.jsonl --llm fake: --samples 3 --limit 7",
        "queries corpus.jsonl --llm fake: --samples 2 --keep-duplicates",
        "queries corpus.jsonl --llm fake: --duplicates 0.3 --samples 3 --seed 5",
    ],
)
def test_ray_writes_the_rows_of_the_local_engine(shell: RayShell, words: str) -> None:
    local, _ = same(shell, words)
    assert local["rows_out"]


@pytest.mark.parametrize(
    "words",
    [
        "personas corpus.jsonl --llm fake:",
        "short-long --llm fake: --samples 5",
        "describe-record records.jsonl --llm fake:",
        "profile records.jsonl --llm fake: --column history=name",
        "role-views questions.jsonl --llm fake: --samples 2",
        "propositions pairs.jsonl --llm fake:",
        "contrastive-rationale pairs.jsonl --llm fake: --limit 3",
        "relabel pairs.jsonl --llm fake: --samples 2",
    ],
)
def test_recipes_of_all_inputs_are_written_alike(shell: RayShell, words: str) -> None:
    shell.write("records.jsonl", [{"name": f"mill {at}", "built": 1800 + at, "use": None} for at in range(5)])
    shell.write(
        "questions.jsonl", [{"id": f"q{at}", "text": f"who built the {each}"} for at, each in enumerate(TOPICS)]
    )
    shell.write("pairs.jsonl", pairs(5))
    same(shell, words, rows=4)


def pairs(queries: int) -> list[dict[str, Any]]:
    """Queries with three documents each."""
    found = []
    for at in range(queries):
        for rank in range(3):
            topic = TOPICS[(at + rank) % len(TOPICS)]
            row = {"query_id": f"q{at}", "query": f"who built the {TOPICS[at]}", "doc_id": f"d{at + rank}"}
            row |= {
                "document": f"The {topic} of the coast were built by hand.",
                "label": int(not rank),
                "rank": rank + 1,
            }
            found.append(row)
    return found


def test_no_rows_and_one_row_end_as_they_do_locally(shell: RayShell) -> None:
    shell.write("corpus.jsonl", [{"id": "a", "text": "The lime kilns of the coast were built by hand."}])
    same(shell, "queries corpus.jsonl --llm fake:")
    shell.write("corpus.jsonl", [{"id": "a", "text": ""}])
    said = []
    for name, engine in (("local", ""), ("ray", "--engine ray")):
        assert shell(f"generate queries corpus.jsonl --llm fake: -o {name}.parquet {engine}") == 1
        said.append(shell.said)
    assert said[0] == said[1]


def test_a_fault_of_one_shard_ends_the_run_with_its_line(shell: RayShell) -> None:
    rows = pairs(4)
    rows[7]["document"] = None
    shell.write("pairs.jsonl", rows)
    said = []
    for name, engine in (("local", ""), ("ray", "--engine ray --shard-rows 3")):
        assert shell(f"generate relabel pairs.jsonl --llm fake: -o {name}.parquet {engine}") == 2
        said.append(shell.said)
    assert said[0] == said[1]
    assert "query q2: document d3 has no text" in said[0]
    assert not list(shell.folder.glob("*.parquet"))


@pytest.mark.parametrize("words", ["--dry-run", "--offline", "--batch", "--batch-files there"])
def test_what_one_machine_does_is_refused_in_one_line(shell: RayShell, words: str) -> None:
    output = "" if words == "--dry-run" else "-o out.parquet"
    assert shell(f"generate queries corpus.jsonl --llm openai:m {output} --engine ray {words}") == 2
    assert f"{words.split()[0]} is for one machine; leave out --engine ray" in shell.said


def answer(body: dict[str, Any]) -> str:
    """A reply that fits; the tide mills get none that does."""
    prompt = body["messages"][-1]["content"]
    topic = next(word for word in prompt.split() if word in "lime tide rope salt Eishäuser signal")
    query = "" if topic == "tide" else f"who made the old {topic} works by the sea and why did they decay"
    return json.dumps(
        {"query": query, "hard_negative": f"Trade in {topic} goods paid for new harbours further inland."}
    )


def asked(server: LLMServer, ledger: str = "l.sqlite") -> str:
    return f"--llm openai:test-model --base-url {server.base_url} --ledger {ledger}"


def test_equal_calls_of_all_shards_are_paid_for_once_and_a_second_run_pays_nothing(shell: RayShell) -> None:
    command = "generate queries corpus.jsonl -o out --engine ray --shard-rows 2 --rejects no.parquet"
    with LLMServer(answer) as server:
        assert shell(f"{command} {asked(server)}") == 0, shell.said
        # The invalid reply is asked for once more.
        assert set(server.paid.values()) == {1, 2}
        assert sum(server.paid.values()) == len(TOPICS) + 1
        assert "7 replies asked for" in shell.said
        assert shell(f"{command} {asked(server)} --keep-duplicates") == 0, shell.said
        assert sum(server.paid.values()) == len(TOPICS) + 1
        assert shell(f"generate queries corpus.jsonl -o local.parquet {asked(server)}") == 0, shell.said
        assert sum(server.paid.values()) == len(TOPICS) + 1


def test_a_budget_holds_for_all_shards_and_the_next_run_goes_on(shell: RayShell) -> None:
    command = "generate queries corpus.jsonl -o out.parquet --engine ray --shard-rows 2 --rejects no.parquet"
    with LLMServer(answer) as server:
        assert shell(f"{command} {asked(server)} --max-tokens 1500 --reply-tokens 300") == 3
        assert "of --max-tokens 1,500 on" in shell.said
        assert "every reply is kept, run the same command again to continue" in shell.said
        assert "--offline --max-failed 1 and without --engine ray to write the rows that are there" in shell.said
        paid = sum(server.paid.values())
        assert 0 < paid < len(TOPICS)
        assert not list(shell.folder.glob("*.shards"))
        assert shell(f"{command} {asked(server)} --reply-tokens 300") == 0, shell.said
        assert sum(server.paid.values()) == len(TOPICS) + 1
        assert f"{len(TOPICS) + 1 - paid} replies asked for" in shell.said


def test_a_call_without_reply_is_counted_and_asked_again_by_the_next_run(shell: RayShell) -> None:
    command = "generate queries corpus.jsonl -o out.parquet --engine ray --shard-rows 2 --retries 0"
    with LLMServer(answer, plan=lambda body, prompt, before: error(500, "no") if "rope" in prompt else None) as server:
        assert shell(f"{command} {asked(server)}") == 1
        assert "4 of 22 pairs got no reply, more than --max-failed 0.01" in shell.said
        requests = server.requests
        server.plan = None
        assert shell(f"{command} {asked(server)}") == 0, shell.said
        assert server.requests == requests + 1


@pytest.mark.parametrize("after", [6, 10])
def test_a_call_that_failed_before_a_kill_gets_its_rows_in_the_run_that_goes_on(shell: RayShell, after: int) -> None:
    command = "generate queries corpus.jsonl --retries 0 --max-failed 1 --rejects"
    on_shards = f"{command} no.parquet -o out.parquet --engine ray --shard-rows 2"

    def alike(body: dict[str, Any]) -> str:
        # The later of the two is no copy as long as the earlier gets no reply.
        return answer({"messages": [{"content": body["messages"][-1]["content"].replace("lime", "rope")}]})

    with LLMServer(alike, plan=lambda body, prompt, before: error(500, "no") if "lime" in prompt else None) as server:
        assert shell.is_killed(f"{on_shards} {asked(server)}", after=after)
        server.plan = None
        assert shell(f"{on_shards} {asked(server)}") == 0, shell.said
        assert shell(f"{command} local-no.parquet -o local.parquet {asked(server)}") == 0, shell.said
    for part in ("out", "no"):
        local = {"out": "local", "no": "local-no"}[part]
        assert_same_table(shell.table(f"{local}.parquet"), shell.table(f"{part}.parquet"))


def test_a_server_that_refuses_ends_the_run_in_one_line(shell: RayShell) -> None:
    with LLMServer(answer, key="sk-right") as server:
        assert shell(f"generate queries corpus.jsonl -o out --engine ray --shard-rows 2 {asked(server)}") == 3
    assert len(shell.said.strip().splitlines()) <= 2
    assert "401" in shell.said or "key" in shell.said


def test_what_a_killed_run_kept_is_in_the_ledger_of_the_next_one_wherever_it_runs(shell: RayShell) -> None:
    with LLMServer(answer) as server:
        run = f"generate queries corpus.jsonl {asked(server)} --rejects no.parquet -o"
        assert shell(f"{run} first.parquet") == 0, shell.said
        paid = sum(server.paid.values())
        # As the run would have left it, had it been on Ray and killed before it put its shards together.
        (path,) = shard_paths("l.sqlite", 1)
        Path("l.sqlite").rename(path)
        assert shell(f"{run} second.parquet") == 0, shell.said
        assert sum(server.paid.values()) == paid
    assert not list(shell.folder.glob("*.shards"))


def test_parts_of_one_input_row_stay_together_where_tables_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_ROWS_A_TABLE", 3)
    rows = pa.table({"id": ["a", "b", "c"], "text": ["The lime kilns.", "The tide mills.", "The rope walks."]})
    plan = Plan(load_recipe("queries"), Renderer(load_recipe("queries")), model="fake")
    asker: Asker[Any] = Asker(FakeLLM(), recipe="queries")
    tables = [found.kept for found in write_pairs(plan, tasks_of(plan, [rows], 2), asker)]
    assert [table["source_id"].unique().to_pylist() for table in tables] == [["a", "b"], ["c"]]


# --- on a real cluster ----------------------------------------------------------------------------

SHARED = Path(__file__).parents[2] / "shared" / "data"
of_a_cluster = [pytest.mark.slow, pytest.mark.ray]
AT_ONCE = 8


def written(body: dict[str, Any]) -> str:
    """A reply of its own for each prompt."""
    draw = Random(body["messages"][-1]["content"])
    words = ["".join(draw.choices("abcdefghij", k=6)) for _ in range(24)]
    return json.dumps({"query": " ".join(words[:12]), "hard_negative": " ".join(words[12:])})


class TestOnRay:
    pytestmark = of_a_cluster

    def test_real_documents_come_out_as_from_the_local_engine(self, tmp_path: Path, ray_cluster: str) -> None:
        if not (SHARED / "cisi").is_dir():
            pytest.skip("no data in ../shared/data")
        steps = {
            "documents": Step(
                f"generate queries {SHARED}/cisi/corpus.jsonl.gz --llm fake: --limit 300", others=("rejects",)
            ),
            "topics": Step("generate short-long --llm fake: --samples 400", others=("rejects",)),
            "groups": Step("generate relabel @documents --llm fake: --samples 2", others=("rejects",)),
        }
        pipeline = Pipeline(tmp_path, ray_cluster, steps)
        for name in steps:
            assert_same(pipeline, name)

    def test_no_reply_is_paid_for_twice_whoever_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = Watch(tmp_path)
        for name, value in watch.environment(0).items():
            monkeypatch.setenv(name, value)
        documents = [
            f'{{"id": "d{at}", "text": "The tide mill number {at} was built by hand."}}\n' for at in range(240)
        ]
        (tmp_path / "corpus.jsonl").write_text("".join(documents))
        with LLMServer(written, delay_s=0.1) as server, nodes(1, 1) as cluster:
            words = ["generate", "queries", "corpus.jsonl", "-o", "pairs", *asked(server).split()]
            words += ["--engine", "ray", "--ray-address", cluster.address, "--shard-rows", "20"]
            words += ["--concurrency", str(AT_ONCE), "--summary", "summary.json"]
            run = watch.start(*words)
            watch.until(lambda: len(watch.lines()) >= 2, run)
            os.kill(watch.lines()[-1][0], signal.SIGKILL)
            watch.until(lambda: len(watch.lines()) >= 4, run)
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            add_node(cluster)
            watch.until(lambda: len(watch.lines()) >= 6, run)
            run.kill()
            run.communicate()
            finished = {name for _, name in watch.lines()}
            watch.forget()
            run = watch.start(*words)
            assert_done(run)
            assert not finished & {name for _, name in watch.lines() if "ask" in name}
            assert server.most_under_way <= AT_ONCE
            assert len(server.paid) == len(documents)
            # What was on its way to a worker that was killed is asked again: for half of the slots, twice, and for all.
            assert sum(server.paid.values()) <= len(documents) + 2 * AT_ONCE
            local = ["generate", "queries", "corpus.jsonl", "-o", "local.parquet", *asked(server).split()]
            subprocess.run([sys.executable, "-m", "pairmine", *local], cwd=tmp_path, check=True)
            assert sum(server.paid.values()) <= len(documents) + 2 * AT_ONCE
        assert read(tmp_path / "pairs").equals(read(tmp_path / "local.parquet"))


def assert_done(run: subprocess.Popen[str]) -> None:
    """A run ends well, and prints nothing where data would go."""
    said, told = run.communicate(timeout=240)
    assert (run.returncode, said) == (0, ""), told
