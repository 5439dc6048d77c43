"""Scorers: (query, document) pairs to numbers on a declared scale."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from pairmine.backends.scorers.bi_encoder import BiEncoderScorer, TextVectors
from pairmine.backends.scorers.cross_encoder import CrossEncoderScorer
from pairmine.backends.scorers.kept import KeptScorer
from pairmine.backends.scorers.protocol import Closes, CountsCuts, Scored, Scorer
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

__all__ = [
    "BiEncoderScorer",
    "Closes",
    "CountsCuts",
    "CrossEncoderScorer",
    "KeptScorer",
    "Scored",
    "Scorer",
    "TextVectors",
    "open_scorer",
]

Say = Callable[[str], None]


def open_scorer(spec: Spec, *, store: str | Path | None = None, say: Say | None = None, **settings: Any) -> Scorer:
    """The scorer that `spec` names.

    `settings` are, for ce: those of `CrossEncoderScorer`, for st: of `open_encoder`, for rerank: of `RerankServer`, for
    ql: of `open_likelihood`. `store` is a folder where scores, or a bi-encoder's vectors, are looked for and kept;
    `say` takes lines for people. What is None is left to its default. Raises PairmineError for a setting that this
    kind of scorer does not have.
    """
    open_it, takes = _opener(spec.kind)
    settings = {name: value for name, value in settings.items() if value is not None}
    for name in settings:
        if name not in takes:
            raise _no_effect(spec, name)
    return open_it(spec, store, say or (lambda _: None), **settings)


def _opener(kind: str) -> tuple[Callable[..., Scorer], set[str]]:
    """What opens this kind of scorer, and the settings it takes."""
    if kind == "ce":
        return _open_cross_encoder, _parameters(CrossEncoderScorer)
    if kind == "ql":
        from pairmine.backends.likelihood import open_likelihood

        return _open_likelihood, _parameters(open_likelihood)
    if kind == "rerank":
        from pairmine.backends.rerank_servers import RerankServer

        return _open_reranker, _parameters(RerankServer)
    from pairmine.backends.encoders import open_encoder

    return _open_bi_encoder, _parameters(open_encoder)


def _parameters(function: Callable[..., object]) -> set[str]:
    return set(signature(function).parameters) - {"spec", "flag", "say"}


def _no_effect(spec: Spec, name: str) -> PairmineError:
    return PairmineError(f"--{name.replace('_', '-')} has no effect with --scorer {spec}; leave it out")


def _open_cross_encoder(spec: Spec, store: str | Path | None, say: Say, **settings: Any) -> Scorer:
    if store is None:
        return CrossEncoderScorer(spec, **settings)
    from pairmine.backends.scorers.remembered import open_kept

    return open_kept(spec, store, say, **settings)


def _open_bi_encoder(spec: Spec, store: str | Path | None, say: Say, **settings: Any) -> Scorer:
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.vectors.store import VectorStore

    encoder = open_encoder(spec, flag="--scorer", **settings)
    return BiEncoderScorer(encoder, None if store is None else VectorStore(store, say=say))


def _open_reranker(spec: Spec, store: str | Path | None, say: Say, **settings: Any) -> Scorer:
    from pairmine.backends.rerank_servers import RerankScorer, RerankServer
    from pairmine.backends.rerank_store import KeptReranker

    scorer = RerankScorer(spec, RerankServer(**settings), say=say)
    return scorer if store is None else KeptReranker(scorer, store, say)


def _open_likelihood(spec: Spec, store: str | Path | None, say: Say, **settings: Any) -> Scorer:
    from pairmine.backends.likelihood import open_likelihood

    if store is not None:
        raise _no_effect(spec, "store")
    return open_likelihood(spec, say=say, **settings)
