"""What the folder formats share: documents and queries once each by id, and lists of ids in place of texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.stages.export.once import Once
from pairmine.stages.export.plan import Lists, Options, Plan, joined
from pairmine.stages.export.rows import PairRows, document_ids

IDS = pa.list_(pa.string())


@dataclass
class Shared:
    """What the chunks of one export share: the documents and the number of queries written so far.

    `name` is the name of the folder, for the formats that name themselves in it.
    """

    name: str = "pairs"
    documents: Once = field(default_factory=lambda: Once("document"))
    queries: int = 0


@dataclass(frozen=True)
class Chunk:
    """Whole queries on their way into a folder: what `build` made of them, and what it was made from."""

    rows: PairRows
    plan: Plan
    options: Options
    kept: pa.Table
    shared: Shared


Files = dict[str, pa.Table]
"""Tables by the name of the file that they go into, a path inside the folder."""

Fill = Callable[[Chunk], Files]


@dataclass(frozen=True)
class Documents:
    """The documents of a chunk: `rows` (m,) holds each of those that no chunk before had, `number` (n,) is -1 or
    the number of the document on each pair row."""

    rows: np.ndarray
    number: np.ndarray


def documents(chunk: Chunk) -> Documents:
    """The documents that the plan uses, in row order; call it once for a chunk."""
    rows = chunk.rows
    used = distinct(joined(chunk.plan.positives, chunk.plan.negatives).rows)
    found = chunk.shared.documents.add(document_ids(rows, used), rows.documents.values, rows.documents.codes[used])
    number = np.full(rows.pairs.num_rows, -1, np.int64)
    number[used] = found.number
    return Documents(used[found.first], number)


def queries(chunk: Chunk) -> np.ndarray:
    """The row of each query that the plan uses, once each, in row order."""
    return distinct(chunk.plan.anchors)


def id_lists(rows: PairRows, lists: Lists) -> pa.ListArray:
    """`lists` of pair rows as lists of document ids."""
    return lists.arrow(document_ids(rows, lists.rows))


def crossed(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each positive with each negative of its list: the list, the positive's and the negative's pair row."""
    owner = np.repeat(np.arange(len(plan.anchors)), plan.positives.sizes)
    times = plan.negatives.sizes[owner]
    first = np.repeat(plan.negatives.offsets[owner] - (np.cumsum(times) - times), times)
    negative = plan.negatives.rows[first + np.arange(times.sum())]
    return np.repeat(owner, times), np.repeat(plan.positives.rows, times), negative


def check_ids(ids: pa.Array, what: str, target: str) -> None:
    """Raise PairmineError for an id that a tab-separated file of this format cannot hold."""
    trimmed = pc.or_(pc.not_equal(pc.utf8_trim_whitespace(ids), ids), pc.equal(ids, ""))
    bad = pc.or_(pc.match_substring_regex(ids, '[\t\r\n]|^"'), trimmed)
    if pc.any(bad).as_py():
        shown = ids.filter(bad)[0].as_py()
        raise PairmineError(
            f"{target}: {what} id {shown!r} cannot stand in its tab-separated file (a tab, a line end, a quote in "
            "front, blanks at an end, or nothing); give it a plain id"
        )
