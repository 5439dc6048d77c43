"""Scorers: (query, document) pairs to numbers on a declared scale."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from pairmine.backends.encoders import Encoder, Side, nothing
from pairmine.backends.models import Advance, load, padding, run, token_lengths
from pairmine.backends.precision import products
from pairmine.backends.specs import Spec
from pairmine.backends.vectors.exact import row_products
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
        self,
        spec: Spec,
        *,
        flag: str = "--scorer",
        max_length: int | None = None,
        device: str | None = None,
        dtype: str = "float32",
        trust_remote_code: bool = False,
    ) -> None:
        self._model, self.facts = load(
            spec,
            flag,
            device=device,
            max_length=max_length,
            cross=True,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
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

        def forward(batch: list[tuple[str, str]], length: int) -> np.ndarray:
            with products(self.facts["dtype"], model.device.type):
                logits = model.predict(
                    batch,
                    batch_size=len(batch),
                    activation_fn=torch.nn.Identity(),
                    show_progress_bar=False,
                    convert_to_tensor=True,
                    processing_kwargs=padding(length),
                )
            return _sigmoid(logits.double().cpu().numpy())

        pairs = list(zip(queries, documents, strict=True))
        return run(pairs, token_lengths(model.tokenizer, limit), forward, limit, advance)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """In float64, since torch's own float32 one gives a batch's last elements other bits than the first."""
    return (1 / (1 + np.exp(-np.clip(logits, -700, 700)))).astype(np.float32)


class BiEncoderScorer:
    """The cosine of a bi-encoder's query and document vectors.

    A document stands beside many queries, in one chunk of a pair set after the other, so vectors
    are kept from call to call, up to `_KEPT_BYTES` a side.
    """

    scale = "cosine"

    def __init__(self, encoder: Encoder) -> None:
        self._queries = TextVectors(encoder, "query")
        self._documents = TextVectors(encoder, "document")
        self.facts = {**encoder.facts, "scale": self.scale}

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """Cosines, (n,) float32 in [-1, 1]."""
        if not queries:
            return np.empty(0, np.float32)
        query_vectors, query_rows = self._queries.of(queries)
        document_vectors, document_rows = self._documents.of(documents)
        scores = row_products(query_vectors, document_vectors, query_rows, document_rows)
        advance(len(queries))
        return scores


_KEPT_BYTES = 1 << 30


class TextVectors:
    """The vectors of one side's texts; each text is embedded once while there is room to keep them."""

    def __init__(self, encoder: Encoder, side: Side) -> None:
        self._encoder = encoder
        self._side = side
        self._kept: dict[bytes, np.ndarray] = {}
        self._bytes = 0

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self._encoder.encode([""], self._side).shape[1])

    def of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of the distinct texts, (m, dim), and the row of each text, (n,)."""
        distinct, rows = _distinct(texts)
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in distinct]
        new = [at for at, key in enumerate(keys) if key not in self._kept]
        fresh = self._encoder.encode([distinct[at] for at in new], self._side)
        dim = fresh.shape[1] if new else len(self._kept[keys[0]])
        vectors = np.empty((len(distinct), dim), np.float32)
        vectors[new] = fresh.reshape(len(new), dim)
        old = np.setdiff1d(np.arange(len(distinct)), new)
        for at in old:
            vectors[at] = self._kept[keys[at]]
        for at, vector in zip(new, fresh, strict=True):
            if self._bytes < _KEPT_BYTES:
                self._kept[keys[at]] = vector.copy()
                self._bytes += vector.nbytes
        return vectors, rows


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    place: dict[str, int] = {}
    rows = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
    return list(place), rows


def open_scorer(
    spec: Spec,
    *,
    max_length: int | None = None,
    device: str | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    **settings: Any,
) -> Scorer:
    """The scorer that `spec` names; `settings` are those of `open_encoder`, or what `open_likelihood` takes.

    The `dtype` "auto" is float32 for a cross-encoder.
    """
    from pairmine.backends.encoders import open_encoder

    if spec.kind == "ql":
        from pairmine.backends.likelihood import open_likelihood

        if max_length is not None:
            raise PairmineError(f"--max-length has no effect with --scorer {spec}; leave it out")
        return open_likelihood(spec, device=device, **settings)
    if spec.kind == "ce":
        if any(settings.values()):
            raise PairmineError(f"--scorer {spec}: a cross-encoder takes no prompts")
        return CrossEncoderScorer(
            spec,
            max_length=max_length,
            device=device,
            dtype="float32" if dtype == "auto" else dtype,
            trust_remote_code=trust_remote_code,
        )
    encoder = open_encoder(
        spec,
        flag="--scorer",
        max_length=max_length,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        **settings,
    )
    return BiEncoderScorer(encoder)
