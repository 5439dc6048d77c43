"""Puts the counts of the last whole campaign of faults into docs/trust.md: `make trust` calls it.

    python docs/trust_counts.py --write docs/trust.md

A table stands between `<!-- counts -->`, `<!-- limits -->` or `<!-- determinism -->` and `<!-- end -->`; it
is made of what the tests of tests/trust/ left in build/trust/.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "build" / "trust"
TESTS = ROOT / "tests" / "trust"


def campaign(folder: Path) -> dict[str, dict[str, Any]]:
    """What each module of the campaign left. Raises ValueError unless all of them ran to their end and none failed."""
    modules = sorted(path.stem for path in TESTS.glob("test_*.py"))
    found = {name: _read(path) for name in modules if (path := folder / f"counts-{name}.json").exists()}
    wrong = [f"{name} has not run" for name in modules if name not in found]
    wrong += [f"{name} was stopped" for name, one in found.items() if not one["is_over"]]
    wrong += [f"{name} failed in {', '.join(one['failed'])}" for name, one in found.items() if one["failed"]]
    if wrong:
        raise ValueError(f"no whole campaign without a failure in {folder}: {'; '.join(wrong)}")
    return found


def counts_table(folder: Path) -> str:
    """A line per promise, and what was seen of it how often; then what was left out, and why."""
    found = campaign(folder)
    total: dict[str, Counter[str]] = {}
    for one in found.values():
        for promise, counts in one["counts"].items():
            total.setdefault(promise, Counter()).update(counts)
    lines = ["| promise | tried |", "|---|---|"]
    for promise, counts in sorted(total.items()):
        seen = "; ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
        lines.append(f"| {promise} | {seen} |")
    commits = ", ".join(sorted({one["commit"][:12] for one in found.values()}))
    lines += ["", f"{sum(one['passed'] for one in found.values())} tests passed, none failed, at {commits}."]
    skipped = Counter(reason for one in found.values() for reason in one["skipped"].values())
    if skipped:
        lines += ["", "Left out:", "", *(f"- {number}: {reason}" for reason, number in sorted(skipped.items()))]
    return "\n".join(lines)


def limits_table(folder: Path) -> str:
    """A line per input and command, largest memory first."""
    found: list[dict[str, Any]] = _read(folder / "limits.json")
    lines = ["| input | command | exit code | memory, MB | processor, s |", "|---|---|---|---|---|"]
    for one in sorted(found, key=lambda one: -one["mb"]):
        lines.append(f"| {one['what']} | `{one['command']}` | {one['code']} | {one['mb']:,} | {one['s']:,} |")
    return "\n".join(lines)


def determinism_table(folder: Path) -> str:
    """A line per stage, a column per setting."""
    found: dict[str, dict[str, str]] = _read(folder / "determinism.json")
    settings = list(dict.fromkeys(setting for each in found.values() for setting in each))
    lines = [f"| stage | {' | '.join(settings)} |", "|---" * (len(settings) + 1) + "|"]
    for stage, each in found.items():
        lines.append(f"| `{stage}` | {' | '.join(each.get(setting, '') for setting in settings)} |")
    return "\n".join(lines)


def filled(page: str, name: str, table: str) -> str:
    """`page` with `table` where `name` stands. Raises ValueError where it stands nowhere."""
    found, times = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda match: f"{match[1]}\n{table}\n\n{match[2]}", page, flags=re.S
    )
    if times != 1:
        raise ValueError(f"the page has {times} places for {name}, not one")
    return found


TABLES = {"counts": counts_table, "limits": limits_table, "determinism": determinism_table}


def main() -> None:
    """Fill in the tables, or say on stderr which module of the campaign is missing or failed, with exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, required=True, metavar="PAGE", help="the page to fill in")
    page = parser.parse_args().write
    text = page.read_text(encoding="utf-8")
    try:
        for name, table in TABLES.items():
            text = filled(text, name, table(FOUND))
    except (ValueError, OSError) as error:
        raise SystemExit(f"trust_counts.py: {error}; {page} stays as it is") from None
    page.write_text(text, encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
