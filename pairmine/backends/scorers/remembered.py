"""A cross-encoder that is loaded only when it is asked: its store remembers what it was when it was loaded last.

To know where a model's scores lie one must know its type, its length and more that only a loaded model tells. That
takes seconds, for nothing where every score is there. So it is noted in the store, under all that it follows from:
the model's files, the options, the versions of the libraries, and the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.backends.encoders.protocol import nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers.cross_encoder import SCHEME, CrossEncoderScorer
from pairmine.backends.scorers.kept import KeptScorer
from pairmine.backends.scorers.protocol import Scored
from pairmine.backends.specs import Spec, locate, weights_digest
from pairmine.backends.vectors.shards import put_whole
from pairmine.backends.vectors.store import checked_folder
from pairmine.errors import GAVE_UP, PairmineError

_FOLDER = "models"
_LIBRARIES = ("pairmine", "torch", "transformers", "sentence-transformers", "tokenizers")
_ACCELERATORS = ("nvidia*", "kfd")
"""By their names in /dev."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def open_kept(spec: Spec, folder: str | Path, say: Callable[[str], None], **options: Any) -> KeptScorer:
    """The cross-encoder of `spec` with its scores in `folder`, not loaded before one is missing if it is known there.

    `options` are those of `CrossEncoderScorer`. A model that is not known yet, or that neither a digest of its files
    nor a revision tells from others, is loaded at once.
    """

    def load() -> CrossEncoderScorer:
        return CrossEncoderScorer(spec, **options)

    note = _note_of(spec, checked_folder(folder), options)
    if note is None:
        return KeptScorer(load(), folder, say)
    if known := _read(note):
        return KeptScorer(RememberedCrossEncoder(known, load, note), folder, say)
    scorer = load()
    _write(note, scorer)
    return KeptScorer(scorer, folder, say)


class RememberedCrossEncoder:
    """What the note `known` says of a cross-encoder; `load` gives the model itself, when the first score is missing."""

    def __init__(self, known: dict[str, Any], load: Callable[[], CrossEncoderScorer], note: Path) -> None:
        self.facts: dict[str, Any] = known["facts"]
        self.scale: str = known["scale"]
        self.max_length: int | None = known["max_length"]
        self._identity: dict[str, Any] = known["identity"]
        self._load = load
        self._note = note
        self._scorer: CrossEncoderScorer | None = None

    def identity(self) -> dict[str, Any]:
        """All that a score depends on beside its two texts."""
        return self._identity

    def parts(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, Scored]]:
        """Some of the pairs, (m,), and what the model says of them, batch by batch."""
        if self._scorer is None:
            self._scorer = self._load()
            if self._scorer.identity() != self._identity:
                with contextlib.suppress(OSError):
                    self._note.unlink(missing_ok=True)
                raise PairmineError(
                    f"{self.facts['model']}: is loaded otherwise than the last time; run the same command again",
                    exit_code=GAVE_UP,
                )
        return self._scorer.parts(queries, documents, advance)


def _note_of(spec: Spec, store: Path, options: dict[str, Any]) -> Path | None:
    """The file that knows this model, loaded so, on this machine; None where that cannot be told beforehand."""
    if options.get("backend", "torch") != "torch" or options.get("trust_remote_code") or sys.platform != "linux":
        return None
    where = locate(spec, options.get("flag", "--scorer"))
    weights = weights_digest(where) or _revision(where)
    if weights is None:
        return None
    follows_from = {
        "model": spec.public(),
        "weights": weights,
        "scheme": SCHEME,
        "options": options,
        "versions": {name: _version(name) for name in _LIBRARIES},
        "machine": _machine(),
    }
    text = json.dumps(follows_from, sort_keys=True, default=str)
    return store / _FOLDER / f"{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}.json"


def _revision(name: str) -> str | None:
    """The commit of a model on the hub, or where that cannot be asked in its local cache; None where neither is."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    with contextlib.suppress(Exception):  # each way of being away raises its own
        return HfApi().model_info(name, timeout=10).sha
    with contextlib.suppress(ValueError):
        found = try_to_load_from_cache(name, "config.json")
        return Path(found).parent.name if isinstance(found, str) else None
    return None


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _machine() -> dict[str, Any]:
    """What decides where a model runs and in which type: the processor's features, and the accelerators in sight."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    there = sorted(str(path) for name in _ACCELERATORS for path in Path("/dev").glob(name))
    return {"features": features, "accelerators": there, "visible": {name: os.environ.get(name) for name in _VISIBLE}}


def _read(note: Path) -> dict[str, Any]:
    """What a note says; nothing where there is none, or no whole one."""
    try:
        body = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    names = {"facts", "identity", "scale", "max_length"}
    return body if isinstance(body, dict) and names <= body.keys() else {}


def _write(note: Path, scorer: CrossEncoderScorer) -> None:
    """Note what a loaded model is, where that can be written."""
    body = {name: getattr(scorer, name) for name in ("facts", "scale", "max_length")} | {"identity": scorer.identity()}
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with put_whole(note) as handle:
            handle.write(json.dumps(body, indent=2).encode())
