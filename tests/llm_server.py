"""A scripted OpenAI-compatible server for tests and benchmarks: it answers by a function, and fails by a plan.

    with LLMServer(lambda body: "hello", plan=Faults(reset=0.1)) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="none")
    assert server.paid["the last user message"] == 1

It speaks just enough HTTP/1.1 (keep-alive, Content-Length) on one asyncio thread of its own, so that one core
serves thousands of requests a second. More routes: `server.route("POST", "/v1/files", handler)`.
What no server should send goes out by a `Script`: bytes and pauses as a test writes them.

`python tests/llm_server.py [PORT]` serves the instant answer for benchmarks.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


Script = Callable[[], Iterable[bytes | float | str]]
"""What goes over the wire in place of an answer: bytes, seconds to wait, and at last one of "reset" (abort the
connection), "close", or "hold" (leave it open and say no more); without a last word the connection stays in use."""


@dataclass
class Response:
    """What is sent back. `fault` is "", "reset", "stall" (never answered) or "truncated".

    `paid` names the prompt, or all texts, that are paid for once this is sent whole.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    fault: str = ""
    paid: str | tuple[str, ...] | None = None
    content_type: str = "application/json"
    script: Script | None = None


Handler = Callable[[Request], Response]
Bend = Callable[[Response], Response]
"""What becomes of the right answer."""
Plan = Callable[[dict[str, Any], str, int], "Response | Bend | None"]
"""(body, prompt, how many requests of this prompt came before) -> what takes the place of the answer, or bends it."""


def reply(status: int, value: Any, **more: Any) -> Response:
    """`value` as a JSON response."""
    return Response(status, orjson.dumps(value), **more)


def error(status: int, message: str, *, param: str | None = None, code: Any = None, **more: Any) -> Response:
    """An error in OpenAI's words."""
    kind = "invalid_request_error" if status < 429 else "server_error"
    return reply(status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, **more)


@dataclass
class Faults:
    """A plan in which each request draws its fault, by seed, prompt and attempt: the order of arrival is no matter.

    Each share is a probability; what is left of 1 is answered. `truncated` and `garbage` are 200s that are not
    whole, `error_body` is a 200 with an error in it, `stall` is never answered.
    """

    seed: int = 0
    busy: float = 0.0
    error_500: float = 0.0
    error_503: float = 0.0
    reset: float = 0.0
    stall: float = 0.0
    truncated: float = 0.0
    garbage: float = 0.0
    error_body: float = 0.0
    retry_after_s: float = 0.02

    def __call__(self, body: dict[str, Any], prompt: str, before: int) -> Response | None:
        draw = Random(f"{self.seed}/{before}/{prompt}").random()
        for name, response in self._kinds():
            draw -= getattr(self, name)
            if draw < 0:
                return response
        return None

    def _kinds(self) -> list[tuple[str, Response]]:
        wait = {"retry-after-ms": str(self.retry_after_s * 1000), "retry-after": str(self.retry_after_s)}
        return [
            ("busy", error(429, "Rate limit reached", code="rate_limit_exceeded", headers=wait)),
            ("error_500", error(500, "The server had an error")),
            ("error_503", Response(503, b"<html>upstream</html>", content_type="text/html")),
            ("reset", Response(fault="reset")),
            ("stall", Response(fault="stall")),
            ("truncated", Response(body=b'{"choices": [{"message": {"content": "ha', fault="truncated")),
            ("garbage", Response(body=b"<html>not JSON</html>", content_type="text/html")),
            ("error_body", error(200, "Provider returned error", code=502)),
        ]


