"""What an encoder makes of a pair set: alignment, uniformity, ranks of the true positives, agreement with grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import Side, nothing
from pairmine.backends.models import Advance
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.identity import NO_TEXT, seed_of, text_keys
from pairmine.schema import POSITIVE, as_pairs, check_pairs
from pairmine.stages.export.rows import labels, one_array, query_runs

AMONG = ("documents", "texts")
HITS = (1, 3, 10)
_TIE = 1e-6
_BLOCK = 1024


class Encodes(Protocol):
    """What is asked of an encoder here."""

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = ..., /) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length; (0, dim) or (0, 0) for none."""


def alignment(one: np.ndarray, other: np.ndarray) -> float | None:
    """Wang and Isola's alignment: the mean of ``||f(x) - f(y)||^2`` over positive pairs; None without any.

    The vectors are (n, dim), side by side, of unit length: then it lies between 0 (equal) and 4 (opposite),
    and is 2 - 2 times the mean cosine. Lower is better. (2020, arXiv 2005.10242, with their exponent 2.)
    """
    if not len(one):
        return None
    return float(np.square(one.astype(np.float64) - other).sum(axis=1).mean())


def uniformity(vectors: np.ndarray) -> float | None:
    """Wang and Isola's uniformity: the log of the mean of ``exp(-2 ||f(x) - f(y)||^2)`` over all pairs of two
    different rows of `vectors`, (n, dim) of unit length; None for fewer than two.

    It lies between -8 and 0 (all in one point); lower is better. (2020, arXiv 2005.10242, with their t = 2.)
    """
    count = len(vectors)
    if count < 2:
        return None
    exact = vectors.astype(np.float64)
    squares = np.einsum("ij,ij->i", exact, exact)
    total = 0.0
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        # All pairs of the block with the rows from its start on: each pair once, but for those within the block.
        distances = squares[rows, None] + squares[None, start:] - 2 * exact[rows] @ exact[start:].T
        kernel = np.exp(-2 * np.maximum(distances, 0))
        total += float(np.triu(kernel, 1).sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def ranks(
    queries: np.ndarray, candidates: np.ndarray, positives: list[np.ndarray], own: np.ndarray
) -> list[np.ndarray]:
    """The rank of each positive of each query among all candidates by cosine, from 1.

    `queries` are (n, dim) and `candidates` (m, dim), of unit length; `positives` holds the places of each
    query's positives, `own` the place of the query's own text among the candidates, -1 where it is not there.
    That text and the other positives of the query do not count. Candidates that tie (to 1e-6) share their
    ranks, as in 1 2.5 2.5 4: an encoder that gives one vector to all has no rank 1.
    """
    found = []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK] @ candidates.T
        for row, places in enumerate(positives[start : start + len(block)]):
            scores, wanted = block[row], block[row, places]
            scores[places] = -np.inf
            if own[start + row] >= 0:
                scores[own[start + row]] = -np.inf
            higher = np.array([np.count_nonzero(scores > each + _TIE) for each in wanted])
            no_lower = np.array([np.count_nonzero(scores >= each - _TIE) for each in wanted])
            found.append(1 + (higher + no_lower) / 2)
    return found


@dataclass(frozen=True)
class _Texts:
    """The distinct texts of one side: of each a vector, and the place of each row's text, -1 where it has none."""

    vectors: np.ndarray
    places: np.ndarray
    keys: np.ndarray


