"""A raw reply becomes the object that its recipe asked for, or the reason why it cannot.

A repair changes how something is written, never what: each has a name that is counted, and a
field that is not whole in the raw text is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from pairmine.llm.calls import Reply
from pairmine.llm.replies.chatter import has_several_answers, without_chatter, without_thinking
from pairmine.llm.replies.loose_json import Found, objects
from pairmine.llm.replies.refusals import is_refusal
from pairmine.llm.replies.schema import ReplySchema

_NOTHING_BUT_FENCE = re.compile(r"(?:\s|```[\w-]*|,)*")
_LIST_AROUND = re.compile(r"(?:\s|```[\w-]*|,|\[|\])*")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply says: `value` fits the schema, or `problem` is the reason for rejecting it; never both.

    `repairs` names what was mended on the way ("code fence", "trailing comma"), each once.
    """

    value: dict[str, Any] | None
    repairs: tuple[str, ...] = ()
    problem: str | None = None


class ReplyReader:
    """Reads the replies to calls with one schema; None stands for plain text, read as `{"text": ...}`.

    Raises ValueError for a schema that it could not hold replies to.
    """

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema = None if schema is None else ReplySchema(schema)

    def read(self, reply: Reply) -> Parsed:
        """The reply's value, mended where there is one way to do it; else the reason why there is none.

        Of a list of several whole replies the first is taken; of several with prose between them
        none is, since the first may be a draft of the last.
        """
        if self._schema is None:
            return _read_text(reply)
        value = _loaded(reply.text)
        if type(value) is dict and self._schema.problem(value) is None:
            if not self._schema.has_extras(value):
                return Parsed(value)
            return Parsed(self._schema.without_extras(value), ("extra field",))
        return _read_loosely(self._schema, reply)


