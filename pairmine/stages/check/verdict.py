"""Whether a finding passes: by its severity, or by the limit that the user set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pairmine.errors import PairmineError
from pairmine.stages.check.catalog import BY_NAME
from pairmine.stages.check.finding import ERROR, WARNING, Finding

OK, NOTED, WARN, FAIL = "ok", "note", "warn", "FAIL"
_LIMIT = re.compile(r"([a-z0-9-]+)=(\d+|\d*\.\d+)")


@dataclass(frozen=True)
class Limit:
    """The most that a test may find: a count where it is written as a whole number, else a share."""

    value: float
    is_share: bool

    def allows(self, finding: Finding) -> bool:
        """Whether a finding stays within it."""
        return (finding.share if self.is_share else finding.count) <= self.value


def parse_limits(texts: Sequence[str], names: Sequence[str]) -> dict[str, Limit]:
    """``NAME=0.01`` (a share) or ``NAME=25`` (a count) each; raises PairmineError for other names and values."""
    limits: dict[str, Limit] = {}
    for text in texts:
        match = _LIMIT.fullmatch(text)
        if not match or ("." in match[2] and float(match[2]) > 1):
            raise PairmineError(f"--max {text}: write NAME=0.01 for a share up to 1.0, or NAME=25 for a count")
        if match[1] in limits:
            raise PairmineError(f"--max {text}: {match[1]} has a limit already; give each test one")
        check_name("--max", match[1], names)
        limits[match[1]] = Limit(float(match[2]), "." in match[2])
    return limits


def check_name(flag: str, name: str, names: Sequence[str]) -> None:
    """Raise a PairmineError unless there is a test of that name."""
    from difflib import get_close_matches

    if name not in names:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else "--list names them"
        raise PairmineError(f"{flag} {name}: no test of this name; {hint}")


def verdict(finding: Finding, limit: Limit | None = None) -> str:
    """`OK`, `NOTED`, `WARN` or `FAIL`. A limit fails whatever exceeds it, and passes all else, errors too."""
    if limit is not None:
        return OK if limit.allows(finding) else FAIL
    usual = BY_NAME[finding.name].usual if finding.name in BY_NAME else 0.0
    if not finding.count or finding.share <= usual:
        return OK
    return FAIL if finding.severity == ERROR else WARN if finding.severity == WARNING else NOTED
