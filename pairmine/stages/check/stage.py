"""The stage: read a pair set once, then tell what every test found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.stages.check.catalog import TESTS
from pairmine.stages.check.chunk import BAD_LABEL, Chunk, chunks_of
from pairmine.stages.check.facts import NONE, Facts
from pairmine.stages.check.finding import NOTE, Example, Finding
from pairmine.stages.check.gathered import Gathered
from pairmine.stages.check.outside import Leaks, Lookup, Resolved, index_texts
from pairmine.stages.check.splits import near_straddling
from pairmine.stages.check.tallies import Tallies, Tally
from pairmine.stages.check.texts import Limit, PlainTexts
from pairmine.stages.check.verdict import check_name
from pairmine.stages.dedup.against import Against, EvalSet

PLACE = "place"
"""A column that the readers of trainers' files add: where the row stands in the file, as "line 3"."""
SCORE_GIVEN = "score_given"
"""Another of theirs: the grade of a file that has grades for labels, of a scale that the file does not tell."""
NAMES = tuple(test.name for test in TESTS)
_FAKE, _FAKE_SCORE = r"(^|[:/])fake(:|/|$)", "score_fake"
Read = Callable[[], Iterable[pa.Table]]


@dataclass(frozen=True)
class Settings:
    """Which tests are to run, what they hold the pairs against, and how many rows each shows.

    `has_places` says that the column `PLACE` is a reader's, and none that the user brought.
    """

    tests: Collection[str] = NAMES
    limit: Limit = field(default_factory=Limit)
    documents: Lookup | None = None
    queries: Lookup | None = None
    against: Against | None = None
    splits: Against | None = None
    examples: int = 3
    has_places: bool = False
    seed: int = 0
    workers: int = 1

    def gathered(self, first: int = 0) -> Gathered:
        """What is known of no rows yet, the next of which has the number `first`."""
        return Gathered(
            self.tests,
            examples=self.examples,
            seed=self.seed,
            with_splits=self.splits is None,
            workers=self.workers,
            first=first,
        )


@dataclass(frozen=True)
class Report:
    """What all tests found, those that found nothing too; `not_run` says what the others need.

    `drops` are the rows, numbered from 0, ascending, that `--fix` drops, `reasons` (same length) the test of each.
    """

    rows: int
    findings: list[Finding]
    not_run: Mapping[str, str]
    drops: np.ndarray
    reasons: np.ndarray


class Checker:
    """Takes in a pair set table by table in the order of its rows, which are numbered from `first` on.

    `gathered` is what the tests know then, in bounded memory.
    """

    def __init__(self, settings: Settings, first: int = 0) -> None:
        self.gathered = settings.gathered(first)
        self._texts = PlainTexts(settings.limit)
        self._resolved = Resolved(settings.documents, settings.queries)
        self._leaks = Leaks(settings.against, settings.splits)

    def add(self, chunk: Chunk) -> None:
        """Run the tests of single rows, and keep what the others need."""
        found = self.gathered.found
        self._texts.add(chunk, found)
        self.gathered.add(chunk)
        self._resolved.add(chunk, found)
        self._leaks.add(chunk, found)
        _undecided(chunk, found)
        _fakes(chunk, found)


class Again(Protocol):
    """The same rows once more, of which the tests have told numbers alone."""

    def near_straddling(self, facts: Facts, exact: np.ndarray, found: Tallies) -> None:
        """Look for near copies between the splits: what `splits.near_straddling` does."""

    def show(self, wanted: list[int]) -> dict[int, Example]:
        """The rows with these numbers, ascending: what `show_rows` does."""


def run_checks(read: Read, settings: Settings, advance: Callable[[int], None] = lambda rows: None) -> Report:
    """Test the pair set that `read` gives, each time from its start; the same for any cut into tables.

    It is read once, a second time for the examples where there are any, and twice more where it has several splits.
    Rows of a query may stand apart, and labels may be none: `BAD_LABEL` says then what stood there.
    """
    checker = Checker(settings)
    for chunk in chunks_of(read()):
        checker.add(chunk)
        advance(len(chunk))
    return report_of(checker.gathered, settings, _Reread(read, settings))


def report_of(gathered: Gathered, settings: Settings, again: Again) -> Report:
    """What the tests found in the rows that were gathered."""
    rows = gathered.rows
    tallies = gathered.finish(again.near_straddling)
    wanted = sorted({each.row for tally in tallies for each in tally.sampled})
    shown = again.show(wanted) if wanted else {}
    findings = [_finding(tally, shown, settings) for tally in tallies if tally.looked]
    not_run = {tally.test.name: tally.test.needs for tally in tallies if not tally.looked}
    return Report(rows, findings, not_run, *_drops(tallies))


@dataclass(frozen=True)
class _Reread:
    """The rows that `read` gives."""

    read: Read
    settings: Settings

    def near_straddling(self, facts: Facts, exact: np.ndarray, found: Tallies) -> None:
        near_straddling(lambda: chunks_of(self.read()), facts, exact, found, workers=self.settings.workers)

    def show(self, wanted: list[int]) -> dict[int, Example]:
        return show_rows(self.read, wanted, has_places=self.settings.has_places)


