"""Distinct numbers are those of NumPy, for what is empty, in two dimensions, unsigned, or all the same."""

from __future__ import annotations

import numpy as np
import pytest

from pairmine.distinct import distinct, union

SOME = [
    np.empty(0, np.int64),
    np.array([7]),
    np.zeros(5, np.int32),
    np.array([[3, 1], [3, -2]]),
    np.array([2**64 - 1, 0, 2**63, 0], np.uint64),
    np.random.default_rng(0).integers(0, 50, 1000),
]


@pytest.mark.parametrize("values", SOME)
def test_each_number_comes_once_and_ascending(values: np.ndarray) -> None:
    found = distinct(values)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, np.unique(values))


def test_a_union_has_what_is_in_either() -> None:
    np.testing.assert_array_equal(union(SOME[5], SOME[1]), np.union1d(SOME[5], SOME[1]))
    assert union(SOME[0], SOME[0]).dtype == np.int64
