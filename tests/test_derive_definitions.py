from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared"


def dictionary(*rows: tuple[Any, Any]) -> pa.Table:
    words, definitions = zip(*rows, strict=True)
    return pa.table({"word": list(words), "definition": list(definitions)})


def short(outcome: Outcome) -> list[tuple[str, str]]:
    assert set(outcome.kept["label"].to_pylist()) <= {1}
    return [(row["query"], row["document"]) for row in outcome.kept.to_pylist()]


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


TIDES = dictionary(
    ("ebb", "the outgoing tide"), ("flow", "the rising tide"), ("ebb", "a poor state"), ("雨", "空から降る水")
)


def test_all_definitions_of_an_entry_are_its_positives() -> None:
    assert short(derive("definitions", TIDES)) == [
        ("ebb", "the outgoing tide"),
        ("ebb", "a poor state"),
        ("flow", "the rising tide"),
        ("雨", "空から降る水"),
    ]


def test_a_definition_can_ask_for_the_entries_of_a_synset() -> None:
    rows = dictionary((["able", "fit_for"], ["having the means"]), (["capable"], ["having the means"]))
    outcome = derive("definitions", rows, query="definition")
    assert short(outcome) == [
        ("having the means", "able"),
        ("having the means", "fit for"),
        ("having the means", "capable"),
    ]


def test_single_words_and_single_tokens_leave_the_other_entries_out() -> None:
    rows = dictionary(("ebb tide", "x"), ("ebb", "y"), ("unebbing", "z"))
    words = derive("definitions", rows, entries="word")
    assert short(words) == [("ebb", "y"), ("unebbing", "z")]
    assert reasons(words) == ["not a single word"]
    tokenizer = Tokenizer(WordLevel({"ebb": 0, "tide": 1, "un": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokens = derive("definitions", rows, entries="token", resources={"tokenizer": tokenizer})
    assert short(tokens) == [("ebb", "y")]
    assert reasons(tokens) == ["not a single token"] * 2


def test_a_word_that_the_vocabulary_lacks_is_no_single_token() -> None:
    tokenizer = Tokenizer(WordLevel({"ebb": 0, "[UNK]": 1}, unk_token="[UNK]"))
    outcome = derive(
        "definitions", dictionary(("ebb", "x"), ("qqq", "y")), entries="token", resources={"tokenizer": tokenizer}
    )
    assert short(outcome) == [("ebb", "x")]


def test_rows_that_give_nothing_say_why() -> None:
    rows = dictionary(("", "x"), ("ebb", None), ("tide", "Tide"), ("ebb", "a"), ("EBB", "A "))
    outcome = derive("definitions", rows)
    assert short(outcome) == [("ebb", "a")]
    assert reasons(outcome) == ["no entry", "no definition", "the definition is the entry", "duplicate"]


def test_the_most_definitions_of_a_query_are_a_seeded_sample() -> None:
    rows = dictionary(*(("set", f"sense {at}") for at in range(9)))
    drawn = [frozenset(short(derive("definitions", rows, per_query=2, seed=seed))) for seed in range(6)]
    assert {len(some) for some in drawn} == {2}
    assert len(set(drawn)) > 1
    assert reasons(derive("definitions", rows, per_query=2)) == ["beyond --per-query"] * 7


def test_a_tokenizer_and_its_option_want_each_other() -> None:
    with pytest.raises(PairmineError, match="--entries token needs --tokenizer"):
        derive("definitions", TIDES, entries="token")
    with pytest.raises(PairmineError, match="--tokenizer has no effect with --entries any"):
        derive("definitions", TIDES, resources={"tokenizer": object()})


@pytest.mark.skipif(
    not (SHARED / "data/wordnet-definitions").exists(), reason="needs the real corpora in ../shared/data"
)
def test_wordnet_gives_a_pair_for_each_lemma_of_each_synset() -> None:
    with gzip.open(SHARED / "data/wordnet-definitions/synsets.jsonl.gz", "rt") as lines:
        given = [json.loads(next(lines)) for _ in range(3000)]
    outcome = derive("definitions", pa.Table.from_pylist(given).rename_columns({"lemmas": "word"}))
    expected = {(lemma.strip().casefold(), row["definition"].strip()) for row in given for lemma in row["lemmas"]}
    assert {(query.casefold(), document) for query, document in short(outcome)} == expected
