"""The options of `mix` that part a pair set into splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli.run import Run, choice, cores, without_effect
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.files.source import PairSource
    from pairmine.outcome import Outcome
    from pairmine.stages.mix.components import Ties
    from pairmine.stages.mix.parts import Part
    from pairmine.stages.mix.splits import SplitPlan
    from pairmine.stages.mix.standins import NearCopies

_PANEL = "Splits"

Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME=SHARE,...",
        help="Part the queries, as train=.9,dev=.1 or dev=1000,train=rest; the column split says where each is. With "
        "{split} in OUT every split gets a file of its own.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
SplitBy = Annotated[
    str,
    typer.Option(
        "--split-by",
        metavar="query|group:COLUMN|time:COLUMN",
        help="group: queries with one value in COLUMN go together; time: the splits follow each other by COLUMN, the "
        "one named last having the latest.",
        rich_help_panel=_PANEL,
    ),
]
SplitApart = Annotated[
    str,
    typer.Option(
        "--split-apart",
        metavar="queries|positives|documents",
        help="What no two splits share: queries alone; their positives too; or all documents, negatives as well.",
        rich_help_panel=_PANEL,
    ),
]
SplitCopies = Annotated[
    str,
    typer.Option(
        "--split-copies",
        metavar="near|exact|ids",
        help="When two texts are one: a Jaccard similarity of 0.8 by word 3-grams; the same but for case and blanks; "
        "or by their ids alone.",
        rich_help_panel=_PANEL,
    ),
]
BY_QUERY, POSITIVES, NEAR = "query", "positives", "near"
_OPTIONS = ("split_by", "split_apart", "split_copies")
_MIXING = ("alpha", "by", "weight")


@dataclass(frozen=True)
class Splitting:
    """What `--split` and its options ask for. `is_alone` says that nothing is mixed: one pair set keeps its order.

    `files` are those that the splits go to, none where all rows go into one.
    """

    parts: Sequence[Part]
    ties: Ties
    time: str | None
    is_alone: bool
    files: Sequence[str]
    seed: int
    workers: int

    def maker(self, engine: RayEngine | None) -> Callable[[str, str | None], Any] | None:
        """What opens a file for each split, or parts that an `engine` joins into them; None where one file has all."""
        from pairmine.files.split_sink import maker

        if not self.files:
            return None
        files = maker([part.name for part in self.parts])
        return (lambda output, kind: engine.make_sink(output, kind, "out", files)) if engine else files

    def claim(self, run: Run) -> None:
        """See to it that no other output or input of the run takes the place of a split's file."""
        run.also_writes("-o", self.files)

    def write(self, run: Run, path: str, engine: RayEngine | None = None) -> None:
        """Read a pair set twice, to plan and to part it, and write it chunk by chunk, or shard by shard."""
        import pyarrow as pa

        from pairmine.cli.mix_shards import split_shards
        from pairmine.files.source import open_pairs
        from pairmine.stages.mix.splits import part_pairs, queries_in

        source = run.reads(open_pairs(path, run.say, replay=True), "pairs")
        if engine:
            tell_renamed(run, *split_shards(engine, run, source, self))
            return
        plan = self.plan(run, self._telling(run, source))
        # What planning took would otherwise stay with the allocator while the rows are written.
        pa.default_memory_pool().release_unused()
        advance = run.begin("pair rows written", source.rows)
        first = 0
        for chunk in source.chunks(unified=False):
            outcome = part_pairs(chunk, plan, first)
            run.write(outcome)
            first += queries_in(chunk)
            advance(chunk.num_rows)
        tell_renamed(run, chunk.column_names, outcome.kept.column_names)

    def _telling(self, run: Run, source: PairSource) -> pa.Table:
        """The rows that say what ties the queries, out of a first reading."""
        from pairmine.stages.mix import joined
        from pairmine.stages.mix.components import telling

        advance = run.begin("pair rows read")

        def chunk_by_chunk() -> Iterator[pa.Table]:
            for chunk in source.chunks(unified=False):
                yield telling(chunk, self.ties, self.time)
                advance(chunk.num_rows)

        return joined(chunk_by_chunk())

    def after(self, run: Run, mixed: Outcome) -> Outcome:
        """What `mix` kept with its splits; what either rejects is rejected."""
        import pyarrow as pa

        from pairmine.outcome import Outcome
        from pairmine.stages.mix.components import telling
        from pairmine.stages.mix.splits import part_pairs

        plan = self.plan(run, telling(mixed.kept, self.ties, self.time))
        found = part_pairs(mixed.kept, plan)
        tell_renamed(run, mixed.kept.column_names, found.kept.column_names)
        rejected = pa.concat_tables([mixed.rejected, found.rejected.select(mixed.rejected.column_names)])
        notes = {**mixed.notes, **found.notes}
        return Outcome(found.kept, rejected, rows_in=mixed.rows_in, added=mixed.added, notes=notes)

    def plan(self, run: Run, rows: pa.Table, near: NearCopies | None = None) -> SplitPlan:
        """Which split each query goes to, by the rows that tell what ties them; `near` is known of stand-ins."""
        from pairmine.stages.mix.splits import plan_splits

        plan = plan_splits(
            rows,
            self.parts,
            seed=self.seed,
            ties=self.ties,
            time=self.time,
            near=near,
            workers=cores(self.workers),
            tell=run.say,
        )
        if plan.giant:
            run.add_to_report([f"warning: {plan.giant}"])
        return plan


def splitting_of(context: typer.Context) -> Splitting | None:
    """What is to be split, None without `--split`; raises a PairmineError for options that do not fit."""
    from pairmine.files.split_sink import HOLE, split_targets
    from pairmine.stages.mix.components import APART, COPIES, Ties
    from pairmine.stages.mix.parts import parse_parts

    given = context.params
    output: str = given["output"]
    if given["split"] is None:
        without_effect(context, "without --split", *_OPTIONS)
        if HOLE in output:
            raise PairmineError(f"{output}: {HOLE} wants --split, as in --split train=.9,dev=.1")
        return None
    parts = parse_parts(given["split"])
    choice("--split-apart", given["split_apart"], APART)
    choice("--split-copies", given["split_copies"], COPIES)
    kind, _, column = given["split_by"].partition(":")
    if kind not in ("query", "group", "time") or bool(column) != (kind != "query"):
        raise PairmineError(f"--split-by {given['split_by']}: choose query, group:COLUMN, time:COLUMN")
    is_alone = len(given["pairs"]) == 1 and given["size"] is None
    _check_mixing(context, is_alone)
    return Splitting(
        parts,
        Ties(given["split_apart"], given["split_copies"], column if kind == "group" else None),
        column if kind == "time" else None,
        is_alone,
        split_targets(output, [part.name for part in parts]) if HOLE in output else [],
        given["seed"],
        given["workers"],
    )


def _check_mixing(context: typer.Context, is_alone: bool) -> None:
    if context.params["batches"] != "none":
        raise PairmineError(
            "--batches and --split: batches are planned for training alone; split first, then run "
            "'pairmine mix TRAIN --batches ...' on the split to train on"
        )
    if context.params["repeat"]:
        raise PairmineError(
            "--repeat and --split: a test set has no use for repeats; split first, then mix the split to train on"
        )
    if is_alone:
        without_effect(context, "with --split and one pair set, which keeps all its rows", *_MIXING)


def tell_renamed(run: Run, before: Sequence[str], after: Sequence[str]) -> None:
    """Say so where a column that the pairs had is called otherwise now."""
    if renamed := [name for name in after if name not in (*before, "split")]:
        run.say(f'the column "split" that the pairs had is now "{renamed[0]}"')
