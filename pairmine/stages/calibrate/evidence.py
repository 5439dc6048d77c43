"""Where the knowledge comes from which candidates are false negatives: judgments, hidden positives, labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.schema import FEEDBACK
from pairmine.stages.calibrate.candidates import Candidates
from pairmine.stages.calibrate.hiding import hide
from pairmine.stages.calibrate.sample import Frame

_SAME = 0.9
"""From this part on labels are of the sample that is drawn now."""
_ENOUGH = 20
"""Labels of so many that are drawn now do without all others."""
_OTHER_SAMPLE = (
    "the labels are not of the sample that these rules, picks and seed draw, so what each stands for is a guess; "
    "run with the options that the labels were given with"
)


@dataclass(frozen=True)
class Known:
    """What is known of `candidates`: which are `false` negatives, (n,) bool, and their `weight`, (n,) float64.

    A weight is how many candidates one stands for, 0 where nothing is known. `text` says where it is from. Of rules
    that read a column in `stale` it can say nothing. Where it `is_relative`, shares say which part of the false
    negatives a threshold leaves, and how many there are only if `naive_rate` tells what is false without a rule.
    """

    candidates: Candidates
    false: np.ndarray
    weight: np.ndarray
    text: str
    stale: tuple[str, ...] = ()
    is_relative: bool = False
    naive_rate: float | None = None
    remarks: tuple[str, ...] = ()


class Evidence(Protocol):
    """Tells false negatives from true ones."""

    def find(self, candidates: Candidates, frame: Callable[[], Frame]) -> Known:
        """What it knows of `candidates`, or of others like them; `frame` gives what a sample is drawn from."""


@dataclass(frozen=True)
class Judgments:
    """Judgments by ids: `table` has query_id, doc_id and, bool, relevant. Candidates judged relevant are false.

    What is not judged counts as true, or, with `judged_only`, not at all. Queries without any judgment tell
    nothing.
    """

    table: pa.Table
    judged_only: bool = False

    def find(self, candidates: Candidates, frame: Callable[[], Frame]) -> Known:
        judged, relevant = _looked_up(candidates, self.table.filter(self.table["relevant"].is_valid()), "relevant")
        asked = pc.is_in(candidates.rows.query_ids, value_set=pc.unique(self.table["query_id"]))
        of_asked = asked.to_numpy(zero_copy_only=False)[candidates.query]
        weight = (judged if self.judged_only else of_asked).astype(np.float64)
        if not judged.any():
            raise PairmineError(
                f"none of the {self.table.num_rows:,} judgments is of a candidate, and those of the known positives "
                "tell nothing of the others; give more judgments of the same queries and documents, by their ids, "
                "or hide known positives with --hide"
            )
        if self.judged_only and relevant[judged].all():
            raise PairmineError(
                f"all {counted(int(judged.sum()), 'judgment', 'judgments')} of candidates say relevant, so the judged "
                "ones alone tell nothing; leave --judged-only out, and what is not judged counts as true"
            )
        share, queries = judged[of_asked].mean(), len(distinct(candidates.query[of_asked]))
        rest = "the others are left out" if self.judged_only else "the others count as true, so more may be false"
        text = f"judgments, which know {share:.1%} of the candidates of {queries:,} queries; {rest}"
        return Known(candidates, relevant, weight, text)


@dataclass(frozen=True)
class HiddenPositives:
    """Half of the known positives of queries with several, put back among the candidates to see which rules find them.

    Tells how well positives like the known ones are detected. How many of them nobody knows of it cannot tell: the
    part of the naive picks' false negatives that a threshold leaves carries over to these, and the share itself where
    `naive_rate` says what is false without any rule, from a labelled sample say. The column `score_feedback` knows
    of the hidden ones too, so that a rule which reads it has no estimate unless `measure` computes it anew: a pair
    set in, the same out.
    """

    share: float = 0.5
    seed: int = 0
    naive_rate: float | None = None
    measure: Callable[[pa.Table], pa.Table] | None = None

    def find(self, candidates: Candidates, frame: Callable[[], Frame]) -> Known:
        hidden = hide(candidates, share=self.share, seed=self.seed)
        has_feedback = FEEDBACK in hidden.pairs.column_names
        pairs = self.measure(hidden.pairs) if self.measure and has_feedback else hidden.pairs
        inner = Candidates(pairs, candidates.picking)
        text = (
            f"{counted(hidden.hidden, 'known positive', 'known positives')} of "
            f"{counted(hidden.queries, 'query', 'queries')} hidden among the "
            f"candidates (hide {self.share:g}, seed {self.seed})"
        )
        if self.naive_rate is not None:
            text += f", taken for {self.naive_rate * 100:g}% of what is picked without a rule"
        stale = (FEEDBACK,) if has_feedback and not self.measure else ()
        return Known(inner, hidden.false[inner.row], np.ones(len(inner)), text, stale, True, self.naive_rate)


@dataclass(frozen=True)
class Labels:
    """Labels of a sample from `Frame.sample`: query_id, doc_id and label (1 relevant, 0 not, null unsure)."""

    table: pa.Table
    who: str = "labels"

    def find(self, candidates: Candidates, frame: Callable[[], Frame]) -> Known:
        known = self.table.filter(self.table["label"].is_valid())
        relevant = pc.equal(known["label"], 1)
        known = known.select(["query_id", "doc_id"]).append_column("relevant", relevant)
        judged, false = _looked_up(candidates, known, "relevant")
        drawn_from = frame()
        told, _ = _looked_up(candidates, self.table.append_column("told", pa.repeat(True, self.table.num_rows)), "told")
        drawn = _drawn(drawn_from, told)
        judged &= (drawn_from.mass > 0) if drawn is None else drawn
        if not judged.any():
            raise PairmineError(
                f"none of the {self.table.num_rows:,} {self.who} is of a candidate that a threshold would pick; "
                "label some of this pair set with --label"
            )
        text = f"{int(judged.sum()):,} {self.who} of candidates that some threshold picks, weighted to stand for all"
        remarks = (_OTHER_SAMPLE,) if drawn is None else ()
        return Known(candidates, false, drawn_from.weights(judged), text, remarks=remarks)


def _drawn(frame: Frame, told: np.ndarray) -> np.ndarray | None:
    """The candidates of the longest sample from `frame` of which most are `told`, a mask; None where that is short.

    Labels of other samples, given with other rules say, are left out with it: nobody knows what they stand for.
    """
    order = frame.sample(int(told.sum()))
    share = np.cumsum(told[order]) / np.arange(1, len(order) + 1)
    fits = np.flatnonzero(share >= _SAME)
    size = int(fits[-1]) + 1 if len(fits) else 0
    if size < min(_ENOUGH, len(order)):
        return None
    drawn = np.zeros(len(told), bool)
    drawn[order[:size]] = True
    return drawn


def counted(number: int, one: str, more: str) -> str:
    """`number` with its noun: 1 query, 2 queries."""
    return f"{number:,} {one if number == 1 else more}"


def _looked_up(candidates: Candidates, table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates `table` has, by query_id and doc_id, and whether its column `name` is true for them."""
    rows = candidates.rows
    query = pc.index_in(table["query_id"], value_set=rows.query_ids)
    doc = pc.index_in(table["doc_id"], value_set=rows.doc_ids)
    both = pc.and_(query.is_valid(), doc.is_valid())
    keys = _joined(*(codes.filter(both).to_numpy() for codes in (query, doc)))
    order = np.argsort(keys, kind="stable")
    wanted = _joined(candidates.query, rows.doc[candidates.row])
    if not len(keys):
        return np.zeros(len(wanted), bool), np.zeros(len(wanted), bool)
    at = np.searchsorted(keys[order], wanted, side="right") - 1
    found = keys[order][at] == wanted
    true = table[name].filter(both).to_numpy(zero_copy_only=False)[order]
    return found & (at >= 0), found & true[at]


def _joined(query: np.ndarray, doc: np.ndarray) -> np.ndarray:
    joined: np.ndarray = (query.astype(np.int64) << 32) | doc.astype(np.int64)
    return joined
