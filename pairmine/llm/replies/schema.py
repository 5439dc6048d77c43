"""The JSON schema of a reply, compiled: does an object fit it, and can a near miss be made to fit?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Problem = str | None
_Kind = Callable[[Any], bool]

_KINDS: dict[str, _Kind] = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": lambda value: type(value) is int or (type(value) is float and math.isfinite(value)),
    "boolean": lambda value: type(value) is bool,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
    "null": lambda value: value is None,
}
_LIMITS = {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
_KNOWN = _LIMITS | {"type", "enum", "items", "properties", "required", "additionalProperties"}
_ONLY_READ_BY_MODELS = {"title", "description", "examples", "default", "$schema"}

_OUT_OF = re.compile(r"\s*([-+]?\d+(?:[.,]\d+)?)\s*(?:(?:/|out of|von|sur|de)\s*(\d+(?:\.\d+)?))?\s*")
_YES_NO = {"true": True, "yes": True, "false": False, "no": False}
_WRAPPERS = frozenset({"text", "value", "content", "string", "answer", "result", "output"})
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Field:
    """One property: what it must be, and the reason to give where it is not."""

    name: str
    kinds: tuple[str, ...]
    is_required: bool
    limits: Mapping[str, float]
    enum: tuple[Any, ...]
    items: Field | None
    inner: ReplySchema | None

    @property
    def may_be_left_out(self) -> bool:
        """Whether leaving it out can only mean null."""
        return self.is_required and "null" in self.kinds

    def problem(self, value: Any) -> Problem:
        """Why `value` does not fit; None where it does."""
        if not any(_KINDS[kind](value) for kind in self.kinds):
            return f"wrong type of field {self.name}"
        if self.enum and value not in self.enum:
            return f"{self.name}: not one of the choices"
        return (self._limit_problem(value) if self.limits else None) or self._inner_problem(value)

    def _limit_problem(self, value: Any) -> Problem:
        if type(value) in (str, list):
            least, most = ("minLength", "maxLength") if type(value) is str else ("minItems", "maxItems")
            if len(value) < self.limits.get(least, 0):
                return f"{self.name}: too short"
            return f"{self.name}: too long" if len(value) > self.limits.get(most, math.inf) else None
        if type(value) in (int, float):
            fits = self.limits.get("minimum", -math.inf) <= value <= self.limits.get("maximum", math.inf)
            return None if fits else f"{self.name}: out of range"
        return None

    def _inner_problem(self, value: Any) -> Problem:
        if self.items is not None and type(value) is list:
            return next((problem for item in value if (problem := self.items.problem(item))), None)
        return self.inner.problem(value) if self.inner is not None and type(value) is dict else None

    def coerced(self, value: Any) -> tuple[Any, str]:
        """`value` made to fit, with the name of the repair; as it was, with "", where that would be a guess."""
        for repair, mend in _MENDS.items():
            mended = mend(self, value)
            if mended is not None and self.problem(mended) is None:
                return mended, repair
        return value, ""


class ReplySchema:
    """A JSON schema of an object, compiled.

    Known are type, properties, required, enum, items, additionalProperties, minimum, maximum,
    minLength, maxLength, minItems and maxItems. Raises ValueError for any other keyword, since a
    rule that is not looked at would be a rule that does not hold.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        _refuse_unknown(schema, "the reply")
        if schema.get("type", "object") != "object" or not isinstance(schema.get("properties"), Mapping):
            raise ValueError('the schema of a reply is {"type": "object", "properties": {...}}')
        properties = schema["properties"]
        required = list(schema.get("required", properties))
        if unknown := [name for name in required if name not in properties]:
            raise ValueError(f'"required" names {unknown[0]}, which is not among the properties')
        self.fields = tuple(_field(name, of, name in required) for name, of in properties.items())
        self.required = tuple(field.name for field in self.fields if field.is_required and "null" not in field.kinds)
        self.keeps_extras = bool(schema.get("additionalProperties", False))
        self._names = frozenset(properties)

    def problem(self, value: Mapping[str, Any]) -> Problem:
        """Why `value` does not fit; None where it does. Further fields are no problem, a missing one is."""
        for field in self.fields:
            if field.name in value:
                if problem := field.problem(value[field.name]):
                    return problem
            elif field.is_required:
                return f"missing field {field.name}"
        return None

    def has_extras(self, value: Mapping[str, Any]) -> bool:
        """Whether `value` has fields that the schema does not ask for and does not allow."""
        return not self.keeps_extras and not self._names.issuperset(value)

    def without_extras(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that the schema names, in its order."""
        return {field.name: value[field.name] for field in self.fields if field.name in value}

    def fit(self, value: Mapping[str, Any], repairs: list[str]) -> dict[str, Any] | str:
        """`value` made to fit, each repair added to `repairs`; else the reason why it cannot be.

        Field names differ in case and blanks, fields sit deeper than they should, numbers come as
        text: each is mended only where there is one way to do it. A field that may be null and was
        left out is null: servers that hold replies to a schema want every field to be required.
        """
        if self.is_echo(value):
            return "schema instead of a reply"
        found = self._gather(value, repairs)
        for field in self.fields:
            if field.name not in found or field.problem(found[field.name]) is None:
                continue
            found[field.name], repair = field.coerced(found[field.name])
            if repair:
                repairs.append(repair)
            elif not field.is_required:
                del found[field.name]
                repairs.append("unusable optional field")
        left_out = [field.name for field in self.fields if field.may_be_left_out and field.name not in found]
        if left_out and (found or self.required):
            found |= dict.fromkeys(left_out)
            repairs.append("field left out")
        return self.problem(found) or found

    def is_echo(self, value: Mapping[str, Any]) -> bool:
        """Whether `value` is a JSON schema itself, which small models send back."""
        properties = value.get("properties")
        inner = list(properties.values()) if isinstance(properties, dict) else list(value.values())
        return bool(inner) and all(isinstance(of, dict) and isinstance(of.get("type"), str) for of in inner)

    def _gather(self, value: Mapping[str, Any], repairs: list[str]) -> dict[str, Any]:
        places = _places(value)
        found: dict[str, Any] = {}
        for field in self.fields:
            exact = value.get(field.name)
            at = [place for place in places if place[1] == _plain(field.name) and place[2] is not None]
            if exact is None and len(at) == 1:
                depth, _, exact = at[0]
                repairs.append("nested fields" if depth else "field name")
            if exact is not None or ("null" in field.kinds and field.name in value):
                found[field.name] = exact
        if self.keeps_extras:
            return {**value, **found}
        if not any("nested" in repair for repair in repairs) and len(value) > len(found):
            repairs.append("extra field")
        return found


def _refuse_unknown(schema: Mapping[str, Any], where: str) -> None:
    if not isinstance(schema, Mapping):
        raise ValueError(f"the schema of {where} is not a mapping")
    if unknown := [word for word in schema if word not in _KNOWN and word not in _ONLY_READ_BY_MODELS]:
        raise ValueError(f"the schema of {where} uses {unknown[0]}; known are {', '.join(sorted(_KNOWN))}")


def _field(name: str, schema: Mapping[str, Any], is_required: bool) -> Field:
    _refuse_unknown(schema, name)
    enum = tuple(schema.get("enum", ()))
    given = schema.get("type") or ("string" if all(isinstance(choice, str) for choice in enum) else list(_KINDS))
    kinds = (given,) if isinstance(given, str) else tuple(given)
    if unknown := [kind for kind in kinds if kind not in _KINDS]:
        raise ValueError(f"the schema of {name} has type {unknown[0]}; known are {', '.join(_KINDS)}")
    limits = {word: schema[word] for word in schema if word in _LIMITS}
    if wrong := [
        word for word, limit in limits.items() if isinstance(limit, bool) or not isinstance(limit, int | float)
    ]:
        raise ValueError(f"the schema of {name}: {wrong[0]} is not a number")
    items = _field(name, schema["items"], True) if "items" in schema else None
    inner = ReplySchema(schema) if "properties" in schema else None
    return Field(name, kinds, is_required, limits, enum, items, inner)


def _plain(name: str) -> str:
    """A field's name without case, blanks, hyphens and underscores: "Hard Negative" is hard_negative."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _places(value: Mapping[str, Any], depth: int = 0) -> list[tuple[int, str, Any]]:
    """Every field of `value` and of the objects inside it: (depth, plain name, value)."""
    places: list[tuple[int, str, Any]] = []
    for name, inner in value.items():
        places.append((depth, _plain(str(name)), inner))
        if isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]
        if isinstance(inner, dict) and depth < _DEEPEST:
            places.extend(_places(inner, depth + 1))
    return places


