from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

TAGS = {"river": ("NOUN",), "hill": ("NOUN",), "rose": ("VERB", "NOUN"), "fell": ("VERB",)}
NUMBERS = " ".join(f"w{at}" for at in range(100))


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.kept.to_pylist()


def test_the_pool_is_undecided_and_repeats_count_once() -> None:
    rows = made(derive("distill-pool", corpus("The river rose."), resources={"tags": TAGS}))
    assert {row["query_id"] for row in rows} == {"d0#q0"}
    assert {row["label"] for row in rows} == {None}
    documents = [row["document"] for row in rows]
    assert len(documents) == len(set(documents)) <= 20
    assert "The river rose." not in documents


def test_words_give_way_to_words_of_the_same_kind_alone() -> None:
    found = set()
    for seed in range(60):
        outcome = derive("distill-pool", corpus("The River fell."), seed=seed, mask=0, crop=0, resources={"tags": TAGS})
        found |= {row["document"] for row in made(outcome)}
    nouns, verbs = ("River", "Hill", "Rose"), ("fell", "rose")
    assert found == {f"The {noun} {verb}." for noun in nouns for verb in verbs} - {"The River fell."}


def test_masks_crops_and_rounds_come_as_often_as_the_paper_says() -> None:
    rows = made(derive("distill-pool", corpus(NUMBERS), rounds=1000, replace=0))
    cropped = [row["document"].split() for row in rows if len(row["document"].split()) < 100]
    whole = [row["document"].split() for row in rows if len(row["document"].split()) == 100]
    assert {len(each) for each in cropped} == {1, 2, 3, 4, 5}
    assert 690 < len(whole) < 810
    assert 9.5 < sum(each.count("[MASK]") for each in whole) / len(whole) < 10.5
    for each in cropped:
        at = [int(word[1:]) for word in each if word != "[MASK]"]
        assert at == sorted(at)
        assert not at or at[-1] - at[0] < 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "replaces 0.1 of the words by words of the same kind: give --tags FILE"),
        ({"replace": 0, "resources": {"tags": TAGS}}, "--tags has no use with --replace 0; leave one of them out"),
        ({"mask": 0.8, "replace": 0.3, "resources": {"tags": TAGS}}, "--mask 0.8 and --replace 0.3 make more than 1"),
    ],
)
def test_a_missing_list_of_tags_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive("distill-pool", corpus("a b"), **given)
    assert message in str(error.value)


def test_two_templates_wrap_a_text() -> None:
    wrapped = set()
    for seed in range(60):
        row = made(derive("template-views", corpus(" It rained. "), seed=seed))[0]
        assert row["query"] != row["document"]
        wrapped |= {row["query"], row["document"]}
    assert wrapped == {
        'This sentence : "It rained." means [MASK] .',
        'This sentence of "It rained." means [MASK] .',
        'The sentence : "It rained." can be summed up as [MASK] .',
        '"It rained." , in one word : [MASK] .',
    }


def test_templates_of_the_users_take_the_place_of_ours() -> None:
    given: dict[str, Any] = {
        "resources": {"templates": ["{text} 的意思是 {mask}", "", "“{text}”"]},
        "mask_token": "<m>",
    }
    row = made(derive("template-views", corpus("{mask} and {text}"), **given))[0]
    assert {row["query"], row["document"]} == {"{mask} and {text} 的意思是 <m>", "“{mask} and {text}”"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"views": 5}, "--views 5 is more than the 4 templates; add some with --templates FILE"),
        ({"resources": {"templates": ["", " "]}}, "--templates holds no template"),
        ({"resources": {"templates": ["{text}", "no hole"]}}, '--templates has "no hole" without {text}'),
    ],
)
def test_templates_that_cannot_work_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive("template-views", corpus("a"), **given)
    assert message in str(error.value)


def test_an_empty_list_of_templates_is_not_ours() -> None:
    rows = pa.table({"id": ["1"], "text": ["It rained."]})
    with pytest.raises(PairmineError, match="--templates holds no template"):
        derive("template-views", rows, resources={"templates": []})
