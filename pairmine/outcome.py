"""What every stage returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True)
class Outcome:
    """What a stage kept, what it rejected and why, and what else it counted.

    `rejected` has the columns of the stage's input plus `reason`; a stage that rejects nothing
    leaves an empty table there. `rows_in` counts input rows, `added` the rows of `kept` that
    the stage itself put there, so that a stage whose rows keep their shape balances:
    ``rows_in + added == kept.num_rows + rejected.num_rows``. A stage that reshapes its input
    (documents to pairs, pairs to training rows) has `reshapes` set, and then each input row is
    either used or rejected. `notes` are further counts for the report, such as candidates
    masked by reason.
    """

    kept: pa.Table
    rejected: pa.Table
    rows_in: int
    added: int = 0
    reshapes: bool = False
    notes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.reshapes and self.rows_in + self.added != self.kept.num_rows + self.rejected.num_rows:
            raise AssertionError(
                f"rows do not add up: {self.rows_in} in + {self.added} added, "
                f"{self.kept.num_rows} kept + {self.rejected.num_rows} rejected"
            )


def with_reason(rows: pa.Table, reason: str | pa.Array | pa.ChunkedArray) -> pa.Table:
    """`rows` with a string column `reason`: one text for all of them, or one per row.

    It takes the place of a `reason` that an earlier run put there.
    """
    if isinstance(reason, str):
        reason = pa.repeat(pa.scalar(reason), rows.num_rows)
    if "reason" in rows.column_names:
        rows = rows.drop_columns("reason")
    return rows.append_column("reason", reason)


def no_rejects(like: pa.Table) -> pa.Table:
    """An empty table of rejected rows with the columns of `like`."""
    return with_reason(like.slice(0, 0), "")


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcomes of a table's parts as the outcome of the whole."""
    notes: Counter[str] = Counter()
    for outcome in outcomes:
        notes.update(outcome.notes)
    return Outcome(
        pa.concat_tables([outcome.kept for outcome in outcomes]),
        pa.concat_tables([outcome.rejected for outcome in outcomes]),
        rows_in=sum(outcome.rows_in for outcome in outcomes),
        added=sum(outcome.added for outcome in outcomes),
        reshapes=any(outcome.reshapes for outcome in outcomes),
        notes=notes,
    )
