"""How much memory a run may take, and what it is spent on."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pairmine.errors import PairmineError

_UNITS = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$", re.I)
_LIBRARIES = 600 << 20
"""What the interpreter, Arrow, torch and FAISS take before any data (measured: 450 to 600 MB)."""
_LEAST = 10**9
_TOO_LARGE = 2**60
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Memory:
    """Bytes for a whole run and for its parts: texts and vectors that are kept at hand, and the search's own work.

    What does not fit into its part lies on disk and is read a block at a time.
    """

    total: int
    texts: int
    vectors: int
    work: int

    @classmethod
    def of(cls, size: str | None, flag: str = "--memory") -> Memory:
        """From a size such as 8GB, or half of what is free here; what is no size or too small is a PairmineError."""
        total = available() // 2 if size is None else parse_size(size, flag)
        if size is not None and total < _LEAST:
            raise PairmineError(f"{flag} {size}: at least 1GB; the libraries alone take 600 MB")
        free = max(total - _LIBRARIES, _LEAST // 2)
        return cls(total, texts=free * 2 // 10, vectors=free * 5 // 10, work=free * 2 // 10)


def parse_size(text: str, flag: str) -> int:
    """Bytes of a size as people write it: 500MB, 2GB, 1.5GiB, 4g.

    >>> parse_size("2GB", "--memory"), parse_size("1GiB", "--memory")
    (2000000000, 1073741824)
    """
    found = _SIZE.match(text)
    if not found:
        raise PairmineError(f"{flag} {text}: write a size, as in 8GB or 500MB")
    number, unit, binary = found.groups()
    factor = 1024 ** "kmgt".index(unit.lower()) * 1024 if binary and unit else _UNITS[unit.lower()]
    size = float(number) * factor
    if size >= _TOO_LARGE:
        raise PairmineError(f"{flag} {text}: more than any machine has; write a size, as in 8GB or 500MB")
    return int(size)


def available() -> int:
    """Bytes that can still be used here: what is free, and no more than this group of processes may take."""
    free = 8 << 30
    with contextlib.suppress(AttributeError, OSError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    for path in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            free = min(free, int(Path(path).read_text()))
    return free


def return_freed() -> None:
    """Have memory that is freed go back to the system at once from now on, where the C library can be told so.

    Otherwise allocators keep it for the next time: 150 MB of it in a dedup that reads its corpus three times, which
    this takes a quarter more processor time to save (measured).
    """
    import ctypes

    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 1 << 20)
        library.mallopt(_TRIM_THRESHOLD, 8 << 20)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's malloc.h."""
