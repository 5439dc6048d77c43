"""A command's run on a Ray cluster: shards of its inputs, parts of its outputs, and counts as they come in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import typer

from pairmine.cli.options import NOT_IN_LINEAGE
from pairmine.errors import BAD_INPUT, INTERRUPTED, PairmineError
from pairmine.files.locations import filesystem_of, is_remote

if TYPE_CHECKING:
    from pairmine.cli.run import Run
    from pairmine.engines.ray.cluster import Cluster
    from pairmine.engines.shards import Make, Piece, Pool, Work
    from pairmine.files.sharded import PartedOutput, WorkFolder
    from pairmine.files.source import Source

_OF_A_REPORT = {"tokenizer", "examples", "most"}
"""Options that change no rows, and what `check` and `stats` tell of them."""
_NOT_OF_THE_PLAN = NOT_IN_LINEAGE - {"output", "kind", "rejects", "sidecar", "shard_rows"} - _OF_A_REPORT
"""Options that change nothing in what a shard comes to."""


class Begins(Protocol):
    """Shows how far work is: a `Run`, or the `Progress` of a command that writes no output."""

    def begin(self, what: str, total: int | None, /) -> Callable[[int], None]:
        """Start a new count; the returned function adds to it."""


class RayEngine:
    """Runs a command's work on a cluster, which starts when it is needed first; a context manager around `Run`.

    Where the command ends well, or with a fault of its input, the work folder goes; else it stays, and the same
    command goes on there.
    """

    def __init__(self, context: typer.Context, place: str | None = None) -> None:
        self._context = context
        self._beside = place
        self._folder: WorkFolder | None = None
        self._cluster: Cluster | None = None
        self._outputs: dict[str, PartedOutput] = {}
        self._cuts = 0
        self.rows = int(context.params["shard_rows"])

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cluster is not None:
            self._cluster.close()
        is_over = error is None or (isinstance(error, PairmineError) and error.exit_code == BAD_INPUT)
        if is_over and self._folder is not None:
            self._folder.remove()
        if isinstance(error, KeyboardInterrupt) and self._folder is not None:
            line = f"interrupted; {self._folder.path} has what is finished, run the same command again to continue"
            raise PairmineError(line, exit_code=INTERRUPTED) from None

    @property
    def folder(self) -> WorkFolder:
        """Where the run keeps what it has finished; every machine sees it."""
        if self._folder is None:
            from pairmine.files.sharded import WorkFolder

            self._folder = WorkFolder(self._place(), self._identity())
        return self._folder

    @property
    def takes_gpus(self) -> bool:
        """Whether workers ask for GPUs."""
        return bool(self._context.params.get("gpus_per_worker"))

    @property
    def cluster(self) -> Pool:
        """The cluster's workers."""
        if self._cluster is None:
            from pairmine.engines.ray.cluster import Cluster

            values = self._context.params
            self._cluster = Cluster(
                values["ray_address"],
                workers=values.get("workers") or 0,
                cpus_per_worker=values.get("cpus_per_worker", 1.0),
                gpus_per_worker=values.get("gpus_per_worker", 0.0),
            )
        return self._cluster

    def make_sink(
        self, target: str, kind: str | None, name: str, make: Callable[[str, str | None], Any] | None = None
    ) -> PartedOutput:
        """An output of the run: "out", "rejects", or the name of what a job's extras hold.

        `make` opens what joins the parts into one file, for a format of its own.
        """
        from pairmine.files.sharded import PartedOutput

        self._outputs[name] = PartedOutput(target, kind, self.folder, name, make)
        return self._outputs[name]

    def pieces(self, run: Begins, source: Source, *, apart: bool = False) -> list[Piece]:
        """The shards of an input, which are cut now unless it has some; with `apart` a query may be in several."""
        from pairmine.engines.cut import pieces_of
        from pairmine.files.source import Source

        self._cuts += 1
        if self._cluster is None and isinstance(source, Source) and source.path != "-":
            source.look_at_first()  # what is wrong there is said before a cluster starts
        cluster = self.cluster  # whose processes start while the input is cut
        advance = run.begin(f"rows of {source.name} cut into shards", source.rows_ahead())
        return pieces_of(
            source,
            self.folder,
            str(self._cuts),
            rows=self.rows,
            apart=apart,
            advance=advance,
            pool=lambda: cluster,
        )

    def write(
        self,
        run: Run,
        pieces: Sequence[Piece],
        work: Work,
        *,
        what: str = "rows",
        step: str = "write",
        only: Sequence[str] | None = None,
        resident: bool = False,
    ) -> Mapping[str, int]:
        """Do `work` on all shards: parts of the outputs, counts and facts of the run; what its sums add up to.

        `only` names the outputs that the work has parts of; others are written here. Work with models is `resident`.
        """
        from pairmine.engines.parts import write_parts

        advance = run.begin(what, sum(piece.rows for piece in pieces))
        sums: Counter[str] = Counter()
        outputs = {name: each for name, each in self._outputs.items() if only is None or name in only}
        for piece, done in write_parts(self.cluster, self.folder, pieces, work, outputs, step=step, resident=resident):
            run.add(done.counts)
            sums.update(done.sums)
            if done.facts:
                run.detail(**done.facts)
            advance(piece.rows)
        return sums

    def fold(
        self,
        run: Begins,
        pieces: Sequence[Piece],
        make: Make[Piece, Any],
        *,
        what: str = "rows",
        step: str = "fold",
        resident: bool = False,
    ) -> Iterator[tuple[Piece, Any]]:
        """What `make()(piece)` gives for every shard, as they are done, to be put together here."""
        from pairmine.engines.parts import fold

        advance = run.begin(what, sum(piece.rows for piece in pieces))
        for piece, result in fold(self.cluster, self.folder, pieces, make, step=step, resident=resident):
            yield piece, result
            advance(piece.rows)

    def forget(self, pieces: Sequence[Piece], *, step: str = "write") -> None:
        """Have `write` work on these shards again, whatever a run that was stopped has written of them."""
        from pairmine.engines.parts import forget

        forget(self.folder, pieces, step=step)

    def _place(self) -> str:
        output = self._beside or self._context.params.get("output")
        if not output or output == "-":
            raise PairmineError("--engine ray needs a place for its shards: name a file or a folder with -o")
        return str(output)

    def _identity(self) -> dict[str, Any]:
        """What the run's results depend on: options, and the state of every file that they name."""
        from pairmine import __version__
        from pairmine.cli.run import command_path
        from pairmine.files.sketches import fingerprint

        given = self._context.params
        values = {name: value for name, value in given.items() if name not in _NOT_OF_THE_PLAN}
        if "max_usd" not in given:  # else it is a budget, like that one
            values["max_tokens"] = given.get("max_tokens")
        named = sorted(set(_paths_in(list(values.values()))) - {self._context.params.get("output")})
        files = [file for path in named for file in _files_below(path)]
        if "-" in named:
            values["a pipe"] = os.urandom(8).hex()
        return {
            "command": command_path(self._context),
            "options": values,
            "files": fingerprint(files),
            "addresses": [state for path in named if is_remote(path) for state in _state_of(path)],
            "pairmine": __version__,
        }


def _paths_in(values: Sequence[Any]) -> Iterator[str]:
    """The strings among options that may be paths, also behind NAME= and KIND:."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _paths_in(value)
        elif isinstance(value, str):
            yield value
            for mark in "=:":
                _, found, path = value.partition(mark)
                if found:
                    yield path


def _state_of(address: str) -> list[str]:
    """What tells the files at an address from changed ones."""
    with suppress(Exception):  # whoever reads them says what is wrong
        filesystem, inner = filesystem_of(address)
        info = filesystem.info(inner)
        below = filesystem.find(inner, detail=True).values() if info["type"] == "directory" else [info]
        return sorted(map(str, below))
    return []


def _files_below(path: str) -> list[str]:
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            return [path]
        if os.path.isdir(path):
            return sorted(str(each) for each in Path(path).rglob("*") if each.is_file())
    return []
