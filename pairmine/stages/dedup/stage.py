"""The stage: which rows leave because an earlier one says the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, with_reason
from pairmine.schema import POSITIVE
from pairmine.stages.dedup.copies import Copies, choose, copies_of, first_of_each
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.minhash import banding
from pairmine.stages.dedup.units import Units, codes_of, sides_of

BY = ("query", "document", "pair")
KEEP = ("first", "longest")
EXACT = ("normalised", "bytes")

EXACT_COPY = "exact copy"
NEAR_COPY = "near copy"
NO_POSITIVE = "no positive left"


def dedup(
    table: pa.Table,
    *,
    by: str,
    near: bool,
    threshold: float,
    ngram: int,
    permutations: int,
    workers: int = 1,
    seed: int = 0,
    keep: str = "first",
    exact: str = "normalised",
    sentence_words: int = 32,
    short_text_words: int = 80,
) -> Outcome:
    """Drop the rows of a corpus or a pair set that copy another row.

    A table with `query_id` is a pair set, any other a corpus (`id`, `text`, optional `title`).
    What is compared is settled by `by`:

    - ``document``: a corpus's rows, or the documents of a pair set; there, rows with one `doc_id`
      hold one document, and all rows of a copy under another `doc_id` leave.
    - ``query``: all rows of a query that copies another `query_id` leave.
    - ``pair``: a row leaves when its query and its document both copy those of another row.

    A query that loses all its positives that way loses its other rows as well.

    Exact copies share a normalised text (NFKC, case, blanks; or their ``bytes``). Near copies share
    enough of their sets of `ngram`-word shingles: a Jaccard similarity >= `threshold`, computed
    exactly for each pair that MinHash brings up (Broder, On the resemblance and containment of
    documents, 1997), which is 99.9 % or more of those at the threshold. In texts that both have fewer
    than `short_text_words` words, a near copy adds words or drops them, but replaces none; below
    `sentence_words`, it differs in word order or punctuation at most. 0 turns either rule off.
    Copies of copies form one group; of each group the `first` one stays, or the ``longest``. Blank
    texts copy nothing. Any number of `workers` (processes) gives the same rows.

    `rejected` has `reason` and then `duplicate_of`, the id that stayed (``by="pair"``: its
    `query_id`, a tab, its `doc_id`), `similarity` in [0, 1] float64, and `similar_to`, the id it was
    measured with: for an exact copy the one it repeats (1.0), for a near copy the one that stayed,
    or where those two are connected by others only, its best match. For ``by="pair"`` it is the
    lower one of both sides' similarities to the pair that stayed. All three are null in rows that
    leave for want of a positive.

    Raises PairmineError for a setting out of range, a column that is missing, a null text, one
    id with two texts, and `permutations` too few for `threshold`.
    """
    _check_choices(by=(by, BY), keep=(keep, KEEP), exact=(exact, EXACT))
    settings = Near(threshold, ngram, permutations, sentence_words, short_text_words, workers, seed) if near else None
    if settings:
        _check_near(settings)
    sides = sides_of(table, by)
    copies = [copies_of(units, exact=exact, near=settings) for units in sides]
    choice = _choose_pairs(table, sides, copies, keep) if by == "pair" else _choose_units(sides[0], copies[0], keep)
    stranded = _without_positive(table, choice.leaves)
    notes = {
        "groups": len(np.unique(choice.kept[choice.leaves])),
        "pairs compared": sum(found.compared for found in copies),
        "pairs passed over": sum(found.passed_over for found in copies),
    }
    kept = table.filter(pa.array(~(choice.leaves | stranded)))
    return Outcome(kept, _rejected(table, choice, stranded), rows_in=table.num_rows, notes=notes)


def _check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise PairmineError(f'--{name} is "{value}"; pass one of {", ".join(known)}')


def _check_near(near: Near) -> None:
    if not 0 < near.threshold <= 1:
        raise PairmineError(f"--threshold is {near.threshold:g}; pass a Jaccard similarity above 0 and up to 1")
    for name, least in (
        ("ngram", 1),
        ("permutations", 1),
        ("workers", 1),
        ("sentence_words", 0),
        ("short_text_words", 0),
    ):
        if getattr(near, name) < least:
            raise PairmineError(f"--{name.replace('_', '-')} is {getattr(near, name)}; pass {least} or more")
    banding(near.threshold, near.permutations)


@dataclass(frozen=True)
class _Choice:
    """For each row: whether it leaves as a copy, and of what; `kept` and `similar_to` are positions in `names`."""

    leaves: np.ndarray
    is_exact: np.ndarray
    kept: np.ndarray
    similarity: np.ndarray
    similar_to: np.ndarray
    names: pa.Array


def _choose_units(units: Units, copies: Copies, keep: str) -> _Choice:
    everyone = np.arange(len(units.ids))
    lengths = units.lengths() if keep == "longest" else None
    kept, repeated = choose(copies.groups, lengths), choose(copies.exact, lengths)
    is_exact = repeated != everyone
    near = np.flatnonzero((kept != everyone) & ~is_exact)
    similarity, similar_to = np.ones(len(everyone)), repeated.copy()
    similarity[near], is_match = copies.similarity(near, kept[near])
    similar_to[near] = kept[near]
    chained = near[~is_match]
    if len(chained):
        similarity[chained], best = copies.best_match(chained)
        similar_to[chained] = repeated[best]
    row = units.of_row
    return _Choice((kept != everyone)[row], is_exact[row], kept[row], similarity[row], similar_to[row], units.ids)


def _choose_pairs(pairs: pa.Table, sides: list[Units], copies: list[Copies], keep: str) -> _Choice:
    rows = np.arange(pairs.num_rows)
    of_row = [units.of_row for units in sides]
    lengths = None
    if keep == "longest":
        lengths = np.sum([units.lengths()[row] for units, row in zip(sides, of_row, strict=True)], axis=0)
    kept = choose(_both([found.groups[row] for found, row in zip(copies, of_row, strict=True)]), lengths)
    repeated = choose(_both([found.exact[row] for found, row in zip(copies, of_row, strict=True)]), lengths)
    is_exact = repeated != rows
    near = np.flatnonzero((kept != rows) & ~is_exact)
    similarity, similar_to = np.ones(len(rows)), repeated.copy()
    similar_to[near] = kept[near]
    for found, row in zip(copies, of_row, strict=True):
        similarity[near] = np.minimum(similarity[near], found.similarity(row[near], row[kept[near]])[0])
    ids = [pairs[name].cast(pa.large_string()).combine_chunks() for name in ("query_id", "doc_id")]
    names = pc.binary_join_element_wise(*ids, pa.scalar("\t", pa.large_string()))
    return _Choice(kept != rows, is_exact, kept, similarity, similar_to, names)


def _both(labels: list[np.ndarray]) -> np.ndarray:
    """One label per row, equal where both `labels` are: the first row that has the two; (rows,) int64."""
    query, document = labels
    return first_of_each(query * (document.max(initial=0) + 1) + document)


def _without_positive(table: pa.Table, leaves: np.ndarray) -> np.ndarray:
    """Which remaining rows belong to a query whose positives all leave."""
    if "query_id" not in table.column_names or "label" not in table.column_names:
        return np.zeros(table.num_rows, bool)
    queries, ids = codes_of(table["query_id"])
    positive = pc.fill_null(pc.equal(table["label"], POSITIVE), False).to_numpy()
    had = np.bincount(queries[positive], minlength=len(ids)) > 0
    has = np.bincount(queries[positive & ~leaves], minlength=len(ids)) > 0
    stranded: np.ndarray = (had & ~has)[queries] & ~leaves
    return stranded


def _rejected(table: pa.Table, choice: _Choice, stranded: np.ndarray) -> pa.Table:
    gone = np.flatnonzero(choice.leaves | stranded)
    no_copy = stranded[gone]
    reason = np.where(no_copy, NO_POSITIVE, np.where(choice.is_exact[gone], EXACT_COPY, NEAR_COPY))
    added = {
        "duplicate_of": _named(choice.names, choice.kept[gone], no_copy),
        "similarity": pa.array(choice.similarity[gone], mask=no_copy),
        "similar_to": _named(choice.names, choice.similar_to[gone], no_copy),
    }
    rows = table.filter(pa.array(choice.leaves | stranded))
    rows = rows.drop_columns([name for name in ("reason", *added) if name in rows.column_names])
    rows = with_reason(rows, pa.array(reason.tolist(), pa.string()))
    for name, values in added.items():
        rows = rows.append_column(name, values)
    return rows


def _named(names: pa.Array, positions: np.ndarray, missing: np.ndarray) -> pa.Array:
    return names.take(pa.array(positions, pa.int64(), mask=missing)).cast(pa.string())
