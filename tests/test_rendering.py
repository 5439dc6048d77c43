"""Draws belong to what a row says; prompts and rows come out as the recipe has them."""

from __future__ import annotations

import math
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pairmine.errors import PairmineError
from pairmine.identity import content_id
from pairmine.llm.recipes.bad_examples import bad_examples
from pairmine.llm.recipes.file import load_recipe, read_recipe
from pairmine.llm.recipes.recipe import Choice, Exemplar, PromptRecipe
from pairmine.llm.recipes.rendering import Prompt, Refused, Renderer, RowProblem
from pairmine.llm.recipes.templates import number as first_number

RECIPE = """\
name: tiny
summary: s
paper: p
reads: documents
example: e
options:
  most: {default: 5, meaning: m}
  tone: {default: calm, choices: [calm, loud], meaning: m}
  polite: {default: true, meaning: m}
  share: {default: 0.5, meaning: m}
draws:
  form:
    meaning: m
    choices: {question: {text: a question, weight: 3}, keywords: keywords}
  language:
    meaning: m
    open: true
    choices: {document: the language of the document}
steps:
  ask:
    instructions: {one: Do one., two: Do two., three: Do three., four: Do four.}
    exemplars:
      draw: 2
      user: "{{ exemplar.text }}"
      assistant: "{{ instruction_name }}: {{ exemplar.text | upper }}"
      pool: {a: {text: t-a}, b: {text: t-b}, c: {text: t-c}, d: {text: t-d}, e: {text: t-e}, f: {text: t-f}}
    system: "{{ instruction }} Be {{ options.tone }}."
    prompt: |
      {{ row.text }}
      {% if row.title %}
      Title: {{ row.title }}
      {% endif %}
      ({{ draws.form }}, {{ draws.language }}, {{ options.most }})
  check:
    prompt: >-
      {{ 'Please! ' if options.polite and options.share > 0.7 }}Was {{ replies.ask.text }} said of
      {{ row.text | first_words(options.most) }}?
emits:
  positive: {step: ask, query: "{{ reply.text }}", document: "{{ row.text }}", label: 1}
  negative: {step: check, query: "{{ replies.ask.text }}", document: "not {{ reply.text }}", label: 0}
"""
ROWS = [{"id": f"d{number}", "text": f"Document number {number} is here."} for number in range(2000)]


def recipe(text: str = RECIPE) -> PromptRecipe:
    return read_recipe(text.encode(), "tiny.yaml")


def prompts(text: str = RECIPE, rows: Sequence[dict[str, Any]] = ROWS, **settings: Any) -> list[Prompt]:
    renderer = Renderer(recipe(text), **settings)
    return [renderer.prompt(renderer.item(row), "ask") for row in rows]


def changed(old: str, new: str) -> str:
    assert RECIPE.count(old) == 1
    return RECIPE.replace(old, new)


