"""The parts of a recipe file that hold no templates: columns, variables, pools, schema, sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pairmine.llm.calls import Sampling
from pairmine.llm.recipes.recipe import CANDIDATES, Choice, Count, Draw, Duplicates, Setting, Step
from pairmine.llm.recipes.yaml_nodes import Node, nearest, span
from pairmine.recipes import Input

MOST_IN_POOL = 1000
MOST_IN_GROUP = 100_000

NOT_FOR_DRAWS = (
    *("query_id", "query", "doc_id", "document", "label", "grade", "origin", "rank", "weight", "batch"),
    *("template", "exemplars", "sample", "source_id"),
)
"""Columns of the rows that come out: a draw is recorded as a column of its own name."""

STANDARD_INPUTS: Mapping[str, tuple[Input, ...]] = {
    "documents": (
        Input("id", "identity of the document; a hash of its text where there is none", required=False),
        Input("text", "the document"),
        Input("title", "its title", required=False),
    ),
    "queries": (
        Input("id", "identity of the query; a hash of its text where there is none", required=False),
        Input("text", "the query"),
    ),
    "pairs": (
        Input("query_id", "identity of the query", required=False),
        Input("query", "the query"),
        Input("doc_id", "identity of the document", required=False),
        Input("document", "the document"),
    ),
    "groups": (
        Input("query_id", "identity of the query", required=False),
        Input("query", "the query"),
        Input(CANDIDATES, "the query's rows in the pair set, a list of objects with doc_id, text, label and rank"),
    ),
    "rows": (),
    "nothing": (),
}
"""What each kind of input has before a recipe asks for more."""


def read_inputs(node: Node | None, reads: str) -> tuple[tuple[Input, ...], str | None]:
    """The columns: those that every table of its kind has, then the recipe's own, and which of them is the rest."""
    standard = STANDARD_INPUTS[reads]
    rest = None
    if node is None:
        return standard, rest
    if reads == "nothing":
        raise node.error("the recipe reads nothing; leave inputs out or write reads: rows", node.key_line)
    own = []
    for name, entry in node.named().items():
        if name in (each.name for each in standard):
            raise entry.error(f"every table of {reads} has it; take it out", entry.key_line)
        parts = entry.fields(("meaning",), ("also", "required", "rest"))
        if "rest" in parts and parts["rest"].flag():
            _check_rest(parts["rest"], reads, rest)
            rest = name
        also = tuple(each.text() for each in parts["also"].items()) if "also" in parts else ()
        required = parts["required"].flag() if "required" in parts else True
        own.append(Input(name, parts["meaning"].text(), also, required))
    return (*standard, *own), rest


def _check_rest(node: Node, reads: str, earlier: str | None) -> None:
    if reads != "rows":
        raise node.error(f"is for recipes that read rows, and this one reads {reads}; take it out")
    if earlier is not None:
        raise node.error(f"{earlier} has the rest already; take one of them out")


def read_most(node: Node, reads: str, options: Sequence[Setting]) -> Count:
    """How many rows of a query's group are read, from the first on."""
    if reads != "groups":
        raise node.error(f"is for recipes that read groups, and this one reads {reads}; take it out", node.key_line)
    return read_count(node.fields(("most",))["most"], options, MOST_IN_GROUP)


def read_settings(node: Node | None) -> tuple[Setting, ...]:
    """The variables that a user may set."""
    found = []
    for name, entry in node.named().items() if node else ():
        if not name.isidentifier():
            raise entry.error(f"{name!r} cannot name a variable; use letters, digits and _", entry.key_line)
        parts = entry.fields(("default", "meaning"), ("choices", "low", "high"))
        default = parts["default"].value()
        if not isinstance(default, str | int | float | bool):
            raise parts["default"].error("write a text, a number, true or false")
        choices = tuple(each.text() for each in parts["choices"].items()) if "choices" in parts else ()
        if choices and default not in choices:
            raise parts["default"].error(f"is {default!r}, which is none of the choices; add it to them")
        found.append(Setting(name, default, sentence(parts["meaning"]), choices, *_limits(parts, default)))
    return tuple(found)


