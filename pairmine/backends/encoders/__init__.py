"""Encoders: texts to unit vectors."""

from __future__ import annotations

from collections.abc import Callable

from pairmine.backends.encoders.fake import FakeEncoder
from pairmine.backends.encoders.openai_embeddings import EmbeddingServer, OpenAIEncoder
from pairmine.backends.encoders.protocol import Encoder, Side, nothing
from pairmine.backends.encoders.sentence_transformer import SentenceTransformerEncoder
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

__all__ = [
    "EmbeddingServer",
    "Encoder",
    "FakeEncoder",
    "OpenAIEncoder",
    "SentenceTransformerEncoder",
    "Side",
    "nothing",
    "open_encoder",
]


def open_encoder(
    spec: Spec,
    *,
    flag: str = "--retriever",
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    max_length: int | None = None,
    device: str | None = None,
    dtype: str = "auto",
    backend: str = "torch",
    truncate_dim: int | None = None,
    trust_remote_code: bool = False,
    server: EmbeddingServer | None = None,
    say: Callable[[str], None] | None = None,
) -> Encoder:
    """The encoder that `spec` names; the options are those of `SentenceTransformerEncoder`."""
    if spec.kind == "fake":
        if query_prompt or document_prompt or max_length:
            raise PairmineError(f"{flag} {spec}: takes no prompts and no maximum length")
        if dtype != "auto" or backend != "torch" or truncate_dim or trust_remote_code:
            raise PairmineError(
                f"{flag} {spec}: takes no --dtype, --backend, --truncate-dim or --trust-remote-code; it is no model"
            )
        return FakeEncoder()
    if spec.kind == "openai":
        if device is not None or dtype != "auto" or backend != "torch" or trust_remote_code:
            raise PairmineError(
                f"{flag} {spec}: takes no --device, --dtype, --backend or --trust-remote-code; the server chooses"
            )
        return OpenAIEncoder(
            spec,
            flag=flag,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            max_length=max_length,
            truncate_dim=truncate_dim,
            server=server,
            say=say,
        )
    return SentenceTransformerEncoder(
        spec,
        flag=flag,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        max_length=max_length,
        device=device,
        dtype=dtype,
        backend=backend,
        truncate_dim=truncate_dim,
        trust_remote_code=trust_remote_code,
    )