def test_a_prompt_has_the_constant_text_first_and_the_row_last() -> None:
    renderer = Renderer(recipe(), draws={"form": ["question"]})
    prompt = renderer.prompt(renderer.item({"id": "x", "text": "A text.", "title": "Its title"}), "ask")
    assert [message["role"] for message in prompt.messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert prompt.messages[-1]["content"] == (
        "A text.\nTitle: Its title\n(a question, the language of the document, 5)"
    )
    name = prompt.template.removeprefix("ask/")
    assert prompt.messages[0]["content"] == f"Do {name}. Be calm."
    first, second = prompt.exemplars.split(",")
    shown = [message["content"] for message in prompt.messages[1:-1]]
    assert shown == [f"t-{first}", f"{name}: T-{first.upper()}", f"t-{second}", f"{name}: T-{second.upper()}"]


def test_draws_do_not_depend_on_id_position_sample_order_or_how_the_text_is_spaced() -> None:
    renderer = Renderer(recipe())
    given = renderer.item({"id": "a", "text": "Some text"}, 3)
    same = [
        renderer.item({"id": "b", "text": "Some text"}, 3),
        Renderer(recipe()).item({"text": " some  TEXT\n"}, 3),
        Renderer(recipe()).item({"id": "c", "text": "Some text", "label": 1, "batch": 7}, 3),
    ]
    for other in same:
        assert (other.content, other.draws) == (given.content, given.draws)
        assert renderer.prompt(other, "ask")[1:] == renderer.prompt(given, "ask")[1:]
    assert renderer.item({"text": "Some text"}, 3).content != renderer.item({"text": "Another text"}, 3).content


def test_columns_cannot_be_taken_for_each_other() -> None:
    renderer = Renderer(recipe())
    split = renderer.item({"text": "ab", "title": "c"})
    assert split.content != renderer.item({"text": "a", "title": "bc"}).content


def test_another_seed_sample_or_recipe_name_draws_anew() -> None:
    def drawn(renderer: Renderer, sample: int = 0) -> list[tuple[str, ...]]:
        items = [renderer.item(row, sample) for row in ROWS[:200]]
        return [(*renderer.prompt(item, "ask")[1:], item.draws["form"].name) for item in items]

    base = drawn(Renderer(recipe()))
    assert base == drawn(Renderer(recipe(), 0))
    others = [
        drawn(Renderer(recipe(), 1)),
        drawn(Renderer(recipe()), 1),
        drawn(Renderer(recipe(changed("name: tiny", "name: small")))),
        drawn(Renderer(recipe(), -5)),
    ]
    for other in others:
        assert sum(one == two for one, two in zip(base, other, strict=True)) < 20


def test_editing_one_instruction_asks_only_its_own_rows_again() -> None:
    before, after = prompts(), prompts(changed("Do two.", "Do two well."))
    assert [prompt[1:] for prompt in before] == [prompt[1:] for prompt in after]
    for old, new in zip(before, after, strict=True):
        assert (old.messages != new.messages) == (old.template == "ask/two")
    assert sum(prompt.template == "ask/two" for prompt in before) > 300


def test_editing_one_exemplar_asks_only_those_rows_again_that_show_it() -> None:
    before, after = prompts(), prompts(changed("t-d", "changed"))
    for old, new in zip(before, after, strict=True):
        assert old[1:] == new[1:]
        assert (old.messages != new.messages) == ("d" in old.exemplars.split(","))


def test_a_new_instruction_moves_only_the_rows_that_draw_it() -> None:
    before = prompts()
    after = prompts(changed("four: Do four.}", "four: Do four., five: Do five.}"))
    for old, new in zip(before, after, strict=True):
        assert new.template in (old.template, "ask/five")
        assert old.exemplars == new.exemplars
    assert 300 < sum(prompt.template == "ask/five" for prompt in after) < 500


def test_an_instruction_taken_out_moves_only_the_rows_that_drew_it() -> None:
    for old, new in zip(prompts(), prompts(changed("two: Do two., ", "")), strict=True):
        assert (old.template == new.template) == (old.template != "ask/two")


def test_a_new_exemplar_takes_the_place_of_one_and_leaves_the_others() -> None:
    after = prompts(changed("f: {text: t-f}", "f: {text: t-f}, a2: {text: t-a2}"))
    moved = 0
    for old, new in zip(prompts(), after, strict=True):
        lost = set(old.exemplars.split(",")) - set(new.exemplars.split(","))
        gained = set(new.exemplars.split(",")) - set(old.exemplars.split(","))
        assert (len(lost), gained) in ((0, set()), (1, {"a2"}))
        moved += bool(gained)
    assert 450 < moved < 700  # two of seven places


def test_the_order_of_entries_in_the_file_changes_nothing() -> None:
    text = changed("{one: Do one., two: Do two., three", "{two: Do two., one: Do one., three")
    text = text.replace("pool: {a: {text: t-a}, b: {text: t-b},", "pool: {b: {text: t-b}, a: {text: t-a},")
    assert prompts(text) == prompts()


def test_a_weight_changed_draws_in_proportion_and_moves_no_row_between_the_others() -> None:
    one = Counter(prompt.template for prompt in prompts())
    weighted = prompts(changed("two: Do two.", "two: {text: Do two., weight: 5}"))
    assert all(new.template in (old.template, "ask/two") for old, new in zip(prompts(), weighted, strict=True))
    counts = Counter(prompt.template for prompt in weighted)
    assert all(abs(count - 500) < 5 * math.sqrt(2000 * 3 / 16) for count in one.values())
    assert abs(counts["ask/two"] - 2000 * 5 / 8) < 5 * math.sqrt(2000 * 15 / 64)


def test_every_subset_of_exemplars_is_as_likely_as_any_other() -> None:
    rows = [{"text": f"row {number}"} for number in range(15000)]
    counts = Counter(prompt.exemplars for prompt in prompts(rows=rows))
    assert len(counts) == 15  # 2 of 6
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_square < 42.6  # 14 degrees of freedom, p = 0.0001


def test_draws_of_different_pools_know_nothing_of_each_other() -> None:
    renderer = Renderer(recipe())
    counts: Counter[tuple[str, str]] = Counter()
    for number in range(16000):
        item = renderer.item({"text": f"row {number}"})
        counts[item.draws["form"].name, renderer.prompt(item, "ask").template] += 1
    for (form, _), count in counts.items():
        expected = 16000 / 4 * (0.75 if form == "question" else 0.25)
        assert abs(count - expected) < 5 * math.sqrt(expected)


def test_a_row_is_data_and_never_a_template() -> None:
    text = "{{ 7*7 }} {% raw %} {# not a comment #} <b>&amp; {{ row.id }}\n"
    renderer = Renderer(recipe())
    item = renderer.item({"id": "{{ 1 }}", "text": text})
    assert renderer.prompt(item, "ask").messages[-1]["content"].startswith(text)
    replies = {"ask": {"text": "{{ reply }} & <i>"}, "check": {"text": "{{ 8*8 }}"}}
    positive, negative = renderer.emit(item, replies)
    assert (positive.query, positive.document, positive.doc_id) == ("{{ reply }} & <i>", text, "{{ 1 }}")
    assert negative.document == "not {{ 8*8 }}"


def test_texts_of_any_kind_go_through() -> None:
    renderer = Renderer(recipe())
    for text in ["", " ", "\ud800 lone", "東京タワー", "x" * 1_000_000, "a\x00b", "\u202eabc", "line\u2028line"]:
        item = renderer.item({"id": "d", "text": text})
        assert text.strip() in renderer.prompt(item, "ask").messages[-1]["content"]
        assert renderer.emit(item, {"ask": {"text": "q"}})[0].document == text


def test_a_column_that_a_row_lacks_is_blank_and_a_strange_one_is_shown_as_text() -> None:
    renderer = Renderer(recipe())
    for title in (None, "", float("0")):
        item = renderer.item({"id": "d", "text": "T", "title": title})
        assert "Title" not in renderer.prompt(item, "ask").messages[-1]["content"]
    item = renderer.item({"id": 7, "text": "T", "title": 1984})
    assert "Title: 1984" in renderer.prompt(item, "ask").messages[-1]["content"]


def test_a_column_may_be_called_like_a_method() -> None:
    text = changed(
        "reads: documents", "reads: rows\ninputs: {text: {meaning: m}, title: {meaning: m}, items: {meaning: m}}"
    )
    text = text.replace("Title: {{ row.title }}", "{{ row.items }}")
    renderer = Renderer(recipe(text))
    item = renderer.item({"text": "T", "title": "x", "items": "three of them"})
    assert "three of them" in renderer.prompt(item, "ask").messages[-1]["content"]


def test_rows_know_which_texts_were_given_and_which_were_written() -> None:
    renderer = Renderer(recipe())
    item = renderer.item({"id": "d1", "text": "The text"})
    positive, negative = renderer.emit(item, {"ask": {"text": " the query \n"}, "check": {"text": "true"}})
    assert positive[:2] == ("positive", "ask")
    assert (positive.query, positive.query_id) == ("the query", content_id("the query"))
    assert (positive.document, positive.doc_id, positive.label, positive.source_id) == ("The text", "d1", 1, "d1")
    assert (negative.document, negative.doc_id) == ("not true", content_id("not true"))
    assert (negative.query_id, negative.label) == (positive.query_id, 0)


def test_a_document_without_an_id_gets_the_hash_of_its_text() -> None:
    renderer = Renderer(recipe())
    row = renderer.emit(renderer.item({"text": "The text"}), {"ask": {"text": "q"}})[0]
    assert row.doc_id == row.source_id == content_id("The text")


def test_rows_of_a_reply_that_never_came_are_left_out() -> None:
    renderer = Renderer(recipe())
    item = renderer.item(ROWS[0])
    assert [row.role for row in renderer.emit(item, {"ask": {"text": "q"}})] == ["positive"]
    assert renderer.emit(item, {"check": {"text": "c"}}) == []
    assert renderer.emit(item, {}) == []


def test_a_later_step_reads_the_replies_before_it() -> None:
    renderer = Renderer(recipe(), options={"most": 2})
    item = renderer.item({"id": "d", "text": "One two three"})
    prompt = renderer.prompt(item, "check", {"ask": {"text": "this"}})
    assert prompt == Prompt(({"role": "user", "content": "Was this said of One two?"},), "check", "")


def problem_of(text: str, replies: dict[str, Any]) -> str:
    renderer = Renderer(recipe(text))
    with pytest.raises(RowProblem) as caught:
        renderer.emit(renderer.item({"id": "d", "text": "T"}), replies)
    return str(caught.value)


EACH = """\
name: lists
summary: s
paper: p
reads: nothing
example: e
steps:
  write:
    prompt: Write JSON.
    schema:
      properties: {pairs: {type: array, items: {type: object, properties: {a: {type: string}, b: {type: string}}}}}
emits:
  pair:
    each: reply.pairs
    query: "{{ each.a }}"
    document: "{{ each.b }}"
    query_id: "q-{{ each.a }}"
    grade: "{{ 0.25 }}"
"""


def test_a_list_in_a_reply_gives_a_row_for_each_entry() -> None:
    renderer = Renderer(recipe(EACH))
    item = renderer.item({}, 2)
    rows = renderer.emit(item, {"write": {"pairs": [{"a": "x", "b": "y"}, {"a": "z", "b": "w"}]}})
    assert [(row.query_id, row.query, row.document, row.label, row.grade) for row in rows] == [
        ("q-x", "x", "y", None, 0.25),
        ("q-z", "z", "w", None, 0.25),
    ]
    assert renderer.emit(item, {"write": {"pairs": []}}) == []
    for no_list in ("text", None, {"a": "x"}):
        assert problem_of(EACH, {"write": {"pairs": no_list}}) == "each: no list"
    assert problem_of(EACH, {"write": {}}) == "each: no list"


def test_an_entry_of_a_list_that_gives_no_row_takes_no_other_with_it() -> None:
    renderer = Renderer(recipe(EACH))
    replies = {"write": {"pairs": [{"a": "x"}, {"a": "z", "b": "w"}]}}
    refused, row = renderer.emit(renderer.item({}), replies)
    assert refused == Refused("pair", "document: not filled")
    assert row.document == "w"


def test_samples_of_a_recipe_that_reads_nothing_differ() -> None:
    renderer = Renderer(recipe(EACH))
    assert renderer.item({}, 0).content == renderer.item({}, 1).content
    assert renderer.item({}, 0).seed != renderer.item({}, 1).seed


def test_pairs_keep_the_ids_of_both_sides() -> None:
    text = """\
name: n
summary: s
paper: p
reads: pairs
example: e
steps:
  rewrite: {prompt: "{{ row.document }}"}
emits:
  negative: {query: "{{ row.query }}", document: "{{ reply.text }}", label: 0}
  positive: {query: "{{ row.query }}", document: "{{ row.document }}", label: 1}
"""
    renderer = Renderer(recipe(text))
    item = renderer.item({"query_id": "q", "query": "Q", "doc_id": "d", "document": "D"})
    negative, positive = renderer.emit(item, {"rewrite": {"text": "W"}})
    assert (negative.query_id, negative.doc_id, negative.source_id) == ("q", content_id("W"), None)
    assert (positive.query_id, positive.doc_id) == ("q", "d")


def test_the_judge_gives_a_score_between_0_and_1() -> None:
    renderer = Renderer(load_recipe("judge"))
    item = renderer.item({"query": "a", "document": "b"})
    assert renderer.score(item, {"judge": {"score": 4.5, "reason": "r"}}) == 0.9
    for score, reason in [(7, "score: not from 0 to 1"), (math.nan, "score: not from 0 to 1"), ("high", None)]:
        with pytest.raises(RowProblem, match=f"^{reason or 'score: not filled'}$"):
            renderer.score(item, {"judge": {"score": score}})
    with pytest.raises(PairmineError, match="recipe tiny writes pairs and gives no score; use it with 'generate'"):
        Renderer(recipe()).score(item, {})


GRADED = """\
name: graded
summary: s
paper: p
reads: documents
example: e
steps:
  write:
    prompt: Write JSON about {{ row.text }}.
    schema:
      type: object
      properties: {query: {type: string}, score: {type: number}, topic: {type: string}, level: {type: string}}
      required: [query, score]
emits:
  positive: {query: "{{ reply.query }}", document: "{{ row.text }}", grade: "{{ reply.score / 5 }}"}
"""


@pytest.mark.parametrize(
    ("old", "new", "reply", "reason"),
    [
        ("", "", {"score": 7}, "grade: not from 0 to 1"),
        ("", "", {"score": -1}, "grade: not from 0 to 1"),
        ("", "", {"score": 1e308 * 10}, "grade: not from 0 to 1"),
        ("reply.score / 5", "1 / reply.score", {"score": 0}, "grade: not filled"),
        ("reply.score / 5", "reply.level", {"level": "high"}, "grade: not a number"),
        ("reply.score / 5", "reply.level", {}, "grade: not filled"),
        ("reply.query", "reply.topic", {}, "query: not filled"),
        ("reply.query", "reply.topic", {"topic": None}, "query: not filled"),
        ("reply.query", "reply.topic", {"topic": " \n"}, "query: not filled"),
        ("reply.query", "'x' * (reply.score | int)", {"score": 10**12}, "query: not filled"),
        ("grade:", "query_id: '{{ reply.topic }}', grade:", {}, "query_id: not filled"),
        ("grade:", "doc_id: '{{ reply.topic.sub }}', grade:", {"topic": "x"}, "doc_id: not filled"),
    ],
)
def test_a_bad_value_in_a_reply_costs_its_row_and_not_the_run(
    old: str, new: str, reply: dict[str, Any], reason: str
) -> None:
    text = GRADED.replace(old, new) if old else GRADED
    if "topic.sub" in new:
        text = text.replace("topic: {type: string}", "topic: {}")
    assert problem_of(text, {"write": {"query": "q", "score": 1, **reply}}) == reason


def test_the_reason_says_which_of_several_rows_could_not_be_made() -> None:
    assert problem_of(RECIPE, {"ask": {"text": " "}}) == "positive: query: not filled"


def test_an_optional_field_that_is_there_makes_its_row() -> None:
    renderer = Renderer(recipe(GRADED.replace("reply.query", "reply.topic")))
    [row] = renderer.emit(renderer.item({"text": "T"}), {"write": {"query": "q", "score": 4, "topic": "weather"}})
    assert (row.query, row.grade) == ("weather", 0.8)


def test_a_template_may_do_without_an_optional_field() -> None:
    renderer = Renderer(recipe(GRADED.replace("reply.query", "reply.topic | default(reply.query)")))
    [row] = renderer.emit(renderer.item({"text": "T"}), {"write": {"query": "q", "score": 4}})
    assert row.query == "q"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": {"from": ["x"]}}, "recipe tiny draws no from; did you mean form?"),
        ({"draws": {"form": ["query"]}}, "--draw form=query: no such choice; choose question, keywords"),
        ({"draws": {"form": []}}, "--draw form= names nothing; choose question, keywords"),
        ({"draws": {"form": [""]}}, "--draw form= names nothing; choose question, keywords"),
        ({"options": {"mots": "5"}}, "recipe tiny has no variable mots to --set; did you mean most?"),
        ({"options": {"most": "few"}}, "--set most=few: give a whole number"),
        ({"options": {"polite": "maybe"}}, "--set polite=maybe: give true or false"),
        ({"options": {"share": "nan"}}, "--set share=nan: give a number"),
        ({"options": {"tone": "angry"}}, "--set tone=angry: no such choice; choose calm, loud"),
        ({"draws": {"language": ["Fran\udce7ais"]}}, "--draw language=Fran?ais: is not UTF-8 text; give it in UTF-8"),
        ({"draws": {"form": ["\ud83d"]}}, "--draw form=?: is not UTF-8 text; give it in UTF-8"),
        ({"options": {"tone": "calm\udcff"}}, "--set tone=calm?: is not UTF-8 text; give it in UTF-8"),
        ({"shots": 7}, "--shots 7: step ask of recipe tiny has 6; ask for no more"),
        ({"shots": -1}, "--shots -1: give 0 or more"),
    ],
)
def test_a_setting_that_the_recipe_does_not_have_is_told_with_what_it_has(settings: Any, message: str) -> None:
    with pytest.raises(PairmineError) as caught:
        Renderer(recipe(), **settings)
    assert str(caught.value) == message


