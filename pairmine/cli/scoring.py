"""What every scorer of `pairmine score` shares: a look at all rows, some of them scored, the others accounted for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pairmine import schema
from pairmine.backends.specs import Spec, parse_spec, slug
from pairmine.cli.llm_options import LlmOptions, ask_again
from pairmine.cli.progress import Advance
from pairmine.cli.run import FAILED, Run
from pairmine.errors import CHECK_FAILED, PairmineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pairmine.backends.scorers import Scorer
    from pairmine.files.source import PairSource
    from pairmine.stages.score_rows import RowChoice

KINDS = ("ce", "st", "rerank", "openai", "vllm", "ql", "fake")
"""What --scorer may name."""


REFUSED = "refused: "
"""How the reason of a pair begins that a server would not score."""


@runtime_checkable
class Explains(Protocol):
    """A scorer that may have nothing to say of a pair, and says why."""

    asked: int
    reasons: Counter[str]


@runtime_checkable
class Keeps(Protocol):
    """A scorer that keeps its scores in a folder; the pairs that its model was asked about, and those found there."""

    folder: Path
    asked: int
    reused: int


@runtime_checkable
class Sends(Protocol):
    """A scorer that asks a server."""

    def to_send(self, queries: Sequence[str], documents: Sequence[str]) -> tuple[int, int]:
        """How many pairs would be sent for these, and in how many requests; nothing is sent."""


def checked_rows(
    source: PairSource, sides: tuple[str, ...] = ("query", "document"), choice: RowChoice | None = None
) -> int:
    """How many rows there are, after a look at all of them for what cannot be scored, and for what is to be."""
    from pairmine.stages.score import check_texts

    rows = 0
    for chunk in source.chunks():
        check_texts(chunk, sides)
        if choice is not None:
            choice.look(chunk)
        rows += chunk.num_rows
    return rows


def check_same_model(source: PairSource, name: str, facts: Mapping[str, Any]) -> None:
    """Raise a PairmineError where another model or prompt began the column `score_<name>` that --missing fills up.

    `facts` are what this run's lineage says of its own; to be called once all of `source` was read.
    """
    began = next((entry for entry in reversed(source.entries) if _column_of(entry) == name), None)
    if began is None or _known_by(began) == _known_by(facts):
        return
    model = began["models"][0].get("model", "?")
    what = (
        f"comes from {model}" if _known_by(began)[0] != _known_by(facts)[0] else f"comes from {model} by another prompt"
    )
    raise PairmineError(
        f"--missing: {schema.SCORE_PREFIX}{name} {what}; leave --missing out to score every row alike, "
        "or give the new scores a column of their own, as in --scorer NAME=SPEC"
    )


def column_name(spec: Spec, is_judge: bool) -> str:
    """What the column of a scorer is called, behind `score_`."""
    alias = spec.alias and spec.alias.removeprefix(schema.SCORE_PREFIX)
    return slug(alias) if alias else "llm" if is_judge else spec.kind


def _column_of(entry: Mapping[str, Any]) -> str | None:
    """The column that a stage of a lineage filled, None for a stage that filled none."""
    scorer = entry.get("options", {}).get("scorer")
    if entry.get("command") != "score" or not scorer or not entry.get("models"):
        return None
    try:
        return column_name(parse_spec(scorer, KINDS, "--scorer"), "prompts" in entry)
    except PairmineError:
        return None


def _known_by(facts: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What tells a model from another, the digest of its weights or else its name; and its prompt, with its --set."""
    model = facts["models"][0]
    digests = [each.get("digest", "") for each in facts.get("prompts", ())]
    chosen = facts.get("options", {}).get("set_") or []
    return model.get("sha256") or model.get("model", "").rpartition("=")[2], [*digests, *sorted(chosen)]


def write_scores(run: Run, source: PairSource, choice: RowChoice, scorer: Scorer, name: str, advance: Advance) -> None:
    """Score the chosen rows of `source` and write all of them."""
    from pairmine.stages.score_rows import score_chosen

    for chunk in source.chunks():
        run.write(score_chosen(chunk, scorer, choice, name=name, advance=advance))


def show_requests(source: PairSource, choice: RowChoice, model: Sends, summary: str | None) -> None:
    """Print on standard output how much a server would be asked; nothing is sent."""
    import pyarrow as pa

    from pairmine.files.partial import STDOUT, write_atomically
    from pairmine.stages.score import distinct_pairs

    rows = checked_rows(source, choice=choice)
    pairs = requests = 0
    for chunk in source.chunks():
        chosen, _ = choice.of(chunk)
        of_chunk = model.to_send(*distinct_pairs(chunk.filter(pa.array(chosen)))[:2])
        pairs, requests = pairs + of_chunk[0], requests + of_chunk[1]
    write_atomically(
        STDOUT,
        f"pairmine score: dry run\n  asked about  {choice.words(rows)}\n"
        f"  pairs        {pairs:,} that differ and have no score in --store\n  requests     {requests:,}\n",
    )
    if summary:
        body = {"command": "score", "rows": rows, "pairs": pairs, "requests": requests}
        write_atomically(summary, json.dumps(body, indent=2) + "\n")


def unscored(scorer: Explains) -> list[str]:
    """Lines for people: why pairs that were asked about have no score."""
    return [f"no score for {count:,} pairs: {reason}" for reason, count in scorer.reasons.most_common()]


def complain(scorer: Explains, options: LlmOptions) -> None:
    """Exit 1 after the output was written, where too many pairs got no reply."""
    failed = sum(count for reason, count in scorer.reasons.items() if reason.startswith((FAILED, REFUSED)))
    if failed > options.max_failed * scorer.asked:
        refused = "were refused or " if any(reason.startswith(REFUSED) for reason in scorer.reasons) else ""
        raise PairmineError(
            f"{failed:,} of {scorer.asked:,} pairs {refused}got no reply, more than --max-failed "
            f"{options.max_failed:g}; the output is written with null for them, {ask_again(options)}",
            exit_code=CHECK_FAILED,
        )
