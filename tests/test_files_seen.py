"""Which ids came before, and which of them with another text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pairmine.files.seen import SeenIds

ROWS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([b"x", b"y", None])), max_size=60)


@given(ROWS, st.integers(1, 9))
def test_repeats_and_conflicts_are_those_of_a_plain_dictionary(rows: list[tuple[str, bytes | None]], size: int) -> None:
    seen, first = SeenIds(), {}
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        found = seen.add([id_ for id_, _ in batch], [[text for _, text in batch]])
        repeated, conflict = [], None
        for at, (id_, text) in enumerate(batch):
            repeated.append(id_ in first)
            row, earlier = first.setdefault(id_, (start + at, text))
            if earlier != text and conflict is None:
                conflict = (at, row)
        assert found.repeated.tolist() == repeated
        assert found.conflict == conflict


def test_the_same_words_split_otherwise_between_title_and_text_are_another_content() -> None:
    seen = SeenIds()
    seen.add(["1"], [[b"a b"], [b"c"]])
    assert seen.add(["1"], [[b"a"], [b"b c"]]).conflict == (0, 0)


def test_no_rows_are_no_repeats() -> None:
    assert SeenIds().add([], [[]]).repeated.tolist() == []
