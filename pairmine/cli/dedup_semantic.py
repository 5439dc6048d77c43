"""The options of `dedup` for texts that say the same in other words, and the model that tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli.run import without_effect, written

if TYPE_CHECKING:
    from pairmine.backends.vectors import Vectors
    from pairmine.cli.run import Run
    from pairmine.stages.dedup.semantic import Meaning

_PANEL = "Texts that say the same"

Semantic = Annotated[
    str | None,
    typer.Option(
        "--semantic",
        metavar="SPEC",
        help="Of what is left also remove texts whose vector is near that of one that stays: st:MODEL. A text of other "
        "names or numbers can be as near; look at --rejects first.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Cosine = Annotated[
    float,
    typer.Option(
        "--cosine",
        min=0.0,
        max=1.0,
        help="Cosine from which two texts say the same (ours; models differ).",
        rich_help_panel=_PANEL,
    ),
]


def check(context: typer.Context) -> None:
    """Raise a PairmineError for an option without effect, and for pairs."""
    from pairmine.errors import PairmineError

    values = context.params
    if values["semantic"] is None:
        without_effect(context, "without --semantic", "cosine", "store")
        return
    if values["against_only"]:
        without_effect(context, "with --against-only", "semantic")
    if values["by"] == "pair":
        raise PairmineError("--semantic compares the texts of one side; pass --by query or --by document")
    for name in ("memory", "scratch", "index"):
        if written(context, name):
            raise PairmineError(
                f"--semantic holds the vectors of a whole corpus, so --{name} cannot go with it; "
                "run dedup without it first and --semantic on what that leaves"
            )


def open_meaning(run: Run, context: typer.Context) -> Meaning:
    """The model of --semantic; vectors come from --store and go there."""
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.models import use_threads
    from pairmine.backends.specs import locate, parse_spec
    from pairmine.cli.run import cores
    from pairmine.cli.store_options import embedded_line, open_store
    from pairmine.stages.dedup.semantic import Meaning

    values = context.params
    spec = parse_spec(values["semantic"], ("st", "fake"), "--semantic")
    if spec.kind == "st":
        locate(spec, "--semantic")
    use_threads(values["workers"])
    with run.progress.loading(spec):
        encoder = open_encoder(spec, flag="--semantic")
    store = open_store(values["store"], "float32", run.say)
    run.detail(models=[encoder.facts])

    def embed(texts: Sequence[str], side: str) -> Vectors:
        advance = run.begin("texts embedded", len(texts))
        found = store.vectors(encoder, texts, "query" if side == "query" else "document", advance)
        run.say(embedded_line(store))
        return found

    return Meaning(embed, values["cosine"], threads=cores(values["workers"]), begin=run.begin)
