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


def test_a_shuffle_holds_every_number_once_and_takes_every_order_alike() -> None:
    orders = Counter(tuple(Draws(seed).shuffled(3)) for seed in range(6_000))
    assert len(orders) == 6
    assert all(850 < count < 1_150 for count in orders.values())
    assert sorted(Draws(1).shuffled(50)) == list(range(50))
    assert Draws(1).shuffled(0) == []


def test_poisson_draws_have_their_mean_and_as_many_zeros_as_they_should() -> None:
    draws = Draws(3)
    drawn = Counter(draws.poisson(3) for _ in range(10_000))
    assert 2.9 < sum(number * count for number, count in drawn.items()) / 10_000 < 3.1
    assert 430 < drawn[0] < 570  # exp(-3) is 0.0498


def test_many_draws_at_once_are_those_one_by_one() -> None:
    many, single = Draws(9), Draws(9)
    assert many.units(100).tolist() == [single.unit() for _ in range(100)]
    assert many.unit() == single.unit()


def test_beta_draws_have_the_mean_and_spread_of_their_distribution() -> None:
    draws = Draws(3)
    found = [draws.beta(4, 2) for _ in range(20_000)]
    mean = sum(found) / len(found)
    assert 0.66 < mean < 0.673
    # variance of Beta(4, 2): 4 * 2 / (6 * 6 * 7)
    assert 0.030 < sum((each - mean) ** 2 for each in found) / len(found) < 0.0335


def test_a_beta_draw_is_one_of_the_units_in_their_order() -> None:
    assert Draws(9).beta(4, 2) == sorted(Draws.unit(draws) for draws in [Draws(9)] for _ in range(5))[3]
    ours, units = Draws(9), Draws(9)
    ours.beta(2, 4)
    for _ in range(5):
        units.unit()
    assert ours.unit() == units.unit()
