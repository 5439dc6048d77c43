"""`pairmine info` and `head`: look at a file."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pairmine.cli.run import say

Input = Annotated[str, typer.Argument(metavar="INPUT", help="A file, a folder of shards, or -.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def info(source: Input, as_json: Json = False) -> None:
    """How a file came to be, as the commands that rebuild it; and its columns.

    Of any file that pairmine wrote, of a folder of 'export', and of an index of 'dedup', where it says what is in it.
    Digests tell whether an input is still the same.

    \b
      pairmine info pairs.parquet
      pairmine info pairs.parquet --json
    """
    from pairmine.cli.lineage import commands
    from pairmine.files.dedup_index import described_index
    from pairmine.files.folder import mark_of
    from pairmine.files.peek import describe
    from pairmine.files.sharded import has_parts

    if (index := described_index(source)) is not None:
        _print(json.dumps(index, ensure_ascii=False, indent=2) if as_json else "\n".join(_index_lines(source, index)))
        return
    if (mark := mark_of(source)) is not None and not has_parts(source):
        names = [f"  {name}" for name in mark["files"]]
        shown = "\n".join([f"{source}: a folder that export wrote", *names, "", *commands(mark["lineage"])])
        _print(json.dumps(mark, ensure_ascii=False, indent=2) if as_json else shown)
        return
    described = describe(source, say)
    if as_json:
        _print(json.dumps(described, ensure_ascii=False, indent=2))
        return
    lines = [f"{source}: {described['rows']:,} rows"]
    for column in described["columns"]:
        scale = f", {column['scale']}" if column.get("scale") else ""
        lines.append(f"  {column['name']:<18} {column['type']}{scale}")
    entries = described["lineage"]
    lines += ["", *(commands(entries) if entries else [_no_lineage(described["format"])])]
    if beside := described.get("beside"):
        lines += ["", f"{beside['file']}, which stands beside it:", *commands(beside["lineage"])]
    _print("\n".join(lines))


def _index_lines(source: str, index: dict[str, Any]) -> list[str]:
    lines = [f"{source}: an index of dedup, {index['documents']:,} documents"]
    lines += [f"  {number:>4}  {rows:>11,}  {name}" for number, name, rows in index["added"]]
    return [*lines, "", "settings: " + ", ".join(f"{name} {value}" for name, value in index["settings"].items())]


def _no_lineage(kind: str) -> str:
    if kind in ("parquet", "arrow"):
        return "no lineage: not written by pairmine"
    return f"no lineage: {kind} files carry none"


def head(
    source: Input,
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="How many rows.")] = 10,
    as_json: Json = False,
) -> None:
    """The first rows of any file that pairmine reads.

    To see at once what is in a file, cut to the width of the terminal; with --json whole, a row to a line, for jq.

    \b
      pairmine head pairs.parquet -n 3
      pairmine head pairs.parquet --json
    """
    from pairmine.files.peek import first_rows
    from pairmine.files.writers import short_floats

    table = short_floats(first_rows(source, rows, say))
    if as_json:
        _print("\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in table.to_pylist()))
        return
    _print("\n\n".join(_row_lines(number, row) for number, row in enumerate(table.to_pylist(), 1)))


def _row_lines(number: int, row: dict[str, Any]) -> str:
    import shutil

    width = max(shutil.get_terminal_size((120, 20)).columns - 20, 40)
    lines = [f"row {number}"]
    for name, value in row.items():
        if value is None:
            continue
        text = " ".join(str(value).split())
        lines.append(f"  {name:<16}  {text if len(text) <= width else text[: width - 3] + '...'}")
    return "\n".join(lines)


def _print(text: str) -> None:
    from pairmine.files.partial import STDOUT, write_atomically

    write_atomically(STDOUT, text + "\n")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(info)
    app.command()(head)
