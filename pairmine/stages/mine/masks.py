"""Which documents may not be candidates of which query, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND
from pairmine.identity import NO_TEXT
from pairmine.stages.mine.forms import distinct
from pairmine.stages.mine.texts import Documents, Queries

REASONS = ("a known positive, its source or a copy", "the query's own text", "in the pair set already")
_POSITIVE, _OWN_TEXT, _PRESENT = range(3)


@dataclass(frozen=True)
class Masks:
    """What is masked for all queries of one text, and what for each query by itself.

    Queries with the same text share their positives, whatever their ids. `group` is the number of
    each query's text, `per_query` how many places are masked for it at most, `positive` says which
    pair rows are positive. Where several reasons hold, the first of `REASONS` counts.
    """

    of_text: Marks
    of_query: Marks
    group: np.ndarray
    per_query: np.ndarray
    positive: np.ndarray
    width: int

    @classmethod
    def of(cls, pairs: pa.Table, queries: Queries, documents: Documents) -> Masks:
        """Everything that the pair set knows about its queries."""
        width = max(len(documents.texts), 1)
        rows = queries.of_rows(0, len(queries))
        positive = _positive(pairs)
        texts, group = np.unique(queries.keys, return_inverse=True)
        searched = np.where(documents.of_pair < documents.searchable, documents.of_pair, NOT_FOUND)
        named = np.stack([searched, documents.of_id, documents.of_source])
        owners, places = _belonging(group[rows[positive]], named[:, positive], positive, documents)
        askers, own_texts = documents.forms.places_of(texts)
        of_text = Marks.of(
            np.concatenate([owners, askers]),
            np.concatenate([places, own_texts]),
            np.repeat([_POSITIVE, _OWN_TEXT], [len(owners), len(askers)]),
            width,
        )
        present = named[:, ~positive].ravel()
        of_query = Marks.of(np.tile(rows[~positive], len(named)), present, np.full(len(present), _PRESENT), width)
        per_query = of_text.count(len(texts))[group] + of_query.count(len(queries))
        return cls(of_text, of_query, group, per_query, positive, width)

    def find(self, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The reason why each place (n, k) is masked for its query (n,), -1 where it is not or there is none."""
        shared = self.of_text.find(self.group[queries], places)
        return np.where(shared == NOT_FOUND, self.of_query.find(queries, places), shared)


@dataclass(frozen=True)
class Marks:
    """Sorted keys ``owner * width + place`` with a reason each."""

    keys: np.ndarray
    reasons: np.ndarray
    width: int

    @classmethod
    def of(cls, owners: np.ndarray, places: np.ndarray, reasons: np.ndarray, width: int) -> Marks:
        """The marks of owners and places side by side; a place of -1 is left out, the least reason counts."""
        found = places >= 0
        keys, why = distinct(owners[found] * width + places[found], reasons[found])
        unique, first = np.unique(keys, return_index=True)
        return cls(unique, why[first].astype(np.int8), width)

    def count(self, owners: int) -> np.ndarray:
        """How many places are marked for each of so many owners."""
        return np.bincount(self.keys // self.width, minlength=owners)

    def find(self, owners: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The reason at each place (n, k) of its owner (n,), -1 where there is none."""
        if not len(self.keys):
            return np.full(places.shape, NOT_FOUND, np.int8)
        keys = owners[:, None] * self.width + places
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where((self.keys[at] == keys) & (places != NOT_FOUND), self.reasons[at], NOT_FOUND)


def _belonging(
    groups: np.ndarray, named: np.ndarray, positive: np.ndarray, documents: Documents
) -> tuple[np.ndarray, np.ndarray]:
    """The places that positives name (3, n), and those of every copy of them, beside their query's group (n,)."""
    all_groups, places = np.tile(groups, len(named)), named.ravel()
    number, keys = documents.forms.keys_of(places)
    own_keys = documents.pair_keys[positive]
    has_text = own_keys != NO_TEXT
    asking, asked = distinct(
        np.concatenate([all_groups[number], groups[has_text]]), np.concatenate([keys, own_keys[has_text]])
    )
    number, copies = documents.forms.places_of(asked)
    return np.concatenate([all_groups, asking[number]]), np.concatenate([places, copies])


def _positive(pairs: pa.Table) -> np.ndarray:
    if "label" not in pairs.column_names or not pairs.num_rows:
        return np.zeros(pairs.num_rows, bool)
    return np.asarray(pc.fill_null(pairs["label"], schema.NEGATIVE).to_numpy() == schema.POSITIVE)
