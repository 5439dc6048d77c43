"""An LLM as the scorer of `pairmine score` on shards: workers ask about one each, then write its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.cli.ask_shards import Answers, Prepared, ask_shards
from pairmine.cli.model_work import ModelJob, quiet
from pairmine.cli.score_work import NO_SCORE
from pairmine.engines.desk import Client
from pairmine.engines.shards import Piece
from pairmine.files.sharded import WorkFolder
from pairmine.files.source import open_pairs
from pairmine.llm.asking import Asker
from pairmine.llm.judging import Judge
from pairmine.llm.tasks import Plan
from pairmine.outcome import Outcome
from pairmine.stages.score_rows import RowChoice, score_chosen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pairmine.cli.llm_session import Session
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run


def judge_shards(
    engine: RayEngine, run: Run, session: Session, pieces: list[Piece], work: JudgeWork
) -> Mapping[str, int]:
    """Write all rows with their verdicts; what the judges of all shards counted."""
    ask_shards(engine, run, session, work, pieces, what="rows", most=None if work.choice.wanted else 1)
    return engine.write(run, pieces, work)


@dataclass(frozen=True)
class JudgeWork:
    """The column `score_<name>` for the rows of `choice`, by a recipe; see `ask_shards.Inquiry` and `shards.Work`."""

    recipe: Prepared
    folder: WorkFolder
    choice: RowChoice
    name: str

    def ask(self, plan: Plan, piece: Piece, asker: Asker[Any], client: Client) -> None:
        """Have all pairs of a shard judged, for the replies alone."""
        for _ in self.scored(piece, Judge(plan, asker, {}, client.window), client.advance):
            pass

    def is_whole(self, piece: Piece) -> bool:
        """The replies are all that is left."""
        return True

    def open(self) -> _JudgeJob:
        """See `shards.Work`."""
        return _JudgeJob(self, self.recipe.plan())

    def scored(self, piece: Piece, judge: Judge, advance: Advance = nothing) -> Iterator[Outcome]:
        """The rows of a shard with their verdicts."""
        for chunk in open_pairs(piece.path, quiet).chunks():
            yield score_chosen(chunk, judge, self.choice, name=self.name, advance=advance)


class _JudgeJob(ModelJob):
    def __init__(self, work: JudgeWork, plan: Plan) -> None:
        super().__init__()
        self._work = work
        self._plan = plan
        self._totals: Counter[str] = Counter()

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        asker: Asker[Any] = Asker(None, Answers(self._work.folder, piece), recipe=self._plan.recipe.name)
        judge = Judge(self._plan, asker, {})
        yield from self._work.scored(piece, judge)
        self._totals["asked"] += judge.asked
        self._totals.update({NO_SCORE + reason: count for reason, count in judge.reasons.items()})

    def facts(self) -> dict[str, Any]:
        return {}  # the driver knows them already

    def totals(self) -> dict[str, int]:
        return dict(self._totals)
