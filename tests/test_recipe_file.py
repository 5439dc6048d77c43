"""Every mistake in a recipe is told by file and line, with what to do about it."""

from __future__ import annotations

import random
import re
import textwrap
from pathlib import Path

import pytest

from pairmine.errors import PairmineError
from pairmine.llm.calls import Sampling
from pairmine.llm.recipes.file import load_recipe, read_recipe
from pairmine.llm.recipes.recipe import Count, When
from pairmine.llm.recipes.rendering import Renderer

GOOD = """\
# A recipe with one of everything.
name: tiny
summary: One of everything.
paper: none
reads: documents
example: pairmine generate tiny.yaml corpus.jsonl -o pairs.parquet

inputs:
  author: {meaning: who wrote it, also: [writer], required: false}

options:
  audience: {default: experts, meaning: for whom, choices: [experts, children]}
  most: {default: 20, meaning: how many words}

draws:
  form:
    meaning: what it is
    choices:
      question: {text: a question, weight: 3}
      keywords: some keywords
  language:
    meaning: the language
    open: true
    choices: {document: the language of the document}

steps:
  ask:
    instructions:
      short: Be brief.
      long: Take your time.
    exemplars:
      draw: 1
      user: "Text: {{ exemplar.text }}"
      assistant: '{"query": {{ exemplar.query | json }}}'
      pool:
        rain: {text: It rained., query: weather}
        sun: {text: The sun shone., query: sunshine}
    system: |
      {{ instruction }} Write for {{ options.audience }}.
      Reply with JSON.
    prompt: |
      {{ row.text }}
      {% if row.title %}
      Title: {{ row.title }}
      {% endif %}
      By {{ row.author }} in {{ options.most }} words, as {{ draws.form }} in {{ draws.language }}.
    schema:
      properties:
        query: {type: string}
        score: {type: number, minimum: 0, maximum: 1}
    sampling: {temperature: 0.5, max_tokens: 99, stop: ["END"], extra: {top_k: 20}}
    checks:
      query: {words: [1, 20], language_of: [language, text], no_copy_of: {field: text, run: 8}}
  reply:
    prompt: "Answer: {{ replies.ask.query }}"

emits:
  positive:
    step: reply
    query: "{{ replies.ask.query }}"
    document: "{{ reply.text }}"
    label: 1
    grade: "{{ replies.ask.score }}"
  given:
    step: ask
    query: "{{ reply.query }}"
    document: "{{ row.text }}"
    label: null

duplicates: {fields: [ask.query], threshold: 0.7}
"""


def read(text: str) -> object:
    return read_recipe(text.encode(), "tiny.yaml")


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} occurs {GOOD.count(old)} times"
    return GOOD.replace(old, new)


def error_of(text: str | bytes) -> str:
    with pytest.raises(PairmineError) as caught:
        read_recipe(text if isinstance(text, bytes) else text.encode(), "tiny.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_a_recipe_with_one_of_everything_is_read_as_it_is_written() -> None:
    recipe = read_recipe(GOOD.encode(), "tiny.yaml")
    assert (recipe.name, recipe.reads, recipe.path) == ("tiny", "documents", "tiny.yaml")
    assert [each.name for each in recipe.inputs] == ["id", "text", "title", "author"]
    assert recipe.inputs[-1].aliases == ("writer",)
    assert not recipe.inputs[-1].required
    assert [(each.name, each.default, each.choices) for each in recipe.options] == [
        ("audience", "experts", ("experts", "children")),
        ("most", 20, ()),
    ]
    form, language = recipe.draws
    assert [(each.name, each.weight) for each in form.choices] == [("question", 3.0), ("keywords", 1.0)]
    assert (form.is_open, language.is_open) == (False, True)
    ask, reply = recipe.steps
    assert ask.sampling == Sampling(0.5, 1.0, 99, ("END",), {"top_k": 20})
    assert (ask.shots, [each.name for each in ask.exemplars]) == (1, ["rain", "sun"])
    assert ask.checks["query"]["words"] == [1, 20]
    assert (ask.after, reply.after) == ((), ("ask",))
    assert (ask.fields, reply.fields) == (("query", "score"), ("text",))
    positive, given = recipe.emits
    assert (positive.needs, given.needs) == (("reply", "ask"), ("ask",))
    assert (positive.label, given.label) == (1, None)
    assert recipe.duplicates is not None
    assert (recipe.duplicates.fields, recipe.duplicates.threshold) == ((("ask", "query"),), 0.7)


def test_a_schema_gets_what_strict_structured_output_wants() -> None:
    schema = read_recipe(GOOD.encode(), "tiny.yaml").steps[0].schema
    assert schema is not None
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["query", "score"], False)
    assert list(schema["properties"]) == ["query", "score"]


def test_the_digest_stands_for_the_bytes_of_the_file() -> None:
    first, same, other = (read_recipe(text.encode(), "x.yaml") for text in (GOOD, GOOD, GOOD + "# a comment\n"))
    assert first.digest == same.digest != other.digest
    assert re.fullmatch("[0-9a-f]{16}", first.digest)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    windows = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    recipe = read_recipe(windows, "tiny.yaml")
    assert recipe.steps[0].prompt == read_recipe(GOOD.encode(), "tiny.yaml").steps[0].prompt


