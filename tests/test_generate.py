"""The stage `generate`, with a scripted model in place of a real one: what becomes of rows, replies and order."""

from __future__ import annotations

import json
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.llm.asking import Asker
from pairmine.llm.calls import Call, Failure, Reply
from pairmine.llm.money import Budget, Price
from pairmine.llm.recipes.file import load_recipe, read_recipe
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import Plan, in_order
from pairmine.stages.generate import generate, tasks_of, write_pairs

PLAIN = b"""
name: echo
summary: Says it in other words.
paper: ours
reads: documents
steps:
  write:
    prompt: "Say it in other words: {{ row.text }}"
    checks:
      text: {words: [2, 30]}
emits:
  positive:
    query: "{{ row.text }}"
    document: "{{ reply.text }}"
    label: 1
example: pairmine generate echo corpus.jsonl -o pairs.parquet
"""

TWO_STEPS = b"""
name: chain
summary: A topic, then a sentence on it.
paper: ours
reads: documents
steps:
  topic:
    prompt: "Name the topic of: {{ row.text }}"
    checks:
      text: {words: [1, 30]}
  sentence:
    prompt: "Write on {{ replies.topic.text }}."
    checks:
      text: {words: [1, 30]}
emits:
  topic:
    query: "{{ row.text }}"
    document: "{{ replies.topic.text }}"
    step: topic
    label: 1
  sentence:
    query: "{{ row.text }}"
    document: "{{ replies.sentence.text }}"
    step: sentence
    label: 0
example: pairmine generate chain corpus.jsonl -o pairs.parquet
"""


class Scripted:
    """A model that answers by a function and hands replies back in an order of its own."""

    name = "openai:scripted"
    model = "scripted"

    def __init__(self, answer: Callable[[Call], str | Reply | Failure], *, at_once: int = 16, seed: int = 0) -> None:
        self.facts: dict[str, Any] = {}
        self.calls: list[Call] = []
        self._answer = answer
        self._at_once = at_once
        self._waiting: list[Call] = []
        self._draw = random.Random(seed)

    @property
    def room(self) -> int:
        return self._at_once - len(self._waiting)

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    def submit(self, call: Call) -> None:
        self.calls.append(call)
        self._waiting.append(call)

    def wait(self) -> list[tuple[Call, Reply | Failure]]:
        self._draw.shuffle(self._waiting)
        done = [self._waiting.pop() for _ in range(self._draw.randint(1, len(self._waiting)))] if self._waiting else []
        answers = [(call, self._answer(call)) for call in done]
        return [(call, Reply(found) if isinstance(found, str) else found) for call, found in answers]

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        return None

    def close(self) -> None:
        pass


class Kept(dict[bytes, Reply]):
    """A keeper in memory."""

    def find(self, keys: Any) -> dict[bytes, Reply]:
        return {key: self[key] for key in keys if key in self}

    def keep(self, answers: Any, *, recipe: str, backend: str) -> None:
        self.update((call.key, reply) for call, reply in answers)


def last(call: Call) -> str:
    return call.messages[-1]["content"]


def documents(count: int) -> pa.Table:
    return pa.table(
        {
            "id": [str(number) for number in range(count)],
            "text": [f"Text number {number} about {number * 7} apples." for number in range(count)],
            "source": [f"page {number}" for number in range(count)],
        }
    )


def words_of(call: Call) -> str:
    """A reply with words that are the prompt's own, and not in it."""
    draw = random.Random(last(call))
    return " ".join(draw.choices(["red", "green", "blue", "gold", "grey", "pink", "teal", "plum"], k=9))


def test_rows_come_in_the_order_of_the_input_whatever_order_replies_come_in() -> None:
    rows = documents(300)
    one = generate(read_recipe(PLAIN, "echo.yaml"), rows, Scripted(words_of, seed=1))
    other = generate(read_recipe(PLAIN, "echo.yaml"), rows, Scripted(words_of, seed=2, at_once=3))
    assert one.kept.equals(other.kept)
    assert one.kept["source_id"].to_pylist() == [str(number) for number in range(300)]


def test_a_pair_has_its_origin_its_draw_and_the_columns_of_its_source() -> None:
    row = generate(read_recipe(PLAIN, "echo.yaml"), documents(1), Scripted(words_of)).kept.to_pylist()[0]
    assert row["origin"] == "generate:echo/positive"
    assert row["template"] == "write"
    assert row["sample"] == 0
    assert row["source"] == "page 0"
    assert row["query_id"] == row["source_id"] == "0"


