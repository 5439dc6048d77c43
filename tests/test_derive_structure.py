from __future__ import annotations

import pyarrow as pa

from pairmine.outcome import Outcome
from pairmine.stages.derive import derive


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def test_title_is_the_query_of_its_text_under_the_documents_own_id() -> None:
    rows = pa.table({"id": ["a"], "title": ["  Ebb and flow\n"], "text": ["The sea rises and falls."]})
    (row,) = derive("title", rows).kept.to_pylist()
    assert row == {
        "query_id": "a#q0",
        "query": "Ebb and flow",
        "doc_id": "a",
        "document": "The sea rises and falls.",
        "label": 1,
        "origin": "derive:title",
        "source_id": "a",
    }


def test_title_rejects_documents_that_have_none_or_nothing_else() -> None:
    rows = pa.table(
        {
            "id": list("abcdef"),
            "title": [None, "", "---", "Only this", "One", "Fine title"],
            "text": ["x", "x", "x", " only  THIS", "x", None],
        }
    )
    outcome = derive("title", rows, min_words=2)
    assert outcome.kept.num_rows == 0
    assert reasons(outcome) == ["no title"] * 3 + ["the title is the whole text", "title too short", "no text"]
