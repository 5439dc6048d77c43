"""A call as the JSON that a chat completions server takes, and its JSON as a reply: online, in batches, in files."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson

from pairmine.errors import PairmineError
from pairmine.keys import without_keys
from pairmine.llm.calls import Call, Reply

PATH = "/chat/completions"
OPENAI_HOST = "api.openai.com"

Format = Literal["schema", "json", "plain"]
"""How a server is asked for JSON: by its schema, as any JSON object, or in the prompt's words alone."""

BUSY = frozenset({429, 529})
TRANSIENT = frozenset({408, 409, 425, 500, 502, 503, 504}) | BUSY
"""Statuses that say nothing about the call: the same call may well succeed later."""

LIMITS = ("max_tokens", "max_completion_tokens")
_LADDER: tuple[Format, ...] = ("schema", "json", "plain")
_OURS = ("messages", "model", "n", "seed", "stream")
_LONGEST_WORD = 200
_MOST_TOKENS = 100_000_000
# Servers put prompts of their own before ours, and a model may think for longer than it was allowed to.
_SPARE_TOKENS = 100_000
_COMPLAINTS = ("detail", "errors", "error_msg", "error_message", "error_code", "errcode", "base_resp")
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


@dataclass(frozen=True)
class Dialect:
    """What one server takes of one model: how JSON is asked for, and the fields that it refuses."""

    format: Format = "schema"
    refused: frozenset[str] = frozenset()

    @property
    def limit(self) -> str:
        """The field that limits a reply's length, "" when the server takes neither name of it."""
        return next((name for name in LIMITS if name not in self.refused), "")


def first_guess(base_url: str | None) -> Dialect:
    """The dialect to begin with: OpenAI has renamed max_tokens, most compatible servers know the old name alone."""
    if base_url is None or urlsplit(base_url).hostname == OPENAI_HOST:
        return Dialect(refused=frozenset({"max_tokens"}))
    return Dialect()


def request_body(call: Call, dialect: Dialect) -> dict[str, Any]:
    """The JSON of a request for `call`. What `sampling.extra` holds goes over what we would send.

    Raises PairmineError when `extra` sets a field that is not a matter of sampling, such as `stream`.
    """
    sampling = call.sampling
    body: dict[str, Any] = {"model": call.model, "messages": call.messages}
    wanted: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        dialect.limit: sampling.max_tokens,
        "seed": call.seed,
    }
    if sampling.stop:
        wanted["stop"] = sampling.stop
    body.update((name, value) for name, value in wanted.items() if name and name not in dialect.refused)
    if call.schema is not None and dialect.format != "plain":
        body["response_format"] = _response_format(call.schema, dialect.format)
    if sampling.extra:
        _overlay(body, sampling.extra)
    return body


def _overlay(body: dict[str, Any], extra: Mapping[str, Any]) -> None:
    if taken := [name for name in _OURS if name in extra]:
        raise PairmineError(f"sampling: {taken[0]!r} cannot be set, every request has its own; leave it out")
    if any(name in extra for name in LIMITS):
        for name in LIMITS:
            body.pop(name, None)
    body.update(extra)


def _response_format(schema: Mapping[str, Any], format: Format) -> dict[str, Any]:
    if format == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": _is_strict(schema), "schema": schema}}


_LONGEST_ERROR = 1_000_000
_STRICT: dict[int, tuple[Mapping[str, Any], bool]] = {}


