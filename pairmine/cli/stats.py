"""`pairmine stats`: all numbers of a pair set."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli import stats_options as own
from pairmine.cli.run import say, without_effect, written
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.cli.audit import Audit
    from pairmine.cli.progress import Progress
    from pairmine.cli.ray_run import RayEngine
    from pairmine.files.source import PairSource
    from pairmine.stages.stats import Stats
    from pairmine.stages.stats.lengths import Count


def stats(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(metavar="PAIRS", help="Pair set, or a trainer's file; - is standard input.", show_default=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with histograms.")] = False,
    split: shared.Split = None,
    tokenizer: own.Tokenizer = None,
    max_tokens: own.MaxTokens = None,
    rejects: own.Rejects = None,
    ledger: own.Ledger = None,
    price: own.Price = None,
    encoder: own.EncoderOf = None,
    sample: own.Sample = 10_000,
    positive_from: own.PositiveFrom = 0.8,
    among: own.Among = "documents",
    against: own.Against = None,
    query_prompt: own.QueryPrompt = None,
    document_prompt: own.DocumentPrompt = None,
    device: own.Device = None,
    seed: shared.Seed = 0,
    workers: shared.Workers = 0,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    work_folder: engines.WorkFolder = None,
) -> None:
    """All numbers of a pair set: counts, lengths, scores, hardness, hubs, and what LLM rows yielded and cost.

    With an encoder also alignment and uniformity (Wang and Isola 2020, arXiv 2005.10242), the rank of each
    positive among all candidates (EvalRank, Wang et al. 2022, arXiv 2203.02679) and the correlation with grades.

    \b
      pairmine stats pairs.parquet
      pairmine stats pairs.parquet --tokenizer st:all-MiniLM-L6-v2 --max-tokens 256
      pairmine stats pairs.parquet --encoder st:all-MiniLM-L6-v2
      pairmine stats paraphrased.parquet --encoder st:all-MiniLM-L6-v2 --against pairs.parquet
    """
    from pairmine.cli.audit import Audit
    from pairmine.cli.statistics import lines
    from pairmine.files.partial import STDOUT, write_atomically

    _check(context)
    audit = None
    if encoder is not None:
        audit = Audit(encoder, sample=sample, seed=seed, positive_from=positive_from, among=among)
    cluster = engines.engine_of(context, engines.place_without_output(context))
    with cluster or nullcontext():
        found = numbers(
            source,
            split=split,
            tokenizer=tokenizer,
            max_tokens=max_tokens,
            rejects=rejects or (),
            ledger=_ledger(context, ledger),
            price=price,
            audit=audit,
            engine=cluster,
        )
        if audit is not None:
            audit.load(workers, cluster, query_prompt=query_prompt, document_prompt=document_prompt, device=device)
            found["encoder"] = audit.numbers(against, split)
    write_atomically(STDOUT, (_json(found) if as_json else "\n".join(lines(found))) + "\n")


def _json(found: Mapping[str, Any]) -> str:
    """As JSON, without a text for every number at once."""
    into = io.StringIO()
    json.dump(found, into, ensure_ascii=False, indent=2)
    return into.getvalue()


def numbers(
    path: str,
    *,
    split: str | None = None,
    tokenizer: str | None = None,
    max_tokens: int | None = None,
    rejects: tuple[str, ...] | list[str] = (),
    ledger: str | None = None,
    price: str | None = None,
    audit: Audit | None = None,
    engine: RayEngine | None = None,
) -> dict[str, Any]:
    """`Stats.to_dict` of a file, with `tokenizer` (its name), what its lineage tells of `templates`, and `spent`.

    `audit` takes its sample while the file is read. With an `engine` a cluster counts the rows.
    """
    from pairmine.cli.progress import Progress
    from pairmine.cli.spent import spent
    from pairmine.cli.yields import add_planned, add_rejects, draws_of
    from pairmine.files.forms import pairs_of
    from pairmine.stages.stats import Stats

    tokens = token_count(tokenizer)
    progress = Progress("stats", quiet=False)
    source = pairs_of(path, say, split=split)
    source.watch = progress.reading
    counted = Stats(tokens=tokens, max_tokens=max_tokens, draws_of=lambda recipe: draws_of(recipe, source.entries))
    try:
        if engine is not None:
            _count_shards(engine, progress, source, counted, audit, tokenizer, max_tokens)
        else:
            for chunk in source.chunks():
                counted.add(chunk)
                if audit is not None:
                    audit.add(chunk)
    finally:
        progress.end()
    for each in rejects:
        add_rejects(each, counted.templates, say)
    found = counted.to_dict()
    add_planned(found["templates"], source.entries)
    found["tokenizer"] = tokenizer
    found["spent"] = None if ledger is None else spent(ledger, source.entries, found, price)
    return found


def _count_shards(
    engine: RayEngine,
    progress: Progress,
    source: PairSource,
    counted: Stats,
    audit: Audit | None,
    tokenizer: str | None,
    max_tokens: int | None,
) -> None:
    from pairmine.cli.stats_shards import Counting, Shards
    from pairmine.cli.yields import recipes_in

    shards = Shards(engine, progress, source)
    draws = {recipe: counted.templates.draws_of(recipe) for recipe in recipes_in(source.entries)}
    shards.count(counted, Counting(tokenizer, max_tokens, draws))
    if audit is not None:
        for rows in shards.sample(audit.size, audit.seed):
            audit.add(rows)


def _check(context: typer.Context) -> None:
    """Raise a PairmineError for an option that does nothing without another."""
    if context.params["engine"] != "ray":
        without_effect(context, "without --engine ray", "work_folder")
    elif context.params["encoder"] is not None and not context.params["sample"]:
        raise PairmineError("--sample 0 would keep all texts on this machine; name a size, or leave out --engine ray")
    if context.params["encoder"] is None:
        idle = "gpus_per_worker" if context.params["engine"] == "ray" else "workers"
        without_effect(context, "without --encoder", *own.OF_ENCODER, idle)
    if context.params["tokenizer"] is None:
        without_effect(context, "without --tokenizer", "max_tokens")
    if context.params["ledger"] is None:
        without_effect(context, "without --ledger", "price")


def _ledger(context: typer.Context, path: str | None) -> str | None:
    """The ledger; one that a variable names for all commands may not be there yet."""
    import os

    return path if path is None or written(context, "ledger") or os.path.exists(path) else None


def token_count(tokenizer: str | None) -> Count | None:
    """What counts tokens by `--tokenizer`."""
    if tokenizer is None:
        return None
    from pairmine.backends.token_counts import open_token_count

    return open_token_count(tokenizer)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(stats)
