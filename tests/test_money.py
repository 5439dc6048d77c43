"""What a run costs is told before it, and a limit on it holds."""

from __future__ import annotations

import heapq
import json
import random
import socket
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Failure, Reply, Sampling
from pairmine.llm.money import (
    TOLERANCE,
    Budget,
    Interval,
    Price,
    Sample,
    Spend,
    dollars,
    estimate,
    find_price,
    least_tokens,
    lines,
    parse_price,
    price_list,
)

CHEAP = Price(0.15, 0.60, 0.075)
PROMPT = 100


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("prices reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def call(number: int = 0, max_tokens: int = 512) -> Call:
    messages = ({"role": "user", "content": str(number)},)
    return Call("m", messages, Sampling(max_tokens=max_tokens), key=number.to_bytes(20, "little"))


def reply(completion: int, prompt: int = PROMPT, cached: int = 0, text: str = "x") -> Reply:
    return Reply(text, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


def budget(prompt: int = PROMPT, **limits: Any) -> Budget:
    return Budget(lambda _: prompt, **{"price": None, **limits})


# Prices


def test_a_price_is_per_million_tokens() -> None:
    assert CHEAP.usd(1_000_000, 0) == pytest.approx(0.15)
    assert CHEAP.usd(0, 1_000_000) == pytest.approx(0.60)
    assert CHEAP.usd(1_000_000, 0, cached_tokens=1_000_000) == pytest.approx(0.075)


def test_cached_tokens_cost_as_much_as_others_where_no_price_for_them_is_known() -> None:
    assert Price(1, 2).usd(1_000_000, 0, cached_tokens=1_000_000) == pytest.approx(1)


def test_a_batch_costs_half_in_every_part() -> None:
    assert CHEAP.of_batch() == Price(0.075, 0.30, 0.0375, batch_factor=1.0)


def test_a_batch_without_a_known_reduction_is_reckoned_at_the_full_price() -> None:
    assert Price(1, 2, batch_factor=None).of_batch().usd(1_000_000, 1_000_000) == pytest.approx(3)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("0.15,0.60", Price(0.15, 0.60)),
        (" 0.15 , 0.6 , 0.075 ", Price(0.15, 0.60, 0.075)),
        ("0,0", Price(0, 0)),
    ],
)
def test_a_price_can_be_given(text: str, price: Price) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize("text", ["", "0.15", "a,b", "-1,2", "1,2,3,4", "nan,1", "1,inf", "$1,$2", "0,15;0,60", "1,,2"])
def test_a_price_in_another_form_is_told_with_the_right_one(text: str) -> None:
    with pytest.raises(PairmineError, match=r"--price .*: not IN,OUT or .* as in --price 0.15,0.60"):
        parse_price(text)


def test_the_price_of_a_known_model_is_found_without_a_network() -> None:
    price = find_price("gpt-4o-mini", base_url="https://api.openai.com/v1")
    assert price is not None
    assert 0 < price.input < price.output
    assert price.cached_input is not None
    assert price.cached_input < price.input
    assert price.batch_factor == pytest.approx(0.5)


def test_a_dated_model_costs_what_the_model_does() -> None:
    assert find_price("gpt-4o-mini-2024-07-18") == find_price("gpt-4o-mini")


def test_the_same_model_is_priced_by_the_host_that_serves_it() -> None:
    price = find_price("qwen/qwen3-8b", base_url="https://openrouter.ai/api/v1")
    assert price is not None
    assert price.batch_factor is None


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("gpt-4o-mini", "http://localhost:8000/v1"),
        ("gpt-nonsense", None),
        ("no such model", None),
        ("", None),
        ("gpt-nonsense", "https://api.openai.com/v1"),
        ("sonar", "https://api.perplexity.ai"),
    ],
)
def test_no_price_is_made_up(model: str, base_url: str | None) -> None:
    """A local server, an unknown model, and one that also charges for each call."""
    assert find_price(model, base_url=base_url) is None


def test_a_price_that_changes_with_the_length_of_the_prompt_is_that_of_short_ones() -> None:
    price = find_price("gemini-2.5-pro", base_url="https://generativelanguage.googleapis.com/v1beta/openai/")
    assert price is not None
    assert (price.input, price.output) == (1.25, 10)


