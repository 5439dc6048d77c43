"""The part of a recipe file that takes a reply apart: which step, which list, and how long it is likely to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairmine.llm.recipes.parts import read_count
from pairmine.llm.recipes.recipe import Count, Expand, Step
from pairmine.llm.recipes.steps import Vocabulary, per_part, reply_of
from pairmine.llm.recipes.templates import Use
from pairmine.llm.recipes.yaml_nodes import Node

MOST_PARTS = 10_000
_GUESS = 10


def expanded_step(parts: Mapping[str, Node]) -> str | None:
    """The name of the step that is expanded, which is the first one; None where none is."""
    if "expand" not in parts:
        return None
    node = parts["expand"].fields(("step", "each"), ("expect",))["step"]
    names = list(parts["steps"].entries())
    name = node.one_of(names)
    if name != names[0]:
        raise node.error(f"{name} must be the first step, since all others are asked about its parts; move it up")
    return name


def read_expand(node: Node, words: Vocabulary, steps: Sequence[Step]) -> Expand:
    """The expansion; its list and the steps that are asked for every part."""
    parts = node.entries()
    first, *others = steps
    used = words.uses(parts["each"], {**words.of_row, "reply": reply_of(first)}, expression=True)
    if first.rounds:
        raise node.error(
            f"step {first.name} is asked in rounds and cannot be taken apart; use --samples", node.key_line
        )
    asked_anew = per_part(steps, first.name)
    for step in others:
        if step.name not in asked_anew:
            why = "its prompt reads no part, nor the reply of a step that does, so that all parts ask the same"
            raise node.error(f"step {step.name}: {why}; let it read part", step.lines["step"])
    for draw in words.draws:
        if draw.is_per_part and ("draws", draw.name) in first.reads:
            raise node.error(
                f"step {first.name} reads draws.{draw.name}, which is drawn per part; draw it per row", node.key_line
            )
    expected, basis = _expected(parts.get("expect"), words, first, used)
    lines = {"expand": node.key_line, **{key: part.first_line for key, part in parts.items()}}
    return Expand(first.name, parts["each"].text(), expected, basis, lines)


def _expected(node: Node | None, words: Vocabulary, step: Step, used: Sequence[Use]) -> tuple[Count, str]:
    """How many parts a reply has, for estimates: what the file says, the schema, a variable, or a guess."""
    if node is not None:
        count = read_count(node, words.options, MOST_PARTS)
        words.read.add(("options", str(count.option)))
        return count, f"options.{count.option}" if count.option else "the recipe"
    if limits := _limits(step, used):
        return limits
    numbers = [each for each in words.options if ("options", each.name) in step.reads and type(each.default) is int]
    if len(numbers) == 1 and 1 <= int(numbers[0].default) <= MOST_PARTS:
        return Count(int(numbers[0].default), numbers[0].name), f"options.{numbers[0].name}"
    return Count(_GUESS), "a guess"


def _limits(step: Step, used: Sequence[Use]) -> tuple[Count, str] | None:
    """The length of the list that the schema asks for."""
    names = [use.path[1] for use in used if use.path[0] == "reply" and len(use.path) == 2]
    if len(names) != 1 or step.schema is None:
        return None
    field = step.schema["properties"].get(names[0], {})
    for key in ("maxItems", "minItems"):
        if 1 <= field.get(key, 0) <= MOST_PARTS:
            return Count(int(field[key])), f"{key} of {step.name}.{names[0]}"
    return None