def test_shots_for_a_recipe_without_exemplars_are_no_silent_no_op() -> None:
    with pytest.raises(PairmineError, match="--shots 2 has no effect: recipe lists has no exemplars; leave it out"):
        Renderer(recipe(EACH), shots=2)


def test_settings_narrow_what_is_drawn_and_move_nothing_else() -> None:
    free = prompts()
    narrowed = prompts(draws={"form": ["keywords"], "language": ["Basque"]}, shots=0)
    assert all("(keywords, Basque, 5)" in prompt.messages[-1]["content"] for prompt in narrowed)
    assert all(len(prompt.messages) == 2 and prompt.exemplars == "" for prompt in narrowed)
    assert [prompt.template for prompt in free] == [prompt.template for prompt in narrowed]
    loud = prompts(rows=ROWS[:1], options={"tone": "loud", "most": "9", "polite": "False", "share": "1"})
    assert loud[0].messages[0]["content"].endswith("Be loud.")
    assert loud[0].messages[-1]["content"].endswith(", 9)")


def test_an_open_draw_may_hold_several_texts_of_the_users() -> None:
    renderer = Renderer(recipe(), draws={"language": ["German", "日本語", "document"]})
    names = Counter(renderer.item(row).words["language"] for row in ROWS[:300])
    assert set(names) == {"German", "日本語", "the language of the document"}


