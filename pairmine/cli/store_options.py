"""The options of every command that keeps vectors, and how they are opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pairmine.backends.vectors.store import VectorStore

DEFAULT = ".pairmine/vectors"
NONE = "none"
VECTORS = "vectors"
EMBED = ("st", "openai", "fake")
"""The kinds of models whose vectors are kept."""
_PANEL = "Vectors"

StorePath = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PATH",
        help="Folder where vectors and scores are kept, so that nothing is computed twice; none keeps nothing.",
        rich_help_panel=_PANEL,
    ),
]
VectorType = Annotated[
    str,
    typer.Option(
        "--vector-type",
        help="How vectors are kept and used: float32, float16 (half the bytes), int8 (a quarter).",
        rich_help_panel=_PANEL,
    ),
]


def open_store(path: str, vector_type: str, say: Callable[[str], None]) -> VectorStore:
    """The store at `path`; for "none" one that keeps nothing."""
    from pairmine.backends.vectors.store import VectorStore

    return VectorStore(None if path == NONE else path, vector_type=vector_type, say=say)


def embedded_line(store: VectorStore) -> str:
    """How many texts were embedded and how many found, for people."""
    return embedded_words(store.embedded, store.reused, store.folder)


def embedded_words(embedded: int, reused: int, folder: str | Path | None) -> str:
    """The same, of numbers that were added up; `folder` is the store's, None for one that keeps nothing."""
    if folder is None:
        return f"{embedded:,} texts embedded; --store none keeps no vectors"
    return f"{embedded:,} texts embedded, {reused:,} found in {Path(folder)}"
