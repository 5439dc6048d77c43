"""What every scorer of `pairmine score` shares: a look at all rows, some of them scored, the others accounted for."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pairmine.cli.llm_options import LlmOptions, ask_again
from pairmine.cli.progress import Advance
from pairmine.cli.run import FAILED, Run
from pairmine.errors import CHECK_FAILED, PairmineError

if TYPE_CHECKING:
    from pairmine.backends.rerank_servers import RerankScorer
    from pairmine.backends.rerank_store import KeptReranker
    from pairmine.backends.scorers import Scorer
    from pairmine.files.source import PairSource
    from pairmine.stages.score_rows import RowChoice


@runtime_checkable
class Explains(Protocol):
    """A scorer that may have nothing to say of a pair, and says why."""

    asked: int
    reasons: Counter[str]


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


def write_scores(run: Run, source: PairSource, choice: RowChoice, scorer: Scorer, name: str, advance: Advance) -> None:
    """Score the chosen rows of `source` and write all of them."""
    from pairmine.stages.score import score_pairs
    from pairmine.stages.score_rows import score_rows

    for chunk in source.chunks():
        chosen, notes = choice.of(chunk)
        if chosen.all():
            outcome = score_pairs(chunk, scorer, name=name, advance=advance)
        else:
            outcome = score_rows(chunk, scorer, chosen, name=name, keep=choice.wanted.missing, advance=advance)
        run.write(replace(outcome, notes={**outcome.notes, **notes}))


def show_requests(
    source: PairSource, choice: RowChoice, model: RerankScorer | KeptReranker, summary: str | None
) -> None:
    """Print on standard output how much a server would be asked; nothing is sent."""
    import pyarrow as pa

    from pairmine.files.partial import write_atomically
    from pairmine.stages.score import distinct_pairs

    rows = checked_rows(source, choice=choice)
    pairs = requests = 0
    for chunk in source.chunks():
        chosen, _ = choice.of(chunk)
        of_chunk = model.to_send(*distinct_pairs(chunk.filter(pa.array(chosen)))[:2])
        pairs, requests = pairs + of_chunk[0], requests + of_chunk[1]
    sys.stdout.write(
        f"pairmine score: dry run\n  asked about  {choice.words(rows)}\n"
        f"  pairs        {pairs:,} that differ and have no score in --store\n  requests     {requests:,}\n"
    )
    if summary:
        body = {"command": "score", "rows": rows, "pairs": pairs, "requests": requests}
        write_atomically(summary, json.dumps(body, indent=2) + "\n")


def unscored(scorer: Explains) -> list[str]:
    """Lines for people: why pairs that were asked about have no score."""
    return [f"no score for {count:,} pairs: {reason}" for reason, count in scorer.reasons.most_common()]


def complain(scorer: Explains, options: LlmOptions) -> None:
    """Exit 1 after the output was written, where too many pairs got no reply."""
    failed = sum(count for reason, count in scorer.reasons.items() if reason.startswith(FAILED))
    if failed > options.max_failed * scorer.asked:
        raise PairmineError(
            f"{failed:,} of {scorer.asked:,} pairs got no reply, more than --max-failed "
            f"{options.max_failed:g}; the output is written with null for them, {ask_again(options)}",
            exit_code=CHECK_FAILED,
        )
