"""Puts the counts of the last whole campaign of faults into docs/trust.md: `make trust` calls it.

    python docs/trust_counts.py --write docs/trust.md

A table stands between `<!-- counts -->`, `<!-- limits -->` or `<!-- determinism -->` and `<!-- end -->`; it
is made of what the tests of tests/trust/ left in build/trust/.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "build" / "trust"


def counts_table(folder: Path) -> str:
    """A line per promise, and what was seen of it how often."""
    total: dict[str, Counter[str]] = {}
    for path in sorted(folder.glob("counts-*.json")):
        for promise, counts in _read(path).items():
            total.setdefault(promise, Counter()).update(counts)
    lines = ["| promise | tried |", "|---|---|"]
    for promise, counts in sorted(total.items()):
        seen = "; ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
        lines.append(f"| {promise} | {seen} |")
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
    """Fill in the tables; one whose figures are missing stays as it is, with a word on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, required=True, metavar="PAGE", help="the page to fill in")
    page = parser.parse_args().write
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        try:
            text = filled(text, name, table(FOUND))
        except FileNotFoundError as error:
            print(f"{name}: no {error.filename}; the page keeps the table that it has", file=sys.stderr)
    page.write_text(text, encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
