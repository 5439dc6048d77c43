"""What somebody may put into a recipe, a row, an id or a file name."""

from __future__ import annotations

REACHES = """
row.__class__ row.text.__class__.__mro__ row.text.__class__.__base__.__subclasses__()
''.__class__.__mro__[1].__subclasses__() row['__class__'] row|attr('__class__')
row.text|attr('__class__')|attr('__mro__') row|attr('_'~'_class__') row.text|attr('\\x5f\\x5fclass\\x5f\\x5f')
[row]|map(attribute='__class__')|list [row]|map('attr','__class__')|list [row.text]|selectattr('__class__')|list
[row]|sort(attribute='__class__.__init__.__globals__') [row]|groupby('__class__')|list
[row]|sum(attribute='__class__') range.__self__ range.__class__ range|attr('__self__') loop.__class__
self.__init__.__globals__ self._TemplateReference__context self|attr('__dict__') config request lipsum.__globals__
cycler.__init__.__globals__ joiner namespace() dict() get_flashed_messages '{0.__class__}'.format(row)
'{0.__class__.__mro__}'|format(row) row.text.format(row) '%(a)s'.__mod__ row.text.format_map(row)
(row.text.format)(row) [row.text.format]|map('string')|list 'a'.translate({}) open('/etc/passwd') import('os')
eval('1') exec('1') __import__('os') __builtins__ os.system('id') ''.join.__self__ row.items.__func__
row.get.__globals__ row.text.encode.__self__.__class__ ''.__class__.__base__.__subclasses__() (1).__class__
true.__class__ none.__class__ caller.__code__ varargs.__class__ kwargs.__class__ ask.__class__
row.text.join.__objclass__ row.text|map('__class__') row|xmlattr|attr('__html__')
row.text.__getattribute__('__class__') row.text.__reduce__() row.text.__init_subclass__() {}.__class__ ().__class__
[].append.__self__.__class__ row.setdefault('a',1) row.update({'a':1}) row.clear() [1].append(2) [1].__setitem__
row.pop('text') row.text.__format__('') range(10**12) range(0,10**15) 'a'*10**10 ('a'*9999999)*999 [0]*10**10
10**10**10 2**100000 'a'|center(10**10) 'a'|indent(10**10) '%099999999999d'%1 'x'.ljust(10**10) 'a'.zfill(10**10)
'a\\t'.expandtabs(10**10) row.text.replace('','x'*999999) ('a,'*99999).split(',')|join('x'*99999)
range(99999)|list|batch(10**10)|list [1]|slice(10**10)|list row|tojson(indent=10**9)
'a'|wordwrap(1,wrapstring='x'*99999999) (1).to_bytes(10**10,'big') 1|round(10**10) 'a'|truncate(-1)
'a'|urlize(target='x'*10**9) (row.text,)*10**10
"""
"""Expressions that reach for what no template has any business with, or make too much."""
STATEMENTS = [
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends '/etc/passwd' %}",
    "{% include row.text %}",
    "{% set row.text = 1 %}{{ row.text.__class__ }}",
    "{% set x = row.__class__ %}{{ x }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{% do row.clear() %}",
    "{% debug %}",
    "{% autoescape true %}{{ row.__class__ }}{% endautoescape %}",
    "{% call row.__class__() %}{% endcall %}",
    "{% filter attr('__class__') %}a{% endfilter %}",
    "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ m.__globals__ }}{% endmacro %}{{ m() }}",
    "{% with a = row.__class__ %}{{ a }}{% endwith %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% set a = 'x' * 999 %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for x in row.text recursive %}{{ loop(row.text) }}{{ loop(row.text) }}{% endfor %}",
    "{% raw %}" * 5,
    "{{" * 50_000,
    "{% if a %}" * 5_000,
    "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "{{ " + "not " * 50_000 + "1 }}",
    "{{ " + "-" * 50_000 + "1 }}",
    "{{ 1" + "+1" * 50_000 + " }}",
    "{{ row" + ".a" * 20_000 + " }}",
    "{{ row.text" + "|upper" * 20_000 + " }}",
]


