"""The campaign of faults: how much of it is run, and what it counts.

    make trust                           the whole of it; then docs/trust.md tells its counts
    python -m pytest -m trust            the short one, as .ci/run has it

What a test tries many times it asks `campaign` how often, and has it count what was tried and what came of it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_COUNTS = Path(__file__).parents[2] / "build" / "trust"
_WHOLE = "whole"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is slow and of the campaign."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.trust)


@dataclass
class Campaign:
    """How often things are tried, and what came of it."""

    is_whole: bool
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def times(self, whole: int, short: int) -> int:
        """How often to try something in the whole campaign, and in the short one."""
        return whole if self.is_whole else short

    def count(self, promise: str, what: str, number: int = 1) -> None:
        """Note that `what` was seen `number` times more for `promise`: both are words that docs/trust.md shows."""
        self.counts.setdefault(promise, Counter())[what] += number

    def keep(self) -> None:
        """Write the counts of a whole campaign down, for docs/trust_counts.py."""
        if self.is_whole and self.counts:
            _COUNTS.mkdir(parents=True, exist_ok=True)
            name = os.environ.get("PYTEST_XDIST_WORKER", "all")
            text = json.dumps(self.counts, indent=1, sort_keys=True, ensure_ascii=False)
            (_COUNTS / f"counts-{name}.json").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def campaign() -> Campaign:
    """The whole campaign where PAIRMINE_TRUST is "whole", else the short one."""
    return Campaign(os.environ.get("PAIRMINE_TRUST") == _WHOLE)


@pytest.fixture(autouse=True)
def _kept_as_they_come(campaign: Campaign) -> Iterator[None]:
    """A campaign that is stopped has counted what it tried."""
    yield
    campaign.keep()