class LLMServer:
    """The server; a context manager. What it may and may not is set by attributes at any time.

    `refuses` are request fields that get a 400 "Unsupported parameter". `capacity` is how many requests it
    takes at once before it says 429. `paid` counts, for each prompt (the last message's text), the whole
    200s that went into an open connection; torn, garbled and stalled answers are not among them. `paid_at` has the
    moment (of time.monotonic) by which the last of them was sent.
    `restarts` maps the number of a request to the seconds for which the server is away when it comes.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], str] = lambda body: "ok",
        *,
        plan: Plan | None = None,
        supports_schema: bool = True,
        supports_json_mode: bool = True,
        refuses: tuple[str, ...] = (),
        key: str | None = None,
        models: tuple[str, ...] = ("test-model",),
        delay_s: float = 0.0,
        capacity: int | None = None,
        headers: Mapping[str, str] | None = None,
        keeps_bodies: bool = False,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.tls = tls
        self.answer = answer
        self.plan = plan
        self.supports_schema = supports_schema
        self.supports_json_mode = supports_json_mode
        self.refuses = refuses
        self.key = key
        self.models = models
        self.delay_s = delay_s
        self.capacity = capacity
        self.headers = headers
        self.keeps_bodies = keeps_bodies
        self.restarts: dict[int, float] = {}
        self.bodies: list[dict[str, Any]] = []
        self.requests = 0
        self.paid: Counter[str] = Counter()
        self.paid_at: dict[str, float] = {}
        self.seen: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.port = 0
        self.routes: list[tuple[str, str, Handler]] = []
        self.connections: set[Connection] = set()
        self.loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.route("POST", "/v1/chat/completions", self._chat)
        self.route("GET", "/v1/models", self._models)

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/v1"

    def route(self, method: str, prefix: str, handler: Handler) -> None:
        """Answer paths that begin with `prefix` by `handler`, which runs on the server's thread; the newest wins."""
        self.routes.insert(0, (method, prefix, handler))

    def __enter__(self) -> LLMServer:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._restarted())
        self._run(self._shut())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def restart(self, gap_s: float = 0.1) -> None:
        """Drop every connection and refuse new ones for a while, then serve again on the same port.

        Requests under way are answered by nobody, and are not paid for; an answer already sent still arrives.
        """
        self.stop()
        time.sleep(gap_s)
        self.start()

    async def _restart(self, gap_s: float) -> None:
        await self._shut()
        await asyncio.sleep(gap_s)
        await self._open()

    async def _restarted(self) -> None:
        if self._restarting is not None:
            await self._restarting

    def stop(self) -> None:
        """Close the listening socket and drop every connection."""
        self._run(self._shut())

    def start(self) -> None:
        """Listen again, on the port as before."""
        self._run(self._open())

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def _open(self) -> None:
        for _ in range(100):
            try:
                self._listener = await self.loop.create_server(
                    lambda: Connection(self), self.host, self.port, backlog=1024, reuse_address=True, ssl=self.tls
                )
                break
            except OSError:
                await asyncio.sleep(0.02)
        assert self._listener is not None
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self.connections):
            connection.drop()
        await asyncio.sleep(0)

    def respond(self, request: Request) -> Response:
        path = request.path.partition("?")[0]
        for method, prefix, handler in self.routes:
            if request.method == method and path.startswith(prefix):
                return handler(request)
        return error(404, f"no such path: {path}")

    def _models(self, request: Request) -> Response:
        return self._locked(request) or reply(200, {"object": "list", "data": [{"id": name} for name in self.models]})

    def _locked(self, request: Request) -> Response | None:
        if self.key is None or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        return error(401, f"Incorrect API key provided: {request.headers.get('authorization', '')[7:]}")

    def _chat(self, request: Request) -> Response:
        self.requests += 1
        if self.requests in self.restarts:
            self._restarting = self.loop.create_task(self._restart(self.restarts[self.requests]))
        if refused := self._locked(request):
            return refused
        body = request.json()
        if self.keeps_bodies:
            self.bodies.append(body)
        if body["model"] not in self.models:
            return error(404, f"The model `{body['model']}` does not exist", code="model_not_found")
        if self.capacity is not None and self.under_way >= self.capacity:
            return error(429, "Too many requests at once", headers={"retry-after-ms": "5"})
        prompt = body["messages"][-1]["content"]
        before = self.seen[prompt]
        self.seen[prompt] += 1
        planned = self.plan(body, prompt, before) if self.plan is not None else None
        if isinstance(planned, Response):
            return planned
        answered = self._refused(body) or self._completion(body, prompt)
        return answered if planned is None else planned(answered)

    def _refused(self, body: dict[str, Any]) -> Response | None:
        for name in self.refuses:
            if name in body:
                return error(400, f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
        kind = body.get("response_format", {}).get("type")
        if (kind == "json_schema" and not self.supports_schema) or (
            kind == "json_object" and not self.supports_json_mode
        ):
            return error(400, f"response_format.type '{kind}' is not supported", param="response_format")
        return None

    def _completion(self, body: dict[str, Any], prompt: str) -> Response:
        text = self.answer(body)
        words = sum(len(message["content"].split()) for message in body["messages"])
        return reply(
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": words,
                    "completion_tokens": len(text.split()),
                    "total_tokens": words + len(text.split()),
                    "prompt_tokens_details": {"cached_tokens": 0},
                },
            },
            headers=self.headers or {},
            delay_s=self.delay_s,
            paid=prompt,
        )


