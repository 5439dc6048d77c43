"""The online backend against a scripted server, over HTTP and with the real client."""

from __future__ import annotations

import gc
import gzip
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from llm_server import Faults, LLMServer, Response, error

from pairmine.backends import exchange
from pairmine.backends.llms import Answer
from pairmine.backends.openai_chat import OpenAIChat, find_base_url, find_key, is_local, open_chat
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Failure, Reply, Sampling

KEY = "sk-very-secret-key-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
Opener = Callable[..., OpenAIChat]


@pytest.fixture
def chat() -> Iterator[Opener]:
    """`open_chat` with quick retries; whatever it opened is closed at the end."""
    opened: list[OpenAIChat] = []
    exchange._LEARNED.clear()

    def opener(url: str, **options: Any) -> OpenAIChat:
        settings = {"api_key": KEY, "timeout_s": 5.0, "backoff_s": 0.01, **options}
        opened.append(open_chat(settings.pop("model", "test-model"), base_url=url, **settings))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


def calls(count: int, **options: Any) -> list[Call]:
    return [call(f"prompt {number}", **options) for number in range(count)]


def call(prompt: str, **options: Any) -> Call:
    sampling = options.pop("sampling", Sampling())
    return Call(options.pop("model", "test-model"), ({"role": "user", "content": prompt},), sampling, **options)


def run(llm: OpenAIChat, wanted: Iterable[Call]) -> list[Answer]:
    """As the stage does it: submit while there is room, wait, until nothing is under way."""
    answers: list[Answer] = []
    left = iter(wanted)
    while True:
        for _ in range(llm.room):
            if (one := next(left, None)) is None:
                break
            llm.submit(one)
        if not (done := llm.wait()):
            return answers
        answers += done


def drain(llm: OpenAIChat, answers: list[Answer]) -> None:
    """Wait until nothing is under way, or the run is ended."""
    while done := llm.wait():
        answers += done


def echo(body: dict[str, Any]) -> str:
    return f"echo {body['messages'][-1]['content']}"


def texts(answers: list[Answer]) -> dict[str, str]:
    """Prompt -> text; a failure stands as its reason. Each prompt must have been answered once."""
    found = {one.messages[-1]["content"]: got.text if isinstance(got, Reply) else got.reason for one, got in answers}
    assert len(found) == len(answers)
    return found


def first(*responses: Response) -> Callable[[dict[str, Any], str, int], Response | None]:
    """A plan: the first requests of each prompt get these, the later ones an answer."""
    return lambda body, prompt, before: responses[before] if before < len(responses) else None


def gives_up(llm: OpenAIChat, wanted: Iterable[Call]) -> PairmineError:
    with pytest.raises(PairmineError) as caught:
        run(llm, wanted)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


# Answers.


def test_a_call_is_answered_with_text_usage_and_the_very_call(chat: Opener) -> None:
    with LLMServer(echo) as server:
        llm = chat(server.base_url)
        one = call("häagen 日本 \U0001f600")
        ((got_call, got),) = run(llm, [one])
    assert got_call is one
    assert got == Reply("echo häagen 日本 \U0001f600", "stop", 3, 4, 0, "test-model")
    assert llm.under_way == 0
    assert llm.wait() == []


def test_without_calls_nothing_is_asked(chat: Opener) -> None:
    with LLMServer() as server:
        assert run(chat(server.base_url), []) == []
        assert server.requests == 0


def test_a_huge_prompt_and_a_huge_reply_go_through(chat: Opener) -> None:
    with LLMServer(lambda body: "y" * 3_000_000) as server:
        ((_, got),) = run(chat(server.base_url), [call("x " * 1_000_000)])
    assert isinstance(got, Reply)
    assert len(got.text) == 3_000_000


def test_no_more_are_sent_at_once_than_concurrency_allows(chat: Opener) -> None:
    with LLMServer(echo, delay_s=0.01) as server:
        assert len(run(chat(server.base_url, concurrency=5), calls(60))) == 60
        assert server.most_under_way == 5


