"""Query likelihood by the real vLLM, in process and served, against the model's own logits in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.likelihood import QueryLikelihood, ServedModel, TransformersModel, VllmModel, load_prompt
from pairmine.backends.llms import LLM
from pairmine.backends.specs import Spec
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.schema import as_pairs, scale_of

SERVED = "served"
DOCUMENTS = [
    "A list is a mutable sequence of items.",
    "  The wing of an aeroplane lifts it.\nIts drag slows it down.  ",
    "東京は日本の首都です。",
    "กรุงเทพ 🚀 façade",
    "word " * 300,
    "",
]
QUERIES = ["what is a list", "mutable?", "日本の首都はどこですか", "x", "lift and drag of wings " * 20]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


@pytest.fixture(scope="module")
def own(tiny_model: Path) -> np.ndarray:
    """The mean log-probability of each query, by nothing but the model's logits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    means = []
    for query, document in PAIRS:
        beginning = tokenizer(load_prompt().prefix(document))["input_ids"]
        end = tokenizer(" " + query.strip(), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([beginning + end])
        with torch.no_grad():
            logs = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
        at = range(len(beginning), len(beginning) + len(end))
        means.append(np.mean([logs[place - 1, ids[0, place]].item() for place in at]))
    return np.array(means)


@pytest.fixture
def served(server: str) -> Iterator[QueryLikelihood]:
    model = ServedModel(SERVED, server, "none", concurrency=8, timeout_s=60, retries=2)
    yield QueryLikelihood(model)
    model.close()


def scores_of(model: QueryLikelihood) -> np.ndarray:
    return model.score(*(list(side) for side in zip(*PAIRS, strict=True)))


def test_transformers_the_engine_and_the_server_tell_the_likelihood_of_the_logits(
    own: np.ndarray, tiny_model: Path, llm: Any, served: QueryLikelihood
) -> None:
    by_transformers = scores_of(QueryLikelihood(TransformersModel(Spec("hf", str(tiny_model)), device="cpu")))
    np.testing.assert_allclose(by_transformers, own, atol=1e-4)
    np.testing.assert_allclose(scores_of(QueryLikelihood(VllmModel(llm))), own, atol=1e-3)
    np.testing.assert_allclose(scores_of(served), own, atol=1e-3)


def test_a_pair_that_is_too_long_gets_no_score_and_the_others_do(
    llm: Any, tiny_model: Path, served: QueryLikelihood
) -> None:
    queries, documents = ["short", "short", " "], ["word " * 6000, "a word", "a word"]
    transformers = QueryLikelihood(TransformersModel(Spec("hf", str(tiny_model)), device="cpu"))
    for model in (QueryLikelihood(VllmModel(llm)), served, transformers):
        assert np.isnan(model.score(queries, documents)).tolist() == [True, False, True]


def test_the_engine_still_answers_calls_after_it(llm: LLM, ask: Any, make_call: Any) -> None:
    before = ask(llm, [make_call("Say something.")])[0][1].text
    scores_of(QueryLikelihood(VllmModel(llm)))  # type: ignore[arg-type]
    assert ask(llm, [make_call("Say something.")])[0][1].text == before


def test_the_command_scores_through_the_server(tmp_path: Path, server: str) -> None:
    table = {
        "query_id": [f"q{at}" for at in range(len(PAIRS))],
        "query": [query for query, _ in PAIRS],
        "doc_id": [f"d{at}" for at in range(len(PAIRS))],
        "document": [document for _, document in PAIRS],
        "origin": ["given"] * len(PAIRS),
    }
    pq.write_table(as_pairs(pa.table(table)), tmp_path / "pairs.parquet")
    out = tmp_path / "out.parquet"
    words = ["score", str(tmp_path / "pairs.parquet"), "--scorer", f"ql:openai:{SERVED}", "--base-url", server]
    app([*words, "-o", str(out), "-q"], standalone_mode=False)
    found = pq.read_table(out)
    assert scale_of(found.schema.field("score_ql")) == "logprob"
    assert max(found["score_ql"].to_pylist()) < 0
    with pytest.raises(PairmineError, match="--scorer ql:openai:nobody: the server answers 404"):
        app([*words[:3], "ql:openai:nobody", "--base-url", server, "-o", str(out), "-q"], standalone_mode=False)
