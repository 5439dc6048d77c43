"""Training files for PyLate: its contrastive losses take the columns in their order."""

from __future__ import annotations

import pyarrow as pa

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Options, Plan, Target, per_positive
from pairmine.stages.export.rows import PairRows
from pairmine.stages.export.sentence_transformers import FORMATS, ntuple_columns


def contrastive(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `positive`, `negative_1` to `negative_n`; what has "query" in its name gets the query's marker."""
    columns = ntuple_columns(rows, plan, options, anchor="query")
    return pa.table(columns, schema=pa.schema([(name, TEXT) for name in columns]))


TARGETS = (
    Target(
        name="pylate-contrastive",
        trainer="PyLate",
        version="1.6.0",
        summary="query, positive and the same number of negatives in every row, for its contrastive losses",
        columns=("query", "positive", "negative_1", "...", "negative_n"),
        formats=FORMATS,
        needs="equal negatives",
        arrange=per_positive,
        build=contrastive,
        takes=frozenset({"negatives"}),
    ),
)
