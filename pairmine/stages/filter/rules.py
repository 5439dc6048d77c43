"""The rules that positives and candidates are held to: their names, their order, and how a user writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.schema import FEEDBACK, SCORE_PREFIX, pair_score_names, scale_of, score_names
from pairmine.stages.filter.anchors import LOWEST, Anchor
from pairmine.stages.filter.columns import check_scale, numeric_column, value_range

ACTIONS = ("drop", "relabel", "weight", "keep")
ACTION_WEIGHT = 0.5
"""What `weight` without a number makes of a row's weight; ours."""

ROCKETQA = (0.1, 0.9)
"""RocketQA's thresholds (Qu et al. 2021, arXiv 2010.08191): below the first negatives, from the second on positives."""

CROSS_ENCODER = SCORE_PREFIX + "ce"

SUSPECTS, SUSPECTS_POOL = 10.0, 200
"""How many suspects a query with one positive has among how many of its best candidates; ours."""


@dataclass(frozen=True)
class Kind:
    """A rule by name: what it does, whose idea it is, and what may be made of the rows on which it fires.

    `tells_positives`: a row on which it fires may well answer its query, so that it can be relabelled.
    `relaxable`: a query short of negatives may have such rows back (`shortage` "relax").
    """

    name: str
    meaning: str
    source: str = "ours"
    of_positives: bool = False
    tells_positives: bool = False
    relaxable: bool = False


RULES: tuple[Kind, ...] = (
    Kind("min-positive-score", "a positive scores below X", of_positives=True),
    Kind(
        "consistency",
        "K candidates or more of its query score above a positive",
        "contrastors, Nussbaum et al. 2024, arXiv 2402.01613; KaLM, Hu et al. 2025, arXiv 2501.01028",
        of_positives=True,
    ),
    Kind("ranks", "its rank lies outside A:B", "FlagEmbedding", relaxable=True),
    Kind("cluster", "it is in the cluster of a positive", tells_positives=True),
    Kind(
        "gate-high", "it scores HIGH or more: a candidate positive", "RocketQA, arXiv 2010.08191", tells_positives=True
    ),
    Kind("gate-middle", "it scores between LOW and HIGH", "RocketQA, arXiv 2010.08191"),
    Kind("max-score", "it scores above X", tells_positives=True, relaxable=True),
    Kind("min-score", "it scores below X", relaxable=True),
    Kind(
        "absolute-margin",
        "it scores above s - X, s the anchor of its query's positives",
        "NV-Retriever, arXiv 2407.15831",
        tells_positives=True,
        relaxable=True,
    ),
    Kind(
        "relative-margin",
        "it scores above s - |s|*X",
        "NV-Retriever, arXiv 2407.15831",
        tells_positives=True,
        relaxable=True,
    ),
    Kind(
        "suspects",
        "it is one of its query's N riskiest: high in score and near the known positives",
        "ours, with feedback after Rocchio 1971",
        relaxable=True,
    ),
    Kind("skip", "it is one of the N best that the rules leave", "sentence-transformers' range_min"),
)
"""The rules in their order. A row leaves by the first that fires on it; all of them are counted on all rows."""

RELAXABLE = frozenset(kind.name for kind in RULES if kind.relaxable)

_KINDS: Mapping[str, Kind] = {kind.name: kind for kind in RULES}

Limits = float | str | Sequence[float | str] | None
"""A threshold, or several: a number on the scale of the column that decides, or "COLUMN:NUMBER"."""


@dataclass(frozen=True)
class Limit:
    """A threshold on one column."""

    column: str
    value: float

    def __str__(self) -> str:
        return f"{self.column.removeprefix(SCORE_PREFIX)}:{self.value:g}"


@dataclass(frozen=True)
class Action:
    """What becomes of the rows on which a rule fires first; `factor` is what their weight is multiplied by."""

    what: str = "drop"
    factor: float = 1.0


@dataclass(frozen=True)
class CandidateGate:
    """A candidate from `high` on is a positive, below `low` a negative; between, `judge` decides where there is one."""

    column: str
    low: float
    high: float
    judge: Limit | None = None


@dataclass(frozen=True)
class Suspects:
    """Of the `pool` best candidates of a query the riskiest leave: `number` times the root of its positives.

    `columns` are summed, the first is that which the best are told by. `spared` of the pool are no suspects in
    any case: as many as are picked, so that this rule alone leaves no query short.
    """

    number: float
    pool: int
    columns: tuple[str, ...]
    spared: int = 0


