"""Reading ahead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pairmine.cli.ahead import ahead


def test_items_come_in_their_order_and_errors_where_they_arise() -> None:
    def items(broken: bool) -> Iterator[int]:
        yield from range(100)
        if broken:
            raise ValueError("the file ends here")

    assert list(ahead(items(broken=False))) == list(range(100))
    assert list(ahead([])) == []
    reader = ahead(items(broken=True))
    assert [next(reader) for _ in range(100)] == list(range(100))
    with pytest.raises(ValueError, match="the file ends here"):
        next(reader)


def test_no_more_than_one_item_is_made_ahead_and_stopping_early_is_quiet() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    reader = ahead(items())
    assert [next(reader) for _ in range(3)] == [0, 1, 2]
    reader.close()
    assert len(made) <= 4
