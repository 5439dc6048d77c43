from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.stages.derive import derive
from pairmine.stages.derive.markup import kind_of, plain, sections

WIKI = """'''Rain''' falls from [[cloud|clouds]] in drops.{{cite|a={{b}}}} It is made of water.<ref name=x>A book</ref>
== History ==
Old [[Rome]] had rain gauges of stone. They were quite heavy.

The Koreans had them too.
=== Early ones ===
Nobody knows the very first one.
== See also ==
* [[Snow]] and other kinds of water
"""
MARKDOWN = """# Mills

A mill grinds **corn** to flour. See [the list](list.md) of all mills.

```
# no heading
```

Parts
-----

- The wheel is made of oak.
- The stones are from the hills
  near the village.

### The `wheel`

It turns slowly but it turns.
"""


def outline(text: str, title: str | None = None, **options: Any) -> list[dict[str, Any]]:
    rows = pa.table({"id": ["d"], "title": pa.array([title], pa.string()), "text": [text]})
    return derive("outline", rows, **options).kept.to_pylist()


def test_sections_of_wiki_text_nest_as_their_headings_do() -> None:
    assert kind_of(WIKI) == "wiki"
    assert [(each.title, each.level, each.parents) for each in sections(WIKI, "wiki")] == [
        ("", 0, ()),
        ("History", 1, ()),
        ("Early ones", 2, ("History",)),
        ("See also", 1, ()),
    ]


def test_sections_of_markdown_nest_as_their_headings_do_and_code_has_none() -> None:
    assert kind_of(MARKDOWN) == "markdown"
    assert [(each.title, each.level, each.parents) for each in sections(MARKDOWN, "markdown")] == [
        ("Mills", 1, ()),
        ("Parts", 2, ("Mills",)),
        ("The wheel", 3, ("Mills", "Parts")),
    ]


def test_a_plain_text_has_no_headings() -> None:
    for text in (
        "No heading here.\n\n- a list\n- of two",
        "a == b\nif c == d",
        "#hashtag is no heading",
        "1 = 1 =",
        "",
    ):
        assert kind_of(text) == ""
        assert plain(text, "") == text


def test_marks_are_taken_off() -> None:
    assert plain(WIKI.partition("\n==")[0], "wiki") == "Rain falls from clouds in drops. It is made of water."
    assert plain("It is *very* _good_, `x_y` too: 2 * 3 * 4 and snake_case_name.", "markdown") == (
        "It is very good, x_y too: 2 * 3 * 4 and snake_case_name."
    )
    assert plain("> quoted\n> text ![pic](a.png)<br>\n\n| a | b |\n|---|---|\n| 1 | 2 |\nend", "markdown") == (
        "quoted\ntext \n\nend"
    )
    assert plain("---\ntitle: a\n---\nText one\ngoes on.<!-- not\nthis -->", "markdown").strip() == "Text one goes on."


def test_titles_stand_with_the_sentences_under_them() -> None:
    rows = outline(WIKI, "Rain")
    assert [(row["query"], row["document"], row["origin"].partition("/")[2]) for row in rows] == [
        ("Rain", "Rain falls from clouds in drops.", "title"),
        ("Rain", "It is made of water.", "title"),
        ("Rain", "Old Rome had rain gauges of stone.", "title"),
        ("Rain", "They were quite heavy.", "title"),
        ("Rain", "The Koreans had them too.", "title"),
        ("Rain", "Nobody knows the very first one.", "title"),
        ("Rain", "Snow and other kinds of water", "title"),
        ("History", "Old Rome had rain gauges of stone.", "section"),
        ("History", "They were quite heavy.", "section"),
        ("History", "The Koreans had them too.", "section"),
        ("Early ones", "Nobody knows the very first one.", "section"),
        ("See also", "Snow and other kinds of water", "section"),
    ]
    places = [(row["section"], row["level"], row["in_paragraph"], row["in_section"]) for row in rows[:7]]
    assert places == [
        (None, 0, 0.0, 0.0),
        (None, 0, 1.0, 0.0),
        ("History", 1, 0.0, 0.0),
        ("History", 1, 1.0, 0.0),
        ("History", 1, 0.0, 1.0),
        ("Early ones", 2, 0.0, 0.0),
        ("See also", 1, 0.0, 0.0),
    ]


