"""The recipes about pairs of sentences: what each makes of replies as models send them, row by row.

The model is scripted: it answers by words in its instructions. What the prompts say is in the goldens.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.fake_llm import FakeLLM
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Reply
from pairmine.llm.recipes.file import load_recipe, read_recipe
from pairmine.llm.recipes.masking import masked
from pairmine.llm.recipes.rendering import Renderer, RowProblem
from pairmine.outcome import Outcome
from pairmine.stages.generate import generate

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = (
    *("syncse-scratch", "multicsr", "claif", "clhaif", "gcse-extract", "gcse", "ladder", "fewshot-paraphrase"),
    *("min-edit-questions", "pos-neg-caption", "paraphrase", "concept-sets", "rewrite", "backtranslate", "nli-write"),
)

Answer = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]


class Scripted(FakeLLM):
    """Answers a call by the first of `answers` whose words are in its instructions, in an order of its own."""

    name = "openai:scripted"
    model = "scripted"

    def __init__(self, answers: Mapping[str, Answer], *, seed: int = 0) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._answers = answers
        self._order = random.Random(seed)

    def wait(self) -> list[Any]:
        done, self._taken = self._taken, []
        self._order.shuffle(done)
        self.calls += done
        return [(call, Reply(json.dumps(self._said(call), ensure_ascii=False))) for call in done]

    def _said(self, call: Call) -> Mapping[str, Any]:
        answer = next(found for words, found in self._answers.items() if words in call.messages[0]["content"])
        return answer(asked(call)) if callable(answer) else answer


def asked(call: Call) -> str:
    return call.messages[-1]["content"]


def run(name: str, rows: list[dict[str, Any]], answers: Mapping[str, Answer], **settings: Any) -> Outcome:
    table = pa.Table.from_pylist(rows) if rows else pa.table({})
    return generate(name, table, Scripted(answers), **settings)


def documents(*texts: str) -> list[dict[str, Any]]:
    return [{"id": f"d{at}", "text": text} for at, text in enumerate(texts, 1)]


def kept(outcome: Outcome, *columns: str) -> list[tuple[Any, ...]]:
    return [
        tuple(round(row[name], 4) if isinstance(row[name], float) else row[name] for name in columns)
        for row in outcome.kept.to_pylist()
    ]


def reasons(outcome: Outcome) -> list[str]:
    return sorted(outcome.rejected.column("reason").to_pylist())


def real(*path: str) -> Iterator[dict[str, Any]]:
    """The rows of a real collection."""
    file = DATA.joinpath(*path)
    if not file.exists():
        pytest.skip(f"the collection {path[0]} is not on this machine")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# MultiCSR -----------------------------------------------------------------------------------------

CAT = "The cat sleeps on the sofa."
ENTAILED = "An animal is resting indoors."
CONTRADICTING = "The cat is chasing a mouse in the yard."


def multicsr(entailment: float, contradiction: float, **options: Any) -> Outcome:
    """A run over one sentence whose two scores are these."""
    answers = {
        "certainly true": {"sentence": ENTAILED},
        "cannot be true": {"sentence": CONTRADICTING},
        "You rate": lambda prompt: {"score": entailment if ENTAILED in prompt else contradiction},
    }
    return run("multicsr", documents(CAT), answers, options=options)


def test_a_triplet_of_multicsr_has_both_scores_on_both_scales() -> None:
    outcome = multicsr(4.2, 1.0)
    assert kept(outcome, "query_id", "query", "document", "label", "grade", "score_llm", "template") == [
        ("d1", CAT, ENTAILED, 1, 0.84, 0.84, "entailment"),
        ("d1", CAT, CONTRADICTING, 0, 0.2, 0.2, "contradiction"),
    ]


def test_a_contradiction_that_scores_above_the_entailment_changes_places_with_it() -> None:
    outcome = multicsr(1.5, 3.5)
    assert kept(outcome, "document", "label", "score_llm") == [(CONTRADICTING, 1, 0.7), (ENTAILED, 0, 0.3)]


@pytest.mark.parametrize(
    ("entailment", "contradiction", "options", "rows"),
    [
        (3.0, 2.9, {}, 2),
        (3.0, 3.0, {}, 0),
        (2.9, 1.0, {}, 0),
        (4.5, 3.1, {}, 0),
        (4.5, 3.1, {"curate": False}, 2),
        (3.0, 3.0, {"curate": False}, 2),
        (5.0, 4.0, {"curate": False}, 2),
        (5.0, 4.1, {"curate": False}, 0),
        (4.0, 2.5, {"gap": 1.5}, 0),
        (4.1, 2.5, {"gap": 1.5}, 2),
        (2.0, 1.0, {"positive_line": 2.0}, 2),
    ],
)
def test_multicsr_writes_what_its_scores_tell_apart(
    entailment: float, contradiction: float, options: dict[str, Any], rows: int
) -> None:
    outcome = multicsr(entailment, contradiction, **options)
    assert outcome.kept.num_rows == rows
    told_apart = "the scores do not tell the two apart"
    assert reasons(outcome) == ([] if rows else [f"negative: {told_apart}", f"positive: {told_apart}"])


# CLAIF --------------------------------------------------------------------------------------------

TEN = "One two three four five six seven eight nine ten."


def infilled(prompt: str) -> dict[str, Any]:
    """Another sentence where there is no gap, else something for every gap."""
    given = prompt.removeprefix("Sentence: ")
    return {"sentence": given.replace("<mask>", "thing") if "<mask>" in given else "Ten numbers are counted."}


def judged(prompt: str) -> dict[str, Any]:
    changed = prompt.count("thing")
    return {"explanation": f"{changed} differ", "score": round(1 - changed / 10, 2)}


def test_claif_makes_nine_partners_of_growing_distance_each_scored_alone() -> None:
    llm = Scripted({"<mask>": infilled, "You judge": judged})
    outcome = generate("claif", pa.Table.from_pylist(documents(TEN)), llm)
    rows = kept(outcome, "mask_rate", "document", "grade", "explanation", "label", "query_id")
    assert [rate for rate, *_ in rows] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert rows[0] == (0.0, "Ten numbers are counted.", 1.0, "0 differ", None, "d1")
    for rate, document, grade, explanation, *_ in rows[1:]:
        left = sum(word in document for word in TEN.removesuffix(".").split())
        # Gaps side by side may have become one, so that there are at most as many as words are gone.
        assert left == 10 - round(10 * rate)
        assert 1 <= document.count("thing") <= round(10 * rate)
        assert (grade, explanation) == (round(1 - document.count("thing") / 10, 4), f"{document.count('thing')} differ")
    assert len(llm.calls) == 18
    # The copy without gaps shows the sentence, as do the pairs to be judged; no other prompt does.
    assert sum(TEN in asked(call) for call in llm.calls if "Second:" not in asked(call)) == 1


def test_a_partner_with_a_gap_left_or_the_sentence_again_makes_no_row() -> None:
    def careless(prompt: str) -> dict[str, Any]:
        given = prompt.removeprefix("Sentence: ")
        return {"sentence": given if given.count("<mask>") > 1 else given.replace("<mask>", "thing").upper()}

    outcome = run("claif", documents(TEN), {"<mask>": careless, "You judge": judged}, options={"copies": 3})
    rows = kept(outcome, "mask_rate", "document")
    assert [rate for rate, _ in rows] in ([0.1], [0.1, 0.2])
    assert set(reasons(outcome)) == {"partner: a gap is left, or said already"}


def test_samples_of_claif_have_gaps_of_their_own() -> None:
    outcome = run("claif", documents(TEN), {"<mask>": infilled, "You judge": judged}, options={"copies": 6}, samples=2)
    first, second = ([row["document"] for row in outcome.kept.to_pylist() if row["sample"] == at] for at in (0, 1))
    # The first copy has no gaps, and the second sample of it says what the first one said.
    assert first[0] == "Ten numbers are counted."
    assert set(first[1:]) != set(second)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_a_share_of_the_words_is_masked_and_all_else_stays(rate: float) -> None:
    text = "«Well», she said: the (old) cat, aged 19, can't hear us any more!"
    for seed in range(50):
        result = masked(text, rate, seed)
        gaps = result.count("<mask>")
        assert 1 <= gaps <= max(1, round(rate * 13))
        pieces = [re.escape(piece) for piece in result.split("<mask>")]
        # A gap stands for words of the text, with the marks between them.
        assert re.fullmatch(".+?".join(pieces), text), result
        assert result == masked(text, rate, seed)
    assert len({masked(text, rate, seed) for seed in range(50)}) > 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("我们在北京大学学习。", 5), ("ฉันไปโรงเรียนทุกวัน", 5), ("Ich lese gern.", 3), ("  two   words ", 2)],
)
def test_words_are_masked_in_any_script(text: str, words: int) -> None:
    assert masked(text, 0, 1) == text
    once = {masked(text, 1 / words, seed) for seed in range(60)}
    assert all(each.count("<mask>") == 1 and each != text for each in once)
    assert len(once) == words
    assert set(masked(text, 1, 3).replace("<mask>", "").strip()) <= set(" 。.")


@pytest.mark.parametrize("text", ["", "   ", "!?…", "🙂", None])
def test_what_has_no_words_is_not_masked(text: str | None) -> None:
    assert masked(text, 0.5, 1) == (text or "")


def test_gaps_side_by_side_become_one_half_of_the_time() -> None:
    counts = Counter(masked("a b", 1, seed).count("<mask>") for seed in range(1000))
    assert set(counts) == {1, 2}
    assert 440 < counts[1] < 560


def test_a_rate_that_is_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        masked("a b", 1.1, 0)


BROKEN = b"""
name: gaps
summary: Gaps.
reads: documents
steps:
  fill:
    exemplars:
      draw: 1
      user: "{{ exemplar.text | mask(0.5) }}"
      assistant: "{{ exemplar.text }}"
      pool:
        one: {text: a b c}
    prompt: "{{ row.text | mask(0.5) }}"
