"""Prompt tokens are counted before anything is sent, exactly where the tokenizer is at hand, else as an interval."""

from __future__ import annotations

import gzip
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pairmine.errors import PairmineError
from pairmine.llm.counting import TokenCounter, counter_for

SHARED = Path(__file__).parents[2] / "shared" / "data"
UNKNOWN = "qwen/qwen3-8b"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("counting reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def texts_of(name: str, count: int, language: str | None = None) -> list[str]:
    path = SHARED / name / "corpus.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared data is not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row["text"] for row in rows if language is None or row["lang"] == language][:count]


def word_level_folder(folder: Path, **extra: Any) -> Path:
    """A model folder whose tokenizer knows four words."""
    vocabulary = {"[UNK]": 0, "one": 1, "two": 2, "three": 3}
    content = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        **extra,
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1-nano-2025-04-14", "o200k_base"),
        ("gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("openai/gpt-oss-20b", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", "o200k_base"),
        ("GPT-4-Turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
    ],
)
def test_an_openai_model_is_counted_by_its_own_vocabulary(model: str, vocabulary: str) -> None:
    counter = counter_for(model)
    assert counter.is_exact
    assert counter.name == vocabulary


@pytest.mark.parametrize("model", [UNKNOWN, "gpt-9", "gpt-5.5", "gpt-400", "claude-opus-4-5", "o30", ""])
def test_a_model_whose_vocabulary_nobody_knows_is_not_called_exact(model: str) -> None:
    counter = counter_for(model)
    assert not counter.is_exact
    assert "in place of" in counter.name


def test_counts_equal_the_published_ones() -> None:
    counter = counter_for("gpt-4o")
    assert counter.count(["hello world", "", "tiktoken is great!"]) == [2, 0, 6]
    assert counter_for("gpt-4").count(["tiktoken is great!"]) == [6]


def test_a_prompt_has_its_chat_format_counted_too() -> None:
    messages = [{"role": "system", "content": "hello world"}, {"role": "user", "content": "hello world"}]
    assert counter_for("gpt-4o").messages(messages) == 2 * (2 + 4) + 3
    assert counter_for("gpt-4o").messages([]) == 3


def test_an_exact_count_has_no_spread() -> None:
    messages = [{"role": "user", "content": "hello world"}]
    assert counter_for("gpt-4o").bounds(messages) == (9, 9)


def test_the_backends_own_tokenizer_goes_before_a_vocabulary_at_hand() -> None:
    counter = counter_for("gpt-4o", lambda texts: [len(text) for text in texts])
    assert counter.count(["four", ""]) == [4, 0]
    assert counter.is_exact
    assert counter.name == "the tokenizer of gpt-4o"


def test_a_server_that_cannot_count_leaves_it_to_us() -> None:
    assert counter_for("gpt-4o", lambda texts: None).name == "o200k_base"


def test_a_tokenizer_folder_counts_for_any_model(tmp_path: Path) -> None:
    counter = counter_for(UNKNOWN, tokenizer=str(word_level_folder(tmp_path)))
    assert counter.count(["one two three", "", "one four"]) == [3, 0, 2]
    assert counter.is_exact


def test_a_tokenizer_file_serves_as_well_as_its_folder(tmp_path: Path) -> None:
    path = word_level_folder(tmp_path) / "tokenizer.json"
    assert counter_for(UNKNOWN, tokenizer=str(path)).count(["one two"]) == [2]


def test_a_tokenizer_that_cuts_and_pads_still_counts_every_token(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    pad = {
        "strategy": {"Fixed": 4},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[UNK]",
    }
    counter = counter_for(UNKNOWN, tokenizer=str(word_level_folder(tmp_path, truncation=cut, padding=pad)))
    assert counter.count(["one " * 9, "one"]) == [9, 1]


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match=r"--tokenizer .*: no tokenizer.json there; pass the folder of the model"):
        counter_for(UNKNOWN, tokenizer=str(tmp_path))


def test_a_broken_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(PairmineError, match=r"--tokenizer .*tokenizer.json is no tokenizer"):
        counter_for(UNKNOWN, tokenizer=str(tmp_path))


def test_text_that_looks_like_a_special_token_is_ordinary_text() -> None:
    assert counter_for("gpt-4o").count(["<|endoftext|>"])[0] > 1


@pytest.mark.parametrize("model", ["gpt-4o", UNKNOWN])
def test_a_lone_surrogate_does_not_stop_the_count(model: str) -> None:
    messages = [{"role": "system", "content": "\ud83d"}, {"role": "user", "content": "half \ud800 a character"}]
    low, high = counter_for(model).bounds(messages)
    assert 0 < low <= high


def test_a_lone_surrogate_does_not_stop_a_tokenizer_file(tmp_path: Path) -> None:
    assert counter_for(UNKNOWN, tokenizer=str(word_level_folder(tmp_path))).count(["one \ud800 two"]) == [3]


def test_a_huge_text_is_counted_whole() -> None:
    [count] = counter_for("gpt-4o").count(["word " * 600_000])
    assert count == pytest.approx(600_000, rel=0.001)


def test_characters_of_many_tokens_are_counted_whole() -> None:
    counter = counter_for("gpt-4o")
    one, many = counter.count(["𒀀", "𒀀" * 200_000])
    assert many == pytest.approx(one * 200_000, rel=0.001)


def test_constant_messages_are_counted_once() -> None:
    asked: list[str] = []

    def count(texts: Any) -> list[int]:
        asked.extend(texts)
        return [len(text) for text in texts]

    counter = TokenCounter("letters", count)
    for question in ("a", "bb", "ccc"):
        counter.messages([{"role": "system", "content": "be brief"}, {"role": "user", "content": question}])
    assert asked == ["be brief", "a", "bb", "ccc"]


@pytest.mark.parametrize("language", ["en", "de", "es", "ro", "el", "ru", "tr", "ar", "vi", "th", "zh", "hi"])
def test_another_models_count_lies_within_the_bounds_of_the_stand_in(language: str) -> None:
    """Voyage 3 has the vocabulary of Qwen 2, which none of the two stand-ins is."""
    import bpe_openai

    texts = texts_of("xquad", 60, language)
    other = bpe_openai.get_encoding("voyage3_base")
    counter = counter_for(UNKNOWN)
    prompts = [[{"role": "user", "content": text}] for text in texts]
    bounds = [counter.bounds(prompt) for prompt in prompts]
    assert sum(low for low, _ in bounds) < sum(len(other.encode_ordinary(text)) for text in texts)
    assert sum(len(other.encode_ordinary(text)) for text in texts) < sum(high for _, high in bounds)


def test_the_bounds_are_narrow_enough_to_be_of_use_on_english() -> None:
    texts = texts_of("scifact", 100)
    bounds = [counter_for(UNKNOWN).bounds([{"role": "user", "content": text}]) for text in texts]
    assert sum(high for _, high in bounds) < 2.2 * sum(low for low, _ in bounds)


def test_counting_keeps_up_with_any_server() -> None:
    counter = counter_for("gpt-4o")
    counter.count(["warm"])
    text = "The thermal conductivity of thin films was measured at low temperature. " * 2000
    started = time.process_time()
    counter.count([text] * 10)
    assert len(text) * 10 / (time.process_time() - started) > 2_000_000
