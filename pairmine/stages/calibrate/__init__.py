"""Which threshold? What each one of each rule would leave of a pair set, and how much of that would be false."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import FEEDBACK, POSITIVE, pair_score_names, scale_of
from pairmine.stages.calibrate.candidates import PICKS, Candidates, Picking, checked
from pairmine.stages.calibrate.curves import Calibration, Curve, Point, Sweep
from pairmine.stages.calibrate.evidence import Evidence, HiddenPositives, Judgments, Known, Labels, counted
from pairmine.stages.calibrate.hiding import why_not
from pairmine.stages.calibrate.rules import RULE_NAMES, find_rules
from pairmine.stages.calibrate.target import (
    FEWEST,
    LEVELS,
    ONLY_PARTS,
    PARTS,
    Answer,
    Choice,
    answer,
    choices,
    choose,
    end_of,
)
from pairmine.stages.filter.anchors import parse_anchor
from pairmine.stages.filter.columns import numeric_column

__all__ = [
    "FEWEST",
    "LEVELS",
    "NONE_PICKED",
    "ONLY_PARTS",
    "PARTS",
    "PICKS",
    "RULE_NAMES",
    "Answer",
    "Calibration",
    "Calibrator",
    "Choice",
    "Curve",
    "Evidence",
    "HiddenPositives",
    "Judgments",
    "Labels",
    "Point",
    "answer",
    "calibrate",
    "choices",
    "choose",
    "counted",
    "end_of",
]


_STALE = (
    "no estimate for suspects, since score_feedback knows of the hidden positives too; it has to be computed anew, by "
    "--feedback st:MODEL"
)


_HALF_OF_THEM = (
    "no estimate for rules for positives, since they would look at the positives that are not hidden alone; "
    "--qrels, --judge or --label give one"
)


NONE_PICKED = (
    "none of the hidden positives is picked even without a rule, so that they tell nothing of any threshold; hide "
    "others (--seed), or pass --qrels, --judge or --label"
)


class Calibrator:
    """A pair set made ready to try thresholds on; what every estimate has in common is worked out once.

    `negatives`, `pick` ("top" or "random"), `pool`, `seed` and `by` are those of `filter_pairs`, and margins are
    held to each of `anchors`. `rules` holds the search to some, as "max-score", "max-score@ce" or, at these
    thresholds alone, "max-score@ce=0.3,0.5"; without it min-score and the rules for positives are left out, and
    skip where ranks say the same. `hardness` is the column that says how hard the picks are, by default cosines.

    Raises PairmineError for a pair set without rows, positives or candidates, and where no rule can be tried.
    """

    def __init__(
        self,
        pairs: pa.Table,
        *,
        negatives: int = 5,
        pick: str = "random",
        pool: int = 10,
        seed: int = 0,
        by: str | None = None,
        anchors: Sequence[str | float] = ("min",),
        rules: Sequence[str] | None = None,
        hardness: str | None = None,
    ) -> None:
        picking = Picking(negatives, pick, pool, seed)
        picking.check()
        self._candidates = Candidates(checked(pairs), picking)
        if not len(self._candidates):
            raise PairmineError(
                "every candidate is a copy of something that its query has, or of a query without a positive; "
                "mine from a larger corpus"
            )
        schema = self._candidates.pairs.schema
        self.by = _by(self._candidates, by)
        found, self.remarks = find_rules(
            self._candidates, anchors=[parse_anchor(anchor) for anchor in anchors], by=self.by, names=rules
        )
        self._hardness = _hardness(schema, hardness, self.by)
        self._sweep = Sweep(self._candidates, found, self.by, self._hardness)

    @property
    def cannot_hide(self) -> str | None:
        """Why `HiddenPositives` can tell nothing of this pair set; None where it can."""
        return why_not(self._candidates)

    @property
    def reads_feedback(self) -> bool:
        """Whether a rule that is tried reads `score_feedback`."""
        return self._sweep.reads(FEEDBACK)

    @property
    def pairs(self) -> pa.Table:
        """The pair set."""
        return self._candidates.pairs

    def positives(self, query_ids: Collection[str]) -> dict[str, list[str]]:
        """The texts of the positives of these queries, for whoever labels a sample."""
        rows = self._candidates.pairs.filter(pc.equal(self._candidates.pairs["label"], POSITIVE))
        rows = rows.filter(pc.is_in(rows["query_id"], value_set=pa.array(sorted(query_ids), pa.string())))
        found: dict[str, list[str]] = {}
        for row in rows.select(["query_id", "document"]).to_pylist():
            found.setdefault(row["query_id"], []).append(row["document"] or "")
        return found

    def sample(self, size: int) -> pa.Table:
        """The candidates to judge, `size` at most: rows of the pair set, each beginning of them a sample too."""
        drawn = self._sweep.frame().sample(size)
        return self._candidates.pairs.take(pa.array(self._candidates.row[drawn]))

    def calibration(self, evidence: Evidence | None = None) -> Calibration:
        """The curves, with estimates where there is `evidence`."""
        known = evidence.find(self._candidates, self._sweep.frame) if evidence else None
        naive, curves = self._sweep.curves(known)
        return Calibration(
            self._candidates.picking,
            self._candidates.queries,
            len(self._candidates),
            self._hardness,
            naive,
            curves,
            known.text if known else None,
            known is not None and known.is_relative and known.naive_rate is None,
            (*self.remarks, *(self._remarks(known, naive) if known else ())),
        )

    def _remarks(self, known: Known, naive: Point) -> tuple[str, ...]:
        remarks = list(known.remarks)
        if self.reads_feedback and FEEDBACK in known.stale:
            remarks.append(_STALE)
        if known.is_relative and self._sweep.tries_positives:
            remarks.append(_HALF_OF_THEM)
        if known.is_relative and naive.of_naive is None:
            remarks.append(NONE_PICKED)
        return tuple(remarks)


def calibrate(pairs: pa.Table, *, evidence: Evidence | None = None, **settings: Any) -> Calibration:
    """What every threshold of every rule would leave of `pairs`; `settings` are those of `Calibrator`.

    For each: candidates that pass, negatives per query, queries short of them, hardness and rank of the picks
    and, with `evidence`, the share of false negatives among the picks with a 95% interval. The picks are
    those of `filter_pairs` with the same options.
    """
    return Calibrator(pairs, **settings).calibration(evidence)


def _by(candidates: Candidates, asked: str | None) -> str | None:
    """The column that orders picks: the one asked for, else that of `filter` where every candidate has a number."""
    schema = candidates.pairs.schema
    if asked is not None:
        column = numeric_column(schema, asked, "by")
        if missing := candidates.unscored(column)[0]:
            raise PairmineError(
                f"{missing:,} of {len(candidates):,} candidates have no {column} to order them by; "
                "run 'pairmine score' first"
            )
        return column
    complete = [name for name in pair_score_names(schema) if not candidates.unscored(name)[0]]
    # Where there is feedback, suspects are the rule of `filter`, which picks by the dense score then.
    first = ("score_dense",) if FEEDBACK in schema.names else ()
    preferred = [name for name in (*first, "score_ce", "score_llm", "score_dense") if name in complete]
    return next(iter(preferred + complete), None)


def _hardness(schema: pa.Schema, asked: str | None, by: str | None) -> str | None:
    """The column that tells how hard picks are: the one asked for, else cosines, else what orders them."""
    if asked is not None:
        column = numeric_column(schema, asked, "hardness")
        if column in ("rank", "label"):
            raise PairmineError(f"hardness: column {column} does not rise with how hard a pick is; name a score")
        return column
    cosines = [name for name in pair_score_names(schema) if scale_of(schema.field(name)) == "cosine"]
    return "score_dense" if "score_dense" in cosines else next(iter(cosines), by)
