"""Decides which candidates become negatives, and says of every other row why it leaves."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects, with_reason
from pairmine.schema import NEGATIVE, POSITIVE, as_pairs, check_pairs, score_names
from pairmine.stages.filter.assemble import assemble
from pairmine.stages.filter.picks import best_first, picked, ranks_of
from pairmine.stages.filter.rows import NO_CODE, UNDECIDED, Rows, places, read_rows
from pairmine.stages.filter.rules import Limits, Verdicts, read_scores, reject_known, reject_ranks, reject_scores
from pairmine.stages.filter.shortage import NO_FILLS, Fillers, fill

Pick = Literal["top", "random"]
Shortage = Literal["drop", "keep", "fill"]

_UNREAD = "rows without text, compared by id alone"
_UNFILLED = "queries that could not be filled"


def filter_pairs(
    pairs: pa.Table,
    *,
    by: str | None,
    negatives: int,
    relative_margin: float | None = None,
    absolute_margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    ranks: tuple[int | None, int | None] | None = None,
    pick: Pick = "top",
    pool: int = 10,
    shortage: Shortage = "keep",
    fillers: pa.Table | None = None,
    seed: int = 0,
) -> Outcome:
    """Leave each query its positives and `negatives` negatives out of its candidates.

    `pairs` holds whole queries, the rows of one query together: label 1 positives, label 0 negatives
    decided before (given, or written by an LLM), null candidates. A row is rejected by the first of

    1. its query has no positive (all of the query's rows go);
    2. it is, by id or by copied text (`identity.text_key`), a positive, a positive's source, the
       query, or a document that the query has already (the first stays, decided before candidate);
    3. its `rank` lies outside `ranks`, inclusive at both ends, None for an open end;
    4. its score lies above `max_score` or below `min_score`;
    5. ``s > p - absolute_margin``, where p is the lowest score of the query's positives;
    6. ``s > p - abs(p) * relative_margin``, a margin that stays one where scores are negative;
    7. it is not picked: `pick` "top" takes the highest scores (ties by rank, then doc_id), "random" a
       seeded sample of the `pool` best.

    Scores are those of column `by`, or with None there are no score rules and `rank` decides the
    order. Rows with label 0 obey rules 1 and 2 alone, count towards `negatives`, and of too many
    the last leave. A query still short of `negatives` keeps what it has ("keep"), leaves as a whole
    ("drop"), or gets random documents from `fillers` ("fill": doc_id, document and, if at hand, their
    `identity.text_keys` as `text_key`), none of which the query came with in any row.

    In `kept` each query has its positives, decided negatives, picked negatives best first, fills.
    `notes` counts queries that were short, and decided negatives that a score rule would have rejected.
    The margins follow NV-Retriever (arXiv 2407.15831), `TopK-MarginPos` and `TopK-PercPos`.

    Raises PairmineError for options out of range, for a missing score, rank or label that a rule
    needs, for a relative margin on logits, and for rows of one query that are apart.
    """
    limits = Limits(by, relative_margin, absolute_margin, max_score, min_score, ranks)
    _check_choices(negatives=negatives, pick=pick, pool=pool, shortage=shortage)
    pairs = _checked(pairs)
    limits.check(pairs.schema)
    supply = Fillers(fillers, pairs.schema) if shortage == "fill" else None
    if not pairs.num_rows:
        return Outcome(pairs, no_rejects(pairs), 0, notes=_notes(negatives, {}, 0))

    rows, verdicts = read_rows(pairs), Verdicts(pairs.num_rows)
    reject_known(rows, verdicts)
    reject_ranks(pairs, rows, limits, verdicts)
    scores = None if by is None else read_scores(pairs, rows, limits, verdicts)
    counts = {} if scores is None else reject_scores(rows, scores, limits, verdicts)
    counts[_UNREAD] = int(((rows.text == NO_CODE) & (rows.label != POSITIVE)).sum())
    picks = _pick(pairs, rows, verdicts, scores, negatives, max(pool, negatives) if pick == "random" else None, seed)

    have = np.bincount(rows.query[verdicts.alive & (rows.label != POSITIVE)], minlength=len(rows.query_ids))
    missing = np.where(rows.answered, negatives - have, 0)
    fills = NO_FILLS
    if supply is not None:
        fills = fill(rows, missing, supply, negatives=negatives, seed=seed)
        counts[_UNFILLED] = int((missing > np.bincount(fills.query, minlength=len(missing))).sum())
    if shortage == "drop":
        _drop_short(rows, verdicts, have, missing, negatives)
    kept = assemble(pairs, rows.query, _in_order(rows, verdicts, picks), fills, supply)
    rejected = with_reason(pairs.filter(pa.array(~verdicts.alive)), verdicts.reasons())
    notes = _notes(negatives, counts, int((missing > 0).sum()))
    return Outcome(kept, rejected, pairs.num_rows, added=len(fills.query), notes=notes)


def default_by(schema: pa.Schema) -> str:
    """The score column to filter by: score_ce, else score_llm, else score_dense, else the only one."""
    names = score_names(schema)
    for name in ("score_ce", "score_llm", "score_dense"):
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    if names:
        raise PairmineError(
            f"several score columns and no word on which to use: pass --by with one of {', '.join(names)}"
        )
    raise PairmineError("no score column to filter by; run 'pairmine score' first")


def _check_choices(*, negatives: int, pick: str, pool: int, shortage: str) -> None:
    for name, value in (("negatives", negatives), ("pool", pool)):
        if value < 1:
            raise PairmineError(f"{name} is {value}; it must be 1 or more")
    for name, choice, known in (("pick", pick, get_args(Pick)), ("shortage", shortage, get_args(Shortage))):
        if choice not in known:
            raise PairmineError(f'{name} is "{choice}"; it is one of: {", ".join(known)}')


def _checked(pairs: pa.Table) -> pa.Table:
    if "label" not in pairs.column_names:
        raise PairmineError(f"no label column, so no positives to hold candidates against (found: {_found(pairs)})")
    pairs = as_pairs(pairs)
    check_pairs(pairs)
    return pairs


def _found(pairs: pa.Table) -> str:
    return ", ".join(pairs.column_names) or "no columns"


def _pick(
    pairs: pa.Table,
    rows: Rows,
    verdicts: Verdicts,
    scores: np.ndarray | None,
    negatives: int,
    pool: int | None,
    seed: int,
) -> np.ndarray:
    """Reject what is too much; returns the picked candidates, by query and from the best down."""
    decided = np.flatnonzero(verdicts.alive & (rows.label == NEGATIVE))
    verdicts.reject(decided[places(rows.query[decided]) >= negatives], "surplus")
    held = np.bincount(rows.query[decided], minlength=len(rows.query_ids))
    at = np.flatnonzero(verdicts.alive & (rows.label == UNDECIDED))
    ordered = best_first(rows, at, None if scores is None else scores[at], ranks_of(pairs, at))
    chosen = picked(rows, ordered, np.maximum(negatives - held, 0), pool, seed)
    verdicts.reject(ordered[~chosen], "not picked")
    return ordered[chosen]


def _drop_short(rows: Rows, verdicts: Verdicts, have: np.ndarray, missing: np.ndarray, negatives: int) -> None:
    of_row = np.where(missing > 0, have, negatives)[rows.query]
    for count in np.unique(have[missing > 0]):
        verdicts.reject(of_row == count, f"query has {count} of {negatives} negatives")


def _in_order(rows: Rows, verdicts: Verdicts, picks: np.ndarray) -> np.ndarray:
    """The kept rows: by query, then positives, decided negatives, picks."""
    positives = np.flatnonzero(verdicts.alive & (rows.label == POSITIVE))
    decided = np.flatnonzero(verdicts.alive & (rows.label == NEGATIVE))
    kept = np.r_[positives, decided, picks[verdicts.alive[picks]]]
    return kept[np.argsort(rows.query[kept], kind="stable")]


def _notes(negatives: int, counts: dict[str, int], short: int) -> dict[str, int]:
    return {f"queries with fewer than {negatives} negatives": short, **{k: v for k, v in counts.items() if v}}
