"""Connected components of edges in many files: no process ever holds all edges, and one holds all labels in the end.

Each round joins the edges of a few files and leaves one edge for every vertex but the first of its component, from
that first one, which is the label that all of them carry. So the rounds grow with the logarithm of the number of
files, whatever the length of a chain, and every edge is read once; to propagate labels from edge to edge takes the
logarithm of the longest chain, with all edges read in each round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pairmine.distinct import distinct
from pairmine.engines.parcels import read_parcel, write_parcel
from pairmine.engines.shards import Pool

FAN = 8
"""Files whose edges are joined at a time."""
_RIGHT = np.uint64(0xFFFFFFFF)

Join = tuple[Sequence[str], str]
"""Files of edges, and the one that they become."""


def components(pool: Pool, files: Sequence[str], place: Callable[[str], str]) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of all edges, ascending, and for each the first vertex that they connect it with; (n,) int64.

    A file holds edges as packed numbers (n,) uint64, a vertex in either half. `place` names a file by what it is.
    """
    files, number = list(files), 0
    while files and (number == 0 or len(files) > 1):
        joins = [
            (files[start : start + FAN], place(f"round-{number}-{start // FAN:05}"))
            for start in range(0, len(files), FAN)
        ]
        for _ in pool.map(_joining, joins):
            pass
        files, number = [into for _, into in joins], number + 1
    firsts, vertices = unpacked(read_parcel(files[0]) if files else np.empty(0, np.uint64))
    found = np.concatenate([distinct(firsts), vertices])
    order = np.argsort(found)
    return found[order], np.concatenate([distinct(firsts), firsts])[order]


def _joining() -> Callable[[Join], int]:
    def join(task: Join) -> int:
        files, into = task
        write_parcel(into, forest(np.concatenate([read_parcel(path) for path in files])))
        return len(files)

    return join


def forest(edges: np.ndarray) -> np.ndarray:
    """One edge for each vertex but the first of its component, from that first one; packed uint64, ascending."""
    from pairmine.stages.dedup.groups import components as connected

    left, right = unpacked(edges)
    vertices, at = np.unique(np.concatenate([left, right]), return_inverse=True)
    firsts = vertices[connected(len(vertices), at[: len(left)], at[len(left) :])]
    follows = firsts != vertices
    return np.sort(packed(firsts[follows], vertices[follows]))


def packed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pairs of numbers below 2^32 as one each, uint64."""
    both: np.ndarray = left.astype(np.uint64) << np.uint64(32) | right.astype(np.uint64)
    return both


def unpacked(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The left and the right number of each, int64."""
    return (edges >> np.uint64(32)).astype(np.int64), (edges & _RIGHT).astype(np.int64)
