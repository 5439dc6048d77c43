"""The controller of requests, by a clock that the test moves."""

from __future__ import annotations

import heapq
import math
import time
from itertools import pairwise
from random import Random

import pytest

from pairmine.backends.admission import Admission, Bucket, duration_s, retry_after_s, spent_for_s


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def controller(ceiling: int = 256, **options: float) -> tuple[Admission, Clock]:
    clock = Clock()
    return Admission(ceiling, clock=clock, jitter=lambda: 1.0, **options), clock


def fill(admission: Admission) -> None:
    while admission.wait_s() == 0:
        admission.sent()


def round_trip(admission: Admission, clock: Clock, seconds: float = 1.0) -> None:
    """All that is under way is answered a moment later, and each place taken again at once."""
    fill(admission)
    clock.now += seconds
    for _ in range(admission.in_flight):
        admission.succeeded()
        fill(admission)


def test_the_window_doubles_with_each_round_trip_until_the_ceiling() -> None:
    admission, clock = controller(100)
    seen = []
    for _ in range(5):
        seen.append(int(admission.limit))
        round_trip(admission, clock)
    assert seen == [16, 32, 64, 100, 100]


def test_a_ceiling_below_the_start_is_kept() -> None:
    admission, clock = controller(3)
    round_trip(admission, clock)
    assert admission.limit == 3


def test_an_unused_window_does_not_widen() -> None:
    admission, clock = controller()
    for _ in range(200):
        admission.sent()
        clock.now += 1
        admission.succeeded()
    assert admission.limit == 16


def test_many_refusals_of_one_round_trip_halve_once() -> None:
    admission, clock = controller()
    sent = [admission.sent() for _ in range(16)]
    clock.now += 1
    for at in sent:
        admission.refused(at)
    assert admission.limit == 8
    assert admission.cuts == 1
    assert admission.in_flight == 0


def test_refusals_without_end_leave_one_request_and_wait_longer_each_time() -> None:
    admission, clock = controller()
    waits = []
    for _ in range(12):
        clock.now = max(clock.now, admission.hold_until)
        at = admission.sent()
        clock.now += 0.1
        admission.refused(at)
        waits.append(admission.wait_s())
    assert admission.limit == 1
    assert waits[:4] == pytest.approx([0.5, 1, 2, 4])
    assert waits[-1] == pytest.approx(60)


def test_after_a_cut_it_creeps_to_where_it_was_refused_and_doubles_beyond() -> None:
    admission, clock = controller()
    admission.limit = 64.0
    admission.refused(admission.sent())
    assert admission.limit == 32
    clock.now += 10
    sizes = []
    for _ in range(14):
        sizes.append(admission.limit)
        round_trip(admission, clock)
    below = [after - before for before, after in pairwise(sizes) if after < 64]
    beyond = [after / before for before, after in pairwise(sizes) if before > 64]
    assert below
    assert max(below) <= 8.1
    assert max(beyond) > 1.9


def test_a_server_of_twenty_places_is_kept_busy_and_seldom_asked_too_much() -> None:
    admission, clock = controller()
    random, refused, served = Random(0), 0, 0
    ends: list[tuple[float, float, bool]] = []
    while served < 5000:
        while admission.wait_s() == 0:
            is_full = sum(not bad for *_, bad in ends) >= 20
            heapq.heappush(
                ends, (clock.now + (0.01 if is_full else random.uniform(0.5, 1.5)), admission.sent(), is_full)
            )
        wait = admission.wait_s()
        if not ends or (wait < math.inf and clock.now + wait < ends[0][0]):
            clock.now += wait
            continue
        clock.now, at, is_refused = heapq.heappop(ends)
        if is_refused:
            refused += 1
            admission.refused(at)
        else:
            served += 1
            admission.succeeded()
    ideal = served / 20
    assert refused < served * 0.05
    assert (clock.now - 1000) < ideal / 0.6


