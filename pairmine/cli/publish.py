"""What `export` does for a hub: the dataset card, and the push."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli.run import given, without_effect
from pairmine.cli.voice import answer

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.export_output import Destination
    from pairmine.cli.run import Run
    from pairmine.files.partial import Partial
    from pairmine.stages.export import Target

_PANEL = "Hub"
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
README = "README.md"

Card = Annotated[
    str | None,
    typer.Option(
        "--card",
        metavar="FILE",
        help="Write a dataset card there. A folder has one as its README.md, unless this is 'none'.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
License = Annotated[
    str | None,
    typer.Option(
        "--license", metavar="ID", help="Licence for the card, as the hub spells it: cc-by-4.0.", rich_help_panel=_PANEL
    ),
]
Languages = Annotated[
    list[str] | None,
    typer.Option("--language", metavar="CODE", help="Language for the card; may be repeated.", rich_help_panel=_PANEL),
]
PushTo = Annotated[
    str | None,
    typer.Option(
        "--push-to",
        metavar="OWNER/NAME",
        help="Send the files, with a card, to this dataset repository of the hub once they are written. The token is "
        "the one in HF_TOKEN or of 'hf auth login'.",
        rich_help_panel=_PANEL,
    ),
]
Private = Annotated[bool, typer.Option("--private", help="Make that repository a private one.", rich_help_panel=_PANEL)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Write the files, and say what would be sent.", rich_help_panel=_PANEL)
]


class Publication:
    """The card of one export, put in place with its files, and the push after that. `Run` takes it as one more sink."""

    can_restart = True
    remark: str | None = None

    def __init__(
        self,
        context: typer.Context,
        target: Target,
        output: str,
        sidecar: str | None,
        destination: Destination,
    ) -> None:
        self._asked = context.params
        self._target = target
        self._output = output
        self._sidecar = sidecar
        self._destination = destination
        self._examples: list[dict[str, Any]] = []
        self._text = ""
        self._run: Run | None = None
        self._partial: Partial | None = None
        self._check(context)

    def _check(self, context: typer.Context) -> None:
        from pairmine.errors import PairmineError

        if self._asked["push_to"] is None:
            without_effect(context, "without --push-to", "private", "dry_run")
        else:
            self._check_push()
        if not self._wants_card:
            without_effect(context, "without --card or --push-to", "license_", "languages")
        if given(context, "card"):
            self._check_card()
        if (licence := self._asked["license_"]) and not _LICENSE.fullmatch(licence):
            raise PairmineError(f"--license {licence!r}: write it as the hub spells it: cc-by-4.0, mit, other")
        for code in self._asked["languages"] or ():
            if not _LANGUAGE.fullmatch(code):
                raise PairmineError(f"--language {code!r}: write a code such as en or pt-BR")

    def _check_push(self) -> None:
        """Raise PairmineError for what the hub would not take, before anything is written."""
        from pairmine.errors import PairmineError
        from pairmine.files.hub import check_repository, check_token
        from pairmine.files.locations import is_remote

        check_repository(self._asked["push_to"])
        for flag, path in (("-o", self._output), ("--sidecar", self._sidecar)):
            if path and (path == "-" or is_remote(path)):
                raise PairmineError(f"--push-to sends files; name one with {flag} on this machine, not {path}")
        names = [*self._names(), README]
        if not self._destination.is_folder and len(set(names)) < len(names):
            raise PairmineError(f"--push-to: two files would have one name there ({', '.join(names)}); name them apart")
        if not self._asked["dry_run"]:
            check_token()

    def _check_card(self) -> None:
        from pairmine.errors import PairmineError

        card = self._asked["card"]
        if self._output == "-":
            raise PairmineError("--card describes files; name one with -o")
        if card in ("-", ""):
            raise PairmineError(f"--card {card or repr(card)}: the card is a file beside the others; name it")
        if card == "none" and not self._asked["push_to"] and not self._destination.is_folder:
            raise PairmineError("--card none has no effect on a file that is not pushed; leave it out")

    @property
    def _file(self) -> str | None:
        """Where the card goes beside the output, None for nowhere or into the folder."""
        card = self._asked["card"]
        return None if card in (None, "none") else str(card)

    @property
    def _wants_card(self) -> bool:
        if self._asked["card"] == "none":
            return False
        return bool(self._asked["card"] or self._asked["push_to"] or self._destination.is_folder)

    def join(self, run: Run) -> None:
        """Put the card in place with the other outputs of `run`."""
        from pairmine.files.partial import Partial

        self._run = run
        if self._file is not None:
            run.also_writes("--card", [self._file])
            self._partial = Partial(self._file)
        run.also(self)

    def look(self, training: pa.Table) -> None:
        """Keep the first training rows, to show them."""
        from pairmine.files.writers import short_floats

        if self._wanted:
            self._examples += short_floats(training.slice(0, self._wanted)).to_pylist()

    def look_through(self, training: Iterable[pa.Table]) -> None:
        """Keep the first rows of tables, and read no more of these than that takes."""
        tables = iter(training)
        while self._wanted and (table := next(tables, None)) is not None:
            self.look(table)

    @property
    def _wanted(self) -> int:
        """How many rows are wanted yet."""
        from pairmine.stages.export.card import EXAMPLES

        return EXAMPLES - len(self._examples) if self._wants_card else 0

    def restart(self) -> None:
        """Forget the rows."""
        self._examples = []

    def finish(self, entries: list[dict[str, Any]]) -> None:
        """Write the card, now that the lineage is known, and sync it."""
        from pairmine.files.partial import said_plainly

        names = self._destination.finish(entries) if self._destination.is_folder else self._names()
        if not self._wants_card:
            return
        self._text = self._card(names, entries)
        if self._partial is not None:
            with said_plainly(self._file or ""):
                self._partial.handle.write(self._text.encode())
                self._partial.sync()
        elif self._destination.is_folder:
            self._destination.add_text(README, self._text)

    def commit(self, entries: list[dict[str, Any]]) -> None:
        """Put the card in its place; that of a folder goes with it."""
        from pairmine.files.partial import said_plainly

        if self._partial is not None:
            with said_plainly(self._file or ""):
                self._partial.commit()

    def abort(self) -> None:
        """Leave no card."""
        if self._partial is not None:
            self._partial.remove()

    def _names(self) -> list[str]:
        beside = [self._sidecar] if self._sidecar and self._sidecar != "-" else []
        return [Path(path).name for path in (self._output, *beside)]

    def _card(self, names: list[str], entries: list[dict[str, Any]]) -> str:
        from pairmine.cli.lineage import commands
        from pairmine.stages.export.card import Facts, card

        assert self._run is not None
        name = self._asked["push_to"] or Path(self._output).absolute().name
        return card(
            Facts(
                name=name.rpartition("/")[2],
                target=self._target,
                files=names,
                counts=self._run.counts(),
                commands=commands(entries),
                examples=self._examples,
                license=self._asked["license_"],
                languages=self._asked["languages"] or (),
            )
        )

    def push(self) -> None:
        """Send what was written, or say what would be sent; raises PairmineError, exit code 3, when the hub does not
        take it."""
        from pairmine.errors import PairmineError
        from pairmine.files import hub

        repository, private = self._asked["push_to"], self._asked["private"]
        if repository is None:
            return
        files = self._to_send()
        sizes = {name: len(part) if isinstance(part, bytes) else part.stat().st_size for name, part in files.items()}
        total = f"{len(files)} files, {sum(sizes.values()):,} bytes"
        if self._asked["dry_run"]:
            kind = "private dataset" if private else "dataset"
            answer(f"would send {total} to the {kind} {repository}")
            for name, size in sizes.items():
                answer(f"  {name}  {size:,} bytes")
            return
        message = f"{self._target.name}, {self._rows:,} rows, by pairmine"
        try:
            address = hub.push(repository, files, private=private, message=message)
        except PairmineError as error:
            line = f"{error}; {self._output} is written, and the same command sends it again"
            raise PairmineError(line, exit_code=error.exit_code) from error
        if self._run is not None:
            self._run.say(f"sent {total}: {address}")

    @property
    def _rows(self) -> int:
        return int(self._run.counts()["rows_out"]) if self._run is not None else 0

    def _to_send(self) -> dict[str, Path | bytes]:
        files: dict[str, Path | bytes] = {}
        if self._destination.is_folder:
            files |= self._destination.files(self._output)
        else:
            paths = [self._output, *([self._sidecar] if self._sidecar else [])]
            files |= {Path(path).name: Path(path) for path in paths}
        if self._text:
            files[README] = self._text.encode()
        return files
