"""The options of `mine` for several retrievers in one run, and for a run after another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli.run import Run, lay_aside, without_effect, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pairmine.backends.retrievers import Retriever
    from pairmine.stages.mine import Fusion, Since, Sources, Strategy

_PANEL = "Several retrievers"

Fuse = Annotated[
    str,
    typer.Option(
        "--fuse",
        help="All that any retriever found (union), or one list by reciprocal ranks (rrf) or in turns (round-robin).",
        rich_help_panel=_PANEL,
    ),
]
Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        min=1,
        help="Candidates per query of the fused list; as many as --depth by default.",
        rich_help_panel=_PANEL,
    ),
]
RrfK = Annotated[
    float, typer.Option("--rrf-k", help="With --fuse rrf: the k of weight / (k + rank).", rich_help_panel=_PANEL)
]
FuseWeights = Annotated[
    str | None,
    typer.Option(
        "--fuse-weights",
        metavar="W,W",
        help="With --fuse rrf: a weight for each --retriever, in their order; all 1 by default.",
        rich_help_panel=_PANEL,
    ),
]
SincePath = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="OLD",
        help="A mined set of these queries from an earlier run: report what changed, and add the ranks that "
        "candidates had there as previous_rank.",
        show_default=False,
    ),
]


def fusion_of(
    context: typer.Context, retrievers: int, fuse: str, keep: int | None, rrf_k: float, weights: str | None
) -> Fusion:
    """The fusion of so many retrievers that the options ask for; raises PairmineError where one has no effect."""
    from pairmine.errors import PairmineError
    from pairmine.stages.mine import Fusion

    if retrievers == 1:
        lay_aside(context, "fuse")
        if written(context, "fuse"):
            raise PairmineError(f"--fuse {fuse} is for several --retriever, and there is 1")
    if fuse != "rrf":
        without_effect(context, "without --fuse rrf", "rrf_k", "fuse_weights")
    try:
        numbers = None if weights is None else tuple(float(weight) for weight in weights.split(","))
    except ValueError:
        raise PairmineError(f"--fuse-weights {weights}: write a number for each --retriever, as in 1,0.5") from None
    return Fusion(fuse, keep, rrf_k, numbers)


def read_since(path: str | None, run: Run) -> Since | None:
    """The earlier mined set at `path`."""
    from pairmine.files.source import open_pairs
    from pairmine.stages.mine import Since

    if path is None:
        return None
    return Since(run.reads(open_pairs(path, run.say), "since").read(), where=path)


def sources_of(retrievers: Sequence[Retriever], depth: int, strategy: Strategy) -> Sources:
    """Counts of what each retriever brings; how high positives rank says something where queries search everything."""
    from pairmine.stages.mine import Sources

    plain = strategy.search_with == "query" and strategy.clusters is None
    return Sources([each.name for each in retrievers], depth, recall=plain)


def report_on(run: Run, sources: Sources, since: Since | None) -> None:
    """What each retriever brought and what changed since, for people and for --summary."""
    run.sum_up(**sources.facts())
    run.add_to_report(sources.lines())
    if since is not None:
        run.sum_up(since=since.facts())
        run.add_to_report(since.lines())
