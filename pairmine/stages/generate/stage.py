"""Pairs that an LLM writes, row by row and sample by sample, in the order of the input."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from pairmine.backends.llms import LLM
from pairmine.backends.models import Advance
from pairmine.errors import PairmineError
from pairmine.llm.asking import Asker, Keeper
from pairmine.llm.recipes.bad_examples import bad_examples as read_bad_examples
from pairmine.llm.recipes.file import load_recipe
from pairmine.llm.recipes.recipe import CANDIDATES, PromptRecipe
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import WINDOW, Asked, Plan, Row, Task, in_order
from pairmine.outcome import Outcome, joined
from pairmine.stages.generate.groups import queries_in
from pairmine.stages.generate.repeats import Repeats
from pairmine.stages.generate.rows import Copies, Rows, is_same_input

_ROWS_A_TABLE = 2048


def tasks_of(plan: Plan, tables: Iterable[pa.Table], samples: int, first: int = 0) -> Iterator[Task]:
    """A task for each row and sample, a row's samples side by side; of a recipe that reads nothing one per sample.

    Where it reads groups, the rows of one query stand together in a table, and make one row. The samples of a recipe
    that reads nothing are counted from `first`.
    """
    if plan.recipe.reads == "nothing":
        for sample in range(first, first + samples):
            yield Task(plan, plan.renderer.item({}, sample), Row(pa.table({}), 0))
        return
    rows_of = queries_in if plan.recipe.reads == "groups" else _rows_in
    for table in tables:
        _check_columns(plan.recipe, table)
        for part, at, row in rows_of(plan, table):
            for sample in range(samples):
                yield Task(plan, plan.renderer.item(row, sample), Row(part, at))


def _check_columns(recipe: PromptRecipe, table: pa.Table) -> None:
    needed = [each.name for each in recipe.inputs if each.required and each.name != recipe.rest]
    if recipe.reads == "groups":
        needed = ["document" if name == CANDIDATES else name for name in needed]
    missing = next((name for name in needed if name not in table.schema.names), None)
    if missing is not None:
        found = ", ".join(table.column_names) or "no columns"
        raise PairmineError(
            f'recipe {recipe.name} reads "{missing}", which is not there (found: {found}); '
            "rename the column that holds it"
        )


def _rows_in(plan: Plan, table: pa.Table) -> Iterator[tuple[pa.Table, int, dict[str, Any]]]:
    """The rows, each with a table that holds it and its place there."""
    names = [column.name for column in plan.recipe.inputs if column.name in table.column_names]
    rest = plan.recipe.rest if plan.recipe.rest not in names else None
    for start in range(0, table.num_rows, _ROWS_A_TABLE):
        # A slice is copied, so that a few rows under way do not keep a large table in memory.
        part = table.slice(start, _ROWS_A_TABLE).take(pa.array(range(min(_ROWS_A_TABLE, table.num_rows - start))))
        rows = part.select(names).to_pylist()
        if rest is not None:
            for row, others in zip(rows, part.drop_columns(names).to_pylist(), strict=True):
                row[rest] = {name: value for name, value in others.items() if value not in (None, "")}
        for at, row in enumerate(rows):
            yield part, at, row


def write_pairs(
    plan: Plan,
    tasks: Iterator[Task],
    asker: Asker[Asked],
    *,
    stand_in: bool = False,
    duplicates: float | Copies | None = None,
    written: Collection[int] = (),
    window: int = WINDOW,
    advance: Advance = lambda _: None,
) -> Iterator[Outcome]:
    """Outcomes in the order of the tasks, whatever order their replies come in.

    `duplicates` is the Jaccard similarity from which on a generation counts as a copy of an earlier
    one, or what tells the copies, None to keep them all. `written` are the keys of queries that stand already.
    `advance` is told of tasks as they are done. At most `window` tasks, or parts of tasks, are under way. Raises what
    `Asker.turn` raises.
    """
    repeats = Repeats(duplicates) if isinstance(duplicates, float | int) else duplicates
    rows = Rows(plan, stand_in=stand_in, repeats=repeats, written=written)
    done = in_order(tasks, asker, window=window, advance=advance)
    for block in _blocks(done):
        yield rows.outcome(block)


def _blocks(done: Iterator[Task]) -> Iterator[list[Task]]:
    """Tasks in lists that make a table each, of tasks or of their parts; those of one input row are not parted."""
    block: list[Task] = []
    units = 0
    for task in done:
        if units >= _ROWS_A_TABLE and not is_same_input(block[-1], task):
            yield block
            block, units = [], 0
        block.append(task)
        units += len(task.units)
    if block:
        yield block


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
    bad_examples: pa.Table | None = None,
    bad_shots: int = 2,
) -> Outcome:
    """Pairs that `llm` writes about `rows`, by a recipe of `prompts/`, a file's path, or one that was read.

    `rows` has the columns that the recipe reads (a corpus: `id`, `text`, perhaps `title`). `kept` is a pair
    set with the recipe's draws and the input's other columns; `rejected` are the planned rows that did not
    come, as the input's rows with `sample`, `role`, `step`, `template`, the draws, `reply` and `reason`. Replies are
    kept in `keeper` (a `Ledger`) and not asked for again; without one they are forgotten. Of `bad_examples`, the
    `rejected` rows of an earlier run, `bad_shots` are shown in each prompt as what to avoid.

    Raises PairmineError for a recipe that is none or has a mistake, a missing column, and with exit code
    3 when the model gives up.
    """
    found = load_recipe(recipe) if isinstance(recipe, str) else recipe
    bad = read_bad_examples(bad_examples.to_pylist(), "bad_examples") if bad_examples is not None else []
    renderer = Renderer(found, seed, draws=draws, options=options, shots=shots, bad_examples=bad, bad_shots=bad_shots)
    plan = Plan(found, renderer, model=llm.model, retries_invalid=retries_invalid, sampling=sampling)
    asker: Asker[Asked] = Asker(llm, keeper, recipe=found.name)
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
