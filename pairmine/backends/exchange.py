"""Requests to any OpenAI-compatible server: as many at once as it bears, retried until they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import errno
import ipaddress
import os
import re
import select
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pairmine.backends.admission import LONGEST_HOLD_S, Admission, retry_after_s, spent_for_s
from pairmine.backends.http_clients import (
    LARGEST_BODY,
    Moved,
    TooMuch,
    async_client,
    certificates,
    library,
    told_of_address,
)
from pairmine.backends.requests import BUSY, OPENAI_HOST, Complaint, Malformed, parse, read_complaint
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.keys import remember, remember_address, without_keys, without_keys_in
from pairmine.llm.calls import Failure

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_URL = f"https://{OPENAI_HOST}/v1"
PATIENCE_S = 300.0
_GRACE_S = 60.0
_LONGEST_KEY = 1 << 16
_WRITER_MS = 10_000
_CLOSING_S = 5.0
# Nobody notices it after Ctrl-C, and a reply whose first half is here has its second by then.
_LAST_LOOK_S = 0.1
# A reply that is here is read in a few steps of the loop; where nothing is to be read, they take milliseconds.
_LAST_STEPS = 100
_SAME_REFUSALS = 10
_SHAPES = 10_000
# The server goes on writing, and charging, after we have hung up.
_FAULTS_OF_A_TIMEOUT = 3
# A pool looks at each of its connections for each request: many small ones are twice as fast as a large one.
_CONNECTIONS_PER_CLIENT = 16

_LEARNED: dict[tuple[str, str, str], Any] = {}
"""The dialect that each (base URL, path, model) was found to take, for the rest of the process."""

C = TypeVar("C")
R = TypeVar("R", bound="Counted")
D = TypeVar("D")


class Counted(Protocol):
    """A reply that says what it cost."""

    @property
    def prompt_tokens(self) -> int:
        """What was read."""

    @property
    def completion_tokens(self) -> int:
        """What was written."""


class Endpoint(ABC, Generic[C, R, D]):
    """What is asked of a server at one of its paths: calls as requests, their answers as replies.

    A dialect is how one server takes the requests for one model.
    """

    path: str
    remedy: str
    """What to do when every request is refused."""

    @abstractmethod
    def first_guess(self, base_url: str) -> D:
        """The dialect to begin with."""

    @abstractmethod
    def body(self, call: C, dialect: D) -> dict[str, Any]:
        """The JSON of a request."""

    @abstractmethod
    def kind(self, call: C) -> object:
        """What a server has to understand of the call beside the request's fields."""

    @abstractmethod
    def read(self, body: Any, call: C) -> R | Complaint:
        """The reply in the JSON of a success; raises Malformed for what is neither a reply nor a complaint."""

    @abstractmethod
    def is_hopeless(self, complaint: Complaint) -> bool:
        """Whether the same call is refused again, although the status says that it may succeed later."""

    @abstractmethod
    def adapted(self, complaint: Complaint, call: C, dialect: D) -> tuple[D, str] | None:
        """The dialect without what is complained of, and words that say so; None where that does not help."""

    @abstractmethod
    def tokens(self, call: C) -> float:
        """About how many tokens a call takes."""

    @abstractmethod
    def learn(self, call: C, reply: R) -> None:
        """Note what a call took."""


def find_base_url(base_url: str | None) -> str:
    """The server's address: `base_url`, else OPENAI_BASE_URL, else OpenAI's own."""
    url = (base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL).strip().rstrip("/")
    source = "--base-url" if base_url else "OPENAI_BASE_URL"
    remember_address(url)
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        is_good = is_good and url.isprintable() and " " not in url
        (parts.hostname or "").encode("idna")  # raises for a part that is empty or has more than 63 letters
    except ValueError:
        is_good = False
    if not is_good:
        raise PairmineError(f"{source} {_shown(url)}: not an address; write it as http://localhost:8000/v1")
    return url


def _shown(url: str) -> str:
    """What is no address as an error shows it: without a user, a password or a query."""
    return re.split(r"[?#]", re.sub(r"^([a-z][a-z0-9+.-]*://)?.*@", r"\1", url, flags=re.I | re.S))[0]


