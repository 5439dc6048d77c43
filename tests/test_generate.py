"""The stage `generate`, with a scripted model in place of a real one: what becomes of rows, replies and order."""

from __future__ import annotations

import json
import random
import signal
import sys
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
