"""What the workers of one run hand each other in files: arrays and plain data, on this machine or at an address."""

from __future__ import annotations

from typing import Any

from pairmine.engines import kept
from pairmine.files.byte_ranges import put_bytes, whole_file


def write_parcel(path: str, value: Any) -> None:
    """Put `value` there, whole or not at all."""
    put_bytes(path, [kept.dumps(value)])


def read_parcel(path: str) -> Any:
    """What `write_parcel` put there."""
    return kept.loads(whole_file(path), path)