emits:
  filled:
    query: "{{ row.text }}"
    document: "{{ reply.text }}"
"""


def test_gaps_in_an_exemplar_are_refused_since_no_row_draws_them() -> None:
    with pytest.raises(PairmineError, match=r"gaps.yaml:12: .*mask draws for each row, and so is for prompts alone"):
        read_recipe(BROKEN, "gaps.yaml")


def test_the_last_of_eleven_copies_has_no_word_left_and_more_are_refused() -> None:
    answers = {"<mask>": infilled, "You judge": judged}
    outcome = run("claif", documents(TEN), answers, options={"copies": 11})
    assert max(row[0] for row in kept(outcome, "mask_rate")) == 1.0
    with pytest.raises(PairmineError, match="copies=12: give a whole number from 1 to 11"):
        run("claif", documents(TEN), answers, options={"copies": 12})


# CLHAIF and scores --------------------------------------------------------------------------------


def test_the_triplets_of_simcse_get_a_score_on_either_side() -> None:
    rows = [{"anchor": "Two dogs run.", "positive": "Animals move.", "negative": "The dogs sleep."}]
    answers = {
        "You judge": lambda prompt: {"explanation": "so", "score": 0.7 if "Animals" in prompt else 0.35},
    }
    outcome = run("clhaif", rows, answers)
    assert kept(outcome, "query", "document", "label", "grade", "score_llm", "explanation") == [
        ("Two dogs run.", "Animals move.", 1, 0.7, 0.7, "so"),
        ("Two dogs run.", "The dogs sleep.", 0, 0.35, 0.35, "so"),
    ]


def test_triplets_without_ids_that_share_an_anchor_all_give_pairs_and_a_copy_of_one_none() -> None:
    first = {"anchor": "Two dogs run.", "positive": "Animals move.", "negative": "The dogs sleep."}
    rows = [first, {**first, "positive": "Dogs are outside."}, first]
    outcome = run("clhaif", rows, {"You judge": {"explanation": "so", "score": 0.5}})
    ids = [row["query_id"] for row in outcome.kept.to_pylist()]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert reasons(outcome) == ["its query was written before"] * 2
    named = [{**each, "id": f"t{at}"} for at, each in enumerate(rows[:2])]
    outcome = run("clhaif", named, {"You judge": {"explanation": "so", "score": 0.5}})
    assert [row[0] for row in kept(outcome, "query_id")] == ["t0", "t0", "t1", "t1"]


@pytest.mark.parametrize(
    ("options", "said", "score"),
    [({}, 3.5, 0.7), ({}, 0, 0.0), ({"scale": "0-1"}, 0.35, 0.35), ({"scale": "0-1", "explain": True}, 1, 1.0)],
)
def test_similarity_is_from_0_to_1_whatever_the_scale(options: dict[str, Any], said: float, score: float) -> None:
    renderer = Renderer(load_recipe("similarity"), options=options)
    item = renderer.item({"query": "a cat", "document": "a dog"})
    assert renderer.score(item, {"similarity": {"score": said}}) == pytest.approx(score)


def test_a_score_of_the_other_scale_is_no_score() -> None:
    renderer = Renderer(load_recipe("similarity"), options={"scale": "0-1"})
    with pytest.raises(RowProblem, match="not from 0 to 1"):
        renderer.score(renderer.item({"query": "a", "document": "b"}), {"similarity": {"score": 3.5}})


@pytest.mark.parametrize("settings", [[], ["--set", "scale=0-1"], ["--set", "explain=true"]])
def test_the_example_of_similarity_scores_every_pair(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pairmine.cli.main import main

    rows = [{"query": "two dogs", "document": f"dog number {at}", "label": 1} for at in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    words = shlex.split(load_recipe("similarity").example)
    words[words.index("--scorer") + 1] = "fake:"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAIRMINE_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setattr(sys, "argv", [*words, *settings])
    with pytest.raises(SystemExit) as left:
        main()
    # A stand-in scores as it likes from 0 to 5, which the shorter scale refuses.
    said = capsys.readouterr().err
    assert (left.value.code or 0) in (0, 1) if "scale=0-1" in settings else not left.value.code, said
    if not left.value.code:
        scores = pq.read_table(tmp_path / "scored.parquet").column("score_llm").to_pylist()
        assert len(scores) == 5
        assert all(score is None or 0 <= score <= 1 for score in scores)


# GCSE ---------------------------------------------------------------------------------------------

PARTS = {
    "entities": [
        {"name": "three women", "type": "Person"},
        {"name": "mangoes", "type": "food"},
        {"name": "a market stall", "type": "place"},
    ]
}
MAIN = {"topic": "Trade", "subject": "three women", "count": 3, "action": "sell mangoes", "state": None}


def test_every_part_that_stands_in_the_text_becomes_a_row() -> None:
    text = "At noon three women sell mangoes."
    outcome = run("gcse-extract", documents(text), {"entities of a text": PARTS, "what a text is about": MAIN})
    assert kept(outcome, "query_id", "query", "document", "kind", "type", "count", "label") == [
        ("d1", text, "trade", "topic", None, None, None),
        ("d1", text, "three women", "subject", None, 3.0, None),
        ("d1", text, "sell mangoes", "action", None, None, None),
        ("d1", text, "mangoes", "entity", "food", None, None),
    ]
    # The subject is an entity, too; a pair set has each document of a query once.
    assert reasons(outcome) == [
        "copies another text of its query",
        "entity: not in the text",
        "state: none, or not in the text",
    ]


def test_a_text_without_entities_still_has_its_main_parts() -> None:
    main = {"topic": "weather", "subject": None, "count": None, "action": "下雨", "state": None}
    outcome = run("gcse-extract", documents("昨天下雨了。"), {"entities of": {"entities": []}, "about": main})
    assert kept(outcome, "document", "kind") == [("weather", "topic"), ("下雨", "action")]
    assert "an empty list" in "; ".join(reasons(outcome))


def gcse_prompts(row: dict[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Instruction and prompt of either step for 1,000 samples of a row."""
    renderer = Renderer(load_recipe("gcse"))
    found: dict[str, list[tuple[str, str]]] = {"positive": [], "negative": []}
    for sample in range(1000):
        for step, prompts in found.items():
            prompt = renderer.prompt(renderer.item(row, sample), step)
            prompts.append((prompt.template.partition("/")[2], prompt.messages[-1]["content"]))
    return found["positive"], found["negative"]


