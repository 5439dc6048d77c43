"""What the data tests of `pairmine check` say of the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pairmine.report.markup import Html, counted, join, share, tag
from pairmine.stages.check.finding import Example, Finding, short
from pairmine.stages.check.verdict import FAIL, NOTED, WARN, verdict

_KINDS = {FAIL: "error", WARN: "warning", NOTED: "note"}
_TEXT = 200
_NAMED = 3


@dataclass(frozen=True)
class Checked:
    """Findings of every test that ran, those that found nothing with a count of 0."""

    findings: Sequence[Finding]

    @property
    def found(self) -> list[tuple[str, Finding]]:
        """Those that found more than is usual, the gravest first, each with what it is: error, warning or note."""
        told = [(verdict(finding), finding) for finding in self.findings]
        order = list(_KINDS)
        there = [(kind, finding) for kind, finding in told if kind in order]
        there.sort(key=lambda each: (order.index(each[0]), -each[1].share, each[1].name))
        return [(_KINDS[kind], finding) for kind, finding in there]

    @property
    def worst(self) -> str:
        """The gravest kind of what was found, "ok" where it is nothing."""
        return next((kind for kind, _ in self.found), "ok")

    @property
    def verdict(self) -> str:
        """One line."""
        found, tests = self.found, counted(len(self.findings), "data test")
        if not found:
            return f"All {tests} pass."
        many = Counter(kind for kind, _ in found)
        kinds = ", ".join(counted(many[kind], kind) for kind in _KINDS.values() if many[kind])
        names = [finding.name for _, finding in found[:_NAMED]]
        return f"{tests}: {kinds} ({', '.join(names)}{', ...' if len(found) > _NAMED else ''})."


def findings_section(checked: Checked) -> Html:
    """A block for each test that found something, then the names of the others."""
    told = {finding.name for _, finding in checked.found}
    quiet = sorted(finding.name for finding in checked.findings if finding.name not in told)
    passed = tag("p", tag("b", "Nothing found by: "), ", ".join(quiet), class_="quiet") if quiet else None
    return join([*(_finding(kind, finding) for kind, finding in checked.found), passed])


def _finding(kind: str, finding: Finding) -> Html:
    return tag(
        "details",
        tag(
            "summary",
            tag("span", kind, class_=f"badge {kind}"),
            tag("b", finding.name),
            tag(
                "span",
                f"{finding.count:,} of {finding.out_of:,} {finding.unit}, {share(finding.count, finding.out_of)}",
            ),
        ),
        tag("p", f"{finding.what[:1].upper()}{finding.what[1:]}."),
        tag("ul", *(_example(example) for example in finding.examples[:3]), class_="examples"),
        tag("p", tag("b", "Remedy: "), finding.remedy),
        class_="finding",
    )


def _example(example: Example) -> Html:
    ids = " · ".join(each for each in (example.place, example.query_id, example.doc_id) if each)
    texts = [short(text, _TEXT) for text in (example.query, example.document) if text]
    return tag(
        "li", tag("small", ids), *(tag("p", text) for text in texts), tag("em", example.note) if example.note else None
    )
