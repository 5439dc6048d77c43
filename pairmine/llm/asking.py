"""Asks each call once: the ledger answers what was paid for before, the model the rest, and every reply is kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar, runtime_checkable

from pairmine.backends.llms import LLM, Answer
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.llm.calls import Call, Failure, Reply
from pairmine.llm.money import Spend

Owner = TypeVar("Owner")

NOT_KEPT = Failure("not in the ledger")
"""What a call gets offline when nobody paid for it yet."""

# Calls looked up at once, and kept ready at least, so that the model never waits for the next prompt.
_READY = 256
_LOOK_AGAIN_S = 0.5

Found = Reply | Failure | None
"""What is known of a call: its reply, why another asker got none, or None while another one asks it."""


class Keeper(Protocol):
    """Where replies are kept; `ledger.Ledger` is one, which knows of no other askers."""

    def find(self, keys: Sequence[bytes]) -> Mapping[bytes, Found]:
        """What is known of the calls, by key; one that is not there is to be asked."""

    def keep(self, answers: Sequence[tuple[Call, Reply]], *, recipe: str, backend: str) -> int | None:
        """Keep the replies for good; they are safe when this returns. A key that has a reply keeps that one.

        How many were new, None where nobody else can have kept any.
        """


class Forgetful:
    """A keeper for trials: it remembers nothing."""

    def find(self, keys: Sequence[bytes]) -> Mapping[bytes, Found]:
        """Nothing."""
        return {}

    def keep(self, answers: Sequence[tuple[Call, Reply]], *, recipe: str, backend: str) -> None:
        """Nothing either."""


class ReadOnly(Forgetful):
    """A keeper that looks into another one and adds nothing to it."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def find(self, keys: Sequence[bytes]) -> Mapping[bytes, Found]:
        """What the other one has."""
        return self._keeper.find(keys)


class Allowance(Protocol):
    """What a run may still spend; `money.Budget` is one."""

    def may_admit(self, call: Call) -> bool:
        """Whether `call` still fits, with those under way."""

    def admitted(self, call: Call) -> None:
        """`call` is on its way."""

    def settled(self, call: Call, answer: Reply | Failure) -> None:
        """`call` is done."""

    def replayed(self, call: Call, reply: Reply) -> None:
        """`call` was answered by the ledger: it was paid for before."""

    def too_small_for(self, call: Call) -> str | None:
        """Why `call` alone is more than all that may be spent, for people; None once something was spent."""

    @property
    def spent_line(self) -> str:
        """What was spent of what was allowed, for people."""


@runtime_checkable
class _Shared(Protocol):
    """A keeper of several askers, none of which asks what another one has asked."""

    def failed(self, failures: Mapping[bytes, Failure]) -> None:
        """These calls got no reply, and the others are to be told so."""


@runtime_checkable
class _Claiming(Protocol):
    """A keeper that other processes use as well."""

    def claim(self, key: bytes) -> bool:
        """Whether to ask: nobody else does, and there is no reply by now."""

    def release(self, keys: Sequence[bytes]) -> None:
        """These calls are done, and their replies kept."""


@runtime_checkable
class _Leasing(Protocol):
    """An allowance of several askers, which is asked for many calls at once."""

    def lease(self, calls: Sequence[Call]) -> None:
        """Find out which of `calls`, from the first on, `may_admit` is to let through.

        Waits while none may go, the asker has none under way, and others have.
        """


@runtime_checkable
class _Arriving(Protocol):
    """A model whose replies come in while nobody waits, and are lost with it."""

    def arrived(self) -> list[Answer]:
        """The answers that have come in, those of the latest `wait` among them; nothing is sent any more."""


