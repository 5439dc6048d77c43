"""Known positives put back among the candidates, as if nobody had known of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import POSITIVE, scale_of, score_names
from pairmine.stages.calibrate.candidates import Candidates
from pairmine.stages.filter.luck import lots
from pairmine.stages.filter.rows import NO_CODE, UNDECIDED, Rows, places, within

_AGREES = 0.9
"""From this part of neighbours in rank on, a column whose scores fall with it is what the list was ranked by."""
_SALT = 0x6869
"""Keeps the luck of being hidden apart from that of being picked, which hangs on the same seed and ids."""


@dataclass(frozen=True)
class Hidden:
    """`pairs` of the queries with several positives, some hidden: undecided, ranked where their score puts them.

    `false` (rows,) bool marks the hidden ones and candidates of their id or text.
    """

    pairs: pa.Table
    false: np.ndarray
    hidden: int
    queries: int


def why_not(candidates: Candidates) -> str | None:
    """Why positives of these queries cannot be hidden, None where they can."""
    if not (candidates.positives_per_query > 1).any():
        return "no query has two positives, so that none can be hidden"
    if candidates.rank is not None and ranking_column(candidates) is None:
        return (
            "no score column falls with the ranks and has a number for every positive, so that nobody knows where a "
            "hidden one would rank (the scores of the model that mined tell it: 'pairmine score --scorer st:MODEL')"
        )
    return None


def hide(candidates: Candidates, *, share: float, seed: int) -> Hidden:
    """Hide `share` of each query's positives, of those with two or more; one at least stays, one at least goes.

    A hidden positive that its score would have kept off a full list leaves altogether, since mining would not
    have brought it. Raises a PairmineError with `why_not`.
    """
    rows = candidates.rows
    positives = _distinct_positives(rows)
    count = np.bincount(rows.query[positives], minlength=len(candidates.answered))
    if problem := why_not(candidates):
        raise PairmineError(f"{problem}; estimate from --qrels, --judge or --label instead")
    gone = _chosen(rows, positives, count, share, seed)
    hidden_texts = _copies(rows, gone)
    kept = (count > 1)[rows.query]
    label = rows.label.copy()
    label[gone] = UNDECIDED
    false = hidden_texts & (label == UNDECIDED)
    # A copy of a hidden positive that is labelled positive as well would give it away.
    kept &= ~(hidden_texts & (label == POSITIVE))
    pairs, missed = _ranked(candidates, gone)
    kept &= ~missed
    at = pairs.schema.get_field_index("label")
    pairs = pairs.set_column(at, pairs.schema.field(at), pa.array(label, pa.int8(), mask=label == UNDECIDED))
    pairs = pairs.filter(pa.array(kept))
    return Hidden(pairs, false[kept], int((~missed[gone]).sum()), int((count > 1).sum()))


def _distinct_positives(rows: Rows) -> np.ndarray:
    """The positives, copies by id or text left out: the first stays."""
    at = np.flatnonzero(rows.label == POSITIVE)
    at = at[np.sort(np.unique(rows.joined(rows.doc[at], at), return_index=True)[1])]
    written = rows.text[at] != NO_CODE
    first = np.zeros(len(at), bool)
    first[np.unique(rows.joined(rows.text[at], at), return_index=True)[1]] = True
    return at[first | ~written]


def _chosen(rows: Rows, positives: np.ndarray, count: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The positives to hide, drawn by the seed, the query and their own id."""
    order = np.lexsort((lots(rows, positives, seed ^ _SALT), rows.query[positives]))
    positives = positives[order]
    many = np.clip(np.floor(count * share).astype(np.int64), 1, np.maximum(count - 1, 0))
    query = rows.query[positives]
    return np.sort(positives[places(query) < np.where(count > 1, many, 0)[query]])


def _copies(rows: Rows, gone: np.ndarray) -> np.ndarray:
    """The rows that are, by id or text, a hidden positive of their query, itself included, (rows,) bool."""
    every = np.arange(len(rows.label))
    same_id = within(rows.joined(rows.doc, every), rows.joined(rows.doc[gone], gone))
    written = gone[rows.text[gone] != NO_CODE]
    same_text = within(rows.joined(rows.text, every), rows.joined(rows.text[written], written))
    return same_id | (same_text & (rows.text != NO_CODE))


def _ranked(candidates: Candidates, gone: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """The pair set with ranks that count the hidden rows `gone`, and which of those no list would have held."""
    pairs, rows = candidates.pairs, candidates.rows
    missed = np.zeros(pairs.num_rows, bool)
    column = ranking_column(candidates)
    if candidates.rank is None or column is None:
        return pairs, missed
    ranks = np.zeros(pairs.num_rows, np.int64)
    ranks[candidates.row] = candidates.rank.astype(np.int64)
    is_gone = np.zeros(pairs.num_rows, bool)
    is_gone[gone] = True
    scores = pc.cast(pairs[column], pa.float32(), safe=False).to_numpy()
    listed = np.sort(np.r_[candidates.row, gone])
    order = listed[np.lexsort((ranks[listed], is_gone[listed], -scores[listed], rows.query[listed]))]
    ranks[order], missed[order] = _inserted(rows.query[order], ranks[order], is_gone[order])
    old = pc.cast(pairs["rank"], pa.int64())
    known = np.zeros(pairs.num_rows, bool)
    known[listed] = True
    new = np.where(known, ranks, pc.fill_null(old, 0).to_numpy())
    place = pairs.schema.get_field_index("rank")
    filled = pa.array(new, pa.int32(), mask=~known & old.is_null().to_numpy())
    return pairs.set_column(place, pairs.schema.field(place), filled), missed


def _inserted(query: np.ndarray, ranks: np.ndarray, is_gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks with the hidden rows put in, and which of them lie behind the end of a full list.

    All are (n,), by query and best first; a hidden row comes with rank 0. Full are the lists that are as deep as
    the deepest one.
    """
    starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]])
    lengths = np.diff(np.r_[starts, len(query)])
    # The deepest rank so far: each query's ranks are lifted above those of the one before.
    lift = query * (ranks.max() + 1)
    above = np.maximum.accumulate(lift + ranks) - lift
    hidden_before = np.cumsum(is_gone) - is_gone
    hidden_before -= np.repeat(hidden_before[starts], lengths)
    deepest = np.maximum.reduceat(ranks, starts)
    missed = is_gone & np.repeat(deepest == deepest.max(), lengths) & (above >= np.repeat(deepest, lengths))
    return np.where(is_gone, above + 1, ranks) + hidden_before, missed


def ranking_column(candidates: Candidates) -> str | None:
    """The score column that falls with the ranks and has a number for every positive; None where none does."""
    rank = candidates.rank
    if rank is None or not len(candidates):
        return None
    order = np.lexsort((rank, candidates.query))
    together = candidates.query[order][1:] == candidates.query[order][:-1]
    positives = candidates.rows.label == POSITIVE
    best, found = _AGREES, None
    for name in score_names(candidates.pairs.schema):
        column = pc.cast(candidates.pairs[name], pa.float32(), safe=False).to_numpy()
        if scale_of(candidates.pairs.schema.field(name)) in ("rrf", "run") or not np.isfinite(column[positives]).all():
            continue
        steps = np.diff(column[candidates.row][order])[together]
        agreement = float((steps <= 0).mean()) if len(steps) else 1.0
        if agreement >= best:
            best, found = max(agreement, np.nextafter(best, 2)), name
    return found