def test_samples_of_a_row_stand_together_and_differ() -> None:
    model = Scripted(lambda call: f"{words_of(call)} {call.sample} {call.sample + 5}")
    kept = generate(read_recipe(PLAIN, "echo.yaml"), documents(5), model, samples=3).kept
    assert kept["sample"].to_pylist() == [0, 1, 2] * 5
    assert kept["query_id"].to_pylist() == [str(number) for number in range(5) for _ in range(3)]
    assert len({call.key for call in model.calls}) == 15


def test_an_invalid_reply_is_asked_for_again_and_then_rejected_with_what_was_said() -> None:
    def stubborn(call: Call) -> str:
        if "number 1 " in last(call):
            return "Short"
        return "Short" if "number 2 " in last(call) and not call.attempt else words_of(call)

    model = Scripted(stubborn)
    outcome = generate(read_recipe(PLAIN, "echo.yaml"), documents(4), model)
    assert outcome.kept["query_id"].to_pylist() == ["0", "2", "3"]
    assert outcome.rejected.select(["id", "role", "sample", "reply", "reason"]).to_pylist() == [
        {"id": "1", "role": "positive", "sample": 0, "reply": "Short", "reason": "text: too short"}
    ]
    assert outcome.notes["replies asked for again"] == 2
    assert len(model.calls) == 6


def test_a_call_without_a_reply_is_failed_and_not_kept() -> None:
    kept = Kept()
    model = Scripted(lambda call: Failure("timed out") if "number 1 " in last(call) else words_of(call))
    outcome = generate(read_recipe(PLAIN, "echo.yaml"), documents(3), model, keeper=kept)
    assert outcome.rejected["reason"].to_pylist() == ["failed: timed out"]
    assert len(kept) == 2


def test_a_rerun_asks_only_for_what_is_missing() -> None:
    kept = Kept()
    recipe = read_recipe(PLAIN, "echo.yaml")
    generate(recipe, documents(10), Scripted(words_of), keeper=kept)
    model = Scripted(words_of)
    outcome = generate(recipe, documents(12), model, keeper=kept)
    assert len(model.calls) == 2
    assert outcome.kept.num_rows == 12


def test_equal_texts_are_asked_about_once() -> None:
    rows = pa.table({"id": ["a", "b"], "text": ["The same text here."] * 2})
    model = Scripted(words_of)
    outcome = generate(read_recipe(PLAIN, "echo.yaml"), rows, model)
    assert len(model.calls) == 1
    assert outcome.kept["query_id"].to_pylist() == ["a", "b"]


def test_a_step_that_reads_another_waits_for_it_and_falls_with_it() -> None:
    def answer(call: Call) -> str | Failure:
        if "number 1 " in last(call):
            return Failure("timed out")
        if "number 2 " in last(call):
            return "I'm sorry, but I cannot help with that."
        return words_of(call)

    outcome = generate(read_recipe(TWO_STEPS, "chain.yaml"), documents(3), Scripted(answer))
    assert outcome.kept["origin"].to_pylist() == ["generate:chain/topic", "generate:chain/sentence"]
    reasons = outcome.rejected.select(["id", "role", "reason"]).to_pylist()
    assert [row["reason"] for row in reasons] == [
        "failed: timed out",
        "failed: timed out",
        "topic: refusal",
        "topic: refusal",
    ]


def test_a_document_that_copies_its_query_is_no_pair() -> None:
    model = Scripted(lambda call: last(call).removeprefix("Say it in other words: ").upper())
    outcome = generate(read_recipe(PLAIN, "echo.yaml"), documents(2), model)
    assert outcome.kept.num_rows == 0
    assert outcome.rejected["reason"].to_pylist() == ["copies the query"] * 2


def test_a_near_copy_of_an_earlier_generation_is_rejected_in_input_order() -> None:
    def alike(call: Call) -> str:
        tail = "at last" if "number 3" in last(call) else "again"
        words = "the old tower of the town was mended by a mason from the north with stones from the sea and a ladder"
        return json.dumps({"query": f"{words} {tail}", "hard_negative": words_of(call)})

    outcome = generate("queries", documents(5), Scripted(alike, seed=5))
    assert outcome.kept["source_id"].to_pylist() == ["0", "0"]
    assert set(outcome.rejected["reason"].to_pylist()) == {"near copy of an earlier generation"}
    assert outcome.rejected["id"].to_pylist() == ["1", "1", "2", "2", "3", "3", "4", "4"]


