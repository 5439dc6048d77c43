"""What `pairmine filter` says of its rules: a line each, all counted on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairmine.cli.run import Run
    from pairmine.stages.filter.deciding import RuleCount

_DONE = {"drop": "rejected", "relabel": "relabelled", "weight": "weighed", "keep": "kept"}


def report_rules(run: Run, counts: Sequence[RuleCount]) -> None:
    """Put the rules into the report and into --summary."""
    run.sum_up(rules=[asdict(count) for count in counts])
    run.add_to_report([_table(list(part)) for _, part in groupby(counts, key=lambda one: one.among)])


def _table(counts: list[RuleCount]) -> str:
    """One table of rules that were held against the same rows, its title first."""
    spares = any(count.exempt for count in counts)
    rows = [_cells(count, spares=spares) for count in counts]
    head = ["rule", "fires", "share", "acted on", *(["exempt"] if spares else [])]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    first = counts[0]
    lines = [f"rules, each held against the {first.of:,} {first.among} that entered"]
    for row in (head, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"  {row[0]:<{widths[0]}}  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def _cells(count: RuleCount, *, spares: bool) -> list[str]:
    share = f"{count.fires / count.of:.1%}" if count.of else "-"
    done = f"{count.acted:,} {_DONE[count.action.partition(':')[0]]}"
    return [count.rule, f"{count.fires:,}", share, done, *([f"{count.exempt:,}"] if spares else [])]