class Connection(asyncio.Protocol):
    """One client connection: requests are answered one after the other."""

    def __init__(self, server: LLMServer) -> None:
        self.server = server
        self.buffer = bytearray()
        self.is_busy = False
        self.timer: asyncio.TimerHandle | None = None
        self.playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        self._finished()

    def drop(self) -> None:
        """Reset a connection whose request is under way; close an idle one, so that what was sent arrives."""
        if self.is_busy:
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.is_busy and (request := self._next_request()) is not None:
            self._begin(request)

    def _next_request(self) -> Request | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(self.buffer) < end + 4 + length:
            return None
        body = bytes(self.buffer[end + 4 : end + 4 + length])
        del self.buffer[: end + 4 + length]
        method, path, _ = first.split(" ", 2)
        return Request(method, path, headers, body)

    def _begin(self, request: Request) -> None:
        server = self.server
        response = server.respond(request)
        self.is_busy = True
        server.under_way += 1
        server.most_under_way = max(server.most_under_way, server.under_way)
        server.statuses[response.fault or str(response.status)] += 1
        if response.fault == "stall":
            return
        if response.script is not None:
            self.playing = server.loop.create_task(self._play(response, response.script))
            return
        if response.delay_s:
            self.timer = server.loop.call_later(response.delay_s, self._send, response)
        else:
            self._send(response)

    async def _play(self, response: Response, script: Script) -> None:
        for piece in script():
            if self.transport.is_closing():
                return
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif isinstance(piece, bytes):
                self.transport.write(piece)
                while self.transport.get_write_buffer_size() > 1 << 20 and not self.transport.is_closing():
                    await asyncio.sleep(0.001)
            elif piece == "reset":
                self.transport.abort()
                return
            elif piece == "close":
                self.transport.close()
                break
            else:
                return
        self._count(response)
        self._finished()
        if self.buffer and not self.transport.is_closing():
            self.data_received(b"")

    def _count(self, response: Response) -> None:
        paid = response.paid
        self.server.paid.update([paid] if isinstance(paid, str) else paid or ())

    def _finished(self) -> None:
        if self.is_busy:
            self.is_busy = False
            self.server.under_way -= 1

    def _send(self, response: Response) -> None:
        if self.transport.is_closing():
            return
        if response.fault == "reset":
            self.transport.abort()
            return
        is_torn = response.fault == "truncated"
        lines = [
            f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Status')}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body) + (100 if is_torn else 0)}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
            "\r\n",
        ]
        # Counted first: who has the last answer looks at once.
        self._count(response)
        self.transport.write("\r\n".join(lines).encode("latin-1") + response.body)
        if isinstance(response.paid, str):
            self.server.paid_at[response.paid] = time.monotonic()
        self._finished()
        if is_torn:
            self.transport.close()
        elif self.buffer:
            self.server.loop.call_soon(self.data_received, b"")


if __name__ == "__main__":
    with LLMServer() as _server:
        if len(sys.argv) > 1:
            _server.stop()
            _server.port = int(sys.argv[1])
            _server.start()
        print(_server.base_url, flush=True)  # noqa: T201
        threading.Event().wait()
