"""The recipes about queries and documents: what each makes of replies as models send them, row by row.

The model is scripted: it answers by the fields that a call's schema asks for. What the prompts say is in the goldens.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.fake_llm import FakeLLM
from pairmine.errors import PairmineError
from pairmine.identity import content_id
from pairmine.llm.calls import Call, Reply
from pairmine.llm.recipes.file import load_recipe
from pairmine.llm.recipes.recipe import PromptRecipe, Step
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.recipes.templates import compiled
from pairmine.llm.replies.checks import FieldChecks
from pairmine.llm.replies.reader import ReplyReader
from pairmine.outcome import Outcome
from pairmine.stages.generate import generate
from pairmine.tokens import tokens

DATA = Path(__file__).parents[2] / "shared" / "data"
FROM_NOTHING = ("short-long", "long-short", "short-short", "long-long", "sts-write", "bitext")
NAMES = (
    *FROM_NOTHING,
    *(
        "neg-own-query",
        "role-views",
        "multi-hop",
        "propositions",
        "multi-grain-write",
        "relabel",
        "contrastive-rationale",
    ),
    *("task-queries", "candidates-rank", "describe-record", "profile", "personas"),
    *("keyword-queries", "title-write", "doc-summary"),
)

Answer = Callable[[Call], Mapping[str, Any]]


class Scripted(FakeLLM):
    """A model that answers by a function of the call, in an order of its own."""

    name = "openai:scripted"
    model = "scripted"

    def __init__(self, answer: Answer, *, seed: int = 0) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._answer_of = answer
        self._order = random.Random(seed)

    def wait(self) -> list[Any]:
        done, self._taken = self._taken, []
        self._order.shuffle(done)
        self.calls += done
        return [(call, Reply(json.dumps(self._answer_of(call)))) for call in done]


def asked(call: Call) -> str:
    return call.messages[-1]["content"]


def fields_of(call: Call) -> tuple[str, ...]:
    assert call.schema is not None
    return tuple(call.schema["properties"])


def run(name: str, rows: list[dict[str, Any]], *replies: Mapping[str, Any] | Answer, **settings: Any) -> Outcome:
    """The outcome for `rows`, with one reply to all calls, or the one of the first that knows the call's fields."""

    def answer(call: Call) -> Mapping[str, Any]:
        for reply in replies:
            found = reply(call) if callable(reply) else reply
            if tuple(found) == fields_of(call):
                return found
        raise AssertionError(f"no reply is prepared for {fields_of(call)}: {asked(call)}")

    return generate(name, pa.Table.from_pylist(rows), Scripted(answer), **settings)


def kept(outcome: Outcome, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in outcome.kept.to_pylist()]


def reasons(outcome: Outcome) -> list[str]:
    return sorted(outcome.rejected.column("reason").to_pylist())


def pairs_of(query_id: str, query: str, documents: list[str], labels: list[int | None]) -> list[dict[str, Any]]:
    """A query's rows as they stand in a pair set that was mined: the positive, then what was found, by rank."""
    return [
        {
            "query_id": query_id,
            "query": query,
            "doc_id": f"d{at}",
            "document": document,
            "label": label,
            "rank": at if label is None else None,
        }
        for at, (document, label) in enumerate(zip(documents, labels, strict=True))
    ]


# CLP ----------------------------------------------------------------------------------------------

TRIPLET = {
    "query": "why do cats purr",
    "positive": "Cats purr when they are content, and also to soothe themselves when they are hurt.",
    "negative": "Lions cannot purr, because the bone that holds their tongue is not stiff enough.",
}
MINED = pairs_of("q", TRIPLET["query"], [TRIPLET["positive"], TRIPLET["negative"]], [1, None])


def own_queries(*queries: str, answering: int = 0) -> dict[str, Any]:
    return {
        "negatives": [
            {"passage": at, "answers": at == answering, "neg_query": query} for at, query in enumerate(queries, 1)
        ]
    }


def test_a_hard_negative_becomes_the_positive_of_its_own_query_and_the_old_positive_its_negative() -> None:
    outcome = run("neg-own-query", MINED, own_queries("which big cats are unable to purr"))
    own = content_id("which big cats are unable to purr")
    assert kept(outcome, "query_id", "query", "doc_id", "document", "label", "origin", "rank") == [
        (
            own,
            "which big cats are unable to purr",
            "d1",
            TRIPLET["negative"],
            1,
            "generate:neg-own-query/positive",
            None,
        ),
        (
            own,
            "which big cats are unable to purr",
            "d0",
            TRIPLET["positive"],
            0,
            "generate:neg-own-query/negative",
            None,
        ),
    ]


def test_each_negative_of_a_query_gets_its_own_query_and_rows_of_one_stand_together() -> None:
    lynx = "The lynx hunts at dusk and hides what it cannot eat."
    rows = pairs_of("q", "why do cats purr", [TRIPLET["negative"], "To soothe.", lynx], [0, 1, None])
    outcome = run("neg-own-query", rows, own_queries("big cats unable to purr", "when do lynxes hunt"))
    assert kept(outcome, "query", "doc_id", "document", "label") == [
        ("big cats unable to purr", "d0", TRIPLET["negative"], 1),
        ("big cats unable to purr", "d1", "To soothe.", 0),
        ("when do lynxes hunt", "d2", lynx, 1),
        ("when do lynxes hunt", "d1", "To soothe.", 0),
    ]


