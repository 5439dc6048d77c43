"""One row and one sample on its way through the steps of a recipe: what it asks next, and what became of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pairmine.backends.fake_llm import SERVED_BY as STAND_IN
from pairmine.llm.asking import Asker
from pairmine.llm.calls import Call, Failure, Reply, Sampling, TypicalCall
from pairmine.llm.recipes.recipe import ALL_ROUNDS, PromptRecipe, Step
from pairmine.llm.recipes.rendering import Item, Prompt, Renderer, RowProblem
from pairmine.llm.recipes.templates import lookup
from pairmine.llm.replies.checks import FieldChecks
from pairmine.llm.replies.reader import ReplyReader

_IDS = ("id", "query_id", "doc_id")
_REPEATED = "repeated part"
_BLANK = "blank part"
_NO_PARTS = "an empty list"

WINDOW = 8192
"""Tasks that may be ahead of the oldest unfinished one: a slow reply must not hold up the others."""


@dataclass(frozen=True)
class Problem:
    """Why a step has no value: the reason that is counted, the reply that was no good if there was one, and the step
    that it arose in, which may be one that this one waits for."""

    reason: str
    reply: str | None = None
    failed: bool = False
    step: str = ""


@dataclass(frozen=True)
class Asking:
    """A step made ready: how its calls are sampled, how its replies are read and checked, how often it is asked."""

    step: Step
    sampling: Sampling
    reader: ReplyReader
    checks: FieldChecks | None
    rounds: int | None


class Plan:
    """A recipe made ready for a model: everything about it that does not depend on the row.

    `sampling` are fields of `calls.Sampling` that take the place of the recipe's own. An invalid
    reply is asked for again up to `retries_invalid` times. A `rehearses` plan is for estimates: every reply that
    fits the schema is good, and where the stand-in made parts up, one stands for all of them.
    """

    def __init__(
        self,
        recipe: PromptRecipe,
        renderer: Renderer,
        *,
        model: str,
        retries_invalid: int = 1,
        sampling: Mapping[str, Any] | None = None,
        rehearses: bool = False,
    ) -> None:
        self.recipe = recipe
        self.renderer = renderer
        self.model = model
        self.retries_invalid = retries_invalid
        self.rehearses = rehearses
        self.steps = {
            step.name: Asking(
                step,
                _with(step.sampling, sampling or {}),
                ReplyReader(step.schema),
                None if rehearses else FieldChecks(step.checks),
                step.rounds.of(renderer.options) if step.rounds else None,
            )
            for step in recipe.steps
        }
        self.expanded = recipe.expand.step if recipe.expand else None
        self.parts_expected = max(recipe.expand.expected.of(renderer.options), 1) if recipe.expand else 1
        self.expanded_field = _field_of(recipe)
        self.first = [step for step in recipe.steps if not step.after][: 1 if self.expanded else None]
        self.needed = [column.name for column in recipe.inputs if column.required and column.name not in _IDS]
        self.is_conditional = any(step.only for step in recipe.steps)
        self.most = recipe.most.of(renderer.options) if recipe.most else None

    def checked_at_once(self, name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of a reply whose checks are about the whole of it: those of a list of parts are for each part."""
        if name != self.expanded or self.expanded_field is None:
            return value
        return {field: said for field, said in value.items() if field != self.expanded_field}


def _field_of(recipe: PromptRecipe) -> str | None:
    """The field that is the list of parts itself, where `each` says no more than its name."""
    path = lookup("{{ " + recipe.expand.each + " }}") if recipe.expand else None
    return path[1] if path and len(path) == 2 and path[0] == "reply" else None


def _with(sampling: Sampling, given: Mapping[str, Any]) -> Sampling:
    extra = {**sampling.extra, **given.get("extra", {})}
    return replace(sampling, **{name: value for name, value in given.items() if name != "extra"}, extra=extra)


@dataclass
class Row:
    """Where a task's input stands: the table it came in and its place there."""

    table: Any
    at: int


Asked = tuple["Task", str]
"""Who asks: a task, and the step that it asks about."""


