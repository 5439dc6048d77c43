"""Outputs: written beside their target, synced, renamed at the end; the same rows give the same bytes."""

from __future__ import annotations

import sys

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.locations import FORMATS, format_of
from pairmine.files.partial import STDOUT, Partial, said_plainly
from pairmine.files.writers import Outlet, Writer, open_writer


class Sink:
    """One output. `write` as often as needed, then `commit`; leaving without it removes what was written."""

    def __init__(self, target: str, kind: str | None = None) -> None:
        self.target = target
        self._kind, self._compression = _kind_of(target, kind)
        self._writer: Writer | None = None
        self._outlet: Outlet | None = None
        self._columns: pa.Schema = pa.schema([])
        self._is_finished = False
        self._partial = None if target == STDOUT else Partial(target)

    @property
    def can_restart(self) -> bool:
        """Whether what was written can still be taken back before `commit`."""
        return self._partial is not None and not self._partial.is_direct

    def write(self, table: pa.Table) -> None:
        """Append `table`; the first one settles the columns."""
        plain = table.replace_schema_metadata(None)
        if self._writer is None:
            self._columns = plain.schema
            with said_plainly(self.target):
                self._writer = self._open()
        elif plain.schema != self._columns:
            plain = plain.select(self._columns.names).cast(self._columns)
        with said_plainly(self.target):
            self._writer.write(plain)

    def restart(self) -> None:
        """Forget everything that was written, for another start with other columns."""
        assert self._partial is not None
        self._drop_writer()
        self._partial.restart()

    @property
    def remark(self) -> str | None:
        """What the format could not hold of what was written, for people; None when it holds all of it."""
        flattened = getattr(self._writer, "flattened", 0)
        return f"{self.target}: {flattened:,} cells had tabs or line ends, now blanks" if flattened else None

    @property
    def caution(self) -> str | None:
        """What people should know before they open the file elsewhere; the texts in it stay as they are."""
        count = getattr(self._writer, "formulas", 0)
        what = "cell begins" if count == 1 else "cells begin"
        remedy = "open it as text, a spreadsheet takes that for a formula"
        return f"{self.target}: {count:,} {what} with =, +, - or @: {remedy}" if count else None

    def finish(self, entries: list[lineage.Entry]) -> None:
        """Write the end and sync it, so that nothing but the rename of `commit` is left to do."""
        if self._is_finished:
            return
        if self._writer is None:
            raise AssertionError("nothing was written, not even an empty table")
        with said_plainly(self.target):
            self._writer.close(entries)
            if self._partial is not None:
                self._partial.sync()
        self._is_finished = True

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Finish the output, unless that was done, and put it in its place."""
        self.finish(entries)
        with said_plainly(self.target):
            if self._partial is not None:
                self._partial.commit()
            else:
                sys.stdout.buffer.flush()

    def abort(self) -> None:
        """Remove what was written so far."""
        self._drop_writer()
        if self._partial is not None:
            self._partial.remove()

    def _drop_writer(self) -> None:
        if self._outlet is not None:
            self._outlet.is_deaf = True
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _open(self) -> Writer:
        self._outlet = Outlet(sys.stdout.buffer if self._partial is None else self._partial.handle)
        return open_writer(self._kind, self._compression, self._outlet, self._columns, pipe=not self.can_restart)


def _kind_of(target: str, kind: str | None) -> tuple[str, str | None]:
    known = set(FORMATS.values())
    if kind is not None and kind not in known:
        raise PairmineError(f"--format {kind}: no such format; known: {', '.join(sorted(known))}")
    if target == STDOUT:
        chosen = kind or ("jsonl" if sys.stdout.isatty() else "arrow")
        return chosen, None
    found = format_of(target)
    if found is None and kind is None:
        raise PairmineError(
            f"{target}: the ending says no format; known: {', '.join(sorted(FORMATS))}, "
            "with .gz or .zst for the text ones; or pass --format"
        )
    compression = found[1] if found else None
    if kind is not None and found is not None and found[0] != kind:
        raise PairmineError(f"{target}: --format {kind} and the ending disagree; change one of them")
    return (found[0] if found else str(kind)), compression
