"""What servers, proxies and what pretends to be either send in place of an answer, as a table.

A fault is a response, or bends the right one. `HEALTHY` are odd and whole: what they say is to be used. `PASSING` are
tried again. `ENDING` are about the key, the address or the request. The `BENT_*` are whole answers whose JSON is not
what was asked for.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import orjson
from llm_server import Bend, Response, error, reply

PAUSE_S = 0.03
"""Between the drops of a slow answer: a drop always comes sooner than any limit for one would end."""


@dataclass(frozen=True)
class Fault:
    """`send` is what goes out. With `same` the answer is usable as it is; `is_heavy` ones take a second or more.

    What `misleads` is a right answer of another model.
    """

    name: str
    send: Response | Bend
    same: bool = False
    is_heavy: bool = False
    misleads: bool = False

    def __str__(self) -> str:
        return self.name


def head(good: Response, *lines: str, status: str = "200 OK", length: int | None = -1) -> bytes:
    """The beginning of an HTTP answer; with `length` None it names none, with -1 the right one."""
    size = len(good.body) if length == -1 else length
    named = [] if size is None else [f"Content-Length: {size}"]
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *named, *lines, "", ""]).encode()


def played(make: Callable[[Response], list[bytes | float | str]], *, is_paid: bool = False) -> Bend:
    """The right answer as a script; it counts as paid where it comes whole."""

    def bend(good: Response) -> Response:
        pieces = make(good)
        return replace(good, script=lambda: pieces, paid=good.paid if is_paid else None)

    return bend


def endless(start: Callable[[Response], bytes], piece: bytes, pause_s: float = PAUSE_S) -> Bend:
    """An answer that goes on for as long as somebody listens."""

    def bend(good: Response) -> Response:
        def script() -> Iterator[bytes | float | str]:
            yield start(good)
            while True:
                yield piece
                yield pause_s

        return replace(good, script=script, paid=None)

    return bend


def dripped(good: Response) -> Response:
    """A byte at a time."""
    whole = head(good) + good.body

    def script() -> Iterator[bytes | float | str]:
        for at in range(len(whole)):
            yield whole[at : at + 1]
            yield PAUSE_S

    return replace(good, script=script, paid=None)


def rewritten(change: Callable[[bytes], bytes], *, is_paid: bool = False, **headers: str) -> Bend:
    """The right answer in other bytes."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda good: replace(
        good, body=change(good.body), headers={**good.headers, **named}, paid=good.paid if is_paid else None
    )