def test_a_price_that_is_lower_for_some_hours_of_the_day_is_reckoned_at_the_higher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import genai_prices

    def by_hour(*_: Any, genai_request_timestamp: datetime, **__: Any) -> SimpleNamespace:
        output = 9 if genai_request_timestamp.hour in (3, 4, 5) else 1
        price = SimpleNamespace(input_mtok=1, output_mtok=output, cache_read_mtok=None, requests_kcount=None)
        return SimpleNamespace(model_price=price)

    monkeypatch.setattr(genai_prices, "calc_price", by_hour)
    assert find_price("any") == Price(1, 9, None, batch_factor=None)


def test_the_age_of_the_price_list_is_told() -> None:
    assert price_list().startswith("genai-prices ")
    assert "newest dated price 20" in price_list()


# What was spent


@pytest.mark.parametrize(("said", "paid"), [((0, 0), (100, 3)), ((9, 0), (9, 3)), ((0, 5), (100, 5)), ((9, 5), (9, 5))])
def test_half_a_usage_is_filled_up_and_not_taken_for_free(said: tuple[int, int], paid: tuple[int, int]) -> None:
    own = budget(prompt=100, max_tokens=10_000)
    own.admitted(call())
    own.settled(call(), Reply("nine char", "stop", *said))
    assert (own.spent.prompt_tokens, own.spent.completion_tokens) == paid


def test_spend_adds_up_and_prices_cached_tokens_apart() -> None:
    spend = Spend()
    spend.add(reply(50, prompt=1000, cached=600))
    spend.add(reply(10, prompt=1000))
    assert (spend.calls, spend.tokens) == (2, 2060)
    assert spend.usd(CHEAP) == pytest.approx((1400 * 0.15 + 600 * 0.075 + 60 * 0.60) / 1e6)


def test_spend_without_a_price_is_unknown_not_free() -> None:
    spend = Spend()
    spend.add(reply(50))
    assert spend.usd(None) is None
    assert spend.to_dict()["usd"] is None


def test_sums_in_json_have_no_binary_noise() -> None:
    spend = Spend(calls=3, prompt_tokens=2_000_000, completion_tokens=1_000_000)
    assert json.dumps(spend.to_dict(Price(0.1, 0.1))) == (
        '{"calls": 3, "prompt_tokens": 2000000, "completion_tokens": 1000000, "cached_tokens": 0, "usd": 0.3}'
    )


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0, "$0"),
        (0.0003, "$0.0003"),
        (0.000000051, "$0.000000051"),
        (0.0123456, "$0.012"),
        (0.0996, "$0.10"),
        (0.5, "$0.50"),
        (0.2, "$0.20"),
        (0.994, "$0.99"),
        (0.996, "$1.00"),
        (1, "$1.00"),
        (1234.5, "$1,234.50"),
        (2_000_000, "$2,000,000.00"),
    ],
)
def test_sums_are_shown_as_people_write_them(usd: float, shown: str) -> None:
    assert dollars(usd) == shown


# The budget


def test_without_limits_nothing_is_refused_and_nothing_counted() -> None:
    counted: list[Call] = []
    free = Budget(lambda asked: counted.append(asked) or 1, price=None)
    for number in range(100):
        assert free.may_admit(call(number))
        free.admitted(call(number))
    assert counted == []


def test_a_limit_in_dollars_without_a_price_is_an_error_with_two_ways_out() -> None:
    with pytest.raises(PairmineError, match=r"no price known for qwen3; add --price IN,OUT .* or limit --max-tokens"):
        budget(max_usd=1.0, model="qwen3")


@pytest.mark.parametrize("limits", [{"max_usd": 0.0}, {"max_usd": -1.0}, {"max_usd": float("nan")}, {"max_tokens": 0}])
def test_a_limit_that_is_not_positive_is_an_error(limits: dict[str, Any]) -> None:
    with pytest.raises(PairmineError, match=r"--max-(usd|tokens)"):
        budget(price=CHEAP, **limits)


def test_a_prompt_that_waits_for_room_is_counted_once() -> None:
    counted: list[Call] = []
    small = Budget(lambda asked: counted.append(asked) or 50, price=None, max_tokens=10)
    assert not any(small.may_admit(call(1)) for _ in range(5))
    assert len(counted) == 1


