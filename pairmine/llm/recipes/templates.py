"""Jinja as recipes have it: sandboxed, strict about what it does not know, and without a loader.

What a template may read is a `Scope`. It is checked when the recipe is read, so that no run fails
at its thousandth row over a misspelt name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson

from pairmine.identity import content_id
from pairmine.llm.recipes.bounds import at_hand, bounded_filters, check_call, check_operator, check_result
from pairmine.llm.recipes.budget import take, within_budget
from pairmine.llm.recipes.costs import (
    CALLED,
    check_is_data,
    counted_filters,
    counted_tests,
    metered,
    shown,
    steps_for,
)
from pairmine.llm.recipes.yaml_nodes import nearest

Scope = Mapping[str, "Scope | None"]
"""The variables of a template. Each maps to what can be read from it with a dot, or None where anything can."""

_REMEMBERED = 256
"""Compiled templates at hand: each is compiled when it is read, tried and used."""


_OF_LOOPS = frozenset({"_loop_vars", "_block_vars"})
"""What Jinja adds to every call in a loop or block, for functions that get its context."""


class TemplateProblem(Exception):
    """What is wrong with a template, and on which of its lines, from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


class Use(NamedTuple):
    """A variable of the scope that a template reads, with the names after its dots, such as ("row", "text")."""

    path: tuple[str, ...]
    line: int


def uses(source: str, scope: Scope, *, expression: bool = False) -> tuple[Use, ...]:
    """Every use of a variable in the template, or in a bare `expression`.

    Raises TemplateProblem where it is no template, or reads what is not in `scope`.
    """
    from jinja2 import TemplateSyntaxError, meta

    env = environment()
    try:
        tree = env.parse("{{ (" + source + ") }}" if expression else source)
        _refuse(tree)
        read = meta.find_undeclared_variables(tree)
        (compiled_expression if expression else compiled)(source)
    except TemplateSyntaxError as error:
        raise TemplateProblem(f"{str(error.message).rstrip('.')}; mend the template", error.lineno) from None
    except mistakes() as error:
        raise TemplateProblem(f"{said(error)}; mend the template") from None
    for name in sorted(read - {*scope, *env.globals}):
        raise TemplateProblem(f"unknown variable {name}; {nearest(name, scope)}", _line_of(tree, name))
    found = tuple(_uses(tree, set(scope) - _assigned(tree)))
    for use in found:
        _check(use, scope)
    return found


@cache
def mistakes() -> tuple[type[Exception], ...]:
    """What a template may raise through no fault of ours."""
    from jinja2 import TemplateError

    values = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError)
    # What is nested too deeply is refused by each version of Python in its own way.
    return (TemplateError, *values, MemoryError, RecursionError, SyntaxError)


def said(error: BaseException) -> str:
    """What an error says, or what it is where it says nothing."""
    return str(error) or type(error).__name__


@lru_cache(_REMEMBERED)
def compiled(source: str) -> Callable[[Mapping[str, Any]], str]:
    """A function from variables to text. It raises what Jinja and the values raise."""
    render: Callable[[Mapping[str, Any]], str] = environment().from_string(source).render
    return within_budget(render)


