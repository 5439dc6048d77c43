"""`pairmine derive` on shards: what a worker does with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.recipes import MODELS, Recipe, find_recipe

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece
    from pairmine.outcome import Outcome


def derive_shards(
    engine: RayEngine,
    run: Run,
    source: Any,
    recipe: Recipe,
    resources: Mapping[str, Any],
    options: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    """Write the pairs of every shard of `source`; `given` are the command's options."""
    kinds = {each.keyword: each.kind for each in recipe.resources}
    work = DeriveWork(
        recipe.name,
        given["seed"],
        options,
        held={name: value for name, value in resources.items() if kinds[name] not in MODELS},
        models={name: given[name] for name in resources if kinds[name] in MODELS},
        name="standard input" if given["source"] == "-" else given["source"],
    )
    pieces = engine.pieces(run, source)
    if given["sample"]:
        found = engine.fold(run, pieces, Sampling(work, given["sample"]), what="rows looked at", step="sample")
        work = replace(work, only=_smallest((ids for _, ids in found), given["sample"], given["seed"]))
    engine.write(run, pieces, work)


@dataclass(frozen=True)
class DeriveWork:
    """Pairs of a shard. `held` are resources that travel, `models` specs of those that a worker loads.

    `only` are the queries of a sample, None for all. `name` is what errors call the input.
    """

    recipe: str
    seed: int
    options: Mapping[str, Any]
    held: Mapping[str, Any]
    models: Mapping[str, str]
    name: str
    only: frozenset[str] | None = None

    def open(self) -> DeriveJob:
        """See `shards.Work`."""
        from pairmine.cli.resources import open_resources

        recipe = find_recipe(self.recipe)
        of_models = replace(recipe, resources=tuple(each for each in recipe.resources if each.keyword in self.models))
        opened = open_resources(of_models, _Worker(), self.models)  # type: ignore[arg-type]
        return DeriveJob(self, recipe, {**self.held, **opened})


@dataclass(frozen=True)
class DeriveJob:
    """See `shards.Job`."""

    work: DeriveWork
    recipe: Recipe
    resources: Mapping[str, Any]

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """The pairs of each table of the shard."""
        from pairmine.stages.derive import derive

        work = self.work
        for table in read_piece(self.recipe, piece):
            try:
                outcome = derive(work.recipe, table, seed=work.seed, resources=self.resources, **work.options)
            except PairmineError as error:
                raise PairmineError(f"{work.name}: {error}", exit_code=error.exit_code) from None
            yield outcome if work.only is None else _within(outcome, work.only)

    def facts(self) -> dict[str, Any]:
        """The driver knows them already."""
        return {}

    def sums(self) -> dict[str, int]:
        """None."""
        return {}


@dataclass(frozen=True)
class Sampling:
    """Makes what tells the queries of a shard that a sample of `size` may take."""

    work: DeriveWork
    size: int

    def __call__(self) -> Callable[[Piece], list[str]]:
        from pairmine.stages.derive.sample import first_queries

        job = self.work.open()

        def queries(piece: Piece) -> list[str]:
            kept = pa.concat_tables([outcome.kept.select(["query_id"]) for outcome in job.outcomes(piece)])
            return first_queries(kept, self.size, seed=self.work.seed)

        return queries


def read_piece(recipe: Recipe, piece: Piece) -> Iterable[pa.Table]:
    """The rows of a shard as the recipe reads them."""
    from pairmine.files.columns import Wanted
    from pairmine.files.sharded import read_tables
    from pairmine.files.source import open_documents, open_pairs, open_rows

    if recipe.reads == "code":
        return read_tables(piece.path)
    if recipe.reads == "documents":
        return open_documents(piece.path, _nothing).tables()
    if recipe.reads == "pairs":
        return open_pairs(piece.path, _nothing).tables()
    wanted = [Wanted(each.name, each.aliases, f"--{each.name}-column", each.required) for each in recipe.inputs]
    return open_rows(piece.path, wanted, _nothing).tables()


def _nothing(line: str) -> None:
    """The driver has said it."""


def _smallest(found: Iterable[list[str]], size: int, seed: int) -> frozenset[str]:
    from pairmine.stages.derive.sample import smallest

    return frozenset(smallest({name for ids in found for name in ids}, size, seed=seed))


def _within(outcome: Outcome, only: frozenset[str]) -> Outcome:
    chosen = pc.is_in(outcome.kept["query_id"], pa.array(sorted(only), pa.string()))
    kept = outcome.kept.filter(chosen)
    left_out = outcome.kept.num_rows - kept.num_rows
    notes = {**outcome.notes, "pairs not in the sample": left_out} if left_out else outcome.notes
    return replace(outcome, kept=kept, notes=notes)


class _Worker:
    """Stands in for a `Run` where models are opened on a worker, which shows nothing and keeps no lineage."""

    @property
    def progress(self) -> _Worker:
        return self

    def loading(self, *specs: Any) -> Any:
        """Nothing is said."""
        return nullcontext()

    def detail(self, **values: Any) -> None:
        """The driver keeps it."""
