"""From a column of texts to what finds their copies: sketches of all, and the sets of those that are compared.

Two paths give the same: `native` by machine code, in threads, where there is much text, and `plain` by numpy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.stages.dedup.kernel import plain
from pairmine.stages.dedup.kernel.compiled import NATIVE, Tell, compiled
from pairmine.stages.dedup.kernel.hashes import factors
from pairmine.stages.dedup.kernel.minhash import Bands, banding
from pairmine.stages.dedup.kernel.shingles import Texts, joined
from pairmine.stages.dedup.kernel.slices import Engine, Plan, Sketches, Slice, settled, slices

if TYPE_CHECKING:
    from pairmine.stages.dedup.matches import Near

__all__ = ["Ahead", "Sketches", "exact_keys", "read_column", "read_texts", "sketch"]

T = TypeVar("T")


def sketch(
    column: pa.ChunkedArray | pa.Array, near: Near, *, exact: str = "normalised", tell: Tell | None = None
) -> Sketches:
    """The sketches of all texts of a column; a null counts as a blank text.

    `exact` is what makes two texts the same: "normalised", "bytes" or "words". Any number of `near.workers` (threads)
    and any `near.engine` give the same. `tell` gets a line where the code is compiled first. Raises PairmineError
    where a text is not UTF-8.
    """
    return _sketches(column, _plan(near, exact), _path(column, near.engine, tell), near.workers)


class Ahead:
    """Sketches of a column that are made in threads while it is still read, batch by batch."""

    def __init__(self, near: Near, exact: str, *, tell: Tell | None = None) -> None:
        self._near, self._plan, self._tell = near, _plan(near, exact), tell
        self._pool = ThreadPoolExecutor(near.workers)
        self._parts: list[Future[Sketches]] = []

    def take(self, texts: pa.ChunkedArray) -> None:
        """The next texts of the column."""
        self._parts.append(self._pool.submit(self._sketches, texts))

    def result(self) -> Sketches | None:
        """What `sketch` gives for all texts; None where it has a fault to tell of, with the number of its row."""
        try:
            return Sketches.joined([part.result() for part in self._parts])
        except PairmineError:
            return None
        finally:
            self.close()

    def close(self) -> None:
        """Stop; what was not made yet is not made."""
        self._pool.shutdown(cancel_futures=True)

    def _sketches(self, texts: pa.ChunkedArray) -> Sketches:
        return _sketches(texts, self._plan, _path(texts, self._near.engine, self._tell), 1)


def exact_keys(
    column: pa.ChunkedArray | pa.Array,
    exact: str = "normalised",
    *,
    workers: int = 1,
    engine: str = "auto",
    tell: Tell | None = None,
) -> np.ndarray:
    """`Sketches.exact` of all texts, (n,) uint64, where no near copies are looked for."""
    plan = Plan(exact, False, factors("shingle", 1), None)
    return _sketches(column, plan, _path(column, engine, tell), workers).exact


def _sketches(column: pa.ChunkedArray | pa.Array, plan: Plan, path: Engine, workers: int) -> Sketches:
    out = Sketches.blank(len(column), plan.bands.count if plan.bands else 0)
    for _ in _in_threads(lambda texts: _write(texts, plan, path, out), slices(column), workers):
        pass
    return out


def _write(texts: Slice, plan: Plan, path: Engine, out: Sketches) -> None:
    """The sketches of `texts` into `out`; a key of bytes is that of the text as it came, not as it was settled."""
    even = settled(texts, path)
    path.sketch(even, plan, out)
    if plan.exact == "bytes" and even.own.any():
        places = texts.place + np.flatnonzero(even.own)
        keys = plain.keys_of_bytes(Slice.of(texts.texts.filter(pa.array(even.own)), 0))
        out.exact[places] = np.where(out.exact[places] > 0, keys, np.uint64(0))


def read_column(column: pa.ChunkedArray | pa.Array, near: Near, *, tell: Tell | None = None) -> Texts:
    """The set of shingles and the bag of words of each text; `sketch` tells of the rest."""
    plan, path = _plan(near), _path(column, near.engine, tell)
    parts = _in_threads(lambda texts: path.read(settled(texts, path), plan), slices(column), near.workers)
    return _joined(list(parts))


def read_texts(texts: Sequence[str], ngram: int) -> Texts:
    """The shingles of `ngram` words and the words of each text; a shorter text is one shingle of all its words."""
    plan = Plan("normalised", False, factors("shingle", ngram), None)
    column = pa.array([_without_surrogates(text) for text in texts], pa.large_string())
    path = cast(Engine, plain)
    return _joined([path.read(settled(part, path), plan) for part in slices(column)])


def _without_surrogates(text: str) -> str:
    """Halves of a code point, which JSON can smuggle in, are no words; no more is what stands for them here."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plan(near: Near, exact: str = "normalised") -> Plan:
    bands = Bands.drawn(*banding(near.threshold, near.permutations), near.seed)
    return Plan(exact, near.unit == "character", factors("shingle", near.ngram), bands)


def _path(column: pa.ChunkedArray | pa.Array, engine: str, tell: Tell | None) -> Engine:
    return cast(Engine, compiled(NATIVE, column.nbytes, engine=engine, tell=tell) or plain)


def _joined(parts: list[Texts]) -> Texts:
    return Texts(joined([part.shingles for part in parts]), joined([part.words for part in parts]))


def _in_threads(work: Callable[[Slice], T], items: Iterable[Slice], workers: int) -> Iterator[T]:
    """`work` on each item, in order, in as many threads as there are `workers`."""
    if workers == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