def _is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether a schema may be sent as strict: a server refuses one that has optional or unnamed properties.

    A run sends one schema a thousand times: the answer is remembered for the object itself.
    """
    known = _STRICT.get(id(schema))
    if known is None or known[0] is not schema:
        if len(_STRICT) > 256:
            _STRICT.clear()
        known = _STRICT[id(schema)] = (schema, _closed(schema))
    return known[1]


def _closed(node: Any) -> bool:
    if isinstance(node, Mapping):
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            required = node.get("required", ())
            if node.get("additionalProperties") is not False or any(name not in required for name in properties):
                return False
        elif node.get("type") == "object":
            return False
        return all(_closed(value) for value in node.values())
    if isinstance(node, list | tuple):
        return all(_closed(value) for value in node)
    return True


class Malformed(ValueError):
    """An answer that is no whole chat completion, such as a torn body or a proxy's page."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error as a server words it, on one line. `status` is HTTP's, or what the body of a 200 gives as its code."""

    status: int
    message: str
    param: str = ""
    code: str = ""

    @property
    def is_quota(self) -> bool:
        """Whether the account has run out of money, which no waiting mends."""
        return self.status == 402 or self.code in _NO_QUOTA

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status in TRANSIENT and not self.is_quota


def parse(raw: bytes) -> Any:
    """The JSON of a body. Lone surrogates and bytes that are not UTF-8, which models do send, become U+FFFD.

    A mark of byte order before it is passed over. Raises Malformed when it is not JSON.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return _scrubbed(json.loads(raw.decode("utf-8", "replace")))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {_shown(raw.decode('utf-8', 'replace'))}") from error


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    return value


