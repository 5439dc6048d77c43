"""A model's verdict on a sample of candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pairmine.cli.llm_options import LlmOptions, assignments
from pairmine.cli.run import say, without_effect
from pairmine.cli.store_options import NONE
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import pyarrow as pa
    import typer

    from pairmine.backends.specs import Spec
    from pairmine.llm.recipes.recipe import PromptRecipe
    from pairmine.llm.recipes.rendering import Renderer
    from pairmine.stages.calibrate import Labels

_FLAG = "--judge"
_RECIPE, _RELATION = "judge", "relation"
_ASKED = ("recipe", "set_", "shots", "dry_run", "probe", *LlmOptions.__dataclass_fields__)


class SampleJudge:
    """An LLM that is asked about a sample, or a cross-encoder that scores it; relevant from `threshold` on."""

    def __init__(
        self,
        context: typer.Context,
        options: LlmOptions,
        sample: pa.Table,
        *,
        threshold: float,
        tell: Callable[[str], None],
    ) -> None:
        from pairmine.backends.specs import locate, parse_spec
        from pairmine.stages.score import check_texts

        values = context.params
        self._spec: Spec = parse_spec(values["judge"], ("ce", "openai", "vllm", "fake"), _FLAG)
        self._options, self._sample, self._threshold, self._tell = options, sample, threshold, tell
        self._quiet: bool = values["quiet"]
        self._workers: int = values["workers"]
        if not 0 < threshold <= 1:
            raise PairmineError(f"--judge-threshold {threshold:g}: verdicts are from 0 to 1, so it is above 0, up to 1")
        if self._spec.kind == "ce":
            without_effect(context, f"with {_FLAG} {self._spec}", *_ASKED)
            locate(self._spec, _FLAG)
        else:
            without_effect(context, f"with {_FLAG} {self._spec}", "store")
            if not values["dry_run"]:
                without_effect(context, "without --dry-run", "probe")
        self._store: str | None = None if values["store"] == NONE else values["store"]
        self._recipe_name: str = values["recipe"] or _RECIPE
        self._set = _asked_for_relevance(self._recipe_name, values["set_"] or [])
        self._shots: int | None = values["shots"]
        check_texts(sample)

    def labels(self) -> Labels:
        """The verdicts, null where there is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from pairmine.stages.calibrate import Labels

        scores = self._score() if self._spec.kind == "ce" else self._ask()
        finite = pc.if_else(pc.is_finite(scores), scores, pa.scalar(None, pa.float32()))
        label = pc.cast(pc.greater_equal(finite, self._threshold), pa.int8())
        table = self._sample.select(["query_id", "doc_id"]).append_column("label", label)
        return Labels(table, f"verdicts of {self._spec.public()} (relevant from {self._threshold:g})")

    def estimate(self, probe: int) -> None:
        """Tell what it would cost to ask."""
        from pairmine.cli.estimate import show_estimate
        from pairmine.cli.llm_session import Session
        from pairmine.llm.judging import verdicts
        from pairmine.stages.score import distinct_pairs

        recipe, renderer = self._recipe()
        with Session(self._options, self._spec, recipe, say, only_looks=not probe) as session:
            show_estimate(
                session,
                renderer,
                lambda plan: verdicts(plan, *distinct_pairs(self._sample)[:2]),
                command="calibrate",
                probe=probe,
                summary=None,
            )

    def _recipe(self) -> tuple[PromptRecipe, Renderer]:
        from pairmine.llm.recipes.file import load_recipe
        from pairmine.llm.recipes.rendering import Renderer

        recipe = load_recipe(self._recipe_name)
        if recipe.score is None:
            raise PairmineError(f"recipe {recipe.name} writes pairs and gives no score, so it can judge none")
        return recipe, Renderer(recipe, options=assignments("--set", self._set), shots=self._shots)

    def _ask(self) -> pa.ChunkedArray:
        from pairmine.cli.llm_session import Session
        from pairmine.cli.progress import Progress
        from pairmine.llm.judging import Judge
        from pairmine.stages.score import score_pairs

        recipe, renderer = self._recipe()
        progress = Progress("calibrate", quiet=self._quiet)
        with Session(self._options, self._spec, recipe, self._tell) as session:
            judge = Judge(session.plan(renderer), session.start(), {}, session.window)
            advance = progress.begin("candidates", self._sample.num_rows, session.status)
            try:
                scored = score_pairs(self._sample, judge, name="verdict", advance=advance).kept
            finally:
                progress.end()
            session.finish()
            reasons = [f"no verdict on {count:,} candidates: {why}" for why, count in judge.reasons.most_common()]
            for line in (*reasons, *session.report()):
                self._tell(line)
        if judge.asked and sum(judge.reasons.values()) == judge.asked:
            raise PairmineError(
                f"{_FLAG} {self._spec}: no verdict on any of {judge.asked:,} candidates; mend that first"
            )
        return scored["score_verdict"]

    def _score(self) -> pa.ChunkedArray:
        from pairmine.backends.models import use_threads
        from pairmine.backends.scorers import open_scorer
        from pairmine.cli.progress import Progress
        from pairmine.cli.scoring import Keeps
        from pairmine.stages.score import score_pairs

        use_threads(self._workers)
        scorer = open_scorer(self._spec, store=self._store)
        progress = Progress("calibrate", quiet=self._quiet)
        try:
            advance = progress.begin("candidates", self._sample.num_rows)
            scores = score_pairs(self._sample, scorer, name="verdict", advance=advance).kept["score_verdict"]
        finally:
            progress.end()
        if isinstance(scorer, Keeps):
            self._tell(f"{scorer.asked:,} pairs scored, {scorer.reused:,} found in {scorer.folder}")
        return scores


def _asked_for_relevance(recipe: str, given: list[str]) -> list[str]:
    """What --set gives a recipe: of 'judge' the relevance, whose own default is how alike two texts mean.

    A document that answers a query is not alike to it, so that by likeness hardly any candidate would be false.
    """
    if recipe != _RECIPE or any(each.partition("=")[0].strip() == _RELATION for each in given):
        return given
    return [f"{_RELATION}=relevance", *given]
