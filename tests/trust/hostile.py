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
