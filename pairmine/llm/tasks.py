"""One row and one sample on its way through the steps of a recipe: what it asks next, and what became of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pairmine.llm.asking import Asker
from pairmine.llm.calls import Call, Failure, Reply, Sampling
from pairmine.llm.recipes.recipe import PromptRecipe, Step
from pairmine.llm.recipes.rendering import Item, Prompt, Renderer, RowProblem
from pairmine.llm.replies.checks import FieldChecks
from pairmine.llm.replies.reader import ReplyReader

_IDS = ("id", "query_id", "doc_id")

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
    """A step made ready: how its calls are sampled, how its replies are read and checked."""

    step: Step
    sampling: Sampling
    reader: ReplyReader
    checks: FieldChecks | None


class Plan:
    """A recipe made ready for a model: everything about it that does not depend on the row.

    `sampling` are fields of `calls.Sampling` that take the place of the recipe's own. An invalid
    reply is asked for again up to `retries_invalid` times. Without `checks` every reply that fits the
    schema is good, for a rehearsal.
    """

    def __init__(
        self,
        recipe: PromptRecipe,
        renderer: Renderer,
        *,
        model: str,
        retries_invalid: int = 1,
        sampling: Mapping[str, Any] | None = None,
        checks: bool = True,
    ) -> None:
        self.recipe = recipe
        self.renderer = renderer
        self.model = model
        self.retries_invalid = retries_invalid
        self.steps = {
            step.name: Asking(
                step,
                _with(step.sampling, sampling or {}),
                ReplyReader(step.schema),
                FieldChecks(step.checks) if checks else None,
            )
            for step in recipe.steps
        }
        self.first = [step for step in recipe.steps if not step.after]
        self.needed = [column.name for column in recipe.inputs if column.required and column.name not in _IDS]


def _with(sampling: Sampling, given: Mapping[str, Any]) -> Sampling:
    extra = {**sampling.extra, **given.get("extra", {})}
    return replace(sampling, **{name: value for name, value in given.items() if name != "extra"}, extra=extra)


@dataclass
class Row:
    """Where a task's input stands: the table it came in and its place there."""

    table: Any
    at: int


class Task:
    """A row and a sample. `start` and `take` give the calls to be made; it is done when none is open.

    `values` holds each answered step's value and `replies` its text, `problems` why the others have none,
    `prompts` what was asked; `repaired` counts by kind the repairs that replies needed, `again` the replies that
    were asked for anew.
    """

    __slots__ = ("_open", "_plan", "again", "item", "problems", "prompts", "repaired", "replies", "row", "values")

    def __init__(self, plan: Plan, item: Item, row: Row) -> None:
        self._plan = plan
        self._open = 0
        self.item = item
        self.row = row
        self.values: dict[str, Any] = {}
        self.replies: dict[str, str] = {}
        self.problems: dict[str, Problem] = {}
        self.prompts: dict[str, Prompt] = {}
        self.repaired: Counter[str] | None = None
        self.again = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing is asked any more."""
        return not self._open

    def start(self) -> list[tuple[str, Call]]:
        """The steps that wait for no other, and their calls; none where the row has nothing to ask about."""
        blank = next((name for name in self._plan.needed if _is_blank(self.item.row[name])), None)
        if blank is not None:
            self.problems = {step.name: Problem(f"no {blank}") for step in self._plan.recipe.steps}
            return []
        return [self._ask(step) for step in self._plan.first]

    def take(self, name: str, call: Call, answer: Reply | Failure) -> list[tuple[str, Call]]:
        """Note the answer to a step's call; returns the steps to be asked now, with their calls."""
        self._open -= 1
        asking = self._plan.steps[name]
        problem = self._read(asking, answer)
        if problem is not None:
            if not problem.failed and call.attempt < self._plan.retries_invalid:
                self.again += 1
                self._open += 1
                return [(name, replace(call, attempt=call.attempt + 1, key=b""))]
            self.problems[name] = problem
        return self._next()

    def _read(self, asking: Asking, answer: Reply | Failure) -> Problem | None:
        """None and a value in `values`, or what is wrong with the answer."""
        if isinstance(answer, Failure):
            return Problem(f"failed: {answer.reason}", failed=True, step=asking.step.name)
        name, text = asking.step.name, _whole_characters(answer.text)
        parsed = asking.reader.read(answer)
        if parsed.value is None:
            return Problem(parsed.problem or "unreadable", text, step=name)
        if asking.checks is not None:
            messages = self.prompts[name].messages
            reason = asking.checks.problem(parsed.value, self._read_so_far(asking.step), self.item.words, messages)
            if reason is not None:
                return Problem(reason, text, step=name)
        self.values[name] = parsed.value
        self.replies[name] = text
        if parsed.repairs:
            self.repaired = (self.repaired or Counter()) + Counter(parsed.repairs)
        return None

    def _read_so_far(self, step: Step) -> Mapping[str, Any]:
        """What a reply may well share words with: the row, and the replies that the step was shown."""
        if not step.after:
            return self.item.row
        earlier = {f"{name}.{field}": text for name in step.after for field, text in self.values[name].items()}
        return {**self.item.row, **earlier}

    def _next(self) -> list[tuple[str, Call]]:
        """Later steps whose own questions can be put now; one that never can be gets the reason."""
        calls = []
        for step in self._plan.recipe.steps:
            if step.name in self.prompts or step.name in self.problems or not step.after:
                continue
            missing = next((name for name in step.after if name in self.problems), None)
            if missing is not None:
                self.problems[step.name] = self.problems[missing]
            elif all(name in self.values for name in step.after):
                try:
                    calls.append(self._ask(step))
                except RowProblem as problem:
                    self.problems[step.name] = Problem(str(problem), step=step.name)
        return calls

    def _ask(self, step: Step) -> tuple[str, Call]:
        prompt = self._plan.renderer.prompt(self.item, step.name, self.values)
        self.prompts[step.name] = prompt
        self._open += 1
        asking = self._plan.steps[step.name]
        return step.name, Call(self._plan.model, prompt.messages, asking.sampling, step.schema, self.item.sample)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _whole_characters(text: str) -> str:
    """`text` with half characters replaced: no table can hold them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def in_order(
    tasks: Iterator[Task],
    asker: Asker[tuple[Task, str]],
    *,
    window: int = WINDOW,
    advance: Callable[[int], object] = lambda _: None,
) -> Iterator[Task]:
    """The tasks done, in their order, whatever order the replies come in; at most `window` are under way.

    `advance` is told of tasks as they are done. Raises what `Asker.turn` raises.
    """
    under_way: deque[Task] = deque()
    is_last = False
    finished = 0
    while under_way or not is_last:
        while not is_last and asker.wants_more and len(under_way) < window:
            task = next(tasks, None)
            if task is None:
                is_last = True
                break
            under_way.append(task)
            for name, call in task.start():
                asker.put(call, (task, name))
            finished += task.is_done
        for (task, name), call, answer in asker.turn():
            for following, further in task.take(name, call, answer):
                asker.put(further, (task, following))
            finished += task.is_done
        if finished:
            advance(finished)
            finished = 0
        while under_way and under_way[0].is_done:
            yield under_way.popleft()
