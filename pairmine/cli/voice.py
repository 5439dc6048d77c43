"""How much is said on stderr: nothing but errors with --quiet, more than usual with --verbose."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pairmine.keys import without_keys
from pairmine.visible import visible

_is_quiet = _is_verbose = False


def speak(*, quiet: bool, verbose: bool) -> None:
    """Settle how much is said from now on."""
    global _is_quiet, _is_verbose
    _is_quiet, _is_verbose = quiet, verbose
    if verbose or "logging" in sys.modules:
        _listen(verbose)


def is_quiet() -> bool:
    """Whether people want to read errors alone."""
    return _is_quiet


def is_verbose() -> bool:
    """Whether people want to read what is read, loaded and found, and how long it takes."""
    return _is_verbose


def shown(line: str) -> str:
    """A line as people may be shown it, whatever names and texts are in it: one line, without keys."""
    return _shortened(visible(_shortened(without_keys(line))))


_MOST = 3980
"""Characters of a line (with "pairmine: " it has no more than 4,000): an id that it names may have a megabyte."""


def _shortened(line: str) -> str:
    """`line` without its middle where it is very long; its end says what to do."""
    return line if len(line) <= _MOST else f"{line[: _MOST * 3 // 4]} ... {line[-_MOST // 4 :]}"


def say(line: str) -> None:
    """A line for people, on stderr; none with --quiet."""
    if not _is_quiet:
        sys.stderr.write(f"pairmine: {shown(line)}\n")


def say_table(text: str) -> None:
    """A heading and the lines below it, on stderr; none with --quiet. No text in them has line ends of its own."""
    if not _is_quiet:
        sys.stderr.write("pairmine: " + "\n".join(map(shown, text.split("\n"))) + "\n")


def answer(line: str) -> None:
    """What was asked for, on stderr: what a dry run would do is said with --quiet too."""
    sys.stderr.write(f"pairmine: {shown(line)}\n")


def tell(line: str) -> None:
    """A line for people who want to know more, on stderr: with --verbose alone."""
    if _is_verbose:
        sys.stderr.write(f"pairmine: {shown(line)}\n")


@contextmanager
def timed() -> Iterator[None]:
    """Tell at the end how long the work inside took and how much memory."""
    started = time.monotonic()
    try:
        yield
    finally:
        if _is_verbose:
            tell(f"{span(time.monotonic() - started)} in all{_peak()}")


def span(seconds: float) -> str:
    """A time as people read it: 0.04s, 12.3s, 2m05s."""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 1 else f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def _peak() -> str:
    try:
        import resource
    except ImportError:
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return f", {size(own)} of memory at most" + (f" and {size(workers)} in a process of its own" if workers else "")


def _as_shown(record: Any) -> bool:
    """Makes what is logged as `shown` has it."""
    record.msg, record.args = shown(record.getMessage()), None
    return True


def _listen(verbose: bool) -> None:
    """Show what the parts below the command line log about files, models and what is kept, or stop that."""
    import logging

    logger = logging.getLogger("pairmine")
    for handler in [each for each in logger.handlers if each.get_name() == __name__]:
        logger.removeHandler(handler)
    if not verbose:
        logger.setLevel(logging.NOTSET)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(__name__)
    handler.setFormatter(logging.Formatter("pairmine: %(message)s"))
    handler.addFilter(_as_shown)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
