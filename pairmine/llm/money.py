"""What calls cost: prices, what was spent, the budget that stops a run, and the estimate before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Failure, Reply

MILLION = 1_000_000
TOLERANCE = 0.05
"""The share of a limit that a budget may be exceeded by, see `Budget`."""

_IN_A_BATCH = {"processing": "batch"}
_PRICE_FORM = "IN,OUT or IN,OUT,CACHED in dollars per million tokens, as in --price 0.15,0.60"


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens. `batch_factor` is the share of it that a batch costs, None where there is none.

    Prompt tokens from the server's cache cost `cached_input`, or as much as others where it is None.
    """

    input: float
    output: float
    cached_input: float | None = None
    batch_factor: float | None = 0.5

    def usd(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """Dollars for so many tokens; `cached_tokens` are among the `prompt_tokens`."""
        cached = self.input if self.cached_input is None else self.cached_input
        cached_tokens = min(cached_tokens, prompt_tokens)
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + completion_tokens * self.output) / MILLION

    def of_batch(self) -> Price:
        """The price of the same tokens in a batch; the full price where no reduction is known."""
        factor = 1.0 if self.batch_factor is None else self.batch_factor
        cached = None if self.cached_input is None else self.cached_input * factor
        return Price(self.input * factor, self.output * factor, cached, batch_factor=1.0)


def parse_price(text: str) -> Price:
    """The price that `--price` gives, as in "0.15,0.60" or "0.15,0.60,0.075".

    Raises PairmineError for anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise PairmineError(f"--price {text!r}: not {_PRICE_FORM}") from None
    if len(numbers) not in (2, 3) or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise PairmineError(f"--price {text!r}: not {_PRICE_FORM}")
    return Price(*numbers)


def find_price(model: str, *, base_url: str | None = None) -> Price | None:
    """The list price of `model`, None where none is known.

    `base_url` is where the server is: the same open model costs differently from host to host, and nothing is
    known of a server of one's own. Without it the name decides ("gpt-5-mini" is OpenAI's). The lists come with
    the package `genai-prices` and are never fetched, see `price_list`. Of prices that change within
    the next day the highest holds; of prices that rise with the prompt's length, the one of short prompts.
    """
    now = datetime.now(UTC)
    found = [_list_price(model, base_url, now + timedelta(hours=hour), {}) for hour in range(0, 25, 2)]
    dearest = max(filter(None, found), key=lambda price: (price.output, price.input), default=None)
    if dearest is None:
        return None
    return replace(dearest, batch_factor=_batch_factor(found[0], _list_price(model, base_url, now, _IN_A_BATCH)))


def _batch_factor(online: Price | None, batch: Price | None) -> float | None:
    """The share of the online price that a batch costs; the lists give the same price twice where none is known."""
    if online is None or batch is None or batch.output >= online.output:
        return None
    return batch.output / online.output


def _list_price(model: str, base_url: str | None, when: datetime, context: dict[str, str]) -> Price | None:
    import genai_prices

    usage = genai_prices.Usage(input_tokens=0, output_tokens=0)
    options: dict[str, Any] = {"genai_request_timestamp": when, "price_context": context}
    if base_url is not None:
        options["provider_api_url"] = base_url
    try:
        found = genai_prices.calc_price(usage, model, **options).model_price
    except LookupError:
        return None
    if found.requests_kcount is not None:
        return None  # each call costs something by itself, which a price by tokens cannot say
    numbers = [_short_prompt(value) for value in (found.input_mtok, found.output_mtok, found.cache_read_mtok)]
    if numbers[0] is None or numbers[1] is None:
        return None
    return Price(numbers[0], numbers[1], numbers[2], batch_factor=None)


def find_input_price(model: str, base_url: str) -> float | None:
    """Dollars per million tokens of a model that only reads, as those that embed; None where none is known."""
    import genai_prices

    try:
        usage = genai_prices.Usage(input_tokens=0)
        found = genai_prices.calc_price(usage, model, provider_api_url=base_url).model_price
    except LookupError:
        return None
    return None if found.requests_kcount is not None else _short_prompt(found.input_mtok)


def _short_prompt(value: Any) -> float | None:
    return None if value is None else float(getattr(value, "base", value))


def price_list() -> str:
    """Where list prices come from and how old they are, for people."""
    import genai_prices
    from genai_prices.data import providers

    models = [model for provider in providers for model in provider.models]
    entries = [entry for model in models if isinstance(model.prices, list) for entry in model.prices]
    starts: list[date | None] = [getattr(entry.constraint, "start_date", None) for entry in entries]
    dated = [start for start in starts if start is not None and start <= datetime.now(UTC).date()]
    return f"genai-prices {genai_prices.__version__}, newest dated price {max(dated, default='unknown')}"


@dataclass
class Spend:
    """Tokens and calls so far; `cached_tokens` are among the `prompt_tokens`."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Count a reply that was paid for."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens

    def join(self, other: Spend) -> None:
        """Count what another one counted."""
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cached_tokens += other.cached_tokens

    def since(self, before: Spend) -> Spend:
        """What was counted since it was `before`."""
        return Spend(
            self.calls - before.calls,
            self.prompt_tokens - before.prompt_tokens,
            self.completion_tokens - before.completion_tokens,
            self.cached_tokens - before.cached_tokens,
        )

    @property
    def tokens(self) -> int:
        """Prompt and reply together."""
        return self.prompt_tokens + self.completion_tokens

    def usd(self, price: Price | None) -> float | None:
        """Dollars at `price`; None without one."""
        return None if price is None else price.usd(self.prompt_tokens, self.completion_tokens, self.cached_tokens)

    def to_dict(self, price: Price | None = None) -> dict[str, Any]:
        """For JSON; `usd` is null without a price."""
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_tokens": self.cached_tokens,
            "usd": _plain(self.usd(price)),
        }