def test_retry_after_is_obeyed_by_all_requests() -> None:
    admission, clock = controller()
    at = [admission.sent(), admission.sent()]
    clock.now += 1
    admission.refused(at[0], retry_after_s=20)
    assert admission.wait_s() == pytest.approx(20)
    admission.refused(at[1], retry_after_s=30)
    assert admission.wait_s() == pytest.approx(30)
    clock.now += 30
    assert admission.wait_s() == 0


def test_a_limit_used_up_holds_until_its_reset() -> None:
    admission, _ = controller()
    admission.sent()
    admission.succeeded(headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"})
    assert admission.wait_s() == pytest.approx(360)


def test_a_lost_connection_holds_longer_each_time_but_once_per_round_trip() -> None:
    admission, clock = controller()
    sent = [admission.sent() for _ in range(16)]
    clock.now += 1
    for at in sent:
        admission.unreachable(at)
    assert admission.wait_s() == pytest.approx(0.5)
    assert admission.limit == 16
    clock.now += 1
    admission.unreachable(admission.sent())
    assert admission.wait_s() == pytest.approx(1)


@pytest.mark.parametrize("rpm", [1, 2, 7, 60, 600, 5000])
def test_no_minute_sees_more_requests_than_rpm(rpm: int) -> None:
    admission, clock = controller(rpm=rpm)
    times: list[float] = []
    while clock.now < 1300:
        wait = admission.wait_s()
        if wait > 0:
            clock.now += wait + 1e-9
            continue
        times.append(admission.sent())
        admission.succeeded()
    busiest = max(sum(start <= at < start + 60 for at in times) for start in times[:: max(1, len(times) // 50)])
    assert busiest <= rpm
    assert len(times) >= 5 * rpm * 0.45


def test_tokens_are_taken_by_estimate_and_put_right_by_usage() -> None:
    admission, _ = controller(tpm=60_000)
    admission.sent(6000)
    assert admission.wait_s(6000) == pytest.approx(6000 / 900)
    admission.succeeded(6000, used=1000)
    assert admission.wait_s(5000) == 0
    admission.sent(5000)
    admission.succeeded(5000, used=14_000)
    assert admission.wait_s(1) == pytest.approx((9000 + 1) / 900)


def test_a_request_larger_than_the_bucket_goes_once_the_bucket_is_full() -> None:
    bucket = Bucket(1000, 0.0, burst=0.1)
    assert bucket.wait_s(5000, 0.0) == 0
    bucket.take(5000, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(4901 / 15)


def test_a_failed_request_gives_its_tokens_back() -> None:
    admission, _ = controller(tpm=60_000)
    admission.sent(6000)
    admission.failed(6000)
    assert admission.wait_s(6000) == 0
    assert admission.in_flight == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "9" * 60_000}, None),
        ({"retry-after": "Wed, 99 Nod 2015 77:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=100.0) == seconds


def test_a_date_to_wait_for_is_one_of_the_servers_clock() -> None:
    ahead = {"retry-after": "Wed, 21 Oct 2099 07:28:20 GMT", "date": "Wed, 21 Oct 2099 07:28:00 GMT"}
    assert retry_after_s(ahead, now=100.0) == 20
    assert retry_after_s({**ahead, "date": "today"}, now=100.0) == pytest.approx(4.1e9, rel=0.1)


def test_a_wait_of_a_hundred_thousand_digits_is_read_at_once() -> None:
    began = time.monotonic()
    assert retry_after_s({"retry-after": "9" * 100_000}, now=100.0) is None
    assert spent_for_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1" * 100_000}) == 0
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("7.66", 7.66), ("", None), ("1x", None)],
)
def test_a_reset_is_read_as_a_duration(text: str, seconds: float | None) -> None:
    assert duration_s(text) == pytest.approx(seconds)


def test_tokens_count_as_used_up_when_the_next_call_would_not_fit() -> None:
    headers = {"x-ratelimit-remaining-tokens": "150", "x-ratelimit-reset-tokens": "9s"}
    assert spent_for_s(headers, used=200) == 9
    assert spent_for_s(headers, used=100) == 0


def test_a_reset_that_is_a_date_holds_nothing_up() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1790000000"}
    assert spent_for_s(headers) == 0
