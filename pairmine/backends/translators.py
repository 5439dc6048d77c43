"""Translation models: texts in one language to texts in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qsl

import numpy as np

from pairmine.backends.models import ROW_STEP, batches
from pairmine.backends.plain_models import load_plain, positions
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

_BEAMS = 4
_SETTINGS = ("from", "to", "prefix")


class Translator(Protocol):
    """Texts to translations; the same text always gives the same ones."""

    facts: dict[str, Any]

    def translate(self, texts: Sequence[str], count: int = 1) -> list[list[str]]:
        """Up to `count` translations of each text, the best first."""


class TransformersTranslator:
    """A sequence-to-sequence model of the transformers library, by beam search, nothing drawn.

    Models of many languages take their codes behind a question mark, and T5 its task in words:
    mt:facebook/nllb-200-distilled-600M?from=eng_Latn&to=deu_Latn, mt:t5-small?prefix=translate English to German:

    Texts are padded to their own length, rounded up, so what else is in the batch changes nothing
    but the last bits of a number, where two beams as good as equal may change places.
    """

    def __init__(self, spec: Spec, *, flag: str = "--translator", device: str | None = None) -> None:
        target, _, written = spec.target.partition("?")
        settings = dict(parse_qsl(written, keep_blank_values=True))
        if unknown := next((name for name in settings if name not in _SETTINGS), None):
            raise PairmineError(f"{flag} {spec}: there is no {unknown!r}; known: {', '.join(_SETTINGS)}")
        self._model, self._tokenizer, self._device, self.facts = load_plain(
            replace(spec, target=target), flag, "AutoModelForSeq2SeqLM", "translation model", device=device
        )
        self._limit = positions(self._model, self._tokenizer)
        self._prefix = settings["prefix"].rstrip() + " " if settings.get("prefix") else ""
        self._first: int | None = None
        self._set_languages(spec, flag, settings)
        self.facts |= {"beams": _BEAMS, "max_length": self._limit, **settings}

    def _set_languages(self, spec: Spec, flag: str, settings: dict[str, str]) -> None:
        for name in ("from", "to"):
            code = settings.get(name)
            if not code:
                continue
            number = self._tokenizer.convert_tokens_to_ids(code)
            if number is None or number == self._tokenizer.unk_token_id:
                raise PairmineError(f"{flag} {spec}: the model knows no language {code!r}; its card lists the codes")
            if name == "from":
                self._tokenizer.src_lang = code
            else:
                self._first = number

    def translate(self, texts: Sequence[str], count: int = 1) -> list[list[str]]:
        """Up to `count` translations of each text, the best first; a long text is cut to what the model reads."""
        import torch

        if not texts:
            return []
        found: list[list[str]] = [[] for _ in texts]
        rows = self._tokenizer([self._prefix + text for text in texts], truncation=True, max_length=self._limit)[
            "input_ids"
        ]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        beams = max(_BEAMS, count)
        first = {} if self._first is None else {"forced_bos_token_id": self._first}
        for length, batch in batches(lengths, self._limit):
            numbers = batch.tolist()
            with torch.inference_mode():
                written = self._model.generate(
                    **self._tensors([rows[number] for number in numbers], length),
                    num_beams=beams,
                    num_return_sequences=count,
                    do_sample=False,
                    max_new_tokens=min(self._limit - 1, 2 * length + 16),
                    **first,
                )
            decoded = self._tokenizer.batch_decode(written, skip_special_tokens=True)
            for row, number in enumerate(numbers):
                found[number] = [text.strip() for text in decoded[row * count : (row + 1) * count]]
        return found

    def _tensors(self, rows: list[list[int]], length: int) -> dict[str, Any]:
        import torch

        rows = rows + rows[-1:] * (-len(rows) % ROW_STEP)
        padding = self._tokenizer.pad_token_id or 0
        return {
            "input_ids": torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=self._device),
            "attention_mask": torch.tensor(
                [[1] * len(row) + [0] * (length - len(row)) for row in rows], device=self._device
            ),
        }


class FakeTranslator:
    """A stand-in without a model: the words in reverse order. For trying a pipeline out and for tests of logic."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"model": "fake:"}

    def translate(self, texts: Sequence[str], count: int = 1) -> list[list[str]]:
        """Each text's words backwards, then the same with the first, the second, ... word left out."""
        found = []
        for text in texts:
            backwards = text.split()[::-1]
            found.append(
                [" ".join(backwards[:at] + backwards[at + 1 :]) for at in (len(backwards), *range(len(backwards)))][
                    :count
                ]
            )
        return found


def open_translator(spec: Spec, *, flag: str = "--translator", device: str | None = None) -> Translator:
    """The translation model that `spec` names."""
    if spec.kind == "fake":
        return FakeTranslator()
    return TransformersTranslator(spec, flag=flag, device=device)
