"""Search by an index: what it finds, what it says of that, and that nothing but the input decides it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pairmine.backends.vectors import InMemory, Subset
from pairmine.backends.vectors.approximate import (
    ApproximateSearch,
    check_index,
    choose,
    describe,
    index_bytes,
    index_seconds,
    warning,
)
from pairmine.backends.vectors.approximate import search as module
from pairmine.backends.vectors.approximate.integers import LENGTH, exact_sums, in_order, products, whole_numbers
from pairmine.backends.vectors.approximate.ivf import highest
from pairmine.errors import PairmineError

KINDS = ("ivf", "hnsw", "pq")
DIM = 32


def unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def around_centres(rows: int, seed: int, noise: float = 0.7) -> np.ndarray:
    centres = np.random.default_rng(7).standard_normal((40, DIM))
    generator = np.random.default_rng(seed)
    drawn = centres[generator.integers(0, 40, rows)] + noise * generator.standard_normal((rows, DIM))
    return unit(drawn)


def true_scores(documents: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k highest products by brute force in float64."""
    return -np.sort(-(queries.astype(np.float64) @ documents.T.astype(np.float64)), axis=1)[:, :k]


@pytest.fixture(scope="module")
def documents() -> np.ndarray:
    return around_centres(3000, 1)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return around_centres(300, 2)


