"""The option of `export` that takes one split of a pair set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import pyarrow as pa

Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Take the rows of this split alone, by the column split that 'pairmine mix --split' writes.",
        show_default=False,
    ),
]


class Only:
    """Lets the rows of one split through, or with `name` None all rows; `where` is what errors call the pair set."""

    def __init__(self, name: str | None, where: str) -> None:
        self._name, self._where = name, where
        self._seen: set[str | None] = set()

    def rows(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows of the split, table by table; raises a PairmineError where the column or the name is not there."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for table in tables:
            if self._name is None:
                yield table
                continue
            if "split" not in table.column_names:
                raise PairmineError(
                    f"{self._where}: no \"split\" (found: {', '.join(table.column_names)}); run 'pairmine mix --split' "
                    "first, or leave --split out"
                )
            column = table["split"].cast(pa.string())
            self._seen.update(column.unique().to_pylist())
            chosen = table.filter(pc.equal(column, self._name))
            if chosen.num_rows:
                yield chosen
        if self._name is not None and self._name not in self._seen:
            names = ", ".join(sorted(filter(None, self._seen))) or "none"
            raise PairmineError(
                f'{self._where}: no row has the split "{self._name}" (found: {names}); pass one of them'
            )
