"""`pairmine report`: a pair set as one HTML page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli import options as shared
from pairmine.cli import stats_options
from pairmine.cli.run import say, without_effect, written

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.files.source import PairSource
    from pairmine.report.findings import Checked
    from pairmine.report.gather import Look, Rejected
    from pairmine.report.page import Material, Seen
    from pairmine.report.thresholds import Threshold

Say = Callable[[str], None]


def report(
    context: typer.Context,
    pairs: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS", help="Pair set: a file, a folder of shards, a trainer's file, or -.", show_default=False
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="The page, as report.html; - is standard output.")
    ],
    rejects: Annotated[
        list[str] | None,
        typer.Option("--rejects", metavar="FILE", help="Rejected rows that a stage wrote; repeat it for several."),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="PAIRS",
            help="The set as an earlier stage left it, as mined.parquet: its scores and survival curves are shown "
            "too. Repeat it for several.",
        ),
    ] = None,
    rows: Annotated[
        int,
        typer.Option(
            "--rows",
            min=0,
            max=20_000,
            help="Rows to look through, drawn by lot as whole queries, as far as 2.2 MB hold them; 0 for none.",
        ),
    ] = 2000,
    title: Annotated[
        str | None,
        typer.Option("--title", help="What stands at the top; the file's name without it.", show_default=False),
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run the data tests of 'pairmine check'.")] = True,
    split: shared.Split = None,
    ledger: stats_options.Ledger = None,
    price: stats_options.Price = None,
    seed: shared.Seed = 0,
    quiet: shared.Quiet = False,
) -> None:
    """A pair set as one HTML page that opens from disk: lineage, counts, scores, data tests, rows to look through.

    The page is one file, loads nothing and stays below 3 MB whatever the size of the set. With --rejects it shows
    rejected rows and their reasons beside those that were kept, with --stage the scores that thresholds were held to.

    \b
      pairmine report pairs.parquet -o report.html
      pairmine report pairs.parquet --rejects rejected.parquet --stage mined.parquet -o report.html
    """
    from pairmine.files.partial import write_atomically
    from pairmine.report.page import fitting, page

    _check_paths(output, rejects or [], stage or [])
    if ledger is None:
        without_effect(context, "without --ledger", "price")
    if ledger and not (written(context, "ledger") or os.path.exists(ledger)):
        ledger = None
    making = _Making(rows, seed, check, ledger, price, quiet, rejects or [], stage or [])
    material = fitting(making.material(pairs, title, split))
    text = page(material)
    write_atomically(output, text)
    if not quiet:
        _say_what(output, text, material)


def _say_what(output: str, text: str, material: Material) -> None:
    held, queries = len(material.rows["rows"]), len(material.rows["queries"])
    name = "the page" if output == "-" else output
    say(f"{name}: {len(text.encode()) / 1e6:.1f} MB, with {held:,} rows of {queries:,} queries to look through")
    if left := material.rows.get("columns_left_out"):
        say(f"{name}: the rows are shown without {left:,} of their columns")


@dataclass
class _Making:
    """Reads what the page is made of."""

    rows: int
    seed: int
    check: bool
    ledger: str | None
    price: str | None
    quiet: bool
    rejects: list[str]
    stages: list[str]
    marks: list[Threshold] = field(default_factory=list)
    negatives: int | None = None

    def material(self, pairs: str, title: str | None, split: str | None) -> Material:
        """Everything, from the pair set at the path `pairs`."""
        from pairmine.cli.lineage import steps
        from pairmine.files.lineage import shown_path
        from pairmine.report.page import Material
        from pairmine.report.rows import rows_data
        from pairmine.report.thresholds import negatives_wanted, thresholds

        rejected = self._rejected()
        source = self._open(pairs, split)
        look = self._look_at(source, rejected)
        entries, kept = source.entries or _beside(pairs), look.sample.table()
        self.marks = thresholds(entries, look.score_names)
        self.negatives = negatives_wanted(entries)
        name = shown_path(pairs) if pairs != "-" else "standard input"
        this = look.seen(name, self.negatives, self.marks)
        self._add_generated(this.stats, look, entries)
        shown = rejected.rows(self._all_rejected(), kept)
        return Material(
            title=title or name,
            name=name,
            this=this,
            entries=entries,
            commands=steps(entries),
            rows=rows_data(kept, shown, rows_of=look.sample.rows_of),
            marks=self.marks,
            stages=[self._stage(path) for path in self.stages],
            rejected=rejected.stats,
            checked=self._checked(source) if self.check else None,
        )

    def _open(self, path: str, split: str | None) -> PairSource:
        """The pair set, or a trainer's file as one; a pipe is kept for a second reading."""
        from pairmine.files.forms import pairs_of
        from pairmine.files.source import open_pairs

        tell: Say = (lambda _: None) if self.quiet else say
        return open_pairs(path, tell, split=split, replay=True) if path == "-" else pairs_of(path, tell, split=split)

    def _look_at(self, source: PairSource, rejected: Rejected) -> Look:
        """The set itself, with rows for the browser."""
        from pairmine.cli.yields import draws_of
        from pairmine.report.gather import Look, shares
        from pairmine.stages.stats import Stats

        def look() -> Look:
            stats = Stats(draws_of=lambda recipe: draws_of(recipe, source.entries))
            return Look(self.seed, shares(self.rows, rejects=bool(self.rejects)), rejected.wanted, stats)

        return self._through(source, look)

    def _stage(self, path: str) -> Seen:
        """An earlier stage's set, with the curves of the thresholds that were set later."""
        from pairmine.files.lineage import shown_path
        from pairmine.report.gather import Look

        look = self._through(self._open(path, None), lambda: Look(self.seed))
        return look.seen(shown_path(path), self.negatives, self.marks)

    def _through(self, source: PairSource, make: Callable[[], Look]) -> Look:
        """A look at all rows; all are held in memory where those of a query have to be brought together."""
        from pairmine.files.blocks import RowsApart

        look = make()
        try:
            for chunk in self._watched(source, source.chunks, "looking through"):
                look.add(chunk)
        except RowsApart:
            look = make()
            look.add(source.read())
        return look

    def _watched(self, source: PairSource, read: Callable[[], Iterator[pa.Table]], doing: str) -> Iterator[pa.Table]:
        """What `read` gives, with a word on stderr where that takes a while."""
        from pairmine.cli.progress import Progress
        from pairmine.files.lineage import shown_path

        with Progress("report", quiet=self.quiet) as progress:
            progress.work(shown_path(source.path), doing)
            source.watch = progress.reading
            yield from read()

    def _rejected(self) -> Rejected:
        from pairmine.cli.progress import Progress
        from pairmine.report.gather import Rejected

        rejected = Rejected(self.seed, self.rows)
        with Progress("report", quiet=self.quiet) as progress:
            if self.rejects:
                progress.work(", ".join(self.rejects), "looking through")
            for table in self._all_rejected():
                rejected.add(table)
        return rejected

    def _all_rejected(self) -> Iterator[pa.Table]:
        """The rejected rows of all files, as pairs."""
        from pairmine.files.lineage import shown_path
        from pairmine.files.source import ANY, Source
        from pairmine.report.gather import as_rejected

        for path in self.rejects:
            first = 0
            for table in Source(path, replace(ANY, may_be_empty=True), {}, say).each():
                yield as_rejected(table, shown_path(path), first)
                first += table.num_rows

    def _add_generated(self, found: dict[str, Any], look: Look, entries: list[dict[str, Any]]) -> None:
        """What LLM rows yielded and cost, as `pairmine stats` tells it."""
        from pairmine.cli.spent import spent
        from pairmine.cli.yields import add_planned, add_rejects

        if self.rejects and found["templates"]:
            for path in self.rejects:
                add_rejects(path, look.stats.templates, say)
            found["templates"] = look.stats.to_dict()["templates"]
        add_planned(found["templates"], entries)
        found["spent"] = None if self.ledger is None else spent(self.ledger, entries, found, self.price)

    def _checked(self, source: PairSource) -> Checked:
        from pairmine.report.findings import Checked
        from pairmine.stages.check import Settings, run_checks

        found = run_checks(lambda: self._watched(source, source.tables, "testing"), Settings(seed=self.seed))
        return Checked(found.findings)


def _beside(path: str) -> list[dict[str, Any]]:
    """The lineage of a training file whose format holds none, from the file of ids that export wrote beside it."""
    from pairmine.files.forms.sidecar import find_sidecar

    sidecar = find_sidecar(path)
    return sidecar.entries if sidecar else []


def _check_paths(output: str, rejects: list[str], stages: list[str]) -> None:
    from pairmine.errors import PairmineError

    for flag, paths in (("--rejects", rejects), ("--stage", stages)):
        if "-" in paths:
            raise PairmineError(f"{flag} -: is read beside PAIRS or more than once; put it into a file first")
    if output != "-" and not output.lower().endswith((".html", ".htm")):
        raise PairmineError(f"-o {output}: the page is HTML; give the file the ending .html")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)
