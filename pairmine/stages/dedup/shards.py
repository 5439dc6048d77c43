"""Dedup of a corpus in shards: the keys of each, and what comes of those that meet by ranges.

All documents that share a key meet, so that exact copies and pairs worth comparing are those that one machine finds.
What becomes of them then is in `bundles`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pairmine.distinct import distinct
from pairmine.stages.dedup.against import Against
from pairmine.stages.dedup.bounded import MOST, sketch_corpus
from pairmine.stages.dedup.bounds import Keys, Nothing
from pairmine.stages.dedup.candidates import in_buckets
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.suspects import by_copy, repeated, same_key


def sketch_shard(
    tables: Iterable[pa.Table], *, near: Near | None, exact: str, workers: int, against: Against | None
) -> dict[str, Keys]:
    """The keys of a shard's documents by name, ascending, each with its row in the shard; see `sketch_corpus`."""
    shelf = _Shelf()
    sketch_corpus(
        lambda: iter(tables),
        shelf,  # type: ignore[arg-type]
        near=near,
        exact=exact,
        workers=workers,
        against=against,
        advance=lambda rows: None,
    )
    return shelf.keys


class _Shelf:
    """Stands where a bounded dedup has its scratch folder, for the one block that a shard is."""

    block_rows = MOST

    def __init__(self) -> None:
        self.keys: dict[str, Keys] = {}

    def has(self, block: int) -> bool:
        return False

    def put(self, block: int, keys: Iterable[tuple[str, Keys]]) -> None:
        for name, (some, rows) in keys:
            order = np.argsort(some, kind="stable")
            self.keys[name] = some[order], rows[order]


@dataclass(frozen=True)
class Ranges:
    """A group for each of `names` and each of `count` ranges of its keys, which are evenly spread."""

    names: Sequence[str]
    count: int

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.names) * self.count

    def name_of(self, group: int) -> str:
        """Whose keys meet in a group."""
        return self.names[group // self.count]

    def parts(self, keys: Mapping[str, Keys], first: int, stays: np.ndarray) -> Iterator[tuple[int, Keys]]:
        """The ascending keys of a shard by group, with rows of the corpus: the shard's begin at `first`.

        Only those rows of the shard have some that `stays` says, (rows,) bool.
        """
        cuts = np.array([(at << 64) // self.count for at in range(1, self.count)], np.uint64)
        for number, name in enumerate(self.names):
            if name not in keys:
                continue
            some, rows = keys[name]
            chosen = stays[rows]
            some, rows = some[chosen], rows[chosen] + np.uint32(first)
            bounds = [0, *np.searchsorted(some, cuts).tolist(), len(some)]
            for at, (start, stop) in enumerate(pairwise(bounds)):
                if start < stop:
                    yield number * self.count + at, (some[start:stop], rows[start:stop])


def met(parts: Iterable[Keys]) -> Keys:
    """The keys of several shards, ascending; of equal ones the earlier shard's come first."""
    every = list(parts)
    keys = np.concatenate([keys for keys, _ in every])
    order = np.argsort(keys, kind="stable")
    return keys[order], np.concatenate([rows for _, rows in every])[order]


def exact_copies(parts: Iterable[Keys]) -> tuple[np.ndarray, np.ndarray]:
    """Of the documents that meet by the keys of whole texts: copies, and the first one of each; uint32."""
    copies, firsts = same_key(*met(parts), Nothing())
    return copies.astype(np.uint32), firsts.astype(np.uint32)


def repeated_ids(parts: Iterable[Keys]) -> np.ndarray:
    """Of the documents that meet by the keys of ids: those whose id seems to stand there twice."""
    return repeated(*met(parts))


def neighbours(parts: Iterable[Keys], engine: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Of the documents that meet by the keys of a band: pairs to compare, packed uint64, each once; and the crowded."""
    keys, rows = met(parts)
    left, right, crowded = in_buckets(keys, rows.astype(np.int64), engine)
    pairs = left.astype(np.uint64) << np.uint64(32) | right.astype(np.uint64)
    return distinct(pairs), crowded


def all_copies(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The copies of all groups, ascending, and the first one of each, int64."""
    return by_copy([copies.astype(np.int64) for copies, _ in found], [firsts.astype(np.int64) for _, firsts in found])
