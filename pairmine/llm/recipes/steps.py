"""The steps of a recipe file: what is asked, with every template, exemplar and check tried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pairmine.llm.calls import Sampling
from pairmine.llm.recipes.parts import MOST_IN_POOL, in_place, read_choices, read_count, read_sampling, read_schema
from pairmine.llm.recipes.recipe import ALL_ROUNDS, MOST_ROUNDS, Choice, Count, Draw, Exemplar, Setting, Step, When
from pairmine.llm.recipes.templates import Scope, TemplateProblem, Use, compiled, mistakes, said, uses
from pairmine.llm.recipes.yaml_nodes import Node, nearest
from pairmine.recipes import Input

_TURNS = ("user", "assistant")


@dataclass
class Vocabulary:
    """What the templates of a recipe may read; `read` notes what they do read.

    `expanded` is the step whose reply is taken apart, if there is one: what comes after it sees a `part`.
    """

    inputs: tuple[Input, ...]
    options: tuple[Setting, ...]
    draws: tuple[Draw, ...]
    expanded: str | None = None
    read: set[tuple[str, ...]] = field(default_factory=set)

    @property
    def constant(self) -> dict[str, Scope | None]:
        """What is the same for all rows."""
        return {"options": dict.fromkeys(option.name for option in self.options)}

    @property
    def of_row(self) -> dict[str, Scope | None]:
        """What a template that is rendered for each row may read."""
        row = dict.fromkeys(column.name for column in self.inputs)
        return {**self.constant, "row": row, "draws": dict.fromkeys(draw.name for draw in self.draws)}

    @property
    def of_part(self) -> dict[str, Scope | None]:
        """What a template may read that is rendered for each part, or for each row where there are no parts."""
        return {**self.of_row, "part": None} if self.expanded else self.of_row

    def uses(self, node: Node, scope: Scope, *, expression: bool = False) -> tuple[Use, ...]:
        """What the template in `node` reads; raises PairmineError, with its line, for what is not in `scope`."""
        try:
            found = uses(node.text(), scope, expression=expression)
        except TemplateProblem as problem:
            raise node.error(str(problem), node.line_of(problem.line)) from None
        self.read.update(use.path[:2] for use in found)
        return found


def read_steps(node: Node, words: Vocabulary, *, is_score: bool = False) -> tuple[Step, ...]:
    """The steps; each may read the replies of those before it. For a score all of them are asked."""
    found: list[Step] = []
    for name, entry in node.entries().items():
        if not name.isidentifier():
            raise entry.error(f"{name!r} cannot name a step; use letters, digits and _", entry.key_line)
        found.append(_Reader(entry, words, found).step(name))
        if found[-1].only is not None and (is_score or name == words.expanded):
            why = "a score needs all steps" if is_score else "all other steps are asked about its parts"
            only = entry.entries()["only"]
            raise only.error(f"{why}; write only at the top of the file, with test and reason", only.key_line)
    return tuple(found)


def read_when(node: Node, words: Vocabulary, scope: Scope) -> When:
    """An expression over `scope` on which a row depends, and the reason why there is none where it does not hold."""
    parts = node.fields(("test", "reason"))
    words.uses(parts["test"], scope, expression=True)
    return When(parts["test"].text(), " ".join(parts["reason"].text().split()))


def replies_of(steps: Sequence[Step]) -> dict[str, Scope | None]:
    """`replies` as templates see it."""
    return {step.name: reply_of(step) for step in steps}


def reply_of(step: Step) -> dict[str, Scope | None]:
    """`reply` as templates see it: the fields, and of a step with rounds the list of all its replies."""
    return dict.fromkeys((*step.fields, ALL_ROUNDS) if step.rounds else step.fields)


def per_part(steps: Sequence[Step], expanded: str) -> set[str]:
    """The steps whose question is another one for every part."""
    found: set[str] = set()
    for step in steps:
        reads_part = any(path[0] == "part" for path in step.reads)
        if step.name != expanded and (reads_part or found.intersection(step.after)):
            found.add(step.name)
    return found


def steps_in(used: Iterable[Use]) -> tuple[str, ...]:
    """The steps whose replies are read."""
    return tuple(dict.fromkeys(use.path[1] for use in used if use.path[0] == "replies" and len(use.path) > 1))


class _Reader:
    """One step, with what its templates may read."""

    def __init__(self, node: Node, words: Vocabulary, before: Sequence[Step]) -> None:
        optional = ("system", "instructions", "exemplars", "schema", "sampling", "checks", "rounds", "only")
        self._node = node
        self._parts = node.fields(("prompt",), optional)
        self._words = words
        self._instructions = read_choices(self._parts["instructions"]) if "instructions" in self._parts else ()
        about: dict[str, Scope | None] = {"instruction": None, "instruction_name": None} if self._instructions else {}
        self._constant = {**words.constant, **about}
        self._before = before
        self._rounds = self._read_rounds()
        earlier: dict[str, Scope | None] = {"round": None, "previous": None} if self._rounds else {}
        row = words.of_part if before else words.of_row
        self._of_row = {**row, **about, "replies": replies_of(before), **earlier}

    def step(self, name: str) -> Step:
        parts = self._parts
        exemplars, shots, turns = self._exemplars()
        scope = {**self._of_row, "exemplars": None} if exemplars and turns is None else self._of_row
        used = self._words.uses(parts["prompt"], scope)
        all_used = (*used, *self._uses_of_system(), *self._uses_of_turns(exemplars))
        seen = {use.path[0] for use in all_used}
        schema = read_schema(parts["schema"]) if "schema" in parts else None
        self._check_pools_are_read(seen, turns)
        self._check_json_is_named(schema)
        self._check_rounds(seen, schema)
        step = Step(
            name=name,
            system=parts["system"].text() if "system" in parts else "",
            prompt=parts["prompt"].text(),
            instructions=self._instructions,
            exemplars=exemplars,
            shots=shots,
            turns=turns,
            schema=schema,
            sampling=read_sampling(parts["sampling"]) if "sampling" in parts else Sampling(),
            after=steps_in(used),
            rounds=self._rounds,
            only=parts["only"].text() if "only" in parts else None,
            only_after=self._only_after(),
            reads=frozenset(use.path[:2] for use in all_used),
            lines={"step": self._node.key_line, **{key: part.first_line for key, part in parts.items()}},
        )
        return replace(step, checks=self._checks(parts["checks"], step)) if "checks" in parts else step

    def _only_after(self) -> tuple[str, ...]:
        """The steps whose replies tell whether this one is asked."""
        if "only" not in self._parts:
            return ()
        scope = {**(self._words.of_part if self._before else self._words.of_row), "replies": replies_of(self._before)}
        return steps_in(self._words.uses(self._parts["only"], scope, expression=True))

    def _read_rounds(self) -> Count | None:
        if "rounds" not in self._parts:
            return None
        found = read_count(self._parts["rounds"], self._words.options, MOST_ROUNDS)
        self._words.read.add(("options", str(found.option)))
        return found

    def _check_rounds(self, seen: set[str], schema: Mapping[str, Any] | None) -> None:
        """Rounds that ask the same would get the same answer, since a call is never paid for twice."""
        if self._rounds is None:
            return
        if not seen & {"round", "previous"}:
            raise self._parts["rounds"].error("the prompt reads neither round nor previous, so that all ask the same")
        if schema and ALL_ROUNDS in schema["properties"]:
            raise self._parts["schema"].error(f"the replies of all rounds are called {ALL_ROUNDS}; rename that field")

    def _uses_of_system(self) -> tuple[Use, ...]:
        if "system" not in self._parts:
            return ()
        node = self._parts["system"]
        used = self._words.uses(node, {**self._of_row, "exemplars": None})
        for use in used:
            if use.path[0] not in self._constant:
                remedy = "but the system message is the same for all rows, so that servers can reuse it; use prompt"
                raise node.error(f"reads {use.path[0]}, {remedy}", node.line_of(use.line))
        return used

    def _exemplars(self) -> tuple[tuple[Exemplar, ...], int, tuple[str, str] | None]:
        """The pool, how many are drawn, and the templates of their turns."""
        node = self._parts.get("exemplars")
        if node is None:
            return (), 0, None
        parts = node.fields(("draw", "pool"), _TURNS)
        pool = tuple(
            Exemplar(name, {key: value.value() for key, value in entry.entries().items()}, entry.key_line)
            for name, entry in parts["pool"].named().items()
        )
        shots = parts["draw"].whole(0, MOST_IN_POOL)
        if shots > len(pool):
            raise parts["draw"].error(f"is {shots}, but the pool has {len(pool)}; draw fewer or write more")
        if ("user" in parts) != ("assistant" in parts):
            raise node.error("has one of user and assistant; give both, or neither and list exemplars in the prompt")
        return pool, shots, (parts["user"].text(), parts["assistant"].text()) if "user" in parts else None

    def _uses_of_turns(self, pool: Sequence[Exemplar]) -> tuple[Use, ...]:
        parts = self._parts["exemplars"].entries() if pool else {}
        scope = {**self._constant, "exemplar": dict.fromkeys(key for each in pool for key in each.fields)}
        used: tuple[Use, ...] = ()
        for side in _TURNS:
            if side in parts:
                used += self._words.uses(parts[side], scope)
                self._try_turn(parts[side], pool)
        return used

    def _try_turn(self, node: Node, pool: Sequence[Exemplar]) -> None:
        """Render a turn for every exemplar: only this tells which of its fields are missing."""
        render = compiled(node.text())
        options = {each.name: each.default for each in self._words.options}
        for exemplar in pool:
            for choice in self._instructions or (Choice("", ""),):
                about = {"instruction": choice.text, "instruction_name": choice.name}
                try:
                    text = render({"options": options, "exemplar": exemplar.fields, **about})
                except mistakes() as error:
                    raise node.error(_cannot_show(exemplar, choice, _plainly(error)), exemplar.line) from None
                if not text.strip():
                    raise node.error(_cannot_show(exemplar, choice, "the turn is blank"), exemplar.line)

    def _check_pools_are_read(self, seen: set[str], turns: tuple[str, str] | None) -> None:
        """A pool that no template reads is a mistake: its draws would be recorded and change nothing."""
        if self._instructions and not seen & {"instruction", "instruction_name"}:
            node = self._parts["instructions"]
            raise node.error("no template says {{ instruction }}; add it, or take them out", node.key_line)
        if "exemplars" in self._parts and turns is None and "exemplars" not in seen:
            node = self._parts["exemplars"]
            raise node.error("no template shows them; give them user and assistant turns", node.key_line)

    def _check_json_is_named(self, schema: Mapping[str, Any] | None) -> None:
        """A server that does not enforce a schema gives JSON only where the prompt asks for it."""
        words = "".join(self._parts[key].text() for key in ("system", "prompt") if key in self._parts)
        if schema and "json" not in words.casefold():
            remedy = "say in prompt or system what JSON to write, for servers that do not enforce a schema"
            raise self._parts["prompt"].error(f"there is a schema, but no word of JSON; {remedy}")

    def _checks(self, node: Node, step: Step) -> dict[str, dict[str, Any]]:
        """The checks of each field, their arguments tried out on the code that will carry them out."""
        from pairmine.llm.replies.checks import CHECKS, FieldChecks

        found: dict[str, dict[str, Any]] = {}
        for name, wanted in node.entries().items():
            if name not in step.fields:
                raise wanted.error(f"no field {name} in the reply; {nearest(name, step.fields)}", wanted.key_line)
            found[name] = {}
            for check, argument in wanted.entries().items():
                if check not in CHECKS:
                    raise argument.error(f"unknown check; {nearest(check, CHECKS)}", argument.key_line)
                value = found[name][check] = argument.value()
                self._check_refers(check, argument, value, step)
                in_place(partial(FieldChecks, {name: {check: value}}), argument)
        return found

    def _check_refers(self, check: str, node: Node, value: Any, step: Step) -> None:
        """What a check compares with is there: a column of the row, a field of the reply or a draw."""
        if check not in ("no_copy_of", "differs_from", "overlap_below", "language_of"):
            return
        given = value.get("field") if isinstance(value, dict) else value
        names = [*(column.name for column in self._words.inputs), *step.fields]
        names += [f"{each.name}.{key}" for each in self._before if each.name in step.after for key in each.fields]
        names += [f"previous.{key}" for key in step.fields] if step.rounds else []
        names += ["part"] if self._words.expanded and self._before else []
        if check == "language_of":
            names += [draw.name for draw in self._words.draws]
        for name in given if isinstance(given, list) else [given]:
            if isinstance(name, str) and name not in names and not ("part" in names and name.startswith("part.")):
                raise node.error(f"compares with {name}, which is not there; {nearest(name, names)}")
            self._words.read.add(("draws", str(name)))


def _cannot_show(exemplar: Exemplar, choice: Choice, why: str) -> str:
    with_choice = f" with instruction {choice.name}" if choice.name else ""
    return f"cannot show exemplar {exemplar.name}{with_choice}: {why}; give it the field, or change the turn"


def _plainly(error: Exception) -> str:
    return said(error).replace("'dict object' has no attribute", "no field")
