"""Tables worked on by several processes: what ends one of them, or the command itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
import pyarrow as pa
from pairmine.engines.local import map_tables
from pairmine.errors import PairmineError

def stage(table):
    how, where = table["how"].to_pylist()[0].split()
    open(f"{where}/{os.getpid()}", "w").close()
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60 if how == "linger" else 0)
    return how

if __name__ == "__main__":
    tables = [pa.table({"how": [f"{how} {sys.argv[1]}"]}) for how in sys.argv[2:]]
    try:
        print([each for each in map_tables(stage, tables, workers=2)])
    except PairmineError as error:
        sys.exit(f"{error.exit_code}: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""


def start(folder: Path, *how: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(SCRIPT)
    (folder / "workers").mkdir()
    return subprocess.Popen(
        [sys.executable, folder / "script.py", folder / "workers", *how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers(folder: Path) -> list[int]:
    """The processes that got a table."""
    return [int(path.name) for path in (folder / "workers").iterdir()]


def ended(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def until_two_work(folder: Path) -> None:
    end = time.monotonic() + 60
    while len(workers(folder)) < 2 and time.monotonic() < end:
        time.sleep(0.02)


def test_a_worker_that_the_system_kills_is_one_line(tmp_path: Path) -> None:
    process = start(tmp_path, "work", "die", "work")
    said = process.communicate(timeout=60)[1]
    assert said.startswith("3: a worker process was killed, as the system does for want of memory; run the same")
    assert said.count("\n") == 1


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_command_and_say_nothing_of_it(tmp_path: Path, sent: int) -> None:
    process = start(tmp_path, "linger", "linger", "work")
    until_two_work(tmp_path)
    if sent == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, sent)
    said = process.communicate(timeout=20)[1]
    if sent == signal.SIGINT:
        assert said == "interrupted\n"
    end = time.monotonic() + 10
    while not all(map(ended, workers(tmp_path))) and time.monotonic() < end:
        time.sleep(0.02)
    assert all(map(ended, workers(tmp_path)))
