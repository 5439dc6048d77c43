"""The commands that ask a server, each with the stand-in that it asks, on a few real abstracts and their claims."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from batch_server import BatchServer
from embedding_server import EmbeddingServer
from llm_server import Bend, LLMServer, Request, Response, reply
from rerank_server import RerankServer

from pairmine.backends import admission, batch_service, exchange, likelihood, openai_batch
from pairmine.backends.encoders import openai_embeddings

SCIFACT = Path(__file__).parents[3] / "shared" / "data" / "scifact"
KEY = "sk-marked-of-the-trust-campaign-4242"
TIMEOUT_S = 1.0
LONGEST_S = 60.0
"""No command of this campaign may take longer: it hangs, then."""

Send = Response | Bend
Serving = LLMServer | BatchServer


@dataclass
class Done:
    """What a shell has of a command."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def line(self) -> str:
        """The last line on stderr: the one about the error, if there was one."""
        return self.err.rstrip("\n").rpartition("\n")[2]


class Hung(AssertionError):
    """A command that did not end."""


@contextmanager
def bounded(seconds: float = LONGEST_S) -> Iterator[None]:
    """Raises Hung in what takes longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung(f"still running after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Have patience end in a second that is minutes or hours for users; the rules are the same."""
    wire, limits = exchange.Wire.__init__, exchange.Limits.__init__

    def quick_wire(self: Any, base_url: str, key: str, timeout_s: float, *more: Any) -> None:
        wire(self, base_url, key, min(timeout_s, TIMEOUT_S), *more)

    def quick_limits(self: Any, retries: int, patience_s: float) -> None:
        limits(self, min(retries, 3), min(patience_s, 1.5))

    patch.setattr(exchange.Wire, "__init__", quick_wire)
    patch.setattr(exchange.Limits, "__init__", quick_limits)
    patch.setattr(exchange, "_GRACE_S", 0.5)
    for module in (exchange, admission, likelihood):
        patch.setattr(module, "LONGEST_HOLD_S", 1.5)
    patch.setattr(likelihood, "_LONGEST_PAUSE_S", 0.02)
    patch.setattr(likelihood, "PATIENCE_S", 1.5)
    patch.setattr(admission, "LONGEST_BACKOFF_S", 0.02)
    patch.setattr(openai_embeddings, "_TEXTS_ELSEWHERE", 2)
    quick = {"timeout_s": TIMEOUT_S, "patience_s": 1.5, "poll_s": 0.002}
    for name, value in quick.items():
        patch.setitem(openai_batch.open_batch.__kwdefaults__ or {}, name, value)
    patch.setattr(batch_service, "_LATE_S", TIMEOUT_S)
    patch.setattr(batch_service, "_SLOWEST", 1e9)


