"""Tries the templates of a recipe's rows and score on made-up replies, so that one that never works costs no call.

Replies are drawn from the schema. A template is refused where every one of them fails, and fails
for a reason that no other reply could mend: what a free text might hold is nobody's to know.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pairmine.errors import PairmineError
from pairmine.llm.recipes.recipe import PLAIN_FIELD, Emit, PromptRecipe, Step
from pairmine.llm.recipes.templates import Use, compiled, compiled_expression, mistakes, said, uses
from pairmine.llm.replies.schema import Field, ReplySchema

Context = Mapping[str, Any]

_TRIES = 100
_WORDS = ("some words", "1", "0.5", "yes", "no", "true", "one, two")
_OFFSETS = (0, 1, 0.5, 2, 3, 4, 5, 10, 100)
_LONGEST_LIST = 8
_TEXTS = ("text", "query", "document")
"""Columns that hold a text and never lack one; what others hold is not known before a table is read."""


def try_rows(recipe: PromptRecipe) -> None:
    """Raise PairmineError, with its line, for a template of `emits` or `score` that no reply can fill."""
    for emit in recipe.emits:
        _try_emit(recipe, emit)
    if recipe.score:
        where = f"{recipe.path}:{recipe.lines['score']}: score"
        _Trial(recipe, recipe.steps[-1], where, recipe.score).run(_number)


def _try_emit(recipe: PromptRecipe, emit: Emit) -> None:
    for key in ("each", "query", "document", "query_id", "doc_id", "grade"):
        source: str | None = getattr(emit, key)
        if source is None:
            continue
        where = f"{recipe.path}:{emit.lines[key]}: emits: {emit.role}: {key}"
        trial = _Trial(recipe, recipe.step(emit.step), where, source, each=emit.each)
        if key == "each":
            trial.run(_list)
        else:
            trial.run(_number if key == "grade" else _text)


class _Trial:
    """One template, with the replies to try it on; where it is for `each` entry of a list, with the entries."""

    def __init__(self, recipe: PromptRecipe, step: Step, where: str, source: str, each: str | None = None) -> None:
        self._recipe = recipe
        self._step = step
        self._where = where
        self._source = source
        self._each = each

    def run(self, fill: Callable[[str, Context], object]) -> None:
        failures: list[Exception] = []
        is_list = fill is _list
        for context in self._contexts() if is_list or self._each is None else self._entries():
            try:
                fill(self._source, context)
            except mistakes() as error:
                failures.append(error)
            else:
                return
        if failures and self._is_for_good(failures, is_expression=is_list):
            why = said(failures[0]).replace("'dict object' has no attribute", "no field")
            raise PairmineError(f"{self._where}: no reply can fill it: {why}; mend the template")

    def _contexts(self) -> Iterator[dict[str, Any]]:
        for number in range(_TRIES):
            yield _context(self._recipe, self._step, random.Random(number), is_whole=number == 0)

    def _entries(self) -> Iterator[dict[str, Any]]:
        """A context for each entry of the lists; none where the list itself is what cannot be had."""
        for context in self._contexts():
            try:
                entries = _list(self._each or "", context)
            except mistakes():
                continue
            yield from ({**context, "each": entry} for entry in entries)

    def _is_for_good(self, failures: list[Exception], *, is_expression: bool) -> bool:
        scope = dict.fromkeys(("row", "draws", "options", "reply", "replies", "each"))
        used = uses(self._source, scope, expression=is_expression)
        if any(use.path[0] == "row" and use.path[1:2] not in [(name,) for name in _TEXTS] for use in used):
            return False
        if all(_is_a_slip(error, self._source) for error in failures):
            return True
        return not any(map(self._is_free, used))

    def _is_free(self, use: Use) -> bool:
        """Whether what is read may hold values that were not tried."""
        if use.path[0] not in ("reply", "replies"):
            return use.path[0] in ("row", "each")
        path = (self._step.name, *use.path[1:]) if use.path[0] == "reply" else use.path[1:]
        steps = [step for step in self._recipe.steps if step.name in path[:1] or not path]
        if any(step.schema is None for step in steps):
            return True
        fields = [field for step in steps for field in _fields(step) if field.name in path[1:2] or len(path) < 2]
        return any(map(_is_free, fields))


def _is_a_slip(error: Exception, source: str) -> bool:
    """Whether the types or fields are wrong, whatever the reply says."""
    if isinstance(error, TypeError):
        return True
    missing = re.fullmatch(r"'dict object' has no attribute '(\w+)'", str(error))
    return missing is not None and re.search(rf"\b{missing[1]}\b", source) is not None


def _text(source: str, context: Context) -> None:
    if not compiled(source)(context).strip():
        raise ValueError("the text is blank")


def _number(source: str, context: Context) -> None:
    text = compiled(source)(context).strip()
    try:
        fits = 0 <= float(text) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{text[:40]!r} is no number from 0 to 1")


def _list(source: str, context: Context) -> list[Any]:
    entries = compiled_expression(source)(context)
    if not isinstance(entries, list):
        raise TypeError("it is no list")
    return entries


def _context(recipe: PromptRecipe, step: Step, draw: random.Random, *, is_whole: bool) -> dict[str, Any]:
    """What templates read, with replies that fit their schemas; the `is_whole` ones lack nothing."""
    replies = {each.name: _reply(each, draw, is_whole) for each in recipe.steps}
    return {
        "row": {column.name: draw.choice(_WORDS) for column in recipe.inputs},
        "draws": {each.name: draw.choice(each.choices).text for each in recipe.draws},
        "options": {option.name: option.default for option in recipe.options},
        "replies": replies,
        "reply": replies[step.name],
    }


def _reply(step: Step, draw: random.Random, is_whole: bool) -> dict[str, Any]:
    if step.schema is None:
        return {PLAIN_FIELD: draw.choice(_WORDS)}
    return _object(_fields(step), draw, is_whole)


def _fields(step: Step) -> tuple[Field, ...]:
    return ReplySchema(step.schema).fields if step.schema else ()


def _object(fields: tuple[Field, ...], draw: random.Random, is_whole: bool) -> dict[str, Any]:
    there = [field for field in fields if is_whole or field.is_required or draw.random() < 0.75]
    return {field.name: _value(field, draw, is_whole) for field in there}


def _value(field: Field, draw: random.Random, is_whole: bool) -> Any:
    if field.enum:
        return draw.choice(field.enum)
    kinds = [kind for kind in field.kinds if kind != "null"]
    if not kinds or ("null" in field.kinds and not is_whole and draw.random() < 0.25):
        return None
    return _MAKERS[draw.choice(kinds)](field, draw, is_whole)


def _any_number(field: Field, draw: random.Random, _: bool, *, is_whole_number: bool = False) -> float:
    least, most = field.limits.get("minimum"), field.limits.get("maximum")
    if least is not None and most is not None:
        value = draw.choice([least * (1 - tenth / 10) + most * (tenth / 10) for tenth in range(11)])
    else:
        offset = draw.choice(_OFFSETS)
        value = most - offset if least is None and most is not None else (least or 0) + offset
    return round(value) if is_whole_number or float(value).is_integer() else value


def _array(field: Field, draw: random.Random, is_whole: bool) -> list[Any]:
    least = min(int(field.limits.get("minItems", 0)), _LONGEST_LIST)
    most = min(int(field.limits.get("maxItems", _LONGEST_LIST)), _LONGEST_LIST)
    count = draw.randint(min(max(least, 1), most), max(least, most))
    items = field.items
    return [_value(items, draw, is_whole) if items else draw.choice(_WORDS) for _ in range(count)]


_MAKERS: Mapping[str, Callable[[Field, random.Random, bool], Any]] = {
    "string": lambda field, draw, is_whole: draw.choice(_WORDS),
    "integer": partial(_any_number, is_whole_number=True),
    "number": _any_number,
    "boolean": lambda field, draw, is_whole: draw.random() < 0.5,
    "array": _array,
    "object": lambda field, draw, is_whole: _object(field.inner.fields if field.inner else (), draw, is_whole),
}


def _is_free(field: Field) -> bool:
    """Whether its values are too many to be tried."""
    if field.enum:
        return False
    if set(field.kinds) <= {"integer", "number", "null"}:
        return not {"minimum", "maximum"} <= field.limits.keys()
    if set(field.kinds) <= {"object"} and field.inner is not None:
        return any(map(_is_free, field.inner.fields))
    return not set(field.kinds) <= {"boolean", "null"}
