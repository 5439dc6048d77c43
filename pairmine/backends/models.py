"""Sentence-transformers models, loaded quietly and run so that a text's result never depends on its neighbours.

A forward pass pads its batch, and the padded length changes the last bits of every result in it.
Here texts are grouped by their length in tokens, rounded up to a multiple of 16, and padded to
just that: then the same text gives the same bits whatever batch it falls into, in whatever order,
with one thread or several (measured on MiniLM; tests hold it there).
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pairmine.backends.specs import Spec, cannot_load, locate, weights_digest

Advance = Callable[[int], None]
LENGTH_STEP = 16
TOKENS_PER_BATCH = 4096
_PIECE = 16_384


def silence() -> None:
    """Keep the libraries' own bars and notices off stderr, where ours are."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", module="transformers|torch|sentence_transformers|huggingface_hub")
    for name in ("transformers", "sentence_transformers", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils import logging as own

    own.set_verbosity_error()
    own.disable_progress_bar()


def use_threads(workers: int) -> None:
    """Let torch use this many threads; 0 leaves its own choice."""
    if workers:
        import torch

        torch.set_num_threads(workers)


def load(
    spec: Spec, flag: str, *, device: str | None, max_length: int | None, cross: bool
) -> tuple[Any, dict[str, Any]]:
    """The model of `spec` and what a lineage records of it; safetensors only, no remote code."""
    folder = locate(spec, flag)
    silence()
    try:
        if cross:
            from sentence_transformers import CrossEncoder as Model
        else:
            from sentence_transformers import SentenceTransformer as Model

        model = Model(folder, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except Exception as error:
        raise cannot_load(spec, flag, error) from error
    if max_length:
        model.max_seq_length = max_length
    facts = {"model": spec.public(), "max_length": getattr(model, "max_seq_length", None)}
    if digest := weights_digest(folder):
        facts["sha256"] = digest
    return model, facts


def batches(lengths: np.ndarray, limit: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Rows grouped by padded length, shortest first: (padded length, rows) of about `TOKENS_PER_BATCH` tokens."""
    clipped = np.minimum(lengths, limit) if limit else lengths
    padded = np.maximum(-(-clipped // LENGTH_STEP), 1) * LENGTH_STEP
    order = np.argsort(padded, kind="stable")
    values, starts = np.unique(padded[order], return_index=True)
    for length, start, end in zip(values, starts, [*starts[1:], len(order)], strict=True):
        size = max(1, TOKENS_PER_BATCH // int(length))
        for at in range(start, end, size):
            yield int(length), order[at : min(at + size, end)]


def run(
    inputs: Sequence[Any],
    lengths: Callable[[Sequence[Any]], np.ndarray],
    forward: Callable[[list[Any]], np.ndarray],
    limit: int | None,
    advance: Advance,
) -> np.ndarray:
    """`forward` over all `inputs` in batches of one padded length; results in input order."""
    results: np.ndarray | None = None
    for start in range(0, len(inputs), _PIECE):
        piece = inputs[start : start + _PIECE]
        for _, rows in batches(lengths(piece), limit):
            found = forward([piece[row] for row in rows])
            if results is None:
                results = np.empty((len(inputs), *found.shape[1:]), np.float32)
            results[start + rows] = found
            advance(len(rows))
    return results if results is not None else np.empty(0, np.float32)


def token_lengths(tokenizer: Any, limit: int | None) -> Callable[[Sequence[Any]], np.ndarray]:
    """A function that counts the tokens of texts, or of (query, document) pairs, special ones included."""

    def count(inputs: Sequence[Any]) -> np.ndarray:
        if inputs and isinstance(inputs[0], tuple):
            sides: tuple[list[str], ...] = tuple(list(side) for side in zip(*inputs, strict=True))
        else:
            sides = (list(inputs),)
        found = tokenizer(*sides, truncation=limit is not None, max_length=limit, padding=False, return_length=False)
        return np.fromiter(map(len, found["input_ids"]), np.int64, len(inputs))

    return count


PADDING = {"text": {"pad_to_multiple_of": LENGTH_STEP}}
