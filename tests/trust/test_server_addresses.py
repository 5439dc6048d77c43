"""Addresses that lead nowhere: names, ports, certificates and proxies that are not what a user believes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer
from embedding_server import EmbeddingServer
from llm_server import LLMServer, Response
from rerank_server import RerankServer
from trust.served_commands import KEY, SCIFACT, Done, environment, hurry, left_over, run, targets, write_inputs, written

pytestmark = pytest.mark.skipif(not SCIFACT.exists(), reason="no shared/data/scifact here")

PROMISE = "an address that is wrong is told in one line"
_OF_NAME = {target.name: target.words for target in targets()}
COMMANDS = {name: _OF_NAME[name] for name in ("generate", "embed", "rerank: Jina")}
COMMANDS["generate --batch"] = [
    "generate", "queries", "corpus.jsonl", "--llm", "openai:test-model", "--batch", "--ledger", "led.sqlite"
]  # fmt: skip
Shell = Callable[..., Done]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs a command at an address, in a fresh folder."""
    environment(monkeypatch)
    hurry(monkeypatch)
    numbers = iter(range(10**6))

    def at(command: str, url: str, codes: tuple[int, ...] = (0, 2, 3), **variables: str) -> Done:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        write_inputs(folder, 3)
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            words = [*COMMANDS[command], "--base-url", url, "-o", "out.parquet"]
            done = run(folder, words, monkeypatch, capsys)
        assert "Traceback" not in done.err, done.err
        assert KEY not in done.err
        assert not left_over(folder, done.code), left_over(folder, done.code)
        if done.code:
            assert done.code in codes, done.err
            assert done.line.startswith("pairmine: "), done.err
            assert done.code == 1 or not (folder / "out.parquet").exists()
        assert done.seconds < 10, (command, url, done.seconds)
        return done

    return at


def serving(command: str, **more: Any) -> Any:
    """The server that a command asks."""
    if command == "embed":
        return EmbeddingServer(key=KEY, **more)
    return RerankServer(key=KEY, **more) if command.startswith("rerank") else LLMServer(written, key=KEY, **more)


NOWHERE = {
    "a name that nobody has": "http://no-such-host.invalid/v1",
    "a name that nobody has, by TLS": "https://no-such-host.invalid/v1",
    "a name with an empty part": "http://a..b/v1",
    "a name with a part of 70 letters": f"http://{'a' * 70}.example/v1",
    "a name of odd letters": "http://\u00fc\u0301\u2603.invalid/v1",
    "a name of a hyphen": "http://-/v1",
    "a broken name of other letters": "http://xn--a-\u00ff.invalid/v1",
    "a name of 300 letters": f"http://{'.'.join(['abcdefghi'] * 30)}/v1",
    "a port where nobody listens": "http://127.0.0.1:9/v1",
    "port 0 of this machine": "http://127.0.0.1:0/v1",
    "an address of IPv6 where nobody listens": "http://[::1]:9/v1",
    "an address of IPv6 with a zone": "http://[fe80::1%25lo]:9/v1",
    "half an address of IPv6": "http://[::1/v1",
    "an address in octets that are too large": "http://999.1.1.1/v1",
    "a control in it": "http://127.0.0.1:9/v1\x7f\x1b[2J",
    "a line end in it": "http://127.0.0.1:9/v1\r\nX: y",
    "a user and a password": f"http://me:{KEY}@127.0.0.1:9/v1",
    "a key in its query": f"http://127.0.0.1:9/v1?key={KEY}",
    "another scheme": "ftp://127.0.0.1/v1",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_address_that_leads_nowhere_is_told(command: str, shell: Shell, campaign: Any) -> None:
    for name, url in islice(NOWHERE.items(), 0, None, campaign.times(1, 3)):
        done = shell(command, url)
        assert done.code in (2, 3), f"{name}: {done.err}"
        assert "\x1b" not in done.err
        campaign.count(PROMISE, "leads nowhere")


# --- TLS --------------------------------------------------------------------------------------------------


@dataclass
class Certificates:
    """Servers' sides of TLS, and the files that a user would name to trust them."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def context(self, name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.file(name), str(self.folder / f"{name}.key"))
        return made


_CA = """[ca]
default_ca = own
[own]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""
_DATES = {"good": ("20200101000000Z", "20490101000000Z"), "expired": ("20200101000000Z", "20200201000000Z")}
_DATES |= {"early": ("20480101000000Z", "20490101000000Z"), "other host": _DATES["good"]}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One that is good but for nobody having signed it, and others with one more fault."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.cnf").write_text(_CA.format(folder=folder))
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01\n")
    for name, (start, end) in _DATES.items():
        host = "example.org" if name == "other host" else "localhost"
        names = f"subjectAltName=DNS:{host}" + ("" if name == "other host" else ",IP:127.0.0.1")
        key, asked = folder / f"{name}.key", folder / f"{name}.csr"
        make = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        make += ["-subj", f"/CN={host}", "-addext", names, "-keyout", str(key), "-out", str(asked)]
        sign = ["ca", "-batch", "-selfsign", "-config", str(folder / "ca.cnf"), "-keyfile", str(key), "-in", str(asked)]
        sign += ["-startdate", start, "-enddate", end, "-notext", "-out", str(folder / f"{name}.pem")]
        for words in (make, sign):
            subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)
    return Certificates(folder)


