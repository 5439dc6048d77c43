"""`pairmine dedup`: exact and near duplicates."""

from __future__ import annotations

from typing import Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run


def dedup(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A corpus or a pair set: a file, a folder of shards, or -.", show_default=False
        ),
    ],
    output: shared.Output,
    by: Annotated[
        str, typer.Option("--by", help="What must not repeat: document, or in a pair set also query or pair.")
    ] = "document",
    exact_only: Annotated[bool, typer.Option("--exact-only", help="Remove exact copies alone; no MinHash.")] = False,
    exact: Annotated[
        str, typer.Option("--exact", help="What an exact copy is: normalised (NFKC, case, blanks) or bytes.")
    ] = "normalised",
    threshold: Annotated[
        float,
        typer.Option("--threshold", min=0.0, max=1.0, help="Jaccard similarity from which texts are near copies."),
    ] = 0.8,
    ngram: Annotated[int, typer.Option("--ngram", min=1, help="Words to a shingle.")] = 3,
    permutations: Annotated[int, typer.Option("--permutations", min=16, help="Length of a MinHash signature.")] = 128,
    sentence_words: Annotated[
        int,
        typer.Option(
            "--sentence-words",
            min=0,
            help="Two texts of fewer words are near copies only where just order and punctuation differ (our default).",
        ),
    ] = 32,
    short_text_words: Annotated[
        int,
        typer.Option(
            "--short-text-words",
            min=0,
            help="Two texts of fewer words are near copies only where words were added or left out, none replaced "
            "(our default).",
        ),
    ] = 80,
    keep: Annotated[str, typer.Option("--keep", help="Which of a group stays: first or longest.")] = "first",
    workers: shared.Workers = 0,
    seed: shared.Seed = 0,
    id_column: shared.IdColumn = None,
    text_column: shared.TextColumn = None,
    title_column: shared.TitleColumn = None,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Remove exact copies, then near copies found by MinHash and verified by exact Jaccard similarity.

    One replaced word makes another statement out of a short text, so short texts are held to more.
    Each removed row names the row that it copies, the similarity and the reason. A file with
    queries and documents is taken for a pair set, anything else for a corpus.

    \b
      pairmine dedup corpus.jsonl.gz --rejects copies.parquet -o corpus.parquet
      pairmine dedup pairs.parquet --by query -o pairs.dedup.parquet
    """
    from pairmine.cli.run import choice, cores, without_effect
    from pairmine.files.source import open_either
    from pairmine.stages.dedup import dedup as remove_copies

    choice("--by", by, ("document", "query", "pair"))
    choice("--exact", exact, ("normalised", "bytes"))
    choice("--keep", keep, ("first", "longest"))
    if exact_only:
        names = ("threshold", "ngram", "permutations", "sentence_words", "short_text_words")
        without_effect(context, "with --exact-only", *names)
    columns = {"id": id_column, "text": text_column, "title": title_column}
    with Run(context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet) as run:
        table = run.reads(open_either(source, run.say, **columns), "source").read()
        run.write(
            remove_copies(
                table,
                by=by,
                near=not exact_only,
                exact=exact,
                threshold=threshold,
                ngram=ngram,
                permutations=permutations,
                sentence_words=sentence_words,
                short_text_words=short_text_words,
                keep=keep,
                workers=cores(workers),
                seed=seed,
            )
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dedup)