def test_a_query_written_about_two_documents_stays_with_the_first() -> None:
    answers = iter(range(100))

    def same_query(call: Call) -> str:
        tail = next(answers)
        return json.dumps({"query": "what do apples cost", "hard_negative": f"{words_of(call)} number {tail} of pears"})

    recipe = load_recipe("queries")
    model = Scripted(same_query, at_once=1)
    plan = Plan(recipe, Renderer(recipe), model=model.model)
    asker: Asker[Any] = Asker(model, recipe="queries")
    outcomes = list(write_pairs(plan, tasks_of(plan, [documents(3)], 1), asker, duplicates=None))
    assert outcomes[0].kept["source_id"].to_pylist() == ["0", "0"]
    assert set(outcomes[0].rejected["reason"].to_pylist()) == {"its query was written before"}


def test_a_budget_stops_new_calls_keeps_what_came_and_goes_on_next_time() -> None:
    kept, rows, recipe = Kept(), documents(40), read_recipe(PLAIN, "echo.yaml")

    def run(limit: float | None) -> list[Any]:
        model = Scripted(lambda call: Reply(words_of(call), prompt_tokens=100, completion_tokens=100), at_once=4)
        renderer = Renderer(recipe)
        plan = Plan(recipe, renderer, model=model.model, sampling={"max_tokens": 100})
        budget = Budget(lambda call: 100, price=Price(1, 1), max_usd=limit) if limit else None
        asker: Asker[Any] = Asker(model, kept, recipe="echo", allowance=budget)
        return list(in_order(tasks_of(plan, [rows], 1), asker))

    with pytest.raises(
        PairmineError, match=r"spent \$0.002 of --max-usd \$0.002 .*on 10 calls; every reply is kept"
    ) as stop:
        run(0.002)
    assert stop.value.exit_code == 3
    assert len(kept) == 10
    assert len(run(None)) == 40
    assert len(kept) == 40


def test_without_a_model_only_the_ledger_answers() -> None:
    kept, recipe = Kept(), read_recipe(PLAIN, "echo.yaml")
    generate(recipe, documents(2), Scripted(words_of), keeper=kept)
    plan = Plan(recipe, Renderer(recipe), model="scripted")
    asker: Asker[Any] = Asker(None, kept, recipe="echo")
    done = list(in_order(tasks_of(plan, [documents(3)], 1), asker))
    assert [bool(task.values) for task in done] == [True, True, False]
    assert done[2].problems["write"].reason == "failed: not in the ledger"


def test_a_window_bounds_what_is_under_way_and_every_row_still_comes() -> None:
    recipe = read_recipe(PLAIN, "echo.yaml")
    model = Scripted(words_of, at_once=64)
    plan = Plan(recipe, Renderer(recipe), model=model.model)
    asker: Asker[Any] = Asker(model, recipe="echo")
    done = [task.row.at for task in in_order(tasks_of(plan, [documents(50)], 1), asker, window=5)]
    assert done == list(range(50))


def test_a_missing_column_is_told_before_a_call() -> None:
    model = Scripted(words_of)
    with pytest.raises(PairmineError, match='recipe echo reads "text", which is not there'):
        generate(read_recipe(PLAIN, "echo.yaml"), pa.table({"id": ["1"], "body": ["x"]}), model)
    assert not model.calls


def test_a_users_column_with_the_name_of_a_draw_is_kept_aside() -> None:
    rows = documents(1).append_column("form", pa.array(["PDF"]))
    answer = json.dumps(
        {"query": "how many apples are sold", "hard_negative": "Pears are sold in other towns by weight."}
    )
    row = generate("queries", rows, Scripted(lambda call: answer)).kept.to_pylist()[0]
    assert row["other_form"] == "PDF"
    assert row["form"] in {"question", "keywords", "claim", "title", "request", "situation"}


