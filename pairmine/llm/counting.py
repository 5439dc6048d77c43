"""Prompt tokens, counted before anything is sent and without a network.

The model's own tokenizer counts where there is one. Elsewhere a vocabulary at hand stands in,
and the count is an interval.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from pairmine.errors import PairmineError
from pairmine.llm.calls import Message

Count = Callable[[Sequence[str]], list[int]]

# The chat format of the OpenAI models: a role and two marks open and close each message, and three
# tokens open the reply. ChatML (Qwen and others) takes one more a message. The long side is for
# templates that put a date or a system prompt of their own in front.
_PER_MESSAGE, _PER_REPLY = 4, 3
_MOST_PER_MESSAGE, _MOST_PER_REPLY = 8, 40

# How far other vocabularies are from the two at hand. Measured on totals over abstracts, questions,
# encyclopedia articles, code and Markdown in 18 languages with the tokenizers of Llama 3 and 4, Qwen,
# Mistral (both kinds) and DeepSeek: from 0.79 of o200k (Chinese) to 1.34 of cl100k (Vietnamese), which
# spends more on other scripts than o200k does, as poorer vocabularies do. Both ends are ours, with a margin.
_STAND_IN = "o200k_base"
_LEAST_OF_STAND_IN = 0.75
_POOR = "cl100k_base"
_MOST_OF_POOR = 1.4

_VOCABULARIES = (
    (re.compile(r"gpt-(4o|4\.1|4\.5|5|oss)(-.*)?|chatgpt-4o(-.*)?|o[134](-.*)?"), "o200k_base"),
    (re.compile(r"gpt-(4|3\.5|35)(-.*)?"), "cl100k_base"),
)

# The library refuses texts beyond 200,000 tokens, and a character is four bytes at most.
_PIECE = 50_000
_REMEMBERED = 512


class TokenCounter:
    """Counts the tokens of texts and of prompts; `name` says by what.

    `is_exact` tells that the texts are counted by the model's own tokenizer; the few tokens that its
    chat format adds are an estimate even then. `poor` counts by a vocabulary that spends more.
    """

    def __init__(self, name: str, count: Count, *, poor: Count | None = None) -> None:
        self.name = name
        self.is_exact = poor is None
        self._count = count
        self._poor = poor
        # System prompts and exemplars come again with every call.
        self._remembered = lru_cache(_REMEMBERED)(lambda text: self.count([text])[0])
        self._poor_remembered = lru_cache(_REMEMBERED)(lambda text: _clean_count(self._poor or self._count, [text])[0])

    def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without special ones; an empty text has none."""
        return _clean_count(self._count, texts)

    def messages(self, messages: Sequence[Message]) -> int:
        """The tokens of a prompt, chat format included: 4 a message and 3 to open the reply."""
        *constant, last = [message["content"] for message in messages] or [""]
        told = sum(map(self._remembered, constant)) + self.count([last])[0]
        return told + _PER_MESSAGE * len(messages) + _PER_REPLY

    def bounds(self, messages: Sequence[Message]) -> tuple[int, int]:
        """The least and the most tokens that a prompt may have; twice the same number where the count is exact."""
        expected = self.messages(messages)
        if self._poor is None:
            return expected, expected
        *constant, last = [message["content"] for message in messages] or [""]
        poor = sum(map(self._poor_remembered, constant)) + _clean_count(self._poor, [last])[0]
        most = round(_MOST_OF_POOR * poor) + _MOST_PER_MESSAGE * len(messages) + _MOST_PER_REPLY
        return round(_LEAST_OF_STAND_IN * expected), max(most, expected)


def counter_for(
    model: str, own: Callable[[list[str]], list[int] | None] | None = None, *, tokenizer: str | None = None
) -> TokenCounter:
    """The best counter at hand for `model`.

    In this order: the tokenizer.json in the folder `tokenizer`, the backend's `own` tokenizer (`LLM.count_tokens`,
    which may answer None), the vocabulary of an OpenAI model, and a stand-in whose counts are an interval.
    Raises PairmineError when `tokenizer` holds none.
    """
    if tokenizer is not None:
        return TokenCounter(f"the tokenizer of {tokenizer}", _from_folder(tokenizer))
    if own is not None and own([""]) is not None:
        return TokenCounter(f"the tokenizer of {model}", _always(own))
    if vocabulary := _vocabulary_of(model):
        return TokenCounter(vocabulary, vocabulary_count(vocabulary))
    name = f"{_STAND_IN} in place of the tokenizer of {model}"
    return TokenCounter(name, vocabulary_count(_STAND_IN), poor=vocabulary_count(_POOR))


def _vocabulary_of(model: str) -> str | None:
    """The vocabulary of an OpenAI model, also as routers ("openai/gpt-4o") and fine-tunes ("ft:...") spell it."""
    name = model.lower().removeprefix("openai/").removeprefix("ft:").partition(":")[0]
    return next((vocabulary for pattern, vocabulary in _VOCABULARIES if pattern.fullmatch(name)), None)


def _always(own: Callable[[list[str]], list[int] | None]) -> Count:
    def count(texts: Sequence[str]) -> list[int]:
        found = own(list(texts))
        assert found is not None
        return found

    return count


@lru_cache
def vocabulary_count(vocabulary: str) -> Count:
    """What counts the tokens of texts by `vocabulary`, o200k_base or cl100k_base."""
    import bpe_openai

    encode = bpe_openai.get_encoding(vocabulary).encode_ordinary

    def count(texts: Sequence[str]) -> list[int]:
        return [sum(len(encode(piece)) for piece in _pieces(text)) for text in texts]

    return count


def _pieces(text: str) -> Iterator[str]:
    """`text` cut so that the library takes it; a cut costs a token or two."""
    return (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))


def _from_folder(folder: str) -> Count:
    path = os.path.join(folder, "tokenizer.json") if os.path.isdir(folder) else folder
    if not os.path.isfile(path):
        raise PairmineError(f"--tokenizer {folder}: no tokenizer.json there; pass the folder of the model")
    tokenizer = _load(folder, path)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count


def _load(folder: str, path: str) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises bare Exception
        raise PairmineError(f"--tokenizer {folder}: {path} is no tokenizer ({error})") from error
    # Files of encoders say to cut and to pad, and every text would have the same length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _clean_count(count: Count, texts: Sequence[str]) -> list[int]:
    """`count` of `texts`, with half characters (lone surrogates) replaced where there are any."""
    try:
        return count(texts)
    except (UnicodeEncodeError, TypeError):  # the second is how `tokenizers` says it
        return count([text.encode("utf-8", "replace").decode() for text in texts])
