"""A template of a recipe ends soon and makes no more than a row asks for, whatever it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pairmine.llm.recipes.templates import TemplateProblem, compiled, mistakes, uses

ROW: dict[str, Any] = {"row": {"text": "word " * 200, "list": [1, 2, 3]}, "pairs": [["a", "b"]], "of": {"k": "v"}}
SOON_S = 20.0

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


MUCH_WORK = {
    "a text looked for": "{% set a = 'x' * 900000 %}"
    "{% for i in range(99999) %}{% if 'xy' in a %}{% endif %}{% endfor %}",
    "a slice": "{% set a = 'x' * 900000 %}{% for i in range(99999) %}{% if a[::-1] %}{% endif %}{% endfor %}",
    "lists compared": "{% set a, b = range(99999) | list, range(99999) | list %}"
    "{% for i in range(99999) %}{% if a == b %}{% endif %}{% endfor %}",
    "a test": "{{ range(99999) | map('string') | select('in', 'x' * 900000) | list }}",
    "a method": "{% set a = 'x' * 900000 %}{% for i in range(99999) %}{% if a.count('xy') %}{% endif %}{% endfor %}",
    "looked for from the end": "{% set a = 'x' * 400000 %}{{ (a ~ a).rfind(a ~ 'y' ~ a) }}",
    "letters to trim": "{{ ('x' * 400000) | trim('y' * 400000 ~ 'x') }}",
    "lists added up": "{{ ([[1]] * 300000) | sum(start=[]) | length }}",
    "equal hashes": "{{ range(0, 2305843009213693951 * 99999, 2305843009213693951) | unique | list | length }}",
    "attributes of attributes": "{{ range(99999) | map(attribute='" + ".".join(["real"] * 5_000) + "') | list }}",
    "filters of filters": "{% for i in range(99999) %}{% set a = range(99999)"
    + " | map(attribute='real')" * 50
    + " | list %}{% endfor %}",
    "a word of a line's many lengths": "{{ ('a' * 900000) | wordwrap(1) }}",
    "names without an end": "{{ ('%(' * 200000) % {} }}",
    "long numbers": "{% set n = ('f' * 900000) | int(base=16) %}{{ n // (n // 3) }}",
    "an odd encoding": "{{ (range(9999) | map('string') | join).encode('punycode') }}",
    "a long body": "{% for i in range(99999) %}" + "{% if i %}{% endif %}" * 9_999 + "{% endfor %}",
    "what is constant": "{{ 'a' | center(999999)" + " | replace(' ', '    ')" * 8 + " | length }}",
}
"""Much work in few steps; more of it is in tests/trust/hostile.py."""
ENDLESS |= MUCH_WORK


@pytest.mark.slow
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
    "{% for x in ['ab'] %}{{ x.replace('a', 'c') }}{{ x.ljust(3) }}|{{ x.encode() | length }}{% endfor %}": "cbab |2",
    "{{ 1 < 2 <= 2 < 3 }}{{ 3 > 2 > 2 }}{{ 1 != 2 == 2 }}{{ 'a' not in 'b' }}{{ 2 in row.list }}": (
        "TrueFalseTrueTrueTrue"
    ),
    "{{ [1, [2]] == [1, [2]] }}{{ of == {'k': 'v'} }}{{ of == 1 }}{{ 'k' in of }}{{ none == none }}": (
        "TrueTrueFalseTrueTrue"
    ),
    "{{ 'abcdef'[1:4] }}{{ 'abcdef'[::-2] }}{{ row.list[:-1] }}{{ pairs[0][1:][0] }}": "bcdfdb[1, 2]b",
    "{% for x in row.list if x > 1 %}{{ x }}{% endfor %}{{ [3, 1, 2] | select('gt', 1) | list }}": "23[3, 2]",
    "{% set g = row.list | map('string') %}{{ '2' in g }}{{ '2' in g }}{{ '3' is in ['3'] }}": "TrueFalseTrue",
    "{{ -1 - +2 }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 7 % 4 }}{{ 2 ** 3 }}{{ 7 is odd }}{{ 9 is divisibleby 3 }}": (
        "-333.538TrueTrue"
    ),
    "{{ [3, 1, 2] | sum }}{{ [{'a': 1}] | sum(attribute='a', start=2) }}{{ [1, 1, 2] | unique | list }}": "63[1, 2]",
    "{{ '%(a)s-%(b)5.1f' % {'a': 'x', 'b': 1} }}{{ ' ab ' | trim }}{{ 'xabx'.strip('x') }}": "x-  1.0abab",
    "{% block b %}{{ row.list | length }}{% endblock %}{{ self.b() }}{% for i in [1] %}{{ self.b() }}{% endfor %}": (
        "333"
    ),
}


@pytest.mark.parametrize("source", FINE)
def test_what_recipes_do_comes_out_as_jinja_has_it(source: str) -> None:
    assert compiled(source)(ROW) == FINE[source]


def test_a_long_row_has_all_the_room_that_it_needs() -> None:
    long = {"row": {"text": "ü" * 3_000_000}}
    source = "{{ row.text | trim }}{{ row.text ~ row.text }}{{ (row.text + row.text) | upper }}"
    assert len(compiled(source)(long)) == 15_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{{ row.text.upper }}",
        "{{ [row.text.upper] | map('string') | list }}",
        "{{ row.list | map(attribute='real') | map(attribute='conjugate') | list }}",
        "{{ row.text | attr('upper') }}",
        "{{ row.text['upper'] }}",
        "{{ row.list | map('string') }}",
        "{% set f = row['keys'] %}{{ f }}",
    ],
)
def test_what_has_no_text_but_a_place_in_memory_is_not_shown(source: str) -> None:
    with pytest.raises(mistakes(), match=r"is a method; call it|not put together yet"):
        compiled(source)(ROW)


def test_what_a_filter_takes_for_impossible_is_a_mistake_of_the_template() -> None:
    with pytest.raises(mistakes(), match="expected length"):
        compiled("{{ row.text | truncate(-1) }}")(ROW)


def test_methods_are_called_in_every_way() -> None:
    source = "{{ row.text.strip()[:4] }}{{ row['list'].index(2) }}{{ of['items']() | list }}{{ 'a'['upper']() }}"
    assert compiled(source)(ROW) == "word1[('k', 'v')]A"
    assert compiled("{% for x in [1, 1] %}{{ loop.changed(x) }}{{ loop.cycle('a', 'b') }}{% endfor %}")(ROW) == (
        "TrueaFalseb"
    )


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