MISTAKES = [
    # unknown, missing and repeated keys
    ("summary: One", "sumary: One", "sumary", "unknown key 'sumary'; did you mean summary?"),
    ("    sampling: {temp", "    sampling: {temprature: 1, temp", "sampling", "unknown key 'temprature'; did you mean"),
    (
        "reads: documents\n",
        "reads: documents\nname: again\n",
        "name: again",
        "name stands here and on line 2; keep one",
    ),
    ("      long: Take", "      short: Take", "short: Take", "steps: ask: instructions: short stands here and on line"),
    ("reads: documents", "reads: docs", "reads: docs", "reads: is 'docs'; did you mean documents?"),
    # what YAML misreads
    (
        "document: the language of the document",
        "no: the language",
        "choices: {no",
        "no is read as false; put it in quotes",
    ),
    ("keywords: some keywords", "keywords: yes", "keywords: yes", 'yes is read as true; put it in quotes: "yes"'),
    ("query: sunshine", "query: 2024-01-31", "2024-01-31", "2024-01-31 is read as a date; put it in quotes"),
    ("query: sunshine", "query: on", "query: on", "on is read as true; put it in quotes"),
    ("query: sunshine", "query: 1:30", "query: 1:30", "1:30 is read as the number 1:30; put it in quotes"),
    ("query: sunshine", "query: ", "query: }", "query: is empty; write a text"),
    ("summary: One of everything.", "summary: 12", "summary: 12", "12 is read as the number 12; put it in quotes"),
    (
        '"{{ reply.text }}"',
        "{{ reply.text }}",
        "{{ reply.text }}",
        "is a mapping; a text that begins with { or [ needs q",
    ),
    ("reads: documents", "reads: [documents]", "reads: [", "reads: is a list; a text that begins with { or [ needs q"),
    # values
    ("weight: 3", "weight: 0", "weight: 0", "weight: is 0; give a weight above 0, or take the entry out"),
    ("weight: 3", "weight: -1", "weight: -1", "weight: is -1; give a number from 0 to 1,000,000"),
    ("weight: 3", "weight: .inf", "weight: .inf", "weight: is the number .inf; write a number"),
    ("weight: 3", "weight: heavy", "weight: heavy", "weight: is the text 'heavy'; write a number"),
    ("temperature: 0.5", "temperature: 3", "temperature: 3", "sampling: temperature: is 3; give a number from 0 to 2"),
    ("max_tokens: 99", "max_tokens: 9.5", "max_tokens: 9.5", "max_tokens: is 9.5; give a whole number"),
    ("open: true", "open: yes", "open: yes", "open: is true; write true or false"),
    ("draw: 1", "draw: 3", "draw: 3", "draw: is 3, but the pool has 2; draw fewer or write more"),
    ("default: experts", "default: all", "default: all", "is 'all', which is none of the choices; add it to them"),
    ("threshold: 0.7", "threshold: 7", "threshold: 7", "threshold: is 7; give a number from 0.01 to 1"),
    ("label: 1", "label: 2", "label: 2", "label: is 2; give a number from 0 to 1"),
    ("name: tiny", "name: a b", "name: a b", "name: 'a b' cannot be a name; use letters, digits, - and _"),
    ("  ask:\n", "  ask-it:\n", "ask-it", "'ask-it' cannot name a step; use letters, digits and _"),
    # templates
    ("{{ row.text }}\n      {%", "{{ row.txt }}\n      {%", "{{ row.txt", "prompt: row has no txt; did you mean text?"),
    ("{{ row.author }}", "{{ row['writer'] }}", "row['writer']", "row has no writer; choose id, text, title, author"),
    ("{{ draws.form }}", "{{ draws.from }}", "draws.from", "draws has no from; did you mean form?"),
    ("{{ draws.language }}", "{{ language }}", "{{ language }}", "unknown variable language; choose"),
    ("{% if row.title %}", "{% if row.title", "Title:", "prompt:"),
    ("{% endif %}", "", "By {{", "Unexpected end of template"),
    ("{{ row.title }}", "{{ row.title | loud }}", "| loud", "no filter loud; did you mean round?"),
    ("{{ row.title }}", "{{ row.title | random }}", "| random", "no filter random; "),
    ("{{ row.title }}", "{% include 'secret' %}", "{% include", "a recipe stands alone; write the text out"),
    ("{{ row.title }}", "{{ row.title.__class__ }}", "__class__", "__class__ is out of reach"),
    (
        "{{ instruction }}",
        "{{ instruction }} {{ row.text }}",
        "{{ instruction }} {{",
        "reads row, but the system message is the same for",
    ),
    (
        "{{ instruction }}",
        "{{ instruction }} {{ draws.form }}",
        "{{ instruction }} {{",
        "reads draws, but the system message is the same for all",
    ),
    (
        '{{ replies.ask.query }}"\n\nemits',
        '{{ replies.reply.text }}"\n\nemits',
        "{{ replies.reply",
        "replies has no reply",
    ),
    (
        'grade: "{{ replies.ask.score',
        'grade: "{{ replies.ask.grade',
        "replies.ask.grade",
        "replies.ask has no grade; choose",
    ),
    ("exemplar.text }}", "exemplar.txt }}", "exemplar.txt", "exemplar has no txt; did you mean text?"),
    (
        "text: The sun shone., ",
        "",
        "sun: {",
        "cannot show exemplar sun with instruction short: no field 'text'; give it",
    ),
    ("text: It rained.", "text: ' '", "text: ' '", None),
    (
        "long: Take your time.",
        "long: Take {{ time }}.",
        "long: Take",
        "holds {{, but only prompt, system, turns, emits",
    ),
    ("{{ instruction }} Write", "Write", "instructions:", "no template says {{ instruction }}; add it, or take them"),
    ("Reply with JSON.", "Reply.", "prompt: |", "there is a schema, but no word of JSON; say in prompt or system what"),
    (
        '      user: "Text: {{ exemplar.text }}"\n',
        "",
        "draw: 1",
        "has one of user and assistant; give both, or neither",
    ),
    # schema and checks
    ("query: {type: string}", "query: {type: text}", "query: {type", "has type text; known are string"),
    ("query: {type: string}", "query: {type: string, format: uri}", "query: {type", "uses format; known are"),
    ("query: {type: string}", "my-query: {type: string}", "my-query", "'my-query' cannot name a field"),
    ("      properties:\n", "      type: array\n      properties:\n", "type: array", "the schema of a reply is"),
    ("query: {words", "qery: {words", "qery: {", "no field qery in the reply; did you mean query?"),
    ("{words: [1, 20]", "{word: [1, 20]", "{word:", "unknown check; did you mean words?"),
    ("{words: [1, 20]", "{words: [20, 1]", "{words:", "least, 20, above its most, 1"),
    ("{field: text, run", "{field: body, run", "{field: body", "compares with body, which is not there; choose id"),
    ("[language, text]", "[tongue, text]", "[tongue", "compares with tongue, which is not there"),
    # emits
    ("step: reply", "step: replay", "step: replay", "step: is 'replay'; did you mean reply?"),
    ("    step: reply\n", "", "  positive:", "has no step, and there are several; add step: ask or reply"),
    ("{{ reply.text }}", "{{ reply.txt }}", "reply.txt", "document: reply has no txt; did you mean text?"),
    ("fields: [ask.query]", "fields: [ask.qery]", "ask.qery", "fields[1]: is 'ask.qery'; did you mean ask.query?"),
    ("fields: [ask.query]", "fields: [ask.score]", "ask.score]", "fields[1]: ask.score is of type number; only texts"),
    ("fields: [ask.query]", "fields: [ask.query, ask.query]", "ask.query, ask", "fields[2]: names ask.query again"),
    ("  given:\n", "  positive:\n", "  positive:\n    step: ask", "emits: positive stands here and on line"),
    ("  author: {", "  text: {", "  text: {meaning", "every table of documents has it; take it out"),
    # what nothing reads
    (" in {{ options.most }} words", "", "  most: {", "options: most: no template reads options.most; use it or take"),
    ("as {{ draws.form }} in", "in", "  form:", "draws: form: no template reads draws.form; use it or take it out"),
    (
        "emits:",
        "  idle: {prompt: Hello.}\n\nemits:",
        "  idle:",
        "no row, score or later step reads its reply; use it or",
    ),
    # templates that no reply can fill
    (
        "{{ replies.ask.score }}",
        "{{ replies.ask.query + 1 }}",
        'grade: "',
        "emits: positive: grade: no reply can fill it: can only concatenate str",
    ),
    (
        "{{ replies.ask.score }}",
        "{{ replies.ask.score + 2 }}",
        'grade: "',
        "is no number from 0 to 1; mend the template",
    ),
    ("{{ replies.ask.score }}", "high", 'grade: "', "'high' is no number from 0 to 1; mend the template"),
    ("{{ replies.ask.score }}", "{{ 1 / 0 }}", 'grade: "', "grade: no reply can fill it: division by zero; mend"),
    ('"{{ reply.query }}"', '"{{ reply.query.a.b }}"', "reply.query.a.b", None),
    ('"{{ reply.query }}"', "\"{{ reply.query[' '] }}\"", "reply.query[", None),
    (
        '"{{ reply.query }}"',
        "\"{{ 'x' * 10 ** 9 }}\"",
        "'x' * ",
        "query: no reply can fill it: ** makes a value of more than",
    ),
    (
        "    label: null",
        "    each: reply.query\n    label: null",
        "each: reply",
        "given: each: no reply can fill it: it is no list",
    ),
    ("  form:\n", "  label:\n", "  label:\n", "the rows have a column label anyway; give the draw another name"),
    ("  form:\n", "  the-form:\n", "  the-form:\n", "'the-form' cannot name a draw; use letters, digits and _"),
    ("  most: {", "  the-most: {", "  the-most", "'the-most' cannot name a variable"),
]