@pytest.mark.parametrize("command", ["generate", "embed", "rerank: Jina"])
def test_a_certificate_that_is_not_trusted_ends_the_run_and_one_that_is_named_does_not(
    command: str, shell: Shell, certificates: Certificates, campaign: Any
) -> None:
    for name, trusted, words in (
        ("good", "", "self-signed certificate"),
        ("expired", "expired", "certificate has expired"),
        ("early", "early", "not yet valid"),
        ("other host", "other host", "not valid for"),
    ):
        with serving(command, tls=certificates.context(name)) as server:
            more = {"SSL_CERT_FILE": certificates.file(trusted)} if trusted else {}
            done = shell(command, server.base_url, **more)
            assert done.code == 3
            assert words in done.line, done.line
            assert "SSL_CERT_FILE" in done.line
            assert server.requests == 0
            campaign.count(PROMISE, "a certificate that is not to be trusted")
    with serving(command, tls=certificates.context("good")) as server:
        done = shell(command, server.base_url, SSL_CERT_FILE=certificates.file("good"))
        assert done.code == 0, done.err
        # Something answers there, if not in HTTP: a few rows fail, a long run gives up.
        plain = shell(command, server.base_url.replace("https://", "http://"), codes=(1, 3))
        assert plain.code, plain.err
    with serving(command) as server:
        assert shell(command, server.base_url.replace("http://", "https://")).code == 3
        campaign.count(PROMISE, "http for https, or https for http", 2)


def test_the_batch_api_is_told_of_certificates_too(shell: Shell, certificates: Certificates, campaign: Any) -> None:
    with LLMServer(written, key=KEY, tls=certificates.context("expired")) as server:
        done = shell("generate --batch", server.base_url, SSL_CERT_FILE=certificates.file("expired"))
    assert done.code == 3
    assert "expired" in done.line, done.line
    campaign.count(PROMISE, "a certificate that is not to be trusted")


def tunnel_to(port: int) -> socket.socket:
    """A proxy that says yes to CONNECT, whatever the host, and passes bytes on to `port` of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := source.recv(1 << 16):
                target.sendall(some)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                server = socket.create_connection(("127.0.0.1", port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_headers_in_drops_come_to_an_end_through_a_proxy_and_tls_too(shell: Shell, certificates: Certificates) -> None:
    drops = Response(script=lambda: [b"HTTP/1.1 200 OK\r\n", *([b"X-More: yes\r\n", 0.03] * 1000), "close"])
    with LLMServer(written, key=KEY, tls=certificates.context("other host")) as server:
        server.route("POST", "/v1/files", lambda request: drops)
        with tunnel_to(server.port) as proxy:
            way = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}"}
            trusted = certificates.file("other host")
            done = shell("generate --batch", "https://example.org/v1", SSL_CERT_FILE=trusted, **way)
    assert done.code == 3
    assert "no answer in 1 s" in done.line, done.line


# --- this machine, proxies, the environment ---------------------------------------------------------------


@pytest.mark.parametrize("command", ["generate", "embed", "rerank: Jina"])
def test_a_server_at_an_address_of_ipv6_is_asked(command: str, shell: Shell) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(command, host="::1") as server:
        assert "[::1]" in server.base_url
        done = shell(command, server.base_url)
    assert done.code == 0, done.err


DEAD = "http://user:hidden-word@127.0.0.1:9"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_proxy_is_not_asked_for_this_machine(command: str, shell: Shell) -> None:
    with BatchServer(written, key=KEY) if "--batch" in command else serving(command) as server:
        done = shell(command, server.base_url, HTTP_PROXY=DEAD, HTTPS_PROXY=DEAD, ALL_PROXY=DEAD, http_proxy=DEAD)
    assert done.code == 0, done.err


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "a proxy where nobody listens": {"HTTP_PROXY": DEAD},
    "a proxy of another kind": {"HTTP_PROXY": "socks5://user:hidden-word@127.0.0.1:9"},
    "a proxy that is none": {"HTTP_PROXY": "nonsense://user:hidden-word@127.0.0.1:9"},
    "a proxy without a host": {"ALL_PROXY": "http://:x"},
    "a proxy with a port of letters": {"HTTP_PROXY": "http://127.0.0.1:port"},
    "hosts without a proxy that are none": {"HTTP_PROXY": DEAD, "NO_PROXY": "[::1, ,*.:99999999"},
    "certificates that are not there": {"SSL_CERT_FILE": "/no/such/file.pem"},
    "certificates that are none": {"SSL_CERT_FILE": __file__},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_environment_that_cannot_be_right_is_told_and_its_password_is_not(
    command: str, shell: Shell, campaign: Any
) -> None:
    for name, variables in ENVIRONMENTS.items():
        done = shell(command, "http://203.0.113.9/v1", **variables)
        assert done.code in (2, 3), f"{name}: {done.err}"
        assert "hidden-word" not in done.err, name
        campaign.count(PROMISE, "proxies and certificates in the environment")


def test_a_proxy_of_the_environment_is_asked_for_other_machines(shell: Shell) -> None:
    with LLMServer(written, key=KEY) as proxy:
        proxy.route("POST", "http://203.0.113.9/v1/chat", proxy._chat)
        done = shell("generate", "http://203.0.113.9/v1", HTTP_PROXY=f"http://127.0.0.1:{proxy.port}")
    assert done.code == 0, done.err