def audit(
    pairs: pa.Table,
    encoder: Encodes,
    *,
    positive_from: float = 0.8,
    among: str = "documents",
    advance: Advance = nothing,
) -> dict[str, Any]:
    """The numbers of `encoder` on a pair set, ready for JSON; null where nothing was counted.

    A row is positive by its label, or without one by a grade of `positive_from` or more; texts and pairs that
    occur twice count once (texts by `identity.text_keys`).

    `alignment` is over the positive pairs; `uniformity` is the mean of those of the distinct queries and of the
    distinct documents of positive pairs, as in the authors' code. `mrr`, `hits@k` and `mean_rank` are EvalRank's
    (Wang, Kuo and Li 2022, arXiv 2203.02679): each positive is ranked by `ranks` among all distinct documents of
    the pair set, whatever their label, or, as in the paper, which ranks sentences, among the `texts` of both
    sides. `spearman` is the rank correlation of cosine and grade over the graded pairs.

    Raises PairmineError for what is no pair set, and where it has no texts.
    """
    if among not in AMONG:
        raise PairmineError(f"--rank-among {among}: choose {', '.join(AMONG)}")
    check_pairs(pairs)
    pairs = as_pairs(pairs)
    for side in ("query", "document"):
        if side not in pairs.column_names:
            raise PairmineError(f'the pair set has no "{side}" texts for --encoder')
    queries = _embed(pairs["query"], encoder, "query", advance)
    documents = _embed(pairs["document"], encoder, "document", advance)
    has_texts = (queries.places >= 0) & (documents.places >= 0)
    width = max(len(documents.keys), 1)
    chosen = has_texts & _positive(pairs, positive_from)
    codes = distinct(queries.places[chosen] * width + documents.places[chosen])
    asked, answers = codes // width, codes % width
    candidates = documents if among == "documents" else _both(queries, documents, pairs, encoder, advance)
    on_queries = uniformity(queries.vectors[distinct(asked)])
    on_documents = uniformity(documents.vectors[distinct(answers)])
    known = [each for each in (on_queries, on_documents) if each is not None]
    return {
        "queries": len(distinct(asked)),
        "positive_pairs": len(codes),
        "alignment": alignment(queries.vectors[asked], documents.vectors[answers]),
        "uniformity": float(np.mean(known)) if known else None,
        "uniformity_queries": on_queries,
        "uniformity_documents": on_documents,
        "candidates": len(candidates.keys),
        **_ranking(queries, documents, candidates, asked, answers),
        **_agreement(pairs, queries, documents, has_texts),
    }


def _embed(column: pa.ChunkedArray, encoder: Encodes, side: Side, advance: Advance) -> _Texts:
    keys = text_keys(column)
    known, first, places = np.unique(keys, return_index=True, return_inverse=True)
    if len(known) and known[0] == NO_TEXT:
        known, first, places = known[1:], first[1:], places - 1
    texts = column.take(pa.array(first)).cast(pa.string()).to_pylist()
    return _Texts(encoder.encode(texts, side, advance), places, known)


def _both(queries: _Texts, documents: _Texts, pairs: pa.Table, encoder: Encodes, advance: Advance) -> _Texts:
    """All texts of both sides, embedded as documents: the documents' own first, then those of queries alone."""
    keys = text_keys(pairs["query"])
    extra = np.setdiff1d(queries.keys, documents.keys)
    first = np.unique(keys, return_index=True)
    rows = first[1][np.searchsorted(first[0], extra)]
    texts = pairs["query"].take(pa.array(rows)).cast(pa.string()).to_pylist()
    found = encoder.encode(texts, "document", advance) if texts else documents.vectors[:0]
    return _Texts(
        np.concatenate([documents.vectors, found]) if len(documents.keys) else found,
        documents.places,
        np.concatenate([documents.keys, extra]),
    )


def _positive(pairs: pa.Table, positive_from: float) -> np.ndarray:
    label = labels(pairs)
    positive: np.ndarray = label == POSITIVE
    grade = _grades(pairs)
    return positive | ((label < 0) & (grade >= positive_from))


def _grades(pairs: pa.Table) -> np.ndarray:
    """The grades, (n,) float32, NaN where there is none."""
    if "grade" not in pairs.column_names:
        return np.full(pairs.num_rows, np.nan, np.float32)
    grades: np.ndarray = one_array(pairs["grade"]).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return grades


def _ranking(
    queries: _Texts, documents: _Texts, candidates: _Texts, asked: np.ndarray, answers: np.ndarray
) -> dict[str, float | None]:
    names = ["mrr", *(f"hits@{k}" for k in HITS), "mean_rank"]
    if not len(asked):
        return dict.fromkeys(names)
    numbers, starts = np.unique(asked, return_index=True)
    positives = np.split(answers, starts[1:])
    order = np.argsort(candidates.keys)
    at = np.minimum(np.searchsorted(candidates.keys, queries.keys[numbers], sorter=order), len(order) - 1)
    own = np.where(candidates.keys[order[at]] == queries.keys[numbers], order[at], -1)
    found = np.concatenate(ranks(queries.vectors[numbers], candidates.vectors, positives, own))
    values = [float((1 / found).mean()), *(float((found <= k).mean()) for k in HITS), float(found.mean())]
    return dict(zip(names, values, strict=True))


