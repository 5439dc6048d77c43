"""Tests against other files: the corpus and the queries that ids belong to, evaluation sets, other splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.distinct import distinct
from pairmine.identity import NO_TEXT
from pairmine.schema import NEGATIVE, POSITIVE, document_text
from pairmine.stages.check.chunk import Chunk, id_keys
from pairmine.stages.check.tallies import Note, Tallies
from pairmine.stages.dedup.against import KINDS, Against, EvalSet
from pairmine.stages.dedup.kernel import exact_keys
from pairmine.stages.export.rows import Texts

_HOW = {"exact": "a copy of", "near": "a near copy of", "contains": "holds"}


@dataclass(frozen=True)
class Lookup:
    """The ids of a corpus or query file, hashed and ascending, and the key of each text with and without its title."""

    ids: np.ndarray
    whole: np.ndarray
    bare: np.ndarray

    @classmethod
    def of(cls, tables: Iterable[pa.Table]) -> Lookup:
        """Read the columns id, text and title of `tables`: 24 bytes a text are kept."""
        empty = np.empty(0, np.uint64)
        ids, whole, bare = [empty], [empty], [empty]
        for table in tables:
            ids.append(id_keys(table["id"]))
            bare.append(exact_keys(table["text"].cast(pa.large_string())))
            whole.append(exact_keys(document_text(table)) if "title" in table.column_names else bare[-1])
        order = np.argsort(np.concatenate(ids), kind="stable")
        return cls(*(np.concatenate(each)[order] for each in (ids, whole, bare)))

    def find(self, ids: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the file has each id, and whether it has another text for it than that of `keys`, (n,) bool each."""
        if not len(self.ids):
            return np.zeros(len(ids), bool), np.zeros(len(ids), bool)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known = self.ids[at] == ids
        differs = known & (keys != NO_TEXT) & (keys != self.whole[at]) & (keys != self.bare[at])
        return known, differs


class Resolved:
    """Whether ids resolve, and to the texts that the pairs have."""

    def __init__(self, documents: Lookup | None, queries: Lookup | None) -> None:
        self._files = {"doc_id": documents, "query_id": queries}

    def add(self, chunk: Chunk, found: Tallies) -> None:
        """Look up the ids of a chunk."""
        missing, differing = {}, {}
        for name, ids, keys in (("doc_id", chunk.doc_ids, chunk.told), ("query_id", chunk.query_ids, chunk.asked)):
            if (lookup := self._files[name]) is not None:
                known, differing[name] = lookup.find(ids, keys)
                missing[name] = ~known
        for test, wrong, note in (
            ("unresolved-ids", missing, "its {} is not there"),
            ("stale-texts", differing, "its {} has another text there"),
        ):
            if wrong:
                rows = np.flatnonzero(np.logical_or.reduce(list(wrong.values())))
                found.looked(test, len(chunk))
                found.found(test, chunk.rows(rows), _named(rows, wrong, note))


def _named(rows: np.ndarray, wrong: dict[str, np.ndarray], note: str) -> Note:
    return lambda at: note.format(" and its ".join(name for name, mask in wrong.items() if mask[rows[at]]))


@dataclass
class Leaks:
    """Queries and positives that are in evaluation sets or in other splits, by the rules of `dedup --against`."""

    against: Against | None = None
    splits: Against | None = None

    def add(self, chunk: Chunk, found: Tallies) -> None:
        """Hold a chunk against both."""
        positive = np.flatnonzero(chunk.label == POSITIVE)
        first = np.flatnonzero(np.append(True, np.diff(chunk.query_ids) != 0)[: len(chunk)])
        if self.against is not None:
            found.looked("leakage", len(first))
            found.looked("leaked-documents", len(positive))
            _leaks(self.against, chunk.queries, chunk, first, "leakage", found)
            _leaks(self.against, chunk.documents, chunk, positive, "leaked-documents", found)
        if self.splits is not None and found.wants("straddling"):
            found.looked("straddling", len(chunk))
            notes = near_rows(self.splits, chunk, np.arange(len(chunk)))
            rows = np.array(sorted(notes), np.int64)
            found.found("straddling", chunk.rows(rows), noted(rows, notes))


def near_rows(against: Against, chunk: Chunk, rows: np.ndarray) -> dict[int, str]:
    """The places of those `rows` whose query or, but for negatives, document `against` finds; what is to be said."""
    told = rows[chunk.label[rows] != NEGATIVE]
    documents = _notes(against, _hits(against, chunk.documents, told), "the document")
    return {**documents, **_notes(against, _hits(against, chunk.queries, rows), "the query")}


def _leaks(against: Against, texts: Texts | None, chunk: Chunk, rows: np.ndarray, test: str, found: Tallies) -> None:
    if not found.wants(test):
        return
    notes = _notes(against, _hits(against, texts, rows), "it")
    rows = np.array(sorted(notes), np.int64)
    found.found(test, chunk.rows(rows), noted(rows, notes))


def noted(rows: np.ndarray, notes: dict[int, str]) -> Note:
    """What `notes` says of each of the `rows`."""
    return lambda at: notes[int(rows[at])]


@dataclass(frozen=True)
class _Hits:
    """Rows of a chunk whose text is in a test set: which of its texts, and how (an index into `KINDS`)."""

    rows: np.ndarray
    of: np.ndarray
    kind: np.ndarray


def _hits(against: Against, texts: Texts | None, rows: np.ndarray) -> _Hits:
    nothing = np.empty(0, np.int64)
    if texts is None or not len(rows):
        return _Hits(nothing, nothing, nothing)
    used = distinct(texts.codes[rows])
    values = texts.values.take(pa.array(used)).cast(pa.large_string()).fill_null("")
    hits = against.find(pa.chunked_array([values]))
    of_text = np.full(len(texts.values), -1)
    of_text[used[hits.places]] = np.arange(len(hits.places))
    at = of_text[texts.codes[rows]]
    rows, at = rows[at >= 0], at[at >= 0]
    return _Hits(rows, hits.of[at], hits.kind[at])


def _notes(against: Against, hits: _Hits, what: str) -> dict[int, str]:
    """What is to be said of each row."""
    found = {}
    for row, of, kind in zip(hits.rows.tolist(), hits.of.tolist(), hits.kind.tolist(), strict=True):
        found[row] = f'{what} is {_HOW[KINDS[kind]]} "{against.ids[of]}" of {against.name_of(of)}'.replace(
            "is holds", "holds"
        )
    return found


def index_texts(sets: list[EvalSet], workers: int = 1) -> Against:
    """The texts of evaluation sets or of other splits, ready to be looked for; as `dedup --against` by default."""
    return Against(sets, threshold=0.8, ngram=3, workers=workers)
