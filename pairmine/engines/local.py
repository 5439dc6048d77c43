"""Where a stage's tables are worked on: here, in this process or in several."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice

import pyarrow as pa

from pairmine.errors import GAVE_UP, PairmineError
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
    from concurrent.futures.process import BrokenProcessPool

    others = multiprocessing.active_children()
    context = multiprocessing.get_context("forkserver")
    _start_server()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_learn, initargs=(stage,)) as pool:
        under_way: deque[Future[Outcome]] = deque()
        is_done = False
        try:
            for table in chain(first, waiting):
                under_way.append(pool.submit(_work, table))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
            is_done = True
        except BrokenProcessPool:
            raise PairmineError(
                "a worker process was killed, as the system does for want of memory; "
                "run the same command again, with fewer --workers if that comes again",
                exit_code=GAVE_UP,
            ) from None
        finally:
            if not is_done:  # what they still work on is of no use to anybody
                for each in multiprocessing.active_children():
                    if each not in others:
                        each.kill()


def _start_server() -> None:
    """Start what forks the workers, which inherit that Ctrl-C, though it reaches the whole group, is for the command.

    Blocked rather than ignored, so that one that comes just now is heard afterwards.
    """
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STAGE: list[Stage] = []


def _learn(stage: Stage) -> None:
    threading.Thread(target=_follow_parent, daemon=True).start()
    _STAGE[:] = [stage]


def _follow_parent() -> None:
    """End with the command, which may be killed outright: else workers wait for the next table for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(table: pa.Table) -> Outcome:
    return _STAGE[0](table)