def test_only_the_first_four_negatives_are_asked_about() -> None:
    rows = pairs_of("q", "why", ["p", *(f"negative {at}" for at in range(9))], [1, *[None] * 9])
    llm = Scripted(lambda call: own_queries("some other question"))
    generate("neg-own-query", pa.Table.from_pylist(rows), llm)
    assert "negative 3" in asked(llm.calls[0])
    assert "negative 4" not in asked(llm.calls[0])


@pytest.mark.parametrize("labels", [[1, 1], [0, None]])
def test_a_query_with_nothing_to_set_apart_costs_no_call(labels: list[int | None]) -> None:
    llm = Scripted(lambda call: own_queries("which big cats are unable to purr"))
    rows = pairs_of("r", "what do cats eat", ["Mice.", "Birds."], labels)
    outcome = generate("neg-own-query", pa.Table.from_pylist([*rows, *MINED]), llm)
    assert len(llm.calls) == 1
    assert reasons(outcome) == ["no positive, or nothing besides"] * 2
    assert outcome.rejected.column("query_id").to_pylist() == ["r", "r"]


def test_a_negative_that_answers_its_query_after_all_is_counted_as_such() -> None:
    outcome = run("neg-own-query", MINED, own_queries("do all cats purr", answering=1))
    assert outcome.kept.num_rows == 0
    assert reasons(outcome) == [
        "negative: its query has no positive",
        "positive: the negative answers the first query",
    ]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("Why do cats purr?", "negatives: same as query"),
        ("what does the second passage say about lions", "negatives: mentions what it must not"),
        ("because the bone that holds their tongue is not stiff enough", "negatives: copies candidates"),
        ("warum können Löwen und Tiger nicht schnurren wie die Hauskatze", "negatives: wrong language"),
    ],
)
def test_an_own_query_that_is_none_is_rejected(query: str, reason: str) -> None:
    assert reasons(run("neg-own-query", MINED, own_queries(query))) == [reason] * 2


def test_an_own_query_for_a_passage_that_is_not_there_is_rejected_alone() -> None:
    outcome = run("neg-own-query", MINED, own_queries("big cats unable to purr", "when do lynxes hunt"))
    assert kept(outcome, "query", "label") == [("big cats unable to purr", 1), ("big cats unable to purr", 0)]
    assert reasons(outcome) == [
        "negative: its query has no positive",
        "positive: candidate: not one of the query's",
    ]


# Role views ---------------------------------------------------------------------------------------


def test_every_role_gives_a_view_of_the_query_under_the_querys_own_id() -> None:
    views = ["How come cats make that humming noise?", "feline purring mechanism and function"]
    outcome = run("role-views", [{"id": "q7", "text": "why do cats purr"}], {"views": views})
    assert kept(outcome, "query_id", "query", "document", "label") == [
        ("q7", "why do cats purr", views[0], 1),
        ("q7", "why do cats purr", views[1], 1),
    ]


def test_a_view_that_repeats_the_query_or_another_view_is_rejected() -> None:
    same = run("role-views", [{"id": "q7", "text": "why do cats purr"}], {"views": ["Why do cats purr?", "cat noise"]})
    assert reasons(same) == ["views: same as text"]
    twice = run("role-views", [{"id": "q7", "text": "why do cats purr"}], {"views": ["cat purring", "Cat purring"]})
    assert kept(twice, "document") == [("cat purring",)]
    assert reasons(twice) == ["copies another text of its query"]


def test_as_many_roles_are_shown_as_were_asked_for_and_own_roles_are_taken() -> None:
    recipe = load_recipe("role-views")
    row = {"id": "q7", "text": "why do cats purr"}
    for views in (1, 2, 5):
        renderer = Renderer(recipe, options={"views": views})
        prompt = renderer.prompt(renderer.item(row), "rewrite").messages[-1]["content"]
        assert len(prompt.rpartition("Roles: ")[2].split("; ")) == views
    own = Renderer(recipe, options={"views": 2}, draws={"roles": ["a customs officer", "a beekeeper"]})
    roles = own.prompt(own.item(row), "rewrite").messages[-1]["content"].rpartition("Roles: ")[2]
    assert sorted(roles.split("; ")) == ["a beekeeper", "a customs officer"]


# Multi-hop ----------------------------------------------------------------------------------------

PASSAGES = {
    "query_id": "p1",
    "query": "The lens of the lighthouse was ground by Ferdinand Lohse.",
    "doc_id": "p2",
    "document": "Ferdinand Lohse learned his trade in Jena.",
}


def test_a_question_over_two_passages_has_both_as_positives_under_their_own_ids() -> None:
    question = "In which town did the maker of the lighthouse's lens learn to grind?"
    outcome = run("multi-hop", [PASSAGES], {"bridge": "Ferdinand Lohse", "answer": "Jena", "question": question})
    assert kept(outcome, "query", "doc_id", "document", "label", "bridge", "answer") == [
        (question, "p1", PASSAGES["query"], 1, "Ferdinand Lohse", "Jena"),
        (question, "p2", PASSAGES["document"], 1, "Ferdinand Lohse", "Jena"),
    ]


NO_QUESTION = "the passages have nothing in common, or the question is none"


@pytest.mark.parametrize("bridge", ["none", "None."])
def test_passages_without_a_bridge_give_no_question(bridge: str) -> None:
    rows = [PASSAGES, {**PASSAGES, "query_id": "p3", "query": "Lime kilns stood on every quay of the coast."}]
    outcome = run("multi-hop", rows, {"bridge": bridge, "answer": "none", "question": "none"})
    assert reasons(outcome) == [f"first: {NO_QUESTION}"] * 2 + [f"second: {NO_QUESTION}"] * 2


