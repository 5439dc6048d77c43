"""`pairmine check` on a cluster: a shard is tested as a file is, and what is known of all is put together here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairmine.cli.model_work import quiet
from pairmine.stages.check.chunk import Chunk, chunks_of
from pairmine.stages.check.splits import Splits, Tables
from pairmine.stages.check.stage import Checker, Report, Settings, report_of, run_checks, show_rows
from pairmine.stages.check.tallies import Tallies

if TYPE_CHECKING:
    from pairmine.cli.check import Opened
    from pairmine.cli.ray_run import Begins, RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece, Shared
    from pairmine.outcome import Outcome
    from pairmine.stages.check.facts import Facts
    from pairmine.stages.check.finding import Example
    from pairmine.stages.check.gathered import Gathered


class Shards:
    """A pair set in shards, which a cluster tests and mends."""

    def __init__(self, engine: RayEngine, opened: Opened, tokenizer: str | None, *, quiet: bool) -> None:
        from pairmine.cli.progress import Progress

        self.engine = engine
        self._tokenizer = tokenizer
        self._progress = Progress("check", quiet=quiet)
        with self._progress:
            self._rows = Rows(engine.pieces(self._progress, opened.source))

    def check(self, settings: Settings) -> Report:
        """What `stage.run_checks` finds in the rows, once they are mended in those that are left."""
        with self._progress:
            return _checked(self.engine, self._progress, self._rows, settings, self._tokenizer)

    def mend(self, run: Run, report: Report, added: tuple[str, ...]) -> None:
        """Write the rows without `report.drops`, as `check_fix.parted` parts them."""
        drops = self.engine.cluster.share(report.drops)
        self.engine.write(run, self._rows.pieces, Mending.of(report, drops, added, self.engine), step="mend")
        self._rows = replace(self._rows, drops=drops, added=added)


def _checked(engine: RayEngine, progress: Begins, rows: Rows, settings: Settings, tokenizer: str | None) -> Report:
    tests = Tests.of(settings, tokenizer, engine)
    gathered = settings.gathered()
    for _, found in engine.fold(progress, rows.pieces, Look(tests, rows), step=rows.step("look")):
        gathered.merge(found)
    if gathered.cuts_a_query:
        # Rows of a query stood apart, and --fix dropped those between: its shards cannot be tested one by one.
        return run_checks(rows.all, settings)
    return report_of(gathered, settings, _Again(engine, progress, rows, settings))


@dataclass(frozen=True)
class Rows:
    """The rows of the shards `pieces`, or those that are left without the numbers in `drops`, ascending from 0.

    Of the latter the columns `added` are left out.
    """

    pieces: Sequence[Piece]
    drops: Shared[np.ndarray] | None = None
    added: tuple[str, ...] = ()

    def of(self, piece: Piece) -> Iterable[pa.Table]:
        """The rows of a shard."""
        from pairmine.cli.check_fix import left

        tables = tables_of(piece)
        return tables if self.drops is None else left(tables, self.drops.get(), self.added, piece.first)

    def chunks(self, piece: Piece) -> Iterator[Chunk]:
        """The rows of a shard as the tests read them."""
        return chunks_of(self.of(piece), first=self.first(piece))

    def first(self, piece: Piece) -> int:
        """The number of the first row of a shard."""
        return piece.first - (0 if self.drops is None else int(np.searchsorted(self.drops.get(), piece.first)))

    def within(self, piece: Piece, numbers: list[int]) -> list[int]:
        """Those of the `numbers` of rows, ascending, that a shard has; of a mended one perhaps a few too many."""
        first = self.first(piece)
        return numbers[bisect_left(numbers, first) : bisect_left(numbers, first + piece.rows)]

    def all(self) -> Iterator[pa.Table]:
        """The rows of all shards."""
        for piece in self.pieces:
            yield from self.of(piece)

    def step(self, name: str) -> str:
        """What a fold over these rows is called."""
        return name if self.drops is None else f"mended-{name}"


def tables_of(piece: Piece) -> Iterable[pa.Table]:
    """The rows of a shard as they stand."""
    from pairmine.files.unchecked import open_unchecked

    return open_unchecked(piece.path, quiet).tables()


@dataclass(frozen=True)
class Tests:
    """How a worker sets the tests up: settings that travel, and those that are large and travel once."""

    settings: Settings
    tokenizer: str | None
    others: Shared[dict[str, Any]]

    @classmethod
    def of(cls, settings: Settings, tokenizer: str | None, engine: RayEngine) -> Tests:
        """Those of `settings`, which the driver uses."""
        others = {name: getattr(settings, name) for name in ("documents", "queries", "against", "splits")}
        nothing: dict[str, Any] = dict.fromkeys(others)
        travelling = replace(settings, **nothing, limit=replace(settings.limit, count=None), workers=1)
        return cls(travelling, tokenizer, engine.cluster.share(others))

    def open(self) -> Settings:
        """The settings as a worker uses them."""
        from pairmine.cli.check import counter

        limit = self.settings.limit
        if self.tokenizer is not None:
            limit = replace(limit, count=counter(self.tokenizer))
        return replace(self.settings, **self.others.get(), limit=limit)


@dataclass(frozen=True)
class Look:
    """Makes what tests a shard."""

    tests: Tests
    rows: Rows

    def __call__(self) -> Callable[[Piece], Gathered]:
        settings = self.tests.open()

        def look(piece: Piece) -> Gathered:
            checker = Checker(settings, self.rows.first(piece))
            for chunk in self.rows.chunks(piece):
                checker.add(chunk)
            return checker.gathered

        return look


@dataclass(frozen=True)
class _Again:
    """See `stage.Again`: the shards are read again where they lie."""

    engine: RayEngine
    progress: Begins
    rows: Rows
    settings: Settings

    def near_straddling(self, facts: Facts, exact: np.ndarray, found: Tallies) -> None:
        """See `stage.Again`; the texts of the smaller splits are brought together here."""
        if (splits := Splits.of(facts, exact)) is None:
            return
        pool = self.engine.cluster
        shared = pool.share(splits)
        texts = dict(self._fold(SplitTexts(self.rows, shared), "texts of splits"))
        in_order = [texts[number] for number in sorted(texts)]
        indexes = pool.share(splits.indexes(in_order, self.settings.workers))
        for _, tallies in self._fold(Straddling(self.rows, shared, indexes, found.like()), "rows between splits"):
            found.merge(tallies)

    def show(self, wanted: list[int]) -> dict[int, Example]:
        """See `stage.Again`."""
        shown: dict[int, Example] = {}
        having = [piece for piece in self.rows.pieces if self.rows.within(piece, wanted)]
        for _, examples in self._fold(Show(self.rows, wanted), "rows to show", having):
            shown |= examples
        return shown

    def _fold(self, make: Any, what: str, pieces: Sequence[Piece] | None = None) -> Iterator[tuple[int, Any]]:
        step = self.rows.step(what.replace(" ", "-"))
        some = self.rows.pieces if pieces is None else pieces
        for piece, found in self.engine.fold(self.progress, some, make, what=what, step=step):
            yield piece.number, found


@dataclass(frozen=True)
class SplitTexts:
    """Makes what gathers a shard's texts in all splits but the largest."""

    rows: Rows
    splits: Shared[Splits]

    def __call__(self) -> Callable[[Piece], Tables]:
        splits = self.splits.get()

        def texts(piece: Piece) -> Tables:
            found: Tables = {}
            for chunk in self.rows.chunks(piece):
                for code, parts in splits.texts(chunk).items():
                    found.setdefault(code, []).extend(parts)
            return found

        return texts


