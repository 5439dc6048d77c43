"""The options of `pairmine stats`."""

from __future__ import annotations

from typing import Annotated

import typer

_TOKENS = "Tokens"
_LLM = "Rows that an LLM wrote"
_ENCODER = "With an encoder"

OF_ENCODER = ("sample", "positive_from", "among", "against", "query_prompt", "document_prompt", "device", "seed")
"""Parameters that do nothing without --encoder; --workers goes with them."""

Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="st:MODEL|DIR|o200k_base",
        help="Count lengths in tokens too, special ones included.",
        rich_help_panel=_TOKENS,
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", min=1, help="Tell how many texts have more tokens than this.", rich_help_panel=_TOKENS
    ),
]
Rejects = Annotated[
    list[str] | None,
    typer.Option(
        "--rejects",
        metavar="FILE",
        help="Rejected rows that 'generate' or a later command wrote: counts them by recipe and drawn value. "
        "Repeat it for several.",
        rich_help_panel=_LLM,
    ),
]
Ledger = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="PATH",
        help="The ledger of paid replies: tokens and dollars by recipe.",
        rich_help_panel=_LLM,
    ),
]
Price = Annotated[
    str | None,
    typer.Option(
        "--price",
        metavar="IN,OUT",
        help="Dollars per million tokens, as 0.15,0.60, in place of list prices.",
        rich_help_panel=_LLM,
    ),
]
EncoderOf = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="st:MODEL",
        help="Also what this bi-encoder makes of the pairs.",
        rich_help_panel=_ENCODER,
    ),
]
Sample = Annotated[
    int,
    typer.Option(
        "--sample",
        min=0,
        help="Embed the texts of so many queries, a seeded sample; 0 for all.",
        rich_help_panel=_ENCODER,
    ),
]
PositiveFrom = Annotated[
    float,
    typer.Option(
        "--positive-from", help="A row without a label is positive from this grade up.", rich_help_panel=_ENCODER
    ),
]
Among = Annotated[
    str,
    typer.Option(
        "--rank-among",
        metavar="documents|texts",
        help="Rank positives among all documents, or the texts of both sides, as EvalRank does for sentences.",
        rich_help_panel=_ENCODER,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="PAIRS",
        help="The pair set that PAIRS is a paraphrase of: show how far the encoder's numbers move.",
        rich_help_panel=_ENCODER,
    ),
]
QueryPrompt = Annotated[
    str | None, typer.Option("--query-prompt", help="Text before every query.", rich_help_panel=_ENCODER)
]
DocumentPrompt = Annotated[
    str | None, typer.Option("--document-prompt", help="The same for documents.", rich_help_panel=_ENCODER)
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps.", rich_help_panel=_ENCODER)]
