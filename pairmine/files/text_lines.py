"""A text file with one item to a line, as a list: the translations of another file's lines, a list of templates."""

from __future__ import annotations

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.locations import STDIN, StandardInput, line_shard
from pairmine.files.raw import read_lines


def open_lines(path: str) -> TextLines:
    """The lines of the file at `path`, whatever its ending; .gz and .zst are read as such."""
    return TextLines(path)


class TextLines:
    """The lines of one text file. Once read, `rows` counts them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows = 0
        if path == STDIN:
            pipe = StandardInput()
            if pipe.kind != "jsonl":
                line = f"{pipe.name}: is {pipe.kind}, where a plain text with one item to a line belongs; pipe one"
                raise PairmineError(line)
            self._shard, self._spool = pipe.spool()
        else:
            self._shard = line_shard(path)
        if misnamed := self._shard.misnamed():
            raise PairmineError(f"{self._shard.name}: {misnamed}")

    def read(self) -> list[str]:
        """Every line without its end, blank ones too, since they stand beside the lines of another file."""
        lines = list(read_lines(self._shard))
        self.rows = len(lines)
        return lines

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record this input; to be called when it was read."""
        record.add_input(role, [], path=self.path, sha256=self._shard.sha256(), rows=self.rows)
