"""A shuffle of parcels that lie in files of the work folder: what a pool sorts says where each one lies.

A pool's own shuffle copies, compresses and spills what it sorts, some times over; here that is three numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic

import numpy as np

from pairmine.engines import kept
from pairmine.engines.shards import Item, Make, Parcel, Pool, Result
from pairmine.files.byte_ranges import ByteRanges, put_bytes, whole_file
from pairmine.files.places import remove_tree
from pairmine.files.sharded import WorkFolder, exists

_PLACES, _MARK_BYTES = "-places", 16
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
    put, take = _Putting(split, folder, files), _Taking(join, folder, files)
    yield from pool.shuffle(put, list(enumerate(items)), take, groups=groups)
    remove_tree(files.rpartition("/")[0])


@dataclass(frozen=True)
class _Putting(Generic[Item, Parcel]):
    """Makes what puts an item's parcels into a file, and says where in it each one lies.

    Beside it lies what was said: Ray does several items in one task, and again all of them where a worker is lost.
    """

    split: Make[Item, Iterable[tuple[int, Parcel]]]
    folder: WorkFolder
    files: str

    def __call__(self) -> Callable[[tuple[int, Item]], Sequence[tuple[int, Place]]]:
        self.folder.check_seen()
        split = self.split()

        def put(numbered: tuple[int, Item]) -> Sequence[tuple[int, Place]]:
            number, item = numbered
            path = _file(self.files, number)
            mark = blake2b(kept.dumps(item), digest_size=_MARK_BYTES).digest()
            if (before := _said(path, mark)) is not None:
                return [(group, (number, start, stop)) for group, start, stop in before.tolist()]
            found: list[tuple[int, Place]] = []

            def parcels() -> Iterator[bytes]:
                start = 0
                for group, parcel in split(item):
                    content = kept.dumps(parcel)
                    found.append((group, (number, start, start + len(content))))
                    start += len(content)
                    yield content

            put_bytes(path, parcels())
            numbers = np.array([(group, start, stop) for group, (_, start, stop) in found], "<i8").reshape(-1, 3)
            put_bytes(f"{path}{_PLACES}", [mark, numbers.tobytes()])
            return found

        return put


@dataclass(frozen=True)
class _Taking(Generic[Parcel, Result]):
    """Makes what works on a group whose parcels lie at the places that it is given."""

    join: Make[tuple[int, Iterator[Parcel]], Result]
    folder: WorkFolder
    files: str

    def __call__(self) -> Callable[[tuple[int, Iterator[Place]]], Result]:
        self.folder.check_seen()
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


def _said(path: str, mark: bytes) -> np.ndarray | None:
    """The group of each parcel of a file and its place, (n, 3) int64, where the same item was put there before."""
    if not exists(path + _PLACES):
        return None
    content = whole_file(path + _PLACES)
    return np.frombuffer(content[_MARK_BYTES:], "<i8").reshape(-1, 3) if content.startswith(mark) else None


def _file(files: str, number: int) -> str:
    return f"{files}{number:06}"