def test_gcse_restyles_and_refutes_seven_times_in_ten_and_swaps_the_far_part_and_the_random_one() -> None:
    row = {"text": "Two men push a bus.", "part": "bus", "kind": "entity", "far": "lorry", "other": "piano", "count": 2}
    positives, negatives = gcse_prompts(row)
    swapped = [prompt for name, prompt in positives if name == "swapped"]
    assert 255 < len(swapped) < 345
    assert set(swapped) == {"Text: Two men push a bus.\nPart: bus\nReplacement: lorry"}
    assert {prompt for name, prompt in positives if name != "swapped"} == {"Text: Two men push a bus."}
    count = Counter({"few": "count", "many": "count"}.get(name, name) for name, _ in negatives)
    assert 115 < count["swapped"] < 185
    assert 115 < count["count"] < 185
    assert len(count) == 9
    assert {prompt for name, prompt in negatives if name == "swapped"} == {
        "Text: Two men push a bus.\nPart: bus\nReplacement: piano"
    }
    assert {prompt for name, prompt in negatives if name in ("few", "many")} == {
        "Text: Two men push a bus.\nHow many there are: 2"
    }


def test_gcse_asks_the_model_for_a_detail_where_a_text_has_no_part_to_swap() -> None:
    positives, negatives = gcse_prompts({"text": "It rained.", "part": "rained", "far": None, "other": None})
    assert {prompt for _, prompt in positives + negatives} == {"Text: It rained."}


