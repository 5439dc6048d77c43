"""Transformers models that are used as they are, loaded quietly: safetensors only, no remote code."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from pairmine.backends.models import _check_device, _hub_answers, silence
from pairmine.backends.specs import Spec, locate, weights_digest
from pairmine.errors import GAVE_UP, PairmineError


def load_plain(
    spec: Spec, flag: str, kind: str, what: str, *, device: str | None, **settings: Any
) -> tuple[Any, Any, str, dict[str, Any]]:
    """(model, tokenizer, device, what a lineage records) for the `Auto` class `kind`, ready to be asked.

    `what` is the kind of model in words, for the error line. Raises PairmineError where it cannot be
    loaded or is no such model.
    """
    folder = locate(spec, flag)
    silence()
    _check_device(device)
    import torch
    import transformers

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    local = not (os.path.isdir(folder) or _hub_answers(folder))
    known = {"trust_remote_code": False, "local_files_only": local}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **known)
        model, info = getattr(transformers, kind).from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **known, **settings
        )
    except Exception as error:
        raise _cannot_load(spec, flag, what, error) from error
    if missing := sorted(info["missing_keys"]):
        raise PairmineError(f"{flag} {spec}: is no {what} (it has no {missing[0]}); give one that was trained as such")
    model.eval().to(where)
    facts: dict[str, Any] = {"model": spec.public()}
    if digest := weights_digest(folder):
        facts["sha256"] = digest
    elif revision := getattr(model.config, "_commit_hash", None):
        facts["revision"] = revision
    return model, tokenizer, where, facts


def _cannot_load(spec: Spec, flag: str, what: str, error: Exception) -> PairmineError:
    if "sentencepiece" in str(error).lower() and importlib.util.find_spec("sentencepiece") is None:
        return PairmineError(f"{flag} {spec}: its tokenizer needs a library; pip install sentencepiece")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0][:200] if lines else type(error).__name__
    return PairmineError(
        f"{flag} {spec}: cannot be loaded as a {what} ({said}); give the folder of one that you have", exit_code=GAVE_UP
    )


def positions(model: Any, tokenizer: Any) -> int:
    """How many tokens the model reads at once; relative positions have no limit, where 512 is ours."""
    config = model.config
    found = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_source_positions")]
    limits = [value for value in [*found, tokenizer.model_max_length] if isinstance(value, int) and 0 < value < 1 << 20]
    limit = min(limits, default=512)
    padding = getattr(config, "pad_token_id", None) or 0
    roberta_like = getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
    return limit - padding - 1 if roberta_like and limit == getattr(config, "max_position_embeddings", 0) else limit
