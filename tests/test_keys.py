"""Keys and passwords show nowhere, however a server or a library spells them."""

from __future__ import annotations

import json
import os
import re
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from llm_server import LLMServer, Request, Response, error

from pairmine import keys
from pairmine.backends.llms import LLM, open_llm
from pairmine.backends.openai_batch import open_batch
from pairmine.errors import PairmineError
from pairmine.files.locations import find_shards
from pairmine.keys import without_keys, without_keys_of
from pairmine.ledger import Ledger
from pairmine.llm.calls import Call, Failure, Sampling

KEY = "sk-marked/7f3a+Zq9~w%20x-0123456789"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_known", set())
    monkeypatch.setattr(keys, "_places", set())


def spellings() -> list[str]:
    return [
        KEY,
        KEY[::-1],
        quote(KEY, safe=""),
        re.sub("%..", lambda found: found[0].lower(), quote(KEY, safe="")),
        json.dumps(KEY)[1:-1].replace("/", "\\/"),
        KEY.encode().hex(),
        KEY.encode().hex().upper(),
        KEY[::-1].encode().hex(),
        b64encode(KEY.encode()).decode(),
        b64encode(KEY[::-1].encode()).decode(),
        b64encode(f"Bearer {KEY}".encode()).decode(),
        b64encode(f"a:{KEY}".encode()).decode(),
    ]


def cuts() -> list[str]:
    """Parts of a key in the spellings of servers."""
    spelled: list[Callable[[str], str]] = [
        str,
        lambda part: part[::-1],
        lambda part: quote(part, safe=""),
        lambda part: part.encode().hex(),
        lambda part: part.encode().hex().upper(),
        *(lambda part, before=before: b64encode(b"x" * before + part.encode()).decode() for before in range(3)),
        lambda part: urlsafe_b64encode(part.encode()).decode(),
    ]
    half = len(KEY) // 2
    parts = [KEY[:12], KEY[:16], KEY[:30], KEY[:half], KEY[half:], KEY[-12:], KEY[-17:], KEY[5:25]]
    return [spell(part) for spell in spelled for part in parts]


@pytest.mark.parametrize("cut", cuts())
def test_a_part_of_a_key_is_hidden_too(cut: str) -> None:
    keys.remember(KEY)
    for shown in (
        keys.without_keys(f"before {cut} behind"),
        keys.without_keys_in(f"before {cut} behind".encode()).decode(),
    ):
        assert shown.startswith("before "), shown
        assert shown.endswith(" behind"), shown
        # In base64 the first and last letters of a part hang on what stands around it.
        assert len(shown) <= len("before *** behind") + 6, shown


@pytest.mark.slow
def test_long_texts_full_of_keys_or_of_nothing_take_no_time() -> None:
    keys.remember(KEY)
    keys.remember("A" * 5_000)
    started = time.process_time()
    for text in (f"{KEY} {KEY[::-1]} ", f"{KEY[:11]} ", "A", "AAAAAAA ", "ü and so on ", "\u20ac and so on "):
        long = text * (2_000_000 // len(text))
        found = keys.without_keys_in(long.encode()).decode()
        assert found == keys.without_keys(long)
        assert KEY[:12] not in found
        assert "A" * 12 not in found
        assert (found == long) == (text[0] not in "sA" or text in (f"{KEY[:11]} ", "AAAAAAA "))
    assert time.process_time() - started < 30


def test_what_stands_around_keys_stays() -> None:
    keys.remember(KEY)
    keys.remember(OTHER := "another-key-of-this-process")
    for number in range(40):
        text = f"{'y' * number}{KEY}{'z' * number}{OTHER[:14]} {KEY[3:20]}é"
        hidden = f"{'y' * number}***{'z' * number}*** ***é" if number else "*** ***é"
        assert keys.without_keys(text) == hidden
        assert keys.without_keys_in(text.encode()) == hidden.encode()


@pytest.mark.parametrize("spelling", spellings())
def test_a_key_is_hidden_in_whatever_spelling(spelling: str) -> None:
    keys.remember(KEY)
    shown = keys.without_keys(f"before {spelling} behind")
    assert shown.startswith("before ")
    assert shown.endswith(" behind")
    # What stands around a key in base64 shares a letter with it.
    assert all(part not in shown for part in (spelling[8:20], spelling[-16:-6]))


def test_a_word_that_stands_for_a_key_stays_in_texts() -> None:
    for word in ("none", "EMPTY", "ollama"):
        keys.remember(word)
    assert keys.without_keys("none of it is EMPTY, says ollama") == "none of it is EMPTY, says ollama"
    keys.remember("lm-studio")
    assert keys.without_keys_in(b"made with lm-studio") == b"made with lm-studio"


def test_keys_of_other_libraries_are_hidden_and_names_of_files_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_marked123")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret/of+s3")
    (tmp_path / "key.txt").write_text("a key")
    monkeypatch.setenv("SOME_KEY", f"{tmp_path}/key.txt")
    assert keys.without_keys(f"hf_marked123 secret/of+s3 {tmp_path}/key.txt") == f"*** *** {tmp_path}/key.txt"


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "OTHER_SECRET", "OTHER_KEY"])
@pytest.mark.parametrize("first", "/.~")
def test_a_key_that_looks_like_a_path_is_hidden(name: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"{first}K7MDENG+bPxRfiCYEXAMPLEKEY0wJalrXUtn")
    assert keys.without_keys(f"no right: {os.environ[name]}.") == "no right: ***."