# Propositions -------------------------------------------------------------------------------------

SENTENCES = {"query": "Zoë won 🏆 in rain.", "document": "It rained when Zoë came second."}
ALIGNED = {
    "first": [
        {"proposition": "Zoë won.", "quote": "Zoë won"},
        {"proposition": "It was raining.", "quote": "in rain"},
    ],
    "second": [
        {"proposition": "It rained.", "quote": "It rained"},
        {"proposition": "Zoë came second.", "quote": "Zoë came 2nd"},
    ],
    "pairs": [
        {"first": 2, "second": 1, "same": True},
        {"first": 1, "second": 2, "same": False},
        {"first": 1, "second": 3, "same": True},
    ],
}


def test_propositions_are_paired_with_their_places_counted_in_characters() -> None:
    outcome = run("propositions", [SENTENCES], ALIGNED)
    columns = ("query", "document", "label", "query_quote", "document_quote")
    spans = ("query_start", "query_end", "document_start", "document_end")
    assert kept(outcome, *columns, *spans) == [
        ("Zoë won.", "Zoë came second.", 0, "Zoë won", "Zoë came 2nd", 0, 7, None, None),
        ("It was raining.", "It rained.", 1, "in rain", "It rained", 10, 17, 0, 9),
    ]
    assert SENTENCES["query"][10:17] == "in rain"
    assert reasons(outcome) == ["pair: a pair of a proposition that is not there, or judged both ways"]


def test_a_sentence_pair_without_matches_is_accounted_for() -> None:
    outcome = run("propositions", [SENTENCES], {**ALIGNED, "pairs": []})
    assert (outcome.kept.num_rows, reasons(outcome)) == (0, ["an empty list"])


# Grains -------------------------------------------------------------------------------------------

PASSAGE = "Salt melts ice. Below minus 18 degrees brine freezes. Oslo spreads much salt."
CUT = {
    "sentences": [
        {"quote": "Below minus 18 degrees brine freezes.", "score": 4},
        {"quote": "Salt is useless in the far north.", "score": 5},
        {"quote": "Salt melts ice.", "score": 2},
    ],
    "propositions": [{"proposition": "The city of Oslo uses much salt.", "score": 1}],
    "passage_score": 5,
}


def test_a_passage_its_sentences_and_its_propositions_are_graded_for_one_query() -> None:
    row = {"query_id": "q", "query": "why is road salt useless in deep frost", "doc_id": "d", "document": PASSAGE}
    outcome = run("multi-grain-write", [row], CUT)
    assert [
        (row["query_id"], row["document"], row["label"], round(row["grade"], 3), row["origin"].rpartition("/")[2])
        for row in outcome.kept.to_pylist()
    ] == [
        ("q", PASSAGE, 1, 1.0, "passage"),
        ("q", "Below minus 18 degrees brine freezes.", 1, 0.8, "sentence"),
        ("q", "Salt melts ice.", None, 0.4, "sentence"),
        ("q", "The city of Oslo uses much salt.", 0, 0.2, "proposition"),
    ]
    assert kept(outcome, "doc_id")[0] == ("d",)
    assert reasons(outcome) == ["sentence: a quote that does not stand in the passage"]


def test_what_counts_as_positive_can_be_set() -> None:
    row = {"query": "why is road salt useless in deep frost", "document": PASSAGE}
    outcome = run("multi-grain-write", [row], CUT, options={"positive_from": 5, "negative_to": 2})
    assert [label for (label,) in kept(outcome, "label")] == [1, None, 0, 0]


# Relabelling --------------------------------------------------------------------------------------

PASSAGES_FOUND = ["Ferries float.", "It leaves at noon.", "It leaves about midday.", "Ships sail.", "Oban is wet."]
GROUP = pairs_of("q", "when does the ferry leave", PASSAGES_FOUND, [1, None, None, None, None])
SCORES = [1, 5, 3, 0, 1]


def verdicts(scores: list[float]) -> dict[str, Any]:
    return {"verdicts": [{"passage": at, "score": score} for at, score in enumerate(scores, 1)]}


def test_the_best_passage_becomes_the_positive_and_the_first_bad_one_the_negative() -> None:
    outcome = run("relabel", GROUP, verdicts(SCORES))
    assert kept(outcome, "query_id", "doc_id", "document", "label", "grade", "rank") == [
        ("q", "d1", "It leaves at noon.", 1, 1.0, 1),
        ("q", "d0", "Ferries float.", 0, pytest.approx(0.2), None),
    ]


def test_more_negatives_come_in_the_order_of_the_list() -> None:
    outcome = run("relabel", GROUP, verdicts(SCORES), options={"negatives": 3})
    assert kept(outcome, "document", "label") == [
        ("It leaves at noon.", 1),
        ("Ferries float.", 0),
        ("Ships sail.", 0),
        ("Oban is wet.", 0),
    ]


def test_a_query_that_no_passage_answers_leaves_with_the_reason() -> None:
    outcome = run("relabel", GROUP, verdicts([1, 2, 2, 0, 1]))
    assert outcome.kept.num_rows == 0
    assert reasons(outcome) == ["negative: no passage answers the query", "positive: no passage answers the query"]


def test_a_query_whose_passages_all_answer_has_no_hard_negative() -> None:
    outcome = run("relabel", GROUP, verdicts([4, 5, 3, 2, 3]))
    assert kept(outcome, "document", "label") == [("It leaves at noon.", 1)]
    assert reasons(outcome) == ["an empty list"]


