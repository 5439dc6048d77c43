"""Who asks the model and keeps its replies: nothing that arrived may be lost, whatever ends the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pairmine.errors import PairmineError
from pairmine.ledger import Ledger
from pairmine.llm.asking import Asker
from pairmine.llm.calls import Call, Failure, Reply, Sampling
from pairmine.llm.money import Budget, Price

Answers = list[tuple[Call, Reply | Failure]]


class Model:
    """Answers all that was submitted at the next `wait`, or raises what `says_why` is."""

    name = "openai:model"
    model = "model"

    def __init__(self, answer: Callable[[Call], Reply | Failure] = lambda call: Reply(f"to {call.key.hex()}")) -> None:
        self.facts: dict[str, Any] = {}
        self.room = 100
        self.says_why: BaseException | None = None
        self.submitted: list[Call] = []
        self._answer = answer
        self._taken: list[Call] = []

    @property
    def under_way(self) -> int:
        return len(self._taken)

    def submit(self, call: Call) -> None:
        self.submitted.append(call)
        self._taken.append(call)

    def wait(self) -> Answers:
        if self.says_why is not None:
            raise self.says_why
        taken, self._taken = self._taken, []
        return [(call, self._answer(call)) for call in taken]

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        return None

    def close(self) -> None:
        self._taken = []


class Online(Model):
    """Replies come in while nobody waits."""

    came: Answers = []  # noqa: RUF012 (set anew by the test that reads it)

    def arrived(self) -> Answers:
        return self.came


class Torn:
    """A keeper that raises the errors it was given, one for each try, before it keeps anything."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.kept: dict[bytes, Reply] = {}
        self.tries = 0

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        return {key: self.kept[key] for key in keys if key in self.kept}

    def keep(self, answers: Sequence[tuple[Call, Reply]], *, recipe: str, backend: str) -> int:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        before = len(self.kept)
        for call, reply in answers:
            self.kept.setdefault(call.key, reply)
        return len(self.kept) - before


BUSY = PairmineError("ledger: another process has held it for 30 s", exit_code=3)


def a_call(number: int, max_tokens: int = 512) -> Call:
    return Call("model", ({"role": "user", "content": f"prompt {number}"},), Sampling(max_tokens=max_tokens))


def asking(model: Model, keeper: Any, count: int, **more: Any) -> Asker[int]:
    asker: Asker[int] = Asker(model, keeper, recipe="queries", **more)
    for number in range(count):
        asker.put(a_call(number), number)
    return asker


def test_a_model_that_has_given_up_with_calls_left_ends_the_run_and_does_not_hang_it() -> None:
    model = Model()
    asker = asking(model, Torn(), 1)
    assert len(asker.turn()) == 1
    model.room, model.says_why = 0, PairmineError("openai:model: no reply for 5 minutes", exit_code=3)
    asker.put(a_call(7), 7)
    with pytest.raises(PairmineError, match="no reply for 5 minutes"):
        asker.turn()


def test_with_nothing_to_ask_nobody_is_waited_for() -> None:
    model = Model()
    model.says_why = AssertionError("waited")
    assert asking(model, Torn(), 0).turn() == []


@pytest.mark.parametrize("error", [BUSY, KeyboardInterrupt()])
def test_replies_whose_keeping_failed_are_kept_at_the_end(error: BaseException) -> None:
    keeper = Torn(error)
    asker = asking(Model(), keeper, 5)
    with pytest.raises(type(error)):
        asker.turn()
    assert not keeper.kept
    asker.save()
    assert len(keeper.kept) == 5


def test_a_ledger_that_is_still_busy_at_the_end_is_tried_once_more_and_then_told() -> None:
    keeper = Torn(BUSY, BUSY)
    asker = asking(Model(), keeper, 5)
    for step in (asker.turn, asker.save):
        with pytest.raises(PairmineError, match="held it for 30 s"):
            step()
    assert keeper.tries == 2


