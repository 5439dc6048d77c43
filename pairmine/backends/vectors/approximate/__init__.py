"""Search that looks at a part of the vectors, with its recall measured."""

from pairmine.backends.vectors.approximate.choice import (
    INDEXES,
    check_index,
    choose,
    index_bytes,
    index_seconds,
)
from pairmine.backends.vectors.approximate.search import ApproximateSearch, describe, warning

__all__ = [
    "INDEXES",
    "ApproximateSearch",
    "check_index",
    "choose",
    "describe",
    "index_bytes",
    "index_seconds",
    "warning",
]
