"""One run of a command: its inputs, outputs, counts and lineage."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from pairmine.cli import voice
from pairmine.cli.asked import choice as choice
from pairmine.cli.asked import given as given
from pairmine.cli.asked import lay_aside as lay_aside
from pairmine.cli.asked import note_running
from pairmine.cli.asked import without_effect as without_effect
from pairmine.cli.asked import without_idle as without_idle
from pairmine.cli.asked import written as written
from pairmine.cli.interrupts import CONTINUE
from pairmine.cli.options import NOT_IN_LINEAGE
from pairmine.cli.progress import Advance, Progress
from pairmine.cli.voice import say as say
from pairmine.lean_arrow import leave_out_pandas

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.engines.shards import Counts
    from pairmine.files.sink import Sink
    from pairmine.outcome import Outcome


FAILED = "failed: "
"""How the reason of a row begins that was not rejected: a model gave no answer about it."""


class Run:
    """Opens outputs, takes outcomes, and at the end puts everything in its place with the lineage.

    Used as a context manager: an exception inside it leaves no output behind.
    """

    def __init__(
        self,
        context: typer.Context,
        output: str,
        *,
        kind: str | None = None,
        rejects: str | None = None,
        summary: str | None = None,
        quiet: bool = False,
        units: tuple[str, str] = ("rows", "rows"),
        make_sink: Callable[[str, str | None], Any] | None = None,
        engine: RayEngine | None = None,
    ) -> None:
        from pairmine.files.lineage import Lineage

        self._targets: dict[str, str] = {}
        self._guarded: dict[str, str] = {}
        for flag, target in (("-o", output), ("--rejects", rejects), ("--summary", summary)):
            self._claim(flag, target)
        self.command = command_path(context)
        self.progress = Progress(self.command, quiet=quiet)
        self.lineage = Lineage()
        self._context = context
        self._quiet = quiet
        self._units = units
        self._details: dict[str, Any] = {}
        self._sums: dict[str, Any] = {}
        self._lines: list[str] = []
        self._inputs: list[tuple[Any, str]] = []
        self._sinks: list[Sink] = []
        self._engine = engine
        if engine is None:  # Ray's data sets are made with pandas
            leave_out_pandas()
        note_running(context)
        self._forget()
        self._main = self._open(output, kind, make_sink, "out")
        self._rejects = self._open(rejects, None, name="rejects") if rejects else None
        if summary:
            self._open(summary, None, self._summary_sink)

    def say(self, line: str) -> None:
        """A line for people, unless --quiet."""
        if not self._quiet:
            say(line)

    def reads(self, source: Any, role: str = "input") -> Any:
        """Note `source` as an input of this run, for the lineage; no output may take its place."""
        if source.path != "-":
            self.guard("an input too", source.path)
        self._inputs.append((source, role))
        if hasattr(source, "watch"):
            source.watch = self.progress.reading
        return source

    def guard(self, what: str, path: str | None) -> None:
        """See to it that no output takes the place of `path`, which `what` is."""
        from pairmine.errors import PairmineError

        if not path:
            return
        place = place_of(path)
        self._guarded[place] = what
        if taken := self._targets.get(place):
            self._abort()
            raise PairmineError(f"{taken} {path}: is {what} and would be lost; name another file")
        for target, taken in self._targets.items():
            if place.startswith(f"{target}/"):
                self._abort()
                raise PairmineError(f"{path}: is {what}, in the folder of {taken}, and would be lost; name another")

    def open_extra(self, flag: str, target: str) -> Sink:
        """A further output that is put in place together with the main one."""
        self._claim(flag, target)
        return self._open(target, None, name=flag.lstrip("-"))

    def open_text(self, flag: str, target: str) -> Text:
        """A small text that is put in place together with the outputs; what it says is told to it before the end."""
        self._claim(flag, target)
        opened: Any = self._open(target, None, lambda target, kind: Text(target))
        text: Text = opened
        return text

    def also_writes(self, flag: str, targets: Sequence[str]) -> None:
        """Note the files that the main output is made of; nothing else may take their places."""
        for target in targets:
            self._claim(flag, target)

    def also(self, sink: Any) -> None:
        """Put `sink` in place, or drop it, together with the outputs."""
        self._sinks.append(sink)

    def detail(self, **values: Any) -> None:
        """Facts for the lineage that are no options: models with their digests, prompts."""
        self._details.update(values)

    def sum_up(self, **values: Any) -> None:
        """Facts for --summary alone: what differs from run to run and so has no place in an output."""
        self._sums.update(values)

    def add_to_report(self, lines: Sequence[str]) -> None:
        """Lines for people under the table of counts, or tables of several lines each."""
        self._lines += lines

    def begin(self, what: str, total: int | None = None, status: Callable[[], str] | None = None) -> Advance:
        """A progress count on stderr, with what `status` says beside it."""
        return self.progress.begin(what, total, status)

    def write(self, outcome: Outcome) -> None:
        """Write what a stage kept and rejected, and add up its counts."""
        from pairmine.engines.shards import Counts

        self.add(Counts.of(outcome))
        self._main.write(outcome.kept)
        if self._rejects is not None:
            self._rejects.write(outcome.rejected)

    def add(self, counts: Counts) -> None:
        """Add the counts of rows that were written elsewhere."""
        self._counts.add(counts)

    @property
    def can_restart(self) -> bool:
        """Whether everything written so far can be taken back: not what went down a pipe."""
        return all(sink.can_restart for sink in self._sinks)

    def restart(self) -> None:
        """Forget everything that was written and counted."""
        self._forget()
        for sink in self._sinks:
            sink.restart()

    def _forget(self) -> None:
        from pairmine.engines.shards import Counts

        self._counts = Counts()

    def counts(self) -> dict[str, Any]:
        """The counts of the run so far; rows in = used or kept + rejected, each with its reason."""
        found = self._counts
        counts: dict[str, Any] = {"rows_in": found.rows_in}
        if found.added:
            counts["added"] = found.added
        counts |= {"rejected": dict(sorted(found.rejected.items())), "rows_out": found.kept}
        if found.notes:
            counts["notes"] = dict(sorted(found.notes.items()))
        return counts

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.end()
        if error is not None:
            self._abort()
            if isinstance(error, KeyboardInterrupt):
                raise _interrupted() from None
            return
        try:
            self._commit()
        except KeyboardInterrupt:
            self._abort()
            raise _interrupted() from None
        except BaseException:
            self._abort()
            raise
        for sink in self._sinks:
            if sink.remark:
                self.say(f"{sink.remark}; write .csv, .jsonl or .parquet to keep them")
            if caution := getattr(sink, "caution", None):
                self.say(caution)
        if not self._quiet:
            self._report()

    def _claim(self, flag: str, target: str | None) -> None:
        from pairmine.errors import PairmineError

        if not target:
            return
        place = place_of(target)
        if read := self._guarded.get(place):
            self._abort()
            raise PairmineError(f"{flag} {target}: is {read} and would be lost; name another file")
        if earlier := self._targets.get(place):
            what = "standard output" if target == "-" else target
            raise PairmineError(f"{earlier} and {flag} both name {what}; give each a place of its own")
        for other, earlier in self._targets.items():
            if f"{place}/".startswith(f"{other}/") or f"{other}/".startswith(f"{place}/"):
                raise PairmineError(f"{earlier} and {flag}: one is in the folder of the other; name another place")
        self._targets[place] = flag

    def _open(
        self, target: str, kind: str | None, make: Callable[[str, str | None], Any] | None = None, name: str = ""
    ) -> Sink:
        from pairmine.files.sink import Sink

        try:
            sink: Any
            if self._engine is not None and make is None:
                sink = self._engine.make_sink(target, kind, name)
            else:
                sink = (make or Sink)(target, kind)
        except BaseException:
            self._abort()
            raise
        self._sinks.append(sink)
        opened: Sink = sink
        return opened

    def _summary_sink(self, target: str, kind: str | None) -> _Summary:
        return _Summary(target, lambda: {"command": self.command, **self.counts(), **self._sums})

    def _abort(self) -> None:
        for sink in self._sinks:
            sink.abort()

    def _commit(self) -> None:
        from pairmine import __version__

        for source, role in self._inputs:
            source.add_to(self.lineage, role)
            if repeats := getattr(source, "repeats", 0):
                self._counts.notes[f"rows of the {role} that repeat an id, read once"] += repeats
        options = {
            name: _public(value)
            for name, value in self._context.params.items()
            if name not in NOT_IN_LINEAGE and name not in {role for _, role in self._inputs} and value not in (None, ())
        }
        entry = {
            "command": self.command,
            "counts": self.counts(),
            "inputs": self.lineage.inputs,
            "options": options,
            "version": __version__,
            **self._details,
        }
        entries = [*self.lineage.entries, json.loads(json.dumps(entry, default=str))]
        # All are whole and on disk before the first is renamed; the main one, which stands for all, comes last.
        for sink in reversed(self._sinks):
            sink.finish(entries)
        for sink in reversed(self._sinks):
            sink.commit(entries)

    def _report(self) -> None:
        taken, given = self._units
        counts = self._counts
        rows: list[tuple[str, int]] = [(f"{taken} in", counts.rows_in)]
        for reason, count in sorted(counts.rejected.items(), key=lambda each: (-each[1], each[0])):
            rows.append((f"  {reason}" if reason.startswith(FAILED) else f"  rejected: {reason}", -count))
        if counts.reshapes:
            rows.append((f"{taken} used", counts.used))
        elif counts.added:
            rows.append(("  added", counts.added))
        rows.append((f"{given} out", counts.kept))
        rows += [(f"  {what}", count) for what, count in sorted(counts.notes.items()) if count]
        report(self.command, rows)
        for text in self._lines:
            voice.say_table(text)


class Text:
    """A small text, put in place with the outputs of a run."""

    can_restart = True
    remark = None

    def __init__(self, target: str) -> None:
        from pairmine.files.partial import STDOUT, Partial

        self._target = target
        self._text = ""
        self._partial = None if target == STDOUT else Partial(target)

    def put(self, text: str) -> None:
        """What it says."""
        self._text = text

    def write(self, table: Any) -> None:
        """Nothing: rows go elsewhere."""

    def restart(self) -> None:
        """Nothing is written before the end."""

    def finish(self, entries: Any) -> None:
        """Write the text and sync it."""
        from pairmine.files.partial import said_plainly

        if self._partial is not None:
            with said_plainly(self._target):
                self._partial.handle.write(self._text.encode("utf-8", "backslashreplace"))
                self._partial.sync()

    def commit(self, entries: Any) -> None:
        """Put it in its place."""
        from pairmine.files.partial import said_plainly, write_atomically

        if self._partial is None:
            write_atomically(self._target, self._text)
            return
        with said_plainly(self._target):
            self._partial.commit()

    def abort(self) -> None:
        """Leave no text."""
        if self._partial is not None:
            self._partial.remove()


class _Summary(Text):
    """The counts of a run as JSON."""

    def __init__(self, target: str, body: Callable[[], dict[str, Any]]) -> None:
        super().__init__(target)
        self._body = body

    def finish(self, entries: Any) -> None:
        """Write the counts, now that they are known, and sync them."""
        self.put(json.dumps(self._body(), indent=2, ensure_ascii=False) + "\n")
        super().finish(entries)


def _interrupted() -> Exception:
    """What an interrupt becomes here, since typer would leave with the right code and without a word."""
    from pairmine.errors import INTERRUPTED, PairmineError

    return PairmineError(CONTINUE, exit_code=INTERRUPTED)


def report(title: str, rows: list[tuple[str, int]]) -> None:
    """A small table of counts on stderr, as plain text that a log can hold."""
    width = max(len(name) for name, _ in rows)
    shown = [f"{count:,}" for _, count in rows]
    column = max(map(len, shown))
    lines = [f"pairmine {title}"]
    lines += [f"  {name:<{width}}  {count:>{column}}" for (name, _), count in zip(rows, shown, strict=True)]
    sys.stderr.write("\n".join(map(voice.shown, lines)) + "\n")


def place_of(path: str) -> str:
    """What two spellings of one file have in common; a pipe in is not the pipe out."""
    import os

    scheme, found, inner = path.partition("://")
    if found and scheme not in ("file", "local"):
        return path.rstrip("/")
    return path if path == "-" else os.path.realpath(inner if found else path)


def command_path(context: typer.Context) -> str:
    """The command's words without the program's own name, which may be several ("python -m pairmine")."""
    words: list[str] = []
    found: Any = context
    while found.parent is not None:
        words.insert(0, found.info_name)
        found = found.parent
    return " ".join(words)


def cores(workers: int) -> int:
    """`workers`, or for 0 the number of processor cores that this process may use."""
    import os

    return workers or len(os.sched_getaffinity(0))


def _public(value: Any) -> Any:
    """An option's value as a lineage shows it: paths of this machine by their last part."""
    from pairmine.files.lineage import shown_path

    if isinstance(value, list | tuple):
        return [_public(item) for item in value]
    if isinstance(value, str) and "://" not in value:
        name, equals, path = value.partition("=")
        if equals and path.startswith("/"):
            return f"{name}={shown_path(path)}"
        head, colon, path = value.partition(":")
        if colon and head.rpartition("=")[2] == "npy":
            from pairmine.backends.retrievers.ready import split_target

            return f"{head}:{','.join(shown_path(each) for each in split_target(path) if each)}"
        return f"{head}:{_public(path)}" if colon and "/" not in head else shown_path(value)
    if isinstance(value, str):
        return shown_path(value)
    return value
