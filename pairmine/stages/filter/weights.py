"""Training weights: how much each kept row is to count. Several multiply, and so does a weight that was there.

A weight looks at the rows as they leave: labels decided, fills in place. Rows that it has nothing to say
about keep the factor 1. Random fills have no scores; each weight says what they count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE, as_pairs, scale_of
from pairmine.stages.filter.columns import (
    check_scale,
    cosine_column,
    numeric_column,
    read_numbers,
    require,
    require_range,
    value_range,
)
from pairmine.stages.filter.named import POSITIVE_NUMBERS, Named, Options, parse_named
from pairmine.stages.filter.propensity import Compare, Propensity
from pairmine.stages.filter.rows import extreme, read_labels, read_queries

FILL = "fill:"


@dataclass(frozen=True)
class Weight:
    """A weight by name with all of its options, `parse_weight`'s answer."""

    name: str
    options: Options

    @property
    def looks_at_all(self) -> bool:
        """Whether a row's weight hangs on rows of other queries, so that the whole table must be at hand."""
        return KINDS[self.name].looks_at_all

    @property
    def takes_by(self) -> bool:
        """Whether it goes by the score column that decides, since it names none of its own."""
        return KINDS[self.name].takes_by and self.options["by"] is None

    @property
    def needs_positives(self) -> bool:
        """Whether a query with negatives must have a positive to measure them from."""
        return KINDS[self.name].needs_positives


@dataclass(frozen=True)
class Kind(Named):
    """A weight: `factors` gives what each row's weight is multiplied by."""

    factors: Callable[[Weighed, Options], np.ndarray]
    looks_at_all: bool = False
    takes_by: bool = False
    needs_positives: bool = False


class Weighed:
    """The rows that weights look at. Masks and numbers are (n,), `query` counts up from 0 in row order."""

    def __init__(self, pairs: pa.Table, by: str | None, compare: Compare | None = None) -> None:
        self.pairs = pairs
        self.by = by
        self.compare = compare
        self.query, self.query_ids = read_queries(pairs)
        label = read_labels(pairs)
        self.fill = pc.starts_with(pairs["origin"], FILL).to_numpy()
        self.positive = label == POSITIVE
        self.negative = (label == NEGATIVE) & ~self.fill
        self.rated = ~self.positive & ~self.fill

    @cached_property
    def queries(self) -> int:
        return len(self.query_ids)

    def ones(self) -> np.ndarray:
        return np.ones(self.pairs.num_rows)

    def cosines(self, name: object, rows: np.ndarray, what: str, which: str) -> np.ndarray:
        """The column of cosines that was named, or the one there is; every one of `rows` must have one."""
        schema = self.pairs.schema
        column = cosine_column(schema, what) if name is None else numeric_column(schema, str(name), what)
        check_scale(schema, column, ("cosine", "similarity"), what)
        found = self.numbers(column, rows, what, which)
        require_range(self.pairs, np.where(rows, found, np.nan), column, -1, 1, what)
        return found

    def numbers(self, column: str, rows: np.ndarray, what: str, which: str) -> np.ndarray:
        """Column `column` as float32; every one of `rows` must have a number, on the column's scale."""
        found = read_numbers(self.pairs, column)
        require(found, rows, column, what, which)
        low, high = value_range(self.pairs.schema, column)
        require_range(self.pairs, np.where(rows, found, np.nan), column, low, high, what)
        return found


def _punish_similar(rows: Weighed, options: Options) -> np.ndarray:
    """0 for negatives whose cosine to the query lies above phi; they would be pushed away though alike."""
    scores = rows.cosines(options["by"], rows.negative, "punish-similar", "negatives")
    return np.where(rows.negative & (scores > np.float32(options["phi"])), 0.0, 1.0)