def test_who_goes_on_after_a_busy_ledger_gets_every_answer_and_pays_for_none_twice() -> None:
    model = Model()
    asker = asking(model, Torn(BUSY), 5)
    with pytest.raises(PairmineError):
        asker.turn()
    assert sorted(owner for owner, _, _ in asker.turn()) == list(range(5))
    assert asker.spent.calls == len(model.submitted) == 5
    assert asker.is_idle


def test_what_arrived_when_ctrl_c_came_is_kept_without_waiting() -> None:
    model, keeper = Online(), Torn()
    asker = asking(model, keeper, 5)
    asker.turn()
    for number in range(5, 9):
        asker.put(a_call(number), number)
    model.says_why = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        asker.turn()
    # One was handed back and kept before, one is a failure, which nobody pays for.
    model.came = [(a_call(4), Reply("again")), (a_call(5), Reply("five")), (a_call(6), Failure("timed out"))]
    asker.save()
    assert len(keeper.kept) == 6
    assert keeper.kept[a_call(4).key].text != "again"
    assert keeper.kept[a_call(5).key] == Reply("five")


def test_nothing_is_kept_at_the_end_of_a_run_in_which_nothing_arrived() -> None:
    keeper = Torn()
    asking(Model(), keeper, 3).save()
    assert keeper.tries == 0
    asking(None, keeper, 3).save()  # type: ignore[arg-type]
    assert keeper.tries == 0


def test_of_two_processes_that_ask_the_same_the_first_reply_holds_in_both_and_in_a_rerun(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as theirs, Ledger(tmp_path / "ledger.db") as ours:

        def late(call: Call) -> Reply | Failure:
            if call.key == a_call(2).key:
                return Failure("timed out")
            if call.key == a_call(1).key:
                theirs.keep([(call, Reply("theirs"))], recipe="queries", backend="openai:model")
            return Reply("ours", prompt_tokens=10)

        asker = asking(Model(late), ours, 3)
        told = {owner: answer for owner, _, answer in asker.turn()}
        again = {owner: answer for owner, _, answer in asking(Model(late), ours, 2).turn()}
    assert told == {0: Reply("ours", prompt_tokens=10), 1: Reply("theirs"), 2: Failure("timed out")}
    assert again == {0: told[0], 1: told[1]}
    # Both were paid for by this process, whichever holds.
    assert asker.spent.prompt_tokens == 20


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({"max_tokens": 700}, r"one call may take about 756 tokens, more than --max-tokens 700 .*; raise --max-tokens"),
        ({"max_usd": 0.0005}, r"one call may cost about \$0.00076, more than --max-usd \$0.0005; raise --max-usd"),
        ({"max_usd": 0.0005, "max_tokens": 10_000}, "raise --max-usd"),
    ],
)
def test_a_limit_below_one_call_is_a_mistake_and_not_a_run_to_continue(limits: dict[str, Any], line: str) -> None:
    model = Model()
    budget = Budget(lambda call: 500, price=Price(1, 1), **limits)
    with pytest.raises(PairmineError, match=line) as caught:
        asking(model, Torn(), 3, allowance=budget).turn()
    assert caught.value.exit_code == 2
    assert not model.submitted


def test_a_limit_raised_to_what_one_call_may_take_lets_it_through() -> None:
    model = Model(lambda call: Reply("x", prompt_tokens=500, completion_tokens=10))
    asker = asking(model, Torn(), 1, allowance=Budget(lambda call: 500, price=None, max_tokens=756))
    assert len(asker.turn()) == 1


def test_a_limit_that_paid_for_calls_is_one_to_go_on_from() -> None:
    model = Model(lambda call: Reply("x", prompt_tokens=500, completion_tokens=500))
    asker = asking(model, Torn(), 3, allowance=Budget(lambda call: 500, price=None, max_tokens=1100))
    assert len(asker.turn()) == 1
    with pytest.raises(
        PairmineError, match=r"spent 1,000 of --max-tokens 1,100 on 1 call; every reply is kept"
    ) as stop:
        asker.turn()
    assert stop.value.exit_code == 3
