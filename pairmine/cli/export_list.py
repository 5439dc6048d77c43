"""`pairmine export --list`: the formats by trainer, in lines for people or as JSON."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairmine.stages.export import Target


def listed() -> str:
    """The formats grouped by trainer, each with what it holds and what it takes."""
    from pairmine.stages.export import TARGETS

    width = max(map(len, TARGETS))
    lines = []
    for trainer, targets in groupby(_by_trainer(), key=lambda target: target.trainer):
        found = list(targets)
        versions = _versions(found)
        lines.append(f"{trainer}, read against {versions}" if versions else trainer)
        lines += [f"  {target.name:<{width}}  {target.summary} [{', '.join(target.formats)}]" for target in found]
    return "\n".join(lines) + "\n"


def as_json() -> str:
    """The same for programs: a list of objects, one for each format."""
    return json.dumps([_facts(target) for target in _by_trainer()], indent=2, ensure_ascii=False) + "\n"


def _versions(targets: list[Target]) -> str:
    """The releases that they were read against, none of them twice."""
    whole = list(dict.fromkeys(target.version for target in targets if target.version))
    return ", ".join(one for one in whole if not any(one != other and one in other for other in whole))


def _by_trainer() -> list[Target]:
    """The formats, those of one trainer together, in the order in which the trainers first come."""
    from pairmine.stages.export import TARGETS

    trainers = list(dict.fromkeys(target.trainer for target in TARGETS.values()))
    return sorted(TARGETS.values(), key=lambda target: trainers.index(target.trainer))


def _facts(target: Target) -> dict[str, object]:
    return {
        "name": target.name,
        "trainer": target.trainer,
        "version": target.version,
        "summary": target.summary,
        "columns": list(target.columns),
        "formats": list(target.formats),
        "needs": target.needs,
        "takes": sorted(f"--{name}" for name in target.takes),
        "requires": sorted(f"--{name}" for name in target.requires),
    }
