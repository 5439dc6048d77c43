"""A cross-encoder served by the real vLLM, at /rerank and at /score, against the same model in this process."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairmine.backends.rerank_servers import RerankScorer, RerankServer
from pairmine.backends.scorers import CrossEncoderScorer
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

CROSS_ENCODER = Path(__file__).parents[3] / "shared" / "models" / "cross-encoder-minilm"
pytestmark = pytest.mark.skipif(not CROSS_ENCODER.is_dir(), reason=f"no cross-encoder in {CROSS_ENCODER}")

QUERIES = ["lift of a wing", "東京の人口", "how is a list sorted", "x"]
DOCUMENTS = ["a wing lifts a plane", "", "sorted() gives a new list 🚀 façade", "wing drag flow " * 300, "soup is hot"]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, until_up: Any) -> Iterator[str]:
    """The base URL of a server with the cross-encoder, under the name `reranker`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(CROSS_ENCODER)]
    command += ["--runner", "pooling", "--served-model-name", "reranker", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager"]
    log = tmp_path_factory.mktemp("reranker") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            until_up(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    """The probabilities of the model in this process; long pairs are cut at its limit."""
    scorer = CrossEncoderScorer(Spec("ce", str(CROSS_ENCODER)), device="cpu", dtype="float32")
    return scorer.score(*(list(side) for side in zip(*PAIRS, strict=True)))


def served(url: str, model: str = "reranker", **more: object) -> RerankScorer:
    return RerankScorer(Spec("rerank", model), RerankServer(base_url=url, timeout_s=120, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("endpoint", ["rerank", "score"])
@pytest.mark.parametrize("batch_documents", [3, 64])
def test_a_served_cross_encoder_gives_the_scores_of_the_one_in_this_process(
    url: str, wanted: np.ndarray, endpoint: str, batch_documents: int
) -> None:
    scorer = served(url, endpoint=endpoint, batch_documents=batch_documents)
    scores = scorer.score(*(list(side) for side in zip(*PAIRS, strict=True)))
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    assert not scorer.reasons
    assert scorer.tokens > 0


def test_raw_scores_are_the_logits_and_want_their_scale_said(url: str, wanted: np.ndarray) -> None:
    raw = {"request_args": {"use_activation": False, "truncate_prompt_tokens": -1}}
    queries, documents = (list(side) for side in zip(*PAIRS, strict=True))
    logits = served(url, scale="logit", **raw).score(queries, documents)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.astype(np.float64))), wanted, atol=1e-4)
    with pytest.raises(PairmineError, match="pass --scale logit"):
        served(url, **raw).score(queries, documents)


def test_a_model_that_is_not_served_is_told_with_those_that_are(url: str) -> None:
    with pytest.raises(PairmineError, match=r"rerank:other: not found .*offers reranker"):
        served(url, "other").score(["x"], ["y"])