def _read_key(path: Path) -> str:
    """The text of a file, or of a pipe. Raises OSError for more than a key, or where nobody writes to the pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        writer = select.poll()
        writer.register(descriptor, select.POLLIN)
        if not writer.poll(_WRITER_MS):
            raise TimeoutError
        os.set_blocking(descriptor, True)
        content = file.read(_LONGEST_KEY + 1)
    if len(content) > _LONGEST_KEY:
        raise OSError(errno.EFBIG, "larger than any key")
    return content.decode("utf-8")


def find_key(base_url: str, key_file: Path | None = None) -> str:
    """The key for a server: from `key_file`, else OPENAI_API_KEY, else "none" for a server that is not OpenAI's."""
    source = f"--api-key-file {key_file}" if key_file else "OPENAI_API_KEY"
    if key_file:
        try:
            key = _read_key(key_file).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PairmineError(
                f"{source}: cannot be read ({type(error).__name__}); give a text file with the key"
            ) from None
        if not key:
            raise PairmineError(f"{source}: empty; give a text file that holds the key and nothing else")
    else:
        key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        if urlsplit(base_url).hostname != OPENAI_HOST:
            return "none"
        raise PairmineError(
            f"no key for {OPENAI_HOST}: set OPENAI_API_KEY, pass --api-key-file, or --base-url for a server of your own"
        )
    if not all("!" <= char <= "~" for char in key):
        raise PairmineError(f"{source}: holds a space or a letter that no key has; give the key alone")
    remember(key)
    return key


