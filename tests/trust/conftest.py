"""The campaign of faults: how much of it is run, and what it counts.

    make trust                           the whole of it; then docs/trust.md tells its counts
    python -m pytest -m trust            the short one, as .ci/run has it

What a test tries many times it asks `campaign` how often, and has it count what was tried and what came of it. Each
module of a whole campaign leaves build/trust/counts-MODULE.json, so that it can be run module by module
(PAIRMINE_TRUST=whole python -m pytest -m trust tests/trust/test_disk.py).
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_COUNTS = _ROOT / "build" / "trust"
_WHOLE = "whole"
_COUNTING = threading.Lock()
_LONGEST_S = {True: 5400.0, False: 300.0}
"""What a test of the whole and of the short campaign may take: one that hangs ends with its tracebacks."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is slow and of the campaign."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.trust)


@dataclass
class Campaign:
    """How often things are tried, and what came of it in one module."""

    is_whole: bool
    module: str = ""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def times(self, whole: int, short: int) -> int:
        """How often to try something in the whole campaign, and in the short one."""
        return whole if self.is_whole else short

    def count(self, promise: str, what: str, number: int = 1) -> None:
        """Note that `what` was seen `number` times more for `promise`: both are words that docs/trust.md shows."""
        with _COUNTING:
            self.counts.setdefault(promise, Counter())[what] += number

    def note(self, report: pytest.TestReport) -> None:
        """Note what came of a phase of a test."""
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            self.failed.append(name)
        elif report.skipped:
            self.skipped[name] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        elif report.when == "call":
            self.passed += 1

    def keep(self, is_over: bool) -> None:
        """Write a whole campaign's counts down, for docs/trust_counts.py."""
        if not self.is_whole:
            return
        _COUNTS.mkdir(parents=True, exist_ok=True)
        found = {
            "counts": self.counts,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "is_over": is_over,
            "commit": _COMMIT,
        }
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
        (_COUNTS / f"counts-{self.module}.json").write_text(text, encoding="utf-8")


def _commit() -> str:
    done = subprocess.run(["git", "-C", _ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


_COMMIT = _commit()
_campaigns: dict[str, Campaign] = {}


@pytest.fixture(scope="module")
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """The whole campaign where PAIRMINE_TRUST is "whole", else the short one."""
    module = request.path.stem
    found = _campaigns[module] = Campaign(os.environ.get("PAIRMINE_TRUST") == _WHOLE, module)
    yield found
    found.keep(is_over=True)


@pytest.fixture(autouse=True)
def _ends(campaign: Campaign) -> Iterator[None]:
    """Ends a test that hangs, with the tracebacks of all threads; what was tried before it is counted."""
    faulthandler.dump_traceback_later(_LONGEST_S[campaign.is_whole], exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
    campaign.keep(is_over=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Has the campaign know what failed and what was skipped."""
    report = yield
    if (found := _campaigns.get(item.path.stem)) is not None:
        found.note(report)
    return report
