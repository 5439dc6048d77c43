"""A template of a recipe ends soon and makes no more than a row asks for, whatever it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pairmine.llm.recipes.templates import TemplateProblem, compiled, mistakes, uses

ROW: dict[str, Any] = {"row": {"text": "word " * 200, "list": [1, 2, 3]}, "pairs": [["a", "b"]], "of": {"k": "v"}}
SOON_S = 10.0

ENDLESS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops that pass over all": "{% for i in range(99999) if false %}{% endfor %}" * 20,
    "a list gone through for each of its entries": "{% set a = range(99999) | list %}"
    "{% for x in a %}{% for y in a %}{% endfor %}{% endfor %}",
    "a text doubled by ~": "{% set a = 'x' * 1000 %}" + "{% set a = a ~ a %}" * 40 + "{{ a | length }}",
    "a text doubled by +": "{% set a = 'x' * 1000 %}" + "{% set a = a + a %}" * 40 + "{{ a | length }}",
    "a text grown by replace": "{% set a = 'x' * 100 %}" + "{% set a = a | replace('x', 'xxxx') %}" * 20 + "{{ a }}",
    "a list of itself": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "a tuple of itself": "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 40 + "{{ a | string | length }}",
    "an object of itself": "{% set a = {'k': 1} %}" + "{% set a = {'k': a, 'l': a} %}" * 40 + "{{ a | tojson }}",
    "a list doubled by +": "{% set a = range(99999) | list %}" + "{% set a = a + a %}" * 40 + "{{ a | length }}",
    "a number squared": "{% set a = 9 ** 99 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "the row again and again": "{% for i in range(99999) %}{{ row.text }}{% endfor %}",
    "the row again and again into a variable": "{% set a %}{% for i in range(99999) %}{{ row.text }}{% endfor %}"
    "{% endset %}",
    "its own text again and again": "{% for i in range(99999) %}" + "lorem" * 1000 + "{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(40) }}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "work on the row again and again": "{% for i in range(99999) %}"
    "{% if row.text | list | sort | join | upper == 'a' %}{% endif %}{% endfor %}",
    "a width": "{{ '%1000000000d' % 1 }}",
    "a width from outside": "{{ '%*d' % (1000000000, 1) }}",
    "much white space": "{{ 'a' | center(1000000000) }}",
}


@pytest.mark.parametrize("what", ENDLESS)
def test_it_ends_in_seconds_with_a_reason(what: str) -> None:
    started = time.process_time()
    with pytest.raises(mistakes()) as caught:
        compiled(ENDLESS[what])(ROW)
    assert time.process_time() - started < SOON_S
    assert len(str(caught.value)) < 200


FINE = {
    "{% for x in row.list %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}": (
        "1/3:1,2/3:2,3/3:3"
    ),
    "{% for a, b in pairs %}{{ a }}{{ b }}{% endfor %}{% for x in [] %}{% else %}none{% endfor %}": "abnone",
    "{% for k in of if of[k] is not none %}{{ k }}{% endfor %}": "k",
    "{% for k, v in of | dictsort %}{{ k }}{{ v }}{% endfor %}": "kv",
    "{{ 'a' ~ 1 ~ none }}{{ 1 + 2 }}{{ 'a' + 'b' }}{{ ([1] + [2]) | join('-') }}": "a1None3ab1-2",
    "{{ [1, row.list[0]] | length }}{{ {'a': row.text} | length }}{{ (1, row.text) | length }}": "212",
    "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}{{ f('b') }}": "<1><b>",
    "{% macro m() %}{{ caller('z') }}{% endmacro %}{% call(x) m() %}[{{ x }}]{% endcall %}": "[z]",
    "{% set q %}a{{ 1 }}{% endset %}{{ q }}{% set a, b = pairs[0] %}{{ a }}{{ b }}{{ none }}": "a1ab",
    "{{ 'x' if 3 in [1, 2, 3] else 'y' }}{{ pairs | map('join', '+') | list }}": "x['a+b']",
}


@pytest.mark.parametrize("source", FINE)
def test_what_recipes_do_comes_out_as_jinja_has_it(source: str) -> None:
    assert compiled(source)(ROW) == FINE[source]


def test_a_long_row_has_all_the_room_that_it_needs() -> None:
    long = {"row": {"text": "ü" * 3_000_000}}
    source = "{{ row.text | trim }}{{ row.text ~ row.text }}{{ (row.text + row.text) | upper }}"
    assert len(compiled(source)(long)) == 15_000_000


def test_every_use_begins_anew() -> None:
    render = compiled("{% for i in range(99999) %}{% endfor %}done")
    assert {render(ROW) for _ in range(20)} == {"done"}


def test_a_loop_that_calls_itself_is_refused_where_it_is_written() -> None:
    with pytest.raises(TemplateProblem, match="a loop cannot call itself"):
        uses("{% for x in row.list recursive %}{{ loop(x) }}{% endfor %}", {"row": None})


def test_what_is_put_into_templates_cannot_be_named_in_one() -> None:
    with pytest.raises(TemplateProblem, match="no filter counted") as caught:
        uses("{{ row.text | counted }}", {"row": None})
    assert " counted" not in str(caught.value).replace("filter counted", "")
