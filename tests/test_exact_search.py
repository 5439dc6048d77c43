"""Exact search: the same as looking at everything in float32, however the vectors lie, and in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.retrievers import DenseRetriever
from pairmine.backends.specs import Spec
from pairmine.backends.vectors import InMemory, Joined, Subset, exact
from pairmine.backends.vectors.exact import ExactSearch, pair_products, row_products
from pairmine.backends.vectors.search import NOT_FOUND

FIRST_PASSES = ["float32", "bfloat16"]


def unit(rows: int, dim: int, seed: int, centres: int = 12) -> np.ndarray:
    generator = np.random.default_rng(seed)
    middles = generator.standard_normal((centres, dim), np.float32)
    vectors = middles[generator.integers(0, centres, rows)] + 0.7 * generator.standard_normal((rows, dim), np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class OnDisk:
    """Vectors of which only blocks and single rows can be had, and that count what was read."""

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix = matrix
        self.longest = 0

    @property
    def dim(self) -> int:
        return int(self._matrix.shape[1])

    def __len__(self) -> int:
        return len(self._matrix)

    def take(self, places: np.ndarray) -> np.ndarray:
        self.longest = max(self.longest, len(places))
        found: np.ndarray = self._matrix[places]
        return found

    def block(self, start: int, stop: int) -> np.ndarray:
        self.longest = max(self.longest, stop - start)
        return self._matrix[start:stop].copy()


@pytest.mark.parametrize("first_pass", FIRST_PASSES)
def test_the_nearest_are_those_of_a_float64_search_over_everything(first_pass: str) -> None:
    documents, queries = unit(20_000, 96, 1), unit(50, 96, 2)
    places, scores = ExactSearch(InMemory(documents), len(documents), first_pass=first_pass).search(queries, 100)
    true = queries.astype(np.float64) @ documents.astype(np.float64).T
    wanted = -np.sort(-true, axis=1)[:, :100]
    assert np.abs(scores - wanted).max() < 1e-6
    assert np.abs(np.take_along_axis(true, places, axis=1) - wanted).max() < 1e-6
    assert (np.diff(scores, axis=1) <= 0).all()


@given(
    rows=st.integers(1, 40),
    asked=st.integers(1, 5),
    k=st.integers(1, 60),
    copies=st.integers(1, 4),
    seed=st.integers(0, 1000),
    first_pass=st.sampled_from(FIRST_PASSES),
    block=st.integers(1, 16),
    on_disk=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_search_is_the_brute_force_one_with_equal_vectors_in_the_order_of_their_places(
    rows: int, asked: int, k: int, copies: int, seed: int, first_pass: str, block: int, on_disk: bool
) -> None:
    documents = np.tile(unit(rows, 8, seed), (copies, 1))
    queries = unit(asked, 8, seed + 1)
    before = exact.BLOCK_DOCUMENTS
    exact.BLOCK_DOCUMENTS = block
    try:
        vectors: Any = OnDisk(documents) if on_disk else InMemory(documents)
        places, scores = ExactSearch(vectors, len(documents), first_pass=first_pass).search(queries, k)
    finally:
        exact.BLOCK_DOCUMENTS = before
    found = min(k, len(documents))
    own = row_products(
        queries, documents, np.repeat(np.arange(asked), len(documents)), np.tile(np.arange(len(documents)), asked)
    ).reshape(asked, -1)
    order = np.stack([np.lexsort((np.arange(len(documents)), -row)) for row in own])[:, :k]
    assert (places[:, :found] == order).all()
    assert (scores[:, :found] == np.take_along_axis(own, order, axis=1)).all()
    assert (places[:, found:] == NOT_FOUND).all()
    assert np.isneginf(scores[:, found:]).all()


@pytest.mark.parametrize("first_pass", FIRST_PASSES)
def test_thousands_of_equal_vectors_hide_no_better_one(first_pass: str) -> None:
    same = np.tile(unit(1, 32, 3), (3000, 1))
    better = unit(1, 32, 4)
    documents = np.concatenate([same, better, same])
    places, _ = ExactSearch(InMemory(documents), len(documents), first_pass=first_pass).search(better, 5)
    assert places[0].tolist() == [3000, 0, 1, 2, 3]
    places, _ = ExactSearch(InMemory(documents), len(documents), first_pass=first_pass).search(same[:1], 4)
    assert places[0].tolist() == [0, 1, 2, 3]


def test_differences_below_the_rounding_of_the_first_pass_settle_the_order() -> None:
    """Documents whose cosines differ in the sixth digit are all the same to bfloat16."""
    base = unit(1, 64, 5)[0]
    across = unit(1, 64, 6)[0]
    across -= base * (across @ base)
    across /= np.linalg.norm(across)
    angles = np.linspace(0.30, 0.3005, 4000)[np.random.default_rng(0).permutation(4000)]
    documents = (np.cos(angles)[:, None] * base + np.sin(angles)[:, None] * across).astype(np.float32)
    for k in (1, 10, 200):
        found = ExactSearch(InMemory(documents), len(documents), first_pass="bfloat16").search(base[None], k)
        wanted = ExactSearch(InMemory(documents), len(documents), first_pass="float32").search(base[None], k)
        assert (found[0] == wanted[0]).all()
        assert (found[1] == wanted[1]).all()


def test_only_the_searchable_are_found_and_negative_products_too() -> None:
    documents = -unit(30, 16, 7, centres=1)
    query = -documents[:1]
    for first_pass in FIRST_PASSES:
        places, scores = ExactSearch(InMemory(documents), 10, first_pass=first_pass).search(query, 20)
        assert sorted(places[0, :10].tolist()) == list(range(10))
        assert (places[0, 10:] == NOT_FOUND).all()
        assert scores[0, 9] < 0


@pytest.mark.parametrize("first_pass", FIRST_PASSES)
def test_threads_memory_and_neighbours_change_no_bit(first_pass: str) -> None:
    documents, queries = unit(9000, 48, 8), unit(300, 48, 9)
    whole = ExactSearch(InMemory(documents), 9000, first_pass=first_pass).search(queries, 30)
    for settings_ in ({"threads": 1}, {"budget_bytes": 1 << 16}):
        other = ExactSearch(OnDisk(documents), 9000, first_pass=first_pass, **settings_).search(queries, 30)  # type: ignore[arg-type]
        assert (whole[0] == other[0]).all()
        assert (whole[1] == other[1]).all()
    single = [ExactSearch(InMemory(documents), 9000).search(query[None], 30) for query in queries[:5]]
    assert (np.concatenate([each[0] for each in single]) == whole[0][:5]).all()
    assert (np.concatenate([each[1] for each in single]) == whole[1][:5]).all()


def test_vectors_on_disk_are_read_a_block_at_a_time() -> None:
    vectors = OnDisk(unit(30_000, 16, 10))
    places, _ = ExactSearch(vectors, 30_000, first_pass="bfloat16").search(unit(400, 16, 11), 50)
    assert (places != NOT_FOUND).all()
    assert vectors.longest <= exact.BLOCK_DOCUMENTS


def test_a_gpus_way_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code for a GPU, run on the processor: top-k on the device, lists here."""
    documents, queries = unit(9000, 32, 12), unit(40, 32, 13)
    search = ExactSearch(InMemory(documents), 9000, first_pass="bfloat16")
    monkeypatch.setattr(search, "_products", lambda queries, lists: exact._DeviceProducts(queries, lists, "cpu"))
    found = search.search(queries, 20)
    wanted = ExactSearch(InMemory(documents), 9000, first_pass="float32").search(queries, 20)
    assert (found[0] == wanted[0]).all()
    assert (found[1] == wanted[1]).all()


