"""Which texts leave because a vector that stays is near theirs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.vectors import InMemory
from pairmine.stages.dedup import semantic
from pairmine.stages.dedup.semantic import semantic_copies


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_hand(vectors: np.ndarray, order: np.ndarray, threshold: float) -> list[int]:
    kept, stayed = list(range(len(vectors))), []
    for place in order.tolist():
        products = [float(np.einsum("i,i->", vectors[place], vectors[other])) for other in stayed]
        near = [at for at, product in enumerate(products) if np.float32(product) >= np.float32(threshold)]
        if near:
            kept[place] = stayed[max(near, key=lambda at: (np.float32(products[at]), -at))]
        else:
            stayed.append(place)
    return kept


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.3, 0.6, 0.9, 1.0]), st.sampled_from([1, 3, 64]))
@settings(deadline=None, max_examples=60)
def test_a_text_leaves_for_the_nearest_that_stays_whatever_the_block(
    seed: int, count: int, threshold: float, together: int
) -> None:
    generator = np.random.default_rng(seed)
    vectors = unit(generator.integers(-2, 3, (count, 4)) + 0.25)
    order = generator.permutation(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_TOGETHER", together)
        found = semantic_copies(InMemory(vectors), order, threshold)
    assert found.kept.tolist() == by_hand(vectors, order, threshold)


def test_a_chain_of_neighbours_does_not_carry_far_texts_away() -> None:
    angles = np.radians([0, 20, 40, 60])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = semantic_copies(InMemory(vectors), np.arange(4), float(np.cos(np.radians(25))))
    assert found.kept.tolist() == [0, 0, 2, 2]
    assert found.cosine.tolist() == pytest.approx([1, np.cos(np.radians(20)), 1, np.cos(np.radians(20))])


def test_five_thousand_equal_vectors_leave_one() -> None:
    vectors = np.tile(unit(np.ones((1, 8))), (5000, 1))
    found = semantic_copies(InMemory(vectors), np.arange(5000)[::-1], 0.999)
    assert set(found.kept.tolist()) == {4999}


def test_a_cosine_is_one_at_most() -> None:
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(100, 384))), 2, axis=0)
    products = np.einsum("ij,ij->i", vectors, vectors)
    assert products.max() > 1
    found = semantic_copies(InMemory(vectors), np.arange(200), 0.95)
    assert found.kept.tolist() == [place - place % 2 for place in range(200)]
    assert found.cosine.max() == 1


def test_no_text_at_all_gives_nothing() -> None:
    found = semantic_copies(InMemory(np.empty((0, 8), np.float32)), np.arange(0), 0.9)
    assert len(found.kept) == 0
