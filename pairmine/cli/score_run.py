"""How a run of `pairmine score` fills columns: in this process, or on the workers of a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairmine.cli.run import Run
from pairmine.cli.score_work import NO_SCORE, Facts, FillWork, Look, ScoreWork
from pairmine.cli.scoring import checked_rows, unscored
from pairmine.cli.store_options import embedded_words

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.engines.shards import Piece
    from pairmine.files.source import PairSource
    from pairmine.stages.score_rows import RowChoice


@dataclass
class Filled:
    """Of the `asked` pairs, `reasons` counts why some have no score; see `scoring.Explains`."""

    asked: int
    reasons: Counter[str]

    @classmethod
    def of(cls, sums: Mapping[str, int]) -> Filled:
        """What the sums of all jobs say of it."""
        reasons = {name.removeprefix(NO_SCORE): count for name, count in sums.items() if name.startswith(NO_SCORE)}
        return cls(sums.get("asked", 0), Counter(reasons))


def fill(run: Run, source: PairSource, work: FillWork, *, engine: RayEngine | None, workers: int) -> Filled:
    """Write all rows of `source` with the columns of `work`, and report what was computed for it."""
    sums = _on_cluster(run, source, work, engine) if engine else _here(run, source, work, workers)
    filled = Filled.of(sums)
    run.add_to_report(unscored(filled))
    _report_kept(run, work, sums)
    return filled


def _here(run: Run, source: PairSource, work: FillWork, workers: int) -> Mapping[str, int]:
    from pairmine.backends.models import use_threads

    rows = checked_rows(source, work.sides, work.choice)
    use_threads(workers)
    with run.progress.loading(work.spec):
        job = work.open(run.say)
    facts = job.facts()
    work.check(source, facts)
    run.detail(**facts)
    advance = run.begin("rows", work.choice.many(rows))
    with job.held():
        for chunk in source.chunks():
            run.write(job.of(chunk, advance))
    return job.sums()


def _on_cluster(run: Run, source: PairSource, work: FillWork, engine: RayEngine) -> Mapping[str, int]:
    pieces = engine.pieces(run, source)
    look_at(run, engine, pieces, work.choice, work.sides)
    if work.choice.wanted.missing:
        for _, facts in engine.cluster.map(Facts(work), [None], resident=True):
            work.check(source, facts)
    return engine.write(run, pieces, work.shared_by(engine.cluster.workers), resident=True)


def look_at(
    run: Run,
    engine: RayEngine,
    pieces: list[Piece],
    choice: RowChoice,
    sides: tuple[str, ...] = ("query", "document"),
) -> int:
    """Look at all shards as `checked_rows` looks at a file; how many rows there are."""
    look = Look(sides, deepcopy(choice))
    for _, seen in engine.fold(run, pieces, look, what="rows looked at", step="look"):
        choice.merge(seen)
    return sum(piece.rows for piece in pieces)


def _report_kept(run: Run, work: FillWork, sums: Mapping[str, int]) -> None:
    """Have `run` tell how much a model was asked and how much was found; nothing where nothing is counted."""
    if "scored" in sums:
        run.sum_up(scored=sums["scored"], reused=sums["reused"])
        run.add_to_report([f"{sums['scored']:,} pairs scored, {sums['reused']:,} found in {Path(work.store or '')}"])
    elif "embedded" in sums:
        if isinstance(work, ScoreWork):
            run.sum_up(embedded=sums["embedded"], reused=sums["reused"])
        run.add_to_report([embedded_words(sums["embedded"], sums["reused"], work.store)])