def test_a_prompt_that_alone_exceeds_the_limit_is_refused() -> None:
    assert not budget(prompt=2000, max_tokens=1000).may_admit(call())


def test_the_longest_possible_reply_does_not_block_a_small_budget() -> None:
    """Replies may have 4,096 tokens but are not expected to: the first call goes out."""
    assert budget(max_tokens=3000).may_admit(call(max_tokens=4096))


def test_room_comes_back_when_a_reply_was_shorter_than_it_might_have_been() -> None:
    some = budget(max_tokens=1000)
    first, second = call(1), call(2)
    assert some.may_admit(first)
    some.admitted(first)
    assert not some.may_admit(second)
    some.settled(first, reply(10))
    assert some.may_admit(second)


def test_a_failed_call_gives_its_share_back() -> None:
    some = budget(max_tokens=700)
    some.admitted(call(1))
    assert not some.may_admit(call(2))
    some.settled(call(1), Failure("timeout"))
    assert some.may_admit(call(2))
    assert some.spent == Spend()


def test_replies_from_the_ledger_are_not_paid_for_again() -> None:
    some = budget(max_tokens=1000)
    for number in range(100):
        some.replayed(call(number), reply(500))
    assert some.spent.tokens == 0
    assert some.may_admit(call(1000))


def test_replies_from_the_ledger_tell_how_long_others_will_be() -> None:
    """Half of 1,900 tokens is what a budget expects before it has seen a reply."""
    new, informed = (budget(max_tokens=1000) for _ in range(2))
    for number in range(1000):
        informed.replayed(call(number, max_tokens=1900), reply(10))
    assert not new.may_admit(call(5000, max_tokens=1900))
    assert informed.may_admit(call(5000, max_tokens=1900))


def test_prompts_that_the_server_counts_higher_than_we_do_are_reckoned_as_it_does() -> None:
    some = budget(prompt=100, max_tokens=2000)
    some.admitted(call(1, max_tokens=10))
    some.settled(call(1, max_tokens=10), reply(10, prompt=1000))
    assert not some.may_admit(call(2, max_tokens=10))


def test_a_server_that_tells_no_usage_cannot_outrun_the_limit() -> None:
    some = budget(prompt=100, max_tokens=1000)
    some.admitted(call(1))
    some.settled(call(1), Reply("word " * 300))
    assert some.spent.prompt_tokens == 100
    assert some.spent.completion_tokens == 500


def test_what_was_spent_is_told_beside_its_limit() -> None:
    some = budget(price=CHEAP, max_usd=5.0, max_tokens=1_000_000)
    some.admitted(call(1))
    some.settled(call(1), reply(200, prompt=1_000))
    assert some.spent_line == "spent $0.00027 of --max-usd $5.00 and 1,200 of --max-tokens 1,000,000 on 1 call"


def test_what_was_spent_without_limits_or_price_is_told_in_tokens() -> None:
    assert budget().spent_line == "spent 0 tokens on 0 calls"


LENGTHS: dict[str, Callable[[random.Random], float]] = {
    "even": lambda rng: rng.gauss(120, 40),
    "skewed": lambda rng: rng.lognormvariate(4.6, 1.0),
    "heavy tail": lambda rng: rng.lognormvariate(4.1, 1.5),
    "runaway": lambda rng: 80 if rng.random() < 0.95 else 1e9,
    "always the longest": lambda rng: 1e9,
}


def run_out(some: Budget, lengths: str, seed: int, max_tokens: int, side_by_side: int = 64) -> float:
    """Send calls until the budget is used up, longer replies taking longer; how busy the server was, from 0 to 1."""
    rng = random.Random(seed)
    under_way: list[tuple[float, int, int]] = []
    now, busy, number = 0.0, 0.0, 0
    while True:
        while len(under_way) < side_by_side and some.may_admit(call(number, max_tokens)):
            tokens = max(1, min(max_tokens, round(LENGTHS[lengths](rng))))
            some.admitted(call(number, max_tokens))
            heapq.heappush(under_way, (now + (tokens + 50) * rng.lognormvariate(0, 0.2), number, tokens))
            number += 1
        if not under_way:
            return busy / (now * side_by_side) if now else 0.0
        done, settled, tokens = heapq.heappop(under_way)
        busy += (done - now) * (len(under_way) + 1)
        now = done
        some.settled(call(settled, max_tokens), reply(tokens))


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("max_tokens", [512, 4096])
def test_64_calls_side_by_side_never_exceed_a_limit_by_more_than_promised(lengths: str, max_tokens: int) -> None:
    for limit in (30_000, 200_000):
        for seed in range(4):
            some = budget(max_tokens=limit)
            run_out(some, lengths, seed, max_tokens)
            assert some.spent.tokens <= max(limit * (1 + TOLERANCE), limit + PROMPT + max_tokens)
            assert some.spent.tokens > 0.8 * limit


