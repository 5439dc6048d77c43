"""`pairmine mix` shard by shard: a plan made from stand-ins of the texts, then the rows brought to their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pairmine.cli.mix_exchange import Asked, Exchange, open_batches, write_batches
from pairmine.cli.mix_near import Put, near_copies, put_texts
from pairmine.cli.mix_split import tell_renamed
from pairmine.errors import PairmineError
from pairmine.outcome import no_rejects

if TYPE_CHECKING:
    import pyarrow as pa
    import typer

    from pairmine.cli.mix_split import Splitting
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece, Shared
    from pairmine.files.sharded import WorkFolder
    from pairmine.files.source import PairSource
    from pairmine.outcome import Outcome
    from pairmine.stages.mix import Batching, Source
    from pairmine.stages.mix.components import Ties
    from pairmine.stages.mix.splits import SplitPlan
    from pairmine.stages.mix.standins import Needs

Mixed = Callable[[Callable[[], "list[Source]"], "Batching"], "Outcome"]


def check_mix(context: typer.Context) -> None:
    """Raise a PairmineError for what wants all texts in one place."""
    given = context.params
    is_mixed = len(given["pairs"]) > 1 or given["size"] is not None
    if given["split"] is not None and is_mixed and given["split_copies"] == "near":
        raise PairmineError(
            "--split: near copies among what is drawn are looked for by one process; mix first and split the result, "
            "pass --split-copies exact, or leave out --engine ray"
        )
    if given["encoder"]:
        raise PairmineError(
            "--encoder: embeds in one process; run 'pairmine embed PAIRS --side query --engine ray' first and pass "
            "--vectors, or leave out --engine ray"
        )


@dataclass(frozen=True)
class _Lying:
    """A shard of the source called `name`; `piece` is numbered through all sources."""

    name: str
    piece: Piece


def mix_shards(
    engine: RayEngine,
    run: Run,
    opened: Sequence[tuple[str, PairSource]],
    mixed: Mixed,
    batching: Batching,
    parted: Splitting | None,
    *,
    rejects: bool,
) -> None:
    """Mix the sources that are `opened`; `mixed` plans from the stand-ins of their rows as it would from the rows.

    Without `rejects` rows that are rejected are counted and stay where they are. This process holds the stand-ins,
    some 100 bytes for each row of all sources, and about twice that while it plans.
    """
    from pairmine.engines.shards import Counts
    from pairmine.stages.dedup.matches import Near
    from pairmine.stages.mix import Source, joined
    from pairmine.stages.mix.standins import ROW

    needs = _needs(len(opened), batching, parted)
    shards = _shards(engine, run, opened)
    is_near = batching.kind != "none" and batching.near is not None
    paths, columns, put = _stand_in(engine, run, shards, needs, texts=is_near)
    if is_near and isinstance(batching.near, Near):
        batching = replace(batching, near=near_copies(engine, run, put, batching.near))
    of_source = {
        name: [path for each, path in zip(shards, paths, strict=True) if each.name == name] for name in columns
    }
    outcome = mixed(lambda: [Source(name, joined(_tables(own))) for name, own in of_source.items()], batching)
    if parted:
        outcome = parted.after(run, outcome)
    pool = _pool(columns)
    kept, rejected = _schemas(pool, outcome.kept.schema, batching)
    if parted:
        tell_renamed(run, [*pool.column_names, *outcome.kept.column_names], kept.names)
    known = [name for name in _PLANNED if needs.documents or name not in _OF_DOCUMENTS]
    plans = [
        Asked(_planned(outcome.kept, [*known, *_NEW, ROW], kept), added=min(outcome.added, len(outcome.kept))),
        Asked(_planned(outcome.rejected, [*known, ROW, "reason"], rejected)),
    ]
    plans[1] = replace(plans[1], added=outcome.added - plans[0].added)
    counts = Counts.of(outcome) if not rejects else Counts(notes=Counter(outcome.notes))
    if not rejects:
        left = plans.pop()
        counts.rows_in, counts.kept, counts.added = len(left.plan) - left.added, 0, left.added
    del outcome
    run.add(counts)
    exchange = Exchange(engine, run, [each.piece for each in shards])
    parts = exchange.parts(plans, engine.rows)
    del plans
    exchange.scatter(_Reading({each.piece.number: each.name for each in shards}, pool.schema))
    engine.write(run, parts, exchange.gathering(kept, rejected), step="gather")


_PLANNED = ("query_id", "doc_id", "source_id", "source")
_OF_DOCUMENTS = ("doc_id", "source_id")
_NEW = ("query_cluster", "batch", "split")
"""The columns whose values a plan gives; all others are those of the shards."""


def _planned(rows: pa.Table, names: Sequence[str], schema: pa.Schema) -> pa.Table:
    """What a plan says of rows that will have the columns of `schema`."""
    from pairmine.stages.mix.standins import ROW

    return rows.select([name for name in names if name in rows.column_names and name in (*schema.names, ROW)])


def _needs(sources: int, batching: Batching, parted: Splitting | None) -> Needs:
    from pairmine.stages.mix.standins import Needs

    columns = [name for name in (parted.ties.group, parted.time) if name] if parted else []
    exact = (["document"] if sources > 1 else []) + (["query"] if batching.kind == "clusters" else [])
    copies = batching.kind != "none" or (parted is not None and parted.ties.copies != "ids")
    documents = sources > 1 or batching.kind != "none" or parted is not None
    return Needs(documents, copies, exact, batching.bucket == "length", columns)


def _shards(engine: RayEngine, run: Run, opened: Sequence[tuple[str, PairSource]]) -> list[_Lying]:
    """The shards of all sources, numbered through."""
    shards: list[_Lying] = []
    first = 0
    for name, source in opened:
        source.compares_texts = False  # a document may have several texts in a mixture
        for piece in engine.pieces(run, source):
            shards.append(_Lying(name, replace(piece, number=len(shards), first=first)))
            first += piece.rows
    return shards


def _stand_in(
    engine: RayEngine, run: Run, shards: Sequence[_Lying], needs: Needs, *, texts: bool
) -> tuple[list[str], dict[str, list[pa.Schema]], list[Put]]:
    """Files with the stand-ins of all shards, for each source the columns of its shards, and where `texts` are."""
    pieces = [each.piece for each in shards]
    make = _StandingIn(engine.folder, {each.piece.number: each.name for each in shards}, needs, texts)
    found = {piece.number: each for piece, each in engine.fold(run, pieces, make, what="rows read", step="stand in")}
    schemas: dict[str, list[pa.Schema]] = {}
    for each in shards:
        schemas.setdefault(each.name, []).append(found[each.piece.number][1])
    return [found[piece.number][0] for piece in pieces], schemas, [found[piece.number][2] for piece in pieces]


@dataclass(frozen=True)
class _StandingIn:
    folder: WorkFolder
    names: dict[int, str]
    needs: Needs
    texts: bool

    def __call__(self) -> Callable[[Piece], tuple[str, pa.Schema, Put]]:
        from pairmine.stages.mix import Source
        from pairmine.stages.mix.sources import canonical
        from pairmine.stages.mix.standins import stand_in

        def write(piece: Piece) -> tuple[str, pa.Schema, Put]:
            pairs = _read(piece)
            standing = stand_in(canonical(Source(self.names[piece.number], pairs)), self.needs, piece.first)
            sides = {name: pairs[name] for name in ("query", "document") if self.texts and name in pairs.column_names}
            return _put(self.folder, piece, standing), pairs.schema, put_texts(self.folder, piece, sides)

        return write


def _pool(columns: dict[str, list[pa.Schema]]) -> pa.Table:
    """No row of all sources, with the columns that all have together; `columns` are those of each one's shards."""
    from pairmine import schema
    from pairmine.stages.mix import Source
    from pairmine.stages.mix.sources import canonical

    bare = {name: schema.concat_pairs([each.empty_table() for each in found]) for name, found in columns.items()}
    return schema.concat_pairs([canonical(Source(name, rows)) for name, rows in bare.items()])