@dataclass(frozen=True)
class Rules:
    """The rules of one run, checked against the columns that there are; an empty one holds nothing.

    `ranks` is inclusive at both ends, None is open. `exempt` and `hold` are patterns of origins.
    """

    by: str | None = None
    anchor: Anchor = LOWEST
    min_positive_score: tuple[Limit, ...] = ()
    consistency: tuple[Limit, ...] = ()
    ranks: tuple[int | None, int | None] = (None, None)
    cluster: bool = False
    gate: CandidateGate | None = None
    max_score: tuple[Limit, ...] = ()
    min_score: tuple[Limit, ...] = ()
    absolute_margin: tuple[Limit, ...] = ()
    relative_margin: tuple[Limit, ...] = ()
    suspects: Suspects | None = None
    skip: int = 0
    actions: Mapping[str, Action] = field(default_factory=dict)
    exempt: tuple[str, ...] = ()
    hold: tuple[str, ...] = ()

    @property
    def margins(self) -> tuple[Limit, ...]:
        return self.absolute_margin + self.relative_margin

    @property
    def names(self) -> list[str]:
        """The rules that act, in their order."""
        given = {
            "min-positive-score": self.min_positive_score,
            "consistency": self.consistency,
            "ranks": self.ranks != (None, None),
            "cluster": self.cluster,
            "gate-high": self.gate,
            "gate-middle": self.gate,
            "max-score": self.max_score,
            "min-score": self.min_score,
            "absolute-margin": self.absolute_margin,
            "relative-margin": self.relative_margin,
            "suspects": self.suspects,
            "skip": self.skip,
        }
        return [kind.name for kind in RULES if given[kind.name]]

    @property
    def of_positives(self) -> bool:
        """Whether any of them looks at positives."""
        return bool(self.min_positive_score or self.consistency)

    @property
    def remarks(self) -> bool:
        """Whether there may be something to say of rows that stay."""
        return bool(self.gate and self.gate.judge) or any(action.what != "drop" for action in self.actions.values())

    @property
    def weighs(self) -> bool:
        return any(action.what == "weight" for action in self.actions.values())

    @property
    def relabels(self) -> bool:
        return any(action.what == "relabel" for action in self.actions.values())

    def action(self, name: str) -> Action:
        """What becomes of the rows on which the rule `name` fires."""
        return self.actions.get(name, _DROP)


_DROP = Action()


def parse_limits(what: str, given: Limits, schema: pa.Schema, by: str | None) -> tuple[Limit, ...]:
    """The thresholds of rule `what`, each with the column that it is on: its own, or `by`.

    Raises a PairmineError for what is no number, for a column that there is not, and for two on one column.
    """
    if given is None:
        return ()
    several = [given] if isinstance(given, float | int | str) else list(given)
    limits = [_limit(what, one, schema, by) for one in several]
    if len({limit.column for limit in limits}) < len(limits):
        raise PairmineError(f"{what} is given twice for {limits[-1].column}; leave one of them out")
    return tuple(limits)


def _limit(what: str, given: float | str, schema: pa.Schema, by: str | None) -> Limit:
    column, _, number = str(given).rpartition(":")
    value = _number(what, str(given), number)
    if column:
        return Limit(numeric_column(schema, column, what), value)
    if by is None:
        found = ", ".join(pair_score_names(schema)) or "no score column"
        raise PairmineError(f"margins and score limits need a score column; name one of: {found}")
    return Limit(by, value)