def _again(body: str, *, turns: int = 99_999, text: str = "'x' * 900000", key: str = "'x' * 1000 ~ 'y'") -> str:
    """Work on a long text `a` by a shorter one `b`, turn after turn."""
    start = f"{{% set a = {text} %}}{{% set b = {key} %}}"
    return f"{start}{{% for i in range({turns}) %}}{body}{{% endfor %}}"


WORK = [
    _again("{% if 'xy' in a %}{% endif %}"),
    _again("{% if b in a %}{% endif %}"),
    _again("{% if 'xy' not in a %}{% endif %}"),
    _again("{% if a is in b %}{% endif %}{% if b is in a %}{% endif %}"),
    _again("{% for j in range(5) %}{% if b in a %}{% endif %}{% endfor %}"),
    _again("{% if a[::-1] %}{% endif %}"),
    _again("{% if a[1:] %}{% endif %}{% if a[:-1] %}{% endif %}"),
    _again("{% if a[1:] == a[:-1] %}{% endif %}"),
    _again("{% if a == b %}{% endif %}", key="'x' * 899999 ~ 'y'"),
    _again("{% if a < b <= a != b %}{% endif %}", key="'x' * 899999 ~ 'y'"),
    _again("{% if a is eq(b) %}{% endif %}{% if a is lt b %}{% endif %}", key="'x' * 899999 ~ 'y'"),
    _again("{% if a == b %}{% endif %}", text="range(99999) | list", key="range(99999) | list"),
    _again("{% if -1 in a or 'x' in a %}{% endif %}", text="range(99999) | list"),
    _again("{% if 1.5 in a %}{% endif %}", text="range(99999)"),
    _again("{% if a == b %}{% endif %}", text="{'k': 'x' * 900000}", key="{'k': 'x' * 899999 ~ 'x'}"),
    _again("{% if a == b %}{% endif %}", text="[[['x' * 900000]]]", key="[[['x' * 899999 ~ 'x']]]"),
    _again("{% if b in a %}{% endif %}", text="['x' * 900000] * 2", key="'x' * 899999 ~ 'y'"),
    _again("{% if a ~ b %}{% endif %}"),
    _again("{% if 'x' in (a ~ b) %}{% endif %}"),
    _again("{% if a | replace('xy', '') %}{% endif %}"),
    _again("{% if a | trim(b) %}{% endif %}", key="'y' * 900000 ~ 'x'"),
    "{{ ('x' * 900000) | trim('y' * 900000 ~ 'x') }}",
    *(
        _again(f"{{% if a.{call} %}}{{% endif %}}")
        for call in (
            "count('xy')",
            "find('xy')",
            "find(b)",
            "rfind(b)",
            "replace('xy', '')",
            "split('xy')",
            "rsplit(b)",
            "startswith(a)",
            "strip(b)",
            "splitlines()",
            "partition(b)",
            "rpartition(b)",
            "upper()",
            "casefold()",
            "title()",
            "isalpha()",
            "encode()",
            "removeprefix(a)",
            "index('x')",
            "lower().upper()",
        )
    ),
    *(
        "{% set a = 'x' * 900000 %}{% set b = 'x' * 200000 ~ 'y' ~ 'x' * 200000 %}" + f"{{{{ a.{call} }}}}"
        for call in ("rfind(b)", "rsplit(b)", "rpartition(b)", "encode().rfind(b.encode())", "rstrip('y' * 400000)")
    ),
    *(
        "{% set a = 'x' * 2000 %}{% set b = 'x' * 700 ~ 'y' ~ 'x' * 700 %}{% for i in range(99999) %}"
        + f"{{% if {call} %}}{{% endif %}}{{% endfor %}}"
        for call in ("b in a", "a.count(b)", "a.find(b)", "a.rfind(b)", "a.replace(b, '')", "a.split(b)")
    ),
    _again("{% if a.count(b) + a.index(0) %}{% endif %}", text="range(99999) | list", key="'x'"),
    _again("{% if a.count(b) %}{% endif %}", text="range(99999)", key="1.5"),
    _again("{% if b['k'][a] is defined %}{% endif %}", text="(1,) * 99999", key="{'k': {}}"),
    _again("{% if b['get'](a) %}{% endif %}", text="(1,) * 99999", key="{}"),
    _again("{% if b['fromkeys'](a) %}{% endif %}", text="range(99999)", key="{}"),
    "{{ {}['fromkeys'](range(0, 2305843009213693951 * 99999, 2305843009213693951)) }}",
    "{{ range(0, 2305843009213693951 * 99999, 2305843009213693951) | unique | list | length }}",
    "{{ range(0, 2305843009213693951 * 99999, 2305843009213693951) | map('abs') | unique | list | length }}",
    "{{ ([[1]] * 300000) | sum(start=[]) | length }}",
    "{{ ([[1]] * 300000) | sum(none, []) | length }}",
    "{% for i in range(99999) %}{% set a = range(99999)" + " | map(attribute='real')" * 50 + " | list %}{% endfor %}",
    "{% for i in range(99999) %}{% set a = range(99999)" + " | select('number')" * 50 + " | list %}{% endfor %}",
    "{{ range(99999) | map(attribute='" + ".".join(["real"] * 10_000) + "') | list | length }}",
    "{{ range(99999) | sort(attribute='" + ",".join(["real"] * 10_000) + "') | length }}",
    "{{ range(99999) | map('string') | select('in', 'x' * 900000) | list }}",
    _again("{{ loop.changed(a[1:]) }}"),
    _again("{{ loop.changed(a) }}{% if loop.cycle(a, b) %}{% endif %}"),
    _again("{% if a | sort %}{% endif %}", text="range(99999) | map('string') | list"),
    _again("{% if a | unique | list %}{% endif %}", text="range(99999) | list"),
    _again("{% if a | groupby('real') %}{% endif %}", text="range(99999) | list"),
    _again("{% if a | min + a | max %}{% endif %}", text="range(99999) | list"),
    _again("{% if a | pprint %}{% endif %}", text="range(99999) | list"),
    _again("{% if a | tojson %}{% endif %}", text="range(99999) | list"),
    _again("{% if a | string %}{% endif %}", text="range(99999) | list"),
    *(
        _again(f"{{% if a | {name} %}}{{% endif %}}", text="'<é & a> ' * 120000 ~ '1'")
        for name in (
            "list",
            "reverse",
            "wordcount",
            "title",
            "striptags",
            "escape",
            "urlencode",
            "capitalize",
            "first_words(9)",
            "mask(0.5)",
            "content_id",
            "json",
            "tojson",
            "number",
            "float",
            "int",
            "wordwrap(9)",
            "truncate(9)",
            "indent",
            "batch(2) | list",
            "slice(2) | list",
            "map('upper') | list",
            "pprint",
            "center(9)",
            "e | length",
        )
    ),
    "{{ ('a' * 900000) | wordwrap(1) }}",
    "{{ ('a-' * 400000) | wordwrap(5) }}",
    "{{ ('<!---->' * 120000) | striptags }}",
    "{{ ('<' * 900000) | striptags }}",
    "{{ ('x' ~ ')' * 800000 ~ 'x') | urlize }}",
    "{{ ('%(' * 400000) % {} }}",
    "{{ ('%(a%b)s' * 100000) % {'a%b': 'x' * 900000} }}",
    "{{ ('%' * 900000) % 1 }}",
    "{{ ('9' * 4000) | int }}" + "{{ ('9' * 900000) | number }}",
    "{% set n = ('f' * 900000) | int(base=16) %}{{ n // (n // 3) }}",
    "{% set n = ('f' * 900000) | int(base=16) %}{{ n % (n // 12345) }}",
    "{% set n = ('f' * 900000) | int(base=16) %}{{ n is divisibleby(n // 3) }}",
    "{% set n = ('f' * 900000) | int(base=16) %}{{ 1 ** n }}{{ n ** 0 }}",
    _again("{% if - - - - a %}{% endif %}", text="('f' * 900000) | int(base=16)"),
    _again("{% if a == b %}{% endif %}", text="('f' * 900000) | int(base=16)", key="('f' * 900000) | int(base=16)"),
    _again("{% if a - b + a %}{% endif %}", text="('f' * 900000) | int(base=16)", key="('e' * 900000) | int(base=16)"),
    _again("{% if a // b + a % b + a * 3 %}{% endif %}" * 5, text="9 ** 4000", key="7 ** 2000"),
    _again("{% if a | string %}{% endif %}", text="9 ** 4000"),
    "{{ (range(9999) | map('string') | join).encode('punycode') }}",
    "{% set a = '" + "".join(map(chr, range(0x4E00, 0x8E00))) + "' %}{{ a.encode('punycode') | length }}",
    "{{ ('a.' * 400000).encode('idna') }}{{ 'é'.encode('ascii', 'namereplace') }}",
    "{{ 'a' | center(999999)" + " | replace(' ', '    ')" * 8 + " | length }}",
    "{{ 'a'" + " | center(999999) | replace(' ', 'xxxx') | escape | urlencode" * 20 + " }}",
    "{% for i in range(99999) %}" + "{% if i %}{% endif %}" * 9_999 + "{% endfor %}",
    "{% for i in range(99999) %}{% set a = [" + "1, " * 50_000 + "] %}{% endfor %}",
    "{% macro m() %}"
    + "{% if 1 %}{% endif %}" * 9_999
    + "{% endmacro %}{% for i in range(99999) %}{{ m() }}{% endfor %}",
    "{% block a %}"
    + "{% if 1 %}{% endif %}" * 9_999
    + "{% endblock %}{% for i in range(99999) %}{{ self.a() }}{% endfor %}",
    "{% for i in range(99999) %}{% set b = ('語' * 99999) | list %}{% endfor %}",
    "{% set a = '語' * 900000 %}" + "".join(f"{{% set b{at} = a | list %}}" for at in range(9)),
    "{% set a = ' a' * 400000 %}" + "".join(f"{{% set b{at} = a.split() %}}" for at in range(9)),
]
"""Much work in few steps: a long text, list or number is gone through over and over, or in the square of its length."""
STATEMENTS += WORK

