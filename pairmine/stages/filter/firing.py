"""On which rows each rule fires, whatever the other rules say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import POSITIVE, scale_of
from pairmine.stages.filter.columns import remedy
from pairmine.stages.filter.order import best_first, in_turn, ranks_of
from pairmine.stages.filter.rows import UNDECIDED, Rows, descending, join, places, within
from pairmine.stages.filter.rules import Limit, Rules, Suspects, span
from pairmine.stages.filter.verdicts import Verdicts

NO_CLUSTER = -1

MOST_SUSPECTS = 0.9
"""Of a query's pool this share may be suspects at most, whatever is spared; ours."""

_LEAST_ODDS = 1e-6
"""How near to 0 and 1 a probability's logit is told apart."""

Strain = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Fired:
    """A rule held against a table: its name, how the user wrote it, the reason it gives, and where it fires.

    `rows` (n,) bool, false for rows that the rule does not look at. `strain()` (n,) says for each row on which it
    fires by which part of its own number the rule had to give way to let the row pass, more than 0, inf for none; None
    where a rule has no number to give way by.
    `notes` are further counts.
    """

    name: str
    label: str
    reason: str
    rows: np.ndarray
    strain: Strain | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


class Entered:
    """The rows that rules look at, fixed before the first of them: `candidates`, `exempt` among them, `positives`.

    All three are masks (n,). `verdicts` tells which of them are still in when a rule asks for a score.
    """

    def __init__(self, pairs: pa.Table, rows: Rows, rules: Rules, verdicts: Verdicts, exempt: np.ndarray) -> None:
        self.pairs, self.rules, self.verdicts = pairs, rules, verdicts
        self._exempt = exempt
        self._scores: dict[str, np.ndarray] = {}
        self.enter(rows)

    def enter(self, rows: Rows) -> None:
        """Begin with those of `rows` that are still in."""
        alive = self.verdicts.alive
        self.rows = rows
        self.positives = alive & (rows.label == POSITIVE)
        self.others = alive & (rows.label != POSITIVE)
        self.candidates = alive & (rows.label == UNDECIDED)
        self.exempt = self._exempt & self.candidates
        self._anchors: dict[str, np.ndarray] = {}

    @cached_property
    def queries(self) -> int:
        return len(self.rows.query_ids)

    @property
    def at_stake(self) -> np.ndarray:
        """The candidates that rules may still decide, (n,) bool."""
        return self.candidates & ~self.exempt & self.verdicts.alive

    def scores(self, column: str) -> np.ndarray:
        """Column `column`, (n,) float32, NaN for null."""
        if column not in self._scores:
            self._scores[column] = pc.cast(self.pairs[column], pa.float32(), safe=False).to_numpy()
        return self._scores[column]

    def needed(self, column: str, rows: np.ndarray) -> np.ndarray:
        """`scores`; raises a PairmineError where one of `rows` (a mask) has none."""
        scores = self.scores(column)
        missing = int((rows & ~np.isfinite(scores)).sum())
        if missing:
            way = remedy(column, decides=column == self.rules.by)
            raise PairmineError(f"{missing} of {int(rows.sum())} rows have no {column}; {way}")
        return scores

    def held(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """`needed` scores of candidates and of their queries' positives, and the anchor of each query, float64."""
        scores = self.needed(column, self.at_stake | (self.positives & _of_queries_with(self, self.at_stake)))
        return scores, self.anchors(column)

    def anchors(self, column: str) -> np.ndarray:
        """The anchor of each query's positives, (queries,) float64, NaN where there is none."""
        if column not in self._anchors:
            found = self.rules.anchor.of_queries(self.rows.query, self.scores(column), self.positives, self.queries)
            self._anchors[column] = found
        return self._anchors[column]


def fire_on_positives(entered: Entered) -> Iterator[Fired]:
    """The rules for positives that are given, in their order."""
    for limit in entered.rules.min_positive_score:
        scores = entered.needed(limit.column, entered.positives & entered.verdicts.alive)
        rows = entered.positives & (scores < np.float32(limit.value))
        reason = f"positive with {limit.column} below {limit.value:g}"
        yield Fired("min-positive-score", _label("min-positive-score", limit), reason, rows)
    for limit in entered.rules.consistency:
        rows = entered.positives & (outscored(entered, limit.column) >= limit.value)
        reason = f"positive below {limit.value:g} candidates of its query by {limit.column}"
        yield Fired("consistency", _label("consistency", limit), reason, rows)


def fire_on_candidates(entered: Entered) -> Iterator[Fired]:
    """The rules for candidates that are given, in their order.

    Each is computed when it is asked for, since a rule wants scores only of rows that the ones before it left.
    """
    rules = entered.rules
    if rules.ranks != (None, None):
        yield _ranks(entered, *rules.ranks)
    if rules.cluster:
        yield _cluster(entered)
    if rules.gate is not None:
        yield from _gate(entered)
    for limit in rules.max_score:
        yield _above(entered, limit)
    for limit in rules.min_score:
        yield _below(entered, limit)
    for limit in rules.absolute_margin:
        yield _margin(entered, limit, relative=False)
    for limit in rules.relative_margin:
        yield _margin(entered, limit, relative=True)
    if rules.suspects is not None:
        yield _suspects(entered, rules.suspects)


def _label(name: str, value: object) -> str:
    return f"{name} {value}"


def _named(entered: Entered, limit: Limit) -> str:
    """What a reason calls the score: the column that decides is "score", another goes by its name."""
    return "score" if limit.column == entered.rules.by else limit.column


def outscored(entered: Entered, column: str) -> np.ndarray:
    """How many candidates of its query score above each positive, (n,) int64, 0 for other rows."""
    found = np.zeros(len(entered.positives), np.int64)
    rivals = entered.candidates & _of_queries_with(entered, entered.positives)
    judged = entered.positives & _of_queries_with(entered, rivals)
    scores = entered.needed(column, rivals | (judged & entered.verdicts.alive))
    at = np.flatnonzero(judged & np.isfinite(scores))
    query, falling = entered.rows.query, descending(scores).astype(np.int64)
    keys = np.sort(join(query[rivals], falling[rivals]))
    found[at] = np.searchsorted(keys, join(query[at], falling[at])) - np.searchsorted(keys, query[at] << 32)
    return found


def _of_queries_with(entered: Entered, rows: np.ndarray) -> np.ndarray:
    """The rows of queries that have one of `rows` (a mask), (n,) bool."""
    query = entered.rows.query
    return (np.bincount(query[rows], minlength=entered.queries) > 0)[query]


def _ranks(entered: Entered, low: int | None, high: int | None) -> Fired:
    """Candidates of other ranks; negatives that were decided before come from no list, with or without a rank."""
    rank = pc.cast(entered.pairs["rank"], pa.float32()).to_numpy()
    unranked = entered.at_stake & np.isnan(rank) & ~entered.rows.held
    if nulls := int(unranked.sum()):
        many = int(entered.at_stake.sum())
        raise PairmineError(f"{nulls} of {many} candidates have no rank; run 'pairmine mine' first, or drop --ranks")
    lowest, highest = np.float32(1 if low is None else low), np.float32(np.inf if high is None else high)
    rows = entered.candidates & ((rank < lowest) | (rank > highest))
    ends = span(low, high)
    return Fired(
        "ranks", f"ranks {ends}", f"rank outside {ends}", rows, lambda: np.fmax(1 - rank / lowest, rank / highest - 1)
    )


def _cluster(entered: Entered) -> Fired:
    """Candidates of the `cluster` that a positive of their query lies in: they may well answer it."""
    rows, cluster = entered.rows, clusters_of(entered.pairs)
    asked = _of_queries_with(entered, entered.others & entered.verdicts.alive)
    positives = np.flatnonzero(entered.positives & asked)
    if missing := int((cluster[positives] == NO_CLUSTER).sum()):
        raise PairmineError(
            f"{missing} of {len(positives)} positives have no cluster to hold candidates against; "
            "run 'pairmine mine --clusters' first"
        )
    at = np.flatnonzero(entered.others & (cluster != NO_CLUSTER))
    own = within(rows.joined(cluster[at] + 1, at), rows.joined(cluster[positives] + 1, positives))
    fires = np.zeros(len(cluster), bool)
    fires[at[own]] = True
    unknown = {"candidates without a cluster": int((entered.candidates & (cluster == NO_CLUSTER)).sum())}
    return Fired("cluster", "cluster", "in the cluster of a positive", fires, notes=unknown)


def clusters_of(pairs: pa.Table) -> np.ndarray:
    """The cluster of each row as a code, (n,) int64, `NO_CLUSTER` for null."""
    if "cluster" not in pairs.column_names:
        raise PairmineError(
            "no cluster column, so no clusters to compare; run 'pairmine mine --clusters' first, "
            "or join one on doc_id that says which cluster each document is in"
        )
    kind = pairs.schema.field("cluster").type
    if pa.types.is_nested(kind):
        raise PairmineError(
            f'column "cluster" holds {kind}, and a document is in one cluster; fill it with a number each'
        )
    cluster = pc.fill_null(pairs["cluster"].dictionary_encode().combine_chunks().indices, NO_CLUSTER)
    return cluster.to_numpy(zero_copy_only=False).astype(np.int64)


def _gate(entered: Entered) -> Iterator[Fired]:
    """Candidates from HIGH on, then those that a judge says are positives, then the rest of what lies between."""
    gate = entered.rules.gate
    if gate is None:
        return
    scores = entered.needed(gate.column, entered.at_stake)
    above = entered.others & (scores >= np.float32(gate.high))
    middle = entered.others & (scores >= np.float32(gate.low)) & ~above
    label = f"gate-high {Limit(gate.column, gate.high)}"
    yield Fired("gate-high", label, f"candidate positive: {gate.column} of {gate.high:g} or more", above)
    if gate.judge is not None:
        verdict = entered.scores(gate.judge.column)
        judged = middle & (verdict >= np.float32(gate.judge.value))
        reason = f"candidate positive: {gate.judge.column} of {gate.judge.value:g} or more"
        yield Fired("gate-high", f"gate-high {gate.judge}", reason, judged)
        middle = middle & ~np.isfinite(verdict)
    ends = f"{Limit(gate.column, gate.low)}:{gate.high:g}"
    yield Fired(
        "gate-middle", f"gate-middle {ends}", f"between {gate.low:g} and {gate.high:g} of {gate.column}", middle
    )


def _above(entered: Entered, limit: Limit) -> Fired:
    # Thresholds are rounded to float32 as the scores are, so that a score of 0.7 is not above 0.7.
    scores, highest = entered.needed(limit.column, entered.at_stake), np.float32(limit.value)
    reason = f"{_named(entered, limit)} above {limit.value:g}"
    rows = entered.others & (scores > highest)
    return Fired("max-score", _label("max-score", limit), reason, rows, lambda: _parts(scores - highest, highest))


def _below(entered: Entered, limit: Limit) -> Fired:
    scores, lowest = entered.needed(limit.column, entered.at_stake), np.float32(limit.value)
    reason = f"{_named(entered, limit)} below {limit.value:g}"
    rows = entered.others & (scores < lowest)
    return Fired("min-score", _label("min-score", limit), reason, rows, lambda: _parts(lowest - scores, lowest))


def _margin(entered: Entered, limit: Limit, *, relative: bool) -> Fired:
    scores, anchors = entered.held(limit.column)
    margin = np.abs(anchors) * limit.value if relative else np.full(len(anchors), limit.value)
    threshold = (anchors - margin).astype(np.float32)[entered.rows.query]
    name, size = ("relative-margin", f"{limit.value * 100:g}%") if relative else ("absolute-margin", f"{limit.value:g}")
    by = "" if limit.column == entered.rules.by else f" by {limit.column}"
    reason = f"within {size} of {entered.rules.anchor.words}{by}"
    strain: Strain = lambda: _parts(scores - threshold, margin[entered.rows.query])  # noqa: E731
    return Fired(name, _label(name, limit), reason, entered.others & (scores > threshold), strain)


def _parts(excess: np.ndarray, number: np.ndarray | np.float32) -> np.ndarray:
    """`excess` in parts of a rule's `number`, inf where that is 0."""
    size = np.broadcast_to(np.abs(number), excess.shape)
    return np.divide(excess, size, out=np.full(excess.shape, np.inf), where=size > 0)


def _suspects(entered: Entered, rule: Suspects) -> Fired:
    """Of each query's best candidates those with the highest sum of what is told of them, each as a z score."""
    ordered = riskiest(entered, rule)
    own = entered.rows.query[ordered]
    many = _most_suspects(entered, rule, own)
    taken = places(own) < many[own]
    fires = np.zeros(len(entered.candidates), bool)
    fires[ordered[taken]] = True

    def strain() -> np.ndarray:
        parts = np.full(len(fires), np.inf)
        parts[ordered[taken]] = 1 - places(own)[taken] / many[own[taken]]
        return parts

    reason = "suspected false negative: near its query's positives"
    untold = {column: int((~np.isfinite(entered.scores(column)[ordered])).sum()) for column in rule.columns[1:]}
    notes = {f"candidates without {column}, suspected by the rest": many for column, many in untold.items()}
    return Fired("suspects", f"suspects {rule.number:g}", reason, fires, strain, notes)


def riskiest(entered: Entered, rule: Suspects) -> np.ndarray:
    """The rows of each query's pool, by query and the riskiest first, whatever the rule's number; (m,) int64."""
    rows, at = entered.rows, np.flatnonzero(entered.candidates)
    first = entered.needed(rule.columns[0], entered.at_stake)
    at = at[np.isfinite(first[at])]
    ordered = best_first(rows, at, first[at], ranks_of(entered.pairs, at))
    ordered = ordered[places(rows.query[ordered]) < rule.pool]
    own = rows.query[ordered]
    risk = risks([_told(entered, column)[ordered] for column in rule.columns], own, entered.queries)
    by_risk: np.ndarray = ordered[in_turn(own, [-risk])]
    return by_risk


def first_suspects(entered: Entered, rule: Suspects, ordered: np.ndarray) -> np.ndarray:
    """The suspects among `ordered`, which `riskiest` gave for a rule of any number."""
    own = entered.rows.query[ordered]
    taken: np.ndarray = ordered[places(own) < _most_suspects(entered, rule, own)[own]]
    return taken


def _most_suspects(entered: Entered, rule: Suspects, own: np.ndarray) -> np.ndarray:
    """How many suspects each query has, whose pools are `own` (a query for each row), (queries,) int64."""
    positives = np.bincount(entered.rows.query[entered.positives], minlength=entered.queries)
    pool = np.bincount(own, minlength=entered.queries)
    most = np.floor(np.minimum(rule.number * np.sqrt(positives), MOST_SUSPECTS * pool) + 0.5).astype(np.int64)
    return np.minimum(most, np.maximum(pool - rule.spared, 0))


def _told(entered: Entered, column: str) -> np.ndarray:
    """The numbers of `column` on a scale that has no ends, (n,) float64: probabilities as their logits."""
    scores = entered.scores(column).astype(np.float64)
    if scale_of(entered.pairs.schema.field(column)) != "probability":
        return scores
    clipped = np.clip(scores, _LEAST_ODDS, 1 - _LEAST_ODDS)
    return np.log(clipped / (1 - clipped))


def risks(columns: list[np.ndarray], query: np.ndarray, queries: int) -> np.ndarray:
    """The sum of `columns`, each as z scores within its query, (n,) float64; a NaN counts as the query's mean."""
    risk = np.zeros(len(query))
    for values in columns:
        known = np.isfinite(values)
        values = np.where(known, values, 0.0)
        many = np.maximum(np.bincount(query, known, minlength=queries), 1)
        mean = np.bincount(query, values, minlength=queries) / many
        apart = np.where(known, values - mean[query], 0.0)
        spread = np.sqrt(np.bincount(query, apart * apart, minlength=queries) / many)[query]
        risk += np.divide(apart, spread, out=np.zeros(len(query)), where=spread > 0)
    return risk