class _Lengths:
    """How long the replies to calls with one `max_tokens` are: learned from those that came, guessed before."""

    # Four made-up replies, spread evenly up to the limit, stand against jumping to conclusions from the
    # first real ones, which are the shortest of those sent together.
    _MADE_UP = 4

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.under_way = 0
        self._replies = float(self._MADE_UP)
        self._sum = self._MADE_UP * max_tokens / 2
        self._squares = self._MADE_UP * max_tokens**2 / 3

    def add(self, tokens: int) -> None:
        """Learn from a reply."""
        self._replies += 1
        self._sum += tokens
        self._squares += tokens * tokens

    @property
    def of_new(self) -> float:
        """Tokens to expect of the reply to a call that is about to be sent."""
        return min(self._sum / self._replies, self.max_tokens)

    @property
    def of_all_under_way(self) -> float:
        """Tokens to expect of all replies under way, where long ones are met more often than their share of calls."""
        return self.under_way * min(self._squares / self._sum, self.max_tokens) if self._sum else 0.0


class Budget:
    """What a run may still spend, in dollars, in tokens (prompts and replies together), or both.

    A call is admitted when what was spent, what the calls under way will cost by the replies seen
    so far, and its own expected cost stay within the limit; each is set right when it settles.
    However long the replies get, a limit is exceeded by `TOLERANCE` (5 %) of it at most, or by one call
    where that is more: where the longest replies of all calls under way could exceed it further, fewer calls
    go out side by side, at last one by one. Simulated with 64 calls under way and heavy-tailed replies
    of up to 512 tokens, runs ended at most 1 % above a limit of 200,000 tokens in half of the cases, 2.2 % at the
    worst. All this holds as far as `count` is right about prompts and the server keeps to max_tokens.
    A failed call counts as free; a reply without usage counts as its text is long.

    Replies from the ledger cost nothing again: a limit is one of this run.
    Raises PairmineError for a limit that is not positive, and for `max_usd` without a price.
    """

    def __init__(
        self,
        count: Callable[[Call], int],
        *,
        price: Price | None,
        max_usd: float | None = None,
        max_tokens: int | None = None,
        model: str = "the model",
    ) -> None:
        check_limits(price, max_usd=max_usd, max_tokens=max_tokens, model=model)
        self.spent = Spend()
        self.price = price
        self._max_usd = max_usd
        self._max_tokens = max_tokens
        self._count = count
        self._last_counted: tuple[bytes, int] = (b"", 0)
        self._prompts: dict[bytes, int] = {}
        self._prompts_sum = 0
        self._longest_sum = 0
        self._settled_prompts = 0
        self._lengths: dict[int, _Lengths] = {}

    def may_admit(self, call: Call) -> bool:
        """Whether `call` fits now; False may become True as calls under way settle, not when there are none."""
        prompts = self._prompts_sum + self._prompt_tokens(call)
        longest = self._longest_sum + call.sampling.max_tokens
        if self._fits(prompts, longest, 1.0):
            return True
        if self._prompts and not self._fits(prompts, longest, 1 + TOLERANCE):
            return False
        under_way = sum(lengths.of_all_under_way for lengths in self._lengths.values())
        return self._fits(prompts, min(under_way + self._lengths_of(call).of_new, longest), 1.0)

    def admitted(self, call: Call) -> None:
        """`call` is under way."""
        self._prompts[call.key] = self._prompt_tokens(call)
        self._prompts_sum += self._prompts[call.key]
        self._longest_sum += call.sampling.max_tokens
        self._lengths_of(call).under_way += 1

    def settled(self, call: Call, answer: Reply | Failure) -> None:
        """`call` is done, with a reply that costs what it says or a failure that costs nothing."""
        prompt = self._prompts.pop(call.key)
        self._prompts_sum -= prompt
        self._longest_sum -= call.sampling.max_tokens
        self._lengths_of(call).under_way -= 1
        if isinstance(answer, Reply):
            paid = billed(answer, prompt)
            self.spent.add(paid)
            self._settled_prompts += prompt
            self._lengths_of(call).add(paid.completion_tokens)

    def replayed(self, call: Call, reply: Reply) -> None:
        """`call` was answered by the ledger: nothing is spent, but the reply tells how long others will be."""
        self._lengths_of(call).add(billed(reply, 0).completion_tokens)

    def too_small_for(self, call: Call) -> str | None:
        """Why `call` alone is more than a limit allows, for people; None once something was spent.

        It was refused with nothing under way, so that the next run would refuse it again.
        """
        if self.spent.calls:
            return None
        prompt, reply = self._prompt_tokens(call), self._lengths_of(call).of_new
        if self._max_tokens is not None and prompt + reply > self._max_tokens:
            return (
                f"one call may take about {math.ceil(prompt + reply):,} tokens, more than --max-tokens "
                f"{self._max_tokens:,} allows; raise --max-tokens"
            )
        if self._max_usd is None or self.price is None:
            return None
        usd = self.price.usd(prompt, reply)
        return f"one call may cost about {dollars(usd)}, more than --max-usd {dollars(self._max_usd)}; raise --max-usd"

    @property
    def spent_line(self) -> str:
        """What this run spent of its limits, for people."""
        usd = self.spent.usd(self.price)
        parts = []
        if usd is not None:
            parts.append(dollars(usd) + (f" of --max-usd {dollars(self._max_usd)}" if self._max_usd else ""))
        parts.append(
            f"{self.spent.tokens:,} " + (f"of --max-tokens {self._max_tokens:,}" if self._max_tokens else "tokens")
        )
        return f"spent {' and '.join(parts)} on {self.spent.calls:,} call{'' if self.spent.calls == 1 else 's'}"

    def _prompt_tokens(self, call: Call) -> int:
        """Counted once, though a call that waits for room is looked at again and again; not at all without a limit."""
        if self._max_usd is None and self._max_tokens is None:
            return 0
        if self._last_counted[0] != call.key:
            self._last_counted = call.key, self._count(call)
        return self._last_counted[1]

    def _lengths_of(self, call: Call) -> _Lengths:
        max_tokens = call.sampling.max_tokens
        if max_tokens not in self._lengths:
            self._lengths[max_tokens] = _Lengths(max_tokens)
        return self._lengths[max_tokens]

    def _fits(self, counted_prompt: int, completion_tokens: float, share: float) -> bool:
        """Whether this much more on top of what was spent stays within `share` of every limit."""
        billed_to_counted = self.spent.prompt_tokens / self._settled_prompts if self._settled_prompts else 1.0
        prompt = counted_prompt * billed_to_counted
        if self._max_tokens is not None and self.spent.tokens + prompt + completion_tokens > share * self._max_tokens:
            return False
        if self._max_usd is None or self.price is None:
            return True
        spent = self.spent.usd(self.price) or 0.0
        return spent + self.price.usd(prompt, completion_tokens) <= share * self._max_usd


