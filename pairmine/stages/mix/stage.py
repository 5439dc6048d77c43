"""The stage: draw queries from every source, plan batches, put the rows in their order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.encoders import Encoder, nothing
from pairmine.backends.models import Advance
from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.outcome import Outcome, with_reason
from pairmine.stages.clusters import Clusters
from pairmine.stages.mix.batches import LEFT_OVER, mixed, plan
from pairmine.stages.mix.shares import apportion
from pairmine.stages.mix.sources import Pool, Source

BATCHES = ("none", "source", "clusters")
UNITS = ("queries", "pairs")


@dataclass(frozen=True)
class Weighing:
    """How much of each source: its share is ``weight * held ** alpha``, see `shares.apportion`.

    `unit` says what is counted and what `size` counts, queries or pairs; `weights` are 1 where none is given.
    """

    alpha: float = 0.5
    size: int | None = None
    unit: str = "queries"
    weights: Mapping[str, float] = field(default_factory=dict)
    repeat: bool = False


def mix(
    sources: Sequence[Source],
    weighing: Weighing = Weighing(),
    *,
    seed: int,
    batches: str = "none",
    batch_size: int | None = None,
    full: bool = False,
    encoder: Encoder | None = None,
    clusters: int = 10,
    advance: Advance = nothing,
) -> Outcome:
    """The rows of queries drawn from all `sources`, in a random order, with a column `source`.

    All rows of a query stay together. Which queries are drawn depends on the seed, the source's name and
    the query's id alone, so a larger size takes in a smaller one. Rows that are not drawn are rejected. A
    source that gives more than it has (`repeat`) has its queries come again, as `ID#2`, `ID#3`, ...

    `batches` plans batches of `batch_size` queries in the column `batch`, counted from 0, and orders the rows by
    them: "source" keeps each batch to one source, "clusters" to one cluster of its query vectors within one
    source (`encoder`, k-means with up to `clusters` clusters a source and no more than it has full batches; column
    `query_cluster`). The last batch of a source or cluster may be short; with `full` it is rejected.

    Raises PairmineError for settings that do not fit, for what is no pair set, for a missing query text.
    """
    names = [source.name for source in sources]
    check_settings(names, weighing, batches, batch_size, full, encoder is not None, clusters)
    notes: Counter[str] = Counter()
    pool = Pool.of(sources, notes)
    keys = _keys(pool, sources, seed)
    drawn = _draw(pool, sources, weighing, keys)
    for number, source in enumerate(sources):
        notes[f"queries of {source.name}"] = int((pool.source[drawn.query] == number).sum())
    columns: dict[str, np.ndarray] = {}
    if batches == "none":
        order, batch = np.argsort(drawn.keys, kind="stable"), None
    else:
        assert batch_size is not None
        group = pool.source[drawn.query]
        if batches == "clusters":
            assert encoder is not None
            found = _cluster(pool, sources, drawn, encoder, clusters, batch_size, seed, advance)
            columns["query_cluster"] = found
            group = group * (clusters + 1) + found
        planned = plan(group, drawn.keys, batch_size, full=full)
        order, batch = planned.order, planned.batch
        notes["batches"] = int(planned.batch.max(initial=-1)) + 1
    return _outcome(pool, sources, drawn, order, batch, columns, notes)


def check_settings(
    names: Sequence[str],
    weighing: Weighing,
    batches: str,
    batch_size: int | None,
    full: bool,
    has_encoder: bool,
    clusters: int,
) -> None:
    """Raise a PairmineError for settings of `mix` that do not fit sources of these names, or each other."""
    if not names:
        raise PairmineError("nothing to mix; name one pair set or more")
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise PairmineError(f'two sources are called "{twice}"; write NAME=FILE to give one another name')
    if not math.isfinite(weighing.alpha) or weighing.alpha < 0:
        raise PairmineError(f"--alpha {weighing.alpha:g}: 0 (equal numbers) to 1 (as they are), or more")
    if weighing.unit not in UNITS:
        raise PairmineError(f"--by {weighing.unit}: choose {', '.join(UNITS)}")
    if weighing.size is not None and weighing.size < 1:
        raise PairmineError(f"--size {weighing.size}: at least 1")
    if weighing.repeat and weighing.size is None:
        raise PairmineError("--repeat has an effect with --size alone; say how many to draw")
    for name, weight in weighing.weights.items():
        if name not in names:
            raise PairmineError(f"--weight {name}={weight:g}: no such source; they are {', '.join(names)}")
        if not math.isfinite(weight) or weight <= 0:
            raise PairmineError(f"--weight {name}={weight:g}: above 0; leave a source out by not naming its file")
    if batches not in BATCHES:
        raise PairmineError(f"--batches {batches}: choose {', '.join(BATCHES)}")
    if batches == "none" and (batch_size is not None or full):
        raise PairmineError(
            f"{'--batch-size' if batch_size is not None else '--full-batches'} has an effect with "
            "--batches source or clusters"
        )
    if batches != "none" and (batch_size is None or batch_size < 1):
        raise PairmineError(f"--batches {batches} wants --batch-size, the number of queries in a batch, at least 1")
    if has_encoder != (batches == "clusters"):
        raise PairmineError("--encoder and --batches clusters go together; pass both, or neither")
    if clusters < 1:
        raise PairmineError(f"--clusters {clusters}: at least 1")


@dataclass(frozen=True)
class _Drawn:
    """The m drawn queries by number, how often each was drawn before, and their random keys."""

    query: np.ndarray
    again: np.ndarray
    keys: np.ndarray


def _keys(pool: Pool, sources: Sequence[Source], seed: int) -> np.ndarray:
    """A random key for each query, (queries,) uint64."""
    names = [sources[number].name for number in pool.source.tolist()]
    pairs = zip(names, pool.ids, strict=True)
    return np.fromiter((seed_of(seed, "mix", name, query) for name, query in pairs), np.uint64, len(names))


def _draw(pool: Pool, sources: Sequence[Source], weighing: Weighing, keys: np.ndarray) -> _Drawn:
    units = pool.rows if weighing.unit == "pairs" else np.ones(len(pool), np.int64)
    held = np.bincount(pool.source, weights=units, minlength=len(sources)).astype(np.int64)
    weights = np.array([weighing.weights.get(source.name, 1.0) for source in sources])
    counts = apportion(held, alpha=weighing.alpha, weights=weights, size=weighing.size, repeat=weighing.repeat)
    query, again, drawn = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for number in range(len(sources)):
        own, left, turn = np.flatnonzero(pool.source == number), int(counts[number]), 0
        while left and len(own):
            of_turn = mixed(keys[own], turn) if turn else keys[own]
            ordered = np.argsort(of_turn, kind="stable")
            # The longest run of queries that does not take more than is wanted.
            fits = ordered[np.cumsum(units[own[ordered]]) <= left]
            query.append(own[fits])
            again.append(np.full(len(fits), turn))
            # Another key than the one that it was drawn by: those drawn have small ones, and would all come first.
            drawn.append(mixed(of_turn[fits], turn + 1))
            left -= int(units[own[fits]].sum())
            turn += 1
            if len(fits) < len(own):
                break
    return _Drawn(np.concatenate(query), np.concatenate(again), np.concatenate(drawn))


def _cluster(
    pool: Pool,
    sources: Sequence[Source],
    drawn: _Drawn,
    encoder: Encoder,
    most: int,
    batch_size: int,
    seed: int,
    advance: Advance,
) -> np.ndarray:
    """The cluster of each drawn query among those of its source, (m,) int64 from 0."""
    found = np.zeros(len(drawn.query), np.int64)
    of_source = pool.source[drawn.query]
    for number, source in enumerate(sources):
        members = np.flatnonzero(of_source == number)
        if not len(members):
            continue
        texts, places = _texts(pool, drawn.query[members], source.name)
        vectors = encoder.encode(texts, "query", advance)
        count = max(1, min(most, len(members) // batch_size, len(texts)))
        clusters = Clusters.of(vectors, count, seed=seed_of(seed, "clusters", source.name))
        found[members] = clusters.nearest(vectors, 1)[places, 0]
    return found


def _texts(pool: Pool, queries: np.ndarray, name: str) -> tuple[list[str], np.ndarray]:
    """The distinct texts of some queries, and which of them each one has."""
    if "query" not in pool.pairs.column_names:
        raise PairmineError(f'{name}: no "query" texts to make clusters of')
    texts = pool.pairs["query"].take(pa.array(pool.starts[queries])).cast(pa.string()).combine_chunks()
    if texts.null_count:
        at = int(np.flatnonzero(pc.is_null(texts).to_numpy(zero_copy_only=False))[0])
        raise PairmineError(f'{name}: query "{pool.ids[int(queries[at])]}" has no text to make clusters of')
    encoded = texts.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _outcome(
    pool: Pool,
    sources: Sequence[Source],
    drawn: _Drawn,
    order: np.ndarray,
    batch: np.ndarray | None,
    columns: Mapping[str, np.ndarray],
    notes: Counter[str],
) -> Outcome:
    chosen = drawn.query[order]
    kept = _again(pool.pairs.take(pa.array(pool.rows_of(chosen))), drawn.again[order], pool.rows[chosen])
    for name, values in columns.items():
        kept = _with(kept, name, values[order], pool.rows[chosen])
    rejected = [_not_drawn(pool, sources, drawn)]
    if batch is not None:
        kept = _with(kept, "batch", batch[order], pool.rows[chosen])
        rejected.append(_left_over(pool, sources, drawn, batch))
    added = int(pool.rows[drawn.query[drawn.again > 0]].sum())
    kept = schema.as_pairs(kept)
    _check_ids(kept)
    return Outcome(kept, pa.concat_tables(rejected), rows_in=pool.pairs.num_rows, added=added, notes=notes)


def _again(rows: pa.Table, again: np.ndarray, counts: np.ndarray) -> pa.Table:
    """`rows` with "#2" behind the id of a query that comes the second time."""
    if not again.any():
        return rows
    turn = np.repeat(again, counts)
    ids = rows["query_id"].combine_chunks()
    numbered = pc.binary_join_element_wise(ids, pa.array(turn + 1).cast(pa.string()), "#")
    return rows.set_column(0, "query_id", pc.if_else(pa.array(turn > 0), numbered, ids))


def _with(rows: pa.Table, name: str, values: np.ndarray, counts: np.ndarray) -> pa.Table:
    """`rows` with the value of each query on all its rows, in place of a column of that name."""
    if name in rows.column_names:
        rows = rows.drop_columns(name)
    return rows.append_column(name, pa.array(np.repeat(values, counts), pa.int32()))


def _not_drawn(pool: Pool, sources: Sequence[Source], drawn: _Drawn) -> pa.Table:
    is_drawn = np.zeros(len(pool), bool)
    is_drawn[drawn.query] = True
    return _rejected(pool, sources, np.flatnonzero(~is_drawn), "not drawn")


def _left_over(pool: Pool, sources: Sequence[Source], drawn: _Drawn, batch: np.ndarray) -> pa.Table:
    return _rejected(pool, sources, drawn.query[batch == LEFT_OVER], "left over, no full batch")


def _rejected(pool: Pool, sources: Sequence[Source], queries: np.ndarray, why: str) -> pa.Table:
    names = pa.array([f"{source.name}: {why}" for source in sources])
    reasons = names.take(pa.array(np.repeat(pool.source[queries], pool.rows[queries]), pa.int64()))
    return with_reason(pool.pairs.take(pa.array(pool.rows_of(queries))), reasons)


def _check_ids(kept: pa.Table) -> None:
    """Raise a PairmineError where an id made here ("nli/17", "17#2") is one that another query brought along."""
    ids = kept["query_id"].combine_chunks() if kept.num_rows else pa.array([], pa.string())
    if not len(ids):
        return
    new = np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False))
    first = ids.filter(pa.array(new))
    counts = pc.value_counts(first)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise PairmineError(
            f'query id "{twice[0]["values"]}" would stand for two queries; give the sources other names, '
            "or their queries other ids"
        )
