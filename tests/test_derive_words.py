from __future__ import annotations

import gzip
import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.wording import core, like, others_for, wording
from pairmine.stages.derive.words import Changing

SHARED = Path(__file__).parents[2] / "shared" / "data"
FLOOD = "It rained all day and the river rose by two metres."
NUMBERS = " ".join(f"w{at}" for at in range(100))
JAPANESE = "梅雨は東アジアの雨季である。"
THAI = "ประเทศไทยมีฝนตกหนักในฤดูฝน"
SYNONYMS = {"river": ("stream",), "day": ("daytime",), "big": ("large", "BIG")}


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.kept.to_pylist()


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def positives(recipe: str, text: str, **given: Any) -> list[str]:
    """The documents that 40 seeds make of one text."""
    return [row["document"] for seed in range(40) for row in made(derive(recipe, corpus(text), seed=seed, **given))]


def test_identity_pairs_a_text_with_itself() -> None:
    rows = made(derive("identity", corpus(FLOOD, "", "* * *")))
    assert [(row["query_id"], row["doc_id"], row["query"], row["document"], row["label"]) for row in rows] == [
        ("d0#q0", "d0#p0", FLOOD, FLOOD, 1),
        ("d2#q0", "d2#p0", "* * *", "* * *", 1),
    ]
    assert reasons(derive("identity", corpus(""))) == ["no text"]


def test_more_views_are_more_positives_of_one_query() -> None:
    for recipe in ("identity", "repeat", "shuffle", "cutoff", "clear", "words", "mask-two"):
        rows = made(derive(recipe, corpus(NUMBERS), views=4))
        assert [row["doc_id"] for row in rows] == ["d0#p0", "d0#p1", "d0#p2"], recipe
        assert {row["query_id"] for row in rows} == {"d0#q0"}
        if recipe != "identity":
            assert len({row["query"] for row in rows} | {row["document"] for row in rows}) == 4


def test_repeat_doubles_one_to_ten_words_of_one_side() -> None:
    longer = Counter()
    for seed in range(300):
        row = made(derive("repeat", corpus(NUMBERS), seed=seed))[0]
        words = row["document"].split()
        assert row["query"] == NUMBERS
        assert list(dict.fromkeys(words)) == NUMBERS.split()
        assert all(count <= 2 for count in Counter(words).values())
        longer[len(words) - 100] += 1
    assert set(longer) == set(range(1, 11))


def test_repeat_takes_a_third_of_a_short_text_at_most() -> None:
    lengths = {len(document.split()) for document in positives("repeat", "one two three four five six seven eight")}
    assert lengths == {9, 10}  # int(0.32 * 8) = 2 repeated words at most
    assert positives("repeat", "Hello") == ["Hello Hello"] * 40


def test_repeat_may_draw_none_as_esimcse_does() -> None:
    outcomes = [derive("repeat", corpus(NUMBERS), seed=seed, least=0) for seed in range(300)]
    assert not any(row["document"] == NUMBERS for each in outcomes for row in made(each))
    with pytest.raises(PairmineError, match="--least 3 is above --most 2; lower it"):
        derive("repeat", corpus(NUMBERS), least=3, most=2)


def test_repeat_doubles_the_word_pieces_of_a_tokenizer() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: at for at, word in enumerate(["[UNK]", "app", "##les", "I", "like", "."])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    resources = {"tokenizer": tokenizer}
    documents = set(positives("repeat", "I like apples.", resources=resources))
    assert documents == {
        "I I like apples.",
        "I like like apples.",
        "I like appapples.",
        "I like applesles.",
        "I like apples..",
    }


def test_shuffle_keeps_every_word() -> None:
    documents = positives("shuffle", FLOOD)
    assert all(sorted(document.split(" ")) == sorted(FLOOD.split(" ")) for document in documents)
    assert len(set(documents)) == 40
    assert FLOOD not in documents
    assert reasons(derive("shuffle", corpus("alone", "la la la", "!!! ???"))) == [
        "too short",
        "no different view",
        "no words",
    ]


def test_cutoff_leaves_out_a_tenth_of_the_words_in_order() -> None:
    for document in positives("cutoff", NUMBERS):
        numbers = [int(word[1:]) for word in document.split(" ")]
        assert len(numbers) == 90
        assert numbers == sorted(numbers)
    assert {len(document.split()) for document in positives("cutoff", "one two three")} == {2}


def test_both_changes_the_query_too() -> None:
    row = made(derive("cutoff", corpus(NUMBERS), both=True))[0]
    assert len(row["query"].split()) == len(row["document"].split()) == 90
    assert row["query"] != row["document"]


