"""How many steps of a template's budget each of its operations takes: as its work grows with what it is given."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, MappingView, Sequence, Set
from functools import wraps
from typing import Any

from pairmine.llm.recipes.budget import PER_STEP, reach, room, take, weight

COUNTED, SPENT, JOINED, HELD, COMPARED, SLICED = (
    f" {name}" for name in ("counted", "spent", "joined", "held", "compared", "sliced")
)
"""Filters that `metered` puts in; no template can name them, for the blank."""
CALLED = "\0"
"""What `metered` puts before the name of a method that is called: all others are out of reach."""

_SIZED = (str, bytes, list, tuple, dict, range, MappingView)
_GONE_THROUGH = (*_SIZED, int, Set)
_PRODUCT = 1 << 12
"""Of what grows with the product of two sizes, so much is done in a step."""
_DIGITS = 30
_MOST_HASHED = (1 << 61) - 2
"""Whole numbers beyond it share their hashes with others: in a set each of them may be compared with all."""


def shown(value: Any) -> Any:
    """A value as the template shows it: null is blank."""
    if value is None:
        return ""
    if isinstance(value, Iterator):  # it would be shown by its place in memory
        raise TypeError("shows what is not put together yet; write | list or | join behind it")
    take(1, len(value) if isinstance(value, str) else _size(value))
    return value


def steps_for(value: Any) -> int:
    """What going through a value counts, with all that is in it."""
    return 1 + (reach(value) // PER_STEP if isinstance(value, _GONE_THROUGH) else 0)


def of_numbers(name: str, left: float, right: float) -> int:
    """What an operator on numbers takes: next to nothing, but for very long ones."""
    first, second = (each.bit_length() // _DIGITS + 1 if isinstance(each, int) else 1 for each in (left, right))
    if name in ("+", "-"):
        return (first + second) // 1000
    return first * second // 1000 + (second * _DIGITS // PER_STEP if name == "**" else 0)


def of_call(name: str, owner: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """What a call takes; `owner` is what a method is one of, or None."""
    if owner is None:
        return 1
    given = [*args, *kwargs.values()]
    steps = 1 + sum(map(steps_for, given))
    if isinstance(owner, dict):
        return steps + (len(owner) // PER_STEP if name == "copy" else 0)
    if isinstance(owner, list | tuple | range):
        return steps + (of_search(given[0], owner, to_the_end=True) if given else len(owner) // PER_STEP)
    if isinstance(owner, str | bytes):
        steps += len(owner) // PER_STEP
        if name in _FROM_THE_END and given:
            sought = given[0] if isinstance(given[0], str | bytes) else ""
            steps += len(owner) * len(sought) // _PRODUCT
    if isinstance(owner, int):
        steps += steps_for(owner)
    if name == "fromkeys" and given:
        steps += _of_hashing(given[0])
    return steps


_FROM_THE_END = frozenset({"rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"})
"""Methods that may compare every character with each of those that are sought."""


def of_comparison(name: str, left: Any, right: Any) -> int:
    """What `left == right` and the like take: no more than the smaller of the two."""
    if name in ("in", "notin"):
        return of_search(left, right)
    if not (isinstance(left, _GONE_THROUGH) and isinstance(right, _GONE_THROUGH)):
        return 1
    if isinstance(left, MappingView | Set) or isinstance(right, MappingView | Set):
        return steps_for(left) + steps_for(right)
    if name in ("eq", "ne") and isinstance(left, _SIZED) and isinstance(right, _SIZED) and len(left) != len(right):
        return 1
    if isinstance(left, str | bytes) and isinstance(right, str | bytes):
        return 1 + min(len(left), len(right)) // PER_STEP
    smaller, larger = (left, right) if _length(left) <= _length(right) else (right, left)
    size = reach(smaller)
    return 1 + min(size, weight(larger, size)) // PER_STEP


def _length(value: Any) -> int:
    return len(value) if isinstance(value, _SIZED) else 1


def of_search(sought: Any, inside: Any, *, to_the_end: bool = False) -> int:
    """What `sought in inside` takes, or counting it there."""
    if isinstance(inside, str | bytes):
        fits = not isinstance(sought, str | bytes) or len(sought) <= len(inside)
        return 1 + ((len(inside) + _length(sought)) // PER_STEP if fits else 0)
    if isinstance(inside, dict | KeysView | Set) or (isinstance(inside, range) and isinstance(sought, int)):
        return steps_for(sought)
    if isinstance(inside, list | tuple | range | MappingView):
        own = reach(sought) if isinstance(sought, _SIZED) else 1
        most = len(inside) * own
        deep = 0 if own == 1 or isinstance(inside, range) else weight(inside, most)
        return 1 + (len(inside) + min(most, deep)) // PER_STEP
    return 1


def _of_hashing(values: Any) -> int:
    """What it takes beyond a step for each to put values into a set whose hashes may be the same."""
    if isinstance(values, range):
        large = len(values) if max(map(abs, (values.start, values.stop))) > _MOST_HASHED else 0
    elif isinstance(values, Iterable) and not isinstance(values, str | bytes | Iterator):
        large = sum(isinstance(each, int | float) and abs(each) > _MOST_HASHED for each in values)
    else:
        large = 0
    return large * large // PER_STEP


def of_trimming(text: Any, chars: Any = None) -> int:
    """What trimming by letters of one's own takes."""
    return len(text) * len(chars) // _PRODUCT if isinstance(text, str) and isinstance(chars, str) else 0


