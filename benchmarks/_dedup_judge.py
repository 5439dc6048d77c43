"""What each side of `dedup.py` removed, held against the true pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

UNLIKE = 0.5


def judge(truth: Path, planted: Path, kept: Mapping[str, Path], threshold: float) -> dict[str, Any]:
    """Figures for each side, for each kind of planted copy, and the truth in words."""
    import pyarrow.parquet as pq

    pairs = np.load(truth)
    left, right, similarity = pairs["left"], pairs["right"], pairs["similarity"]
    rows = int(pairs["rows"])
    best = np.zeros(rows)
    for side in (left, right):
        np.maximum.at(best, side, similarity)
    stays = {side: _stays(path, rows) for side, path in kept.items()}
    figures = {}
    lower = round(threshold - 0.1, 10)
    for side, is_kept in stays.items():
        removed = ~is_kept
        found = removed[left] | removed[right]
        figures[side] = {"removed": int(removed.sum())}
        for level in (threshold, lower):
            figures[side][f"recall at {level:g}"] = _mean(found[similarity >= level])
            figures[side][f"precision at {level:g}"] = _mean(best[removed] >= level)
        figures[side][f"no partner at {UNLIKE:g}"] = int((best[removed] < UNLIKE).sum())
    ideal = _ideal(left[similarity >= threshold], right[similarity >= threshold], rows)
    counts = f"{(similarity >= threshold).sum():,} pairs at {threshold:g}, {(similarity >= lower).sum():,} at {lower:g}"
    kinds = _kinds(pq.read_table(planted), left, right, similarity, rows, threshold, list(stays.values()))
    return {"truth": f"{counts}, ideal {ideal:,}", "sides": figures, "kinds": kinds}


def _stays(path: Path, rows: int) -> np.ndarray:
    import pyarrow.parquet as pq

    stays = np.zeros(rows, bool)
    stays[np.array(pq.read_table(path, columns=["id"])["id"].to_pylist(), np.int64)] = True
    return stays


def _mean(is_true: np.ndarray) -> float:
    return float(is_true.mean()) if len(is_true) else 1.0


def _ideal(left: np.ndarray, right: np.ndarray, rows: int) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(left), bool), (left, right)), shape=(rows, rows))
    return rows - int(connected_components(edges, directed=False)[0])


def _kinds(
    planted: Any,
    left: np.ndarray,
    right: np.ndarray,
    similarity: np.ndarray,
    rows: int,
    threshold: float,
    stays: list[np.ndarray],
) -> list[dict[str, Any]]:
    """For each kind: the share of copies so similar to their original, and what share of those each side caught."""
    copy, original = planted["copy"].to_numpy(), planted["original"].to_numpy()
    kinds = np.array(planted["kind"].to_pylist())
    similar = (left * rows + right)[similarity >= threshold]
    is_similar = np.isin(np.minimum(copy, original) * rows + np.maximum(copy, original), similar)
    rows_of = []
    for kind in dict.fromkeys(kinds.tolist()):
        of_kind = is_similar & (kinds == kind)
        caught = [~(is_kept[copy] & is_kept[original])[of_kind] for is_kept in stays]
        shares = [float(each.mean()) if len(each) else None for each in caught]
        rows_of.append({"kind": kind, "share": float(is_similar[kinds == kind].mean()), "caught": shares})
    return rows_of