def test_only_the_first_passages_are_shown_with_the_task_where_there_is_one() -> None:
    llm = Scripted(lambda call: verdicts([0, 5]))
    rows = [{**row, "task": "Find timetables." if row["label"] else None} for row in GROUP]
    outcome = generate("relabel", pa.Table.from_pylist(rows), llm, options={"most": 2})
    assert kept(outcome, "query_id", "doc_id", "document", "label") == [
        ("q", "d1", "It leaves at noon.", 1),
        ("q", "d0", "Ferries float.", 0),
    ]
    (call,) = llm.calls
    assert "It leaves at noon." in asked(call)
    assert "midday" not in asked(call)
    assert "Find timetables." in asked(call)


def test_scores_and_ranks_stay_with_the_query_and_document_that_they_were_measured_of() -> None:
    scored = [{**row, "score_dense": 0.5 + at / 10, "seen": f"s{at}"} for at, row in enumerate(GROUP)]
    outcome = run("relabel", scored, verdicts(SCORES))
    assert kept(outcome, "doc_id", "rank", "score_dense", "seen", "other_label") == [
        ("d1", 1, pytest.approx(0.6), "s1", None),
        ("d0", None, pytest.approx(0.5), "s0", 1),
    ]
    lost = run(
        "neg-own-query", [{**row, "score_dense": 0.5} for row in MINED], own_queries("unable to purr which cats")
    )
    assert kept(lost, "score_dense") == [(None,), (None,)]


def test_a_grade_for_a_passage_that_is_not_there_is_rejected() -> None:
    outcome = run("relabel", GROUP, {"verdicts": [{"passage": 6, "score": 5}, {"passage": 1, "score": 0}]})
    assert kept(outcome, "doc_id", "label") == [("d0", 0)]
    assert reasons(outcome) == ["positive: candidate: not one of the query's"]


def test_a_document_without_its_text_is_an_error_that_names_it() -> None:
    with pytest.raises(PairmineError, match="query q: document d1 has no text; give a pair set with the texts"):
        run("relabel", [GROUP[0], {**GROUP[1], "document": None}], verdicts([5]))


# Rationales ---------------------------------------------------------------------------------------


def test_each_verdict_is_a_label_with_its_reason_beside_it() -> None:
    reply = {
        "verdicts": [
            {"passage": 1, "reason": "Says nothing on times.", "relevant": False},
            {"passage": 2, "reason": "Names the hour.", "relevant": True},
            {"passage": 9, "reason": "Names no hour.", "relevant": False},
        ],
        "contrast": "Only one has an hour.",
    }
    outcome = run("contrastive-rationale", GROUP, reply)
    assert kept(outcome, "query_id", "document", "label", "rationale", "contrast") == [
        ("q", "Ferries float.", 0, "Says nothing on times.", "Only one has an hour."),
        ("q", "It leaves at noon.", 1, "Names the hour.", "Only one has an hour."),
    ]
    assert reasons(outcome) == ["candidate: not one of the query's"]


# Task queries -------------------------------------------------------------------------------------

FERRY = {"id": "f", "text": "The ferry to Oban leaves at noon from the north pier, and on Sundays an hour later."}


def test_a_query_comes_with_the_task_that_it_is_of() -> None:
    reply = {"task": "Given a question on travel, find a timetable.", "query": "Sunday boat for Oban departure time"}
    outcome = run("task-queries", [FERRY], reply)
    assert kept(outcome, "query", "doc_id", "label", "task", "source_id") == [
        ("Sunday boat for Oban departure time", "f", 1, "Given a question on travel, find a timetable.", "f")
    ]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("what does this document say on Sundays", "query: mentions what it must not"),
        ("leaves at noon from the north pier, and on", "query: copies text"),
    ],
)
def test_a_query_that_leans_on_its_document_is_rejected(query: str, reason: str) -> None:
    assert reasons(run("task-queries", [FERRY], {"task": "Find a timetable of boats.", "query": query})) == [reason]


# Searches, titles, summaries ----------------------------------------------------------------------


def test_every_search_is_a_query_of_its_document_and_one_that_comes_twice_is_counted() -> None:
    outcome = run("keyword-queries", [FERRY], {"searches": ["oban ferry", "sunday boat oban", "Oban Ferry"]})
    assert kept(outcome, "query", "doc_id", "label") == [("oban ferry", "f", 1), ("sunday boat oban", "f", 1)]
    assert reasons(outcome) == ["search: a sentence, or a search that is there already"]


def test_a_title_is_a_positive_of_its_text_and_a_misleading_one_a_negative() -> None:
    reply = {"title": "When the Oban ferry sails", "misleading": "Oban ferry cancelled on Sundays"}
    outcome = run("title-write", [FERRY], reply)
    assert kept(outcome, "query_id", "document", "label") == [("f", reply["title"], 1), ("f", reply["misleading"], 0)]
    assert (
        reasons(run("title-write", [FERRY], {**reply, "misleading": "WHEN the Oban ferry sails!"}))
        == ["misleading: same as title"] * 2
    )


def test_a_false_summary_comes_with_what_is_wrong_about_it() -> None:
    reply = {
        "faithful": "Boats for Oban sail at twelve, on Sundays at one.",
        "false_summary": "Boats for Oban sail at twelve on every day of the week.",
        "mistake": "On Sundays it is an hour later.",
    }
    outcome = run("doc-summary", [FERRY], reply)
    assert kept(outcome, "query_id", "document", "label", "flaw") == [
        ("f", reply["faithful"], 1, None),
        ("f", reply["false_summary"], 0, reply["mistake"]),
    ]
    copied = {**reply, "faithful": FERRY["text"]}
    assert reasons(run("doc-summary", [FERRY], copied)) == ["faithful: overlaps text"] * 2


