"""Puts the counts of the last whole campaign of faults into docs/trust.md: `make trust` calls it.

    python docs/trust_counts.py --write docs/trust.md

A table stands between `<!-- counts -->` or `<!-- determinism -->` and `<!-- end -->`; it is made of what
the tests of tests/trust/ left in build/trust/.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "build" / "trust"
DETERMINISM = "determinism.json"


def counts_table(folder: Path) -> str:
    """A line per promise, and what was seen of it how often."""
    total: dict[str, Counter[str]] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != DETERMINISM:
            for promise, counts in json.loads(path.read_text(encoding="utf-8")).items():
                total.setdefault(promise, Counter()).update(counts)
    lines = ["| promise | tried |", "|---|---|"]
    for promise, counts in sorted(total.items()):
        seen = "; ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
        lines.append(f"| {promise} | {seen} |")
    return "\n".join(lines)


def determinism_table(path: Path) -> str:
    """A line per stage, a column per setting."""
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
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


def main() -> None:
    """Fill in the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, required=True, metavar="PAGE", help="the page to fill in")
    page = parser.parse_args().write
    text = filled(page.read_text(encoding="utf-8"), "counts", counts_table(FOUND))
    if (FOUND / DETERMINISM).exists():
        text = filled(text, "determinism", determinism_table(FOUND / DETERMINISM))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
