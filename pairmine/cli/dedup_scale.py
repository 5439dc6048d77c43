"""What `dedup` does with a corpus that does not fit into memory, and with the documents of earlier runs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from pairmine.errors import BAD_INPUT, PairmineError

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.run import Run
    from pairmine.files.dedup_index import DedupIndex, SegmentWriter
    from pairmine.files.sketches import SketchFolder
    from pairmine.files.source import Source
    from pairmine.stages.dedup.bounded import Found
    from pairmine.stages.dedup.choice import Choice, Giant
    from pairmine.stages.dedup.leaving import Loss
    from pairmine.stages.dedup.matches import Near

LEAST = 500_000_000
_LIBRARIES = 370 << 20
"""What the interpreter, Arrow, numba and the reader take before any data (measured)."""
_COPIES = 4
"""How many times its bytes a table takes while it is compared in memory, with the sets of its copies (measured)."""
_ROW_BYTES = 400
_UNPACKED = 40
"""A file that is so many times smaller than memory will fit, and is worth sketching while it is read."""
_SHARES = 4
"""Keys that are sorted, pairs, and sets that are compared have one in so many parts of memory each."""
_LARGE = 1 << 40
_TIGHT = 1 << 30
"""With less room than this, memory that is freed goes back at once."""
BLOCK_ROWS = 65_536
"""Documents whose sketches make one finished file."""
ALL_KNOWN = "every document copies one of the index; was this corpus added to it before?"


def check(context: typer.Context) -> None:
    """Raise a PairmineError for an option that has no effect."""
    from pairmine.cli.run import without_effect
    from pairmine.files.locations import is_remote

    for name in ("index", "scratch"):
        path = context.params[name]
        if path is not None and (not path or is_remote(path)):
            raise PairmineError(f'--{name} "{path}": name a folder on this machine')
    if context.params["index"] is None:
        without_effect(context, "without --index", "append")
    if context.params["against_only"]:
        without_effect(context, "with --against-only", "index")
    if context.params["dry_run"]:
        without_effect(context, "with --dry-run", "append")


def identity(context: typer.Context) -> dict[str, Any]:
    """The options and files, beside the input, that a run's sketches depend on."""
    from pairmine.files.sketches import fingerprint

    values = context.params
    chosen = {name: value for name, value in values.items() if name.endswith("_column") or "against" in name}
    for path in values["against"] or ():
        below = sorted(str(each) for each in Path(path).rglob("*") if each.is_file()) if Path(path).is_dir() else [path]
        chosen[f"files of {path}"] = fingerprint(below)
    return chosen | {"containment": values["containment"], "whole_below": values["whole_below"]}