def opened(kind: str, documents: np.ndarray, queries: np.ndarray, depth: int = 20, **settings: object):
    return ApproximateSearch.of(kind, InMemory(documents), len(documents), queries, depth=depth, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_the_recall_that_is_reported_is_the_recall_over_all_queries(
    kind: str, documents: np.ndarray, queries: np.ndarray
) -> None:
    search = opened(kind, documents, queries, threads=1)
    scores = search.search(queries, 20)[1]
    truth = true_scores(documents, queries, 20)
    recall = (scores >= truth[:, -1:] - 1e-6).mean()
    assert search.facts["index"] == kind
    assert search.facts["recall"] >= 0.98
    assert search.facts["measured_on"] == 300
    assert abs(recall - search.facts["recall"]) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_exact_and_equal_ones_stand_in_the_order_of_documents(
    kind: str, documents: np.ndarray, queries: np.ndarray
) -> None:
    places, scores = opened(kind, documents, queries, threads=1).search(queries, 20)
    for row in range(len(queries)):
        one_by_one = [np.einsum("i,i->", queries[row], documents[place]) for place in places[row]]
        assert np.allclose(scores[row], one_by_one, atol=1e-6)
        assert sorted(zip(-scores[row], places[row], strict=True)) == list(zip(-scores[row], places[row], strict=True))
        assert len(set(places[row])) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_blocks_change_nothing(kind: str, documents: np.ndarray, queries: np.ndarray) -> None:
    one, other = (opened(kind, documents, queries, threads=threads) for threads in (1, 3))
    whole = one.search(queries, 20)
    assert one.facts == other.facts
    in_pieces = [other.search(queries[start : start + 37], 20) for start in range(0, 300, 37)]
    assert np.array_equal(whole[0], np.concatenate([places for places, _ in in_pieces]))
    assert np.array_equal(whole[1], np.concatenate([scores for _, scores in in_pieces]))
    alone = other.search(queries[5:6], 20)
    assert np.array_equal(alone[0][0], whole[0][5])


def test_vectors_that_do_not_fit_are_read_list_by_list_with_the_same_result(
    documents: np.ndarray, queries: np.ndarray
) -> None:
    budget = index_bytes("ivf", len(documents), DIM)
    held = opened("ivf", documents, queries, budget_bytes=4 * budget)
    read = opened("ivf", documents, queries, budget_bytes=budget)
    assert held._index._packed is not None  # type: ignore[attr-defined]
    assert read._index._packed is None  # type: ignore[attr-defined]
    for one, other in zip(held.search(queries, 20), read.search(queries, 20), strict=True):
        assert np.array_equal(one, other)


def test_a_processor_without_bfloat16_finds_the_same(
    documents: np.ndarray, queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for quick in (True, False):
        monkeypatch.setattr(module, "has_bfloat16", lambda quick=quick: quick)
        found.append(opened("ivf", documents, queries).search(queries, 20))
    assert np.array_equal(found[0][0], found[1][0])


def test_only_the_searchable_documents_are_found(documents: np.ndarray, queries: np.ndarray) -> None:
    search = ApproximateSearch.of("ivf", InMemory(documents), 2000, queries, depth=10)
    assert search.search(queries, 10)[0].max() < 2000


def test_vectors_elsewhere_than_in_memory_are_searched_too(documents: np.ndarray, queries: np.ndarray) -> None:
    turned = np.arange(len(documents))[::-1]
    behind = Subset(InMemory(documents[::-1].copy()), turned)
    one = opened("ivf", documents, queries).search(queries, 20)
    other = ApproximateSearch.of("ivf", behind, len(documents), queries, depth=20).search(queries, 20)
    assert np.array_equal(one[0], other[0])


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_are_equal_by_the_hundred_do_no_harm(
    kind: str, documents: np.ndarray, queries: np.ndarray
) -> None:
    copied = documents.copy()
    copied[100:1600] = copied[100]
    search = opened(kind, copied, np.concatenate([queries, copied[100:101]]), threads=1)
    places, scores = search.search(copied[100:101], 20)
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert set(places[0]) <= set(range(100, 1600))
    if kind == "ivf":
        assert places[0].tolist() == list(range(100, 120))


def test_all_vectors_equal(queries: np.ndarray) -> None:
    same = np.repeat(queries[:1], 2000, axis=0)
    places, scores = opened("ivf", same, queries).search(queries[:3], 20)
    assert places.tolist() == [list(range(20))] * 3
    assert scores[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 5, 999])
def test_few_documents_are_searched_exactly_and_that_is_said(rows: int, queries: np.ndarray) -> None:
    documents = around_centres(rows, 3) if rows else np.empty((0, DIM), np.float32)
    search = opened("ivf", documents, queries, depth=8)
    places, scores = search.search(queries[:2], 8)
    assert search.facts == {"index": "exact", "asked_for": "ivf", "why": f"{rows} documents are soon looked at"}
    assert describe(search.facts) == f"index ivf: not needed, {rows} documents are soon looked at; the search is exact"
    assert (places == -1).sum() == 2 * max(0, 8 - rows)
    assert np.isneginf(scores[places == -1]).all()


def test_more_documents_wanted_than_a_quarter_is_an_exact_search(documents: np.ndarray, queries: np.ndarray) -> None:
    assert opened("hnsw", documents, queries, depth=1000).facts["why"] == "1,000 of 3,000 documents are wanted"
    places, scores = opened("ivf", documents, queries).search(queries[:4], 5000)
    assert (places != -1).sum(axis=1).tolist() == [3000] * 4
    assert np.allclose(scores[:, :3000], true_scores(documents, queries[:4], 3000), atol=1e-5)


def test_no_queries(documents: np.ndarray, queries: np.ndarray) -> None:
    assert opened("ivf", documents, queries[:0]).facts["why"] == "there are no queries"
    places, scores = opened("ivf", documents, queries).search(queries[:0], 7)
    assert places.shape == scores.shape == (0, 7)


def test_a_single_query_settles_the_effort_by_itself(documents: np.ndarray, queries: np.ndarray) -> None:
    search = opened("ivf", documents, queries[:1])
    assert search.facts["measured_on"] == 1
    found = search.search(queries[:1], 20)[1]
    assert found == pytest.approx(true_scores(documents, queries[:1], 20), abs=1e-5)


def test_a_higher_recall_looks_at_more(queries: np.ndarray) -> None:
    scattered = unit(np.random.default_rng(5).standard_normal((4000, DIM)))
    shares = [
        opened("ivf", scattered, queries, target_recall=recall).facts["scanned"] for recall in (0.5, 0.8, 0.98, 1.0)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 * shares[2]


def test_an_index_that_does_not_fit_says_what_it_takes(documents: np.ndarray, queries: np.ndarray) -> None:
    with pytest.raises(PairmineError, match=r"--index hnsw: takes 2 MB for 3,000 documents, and there are 1 MB; raise"):
        opened("hnsw", documents, queries, budget_bytes=1_000_000)
    with pytest.raises(PairmineError, match=r"--index ivf: .* or take --index exact$"):
        opened("ivf", documents, queries, budget_bytes=1000)


def test_a_recall_below_the_target_is_a_warning_with_a_way_out() -> None:
    facts = {"index": "hnsw", "links": 32, "ef": 9, "depth": 100, "recall": 0.91, "measured_on": 400}
    assert warning(facts | {"target_recall": 0.9}) is None
    told = warning(facts | {"target_recall": 0.98})
    assert told is not None
    assert "finds 91.0%" in told
    assert "--index exact" in told
    assert describe(facts) == ("index hnsw (32 links, ef 9): recall of the first 100 0.910, measured on 400 queries")


def test_a_name_that_is_no_index_is_refused() -> None:
    assert check_index("auto") == "auto"
    with pytest.raises(PairmineError, match="--index flat: no such index; one of exact, ivf, hnsw, pq, auto"):
        check_index("flat")


def test_auto_takes_an_index_where_it_saves_minutes() -> None:
    assert choose(100, 10**9, 384, 10, 1 << 34) == "exact"
    assert choose(100_000, 1000, 384, 100, 1 << 34) == "exact"
    assert choose(2_000_000, 200_000, 384, 100, 1 << 34) == "ivf"
    assert choose(2_000_000, 200_000, 384, 100, 1 << 28) == "exact"
    assert choose(2_000_000, 100, 384, 100, 1 << 34) == "exact"


def test_estimates_grow_with_the_corpus() -> None:
    for kind in ("ivf", "hnsw", "pq"):
        assert index_bytes(kind, 10**6, 384) > 5 * index_bytes(kind, 10**5, 384) > 0
    for kind in ("exact", "ivf", "hnsw", "pq"):
        assert index_seconds(kind, 10**6, 10**5, 384, 100) > 3 * index_seconds(kind, 10**5, 10**5, 384, 100)
    assert index_bytes("pq", 10**6, 384) < index_bytes("ivf", 10**6, 384) / 4


def test_the_estimated_bytes_of_lists_are_those_held(documents: np.ndarray, queries: np.ndarray) -> None:
    index = opened("ivf", documents, queries)._index  # type: ignore[attr-defined]
    held = index._packed.nbytes + index._places.nbytes + index.centres.nbytes
    assert held == pytest.approx(index_bytes("ivf", len(documents), DIM), rel=0.25)


def test_products_of_whole_numbers_are_exact_in_any_shape() -> None:
    generator = np.random.default_rng(0)
    one, other = (unit(generator.standard_normal((rows, 1024))) for rows in (70, 90))
    left, right = whole_numbers(one), whole_numbers(other, 1.0)
    truth = left.double().numpy() @ right.double().numpy().T
    assert np.array_equal(exact_sums(left, right), truth)
    assert np.abs(truth).max() < 2**24
    assert np.allclose(truth / LENGTH**2, one @ other.T, atol=2e-3)
    assert products(left, right, quick=True).equal(products(left, right, quick=False))
    assert products(left[3:4], right, quick=True).equal(products(left, right, quick=True)[3:4])


def test_bits_of_bfloat16_sort_as_the_numbers_do() -> None:
    import torch

    numbers = torch.tensor([-torch.inf, -300.0, -2.0, -0.001, 0.0, 0.001, 7.0, 9000.0], dtype=torch.bfloat16)
    keys = in_order(numbers.view(torch.int16).numpy().copy())
    assert (np.diff(keys.astype(int)) > 0).all()


def test_the_highest_of_a_row_are_the_first_of_equal_ones() -> None:
    keys = np.random.default_rng(1).integers(-4, 4, (50, 40)).astype(np.int16)
    for wide in (1, 7, 39, 40, 60):
        expected = np.sort(np.argsort(-keys, axis=1, kind="stable")[:, :wide], axis=1)
        assert np.array_equal(highest(keys, wide), expected)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--index", "flat"], "--index flat: no such index; one of exact, ivf, hnsw, pq, auto"),
        (["--recall", "0.9"], "--recall has no effect with --index exact; leave one of them out"),
        (["--index", "ivf", "--recall", "98"], "--recall 98: a share above 0 and up to 1, as 0.98"),
        (["--index", "ivf", "--retriever", "bm25"], "--index has no effect without a retriever of vectors"),
        (["--index", "ivf", "--clusters", "4"], "--index has no effect with --clusters"),
    ],
)
def test_an_option_that_cannot_take_effect_is_an_error(options: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pairmine", "mine", "absent.jsonl", "-o", "absent.parquet", *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"pairmine: {told}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_that_looks_far_beyond_the_depth_still_gets_everything(kind: str) -> None:
    # 20 far groups of 400 documents: to look into one group is enough for 10, but not for the 900 first.
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((20, DIM))
    documents = unit(np.repeat(centres, 400, axis=0) + 0.6 * generator.standard_normal((8000, DIM)))
    queries = unit(centres[generator.integers(0, 20, 200)] + 0.6 * generator.standard_normal((200, DIM)))
    search = opened(kind, documents, queries, depth=10)
    places, scores = search.search(queries[:20], 900)
    assert (places >= 0).all()
    truth = true_scores(documents, queries[:20], 900)
    assert (scores >= truth[:, -1:] - 1e-6).mean() >= 0.98


def test_lists_keep_their_recall_where_all_documents_lie_close_together() -> None:
    # Products rounded to bfloat16 are equal for many neighbours here; only more of them scored in full tell them apart.
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((10, DIM))
    documents = unit(np.repeat(centres, 1000, axis=0) + 0.2 * generator.standard_normal((10_000, DIM)))
    queries = unit(centres[generator.integers(0, 10, 300)] + 0.2 * generator.standard_normal((300, DIM)))
    search = opened("ivf", documents, queries, depth=10)
    scores = search.search(queries, 10)[1]
    assert (scores >= true_scores(documents, queries, 10)[:, -1:] - 1e-6).mean() >= 0.97
    assert search.facts["recall"] >= 0.98
    assert search.facts["scanned"] < 0.5
