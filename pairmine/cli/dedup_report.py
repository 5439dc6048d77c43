"""What `pairmine dedup` says of its groups, and where it warns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairmine.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.run import Run
    from pairmine.stages.dedup.choice import Choice, Giant
    from pairmine.stages.dedup.leaving import Loss

_SHOWN = 20
_LETTERS = 60
_MANY_STRANDED = 0.05
_MERGE = "--merge moves positives that are copies"
_SPREAD = "--spread-labels makes a positive of the copy that stays"


class Nowhere:
    """Stands where an output is: what is written there is forgotten."""

    can_restart = True
    remark = None

    def __init__(self, target: str, kind: str | None) -> None:
        """Nothing to open."""

    def write(self, table: pa.Table) -> None:
        """Forget `table`."""

    def restart(self) -> None:
        """Nothing was written."""

    def finish(self, entries: list[Any]) -> None:
        """Nothing to write."""

    def commit(self, entries: list[Any]) -> None:
        """Nothing to put in place."""

    def abort(self) -> None:
        """Nothing to remove."""


def report_near(run: Run, threshold: float, permutations: int) -> None:
    """How likely MinHash brings up a pair, for the report and --summary."""
    from pairmine.stages.dedup.kernel.minhash import banding, collision_probability

    bands, rows = banding(threshold, permutations)
    likely = collision_probability(threshold, bands, rows)
    run.sum_up(minhash={"bands": bands, "rows": rows, "probability_at_threshold": likely})
    banded = f"1 band of {rows} rows brings" if bands == 1 else f"{bands} bands of {rows} rows bring"
    found = f"{banded} up a pair at {threshold:g} with probability {likely:.5f}"
    run.add_to_report([f"{found}; each is verified"])


def warn(run: Run, giants: Sequence[Giant], losses: Sequence[Loss]) -> None:
    """Say so where a group looks like a chain of different texts, and where more than half of a source leaves.

    Sources come by what they lose, since shards that are done in any order meet them in any order.
    """
    for giant in giants:
        run.add_to_report(
            [
                f'warning: {giant.size:,} texts make one group around {giant.side} "{giant.kept}", of which '
                f"{giant.apart:.0%} are no copies of it but of others in between; --group star keeps them apart"
            ]
        )
    for loss in sorted(losses, key=lambda loss: (-loss.left, loss.value)):
        if loss.is_much:
            which = f'of {loss.rows:,} rows with {loss.column} "{loss.value}"'
            share = f"{loss.left:,} ({loss.left / loss.rows:.0%})"
            run.add_to_report([f"warning: {which}, {share} leave; --rejects FILE shows what they are like"])


def advise(run: Run, values: Mapping[str, Any]) -> None:
    """Say what keeps queries whose positives leave as copies, where these are many, and where nothing is left.

    `values` are those of the options.
    """
    counts = run.counts()
    if counts["rows_in"] and not counts["rows_out"]:
        which = "; is a test set where the input came from?" if values["against"] else ""
        run.add_to_report([f"warning: every row leaves{which}"])
    stranded = counts["rejected"].get("no positive left", 0)
    # Of rows that a test set takes there is nothing to keep.
    if stranded > _MANY_STRANDED * counts["rows_in"] and not (values["against"] or values["merge"]):
        why = f"{stranded:,} rows leave with queries that lose all their positives"
        run.add_to_report([f"{why}; {_SPREAD if values['by'] == 'pair' else _MERGE}"])


def largest_groups(choices: Sequence[Choice]) -> list[str]:
    """The largest groups of each side, a table for each side that has any."""
    import numpy as np

    lines = []
    for choice in choices:
        order = np.argsort(-choice.sizes, kind="stable")[:_SHOWN]
        order = order[choice.sizes[order] > 1]
        if len(order):
            names = [visible(choice.ids[int(item)].as_py().replace("\t", " ")) for item in order]
            shown = [name if len(name) <= _LETTERS else name[: _LETTERS - 3] + "..." for name in names]
            rows = [f"  {size:>9,}  {name}" for size, name in zip(choice.sizes[order].tolist(), shown, strict=True)]
            lines.append("\n".join([f"largest {choice.side} groups: members, id of the one that stays", *rows]))
    return lines
