"""Calls as request bodies, and the bodies that servers really send back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from pairmine.backends.requests import (
    Complaint,
    Dialect,
    Malformed,
    adapted,
    believable,
    first_guess,
    parse,
    read_complaint,
    read_reply,
    request_body,
)
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Reply, Sampling

CLOSED = {
    "type": "object",
    "properties": {"query": {"type": "string"}},
    "required": ["query"],
    "additionalProperties": False,
}


def call(**options: Any) -> Call:
    return Call("m", ({"role": "user", "content": "日本 \U0001f600"},), options.pop("sampling", Sampling()), **options)


def completion(**message: Any) -> dict[str, Any]:
    return {"model": "m-2", "choices": [{"message": {"content": "hi", **message}, "finish_reason": "stop"}]}


def test_a_request_carries_what_the_call_says() -> None:
    sampling = Sampling(temperature=0.3, top_p=0.9, max_tokens=77, stop=("\n",), extra={"min_p": 0.1})
    one = call(sampling=sampling)
    assert orjson.loads(orjson.dumps(request_body(one, Dialect()))) == {
        "model": "m",
        "messages": [{"role": "user", "content": "日本 \U0001f600"}],
        "temperature": 0.3,
        "top_p": 0.9,
        "max_tokens": 77,
        "seed": one.seed,
        "stop": ["\n"],
        "min_p": 0.1,
    }


def test_samples_of_one_prompt_get_seeds_of_their_own_and_a_rerun_the_same() -> None:
    seeds = [request_body(call(sample=sample), Dialect())["seed"] for sample in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]


def test_openai_itself_is_asked_by_the_new_name_of_max_tokens_others_by_the_old() -> None:
    assert "max_completion_tokens" in request_body(call(), first_guess("https://api.openai.com/v1"))
    assert "max_completion_tokens" in request_body(call(), first_guess(None))
    assert "max_tokens" in request_body(call(), first_guess("http://localhost:8000/v1"))


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({"type": "object"}, False),
        ({**CLOSED, "properties": {"query": {"type": "array", "items": {**CLOSED, "required": []}}}}, False),
        ({**CLOSED, "properties": {"query": {"type": "array", "items": CLOSED}}}, True),
    ],
)
def test_a_schema_is_sent_as_strict_where_a_strict_server_would_take_it(schema: dict[str, Any], strict: bool) -> None:
    sent = request_body(call(schema=schema), Dialect())["response_format"]
    assert sent["json_schema"]["strict"] is strict
    assert sent["json_schema"]["schema"] == schema


def test_the_lower_rungs_ask_for_any_json_or_for_nothing() -> None:
    assert request_body(call(schema=CLOSED), Dialect("json"))["response_format"] == {"type": "json_object"}
    assert "response_format" not in request_body(call(schema=CLOSED), Dialect("plain"))
    assert "response_format" not in request_body(call(), Dialect())


def test_what_the_user_sets_goes_over_ours() -> None:
    extra = {"max_completion_tokens": 9, "logprobs": 1, "response_format": {"type": "text"}}
    body = request_body(call(sampling=Sampling(extra=extra), schema=CLOSED), Dialect())
    assert "max_tokens" not in body
    assert {name: body[name] for name in extra} == extra


@pytest.mark.parametrize("name", ["stream", "n", "seed", "model", "messages"])
def test_a_field_that_every_request_has_its_own_of_cannot_be_set(name: str) -> None:
    with pytest.raises(PairmineError, match=f"'{name}' cannot be set"):
        request_body(call(sampling=Sampling(extra={name: 2})), Dialect())


def test_a_reply_keeps_text_reason_usage_and_who_answered() -> None:
    body = completion(content=" {} ", reasoning_content="hm")
    body["choices"][0]["finish_reason"] = "length"
    body["usage"] = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
    assert read_reply(body) == Reply(" {} ", "length", 9, 3, 8, "m-2")


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        ({"content": None}, "", "stop"),
        ({"content": None, "refusal": "I cannot"}, "I cannot", "refusal"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}, "ab", "stop"),
        ({"content": 7}, "", "stop"),
    ],
)
def test_odd_messages_still_give_a_reply(message: dict[str, Any], text: str, reason: str) -> None:
    reply = read_reply(completion(**message))
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason) == (text, reason)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        5,
        {"prompt_tokens": None},
        {"prompt_tokens": "9"},
        {"prompt_tokens_details": None},
        {"prompt_tokens": -1},
        {"prompt_tokens": 10**400, "completion_tokens": float("inf")},
        {"prompt_tokens": 1e300, "completion_tokens": float("nan")},
    ],
)
def test_missing_or_broken_usage_counts_as_nothing(usage: Any) -> None:
    reply = read_reply({**completion(), "usage": usage})
    assert isinstance(reply, Reply)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (0, 0, 0)


@pytest.mark.parametrize(
    "body", [None, [], "ok", {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": 1}]}]
)
def test_a_body_that_is_no_completion_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed):
        read_reply(body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "upstream", "code": 502}}, 502),
        ({"error": {"message": "slow down", "code": "429"}}, 429),
        ({"error": "overloaded"}, 500),
        ({"choices": [{"message": {"content": ""}, "error": {"message": "x", "code": 503}}]}, 503),
        ({"object": "error", "message": "EngineCore died", "code": 500}, 500),
        ({"detail": "Internal Server Error"}, 500),
        ({"success": False, "errors": [{"code": 7009, "message": "Upstream unavailable"}]}, 500),
        ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, 500),
    ],
)
def test_an_error_in_a_200_is_an_error_with_its_own_status(body: Any, status: int) -> None:
    complaint = read_reply(body)
    assert isinstance(complaint, Complaint)
    assert complaint.status == status
    assert complaint.is_transient


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "too\nlong", "param": "messages", "code": None}}, "too long"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "Extra inputs"),
        ([{"error": {"code": 429, "message": "Quota"}}], "Quota"),
        ({"message": "plain"}, "plain"),
        ({"object": "error", "message": "old vLLM", "code": 400}, "old vLLM"),
        ("<html>Bad\x00 gateway</html>", "Bad gateway"),
        ({"error": {}}, "{}"),
        ("", ""),
    ],
)
def test_an_error_is_read_in_whatever_shape_it_comes_and_shown_on_one_line(body: Any, words: str) -> None:
    complaint = read_complaint(400, body)
    assert words in complaint.message
    assert complaint.message.isprintable()
    assert complaint.status == 400


def test_a_huge_error_page_is_cut_short() -> None:
    assert len(read_complaint(500, "x" * 1_000_000).message) == 300


def test_an_account_without_credit_is_no_rate_limit() -> None:
    body = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}}
    assert read_complaint(429, body).is_quota
    assert not read_complaint(429, body).is_transient
    assert read_complaint(402, {"error": {"message": "Insufficient Balance"}}).is_quota
    assert read_complaint(429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}).is_transient


def test_half_an_emoji_in_a_paid_reply_does_not_lose_it() -> None:
    reply = read_reply(parse(b'{"choices": [{"message": {"content": "a\\ud83d b"}}]}'))
    assert isinstance(reply, Reply)
    assert reply.text == "a\ufffd b"
    assert parse(b'{"a": "\xff"}') == {"a": "\ufffd"}


def test_a_mark_of_byte_order_before_a_paid_reply_does_not_lose_it() -> None:
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "raw",
    [b'{"x": ' + b"[" * 400 + b"]" * 400 + b"}", b'{"x": "\\ud800", "y": ' + b"9" * 30 + b"}"],
    ids=["deep", "long"],
)
def test_what_cannot_be_shown_as_json_is_malformed_like_all_else(raw: bytes) -> None:
    with pytest.raises(Malformed, match="dict that cannot be shown"):
        read_reply(parse(raw))


def test_of_several_choices_the_first_by_its_number_is_the_reply() -> None:
    body = completion()
    other = {"index": 1, "message": {"content": "the other"}}
    body["choices"] = [other, {**body["choices"][0], "index": 0}]
    assert read_reply(body) == replace(Reply("hi", "stop"), served_by="m-2")
    assert read_reply({**body, "choices": [other]}) == replace(Reply("the other", "stop"), served_by="m-2")


def test_a_reason_or_a_model_that_is_no_word_is_none() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    body = completion() | {"model": deep}
    body["choices"][0]["finish_reason"] = deep
    assert read_reply(body) == Reply("hi", "stop")
    body["choices"][0]["finish_reason"] = "x" * 5000
    assert len(read_reply(body).finish_reason) == 200  # type: ignore[union-attr]


def test_a_usage_that_nobody_can_have_had_counts_as_not_said() -> None:
    one = call(sampling=Sampling(max_tokens=10))
    for prompt, completed in ((9_000_000, 3), (3, 9_000_000)):
        assert believable(Reply("hi", "stop", prompt, completed, 2), one) == Reply("hi", "stop")
    assert believable(Reply("hi", "stop", 20_000, 5000, 7), one) == Reply("hi", "stop", 20_000, 5000, 7)


@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"choices": [', b"[" * 100_000])
def test_a_torn_body_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse(raw)


def said(message: str, param: str = "", status: int = 400) -> Complaint:
    return Complaint(status, message, param)


@pytest.mark.parametrize(
    ("complaint", "gone"),
    [
        (said("Unsupported value: 'temperature' does not support 0.8 with this model.", "temperature"), "temperature"),
        (said("Unsupported parameter: 'top_p' is not supported with this model.", "top_p"), "top_p"),
        (said('[{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}]', status=422), "seed"),
        (said("`seed` is not supported"), "seed"),
        (said("Unsupported parameter: 'stop' is not supported with this model."), "stop"),
        (said("Unrecognized request argument supplied: max_tokens"), "max_tokens"),
        (said("'max_tokens' is not supported. Use 'max_completion_tokens' instead.", "max_tokens"), "max_tokens"),
    ],
)
def test_a_parameter_that_the_server_refuses_is_left_out(complaint: Complaint, gone: str) -> None:
    one = call(sampling=Sampling(stop=("x",)), schema=CLOSED)
    change = adapted(complaint, one, Dialect())
    assert change is not None
    before, after = request_body(one, Dialect()), request_body(one, change[0])
    assert set(before) - set(after) == {gone}
    assert gone in change[1]


def test_max_tokens_goes_under_its_other_name_and_is_never_given_up() -> None:
    change = adapted(said("Unsupported parameter: 'max_tokens'", "max_tokens"), call(), Dialect())
    assert change is not None
    assert request_body(call(), change[0])["max_completion_tokens"] == 512
    assert adapted(said("Unsupported parameter", "max_completion_tokens"), call(), change[0]) is None


def test_the_ladder_goes_from_schema_to_json_to_words() -> None:
    dialect = Dialect()
    complaint = said("Invalid parameter: 'response_format' of type 'json_schema' is not supported", "response_format")
    formats = []
    while (change := adapted(complaint, call(schema=CLOSED), dialect)) is not None:
        dialect = change[0]
        formats.append(dialect.format)
    assert formats == ["json", "plain"]


@pytest.mark.parametrize(
    "complaint",
    [
        said("'max_tokens' is too large: 512. This model's maximum context length is 400 tokens"),
        said("This model's maximum context length is 8192 tokens. However, you requested 9000.", "messages"),
        said("temperature must be at most 2", "temperature"),
        said("The model m is not supported"),
        said("seed is not supported", status=500),
        said("content management policy", "prompt"),
        said("temperature is not supported", "messages"),
    ],
)
def test_a_complaint_about_the_call_itself_changes_nothing(complaint: Complaint) -> None:
    assert adapted(complaint, call(schema=CLOSED), Dialect()) is None


def test_a_model_named_like_a_parameter_is_not_taken_for_one() -> None:
    one = replace(call(), model="seed-oss", key=b"")
    assert adapted(said("The model `seed-oss` is not supported"), one, Dialect()) is None


def test_a_users_own_field_is_never_dropped() -> None:
    one = call(sampling=Sampling(extra={"temperature": 0.5, "top_k": 3}))
    assert adapted(said("Unsupported parameter: 'temperature'", "temperature"), one, Dialect()) is None
    assert adapted(said("Unsupported parameter: 'top_k'", "top_k"), one, Dialect()) is None
