"""Which column is taken for what."""

from __future__ import annotations

import pytest

from pairmine.errors import PairmineError
from pairmine.files.columns import DOCUMENT, PAIR, listed, map_columns


def test_the_name_itself_wins_over_an_alias_and_case_does_not_matter() -> None:
    assert map_columns(["docid", "ID", "Text", "body"], DOCUMENT, {}, "c").names == {"id": "ID", "text": "Text"}


def test_a_column_named_by_the_user_serves_nothing_else() -> None:
    assert map_columns(["anchor", "text", "passage"], PAIR, {"query": "passage"}, "p").names == {
        "query": "passage",
        "document": "text",
    }


def test_only_renamed_columns_are_worth_telling() -> None:
    assert map_columns(["_id", "text"], DOCUMENT, {}, "c").renamed == {"id": "_id"}


def test_a_missing_column_names_what_was_found_and_the_flag() -> None:
    with pytest.raises(PairmineError, match=r'c:1: no "text" \(found: id, speech\); pass --text-column speech'):
        map_columns(["id", "speech"], DOCUMENT, {}, "c:1")
    with pytest.raises(PairmineError, match=r"pass --text-column 'my speech'$"):
        map_columns(["id", "year", "my speech"], DOCUMENT, {}, "c:1", texts=["id", "my speech"])
    with pytest.raises(PairmineError, match=r"pass --text-column NAME$"):
        map_columns(["id", "year"], DOCUMENT, {}, "c:1", texts=["id"])
    with pytest.raises(PairmineError, match=r'c: no column "nope" for --text-column \(found: id, text\)'):
        map_columns(["id", "text"], DOCUMENT, {"text": "nope"}, "c")


def test_many_columns_are_listed_short() -> None:
    assert listed([str(i) for i in range(20)]).endswith("11, and 8 more")
    assert listed([]) == "no columns"


def test_a_text_in_the_place_of_a_column_name_leaves_the_message_on_one_line() -> None:
    assert listed(["one\n  two", "x" * 100]) == f"one two, {'x' * 60}"
