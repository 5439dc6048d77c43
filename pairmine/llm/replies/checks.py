"""What a reply must pass to become a row. A reason names the field and the fault, so that reasons can be counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import orjson

from pairmine.llm.calls import Message
from pairmine.llm.replies.chatter import is_announced
from pairmine.llm.replies.language import is_in_another_language, is_not_in, language_named
from pairmine.llm.replies.refusals import is_refusal_in_field
from pairmine.tokens import tokens

_LEAK_RUN = 8
"""Words in a row that a reply shares with its instructions by copying, not by chance."""
_OVERLAP_GRAM = 3
_REMEMBERED = 8000
"""Characters of a message whose words are kept at hand: longer ones hold a document, and are seen once."""

_TEMPLATE = re.compile(r"\{[{%]\s*(?:row|draws|options|instruction|exemplar|replies|reply)\b|<\|\w+\|>|</?think>", re.I)
_TAG = re.compile(r"</?[a-z_]+>", re.IGNORECASE)
_JSON_ORDER = re.compile(
    r"\b(?:valid JSON|JSON object (?:with|that|containing|and nothing)"
    r"|(?:reply|respond|answer|return|output)\w* (?:\w+ ){0,3}(?:in|as|with) (?:a |one )?JSON\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Asked:
    """All that a check may look at besides the value: the row, the draws, the prompt, the other fields."""

    value: Mapping[str, Any]
    row: Mapping[str, Any]
    draws: Mapping[str, str]
    prompt: Sequence[Message]

    def text(self, name: str) -> str | None:
        """The text called `name`: a field of the reply, else a column of the row, or the texts of a list in it."""
        found = self.value.get(name, self.row.get(name))
        if isinstance(found, list) and name not in self.value:
            return "\n".join(_texts(found)) or None
        return found if isinstance(found, str) else None

    @cached_property
    def own_texts(self) -> tuple[str, ...]:
        """Every text of the row; what earlier steps wrote belongs to it where the caller put it there."""
        return tuple(_texts(self.row))


Test = Callable[[Any, Asked], bool]
"""Whether a field's value, with what was asked, fails."""

Faults = dict[str, Test]
"""What can be wrong, and the test that finds it."""


@dataclass(frozen=True)
class Check:
    """`prepare` turns a field's name and the argument in a recipe into faults and their tests.

    It raises ValueError for an argument that means nothing.
    """

    meaning: str
    argument: str
    prepare: Callable[[str, Any], Faults] = field(repr=False)
    is_automatic: bool = False
    """Holds for every text unless the recipe says `false`."""


class FieldChecks:
    """The checks of one step of a recipe: `spec` maps fields to checks to their arguments.

    Raises ValueError, a plain sentence, for a check that is unknown or an argument that means nothing.
    """

    def __init__(self, spec: Mapping[str, Mapping[str, Any]]) -> None:
        self._tests: dict[str, Faults] = {}
        for name, wanted in spec.items():
            if not isinstance(wanted, Mapping):
                raise ValueError(f"{name}: checks are a mapping of a check's name to its argument")
            self._tests[name] = _prepared(name, wanted)

    def problem(
        self, value: Mapping[str, Any], row: Mapping[str, Any], draws: Mapping[str, str], prompt: Sequence[Message]
    ) -> str | None:
        """The first reason against `value`, such as "query: copies text"; None where it passes.

        `row` holds the columns that the prompt was made from, and the replies of earlier steps:
        what a reply shares with them is no leak. `draws` are the texts drawn, by name.
        """
        asked = Asked(value, row, draws, prompt)
        for name, said in value.items():
            if name not in self._tests:
                self._tests[name] = _prepared(name, {})
            for fault, fails in self._tests[name].items():
                if fails(said, asked):
                    return f"{name}: {fault}"
        return None


def _prepared(name: str, wanted: Mapping[str, Any]) -> Faults:
    if unknown := [check for check in wanted if check not in CHECKS]:
        raise ValueError(f"{name}: no check is called {unknown[0]!r}; there are {', '.join(CHECKS)}")
    prepared: Faults = {}
    for check_name, check in CHECKS.items():
        if check.is_automatic:
            if not isinstance(wanted.get(check_name, True), bool):
                raise ValueError(f"{name}: {check_name} is true or false")
            is_on = wanted.get(check_name, True)
        else:
            is_on = check_name in wanted
        if is_on:
            prepared.update(check.prepare(name, wanted.get(check_name, True)))
    return prepared


