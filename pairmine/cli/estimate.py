"""`--dry-run`: what a run would ask and cost, and its first prompts."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmine.cli.run import FAILED
from pairmine.errors import GAVE_UP, PairmineError

if TYPE_CHECKING:
    from pairmine.cli.llm_session import Session
    from pairmine.llm.asking import Keeper
    from pairmine.llm.calls import Call
    from pairmine.llm.money import Estimate, Interval
    from pairmine.llm.recipes.rendering import Renderer
    from pairmine.llm.rehearsal import Rehearsal
    from pairmine.llm.tasks import Asked, Plan, Task

_ENOUGH = 2
"""Real replies from which on their number of parts is better than what the recipe lets expect."""

Tasks = Callable[[Any], "Iterator[Task]"]
"""A run's tasks under a plan, from the first one on as often as asked."""


def show_estimate(
    session: Session,
    renderer: Renderer,
    tasks: Tasks,
    *,
    command: str,
    probe: int,
    summary: str | None,
    also: Sequence[tuple[str, str]] = (),
) -> None:
    """Print what the run would cost on standard output; with `probe`, after really asking about so many tasks.

    `also` are further lines of the table, each a name and what it says.
    """
    from pairmine.files.partial import STDOUT, write_atomically
    from pairmine.llm.asking import Asker
    from pairmine.llm.money import lines, price_list
    from pairmine.llm.rehearsal import Rehearsal
    from pairmine.llm.tasks import in_order

    tried = _probe(session, renderer, tasks, probe) if probe else None
    counter = session.counter()
    rehearsal = Rehearsal(session.model, counter)
    asker: Asker[Asked] = Asker(rehearsal, _what_is_kept(session), recipe=session.recipe.name, watch=rehearsal.learn)
    plan = session.plan(renderer, rehearses=True, retries_invalid=0)
    parts = _Parts(plan)
    count = sum(parts.note(task) for task in in_order(tasks(plan), asker))
    estimate = rehearsal.estimate(session.list_price, parts.mean)
    if tried:
        estimate = tried.with_retries(estimate, session.options.retries_invalid)
    rows = [*also, ("samples", f"{count:,}")]
    if session.recipe.expand:
        rows.append(("parts", parts.line))
    if asker.replays.calls:
        rows.append(("in the ledger", f"{asker.replays.calls:,} replies, which cost nothing again"))
    if tried:
        rows.append(("probe", tried.line(session)))
    rows += lines(estimate)
    rows.append(("tokens by", counter.name))
    if session.list_price is not None and session.options.price is None:
        rows.append(("prices by", price_list()))
    width = max(len(name) for name, _ in rows)
    table = "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
    write_atomically(STDOUT, f"pairmine {command}: dry run\n{table}\n{_shown(rehearsal)}")
    if summary:
        body = {"command": command, "rows": count, "replayed": asker.replays.calls, **estimate.to_dict()}
        if session.recipe.expand:
            body["parts"] = [round(end, 3) for end in parts.mean]
        write_atomically(summary, json.dumps(body, indent=2) + "\n")


class _Parts:
    """How many parts replies have: learnt from real ones where some are there, else what the recipe lets expect."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._real: list[int] = []
        self._unknown = 0

    def note(self, task: Task) -> int:
        """Look at a task of the rehearsal, and count it."""
        if task.is_typical:
            self._unknown += 1
        elif task.parts:
            self._real.append(sum(not part.problems for part in task.parts))
        return 1

    @property
    def mean(self) -> Interval:
        """The mean of those replies that are not known yet."""
        from pairmine.llm.money import Interval, mean_of

        if len(self._real) < _ENOUGH:
            return Interval(self._plan.parts_expected, self._plan.parts_expected)
        found = mean_of(self._real, self._unknown)
        return Interval(max(found.low, 0.0), max(found.high, 0.0))

    @property
    def line(self) -> str:
        """The same for people."""
        step, mean = self._plan.expanded, self.mean
        if len(self._real) >= _ENOUGH:
            return f"{mean.low:.3g} to {mean.high:.3g} a reply of {step}, from {len(self._real):,} real ones"
        expand = self._plan.recipe.expand
        basis = expand.basis if expand else ""
        return f"{mean.low:g} a reply of {step}, by {basis}; --probe tells better"


@dataclass(frozen=True)
class _Tried:
    """What became of the tasks of a probe, and what it cost; `units` are the tasks, or their parts."""

    count: int
    units: int
    invalid: int
    failed: int
    usd: float | None

    def with_retries(self, estimate: Estimate, retries: int) -> Estimate:
        """`estimate` with the replies that will be invalid, as the probe has it, and asked for again."""
        share = self.invalid / max(self.units - self.failed, 1)
        still_to_ask = estimate.calls * sum(share**attempt for attempt in range(retries + 1))
        again = self.invalid * sum(share**attempt for attempt in range(retries))
        factor = (still_to_ask + again) / max(estimate.calls, 1)
        return replace(
            estimate,
            calls=round(estimate.calls * factor),
            prompt_tokens=estimate.prompt_tokens.times(factor),
            completion_tokens=estimate.completion_tokens.times(factor),
            usd=estimate.usd and estimate.usd.times(factor),
            batch_usd=estimate.batch_usd and estimate.batch_usd.times(factor),
        )

    def line(self, session: Session) -> str:
        """The probe in a line of the table."""
        from pairmine.llm.money import dollars

        parts = [f"{self.count:,} samples asked about"]
        if self.invalid:
            again = "each asked for again" if session.options.retries_invalid else "rejected"
            parts.append(f"{self.invalid:,} replies invalid and {again}")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.usd is not None:
            parts.append(dollars(self.usd))
        return ", ".join(parts)


def _probe(session: Session, renderer: Renderer, tasks: Tasks, size: int) -> _Tried:
    """Ask about a random `size` of the tasks; the ledger keeps what comes, for the estimate and for the run itself."""
    from pairmine.llm.tasks import in_order

    plan = session.plan(renderer, retries_invalid=0)
    chosen = heapq.nsmallest(size, tasks(plan), key=lambda task: task.item.seed)
    asker = session.start()
    done = list(in_order(iter(chosen), asker))
    session.finish()
    asked = [unit for task in done for unit in task.units]
    problems = [next(iter(unit.problems.values())) for unit in asked if unit.problems]
    failed = [problem.reason for problem in problems if problem.failed]
    if asked and len(failed) == len(asked):
        raise PairmineError(
            f"none of the {len(asked):,} samples of the probe got a reply ({failed[0].removeprefix(FAILED)}); "
            "mend that first, or estimate without --probe",
            exit_code=GAVE_UP,
        )
    invalid = sum(not problem.failed and bool(problem.step) for problem in problems)
    return _Tried(len(done), len(asked), invalid, len(failed), asker.spent.usd(session.price))


def _what_is_kept(session: Session) -> Keeper:
    """The ledger, if there is one, to look at and no more."""
    from pairmine.llm.asking import Forgetful, ReadOnly

    path = Path(session.options.ledger)
    return ReadOnly(session.ledger) if path.exists() and path.stat().st_size else Forgetful()


def _shown(rehearsal: Rehearsal) -> str:
    texts = [f"\n--- prompt {number} ---\n{_prompt(call)}" for number, call in enumerate(rehearsal.shown, start=1)]
    return "".join(texts)


def _prompt(call: Call) -> str:
    return "".join(f"[{message['role']}]\n{message['content'].rstrip()}\n" for message in call.messages)