def test_what_only_a_row_brings_to_light_is_told_with_recipe_and_row() -> None:
    renderer = Renderer(recipe(changed("Title: {{ row.title }}", "Title: {{ row.title + 1 }}")))
    with pytest.raises(PairmineError) as caught:
        renderer.prompt(renderer.item({"id": "d9", "text": "T", "title": "x"}), "ask")
    said = str(caught.value)
    assert said.startswith("tiny.yaml:29: steps: ask: prompt: ")
    assert "for row d9; mend the template" in said


@pytest.mark.parametrize(
    "hole",
    [
        "{% for a in range(10**9) %}x{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ [1] * 10000000000 }}",
        "{{ [row.text * 100000] * 1000000 }}",
        "{% set n = 10 ** 5 %}{{ (n ** n) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'['rjust'](1000000000) }}",
        "{{ ('x' | attr('center'))(1000000000) }}",
        "{{ row.text.zfill(1000000000) }}",
        "{{ 'x'.encode().ljust(1000000000) }}",
        "{{ '\t'.expandtabs(1000000000) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000).join(range(100000)) }}",
        "{{ range(100000) | join('x' * 100000) }}",
        "{{ range(100000) | map('string') | join('x' * 100000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
        "{{ 'x'.translate({120: 'y' * 1000000}) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%(a)1000000000d' % {'a': 1} }}",
        "{{ ('%(a)s' * 10000) % {'a': 'x' * 100000} }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%99999999999999999999999999d' | format(1) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x' | indent(1000000000, first=true) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ ('x' * 100000) | wordwrap(1, true, 'y' * 100000) }}",
        "{{ row.title | length | round(1000000000, 'ceil') }}",
        "{{ (1).to_bytes(1000000000, 'big') }}",
        "{{ [[1]] | tojson(indent=1000000000) }}",
        "{{ 10 ** 10000000 }}",
        "{{ row['te' ~ 'xtt'] }}",
        "{{ ''['__cla' ~ 'ss__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(row) }}",
        "{{ row.text.nothing }}",
    ],
)
def test_a_template_that_reaches_for_more_than_its_row_is_stopped(hole: str) -> None:
    def outcome() -> str:
        try:
            renderer = Renderer(recipe(changed("Title: {{ row.title }}", hole)))
            item = renderer.item({"id": "d", "text": "T", "title": "x"})
            return renderer.prompt(item, "ask").messages[-1]["content"]
        except PairmineError as error:
            return str(error)

    assert re.match(r"tiny.yaml:(29|31): steps: ask: prompt: ", outcome()), outcome()


