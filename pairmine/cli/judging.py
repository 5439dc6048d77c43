"""An LLM as the scorer of `pairmine score`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from pairmine.cli.llm_options import LlmOptions, assignments
from pairmine.cli.run import Run, say
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.backends.specs import Spec
    from pairmine.cli.llm_session import Session
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.scoring import Explains
    from pairmine.engines.shards import Piece
    from pairmine.files.source import PairSource
    from pairmine.llm.tasks import Plan, Task
    from pairmine.stages.score_rows import RowChoice


class Judging:
    """A recipe with a score, asked of a model about the chosen rows of one run."""

    def __init__(self, options: LlmOptions, spec: Spec, recipe: str, given: list[str], shots: int | None) -> None:
        from pairmine.llm.recipes.file import load_recipe
        from pairmine.llm.recipes.rendering import Renderer

        self._options = options
        self._spec = spec
        self._recipe = load_recipe(recipe)
        if self._recipe.score is None:
            raise PairmineError(
                f"recipe {self._recipe.name} writes pairs and gives no score; "
                f"run 'pairmine generate {self._recipe.name} INPUT --llm {spec}'"
            )
        self._given = given
        self._remark = _remark(recipe, given)
        self._render = partial(Renderer, self._recipe, options=assignments("--set", given), shots=shots)
        self._renderer = self._render()

    def run(self, run: Run, source: PairSource, choice: RowChoice, name: str, engine: RayEngine | None) -> Explains:
        """Score the chosen rows of `source`; what is to be said of those without a score."""
        from pairmine.cli.llm_session import Session
        from pairmine.cli.score_run import look_at
        from pairmine.cli.scoring import check_same_model, checked_rows, unscored

        with Session(self._options, self._spec, self._recipe, run.say) as session:
            session.guard(run, self._recipe.path)
            if self._remark:
                run.say(self._remark)
            pieces = engine.pieces(run, source) if engine else []
            rows = look_at(run, engine, pieces, choice) if engine else checked_rows(source, choice=choice)
            if choice.wanted.missing:
                check_same_model(source, name, {**session.facts, "options": {"set_": self._given}})
            if choice.wanted:
                run.say(f"asking about {choice.words(rows)}; --dry-run tells what that costs")
            run.detail(**session.facts)
            if engine:
                judged = self._on_cluster(engine, run, session, pieces, choice, name)
            else:
                judged = self._here(run, session, source, choice, name, choice.many(rows))
            run.sum_up(**session.spent())
            run.add_to_report([*unscored(judged), *session.report()])
            return judged

    def _here(
        self, run: Run, session: Session, source: PairSource, choice: RowChoice, name: str, rows: int | None
    ) -> Explains:
        from pairmine.cli.scoring import write_scores
        from pairmine.llm.judging import Judge

        judge = Judge(session.plan(self._renderer), session.start(), {}, session.window)
        write_scores(run, source, choice, judge, name, run.begin("rows", rows, session.status))
        session.finish()
        return judge

    def _on_cluster(
        self, engine: RayEngine, run: Run, session: Session, pieces: list[Piece], choice: RowChoice, name: str
    ) -> Explains:
        from pairmine.cli.ask_shards import Prepared
        from pairmine.cli.judge_shards import JudgeWork, judge_shards
        from pairmine.cli.score_run import Filled

        recipe = Prepared(self._render, session.model, self._options.retries_invalid, self._options.sampling())
        work = JudgeWork(recipe, engine.folder, choice, name)
        return Filled.of(judge_shards(engine, run, session, pieces, work))

    def estimate(self, source: PairSource, choice: RowChoice, probe: int, summary: str | None) -> None:
        """Tell what it would cost."""
        from pairmine.cli.estimate import show_estimate
        from pairmine.cli.llm_session import Session
        from pairmine.cli.scoring import checked_rows

        if self._remark:
            say(self._remark)
        rows = checked_rows(source, choice=choice)
        with Session(self._options, self._spec, self._recipe, say, only_looks=not probe) as session:
            show_estimate(
                session,
                self._renderer,
                lambda plan: _tasks(plan, source, choice),
                command="score",
                probe=probe,
                summary=summary,
                also=[("asked about", choice.words(rows))] if choice.wanted else [],
            )


def _remark(recipe: str, given: list[str]) -> str:
    """What 'judge' is taken to ask where --set does not say it; nothing of other recipes."""
    if recipe != "judge" or any(each.partition("=")[0].strip() == "relation" for each in given):
        return ""
    return (
        "the judge is asked how alike the two texts mean; --set relation=relevance asks how well the document "
        "answers the query, which is what tells false negatives"
    )


def _tasks(plan: Plan, source: PairSource, choice: RowChoice) -> Iterator[Task]:
    """A task for each distinct pair among the chosen rows of each chunk."""
    import pyarrow as pa

    from pairmine.llm.judging import verdicts
    from pairmine.stages.score import distinct_pairs

    for chunk in source.chunks():
        chosen, _ = choice.of(chunk)
        yield from verdicts(plan, *distinct_pairs(chunk.filter(pa.array(chosen)))[:2])
