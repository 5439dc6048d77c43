"""When two texts count as the same one."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.identity import _BYTES_AT_ONCE, text_keys, text_prints

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
