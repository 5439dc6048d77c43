"""`pairmine stats` on a cluster: shards are counted as files are, and the counts put together here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import Side, nothing
from pairmine.backends.models import Advance
from pairmine.cli.model_work import quiet
from pairmine.stages.audit import Encodes, limit_of, queries_below, query_keys
from pairmine.stages.stats import Stats
from pairmine.stages.stats.hubs import Leading, Named

if TYPE_CHECKING:
    from pairmine.cli.progress import Progress
    from pairmine.cli.ray_run import RayEngine
    from pairmine.engines.shards import Piece, Pool, Shared
    from pairmine.files.source import PairSource

_AT_ONCE = 2_048


class Shards:
    """A pair set in shards, which a cluster counts."""

    def __init__(self, engine: RayEngine, progress: Progress, source: PairSource) -> None:
        self._engine, self._progress = engine, progress
        self._pieces = engine.pieces(progress, source)

    def count(self, into: Stats, counting: Counting) -> None:
        """Count all rows."""
        for _, found in self._fold(counting, "rows", "count"):
            into.merge(found)
        leading = into.hubs.leading()
        if not len(leading.keys):
            return
        naming = Naming(self._engine.cluster.share(leading))
        named = dict(self._fold(naming, "rows for the names of hubs", "names"))
        into.hubs.take_names(each for number in sorted(named) for each in named[number])

    def sample(self, size: int, seed: int) -> list[pa.Table]:
        """The rows of the sample that `audit.Sample` takes, in their order."""
        keys = np.empty(0, np.uint64)
        for _, found in self._fold(Keys(size, seed), "queries for the sample", "keys"):
            keys = np.sort(np.concatenate([keys, found]))[: size + 1]
        drawn = dict(self._fold(Drawn(limit_of(keys, size), seed), "rows of the sample", "sample"))
        return [table for number in sorted(drawn) for table in drawn[number]]

    def _fold(self, make: Any, what: str, step: str) -> Iterator[tuple[int, Any]]:
        for piece, found in self._engine.fold(self._progress, self._pieces, make, what=what, step=step):
            yield piece.number, found


def _chunks(piece: Piece) -> Iterator[pa.Table]:
    from pairmine.files.source import open_pairs

    return open_pairs(piece.path, quiet).chunks()


@dataclass(frozen=True)
class Counting:
    """Makes what counts the rows of a shard.

    `draws` are the columns of the recipes that the lineage names; of others the worker knows those that come along.
    """

    tokenizer: str | None
    max_tokens: int | None
    draws: Mapping[str, Sequence[str]]

    def __call__(self) -> Callable[[Piece], Stats]:
        from pairmine.cli.stats import token_count
        from pairmine.cli.yields import draws_of
        from pairmine.stages.stats.lengths import Remembered

        count_tokens = token_count(self.tokenizer)
        tokens = None if count_tokens is None else Remembered(count_tokens)

        def draws(recipe: str) -> Sequence[str]:
            return self.draws[recipe] if recipe in self.draws else draws_of(recipe)

        def count(piece: Piece) -> Stats:
            counted = Stats(tokens=tokens, max_tokens=self.max_tokens, draws_of=draws)
            for chunk in _chunks(piece):
                counted.add(chunk)
            return counted

        return count


@dataclass(frozen=True)
class Naming:
    """Makes what tells the ids and texts of the documents that may be hubs, as far as a shard has them."""

    leading: Shared[Leading]

    def __call__(self) -> Callable[[Piece], list[Named]]:
        leading = self.leading.get()
        return lambda piece: [named for chunk in _chunks(piece) for named in leading.named(chunk)]


@dataclass(frozen=True)
class EncoderOfWorkers:
    """An encoder that the workers of `pool` load with `opening`: texts go there some thousand at a time."""

    pool: Pool
    opening: Callable[[], Encodes]

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Vectors of `texts`, (n, dim) float32, unit length; (0, 0) for none."""
        items = [texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE)]
        found = {}
        for at, vectors in self.pool.map(Embedding(self.opening, side), items, resident=True):
            found[at] = vectors
            advance(len(vectors))
        return np.concatenate([found[at] for at in sorted(found)]) if found else np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Embedding:
    """Makes what embeds some texts."""

    opening: Callable[[], Encodes]
    side: Side

    def __call__(self) -> Callable[[Sequence[str]], np.ndarray]:
        encoder = self.opening()
        return lambda texts: encoder.encode(texts, self.side)


@dataclass(frozen=True)
class Keys:
    """Makes what tells the smallest keys of a shard's queries: a sample takes some of them."""

    size: int
    seed: int

    def __call__(self) -> Callable[[Piece], np.ndarray]:
        def keys(piece: Piece) -> np.ndarray:
            every = [query_keys(chunk, seed=self.seed)[0] for chunk in _chunks(piece)]
            return np.sort(np.concatenate([np.empty(0, np.uint64), *every]))[: self.size + 1]

        return keys


@dataclass(frozen=True)
class Drawn:
    """Makes what takes a shard's rows of a sample: those of the queries whose key is below `limit`."""

    limit: int
    seed: int

    def __call__(self) -> Callable[[Piece], list[pa.Table]]:
        return lambda piece: [queries_below(chunk, self.limit, seed=self.seed)[0] for chunk in _chunks(piece)]
