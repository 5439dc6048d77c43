"""Scores from a reranker behind a server: `/rerank` as Jina, Cohere, vLLM, Infinity and TEI have it, `/score` of vLLM.

What servers differ in is learnt from their answers: whether documents go by the name `documents` or `texts`,
whether a `top_n` is known, and how a pair that is too long for the model is to be cut.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.backends.admission import CEILING, Admission
from pairmine.backends.encoders import nothing
from pairmine.backends.exchange import (
    DEFAULT_URL,
    PATIENCE_S,
    Endpoint,
    Exchange,
    Limits,
    Refused,
    Wire,
    find_base_url,
    find_key,
)
from pairmine.backends.http_clients import LARGEST_BODY
from pairmine.backends.models import Advance
from pairmine.backends.requests import Complaint, count_of, read_complaint
from pairmine.backends.sending import SendQueue, answers
from pairmine.backends.specs import Spec
from pairmine.errors import BAD_INPUT, PairmineError
from pairmine.llm.calls import Failure

ENDPOINTS = ("rerank", "score")
SCALES = {"probability": (0.0, 1.0), "similarity": (0.0, 1.0), "cosine": (-1.0, 1.0), "logit": (-math.inf, math.inf)}
"""What a server's scores may be said to be, with the lowest and the highest."""
_SLACK = 1e-3
"""What 16 bits leave above 1."""

_MOST = float(np.finfo(np.float32).max)
_BYTES_PER_TOKEN = 4
_REFUSALS = (400, 413, 422, 501)
_OURS = ("model", "query", "queries", "documents", "texts", "text_1", "text_2", "top_n")
_CUTS = ("truncate_prompt_tokens", "truncate", "max_tokens_per_doc")
_OF_TEXTS = re.compile(r"missing.{0,40}\btexts\b|\btexts\b.{0,40}(missing|required)")
_OF_COUNT = re.compile(r"batch|too many|at most|maximum (number|allowed)|array")
# llama.cpp calls a pair that is too long an error of the server, with a 500.
_OF_LENGTH = re.compile(r"too (large|long)|context length|exceed|maximum.{0,30}(length|tokens)|must have less than")


@dataclass(frozen=True)
class RerankServer:
    """Where and how pairs are sent, and what the scores that come are said to be.

    `request_args` are further fields of each request, as `instruction`. `batch_documents` is how many pairs a
    request may have: documents of one query at `/rerank`, any pairs at `/score`.
    """

    base_url: str | None = None
    key_file: str | None = None
    endpoint: str = "rerank"
    scale: str = "probability"
    batch_documents: int = 64
    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    timeout_s: float = 600.0
    retries: int = 8
    backoff_s: float = 0.5
    patience_s: float = PATIENCE_S
    request_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Batch:
    """The pairs of a request, side by side, and their rows."""

    rows: np.ndarray
    queries: list[str]
    documents: list[str]

    def part(self, of: slice) -> _Batch:
        return _Batch(self.rows[of], self.queries[of], self.documents[of])


@dataclass(frozen=True)
class _Scores:
    """The scores of a request in the order of its pairs, (n,) float64, and the tokens that they took."""

    values: np.ndarray
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class _Form:
    """How one server takes requests: what it calls documents, whether it knows `top_n` and is to cut long pairs."""

    documents: str = "documents"
    has_top_n: bool = True
    cuts: bool = False


