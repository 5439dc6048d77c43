"""No paid reply is lost, whatever happens to the process, and none is there that was not kept."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairmine import ledger as module
from pairmine.errors import PairmineError
from pairmine.ledger import Batch, Entry, Ledger, Which
from pairmine.llm.calls import Call, Reply, Sampling


def a_call(number: int, model: str = "m") -> Call:
    return Call(model, ({"role": "user", "content": f"prompt {number}"},), Sampling())


def answers(numbers: range, model: str = "m") -> list[tuple[Call, Reply]]:
    return [(a_call(n, model), Reply(f"reply {n}", "stop", 10, n, 1, "m-2026")) for n in numbers]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


def rows_of(path: Path) -> int:
    with Ledger(path, read_only=True) as opened:
        return sum(total.replies for total in opened.totals())


# --- replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        Reply("plain"),
        Reply(""),
        Reply("日本語 \N{PILE OF POO}", "length", 1, 2, 3, "server/モデル"),
        Reply("half an emoji \ud83d and its \udca9", "stop"),
        Reply("a nul \x00 in the middle, a tab\t, a line\r\nend", "tool_calls"),
        Reply("12345"),
        Reply("x" * 3_000_000, "content_filter", 2**40, 2**33, 0),
    ],
    ids=["plain", "empty", "unicode", "surrogates", "control", "digits", "huge"],
)
def test_a_reply_comes_back_as_it_was(path: Path, reply: Reply) -> None:
    call = a_call(1)
    with Ledger(path) as ledger:
        assert ledger.keep([(call, reply)], recipe="queries", backend="openai") == 1
    with Ledger(path) as ledger:
        assert ledger.find([call.key]) == {call.key: reply}


def test_what_was_not_kept_is_not_found(ledger: Ledger) -> None:
    ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    assert ledger.find([]) == {}
    assert ledger.find([a_call(7).key]) == {}
    assert set(ledger.find([a_call(n).key for n in (2, 7, 0, 2)])) == {a_call(0).key, a_call(2).key}


def test_a_thousand_keys_are_found_in_one_go(ledger: Ledger) -> None:
    kept = answers(range(1000))
    ledger.keep(kept, recipe="queries", backend="openai")
    assert ledger.find([call.key for call, _ in kept]) == {call.key: reply for call, reply in kept}


def test_the_first_reply_to_a_call_stays(ledger: Ledger) -> None:
    call = a_call(1)
    assert ledger.keep([(call, Reply("first")), (call, Reply("second"))], recipe="a", backend="x") == 1
    assert ledger.keep([(call, Reply("third")), *answers(range(2, 4))], recipe="b", backend="y") == 2
    assert ledger.find([call.key])[call.key].text == "first"


def test_nothing_to_keep_writes_nothing(ledger: Ledger) -> None:
    assert ledger.keep([], recipe="queries", backend="openai") == 0
    assert ledger.totals() == []


def test_counts_that_no_model_can_mean_do_not_lose_the_reply(ledger: Ledger) -> None:
    call = a_call(1)
    ledger.keep([(call, Reply("text", "st\ud83dop", 10**30, -5))], recipe="a", backend="x")
    assert ledger.find([call.key]) == {call.key: Reply("text", "st?op", 2**40, 0)}
    assert ledger.totals()[0].prompt_tokens == 2**40


def test_an_error_in_the_middle_keeps_none_of_the_answers(ledger: Ledger) -> None:
    broken = Reply(None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        ledger.keep([*answers(range(3)), (a_call(9), broken)], recipe="queries", backend="openai")
    assert ledger.totals() == []
    assert ledger.keep(answers(range(3)), recipe="queries", backend="openai") == 3


def test_no_prompt_stands_in_the_file(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    content = path.read_bytes()
    assert b"reply 2" in content
    assert b"prompt 2" not in content


def test_entries_come_in_the_order_in_which_they_were_kept_and_all_of_them(ledger: Ledger) -> None:
    kept = answers(range(700))
    before = int(time.time())
    ledger.keep(kept, recipe="queries", backend="openai")
    entries = [entry for some in ledger.entries() for entry in some]
    assert [(entry.key, entry.reply) for entry in entries] == [(call.key, reply) for call, reply in kept]
    assert {(entry.recipe, entry.model, entry.backend) for entry in entries} == {("queries", "m", "openai")}
    assert all(before <= entry.created <= time.time() for entry in entries)


def test_a_reader_that_takes_its_time_stops_neither_writers_nor_the_log_from_being_folded_in(ledger: Ledger) -> None:
    text = Reply("x" * 2000)
    for n in range(0, 600, 200):
        ledger.keep([(a_call(i), text) for i in range(n, n + 200)], recipe="a", backend="x")
    with Ledger(ledger.path) as other:
        slow = other.entries()
        next(slow)
        for n in range(600, 30_600, 600):
            ledger.keep([(a_call(i), text) for i in range(n, n + 600)], recipe="a", backend="x")
        log = ledger.path.with_name("ledger.sqlite-wal").stat().st_size
        assert log < 40e6 < ledger.path.stat().st_size
        assert sum(map(len, slow)) == 30_600 - 256


# --- numbers ------------------------------------------------------------------------------------


def an_entry(number: int, created: int, recipe: str = "a", model: str = "m") -> Entry:
    return Entry(a_call(number).key, Reply(f"é{number}", "stop", 10, 3, 4), recipe, model, "openai", created)


def test_totals_add_up_each_recipe_and_model_for_itself(ledger: Ledger) -> None:
    ledger.add([an_entry(1, 100), an_entry(2, 50), an_entry(3, 70, recipe="b"), an_entry(4, 7, model="l")])
    assert [(t.recipe, t.model, t.backend, t.replies) for t in ledger.totals()] == [
        ("a", "l", "openai", 1),
        ("a", "m", "openai", 2),
        ("b", "m", "openai", 1),
    ]
    total = ledger.totals(Which(recipe="a", model="m"))[0]
    assert (total.prompt_tokens, total.completion_tokens, total.cached_tokens) == (20, 6, 8)
    assert (total.text_bytes, total.first, total.last) == (6, 50, 100)
    assert ledger.size() > 4096


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (Which(recipe="a"), [3]),
        (Which(model="l"), [1, 2, 3]),
        (Which(before=70), [1, 3]),
        (Which(recipe="b", before=70), [1, 2, 3, 4]),
        (Which(recipe="nobody's"), [1, 2, 3, 4]),
    ],
)
def test_prune_removes_what_fits_every_condition_and_nothing_else(
    ledger: Ledger, which: Which, left: list[int]
) -> None:
    ledger.add([an_entry(1, 100), an_entry(2, 50), an_entry(3, 70, recipe="b"), an_entry(4, 7, model="l")])
    going = ledger.prune(which, dry_run=True)
    assert len(ledger.find([a_call(n).key for n in range(5)])) == 4
    assert ledger.prune(which) == going
    assert sum(total.replies for total in going) == 4 - len(left)
    assert set(ledger.find([a_call(n).key for n in range(5)])) == {a_call(n).key for n in left}


def test_prune_gives_the_space_back_while_another_process_has_the_ledger_open(ledger: Ledger) -> None:
    ledger.add([Entry(a_call(n).key, Reply("x" * 1000), "ab"[n % 2], "m", "openai", 1) for n in range(6000)])
    with Ledger(ledger.path) as other:
        before = other.size()
        ledger.prune(Which(recipe="a"))
        assert ledger.path.stat().st_size < 0.6 * before
        assert len(other.find([a_call(n).key for n in range(1000)])) == 500
        other.keep(answers(range(2)), recipe="a", backend="x")
    assert sqlite3.connect(ledger.path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- batches ------------------------------------------------------------------------------------


def test_a_batch_is_remembered_until_it_is_closed(path: Path) -> None:
    keys = tuple(a_call(n).key for n in range(3))
    with Ledger(path) as ledger:
        ledger.save_batch(Batch("local-1", "openai", "uploading", keys, created=5))
        ledger.save_batch(Batch("batch_1", "openai", "in_progress", keys, created=5), instead_of="local-1")
        ledger.save_batch(Batch("batch_2", "elsewhere", "validating", ()))
    with Ledger(path) as ledger:
        ledger.save_batch(Batch("batch_1", "openai", "completed", keys))
        assert ledger.open_batches("openai") == [Batch("batch_1", "openai", "completed", keys, 5)]
        assert [batch.batch_id for batch in ledger.open_batches()] == ["batch_1", "batch_2"]
        ledger.close_batch("batch_1")
        ledger.close_batch("batch_1")
        assert [batch.batch_id for batch in ledger.open_batches()] == ["batch_2"]


# --- the file -----------------------------------------------------------------------------------


def test_only_its_owner_can_read_it(path: Path, ledger: Ledger) -> None:
    ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["ledger.sqlite", "ledger.sqlite-shm", "ledger.sqlite-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_permissions_that_a_user_gave_stay(path: Path) -> None:
    Ledger(path).close()
    path.chmod(0o660)
    with Ledger(path) as ledger:
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize("name", ["a b?c#d%41.sqlite", "台帳.sqlite", "-"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with Ledger(tmp_path / name) as ledger:
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    assert os.listdir(tmp_path) == [name]
    assert rows_of(tmp_path / name) == 3


def test_a_path_from_here_works_after_the_folder_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger("ledger.sqlite") as ledger:
        monkeypatch.chdir("/")
        assert ledger.keep(answers(range(3)), recipe="queries", backend="openai") == 3


def refusal(path: Path, **options: bool) -> PairmineError:
    with pytest.raises(PairmineError) as raised:
        Ledger(path, **options)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    assert raised.value.exit_code == 2
    return raised.value


def test_what_is_no_ledger_is_told_and_left_alone(tmp_path: Path) -> None:
    text, foreign = tmp_path / "notes.txt", tmp_path / "photos.sqlite"
    text.write_text("no sqlite at all " * 100)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE photos (id)")
    connection.close()
    before = foreign.read_bytes()
    assert "not an sqlite file, no ledger of pairmine's; name another file with --ledger" in str(refusal(text))
    assert "an sqlite file of something else" in str(refusal(foreign))
    assert "an sqlite file of something else" in str(refusal(foreign, read_only=True))
    assert foreign.read_bytes() == before
    assert "is a folder" in str(refusal(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        assert "not a regular file, no ledger of pairmine's; name another" in str(refusal(place))
        assert "not a regular file, no ledger of pairmine's; name another" in str(refusal(place, read_only=True))
    assert "cannot be made (not a directory)" in str(refusal(text / "ledger.sqlite"))


def test_to_read_a_ledger_there_must_be_one(tmp_path: Path) -> None:
    assert "no ledger there; 'pairmine generate' makes it" in str(refusal(tmp_path / "none.sqlite", read_only=True))
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty.sqlite").touch()
    assert "an empty file" in str(refusal(tmp_path / "empty.sqlite", read_only=True))


def test_an_empty_file_that_a_killed_process_left_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    with Ledger(path) as ledger:
        assert ledger.keep(answers(range(3)), recipe="queries", backend="openai") == 3


def test_a_ledger_of_a_newer_pairmine_is_refused(path: Path) -> None:
    Ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert "written by a newer pairmine (format 7, this one reads 1); upgrade pairmine" in str(refusal(path))
    assert "upgrade pairmine" in str(refusal(path, read_only=True))


def test_a_damaged_ledger_is_told_with_the_way_to_save_what_is_left(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.keep([(a_call(n), Reply("x" * 500)) for n in range(500)], recipe="queries", backend="openai")
    with path.open("r+b") as handle:
        handle.seek(4096)
        handle.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(PairmineError, match=r"the ledger is damaged .*sqlite3 ledger.sqlite .recover"):
        Ledger(path).totals()


def used(path: Path, *, read_only: bool) -> None:
    """Whatever a command does with a ledger."""
    with Ledger(path, read_only=read_only, busy_s=0.1) as ledger:
        ledger.totals()
        entries = [entry for some in ledger.entries() for entry in some]
        assert all(len(entry.key.hex()) == 40 and entry.created + 1 for entry in entries)
        ledger.find([a_call(1).key])
        ledger.open_batches()
        if not read_only:
            ledger.keep([(a_call(99), Reply("new"))], recipe="queries", backend="openai")
            ledger.close_batch("b1")


def told_or_used(path: Path, content: bytes, *, read_only: bool = True) -> set[str]:
    """Use a file as a ledger; the line that is said of it, if any."""
    for each in path.parent.glob("x.sqlite*"):
        each.unlink(missing_ok=True)  # what a connection left may go with it
    path.write_bytes(content)
    told: PairmineError | None = None
    try:
        used(path, read_only=read_only)
    except PairmineError as error:
        told = error
    if told is None:
        return set()
    assert "\n" not in str(told)
    assert str(told).startswith(f"{path}: ")
    assert told.exit_code == 2
    return {str(told)}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a ledger with replies, one of them no UTF-8, and an open batch."""
    path = tmp_path_factory.mktemp("good") / "ledger.sqlite"
    with Ledger(path) as ledger:
        odd = (a_call(20), Reply("half an emoji \ud83d", "stop", 1, 2, 3, "m"))
        ledger.keep([*answers(range(20)), odd], recipe="queries", backend="openai")
        ledger.save_batch(Batch("b1", "openai", "sent", (a_call(50).key,)))
    return path.read_bytes()


