"""An LLM as a scorer: a recipe with a score, asked about each pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pairmine.llm.asking import Asker
from pairmine.llm.recipes.rendering import RowProblem
from pairmine.llm.tasks import WINDOW, Asked, Plan, Row, Task, in_order


class Judge:
    """Scores pairs by what a model says about them, in [0, 1]; a pair without a valid verdict gets NaN.

    Of the `asked` ones `reasons` counts why they got none; where the call failed it begins with "failed: ".
    """

    scale = "similarity"

    def __init__(self, plan: Plan, asker: Asker[Asked], facts: dict[str, Any], window: int = WINDOW) -> None:
        self._plan = plan
        self._asker = asker
        self._window = window
        self.facts = {**facts, "scale": self.scale}
        self.asked = 0
        self.reasons: Counter[str] = Counter()

    def score(
        self, queries: Sequence[str], documents: Sequence[str], advance: Callable[[int], object] = lambda _: None
    ) -> np.ndarray:
        """One verdict per pair, (n,) float32 in [0, 1] or NaN."""
        scores = np.full(len(queries), np.nan, np.float32)
        tasks = verdicts(self._plan, queries, documents)
        for at, task in enumerate(in_order(tasks, self._asker, window=self._window, advance=advance)):
            self.asked += 1
            if task.problems:
                self.reasons[next(iter(task.problems.values())).reason] += 1
                continue
            try:
                scores[at] = self._plan.renderer.score(task.item, task.values)
            except RowProblem as problem:
                self.reasons[str(problem)] += 1
        return scores


def verdicts(plan: Plan, queries: Iterable[str], documents: Iterable[str]) -> Iterator[Task]:
    """A task for each pair; the two sequences run side by side."""
    for at, (query, document) in enumerate(zip(queries, documents, strict=True)):
        yield Task(plan, plan.renderer.item({"query": query, "document": document}), Row(None, at))