# Words ------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _words(text: str) -> tuple[str, ...]:
    """The words of `text`; documents come back for each of their fields and samples."""
    return tuple(tokens(text))


_WORD, _HAN, _KANA, _THAI = 12, 6, 3, 2
"""How much a token counts, in twelfths of a word: a Han character half, a kana a quarter, a sign of Thai a sixth.

An English word is 1.5 Han characters, two signs of Japanese or five of Thai in translation (measured); the rest is
lenience, for names. With these, the questions of people about Chinese and Thai articles are found to copy as rarely
as those in English.
"""
_FIRST_UNSPACED = "\u0e00"
"""From this sign on `tokens` may give single signs for words; where all words are below it, each counts as one."""


def _weight(word: str) -> int:
    if len(word) > 1 or word < _FIRST_UNSPACED:
        return _WORD
    if "\u3400" <= word <= "\u9fff" or "\uf900" <= word <= "\ufaff" or word >= "\U00020000":
        return _HAN
    if "\u3000" <= word <= "\u31ff":
        return _KANA
    return _THAI if word <= "\u0eff" or "\u1000" <= word <= "\u109f" or "\u1780" <= word <= "\u17ff" else _WORD


def _is_spaced(words: Sequence[str]) -> bool:
    return max(words, default="") < _FIRST_UNSPACED


def _size(words: Sequence[str]) -> float:
    """The length of a text in words, the same whether its script puts blanks between them or not."""
    return len(words) if _is_spaced(words) else sum(map(_weight, words)) / _WORD


def _runs(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    """The runs of `length` words, one from each place; of signs that are less than a word, so many more."""
    if _is_spaced(words):
        return _grams(words, length)
    return _weighed_runs(words, length * _WORD)


def _grams(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(length)), strict=False)


def _weighed_runs(words: Sequence[str], wanted: int) -> Iterator[tuple[str, ...]]:
    weights = list(map(_weight, words))
    end = weight = 0
    for start, first in enumerate(weights):
        while weight < wanted and end < len(words):
            weight += weights[end]
            end += 1
        if weight < wanted:
            return
        yield tuple(words[start:end])
        weight -= first


def _share_run(text: str, source: str, length: int) -> bool:
    """Whether `text` and `source` have `length` words in a row in common; time is linear in both."""
    runs = set(_runs(_words(text), length))
    return bool(runs) and not runs.isdisjoint(_runs(_words(source), length))


def _containment(text: str, source: str) -> float:
    """The share of the 3-grams of words of `text` that stand in `source`; of shorter texts, of all their words."""
    words = _words(text)
    length = min(_OVERLAP_GRAM, len(words))
    grams = set(_grams(words, length)) if length else set()
    return len(grams.intersection(_grams(_words(source), length))) / len(grams) if grams else 0.0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            # A candidate of a query is its text; an id has no language, and nobody copies it.
            if key != "doc_id":
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _of_text(test: Callable[[str, Asked], bool]) -> Test:
    """A test of texts as a test of values: of each text of a list, of nothing where there is none."""

    def fails(value: Any, asked: Asked) -> bool:
        if type(value) is str:
            return test(value, asked)
        return any(test(text, asked) for text in _texts(value))

    return fails


# Automatic checks -------------------------------------------------------------------------------


_NOTHING = frozenset(("n/a", "null", "undefined"))
"""What models write into a field that they have nothing for; "none" is left to recipes, some of which ask for it."""


def _not_empty(name: str, _: Any) -> Faults:
    def fails(value: Any, asked: Asked) -> bool:
        if not isinstance(value, str):
            return False
        return not any(map(str.isalnum, value)) or (len(value) < 12 and value.strip(' ."').casefold() in _NOTHING)

    return {"empty": fails}


def _refusal(name: str, _: Any) -> Faults:
    def fails(text: str, asked: Asked) -> bool:
        return is_refusal_in_field(text) and not any(map(is_refusal_in_field, asked.own_texts))

    return {"refusal": _of_text(fails)}


def _preamble(name: str, _: Any) -> Faults:
    def fails(text: str, asked: Asked) -> bool:
        return is_announced(text, name) and not any(is_announced(own, name) for own in asked.own_texts)

    return {"preamble": _of_text(fails)}


