"""What `pairmine check` shows: a table, the examples, JSON, and JUnit's XML for CI."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairmine.stages.check.catalog import BY_NAME, TESTS, DataTest
from pairmine.stages.check.finding import Example, Finding, short
from pairmine.stages.check.verdict import FAIL, NOTED, OK, WARN, Limit, verdict

if TYPE_CHECKING:
    from pairmine.stages.check.stage import Report, Settings

_TEXT, _WIDTH = 90, 100
"""Characters of a text, and of a line of names, in the lines for people."""


@dataclass(frozen=True)
class Result:
    """One test of a run: what it found, whether that passes, and how many rows `--fix` dropped for it."""

    finding: Finding
    verdict: str
    dropped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        found = {**self.finding.to_dict(), "verdict": self.verdict.lower()}
        return {**found, "dropped": self.dropped} if self.dropped else found


@dataclass(frozen=True)
class Results:
    """All tests of a run; `mended` says that they are those of what `--fix` left."""

    path: str
    form: str | None
    rows: int
    results: Sequence[Result]
    not_run: Mapping[str, str]
    mended: bool = False

    @classmethod
    def of(cls, path: str, form: Any, report: Report, settings: Settings, limits: Mapping[str, Limit]) -> Results:
        """The findings of a report and of the form that the pairs were read from, with their verdicts."""
        findings = {finding.name: finding for finding in report.findings}
        if form is not None:
            for finding in _of_form(form, settings):
                here = findings.get(finding.name)
                findings[finding.name] = _both(here, finding) if here else finding
        results = [Result(each, verdict(each, limits.get(each.name))) for each in findings.values()]
        not_run = {name: needs for name, needs in report.not_run.items() if name not in findings}
        return cls(path, form.name if form else None, report.rows, results, not_run)

    def after(self, mended: Report, dropped: Mapping[str, int], limits: Mapping[str, Limit]) -> Results:
        """What the tests find in the mended pairs, and how many rows were dropped for each; writing mends the form."""
        results = [
            Result(each, verdict(each, limits.get(each.name)), dropped.get(each.name, 0)) for each in mended.findings
        ]
        return replace(self, rows=mended.rows, results=results, not_run=mended.not_run, mended=True)

    @property
    def failed(self) -> list[str]:
        """The names of the tests that fail."""
        return [each.finding.name for each in self.results if each.verdict == FAIL]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "path": self.path,
            "form": self.form,
            "rows": self.rows,
            "mended": self.mended,
            "passed": not self.failed,
            "tests": [each.to_dict() for each in self.results],
            "not_run": dict(self.not_run),
        }


def _of_form(form: Any, settings: Settings) -> list[Finding]:
    """What the tests of the form found; one that found nothing has count 0."""
    found = {finding.name: finding for finding in form.findings if finding.name in settings.tests}
    nothing = [
        Finding(name, severity, 0, form.rows, what, "")
        for name, severity, what in form.tests
        if name not in found and name in settings.tests and name not in BY_NAME
    ]
    shown = (replace(each, examples=each.examples[: settings.examples]) for each in found.values())
    return [*shown, *nothing]


def _both(one: Finding, other: Finding) -> Finding:
    """Two findings of one name: the form's rows could not be looked up, so they add to those of the table."""
    return replace(one, count=one.count + other.count, examples=(*one.examples, *other.examples))


def show(results: Results, *, as_json: bool) -> None:
    """Everything on standard output."""
    from pairmine.files.partial import STDOUT, write_atomically

    text = json.dumps(results.to_dict(), ensure_ascii=False, indent=2) if as_json else "\n".join(lines(results))
    write_atomically(STDOUT, text + "\n")


def show_list(form: Any, *, as_json: bool) -> None:
    """The tests that there are, and those of the form of a file."""
    from pairmine.files.partial import STDOUT, write_atomically

    tests = [*TESTS]
    if form is not None:
        tests += [DataTest(each[0], each[1], "lines", each[2], "") for each in form.tests if each[0] not in BY_NAME]
    if as_json:
        listed = [{name: value for name, value in vars(test).items() if name != "usual"} for test in tests]
        write_atomically(STDOUT, json.dumps(listed, ensure_ascii=False, indent=2) + "\n")
        return
    width = max(len(test.name) for test in tests)
    shown = []
    for test in tests:
        fix = "--fix" if test.fixable else ""
        needs = f"; needs {test.needs}" if test.needs else ""
        shown.append(f"{test.name:<{width}}  {test.severity:<7}  {fix:<5}  {test.what}{needs}")
    write_atomically(STDOUT, "\n".join(shown) + "\n")


