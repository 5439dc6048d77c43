"""`pairmine ledger`: what was asked of chat models so far, and what it cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli.run import say
from pairmine.cli.voice import answer, shown

if TYPE_CHECKING:
    from pathlib import Path

    from pairmine.ledger import Entry, Ledger, Total, Which

DEFAULT = ".pairmine/ledger.sqlite"
Dollars = Callable[["Total"], "float | None"]
"""What a total cost in dollars, None where no price is known."""

LedgerPath = Annotated[
    str,
    typer.Option("--ledger", metavar="PATH", help="Where every paid reply is kept."),
]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
_Recipe = Annotated[str | None, typer.Option("--recipe", help="Only replies to this recipe.")]
_Model = Annotated[str | None, typer.Option("--model", help="Only replies of this model.")]
_Before = Annotated[
    str | None,
    typer.Option(
        "--before", metavar="DATE", help="Only replies from before a day (2026-01-31), or older than 30d or 12h."
    ),
]

group = typer.Typer(name="ledger", rich_markup_mode=None)


@group.callback(invoke_without_command=True)
def _ledger(context: typer.Context, ledger: LedgerPath = DEFAULT, as_json: _Json = False) -> None:
    """Show what was asked of chat models: replies, tokens and dollars by recipe and model.

    To see what was spent on what, and to take replies to another machine. The ledger keeps every reply that was
    paid for: 'pairmine generate' looks there first, so that nothing is asked twice.

    \b
      pairmine ledger
      pairmine ledger export replies.jsonl.zst
    """
    if context.invoked_subcommand is None:
        info(context, ledger, as_json)
        return
    from pairmine.cli.run import written
    from pairmine.errors import PairmineError

    command = context.invoked_subcommand
    for name, flag in (("ledger", "--ledger"), ("as_json", "--json")):
        if written(context, name):
            raise PairmineError(f"{flag} before '{command}' has no effect; write it after that word")


@group.command()
def info(context: typer.Context, ledger: LedgerPath = DEFAULT, as_json: _Json = False) -> None:
    """Show replies, tokens and dollars by recipe.

    'pairmine ledger' alone does the same.

    \b
      pairmine ledger info --json
    """
    from pairmine.files.partial import STDOUT, write_atomically
    from pairmine.ledger import Ledger

    with Ledger(ledger, read_only=True) as opened:
        totals, size, batches = opened.totals(), opened.size(), len(opened.open_batches())
    if as_json:
        text = _as_json(ledger, totals, size, batches, context.obj)
    else:
        head = f"{ledger}: {_plural(sum(total.replies for total in totals), 'reply', 'replies')}, {_bytes(size)}"
        under_way = [f"{_plural(batches, 'batch', 'batches')} under way at a provider"] if batches else []
        text = "\n".join([head, *under_way, *(["", *_table(totals, context.obj)] if totals else [])])
    write_atomically(STDOUT, text + "\n")


@group.command()
def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="File to write: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; - prints JSON lines.",
            show_default=False,
        ),
    ],
    recipe: _Recipe = None,
    model: _Model = None,
    before: _Before = None,
    ledger: LedgerPath = DEFAULT,
) -> None:
    """Write the replies to a file.

    It can be kept elsewhere, or imported on another machine.

    \b
      pairmine ledger export replies.jsonl.zst
    """
    import os

    from pairmine.errors import PairmineError
    from pairmine.files.entries import write_entries
    from pairmine.ledger import Ledger

    which = _which(recipe, model, before)
    if target != "-" and os.path.realpath(target) == os.path.realpath(ledger):
        raise PairmineError(f"{target}: is the ledger and would be lost; name another file")
    with Ledger(ledger, read_only=True) as opened:
        count = write_entries(target, opened.entries(which))
        say(f"{_plural(count, 'reply', 'replies')} written to {'standard output' if target == '-' else target}")
        if not count:
            _say_what_is_there(opened)


@group.command("import")
def import_(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="What 'export' wrote, or other ledgers as they are; - is standard input.",
            show_default=False,
        ),
    ],
    ledger: LedgerPath = DEFAULT,
) -> None:
    """Take in replies from elsewhere.

    They come from files that 'export' wrote, or from other ledgers as they are. A
    reply that is there already stays; importing twice does no harm.

    \b
      pairmine ledger import replies.jsonl.zst
    """
    from pairmine.errors import PairmineError
    from pairmine.files.locations import find_shards
    from pairmine.ledger import Ledger

    kinds = [_is_ledger(source, ledger) for source in sources]
    for source, is_ledger in zip(sources, kinds, strict=True):
        if is_ledger:
            Ledger(source, read_only=True).close()
        elif source != "-":
            find_shards(source)
    with Ledger(ledger) as opened:
        if opened.remark:
            say(opened.remark)
        for source, is_ledger in zip(sources, kinds, strict=True):
            count = new = 0
            try:
                for entries in _entries_of_ledger(source) if is_ledger else _entries_of_file(source):
                    new += opened.add(entries)
                    count += len(entries)
            except PairmineError:
                if count:
                    say(f"{source}: {new:,} new of {_plural(count, 'reply', 'replies')} before the error")
                raise
            say(f"{source}: {new:,} new of {_plural(count, 'reply', 'replies')}")


@group.command()
def prune(
    context: typer.Context,
    recipe: _Recipe = None,
    model: _Model = None,
    before: _Before = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    ledger: LedgerPath = DEFAULT,
) -> None:
    """Remove replies for good.

    To have them again is to pay for them again. With several of --recipe, --model and
    --before, what goes is what fits all of them.

    \b
      pairmine ledger prune --recipe queries --before 30d --dry-run
    """
    from pairmine.cli.run import without_effect
    from pairmine.errors import PairmineError
    from pairmine.ledger import Ledger

    if recipe is model is before is None:
        raise PairmineError("nothing says what goes; name it with --recipe, --model or --before")
    if dry_run:
        without_effect(context, "with --dry-run", "yes")
    which = _which(recipe, model, before)
    Ledger(ledger, read_only=True).close()
    with Ledger(ledger) as opened:
        going = opened.prune(which, dry_run=True)
        if not going:
            say("nothing to remove")
            _say_what_is_there(opened)
            return
        sys.stderr.write("\n".join(map(shown, _table(going, context.obj))) + "\n")
        count = _plural(sum(total.replies for total in going), "reply", "replies")
        if dry_run:
            answer(f"{count} would go; nothing was removed")
        elif yes or _confirmed(f"remove {count} from {ledger} for good?"):
            gone = sum(total.replies for total in opened.prune(which))
            say(f"{_plural(gone, 'reply', 'replies')} removed, {_bytes(opened.size())} left")
        else:
            say("nothing was removed")


def _confirmed(question: str) -> bool:
    from pairmine.errors import PairmineError

    if not sys.stdin.isatty():
        raise PairmineError("prune asks before it removes anything, and nobody is there to answer; pass --yes")
    return typer.confirm(f"pairmine: {question}", err=True)


def _which(recipe: str | None, model: str | None, before: str | None) -> Which:
    from pairmine.ledger import Which

    return Which(recipe, model, None if before is None else _moment(before))


def _moment(text: str) -> int:
    """A day, or an age such as 30d or 12h, as seconds since 1970; a day begins at this machine's midnight."""
    import re
    import time
    from datetime import datetime

    from pairmine.errors import PairmineError

    if age := re.fullmatch(r"(\d{1,6})([dh])", text):
        return max(int(time.time()) - int(age[1]) * {"d": 86_400, "h": 3_600}[age[2]], 0)
    try:
        return max(int(datetime.fromisoformat(text).timestamp()), 0)
    except (ValueError, OverflowError, OSError):
        raise PairmineError(f"--before {text}: write a day such as 2026-01-31, or an age such as 30d or 12h") from None


