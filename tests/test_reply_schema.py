"""The schema of a reply: what fits, what is made to fit, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from pairmine.llm.replies.schema import ReplySchema


def schema(required: bool = True, **properties: Any) -> ReplySchema:
    return ReplySchema({"type": "object", "properties": properties, "required": list(properties) if required else []})


@pytest.mark.parametrize(
    ("rule", "value", "problem"),
    [
        ({"type": "string"}, "x", None),
        ({"type": "string"}, 1, "wrong type of field a"),
        ({"type": "string", "minLength": 2}, "x", "a: too short"),
        ({"type": "string", "maxLength": 2}, "xyz", "a: too long"),
        ({"type": ["string", "null"]}, None, None),
        ({"type": "integer"}, 2.0, None),
        ({"type": "integer"}, 2.5, "wrong type of field a"),
        ({"type": "integer"}, True, "wrong type of field a"),
        ({"type": "number", "maximum": 5}, 5.1, "a: out of range"),
        ({"type": "number"}, float("nan"), "wrong type of field a"),
        ({"enum": ["yes", "no"]}, "no", None),
        ({"enum": ["yes", "no"]}, "maybe", "a: not one of the choices"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [], "a: too short"),
        ({"type": "array", "items": {"type": "string"}}, ["x", 1], "wrong type of field a"),
        ({"type": "object", "properties": {"b": {"type": "string"}}}, {}, "missing field b"),
    ],
)
def test_a_value_is_held_to_each_rule(rule: dict[str, Any], value: Any, problem: str | None) -> None:
    assert schema(a=rule).problem({"a": value}) == problem


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "array"}, '{"type": "object"'),
        ({"properties": {"a": {"pattern": "x"}}}, "a uses pattern"),
        ({"properties": {"a": {"type": "text"}}}, "a has type text"),
        ({"properties": {"a": {"type": "string", "minLength": "2"}}}, "minLength is not a number"),
        ({"properties": {}, "required": ["a"]}, '"required" names a'),
        ({"properties": {"a": "string"}}, "not a mapping"),
    ],
)
def test_a_rule_that_would_not_be_looked_at_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        ReplySchema(given)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("rule", "value", "fitted", "repair"),
    [
        ({"type": "string"}, 1984, "1984", "text as a number"),
        ({"type": "boolean"}, "Yes", True, "boolean as text"),
        ({"enum": ["Not relevant", "Relevant"]}, "not_relevant", "Not relevant", "choice in other letters"),
        ({"type": "string"}, {"a": "x"}, "x", "nested value"),
    ],
)
def test_a_near_miss_is_made_to_fit_where_there_is_one_way(rule: Any, value: Any, fitted: Any, repair: str) -> None:
    repairs: list[str] = []
    assert schema(a=rule).fit({"a": value}, repairs) == {"a": fitted}
    assert repairs == [repair]


def test_a_field_found_in_two_places_is_no_field() -> None:
    value = {"first": {"a": "x"}, "second": {"a": "y"}}
    assert schema(a={"type": "string"}).fit(value, []) == "missing field a"


def test_a_schema_sent_back_is_no_reply() -> None:
    assert schema(a={"type": "string"}).fit({"a": {"type": "string"}}, []) == "schema instead of a reply"
