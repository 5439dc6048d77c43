"""Every step of every recipe that comes with pairmine, asked of a real engine: the prompt fits, the schema is obeyed.

An untrained model would write strings and lists without end, so both are kept short here; all else of the schema is
the recipe's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from test_prompts import STEPS, Stage, rows_of

from pairmine.backends.llms import LLM
from pairmine.llm.calls import Call, Reply
from pairmine.llm.recipes.recipe import PromptRecipe, Step
from pairmine.llm.replies.reader import ReplyReader


def bounded(schema: Any) -> Any:
    """The schema with strings of 3 to 12 characters, lists as short as they may be, and numbers from a short list."""
    if not isinstance(schema, Mapping):
        return schema
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "enum" not in schema and ("number" in kinds or "integer" in kinds):
        return {"enum": [schema.get("minimum", 0), schema.get("maximum", 5)]}
    found = {name: bounded(value) for name, value in schema.items()}
    if "properties" in schema:
        properties = {name: bounded(value) for name, value in schema["properties"].items()}
        found |= {"properties": properties, "required": list(properties), "additionalProperties": False}
    if "array" in kinds:
        least = max(schema.get("minItems", 0), 1)
        found |= {"minItems": least, "maxItems": least}
    if "string" in kinds and "enum" not in schema:
        found |= {"type": "string", "minLength": 3, "maxLength": 12}
    return found


@pytest.mark.parametrize(("recipe", "step"), STEPS, ids=[f"{recipe.name}-{step.name}" for recipe, step in STEPS])
def test_a_real_engine_answers_every_step_by_its_schema(llm: LLM, recipe: PromptRecipe, step: Step) -> None:
    prompt = Stage(recipe, {}).prompt(rows_of(recipe)[-1], 0, step, 2 if step.rounds else 1)
    schema = bounded(step.schema) if step.schema else None
    sampling = replace(step.sampling, max_tokens=600 if schema else 20, stop=())
    llm.submit(Call(llm.model, prompt.messages, sampling, schema, 0))
    answers: list[Any] = []
    while not answers:
        answers = llm.wait()
    [(_, reply)] = answers
    assert isinstance(reply, Reply), reply
    if step.schema is not None:
        # The engine counts the bytes of broken characters, so that lengths are not looked at.
        parsed = ReplyReader(step.schema).read(reply)
        assert (parsed.problem, parsed.value is not None) == (None, True), reply.text