def shown_address(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def is_local(base_url: str) -> bool:
    """Whether an address is this machine's."""
    host = urlsplit(base_url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


class Refused(Failure):
    """A call that the server will not answer, however often it is asked."""

    __slots__ = ()


@dataclass(frozen=True)
class Got:
    """An HTTP answer of any status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Lost:
    """No whole answer came.

    `kind` is "connect" (no connection was made), "timeout", "broken", "huge" (more than anybody waits for) or "moved".
    """

    kind: str
    reason: str


class Wire:
    """Sends requests to one server through the openai package, without its retries and its parsing."""

    def __init__(self, base_url: str, key: str, timeout_s: float, path: str, largest: int = LARGEST_BODY) -> None:
        self.base_url = base_url
        self.path = path
        self.timeout_s = timeout_s
        self._largest = largest
        self._key = key
        remember(key)
        remember_address(base_url)
        self._clients: list[AsyncOpenAI] = []
        self._loads: list[int] = []
        self._body_type: Any = None
        self._certificates: Any = None

    @property
    def shown_url(self) -> str:
        """The address without what may be secret in it."""
        return shown_address(self.base_url)

    def remedy(self, reason: str) -> str:
        """What to do when no connection can be made."""
        if "CERTIFICATE" in reason:
            return "name the certificate to trust in SSL_CERT_FILE, or check --base-url"
        parts = urlsplit(self.base_url)
        if not is_local(self.base_url) and parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
            return f"is the server running? check --base-url, and the proxy in {parts.scheme.upper()}_PROXY"
        return "is the server running? check --base-url"

    def clean(self, text: str) -> str:
        """`text` without the key, which some servers repeat."""
        return without_keys(text)

    async def post(self, body: Mapping[str, Any]) -> Got | Lost:
        """Send a request."""
        return await self._with_client(lambda client: client.post(self.path, body=body, cast_to=self._body_type))

    async def models(self) -> list[str]:
        """The models that the server offers; empty when it does not say."""
        got = await self._with_client(lambda client: client.get("/models", cast_to=self._body_type))
        try:
            listed = parse(got.body)["data"] if isinstance(got, Got) and got.status == 200 else []
            return [str(entry["id"]) for entry in listed]
        except (Malformed, KeyError, TypeError):
            return []

    async def _with_client(self, send: Callable[[AsyncOpenAI], Any]) -> Got | Lost:
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        index = self._free_client()
        self._loads[index] += 1
        try:
            # The client's own limit is one for each byte: an answer in drops would never end.
            async with asyncio.timeout(self.timeout_s):
                response = await send(self._clients[index])
        except APIStatusError as error:
            response = error.response
        except (TimeoutError, APITimeoutError) as error:
            if type(error.__cause__).__name__ == "ConnectTimeout":
                return Lost("connect", _first_line(error.__cause__ or error))
            return Lost("timeout", f"no answer in {self.timeout_s:g} s")
        except (APIConnectionError, Moved, TooMuch) as error:
            return _lost(error.__cause__ or error)
        finally:
            self._loads[index] -= 1
        return Got(response.status_code, response.headers, without_keys_in(response.content))

    def _free_client(self) -> int:
        for index, load in enumerate(self._loads):
            if load < _CONNECTIONS_PER_CLIENT:
                return index
        self._clients.append(self._new_client())
        self._loads.append(0)
        return len(self._loads) - 1

    def _new_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, Timeout

        if self._certificates is None:
            self._body_type = library().Response
            # Read once: it takes longer than all else that a client needs.
            self._certificates = certificates()
        timeout = Timeout(self.timeout_s, connect=min(self.timeout_s, 30.0), pool=None)
        # A proxy set for the machine does not reach the machine itself.
        trust_env = not is_local(self.base_url)
        http = async_client(self._certificates, trust_env=trust_env, timeout=timeout, largest=self._largest)
        settings: dict[str, Any] = {"max_retries": 0, "timeout": timeout, "http_client": http}
        with told_of_address(self.shown_url):
            return AsyncOpenAI(api_key=self._key, base_url=self.base_url, **settings)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.close()


def _lost(cause: BaseException) -> Lost:
    """What a request came to that broke off."""
    if isinstance(cause, Moved):
        return Lost("moved", str(cause))
    if isinstance(cause, TooMuch):
        return Lost("huge", str(cause))
    kind = type(cause).__name__
    if kind in ("ConnectError", "ConnectTimeout", "ProxyError"):
        return Lost("connect", _first_line(cause))
    what = "what came cannot be unpacked" if kind == "DecodingError" else "the connection broke off"
    return Lost("broken", f"{what} ({kind})")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines and lines[0] else type(error).__name__


@dataclass(frozen=True)
class Limits:
    retries: int
    patience_s: float


@dataclass(eq=False)
class _Job(Generic[C, D]):
    """A call on its way. `fields` are those of its last request, `faults` counts the tries that used up a retry.

    `is_odd` when the server refused it a field that it takes of others: its dialect is its own.
    """

    call: C
    dialect: D
    kind: object
    tokens: float = 0.0
    faults: int = 0
    tries: int = 0
    sent_at: float = 0.0
    fields: tuple[str, ...] = ()
    is_odd: bool = False

    @property
    def shape(self) -> tuple[tuple[str, ...], object]:
        """What the server has to understand of the request."""
        return self.fields, self.kind


@dataclass
class _Health:
    """What the last answers were like: whether further ones are likely to be better."""

    is_reached: bool = False
    is_known: bool = False
    replies: int = 0
    faults_in_row: int = 0
    down_since: float | None = None
    trouble_since: float | None = None
    busy_since: float | None = None
    forbidden_in_row: int = 0
    refusals: list[str] = field(default_factory=list)


class Exchange(Generic[C, R, D]):
    """Calls to one endpoint of an OpenAI-compatible server for one model.

    One thread: the event loop runs only inside `wait`, until a call is done.
    """

    def __init__(
        self,
        model: str,
        endpoint: Endpoint[C, R, D],
        wire: Wire,
        admission: Admission,
        limits: Limits,
        say: Callable[[str], None],
        counts_tokens: bool,
    ) -> None:
        self.name = f"openai:{model}"
        self.model = model
        self._endpoint = endpoint
        self.facts: dict[str, Any] = {
            "server": "local" if is_local(wire.base_url) else urlsplit(wire.base_url).hostname
        }
        self._wire = wire
        self._admission = admission
        self._limits = limits
        self._say = say
        self._counts_tokens = counts_tokens
        self._learned_key = (wire.base_url, endpoint.path, model)
        self._dialect: D = _LEARNED.get(self._learned_key) or endpoint.first_guess(wire.base_url)
        self._proven: set[tuple[tuple[str, ...], object]] = set()
        self._health = _Health(is_known=self._learned_key in _LEARNED)
        self._loop = asyncio.new_event_loop()
        self._queue: deque[_Job[C, D]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: list[tuple[C, R | Failure]] = []
        self._handed_back: list[tuple[C, R | Failure]] = []
        self._under_way = 0
        self._resting = 0
        self._pump_at: asyncio.TimerHandle | None = None
        self._fatal: Exception | None = None
        self._is_sending = True
        self._is_closed = False
        self._retries = 0
        self._rate_limited = 0
        self._said_at = -60.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self._wire.shown_url!r})"

    @property
    def room(self) -> int:
        """How many further calls it wants now: a reserve waits beside those on the wire, so that it never idles."""
        if self._fatal is not None:
            return 0
        limit = int(self._admission.limit)
        wanted = limit + max(8, limit // 2) - (self._under_way - self._resting)
        return max(0, min(wanted, 4 * self._admission.ceiling + 8 - self._under_way))

    @property
    def is_known(self) -> bool:
        """Whether a call was answered already, in this exchange or an earlier one."""
        return self._health.is_known

    @property
    def under_way(self) -> int:
        """How many calls were submitted and not handed back yet."""
        return self._under_way

    @property
    def state(self) -> dict[str, int]:
        """Counts for a progress line: requests in flight, how many may be, retries and rate limits so far."""
        return {
            "in_flight": self._admission.in_flight,
            "limit": int(self._admission.limit),
            "retries": self._retries,
            "rate_limited": self._rate_limited,
        }

    def submit(self, call: C) -> None:
        """Take a call; it is sent in `wait`."""
        tokens = self._endpoint.tokens(call) if self._counts_tokens else 0.0
        self._queue.append(_Job(call, self._dialect, self._endpoint.kind(call), tokens))
        self._under_way += 1

    def wait(self) -> list[tuple[C, R | Failure]]:
        """Block until a call is done, and hand back all that are; empty only when none is under way.

        Raises PairmineError when the run cannot go on: exit code 3 when the server, the key or the
        model is no good, 2 when the server refuses every request; what was under way is waited for before.
        Ctrl-C is acted upon at once and in order: replies that had arrived are handed back by the next `wait`,
        or by `arrived`.
        """
        if not self._done and self._under_way and (self._fatal is None or self._tasks):
            self._loop.call_soon(self._pump)
            _run_interruptibly(self._loop)
        if self._done:
            # In this order, no moment in which Ctrl-C may come leaves a reply in neither list.
            self._handed_back = self._done
            self._done = []
            self._under_way -= len(self._handed_back)
            return self._handed_back
        if self._fatal is not None:
            raise self._fatal
        return []

    def arrived(self) -> list[tuple[C, R | Failure]]:
        """All that has come in or is just coming in, for a run that is cut short: nothing is sent after this.

        What the latest `wait` handed back is among it: Ctrl-C may have come before anybody had it in hand.
        """
        self._is_sending = False
        end, idle = self._loop.time() + _LAST_LOOK_S, 0
        # Pressed again, Ctrl-C ends the look and not what is done with its yield.
        with contextlib.suppress(KeyboardInterrupt):
            # On a busy machine, or with many replies at once, the time is over before all that is here is read.
            while self._tasks and not self._is_closed and (self._loop.time() < end or idle < _LAST_STEPS):
                known = len(self._done)
                stop = self._loop.call_at(end, self._loop.stop)
                _run_interruptibly(self._loop)
                stop.cancel()
                idle = idle + 1 if len(self._done) == known else 0
        return [*self._handed_back, *self._done]

    def close(self) -> None:
        """Give up what is under way and close every connection. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.clear()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # Asked for, so that asyncio does not complain that nobody did.
            task.cancel()
        shut = self._loop.create_task(self._shut())
        shut.add_done_callback(lambda _: self._loop.stop())
        # A stop that Ctrl-C asked for may still be in the loop, and would end it before all is shut.
        while not shut.done():
            self._loop.run_forever()
        self._loop.close()

    async def _shut(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSING_S)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._wire.close(), _CLOSING_S)
        await asyncio.get_running_loop().shutdown_asyncgens()

    # Sending.

    def _pump(self) -> None:
        """Send what may be sent now, and come back when more may."""
        if self._pump_at is not None:
            self._pump_at.cancel()
            self._pump_at = None
        while self._queue and self._is_sending and self._fatal is None:
            wait_s = self._wait_s(self._queue[0])
            if wait_s > 0:
                if wait_s < float("inf"):
                    self._pump_at = self._loop.call_later(wait_s, self._pump)
                return
            job = self._queue.popleft()
            job.sent_at = self._admission.sent(job.tokens)
            task = self._loop.create_task(self._send(job))
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _wait_s(self, job: _Job[C, D]) -> float:
        is_careful = not self._health.is_known or self._health.down_since is not None
        # Whether the server is up and takes such requests is found out with one of them, not with sixty-four.
        if is_careful and self._admission.in_flight:
            return float("inf")
        return self._admission.wait_s(job.tokens)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._is_closed:
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        if self._fatal is not None and not self._tasks:
            self._loop.stop()
        self._pump()

    async def _send(self, job: _Job[C, D]) -> None:
        body = self._endpoint.body(job.call, job.dialect)
        job.fields = tuple(body)
        job.tries += 1
        got = await self._wire.post(body)
        if isinstance(got, Got):
            self._health.is_reached = True
            self._health.down_since = None
            try:
                answer = _answer(got, lambda body: self._endpoint.read(body, job.call))
            except Malformed as error:
                got = Lost("broken", str(error))
            else:
                if isinstance(answer, Complaint):
                    await self._refused(job, answer, got.headers)
                else:
                    self._replied(job, answer, got.headers)
                return
        self._lost(job, got)

    # Answers.

    def _replied(self, job: _Job[C, D], reply: R, headers: Mapping[str, str]) -> None:
        health = self._health
        self._admission.succeeded(job.tokens, reply.prompt_tokens + reply.completion_tokens, headers)
        if self._counts_tokens:
            self._endpoint.learn(job.call, reply)
        health.is_known = True
        health.replies += 1
        health.faults_in_row = health.forbidden_in_row = 0
        health.trouble_since = health.busy_since = None
        if job.dialect is self._dialect:
            if len(self._proven) < _SHAPES:
                self._proven.add(job.shape)
            _LEARNED[self._learned_key] = job.dialect
        self._finish(job, reply)

    async def _refused(self, job: _Job[C, D], complaint: Complaint, headers: Mapping[str, str]) -> None:
        """Act on an error that the server put in words."""
        told = self._wire.clean(f"{complaint.status}: {complaint.message}")
        if complaint.is_quota:
            self._admission.failed(job.tokens)
            self._end(self._gave_up(f"the account has no credit left ({told}); add some and run again to continue"))
        elif self._endpoint.is_hopeless(complaint):
            self._admission.failed(job.tokens)
            await self._rejected(job, complaint, told)
        elif complaint.status in BUSY or complaint.status == 503:
            self._busy(job, complaint.status, told, retry_after_s(headers, time.time()) or spent_for_s(headers) or None)
        elif complaint.is_transient:
            self._admission.failed(job.tokens)
            self._again_later(job, told, retry_after_s(headers, time.time()) or 0.0)
        else:
            self._admission.failed(job.tokens)
            await self._rejected(job, complaint, told)

    def _busy(self, job: _Job[C, D], status: int, told: str, asked_s: float | None) -> None:
        self._admission.refused(job.sent_at, job.tokens, asked_s)
        if asked_s is not None and asked_s > LONGEST_HOLD_S:
            self._end(self._gave_up(f"it asks to wait {asked_s / 3600:.1f} hours ({told}); run again then to continue"))
            return
        if status not in BUSY and asked_s is None:
            self._again_later(job, told)
            return
        self._rate_limited += 1
        now = self._loop.time()
        since = self._health.busy_since = self._health.busy_since or now
        if now - since > LONGEST_HOLD_S:
            self._end(self._gave_up(f"nothing but rate limits for two hours ({told}); run again later to continue"))
        self._say_wait(now, told)
        self._queue.appendleft(job)

    def _say_wait(self, now: float, told: str) -> None:
        wait_s = self._admission.wait_s()
        if 5 < wait_s < float("inf") and now - self._said_at > 30:
            self._said_at = now
            self._say(f"{self.name}: rate limited, waiting {wait_s:.0f} s ({told})")

    async def _rejected(self, job: _Job[C, D], complaint: Complaint, told: str) -> None:
        """An error that will come again for the same request: change the request, end the run, or fail the call."""
        if (change := self._endpoint.adapted(complaint, job.call, job.dialect)) is not None:
            self._adapt(job, *change, complaint.message)
        elif complaint.status == 401 or (complaint.status == 403 and self._is_locked_out()):
            self._end(
                self._gave_up(f"the key is refused ({told}); check OPENAI_API_KEY or --api-key-file, and --base-url")
            )
        elif complaint.status in (404, 405) or complaint.code == "model_not_found":
            self._end(self._gave_up(f"not found ({told}); {await self._offer()}"))
        else:
            self._finish(job, Refused(told))
            self._note_refusal(complaint, told)

    def _is_locked_out(self) -> bool:
        """Whether a 403 is about the key: one is about a single prompt where others are answered."""
        self._health.forbidden_in_row += 1
        return not self._health.replies or self._health.forbidden_in_row >= _SAME_REFUSALS

    def _adapt(self, job: _Job[C, D], dialect: D, words: str, message: str) -> None:
        """Send the call again in another dialect, which those to come speak too, unless the one before has worked."""
        if job.is_odd or job.shape in self._proven:
            job.is_odd = True
            job.dialect = dialect
        elif job.dialect is self._dialect:
            self._say(f"{self.name}: the server {words} ({self._wire.clean(message)})")
            self._dialect = dialect
            for later in (*self._queue, job):
                if not later.is_odd:
                    later.dialect = dialect
        else:
            job.dialect = self._dialect
        self._queue.appendleft(job)

    async def _offer(self) -> str:
        models = await self._wire.models()
        if self.model in models or not models:
            return f"check --base-url, it usually ends in /v1 (it is {self._wire.shown_url}), and the model's name"
        near = difflib.get_close_matches(self.model, models, 3, 0.4)
        shown = [*near, *(name for name in sorted(models) if name not in near)][:6]
        more = f" and {len(models) - len(shown)} more" if len(models) > len(shown) else ""
        return f"{self._wire.shown_url} offers {', '.join(shown)}{more}"

    def _note_refusal(self, complaint: Complaint, told: str) -> None:
        """End the run when it has begun with nothing but one and the same refusal."""
        health = self._health
        if health.replies or len(health.refusals) >= _SAME_REFUSALS:
            return
        health.refusals.append(re.sub(r"\d+", "#", complaint.message))
        if len(health.refusals) == _SAME_REFUSALS:
            health.is_known = True
            if len(set(health.refusals)) == 1:
                what = f"the first {_SAME_REFUSALS} requests were all refused ({told})"
                self._end(PairmineError(f"{self.name}: {what}; {self._endpoint.remedy}", exit_code=BAD_INPUT))

    # Faults.

    def _lost(self, job: _Job[C, D], lost: Lost) -> None:
        reason = self._wire.clean(lost.reason)
        if lost.kind == "connect":
            self._unreachable(job, reason)
        elif lost.kind == "moved":
            self._admission.failed(job.tokens)
            self._end(self._gave_up(f"{reason}; nothing was sent there: if it is right, give it as --base-url"))
        elif lost.kind == "timeout":
            self._admission.refused(job.sent_at, job.tokens)
            self._again_later(job, reason, faults=_FAULTS_OF_A_TIMEOUT)
        elif lost.kind == "huge":
            self._admission.failed(job.tokens)
            self._again_later(job, reason, faults=_FAULTS_OF_A_TIMEOUT)
        else:
            self._admission.failed(job.tokens)
            self._again_later(job, reason)

    def _unreachable(self, job: _Job[C, D], reason: str) -> None:
        """A server that was never there ends the run; one that goes away is waited for."""
        health = self._health
        self._admission.unreachable(job.sent_at, job.tokens)
        if not health.is_reached:
            self._end(self._gave_up(f"cannot reach {self._wire.shown_url} ({reason}); {self._wire.remedy(reason)}"))
            return
        now = self._loop.time()
        if health.down_since is None:
            health.down_since = now
            self._say(f"{self.name}: {self._wire.shown_url} is away ({reason}); trying on")
        self._retries += 1
        self._queue.appendleft(job)
        self._lose_patience(now - health.down_since, reason)

    def _again_later(self, job: _Job[C, D], reason: str, at_least_s: float = 0.0, faults: int = 1) -> None:
        """Try a call again after a random wait, or fail it when it has had its tries."""
        job.faults += faults
        health, now = self._health, self._loop.time()
        health.faults_in_row += 1
        health.trouble_since = now if health.trouble_since is None else health.trouble_since
        # One fault beside slow replies is no outage, a row of them is.
        if health.faults_in_row >= (max(20, 2 * int(self._admission.limit)) if health.is_known else 3):
            self._lose_patience(now - health.trouble_since, reason)
        if job.faults > self._limits.retries:
            self._fail(job, f"{reason} (tried {job.tries} times)")
            return
        self._retries += 1
        self._resting += 1
        wait_s = max(min(at_least_s, LONGEST_HOLD_S), self._admission.backoff(job.faults - 1))
        self._loop.call_later(wait_s, self._rested, job)

    def _rested(self, job: _Job[C, D]) -> None:
        self._resting -= 1
        self._queue.append(job)
        self._pump()

    def _lose_patience(self, trouble_s: float, reason: str) -> None:
        if trouble_s > self._limits.patience_s:
            minutes = f"{trouble_s / 60:.0f} minutes" if trouble_s >= 90 else f"{trouble_s:.0f} s"
            self._end(self._gave_up(f"no reply for {minutes} ({reason}); run again to continue"))

    # Endings.

    def _fail(self, job: _Job[C, D], reason: str) -> None:
        self._finish(job, Failure(reason))

    def _finish(self, job: _Job[C, D], result: R | Failure) -> None:
        self._done.append((job.call, result))
        if not self._is_closed:
            self._loop.stop()

    def _gave_up(self, text: str) -> PairmineError:
        return PairmineError(f"{self.name}: {text}", exit_code=GAVE_UP)

    def _end(self, error: Exception) -> None:
        """Send nothing more; replies that are being written and paid for are waited for, a minute at the most."""
        if self._fatal is None:
            self._fatal = error
            self._queue.clear()
            self._loop.call_later(_GRACE_S, self._cut_short)

    def _cut_short(self) -> None:
        for task in self._tasks:
            task.cancel()


def _run_interruptibly(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped; Ctrl-C and SIGTERM stop it first and are acted upon then.

    Raised in the middle of a task's step, they would leave the client's connections in disorder, and a reply
    that is just being read would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        loop.run_forever()
        return
    came: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        loop.call_soon_threadsafe(loop.stop)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    with contextlib.ExitStack() as put_back:
        for number, handler in handlers.items():
            if callable(handler):
                put_back.callback(signal.signal, number, handler)
                signal.signal(number, note)
        loop.run_forever()
    if came:
        handlers[came[0][0]](*came[0])


def _answer(got: Got, read: Callable[[Any], R | Complaint]) -> R | Complaint:
    """The reply or the complaint in an HTTP answer. Raises Malformed for a success that is neither."""
    if 200 <= got.status < 300:
        return read(parse(got.body))
    try:
        body = parse(got.body)
    except Malformed:
        body = got.body.decode("utf-8", "replace")
    return read_complaint(got.status, body)