def lines(results: Results) -> list[str]:
    """The table, the faults with their examples, what was not run, and the sum."""
    name = "mended pairs" if results.mended else results.path
    form = f", read as {results.form}" if results.form and not results.mended else ""
    shown = [f"{name}: {results.rows:,} {'row' if results.rows == 1 else 'rows'}{form}", *_table(results.results)]
    for each in results.results:
        if each.verdict != OK and each.finding.count:
            shown += ["", *_fault(each)]
    if results.not_run:
        shown += ["", *_not_run(results.not_run)]
    return [*shown, "", _sum(results.results)]


def _not_run(not_run: Mapping[str, str]) -> list[str]:
    """The names of the tests that were not run."""
    names = ", ".join(not_run)
    return textwrap.wrap(
        f"not run, --list says what they need: {names}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )


def _table(results: Sequence[Result]) -> list[str]:
    rows = [
        (
            each.finding.name,
            each.verdict,
            f"{each.finding.count:,}",
            f"{each.finding.out_of:,} {each.finding.unit}",
            f"{each.finding.share:.2%}" if each.finding.count else "",
            f"{each.dropped:,} dropped" if each.dropped else "",
        )
        for each in results
    ]
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(5)]
    return [
        f"  {name:<{widths[0]}}  {said:<{widths[1]}}  {count:>{widths[2]}} of {of:<{widths[3]}}  {share:>{widths[4]}}  "
        f"{more}".rstrip()
        for name, said, count, of, share, more in rows
    ]


def _fault(result: Result) -> list[str]:
    found = result.finding
    shown = [f"{found.name}: {found.what} ({found.count:,} of {found.out_of:,} {found.unit})"]
    for example in found.examples:
        shown += _example(example)
    return [*shown, f"  -> {found.remedy}"] if found.remedy else shown


def _example(example: Example) -> list[str]:
    shown = [f"  {example.place}" + (f": {_visible(example.note)}" if example.note else "")]
    for key, text in ((example.query_id, example.query), (example.doc_id, example.document)):
        if key is not None or text is not None:
            what = "document" if (key, text) == (example.doc_id, example.document) else "query"
            shown.append(_visible(f"    {what} {short(key, 40) or ''}: {short(text, _TEXT) or '(no text)'}"))
    return shown


def _visible(text: str) -> str:
    """`text` with its control characters escaped: a terminal would obey them."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _sum(results: Sequence[Result]) -> str:
    verdicts = [each.verdict for each in results]
    words = {FAIL: "failed", WARN: "warned", NOTED: "noted", OK: "passed"}
    return ", ".join(f"{verdicts.count(said):,} {word}" for said, word in words.items() if said in verdicts)


def write_junit(path: str, results: Results) -> None:
    """`junit` as the file `path`."""
    from pairmine.files.partial import write_atomically

    write_atomically(path, junit(results))


def junit(results: Results) -> str:
    """A test suite with a case per test: failures as such, warnings and notes in the case's output."""
    from xml.etree import ElementTree as Tree

    cases = len(results.results) + len(results.not_run)
    counts = {"tests": cases, "failures": len(results.failed), "errors": 0, "skipped": len(results.not_run)}
    suite = Tree.Element("testsuite", {"name": _legal(f"pairmine check {results.path}"), **_texts(counts)})
    for each in results.results:
        case = Tree.SubElement(suite, "testcase", {"classname": "pairmine.check", "name": _legal(each.finding.name)})
        if each.verdict == OK:
            continue
        told = _legal("\n".join(_fault(each)))
        if each.verdict == FAIL:
            message = _legal(
                f"{each.finding.count:,} of {each.finding.out_of:,} {each.finding.unit}: {each.finding.what}"
            )
            Tree.SubElement(case, "failure", {"type": each.finding.severity, "message": message}).text = told
        else:
            Tree.SubElement(case, "system-out").text = told
    for name, needs in results.not_run.items():
        case = Tree.SubElement(suite, "testcase", {"classname": "pairmine.check", "name": _legal(name)})
        Tree.SubElement(case, "skipped", {"message": _legal(f"needs {needs}")})
    Tree.indent(suite)
    return Tree.tostring(suite, encoding="unicode", xml_declaration=False) + "\n"


_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _legal(text: str) -> str:
    """`text` without the characters that XML has no way to write."""
    return _ILLEGAL.sub("\ufffd", text)


def _texts(counts: Mapping[str, int]) -> dict[str, str]:
    return {name: str(count) for name, count in counts.items()}