class Task:
    """A row and a sample, or a part of it. `start` and `take` give the calls to be made; it is done when none is open.

    `values` holds each answered step's value and `replies` its text, `problems` why the others have none,
    `prompts` what was asked last; `repaired` counts by kind the repairs that replies needed, `again` the replies that
    were asked for anew, `cut_short` the steps that did not get through all their rounds, `skipped` those that are not
    asked at all. `parts` are tasks of their own, once the reply is there that tells them.
    """

    __slots__ = (
        "_earlier",
        "_open",
        "_plan",
        "_told",
        "again",
        "cut_short",
        "is_typical",
        "item",
        "parts",
        "problems",
        "prompts",
        "repaired",
        "replies",
        "row",
        "skipped",
        "values",
    )

    def __init__(self, plan: Plan, item: Item, row: Row, *, whole: Task | None = None) -> None:
        self._plan = plan
        # A part counts its open calls with those of the whole, which is done when all its parts are.
        self._open: list[int] = [0] if whole is None else whole._open
        self._earlier: dict[str, list[dict[str, Any]]] | None = None
        self.item = item
        self.row = row
        self.values: dict[str, Any] = dict(whole.values) if whole else {}
        self.replies: dict[str, str] = dict(whole.replies) if whole else {}
        self.problems: dict[str, Problem] = {}
        self.prompts: dict[str, Prompt] = dict(whole.prompts) if whole else {}
        self.parts: list[Task] | None = None
        self._told: Sequence[tuple[Any, str | None]] = ()
        self.repaired: Counter[str] | None = None
        self.again = 0
        self.cut_short = 0
        self.is_typical = False
        self.skipped: frozenset[str] = frozenset()

    @property
    def is_done(self) -> bool:
        """Whether nothing is asked any more; a part is done with the whole."""
        return not self._open[0]

    @property
    def parts_expected(self) -> int:
        """How many parts it may have, before a reply tells."""
        return self._plan.parts_expected

    @property
    def failed_to_expand(self) -> bool:
        """Whether it has no parts because a call failed: how many rows are missing for that is not known."""
        problem = self.problems.get(self._plan.expanded) if self._plan.expanded else None
        return self.parts is None and problem is not None and problem.failed

    @property
    def units(self) -> list[Task]:
        """What rows are made of: the parts, or the task itself where it has none."""
        return self.parts or [self]

    def start(self) -> list[tuple[Asked, Call]]:
        """The steps that wait for no other, and their calls; none where the row has nothing to ask about."""
        blank = next((name for name in self._plan.needed if _is_blank(self.item.row[name])), None)
        if blank is not None:
            self._give_up(Problem(f"no {blank}"))
            return []
        refusal = self._plan.renderer.refusal(self.item)
        if refusal is not None:
            self._give_up(Problem(refusal))
            return []
        if self._plan.is_conditional and not self._plan.expanded:
            return self._next()
        return [self._ask(step) for step in self._plan.first]

    def take(self, name: str, call: Call, answer: Reply | Failure) -> list[tuple[Asked, Call]]:
        """Note the answer to a step's call; returns the steps to be asked now, with their calls."""
        self._open[0] -= 1
        asking = self._plan.steps[name]
        problem = self._read(asking, answer)
        if problem is not None and not problem.failed and call.attempt < self._plan.retries_invalid:
            self.again += 1
            self._open[0] += 1
            return [((self, name), replace(call, attempt=call.attempt + 1, key=b""))]
        if asking.rounds is not None:
            further = self._next_round(asking, problem)
            if further is not None:
                return further
        elif problem is not None:
            self.problems[name] = problem
        if name == self._plan.expanded:
            is_made_up = isinstance(answer, Reply) and answer.served_by == STAND_IN
            return self._expand(self._plan.rehearses and is_made_up)
        return self._next()

    def _read(self, asking: Asking, answer: Reply | Failure) -> Problem | None:
        """None and a value in `values`, or what is wrong with the answer."""
        if isinstance(answer, Failure):
            return Problem(f"failed: {answer.reason}", failed=True, step=asking.step.name)
        name, text = asking.step.name, _whole_characters(answer.text)
        parsed = asking.reader.read(answer)
        if parsed.value is None:
            return Problem(parsed.problem or "unreadable", text, step=name)
        reason = self._fault(asking, self._plan.checked_at_once(name, parsed.value))
        if reason is None and name == self._plan.expanded:
            reason = self._tell_parts(asking, parsed.value)
        if reason is not None:
            return Problem(reason, text, step=name)
        self.values[name] = parsed.value
        self.replies[name] = text
        if parsed.repairs:
            self.repaired = (self.repaired or Counter()) + Counter(parsed.repairs)
        return None

    def _fault(self, asking: Asking, value: Mapping[str, Any]) -> str | None:
        """What the step's checks have against a value."""
        if asking.checks is None:
            return None
        messages = self.prompts[asking.step.name].messages
        return asking.checks.problem(value, self._read_so_far(asking.step), self.item.words, messages)

    def _tell_parts(self, asking: Asking, value: Mapping[str, Any]) -> str | None:
        """Note the parts of a reply, each with what is against it; why the reply is no good where none stands."""
        try:
            parts = self._plan.renderer.parts(self.item, value)
        except RowProblem as problem:
            return str(problem)
        field = self._plan.expanded_field
        self._told = [(part, self._fault(asking, {field: [part]}) if field else None) for part in parts]
        if any(fault is None for _, fault in self._told):
            return None
        return self._told[0][1] if self._told else _NO_PARTS

    def _read_so_far(self, step: Step) -> Mapping[str, Any]:
        """What a reply may well share words with: the row and its part, and the replies that the step was shown."""
        item = self.item
        earlier = (self._earlier or {}).get(step.name)
        if not step.after and item.part is None and not earlier:
            return item.row
        seen = {f"{name}.{field}": text for name in step.after for field, text in self.values[name].items()}
        if item.part is not None:
            seen["part"] = item.part
            if isinstance(item.part, dict):
                seen |= {f"part.{key}": text for key, text in item.part.items()}
        if earlier:
            seen |= {"previous": earlier, **{f"previous.{field}": text for field, text in earlier[-1].items()}}
        return {**item.row, **seen}

    def _next_round(self, asking: Asking, problem: Problem | None) -> list[tuple[Asked, Call]] | None:
        """The call of the step's next round. None where there is none any more: the last one is done, or one gave
        nothing, and then those before it are the step's value."""
        name, rounds = asking.step.name, asking.rounds or 1
        if self._earlier is None:
            self._earlier = {}
        earlier = self._earlier.setdefault(name, [])
        if problem is None:
            earlier.append(self.values.pop(name))
            if len(earlier) < rounds:
                try:
                    return [self._ask(asking.step)]
                except RowProblem as error:
                    problem = Problem(str(error), step=name)
        # A call that failed may succeed in the next run: a chain that it cuts is not finished, it failed.
        if problem is not None and (problem.failed or not earlier):
            self.problems[name] = problem
            return None
        self.cut_short += problem is not None
        self.values[name] = {**earlier[-1], ALL_ROUNDS: earlier}
        return None

    def _expand(self, is_typical: bool) -> list[tuple[Asked, Call]]:
        """The parts that the reply tells, and their first calls. Of parts that say the same, the first one is asked."""
        name = self._plan.expanded or ""
        if name in self.problems:
            self._give_up(self.problems[name])
            return []
        self.is_typical = is_typical
        self.parts = []
        calls: list[tuple[Asked, Call]] = []
        seen: set[bytes] = set()
        for part, fault in self._told[:1] if is_typical else self._told:
            calls += self._part(part, fault, seen)
        self._told = ()
        return calls

    def _part(self, part: Any, fault: str | None, seen: set[bytes]) -> list[tuple[Asked, Call]]:
        assert self.parts is not None
        item = self._plan.renderer.part_of(self.item, part)
        task = Task(self._plan, item or self.item._replace(part=part), self.row, whole=self)
        task.is_typical = self.is_typical
        self.parts.append(task)
        name = self._plan.expanded or ""
        if item is None or fault is not None or item.content in seen:
            problem = Problem(fault, step=name) if fault else Problem(_BLANK if item is None else _REPEATED)
            task._give_up(replace(problem, reply=self.replies.get(name)))
            return []
        seen.add(item.content)
        return task._next()

    def _give_up(self, problem: Problem) -> None:
        """No step has a value, for one reason, but for those that would not have been asked anyway."""
        for step in self._plan.recipe.steps if self._plan.is_conditional else ():
            with suppress(RowProblem):
                self._skips(step)
        self.values = {}
        self.problems = {step.name: problem for step in self._plan.recipe.steps if step.name not in self.skipped}

    def _skips(self, step: Step) -> bool:
        """Note a step that is not to be asked, as far as can be told yet. Raises RowProblem where it never can be."""
        if step.name not in self.skipped:
            has_only = step.only is not None and all(name in self.values for name in step.only_after)
            if self.skipped.isdisjoint((*step.after, *step.only_after)) and not (
                has_only and not self._plan.renderer.asks(self.item, step.name, self.values)
            ):
                return False
            self.skipped |= {step.name}
        return True

    def _next(self) -> list[tuple[Asked, Call]]:
        """The steps whose own questions can be put now; one that never can be gets the reason."""
        calls = []
        for step in self._plan.recipe.steps:
            if step.name in self.prompts or step.name in self.problems:
                continue
            try:
                if self._plan.is_conditional and self._skips(step):
                    continue
                before = (*step.after, *step.only_after)
                missing = next((name for name in before if name in self.problems), None)
                if missing is not None:
                    self.problems[step.name] = self.problems[missing]
                elif all(name in self.values for name in before):
                    calls.append(self._ask(step))
            except RowProblem as problem:
                self.problems[step.name] = Problem(str(problem), step=step.name)
        return calls

    def _ask(self, step: Step) -> tuple[Asked, Call]:
        name = step.name
        previous = self._earlier.get(name, ()) if self._earlier else ()
        prompt = self._plan.renderer.prompt(self.item, name, self.values, previous)
        self.prompts[name] = prompt
        self._open[0] += 1
        asking = self._plan.steps[name]
        make = TypicalCall if self.is_typical else Call
        return (self, name), make(self._plan.model, prompt.messages, asking.sampling, step.schema, self.item.sample)


