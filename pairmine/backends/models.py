"""Sentence-transformers models, loaded quietly and run so that a text's result never depends on its neighbours.

A forward pass pads its batch, and the padded length changes the last bits of every result in it.
Here texts are grouped by their length in tokens, rounded up to a multiple of 16, and padded to
just that: then the same text gives the same bits whatever batch it falls into, in whatever order,
with one thread or several (measured on MiniLM; tests hold it there). Texts at a model's limit are
padded to the limit, which need not be a multiple of 16. The number of texts in a batch matters as
well: a layer behind the pooling sees one row per text, and matrix products take the last rows of
a number that is no multiple of 4 on another path. So the last text is repeated up to a multiple.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.backends.devices import check_device, find_devices
from pairmine.backends.precision import choose_dtype, keep_head, lower
from pairmine.backends.specs import Spec, cannot_load, locate, weights_digest
from pairmine.errors import PairmineError

_log = logging.getLogger(__name__)
Advance = Callable[[int], None]
LENGTH_STEP = 16
ROW_STEP = 4
TOKENS_PER_BATCH = 4096
PIECE = 16_384
"""So many inputs are tokenised, and sorted by length, at once."""


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
    spec: Spec,
    flag: str,
    *,
    device: str | None,
    max_length: int | None,
    cross: bool,
    dtype: str = "float32",
    truncate_dim: int | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """The model of `spec` and what a lineage records of it; safetensors only, no remote code unless allowed.

    With a `dtype` of 16 bits the model must be run within `precision.products`. Of several devices the first
    gets it. `truncate_dim` is for bi-encoders.
    """
    import torch

    folder = locate(spec, flag)
    silence()
    devices = find_devices(device)
    dtype = choose_dtype(dtype, torch.device(devices[0]).type)
    if cross:
        _check_kind(spec, flag, _architectures(folder), cross=True)
    try:
        if cross:
            from sentence_transformers import CrossEncoder as Model
        else:
            from sentence_transformers import SentenceTransformer as Model

        model = Model(
            folder,
            device=devices[0],
            trust_remote_code=trust_remote_code,
            local_files_only=not (os.path.isdir(folder) or _hub_answers(folder)),
            model_kwargs={"use_safetensors": True, "dtype": torch.float32 if dtype == "float32" else "auto"},
            **({"truncate_dim": truncate_dim} if truncate_dim else {}),
        )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise PairmineError(
                f"{flag} {spec}: runs Python code of its own; read it, then pass --trust-remote-code"
            ) from error
        raise cannot_load(spec, flag, error) from error
    config = getattr(model.transformers_model, "config", None)
    _check_kind(spec, flag, getattr(config, "architectures", None) or [], cross=cross)
    if max_length:
        _set_max_length(model, max_length, config)
    if dtype != "float32" and model.transformers_model is not None:
        lower(model.transformers_model, dtype)
        if cross:
            keep_head(model.transformers_model)
    facts = {"model": spec.public(), "max_length": model.max_seq_length, "dtype": dtype}
    if digest := weights_digest(folder):
        facts["sha256"] = digest
    elif revision := getattr(config, "_commit_hash", None):
        facts["revision"] = revision
    if trust_remote_code and (code := _code_digest(folder)):
        facts["code_sha256"] = code
    _log.info(
        "model %s from %s on %s, %s, sha256 %s", spec.public(), folder, devices[0], dtype, str(digest or "unknown")[:16]
    )
    return model, facts


def _code_digest(folder: str) -> str | None:
    """The SHA-256 of the Python files in a model's folder, None without any."""
    files = sorted(Path(folder).rglob("*.py")) if os.path.isdir(folder) else []
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest() if files else None


def _check_device(device: str | None) -> None:
    if device is not None:
        check_device(device)


def _hub_answers(name: str) -> bool:
    """False where the model hub cannot be reached: then only its local cache is worth a look.

    Without this question the libraries try again and again, for 80 seconds in all.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(name, timeout=10)
    except (HfHubHTTPError, HFValidationError):
        return True
    except Exception:
        return False
    return True


def _architectures(folder: str) -> list[str]:
    """What a local model says that it is, before it is loaded; nothing where that is not told."""
    try:
        return [str(each) for each in json.loads(Path(folder, "config.json").read_text("utf-8"))["architectures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _check_kind(spec: Spec, flag: str, architectures: Sequence[str], *, cross: bool) -> None:
    """A bi-encoder read as a cross-encoder gets an untrained head with random scores; the reverse is no better."""
    has_head = any(name.endswith("ForSequenceClassification") for name in architectures)
    causal = any(name.endswith(("ForCausalLM", "ForConditionalGeneration")) for name in architectures)
    if cross and causal:
        raise PairmineError(
            f"{flag} {spec}: is a language model ({architectures[0]}), no cross-encoder with a head for scores; "
            "serve it with vLLM and score by rerank:, or ask it as a judge with vllm:"
        )
    if cross and architectures and not has_head:
        raise PairmineError(
            f"{flag} {spec}: is no cross-encoder ({architectures[0]} has no head for scores); a bi-encoder is st:"
        )
    if not cross and has_head:
        raise PairmineError(f"{flag} {spec}: is a cross-encoder or classifier ({architectures[0]}), no bi-encoder")


def _set_max_length(model: Any, max_length: int, config: Any) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions and max_length > positions:
        raise PairmineError(f"--max-length {max_length}: this model has {positions} positions; give that or less")
    model.max_seq_length = max_length


def batches(lengths: np.ndarray, limit: int | None, tokens: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Rows grouped by padded length, shortest first: (padded length, rows) of about so many tokens."""
    clipped = np.minimum(lengths, limit) if limit else lengths
    padded = np.maximum(-(-clipped // LENGTH_STEP), 1) * LENGTH_STEP
    padded = np.minimum(padded, limit) if limit else padded
    order = np.argsort(padded, kind="stable")
    values, starts = np.unique(padded[order], return_index=True)
    for length, start, end in zip(values, starts, [*starts[1:], len(order)], strict=True):
        size = max((tokens or TOKENS_PER_BATCH) // int(length) // ROW_STEP, 1) * ROW_STEP
        for at in range(start, end, size):
            yield int(length), order[at : min(at + size, end)]


def token_lengths(tokenizer: Any, limit: int | None) -> Callable[[Sequence[Any]], np.ndarray]:
    """A function that counts the tokens of texts, special ones included."""

    def count(inputs: Sequence[Any]) -> np.ndarray:
        found = tokenizer(list(inputs), truncation=limit is not None, max_length=limit, padding=False)
        return np.fromiter(map(len, found["input_ids"]), np.int64, len(inputs))

    return count


def padding(length: int) -> dict[str, dict[str, Any]]:
    """The tokenizer's settings that pad texts of up to `length` tokens to just that."""
    return {"text": {"padding": "max_length", "max_length": length, "truncation": True}}
