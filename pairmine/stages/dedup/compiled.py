"""Whether code compiled by numba is used, and what the user hears while it is compiled."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from time import process_time
from types import ModuleType

from pairmine.errors import PairmineError

# To load numba and the compiled code takes half a second, in which the plain path reads about this many bytes.
_WORTH_LOADING = 16_000_000
_TOLD_AFTER_CPU_S = 1.5
_ONCE = "compiling for this machine, once: about ten seconds"
_FOR_THIS_RUN = (
    "compiling for this run, about ten seconds; to do so once, set NUMBA_CACHE_DIR to a folder that can be written to"
)

Tell = Callable[[str], None]
"""Takes one line for the user."""


def compiled(name: str, size: int, *, engine: str = "auto", tell: Tell | None = None) -> ModuleType | None:
    """The module `pairmine.stages.dedup.<name>` of compiled code, or None where numpy is the better choice.

    `size` is the bytes of text that it is wanted for; those of earlier calls count as well, since many small batches
    are as much work as a large one. `engine` "compiled" or "plain" decides instead. `tell` gets a line when compiling
    takes seconds, as it does once on each machine, and when numba fails, so that numpy does the work. Raises
    PairmineError when `engine` is "compiled" and there is no numba that works.
    """
    full_name = f"pairmine.stages.dedup.{name}"
    _asked[name] += size
    too_little = _asked[name] < _WORTH_LOADING and full_name not in sys.modules
    if engine == "plain" or (engine == "auto" and (too_little or full_name in _unusable)):
        return None
    done = Event()
    Thread(target=_watch, args=(done, tell or _say_nothing), daemon=True).start()
    try:
        return _loaded(full_name)
    except ImportError as err:
        if engine == "auto":
            return None
        raise PairmineError(f"compiled code needs numba ({err}); run: pip install 'pairmine[fast]'") from None
    except Exception as err:
        # A numba that does not fit NumPy or Python fails in ways of its own.
        fault = f"{type(err).__name__}: {err}".partition("\n")[0]
        what = f"compiled code cannot be used ({fault}); pip install -U 'pairmine[fast]' may mend it"
        if engine == "compiled":
            raise PairmineError(what) from None
        _unusable.add(full_name)
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
            for name in ("compiled_texts", "compiled_pairs"):
                _loaded(f"pairmine.stages.dedup.{name}")

    Thread(target=load, daemon=True).start()


_asked: Counter[str] = Counter()
_unusable: set[str] = set()


def _watch(done: Event, tell: Tell) -> None:
    """Tell once that it takes long. By processor time: on a busy machine, merely to load takes seconds as well."""
    start = process_time()
    while not done.wait(0.1):
        if process_time() - start > _TOLD_AFTER_CPU_S:
            tell(_FOR_THIS_RUN if _folder else _ONCE)
            return


def _say_nothing(line: str) -> None:
    pass


def _loaded(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise
    except Exception:
        # The folders where numba keeps code cannot be written to, are full, or hold a torn file: for this run alone.
        from numba import config

        config.CACHE_DIR = _own_folder().name
        return importlib.import_module(name)


def _own_folder() -> tempfile.TemporaryDirectory[str]:
    global _folder
    _folder = _folder or tempfile.TemporaryDirectory(prefix="pairmine-")
    return _folder


_folder: tempfile.TemporaryDirectory[str] | None = None
