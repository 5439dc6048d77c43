"""Query likelihood: which tokens count, what becomes of pairs without a number, how a server is asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LLMServer, Request, Response, error, reply

from pairmine.backends.encoders import nothing
from pairmine.backends.likelihood import (
    Prompt,
    QueryLikelihood,
    ServedModel,
    TransformersModel,
    UnigramModel,
    common_start,
    load_prompt,
    open_likelihood,
)
from pairmine.backends.models import Advance
from pairmine.backends.specs import Spec
from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.lineage import decode
from pairmine.schema import as_pairs, scale_of
from pairmine.stages.score import open_scorer, score_pairs


class Scripted:
    """Gives each character of the end the log-probability -1, -2, -3, ...; remembers what it was asked."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"model": "scripted"}
        self.asked: list[tuple[str, str]] = []

    def log_probs(self, texts: Sequence[tuple[str, str]], advance: Advance = nothing) -> list[np.ndarray | None]:
        self.asked += texts
        advance(len(texts))
        return [None if "too long" in start else -np.arange(1.0, len(end) + 1) for start, end in texts]

    def close(self) -> None:
        self.asked.clear()


def pairs_of(*texts: tuple[str, str]) -> pa.Table:
    table = {
        "query_id": [f"q{at}" for at in range(len(texts))],
        "query": [query for query, _ in texts],
        "doc_id": [f"d{at}" for at in range(len(texts))],
        "document": [document for _, document in texts],
        "origin": ["given"] * len(texts),
    }
    return as_pairs(pa.table(table))


def test_the_score_is_the_mean_over_the_tokens_of_the_query_alone() -> None:
    model = Scripted()
    scores = QueryLikelihood(model, Prompt("Passage:", "Query:")).score(["ab", "東京"], ["D", " E\n"])
    assert scores.tolist() == [-2, -2]
    assert model.asked == [("Passage: D\nQuery:", " ab"), ("Passage: E\nQuery:", " 東京")]


def test_a_blank_query_and_a_pair_that_is_too_long_get_no_score() -> None:
    found = score_pairs(
        pairs_of(("a", "b"), ("  ", "b"), ("a", "too long")), QueryLikelihood(Scripted(), Prompt("P", "Q")), name="ql"
    )
    assert found.kept["score_ql"].to_pylist() == [-1.5, None, None]
    assert found.notes == {"rows without a score": 2}
    assert scale_of(found.kept.schema.field("score_ql")) == "logprob"


def test_no_pairs_ask_nothing() -> None:
    assert QueryLikelihood(Scripted()).score([], []).shape == (0,)


def test_the_prompt_that_comes_along_ends_where_the_query_begins() -> None:
    prefix = load_prompt().prefix("A wing lifts.")
    assert prefix.endswith("The query was:")
    assert "Passage: A wing lifts.\n" in prefix
    assert load_prompt().digest == load_prompt().digest != Prompt("a", "b").digest


def test_the_stand_in_knows_words_of_the_document() -> None:
    likely, unlikely = UnigramModel().log_probs([("a wing lifts a plane", " wing"), ("soup is hot", " wing")])
    assert likely is not None
    assert unlikely is not None
    # Five words: (1 + 0.1) / (5 + 0.1 * 10000).
    assert likely.tolist() == pytest.approx([math.log(1.1 / 1005)])
    assert unlikely.tolist() == pytest.approx([math.log(0.1 / 1003)])


@pytest.mark.parametrize(("one", "other", "shared"), [([1, 2], [1, 2, 3], 2), ([1, 9], [1, 2, 3], 1), ([], [1], 0)])
def test_tokens_count_from_where_the_lists_part(one: list[int], other: list[int], shared: int) -> None:
    assert common_start(one, other) == shared


# --- a server ---------------------------------------------------------------------------------------


class Server(LLMServer):
    """Tokens are characters, but "ab" is one; a token's log-probability is minus its place."""

    def __init__(self, **more: Any) -> None:
        super().__init__(lambda body: "", **more)
        self.asked: Counter[str] = Counter()
        self.prompts: list[dict[str, Any]] = []
        self.faults: list[Response] = []
        self.route("POST", "/tokenize", self._tokens)
        self.route("POST", "/v1/completions", self._echo)

    def _tokens(self, request: Request) -> Response:
        self.asked["tokenize"] += 1
        return self._locked(request) or reply(200, {"tokens": tokens_of(request.json()["prompt"])})

    def _echo(self, request: Request) -> Response:
        self.asked["completions"] += 1
        body = request.json()
        self.prompts.append(body)
        if self.faults:
            return self.faults.pop()
        if body["model"] not in self.models:
            return error(404, f"The model `{body['model']}` does not exist")
        ids = tokens_of(body["prompt"])
        if len(ids) > 400:
            return error(400, "This model's maximum context length is 400 tokens, however you requested more")
        told = [None, *(-float(place) for place in range(1, len(ids))), -99.0]
        choice = {"index": 0, "prompt_token_ids": ids, "logprobs": {"token_logprobs": told}}
        return reply(200, {"choices": [choice]})