def run(folder: Path, words: list[str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Done:
    """A command as a shell would run it, in this process: hundreds of them start in the time of one."""
    from pairmine.cli.main import main

    exchange._LEARNED.clear()
    with patch.context() as here:
        here.chdir(folder)
        here.setattr(sys, "argv", ["pairmine", *words])
        capsys.readouterr()
        began = time.monotonic()
        with pytest.raises(SystemExit) as left, bounded():
            main()
        took = time.monotonic() - began
    said = capsys.readouterr()
    return Done(int(left.value.code or 0), said.out, said.err, took)


# --- inputs -----------------------------------------------------------------------------------------------


def abstracts(count: int) -> list[dict[str, str]]:
    with gzip.open(SCIFACT / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, count)]
    return [{"id": row["_id"], "text": row["text"][:200], "title": row["title"]} for row in rows]


def write_inputs(folder: Path, count: int = 6) -> None:
    """A corpus, and pairs of each title with its own abstract and the next one."""
    rows = abstracts(count)
    corpus = [{"id": row["id"], "text": row["text"]} for row in rows]
    pairs = [
        {"query_id": f"q{at}", "query": row["title"], "doc_id": other["id"], "document": other["text"], "label": label}
        for at, row in enumerate(rows)
        for other, label in ((row, 1), (rows[(at + 1) % count], 0))
    ]
    for name, lines in (("corpus", corpus), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


INPUTS = {"corpus.jsonl", "pairs.jsonl"}
OURS = {".pairmine", "led.sqlite", "led.sqlite-wal", "led.sqlite-shm", "kept"}
"""What a run may leave for a later one."""

_WORDS = [f"{one}{two}{end}" for one in ("ba", "ke", "li", "mo", "nu") for two in ("da", "fi", "go") for end in "nrst"]


def written(body: dict[str, Any]) -> str:
    """A query and a passage of the prompt's own, the same whenever it is asked."""
    draw = random.Random(body["messages"][-1]["content"])
    query, passage = (" ".join(draw.choices(_WORDS, k=count)) for count in (8, 20))
    return json.dumps({"query": f"{query} coast?", "hard_negative": f"{passage} coast."})


def judged(body: dict[str, Any]) -> str:
    """A verdict of the prompt's own."""
    score = random.Random(body["messages"][-1]["content"]).randint(0, 5)
    return json.dumps({"reason": "By the words that they share off the coast.", "score": score})


# --- targets ----------------------------------------------------------------------------------------------


def _chat(server: Any, plan: Callable[[], Send | None]) -> None:
    server.plan = lambda body, prompt, before: plan()


def _list(server: Any, plan: Callable[[], Send | None]) -> None:
    server.fails = lambda body, before: plan()


@dataclass
class Target:
    """A command and the server that it asks. `words` are those of the command, but for the address of the server.

    What does not keep what came asks for all of it again in the next run.
    """

    name: str
    serve: Callable[[], AbstractContextManager[Any]]
    words: list[str]
    set_plan: Callable[[Any, Callable[[], Send | None]], None]
    kind: str
    has_ledger: bool = False
    keeps: bool = True
    baseline: bytes = b""
    servers: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name

    def command(self, server: Any) -> list[str]:
        return [*self.words, "--base-url", server.base_url, "-o", "out.parquet"]


class LikelihoodServer(LLMServer):
    """As vLLM echoes a prompt: tokens are its letters, and each has a log-probability of its own."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.fails: Callable[[dict[str, Any], int], Send | None] = lambda body, before: None
        self.route("POST", "/tokenize", self._told)
        self.route("POST", "/v1/completions", self._told)

    def _told(self, request: Request) -> Response:
        before = self.requests
        self.requests += 1
        if refused := self._locked(request):
            return refused
        body = request.json()
        planned = self.fails(body, before)
        if isinstance(planned, Response):
            return planned
        ids = [1, *map(ord, body["prompt"])]
        values = [None, *(-(each % 97) / 16 for each in ids[1:]), -9.0]
        choice = {"index": 0, "prompt_token_ids": ids, "logprobs": {"token_logprobs": values}}
        value = {"choices": [choice]} if "echo" in body else {"count": len(ids), "tokens": ids}
        answered = reply(200, value, paid=f"{request.path} {body['prompt']}")
        return answered if planned is None else planned(answered)


def _rerank(**options: Any) -> Callable[[], Any]:
    def serve() -> RerankServer:
        shape = options.pop("shape", None) if "shape" in options else None
        server = RerankServer(key=KEY, **options)
        if shape is not None:
            server.shape = shape
        return server

    return serve


def cohere(value: Any) -> Any:
    """As Cohere has it: no model, no documents."""
    results = [{"index": each["index"], "relevance_score": each["relevance_score"]} for each in value["results"]]
    return {"id": "0", "results": results, "meta": {"billed_units": {"search_units": 1}}}


def infinity(value: Any) -> Any:
    """As Infinity has it: the documents are null."""
    return {**value, "object": "rerank", "results": [{**each, "document": None} for each in value["results"]]}


_ONE_BY_ONE = ["--concurrency", "4"]
_SERVED = ["--store", "kept", *_ONE_BY_ONE]
_RERANK = ["score", "pairs.jsonl", "--scorer", "rerank:test-model", *_SERVED, "--timeout", str(TIMEOUT_S)]
_LIKELIHOOD = ["score", "pairs.jsonl", "--scorer", "ql:openai:test-model", "--timeout", str(TIMEOUT_S)]
_LEDGER = ["--ledger", "led.sqlite", "--timeout", str(TIMEOUT_S), "--retries", "3", *_ONE_BY_ONE]
_JUDGE = ["score", "pairs.jsonl", "--scorer", "openai:test-model", "--recipe", "judge", *_LEDGER]


def targets() -> list[Target]:
    """Each way of asking a server."""
    chat = ["generate", "queries", "corpus.jsonl", "--llm", "openai:test-model", *_LEDGER]
    embed = ["embed", "corpus.jsonl", "--encoder", "openai:test-model", *_SERVED]
    mine = ["mine", "pairs.jsonl", "--corpus", "corpus.jsonl", "--retriever", "openai:test-model", "--depth", "3"]
    return [
        Target("generate", lambda: LLMServer(written, key=KEY), chat, _chat, "chat", True),
        Target("judge", lambda: LLMServer(judged, key=KEY), _JUDGE, _chat, "chat", True),
        Target("embed", lambda: EmbeddingServer(key=KEY), embed, _list, "vectors"),
        Target("mine", lambda: EmbeddingServer(key=KEY), [*mine, *_SERVED], _list, "vectors"),
        Target("rerank: Jina", _rerank(), _RERANK, _list, "results"),
        Target("rerank: Cohere", _rerank(shape=cohere), _RERANK, _list, "results"),
        Target("rerank: Infinity", _rerank(shape=infinity), _RERANK, _list, "results"),
        Target("rerank: TEI", _rerank(kind="tei"), _RERANK, _list, "tei"),
        Target(
            "rerank: vLLM /score", _rerank(), [*_RERANK, "--endpoint", "score", "--batch-documents", "3"], _list, "data"
        ),
        Target(
            "likelihood",
            lambda: LikelihoodServer(key=KEY),
            [*_LIKELIHOOD, "--retries", "3", *_ONE_BY_ONE],
            _list,
            "likelihood",
            keeps=False,
        ),
    ]


def require(is_so: object, what: object, done: Done | None = None) -> None:
    """Raise an AssertionError that says what was tried and what came of it."""
    if not is_so:
        raise AssertionError(f"{what}" + (f": exit {done.code}\n{done.err}" if done else ""))


def left_over(folder: Path, code: int) -> set[str]:
    """What a run left that nobody takes up."""
    found = {path.name for path in folder.iterdir()} - INPUTS - OURS
    return found - ({"out.parquet"} if code in (0, 1) else set())


def paid_of(server: Any) -> Counter[str]:
    return server.paid() if isinstance(server, BatchServer) else server.paid


def environment(patch: pytest.MonkeyPatch) -> None:
    """The variables of a user with a key and nothing else."""
    for name in list(os.environ):
        if (
            name.startswith("OPENAI_")
            or name.upper().endswith("_PROXY")
            or name in ("PAIRMINE_LEDGER", "SSL_CERT_FILE")
        ):
            patch.delenv(name)
    patch.setenv("OPENAI_API_KEY", KEY)
