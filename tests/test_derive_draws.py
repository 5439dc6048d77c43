from __future__ import annotations

from collections import Counter

from pairmine.stages.derive.draws import Draws


def test_draws_are_the_published_splitmix64_and_never_change() -> None:
    draws = Draws(1234567)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [draws.unit() for _ in expected] == [(value >> 11) * 2.0**-53 for value in expected]


def test_draws_are_even() -> None:
    draws = Draws(7)
    counts = Counter(draws.below(10) for _ in range(20_000))
    assert set(counts) == set(range(10))
    assert all(1_800 < count < 2_200 for count in counts.values())


def test_a_sample_is_sorted_without_repeats_and_takes_every_number_alike() -> None:
    counts: Counter[int] = Counter()
    for seed in range(3_000):
        sample = Draws(seed).sample(6, 3)
        assert len(sample) == 3
        assert sample == sorted(set(sample))
        counts.update(sample)
    assert all(1_350 < counts[number] < 1_650 for number in range(6))


def test_a_larger_sample_holds_the_smaller_one() -> None:
    for seed in range(50):
        assert set(Draws(seed).sample(20, 3)) < set(Draws(seed).sample(20, 9))


def test_a_sample_of_more_than_there_is_takes_all() -> None:
    assert Draws(1).sample(3, 9) == [0, 1, 2]
    assert Draws(1).sample(0, 2) == []