def _gaussian_decay(rows: Weighed, options: Options) -> np.ndarray:
    """1 - exp(-d^2 / 2 sigma^2), d by how much a negative scores below its query's lowest positive; else 0."""
    what = "gaussian-decay"
    held = np.bincount(rows.query[rows.negative], minlength=rows.queries) > 0
    positives = rows.positive & held[rows.query]
    scores = rows.cosines(options["by"], rows.negative | positives, what, "positives and negatives")
    lowest = extreme(np.minimum, rows.query, scores, positives, rows.queries)
    if bare := int((held & np.isnan(lowest)).sum()):
        raise PairmineError(f"{what}: {bare} queries have negatives and no positive to measure their distance from")
    # Divided before it is squared, so that no sigma of any size overflows.
    with np.errstate(over="ignore"):
        distance = np.maximum(lowest[rows.query] - scores, 0) / _of(options, "sigma")
        decayed = -np.expm1(-(distance**2) / 2)
    return np.where(rows.negative, decayed, 1.0)


def _inverse_propensity(rows: Weighed, options: Options) -> np.ndarray:
    """1 / (share of a pair's edit-ratio bin within its band of scores), positives and negatives apart."""
    what = "inverse-propensity"
    name = options["by"] or rows.by
    if name is None:
        raise PairmineError(f"{what}: no score column to band pairs by; run 'pairmine score' first, or pass by=")
    column = numeric_column(rows.pairs.schema, str(name), what)
    scores = rows.numbers(column, rows.positive | rows.rated, what, "rows")
    propensity = Propensity(int(_of(options, "bins")), int(_of(options, "bands")), _of(options, "max"))
    factors = rows.ones()
    for role in (rows.positive, rows.rated):
        factors *= propensity.of_rows(rows.pairs, role, scores, what, rows.compare)
    return factors


def _ordinal(rows: Weighed, options: Options) -> np.ndarray:
    """exp(-|g - g+| / tau), g+ the best grade of the query's positives or, without any, of its rows; fills have 0."""
    what = "ordinal"
    column = numeric_column(rows.pairs.schema, str(options["by"]), what)
    check_scale(rows.pairs.schema, column, ("cosine", "probability", "similarity"), what)
    real = ~rows.fill
    grades = rows.numbers(column, real, what, "rows")
    require_range(rows.pairs, np.where(real, grades, np.nan), column, -1, 1, what)
    best = extreme(np.maximum, rows.query, grades, rows.positive, rows.queries)
    best = np.where(np.isnan(best), extreme(np.maximum, rows.query, grades, real, rows.queries), best)
    distance = np.abs(np.where(rows.fill, 0, grades) - best[rows.query])
    nearness: np.ndarray = np.exp(-distance / _of(options, "tau"))
    return nearness


def _importance(rows: Weighed, options: Options) -> np.ndarray:
    """exp(s / temperature) among the negatives of a query, scaled to their mean 1; the harder, the more."""
    what = "importance"
    name = options["by"] or rows.by
    if name is None:
        raise PairmineError(f"{what}: no score column to tell hard from easy; run 'pairmine score' first, or pass by=")
    column = numeric_column(rows.pairs.schema, str(name), what)
    if scale_of(rows.pairs.schema.field(column)) in ("logit", "bm25", "run") and options["temperature"] == TEMPERATURE:
        raise PairmineError(
            f"{what}: {column} is no cosine or probability, so the default temperature {TEMPERATURE:g} would give one "
            "negative all the weight; pass temperature=, about the spread of a query's scores"
        )
    scores = rows.numbers(column, rows.negative, what, "negatives")
    highest = extreme(np.maximum, rows.query, scores, rows.negative, rows.queries)
    at = np.flatnonzero(rows.negative)
    query = rows.query[at]
    shares = np.exp((scores[at] - highest[query]) / _of(options, "temperature"))
    sums, many = (np.bincount(query, each, minlength=rows.queries) for each in (shares, np.ones(len(at))))
    factors = rows.ones()
    factors[at] = shares * many[query] / sums[query]
    return factors


def _of(options: Options, name: str) -> float:
    return float(options[name] or 0)


TEMPERATURE = 0.1

