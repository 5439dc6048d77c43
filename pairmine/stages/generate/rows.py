"""Finished tasks as a table of pairs, and what they did not yield as a table of rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.identity import text_key
from pairmine.llm.recipes.recipe import Emit, PromptRecipe
from pairmine.llm.recipes.rendering import Emitted, RowProblem
from pairmine.llm.tasks import Plan, Problem, Task
from pairmine.outcome import Outcome, with_reason
from pairmine.schema import as_pairs, free_name
from pairmine.stages.generate.repeats import Repeats

_REPEAT = "near copy of an earlier generation"
_NOTHING = "an empty list"


@dataclass(frozen=True)
class _Reject:
    task: Task
    emit: Emit
    problem: Problem


class Rows:
    """Turns tasks into outcomes, in their order. Each task plans one row per entry of the recipe's `emits`."""

    def __init__(self, plan: Plan, *, stand_in: bool, repeats: Repeats | None) -> None:
        self._plan = plan
        self._recipe: PromptRecipe = plan.recipe
        self._tail = "/fake" if stand_in else ""
        self._repeats = repeats
        self._emits = {emit.role: emit for emit in plan.recipe.emits}
        self._queries = _Queries()

    def outcome(self, tasks: Sequence[Task]) -> Outcome:
        """What `tasks` yielded: every planned row is kept or rejected with its reason."""
        kept: list[tuple[Task, Emitted]] = []
        rejects: list[_Reject] = []
        notes: Counter[str] = Counter()
        added = 0
        for task, is_repeat in zip(tasks, self._are_repeats(tasks), strict=True):
            written, refused = self._rows_of(task, is_repeat)
            kept += [(task, row) for row in written]
            rejects += refused
            added += len(written) + len(refused) - len(self._recipe.emits)
            if task.again:
                notes["replies asked for again"] += task.again
            for repair, count in (task.repaired or {}).items():
                notes[f"replies repaired: {repair}"] += count
        return Outcome(
            self._kept(kept, tasks[0]),
            self._rejected(rejects, tasks[0]),
            rows_in=len(tasks) * len(self._recipe.emits),
            added=added,
            notes=notes,
        )

    def _are_repeats(self, tasks: Sequence[Task]) -> Sequence[bool]:
        """Whether each task wrote what an earlier one did; one that yields nothing anyway is held against nobody."""
        fields = self._recipe.duplicates.fields if self._recipe.duplicates else ()
        if self._repeats is None or not fields:
            return [False] * len(tasks)
        groups = [[] if task.problems else list(_texts(task, fields)) for task in tasks]
        found: list[bool] = self._repeats.among(groups).tolist()
        return found

    def _rows_of(self, task: Task, is_repeat: bool) -> tuple[list[Emitted], list[_Reject]]:
        """The rows of a task, and a reject for every planned one that is not among them."""
        if is_repeat:
            return [], [self._reject(task, emit, _REPEAT) for emit in self._recipe.emits]
        missing = ((emit, self._missing(task, emit)) for emit in self._recipe.emits)
        rejects = [_Reject(task, emit, problem) for emit, problem in missing if problem]
        try:
            rows = self._plan.renderer.emit(task.item, task.values)
        except RowProblem as problem:
            return [], [self._reject(task, emit, str(problem)) for emit in self._recipe.emits]
        settled = {row.role for row in rows} | {reject.emit.role for reject in rejects}
        rejects += [self._reject(task, emit, _NOTHING) for emit in self._recipe.emits if emit.role not in settled]
        written: list[Emitted] = []
        self._queries.begin(task)
        for row in rows:
            if reason := self._queries.refuse(task, row):
                rejects.append(self._reject(task, self._emits[row.role], reason))
            else:
                written.append(row)
        return written, rejects

    def _reject(self, task: Task, emit: Emit, reason: str) -> _Reject:
        return _Reject(task, emit, Problem(reason, task.replies.get(emit.step)))

    def _missing(self, task: Task, emit: Emit) -> Problem | None:
        """Why the row of `emit` is not there, with the step that is to blame where there are several."""
        found = next((task.problems[step] for step in (emit.step, *emit.needs) if step in task.problems), None)
        if found is None or found.failed or not found.step or len(self._recipe.steps) == 1:
            return found
        return replace(found, reason=f"{found.step}: {found.reason}")

    def _kept(self, kept: Sequence[tuple[Task, Emitted]], like: Task) -> pa.Table:
        recipe = self._recipe
        emitted = [row for _, row in kept]
        prompts = [task.prompts.get(row.step) for task, row in kept]
        columns: dict[str, Any] = {
            "query_id": pa.array([row.query_id for row in emitted], pa.string()),
            "query": pa.array([row.query for row in emitted], pa.string()),
            "doc_id": pa.array([row.doc_id for row in emitted], pa.string()),
            "document": pa.array([row.document for row in emitted], pa.string()),
            "label": pa.array([row.label for row in emitted], pa.int8()),
            "origin": pa.array([f"generate:{recipe.name}/{row.role}{self._tail}" for row in emitted], pa.string()),
        }
        if any(emit.grade for emit in recipe.emits):
            columns["grade"] = pa.array([row.grade for row in emitted], pa.float32())
        source = _inputs([task for task, _ in kept], like)
        if recipe.reads == "documents":
            columns["source_id"] = source["id"].cast(pa.string())
        columns["template"] = pa.array([prompt.template if prompt else None for prompt in prompts], pa.string())
        columns["exemplars"] = pa.array([prompt.exemplars if prompt else None for prompt in prompts], pa.string())
        columns["sample"] = pa.array([task.item.sample for task, _ in kept], pa.int32())
        for draw in recipe.draws:
            columns[draw.name] = pa.array([task.item.draws[draw.name].name for task, _ in kept], pa.string())
        read = {column.name for column in recipe.inputs} | (
            {"id", "title", "text"} if recipe.reads != "rows" else set()
        )
        for name in source.column_names:
            if name not in read:
                columns[free_name(name, columns, source.column_names)] = source[name]
        return as_pairs(pa.table(columns))

    def _rejected(self, rejects: Sequence[_Reject], like: Task) -> pa.Table:
        rows = _inputs([reject.task for reject in rejects], like)
        columns = {name: rows[name] for name in rows.column_names}
        ours = {
            "sample": pa.array([reject.task.item.sample for reject in rejects], pa.int32()),
            "role": pa.array([reject.emit.role for reject in rejects], pa.string()),
            "reply": pa.array([reject.problem.reply for reject in rejects], pa.string()),
        }
        for name, column in ours.items():
            columns[free_name(name, columns, rows.column_names)] = column
        reasons = pa.array([reject.problem.reason for reject in rejects], pa.string())
        return with_reason(pa.table(columns), reasons)