@pytest.mark.parametrize("lengths", ["even", "skewed", "heavy tail", "runaway"])
def test_a_budget_much_larger_than_what_is_under_way_is_used_to_within_a_percent(lengths: str) -> None:
    some = budget(max_tokens=1_000_000)
    busy = run_out(some, lengths, 0, 512)
    assert 0.995 <= some.spent.tokens / 1_000_000 <= 1.006
    assert busy > 0.9


def test_a_limit_in_dollars_holds_as_one_in_tokens_does() -> None:
    some = budget(price=CHEAP, max_usd=0.10)
    run_out(some, "skewed", 0, 512)
    assert 0.095 < (some.spent.usd(CHEAP) or 0) <= 0.105


def test_the_nearer_of_two_limits_holds() -> None:
    some = budget(price=CHEAP, max_usd=100.0, max_tokens=50_000)
    run_out(some, "skewed", 0, 512)
    assert some.spent.tokens <= 52_500


# The estimate


def test_without_samples_replies_may_have_any_length_that_fits() -> None:
    found = estimate(1000, 250_000, max_tokens=512, least_tokens=20, price=Price(1, 2))
    assert found.prompt_tokens == Interval(250_000, 250_000)
    assert found.completion_tokens == Interval(20_000, 512_000)
    assert found.usd == pytest.approx(Interval(0.29, 1.274))
    assert found.batch_usd == pytest.approx(Interval(0.145, 0.637))


def test_without_a_price_tokens_are_told_and_no_sum() -> None:
    found = estimate(10, 1000, max_tokens=100)
    assert (found.usd, found.batch_usd) == (None, None)
    assert dict(lines(found))["online"] == "no price known"
    assert found.to_dict()["usd"] is None


def test_an_inexact_count_widens_the_sum() -> None:
    found = estimate(10, 1000, bounds=(750, 2000), max_tokens=100, price=Price(1, 0))
    assert found.usd == pytest.approx(Interval(0.00075, 0.002))


def test_nothing_to_do_costs_nothing() -> None:
    assert lines(estimate(0, 0, max_tokens=512, price=CHEAP)) == [
        ("calls", "0"),
        ("prompt tokens", "0"),
        ("output tokens", "0 (from the shortest to the longest reply)"),
        ("online", "$0"),
        ("batch", "$0"),
    ]


def test_samples_make_the_interval_tight() -> None:
    rng = random.Random(0)
    samples = [Sample(200, 230, round(rng.gauss(150, 40))) for _ in range(20)]
    found = estimate(10_000, 2_000_000, max_tokens=512, price=CHEAP, samples=samples)
    assert found.prompt_tokens == pytest.approx(Interval(2_300_000, 2_300_000))
    assert found.completion_tokens.low < 1_500_000 < found.completion_tokens.high
    assert found.completion_tokens.high < 1.5 * found.completion_tokens.low


def test_one_sample_says_too_little_to_narrow_anything() -> None:
    assert estimate(10, 100, max_tokens=50, samples=[Sample(10, 10, 5)]) == estimate(10, 100, max_tokens=50)


def test_samples_that_are_all_alike_do_not_break_the_estimate() -> None:
    found = estimate(100, 1000, max_tokens=50, samples=[Sample(10, 12, 5)] * 20)
    assert found.completion_tokens == Interval(500, 500)
    assert found.prompt_tokens == pytest.approx(Interval(1200, 1200))


def test_samples_without_usage_leave_the_prompt_count_alone() -> None:
    found = estimate(100, 1000, bounds=(900, 1300), max_tokens=50, samples=[Sample(10, 0, 5)] * 20)
    assert found.prompt_tokens == Interval(900, 1300)