def test_gcse_makes_a_positive_and_a_negative_under_the_texts_own_id() -> None:
    answers = {
        "no longer means": {"rewritten": "Nobody pushes a bus."},
        "Keep its meaning": {"rewritten": "A bus is pushed."},
    }
    outcome = run("gcse", [{"id": "t1", "text": "Men push a bus.", "part": "bus", "kind": "entity"}], answers)
    assert kept(outcome, "query_id", "query", "document", "label") == [
        ("t1", "Men push a bus.", "A bus is pushed.", 1),
        ("t1", "Men push a bus.", "Nobody pushes a bus.", 0),
    ]
    same = run("gcse", [{"text": "Men push a bus."}], {"": {"rewritten": "men push a BUS"}})
    assert reasons(same) == ["negative: rewritten: same as text", "positive: rewritten: same as text"]


# Ladder -------------------------------------------------------------------------------------------

START = "A boy bites an apple."
LADDER = ["A boy eats an apple.", "A boy eats some fruit.", "A girl eats some fruit.", "A girl buys some fruit."]


def climbing(*chain: str) -> Callable[[str], dict[str, Any]]:
    """Answers the latest sentence with the one that follows it."""
    following = dict(pairwise(chain))

    def answer(prompt: str) -> dict[str, Any]:
        latest = re.search("Latest: (.*)", prompt)
        assert latest is not None
        return {"sentence": following[latest[1]]}

    return answer


def test_the_rungs_of_a_ladder_are_ranked_and_graded_by_their_place() -> None:
    llm = Scripted({"You rewrite": climbing(START, *LADDER)})
    outcome = generate("ladder", pa.Table.from_pylist(documents(START)), llm, options={"rounds": 4})
    assert kept(outcome, "query", "document", "rank", "grade", "label") == [
        (START, LADDER[0], 1, 0.8, None),
        (START, LADDER[1], 2, 0.6, None),
        (START, LADDER[2], 3, 0.4, None),
        (START, LADDER[3], 4, 0.2, None),
    ]
    assert asked(llm.calls[2]).splitlines()[:2] == [f"Start: {START}", f"Latest: {LADDER[1]}"]


def test_a_rung_that_was_there_before_is_dropped_and_the_others_keep_their_rank() -> None:
    going_back = {"You rewrite": climbing(START, *LADDER[:2], START)}
    outcome = run("ladder", documents(START), going_back, options={"rounds": 4})
    assert kept(outcome, "document", "rank", "grade") == [(LADDER[0], 1, 0.8), (LADDER[1], 2, 0.6)]
    assert reasons(outcome) == ["rung: the chain repeats itself"] * 2


def test_a_ladder_that_swings_between_two_sentences_is_dropped_as_a_whole() -> None:
    swinging = {"You rewrite": climbing(START, *LADDER[:2], LADDER[0])}
    outcome = run("ladder", documents(START), swinging, options={"rounds": 6})
    assert outcome.kept.num_rows == 0
    assert len(reasons(outcome)) == 6


def test_a_ladder_ends_where_the_model_stands_still() -> None:
    stuck = {"You rewrite": climbing(START, *LADDER[:2], LADDER[1])}
    outcome = run("ladder", documents(START), stuck, options={"rounds": 5})
    assert kept(outcome, "document", "rank") == [(LADDER[0], 1), (LADDER[1], 2)]
    assert outcome.notes["chains of rounds that ended early"] == 1


# Few-shot paraphrase ------------------------------------------------------------------------------


def test_up_to_fifteen_demonstrations_of_the_class_are_shown() -> None:
    rows = [{"text": "Where is my card?", "class": "card", "demonstrations": [f"demo number {n}" for n in range(20)]}]
    llm = Scripted({"": {"paraphrase": "My card has not come, where can it be?"}})
    outcome = generate("fewshot-paraphrase", pa.Table.from_pylist(rows), llm)
    assert re.findall(r"- demo number (\d+)", asked(llm.calls[0])) == [str(n) for n in range(15)]
    assert kept(outcome, "query", "document", "label", "class") == [
        ("Where is my card?", "My card has not come, where can it be?", 1, "card")
    ]


def test_demonstrations_may_be_pairs_or_missing() -> None:
    pairs = [{"text": "Hi there", "paraphrase": "Hello you"}]
    renderer = Renderer(load_recipe("fewshot-paraphrase"))
    shown = renderer.prompt(renderer.item({"text": "Hey", "demonstrations": pairs}), "paraphrase").messages[-1]
    assert shown["content"] == "Other texts of the class:\n- Hi there => Hello you\n\n<text>\nHey\n</text>"
    bare = renderer.prompt(renderer.item({"text": "Hey", "class": 7}), "paraphrase").messages[-1]
    assert bare["content"] == "Class: 7\n<text>\nHey\n</text>"


def test_a_demonstration_given_back_is_no_paraphrase() -> None:
    rows = [{"text": "Where is my card?", "demonstrations": ["My new card has not come."]}]
    outcome = run("fewshot-paraphrase", rows, {"": {"paraphrase": "My new card has not come."}})
    assert reasons(outcome) == ["positive: copies a demonstration"]


# Minimally edited questions -----------------------------------------------------------------------