@dataclass(frozen=True)
class Straddling:
    """Makes what holds a shard against the smaller splits."""

    rows: Rows
    splits: Shared[Splits]
    indexes: Shared[Any]
    nothing: Tallies

    def __call__(self) -> Callable[[Piece], Tallies]:
        splits, indexes = self.splits.get(), self.indexes.get()

        def hold(piece: Piece) -> Tallies:
            found = self.nothing.like()
            for chunk in self.rows.chunks(piece):
                splits.hold(chunk, indexes, found)
            return found

        return hold


@dataclass(frozen=True)
class Show:
    """Makes what shows the rows `wanted`, ascending, as far as a shard has them."""

    rows: Rows
    wanted: list[int]

    def __call__(self) -> Callable[[Piece], dict[int, Example]]:
        def show(piece: Piece) -> dict[int, Example]:
            here = self.rows.within(piece, self.wanted)
            return show_rows(lambda: self.rows.of(piece), here, first=self.rows.first(piece))

        return show


@dataclass(frozen=True)
class Mending:
    """What `--fix` does with a shard: it drops the rows `drops`, each for its reason, a place in `names`."""

    drops: Shared[np.ndarray]
    reasons: Shared[np.ndarray]
    names: Sequence[str]
    added: tuple[str, ...]

    @classmethod
    def of(cls, report: Report, drops: Shared[np.ndarray], added: tuple[str, ...], engine: RayEngine) -> Mending:
        """The drops of a report, which `drops` hold for all workers."""
        names, codes = np.unique(report.reasons.astype(str), return_inverse=True)
        return cls(drops, engine.cluster.share(codes.astype(np.int16)), names.tolist(), added)

    def open(self) -> MendingJob:
        """See `shards.Work`."""
        names = np.array(self.names, object)
        return MendingJob(self.drops.get(), self.reasons.get(), names, self.added)


@dataclass(frozen=True)
class MendingJob:
    """See `shards.Job`."""

    drops: np.ndarray
    reasons: np.ndarray
    names: np.ndarray
    added: tuple[str, ...]

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """The rows of each table of the shard, kept and dropped."""
        from pairmine.cli.check_fix import parted

        low, high = np.searchsorted(self.drops, [piece.first, piece.first + piece.rows])
        here = slice(int(low), int(high))
        reasons = self.names[self.reasons[here]]
        yield from parted(tables_of(piece), self.drops[here], reasons, self.added, piece.first)

    def facts(self) -> dict[str, Any]:
        """None."""
        return {}

    def sums(self) -> dict[str, int]:
        """None."""
        return {}