def _limits(parts: Mapping[str, Node], default: object) -> tuple[float | None, float | None]:
    """From where to where a number may be set."""
    low, high = (_limit(parts[key], default) if key in parts else None for key in ("low", "high"))
    if low is not None and high is not None and low > high:
        raise parts["low"].error(f"is above high, which is {high:g}; exchange them")
    if isinstance(default, int | float):
        is_low = low is not None and default < low
        if is_low or (high is not None and default > high):
            raise parts["default"].error(f"is {default:g}; give a number {span(low, high)}")
    return low, high


def _limit(node: Node, default: object) -> float:
    if isinstance(default, bool | str):
        raise node.error("is for numbers, and the default is none; take it out", node.key_line)
    return node.number() if isinstance(default, float) else node.whole(-(10**9), 10**9)


def read_count(node: Node, options: Sequence[Setting], most: int) -> Count:
    """A whole number from 1 to `most`, or `options.NAME` for a variable whose default is one."""
    if not node.is_text:
        return Count(node.whole(1, most))
    prefix, _, name = node.text().strip().partition(".")
    known = {each.name: each.default for each in options}
    if prefix != "options" or not name:
        raise node.error(f"is {node.text()!r}; give a whole number from 1 to {most:,}, or options.NAME")
    if name not in known:
        raise node.error(f"options has no {name}; {nearest(name, known) if known else 'it has nothing'}")
    default = known[name]
    if type(default) is not int or not 1 <= default <= most:
        raise node.error(f"options.{name} is {default!r} by default; it must be a whole number from 1 to {most:,}")
    return Count(default, name)


def read_draws(node: Node | None, options: Sequence[Setting], *, has_parts: bool) -> tuple[Draw, ...]:
    """The attributes that are drawn."""
    found = []
    for name, entry in node.named().items() if node else ():
        if not name.isidentifier():
            raise entry.error(f"{name!r} cannot name a draw; use letters, digits and _", entry.key_line)
        if name in NOT_FOR_DRAWS:
            raise entry.error(f"the rows have a column {name} anyway; give the draw another name", entry.key_line)
        parts = entry.fields(("meaning", "choices"), ("open", "several", "per"))
        is_open = "open" in parts and parts["open"].flag()
        choices = read_choices(parts["choices"])
        several = read_count(parts["several"], options, MOST_IN_POOL) if "several" in parts else None
        if several and several.number > len(choices):
            has = f"the pool has {len(choices)}; draw fewer or write more"
            raise parts["several"].error(f"is {several.number}, but {has}")
        is_per_part = "per" in parts and parts["per"].one_of(("row", "part")) == "part"
        if is_per_part and not has_parts:
            raise parts["per"].error("is part, but the recipe makes none; add expand, or write per: row")
        found.append(Draw(name, sentence(parts["meaning"]), choices, is_open, several, is_per_part))
    return tuple(found)


def read_choices(node: Node) -> tuple[Choice, ...]:
    """A pool: `name: text`, or `name: {text: ..., weight: 2}`."""
    found = []
    for name, entry in node.named().items():
        if entry.is_mapping:
            parts = entry.fields(("text",), ("weight",))
            found.append(Choice(name, _plain_words(parts["text"]), _weight(parts.get("weight"))))
        else:
            found.append(Choice(name, _plain_words(entry)))
    if len(found) > MOST_IN_POOL:
        raise node.error(f"has {len(found):,} entries; keep at most {MOST_IN_POOL:,}")
    return tuple(found)


def _weight(node: Node | None) -> float:
    if node is None:
        return 1.0
    weight = node.number(0, 1e6)
    if not weight:
        raise node.error("is 0; give a weight above 0, or take the entry out")
    return weight


