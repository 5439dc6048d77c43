"""HTTP clients for servers that are not trusted: an answer has its end in time and in size, and nobody is followed.

The clients of the openai package wait for as long as a byte comes now and then, unpack whatever comes, and go where a
server sends them, prompts included.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pairmine.errors import PairmineError

LARGEST_BODY = 32 << 20
"""No reply that anybody waits for is longer, in bytes as unpacked; what asks for more says how much."""
_HOPS = 5
_OF_ENVIRONMENT = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
# It was unpacked, and its letters are those of JSON, whatever else a header calls them.
_UNPACKED = ("content-encoding", "content-length", "content-type", "transfer-encoding")


class Moved(Exception):
    """A server that sends its callers elsewhere. What goes to one is not sent to another that nobody named."""


class TooMuch(Exception):
    """An answer larger than any that was asked for."""


class Slow(Exception):
    """An answer that has not ended in the time that it has."""


def async_client(certificates: Any, *, trust_env: bool, timeout: Any, largest: int = LARGEST_BODY) -> Any:
    """A client for the openai package. Raises PairmineError for an environment that it cannot be made in."""
    with _told():
        return _async_class()(trust_env=trust_env, timeout=timeout, verify=certificates, largest=largest)


def blocking_client(
    *, trust_env: bool, timeout_s: float, largest: int = LARGEST_BODY, keeps_connections: bool = False
) -> Any:
    """The same without asyncio; what is streamed has no limit in size, and only its beginning one in time.

    With `keeps_connections` headers in drops are waited for where a connection is used again: to be broken
    off, it has to be made for the request.
    """
    with _told():
        limits = library().Limits(max_keepalive_connections=None if keeps_connections else 0)
        made = _blocking_class()(trust_env=trust_env, timeout=timeout_s, verify=certificates(), limits=limits)
        made.largest, made.timeout_s = largest, timeout_s
        return made


def certificates() -> Any:
    """The certificates that are trusted: those of SSL_CERT_FILE where it is set, for this machine's own servers too."""
    with _told():
        return library().create_ssl_context(trust_env=True)


def library() -> Any:
    """The HTTP library of the openai package: httpx, or httpx2 since openai 3."""
    from openai import DefaultAsyncHttpxClient

    return sys.modules[DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A line for an address or an environment with which no client can be made."""
    try:
        yield
    except (ImportError, OSError, ValueError, library().InvalidURL) as error:
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise PairmineError(
            f"no connection can be made with what the environment says ({what}); look at {_OF_ENVIRONMENT}"
        ) from None


@contextlib.contextmanager
def told_of_address(shown: str) -> Iterator[None]:
    """A line for an address that only the HTTP library finds to be none, as a name that no letters can spell."""
    try:
        yield
    except (UnicodeError, library().InvalidURL):
        raise PairmineError(f"--base-url {shown}: not an address; write it as http://localhost:8000/v1") from None


@cache
def _async_class() -> Any:
    from openai import DefaultAsyncHttpxClient

    class Client(DefaultAsyncHttpxClient):
        def __init__(self, *, largest: int, **settings: Any) -> None:
            super().__init__(**settings)
            self.largest = largest

        async def send(self, request: Any, *, stream: bool = False, **more: Any) -> Any:
            more["follow_redirects"] = False
            response = await super().send(request, stream=True, **more)
            for hop in range(1, _HOPS + 2):
                if not response.has_redirect_location:
                    break
                await response.aclose()
                response = await super().send(_onward(response, hop), stream=True, **more)
            if stream and response.is_success:
                return response
            parts, size = [], 0
            try:
                async for part in response.aiter_bytes():
                    size = _within(size + len(part), self.largest)
                    parts.append(part)
            finally:
                await response.aclose()
            return _whole(response, b"".join(parts))

    return Client


@cache
def _blocking_class() -> Any:
    from openai import DefaultHttpxClient

    class Client(DefaultHttpxClient):
        largest = LARGEST_BODY
        timeout_s = 600.0

        def send(self, request: Any, *, stream: bool = False, **more: Any) -> Any:
            more["follow_redirects"] = False
            began = time.monotonic()
            with _deadline(request, self.timeout_s):
                response = super().send(request, stream=True, **more)
                for hop in range(1, _HOPS + 2):
                    if not response.has_redirect_location:
                        break
                    response.close()
                    # Files may lie with another host, which gets no key and nothing but the request for one.
                    response = super().send(_onward(response, hop, may_leave=True), stream=True, **more)
                if stream and response.is_success:
                    return response
                parts, size = [], 0
                try:
                    for part in response.iter_bytes():
                        if time.monotonic() - began > self.timeout_s:
                            raise Slow(f"no answer in {self.timeout_s:g} s")
                        size = _within(size + len(part), self.largest)
                        parts.append(part)
                finally:
                    response.close()
            return _whole(response, b"".join(parts))

    return Client


def _within(size: int, largest: int) -> int:
    if size > largest:
        raise TooMuch(f"an answer of more than {largest >> 20:,} MB")
    return size


def _whole(response: Any, body: bytes) -> Any:
    """The response with its body read."""
    kept = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _UNPACKED]
    headers = [*kept, ("content-type", "application/json; charset=utf-8")]
    return type(response)(response.status_code, headers=headers, content=body, request=response.request)


def _onward(response: Any, hop: int, *, may_leave: bool = False) -> Any:
    """The request that follows a redirect within one host; raises Moved for any other."""
    asked, following = response.request, response.next_request
    if following is None:
        raise Moved("it redirects to what is no address")
    shown = _shown(following.url)
    if hop > _HOPS:
        raise Moved(f"it redirects in a circle, at last to {shown}")
    if following.method != asked.method:
        raise Moved(f"it redirects to {shown}, where a request would lose its content")
    if not (_is_at_home(asked.url, following.url) or (may_leave and asked.method == "GET")):
        raise Moved(f"it redirects to {shown}")
    return following


def _is_at_home(asked: Any, following: Any) -> bool:
    """Whether an address is of the same server, or of the same host by TLS."""
    if asked.host != following.host:
        return False
    is_same = (asked.scheme, _port(asked)) == (following.scheme, _port(following))
    return is_same or (asked.scheme, _port(asked), following.scheme, _port(following)) == ("http", 80, "https", 443)


def _port(url: Any) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _shown(url: Any) -> str:
    """An address without what may be secret in it."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{f':{url.port}' if url.port else ''}{url.path}"[:200]


@contextlib.contextmanager
def _deadline(request: Any, seconds: float) -> Iterator[None]:
    """Break the connection of a request that takes longer; a limit for each byte is none for an answer in drops."""
    streams: list[Any] = []
    is_late = threading.Event()

    def note(name: str, info: Mapping[str, Any]) -> None:
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            streams.append(info["return_value"])

    def hang_up() -> None:
        is_late.set()
        for stream in streams[-1:]:
            with contextlib.suppress(OSError, ValueError):
                # Past the TLS layer, whose own closing would wait for the server.
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    request.extensions = {**request.extensions, "trace": note}
    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if is_late.is_set():
            raise Slow(f"no answer in {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