def _unwrapped(field: Field, value: Any) -> Any:
    """`{"query": {"text": "..."}}` and `{"query": ["..."]}` hold one value and no doubt."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    if isinstance(value, dict) and len(value) == 1:
        [(name, inner)] = value.items()
        return inner if name in _WRAPPERS or _plain(name) == _plain(field.name) else None
    return None


def _number(field: Field, value: Any) -> float | int | None:
    """The number in "4", "4,5" or "4/5"; a scale that is not the schema's own is no number of ours."""
    match = _OUT_OF.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[2] and float(match[2]) != field.limits.get("maximum")):
        return None
    number = float(match[1].replace(",", "."))
    return int(number) if number.is_integer() else number


def _text(field: Field, value: Any) -> str | None:
    return str(value) if type(value) in (int, float) and "string" in field.kinds else None


def _truth(field: Field, value: Any) -> bool | None:
    return _YES_NO.get(value.strip().casefold()) if isinstance(value, str) else None


def _choice(field: Field, value: Any) -> Any:
    if not isinstance(value, str):
        return None
    meant = [choice for choice in field.enum if isinstance(choice, str) and _plain(choice) == _plain(value)]
    return meant[0] if len(meant) == 1 else None


_MENDS: dict[str, Callable[[Field, Any], Any]] = {
    "nested value": _unwrapped,
    "number as text": _number,
    "text as a number": _text,
    "boolean as text": _truth,
    "choice in other letters": _choice,
}