def _schemas(pool: pa.Table, planned: pa.Schema, batching: Batching) -> tuple[pa.Schema, pa.Schema]:
    """The columns of what is kept and of what is rejected: those of the `pool`, with those that are `planned`."""
    import pyarrow as pa

    from pairmine import schema
    from pairmine.stages.mix.sources import freed

    if batching.kind == "none" and "batch" in pool.column_names:
        pool = pool.drop_columns("batch")
    kept = pool
    if batching.kind != "none":
        new = [name for name in ("query_cluster", "batch") if name in planned.names]
        kept = kept.drop_columns([name for name in new if name in kept.column_names])
        for name in new:
            kept = kept.append_column(name, pa.chunked_array([], pa.int32()))
    kept = schema.as_pairs(kept)
    if "split" in planned.names:
        kept = freed(kept, "split").append_column("split", pa.chunked_array([], planned.field("split").type))
    return kept.schema, no_rejects(pool).schema


@dataclass(frozen=True)
class _Reading:
    """Gives the rows of a shard as they stand in the pool of all sources."""

    names: dict[int, str]
    schema: pa.Schema

    def __call__(self, piece: Piece) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        from pairmine.schema import cast_table
        from pairmine.stages.mix import Source
        from pairmine.stages.mix.sources import canonical
        from pairmine.stages.mix.standins import ROW

        pairs = cast_table(canonical(Source(self.names[piece.number], _read(piece))), self.schema)
        return pairs.append_column(ROW, pa.array(np.arange(piece.first, piece.first + len(pairs))))