def test_no_byte_of_a_ledgers_head_brings_a_traceback(tmp_path: Path, good: bytes) -> None:
    path, said = tmp_path / "x.sqlite", set()
    for at in range(100):
        for value in (0, 1, 0xFF):
            broken = good[:at] + bytes([value]) + good[at + 1 :]
            said |= told_or_used(path, broken, read_only=at % 20 != 0)
    for size in (1, 15, 99, 100, 4095, 4096, len(good) - 1):
        said |= told_or_used(path, good[:size], read_only=False)
    assert {line.split(": ")[1].partition(" (")[0].partition(";")[0] for line in said} >= {
        "the ledger is damaged",
        "not an sqlite file, no ledger of pairmine's",
        "an sqlite file of something else, no ledger of pairmine's",
        "written by a newer pairmine",
    }


@pytest.mark.parametrize(
    "found",
    [b"created INTEGER", b"finish_reason TEXT", b"CREATE INDEX sums", b"sqlite_autoindex_replies_1", b"sources"],
)
def test_a_name_in_a_ledger_that_is_no_utf8_is_told(tmp_path: Path, good: bytes, found: bytes) -> None:
    for at in range(0, len(found), 3):
        broken = bytearray(found)
        broken[at] |= 0x80
        said = told_or_used(tmp_path / "x.sqlite", good.replace(found, bytes(broken)))
        assert all("; move it away and save what is left of it: " in line for line in said)


