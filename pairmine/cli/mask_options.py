"""The options of `mine` that say what is never a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli.run import cores, without_effect

if TYPE_CHECKING:
    from pairmine.files.sink import Sink
    from pairmine.stages.dedup.matches import Near as Rule
    from pairmine.stages.mine import Documents, Masks, Queries
    from pairmine.stages.mine.search import OnMasked

_PANEL = "What is never a candidate"

Near = Annotated[
    float,
    typer.Option(
        "--near",
        metavar="JACCARD",
        help="Near copies of positives and of the query: from this similarity of their word shingles on, by the rules "
        "of 'pairmine dedup'.",
        rich_help_panel=_PANEL,
    ),
]
NoNear = Annotated[bool, typer.Option("--no-near", help="Near copies may be candidates.", rich_help_panel=_PANEL)]
NearCosine = Annotated[
    float | None,
    typer.Option(
        "--near-cosine",
        metavar="COSINE",
        help="Documents from this cosine to a positive on, as 0.95, by the first dense retriever.",
        rich_help_panel=_PANEL,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        metavar="NAME",
        help="Documents with the value of a positive in this column of the corpus or the pair set: a page, a thread, "
        "an intent.",
        rich_help_panel=_PANEL,
    ),
]
Known = Annotated[
    str | None,
    typer.Option(
        "--known",
        metavar="FILE",
        help="Positives known elsewhere, by ids: TREC or BEIR judgments, or another pair set.",
        rich_help_panel=_PANEL,
    ),
]
Rejects = Annotated[
    str | None,
    typer.Option(
        "--rejects",
        metavar="FILE",
        help="Write every masked document there: for which query, why, at which rank it stood.",
        rich_help_panel="Output",
    ),
]


def near_copies(context: typer.Context, near: float, no_near: bool, workers: int) -> Rule | None:
    """When a document is a near copy, None where that does not matter; raises PairmineError for what cannot be."""
    from pairmine.stages.mine import near_as_dedup

    if no_near:
        without_effect(context, "with --no-near", "near")
        return None
    return near_as_dedup(near, cores(workers))


def rejects_into(sink: Sink | None, masks: Masks, queries: Queries, documents: Documents) -> OnMasked | None:
    """What takes masked documents into `sink`, which has columns even where none was masked."""
    import numpy as np
    import pyarrow as pa

    if sink is None:
        return None
    none = np.empty(0, np.int64)
    columns: dict[str, Any] = {"origin": pa.string(), "rank": pa.int32(), "score": pa.float32()}
    empty = {name: pa.array([], kind) for name, kind in columns.items()}
    sink.write(masks.table(queries, documents, none, none, none, **empty))
    return lambda rows, turn: sink.write(rows)
