"""A stretch of a pair set's rows as the tests read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.files.blocks import LastQuery
from pairmine.stages.dedup.kernel import exact_keys
from pairmine.stages.export.rows import Texts, labels, one_array

ROWS = 65_536
_CELLS = ROWS * 256
_BYTES = 512 << 20
BAD_LABEL = "pairmine:bad-label"
"""A column that readers leave where a label was none, and nobody else has; `label` is null there."""


SHAPELESS = "\\s\\x00-\\x1f\\x7f-\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff"
"""White space and what has no shape, as a byte order mark: a text of nothing else is blank."""


@dataclass(frozen=True)
class Chunk:
    """The n rows from number `first` on, with whole stretches of one query.

    `label` (n,) is int8, -1 for none; `query_ids` and `doc_ids` (n,) are uint64 hashes. Texts are None where the pair
    set has none; `asked` and `told` (n,) are their `identity` keys as uint64, 0 for a blank text.
    """

    first: int
    pairs: pa.Table
    label: np.ndarray
    query_ids: np.ndarray
    doc_ids: np.ndarray
    queries: Texts | None
    documents: Texts | None
    asked: np.ndarray
    told: np.ndarray

    @classmethod
    def of(cls, pairs: pa.Table, first: int) -> Chunk:
        """Read a pair set's rows."""
        pairs = schema.as_pairs(pairs)
        queries, documents = (
            Texts.of(pairs[name]) if name in pairs.column_names else None for name in ("query", "document")
        )
        return cls(
            first,
            pairs,
            labels(pairs),
            id_keys(pairs["query_id"]),
            id_keys(pairs["doc_id"]),
            queries,
            documents,
            _keys(queries, pairs.num_rows),
            _keys(documents, pairs.num_rows),
        )

    def __len__(self) -> int:
        return self.pairs.num_rows

    def rows(self, at: np.ndarray) -> np.ndarray:
        """The numbers in the file of the rows `at` (places, or a mask), (m,) int64."""
        places = np.flatnonzero(at) if at.dtype == bool else at
        found: np.ndarray = places.astype(np.int64) + self.first
        return found

    def numbers(self, name: str) -> np.ndarray | None:
        """A column of numbers as (n,) float64, NaN for null; None where it is not there or holds no numbers."""
        if name not in self.pairs.column_names:
            return None
        kind = self.pairs.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return None
        column = one_array(self.pairs[name].cast(pa.float64()))
        values: np.ndarray = column.fill_null(float("nan")).to_numpy(zero_copy_only=False)
        return values

    def there(self, name: str) -> np.ndarray | None:
        """Whether a column has a value in each row, (n,) bool; None without the column."""
        if name not in self.pairs.column_names:
            return None
        found: np.ndarray = self.pairs[name].is_valid().to_numpy()
        return found


def id_keys(ids: pa.ChunkedArray) -> np.ndarray:
    """Of each id a number that others do not have, (n,) uint64; 0 for null alone, also where an id is blank."""
    keys = exact_keys(ids.cast(pa.large_string()), "bytes")
    for place in np.flatnonzero((keys == 0) & ids.is_valid().to_numpy()).tolist():
        body = ids[place].as_py().encode("utf-8", "surrogatepass")
        keys[place] = int.from_bytes(blake2b(body, digest_size=8).digest(), "little")
    return keys


def _keys(texts: Texts | None, rows: int) -> np.ndarray:
    if texts is None:
        return np.zeros(rows, np.uint64)
    keys = exact_keys(texts.values.cast(pa.large_string()))
    blank = pc.match_substring_regex(texts.values, f"^[{SHAPELESS}]+$")
    keys[pc.fill_null(blank, False).to_numpy(zero_copy_only=False)] = 0
    return keys[texts.codes]


def chunks_of(tables: Iterable[pa.Table], rows: int = ROWS, *, first: int = 0) -> Iterator[Chunk]:
    """The rows of `tables`, which have the same columns, cut where a query ends; their numbers begin with `first`."""
    for table in whole_stretches(tables, rows):
        if table.num_rows:
            yield Chunk.of(table, first)
        first += table.num_rows


def whole_stretches(tables: Iterable[pa.Table], rows: int = ROWS) -> Iterator[pa.Table]:
    """The rows of `tables` in tables of some `rows` rows that end where a query does; an empty one for no rows."""
    pending: list[pa.Table] = []
    last, size = LastQuery(), 0
    for table in tables:
        pending.append(table)
        last.add(table["query_id"])
        cut, size = last.start, size + table.nbytes
        if not cut or (size < _BYTES and last.rows < min(rows, _CELLS // max(table.num_columns, 1))):
            continue
        joined = pa.concat_tables(pending, promote_options="permissive")
        yield joined.slice(0, cut)
        pending, size = [joined.slice(cut)], 0
        last.cut()
    if pending:
        yield pa.concat_tables(pending, promote_options="permissive")