def _is_blank(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _whole_characters(text: str) -> str:
    """`text` with half characters replaced: no table can hold them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class _Ahead:
    """How much is under way: a task counts as many parts as it has, and before it has any, as many as others had."""

    def __init__(self) -> None:
        self._waiting = 0
        self._units = 0
        self._expanded = 0
        self._parts = 0
        self._expected = 1

    @property
    def size(self) -> float:
        """Tasks, or parts of them."""
        return self._units + self._waiting * (self._parts / self._expanded if self._expanded else self._expected)

    def admit(self, task: Task) -> None:
        """A task is begun."""
        self._waiting += 1
        self._expected = task.parts_expected

    def expand(self, count: int) -> None:
        """A task has so many parts."""
        self._waiting -= 1
        self._units += count
        self._expanded += 1
        self._parts += count

    def release(self, task: Task) -> None:
        """A task is done with, and needs no memory any more."""
        if task.parts is None:
            self._waiting -= 1
        else:
            self._units -= len(task.parts)


def in_order(
    tasks: Iterator[Task],
    asker: Asker[Asked],
    *,
    window: int = WINDOW,
    advance: Callable[[int], object] = lambda _: None,
) -> Iterator[Task]:
    """The tasks done, in their order, whatever order the replies come in; at most `window` are under way.

    A task with parts counts as many as it has. `advance` is told of tasks as they are done. Raises what
    `Asker.turn` raises.
    """
    under_way: deque[Task] = deque()
    ahead = _Ahead()
    is_last = False
    finished = 0
    while under_way or not is_last:
        while not is_last and asker.wants_more and (ahead.size < window or not under_way):
            task = next(tasks, None)
            if task is None:
                is_last = True
                break
            under_way.append(task)
            ahead.admit(task)
            for asked, call in task.start():
                asker.put(call, asked)
            finished += task.is_done
        for (task, name), call, answer in asker.turn():
            was_whole = task.parts is None
            for asked, further in task.take(name, call, answer):
                asker.put(further, asked)
            if was_whole and task.parts is not None:
                ahead.expand(len(task.parts))
            finished += task.is_done
        if finished:
            advance(finished)
            finished = 0
        while under_way and under_way[0].is_done:
            task = under_way.popleft()
            ahead.release(task)
            yield task
