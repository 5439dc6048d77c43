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
    """Lets the rows of one split through, or with `name` None all rows; `where` is what errors call the pair set.

    `seen` are the splits that came by.
    """

    def __init__(self, name: str | None, where: str) -> None:
        self._name, self._where = name, where
        self.seen: set[str | None] = set()

    def rows(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows of the split, table by table; raises a PairmineError where the column or the name is not there."""
        for table in tables:
            chosen = self.chosen(table)
            if chosen.num_rows or self._name is None:
                yield chosen
        self.check()

    def chosen(self, table: pa.Table) -> pa.Table:
        """The rows of the split; raises a PairmineError where there is no such column."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._name is None:
            return table
        if "split" not in table.column_names:
            raise PairmineError(
                f"{self._where}: no \"split\" (found: {', '.join(table.column_names)}); run 'pairmine mix --split' "
                "first, or leave --split out"
            )
        column = table["split"].cast(pa.string())
        self.seen.update(column.unique().to_pylist())
        return table.filter(pc.equal(column, self._name))

    def check(self) -> None:
        """Raise a PairmineError where the split was not among those that came by."""
        if self._name is not None and self._name not in self.seen:
            names = ", ".join(sorted(filter(None, self.seen))) or "none"
            raise PairmineError(
                f'{self._where}: no row has the split "{self._name}" (found: {names}); pass one of them'
            )
