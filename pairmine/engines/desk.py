"""Where many workers ask a model as one: the same ledger, the same budget, and no call asked twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from pairmine.backends.llms import LLM, Server, open_llm
from pairmine.backends.specs import Spec
from pairmine.engines.ledgers import LedgerShard, SharedLedger, merge_shards, shard_paths
from pairmine.engines.purse import Progress, Pulse, Purse, SharedBudget
from pairmine.engines.services import Service, served
from pairmine.engines.shards import Pool
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.ledger import Ledger
from pairmine.llm.asking import Asker
from pairmine.llm.calls import Call, Failure, Reply
from pairmine.llm.counting import counter_for
from pairmine.llm.money import Price
from pairmine.llm.tasks import WINDOW, Asked

LEDGER_SHARDS = 4
"""One takes some thousand replies a second, which the workers send it by the dozen."""

Watch = Callable[[Call, Reply | Failure], None]


@dataclass(frozen=True)
class Limits:
    """What a run may spend."""

    price: Price | None = None
    max_usd: float | None = None
    max_tokens: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.max_usd is not None or self.max_tokens is not None


@dataclass(frozen=True)
class Desk:
    """What a worker needs to ask a model for all of them: plain data that travels.

    `model` is what the calls carry in their key, `server` says what one worker may ask of it.
    """

    spec: Spec
    server: Server
    model: str
    ledger: Sequence[Service]
    purse: Service
    limits: Limits
    tokenizer: str | None = None

    def open(self) -> Client:
        """The model and its ledger, for one worker; a model is loaded with its first call."""
        return Client(self)


class Client:
    """A worker that asks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._who = uuid4().hex
        self._done = Progress()
        self._asker: Asker[Asked] | None = None
        self._tasks = 0
        self.llm = open_llm(desk.spec, desk.server)
        if self.llm.model != desk.model:
            raise PairmineError(
                f"--llm {desk.spec.public()}: a worker has {self.llm.model} there, and the run asks {desk.model}; "
                "put the same files on every machine"
            )
        self._pulse = Pulse([*desk.ledger, desk.purse], self._who, self.progress)

    @property
    def window(self) -> int:
        """How many tasks may be under way."""
        return max(WINDOW, self.llm.room)

    def advance(self, tasks: int) -> None:
        """Count tasks that are done."""
        self._tasks += tasks

    @contextmanager
    def asking(self, recipe: str, watch: Watch = lambda call, answer: None) -> Iterator[_Watched]:
        """Who answers the calls of a shard, `watch` being told of every answer; whatever ends it, nothing is lost."""
        budget = self._budget()
        keeper = SharedLedger(self._desk.ledger, self._who)
        self._asker = asker = _Watched(self.llm, keeper, recipe, budget, watch, lambda: self._pulse.is_stopped)
        try:
            yield asker
        except BaseException:
            asker.save()
            raise
        finally:
            if budget is not None:
                budget.give_back()
            self._done = self.progress()
            self._asker, self._tasks = None, 0
            self._pulse.tell()

    def _budget(self) -> SharedBudget | None:
        if not self._desk.limits.any:
            return None
        counter = counter_for(self._desk.model, self.llm.count_tokens, tokenizer=self._desk.tokenizer)
        return SharedBudget(self._desk.purse, self._who, lambda call: counter.messages(call.messages))

    def progress(self) -> Progress:
        """All that this worker did."""
        total = Progress()
        total.add(self._done)
        if (asker := self._asker) is not None:
            total.add(Progress(self._tasks, asker.failed, asker.spent, asker.replays))
        return total


class _Watched(Asker[Asked]):
    """Tells of every answer that it hands out, and stops once what is sent is answered when it is told to."""

    def __init__(
        self,
        llm: LLM,
        keeper: SharedLedger,
        recipe: str,
        budget: SharedBudget | None,
        watch: Watch,
        is_stopped: Callable[[], bool],
    ) -> None:
        super().__init__(llm, keeper, recipe=recipe, allowance=budget)
        self._model = llm
        self._tell = watch
        self._is_stopped = is_stopped

    def turn(self) -> list[tuple[Asked, Call, Reply | Failure]]:
        """See `Asker`."""
        if self._is_stopped():
            self._stop()
        answers = super().turn()
        for _, call, answer in answers:
            self._tell(call, answer)
        return answers

    def _stop(self) -> NoReturn:
        while self._model.under_way:
            self.drain()
        raise PairmineError("another worker has stopped the run", exit_code=GAVE_UP)


@contextmanager
def desk_of(
    pool: Pool,
    spec: Spec,
    server: Server,
    ledger: Ledger,
    *,
    model: str,
    workers: int,
    limits: Limits,
    tokenizer: str | None = None,
) -> Iterator[Desk]:
    """A desk for `workers` workers of `pool`. At the end all that they kept is in `ledger`."""
    merge_shards(ledger)
    main = str(ledger.path.absolute())
    makes: list[Callable[[], Any]] = [partial(LedgerShard, main, path) for path in shard_paths(main, LEDGER_SHARDS)]
    makes.append(partial(Purse, limits.price, limits.max_usd, limits.max_tokens, str(spec)))
    with ExitStack() as stack:
        stack.callback(merge_shards, ledger)
        *shards, purse = stack.enter_context(served(pool, makes))
        server = replace(server.share(workers), key_file=_absolute(server.key_file))
        yield Desk(_everywhere(spec), server, model, shards, purse, limits, _absolute(tokenizer))


def _everywhere(spec: Spec) -> Spec:
    """The model as workers find it, which may run in another folder."""
    return replace(spec, target=str(_absolute(spec.target))) if os.path.isdir(spec.target) else spec


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
