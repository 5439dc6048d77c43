"""`pairmine info`, `head` and `stats`: look at a file."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import say, without_effect

Input = Annotated[str, typer.Argument(metavar="INPUT", help="A file, a folder of shards, or -.", show_default=False)]
_AUDIT = "With an encoder"
_AUDIT_OPTIONS = (
    *("sample", "positive_from", "among", "against", "query_prompt", "document_prompt", "device", "seed", "workers"),
)
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def info(source: Input, as_json: Json = False) -> None:
    """How a file came to be, as the commands that rebuild it; and its columns. Of an index of dedup, what is in it.

    \b
      pairmine info train.parquet
    """
    from pairmine.cli.lineage import commands
    from pairmine.files.dedup_index import described_index
    from pairmine.files.folder import mark_of
    from pairmine.files.peek import describe

    if (index := described_index(source)) is not None:
        _print(json.dumps(index, ensure_ascii=False, indent=2) if as_json else "\n".join(_index_lines(source, index)))
        return
    if (mark := mark_of(source)) is not None:
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

    \b
      pairmine head pairs.parquet -n 3
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


def stats(
    context: typer.Context,
    source: Input,
    as_json: Json = False,
    split: shared.Split = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="st:MODEL",
            help="Also what this bi-encoder makes of the pairs.",
            rich_help_panel=_AUDIT,
        ),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            min=0,
            help="Embed the texts of so many queries, a seeded sample; 0 for all.",
            rich_help_panel=_AUDIT,
        ),
    ] = 10_000,
    positive_from: Annotated[
        float,
        typer.Option(
            "--positive-from", help="A row without a label is positive from this grade up.", rich_help_panel=_AUDIT
        ),
    ] = 0.8,
    among: Annotated[
        str,
        typer.Option(
            "--rank-among",
            help="Rank positives among all documents, or the texts of both sides, as EvalRank does for sentences.",
            rich_help_panel=_AUDIT,
        ),
    ] = "documents",
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="PAIRS",
            help="The pair set that INPUT is a paraphrase of: show how far the encoder's numbers move.",
            rich_help_panel=_AUDIT,
        ),
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option("--query-prompt", help="Text before every query.", rich_help_panel=_AUDIT)
    ] = None,
    document_prompt: Annotated[
        str | None, typer.Option("--document-prompt", help="The same for documents.", rich_help_panel=_AUDIT)
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps.", rich_help_panel=_AUDIT)
    ] = None,
    seed: shared.Seed = 0,
    workers: shared.Workers = 0,
) -> None:
    """Counts, lengths and scores of a pair set, by label and origin.

    With an encoder also alignment and uniformity (Wang and Isola 2020, arXiv 2005.10242), the rank of each
    positive among all candidates (EvalRank, Wang et al. 2022, arXiv 2203.02679) and the correlation with grades.

    \b
      pairmine stats pairs.parquet
      pairmine stats pairs.parquet --encoder st:all-MiniLM-L6-v2
      pairmine stats paraphrased.parquet --encoder st:all-MiniLM-L6-v2 --against pairs.parquet
    """
    from pairmine.cli.audit import Audit
    from pairmine.cli.statistics import audit_lines, lines
    from pairmine.files.source import open_pairs
    from pairmine.stages.stats import Stats

    audit = None
    if encoder is None:
        without_effect(context, "without --encoder", *_AUDIT_OPTIONS)
    else:
        audit = Audit(encoder, sample=sample, seed=seed, positive_from=positive_from, among=among)
    counted = Stats()
    for chunk in open_pairs(source, say, split=split).chunks():
        counted.add(chunk)
        if audit is not None:
            audit.add(chunk)
    found = counted.to_dict()
    if audit is not None:
        audit.load(workers, query_prompt=query_prompt, document_prompt=document_prompt, device=device)
        found["encoder"] = audit.numbers(against, split)
    shown = [*lines(found), *(audit_lines(found["encoder"]) if audit else [])]
    _print(json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(shown))


def _print(text: str) -> None:
    from pairmine.files.partial import STDOUT, write_atomically

    write_atomically(STDOUT, text + "\n")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(info)
    app.command()(head)
    app.command()(stats)
