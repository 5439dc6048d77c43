"""The options of `mix` that plan batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli.run import Run, cores, without_effect
from pairmine.cli.store_options import open_store
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from pairmine.backends.models import Advance
    from pairmine.stages.mix import Batching, VectorsOf
    from pairmine.stages.mix.topics import Queries

_PANEL = "Batches"
_NO_PLAN = ("batch_size", "full_batches", "ranks", "bucket", "positives", "near", "no_near")

Batches = Annotated[
    str,
    typer.Option(
        "--batches",
        help="Plan batches without a false negative that is known: mixed, of one source each, or of one cluster of "
        "queries within a source each: none, mixed, source, clusters.",
        rich_help_panel=_PANEL,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, max=1_000_000_000, help="Queries in a batch.", rich_help_panel=_PANEL),
]
FullBatches = Annotated[
    bool,
    typer.Option(
        "--full-batches", help="Reject what fills no batch, rather than keep a short one.", rich_help_panel=_PANEL
    ),
]
Ranks = Annotated[
    int,
    typer.Option(
        "--ranks",
        min=1,
        max=1_000_000,
        metavar="N",
        help="Plan for N trainers side by side: rank r takes the batches r, r+N, ...; what is promised of a batch "
        "holds for the N batches of a step together.",
        rich_help_panel=_PANEL,
    ),
]
Bucket = Annotated[
    str,
    typer.Option(
        "--bucket",
        help="Put queries together whose longest documents are of near length in bytes, so that less is padded: "
        "none, length.",
        rich_help_panel=_PANEL,
    ),
]
Positives = Annotated[
    str,
    typer.Option(
        "--positives",
        help="Of a query with several: each in a batch of its own, as ID#2, ..., or all together, for a trainer that "
        "draws one.",
        rich_help_panel=_PANEL,
    ),
]
Near = Annotated[
    float,
    typer.Option(
        "--near",
        metavar="JACCARD",
        help="Near copies count as one: from this similarity of their word shingles on, by the rules of "
        "'pairmine dedup'.",
        rich_help_panel=_PANEL,
    ),
]
NoNear = Annotated[
    bool, typer.Option("--no-near", help="Look for exact copies alone, which is faster.", rich_help_panel=_PANEL)
]
EncoderSpec = Annotated[
    str | None,
    typer.Option("--encoder", metavar="st:MODEL", help="Embeds the queries for clusters.", rich_help_panel=_PANEL),
]
VectorFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--vectors",
        metavar="[NAME=]FILE",
        help="Ready vectors of the queries for clusters, as 'pairmine embed --side query' writes them; several times "
        "for several sources.",
        rich_help_panel=_PANEL,
    ),
]
ClusterCount = Annotated[
    int,
    typer.Option(
        "--clusters",
        min=1,
        help="Clusters in a source, and never more than it has full batches.",
        rich_help_panel=_PANEL,
    ),
]


def batching_of(context: typer.Context) -> Batching:
    """What the options ask for; raises a PairmineError for options without effect."""
    from pairmine.backends.specs import locate, parse_spec
    from pairmine.stages.mine.near_copies import near_as_dedup
    from pairmine.stages.mix import Batching

    given = context.params
    kind, encoder, vectors = given["batches"], given["encoder"], given["vectors"]
    if kind == "none":
        without_effect(context, "with --batches none", *_NO_PLAN)
    if kind != "clusters":
        without_effect(context, f"with --batches {kind}", "encoder", "vectors", "clusters", "store")
    elif not encoder and not vectors:
        raise PairmineError(
            "--batches clusters wants --encoder, as in st:all-MiniLM-L6-v2, or --vectors FILE with ready ones"
        )
    if vectors:
        without_effect(context, "with --vectors", "encoder", "store")
    if given["no_near"]:
        without_effect(context, "with --no-near", "near")
    if encoder:
        spec = parse_spec(encoder, ("st", "fake"), "--encoder")
        if spec.kind == "st":
            locate(spec, "--encoder")
    near = None if given["no_near"] else near_as_dedup(given["near"], cores(given["workers"]))
    return Batching(
        kind,
        given["batch_size"],
        given["full_batches"],
        given["ranks"],
        given["bucket"],
        given["positives"],
        near,
        given["clusters"],
    )


def open_vectors(run: Run, context: typer.Context, names: Sequence[str], advance: Advance) -> VectorsOf | None:
    """What gives the vectors of queries: files, or an encoder and the store; None where no clusters are asked for."""
    if context.params["vectors"]:
        return _from_files(run, _files(run, context.params["vectors"], names))
    if context.params["encoder"]:
        return _from_encoder(run, context, advance)
    return None


def _from_encoder(run: Run, context: typer.Context, advance: Advance) -> VectorsOf:
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.models import use_threads
    from pairmine.backends.specs import parse_spec
    from pairmine.stages.mix.topics import texts_of

    spec = parse_spec(context.params["encoder"], ("st", "fake"), "--encoder")
    use_threads(context.params["workers"])
    model = open_encoder(spec, flag="--encoder")
    store = open_store(context.params["store"], "float32", run.say)
    run.detail(models=[{"name": spec.name, **model.facts}])

    def vectors_of(queries: Queries) -> np.ndarray:
        found = store.vectors(model, texts_of(queries), "query", advance)
        run.sum_up(embedded=store.embedded, reused=store.reused)
        return found.block(0, len(found))

    return vectors_of


def _files(run: Run, given: Sequence[str], names: Sequence[str]) -> dict[str, list[Path]]:
    """The files of vectors of each source."""
    from pathlib import Path

    from pairmine.files.vectors import find_vector_files

    files: dict[str, list[Path]] = {}
    for each in given:
        name, equals, path = each.partition("=")
        if not equals or name not in names or Path(each).exists():
            name, path = "", each
        if name in files:
            raise PairmineError(f"--vectors {each}: {f'source {name}' if name else 'the other sources'} has vectors")
        run.guard("vectors of the queries", path)
        files[name] = find_vector_files(path, "--vectors")
    lacking = [name for name in names if name not in files]
    if lacking and "" not in files:
        raise PairmineError(f"--vectors: none for {', '.join(lacking)}; pass --vectors {lacking[0]}=FILE as well")
    if not lacking and "" in files:
        raise PairmineError("--vectors: every source has vectors of its own; leave the file without a name out")
    return {name: files.get(name) or files[""] for name in names}


def _from_files(run: Run, files: dict[str, list[Path]]) -> VectorsOf:
    import numpy as np
    import pyarrow as pa

    from pairmine.files.vectors import read_vectors
    from pairmine.memory import Memory

    read: dict[str, dict[str, str]] = {}

    def vectors_of(queries: Queries) -> np.ndarray:
        places = np.arange(len(queries.ids))
        of_source, room = files[queries.source], Memory.of(None).vectors
        ready = read_vectors(of_source, pa.array(queries.ids), places, len(places), budget_bytes=room)
        if lacking := np.flatnonzero(ready.missing).tolist():
            raise PairmineError(
                f"--vectors: {len(lacking):,} of {len(places):,} queries of {queries.source} have no vector in "
                f'{of_source[0].name}, the first is "{queries.ids[lacking[0]]}"; embed them with '
                "'pairmine embed PAIRS --side query'"
            )
        read.update({each["file"]: each for each in ready.files})
        run.detail(vectors=list(read.values()))
        return ready.vectors.block(0, len(places))

    return vectors_of
