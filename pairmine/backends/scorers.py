"""Scorers: (query, document) pairs to numbers on a declared scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pairmine.backends.encoders import Encoder, nothing
from pairmine.backends.models import PADDING, Advance, load, run, token_lengths
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError


class Scorer(Protocol):
    """Scores pairs; the same pair always gets the same score."""

    facts: dict[str, Any]
    scale: str

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = ...) -> np.ndarray:
        """One score per pair, (n,) float32; the two sequences run side by side."""


class CrossEncoderScorer:
    """A cross-encoder with one output, as a probability: the sigmoid of its logit, whatever its config says."""

    scale = "probability"

    def __init__(
        self, spec: Spec, *, flag: str = "--scorer", max_length: int | None = None, device: str | None = None
    ) -> None:
        self._model, self.facts = load(spec, flag, device=device, max_length=max_length, cross=True)
        labels = self._model.num_labels
        if labels != 1:
            raise PairmineError(
                f"{flag} {spec}: has {labels} outputs, so it is a classifier; a cross-encoder for scores has one"
            )
        self.facts["scale"] = self.scale

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """Probabilities that the documents answer the queries, (n,) float32 in [0, 1]."""
        import torch

        model = self._model
        limit = model.max_seq_length or None

        def forward(batch: list[tuple[str, str]]) -> np.ndarray:
            found = model.predict(
                batch,
                batch_size=len(batch),
                activation_fn=torch.nn.Sigmoid(),
                show_progress_bar=False,
                convert_to_numpy=True,
                processing_kwargs=PADDING,
            )
            return np.asarray(found, np.float32)

        pairs = list(zip(queries, documents, strict=True))
        return run(pairs, token_lengths(model.tokenizer, limit), forward, limit, advance)


class BiEncoderScorer:
    """The cosine of a bi-encoder's query and document vectors; each distinct text is embedded once a call."""

    scale = "cosine"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.facts = {**encoder.facts, "scale": self.scale}

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """Cosines, (n,) float32 in [-1, 1]."""
        if not queries:
            return np.empty(0, np.float32)
        query_texts, query_rows = _distinct(queries)
        document_texts, document_rows = _distinct(documents)
        query_vectors = self._encoder.encode(query_texts, "query")
        document_vectors = self._encoder.encode(document_texts, "document")
        scores = row_products(query_vectors, document_vectors, query_rows, document_rows)
        advance(len(queries))
        return scores


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    place: dict[str, int] = {}
    rows = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
    return list(place), rows


def row_products(one: np.ndarray, other: np.ndarray, one_rows: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
    """Inner products of `one[one_rows]` and `other[other_rows]`, (n,) float32.

    Each is summed by itself, in the same order whoever stands beside it, so that a score is
    the same in every batch. Small pieces stay in the processor's cache.
    """
    products = np.empty(len(one_rows), np.float32)
    step = 4096
    for start in range(0, len(one_rows), step):
        end = start + step
        np.einsum("ij,ij->i", one[one_rows[start:end]], other[other_rows[start:end]], out=products[start:end])
    return products


def open_scorer(
    spec: Spec, *, max_length: int | None = None, device: str | None = None, **prompts: str | None
) -> Scorer:
    """The scorer that `spec` names."""
    from pairmine.backends.encoders import open_encoder

    if spec.kind == "ce":
        if any(prompts.values()):
            raise PairmineError(f"--scorer {spec}: a cross-encoder takes no prompts")
        return CrossEncoderScorer(spec, max_length=max_length, device=device)
    return BiEncoderScorer(open_encoder(spec, flag="--scorer", max_length=max_length, device=device, **prompts))