@pytest.mark.parametrize(
    ("old", "new", "at", "message"), MISTAKES, ids=[f"{n}-{m[3]}"[:60] for n, m in enumerate(MISTAKES)]
)
def test_a_mistake_is_told_with_its_line_and_a_remedy(old: str, new: str, at: str, message: str | None) -> None:
    text = changed(old, new)
    if message is None:
        assert read(text)
        return
    said = error_of(text)
    assert message in said
    where, line = said.split(":", 2)[:2]
    assert (where, int(line)) == ("tiny.yaml", line_of(text, at)), said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "tiny.yaml: is empty; 'pairmine recipes queries' shows what a recipe holds"),
        (b"# nothing but a comment\n", "tiny.yaml: is empty"),
        (b"- name: x\n", "tiny.yaml:1: a recipe is a mapping with name, reads, steps and so on, this is a list"),
        (b"just a sentence\n", "tiny.yaml:1: a recipe is a mapping"),
        (b"name: x\nsummary: caf\xe9\n", "tiny.yaml:2: is not UTF-8 text; save it as UTF-8"),
        (b"name: x\nsummary: a\x07b\n", "tiny.yaml:2: a control character; take it out"),
        (
            b"name: x\nsummary: a: b\n",
            "tiny.yaml:2: not YAML: mapping values are not allowed in this context; a text w",
        ),
        (b"name: x\nsummary: 'a\n", "tiny.yaml:2: not YAML: while scanning a quoted scalar"),
        (b"name: x\n\tsummary: a\n", "tiny.yaml:2: not YAML"),
        (b"name: *x\n", "tiny.yaml:1: not YAML: found undefined alias; a text that begins with * or & needs quotes"),
        (b"name: x\n---\nname: y\n", "tiny.yaml:2: not YAML: expected a single document"),
        (b"{}", "tiny.yaml:1: has no entries"),
        (b"x" * 1_000_001, "tiny.yaml: has 1,000,001 bytes; a recipe may have up to 1,000,000"),
        (
            b"a: " + b"[" * 5000 + b"]" * 5000,
            "tiny.yaml:1: nested more than 40 deep; make it smaller, a recipe has a few levels",
        ),
        (b"[" * 200_000, "tiny.yaml:1: nested more than 40 deep"),
        (b"a:\n - " + b"{a: " * 50_000, "tiny.yaml:2: nested more than 40 deep"),
        (b"- " * 100_000, "tiny.yaml:1: nested more than 40 deep"),
        (
            b"a:\n" + b"- x\n" * 60_000,
            "tiny.yaml:49998: more than 50,000 values; make it smaller, a recipe has a few levels",
        ),
    ],
)
def test_a_file_that_is_no_recipe_at_all_is_one_line(data: bytes, message: str) -> None:
    assert error_of(data).startswith(message)


