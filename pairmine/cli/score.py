"""`pairmine score`: a score column."""

from __future__ import annotations

from typing import Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run


def score(
    context: typer.Context,
    pairs: Annotated[
        str, typer.Argument(help="Pair set: a file, a folder of shards, a BEIR folder, or -.", show_default=False)
    ],
    output: shared.Output,
    scorer: Annotated[
        str,
        typer.Option("--scorer", help="ce:MODEL (a probability) or st:MODEL (a cosine); NAME=SPEC names the column."),
    ],
    query_prompt: Annotated[
        str | None,
        typer.Option(
            "--query-prompt", help="st: only: text before every query, or the name of one of the model's prompts."
        ),
    ] = None,
    document_prompt: Annotated[
        str | None, typer.Option("--document-prompt", help="st: only: the same for documents.")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, help="Tokens of a pair that are read; the model's own by default."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; chosen by itself otherwise.")
    ] = None,
    workers: shared.Workers = 0,
    split: shared.Split = None,
    query_column: shared.QueryColumn = None,
    document_column: shared.DocumentColumn = None,
    kind: shared.Format = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Add one score column to every row of a pair set; drops nothing.

    A cross-encoder fills score_ce with probabilities, a bi-encoder score_st with cosines. Equal
    pairs are scored once, and texts of like length together.

    \b
      pairmine score mined.parquet --scorer ce:models/reranker -o scored.parquet
    """
    from pairmine.backends.models import use_threads
    from pairmine.backends.scorers import open_scorer
    from pairmine.backends.specs import locate, parse_spec, slug
    from pairmine.files.source import open_pairs
    from pairmine.stages.score import check_texts, score_pairs

    spec = parse_spec(scorer, ("ce", "st", "fake"), "--scorer")
    name = slug(spec.alias) if spec.alias else spec.kind
    if spec.kind != "fake":
        locate(spec, "--scorer")
    with Run(context, output, kind=kind, summary=summary, quiet=quiet) as run:
        source = run.reads(
            open_pairs(pairs, run.say, split=split, replay=True, query=query_column, document=document_column), "pairs"
        )
        rows = 0
        for chunk in source.chunks():
            check_texts(chunk)
            rows += chunk.num_rows
        use_threads(workers)
        model = open_scorer(
            spec, max_length=max_length, device=device, query_prompt=query_prompt, document_prompt=document_prompt
        )
        run.detail(models=[{"name": spec.name, **model.facts}])
        advance = run.begin("rows", rows)
        for chunk in source.chunks():
            run.write(score_pairs(chunk, model, name=name, advance=advance))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)
