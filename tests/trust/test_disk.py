"""A disk that is full, read-only, over its quota, broken, slow or gone, under every command that writes.

What is held to, whatever fails and when: one line on stderr that says what to do, exit code 2 or 3, an older output
still there and whole, no leftover but what the next run takes up, every reply that was paid for kept, and the same
command run again gives the bytes of a run that nothing disturbed.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from llm_server import LLMServer
from trust.conftest import Campaign
from trust.disk_commands import BY_NAME, COMMANDS, Bench, Command, Said, clear, left_over, run, run_words, state
from trust.disk_faults import FAULTS, FailingDisk, Fault, fill, remount, small_disk

_KILOBYTES = 16 << 10
_PROMISE = "a failing disk"
_EVERY = [pytest.param(command, id=command.name) for command in COMMANDS]
_REMEDIES = (
    *("run the same command again", "name another", "set TMPDIR", "make it first", "make it anew"),
    *("name one that all machines", "name the file itself"),
)
_TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(tmp_path_factory.mktemp("disk"))
    gc.unfreeze()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("small") / "try", _KILOBYTES) as place:
        yield place


def _only_some_in_short(name: str, campaign: Campaign) -> None:
    if not campaign.is_whole and name not in ("derive", "dedup-bounded", "generate", "export-folder"):
        pytest.skip("some commands alone in the short campaign")


def check_told(said: Said, where: str, code: int | None = None) -> None:
    """Whether it is one line that says what to do, and `code`: None for that of bad input or of what gave up."""
    assert said.code == code if code is not None else said.code in (2, 3), f"{where}: {said.shown}"
    assert len(said.lines) == 1, f"{where}: {said.shown}"
    assert said.lines[0].startswith("pairmine: "), f"{where}: {said.shown}"
    assert any(each in said.lines[0] for each in _REMEDIES), f"{where}: {said.shown}"


def check_whole_or_older(place: Path, command: Command, older: dict[str, object], bench: Bench, where: str) -> None:
    """Whether each output is the older one or the new one; where the main one is new, all are.

    A folder has a moment without either. Where the disk turns read-only in it, the older one stands beside.
    """
    found = state(place, command.outputs)
    for name in command.outputs:
        if found[name] is None and isinstance(older[name], dict):
            (beside,) = place.glob(f".{name}.*.old")
            found[name] = state(place, [beside.name])[beside.name]
    new = bench.whole(command)
    is_new = {name: found[name] != older[name] for name in command.outputs}
    for name in command.outputs:
        if is_new[name] and name not in command.differ:
            assert found[name] == new[name], f"{where}: {name} is torn"
    if is_new[command.outputs[0]] and "{split}" not in command.words:
        assert all(is_new.values()), f"{where}: {command.outputs[0]} is new, and not all others are: {is_new}"


def check_nothing_left(place: Path, command: Command, where: str) -> None:
    """Whether a run that failed left nothing but what the next one takes up."""
    left = [name for name in left_over(place, command) if name not in command.resumes]
    assert left == [], f"{where}: {left} is left behind"


def check_outputs(place: Path, command: Command, bench: Bench, where: str) -> None:
    """Whether the outputs are those of a run that nothing disturbed."""
    found, new = state(place, command.outputs), bench.whole(command)
    for name in command.outputs:
        if name in command.differ:
            assert json.loads(found[name])["rows_out"] == json.loads(new[name])["rows_out"], f"{where}: {name}"
        else:
            assert found[name] == new[name], f"{where}: {name} differs from that of an undisturbed run"


def check_run_again(place: Path, command: Command, bench: Bench, where: str, *, may_stay: tuple[str, ...] = ()) -> None:
    """Whether the same command, now that nothing is in its way, makes what an undisturbed run does.

    Nothing else lies there then, but for what begins as `may_stay` says.
    """
    again = run(command, place)
    assert again.code == 0, f"{where}, run again: {again.shown}"
    check_outputs(place, command, bench, f"{where}, run again")
    left = [name for name in left_over(place, command) if not name.startswith(may_stay)]
    assert left == [], f"{where}, run again: {left} is left behind"


def _drawn_faults(operations: list[str], times: int, draw: Random) -> Iterator[tuple[int, Fault]]:
    """So many steps, each with a fault that refuses what is done there."""
    for at in draw.sample(range(1, len(operations) + 1), min(len(operations), times)):
        yield at, draw.choice([fault for fault in FAULTS if fault.refuses(operations[at - 1])])


def _code_of(fault: Fault, operation: str, said: Said) -> int | None:
    """The exit code where that fails: None where a place may be refused as such, or have failed while in use."""
    is_refused = operation in ("open", "mkdir") or any("name another" in line for line in said.lines)
    return None if fault.number == errno.EROFS and is_refused else 3


@pytest.mark.parametrize("command", _EVERY)
def test_a_disk_that_fails_at_any_step_leaves_nothing_torn(
    command: Command, bench: Bench, tmp_path: Path, campaign: Campaign
) -> None:
    operations = bench.operations(command)
    steps = len(operations)
    for at, fault in _drawn_faults(operations, campaign.times(24, 1), Random(command.name)):
        place = bench.fresh(tmp_path / "try", command)
        older = state(place, command.outputs)
        with FailingDisk(place, at, fault) as disk:
            said = run(command, place)
        where = f"{command.name}, {fault.name} {'from' if fault.stays else 'at'} step {at} of {steps}"
        assert disk.refused, f"{where}: nothing failed"
        operation = disk.refused[0]
        where += f" ({operation})"
        campaign.count(_PROMISE, "steps of a command that failed")
        if said.code == 0:  # what failed was no part of the work: a note, the removal of a leftover
            check_outputs(place, command, bench, where)
        else:
            check_told(said, where, _code_of(fault, operation, said))
            check_whole_or_older(place, command, older, bench, where)
            if operation != "unlink" and not (fault.stays and fault.refuses("unlink")):
                check_nothing_left(place, command, where)
        # A temporary file that the disk would not remove has a name that no other run knows.
        check_run_again(place, command, bench, where, may_stay=("tmp/",) if "unlink" in disk.refused else ())
        campaign.count(_PROMISE, "run again once the disk was mended: the same bytes")


@pytest.mark.parametrize("command", _EVERY)
def test_a_full_disk_leaves_an_older_output_and_nothing_else(
    command: Command, bench: Bench, disk: Path, campaign: Campaign
) -> None:
    draw = Random(f"full {command.name}")
    size = _taken(bench, disk, command)
    for room in [0, *(draw.randrange(size) for _ in range(campaign.times(6, 0)))]:
        place = bench.fresh(disk, command)
        older = state(place, command.outputs)
        ballast = fill(place, room)
        said = run(command, place)
        where = f"{command.name}, {room:,} bytes of room for {size:,}"
        if said.code:
            check_told(said, where, 3)
            check_whole_or_older(place, command, older, bench, where)
            check_nothing_left(place, command, where)
            campaign.count(_PROMISE, "full disks")
        else:
            assert room, f"{where}: exit 0 on a disk without room"
            check_outputs(place, command, bench, where)
        ballast.unlink()
        check_run_again(place, command, bench, where)
    clear(disk)


def _taken(bench: Bench, disk: Path, command: Command) -> int:
    """About how many bytes a run puts on its disk."""
    bench.whole(command)
    place = bench.fresh(disk, command)
    before = os.statvfs(place).f_bavail
    assert run(command, place).code == 0
    after = os.statvfs(place)
    return max(2 * (before - after.f_bavail) * after.f_bsize, 32 << 10)


@pytest.mark.parametrize("command", _EVERY)
def test_a_read_only_disk_is_refused_and_nothing_changes(
    command: Command, bench: Bench, disk: Path, campaign: Campaign
) -> None:
    bench.whole(command)
    place = bench.fresh(disk, command)
    before = sorted(each.name for each in place.iterdir())
    older = state(place, command.outputs)
    remount(disk, "ro")
    try:
        said = run(command, place)
    finally:
        remount(disk, "rw")
    check_told(said, command.name, 2)
    assert "read-only file system" in said.lines[0] or "cannot be" in said.lines[0], said.shown
    assert state(place, command.outputs) == older
    assert sorted(each.name for each in place.iterdir()) == before
    check_run_again(place, command, bench, command.name)
    clear(disk)
    campaign.count(_PROMISE, "read-only disks")


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes, as `ulimit -f` has it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _sizes_of(outputs: dict[str, Any]) -> Iterator[int]:
    for content in outputs.values():
        yield from map(len, content.values()) if isinstance(content, dict) else [len(content)]


@pytest.mark.parametrize("command", _EVERY)
def test_a_limit_on_the_size_of_files_leaves_nothing_torn(
    command: Command, bench: Bench, tmp_path: Path, campaign: Campaign
) -> None:
    _only_some_in_short(command.name, campaign)
    largest = max(_sizes_of(bench.whole(command)))
    draw = Random(f"limit {command.name}")
    for size in [largest - 1, *(draw.randrange(largest) for _ in range(campaign.times(4, 0)))]:
        place = bench.fresh(tmp_path / "try", command)
        older = state(place, command.outputs)
        with _files_of_at_most(size):
            said = run(command, place)
        where = f"{command.name}, files of at most {size:,} bytes for {largest:,}"
        check_told(said, where, 3)
        check_whole_or_older(place, command, older, bench, where)
        check_nothing_left(place, command, where)
        campaign.count(_PROMISE, "limits on the size of files")
        check_run_again(place, command, bench, where)


def test_a_process_that_ulimit_stops_ends_with_a_line(bench: Bench, tmp_path: Path) -> None:
    """The system sends it a signal, which would end it without a word."""
    (tmp_path / "in").symlink_to(bench.inputs)
    (tmp_path / "out.csv").write_text("an older output\n")
    words = f"ulimit -f 16; exec {sys.executable} -m pairmine convert in/corpus.jsonl -o out.csv -q"
    done = subprocess.run(["sh", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("pairmine: out.csv: file too large; "), line
    assert "run the same command again" in line
    assert (tmp_path / "out.csv").read_text() == "an older output\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out.csv"]


# --- what is taken away while it is used ----------------------------------------------------------------


def _without(path: Path) -> Callable[[str], None]:
    return lambda _: shutil.rmtree(path)


@pytest.mark.parametrize("command", _EVERY)
def test_a_folder_that_vanishes_under_a_run_is_one_line(
    command: Command, bench: Bench, tmp_path: Path, campaign: Campaign
) -> None:
    _only_some_in_short(command.name, campaign)
    steps = bench.steps_before_any_is_placed(command)
    draw = Random(f"vanished {command.name}")
    for at in sorted(draw.sample(range(2, steps + 1), min(steps - 1, campaign.times(8, 1)))):
        place = bench.fresh(tmp_path / "try", command)

        def vanish(_: str, place: Path = place) -> None:
            for each in place.iterdir():
                if each.name not in ("in", "tmp"):
                    shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()

        with FailingDisk(place, at, vanish) as disk:
            said = run(command, place)
        where = f"{command.name}, all but its inputs gone at step {at} of {steps} ({disk.seen[at - 1]})"
        campaign.count(_PROMISE, "folders that vanished")
        if said.code:
            check_told(said, where)
        else:
            check_outputs(place, command, bench, where)
        check_run_again(place, command, bench, where)


def test_a_ledger_that_vanishes_is_back_with_every_reply(bench: Bench, tmp_path: Path, campaign: Campaign) -> None:
    command = BY_NAME["generate"]
    place = bench.fresh(tmp_path / "try", command)
    assert run(command, place).code == 0
    before = _replies(place / "kept/ledger.sqlite")
    more = replace(command, words=command.words.replace("--limit 25", "--limit 60"))
    shutil.copytree(place, tmp_path / "copy", symlinks=True)
    with FailingDisk(place) as counted:
        assert run(more, place).code == 0
    undisturbed = state(place, ["out.parquet"])
    asking = 1 + next(at for at, each in enumerate(counted.places) if each.endswith("-asking"))
    clear(place)
    shutil.copytree(tmp_path / "copy", place, symlinks=True, dirs_exist_ok=True)
    with FailingDisk(place, asking, _without(place / "kept")):
        said = run(more, place)
    assert said.code == 3, said.shown
    assert "was removed while it was in use; it is back with every reply, run the same command again" in said.lines[0]
    assert before < _replies(place / "kept/ledger.sqlite")
    assert run(more, place).code == 0
    assert state(place, ["out.parquet"]) == undisturbed
    campaign.count(_PROMISE, "ledgers that vanished and were put back")


def _replies(path: Path) -> set[bytes]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not found.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return set()
        return {row[0] for row in found.execute("SELECT key FROM replies")}


@pytest.mark.parametrize("name", ["derive", "convert", "dedup", "dedup-bounded", "mine", "filter", "embed", "mix"])
@pytest.mark.parametrize("how", ["truncated", "removed", "grown", "replaced"])
def test_an_input_that_changes_under_a_run_is_never_half_of_each(
    name: str, how: str, bench: Bench, tmp_path: Path, campaign: Campaign
) -> None:
    _only_some_in_short(name, campaign)
    command = BY_NAME[name]
    whole, steps = bench.whole(command), len(bench.operations(command))
    for at in sorted(Random(f"{how} {name}").sample(range(1, steps + 1), min(steps, campaign.times(6, 1)))):
        place = bench.fresh(tmp_path / "try", command)
        (place / "in").unlink()
        shutil.copytree(bench.inputs, place / "in")
        older = state(place, command.outputs)

        def change(_: str, place: Path = place) -> None:
            for each in [*(place / "in").glob("*.jsonl"), *(place / "in").glob("*.parquet")]:
                content = each.read_bytes()
                if how == "removed":
                    each.unlink()
                elif how == "truncated":
                    os.truncate(each, content.rindex(b"\n", 0, len(content) // 2) + 1)
                elif how == "grown":
                    with open(each, "ab") as file:
                        file.write(content.splitlines(keepends=True)[0])
                else:
                    other = each.with_suffix(".new")
                    other.write_bytes(content[::-1])
                    other.rename(each)

        with FailingDisk(place, at, change):
            said = run(command, place)
        where = f"{name}, input {how} at step {at} of {steps}"
        campaign.count(_PROMISE, "inputs that changed while they were read")
        found = state(place, command.outputs)
        if said.code == 0:  # it changed before it was looked at, or after the last look
            if found != whole:
                assert run(command, place).code == 0, where
                again = state(place, command.outputs)
                for each in set(command.outputs) - set(command.differ):
                    assert found[each] == again[each], f"{where}: exit 0, and {each} is of neither input"
        else:
            assert said.code in (2, 3), f"{where}: {said.shown}"
            assert len(said.lines) == 1, f"{where}: {said.shown}"
            assert found == older, f"{where}: {said.shown}"


# --- replies that were paid for -------------------------------------------------------------------------


def _answered(body: dict[str, Any]) -> str:
    """A query that no other document has, and much text beside it."""
    mark = sha256(body["messages"][-1]["content"].encode()).hexdigest()
    words = " ".join(mark[at : at + 4] for at in range(0, 32, 4))
    return json.dumps({"query": f"what was found about {words}", "hard_negative": f"Something else, {words}. " * 30})


def test_a_full_disk_costs_no_reply_that_the_ledger_has(
    bench: Bench, disk: Path, tmp_path: Path, campaign: Campaign
) -> None:
    with LLMServer(_answered) as server:
        words = f"generate queries in/corpus.jsonl --llm openai:test-model --base-url {server.base_url} -q"
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        (fresh / "in").symlink_to(bench.inputs)
        said = run_words([*words.split(), "--ledger", "ledger.sqlite", "-o", "out.parquet"], fresh)
        assert said.code == 0, said.shown
        draw = Random("ledger")
        for room in [12 << 10, 60 << 10, *(draw.randrange(4 << 10, 700 << 10) for _ in range(campaign.times(25, 1)))]:
            clear(disk)
            place = tmp_path / "place"
            clear(place)
            (place / "in").symlink_to(bench.inputs)
            (place / "kept").symlink_to(disk)
            whole = [*words.split(), "--ledger", "kept/ledger.sqlite", "-o", "out.parquet"]
            ballast = fill(disk, room)
            server.paid.clear()
            said = run_words(whole, place)
            where = f"{room:,} bytes for the ledger"
            asked = Counter(server.paid)
            ballast.unlink()
            if said.code:
                check_told(said, where, 3)
                assert not (place / "out.parquet").exists(), where
            kept = len(_replies(disk / "ledger.sqlite")) if (disk / "ledger.sqlite").exists() else 0
            server.paid.clear()
            again = run_words(whole, place)
            assert again.code == 0, f"{where}: {again.shown}"
            assert (place / "out.parquet").read_bytes() == (fresh / "out.parquet").read_bytes(), where
            assert server.paid.total() == len(_replies(disk / "ledger.sqlite")) - kept, where
            assert server.paid.total() + asked.total() >= len(_replies(disk / "ledger.sqlite")), where
            campaign.count(_PROMISE, "ledgers on a full disk")
            campaign.count(_PROMISE, "replies kept there, none of them paid twice", kept)
    clear(disk)


# --- a slow disk ----------------------------------------------------------------------------------------

_SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from trust.disk_faults import FailingDisk
from pairmine.cli import progress
from pairmine.cli.main import main
from pairmine.files import raw, writers

progress.EVERY_S = 0.2
raw.BATCH_BYTES, raw.BATCH_ROWS, writers.GROUP_ROWS, writers.TEXT_ROWS = 4096, 4, 4, 2

class Slow(FailingDisk):
    def step(self, operation, place):
        super().step(operation, place)
        if operation in ("write", "fsync"):
            time.sleep(0.15 if operation == "write" else 10)  # it is still at work when it is interrupted

with Slow(Path()):
    main()
"""


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.csv", "out.arrow"])
def test_on_a_slow_disk_progress_is_told_and_ctrl_c_answers(
    bench: Bench, tmp_path: Path, output: str, campaign: Campaign
) -> None:
    if not campaign.is_whole and output != "out.parquet":
        pytest.skip("one format in the short campaign")
    (tmp_path / "in").symlink_to(bench.inputs)
    (tmp_path / output).write_text("an older output\n")
    words = [sys.executable, "-c", _SLOW.format(tests=_TESTS), "convert", "in/corpus.jsonl", "-o", output]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told: list[str] = []
        while len(told) < 2 and (line := process.stderr.readline()):
            told += [line] if " rows in " in line else []
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
        waited = time.monotonic() - asked
    assert len(told) == 2, rest
    assert process.returncode == 130, rest
    assert rest[-1].startswith("pairmine: interrupted; ")
    assert waited < 3, f"{waited:.1f} s until it answered"
    assert (tmp_path / output).read_text() == "an older output\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", output]
    campaign.count(_PROMISE, "interrupts on a slow disk")


