"""vLLM's OpenAI server, a real server that no one here wrote, through the backend of `openai:`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from pairmine.backends.llms import LLM
from pairmine.backends.openai_chat import open_chat
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.llm.calls import Call, Failure, Reply, Sampling

SERVED = "served"


@pytest.fixture
def chat(server: str) -> Iterator[Any]:
    model = open_chat(SERVED, base_url=server, api_key="none", concurrency=64)
    yield model
    model.close()


def call_to(model: str, text: str, schema: Any = None, **sampling: Any) -> Call:
    return Call(model, ({"role": "user", "content": text},), Sampling(**{"max_tokens": 200, **sampling}), schema)


def test_every_call_over_http_is_answered_once_and_obeys_the_schema(chat: Any, ask: Any, schema: Any) -> None:
    calls = [call_to(SERVED, f"Write about {number}.", schema) for number in range(200)]
    answers = ask(chat, calls)
    assert Counter(call.key for call, _ in answers) == Counter(call.key for call in calls)
    whole = [answer for _, answer in answers if isinstance(answer, Reply) and answer.finish_reason == "stop"]
    assert len(whole) > 190
    assert all(list(json.loads(answer.text)) == ["query", "hard_negative"] for answer in whole)
    assert all(answer.prompt_tokens > 0 and answer.completion_tokens > 0 for answer in whole)


def test_the_server_and_the_engine_in_process_write_the_same_replies(
    server: str, llm: LLM, ask: Any, schema: Any
) -> None:
    calls = [call_to(llm.model, f"Say {number}.", schema if number % 2 else None) for number in range(60)]
    chat = open_chat(llm.model, base_url=server, api_key="none")
    try:
        served = {call.key: answer.text for call, answer in ask(chat, calls)}
    finally:
        chat.close()
    assert {call.key: answer.text for call, answer in ask(llm, calls)} == served


def test_cached_tokens_of_a_shared_beginning_are_reported(chat: Any, ask: Any) -> None:
    opening = "The rules are long and the same for all. " * 60
    ask(chat, [call_to(SERVED, opening + "First.")])
    answers = ask(chat, [call_to(SERVED, opening + f"Then {number}.") for number in range(3)])
    assert all(answer.cached_tokens >= answer.prompt_tokens // 2 for _, answer in answers)


def test_further_parameters_reach_the_server(chat: Any, ask: Any) -> None:
    extra = {"ignore_eos": True, "chat_template_kwargs": {"enable_thinking": False}}
    ((_, answer),) = ask(chat, [call_to(SERVED, "Go on.", max_tokens=7, extra=extra)])
    assert (answer.completion_tokens, answer.finish_reason) == (7, "length")


def test_a_prompt_that_is_too_long_for_the_server_fails_alone(chat: Any, ask: Any) -> None:
    calls = [call_to(SERVED, "Fine."), call_to(SERVED, "word " * 9000)]
    answers = {call.key: answer for call, answer in ask(chat, calls)}
    short, long = (answers[call.key] for call in calls)
    assert isinstance(short, Reply)
    assert isinstance(long, Failure)
    assert "4096" in long.reason


def test_a_model_that_the_server_does_not_have_is_told_with_those_it_has(server: str, ask: Any) -> None:
    chat = open_chat("absent", base_url=server, api_key="none")
    try:
        with pytest.raises(PairmineError, match=SERVED) as caught:
            ask(chat, [call_to("absent", "Hello?")])
    finally:
        chat.close()
    assert caught.value.exit_code in (2, GAVE_UP)
