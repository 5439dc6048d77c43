"""What holds between the rows of a pair set: those of one query stand together, one document has one text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.files.seen import SeenIds


def query_starts(query_ids: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Row numbers at which a block of one query starts, (blocks,) int64, and the query id of each block."""
    if not len(query_ids):
        return np.empty(0, np.int64), []
    ids = query_ids.combine_chunks() if isinstance(query_ids, pa.ChunkedArray) else query_ids
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1]).astype(np.int64)
    return starts, ids.take(pa.array(starts)).to_pylist()


def last_query_start(query_ids: pa.ChunkedArray) -> int:
    """The row at which the last block of one query starts, 0 without rows."""
    rows, known = len(query_ids), 0
    while known < rows:
        known = min(rows, max(_TAIL, 2 * known))
        others = pc.not_equal(query_ids.slice(rows - known), query_ids[rows - 1])
        apart = np.flatnonzero(others.to_numpy())
        if len(apart):
            return rows - known + int(apart[-1]) + 1
    return 0


class LastQuery:
    """Where the last block of one query starts in a stream of tables, of which each row is looked at once."""

    def __init__(self) -> None:
        self.rows = self.start = 0
        self._id: str | None = None

    def add(self, query_ids: pa.ChunkedArray) -> None:
        """Take in the query ids of the next table."""
        if not len(query_ids):
            return
        if self.rows and query_ids[0].as_py() != self._id:
            self.start = self.rows
        if own := last_query_start(query_ids):
            self.start = self.rows + own
        self.rows += len(query_ids)
        self._id = query_ids[-1].as_py()

    def cut(self) -> None:
        """Forget the rows before that block."""
        self.rows -= self.start
        self.start = 0


def contiguous_order(query_ids: pa.ChunkedArray) -> np.ndarray | None:
    """The stable order that brings each query's rows together, None where they are."""
    _, ids = query_starts(query_ids)
    if len(set(ids)) == len(ids):
        return None
    codes = query_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.argsort(codes, kind="stable")


class RowsApart(PairmineError):
    """Rows of one query stand apart; whoever holds all rows can bring them together."""


def check_together(pairs: pa.Table, done: SeenIds, name: str) -> None:
    """Raise RowsApart where a query of `pairs` has rows apart, here or in the tables `done` before."""
    if not pairs.num_rows:
        return
    ids = query_starts(pairs["query_id"])[1]
    repeated = done.add(ids).repeated
    if repeated.any():
        raise RowsApart(
            f'{name}: rows of query "{ids[int(np.argmax(repeated))]}" stand apart; '
            "run 'pairmine convert' on it first, which brings them together"
        )


def check_texts(pairs: pa.Table, name: str, first: int = 0) -> None:
    """Raise a PairmineError where one document has two texts; `first` rows stand before those of `pairs`."""
    if (rows := two_texts(pairs)) is None:
        return
    earlier, later = rows
    raise PairmineError(
        f'{name}: doc_id "{pairs["doc_id"][later]}" has one text in row {first + earlier + 1} and another in '
        f"row {first + later + 1}; give each text an id of its own, or drop the column to have ids made from texts"
    )


def two_texts(pairs: pa.Table) -> tuple[int, int] | None:
    """The first row whose `doc_id` stood in an earlier row with another `document`, after that earlier one.

    None where each document has one text; a row without a text contradicts none. The documents are
    dictionary-encoded.
    """
    if "document" not in pairs.column_names or not pairs.num_rows:
        return None
    texts = pairs["document"]
    first = _first_rows(pairs["doc_id"], texts)
    suspects = _suspects(texts, first)
    if len(suspects) > _FEW and texts.num_chunks > 1:
        texts = texts.unify_dictionaries()
        suspects = _suspects(texts, first)
    for at in suspects:
        text, earlier = texts[int(at)].as_py(), texts[int(first[at])].as_py()
        if text is not None and earlier is not None and text != earlier:
            return int(first[at]), int(at)
    return None


def _first_rows(doc_ids: pa.ChunkedArray, texts: pa.ChunkedArray) -> np.ndarray:
    """For each row with a text the first one of its document that has one, for others the row itself, (n,) int64."""
    ids = np.concatenate([chunk.indices.to_numpy() for chunk in doc_ids.dictionary_encode().chunks])
    found = np.arange(len(ids))
    with_text = np.flatnonzero(texts.is_valid().to_numpy()) if texts.null_count else found
    first = np.empty(len(ids), np.int64)
    first[ids[with_text[::-1]]] = with_text[::-1]
    found[with_text] = first[ids[with_text]]
    return found


def _suspects(texts: pa.ChunkedArray, first: np.ndarray) -> np.ndarray:
    """Rows whose text has another code than that of the `first` row of its document, the first of each two codes.

    One text may have several codes, in one dictionary from elsewhere or in the dictionaries of several chunks.
    """
    starts: dict[tuple[int, int], int] = {}
    codes, size = [], 0
    for chunk in texts.chunks:
        ends = chunk.dictionary.buffers()[1]
        start = starts.setdefault((ends.address if ends else 0, chunk.dictionary.offset), size)
        size += len(chunk.dictionary)
        codes.append(chunk.indices.fill_null(-1).to_numpy().astype(np.int64) + start)
    code = np.concatenate(codes)
    rows = np.flatnonzero(code != code[first])
    pairs = np.unique(code[rows] * size + code[first[rows]], return_index=True)[1]
    return rows[np.sort(pairs)]


_FEW = 1000
"""How many texts are compared one by one before several dictionaries become one."""

_TAIL = 1000
"""How many rows are looked at first for the last start of a query."""