PIECES = [
    "</script>",
    "<script>parent.broken=1</script>",
    "<!--",
    "-->",
    "]]>",
    "<![CDATA[",
    '" onload="broken=1',
    "' onerror='broken=1",
    "<img src=x onerror=broken=1>",
    "<svg/onload=broken=1>",
    "<iframe srcdoc='<script>broken=1</script>'>",
    "javascript:broken=1",
    "<a href=javascript:broken=1>",
    "<base href=https://example.invalid/>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid'>",
    "<style>@import 'https://example.invalid/a';*{display:none}</style>",
    "<link rel=stylesheet href=https://example.invalid/c>",
    "url(https://example.invalid/d)",
    "expression(alert(1))",
    "\u202e",
    "\u2066",
    "\u2028",
    "\u2029",
    "\x00",
    "\x1b[2J",
    "\ufeff",
    "\ud83d",
    "{{7*7}}",
    "${7*7}",
    "&lt;",
    "&#60;script&#62;",
    "\\u003cscript\\u003e",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=broken=1>",
    "<template><script>broken=1</script></template>",
    "<object data=data:text/html,<script>broken=1</script>>",
    "<form action=https://example.invalid><input>",
    "<video><source onerror=broken=1>",
    "<details open ontoggle=broken=1>",
    "alert(1)",
    "confirm()",
    "prompt`1`",
    "`",
    "\\",
    "\n",
    "\r",
    "\t",
    "'",
    '"',
    "<",
    ">",
    "&",
    "=",
    "__proto__",
    "constructor",
    "toString",
]
"""Of which a hostile text for a page is put together."""

FORMULAS = ["=1+1", '=HYPERLINK("http://example.invalid")', "+1", "-2+3", "@SUM(1)", "=cmd|' /C calc'!A0"]
ESCAPES = [
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x1b[31m",
    "\x9b31m",
    "\u202e",
    "\n",
    "\r",
    "\npairmine: 0 rows rejected",
    "\x08\x08",
    "\x7f",
    "\u2028",
    "\x1bP1$r\x1b\\",
]
NAMES = [
    "../../outside",
    "/absolute",
    "..",
    ".",
    "",
    " ",
    "a/b/c",
    "a\\b",
    "C:\\x",
    "~/x",
    "$HOME",
    "`id`",
    "$(id)",
    "a\x00b",
    "a\nb",
    "-rf",
    "*",
    "con",
    "x" * 300,
    "é🙂",
    ".pairmine.json",
    "corpus.jsonl",
    "qrels/test.tsv",
    "%2e%2e%2f",
    "{split}",
    "file:///etc/passwd",
    "s3://a/b",
    "|id",
    ";id",
]
