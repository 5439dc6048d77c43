"""`pairmine recipes`: list recipes, or show one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pairmine.recipes import Recipe


def recipes(
    name: Annotated[str | None, typer.Argument(help="The recipe to show.", show_default=False)] = None,
    needs: Annotated[
        str | None, typer.Option("--needs", help="Only recipes that need this: none, encoder or llm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the recipes of 'derive', or show one: inputs, defaults, paper, an example.

    \b
      pairmine recipes ict
    """
    from pairmine.cli.run import choice, say
    from pairmine.recipes import all_recipes, find_recipe

    if needs:
        choice("--needs", needs, ("none", "encoder", "llm"))
    found = [find_recipe(name)] if name else [r for r in all_recipes() if needs in (None, r.needs)]
    if not found:
        say(f"no recipe needs {needs} yet")
        return
    if as_json:
        sys.stdout.write(json.dumps([_as_dict(recipe) for recipe in found], indent=2, ensure_ascii=False) + "\n")
    elif name:
        sys.stdout.write(_page(found[0]))
    else:
        width = max((len(recipe.name) for recipe in found), default=0)
        groups: dict[str, list[str]] = {}
        for recipe in found:
            groups.setdefault(recipe.group, []).append(f"  {recipe.name:<{width}}  {recipe.summary}")
        sys.stdout.write("\n".join(f"{group}\n" + "\n".join(lines) for group, lines in groups.items()) + "\n")


def _page(recipe: Recipe) -> str:
    lines = [
        f"{recipe.name}: {recipe.summary}",
        "",
        f"paper:  {recipe.paper}",
        f"needs:  {recipe.needs}",
        f"reads:  {recipe.reads}",
    ]
    if recipe.inputs:
        lines += ["", "columns it reads"]
        lines += [
            f"  {each.name:<14} {each.meaning}" + (f" (also: {', '.join(each.aliases)})" if each.aliases else "")
            for each in recipe.inputs
        ]
    if recipe.options:
        lines += ["", "options"]
        lines += [
            f"  --{each.name.replace('_', '-'):<16} {each.meaning} [default: {each.default}]" for each in recipe.options
        ]
    return "\n".join([*lines, "", "example", f"  {recipe.example}", ""])


def _as_dict(recipe: Recipe) -> dict[str, object]:
    return {
        "name": recipe.name,
        "group": recipe.group,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "needs": recipe.needs,
        "reads": recipe.reads,
        "inputs": [{"name": i.name, "meaning": i.meaning, "aliases": list(i.aliases)} for i in recipe.inputs],
        "options": [{"name": o.name, "default": o.default, "meaning": o.meaning} for o in recipe.options],
        "example": recipe.example,
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(recipes)
