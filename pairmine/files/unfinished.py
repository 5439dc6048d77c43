"""What this process writes beside its targets: it is removed at the end, wherever an interrupt came between."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

_begun: set[Path] = set()


def begun(path: Path) -> None:
    """Note a file or folder that is about to be made."""
    _begun.add(path)


def over(path: Path) -> None:
    """Forget one that has its place now, or was removed by its keeper, or is somebody else's."""
    _begun.discard(path)


def clear_up() -> None:
    """Remove all that was begun and has no place."""
    for path in list(_begun):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _begun.discard(path)
