"""The options of `pairmine check`."""

from __future__ import annotations

from typing import Annotated

import typer

_TESTS, _AGAINST, _FIX = "Tests", "Other files", "Mending"

Source = Annotated[
    str | None,
    typer.Argument(metavar="PAIRS", help="A pair set, or a trainer's file or folder; - is a pipe.", show_default=False),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="NAME", help="Run this test alone.", rich_help_panel=_TESTS)
]
Skip = Annotated[
    list[str] | None, typer.Option("--skip", metavar="NAME", help="Leave this test out.", rich_help_panel=_TESTS)
]
Most = Annotated[
    list[str] | None,
    typer.Option(
        "--max",
        metavar="NAME=X",
        help="Fail where this test finds more: a share as 0.01, or a count as 25. An error passes up to it.",
        rich_help_panel=_TESTS,
    ),
]
List = Annotated[bool, typer.Option("--list", help="List the tests and end.", rich_help_panel=_TESTS)]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="DIR|st:MODEL",
        help="Count tokens with its tokenizer.json; characters without it.",
        rich_help_panel=_TESTS,
    ),
]
MaxTokens = Annotated[
    int,
    typer.Option("--max-tokens", min=1, help="The most tokens that the model reads.", rich_help_panel=_TESTS),
]
Corpus = Annotated[
    str | None,
    typer.Option(
        "--corpus",
        metavar="CORPUS",
        help="Every doc_id must be there, with the same text.",
        rich_help_panel=_AGAINST,
    ),
]
Queries = Annotated[
    str | None,
    typer.Option("--queries", metavar="FILE", help="The same for every query_id.", rich_help_panel=_AGAINST),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="EVAL",
        help="An evaluation set: no query and no positive may be in it.",
        rich_help_panel=_AGAINST,
    ),
]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--splits",
        metavar="PAIRS",
        help="Another split of this set; without it the column split tells.",
        rich_help_panel=_AGAINST,
    ),
]
Form = Annotated[
    str | None,
    typer.Option("--form", metavar="NAME", help="Read PAIRS as this format of 'pairmine export --list'."),
]
Fix = Annotated[
    bool,
    typer.Option("--fix", help="Write the pairs to -o without the rows that are safe to drop.", rich_help_panel=_FIX),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="OUT", help="File to write with --fix, by ending.", rich_help_panel=_FIX),
]
AsJson = Annotated[bool, typer.Option("--json", help="Everything, as JSON.")]
Junit = Annotated[
    str | None, typer.Option("--junit", metavar="FILE", help="Also write a test case per test there, as XML.")
]
Examples = Annotated[int, typer.Option("--examples", min=0, max=20, help="Rows to show of each fault.")]