def room_of(memory: str | None) -> int:
    """The bytes that a run may take for data; without `memory` half of what is free here."""
    from pairmine.memory import available, parse_size

    if memory is None:
        return max(available() // 2 - _LIBRARIES, LEAST)
    total = parse_size(memory, "--memory")
    if total < LEAST:
        raise PairmineError(f"--memory {memory}: at least {LEAST // 10**6}MB; the libraries alone take 370 MB")
    return total - _LIBRARIES


def read_within(source: Source, room: int, each: Callable[[pa.Table], None] | None = None) -> pa.Table | None:
    """The corpus as one table, None where it would not fit into `room` bytes while it is compared.

    `each` gets every part of it as soon as it is read.
    """
    import pyarrow as pa

    left = room

    def fits(table: pa.Table) -> bool:
        nonlocal left
        left -= _COPIES * table.nbytes + _ROW_BYTES * table.num_rows
        if each and left >= 0:
            each(table)
        return left >= 0

    table = source.read_while(fits)
    pa.default_memory_pool().release_unused()  # a quarter of what reading took, at 150,000 passages
    return table


@dataclass(frozen=True)
class Streamed:
    """What was chosen and lost, as `stages.dedup.Deduped` has it."""

    choices: Sequence[Choice]
    giants: Sequence[Giant]
    losses: Sequence[Loss]

    def members(self) -> pa.Table:
        """Every group of two or more, member by member."""
        from pairmine.stages.dedup.choice import members

        return members(self.choices[0])


@dataclass
class Scale:
    """A run of `dedup` that may be too large for memory, or have an index.

    Used as a context manager around the `Run`: what is added to the index counts once OUT is complete, and the
    scratch folder goes then too. After a fault that another run can mend it stays, and that run takes it up.
    """

    output: str | None
    memory: str | None = None
    scratch: str | None = None
    index: str | None = None
    append: bool = True
    is_memory_written: bool = True
    _folder: SketchFolder | None = None
    _index: DedupIndex | None = None
    _segment: SegmentWriter | None = None
    _ours: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._room = room_of(self.memory)

    def __enter__(self) -> Scale:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._index and (self._segment or self._index.runs_again):
                self._index.add(self._segment)
        finally:
            self._close(error)

    def _close(self, error: BaseException | None) -> None:
        if self._segment is not None and error is not None:
            self._segment.remove()
        if self._index is not None:
            self._index.close()
        if self._folder is not None:
            is_over = error is None or (isinstance(error, PairmineError) and error.exit_code == BAD_INPUT)
            self._folder.remove() if is_over else self._folder.close()
        elif error is None:
            self._remove_left_over()
        for path in self._ours:
            shutil.rmtree(path, ignore_errors=True)

    @property
    def written_memory(self) -> str | None:
        """--memory as the command line has it: a variable may be set for other runs."""
        return self.memory if self.is_memory_written else None

    def table(self, source: Source, options: dict[str, Any]) -> pa.Table | None:
        """All rows of the input where they are compared in memory, None where `stream` has to read it.

        Of a corpus, `sketches` are put into the `options` of `dedup` where they could be made meanwhile.
        """
        from pairmine.files.source import PairSource
        from pairmine.schema import document_text
        from pairmine.stages.dedup.kernel import Ahead
        from pairmine.stages.dedup.kernel.compiled import load_ahead
        from pairmine.stages.dedup.stage import check_near

        if isinstance(source, PairSource):
            asked = {"--index": self.index, "--memory": self.written_memory, "--scratch": self.scratch}
            for flag, value in asked.items():
                if value is not None:
                    raise PairmineError(f"{flag} is for a corpus, and {source.name} is a pair set; leave it out")
            return source.read()
        if self.index:
            return None
        size = sum(map(os.path.getsize, source.files or ()))
        load_ahead(size)
        near = near_of(options)
        if near is None or options["against"] is not None or size * _UNPACKED > self._room:
            return read_within(source, self._room)
        check_near(near)
        ahead = Ahead(near, options["exact"], tell=options["tell"])
        try:
            table = read_within(source, self._room, lambda table: ahead.take(document_text(table)))
            if table is not None:
                options["sketches"] = ahead.result()
        finally:
            ahead.close()
        return table

    def stream(self, run: Run, source: Source, options: Mapping[str, Any], identity: Mapping[str, Any]) -> Streamed:
        """Write what stays of a corpus and what leaves, reading it three times; `options` are those of `dedup`.

        `identity` is what else sketches depend on: a folder with others is not taken up.
        """
        from pairmine.memory import return_freed
        from pairmine.stages.dedup.bounded import nothing_found

        if options["meaning"] is not None:
            if self.index:
                raise PairmineError("--semantic cannot go with --index, which keeps no vectors; leave one of them out")
            raise PairmineError(
                f"{source.name} does not fit into memory, and --semantic compares all of it there; "
                "run dedup without it first and --semantic on what that leaves"
            )
        if self._room < _TIGHT:
            return_freed()
        check_corpus(source, options)
        near = near_of(options)
        source.compares_ids = False
        if options["against_only"]:
            found = nothing_found(sum(table.num_rows for table in source.survey()))
        else:
            self._open(run, source, near, options["exact"], identity)
            found = self._find(run, source, options, near)
        losses = self._write(run, source, options, found, near)
        if self._index is not None:
            run.detail(index={"documents": self._index.rows})
            if self._index.rows and len(found.leaves) == found.rows:
                run.add_to_report([f"{self._index.folder}: {ALL_KNOWN}"])
        return Streamed([found.choice], found.giants, losses)

    def _open(self, run: Run, source: Source, near: Near | None, exact: str, identity: Mapping[str, Any]) -> None:
        """Open the index and the scratch folder, and load compiled code where the corpus is worth it."""
        from pairmine import __version__
        from pairmine.files.dedup_index import DedupIndex
        from pairmine.files.sketches import SketchFolder, fingerprint
        from pairmine.stages.dedup.index import MADE, index_settings
        from pairmine.stages.dedup.kernel.compiled import NATIVE, compiled

        settings = index_settings(near, exact)
        if self.index is not None:
            run_name = self._name_of_run(source) if self.append else None
            self._index = DedupIndex(Path(self.index), settings, append=self.append, made=MADE, run=run_name)
            if self._index.runs_again:
                run.say(f"{self.index}: the last run made {self.output} of the same input; this one takes its place")
        files = source.files
        named = fingerprint(files) if files else os.urandom(8).hex()
        whole = {**settings, **identity, "files": named, "pairmine": __version__}
        budget = self._room // _SHARES
        self._folder = SketchFolder(self._scratch_folder(), whole, budget, block_rows=BLOCK_ROWS)
        if self._folder.resumed:
            run.say(f"{self._folder.path}: goes on with the sketches of {self._folder.resumed:,} blocks of documents")
        # A table of some MB at a time would never seem worth it.
        compiled(NATIVE, sum(map(os.path.getsize, files)) if files else _LARGE, tell=run.say)

    def _find(self, run: Run, source: Source, options: Mapping[str, Any], near: Near | None) -> Found:
        from pairmine.stages.dedup import bounded
        from pairmine.stages.dedup.bounds import Nothing
        from pairmine.stages.dedup.preference import check_keep

        assert self._folder is not None
        chosen = {name: options[name] for name in ("exact", "workers", "against")}
        advance = run.begin("documents sketched")
        rows = bounded.sketch_corpus(source.survey, self._folder, near=near, advance=advance, **chosen)
        check_keep(options["keep"], next(source.tables()).schema)
        return bounded.find_copies(
            source.tables,
            self._folder,
            self._index or Nothing(),
            rows,
            near=near,
            keep=options["keep"],
            group=options["group"],
            conflict=lambda: compare_ids(source),
            advance=run.begin("documents read again", rows),
        )

    def _write(
        self, run: Run, source: Source, options: Mapping[str, Any], found: Found, near: Near | None
    ) -> Sequence[Loss]:
        from pairmine.stages.dedup import bounded
        from pairmine.stages.dedup.index import Addition
        from pairmine.stages.dedup.stage import only_ids

        addition = None
        if self._index is not None and self.append:
            self._segment = self._index.writer()
            addition = Addition(self._segment, found.rows, near)
        losses: list[Loss] = []
        chosen = {name: options[name] for name in ("against", "action", "group_ids")}
        for part in bounded.parts(source.tables, found, advance=run.begin("documents written", found.rows), **chosen):
            outcome = part.outcome
            run.write(replace(outcome, kept=only_ids(outcome.kept)) if options["ids_only"] else outcome)
            losses = bounded.summed(losses, part.losses)
            if addition is not None:
                addition.add(part.table, part.stays)
        if self._segment is not None and not self._segment.rows:
            self._segment.remove()
            self._segment = addition = None
        if addition is not None:
            assert self._folder is not None
            addition.finish(self._folder, _sources(source))
        return losses

    def _name_of_run(self, source: Source) -> str | None:
        """The same for a run that reads the same files, unchanged, and writes the same one; None without files."""
        from pairmine.cli.run import place_of
        from pairmine.files.sketches import fingerprint

        if not source.files or self.output in (None, "-"):
            return None
        named = json.dumps([fingerprint(source.files), place_of(str(self.output))])
        return sha256(named.encode()).hexdigest()

    def _remove_left_over(self) -> None:
        """Remove what a killed run left that had less memory, where this one needed no scratch folder."""
        from pairmine.files.sketches import is_sketch_folder, remove_sketches

        if (place := self._place_beside()) and is_sketch_folder(place):
            remove_sketches(place)

    def _place_beside(self) -> Path | None:
        """The scratch folder that a killed run finds again, beside OUT or in --scratch; None where OUT is no file."""
        from pairmine.files.locations import is_remote

        out = self.output or "-"
        if out == "-" or is_remote(out) or (os.path.exists(out) and not os.path.isfile(out)):
            return None
        place = Path(os.path.realpath(out))
        return (Path(self.scratch) if self.scratch else place.parent) / f".{place.name}.scratch"

    def _scratch_folder(self) -> Path:
        """Beside OUT or in --scratch; where OUT is no file of its own, a temporary folder."""
        if place := self._place_beside():
            return place
        if self.scratch:
            Path(self.scratch).mkdir(parents=True, exist_ok=True)
        self._ours.append(tempfile.mkdtemp(prefix="pairmine-dedup-", dir=self.scratch))
        return Path(self._ours[-1]) / "scratch"


def near_of(options: Mapping[str, Any]) -> Near | None:
    """The settings of near copies among the options of `dedup`, None where exact ones alone are looked for."""
    from pairmine.stages.dedup.matches import Near

    chosen = {each.name: options[each.name] for each in fields(Near) if each.name in options}
    return Near(**chosen) if options["near"] else None


def check_corpus(source: Source, options: Mapping[str, Any]) -> None:
    """Raise a PairmineError for what no corpus of these columns can be asked for, as `dedup` does."""
    from pairmine.stages.dedup.stage import dedup, tell_replaced

    first = next(source.batches())
    dedup(first.slice(0, 0), **{**options, "keep": "first", "against": None, "against_only": False, "tell": None})
    tell_replaced(first, **{name: options[name] for name in ("action", "group_ids", "against", "tell")})


def compare_ids(source: Source) -> None:
    """Read the corpus as others do, for whom the reader says where one id has two texts."""
    source.compares_ids = True
    for _ in source.batches():
        pass
    source.compares_ids = False


def _sources(source: Source) -> list[tuple[str, int]]:
    from pairmine.files.lineage import shown_path

    return [(shown_path(name), rows) for name, rows in source.shard_rows.items()]