def tokens_of(text: str) -> list[int]:
    return [1, *(ord(char) for char in text.replace("ab", "\x01"))]


def served(server: Server, model: str = "test-model", **more: Any) -> QueryLikelihood:
    key = more.pop("key", "none")
    asked = ServedModel(model, server.base_url, key, **{"concurrency": 4, "timeout_s": 10, "retries": 2, **more})
    return QueryLikelihood(asked, Prompt("P", "Q:"))


def test_a_server_is_asked_to_echo_and_only_the_querys_tokens_count() -> None:
    with Server() as server:
        scores = served(server).score(["x", "ab"], ["D", "D"])
    # "P D\nQ:" are 6 characters behind the first token, so the query's tokens are 7 and 8, the token that was
    # written is left out.
    assert scores.tolist() == [-7.5, -7.5]
    (body, _) = server.prompts
    assert body["prompt"] in ("P D\nQ: x", "P D\nQ: ab")
    assert (body["echo"], body["max_tokens"], body["return_token_ids"]) == (True, 1, True)


def test_a_document_is_cut_into_tokens_once_and_scores_come_in_order() -> None:
    queries = ["x" * (1 + at % 7) for at in range(600)]
    with Server() as server:
        scores = served(server, concurrency=16).score(queries, ["D"] * 600)
    assert server.asked == {"tokenize": 3, "completions": 600}
    # A blank and n letters: places 7 to 7 + n.
    assert scores.tolist() == [7 * -1 - (1 + at % 7) / 2 for at in range(600)]


def test_a_pair_that_the_server_finds_too_long_gets_no_score() -> None:
    with Server() as server:
        scores = served(server).score(["x", "x"], ["D" * 500, "D"])
    assert np.isnan(scores).tolist() == [True, False]


def test_a_fault_is_tried_again_and_a_refusal_ends_the_run() -> None:
    with Server(key="sk-1") as server:
        server.faults = [error(500, "boom"), error(500, "boom")]
        assert served(server, key="sk-1").score(["x"], ["D"]).tolist() == [-7.5]
        with pytest.raises(PairmineError, match="the server answers 401"):
            served(server, key="sk-2").score(["x"], ["D"])
        with pytest.raises(PairmineError, match=r"ql:openai:other: the server answers 404: .*does not exist"):
            served(server, "other", key="sk-1").score(["x"], ["D"])


def test_an_answer_that_is_no_json_is_asked_for_again_and_ends_the_run_if_it_stays_so() -> None:
    torn = Response(200, b'{"choices": [{"prompt')
    with Server() as server:
        server.faults = [torn]
        assert served(server).score(["x"], ["D"]).tolist() == [-7.5]
        server.faults = [torn] * 20
        with pytest.raises(PairmineError, match=r"no answer of http://127.*not JSON.*run the same") as told:
            served(server).score(["x"], ["D"])
    assert told.value.exit_code == GAVE_UP


def test_texts_do_not_go_to_a_host_that_a_server_names() -> None:
    with Server() as server, LLMServer() as other:
        server.faults = [Response(307, b"", {"location": other.base_url})]
        with pytest.raises(PairmineError, match="it redirects to http://127"):
            served(server).score(["x"], ["D"])
        assert other.statuses == {}


def test_what_is_no_vllm_server_is_told() -> None:
    with LLMServer(lambda body: "hello") as server, pytest.raises(PairmineError, match="it has no /tokenize; it wants"):
        QueryLikelihood(ServedModel("m", server.base_url, "none", concurrency=1, timeout_s=5, retries=0)).score(
            ["x"], ["D"]
        )
    with Server() as server:
        server.faults = [reply(200, {"choices": [{"text": "hello"}]})] * 2
        with pytest.raises(PairmineError, match="do not echo the prompt"):
            served(server).score(["x"], ["D"])


def test_a_server_that_is_away_is_told_at_once() -> None:
    with Server() as server:
        url = server.base_url
    model = ServedModel("m", url, "none", concurrency=1, timeout_s=5, retries=8)
    with pytest.raises(PairmineError, match="cannot reach http://127") as told:
        QueryLikelihood(model).score(["x"], ["D"])
    assert told.value.exit_code == GAVE_UP


# --- specs and the command --------------------------------------------------------------------------


def test_specs_are_checked_and_named_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(PairmineError, match="--scorer ql:bm25: no such kind of model; known: vllm:MODEL, openai:MODEL"):
        open_scorer("ql:bm25")
    with pytest.raises(PairmineError, match="--scorer ql:hf:/no/where: no such folder"):
        open_scorer("ql:hf:/no/where")
    with pytest.raises(PairmineError, match="OpenAI's own server tells no likelihoods"):
        open_likelihood(Spec("ql", "openai:gpt"))
    with pytest.raises(PairmineError, match="name a model or a folder after the colon, as in ql:vllm:"):
        open_scorer("ql:")
    assert open_scorer("ql:fake:").scale == "logprob"
    with pytest.raises(PairmineError, match="--dtype has no effect with --scorer ql:fake:; leave it out"):
        open_scorer("ql:fake:", dtype="bfloat16")
    with pytest.raises(PairmineError, match="--store has no effect with --scorer ql:fake:; leave it out"):
        open_scorer("ql:fake:", store="kept")