def test_a_ledger_with_a_damaged_row_is_told_or_read(tmp_path: Path, good: bytes) -> None:
    draw, starts = random.Random(1), [good.index(a_call(n).key) for n in range(21)]
    for _ in range(100):
        at = draw.choice(starts) - draw.randrange(16)  # the types and lengths of a row stand before its values
        told_or_used(tmp_path / "x.sqlite", good[:at] + bytes([draw.randrange(256)]) + good[at + 1 :])
    at = good.rindex(b"half an emoji ") + 14
    said = told_or_used(tmp_path / "x.sqlite", good[:at] + b"\xff" + good[at + 1 :])
    assert all("the ledger is damaged" in line for line in said)
    assert said


def test_a_ledger_that_another_process_holds_is_told_after_a_while_and_nothing_is_lost(path: Path) -> None:
    with Ledger(path, busy_s=0.1) as ledger:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(PairmineError, match=r"another process has held it for 0\.1 s") as raised:
            ledger.keep(answers(range(3)), recipe="queries", backend="openai")
        assert raised.value.exit_code == 3
        assert ledger.find([a_call(1).key]) == {}
        holder.execute("ROLLBACK")
        holder.close()
        assert ledger.keep(answers(range(3)), recipe="queries", backend="openai") == 3


def test_reading_changes_no_byte_and_refuses_to_write(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    before = path.read_bytes()
    with Ledger(path, read_only=True) as ledger:
        assert len(ledger.find([a_call(n).key for n in range(3)])) == 3
        with pytest.raises(
            PairmineError, match=r"cannot be opened or written \(attempt to write a readonly database\)"
        ):
            ledger.keep(answers(range(3, 5)), recipe="queries", backend="openai")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_reading_sees_what_a_process_that_still_writes_has_kept(ledger: Ledger) -> None:
    ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    assert rows_of(ledger.path) == 3


def test_a_folder_that_cannot_be_written_is_told_and_can_be_read(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    path.parent.chmod(0o500)
    path.chmod(0o400)
    if os.access(path.parent, os.W_OK):
        pytest.skip("this user may write anywhere")
    try:
        assert rows_of(path) == 3
        assert "cannot be opened or written" in str(refusal(path))
    finally:
        path.parent.chmod(0o700)


def test_where_machines_share_the_disk_every_write_is_synced_and_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(path) as ledger:
        assert ledger.remark is None
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
    monkeypatch.setattr(module, "_shared_file_system", lambda folder: "nfs4")
    with Ledger(path) as ledger, Ledger(path) as other:
        assert ledger.remark == f"{path}: on nfs4 the ledger syncs every write; one on a local disk is faster"
        ledger.keep(answers(range(3, 5)), recipe="queries", backend="openai")
        other.keep(answers(range(5, 6)), recipe="queries", backend="openai")
        assert len(ledger.find([a_call(n).key for n in range(9)])) == 6
        assert not path.with_name("ledger.sqlite-wal").exists()
    monkeypatch.undo()
    with Ledger(path) as ledger:
        assert ledger.remark is None
        assert rows_of(path) == 6


def test_the_disk_of_a_folder_is_told_apart_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw,noatime shared:1 - KIND server:/x rw\n"
    for kind, found in (("ext4", None), ("nfs4", "nfs4"), ("fuse.sshfs", "fuse.sshfs"), ("overlay", None)):
        monkeypatch.setattr(
            Path, "read_text", lambda *_, kind=kind: "1 0 0:1 / / rw - proc p rw\n" + line.replace("KIND", kind)
        )
        assert module._shared_file_system(tmp_path) == found
    assert module._shared_file_system(tmp_path / "not there") is None


# --- what can happen to a process ---------------------------------------------------------------

_WRITER = """
import os, signal, sys
from pairmine.errors import PairmineError
from pairmine.ledger import Ledger
from pairmine.llm.calls import Call, Reply, Sampling

is_keeping = False

def interrupt(number, frame):
    global is_keeping
    if is_keeping:
        is_keeping = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)
path, first, text = sys.argv[1], int(sys.argv[2]), Reply("x" * int(sys.argv[3]))
ledger = Ledger(path)
while True:
    calls = [Call("m", ({"role": "user", "content": f"prompt {n}"},), Sampling()) for n in range(first, first + 16)]
    try:
        is_keeping = True
        ledger.keep([(call, text) for call in calls], recipe="queries", backend="openai")
        is_keeping = False
    except KeyboardInterrupt:
        os.write(2, b"!")
        continue
    except PairmineError as error:
        sys.exit(f"{error.exit_code} {error}")
    os.write(1, b"%d\\n" % first)
    first += 16
"""


def writer(path: Path, first: int, size: int = 800, **options: Any) -> subprocess.Popen[bytes]:
    """A process that keeps 16 replies at a time and prints their first number once they are kept.

    Without a buffer, since `communicate` would not see what `readline` left in one.
    """
    command = [sys.executable, "-c", _WRITER, str(path), str(first), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **options)


def all_of(firsts: list[int]) -> list[bytes]:
    return [a_call(n).key for first in firsts for n in range(first, first + 16)]


def whole(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) % 16 FROM replies").fetchone() == (0,)
    connection.close()


@pytest.mark.slow
def test_thirty_kills_lose_nothing_that_was_kept(path: Path) -> None:
    draw = random.Random(3)
    kept: list[int] = []
    for round_ in range(15):
        pair = [writer(path, (2 * round_ + side) * 1_000_000) for side in (0, 1)]
        ready = [process.stdout.readline() for process in pair if process.stdout]
        for process, first in zip(pair, ready, strict=True):
            time.sleep(draw.random() * 0.02)
            process.kill()
            rest, err = process.communicate()
            assert not err
            kept += map(int, (first + rest).split())
        if round_ % 5 == 4:
            whole(path)
    keys = all_of(kept)
    with Ledger(path) as ledger:
        assert len(ledger.find(keys)) == len(keys) >= 30 * 16


def test_ctrl_c_keeps_a_write_whole_or_not_at_all_and_the_next_one_works(path: Path) -> None:
    process = writer(path, 0)
    assert process.stdout
    assert process.stdout.readline() == b"0\n"
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or []))
    reader.start()
    for _ in range(100):
        time.sleep(0.003)
        process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.kill()
    reader.join()
    process.wait()
    assert process.stderr
    assert set(process.stderr.read()) == {ord("!")}
    whole(path)
    keys = all_of([0, *map(int, lines)])
    with Ledger(path) as ledger:
        assert len(ledger.find(keys)) == len(set(keys))


