"""A run without calls: what would be asked, how long it is, and what it would cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pairmine.backends.fake_llm import SERVED_BY, FakeLLM
from pairmine.llm.calls import Call, Reply, TypicalCall
from pairmine.llm.counting import TokenCounter
from pairmine.llm.money import ONE, Estimate, Interval, Price, Sample, estimate, least_tokens

# Counting tokens takes longer than rendering: beyond these prompts one in sixteen is counted, the rest by length.
_COUNTED_ALL = 4096
_COUNTED_SHARE = 16
_SHOWN = 2
_SAMPLES = 1000


@dataclass
class _Kind:
    """Calls of one step, which have a schema and a longest reply in common; the `typical` ones stand for several."""

    max_tokens: int
    least_tokens: int
    calls: int = 0
    typical: int = 0
    characters: int = 0
    counted_characters: int = 0
    counted: int = 0
    least: int = 0
    most: int = 0
    samples: list[Sample] = field(default_factory=list)

    def estimate(self, price: Price | None, parts: Interval) -> Estimate:
        """What the calls would cost, a typical one for so many parts.

        Prompts that were not counted are taken to be like those that were.
        """
        counted = self.characters / self.counted_characters if self.counted_characters else 1.0
        mean = (parts.low + parts.high) / 2
        times = 1 + (mean - 1) * self.typical / self.calls
        scale = counted * times
        return estimate(
            round(self.calls * times),
            round(self.counted * scale),
            bounds=(round(self.least * scale), round(self.most * scale)),
            max_tokens=self.max_tokens,
            least_tokens=self.least_tokens,
            price=price,
            samples=self.samples,
        ).spread(self._spread(parts))

    def _spread(self, parts: Interval) -> Interval:
        """How much fewer or more calls there may be, as a factor."""
        share = self.typical / self.calls
        mean = 1 + ((parts.low + parts.high) / 2 - 1) * share
        return Interval(1 + (parts.low - 1) * share, 1 + (parts.high - 1) * share).times(1 / mean)


class Rehearsal(FakeLLM):
    """Stands in for the model `model`: counts the calls that reach it and answers them with nonsense.

    Replies that are known already (`learn`) make the estimate tight. `shown` are the first calls, and the first of
    every kind.
    """

    def __init__(self, model: str, counter: TokenCounter) -> None:
        super().__init__()
        self.model = model
        self.shown: list[Call] = []
        self._counter = counter
        self._kinds: dict[Any, _Kind] = {}

    def submit(self, call: Call) -> None:
        """Count the call."""
        kind = self._kind(call)
        characters = sum(len(message["content"]) for message in call.messages)
        kind.calls += 1
        kind.typical += isinstance(call, TypicalCall)
        kind.characters += characters
        if kind.calls <= _COUNTED_ALL or call.key[0] % _COUNTED_SHARE == 0:
            expected = self._counter.messages(call.messages)
            exact = expected, expected
            least, most = exact if self._counter.is_exact else self._counter.bounds(call.messages)
            kind.counted += expected
            kind.least += least
            kind.most += most
            kind.counted_characters += characters
        if len(self.shown) < _SHOWN or kind.calls == 1:
            self.shown.append(call)
        super().submit(call)

    def learn(self, call: Call, reply: Reply) -> None:
        """Note a real reply to such a call."""
        samples = self._kind(call).samples
        if reply.served_by != SERVED_BY and len(samples) < _SAMPLES:
            samples.append(Sample(self._counter.messages(call.messages), reply.prompt_tokens, reply.completion_tokens))

    def estimate(self, price: Price | None, parts: Interval = ONE) -> Estimate:
        """What the calls so far would cost; a typical one stands for so many `parts`, on an average that is known to
        lie between two numbers."""
        kinds = [kind.estimate(price, parts) for kind in self._kinds.values() if kind.calls]
        nothing = Interval(0, 0)
        free = nothing if price is not None else None
        return sum(kinds[1:], kinds[0]) if kinds else Estimate(0, nothing, nothing, free, free)

    def _kind(self, call: Call) -> _Kind:
        # Each step has one schema object and its own longest reply.
        key = id(call.schema), call.sampling.max_tokens
        if key not in self._kinds:
            self._kinds[key] = _Kind(call.sampling.max_tokens, least_tokens(call.schema))
        return self._kinds[key]