def _loaded(text: str) -> Any:
    """The JSON value that `text` is; None where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def read_reply(reply: Reply, schema: Mapping[str, Any] | None) -> Parsed:
    """`ReplyReader(schema).read(reply)`, for a single reply."""
    return ReplyReader(schema).read(reply)


def _read_loosely(schema: ReplySchema, reply: Reply) -> Parsed:
    text = _clean_unicode(reply.text)
    text, repairs, is_thinking = without_thinking(text)
    found = objects(text, may_be_cut=reply.finish_reason == "length")
    if not found and (inside := _inside_string(text)):
        text, found = inside, objects(inside)
        repairs.append("JSON inside a string")
    if is_thinking and not (found and found[-1].end == len(text)):
        return Parsed(None, (), "truncated" if reply.finish_reason == "length" else "thoughts without an answer")
    fitting, problems = _fit_all(schema, found)
    if fitting:
        return _choose(text, fitting, repairs)
    if not any(problem.startswith("missing") for problem in problems):
        labelled = _read_labels(schema, text, reply) or _read_bare(schema, text)
        if labelled is not None:
            return Parsed(labelled.value, (*repairs, *labelled.repairs), labelled.problem)
    return Parsed(None, (), _why_not(schema, reply, text, found, problems))


def _clean_unicode(text: str) -> str:
    """`text` without a byte order mark, and with the halves of characters, which no file can hold, marked as broken."""
    return text.encode("utf-8", "replace").decode().strip("\ufeff \t\r\n")


def _inside_string(text: str) -> str:
    inside = _loaded(text)
    return inside if isinstance(inside, str) else ""


_Fitting = tuple[Found, dict[str, Any], list[str]]


def _fit_all(schema: ReplySchema, found: list[Found]) -> tuple[list[_Fitting], list[str]]:
    """The objects that fit, each with its value and repairs, and the reasons of those that do not."""
    fitting: list[_Fitting] = []
    problems: list[str] = []
    for candidate in found:
        repairs = list(candidate.repairs)
        value = schema.fit(_first_of_list(candidate.value, repairs), repairs)
        if isinstance(value, str):
            problems.append("truncated" if candidate.is_cut else value)
        else:
            fitting.append((candidate, value, [*repairs, *(["cut after the last field"] if candidate.is_cut else [])]))
    return fitting, problems


def _first_of_list(value: dict[str, Any], repairs: list[str]) -> dict[str, Any]:
    """`{"results": [{...}, {...}]}`: the first, as of a bare list."""
    if len(value) != 1:
        return value
    [inner] = value.values()
    if isinstance(inner, list) and len(inner) > 1 and all(isinstance(item, dict) for item in inner):
        repairs += ["nested fields", "first of several replies"]
        return inner[0]
    return value


def _choose(text: str, fitting: list[_Fitting], repairs: list[str]) -> Parsed:
    first, value, mended = fitting[0]
    if any(other != value for _, other, _ in fitting[1:]):
        between = (text[one.end : two.start] for (one, _, _), (two, _, _) in pairwise(fitting))
        if not all(_LIST_AROUND.fullmatch(gap) for gap in between):
            return Parsed(None, (), "several replies")
        mended.append("first of several replies")
    around = text[: first.start] + text[fitting[-1][0].end :]
    return Parsed(value, tuple(dict.fromkeys([*repairs, *_surroundings(around), *mended])))


def _surroundings(around: str) -> list[str]:
    repairs = ["code fence"] if "```" in around else []
    if not _LIST_AROUND.fullmatch(around):
        repairs.append("text around the JSON")
    elif not _NOTHING_BUT_FENCE.fullmatch(around):
        repairs.append("list around the JSON")
    return repairs


def _why_not(schema: ReplySchema, reply: Reply, text: str, found: list[Found], problems: list[str]) -> str:
    if reply.finish_reason in ("content_filter", "refusal"):
        return reply.finish_reason.replace("_", " ")
    if reply.finish_reason == "length" or "truncated" in problems:
        return "truncated"
    if not text:
        return "empty"
    refuses = any(isinstance(said, str) and is_refusal(said) for each in found for said in each.value.values())
    if refuses or (not found and is_refusal(text)):
        return "refusal"
    if problems:
        return _nearest(schema, found, problems)
    return "broken JSON" if any(f'"{field.name}"' in text for field in schema.fields) else "no JSON"


def _nearest(schema: ReplySchema, found: list[Found], problems: list[str]) -> str:
    """The reason of the object that comes closest; braces that hold none of the fields are no reply at all."""
    known = {field.name for field in schema.fields}
    hits = [len(known.intersection(each.value)) for each in found]
    best = max(range(len(hits)), key=hits.__getitem__)
    return problems[best]


def _read_labels(schema: ReplySchema, text: str, reply: Reply) -> Parsed | None:
    """Lines of "Query: ..." and "Hard negative: ...": read when each required field is there once."""
    parts = _labelled_parts(schema, text)
    if not parts or len(parts) != len({name for name, _ in parts}):
        return None
    if not set(schema.required) <= {name for name, _ in parts}:
        return None
    if reply.finish_reason == "length":
        return Parsed(None, (), "truncated")
    repairs = ["labelled lines"]
    value = schema.fit({name: without_chatter(part)[0] for name, part in parts}, repairs)
    return Parsed(None, (), value) if isinstance(value, str) else Parsed(value, tuple(dict.fromkeys(repairs)))


def _read_bare(schema: ReplySchema, text: str) -> Parsed | None:
    """A number alone, where the only required field is one."""
    if len(schema.required) != 1 or not text[:1].isdigit():
        return None
    value = schema.fit({schema.required[0]: text}, [])
    is_number = isinstance(value, dict) and type(value[schema.required[0]]) in (int, float)
    return Parsed(value, ("bare value",)) if isinstance(value, dict) and is_number else None


def _labelled_parts(schema: ReplySchema, text: str) -> list[tuple[str, str]]:
    """(field, text up to the next label, also one that is no field's, or blank line) in order."""
    labels = {re.sub(r"[\W_]+", "", field.name).casefold(): field.name for field in schema.fields}
    words = "|".join(r"[\s_-]?".join(map(re.escape, field.name.split("_"))) for field in schema.fields)
    pattern = re.compile(
        rf"^[ \t>*_#-]*+(?:\d[.)]\s*)?[*_]*({words})[*_]*\s*[:：][*_]*[^\S\n]*", re.IGNORECASE | re.MULTILINE
    )
    matches = list(pattern.finditer(text))
    ends = [*(match.start() for match in matches[1:]), len(text)][: len(matches)]
    parts = [text[match.end() : end].strip() for match, end in zip(matches, ends, strict=True)]
    names = [labels[re.sub(r"[\W_]+", "", match[1]).casefold()] for match in matches]
    return [(name, _NEXT_PART.split(part)[0]) for name, part in zip(names, parts, strict=True)]


_NEXT_PART = re.compile(r"\n[^\S\n]*\n|\n[ \t>*_#-]*+(?:\d[.)]\s*)?[*_]*[A-Z][a-z]+(?:[ _-][a-z]+)?[*_]*[:：][*_]*\s")
"""A blank line, or a line that opens with a label such as "Explanation: "."""


def _read_text(reply: Reply) -> Parsed:
    text, repairs, is_thinking = without_thinking(_clean_unicode(reply.text))
    if reply.finish_reason in ("length", "content_filter", "refusal"):
        return Parsed(None, (), {"length": "truncated"}.get(reply.finish_reason, reply.finish_reason.replace("_", " ")))
    if is_thinking:
        return Parsed(None, (), "thoughts without an answer")
    text, stripped = without_chatter(text)
    if not text:
        return Parsed(None, (), "empty")
    if is_refusal(text) or is_refusal(reply.text):
        return Parsed(None, (), "refusal")
    if has_several_answers(text):
        return Parsed(None, (), "several answers")
    return Parsed({"text": text}, (*repairs, *stripped))
