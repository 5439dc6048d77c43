"""`pairmine export` shard by shard: counts first, then training rows, then their numbers in the sidecar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairmine.cli import export_split
from pairmine.cli.export_output import refused_in

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece, Written
    from pairmine.files.sharded import PartedOutput
    from pairmine.stages.export import Survey, Target

SIDECAR = "sidecar"


@dataclass(frozen=True)
class Surveyed:
    """What a pair set or a shard of it holds: the counts, the splits that came by, and whether batches are planned."""

    survey: Survey
    splits: frozenset[str | None]
    is_planned: bool


@dataclass(frozen=True)
class Surveying:
    """Counts the rows of one split in a shard; `where` is what errors call the pair set."""

    scores: str | None
    target: str
    split: str | None
    where: str

    def __call__(self) -> Callable[[Piece], Surveyed]:
        from pairmine.stages.export import find_target
        from pairmine.stages.export.survey import Surveyor

        def survey(piece: Piece) -> Surveyed:
            surveyor = Surveyor(self.scores, find_target(self.target).unreadable)
            only = export_split.Only(self.split, self.where)
            planned = False
            for chunk in _chunks(piece):
                chosen = only.chosen(chunk)
                surveyor.add(chosen)
                planned |= is_planned(chosen)
            return Surveyed(surveyor.result(), frozenset(only.seen), planned)

        return survey


def survey_shards(
    engine: RayEngine, run: Run, pieces: Sequence[Piece], making: Surveying, only: export_split.Only
) -> tuple[Survey, bool]:
    """The counts of all shards, and whether any of their rows has a planned batch; `only` hears of the splits."""
    from pairmine.stages.export import Survey

    found = {piece.number: each for piece, each in engine.fold(run, pieces, making, what="pair rows counted")}
    whole = Survey()
    for piece in pieces:
        whole += found[piece.number].survey
        only.seen |= found[piece.number].splits
    only.check()
    return whole, any(each.is_planned for each in found.values())


@dataclass(frozen=True)
class ExportWork:
    """Training rows for the format `to`, with the options `words`, and their sidecar."""

    to: str
    survey: Survey
    positives: str
    words: Mapping[str, Any]
    split: str | None
    where: str

    def open(self) -> ExportWork:
        """Nothing is to be set up."""
        return self

    def outcomes(self, piece: Piece) -> Iterator[Written]:
        """The training rows of a shard; in the sidecar they are numbered from 0."""
        from pairmine.engines.shards import Written
        from pairmine.stages.export import export

        only = export_split.Only(self.split, self.where)
        written = 0
        for chunk in _chunks(piece):
            with refused_in(self.where):
                made = export(
                    only.chosen(chunk), to=self.to, survey=self.survey, positives=self.positives, **self.words
                )
            yield Written(made.outcome, {SIDECAR: moved(made.sidecar, written)})
            written += made.outcome.kept.num_rows

    def facts(self) -> dict[str, Any]:
        """Nothing: no model is at work."""
        return {}

    def sums(self) -> dict[str, int]:
        """Nothing beyond the counts."""
        return {}


def number_sidecar(engine: RayEngine, output: PartedOutput) -> None:
    """Number the rows of a sidecar through all its parts, now that it is known how many each has."""
    from pairmine.files.sharded import rows_of

    paths = output.paths()
    items: list[tuple[str, int]] = []
    first = 0
    for path in paths:
        items.append((path, first))
        first += rows_of(path)
    for _ in engine.cluster.map(_Numbering(), items):
        pass


@dataclass(frozen=True)
class _Numbering:
    def __call__(self) -> Callable[[tuple[str, int]], None]:
        from pairmine.files.sharded import open_part, read_tables

        def number(item: tuple[str, int]) -> None:
            path, first = item
            tables = list(read_tables(path))
            # A killed run may have numbered this part.
            if not first or not sum(map(len, tables)) or tables[0]["row"][0].as_py() == first:
                return
            sink = open_part(path)
            for table in tables:
                sink.write(moved(table, first))
            sink.commit([])

        return number


def moved(sidecar: pa.Table, by: int) -> pa.Table:
    """`sidecar` with its row numbers that much higher."""
    import pyarrow.compute as pc

    return sidecar.set_column(0, sidecar.schema.field(0), pc.add(sidecar["row"], by))


def is_planned(pairs: pa.Table) -> bool:
    """Whether any of the rows has a planned batch."""
    return "batch" in pairs.column_names and bool(pairs["batch"].null_count < pairs.num_rows)


def check_target(target: Target, output: str, push_to: str | None) -> None:
    """Raise a PairmineError for what one process writes alone."""
    from pairmine.errors import PairmineError
    from pairmine.files.locations import format_of

    if target.fill is not None:
        raise PairmineError(
            f"--to {target.name}: is a folder of few files that hold each text once, which one process writes; "
            "leave out --engine ray, or choose a format of rows ('pairmine export --list')"
        )
    if push_to and not format_of(output):
        raise PairmineError(f"--push-to sends files, and --engine ray writes a folder to {output}; name a file with -o")


def _chunks(piece: Piece) -> Iterator[pa.Table]:
    from pairmine.files.source import open_pairs

    return open_pairs(piece.path, lambda line: None).chunks()
