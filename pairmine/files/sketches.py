"""What a bounded dedup keeps on disk while it runs: sketches by block of rows, so that a killed run goes on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from pairmine.errors import GAVE_UP, PairmineError, code_of
from pairmine.files.arrays import ArrayFile, ArrayWriter, KeyRun
from pairmine.files.links import check_own
from pairmine.files.locations import cause
from pairmine.files.partial import in_use, said_plainly, write_atomically
from pairmine.files.spills import PairSpill, RaggedSpill
from pairmine.files.whole import read_whole
from pairmine.versions import plan_digest, plan_text

_FORMAT = 1
_IDENTITY = "identity.json"
_LOCK = "lock"
_OURS = re.compile(
    rf"{re.escape(_IDENTITY)}|{_LOCK}|block-\d+|(?:pairs|rows)-[\w-]+"
    rf"|\.(?:{re.escape(_IDENTITY)}|block-\d+|(?:pairs|rows)-[\w-]+)\.[0-9a-f]+\.partial"
)
_SORT_BYTES = 64
"""What a key takes while its part is read and sorted."""


class SketchFolder:
    """A folder for one run of dedup: the sorted keys of each block of `block_rows` rows in a file of its own.

    `identity` is whatever the sketches depend on. A folder that a killed run with the same identity left
    is taken up, any other is emptied. One run at a time: raises PairmineError while another holds it.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], budget_bytes: int, *, block_rows: int) -> None:
        self.path = folder
        self.block_rows = block_rows
        self.budget_bytes = budget_bytes
        self._files: dict[int, ArrayFile] = {}
        check_own(str(folder), ", or name another place with --scratch")
        with said_plainly(str(folder), opens=True):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = locked(folder / _LOCK, f"{folder}: another run of dedup works there; wait for it")
        try:
            self._take_up(identity)
        except BaseException:
            self.close()
            raise

    @property
    def resumed(self) -> int:
        """How many blocks are finished."""
        return len(self._files)

    def has(self, block: int) -> bool:
        """Whether this block is finished."""
        return block in self._files

    def put(self, block: int, keys: Iterable[tuple[str, tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write a block: under each name the keys of some rows, uint64, and the rows, in any order."""
        path = self.path / f"block-{block:06d}"
        with in_use():
            writer = ArrayWriter(path)
        try:
            for name, (some, rows) in keys:
                order = np.argsort(some, kind="stable")
                writer.put_keys(name, iter([(some[order], rows[order])]))
            writer.commit()
        except BaseException:
            writer.remove()
            raise
        self._files[block] = ArrayFile(path)

    def parts(self, name: str, budget_bytes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All keys of that name with their rows, ascending, in parts that do not part equal keys.

        A part is what can be read and sorted in about `budget_bytes`.
        """
        runs = [self._files[block].keys(name) for block in sorted(self._files)]
        total = sum(map(len, runs))
        count = 1
        while total * _SORT_BYTES > budget_bytes * count and count < 1 << 16:
            count *= 2
        for low in range(0, 1 << 64, (1 << 64) // count):
            yield merged(runs, low, low + (1 << 64) // count)

    def pairs(self) -> PairSpill:
        """A place for pairs."""
        return PairSpill(self.path, self.budget_bytes)

    def rows(self, name: str) -> RaggedSpill:
        """A place for rows of numbers."""
        return RaggedSpill(self.path / f"rows-{name}", self.budget_bytes)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let go of the folder; what is finished stays."""
        self._lock.close()

    def _take_up(self, identity: Mapping[str, Any]) -> None:
        """Open the blocks of a run with the same identity; of another one nothing stays."""
        body = {"format": _FORMAT, "block_rows": self.block_rows, **identity}
        digest = sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
        there = _read_text(self.path / _IDENTITY)
        if there is None or plan_digest(there, _FORMAT, str(self.path)) != digest:
            self._empty()
            write_atomically(str(self.path / _IDENTITY), plan_text(digest, _FORMAT))
        for path in sorted(self.path.glob("block-[0-9]*")):
            self._files[int(path.name.partition("-")[2])] = ArrayFile(path)

    def _empty(self) -> None:
        for path in self.path.iterdir():
            if path.name != _LOCK:
                path.unlink(missing_ok=True)


def is_sketch_folder(folder: Path) -> bool:
    """Whether a run of dedup keeps or kept its sketches there, and nobody anything else."""
    if not folder.is_dir():
        return False
    # One that was killed while it made or removed the folder left a part of this.
    return all(_OURS.fullmatch(path.name) for path in folder.iterdir())


def remove_sketches(folder: Path) -> None:
    """Remove such a folder, unless another run is at work there."""
    with contextlib.suppress(PairmineError):
        SketchFolder(folder, {}, 0, block_rows=0).remove()


def merged(runs: Sequence[KeyRun], low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys of all `runs` from `low` to before `high`, ascending, and their rows; of equal keys the first run's."""
    found = [run.between(low, high) for run in runs]
    keys = np.concatenate([np.empty(0, np.uint64), *(keys for keys, _ in found)])
    rows = np.concatenate([np.empty(0, np.uint32), *(rows for _, rows in found)])
    order = np.argsort(keys, kind="stable")
    return keys[order], rows[order]


def locked(path: Path, busy: str, *, shared: bool = False) -> IO[bytes]:
    """A lock that holds until the file is closed; raises PairmineError(`busy`) where another process has it."""
    try:
        handle = path.open("ab")
    except OSError as error:
        code = code_of(error)
        remedy = "mend that and run the same command again" if code == GAVE_UP else "name another place"
        raise PairmineError(f"{path}: {cause(error)}; {remedy}", exit_code=code) from None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise PairmineError(busy, exit_code=GAVE_UP) from None
    except OSError:
        pass  # a file system without locks
    return handle


def fingerprint(paths: Sequence[str]) -> list[list[Any]]:
    """What tells files from changed ones: path, size and time of the last change."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = os.stat(path)
            found.append([os.path.realpath(path), stat.st_size, stat.st_mtime_ns])
    return found


def _read_text(path: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return read_whole(path).decode()
    return None
