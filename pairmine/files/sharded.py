"""Outputs in parts, and the folder beside them that says which parts are finished, so that a killed run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.folder import MARK, mark_of
from pairmine.files.held import LOCK, hold
from pairmine.files.locations import STDIN, UNFINISHED, filesystem_of, format_of, is_remote, remotely
from pairmine.files.partial import STDOUT, said_plainly, write_atomically
from pairmine.files.sink import Sink

PLAN = "plan.json"
_PARTS = "parts"


class WorkFolder:
    """The folder of a run on shards: `.NAME.ray` beside OUT, or `OUT.ray` where that is an address.

    `identity` is what the run's results depend on. What a killed run with the same identity left is taken up, that of
    any other is removed. Every machine that works on the shards reads and writes here.
    """

    def __init__(self, output: str, identity: Mapping[str, Any]) -> None:
        self.digest = sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        self.path = beside(output)
        self.output = output
        with said_plainly(self.path), remotely_or_here(self.path):
            self._lock = hold(self.path, output)
            if self.read(PLAN) != self.digest:
                self._empty()
                self.make("")
                self.write(PLAN, self.digest)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to the workers: all but the lock."""
        return {**vars(self), "_lock": None}

    def place(self, name: str) -> str:
        """The path of `name` in it; the folders in between are there."""
        with said_plainly(self.path), remotely_or_here(self.path):
            self.make(name.rpartition("/")[0])
        return f"{self.path}/{name}"

    def make(self, name: str) -> None:
        """Make a folder in it; an object store has none."""
        if not is_remote(self.path):
            Path(self.path, name).mkdir(parents=True, exist_ok=True)
            return
        filesystem, inner = filesystem_of(f"{self.path}/{name}")
        filesystem.makedirs(inner, exist_ok=True)

    def read(self, name: str) -> str | None:
        """The small text `name`, None where it is not there."""
        return read_text(f"{self.path}/{name}")

    def write(self, name: str, text: str) -> None:
        """Put a small text there, whole or not at all."""
        write_atomically(self.place(name), text)

    def remove(self) -> None:
        """Remove it and all that is in it; what is left where that is cut short belongs to no plan."""
        remove_file(f"{self.path}/{PLAN}")
        remove_tree(self.path)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _empty(self) -> None:
        """Remove what is in it, but for the lock."""
        if is_remote(self.path):
            self.remove()
            return
        remove_file(f"{self.path}/{PLAN}")
        for each in Path(self.path).iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            elif each.name != LOCK:
                each.unlink()

    def check_seen(self) -> None:
        """Raise PairmineError where this machine does not see what the run's driver wrote."""
        import socket

        if self.read(PLAN) != self.digest:
            raise PairmineError(
                f"{self.output}: {socket.gethostname()} does not see its folder; name one that all machines of the "
                "cluster share, or an address such as s3://"
            )


