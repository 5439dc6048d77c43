"""A stand-in for a chat model: it answers at once, always the same, with words of the prompt and no sense.

It tries a pipeline out without a key or a GPU, and tests logic. `origin` says where it wrote. Where a recipe
takes a text apart, it copies words that stand there; else it shuffles them.
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
_PART = (1, 2)
_LIST = 3
# Thai and Lao, Burmese, Khmer, Chinese and Japanese put no blank between words: a sign stands for one.
_SIGNS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff"
_LETTERS = rf"[^\W{_SIGNS}]+"
_WRITTEN = re.compile(rf"{_LETTERS}(?:['’-]{_LETTERS})*|[^\W_]")


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
    material = _Material(paragraph, call.key)
    value = None if call.schema is None else _value(call.schema, material, draw)
    text = _text(material, draw) if value is None else orjson.dumps(value).decode()
    asked = sum(len(tokens(message["content"])) for message in call.messages)
    return Reply(text, prompt_tokens=asked, completion_tokens=len(tokens(text)), served_by=SERVED_BY)


class _Material:
    """What a reply is made of: the words of a paragraph, and parts of it to the letter."""

    def __init__(self, paragraph: str, key: bytes) -> None:
        self.words = sorted(set(tokens(paragraph))) or ["nothing"]
        self._paragraph = paragraph
        self._spans = [found.span() for found in _WRITTEN.finditer(paragraph)]
        # Parts have luck of their own, so that replies without any do not hang on them.
        self._draw = random.Random(f"{key!r} parts")

    def part(self) -> str:
        """One or two words that follow each other, as they are written with what stands between them."""
        if not self._spans:
            return self.words[0]
        first = self._draw.randrange(len(self._spans))
        last = min(first + self._draw.randint(*_PART), len(self._spans)) - 1
        return self._paragraph[self._spans[first][0] : self._spans[last][1]]

    def heads(self) -> bool:
        """A coin."""
        return self._draw.random() < 0.5


def _value(schema: Mapping[str, Any], material: _Material, draw: random.Random) -> Any:
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = _kinds(schema)[0]
    if kind == "object":
        fields = schema.get("properties", {})
        reply = {name: _value(inner, material, draw) for name, inner in fields.items()}
        return reply | _parts(fields, material)
    if kind == "array":
        count = max(schema.get("minItems", 1), min(_LIST, schema.get("maxItems", _LIST)))
        return [_value(schema.get("items", {}), material, draw) for _ in range(count)]
    if kind in ("number", "integer"):
        low = schema.get("minimum", 0)
        # What counts from 1 without an end is most likely a place in a list, and lists have three here.
        high = schema.get("maximum", _LIST if low == 1 else 1)
        return draw.randint(int(low), int(high)) if kind == "integer" else round(draw.uniform(low, high), 1)
    if kind == "boolean":
        return draw.random() < 0.5
    return _text(material, draw)


def _parts(fields: Mapping[str, Mapping[str, Any]], material: _Material) -> dict[str, str]:
    """Parts of the text for those of `fields` that most likely ask for one; a schema does not say.

    Several strings that may be null are things that a text may have or not, and what is told beside them is
    short too. A quote is copied, a name half of the time, as people call things by other words.
    """
    strings = [name for name, schema in fields.items() if _kinds(schema)[0] == "string" and "enum" not in schema]
    if sum("null" in _kinds(fields[name]) for name in strings) > 1:
        return {name: material.part() for name in strings}
    return {name: material.part() for name in strings if name == "quote" or (name == "name" and material.heads())}


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", "string")
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _text(material: _Material, draw: random.Random) -> str:
    chosen = draw.sample(material.words, min(len(material.words), draw.randint(*_WORDS)))
    return " ".join(chosen)
