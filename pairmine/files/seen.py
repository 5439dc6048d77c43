"""Ids seen so far in a stream, in 16 bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np


@dataclass(frozen=True)
class Repeats:
    """Which rows of a batch repeat an id: (n,) bool; and the first conflict, as (row in the batch, earlier row)."""

    repeated: np.ndarray
    conflict: tuple[int, int] | None


class SeenIds:
    """Remembers (id, content) digests and tells when an id comes again, with the same content or another.

    Digests are kept in sorted runs of growing size, so that a batch of n among m earlier ones
    costs n log m; two runs of one size become one. An id has 64 bits: a chance collision among
    100 million has a probability of 0.0003, and `conflict` is checked against the file before it is
    reported. A content has 32.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._rows = 0

    def add(self, ids: Sequence[str], contents: Sequence[Sequence[bytes | None] | None] = ()) -> Repeats:
        """Take in a batch of rows; `contents` are the columns to compare, None for one that is blank in all rows.

        Rows of all batches are counted through.
        """
        keys = np.fromiter(map(hash, ids), np.int64, len(ids))
        parts = [_hashes(column, len(ids)) for column in contents]
        return self.add_keys(keys, _mixed(parts) if parts else None)

    def add_keys(self, keys: np.ndarray, values: np.ndarray | None = None) -> Repeats:
        """The same of rows whose ids are known by `keys`, (n,) int64, and their contents by `values`, (n,) uint32."""
        if values is None:
            values = np.zeros(len(keys), np.uint32)
        rows = np.arange(self._rows, self._rows + len(keys), dtype=np.uint32)
        self._rows += len(keys)

        first_of, inverse = np.unique(keys, return_index=True, return_inverse=True)[1:]
        earlier_value = values[first_of][inverse]
        earlier_row = rows[first_of][inverse]
        repeated = first_of[inverse] != np.arange(len(keys))
        for run_keys, run_values, run_rows in self._runs:
            at = np.minimum(np.searchsorted(run_keys, keys), len(run_keys) - 1)
            hit = run_keys[at] == keys
            earlier_value = np.where(hit, run_values[at], earlier_value)
            earlier_row = np.where(hit, run_rows[at], earlier_row)
            repeated |= hit
        conflicts = np.flatnonzero(repeated & (earlier_value != values))
        self._keep(keys[~repeated], values[~repeated], rows[~repeated])
        conflict = (int(conflicts[0]), int(earlier_row[conflicts[0]])) if len(conflicts) else None
        return Repeats(repeated, conflict)

    def _keep(self, keys: np.ndarray, values: np.ndarray, rows: np.ndarray) -> None:
        if not len(keys):
            return
        order = np.argsort(keys)
        run = (keys[order], values[order], rows[order])
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)


def id_keys(ids: Sequence[str]) -> np.ndarray:
    """A key of 64 bits for each id, (n,) int64, the same in every process, which `hash` is not."""
    digests = b"".join(blake2b(each.encode("utf-8", "surrogatepass"), digest_size=8).digest() for each in ids)
    return np.frombuffer(digests, "<i8").astype(np.int64)


def _hashes(column: Sequence[bytes | None] | None, count: int) -> np.ndarray:
    return np.full(count, hash(b"")) if column is None else np.fromiter(map(hash, column), np.int64, count)


def _mixed(parts: list[np.ndarray]) -> np.ndarray:
    """One 32-bit digest per row out of the 64-bit ones of its columns, whose order counts."""
    total = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        total = (total ^ part.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return (total >> np.uint64(32)).astype(np.uint32)


Run = tuple[np.ndarray, np.ndarray, np.ndarray]


def _merged(one: Run, other: Run) -> Run:
    keys = np.concatenate([one[0], other[0]])
    order = np.argsort(keys, kind="stable")
    values = np.concatenate([one[1], other[1]])[order]
    rows = np.concatenate([one[2], other[2]])[order]
    return keys[order], values, rows
