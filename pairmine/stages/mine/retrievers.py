"""Retrievers by their specs: parsed and named first, loaded after every other check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairmine import schema
from pairmine.backends import retrievers as backend
from pairmine.backends.retrievers import Retriever
from pairmine.backends.specs import DENSE, Spec, locate, parse_spec, slug
from pairmine.errors import PairmineError

_FLAG = "--retriever"
KINDS = ("st", "openai", "bm25", "npy", "run", "fake")


def open_retriever(spec: Spec | str, *, score: str | None = None, threads: int = 0, **settings: Any) -> Retriever:
    """The retriever that `spec` names: one of `KINDS`, also as "NAME=SPEC".

    `score` names its score column without the prefix; `query_prompt`, `document_prompt` and `max_length` are for
    models that embed. Raises PairmineError for an unknown spec or model.
    """
    if isinstance(spec, str):
        ((spec, own),) = named_specs([spec])
        score = score or own
    return backend.open_retriever(spec, score=score, threads=threads, **settings)


def named_specs(specs: Sequence[str]) -> list[tuple[Spec, str]]:
    """Each retriever's spec and the name of its score column; two of one name are an error."""
    parsed = [parse_spec(text, KINDS, _FLAG) for text in specs]
    for spec in parsed:
        if spec.kind == "st":
            locate(spec, _FLAG)
    dense = sum(spec.kind in DENSE for spec in parsed)
    named: list[tuple[Spec, str]] = []
    for text, spec in zip(specs, parsed, strict=True):
        score = _score_name(spec, dense)
        if schema.SCORE_PREFIX + score == schema.FEEDBACK:
            raise PairmineError(
                f'{_FLAG} {text} would fill the column "score_{score}", which holds something else; '
                f"give it another name, as in first={text.partition('=')[2]}"
            )
        if twin := next((earlier for earlier, name in named if name == score), None):
            raise PairmineError(
                f'{_FLAG} {twin} and {_FLAG} {spec} would both fill the column "score_{score}"; '
                f"give one of them another name, as in second={text.partition('=')[2] or text}"
            )
        named.append((spec, score))
    return named


def _score_name(spec: Spec, dense: int) -> str:
    """The name of a score column; that of the only dense retriever is "dense"."""
    if spec.alias or spec.kind == "bm25" or (spec.kind in DENSE and dense > 1):
        return slug(spec.name)
    return "dense" if spec.kind in DENSE else spec.kind


def checked(retrievers: Sequence[Retriever | str]) -> list[Retriever | tuple[Spec, str]]:
    """`retrievers` with each string as a spec and a score's name; nothing is loaded yet."""
    if isinstance(retrievers, str):
        retrievers = [retrievers]
    named = iter(named_specs([each for each in retrievers if isinstance(each, str)]))
    found = [next(named) if isinstance(each, str) else each for each in retrievers]
    names = [each[1] if isinstance(each, tuple) else each.score for each in found]
    if not names or len(set(names)) < len(names):
        shown = ", ".join(names) or "none"
        raise PairmineError(f"retrievers must be one or more, with different names, and are: {shown}")
    return found


def opened(retrievers: Sequence[Retriever | tuple[Spec, str]]) -> list[Retriever]:
    """What `checked` returned, with the models loaded."""
    return [open_retriever(each[0], score=each[1]) if isinstance(each, tuple) else each for each in retrievers]
