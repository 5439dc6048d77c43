"""A shuffle of parcels that lie in files of the work folder: what a pool sorts says where each one lies.

A pool's own shuffle copies, compresses and spills what it sorts, some times over; here that is three numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from pairmine.engines import kept
from pairmine.engines.shards import Item, Make, Parcel, Pool, Result
from pairmine.files.byte_ranges import ByteRanges, put_bytes
from pairmine.files.places import remove_tree
from pairmine.files.sharded import WorkFolder

Place = tuple[int, int, int]
"""The number of a file, and where in it a parcel begins and ends."""


def shuffle(
    pool: Pool,
    split: Make[Item, Iterable[tuple[int, Parcel]]],
    items: Sequence[Item],
    join: Make[tuple[int, Iterator[Parcel]], Result],
    *,
    groups: int,
    folder: WorkFolder,
    name: str,
) -> Iterator[tuple[int, Result]]:
    """As `shards.Pool.shuffle`; parcels are what `kept.loads` reads, and lie in `folder` under `name` until the end."""
    files = folder.place(f"shuffled/{name}/file-")
    yield from pool.shuffle(_Putting(split, files), list(enumerate(items)), _Taking(join, files), groups=groups)
    remove_tree(files.rpartition("/")[0])


@dataclass(frozen=True)
class _Putting(Generic[Item, Parcel]):
    """Makes what puts an item's parcels into a file, and says where in it each one lies."""

    split: Make[Item, Iterable[tuple[int, Parcel]]]
    files: str

    def __call__(self) -> Callable[[tuple[int, Item]], Sequence[tuple[int, Place]]]:
        split = self.split()

        def put(numbered: tuple[int, Item]) -> Sequence[tuple[int, Place]]:
            number, item = numbered
            found: list[tuple[int, Place]] = []

            def parcels() -> Iterator[bytes]:
                start = 0
                for group, parcel in split(item):
                    content = kept.dumps(parcel)
                    found.append((group, (number, start, start + len(content))))
                    start += len(content)
                    yield content

            put_bytes(_file(self.files, number), parcels())
            return found

        return put


@dataclass(frozen=True)
class _Taking(Generic[Parcel, Result]):
    """Makes what works on a group whose parcels lie at the places that it is given."""

    join: Make[tuple[int, Iterator[Parcel]], Result]
    files: str

    def __call__(self) -> Callable[[tuple[int, Iterator[Place]]], Result]:
        join = self.join()

        def take(group: tuple[int, Iterator[Place]]) -> Result:
            return join((group[0], _parcels(self.files, group[1])))

        return take


def _parcels(files: str, places: Iterable[Place]) -> Iterator[Any]:
    """Those at `places`, one after the other; those of a file follow each other."""
    file = ByteRanges("")
    for number, start, stop in places:
        path = _file(files, number)
        if file.path != path:
            file = ByteRanges(path)
        yield kept.loads(file.read(start, stop).data, path)


def _file(files: str, number: int) -> str:
    return f"{files}{number:06}"
