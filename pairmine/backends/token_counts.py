"""How many tokens a model reads of a text: `--tokenizer` of commands that measure texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.backends.specs import locate, parse_spec
from pairmine.errors import PairmineError

Count = Callable[[Sequence[str]], np.ndarray]
"""The tokens of each text, (n,) int64."""

VOCABULARIES = ("o200k_base", "cl100k_base")
_AT_ONCE = 4096


def open_token_count(value: str, flag: str = "--tokenizer") -> Count:
    """What counts by the tokenizer `value`: st:MODEL, a folder with a tokenizer.json or that file, or o200k_base.

    The special tokens that a model puts around a text count too, as they do against a trainer's maximal length;
    nothing is cut. Raises PairmineError where there is no such tokenizer.
    """
    if value in VOCABULARIES:
        return _by_vocabulary(value)
    is_spec = value.startswith("st:")
    place = locate(parse_spec(value, ("st",), flag), flag) if is_spec else value
    tokenizer = _load(place, value, flag, may_fetch=is_spec)
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def lengths(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)]

    return _in_blocks(lengths)


def _load(place: str, value: str, flag: str, *, may_fetch: bool) -> Any:
    from tokenizers import Tokenizer

    path = Path(os.path.expanduser(place))
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file() and not may_fetch:
        known = ", ".join(VOCABULARIES)
        raise PairmineError(f"{flag} {value}: no tokenizer.json there; name a folder with one, st:MODEL or {known}")
    try:
        return Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(place)
    except Exception as error:  # the library raises bare Exception
        what = " ".join(str(error).split())[:200]
        raise PairmineError(f"{flag} {value}: cannot be loaded ({what}); give a folder with a tokenizer.json") from None


def _by_vocabulary(name: str) -> Count:
    from pairmine.llm.counting import vocabulary_count

    return _in_blocks(vocabulary_count(name))


def _in_blocks(count: Callable[[Sequence[str]], list[int]]) -> Count:
    """`count` some thousand texts at a time; a lone half of a character counts as the mark that replaces it."""

    def counted(texts: Sequence[str]) -> np.ndarray:
        blocks = (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))
        return np.fromiter((size for block in blocks for size in _counted(count, block)), np.int64, len(texts))

    return counted


def _counted(count: Callable[[Sequence[str]], list[int]], texts: Sequence[str]) -> list[int]:
    try:
        return count(texts)
    except (UnicodeEncodeError, TypeError):  # the second is how `tokenizers` says it
        return count([text.encode("utf-8", "replace").decode() for text in texts])