def test_aliases_that_stand_for_millions_of_values_are_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert "too many or too deep values, with aliases" in error_of(bomb)
    assert "too many or too deep values" in error_of("a: &a [*a]\n")


LISTS = """\
name: lists
summary: s
paper: p
reads: rows
inputs: {count: {meaning: a number}}
steps:
  write:
    prompt: Write JSON about {{ row.count }}.
    schema:
      type: object
      properties:
        topic: {type: string}
        maybe: {type: [string, "null"]}
        score: {type: number}
        level: {enum: [low, high]}
        whole: {type: integer, minimum: 1, maximum: 5}
        texts: {type: array, items: {type: string}}
        pairs: {type: array, items: {type: object, properties: {a: {type: string}, b: {type: string}}}}
        numbers: {type: array, items: {type: number}}
      required: [score, level, whole, texts, pairs, maybe]
emits:
  pair:
    each: reply.pairs
    query: "{{ each.a }}"
    document: "{{ each.b }}"
    grade: "0.5"
"""


def lists(**changes: str) -> str:
    """The recipe with other templates, or with duplicates."""
    text = LISTS
    for key, template in changes.items():
        if key == "duplicates":
            text += f"duplicates: {{fields: [{template}]}}\n"
        else:
            [old] = re.findall(rf"    {key}: .*\n", text)
            text = text.replace(old, f"    {key}: {template}\n")
    assert text != LISTS
    return text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"query": '"{{ each.nme }}"'},
            "lists.yaml:24: emits: pair: query: no reply can fill it: no field 'nme'; mend",
        ),
        ({"query": '"{{ each + 1 }}"'}, "lists.yaml:24: emits: pair: query: no reply can fill it: unsupported operand"),
        ({"query": '"{{ each.a + 1 }}"'}, "lists.yaml:24: emits: pair: query: no reply can fill it: can only concat"),
        ({"each": "reply.level"}, "lists.yaml:23: emits: pair: each: no reply can fill it: it is no list; mend"),
        ({"each": "reply.pairs[0]"}, "lists.yaml:23: emits: pair: each: no reply can fill it: it is no list; mend"),
        ({"grade": '"{{ reply.whole }}0"'}, "lists.yaml:26: emits: pair: grade: no reply can fill it: '"),
        ({"grade": '"{{ reply.texts | length + 1 / 0 }}"'}, None),
        ({"grade": "\"{{ {'low': 0, 'hi': 1}[reply.level] }}\""}, None),
        # What a free text, an unbounded number or a column of one's own may hold is not known.
        ({"grade": "\"{{ {'yep': 1, 'nope': 0}[reply.texts[0]] }}\""}, None),
        ({"grade": '"{{ (reply.score - 1990) / 35 }}"'}, None),
        ({"grade": "\"{{ reply.texts[0].split('|')[1] }}\""}, None),
        ({"grade": '"{{ reply.topic }}"'}, None),
        ({"query": '"{{ row.count + 1 }}"'}, None),
        ({"query": '"{{ row.count.name.first }}"'}, None),
        ({"each": "reply.texts", "query": '"{{ each }}"', "document": '"{{ each | upper }}"'}, None),
        ({"each": "reply.pairs[:1] + reply.pairs[2:]"}, None),
        ({"query": '"{{ reply.maybe }}"', "document": '"{{ reply.numbers[0] }}"'}, None),
    ],
)
def test_a_template_that_no_reply_can_fill_is_told_before_a_reply_is_paid(
    changes: dict[str, str], message: str | None
) -> None:
    if message is None:
        assert read_recipe(lists(**changes).encode(), "lists.yaml").emits
    else:
        assert str(_raised(lists(**changes), "lists.yaml")).startswith(message)


@pytest.mark.parametrize(
    "schema",
    [
        "{type: integer, minimum: -1.7e+308, maximum: 1.7e+308}",
        "{type: integer, minimum: 5, maximum: 1}",
        "{type: [number, string, array, object, boolean, 'null']}",
        "{type: array, minItems: 1000000000000}",
        "{type: array, maxItems: -1}",
        "{type: array, items: {type: array, items: {enum: [1, a, null]}}}",
        "{type: 'null'}",
        "{}",
    ],
)
def test_a_schema_of_any_kind_can_be_tried_out(schema: str) -> None:
    text = LISTS.replace("topic: {type: string}", f"topic: {schema}").replace("each.a }}", "each.a }}{{ reply.topic }}")
    assert read_recipe(text.encode(), "lists.yaml").emits


