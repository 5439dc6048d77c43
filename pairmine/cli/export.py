"""`pairmine export`: training files for one trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run

if TYPE_CHECKING:
    from pairmine.stages.export import Survey, Target


def export(
    context: typer.Context,
    pairs: Annotated[
        str | None, typer.Argument(help="Decided pair set: a file, a folder of shards, or -.", show_default=False)
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT", help="File to write; - is standard output.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Trainer format; --list explains each.")] = None,
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives", min=1, help="Negatives per row; for st-ntuple the highest number that a query has."
        ),
    ] = None,
    positives: Annotated[
        str, typer.Option("--positives", help="each: rows for every positive; first: for a query's first one.")
    ] = "each",
    scores: Annotated[
        str | None,
        typer.Option("--scores", help="Score column to write beside the texts, where the format has a place for it."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Instruction to write into every row, where the format has one.")
    ] = None,
    sidecar: Annotated[
        str | None,
        typer.Option(
            "--sidecar",
            help="Ids, origins and scores of every training row; OUT.ids.parquet by default, 'none' for none.",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the formats.")] = False,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Write a pair set in the shape that a trainer reads: texts alone, in the trainer's column order.

    Trainers take columns by order and read ids as text, so ids, origins and scores go into a file
    of their own, row by row.

    \b
      pairmine export pairs.parquet --to st-ntuple -o train.parquet
    """
    import sys

    from pairmine.cli.run import choice
    from pairmine.errors import PairmineError
    from pairmine.files.source import open_pairs
    from pairmine.stages.export import TARGETS, find_target
    from pairmine.stages.export import export as reshape

    if list_:
        sys.stdout.write("".join(f"{t.name:<16} {t.summary} [{', '.join(t.formats)}]\n" for t in TARGETS.values()))
        return
    missing = [flag for flag, value in (("PAIRS", pairs), ("-o", output), ("--to", to)) if not value]
    if missing or pairs is None or output is None or to is None:
        raise PairmineError(f"export needs {', '.join(missing)}; see 'pairmine export --help' or --list")
    choice("--positives", positives, ("each", "first"))
    target = find_target(to)
    if output == "-" and kind is None and "arrow" not in target.formats:
        kind = target.formats[0]
    _check_format(target, output, kind)
    beside = None if sidecar == "none" else sidecar or (f"{output}.ids.parquet" if output != "-" else None)
    with Run(
        context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet, units=("pair rows", "training rows")
    ) as run:
        source = run.reads(open_pairs(pairs, run.say, replay=True), "pairs")
        survey = _survey(source)
        extra = run.open_extra("--sidecar", beside) if beside else None
        advance = run.begin("pair rows", survey.rows)
        written = 0
        for chunk in source.chunks():
            exported = reshape(
                chunk, to=to, negatives=negatives, survey=survey, positives=positives, scores=scores, prompt=prompt
            )
            run.write(exported.outcome)
            if extra is not None:
                extra.write(_moved(exported.sidecar, written))
            written += exported.outcome.kept.num_rows
            advance(chunk.num_rows)
        if not written:
            raise PairmineError(f"{pairs}: no training row for {to} comes out of it; {_why(target, survey)}")
        _hint(run, target, survey, negatives)


def _survey(source) -> Survey:  # type: ignore[no-untyped-def]
    from functools import reduce
    from operator import add

    from pairmine.stages.export import Survey, survey

    return reduce(add, (survey(chunk) for chunk in source.chunks()), Survey())


def _check_format(target: Target, output: str, kind: str | None) -> None:
    from pairmine.errors import PairmineError
    from pairmine.files.locations import format_of

    known = format_of(output)
    chosen = kind or (known[0] if known else None)
    if chosen is not None and chosen not in target.formats:
        raise PairmineError(
            f"{output}: {target.trainer} reads {' or '.join(target.formats)}, not {chosen}; change the ending"
        )


def _moved(sidecar, by: int):  # type: ignore[no-untyped-def]
    import pyarrow.compute as pc

    return sidecar.set_column(0, sidecar.schema.field(0), pc.add(sidecar["row"], by))


def _why(target: Target, survey: Survey) -> str:
    if target.needs == "single pairs":
        return f"of {survey.rows:,} rows none has both texts and what this format trains on"
    if not survey.positives:
        return "no row has label 1"
    return (
        f"{survey.queries:,} queries have {survey.positives:,} positives and at most {survey.most_negatives} negatives"
    )


def _hint(run: Run, target: Target, survey: Survey, negatives: int | None) -> None:
    """Say how many queries fall short of the width of a row, and what would keep them."""
    if target.name != "st-ntuple":
        return
    wanted = negatives or survey.most_negatives
    kept = survey.queries_with(wanted)
    able = {n: survey.queries_with(n) for n in range(1, wanted)}
    better = max(able, key=lambda n: able[n] * n, default=0)
    if better and able[better] > kept:
        run.say(
            f"{kept:,} queries have {wanted} negatives; --negatives {better} would keep {able[better]:,}, "
            "'pairmine filter --shortage fill' all"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)