def split_shards(engine: RayEngine, run: Run, source: PairSource, parted: Splitting) -> tuple[list[str], list[str]]:
    """Part one pair set, whose rows keep their order: the queries that hang together are found from stand-ins.

    Returns the names of its columns, before and after.
    """
    from pairmine.stages.mix import joined
    from pairmine.stages.mix.components import NEAR
    from pairmine.stages.mix.splits import part_pairs

    found = engine.pieces(run, source)
    pieces = [replace(each, number=at) for at, each in enumerate([each for each in found if each.rows] or found[:1])]
    make = _Telling(engine.folder, parted.ties, parted.time)
    told = dict(engine.fold(run, pieces, make, what="pair rows read", step="tell"))
    put = [told[piece][2] for piece in pieces]
    near = near_copies(engine, run, put, NEAR) if parted.ties.copies == "near" else None
    plan = parted.plan(run, joined(_tables(told[piece][0] for piece in pieces)), near)
    before = accumulate((told[piece][1] for piece in pieces), initial=0)
    firsts = {piece.number: first for piece, first in zip(pieces, before, strict=False)}
    engine.write(run, pieces, SplitWork(engine.cluster.share(plan), firsts), what="pair rows written", step="part")
    head = _read(pieces[0]).slice(0, 0)
    return head.column_names, part_pairs(head, plan).kept.column_names


@dataclass(frozen=True)
class _Telling:
    folder: WorkFolder
    ties: Ties
    time: str | None

    def __call__(self) -> Callable[[Piece], tuple[str, int, Put]]:
        from pairmine.stages.mix.components import telling
        from pairmine.stages.mix.splits import queries_in
        from pairmine.stages.mix.standins import Needs, stand_in

        columns = ["source", *(name for name in (self.ties.group, self.time) if name)]
        needs = Needs(copies=self.ties.copies != "ids", columns=columns)

        def tell(piece: Piece) -> tuple[str, int, Put]:
            pairs = _read(piece)
            told = telling(pairs, self.ties, self.time)
            put = put_texts(self.folder, piece, self._texts(told))
            return _put(self.folder, piece, stand_in(told, needs)), queries_in(pairs), put

        return tell

    def _texts(self, told: pa.Table) -> dict[str, pa.ChunkedArray]:
        """The texts whose near copies tie queries: theirs, and those of documents that go apart."""
        import pyarrow as pa

        from pairmine.stages.export.rows import query_runs
        from pairmine.stages.mix.components import positives_of, rows_apart

        if self.ties.copies != "near":
            return {}
        rows = rows_apart(positives_of(told, query_runs(told["query_id"])), self.ties.apart)
        of_side = {"query": told, "document": told.take(pa.array(rows))}
        return {side: some[side] for side, some in of_side.items() if side in told.column_names}


@dataclass(frozen=True)
class SplitWork:
    """Writes the split of each query; `firsts` is the number of the first query of each shard."""

    plan: Shared[SplitPlan]
    firsts: dict[int, int]

    def open(self) -> SplitWork:
        """Nothing is to be set up."""
        return self

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """The rows of a shard with their splits."""
        from pairmine.stages.mix.splits import part_pairs

        yield part_pairs(_read(piece), self.plan.get(), self.firsts[piece.number])

    def facts(self) -> dict[str, Any]:
        """Nothing: no model is at work."""
        return {}

    def sums(self) -> dict[str, int]:
        """Nothing beyond the counts."""
        return {}


def _read(piece: Piece) -> pa.Table:
    from pairmine.files.source import open_pairs

    return open_pairs(piece.path, lambda line: None).read()


def _put(folder: WorkFolder, piece: Piece, standing: pa.Table) -> str:
    path = folder.place(f"standins/{piece.number:05}.arrow")
    write_batches(path, [standing.unify_dictionaries()])
    return path


def _tables(paths: Iterable[str]) -> Iterator[pa.Table]:
    for path in paths:
        yield open_batches(path).read_all()
