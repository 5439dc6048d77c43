"""Other runtimes than torch for the transformer of an encoder or cross-encoder: ONNX Runtime, OpenVINO; on the CPU.

A model's folder may come with such files (onnx/model.onnx, openvino/openvino_model.xml); else they are made from its
weights, once, and kept below the user's cache folder by the digest of those. Only .onnx files and OpenVINO's
.xml with the raw numbers in the .bin beside it are read; neither can carry code.

One text or pair is run at a time, at its own length. That keeps its vector or score free of its neighbours, which
int8 needs above all: it takes the scale of its activations from all that is run at once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pairmine.backends.precision import has_bfloat16
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import told_of_tempdir

BACKENDS = ("torch", "onnx", "onnx-int8", "openvino")
_EXPORT = 1
"""How files are made here; another number whenever that changes."""


@dataclass(frozen=True)
class Output:
    """What is read of a transformer: the names that it goes by, the first one here, and how many dimensions it has."""

    names: tuple[str, ...]
    dimensions: int
    what: str


HIDDEN = Output(("last_hidden_state", "token_embeddings"), 3, "a vector for each token")
LOGITS = Output(("logits",), 2, "a score for each pair")
_OPSET = 17


class Runtime(Protocol):
    """Runs a transformer on one text or pair."""

    facts: dict[str, Any]

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Its hidden states, (1, length, dim), or logits, (1, 1), float32; several threads may call it at once."""


def check_backend(backend: str, dtype: str, device: str | None) -> None:
    """Raise a PairmineError for a backend that is none, and for a type or device that it does not take."""
    if backend not in BACKENDS:
        raise PairmineError(f"--backend {backend}: choose {', '.join(BACKENDS)}")
    if backend == "torch":
        return
    if device not in (None, "cpu"):
        raise PairmineError(f"--backend {backend} runs on the CPU; leave --device {device} out")
    allowed = ("auto", "float32", "bfloat16") if backend == "openvino" else ("auto", "float32")
    if dtype not in allowed:
        raise PairmineError(f"--dtype {dtype} has no effect with --backend {backend}; leave one of them out")


def open_runtime(
    backend: str,
    module: Any,
    folder: str,
    facts: dict[str, Any],
    *,
    dtype: str = "auto",
    threads: int = 1,
    output: Output = HIDDEN,
) -> Runtime:
    """The runtime `backend` for a sentence-transformers Transformer module that was loaded from `folder` in float32.

    `folder` may be the name of a model on a hub: then its file is always made from the weights. Raises
    PairmineError where packages are missing, or where no such file can be made or read.
    """
    _check_packages(backend)
    if backend == "openvino":
        return _OpenVino(module, folder, facts, output, dtype=dtype, threads=threads)
    return _Onnx(module, folder, facts, output, is_int8=backend == "onnx-int8")


def _check_packages(backend: str) -> None:
    needed = {"onnx": ("onnxruntime",), "onnx-int8": ("onnxruntime",), "openvino": ("openvino",)}[backend]
    extra = backend.partition("-")[0]
    for name in needed:
        if importlib.util.find_spec(name) is None:
            raise PairmineError(f"--backend {backend} needs the package {name}; pip install 'pairmine[{extra}]'")


