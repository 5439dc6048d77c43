"""HTTP clients for servers that are not trusted: an answer has its end in time and in size, and nobody is followed.

The clients of the openai package wait for as long as a byte comes now and then, unpack whatever comes, some of their
versions as a whole, and go where a server sends them, prompts included.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from typing import Any

from pairmine.errors import PairmineError

LARGEST_BODY = 32 << 20
"""No reply that anybody waits for is longer, in bytes as unpacked; what asks for more says how much."""
_HOPS = 5
_AT_ONCE = 1 << 20
"""No more is unpacked at once, in bytes."""
_CODINGS = ("gzip", "deflate")
_TAKEN = {"accept-encoding": ", ".join(_CODINGS)}
_NOT_ASKED_FOR = ("br", "zstd")
_MOST_KEPT = 8
"""More connections than a client for one request at a time has open."""
_OF_ENVIRONMENT = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
# It was unpacked by us.
_UNPACKED = ("content-encoding", "content-length", "transfer-encoding")


class Moved(Exception):
    """A server that sends its callers elsewhere. What goes to one is not sent to another that nobody named."""


class TooMuch(Exception):
    """An answer larger than any that was asked for."""


class Slow(Exception):
    """An answer that has not ended in the time that it has."""


def async_client(certificates: Any, *, trust_env: bool, timeout: Any, largest: int = LARGEST_BODY) -> Any:
    """A client for the openai package. Raises PairmineError for an environment that it cannot be made in."""
    with _told():
        made = _async_class()(trust_env=trust_env, timeout=timeout, verify=certificates, headers=_TAKEN)
        made.largest = largest
        return made


def blocking_client(
    *,
    trust_env: bool,
    timeout_s: float,
    largest: int = LARGEST_BODY,
    keeps_connections: bool = False,
    trusted: Any = None,
) -> Any:
    """The same without asyncio; what is streamed has no limit in size, and only its beginning one in time.

    With `keeps_connections` it is for one request at a time: whichever of its connections is used, all are broken
    off when one takes too long. `trusted` are `certificates()`, where they have been read before.
    """
    with _told():
        limits = library().Limits(max_keepalive_connections=None if keeps_connections else 0)
        made = _blocking_class()(
            trust_env=trust_env, timeout=timeout_s, verify=trusted or certificates(), limits=limits, headers=_TAKEN
        )
        made.largest, made.timeout_s = largest, timeout_s
        made.kept = deque(maxlen=_MOST_KEPT) if keeps_connections else None
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

    class Unpacked(library().AsyncByteStream):  # type: ignore[misc]
        def __init__(self, response: Any) -> None:
            self._response = response

        async def __aiter__(self) -> AsyncIterator[bytes]:
            unpack = Unpacking(self._response)
            async for packed in self._response.aiter_raw():
                for part in unpack(packed):
                    yield part

        async def aclose(self) -> None:
            await self._response.aclose()

    class Client(DefaultAsyncHttpxClient):
        largest = LARGEST_BODY

        async def send(self, request: Any, *, stream: bool = False, **more: Any) -> Any:
            more["follow_redirects"] = False
            response = await super().send(request, stream=True, **more)
            for hop in range(1, _HOPS + 2):
                if not response.has_redirect_location:
                    break
                await response.aclose()
                response = await super().send(_onward(response, hop), stream=True, **more)
            wire = response.extensions.get("network_stream")
            response = _with(response, stream=Unpacked(response))
            if stream and response.is_success:
                return response
            parts, size = [], 0
            try:
                async for part in response.aiter_bytes():
                    size = _within(size + len(part), self.largest)
                    parts.append(part)
            finally:
                await response.aclose()
            body = b"".join(parts)
            if wire is not None and not _may_be_whole(body):
                await wire.aclose()
            # Its letters are those of JSON, whatever else a header calls them.
            return _with(response, content=body, content_type="application/json; charset=utf-8")

    return Client


@cache
def _blocking_class() -> Any:
    from openai import DefaultHttpxClient

    class Unpacked(library().SyncByteStream):  # type: ignore[misc]
        def __init__(self, response: Any) -> None:
            self._response = response

        def __iter__(self) -> Iterator[bytes]:
            unpack = Unpacking(self._response)
            for packed in self._response.iter_raw():
                yield from unpack(packed)

        def close(self) -> None:
            self._response.close()

    class Client(DefaultHttpxClient):
        largest = LARGEST_BODY
        timeout_s = 600.0
        kept: deque[Any] | None = None

        def send(self, request: Any, *, stream: bool = False, **more: Any) -> Any:
            more["follow_redirects"] = False
            began = time.monotonic()
            with _deadline(request, self.timeout_s, deque() if self.kept is None else self.kept):
                response = super().send(request, stream=True, **more)
                for hop in range(1, _HOPS + 2):
                    if not response.has_redirect_location:
                        break
                    response.close()
                    # Files may lie with another host, which gets no key and nothing but the request for one.
                    response = super().send(_onward(response, hop, may_leave=True), stream=True, **more)
                wire = response.extensions.get("network_stream")
                response = _with(response, stream=Unpacked(response))
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
            body = b"".join(parts)
            if wire is not None and not _may_be_whole(body):
                wire.close()
            return _with(response, content=body, content_type="application/json; charset=utf-8")

    return Client


class Unpacking:
    """Unpacks an answer part by part, a bounded piece at a time, whatever version of the HTTP library is installed.

    A coding of no name says nothing. Raises the library's DecodingError for what is damaged, packed more than once, or
    packed in another way than was asked for.
    """

    def __init__(self, response: Any) -> None:
        named = [name.strip().lower() for name in response.headers.get("content-encoding", "").split(",")]
        known = [name for name in named if name in _CODINGS + _NOT_ASKED_FOR]
        if len(known) > 1:
            raise self._fault("packed more than once")
        if known and known[0] not in _CODINGS:
            raise self._fault(f"packed as {known[0]}, which was not asked for")
        self._zlib: Any = zlib.decompressobj(31 if known == ["gzip"] else 15) if known else None
        self._may_be_raw = known == ["deflate"]

    def __call__(self, packed: bytes) -> Iterator[bytes]:
        if self._zlib is None:
            yield packed
            return
        while part := self._take(packed):
            yield part
            packed = self._zlib.unconsumed_tail

    def _take(self, packed: bytes) -> bytes:
        try:
            part: bytes = self._zlib.decompress(packed, _AT_ONCE)
        except zlib.error as error:
            if not self._may_be_raw:
                raise self._fault(str(error)) from None
            # Some leave out the head that "deflate" has.
            self._zlib, self._may_be_raw = zlib.decompressobj(-15), False
            return self._take(packed)
        self._may_be_raw = False
        return part

    def _fault(self, what: str) -> Exception:
        made: Exception = library().DecodingError(what)
        return made


def _within(size: int, largest: int) -> int:
    if size > largest:
        raise TooMuch(f"an answer of more than {largest >> 20:,} MB")
    return size


def _may_be_whole(body: bytes) -> bool:
    """Whether a body ends as JSON does. The rest of one that does not would be taken for the next answer."""
    return body.rstrip()[-1:] in (b"}", b"]")


def _with(response: Any, *, content_type: str = "", **body: Any) -> Any:
    """The response with another body, which is not packed."""
    given = (*_UNPACKED, "content-type") if content_type else _UNPACKED
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in given]
    headers += [("content-type", content_type)] if content_type else []
    return type(response)(response.status_code, headers=headers, request=response.request, **body)


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
def _deadline(request: Any, seconds: float, streams: deque[Any]) -> Iterator[None]:
    """Break the connection of a request that takes longer; a limit for each byte is none for an answer in drops.

    `streams` are the connections that the request may use; those that it makes are added.
    """
    is_late = threading.Event()

    def note(name: str, info: Mapping[str, Any]) -> None:
        # TLS is begun by "connection", and by "proxy" on the way through one.
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            streams.append(info["return_value"])
            # A dead address may have taken all the time there is before a live one is connected.
            if is_late.is_set():
                _hang_up(streams)

    def ring() -> None:
        is_late.set()
        _hang_up(streams)

    request.extensions = {**request.extensions, "trace": note}
    timer = threading.Timer(seconds, ring)
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


def _hang_up(streams: deque[Any]) -> None:
    """Break connections, past the TLS layer, whose own closing would wait for the server."""
    for stream in list(streams):
        with contextlib.suppress(OSError, ValueError):
            socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)
