"""Which texts are compared, which of them match, and how they group: against comparing everyone to everyone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.stages.dedup import crowds, groups, verify
from pairmine.stages.dedup.candidates import CROWD, candidates
from pairmine.stages.dedup.copies import Copies, copies_of
from pairmine.stages.dedup.crowds import crowd_of, join
from pairmine.stages.dedup.groups import Chain, chains, components, first_of_each
from pairmine.stages.dedup.kernel import read_texts, sketch
from pairmine.stages.dedup.kernel.shingles import Texts
from pairmine.stages.dedup.matches import Matches, Near, compare_pairs, find_matches, grouped, match
from pairmine.stages.dedup.units import Units

PATHS = ("plain", "compiled") if find_spec("numba") else ("plain",)

LONG = [f"word{i}" for i in range(100)]


def near(threshold: float = 0.8, ngram: int = 3, **options: Any) -> Near:
    given_options = {
        "permutations": 128,
        "sentence_words": 0,
        "short_text_words": 0,
        "workers": 1,
        "seed": 0,
        **options,
    }
    return Near(threshold, ngram, **given_options)


def column(texts: Sequence[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def units(texts: Sequence[str]) -> Units:
    return Units("document", pa.array([f"d{i}" for i in range(len(texts))]), column(texts), np.arange(len(texts)))


def edited(draw: random.Random, changes: int, values: int = 10**9) -> str:
    """A hundred words with some replaced, each by one of `values` others."""
    words = list(LONG)
    for place in draw.sample(range(100), changes):
        words[place] = f"{place}x{draw.randrange(values)}"
    return " ".join(words)


def shingled(text: str, ngram: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))} if words else set()


def jaccard(one: str, other: str, ngram: int) -> float:
    left, right = shingled(one, ngram), shingled(other, ngram)
    return len(left & right) / len(left | right) if left and right else 0.0


def matching(texts: Sequence[str], threshold: float, ngram: int) -> list[tuple[int, int]]:
    """All pairs that are similar enough, by comparing everyone to everyone."""
    pairs = combinations(range(len(texts)), 2)
    return [(i, j) for i, j in pairs if jaccard(texts[i], texts[j], ngram) >= threshold]


def pairs_in(found: Any) -> list[tuple[int, int]]:
    return list(zip(found.left.tolist(), found.right.tolist(), strict=True))


def same_everywhere(*found: Any) -> None:
    for one, other in pairwise(found):
        for name, values in vars(one).items():
            np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


texts_of_few_words = st.lists(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=25
)
rules = st.sampled_from([(0, 0), (0, 6), (4, 6), (6, 0)])


# Candidates


def test_candidates_are_the_pairs_that_share_a_band() -> None:
    keys = np.array([[1, 1, 2, 3, 4], [10, 11, 12, 11, 13]], np.uint64)
    found = candidates(keys, np.arange(5))
    assert pairs_in(found) == [(0, 1), (1, 3)]
    assert found.crowded.tolist() == []
    assert pairs_in(candidates(keys, np.array([0, 2, 3, 4]))) == []


def test_a_crowded_bucket_is_set_aside() -> None:
    keys = np.array([[7] * (CROWD + 1) + [8] * CROWD], np.uint64)
    found = candidates(keys, np.arange(2 * CROWD + 1))
    assert found.crowded.tolist() == list(range(CROWD + 1))
    assert len(found.left) == CROWD * (CROWD - 1) // 2
    assert (found.left < found.right).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.integers(0, 45).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, n // 2), min_size=n, max_size=n), min_size=1, max_size=3)
    ),
    st.randoms(use_true_random=False),
)
def test_candidates_are_what_a_full_comparison_of_the_keys_finds(rows: list[list[int]], draw: random.Random) -> None:
    bands = np.array(rows, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    some = np.array(sorted(draw.sample(range(bands.shape[1]), bands.shape[1] * 2 // 3)), np.int64)
    crowded = {int(i) for band in bands for i in some if np.count_nonzero(band[some] == band[i]) > CROWD}
    wanted = [
        (i, j)
        for i, j in combinations(some.tolist(), 2)
        if (bands[:, i] == bands[:, j]).any() and not {i, j} <= crowded
    ]
    found = [candidates(bands, some, path) for path in PATHS]
    same_everywhere(*found)
    assert pairs_in(found[0]) == wanted
    assert found[0].crowded.tolist() == sorted(crowded)


def test_bands_may_lie_on_disk(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 500, (3, 400)).astype(np.uint64)
    bands.tofile(tmp_path / "bands")
    mapped = np.memmap(tmp_path / "bands", np.uint64, "r", shape=bands.shape)
    same_everywhere(*(candidates(keys, np.arange(400), path) for keys in (bands, mapped) for path in PATHS))


def test_pairs_that_pile_up_are_still_each_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bands = np.random.default_rng(0).integers(0, 100, (20, 400)).astype(np.uint64)
    whole = candidates(bands, np.arange(400))
    monkeypatch.setattr("pairmine.stages.dedup.candidates._PAIRS_SET_ASIDE", 50)
    same_everywhere(whole, candidates(bands, np.arange(400)))


# Verification


@settings(max_examples=20, deadline=None, derandomize=True)
@given(texts_of_few_words, st.sampled_from([0.3, 0.5, 0.8, 1.0]), st.integers(1, 3), rules)
def test_similarities_and_verdicts_are_those_of_sets_in_python(
    texts: list[str], threshold: float, ngram: int, limits: tuple[int, int]
) -> None:
    sets = read_texts(texts, ngram)
    left, right = (np.array(side, np.int64) for side in zip(*combinations(range(len(texts) + 1), 2), strict=True))
    left, right = left[right < len(texts)], right[right < len(texts)]
    wanted = near(threshold, ngram, sentence_words=limits[0], short_text_words=limits[1])
    found = [compare_pairs(sets, left, right, replace(wanted, engine=path)) for path in PATHS]
    for similarity, is_match in found:
        for i, j, value, verdict in zip(left, right, similarity, is_match, strict=True):
            assert value == jaccard(texts[i], texts[j], ngram)
            assert verdict == (value >= threshold and words_allow(texts[i], texts[j], *limits))
    everyone = verify.Counts(sets.shingles.sizes, sets.words.sizes)
    verified = [verify.verify(sets.take, left, right, everyone, replace(wanted, engine=path)) for path in PATHS]
    same_everywhere(*verified)
    assert pairs_in(verified[0]) == list(zip(left[found[0][1]].tolist(), right[found[0][1]].tolist(), strict=True))
    assert verified[0].similarity.tolist() == found[0][0][found[0][1]].tolist()


def words_allow(one: str, other: str, sentence_words: int, short_text_words: int) -> bool:
    left, right = sorted(one.split()), sorted(other.split())
    longer = max(len(left), len(right))
    if longer < sentence_words:
        return left == right
    nest = all(left.count(w) <= right.count(w) for w in left) or all(right.count(w) <= left.count(w) for w in right)
    return longer >= short_text_words or nest


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.slow
def test_how_many_texts_are_read_at_a_time_changes_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    texts = [edited(draw, changes, values=3) for changes in (2, 4, 6) for _ in range(60)]
    whole = found_in(texts, near(engine=path, workers=2))
    monkeypatch.setattr(verify, "AT_ONCE", 500)
    monkeypatch.setattr(verify, "_MEMBERS_AT_ONCE", 700)
    monkeypatch.setattr(verify, "_PAIRS_A_THREAD", 7)
    parts = found_in(texts, near(engine=path, workers=2))
    same_everywhere(whole.pairs, parts.pairs)
    assert whole.groups.tolist() == parts.groups.tolist()
    everyone = np.arange(len(texts))
    for one, other in zip(*(m.similarity_of(everyone, everyone[::-1]) for m in (whole, parts)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_texts_are_read_about_once_to_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(4)
    texts = [" ".join([*(f"{family}w{i}" for i in range(50)), f"end{n}"]) for family in range(40) for n in range(4)]
    draw.shuffle(texts)
    sets, read = read_texts(texts, 3), [0]

    def sets_of(members: np.ndarray) -> Texts:
        read[0] += len(members)
        return sets.take(members)

    monkeypatch.setattr(verify, "AT_ONCE", 2000)
    left, right = (np.array(side) for side in zip(*matching(texts, 0.8, 3), strict=True))
    found = verify.verify(sets_of, left, right, verify.Counts(sets.shingles.sizes, sets.words.sizes), near())
    assert len(found.left) == 40 * 6
    assert len(texts) <= read[0] <= 1.2 * len(texts)


# Crowds


def found_in(texts: Sequence[str], wanted: Near, **options: Any) -> Matches:
    return match(column(texts), sketch(column(texts), wanted), np.arange(len(texts)), wanted, **options)


def crowd(texts: Sequence[str], wanted: Near, keys: np.ndarray | None = None) -> crowds.Crowd:
    keys = np.zeros((1, len(texts)), np.uint64) if keys is None else keys
    return crowd_of(read_texts(texts, wanted.ngram), keys, wanted)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(texts_of_few_words, st.sampled_from([0.4, 0.6, 0.8]))
def test_the_join_connects_what_a_full_comparison_connects(texts: list[str], threshold: float) -> None:
    wanted = near(threshold, 2)
    found = [join(crowd(texts, replace(wanted, engine=path)), replace(wanted, engine=path)) for path in PATHS]
    same_everywhere(*found)
    everything = matching(texts, threshold, 2)
    assert set(pairs_in(found[0])) <= set(everything)
    assert connected(len(texts), pairs_in(found[0])) == connected(len(texts), everything)
    assert found[0].passed_over == 0


def connected(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    left, right = np.array(pairs, np.int64).reshape(-1, 2).T
    return components(count, left, right).tolist()


@pytest.mark.parametrize(("count", "pairs"), [(1, 0), (7, 3), (2_000, 900), (2_000, 5_000)])
def test_many_pairs_connect_what_few_connect(monkeypatch: pytest.MonkeyPatch, count: int, pairs: int) -> None:
    draw = np.random.default_rng(count + pairs)
    left, right = draw.integers(0, count, (2, pairs))
    by_rounds = components(count, left, right)
    monkeypatch.setattr(groups, "_MANY_PAIRS", -1)
    assert np.array_equal(components(count, left, right), by_rounds)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(texts_of_few_words, st.sampled_from([0.3, 0.5, 0.8]), rules, st.sampled_from([1, 3, 1000]), st.data())
def test_compiled_and_plain_loops_find_the_same_also_where_much_is_passed_over(
    texts: list[str], threshold: float, limits: tuple[int, int], most: int, data: st.DataObject
) -> None:
    looked_at = data.draw(st.sampled_from([2, 20, 16_000]))
    keys = np.array(data.draw(st.lists(st.lists(st.integers(0, 1), min_size=25, max_size=25), min_size=1, max_size=3)))
    ranks = np.array(data.draw(st.permutations(range(len(texts)))))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowds, "MOST_UNLIKE", most)
        patch.setattr(crowds, "MOST_LOOKED_AT", looked_at)
        for path in PATHS:
            wanted = near(threshold, 2, sentence_words=limits[0], short_text_words=limits[1], engine=path)
            of_crowd = crowd(texts, wanted, keys[:, : len(texts)].astype(np.uint64))
            found.append(join(of_crowd, wanted))
            stars = crowds_as_stars(texts, wanted, keys[:, : len(texts)].astype(np.uint64), ranks)
            found.append(stars.pairs)
    same_everywhere(*found[::2])
    same_everywhere(*found[1::2])


def crowds_as_stars(texts: Sequence[str], wanted: Near, keys: np.ndarray, ranks: np.ndarray) -> Matches:
    nothing = np.empty(0, np.int64)
    none = verify.Pairs(nothing, nothing, np.empty(0), 0)
    sets = read_texts(texts, wanted.ngram)
    everyone = np.arange(len(texts))
    return grouped(none, everyone, keys, sets.shingles.sizes, sets.take, wanted, group="star", ranks=ranks)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("group", ["chain", "star"])
def test_a_crowd_of_near_copies_is_not_compared_all_with_all(path: str, group: str) -> None:
    draw = random.Random(1)
    found = found_in([edited(draw, 1) for _ in range(1000)], near(engine=path), group=group)
    assert not found.groups.any()
    assert found.pairs.compared < 5000
    assert found.pairs.passed_over == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("group", ["chain", "star"])
def test_a_filled_template_is_not_compared_all_with_all(path: str, group: str) -> None:
    draw = random.Random(2)
    found = found_in([edited(draw, 10) for _ in range(800)], near(engine=path), group=group)
    assert len(np.unique(found.groups)) == 800
    assert found.pairs.compared < 800 * 799 // 2 / 10


@pytest.mark.parametrize("path", PATHS)
def test_texts_that_share_one_shingle_cost_next_to_nothing(path: str) -> None:
    texts = [f"please read this x{i}" for i in range(3000)]
    found = found_in(texts, near(engine=path, sentence_words=0))
    assert len(np.unique(found.groups)) == 3000
    assert found.pairs.compared < 300


@pytest.mark.slow
@pytest.mark.skipif("compiled" not in PATHS, reason="needs numba")
@pytest.mark.parametrize("group", ["chain", "star"])
def test_a_hundred_thousand_of_a_kind_are_grouped_in_seconds(group: str) -> None:
    draw = random.Random(5)
    copies = [edited(draw, 1) for _ in range(100_000)]
    templates = [edited(draw, 12) for _ in range(50_000)]
    found = found_in(copies + templates, near(engine="compiled"), group=group)
    assert len(np.unique(found.groups)) == 50_001
    assert found.pairs.compared < 1_000_000


def test_pairs_passed_over_are_counted_as_far_as_nothing_connects_them(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(6)
    unlike = [edited(draw, 6, values=40) for _ in range(120)]
    assert found_in(unlike, near()).pairs.passed_over == 0
    monkeypatch.setattr(crowds, "MOST_UNLIKE", 2)
    assert found_in(unlike, near()).pairs.passed_over > 0
    alike = [" ".join(f"{family}{word}" for word in range(90)) + f" end{i}" for i in range(60) for family in "ab"]
    monkeypatch.setattr(crowds, "MOST_LOOKED_AT", 10)
    found = found_in(alike, near())
    assert len(np.unique(found.groups)) == 2


# Chains and stars


def by_brute_force(texts: Sequence[str], ranks: Sequence[int], threshold: float, ngram: int) -> list[int]:
    """Stars: for each text the first one of its group."""
    leaders: dict[int, int] = {}
    for text in sorted(range(len(texts)), key=lambda i: ranks[i]):
        kept = sorted((other for other in leaders if leaders[other] == other), key=lambda i: ranks[i])
        alike = (other for other in kept if jaccard(texts[text], texts[other], ngram) >= threshold)
        leaders[text] = next(alike, text)
    return first_of_each(np.array([leaders[text] for text in range(len(texts))])).tolist()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(texts_of_few_words, st.sampled_from([0.4, 0.6, 0.8]), st.data())
def test_a_star_joins_each_text_to_the_first_kept_one_that_it_matches(
    texts: list[str], threshold: float, data: st.DataObject
) -> None:
    ranks = data.draw(st.permutations(range(len(texts))))
    crowd_limit = data.draw(st.sampled_from([2, 4, 16]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairmine.stages.dedup.candidates.CROWD", crowd_limit)
        for path in PATHS:
            # So many bands of one row that a pair that matches shares one, as good as surely.
            wanted = near(threshold, 2, permutations=128, engine=path)
            found = copies_of(units(texts), exact="words", near=wanted, group="star", ranks=np.array(ranks))
            assert found.groups.tolist() == by_brute_force(texts, ranks, threshold, 2)


def test_a_star_holds_copies_of_the_kept_one_only_where_a_chain_goes_on() -> None:
    texts = [" ".join(LONG[start : start + 90]) for start in (0, 5, 10)]
    wanted = near(0.85)
    chain = copies_of(units(texts), exact="normalised", near=wanted)
    assert chain.groups.tolist() == [0, 0, 0]
    star = copies_of(units(texts), exact="normalised", near=wanted, group="star")
    assert star.groups.tolist() == [0, 0, 2]
    middle_first = copies_of(units(texts), exact="normalised", near=wanted, group="star", ranks=np.array([1, 0, 2]))
    assert middle_first.groups.tolist() == [0, 0, 0]


def test_in_a_star_the_best_of_exact_copies_speaks_for_them() -> None:
    texts = [" ".join(LONG[start : start + 90]) for start in (0, 5, 10)]
    repeated = [*texts, texts[1].upper()]
    found = copies_of(units(repeated), exact="normalised", near=near(0.85), group="star", ranks=np.array([1, 3, 2, 0]))
    assert found.groups.tolist() == [0, 0, 0, 0]
    assert found.exact.tolist() == [0, 1, 2, 1]
    similarity, is_match = found.similarity(np.array([0, 2, 1]), np.array([3, 3, 3]))
    assert is_match.tolist() == [True] * 3
    assert similarity.tolist() == [pytest.approx(83 / 93), pytest.approx(83 / 93), 1.0]


@pytest.mark.parametrize("group", ["chain", "star"])
def test_every_member_of_a_star_matches_the_kept_one(group: str) -> None:
    draw = random.Random(7)
    texts = [edited(draw, 3, values=4) for _ in range(300)]
    ranks = np.array(draw.sample(range(300), 300))
    found = copies_of(units(texts), exact="normalised", near=near(workers=2), group=group, ranks=ranks)
    kept = kept_by(found, ranks)
    _, is_match = found.similarity(np.arange(300), kept)
    assert is_match.all() == (group == "star")
    assert [chain.apart > 0.3 for chain in chains(kept, is_match)] == ([True] if group == "chain" else [])


def kept_by(found: Copies, ranks: np.ndarray) -> np.ndarray:
    order = np.argsort(ranks)
    return order[first_of_each(found.groups[order])][np.argsort(order)]


def test_a_giant_chain_is_named_and_a_large_group_of_true_copies_is_not() -> None:
    kept = np.concatenate([np.zeros(200, np.int64), np.full(300, 200), np.full(99, 500), np.arange(599, 1000)])
    is_match = np.ones(1000, bool)
    is_match[50:200] = False
    is_match[200:220] = False
    is_match[500:599] = False
    assert chains(kept, is_match) == [Chain(0, 200, 0.75)]
    assert chains(np.empty(0, np.int64), np.empty(0, bool)) == []


@pytest.mark.parametrize("group", ["chain", "star"])
@pytest.mark.parametrize("texts", [[], ["one"], ["", " ", "!!!"], ["one", "One", "ONE."], ["a b c d e"] * 3])
def test_few_and_blank_texts_group_without_a_hitch(texts: list[str], group: str) -> None:
    found = copies_of(units(texts), exact="normalised", near=near(), group=group)
    words = [text.lower().strip(".! ") for text in texts]
    assert found.groups.tolist() == [words.index(word) if word else i for i, word in enumerate(words)]


def test_workers_and_paths_change_nothing() -> None:
    draw = random.Random(8)
    texts = [edited(draw, changes, values=30) for changes in (1, 4, 9) for _ in range(120)]
    found = [find_matches(column(texts), near(engine=path, workers=workers)) for path in PATHS for workers in (1, 3)]
    for one, other in pairwise(found):
        same_everywhere(one.pairs, other.pairs)
        assert one.groups.tolist() == other.groups.tolist()
