"""What holds between the rows of a pair set."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.files import blocks


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "x", "y", "z"])), max_size=6), min_size=1),
    st.sampled_from([0, 1000]),
)
def test_the_first_row_with_another_text_of_its_document_is_found_in_any_dictionaries(
    chunks: list[list[tuple[int, str | None]]], few: int
) -> None:
    rows = [row for chunk in chunks for row in chunk]
    texts = pa.chunked_array([pa.array([text for _, text in chunk], pa.string()) for chunk in chunks])
    coded = pa.chunked_array([chunk.dictionary_encode() for chunk in texts.chunks])
    wanted, earlier = None, dict[int, tuple[int, str]]()
    for at, (number, text) in enumerate(rows):
        if text is not None and earlier.setdefault(number, (at, text))[1] != text:
            wanted = earlier[number][0], at
            break
    ids = pa.array([str(number) for number, _ in rows], pa.string())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "_FEW", few)
        assert blocks.two_texts(pa.table({"doc_id": ids, "document": coded})) == wanted


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=6), st.integers(1, 9))
def test_the_last_query_starts_where_its_id_begins(runs: list[tuple[str, int]], tail: int) -> None:
    ids = [name for name, many in runs for _ in range(many)]
    wanted = next((at for at in range(len(ids) - 1, 0, -1) if ids[at] != ids[at - 1]), 0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "_TAIL", tail)
        for cut in (0, len(ids) // 2):
            column = pa.chunked_array([pa.array(ids[:cut], pa.string()), pa.array(ids[cut:], pa.string())])
            assert blocks.last_query_start(column) == wanted


@given(st.lists(st.text("abc", max_size=4), max_size=8))
def test_the_last_query_of_a_stream_starts_where_it_does_in_one_table(tables: list[str]) -> None:
    last, rows = blocks.LastQuery(), ""
    for at, ids in enumerate(tables):
        last.add(pa.chunked_array([pa.array(list(ids), pa.string())]))
        rows += ids
        whole = pa.chunked_array([pa.array(list(rows), pa.string())])
        assert (last.rows, last.start) == (len(rows), blocks.last_query_start(whole))
        if at % 2:
            rows = rows[last.start :]
            last.cut()
