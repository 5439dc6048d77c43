"""Pairs that an LLM writes, row by row and sample by sample, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import pyarrow as pa

from pairmine.backends.llms import LLM
from pairmine.backends.models import Advance
from pairmine.errors import PairmineError
from pairmine.llm.asking import Asker, Keeper
from pairmine.llm.recipes.file import load_recipe
from pairmine.llm.recipes.recipe import PromptRecipe
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import WINDOW, Plan, Row, Task, in_order
from pairmine.outcome import Outcome, joined
from pairmine.stages.generate.repeats import Repeats
from pairmine.stages.generate.rows import Rows

_ROWS_A_TABLE = 2048


def tasks_of(plan: Plan, tables: Iterable[pa.Table], samples: int) -> Iterator[Task]:
    """A task for each row and sample, a row's samples side by side; of a recipe that reads nothing one per sample."""
    if plan.recipe.reads == "nothing":
        for sample in range(samples):
            yield Task(plan, plan.renderer.item({}, sample), Row(pa.table({}), 0))
        return
    needed = [column.name for column in plan.recipe.inputs]
    for table in tables:
        missing = next(
            (each for each in plan.recipe.inputs if each.required and each.name not in table.schema.names), None
        )
        if missing is not None:
            found = ", ".join(table.column_names) or "no columns"
            raise PairmineError(
                f'recipe {plan.recipe.name} reads "{missing.name}", which is not there (found: {found}); '
                "rename the column that holds it"
            )
        names = [name for name in needed if name in table.column_names]
        for start in range(0, table.num_rows, _ROWS_A_TABLE):
            # A slice is copied, so that a few rows under way do not keep a large table in memory.
            part = table.slice(start, _ROWS_A_TABLE).take(pa.array(range(min(_ROWS_A_TABLE, table.num_rows - start))))
            for at, row in enumerate(part.select(names).to_pylist()):
                for sample in range(samples):
                    yield Task(plan, plan.renderer.item(row, sample), Row(part, at))


def write_pairs(
    plan: Plan,
    tasks: Iterator[Task],
    asker: Asker[tuple[Task, str]],
    *,
    stand_in: bool = False,
    duplicates: float | None = None,
    window: int = WINDOW,
    advance: Advance = lambda _: None,
) -> Iterator[Outcome]:
    """Outcomes in the order of the tasks, whatever order their replies come in.

    `duplicates` is the Jaccard similarity from which on a generation counts as a copy of an earlier
    one, None to keep them all. `advance` is told of tasks as they are done. At most `window` tasks
    are under way. Raises what `Asker.turn` raises.
    """
    rows = Rows(plan, stand_in=stand_in, repeats=None if duplicates is None else Repeats(duplicates))
    done = in_order(tasks, asker, window=window, advance=advance)
    while block := list(islice(done, _ROWS_A_TABLE)):
        yield rows.outcome(block)


def generate(
    recipe: PromptRecipe | str,
    rows: pa.Table,
    llm: LLM,
    *,
    keeper: Keeper | None = None,
    seed: int = 0,
    samples: int = 1,
    draws: Mapping[str, Sequence[str]] | None = None,
    options: Mapping[str, Any] | None = None,
    shots: int | None = None,
    sampling: Mapping[str, Any] | None = None,
    retries_invalid: int = 1,
    duplicates: float | None = None,
) -> Outcome:
    """Pairs that `llm` writes about `rows`, by a recipe of `prompts/`, a file's path, or one that was read.

    `rows` has the columns that the recipe reads (a corpus: `id`, `text`, perhaps `title`). `kept` is a pair
    set with the recipe's draws and the input's other columns; `rejected` are the planned rows that did not
    come, as the input's rows with `sample`, `role`, `reply` and `reason`. Replies are kept in `keeper`
    (a `Ledger`) and not asked for again; without one they are forgotten.

    Raises PairmineError for a recipe that is none or has a mistake, a missing column, and with exit code
    3 when the model gives up.
    """
    found = load_recipe(recipe) if isinstance(recipe, str) else recipe
    renderer = Renderer(found, seed, draws=draws, options=options, shots=shots)
    plan = Plan(found, renderer, model=llm.model, retries_invalid=retries_invalid, sampling=sampling)
    asker: Asker[tuple[Task, str]] = Asker(llm, keeper, recipe=found.name)
    if duplicates is None and found.duplicates:
        duplicates = found.duplicates.threshold
    tasks = tasks_of(plan, [rows], samples)
    try:
        outcomes = list(write_pairs(plan, tasks, asker, stand_in=llm.name == "fake", duplicates=duplicates))
    except BaseException:
        # What has arrived is paid for; that it cannot be kept is no news beside the error that ended the run.
        with suppress(PairmineError):
            asker.save()
        raise
    if not outcomes:
        raise PairmineError("there are no rows to write about")
    return joined(outcomes)
