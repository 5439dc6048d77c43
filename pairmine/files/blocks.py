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
    starts, _ = query_starts(query_ids)
    return int(starts[-1]) if len(starts) else 0


def contiguous_order(query_ids: pa.ChunkedArray) -> np.ndarray | None:
    """The stable order that brings each query's rows together, None where they are."""
    _, ids = query_starts(query_ids)
    if len(set(ids)) == len(ids):
        return None
    codes = query_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.argsort(codes, kind="stable")


def check_together(pairs: pa.Table, done: SeenIds, name: str) -> None:
    """Raise a PairmineError where a query of `pairs` has rows apart, here or in the tables `done` before."""
    if not pairs.num_rows:
        return
    ids = query_starts(pairs["query_id"])[1]
    repeated = done.add(ids).repeated
    if repeated.any():
        raise PairmineError(
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
    dictionary-encoded, with one dictionary for all chunks.
    """
    if "document" not in pairs.column_names or not pairs.num_rows:
        return None
    with_text = np.flatnonzero(pairs["document"].is_valid().to_numpy())
    rows = pa.array(with_text)
    texts = pairs["document"].take(rows).combine_chunks()
    ids = pairs["doc_id"].take(rows).combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.unique(ids, return_index=True)[1][ids] if len(ids) else ids
    codes = texts.indices.to_numpy()
    # A dictionary from elsewhere may hold one text twice, so other codes are not yet other texts.
    suspects = np.flatnonzero(codes != codes[first])
    if not len(suspects):
        return None
    here, there = (texts.take(pa.array(at)).cast(pa.large_string()) for at in (suspects, first[suspects]))
    differs = np.flatnonzero(pc.not_equal(here, there).to_numpy(zero_copy_only=False))
    if not len(differs):
        return None
    at = suspects[differs[0]]
    return int(with_text[first[at]]), int(with_text[at])
