"""Training files for SimCSE: a CSV file of two or three columns, whose names it does not look at.

Its unsupervised training takes a text as the positive of itself: export pairs of each text with itself.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Options, Plan, Target, per_positive, per_positive_and_negative
from pairmine.stages.export.rows import PairRows

TRAINER = "SimCSE"
VERSION = "0.4"
_BECAUSE = "SimCSE takes the text for a missing one"
_MISSING = (
    *("NA", "N/A", "n/a", "#NA", "#N/A", "#N/A N/A", "<NA>", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN"),
)
"""Texts that pandas, which reads the file, takes for missing ones even in quotes; SimCSE trains on a blank instead."""


def pair(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`sent0`, `sent1`."""
    return _sentences(rows, plan.anchors, plan.positives.rows)


def triplet(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`sent0`, `sent1`, `hard_neg`."""
    return _sentences(rows, plan.anchors, plan.positives.rows, plan.negatives.rows)


def _sentences(rows: PairRows, anchors, *documents) -> pa.Table:  # type: ignore[no-untyped-def]
    columns = [rows.query_texts.take(anchors), *(rows.documents.take(each) for each in documents)]
    names = ("sent0", "sent1", "hard_neg")[: len(columns)]
    return pa.table(columns, schema=pa.schema([(name, TEXT) for name in names]))


def _missing(texts: pa.Array) -> pa.Array:
    return pc.is_in(texts, value_set=pa.array(_MISSING, texts.type))


TARGETS = (
    Target(
        name="simcse-pair",
        trainer=TRAINER,
        version=VERSION,
        summary="two columns: query and positive",
        columns=("sent0", "sent1"),
        formats=("csv",),
        endings=(".csv",),
        needs="no negatives",
        arrange=per_positive,
        build=pair,
        unreadable=_missing,
        because=_BECAUSE,
        not_in_name="tsv",
    ),
    Target(
        name="simcse-triplet",
        trainer=TRAINER,
        version=VERSION,
        summary="three columns: query, positive and a hard negative; each positive with each negative",
        columns=("sent0", "sent1", "hard_neg"),
        formats=("csv",),
        endings=(".csv",),
        needs="some negatives",
        arrange=per_positive_and_negative,
        build=triplet,
        takes=frozenset({"negatives"}),
        unreadable=_missing,
        because=_BECAUSE,
        not_in_name="tsv",
    ),
)
