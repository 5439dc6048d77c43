"""Cross-encoders that sentence-transformers loads: (query, document) pairs to a number each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

import numpy as np

from pairmine.backends import models
from pairmine.backends.devices import find_devices
from pairmine.backends.encoders.engines import Batch, deal
from pairmine.backends.encoders.protocol import nothing
from pairmine.backends.encoders.runtimes import LOGITS, Runtime, check_backend, open_runtime
from pairmine.backends.encoders.sentence_transformer import GPU_TOKENS, is_plain
from pairmine.backends.encoders.tokens import Tokenizer
from pairmine.backends.models import ROW_STEP, Advance, batches, load, padding
from pairmine.backends.precision import products
from pairmine.backends.scorers.protocol import Scored
from pairmine.backends.specs import Spec, locate
from pairmine.errors import PairmineError

SCHEME = 1
"""How pairs become scores here; another number whenever that changes, so that kept scores are made anew."""
SCALES = {"sigmoid": "probability", "none": "logit"}
"""What may be made of a model's output, and the scale that gives."""

Pair = tuple[str, str]


class CrossEncoderScorer:
    """A cross-encoder with one output, as a probability: the sigmoid of its logit, whatever its config says.

    Many models are published with no activation in their config (those trained on MS MARCO, say), and their logits
    cross zero; a sigmoid keeps their order. With `activation` "none" the logits stand as they are. Pairs of
    like length run together, padded to that length alone, so a pair has the same bits in whatever company.
    Several devices get a copy of the model each; ONNX and OpenVINO run one pair at a time on all cores.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        flag: str = "--scorer",
        max_length: int | None = None,
        device: str | None = None,
        dtype: str = "auto",
        backend: str = "torch",
        activation: str = "sigmoid",
        trust_remote_code: bool = False,
    ) -> None:
        if activation not in SCALES:
            raise PairmineError(f"--activation {activation}: choose {', '.join(SCALES)}")
        check_backend(backend, dtype, device)
        if backend != "torch":
            device = "cpu"
        self._model, self.facts = load(
            spec,
            flag,
            device=device,
            max_length=max_length,
            cross=True,
            dtype=dtype if backend == "torch" else "float32",
            trust_remote_code=trust_remote_code,
        )
        labels = self._model.num_labels
        if labels != 1:
            raise PairmineError(
                f"{flag} {spec}: has {labels} outputs, so it is a classifier; a cross-encoder for scores has one"
            )
        self.max_length: int | None = self._model.max_seq_length or None
        self.scale = SCALES[activation]
        self._devices = find_devices(device)
        self._prompt = _default_prompt(self._model)
        self._ready = is_plain(self._model, "sequence-classification", "scores")
        self.facts |= {"backend": backend, "scale": self.scale}
        self._apart = backend != "torch"
        self._engines = self._make_engines(spec, flag, backend, dtype)
        self._unknown = uuid4().hex

    def _make_engines(self, spec: Spec, flag: str, backend: str, dtype: str) -> list[Callable[[Batch], np.ndarray]]:
        if backend == "torch":
            copies = [self._model, *(copy.deepcopy(self._model).to(name) for name in self._devices[1:])]
            make = _PlainForward if self._ready else _WholeForward
            return [make(each, name, self.facts["dtype"]) for each, name in zip(copies, self._devices, strict=True)]
        if not self._ready or len(self._model) != 1:
            raise PairmineError(
                f"--backend {backend}: {flag} {spec} is no plain cross-encoder of texts; leave the option out"
            )
        import torch

        threads = torch.get_num_threads()
        runtime = open_runtime(
            backend, self._model[0], locate(spec, flag), self.facts, dtype=dtype, threads=threads, output=LOGITS
        )
        self.facts |= runtime.facts
        return [_RuntimeForward(runtime)] * threads

    def identity(self) -> dict[str, Any]:
        """All that a score depends on beside its two texts; a model known by no digest gets another each time."""
        facts = {name: value for name, value in self.facts.items() if name != "model"}
        if "sha256" not in facts:
            facts["model"] = self.facts["model"]
            if "revision" not in facts:
                facts["unknown_weights"] = self._unknown
        return {"scheme": SCHEME, "prompt": self._prompt, **facts}

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """How well the documents answer the queries, (n,) float32: probabilities, or logits."""
        return self.scored(queries, documents, advance).scores

    def scored(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> Scored:
        """The same, and which pairs were cut at `max_length` tokens."""
        scores, is_cut = np.empty(len(queries), np.float32), np.zeros(len(queries), bool)
        for rows, found in self.parts(queries, documents, advance):
            scores[rows], is_cut[rows] = found.scores, found.is_cut
        return Scored(scores, is_cut)

    def parts(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, Scored]]:
        """Some of the pairs, (m,), and what is known of them, batch by batch, those of like length together."""
        is_cut = np.zeros(len(queries), bool)
        pairs = zip(queries, documents, strict=True)
        for batch, logits in deal(self._engines, self._batches(pairs, is_cut), apart=self._apart):
            self._check(logits, batch, queries)
            scores = _sigmoid(logits) if self.scale == "probability" else logits
            advance(len(batch.rows))
            yield batch.rows, Scored(scores, is_cut[batch.rows])

    def _batches(self, pairs: Iterator[Pair], is_cut: np.ndarray) -> Iterator[Batch]:
        """Pairs in batches of like length, ready for an engine; `is_cut` is filled in as they are tokenised."""
        tokens_a_batch = models.TOKENS_PER_BATCH * (1 if self._devices[0] == "cpu" else GPU_TOKENS)
        # A model with a chat template reads more than the two texts, so the library itself has to say how much.
        tokenizer = Tokenizer(self._model[0])
        start = 0
        while piece := list(islice(pairs, models.PIECE)):
            tokens = tokenizer(piece, self._prompt)
            is_cut[start : start + len(piece)] = tokens.is_cut
            for length, rows in batches(tokens.lengths, self.max_length, tokens_a_batch):
                whole = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % ROW_STEP)])
                if self._ready:
                    yield Batch(rows + start, whole, length, tokens=tokens, fill=tokenizer.fill, pad=tokenizer.side)
                else:
                    yield Batch(rows + start, whole, length, texts=[piece[row] for row in whole])
            start += len(piece)

    def _check(self, logits: np.ndarray, batch: Batch, queries: Sequence[str]) -> None:
        broken = np.flatnonzero(~np.isfinite(logits))
        if len(broken):
            shown = queries[int(batch.rows[broken[0]])][:40]
            way = "; try --dtype float32" if self.facts["dtype"] == "float16" else ""
            raise PairmineError(f'{self.facts["model"]}: a score is not finite, for the query "{shown}"{way}')


def _default_prompt(model: Any) -> str:
    """What the model's config puts before every pair; nothing for most."""
    prompts = getattr(model, "prompts", None) or {}
    return str(prompts.get(getattr(model, "default_prompt_name", None) or "") or "")


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """In float64, since torch's own float32 one gives a batch's last elements other bits than the first."""
    return (1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))).astype(np.float32)


