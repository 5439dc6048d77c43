"""What 'stats' knows of LLM rows beyond the rows themselves: from the lineage, and from files of rejected rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.stages.stats.templates import Templates

Entry = dict[str, Any]


def draws_of(recipe: str, entries: Sequence[Entry] = ()) -> list[str]:
    """The columns in which rows of a recipe say what was drawn; none for a recipe that is not at hand.

    A recipe of the user's own is read from the file that the lineage names, where it is still there.
    """
    from pairmine.llm.recipes.file import load_recipe, load_recipe_file

    files = [entry["options"].get("recipe_file") for entry in _written_by(recipe, entries)]
    try:
        found = load_recipe_file(files[-1]) if files and files[-1] else load_recipe(recipe)
    except PairmineError:
        return []
    return [draw.name for draw in found.draws] if found.name == recipe else []


def recipes_in(entries: Sequence[Entry]) -> list[str]:
    """The recipes that the runs of 'generate' in a lineage had."""
    return [
        each["name"] for entry in entries if entry.get("command") == "generate" for each in entry.get("prompts", [])
    ]


def add_planned(templates: dict[str, Any], entries: Sequence[Entry]) -> None:
    """Put into `Stats.to_dict()["templates"]` what the lineage says: rows planned, written, and rejected by reason."""
    for recipe, found in templates.items():
        counts = [entry["counts"] for entry in _written_by(recipe, entries)]
        if not counts:
            continue
        rejected: Counter[str] = Counter()
        for each in counts:
            rejected.update(each["rejected"])
        found["planned"] = sum(each["rows_in"] for each in counts)
        found["written"] = sum(each["rows_out"] for each in counts)
        # A file of rejects may hold a part of them, or what a later command rejected.
        known = found["rejected"]
        reasons = sorted({*known, *rejected})
        found["rejected"] = {reason: max(rejected[reason], known.get(reason, 0)) for reason in reasons}


def add_rejects(path: str, templates: Templates, say: Callable[[str], None]) -> None:
    """Count the rows of a file that --rejects of a command wrote.

    Raises PairmineError where no row tells of which recipe it is.
    """
    from pairmine.files.source import ANY, Source

    source = Source(path, ANY, {}, say)
    for raw in source.raw():
        names = raw.table.column_names
        if "reason" not in names:
            raise PairmineError(
                f'{path}: no "reason" (found: {", ".join(names)}); name a file that --rejects of a command wrote'
            )
        last = source.entries[-1] if source.entries else {}
        recipe = last["prompts"][0]["name"] if last.get("command") == "generate" else None
        if recipe is None and "origin" not in names:
            raise PairmineError(
                f"{path}: neither its lineage nor an origin says which recipe its rows are of; "
                "write rejects as .parquet, which keeps the lineage"
            )
        templates.add_rejects(raw.table, recipe)


def _written_by(recipe: str, entries: Sequence[Entry]) -> list[Entry]:
    """The runs of 'generate' with that recipe."""
    runs = [entry for entry in entries if entry.get("command") == "generate"]
    return [entry for entry in runs if any(each["name"] == recipe for each in entry.get("prompts", []))]
