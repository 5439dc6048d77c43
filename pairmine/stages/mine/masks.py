"""Which documents may not be candidates of which query, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import NOT_FOUND, Retriever
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.identity import NO_TEXT
from pairmine.outcome import with_reason
from pairmine.stages.dedup.matches import Near
from pairmine.stages.mine.forms import distinct_pairs, matches
from pairmine.stages.mine.near_copies import Asked, Crowd, Spread, near_copies
from pairmine.stages.mine.strategy import first_dense
from pairmine.stages.mine.texts import Documents, Queries

REASONS = (
    "a known positive, its source or a copy",
    "the query's own text",
    "in the pair set already",
    "of the group of a positive",
    "a near copy of a positive",
    "a near copy of the query",
    "too similar to a positive",
)
_POSITIVE, _OWN_TEXT, _PRESENT, _SIBLING, _NEAR_POSITIVE, _NEAR_QUERY, _SIMILAR = range(7)
_PAIRS_AT_ONCE = 65_536

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Cosines of documents and others, by their places, (n,) float."""


def similarity_of(retrievers: Sequence[Retriever], near_cosine: float | None) -> Similarity | None:
    """The cosines of documents by the first dense of `retrievers`; None where `near_cosine` is.

    Raises PairmineError where none of them is dense.
    """
    if near_cosine is None:
        return None
    if (dense := first_dense(retrievers)) is not None:
        return dense.similarity
    raise PairmineError(
        f"--near-cosine {near_cosine:g} wants a retriever with vectors, as st:MODEL, and there is none; "
        "add one or leave it out"
    )


@dataclass(frozen=True)
class Known:
    """Positives that are known from elsewhere: the number of the query of each, and the place of the document."""

    queries: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table, queries: Queries, documents: Documents) -> Known:
        """From rows of `query_id` and `doc_id`, whose places `documents.of_known` has.

        Those of other queries and of documents that are not searched are left out. Raises PairmineError where no row
        is about a query of the pair set, or none about a document that is searched.
        """
        number = pc.fill_null(pc.index_in(rows["query_id"], value_set=queries.ids), NOT_FOUND).to_numpy()
        if rows.num_rows and not (number != NOT_FOUND).any():
            raise PairmineError(
                f"--known: none of its {rows.num_rows:,} positives is of a query of the pair set, whose first is "
                f'"{queries.ids[0] if len(queries) else ""}"; pass the file that goes with these queries'
            )
        if rows.num_rows and not (documents.of_known != NOT_FOUND).any():
            raise PairmineError(
                f"--known: none of its {rows.num_rows:,} positives is a document that is searched, its first is "
                f'"{rows["doc_id"][0]}"; pass the file that goes with this corpus'
            )
        usable = (number != NOT_FOUND) & (documents.of_known != NOT_FOUND)
        return cls(number[usable].astype(np.int64), documents.of_known[usable])