# Candidates ---------------------------------------------------------------------------------------


NOT_WORSE = "not there, as good as the best one, or none is good"


def test_descriptions_are_ranked_into_one_positive_and_graded_negatives() -> None:
    texts = ["kind of ship", "noon ferry to Oban, later on Sundays", "pier in the north", "ferry of the Oban line"]
    scores = [{"candidate": at, "score": score} for at, score in ((1, 3), (2, 9), (3, 2), (4, 9))]
    outcome = run("candidates-rank", [FERRY], {"descriptions": texts}, {"verdicts": scores})
    assert [(row["document"], row["label"], round(row["grade"], 2)) for row in outcome.kept.to_pylist()] == [
        (texts[1], 1, 0.9),
        (texts[0], 0, 0.3),
        (texts[2], 0, 0.2),
    ]
    assert reasons(outcome) == [f"worse: {NOT_WORSE}"]


def test_a_grade_for_a_description_that_is_not_there_is_rejected() -> None:
    texts = ["noon ferry to Oban, later on Sundays", "kind of ship"]
    scores = [{"candidate": at, "score": score} for at, score in ((1, 9), (2, 3), (3, 1))]
    outcome = run("candidates-rank", [FERRY], {"descriptions": texts}, {"verdicts": scores})
    assert kept(outcome, "document") == [(texts[0],), (texts[1],)]
    assert reasons(outcome) == [f"worse: {NOT_WORSE}"]


# Records and histories ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"city": "Ghent", "price": 12.5, "tags": ["a", "b"]}, 'city: Ghent\nprice: 12.5\ntags: ["a","b"]'),
        ({"都市": "東京", "garden": None, "rooms": 0}, "都市: 東京\nrooms: 0"),
        ([{"at": "08:00", "event": "login"}, {"at": "08:05", "event": "buy"}],) * 1
        + ("- at: 08:00, event: login\n- at: 08:05, event: buy",),
        (["door opened", "alarm"], "- door opened\n- alarm"),
        ("08:00 login; 08:05 buy", "08:00 login; 08:05 buy"),
    ],
)
def test_a_record_is_written_out_the_same_for_the_model_and_in_the_pair(record: Any, text: str) -> None:
    reply = {"description": "A short visit to a shop, early in the day."}
    llm = Scripted(lambda call: reply)
    outcome = generate("describe-record", pa.Table.from_pylist([{"id": "r1", "record": record}]), llm)
    assert kept(outcome, "query", "doc_id", "document", "label") == [(reply["description"], "r1", text, 1)]
    assert f"<record>\n{text}\n</record>" in asked(llm.calls[0])


def test_a_flat_table_is_a_record_for_each_row_with_all_that_is_not_blank() -> None:
    rows = [
        {"id": "h1", "city": "Ghent", "rooms": 4, "note": ""},
        {"id": "h2", "city": None, "rooms": None, "note": ""},
    ]
    llm = Scripted(lambda call: {"description": "A house of four rooms in a town."})
    outcome = generate("describe-record", pa.Table.from_pylist(rows), llm)
    assert kept(outcome, "doc_id", "document", "city", "rooms") == [("h1", "city: Ghent\nrooms: 4", "Ghent", 4)]
    assert reasons(outcome) == ["no record"]
    assert len(llm.calls) == 1


def test_a_record_without_an_id_gets_the_hash_of_its_text() -> None:
    outcome = run("describe-record", [{"record": ["door opened"]}], {"description": "A door that was opened once."})
    assert kept(outcome, "doc_id") == [(content_id("- door opened"),)]


def test_a_profile_is_the_positive_of_the_history_that_was_shown() -> None:
    reply = {"profile": "Fond of crime films, and lately of quiet drama."}
    columns = ("query_id", "query", "document", "label")
    rows = [{"id": "u1", "history": ["Rififi", "Heat", "Paterson"]}]
    outcome = run("profile", rows, reply, options={"last": 2})
    assert kept(outcome, *columns) == [("u1", "- Heat\n- Paterson", reply["profile"], 1)]


def test_profiles_of_items_are_asked_for_with_examples_of_items() -> None:
    renderer = Renderer(load_recipe("profile"), options={"of": "item"})
    messages = renderer.prompt(renderer.item({"id": "i", "history": ["type: game"]}), "summarise").messages
    assert "profiles of items" in messages[0]["content"]
    assert not any("Rififi" in message["content"] for message in messages)


# Personas -----------------------------------------------------------------------------------------


def test_a_query_is_asked_for_under_what_was_configured_and_says_so() -> None:
    choice = {"persona": "a sailor", "type": "yes-no", "difficulty": "school"}
    query = {"query": "Kann ich sonntags später los?"}
    llm = Scripted(lambda call: choice if fields_of(call)[0] == "persona" else query)
    table = pa.Table.from_pylist([{**FERRY, "personas": ["a sailor", "a judge"]}])
    outcome = generate("personas", table, llm, draws={"language": ["German"]})
    assert kept(outcome, "query", "doc_id", "persona", "type", "difficulty", "language") == [
        (query["query"], "f", "a sailor", "yes-no", "school", "German")
    ]
    first, second = llm.calls
    assert asked(first).endswith("Personas: a sailor; a judge")
    for line in ("Persona: a sailor", "Type: yes-no", "Difficulty: school", "Language: German"):
        assert line in asked(second).splitlines()