OPERA = {
    "question": "Who wrote the libretto of Mirela?",
    "passage": "The libretto of Mirela is by Luisa Bran; her cousin Matteo wrote the music.",
    "answer": "Luisa Bran",
}


def edited(question: str, new_answer: str, told: str | None, answer: Any = "Luisa Bran") -> Outcome:
    answers = {
        "Write a question": {"edited": question, "new_answer": new_answer},
        "You answer a question": {"answer": told},
    }
    return run("min-edit-questions", [{**OPERA, "answer": answer}], answers)


@pytest.mark.parametrize("answer", ["Luisa Bran", ["Luisa Bran", "Bran"], {"text": ["Luisa Bran"], "start": [27]}])
def test_an_edited_question_is_a_negative_of_the_question_and_goes_with_the_passage(answer: Any) -> None:
    outcome = edited("Who wrote the music of Mirela?", "Matteo", "her cousin Matteo", answer)
    assert kept(outcome, "query", "document", "label", "answer", "new_answer")[1:] == [
        (OPERA["question"], "Who wrote the music of Mirela?", 0, "Luisa Bran", "her cousin Matteo"),
        ("Who wrote the music of Mirela?", OPERA["passage"], 1, "Luisa Bran", "her cousin Matteo"),
    ]
    assert kept(outcome, "query", "document", "label")[0] == (OPERA["question"], OPERA["passage"], 1)


def test_a_passage_that_does_not_answer_the_edited_question_is_a_negative_of_it() -> None:
    outcome = edited("Who wrote the libretto of Norma?", "", None)
    assert kept(outcome, "query", "label")[2] == ("Who wrote the libretto of Norma?", 0)


def test_an_edit_that_leaves_the_answer_or_changes_too_much_is_dropped() -> None:
    changed = ["contrast: the same answer, or too many new words"]
    changed += ["passage: the same answer, too many new words, or an answer that is not in the passage"]
    same = edited("Who penned the libretto of Mirela?", "Matteo", "luisa bran.")
    assert reasons(same) == changed
    # With more or less around it, too.
    assert reasons(edited("Who penned the libretto of Mirela?", "", "by Luisa Bran")) == changed
    assert reasons(edited("Who penned the libretto of Mirela?", "", "Bran")) == changed
    far = edited("Which relative composed all the tunes heard in Mirela?", "Matteo", "Matteo")
    assert reasons(far) == changed
    assert [row[0] for row in kept(far, "label")] == [1]


@pytest.mark.parametrize("told", ["N/A", "The passage does not say.", "Giuseppe Verdi"])
def test_an_answer_that_is_not_in_the_passage_makes_it_no_positive_of_the_edited_question(told: str) -> None:
    outcome = edited("Who wrote the libretto of Norma?", "", told)
    assert kept(outcome, "query", "label") == [(OPERA["question"], 1), (OPERA["question"], 0)]
    assert len(reasons(outcome)) == 1


def test_an_empty_answer_is_none() -> None:
    assert kept(edited("Who wrote the libretto of Norma?", "", ""), "label") == [(1,), (0,), (0,)]


def test_the_check_of_the_answer_does_not_see_the_old_question() -> None:
    llm = Scripted(
        {
            "Write a question": {"edited": "Who wrote the music of Mirela?", "new_answer": "Matteo"},
            "You answer a question": {"answer": "Matteo"},
        }
    )
    generate("min-edit-questions", pa.Table.from_pylist([OPERA]), llm)
    assert OPERA["question"] not in asked(llm.calls[1])


# Captions -----------------------------------------------------------------------------------------


def test_captions_that_a_model_wrote_are_kept_unless_they_repeat_the_caption() -> None:
    """Paraphrases as Mistral-7B-Instruct sent them, and negatives by ChatGPT."""
    rows = [row for row in real("llm-caption-triplets", "triplets.jsonl.gz") if row["llm_paraphrase_raw"]]
    rows = list({row["anchor"]: row for row in rows}.values())[:1500]
    by_anchor = {row["anchor"]: row for row in rows}

    def answer(column: str) -> Callable[[str], dict[str, Any]]:
        return lambda prompt: {"caption": by_anchor[prompt.removeprefix("Caption: ")][column]}

    outcome = run(
        "pos-neg-caption",
        [{"id": row["_id"], "text": row["anchor"]} for row in rows],
        {"fits just the same": answer("llm_paraphrase_raw"), "fits other pictures": answer("hard_negative")},
    )
    counts = Counter(reasons(outcome))
    labels = Counter(row[0] for row in kept(outcome, "label"))
    repeated = sum(row["anchor"].lower().strip(" .") == row["llm_paraphrase_raw"].lower().strip(" .") for row in rows)
    assert counts["same: caption: same as text"] >= repeated > 0
    assert labels[0] >= 1490
    assert labels[1] + counts["same: caption: same as text"] >= 1490


def test_a_caption_in_another_language_is_rejected() -> None:
    answers = {
        "fits just the same": {"caption": "Deux chiens bruns courent derrière une balle rouge dans la neige."},
        "fits other pictures": {"caption": "Two brown dogs chase a green ball through the snow."},
    }
    outcome = run("pos-neg-caption", documents("Two brown dogs chase a red ball through the snow."), answers)
    assert reasons(outcome) == ["same: caption: wrong language"]
    assert kept(outcome, "label") == [(0,)]


# Paraphrase, rewrite, backtranslate ---------------------------------------------------------------

TRAIN = "The last train to Porto leaves at eleven on Sundays."


def paraphrased(text: str, score: float, **options: Any) -> Outcome:
    answers = {"You paraphrase": {"paraphrase": text}, "You judge": {"score": score}}
    return run("paraphrase", documents(TRAIN), answers, options=options)