def test_a_score_that_no_reply_can_give_is_told_by_line() -> None:
    text = textwrap.dedent("""\
        name: s
        summary: s
        paper: p
        reads: pairs
        steps:
          judge:
            prompt: "Is {{ row.query }} answered? Reply in JSON."
            schema: {properties: {answer: {type: string, enum: [yes it is, no it is not]}}}
        score: "{{ SCORE }}"
        """)
    said = str(_raised(text.replace("SCORE", "reply.answer"), "s.yaml"))
    assert re.match(r"s.yaml:9: score: no reply can fill it: '\w+ it is.*' is no number from 0 to 1; mend the", said)
    assert read_recipe(text.replace("SCORE", "1 if reply.answer[0] == 'y' else 0").encode(), "s.yaml").score


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("write.topic", "fields[1]: write.topic may be missing from a reply; make it required, or take it out"),
        ("write.maybe", "fields[1]: write.maybe is of type string or null; only texts and lists of texts are compared"),
        ("write.score", "fields[1]: write.score is of type number; only texts and lists of texts are compared"),
        ("write.pairs", "fields[1]: write.pairs is of type array; only texts and lists of texts are compared"),
        ("write.numbers", "fields[1]: write.numbers may be missing from a reply; make it required, or take it out"),
        ("write.texts", None),
    ],
)
def test_only_texts_that_every_reply_has_are_compared_for_duplicates(field: str, message: str | None) -> None:
    text = lists(duplicates=field)
    if message is None:
        found = read_recipe(text.encode(), "lists.yaml").duplicates
        assert found is not None
        assert found.fields == (("write", "texts"),)
    else:
        assert str(_raised(text, "lists.yaml")) == f"lists.yaml:27: duplicates: {message}"


@pytest.mark.parametrize(
    "template",
    [
        "(" * 5000 + "1" + ")" * 5000,
        " + ".join(["1"] * 20_000),
        "~".join(["row.text"] * 5_000),
        "-" * 10_000 + "1",
        "x" + "[0]" * 10_000,
    ],
)
def test_a_template_nested_too_deeply_is_a_line_or_works(template: str) -> None:
    text = changed("{{ row.author }}", "{{ " + template + " }}")
    try:
        Renderer(read_recipe(text.encode(), "tiny.yaml")).item({"text": "T"})
    except PairmineError as error:
        assert re.match(r"tiny\.yaml:\d+: steps: ask: prompt: .+; mend the template$", str(error))  # noqa: PT017


def test_loops_nested_deeper_than_python_allows_are_a_line() -> None:
    loops = "{% for a in row.text %}" * 30 + "x" + "{% endfor %}" * 30
    assert re.search(
        r"prompt: .*; mend the template", error_of(changed("{{ row.author }}", "{{ row.author }}" + loops))
    )


def test_a_recipe_that_emits_nothing_and_scores_nothing_is_refused() -> None:
    text = GOOD[: GOOD.index("emits:")]
    assert "a recipe has either emits or a score; give one of them" in error_of(text)
    assert "a recipe has either emits or a score" in error_of(GOOD + 'score: "1"\n')


def test_a_score_is_for_pairs() -> None:
    text = textwrap.dedent("""\
        name: s
        summary: s
        paper: p
        reads: READS
        example: e
        steps:
          judge:
            prompt: "{{ row.query }}"
        score: "{{ reply.text }}"
        """)
    assert read_recipe(text.replace("READS", "pairs").encode(), "s.yaml").score == "{{ reply.text }}"
    assert "s.yaml:8: steps: judge: prompt: row has no query" in str(
        _raised(text.replace("READS", "queries"), "s.yaml")
    )
    rows = text.replace("READS", "rows\ninputs: {query: {meaning: a text}}")
    assert "s.yaml:10: score: a score is for a pair; write reads: pairs" in str(_raised(rows, "s.yaml"))


def _raised(text: str, path: str) -> PairmineError:
    with pytest.raises(PairmineError) as caught:
        read_recipe(text.encode(), path)
    return caught.value


def test_a_line_inside_a_block_is_the_line_of_the_file() -> None:
    text = changed("      Title: {{ row.title }}\n", "      Title: {{ row.title }}\n\n      {{ nobody }}\n")
    assert error_of(text).startswith(f"tiny.yaml:{line_of(text, '{{ nobody }}')}: steps: ask: prompt: unknown variable")


def test_a_recipe_is_found_by_name_or_by_file(tmp_path: Path) -> None:
    assert load_recipe("queries").name == "queries"
    path = tmp_path / "mine.yml"
    path.write_text(GOOD, "utf-8")
    assert load_recipe(str(path)).name == "tiny"
    with pytest.raises(
        PairmineError, match=r"^no recipe 'querys'; did you mean queries.*\? 'pairmine recipes' lists all"
    ):
        load_recipe("querys")
    with pytest.raises(
        PairmineError, match=r"gone.yaml: No such file or directory; name a recipe file that can be read"
    ):
        load_recipe(str(tmp_path / "gone.yaml"))
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(PairmineError, match="Is a directory"):
        load_recipe(str(tmp_path / "d.yaml"))


def test_a_recipe_that_reads_nothing_has_no_columns() -> None:
    text = changed("reads: documents", "reads: nothing")
    said = error_of(text)
    assert "inputs: the recipe reads nothing; leave inputs out or write reads: rows" in said


SCRAPS = [
    "{{",
    "}}",
    "{% if",
    ": ",
    "- ",
    "#",
    "'",
    '"',
    "\n",
    "\t",
    "&a ",
    "*a ",
    "| ",
    "[",
    "{",
    "null",
    "no",
    "~",
    "\x85",
    "!x ",
]


def test_whatever_a_slip_of_the_hand_leaves_of_a_recipe_is_a_recipe_or_one_line() -> None:
    hand = random.Random(7)
    broken = 0
    for _ in range(400):
        at = hand.randrange(len(GOOD))
        cut = hand.choice([0, 0, 1, 5, 40])
        text = GOOD[:at] + hand.choice(["", *SCRAPS]) + GOOD[at + cut :]
        try:
            recipe = read_recipe(text.encode(), "tiny.yaml")
        except PairmineError as error:
            broken += 1
            assert re.fullmatch(r"tiny\.yaml:\d+: .+", str(error)), str(error)  # noqa: PT017
        else:
            Renderer(recipe).item({"text": "T"})
    assert 100 < broken < 400


