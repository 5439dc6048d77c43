"""A score column for some of a pair set's rows: a band of another score, some labels, at most so many pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import Scorer
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects
from pairmine.stages.filter.columns import numeric_column, read_numbers
from pairmine.stages.filter.gates import Band
from pairmine.stages.score import score_pairs

ONLY: dict[str, int | None] = {"candidates": None, "positives": schema.POSITIVE, "negatives": schema.NEGATIVE}
"""Kinds of rows by their label; "all" is any."""
_UNDECIDED = -1


@dataclass(frozen=True)
class Wanted:
    """Which rows are to be scored: all that pass every part that is given.

    `band` holds the rows whose column lies in [low, high). `only` is a kind of `ONLY`, or "all". `missing` leaves out
    rows that have a score already, which they keep. `most` is how many pairs are scored at most: those nearest to the
    middle of the band, where the other score is least sure; without a band a sample that the texts themselves draw,
    so that a higher number adds to it.
    """

    band: Band | None = None
    only: str = "all"
    missing: bool = False
    most: int | None = None

    def __bool__(self) -> bool:
        return self != Wanted()


class RowChoice:
    """The rows that `wanted` means for the column `score_<name>`, chunk by chunk.

    Every chunk is looked at once before the first `of`: only then is it known which pairs are the nearest.
    """

    def __init__(self, wanted: Wanted, name: str) -> None:
        if wanted.only not in (*ONLY, "all"):
            raise PairmineError(f"--only {wanted.only}: choose {', '.join(ONLY)}, all")
        self.wanted = wanted
        self._column = schema.SCORE_PREFIX + name
        self._nearest = np.empty(0, _PLACE)
        self.rows = 0

    def look(self, pairs: pa.Table) -> None:
        """Note what there is to choose from."""
        chosen, _ = self._eligible(pairs)
        self.rows += int(chosen.sum())
        if self.wanted.most is not None:
            self._keep(self._places(pairs)[chosen])

    def merge(self, other: RowChoice) -> None:
        """Note what another choice of the same kind has seen elsewhere, as if it had been looked at here."""
        self.rows += other.rows
        self._keep(other._nearest)

    def many(self, rows: int) -> int | None:
        """How many of all `rows` are to be scored; None where equal pairs make that less than known."""
        if not self.wanted:
            return rows
        return None if self.wanted.most is not None else self.rows

    def words(self, rows: int) -> str:
        """How much of all `rows` is to be scored, in words."""
        capped = f", {len(self._nearest):,} pairs of them" if self.wanted.most is not None else ""
        return f"{self.rows:,} of {rows:,} rows{capped}"

    def of(self, pairs: pa.Table) -> tuple[np.ndarray, dict[str, int]]:
        """A mask of the chosen rows, (n,) bool, and counts of the others by why they are not."""
        chosen, notes = self._eligible(pairs)
        if self.wanted.most is None:
            return chosen, notes
        within = chosen & np.isin(self._places(pairs)["pair"], self._nearest["pair"])
        _note(notes, f"not scored: beyond --max-judged {self.wanted.most}", chosen & ~within)
        return within, notes

    def _keep(self, places: np.ndarray) -> None:
        """The nearest of those known so far and `places`."""
        places = np.concatenate([self._nearest, places])
        # Equal pairs count once, the nearest of them.
        places = np.sort(places, order=["distance", "pair"])
        _, first = np.unique(places["pair"], return_index=True)
        self._nearest = places[np.sort(first)][: self.wanted.most]

    def _eligible(self, pairs: pa.Table) -> tuple[np.ndarray, dict[str, int]]:
        """The rows that pass all but `most`; of the others the first reason counts."""
        chosen = np.ones(pairs.num_rows, bool)
        notes: dict[str, int] = {}
        for reason, passes in self._parts(pairs):
            _note(notes, f"not scored: {reason}", chosen & ~passes)
            chosen &= passes
        return chosen, notes

    def _parts(self, pairs: pa.Table) -> Iterable[tuple[str, np.ndarray]]:
        wanted = self.wanted
        if wanted.only != "all":
            yield f"not a {wanted.only.removesuffix('s')}", _labels(pairs) == _code(ONLY[wanted.only])
        if wanted.missing and self._column in pairs.column_names:
            yield "has a score already", pc.is_null(pairs[self._column], nan_is_null=True).to_numpy()
        if (band := wanted.band) is not None:
            name, values = self._band_values(pairs, band)
            yield f"no {name}", np.isfinite(values)
            # As float32, as the column is: else 0.9 there would lie below 0.9.
            inside = (values >= np.float32(band.low)) & (values < np.float32(band.high))
            yield f"{name} outside [{band.low:g}, {band.high:g})", inside

    def _band_values(self, pairs: pa.Table, band: Band) -> tuple[str, np.ndarray]:
        name = numeric_column(pairs.schema, band.column, "--band")
        if name == self._column:
            raise PairmineError(f"--band {band.column}: is the column to fill; name the score to take the band from")
        return name, read_numbers(pairs, name)

    def _places(self, pairs: pa.Table) -> np.ndarray:
        """How far each row lies from the middle of the band, and its pair by a hash of both texts, (n,) of `_PLACE`."""
        places = np.zeros(pairs.num_rows, _PLACE)
        if (band := self.wanted.band) is not None:
            _, values = self._band_values(pairs, band)
            places["distance"] = np.abs(values.astype(np.float64) - (band.low + band.high) / 2)
        queries, documents = (_hashes(pairs[side]) for side in ("query", "document"))
        # Another constant than 1 keeps (a, b) and (b, a) apart.
        places["pair"] = (queries * np.uint64(0x9E3779B97F4A7C15)) ^ documents
        return places


_PLACE = np.dtype([("distance", np.float64), ("pair", np.uint64)])


def score_chosen(
    pairs: pa.Table, scorer: Scorer, choice: RowChoice, *, name: str, advance: Advance = nothing
) -> Outcome:
    """`pairs` with the column `score_<name>`, filled for the rows of `choice`, with the others counted by reason."""
    chosen, notes = choice.of(pairs)
    if chosen.all():
        outcome = score_pairs(pairs, scorer, name=name, advance=advance)
    else:
        outcome = score_rows(pairs, scorer, chosen, name=name, keep=choice.wanted.missing, advance=advance)
    return replace(outcome, notes={**outcome.notes, **notes})


def score_rows(
    pairs: pa.Table, scorer: Scorer, chosen: np.ndarray, *, name: str, keep: bool = False, advance: Advance = nothing
) -> Outcome:
    """`pairs` with the column `score_<name>`, filled where `chosen`, (n,) bool, is true; else null.

    With `keep` the others hold on to what is in that column already. `advance` is told of the chosen rows. Raises
    PairmineError when the column is on another scale than the scorer's.
    """
    field = schema.score_field(name, scorer.scale)
    scores = np.full(pairs.num_rows, np.nan, np.float32)
    if keep and field.name in pairs.column_names:
        _check_same_scale(pairs.schema.field(field.name), scorer.scale)
        scores = read_numbers(pairs, field.name).copy()
    scored = score_pairs(pairs.filter(pa.array(chosen)), scorer, name=name, advance=advance)
    scores[chosen] = read_numbers(scored.kept, field.name)
    rest = pairs.drop_columns(field.name) if field.name in pairs.column_names else pairs
    kept = schema.as_pairs(rest.append_column(field, pa.array(scores, field.type, from_pandas=True)))
    return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows, notes=scored.notes)


def _check_same_scale(field: pa.Field, scale: str) -> None:
    there = schema.scale_of(field)
    if there is not None and there != scale:
        raise PairmineError(
            f"--missing: {field.name} holds a {there}, and this scorer gives a {scale}; "
            "give it a column of its own, as in --scorer NAME=SPEC"
        )


def _note(notes: dict[str, int], what: str, rows: np.ndarray) -> None:
    if count := int(rows.sum()):
        notes[what] = count


def _labels(pairs: pa.Table) -> np.ndarray:
    """Each row's label, (n,) int8, -1 for none."""
    if "label" not in pairs.column_names:
        return np.full(pairs.num_rows, _UNDECIDED, np.int8)
    labels: np.ndarray = pc.fill_null(pairs["label"], _UNDECIDED).to_numpy()
    return labels


def _code(label: int | None) -> int:
    return _UNDECIDED if label is None else label


def _hashes(texts: pa.ChunkedArray) -> np.ndarray:
    """64 bits of each text, (n,) uint64."""
    whole = schema.cast_column(texts, schema.TEXT, "text").unify_dictionaries().combine_chunks()
    if not len(whole):
        return np.empty(0, np.uint64)
    digests = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8) for text in whole.dictionary.to_pylist()]
    of_text = np.frombuffer(b"".join(digest.digest() for digest in digests), "<u8")
    return of_text[whole.indices.to_numpy()]