def test_two_processes_write_to_one_ledger_at_once(path: Path) -> None:
    pair = [writer(path, 0), writer(path, 0), writer(path, 10_000_000)]
    heard = [b"".join(process.stdout.readline() for _ in range(20)) for process in pair if process.stdout]
    for process in pair:
        process.kill()
    out = [process.communicate() for process in pair]
    assert [err for _, err in out] == [b"", b"", b""]
    kept = [list(map(int, (first + rest).split())) for first, (rest, _) in zip(heard, out, strict=True)]
    assert all(len(some) >= 20 for some in kept)
    assert kept[0][0] == kept[1][0] == 0
    with Ledger(path) as ledger:
        keys = {key for some in kept for key in all_of(some)}
        assert set(ledger.find(list(keys))) == keys
    whole(path)


def test_processes_that_all_make_the_ledger_at_once_agree(path: Path) -> None:
    many = [writer(path, n * 1_000_000) for n in range(5)]
    first = [process.stdout.readline() for process in many if process.stdout]
    for process in many:
        process.kill()
    assert [process.communicate()[1] for process in many] == [b""] * 5
    assert first == [b"%d\n" % (n * 1_000_000) for n in range(5)]
    whole(path)


def test_a_full_disk_is_one_line_and_what_was_kept_before_is_there(path: Path) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    process = writer(path, 0, 5_000, preexec_fn=small_disk)
    out, err = process.communicate(timeout=60)
    line = err.decode().strip()
    assert line.startswith(f"3 {path}: the disk ")
    assert line.endswith("what was kept before is safe, mend that and run the same command again")
    assert "\n" not in line
    kept = list(map(int, out.split()))
    assert kept
    whole(path)
    with Ledger(path) as ledger:
        assert len(ledger.find(all_of(kept))) == 16 * len(kept)
        assert ledger.keep(answers(range(-3, 0)), recipe="queries", backend="openai") == 3


