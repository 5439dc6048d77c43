"""Objects in text that is almost JSON: whole fields are found, broken ones left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmine.llm.replies.loose_json import objects

TEXTS = st.text(max_size=20).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)
NAMES = st.text(alphabet="abc_- é", min_size=1, max_size=8)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_json_is_read_as_json_wherever_it_stands(value: dict[str, Any]) -> None:
    [found, *_] = objects(f"So: {json.dumps(value)} That is all.")
    assert (found.value, found.is_cut) == (value, False)


@given(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=4), st.data())
def test_a_text_cut_anywhere_yields_only_whole_fields(value: dict[str, str], data: Any) -> None:
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    for found in objects(cut, may_be_cut=True):
        assert found.value.items() <= value.items()


def test_a_text_cut_inside_a_blank_name_keeps_no_piece_of_it() -> None:
    [found] = objects('{"a": "", " ', may_be_cut=True)
    assert found.value == {}


@pytest.mark.parametrize("text", ["", "{", "{]", "no braces", "{a b c}", '{"a": }', '{"a" "b"}', "}{", '{"a": maybe}'])
def test_what_is_no_object_yields_no_field(text: str) -> None:
    assert all(found.value == {} for found in objects(text))


def test_a_list_without_its_bracket_is_closed_and_said_so() -> None:
    [found] = objects('{"a": ["x", "y"}')
    assert (found.value, found.repairs) == ({"a": ["x", "y"]}, ("missing closing bracket",))


def test_a_stray_remark_never_swallows_the_next_field() -> None:
    assert objects('{"a": "x" (good), "b": "y"}') == []


def test_escapes_that_json_does_not_know_are_kept_as_written() -> None:
    [found] = objects(r"{'a': 'C:\alpha \"q\" \u00e9'}")
    assert found.value == {"a": r'C:\alpha "q" é'}


def test_several_objects_come_in_order_with_their_places() -> None:
    text = '{"a": 1} and {"a": 2}'
    assert [(found.value["a"], text[found.start : found.end]) for found in objects(text)] == [
        (1, '{"a": 1}'),
        (2, '{"a": 2}'),
    ]