def test_personas_are_drawn_from_the_pool_where_the_input_has_none() -> None:
    renderer = Renderer(load_recipe("personas"))
    prompt = renderer.prompt(renderer.item(FERRY), "configure").messages[-1]["content"]
    assert len(prompt.rpartition("Personas: ")[2].split("; ")) == 5


def test_a_type_that_is_not_on_offer_is_rejected() -> None:
    choice = {"persona": "a sailor", "type": "rhetorical", "difficulty": "school"}
    assert reasons(run("personas", [FERRY], choice)) == ["configure: type: not one of the choices"]


# Out of nothing -----------------------------------------------------------------------------------

WRITTEN: dict[str, dict[str, Any]] = {
    "short-long": {
        "query": "mending a punctured tyre with a patch",
        "document": "Roughen the rubber around the hole, spread the glue thinly, wait five minutes, then press it on.",
        "hard_negative": "Tyres are sold by width and diameter, both of which are printed on the side of every one.",
    },
    "long-short": {
        "text": "The parcel came three days late and the box was torn on one side.",
        "label": "late delivery",
        "misleading_label": "wrong article",
    },
    "short-short": {"input": "a cough that gets worse at night", "match": "asthma that was not recognised"},
    "long-long": {
        "input": "At ten past four the wind came down upon the boats and turned nineteen of them over.",
        "match": "I stood on the pier when the sky went black and all the sails were suddenly gone.",
    },
    "sts-write": {
        "first": "The woman brought the skis back in April.",
        "close": "In spring the pair was returned by the lady.",
        "distant": "The woman brought the skis back in June.",
    },
    "bitext": {
        "text": "The baker did without his oven for three weeks because of the storks.",
        "translation": "Drei Wochen lang verzichtete der Bäcker wegen der Störche auf seinen Ofen.",
        "loose": "Der Bäcker verkaufte nach drei Wochen wegen der Störche seinen Ofen.",
    },
}
DRAWS: dict[str, dict[str, list[str]]] = {
    **{name: {"language": ["english"]} for name in FROM_NOTHING},
    "bitext": {"source": ["english"], "target": ["german"]},
}


def brainstorm_of(name: str) -> str:
    return "subjects" if name in ("sts-write", "bitext") else "tasks"


