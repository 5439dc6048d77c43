"""`--dry-run`: what a run would ask and cost, and its first prompts."""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairmine.cli.llm_session import Session
    from pairmine.llm.calls import Call
    from pairmine.llm.recipes.rendering import Renderer
    from pairmine.llm.rehearsal import Rehearsal
    from pairmine.llm.tasks import Task

Tasks = Callable[[Any], "Iterator[Task]"]
"""A run's tasks under a plan, from the first one on as often as asked."""


def show_estimate(
    session: Session, renderer: Renderer, tasks: Tasks, *, command: str, probe: int, summary: str | None
) -> None:
    """Print what the run would cost on standard output; with `probe`, after really asking about so many tasks."""
    from pairmine.files.partial import write_atomically
    from pairmine.llm.asking import Asker, Forgetful, ReadOnly
    from pairmine.llm.money import lines, price_list
    from pairmine.llm.rehearsal import Rehearsal
    from pairmine.llm.tasks import in_order

    if probe:
        _probe(session, renderer, tasks, probe)
    counter = session.counter()
    rehearsal = Rehearsal(session.model, counter)
    kept = ReadOnly(session.ledger) if Path(session.options.ledger).exists() else Forgetful()
    asker: Asker[tuple[Task, str]] = Asker(rehearsal, kept, recipe=session.recipe.name, watch=rehearsal.learn)
    count = sum(1 for _ in in_order(tasks(session.plan(renderer, checks=False)), asker))
    estimate = rehearsal.estimate(session.price)
    rows = [("samples", f"{count:,}")]
    if asker.replays.calls:
        rows.append(("in the ledger", f"{asker.replays.calls:,} replies, which cost nothing again"))
    rows += lines(estimate)
    rows.append(("tokens by", counter.name))
    if session.price is not None and session.options.price is None:
        rows.append(("prices by", price_list()))
    width = max(len(name) for name, _ in rows)
    table = "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
    sys.stdout.write(f"pairmine {command}: dry run\n{table}\n{_shown(rehearsal)}")
    if summary:
        body = {"command": command, "rows": count, "replayed": asker.replays.calls, **estimate.to_dict()}
        write_atomically(summary, json.dumps(body, indent=2) + "\n")


def _probe(session: Session, renderer: Renderer, tasks: Tasks, size: int) -> None:
    """Ask about a random `size` of the tasks; the ledger keeps what comes, for the estimate and for the run itself."""
    from pairmine.llm.tasks import in_order

    plan = session.plan(renderer, retries_invalid=0)
    chosen = heapq.nsmallest(size, tasks(plan), key=lambda task: task.item.seed)
    for _ in in_order(iter(chosen), session.start()):
        pass
    session.finish()


def _shown(rehearsal: Rehearsal) -> str:
    texts = [f"\n--- prompt {number} ---\n{_prompt(call)}" for number, call in enumerate(rehearsal.shown, start=1)]
    return "".join(texts)


def _prompt(call: Call) -> str:
    return "".join(f"[{message['role']}]\n{message['content'].rstrip()}\n" for message in call.messages)