def test_a_sentence_without_marks_says_where_it_stands() -> None:
    for row in outline(WIKI, "Rain"):
        marked = row["document"].split()[0] in ("Rain", "Old", "Snow")
        assert (row["start"] is None) == marked
        if not marked:
            assert WIKI[row["start"] : row["end"]] == row["document"]


def test_the_heading_above_all_others_is_the_title() -> None:
    rows = outline(MARKDOWN)
    assert [(row["query"], row["document"]) for row in rows if row["query"] != "Mills"] == [
        ("Parts", "The wheel is made of oak."),
        ("Parts", "The stones are from the hills near the village."),
        ("The wheel", "It turns slowly but it turns."),
    ]
    assert [row["document"] for row in rows if row["query"] == "Mills"][:2] == [
        "A mill grinds corn to flour.",
        "See the list of all mills.",
    ]


def test_paragraphs_can_stand_under_titles() -> None:
    rows = outline(WIKI, None, unit="paragraph")
    assert [(row["query"], row["document"]) for row in rows] == [
        ("History", "Old Rome had rain gauges of stone. They were quite heavy."),
        ("History", "The Koreans had them too."),
        ("Early ones", "Nobody knows the very first one."),
        ("See also", "Snow and other kinds of water"),
    ]


def test_a_plain_text_with_a_title_has_one_section_and_without_one_none() -> None:
    assert [row["query"] for row in outline("It rained all day.", "Rain")] == ["Rain"]
    rows = pa.table({"id": ["a", "b", "c"], "title": [None, "", "T"], "text": ["It rained all day.", "== A ==", "Oh."]})
    assert derive("outline", rows).rejected["reason"].to_pylist() == [
        "no title and no heading",
        "no sentence under a heading",
        "no sentence under a heading",
    ]


def test_markup_can_be_told() -> None:
    assert outline("== A ==\nThis is some text.", markup="markdown") == []
    assert [row["query"] for row in outline("# A\nThis is some text.", "T", markup="none")] == ["T"]


@pytest.mark.parametrize(
    "piece",
    [
        "[[",
        "{{",
        "<ref>",
        "*a",
        "`",
        "=",
        "#",
        "- ",
        "> ",
        "\n-",
        "[a](",
        "<!--",
        "= a =",
        "|a",
        "_a ",
        "```\n",
        "==a\n",
        "1. ",
    ],
)
def test_no_text_takes_longer_than_its_length_explains(piece: str) -> None:
    text = piece * 20_000
    started = time.perf_counter()
    outline(text, "T")
    plain(text, "wiki")
    plain(text, "markdown")
    assert time.perf_counter() - started < 5


def of_sections(rows: dict[str, list[Any]], seed: int = 0, **options: Any) -> Any:
    return derive("sections", pa.table(rows), seed=seed, **options)


SECTIONS: dict[str, list[Any]] = {
    "article": ["Mills", "Mills", "Mills", "Rain", None],
    "section": ["History", "Parts", "References", "Drops", None],
    "text": [
        "The first mills were driven by oxen. Wind came much later.",
        "The wheel is made of oak. It turns slowly now.",
        "Lee, The book of mills. Doe, The other book.",
        "Drops fall from the clouds. They are made of water.",
        " ",
    ],
}


def test_a_section_gives_a_triplet_of_its_own_and_another_sections_sentence() -> None:
    for seed in range(20):
        outcome = of_sections(SECTIONS, seed)
        rows = outcome.kept.to_pylist()
        assert [(row["query_id"], row["doc_id"], row["label"]) for row in rows] == [
            ("Mills#0q0", "Mills#0q0s0", 1),
            ("Mills#0q0", "Mills#0q0o0", 0),
            ("Mills#1q0", "Mills#1q0s0", 1),
            ("Mills#1q0", "Mills#1q0o0", 0),
        ]
        history, parts = SECTIONS["text"][:2]
        for row, own in zip(rows, (history, history, parts, parts), strict=True):
            assert row["query"] in own
            assert (row["document"] in own) == (row["label"] == 1)
            assert row["query"] != row["document"]
        assert outcome.rejected["reason"].to_pylist() == ["not drawn", "only one section", "no text"]


