"""The clients for servers that are not trusted: when they hang up, and what they unpack."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from llm_server import LLMServer, Response

from pairmine.backends.http_clients import Slow, TooMuch, async_client, blocking_client, certificates, library

BODY = {"model": "test-model", "messages": [{"role": "user", "content": "hello"}]}


def asked(server: LLMServer, client: Any) -> bytes:
    return bytes(client.post(f"{server.base_url}/chat/completions", json=BODY).content)


def in_drops(good: Response) -> Response:
    """Headers that come one by one for a few seconds, each sooner than any limit for one byte."""

    def script() -> Iterator[bytes | float | str]:
        yield b"HTTP/1.1 200 OK\r\n"
        for _ in range(100):
            yield b"X-More: yes\r\n"
            yield 0.05
        yield "close"

    return replace(good, script=script, paid=None)


def test_a_connection_that_is_made_when_the_time_is_over_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address was tried first, and took all the time there is."""
    connect = socket.create_connection

    def late(*where: Any, **how: Any) -> socket.socket:
        time.sleep(0.6)
        return connect(*where, **how)

    monkeypatch.setattr(socket, "create_connection", late)
    client = blocking_client(trust_env=False, timeout_s=0.3)
    with LLMServer(plan=lambda body, prompt, before: in_drops) as server:
        began = time.monotonic()
        with pytest.raises(Slow, match=r"no answer in 0\.3 s"):
            asked(server, client)
        assert time.monotonic() - began < 3


def test_a_connection_that_is_used_again_is_hung_up_on_too() -> None:
    client = blocking_client(trust_env=False, timeout_s=0.5, keeps_connections=True)
    with LLMServer(plan=lambda body, prompt, before: in_drops if before else None) as server:
        assert b"choices" in asked(server, client)
        began = time.monotonic()
        with pytest.raises(Slow):
            asked(server, client)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("is_async", [False, True])
def test_the_rest_of_an_answer_that_names_too_short_a_length_is_not_taken_for_the_next_one(is_async: bool) -> None:
    def cut(good: Response) -> Response:
        line = f"HTTP/1.1 200 OK\r\nContent-Length: {len(good.body) // 2}\r\n\r\n".encode()
        return replace(good, script=lambda: [line + good.body[:-30], 0.05, good.body[-30:]], paid=None)

    async def ask_twice(url: str) -> list[bytes]:
        async with async_client(certificates(), trust_env=False, timeout=5) as client:
            return [bytes((await client.post(url, json=BODY)).content) for _ in range(2)]

    with LLMServer(plan=lambda body, prompt, before: None if before else cut) as server:
        if is_async:
            torn, whole = asyncio.run(ask_twice(f"{server.base_url}/chat/completions"))
        else:
            client = blocking_client(trust_env=False, timeout_s=5, keeps_connections=True)
            torn, whole = asked(server, client), asked(server, client)
    assert whole.startswith(torn)
    assert len(torn) == len(whole) // 2


# --- what is unpacked -------------------------------------------------------------------------------


def got(server: LLMServer, *, is_async: bool, largest: int = 32 << 20) -> bytes:
    if not is_async:
        return asked(server, blocking_client(trust_env=False, timeout_s=20, largest=largest))

    async def ask() -> bytes:
        async with async_client(certificates(), trust_env=False, timeout=20, largest=largest) as client:
            return bytes((await client.post(f"{server.base_url}/chat/completions", json=BODY)).content)

    return asyncio.run(ask())


def packed(raw: bytes, coding: str) -> LLMServer:
    answer = Response(200, raw, {"content-encoding": coding})
    return LLMServer(plan=lambda body, prompt, before: answer)


def raw_deflate(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(raw) + packer.flush()


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a head": ("deflate", raw_deflate),
    "nothing": ("identity", bytes),
    "a coding of no name": ("nonsense", bytes),
    "a coding of no name around gzip": ("identity, GZip ,nonsense", gzip.compress),
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("how", CODINGS)
@pytest.mark.parametrize("size", [3, (1 << 20) - 1, 1 << 20, 5 << 20])
def test_an_answer_is_unpacked_to_its_last_byte(how: str, size: int, is_async: bool) -> None:
    coding, pack = CODINGS[how]
    wanted = bytes(range(256)) * (size // 256) + b" " * (size % 256)
    with packed(pack(wanted), coding) as server:
        assert got(server, is_async=is_async) == wanted


def twice(raw: bytes) -> bytes:
    return gzip.compress(gzip.compress(raw))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,deflate", "gzip, identity, gzip", "br", "zstd"])
def test_what_is_packed_more_than_once_or_as_nobody_asked_is_not_unpacked(coding: str, is_async: bool) -> None:
    with (
        packed(twice(b"{}"), coding) as server,
        pytest.raises(library().DecodingError, match=r"more than once|was not"),
    ):
        got(server, is_async=is_async)
    with packed(b"x" * 100, "gzip") as server, pytest.raises(library().DecodingError):
        got(server, is_async=is_async)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_bomb_is_unpacked_no_further_than_to_the_limit(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the HTTP library, of which some versions unpack what one packet holds as a whole."""
    sizes: list[int] = []
    unpack = zlib.decompressobj

    class Noting:
        def __init__(self, wbits: int) -> None:
            self._own = unpack(wbits)

        def decompress(self, raw: bytes, most: int = 0) -> bytes:
            assert most
            sizes.append(len(part := self._own.decompress(raw, most)))
            return part

        @property
        def unconsumed_tail(self) -> bytes:
            return self._own.unconsumed_tail

    with packed(gzip.compress(bytes(200 << 20), 9), "gzip") as server:
        monkeypatch.setattr(zlib, "decompressobj", Noting)
        with pytest.raises(TooMuch, match="more than 4 MB"):
            got(server, is_async=is_async, largest=4 << 20)
    assert max(sizes) <= 1 << 20
    assert 4 << 20 < sum(sizes) < 8 << 20