class Asker(Generic[Owner]):
    """Calls go in with whoever asks, answers come out with them, in any order.

    Calls with the same key that are under way together are sent once. With `llm` None only the
    ledger answers. `spent` is what the model was paid for, `replays` what the ledger answered, `failed` the
    number of calls without a reply.
    """

    def __init__(
        self,
        llm: LLM | None,
        keeper: Keeper | None = None,
        *,
        recipe: str,
        allowance: Allowance | None = None,
        watch: Callable[[Call, Reply], None] | None = None,
    ) -> None:
        self._llm = llm
        self._keeper: Keeper = Forgetful() if keeper is None else keeper
        self._claims = keeper if isinstance(keeper, _Claiming) else None
        self._recipe = recipe
        self._allowance = allowance
        self._watch = watch
        self._new: deque[tuple[Call, Owner]] = deque()
        self._missing: deque[Call] = deque()
        self._owners: dict[bytes, list[tuple[Call, Owner]]] = {}
        self._elsewhere: list[tuple[Call, Owner]] = []
        self._looked_at = 0.0
        # Handed back by the model; they stay here until they are kept, whatever happens meanwhile.
        self._held: list[Answer] = []
        self._refused = False
        self.spent = Spend()
        self.replays = Spend()
        self.failed = 0

    @property
    def wants_more(self) -> bool:
        """Whether further calls would find the model idle before long."""
        if self._refused:
            return False
        taken = 0 if self._llm is None else self._llm.room
        return len(self._new) + len(self._missing) < max(_READY, taken)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked any more."""
        return not self._new and not self._owners and not self._elsewhere

    @property
    def backlog(self) -> int:
        """How many different calls wait for their answer."""
        return len(self._owners)

    @property
    def elsewhere(self) -> int:
        """How many calls wait for the replies that others ask for."""
        return len(self._elsewhere)

    def put(self, call: Call, owner: Owner) -> None:
        """Ask `call` for `owner`."""
        self._new.append((call, owner))

    def turn(self) -> list[tuple[Owner, Call, Reply | Failure]]:
        """Some answers. What the ledger has comes at once; else this blocks until the model has answered a call.

        Raises PairmineError with exit code 3 once the allowance is used up and all that was sent is kept, with 2
        when not even one call fits into it. After an error of the keeper the answers are still here, for `save`.
        """
        self._look_again()
        found = self._look_up()
        self._send()
        # A batch is made of all that is to be asked, so nothing may be left here when the model is waited for.
        while self._new and not found:
            found = self._look_up()
            self._send()
        if found:
            return found
        if self._llm is None:
            return []
        if not self._held:
            if not self._llm.under_way:
                if self._refused:
                    raise self._out_of_money()
                if not self._missing:
                    if self._elsewhere:
                        time.sleep(_LOOK_AGAIN_S)
                    return []
            # A model that has no room, though nothing is under way, says why when it is waited for.
            self._held = self._llm.wait()
        return self._settle()

    def save(self) -> None:
        """Keep every reply that has arrived and wait for no other: the last thing to do in a run that is cut short.

        Raises what the keeper raises; then they are lost.
        """
        if isinstance(self._llm, _Arriving):
            # What was kept before may be among them, which does no harm: it is not kept twice.
            self._held = [*self._held, *self._llm.arrived()]
        self._keep()

    def drain(self) -> None:
        """Wait for what is sent and keep it; those who asked hear nothing."""
        if self._llm is not None:
            self._held = [*self._held, *self._llm.wait()]
            self._settle()

    def _look_up(self) -> list[tuple[Owner, Call, Reply | Failure]]:
        answers: list[tuple[Owner, Call, Reply | Failure]] = []
        batch = [self._new.popleft() for _ in range(min(len(self._new), _READY))]
        kept = self._keeper.find([call.key for call, _ in batch]) if batch else {}
        for call, owner in batch:
            if call.key in kept:
                known = kept[call.key]
                if known is None:
                    self._elsewhere.append((call, owner))
                else:
                    answers.append((owner, call, self._known(call, known)))
            elif self._llm is None:
                self.failed += 1
                answers.append((owner, call, NOT_KEPT))
            elif call.key in self._owners:
                self._owners[call.key].append((call, owner))
            else:
                self._owners[call.key] = [(call, owner)]
                self._missing.append(call)
        return answers

    def _known(self, call: Call, answer: Reply | Failure) -> Reply | Failure:
        """Count an answer that nobody has to be asked for."""
        if isinstance(answer, Reply):
            self.replays.add(answer)
            if self._watch:
                self._watch(call, answer)
            if self._allowance:
                self._allowance.replayed(call, answer)
        return answer

    def _look_again(self) -> None:
        """Look up now and then what others were asking."""
        if self._elsewhere and time.monotonic() - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at = time.monotonic()
            self._new.extend(self._elsewhere)
            self._elsewhere = []

    def _send(self) -> None:
        if self._llm is None:
            return
        if isinstance(self._allowance, _Leasing):
            self._allowance.lease(list(islice(self._missing, self._llm.room)))
        while self._missing and not self._refused and self._llm.room > 0:
            call = self._missing[0]
            if self._allowance is not None and not self._allowance.may_admit(call):
                # A later call may be shorter, but then which rows are written would depend on luck.
                self._refused = not self._llm.under_way or self._refused
                return
            self._missing.popleft()
            if self._claims is not None and not self._claims.claim(call.key):
                self._elsewhere += self._owners.pop(call.key)
                continue
            if self._allowance is not None:
                self._allowance.admitted(call)
            self._llm.submit(call)

    def _settle(self) -> list[tuple[Owner, Call, Reply | Failure]]:
        """Keep what the model handed back, then give it to whoever asked."""
        first = self._keep()
        if isinstance(self._keeper, _Shared):
            self._keeper.failed({call.key: answer for call, answer in self._held if isinstance(answer, Failure)})
        answers: list[tuple[Owner, Call, Reply | Failure]] = []
        for call, answer in self._held:
            if self._allowance:
                self._allowance.settled(call, answer)
            if isinstance(answer, Reply):
                self.spent.add(answer)
                if self._watch:
                    self._watch(call, answer)
            else:
                self.failed += 1
            # The first reply wins in the ledger, and a rerun from there must write the same rows.
            told = first.get(call.key) or answer
            answers += [(owner, asked, told) for asked, owner in self._owners.pop(call.key, ())]
        if self._claims is not None:
            self._claims.release([call.key for call, _ in self._held])
        self._held = []
        return answers

    def _keep(self) -> Mapping[bytes, Found]:
        """Keep the replies at hand. Where another process was quicker, what the ledger holds in their place."""
        paid = {call.key: (call, answer) for call, answer in self._held if isinstance(answer, Reply)}
        if self._llm is None or not paid:
            return {}
        new = self._keeper.keep(list(paid.values()), recipe=self._recipe, backend=self._llm.name)
        return {} if new is None or new == len(paid) else self._keeper.find(list(paid))

    def _out_of_money(self) -> PairmineError:
        assert self._allowance is not None
        if line := self._allowance.too_small_for(self._missing[0]):
            return PairmineError(line, exit_code=BAD_INPUT)
        # Where an allowance is shared, the run is on several machines, and --offline is for one.
        here = " and without --engine ray" if isinstance(self._allowance, _Leasing) else ""
        return PairmineError(
            f"{self._allowance.spent_line}; every reply is kept, run the same command again to continue, "
            f"or with --offline --max-failed 1{here} to write the rows that are there",
            exit_code=GAVE_UP,
        )
