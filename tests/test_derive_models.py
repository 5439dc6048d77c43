from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pairmine.backends.masked import FakeMaskedLM
from pairmine.backends.translators import FakeTranslator
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

FLOOD = "It rained all day and the river rose by two metres."
FAKE: dict[str, Any] = {"resources": {"mlm": FakeMaskedLM()}}


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.kept.to_pylist()


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def test_a_near_miss_is_a_negative_and_the_text_its_own_positive() -> None:
    rows = made(derive("mlm-edit", corpus(FLOOD), **FAKE))
    assert [(row["doc_id"], row["label"], row["origin"], row["masked"]) for row in rows] == [
        ("d0", 1, "derive:mlm-edit/same", None),
        ("d0#n0", 0, "derive:mlm-edit/edited", 3),
    ]
    before, after = FLOOD.rstrip(".").split(), rows[1]["document"].rstrip(".").split()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 3  # 30 % of 11 words
    rows = made(derive("mlm-edit", corpus(FLOOD), views=4, positive=False, **FAKE))
    assert [row["label"] for row in rows] == [0, 0, 0]


def test_texts_without_words_or_with_nothing_new_are_rejected() -> None:
    class Parrot(FakeMaskedLM):
        def edit(self, texts: Any, masked: Any, draws: Any) -> list[str]:
            return list(texts)

    outcome = derive("mlm-edit", corpus(FLOOD, "...", ""), resources={"mlm": Parrot()})
    assert reasons(outcome) == ["the model put the same words back", "no words", "no text"]


def test_a_missing_model_is_one_line() -> None:
    with pytest.raises(PairmineError, match="recipe mlm-edit needs --mlm"):
        derive("mlm-edit", corpus(FLOOD))
    with pytest.raises(PairmineError) as error:
        derive("backtranslation", corpus(FLOOD))
    assert "needs --translator SPEC and --back SPEC" in str(error.value)
    assert "or --translations FILE" in str(error.value)
    with pytest.raises(PairmineError, match="needs --translator SPEC and --back"):
        derive("backtranslation", corpus(FLOOD), resources={"back": FakeTranslator()})
    with pytest.raises(PairmineError, match="--translations takes the place of --translator and --back"):
        derive("backtranslation", corpus(FLOOD), resources={"back": FakeTranslator(), "translations": {}})


def test_back_translations_of_a_file_are_positives_of_their_text() -> None:
    translations = {"It rained.": ("Rain fell.", "it  RAINED.", "It was raining."), "two": ("Two",)}
    rows = corpus(" It rained. ", "It rained.", "two", "three", "")
    outcome = derive("backtranslation", rows, views=3, resources={"translations": translations})
    assert [(row["query_id"], row["query"], row["doc_id"], row["document"]) for row in made(outcome)] == [
        ("d0#q0", " It rained. ", "d0#p0", "Rain fell."),
        ("d0#q0", " It rained. ", "d0#p1", "It was raining."),
        ("d1#q0", "It rained.", "d1#p0", "Rain fell."),
        ("d1#q0", "It rained.", "d1#p1", "It was raining."),
    ]
    assert reasons(outcome) == ["came back as it was", "no back-translation", "no text"]


def test_a_text_goes_through_both_models() -> None:
    given: dict[str, Any] = {"resources": {"translator": FakeTranslator(), "back": FakeTranslator()}}
    assert reasons(derive("backtranslation", corpus("one two three"), **given)) == ["came back as it was"]
    rows = made(derive("backtranslation", corpus("one two three"), views=4, **given))
    assert [row["document"] for row in rows] == ["two three", "one three"]