class _Queries:
    """The queries and documents so far. Rows of one query stand together in a pair set, each document once."""

    def __init__(self) -> None:
        self._earlier: set[int] = set()
        self._own: set[int] = set()
        self._documents: set[tuple[str, int]] = set()
        self._input: tuple[Any, int] = (None, -1)

    def begin(self, task: Task) -> None:
        """Rows of `task` come next."""
        if self._input[0] is not task.row.table or self._input[1] != task.row.at:
            self._input = task.row.table, task.row.at
            self._earlier |= self._own
            self._own = set()
            self._documents = set()

    def refuse(self, task: Task, row: Emitted) -> str | None:
        """Why a row cannot stand: its document is the query, or one that the query has, or its query was written
        about an earlier input; None, and the row is noted, where it can."""
        key = text_key(row.document)
        if key == text_key(row.query):
            return "copies the query"
        if (row.query_id, key) in self._documents:
            return "copies another text of its query"
        is_given = row.query_id in (task.item.row.get("id"), task.item.row.get("query_id"))
        if not is_given and hash(row.query_id) in self._earlier:
            return "its query was written before"
        if not is_given:
            self._own.add(hash(row.query_id))
        self._documents.add((row.query_id, key))
        return None


def _texts(task: Task, fields: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The texts that a task wrote in `fields`, which may hold lists."""
    for step, field in fields:
        value = task.values.get(step, {}).get(field)
        yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text)


def _inputs(tasks: Sequence[Task], like: Task) -> pa.Table:
    """The input row of each task, (tasks,) rows; `like` lends its columns when there are none."""
    if not tasks or not like.row.table.num_columns:
        return like.row.table.slice(0, 0)
    parts = []
    for _, run in groupby(tasks, key=lambda task: id(task.row.table)):
        some = list(run)
        parts.append(some[0].row.table.take(pa.array(np.array([task.row.at for task in some], np.int64))))
    return pa.concat_tables(parts)