# --- standard streams, and places that are nobody's output ----------------------------------------------

_PRINTS = (
    "recipes",
    "recipes queries --json",
    "export --list",
    "--help",
    "mine --help",
    "--version",
    "info in/filtered.parquet",
    "head in/filtered.parquet",
    "stats in/filtered.parquet",
    "check in/filtered.parquet",
    "check --list",
    "calibrate in/mined.parquet",
    "ledger info --ledger in/ledger.sqlite",
    "ledger export - --ledger in/ledger.sqlite",
    "convert in/corpus.jsonl -o -",
    "convert in/corpus.jsonl --format jsonl -o -",
    "convert in/corpus.jsonl -o out.parquet --summary -",
    "filter in/mined.parquet -o -",
    "embed in/corpus.jsonl --encoder fake: --dry-run",
    "generate queries in/corpus.jsonl --llm fake: --dry-run",
    "mine in/pairs.parquet --retriever bm25 --dry-run",
    "report in/filtered.parquet -o -",
)


def _process(words: str, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pairmine", *words.split()]
    named = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": False, **settings}
    return subprocess.run(command, cwd=folder, **named)  # type: ignore[call-overload,no-any-return]


def test_what_is_printed_onto_a_full_disk_is_one_line_and_exit_3(
    bench: Bench, tmp_path: Path, campaign: Campaign
) -> None:
    (tmp_path / "in").symlink_to(bench.inputs)
    for words in Random("full").sample(_PRINTS, campaign.times(len(_PRINTS), 4)):
        with open("/dev/full", "wb") as full:
            done = _process(words, tmp_path, stdout=full)
        told = [line for line in done.stderr.splitlines() if "standard output" in line or "no space" in line]
        assert done.returncode == 3, f"{words}: {done.returncode}: {done.stderr}"
        assert told == done.stderr.splitlines()[-1:], f"{words}: {done.stderr}"
        assert told[0].startswith("pairmine: standard output: no space left on device; "), f"{words}: {done.stderr}"
        assert [each.name for each in tmp_path.iterdir()] == ["in"], words
        campaign.count(_PROMISE, "printed onto a full disk")


def test_a_log_on_a_full_disk_does_not_stop_a_run(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to(bench.inputs)
    with open("/dev/full", "wb") as full:
        done = _process("convert in/corpus.jsonl -o out.jsonl.gz", tmp_path, stderr=full)
        wrong = _process("convert in/nothing.jsonl -o wrong.parquet", tmp_path, stderr=full)
    assert (done.returncode, wrong.returncode) == (0, 2)
    assert (tmp_path / "out.jsonl.gz").read_bytes() == bench.whole(BY_NAME["convert"])["out.jsonl.gz"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_stream_is_no_place_for_a_file(number: int, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to(bench.inputs)
    closed = {"preexec_fn": lambda: os.close(number)}
    done = _process("convert in/corpus.jsonl -o out.jsonl.gz", tmp_path, **closed)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.jsonl.gz").read_bytes() == bench.whole(BY_NAME["convert"])["out.jsonl.gz"]
    if number == 1:
        done = _process("convert in/corpus.jsonl --format jsonl -o -", tmp_path, **closed)
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1].startswith("pairmine: standard output: bad file descriptor; ")


@pytest.mark.parametrize("name", ["convert-pipe"])
def test_a_full_folder_for_temporary_files_names_tmpdir(name: str, bench: Bench, disk: Path, tmp_path: Path) -> None:
    command = BY_NAME[name]
    bench.whole(command)
    place = bench.fresh(tmp_path / "try", command)
    clear(disk)
    (place / "tmp").rmdir()
    (place / "tmp").symlink_to(disk)
    ballast = fill(disk, 64 << 10)  # so much that Python takes it for a place
    said = run(command, place)
    check_told(said, name, 3)
    assert said.lines[0].startswith(f"pairmine: {place / 'tmp'}: no place for "), said.shown
    assert "set TMPDIR" in said.lines[0]
    assert left_over(place, command) == ["tmp/ballast"]
    assert state(place, command.outputs) == dict.fromkeys(command.outputs, b"an older output\n")
    ballast.unlink()
    check_run_again(place, command, bench, name)


@pytest.mark.parametrize("name", ["derive", "dedup-bounded", "mine"])
def test_a_home_that_is_none_and_caches_that_hold_nothing_are_done_without(
    name: str, bench: Bench, disk: Path, tmp_path: Path
) -> None:
    command = BY_NAME[name]
    whole = bench.whole(command)
    place = bench.fresh(tmp_path / "try", command)
    clear(disk)
    fill(disk, 1)
    nowhere = "/dev/null/home"
    settings = {"HOME": nowhere, "XDG_CACHE_HOME": str(disk), "NUMBA_CACHE_DIR": str(disk), "TMPDIR": "/dev/null/tmp"}
    more = " --memory 500MB" if name == "dedup-bounded" else ""
    done = _process(f"{command.words}{more} -q", place, env={**os.environ, **settings})
    assert (done.returncode, done.stderr) == (0, "")
    assert state(place, command.outputs[:1]) == {command.outputs[0]: whole[command.outputs[0]]}
    assert left_over(place, command) == []
    clear(disk)
