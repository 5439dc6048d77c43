"""Where an export goes: a file, a JSON array, or a folder of files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.files.folder import FolderSink
    from pairmine.files.sharded import PartedOutput
    from pairmine.stages.export import Exported, Target


@contextmanager
def refused_in(name: str) -> Iterator[None]:
    """Names the input, `name`, whose rows are refused."""
    from pairmine.errors import PairmineError

    try:
        yield
    except PairmineError as error:
        raise PairmineError(f"{name}: {error}", exit_code=error.exit_code) from None


class Destination:
    """The output of one export. `make_sink` is for `Run`; `put` takes what `Run.write` does not write."""

    def __init__(self, target: Target, prompt: str | None) -> None:
        from pairmine.stages.export import Shared

        self.is_folder = target.fill is not None
        self.shared = Shared()
        self._target = target
        self._prompt = prompt
        self._folder: FolderSink | None = None
        self._parted: PartedOutput | None = None

    def sidecar_of(self, output: str, *, in_parts: bool = False) -> str | None:
        """Where the ids of the training rows go unless the user says it; a folder has them in its own files.

        Beside a folder that an engine writes `in_parts` they are such a folder too.
        """
        from pairmine.files.locations import format_of

        if in_parts and format_of(output) is None:
            return f"{output.rstrip('/')}.ids"
        return None if self.is_folder or output == "-" else f"{output}.ids.parquet"

    def keep_out(self, output: str, others: dict[str, str | None]) -> None:
        """Raise a PairmineError for a file that would lie in the folder, and go when that is replaced."""
        import os

        from pairmine.errors import PairmineError

        inside = os.path.realpath(output) + os.sep
        for flag, path in others.items():
            if self.is_folder and path and os.path.realpath(path).startswith(inside):
                raise PairmineError(f"{flag} {path}: lies in the folder that -o names; put it beside that")

    def maker(self, engine: RayEngine | None) -> Callable[[str, str | None], Any]:
        """What opens the output: as `make_sink` does, or in parts that an `engine` joins into that."""
        from pairmine.files.folder import ArraySink

        if engine is None:
            return self.make_sink
        array = ArraySink if self._target.formats == ("json",) else None

        def make(output: str, kind: str | None) -> PartedOutput:
            self._parted = engine.make_sink(output, kind, "out", array)
            return self._parted

        return make

    def parts(self) -> Iterator[pa.Table]:
        """The training rows that an engine wrote in parts."""
        assert self._parted is not None
        return self._parted.tables()

    def make_sink(self, output: str, kind: str | None) -> Any:
        """The sink for `output`; raises PairmineError where a folder cannot be put there."""
        from pairmine.errors import PairmineError
        from pairmine.files.folder import ArraySink, FolderSink
        from pairmine.files.sink import Sink
        from pairmine.stages.export.plan import Options

        own = self._target.formats[0]
        if not self.is_folder and own != "json":
            return Sink(output, kind)
        if kind not in (None, own):
            raise PairmineError(f"--format {kind}: {self._target.name} has a layout of its own; leave it out")
        if not self.is_folder:
            return ArraySink(output)
        self._folder = FolderSink(output, self._target.layouts)
        self.shared.name = self._folder.name
        if self._target.texts is not None:
            for name, text in self._target.texts(self.shared, Options(prompt=self._prompt)).items():
                self._folder.text(name, text)
        return self._folder

    def put(self, exported: Exported) -> None:
        """Write a chunk's rows into the files of a folder."""
        if self._folder is not None:
            for name, table in exported.files.items():
                self._folder.put(name, table)

    def add_corpus(self, tables: Iterable[pa.Table], name: str) -> None:
        """Write the documents of a whole corpus, which errors call `name`, that no pair has."""
        from pairmine.stages.export.folders import whole_corpus

        assert self._folder is not None
        for table in tables:
            with refused_in(name):
                files = whole_corpus(self._target, table, self.shared)
            for file, rows in files.items():
                self._folder.put(file, rows)

    def tell(self, run: Run) -> None:
        """Say what the files of a folder could not hold."""
        if self._folder is not None and self._folder.flattened:
            cells = f"{self._folder.flattened:,} cells had tabs or line ends, now blanks"
            run.add_to_report([f"{self._folder.target}: {cells}; this trainer reads lines alone"])

    def finish(self, entries: list[dict[str, Any]]) -> list[str]:
        """Finish the files of a folder and name them."""
        assert self._folder is not None
        self._folder.close(entries)
        return sorted(self._folder.files())

    def add_text(self, name: str, text: str) -> None:
        """One more small file in a folder."""
        assert self._folder is not None
        self._folder.text(name, text)

    def files(self, output: str) -> dict[str, Path]:
        """What lies in a folder once it is in its place, by name."""
        from pathlib import Path

        return {str(path.relative_to(output)): path for path in sorted(Path(output).rglob("*")) if path.is_file()}