class _Onnx:
    """ONNX Runtime; every thread of ours runs a text by itself, so each run takes one core."""

    def __init__(self, module: Any, folder: str, facts: dict[str, Any], output: Output, *, is_int8: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path, self.facts = _onnx_file(module, folder, facts, output, is_int8)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _unreadable(path, error) from error
        if is_int8:
            self.facts["dtype"] = "int8"
        self._inputs = [each.name for each in self._session.get_inputs()]
        shapes = {each.name: len(each.shape or ()) for each in self._session.get_outputs()}
        self._output = _output(path, shapes, output)

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Its hidden states, (1, length, dim), or its logits, (1, 1), float32."""
        found = self._session.run([self._output], _given(self._inputs, inputs))
        return np.asarray(found[0], np.float32)


def _unreadable(path: Path, error: Exception) -> PairmineError:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
    return PairmineError(f"{path}: cannot be read ({said}); remove it, or leave --backend out", exit_code=GAVE_UP)


class _OpenVino:
    """OpenVINO; one stream and one request for each thread of ours."""

    def __init__(
        self, module: Any, folder: str, facts: dict[str, Any], output: Output, *, dtype: str, threads: int
    ) -> None:
        import openvino

        core = openvino.Core()
        path, self.facts = _openvino_file(module, folder, facts, output)
        chosen = ("bfloat16" if has_bfloat16() else "float32") if dtype == "auto" else dtype
        self.facts["dtype"] = chosen
        settings = {
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[chosen],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        }
        try:
            self._model = core.compile_model(core.read_model(str(path)), "CPU", settings)
        except Exception as error:
            raise _unreadable(path, error) from error
        self._inputs = [each.get_any_name() for each in self._model.inputs]
        names = {
            (sorted(each.get_names()) or [str(number)])[0]: len(each.get_partial_shape())
            for number, each in enumerate(self._model.outputs)
        }
        self._output = list(names).index(_output(path, names, output))
        self._requests = threading.local()

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Its hidden states, (1, length, dim), or its logits, (1, 1), float32."""
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._model.create_infer_request()
        request.infer(_given(self._inputs, inputs))
        return np.array(request.get_output_tensor(self._output).data, np.float32)


def _given(names: Sequence[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs that a file asks for; one that the tokenizer does not make is all zeros."""
    return {name: inputs[name] if name in inputs else np.zeros_like(inputs["input_ids"]) for name in names}


def _output(path: Path, dimensions: dict[str, int], wanted: Output) -> str:
    """The output of a file that is the wanted one."""
    for name in (*wanted.names, *dimensions):
        if dimensions.get(name) == wanted.dimensions:
            return name
    raise PairmineError(f"{path}: has no output with {wanted.what} (found: {', '.join(dimensions)})")


def _onnx_file(
    module: Any, folder: str, facts: dict[str, Any], output: Output, is_int8: bool
) -> tuple[Path, dict[str, Any]]:
    """An ONNX file of the transformer, its own or made here, and what a lineage records of it."""
    own = _own_file(folder, "onnx", _INT8_FILES if is_int8 else ("model.onnx",))
    if own is not None:
        return own, {"file": own.name, "file_sha256": _digest(own)}
    recipe = {"made": _EXPORT, **({"int8": "dynamic, per channel"} if is_int8 else {})}
    plain = _kept(facts, "onnx", "model.onnx", lambda target: _export_onnx(module, target, output))
    if not is_int8:
        return plain, recipe
    return _kept(facts, "onnx-int8", "model.onnx", lambda target: _quantise(plain, target)), recipe


_INT8_FILES = (
    "model_qint8_avx512_vnni.onnx",
    "model_qint8_avx512.onnx",
    "model_quint8_avx2.onnx",
    "model_qint8_arm64.onnx",
    "model_int8.onnx",
    "model_quantized.onnx",
)
"""Names that int8 files go by on the hub, the fastest first; each runs on any CPU."""


def _openvino_file(module: Any, folder: str, facts: dict[str, Any], output: Output) -> tuple[Path, dict[str, Any]]:
    own = _own_file(folder, "openvino", ("openvino_model.xml",))
    if own is not None:
        return own, {"file": own.name, "file_sha256": _digest(own)}
    made = _kept(facts, "openvino", "openvino_model.xml", lambda target: _export_openvino(module, target, output))
    return made, {"made": _EXPORT}


def _own_file(folder: str, subfolder: str, names: Sequence[str]) -> Path | None:
    if not os.path.isdir(folder):
        return None
    places = [Path(folder) / part / name for name in names for part in (subfolder, ".")]
    return next((place for place in places if place.is_file()), None)


def _digest(path: Path) -> str:
    """The SHA-256 of a file and of the numbers beside it."""
    digest = sha256()
    beside = (path, path.with_suffix(".bin"), path.with_name(path.name + "_data"), path.with_name(path.name + ".data"))
    for part in beside:
        if part.is_file():
            with part.open("rb") as handle:
                digest.update(sha256_of(handle.read).encode())
    return digest.hexdigest()


def sha256_of(read: Callable[[int], bytes]) -> str:
    """The SHA-256 of all that `read` gives."""
    digest = sha256()
    while block := read(1 << 22):
        digest.update(block)
    return digest.hexdigest()


def _kept(facts: dict[str, Any], backend: str, name: str, make: Callable[[Path], None]) -> Path:
    """The file that `make` makes for the weights in `facts`, made once and kept in the user's cache folder.

    Weights that are known by no digest or revision get a new one each time.
    """
    known = facts.get("sha256") or facts.get("revision")
    named = facts["model"] if "sha256" not in facts else facts.get("code_sha256", "")
    key = blake2b(repr((_EXPORT, known, named)).encode(), digest_size=16)
    inner = Path(key.hexdigest(), backend)
    own = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "pairmine" / "models"
    if known and os.path.isfile(own / inner / name):
        return own / inner / name
    # A user without a home keeps his "~", which would become a folder of that name here.
    if own.is_absolute():
        with contextlib.suppress(OSError):  # full, read-only or nowhere: a cache is no reason to stop
            return _made(own / inner, backend, name, make, is_known=bool(known))
    with told_of_tempdir("a file made of the model"):
        return _made(_for_this_run() / inner, backend, name, make, is_known=bool(known))


def _for_this_run() -> Path:
    """A folder that goes with this process."""
    global _folder
    _folder = _folder or tempfile.TemporaryDirectory(prefix="pairmine-")
    return Path(_folder.name)


_folder: tempfile.TemporaryDirectory[str] | None = None


def _made(place: Path, backend: str, name: str, make: Callable[[Path], None], *, is_known: bool) -> Path:
    """The file that `make` made in the folder `place`; raises OSError where it has no room there."""
    if is_known and (place / name).is_file():
        return place / name
    place.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    try:
        make(work / name)
        if not is_known:
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was faster
            work.rename(place)
    except PairmineError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
        line = f"--backend {backend}: no file could be made of this model ({said}); leave the option out"
        raise PairmineError(line, exit_code=GAVE_UP) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return place / name


def _traceable(module: Any) -> tuple[Any, dict[str, Any]]:
    """A copy of the transformer that gives its first output alone, and an example of its inputs.

    That is its last hidden states, or the logits of a model with a head for scores.
    """
    import copy

    import torch

    inner = copy.deepcopy(module.model).float().cpu().eval()
    inner.set_attn_implementation("eager")
    example = dict(module.preprocess(["a text", "another one that is longer"]))
    inputs = {name: value for name, value in example.items() if isinstance(value, torch.Tensor)}

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *values: Any) -> Any:
            return self.inner(**dict(zip(inputs, values, strict=True)), return_dict=True)[0]

    return Bare().eval(), inputs


def _export_onnx(module: Any, target: Path, output: Output) -> None:
    import torch

    if importlib.util.find_spec("onnx") is None:
        raise PairmineError("making an ONNX file needs the package onnx; pip install 'pairmine[onnx]'")
    bare, inputs = _traceable(module)
    axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            bare,
            tuple(inputs.values()),
            str(target),
            input_names=list(inputs),
            output_names=[output.names[0]],
            dynamic_axes={**dict.fromkeys(inputs, axes), output.names[0]: axes if output == HIDDEN else {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantise(source: Path, target: Path) -> None:
    """Weights as int8 per output channel, activations as they come: what sentence-transformers asks of Optimum."""
    if importlib.util.find_spec("onnx") is None:
        raise PairmineError("making an int8 file needs the package onnx; pip install 'pairmine[onnx]'")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it has advice for the root logger, which would stand among our lines
    try:
        quantize_dynamic(
            str(source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    finally:
        logging.disable(logging.NOTSET)


def _export_openvino(module: Any, target: Path, output: Output) -> None:
    import openvino
    import torch

    bare, inputs = _traceable(module)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        made = openvino.convert_model(bare, example_input=tuple(inputs.values()))
    for port, name in zip(made.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    made.outputs[0].get_tensor().set_names({output.names[0]})
    openvino.save_model(made, str(target), compress_to_fp16=False)