@pytest.mark.slow
def test_the_number_at_once_grows_while_all_goes_well(chat: Opener) -> None:
    with LLMServer(echo, delay_s=0.2) as server:
        llm = chat(server.base_url, concurrency=64)
        run(llm, calls(300))
        assert 32 < server.most_under_way <= 64
        assert llm.state["in_flight"] == llm.state["retries"] == llm.state["rate_limited"] == 0
        assert 32 < llm.state["limit"] <= 64


# Faults.


@pytest.mark.parametrize(
    "response",
    [
        error(429, "slow down", headers={"retry-after-ms": "20"}),
        error(429, "slow down"),
        error(500, "oops"),
        error(408, "late"),
        error(409, "conflict"),
        Response(502, b"<html>"),
        Response(503, b""),
        Response(529, b"overloaded"),
        Response(fault="reset"),
        Response(body=b'{"choices": [{"mess', fault="truncated"),
        Response(body=b"<html>"),
        Response(body=b'{"choices": []}'),
        error(200, "in a 200", code=502),
    ],
    ids=lambda response: f"{response.status}{response.fault}{len(response.body)}",
)
def test_a_fault_that_passes_is_tried_again(chat: Opener, response: Response) -> None:
    with LLMServer(echo, plan=first(response, response)) as server:
        llm = chat(server.base_url)
        assert texts(run(llm, calls(3))) == {f"prompt {n}": f"echo prompt {n}" for n in range(3)}
        assert set(server.paid.values()) == {1}
        assert server.requests == 9
        assert llm.state["retries"] + llm.state["rate_limited"] == 6


def test_a_server_that_stalls_is_asked_again_after_the_timeout(chat: Opener) -> None:
    with LLMServer(echo, plan=first(Response(fault="stall"))) as server:
        llm = chat(server.base_url, timeout_s=0.2)
        assert texts(run(llm, calls(2))) == {f"prompt {n}": f"echo prompt {n}" for n in range(2)}


def test_a_call_that_always_fails_is_given_up_alone_with_the_reason(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        return error(500, "cannot do this one") if prompt == "prompt 3" else None

    with LLMServer(echo, plan=plan) as server:
        answers = run(chat(server.base_url, retries=2), calls(6))
        assert server.seen["prompt 3"] == 3
    found = texts(answers)
    assert found["prompt 3"] == "500: cannot do this one (tried 3 times)"
    assert sum(isinstance(got, Reply) for _, got in answers) == 5


def test_a_timeout_is_tried_less_often_for_the_server_goes_on_charging(chat: Opener) -> None:
    with LLMServer(echo, plan=lambda body, prompt, before: Response(fault="stall")) as server:
        ((_, got),) = run(chat(server.base_url, timeout_s=0.1), [call("a")])
        assert server.requests == 3
    assert got == Failure("no answer in 0.1 s (tried 3 times)")


def test_rate_limits_use_up_no_retries(chat: Opener) -> None:
    busy = error(429, "slow down", headers={"retry-after-ms": "1"})
    with LLMServer(echo, plan=first(*[busy] * 12)) as server:
        assert texts(run(chat(server.base_url, retries=1), [call("a")])) == {"a": "echo a"}
        assert server.requests == 13


def test_retry_after_holds_all_requests_back(chat: Opener) -> None:
    times: list[float] = []

    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        times.append(time.monotonic())
        return error(429, "wait", headers={"retry-after": "0.4"}) if len(times) == 3 else None

    with LLMServer(echo, plan=plan) as server:
        assert len(run(chat(server.base_url, concurrency=1), calls(5))) == 5
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[2] >= 0.39
    assert max(gaps[:2] + gaps[3:]) < 0.3


def test_a_limit_announced_as_used_up_is_waited_out_before_it_is_hit(chat: Opener) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "150ms"}
    with LLMServer(echo, headers=headers) as server:
        began = time.monotonic()
        run(chat(server.base_url, concurrency=1), calls(4))
        assert time.monotonic() - began > 0.4
        assert server.most_under_way == 1


