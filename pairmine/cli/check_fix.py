"""`pairmine check --fix`: writes the pairs that are left, and tests them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairmine.cli.run import Run

if TYPE_CHECKING:
    import typer

    from pairmine.cli.check import Opened
    from pairmine.cli.check_report import Results
    from pairmine.cli.check_shards import Shards
    from pairmine.outcome import Outcome
    from pairmine.stages.check.stage import Report, Settings


def mended(
    context: typer.Context,
    opened: Opened,
    report: Report,
    settings: Settings,
    results_of: Callable[[Report], Results],
    shards: Shards | None = None,
) -> Results:
    """Write the pairs without `report.drops`, through `Run`, and tell what the tests find in them.

    That is known before anything is put in its place: --junit tells it, and goes there with the pairs.
    """
    from pairmine.cli.check_report import junit

    values: dict[str, Any] = context.params
    with Run(
        context,
        values["output"],
        kind=values["kind"],
        rejects=values["rejects"],
        quiet=values["quiet"],
        engine=shards.engine if shards else None,
    ) as run:
        run.reads(opened.source, "source")
        page = run.open_text("--junit", values["junit"]) if values["junit"] else None
        if shards:
            shards.mend(run, report, opened.added)
        else:
            for outcome in parted(opened.tables(), report.drops, report.reasons, opened.added):
                run.write(outcome)
        run.progress.end()
        results = results_of(_tested(opened, report, settings, shards))
        if page is not None:
            page.put(junit(results))
    return results


def _tested(opened: Opened, report: Report, settings: Settings, shards: Shards | None) -> Report:
    """What the tests find in the pairs without `report.drops`."""
    from dataclasses import replace

    from pairmine.stages.check.stage import run_checks

    settings = replace(settings, has_places=False)
    if shards:
        return shards.check(settings)
    return run_checks(lambda: left(opened.tables(), report.drops, opened.added), settings)


def parted(
    tables: Iterable[pa.Table], drops: np.ndarray, reasons: np.ndarray, added: Sequence[str], first: int = 0
) -> Iterator[Outcome]:
    """Each table without the rows `drops`, and those with their `reasons`; the first row has the number `first`.

    The columns `added`, which the reader made, are left out.
    """
    from pairmine.outcome import Outcome, with_reason

    for table, kept, here in _masked(tables, drops, first):
        why = pa.array(_reasons(table, np.flatnonzero(~kept), reasons[here]), pa.string())
        rejected = with_reason(table.filter(pa.array(~kept)), why)
        yield Outcome(_without(added, table.filter(pa.array(kept))), _without(added, rejected), table.num_rows)


def left(tables: Iterable[pa.Table], drops: np.ndarray, added: Sequence[str], first: int = 0) -> Iterator[pa.Table]:
    """Each table without the rows `drops`, as `parted` keeps them."""
    for table, kept, _ in _masked(tables, drops, first):
        yield _without(added, table.filter(pa.array(kept)))


def _masked(tables: Iterable[pa.Table], drops: np.ndarray, first: int) -> Iterator[tuple[pa.Table, np.ndarray, slice]]:
    """Each table, which of its rows stay, (n,) bool, and where those that do not are in `drops`."""
    for table in tables:
        low, high = map(int, np.searchsorted(drops, [first, first + table.num_rows]))
        kept = np.ones(table.num_rows, bool)
        kept[drops[low:high] - first] = False
        yield table, kept, slice(low, high)
        first += table.num_rows


def _reasons(table: pa.Table, rows: Any, names: Any) -> list[str]:
    """Why each of `rows` leaves; a label that is none is named, since no column holds it."""
    from pairmine.stages.check.chunk import BAD_LABEL

    found: list[str] = names.tolist()
    if BAD_LABEL not in table.column_names:
        return found
    labels = table[BAD_LABEL].take(rows).to_pylist()
    return [f"{name} ({label:g})" if name == "bad-labels" else name for name, label in zip(found, labels, strict=True)]


def _without(names: Sequence[str], table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in names if name in table.column_names])
