"""What models send when they send something wrong, for each recipe: none of it becomes a row.

A reply is good but for one field. What no check can see, such as a paraphrase that lost a "not", is for 'score'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from test_llm_recipes import documents, kept, reasons, run

from pairmine.outcome import Outcome

S = "The old bridge over the Tay was closed for two weeks after the flood of 1993."
SAME = "After the 1993 flood nobody could use the ancient Tay bridge for a fortnight."
OTHER = "The old bridge over the Tay stayed open for two weeks after the flood of 1993."
DOCUMENT = f"{S} Engineers found cracks in the third pier. Repairs cost two million pounds."
QUERY = "how long was the Tay bridge shut following the 1993 flood"
PERTH = "The bridge at Perth was widened in 1995 so that buses could pass each other without waiting."
GERMAN = "Die alte Brücke über den Tay war nach dem Hochwasser von 1993 zwei Wochen lang gesperrt."

REFUSAL = "I'm sorry, but I can't help with that request."
ANNOUNCED = f"Sure! Here is the rewritten sentence: {SAME}"
CHINESE = "这座桥在洪水之后关闭了两个星期，没有人能够通过。"

Replies = Mapping[str, dict[str, Any]]

GOOD: dict[str, tuple[list[dict[str, Any]], Replies, dict[str, Any]]] = {
    "queries": (documents(DOCUMENT), {"": {"query": QUERY, "hard_negative": PERTH}}, {}),
    "syncse": (documents(S), {"match a given": {"sentence": SAME}, "look like": {"sentence": OTHER}}, {}),
    "gcse": (
        [{"text": S}],
        {"Keep its meaning": {"rewritten": SAME}, "no longer means": {"rewritten": OTHER}},
        {},
    ),
    "ladder": (documents(S), {"": {"sentence": SAME}}, {"options": {"rounds": 1}}),
    "pos-neg-caption": (documents(S), {"just the same": {"caption": SAME}, "looks like": {"caption": OTHER}}, {}),
    "backtranslate": (
        documents(S),
        {'"language"': {"language": "English", "translation": GERMAN}, "": {"back": SAME}},
        {"draws": {"pivot": ["german"]}},
    ),
    "nli-write": (
        documents(S),
        {
            "Write three": {
                "entailment": "For some days nobody could cross there.",
                "neutral": "A firm from Perth led the repairs.",
                "contradiction": "Cars drove across it all through that month.",
            },
            "hypotheses": {"a": "contradiction", "b": "entailment", "c": "neutral"},
        },
        {},
    ),
    "title-write": (
        documents(DOCUMENT),
        {"": {"title": "Flood shuts Tay crossing for a fortnight", "misleading": "Tay crossing withstands flood"}},
        {},
    ),
    "doc-summary": (
        documents(DOCUMENT),
        {
            "": {
                "faithful": "Flood damage shut a Tay crossing for a fortnight and cost two million.",
                "false_summary": "Flood damage shut a Tay crossing for a year and cost two million.",
                "mistake": "It was two weeks.",
            }
        },
        {},
    ),
    "task-queries": (
        documents(DOCUMENT),
        {"": {"task": "Given a question on traffic, find a report that answers it.", "query": QUERY}},
        {},
    ),
    "keyword-queries": (documents(DOCUMENT), {"": {"searches": ["Scottish flood damage", "pier cracks cost"]}}, {}),
    "role-views": (
        documents("how long was the Tay bridge shut"),
        {"": {"views": ["For what time could nobody cross the Tay bridge?", "Tay bridge closure duration"]}},
        {},
    ),
    "concept-sets": (
        documents("relief that a danger has passed"),
        {
            "": {
                "expressing": [
                    "The dog only wanted to play, thank heavens.",
                    "We breathed again: the storm had turned.",
                ],
                "near": ["The storm arrives on Friday.", "The dog bit the postman."],
            }
        },
        {},
    ),
    "profile": (
        [{"history": ["The Third Man", "Rififi", "Chinatown", "Perfect Days", "Drive My Car", "The Big Sleep"]}],
        {"": {"profile": "Likes dark crime films and slow dramas, lately from Japan."}},
        {},
    ),
    "multi-hop": (
        [{"query": DOCUMENT, "document": "The river Tay rises on Ben Lui and is the longest river in Scotland."}],
        {
            "": {
                "bridge": "the river Tay",
                "answer": "On Ben Lui",
                "question": "Where is the source of the river whose crossing had cracks in a pillar?",
            }
        },
        {},
    ),
    "short-long": (
        [],
        {
            "think up": {"tasks": ["Given a question on a bridge, find a report."]},
            "": {"query": QUERY, "document": DOCUMENT, "hard_negative": PERTH},
        },
        {"draws": {"language": ["english"]}},
    ),
    "long-short": (
        [],
        {
            "think up": {"tasks": ["Sort reports on bridges by cause."]},
            "": {"text": DOCUMENT, "label": "high water", "misleading_label": "traffic accident"},
        },
        {"draws": {"language": ["english"]}},
    ),
    "short-short": (
        [],
        {
            "think up": {"tasks": ["Given a symptom, find its cause."]},
            "": {"input": "a cough that gets worse at night", "match": "asthma that nobody has recognised"},
        },
        {"draws": {"language": ["english"]}},
    ),
    "long-long": (
        [],
        {
            "think up": {"tasks": ["Given a report, find another."]},
            "": {
                "input": DOCUMENT,
                "match": "I run the ferry. For two weeks after the waters rose all vans came to me.",
            },
        },
        {"draws": {"language": ["english"]}},
    ),
    "sts-write": (
        [],
        {
            "think up": {"subjects": ["a bridge that was closed by a flood"]},
            "": {"first": S, "close": SAME, "distant": OTHER},
        },
        {"draws": {"language": ["english"]}},
    ),
    "bitext": (
        [],
        {
            "think up": {"subjects": ["a bridge that was closed by a flood"]},
            "": {
                "text": S,
                "translation": GERMAN,
                "loose": "Die Brücke über den Tay war nach dem Hochwasser gesperrt.",
            },
        },
        {"draws": {"source": ["english"], "target": ["german"]}},
    ),
    "syncse-scratch": (
        [],
        {"from which a language": {"sentences": [S]}, "match a given": {"sentence": SAME}, "": {"sentence": OTHER}},
        {},
    ),
}

BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("queries", "", {"hard_negative": f"{QUERY}?"}, "hard_negative: same as query"),
    ("queries", "", {"hard_negative": DOCUMENT}, "hard_negative: overlaps text"),
    ("queries", "", {"query": "N/A"}, "query: empty"),
    ("syncse", "match a given", {"sentence": S.upper()}, "positive: sentence: same as text"),
    ("syncse", "match a given", {"sentence": REFUSAL}, "positive: sentence: refusal"),
    ("syncse", "match a given", {"sentence": ANNOUNCED}, "positive: sentence: preamble"),
    ("syncse", "match a given", {"sentence": CHINESE}, "positive: sentence: wrong language"),
    ("syncse", "look like", {"sentence": SAME}, "copies another text of its query"),
    ("gcse", "no longer means", {"rewritten": S}, "negative: rewritten: same as text"),
    ("gcse", "no longer means", {"rewritten": SAME}, "copies another text of its query"),
    ("gcse", "Keep its meaning", {"rewritten": "null"}, "positive: rewritten: empty"),
    ("ladder", "", {"sentence": S}, "rung: the chain repeats itself"),
    ("pos-neg-caption", "looks like", {"caption": SAME}, "copies another text of its query"),
    ("pos-neg-caption", "just the same", {"caption": GERMAN}, "same: caption: wrong language"),
    ("backtranslate", '"language"', {"translation": f"{S} It did."}, "there: translation: wrong language"),
    ("backtranslate", "", {"back": GERMAN}, "back: back: wrong language"),
    ("backtranslate", "", {"back": S}, "back: back: same as text"),
    ("nli-write", "hypotheses", {"a": "entailment", "b": "contradiction"}, "entailment: labelled otherwise"),
    ("nli-write", "Write three", {"contradiction": S}, "write: contradiction: same as text"),
    ("title-write", "", {"misleading": "Flood shuts Tay crossing for a fortnight."}, "misleading: same as title"),
    ("title-write", "", {"title": S}, "title: copies text"),
    ("doc-summary", "", {"false_summary": DOCUMENT.upper()}, "copies the query"),
    ("doc-summary", "", {"false_summary": "It was two weeks."}, "mistake: same as false_summary"),
    ("task-queries", "", {"task": QUERY}, "task: same as query"),
    ("task-queries", "", {"task": CHINESE}, "task: wrong language"),
    ("keyword-queries", "", {"searches": ["What did it cost to repair?"]}, "search: a sentence, or"),
    (
        "keyword-queries",
        "",
        {"searches": ["Repairs of that old bridge over the river were paid by us"]},
        "search: a sent",
    ),
    ("role-views", "", {"views": [REFUSAL]}, "views: refusal"),
    ("role-views", "", {"views": ["how long was the Tay bridge shut?"]}, "views: same as text"),
    ("concept-sets", "", {"near": ["relief that a danger has passed."]}, "near: same as text"),
    ("profile", "", {"profile": "The list shows that the user likes dark crime films."}, "mentions what it must not"),
    (
        "profile",
        "",
        {"profile": "The Third Man, Rififi, Chinatown, Perfect Days, Drive My Car, The Big Sleep"},
        "copies",
    ),
    ("multi-hop", "", {"question": "On Ben Lui"}, "question: overlaps document"),
    ("multi-hop", "", {"question": "none"}, "first: the passages have nothing in common, or"),
    ("multi-hop", "", {"question": "Is the first passage about the river Tay?"}, "question: mentions what it must not"),
    ("short-long", "", {"hard_negative": f"{QUERY}?"}, "write: hard_negative: same as query"),
    ("short-long", "", {"document": QUERY}, "write: query: copies document"),
    ("short-long", "", {"hard_negative": CHINESE}, "write: hard_negative: wrong language"),
    ("long-short", "", {"label": "cracks in the third pier"}, "positive: the text spells out a label"),
    ("long-short", "", {"misleading_label": "repairs"}, "negative: the text spells out a label"),
    ("long-short", "", {"label": CHINESE}, "write: label: wrong language"),
    ("long-short", "", {"label": "Traffic accident."}, "write: label: same as misleading_label"),
    ("short-short", "", {"input": "Given a symptom, find its cause."}, "write: input: same as part"),
    ("short-short", "", {"match": CHINESE}, "write: match: wrong language"),
    ("long-long", "", {"match": DOCUMENT}, "write: match: overlaps input"),
    ("sts-write", "", {"distant": SAME.upper()}, "copies another text of its query"),
    ("sts-write", "", {"close": S}, "write: close: same as first"),
    ("bitext", "", {"translation": f"{S} It did."}, "write: translation: wrong language"),
    ("bitext", "", {"loose": GERMAN}, "write: loose: same as translation"),
    ("syncse-scratch", "from which a language", {"sentences": [CHINESE]}, "sentences: wrong language"),
    ("syncse-scratch", "match a given", {"sentence": S}, "positive: sentence: same as part"),
]


QUESTION = "When does the last train to Porto leave on Sundays?"
ANSWER = "The last train leaves at five past ten."


def test_the_answer_to_a_question_is_neither_its_paraphrase_nor_its_negative() -> None:
    answers = {"match a given": {"sentence": ANSWER}, "look like": {"sentence": "When does the last bus leave?"}}
    outcome = run("syncse", documents(QUESTION), answers)
    assert kept(outcome, "document", "label") == [("When does the last bus leave?", 0)]
    assert reasons(outcome) == ["positive: no question any more"]
    outcome = run("syncse", documents(QUESTION), {"": {"sentence": ANSWER}})
    assert reasons(outcome) == ["negative: no question any more", "positive: no question any more"]


def outcome_of(name: str, changes: Mapping[str, dict[str, Any]]) -> Outcome:
    rows, replies, settings = GOOD[name]
    answers = {words: {**reply, **changes.get(words, {})} for words, reply in replies.items()}
    return run(name, rows, answers, retries_invalid=0, **settings)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_kept(name: str) -> None:
    outcome = outcome_of(name, {})
    assert outcome.kept.num_rows >= 1
    assert reasons(outcome) == []


@pytest.mark.parametrize(("name", "words", "change", "reason"), BAD)
def test_a_bad_reply_makes_no_row(name: str, words: str, change: dict[str, Any], reason: str) -> None:
    outcome = outcome_of(name, {words: change})
    assert any(reason in each for each in reasons(outcome)), reasons(outcome)
    good = kept(outcome_of(name, {}), "query", "document", "label")
    assert set(kept(outcome, "query", "document", "label")) < set(good)
