"""When two texts count as the same one."""

from __future__ import annotations

import time
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.identity import _BYTES_AT_ONCE, normalise, text_ends, text_keys, text_prints

LETTERS = st.text(st.sampled_from([*"abAB \t\n\x0b\x1c\x1f\x85éÉﬁﬀＡßſK日語\u3000\u2003"]), max_size=6) | st.text(
    max_size=9
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | LETTERS, max_size=30))
def test_copies_have_equal_prints_and_blank_texts_none(texts: list[str | None]) -> None:
    texts += [text.swapcase() + " " for text in texts if text]
    column = pa.array(texts, pa.string())
    of_key: dict[int, int] = {0: 0}
    for key, found in zip(text_keys(column).tolist(), text_prints(column).tolist(), strict=True):
        assert of_key.setdefault(key, found) == found


def test_prints_of_a_slice_and_of_long_texts_are_those_of_each_text_alone() -> None:
    words = [f"Word{number}" for number in range(3000)]
    texts = pa.array([" ".join(words[at : at + 500]) for at in range(2500)] + ["x" * (_BYTES_AT_ONCE + 3), "x", ""])
    prints = text_prints(texts)
    assert len(texts.buffers()[2]) > 2 * _BYTES_AT_ONCE
    assert [int(text_prints(texts.slice(at, 1))[0]) for at in (0, 7, 2400, 2500, 2501, 2502)] == [
        int(prints[at]) for at in (0, 7, 2400, 2500, 2501, 2502)
    ]
    assert text_prints(texts.slice(5, 9)).tolist() == prints[5:14].tolist()
    assert len(set(prints.tolist())) > 2490


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.none() | LETTERS | st.tuples(LETTERS, LETTERS).map(" words between ".join), max_size=20),
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
    st.integers(0, 20),
)
def test_copies_have_equal_ends_however_they_are_spelt_and_spaced(
    texts: list[str | None], form: str, many: int
) -> None:
    spelt = [unicodedata.normalize(form, text.swapcase()) for text in texts if text]  # type: ignore[arg-type]
    texts += [" " * many + text.replace(" ", "\t" * (1 + many)) + "\n" * many for text in spelt]
    column = pa.array(texts, pa.string())
    of_key: dict[int, int] = {0: 0}
    ends = text_ends(column, np.arange(len(column)))
    for key, found in zip(text_keys(column).tolist(), ends.tolist(), strict=True):
        assert of_key.setdefault(key, found) == found


def test_ends_of_a_slice_and_of_some_texts_are_those_of_each_text_alone() -> None:
    texts = pa.array(["first law", "x", "", None, "FIRST  of all, the law", "日本", "last", "eightlet", "ninelette"])
    ends = text_ends(texts, np.arange(len(texts)))
    assert ends[0] == ends[4]
    assert ends[2] == ends[3] == 0
    assert len(set(ends.tolist())) == 7
    assert [int(text_ends(texts.slice(at, 1), np.array([0]))[0]) for at in range(len(texts))] == ends.tolist()
    assert text_ends(texts, np.array([5, 1])).tolist() == [ends[5], ends[1]]
    assert text_ends(texts, np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize("blank", ["", None, " \n", " " * 40, "\u3000"])
def test_blank_texts_have_no_ends(blank: str | None) -> None:
    assert text_ends(pa.array([blank], pa.string()), np.array([0])).tolist() == [0]


MARKS = [chr(code) for code in range(0x110000) if unicodedata.combining(chr(code))]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*MARKS, *"\u0f73\u0344\uff9e\uff9f\u200d\u20dd\U0001f600", "e", "が"]), max_size=300))
def test_very_many_accents_are_normalised_as_unicode_prescribes(signs: list[str]) -> None:
    text = "x" * 1990 + "".join(signs)
    assert normalise(text) == " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def test_very_many_accents_on_a_letter_take_no_longer_than_other_letters() -> None:
    started = time.process_time()
    found = normalise("e" + "\u0301\u0316" * 100_000)
    assert time.process_time() - started < 5
    assert found == "é" + "\u0316" * 100_000 + "\u0301" * 99_999
