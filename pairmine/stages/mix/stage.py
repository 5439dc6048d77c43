"""The stage: draw queries from every source, plan batches, put the rows in their order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, with_reason
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.mix.batches import LEFT_OVER
from pairmine.stages.mix.draws import UNITS, Drawn, Weighing, draw, places_of_positives
from pairmine.stages.mix.known import Known
from pairmine.stages.mix.plan import Batching, check_batching, plan
from pairmine.stages.mix.sources import Pool, Source
from pairmine.stages.mix.topics import VectorsOf

TEMPERED = Weighing()
NO_BATCHES = Batching()
_MOST = 1_000_000_000
_MOST_ALPHA = 10


def mix(
    sources: Sequence[Source],
    weighing: Weighing = TEMPERED,
    batching: Batching = NO_BATCHES,
    *,
    seed: int,
    vectors_of: VectorsOf | None = None,
    workers: int = 1,
    tell: Tell | None = None,
) -> Outcome:
    """The rows of queries drawn from all `sources`, in a random order, with a column `source`.

    All rows of a query stay together. Which queries are drawn depends on the seed, the source's name and
    the query's id alone, so a larger size takes in a smaller one. Rows that are not drawn are rejected. A
    source that gives more than it has (`repeat`) has its queries come again, as `ID#2`, `ID#3`, ...

    `batching` plans batches in the column `batch`, counted from 0, and orders the rows by them. Rank r of N takes the
    batches r, r + N, ...; the batches s * N to s * N + N - 1 are step s. In one step

    - no query is there twice, and no two whose texts are the same or near copies,
    - no document, positive or negative, is the same as or a near copy of what any row of all `sources` has as a
      positive of another query in the step, of the document that this query was cut from, or of this query itself.

    Documents are the same by id or by text (but for case, blanks and Unicode form); copies of copies are copies. A
    negative of two queries may stand in a step twice. A query with several positives comes once for each, as
    `ID#2`, ..., with all its other rows; with `positives` "together" it comes once with all. Rows that are no
    positive of their query although their document is one, by id or text, are rejected.

    Full steps stand first; the short ones at the end hold what fits nowhere else, and with `full` that is rejected.
    `clusters` are k-means over the vectors that `vectors_of` gives, within one source (column `query_cluster`).

    Raises PairmineError for settings that do not fit, for what is no pair set, for a missing query text.
    """
    names = [source.name for source in sources]
    check_settings(names, weighing, batching, vectors_of is not None)
    notes: Counter[str] = Counter()
    pool = Pool.of(sources, notes)
    if batching.kind == "none":
        pool = _without_plan(pool, notes)
        drawn = draw(pool, names, weighing, seed)
        order = np.argsort(drawn.keys, kind="stable")
        return _outcome(_Mixture(pool, names, drawn, None), order, {}, [], rows_in=pool.pairs.num_rows, notes=notes)
    known = Known.of(pool, notes, batching.near, workers=workers, tell=tell)
    wrong = known.contradicts(pool)
    rejected = [_rejected(pool, names, np.flatnonzero(wrong), "a known positive of its query")]
    rows_in = pool.pairs.num_rows
    pool, queries = pool.of_rows(~wrong)
    place = _places(pool, known.positive[~wrong], batching.positives)
    answers = known.nearly.of(queries, ~wrong)
    # The plan and the rows in their new order take room: what was rejected or is decided goes first.
    del sources, known
    pa.default_memory_pool().release_unused()
    drawn = draw(pool, names, weighing, seed)
    if place is not None:
        drawn = drawn.one_positive_each(pool, place)
    planned = plan(pool, names, drawn, place, answers, batching, notes, seed=seed, vectors_of=vectors_of)
    del answers
    mixture = _Mixture(pool, names, drawn, place)
    rejected.append(mixture.left_over(planned.batches.batch, full=batching.full))
    columns = {**planned.columns, "batch": planned.batches.batch}
    return _outcome(mixture, planned.batches.order, columns, rejected, rows_in=rows_in, notes=notes)


def _without_plan(pool: Pool, notes: Counter[str]) -> Pool:
    """`pool` without the column `batch` of an earlier plan, which says nothing of another order."""
    if "batch" not in pool.pairs.column_names:
        return pool
    if planned := len(pool.pairs) - pool.pairs["batch"].null_count:
        notes["rows whose planned batch is forgotten, since their order changes"] += planned
    return replace(pool, pairs=pool.pairs.drop_columns("batch"))


def _places(pool: Pool, positive: np.ndarray, positives: str) -> np.ndarray | None:
    """`places_of_positives` where the positives of a query part and some query has several, else None."""
    if positives != "each":
        return None
    place = places_of_positives(pool, positive)
    return place if place.max(initial=0) > 0 else None


@dataclass(frozen=True)
class _Mixture:
    """The draws from a pool of sources called `names`; `place` is that of `Drawn.rows`."""

    pool: Pool
    names: Sequence[str]
    drawn: Drawn
    place: np.ndarray | None

    def rows(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of some draws, one draw after the other, and how many each has."""
        return self.drawn.rows(self.pool, draws, self.place)

    @property
    def total(self) -> int:
        """The rows of all draws."""
        return len(self.rows(np.arange(len(self.drawn.query)))[0])

    def not_drawn(self) -> pa.Table:
        """The rows of queries that no draw is of, with their reason."""
        is_drawn = np.zeros(len(self.pool), bool)
        is_drawn[self.drawn.query] = True
        return _rejected(self.pool, self.names, self.pool.rows_of(np.flatnonzero(~is_drawn)), "not drawn")

    def left_over(self, batch: np.ndarray, *, full: bool) -> pa.Table:
        """The rows of draws that are in no batch, with their reason."""
        why = "left over, no full batch" if full else "left over, fewer queries than ranks"
        return _rejected(self.pool, self.names, self.rows(np.flatnonzero(batch == LEFT_OVER))[0], why)


