"""Runs every command block of README.md and docs/, and says where a page shows something else than is printed.

    python docs/regenerate.py                        # all pages; exit 1 where one differs
    python docs/regenerate.py docs/mine.md           # this one
    python docs/regenerate.py --write docs/mine.md   # take what is printed now into the page

docs/help.md and docs/recipes.md are written as a whole, out of the commands themselves. How blocks are written stands
in docs/_blocks.py.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _blocks import ROOT, PageError, difference, rewritten, run_page

DOCS = ROOT / "docs"
WIDTH = 100
_HELP_HEAD = """# Help texts

What `pairmine COMMAND --help` prints on a terminal of 100 columns. The recipes of `derive` have help texts of their own
(`pairmine derive ict --help`); all of them are in [Recipes](recipes.md), with more than that. Written by
`python docs/regenerate.py --write docs/help.md`; do not edit it here.
"""
_SHOWN_ELSEWHERE = ["pairmine", "derive"]


def pages() -> list[Path]:
    """Every page that there is: the README and those of docs/, but for the changelog, which shows nothing."""
    return [ROOT / "README.md", *sorted(page for page in DOCS.glob("*.md") if not page.is_symlink())]


def help_page() -> str:
    """docs/help.md: the help text of every command."""
    import typer.main

    from pairmine.cli.main import app

    os.environ["COLUMNS"] = str(WIDTH)
    root = typer.main.get_command(app)
    parts = [_HELP_HEAD]
    for words, text in _help_texts(root, ["pairmine"], None):
        title = " ".join(words[1:]) or "pairmine"
        parts.append(f"{'#' * max(2, len(words))} {title}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def _help_texts(command: Any, words: list[str], parent: Any) -> Iterator[tuple[list[str], str]]:
    """The words and the help of a command, and after it of those below it."""
    context = command.make_context(words[-1], [], parent=parent, resilient_parsing=True)
    yield words, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if hasattr(command, "list_commands") and words != _SHOWN_ELSEWHERE:
        for name in command.list_commands(context):
            yield from _help_texts(command.get_command(context, name), [*words, name], context)


def recipes_page() -> str:
    """docs/recipes.md: every recipe, as `pairmine recipes --markdown` prints them."""
    from pairmine.cli.recipe_docs import markdown
    from pairmine.papers import SYSTEMS
    from pairmine.recipes import catalogue

    return markdown(catalogue(), SYSTEMS)


GENERATED = {"help.md": help_page, "recipes.md": recipes_page}


def differences(page: Path, *, write: bool = False) -> list[str]:
    """Where the page shows something else than is printed now; with `write` it is made to show that."""
    name = page.resolve().relative_to(ROOT).as_posix()
    text = page.read_text("utf-8") if page.exists() else ""
    if make := GENERATED.get(page.name):
        now = make()
        found = ["\n".join(difflib.unified_diff(text.splitlines(), now.splitlines(), name, "now", lineterm="", n=1))]
        found = [each for each in found if each]
    else:
        results = run_page(text)
        found = [difference(name, ran) for ran in results if not ran.agrees]
        now = rewritten(text, results)
    if write and found:
        page.write_text(now, "utf-8")
    return found


def main() -> int:
    """Compare or rewrite the pages named, or all; 1 where one differed or could not be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="take what is printed now into the pages")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="README.md and docs/*.md by default")
    given = parser.parse_args()
    worst = 0
    for page in given.pages or pages():
        try:
            found = differences(page, write=given.write)
        except PageError as error:
            found, worst = [f"{page}: {error}"], 1
        for each in found:
            print(each)
        state = "as shown" if not found else "rewritten" if given.write else f"{len(found)} differ"
        print(f"{page}: {state}", flush=True)
        worst = max(worst, 1 if found and not given.write else 0)
    return worst


if __name__ == "__main__":
    sys.exit(main())
