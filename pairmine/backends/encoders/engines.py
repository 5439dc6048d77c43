"""Batches dealt out to the engines that compute them: devices, or threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np

from pairmine.backends.encoders.protocol import Side
from pairmine.backends.encoders.tokens import Tokens

_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Some texts of like length: their `rows` in the input, and what an engine needs of them.

    `whole` are their places in `tokens`, the last one repeated up to a full number of rows; an engine that
    tokenises by itself gets `texts` in that order. `length` is what they are padded to.
    """

    rows: np.ndarray
    whole: np.ndarray
    length: int
    tokens: Tokens | None = None
    fill: dict[str, int] = field(default_factory=dict)
    pad: str = "right"
    texts: Sequence[str] = ()
    side: Side = "document"
    prompt: str = ""


Engine = Callable[[Batch], np.ndarray]


def deal(
    engines: Sequence[Engine], batches: Iterable[Batch], *, apart: bool = False
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Each batch with what an engine made of it, in the order of the batches.

    A single engine runs in this thread, unless `apart`; several in a thread each, with their share of the
    cores for torch. A few batches are prepared ahead.
    """
    if len(engines) == 1 and not apart:
        for batch in batches:
            yield batch, engines[0](batch)
        return
    import torch

    cores = torch.get_num_threads()
    share = 1 if apart else max(cores // len(engines), 1)
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)

    def work(batch: Batch) -> np.ndarray:
        engine = free.get()
        try:
            return engine(batch)
        finally:
            free.put(engine)

    pool = ThreadPoolExecutor(len(engines), initializer=torch.set_num_threads, initargs=(share,))
    waiting: deque[tuple[Batch, Future[np.ndarray]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(work, batch)))
            if len(waiting) > _AHEAD * len(engines):
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
