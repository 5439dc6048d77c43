"""Embeddings from any OpenAI-compatible server: several texts to a request, many requests at once, retried."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from pairmine.backends.admission import CEILING, Admission
from pairmine.backends.encoders.cutting import cutter_for
from pairmine.backends.encoders.protocol import Side, nothing
from pairmine.backends.exchange import (
    PATIENCE_S,
    Endpoint,
    Exchange,
    Limits,
    Refused,
    Wire,
    find_base_url,
    find_key,
    is_local,
)
from pairmine.backends.http_clients import LARGEST_BODY
from pairmine.backends.models import Advance
from pairmine.backends.requests import OPENAI_HOST, Complaint, Malformed, count_of, read_complaint
from pairmine.backends.sending import SendQueue, answers
from pairmine.backends.specs import Spec
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.llm.calls import Failure

PATH = "/embeddings"
SCHEME = 1
"""The number of the way in which texts become requests and vectors; another one makes other vectors."""

# OpenAI takes 2048 texts and 300,000 tokens a request; text-embeddings-inference takes 32 texts unless told otherwise.
_TEXTS_AT_OPENAI, _TEXTS_ELSEWHERE = 256, 32
_TOKENS_PER_REQUEST = 250_000
_LONGEST_AT_OPENAI = 8192
_LARGEST_VECTOR = 256 << 10  # 10,000 numbers as JSON
_PIECE = 1024
_BYTES_PER_TOKEN = 4

_OURS = ("model", "input", "encoding_format", "dimensions")
_SIDES = ("query:", "document:")
_OF_ENCODING = re.compile(r"encoding_format|base64")
_OF_COUNT = re.compile(r"batch|too many|at most|maximum (number|allowed)|array")
# llama.cpp calls a text that is too long an error of the server, with a 500.
_OF_LENGTH = re.compile(r"too (large|long)|context|exceed|maximum.{0,30}(length|tokens)|must have less than")
_REFUSALS = (400, 422, 501)

Encoding = Literal["base64", "float", "unsaid"]
_LADDER: tuple[Encoding, ...] = ("base64", "float", "unsaid")


@dataclass(frozen=True)
class EmbeddingServer:
    """Where and how texts are sent. `request_args` are further fields of each request.

    One written `query:NAME` or `document:NAME` is for the texts of that side alone. `tokenizer` is the folder of
    the model, or its tokenizer.json, by which texts are cut.
    """

    base_url: str | None = None
    key_file: str | None = None
    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    timeout_s: float = 600.0
    retries: int = 8
    backoff_s: float = 0.5
    patience_s: float = PATIENCE_S
    request_args: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    texts_per_request: int | None = None


@dataclass(frozen=True)
class Estimate:
    """What embedding would take: `usd` is None where no price is known; `is_exact` when tokens were counted."""

    texts: int
    requests: int
    tokens: int
    usd: float | None
    is_exact: bool


@dataclass(frozen=True, eq=False)
class _Batch:
    """The texts of a request, as they are sent, and their rows."""

    rows: np.ndarray
    texts: list[str]
    tokens: float
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class _Vectors:
    """The vectors of a request in the order of its texts, (n, dim) float32, and the tokens that they took."""

    vectors: np.ndarray
    prompt_tokens: int = 0
    completion_tokens: int = 0


class OpenAIEncoder:
    """An embedding model behind an OpenAI-compatible server; prompts are put before the texts.

    What a server gives for a text may differ in its last bits with the texts beside it; vectors that are kept
    are therefore what makes a second run give the same bytes. `may_change` tells a store that nobody but the server
    knows what model goes by the name: many serve a single one and look at no name.
    """

    may_change = True

    def __init__(
        self,
        spec: Spec,
        *,
        flag: str = "--retriever",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        truncate_dim: int | None = None,
        server: EmbeddingServer | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        server = server or EmbeddingServer()
        self.model = spec.target
        self.name = f"openai:{self.model}"
        self._server, self._dimensions = server, truncate_dim
        self._say = say or (lambda line: None)
        self._prompts = {"query": query_prompt or "", "document": document_prompt or ""}
        self._extra = {side: _extra(server.request_args, side) for side in ("query", "document")}
        self._base_url = find_base_url(server.base_url)
        self._key = find_key(self._base_url, Path(server.key_file) if server.key_file else None)
        self._is_openai = urlsplit(self._base_url).hostname == OPENAI_HOST
        self._cutter = cutter_for(self.model, server.tokenizer, flag=f"{flag} {spec}")
        if max_length and self._cutter is None:
            raise PairmineError(
                f"{flag} {spec}: --max-length wants the model's tokenizer to cut by; pass --tokenizer FOLDER, "
                "or have the server cut, as vLLM does by --request-arg truncate_prompt_tokens=512"
            )
        self._max_length = max_length
        self._most_texts = server.texts_per_request or (_TEXTS_AT_OPENAI if self._is_openai else _TEXTS_ELSEWHERE)
        self._admission: Admission | None = None
        self._dim = truncate_dim
        self.requests = 0
        self.tokens = 0
        self.facts: dict[str, Any] = {
            "model": self.name,
            "server": "local" if is_local(self._base_url) else urlsplit(self._base_url).hostname,
            **({"prompts": given} if (given := {side: text for side, text in self._prompts.items() if text}) else {}),
            **({"max_length": max_length} if max_length else {}),
            **({"dim": truncate_dim} if truncate_dim else {}),
            **({"request_args": dict(server.request_args)} if server.request_args else {}),
        }

    def __repr__(self) -> str:
        return f"OpenAIEncoder({self.model!r})"

    def identity(self, side: Side) -> dict[str, Any]:
        """All that a vector depends on beside its text, as far as a client can know it."""
        return {
            "model": self.name,
            "server": self._wire().shown_url,
            "prompt": self._prompts[side],
            "max_length": self._max_length,
            "dim": self._dimensions,
            "request_args": self._extra[side],
            "scheme": SCHEME,
        }

    @property
    def usd(self) -> float | None:
        """What was paid so far, None where no price is known."""
        price = self._price()
        return None if price is None else self.tokens * price / 1e6

    def estimate(self, texts: Sequence[str], side: Side) -> Estimate:
        """What embedding `texts` would take; nothing is sent."""
        tokens = requests = 0
        for batch in self._batches(texts, side):
            tokens += int(batch.tokens)
            requests += 1
        price = self._price()
        usd = None if price is None else tokens * price / 1e6
        return Estimate(len(texts), requests, tokens, usd, self._cutter is not None)

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length; (0, 0) for none."""
        found: np.ndarray | None = None
        for rows, vectors in self.parts(texts, side, advance):
            if found is None:
                found = np.empty((len(texts), vectors.shape[1]), np.float32)
            found[rows] = vectors
        return np.empty((0, 0), np.float32) if found is None else found

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of each request as soon as it is answered, in the order of the answers.

        Raises PairmineError when the run cannot go on: exit code 3 when the server gave up, 2 for a text that
        it refuses; what was under way is waited for and handed out before.
        """
        if not len(texts):
            return
        queue = SendQueue(self._batches(texts, side))
        with closing(answers(self._exchange(), queue)) as answered:
            for batch, result in answered:
                if isinstance(result, Failure):
                    self._failed(batch, result, queue)
                    continue
                try:
                    vectors = self._checked(batch, result)
                except PairmineError as error:
                    queue.stop(error)
                    continue
                self.requests += 1
                self.tokens += result.prompt_tokens
                advance(len(batch.rows))
                yield batch.rows, vectors

    def _failed(self, batch: _Batch, failure: Failure, queue: SendQueue[_Batch]) -> None:
        """Send a request that was refused again in two halves, down to the text that the server minds."""
        if not isinstance(failure, Refused):
            what = f"{len(batch.rows)} texts got no vectors ({failure.reason}); run again to continue"
            queue.stop(PairmineError(f"{self.name}: {what}", exit_code=GAVE_UP))
        elif len(batch.rows) > 1:
            half = len(batch.rows) // 2
            if _OF_COUNT.search(failure.reason.lower()):
                self._most_texts = min(self._most_texts, half)
            share = batch.tokens / len(batch.rows)
            for part in (slice(half), slice(half, None)):
                rows = batch.rows[part]
                queue.again(_Batch(rows, batch.texts[part], share * len(rows), batch.extra))
        else:
            shown = _shown(batch.texts[0])
            remedy = ""
            if _OF_LENGTH.search(failure.reason.lower()):
                remedy = "; cut texts by --max-length, with --tokenizer for a server of your own"
            queue.stop(
                PairmineError(
                    f"{self.name}: the server refuses the text {shown} of {len(batch.texts[0]):,} characters "
                    f"({failure.reason}){remedy}",
                    exit_code=BAD_INPUT,
                )
            )

    def _checked(self, batch: _Batch, found: _Vectors) -> np.ndarray:
        """The vectors of a reply in unit length; raises PairmineError for what cannot be one."""
        vectors = found.vectors.astype(np.float64)
        dim = vectors.shape[1]
        if self._dim is None:
            self._dim = dim
        if dim != self._dim:
            if self._dimensions is not None:
                what = f"asked for {self._dim} dimensions and got {dim}: the server cannot cut them"
                raise PairmineError(f"{self.name}: {what}; leave out --truncate-dim")
            what = f"a vector has {dim} dimensions, and those before it had {self._dim}"
            raise PairmineError(f"{self.name}: {what}; is more than one model behind {self._wire().shown_url}?")
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        broken = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
        if len(broken):
            kind = "zero" if norms[broken[0]] == 0 else "not finite"
            raise PairmineError(
                f"{self.name}: the vector of {_shown(batch.texts[int(broken[0])])} is {kind}; "
                "look at the server, such a vector cannot be compared",
                exit_code=GAVE_UP,
            )
        return (vectors / norms[:, None]).astype(np.float32)

    def _batches(self, texts: Sequence[str], side: Side) -> Iterator[_Batch]:
        """Requests for all of `texts`, in their order."""
        rows: list[int] = []
        held: list[str] = []
        total = 0.0
        for row, text in enumerate(_each(texts)):
            whole, tokens = self._sent(text, side)
            if held and (len(held) >= self._most_texts or total + tokens > _TOKENS_PER_REQUEST):
                yield _Batch(np.array(rows), held, total, self._extra[side])
                rows, held, total = [], [], 0.0
            rows.append(row)
            held.append(whole)
            total += tokens
        if held:
            yield _Batch(np.array(rows), held, total, self._extra[side])

    def _sent(self, text: str, side: Side) -> tuple[str, float]:
        """A text as it is sent, with its prompt and cut, and about how many tokens it has."""
        # OpenAI refuses an empty text; lone surrogates are no UTF-8.
        whole = (self._prompts[side] + text).encode("utf-8", "replace").decode() or " "
        if self._cutter is None:
            return whole, len(whole.encode()) / _BYTES_PER_TOKEN
        if self._max_length:
            return self._cutter.cut(whole, self._max_length)
        tokens = self._cutter.count(whole)
        if self._is_openai and tokens > _LONGEST_AT_OPENAI:
            raise PairmineError(
                f"{self.name}: the text {_shown(whole)} has {tokens:,} tokens, and the model takes "
                f"{_LONGEST_AT_OPENAI:,}; cut texts by --max-length {_LONGEST_AT_OPENAI}"
            )
        return whole, tokens

    def _exchange(self) -> Exchange[_Batch, _Vectors, Encoding]:
        server = self._server
        if self._admission is None:
            ceiling = server.concurrency or CEILING
            self._admission = Admission(ceiling, rpm=server.rpm, tpm=server.tpm, backoff_s=server.backoff_s)
        self._admission.in_flight = 0
        return Exchange(
            self.model,
            _Endpoint(self.model, self._dimensions),
            self._wire(),
            self._admission,
            Limits(server.retries, server.patience_s),
            self._say,
            server.tpm is not None,
        )

    def _wire(self) -> Wire:
        largest = LARGEST_BODY + self._most_texts * _LARGEST_VECTOR
        return Wire(self._base_url, self._key, self._server.timeout_s, PATH, largest)

    def _price(self) -> float | None:
        from pairmine.llm.money import find_input_price

        return find_input_price(self.model, self._base_url)


class _Endpoint(Endpoint[_Batch, _Vectors, Encoding]):
    """Embeddings as an endpoint. A dialect is the form in which the server is asked for numbers."""

    path = PATH
    remedy = "change the model or the request that it complains of"

    def __init__(self, model: str, dimensions: int | None) -> None:
        self._model = model
        self._dimensions = dimensions

    def first_guess(self, base_url: str) -> Encoding:
        return "base64"

    def body(self, call: _Batch, dialect: Encoding) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "input": call.texts}
        if dialect != "unsaid":
            body["encoding_format"] = dialect
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        return body | dict(call.extra)

    def kind(self, call: _Batch) -> object:
        return None

    def read(self, body: Any, call: _Batch) -> _Vectors | Complaint:
        return _read(body, len(call.texts))

    def is_hopeless(self, complaint: Complaint) -> bool:
        return complaint.status == 500 and bool(_OF_LENGTH.search(complaint.message.lower()))

    def adapted(self, complaint: Complaint, call: _Batch, dialect: Encoding) -> tuple[Encoding, str] | None:
        told = f"{complaint.param} {complaint.message}".lower().replace(self._model.lower(), "")
        if complaint.status not in _REFUSALS or dialect == _LADDER[-1] or not _OF_ENCODING.search(told):
            return None
        less = _LADDER[_LADDER.index(dialect) + 1]
        return less, f"takes no encoding_format {dialect}; asking for it as {less}"

    def tokens(self, call: _Batch) -> float:
        return call.tokens

    def learn(self, call: _Batch, reply: _Vectors) -> None:
        """Tokens are counted before, not learned."""


def _read(body: Any, count: int) -> _Vectors | Complaint:
    """The vectors in a reply to `count` texts, in the order of the texts.

    Servers that do not know base64 send lists of numbers, whatever they were asked for: what is there decides.
    """
    if not isinstance(body, dict):
        raise Malformed("no list of embeddings")
    if body.get("error"):
        return read_complaint(200, body)
    data = body.get("data")
    if not isinstance(data, list) or not all(isinstance(entry, dict) and "embedding" in entry for entry in data):
        raise Malformed("no list of embeddings")
    if len(data) != count:
        return Complaint(200, f"{len(data)} vectors came for {count} texts")
    places = [entry.get("index") for entry in data]
    if any(place is not None for place in places):
        if sorted(place if isinstance(place, int) else -1 for place in places) != list(range(count)):
            return Complaint(200, f"the vectors of {count} texts are not numbered from 0 to {count - 1}")
        data = sorted(data, key=lambda entry: int(entry["index"]))
    vectors = [_numbers(entry["embedding"]) for entry in data]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) != 1 or 0 in lengths:
        return Complaint(200, f"vectors of {', '.join(map(str, sorted(lengths)))} dimensions in one reply")
    usage = body.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    return _Vectors(np.stack(vectors), count_of(tokens))


def _numbers(embedding: Any) -> np.ndarray:
    """One embedding, a list or float32 in base64, as (dim,) float32."""
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        with np.errstate(over="ignore"):  # what is too large for 32 bits is told as not finite
            vector = np.array(embedding, np.float32)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        vector = np.empty(0, np.float32)
    if vector.ndim != 1:  # llama.cpp without pooling has a vector for each token
        raise Malformed("an embedding is no list of numbers")
    return vector


def _each(texts: Sequence[str]) -> Iterator[str]:
    """The texts one by one, read a piece at a time."""
    for start in range(0, len(texts), _PIECE):
        yield from texts[start : start + _PIECE]


def _extra(given: Mapping[str, Any], side: str) -> dict[str, Any]:
    """The further fields of the requests of one side."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        of_side = next((prefix for prefix in _SIDES if name.startswith(prefix)), "")
        bare = name.removeprefix(of_side)
        if bare in _OURS:
            raise PairmineError(f"--request-arg {name}: every request has its own; leave it out")
        if of_side in ("", f"{side}:"):
            found[bare] = value
    return found


def _shown(text: str) -> str:
    """The beginning of a text on one line."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in text[:200]).split())
    return f'"{flat[:40]}..."' if len(flat) > 40 else f'"{flat}"'
