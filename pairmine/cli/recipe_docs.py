"""All recipes as one Markdown page: from paper to recipe, then recipe by recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pairmine.llm.recipes.recipe import PromptRecipe
from pairmine.methods import Method
from pairmine.papers import System
from pairmine.recipes import Input, Option, Recipe

_INTRO = """# Recipes

Written by `pairmine recipes --markdown`; do not edit it here.

A recipe makes pairs, or chooses, weighs or scores them, in the way that a paper describes. `pairmine recipes`
lists them, `pairmine recipes NAME` shows one in full, `pairmine recipes --paper NAME` finds the one of a paper.
What comes from the paper and what is our own choice stands with each option. What a recipe *needs* beyond
its input: `none` runs on text alone, `encoder`, `mlm` and `translator` a model of that kind, `llm` a language
model that writes or judges, `cross-encoder` one that scores pairs.
"""


def markdown(listed: Sequence[Recipe | PromptRecipe | Method], systems: Iterable[System]) -> str:
    """The page, in the order of `listed`."""
    blocks = [_INTRO, "## From the paper to the recipe\n", _systems(listed, systems)]
    group = None
    for recipe in listed:
        if recipe.group != group:
            group = recipe.group
            blocks.append(f"## {group[:1].upper()}{group[1:]}\n")
        blocks.append(_entry(recipe))
    return "\n".join(blocks)


def command_of(recipe: Recipe | PromptRecipe | Method) -> str:
    """The command that carries the recipe out, without its input."""
    if isinstance(recipe, Method):
        return recipe.option
    if isinstance(recipe, Recipe):
        return f"pairmine derive {recipe.name}"
    return f"pairmine score --recipe {recipe.name}" if recipe.score else f"pairmine generate {recipe.name}"


def _systems(listed: Sequence[Recipe | PromptRecipe | Method], systems: Iterable[System]) -> str:
    by_name = {recipe.name: recipe for recipe in listed}
    lines = ["| System | Paper | Here |", "| --- | --- | --- |"]
    for system in systems:
        commands = {name: command_of(by_name[name]).replace("|", "\\|") for name in system.recipes}
        here = ", ".join(f"[`{command}`](#{name})" for name, command in commands.items())
        lines.append(f"| {system.name} | {system.paper} | {here} |")
    return "\n".join(lines) + "\n"


def _entry(recipe: Recipe | PromptRecipe | Method) -> str:
    lines = [f"### {recipe.name}", "", recipe.summary, ""]
    lines += [f"- command: `{command_of(recipe)}`", f"- needs: {recipe.needs}"]
    if recipe.paper:
        lines.append(f"- paper: {recipe.paper}")
    if isinstance(recipe, Method):
        lines.append(f"- defaults: {recipe.defaults}")
    else:
        lines.append(f"- reads: {recipe.reads}")
        lines += _inputs(recipe.inputs)
        lines += _options(recipe)
    return "\n".join([*lines, "", "```sh", recipe.example, "```", ""])


def _inputs(inputs: Sequence[Input]) -> list[str]:
    return [
        f"  - `{each.name}`: {each.meaning}"
        + ("" if each.required else " (optional)")
        + (f"; also called {', '.join(f'`{name}`' for name in each.aliases)}" if each.aliases else "")
        for each in inputs
    ]


def _options(recipe: Recipe | PromptRecipe) -> list[str]:
    if isinstance(recipe, Recipe):
        rows = {f"--{each.name}": f"{each.meaning}" for each in recipe.resources}
        rows |= {
            f"--{each.name}": f"{each.meaning}{_choices(each)}; default {_shown(each.default)}"
            for each in recipe.options
        }
    else:
        rows = {f"--set {each.name}=": f"{each.meaning}; default {_shown(each.default)}" for each in recipe.options}
        rows |= {
            f"--draw {each.name}=": f"{each.meaning}: {', '.join(choice.name for choice in each.choices)}"
            for each in recipe.draws
        }
    return _list("options", rows)


def _choices(option: Option) -> str:
    return f" ({', '.join(option.choices)})" if option.choices else ""


def _shown(value: object) -> str:
    return f"`{value}`" if value != "" else "nothing"


def _list(title: str, rows: Mapping[str, str]) -> list[str]:
    return [f"- {title}:", *(f"  - `{name}`: {meaning}" for name, meaning in rows.items())] if rows else []
