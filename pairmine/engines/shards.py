"""What a command does with the shards of its input, wherever they are worked on."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from pairmine.outcome import Outcome

Item = TypeVar("Item")
Result = TypeVar("Result")
Parcel = TypeVar("Parcel")
Make = Callable[[], Callable[[Item], Result]]
"""What a worker calls once, and what that gives it to call for each item; both are pickled on their way there."""


@dataclass(frozen=True)
class Piece:
    """A shard of an input: a file of `rows` rows, of which the first one is row `first` of the whole."""

    number: int
    path: str
    rows: int
    first: int


@dataclass(frozen=True)
class Written:
    """What a table of a shard comes to: its outcome, and the rows of further outputs by their names."""

    outcome: Outcome
    extras: Mapping[str, pa.Table] = field(default_factory=dict)


class Job(Protocol):
    """Work that is set up, with its models loaded."""

    def outcomes(self, piece: Piece) -> Iterator[Outcome | Written]:
        """What the rows of a shard come to, in their order; at least one, perhaps without rows."""

    def facts(self) -> dict[str, Any]:
        """What a lineage records, models with their digests: the same from every worker."""

    def sums(self) -> dict[str, int]:
        """Numbers to be added up over all shards, since this was asked for last."""


class Work(Protocol):
    """What a command does with a shard, as plain data that travels to whoever does it."""

    def open(self) -> Job:
        """Set it up: models are loaded here, once per worker."""


@dataclass
class Counts:
    """What outcomes come to: numbers of rows, reasons and notes."""

    rows_in: int = 0
    added: int = 0
    kept: int = 0
    used: int = 0
    reshapes: bool = False
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, outcome: Outcome) -> Counts:
        """The counts of one outcome."""
        import pyarrow.compute as pc

        reasons = pc.value_counts(outcome.rejected["reason"]).to_pylist()
        return cls(
            outcome.rows_in,
            outcome.added,
            outcome.kept.num_rows,
            outcome.rows_in - outcome.rejected.num_rows,
            outcome.reshapes,
            Counter({each["values"]: each["counts"] for each in reasons}),
            Counter(outcome.notes),
        )

    def add(self, other: Counts) -> None:
        """Add those of more rows, which come later."""
        self.rows_in += other.rows_in
        self.added += other.added
        self.kept += other.kept
        self.used += other.used
        self.reshapes = other.reshapes
        self.rejected.update(other.rejected)
        self.notes.update(other.notes)


Value = TypeVar("Value", covariant=True)


class Shared(Protocol[Value]):
    """A value that every worker reads and none changes; it travels once to each machine."""

    def get(self) -> Value:
        """The value."""


class Pool(Protocol):
    """Workers: a Ray cluster, or this process."""

    workers: int

    def map(
        self,
        make: Make[Item, Result],
        items: Sequence[Item],
        *,
        resident: bool = False,
        most: int | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """`make()(item)` of every item, with the item's place, as they are done.

        A worker calls `make` once; there are at `most` so many. What is `resident`, as models are, stays in workers
        of its own, which have the GPUs. What a lost worker had under way is done again, so
        that work done twice must leave the same as work done once. Raises the first PairmineError that comes up.
        """

    def shuffle(
        self,
        split: Make[Item, Iterable[tuple[int, Parcel]]],
        items: Sequence[Item],
        join: Make[tuple[int, Iterator[Parcel]], Result],
        *,
        groups: int,
    ) -> Iterator[tuple[int, Result]]:
        """`join()((group, parcels))` of every group that has any, with its number, as they are done.

        `split()(item)` gives parcels, each with the number of its group, from 0; `groups` is about how many there are.
        A group's parcels come in the order of the items, and of an item in the order that it gave them.
        """

    def share(self, value: Result) -> Shared[Result]:
        """`value` for all workers."""


class InProcess:
    """A pool of this process alone, which takes up the items in a shuffled order: for tests of what is done on pools.

    Everything is pickled as on its way to another machine, and `make` is called anew after every few items.
    """

    def __init__(self, workers: int = 2, *, seed: int = 0) -> None:
        self.workers = workers
        self._seed = seed

    def map(
        self,
        make: Make[Item, Result],
        items: Sequence[Item],
        *,
        resident: bool = False,
        most: int | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """See `Pool`."""
        order = list(range(len(items)))
        random.Random(self._seed).shuffle(order)
        for at, place in enumerate(order):
            if at % 3 == 0:
                work = pickle.loads(pickle.dumps(make))()
            yield place, pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(items[place])))))

    def shuffle(
        self,
        split: Make[Item, Iterable[tuple[int, Parcel]]],
        items: Sequence[Item],
        join: Make[tuple[int, Iterator[Parcel]], Result],
        *,
        groups: int,
    ) -> Iterator[tuple[int, Result]]:
        """See `Pool`."""
        found: dict[int, dict[int, list[bytes]]] = {}
        for place, parcels in self.map(Listing(split), items):
            for group, parcel in parcels:
                found.setdefault(group, {}).setdefault(place, []).append(pickle.dumps(parcel))
        numbers = list(found)
        each = [(group, [parcel for at in sorted(found[group]) for parcel in found[group][at]]) for group in numbers]
        for at, result in self.map(_Unpacking(join), each):
            yield numbers[at], result

    def share(self, value: Result) -> Shared[Result]:
        """See `Pool`."""
        return _Held(value)


@dataclass(frozen=True)
class Listing(Generic[Item, Parcel]):
    """Makes what gives all parcels of an item at once, for a pool's `map`."""

    split: Make[Item, Iterable[tuple[int, Parcel]]]

    def __call__(self) -> Callable[[Item], list[tuple[int, Parcel]]]:
        split = self.split()
        return lambda item: list(split(item))


@dataclass(frozen=True)
class _Unpacking(Generic[Parcel, Result]):
    join: Make[tuple[int, Iterator[Parcel]], Result]

    def __call__(self) -> Callable[[tuple[int, list[bytes]]], Result]:
        join = self.join()
        return lambda group: join((group[0], map(pickle.loads, group[1])))


@dataclass(frozen=True)
class _Held(Generic[Result]):
    value: Result

    def get(self) -> Result:
        return self.value
