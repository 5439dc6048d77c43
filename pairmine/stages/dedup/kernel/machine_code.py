"""Machine code that numba made, kept in a file and run without numba.

To import numba and load what it keeps takes 0.7 s and 140 MB, more than a corpus of 100,000 passages asks for; LLVM
alone, by way of llvmlite, does it in a twentieth of that. So numba compiles once on each machine, and its code is kept
as an object file. Only functions that allocate nothing and raise nothing can be kept: they call nothing but themselves.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

# No way in from Python, and an error where anything is allocated.
_HOW = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy", "_nrt": False}

_FORMAT = b"pairmine machine code 2"
_FOLDER = "NUMBA_CACHE_DIR"
_SCALARS = {"int64": ctypes.c_int64, "bool": ctypes.c_int8}


def to_keep(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function that `keep` compiles for that one signature of numba's."""

    def mark(function: Any) -> Any:
        function.signature = signature
        return function

    return mark


class Function:
    """A function out of machine code. `takes` names each argument: "int64", "bool", or as "uint64*2" the C-contiguous
    array of that type with so many dimensions."""

    def __init__(self, address: int, takes: Sequence[str]) -> None:
        self._takes = [_Argument.of(each) for each in takes]
        kinds = [kind for each in self._takes for kind in each.kinds]
        # What numba hands back comes first: the result, and where an exception would be put.
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)(address)

    def __call__(self, *values: Any) -> int:
        """Its result; other threads run meanwhile. Raises AssertionError for a value of another type."""
        result, fault = ctypes.c_int64(0), ctypes.c_void_p()
        told = [each for take, value in zip(self._takes, values, strict=True) for each in take.told(value)]
        status = self._call(ctypes.byref(result), ctypes.byref(fault), *told)
        assert status == 0, f"machine code came back with status {status}"
        return result.value


class _Argument:
    """How numba takes one argument: an array as its owner, sizes, address, shape and strides."""

    def __init__(self, scalar: type | None, dtype: np.dtype[Any] | None, dimensions: int) -> None:
        self._scalar, self._dtype, self._dimensions = scalar, dtype, dimensions
        array = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] + [ctypes.c_int64] * 2 * dimensions
        self.kinds: list[Any] = array if scalar is None else [scalar]

    @classmethod
    def of(cls, take: str) -> _Argument:
        name, _, dimensions = take.partition("*")
        return cls(None, np.dtype(name), int(dimensions)) if dimensions else cls(_SCALARS[name], None, 0)

    def told(self, value: Any) -> tuple[Any, ...]:
        if self._scalar is not None:
            return (int(value),)
        fits = value.dtype == self._dtype and value.ndim == self._dimensions and value.flags.c_contiguous
        assert fits, f"an array {value.dtype}*{value.ndim} where {self._dtype}*{self._dimensions} is expected"
        return None, None, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides


class Library:
    """The functions of one file, by name."""

    def __init__(self, takes: Mapping[str, tuple[str, Sequence[str]]], code: bytes) -> None:
        from llvmlite import binding

        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._functions = {
            name: Function(self._engine.get_function_address(symbol), kinds) for name, (symbol, kinds) in takes.items()
        }

    def __getattr__(self, name: str) -> Function:
        return self._functions[name]


def kept(sources: Sequence[Path]) -> Library | None:
    """The functions that `sources` were compiled to here; None where they were not, or have changed since."""
    name = _file_name(sources)
    for folder in _folders():
        with suppress(OSError, ValueError):
            digest, _, content = _own_bytes(folder / name).partition(b"\n")
            if digest == _digest(content):
                head, _, code = content.partition(b"\n")
                return Library(json.loads(head), code)
    return None


def keep(sources: Sequence[Path], functions: Sequence[Any]) -> Library:
    """Compile functions that are marked by `to_keep`, and keep them for other runs where there is a place for it."""
    takes, code = _machine_code(functions)
    content = json.dumps(takes).encode() + b"\n" + code
    _ = any(_put(folder, _file_name(sources), _digest(content) + b"\n" + content) for folder in _folders())
    return Library(takes, code)


def can_keep() -> bool:
    """Whether there is a place where machine code can be kept."""
    for folder in _folders():
        # Not Path.exists, which raises where a folder above is closed to this user.
        there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
        if os.path.isdir(there) and os.access(there, os.W_OK):
            return True
    return False


def _own_bytes(path: Path) -> bytes:
    """What a file holds that nobody put there but who runs this, or installed it: code is run as it stands there.

    Raises PermissionError for any other; NUMBA_CACHE_DIR may name a folder that all may write to.
    """
    with path.open("rb") as handle:
        state = os.fstat(handle.fileno())
        trusted = {os.geteuid(), 0, os.stat(__file__).st_uid} if hasattr(os, "geteuid") else {state.st_uid}
        if state.st_uid not in trusted or state.st_mode & stat.S_IWOTH:
            raise PermissionError(f"{path} may be somebody else's")
        return handle.read()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _machine_code(functions: Sequence[Any]) -> tuple[dict[str, tuple[str, list[str]]], bytes]:
    from llvmlite import binding
    from numba import njit

    takes, module = {}, binding.parse_assembly("")
    for each in functions:
        compiled = njit(each.signature, **_HOW)(each)
        ((kinds, made),) = compiled.overloads.items()
        takes[each.__name__] = made.fndesc.llvm_func_name, [_kind(kind) for kind in kinds]
        module.link_in(binding.parse_assembly(compiled.inspect_llvm(kinds)))
    calls = [each.name for each in module.functions if each.is_declaration and not each.name.startswith("llvm.")]
    assert not calls, f"machine code that is to be kept calls {', '.join(calls)}"
    return takes, _target_machine().emit_object(module)


def _kind(kind: Any) -> str:
    return f"{kind.dtype}*{kind.ndim}" if hasattr(kind, "ndim") else str(kind).replace("boolean", "bool")


def _target_machine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)


def _file_name(sources: Sequence[Path]) -> str:
    """Tells apart what other sources became, and what was made for another processor."""
    from llvmlite import binding

    digest = hashlib.sha256(_FORMAT)
    for each in (binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()):
        digest.update(each.encode() + b"\0")
    for source in sources:
        digest.update(source.read_bytes())
    return f"{digest.hexdigest()[:32]}.code"


def _folders() -> list[Path]:
    """Where machine code may be kept, the best place first."""
    if folder := os.environ.get(_FOLDER):
        return [Path(folder)]
    beside = Path(__file__).parent / "__pycache__"
    own = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    # A user without a home keeps his "~", which would become a folder of that name here.
    return [beside, own / "pairmine"] if own.is_absolute() else [beside]


def _put(folder: Path, name: str, content: bytes) -> bool:
    """Whether the file stands there whole now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{name}.{secrets.token_hex(4)}"
        try:
            with beside.open("xb") as handle:  # never what somebody else linked there
                handle.write(content)
            os.replace(beside, folder / name)
        finally:
            beside.unlink(missing_ok=True)
    except OSError:
        return False
    return True