def test_what_would_fill_the_memory_is_stopped_before_it_is_made() -> None:
    tracemalloc.start()
    try:
        for hole in ("'x'.ljust(1000000000)", "'%1000000000d' % 1", "'x' | center(1000000000)"):
            renderer = Renderer(recipe(changed("Title: {{ row.title }}", f"{{{{ {hole} }}}}")))
            with pytest.raises(PairmineError, match="makes a value of more than 1,000,000"):
                renderer.prompt(renderer.item({"text": "T", "title": "x"}), "ask")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ '%s, %d%%: %.2f' % (row.title, 7, 0.5) }}", "x y, 7%: 0.50"),
        ("{{ '%s and %5s' | format(row.title, 'b') }}", "x y and     b"),
        ("{{ '%(a)s' % {'a': row.title} }}", "x y"),
        ("{{ 7 % 4 }}", "3"),
        ("{{ row.title.replace(' ', '-') }} {{ row.title | replace('x', 'z') }}", "x-y z y"),
        ("{{ ', '.join(['a', 'b']) }} {{ ['a', 'b'] | join('; ') }}", "a, b a; b"),
        ("{{ ['a', 'b'] | map('upper') | join }} {{ ' '.join(['a', 'b'] | map('upper')) }}", "AB A B"),
        ("{{ '[' ~ 'ab'.ljust(4) ~ 'ab'.zfill(4) ~ ('ab' | center(6)) ~ ']' }}", "[ab  00ab  ab  ]"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ [1, 2, 3] | batch(2) | list }} {{ [1, 2, 3] | slice(2) | list }}", "[[1, 2], [3]] [[1, 2], [3]]"),
        ("{{ 0.126 | round(2) }} {{ [1] | tojson }} {{ '-' * 3 }} {{ 3 * 4 }} {{ 2 ** 3 }}", "0.13 [1] --- 12 8"),
        ("{{ row.title.upper() }} {{ row.title.split() | last }}", "X Y y"),
    ],
)
def test_what_templates_do_every_day_stays_as_it_is(template: str, expected: str) -> None:
    text = changed("Title: {{ row.title }}", template.replace("\n", "\\n"))
    renderer = Renderer(recipe(text))
    said = renderer.prompt(renderer.item({"text": "T", "title": "x y"}), "ask").messages[-1]["content"]
    assert said.split("\n(")[0] == f"T\n{expected}"