def test_no_queries_and_no_documents_find_nothing() -> None:
    documents = unit(5, 8, 14)
    assert ExactSearch(InMemory(documents), 5).search(documents[:0], 3)[0].shape == (0, 3)
    places, scores = ExactSearch(InMemory(documents[:0]), 0).search(documents, 3)
    assert (places == NOT_FOUND).all()
    assert np.isneginf(scores).all()


def test_pairs_have_the_scores_that_a_search_gives_them() -> None:
    documents, queries = unit(5000, 40, 15), unit(20, 40, 16)
    places, scores = ExactSearch(InMemory(documents), 5000).search(queries, 10)
    rows = np.repeat(np.arange(20), 10)
    for vectors in (InMemory(documents), OnDisk(documents), Subset(InMemory(documents), np.arange(5000))):
        assert (pair_products(queries, vectors, rows, places.ravel()) == scores.ravel()).all()


def test_joined_and_picked_vectors_are_read_as_one() -> None:
    one, other = unit(5, 8, 17), unit(4, 8, 18)
    joined = Joined(InMemory(one), Subset(InMemory(other), np.array([3, 1])))
    assert len(joined) == 7
    assert joined.dim == 8
    assert (joined.block(3, 7) == np.concatenate([one[3:], other[[3, 1]]])).all()
    assert (joined.take(np.array([6, 0, 5])) == np.stack([other[1], one[0], other[3]])).all()


@pytest.mark.parametrize("first_pass", FIRST_PASSES)
@pytest.mark.parametrize("size", [1e-41, 1e-20, 1e15])
def test_vectors_of_any_length_are_found_in_their_order(first_pass: str, size: float) -> None:
    """Processors take bfloat16 numbers below the least normal one for zero."""
    documents, queries = unit(9000, 64, 19) * np.float32(size), unit(9, 64, 20) * np.float32(min(1 / size, 1e3))
    places, scores = ExactSearch(InMemory(documents), 9000, first_pass=first_pass).search(queries, 50)
    own = row_products(queries, documents, np.repeat(np.arange(9), 9000), np.tile(np.arange(9000), 9)).reshape(9, -1)
    order = np.stack([np.lexsort((np.arange(9000), -row)) for row in own])[:, :50]
    assert (places == order).all()
    assert (scores == np.take_along_axis(own, order, axis=1)).all()


def test_many_queries_are_not_all_in_memory_and_find_the_same() -> None:
    documents, queries = unit(500, 64, 21), OnDisk(unit(3000, 64, 22))
    found = []
    for budget in (1 << 30, 1 << 18):
        retriever = DenseRetriever(Spec("st", "made-up"), None, budget_bytes=budget)  # type: ignore[arg-type]
        retriever.take_vectors(documents, 500)
        retriever.take_query_vectors(queries)
        queries.longest = 0
        found.append(retriever.search(np.arange(3000), 7))
    assert queries.longest * 64 * 4 <= (1 << 18) // 2
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()