def _is_ledger(source: str, into: str) -> bool:
    """Whether `source` is an sqlite file; raises PairmineError where it is the very ledger to write."""
    import os

    from pairmine.errors import PairmineError
    from pairmine.ledger import SQLITE_MAGIC

    if os.path.exists(into) and os.path.exists(source) and os.path.samefile(source, into):
        raise PairmineError(f"{source}: is the ledger itself; name another file to import, or another --ledger")
    if not os.path.isfile(source):
        return False
    try:
        with open(source, "rb") as handle:
            return handle.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False


def _entries_of_ledger(path: str | Path) -> Iterator[list[Entry]]:
    from pairmine.ledger import Ledger

    with Ledger(path, read_only=True) as other:
        yield from other.entries()


def _entries_of_file(path: str) -> Iterator[list[Entry]]:
    from pairmine.files.entries import read_entries

    return read_entries(path)


def _say_what_is_there(opened: Ledger) -> None:
    totals = opened.totals()
    recipes = ", ".join(sorted({total.recipe for total in totals})) or "none"
    models = ", ".join(sorted({total.model for total in totals})) or "none"
    say(f"{opened.path}: has replies to the recipes {recipes}, of the models {models}")


# --- shown --------------------------------------------------------------------------------------


def _as_json(path: str, totals: Sequence[Total], size: int, batches: int, dollars: Dollars | None) -> str:
    import json
    from dataclasses import asdict

    sources = []
    for total in totals:
        row = asdict(total) | {"first": _moment_of(total.first), "last": _moment_of(total.last)}
        if dollars is not None:
            row["usd"] = None if (usd := dollars(total)) is None else round(usd, 6)
        sources.append(row)
    replies = sum(total.replies for total in totals)
    body = {"ledger": path, "bytes": size, "replies": replies, "open_batches": batches, "sources": sources}
    return json.dumps(body, ensure_ascii=False, indent=2)


