"""The options of a cross-encoder, and what is told of the scores that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import typer

from pairmine.cli.run import Run
from pairmine.cli.store_options import NONE, embedded_line

if TYPE_CHECKING:
    from pairmine.backends.scorers import Scorer

Activation = Annotated[
    str,
    typer.Option(
        "--activation",
        help="With ce: what is made of the model's output: sigmoid gives a probability, whatever the model's own "
        "config says; none leaves the logit, which rules on relative margins refuse.",
        rich_help_panel="Encoder",
    ),
]


def folder_of(store: str) -> str | None:
    """The folder that --store names; None for "none"."""
    return None if store == NONE else store


@runtime_checkable
class Keeps(Protocol):
    """A scorer that keeps its scores in a folder; the pairs that its model was asked about, and those found there."""

    folder: Path
    asked: int
    reused: int


def report_kept(run: Run, scorer: Scorer) -> None:
    """Have `run` tell how much a model was asked and how much was found; nothing of a scorer that keeps nothing."""
    from pairmine.backends.scorers import BiEncoderScorer

    if isinstance(scorer, Keeps):
        run.sum_up(scored=scorer.asked, reused=scorer.reused)
        run.add_to_report([f"{scorer.asked:,} pairs scored, {scorer.reused:,} found in {scorer.folder}"])
    elif isinstance(scorer, BiEncoderScorer) and scorer.store is not None:
        run.sum_up(embedded=scorer.store.embedded, reused=scorer.store.reused)
        run.add_to_report([embedded_line(scorer.store)])