def test_it_works_from_python_with_a_spec_and_a_ledger(tmp_path: Path) -> None:
    from pairmine import Ledger, generate, open_llm

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        outcome = generate("queries", documents(3), open_llm("fake:"), keeper=ledger)
        assert sum(total.replies for total in ledger.totals()) == 3
    assert outcome.kept.num_rows == 6
    with pytest.raises(PairmineError, match="no such kind of model"):
        open_llm("gpt")


@pytest.mark.parametrize("moment", ["read", "handed back", "written"])
def test_ctrl_c_at_any_moment_leaves_every_reply_that_came_in_the_ledger(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llm_server import LLMServer

    from pairmine import Ledger
    from pairmine.backends.openai_chat import OpenAIChat
    from pairmine.cli.main import main

    rows = [{"id": str(number), "text": f"Text {number} about apples."} for number in range(60)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "echo.yaml").write_bytes(PLAIN)
    finish, wait, keep = OpenAIChat._finish, OpenAIChat.wait, Ledger.keep
    read: set[bytes] = set()
    pressed: list[str] = []

    def press(now: str) -> None:
        if now == moment and len(read) >= 20 and not pressed:
            pressed.append(now)
            signal.raise_signal(signal.SIGINT)

    def finish_watched(self: OpenAIChat, job: Any, result: Reply | Failure) -> None:
        read.add(job.call.key)
        press("read")
        finish(self, job, result)

    def wait_watched(self: OpenAIChat) -> Any:
        done = wait(self)
        press("handed back")
        return done

    def keep_watched(self: Ledger, answers: Any, **names: str) -> int:
        press("written")
        return keep(self, answers, **names)

    monkeypatch.setattr(OpenAIChat, "_finish", finish_watched)
    monkeypatch.setattr(OpenAIChat, "wait", wait_watched)
    monkeypatch.setattr(Ledger, "keep", keep_watched)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with LLMServer(lambda body: " ".join(["red", "green", "blue"] * 3)) as server:
        words = ["--llm", "openai:test-model", "--base-url", server.base_url, "--ledger", "l.db", "-o", "out.jsonl"]
        monkeypatch.setattr(sys, "argv", ["pairmine", "generate", "corpus.jsonl", "--recipe", "echo.yaml", *words])
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == 130
    assert "interrupted; nothing was half-written" in capsys.readouterr().err
    assert pressed == [moment]
    with Ledger("l.db", read_only=True) as ledger:
        assert ledger.find(list(read)).keys() == read


OPTIONAL = b"""
name: optional
summary: A later step reads what an earlier one may leave out.
reads: documents
steps:
  first:
    system: |
      Reply with JSON: {"topic": "..."}
    prompt: "{{ row.text }}"
    schema: {type: object, properties: {topic: {type: string}}, required: []}
  second:
    prompt: "{{ replies.first.topic }}"
emits:
  pair: {query: "{{ row.text }}", document: "{{ replies.second.text }}", step: second, label: 1}
"""


def test_a_step_that_an_earlier_reply_leaves_without_a_question_rejects_its_row_alone() -> None:
    def answer(call: Call) -> str:
        if call.schema is None:
            return words_of(call)
        return "{}" if "number 1 " in last(call) else json.dumps({"topic": "The apples of the old orchard"})

    outcome = generate(read_recipe(OPTIONAL, "optional.yaml"), documents(3), Scripted(answer))
    assert outcome.kept["source_id"].to_pylist() == ["0", "2"]
    assert outcome.rejected["reason"].to_pylist() == ["second: prompt: not filled"]


TASKS = b"""
name: tasks
summary: Questions on a document, and an answer to each of them.
reads: documents
draws:
  tone: {meaning: how it sounds, per: part, choices: {gruff: a gruff tone, mild: a mild tone, dry: a dry tone}}
expand: {step: questions, each: reply.questions}
steps:
  questions:
    prompt: "JSON with questions on: {{ row.text }}"
    schema: {properties: {questions: {type: array, items: {type: object, properties: {ask: {type: string}}}}}}
    checks:
      questions: {words: [1, 12]}
  answer:
    prompt: "Answer in {{ draws.tone }}: {{ part.ask }}"
    checks:
      text: {words: [2, 60], differs_from: part.ask}
  wrong:
    prompt: "Say the opposite of: {{ replies.answer.text }}"
emits:
  positive:
    step: answer
    query: "{{ part.ask }}"
    document: "{{ reply.text }}"
    label: 1
    columns: {about: "{{ row.source }}"}
  negative: {step: wrong, query: "{{ part.ask }}", document: "{{ reply.text }}", label: 0}
inputs:
  source: {meaning: where it stood}
"""


def asks(*questions: str) -> str:
    return json.dumps({"questions": [{"ask": question} for question in questions]})


def examiner(call: Call) -> str:
    """Two questions on a document with its number in them, one more on those that are odd, and answers."""
    if call.schema is None:
        return words_of(call)
    number = last(call).split("number ")[1].split()[0]
    return asks(f"who sold {number}?", f"where is {number} now?", *[f"why {number}?"] * (int(number) % 2))


def test_each_part_of_a_reply_gets_its_own_answers_and_rows() -> None:
    model = Scripted(examiner)
    outcome = generate(read_recipe(TASKS, "tasks.yaml"), documents(2), model)
    rows = outcome.kept.to_pylist()
    assert [(row["source_id"], row["query"], row["label"]) for row in rows] == [
        (source, question, label)
        for source, question in [
            ("0", "who sold 0?"),
            ("0", "where is 0 now?"),
            ("1", "who sold 1?"),
            ("1", "where is 1 now?"),
            ("1", "why 1?"),
        ]
        for label in (1, 0)
    ]
    assert [row["about"] for row in rows] == ["page 0", None] * 2 + ["page 1", None] * 3
    assert {row["tone"] for row in rows} <= {"gruff", "mild", "dry"}
    assert (outcome.rows_in, outcome.added, outcome.rejected.num_rows) == (10, 0, 0)
    assert len(model.calls) == 2 + 2 * 5
    told = {last(call) for call in model.calls if last(call).startswith("Answer")}
    texts = {"gruff": "a gruff tone", "mild": "a mild tone", "dry": "a dry tone"}
    assert told == {f"Answer in {texts[row['tone']]}: {row['query']}" for row in rows}


def test_rows_of_parts_do_not_depend_on_the_order_of_replies_nor_on_how_rows_are_cut() -> None:
    recipe, rows = read_recipe(TASKS, "tasks.yaml"), documents(150)
    one = generate(recipe, rows, Scripted(examiner, seed=1), samples=2)
    other = generate(recipe, rows, Scripted(examiner, seed=2, at_once=3), samples=2)
    assert one.kept.equals(other.kept)
    parts = [generate(recipe, rows.slice(start, 40), Scripted(examiner, seed=start), samples=2) for start in (0, 40)]
    cut = pa.concat_tables([part.kept for part in parts])
    assert cut.to_pylist() == one.kept.slice(0, cut.num_rows).to_pylist()


def test_parts_that_say_the_same_or_nothing_are_asked_about_once_or_not_at_all() -> None:
    def answer(call: Call) -> str:
        return asks("who?", "Who? ", "", "when?", "who?") if call.schema else words_of(call)

    model = Scripted(answer)
    recipe = read_recipe(TASKS.replace(b"questions: {words: [1, 12]}", b"questions: {not_empty: false}"), "tasks.yaml")
    outcome = generate(recipe, documents(1), model)
    assert outcome.kept["query"].to_pylist() == ["who?", "who?", "when?", "when?"]
    assert outcome.rejected.select(["part", "role", "step", "reason"]).to_pylist() == [
        {"part": json.dumps({"ask": ask}), "role": role, "step": step, "reason": reason}
        for ask, reason in (("Who? ", "repeated part"), ("", "blank part"), ("who?", "repeated part"))
        for role, step in (("positive", "answer"), ("negative", "wrong"))
    ]
    assert len(model.calls) == 1 + 2 * 2
    assert outcome.rows_in == 2 * 5


def test_a_part_that_its_checks_are_against_takes_no_other_with_it() -> None:
    long = "who sold " + "apples and " * 12 + "pears?"

    def answer(call: Call) -> str:
        if call.schema is None:
            return words_of(call)
        if "number 0 " in last(call):
            return asks("who?", long, "when?")
        return asks(long) if call.attempt == 0 else asks("why?")

    outcome = generate(read_recipe(TASKS, "tasks.yaml"), documents(2), Scripted(answer))
    assert outcome.kept["query"].to_pylist()[::2] == ["who?", "when?", "why?"]
    assert (
        outcome.rejected.select(["part", "step", "reason"]).to_pylist()
        == [{"part": json.dumps({"ask": long}), "step": "questions", "reason": "questions: questions: too long"}] * 2
    )
    assert outcome.notes["replies asked for again"] == 1


def test_a_reply_without_parts_costs_one_reject_for_each_row_planned() -> None:
    def answer(call: Call) -> str | Failure:
        if "number 1 " in last(call):
            return "I am sorry, but I cannot help with that."
        if "number 2 " in last(call):
            return Failure("timed out")
        if "number 3 " in last(call):
            return asks()
        return examiner(call)

    outcome = generate(read_recipe(TASKS, "tasks.yaml"), documents(5), Scripted(answer))
    reasons = [(row["id"], row["role"], row["reason"]) for row in outcome.rejected.to_pylist()]
    assert reasons == [
        (number, role, reason)
        for number, reason in [
            ("1", "questions: refusal"),
            ("2", "failed: timed out"),
            ("3", "questions: an empty list"),
        ]
        for role in ("positive", "negative")
    ]
    assert outcome.rows_in == 2 * (2 + 1 + 1 + 1 + 2)
    assert set(outcome.kept["source_id"].to_pylist()) == {"0", "4"}


def test_one_part_may_fail_and_the_others_stand() -> None:
    def answer(call: Call) -> str | Failure:
        if last(call).endswith(": who sold 0?"):
            return Failure("timed out")
        return "Yes" if last(call).endswith(": where is 1 now?") else examiner(call)

    outcome = generate(read_recipe(TASKS, "tasks.yaml"), documents(2), Scripted(answer))
    assert outcome.kept["query"].to_pylist() == [
        question for question in ("where is 0 now?", "who sold 1?", "why 1?") for _ in range(2)
    ]
    rejected = outcome.rejected.select(["id", "step", "part", "reply", "reason"]).to_pylist()
    failed = {"id": "0", "step": None, "part": '{"ask": "who sold 0?"}', "reply": None, "reason": "failed: timed out"}
    short = {"id": "1", "step": "answer", "part": '{"ask": "where is 1 now?"}', "reply": "Yes"}
    assert rejected == [failed, failed, *[{**short, "reason": "answer: text: too short"}] * 2]
    assert outcome.notes["replies asked for again"] == 1


def test_a_part_that_a_prompt_cannot_show_rejects_its_rows_alone() -> None:
    recipe = TASKS.replace(
        b"items: {type: object, properties: {ask: {type: string}}}", b"items: {type: [string, object]}"
    )

    def answer(call: Call) -> str:
        return json.dumps({"questions": [{"ask": "who?"}, "when?"]}) if call.schema else words_of(call)

    outcome = generate(read_recipe(recipe, "tasks.yaml"), documents(1), Scripted(answer))
    assert outcome.kept["query"].to_pylist() == ["who?"] * 2
    assert (
        outcome.rejected.select(["part", "reason"]).to_pylist()
        == [{"part": "when?", "reason": "answer: prompt: not filled"}] * 2
    )


def test_a_blank_row_has_no_parts_and_costs_no_call() -> None:
    rows = pa.table({"id": ["a", "b"], "text": ["", "Text number 0 about apples."], "source": ["x", "y"]})
    model = Scripted(examiner)
    outcome = generate(read_recipe(TASKS, "tasks.yaml"), rows, model)
    assert outcome.rejected.select(["id", "reason"]).to_pylist() == [{"id": "a", "reason": "no text"}] * 2
    assert outcome.kept.num_rows == 4


def test_the_parts_under_way_stay_within_the_window() -> None:
    recipe = read_recipe(TASKS, "tasks.yaml")
    model = Scripted(examiner, at_once=512)
    plan = Plan(recipe, Renderer(recipe), model=model.model)
    asker: Asker[Any] = Asker(model, recipe="tasks")
    begun = 0

    def tasks() -> Any:
        nonlocal begun
        for task in tasks_of(plan, [documents(100)], 1):
            begun += 1
            yield task

    finished = 0
    for task in in_order(tasks(), asker, window=20):
        # Before a reply is there, ten parts are expected of each task; afterwards two or three.
        assert begun - finished <= 12
        assert task.row.at == finished
        finished += 1
    assert finished == 100


def test_parts_are_paid_for_once_when_a_run_goes_on() -> None:
    kept, recipe, rows = Kept(), read_recipe(TASKS, "tasks.yaml"), documents(20)
    whole = generate(recipe, rows, Scripted(examiner))
    stop = iter(range(60))

    def breaking(call: Call) -> str:
        if next(stop, None) is None:
            raise KeyboardInterrupt
        return examiner(call)

    first = Scripted(breaking, at_once=7)
    with pytest.raises(KeyboardInterrupt):
        generate(recipe, rows, first, keeper=kept)
    paid = len(kept)
    assert 30 < paid <= 60
    second = Scripted(examiner, at_once=5, seed=9)
    assert generate(recipe, rows, second, keeper=kept).kept.equals(whole.kept)
    assert len(second.calls) == 20 + 2 * 50 - paid


LADDER = b"""
name: ladder
summary: A sentence that drifts away, a little every time.
reads: documents
options:
  rounds: {default: 4, meaning: how often it is rewritten}
steps:
  drift:
    rounds: options.rounds
    prompt: |
      Change it a little: {{ previous[-1].text if previous else row.text }}
    checks:
      text: {differs_from: previous.text, overlap_below: {field: previous.text, threshold: 1}, words: [1, 20]}
emits:
  step:
    each: reply.rounds
    query: "{{ row.text }}"
    document: "{{ each.text }}"
    grade: "{{ 1 - (index + 1) / (reply.rounds | length + 1) }}"
    numbers: {rank: "{{ index + 1 }}"}
duplicates: {fields: [drift.text]}
"""


DRIFT = ["further", "along", "the", "quiet", "shore", "where", "nobody", "goes", "any", "more"]


def drifting(call: Call) -> str:
    """One more word than what it was given."""
    text = last(call).removeprefix("Change it a little: ")
    return f"{text} {DRIFT[len(text.split()) - 6]}"


def ladder(model: Scripted, rows: pa.Table, **more: Any) -> Any:
    return generate(read_recipe(LADDER, "ladder.yaml"), rows, model, **more)


def test_rounds_are_asked_one_after_the_other_and_each_gives_its_row() -> None:
    model = Scripted(drifting)
    rows = ladder(model, documents(2)).kept.to_pylist()
    text = "Text number 1 about 7 apples."
    found = [(row["document"], row["rank"], round(row["grade"], 2)) for row in rows[4:]]
    assert found == [(" ".join([text, *DRIFT[:turn]]), turn, round(1 - turn / 5, 2)) for turn in (1, 2, 3, 4)]
    assert len(model.calls) == 8
    assert ladder(Scripted(drifting), documents(1), options={"rounds": 7}).kept.num_rows == 7


def test_a_chain_ends_with_its_last_good_round_and_that_is_counted() -> None:
    def answer(call: Call) -> str:
        if last(call).endswith("along") and "number 1 " in last(call):
            return last(call).removeprefix("Change it a little: ")
        return "I'm sorry, but I cannot help with that." if "number 2 " in last(call) else drifting(call)

    model = Scripted(answer)
    outcome = ladder(model, documents(3))
    assert Counter(outcome.kept["source_id"].to_pylist()) == {"0": 4, "1": 2}
    assert outcome.notes["chains of rounds that ended early"] == 1
    assert outcome.notes["replies asked for again"] == 2
    assert outcome.rejected.select(["id", "reason"]).to_pylist() == [{"id": "2", "reason": "refusal"}]
    assert (outcome.rows_in, outcome.added) == (3, 4)


def test_a_chain_that_a_failed_call_cuts_is_no_result_and_goes_on_next_time() -> None:
    def answer(call: Call) -> str | Failure:
        return Failure("timed out") if last(call).endswith("along") else drifting(call)

    kept = Kept()
    outcome = ladder(Scripted(answer), documents(1), keeper=kept)
    assert outcome.kept.num_rows == 0
    assert outcome.rejected["reason"].to_pylist() == ["failed: timed out"]
    model = Scripted(drifting)
    assert ladder(model, documents(1), keeper=kept).kept.num_rows == 4
    assert len(model.calls) == 2


def test_an_invalid_round_is_asked_for_again_before_the_chain_goes_on() -> None:
    def answer(call: Call) -> str:
        again = last(call).endswith("further") and not call.attempt
        return last(call).removeprefix("Change it a little: ") if again else drifting(call)

    outcome = ladder(Scripted(answer), documents(1))
    assert outcome.kept["rank"].to_pylist() == [1, 2, 3, 4]
    assert outcome.notes == {"replies asked for again": 1}


def test_what_a_round_shares_with_those_before_it_is_no_leak() -> None:
    long = "the old tower of the town was mended by a mason from the north with stones from the sea"

    def answer(call: Call) -> str:
        return f"{long} {last(call).count(long)}" if "mended" not in last(call) else f"{last(call)[20:]} again"

    recipe = LADDER.replace(b"words: [1, 20]", b"words: [1, 60]")
    outcome = generate(read_recipe(recipe, "ladder.yaml"), documents(1), Scripted(answer))
    assert outcome.kept.num_rows == 4


def test_rows_that_the_recipe_does_not_want_are_rejected_with_its_reason() -> None:
    recipe = LADDER.replace(b"    each:", b"    when: {test: index != 1, reason: the second one}\n    each:")
    outcome = generate(read_recipe(recipe, "ladder.yaml"), documents(2), Scripted(drifting))
    assert outcome.kept["rank"].to_pylist() == [1, 3, 4] * 2
    assert outcome.rejected["reason"].to_pylist() == ["step: the second one"] * 2
    assert (outcome.rows_in, outcome.added) == (2, 6)


def test_a_score_column_says_what_its_numbers_are() -> None:
    recipe = LADDER.replace(b"numbers: {", b'numbers: {score_near: "{{ 1 - index / 4 }}", ')
    kept = generate(read_recipe(recipe, "ladder.yaml"), documents(1), Scripted(drifting)).kept
    assert kept.schema.field("score_near").metadata == {b"scale": b"probability"}
    assert kept["score_near"].to_pylist() == [1.0, 0.75, 0.5, 0.25]
    assert kept.schema.field("rank").type == pa.int32()


def test_rows_of_one_query_stand_together_though_samples_wrote_it_apart() -> None:
    def answer(call: Call) -> str:
        if call.schema is None:
            return words_of(call) + str(call.sample)
        return asks("who?", "when?") if call.sample == 0 else asks("when?", "why?", "who?")

    rows = generate(read_recipe(TASKS, "tasks.yaml"), documents(1), Scripted(answer), samples=2).kept.to_pylist()
    assert [row["query"] for row in rows] == ["who?"] * 4 + ["when?"] * 4 + ["why?"] * 2
    assert [row["sample"] for row in rows] == [0, 0, 1, 1] * 2 + [1, 1]


def test_bad_examples_of_an_earlier_run_are_shown_in_the_next_one() -> None:
    recipe = read_recipe(PLAIN, "echo.yaml")
    first = generate(
        recipe, documents(3), Scripted(lambda call: "Short" if "number 1 " in last(call) else words_of(call))
    )
    model = Scripted(words_of)
    outcome = generate(recipe, documents(3), model, bad_examples=first.rejected)
    assert outcome.kept.num_rows == 3
    shown = "Input: Text number 1 about 7 apples.\nBad reply: Short\nWhat is wrong with it: text: too short"
    assert all(shown in last(call) for call in model.calls)


def test_lists_in_the_input_are_lists_in_templates() -> None:
    recipe = b"""
name: passages
summary: Which of several passages answers the query.
reads: rows
inputs:
  query: {meaning: the query}
  passages: {meaning: texts}
steps:
  judge:
    prompt: |
      JSON: {{ row.query }}
      {% for each in row.passages %}
      {{ loop.index }}. {{ each }}
      {% endfor %}
    schema: {properties: {best: {type: integer, minimum: 1}}}
emits:
  positive: {query: "{{ row.query }}", document: "{{ row.passages[reply.best - 1] }}", label: 1}
"""
    rows = pa.table({"query": ["who?", "when?"], "passages": [["Ann sang.", "Bob wept."], []]})
    model = Scripted(lambda call: '{"best": 2}')
    outcome = generate(read_recipe(recipe, "passages.yaml"), rows, model)
    assert last(model.calls[0]) == "JSON: who?\n1. Ann sang.\n2. Bob wept."
    assert outcome.kept["document"].to_pylist() == ["Bob wept."]
    assert outcome.rejected["reason"].to_pylist() == ["no passages"]
