"""hf:// addresses, against a small server that answers what the hub's filesystem asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CONTENT = b'{"_id":"1","text":"x"}\n{"_id":"2","text":"\xe6\x97\xa5"}\n'
FILE = {"type": "file", "path": "c.jsonl", "size": len(CONTENT), "oid": "a" * 40}
COMMIT = "b" * 40


class Hub(BaseHTTPRequestHandler):
    """A hub with one dataset, org/name, that holds one file."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send(json.dumps([FILE] if "c.jsonl" in asked else []).encode())

    def answer(self) -> None:
        if "/resolve/" in self.path:
            self.send(CONTENT)
        elif "/tree/" in self.path:
            self.send(json.dumps([FILE]).encode())
        elif self.path.startswith("/api/datasets/org/name"):
            self.send(json.dumps({"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": "c.jsonl"}]}).encode())
        else:
            self.send_error(404)

    def send(self, body: bytes) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", len(body)), ("ETag", '"e"'), ("X-Repo-Commit", COMMIT)):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("address", ["hf://datasets/org/name/c.jsonl", "hf://datasets/org/name"])
def test_a_dataset_of_the_hub_is_read_as_a_file_or_as_a_folder(
    tmp_path: Path, hub: dict[str, str], address: str
) -> None:
    command = [sys.executable, "-c", "from pairmine.cli.main import main; main()"]
    words = ["convert", address, "-q", "-o", "-", "--format", "jsonl"]
    done = subprocess.run([*command, *words], cwd=tmp_path, env=hub, capture_output=True, check=False)
    assert done.stderr == b""
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": "1", "text": "x"},
        {"id": "2", "text": "日"},
    ]
