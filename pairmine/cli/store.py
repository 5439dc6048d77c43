"""`pairmine store`: the vectors and scores that are kept."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli.ledger import _bytes, _day, _moment, _moment_of, _plural
from pairmine.cli.run import say, written
from pairmine.cli.store_options import DEFAULT, NONE, VECTORS, StorePath
from pairmine.cli.voice import answer, shown

if TYPE_CHECKING:
    from pairmine.backends.vectors.store import Kept

_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]

group = typer.Typer(name="store", rich_markup_mode=None)


@group.callback(invoke_without_command=True)
def _store(context: typer.Context, store: StorePath = DEFAULT, as_json: _Json = False) -> None:
    """Show the vectors and scores that are kept: how many, of which model, with which prompt.

    To see what takes the space, and to free it. 'embed', 'mine' and 'score' look there first, so that no text is
    embedded and no pair scored twice.

    \b
      pairmine store
      pairmine store prune --model all-MiniLM-L6-v2 --before 30d
    """
    if context.invoked_subcommand is None:
        _list(store, as_json)
        return
    from pairmine.errors import PairmineError

    command = context.invoked_subcommand
    for name, flag in (("store", "--store"), ("as_json", "--json")):
        if written(context, name):
            raise PairmineError(f"{flag} before '{command}' has no effect; write it after that word")


@group.command("list")
def list_(store: StorePath = DEFAULT, as_json: _Json = False) -> None:
    """Show what is kept, by model, prompt and type.

    'pairmine store' alone does the same.

    \b
      pairmine store list --json
    """
    _list(store, as_json)


@group.command()
def prune(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Only what this model made, as the list names it.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="DATE", help="Only what was last used before a day (2026-01-31), or 30d or 12h ago."
        ),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Only the one whose id, as the list shows it, begins so.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    store: StorePath = DEFAULT,
) -> None:
    """Remove vectors and scores for good.

    To have them again is to embed the texts, or score the pairs, again. With several of --model, --before and --id,
    what goes is what fits all of them.

    \b
      pairmine store prune --before 30d --dry-run
    """
    from pairmine.backends.vectors.store import remove
    from pairmine.cli.run import without_effect
    from pairmine.errors import PairmineError

    if model is before is id_ is None:
        raise PairmineError("nothing says what goes; name it with --model, --before or --id")
    if dry_run:
        without_effect(context, "with --dry-run", "yes")
    limit = None if before is None else _moment(before)
    kept = _kept(store)
    going = [
        each
        for each in kept
        if (model is None or model in _names(each.model))
        and (limit is None or each.used < limit)
        and (id_ is None or each.folder.name.startswith(id_))
    ]
    if not going:
        models = ", ".join(sorted({each.model for each in kept})) or "none"
        holds = " and ".join(sorted({each.holds for each in kept})) or "vectors"
        say(f"nothing to remove; {store} has {holds} of: {models}")
        return
    sys.stderr.write("\n".join(map(shown, _table(going))) + "\n")
    count = _counted(going)
    if dry_run:
        answer(f"{count} would go; nothing was removed")
        return
    if not yes and not _confirmed(f"remove {count} from {store} for good?"):
        say("nothing was removed")
        return
    for each in going:
        remove(each)
    say(f"{count} removed, {_bytes(sum(each.bytes for each in kept) - sum(each.bytes for each in going))} left")


def _counted(kept: Sequence[Kept]) -> str:
    """How many vectors, and how many scores where there are any."""
    rows: Counter[str] = Counter()
    for each in kept:
        rows[each.holds] += each.rows
    parts = [_plural(rows[holds], holds.removesuffix("s"), holds) for holds in sorted(rows)] or ["0 vectors"]
    return " and ".join(parts)


def _names(model: str) -> set[str]:
    """What a model may be called: st:org/name, org/name, name."""
    names = set()
    for each in model.split(", "):
        target = each.partition(":")[2] or each
        names |= {each, target, target.rstrip("/").rpartition("/")[2]}
    return names


def _confirmed(question: str) -> bool:
    from pairmine.errors import PairmineError

    if not sys.stdin.isatty():
        raise PairmineError("prune asks before it removes anything, and nobody is there to answer; pass --yes")
    return typer.confirm(f"pairmine: {question}", err=True)


def _kept(store: str) -> list[Kept]:
    from pairmine.backends.vectors.store import kept_in
    from pairmine.errors import PairmineError

    if store == NONE:
        raise PairmineError("--store none: there is no store to look at; name its folder")
    return kept_in(store)


def _list(store: str, as_json: bool) -> None:
    from pairmine.files.partial import STDOUT, write_atomically

    kept = _kept(store)
    if as_json:
        write_atomically(STDOUT, _as_json(store, kept) + "\n")
        return
    head = f"{store}: {_counted(kept)}, {_bytes(sum(each.bytes for each in kept))}"
    write_atomically(STDOUT, "\n".join([head, *(["", *_table(kept)] if kept else [])]) + "\n")


def _as_json(store: str, kept: Sequence[Kept]) -> str:
    import json

    body = [
        {
            "id": each.folder.name,
            "holds": each.holds,
            "model": each.model,
            "prompt": each.prompt,
            "sides": list(each.sides),
            "type": each.vector_type,
            "dim": each.dim if each.holds == VECTORS else None,
            each.holds: each.rows,
            "bytes": each.bytes,
            "used": _moment_of(each.used),
            "identity": each.identity,
        }
        for each in kept
    ]
    return json.dumps({"store": store, "vectors": body}, ensure_ascii=False, indent=2)


def _table(kept: Sequence[Kept]) -> list[str]:
    """A line for each model, prompt and type."""
    heads = ["id", "model", "side", "prompt", "type", "kept", "dim", "size", "used"]
    rows = [
        [
            each.folder.name[:8],
            each.model,
            ", ".join(each.sides),
            _short(each.prompt),
            each.vector_type if each.holds == VECTORS else "score",
            f"{each.rows:,}",
            str(each.dim) if each.holds == VECTORS else "-",
            _bytes(each.bytes),
            _day(each.used),
        ]
        for each in kept
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if at < 5 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]


def _short(prompt: str) -> str:
    """A prompt in a cell; - for none."""
    line = " ".join(prompt.split())
    return "-" if not line else f'"{line if len(line) <= 32 else line[:29] + "..."}"'


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="store")
