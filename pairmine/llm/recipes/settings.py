"""What a user sets for a run of a recipe: attributes narrowed, variables, the number of exemplars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pairmine.errors import PairmineError
from pairmine.llm.recipes.parts import MOST_IN_GROUP
from pairmine.llm.recipes.recipe import MOST_ROUNDS, Choice, Draw, PromptRecipe, Setting
from pairmine.llm.recipes.yaml_nodes import nearest, span


def narrowed(recipe: PromptRecipe, wanted: Mapping[str, Sequence[str]]) -> list[Draw]:
    """The recipe's draws, with those choices left that are `wanted`; raises PairmineError for one that it lacks."""
    names = [draw.name for draw in recipe.draws]
    for name in wanted:
        if name not in names:
            has = nearest(name, names) if names else "it draws nothing"
            raise PairmineError(f"recipe {recipe.name} draws no {name}; {has}")
    return [_narrow(draw, wanted[draw.name]) if draw.name in wanted else draw for draw in recipe.draws]


def _narrow(draw: Draw, wanted: Sequence[str]) -> Draw:
    known = {choice.name: choice for choice in draw.choices}
    for name in wanted:
        _check_characters(f"--draw {draw.name}", name)
    names = list(dict.fromkeys(name.strip() for name in wanted))
    if not all(names) or not names:
        raise PairmineError(f"--draw {draw.name}= names nothing; {nearest('', known)}")
    if unknown := [name for name in names if name not in known and not draw.is_open]:
        raise PairmineError(f"--draw {draw.name}={unknown[0]}: no such choice; {nearest(unknown[0], known)}")
    return replace(draw, choices=tuple(known.get(name) or Choice(name, name) for name in names))


def read_options(recipe: PromptRecipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables by name: what was `given`, else the default; raises PairmineError for what cannot be."""
    known = {option.name: option for option in recipe.options}
    for name in given:
        if name not in known:
            has = nearest(name, known) if known else "it has none"
            raise PairmineError(f"recipe {recipe.name} has no variable {name} to --set; {has}")
    return {name: _read_option(known[name], given[name]) if name in given else known[name].default for name in known}


def _read_option(option: Setting, value: Any) -> Any:
    """The value as the kind that its default is; a text stands for what it spells."""
    kind = type(option.default)
    _check_characters(f"--set {option.name}", value)
    if option.choices and value not in option.choices:
        raise PairmineError(f"--set {option.name}={value}: no such choice; {nearest(str(value), option.choices)}")
    if kind is str or (type(value) is kind):
        return str(value) if kind is str else _within(option, value)
    text = str(value).strip()
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if kind is int:
            return _within(option, int(text))
        if kind is float and math.isfinite(float(text)):
            return _within(option, float(text))
    except ValueError:
        pass
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
    raise PairmineError(f"--set {option.name}={value}: give {wanted}")


def _within(option: Setting, value: Any) -> Any:
    """The value, which lies between the option's limits."""
    is_low = option.low is not None and value < option.low
    if is_low or (option.high is not None and value > option.high):
        kind = "a whole number" if type(option.default) is int else "a number"
        raise PairmineError(f"--set {option.name}={value}: give {kind} {span(option.low, option.high)}")
    return value


def check_counts(recipe: PromptRecipe, options: Mapping[str, Any]) -> None:
    """Raise PairmineError for a variable that says how often something is done and cannot be such a number."""
    counts = [(step.rounds, MOST_ROUNDS, f"the rounds of step {step.name}") for step in recipe.steps]
    counts += [(recipe.most, MOST_IN_GROUP, "the rows of a group")]
    counts += [(draw.several, len(draw.choices), f"the choices that draw {draw.name} takes") for draw in recipe.draws]
    for count, most, what in counts:
        if count and count.option and not 1 <= count.of(options) <= most:
            raise PairmineError(f"--set {count.option}={count.of(options)}: {what} are from 1 to {most:,}")


def _check_characters(flag: str, value: Any) -> None:
    """Raise PairmineError for half characters, which a terminal in another encoding gives, and no server takes."""
    try:
        str(value).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(value)[max(error.start - 10, 0) : error.end + 10].encode("utf-8", "replace").decode()
        raise PairmineError(f"{flag}={shown}: is not UTF-8 text; give it in UTF-8") from None


def check_shots(recipe: PromptRecipe, shots: int | None) -> None:
    """Raise PairmineError unless every step with exemplars has so many."""
    if shots is None:
        return
    pools = {step.name: len(step.exemplars) for step in recipe.steps if step.exemplars}
    if not pools:
        raise PairmineError(f"--shots {shots} has no effect: recipe {recipe.name} has no exemplars; leave it out")
    if shots < 0:
        raise PairmineError(f"--shots {shots}: give 0 or more")
    for name, size in pools.items():
        if shots > size:
            raise PairmineError(f"--shots {shots}: step {name} of recipe {recipe.name} has {size}; ask for no more")
