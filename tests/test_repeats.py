"""Near copies among generations: what counts as one, and that the cut into calls makes no difference."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pairmine.stages.generate.repeats import Repeats
from pairmine.tokens import tokens

WORDS = [f"{one}{two}" for one in ("ka", "li", "mo", "nu", "po", "ri") for two in ("ban", "dor", "fes", "gil", "hum")]


def shingles(text: str) -> set[tuple[str, ...]]:
    words = tokens(text)
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def greedy(texts: list[str], threshold: float) -> list[bool]:
    """The same by comparing every text with every kept one."""
    kept: list[set[tuple[str, ...]]] = []
    repeats = []
    for text in texts:
        own = shingles(text)
        is_repeat = any(len(own & other) >= threshold * len(own | other) for other in kept)
        repeats.append(is_repeat)
        if not is_repeat:
            kept.append(own)
    return repeats


def variants(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        words = draw.choice(texts).split() if texts and draw.random() < 0.5 else draw.choices(WORDS, k=25)
        for _ in range(draw.randint(0, 2)):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_it_finds_what_comparing_everything_finds(threshold: float) -> None:
    texts = variants(400, seed=3)
    found = Repeats(threshold).among([[text] for text in texts]).tolist()
    assert found == greedy(texts, threshold)
    assert sum(found) > 20


def test_the_cut_into_calls_makes_no_difference() -> None:
    texts = variants(300, seed=4)
    whole = Repeats(0.8).among([[text] for text in texts]).tolist()
    repeats, parts, at = Repeats(0.8), [], 0
    for size in (1, 7, 50, 120, 122):
        parts += repeats.among([[text] for text in texts[at : at + size]]).tolist()
        at += size
    assert parts == whole


def test_texts_of_one_group_are_not_held_against_each_other() -> None:
    text = " ".join(WORDS[:20])
    repeats = Repeats(0.8)
    assert repeats.among([[text, text]]).tolist() == [False]
    assert repeats.among([["something else altogether here", text]]).tolist() == [True]


def test_a_group_that_is_rejected_counts_for_nothing() -> None:
    one, other = " ".join(WORDS[:12]), " ".join(WORDS[12:24])
    repeats = Repeats(0.8)
    assert repeats.among([[one], [one, other], [other]]).tolist() == [False, True, False]


@pytest.mark.parametrize("groups", [[], [[]], [["", "!?"]], [["one"]]])
def test_nothing_and_texts_without_words_are_no_repeats(groups: list[list[str]]) -> None:
    repeats = Repeats(0.8)
    assert repeats.among(groups).tolist() == [False] * len(groups)
    assert not repeats.among([["", "..."]]).any()


def test_case_marks_and_spacing_do_not_tell_two_texts_apart() -> None:
    repeats = Repeats(0.8)
    assert repeats.among([["How deep is the OLD harbour?"], ["how deep  is the old harbour"]]).tolist() == [False, True]
    assert isinstance(repeats.among([["x"]]), np.ndarray)
