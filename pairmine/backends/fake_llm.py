"""A stand-in for a chat model: it answers at once, always the same, with words of the prompt and no sense.

It tries a pipeline out without a key or a GPU, and tests logic. `origin` says where it wrote.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import orjson

from pairmine.backends.llms import Answer
from pairmine.llm.calls import Call, Reply
from pairmine.tokens import tokens

SERVED_BY = "fake"
_WORDS = (6, 12)


class FakeLLM:
    """Fits every reply to the call's JSON schema, out of words of the prompt, drawn by the call's key."""

    name = "fake"
    model = "fake"
    room_for = 1024

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"stand-in": True}
        self._taken: list[Call] = []

    @property
    def room(self) -> int:
        """How many further calls it wants now."""
        return self.room_for - len(self._taken)

    @property
    def under_way(self) -> int:
        """How many calls wait for `wait`."""
        return len(self._taken)

    def submit(self, call: Call) -> None:
        """Take a call."""
        self._taken.append(call)

    def wait(self) -> list[Answer]:
        """All that was submitted, answered."""
        done, self._taken = self._taken, []
        return [(call, _answer(call)) for call in done]

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        """Words, which is what it counts in its replies too."""
        return [len(tokens(message)) for message in messages]

    def close(self) -> None:
        """Nothing to let go of."""
        self._taken = []


def _answer(call: Call) -> Reply:
    draw = random.Random(call.key)
    # The longest paragraph is most likely what the prompt is about, and not its instructions.
    paragraph = max(re.split(r"\n\s*\n|</?\w+>", call.messages[-1]["content"]), key=len)
    words = sorted(set(tokens(paragraph))) or ["nothing"]
    value = None if call.schema is None else _value(call.schema, words, draw)
    text = _text(words, draw) if value is None else orjson.dumps(value).decode()
    asked = sum(len(tokens(message["content"])) for message in call.messages)
    return Reply(text, prompt_tokens=asked, completion_tokens=len(tokens(text)), served_by=SERVED_BY)


def _value(schema: Mapping[str, Any], words: list[str], draw: random.Random) -> Any:
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = schema.get("type", "string")
    if kind == "object":
        return {name: _value(inner, words, draw) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        count = max(schema.get("minItems", 1), min(3, schema.get("maxItems", 3)))
        return [_value(schema.get("items", {}), words, draw) for _ in range(count)]
    if kind in ("number", "integer"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 1)
        return draw.randint(int(low), int(high)) if kind == "integer" else round(draw.uniform(low, high), 1)
    if kind == "boolean":
        return draw.random() < 0.5
    return _text(words, draw)


def _text(words: list[str], draw: random.Random) -> str:
    chosen = draw.sample(words, min(len(words), draw.randint(*_WORDS)))
    return " ".join(chosen)
