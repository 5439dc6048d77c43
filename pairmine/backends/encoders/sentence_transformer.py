"""Bi-encoders that sentence-transformers loads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pairmine.backends.encoders.protocol import Side, nothing
from pairmine.backends.models import Advance, load, padding, run, token_lengths
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError


class SentenceTransformerEncoder:
    """A sentence-transformers bi-encoder; prompts are texts put in front, or names that the model's config knows.

    Without either, the model's own query and document prompts are used where it has them.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        flag: str = "--retriever",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        device: str | None = None,
    ) -> None:
        self._model, self.facts = load(spec, flag, device=device, max_length=max_length, cross=False)
        own = getattr(self._model, "prompts", None) or {}
        self._prompts = {
            "query": _prompt(query_prompt, own, ("query",)),
            "document": _prompt(document_prompt, own, ("document", "passage", "corpus")),
        }
        self.facts["prompts"] = {side: prompt for side, prompt in self._prompts.items() if prompt}

    def identity(self, side: Side) -> dict[str, Any]:
        """All that a vector depends on beside its text."""
        return {**self.facts, "prompt": self._prompts[side]}

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of `texts`, all at once."""
        yield np.arange(len(texts)), self.encode(texts, side, advance)

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length."""
        model, prompt = self._model, self._prompts[side]
        encode = model.encode_query if side == "query" else model.encode_document
        padded = model.transformers_model is not None
        limit = model.max_seq_length if padded else None

        def forward(batch: list[str], length: int) -> np.ndarray:
            options = {"processing_kwargs": padding(length)} if padded else {}
            found = encode(
                batch,
                prompt=prompt,
                batch_size=len(batch),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
                **options,
            )
            return np.asarray(found, np.float32)

        if padded:
            count = token_lengths(model.tokenizer, limit)
            vectors = run(texts, lambda piece: count([prompt + text for text in piece]), forward, limit, advance)
        else:
            vectors = run(texts, lambda piece: np.ones(len(piece), np.int64), forward, None, advance)
        if vectors.ndim != 2:
            return np.empty((0, 0), np.float32)
        broken = np.flatnonzero(~np.isfinite(vectors.sum(axis=1)))
        if len(broken):
            shown = texts[int(broken[0])][:40]
            raise PairmineError(
                f'{self.facts["model"]}: the vectors of {len(broken)} texts are not finite, the first for "{shown}"'
            )
        return vectors


def _prompt(given: str | None, own: dict[str, str], names: tuple[str, ...]) -> str:
    """The prompt text: `given` as a name of the model's own prompts or as text, else the model's own for this side."""
    if given is not None:
        return own.get(given) or given
    return next((own[name] for name in names if own.get(name)), "")
