"""A Batch API that does everything wrong at every step: no request is paid for twice, and none is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from batch_server import BatchServer
from llm_server import LLMServer, Request, Response
from trust.served_commands import (
    KEY,
    SCIFACT,
    Done,
    Send,
    environment,
    hurry,
    left_over,
    require,
    run,
    write_inputs,
    written,
)
from trust.server_faults import ENDING, HEALTHY, PASSING, Fault, bent, nested_bomb

from pairmine.ledger import Ledger

pytestmark = pytest.mark.skipif(not SCIFACT.exists(), reason="no shared/data/scifact here")

SEED = 20_261_122
PROMISE = "a batch is paid for once, whatever its server sends"
EVENTS = ("upload", "create", "retrieve", "download", "delete")
WORDS = ["generate", "queries", "corpus.jsonl", "--llm", "openai:test-model", "--batch", "--ledger", "led.sqlite"]


def _set(**fields: Any) -> Any:
    return bent(lambda value: {**value, **fields})


def _without(*names: str) -> Any:
    return bent(lambda value: {name: each for name, each in value.items() if name not in names})


BENT: dict[str, list[Fault]] = {
    "upload": [Fault("no id", _without("id")), Fault("an id that is a number", _set(id=7))],
    "create": [Fault("no id", _without("id")), Fault("an id that is a list", _set(id=["x"]))],
    "retrieve": [
        Fault("no status", _without("status")),
        Fault("a status that is an object", _set(status={"a": 1})),
        Fault("counts of words", _set(request_counts={"completed": "many", "failed": "few"})),
        Fault("counts of NaN", bent(lambda value: orjson.dumps({**value, "request_counts": "HERE"}).replace(
            b'"HERE"', b'{"completed": NaN, "failed": 1e999}'))),
        Fault("counts of lists", _set(request_counts={"completed": [1], "failed": {}})),
        Fault("counts that are a list", _set(request_counts=[1, 2])),
        Fault("files that are numbers", _set(input_file_id=1)),
        Fault("errors that are a word", _set(errors="none")),
        Fault("errors of words", _set(errors={"data": ["bad"]})),
    ],
    "download": [
        Fault("a page of HTML", lambda good: replace(good, body=b"<html>Sign in</html>\n" * 6)),
        Fault("an empty file", lambda good: replace(good, body=b"")),
        Fault("half of its lines", lambda good: replace(good, body=good.body[: good.body.index(b"\n") + 1])),
        Fault("half of a line", lambda good: replace(good, body=good.body[:-40])),
        Fault("lines in another order", lambda good: replace(
            good, body=b"".join(sorted(good.body.splitlines(keepends=True)))), same=True),
        Fault("each line twice", lambda good: replace(good, body=good.body * 2), same=True),
        Fault("lines of others among them", lambda good: replace(
            good, body=b'{"custom_id": "of-another", "response": null, "error": {"message": "x"}}\n' + good.body),
            same=True),
        Fault("lines that are numbers", lambda good: replace(good, body=b"1\n2\n3\n")),
        Fault("deep nesting", lambda good: replace(good, body=b"[" * 100_000 + b"\n")),
        Fault("results without bodies", lambda good: replace(
            good, body=b"".join(orjson.dumps({**orjson.loads(line), "response": {"status_code": 200}}) + b"\n"
                                for line in good.body.splitlines()))),
        Fault("no line ends", lambda good: replace(good, body=good.body.rstrip(b"\n")), same=True),
    ],
    "delete": [],
}  # fmt: skip


def tries() -> list[tuple[str, Fault, str, str]]:
    """(event, fault, when, kind): `once` is the first request of that event, `always` each one."""
    found = []
    for event in EVENTS:
        for kind, faults in (("healthy", HEALTHY), ("passing", PASSING), ("ending", ENDING), ("bent", BENT[event])):
            for fault in faults:
                for when in ("once", "always"):
                    if not fault.is_heavy or when == "once":
                        found.append((event, fault, when, kind))
    return found


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    environment(monkeypatch)
    hurry(monkeypatch)
    return lambda folder, url: run(folder, [*WORDS, "--base-url", url, "-o", "out.parquet"], monkeypatch, capsys)


def undisturbed(shell: Callable[..., Done], folder: Path) -> bytes:
    folder.mkdir()
    write_inputs(folder, 4)
    with BatchServer(written, key=KEY) as server:
        done = shell(folder, server.base_url)
        assert done.code == 0, done.err
    return (folder / "out.parquet").read_bytes()


def check(
    event: str, fault: Fault, when: str, kind: str, *, wanted: bytes, shell: Callable[..., Done], folder: Path
) -> str:
    folder.mkdir()
    write_inputs(folder, 4)

    def plan(asked: str, before: int) -> Send | None:
        return fault.send if asked == event and (when == "always" or before == 0) else None

    with BatchServer(written, key=KEY) as server:
        server.plan = plan
        first = shell(folder, server.base_url)
        told = f"{first.err}"
        assert "Traceback" not in told, told
        assert "Warning" not in told, told
        assert KEY not in told
        assert first.code in (0, 1, 2, 3), told
        assert not left_over(folder, first.code), left_over(folder, first.code)
        if first.code:
            assert first.line.startswith("pairmine: "), told
            assert len(first.line) < 1200
        if fault.same or event == "delete" or (kind == "passing" and when == "once"):
            assert first.code == 0, told
        server.plan = lambda asked, before: None
        again = shell(folder, server.base_url)
        assert again.code == 0, again.err
        assert (folder / "out.parquet").read_bytes() == wanted
        # A file that came whole but for some lines is as a batch that answered no more: they are asked for anew.
        twice = [name for name, count in server.paid().items() if count > 1]
        assert not twice or fault.name.startswith("half of"), f"{len(twice)} requests were paid for twice\n{told}"
        with Ledger(folder / "led.sqlite") as ledger:
            assert ledger.open_batches() == []
    return "came through by itself, same bytes" if first.code == 0 else "one line, and the next run fetched it"


def test_whatever_a_batch_api_sends_nothing_is_paid_for_twice(shell: Any, tmp_path: Path, campaign: Any) -> None:
    table = tries()
    random.Random(SEED).shuffle(table)
    of_fault: dict[tuple[str, str], list[Any]] = {}
    for each in table:
        of_fault.setdefault((each[0] if each[3] == "bent" else each[3], each[1].name), []).append(each)
    mixed = [found[at] for at in range(10) for found in of_fault.values() if at < len(found)]
    bends = [each for each in table if each[3] == "bent"]
    nested_bomb(500)  # seconds of work, in which a server that makes it answers nobody
    wanted = undisturbed(shell, tmp_path / "undisturbed")
    failed = []
    for number, (event, fault, when, kind) in enumerate([*bends, *mixed][: campaign.times(300, 35)]):
        try:
            folder = tmp_path / str(number)
            came_to = check(event, fault, when, kind, wanted=wanted, shell=shell, folder=folder)
        except AssertionError as error:
            failed.append(f"{event} / {kind} / {fault} / {when}: {str(error)[:1500]}")
            continue
        campaign.count(PROMISE, came_to)
    require(not failed, f"seed {SEED}, {len(failed)} tries:\n" + "\n\n".join(failed))


def test_a_list_of_batches_that_goes_in_a_circle_makes_no_second_batch(shell: Any, tmp_path: Path) -> None:
    """The answer to the making got lost, so it is looked for; a list without end may still have it."""
    write_inputs(tmp_path, 4)
    others = [{"id": f"batch_{n}", "metadata": "none", "created_at": "today"} for n in range(2)]

    def plan(event: str, before: int) -> Send | None:
        if event == "create":
            return bent(lambda value: b"") if before == 0 else None
        page = Response(200, orjson.dumps({"data": others, "has_more": True}))
        return page if event == "list" else None

    with BatchServer(written, key=KEY) as server:
        server.plan = plan
        done = shell(tmp_path, server.base_url)
        assert done.code == 3, done.err
        assert "a list of batches that does not end" in done.line
        server.plan = lambda event, before: None
        assert shell(tmp_path, server.base_url).code == 0
        assert len(server.batches) == 1


def test_results_that_lie_with_another_host_are_fetched_without_the_key(shell: Any, tmp_path: Path) -> None:
    write_inputs(tmp_path, 4)
    heard: list[Request] = []
    with BatchServer(written, key=KEY) as server, LLMServer() as other:

        def hand_out(request: Request) -> Response:
            heard.append(request)
            return Response(200, next(text for name, text in server.files.items() if "output" in name))

        other.route("GET", "/kept", hand_out)
        place = Response(302, b"", {"location": f"http://127.0.0.1:{other.port}/kept"})
        server.plan = lambda event, before: place if event == "download" else None
        done = shell(tmp_path, server.base_url)
        assert done.code == 0, done.err
    assert len(heard) == 1
    assert "authorization" not in heard[0].headers
    assert KEY not in str(heard)


def test_request_files_are_not_sent_to_another_host(shell: Any, tmp_path: Path) -> None:
    write_inputs(tmp_path, 4)
    with BatchServer(written, key=KEY) as server, LLMServer() as other:
        place = Response(307, b"", {"location": f"http://127.0.0.1:{other.port}/v1/files"})
        server.plan = lambda event, before: place if event == "upload" else None
        done = shell(tmp_path, server.base_url)
        assert done.code == 3
        assert f"redirects to http://127.0.0.1:{other.port}/v1/files" in done.line
        assert other.statuses == {}