def test_a_long_text_may_be_changed_as_a_short_one() -> None:
    text = changed("{{ row.text }}\n", "{{ row.text.replace('w', 'ww') | replace(' ', '_') }}{{ '%s' % row.text }}\n")
    renderer = Renderer(recipe(text))
    content = renderer.prompt(renderer.item({"text": "w " * 1_000_000}), "ask").messages[-1]["content"]
    assert content.startswith("ww_ww_")
    assert len(content) > 5_000_000


def test_first_words_cut_a_long_text_and_leave_a_short_one_alone() -> None:
    text = changed("{{ row.text }}\n", "{{ row.text | first_words(options.most) }}\n")
    renderer = Renderer(recipe(text), options={"most": 3})

    def seen(row: str) -> str:
        return renderer.prompt(renderer.item({"text": row}), "ask").messages[-1]["content"].split("\n(")[0]

    assert seen("One, two,\n three. Four") == "One, two,\n three."
    assert seen("One  two") == "One  two"
    assert seen("東京タワーは高い") == "東京タワーは高い"
    assert seen("東京タワーは高いです。") == "東京タワーは高い"
    whole = Renderer(recipe(text), options={"most": 0})
    row = whole.prompt(whole.item({"text": "w " * 5000}), "ask").messages[-1]["content"]
    assert row.count("w ") == 5000


def test_thousands_of_prompts_take_a_moment() -> None:
    renderer = Renderer(load_recipe("queries"))
    text = "word " * 200
    started = time.perf_counter()
    for number in range(2000):
        item = renderer.item({"id": str(number), "text": f"{text}{number}"})
        renderer.prompt(item, "write")
    each = (time.perf_counter() - started) / 2000
    assert each < 1e-3  # about 40 us on an idle core; the bound only catches work that is done again for every row


def test_names_alone_decide_so_equal_texts_may_stand_in_a_pool_twice() -> None:
    step = replace(
        recipe().steps[0],
        instructions=(Choice("x", "Same."), Choice("y", "Same.")),
        exemplars=(Exemplar("only", {"text": "t"}),),
        shots=1,
    )
    renderer = Renderer(replace(recipe(), steps=(step, recipe().steps[1])))
    drawn = {renderer.prompt(renderer.item(row), "ask")[1:] for row in ROWS[:50]}
    assert drawn == {("ask/x", "only"), ("ask/y", "only")}


PARTS = """\
name: parts
summary: s
reads: rows
inputs:
  topic: {meaning: m}
  notes: {meaning: m, required: false}
options:
  most: {default: 2, meaning: m}
draws:
  themes: {meaning: m, several: options.most, choices: {a: apples, b: boats, c: clocks, d: dogs}}
  tone: {meaning: m, per: part, choices: {gruff: a gruff tone, mild: a mild tone, dry: a dry tone, warm: a warm tone}}
  length: {meaning: m, choices: {short: short, long: long}}
expand: {step: brainstorm, each: reply.tasks}
steps:
  brainstorm:
    prompt: JSON on {{ row.topic }} and {{ draws.themes }}, {{ draws.length }}.
    schema:
      properties: {tasks: {type: array, items: {type: object, properties: {query: {type: string}}}}}
  write:
    instructions: {one: Do one., two: Do two., three: Do three., four: Do four.}
    rounds: 3
    prompt: |
      {{ instruction }} {{ part.query }} in {{ draws.tone }}, {{ draws.length }}, round {{ round }}.
      {% for each in previous %}
      {{ loop.index }}: {{ each.text }}
      {% endfor %}
emits:
  near:
    step: write
    each: reply.rounds
    query: "{{ part.query }}"
    document: "{{ each.text }}"
    label: "{{ 1 if index == 0 else '' if index == 1 else 0 }}"
    when: {test: 'each.text | length > 2', reason: it says too little}
    columns: {origin_of: "{{ row.notes }}", place: "{{ index }}"}
    numbers:
      score_near: "{{ 1 - index / 2 }}"
      rank: "{{ index + 1 }}"
      words: "{{ each.text | number if each.text[0] in '0123456789' }}"
"""


