"""One ledger and one budget for all workers: no call is asked twice at once, and no limit is one of each worker."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pairmine.engines import services
from pairmine.engines.ledgers import LedgerShard, has_shards, merge_shards, shard_paths
from pairmine.engines.purse import Purse, Settled, SharedBudget, Wish
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.ledger import Entry, Ledger
from pairmine.llm.calls import Call, Failure, Reply, Sampling


def a_call(number: int) -> Call:
    return Call("model", ({"role": "user", "content": str(number)},), Sampling(max_tokens=100))


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[LedgerShard]:
    Ledger(tmp_path / "main.sqlite").close()
    found = LedgerShard(str(tmp_path / "main.sqlite"), str(tmp_path / "one.sqlite"))
    yield found
    found.close()


def entry(call: Call, text: str) -> Entry:
    return Entry(call.key, Reply(text), "queries", "model", "openai:model", 1)


def test_a_call_that_one_worker_asks_is_waited_for_by_the_others(shard: LedgerShard) -> None:
    call = a_call(1)
    assert shard.find("one", [call.key]) == {}
    assert shard.find("one", [call.key]) == {}
    assert shard.find("two", [call.key]) == {call.key: None}
    shard.keep("one", [entry(call, "first")])
    assert shard.find("two", [call.key]) == {call.key: Reply("first")}
    assert shard.keep("two", [entry(call, "second")]) == 0
    assert shard.find("two", [call.key]) == {call.key: Reply("first")}


def test_a_call_that_failed_is_told_to_who_waits_and_one_of_a_lost_worker_is_asked_again(
    shard: LedgerShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, lost = a_call(1).key, a_call(2).key
    shard.find("one", [failing, lost])
    shard.failed("one", {failing: Failure("no answer")})
    assert shard.find("two", [failing, lost]) == {failing: Failure("no answer"), lost: None}
    monkeypatch.setattr(services, "GONE_S", -1.0)
    assert shard.find("two", [lost]) == {}


def test_shards_of_a_run_that_is_under_way_are_left_to_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "main.sqlite") as ledger:
        (path,) = shard_paths(str(ledger.path), 1)
        shard = LedgerShard(str(ledger.path), path)
        shard.keep("one", [entry(a_call(1), "kept")])
        with pytest.raises(PairmineError, match="another run with this ledger is under way"):
            merge_shards(ledger, wait_s=0.0)
        shard.close()
        assert merge_shards(ledger) == 1
        assert ledger.find([a_call(1).key]) == {a_call(1).key: Reply("kept")}
        assert not has_shards(str(ledger.path))


def test_shards_that_the_disk_would_not_remove_are_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        with Ledger(shard_paths(str(path), 1)[0]) as part:
            part.add([entry(a_call(1), "one")])

        def refused(path: Path, **_: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refused)
            with pytest.raises(PairmineError, match="its replies are in the ledger, mend that and run") as error:
                merge_shards(ledger)
        assert error.value.exit_code == GAVE_UP
        assert merge_shards(ledger) == 0
        assert len(ledger.find([a_call(1).key])) == 1
    assert not has_shards(str(path))


def test_a_torn_shard_is_told_and_keeps_nothing_of_the_others_back(tmp_path: Path) -> None:
    with Ledger(tmp_path / "main.sqlite") as ledger:
        torn, whole = map(Path, shard_paths(str(ledger.path), 2))
        torn.write_bytes(b"torn" * 2000)
        with Ledger(whole) as shard:
            shard.add([entry(a_call(1), "kept")])
        with pytest.raises(PairmineError, match=r"000\.sqlite: not an sqlite file.*; .* move it away"):
            merge_shards(ledger)
        assert ledger.find([a_call(1).key])
        torn.unlink()
        assert merge_shards(ledger) == 0
        assert not has_shards(str(ledger.path))


@dataclass(frozen=True)
class Direct:
    """A service without a process in between."""

    purse: Purse

    def begin(self, method: str, *args: Any) -> Callable[[], Any]:
        found = getattr(self.purse, method)(*args)
        return lambda: found


def test_two_workers_keep_to_one_budget_and_the_last_is_told_that_no_more_will_come() -> None:
    purse = Purse(None, None, 1000, "model")
    one, two = (SharedBudget(Direct(purse), who, lambda call: 100) for who in ("one", "two"))
    calls = [a_call(number) for number in range(8)]
    sent = []
    for budget, some in ((one, calls[:3]), (two, calls[3:])):
        budget.lease(some)
        sent += [(budget, call) for call in some if budget.may_admit(call)]
    # Prompts of 100 tokens, and replies of up to 100: five are at the limit, whoever asks.
    assert [call for _, call in sent] == calls[:5]
    for budget, call in sent:
        budget.admitted(call)
        budget.settled(call, Reply("", prompt_tokens=100, completion_tokens=90))
    one.lease([])
    two.lease(calls[5:])
    assert not two.may_admit(calls[5])
    assert "950 of --max-tokens 1,000 on 5 calls" in two.spent_line


def test_what_a_lost_worker_had_under_way_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    purse = Purse(None, None, 250, "model")
    wishes = [Wish(a_call(number).key, 100, 100) for number in range(2)]
    assert purse.admit("lost", wishes, []) == (1, False)
    assert purse.admit("two", wishes[1:], []) == (0, False)
    monkeypatch.setattr(services, "GONE_S", -1.0)
    assert purse.admit("two", wishes[1:], []) == (1, False)
    # It was not lost after all: what it spent counts.
    done = Settled(wishes[0].key, 100, Reply("", prompt_tokens=100, completion_tokens=50))
    purse.admit("lost", [], [done])
    assert "150 of --max-tokens 250 on 1 call" in purse.spent_line()