def chunks(raw: bytes, size: int = 40) -> bytes:
    parts = [raw[at : at + size] for at in range(0, len(raw), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def chunked(good: Response, end: bytes = b"0\r\n\r\n") -> bytes:
    return head(good, "Transfer-Encoding: chunked", length=None) + chunks(good.body) + end


@cache
def bomb(megabytes: int) -> bytes:
    """So many megabytes of blanks, packed."""
    packer = zlib.compressobj(9, wbits=31)
    block = b" " * (1 << 20)
    return b"".join([packer.compress(block) for _ in range(megabytes)]) + packer.flush()


@cache
def nested_bomb(megabytes: int) -> Response:
    """So many megabytes of blanks, packed twice: some hundreds of times fewer bytes than packed once."""
    return Response(200, gzip.compress(bomb(megabytes), 9), {"content-encoding": "gzip, gzip"})


def _packed_twice(good: Response, body: bytes) -> bytes:
    line = "Content-Encoding: gzip"
    return head(replace(good, body=body), line, line) + body


def huge(start: bytes, megabytes: int) -> Bend:
    """An answer of so many megabytes, which nobody here holds as a whole."""

    def bend(good: Response) -> Response:
        def script() -> Iterator[bytes | float | str]:
            yield head(good, length=len(start) + (megabytes << 20)) + start
            for _ in range(megabytes):
                yield b"x" * (1 << 20)

        return replace(good, script=script, paid=None)

    return bend


def busy(**headers: str) -> Response:
    return error(429, "slow down", headers={name.replace("_", "-"): text for name, text in headers.items()})


HEALTHY = [
    Fault("a mark of byte order before it", rewritten(lambda raw: b"\xef\xbb\xbf" + raw, is_paid=True), same=True),
    Fault("white space before it", rewritten(lambda raw: b" \n" * 500 + raw, is_paid=True), same=True),
    Fault("gzip", rewritten(gzip.compress, is_paid=True, content_encoding="gzip"), same=True),
    Fault("deflate", rewritten(zlib.compress, is_paid=True, content_encoding="deflate"), same=True),
    Fault("an encoding of no name", rewritten(bytes, is_paid=True, content_encoding="identity, nonsense"), same=True),
    Fault("a charset that unpacks", lambda good: replace(good, content_type="text/plain; charset=zlib"), same=True),
    Fault("a charset of no name", lambda good: replace(good, content_type="text/plain; charset=klingon"), same=True),
    Fault("no content type", lambda good: replace(good, content_type=""), same=True),
    Fault("in chunks", played(lambda good: [chunked(good)], is_paid=True), same=True),
    Fault(
        "in slow pieces",
        played(lambda good: [head(good), 0.02, good.body[:9], 0.02, good.body[9:]], is_paid=True),
        same=True,
    ),
    Fault("closed after each answer", played(lambda good: [head(good) + good.body, "close"], is_paid=True), same=True),
    Fault(
        "ended by closing", played(lambda good: [head(good, length=None) + good.body, "close"], is_paid=True), same=True
    ),
    Fault(
        "said to be closed and kept",
        played(lambda good: [head(good, "Connection: close") + good.body], is_paid=True),
        same=True,
    ),
    Fault(
        "announced ten times",
        played(lambda good: [b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + head(good) + good.body], is_paid=True),
        same=True,
    ),
    Fault(
        "cookies and a reset that is past",
        rewritten(
            bytes,
            is_paid=True,
            set_cookie="a=b; Path=/",
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="-5s",
        ),
        same=True,
    ),
]

NOT_ANSWERS = {
    "an empty body": b"",
    "null": b"null",
    "a number": b"0",
    "a list": b"[]",
    "a text": b'"ok"',
    "an empty object": b"{}",
    "HTML": b"<!doctype html><title>Sign in</title><p>Welcome to the hotel</p>",
    "half of it": b'{"choices": [{"message": {"content": "hal',
    "deep nesting": b'{"a":' * 100_000,
    "nesting that is closed again": b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}",
    "not a number": b'{"choices": NaN}',
    "a number of 5000 digits": b'{"x": ' + b"9" * 5000 + b"}",
    "a number of 400 digits": b'{"x": ' + b"9" * 400 + b', "half": "\\ud800"}',
    "bytes that are no text": bytes(range(256)) * 4,
    "zero bytes": b"\0" * 1000,
    "UTF-16": '{"choices": []}'.encode("utf-16"),
    "controls of a terminal": b'{"detail": "\\u001b[2J\\u001b]0;gone\\u0007\\r\\n\\u202e"}',
}

ERRORS_IN_A_200: dict[str, Any] = {
    "OpenAI's": {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}},
    "OpenRouter's": {"error": {"message": "Provider returned error", "code": 502}},
    "vLLM's": {"object": "error", "message": "EngineCore died", "type": "InternalServerError", "code": 500},
    "FastAPI's": {"detail": "Internal Server Error"},
    "Anthropic's": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    "Cloudflare's": {"success": False, "errors": [{"code": 7009, "message": "Upstream unavailable"}], "result": None},
    "MiniMax's": {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
    "Baidu's": {"error_code": 336100, "error_msg": "the server is busy"},
    "Google's": [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}],
    "a word": {"error": "overloaded"},
    "TEI's": {"error": "Model is overloaded", "error_type": "Overloaded"},
}