def test_no_estimate_is_above_the_longest_replies_nor_below_none() -> None:
    found = estimate(100, 1000, max_tokens=512, samples=[Sample(10, 10, 1), Sample(10, 10, 512), Sample(10, 10, 1)])
    assert found.completion_tokens.low >= 0
    assert found.completion_tokens.high <= 51_200


@pytest.mark.parametrize(("lengths", "least"), [("even", 0.91), ("mild", 0.90), ("skewed", 0.89)])
@pytest.mark.parametrize("calls", [40, 20_000])
def test_the_interval_of_a_probe_holds_the_truth_as_often_as_it_says(lengths: str, least: float, calls: int) -> None:
    """95 % is meant; 300 trials leave 2.5 % either way, and skewed replies are known to do worse."""
    rng = np.random.default_rng(7)
    draw = {
        "even": lambda n: rng.normal(120, 40, n).clip(1, 4096),
        "mild": lambda n: rng.lognormal(4.6, 0.5, n).clip(1, 4096),
        "skewed": lambda n: rng.lognormal(4.6, 1.0, n).clip(1, 4096),
    }[lengths]
    hits = 0
    for _ in range(300):
        samples = [Sample(100, 100, round(tokens)) for tokens in draw(20)]
        found = estimate(calls, 100 * calls, max_tokens=4096, samples=samples).completion_tokens
        hits += found.low <= draw(calls).sum() <= found.high
    assert hits / 300 >= least


def test_estimates_of_several_steps_add_up() -> None:
    both = estimate(10, 1000, max_tokens=100, price=CHEAP) + estimate(5, 500, max_tokens=10, price=CHEAP)
    assert (both.calls, both.prompt_tokens, both.completion_tokens) == (15, (1500, 1500), (15, 1050))
    assert both.usd is not None
    assert (both + estimate(1, 1, max_tokens=1)).usd is None


def test_the_table_for_people_reads_well() -> None:
    found = estimate(12_000, 3_000_000, max_tokens=512, least_tokens=20, price=CHEAP)
    assert lines(found) == [
        ("calls", "12,000"),
        ("prompt tokens", "3,000,000"),
        ("output tokens", "240,000 to 6,144,000 (from the shortest to the longest reply)"),
        ("online", "$0.59 to $4.14"),
        ("batch", "$0.30 to $2.07"),
    ]


def test_the_table_says_when_real_calls_stand_behind_it() -> None:
    found = estimate(100, 1000, max_tokens=50, samples=[Sample(10, 12, 5)] * 20)
    assert dict(lines(found))["output tokens"] == "500 (from 20 real calls)"


def test_an_estimate_in_json_is_plain_numbers() -> None:
    found = estimate(3, 300, max_tokens=10, price=Price(0.1, 0.2))
    assert json.loads(json.dumps(found.to_dict())) == {
        "calls": 3,
        "samples": 0,
        "prompt_tokens": [300, 300],
        "completion_tokens": [3, 30],
        "usd": [0.0000306, 0.000036],
        "batch_usd": [0.0000153, 0.000018],
    }


@pytest.mark.parametrize(
    ("schema", "words", "least"),
    [
        (None, 0, 1),
        (None, 40, 20),
        ({"type": "object", "properties": {}, "required": []}, 0, 1),
        ({"type": "string"}, 3, 2),
        ({"$ref": "#/somewhere"}, 0, 1),
    ],
)
def test_the_shortest_reply_is_what_the_schema_and_the_checks_demand(schema: Any, words: int, least: int) -> None:
    assert least_tokens(schema, words) == least


def test_the_shortest_reply_is_no_longer_than_a_real_short_one() -> None:
    from pairmine.llm.counting import counter_for

    text = {"type": "string"}
    schema = {
        "type": "object",
        "properties": {"query": text, "hard_negative": text, "why": {"type": "array", "items": text, "minItems": 1}},
        "required": ["query", "hard_negative", "why"],
    }
    real = '{"query":"why is it so","hard_negative":"it is so","why":[""]}'
    assert 5 < least_tokens(schema, 7) <= counter_for("gpt-4o").count([real])[0]
