"""Which packages are here, those that pairmine needs and those of its extras."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from pairmine.cli.doctor.facts import BROKEN, MISSING, OK, Fact, can_import

_IMPORTED_AS = {
    "faiss-cpu": "faiss",
    "pyyaml": "yaml",
    "huggingface-hub": "huggingface_hub",
    "icu4py": "icu4py",
}
_GIVES = {
    "fast": "compiled code for dedup, filter and mix",
    "offline": "all-MiniLM-L6-v2 without a model hub",
    "onnx": "--backend onnx and onnx-int8",
    "openvino": "--backend openvino",
    "ray": "runs on several machines",
    "s3": "s3:// addresses",
    "translate": "translation models in derive",
    "vllm": "LLMs on a GPU of this machine",
}
_NOT_FOR_USERS = {"dev", "docs"}
_PART = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?$")


def versions() -> Iterator[Fact]:
    """pairmine, Python and the system."""
    from pairmine import __version__

    yield Fact("pairmine", __version__)
    old = sys.version_info < (3, 11)
    yield Fact("python", f"{platform.python_version()} ({sys.executable})", BROKEN if old else OK)
    yield Fact("system", f"{platform.system()} {platform.release()}, {platform.machine()}")


def packages() -> Iterator[Fact]:
    """What pairmine cannot do without, then its extras."""
    needed, extras = _requirements()
    for name, wanted in needed.items():
        yield _package(name, wanted)
    for extra, parts in extras.items():
        lacking = [name for name in parts if _fault(name, parts[name])]
        have = ", ".join(f"{name} {_version(name)}" for name in parts if name not in lacking)
        gives = _GIVES.get(extra, "an extra")
        if lacking:
            yield Fact(f"[{extra}]", f"not here; {gives}", MISSING, f"pip install 'pairmine[{extra}]'")
        else:
            yield Fact(f"[{extra}]", f"{have}; {gives}")


def _package(name: str, wanted: str) -> Fact:
    fault = _fault(name, wanted)
    if fault is None:
        return Fact(name, _version(name) or "here, of an unknown version")
    return Fact(name, fault, BROKEN, f"pip install '{name}{wanted}'")


def _fault(name: str, wanted: str) -> str | None:
    """What is wrong with a package, None where it can be imported and is new enough."""
    module = _IMPORTED_AS.get(name, name.replace("-", "_"))
    if not can_import(module):
        return "not here"
    version = _version(name)
    return f"{version}, needed is {wanted}" if version and not _fits(version, wanted) else None


def _fits(version: str, wanted: str) -> bool:
    """Whether a version is what is wanted; true where there is no telling."""
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(wanted).contains(version, prereleases=True)
    except Exception:  # `packaging` is no dependency
        return True


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _requirements() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Names with the versions wanted: those always needed, and those of each extra."""
    needed: dict[str, str] = {}
    extras: dict[str, dict[str, str]] = {}
    for line in metadata.requires("pairmine") or ():
        if not (found := _PART.match(line)):
            continue
        name, wanted, condition = found.groups()
        extra = re.search(r"extra == ['\"]([^'\"]+)", condition or "")
        if extra is None:
            needed[name] = wanted
        elif extra[1] not in _NOT_FOR_USERS:
            extras.setdefault(extra[1], {})[name] = wanted
    return needed, extras
