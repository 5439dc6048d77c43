"""Whether compiled code is used, and what the user hears while numba compiles it."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from time import process_time
from types import ModuleType

from pairmine.errors import PairmineError
from pairmine.stages.dedup.kernel import machine_code, native

NATIVE = "native"

# Bytes of text that the plain path reads in the 30 ms that it takes to load machine code, and in those to load numba.
_WORTH_LOADING = 1_000_000
_WORTH_NUMBA = 16_000_000
_TOLD_AFTER_CPU_S = 1.5
_ONCE = "compiling for this machine, once: about ten seconds"
_FOR_THIS_RUN = (
    "compiling for this run, about ten seconds; to do so once, set NUMBA_CACHE_DIR to a folder that can be written to"
)

Tell = Callable[[str], None]
"""Takes one line for the user."""


def compiled(name: str, size: int, *, engine: str = "auto", tell: Tell | None = None) -> ModuleType | None:
    """The module `pairmine.stages.dedup.kernel.<name>` of compiled code, or None where numpy is the better choice.

    `name` is `NATIVE`, which needs numba once on each machine, or a module that numba serves. `size` is the bytes of
    text that it is wanted for; those of earlier calls count as well, since many small batches are as much work as a
    large one. `engine` "compiled" or "plain" decides instead. `tell` gets a line when compiling takes seconds, as it
    does once on each machine, and when numba fails, so that numpy does the work. Raises PairmineError when `engine` is
    "compiled" and there is no numba that works.
    """
    _asked[name] += size
    if engine == "plain" or (engine == "auto" and (name in _unusable or not _is_worth_it(name))):
        return None
    done = Event()
    Thread(target=_watch, args=(done, tell or _say_nothing), daemon=True).start()
    try:
        return _loaded(name, may_compile=engine == "compiled" or _asked[name] >= _WORTH_NUMBA)
    except ImportError as err:
        if engine == "auto":
            _unusable.add(name)
            return None
        raise PairmineError(f"compiled code needs numba ({err}); run: pip install 'pairmine[fast]'") from None
    except Exception as err:
        # A numba that does not fit NumPy or Python fails in ways of its own.
        fault = f"{type(err).__name__}: {err}".partition("\n")[0]
        what = f"compiled code cannot be used ({fault}); pip install -U 'pairmine[fast]' may mend it"
        if engine == "compiled":
            raise PairmineError(what) from None
        _unusable.add(name)
        (tell or _say_nothing)(f"{what}; numpy does the work")
        return None
    finally:
        done.set()


def load_ahead(size: int) -> None:
    """Load in a thread, while so many bytes of text are read, what `compiled` will be asked for; faults show there."""
    if size < _WORTH_LOADING:
        return

    def load() -> None:
        with suppress(Exception):
            native.load(may_compile=size >= _WORTH_NUMBA)

    Thread(target=load, daemon=True).start()


_asked: Counter[str] = Counter()
_unusable: set[str] = set()


def _is_worth_it(name: str) -> bool:
    if name == NATIVE:
        return _asked[name] >= _WORTH_LOADING or native.is_loaded()
    return _asked[name] >= _WORTH_NUMBA or _full(name) in sys.modules


def _full(name: str) -> str:
    return f"pairmine.stages.dedup.kernel.{name}"


def _watch(done: Event, tell: Tell) -> None:
    """Tell once that it takes long, however many threads wait for the same code.

    By processor time: on a busy machine, merely to load takes seconds as well.
    """
    with _watched:
        start = process_time()
        while not done.wait(0.1):
            if process_time() - start > _TOLD_AFTER_CPU_S:
                tell(_FOR_THIS_RUN if _folder or not machine_code.can_keep() else _ONCE)
                done.wait()


_watched = Lock()


def _say_nothing(line: str) -> None:
    pass


def _loaded(name: str, *, may_compile: bool) -> ModuleType | None:
    if name == NATIVE:
        return native if native.load(may_compile=may_compile) else None
    try:
        return importlib.import_module(_full(name))
    except ImportError:
        raise
    except Exception:
        # The folders where numba keeps code cannot be written to, are full, or hold a torn file: for this run alone.
        from numba import config

        config.CACHE_DIR = _own_folder().name
        return importlib.import_module(_full(name))


def _own_folder() -> tempfile.TemporaryDirectory[str]:
    global _folder
    _folder = _folder or tempfile.TemporaryDirectory(prefix="pairmine-")
    return _folder


_folder: tempfile.TemporaryDirectory[str] | None = None
