"""A reply that breaks a rule of its recipe is told by field and fault; one that keeps them passes."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pairmine.llm.calls import Message
from pairmine.llm.replies.checks import CHECKS, FieldChecks

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the shared data beside the checkout")

DOCUMENT = "Bees dance in the dark of the hive to tell each other where the nearest blossoming meadow lies."
PROMPT: list[Message] = [
    {"role": "system", "content": "You write search queries that a careful reader would type into a search engine."},
    {"role": "user", "content": "Document: Rivers carry sand from the mountains down to the sea every spring."},
    {"role": "assistant", "content": '{"query": "where river sand comes from"}'},
    {"role": "user", "content": f"Document: {DOCUMENT}\n\nAnswer with a JSON object with the field query."},
]


def problem(
    checks: Mapping[str, Any], value: Any, field: str = "query", draws: Mapping[str, str] | None = None, **row: Any
) -> str | None:
    return FieldChecks({field: checks}).problem({field: value}, {"text": DOCUMENT, **row}, draws or {}, PROMPT)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("how do bees tell each other the way", None),
        (" \n", "query: empty"),
        ("?!", "query: empty"),
        ("I'm sorry, but I cannot write a query for this text.", "query: refusal"),
        ("Here is the search query: bees dancing", "query: preamble"),
        ("Query: bees dancing", "query: preamble"),
        ("search queries that a careful reader would type into a hive", "query: leaks the prompt"),
        ("Rivers carry sand from the mountains down to the coast", "query: leaks the prompt"),
        ("bees {query} dance", "query: leaks the schema"),
        ("a valid JSON on bees", "query: leaks the schema"),
        ("bees {{ row.text }}", "query: leaks the schema"),
        ("Where river sand comes from?", "query: copies an exemplar"),
        ("", "query: empty"),
        ("ミツバチのダンス", None),
    ],
)
def test_every_text_is_held_to_what_no_recipe_would_want(said: str, reason: str | None) -> None:
    assert problem({}, said) == reason


def test_a_field_without_checks_is_held_to_it_as_well() -> None:
    assert FieldChecks({}).problem({"hard_negative": " "}, {}, {}, []) == "hard_negative: empty"
    assert FieldChecks({}).problem({"hard_negative": "a hard negative on bees"}, {}, {}, []) == (
        "hard_negative: leaks the schema"
    )


def test_words_of_the_row_itself_are_no_leak_of_the_prompt() -> None:
    assert problem({}, DOCUMENT) is None
    assert problem({}, "a valid JSON on bees", title="How to write valid JSON") is None
    assert problem({}, "I'm sorry, but I cannot fulfil this request.", text="I cannot fulfil this request.") is None


def test_words_of_earlier_replies_handed_over_with_the_row_are_no_leak() -> None:
    said = "search queries that a careful reader would type into a search engine"
    assert problem({}, said) == "query: leaks the prompt"
    assert problem({}, said, replies={"first": {"text": f"On {said}."}}) is None


def test_an_automatic_check_can_be_switched_off() -> None:
    assert problem({"refusal": False}, "I'm sorry, but I cannot fulfil this request.") is None


@pytest.mark.parametrize(
    ("checks", "said", "reason"),
    [
        ({"words": [2, 3]}, "bees", "query: too short"),
        ({"words": [2, 3]}, "bees dance at night", "query: too long"),
        ({"words": [2, 3]}, "蜜蜂", None),
        ({"no_copy_of": {"field": "text", "run": 4}}, "the DARK of, the hive", "query: copies text"),
        ({"no_copy_of": {"field": "text", "run": 6}}, "the dark of the hive", None),
        ({"no_copy_of": {"field": "absent", "run": 2}}, "the dark of the hive", None),
        ({"differs_from": "text"}, DOCUMENT.upper(), "query: same as text"),
        ({"differs_from": "absent"}, "bees", None),
        ({"overlap_below": {"field": "text", "threshold": 0.9}}, DOCUMENT[:-1], "query: overlaps text"),
        ({"overlap_below": {"field": "text", "threshold": 0.9}}, "bees know the way home", None),
        ({"overlap_below": {"field": "text", "threshold": 1}}, "bees", "query: overlaps text"),
        ({"mentions_none": ["this document"]}, "what is in this  Document?", "query: mentions what it must not"),
        ({"mentions_none": ["this document"]}, "this documentary", None),
        ({"mentions_none": ["本文"]}, "根据本文,蜜蜂", "query: mentions what it must not"),
        ({"one_line": True}, "bees\ndance", "query: several lines"),
        ({"one_line": True}, "bees dance\n", None),
        (
            {"language_of": "text"},
            "Wie sagen Bienen einander, wo die nächste blühende Wiese liegt?",
            "query: wrong language",
        ),
        ({"language_of": "text"}, "ミツバチはどうやって踊るのですか", "query: wrong language"),
        ({"language_of": "text"}, "bees", None),
        ({"range": [0, 5]}, 5.5, "query: out of range"),
        ({"range": [0, 5]}, 5, None),
    ],
)
def test_a_named_check_finds_its_fault_and_lets_the_rest_pass(checks: Any, said: Any, reason: str | None) -> None:
    assert problem(checks, said) == reason


def test_a_drawn_language_is_the_one_to_write_in_and_any_other_wish_falls_back_to_the_text() -> None:
    german = "Wie sagen Bienen einander, wo die nächste blühende Wiese liegt?"
    checks = {"language_of": ["language", "text"]}
    assert problem(checks, german, draws={"language": "German"}) is None
    assert problem(checks, german, draws={"language": "日本語"}) == "query: wrong language"
    assert problem(checks, german, draws={"language": "the language of the document"}) == "query: wrong language"


def test_another_field_of_the_reply_comes_before_a_column_of_the_same_name() -> None:
    checks = FieldChecks({"query": {"differs_from": "paraphrase"}})
    value = {"query": "Bees dance.", "paraphrase": "bees dance"}
    assert checks.problem(value, {"paraphrase": "other"}, {}, []) == "query: same as paraphrase"


def test_each_text_of_a_list_is_checked() -> None:
    assert problem({"words": [2, 9]}, ["bees dance", "bees"]) == "query: too short"


@pytest.mark.parametrize(
    ("checks", "told"),
    [
        ({"wrods": [1, 2]}, "no check is called 'wrods'"),
        ({"words": 3}, "words is [least, most], not 3"),
        ({"words": [3, 1]}, "least, 3, above its most, 1"),
        ({"no_copy_of": "text"}, "no_copy_of is {field: a field or column, run: words in a row}"),
        ({"no_copy_of": {"field": "text", "run": 0}}, "run is a number of words from 1"),
        ({"overlap_below": {"field": "text", "threshold": 90}}, "threshold is above 0 and at most 1"),
        ({"differs_from": "query"}, "another field"),
        ({"mentions_none": "this"}, "a list of phrases"),
        ({"mentions_none": ["..."]}, "without a word"),
        ({"one_line": "yes"}, "true or false"),
        ({"language_of": []}, "or a list of them"),
        ({"refusal": "no"}, "refusal is true or false"),
    ],
)
def test_an_argument_that_means_nothing_is_refused_before_the_first_call(checks: Any, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        FieldChecks({"query": checks})
    assert told in str(error.value)
    assert str(error.value).startswith("query: ")


def test_every_check_says_what_it_means_in_a_line() -> None:
    assert all(check.meaning and "\n" not in check.meaning and check.argument for check in CHECKS.values())


def test_a_document_of_a_hundred_kilobytes_takes_no_time_to_speak_of() -> None:
    document = " ".join(f"word{place % 5003}" for place in range(14_000))
    checks = FieldChecks(
        {"query": {"no_copy_of": {"field": "text", "run": 8}, "overlap_below": {"field": "text", "threshold": 0.9}}}
    )
    prompt = [{"role": "user", "content": f"Read this: {document}"}]
    started = time.perf_counter()
    assert checks.problem({"query": "where do the bees go " * 20}, {"text": document}, {}, prompt) is None
    assert time.perf_counter() - started < 0.5


@needs_data
def test_every_good_reply_to_a_real_document_passes() -> None:
    with gzip.open(DATA / "cisi" / "corpus.jsonl.gz", "rt") as lines:
        documents = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    checks = FieldChecks(
        {
            "query": {
                "words": [2, 60],
                "no_copy_of": {"field": "text", "run": 8},
                "language_of": "text",
                "one_line": True,
            },
            "paraphrase": {"differs_from": "query", "overlap_below": {"field": "text", "threshold": 0.9}},
            "hard_negative": {"differs_from": "paraphrase", "language_of": "text"},
        }
    )
    reasons = {}
    for row in map(json.loads, (DATA / "llm-replies" / "cisi.jsonl").read_text().splitlines()):
        if row["doc_id"] == "178":
            row.update(json.loads(row["raw"]))
        if "query" in row:
            value = {name: row[name] for name in ("query", "paraphrase", "hard_negative")}
            prompt = [PROMPT[0], {"role": "user", "content": f"Document: {documents[row['doc_id']]}"}]
            reasons[row["doc_id"]] = checks.problem(value, {"text": documents[row["doc_id"]]}, {}, prompt)
    assert len(reasons) == 308
    assert {doc_id: reason for doc_id, reason in reasons.items() if reason} == {"178": "paraphrase: same as query"}
