"""Labels that somebody gives by hand, one line of JSON each, kept as they come."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import pyarrow as pa

from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError, code_of
from pairmine.files.locations import STDIN, cause
from pairmine.files.whole import read_whole

_SCHEMA = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("label", pa.int8())])


class Labels:
    """A file of labels: what is in it, and a way to add to it that loses nothing when the run is cut short.

    A line is ``{"query_id": "q1", "doc_id": "d7", "label": 1}``: 1 relevant, 0 not, null unsure. Of several lines
    on one pair the last one counts. A last line that was torn off is dropped when the file is opened to add to it.
    """

    def __init__(self, path: str) -> None:
        if path == STDIN:
            raise PairmineError("--labels -: wants a file, which is read and added to")
        self.path = path
        self._labels: dict[tuple[str, str], int | None] = {}
        self._torn_from: int | None = None
        self._is_open_line = False
        if Path(path).exists():
            self._read()
        self._handle: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._labels

    def table(self) -> pa.Table:
        """Columns query_id, doc_id and label, int8, null for unsure."""
        rows = [(query, doc, label) for (query, doc), label in self._labels.items()]
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        return pa.table([pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], _SCHEMA)

    def add(self, query_id: str, doc_id: str, label: int | None) -> None:
        """Keep one more label; when this returns it is on the disk."""
        line = json.dumps({"query_id": query_id, "doc_id": doc_id, "label": label}, ensure_ascii=False) + "\n"
        handle = self._handle or self.open()
        try:
            if self._is_open_line:
                line, self._is_open_line = "\n" + line, False
            handle.write(line.encode("utf-8", "surrogatepass"))
            handle.flush()
            os.fsync(handle.fileno())
        except OSError as error:
            raise PairmineError(f"{self.path}: {cause(error)}", exit_code=GAVE_UP) from None
        self._labels[query_id, doc_id] = label

    def open(self) -> IO[bytes]:
        """The file, ready to be added to; a PairmineError where it cannot be written."""
        try:
            self._handle = Path(self.path).open("ab")  # noqa: SIM115 (closed at the end)
            if self._torn_from is not None:
                self._handle.truncate(self._torn_from)
                self._torn_from = None
        except OSError as error:
            code = BAD_INPUT if isinstance(error, FileNotFoundError) else code_of(error)
            raise PairmineError(f"{self.path}: {cause(error)}", exit_code=code) from None
        return self._handle

    def __enter__(self) -> Labels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            with suppress(OSError):  # a label that found no room was told of, and is given again
                self._handle.close()

    def _read(self) -> None:
        try:
            content = read_whole(self.path)
        except OSError as error:
            raise PairmineError(f"{self.path}: {cause(error)}; mend that, or name another with --labels") from None
        whole, _, torn = content.rpartition(b"\n")
        lines = [*whole.split(b"\n"), torn] if whole else [torn]
        self._is_open_line = bool(torn.strip())
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if not self._take(line):
                if number == len(lines):
                    self._torn_from, self._is_open_line = len(content) - len(torn), False
                    return
                raise PairmineError(
                    f'{self.path}:{number}: is no label; write {{"query_id": "q1", "doc_id": "d7", "label": 1}}, '
                    "with 1, 0 or null for a label"
                )

    def _take(self, line: bytes) -> bool:
        """Whether `line` is a label, which is kept then."""
        try:
            row = json.loads(line)
            query, doc, label = row["query_id"], row["doc_id"], row["label"]
            f"{query}{doc}".encode()  # half a character, which JSON can spell, is no part of an id
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        is_label = label is None or (label in (0, 1) and not isinstance(label, float))
        if not (isinstance(query, str) and isinstance(doc, str) and is_label):
            return False
        self._labels[query, doc] = None if label is None else int(label)
        return True