RETRY_AFTER = {
    "in the past": {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"},
    "by a clock a day ahead": {"retry_after": "Wed, 21 Oct 2099 07:28:00 GMT", "date": "Wed, 21 Oct 2099 07:28:00 GMT"},
    "without a zone": {"retry_after": "Wed, 21 Oct 2015 07:28:00"},
    "below zero": {"retry_after": "-30"},
    "not a number": {"retry_after": "nan"},
    "without end": {"retry_after": "inf"},
    "of a thousand digits": {"retry_after": "9" * 1000},
    "of sixty thousand digits": {"retry_after": "9" * 60_000},
    "of nonsense": {"retry_after": "soon\x7f, maybe"},
    "of year zero": {"retry_after": "Wed, 21 Oct 0000 07:28:00 GMT"},
    "of month nineteen": {"retry_after": "Wed, 99 Nod 2015 77:28:00 GMT"},
    "in milliseconds": {"retry_after_ms": "5"},
    "in milliseconds below zero": {"retry_after_ms": "-5"},
    "as a duration": {"retry_after": "0.01s"},
    "empty": {"retry_after": ""},
}

PASSING = [
    Fault("a byte now and then", dripped),
    Fault("headers that never end", endless(lambda good: b"HTTP/1.1 200 OK\r\n", b"X-More: yes\r\n")),
    Fault("a header that never ends", endless(lambda good: b"HTTP/1.1 200 OK\r\nX-More: ", b"y")),
    Fault("a body that never ends", endless(lambda good: head(good, length=1 << 40), b" ")),
    Fault(
        "chunks that never end",
        endless(lambda good: head(good, "Transfer-Encoding: chunked", length=None), b"1\r\n \r\n"),
    ),
    Fault("announcements that never end", endless(lambda good: b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    Fault("silence", Response(fault="stall")),
    Fault("silence after the headers", played(lambda good: [head(good), "hold"])),
    Fault("silence in the middle", played(lambda good: [head(good) + good.body[:20], "hold"])),
    Fault("silence before the last byte", played(lambda good: [head(good) + good.body[:-1], "hold"])),
    Fault("a length too long, then closed", Response(body=b'{"choices": [', fault="truncated")),
    Fault("a length too long, then silence", played(lambda good: [head(good, length=10**6) + good.body, "hold"])),
    Fault("a length too short", played(lambda good: [head(good, length=len(good.body) // 2) + good.body])),
    Fault("a length below zero", played(lambda good: [head(good, length=-7) + good.body, "close"])),
    Fault("a length in letters", played(lambda good: [head(good, "Content-Length: many", length=None), "close"])),
    Fault("two lengths", played(lambda good: [head(good, "Content-Length: 7") + good.body, "close"])),
    Fault("a length of thirty digits", played(lambda good: [head(good, length=10**30) + good.body, "close"])),
    Fault("a chunk torn", played(lambda good: [chunked(good)[:-30], "close"])),
    Fault("no last chunk", played(lambda good: [chunked(good, b""), "close"])),
    Fault("a chunk of no size", played(lambda good: [chunked(good, b"zz\r\n\r\n"), "close"])),
    Fault(
        "a chunk longer than said",
        played(
            lambda good: [
                head(good, "Transfer-Encoding: chunked", length=None) + b"5\r\n" + good.body + b"\r\n0\r\n\r\n",
                "close",
            ]
        ),
    ),
    Fault("reset at once", Response(fault="reset")),
    Fault("reset in the headers", played(lambda good: [head(good)[:30], 0.01, "reset"])),
    Fault("reset in the body", played(lambda good: [head(good) + good.body[:30], 0.01, "reset"])),
    Fault("closed without a word", played(lambda good: ["close"])),
    Fault("closed in the headers", played(lambda good: [head(good)[:30], "close"])),
    Fault("not HTTP", played(lambda good: [b"SSH-2.0-OpenSSH_9.6\r\n", "close"])),
    Fault("HTTP of 1991", played(lambda good: [good.body, "close"])),
    Fault("a status that is none", played(lambda good: [head(good, status="abc OK") + good.body, "close"])),
    Fault("headers of 300 KB", played(lambda good: [head(good, "X-Big: " + "y" * 300_000) + good.body, "close"])),
    Fault("ten thousand headers", played(lambda good: [head(good, *["X-A: b"] * 10_000) + good.body, "close"])),
    Fault("a header of two lines", played(lambda good: [head(good, "X-A: b\x00c") + good.body, "close"])),
    Fault("gzip that is none", rewritten(bytes, content_encoding="gzip")),
    Fault("gzip cut off", rewritten(lambda raw: gzip.compress(raw)[:40], content_encoding="gzip")),
    Fault("gzip that is said nine times", rewritten(gzip.compress, content_encoding=", ".join(["gzip"] * 9))),
    Fault("gzip in gzip", rewritten(lambda raw: gzip.compress(gzip.compress(raw)), content_encoding="gzip, gzip")),
    Fault(
        "gzip in deflate", rewritten(lambda raw: zlib.compress(gzip.compress(raw)), content_encoding="gzip, deflate")
    ),
    Fault("a packing that was not asked for", rewritten(bytes, content_encoding="zstd")),
    Fault("a gzip bomb", lambda good: Response(200, bomb(500), {"content-encoding": "gzip"}), is_heavy=True),
    Fault("a bomb in a bomb", lambda good: nested_bomb(500), is_heavy=True),
    Fault(
        "a bomb in a bomb, told in two lines",
        played(lambda good: [_packed_twice(good, nested_bomb(500).body), "close"]),
        is_heavy=True,
    ),
    Fault(
        "a gzip bomb of an error", lambda good: Response(500, bomb(500), {"content-encoding": "gzip"}), is_heavy=True
    ),
    Fault("a reply of 100 MB", huge(b'{"choices": [{"message": {"content": "', 100), is_heavy=True),
    Fault("an error of 100 MB", lambda good: replace(huge(b'{"error": "', 100)(good), status=500), is_heavy=True),
    *(Fault(f"{name} for an answer", Response(200, raw)) for name, raw in NOT_ANSWERS.items()),
    *(
        Fault(f"{name} as HTML", Response(200, raw, content_type="text/html"))
        for name, raw in NOT_ANSWERS.items()
        if len(raw) < 100
    ),
    *(Fault(f"an error in a 200: {name}", reply(200, value)) for name, value in ERRORS_IN_A_200.items()),
    *(Fault(f"429, to wait {name}", busy(**headers)) for name, headers in RETRY_AFTER.items()),
    Fault("503, to wait in the past", error(503, "later", headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})),
    *(Fault(f"{status}", error(status, "not now")) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
    *(
        Fault(f"{status} of a proxy", Response(status, b"<html>" + b"x" * 5000, content_type="text/html"))
        for status in (502, 503, 504)
    ),
    *(Fault(f"500 and {name}", reply(500, value)) for name, value in ERRORS_IN_A_200.items()),
    *(Fault(f"500 and {name}", Response(500, raw)) for name, raw in NOT_ANSWERS.items()),
    Fault("500 in a charset that unpacks", Response(500, b"x\x9c", content_type="text/plain; charset=zlib")),
    Fault("500 in a charset that is undefined", Response(500, b"x", content_type="text/plain; charset=undefined")),
    Fault("500 torn", played(lambda good: [head(good, status="500 Oops", length=900) + b"{", "close"])),
    Fault("500 and silence", played(lambda good: [head(good, status="500 Oops", length=900) + b"{", "hold"])),
]

ENDING = [
    Fault("400", error(400, "This model's maximum context length is 512 tokens")),
    Fault("400 of TLS", Response(400, b"<html>The plain HTTP request was sent to HTTPS port</html>")),
    Fault("401", error(401, "Incorrect API key provided")),
    Fault("401 and nothing", Response(401, b"")),
    Fault("402", error(402, "Insufficient balance")),
    Fault("403", error(403, "Your account was deactivated")),
    Fault("404", error(404, "no such path")),
    Fault("405", Response(405, b"Method Not Allowed", content_type="text/plain")),
    Fault("413", Response(413, b"<html>413 Request Entity Too Large</html>", content_type="text/html")),
    Fault("422", reply(422, {"detail": [{"loc": ["body", "x"], "msg": "field required"}]})),
    Fault("429 without credit", error(429, "You exceeded your quota", code="insufficient_quota")),
    Fault("429, to wait a thousand years", busy(retry_after="Wed, 21 Oct 3015 07:28:00 GMT")),
    Fault("429, to wait a day", busy(retry_after="86400")),
    Fault("451", Response(451, b"")),
    Fault("418 and a huge page", Response(418, b"short and stout " * 100_000)),
    Fault("304", Response(304, b"")),
    Fault("300 without an address", Response(300, b"")),
    Fault("302 to itself", Response(302, b"", {"location": "/v1/rerank"})),
    Fault("307 in a circle", Response(307, b"", {"location": ""})),
    Fault("307 to another host", Response(307, b"", {"location": "http://203.0.113.9/v1/x"})),
    Fault("308 to another port", Response(308, b"", {"location": "http://127.0.0.1:9/v1/x"})),
    Fault("308 to TLS on this port", Response(308, b"", {"location": "https://127.0.0.1/v1/x"})),
    Fault("307 to a file", Response(307, b"", {"location": "file:///etc/passwd"})),
    Fault("307 to nonsense", Response(307, b"", {"location": "http://[::1"})),
    Fault("307 to a name that is none", Response(307, b"", {"location": "http://\x80\xff..x/"})),
    Fault("200 and an error of the key", reply(200, {"error": {"message": "invalid api key", "code": 401}})),
    Fault("200 and an error of credit", reply(200, {"error": {"message": "none left", "code": "insufficient_quota"}})),
]


def bent(change: Callable[[Any], Any], *, is_paid: bool = True) -> Bend:
    """The right answer with other JSON; what `change` returns is the whole of it."""

    def bend(good: Response) -> Response:
        value = change(orjson.loads(good.body))
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        return replace(good, body=raw, paid=good.paid if is_paid else None)

    return bend


def _choice(**message: Any) -> Bend:
    def change(value: Any) -> Any:
        value["choices"][0]["message"].update(message)
        return value

    return bent(change)


def _end(reason: Any) -> Bend:
    def change(value: Any) -> Any:
        value["choices"][0]["finish_reason"] = reason
        return value

    return bent(change)


def _usage(usage: Any) -> Bend:
    return bent(lambda value: {**value, "usage": usage})


def _raw_usage(text: bytes) -> Bend:
    return bent(lambda value: orjson.dumps({**value, "usage": "HERE"}).replace(b'"HERE"', text))


def _choices(change: Callable[[Any], Any]) -> Bend:
    return bent(lambda value: {**value, "choices": change(value["choices"])})


def _numbered(one: Any, index: Any, text: str | None = None) -> Any:
    message = one["message"] if text is None else {"role": "assistant", "content": text}
    return {**one, "index": index, "message": message}


USAGES = {
    "missing": None,
    "a text": "many",
    "a list": [1, 2],
    "empty": {},
    "of texts": {"prompt_tokens": "12", "completion_tokens": "9"},
    "below zero": {"prompt_tokens": -(10**9), "completion_tokens": -5},
    "absurd": {"prompt_tokens": 10**18, "completion_tokens": 10**18},
    "of a billion": {"prompt_tokens": 10**9, "completion_tokens": 1},
    "of floats": {"prompt_tokens": 1e300, "completion_tokens": 0.5},
    "of truths": {"prompt_tokens": True, "completion_tokens": False},
    "nested": {"prompt_tokens": {"a": 1}, "completion_tokens": [3]},
    "more cached than read": {
        "prompt_tokens": 5,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 99},
    },
}
RAW_USAGES = {
    "of NaN": b'{"prompt_tokens": NaN, "completion_tokens": Infinity}',
    "beyond floats": b'{"prompt_tokens": 1e999, "completion_tokens": ' + b"9" * 400 + b"}",
}
ODD_USAGES = [
    *(Fault(f"a usage {name}", _usage(value), same=True) for name, value in USAGES.items()),
    *(Fault(f"a usage {name}", _raw_usage(text), same=True) for name, text in RAW_USAGES.items()),
]

BENT_CHAT = [
    *ODD_USAGES,
    Fault("three choices", _choices(lambda found: [_numbered(found[0], n) for n in range(3)]), same=True),
    Fault("choices out of order", _choices(lambda found: [_numbered(found[0], 1, "no"), found[0]]), same=True),
    Fault("choices of one number", _choices(lambda found: [found[0], _numbered(found[0], 0, "no")]), same=True),
    Fault("a choice of another number", _choices(lambda found: [_numbered(found[0], 7)]), same=True),
    Fault("a choice without a number", _choices(lambda found: [_numbered(found[0], None)]), same=True),
    Fault("no choices", bent(lambda value: {k: v for k, v in value.items() if k != "choices"}, is_paid=False)),
    Fault("empty choices", bent(lambda value: {**value, "choices": []}, is_paid=False)),
    Fault("choices that are one", bent(lambda value: {**value, "choices": value["choices"][0]}, is_paid=False)),
    Fault("a choice that is a text", bent(lambda value: {**value, "choices": ["hi"]}, is_paid=False)),
    Fault("a choice without a message", bent(lambda value: {**value, "choices": [{"text": "x"}]}, is_paid=False)),
    Fault("a message that is a list", bent(lambda value: {**value, "choices": [{"message": []}]}, is_paid=False)),
    Fault("null content", _choice(content=None)),
    Fault("empty content", _choice(content="")),
    Fault("a number for content", _choice(content=7)),
    Fault("an object for content", _choice(content={"query": "x"})),
    Fault("content in parts", bent(lambda value: _in_parts(value)), same=True),
    Fault("content in parts of nonsense", _choice(content=[None, 3, {"type": "image"}, ["x"]])),
    Fault("tool calls for content", _choice(content=None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])),
    Fault("a refusal", _choice(content=None, refusal="I cannot help with that.")),
    Fault("a refusal that is an object", _choice(content=None, refusal={"why": "no"})),
    Fault(
        "half a letter",
        bent(lambda value: orjson.dumps(value).replace(b'"role"', b'"half":"\\ud800","role"')),
        same=True,
    ),
    Fault("content that is no UTF-8", bent(lambda value: orjson.dumps(value).replace(b"coast", b"\xff\xfe\x80"))),
    Fault("cut off", _end("length")),
    Fault("filtered", _end("content_filter")),
    Fault("an end without a reason", _end(None), same=True),
    Fault("an end with an object", _end({"deep": [[[]]]}), same=True),
    Fault("an end of a megabyte", _end("x" * 1_000_000)),
    Fault("a model without a name", bent(lambda value: {**value, "model": {"a": 1}})),
]


def _in_parts(value: Any) -> Any:
    message = value["choices"][0]["message"]
    text = message["content"]
    message["content"] = [{"type": "text", "text": text[:5]}, {"type": "text", "text": text[5:]}]
    return value


def _each(name: str, change: Callable[[int, Any], Any], **more: Any) -> Bend:
    """Every entry of the list `name` changed."""

    def bend(value: Any) -> Any:
        if isinstance(value, list):
            return [change(at, entry) for at, entry in enumerate(value)]
        return {**value, name: [change(at, entry) for at, entry in enumerate(value[name])]}

    return bent(bend, **more)


def _list(name: str, change: Callable[[list[Any]], Any], **more: Any) -> Bend:
    """The list itself changed, which is all there is for TEI."""
    return bent(
        lambda value: change(value) if isinstance(value, list) else {**value, name: change(value[name])}, **more
    )


def _lists(name: str, entry: str) -> list[Fault]:
    """What is no right list, of vectors or of scores."""
    unpaid = {"is_paid": False}
    return [
        Fault("one too few", _list(name, lambda found: found[:-1], **unpaid)),
        Fault("one too many", _list(name, lambda found: [*found, found[0]], **unpaid)),
        Fault("none", _list(name, lambda found: [], **unpaid)),
        Fault("null for the list", _list(name, lambda found: None, **unpaid)),
        Fault("an object for the list", _list(name, lambda found: {"0": found}, **unpaid)),
        Fault("texts in the list", _list(name, lambda found: ["x"] * len(found), **unpaid)),
        Fault("all of one number", _each(name, lambda at, each: {**each, "index": 0}, **unpaid)),
        Fault("numbers from 1", _each(name, lambda at, each: {**each, "index": each["index"] + 1}, **unpaid)),
        Fault("numbers below zero", _each(name, lambda at, each: {**each, "index": -1 - each["index"]}, **unpaid)),
        Fault("numbers as texts", _each(name, lambda at, each: {**each, "index": str(each["index"])}, **unpaid)),
        Fault("another order", _list(name, lambda found: found[::-1]), same=True),
        Fault("null for each", _each(name, lambda at, each: {**each, entry: None}, **unpaid)),
        Fault("objects for each", _each(name, lambda at, each: {**each, entry: {"a": [1]}}, **unpaid)),
        Fault("deep lists for each", _each(name, lambda at, each: {**each, entry: _deep(60)}, **unpaid)),
    ]


def _deep(levels: int) -> Any:
    value: Any = [1.0]
    for _ in range(levels):
        value = [value]
    return value


def _told(name: str, make: Callable[[list[Any]], Any]) -> Bend:
    """Other tokens or log-probabilities, in whichever answer has them."""

    def change(value: Any) -> Any:
        choice = value.get("choices", [value])[0]
        held = choice["logprobs"] if name == "token_logprobs" and "logprobs" in choice else choice
        key = {"tokens": "prompt_token_ids"}.get(name, name) if "choices" in value else name
        if key in held:
            held[key] = make(held[key])
        return value

    return bent(change)


BENT_LIKELIHOODS = [
    *ODD_USAGES,
    *(
        Fault(f"{words} for {name}", _told(name, make))
        for name in ("tokens", "token_logprobs")
        for words, make in {
            "null": lambda found: None,
            "nothing": lambda found: [],
            "an object": lambda found: {"0": found},
            "a text": lambda found: "x" * len(found),
            "texts": lambda found: list(map(str, found)),
            "truths": lambda found: [True] * len(found),
            "nulls": lambda found: [None] * len(found),
            "deep lists": lambda found: [_deep(60)] * len(found),
            "numbers of 400 digits": lambda found: [1e300] * len(found),
        }.items()
    ),
    Fault("log-probabilities above zero", _told("token_logprobs", lambda found: [3.5] * len(found))),
    Fault("too few log-probabilities", _told("token_logprobs", lambda found: found[:-3])),
    Fault("no choices", bent(lambda value: {"choices": []})),
    Fault("a choice that is a text", bent(lambda value: {"choices": ["hi"]})),
    Fault("a choice without an echo", bent(lambda value: {"choices": [{"index": 0, "text": " of"}]})),
]


def _vectors(make: Callable[[int], Any]) -> Bend:
    return _each("data", lambda at, each: {**each, "embedding": make(at)}, is_paid=False)


BENT_VECTORS = [
    *ODD_USAGES,
    *_lists("data", "embedding"),
    Fault("vectors of zeros", _vectors(lambda at: [0.0] * 64)),
    Fault("vectors too large for 32 bits", _vectors(lambda at: [1e300] * 64)),
    Fault("vectors of other lengths", _vectors(lambda at: [1.0] * (at + 1)), misleads=True),
    Fault("vectors of words", _vectors(lambda at: ["a", "b"])),
    Fault("vectors that are empty", _vectors(lambda at: [])),
    Fault("vectors that are no base64", _vectors(lambda at: "not base64 at all")),
    Fault("vectors of three bytes", _vectors(lambda at: "AAAA")),
    Fault("vectors of NaN", _vectors(lambda at: "AADAfwAAwH8=")),
    Fault(
        "vectors of numbers beyond floats",
        bent(
            lambda value: orjson.dumps(
                {**value, "data": [{"index": n, "embedding": "HERE"} for n in range(len(value["data"]))]}
            ).replace(b'"HERE"', b"[" + b"9" * 400 + b', "\\ud800"]'),
            is_paid=False,
        ),
    ),
    Fault("more dimensions than before", _vectors(lambda at: [1.0] * 65), misleads=True),
]


def _scores(make: Callable[[int], Any]) -> Bend:
    def change(at: int, each: Any) -> Any:
        return {name: make(at) if name in ("score", "relevance_score") else value for name, value in each.items()}

    def bend(value: Any) -> Any:
        if isinstance(value, list):
            return [change(at, each) for at, each in enumerate(value)]
        name = "results" if "results" in value else "data"
        return {**value, name: [change(at, each) for at, each in enumerate(value[name])]}

    return bent(bend, is_paid=False)


def bent_scores(name: str, entry: str) -> list[Fault]:
    """Faults of a server whose list goes by `name`, and its scores by `entry`."""
    return [
        *_lists(name, entry),
        *([] if not name else ODD_USAGES),
        Fault("scores as texts", _scores(lambda at: "0.5")),
        Fault("scores that are truths", _scores(lambda at: True)),
        Fault("scores too large for 32 bits", _scores(lambda at: 1e300)),
        Fault("scores off the scale", _scores(lambda at: 3.5)),
        Fault("a score off the scale", _scores(lambda at: 0.5 if at else -7.0)),
    ]