def _number(what: str, text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise PairmineError(f'{what} {text}: "{number}" is no number; write it as 0.3 or as ce:0.3') from None


def parse_candidate_gate(text: str, schema: pa.Schema) -> CandidateGate:
    """``COLUMN[:LOW:HIGH][:judge=COLUMN:T]``, as ce:0.1:0.9 or ce:0.1:0.9:judge=llm:0.5; without numbers RocketQA's."""
    what = "candidate gate"
    head, says_judge, judged = text.partition(":judge=")
    column, *numbers = head.split(":")
    if not column or len(numbers) not in (0, 2) or (says_judge and ":" not in judged):
        raise PairmineError(f"{what} {text}: write it as COLUMN:LOW:HIGH or COLUMN:LOW:HIGH:judge=COLUMN:T")
    low, high = (_number(what, text, number) for number in numbers) if numbers else ROCKETQA
    name = numeric_column(schema, column, what)
    if not numbers and scale_of(schema.field(name)) not in ("probability", "logit", None):
        raise PairmineError(
            f"{what} {text}: {low:g} and {high:g} are for a cross-encoder's probabilities, and {name} holds a "
            f"{scale_of(schema.field(name))}; write it as {column}:LOW:HIGH"
        )
    if not low <= high:
        raise PairmineError(f"{what} {text}: {low:g} is above {high:g}; the lower threshold comes first")
    judge = parse_limits(f"{what}'s judge", judged, schema, None)[0] if says_judge else None
    if judge and low == high:
        raise PairmineError(f"{what} {text}: nothing lies between {low:g} and {high:g} for a judge to decide")
    return CandidateGate(name, low, high, judge)


def usual_columns(schema: pa.Schema, by: str) -> tuple[str, ...]:
    """What suspects are told by: the column that decides, feedback, and a cross-encoder's opinion where there is one.

    With that third opinion there are fewer false negatives among candidates that are as hard.
    """
    third = () if by == CROSS_ENCODER or CROSS_ENCODER not in schema.names else (CROSS_ENCODER,)
    return (by, FEEDBACK, *third)


def find_suspects(
    number: float | None, pool: int, columns: Sequence[str], schema: pa.Schema, by: str | None, *, spared: int
) -> Suspects | None:
    """The rule over `columns`, or `usual_columns` without any."""
    if number is None:
        return None
    if by is None and not columns:
        raise PairmineError("suspects are told by a score and by feedback; run 'pairmine score' first, or pass by")
    found = tuple(numeric_column(schema, name, "suspects") for name in columns or usual_columns(schema, by or ""))
    if others := [name for name in found if name not in score_names(schema)]:
        raise PairmineError(
            f"suspects: {others[0]} is no score, and what is summed has to be high where a document is near; "
            f"choose among: {', '.join(score_names(schema))}"
        )
    if repeated := {name for name in found if found.count(name) > 1}:
        raise PairmineError(f"suspects: {repeated.pop()} is given twice; leave one of them out")
    return Suspects(number, pool, found, spared)


def parse_actions(given: Sequence[str] | Mapping[str, str]) -> dict[str, Action]:
    """``RULE=drop|relabel|weight[:F]|keep``, each rule once."""
    pairs = given.items() if isinstance(given, Mapping) else [_split_action(text) for text in given]
    actions: dict[str, Action] = {}
    for name, text in pairs:
        if name in actions:
            raise PairmineError(f"action {name} is given twice; leave one of them out")
        actions[name] = _action(name, text)
    return actions


def _split_action(text: str) -> tuple[str, str]:
    name, equals, what = text.partition("=")
    if not equals:
        raise PairmineError(f"action {text}: write it as RULE={'|'.join(ACTIONS)}, as in relative-margin=keep")
    return name, what


def _action(name: str, text: str) -> Action:
    kind = _KINDS.get(name)
    if kind is None:
        raise PairmineError(f'action {name}={text}: "{name}" is no rule; choose {", ".join(_KINDS)}')
    what, colon, factor = text.partition(":")
    if what not in ACTIONS or (colon and what != "weight"):
        raise PairmineError(f"action {name}={text}: choose drop, relabel, weight[:F] or keep")
    if name == "skip" and what != "drop":
        raise PairmineError("action skip: what is skipped leaves; leave --skip out to keep it")
    if what == "relabel" and not kind.tells_positives:
        those = ", ".join(kind.name for kind in RULES if kind.tells_positives)
        raise PairmineError(f"action {name}={text}: {name} says nothing of a positive; these can relabel: {those}")
    if what != "weight":
        return Action(what)
    weight = _number("action", f"{name}={text}", factor) if colon else ACTION_WEIGHT
    if not (math.isfinite(weight) and weight >= 0):
        raise PairmineError(f"action {name}={text}: a weight is a number from 0 on")
    return Action(what, weight)


def check_rules(rules: Rules, schema: pa.Schema) -> None:
    """Raise a PairmineError for values out of range and for columns whose scale a rule cannot be held on."""
    check_by(rules.by, schema)
    _check_origins(rules)
    _check_ranges(rules)
    _check_ranks(rules.ranks, schema)
    for name in rules.actions:
        if name not in rules.names:
            raise PairmineError(f"action {name} has no effect, since no {name} is given; leave one of them out")
    for limit in rules.margins:
        _check_margin(limit, schema)
    for limit in rules.relative_margin:
        if scale_of(schema.field(limit.column)) == "logit":
            raise PairmineError(
                f"{limit.column} holds logits, which cross zero, so that a relative margin means nothing on them; "
                "score as probabilities, or pass --no-relative-margin, and an --absolute-margin in its place"
            )
    for what, limits in (("max score", rules.max_score), ("min score", rules.min_score)):
        for limit in limits:
            _check_on_scale(what, limit.column, limit.value, schema)
    for limit in rules.min_positive_score:
        _check_on_scale("min positive score", limit.column, limit.value, schema)
    if rules.gate is not None:
        _check_gate(rules.gate, schema)


def check_by(by: str | None, schema: pa.Schema) -> None:
    """Raise a PairmineError unless `by` is a column that can decide, or None."""
    if by is None:
        return
    found = ", ".join(pair_score_names(schema)) or "no score column"
    if by == FEEDBACK:
        raise PairmineError(
            f"{FEEDBACK} says how near a document is to the known positives, not how well it answers; "
            f"decide by one of: {found}"
        )
    if by not in schema.names:
        raise PairmineError(f"no column {by} (found: {found}); run 'pairmine score' first")
    kind = schema.field(by).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise PairmineError(f"column {by} holds {kind}, no numbers; use one of: {found}")


def _check_origins(rules: Rules) -> None:
    if any(not _KINDS[name].of_positives for name in rules.names):
        return
    if rules.exempt:
        raise PairmineError(
            f"exempt {', '.join(rules.exempt)} has no effect, since no rule for candidates is given; leave it out"
        )
    if rules.hold and rules.by is None:
        raise PairmineError(
            f"hold {', '.join(rules.hold)} has no effect, since there is neither a rule for candidates nor a score "
            "to choose by; run 'pairmine score' first"
        )


def _check_ranges(rules: Rules) -> None:
    ranges: list[tuple[str, tuple[Limit, ...], float, float]] = [
        ("min positive score", rules.min_positive_score, -math.inf, math.inf),
        ("consistency", rules.consistency, 1, math.inf),
        ("relative margin", rules.relative_margin, 0, 1),
        ("absolute margin", rules.absolute_margin, 0, math.inf),
        ("max score", rules.max_score, -math.inf, math.inf),
        ("min score", rules.min_score, -math.inf, math.inf),
    ]
    for name, limits, low, high in ranges:
        for limit in limits:
            _check_range(name, limit.value, low, high)
    for limit in rules.consistency:
        if limit.value != int(limit.value):
            raise PairmineError(f"consistency {limit.value:g}: it counts candidates, so write a whole number")
    if rules.suspects is not None:
        _check_range("suspects", rules.suspects.number, 0, math.inf)
        _check_range("suspects pool", rules.suspects.pool, 1, math.inf)
    _check_range("skip", rules.skip, 0, math.inf)
    highest = {limit.column: limit.value for limit in rules.max_score}
    for limit in rules.min_score:
        if limit.value > highest.get(limit.column, math.inf):
            raise PairmineError(
                f"min score {limit.value:g} is above max score {highest[limit.column]:g}: nothing is left"
            )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        bounds = "a number" if low == -math.inf else f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        raise PairmineError(f"{name} {value:g} is out of range; it is {bounds}")


def _check_ranks(ranks: tuple[int | None, int | None], schema: pa.Schema) -> None:
    low, high = ranks
    if any(end is not None and end < 1 for end in (low, high)) or (low and high and low > high):
        raise PairmineError(f"ranks {span(low, high)} hold no rank; ranks count from 1, as in 10:100")
    if (low or high) and "rank" not in schema.names:
        raise PairmineError("no rank column, so no ranks to choose from; run 'pairmine mine' first")


def _check_margin(limit: Limit, schema: pa.Schema) -> None:
    held = {
        "rrf": "sums of reciprocal ranks, which no positive has",
        "run": "another search's numbers, of no known scale",
    }
    if (what := held.get(scale_of(schema.field(limit.column)) or "")) is not None:
        raise PairmineError(
            f"{limit.column} holds {what}, so that there is nothing to hold a margin to; run 'pairmine score', "
            "or name another column, as in --relative-margin dense:0.05"
        )


def _check_on_scale(what: str, column: str, value: float, schema: pa.Schema) -> None:
    low, high = value_range(schema, column)
    if not low <= value <= high:
        raise PairmineError(
            f"{what} {value:g} is outside what {column} holds, {low:g} to {high:g}; "
            "thresholds are on the column's own scale (3 of 5 is 0.6)"
        )


def _check_gate(gate: CandidateGate, schema: pa.Schema) -> None:
    what = "candidate gate"
    for limit in (Limit(gate.column, gate.low), Limit(gate.column, gate.high), *filter(None, [gate.judge])):
        if scale_of(schema.field(limit.column)) == "logit":
            raise PairmineError(
                f"{what}: {limit.column} holds logits, whose size differs from model to model; "
                "run 'pairmine score' for probabilities, or use --max-score"
            )
        check_scale(schema, limit.column, ("probability", "similarity", "cosine"), what)
        _check_on_scale(what, limit.column, limit.value, schema)


def span(low: int | None, high: int | None) -> str:
    """Ranks as they are written on the command line: 10:100, 10: or :100."""
    return f"{'' if low is None else low}:{'' if high is None else high}"
