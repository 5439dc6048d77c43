"""Servers that do everything wrong: a table of faults against every command that asks one.

Each try is a command against a server with a fault, and the same command again once the server is well. Whatever the
fault: one line or a whole output, in bounded time; no key shown; nothing left over; what was paid for is in the ledger
and not asked for again; and the second run ends with the bytes of a run that nothing disturbed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LLMServer, Request, Response
from trust.served_commands import (
    KEY,
    SCIFACT,
    Done,
    Send,
    Target,
    environment,
    hurry,
    left_over,
    paid_of,
    require,
    run,
    targets,
    write_inputs,
    written,
)
from trust.server_faults import (
    BENT_CHAT,
    BENT_LIKELIHOODS,
    BENT_VECTORS,
    ENDING,
    HEALTHY,
    ODD_USAGES,
    PASSING,
    Fault,
    bent_scores,
    bomb,
    huge,
    nested_bomb,
)

from pairmine.ledger import Ledger

pytestmark = pytest.mark.skipif(not SCIFACT.exists(), reason="no shared/data/scifact here")

SEED = 20_261_122
PROMISE = "a server's faults cost time, never rows or money"

WHEN: dict[str, Callable[[int], bool]] = {
    "once": lambda number: number == 0,
    "in the middle": lambda number: number == 2,
    "now and then": lambda number: number % 3 == 1,
    "from the third on": lambda number: number >= 2,
    "always": lambda number: True,
}
"""Which requests of a run get the fault, by their number."""

TARGETS = targets()
BENT = {
    "chat": BENT_CHAT,
    "vectors": BENT_VECTORS,
    "results": bent_scores("results", "relevance_score"),
    "data": bent_scores("data", "score"),
    "tei": bent_scores("", "score"),
    "likelihood": BENT_LIKELIHOODS,
}


@dataclass(frozen=True)
class Try:
    """A fault of one kind, at some requests of one command."""

    target: Target
    fault: Fault
    when: str
    kind: str

    def __str__(self) -> str:
        return f"{self.target} / {self.kind} / {self.fault} / {self.when}"

    @property
    def must_succeed(self) -> bool:
        """Whether the first run has to come through by itself: one fault costs nothing but a try.

        What meets the same request time and again may cost its row.
        """
        return self.fault.same or (self.kind == "passing" and self.when in ("once", "in the middle"))


def tries() -> list[Try]:
    """The whole table, without the heaviest of its cells."""
    found = []
    for target in TARGETS:
        for kind, faults in (
            ("healthy", HEALTHY),
            ("passing", PASSING),
            ("ending", ENDING),
            ("bent", BENT[target.kind]),
        ):
            for fault in faults:
                for when in WHEN:
                    if not fault.is_heavy or when == "once":
                        found.append(Try(target, fault, when, kind))
    return found


def chosen(whole: int, seed: int = SEED) -> list[Try]:
    """So many tries of the table by lot, every fault among them as long as there is room."""
    table = tries()
    random.Random(seed).shuffle(table)
    of_fault: dict[tuple[str, str], list[Try]] = {}
    for each in table:
        of_fault.setdefault((each.target.kind if each.kind == "bent" else each.kind, each.fault.name), []).append(each)
    rounds = max(map(len, of_fault.values()))
    ordered = [found[at] for at in range(rounds) for found in of_fault.values() if at < len(found)]
    return ordered[:whole]


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[Target], Any]]:
    """The server of each target, started once."""
    nested_bomb(500)  # seconds of work, in which a server that makes it answers nobody
    open_ones: dict[str, Any] = {}

    def of(target: Target) -> Any:
        if target.name not in open_ones:
            open_ones[target.name] = target.serve().__enter__()
        return open_ones[target.name]

    yield of
    for server in open_ones.values():
        server.__exit__(None, None, None)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path, list[str]], Done]:
    environment(monkeypatch)
    hurry(monkeypatch)
    return lambda folder, words: run(folder, words, monkeypatch, capsys)


def well(target: Target, server: Any) -> None:
    target.set_plan(server, lambda: None)


def sick(target: Target, server: Any, fault: Send, when: Callable[[int], bool]) -> None:
    numbers = iter(range(10**9))
    target.set_plan(server, lambda: fault if when(next(numbers)) else None)


def forget(server: Any) -> None:
    for counts in (server.paid, server.seen, server.statuses):
        counts.clear()
    server.requests = 0
    server.bodies.clear()


def undisturbed(target: Target, server: Any, shell: Any, folder: Path) -> bytes:
    if not target.baseline:
        folder.mkdir()
        write_inputs(folder)
        well(target, server)
        done = shell(folder, target.command(server))
        assert done.code == 0, done.err
        target.baseline = (folder / "out.parquet").read_bytes()
    return target.baseline


def check_ends(what: object, done: Done, folder: Path) -> None:
    """What holds of every end of every command."""
    require("Traceback" not in done.err, f"{what}: a traceback", done)
    require("Warning" not in done.err, f"{what}: a warning", done)
    require(KEY not in done.err + done.out, f"{what}: the key is shown", done)
    require(all(char.isprintable() or char in "\n\t" for char in done.err), f"{what}: unseen letters", done)
    require(done.code in (0, 1, 2, 3), f"{what}: no code of ours", done)
    if done.code:
        require(done.line.startswith("pairmine: ") and len(done.line) < 1200, f"{what}: no line at the end", done)
    left = left_over(folder, done.code)
    require(not left, f"{what}: left over {left}", done)


def check(one: Try, server: Any, shell: Any, folder: Path) -> str:
    """One try; what it came to, for the counts."""
    wanted = undisturbed(one.target, server, shell, folder / "undisturbed")
    here = folder / "here"
    here.mkdir()
    write_inputs(here)
    out = here / "out.parquet"
    forget(server)
    sick(one.target, server, one.fault.send, WHEN[one.when])
    first = shell(here, one.target.command(server))
    check_ends(one, first, here)
    paid = dict(paid_of(server))
    if one.must_succeed:
        require(first.code == 0, f"{one}: does not come through by itself", first)
        require(out.read_bytes() == wanted, f"{one}: other bytes", first)
    if one.target.has_ledger:
        with Ledger(here / "led.sqlite") as ledger:
            kept = sum(total.replies for total in ledger.totals())
        require(kept >= len(paid), f"{one}: {len(paid)} replies were paid for, {kept} are kept", first)
    well(one.target, server)
    again = shell(here, one.target.command(server))
    check_ends(one, again, here)
    if one.kind == "bent" and one.target.has_ledger and not one.fault.same:
        # A bad reply was paid for and is kept; it is asked for anew once, and then its row is rejected.
        require(again.code in (0, 1), f"{one}: the next run does not end", again)
        return "a bad reply costs its own row at most"
    if one.fault.misleads and again.code == 2:
        require("so another model goes by this name now" in again.line, f"{one}: no such line", again)
        return "vectors of another model are told from those that were kept"
    require(again.code == 0, f"{one}: the next run does not end", again)
    require(out.read_bytes() == wanted, f"{one}: the next run has other bytes", again)
    twice = [text for text, count in paid_of(server).items() if count > 1]
    if one.target.keeps:
        # A store asks for one of the texts that it has, to see that it is the same model.
        most = 0 if one.target.has_ledger else 1
        require(len(twice) <= most, f"{one}: {len(twice)} were paid for twice", first)
    if first.code == 0:
        return "came through by itself, same bytes"
    return "one line, and the same bytes once the server was well"


def test_whatever_a_server_sends_a_run_ends_in_order_and_the_next_one_has_the_same_bytes(
    served: Any, shell: Any, tmp_path: Path, campaign: Any
) -> None:
    failed = []
    for number, one in enumerate(chosen(campaign.times(900, 60))):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            came_to = check(one, served(one.target), shell, folder)
        except AssertionError as error:
            failed.append(str(error)[:1500])
            continue
        campaign.count(PROMISE, came_to)
    require(not failed, f"seed {SEED}, {len(failed)} tries:\n" + "\n\n".join(failed))


# --- money ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limit", [["--max-tokens", "60000"], ["--price", "0.15,0.60", "--max-usd", "0.02"], ["--tpm", "60000"]]
)
def test_no_usage_that_a_server_makes_up_eats_a_budget_or_holds_a_run_up(
    served: Any, shell: Any, tmp_path: Path, campaign: Any, limit: list[str]
) -> None:
    target = TARGETS[0]
    server = served(target)
    wanted = undisturbed(target, server, shell, tmp_path / "undisturbed")
    for number, fault in enumerate(ODD_USAGES[:: campaign.times(1, 5)]):
        here = tmp_path / str(number)
        here.mkdir()
        write_inputs(here)
        forget(server)
        sick(target, server, fault.send, WHEN["always"])
        done = shell(here, [*target.command(server), *limit])
        check_ends(fault, done, here)
        assert done.code == 0, f"{fault}\n{done.err}"
        assert done.seconds < 10, fault
        assert same_rows(here / "out.parquet", wanted), fault
        campaign.count(PROMISE, "a made-up usage, and the budget holds")


def same_rows(path: Path, wanted: bytes) -> bool:
    """Whether a file has the rows of another one; its lineage tells of other options."""
    return bool(pq.read_table(path).equals(pq.read_table(pa.BufferReader(wanted))))


# --- servers that go away, and those that know too much ---------------------------------------------------


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_server_that_dies_in_the_middle_is_waited_for(
    served: Any, shell: Any, tmp_path: Path, target: Target
) -> None:
    server = served(target)
    wanted = undisturbed(target, server, shell, tmp_path / "undisturbed")
    write_inputs(tmp_path)
    forget(server)
    numbers = iter(range(10**9))

    def die() -> Send | None:
        if next(numbers) != 2:
            return None
        server._restarting = server.loop.create_task(server._restart(0.15))
        return Response(fault="stall")

    target.set_plan(server, die)
    done = shell(tmp_path, target.command(server))
    well(target, server)
    assert done.code == 0, done.err
    assert (tmp_path / "out.parquet").read_bytes() == wanted
    assert max(paid_of(server).values()) == 1


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_neither_key_nor_prompt_goes_to_a_host_that_a_server_names(
    served: Any, shell: Any, tmp_path: Path, target: Target, campaign: Any
) -> None:
    server = served(target)
    heard: list[Request] = []

    def listen(request: Request) -> Response:
        heard.append(request)
        return Response(500)

    with LLMServer() as other:
        for method in ("GET", "POST"):
            other.route(method, "/", listen)
        for status in (307, 301, 302, 303, 308)[: campaign.times(5, 1)]:
            here = tmp_path / str(status)
            here.mkdir()
            write_inputs(here)
            forget(server)
            elsewhere = Response(status, b"", {"location": f"http://127.0.0.1:{other.port}/v1/more?key={KEY}"})
            sick(target, server, elsewhere, WHEN["always"])
            done = shell(here, target.command(server))
            check_ends(status, done, here)
            assert done.code == 3, done.err
            assert f"redirects to http://127.0.0.1:{other.port}/v1/more" in done.line, done.line
            assert "--base-url" in done.line
            campaign.count(PROMISE, "a redirect to another host, and nothing sent there")
    well(target, server)
    assert heard == []


# --- memory -----------------------------------------------------------------------------------------------


def test_no_answer_fills_the_memory(tmp_path: Path, campaign: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch)
    target = TARGETS[0]
    write_inputs(tmp_path)
    peaks = {}
    with LLMServer(written, key=KEY) as server:
        words = [sys.executable, "-m", "pairmine", *target.command(server)]
        words[words.index("--retries") + 1] = "0"
        words[words.index("--timeout") + 1] = "20"
        packed = bomb(campaign.times(4000, 400))
        packed_bomb = Response(200, packed, {"content-encoding": "gzip"})
        for name, fault, words_of_it in (
            ("well", None, ""),
            ("a bomb", packed_bomb, "an answer of more than 32 MB"),
            ("a bomb in a bomb", nested_bomb(campaign.times(4000, 400)), "what came cannot be unpacked"),
            ("a long one", huge(b'{"choices": "', campaign.times(300, 100)), "an answer of more than 32 MB"),
        ):
            server.plan = lambda body, prompt, before, fault=fault: fault
            with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                said = process.stderr.read()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == (0 if fault is None else 1), said
            assert "Traceback" not in said
            assert words_of_it in said, said
            peaks[name] = usage.ru_maxrss >> 10
            for kept in tmp_path.glob("led.sqlite*"):
                kept.unlink()
            campaign.count(PROMISE, "an answer of hundreds of megabytes, and the memory stays")
    assert max(peaks.values()) < peaks["well"] + 400, peaks
