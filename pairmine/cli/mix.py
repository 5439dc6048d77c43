"""`pairmine mix`: several pair sets as one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run, choice, without_effect
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.backends.encoders import Encoder
    from pairmine.files.source import PairSource

_NAMED = re.compile(r"^([A-Za-z0-9][\w.+-]*)=(.+)$", re.S)
_BATCHES = "Batches"


def mix(
    context: typer.Context,
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIRS...", help="Pair sets, each FILE or NAME=FILE; a name goes into the column source."
        ),
    ],
    output: shared.Output,
    alpha: Annotated[
        float,
        typer.Option("--alpha", help="A source of n queries gets a share of n^ALPHA: 1 as they are, 0 equal numbers."),
    ] = 0.5,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            help="How many to draw in all; without it, as many as keep the shares and repeat nothing.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="What is counted: queries or pairs.")] = "queries",
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", metavar="NAME=X", help="Multiply the share of a source by X; several times for several."
        ),
    ] = None,
    repeat: Annotated[
        bool,
        typer.Option("--repeat", help="With --size: a source may give more than it has; queries come again as ID#2."),
    ] = False,
    batches: Annotated[
        str,
        typer.Option(
            "--batches",
            help="Plan batches of one source each, or of one cluster of queries within a source each: "
            "none, source, clusters.",
            rich_help_panel=_BATCHES,
        ),
    ] = "none",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Queries in a batch.", rich_help_panel=_BATCHES)
    ] = None,
    full_batches: Annotated[
        bool,
        typer.Option(
            "--full-batches", help="Reject what fills no batch, rather than keep a short one.", rich_help_panel=_BATCHES
        ),
    ] = False,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", metavar="st:MODEL", help="Embeds the queries for clusters.", rich_help_panel=_BATCHES
        ),
    ] = None,
    clusters: Annotated[
        int,
        typer.Option(
            "--clusters",
            min=1,
            help="Clusters in a source, and never more than it has full batches.",
            rich_help_panel=_BATCHES,
        ),
    ] = 10,
    seed: shared.Seed = 0,
    workers: shared.Workers = 0,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Blend pair sets in shares that temper their sizes, and plan batches.

    Small sources would drown in large ones, so each gets a share of n^0.5 (GTE, Li et al. 2023, arXiv 2308.03281).
    Queries are drawn with all their rows; an id that two sources use is renamed NAME/ID. Batches of one source
    or of one cluster make in-batch negatives harder (Merrick 2024, arXiv 2407.18887, with 10 clusters).
    All of NLI and definition pairs together train better than either (Tsukagoshi et al. 2022): the first example.

    \b
      pairmine mix nli.parquet definitions.parquet --alpha 1 -o train.parquet
      pairmine mix nli.parquet faq=pairs.jsonl --size 10000 --batches source --batch-size 64 -o train.parquet
      pairmine mix nli.parquet faq=pairs.jsonl --batches clusters --batch-size 32 \\
        --encoder st:all-MiniLM-L6-v2 -o train.parquet
    """
    from pairmine.stages.mix import BATCHES, Source, Weighing, check_settings
    from pairmine.stages.mix import mix as mix_sources

    choice("--batches", batches, BATCHES)
    named = [_named(each) for each in pairs]
    weighing = Weighing(alpha, size, by, _weights(weight or []), repeat)
    _check(context, batches, batch_size, encoder)
    names = [name for name, _ in named]
    check_settings(names, weighing, batches, batch_size, full_batches, encoder is not None, clusters)
    with Run(context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet) as run:
        opened = _open_sources(run, named)
        model = _open_encoder(run, encoder, workers)
        sources = [Source(name, source.read()) for name, source in opened]
        outcome = mix_sources(
            sources,
            weighing,
            seed=seed,
            batches=batches,
            batch_size=batch_size,
            full=full_batches,
            encoder=model,
            clusters=clusters,
            advance=run.begin("queries"),
        )
        run.detail(sources=names)
        run.write(outcome)


def _named(text: str) -> tuple[str, str]:
    """The name and the path of a source: NAME=PATH, else a path's last part without its endings."""
    from pathlib import Path

    found = None if Path(text).exists() else _NAMED.match(text)
    if found:
        return found[1], found[2]
    if text == "-":
        return "input", text
    last = text.rstrip("/").rpartition("/")[2]
    return last.partition(".")[0] or last or text, text


def _weights(given: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for each in given:
        name, equals, value = each.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise PairmineError(f"--weight {each}: write NAME=NUMBER, as in nli=2")
    return weights


def _check(context: typer.Context, batches: str, batch_size: int | None, encoder: str | None) -> None:
    from pairmine.backends.specs import locate, parse_spec

    if batches == "none":
        without_effect(context, "with --batches none", "batch_size", "full_batches")
    if batches != "clusters":
        without_effect(context, f"with --batches {batches}", "encoder", "clusters")
    elif encoder is None:
        raise PairmineError("--batches clusters wants --encoder, as in st:all-MiniLM-L6-v2")
    if batches != "none" and batch_size is None:
        raise PairmineError(f"--batches {batches} wants --batch-size, the number of queries in a batch")
    if encoder is not None:
        spec = parse_spec(encoder, ("st", "fake"), "--encoder")
        if spec.kind == "st":
            locate(spec, "--encoder")


def _open_sources(run: Run, named: list[tuple[str, str]]) -> list[tuple[str, PairSource]]:
    from pairmine.files.source import open_pairs

    return [(name, run.reads(open_pairs(path, run.say), "pairs")) for name, path in named]


def _open_encoder(run: Run, encoder: str | None, workers: int) -> Encoder | None:
    if encoder is None:
        return None
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.models import use_threads
    from pairmine.backends.specs import parse_spec

    spec = parse_spec(encoder, ("st", "fake"), "--encoder")
    use_threads(workers)
    model = open_encoder(spec, flag="--encoder")
    run.detail(models=[{"name": spec.name, **model.facts}])
    return model


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mix)
