"""Tries the templates of a recipe's rows and score on made-up replies, so that one that never works costs no call.

Replies are drawn from the schema. A template is refused where every one of them fails, and fails
for a reason that no other reply could mend: what a free text might hold is nobody's to know.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pairmine.errors import PairmineError
from pairmine.llm.recipes.recipe import ALL_ROUNDS, CANDIDATES, LABELS, PLAIN_FIELD, Emit, PromptRecipe, Step
from pairmine.llm.recipes.templates import Use, compiled, compiled_expression, mistakes, said, uses
from pairmine.llm.replies.schema import Field, ReplySchema
from pairmine.schema import SCORE_PREFIX

Context = Mapping[str, Any]

_TRIES = 100
_WORDS = ("some words", "1", "0.5", "yes", "no", "true", "one, two")
_OFFSETS = (0, 1, 0.5, 2, 3, 4, 5, 10, 100)
_LONGEST_LIST = 8
_ROUNDS = 3
_TEXTS = ("text", "query", "document")
"""Columns that hold a text and never lack one; what others hold is not known before a table is read."""


def try_rows(recipe: PromptRecipe) -> None:
    """Raise PairmineError, with its line, for a template of `emits`, `expand` or `score` that no reply can fill."""
    if recipe.expand:
        where = f"{recipe.path}:{recipe.expand.lines['each']}: expand: each"
        _Trial(recipe, recipe.step(recipe.expand.step), where, recipe.expand.each, has_part=False).run(_list)
    for emit in recipe.emits:
        _try_emit(recipe, emit)
    if recipe.score:
        where = f"{recipe.path}:{recipe.lines['score']}: score"
        _Trial(recipe, recipe.steps[-1], where, recipe.score).run(_share)


_Fill = Callable[[str, Context], object]


def _try_emit(recipe: PromptRecipe, emit: Emit) -> None:
    for key, source, fill in _sources(emit):
        where = f"{recipe.path}:{emit.lines[key]}: emits: {emit.role}: {key}"
        each = None if key in ("each", "only") else emit.each
        _Trial(recipe, recipe.step(emit.step), where, source, each=each).run(fill)


def _sources(emit: Emit) -> Iterator[tuple[str, str, _Fill]]:
    """Each template of a row: how it is called, itself, and what it must give."""
    if emit.each is not None:
        yield "each", emit.each, _list
    if emit.when is not None:
        yield "when: test", emit.when.test, _truth
    for key in ("query", "document", "query_id", "doc_id"):
        if source := getattr(emit, key):
            yield key, source, _text
    if emit.candidate is not None:
        yield "candidate", emit.candidate, _candidate
    if emit.only is not None:
        yield "only", emit.only, _truth
    if emit.grade is not None:
        yield "grade", emit.grade, _share
    if isinstance(emit.label, str):
        yield "label", emit.label, _label
    for name, source in emit.columns.items():
        yield f"columns: {name}", source, _any_text
    for name, source in emit.numbers.items():
        yield f"numbers: {name}", source, _share_or_nothing if name.startswith(SCORE_PREFIX) else _number_or_nothing


class _Trial:
    """One template, with the replies to try it on; where it is for `each` entry of a list, with the entries."""

    def __init__(
        self,
        recipe: PromptRecipe,
        step: Step,
        where: str,
        source: str,
        each: str | None = None,
        *,
        has_part: bool = True,
    ) -> None:
        self._recipe = recipe
        self._step = step
        self._where = where
        self._source = source
        self._each = each
        self._expand = recipe.expand if has_part else None

    def run(self, fill: _Fill) -> None:
        failures: list[Exception] = []
        for context in self._entries() if self._each is not None else self._contexts():
            try:
                fill(self._source, context)
            except mistakes() as error:
                failures.append(error)
            else:
                return
        if failures and self._is_for_good(failures, is_expression=fill in (_list, _truth, _candidate)):
            why = said(failures[0]).replace("'dict object' has no attribute", "no field")
            raise PairmineError(f"{self._where}: no reply can fill it: {why}; mend the template")

    def _contexts(self) -> Iterator[dict[str, Any]]:
        """What the template may read, from made-up replies; none where they hold no part to read."""
        for number in range(_TRIES):
            context = _context(self._recipe, self._step, random.Random(number), is_whole=number == 0)
            if self._expand is None:
                yield context
                continue
            parts = _listed(self._expand.each, {**context, "reply": context["replies"][self._expand.step]})
            yield from ({**context, "part": part} for part in parts[:_LONGEST_LIST])

    def _entries(self) -> Iterator[dict[str, Any]]:
        """A context for each entry of the lists; none where the list itself is what cannot be had."""
        for context in self._contexts():
            for index, entry in enumerate(_listed(self._each or "", context)):
                yield {**context, "each": entry, "index": index}

    def _is_for_good(self, failures: list[Exception], *, is_expression: bool) -> bool:
        scope = dict.fromkeys(("row", "draws", "options", "reply", "replies", "each", "index", "part"))
        used = uses(self._source, scope, expression=is_expression)
        if any(use.path[0] == "row" and use.path[1:2] not in [(name,) for name in _TEXTS] for use in used):
            return False
        if all(_is_a_slip(error, self._source) for error in failures):
            return True
        return not any(map(self._is_free, used))

    def _is_free(self, use: Use) -> bool:
        """Whether what is read may hold values that were not tried."""
        if use.path[0] not in ("reply", "replies"):
            return use.path[0] in ("row", "each", "index", "part")
        path = (self._step.name, *use.path[1:]) if use.path[0] == "reply" else use.path[1:]
        steps = [step for step in self._recipe.steps if step.name in path[:1] or not path]
        if any(step.schema is None for step in steps) or path[1:2] == (ALL_ROUNDS,):
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


def _any_text(source: str, context: Context) -> str:
    return compiled(source)(context).strip()


def _truth(source: str, context: Context) -> bool:
    return bool(compiled_expression(source)(context))


def _candidate(source: str, context: Context) -> None:
    found = compiled_expression(source)(context)
    if not any(each is found for each in context["row"][CANDIDATES]):
        raise ValueError("it is none of row.candidates")


def _share(source: str, context: Context) -> None:
    """A number from 0 to 1."""
    text = _any_text(source, context)
    try:
        fits = 0 <= float(text) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{text[:40]!r} is no number from 0 to 1")


def _share_or_nothing(source: str, context: Context) -> None:
    if _any_text(source, context):
        _share(source, context)


def _number_or_nothing(source: str, context: Context) -> None:
    text = _any_text(source, context)
    try:
        fits = not text or math.isfinite(float(text))
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{text[:40]!r} is no number")


def _label(source: str, context: Context) -> None:
    text = _any_text(source, context)
    if text.casefold() not in LABELS:
        raise ValueError(f"{text[:40]!r} is neither 1 nor 0 nor blank")


def _listed(source: str, context: Context) -> list[Any]:
    """The list that the expression gives; none where it cannot be had."""
    try:
        return _list(source, context)
    except mistakes():
        return []


def _list(source: str, context: Context) -> list[Any]:
    entries = compiled_expression(source)(context)
    if not isinstance(entries, list):
        raise TypeError("it is no list")
    return entries


def _context(recipe: PromptRecipe, step: Step, draw: random.Random, *, is_whole: bool) -> dict[str, Any]:
    """What templates read, with replies that fit their schemas; the `is_whole` ones lack nothing."""
    replies = {each.name: _reply(each, draw, is_whole) for each in recipe.steps}
    return {
        "row": _row(recipe, draw),
        "draws": {each.name: draw.choice(each.choices).text for each in recipe.draws},
        "options": {option.name: option.default for option in recipe.options},
        "replies": replies,
        "reply": replies[step.name],
    }


def _row(recipe: PromptRecipe, draw: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: draw.choice(_WORDS) for column in recipe.inputs}
    if recipe.reads == "groups":
        labels = [draw.choice((1, 0, None)) for _ in range(_LONGEST_LIST)]
        row[CANDIDATES] = [
            {"doc_id": str(at), "text": draw.choice(_WORDS), "label": label, "rank": at or None}
            for at, label in enumerate(labels)
        ]
    return row


def _reply(step: Step, draw: random.Random, is_whole: bool) -> dict[str, Any]:
    replies = [_one_reply(step, draw, is_whole) for _ in range(_ROUNDS if step.rounds else 1)]
    return {**replies[-1], ALL_ROUNDS: replies} if step.rounds else replies[-1]


def _one_reply(step: Step, draw: random.Random, is_whole: bool) -> dict[str, Any]:
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
