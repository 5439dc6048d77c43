"""Batches of texts on their way to a server: as many at once as it bears, put back or ended as the answers have it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

from pairmine.backends.exchange import Counted, Exchange
from pairmine.errors import PairmineError
from pairmine.llm.calls import Failure

B = TypeVar("B")
R = TypeVar("R", bound=Counted)


class SendQueue(Generic[B]):
    """What is to be sent, and what was and is not back; nothing more is after an error."""

    def __init__(self, batches: Iterator[B]) -> None:
        self._batches = batches
        self._again: list[B] = []
        self._out: dict[int, B] = {}
        self.error: PairmineError | None = None

    def next(self, is_known: bool) -> B | None:
        """A request to send now; until the server is known there is one at a time, to learn from its answer."""
        if self.error is not None or (self._out and not is_known):
            return None
        try:
            batch = self._again.pop() if self._again else next(self._batches, None)
        except PairmineError as error:
            self.stop(error)
            return None
        if batch is not None:
            self._out[id(batch)] = batch
        return batch

    def took(self, batch: B) -> bool:
        """Note that a request is back; False when it was already."""
        return self._out.pop(id(batch), None) is not None

    def again(self, batch: B) -> None:
        """Send this one before any other."""
        self._again.append(batch)

    def stop(self, error: PairmineError) -> None:
        """Send nothing more; the first error counts."""
        self.error = self.error or error


def answers(exchange: Exchange[B, R, Any], queue: SendQueue[B]) -> Generator[tuple[B, R | Failure]]:
    """Each batch of `queue` with its answer, in the order of the answers; the exchange is closed at the end.

    Once the queue was stopped, what is under way is waited for and handed out, and then its error is raised.
    Ctrl-C hands out the replies that had arrived before it goes on.
    """
    try:
        while True:
            while exchange.room and (batch := queue.next(exchange.is_known)) is not None:
                exchange.submit(batch)
            if not exchange.under_way:
                exchange.wait()  # raises what ended the exchange, as a server that refuses every request
                break
            try:
                found = exchange.wait()
            except (KeyboardInterrupt, SystemExit):
                yield from (each for each in exchange.arrived() if queue.took(each[0]) and _is_reply(each[1]))
                raise
            for batch, result in found:
                queue.took(batch)
                yield batch, result
        if queue.error is not None:
            raise queue.error
    finally:
        exchange.close()


def _is_reply(result: object) -> bool:
    return not isinstance(result, Failure)
