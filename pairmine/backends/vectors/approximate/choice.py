"""What an index costs, in bytes and seconds, and whether it pays."""

from __future__ import annotations

import math

from pairmine.backends.vectors.approximate.faiss_indexes import LINKS, pieces_of
from pairmine.errors import PairmineError

INDEXES = ("exact", "ivf", "hnsw", "pq")
FEWEST_DOCUMENTS = 1000
"""Below this, looking at every document takes milliseconds."""
_PAYS_FROM_S = 30.0
_PAYS_BY = 0.7


def check_index(name: str) -> str:
    """`name`, where it is one; raises a PairmineError otherwise."""
    if name not in (*INDEXES, "auto"):
        raise PairmineError(f"--index {name}: no such index; one of {', '.join((*INDEXES, 'auto'))}")
    return name


def lists_for(documents: int) -> int:
    """The number of lists. Twice the square root reached recall 0.98 on real text with the least work."""
    return max(1, min(round(2 * math.sqrt(documents)), documents))


def index_bytes(kind: str, documents: int, dim: int) -> int:
    """What an index holds beside the vectors; `ivf` with its vectors in bfloat16, `ivf-ids` with places alone."""
    lists = lists_for(documents)
    centres = 2 * lists * dim
    places = 4 * (documents + 32 * lists)
    if kind == "ivf":
        return places + centres + 2 * dim * (documents + 32 * lists)
    if kind == "ivf-ids":
        return places + centres
    if kind == "hnsw":
        return documents * (2 * dim + 4 * 2 * LINKS + 4 * LINKS // 8 + 16)
    if kind == "pq":
        return documents * (pieces_of(dim) + 8) + 6 * lists * dim + 1024 * dim
    return 0


def index_seconds(kind: str, documents: int, queries: int, dim: int, depth: int, *, threads: int = 2) -> float:
    """Seconds of building and searching, as measured on an AMD EPYC with avx512_bf16, scaled by `threads`.

    A processor without bfloat16 needs about three times as long for `exact` and `ivf`.
    """
    rescoring = queries * depth * 1.25 * dim * 1.1e-9
    if kind == "exact" or documents < FEWEST_DOCUMENTS:
        return (queries * documents * (dim * 5e-12 + 5.5e-9) + rescoring * 1.2) / threads
    lists = lists_for(documents)
    building = documents * dim * 8e-9 + documents * lists * (dim * 5e-12 + 1e-9)
    building += 6 * 40 * lists * lists * (dim * 5e-12 + 1e-9)
    coarse = queries * lists * (dim * 1e-11 + 1e-8)
    if kind == "ivf":
        return (building + coarse + queries * documents * 0.3 * (dim * 6e-12 + 6e-9) + rescoring) / threads
    if kind == "hnsw":
        return documents * dim * 6e-7 + queries * depth * dim * 4e-8 / threads
    looked_at = queries * documents * 0.3 * pieces_of(dim) * 1e-9
    return 8.0 + (building + coarse + looked_at + 4 * rescoring) / threads


def choose(documents: int, queries: int, dim: int, depth: int, budget_bytes: int, *, threads: int = 2) -> str:
    """The index of `--index auto`: `exact`, unless that takes long and inverted lists are sure to be quicker.

    On real text inverted lists look at up to a third of the documents for a recall of 0.98, so they halve the time of
    an exact search and more seldom save; where that takes less than half a minute there is nothing to gain.
    """
    if documents < FEWEST_DOCUMENTS or 4 * depth >= documents:
        return "exact"
    if index_bytes("ivf", documents, dim) > budget_bytes // 2:
        return "exact"
    exact = index_seconds("exact", documents, queries, dim, depth, threads=threads)
    ivf = index_seconds("ivf", documents, queries, dim, depth, threads=threads)
    return "ivf" if exact > _PAYS_FROM_S and ivf < _PAYS_BY * exact else "exact"