def of_wrapping(text: Any, width: Any = 79, *_: Any, **__: Any) -> int:
    """What breaking words takes: a long one is copied for each line of it."""
    if not isinstance(text, str) or not isinstance(width, int):
        return 0
    longest = max(map(len, text.split()), default=0)
    return longest * (longest // max(width, 1)) // _PRODUCT


def of_division(value: Any, by: Any = 2) -> int:
    """What a test of what divides a number takes."""
    is_number = isinstance(value, int | float) and isinstance(by, int | float)
    return of_numbers("%", value, by) if is_number else 0


_MORE: Mapping[str, Callable[..., int]] = {
    "trim": of_trimming,
    "wordwrap": of_wrapping,
    "unique": lambda values, *_, **__: _of_hashing(values),
    "divisibleby": of_division,
    "even": of_division,
    "odd": of_division,
}
"""What some filters and tests take beyond going through what they are given."""
_AT_ONCE = frozenset({"length", "count", "first", "last", "default", "d", "attr", "items", "safe"})
"""Filters that look at nothing but the value's outside."""
_EACH = frozenset({"batch", "slice", "dictsort", "groupby", "map", "max", "min", "pprint", "sort", "sum", "unique"})
_EACH |= {"select", "reject", "selectattr", "rejectattr", "xmlattr"}
"""Filters that do something of Python's own with each entry."""
_ORDERED = frozenset({"groupby", "sort", "dictsort"})
_SHALLOW = frozenset({"map", "select", "reject", "selectattr", "rejectattr", "batch", "slice", "list", "reverse"})
"""Filters that never look into the entries, or look by tests and filters that are counted themselves."""
_DEEP_TESTS = frozenset({"divisibleby", "even", "odd", "lower", "upper"})
"""Tests that go through what they are given."""
_COMPARISONS = {
    **dict.fromkeys(("eq", "==", "equalto"), "eq"),
    **dict.fromkeys(("ne", "!="), "ne"),
    **dict.fromkeys(("lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan", "ge", ">="), "lt"),
    "in": "in",
}


def counted_filters(filters: Mapping[str, Callable[..., Any]], sized: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """Filters whose uses count, and those that `metered` needs; what `sized` make is counted by themselves."""
    from jinja2 import pass_context

    own: dict[str, Callable[..., Any]] = {
        COUNTED: _counted,
        SPENT: _spent,
        JOINED: _joined,
        HELD: _held,
        COMPARED: _compared,
        SLICED: _sliced,
    }
    counted = {name: _counting_filter(name, run, is_sized=name in set(sized)) for name, run in filters.items()}
    return counted | {name: pass_context(run) for name, run in own.items()}


def _counting_filter(name: str, run: Callable[..., Any], *, is_sized: bool) -> Callable[..., Any]:
    # Jinja hands its context or environment to filters that are marked so; the mark goes on with `wraps`.
    first = 1 if hasattr(run, "jinja_pass_arg") else 0

    @wraps(run)
    def counting(*args: Any, **kwargs: Any) -> Any:
        before, own = args[:first], list(args[first:])
        if not own:
            take(1)
            return run(*args, **kwargs)
        value, given = own[0], [*own[1:], *kwargs.values()]
        take(_of_filter(name, value, given))
        if name == "sum":
            _check_sum(own, kwargs)
        if name in _MORE:
            take(_MORE[name](*own, **kwargs))
        if isinstance(value, Iterator) and name not in _AT_ONCE:
            own[0] = _metered(value, _of_each(given), is_hashed=name == "unique")
        made = run(*before, *own, **kwargs)
        if name == "attr":
            check_is_data(made)
        if made is not value and not is_sized and name not in _AT_ONCE:
            take(0, len(made) if isinstance(made, str | bytes | list | tuple | dict) else 0)
        return made

    return counting


def _of_filter(name: str, value: Any, given: list[Any]) -> int:
    if name in _AT_ONCE:
        return 1
    steps = 1 + sum(map(steps_for, given))
    if not isinstance(value, _GONE_THROUGH):
        return steps
    entries = _length(value)
    steps += entries // PER_STEP if name in _SHALLOW else steps_for(value)
    if name in _EACH:
        steps += entries * _of_each(given)
    return steps * entries.bit_length() if name in _ORDERED else steps


def _of_each(given: list[Any]) -> int:
    """What an entry takes: where attributes are named, each of "a.b.c" is looked up."""
    return 1 + sum(each.count(".") + each.count(",") for each in given if isinstance(each, str))


def _metered(values: Iterator[Any], steps: int, *, is_hashed: bool = False) -> Iterator[Any]:
    large = 0
    for value in values:
        if is_hashed and isinstance(value, int | float) and abs(value) > _MOST_HASHED:
            large += 1
        take(steps + large // (PER_STEP // 2))
        yield value


def check_is_data(value: Any) -> None:
    """Raise SecurityError for a method or function, which has no text but its place in memory."""
    from jinja2 import Undefined
    from jinja2.exceptions import SecurityError

    if callable(value) and not isinstance(value, Undefined):
        raise SecurityError(f"{getattr(value, '__name__', 'a method')} is a method; call it, or leave it out")


def _check_sum(own: list[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise SecurityError where lists are to be put together, each time anew, by `sum(start=[])`."""
    from jinja2.exceptions import SecurityError

    start = own[2] if len(own) > 2 else kwargs.get("start", 0)
    if not isinstance(start, int | float):
        raise SecurityError("sum adds numbers; its start is none")


def counted_tests(tests: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Tests, as in `x is even`, whose uses count."""
    return {name: _counting_test(name, run) for name, run in tests.items()}


def _counting_test(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    first = 1 if hasattr(run, "jinja_pass_arg") else 0

    @wraps(run)
    def counting(*args: Any, **kwargs: Any) -> Any:
        own = list(args[first:])
        if name in _COMPARISONS and len(own) == 2:
            take(of_comparison(_COMPARISONS[name], *own))
            if name == "in" and isinstance(own[1], Iterator):
                own[1] = _sought(own[0], own[1])
        elif name in _DEEP_TESTS and own:
            take(steps_for(own[0]) + (_MORE[name](*own) if name in _MORE else 0))
        else:
            take(1)
        return run(*args[:first], *own, **kwargs)

    return counting


def metered(tree: Any, environment: Any) -> Any:
    """A parsed template in which loops, macros, comparisons, and all that grows are counted."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def filtered(node: Any, name: str, *args: Any) -> Any:
        line = node.lineno
        given = [each if isinstance(each, nodes.Node) else nodes.Const(each, lineno=line) for each in args]
        return nodes.Filter(node, name, given, [], None, None, lineno=line)

    def text_in(node: Any) -> int:
        return sum(len(each.data) for each in node.find_all(nodes.TemplateData))

    def work_in(node: Any) -> int:
        """What a turn takes: however long a loop's body is, a turn of it is none."""
        return 1 + sum(1 for _ in node.find_all(nodes.Node)) // PER_STEP

    class Metering(NodeTransformer):
        def visit_For(self, node: Any) -> Any:
            work = work_in(node)
            self.generic_visit(node)
            node.iter = filtered(node.iter, COUNTED, text_in(node), work)
            return node

        def visit_Macro(self, node: Any) -> Any:
            work = work_in(node)
            self.generic_visit(node)
            spent = filtered(nodes.Const(None, lineno=node.lineno), SPENT, text_in(node), work)
            node.body.insert(0, nodes.ExprStmt(spent, lineno=node.lineno))
            return node

        visit_CallBlock = visit_Block = visit_Macro

        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return filtered(nodes.List(node.nodes, lineno=node.lineno), JOINED)

        def visit_List(self, node: Any) -> Any:
            self.generic_visit(node)
            is_constant = not any(True for _ in node.find_all((nodes.Name, nodes.Filter, nodes.Call)))
            return node if is_constant or getattr(node, "ctx", "load") != "load" else filtered(node, HELD)

        visit_Tuple = visit_Dict = visit_List

        def visit_Call(self, node: Any) -> Any:
            self.generic_visit(node)
            called = node.node
            if isinstance(called, nodes.Getattr):
                called.attr = f"{CALLED}{called.attr}"
            elif isinstance(called, nodes.Getitem) and isinstance(name := called.arg, nodes.Const):
                name.value = f"{CALLED}{name.value}" if isinstance(name.value, str) else name.value
            return node

        def visit_Compare(self, node: Any) -> Any:
            self.generic_visit(node)
            found, left = None, node.expr
            for operand in node.ops:  # a < b < c is a < b and b < c
                each = filtered(left, COMPARED, operand.op, operand.expr)
                found = each if found is None else nodes.And(found, each, lineno=node.lineno)
                left = operand.expr
            return found

        def visit_Getitem(self, node: Any) -> Any:
            self.generic_visit(node)
            is_slice = isinstance(node.arg, nodes.Slice)
            return filtered(node, SLICED) if is_slice and node.ctx == "load" else node

    found = Metering().visit(tree)
    found.set_environment(environment)
    return found


def _counted(_: Any, values: Any, text: int, work: int) -> Iterator[Any]:
    for value in values:
        take(work, text)
        yield value


def _spent(_: Any, value: Any, text: int, work: int) -> Any:
    take(work, text)
    return value


def _joined(_: Any, values: list[Any]) -> str:
    take(len(values), sum(map(_size, values)))
    return "".join(map(str, values))


def _held(_: Any, value: Any) -> Any:
    take(1, _size(value))
    return value


def _size(value: Any) -> int:
    return weight(value, room() + 1)


def _compared(_: Any, left: Any, name: str, right: Any) -> Any:
    take(of_comparison(name, left, right))
    if name in ("in", "notin") and isinstance(right, Iterator):
        right = _sought(left, right)
    return _OPERATORS[name](left, right)


def _sought(sought: Any, values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        take(of_comparison("eq", sought, value))
        yield value


def _sliced(_: Any, value: Any) -> Any:
    take(1 + (len(value) // PER_STEP if isinstance(value, _SIZED) else 0))
    return value


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