def test_a_model_that_a_spec_opens_is_closed_again(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(UnigramModel, "close", lambda self: closed.append(self))
    score_pairs(pq.read_table(pairs), "ql:fake:")
    assert len(closed) == 1
    score_pairs(pq.read_table(pairs), open_scorer("ql:fake:"), name="ql")
    assert len(closed) == 1


def run(*arguments: object) -> None:
    app(["score", *map(str, arguments), "-q"], standalone_mode=False)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    pq.write_table(pairs_of(("wing lift", "the lift of a wing"), ("wing lift", "hot soup")), tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def test_the_command_adds_the_column_and_its_scale(pairs: Path, tmp_path: Path) -> None:
    run(pairs, "--scorer", "ql:fake:", "-o", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    near, far = found["score_ql"].to_pylist()
    assert far < near < 0
    assert scale_of(found.schema.field("score_ql")) == "logprob"
    run(pairs, "--scorer", "upr=ql:fake:", "-o", tmp_path / "named.parquet")
    assert "score_upr" in pq.read_table(tmp_path / "named.parquet").column_names


def test_the_command_asks_the_server_that_it_is_told(pairs: Path, tmp_path: Path) -> None:
    with Server() as server:
        run(pairs, "--scorer", "ql:openai:test-model", "--base-url", server.base_url, "-o", tmp_path / "out.parquet")
    assert server.asked["completions"] == 2
    shown = "\n".join(commands(decode(pq.read_metadata(tmp_path / "out.parquet").metadata, "out")))
    assert "--scorer ql:openai:test-model" in shown
    assert server.base_url not in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--scorer", "ql:fake:", "--device", "cpu"], "--device has no effect with --scorer ql:fake:"),
        (["--scorer", "ql:fake:", "--recipe", "judge"], "--recipe has no effect with --scorer ql:fake:"),
        (["--scorer", "ql:openai:m", "--temperature", "1"], "--temperature has no effect with --scorer ql:openai:m"),
        (["--scorer", "ql:hf:m", "--base-url", "http://x/v1"], "--base-url has no effect with --scorer ql:hf:m"),
        (["--scorer", "ql:fake:", "--side", "query"], "--side has no effect without --vectors"),
    ],
)
def test_options_that_do_nothing_for_a_likelihood_are_refused(pairs: Path, words: list[str], line: str) -> None:
    with pytest.raises(PairmineError) as told:
        run(pairs, *words, "-o", pairs.parent / "out.parquet")
    assert line in str(told.value)


# --- a model in this process ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained Llama whose tokens are bytes and that reads 400 of them."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("my-models") / "tiny"
    tokenizer = Tokenizer(models.BPE({char: at for at, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=400).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


BEGINNINGS = ["a wing", "東京は日本の首都です。", "drag " * 30, "flow " * 75, "heat " * 100, ""]
TEXTS = [(f"P {beginning}\nQ:", f" {end}") for beginning in BEGINNINGS for end in ("x", "lift of wings", "é" * 20)]


@pytest.mark.slow
def test_a_local_model_tells_the_likelihood_of_its_own_logits(local_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(local_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(local_model)
    found = TransformersModel(Spec("hf", str(local_model)), device="cpu").log_probs(TEXTS)
    for (beginning, end), values in zip(TEXTS, found, strict=True):
        ids = torch.tensor([tokenizer(beginning + end)["input_ids"]])
        if ids.shape[1] > 400:
            assert values is None
            continue
        with torch.no_grad():
            logs = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
        places = range(len(tokenizer(beginning)["input_ids"]), ids.shape[1])
        np.testing.assert_allclose(values, [logs[at - 1, ids[0, at]].item() for at in places], atol=1e-5)
    assert sum(values is None for values in found) == 4


def test_a_pair_has_the_same_likelihood_to_the_bit_whatever_stands_beside_it(local_model: Path) -> None:
    model = TransformersModel(Spec("hf", str(local_model)), device="cpu")
    told: list[int] = []
    whole = model.log_probs(TEXTS, told.append)
    assert sum(told) == len(TEXTS)
    for part in (TEXTS[4:9], *([text] for text in TEXTS[::4])):
        for text, values in zip(part, model.log_probs(part), strict=True):
            np.testing.assert_array_equal(values, whole[TEXTS.index(text)])


def test_a_local_model_leaves_no_path_in_the_output(pairs: Path, tmp_path: Path, local_model: Path) -> None:
    run(pairs, "--scorer", f"ql:hf:{local_model}", "-o", tmp_path / "out.parquet")
    run(pairs, "--scorer", f"ql:hf:{local_model}", "-o", tmp_path / "again.parquet")
    # An untrained model finds each of 256 bytes about equally likely.
    scores = pq.read_table(tmp_path / "out.parquet")["score_ql"].to_pylist()
    assert scores == pytest.approx([-math.log(256)] * 2, abs=0.1)
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()
    assert b"my-models" not in (tmp_path / "out.parquet").read_bytes()
