"""What is known of a pool: which queries are one, which documents are one, and which document answers which query."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.distinct import distinct
from pairmine.schema import POSITIVE
from pairmine.stages.dedup.copies import copies_of
from pairmine.stages.dedup.groups import components
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.units import Units
from pairmine.stages.export.rows import labels
from pairmine.stages.mix.sources import Pool
from pairmine.stages.mix.standins import NearCopies

_UNDECIDED = -1
_AT_ONCE = 1 << 16
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Answers:
    """Which queries and documents of a pool count as one, and the pairs that are known to belong together.

    `query` (queries,) and `document` (rows,) int32 are equal for what counts as one. `asked` and `answer` (n,) int64
    name a query and a document of each known pair; each pair is there once, ascending.
    """

    query: np.ndarray
    document: np.ndarray
    asked: np.ndarray
    answer: np.ndarray

    def of(self, queries: np.ndarray, kept: np.ndarray) -> Answers:
        """The same for some `queries` (n,) of the pool and its rows `kept` (rows,) bool; all known pairs stay."""
        return Answers(self.query[queries], self.document[kept], self.asked, self.answer)

    def hold(self, query: np.ndarray, document: np.ndarray) -> np.ndarray:
        """Whether each `document` is known to answer the `query` beside it, (n,) each: (n,) bool."""
        known, wanted = _joined(self.asked, self.answer), _joined(query, document)
        if not len(known):
            return np.zeros(len(wanted), bool)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found: np.ndarray = known[at] == wanted
        return found


@dataclass(frozen=True)
class Known:
    """What is known of a pool's rows.

    `positive` (rows,) bool are the rows of label 1; where a query has none, as in a graded set, those without a label.
    `exactly` counts texts as one that differ in case, blanks and Unicode form at most, `nearly` near copies as well.
    """

    positive: np.ndarray
    exactly: Answers
    nearly: Answers

    def contradicts(self, pool: Pool) -> np.ndarray:
        """Rows that are no positive although their document is known to answer their query, (rows,) bool.

        Near copies do not count here: an edited passage may be a negative on purpose.
        """
        query, document = np.repeat(self.exactly.query, pool.rows), self.exactly.document
        starts = range(0, len(document), _ROWS_AT_ONCE)
        stops = [start + _ROWS_AT_ONCE for start in starts]
        parts = zip(starts, stops, strict=True)
        found = [self.exactly.hold(query[start:stop], document[start:stop]) for start, stop in parts]
        return ~self.positive & np.concatenate([np.empty(0, bool), *found])

    @classmethod
    def of(
        cls,
        pool: Pool,
        notes: Counter[str],
        near: Near | NearCopies | None,
        *,
        workers: int = 1,
        tell: Tell | None = None,
    ) -> Known:
        """Look through all rows of `pool`, drawn or not; `near` None leaves near copies alone, or they are known.

        What has no text is known by its id. A document that a query was cut from (`source_id`), and one that is a copy
        of the query, count as its answers too.
        """
        query = _Side.of(pool.pairs, "query")
        document = _Side.of(pool.pairs, "document")
        exact, groups = _copies(pa.chunked_array([document.texts, query.texts]), near, workers, tell)
        if missing := int(((document.codes < 0) | (query.codes < 0)).sum()):
            notes["rows without a text, known by their ids alone"] += missing
        positive = _positives(pool)
        ids = pool.pairs["doc_id"].combine_chunks().dictionary_encode()
        place = np.where(query.codes < 0, -1, query.codes + len(document.texts))
        asked = np.maximum.reduceat(place, pool.starts[:-1]) if len(pool) else np.empty(0, np.int64)
        exactly = _answers(pool, positive, ids, asked, document.codes, exact)
        if near is None:
            return cls(positive, exactly, exactly)
        return cls(positive, exactly, _answers(pool, positive, ids, asked, document.codes, groups))


@dataclass(frozen=True)
class _Side:
    """The texts of one side: `codes` (rows,) int32 index `texts`, -1 where there is none."""

    texts: pa.Array
    codes: np.ndarray

    @classmethod
    def of(cls, pairs: pa.Table, name: str) -> _Side:
        if name not in pairs.column_names or not pairs.num_rows:
            return cls(pa.array([], pa.large_string()), np.full(pairs.num_rows, -1, np.int32))
        texts = schema.prune(pairs[name]).combine_chunks()
        values = texts.dictionary.cast(pa.large_string()).fill_null("")
        codes = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        codes[np.append(_is_blank(values), True)[codes]] = -1
        return cls(values, codes)


def _is_blank(texts: pa.Array) -> np.ndarray:
    """Whether each text is white space at most, (n,) bool; some at a time, since a trimmed text is a copy."""
    parts = [texts.slice(start, _AT_ONCE) for start in range(0, len(texts), _AT_ONCE)]
    sizes = [pc.binary_length(pc.utf8_trim_whitespace(part)).to_numpy(zero_copy_only=False) for part in parts]
    return np.concatenate([np.empty(0, np.int64), *sizes]) == 0


def _copies(
    texts: pa.ChunkedArray, near: Near | NearCopies | None, workers: int, tell: Tell | None
) -> tuple[np.ndarray, np.ndarray]:
    """For each text the first one with the same text, and the first one of its near copies, (texts,) int64 each."""
    units = Units("document", pa.nulls(0), texts, np.empty(0, np.int64))
    if isinstance(near, NearCopies):
        return copies_of(units, exact="normalised", near=None, workers=workers, tell=tell).exact, near.groups(texts)
    found = copies_of(units, exact="normalised", near=near, workers=workers, tell=tell)
    return found.exact, found.groups


def _positives(pool: Pool) -> np.ndarray:
    label = labels(pool.pairs)
    of_row = np.repeat(np.arange(len(pool)), pool.rows)
    is_answered = np.bincount(of_row[label == POSITIVE], minlength=len(pool)) > 0
    found: np.ndarray = (label == POSITIVE) | ((label == _UNDECIDED) & ~is_answered[of_row])
    return found


def _answers(
    pool: Pool, positive: np.ndarray, ids: pa.DictionaryArray, asked: np.ndarray, written: np.ndarray, label: np.ndarray
) -> Answers:
    """What answers what where texts of one `label` (texts,) are one, and documents of one of the `ids` (rows,).

    `asked` (queries,) and `written` (rows,) are the places of their texts, -1 for none.
    """
    of_id = ids.indices.to_numpy().astype(np.int64)
    first = len(ids.dictionary)
    is_written = written >= 0
    one = _components(of_id[is_written], label[written[is_written]], first, len(label))
    has_text = asked >= 0
    own_text = one[label[asked[has_text]] + first]
    query = np.arange(len(pool)) + len(label)
    query[has_text] = label[asked[has_text]]
    of_row = np.repeat(query, pool.rows)
    sources, cut_from = _sources(pool.pairs, ids.dictionary)
    pairs = distinct(
        np.concatenate(
            [
                _joined(of_row[positive], one[of_id[positive]]),
                _joined(of_row[sources], one[cut_from]),
                _joined(query[has_text], own_text),
            ]
        )
    )
    return Answers(query.astype(np.int32), one.astype(np.int32)[of_id], pairs >> 32, pairs & _LOW)


def _components(of_id: np.ndarray, text: np.ndarray, ids: int, texts: int) -> np.ndarray:
    """For each of `ids` ids and `texts` texts behind them, the first one that rows with both connect it with."""
    text_of = np.full(ids, -1)
    text_of[of_id] = text
    other = np.flatnonzero(text_of[of_id] != text)
    known = np.flatnonzero(text_of >= 0)
    left = np.concatenate([known, of_id[other]])
    return components(ids + texts, left, np.concatenate([text_of[known], text[other]]) + ids)


def _sources(pairs: pa.Table, doc_ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The rows with a `source_id` that is one of `doc_ids`, and its place among these."""
    if "source_id" not in pairs.column_names:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = pc.index_in(pairs["source_id"], value_set=doc_ids).fill_null(-1).to_numpy().astype(np.int64)
    rows = np.flatnonzero(places >= 0)
    return rows, places[rows]


_LOW = (1 << 32) - 1


def _joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    joined: np.ndarray = one.astype(np.int64) << 32 | other
    return joined