def test_an_expanded_step_is_asked_once_and_the_others_about_its_parts() -> None:
    renderer = Renderer(recipe(PARTS))
    item = renderer.item({"topic": "ports"})
    assert len(item.words["themes"].split("; ")) == 2
    themes = item.words["themes"]
    asked = renderer.prompt(item, "brainstorm").messages[-1]["content"]
    assert asked == f"JSON on ports and {themes}, {item.words['length']}."
    parts = renderer.parts(item, {"tasks": [{"query": "find a pier"}, {"query": "find a lock"}]})
    pier, lock = (renderer.part_of(item, part) for part in parts)
    assert pier is not None
    assert lock is not None
    assert (pier.part, pier.row, pier.sample) == ({"query": "find a pier"}, item.row, 0)
    prompt = renderer.prompt(pier, "write")
    name = prompt.template.removeprefix("write/")
    expected = f"Do {name}. find a pier in {pier.words['tone']}, {pier.words['length']}, round 1."
    assert prompt.messages[-1]["content"] == expected
    assert pier.draws["length"] == lock.draws["length"] == item.draws["length"]
    with pytest.raises(RowProblem, match=r"^expand: no list$"):
        renderer.parts(item, {"tasks": "find a pier"})


@pytest.mark.slow
def test_draws_of_a_part_belong_to_what_it_says_and_to_the_row() -> None:
    renderer = Renderer(recipe(PARTS))
    item = renderer.item({"topic": "ports"})
    parts = [{"query": f"task {number}"} for number in range(300)]
    found = [renderer.part_of(item, part) for part in parts]
    again = [Renderer(recipe(PARTS)).part_of(item, part) for part in reversed(parts)]
    assert found == again[::-1]
    drawn = Counter(part.draws["tone"].name for part in found if part)
    assert set(drawn) == {"gruff", "mild", "dry", "warm"}
    assert min(drawn.values()) > 45
    same = renderer.part_of(item, {"query": " Task  7"})
    assert same is not None
    assert found[7] is not None
    assert (same.content, same.seed) == (found[7].content, found[7].seed)
    other = renderer.part_of(renderer.item({"topic": "ships"}), parts[7])
    assert other is not None
    assert other.seed != found[7].seed
    seeds = [renderer.part_of(renderer.item({"topic": "ports"}, sample), parts[7]) for sample in range(50)]
    assert len({each.seed for each in seeds if each}) == 50


@pytest.mark.parametrize("part", ["", "  ", None, {}, [], "\u3000"])
def test_a_part_that_says_nothing_is_none(part: Any) -> None:
    renderer = Renderer(recipe(PARTS))
    assert renderer.part_of(renderer.item({"topic": "ports"}), part) is None


def test_several_choices_come_in_the_order_of_the_draw_each_once() -> None:
    renderer = Renderer(recipe(PARTS), options={"most": 3})
    items = [renderer.item({"topic": f"topic {number}"}) for number in range(400)]
    names = [item.draws["themes"].name.split(",") for item in items]
    assert all(len(set(each)) == 3 for each in names)
    texts = {"a": "apples", "b": "boats", "c": "clocks", "d": "dogs"}
    assert all(
        item.words["themes"] == "; ".join(texts[name] for name in item.draws["themes"].name.split(","))
        for item in items
    )
    assert min(Counter(each[0] for each in names).values()) > 60
    assert len({tuple(each) for each in names}) == 24
    narrowed = Renderer(recipe(PARTS), draws={"themes": ["d"]}, options={"most": 1}).item({"topic": "t"})
    assert narrowed.words["themes"] == "dogs"


@pytest.mark.parametrize("most", [0, 5, -1])
def test_more_choices_than_there_are_cannot_be_set(most: int) -> None:
    said = f"--set most={most}: the choices that draw themes takes are from 1 to 4"
    with pytest.raises(PairmineError, match=re.escape(said)):
        Renderer(recipe(PARTS), options={"most": most})


@pytest.mark.parametrize("rounds", [0, 201])
def test_rounds_stay_within_bounds(rounds: int) -> None:
    text = PARTS.replace("rounds: 3", "rounds: options.turns").replace(
        "options:\n", "options:\n  turns: {default: 3, meaning: m}\n"
    )
    with pytest.raises(PairmineError, match=f"--set turns={rounds}: the rounds of step write are from 1 to 200"):
        Renderer(recipe(text), options={"turns": rounds})


def test_a_round_sees_what_was_said_before_it() -> None:
    renderer = Renderer(recipe(PARTS))
    part = renderer.part_of(renderer.item({"topic": "ports"}), {"query": "find a pier"})
    assert part is not None
    first, third = (
        renderer.prompt(part, "write", {}, earlier) for earlier in ([], [{"text": "One."}, {"text": "Two."}])
    )
    assert first.template == third.template
    assert third.messages[-1]["content"].endswith("round 3.\n1: One.\n2: Two.")


