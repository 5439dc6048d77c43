"""`pairmine score --engine ray` gives what the local engine gives, however the rows lie in shards."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import LLMServer, error
from ray_shell import RayShell, assert_same
from rerank_server import RerankServer
from test_score_rows import table_of

from pairmine.cli.model_work import share_of
from pairmine.cli.score_work import FillJob, ScoreWork
from pairmine.engines.shards import InProcess, Piece
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.lineage import decode
from pairmine.files.sink import Sink
from pairmine.outcome import Outcome
from pairmine.stages.filter.gates import Band
from pairmine.stages.score_rows import RowChoice, Wanted

SHARED = Path(__file__).parents[2] / "shared"
WORDS = [
    "blood",
    "heart",
    "lung",
    "cell",
    "ärzte",
    "研究",
    "study",
    "method",
    "result",
    "rate",
    "of",
    "the",
    "patients",
    "acute",
    "chronic",
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    found.write("pairs.jsonl", mined(9))
    return found


def mined(queries: int) -> list[dict[str, Any]]:
    """Queries with a positive, candidates that other queries have too, and a score for most of them."""
    draw = random.Random(3)
    texts = {f"d{at}": " ".join(draw.choices(WORDS, k=6)) for at in range(12)}
    found = []
    for query in range(queries):
        text = " ".join(draw.choices(WORDS, k=3))
        for rank, doc in enumerate(draw.sample(sorted(texts), 5)):
            row = {"query_id": f"q{query}", "query": text, "doc_id": doc, "document": texts[doc]}
            row |= {"label": 1 if rank == 0 and query % 4 else None, "origin": "mine:bm25", "rank": rank + 1}
            found.append(row | {"score_ce": None if rank == 3 else round(draw.random(), 3)})
    return found


@pytest.mark.parametrize(
    "options",
    [
        "--scorer own=fake: --only positives",
        "--scorer fake: --band ce:0.2:0.8",
        "--scorer fake: --band ce:0.1:0.9 --only all --max-judged 4",
        "--scorer ql:fake:",
        "--vectors fake:",
        "--feedback fake:",
    ],
)
def test_ray_scores_as_the_local_engine_does(shell: RayShell, options: str) -> None:
    local, ray = shell.same(f"score pairs.jsonl {options}", rows=10, rejects=False)
    assert counts(ray) == counts(local)
    assert lineage("ray.parquet") == lineage("local.parquet")


def counts(said: str) -> list[str]:
    """The lines for people but those on what was embedded, once in every shard."""
    return [line for line in said.splitlines() if "texts embedded" not in line]


def lineage(name: str) -> list[dict[str, Any]]:
    """What a file says of its making."""
    return decode(pq.read_metadata(name).metadata, name)


@pytest.mark.parametrize("rows", [0, 1])
def test_ray_scores_one_row_and_none(shell: RayShell, rows: int) -> None:
    assert shell("convert pairs.jsonl -o few.parquet") == 0
    pq.write_table(pq.read_table("few.parquet").slice(0, rows), "few.parquet")
    shell.same("score few.parquet --vectors fake:", rejects=False)


def test_a_folder_of_shards_is_scored_shard_by_shard(shell: RayShell) -> None:
    assert shell("score pairs.jsonl --scorer fake: -o first --engine ray --shard-rows 10") == 0
    assert len(list(Path("first").glob("part-*"))) > 2
    shell.same("score first --scorer again=fake: --only candidates", rejects=False)


def test_missing_scores_are_filled_up_by_the_same_model_alone(shell: RayShell) -> None:
    assert shell("score pairs.jsonl --scorer a=fake: --only positives -o some.parquet") == 0
    shell.same("score some.parquet --scorer a=fake: --missing", rows=10, rejects=False)
    table = pq.read_table("some.parquet")
    entries = lineage("some.parquet")
    entries[-1]["models"][0]["model"] = "st:another"
    sink = Sink("other.parquet")
    sink.write(table)
    sink.commit(entries)
    words = "score other.parquet --scorer a=fake: --missing -o out.parquet"
    assert shell(words) == 2
    line = shell.said
    assert "--missing: score_a comes from st:another" in line
    assert shell(f"{words} --engine ray --shard-rows 10") == 2
    assert line in shell.said
    assert not Path("out.parquet").exists()


def test_a_row_without_a_text_is_found_before_any_model_is_loaded(
    shell: RayShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = mined(9)
    rows[-2]["document"] = None
    shell.write("bad.jsonl", rows)
    monkeypatch.setattr(ScoreWork, "open", lambda *_: pytest.fail("loaded"))
    assert shell("score bad.jsonl --scorer fake: -o out --engine ray --shard-rows 10") == 2
    assert "1 of 10 rows have no document text" in shell.said or "1 of 5 rows have no document text" in shell.said
    assert 'query "q8"' in shell.said
    assert not Path("out").exists()


def test_what_one_machine_does_and_options_without_effect_are_refused(shell: RayShell) -> None:
    assert shell("score pairs.jsonl --scorer openai:gpt-5-mini --offline -o out --engine ray") == 2
    assert "--offline is for one machine; leave out --engine ray" in shell.said
    assert shell("score pairs.jsonl --scorer fake: -o out.parquet --shard-rows 10") == 2
    assert "--shard-rows has no effect without --engine ray" in shell.said


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with RerankServer() as found:
        yield found


def test_a_server_is_asked_by_all_workers(shell: RayShell, server: RerankServer) -> None:
    at = f"--scorer rerank:test-model --base-url {server.base_url} --concurrency 3 --rpm 600000"
    shell.same(f"score pairs.jsonl {at}", rows=10, rejects=False)
    assert set(server.asked.values()) == {2}


def test_pairs_that_a_server_refuses_are_counted_over_all_shards(shell: RayShell) -> None:
    some = {row["query"] for row in mined(9)[::10]}
    with RerankServer(lambda body, before: error(400, "no") if body["query"] in some else None) as server:
        words = f"score pairs.jsonl --scorer rerank:test-model --base-url {server.base_url}"
        local, ray = shell.same(f"{words} --max-failed 1", rows=10, rejects=False)
        assert ray == local
        assert "no score for 25 pairs: refused: " in ray
        assert shell(f"{words} --max-failed 0 -o out.parquet --engine ray --shard-rows 10") == 1
        assert "25 of 45 pairs were refused or got no reply, more than --max-failed 0" in shell.said
    assert pq.read_table("out.parquet")["score_rerank"].null_count == 25


def test_the_workers_of_a_server_share_its_limits() -> None:
    assert share_of({"concurrency": 9, "rpm": 120, "tpm": 1000}, 4) == {"concurrency": 2, "rpm": 30, "tpm": 250}
    assert share_of({"concurrency": None, "rpm": None}, 4) == {"concurrency": None, "rpm": None, "tpm": None}


def test_a_store_counts_what_all_shards_found_there(shell: RayShell) -> None:
    words = "score pairs.jsonl --scorer fake: --store kept"
    assert shell(f"{words} -o one.parquet --summary one.json --engine ray --shard-rows 10") == 0
    assert shell(f"{words} -o two.parquet --summary two.json --engine ray --shard-rows 10") == 0
    first, second = (json.loads(Path(name).read_text()) for name in ("one.json", "two.json"))
    assert first["embedded"] > 0
    assert (second["embedded"], second["reused"]) == (0, first["embedded"] + first["reused"])
    assert f"0 texts embedded, {second['reused']} found in kept" in shell.said


def test_a_judge_on_shards_says_the_same_and_asks_for_each_pair_once(shell: RayShell) -> None:
    words = "score pairs.jsonl --scorer fake: --recipe judge --set relation=relevance --only candidates --max-judged 6"
    asked = []
    for name, engine in (("local", ""), ("ray", "--engine ray --shard-rows 10")):
        outputs = f"--ledger {name}.sqlite --summary {name}.json -o {name}.parquet"
        assert shell(f"{words} {outputs} {engine}") == 0, shell.said
        asked.append(json.loads(Path(f"{name}.json").read_text())["asked"]["calls"])
    assert_same(shell.table("local.parquet"), shell.table("ray.parquet"))
    assert lineage("ray.parquet") == lineage("local.parquet")
    assert asked[0] == asked[1] > 0
    assert shell(f"{words} --ledger ray.sqlite -o again.parquet --engine ray --shard-rows 20") == 0
    assert f"{asked[0]} replies from the ledger, paid for before" in shell.said
    assert "asked for" not in shell.said


@pytest.mark.slow
def test_pairs_that_a_judge_gives_no_verdict_for_are_counted_over_all_shards(
    shell: RayShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    some = {row["document"] for row in mined(9)[::6]}

    def judge(body: dict[str, Any]) -> str:
        told = body["messages"][-1]["content"]
        return "I cannot say." if any(text in told for text in some) else '{"score": 0.5}'

    found = []
    with LLMServer(judge) as server:
        words = f"score pairs.jsonl --scorer openai:test-model --base-url {server.base_url} --set relation=relevance"
        for name, engine in (("local", ""), ("ray", "--engine ray --shard-rows 10 --concurrency 2")):
            outputs = f"--ledger {name}.sqlite --summary {name}.json -o {name}.parquet"
            assert shell(f"{words} --max-failed 1 {outputs} {engine}") == 0, shell.said
            found.append(
                (
                    json.loads(Path(f"{name}.json").read_text()),
                    [line for line in shell.said.splitlines() if "no score for" in line or "without a score" in line],
                )
            )
        limited = f"{words} --max-tokens 3000 --ledger other.sqlite -o other.parquet --engine ray --shard-rows 10"
        assert shell(limited) == GAVE_UP
        assert "--max-tokens" in shell.said
    assert_same(shell.table("local.parquet"), shell.table("ray.parquet"))
    assert found[0] == found[1]
    assert len(found[0][1]) > 1


class Dying(InProcess):
    """Loses its workers after so many shards."""

    left = 0

    def map(self, *given: Any, **more: Any) -> Iterator[tuple[int, Any]]:
        """See `InProcess`."""
        for found in super().map(*given, **more):
            yield found
            self.left -= 1
            if not self.left:
                raise PairmineError("workers were lost", exit_code=GAVE_UP)


def test_a_killed_run_scores_only_unfinished_shards(shell: RayShell, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    outcomes = FillJob.outcomes

    def counted(job: FillJob, piece: Piece) -> Iterator[Outcome]:
        scored.append(piece.number)
        return outcomes(job, piece)

    monkeypatch.setattr(FillJob, "outcomes", counted)
    words = "score pairs.jsonl --scorer fake: --max-judged 30 -o out.parquet --engine ray --shard-rows 10"
    shell.pool = Dying()
    shell.pool.left = 7
    assert shell(words) == GAVE_UP
    assert len(scored) == 2
    assert not Path("out.parquet").exists()
    shell.pool = InProcess(seed=5)
    assert shell(words) == 0
    assert sorted(scored) == [0, 1, 2, 3, 4]
    assert shell("score pairs.jsonl --scorer fake: --max-judged 30 -o local.parquet") == 0
    assert pq.read_table("out.parquet").equals(pq.read_table("local.parquet"))


CHOICES = [
    Wanted(most=3),
    Wanted(Band("ce", 0.0, 1.0), "candidates", most=4),
    Wanted(Band("ce", 0.2, 0.8), "all", missing=True),
]
ROWS = st.tuples(
    st.sampled_from("qr"),
    st.sampled_from("abcd"),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([None, 0.25, 0.5, 0.75]),
    st.sampled_from([None, 0.5]),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(ROWS, max_size=24), st.integers(1, 9), st.sampled_from(CHOICES), st.randoms())
def test_choices_made_on_shards_are_those_made_on_the_whole(
    rows: list[Any], size: int, wanted: Wanted, draw: random.Random
) -> None:
    whole, merged = RowChoice(wanted, "llm"), RowChoice(wanted, "llm")
    table = table_of(rows)
    whole.look(table)
    shards = [RowChoice(wanted, "llm") for _ in range(0, len(rows), size)]
    for at, shard in enumerate(shards):
        shard.look(table.slice(at * size, size))
    draw.shuffle(shards)
    for shard in shards:
        merged.merge(shard)
    assert merged.rows == whole.rows
    np.testing.assert_array_equal(merged.of(table)[0], whole.of(table)[0])
    assert merged.of(table)[1] == whole.of(table)[1]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections and models in ../shared")
@pytest.mark.parametrize(
    "scorer",
    [
        f"ce:{SHARED}/models/cross-encoder-minilm --max-length 64 --store none",
        "st:all-MiniLM-L6-v2 --max-length 64 --store none",
        "fake: --recipe judge --set relation=relevance --ledger {engine}.sqlite",
    ],
)
def test_real_models_score_real_pairs_alike_on_a_cluster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ray_cluster: str,
    scorer: str,
) -> None:
    shell = RayShell(tmp_path, monkeypatch, capsys)
    assert shell(f"mine {SHARED}/data/cisi --retriever bm25 --depth 3 -o mined.parquet") == 0
    pq.write_table(pq.read_table("mined.parquet").slice(0, 240), "mined.parquet")
    words = f"score mined.parquet --scorer {scorer} -o {{engine}}.parquet"
    assert shell(words.format(engine="local")) == 0, shell.said
    on_ray = f"--engine ray --ray-address {ray_cluster} --shard-rows 60"
    assert shell(f"{words.format(engine='ray')} {on_ray}") == 0, shell.said
    local, ray = pq.read_table("local.parquet"), pq.read_table("ray.parquet")
    name = local.column_names[-1]
    assert ray.drop_columns(name).equals(local.drop_columns(name))
    np.testing.assert_allclose(ray[name].to_numpy(), local[name].to_numpy(), atol=1e-6, rtol=0)
    assert lineage("ray.parquet") == lineage("local.parquet")