def test_rpm_spaces_requests(chat: Opener) -> None:
    with LLMServer(echo) as server:
        began = time.monotonic()
        run(chat(server.base_url, rpm=600), calls(14))
        assert 0.3 < time.monotonic() - began < 2


def test_tpm_holds_requests_back(chat: Opener) -> None:
    with LLMServer(lambda body: "w " * 500) as server:
        began = time.monotonic()
        run(chat(server.base_url, tpm=60_000), calls(14))
        assert 0.8 < time.monotonic() - began < 5


def test_a_server_of_six_places_is_found_out_and_everything_answered(chat: Opener) -> None:
    with LLMServer(echo, capacity=6, delay_s=0.01) as server:
        llm = chat(server.base_url, concurrency=64)
        assert len(texts(run(llm, calls(300)))) == 300
        assert llm.state["limit"] < 30
        assert set(server.paid.values()) == {1}


def test_a_restart_in_the_middle_loses_nothing_and_pays_nothing_twice(chat: Opener) -> None:
    lines: list[str] = []
    with LLMServer(echo, delay_s=0.02) as server:
        server.restarts = {100: 0.3, 200: 0.1}
        llm = chat(server.base_url, concurrency=64, say=lines.append)
        found = texts(run(llm, calls(400)))
    assert found == {f"prompt {n}": f"echo prompt {n}" for n in range(400)}
    assert set(server.paid.values()) == {1}
    assert any("is away" in line for line in lines)


@pytest.mark.slow
def test_under_faults_that_are_no_jam_sixty_four_at_once_are_each_answered_and_paid_once(chat: Opener) -> None:
    plan = Faults(seed=1, error_500=0.06, reset=0.06, truncated=0.05, garbage=0.04, error_body=0.04)
    with LLMServer(echo, plan=plan, delay_s=0.2) as server:
        llm = chat(server.base_url, concurrency=64, retries=30)
        found = texts(run(llm, calls(500)))
        assert found == {f"prompt {n}": f"echo prompt {n}" for n in range(500)}
        assert set(server.paid.values()) == {1}
        assert server.most_under_way > 32


@pytest.mark.slow
def test_under_all_faults_at_once_each_call_is_answered_and_paid_once(chat: Opener) -> None:
    """Paid counts whole 200s written into an open connection: a torn or stalled answer is none.

    The time that a call may take is long beside what an answer takes on a machine that does other things too: an
    answer that comes after it was paid and is asked for again, which no client can help.
    """
    plan = Faults(
        seed=1,
        busy=0.08,
        error_500=0.05,
        error_503=0.03,
        reset=0.05,
        stall=0.006,
        truncated=0.04,
        garbage=0.03,
        error_body=0.03,
        retry_after_s=0.005,
    )
    with LLMServer(echo, plan=plan, delay_s=0.003) as server:
        llm = chat(server.base_url, concurrency=64, retries=30, timeout_s=3)
        server.restarts = {250: 0.1}
        began = time.monotonic()
        found = texts(run(llm, calls(500)))
        took = time.monotonic() - began
        assert found == {f"prompt {n}": f"echo prompt {n}" for n in range(500)}
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == 500
        assert took < 120
        assert {"429", "500", "503", "reset", "stall", "truncated"} <= set(server.statuses)


# What a server takes.


def test_a_server_without_schemas_is_asked_for_json_and_one_without_that_in_words(chat: Opener) -> None:
    for supports_json_mode, formats in (
        (True, ["json_schema"] + ["json_object"] * 40),
        (False, ["json_schema", "json_object"]),
    ):
        lines: list[str] = []
        with LLMServer(
            echo, supports_schema=False, supports_json_mode=supports_json_mode, keeps_bodies=True, delay_s=0.002
        ) as server:
            llm = chat(server.base_url, say=lines.append)
            assert len(texts(run(llm, calls(40, schema=SCHEMA)))) == 40
            sent = [body["response_format"]["type"] for body in server.bodies if "response_format" in body]
        assert sent == formats
        assert len(lines) == len(set(lines)) == (1 if supports_json_mode else 2)


