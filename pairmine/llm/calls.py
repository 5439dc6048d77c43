"""A call to a chat model and what comes back: the words that recipes, backends and the ledger share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

Message = Mapping[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. `extra` are further fields of the request that a server knows and we do not."""

    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `key` is its identity in the ledger: the same call is never paid for twice.

    `sample` tells apart the replies that one prompt is to get, `attempt` those asked for again
    because the one before was invalid. `schema` is the JSON schema of the reply, None for plain text.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    schema: Mapping[str, Any] | None = None
    sample: int = 0
    attempt: int = 0
    key: bytes = b""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self._digest())

    @property
    def seed(self) -> int:
        """A 31-bit seed of the call's own, so that samples and attempts differ and a rerun does not."""
        return int.from_bytes(self.key[:4], "little") & 0x7FFFFFFF

    def _digest(self) -> bytes:
        sampling = self.sampling
        body = (
            self.model,
            self.messages,
            (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.stop, sampling.extra),
            self.schema,
            self.sample,
            self.attempt,
        )
        # No sorting: a schema with its properties in another order makes a model write in another order.
        return blake2b(orjson.dumps(body), digest_size=20).digest()


class TypicalCall(Call):
    """A call of an estimate that stands for several: what is asked about one part, in place of all of them."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, untouched, and what it cost in tokens.

    `finish_reason` is "stop", "length" (cut off at max_tokens), "content_filter", "refusal" or what
    else the server says. `cached_tokens` of the `prompt_tokens` came from a prefix cache.
    """

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    served_by: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that got no reply however often it was tried; it is not paid for, and a rerun tries again."""

    reason: str
