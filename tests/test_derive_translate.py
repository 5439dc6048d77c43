from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

GERMAN = {
    "A man sleeps.": ("Ein Mann schläft.", "Ein Mann ruht."),
    "Someone rests.": ("Jemand ruht.",),
    "A man runs.": ("Ein Mann rennt.",),
}


class Upper:
    """A translator that writes capitals, and counts what it was asked for."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.asked: list[str] = []

    def translate(self, texts: Sequence[str], count: int = 1) -> list[list[str]]:
        self.asked += texts
        return [[text.upper()] if text != "untranslatable" else [] for text in texts]


def pairs(*rows: tuple[str, str, int | None]) -> pa.Table:
    return pa.table(
        {
            "query_id": [f"q-{query}" for query, *_ in rows],
            "query": [query for query, *_ in rows],
            "doc_id": [f"d-{document}" for _, document, _ in rows],
            "document": [document for _, document, _ in rows],
            "label": pa.array([label for *_, label in rows], pa.int8()),
            "grade": pa.array([0.5] * len(rows), pa.float32()),
            "origin": ["derive:nli"] * len(rows),
            "genre": ["x"] * len(rows),
        }
    )


NLI = pairs(
    ("A man sleeps.", "Someone rests.", 1), ("A man sleeps.", "A man runs.", 0), ("It snows.", "A man runs.", None)
)


def short(outcome: Outcome) -> list[tuple[str, str, int | None]]:
    return [(row["query"], row["document"], row["label"]) for row in outcome.kept.to_pylist()]


def test_labels_grades_and_columns_go_into_the_other_language() -> None:
    outcome = derive("translate", NLI, resources={"translations": GERMAN})
    assert short(outcome) == [("Ein Mann schläft.", "Jemand ruht.", 1), ("Ein Mann schläft.", "Ein Mann rennt.", 0)]
    row = outcome.kept.to_pylist()[0]
    assert (row["grade"], row["genre"], row["origin"]) == (0.5, "x", "derive:translate")
    assert (row["query_id"], row["doc_id"]) == ("q-A man sleeps.#t", "d-Someone rests.#t")
    assert "other_grade" not in outcome.kept.column_names
    assert outcome.rejected["reason"].to_pylist() == ["no translation of the query"]


def test_one_side_alone_makes_pairs_across_languages() -> None:
    queries = derive("translate", NLI, sides="query", resources={"translations": GERMAN})
    assert short(queries)[0] == ("Ein Mann schläft.", "Someone rests.", 1)
    assert queries.kept["doc_id"].to_pylist()[0] == "d-Someone rests."
    documents = derive("translate", NLI, sides="document", resources={"translations": GERMAN})
    assert short(documents)[2] == ("It snows.", "Ein Mann rennt.", None)


def test_a_model_translates_what_the_table_does_not_hold_and_each_text_once() -> None:
    model = Upper()
    outcome = derive(
        "translate", NLI, resources={"translations": {"a man SLEEPS.": ("Er schläft.",)}, "translator": model}
    )
    assert short(outcome) == [
        ("Er schläft.", "SOMEONE RESTS.", 1),
        ("Er schläft.", "A MAN RUNS.", 0),
        ("IT SNOWS.", "A MAN RUNS.", None),
    ]
    assert sorted(model.asked) == ["A man runs.", "It snows.", "Someone rests."]


def test_a_negative_that_becomes_its_query_is_rejected() -> None:
    same = {"big": ("groß",), "large": ("groß",)}
    outcome = derive("translate", pairs(("big", "large", 0)), resources={"translations": same})
    assert outcome.kept.num_rows == 0
    assert outcome.rejected["reason"].to_pylist() == ["both sides have the same translation"]


def test_a_text_that_the_model_gives_up_on_is_rejected() -> None:
    outcome = derive("translate", pairs(("a", "untranslatable", 1)), resources={"translator": Upper()})
    assert outcome.rejected["reason"].to_pylist() == ["no translation of the document"]


def test_without_table_and_model_both_flags_are_named() -> None:
    with pytest.raises(PairmineError, match=r"needs --translations FILE, .* or --translator SPEC"):
        derive("translate", NLI)
