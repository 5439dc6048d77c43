"""Rerankers behind a server: how they are asked, what of their answers is believed, what becomes of the rest.

The server here is a stand-in; the real vLLM has its own test in tests/vllm/test_rerank.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import Response, error, reply
from rerank_server import RerankServer, overlap

from pairmine.backends.rerank_servers import RerankScorer
from pairmine.backends.rerank_servers import RerankServer as Server
from pairmine.backends.specs import Spec
from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import BAD_INPUT, CHECK_FAILED, GAVE_UP, PairmineError
from pairmine.files.lineage import decode
from pairmine.schema import as_pairs, scale_of

QUERIES = ["wing lift", "heat flow", "東京 の 人口"]
DOCUMENTS = ["the lift of a wing", "heat and flow of heat", "東京 の 夜", "hot soup", ""]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
WANTED = np.array([overlap(*pair) for pair in PAIRS], np.float32)


def scorer_of(server: RerankServer, model: str = "test-model", **more: Any) -> RerankScorer:
    own = {"base_url": server.base_url, "timeout_s": 10, "retries": 2, "backoff_s": 0.01, **more}
    return RerankScorer(Spec("rerank", model), Server(**own))


def scores_of(scorer: RerankScorer, pairs: list[tuple[str, str]] = PAIRS) -> np.ndarray:
    return scorer.score(*(list(side) for side in zip(*pairs, strict=True)))


@pytest.mark.parametrize(("kind", "endpoint"), [("jina", "rerank"), ("tei", "rerank"), ("jina", "score")])
def test_every_kind_of_server_gives_each_pair_its_own_score(kind: str, endpoint: str) -> None:
    with RerankServer(kind=kind) as server:
        scorer = scorer_of(server, endpoint=endpoint, batch_documents=4)
        np.testing.assert_array_equal(scores_of(scorer), WANTED)
    assert scorer.asked == len(PAIRS)
    assert set(server.asked) == {(query, document or " ") for query, document in PAIRS}
    assert max(server.asked.values()) == 1


def test_one_request_is_about_one_query_and_of_the_size_asked_for() -> None:
    with RerankServer() as server:
        scores_of(scorer_of(server, batch_documents=3))
    assert sorted(len(body["documents"]) for body in server.bodies) == [2, 2, 2, 3, 3, 3]
    assert {body["query"] for body in server.bodies} == set(QUERIES)
    with RerankServer() as server:
        scores_of(scorer_of(server, endpoint="score", batch_documents=8))
    assert sorted(len(body["text_1"]) for body in server.bodies) == [7, 8]


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(QUERIES), st.sampled_from(DOCUMENTS)), max_size=30), st.integers(1, 9))
def test_scores_do_not_depend_on_the_order_or_the_size_of_requests(pairs: list[tuple[str, str]], most: int) -> None:
    with RerankServer() as server:
        found = scorer_of(server, batch_documents=most).score([one for one, _ in pairs], [two for _, two in pairs])
    assert found.tolist() == [np.float32(overlap(*pair)) for pair in pairs]


def test_a_server_that_takes_fewer_documents_is_asked_for_fewer() -> None:
    documents = [f"wing {number}" for number in range(40)]
    with RerankServer(most=8) as server:
        scores = scorer_of(server).score(["wing lift"] * 40, documents)
    assert (scores == 0.5).all()
    assert sum(server.asked.values()) == 40


@pytest.mark.parametrize(("kind", "field"), [("jina", "truncate_prompt_tokens"), ("tei", "truncate")])
def test_pairs_that_are_too_long_are_cut_by_the_server(kind: str, field: str) -> None:
    documents = ["wing", "wing " * 100, "lift"]
    with RerankServer(kind=kind, longest=100) as server:
        scores = scorer_of(server).score(["wing"] * 3, documents)
    assert scores.tolist() == [1, 1, 0]
    assert server.bodies[-1][field] in (True, -1)


def test_how_long_pairs_are_cut_is_left_to_the_user_who_says_it() -> None:
    with RerankServer(longest=100) as server:
        scorer = scorer_of(server, request_args={"truncate_prompt_tokens": 9, "instruction": "Judge."})
        assert scorer.score(["wing"], ["wing " * 100]).tolist() == [1]
    assert server.bodies[0]["instruction"] == "Judge."
    with pytest.raises(PairmineError, match="--request-arg top_n: every request has its own"):
        scorer_of(server, request_args={"top_n": 3})


def test_a_server_that_knows_no_top_n_is_asked_without() -> None:
    def plan(body: dict[str, Any], before: int) -> Response | None:
        return error(422, "Extra inputs are not permitted: top_n", param="top_n") if "top_n" in body else None

    with RerankServer(plan) as server:
        scores_of(scorer_of(server, batch_documents=3))
    assert "top_n" not in server.bodies[-1]


# --- answers that are no scores -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda value: {"results": value["results"][:-1]}, "scores came for 1 documents"),
        (lambda value: {"results": [{**each, "index": 7} for each in value["results"]]}, "are not numbered from 0"),
        (lambda value: {"results": [{"index": each["index"]} for each in value["results"]]}, "which is no number"),
        (lambda value: {"answer": "hello"}, "what came is no list of scores"),
        (lambda value: ["hello"], "what came is no list of scores"),
    ],
)
def test_an_answer_that_is_no_list_of_scores_gives_none_and_says_why(change: Any, reason: str) -> None:
    with RerankServer() as server:
        server.shape = change
        scorer = scorer_of(server)
        assert np.isnan(scorer.score(["wing", "wing"], ["lift", "heat"])).all()
    assert any(reason in found and found.startswith("refused: ") for found in scorer.reasons)
    assert scorer.asked == sum(scorer.reasons.values()) == 2


@pytest.mark.parametrize("bad", [None, "0.5", True, float("nan"), 1e300, {"a": 1}])
def test_a_single_score_that_is_no_number_costs_no_other_pair_its_score(bad: Any) -> None:
    with RerankServer() as server:
        server.value = lambda query, document: bad if document == "heat" else overlap(query, document)
        scores = scorer_of(server).score(["wing"] * 5, ["wing", "heat", "lift", "wing x", "y"])
    assert np.isnan(scores).tolist() == [False, True, False, False, False]
    assert scores[0] == scores[3] == 1


def test_a_score_of_four_hundred_digits_is_no_number() -> None:
    raw = b'{"results": [{"index": 0, "score": ' + b"9" * 400 + b', "half": "\\ud800"}]}'
    with RerankServer(lambda body, before: Response(200, raw)) as server:
        scorer = scorer_of(server)
        assert np.isnan(scorer.score(["wing"], ["lift"])).all()
    assert list(scorer.reasons) == ["refused: 200: a score is int, which is no number"]


def test_a_score_off_the_scale_ends_the_run_with_the_flag_that_helps() -> None:
    with RerankServer() as server:
        server.value = lambda query, document: 3.71
        with pytest.raises(
            PairmineError, match=r"gives 3.71, and a probability lies in \[0, 1\]; pass --scale logit"
        ) as told:
            scorer_of(server).score(["wing"], ["lift"])
        assert told.value.exit_code == BAD_INPUT
        scorer = scorer_of(server, scale="logit")
        assert scorer.score(["wing"], ["lift"]).tolist() == [np.float32(3.71)]
        assert scorer.scale == "logit"
        server.value = lambda query, document: -0.4
        assert scorer_of(server, scale="cosine").score(["wing"], ["lift"]).tolist() == [np.float32(-0.4)]
        with pytest.raises(PairmineError, match="a similarity lies in"):
            scorer_of(server, scale="similarity").score(["wing"], ["lift"])


# --- faults ---------------------------------------------------------------------------------------------


def test_faults_are_tried_again_and_a_wait_that_is_asked_for_is_kept() -> None:
    def plan(body: dict[str, Any], before: int) -> Response | None:
        faults = {1: error(500, "boom"), 2: error(429, "slow down", headers={"retry-after-ms": "30"}), 3: Response(503)}
        return faults.get(before) or (Response(fault="reset") if before == 4 else None)

    with RerankServer(plan) as server:
        np.testing.assert_array_equal(scores_of(scorer_of(server, batch_documents=2)), WANTED)
    assert max(server.asked.values()) == 1


def test_a_pair_that_fails_every_time_has_no_score_and_the_others_do() -> None:
    def plan(body: dict[str, Any], before: int) -> Response | None:
        return error(500, "boom") if body["query"] == "heat flow" else None

    with RerankServer(plan) as server:
        scorer = scorer_of(server)
        scores = scores_of(scorer)
    assert np.isnan(scores).tolist() == [query == "heat flow" for query, _ in PAIRS]
    assert {reason.partition(":")[0]: count for reason, count in scorer.reasons.items()} == {"failed": len(DOCUMENTS)}


@pytest.mark.parametrize(
    ("model", "settings", "line"),
    [
        ("test-model", {}, "the key is refused"),
        ("other", {"key_file": "key"}, "offers test-model"),
    ],
)
def test_a_wrong_key_or_model_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, settings: dict[str, Any], line: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "key").write_text("sk-right")
    given = {name: str(tmp_path / value) for name, value in settings.items()}
    with RerankServer(key="sk-right") as server, pytest.raises(PairmineError, match=line) as told:
        scorer_of(server, model, **given).score(["wing"], ["lift"])
    assert told.value.exit_code == GAVE_UP
    assert str(told.value).startswith(f"rerank:{model}: ")


@pytest.mark.parametrize("number", [1, 3, 4, 40])
def test_a_server_that_refuses_every_request_ends_the_run_however_many_pairs_one_has(number: int) -> None:
    pairs = [(f"query {at // number}", f"document {at}") for at in range(40)]
    with RerankServer(lambda body, before: error(400, "unknown field instruction")) as server:
        with pytest.raises(PairmineError, match=r"requests were all refused .*unknown field instruction") as told:
            scores_of(scorer_of(server), pairs)
        assert told.value.exit_code == BAD_INPUT
        assert server.requests <= 20


def test_an_address_without_a_reranker_says_where_it_looked() -> None:
    with RerankServer() as server, pytest.raises(PairmineError, match=r"/v2/rerank was asked; check --base-url"):
        scorer_of(server, base_url=server.base_url.replace("/v1", "/v2")).score(["wing"], ["lift"])


def test_settings_that_cannot_be_right_are_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(PairmineError, match="OpenAI's own server reranks nothing"):
        RerankScorer(Spec("rerank", "m"))
    with pytest.raises(PairmineError, match="--endpoint predict: choose rerank, score"):
        RerankScorer(Spec("rerank", "m"), Server(base_url="http://x/v1", endpoint="predict"))
    with pytest.raises(PairmineError, match="--scale percent: choose probability, similarity, cosine, logit"):
        RerankScorer(Spec("rerank", "m"), Server(base_url="http://x/v1", scale="percent"))


def test_no_pairs_ask_nothing() -> None:
    with RerankServer() as server:
        assert scorer_of(server).score([], []).shape == (0,)
    assert server.requests == 0


# --- the command ----------------------------------------------------------------------------------------


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """The pairs as a pair set, sorted by query; a text is its own id."""
    table = {
        "query_id": [query for query, _ in pairs],
        "query": [query for query, _ in pairs],
        "doc_id": [document or "none" for _, document in pairs],
        "document": [document for _, document in pairs],
        "origin": ["given"] * len(pairs),
    }
    pq.write_table(as_pairs(pa.table(table)), path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs.parquet", PAIRS)


def run(*words: object) -> None:
    app(["score", *map(str, words), "-q"], standalone_mode=False)


def test_the_command_fills_a_column_and_tells_nobody_where_the_server_is(pairs: Path) -> None:
    out = pairs.with_name("out.parquet")
    with RerankServer() as server:
        words = ["--scorer", "rerank:test-model", "--base-url", server.base_url, "--store", "none"]
        run(pairs, *words, "-o", out)
        run(
            pairs, *words, "--scale", "logit", "--scorer", "bge=rerank:test-model", "-o", pairs.with_name("bge.parquet")
        )
    found = pq.read_table(out)
    assert found["score_rerank"].to_pylist() == WANTED.tolist()
    assert scale_of(found.schema.field("score_rerank")) == "probability"
    assert scale_of(pq.read_schema(pairs.with_name("bge.parquet")).field("score_bge")) == "logit"
    assert "--scorer rerank:test-model" in "\n".join(commands(decode(pq.read_metadata(out).metadata, "out")))
    assert server.base_url.encode() not in out.read_bytes()


def test_a_reranker_serves_in_python_with_a_store_or_without(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pairmine

    table = pq.read_table(pairs)
    with RerankServer() as server:
        kept = pairmine.open_scorer("rerank:test-model", base_url=server.base_url, store=tmp_path / "kept")
        for scorer in (kept, kept, pairmine.open_scorer("rerank:test-model", base_url=server.base_url)):
            scored = pairmine.score_pairs(table, scorer, name="rerank").kept
            assert scored["score_rerank"].to_pylist() == WANTED.tolist()
        assert server.asked.total() == 2 * 15
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert pairmine.score_pairs(table, "bge=rerank:test-model").kept["score_bge"].to_pylist() == WANTED.tolist()
    with pytest.raises(pairmine.PairmineError, match="--max-length has no effect with --scorer rerank:test-model"):
        pairmine.open_scorer("rerank:test-model", base_url=server.base_url, max_length=9)


def test_a_run_again_asks_only_about_pairs_that_have_no_score_yet(pairs: Path) -> None:
    def plan(body: dict[str, Any], before: int) -> Response | None:
        return error(400, "no") if is_broken and body["query"] == "heat flow" else None

    is_broken, outs = True, []
    store = pairs.with_name("store")
    with RerankServer(plan) as server:
        for at in range(3):
            outs.append(pairs.with_name(f"{at}.parquet"))
            words = ["--scorer", "rerank:test-model", "--base-url", server.base_url, "--store", store]
            run(pairs, *words, "--max-failed", 1, "-o", outs[-1], "--summary", pairs.with_name(f"{at}.json"))
            is_broken = False
        asked = dict(server.asked)
        server.value = lambda query, document: 1 - overlap(query, document)
        fresh = write_pairs(pairs.with_name("more.parquet"), [*PAIRS, ("new", "new")])
        with pytest.raises(PairmineError, match="so another model goes by this name now; name another --store"):
            run(fresh, *words, "-o", outs[-1])
    assert pq.read_table(outs[0])["score_rerank"].null_count == 5
    assert outs[1].read_bytes() == outs[2].read_bytes()
    assert pq.read_table(outs[1])["score_rerank"].to_pylist() == WANTED.tolist()
    counts = [json.loads(pairs.with_name(f"{at}.json").read_text()) for at in range(3)]
    assert [(each["scored"], each["reused"]) for each in counts] == [(15, 0), (5, 10), (0, 15)]
    # One pair is asked again in the second run, to see that it is the same model.
    assert sorted(asked.values()) == [1] * 14 + [2]


def test_a_dry_run_counts_requests_and_sends_none(pairs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RerankServer() as server:
        words = ["--scorer", "rerank:test-model", "--base-url", server.base_url, "--store", pairs.with_name("store")]
        run(pairs, *words, "--batch-documents", 2, "--dry-run")
        assert server.requests == 0
        assert "15 that differ and have no score in --store\n  requests     9\n" in capfd.readouterr().out
        run(pairs, *words, "-o", pairs.with_name("out.parquet"))
        run(pairs, *words, "--dry-run")
    assert "requests     0\n" in capfd.readouterr().out


@pytest.mark.parametrize(("status", "how"), [(500, "got no reply"), (400, "were refused or got no reply")])
def test_too_many_pairs_without_a_score_end_in_exit_1_with_the_output_written(
    pairs: Path, status: int, how: str
) -> None:
    def plan(body: dict[str, Any], before: int) -> Response | None:
        return reply(status, {"error": "boom"}) if body["query"] == "heat flow" else None

    out = pairs.with_name("out.parquet")
    with RerankServer(plan) as server:
        words = ["--scorer", "rerank:test-model", "--base-url", server.base_url, "--retries", 0, "--store", "none"]
        with pytest.raises(PairmineError, match=f"5 of 15 pairs {how}, more than --max-failed") as told:
            run(pairs, *words, "-o", out)
        assert told.value.exit_code == CHECK_FAILED
        run(pairs, *words, "--max-failed", 1, "-o", out)
    assert pq.read_table(out)["score_rerank"].null_count == 5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--scorer", "rerank:m", "--device", "cpu"], "--device has no effect with --scorer rerank:m"),
        (["--scorer", "rerank:m", "--temperature", "1"], "--temperature has no effect with --scorer rerank:m"),
        (["--scorer", "fake:", "--endpoint", "score"], "--endpoint has no effect with --scorer fake:"),
        (["--vectors", "fake:", "--scale", "logit"], "--scale has no effect with --vectors"),
        (["--scorer", "rerank:"], "name a model after the colon, as in rerank:BAAI/"),
    ],
)
def test_options_of_other_scorers_are_refused(pairs: Path, words: list[str], line: str) -> None:
    with pytest.raises(PairmineError) as told:
        run(pairs, *words, "-o", pairs.with_name("out.parquet"))
    assert line in str(told.value)