KINDS: Mapping[str, Kind] = {
    "punish-similar": Kind(
        "weight 0 for negatives whose cosine to the query lies above phi",
        "DCLR, Zhou et al. 2022, arXiv 2205.00656: phi 0.90 for BERT, 0.85 for RoBERTa; MultiCSR takes 0.95",
        {"phi": 0.90, "by": None},
        {"phi": (-1, 1)},
        _punish_similar,
    ),
    "gaussian-decay": Kind(
        "1 - exp(-d^2 / 2 sigma^2) for negatives, d by how much they score below the lowest positive",
        "GCSE, Lai et al. 2024, arXiv 2409.12887: sigma 0.17 (BERT). There d is taken to the student as it trains; "
        "taking it to the positive of the frozen model is ours",
        {"sigma": 0.17, "by": None},
        {"sigma": POSITIVE_NUMBERS},
        _gaussian_decay,
        needs_positives=True,
    ),
    "inverse-propensity": Kind(
        "1 / (share of the pair's edit-ratio bin within its band of scores), clipped, mean 1",
        "DebCSE, Miao et al. 2023, arXiv 2309.07396; formula and defaults are ours",
        {"bins": 10.0, "bands": 5.0, "max": 5.0, "by": None},
        {"bins": (1, 1000), "bands": (1, 1000), "max": (1, math.inf)},
        _inverse_propensity,
        looks_at_all=True,
        takes_by=True,
    ),
    "ordinal": Kind(
        "exp(-|g - g+| / tau): rows whose grade is near that of the best positive weigh more",
        "after SupReMix, Wu et al. 2023, arXiv 2309.16633, and ConR, Keramati et al. 2023, arXiv 2309.06651; "
        "formula and tau are ours",
        {"tau": 0.5, "by": "grade"},
        {"tau": POSITIVE_NUMBERS},
        _ordinal,
    ),
    "importance": Kind(
        "exp(s / temperature) among a query's negatives, mean 1: the harder, the more",
        "after DiHT, Radenovic et al. 2023, arXiv 2301.02280; temperature is ours",
        {"temperature": TEMPERATURE, "by": None},
        {"temperature": POSITIVE_NUMBERS},
        _importance,
        takes_by=True,
    ),
}


def parse_weight(text: str) -> Weight:
    """``NAME[:key=value,...]``, as punish-similar:phi=0.85,by=score_dense.

    Raises a PairmineError for a name, an option or a value that there is not.
    """
    name, told = parse_named("weight", text, KINDS)
    return Weight(name, {**KINDS[name].defaults, **told})


def parse_weights(texts: Sequence[str]) -> list[Weight]:
    """Each of `texts` as a weight; raises a PairmineError also where two of them are the same."""
    weights: list[Weight] = []
    for text in texts:
        weight = parse_weight(text)
        if weight in weights:
            raise PairmineError(f"weight {text}: it is given twice and would count twice; leave one of them out")
        weights.append(weight)
    return weights


def _check_weights(pairs: pa.Table, weights: np.ndarray) -> None:
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        at = int(wrong[0])
        raise PairmineError(
            f'the weight that is there is {weights[at]:g} in row {at + 1} (query "{pairs["query_id"][at]}"), and a '
            "weight is a number from 0 on; mend it, or leave the column out"
        )


def weigh(
    pairs: pa.Table, weights: Sequence[Weight], by: str | None, compare: Compare | None = None
) -> tuple[pa.Table, dict[str, int]]:
    """`pairs` with the column `weight`, the product of `weights` and of what that column held, null for 1.

    `by` is the score column that decided, for weights that name none. Counts, by weight, the rows
    that it set to 0, lowered or raised. `compare` is that of `Propensity.of_rows`.
    """
    rows = Weighed(pairs, by, compare)
    total = rows.ones()
    notes: Counter[str] = Counter()
    if "weight" in pairs.column_names:
        total = pc.fill_null(pc.cast(pairs["weight"], pa.float64()), 1.0).to_numpy().copy()
        _check_weights(pairs, total)
        notes["weights that were there, multiplied"] = pairs.num_rows - pairs["weight"].null_count
    for weight in weights:
        factors = KINDS[weight.name].factors(rows, weight.options)
        total *= factors
        notes[f"{weight.name}: rows of weight 0"] += int((factors == 0).sum())
        notes[f"{weight.name}: rows below 1"] += int(((factors > 0) & (factors < 1)).sum())
        notes[f"{weight.name}: rows above 1"] += int((factors > 1).sum())
    rest = pairs.drop_columns("weight") if "weight" in pairs.column_names else pairs
    weighed = as_pairs(rest.append_column("weight", pa.array(total, pa.float32())))
    return weighed, {what: count for what, count in notes.items() if count}