@dataclass(frozen=True)
class Masks:
    """What is masked for all queries of one text, and what for each query by itself.

    Queries with the same text share their positives, whatever their ids. `group` is the number of
    each query's text, `per_query` how many places are masked for it at most, not counting those that are
    `similar`; `positive` says which pair rows are positive, `positives` are those of each text and the known ones:
    its number and a place, each pair of them once. Where several reasons hold, the first of `REASONS` counts.
    """

    of_text: Marks
    of_query: Marks
    siblings: Siblings
    near: NearMarks
    similar: Similar | None
    group: np.ndarray
    per_query: np.ndarray
    positive: np.ndarray
    positives: tuple[np.ndarray, np.ndarray]
    width: int

    @classmethod
    def of(
        cls,
        pairs: pa.Table,
        queries: Queries,
        documents: Documents,
        *,
        near: Near | None = None,
        near_cosine: float | None = None,
        similarity: Similarity | None = None,
        known: Known | None = None,
        advance: Advance = nothing,
        spread: Spread | None = None,
    ) -> Masks:
        """Everything that the pair set knows about its queries, and `known` besides.

        `near` is when a document is a near copy of a positive or of the query, None to mask none of them; `advance` is
        told of each document that is read for that, unless `spread` does it elsewhere. From a cosine of `near_cosine`
        on by `similarity` to a positive, documents are too similar to it. Siblings are masked where `documents` have
        groups.
        """
        if near_cosine is not None and not -1 <= near_cosine <= 1:
            raise PairmineError(f"--near-cosine {near_cosine:g}: a cosine from -1 to 1, as 0.95")
        width = max(len(documents.texts), 1)
        rows = queries.of_rows(0, len(queries))
        positive = _positive(pairs)
        texts, group = np.unique(queries.keys, return_inverse=True)
        searched = np.where(documents.of_pair < documents.searchable, documents.of_pair, NOT_FOUND)
        named = np.stack([searched, documents.of_id, documents.of_source])
        known = known or Known(np.empty(0, np.int64), np.empty(0, np.int64))
        owners = np.concatenate([np.tile(group[rows[positive]], len(named)), group[known.queries]])
        places = np.concatenate([named[:, positive].ravel(), known.places])
        own = group[rows[positive]], documents.pair_keys[positive]
        owners, places = _with_copies(owners, places, own, documents)
        askers, own_texts = documents.forms.places_of(texts)
        present = named[:, ~positive].ravel()
        # What each text's positives are by themselves: their places, which may lie behind those that are searched.
        of_positives = distinct_pairs(
            np.concatenate([own[0], group[known.queries]]), np.concatenate([documents.of_pair[positive], known.places])
        )
        near_marks = NearMarks.none(width)
        if near is not None:
            everything = distinct_pairs(
                np.concatenate([owners, of_positives[0]]), np.concatenate([places, of_positives[1]])
            )
            near_marks = NearMarks.of_texts(everything, group, queries, documents, near, width, advance, spread)
        of_text = Marks.of(
            np.concatenate([owners, askers, near_marks.keys // width]),
            np.concatenate([places, own_texts, near_marks.keys % width]),
            np.concatenate([np.repeat([_POSITIVE, _OWN_TEXT], [len(owners), len(askers)]), near_marks.reasons]),
            width,
        )
        of_query = Marks.of(np.tile(rows[~positive], len(named)), present, np.full(len(present), _PRESENT), width)
        siblings = Siblings.of(
            np.concatenate([own[0], group[known.queries]]),
            np.concatenate([_groups_of_pairs(documents)[positive], _at(documents.groups, known.places)]),
            documents.groups,
        )
        per_query = of_text.count(len(texts))[group] + of_query.count(len(queries)) + siblings.count(len(texts))[group]
        similar = None
        if near_cosine is not None and similarity is not None:
            similar = Similar(*of_positives, near_cosine, similarity)
        return cls(of_text, of_query, siblings, near_marks, similar, group, per_query, positive, of_positives, width)

    def find(self, queries: np.ndarray, places: np.ndarray, enough: int | None = None) -> np.ndarray:
        """The reason why each place (n, k) is masked for its query (n,), -1 where it is not or there is none.

        Behind the first `enough` of a query that are not masked, only what is known beforehand is told: how like a
        positive a document is takes long to find out.
        """
        groups = self.group[queries]
        reasons = _first(self.of_text.find(groups, places), self.of_query.find(queries, places))
        reasons = _first(reasons, self.siblings.find(groups, places))
        if self.near.crowds is None and self.similar is None:
            return reasons
        limit = enough = places.shape[1] if enough is None else enough
        judged = places == NOT_FOUND
        while True:
            free = (reasons == NOT_FOUND) & (places != NOT_FOUND)
            asking = (free & judged).sum(axis=1, keepdims=True) < enough
            asking = asking & ~judged & (free | (reasons == _NEAR_QUERY)) & (np.cumsum(free, axis=1) <= limit)
            row, column = np.nonzero(asking)
            if not len(row):
                return reasons
            reasons[row, column] = self._judged(groups[row], places[row, column], reasons[row, column])
            judged[row, column] = True
            limit *= 2

    def _judged(self, groups: np.ndarray, places: np.ndarray, reasons: np.ndarray) -> np.ndarray:
        """The reasons of single places (n,) of query texts, where `reasons` are those known beforehand."""
        if self.near.crowds is not None:
            reasons = _first(reasons, self.near.crowds.nearest(groups, places)[0])
        if self.similar is not None:
            rows = np.flatnonzero(reasons == NOT_FOUND)
            _, cosine = self.similar.nearest(groups[rows], places[rows])
            reasons[rows[cosine >= self.similar.threshold]] = _SIMILAR
        return reasons

    def table(
        self,
        queries: Queries,
        documents: Documents,
        numbers: np.ndarray,
        places: np.ndarray,
        reasons: np.ndarray,
        **columns: pa.Array,
    ) -> pa.Table:
        """Masked documents as rows of a pair set with their `reason`, one for each number of a query and place.

        Of a near copy or one too similar, `similarity` is the Jaccard similarity or cosine, float64, and
        `similar_to` the id of the document that it is like, null where that is the query or has no id in the
        corpus. `columns` go before the reason.
        """
        of, similarity = self._nearest(numbers, places, reasons)
        known = (of >= 0) & (of < documents.searchable)
        found = pa.table(
            {
                "query_id": queries.ids.take(pa.array(numbers)),
                "query": queries.texts.take(numbers).cast(pa.string()),
                "doc_id": documents.ids.take(pa.array(places)),
                "document": documents.texts.take(places).cast(pa.string()),
                **columns,
            }
        )
        found = with_reason(found, pa.array([REASONS[reason] for reason in reasons], pa.string()))
        found = found.append_column("similarity", pa.array(similarity, mask=np.isnan(similarity)))
        return found.append_column("similar_to", documents.ids.take(pa.array(of, mask=~known)))

    def _nearest(self, numbers: np.ndarray, places: np.ndarray, reasons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place that a masked document is like, -1 for none, and how much, NaN where that is not the reason."""
        of, similarity = self.near.nearest(self.group[numbers], places)
        is_near = (reasons == _NEAR_POSITIVE) | (reasons == _NEAR_QUERY)
        of, similarity = np.where(is_near, of, NOT_FOUND), np.where(is_near, similarity, np.nan)
        rows = np.flatnonzero(reasons == _SIMILAR)
        if self.similar is not None and len(rows):
            of[rows], similarity[rows] = self.similar.nearest(self.group[numbers[rows]], places[rows])
        return of, similarity


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
        keys, why = distinct_pairs(owners[found] * width + places[found], reasons[found])
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
        return np.where((self.keys[at] == keys) & (places != NOT_FOUND), self.reasons[at], np.int8(NOT_FOUND))


@dataclass(frozen=True)
class Siblings:
    """The groups of the positives of each query text, and the group of each searched document, -1 for none.

    `of_place` has one more at its end, for the place -1.
    """

    marks: Marks
    of_place: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, owners: np.ndarray, groups: np.ndarray, of_place: np.ndarray) -> Siblings:
        """From the groups of positives beside their owners, and those of all searched documents."""
        width = 1 + int(max(groups.max(initial=0), of_place.max(initial=0)))
        marks = Marks.of(owners, groups, np.full(len(groups), _SIBLING), width)
        return cls(marks, np.append(of_place, NOT_FOUND), np.bincount(of_place[of_place >= 0], minlength=width))

    def count(self, owners: int) -> np.ndarray:
        """How many documents are siblings for each of so many owners."""
        weights = self.sizes[self.marks.keys % self.marks.width]
        return np.bincount(self.marks.keys // self.marks.width, weights, minlength=owners).astype(np.int64)

    def find(self, owners: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The reason at each place (n, k) of its owner (n,), -1 where it is no sibling."""
        if not len(self.marks.keys):
            return np.full(places.shape, NOT_FOUND, np.int8)
        return self.marks.find(owners, self.of_place[places])


@dataclass(frozen=True)
class NearMarks:
    """The near copies of each query text's positives and of itself: keys as in `Marks`, ascending, each once.

    `of` is the place of the positive that it is most like, -1 where it is the query, `similarity` the Jaccard
    similarity to that. A near copy of both has the reason of the positive. `crowds` tells of those whose near copies
    are too many to be listed.
    """

    keys: np.ndarray
    reasons: np.ndarray
    of: np.ndarray
    similarity: np.ndarray
    width: int
    crowds: Crowds | None = None

    @classmethod
    def none(cls, width: int) -> NearMarks:
        """No near copies."""
        nothing_found = np.empty(0, np.int64)
        return cls(nothing_found, nothing_found, nothing_found, np.empty(0), width)

    @classmethod
    def _one_each(cls, found: NearMarks) -> NearMarks:
        order = np.lexsort((found.of, -found.similarity, found.reasons, found.keys))
        order = order[np.diff(found.keys[order], prepend=-1) != 0]
        keys, reasons = found.keys[order], found.reasons[order]
        return cls(keys, reasons, found.of[order], found.similarity[order], found.width, found.crowds)

    @classmethod
    def of_texts(
        cls,
        positives: tuple[np.ndarray, np.ndarray],
        group: np.ndarray,
        queries: Queries,
        documents: Documents,
        near: Near,
        width: int,
        advance: Advance,
        spread: Spread | None = None,
    ) -> NearMarks:
        """The near copies among the searched documents; `positives` are query texts and places side by side."""
        owners, places = positives
        places_asked = distinct(places[places >= 0])
        texts, first = np.unique(group, return_index=True)
        asked = [Asked(documents.texts, places_asked, True), Asked(queries.texts, first)]
        found = near_copies(asked, documents.texts, documents.searchable, near, advance, spread)
        crowds = None
        if len(found.crowded):
            positive = found.crowded < len(places_asked)
            number, at = matches(places_asked[found.crowded[positive]], places)
            crowds = Crowds.of(
                np.concatenate([owners[number], texts[found.crowded[~positive] - len(places_asked)]]),
                np.concatenate([found.crowded[positive][at], found.crowded[~positive]]),
                places_asked,
                Crowd(asked, documents.texts, near),
            )
        of_positive = found.of < len(places_asked)
        place_of = places_asked[found.of[of_positive]]
        number, at = matches(place_of, places)
        of_query = ~of_positive
        asker = texts[found.of[of_query] - len(places_asked)]
        sizes = [len(number), len(asker)]
        return cls._one_each(
            cls(
                np.concatenate(
                    [owners[number] * width + found.place[of_positive][at], asker * width + found.place[of_query]]
                ),
                np.repeat([_NEAR_POSITIVE, _NEAR_QUERY], sizes),
                np.concatenate([place_of[at], np.full(len(asker), NOT_FOUND)]),
                np.concatenate([found.similarity[of_positive][at], found.similarity[of_query]]),
                width,
                crowds,
            )
        )

    def nearest(self, owners: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each place (n,) of its owner (n,) nearly copies, -1 for the query or nothing, and the similarity."""
        reason, of = np.full(len(places), NOT_FOUND, np.int8), np.full(len(places), NOT_FOUND)
        similarity = np.full(len(places), np.nan)
        if len(self.keys):
            keys = owners * self.width + places
            at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            known = self.keys[at] == keys
            reason[known], of[known] = self.reasons[at[known]], self.of[at[known]]
            similarity[known] = self.similarity[at[known]]
        if self.crowds is not None:
            other = self.crowds.nearest(owners, places)
            one = reason.view(np.uint8), -similarity, of
            two = other[0].view(np.uint8), -other[2], other[1]
            better = (two[0] < one[0]) | ((two[0] == one[0]) & (two[1] < one[1]))
            better |= (two[0] == one[0]) & (two[1] == one[1]) & (two[2] < one[2])
            of, similarity = np.where(better, other[1], of), np.where(better, other[2], similarity)
        return of, similarity


@dataclass(frozen=True)
class Crowds:
    """The positives of query texts, and query texts, of which very many documents are copies or nearly so.

    `owners` are the query texts, ascending, beside the numbers `asked` of the texts that `crowd` judges by; the first
    of them are those of the documents at `places`, the others those of the queries.
    """

    owners: np.ndarray
    asked: np.ndarray
    places: np.ndarray
    crowd: Crowd

    @classmethod
    def of(cls, owners: np.ndarray, asked: np.ndarray, places: np.ndarray, crowd: Crowd) -> Crowds:
        """From owners in any order."""
        return cls(*distinct_pairs(owners, asked), places, crowd)

    def nearest(self, owners: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whose near copy each place (n,) of its owner (n,) is, as in `NearMarks`: reason, positive, similarity.

        Where it is none: -1, -1 and NaN.
        """
        reason, of = np.full(len(places), NOT_FOUND, np.int8), np.full(len(places), NOT_FOUND)
        similarity = np.full(len(places), np.nan)
        ends = np.cumsum(np.searchsorted(self.owners, owners, "right") - np.searchsorted(self.owners, owners))
        start = 0
        while start < len(places):
            before = ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(ends, before + 4 * _PAIRS_AT_ONCE, "right")), start + 1)
            number, at = matches(self.owners, owners[start:stop])
            jaccard, is_copy = self.crowd.judge(self.asked[at], places[start:stop][number])
            number, at, jaccard = number[is_copy], self.asked[at[is_copy]], jaccard[is_copy]
            is_positive = at < len(self.places)
            place = np.full(len(at), NOT_FOUND)
            place[is_positive] = self.places[at[is_positive]]
            why = np.where(is_positive, _NEAR_POSITIVE, _NEAR_QUERY).astype(np.int8)
            order = np.lexsort((place, -jaccard, why, number))
            first = order[np.diff(number[order], prepend=-1) != 0]
            rows = start + number[first]
            reason[rows], of[rows], similarity[rows] = why[first], place[first], jaccard[first]
            start = stop
        return reason, of, similarity


@dataclass(frozen=True)
class Similar:
    """How similar documents are to the positives of a query text: `owners` and `places` side by side, ascending."""

    owners: np.ndarray
    places: np.ndarray
    threshold: float
    similarity: Similarity

    def nearest(self, owners: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The positive most similar to each place (n,) of its owner (n,), -1 without one, and the cosine, -inf."""
        of, best = np.full(len(places), NOT_FOUND), np.full(len(places), -np.inf)
        start = 0
        ends = np.cumsum(np.searchsorted(self.owners, owners, "right") - np.searchsorted(self.owners, owners))
        while start < len(places):
            before = ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, "right")), start + 1)
            number, at = matches(self.owners, owners[start:stop])
            if len(number):
                cosine = np.asarray(self.similarity(self.places[at], places[start:stop][number]), np.float64)
                order = np.lexsort((at, -cosine, number))
                first = order[np.diff(number[order], prepend=-1) != 0]
                of[start + number[first]], best[start + number[first]] = self.places[at[first]], cosine[first]
            start = stop
        return of, best


def _first(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The lower reason of two, where there is one."""
    # As unsigned numbers, -1 is the highest.
    return np.minimum(one.view(np.uint8), other.view(np.uint8)).view(np.int8)


def _at(groups: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The group at each place, -1 at those behind the searched ones."""
    return np.where(places < len(groups), np.append(groups, NOT_FOUND)[np.minimum(places, len(groups))], NOT_FOUND)


def _groups_of_pairs(documents: Documents) -> np.ndarray:
    """The group of each pair row's document; where its id is not the corpus's, that of its text or its source."""
    groups = documents.pair_groups
    for places in (documents.of_pair, documents.of_id, documents.of_source):
        groups = np.where(groups == NOT_FOUND, _at(documents.groups, places), groups)
    return groups


def _with_copies(
    owners: np.ndarray, places: np.ndarray, own: tuple[np.ndarray, np.ndarray], documents: Documents
) -> tuple[np.ndarray, np.ndarray]:
    """The places that belong to owners and those of every copy, beside their owners.

    `own` are further owners and the keys of texts that belong to them.
    """
    number, keys = documents.forms.keys_of(places)
    has_text = own[1] != NO_TEXT
    asking, asked = distinct_pairs(
        np.concatenate([owners[number], own[0][has_text]]), np.concatenate([keys, own[1][has_text]])
    )
    number, copies = documents.forms.places_of(asked)
    return np.concatenate([owners, asking[number]]), np.concatenate([places, copies])


def _positive(pairs: pa.Table) -> np.ndarray:
    if "label" not in pairs.column_names or not pairs.num_rows:
        return np.zeros(pairs.num_rows, bool)
    return np.asarray(pc.fill_null(pairs["label"], schema.NEGATIVE).to_numpy() == schema.POSITIVE)