@pytest.mark.parametrize(("op", "kept"), [("word-deletion", 70), ("span-deletion", 75), ("reorder", 100)])
def test_each_operation_of_clear_changes_as_many_words_as_it_says(op: str, kept: int) -> None:
    for seed in range(20):
        row = made(derive("clear", corpus(NUMBERS), seed=seed, ops=op))[0]
        for side in (row["query"], row["document"]):
            numbers = [int(word[1:]) for word in side.split()]
            assert len(set(numbers)) == len(numbers) == kept
            assert (numbers == sorted(numbers)) == (op != "reorder")
            if op == "reorder":  # five pairs of spans of five words: fifty words at most have moved
                assert 20 <= sum(at != number for at, number in enumerate(numbers)) <= 50


def test_clear_takes_synonyms_with_the_capitals_and_marks_of_their_word() -> None:
    documents = positives(
        "clear", "The River, and the day.", ops="substitution", both=False, resources={"synonyms": SYNONYMS}, rate=0.2
    )
    assert set(documents) == {"The Stream, and the day.", "The River, and the daytime."}


def test_clear_with_no_synonym_in_a_text_draws_another_operation_or_rejects_the_text() -> None:
    given: dict[str, Any] = {"resources": {"synonyms": SYNONYMS}}
    assert reasons(derive("clear", corpus("no such word"), ops="substitution", **given)) == ["no different view"]
    assert made(derive("clear", corpus("no such word here"), ops="substitution,reorder", **given))


def test_words_makes_one_change_for_ten_words() -> None:
    for document in positives("words", NUMBERS, ops="deletion"):
        assert len(document.split()) == 90
    for document in positives("words", NUMBERS, ops="swap"):
        assert sorted(document.split()) == sorted(NUMBERS.split())
    given: dict[str, Any] = {"resources": {"synonyms": SYNONYMS}}
    for document in positives("words", "a b river", ops="insertion", **given):
        assert sorted(document.split()) in (
            ["a", "b", "river", "stream"],
            ["b", "river", "stream"],
            ["a", "river", "stream"],
        )


