"""What a target needs of a pair set and of the options, told with counts before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairmine.errors import PairmineError
from pairmine.schema import SCORE_PREFIX
from pairmine.stages.export.plan import Target, least_negatives
from pairmine.stages.export.survey import GRADE, Survey

MOST_NEGATIVES = 10_000
"""Where every row has the same number of negatives, each is a column, or all are one example of a trainer (ours)."""

TASKS = ("normal", "symmetric_class", "symmetric_sts", "symmetric_clustering", "only_1neg")

_ELSEWHERE = {
    "negatives": "it takes no negatives",
    "scores": "it carries no scores",
    "prompt": "it carries no prompt; set prompts in the trainer's own arguments",
    "passage-prompt": "it carries no prompt for passages; set prompts in the trainer's own arguments",
    "task": "it carries no kind of task",
}


def check_options(target: Target, options: Mapping[str, object], positives: str) -> None:
    """Raise a PairmineError for one of the `options`, None where not given, that does nothing for `target` or lacks."""
    if positives not in ("each", "first"):
        raise PairmineError(f'--positives is "{positives}"; it must be "each" or "first"')
    if positives == "first" and target.needs == "single pairs":
        raise PairmineError(f"--positives has no effect on {target.name}: every pair is a row of its own")
    for name, value in options.items():
        if value is not None and name not in target.takes:
            raise PairmineError(f"--{name} has no effect on {target.name}: {_ELSEWHERE[name]}")
        if value is None and name in target.requires:
            raise PairmineError(f"{target.name} needs --{name} NAME, a score column that 'pairmine score' wrote")
    negatives, task = options.get("negatives"), options.get("task")
    if isinstance(negatives, int) and negatives < 1:
        raise PairmineError(f"--negatives is {negatives}; {target.name} needs at least 1 negative in every row")
    if task is not None and task not in TASKS:
        raise PairmineError(f"--task {task}: choose {', '.join(TASKS)}")


def column_of(scores: str) -> str:
    """The column that `scores` means: the grade, or a score column with or without its prefix."""
    return scores if scores == GRADE or scores.startswith(SCORE_PREFIX) else SCORE_PREFIX + scores


def score_column(scores: str, found: Sequence[str]) -> str:
    """The column that `scores` means; raises PairmineError where it is not among those `found`."""
    name = column_of(scores)
    if name not in found:
        have = f"score columns: {', '.join(found)}" if found else "it has no score column"
        raise PairmineError(f"the pair set has no {name} ({have}); run 'pairmine score' first")
    return name


def check_labels(undecided: int, total: int) -> None:
    """Raise a PairmineError where rows are not decided yet."""
    if undecided:
        raise PairmineError(f"{undecided} of {total} rows have no label yet; run 'pairmine filter' first")


def check_scored(missing: int, total: int, name: str) -> None:
    """Raise a PairmineError where rows that go into the file have no score."""
    if missing:
        raise PairmineError(f"{missing} of {total} rows to export have no {name}; run 'pairmine score' on them first")


def negatives_in(target: Target, survey: Survey, negatives: int | None) -> int | None:
    """How many negatives a training row has at most, None for no limit; raises PairmineError where none is possible."""
    if target.needs != "equal negatives":
        return negatives
    if negatives is None and not survey.most_negatives:
        raise PairmineError(
            f"no query has both a positive and a negative, and {target.name} needs negatives in every row; "
            "run 'pairmine mine' and 'pairmine filter' first, or export to st-pair"
        )
    wanted = survey.most_negatives if negatives is None else negatives
    if wanted > MOST_NEGATIVES:
        raise PairmineError(
            f"{wanted:,} negatives in every row of {target.name} are more than {MOST_NEGATIVES:,}; pass --negatives N"
        )
    return wanted


def check_survey(
    target: Target, survey: Survey, *, negatives: int | None, first_positive: bool, scores: str | None
) -> None:
    """Raise a PairmineError, with the counts, unless the surveyed pair set has what `target` needs.

    `scores` is a column of the pair set. A target of single pairs takes whatever rows have what it needs.
    """
    if target.needs == "single pairs":
        if "scores" not in target.takes:
            check_labels(survey.undecided, survey.rows)
        return
    check_labels(survey.undecided, survey.rows)
    negatives = negatives_in(target, survey, negatives)
    least = least_negatives(target, negatives)
    if not survey.queries_with(least):
        raise PairmineError(f"no training row for {target.name} comes out of it; {why_none(target, survey, least)}")
    if scores is not None:
        check_scored(*survey.unscored(least, negatives, first_positive=first_positive), scores)


def why_none(target: Target, survey: Survey, least: int = 0) -> str:
    """Why no training row for `target`, which needs `least` negatives, comes out of it, as the end of a line."""
    unread = f"; pairs do not count where {target.because}" if target.because else ""
    if target.needs == "single pairs":
        return f"of {survey.rows:,} rows none has both texts and what this format trains on{unread}"
    if not survey.positives:
        return f"no row with its texts has label 1{unread}; run 'pairmine filter' first"
    have = (
        f"{survey.queries:,} queries have {survey.positives:,} positives and at most {survey.most_negatives} negatives"
    )
    if not survey.most_negatives:
        return f"{have}{unread}; run 'pairmine mine' and 'pairmine filter' first"
    return f"{have}, and it needs {least}{unread}; pass --negatives {survey.most_negatives}"