def _schema_leak(name: str, _: Any) -> Faults:
    names = (f"{{{name}}}", *((name, name.replace("_", " ")) if "_" in name else ()))

    def fails(text: str, asked: Asked) -> bool:
        lowered = text.casefold()
        said = {each for each in names if each in lowered}
        if any(mark in lowered for mark in '{<":'):
            said |= set(_TEMPLATE.findall(lowered))
            said |= {tag for tag in set(_TAG.findall(lowered)) if _is_in_prompt(tag, asked)}
            said.update(each for field in asked.value for each in _keys(field, lowered))
        if "json" in lowered and _JSON_ORDER.search(text):
            said.add("json")
        return any(not any(word in own.casefold() for own in asked.own_texts) for word in said)

    return {"leaks the schema": _of_text(fails)}


def _keys(field: str, text: str) -> list[str]:
    """Where `text` has the name of a field as JSON has it: in quotes, before a colon."""
    return re.findall(rf"[\"'“]{re.escape(field.casefold())}[\"'”]\s*+:", text)


def _is_in_prompt(tag: str, asked: Asked) -> bool:
    """Whether the prompt marks its parts with `tag`; a tag that it lacks is a matter of the text."""
    return any(tag in message["content"].casefold() for message in asked.prompt)


def _leak(name: str, _: Any) -> Faults:
    def fails(text: str, asked: Asked) -> bool:
        words = _words(text)
        if len(words) < _LEAK_RUN:
            return False
        runs = set(_runs(words, _LEAK_RUN))
        told = (_told(message["content"], asked) for message in asked.prompt if message["role"] != "assistant")
        shared = {run for each in told for run in runs & each}
        for own in asked.own_texts if shared else ():
            shared.difference_update(_runs(_words(own), _LEAK_RUN))
        return bool(shared)

    return {"leaks the prompt": _of_text(fails)}


def _told(content: str, asked: Asked) -> frozenset[tuple[str, ...]]:
    """The runs of words of a message less the row's own texts, so that what is left is the same for many rows."""
    for own in map(str.strip, asked.own_texts):
        if len(own) > 1 and own in content:
            content = content.replace(own, " \n")
    return _told_runs(content) if len(content) <= _REMEMBERED else _told_runs.__wrapped__(content)


@lru_cache(maxsize=512)
def _told_runs(content: str) -> frozenset[tuple[str, ...]]:
    return frozenset(_runs(tokens(content), _LEAK_RUN))


def _exemplar(name: str, _: Any) -> Faults:
    def fails(text: str, asked: Asked) -> bool:
        said = [message["content"] for message in asked.prompt if message["role"] == "assistant"]
        if not said:
            return False
        words = _words(text)
        return any(words in _exemplar_texts(content) for content in said)

    return {"copies an exemplar": _of_text(fails)}


@lru_cache(maxsize=512)
def _exemplar_texts(content: str) -> frozenset[tuple[str, ...]]:
    """The words of an exemplar's reply: of each field where it is JSON, else of all of it; two words are no copy."""
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        said = content
    return frozenset(words for text in _texts(said) if len(words := tuple(tokens(text))) > 2)


# Named checks -----------------------------------------------------------------------------------


def _interval(name: str, check: str, argument: Any) -> tuple[float, float]:
    is_pair = isinstance(argument, list | tuple) and len(argument) == 2
    if not is_pair or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in argument):
        raise ValueError(f"{name}: {check} is [least, most], not {argument!r}")
    least, most = argument
    if least > most:
        raise ValueError(f"{name}: {check} has its least, {least}, above its most, {most}")
    return least, most


def _settings(name: str, check: str, argument: Any, wanted: Mapping[str, str]) -> Mapping[str, Any]:
    """`argument` as a mapping with exactly the keys of `wanted`, which says what each is."""
    if not isinstance(argument, Mapping) or set(argument) != set(wanted):
        shown = ", ".join(f"{key}: {what}" for key, what in wanted.items())
        raise ValueError(f"{name}: {check} is {{{shown}}}, not {argument!r}")
    if not isinstance(argument["field"], str):
        raise ValueError(f"{name}: {check}: field is a name, not {argument['field']!r}")
    return argument


def _words_between(name: str, argument: Any) -> Faults:
    least, most = _interval(name, "words", argument)
    return {
        # A sign may be a whole word: in doubt a text is neither too short nor too long.
        "too short": _of_text(lambda text, _: len(_words(text)) < least),
        "too long": _of_text(lambda text, _: len(_words(text)) > most and _size(_words(text)) > most),
    }


