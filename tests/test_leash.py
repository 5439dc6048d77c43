"""A leash ends the processes of an engine whose owner is gone, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil", reason="vLLM brings psutil along")

OWNER = """
import multiprocessing, os, subprocess, sys, time
from pairmine.backends.leash import Leash

def engine(pipe):
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    worker.start()
    pipe.send(worker.pid)
    time.sleep(600)

if __name__ == "__main__":
    earlier = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    earlier.start()
    time.sleep(1)
    leash = Leash()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=engine, args=(theirs,))
    process.start()
    worker = ours.recv()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
    time.sleep(1)
    leash.up()
    print(process.pid, worker, other.pid, earlier.pid, leash._process.pid, flush=True)
    if sys.argv[1] == "close":
        leash.close()
        print("closed", flush=True)
    time.sleep(600)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(pids: list[int]) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if all(gone(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def started(tmp_path: Path, what: str) -> tuple[subprocess.Popen[str], list[int]]:
    script = tmp_path / "owner.py"
    script.write_text(textwrap.dedent(OWNER))
    owner = subprocess.Popen([sys.executable, str(script), what], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    return owner, [int(pid) for pid in owner.stdout.readline().split()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_takes_its_engine_along_and_no_other_process(tmp_path: Path, how: signal.Signals) -> None:
    owner, (engine, worker, other, earlier, leash) = started(tmp_path, "sleep")
    try:
        owner.send_signal(how)
        owner.wait(timeout=10)
        assert wait_for([engine, worker, leash])
        assert not gone(other)
        assert not gone(earlier)
    finally:
        os.kill(other, signal.SIGKILL)
        os.kill(earlier, signal.SIGKILL)
        owner.stdout.close()  # type: ignore[union-attr]


def test_a_closed_leash_has_ended_the_engine_and_left_its_owner(tmp_path: Path) -> None:
    owner, (engine, worker, other, earlier, leash) = started(tmp_path, "close")
    try:
        assert owner.stdout
        assert owner.stdout.readline() == "closed\n"
        assert wait_for([engine, worker, leash])
        assert owner.poll() is None
        assert not gone(other)
        assert not gone(earlier)
    finally:
        os.kill(other, signal.SIGKILL)
        os.kill(earlier, signal.SIGKILL)
        owner.kill()
        owner.wait()
        owner.stdout.close()  # type: ignore[union-attr]
