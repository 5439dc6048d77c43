"""What the machine has: cores, memory, accelerators, and the terminal."""

from __future__ import annotations

import json
import locale
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairmine.cli.doctor.facts import MISSING, NOTE, Fact
from pairmine.cli.voice import size
from pairmine.keys import without_keys_of

_FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bf16",
    "amx_bf16": "AMX bf16",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "bf16": "bf16",
    "asimddp": "dot products",
}
_PROBE = """
import json
found = {}
try:
    import torch
    found["torch"] = torch.__version__
    cuda = torch.cuda
    if cuda.is_available():
        found["cuda"] = [
            [p.name, p.total_memory] for p in map(cuda.get_device_properties, range(cuda.device_count()))
        ]
    found["built"] = torch.version.cuda or getattr(torch.version, "hip", None)
    found["mps"] = bool(torch.backends.mps.is_available())
except BaseException as error:
    found["fault"] = f"{type(error).__name__}: {error}"[:300]
print(json.dumps(found))
"""
_LIMIT_S = 30.0


class TorchProbe:
    """Asks torch for its devices in a process of its own: it may be broken, and takes seconds to load."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._fault = ""
        try:
            quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
            own = {"text": True, "env": without_keys_of(dict(os.environ)), **quiet}
            self._process = subprocess.Popen([sys.executable, "-c", _PROBE], **own)  # type: ignore[call-overload]
        except OSError as error:
            self._fault = str(error)

    def facts(self) -> Iterator[Fact]:
        """torch, and each device that it finds."""
        found = self._found()
        if fault := found.get("fault"):
            yield Fact("torch", fault, MISSING, "pip install --force-reinstall torch")
            return
        yield Fact("torch", found["torch"] + (f", built for {found['built']}" if found["built"] else ", for CPUs"))
        for number, (name, memory) in enumerate(found.get("cuda", [])):
            yield Fact(f"cuda:{number}", f"{name}, {size(memory)}")
        if found["mps"]:
            yield Fact("mps", "here")
        if not found.get("cuda") and not found["mps"]:
            yield Fact("accelerator", "none that torch can use; models run on the CPU", NOTE)

    def _found(self) -> dict[str, Any]:
        if self._process is None:
            return {"fault": self._fault}
        try:
            out, _ = self._process.communicate(timeout=_LIMIT_S)
            return dict(json.loads(out))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return {"fault": f"gave no answer in {_LIMIT_S:.0f} seconds"}
        except ValueError:
            return {"fault": f"ended with {self._process.returncode} while it was loaded"}


def machine() -> Iterator[Fact]:
    """Cores with what they can do, memory, and free space."""
    name, flags = _processor()
    can = ", ".join(dict.fromkeys(text for flag, text in _FLAGS.items() if flag in flags))
    yield Fact("processor", f"{name}{f' ({can})' if can else ''}")
    yield Fact("cores", _cores())
    yield from _memory()


def terminal() -> Iterator[Fact]:
    """Where the output goes, in which encoding and with which colours."""
    yield Fact("stderr", "a terminal" if sys.stderr.isatty() else "no terminal: a line every ten seconds, no bars")
    encoding = sys.stdout.encoding or "unknown"
    is_utf8 = encoding.lower().replace("-", "") == "utf8"
    remedy = "" if is_utf8 else "export PYTHONUTF8=1"
    spoken = ".".join(part or "?" for part in locale.getlocale())
    yield Fact("encoding", f"{encoding}, locale {spoken}", "ok" if is_utf8 else NOTE, remedy)
    for variable in ("TERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        if value := os.environ.get(variable):
            yield Fact(variable, value)


def _processor() -> tuple[str, set[str]]:
    """The name of the processor and its flags."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        return platform.processor() or platform.machine(), set()
    values = {name.strip().lower(): value.strip() for name, _, value in lines}
    flags = values.get("flags") or values.get("features", "")
    return values.get("model name", platform.machine()), set(flags.split())


def _cores() -> str:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    shown = f"{usable} of {total}" if usable != total else str(total)
    limit = _quota()
    return f"{shown}, of which this group of processes may use {limit:.1f}" if limit and limit < usable else shown


def _quota() -> float | None:
    """How many cores a container is held to, None for no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        number = int((folder / "cpu.cfs_quota_us").read_text())
        return number / int((folder / "cpu.cfs_period_us").read_text()) if number > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _memory() -> Iterator[Fact]:
    from pairmine.memory import Memory, available

    free = available()
    plan = Memory.of(None)
    parts = f"{size(plan.texts)} for texts, {size(plan.vectors)} for vectors, {size(plan.work)} for the search"
    yield Fact("memory", f"{size(free)} free; a run takes {size(plan.total)} unless --memory says else: {parts}")
