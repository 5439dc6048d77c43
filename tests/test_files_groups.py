"""Row groups that depend on the rows alone."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pairmine.files.groups import Groups, one_chunk, text_bytes

TEXTS = st.one_of(st.none(), st.text(max_size=8))


def test_the_size_of_a_row_counts_every_text_in_bytes_even_in_lists_and_dictionaries() -> None:
    table = pa.table(
        {
            "plain": ["ab", None, "日"],
            "shared": pa.array(["x", "x", None]).dictionary_encode(),
            "lists": [["abc", "d"], None, []],
            "nested": [[["e"], []], [None], []],
            "numbers": [[1], [2], [3]],
            "number": [1, 2, 3],
        }
    )
    assert text_bytes(table).tolist() == [2 + 1 + 4 + 1, 1, 3]
    assert text_bytes(table.slice(1)).tolist() == [1, 3]
    assert text_bytes(table.slice(0, 0)).tolist() == []


@given(st.lists(TEXTS, max_size=40), st.lists(st.integers(1, 9), min_size=1), st.integers(1, 9), st.integers(1, 30))
def test_groups_are_the_same_however_the_rows_arrive(
    texts: list[str | None], steps: list[int], rows: int, size: int
) -> None:
    table = pa.table({"text": pa.array(texts, pa.string()).dictionary_encode()})
    whole, parts = Groups(rows, size), Groups(rows, size)
    wanted = [*whole.add(table), *whole.rest()]
    found, start = [], 0
    for step in steps * 40:
        found += parts.add(table.slice(start, step))
        start += step
    found += parts.rest()
    assert [group.to_pydict() for group in found] == [group.to_pydict() for group in wanted]
    assert all(0 < group.num_rows <= rows for group in found)
    assert sum(group.num_rows for group in found) == len(texts)
    assert all(group.num_rows == 1 or text_bytes(group).sum() <= size for group in found)


def test_a_dictionary_holds_what_is_used_once_in_order_of_use() -> None:
    dictionary = pa.DictionaryArray.from_arrays(
        pa.array([3, None, 1, 3], pa.int32()), pa.array(["unused", "b", "a", "b"])
    )
    found = one_chunk(pa.table({"t": dictionary}))["t"].chunk(0)
    assert found.dictionary.to_pylist() == ["b"]
    assert found.to_pylist() == ["b", None, "b", "b"]


CODED = st.lists(st.none() | st.sampled_from("abc"), min_size=1, max_size=5).flatmap(
    lambda texts: st.tuples(
        st.just(texts), st.lists(st.none() | st.integers(0, len(texts) - 1), max_size=9), st.integers(0, 3)
    )
)


@given(st.lists(CODED, min_size=1, max_size=4))
def test_chunks_with_dictionaries_of_their_own_become_one_with_the_texts_in_order_of_use(
    parts: list[tuple[list[str | None], list[int | None], int]],
) -> None:
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string())).slice(start)
        for texts, codes, start in parts
    ]
    column = pa.chunked_array(chunks)
    found = one_chunk(pa.table({"t": column}))["t"]
    assert found.to_pylist() == column.to_pylist()
    if len(column):
        used = dict.fromkeys(text for text in column.to_pylist() if text is not None)
        assert found.num_chunks == 1
        assert found.chunk(0).dictionary.to_pylist() == list(used)
