"""Outputs in parts, and the folder beside them that says which parts are finished, so that a killed run goes on."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files import lineage
from pairmine.files.folder import MARK
from pairmine.files.held import LOCK, hold
from pairmine.files.links import check_own, followed
from pairmine.files.locations import filesystem_of, format_of, is_remote
from pairmine.files.partial import STDOUT, in_use, said_plainly, write_atomically
from pairmine.files.places import exists as exists
from pairmine.files.places import has_parts as has_parts
from pairmine.files.places import read_mark as read_mark
from pairmine.files.places import read_text, remotely_or_here, remove_tree
from pairmine.files.places import remove_file as remove_file
from pairmine.files.placing import check_folder, place_remotely, swap
from pairmine.files.sink import Sink
from pairmine.versions import plan_digest, plan_text

PLAN = "plan.json"
FORMAT = 1
"""Of the folder of an unfinished run."""
_PARTS = "parts"
_DIGITS = 5
"""Of a part's number, and more where there are more parts: names stand in the order of the rows."""


class WorkFolder:
    """The folder of a run on shards: `.NAME.ray` beside OUT, or `OUT.ray` where that is an address.

    `identity` is what the run's results depend on. What a killed run with the same identity left is taken up, that of
    any other is removed. Every machine that works on the shards reads and writes here.
    """

    def __init__(self, output: str, identity: Mapping[str, Any]) -> None:
        self.digest = sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        self.path = beside(output)
        self.output = output
        if not is_remote(self.path):
            check_own(self.path, ", or name another output")
        with said_plainly(self.path, opens=True), remotely_or_here(self.path):
            self._lock = hold(self.path, output)
            if self._planned() != self.digest:
                self._empty()
                self.make("")
                self.write(PLAN, plan_text(self.digest, FORMAT))

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
        with in_use():
            write_atomically(self.place(name), text)

    def _planned(self) -> str | None:
        """The digest of the run that it belongs to."""
        text = self.read(PLAN)
        return None if text is None else plan_digest(text, FORMAT, self.path)

    def remove(self) -> None:
        """Remove it and all that is in it; what is left where that is cut short belongs to no plan.

        Where the disk does not remove the plan either, the next run with this identity takes it up and removes it.
        """
        with suppress(OSError):
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

    def check_there(self) -> None:
        """Raise PairmineError where somebody emptied it: a part that is gone would pass for one without rows."""
        if self._planned() != self.digest:
            line = f"{self.path}: was removed or emptied while it was in use; run the same command again"
            raise PairmineError(line, exit_code=GAVE_UP)

    def check_seen(self) -> None:
        """Raise PairmineError where this machine does not see what the run's driver wrote."""
        import socket

        if self._planned() != self.digest:
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
        self._digits = _DIGITS
        self._is_finished = False
        self._text = ""
        self.is_file = make is not None or format_of(target) is not None
        if target == STDOUT:
            raise PairmineError("--engine ray writes no standard output; name a file or a folder with -o")
        if self.is_file:
            self._joined = (make or Sink)(target, kind)
        else:
            check_folder(target)
        self.ending = (kind or "parquet") if not self.is_file else "parquet"

    def part(self, number: int) -> str:
        """Where the part `number` lies while the run is under way."""
        return self._folder.place(f"{_PARTS}/{self.name}/part-{number:0{self._digits}}.{self.ending}")

    def expect(self, count: int) -> None:
        """There are `count` parts, some of which may be missing for want of rows."""
        self._count = count
        self._digits = max(_DIGITS, len(str(count)))

    def write(self, table: pa.Table) -> None:
        """Rows of the driver, behind all parts."""
        if self._joined is not None and not self._count:
            self._joined.write(table)
            return
        if self._own is None:
            self._own = open_part(self.part(self._count))
            self._count += 1
        self._own.write(table)
        self._own_rows += table.num_rows
        if self._own_rows >= _PART_ROWS and not self.is_file:
            self._end_own()

    def finish(self, entries: list[lineage.Entry]) -> None:
        """Join the parts where they become one file, and sync it; a folder's parts are finished, and get their mark."""
        if self._is_finished:
            return
        self._folder.check_there()
        self._end_own()
        if self._joined is not None:
            for table in self.tables():
                self._joined.write(table)
            self._joined.finish(entries)
        else:
            with said_plainly(self.target), remotely_or_here(self.target):
                self._mark(entries)
        self._is_finished = True

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Join the parts, unless that was done, and put the file, or their folder, in its place."""
        self.finish(entries)
        if self._joined is not None:
            self._joined.commit(entries)
            return
        with said_plainly(self.target), remotely_or_here(self.target):
            if is_remote(self.target):
                place_remotely(self.target, self.paths(), self._names(), self._text)
            else:
                swap(self._here(), self.target)

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
            lists = _lists_of(path)
            for table in read_tables(path):
                for name, kind in lists.items():
                    at = table.column_names.index(name)
                    table = table.set_column(at, table.field(at).with_type(kind), table.column(at).cast(kind))
                yield table

    def paths(self) -> list[str]:
        """The parts that are there, in their order."""
        found = (self.part(number) for number in range(self._count))
        return [path for path in found if exists(path)]

    def _end_own(self) -> None:
        if self._own is not None:
            self._own.commit([])
            self._own, self._own_rows = None, 0

    def _mark(self, entries: list[lineage.Entry]) -> None:
        """Say what the folder of parts holds: among them, unless they are to be copied to an address."""
        names, paths = self._names(), self.paths()
        rows = [rows_of(path) for path in paths] if self.ending == "parquet" else []
        mark = {"format": lineage.FORMAT, "files": names, "lineage": entries, "rows": rows}
        self._text = json.dumps(mark, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        if is_remote(self.target):
            return
        for left in self._here().iterdir():  # by a worker that was killed
            if left.name not in names:
                left.unlink()
        write_atomically(str(self._here() / MARK), self._text)

    def _names(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.paths()]

    def _here(self) -> Path:
        """The folder of the parts on this machine."""
        return Path(self._folder.place(f"{_PARTS}/{self.name}/x")).parent


_PART_ROWS = 65_536


def open_part(path: str) -> Sink:
    """The file `path` of a work folder, to be written."""
    with in_use():
        return Sink(path)


def beside(output: str) -> str:
    """The work folder of a run that writes `output`."""
    if is_remote(output):
        return f"{output.rstrip('/')}.ray"
    final = followed(output)
    if not final.name:
        raise PairmineError(f"{output}: is the root of this machine; name a folder in it")
    if not final.parent.is_dir():
        raise PairmineError(f"{output}: no folder {Path(output).parent}; make it first")
    return str(final.with_name(f".{final.name}.ray"))


def rows_of(path: str) -> int:
    """The rows of a Parquet file."""
    return int(_footer(path).num_rows)


def _footer(path: str) -> Any:
    import pyarrow.parquet as pq

    if not is_remote(path):
        return pq.read_metadata(path)
    filesystem, inner = filesystem_of(path)
    with filesystem.open(inner, "rb") as handle:
        return pq.read_metadata(handle)


def _lists_of(path: str) -> dict[str, pa.DataType]:
    """The types of a part's lists as they were written: read back, what is in them has another name."""
    stored = (_footer(path).metadata or {}).get(b"ARROW:schema") if path.endswith(".parquet") else None
    if stored is None:
        return {}
    fields = pa.ipc.read_schema(pa.BufferReader(b64decode(stored)))
    return {field.name: field.type for field in fields if pa.types.is_nested(field.type)}


def read_tables(path: str) -> Iterator[pa.Table]:
    """The rows of a part as they were written."""
    from pairmine.files.locations import find_shards
    from pairmine.files.raw import read_raw

    if not is_remote(path) and not exists(path):
        line = f"{path}: was removed while it was in use; run the same command again"
        raise PairmineError(line, exit_code=GAVE_UP)
    for shard in find_shards(path):
        for raw in read_raw(shard):
            yield raw.table