def test_a_paraphrase_is_kept_with_its_score_if_it_says_the_same() -> None:
    sunday = "On a Sunday, nothing goes to Porto after eleven."
    assert [row[:3] for row in kept(paraphrased(sunday, 4.0), "document", "label", "grade")] == [(sunday, 1, 0.8)]
    assert reasons(paraphrased(sunday, 3.9)) == ["positive: does not say the same"]
    # At 0 none is verified, so that there is no score.
    assert kept(paraphrased(sunday, 1.0, similarity=0.0), "grade") == [(None,)]


def test_without_a_least_score_no_paraphrase_costs_a_second_call_and_a_blank_text_is_one_reject() -> None:
    llm = Scripted({"You paraphrase": {"paraphrase": "On a Sunday, nothing goes to Porto after eleven."}})
    rows = pa.Table.from_pylist([*documents(TRAIN), {"id": "blank", "text": " "}])
    outcome = generate("paraphrase", rows, llm, options={"similarity": 0})
    assert kept(outcome, "grade", "label", "origin") == [(None, 1, "generate:paraphrase/unverified")]
    assert reasons(outcome) == ["no text"]
    assert (outcome.rows_in, outcome.added, len(llm.calls)) == (2, 0, 1)


def test_the_style_of_a_paraphrase_is_still_recorded() -> None:
    (template,) = kept(paraphrased("On a Sunday, nothing goes to Porto after eleven.", 5), "template")[0]
    assert template.startswith("rewrite/")


def test_a_text_with_a_word_changed_is_no_paraphrase_and_costs_no_verdict() -> None:
    llm = Scripted({"You paraphrase": {"paraphrase": TRAIN + " Yes."}, "You judge": {"score": 5}})
    outcome = generate("paraphrase", pa.Table.from_pylist(documents(TRAIN)), llm, retries_invalid=0)
    assert reasons(outcome) == ["rewrite: paraphrase: overlaps text"]
    assert len(llm.calls) == 1


def test_real_paraphrases_of_six_styles_pass_the_checks() -> None:
    pairs = [
        (group["anchor"], positive["text"])
        for group in real("llm-paraphrases", "groups.jsonl.gz")
        for positive in group["positives"]
    ]
    lost = []
    for anchor, text in pairs:
        answers = {"You paraphrase": {"paraphrase": text}, "You judge": {"score": 5}}
        lost += reasons(run("paraphrase", documents(anchor), answers))
    assert len(pairs) == 66
    assert len(lost) <= 2, lost


def test_the_style_of_a_rewriting_is_what_the_user_sets() -> None:
    llm = Scripted({"You rewrite": {"rewritten": "Last Sunday train to Porto: eleven"}})
    style = {"style": "a sign at a station"}
    outcome = generate("rewrite", pa.Table.from_pylist(documents(TRAIN)), llm, options=style)
    assert asked(llm.calls[0]) == f"<text>\n{TRAIN}\n</text>\nStyle: a sign at a station"
    assert kept(outcome, "document", "label") == [("Last Sunday train to Porto: eleven", 1)]


GERMAN = "Sonntags fährt der letzte Zug nach Porto um elf Uhr ab."
BACK = "On Sundays the final train for Porto departs at eleven."


def backtranslated(text: str, language: str, **settings: Any) -> tuple[Outcome, Scripted]:
    llm = Scripted({'"language"': {"language": language, "translation": GERMAN}, "": {"back": BACK}})
    table = pa.Table.from_pylist(documents(text))
    return generate("backtranslate", table, llm, draws={"pivot": ["german"]}, **settings), llm


def test_the_way_back_sees_the_translation_alone() -> None:
    outcome, llm = backtranslated(TRAIN, "English")
    assert asked(llm.calls[1]) == f"<text>\n{GERMAN}\n</text>\nTranslate into: English"
    assert kept(outcome, "query", "document", "label", "translation", "pivot") == [
        (TRAIN, BACK, 1, GERMAN, "german"),
        (TRAIN, GERMAN, 1, None, "german"),
    ]


def test_a_text_that_is_in_the_language_in_between_gives_nothing() -> None:
    outcome, _ = backtranslated("Am Sonntag fährt um elf der letzte Zug nach Porto.", "German", retries_invalid=0)
    assert outcome.kept.num_rows == 0
    assert all("language" in reason for reason in reasons(outcome))


# Sets and NLI -------------------------------------------------------------------------------------


def test_a_set_gives_its_description_each_other_and_what_is_near_as_pairs() -> None:
    answers = {
        "the description of a concept": {
            "expressing": ["At last the fever broke.", "We made it before the storm."],
            "near": ["The storm is coming.", "He has a fever."],
        }
    }
    outcome = run("concept-sets", documents("relief that the worst is over"), answers)
    assert kept(outcome, "query", "document", "label", "concept") == [
        ("relief that the worst is over", "At last the fever broke.", 1, None),
        ("relief that the worst is over", "We made it before the storm.", 1, None),
        ("relief that the worst is over", "The storm is coming.", 0, None),
        ("relief that the worst is over", "He has a fever.", 0, None),
        ("At last the fever broke.", "We made it before the storm.", 1, "relief that the worst is over"),
        ("At last the fever broke.", "The storm is coming.", 0, "relief that the worst is over"),
    ]


def test_a_sentence_on_both_sides_of_a_set_is_on_neither() -> None:
    answers = {"concept": {"expressing": ["It is over now.", "I can breathe again."], "near": ["It is over now."]}}
    outcome = run("concept-sets", documents("relief that the worst is past"), answers)
    assert kept(outcome, "document", "label") == [("I can breathe again.", 1)]
    assert set(reasons(outcome)) == {f"{role}: said twice" for role in ("described", "near", "together", "apart")}


