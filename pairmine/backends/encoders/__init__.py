"""Encoders: texts to unit vectors."""

from __future__ import annotations

from pairmine.backends.encoders.fake import FakeEncoder
from pairmine.backends.encoders.protocol import Encoder, Side, nothing
from pairmine.backends.encoders.sentence_transformer import SentenceTransformerEncoder
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

__all__ = ["Encoder", "FakeEncoder", "SentenceTransformerEncoder", "Side", "nothing", "open_encoder"]


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
