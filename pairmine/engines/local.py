"""Where a stage's tables are worked on: here, in this process or in several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice

import pyarrow as pa

from pairmine.outcome import Outcome

Stage = Callable[[pa.Table], Outcome]


def map_tables(stage: Stage, tables: Iterable[pa.Table], *, workers: int) -> Iterator[Outcome]:
    """`stage` of every table, in their order; with several workers a few tables are under way at once.

    A single table is worked on in this process, since starting others would take longer. The stage goes to
    each worker once, since a word list that it holds may be larger than the tables.
    """
    waiting = iter(tables)
    first = list(islice(waiting, 2))
    if workers <= 1 or len(first) < 2:
        yield from map(stage, chain(first, waiting))
        return
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_learn, initargs=(stage,)) as pool:
        under_way: deque[Future[Outcome]] = deque()
        try:
            for table in chain(first, waiting):
                under_way.append(pool.submit(_work, table))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


_STAGE: list[Stage] = []


def _learn(stage: Stage) -> None:
    _STAGE[:] = [stage]


def _work(table: pa.Table) -> Outcome:
    return _STAGE[0](table)
