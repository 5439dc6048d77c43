"""Raw replies become what was asked for, or a reason: nothing is made up, nothing whole is lost."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pairmine.llm.calls import Reply
from pairmine.llm.recipes.file import load_recipe
from pairmine.llm.replies.reader import Parsed, ReplyReader, read_reply

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the shared data beside the checkout")

FIELDS = ("query", "hard_negative")
ASKED = {"type": "object", "properties": {name: {"type": "string"} for name in FIELDS}, "required": list(FIELDS)}
SCORE = {
    "type": "object",
    "properties": {"score": {"type": "number", "minimum": 0, "maximum": 5}, "reason": {"type": "string"}},
    "required": ["score"],
}
WHOLE = {"query": "a cat", "hard_negative": "a dog"}
WHOLE_JSON = json.dumps(WHOLE)


def read(text: str, schema: dict[str, Any] | None = ASKED, finish_reason: str = "stop") -> Parsed:
    return read_reply(Reply(text, finish_reason), schema)


def test_a_reply_that_fits_is_kept_as_it_is() -> None:
    assert read(WHOLE_JSON) == Parsed(WHOLE)


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        (f"```json\n{WHOLE_JSON}\n```", ("code fence",)),
        (f"```json\n{WHOLE_JSON}", ("code fence",)),
        (f"Sure!\n{WHOLE_JSON}\nI hope {{this}} helps.", ("text around the JSON",)),
        (f"<think>Perhaps {WHOLE_JSON.replace('cat', 'cow')}?</think>{WHOLE_JSON}", ("think block",)),
        (f"so {WHOLE_JSON.replace('cat', 'cow')}\n</think>\n{WHOLE_JSON}", ("think block",)),
        (f"<think>a</think> <think>b</think>{WHOLE_JSON}", ("think block",)),
        (
            f"<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>{WHOLE_JSON}",
            ("channel tags",),
        ),
        (f"<answer>{WHOLE_JSON}</answer>", ("answer tag",)),
        ('{"query": "a cat", "hard_negative": "a dog",}', ("trailing comma",)),
        ('{"query": "a cat", // why\n "hard_negative": "a dog"}', ("comment",)),
        ("{'query': 'a cat', 'hard_negative': 'a dog'}", ("single quotes",)),
        ("{“query”: “a cat”, “hard_negative”: “a dog”}", ("smart quotes",)),
        ('{query: "a cat", hard_negative: "a dog"}', ("unquoted field name",)),
        ('{"query": "a cat" "hard_negative": "a dog"}', ("missing comma",)),
        ('{"query": "a cat", "hard_negative": "a dog"', ("missing closing bracket",)),
        ('{"query": {"text": "a cat"}, "hard_negative": ["a dog"]}', ("nested value",)),
        ('{"Query": "a cat", "Hard Negative": "a dog"}', ("field name",)),
        ('{"result": {"query": "a cat", "negatives": {"hard_negative": "a dog"}}}', ("nested fields",)),
        (json.dumps({**WHOLE, "id": 3}), ("extra field",)),
        (json.dumps(WHOLE_JSON), ("JSON inside a string",)),
        (f"[{WHOLE_JSON}]", ("list around the JSON",)),
        ("Query: a cat\nHard negative: a dog", ("labelled lines",)),
        ("**Query:** a cat\n\n**Hard negative:** a dog\n\nLet me know!", ("labelled lines",)),
    ],
)
def test_what_models_really_send_is_mended_and_the_repair_named(text: str, repairs: tuple[str, ...]) -> None:
    parsed = read(text)
    assert (parsed.value, parsed.problem) == (WHOLE, None)
    assert parsed.repairs == repairs


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n\ufeff", "empty"),
        ("I'm sorry, but I can't help with generating queries for this document.", "refusal"),
        ('{"error": "I cannot fulfil this request."}', "refusal"),
        ("A cat sat on the mat {and} {slept}.", "no JSON"),
        ('{"query": "a cat", "hard_neg', "truncated"),
        ('{"query": "a cat", "hard_negative": "a do', "truncated"),
        ('{"query": "a cat"}', "missing field hard_negative"),
        ('{"query": "a cat", "hard_negative": null}', "missing field hard_negative"),
        ('{"query": "a cat", "hard_negative": true}', "wrong type of field hard_negative"),
        ('{"query": "a cat", "hard_negative": ["a", "b"]}', "wrong type of field hard_negative"),
        ('{"query": "a" (nice), "hard_negative": "b"}', "broken JSON"),
        (f"Draft: {WHOLE_JSON}\nBetter: {WHOLE_JSON.replace('cat', 'cow')}", "several replies"),
        (json.dumps(ASKED), "schema instead of a reply"),
        ("<think>Let me see, the query", "thoughts without an answer"),
        ("Query: a cat", "no JSON"),
    ],
)
def test_what_cannot_be_mended_is_rejected_with_its_reason(text: str, problem: str) -> None:
    assert read(text) == Parsed(None, (), problem)


def test_a_list_of_whole_replies_gives_its_first_and_says_so() -> None:
    parsed = read(f"[{WHOLE_JSON}, {WHOLE_JSON.replace('cat', 'cow')}]")
    assert parsed.value == WHOLE
    assert "first of several replies" in parsed.repairs


def test_quotes_that_nobody_escaped_stay_in_the_text() -> None:
    parsed = read('{"query": "what does "foo" mean, really", "hard_negative": "it\'s"}')
    assert parsed.value == {"query": 'what does "foo" mean, really', "hard_negative": "it's"}
    assert parsed.repairs == ("unescaped quotes",)


def test_line_breaks_and_characters_that_nobody_escaped_stay_in_the_text() -> None:
    assert read('{"query": "one\ntwo", "hard_negative": "\\ud83d\\ude00 é 猫"}').value == {
        "query": "one\ntwo",
        "hard_negative": "😀 é 猫",
    }


def test_half_a_character_is_marked_and_breaks_no_file() -> None:
    value = read('{"query": "a \\ud83d", "hard_negative": "b \ud83d"}').value
    assert value is not None
    assert "".join(value.values()).encode("utf-8")


def test_a_field_that_the_length_limit_cut_is_never_kept() -> None:
    for end in range(1, len(WHOLE_JSON)):
        parsed = read(WHOLE_JSON[:end], finish_reason="length")
        whole = end >= len(WHOLE_JSON) - 1
        assert (parsed.value, parsed.problem) == ((WHOLE, None) if whole else (None, "truncated")), WHOLE_JSON[:end]


def test_a_number_that_the_length_limit_may_have_cut_is_not_kept() -> None:
    assert read('{"score": 4', SCORE, "length").problem == "truncated"
    assert read('{"score": 4', SCORE).value == {"score": 4}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("4", 4),
        ('{"score": "4"}', 4),
        ('{"score": "4/5"}', 4),
        ('{"score": 4/5}', 4),
        ('{"score": "3,5"}', 3.5),
        ("Score: 4", 4),
    ],
)
def test_a_score_in_other_spellings_is_a_number(text: str, score: float) -> None:
    parsed = read(text, SCORE)
    assert parsed.value == {"score": score}
    assert parsed.repairs


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"score": "8/10"}', "wrong type of field score"),
        ('{"score": 7}', "score: out of range"),
        ('{"score": true}', "wrong type of field score"),
    ],
)
def test_a_score_on_another_scale_is_rejected(text: str, problem: str) -> None:
    assert read(text, SCORE).problem == problem


def test_a_field_that_may_be_null_may_be_left_out() -> None:
    schema = {"properties": {"reason": {"type": ["string", "null"]}, "score": {"type": "number"}}}
    assert read('{"score": 3.0}', schema) == Parsed({"score": 3.0, "reason": None}, ("field left out",))
    assert read('{"score": 3.0, "reason": null}', schema) == Parsed({"score": 3.0, "reason": None})
    assert read('{"score": 3.0, "reason": "alike"}', schema).value == {"score": 3.0, "reason": "alike"}
    assert read("4", schema).value == {"score": 4, "reason": None}
    assert read('{"reason": "alike"}', schema).problem == "missing field score"
    assert read("{}", schema).problem == "missing field score"


def test_a_verdict_of_the_judge_counts_without_its_reason() -> None:
    parsed = read('{"score": 3.0}', dict(load_recipe("judge").steps[0].schema or {}))
    assert parsed.value == {"score": 3.0, "reason": None}


def test_an_optional_field_that_does_not_fit_costs_only_itself() -> None:
    assert read('{"score": 2, "reason": ["a", "b"]}', SCORE).value == {"score": 2}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("The cat sat.", "The cat sat."),
        ('"The cat sat."', "The cat sat."),
        ("Sure! Here is a simplified version of the sentence:\n\nThe cat sat.", "The cat sat."),
        ("Here's a paraphrase: The cat sat.", "The cat sat."),
        ("**Rewritten sentence:** The cat sat.", "The cat sat."),
        ("<think>hm</think>\n\nThe cat sat.\n\nNote: I kept the verb.", "The cat sat."),
        ("```\nThe cat sat.\n```", "The cat sat."),
        ("好的，以下是改写后的句子：\n猫坐着。", "猫坐着。"),
        ("Voici la phrase reformulée :\nLe chat est assis.", "Le chat est assis."),
        ("The cat sat.### Human: now a dog", "The cat sat."),
        ("I cannot swim.", "I cannot swim."),
        ("I'm sorry, but I can't come.", "I'm sorry, but I can't come."),
        ("Here is the problem: we have no money.", "Here is the problem: we have no money."),
        ('"Yes," he said, "and no."', '"Yes," he said, "and no."'),
    ],
)
def test_plain_text_loses_what_stands_around_it_and_nothing_else(text: str, kept: str) -> None:
    parsed = read(text, None)
    assert parsed.value == {"text": kept}
    assert bool(parsed.repairs) == (text != kept)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("1. The cat sat.\n2. The cat was sitting.", "several answers"),
        ("Option 1: The cat sat.\nOption 2: It sat.", "several answers"),
        ("The cat sat.\n\nOr\n\nThe cat was sitting.", "several answers"),
        ("As an AI language model, I cannot paraphrase this.", "refusal"),
        ("Es tut mir leid, aber ich kann diese Anfrage nicht beantworten.", "refusal"),
        ("很抱歉，我无法提供该内容。", "refusal"),
        ("Please provide the sentence that you would like me to paraphrase.", "refusal"),
        ("<think>hm", "thoughts without an answer"),
    ],
)
def test_plain_text_that_is_no_answer_is_rejected(text: str, problem: str) -> None:
    assert read(text, None) == Parsed(None, (), problem)


@pytest.mark.parametrize(("finish_reason", "problem"), [("length", "truncated"), ("content_filter", "content filter")])
def test_plain_text_that_was_broken_off_is_rejected(finish_reason: str, problem: str) -> None:
    assert read("The cat", None, finish_reason).problem == problem


@pytest.mark.parametrize(
    "text",
    [
        *("{" * 20_000, '{"a":' * 20_000, '"' * 20_000, '{"query": "' + " \n" * 20_000, "<think>" * 10_000),
        *(
            '{"query":"' + '", "' * 10_000,
            "a\n \n" * 10_000,
            '{"query": "' + "\\" * 20_001,
            "Sure! " * 10_000,
            "\n\n(" * 9_000,
        ),
    ],
)
def test_garbage_of_any_size_is_answered_at_once(text: str) -> None:
    started = time.perf_counter()
    for schema in (ASKED, None):
        parsed = read(text, schema)
        assert (parsed.value is None) != (parsed.problem is None)
    assert time.perf_counter() - started < 2


def test_a_schema_that_replies_could_not_be_held_to_is_refused() -> None:
    with pytest.raises(ValueError, match="uses pattern"):
        ReplyReader({"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}})


EXPECTED = {
    "840": "code fence",
    "614": "text around the JSON",
    "837": "refusal",
    "286": "truncated",
    "783": "empty",
    "1025": "nested fields",
    "178": "extra field",
    "632": "text around the JSON",
    "511": "single quotes",
    "68": "missing field hard_negative",
    "496": "labelled lines",
    "324": "first of several replies",
    "1326": "trailing comma",
}


@needs_data
def test_every_good_reply_is_kept_untouched_and_every_malformed_one_is_mended_or_told() -> None:
    names = ("query", "paraphrase", "hard_negative")
    reader = ReplyReader({"properties": {name: {"type": "string"} for name in names}})
    untouched, outcomes = 0, {}
    for line in (DATA / "llm-replies" / "cisi.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "raw" in row:
            parsed = reader.read(Reply(row["raw"]))
            outcomes[row["doc_id"]] = (*parsed.repairs, parsed.problem)
        else:
            value = {name: row[name] for name in names}
            untouched += reader.read(Reply(json.dumps(value))) == Parsed(value)
    assert untouched == 307
    assert outcomes.keys() == EXPECTED.keys()
    assert {doc_id: said for doc_id, said in EXPECTED.items() if said not in outcomes[doc_id]} == {}


@needs_data
def test_the_answers_of_227_models_are_cleaned_as_counted_by_hand() -> None:
    reader = ReplyReader(None)
    with gzip.open(DATA / "llm-raw-rewrites" / "outputs.jsonl.gz", "rt") as lines:
        parsed = [reader.read(Reply(json.loads(line)["output"])) for line in lines]
    counts = Counter(each.problem for each in parsed)
    repairs = Counter(repair for each in parsed for repair in each.repairs)
    assert len(parsed) == 2723
    assert 30 <= counts["refusal"] <= 42
    assert 820 <= counts["several answers"] <= 920
    assert 230 <= repairs["preamble"] <= 290
    assert counts.keys() == {None, "refusal", "several answers"}


@needs_data
def test_sentences_that_people_wrote_are_never_taken_for_refusals_or_lists() -> None:
    reader = ReplyReader(None)
    rejected, changed, seen = [], 0, 0
    with gzip.open(DATA / "tatoeba" / "pairs.jsonl.gz", "rt") as lines:
        for row in map(json.loads, list(lines)[::2]):
            for text in (row["text"], row["eng"]):
                parsed = reader.read(Reply(text))
                rejected += [text] if parsed.problem else []
                changed += bool(parsed.repairs)
                seen += 1
    assert (rejected, seen) == ([], 25_938)
    assert changed < 10