def test_parameters_that_a_reasoning_model_refuses_are_dropped_once_and_said(chat: Opener) -> None:
    lines: list[str] = []
    refuses = ("max_tokens", "temperature", "top_p", "seed", "stop")
    with LLMServer(echo, refuses=refuses, keeps_bodies=True) as server:
        llm = chat(server.base_url, say=lines.append)
        assert len(texts(run(llm, calls(30, sampling=Sampling(stop=("x",)))))) == 30
        assert server.statuses["400"] == 5
        assert set(server.bodies[-1]) == {"model", "messages", "max_completion_tokens"}
        again = chat(server.base_url, say=lines.append)
        run(again, calls(1))
        assert server.statuses["400"] == 5
    assert len(lines) == 5
    assert any("takes no seed; leaving it out" in line for line in lines)


def test_a_field_refused_to_one_call_alone_is_left_out_of_that_call_alone(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        if prompt == "prompt 20" and {"seed", "top_p"} & set(body):
            name = "seed" if "seed" in body else "top_p"
            return error(400, f"Unsupported parameter: '{name}'", param=name)
        return None

    lines: list[str] = []
    with LLMServer(echo, plan=plan, keeps_bodies=True) as server:
        found = texts(run(chat(server.base_url, say=lines.append, concurrency=2), calls(40)))
        assert sum("seed" not in body for body in server.bodies) == 2
    assert found["prompt 20"] == "echo prompt 20"
    assert lines == []


def test_a_field_that_the_user_set_is_never_dropped(chat: Opener) -> None:
    with LLMServer(echo, refuses=("top_k",)) as server:
        answers = run(chat(server.base_url), calls(3, sampling=Sampling(extra={"top_k": 5})))
    assert all(isinstance(got, Failure) and "top_k" in got.reason for _, got in answers)


def test_a_field_that_cannot_be_set_is_told_before_anything_is_sent(chat: Opener) -> None:
    with LLMServer(echo) as server:
        with pytest.raises(PairmineError, match="'stream' cannot be set"):
            chat(server.base_url).submit(call("a", sampling=Sampling(extra={"stream": True})))
        assert server.requests == 0


# Refusals.


def test_a_prompt_that_is_too_long_fails_alone(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        too_long = error(400, "This model's maximum context length is 8 tokens", code="context_length_exceeded")
        return too_long if prompt == "prompt 0" else None

    with LLMServer(echo, plan=plan) as server:
        found = texts(run(chat(server.base_url), calls(10)))
        assert server.seen["prompt 0"] == 1
    assert found["prompt 0"] == "400: This model's maximum context length is 8 tokens"
    assert sum(text.startswith("echo") for text in found.values()) == 9


def test_ten_times_the_same_refusal_at_the_start_ends_the_run(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        return error(400, f"temperature must be at most 2 (request {prompt})")

    with LLMServer(echo, plan=plan) as server:
        raised = gives_up(chat(server.base_url), calls(500))
        assert server.requests == 10
    assert raised.exit_code == 2
    assert "first 10 requests were all refused (400: temperature must be at most 2" in str(raised)


def test_refusals_of_many_kinds_do_not_end_the_run(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        return error(400, f"no {'x' * int(prompt.split()[1])}")

    with LLMServer(echo, plan=plan) as server:
        assert all(isinstance(got, Failure) for _, got in run(chat(server.base_url), calls(30)))


def test_a_wrong_key_ends_the_run_and_is_not_shown(chat: Opener) -> None:
    with LLMServer(echo, key="another") as server:
        llm = chat(server.base_url)
        raised = gives_up(llm, calls(50))
        assert server.requests == 1
    assert raised.exit_code == 3
    assert "key is refused (401: Incorrect API key provided: ***)" in str(raised)
    assert "OPENAI_API_KEY" in str(raised)
    assert KEY not in repr(llm) + str(llm.facts)


def test_a_model_that_is_not_there_is_told_with_those_that_are(chat: Opener) -> None:
    with LLMServer(echo, models=("qwen3-8b", "zephyr", "llama-3")) as server:
        raised = gives_up(chat(server.base_url, model="qwen3-7b"), calls(5, model="qwen3-7b"))
    assert raised.exit_code == 3
    assert "offers qwen3-8b, llama-3, zephyr" in str(raised)


def test_a_wrong_path_is_told_with_the_address(chat: Opener) -> None:
    with LLMServer(echo) as server:
        raised = gives_up(chat(server.base_url.removesuffix("/v1")), calls(5))
    assert f"check --base-url, it usually ends in /v1 (it is {server.base_url.removesuffix('/v1')})" in str(raised)


def test_no_server_at_all_ends_the_run_at_once(chat: Opener) -> None:
    with LLMServer(echo) as server:
        url = server.base_url
    began = time.monotonic()
    raised = gives_up(chat(url), calls(5))
    assert time.monotonic() - began < 5
    assert raised.exit_code == 3
    assert f"cannot reach {url}" in str(raised)


def test_a_key_that_is_forbidden_half_way_ends_the_run_and_one_forbidden_prompt_does_not(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        number = int(prompt.split()[1])
        return error(403, "Your account was deactivated") if number == 3 or number >= 30 else None

    with LLMServer(echo, plan=plan) as server:
        llm = chat(server.base_url, concurrency=4)
        answers: list[Answer] = []
        for one in calls(100):
            llm.submit(one)
        with pytest.raises(PairmineError, match="the key is refused") as caught:
            drain(llm, answers)
        assert server.requests < 60
    assert caught.value.exit_code == 3
    assert sum(isinstance(got, Reply) for _, got in answers) == 29


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_is_followed_to_another_host_and_nothing_is_sent_there(chat: Opener, status: int) -> None:
    with LLMServer() as other:
        elsewhere = Response(status, b"", {"location": f"{other.base_url}/chat/completions?key={KEY}"})
        with LLMServer(plan=lambda body, prompt, before: elsewhere) as server:
            raised = gives_up(chat(server.base_url), calls(20))
            assert server.requests == 1
        assert other.statuses == {}
    assert f"redirects to {other.base_url}/chat/completions" in str(raised)
    assert raised.exit_code == 3


def test_a_redirect_within_the_server_is_followed_and_one_in_a_circle_is_not(chat: Opener) -> None:
    with LLMServer(echo, key=KEY) as server:
        server.route("POST", "/old/chat", lambda request: Response(307, b"", {"location": "/v1/chat/completions"}))
        server.route("POST", "/circle/chat", lambda request: Response(308, b"", {"location": "/circle/chat"}))
        url = server.base_url.removesuffix("/v1")
        assert texts(run(chat(f"{url}/old"), [call("a")])) == {"a": "echo a"}
        assert "redirects in a circle" in str(gives_up(chat(f"{url}/circle"), calls(2)))


def test_an_answer_in_drops_is_given_up_after_the_timeout(chat: Opener) -> None:
    def drops() -> Iterator[bytes | float | str]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X: y\r\n"
            yield 0.02

    plan = first(Response(script=drops))
    began = time.monotonic()
    with LLMServer(echo, plan=plan) as server:
        assert texts(run(chat(server.base_url, timeout_s=0.3), [call("a")])) == {"a": "echo a"}
    assert time.monotonic() - began < 5


def test_an_answer_larger_than_any_is_given_up_packed_or_not(chat: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = b" " * (40 << 20)
    packed = Response(200, gzip.compress(plain, 1), {"content-encoding": "gzip"})
    for response in (Response(200, plain), packed, Response(500, packed.body, packed.headers)):
        with LLMServer(echo, plan=first(response)) as server:
            assert texts(run(chat(server.base_url), [call("a")])) == {"a": "echo a"}
    with LLMServer(echo, plan=lambda body, prompt, before: packed) as server:
        ((_, got),) = run(chat(server.base_url, retries=3), [call("a")])
        assert server.requests == 2
    assert got == Failure("an answer of more than 32 MB (tried 2 times)")


def test_an_error_in_a_charset_that_is_none_is_an_error(chat: Opener) -> None:
    odd = [Response(500, b"x\x9c", content_type=f"text/plain; charset={name}") for name in ("zlib", "undefined", "hex")]
    with LLMServer(echo, plan=first(*odd)) as server:
        assert texts(run(chat(server.base_url), [call("a")])) == {"a": "echo a"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PROXY", "nonsense://u:hunter2@x"), ("HTTP_PROXY", "socks5://u:hunter2@x"), ("SSL_CERT_FILE", "/no/such")],
)
def test_an_environment_that_no_connection_can_be_made_in_is_told(
    chat: Opener, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    raised = gives_up(chat("http://203.0.113.9/v1"), calls(2))
    assert raised.exit_code == 2
    assert "look at HTTP_PROXY" in str(raised)
    assert "hunter2" not in str(raised)


def test_a_made_up_usage_does_not_hold_a_run_with_tpm_back(chat: Opener) -> None:
    def absurd(good: Response) -> Response:
        body = orjson.loads(good.body) | {"usage": {"prompt_tokens": 10**8, "completion_tokens": 10**8}}
        return replace(good, body=orjson.dumps(body))

    began = time.monotonic()
    with LLMServer(echo, plan=lambda body, prompt, before: absurd) as server:
        assert len(run(chat(server.base_url, tpm=600_000), calls(20))) == 20
    assert time.monotonic() - began < 5


def test_an_account_without_credit_ends_the_run_and_what_was_paid_is_handed_over(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        return error(429, "You exceeded your quota", code="insufficient_quota") if prompt == "prompt 20" else None

    with LLMServer(echo, plan=plan, delay_s=0.05) as server:
        llm = chat(server.base_url)
        answers: list[Answer] = []
        for one in calls(60):
            llm.submit(one)
        with pytest.raises(PairmineError, match=r"no credit left \(429: You exceeded.*run again to continue"):
            drain(llm, answers)
        assert len(texts(answers)) == sum(server.paid.values()) > 20


def test_a_server_that_stays_away_ends_the_run_after_a_while(chat: Opener) -> None:
    with LLMServer(echo, delay_s=0.01) as server:
        llm = chat(server.base_url, patience_s=0.5, concurrency=4)
        run(llm, calls(1))
        threading.Timer(0.1, server.stop).start()
        raised = gives_up(llm, (call(f"prompt {number}") for number in range(100_000)))
    assert raised.exit_code == 3
    assert "no reply for" in str(raised)
    assert "run again to continue" in str(raised)


def test_a_server_that_only_errs_ends_the_run_after_a_while(chat: Opener) -> None:
    with LLMServer(echo, plan=lambda body, prompt, before: error(500, "broken")) as server:
        raised = gives_up(chat(server.base_url, patience_s=0.2, retries=1000), calls(100))
    assert raised.exit_code == 3
    assert "500: broken" in str(raised)


def test_a_day_to_wait_is_not_waited(chat: Opener) -> None:
    busy = error(429, "daily limit", headers={"retry-after": "86400"})
    with LLMServer(echo, plan=first(busy)) as server:
        raised = gives_up(chat(server.base_url), calls(5))
    assert "asks to wait 24.0 hours (429: daily limit)" in str(raised)


def test_a_long_wait_is_said(chat: Opener) -> None:
    lines: list[str] = []
    with LLMServer(echo, plan=first(error(429, "hourly", headers={"retry-after": "900"}))) as server:
        llm = chat(server.base_url, say=lines.append)
        llm.submit(call("a"))
        llm._loop.call_later(0.3, llm._loop.stop)
        assert llm.wait() == []
        llm.close()
    assert lines == ["openai:test-model: rate limited, waiting 900 s (429: hourly)"]


def test_a_bug_of_ours_keeps_its_traceback(chat: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(exchange, "_answer", broken)
    with LLMServer(echo) as server, pytest.raises(ZeroDivisionError):
        run(chat(server.base_url), calls(3))


# Ends.


def test_closing_with_calls_under_way_is_quiet_and_may_be_done_twice(
    chat: Opener, capfd: pytest.CaptureFixture[str]
) -> None:
    with LLMServer(
        echo, plan=lambda body, prompt, before: Response(fault="stall") if prompt != "a" else None
    ) as server:
        llm = chat(server.base_url)
        run_one = [call("a"), *calls(20)]
        for one in run_one:
            llm.submit(one)
        assert len(llm.wait()) == 1
        llm._loop.call_later(0.1, llm._loop.stop)
        llm.wait()
        assert llm.state["in_flight"] == 16
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            llm.close()
            llm.close()
            del llm
            gc.collect()
    assert capfd.readouterr().err == ""


def test_after_ctrl_c_what_had_arrived_can_still_be_had(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        return Response(fault="stall") if prompt == "stall" else None

    with LLMServer(echo, plan=plan) as server:
        llm = chat(server.base_url)
        run(llm, [call("a")])
        llm.submit(call("stall"))
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            llm.wait()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        llm.submit(call("b"))
        assert texts(llm.wait()) == {"b": "echo b"}
        assert llm.under_way == 1


@pytest.mark.parametrize("moment_s", [0.0, 0.3])
def test_ctrl_c_ends_the_wait_at_once_and_leaves_no_noise(moment_s: float) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pairmine.backends.openai_chat import open_chat
        from pairmine.llm.calls import Call, Sampling
        llm = open_chat("test-model", base_url=sys.argv[1], api_key="k")
        try:
            for number in range(30):
                llm.submit(Call("test-model", ({"role": "user", "content": str(number)},), Sampling()))
            while llm.under_way:
                print(len(llm.wait()), flush=True)
        except KeyboardInterrupt:
            llm.close()
            print("interrupted", flush=True)
        """
    )
    plan: Any = lambda body, prompt, before: Response(fault="stall") if int(prompt) > 5 else None  # noqa: E731
    with LLMServer(echo, plan=plan) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.base_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 20
        while server.seen.total() < 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moment_s)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert out.endswith("interrupted\n")
    assert err == ""
    assert process.returncode == 0


def test_what_came_in_is_told_without_waiting_and_nothing_more_is_sent(chat: Opener) -> None:
    def plan(body: dict[str, Any], prompt: str, before: int) -> Response | None:
        return Response(fault="stall") if prompt == "stall" else None

    with LLMServer(echo, plan=plan) as server:
        llm = chat(server.base_url, concurrency=6)
        for one in [call("a"), call("stall"), *calls(20)]:
            llm.submit(one)
        handed_back = texts(llm.wait())
        asked, began = server.seen.total(), time.monotonic()
        came = texts(llm.arrived())
        assert time.monotonic() - began < 2
        assert handed_back.items() <= came.items()
        assert all(text == f"echo {prompt}" for prompt, text in came.items())
        llm.close()
        assert texts(llm.arrived()) == came
        assert server.seen.total() <= asked + 6


def test_what_was_sent_is_read_though_the_machine_is_too_busy_for_a_look_in_time(
    chat: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairmine.backends.exchange._LAST_LOOK_S", 0.0)

    def plan(body: dict[str, Any], prompt: str, before: int) -> Callable[[Response], Response]:
        return lambda response: replace(response, delay_s=0.0 if prompt == "prompt 0" else 0.2)

    with LLMServer(echo, plan=plan) as server:
        llm = chat(server.base_url, concurrency=30)
        for one in calls(30):
            llm.submit(one)
        came = texts(llm.wait())
        came |= texts(llm.wait())
        deadline = time.monotonic() + 10
        while server.under_way and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.paid.total() > len(came) + 8
        assert texts(llm.arrived()).keys() | came.keys() == server.paid.keys()
        llm.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_replies_are_read_loses_none_and_closing_stays_quiet(
    chat: Opener, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    read: list[str] = []
    finish = OpenAIChat._finish

    def finish_and_interrupt(self: OpenAIChat, job: Any, result: Reply | Failure) -> None:
        read.append(job.call.messages[-1]["content"])
        if len(read) == 8:
            os.kill(os.getpid(), number)
        finish(self, job, result)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(OpenAIChat, "_finish", finish_and_interrupt)
    before = signal.signal(number, interrupt)
    try:
        with LLMServer(echo) as server:
            llm = chat(server.base_url)
            for one in calls(40):
                llm.submit(one)
            handed_back: list[Answer] = []
            with pytest.raises(KeyboardInterrupt):
                drain(llm, handed_back)
            kept = texts(handed_back) | texts(llm.arrived())
            llm.close()
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    assert len(read) >= 8
    assert kept.keys() == set(read)


def test_a_stop_that_is_still_to_come_does_not_break_closing(chat: Opener) -> None:
    with LLMServer(echo, plan=lambda body, prompt, before: Response(fault="stall")) as server:
        llm = chat(server.base_url)
        llm.submit(call("a"))
        llm._loop.call_later(0.1, llm._loop.stop)
        llm.wait()
        for _ in range(3):
            llm._loop.call_soon_threadsafe(llm._loop.stop)
        llm.close()
        assert llm._loop.is_closed()


def test_once_the_run_is_ended_waiting_says_why_every_time(chat: Opener) -> None:
    with LLMServer(echo, plan=lambda body, prompt, before: error(401, "no such key")) as server:
        llm = chat(server.base_url)
        gives_up(llm, calls(3))
        assert llm.room == 0
        for _ in range(2):
            with pytest.raises(PairmineError, match="the key is refused"):
                llm.wait()


# Keys and addresses.


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert find_key("https://api.openai.com/v1") == KEY
    (tmp_path / "key").write_text("sk-other\n")
    assert find_key("https://api.openai.com/v1", tmp_path / "key") == "sk-other"


def test_a_server_of_ones_own_needs_no_key_but_openai_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert find_key("http://localhost:8000/v1") == "none"
    assert find_key("https://llm.example.org/v1") == "none"
    with pytest.raises(PairmineError, match="set OPENAI_API_KEY"):
        find_key("https://api.openai.com/v1")


@pytest.mark.parametrize("content", [b"", b" \n", b"sk-a b", "sk-ü".encode(), b"\xff\xfe"])
def test_a_file_that_holds_no_key_is_told_without_showing_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(PairmineError, match="--api-key-file") as caught:
        find_key("http://localhost/v1", tmp_path / "key")
    assert "sk-" not in str(caught.value)


def test_a_missing_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match="FileNotFoundError"):
        find_key("http://localhost/v1", tmp_path / "none")


def test_the_address_comes_from_the_flag_the_environment_or_is_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert find_base_url(None) == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1/")
    assert find_base_url(None) == "http://localhost:8000/v1"
    assert find_base_url("http://other/v1") == "http://other/v1"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:99999999/v1", "nonsense"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(PairmineError, match=r"--base-url .*not an address"):
        find_base_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://user:hunter2@host/v1", "ftp://host/v1"),
        ("user:hunter2@host", "host"),
        ("http://user:hunt/er2@host:1/v1", "http://host:1/v1"),
        ("http://user:hunt?er2@[::1", "http://[::1"),
        ("ftp://host/v1?key=hunter2", "ftp://host/v1"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(PairmineError) as caught:
        find_base_url(url)
    assert str(caught.value).startswith(f"--base-url {shown}: not an address; ")
    assert "er2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_this_machine_is_told_from_others(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_lineage_and_repr_hold_no_password_and_no_port(chat: Opener) -> None:
    llm = chat("http://user:pass-word@10.0.0.1:8123/v1?token=secret")
    assert llm.facts == {"server": "10.0.0.1"}
    assert "pass-word" not in repr(llm)
    assert "secret" not in repr(llm)
    assert chat("http://localhost:8123/v1").facts == {"server": "local"}


def test_a_proxy_set_for_the_machine_is_not_asked_for_the_machine_itself(
    chat: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with LLMServer(echo) as server:
        assert texts(run(chat(server.base_url), [call("a")])) == {"a": "echo a"}
