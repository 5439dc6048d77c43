"""The options of `mine` that say how vectors are searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli.run import cores, without_effect

if TYPE_CHECKING:
    from pairmine.backends.retrievers import MakeSearcher, Retriever
    from pairmine.backends.specs import Spec
    from pairmine.backends.vectors import Searcher, Vectors

_PANEL = "How it is searched"
_NOT_DENSE = ("bm25", "run")
AUTO_THREADS = 8
"""What `auto` reckons with wherever it runs: the same rows on a laptop and on a server."""

Index = Annotated[
    str,
    typer.Option(
        "--index",
        help="How vectors are searched: exact, ivf (inverted lists), hnsw (a graph; slow to build), pq (compressed; "
        "least memory), or auto: exact unless ivf saves minutes and fits in --memory. The recall of an index is "
        "measured and said.",
        rich_help_panel=_PANEL,
    ),
]
RecallOf = Annotated[
    float,
    typer.Option(
        "--recall",
        metavar="SHARE",
        help="With an index: the share of an exact search's candidates that it has to find.",
        rich_help_panel=_PANEL,
    ),
]


def check(
    context: typer.Context, named: Sequence[tuple[Spec, str]], index: str, recall: float, clusters: int | None
) -> None:
    """Raise a PairmineError for what is no index or no share, or cannot take effect."""
    from pairmine.backends.vectors.approximate import check_index
    from pairmine.errors import PairmineError

    check_index(index)
    if not 0 < recall <= 1:
        raise PairmineError(f"--recall {recall:g}: a share above 0 and up to 1, as 0.98")
    if all(spec.kind in _NOT_DENSE for spec, _ in named):
        without_effect(context, "without a retriever of vectors", "index", "recall")
    if clusters is not None:
        without_effect(context, "with --clusters", "index", "recall")
    if index == "exact":
        without_effect(context, "with --index exact", "recall")


def searcher_maker(
    index: str,
    recall: float,
    *,
    depth: int,
    budget_bytes: int,
    threads: int,
    seed: int,
    device: str | None,
    say: Callable[[str], None],
) -> MakeSearcher | None:
    """What makes the search of a retriever's vectors, and says how good it is; None for the exact one.

    `device` is where an exact search multiplies.
    """
    if index == "exact":
        return None
    threads = cores(threads)

    def make(documents: Vectors, searchable: int, queries: Vectors) -> Searcher:
        from pairmine.backends.vectors.approximate import ApproximateSearch, choose, describe, warning
        from pairmine.backends.vectors.exact import ExactSearch

        kind = index
        if index == "auto":
            kind = choose(searchable, len(queries), documents.dim, depth, budget_bytes, threads=AUTO_THREADS)
        if kind == "exact":
            say("index auto: the search is exact, an index would save little")
            return ExactSearch(documents, searchable, threads=threads, budget_bytes=budget_bytes, device=device)
        search = ApproximateSearch.of(
            kind,
            documents,
            searchable,
            queries,
            depth=depth,
            budget_bytes=budget_bytes,
            threads=threads,
            seed=seed,
            target_recall=recall,
        )
        say(describe(search.facts))
        if told := warning(search.facts):
            say(told)
        return search

    return make


def settle(context: typer.Context, index: str, retrievers: Sequence[Retriever]) -> None:
    """Have the lineage name the index that `auto` took, since on another machine it may take another."""
    from pairmine.backends.retrievers import DenseRetriever

    taken = {each.facts.get("index") for each in retrievers if isinstance(each, DenseRetriever)}
    if index != "auto" or len(taken) != 1:
        return
    context.params["index"] = taken.pop() or "exact"
    if context.params["index"] == "exact":
        context.params["recall"] = next(each.default for each in context.command.params if each.name == "recall")