def check(
    pairs: pa.Table,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    corpus: pa.Table | None = None,
    queries: pa.Table | None = None,
    against: Mapping[str, pa.Table] | None = None,
    splits: Mapping[str, pa.Table] | None = None,
    limit: Limit | None = None,
    examples: int = 3,
    seed: int = 0,
    workers: int = 1,
) -> Report:
    """Test a pair set that is in memory: what `pairmine check` does.

    `corpus` and `queries` have the columns id, text and perhaps title, as have the tables of `against` and `splits`,
    by name: the texts of test sets and of other splits. `only` and `skip` are names of tests.

    Raises PairmineError for what is no pair set, and for names of tests that are none.
    """
    schema.check_pairs(pairs)
    settings = Settings(
        tests=chosen(only, skip),
        limit=limit or Limit(),
        documents=Lookup.of([corpus]) if corpus is not None else None,
        queries=Lookup.of([queries]) if queries is not None else None,
        against=_index(against, workers),
        splits=_index(splits, workers),
        examples=examples,
        seed=seed,
        workers=workers,
    )
    return run_checks(lambda: [pairs], settings)


def chosen(only: Collection[str], skip: Collection[str], names: Collection[str] = NAMES) -> list[str]:
    """The tests that are to run; raises PairmineError for a name that is none."""
    for flag, given in (("--only", only), ("--skip", skip)):
        for name in given:
            check_name(flag, name, list(names))
    if twice := sorted(set(only) & set(skip)):
        raise PairmineError(f"--only {twice[0]} and --skip {twice[0]}: leave one of them out")
    return [name for name in names if (not only or name in only) and name not in skip]


def show_rows(read: Read, wanted: list[int], *, has_places: bool = False, first: int = 0) -> dict[int, Example]:
    """The rows with these numbers, ascending, as examples; that of the first row that is read is `first`."""
    shown: dict[int, Example] = {}
    at = 0
    if not wanted:
        return shown
    for table in read():
        here = []
        while at < len(wanted) and wanted[at] < first + table.num_rows:
            here.append(wanted[at])
            at += 1
        taken = table.take(pa.array([row - first for row in here], pa.int64()))
        for row, values in zip(here, taken.to_pylist(), strict=True):
            shown[row] = _example(row, values, has_places=has_places)
        first += table.num_rows
        if at == len(wanted):
            break
    return shown


def _example(row: int, values: dict[str, object], *, has_places: bool) -> Example:
    texts = {name: None if values.get(name) is None else str(values[name]) for name in _SHOWN}
    place = (texts[PLACE] if has_places else None) or f"row {row + 1}"
    return Example(place, texts["query_id"], texts["doc_id"], texts["query"], texts["document"])


_SHOWN = (PLACE, "query_id", "doc_id", "query", "document")


def _finding(tally: Tally, shown: Mapping[int, Example], settings: Settings) -> Finding:
    test = tally.test
    # Characters say little of what a model reads.
    is_guess = test.name == "over-long" and settings.limit.count is None
    examples = []
    for each in tally.sampled:
        example = shown[each.row]
        examples.append(Example(**{**vars(example), "note": each.note}))
    return Finding(
        name=test.name,
        severity=NOTE if is_guess else test.severity,
        count=tally.count,
        out_of=tally.looked,
        what=test.what,
        remedy=test.remedy,
        unit=test.unit,
        examples=tuple(examples),
        fixable=test.fixable,
    )


def _drops(tallies: list[Tally]) -> tuple[np.ndarray, np.ndarray]:
    """The rows to drop, ascending, each once, and the name of the first test that wants it."""
    parts = [(tally.dropped(), tally.test.name) for tally in tallies]
    rows = np.concatenate([np.empty(0, np.int64), *(each for each, _ in parts)])
    names = np.concatenate([np.empty(0, object), *(np.full(len(each), name, object) for each, name in parts)])
    rows, first = np.unique(rows, return_index=True)
    return rows, names[first]


def _undecided(chunk: Chunk, found: Tallies) -> None:
    undecided = chunk.label == NONE
    for decided in map(chunk.there, ("grade", SCORE_GIVEN, BAD_LABEL)):
        if decided is not None:
            undecided &= ~decided
    found.found("undecided", chunk.rows(undecided))


def _fakes(chunk: Chunk, found: Tallies) -> None:
    """Rows whose origin names fake:, and those that it scored."""
    found.looked("made-by-fake", len(chunk))
    wrong = pc.match_substring_regex(chunk.pairs["origin"].cast(pa.large_string()), _FAKE).to_numpy()
    if (scored := chunk.there(_FAKE_SCORE)) is not None:
        wrong = wrong | scored
    found.found("made-by-fake", chunk.rows(wrong))


def _index(sets: Mapping[str, pa.Table] | None, workers: int) -> Against | None:
    if not sets:
        return None
    named = [EvalSet(name, table["id"].combine_chunks(), table["text"]) for name, table in sets.items()]
    return index_texts(named, workers)
