"""An output of several files: a folder that appears whole or not at all, written beside its target and renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import IO

import pyarrow as pa

from pairmine.errors import PairmineError, code_of
from pairmine.files import lineage
from pairmine.files.layouts import ARRAY, JsonRows, Shards, of_layout
from pairmine.files.links import followed
from pairmine.files.locations import cause, format_of, is_remote
from pairmine.files.partial import STDOUT, said_plainly, sync_names
from pairmine.files.sink import Sink
from pairmine.files.unfinished import begun, over
from pairmine.files.whole import read_whole
from pairmine.files.writers import Outlet, Writer, open_writer
from pairmine.versions import check_format

MARK = ".pairmine.json"
"""Names the files of a folder that pairmine wrote, and how they came to be."""

_ATTEMPTS = 5

Layouts = Mapping[str, str | tuple[str, str]]


class FolderSink:
    """A folder of files: `put` rows into each by its name, `text` for small ones, then `commit`; else `abort`.

    A folder of that name is replaced only where pairmine wrote every file in it. While it is replaced there is a
    moment without either; the one before then stands beside it as `.NAME.HEX.old`.
    """

    can_restart = False
    remark: str | None = None

    def __init__(self, target: str, layouts: Layouts) -> None:
        self.target = target
        self._layouts = layouts
        self._final = _place(target)
        _refuse_strangers(target, self._final)
        self._files: dict[str, IO[bytes]] = {}
        self._outlets: list[Outlet] = []
        self._writers: dict[str, tuple[Writer, pa.Schema]] = {}
        self._is_finished = False
        with said_plainly(target, opens=True):
            _sweep(self._final)
            self._path = self._final.with_name(f".{self._final.name}.{secrets.token_hex(4)}.partial")
            begun(self._path)
            try:
                self._path.mkdir()
            except OSError:
                over(self._path)
                raise
            self._lock = os.open(self._path, os.O_RDONLY)
            with contextlib.suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self._final.name

    @property
    def flattened(self) -> int:
        """How many cells had tabs or line ends in a file that can hold none."""
        return sum(getattr(writer, "flattened", 0) for writer, _ in self._writers.values())

    def write(self, table: pa.Table) -> None:
        """Nothing: the rows of a chunk go into several files, by `put`."""

    def put(self, name: str, table: pa.Table) -> None:
        """Append rows to the file `name`, a path inside the folder; its first table settles its columns."""
        plain = table.replace_schema_metadata(None)
        with said_plainly(self.target):
            if name not in self._writers:
                self._writers[name] = self._open(name, plain.schema), plain.schema
            writer, columns = self._writers[name]
            writer.write(plain if plain.schema == columns else plain.cast(columns))

    def text(self, name: str, text: str) -> None:
        """A small file."""
        with said_plainly(self.target):
            self._add(name).write(text.encode())

    def files(self) -> dict[str, Path]:
        """The files by their names, where they lie now."""
        return {name: self._path / name for name in self._files}

    def close(self, entries: list[lineage.Entry]) -> None:
        """Finish every file; `text` may still add some."""
        with said_plainly(self.target):
            for writer, _ in self._writers.values():
                writer.close(entries)
            for handle in self._files.values():
                handle.flush()
        self._writers = {}

    def finish(self, entries: list[lineage.Entry]) -> None:
        """Finish every file and sync it, so that nothing but the rename of `commit` is left to do."""
        if self._is_finished:
            return
        self.close(entries)
        mark = {"format": lineage.FORMAT, "files": sorted(self._files), "lineage": entries}
        self.text(MARK, json.dumps(mark, ensure_ascii=False, sort_keys=True, indent=1) + "\n")
        with said_plainly(self.target):
            for handle in self._files.values():
                handle.flush()
                os.fsync(handle.fileno())
                handle.close()
        self._is_finished = True

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Finish every file, unless that was done, and put the folder in its place."""
        self.finish(entries)
        with said_plainly(self.target):
            self._swap()
        self._unlock()

    def abort(self) -> None:
        """Remove what was written so far; nothing happens after `commit`."""
        for outlet in self._outlets:
            outlet.is_deaf = True
        for writer, _ in self._writers.values():
            writer.abort()
        for handle in self._files.values():
            with contextlib.suppress(OSError):
                handle.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._unlock()

    def restart(self) -> None:
        raise AssertionError("a folder is written once")

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _open(self, name: str, columns: pa.Schema) -> Writer:
        layout = self._layouts.get(name)
        if layout == "shards":
            return Shards(self._add, name, "/".join(self._final.parts[-2:]))
        outlet = self._add(name)
        if layout is not None:
            return of_layout(layout, outlet, columns)
        kind, compression = format_of(name) or ("", None)
        return open_writer(kind, compression, outlet, columns, pipe=False)

    def _add(self, name: str) -> Outlet:
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files[name] = path.open("xb")
        self._outlets.append(Outlet(self._files[name]))
        return self._outlets[-1]

    def _swap(self) -> None:
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._replace()
                break
            except OSError as error:
                # Between two steps another run with this output has put its own there, or set aside what was there.
                if error.errno not in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY) or not left:
                    raise
        over(self._path)
        drop_replaced(self._final)
        sync_names(self.target, self._final.parent)

    def _replace(self) -> None:
        before = self._final.with_name(f".{self._final.name}.{secrets.token_hex(4)}.old")
        try:
            if self._final.exists():
                self._final.rename(before)
            self._path.rename(self._final)
        except BaseException:  # an interrupt too: one of the two stands there
            if before.exists() and not self._final.exists():
                before.rename(self._final)
            raise


