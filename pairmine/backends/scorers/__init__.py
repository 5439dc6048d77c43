"""Scorers: (query, document) pairs to numbers on a declared scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairmine.backends.scorers.bi_encoder import BiEncoderScorer, TextVectors
from pairmine.backends.scorers.cross_encoder import CrossEncoderScorer
from pairmine.backends.scorers.kept import KeptScorer
from pairmine.backends.scorers.protocol import CountsCuts, Scored, Scorer
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

__all__ = [
    "BiEncoderScorer",
    "CountsCuts",
    "CrossEncoderScorer",
    "KeptScorer",
    "Scored",
    "Scorer",
    "TextVectors",
    "open_scorer",
]


def open_scorer(
    spec: Spec,
    *,
    max_length: int | None = None,
    device: str | None = None,
    dtype: str = "auto",
    backend: str = "torch",
    activation: str = "sigmoid",
    trust_remote_code: bool = False,
    store: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **settings: Any,
) -> Scorer:
    """The scorer that `spec` names; `settings` are those of `open_encoder`, or what `open_likelihood` takes.

    `activation` is for cross-encoders. `store` is a folder where scores, or a bi-encoder's vectors, are looked for
    and kept; `say` takes lines for people.
    """
    tell = say or (lambda _: None)
    if spec.kind == "ql":
        from pairmine.backends.likelihood import open_likelihood

        if max_length is not None:
            raise PairmineError(f"--max-length has no effect with --scorer {spec}; leave it out")
        return open_likelihood(spec, device=device, say=tell, **settings)
    model: dict[str, Any] = {
        "max_length": max_length,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }
    if spec.kind == "ce":
        if any(settings.values()):
            raise PairmineError(f"--scorer {spec}: a cross-encoder takes no prompts")
        scorer = CrossEncoderScorer(spec, backend=backend, activation=activation, **model)
        return scorer if store is None else KeptScorer(scorer, store, tell)
    if activation != "sigmoid":
        raise PairmineError(f"--activation has no effect with --scorer {spec}; leave it out")
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.vectors.store import VectorStore

    encoder = open_encoder(spec, flag="--scorer", backend=backend, **model, **settings)
    return BiEncoderScorer(encoder, None if store is None else VectorStore(store, say=tell))
