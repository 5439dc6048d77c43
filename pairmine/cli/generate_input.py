"""What `pairmine generate` reads: the rows that a recipe asks about, and bad examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.files.source import Source
    from pairmine.llm.recipes.bad_examples import BadExample
    from pairmine.llm.recipes.recipe import PromptRecipe


def open_input(
    recipe: PromptRecipe, path: str | None, columns: dict[str, Any], say: Callable[[str], None]
) -> Source | None:
    """The input; None for a recipe that reads nothing."""
    from pairmine.files.columns import Wanted
    from pairmine.files.source import open_documents, open_pairs, open_queries, open_rows

    known = {
        "documents": ("id", "text", "title"),
        "queries": ("id", "text"),
        "pairs": ("query", "document"),
        "groups": ("query", "document"),
    }.get(recipe.reads, tuple(each.name for each in recipe.inputs))
    given = {name: value for name, value in columns.items() if value}
    for name in given:
        if name not in known:
            raise PairmineError(
                f"recipe {recipe.name} reads {', '.join(known)}, no {name}; leave that column option out"
            )
    if path is None:
        return None
    if recipe.reads == "documents":
        return open_documents(path, say, replay=True, columns=given)
    if recipe.reads == "queries":
        return open_queries(path, say, columns=given)
    if recipe.reads in ("pairs", "groups"):
        return open_pairs(path, say, replay=True, columns=given)
    wanted = [
        Wanted(each.name, each.aliases, f"--column {each.name}=", each.required and each.name != recipe.rest)
        for each in recipe.inputs
    ]
    return open_rows(path, wanted, say, rest=recipe.rest, **given)


def open_bad_examples(path: str | None, say: Callable[[str], None]) -> Source | None:
    from pairmine.files.columns import Wanted
    from pairmine.files.source import open_rows

    if path is None:
        return None
    if path == "-":
        raise PairmineError("--bad-examples -: a pipe is read once, and this is read beside the input; name a file")
    names = ("reply", "reason", "text", "query", "document", "step")
    return open_rows(path, [Wanted(name, (), "") for name in names], say)


def read_bad_examples(source: Source | None, path: str | None) -> list[BadExample]:
    from pairmine.llm.recipes.bad_examples import bad_examples

    if source is None:
        return []
    return bad_examples((row for table in source.tables() for row in table.to_pylist()), f"--bad-examples {path}")


def upto(source: Source | None, limit: int | None, recipe: PromptRecipe) -> Callable[[], Iterator[pa.Table]]:
    """The source's tables, as often as asked, up to `limit` rows, or queries where a recipe reads groups."""

    def tables() -> Iterator[pa.Table]:
        left = limit
        for table in _tables(source, recipe.reads):
            if left is None:
                yield table
                continue
            size = size_of(table, recipe.reads)
            yield table if size <= left else table.slice(0, _rows_of(table, left, recipe.reads))
            left -= min(left, size)
            if not left:
                return

    return tables


def _tables(source: Source | None, reads: str) -> Iterator[pa.Table]:
    from pairmine.files.source import PairSource

    if source is None:
        return iter(())
    return source.chunks() if reads == "groups" and isinstance(source, PairSource) else source.tables()


def size_of(table: pa.Table, reads: str) -> int:
    """How many rows are asked about: those of a query together are one where a recipe reads groups."""
    from pairmine.stages.generate import group_starts

    return len(group_starts(table)) if reads == "groups" else table.num_rows


def _rows_of(table: pa.Table, count: int, reads: str) -> int:
    """How many rows of the table the first `count` of `_size` have."""
    from pairmine.stages.generate import group_starts

    return int(group_starts(table)[count]) if reads == "groups" else count