def test_a_ledger_that_is_removed_while_it_is_in_use_is_back_with_every_reply(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.keep(answers(range(3)), recipe="queries", backend="openai")
        shutil.rmtree(path.parent)
        with pytest.raises(PairmineError, match="was removed while it was in use; it is back with every reply") as told:
            ledger.keep(answers(range(3, 5)), recipe="queries", backend="openai")
        assert told.value.exit_code == 3
        assert ledger.keep(answers(range(5, 6)), recipe="queries", backend="openai") == 1
    assert rows_of(path) == 6
    with contextlib.closing(sqlite3.connect(path)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_ledger_that_is_replaced_while_it_is_in_use_is_told(path: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "other.sqlite") as other:
        other.keep(answers(range(1)), recipe="queries", backend="openai")
    with Ledger(path) as ledger:
        (tmp_path / "other.sqlite").replace(path)
        with pytest.raises(PairmineError, match="was replaced by another file while it was in use") as told:
            ledger.keep(answers(range(3, 5)), recipe="queries", backend="openai")
        assert told.value.exit_code == 3


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 3), (errno.EROFS, 2)])
def test_a_ledger_that_finds_no_room_may_be_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(PairmineError, match="the ledger cannot be made") as told:
        Ledger(path)
    assert told.value.exit_code == code
