"""Chat completions from any OpenAI-compatible server: as many at once as it bears, retried until they are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from pairmine.backends.admission import CEILING, Admission
from pairmine.backends.exchange import (
    DEFAULT_URL,
    PATIENCE_S,
    Endpoint,
    Exchange,
    Limits,
    Wire,
    find_base_url,
    find_key,
    is_local,
)
from pairmine.backends.requests import (
    PATH,
    Complaint,
    Dialect,
    adapted,
    believable,
    first_guess,
    read_reply,
    request_body,
)
from pairmine.llm.calls import Call, Reply

__all__ = ["DEFAULT_URL", "OpenAIChat", "find_base_url", "find_key", "is_local", "open_chat"]


def open_chat(
    model: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    timeout_s: float = 600.0,
    retries: int = 8,
    backoff_s: float = 0.5,
    patience_s: float = PATIENCE_S,
    say: Callable[[str], None] | None = None,
) -> OpenAIChat:
    """The chat model `model` of a server; `base_url` and `api_key` default to what `find_*` find.

    `concurrency`, `rpm` and `tpm` are ceilings: the number at once follows what the server bears. A call
    is tried `retries` times more after a fault of its own (a 500, a reset; a timeout of `timeout_s` counts as
    three); rate limits and a server that is away do not count. After `patience_s` of nothing but faults the run
    ends.
    `say` takes lines for people.

    Raises PairmineError for an address or a key that cannot be one.
    """
    url = find_base_url(base_url)
    key = find_key(url) if api_key is None else api_key
    admission = Admission(concurrency or CEILING, rpm=rpm, tpm=tpm, backoff_s=backoff_s)
    limits = Limits(retries, patience_s)
    return OpenAIChat(
        model, Wire(url, key, timeout_s, PATH), admission, limits, say or (lambda line: None), tpm is not None
    )


class OpenAIChat(Exchange[Call, Reply, Dialect]):
    """A chat model behind an OpenAI-compatible server, as the protocol `LLM` has it."""

    def __init__(
        self,
        model: str,
        wire: Wire,
        admission: Admission,
        limits: Limits,
        say: Callable[[str], None],
        counts_tokens: bool,
    ) -> None:
        super().__init__(model, _Completions(), wire, admission, limits, say, counts_tokens)
        self.price_name = model

    def submit(self, call: Call) -> None:
        """Take a call; it is sent in `wait`.

        Raises PairmineError when its `sampling.extra` sets a field that every request has its own of.
        """
        if call.sampling.extra:
            request_body(call, self._dialect)
        super().submit(call)

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        """None: only the server knows."""
        return None


class _Completions(Endpoint[Call, Reply, Dialect]):
    """Chat completions as an endpoint."""

    path = PATH
    remedy = "change the sampling or the model that it complains of"

    def __init__(self) -> None:
        self._guess = _TokenGuess()

    def first_guess(self, base_url: str) -> Dialect:
        return first_guess(base_url)

    def body(self, call: Call, dialect: Dialect) -> dict[str, Any]:
        return request_body(call, dialect)

    def kind(self, call: Call) -> object:
        return id(call.schema)

    def read(self, body: Any, call: Call) -> Reply | Complaint:
        found = read_reply(body)
        return believable(found, call) if isinstance(found, Reply) else found

    def is_hopeless(self, complaint: Complaint) -> bool:
        return False

    def adapted(self, complaint: Complaint, call: Call, dialect: Dialect) -> tuple[Dialect, str] | None:
        return adapted(complaint, call, dialect)

    def tokens(self, call: Call) -> float:
        return self._guess.of(call)

    def learn(self, call: Call, reply: Reply) -> None:
        self._guess.learn(call, reply)


class _TokenGuess:
    """Tokens of calls to come by those before: until there are any, four bytes each and the whole reply."""

    def __init__(self) -> None:
        self._bytes = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._replies = 0

    def of(self, call: Call) -> float:
        per_byte = self._prompt_tokens / self._bytes if self._prompt_tokens else 0.25
        reply = self._completion_tokens / self._replies if self._replies else float(call.sampling.max_tokens)
        return _size(call) * per_byte + reply

    def learn(self, call: Call, reply: Reply) -> None:
        self._bytes += _size(call)
        self._prompt_tokens += reply.prompt_tokens
        self._completion_tokens += reply.completion_tokens
        self._replies += 1


def _size(call: Call) -> int:
    return len(orjson.dumps(call.messages))
