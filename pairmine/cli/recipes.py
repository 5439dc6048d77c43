"""`pairmine recipes`: list recipes, or show one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pairmine.llm.recipes.recipe import PromptRecipe
    from pairmine.recipes import Recipe


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="The recipe to show: a name, or a .yaml file of your own.", show_default=False)
    ] = None,
    needs: Annotated[
        str | None, typer.Option("--needs", help="Only recipes that need this: none, encoder or llm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the recipes of 'derive' and 'generate', or show one: what it reads, draws, asks and emits, an example.

    A file of your own is checked as 'generate' would check it.

    \b
      pairmine recipes queries
    """
    from pairmine.cli.run import choice, say
    from pairmine.errors import PairmineError
    from pairmine.recipes import all_recipes, any_recipe, prompt_recipes

    if needs:
        choice("--needs", needs, ("none", "encoder", "llm"))
    if name and needs:
        raise PairmineError(f"--needs has no effect with the name of a recipe, {name}; leave one of them out")
    listed: list[Recipe | PromptRecipe] = [any_recipe(name)] if name else [*all_recipes(), *prompt_recipes()]
    found = [recipe for recipe in listed if needs in (None, recipe.needs)]
    if not found:
        say(f"no recipe needs {needs} yet")
    elif as_json:
        from pairmine.cli.recipe_pages import as_dict

        sys.stdout.write(json.dumps([as_dict(recipe) for recipe in found], indent=2, ensure_ascii=False) + "\n")
    elif name:
        from pairmine.cli.recipe_pages import page

        sys.stdout.write(page(found[0]))
    else:
        sys.stdout.write(_list(found))


def _list(recipes: list[Recipe | PromptRecipe]) -> str:
    width = max(len(recipe.name) for recipe in recipes)
    groups: dict[str, list[str]] = {}
    for recipe in recipes:
        groups.setdefault(recipe.group, []).append(f"  {recipe.name:<{width}}  {recipe.summary}")
    return "\n".join(f"{group}\n" + "\n".join(lines) for group, lines in groups.items()) + "\n"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(recipes)
