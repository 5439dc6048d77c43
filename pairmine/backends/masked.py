"""Masked language models: they fill words of a text anew, and say which words they look at."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from pairmine.backends.models import ROW_STEP, batches
from pairmine.backends.plain_models import load_plain, positions
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

Span = tuple[int, int]
_ROWS_AT_ONCE = 64


class MaskedLM(Protocol):
    """Tokens of texts, others drawn for them, and the attention that each gets; the same text always gives the same."""

    facts: dict[str, Any]

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Where the tokens of each text start and end, in characters, as many as the model reads at once."""

    def edit(
        self, texts: Sequence[str], masked: Sequence[Sequence[int]], draws: Sequence[Sequence[float]]
    ) -> list[str]:
        """Each text with its tokens `masked`, numbers into `spans`, hidden and then drawn from what the model expects.

        `draws` are numbers in [0, 1), one for each masked token; the same number draws the same token.
        """

    def attention(self, texts: Sequence[str]) -> list[np.ndarray]:
        """For each text the attention that the first position pays to each token, (tokens,) float32."""


class TransformersMaskedLM:
    """A masked language model of the transformers library.

    All masked tokens of a text are hidden at once and drawn each on its own, as ELECTRA and DiffCSE
    do, from the full distribution. A token is drawn among those of its kind, the beginning of a word
    or its continuation, of letters or digits, so that the copy stays a text with the spacing and,
    where the model knows no capitals, the capitals of its source.

    Texts are padded to their own length, rounded up, and each draw is looked up in the cumulated
    probabilities in float64: the same text, mask and draws give the same copy whatever else is in the
    batch, measured on a CPU; between machines a draw that hits the border of two tokens may differ.
    """

    def __init__(self, spec: Spec, *, flag: str = "--mlm", device: str | None = None) -> None:
        self._model, self._tokenizer, self._device, self.facts = load_plain(
            spec,
            flag,
            "AutoModelForMaskedLM",
            "masked language model",
            device=device,
            attn_implementation="eager",
        )
        if not getattr(self._tokenizer, "is_fast", False):
            raise PairmineError(f"{flag} {spec}: its tokenizer gives no positions; give a model with a tokenizer.json")
        self._limit = positions(self._model, self._tokenizer)
        self.facts["max_length"] = self._limit

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Where the tokens of each text start and end, in characters."""
        return [[span for _, span in tokens] for _, tokens in self._encoded(texts)]

    def edit(
        self, texts: Sequence[str], masked: Sequence[Sequence[int]], draws: Sequence[Sequence[float]]
    ) -> list[str]:
        """Each text with its tokens `masked` drawn anew."""
        encoded = self._encoded(texts)
        rows = []
        for (ids, tokens), numbers in zip(encoded, masked, strict=True):
            hidden = ids.copy()
            for number in numbers:
                hidden[tokens[number][0]] = self._tokenizer.mask_token_id
            rows.append(hidden)
        drawn: list[list[int]] = [[] for _ in texts]
        places = [
            [tokens[number][0] for number in numbers] for (_, tokens), numbers in zip(encoded, masked, strict=True)
        ]
        for length, batch in self._batches(rows):
            spots = [(row, place) for row, text in enumerate(batch) for place in places[text]]
            if not spots:
                continue
            logits = self._logits([rows[text] for text in batch], length, spots)
            kinds = [self._kind(texts[text], encoded[text], number) for text in batch for number in masked[text]]
            units = [unit for text in batch for unit in draws[text]]
            found = iter(self._draw(logits, kinds, units))
            for text in batch:
                drawn[text] = [next(found) for _ in places[text]]
        return [
            self._written(text, [tokens[number][1] for number in numbers], ids)
            for text, (_, tokens), numbers, ids in zip(texts, encoded, masked, drawn, strict=True)
        ]

    def attention(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The last layer's attention of the first position, the mean of its heads, to each token."""
        import torch

        encoded = self._encoded(texts)
        found: list[np.ndarray] = [np.empty(0, np.float32) for _ in texts]
        rows = [ids for ids, _ in encoded]
        for length, batch in self._batches(rows):
            with torch.inference_mode():
                output = self._model(**self._tensors([rows[text] for text in batch], length), output_attentions=True)
            first = output.attentions[-1][:, :, 0, :].float().mean(dim=1).cpu().numpy()
            for row, text in enumerate(batch):
                found[text] = first[row, [place for place, _ in encoded[text][1]]]
        return found

    def _encoded(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, Span]]]]:
        """The ids of each text, special ones included, and for each other token its place among them and its span."""
        if not texts:
            return []
        found = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._limit,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        encoded = []
        for text, ids, offsets, special in zip(
            texts, found["input_ids"], found["offset_mapping"], found["special_tokens_mask"], strict=True
        ):
            tokens: list[tuple[int, Span]] = []
            done = 0
            for place, ((start, end), is_special) in enumerate(zip(offsets, special, strict=True)):
                while start < end and text[start].isspace():
                    start += 1
                # The bytes of one character are several tokens with one span: the first stands for them.
                if not is_special and done <= start < end:
                    tokens.append((place, (start, end)))
                    done = end
            encoded.append((ids, tokens))
        return encoded

    def _batches(self, rows: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
        if not rows:
            return []
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return [(length, found.tolist()) for length, found in batches(lengths, self._limit)]

    def _tensors(self, rows: list[list[int]], length: int) -> dict[str, Any]:
        """The rows padded to `length`, the last one repeated up to a number that always takes the same path."""
        import torch

        rows = rows + rows[-1:] * (-len(rows) % ROW_STEP)
        padding = self._tokenizer.pad_token_id or 0
        ids = [row + [padding] * (length - len(row)) for row in rows]
        seen = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
        return {
            "input_ids": torch.tensor(ids, device=self._device),
            "attention_mask": torch.tensor(seen, device=self._device),
        }

    def _logits(self, rows: list[list[int]], length: int, spots: list[tuple[int, int]]) -> np.ndarray:
        """What the model expects at each of the `spots`, (spots, vocabulary) float32.

        The last layer is as wide as the vocabulary: it sees the masked places alone, which spares
        gigabytes for models of many languages.
        """
        import torch

        padded = spots + spots[-1:] * (-len(spots) % ROW_STEP)
        row = torch.tensor([at for at, _ in padded], device=self._device)
        place = torch.tensor([at for _, at in padded], device=self._device)

        def only_masked(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden, *others = inputs
            return (hidden[row, place] if hidden.dim() == 3 else hidden, *others)

        last = self._model.get_output_embeddings()
        hook = last.register_forward_pre_hook(only_masked) if last is not None else None
        try:
            with torch.inference_mode():
                logits = self._model(**self._tensors(rows, length)).logits
        finally:
            if hook is not None:
                hook.remove()
        if logits.dim() == 3:
            logits = logits[row, place]
        found: np.ndarray = logits[: len(spots)].float().cpu().numpy()
        return found

    def _draw(self, logits: np.ndarray, kinds: Sequence[str], units: Sequence[float]) -> list[int]:
        """A token for each row of `logits`, among those of its kind, where the draw falls in the cumulated chances."""
        drawn: list[int] = []
        for start in range(0, len(logits), _ROWS_AT_ONCE):
            piece = logits[start : start + _ROWS_AT_ONCE].astype(np.float64)
            for row, kind, unit in zip(piece, kinds[start:], units[start:], strict=False):
                allowed = self._tokens_of_kind[kind]
                chances = np.exp(row[allowed] - row[allowed].max())
                summed = np.cumsum(chances)
                at = int(np.searchsorted(summed, unit * summed[-1], side="right"))
                drawn.append(int(allowed[min(at, len(allowed) - 1)]))
        return drawn

    def _kind(self, text: str, encoded: tuple[list[int], list[tuple[int, Span]]], number: int) -> str:
        ids, tokens = encoded
        place, (start, _) = tokens[number]
        if self._marks_continuations:
            begins = not self._vocabulary[ids[place]].startswith("##")
        else:
            begins = not start or not text[start - 1].isalnum()
        kind = "begin" if begins else "continue"
        return kind if len(self._tokens_of_kind[kind]) else "any"

    @cached_property
    def _vocabulary(self) -> list[str]:
        size = self._model.config.vocab_size
        known = {number: token for token, number in self._tokenizer.get_vocab().items()}
        return [known.get(number, "") for number in range(size)]

    @cached_property
    def _marks_continuations(self) -> bool:
        return any(token.startswith("##") for token in self._vocabulary)

    @cached_property
    def _surfaces(self) -> list[str]:
        """What each token puts into a text, "" for what puts no letters or digits there."""
        special = set(self._tokenizer.all_special_ids)
        found = []
        for number, token in enumerate(self._vocabulary):
            if number in special or not token:
                found.append("")
                continue
            if token.startswith("##"):
                surface = token[2:]
            elif token.startswith(("▁", "Ġ")):
                surface = self._tokenizer.convert_tokens_to_string([token]).strip().lstrip("▁Ġ")
            elif self._marks_continuations:
                surface = token
            else:
                surface = self._tokenizer.convert_tokens_to_string([token]).strip()
            found.append(surface if _is_word(surface) else "")
        return found

    @cached_property
    def _tokens_of_kind(self) -> dict[str, np.ndarray]:
        begins: list[int] = []
        continues: list[int] = []
        spaced = any(token.startswith(("▁", "Ġ")) for token in self._vocabulary)
        for number, (token, surface) in enumerate(zip(self._vocabulary, self._surfaces, strict=True)):
            if surface:
                is_begin = token.startswith(("▁", "Ġ")) if spaced else not token.startswith("##")
                (begins if is_begin else continues).append(number)
        return {
            "begin": np.array(begins, np.int64),
            "continue": np.array(continues, np.int64),
            "any": np.array(sorted(begins + continues), np.int64),
        }

    @cached_property
    def _knows_capitals(self) -> bool:
        return any(character.isupper() for surface in self._surfaces for character in surface)

    def _written(self, text: str, spans: Sequence[Span], drawn: Sequence[int]) -> str:
        """`text` with the surface of each drawn token in place of its span."""
        parts, done = [], 0
        for (start, end), token in sorted(zip(spans, drawn, strict=True)):
            surface = self._surfaces[token]
            if not self._knows_capitals:
                surface = _like(text[start:end], surface)
            parts += [text[done:start], surface]
            done = end
        return "".join([*parts, text[done:]])


def _is_word(surface: str) -> bool:
    """Whether it is all letters, digits and the marks on them, of which there is one to stand on."""
    return surface[:1].isalnum() and all(each.isalnum() or unicodedata.category(each)[0] == "M" for each in surface)


def _like(model: str, surface: str) -> str:
    if model.isupper() and len(model) > 1:
        return surface.upper()
    return surface[:1].upper() + surface[1:] if model[:1].isupper() else surface


_FAKE_WORDS = ("sun", "rain", "river", "hill", "town", "red", "green", "slow", "early", "many", "small", "north")
_FAKE_TOKEN = re.compile(r"\w+")


class FakeMaskedLM:
    """A stand-in without a model: one of twelve words for any. For trying a pipeline out and for tests of logic."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"model": "fake:"}

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """The words of each text."""
        return [[found.span() for found in _FAKE_TOKEN.finditer(text)] for text in texts]

    def edit(
        self, texts: Sequence[str], masked: Sequence[Sequence[int]], draws: Sequence[Sequence[float]]
    ) -> list[str]:
        """Each text with one of twelve words, by its draw, in place of each masked one."""
        edited = []
        for text, spans, numbers, units in zip(texts, self.spans(texts), masked, draws, strict=True):
            chosen = {
                spans[number]: _FAKE_WORDS[int(unit * len(_FAKE_WORDS))]
                for number, unit in zip(numbers, units, strict=True)
            }
            parts, done = [], 0
            for start, end in sorted(chosen):
                parts += [text[done:start], chosen[start, end]]
                done = end
            edited.append("".join([*parts, text[done:]]))
        return edited

    def attention(self, texts: Sequence[str]) -> list[np.ndarray]:
        """A number in [0, 1) for each word, the same for each place where it stands."""
        return [
            np.array([_fake_weight(text[start:end]) for start, end in spans], np.float32)
            for text, spans in zip(texts, self.spans(texts), strict=True)
        ]


def _fake_weight(word: str) -> float:
    return blake2b(word.casefold().encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] / 256


def open_masked_lm(spec: Spec, *, flag: str = "--mlm", device: str | None = None) -> MaskedLM:
    """The masked language model that `spec` names."""
    if spec.kind == "fake":
        return FakeMaskedLM()
    return TransformersMaskedLM(spec, flag=flag, device=device)
