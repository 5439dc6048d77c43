"""docs/recipes.md is what `pairmine recipes --markdown` writes.

After a change that is meant: `pairmine recipes --markdown > docs/recipes.md`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pairmine.cli.recipe_docs import markdown
from pairmine.papers import SYSTEMS
from pairmine.recipes import catalogue

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == markdown(catalogue(), SYSTEMS)


def test_every_recipe_has_an_entry_that_the_table_of_papers_can_link_to() -> None:
    text = PAGE.read_text("utf-8")
    entries = re.findall(r"^### (.+)$", text, flags=re.M)
    assert sorted(entries) == sorted(each.name for each in catalogue())
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(entries)


def test_every_system_is_in_the_table() -> None:
    text = PAGE.read_text("utf-8")
    assert [system.name for system in SYSTEMS if f"| {system.name} |" not in text] == []
