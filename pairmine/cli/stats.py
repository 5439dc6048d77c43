"""`pairmine stats`: all numbers of a pair set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli import options as shared
from pairmine.cli import stats_options as own
from pairmine.cli.run import say, without_effect, written

if TYPE_CHECKING:
    from pairmine.cli.audit import Audit
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
    found = numbers(
        source,
        split=split,
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        rejects=rejects or (),
        ledger=_ledger(context, ledger),
        price=price,
        audit=audit,
    )
    if audit is not None:
        audit.load(workers, query_prompt=query_prompt, document_prompt=document_prompt, device=device)
        found["encoder"] = audit.numbers(against, split)
    text = json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(lines(found))
    write_atomically(STDOUT, text + "\n")


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
) -> dict[str, Any]:
    """`Stats.to_dict` of a file, with `tokenizer` (its name), what its lineage tells of `templates`, and `spent`.

    `audit` takes its sample while the file is read.
    """
    from pairmine.cli.progress import Progress
    from pairmine.cli.spent import spent
    from pairmine.cli.yields import add_planned, add_rejects, draws_of
    from pairmine.files.forms import pairs_of
    from pairmine.stages.stats import Stats

    tokens = _count(tokenizer)
    progress = Progress("stats", quiet=False)
    source = pairs_of(path, say, split=split)
    source.watch = progress.reading
    counted = Stats(tokens=tokens, max_tokens=max_tokens, draws_of=lambda recipe: draws_of(recipe, source.entries))
    try:
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


def _check(context: typer.Context) -> None:
    """Raise a PairmineError for an option that does nothing without another."""
    if context.params["encoder"] is None:
        without_effect(context, "without --encoder", *own.OF_ENCODER, "workers")
    if context.params["tokenizer"] is None:
        without_effect(context, "without --tokenizer", "max_tokens")
    if context.params["ledger"] is None:
        without_effect(context, "without --ledger", "price")


def _ledger(context: typer.Context, path: str | None) -> str | None:
    """The ledger; one that a variable names for all commands may not be there yet."""
    import os

    return path if path is None or written(context, "ledger") or os.path.exists(path) else None


def _count(tokenizer: str | None) -> Count | None:
    if tokenizer is None:
        return None
    from pairmine.backends.token_counts import open_token_count

    return open_token_count(tokenizer)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(stats)
