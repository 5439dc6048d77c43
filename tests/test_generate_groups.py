"""Pair sets by query, and rows, steps and pairs that are left out: what is asked, what comes, what is counted."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pairmine.backends.fake_llm import FakeLLM
from pairmine.errors import PairmineError
from pairmine.llm.asking import Asker
from pairmine.llm.calls import Call, Reply
from pairmine.llm.recipes.file import read_recipe
from pairmine.llm.recipes.recipe import PromptRecipe
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import Plan
from pairmine.outcome import Outcome, joined
from pairmine.stages.generate import generate, group_starts, tasks_of, write_pairs

GROUPS = """
name: pick
summary: The document that is named.
paper: ours
reads: groups
example: pairmine generate pick mined.parquet -o pairs.parquet
inputs:
  topic: {meaning: what it is about, required: false}
options:
  most: {default: 3, meaning: how many documents are shown}
groups: {most: options.most}
only:
  test: row.query != "skip"
  reason: not wanted
steps:
  pick:
    prompt: >-
      {{ row.topic }} {{ row.query }}:{% for each in row.candidates %}
      [{{ each.text }} {{ each.label }} {{ each.rank }}]{% endfor %}
emits:
  best:
    query: "{{ row.query }}"
    candidate: row.candidates[reply.text | number]
    label: 1
"""

STEPS = """
name: doubt
summary: A sentence, and what speaks against it.
paper: ours
reads: documents
example: pairmine generate doubt corpus.jsonl -o pairs.parquet
options:
  doubts: {default: true, meaning: whether there are doubts}
steps:
  claim:
    prompt: "Claim: {{ row.text }}"
  doubt:
    only: options.doubts and replies.claim.text != "sure"
    prompt: "Doubt: {{ replies.claim.text }}"
  settle:
    prompt: "Settle: {{ replies.doubt.text }}"
emits:
  claim: {step: claim, query: "{{ row.text }}", document: "{{ reply.text }} indeed", label: 1}
  doubt: {step: doubt, query: "{{ row.text }}", document: "{{ reply.text }}", label: 0}
  settled: {step: settle, query: "{{ row.text }}", document: "{{ reply.text }}", label: 1}
  plain: {only: not options.doubts, step: claim, query: "{{ row.text }}", document: "{{ reply.text }}", label: 1}
