"""The options of every command that runs a bi-encoder, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

_PANEL = "Encoder"

QueryPrompt = Annotated[
    str | None,
    typer.Option(
        "--query-prompt",
        help="Text before every query, or the name of one of the model's prompts.",
        rich_help_panel=_PANEL,
    ),
]
DocumentPrompt = Annotated[
    str | None, typer.Option("--document-prompt", help="The same for documents.", rich_help_panel=_PANEL)
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=1,
        help="Tokens of a text that are read; the model's own by default.",
        rich_help_panel=_PANEL,
    ),
]
TruncateDim = Annotated[
    int | None,
    typer.Option(
        "--truncate-dim",
        min=1,
        help="Keep the first so many dimensions (Matryoshka models); the model's own by default.",
        rich_help_panel=_PANEL,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Numbers that the model's matrix products are made in: float32, bfloat16, float16; auto takes bfloat16 or "
        "float16 where the machine has it. Sums, norms and pooling are float32 always.",
        rich_help_panel=_PANEL,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        help="What runs the model: torch, onnx, onnx-int8 (fast on a CPU, a little less exact), openvino. "
        "The model's own onnx/ or openvino/ file is taken where it has one, else one is made.",
        rich_help_panel=_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE[,...]",
        help="cpu, cuda, cuda:1, mps; several as cuda:0,cuda:1 or cuda:*; chosen by itself otherwise.",
        rich_help_panel=_PANEL,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run the Python code that comes with a model, where it needs some. Read it first.",
        rich_help_panel=_PANEL,
    ),
]
