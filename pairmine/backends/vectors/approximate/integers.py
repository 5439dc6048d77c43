"""Vectors of whole numbers, whose products are exact whatever the order of the sum.

A matrix product rounds each sum in an order that depends on the shape of the matrices and the number of threads, so the
last bits of a score depend on who stands beside it, and with them the choice of lists and candidates. Here vectors
are scaled to a length of 4000 and rounded to whole numbers of eight significant bits, which bfloat16 holds exactly.
Products of two are whole numbers as well, and every partial sum stays below 2**24 (Cauchy-Schwarz: at
most 4000 * 4000, and some rounding), so float32 holds each without rounding. A processor's bfloat16
instructions, which sum in float32, and plain float32 products then agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LENGTH = 4000
_TINY = 1e-30


def whole_numbers(vectors: np.ndarray, longest: float | None = None) -> Any:
    """`vectors` (n, dim) float32 as a bfloat16 tensor of whole numbers.

    With `longest`, all are scaled by the same factor, which gives a vector of that length 4000; without it, each
    is scaled to 4000 by itself, which suits queries, since that leaves the order of their scores as it was.
    """
    import torch

    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) if longest is None else np.float32(longest)
    factors = np.float32(LENGTH) / np.maximum(lengths, np.float32(_TINY))
    scaled = vectors * (factors[:, None] if longest is None else factors)
    return torch.from_numpy(np.rint(scaled, out=scaled)).to(torch.bfloat16)


def products(queries: Any, documents: Any, *, quick: bool) -> Any:
    """All products (n, m) of two tensors of whole numbers, exact sums rounded to bfloat16.

    `quick` says that this processor multiplies bfloat16 itself; elsewhere float32 gives the same numbers sooner.
    """
    import torch

    if quick:
        return torch.mm(queries, documents.T)
    return torch.mm(queries.float(), documents.float().T).to(torch.bfloat16)


def nearest_of(points: Any, centres: Any, *, quick: bool) -> np.ndarray:
    """The centre of the highest product for each of `points`, (n,) int64; the first of equal ones."""
    import torch

    scores = products(points, centres, quick=quick)
    found: np.ndarray = in_order(scores.view(torch.int16).numpy()).argmax(axis=1)
    return found


def exact_sums(queries: Any, documents: Any) -> np.ndarray:
    """All products (n, m) float32 of two tensors of whole numbers, themselves whole numbers."""
    import torch

    found: np.ndarray = torch.mm(queries.float(), documents.float().T).numpy()
    return found


def most_similar(queries: Any, centres: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` best centres of each query and their products, (n, count) each, best first, equal ones in order."""
    lists = len(centres)
    keys = exact_sums(queries, centres).astype(np.int64) * lists + np.arange(lists)[::-1]
    if count < lists:
        keys = np.partition(keys, lists - count, axis=1)[:, lists - count :]
    keys.sort(axis=1)
    scores, places = np.divmod(keys[:, ::-1], lists)
    return lists - 1 - places, scores


def in_order(bits: np.ndarray) -> np.ndarray:
    """The bits (int16) of bfloat16 numbers as integers of the same order; done in place."""
    bits ^= (bits >> 15) & np.int16(0x7FFF)
    return bits
