"""Texts, or pairs of them, as tokens: made once, kept without padding, padded batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_CHUNK = 1024


class Tokens:
    """The tokens of n texts: for each input of the model its values, one text behind the other.

    `lengths` (n,) int64 are the tokens of each text, special ones included, and `is_cut` (n,) bool tells which had
    more than the model reads. `constants` are inputs that are one for all texts, as the length of a prompt that
    pooling leaves out.
    """

    def __init__(
        self, columns: dict[str, np.ndarray], lengths: np.ndarray, is_cut: np.ndarray, constants: dict[str, Any]
    ) -> None:
        self.lengths = lengths
        self.is_cut = is_cut
        self.constants = constants
        self._columns = columns
        self._starts = np.concatenate([[0], np.cumsum(lengths)])

    def padded(self, rows: np.ndarray, length: int, fill: dict[str, int], side: str) -> dict[str, np.ndarray]:
        """The inputs of some texts, (len(rows), length) int64 each, filled up on `side`, which is left or right."""
        lengths = self.lengths[rows]
        places = np.arange(length)[None, :] - (length - lengths[:, None] if side == "left" else 0)
        is_token = (places >= 0) & (places < lengths[:, None])
        at = np.where(is_token, places + self._starts[rows][:, None], 0)
        return {
            name: np.where(is_token, values[at], fill[name]).astype(np.int64) if len(values) else
            np.full((len(rows), length), fill[name], np.int64)
            for name, values in self._columns.items()
        }  # fmt: skip


class Tokenizer:
    """Tokenises as the first module of a sentence-transformers model does, and so exactly what it would read."""

    def __init__(self, module: Any) -> None:
        tokenizer = module.tokenizer
        self._module = module
        self.side: str = tokenizer.padding_side
        self.fill = {
            "input_ids": tokenizer.pad_token_id or 0,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id or 0,
        }

    def __call__(self, texts: Sequence[str] | Sequence[tuple[str, str]], prompt: str) -> Tokens:
        """The tokens of `texts` with `prompt` before each, cut at the model's limit."""
        pieces: dict[str, list[np.ndarray]] = {}
        lengths: list[np.ndarray] = []
        is_cut: list[np.ndarray] = []
        constants: dict[str, Any] = {}
        settings = {"text": {"padding": False}, "common": {"return_tensors": None}}
        for start in range(0, len(texts), _CHUNK):
            found = self._module.preprocess(
                list(texts[start : start + _CHUNK]), prompt=prompt or None, processing_kwargs=settings
            )
            lengths.append(np.fromiter(map(len, found["input_ids"]), np.int64, len(found["input_ids"])))
            is_cut.append(self._cut(found, lengths[-1]))
            for name, values in found.items():
                if isinstance(values, list):
                    flat = [value for row in values for value in row]
                    pieces.setdefault(name, []).append(np.array(flat, np.int32))
                else:
                    constants[name] = values
        columns = {name: np.concatenate(parts) for name, parts in pieces.items()}
        if not lengths:
            return Tokens(columns, np.empty(0, np.int64), np.empty(0, bool), constants)
        return Tokens(columns, np.concatenate(lengths), np.concatenate(is_cut), constants)

    def _cut(self, found: Any, lengths: np.ndarray) -> np.ndarray:
        """Which texts were cut; a tokenizer in Python does not tell, and then it is those that fill the model."""
        limit = self._module.max_seq_length
        is_full = lengths >= limit if limit else np.zeros(len(lengths), bool)
        if (told := getattr(found, "encodings", None)) is not None:
            for row in np.flatnonzero(is_full).tolist():
                is_full[row] = bool(told[row].overflowing)
        return is_full

    def is_known(self) -> bool:
        """False where the model reads other inputs than these, or another number of them than tokens."""
        found = self(["a", "a b"], "")
        return set(found._columns) <= set(self.fill) and all(
            len(values) == found.lengths.sum() for values in found._columns.values()
        )
