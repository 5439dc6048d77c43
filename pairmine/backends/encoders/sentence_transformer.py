"""Bi-encoders that sentence-transformers loads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np

from pairmine.backends import models
from pairmine.backends.devices import find_devices
from pairmine.backends.encoders.engines import Batch, deal
from pairmine.backends.encoders.protocol import Side, nothing
from pairmine.backends.encoders.runtimes import check_backend, open_runtime
from pairmine.backends.encoders.tokens import Tokenizer
from pairmine.backends.models import ROW_STEP, Advance, batches, load, padding, token_lengths
from pairmine.backends.precision import products
from pairmine.backends.specs import Spec, locate
from pairmine.errors import PairmineError

SCHEME = 1
"""How texts become vectors here; another number whenever that changes, so that kept vectors are made anew."""
GPU_TOKENS = 8
"""A batch on a GPU is so many times as large."""


class SentenceTransformerEncoder:
    """A sentence-transformers bi-encoder; prompts are texts put in front, or names that the model's config knows.

    Without either, the model's own query and document prompts are used where it has them. Several devices get a
    copy each, and batches are dealt out to them. The ONNX and OpenVINO backends run one text at a time,
    without padding, on as many threads as torch would take.
    """

    def __init__(
        self,
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
    ) -> None:
        check_backend(backend, dtype, device)
        if backend != "torch":
            device = "cpu"
        self._model, self.facts = load(
            spec,
            flag,
            device=device,
            max_length=max_length,
            cross=False,
            dtype=dtype if backend == "torch" else "float32",
            truncate_dim=truncate_dim,
            trust_remote_code=trust_remote_code,
        )
        self._devices = find_devices(device)
        self._settle(spec, flag, dtype, truncate_dim)
        self._ready = is_plain(self._model)
        self.facts["backend"] = backend
        self._apart = backend != "torch"
        self._engines = self._make_engines(spec, flag, backend, dtype)
        self._unknown = uuid4().hex
        own = getattr(self._model, "prompts", None) or {}
        self._prompts = {
            "query": _prompt(query_prompt, own, ("query",)),
            "document": _prompt(document_prompt, own, ("document", "passage", "corpus")),
        }
        self.facts["prompts"] = {side: prompt for side, prompt in self._prompts.items() if prompt}

    def _settle(self, spec: Spec, flag: str, dtype: str, truncate_dim: int | None) -> None:
        """Record what holds for this model, and raise a PairmineError for options that it does not take."""
        if self._model.transformers_model is None:
            if dtype not in ("auto", "float32"):
                raise PairmineError(f"--dtype {dtype} has no effect on {spec}, which has no layers; leave it out")
            self.facts["dtype"] = "float32"
        whole = self._model.get_embedding_dimension()
        self._truncate = self._model.truncate_dim
        if truncate_dim:
            full = _full_dimension(self._model)
            if full and truncate_dim > full:
                raise PairmineError(
                    f"--truncate-dim {truncate_dim}: the vectors of {flag} {spec} have {full} dimensions"
                )
        if self._truncate:
            self.facts["truncate_dim"] = min(self._truncate, whole or self._truncate)

    def _make_engines(self, spec: Spec, flag: str, backend: str, dtype: str) -> list[Callable[[Batch], np.ndarray]]:
        if backend == "torch":
            copies = [self._model, *(copy.deepcopy(self._model).to(name) for name in self._devices[1:])]
            make = _PlainForward if self._ready else _WholeForward
            return [
                make(model, name, self.facts["dtype"], self._truncate)
                for model, name in zip(copies, self._devices, strict=True)
            ]
        if not self._ready:
            raise PairmineError(f"--backend {backend}: {flag} {spec} is no plain text encoder; leave the option out")
        import torch

        runtime = open_runtime(
            backend, self._model[0], locate(spec, flag), self.facts, dtype=dtype, threads=torch.get_num_threads()
        )
        self.facts |= runtime.facts
        forward = _RuntimeForward(self._model, runtime, self._truncate)
        return [forward] * torch.get_num_threads()

    def identity(self, side: Side) -> dict[str, Any]:
        """All that a vector depends on beside its text.

        Weights are known by their digest or by the hub's revision. A model with neither gets another identity each
        time, so that nothing stale is ever taken for its own.
        """
        facts = {name: value for name, value in self.facts.items() if name not in ("prompts", "model")}
        if "sha256" not in facts:
            facts["model"] = self.facts["model"]
            if "revision" not in facts:
                facts["unknown_weights"] = self._unknown
        known = {"scheme": SCHEME, "unit_length": True, "prompt": self._prompts[side], **facts}
        return known if self._ready else {**known, "side": side}

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of `texts` and their vectors, batch by batch, those of like length together; equal texts once."""
        distinct, copies = _distinct(texts)
        for batch, vectors in deal(self._engines, self._batches(distinct, side), apart=self._apart):
            self._check(vectors, batch, distinct)
            rows, vectors = copies.spread(batch.rows, vectors)
            advance(len(rows))
            yield rows, vectors

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length."""
        results = np.empty((0, 0), np.float32)
        for rows, vectors in self.parts(texts, side, advance):
            if not len(results):
                results = np.empty((len(texts), vectors.shape[1]), np.float32)
            results[rows] = vectors
        return results

    def _batches(self, texts: Sequence[str], side: Side) -> Iterator[Batch]:
        """`texts` in batches of like length, ready for an engine; each piece is tokenised when its turn comes."""
        model, prompt = self._model, self._prompts[side]
        limit = model.max_seq_length if model.transformers_model is not None else None
        tokenizer = Tokenizer(model[0]) if self._ready else None
        on_gpu = self._devices[0] != "cpu"
        for start in range(0, len(texts), models.PIECE):
            piece = texts[start : start + models.PIECE]
            if tokenizer is not None:
                tokens = tokenizer(piece, prompt)
                lengths = tokens.lengths
            else:
                tokens = None
                lengths = _lengths(model, limit, piece, prompt)
            for length, rows in batches(lengths, limit, models.TOKENS_PER_BATCH * (GPU_TOKENS if on_gpu else 1)):
                whole = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % ROW_STEP)])
                if tokens is not None:
                    assert tokenizer is not None
                    yield Batch(rows + start, whole, length, tokens=tokens, fill=tokenizer.fill, pad=tokenizer.side)
                else:
                    yield Batch(
                        rows + start, whole, length, texts=[piece[row] for row in whole], side=side, prompt=prompt
                    )

    def _check(self, vectors: np.ndarray, batch: Batch, texts: Sequence[str]) -> None:
        broken = np.flatnonzero(~np.isfinite(vectors.sum(axis=1)))
        if len(broken):
            shown = texts[int(batch.rows[broken[0]])][:40]
            way = "; try --dtype float32" if self.facts["dtype"] == "float16" else ""
            raise PairmineError(f'{self.facts["model"]}: a vector is not finite, for the text "{shown}"{way}')


class _PlainForward:
    """Tokens through the modules of a model, on one device; the transformer in `dtype`, what follows in float32."""

    def __init__(self, model: Any, device: str, dtype: str, truncate: int | None) -> None:
        self._model = model
        self._device = device
        self._kind = device.partition(":")[0]
        self._dtype = dtype
        self._truncate = truncate

    def __call__(self, batch: Batch) -> np.ndarray:
        """The vectors of a batch, (n, dim) float32, unit length."""
        import torch

        assert batch.tokens is not None
        inputs = batch.tokens.padded(batch.whole, batch.length, batch.fill, batch.pad)
        with torch.inference_mode():
            features: dict[str, Any] = dict(batch.tokens.constants)
            features |= {name: torch.from_numpy(values).to(self._device) for name, values in inputs.items()}
            with products(self._dtype, self._kind):
                features = self._model[0](features)
            return pooled(self._model, features, self._truncate)[: len(batch.rows)]


def pooled(model: Any, features: dict[str, Any], truncate: int | None) -> np.ndarray:
    """What the modules behind the transformer make of its outputs, in float32, at unit length, (n, dim)."""
    import torch

    features["token_embeddings"] = features["token_embeddings"].float()
    for module in list(model)[1:]:
        features = module(features)
    vectors = features["sentence_embedding"][:, :truncate]
    return np.asarray(torch.nn.functional.normalize(vectors, dim=1).cpu().numpy(), np.float32)


class _RuntimeForward:
    """Tokens through another runtime, one text at a time at its own length: no neighbour can change its vector."""

    def __init__(self, model: Any, runtime: Any, truncate: int | None) -> None:
        self._model = model
        self._runtime = runtime
        self._truncate = truncate

    def __call__(self, batch: Batch) -> np.ndarray:
        """The vectors of a batch, (n, dim) float32, unit length."""
        import torch

        assert batch.tokens is not None
        found = []
        for row in batch.whole[: len(batch.rows)]:
            length = max(int(batch.tokens.lengths[row]), 1)
            inputs = batch.tokens.padded(np.array([row]), length, batch.fill, batch.pad)
            with torch.inference_mode():
                features = {name: torch.from_numpy(values) for name, values in inputs.items()}
                features |= batch.tokens.constants
                features["token_embeddings"] = torch.from_numpy(self._runtime(inputs))
                found.append(pooled(self._model, features, self._truncate))
        return np.concatenate(found)


class _WholeForward:
    """Texts through the library's own encode: for static embeddings, routers, models of several modalities."""

    def __init__(self, model: Any, device: str, dtype: str, truncate: int | None) -> None:
        self._model = model
        self._kind = device.partition(":")[0]
        self._dtype = dtype
        self._truncate = truncate

    def __call__(self, batch: Batch) -> np.ndarray:
        """The vectors of a batch, (n, dim) float32, unit length."""
        model = self._model
        encode = model.encode_query if batch.side == "query" else model.encode_document
        options = {"processing_kwargs": padding(batch.length)} if model.transformers_model is not None else {}
        with products(self._dtype, self._kind):
            found = encode(
                batch.texts,
                prompt=batch.prompt,
                batch_size=len(batch.texts),
                normalize_embeddings=True,
                convert_to_tensor=True,
                show_progress_bar=False,
                truncate_dim=self._truncate,
                **options,
            )
        return np.asarray(found.float().cpu().numpy(), np.float32)[: len(batch.rows)]


