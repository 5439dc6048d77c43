"""Processes side by side: what one claims no other gets, until it lets go or ends, however it does."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairmine.files.claims import Claims
from pairmine.ledger import Ledger
from pairmine.llm.calls import Call, Reply, Sampling

KEYS = [bytes([number]) * 20 for number in range(4)]
OTHER = """
import sys
from pathlib import Path
from pairmine.files.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.claim(bytes([0]) * 20), claims.claim(bytes([1]) * 20), flush=True)
sys.stdin.readline()
claims.release([bytes([0]) * 20])
print("released", flush=True)
sys.stdin.readline()
claims.close()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed the first two keys, releases one at the first line that it reads, and then ends."""
    command = [sys.executable, "-c", OTHER, str(tmp_path / "asking")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True True\n"
        yield process
        process.kill()


def test_what_another_process_claims_is_not_granted_until_it_lets_go(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert other.stdin is not None
    assert other.stdout is not None
    mine = Claims(tmp_path / "asking")
    assert [mine.claim(key) for key in KEYS] == [False, False, True, True]
    other.stdin.write("\n")
    other.stdin.flush()
    assert other.stdout.readline() == "released\n"
    assert [mine.claim(key) for key in KEYS] == [True, False, True, True]
    mine.close()
    assert (tmp_path / "asking").exists()  # the other one has claims in it
    other.communicate("\n")
    assert not (tmp_path / "asking").exists()


def test_what_a_killed_process_had_claimed_is_free(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.kill()
    other.wait()
    mine = Claims(tmp_path / "asking")
    assert all(mine.claim(key) for key in KEYS)
    mine.close()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_process_goes_with_the_next_that_has_nothing_to_claim(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    Claims(tmp_path / "asking").close()
    assert (tmp_path / "asking").exists()  # the other one still asks
    other.kill()
    other.wait()
    Claims(tmp_path / "asking").close()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_claims_are_let_go_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.lockf
    presses = iter([KeyboardInterrupt])

    def pressed(*given: Any) -> None:
        if (press := next(presses, None)) is not None:
            raise press
        lock(*given)

    call = Call("m", ({"role": "user", "content": "Why?"},), Sampling())
    mine = Ledger(tmp_path / "ledger.sqlite")
    mine.claim(call.key)
    mine.keep([(call, Reply("Because."))], recipe="r", backend="b")
    monkeypatch.setattr(fcntl, "lockf", pressed)
    with pytest.raises(KeyboardInterrupt):
        mine.close()
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_where_no_file_can_be_made_everything_is_granted(tmp_path: Path) -> None:
    mine = Claims(tmp_path / "nowhere" / "asking")
    assert all(mine.claim(key) for key in KEYS)
    mine.release(KEYS)
    mine.close()


def test_a_call_that_has_a_reply_by_now_is_not_to_be_asked(tmp_path: Path) -> None:
    call = Call("m", ({"role": "user", "content": "Why?"},), Sampling())
    with Ledger(tmp_path / "ledger.sqlite") as mine, Ledger(tmp_path / "ledger.sqlite") as another:
        assert mine.claim(call.key)
        mine.release([call.key])
        another.keep([(call, Reply("Because."))], recipe="r", backend="b")
        assert not mine.claim(call.key)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
