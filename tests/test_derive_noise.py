from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive
from pairmine.stages.derive.characters import KINDS, letters, look_alikes, with_slip
from pairmine.stages.derive.draws import Draws

SHARED = Path(__file__).parents[2] / "shared" / "data"
NUMBERS = " ".join(f"w{at}" for at in range(100))
OFF = {"delete": 0, "swap": 0, "repeat": 0, "characters": 0}
LISTS = {"synonyms": {"river": ("stream",)}, "paraphrases": {"river bank": ("bank of a river",)}}


def corpus(*texts: str | None) -> pa.Table:
    return pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.string())})


def made(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.kept.to_pylist()


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def test_the_noisy_copy_asks_for_the_clean_text() -> None:
    row = made(derive("noise", corpus(NUMBERS)))[0]
    assert (row["query_id"], row["doc_id"], row["document"], row["label"]) == ("d0#q0", "d0", NUMBERS, 1)
    assert row["query"] != NUMBERS
    rows = made(derive("noise", corpus(NUMBERS), views=4))
    assert [row["query_id"] for row in rows] == ["d0#q0", "d0#q1", "d0#q2"]
    assert {row["doc_id"] for row in rows} == {"d0"}


def test_each_kind_of_noise_does_what_it_says() -> None:
    def noisy(**given: float) -> list[list[str]]:
        return [
            made(derive("noise", corpus(NUMBERS), seed=seed, **{**OFF, **given}))[0]["query"].split()
            for seed in range(60)
        ]

    words = NUMBERS.split()
    lengths = [len(each) for each in noisy(delete=0.1)]
    assert 88 < sum(lengths) / 60 < 92
    assert all(each == [word for word in words if word in each] for each in noisy(delete=0.1))
    assert all(sorted(each) == sorted(words) and each != words for each in noisy(swap=0.1))
    assert 108 < sum(len(each) for each in noisy(repeat=0.1)) / 60 < 112
    assert all(list(dict.fromkeys(each)) == words for each in noisy(repeat=0.1))
    changed = [sum(one != other for one, other in zip(each, words, strict=True)) for each in noisy(characters=0.1)]
    assert 8 < sum(changed) / 60 < 12


def test_noise_without_any_chance_or_with_too_much_is_an_error() -> None:
    with pytest.raises(PairmineError, match="--delete, --swap, --repeat and --characters are all 0; raise one"):
        derive("noise", corpus(NUMBERS), **OFF)
    with pytest.raises(PairmineError, match="make more than 1 together; lower them"):
        derive("noise", corpus(NUMBERS), delete=0.9)


def test_ocr_misreads_one_letter_in_twenty_and_nothing_else() -> None:
    row = made(derive("ocr", corpus("Harbour Milling Company 1908")))[0]
    assert (row["document"], row["doc_id"]) == ("Harbour Milling Company 1908", "d0")
    names = {made(derive("ocr", corpus("Bell Co"), seed=seed))[0]["query"] for seed in range(200)}
    assert names == {
        *("8ell Co", "Bcll Co", "Boll Co", "Be1l Co", "BeIl Co", "Bel1 Co", "BelI Co"),
        *("Bell Go", "Bell C0", "Bell Ca", "Bell Ce"),
    }


def test_ocr_rejects_what_has_no_look_alike_and_takes_a_list_of_the_users() -> None:
    assert reasons(derive("ocr", corpus("ประเทศ", "", "+++"))) == [
        "nothing that a scanner would misread",
        "no text",
        "nothing that a scanner would misread",
    ]
    own = {"confusions": {"ท": ("ฑ",)}}
    assert made(derive("ocr", corpus("ประเทศ"), resources=own))[0]["query"] == "ประเฑศ"
    japanese = made(derive("ocr", corpus("ソニー株式会社"), views=3))
    assert all(row["query"] != row["document"] for row in japanese)


def test_look_alikes_go_both_ways() -> None:
    for read, others in look_alikes().items():
        for other in others:
            assert read in look_alikes()[other]
            assert read != other


def test_every_slip_changes_one_character() -> None:
    for word in ("Harvard", "Москва", "北京大学", "ab"):
        for kind in KINDS:
            for seed in range(30):
                slipped = with_slip(word, kind, Draws(seed))
                if slipped is None:
                    continue
                assert slipped != word
                if kind == "swap":
                    assert sorted(slipped) == sorted(word)
                elif kind == "delete":
                    assert len(slipped) == len(word) - 1
                elif kind == "insert":
                    assert len(slipped) == len(word) + 1
                elif kind in ("keyboard", "substitute"):
                    assert sum(one != other for one, other in zip(slipped, word, strict=True)) == 1


def test_slips_hit_the_neighbouring_key_with_the_capitals_of_the_word() -> None:
    found = {with_slip("G", "keyboard", Draws(seed)) for seed in range(100)}
    assert found == {"F", "H", "T", "Y", "V", "B"}
    assert with_slip("東", "keyboard", Draws(0)) is None
    assert with_slip("x", "delete", Draws(0)) is None
    assert with_slip("--", "insert", Draws(0)) is None


def test_a_slip_takes_a_vowel_sign_along_with_its_letter() -> None:
    assert letters("กี่e\u0301") == ["กี่", "e\u0301"]
    for seed in range(50):
        for kind in KINDS:
            slipped = with_slip("มีฝน", kind, Draws(seed))
            assert slipped is None or slipped[0] not in "ีฺ่"


def test_a_phrase_is_varied_in_the_shares_of_pearl() -> None:
    rows = made(
        derive(
            "phrase", pa.table({"id": [str(at) for at in range(4000)], "text": ["river bank"] * 4000}), resources=LISTS
        )
    )
    kinds = Counter(row["origin"].removeprefix("derive:phrase/") for row in rows)
    assert len(rows) == 4000
    for kind, share in {"character": 0.1, "synonym": 0.3, "paraphrase": 0.5, "swap": 0.05, "same": 0.05}.items():
        assert abs(kinds[kind] / 4000 - share) < 0.025
    of_kind = {kind: {row["document"] for row in rows if row["origin"].endswith(kind)} for kind in kinds}
    assert of_kind["synonym"] == {"stream bank"}
    assert of_kind["paraphrase"] == {"bank of a river"}
    assert of_kind["swap"] == {"bank river"}
    assert of_kind["same"] == {"river bank"}
    assert len(of_kind["character"]) > 50


def test_a_phrase_that_no_list_knows_is_varied_by_the_other_kinds() -> None:
    rows = made(derive("phrase", corpus(*["Oslo"] * 50), resources=LISTS))
    assert {row["origin"] for row in rows} == {"derive:phrase/character", "derive:phrase/same"}
    assert all(row["query"] == "Oslo" for row in rows)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "recipe phrase takes a synonym for 0.3 of its views: give --synonyms FILE"),
        ({"resources": {"synonyms": {}}}, "takes a paraphrase for 0.5 of its views: give --paraphrases FILE"),
        ({"synonym": 0, "resources": LISTS}, "--synonyms has no use with --synonym 0; leave one of them out"),
        ({"character": 0, "synonym": 0, "paraphrase": 0, "swap": 0, "same": 0}, "are all 0; raise one of them"),
    ],
)
def test_a_missing_list_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive("phrase", corpus("river bank"), **given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections in ../shared/data")
def test_real_records_are_misread_so_that_few_letters_differ() -> None:
    with gzip.open(SHARED / "record-duplicates" / "records.jsonl.gz", "rt") as lines:
        names = [str(next(value for key, value in json.loads(line).items() if key != "_id")) for line in lines][:500]
    outcome = derive("ocr", corpus(*names))
    assert outcome.kept.num_rows > 400
    for row in made(outcome):
        assert abs(len(row["query"]) - len(row["document"])) <= max(1, len(row["document"]) // 10)


def test_a_chinese_text_is_not_misread_as_kana() -> None:
    rows = pa.table({"id": ["zh", "ja"], "text": ["一个人在跳舞。", "コーヒー一杯。"]})
    kept = derive("ocr", rows, views=64, rate=1.0).kept
    chinese = [
        query for query, name in zip(kept["query"].to_pylist(), kept["doc_id"].to_pylist(), strict=True) if name == "zh"
    ]
    assert chinese
    assert not any("\u3041" <= letter <= "\u30ff" for query in chinese for letter in query)
