"""A reply that breaks a rule of its recipe is told by field and fault; one that keeps them passes."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pairmine.llm.calls import Message, Reply
from pairmine.llm.recipes.file import load_recipe
from pairmine.llm.replies.checks import CHECKS, FieldChecks
from pairmine.llm.replies.reader import read_reply

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
        ("bees <|im_end|> dance", "query: leaks the schema"),
        ('bees dance", "query": "hive', "query: leaks the schema"),
        ("bees dance, reply with one JSON object", "query: leaks the schema"),
        ("how to parse a JSON response in Python", None),
        ("difference between <text> and <tspan>", None),
        ("template {{ variable }} not rendering in vue", None),
        ("Alternatives to plastic bags:\nGlass and paper.", None),
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
        ({"words": [2, 8]}, "蜜蜂在黑暗的蜂巢里跳舞", None),
        ({"words": [2, 8]}, "蜜蜂在黑暗的蜂巢里跳舞" * 2, "query: too long"),
        ({"words": [2, 3]}, "ค่าเทอมมหาวิทยาลัย", None),
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


LIBRARY = "国立図書館は東京都千代田区永田町にあり、法律により国内のすべての出版物を集めて保存している。"


@pytest.mark.parametrize(
    ("document", "said", "copies"),
    [
        (
            "カリフォルニア大学バークレー校では、州内の学生が年間およそ一万五千ドルを納める。",
            "カリフォルニア大学バークレー校の学費はいくらか",
            False,
        ),
        ("クリストファー・コロンブスはジェノヴァの出身である。", "クリストファー・コロンブスはどこで生まれたか", False),
        ("มหาวิทยาลัยเชียงใหม่เก็บเงินนักศึกษาปีละสามหมื่นบาท", "ค่าเทอมมหาวิทยาลัยเชียงใหม่เท่าไร", False),
        ("中华人民共和国国务院办公厅每年十一月公布放假通知。", "国务院办公厅什么时候发布节假日安排", False),
        (LIBRARY, "法律により国内のすべての出版物を集めて保存しているのはどこか", True),
        (LIBRARY, LIBRARY, True),
        ("居住登记须携带身份证件原件以及单位出具的就业证明。", "居住登记须携带身份证件原件以及单位吗", True),
    ],
)
def test_a_name_in_a_script_without_blanks_is_no_copy_but_a_clause_is(document: str, said: str, copies: bool) -> None:
    checks = FieldChecks({"query": {"no_copy_of": {"field": "text", "run": 8}}})
    found = checks.problem({"query": said}, {"text": document}, {}, [])
    assert found == ("query: copies text" if copies else None)


def test_what_a_document_on_json_says_of_json_is_no_leak() -> None:
    row = {"text": "JSON is a format for data; valid JSON quotes its names."}
    assert FieldChecks({}).problem({"query": "what does valid JSON look like"}, row, {}, []) is None
    assert FieldChecks({}).problem({"query": "a valid JSON object with bees"}, {"text": "Bees dance."}, {}, []) == (
        "query: leaks the schema"
    )


def test_a_query_may_name_the_passage_of_an_act_but_not_the_passage_it_was_made_from() -> None:
    checks = FieldChecks({"query": load_recipe("queries").steps[0].checks["query"]})

    def found(query: str) -> str | None:
        return checks.problem({"query": query}, {"text": DOCUMENT}, {}, [])

    assert found("when did the passage of the Clean Air Act take place") is None
    assert found("what do bees do according to the passage") == "query: mentions what it must not"
    assert found("what is said of bees in the passage") == "query: mentions what it must not"


def test_a_tag_is_a_leak_only_where_the_prompt_marks_its_parts_with_it() -> None:
    prompt: list[Message] = [{"role": "user", "content": "<passage>\nBees dance.\n</passage>"}]
    checks = FieldChecks({})
    assert checks.problem({"query": "bees </passage>"}, {"text": "Bees dance."}, {}, prompt) == (
        "query: leaks the schema"
    )
    assert checks.problem({"query": "bees <b>dance</b>"}, {"text": "Bees dance."}, {}, prompt) is None


@needs_data
@pytest.mark.parametrize(
    ("folder", "language", "at_most"), [("jsquad", None, 0.22), ("xquad", "zh", 0.02), ("xquad", "th", 0.04)]
)
def test_questions_of_people_pass_the_checks_of_queries(folder: str, language: str | None, at_most: float) -> None:
    # The questions of jsquad were written with the paragraph in view and repeat whole clauses of it.
    rows: dict[str, dict[str, Any]] = {}
    for name in ("corpus", "queries"):
        with gzip.open(DATA / folder / f"{name}.jsonl.gz", "rt") as lines:
            rows.update({row["_id"]: row for row in map(json.loads, lines)})
    pairs = [line.split("\t")[:2] for line in (DATA / folder / "qrels.tsv").read_text().splitlines()[1:]]
    pairs = [pair for pair in pairs if rows[pair[0]].get("lang") == language or language is None][:800]
    checks = FieldChecks({"query": load_recipe("queries").steps[0].checks["query"]})
    found = [checks.problem({"query": rows[q]["text"]}, {"text": rows[d]["text"]}, {}, []) for q, d in pairs]
    assert len(found) == 800
    assert sum(reason is not None for reason in found) <= at_most * len(found)


@pytest.mark.parametrize(
    "unit", ["#", "- ", "*", "_", "7", "na", '"', "'", "<", "{", "I was, ", "- ## ", "<|channel|>a"]
)
@pytest.mark.parametrize("opening", ["", "Here it goes.\n", "I ", '{"query": "'])
def test_a_run_of_any_sign_is_judged_at_once(opening: str, unit: str) -> None:
    text = opening + unit * (20_000 // len(unit)) + "\nend"
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    started = time.process_time()
    read_reply(Reply(text), None)
    read_reply(Reply(text), schema)
    problem({"language_of": "text", "no_copy_of": {"field": "text", "run": 8}}, text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "unit", ["query:\n", "### ", "[THINK]", "(note ", "\nor ", '{"a" ', "/*", "```a ", '\\"', 'Or: "']
)
def test_a_run_of_any_mark_of_a_reply_is_judged_at_once(unit: str) -> None:
    test_a_run_of_any_sign_is_judged_at_once("Here it goes.\n", unit)


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
