"""Which drawn query stands in which batch, by what may not meet there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pairmine.errors import PairmineError
from pairmine.stages.dedup.matches import Near
from pairmine.stages.mix.batches import Batches, numbered
from pairmine.stages.mix.conflicts import Conflicts
from pairmine.stages.mix.draws import Drawn
from pairmine.stages.mix.known import Answers
from pairmine.stages.mix.lengths import Lengths
from pairmine.stages.mix.places import first_fit
from pairmine.stages.mix.sources import Pool
from pairmine.stages.mix.standins import NearCopies
from pairmine.stages.mix.topics import VectorsOf, clusters_of

BATCHES = ("none", "mixed", "source", "clusters")
BUCKETS = ("none", "length")
POSITIVES = ("each", "together")


@dataclass(frozen=True)
class Batching:
    """Batches of `size` queries, for `ranks` trainers that take one each at a time.

    `kind` is one of `BATCHES`: none at all, over all sources, of one source each, of one of at most `clusters` clusters
    of a source each. With `full`, what fills no batch is rejected. The `bucket` "length" puts queries of near length
    together. `positives` "each" gives every positive of a query a place of its own, "together" leaves them in
    one. `near` says when two texts are near copies, or which are; None looks for exact ones alone.
    """

    kind: str = "none"
    size: int | None = None
    full: bool = False
    ranks: int = 1
    bucket: str = "none"
    positives: str = "each"
    near: Near | NearCopies | None = None
    clusters: int = 10


@dataclass(frozen=True)
class Plan:
    """The batches of m draws, and `columns` (m,) that say more of each."""

    batches: Batches
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


def plan(
    pool: Pool,
    names: Sequence[str],
    drawn: Drawn,
    place: np.ndarray | None,
    answers: Answers,
    batching: Batching,
    notes: Counter[str],
    *,
    seed: int,
    vectors_of: VectorsOf | None,
) -> Plan:
    """Batches of the draws in which no document is known to answer another query of the batch.

    The draws of a group (all, those of a source, of a cluster) come in the order of their keys or lengths, and each
    goes into the first batch where it meets no conflict (`places.first_fit`). With several ranks that holds for the
    batches of one step together, since trainers may share negatives over ranks. `place` is that of `Drawn.rows`.
    """
    assert batching.size is not None
    group, columns = _groups(pool, names, drawn.query, batching, seed, vectors_of)
    rows, counts = drawn.rows(pool, np.arange(len(drawn.query)), place)
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    conflicts = Conflicts.of(answers, answers.query[drawn.query], owner, answers.document[rows])
    by_chance = np.lexsort((drawn.keys, group))
    order, lengths = by_chance, None
    if batching.bucket == "length":
        lengths = Lengths.of(pool.pairs, rows, counts)
        order = np.lexsort((drawn.keys, lengths.query, lengths.longest, group))
    step = first_fit(order, group, conflicts, batching.size * batching.ranks)
    batches = numbered(step, order, drawn.keys, batching.size, ranks=batching.ranks, full=batching.full)
    notes["batches"] = batches.count
    notes["batches that are short"] = batches.short(batching.size)
    if lengths is not None:
        unsorted = first_fit(by_chance, group, Conflicts.none(len(counts)), batching.size)
        notes["padding before, in percent"] = round(100 * lengths.padding(unsorted))
        notes["padding by length, in percent"] = round(100 * lengths.padding(batches.batch))
    return Plan(batches, columns)


def _groups(
    pool: Pool,
    names: Sequence[str],
    query: np.ndarray,
    batching: Batching,
    seed: int,
    vectors_of: VectorsOf | None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The group that each draw shares its batches with, and the columns that tell of it."""
    if batching.kind == "mixed":
        return np.zeros(len(query), np.int64), {}
    if batching.kind == "source":
        return pool.source[query], {}
    assert vectors_of is not None
    assert batching.size is not None
    size = batching.size * batching.ranks
    found = clusters_of(pool, names, query, vectors_of, batching.clusters, size, seed)
    return pool.source[query] * (batching.clusters + 1) + found, {"query_cluster": found}


def check_batching(batching: Batching, has_vectors: bool) -> None:
    """Raise a PairmineError for settings of batches that do not fit each other."""
    for flag, value, known in (
        ("--batches", batching.kind, BATCHES),
        ("--bucket", batching.bucket, BUCKETS),
        ("--positives", batching.positives, POSITIVES),
    ):
        if value not in known:
            raise PairmineError(f"{flag} {value}: choose {', '.join(known)}")
    if batching.kind == "none":
        _check_none(batching)
    elif batching.size is None or batching.size < 1:
        raise PairmineError(
            f"--batches {batching.kind} wants --batch-size, the number of queries in a batch, at least 1"
        )
    if batching.ranks < 1:
        raise PairmineError(f"--ranks {batching.ranks}: at least 1")
    if has_vectors != (batching.kind == "clusters"):
        raise PairmineError("--batches clusters wants --encoder or --vectors, and nothing else does")
    if batching.clusters < 1:
        raise PairmineError(f"--clusters {batching.clusters}: at least 1")


def _check_none(batching: Batching) -> None:
    given = {
        "--batch-size": batching.size is not None,
        "--full-batches": batching.full,
        "--ranks": batching.ranks != 1,
        "--bucket": batching.bucket != "none",
        "--positives": batching.positives != "each",
    }
    for flag, is_given in given.items():
        if is_given:
            raise PairmineError(f"{flag} has an effect with --batches mixed, source or clusters")
