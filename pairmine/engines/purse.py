"""What all workers of a run together may spend, what they have spent, and how far they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pairmine.engines.services import BEAT_S, Heard, Service
from pairmine.llm.calls import Call, Failure, Reply, Sampling
from pairmine.llm.money import Budget, Price, Spend, billed

_ASK_AGAIN_S = 0.2
_LOST = Failure("lost with its worker")


class Wish(NamedTuple):
    """A call as a budget sees it."""

    key: bytes
    max_tokens: int
    prompt_tokens: int


class Settled(NamedTuple):
    """A call that is done: what it took, None where it failed. One that was `replayed` was paid for before."""

    key: bytes
    max_tokens: int
    took: Reply | None
    replayed: bool = False


@dataclass
class Progress:
    """How far a worker, or all of them, are: tasks done, what was paid and what was known, calls without a reply."""

    tasks: int = 0
    failed: int = 0
    spent: Spend = field(default_factory=Spend)
    replays: Spend = field(default_factory=Spend)

    def add(self, other: Progress) -> None:
        """Add that of another one."""
        self.tasks += other.tasks
        self.failed += other.failed
        self.spent.join(other.spent)
        self.replays.join(other.replays)

    def since(self, before: Progress) -> Progress:
        """What came to it since it was `before`."""
        spent, replays = self.spent.since(before.spent), self.replays.since(before.replays)
        return Progress(self.tasks - before.tasks, self.failed - before.failed, spent, replays)


class Purse:
    """The budget of a run for all its workers, if it has one. A service.

    What a lost worker had under way is free again once it was silent for `services.GONE_S`.
    """

    def __init__(self, price: Price | None, max_usd: float | None, max_tokens: int | None, model: str) -> None:
        self._prompts: dict[bytes, int] = {}
        self._budget = Budget(
            lambda call: self._prompts[call.key], price=price, max_usd=max_usd, max_tokens=max_tokens, model=model
        )
        self._under_way: dict[bytes, tuple[str, Call]] = {}
        self._progress: dict[str, Progress] = {}
        self._is_stopped = False
        self._heard = Heard()

    def admit(self, who: str, wishes: Sequence[Wish], settled: Sequence[Settled]) -> tuple[int, bool]:
        """How many of `wishes`, from the first on, may be sent; and whether it is no use to wait for more.

        `settled` is what became of calls since the last time.
        """
        self._heard.of(who)
        for each in settled:
            self._settle(each)
        count = self._admitted(who, wishes)
        if wishes and not count and self._release():
            count = self._admitted(who, wishes)
        return count, not self._under_way

    def too_small_for(self, wish: Wish) -> str | None:
        """See `asking.Allowance`."""
        return self._budget.too_small_for(self._call(wish))

    def spent_line(self) -> str:
        """See `asking.Allowance`."""
        return self._budget.spent_line

    def beat(self, who: str, progress: Progress) -> bool:
        """`who` is still there, and so far; whether it is to stop."""
        self._heard.of(who)
        self._progress[who] = progress
        return self._is_stopped

    def stop(self) -> None:
        """Have all workers stop, once what they have sent is answered."""
        self._is_stopped = True

    def progress(self) -> Progress:
        """That of all workers together."""
        total = Progress()
        for each in list(self._progress.values()):
            total.add(each)
        return total

    def close(self) -> None:
        """Nothing to let go of."""

    def _admitted(self, who: str, wishes: Sequence[Wish]) -> int:
        for count, wish in enumerate(wishes):
            call = self._call(wish)
            # One that a lost worker had sent is sent again by another.
            if call.key in self._under_way:
                self._drop(call.key)
                call = self._call(wish)
            if not self._budget.may_admit(call):
                return count
            self._budget.admitted(call)
            self._under_way[call.key] = who, call
        return len(wishes)

    def _settle(self, done: Settled) -> None:
        if done.replayed:
            if done.took is not None:
                self._budget.replayed(_stand_in(done.key, done.max_tokens), done.took)
            return
        if done.key not in self._under_way:
            if done.took is not None:
                self._budget.spent.add(done.took)
            return
        _, call = self._under_way.pop(done.key)
        self._budget.settled(call, _LOST if done.took is None else done.took)
        del self._prompts[done.key]

    def _release(self) -> bool:
        """Drop the calls of workers that are gone; whether there were any."""
        gone = [key for key, (who, _) in self._under_way.items() if self._heard.is_gone(who)]
        for key in gone:
            self._drop(key)
        return bool(gone)

    def _drop(self, key: bytes) -> None:
        _, call = self._under_way.pop(key)
        self._budget.settled(call, _LOST)
        del self._prompts[key]

    def _call(self, wish: Wish) -> Call:
        self._prompts[wish.key] = wish.prompt_tokens
        return _stand_in(wish.key, wish.max_tokens)


def _stand_in(key: bytes, max_tokens: int) -> Call:
    """A call with all that a budget looks at."""
    return Call("", (), Sampling(max_tokens=max_tokens), key=key)


class SharedBudget:
    """An allowance out of the `purse` of all workers, for the worker `who`; `count` counts a call's prompt tokens."""

    def __init__(self, purse: Service, who: str, count: Callable[[Call], int]) -> None:
        self._purse = purse
        self._who = who
        self._count = count
        self._granted: set[bytes] = set()
        self._prompts: dict[bytes, int] = {}
        self._under_way: set[bytes] = set()
        self._news: list[Settled] = []

    def lease(self, calls: Sequence[Call]) -> None:
        """Ask for `calls` that may not go yet, all at once; waits only where others are under way and none is here."""
        wishes = [self._wish(call) for call in calls if call.key not in self._granted]
        while wishes or self._news:
            news, self._news = self._news, []
            count, is_final = self._purse.begin("admit", self._who, wishes, news)()
            self._granted.update(wish.key for wish in wishes[:count])
            if not wishes or count or is_final or self._granted or self._under_way:
                return
            time.sleep(_ASK_AGAIN_S)

    def may_admit(self, call: Call) -> bool:
        """Whether it was granted."""
        return call.key in self._granted

    def admitted(self, call: Call) -> None:
        """It is under way."""
        self._granted.remove(call.key)
        self._under_way.add(call.key)

    def settled(self, call: Call, answer: Reply | Failure) -> None:
        """It is done, which is told the next time."""
        self._under_way.remove(call.key)
        prompt = self._prompts.pop(call.key)
        took = _bare(billed(answer, prompt)) if isinstance(answer, Reply) else None
        self._news.append(Settled(call.key, call.sampling.max_tokens, took))

    def replayed(self, call: Call, reply: Reply) -> None:
        """It cost nothing, but tells how long others will be."""
        self._news.append(Settled(call.key, call.sampling.max_tokens, _bare(billed(reply, 0)), replayed=True))

    def too_small_for(self, call: Call) -> str | None:
        """See `asking.Allowance`."""
        told: str | None = self._purse.begin("too_small_for", self._wish(call))()
        return told

    @property
    def spent_line(self) -> str:
        """What all workers spent."""
        return str(self._purse.begin("spent_line")())

    def give_back(self) -> None:
        """Tell what is done, and let go of what was neither sent nor answered."""
        left = [Settled(key, 0, None) for key in (*self._granted, *self._under_way)]
        self._granted.clear()
        self._under_way.clear()
        news, self._news = [*self._news, *left], []
        if news:
            self._purse.begin("admit", self._who, [], news)()

    def _wish(self, call: Call) -> Wish:
        if call.key not in self._prompts:
            self._prompts[call.key] = self._count(call)
        return Wish(call.key, call.sampling.max_tokens, self._prompts[call.key])


class Pulse:
    """Tells services every few seconds, from a thread of its own, that a worker is there, and how far it is.

    `is_stopped` says that one of them has asked the worker to stop.
    """

    def __init__(self, services: Sequence[Service], who: str, progress: Callable[[], Progress]) -> None:
        self._services = services
        self._who = who
        self._progress = progress
        self.is_stopped = False
        threading.Thread(target=self._beat, daemon=True).start()

    def tell(self) -> None:
        """Say it now."""
        waiting = [service.begin("beat", self._who, self._progress()) for service in self._services]
        told = [wait() for wait in waiting]
        self.is_stopped |= any(told)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                self.tell()
            except Exception:  # the run is over, or the worker will hear of it when it asks for something
                return


def _bare(reply: Reply) -> Reply:
    """A reply without its text."""
    return Reply(
        "",
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cached_tokens=reply.cached_tokens,
    )