def _plain_words(node: Node) -> str:
    """A text that goes into prompts as it stands; a template in it would never be filled."""
    text = sentence(node)
    for opening in ("{{", "{%", "{#"):
        if opening in text:
            raise node.error(f"holds {opening}, but only prompt, system, turns, emits and score are templates")
    return text


def sentence(node: Node) -> str:
    """A text without blanks around it."""
    return node.text().strip()


def read_schema(node: Node) -> dict[str, Any]:
    """A JSON schema of an object, with what structured output wants: all fields required, no others."""
    from pairmine.llm.replies.schema import ReplySchema

    parts = node.entries()
    if "properties" in parts:
        for name, entry in parts["properties"].entries().items():
            if not name.isidentifier():
                raise entry.error(f"{name!r} cannot name a field; use letters, digits and _", entry.key_line)
            in_place(partial(ReplySchema, {"properties": {name: entry.value()}}), entry)
    schema = node.value()
    in_place(lambda: ReplySchema(schema), node)
    whole = {"required": list(schema["properties"]), "additionalProperties": False}
    return {"type": "object", **schema, **{key: value for key, value in whole.items() if key not in schema}}


def in_place(attempt: Callable[[], object], node: Node) -> None:
    """Run code that complains with ValueError, and tell where in the file the cause stands."""
    try:
        attempt()
    except (ValueError, TypeError) as error:
        raise node.error(f"{error}; mend it") from None


def read_sampling(node: Node) -> Sampling:
    """How replies are drawn; what is left out is as `calls.Sampling` has it."""
    parts = node.fields((), ("temperature", "top_p", "max_tokens", "stop", "extra"))
    given: dict[str, Any] = {}
    if "temperature" in parts:
        given["temperature"] = parts["temperature"].number(0, 2)
    if "top_p" in parts:
        given["top_p"] = parts["top_p"].number(0, 1)
    if "max_tokens" in parts:
        given["max_tokens"] = parts["max_tokens"].whole(1, 1_000_000)
    if "stop" in parts:
        given["stop"] = tuple(each.text() for each in parts["stop"].items())
    if "extra" in parts:
        parts["extra"].entries()
        given["extra"] = parts["extra"].value()
    return Sampling(**given)


def read_label(node: Node | None) -> int | str | None:
    """1, 0, a template that tells it from the reply, or None where there is none yet."""
    if node is None or node.is_null:
        return None
    return node.text() if node.is_text else node.whole(0, 1)


def read_duplicates(node: Node, steps: Sequence[Step], shared: str | None) -> Duplicates:
    """Which fields of which steps are compared, written `step.field`: texts or lists of texts that never lack.

    The reply of the step `shared` is that of several parts, which would all be copies of the first.
    """
    parts = node.fields(("fields",), ("threshold",))
    known = [f"{step.name}.{field}" for step in steps for field in step.fields if step.name != shared]
    fields: list[tuple[str, str]] = []
    for each in parts["fields"].items():
        name, _, field = each.one_of(known).partition(".")
        if (name, field) in fields:
            raise each.error(f"names {name}.{field} again; take it out")
        _check_is_text(each, next(step for step in steps if step.name == name), field)
        fields.append((name, field))
    return Duplicates(tuple(fields), parts["threshold"].number(0.01, 1) if "threshold" in parts else 0.8)


def _check_is_text(node: Node, step: Step, name: str) -> None:
    """A field that may be missing, or is no text, would make all replies without it copies of nothing."""
    from pairmine.llm.replies.schema import ReplySchema

    if step.schema is None:
        return
    field = next(field for field in ReplySchema(step.schema).fields if field.name == name)
    if not field.is_required:
        raise node.error(f"{step.name}.{name} may be missing from a reply; make it required, or take it out")
    inner = field.items.kinds if field.kinds == ("array",) and field.items else field.kinds
    if inner != ("string",):
        found = " or ".join(field.kinds)
        raise node.error(f"{step.name}.{name} is of type {found}; only texts and lists of texts are compared")