def _agreement(pairs: pa.Table, queries: _Texts, documents: _Texts, has_texts: np.ndarray) -> dict[str, Any]:
    grade = _grades(pairs)
    rows = np.flatnonzero(has_texts & np.isfinite(grade))
    result: dict[str, Any] = {"graded_pairs": len(rows), "spearman": None}
    if len(rows) > 1 and grade[rows].min() < grade[rows].max():
        from scipy.stats import spearmanr

        one, other = queries.vectors[queries.places[rows]], documents.vectors[documents.places[rows]]
        cosines = np.einsum("ij,ij->i", one, other)
        value = float(spearmanr(cosines, grade[rows]).statistic)
        result["spearman"] = value if np.isfinite(value) else None
    return result


def differences(found: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, float | None]:
    """How far the numbers of one pair set lie from those of another: what paraphrasing it costs an encoder.

    PTEB's question, asked of a pair set and its paraphrase: a robust encoder has differences near 0.
    """
    names = ("alignment", "uniformity", "mrr", *(f"hits@{k}" for k in HITS), "mean_rank", "spearman")
    return {
        name: None if found[name] is None or original[name] is None else found[name] - original[name] for name in names
    }


NO_LIMIT = 1 << 64
"""Above the keys of all queries."""


def query_keys(pairs: pa.Table, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The seeded hash of each query, (queries,) uint64, and the place of the query of each row, (n,) int64."""
    runs = query_runs(pairs["query_id"])
    firsts = np.flatnonzero(np.diff(runs, prepend=-1))
    ids = pairs["query_id"].take(pa.array(firsts)).to_pylist()
    return np.fromiter((seed_of(seed, "audit", name) for name in ids), np.uint64, len(ids)), runs


def queries_below(pairs: pa.Table, limit: int, *, seed: int) -> tuple[pa.Table, np.ndarray]:
    """The rows of the queries whose key is below `limit`, and these keys."""
    keys, runs = query_keys(pairs, seed=seed)
    chosen = keys < np.uint64(limit) if limit < NO_LIMIT else np.ones(len(keys), bool)
    return pairs.filter(pa.array(chosen[runs])), keys[chosen]


def limit_of(keys: np.ndarray, size: int) -> int:
    """The key below which `size` of the `keys` lie; above all where there are no more."""
    return int(np.sort(keys)[size]) if len(keys) > size else NO_LIMIT


class Sample:
    """The rows of up to `size` queries of a pair set that comes in chunks: those whose seeded hash is smallest.

    They depend on the query ids alone, so a paraphrased pair set gives the same ones. `size` 0 keeps all.
    """

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._tables: list[pa.Table] = []
        self._keys: list[np.ndarray] = []
        self._limit = NO_LIMIT

    def add(self, pairs: pa.Table) -> None:
        """Take in a chunk of whole queries."""
        rows, keys = queries_below(pairs, self._limit, seed=self._seed)
        self._tables.append(rows)
        self._keys.append(keys)
        if self._size and sum(map(len, self._keys)) >= 2 * self._size:
            self._cut()

    def table(self) -> pa.Table:
        """The sampled rows, in their order."""
        self._cut()
        return self._tables[0]

    def _cut(self) -> None:
        if not self._tables:
            raise PairmineError("no rows to sample from")
        whole, keys = pa.concat_tables(self._tables, promote_options="permissive"), np.concatenate(self._keys)
        if self._size and len(keys) > self._size:
            self._limit = limit_of(keys, self._size)
            chosen = keys < np.uint64(self._limit)
            whole = whole.filter(pa.array(chosen[query_runs(whole["query_id"])]))
            keys = keys[chosen]
        self._tables, self._keys = [whole], [keys]
