"""`pairmine recipes`: list recipes, or show one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pairmine.llm.recipes.recipe import PromptRecipe
    from pairmine.methods import Method
    from pairmine.recipes import Recipe

_NEEDS = ("none", "encoder", "cross-encoder", "mlm", "translator", "llm")


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="The recipe to show: a name, or a .yaml file of your own.", show_default=False)
    ] = None,
    needs: Annotated[str | None, typer.Option("--needs", help=f"Only what needs this: {', '.join(_NEEDS)}.")] = None,
    paper: Annotated[
        str | None, typer.Option("--paper", help="Only the recipes of a system or paper, as SimCSE or 2104.08821.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="All of them as one page, with the papers.")] = False,
) -> None:
    """List the recipes, or show one: what it reads, draws, asks and gives, its paper, an example.

    To find the one that fits your data or the paper that you follow. Recipes of 'derive' and 'generate', and
    methods that are options of other commands. A file of your own is checked as 'generate' would check it.

    \b
      pairmine recipes
      pairmine recipes queries
      pairmine recipes --needs none
      pairmine recipes --paper SimCSE
    """
    from pairmine.cli.run import choice, say
    from pairmine.errors import PairmineError
    from pairmine.files.partial import STDOUT, write_atomically
    from pairmine.recipes import any_recipe, catalogue

    if needs:
        choice("--needs", needs, _NEEDS)
    for flag, value in (("--needs", needs), ("--paper", paper), ("--markdown", as_markdown)):
        if name and value:
            raise PairmineError(f"{flag} has no effect with the name of a recipe, {name}; leave one of them out")
    if as_markdown and (needs or paper or as_json):
        raise PairmineError("--markdown writes the whole page; leave the other options out")
    if as_markdown:
        from pairmine.cli.recipe_docs import markdown
        from pairmine.papers import SYSTEMS

        write_atomically(STDOUT, markdown(catalogue(), SYSTEMS))
        return
    listed: Sequence[Recipe | PromptRecipe | Method] = [any_recipe(name)] if name else catalogue()
    if paper:
        names = _of_paper(paper)
        listed = [recipe for recipe in listed if recipe.name in names]
    found = [recipe for recipe in listed if needs in (None, recipe.needs)]
    if not found and not as_json:
        say(f"no recipe{f' of {paper}' if paper else ''} needs {needs}")
    elif as_json:
        from pairmine.cli.recipe_pages import as_dict

        write_atomically(STDOUT, json.dumps([as_dict(recipe) for recipe in found], indent=2, ensure_ascii=False) + "\n")
    elif name:
        from pairmine.cli.recipe_pages import page

        write_atomically(STDOUT, page(found[0]))
    else:
        write_atomically(STDOUT, _list(found))


def _of_paper(paper: str) -> set[str]:
    """The names of the recipes of every system whose name or citation holds `paper`."""
    from difflib import get_close_matches

    from pairmine.errors import PairmineError
    from pairmine.papers import SYSTEMS, systems_of

    systems = systems_of(paper)
    if not systems:
        by_key = {each.name.casefold(): each.name for each in SYSTEMS}
        near = [by_key[key] for key in get_close_matches(paper.casefold(), by_key, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise PairmineError(f"--paper {paper}: no such system; {hint}'pairmine recipes --markdown' has their table")
    return {name for system in systems for name in system.recipes}


def _list(recipes: Sequence[Recipe | PromptRecipe | Method]) -> str:
    width = max(len(recipe.name) for recipe in recipes)
    groups: dict[str, list[str]] = {}
    for recipe in recipes:
        needs = "" if recipe.needs in ("none", "llm") else f" [{recipe.needs}]"
        groups.setdefault(recipe.group, []).append(f"  {recipe.name:<{width}}  {recipe.summary}{needs}")
    return "\n".join(f"{group}\n" + "\n".join(lines) for group, lines in groups.items()) + "\n"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(recipes)