def billed(reply: Reply, counted_prompt: int) -> Reply:
    """`reply` with its usage; where the server tells none, our count and a token for three bytes of text."""
    if reply.prompt_tokens and reply.completion_tokens:
        return reply
    completion = reply.completion_tokens or math.ceil(len(reply.text.encode("utf-8", "replace")) / 3)
    return replace(reply, prompt_tokens=reply.prompt_tokens or counted_prompt, completion_tokens=completion)


def check_limits(
    price: Price | None, *, max_usd: float | None, max_tokens: int | None, model: str = "the model"
) -> None:
    """Raise PairmineError where --max-usd or --max-tokens cannot be held to."""
    if max_usd is not None and not (max_usd > 0 and math.isfinite(max_usd)):
        raise PairmineError(f"--max-usd {max_usd:g}: not a sum above 0; give dollars, or --offline to spend nothing")
    if max_tokens is not None and max_tokens <= 0:
        raise PairmineError(f"--max-tokens {max_tokens}: not above 0; give a number of tokens, or --offline")
    if max_usd is not None and price is None:
        raise PairmineError(
            f"--max-usd: no price known for {model}; add --price IN,OUT (dollars per million tokens) "
            "or limit --max-tokens instead"
        )


class Interval(NamedTuple):
    """A number that is known to lie between two; `Interval(7, 7)` is exact."""

    low: float
    high: float

    def plus(self, other: Interval) -> Interval:
        """Where the sum of both numbers lies."""
        return Interval(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Interval:
        """Both ends times `factor`."""
        return Interval(self.low * factor, self.high * factor)


ONE = Interval(1, 1)


class Sample(NamedTuple):
    """A call that was made: its prompt as we counted it, as the server did, and its reply."""

    counted_tokens: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Estimate:
    """What calls will cost; those of several steps add up.

    `usd` and `batch_usd` are None where no price is known.
    """

    calls: int
    prompt_tokens: Interval
    completion_tokens: Interval
    usd: Interval | None
    batch_usd: Interval | None
    samples: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.calls + other.calls,
            self.prompt_tokens.plus(other.prompt_tokens),
            self.completion_tokens.plus(other.completion_tokens),
            None if self.usd is None or other.usd is None else self.usd.plus(other.usd),
            None if self.batch_usd is None or other.batch_usd is None else self.batch_usd.plus(other.batch_usd),
            self.samples + other.samples,
        )

    def spread(self, factor: Interval) -> Estimate:
        """The same with more uncertainty: how many calls there will be is known but for a factor around 1."""
        if factor == ONE:
            return self

        def wider(given: Interval | None) -> Interval | None:
            return None if given is None else Interval(given.low * factor.low, given.high * factor.high)

        prompt, completion = wider(self.prompt_tokens), wider(self.completion_tokens)
        assert prompt is not None
        assert completion is not None
        return replace(
            self,
            prompt_tokens=prompt,
            completion_tokens=completion,
            usd=wider(self.usd),
            batch_usd=wider(self.batch_usd),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON: tokens as whole numbers, dollars as plain decimals, null where no price is known."""
        return {
            "calls": self.calls,
            "samples": self.samples,
            "prompt_tokens": [round(end) for end in self.prompt_tokens],
            "completion_tokens": [round(end) for end in self.completion_tokens],
            "usd": None if self.usd is None else [_plain(end) for end in self.usd],
            "batch_usd": None if self.batch_usd is None else [_plain(end) for end in self.batch_usd],
        }


def estimate(
    calls: int,
    counted_tokens: int,
    *,
    bounds: tuple[int, int] | None = None,
    max_tokens: int,
    least_tokens: int = 1,
    price: Price | None = None,
    samples: Sequence[Sample] = (),
) -> Estimate:
    """What `calls` will cost whose prompts have `counted_tokens` in all, or something within `bounds`.

    With two `samples` or more (calls of the same kind, drawn at random from all of them) the interval is to hold
    the truth in 95 of 100 cases. Simulated with 20 samples it does so in 94 for replies of usual
    lengths, in 90 for a heavy tail; a rare runaway reply shows in no small sample. Without samples
    each reply has anything from `least_tokens` to `max_tokens`.
    """
    least = min(least_tokens, max_tokens)
    prompt_tokens = Interval(*bounds) if bounds else Interval(counted_tokens, counted_tokens)
    replies = Interval(least, max_tokens)
    if len(samples) > 1:
        prompt_tokens = _billed_prompts(samples, counted_tokens, calls) or prompt_tokens
        mean = mean_of([sample.completion_tokens for sample in samples], calls)
        replies = Interval(max(mean.low, 0.0), min(mean.high, max(max_tokens, mean.low)))
    total = replies.times(calls)
    usd = None if price is None else _usd(price, prompt_tokens, total)
    has_batch = price is not None and price.batch_factor is not None
    batch = _usd(price.of_batch(), prompt_tokens, total) if price is not None and has_batch else None
    return Estimate(calls, prompt_tokens, total, usd, batch, len(samples) if len(samples) > 1 else 0)


def _usd(price: Price, prompt: Interval, completion: Interval) -> Interval:
    return Interval(price.usd(prompt.low, completion.low), price.usd(prompt.high, completion.high))


def _billed_prompts(samples: Sequence[Sample], counted_tokens: int, calls: int) -> Interval | None:
    """`counted_tokens` as the server will count them, by what it billed for each counted token of the samples."""
    known = [sample for sample in samples if sample.counted_tokens and sample.prompt_tokens]
    if len(known) < 2:
        return None
    ratio = mean_of([sample.prompt_tokens / sample.counted_tokens for sample in known], calls)
    return Interval(max(ratio.low, 0.0), ratio.high).times(counted_tokens)


def mean_of(values: Sequence[float], calls: int) -> Interval:
    """Where the mean over `calls` further values lies, from a few of them, with 95 %.

    Student's t, corrected for skewness as Hall (1992) does: the plain one misses the long
    replies of a heavy tail too often, always on the low side.
    """
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    if variance <= 0:
        return Interval(mean, mean)
    deviation = math.sqrt(variance)
    skewness = math.fsum(((value - mean) / deviation) ** 3 for value in values) / n
    spread = deviation * math.sqrt(1 / n + 1 / max(calls, 1))
    quantile = float(stdtrit(n - 1, 0.975))
    return Interval(mean - spread * _hall(quantile, skewness, n), mean - spread * _hall(-quantile, skewness, n))


def _hall(quantile: float, skewness: float, n: int) -> float:
    """The quantile of (mean of the sample - true mean) / its standard error, for values with that skewness."""
    if abs(skewness) < 1e-6:
        return quantile
    root = math.sqrt(n)
    turned = 1 + skewness * (quantile / root - skewness / (6 * n))
    return root * 3 / skewness * (math.copysign(abs(turned) ** (1 / 3), turned) - 1)


def least_tokens(schema: Mapping[str, Any] | None, min_words: int = 0) -> int:
    """About the fewest tokens of a reply that fits `schema` and has `min_words` words in all.

    Half a token a word: what the densest texts have (Japanese, where a character counts as a word).
    """
    frame = 0 if schema is None else math.ceil(len(_smallest(schema)) / 6)
    return max(1, frame + min_words // 2)


def _smallest(schema: Mapping[str, Any]) -> str:
    """A short JSON text that fits `schema`, near enough to count its tokens."""
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        names = [name for name in schema.get("required", properties) if name in properties]
        return "{" + ",".join(f'"{name}":{_smallest(properties[name])}' for name in names) + "}"
    if kind == "array":
        return "[" + ",".join([_smallest(schema.get("items", {}))] * int(schema.get("minItems", 0))) + "]"
    return '""' if kind == "string" else "1"


def lines(estimate: Estimate) -> list[tuple[str, str]]:
    """The estimate as a table for people: what, and how much."""
    basis = f"from {estimate.samples:,} real calls" if estimate.samples else "from the shortest to the longest reply"
    return [
        ("calls", f"{estimate.calls:,}"),
        ("prompt tokens", _range(estimate.prompt_tokens, _tokens)),
        ("output tokens", f"{_range(estimate.completion_tokens, _tokens)} ({basis})"),
        ("online", "no price known" if estimate.usd is None else _range(estimate.usd, dollars)),
        ("batch", "no price known" if estimate.batch_usd is None else _range(estimate.batch_usd, dollars)),
    ]


def _range(interval: Interval, show: Callable[[float], str]) -> str:
    low, high = show(interval.low), show(interval.high)
    return low if low == high else f"{low} to {high}"


def _tokens(number: float) -> str:
    return f"{round(number):,}"


def dollars(usd: float) -> str:
    """A sum for people: "$1,234.50", "$0.03", and "$0.0003" with two digits that count below ten cents."""
    if usd >= 0.0995:
        return f"${usd:,.2f}"
    if usd <= 0:
        return "$0"
    return f"${Decimal(f'{usd:.2g}'):f}"


def _plain(usd: float | None) -> float | None:
    """Rounded so that no binary noise shows in JSON; a single token of the cheapest model still does."""
    return None if usd is None else round(usd, 8)