class RerankScorer:
    """A reranker that a server runs. A pair that it refuses for itself, or does not answer, gets NaN.

    Of the `asked` pairs `reasons` counts why they got none; where the server failed it begins with "failed: ".
    What a server gives for a pair may differ in its last bits with the pairs beside it; scores that are kept
    are therefore what makes a second run give the same bytes.
    """

    def __init__(
        self, spec: Spec, server: RerankServer | None = None, *, say: Callable[[str], object] = lambda line: None
    ) -> None:
        self._server = server = server or RerankServer()
        self._spec = spec
        self._say = say
        check_rerank_server(spec, server)
        self._base_url = find_base_url(server.base_url)
        self._key = find_key(self._base_url, Path(server.key_file) if server.key_file else None)
        self._admission: Admission | None = None
        self._most = server.batch_documents
        self.scale = server.scale
        self.name = f"rerank:{spec.target}"
        self.asked = 0
        self.requests = 0
        self.tokens = 0
        self.reasons: Counter[str] = Counter()
        self.facts: dict[str, Any] = {**self.identity(), "server": "--base-url"}

    def identity(self) -> dict[str, Any]:
        """All that a score depends on beside its texts, as far as a client can know it; not where the server is."""
        args = {"request_args": dict(self._server.request_args)} if self._server.request_args else {}
        return {"model": self.name, "endpoint": self._server.endpoint, "scale": self.scale, **args}

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """One score per pair, (n,) float32, NaN where the server gives none.

        Raises PairmineError when the run cannot go on: exit code 3 when the server gave up, 2 for a score that
        its scale cannot have.
        """
        scores = np.full(len(queries), np.nan, np.float32)
        for rows, values in self.parts(queries, documents, advance):
            scores[rows] = values
        return scores

    def to_send(self, queries: Sequence[str], documents: Sequence[str]) -> tuple[int, int]:
        """How many pairs would be sent for these, and in how many requests; nothing is sent."""
        return len(queries), sum(1 for _ in self._batches(queries, documents))

    def parts(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows, scores) of each request as soon as it is answered; rows without a score are left out."""
        if not len(queries):
            return
        queue = SendQueue(self._batches(queries, documents))
        with closing(answers(self._exchange(), queue)) as answered:
            for batch, result in answered:
                if isinstance(result, Failure):
                    advance(self._failed(batch, result, queue))
                    continue
                try:
                    self._check_scale(result.values)
                except PairmineError as error:
                    queue.stop(error)
                    continue
                self.requests += 1
                self.asked += len(batch.rows)
                self.tokens += result.prompt_tokens
                advance(len(batch.rows))
                yield batch.rows, result.values.astype(np.float32)

    def _failed(self, batch: _Batch, failure: Failure, queue: SendQueue[_Batch]) -> int:
        """Send what was refused again in two halves, down to the pair that the server minds; how many are given up."""
        count = len(batch.rows)
        if isinstance(failure, Refused) and count > 1:
            half = count // 2
            if _OF_COUNT.search(failure.reason.lower()):
                self._most = min(self._most, half)
            queue.again(batch.part(slice(half, None)))
            queue.again(batch.part(slice(half)))
            return 0
        is_refused = isinstance(failure, Refused)
        self.reasons[f"refused: {failure.reason}" if is_refused else f"failed: {failure.reason}"] += count
        self.asked += count
        return count

    def _check_scale(self, values: np.ndarray) -> None:
        low, high = SCALES[self.scale]
        outside = values[(values < low - _SLACK) | (values > high + _SLACK)]
        if len(outside):
            raise PairmineError(
                f"{self.name}: the server gives {outside[0]:g}, and a {self.scale} lies in [{low:g}, {high:g}]; "
                "pass --scale logit for raw scores, or have the server squash them",
                exit_code=BAD_INPUT,
            )

    def _batches(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[_Batch]:
        """Requests for all pairs; at `/rerank` each is about one query."""
        groups = _by_text(queries) if self._server.endpoint == "rerank" else [np.arange(len(queries))]
        for group in groups:
            at = 0
            while at < len(group):
                rows = group[at : at + self._most]
                at += len(rows)
                yield _Batch(rows, [_sent(queries[row]) for row in rows], [_sent(documents[row]) for row in rows])

    def _exchange(self) -> _Reranking:
        server = self._server
        if self._admission is None:
            ceiling = server.concurrency or CEILING
            self._admission = Admission(ceiling, rpm=server.rpm, tpm=server.tpm, backoff_s=server.backoff_s)
        self._admission.in_flight = 0
        endpoint = _Endpoint(self._spec.target, server.endpoint, server.request_args)
        # Some repeat every document.
        largest = LARGEST_BODY + (server.batch_documents << 20)
        wire = Wire(self._base_url, self._key, server.timeout_s, endpoint.path, largest)
        limits = Limits(server.retries, server.patience_s)
        return _Reranking(self.name, endpoint, wire, self._admission, limits, self._say, server.tpm is not None)


def check_rerank_server(spec: Spec, server: RerankServer) -> None:
    """Raise a PairmineError for settings that cannot be right."""
    for flag, value, known in (("--endpoint", server.endpoint, ENDPOINTS), ("--scale", server.scale, tuple(SCALES))):
        if value not in known:
            raise PairmineError(f"{flag} {value}: choose {', '.join(known)}")
    if find_base_url(server.base_url) == DEFAULT_URL:
        raise PairmineError(
            f"--scorer {spec}: OpenAI's own server reranks nothing; "
            "pass --base-url of one that does, as http://localhost:8000/v1"
        )
    if taken := [name for name in server.request_args if name in _OURS]:
        raise PairmineError(f"--request-arg {taken[0]}: every request has its own; leave it out")


def _by_text(texts: Sequence[str]) -> list[np.ndarray]:
    """The rows of each distinct text, in the order of the first ones."""
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, []).append(row)
    return [np.array(found) for found in rows.values()]


def _sent(text: str) -> str:
    """A text as it is sent: lone surrogates are no UTF-8, and some servers refuse an empty one."""
    return text.encode("utf-8", "replace").decode() or " "


class _Reranking(Exchange[_Batch, _Scores, _Form]):
    """Requests for scores under way."""

    def __init__(self, name: str, endpoint: _Endpoint, *more: Any) -> None:
        super().__init__(name.partition(":")[2], endpoint, *more)
        self.name = name

    async def _offer(self) -> str:
        models = await self._wire.models()
        if models and self.model not in models:
            return f"{self._wire.shown_url} offers {', '.join(sorted(models)[:6])}"
        where = f"{self._wire.shown_url}{self._wire.path}"
        return f"{where} was asked; check --base-url (vLLM, Jina and Cohere end in /v1 or /v2, TEI and Infinity do not)"


class _Endpoint(Endpoint[_Batch, _Scores, _Form]):
    """`/rerank` or `/score` as an endpoint."""

    remedy = "change the model or the request that it complains of"

    def __init__(self, model: str, kind: str, extra: Mapping[str, Any]) -> None:
        self.path = f"/{kind}"
        self._model = model
        self._is_rerank = kind == "rerank"
        self._extra = dict(extra)
        self._may_cut = not any(name in extra for name in _CUTS)

    def first_guess(self, base_url: str) -> _Form:
        return _Form()

    def body(self, call: _Batch, dialect: _Form) -> dict[str, Any]:
        body: dict[str, Any]
        is_tei = dialect.documents == "texts"
        if not self._is_rerank:
            body = {"model": self._model, "text_1": call.queries, "text_2": call.documents}
        elif is_tei:
            body = {"query": call.queries[0], "texts": call.documents}
        else:
            body = {"model": self._model, "query": call.queries[0], "documents": call.documents}
            # Some servers give the best ten alone, unless they are told.
            body |= {"top_n": len(call.documents)} if dialect.has_top_n else {}
        if dialect.cuts:
            body |= {"truncate": True} if is_tei else {"truncate_prompt_tokens": -1}
        return body | self._extra

    def kind(self, call: _Batch) -> object:
        return None

    def read(self, body: Any, call: _Batch) -> _Scores | Complaint:
        return _read(body, len(call.documents))

    def is_hopeless(self, complaint: Complaint) -> bool:
        return complaint.status == 500 and bool(_OF_LENGTH.search(complaint.message.lower()))

    def adapted(self, complaint: Complaint, call: _Batch, dialect: _Form) -> tuple[_Form, str] | None:
        if complaint.status not in _REFUSALS:
            return None
        told = f"{complaint.param} {complaint.message}".lower().replace(self._model.lower(), "")
        if self._is_rerank and dialect.documents != "texts" and _OF_TEXTS.search(told):
            return replace(dialect, documents="texts"), "wants its documents as texts; sending them so"
        if self._is_rerank and dialect.has_top_n and "top_n" in told:
            return replace(dialect, has_top_n=False), "takes no top_n; leaving it out"
        if self._may_cut and not dialect.cuts and _OF_LENGTH.search(told):
            return replace(dialect, cuts=True), "takes no pair of that length; asking it to cut long ones"
        return None

    def tokens(self, call: _Batch) -> float:
        return sum(map(len, (*call.queries, *call.documents))) / _BYTES_PER_TOKEN

    def learn(self, call: _Batch, reply: _Scores) -> None:
        """Tokens are guessed, not learned."""


def _read(body: Any, count: int) -> _Scores | Complaint:
    """The scores in a reply about `count` pairs, in the order of the pairs, whatever order they came in."""
    if isinstance(body, dict) and body.get("error"):
        return read_complaint(200, body)
    found = body
    if isinstance(body, dict):
        found = next((body[name] for name in ("results", "data") if isinstance(body.get(name), list)), None)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        return Complaint(200, "what came is no list of scores")
    if len(found) != count:
        return Complaint(200, f"{len(found)} scores came for {count} documents")
    places = [entry.get("index") for entry in found]
    if sorted(place if isinstance(place, int) else -1 for place in places) != list(range(count)):
        return Complaint(200, f"the scores of {count} documents are not numbered from 0 to {count - 1}")
    values = np.empty(count)
    for place, entry in zip(places, found, strict=True):
        value = entry.get("relevance_score", entry.get("score"))
        # A score is kept in 32 bits.
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST <= value <= _MOST:
            shown = repr(value)[:40] if value is None or isinstance(value, str | bool | float) else type(value).__name__
            return Complaint(200, f"a score is {shown}, which is no number")
        values[place] = value
    usage = body.get("usage") if isinstance(body, dict) else None
    tokens = (usage.get("prompt_tokens") or usage.get("total_tokens")) if isinstance(usage, dict) else 0
    return _Scores(values, count_of(tokens))
