"""`pairmine check --fix`: writes the pairs that are left, and tests them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pairmine.cli.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    import typer

    from pairmine.cli.check import Opened
    from pairmine.stages.check.stage import Report, Settings


def mended(context: typer.Context, opened: Opened, report: Report, settings: Settings) -> Report:
    """Write the pairs without `report.drops`, through `Run`, and tell what the tests find in them."""
    from dataclasses import replace

    from pairmine.stages.check.stage import run_checks

    values: dict[str, Any] = context.params
    with Run(context, values["output"], kind=values["kind"], rejects=values["rejects"], quiet=values["quiet"]) as run:
        run.reads(opened.source, "source")
        _write(run, opened, report)
    return run_checks(lambda: _kept(opened, report), replace(settings, has_places=False))


def _write(run: Run, opened: Opened, report: Report) -> None:
    from pairmine.outcome import Outcome, with_reason

    for table, kept, reasons in _parted(opened, report):
        rejected = with_reason(table.filter(_mask(~kept)), reasons)
        run.write(Outcome(_clean(opened, table.filter(_mask(kept))), _clean(opened, rejected), rows_in=table.num_rows))


def _kept(opened: Opened, report: Report) -> Iterator[pa.Table]:
    for table, kept, _ in _parted(opened, report):
        yield _clean(opened, table.filter(_mask(kept)))


def _parted(opened: Opened, report: Report) -> Iterator[tuple[pa.Table, Any, pa.Array]]:
    """Each table, which of its rows stay (a mask), and the reasons of the others."""
    import numpy as np
    import pyarrow as pa

    first = 0
    for table in opened.tables():
        low, high = np.searchsorted(report.drops, [first, first + table.num_rows])
        kept = np.ones(table.num_rows, bool)
        kept[report.drops[low:high] - first] = False
        yield table, kept, pa.array(_reasons(table, np.flatnonzero(~kept), report.reasons[low:high]), pa.string())
        first += table.num_rows


def _reasons(table: pa.Table, rows: Any, names: Any) -> list[str]:
    """Why each of `rows` leaves; a label that is none is named, since no column holds it."""
    from pairmine.stages.check.chunk import BAD_LABEL

    found: list[str] = names.tolist()
    if BAD_LABEL not in table.column_names:
        return found
    labels = table[BAD_LABEL].take(rows).to_pylist()
    return [f"{name} ({label:g})" if name == "bad-labels" else name for name, label in zip(found, labels, strict=True)]


def _mask(rows: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(rows)


def _clean(opened: Opened, table: pa.Table) -> pa.Table:
    """`table` without the columns that the reader added."""
    return table.drop_columns([name for name in opened.added if name in table.column_names])
