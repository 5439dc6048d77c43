"""Finished tasks as a table of pairs, and what they did not yield as a table of rejects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pairmine.identity import text_key
from pairmine.llm.recipes.recipe import Emit, PromptRecipe
from pairmine.llm.recipes.rendering import Emitted, Refused, RowProblem
from pairmine.llm.tasks import Plan, Problem, Task
from pairmine.outcome import Outcome, with_reason
from pairmine.schema import SCORE_PREFIX, as_pairs, free_name, score_field

LOST = "samples without parts, for want of a reply"
_READ: Mapping[str, Set[str]] = {"rows": set(), "groups": {"doc_id", "document"}}
"""Columns that do not come through beside those of the rows, which hold the same."""

_REPEAT = "near copy of an earlier generation"
_NOTHING = "an empty list"
_UNASKED = "rows of which the recipe makes nothing"


@dataclass(frozen=True)
class _Reject:
    task: Task
    emit: Emit
    problem: Problem


class Copies(Protocol):
    """Tells the copies among what was written; `Repeats` is one."""

    def among(self, groups: Sequence[Sequence[str]]) -> np.ndarray:
        """Whether each group of texts holds a copy of an earlier one, (groups,) bool."""


class Rows:
    """Turns tasks into outcomes, in their order. Each task, or each part of it, plans one row per entry of `emits`.

    `written` are the keys of queries that earlier rows have written.
    """

    def __init__(self, plan: Plan, *, stand_in: bool, repeats: Copies | None, written: Collection[int] = ()) -> None:
        self._plan = plan
        self._recipe: PromptRecipe = plan.recipe
        self._tail = "/fake" if stand_in else ""
        self._repeats = repeats
        self._emits = {emit.role: emit for emit in plan.recipe.emits}
        self._more = _more_fields(plan.recipe)
        self._queries = _Queries(written)

    def outcome(self, tasks: Sequence[Task]) -> Outcome:
        """What `tasks` yielded: every planned row is kept or rejected with its reason."""
        kept: list[tuple[Task, Emitted]] = []
        rejects: list[_Reject] = []
        units = [unit for task in tasks for unit in task.units]
        planned = added = unasked = 0
        for of_input in _by_input(zip(units, self._are_repeats(units), strict=True)):
            own: list[tuple[Task, Emitted]] = []
            for unit, is_repeat in of_input:
                written, refused = self._rows_of(unit, is_repeat)
                own += [(unit, row) for row in written]
                rejects += refused
                count = len(self._planned(unit))
                planned += count
                unasked += not count
                added += len(written) + len(refused) - count
            kept += _by_query(own)
        return Outcome(
            self._kept(kept, tasks[0]),
            self._rejected(rejects, tasks[0]),
            rows_in=planned,
            added=added,
            notes=_notes(tasks) + Counter({_UNASKED: unasked}),
        )

    def _are_repeats(self, units: Sequence[Task]) -> Sequence[bool]:
        """Whether each wrote what an earlier one did; one that yields nothing anyway is held against nobody."""
        if self._repeats is None or not self._recipe.duplicates:
            return [False] * len(units)
        found: list[bool] = self._repeats.among([compared(unit, self._recipe) for unit in units]).tolist()
        return found

    def _rows_of(self, task: Task, is_repeat: bool) -> tuple[list[Emitted], list[_Reject]]:
        """The rows of a task, and a reject for every planned one that is not among them."""
        planned = self._planned(task)
        if is_repeat:
            return [], [self._reject(task, emit, _REPEAT) for emit in planned]
        missing = ((emit, self._missing(task, emit)) for emit in planned)
        rejects = [_Reject(task, emit, problem) for emit, problem in missing if problem]
        try:
            rows = self._plan.renderer.emit(task.item, task.values)
        except RowProblem as problem:
            return [], [self._reject(task, emit, str(problem)) for emit in planned]
        settled = {row.role for row in rows} | {reject.emit.role for reject in rejects}
        rejects += [self._reject(task, emit, _NOTHING) for emit in planned if emit.role not in settled]
        written: list[Emitted] = []
        self._queries.begin(task)
        for row in rows:
            reason = row.reason if isinstance(row, Refused) else self._queries.refuse(task, row)
            if reason:
                rejects.append(self._reject(task, self._emits[row.role], reason))
            elif isinstance(row, Emitted):
                written.append(row)
        return written, rejects

    def _planned(self, task: Task) -> Sequence[Emit]:
        """The rows that a task is to give."""
        return self._plan.renderer.planned(task.item, task.values, task.skipped)

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
        is_grouped = recipe.reads == "groups"
        source = _candidates(kept, like) if is_grouped else _inputs([task for task, _ in kept], like)
        if recipe.reads == "documents":
            columns["source_id"] = source["id"].cast(pa.string())
        columns["template"] = pa.array([prompt.template if prompt else None for prompt in prompts], pa.string())
        columns["exemplars"] = pa.array([prompt.exemplars if prompt else None for prompt in prompts], pa.string())
        columns["sample"] = pa.array([task.item.sample for task, _ in kept], pa.int32())
        for draw in recipe.draws:
            columns[draw.name] = pa.array([task.item.draws[draw.name].name for task, _ in kept], pa.string())
        fields = {name: field.type for name, field in self._more.items()}
        for name, kind in fields.items():
            columns[name] = pa.array([row.more.get(name) for row in emitted], kind)
        read = {column.name for column in recipe.inputs} | _READ.get(recipe.reads, {"id", "title", "text"})
        scales = self._more
        given = dict.fromkeys(source.column_names)
        for name in given:
            if is_grouped and name not in columns and (name == "rank" or name.startswith(SCORE_PREFIX)):
                # A query and a document that stood together before: what was measured of them holds still.
                columns[name] = source[name]
                scales = {**scales, name: source.schema.field(name)}
            elif name not in read:
                columns[free_name(name, columns, given)] = source[name]
        return _with_scales(as_pairs(pa.table(columns)), scales)

    def _rejected(self, rejects: Sequence[_Reject], like: Task) -> pa.Table:
        rows = _inputs([reject.task for reject in rejects], like)
        if self._recipe.reads == "groups":
            rows = rows.select([each.name for each in self._recipe.inputs if each.name in rows.column_names])
        columns = {name: rows[name] for name in rows.column_names}
        ours = {
            "sample": pa.array([reject.task.item.sample for reject in rejects], pa.int32()),
            "role": pa.array([reject.emit.role for reject in rejects], pa.string()),
            "step": pa.array([_step_of(reject) for reject in rejects], pa.string()),
            "template": pa.array([_template_of(reject) for reject in rejects], pa.string()),
            **{draw.name: _drawn(rejects, draw.name) for draw in self._recipe.draws},
            "reply": pa.array([reject.problem.reply for reject in rejects], pa.string()),
        }
        if self._recipe.expand:
            ours["part"] = pa.array([_shown_part(reject.task.item.part) for reject in rejects], pa.string())
        for name, column in ours.items():
            columns[free_name(name, columns, rows.column_names)] = column
        reasons = pa.array([reject.problem.reason for reject in rejects], pa.string())
        return with_reason(pa.table(columns), reasons)


def _more_fields(recipe: PromptRecipe) -> dict[str, pa.Field]:
    """The further columns of all roles together, texts and numbers."""
    found: dict[str, pa.Field] = {}
    for emit in recipe.emits:
        found |= {name: pa.field(name, pa.string()) for name in emit.columns}
        for name in emit.numbers:
            is_score = name.startswith(SCORE_PREFIX)
            plain = pa.field(name, pa.float32())
            found[name] = score_field(name.removeprefix(SCORE_PREFIX), "probability") if is_score else plain
    return found


def _with_scales(table: pa.Table, fields: Mapping[str, pa.Field]) -> pa.Table:
    """The table, whose score columns say what their numbers are."""
    for name, field in fields.items():
        if field.metadata:
            at = table.column_names.index(name)
            table = table.set_column(at, pa.field(name, table[name].type, metadata=field.metadata), table[name])
    return table


def is_same_input(one: Task, other: Task) -> bool:
    """Whether two tasks are about one input row."""
    return one.row.table is other.row.table and one.row.at == other.row.at


def _by_input(units: Iterable[tuple[Task, bool]]) -> Iterator[list[tuple[Task, bool]]]:
    """The units of one input row after the other: its samples, and the parts of these, stand together."""
    for _, group in groupby(units, key=lambda unit: (id(unit[0].row.table), unit[0].row.at)):
        yield list(group)


def _by_query(rows: list[tuple[Task, Emitted]]) -> list[tuple[Task, Emitted]]:
    """The rows of an input row with those of one query together, each query where it first stood."""
    first: dict[str, int] = {}
    for _, row in rows:
        first.setdefault(row.query_id, len(first))
    return rows if len(first) == 1 else sorted(rows, key=lambda each: first[each[1].query_id])


def _notes(tasks: Iterable[Task]) -> Counter[str]:
    """What else happened on the way to the rows."""
    notes: Counter[str] = Counter()
    for task in tasks:
        if task.failed_to_expand:
            notes[LOST] += 1
        for each in (task, *(task.parts or ())):
            if each.again:
                notes["replies asked for again"] += each.again
            if each.cut_short:
                notes["chains of rounds that ended early"] += each.cut_short
            for repair, count in (each.repaired or {}).items():
                notes[f"replies repaired: {repair}"] += count
    return notes


def _step_of(reject: _Reject) -> str | None:
    """The step whose reply is shown."""
    if reject.problem.reply is None:
        return None
    return reject.problem.step or reject.emit.step


def _template_of(reject: _Reject) -> str | None:
    """The template of the prompt that was to give the row; None where it was never made."""
    prompt = reject.task.prompts.get(reject.emit.step)
    return prompt.template if prompt else None


def _drawn(rejects: Sequence[_Reject], name: str) -> pa.Array:
    """What was drawn for each row; null where that part of the work was never begun."""
    drawn = [reject.task.item.draws.get(name) for reject in rejects]
    return pa.array([value.name if value else None for value in drawn], pa.string())


def _shown_part(part: Any) -> str | None:
    return part if part is None or isinstance(part, str) else json.dumps(part, ensure_ascii=False)


class _Queries:
    """The queries and documents so far. Rows of one query stand together in a pair set, each document once."""

    def __init__(self, written: Collection[int]) -> None:
        self._earlier: set[int] = set(written)
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
        if copies_query(row):
            return "copies the query"
        key = text_key(row.document)
        if (row.query_id, key) in self._documents:
            return "copies another text of its query"
        query = query_key(task, row)
        if query in self._earlier:
            return "its query was written before"
        if query is not None:
            self._own.add(query)
        self._documents.add((row.query_id, key))
        return None


def copies_query(row: Emitted) -> bool:
    """Whether the document of a row is its query."""
    return text_key(row.document) == text_key(row.query)


def query_key(task: Task, row: Emitted) -> int | None:
    """A 64-bit key of the query that a row writes, None where it is the input's own."""
    if row.query_id in (task.item.row.get("id"), task.item.row.get("query_id")):
        return None
    return int.from_bytes(blake2b(row.query_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def compared(unit: Task, recipe: PromptRecipe) -> list[str]:
    """The texts of a unit that are held against earlier ones; none where it yields nothing anyway."""
    fields = recipe.duplicates.fields if recipe.duplicates else ()
    return [] if unit.problems else list(_texts(unit, fields))


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


def _candidates(kept: Sequence[tuple[Task, Emitted]], like: Task) -> pa.Table:
    """The row of the pair set for each row that has its query and document; nothing but nulls for the others."""
    parts = [like.row.table.slice(0, 0)]
    for _, run in groupby(kept, key=lambda each: id(each[0].row.table)):
        some = list(run)
        places = [
            task.row.at + row.candidate
            if row.candidate is not None and row.query_id == task.item.row.get("query_id")
            else None
            for task, row in some
        ]
        parts.append(some[0][0].row.table.take(pa.array(places, pa.int64())))
    return pa.concat_tables(parts)