class _PlainForward:
    """Tokens through the modules of a model, on one device, in `dtype`; its head in float32."""

    def __init__(self, model: Any, device: str, dtype: str) -> None:
        self._model = model
        self._device = device
        self._kind = device.partition(":")[0]
        self._dtype = dtype

    def __call__(self, batch: Batch) -> np.ndarray:
        """The logits of a batch, (n,) float32."""
        import torch

        assert batch.tokens is not None
        inputs = batch.tokens.padded(batch.whole, batch.length, batch.fill, batch.pad)
        with torch.inference_mode(), products(self._dtype, self._kind):
            features: dict[str, Any] = dict(batch.tokens.constants)
            features |= {name: torch.from_numpy(values).to(self._device) for name, values in inputs.items()}
            for module in self._model:
                features = module(features)
            logits = features["scores"].float().cpu().numpy()
        return np.asarray(logits.reshape(len(batch.whole))[: len(batch.rows)], np.float32)


class _RuntimeForward:
    """Tokens through another runtime, one pair at a time at its own length: no neighbour can change its score."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self, batch: Batch) -> np.ndarray:
        """The logits of a batch, (n,) float32."""
        assert batch.tokens is not None
        logits = np.empty(len(batch.rows), np.float32)
        for at, row in enumerate(batch.whole[: len(batch.rows)]):
            length = max(int(batch.tokens.lengths[row]), 1)
            found = self._runtime(batch.tokens.padded(np.array([row]), length, batch.fill, batch.pad))
            logits[at] = found.reshape(1)[0]
        return logits


class _WholeForward:
    """Pairs through the library's own way, for models that read other inputs than tokens."""

    def __init__(self, model: Any, device: str, dtype: str) -> None:
        self._model = model
        self._kind = device.partition(":")[0]
        self._dtype = dtype

    def __call__(self, batch: Batch) -> np.ndarray:
        """The logits of a batch, (n,) float32."""
        import torch

        with products(self._dtype, self._kind):
            logits = self._model.predict(
                list(batch.texts),
                batch_size=len(batch.texts),
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
                convert_to_tensor=True,
                processing_kwargs=padding(batch.length),
            )
        return np.asarray(logits.float().cpu().numpy()[: len(batch.rows)], np.float32)