PARTS = """\
name: parts
summary: s
reads: nothing
options:
  per_call: {default: 20, meaning: m}
  themes: {default: 3, meaning: m}
  turns: {default: 4, meaning: m}
  share: {default: 0.5, meaning: m}
draws:
  theme: {meaning: m, several: options.themes, choices: {a: apples, b: boats, c: clocks}}
  tone: {meaning: m, per: part, choices: {gruff: a gruff tone, mild: a mild tone}}
expand:
  step: brainstorm
  each: reply.tasks
steps:
  brainstorm:
    prompt: JSON with {{ options.per_call }} tasks on {{ draws.theme }} and {{ options.share }}.
    schema: {properties: {tasks: {type: array, items: {type: string}}}}
  write:
    rounds: options.turns
    prompt: JSON on {{ part }} in {{ draws.tone }}, round {{ round }}, after {{ previous | length }}.
    schema: {properties: {query: {type: string}, score: {type: integer, minimum: 0, maximum: 5}}}
    checks:
      query: {differs_from: previous.query, language_of: part}
  improve:
    prompt: Improve {{ replies.write.query }}.
    checks:
      text: {differs_from: write.query}
emits:
  pair:
    step: write
    each: reply.rounds
    query: "{{ part }}"
    document: "{{ each.query }}"
    label: "{{ 1 if each.score > 2 else 0 }}"
    when: {test: each.score != 2, reason: "neither one   nor the other"}
    columns: {kind: "{{ draws.tone }}"}
    numbers:
      score_llm: "{{ each.score / 5 }}"
      place: "{{ index }}"
  last: {step: improve, query: "{{ part }}", document: "{{ reply.text }}", numbers: {place: "{{ 9 }}"}}
duplicates: {fields: [improve.text]}
"""


def test_a_recipe_with_parts_rounds_and_columns_of_its_own_is_read_as_it_is_written() -> None:
    recipe = read_recipe(PARTS.encode(), "parts.yaml")
    assert recipe.expand is not None
    assert (recipe.expand.step, recipe.expand.each) == ("brainstorm", "reply.tasks")
    assert (recipe.expand.expected, recipe.expand.basis) == (Count(20, "per_call"), "options.per_call")
    theme, tone = recipe.draws
    assert (theme.several, theme.is_per_part) == (Count(3, "themes"), False)
    assert (tone.several, tone.is_per_part) == (None, True)
    assert [step.rounds for step in recipe.steps] == [None, Count(4, "turns"), None]
    pair, last = recipe.emits
    assert pair.label == "{{ 1 if each.score > 2 else 0 }}"
    assert pair.when == When("each.score != 2", "neither one nor the other")
    assert (dict(pair.columns), list(pair.numbers)) == ({"kind": "{{ draws.tone }}"}, ["score_llm", "place"])
    assert (last.label, last.when, dict(last.columns)) == (None, None, {})


@pytest.mark.parametrize(
    ("old", "new", "expected", "basis"),
    [
        ("each: reply.tasks", "each: reply.tasks\n  expect: 7", Count(7), "the recipe"),
        ("each: reply.tasks", "each: reply.tasks\n  expect: options.themes", Count(3, "themes"), "options.themes"),
        (
            "tasks: {type: array,",
            "tasks: {type: array, minItems: 2, maxItems: 9,",
            Count(9),
            "maxItems of brainstorm.tasks",
        ),
        ("on {{ draws.theme }}", "on {{ draws.theme }} {{ options.themes }}", Count(10), "a guess"),
    ],
)
def test_an_estimate_reckons_with_as_many_parts_as_the_recipe_lets_expect(
    old: str, new: str, expected: Count, basis: str
) -> None:
    recipe = read_recipe(PARTS.replace(old, new).encode(), "parts.yaml")
    assert recipe.expand is not None
    assert (recipe.expand.expected, recipe.expand.basis) == (expected, basis)