def is_plain(model: Any, task: str = "feature-extraction", output: str = "token_embeddings") -> bool:
    """True for a text transformer whose tokens alone settle its outputs, with modules behind it that need no more.

    Routers, prompts in chat templates, images, expansion of queries and unpadded attention are left to the library.
    """
    from sentence_transformers.base.modules import Router, Transformer
    from transformers import PreTrainedTokenizerBase

    first = model[0]
    if type(first) is not Transformer or any(isinstance(module, Router) for module in model.modules()):
        return False
    return (
        first.transformer_task == task
        and list(first.modality_config) == ["text"]
        and first.module_output_name == output
        and isinstance(first.processor, PreTrainedTokenizerBase)
        and not any((model.module_kwargs or {}).values())
        and not any(getattr(first, name, None) for name in ("query_expansion", "query_length", "document_length"))
        and not first._can_flatten_inputs()
        and Tokenizer(first).is_known()
    )


def _lengths(model: Any, limit: int | None, piece: Sequence[str], prompt: str) -> np.ndarray:
    if limit is None:
        return np.ones(len(piece), np.int64)
    return token_lengths(model.tokenizer, limit)([prompt + text for text in piece])


def _full_dimension(model: Any) -> int | None:
    """The dimension of a model's vectors before they are cut."""
    cut, model.truncate_dim = model.truncate_dim, None
    try:
        return model.get_embedding_dimension()
    finally:
        model.truncate_dim = cut


@dataclass(frozen=True)
class _Copies:
    """Where each distinct text stands in the input: `rows` grouped by text, from `starts[g]` to `starts[g + 1]`."""

    rows: np.ndarray
    starts: np.ndarray

    def spread(self, numbers: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of these distinct texts and a vector for each."""
        counts = self.starts[numbers + 1] - self.starts[numbers]
        if (counts == 1).all():
            return self.rows[self.starts[numbers]], vectors
        groups = [self.rows[self.starts[number] : self.starts[number + 1]] for number in numbers]
        return np.concatenate(groups), np.repeat(vectors, counts, axis=0)


def _distinct(texts: Sequence[str]) -> tuple[list[str], _Copies]:
    place: dict[str, int] = {}
    of_text = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
    starts = np.concatenate([[0], np.cumsum(np.bincount(of_text, minlength=len(place)))])
    return list(place), _Copies(np.argsort(of_text, kind="stable"), starts)


def _prompt(given: str | None, own: dict[str, str], names: tuple[str, ...]) -> str:
    """The prompt text: `given` as a name of the model's own prompts or as text, else the model's own for this side."""
    if given is not None:
        return own.get(given, given) or ""
    return next((own[name] for name in names if own.get(name)), "")