def test_an_article_with_headings_in_it_is_parted_by_them() -> None:
    rows = of_sections({"article": ["Rain"], "text": [WIKI]}).kept.to_pylist()
    assert {row["query_id"] for row in rows} == {"Rain#0q0", "Rain#1q0"}
    assert not any("Snow" in row["document"] for row in rows)
    untitled = of_sections({"text": [WIKI, "One section. It has two sentences of words."]})
    assert untitled.kept.num_rows == 4
    assert untitled.rejected["reason"].to_pylist() == ["a section of fewer than two sentences"]


def test_rows_of_one_section_are_taken_together() -> None:
    rows = {
        "article": ["A", "A", "A"],
        "heading": ["One", "Two", "One"],
        "text": ["The first sentence is here.", "Another section is here.", "The second sentence is here."],
    }
    wanted = {"article": rows["article"], "section": rows["heading"], "text": rows["text"]}
    kept = of_sections(wanted, per_section=2).kept.to_pylist()
    assert {(row["query"], row["document"]) for row in kept if row["label"] == 1} == {
        ("The first sentence is here.", "The second sentence is here."),
        ("The second sentence is here.", "The first sentence is here."),
    }
    assert {row["document"] for row in kept if row["label"] == 0} == {"Another section is here."}


def test_sections_without_text_are_one_line() -> None:
    with pytest.raises(PairmineError, match='recipe sections reads "text", and there is no "text"'):
        of_sections({"article": ["a"]})
    with pytest.raises(PairmineError, match='"text" holds int64, where text belongs'):
        of_sections({"text": [1]})


def article(**sections: str) -> pa.Table:
    return pa.table({"article": ["Mills"] * len(sections), "section": list(sections), "text": list(sections.values())})


def test_a_sentence_that_stands_in_two_sections_is_in_no_triplet() -> None:
    again = "Mills have been built for ages."
    rows = article(
        History=f"{again} The first were driven by oxen. Wind came much later.",
        Parts=f"The wheel is of old oak. It turns rather slowly now. {again}",
    )
    for seed in range(20):
        kept = derive("sections", rows, seed=seed, views=3, negatives=3, per_section=3).kept.to_pylist()
        assert {row["label"] for row in kept} == {0, 1}
        assert all(again not in (row["query"], row["document"]) for row in kept)


def test_a_section_and_one_that_stands_in_it_are_not_held_against_each_other() -> None:
    nested = (
        "== History ==\nThe first were driven by oxen. Wind came much later.\n"
        "=== Early ===\nThey ground nothing but barley. Each village had one mill.\n"
    )
    assert derive("sections", pa.table({"text": [nested]})).rejected["reason"].to_pylist() == ["only one section"]
    beside = nested + "== Parts ==\nThe wheel is of old oak. It turns rather slowly now.\n"
    parts = {"The wheel is of old oak.", "It turns rather slowly now."}
    for seed in range(20):
        kept = derive("sections", pa.table({"text": [beside]}), seed=seed, negatives=4).kept.to_pylist()
        assert all((row["query"] in parts) != (row["document"] in parts) for row in kept if row["label"] == 0)


def test_a_slash_in_a_title_makes_no_section_of_another() -> None:
    rows = article(
        **{
            "Input": "It reads a file of text. It reads a key as well.",
            "Input/Output": "It prints a line of text. It rings the bell too.",
        }
    )
    assert {row["label"] for row in derive("sections", rows).kept.to_pylist()} == {0, 1}


def test_pictures_links_with_brackets_notes_and_rules_leave_no_marks() -> None:
    markdown = """See [the docs](http://a.b/c_(d)) now.[^1]

* * *

![a mill](pics/mill_(old).png) It turns.

[^1]: A note at the end.
[docs]: http://a.b
"""
    assert plain(markdown, "markdown").split() == ["See", "the", "docs", "now.", "It", "turns."]
    wiki = "It turns. [[File:Mill.jpg|thumb|A [[mill]] of [[stone|stones]]]] It is old."
    assert plain(wiki, "wiki") == "It turns.  It is old."