PARTS_MISTAKES = [
    ("step: brainstorm", "step: brainstrom", "step: brainstrom", "expand: step: is 'brainstrom'; did you mean"),
    ("step: brainstorm", "step: write", "step: write", "expand: step: write must be the first step, since all others"),
    ("  each: reply.tasks", "  list: reply.tasks", "  list:", "expand: unknown key 'list'; choose step, each, expect"),
    ("  each: reply.tasks\n", "", "  step: brain", "expand: has no each; add it"),
    (
        "each: reply.tasks",
        "each: reply.task",
        "each: reply.task",
        "expand: each: reply has no task; did you mean tasks?",
    ),
    (
        "each: reply.tasks",
        "each: reply.tasks[0]",
        "each: reply.tasks[0]",
        "expand: each: no reply can fill it: it is no",
    ),
    ("each: reply.tasks", "each: part", "each: part", "expand: each: unknown variable part; choose"),
    (
        "each: reply.tasks",
        "each: reply.tasks\n  expect: 0",
        "  expect: 0",
        "expand: expect: is 0; give a number from 1",
    ),
    ("JSON on {{ part }} in", "JSON in", "  write:", "step write: its prompt reads no part, nor the reply of a step"),
    (
        "on {{ draws.theme }}",
        "on {{ draws.theme }} {{ draws.tone }}",
        "expand:",
        "step brainstorm reads draws.tone, which",
    ),
    (
        "{{ draws.theme }} and",
        "{{ draws.theme }} {{ part }} and",
        "{{ part }} and",
        "prompt: unknown variable part; choo",
    ),
    (
        "fields: [improve.text]",
        "fields: [brainstorm.tasks]",
        "brainstorm.tasks]",
        "fields[1]: is 'brainstorm.tasks'; cho",
    ),
    (
        "several: options.themes",
        "several: options.theme",
        "options.theme,",
        "several: options has no theme; did you mean",
    ),
    (
        "several: options.themes",
        "several: options.share",
        "options.share,",
        "options.share is 0.5 by default; it must be a",
    ),
    (
        "several: options.themes",
        "several: themes",
        "several: themes",
        "several: is 'themes'; give a whole number from 1 to",
    ),
    (
        "several: options.themes",
        "several: 4",
        "several: 4",
        "several: is 4, but the pool has 3; draw fewer or write more",
    ),
    ("per: part", "per: piece", "per: piece", "per: is 'piece'; choose row, part"),
    ("rounds: options.turns", "rounds: 0", "rounds: 0", "rounds: is 0; give a number from 1 to 200"),
    ("rounds: options.turns", "rounds: 2.5", "rounds: 2.5", "rounds: is 2.5; give a whole number"),
    ("rounds: options.turns", "rounds: 201", "rounds: 201", "rounds: is 201; give a number from 1 to 200"),
    (
        ", round {{ round }}, after {{ previous | length }}",
        "",
        "rounds: options",
        "rounds: the prompt reads neither round nor previous, so that all ask the same",
    ),
    ("Improve {{", "Improve in round {{ round }} {{", "Improve in", "prompt: unknown variable round; choose"),
    (
        "query: {type: string}",
        "rounds: {type: string}",
        "schema: {properties: {rounds",
        "are called rounds; rename that",
    ),
    ("from: previous.query", "from: previous.text", "from: previous.text", "compares with previous.text, which is not"),
    (
        "from: write.query",
        "from: brainstorm.tasks",
        "from: brainstorm",
        "compares with brainstorm.tasks, which is not th",
    ),
    (
        "from: write.query",
        "from: previous.text",
        "from: previous.text",
        "compares with previous.text, which is not there",
    ),
    (
        "each: reply.rounds",
        "each: replies.improve.rounds",
        "replies.improve.rounds",
        "replies.improve has no rounds; choose",
    ),
    ("test: each.score != 2", "tests: each.score != 2", "tests: each", "when: unknown key 'tests'; did you mean test?"),
    (
        "test: each.score != 2",
        "test: entry.score",
        "test: entry",
        "emits: pair: when: test: unknown variable entry; choo",
    ),
    (
        "test: each.score != 2",
        "test: each.points > 2",
        "test: each.points",
        "when: test: no reply can fill it: no field 'p",
    ),
    (
        "test: each.score != 2",
        "test: each.score > 'a'",
        "test: each.score",
        "when: test: no reply can fill it: '>' not",
    ),
    (', reason: "neither one   nor the other"', "", "when: {", "emits: pair: when: has no reason; add it"),
    (
        "{{ 1 if each.score > 2 else 0 }}",
        "{{ reply.score + 2 }}",
        "label: ",
        "label: no reply can fill it: '4' is neither",
    ),
    ("{{ 1 if each.score > 2 else 0 }}", "good", "label: ", "label: no reply can fill it: 'good' is neither 1 nor 0"),
    ("columns: {kind:", "columns: {label:", "columns: {label", "the rows have a column label anyway; give it another"),
    ("columns: {kind:", "columns: {tone:", "columns: {tone", "columns: tone: the rows have a column tone anyway; give"),
    ("columns: {kind:", "columns: {score_kind:", "columns: {score_kind", "a score is a number; move it to numbers"),
    (
        "columns: {kind:",
        "columns: {my-kind:",
        "columns: {my-kind",
        "'my-kind' cannot name a column; use letters, digits",
    ),
    ("columns: {kind:", "columns: {place:", "      place:", "numbers: place: another row has place among its columns"),
    ('{{ draws.tone }}"}', '{{ draws.tune }}"}', "draws.tune", "columns: kind: draws has no tune; did you mean tone?"),
    ("      place:", "      batch:", "      batch:", "numbers: batch: the rows have a column batch anyway; give it"),
    (
        "each.score / 5",
        "reply.score + 5",
        "score_llm:",
        "numbers: score_llm: no reply can fill it: '7' is no number fro",
    ),
    (
        "{{ index }}",
        "{{ draws.tone }}",
        "      place:",
        "numbers: place: no reply can fill it: 'a gruff tone' is no num",
    ),
    (
        'numbers: {place: "{{ 9 }}"}',
        'numbers: {place: "{{ index }}"}',
        "  last:",
        "place: unknown variable index; choose",
    ),
    ("  themes: {default: 3, meaning: m}", "  themes: {default: 0, meaning: m}", "several:", "options.themes is 0 by"),
]


@pytest.mark.parametrize(
    ("old", "new", "at", "message"), PARTS_MISTAKES, ids=[f"{n}-{m[3]}"[:60] for n, m in enumerate(PARTS_MISTAKES)]
)
def test_a_mistake_about_parts_rounds_or_columns_is_told_with_its_line(
    old: str, new: str, at: str, message: str
) -> None:
    assert PARTS.count(old) >= 1
    text = PARTS.replace(old, new, 1)
    said = error_of(text)
    assert message in said
    assert said.startswith(f"tiny.yaml:{line_of(text, at)}: "), said


def test_draws_for_parts_are_for_recipes_that_have_some() -> None:
    text = changed(
        "  language:\n    meaning: the language\n", "  language:\n    per: part\n    meaning: the language\n"
    )
    assert "draws: language: per: is part, but the recipe makes none; add expand, or write per: row" in error_of(text)


def test_a_score_is_one_for_a_pair_and_not_for_its_parts() -> None:
    text = textwrap.dedent("""\
        name: s
        summary: s
        reads: pairs
        expand: {step: split, each: reply.parts}
        steps:
          split:
            prompt: "JSON: {{ row.query }}"
            schema: {properties: {parts: {type: array, items: {type: string}}}}
          judge: {prompt: "{{ part }} {{ row.document }}"}
        score: "{{ reply.text }}"
        """)
    assert str(_raised(text, "s.yaml")).startswith(
        "s.yaml:4: expand: a pair has one score, not one for each part; take"
    )


# Groups, rests, limits, and what is only asked of some rows ---------------------------------------