@pytest.mark.parametrize(
    ("recipe", "given", "message"),
    [
        (
            "clear",
            {"ops": "substitution"},
            "--ops substitution needs --synonyms FILE, a table of a word and another for it",
        ),
        ("words", {"ops": "synonym"}, "--ops synonym needs --synonyms FILE"),
        ("clear", {"ops": "cutoff"}, "--ops has 'cutoff'; recipe clear knows word-deletion, span-deletion, reorder"),
        ("clear", {"ops": " , "}, "--ops names none; choose of word-deletion"),
        ("clear", {"ops": "reorder", "per_view": 2}, "--per-view 2 is more than the 1 in --ops; lower it"),
        (
            "words",
            {"resources": {"synonyms": SYNONYMS}},
            "--synonyms has no use without synonym or insertion in --ops; add it there",
        ),
        ("mask-two", {"mask_token": " "}, "--mask-token is blank"),
        ("cutoff", {"rate": 0.95}, "--rate is 0.95; give a value from 0 to 0.9"),
        ("shuffle", {"views": 1}, "--views is 1; give a value from 2 to 64"),
    ],
)
def test_options_that_cannot_work_are_one_line(recipe: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive(recipe, corpus(FLOOD), **given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_mask_two_hides_other_words_in_each_copy_and_keeps_the_punctuation() -> None:
    for seed in range(30):
        row = made(derive("mask-two", corpus(FLOOD), seed=seed))[0]
        assert row["query"] != row["document"]
        for side in (row["query"], row["document"]):
            words = side.split(" ")
            assert len(words) == 11
            assert sum("[MASK]" in word for word in words) == 3
            assert side.endswith(".")
            assert all(word in FLOOD or "[MASK]" in word for word in words)
    assert "<mask>" in made(derive("mask-two", corpus(FLOOD), mask_token="<mask>"))[0]["query"]


@pytest.mark.parametrize("recipe", ["repeat", "shuffle", "cutoff", "clear", "words", "mask-two"])
def test_scripts_without_blanks_are_edited_between_words_and_get_none(recipe: str) -> None:
    for text in (JAPANESE, THAI):
        pieces = wording(text).words
        for document in positives(recipe, text):
            left = re.sub(r"\[MASK\]( \[MASK\])*", "", document)
            assert " " not in left
            for word in sorted(pieces, key=len, reverse=True):
                left = left.replace(word, "")
            assert not set(left) - set("。 "), document


def test_line_breaks_stay_where_they_are() -> None:
    assert {document.count("\n") for document in positives("cutoff", "one two\nthree four", rate=0.25)} <= {0, 1}
    for document in positives("shuffle", "one two\nthree four"):
        assert document.replace("\n", " ").split(" ") != []
        assert document[:9].count("\n") + document[9:].count("\n") == 1
        assert len(document.split()) == 4


def test_words_of_two_scripts_do_not_run_together() -> None:
    assert wording("我们在北京大学。OK then").in_order([5, 4, 3, 2, 1, 0]).text().startswith("then OK")
    assert wording("ab cd").with_repeats([0, 1]).text() == "ab ab cd cd"
    assert wording("ab  cd").with_repeats([0, 1]).text() == "ab ab  cd cd"
    assert wording("北京大学").with_repeats([0]).text() == "北京北京大学"


def test_synonyms_keep_the_marks_and_capitals_of_the_word_and_are_never_the_word() -> None:
    assert core('"(Hills)…"') == ('"(', "Hills", ')…"')
    assert core("...") == ("...", "", "")
    assert others_for('"Big,"', SYNONYMS) == ['"Large,"']
    assert others_for("BIG", SYNONYMS) == ["LARGE"]
    assert others_for("—", SYNONYMS) == []
    assert like("Iron", "eBay") == "eBay"


def test_views_of_a_given_seed_stay_the_same_from_version_to_version() -> None:
    found = {
        recipe: made(derive(recipe, corpus(FLOOD)))[0]["document"]
        for recipe in ("repeat", "shuffle", "cutoff", "clear")
    }
    assert found == {
        "repeat": "It It rained rained all day and the river rose by two metres.",
        "shuffle": "two and day river by It metres. the rained all rose",
        "cutoff": "It rained all day and the river by two metres.",
        "clear": "It rained all day and river the by rose two metres.",
    }


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections in ../shared/data")
def test_real_sentences_in_many_languages_give_views_of_their_own_words() -> None:
    with gzip.open(SHARED / "tatoeba" / "pairs.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines][::40]
    rows = corpus(*texts)
    for recipe in ("repeat", "shuffle", "cutoff", "clear"):
        outcome = derive(recipe, rows)
        assert outcome.kept.num_rows > 0.9 * len(texts)
        for row in made(outcome):
            source = texts[int(row["source_id"][1:])]
            assert set(row["document"]) <= set(source) | {" "}
            if recipe == "shuffle":
                assert sorted("".join(row["document"].split())) == sorted("".join(source.split()))


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections in ../shared/data")
@pytest.mark.slow
def test_wordnet_synonyms_replace_words_in_real_sentences() -> None:
    synonyms: dict[str, tuple[str, ...]] = {}
    with gzip.open(SHARED / "wordnet-definitions" / "synsets.jsonl.gz", "rt") as lines:
        for line in lines:
            lemmas = json.loads(line)["lemmas"]
            for lemma in lemmas:
                others = tuple(other for other in lemmas if other != lemma)
                synonyms[lemma] = synonyms.get(lemma, ()) + others
    with gzip.open(SHARED / "sick" / "train.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["sentence1"] for line in lines][:200]
    outcome = derive("words", corpus(*texts), ops="synonym", resources={"synonyms": synonyms})
    rows = made(outcome)
    assert len(rows) > 150
    for row in rows:
        gone = Counter(row["query"].lower().split()) - Counter(row["document"].lower().split())
        assert row["document"] != row["query"]
        assert sum(gone.values()) <= 3
        assert all(synonyms.get(core(word)[1]) for word in gone), row


def test_a_text_of_a_megabyte_is_changed_in_seconds() -> None:
    count = 150_000
    rows = pa.table({"id": ["1"], "text": [" ".join(f"word{at}" for at in range(count))]})
    started = time.process_time()
    kept = derive("words", rows, ops="deletion").kept
    assert time.process_time() - started < 10
    assert len(kept["document"][0].as_py().split()) == count - 15_000


def test_words_with_synonyms_are_found_however_few_and_however_the_text_has_changed() -> None:
    lexicon = {"red": ("scarlet",), "rose": ("flower",)}
    rng = random.Random(5)
    for _ in range(40):
        text = Changing(wording(" ".join(rng.choice(["red", "rose", *["of"] * 60]) for _ in range(90))), lexicon)
        words = text.wording.words
        for _ in range(60):
            change = rng.choice(["delete", "insert", "put"])
            if change == "delete" and len(text) > 60:
                text.delete(rng.randrange(len(text)))
            elif change == "insert":
                text.insert(rng.randrange(len(text)), rng.choice(["red", "of"]))
            else:
                text.put(rng.randrange(len(text)), rng.choice(["rose", "of", "of"]))
            there = {at for at, word in enumerate(words) if word != "of"}
            found = [text.with_synonyms(Draws(rng.randrange(2**32))) for _ in range(8)]
            assert all((each is None) == (not there) for each in found)
            assert all(each is None or each == (each[0], others_for(words[each[0]], lexicon)) for each in found)
            assert {each[0] for each in found if each is not None} <= there
