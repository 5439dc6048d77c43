"""What runs on the machines of a cluster, without one: work made once in a process, and errors that travel."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from pairmine.engines.ray import worker
from pairmine.engines.ray.worker import Small, actor, answers, task
from pairmine.errors import GAVE_UP, PairmineError

MADE: list[str] = []


class OfTwo(Exception):
    """Cannot be made again of what it keeps."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def doubling() -> Callable[[int], int]:
    MADE.append("doubling")
    return lambda item: 2 * item


def full() -> Callable[[int], int]:
    def work(item: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "parts/00003.parquet")

    return work


def given_up() -> Callable[[int], int]:
    raise PairmineError("no model there", exit_code=GAVE_UP)


def odd() -> Callable[[int], int]:
    def work(item: int) -> int:
        raise OfTwo("this", "that")

    return work


def batch(item: Any, place: int = 0) -> pa.Table:
    return pa.table({"place": [place], "item": pa.array([pickle.dumps(item)], pa.binary())})


def sent(make: Any) -> Small[bytes]:
    return Small(pickle.dumps(make))


def test_work_is_made_once_in_a_process_whatever_comes_in_between() -> None:
    MADE.clear()
    first, second = task(sent(doubling)), task(sent(doubling))
    found = [list(answers(work(batch(item, item)))) for item, work in ((1, first), (2, second), (3, first))]
    assert found == [[(1, 2)], [(2, 4)], [(3, 6)]]
    assert MADE == ["doubling", "doubling"]


def test_a_process_keeps_the_work_of_a_few_passes_only() -> None:
    for _ in range(5):
        list(answers(task(sent(doubling))(batch(1))))
    assert len(worker._MADE) <= worker._KEPT


def test_a_full_disk_of_a_worker_is_a_full_disk_here() -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(answers(task(sent(full))(batch(1))))
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == "parts/00003.parquet"
    assert "on a worker" in str(caught.value.__cause__)


def test_what_a_worker_gives_up_on_keeps_its_line_and_exit_code() -> None:
    with pytest.raises(PairmineError, match=r"^no model there$") as caught:
        list(answers(actor(sent(given_up))()(batch(1))))
    assert caught.value.exit_code == GAVE_UP


def test_an_error_that_cannot_travel_says_what_it_was() -> None:
    with pytest.raises(RuntimeError, match="OfTwo: this and that") as caught:
        list(answers(task(sent(odd))(batch(1))))
    assert "test_ray_worker" in str(caught.value.__cause__)