def test_rows_of_rounds_have_labels_columns_and_numbers_of_their_own() -> None:
    renderer = Renderer(recipe(PARTS))
    part = renderer.part_of(renderer.item({"topic": "ports", "notes": "by hand"}), {"query": "find a pier"})
    assert part is not None
    rounds = [{"text": "3 piers"}, {"text": "a lock"}, {"text": "no"}]
    first, second, third = renderer.emit(part, {"write": {**rounds[-1], "rounds": rounds}})
    assert (first.query, first.document, first.label) == ("find a pier", "3 piers", 1)
    assert first.more == {"origin_of": "by hand", "place": "0", "score_near": 1.0, "rank": 1, "words": 3}
    assert second.label is None
    assert second.more == {"origin_of": "by hand", "place": "1", "score_near": 0.5, "rank": 2, "words": None}
    assert third == Refused("near", "near: it says too little")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("{{ 1 - index / 2 }}", "{{ 2 - index }}", "score_near: not from 0 to 1"),
        ("{{ 1 - index / 2 }}", "{{ each.text }}", "score_near: not a number"),
        ("{{ 1 - index / 2 }}", "{{ each.text | number }}", "score_near: not filled"),
        ("{{ 1 - index / 2 }}", "{{ each.nothing }}", None),
        ("{{ index + 1 }}", "{{ index }}", "rank: no rank from 1"),
        ("{{ row.notes }}", "{{ row.notes.author }}", "origin_of: not filled"),
        ("{{ 1 if index == 0 else '' if index == 1 else 0 }}", "{{ each.text }}", "label: neither 1 nor 0"),
        ("each.text | length > 2", "each.text[40] > 2", "when: cannot be told"),
    ],
)
def test_a_row_whose_own_columns_cannot_be_filled_is_refused_with_the_reason(
    old: str, new: str, reason: str | None
) -> None:
    text = PARTS.replace(old, new)
    assert text != PARTS
    if reason is None:
        with pytest.raises(PairmineError, match="no reply can fill it: no field 'nothing'"):
            recipe(text)
        return
    renderer = Renderer(recipe(text))
    part = renderer.part_of(renderer.item({"topic": "ports", "notes": "by hand"}), {"query": "find a pier"})
    assert part is not None
    [row] = renderer.emit(part, {"write": {"text": "a lock", "rounds": [{"text": "a lock"}]}})
    assert row == Refused("near", reason)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("Score: 4.5/5", 4.5),
        ("I'd say 4,5.", 4.5),
        ("GPT-4 says so", 4),
        ("about 1,200 and 3", 1200),
        ("1,234,567.5", 1234567.5),
        ("0,125", 0.125),
        ("-3 degrees", -3),
        ("\u22122", -2),
        ("3-4", 3),
        ("10,20", 10.2),
        ("評価は４点です", 4),
        (7.25, 7.25),
    ],
)
def test_the_filter_number_finds_the_first_number(text: Any, value: float) -> None:
    assert first_number(text) == value


@pytest.mark.parametrize("text", ["", "none", None, True, "½"])
def test_the_filter_number_gives_nothing_where_there_is_none(text: Any) -> None:
    with pytest.raises(ValueError, match="there is no number"):
        first_number(text)


REJECTS = [
    {"text": "The pier is long.", "reply": "Pier long", "reason": "text: too short"},
    {"text": "The pier is long.", "reply": "Pier long", "reason": "text: too short"},
    {"query": "old locks", "reply": "x" * 3000, "reason": "text: too long", "step": "check"},
    {"text": "T", "reply": None, "reason": "failed: timed out"},
    {"text": "T", "reply": "same again", "reason": "near copy of an earlier generation"},
    {"text": "T", "reply": "  ", "reason": "empty"},
]


def test_bad_examples_stand_before_the_prompt_with_what_is_wrong_about_them() -> None:
    bad = bad_examples(REJECTS, "rejects.jsonl")
    assert sorted(each.reason for each in bad) == ["text: too long", "text: too short"]
    renderer = Renderer(recipe(), bad_examples=bad)
    item = renderer.item({"id": "x", "text": "A text."})
    plain = Renderer(recipe()).prompt(item, "ask")
    shown = renderer.prompt(item, "ask")
    assert shown.messages[:-1] == plain.messages[:-1]
    assert shown.messages[-1]["content"] == (
        "Earlier replies that were turned down, each with the reason. Do not make these mistakes.\n\n"
        "Input: The pier is long.\nBad reply: Pier long\nWhat is wrong with it: text: too short\n\n"
        f"What you are to answer now:\n\n{plain.messages[-1]['content']}"
    )
    check = renderer.prompt(item, "check", {"ask": {"text": "q"}}).messages[-1]["content"]
    assert f"Input: old locks\nBad reply: {'x' * 1200} ...\nWhat is wrong with it: text: too long" in check
    assert "Pier long" in check


def test_as_many_bad_examples_as_asked_for_are_drawn_for_each_row() -> None:
    bad = bad_examples([{"reply": f"reply {n}", "reason": f"reason {n}"} for n in range(3000)], "rejects.jsonl")
    assert len(bad) == 1000
    renderer = Renderer(recipe(), bad_examples=bad, bad_shots=3)
    shown = [renderer.prompt(renderer.item(row), "ask").messages[-1]["content"] for row in ROWS[:200]]
    assert all(text.count("Bad reply: ") == 3 for text in shown)
    assert len({re.findall(r"Bad reply: (.*)", text)[0] for text in shown}) > 100
    assert shown[0] == renderer.prompt(renderer.item(ROWS[0]), "ask").messages[-1]["content"]


def test_rejects_without_a_reply_to_learn_from_are_told() -> None:
    with pytest.raises(PairmineError, match=r"r\.jsonl: no row has both a reply and a reason to learn from; give the"):
        bad_examples([{"reply": None, "reason": "no text"}], "r.jsonl")


def test_bad_examples_of_another_recipe_are_told() -> None:
    bad = bad_examples([{"reply": "r", "reason": "too short", "step": "rewrite"}], "r.jsonl")
    with pytest.raises(
        PairmineError, match=r"of other steps than recipe tiny has \(found: rewrite\); give the rejects"
    ):
        Renderer(recipe(), bad_examples=bad)


def test_a_part_nested_beyond_reason_is_none() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    renderer = Renderer(recipe(PARTS))
    assert renderer.part_of(renderer.item({"topic": "ports"}), deep) is None