def read_reply(body: Any) -> Reply | Complaint:
    """The reply of a 200's body, or the complaint that some servers send with a 200.

    Raises Malformed when it is neither. Reasoning is dropped; what is missing of usage counts as 0.
    """
    if not isinstance(body, dict):
        raise Malformed(f"no chat completion: {_shown(body)}")
    if body.get("error") or (not body.get("choices") and _is_complaint(body)):
        return read_complaint(200, body)
    choice = _first_choice(body.get("choices"))
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise Malformed(f"no message in it: {_shown(body)}")
    if choice.get("error"):
        return read_complaint(200, choice)
    message = choice["message"]
    refusal = message.get("refusal")
    reason = choice.get("finish_reason")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return Reply(
        _text(message.get("content")) or (refusal if isinstance(refusal, str) else ""),
        "refusal" if refusal else _word(reason) or "stop",
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        completion_tokens=count_of(usage.get("completion_tokens")),
        cached_tokens=count_of(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        served_by=_word(body.get("model")),
    )


def _is_complaint(body: Mapping[str, Any]) -> bool:
    """Whether a body without an `error` is one all the same, as vLLM, FastAPI and others word them."""
    return body.get("object") == "error" or body.get("type") == "error" or any(body.get(name) for name in _COMPLAINTS)


def _first_choice(choices: Any) -> Any:
    """The choice that was asked for: a server may send more, and in any order."""
    if not isinstance(choices, list) or not choices:
        return None
    return next((one for one in choices if isinstance(one, dict) and one.get("index") == 0), choices[0])


def _word(value: Any) -> str:
    """A short text that a server gives, such as a model's name; nothing for what is none."""
    return value[:_LONGEST_WORD] if isinstance(value, str) else ""


def believable(reply: Reply, call: Call) -> Reply:
    """`reply` without a usage that nobody can have had, which would eat up a budget: it counts as not said."""
    letters = sum(len(message["content"]) for message in call.messages)
    most_prompt, most_reply = _SPARE_TOKENS + 4 * letters, _SPARE_TOKENS + 100 * call.sampling.max_tokens
    if reply.prompt_tokens <= most_prompt and reply.completion_tokens <= most_reply:
        return reply
    return replace(reply, prompt_tokens=0, completion_tokens=0, cached_tokens=0)


def _text(content: Any) -> str:
    """A message's text, which a few servers send in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(part for part in parts if isinstance(part, str))


def count_of(value: Any) -> int:
    """A number of tokens as a server gives it; 0 for what is none, or more than any model reads."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= _MOST_TOKENS else 0


def read_complaint(status: int, body: Any) -> Complaint:
    """What the body of an error says, whatever its shape; `body` is JSON, or a text that is not."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = body
    if isinstance(body, dict):
        error = next((body[name] for name in ("error", "errors", "base_resp") if body.get(name)), body)
        error = error[0] if isinstance(error, list) and len(error) == 1 else error
    if not isinstance(error, dict):
        return Complaint(_status(status, None), _shown(error))
    code = next((error[name] for name in _CODES if error.get(name)), None)
    message = next((error[name] for name in _MESSAGES if error.get(name)), error)
    known = [code, error.get("type")]
    word = next((name for name in known if name in _NO_QUOTA), code if isinstance(code, str) else "")
    return Complaint(_status(status, code), _shown(message), _word(error.get("param")), _word(word))


_CODES = ("code", "status_code", "error_code", "errcode")
_MESSAGES = ("message", "detail", "msg", "error_msg", "error_message", "status_msg", "errmsg")


def _status(status: int, code: Any) -> int:
    """HTTP's status; for an error inside a 200 the code that it gives, else 500: it may pass."""
    if status != 200:
        return status
    code = int(code) if isinstance(code, str) and code.isdecimal() and len(code) == 3 else code
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _shown(value: Any) -> str:
    """A value of unknown origin on one line of at most 300 characters."""
    text = value if isinstance(value, str) else _as_json(value)
    text = without_keys(text[:_LONGEST_ERROR])  # before it is cut short: a part of a key is one too
    text = " ".join("".join(char if char.isprintable() else " " for char in text[:2000]).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # nested more deeply than it takes, or a number of more than 64 bits
        return f"{type(value).__name__} that cannot be shown"


_MEANS: Mapping[Format, str] = {
    "schema": "JSON schema (response_format json_schema)",
    "json": "JSON mode (response_format json_object)",
    "plain": "for JSON in words alone",
}
_NAMED: Mapping[str, re.Pattern[str]] = {
    "response_format": re.compile(r"response_format|json[ _]schema|json mode|json_object|structured output|grammar"),
    "max_tokens": re.compile(r"\bmax_tokens\b"),
    "max_completion_tokens": re.compile(r"\bmax_completion_tokens\b"),
    "temperature": re.compile(r"\btemperature\b"),
    "top_p": re.compile(r"\btop_p\b"),
    "seed": re.compile(r"\bseed\b"),
    "stop": re.compile(r"""['"`]stop['"`]|\bstop sequence"""),
}
# A value out of range ("must be at most 2", "too large") is the user's to hear, so such words are not among these.
_REFUSED = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|extra (field|input)|not (permitted|allowed|available|implemented)"
    r"|deprecated|cannot (both )?be|additional propert"
)
_REFUSED_FORMAT = re.compile(_REFUSED.pattern + r"|invalid|must|fail|compil|error")
_REFUSALS = (400, 422, 501)


def adapted(complaint: Complaint, call: Call, dialect: Dialect) -> tuple[Dialect, str] | None:
    """The dialect without what a 400 or 422 complains of, and words that say so; None if it names nothing of ours.

    A field of `sampling.extra` is the user's: it is never given up. Nor is the limit of a reply's length,
    which would be paid for: where a server takes neither name of it, its complaint stands.
    """
    if complaint.status not in _REFUSALS:
        return None
    sent = request_body(call, dialect)
    for name in _complained_of(complaint, call.model):
        if name not in sent or name in call.sampling.extra:
            continue
        if name == "response_format":
            down = _LADDER[_LADDER.index(dialect.format) + 1]
            return replace(dialect, format=down), f"takes no {_MEANS[dialect.format]}; asking {_MEANS[down]} instead"
        less = replace(dialect, refused=dialect.refused | {name})
        if name not in LIMITS:
            return less, f"takes no {name}; leaving it out"
        if less.limit:
            return less, f"takes no {name}; sending it as {less.limit}"
    return None


def _complained_of(complaint: Complaint, model: str) -> list[str]:
    """The fields of ours that a complaint is about: its `param` where it gives one, else those its message names."""
    # A model may be called seed-something.
    text = re.sub(rf"(?<!\w){re.escape(model.lower())}(?!\w)", "", complaint.message.lower())
    param = re.split(r"[.\[]", complaint.param.lower())[0]
    names = [name for name, pattern in _NAMED.items() if (name == param if param else pattern.search(text))]
    return [name for name in names if (_REFUSED_FORMAT if name == "response_format" else _REFUSED).search(text)]
