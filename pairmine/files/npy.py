"""Vectors as a bare NumPy matrix, `NAME.npy`, with their ids beside it, one to a line, in `NAME.ids.txt`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.partial import Partial, said_plainly

ENDING = ".npy"
_HEAD_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00"


def ids_beside(target: str) -> str:
    """Where the ids of the vectors in `target` stand.

    >>> ids_beside("vectors.npy")
    'vectors.ids.txt'
    """
    return target.removesuffix(ENDING) + ".ids.txt"


class NpySink:
    """An output for tables of id and vector, used as `Sink` is; such a file holds no lineage."""

    remark = None

    def __init__(self, target: str, kind: str | None = None) -> None:
        if kind is not None:
            raise PairmineError(f"{target}: --format {kind} and the ending disagree; change one of them")
        self.target = target
        self._rows = 0
        self._type: np.dtype[np.generic] | None = None
        self._dim = 0
        self._matrix = Partial(target)
        try:
            self._ids = Partial(ids_beside(target))
        except BaseException:
            self._matrix.remove()
            raise
        self._is_finished = False
        self._skip_head()

    def _skip_head(self) -> None:
        """Leave room for what is known at the end."""
        with said_plainly(self.target):
            self._matrix.handle.write(bytes(_HEAD_BYTES))

    @property
    def can_restart(self) -> bool:
        """Whether what was written can still be taken back: nothing is in its place before `commit`."""
        return True

    def write(self, table: pa.Table) -> None:
        """Append vectors; raises PairmineError for an id that would take more than its line."""
        ids = table["id"]
        if pc.any(pc.match_substring_regex(ids, "[\r\n]")).as_py():
            raise PairmineError(f"{self.target}: an id has a line end in it; write .parquet")
        column = table["vector"].combine_chunks()
        values: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
        self._type, self._dim = values.dtype, column.type.list_size
        self._rows += len(column)
        with said_plainly(self.target):
            self._matrix.handle.write(values.tobytes())
            self._ids.handle.write("".join(f"{each}\n" for each in ids.to_pylist()).encode("utf-8", "surrogatepass"))

    def restart(self) -> None:
        """Forget everything that was written."""
        for partial in (self._matrix, self._ids):
            partial.restart()
        self._skip_head()
        self._rows = 0

    def finish(self, entries: list[lineage.Entry]) -> None:
        """Write the head and sync both files: vectors never stand beside the ids of others for want of room."""
        if self._is_finished:
            return
        assert self._type is not None, "nothing was written, not even an empty table"
        described = {"descr": self._type.str, "fortran_order": False, "shape": (self._rows, self._dim)}
        room = _HEAD_BYTES - len(_MAGIC) - 2
        head = _MAGIC + room.to_bytes(2, "little") + repr(described).encode().ljust(room - 1) + b"\n"
        with said_plainly(self.target):
            self._matrix.handle.seek(0)
            self._matrix.handle.write(head)
            self._ids.sync()
            self._matrix.sync()
        self._is_finished = True

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Put both files in their places, the ids first."""
        self.finish(entries)
        with said_plainly(self.target):
            self._ids.commit()
            self._matrix.commit()

    def abort(self) -> None:
        """Remove what was written so far."""
        self._matrix.remove()
        self._ids.remove()