"""


class Scripted(FakeLLM):
    """Answers with what stands behind the beginning of a prompt; notes what it was asked."""

    name = "openai:scripted"
    model = "scripted"

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._answers = answers

    def wait(self) -> list[Any]:
        done, self._taken = self._taken, []
        return [(call, Reply(self._answer_to(call))) for call in done]

    def _answer_to(self, call: Call) -> str:
        prompt = call.messages[-1]["content"]
        self.asked.append(prompt)
        return next(answer for start, answer in self._answers.items() if prompt.startswith(start))


def recipe(text: str) -> PromptRecipe:
    return read_recipe(text.encode(), "own.yaml")


def pairs(*queries: tuple[str, int]) -> pa.Table:
    """A pair set with so many documents for each query, of which the first is its positive."""
    rows = [
        {
            "query_id": f"id-{query}",
            "query": query,
            "doc_id": f"{query}{at}",
            "document": f" Text {at} of {query}\n",
            "label": 1 if at == 0 else None,
            "rank": at or None,
            "topic": f"topic {at}",
            "score_dense": at / 8,
        }
        for query, count in queries
        for at in range(count)
    ]
    return pa.Table.from_pylist(rows)


def written(text: str, table: pa.Table, llm: FakeLLM, **settings: Any) -> list[dict[str, Any]]:
    return generate(recipe(text), table, llm, **settings).kept.to_pylist()


def test_a_query_is_asked_about_once_with_its_documents_in_their_order_up_to_so_many() -> None:
    llm = Scripted({"": "2"})
    rows = written(GROUPS, pairs(("ข้าว", 2), ("b", 5)), llm)
    assert llm.asked == [
        "topic 0 ข้าว: [ Text 0 of ข้าว\n 1 ] [ Text 1 of ข้าว\n  1]",
        "topic 0 b: [ Text 0 of b\n 1 ] [ Text 1 of b\n  1] [ Text 2 of b\n  2]",
    ]
    found = [{name: row[name] for name in ("query_id", "doc_id", "document", "rank", "score_dense")} for row in rows]
    assert found == [{"query_id": "id-b", "doc_id": "b2", "document": " Text 2 of b\n", "rank": 2, "score_dense": 0.25}]


def test_the_number_of_documents_can_be_set() -> None:
    llm = Scripted({"": "4"})
    assert [row["doc_id"] for row in written(GROUPS, pairs(("b", 6)), llm, options={"most": 5})] == ["b4"]
    assert "Text 4" in llm.asked[0]
    assert "Text 5" not in llm.asked[0]


def test_a_query_that_the_recipe_is_not_for_costs_no_call_and_leaves_with_the_reason() -> None:
    llm = Scripted({"": "0"})
    outcome = generate(recipe(GROUPS), pairs(("skip", 2), ("b", 2)), llm)
    assert len(llm.asked) == 1
    assert outcome.rejected.select(["query_id", "query", "topic", "reason"]).to_pylist() == [
        {"query_id": "id-skip", "query": "skip", "topic": "topic 0", "reason": "not wanted"}
    ]
    assert (outcome.rows_in, outcome.added) == (2, 0)


def test_a_condition_that_cannot_be_told_rejects_its_row_alone() -> None:
    text = GROUPS.replace('row.query != "skip"', "row.candidates[1].rank > 0")
    outcome = generate(recipe(text), pairs(("a", 1), ("b", 2)), Scripted({"": "0"}))
    assert outcome.rejected.column("reason").to_pylist() == ["only: cannot be told"]
    assert outcome.kept.column("query").to_pylist() == ["b"]


def test_rows_and_draws_go_by_the_texts_and_not_by_the_ids() -> None:
    renderer = Renderer(recipe(GROUPS))
    plan = Plan(renderer.recipe, renderer, model="m")
    table = pairs(("a", 3))
    other = table.set_column(2, "doc_id", pa.array(["x", "y", "z"])).set_column(0, "query_id", pa.array(["q"] * 3))
    (one,), (two,) = (list(tasks_of(plan, [each], 1)) for each in (table, other))
    assert (one.item.content, one.item.seed) == (two.item.content, two.item.seed)
    (shorter,) = tasks_of(plan, [table.slice(0, 2)], 1)
    assert shorter.item.content != one.item.content


def outcome_of(tables: list[pa.Table]) -> Outcome:
    found = recipe(GROUPS)
    plan = Plan(found, Renderer(found), model="fake")
    return joined(list(write_pairs(plan, tasks_of(plan, tables, 2), Asker(Scripted({"": "1"}), recipe="pick"))))


def test_the_rows_are_the_same_however_the_pair_set_is_cut_between_queries() -> None:
    table = pairs(*((f"q{at}", 1 + at % 7) for at in range(1500)))
    starts = [*group_starts(table).tolist(), table.num_rows]
    cut = [table.slice(starts[a], starts[b] - starts[a]) for a, b in ((0, 1), (1, 700), (700, 1500))]
    whole = outcome_of([table])
    assert whole.rows_in == 3000
    assert whole.kept.to_pylist() == outcome_of(cut).kept.to_pylist()
    assert len(set(whole.kept.column("doc_id").to_pylist())) == sum(1 + at % 7 > 1 for at in range(1500))


def test_a_query_with_more_rows_than_a_block_stays_one_row() -> None:
    llm = Scripted({"": "0"})
    assert len(written(GROUPS, pairs(("a", 1), ("b", 5000), ("c", 2)), llm)) == 3


def test_a_pair_set_without_ids_ranks_or_labels_is_read_by_its_texts() -> None:
    table = pa.table({"query": ["a", "a", "b"], "document": ["x", "y", "z"]})
    llm = Scripted({"": "0"})
    assert [row["document"] for row in written(GROUPS, table, llm)] == ["x", "z"]
    assert llm.asked[0] == "a: [x  ] [y  ]"


def test_a_pair_set_without_documents_is_told_before_a_call() -> None:
    with pytest.raises(PairmineError, match=r'recipe pick reads "document", which is not there \(found: query\)'):
        generate(recipe(GROUPS), pa.table({"query": ["a"]}), Scripted({}))


# Steps and pairs that are left out ----------------------------------------------------------------

CORPUS = pa.table({"id": ["1", "2"], "text": ["Rice grows in water.", "Tea likes shade."]})


def test_a_step_that_is_not_asked_takes_those_that_read_it_and_their_pairs_with_it() -> None:
    llm = Scripted(
        {"Claim: Rice": "sure", "Claim: Tea": "perhaps", "Doubt:": "no, it is not", "Settle:": "half and half"}
    )
    outcome = generate(recipe(STEPS), CORPUS, llm)
    assert sorted(llm.asked) == [
        "Claim: Rice grows in water.",
        "Claim: Tea likes shade.",
        "Doubt: perhaps",
        "Settle: no, it is not",
    ]
    assert [row["document"] for row in outcome.kept.to_pylist()] == [
        "sure indeed",
        "perhaps indeed",
        "no, it is not",
        "half and half",
    ]
    assert (outcome.rows_in, outcome.added, outcome.rejected.num_rows) == (4, 0, 0)


def test_an_option_switches_steps_off_and_other_pairs_on() -> None:
    llm = Scripted({"Claim:": "it does"})
    outcome = generate(recipe(STEPS), CORPUS.slice(0, 1), llm, options={"doubts": False})
    assert len(llm.asked) == 1
    assert [row["origin"] for row in outcome.kept.to_pylist()] == ["generate:doubt/claim", "generate:doubt/plain"]
    assert outcome.rows_in == 2


def test_a_failed_step_rejects_what_was_to_come_of_it_and_of_the_steps_after() -> None:
    llm = Scripted({"Claim:": "I'm sorry, but I cannot help with that."})
    outcome = generate(recipe(STEPS), CORPUS.slice(0, 1), llm, retries_invalid=0)
    assert outcome.rejected.column("role").to_pylist() == ["claim", "doubt", "settled"]
    assert outcome.rows_in == 3


def test_rows_of_which_nothing_is_made_are_counted_all_the_same() -> None:
    text = STEPS[: STEPS.index("  doubt:\n    only")].replace('"Claim', '"Claim') + (
        "emits:\n  claim: {only: row.text != 'x', query: q, document: '{{ reply.text }}'}\n"
    )
    text = text.replace("options:\n  doubts: {default: true, meaning: whether there are doubts}\n", "")
    outcome = generate(recipe(text), pa.table({"id": ["1"], "text": ["x"]}), Scripted({"": "it does"}))
    assert outcome.notes["rows of which the recipe makes nothing"] == 1
    assert (outcome.rows_in, outcome.kept.num_rows, outcome.rejected.num_rows) == (0, 0, 0)