def _moment_of(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(totals: Sequence[Total], dollars: Dollars | None) -> list[str]:
    """A line per recipe, model and backend, and one of sums where there are several."""
    heads = ["recipe", "model", "backend", "replies", "tokens in", "cached", "tokens out", "size", "first", "last"]
    rows = [_cells(total) for total in totals]
    if len(totals) > 1:
        rows.append(_cells(_sum(totals)))
    if dollars is not None:
        heads.insert(7, "dollars")
        for row, cost in zip(rows, _costs([dollars(total) for total in totals]), strict=True):
            row.insert(7, cost)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if at < 3 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]


def _cells(total: Total) -> list[str]:
    counts = (total.replies, total.prompt_tokens, total.cached_tokens, total.completion_tokens)
    names = [total.recipe, total.model, total.backend]
    return [*names, *(f"{count:,}" for count in counts), _bytes(total.text_bytes), _day(total.first), _day(total.last)]


def _sum(totals: Sequence[Total]) -> Total:
    from pairmine.ledger import Total

    return Total(
        "all",
        "",
        "",
        sum(total.replies for total in totals),
        sum(total.prompt_tokens for total in totals),
        sum(total.completion_tokens for total in totals),
        sum(total.cached_tokens for total in totals),
        sum(total.text_bytes for total in totals),
        min(total.first for total in totals),
        max(total.last for total in totals),
    )


def _costs(costs: Sequence[float | None]) -> list[str]:
    """A cell for each cost and, where there are several, one for their sum, which is a floor while one is unknown."""
    cells = ["-" if cost is None else _money(cost) for cost in costs]
    if len(costs) > 1:
        known = [cost for cost in costs if cost is not None]
        floor = "from " if len(known) < len(costs) else ""
        cells.append(floor + _money(sum(known)) if known else "-")
    return cells


def _money(dollars: float) -> str:
    return f"{dollars:,.2f}" if dollars >= 0.1 or dollars == 0 else f"{dollars:.4f}"


def _day(seconds: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d")


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def _plural(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def list_price(total: Total) -> float | None:
    """What a total costs online by the list price of its model today; batches and servers of one's own cost less."""
    from pairmine.llm.money import find_price

    price = find_price(total.model) if total.backend.startswith("openai") else None
    return price.usd(total.prompt_tokens, total.completion_tokens, total.cached_tokens) if price else None


def register(app: typer.Typer, dollars: Callable[[Any], float | None] | None = list_price) -> None:
    """Add the commands; `dollars` says what a Total cost, None where no price is known. Without it no cost is shown."""
    app.add_typer(group, name="ledger", context_settings={"obj": dollars})