def _outcome(
    mixture: _Mixture,
    order: np.ndarray,
    columns: Mapping[str, np.ndarray],
    rejected: Sequence[pa.Table],
    *,
    rows_in: int,
    notes: Counter[str],
) -> Outcome:
    """The draws in `order` with `columns` (draws,) of their own; `rejected` are rows that are out already."""
    pool, drawn = mixture.pool, mixture.drawn
    of_draw = pool.source[drawn.query[order]]
    for number, name in enumerate(mixture.names):
        notes[f"queries of {name}"] = int((of_draw == number).sum())
    rows, counts = mixture.rows(order)
    _check_ids(pool, drawn, order)
    rejects = pa.concat_tables([mixture.not_drawn(), *rejected])
    added = mixture.total - int(pool.rows[distinct(drawn.query)].sum())
    kept = _again(pool.pairs.take(pa.array(rows)), drawn.again[order], counts)
    for name, values in columns.items():
        kept = _with(kept, name, values[order], counts)
    return Outcome(schema.as_pairs(kept), rejects, rows_in=rows_in, added=added, notes=notes)


def _again(rows: pa.Table, again: np.ndarray, counts: np.ndarray) -> pa.Table:
    """`rows` with "#2" behind the id of a query that comes the second time."""
    if not again.any():
        return rows
    return rows.set_column(0, "query_id", _numbered(rows["query_id"], np.repeat(again, counts)))


def _numbered(ids: pa.ChunkedArray, again: np.ndarray) -> pa.ChunkedArray:
    """`ids` with "#2" behind one that comes the second time."""
    numbered = pc.binary_join_element_wise(ids, pa.array(again + 1).cast(pa.string()), "#")
    return pc.if_else(pa.array(again > 0), numbered, ids)


def _with(rows: pa.Table, name: str, values: np.ndarray, counts: np.ndarray) -> pa.Table:
    """`rows` with the value of each query on all its rows, in place of a column of that name."""
    if name in rows.column_names:
        rows = rows.drop_columns(name)
    return rows.append_column(name, pa.array(np.repeat(values.astype(np.int32), counts)))


def _rejected(pool: Pool, names: Sequence[str], rows: np.ndarray, why: str) -> pa.Table:
    reasons = pa.array([f"{name}: {why}" for name in names])
    source = np.repeat(pool.source, pool.rows)[rows]
    return with_reason(pool.pairs.take(pa.array(rows)), reasons.take(pa.array(source, pa.int64())))


def check_settings(names: Sequence[str], weighing: Weighing, batching: Batching, has_vectors: bool) -> None:
    """Raise a PairmineError for settings of `mix` that do not fit sources of these names, or each other."""
    if not names:
        raise PairmineError("nothing to mix; name one pair set or more")
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise PairmineError(f'two sources are called "{twice}"; write NAME=FILE to give one another name')
    if not math.isfinite(weighing.alpha) or weighing.alpha < 0:
        raise PairmineError(f"--alpha {weighing.alpha:g}: 0 (equal numbers) to 1 (as they are), or more")
    if weighing.alpha > _MOST_ALPHA:
        raise PairmineError(f"--alpha {weighing.alpha:g}: at most {_MOST_ALPHA}")
    if weighing.unit not in UNITS:
        raise PairmineError(f"--by {weighing.unit}: choose {', '.join(UNITS)}")
    if weighing.size is not None and weighing.size < 1:
        raise PairmineError(f"--size {weighing.size}: at least 1")
    if weighing.size is not None and weighing.size > _MOST:
        raise PairmineError(f"--size {weighing.size}: at most {_MOST:,}")
    if weighing.repeat and weighing.size is None:
        raise PairmineError("--repeat has an effect with --size alone; say how many to draw")
    for name, weight in weighing.weights.items():
        if name not in names:
            raise PairmineError(f"--weight {name}={weight:g}: no such source; they are {', '.join(names)}")
        if not math.isfinite(weight) or weight <= 0:
            raise PairmineError(f"--weight {name}={weight:g}: above 0; leave a source out by not naming its file")
        if weight > _MOST:
            raise PairmineError(f"--weight {name}={weight:g}: at most {_MOST:,}")
    check_batching(batching, has_vectors)


def _check_ids(pool: Pool, drawn: Drawn, order: np.ndarray) -> None:
    """Raise a PairmineError where an id made here ("nli/17", "17#2") is one that another query brought along."""
    ids = pool.pairs["query_id"].take(pa.array(pool.starts[drawn.query[order]]))
    counts = pc.value_counts(_numbered(ids, drawn.again[order]))
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise PairmineError(
            f'query id "{twice[0]["values"]}" would stand for two queries; give the sources other names, '
            "or their queries other ids"
        )