def test_written_nli_is_kept_where_a_second_look_agrees() -> None:
    answers = {
        "three sentences about": {
            "entailment": "An animal is resting indoors.",
            "neutral": "The cat is old.",
            "contradiction": "The sofa is on fire and empty.",
        },
        "a premise and three": {"a": "contradiction", "b": "entailment", "c": "entailment"},
    }
    outcome = run("nli-write", documents(CAT), answers)
    assert kept(outcome, "document", "label", "nli") == [
        ("An animal is resting indoors.", 1, "entailment"),
        ("The sofa is on fire and empty.", 0, "contradiction"),
    ]
    assert reasons(outcome) == ["neutral: labelled otherwise"]


# SynCSE-scratch -----------------------------------------------------------------------------------


def from_nothing(sentences: list[str], **settings: Any) -> tuple[Outcome, Scripted]:
    llm = Scripted(
        {
            "You write sentences from which": {"sentences": sentences},
            "that match a given one": lambda prompt: {"sentence": f"In other words, {prompt[10:].lower()}"},
            "mean something else": lambda prompt: {"sentence": f"It is untrue that {prompt[10:].lower()}"},
        }
    )
    return generate("syncse-scratch", pa.table({}), llm, **settings), llm


def test_sentences_out_of_nothing_become_triplets() -> None:
    outcome, llm = from_nothing(["The kettle whistles at six.", "Who sold the mill?"], draws={"genre": ["novel"]})
    assert kept(outcome, "query", "document", "label", "genre") == [
        ("The kettle whistles at six.", "In other words, the kettle whistles at six.", 1, "novel"),
        ("The kettle whistles at six.", "It is untrue that the kettle whistles at six.", 0, "novel"),
        ("Who sold the mill?", "In other words, who sold the mill?", 1, "novel"),
        ("Who sold the mill?", "It is untrue that who sold the mill?", 0, "novel"),
    ]
    assert len(llm.calls) == 5
    assert "Where they could stand: a novel" in asked(llm.calls[0])
    (topics,) = re.findall("Topics: (.*)", asked(llm.calls[0]))
    assert len(set(topics.split("; "))) == 6


def test_a_sentence_that_is_none_or_repeats_costs_the_others_nothing() -> None:
    outcome, llm = from_nothing(["The kettle whistles at six.", "Hm.", "The kettle whistles at six."])
    assert kept(outcome, "label") == [(1,), (0,)]
    assert Counter(reasons(outcome)) == {"repeated part": 2, "sentences: sentences: too short": 2}
    assert len(llm.calls) == 3


def test_scratch_does_to_its_sentences_what_syncse_does_to_given_ones() -> None:
    given, scratch = load_recipe("syncse"), load_recipe("syncse-scratch")
    for name in ("positive", "negative"):
        ours, theirs = scratch.step(name), given.step(name)
        assert ours.instructions == theirs.instructions
        assert [each.fields for each in ours.exemplars] == [each.fields for each in theirs.exemplars]
        assert (ours.system, ours.shots, ours.sampling) == (theirs.system, theirs.shots, theirs.sampling)


def test_there_are_enough_genres_and_topics_to_draw_from() -> None:
    draws = {draw.name: draw for draw in load_recipe("syncse-scratch").draws}
    assert len(draws["genre"].choices) >= 30
    assert len(draws["topics"].choices) >= 60
    for draw in draws.values():
        assert len({choice.text for choice in draw.choices}) == len(draw.choices)


# All of them --------------------------------------------------------------------------------------

INPUTS = {
    "clhaif": {"sent0": "Two dogs run.", "sent1": "Animals move.", "hard_neg": "The dogs sleep."},
    "gcse": {"query": "Two men push a bus.", "document": "bus", "kind": "entity", "far": "lorry", "count": 2},
    "fewshot-paraphrase": {"text": "Where is my card?", "label": "card", "pos": ["It has not come.", "No card yet."]},
    "min-edit-questions": {"question": "Who wrote Mirela?", "context": OPERA["passage"], "answers": "Luisa Bran"},
}
"""A row in the layout that real files have, for recipes that read columns of their own."""
TEXTS = (
    "The old bridge over the Tay was closed for two weeks after the flood of 1993.",
    "Ein Mann repariert sein Fahrrad vor dem alten Rathaus in Bremen.",
    "两名工人在雨中修理屋顶上的天线，路人都停下来看。",
    "ฉันไปโรงเรียนด้วยรถประจำทางทุกวันกับน้องสาว",
    "When does the last train to Porto leave on Sundays?",
    "Naïve café owners — “all 12 of them” — sold out. 🙂",
)


def input_of(name: str) -> list[dict[str, Any]]:
    return [INPUTS[name]] * 1 if name in INPUTS else documents(*TEXTS)


