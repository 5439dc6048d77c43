"""The options of commands that embed at a server, each written once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pairmine.backends.encoders import EmbeddingServer

_PANEL = "Server of openai: models"

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help="A compatible server, as http://localhost:8000/v1; else $OPENAI_BASE_URL.",
        rich_help_panel=_PANEL,
    ),
]
ApiKeyFile = Annotated[
    str | None,
    typer.Option("--api-key-file", metavar="FILE", help="Holds the key; else $OPENAI_API_KEY.", rich_help_panel=_PANEL),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", min=1, help="Most requests at once; adapts below it.", rich_help_panel=_PANEL),
]
Rpm = Annotated[int | None, typer.Option("--rpm", min=1, help="Most requests per minute.", rich_help_panel=_PANEL)]
Tpm = Annotated[int | None, typer.Option("--tpm", min=1, help="Most tokens per minute.", rich_help_panel=_PANEL)]
RequestArg = Annotated[
    list[str] | None,
    typer.Option(
        "--request-arg",
        metavar="KEY=VALUE",
        help="A further field of every request, as truncate_prompt_tokens=512; query:KEY=VALUE and "
        "document:KEY=VALUE are for one side.",
        rich_help_panel=_PANEL,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="FOLDER",
        help="The model's tokenizer.json, to count and cut texts by.",
        rich_help_panel=_PANEL,
    ),
]
NAMES = ("base_url", "api_key_file", "concurrency", "rpm", "tpm", "request_arg", "tokenizer")


def server_of(given: dict[str, Any]) -> EmbeddingServer:
    """The server that the options with `NAMES` say."""
    from pairmine.backends.encoders import EmbeddingServer
    from pairmine.cli.llm_options import assignments

    return EmbeddingServer(
        base_url=given["base_url"],
        key_file=given["api_key_file"],
        concurrency=given["concurrency"],
        rpm=given["rpm"],
        tpm=given["tpm"],
        request_args=assignments("--request-arg", given["request_arg"] or []),
        tokenizer=given["tokenizer"],
    )