def test_a_key_of_aws_is_one_though_a_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.txt").write_text("")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{tmp_path}/key.txt")
    assert keys.without_keys(f"no right: {tmp_path}/key.txt.") == "no right: ***."


@pytest.mark.parametrize("password", ["pw", "a longer one: é"])
def test_a_password_in_an_address_is_hidden_also_as_it_is_sent(password: str) -> None:
    keys.remember_address(f"https://me:{quote(password)}@host/v1")
    sent = b64encode(f"me:{password}".encode()).decode()
    shown = keys.without_keys(f"cannot read https://me:{quote(password)}@host/v1 with Basic {sent}")
    assert shown == "cannot read https://***host/v1 with Basic ***"


class Echoes(LLMServer):
    """Says back what it was sent, in the words of an error that is cut short in the middle of it."""

    def __init__(self, status: int, before: int) -> None:
        super().__init__()
        self.status, self.before = status, before
        self.route("POST", "/", self._echo)
        self.route("GET", "/", self._echo)

    def _echo(self, request: Request) -> Response:
        said = request.headers.get("authorization", "")
        return error(self.status, f"{'x' * self.before} {said} {said.partition(' ')[2][::-1]}")


PLACES = [0, 270, 280, 290]
"""How much stands before the key in an error: it is cut short before, in and behind the key."""


@pytest.mark.parametrize("status", [400, 401, 422])
@pytest.mark.parametrize("before", PLACES)
def test_no_part_of_a_key_that_a_server_says_back_is_shown(
    status: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Echoes(status, before) as server:
        told = asked(open_llm("openai:test-model", base_url=server.base_url, retries=0, timeout_s=5.0))
    assert_hidden(told)


@pytest.mark.parametrize("before", PLACES)
def test_no_part_of_it_is_shown_of_a_batch(before: int, tmp_path: Path) -> None:
    said: list[str] = []
    with Echoes(401, before) as server, Ledger(tmp_path / "ledger.sqlite") as ledger:
        address = server.base_url.replace("http://", "http://me:pw@")
        told = asked(open_batch("tiny", base_url=address, api_key=KEY, ledger=ledger, say=said.append, patience_s=1))
    assert_hidden(told)
    assert "pw@" not in told
    assert_hidden("".join(said) + "-")


def test_a_name_and_password_in_the_address_of_a_server_show_nowhere() -> None:
    with Echoes(400, 0) as server:
        address = server.base_url.replace("http://", "http://me:" + quote(KEY, safe="") + "@")
        told = asked(open_llm("openai:test-model", base_url=address, retries=0, timeout_s=5.0))
    assert_hidden(told)
    assert b64encode(f"me:{KEY}".encode()).decode()[:12] not in told


def test_a_password_in_the_address_of_a_file_is_in_no_error() -> None:
    for address in ("https://me:hunter2-long@127.0.0.1:9/corpus.jsonl", "https://me:pw@127.0.0.1:9/corpus"):
        with pytest.raises(PairmineError) as caught:
            find_shards(address)
        assert ":pw@" not in without_keys(str(caught.value))
        assert "hunter2" not in without_keys(str(caught.value))


def test_a_process_that_needs_no_key_gets_none() -> None:
    keys = ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MYSQL_PWD", "SMTP_PASS"]
    others = {"PATH": "d", "TOKENIZERS": "e", "PWD": "f", "OLDPWD": "g", "SSH_ASKPASS": "h"}
    assert without_keys_of(dict.fromkeys(keys, "a") | others) == others


def asked(llm: LLM) -> str:
    """What is said of a call that a server refuses."""
    llm.submit(Call("test-model", ({"role": "user", "content": "hello"},), Sampling()))
    try:
        return " ".join(answer.reason for _, answer in llm.wait() if isinstance(answer, Failure))
    except PairmineError as failed:
        return str(failed)
    finally:
        llm.close()


def assert_hidden(told: str) -> None:
    assert told
    for spelling in (KEY, KEY[::-1], quote(KEY, safe="")):
        assert spelling[:6] not in told, told
