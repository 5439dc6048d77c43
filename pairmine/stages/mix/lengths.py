"""How long the texts of a draw are, and how much of a batch is padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.stages.export.rows import Texts
from pairmine.stages.mix.standins import bytes_name


@dataclass(frozen=True)
class Lengths:
    """The lengths of m draws, (m,) int64 each: of the query, of the longest document and of all of them together.

    `documents` counts these. Lengths are bytes of UTF-8, our measure: without a tokenizer at hand they follow its
    tokens more evenly over scripts than characters or words do. A trainer that cuts long texts pads less than this.
    """

    query: np.ndarray
    longest: np.ndarray
    total: np.ndarray
    documents: np.ndarray

    @classmethod
    def of(cls, pairs: pa.Table, rows: np.ndarray, counts: np.ndarray) -> Lengths:
        """The lengths of draws that have `counts` (m,) of the `rows` of `pairs` each, at least one."""
        if not len(counts):
            return cls(*(np.empty(0, np.int64) for _ in range(4)))
        starts = np.cumsum(counts) - counts
        query, document = (_bytes(pairs, name)[rows] for name in ("query", "document"))
        return cls(
            np.maximum.reduceat(query, starts),
            np.maximum.reduceat(document, starts),
            np.add.reduceat(document, starts),
            counts,
        )

    def padding(self, batch: np.ndarray) -> float:
        """The share of padding in all that a trainer reads, 0 to 1, where it pads the queries of a batch to the
        longest one and the documents to the longest one; `batch` (m,) is -1 for draws in none."""
        placed = batch >= 0
        number = batch[placed]
        if not len(number):
            return 0.0
        filled, read = 0, 0
        for longest, total, texts in (
            (self.query, self.query, np.ones(len(batch), np.int64)),
            (self.longest, self.total, self.documents),
        ):
            most = np.zeros(int(number.max()) + 1, np.int64)
            np.maximum.at(most, number, longest[placed])
            filled += int(total[placed].sum())
            read += int((most[number] * texts[placed]).sum())
        return 1 - filled / read if read else 0.0


def _bytes(pairs: pa.Table, name: str) -> np.ndarray:
    """The bytes of each row's text, (rows,) int64; 0 where there is none."""
    if bytes_name(name) in pairs.column_names:
        known: np.ndarray = pairs[bytes_name(name)].to_numpy().astype(np.int64)
        return known
    if name not in pairs.column_names:
        return np.zeros(pairs.num_rows, np.int64)
    texts = Texts.of(pairs[name])
    of_value = pc.fill_null(pc.binary_length(texts.values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    found: np.ndarray = of_value[texts.codes]
    return found