def _no_copy_of(name: str, argument: Any) -> Faults:
    given = _settings(name, "no_copy_of", argument, {"field": "a field or column", "run": "words in a row"})
    source, run = given["field"], given["run"]
    if not isinstance(run, int) or isinstance(run, bool) or run < 1:
        raise ValueError(f"{name}: no_copy_of: run is a number of words from 1, not {run!r}")
    return {f"copies {source}": _of_text(lambda text, asked: _share_run(text, asked.text(source) or "", run))}


def _differs_from(name: str, argument: Any) -> Faults:
    if not isinstance(argument, str) or argument == name:
        raise ValueError(f"{name}: differs_from is the name of another field or column, not {argument!r}")

    def fails(text: str, asked: Asked) -> bool:
        other = asked.text(argument)
        return other is not None and _words(text) == _words(other)

    return {f"same as {argument}": _of_text(fails)}


def _overlap_below(name: str, argument: Any) -> Faults:
    given = _settings(name, "overlap_below", argument, {"field": "a field or column", "threshold": "0 to 1"})
    source, threshold = given["field"], given["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise ValueError(f"{name}: overlap_below: threshold is above 0 and at most 1, not {threshold!r}")
    return {
        f"overlaps {source}": _of_text(lambda text, asked: _containment(text, asked.text(source) or "") >= threshold)
    }


def _language_of(name: str, argument: Any) -> Faults:
    sources = [argument] if isinstance(argument, str) else argument
    if not isinstance(sources, list) or not sources or not all(isinstance(source, str) for source in sources):
        raise ValueError(f"{name}: language_of is a field, column or draw, or a list of them, not {argument!r}")

    def fails(text: str, asked: Asked) -> bool:
        for source in sources:
            if source in asked.draws:
                if code := language_named(asked.draws[source]):
                    return is_not_in(text, code)
            elif reference := asked.text(source):
                return is_in_another_language(text, reference)
        return False

    return {"wrong language": _of_text(fails)}


def _mentions_none(name: str, argument: Any) -> Faults:
    if not isinstance(argument, list) or not argument or not all(isinstance(phrase, str) for phrase in argument):
        raise ValueError(f"{name}: mentions_none is a list of phrases, not {argument!r}")
    phrases = [" " + " ".join(tokens(phrase)) + " " for phrase in argument]
    if any(not phrase.strip() for phrase in phrases):
        raise ValueError(f"{name}: mentions_none has a phrase without a word in it")

    def fails(text: str, _: Asked) -> bool:
        spaced = f" {' '.join(_words(text))} "
        return any(phrase in spaced for phrase in phrases)

    return {"mentions what it must not": _of_text(fails)}


def _one_line(name: str, argument: Any) -> Faults:
    if not isinstance(argument, bool):
        raise ValueError(f"{name}: one_line is true or false")
    return {"several lines": _of_text(lambda text, _: argument and len(text.strip().splitlines()) > 1)}


def _range(name: str, argument: Any) -> Faults:
    least, most = _interval(name, "range", argument)
    return {"out of range": lambda value, _: isinstance(value, int | float) and not least <= value <= most}


CHECKS: dict[str, Check] = {
    "not_empty": Check("has a letter or digit", "false to switch it off", _not_empty, True),
    "refusal": Check("does not decline or ask back", "false to switch it off", _refusal, True),
    "preamble": Check('does not announce itself ("Here is the query: ...")', "false to switch it off", _preamble, True),
    "schema_leak": Check(
        "speaks of none of its fields, of no JSON to write, of no template",
        "false to switch it off",
        _schema_leak,
        True,
    ),
    "leak": Check(f"shares no {_LEAK_RUN} words in a row with the instructions", "false to switch it off", _leak, True),
    "exemplar": Check("is not an exemplar's reply over again", "false to switch it off", _exemplar, True),
    "words": Check("has a number of words in this range", "[least, most]", _words_between),
    "no_copy_of": Check("shares no run of words with a text", "{field: NAME, run: WORDS}", _no_copy_of),
    "differs_from": Check("has other words than a text", "NAME", _differs_from),
    "overlap_below": Check(
        "has less than this share of its 3-grams in a text", "{field: NAME, threshold: 0..1}", _overlap_below
    ),
    "language_of": Check("is in the language of a text, or that a draw names", "NAME or [NAMES]", _language_of),
    "mentions_none": Check("has none of these phrases", "[PHRASES]", _mentions_none),
    "one_line": Check("is a single line", "true", _one_line),
    "range": Check("is a number in this range", "[least, most]", _range),
}
