"""Titles of documents, for the trainers that have a place of their own for them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.stages.export.rows import PairRows, one_array

_LARGE = pa.large_string()


def titles(rows: PairRows, at: np.ndarray) -> pa.Array:
    """The titles of the documents on the pair rows `at`; empty where there is none."""
    if "title" not in rows.pairs.column_names:
        return pa.repeat(pa.scalar("", _LARGE), len(at))
    return pc.utf8_trim_whitespace(one_array(rows.pairs["title"]).take(pa.array(at)).cast(_LARGE).fill_null(""))


def bare_texts(rows: PairRows, at: np.ndarray) -> pa.Array:
    """Their texts without the title that `mine` puts before them, for a trainer that puts it there again."""
    texts = rows.documents.plain(at)
    if "title" not in rows.pairs.column_names:
        return texts
    pairs = zip(titles(rows, at).to_pylist(), texts.to_pylist(), strict=True)
    return pa.array([text.removeprefix(f"{title} ") if title else text for title, text in pairs], _LARGE)
