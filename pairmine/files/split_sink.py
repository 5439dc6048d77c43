"""One output file for each split, all put in place together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.locations import is_remote
from pairmine.files.partial import STDOUT
from pairmine.files.sink import Sink

HOLE = "{split}"
"""Where the name of a split goes in the name of its file."""


class SplitSink:
    """An output whose name has a hole: the rows of each split, by the column `split`, go into a file of their own.

    All files are whole and on disk before the first one is renamed, and no rename can fail for want of room; a run
    that is killed between two renames leaves the earlier ones done, and the same command does the rest.
    """

    def __init__(self, target: str, kind: str | None, names: Sequence[str]) -> None:
        self.targets = split_targets(target, names)
        self._sinks: dict[str, Sink] = {}
        for name, each in zip(names, self.targets, strict=True):
            try:
                self._sinks[name] = Sink(each, kind)
            except BaseException:
                self.abort()
                raise

    @property
    def can_restart(self) -> bool:
        """Always: nothing is in its place before `commit`."""
        return True

    @property
    def remark(self) -> str | None:
        """What the format could not hold, file by file; None when it holds all of it."""
        return "; ".join(sink.remark for sink in self._sinks.values() if sink.remark) or None

    def write(self, table: pa.Table) -> None:
        """Append the rows of each split to its file."""
        for name, sink in self._sinks.items():
            sink.write(table.filter(pc.equal(table["split"].cast(pa.string()), name)))

    def restart(self) -> None:
        """Forget everything that was written."""
        for sink in self._sinks.values():
            sink.restart()

    def finish(self, entries: list[lineage.Entry]) -> None:
        """Write the ends of all files and sync them; the last entry of each says which split it is."""
        for name, sink in self._sinks.items():
            sink.finish([*entries[:-1], {**entries[-1], "split": name}])

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Finish all files, then put them in their places."""
        self.finish(entries)
        for sink in self._sinks.values():
            sink.commit([])

    def abort(self) -> None:
        """Remove what was written so far."""
        for sink in self._sinks.values():
            sink.abort()


def maker(names: Sequence[str]) -> Callable[[str, str | None], SplitSink]:
    """What opens the outputs of these splits, as `cli.run.Run` wants it."""
    return lambda target, kind: SplitSink(target, kind, names)


def split_targets(target: str, names: Sequence[str]) -> list[str]:
    """The files of the splits; raises a PairmineError for pipes and devices, which cannot be written together."""
    found = [target.replace(HOLE, name) for name in names]
    for each in found:
        path = Path(each)
        if each == STDOUT or (not is_remote(each) and path.exists() and not path.is_file() and not path.is_dir()):
            raise PairmineError(
                f"{each}: is a pipe or a device, and several splits cannot go there together; name files, or leave "
                f"{HOLE} out of -o for one stream with a column split"
            )
    return found