def as_read(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with the recipe's own names for the columns, as a command hands it on."""
    names = {alias: each.name for each in load_recipe(name).inputs for alias in each.aliases}
    return {names.get(column, column): value for column, value in row.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_example_works_when_pasted_and_gives_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for the model, and a small file of the name in the example."""
    from pairmine.cli.main import main

    words = shlex.split(load_recipe(name).example)
    words[words.index("--llm") + 1] = "fake:"
    if name != "syncse-scratch":
        rows = input_of(name)
        target = tmp_path / words[3]
        if words[3].endswith(".csv"):
            target.write_text(",".join(rows[0]) + "\n" + ",".join(rows[0].values()) + "\n", "utf-8")
        elif words[3].endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), target)
        else:
            target.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    # A stand-in scores at random and writes no sense, so that what judges it is told to let it pass.
    loose = {"paraphrase": ["similarity=0"], "multicsr": ["curate=false"], "min-edit-questions": ["new_words=99"]}
    words += [part for setting in loose.get(name, []) for part in ("--set", setting)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAIRMINE_LEDGER", str(tmp_path / "ledger"))
    dry_run = [*words[: words.index("-o")], *words[words.index("-o") + 2 :], "--dry-run"]
    for command in (dry_run, words):
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as left:
            main()
        assert (left.value.code or 0) == 0, capsys.readouterr().err
    assert (tmp_path / words[words.index("-o") + 1]).exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in INPUTS and name != "syncse-scratch"])
def test_blank_and_null_texts_are_rejected_and_the_rest_goes_on(name: str) -> None:
    rows = [*documents("  ", *TEXTS[:2]), {"id": "null", "text": None}]
    outcome = generate(name, pa.Table.from_pylist(rows), FakeLLM(), samples=1)
    assert {"no text"} <= set(reasons(outcome))
    assert all(row["query_id"] in {"d2", "d3"} or name == "concept-sets" for row in outcome.kept.to_pylist())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_come_out_whatever_the_order_and_company(name: str) -> None:
    """A row's pairs hang on itself, the sample and the seed."""
    rows = [] if name == "syncse-scratch" else [as_read(name, row) for row in input_of(name)]

    def pairs(given: list[dict[str, Any]], seed: int = 0) -> Counter[tuple[Any, ...]]:
        table = pa.Table.from_pylist(given) if given else pa.table({})
        outcome = generate(name, table, FakeLLM(), seed=seed, duplicates=1.0, samples=2)
        return Counter((row["query"], row["document"], row["label"], row["sample"]) for row in outcome.kept.to_pylist())

    whole = pairs(rows)
    assert pairs(rows[::-1]) == whole
    if len(rows) > 1:
        assert sum((pairs([row]) for row in rows), Counter()) == whole


def test_real_sentences_of_fifteen_languages_go_through_claif() -> None:
    rows = list(islice((row for row in real("xnli-dev", "dev.jsonl.gz") if row["_id"].endswith("-dev-0")), 15))
    assert len(rows) == 15
    answers = {"<mask>": lambda prompt: {"sentence": prompt[10:].replace("<mask>", "… ")}, "You judge": judged}
    outcome = run("claif", [{"id": row["_id"], "text": row["premise"]} for row in rows], answers)
    found = Counter(row[0] for row in kept(outcome, "query_id"))
    # The first copy is the sentence itself here, and is dropped; short ones may be masked alike twice.
    assert set(found) == {row["_id"] for row in rows}
    assert all(4 <= count <= 8 for count in found.values()), found


def test_real_intents_go_through_fewshot_paraphrase() -> None:
    by_intent: dict[str, list[str]] = {}
    for row in islice(real("banking77", "queries.jsonl.gz"), 2000):
        by_intent.setdefault(row["intent"], []).append(row["text"])
    rows = [{"text": texts[0], "class": name, "demonstrations": texts[1:]} for name, texts in by_intent.items()]
    llm = Scripted({"": lambda prompt: {"paraphrase": "Tell me, please: " + prompt.split("<text>\n")[1][:-8][::-1]}})
    outcome = generate("fewshot-paraphrase", pa.Table.from_pylist(rows), llm, retries_invalid=0)
    assert len(llm.calls) == len(rows)
    for call in llm.calls:
        (intent,) = re.findall("Class: (.*)", asked(call))
        others = by_intent[intent][1:]
        assert re.findall("^- (.*)", asked(call), re.MULTILINE) == [text.split("\n")[0] for text in others[:15]]
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows)


def test_real_contradictions_by_one_word_become_negatives_of_multicsr() -> None:
    """Premises of SNLI with a word changed: what a model sends that does as it is told."""
    rows = [row for row in islice(real("breaking-nli", "pairs.jsonl.gz"), 400) if row["label"] == "contradiction"]
    by_premise = {row["premise"]: row["hypothesis"] for row in rows}

    def score(prompt: str) -> dict[str, Any]:
        return {"score": 4.0 if "stated here" in prompt else 1.5}

    outcome = run(
        "multicsr",
        [{"id": f"p{at}", "text": premise} for at, premise in enumerate(by_premise)],
        {
            "certainly true": lambda prompt: {"sentence": f"What is stated here: {prompt[10:]}"},
            "cannot be true": lambda prompt: {"sentence": by_premise[prompt.removeprefix("Sentence: ")]},
            "You rate": score,
        },
        # Other captions of one picture end alike.
        duplicates=1.0,
    )
    negatives = {row["query"]: row["document"] for row in outcome.kept.to_pylist() if row["label"] == 0}
    assert negatives == by_premise
    assert {row[0] for row in kept(outcome, "grade")} == {0.8, 0.3}


def test_real_questions_with_their_passages_go_through_min_edit_questions() -> None:
    corpus = {row["_id"]: row["text"] for row in real("xquad", "corpus.jsonl.gz")}
    questions = {row["_id"]: row for row in real("xquad", "queries.jsonl.gz") if row["lang"] in ("en", "zh", "th")}
    judged = [line.split("\t") for line in (DATA / "xquad" / "qrels.tsv").read_text("utf-8").splitlines()]
    rows = [
        {
            "id": query,
            "question": questions[query]["text"],
            "passage": corpus[doc],
            "answer": questions[query]["answers"],
        }
        for query, doc, *_ in judged
        if query in questions and doc in corpus
    ][::30]
    assert len(rows) > 50
    # An edit at the end, in the script of the question, which the passage does not answer.
    llm = Scripted(
        {
            "Write a question": lambda prompt: {
                "edited": re.findall("Question: (.*)", prompt)[0].rstrip(" ?？") + " 2?",
                "new_answer": "",
            },
            "You answer a question": {"answer": None},
        }
    )
    outcome = generate("min-edit-questions", pa.Table.from_pylist(rows), llm)
    labels = Counter((row["origin"].rpartition("/")[2], row["label"]) for row in outcome.kept.to_pylist())
    count = len(rows)
    assert labels == {("positive", 1): count, ("contrast", 0): count, ("passage", 0): count}
    assert {row["answer"] for row in outcome.kept.to_pylist()} >= {row["answer"][0] for row in rows}