GROUPED = """\
name: grouped
summary: s
paper: p
reads: groups
options:
  most: {default: 5, meaning: how many, low: 1, high: 9}
groups: {most: options.most}
only:
  test: row.candidates | length > 1
  reason: one document alone
steps:
  pick:
    prompt: "{{ row.query }}{% for each in row.candidates %} {{ each.text }}{% endfor %}"
  check:
    only: options.most > 1
    prompt: "Is it so? {{ replies.pick.text }}"
emits:
  best:
    step: pick
    query: "{{ row.query }}"
    candidate: row.candidates[reply.text | number]
    label: 1
  checked:
    only: options.most > 2
    step: check
    query: "{{ row.query }}"
    document: "{{ reply.text }}"
"""


def _error(text: str, path: str) -> str:
    return str(_raised(text, path))


def test_groups_and_conditions_are_read_as_they_stand() -> None:
    recipe = read_recipe(GROUPED.encode(), "g.yaml")
    assert [column.name for column in recipe.inputs] == ["query_id", "query", "candidates"]
    assert recipe.most == Count(5, "most")
    assert recipe.only == When("row.candidates | length > 1", "one document alone")
    assert (recipe.step("check").only, recipe.step("pick").only) == ("options.most > 1", None)
    assert [emit.only for emit in recipe.emits] == [None, "options.most > 2"]
    assert (recipe.options[0].low, recipe.options[0].high) == (1, 9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "reads: groups",
            "reads: pairs",
            "g.yaml:7: groups: is for recipes that read groups, and this one reads pairs",
        ),
        ("most: options.most}", "most: 0}", "g.yaml:7: groups: most: is 0; give a number from 1 to 100,000"),
        ("most: options.most}", "first: 3}", "g.yaml:7: groups: unknown key 'first'"),
        ("default: 5", "default: 12", "g.yaml:6: options: most: default: is 12; give a number from 1 to 9"),
        ("low: 1, high: 9", "low: 9, high: 1", "g.yaml:6: options: most: low: is above high, which is 1"),
        ("low: 1", "low: 1.5", "g.yaml:6: options: most: low: is 1.5; give a whole number"),
        ("default: 5", "default: few", "g.yaml:6: options: most: low: is for numbers, and the default is none"),
        ("row.candidates | length > 1", "row.passages | length > 1", "g.yaml:9: only: test: row has no passages"),
        ("row.candidates | length > 1", "replies.pick.text", "g.yaml:9: only: test: unknown variable replies"),
        ("  reason: one document alone\n", "", "g.yaml:9: only: has no reason; add it"),
        ("only: options.most > 1", "only: options.few > 1", "g.yaml:15: steps: check: only: options has no few"),
        ("only: options.most > 2", "only: options.few", "g.yaml:24: emits: checked: only: options has no few"),
        ("only: options.most > 2", "only: 1 / 0", "g.yaml:24: emits: checked: only: no reply can fill it: division by"),
        (
            "candidate: row.candidates[reply.text | number]",
            "document: a\n    candidate: row.candidates[0]",
            "g.yaml:21: emits: best: document: the candidate tells text and id of the document; keep one of them",
        ),
        ("    candidate: row.candidates[reply.text | number]\n", "", "emits: best: has no document; add it"),
        (
            "candidate: row.candidates[",
            "candidate: row.passages[",
            "g.yaml:21: emits: best: candidate: row has no passages",
        ),
    ],
)
def test_a_mistake_about_groups_and_conditions_is_told_with_its_line(old: str, new: str, message: str) -> None:
    assert GROUPED.count(old) == 1
    assert message in _error(GROUPED.replace(old, new), "g.yaml")


def test_only_groups_have_candidates_and_only_rows_have_a_rest() -> None:
    assert "only groups have candidates; write reads: groups" in _error(
        lists(document="x").replace("    document: x", "    candidate: reply.texts[0]"), "l.yaml"
    )
    rest = "inputs: {record: {meaning: all of it, rest: true}}\n"
    two = "inputs: {record: {meaning: all of it, rest: true}, b: {meaning: b, rest: true}}\n"
    old = "inputs: {count: {meaning: a number}}\n"
    of_rows = LISTS.replace("row.count", "row.record")
    assert read_recipe(of_rows.replace(old, rest).encode(), "l.yaml").rest == "record"
    assert "inputs: b: rest: record has the rest already" in _error(of_rows.replace(old, two), "l.yaml")
    documents = of_rows.replace(old, rest).replace("reads: rows", "reads: documents")
    assert "rest: is for recipes that read rows, and this one reads documents" in _error(documents, "l.yaml")


def test_a_score_and_the_step_that_is_expanded_cannot_go_without_a_reply() -> None:
    score = GROUPED.replace("reads: groups", "reads: pairs").replace("groups: {most: options.most}\n", "")
    score = score[: score.index("emits:")].replace("row.candidates | length > 1", "row.document != 'x'")
    score = (
        score.replace("{% for each in row.candidates %} {{ each.text }}{% endfor %}", "")
        + 'score: "{{ reply.text }}"\n'
    )
    assert "steps: check: only: a score needs all steps" in _error(score, "g.yaml")
    first = "steps:\n  write:\n    only: row.count > 1\n"
    expanded = LISTS.replace("steps:\n  write:\n", first).replace(
        "emits:", "expand: {step: write, each: reply.texts}\nemits:"
    )
    assert "steps: write: only: all other steps are asked about its parts" in _error(expanded, "l.yaml")


@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "--set most=0: give a whole number from 1 to 9"), ("10", "--set most=10: give a whole number from 1 to 9")],
)
def test_a_number_beyond_the_limits_of_an_option_is_refused(value: object, message: str) -> None:
    recipe = read_recipe(GROUPED.encode(), "g.yaml")
    with pytest.raises(PairmineError, match=re.escape(message)):
        Renderer(recipe, options={"most": value})
    assert Renderer(recipe, options={"most": "9"}).options == {"most": 9}
