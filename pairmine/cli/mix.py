"""`pairmine mix`: several pair sets as one."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import mix_batches as planned
from pairmine.cli import mix_split as splits
from pairmine.cli import options as shared
from pairmine.cli.run import Run, cores, lay_aside
from pairmine.cli.store_options import DEFAULT, StorePath
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.files.source import PairSource
    from pairmine.outcome import Outcome
    from pairmine.stages.mix import Batching, Source

_NAMED = re.compile(r"^([A-Za-z0-9][\w.+-]*)=(.+)$", re.S)


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
    batches: planned.Batches = "none",
    batch_size: planned.BatchSize = None,
    full_batches: planned.FullBatches = False,
    ranks: planned.Ranks = 1,
    bucket: planned.Bucket = "none",
    positives: planned.Positives = "each",
    near: planned.Near = 0.8,
    no_near: planned.NoNear = False,
    encoder: planned.EncoderSpec = None,
    vectors: planned.VectorFiles = None,
    clusters: planned.ClusterCount = 10,
    store: StorePath = DEFAULT,
    split: splits.Split = None,
    split_by: splits.SplitBy = splits.BY_QUERY,
    split_apart: splits.SplitApart = splits.POSITIVES,
    split_copies: splits.SplitCopies = splits.NEAR,
    seed: shared.Seed = 0,
    workers: shared.Workers = 0,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Blend pair sets in shares that temper their sizes, and plan batches.

    Where a training set has several sources, is to be split, or wants batches. Small sources would drown in large
    ones, so each gets a share of n^0.5 (GTE, Li et al. 2023, arXiv 2308.03281). Queries are drawn with all their
    rows; an id that two sources use is renamed NAME/ID. Batches of one source or of one cluster make in-batch
    negatives harder (Merrick 2024, arXiv 2407.18887, with 10 clusters). No batch holds a document that any row of
    the sources has as a positive of another query of it, nor a near copy of one, nor a query twice; the pair set is
    in the order of its batches, full ones first. All of NLI and definition pairs together train better than either
    (Tsukagoshi et al. 2022): the first example. Splits share no query, no positive and no near copy of one: the
    last example; rows of one pair set keep their order.

    \b
      pairmine mix nli.parquet definitions.parquet --alpha 1 -o train.parquet
      pairmine mix nli.parquet faq=pairs.jsonl --size 10000 --repeat --batches source --batch-size 64 \\
        -o train.parquet
      pairmine mix nli.parquet faq=pairs.jsonl --batches clusters --batch-size 32 \\
        --encoder st:all-MiniLM-L6-v2 -o train.parquet
      pairmine mix pairs.parquet --split train=.8,dev=.1,test=.1 -o pairs.{split}.parquet
    """
    from pairmine.cli.mix_shards import check_mix, mix_shards
    from pairmine.stages.mix import Source, Weighing, check_settings, joined
    from pairmine.stages.mix import mix as mix_sources

    if size is None:
        lay_aside(context, "repeat")
    named = [_named(each) for each in pairs]
    weighing = Weighing(alpha, size, by, _weights(weight or []), repeat)
    names = [name for name, _ in named]
    batching = planned.batching_of(context)
    check_settings(names, weighing, batching, batches == "clusters")
    parted = splits.splitting_of(context)
    cluster = engines.engine_of(context)
    if cluster:
        check_mix(context)
    with (
        cluster or nullcontext(),
        Run(
            context,
            output,
            kind=kind,
            rejects=rejects,
            summary=summary,
            quiet=quiet,
            make_sink=parted.maker(cluster) if parted else None,
            engine=cluster,
        ) as run,
    ):
        if parted:
            parted.claim(run)
        if parted and parted.is_alone:
            parted.write(run, named[0][1], cluster)
            return
        opened = _open_sources(run, named)
        vectors_of = planned.open_vectors(run, context, names, run.begin("queries"))

        def mixed(read: Callable[[], list[Source]], batching: Batching) -> Outcome:
            # Nothing here holds on to what is read: `mix` lets go of it half-way.
            return mix_sources(
                read(),
                weighing,
                batching,
                seed=seed,
                vectors_of=vectors_of,
                workers=cores(workers),
                tell=run.say,
            )

        run.detail(sources=names)
        if cluster:
            mix_shards(cluster, run, opened, mixed, batching, parted, rejects=bool(rejects))
            return
        outcome = mixed(lambda: [Source(name, joined(source.survey())) for name, source in opened], batching)
        run.write(parted.after(run, outcome) if parted else outcome)


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


def _open_sources(run: Run, named: list[tuple[str, str]]) -> list[tuple[str, PairSource]]:
    from pairmine.files.source import open_pairs

    return [(name, run.reads(open_pairs(path, run.say), "pairs")) for name, path in named]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mix)
