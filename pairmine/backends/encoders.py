"""Encoders: texts to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal, Protocol

import numpy as np

from pairmine.backends.models import Advance, load, padding, run, token_lengths
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

Side = Literal["query", "document"]


class Encoder(Protocol):
    """Texts to vectors; the same text always gives the same vector."""

    facts: dict[str, Any]

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = ...) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length; (0, dim) or (0, 0) for none."""


def nothing(_: int) -> None:
    """Progress that nobody watches."""


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


class FakeEncoder:
    """A stand-in without a model: words hashed into 64 dimensions. For trying a pipeline out and for tests of logic."""

    def __init__(self, dim: int = 64) -> None:
        self._dim = dim
        self.facts: dict[str, Any] = {"model": "fake:", "dim": dim}

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Vectors of `texts`, (n, 64) float32, unit length; a text without words gets a constant vector."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        for row, text in enumerate(texts):
            for word in text.casefold().split() or [""]:
                digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                vectors[row, digest[0] % self._dim] += 1 if digest[1] % 2 else -1
                vectors[row, digest[2] % self._dim] += 0.5
            vectors[row, 0] += 1e-3
        advance(len(texts))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def open_encoder(
    spec: Spec,
    *,
    flag: str = "--retriever",
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    max_length: int | None = None,
    device: str | None = None,
) -> Encoder:
    """The encoder that `spec` names."""
    if spec.kind == "fake":
        if query_prompt or document_prompt or max_length:
            raise PairmineError(f"{flag} {spec}: takes no prompts and no maximum length")
        return FakeEncoder()
    return SentenceTransformerEncoder(
        spec,
        flag=flag,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        max_length=max_length,
        device=device,
    )