class ArraySink(Sink):
    """A file that is one JSON array."""

    def __init__(self, target: str, kind: str | None = None) -> None:
        super().__init__(target, "jsonl")

    def _open(self) -> Writer:
        import sys

        self._outlet = Outlet(sys.stdout.buffer if self._partial is None else self._partial.handle)
        return JsonRows(self._outlet, *ARRAY)


def mark_of(folder: str) -> dict[str, list[lineage.Entry]] | None:
    """What the mark of a folder says, None for one that pairmine did not write; that of a newer one is refused."""
    try:
        body = json.loads(read_whole(Path(folder) / MARK))
        check_format(body.get("format", 1), lineage.FORMAT, folder)
        if not isinstance(body["files"], list) or not all(isinstance(name, str) for name in body["files"]):
            return None
        return {"files": body["files"], "lineage": lineage.checked_entries(body["lineage"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _place(target: str) -> Path:
    if target == STDOUT or is_remote(target):
        what = "standard output" if target == STDOUT else target
        raise PairmineError(f"{what}: this format is a folder of several files; name a folder on this machine")
    final = followed(target)
    if format_of(target):
        raise PairmineError(
            f"{target}: this format is a folder of several files, and that is a file's name; name a folder"
        )
    if not final.name:
        raise PairmineError(f"{target}: is the root of this machine; name a folder in it")
    if not final.parent.is_dir():
        raise PairmineError(f"{target}: no folder {Path(target).parent}; make it first")
    return final


def _refuse_strangers(target: str, final: Path) -> None:
    """Raise PairmineError where something stands that pairmine did not write and that would be lost."""
    if final.exists() and not final.is_dir():
        raise PairmineError(f"{target}: is a file, and this format is a folder; name another, or remove it")
    try:
        files = [each for each in final.rglob("*") if each.is_symlink() or not each.is_dir()]
        found = sorted(str(each.relative_to(final)) for each in files)
    except OSError as error:
        raise PairmineError(f"{target}: {cause(error)}", exit_code=code_of(error)) from None
    mark = mark_of(str(final))
    if found and mark is None:
        raise PairmineError(f"{target}: is a folder that 'pairmine export' did not write; name another, or empty it")
    if mark is not None and (strange := [name for name in found if name not in {*mark["files"], MARK}]):
        shown = ", ".join(strange[:3]) + (f", and {len(strange) - 3} more" if len(strange) > 3 else "")
        raise PairmineError(f"{target}: holds what 'pairmine export' did not write ({shown}); move it elsewhere first")


def _sweep(final: Path) -> None:
    """Remove what killed runs left behind: unfinished folders that nobody holds a lock on, and replaced ones."""
    for left in final.parent.glob(f".{escape(final.name)}.*.partial"):
        with contextlib.suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)
    if final.exists():
        drop_replaced(final)


def drop_replaced(final: Path) -> None:
    """Remove the folders that stood in this place before, now that there is another one."""
    for left in final.parent.glob(f".{escape(final.name)}.*.old"):
        shutil.rmtree(left, ignore_errors=True)