class PartedOutput:
    """An output that is made of parts, which workers write where `part` says: a folder of them, or one file.

    A target with the ending of a format becomes one file, joined from the parts at the end, by what `make` opens where
    it is given. `write` takes rows of the driver itself, behind all parts.
    """

    can_restart = False

    def __init__(
        self,
        target: str,
        kind: str | None,
        folder: WorkFolder,
        name: str,
        make: Callable[[str, str | None], Any] | None = None,
    ) -> None:
        self.target = target
        self.name = name
        self._folder = folder
        self._joined: Sink | None = None
        self._own: Sink | None = None
        self._own_rows = 0
        self._count = 0
        self.is_file = make is not None or format_of(target) is not None
        if target == STDOUT:
            raise PairmineError("--engine ray writes no standard output; name a file or a folder with -o")
        if self.is_file:
            self._joined = (make or Sink)(target, kind)
        else:
            _check_folder(target)
        self.ending = (kind or "parquet") if not self.is_file else "parquet"

    def part(self, number: int) -> str:
        """Where the part `number` lies while the run is under way."""
        return self._folder.place(f"{_PARTS}/{self.name}/part-{number:05}.{self.ending}")

    def expect(self, count: int) -> None:
        """There are `count` parts, some of which may be missing for want of rows."""
        self._count = count

    def write(self, table: pa.Table) -> None:
        """Rows of the driver, behind all parts."""
        if self._joined is not None and not self._count:
            self._joined.write(table)
            return
        if self._own is None:
            self._own = Sink(self.part(self._count))
            self._count += 1
        self._own.write(table)
        self._own_rows += table.num_rows
        if self._own_rows >= _PART_ROWS and not self.is_file:
            self._end_own()

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Join the parts, or put their folder in its place."""
        self._end_own()
        if self._joined is not None:
            for table in self.tables():
                self._joined.write(table)
            self._joined.commit(entries)
            return
        with said_plainly(self.target), remotely_or_here(self.target):
            self._place(entries)

    def finish(self, entries: list[lineage.Entry]) -> None:
        """Nothing yet: parts are finished, and `commit` joins them."""

    def abort(self) -> None:
        """Leave the parts for the next run; what stands in the output's place stays."""
        for sink in (self._joined, self._own):
            if sink is not None:
                sink.abort()

    def restart(self) -> None:
        raise AssertionError("parts are written once")

    @property
    def remark(self) -> str | None:
        """What one file's format could not hold; see `Sink`."""
        return None if self._joined is None else self._joined.remark

    def tables(self) -> Iterator[pa.Table]:
        """The rows of all parts, in their order."""
        for path in self.paths():
            yield from read_tables(path)

    def paths(self) -> list[str]:
        """The parts that are there, in their order."""
        found = (self.part(number) for number in range(self._count))
        return [path for path in found if exists(path)]

    def _end_own(self) -> None:
        if self._own is not None:
            self._own.commit([])
            self._own, self._own_rows = None, 0

    def _place(self, entries: list[lineage.Entry]) -> None:
        paths = self.paths()
        names = [path.rpartition("/")[2] for path in paths]
        rows = [rows_of(path) for path in paths] if self.ending == "parquet" else []
        mark = {"format": lineage.FORMAT, "files": names, "lineage": entries, "rows": rows}
        text = json.dumps(mark, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        if is_remote(self.target):
            _place_remotely(self.target, paths, names, text)
            return
        here = Path(self._folder.place(f"{_PARTS}/{self.name}/x")).parent
        for left in here.iterdir():  # by a worker that was killed
            if left.name not in names:
                left.unlink()
        write_atomically(str(here / MARK), text)
        _swap(here, Path(os.path.realpath(self.target)))


_PART_ROWS = 65_536


def beside(output: str) -> str:
    """The work folder of a run that writes `output`."""
    if is_remote(output):
        return f"{output.rstrip('/')}.ray"
    final = Path(os.path.realpath(output))
    if not final.name:
        raise PairmineError(f"{output}: is the root of this machine; name a folder in it")
    if not final.parent.is_dir():
        raise PairmineError(f"{output}: no folder {Path(output).parent}; make it first")
    return str(final.with_name(f".{final.name}.ray"))


def read_mark(folder: str) -> dict[str, Any] | None:
    """What the mark of a folder says, wherever it lies, None for one that pairmine did not write in parts."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        body = json.loads(read_text(f"{folder.rstrip('/')}/{MARK}") or "")
        files, rows, entries = (list(body[name]) for name in ("files", "rows", "lineage"))
        is_sound = all(isinstance(name, str) and "/" not in name for name in files)
        is_sound &= all(type(count) is int and count >= 0 for count in rows)
        if is_sound and all(isinstance(entry, dict) for entry in entries):
            return {"files": files, "lineage": entries, "rows": rows}
    return None


def has_parts(folder: str) -> bool:
    """Whether a folder is a table in parts, as a run on shards writes it."""
    mark = None if folder == STDIN else read_mark(folder)
    return mark is not None and len(mark["rows"]) == len(mark["files"]) > 0


def read_text(path: str) -> str | None:
    """A small text, None where it is not there."""
    if not is_remote(path):
        with contextlib.suppress(OSError):
            return Path(path).read_text("utf-8")
        return None
    filesystem, inner = filesystem_of(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return str(filesystem.cat_file(inner).decode())
    return None


def exists(path: str) -> bool:
    """Whether there is such a file."""
    if not is_remote(path):
        return Path(path).is_file()
    filesystem, inner = filesystem_of(path)
    return bool(filesystem.exists(inner))


def remove_file(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if not is_remote(path):
            Path(path).unlink()
            return
        filesystem, inner = filesystem_of(path)
        filesystem.rm_file(inner)


def remove_tree(path: str) -> None:
    """Remove a folder and all that is in it, if it is there."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    filesystem, inner = filesystem_of(path)
    with contextlib.suppress(FileNotFoundError):
        filesystem.rm(inner, recursive=True)


def rows_of(path: str) -> int:
    """The rows of a Parquet file."""
    import pyarrow.parquet as pq

    if not is_remote(path):
        return int(pq.read_metadata(path).num_rows)
    filesystem, inner = filesystem_of(path)
    with filesystem.open(inner, "rb") as handle:
        return int(pq.read_metadata(handle).num_rows)


def read_tables(path: str) -> Iterator[pa.Table]:
    """The rows of a part as they were written."""
    from pairmine.files.locations import find_shards
    from pairmine.files.raw import read_raw

    for shard in find_shards(path):
        for raw in read_raw(shard):
            yield raw.table


@contextlib.contextmanager
def remotely_or_here(path: str) -> Iterator[None]:
    """Makes one line of what a remote filesystem raises; of this machine's, `said_plainly` does."""
    if not is_remote(path):
        yield
        return
    with remotely(path, "cannot be written"):
        yield


def _check_folder(target: str) -> None:
    """Raise PairmineError where something stands that no run wrote and that would be lost."""
    found, is_unfinished = _found_in(target)
    mark = read_mark(target) if is_remote(target) else mark_of(os.path.realpath(target))
    known = {*(str(name) for name in mark["files"]), MARK} if mark else set()
    if is_unfinished:
        known |= {name for name in found if _PART.fullmatch(name)} | {UNFINISHED}
    if strange := sorted(found - known):
        shown = ", ".join(strange[:3]) + (f", and {len(strange) - 3} more" if len(strange) > 3 else "")
        raise PairmineError(f"{target}: holds what pairmine did not write ({shown}); name another folder, or empty it")


_PART = re.compile(r"part-\d{5,}\.\w+|" + re.escape(MARK))


def _found_in(target: str) -> tuple[set[str], bool]:
    """The names in a folder, none where there is no folder, and whether a run has not finished putting its parts."""
    is_file = PairmineError(f"{target}: is a file, and --engine ray writes a folder of parts there; name another")
    if not is_remote(target):
        final = Path(os.path.realpath(target))
        if final.is_file():
            raise is_file
        with said_plainly(target):
            return {each.name for each in final.iterdir()} if final.exists() else set(), False
    filesystem, inner = filesystem_of(target)
    with remotely(target, "cannot be read"):
        if not filesystem.exists(inner):
            return set(), False
        if filesystem.isfile(inner):
            raise is_file
        names = {str(name).rstrip("/").rpartition("/")[2] for name in filesystem.ls(inner, detail=False)}
        return names - {""}, UNFINISHED in names


def _swap(made: Path, final: Path) -> None:
    before = None
    if final.exists():
        before = final.with_name(f".{final.name}.{os.getpid()}.old")
        final.rename(before)
    try:
        made.rename(final)
    except OSError:
        if before is not None:
            before.rename(final)
        raise
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)


def _place_remotely(target: str, paths: list[str], names: list[str], mark: str) -> None:
    """Move the parts to where they belong; until the mark is there, the folder is known to be unfinished."""
    filesystem, inner = filesystem_of(target)
    listed = (read_mark(target) or {}).get("files", [])
    filesystem.makedirs(inner, exist_ok=True)
    before = {name for name in _found_in(target)[0] if name in listed or _PART.fullmatch(name)} - {MARK}
    filesystem.pipe_file(f"{inner}/{UNFINISHED}", b"")
    for path, name in zip(paths, names, strict=True):
        filesystem.copy(filesystem_of(path)[1], f"{inner}/{name}")
    for name in sorted(before - {*names}):
        filesystem.rm_file(f"{inner}/{name}")
    filesystem.pipe_file(f"{inner}/{MARK}", mark.encode())
    filesystem.rm_file(f"{inner}/{UNFINISHED}")