@lru_cache(_REMEMBERED)
def compiled_expression(source: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function from variables to the value of an expression."""
    evaluate: Callable[[Mapping[str, Any]], Any] = environment().compile_expression(source, undefined_to_none=False)
    return within_budget(evaluate)


def lookup(source: str) -> tuple[str, ...] | None:
    """The path of a template that is nothing but one variable: `{{ row.text }}` gives ("row", "text")."""
    from jinja2 import nodes

    body = environment().parse(source).body
    if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
        return _path(body[0].nodes[0])
    return None


def as_json(value: Any) -> str:
    """The value as a model would write it in JSON: `"` and line breaks escaped, other letters as they are."""
    return orjson.dumps(value).decode()


def text_of(value: Any) -> str:
    """A column as text, null as "". Raises TypeError for a list or an object, which would be shown as Python has it."""
    if isinstance(value, list | dict):
        raise TypeError(f"holds {'a list' if isinstance(value, list) else 'an object'} where a text belongs")
    return "" if value is None else str(value)


def first_words(text: Any, count: int) -> str:
    """The text up to its `count`-th word, as it is where it has no more; 0 stands for no limit.

    >>> first_words("One, two three.", 2)
    'One, two'
    """
    whole = text_of(text)
    # A word has at least one character, so that nothing need be counted in a text this short.
    if count <= 0 or len(whole) <= count:
        return whole
    from pairmine.text import has_unspaced, word_pieces

    if not has_unspaced(whole) and len(whole.split(None, count)) <= count:
        return whole
    pieces, glue = word_pieces(whole)
    return whole if len(pieces) <= count else glue.join(pieces[:count]).rstrip()


_SIGN = r"(?:(?<![\w.,])[-+\u2212])?"
_NUMBER = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}(?:,\d{{3}})+(?![\d,])(?:\.\d+)?|{_SIGN}\d+(?:[.,]\d+)?")
_GROUPED = re.compile(r"\D?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")


def number(text: Any) -> int | float:
    """The first number in a text. Raises ValueError where there is none.

    >>> number("I would say 4.5 out of 5."), number("3"), number("about 1,200"), number("4,5")
    (4.5, 3, 1200, 4.5)
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return text
    found = _NUMBER.search("" if text is None else str(text))
    if found is None:
        raise ValueError("there is no number")
    written = found[0].replace("\u2212", "-")
    value = float(written.replace(",", "" if _GROUPED.fullmatch(written) else "."))
    return int(value) if value.is_integer() else value


def _mask() -> Callable[..., str]:
    """The filter mask(RATE): the text with so many of its words replaced by gaps, which each row and sample draws."""
    from jinja2 import pass_context

    @pass_context
    def mask(context: Any, text: Any, rate: float) -> str:
        from pairmine.llm.recipes.masking import masked

        if "seed" not in context:
            raise ValueError("mask draws for each row, and so is for prompts alone")
        return masked(text, rate, context["seed"])

    return mask


@cache
def environment() -> Any:
    """The one environment of all templates; making it takes longer than compiling a template."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})
        intercepted_unops = frozenset({"+", "-"})

        def _generate(self, source: Any, *args: Any, **kwargs: Any) -> str:
            # Jinja works out what is constant when it compiles.
            make = super()._generate
            return str(within_budget(lambda _: make(metered(source, self), *args, **kwargs))({}))

        def getitem(self, obj: Any, argument: Any) -> Any:
            if isinstance(argument, tuple):
                take(steps_for(argument))  # its hash
            if isinstance(argument, str) and argument.startswith(CALLED):
                return super().getitem(obj, argument.removeprefix(CALLED))
            found = super().getitem(obj, argument)
            check_is_data(found)
            return found

        def getattr(self, obj: Any, attribute: str) -> Any:
            # A dot reads the entry of a mapping, never a method of it: columns are called "items" or "values".
            is_called = attribute.startswith(CALLED)
            attribute = attribute.removeprefix(CALLED)
            if isinstance(obj, dict):
                try:
                    return obj[attribute]
                except KeyError:
                    return self.undefined(obj=obj, name=attribute)
            found = super().getattr(obj, attribute)
            if not is_called:
                check_is_data(found)
            return found

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            check_operator(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def call_unop(self, context: Any, operator: str, arg: Any) -> Any:
            take(steps_for(arg) - 1)
            return super().call_unop(context, operator, arg)

        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
            # The names are Jinja's, so that a macro may have arguments called self and context.
            own = at_hand(args)
            check_call(__obj, own, {name: value for name, value in kwargs.items() if name not in _OF_LOOPS})
            made = super().call(__context, __obj, *own, **kwargs)
            check_result(__obj, made)
            return made

    env = Environment(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
        auto_reload=False,
    )
    # A template gives the same text for the same row: no random words, no shuffling.
    env.filters.pop("random")
    env.filters.pop("urlize")  # links are of no use to a model, and finding them takes the square of a text's length
    own = {"content_id": content_id, "first_words": first_words, "json": as_json, "mask": _mask(), "number": number}
    filters: dict[str, Any] = env.filters
    tests: dict[str, Any] = env.tests
    bounded = bounded_filters(filters)
    known: dict[str, Any] = {**filters, **bounded, **own}
    filters.update(counted_filters(known, bounded))
    tests.update(counted_tests(tests))
    env.globals = {"range": env.globals["range"]}
    return env


def _refuse(tree: Any) -> None:
    """What Jinja has and a recipe does not, and what Jinja would only miss at the row that comes upon it."""
    from jinja2 import nodes

    env = environment()
    for kind, known_ones in ((nodes.Filter, env.filters), (nodes.Test, env.tests)):
        for node in tree.find_all(kind):
            if node.name not in known_ones:
                what = kind.__name__.lower()
                names = [name for name in known_ones if not name.startswith(" ")]
                raise TemplateProblem(f"no {what} {node.name}; {nearest(node.name, names)}", node.lineno)
    for node in tree.find_all(nodes.Getattr):
        if node.attr.startswith("_"):
            raise TemplateProblem(f"{node.attr} is out of reach; read what the variables hold", node.lineno)
    for node in tree.find_all(nodes.For):
        if node.recursive:
            raise TemplateProblem("a loop cannot call itself; write a loop for each level", node.lineno)
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateProblem("a recipe stands alone; write the text out instead of loading it", node.lineno)


def _assigned(tree: Any) -> set[str]:
    """Names that the template itself gives a value, which then are not those of the scope."""
    from jinja2 import nodes

    return {node.name for node in tree.find_all(nodes.Name) if node.ctx in ("store", "param")}


def _line_of(tree: Any, name: str) -> int:
    from jinja2 import nodes

    return next((int(node.lineno) for node in tree.find_all(nodes.Name) if node.name == name), 1)


def _uses(node: Any, names: set[str]) -> Iterator[Use]:
    """The longest paths that begin with one of `names`."""
    path = _path(node)
    if path is not None and path[0] in names:
        yield Use(path, node.lineno)
        return
    for child in node.iter_child_nodes():
        yield from _uses(child, names)


def _path(node: Any) -> tuple[str, ...] | None:
    """The names in `a.b.c` or `a["b"].c`."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        name = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        name = node.arg.value
    else:
        return None
    before = _path(node.node)
    return None if before is None else (*before, name)


def _check(use: Use, scope: Scope) -> None:
    known: Scope | None = scope
    for at, name in enumerate(use.path):
        if known is None:
            return
        if name not in known:
            where = ".".join(use.path[:at])
            raise TemplateProblem(f"{where} has no {name}; {_nearest(name, known)}", use.line)
        known = known[name]


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return nearest(name, names) if names else "it has nothing"
