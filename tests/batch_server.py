"""A Batch API for tests: files, batches and their results in memory, with the troubles that a test asks for.

    with BatchServer(lambda body: "hello") as server:
        client = OpenAI(base_url=server.base_url, api_key="key")

A batch goes one state further each time that it is asked about. Troubles are set as attributes.
"""

from __future__ import annotations

import itertools
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from llm_server import Bend, Response, Script

STATES = ["validating", "in_progress", "finalizing"]
Row = dict[str, Any]


def error_row(status: int, message: str, *, param: str | None = None, code: str | None = None) -> Row:
    """What a row gets instead of an answer."""
    return {"status_code": status, "body": {"error": {"message": message, "param": param, "code": code}}}


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up on an answer is no fault of the server, and nothing to print."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class BatchServer:
    """`answer(body)` is a row's text, or an `error_row`. `key` is the API key that it takes, any if empty.

    `upon(event)` is called before the response to "upload", "create", "retrieve", "download" and "delete"
    is sent; what it returns as True drops the connection instead.
    `plan(event, before)` is what is sent in place of the answer, before anything is done, or what bends the answer
    afterwards; `before` counts the events of that name that came earlier. "list" is one too.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str | Row], *, key: str = "") -> None:
        self.answer = answer
        self.key = key
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked_for: dict[str, list[str]] = defaultdict(list)
        self.events: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.is_closing = threading.Event()
        self.upon: Callable[[str], bool | None] = lambda event: None
        self.plan: Callable[[str, int], Response | Bend | None] = lambda event, before: None
        self.refusals: list[tuple[str, str]] = []
        self.ends: list[tuple[str, int]] = []
        self.busy: list[int] = []
        self.torn: set[str] = set()
        self.has_api = True
        self._numbers = itertools.count(1)
        self._http = _Listener(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> BatchServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closing.set()
        self._http.shutdown()
        self._http.server_close()

    def paid(self) -> Counter[str]:
        """How often each custom_id was answered."""
        return Counter(
            orjson.loads(line)["custom_id"]
            for batch in self.batches.values()
            if batch.get("output_file_id")
            for line in self.files[batch["output_file_id"]].splitlines()
            if line.startswith(b"{")
        )

    def live_batches(self, custom_id: str) -> int:
        """In how many batches that neither expired nor failed nor were cancelled a row is."""
        ended = ("expired", "failed", "cancelled")
        return sum(self.batches[id_]["status"] not in ended for id_ in self.asked_for[custom_id])

    # --- what a request does ----------------------------------------------------------------------

    def _upload(self, body: bytes) -> tuple[int, Any]:
        boundary = body[: body.index(b"\r\n")]
        parts = [part for part in body.split(boundary) if b'filename="' in part[:500]]
        content = parts[0][parts[0].index(b"\r\n\r\n") + 4 : -2]
        id_ = f"file-{next(self._numbers)}"
        self.files[id_] = content
        return 200, {"id": id_, "object": "file", "bytes": len(content), "purpose": "batch"}

    def _create(self, body: bytes) -> tuple[int, Any]:
        asked = orjson.loads(body)
        id_ = f"batch_{next(self._numbers)}"
        rows = [orjson.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        for row in rows:
            self.asked_for[row["custom_id"]].append(id_)
        self.batches[id_] = {
            "id": id_,
            "object": "batch",
            "status": STATES[0],
            "created_at": int(time.time()),
            "input_file_id": asked["input_file_id"],
            "metadata": asked.get("metadata"),
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
            "asked": 0,
        }
        return 200, self.batches[id_]

    def _retrieve(self, id_: str) -> tuple[int, Any]:
        if id_ not in self.batches:
            return 404, {"error": {"message": f"No batch found with id '{id_}'.", "code": None}}
        batch = self.batches[id_]
        batch["asked"] += 1
        if batch["status"] in STATES:
            if batch["asked"] < len(STATES):
                batch["status"] = STATES[batch["asked"]]
            elif self.refusals:
                code, message = self.refusals.pop(0)
                batch |= {"status": "failed", "errors": {"data": [{"code": code, "message": message, "line": 1}]}}
            else:
                self._end(batch)
        return 200, batch

    def _end(self, batch: dict[str, Any]) -> None:
        rows = [orjson.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        state, count = self.ends.pop(0) if self.ends else ("completed", len(rows))
        good, bad = bytearray(), bytearray()
        for row in rows[:count]:
            found = self.answer(row["body"])
            response = found if isinstance(found, dict) else {"status_code": 200, "body": _completion(found)}
            line = {"id": "r", "custom_id": row["custom_id"], "response": response, "error": None}
            target = good if response["status_code"] == 200 else bad
            target += orjson.dumps(line) + b"\n"
        for row in rows[count:]:
            error = {"code": f"batch_{state}", "message": "This request could not be executed."}
            bad += orjson.dumps({"custom_id": row["custom_id"], "response": None, "error": error}) + b"\n"
        batch["status"] = state
        for name, content in (("output", good), ("error", bad)):
            if content:
                batch[f"{name}_file_id"] = f"file-{name}-{batch['id']}"
                self.files[f"file-{name}-{batch['id']}"] = bytes(content)
        batch["request_counts"] |= {"completed": good.count(b"\n"), "failed": bad.count(b"\n")}

    def _list(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        newest_first = list(self.batches.values())[::-1]
        if after := query.get("after"):
            at = [batch["id"] for batch in newest_first].index(after[0])
            newest_first = newest_first[at + 1 :]
        page = newest_first[:2]
        return 200, {"object": "list", "data": page, "has_more": len(newest_first) > len(page)}

    def _handle(self, method: str, target: str, key: str, body: bytes) -> tuple[str, int, Any]:
        url = urlsplit(target)
        place = url.path.removeprefix("/v1")
        if self.key and key != f"Bearer {self.key}":
            return "", 401, {"error": {"message": "Incorrect API key provided."}}
        if not self.has_api:
            return "", 404, {"detail": "Not Found"}
        if self.busy:
            return "", self.busy.pop(), {"error": {"message": "Slow down."}}
        if method == "POST" and place == "/files":
            return "upload", *self._upload(body)
        if method == "POST" and place == "/batches":
            return "create", *self._create(body)
        if method == "GET" and place == "/batches":
            return "list", *self._list(parse_qs(url.query))
        if method == "GET" and (found := re.fullmatch("/batches/(.+)", place)):
            return "retrieve", *self._retrieve(found[1])
        if method == "GET" and (found := re.fullmatch("/files/(.+)/content", place)):
            if found[1] not in self.files:
                return "download", 404, {"error": {"message": "No such File object"}}
            content = self.files[found[1]]
            if found[1] in self.torn:
                self.torn.remove(found[1])
                content = content[:-20]
            return "download", 200, content
        if method == "DELETE" and (found := re.fullmatch("/files/(.+)", place)):
            self.files.pop(found[1], None)
            return "delete", 200, {"id": found[1], "deleted": True}
        return "", 404, {"error": {"message": f"no {place}"}}

    def _event(self, method: str, target: str) -> str:
        place = urlsplit(target).path.removeprefix("/v1")
        known = {("POST", "/files"): "upload", ("POST", "/batches"): "create", ("GET", "/batches"): "list"}
        if method == "GET" and place.startswith(("/batches/", "/files/")):
            return "retrieve" if place.startswith("/batches/") else "download"
        return "delete" if method == "DELETE" else known.get((method, place), "")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # headers and body in one packet: two would wait for an acknowledgement

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = self.headers.get("Authorization", "")
                event = server._event(self.command, self.path)
                server.asked[event] += 1
                planned = server.plan(event, server.asked[event] - 1)
                if isinstance(planned, Response):
                    self._answer(planned)
                    return
                event, status, value = server._handle(self.command, self.path, key, body)
                server.events[event] += 1
                if server.upon(event):
                    self.close_connection = True
                    return
                answer = Response(status, value if isinstance(value, bytes) else orjson.dumps(value))
                self._answer(planned(answer) if planned is not None else answer)

            def _answer(self, answer: Response) -> None:
                if answer.fault == "stall":
                    self._play(lambda: ["hold"])
                elif answer.fault == "reset":
                    self._play(lambda: ["reset"])
                elif answer.script is not None:
                    self._play(answer.script)
                else:
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.content_type)
                    torn = 100 if answer.fault == "truncated" else 0
                    self.send_header("Content-Length", str(len(answer.body) + torn))
                    for name, text in answer.headers.items():
                        self.send_header(name, text)
                    self.end_headers()
                    self.wfile.write(answer.body)
                    self.close_connection = self.close_connection or bool(torn)

            def _play(self, script: Script) -> None:
                for piece in script():
                    if isinstance(piece, float):
                        self.wfile.flush()
                        if server.is_closing.wait(piece):
                            break
                    elif isinstance(piece, bytes):
                        try:
                            self.wfile.write(piece)
                            self.wfile.flush()
                        except OSError:
                            break
                    elif piece == "hold":
                        server.is_closing.wait(30)
                    elif piece == "reset":
                        linger = struct.pack("ii", 1, 0)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        break
                    else:
                        break
                else:
                    return
                self.close_connection = True

            do_GET = do_POST = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _completion(text: str) -> dict[str, Any]:
    return {
        "id": "c",
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
