"""The types in which vectors lie on disk; a vector is always used as it would be read back from there."""

from __future__ import annotations

import numpy as np

VECTOR_TYPES = ("float32", "float16", "int8")
"""float32 keeps every bit, float16 half of the bytes, int8 a quarter with a scale of its own for each vector."""


class Codec:
    """Float32 vectors to rows of bytes and back.

    An int8 row is the vector divided by its largest component, in steps of 1/127, behind a float32
    scale. That scale gives the row the length of the vector back, so that what was of unit length
    stays so, and a cosine of 1 is never exceeded by more than float32 rounding.
    """

    def __init__(self, kind: str, dim: int) -> None:
        self.kind = kind
        self.dim = dim
        self.row_bytes = {"float32": 4 * dim, "float16": 2 * dim, "int8": 4 + dim}[kind]

    def pack(self, vectors: np.ndarray) -> np.ndarray:
        """(n, dim) float32 as (n, row_bytes) uint8; the same vector gives the same bytes whatever stands beside it."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        if self.kind != "int8":
            return vectors.astype(f"<{np.dtype(self.kind).str[1:]}", copy=False).view(np.uint8)
        steps, scales = quantise(vectors)
        rows = np.empty((len(vectors), self.row_bytes), np.uint8)
        rows[:, :4] = scales.astype("<f4").view(np.uint8).reshape(-1, 4)
        rows[:, 4:] = steps.view(np.uint8)
        return rows

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """What `pack` made, (n, row_bytes) uint8, as (n, dim) float32; a view where the type is float32."""
        if self.kind != "int8":
            return rows.view(f"<{np.dtype(self.kind).str[1:]}").astype(np.float32, copy=False)
        scales = np.ascontiguousarray(rows[:, :4]).view("<f4")
        return rows[:, 4:].view(np.int8) * scales.astype(np.float32)


def quantise(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, dim) float32 as (n, dim) int8 steps and (n,) float32 scales: a vector is about its steps times its scale."""
    largest = np.abs(vectors).max(axis=1, initial=0).astype(np.float64)
    factors = 127 / np.where(largest > 0, largest, 1)
    steps = np.rint(vectors * factors[:, None]).astype(np.int8)
    # In float64, so that no last bit of a sum depends on how it was computed.
    whole = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    kept = np.einsum("ij,ij->i", steps, steps, dtype=np.int64)
    return steps, np.sqrt(whole / np.maximum(kept, 1)).astype(np.float32)