def numbered(reply: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The reply with a word of its own in each text, so that no two replies are copies."""
    return {name: f"{text} ({mark})" for name, text in reply.items()}


def from_nothing(name: str, parts: list[str], *, seed: int = 0, **settings: Any) -> tuple[Outcome, Scripted]:
    """What comes of a brainstorm that gives `parts`, with replies that tell which of them they are for."""
    last_line = {part: f"{part.split()[-1]} {part.split()[0]}" for part in parts}

    def answer(call: Call) -> Mapping[str, Any]:
        if fields_of(call) == (brainstorm_of(name),):
            return {brainstorm_of(name): parts}
        head = asked(call).splitlines()[0].partition(": ")[2]
        return numbered(WRITTEN[name], last_line[head])

    llm = Scripted(answer, seed=seed)
    outcome = generate(name, pa.table({}), llm, draws=DRAWS[name], **settings)
    return outcome, llm


PARTS = ["Given a puncture, find a repair guide.", "Given a dish, find a recipe.", "Given an herb, find its uses."]


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_every_brainstormed_task_gives_its_own_pairs(name: str) -> None:
    outcome, llm = from_nothing(name, PARTS)
    texts = list(WRITTEN[name].values())
    expected = []
    for part in PARTS:
        query, *documents = (f"{text} ({part.split()[-1]} {part.split()[0]})" for text in texts)
        expected += [(query, document, label, part) for document, label in zip(documents, (1, 0), strict=False)]
    column = "subject" if name in ("sts-write", "bitext") else "task"
    assert kept(outcome, "query", "document", "label", column) == expected
    assert len(llm.calls) == 1 + len(PARTS)


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_a_task_that_comes_twice_is_asked_once(name: str) -> None:
    outcome, llm = from_nothing(name, [*PARTS, PARTS[0].upper()])
    assert len(llm.calls) == 1 + len(PARTS)
    assert set(reasons(outcome)) == {"repeated part"}


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_the_same_seed_gives_the_same_rows_whatever_order_replies_come_in(name: str) -> None:
    one, _ = from_nothing(name, PARTS, seed=1)
    other, _ = from_nothing(name, PARTS, seed=2)
    assert one.kept.equals(other.kept)


@pytest.mark.parametrize("name", ["sts-write", "bitext"])
def test_the_grade_is_the_similarity_that_was_asked_for(name: str) -> None:
    outcome, llm = from_nothing(name, PARTS)
    for row in outcome.kept.to_pylist():
        drawn = row["high"] if row["label"] else row["low"]
        assert row["grade"] == pytest.approx(float(drawn.replace("-", ".")) / 5)
    assert all("Higher: " in asked(call) for call in llm.calls[1:])


def test_attributes_are_drawn_anew_for_every_task() -> None:
    parts = [f"Given case {number}, find page {number}." for number in range(40)]
    recipe = load_recipe("short-long")
    renderer = Renderer(recipe)
    items = [renderer.part_of(renderer.item({}), part) for part in parts]
    for draw in recipe.draws:
        seen = {item.draws[draw.name].name for item in items if item is not None}
        assert (len(seen) > 1) == draw.is_per_part, draw.name


def test_the_two_sides_of_a_bitext_are_never_asked_for_in_one_language() -> None:
    draws = {draw.name: {choice.text for choice in draw.choices} for draw in load_recipe("bitext").draws}
    assert not draws["source"] & draws["target"]


def test_a_translation_in_the_wrong_language_is_rejected() -> None:
    reply = {
        **WRITTEN["bitext"],
        "translation": "For three weeks the baker had no bread to sell because of the storks.",
    }
    outcome = run("bitext", [], {"subjects": PARTS[:1]}, reply, draws=DRAWS["bitext"])
    assert reasons(outcome) == ["write: translation: wrong language"] * 2


# All of them --------------------------------------------------------------------------------------

STEPS = [(name, step) for name in NAMES for step in load_recipe(name).steps]


def instructions_of(step: Step) -> Iterator[dict[str, str]]:
    for choice in step.instructions or (None,):
        yield {"instruction": choice.text if choice else "", "instruction_name": choice.name if choice else ""}


def shown(recipe: PromptRecipe, step: Step) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Every exemplar with its reply and the system message, for each instruction and each choice of an option."""
    assert step.turns is not None
    chosen = [[(option.name, choice) for choice in option.choices or (option.default,)] for option in recipe.options]
    for options in map(dict, itertools.product(*chosen)):
        for about in instructions_of(step):
            context = {**about, "options": options}
            for exemplar in step.exemplars:
                reply = compiled(step.turns[1])({**context, "exemplar": exemplar.fields}).strip()
                yield exemplar.fields, reply, compiled(step.system)(context)


@pytest.mark.parametrize(("name", "step"), STEPS, ids=[f"{name}-{step.name}" for name, step in STEPS])
def test_every_exemplar_passes_the_checks_that_replies_must_pass(name: str, step: Step) -> None:
    recipe = load_recipe(name)
    reader, checks = ReplyReader(step.schema), FieldChecks(step.checks)
    for exemplar, reply, system in shown(recipe, step):
        parsed = reader.read(Reply(reply))
        assert (parsed.problem, parsed.repairs) == (None, ()), reply
        assert parsed.value is not None
        columns = {column.name: exemplar[column.name] for column in recipe.inputs if column.name in exemplar}
        draws = {draw.name: exemplar.get(draw.name, "") for draw in recipe.draws}
        problem = checks.problem(parsed.value, columns, draws, [{"role": "system", "content": system}])
        assert problem is None, (problem, reply)


@pytest.mark.parametrize("name", NAMES)
def test_exemplars_show_attributes_that_can_be_drawn(name: str) -> None:
    recipe = load_recipe(name)
    for draw in recipe.draws:
        texts = {choice.text for choice in draw.choices}
        for step in recipe.steps:
            for exemplar in step.exemplars:
                given = exemplar.fields.get(draw.name)
                if given is None or (draw.is_open and not draw.several):
                    continue
                assert set(given.split("; ") if draw.several else [given]) <= texts, (draw.name, exemplar.name)


@pytest.mark.parametrize("name", ["short-long", "long-short", "long-long"])
def test_exemplars_are_about_as_long_as_they_say(name: str) -> None:
    for exemplar in load_recipe(name).steps[1].exemplars:
        wanted = int(exemplar.fields["words"].split()[1])
        for field in ("document", "hard_negative", "text", "input", "match"):
            if field in exemplar.fields:
                assert 0.7 * wanted <= len(tokens(exemplar.fields[field])) <= 1.4 * wanted, (exemplar.name, field)


def test_quotes_in_exemplars_stand_in_what_they_are_taken_from() -> None:
    for exemplar in load_recipe("propositions").steps[0].exemplars:
        for column, side in (("query", "first"), ("document", "second")):
            for each in exemplar.fields[side]:
                assert each["quote"] in exemplar.fields[column], (exemplar.name, each["quote"])
    for exemplar in load_recipe("multi-grain-write").steps[0].exemplars:
        for each in exemplar.fields["sentences"]:
            assert each["quote"] in exemplar.fields["document"], (exemplar.name, each["quote"])


@pytest.mark.parametrize("name", ["multi-hop", "personas"])
def test_exemplars_have_the_length_that_they_are_asked_for(name: str) -> None:
    for exemplar in load_recipe(name).steps[-1].exemplars:
        question = exemplar.fields.get("question") or exemplar.fields["query"]
        if question != "none":
            least, most = (int(word) for word in exemplar.fields["length"].split() if word.isdigit())
            assert least <= len(question.split()) <= most, exemplar.name


# From the shell -----------------------------------------------------------------------------------

TEXTS = [
    {"id": "ferry", "text": "The ferry to Oban leaves at noon from the north pier, and on Sundays an hour later."},
    {"id": "library", "text": "雨の日は休館です。図書館は月曜日も閉まっています。", "title": "図書館"},
    {"id": "salt", "text": PASSAGE},
]
FILES: dict[str, list[dict[str, Any]]] = {
    "corpus.jsonl": TEXTS,
    "paragraphs.jsonl": TEXTS,
    "queries.jsonl": [{"_id": "q1", "text": "why do cats purr"}, {"_id": "q2", "text": "ฉันจะไปเชียงใหม่ได้อย่างไร"}],
    "mined.parquet": [
        row
        for at in range(8)
        for row in pairs_of(f"q{at}", f"{TRIPLET['query']} {at}", [*list(TRIPLET.values())[1:], PASSAGE], [1, 0, None])
    ],
    "sentence-pairs.tsv": [
        {"sentence1": f"{SENTENCES['query']} {at}", "sentence2": SENTENCES["document"]} for at in range(12)
    ],
    "pairs.parquet": [{"query_id": "q", "query": "salt in frost", "doc_id": "d", "document": PASSAGE, "label": 1}],
    "passage-pairs.parquet": [{**PASSAGES, "label": 1}],
    "records.jsonl": [
        {"record_id": 1, "fields": {"city": "Ghent", "type": "terraced house", "built": 1923, "rooms": 4}}
    ],
    "histories.jsonl": [{"user_id": 7, "history": ["The Third Man", "Rififi", "Drive My Car"]}],
}


def write(folder: Path, name: str) -> None:
    rows = FILES[name]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    elif name.endswith(".tsv"):
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    else:
        (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def shell(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    from pairmine.cli.main import main

    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PAIRMINE_LEDGER", str(folder / "ledger.sqlite"))
        patch.setattr("sys.argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
    return int(left.value.code or 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_every_recipe_works_when_pasted_with_a_stand_in_for_the_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(load_recipe(name).example.replace("openai:gpt-5-mini", "fake:"))
    output = words[words.index("-o") + 1]
    for file in FILES:
        if file in words[:-1]:
            write(tmp_path, file)
    dry = [word for word in words[1:] if word not in ("-o", output)]
    assert shell(monkeypatch, tmp_path, *dry, "--dry-run") == 0
    assert "dry run" in capsys.readouterr().out
    narrowed = [f"--draw={draw}={','.join(choices)}" for draw, choices in DRAWS.get(name, {}).items()]
    if name == "bitext":
        narrowed = ["--draw=source=english", "--draw=target=English"]
    if name == "personas":
        narrowed = ["--draw=language=document"]
    assert shell(monkeypatch, tmp_path, *words[1:], *narrowed, "--rejects", "rejects.jsonl") == 0, capsys.readouterr()
    rows = pq.read_table(tmp_path / output).to_pylist()
    assert rows
    assert all(row["query"].strip() and row["document"].strip() for row in rows)
    assert all(row["origin"].startswith(f"generate:{name}/") and row["origin"].endswith("/fake") for row in rows)
    assert [key for key, _ in itertools.groupby(row["query_id"] for row in rows)] == list(
        dict.fromkeys(row["query_id"] for row in rows)
    )


def collection(path: str) -> list[dict[str, Any]]:
    if not (DATA / path).exists():
        pytest.skip(f"the collection {path} is not on this machine")
    with gzip.open(DATA / path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in itertools.islice(lines, 40)]


def test_records_of_a_real_collection_are_read_by_the_names_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = collection("record-duplicates/records.jsonl.gz")
    source = str(DATA / "record-duplicates" / "records.jsonl.gz")
    words = ["generate", "describe-record", source, "--llm", "fake:", "--limit", "40", "-o", "out.jsonl"]
    assert shell(monkeypatch, tmp_path, *words) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    # Records that say the same get the same description from the stand-in, whose second row is no new query.
    assert 35 <= len(rows) <= len(records)
    fields = {record["_id"]: record["fields"] for record in records}
    for row in rows:
        said = [f"{name}: {value}" for name, value in fields[row["doc_id"]].items()]
        assert sorted(row["document"].splitlines()) == sorted(said)


def test_texts_of_real_articles_in_many_languages_are_planned_and_accounted_for() -> None:
    documents = [{"id": row["_id"], "text": row["text"]} for row in collection("tydiqa-goldp/corpus.jsonl.gz")]
    for name in ("task-queries", "personas", "candidates-rank"):
        outcome = generate(name, pa.Table.from_pylist(documents), FakeLLM())
        assert outcome.rows_in + outcome.added == outcome.kept.num_rows + outcome.rejected.num_rows
        assert outcome.kept.num_rows


def test_pairs_of_a_real_collection_give_propositions() -> None:
    rows = collection("sick/trial.jsonl.gz")
    first, second = [key for key in rows[0] if "sentence" in key.casefold()][:2]
    pairs = [{"query": row[first], "document": row[second]} for row in rows]
    outcome = generate("propositions", pa.Table.from_pylist(pairs), FakeLLM())
    assert outcome.rows_in == len(pairs)
    assert outcome.rows_in + outcome.added == outcome.kept.num_rows + outcome.rejected.num_rows


def test_the_stand_in_copies_parts_of_a_text_where_a_recipe_takes_it_apart() -> None:
    texts = {
        "a": "A cook is slicing red onions on a well-worn board while two dogs wait near the door.",
        "b": "Three women in straw hats sell ripe mangoes at the market in Accra.",
        "c": "两列火车停在桥上。",
    }
    table = pa.Table.from_pylist([{"id": name, "text": text} for name, text in texts.items()])
    rows = generate("gcse-extract", table, FakeLLM()).kept.to_pylist()
    assert {(row["query_id"], row["kind"]) for row in rows} >= {
        (name, kind) for name in texts for kind in ("subject", "action")
    }
    for row in rows:
        assert row["document"] in texts[row["query_id"]] or row["kind"] == "topic"
        assert len(row["document"].split()) <= 2
    assert any(row["kind"] == "entity" for row in rows)
    assert generate("gcse-extract", table, FakeLLM()).kept.to_pylist() == rows
    assert generate("gcse-extract", table, FakeLLM(), seed=1).kept.to_pylist() != rows
