"""Texts counted and cut in tokens on this side of a server, which often refuses a long one."""

from __future__ import annotations

import os
import re
from typing import Any, Protocol

from pairmine.errors import PairmineError

_OPENAI = re.compile(r"(openai/)?text-embedding-(3-(small|large)|ada-002)")
_VOCABULARY = "cl100k_base"
# bpe-openai refuses texts beyond 200,000 tokens, and a character is four bytes at most.
_PIECE = 50_000


class Cutter(Protocol):
    """Counts the tokens of a text as the model does, special ones included."""

    def count(self, text: str) -> int:
        """How many tokens it has."""

    def cut(self, text: str, most: int) -> tuple[str, int]:
        """The beginning of `text` that has at most so many, and how many it has."""


def cutter_for(model: str, tokenizer: str | None, *, flag: str) -> Cutter | None:
    """By `tokenizer`, a folder or a tokenizer.json, else by OpenAI's vocabulary for its models; None elsewhere."""
    if tokenizer:
        return _Tokenizer(tokenizer, flag)
    return _Bpe() if _OPENAI.fullmatch(model.lower()) else None


class _Bpe:
    def __init__(self) -> None:
        import bpe_openai

        self._vocabulary = bpe_openai.get_encoding(_VOCABULARY)

    def count(self, text: str) -> int:
        pieces = range(0, len(text), _PIECE)
        return sum(len(self._vocabulary.encode_ordinary(text[start : start + _PIECE])) for start in pieces)

    def cut(self, text: str, most: int) -> tuple[str, int]:
        ids: list[int] = []
        end = 0
        while len(ids) <= most and end < len(text):
            ids += self._vocabulary.encode_ordinary(text[end : end + _PIECE])
            end += _PIECE
        if len(ids) <= most:
            return text, len(ids)
        # The last token may be part of a character, and the rest of that is left out too.
        return self._vocabulary.decode_bytes(ids[:most]).decode("utf-8", "ignore") or " ", most


class _Tokenizer:
    def __init__(self, folder: str, flag: str) -> None:
        path = os.path.join(folder, "tokenizer.json") if os.path.isdir(folder) else folder
        if not os.path.isfile(path):
            raise PairmineError(f"--tokenizer {folder}: no tokenizer.json there; pass the folder of the model")
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_file(path)
        except Exception as error:  # the library raises nothing narrower
            raise PairmineError(f"--tokenizer {path}: {str(error).splitlines()[0][:200]}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._flag = flag

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False)) + self._special

    def cut(self, text: str, most: int) -> tuple[str, int]:
        room = most - self._special
        if room < 1:
            raise PairmineError(f"{self._flag}: --max-length {most} leaves no room beside the special tokens")
        found = self._tokenizer.encode(text, add_special_tokens=False)
        while len(found) > room:  # once, unless the end of what is left makes tokens of its own
            end = found.offsets[room - 1][1]
            text = text[: min(end, len(text) - 1)]
            found = self._tokenizer.encode(text, add_special_tokens=False)
        return text or " ", len(found) + self._special
