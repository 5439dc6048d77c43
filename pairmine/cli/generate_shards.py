"""`pairmine generate` on shards: workers ask about one each, the driver compares them, and workers write their rows.

What a shard's rows are hangs on the shards before it in two ways: a generation may be a copy of an earlier one, and a
query may stand already. So rows are written last, out of replies that are all there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pairmine.cli.ask_shards import STEP, Answers, Prepared, ask_shards
from pairmine.cli.generate_input import open_input
from pairmine.engines.cut import write_shard
from pairmine.engines.desk import Client
from pairmine.engines.shards import Piece
from pairmine.files.sharded import WorkFolder, exists, read_tables
from pairmine.llm.asking import Asker
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import Plan, Task, in_order
from pairmine.stages.generate import tasks_of, write_pairs
from pairmine.stages.generate.across import Ruling, Telling, Verdict

if TYPE_CHECKING:
    from pairmine.cli.llm_session import Session
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.files.source import Source
    from pairmine.outcome import Outcome

_UNITS_A_TABLE = 2048


def write_shards(
    engine: RayEngine,
    run: Run,
    session: Session,
    render: Callable[[], Renderer],
    source: Source | None,
    some: Callable[[], Iterator[pa.Table]] | None,
    samples: int,
    duplicates: float | None,
) -> int:
    """Write all pairs; how many samples there were. With a --limit, `some` are the tables of the source up to it."""
    if session.recipe.duplicates is None:
        duplicates = None  # there is nothing that could be a copy
    recipe = Prepared(render, session.model, session.options.retries_invalid, session.options.sampling())
    pieces = _pieces(engine, run, source, some, samples)
    run.detail(**session.facts)
    made = Made(recipe, engine.folder, 1 if source is None else samples, duplicates)
    each = None if session.recipe.reads == "groups" else made.samples
    asked = ask_shards(engine, run, session, made, pieces, what="samples", most=each)
    _rule(made, pieces)
    engine.write(run, pieces, Writing(made, stand_in=session.spec.kind == "fake"))
    run.sum_up(**session.spent())
    run.add_to_report(session.report())
    return asked


@dataclass(frozen=True)
class Made:
    """What all steps about a shard share: the plan, and where the results of the step before lie."""

    recipe: Prepared
    folder: WorkFolder
    samples: int
    duplicates: float | None

    def tasks(self, plan: Plan, piece: Piece) -> Iterator[Task]:
        """The tasks of a shard."""
        if plan.recipe.reads == "nothing":
            return tasks_of(plan, (), piece.rows, piece.first)
        return tasks_of(plan, _tables_of(plan, piece), self.samples)

    def place(self, what: str, piece: Piece) -> str:
        """Where "told" or "verdict" of a shard lie."""
        return self.folder.place(f"{STEP}/{what}-{piece.number:05}.parquet")

    def ask(self, plan: Plan, piece: Piece, asker: Asker[Any], client: Client) -> None:
        """See `ask_shards.Inquiry`: also tells the driver what was written."""
        telling = Telling(plan, self.duplicates)
        told: list[pa.Table] = []
        units: list[Task] = []
        for task in in_order(self.tasks(plan, piece), asker, window=client.window, advance=client.advance):
            units += task.units
            if len(units) >= _UNITS_A_TABLE:
                told.append(telling.of(units))
                units = []
        write_shard(self.place("told", piece), [*told, telling.of(units)])

    def is_whole(self, piece: Piece) -> bool:
        """See `ask_shards.Inquiry`."""
        return exists(self.place("told", piece))


# --- the shards -----------------------------------------------------------------------------------


def _pieces(
    engine: RayEngine,
    run: Run,
    source: Source | None,
    some: Callable[[], Iterator[pa.Table]] | None,
    samples: int,
) -> list[Piece]:
    if source is None:
        firsts = range(0, samples, engine.rows)
        return [Piece(at, "", min(engine.rows, samples - first), first) for at, first in enumerate(firsts)]
    if some is None:
        return engine.pieces(run, source)
    pieces: list[Piece] = []
    for number, table in enumerate(some()):
        path = engine.folder.place(f"input/some/part-{number:05}.parquet")
        write_shard(path, [table])
        pieces.append(Piece(number, path, table.num_rows, 0))
    return pieces


def _tables_of(plan: Plan, piece: Piece) -> Iterator[pa.Table]:
    from pairmine.files.source import PairSource

    source = open_input(plan.recipe, piece.path, {}, lambda line: None)
    assert source is not None
    return source.chunks() if plan.recipe.reads == "groups" and isinstance(source, PairSource) else source.tables()


# --- comparing ------------------------------------------------------------------------------------


def _rule(made: Made, pieces: list[Piece]) -> None:
    """Tell each shard which of its generations are copies, and which of its queries stand already."""
    ruling = Ruling(made.duplicates)
    for piece in pieces:
        told = pa.concat_tables(read_tables(made.place("told", piece)))
        write_shard(made.place("verdict", piece), list(ruling.of(told)))


# --- writing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writing:
    """Rows of a shard whose answers are all there. See `shards.Work`."""

    made: Made
    stand_in: bool

    def open(self) -> WritingJob:
        """Nothing is loaded."""
        return WritingJob(self, self.made.recipe.plan())


@dataclass(frozen=True)
class WritingJob:
    """See `shards.Job`."""

    work: Writing
    plan: Plan

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """The rows, as one machine would write them behind those of the shards before."""
        made = self.work.made
        verdict = Verdict(pa.concat_tables(read_tables(made.place("verdict", piece))))
        asker: Asker[Any] = Asker(None, Answers(made.folder, piece), recipe=self.plan.recipe.name)
        yield from write_pairs(
            self.plan,
            made.tasks(self.plan, piece),
            asker,
            stand_in=self.work.stand_in,
            duplicates=None if made.duplicates is None else verdict,
            written=verdict.written,
        )
        if made.duplicates is not None:
            verdict.check_all_told()

    def facts(self) -> dict[str, Any]:
        """The driver knows them already."""
        return {}

    def sums(self) -> dict[str, int]:
        """None."""
        return {}
