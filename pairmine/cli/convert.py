"""`pairmine convert`: any input as a corpus or a pair set in another format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


def convert(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A file, a folder of shards, a BEIR folder, hf://, s3:// or -.", show_default=False
        ),
    ],
    output: shared.Output,
    to: Annotated[
        str, typer.Option("--as", help="What to read it as: corpus (id, title, text), queries (id, text) or pairs.")
    ] = "corpus",
    split: shared.Split = None,
    positive_from: Annotated[
        float | None,
        typer.Option(
            "--positive-from",
            metavar="N",
            help="With --as pairs of a BEIR folder: judgments from N up are positives; otherwise those above 0.",
            show_default=False,
        ),
    ] = None,
    id_column: shared.IdColumn = None,
    text_column: shared.TextColumn = None,
    title_column: shared.TitleColumn = None,
    query_column: shared.QueryColumn = None,
    document_column: shared.DocumentColumn = None,
    query_id_column: shared.QueryIdColumn = None,
    doc_id_column: shared.DocIdColumn = None,
    label_column: shared.LabelColumn = None,
    columns: shared.Fields = None,
    kind: shared.Format = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Read anything that pairmine reads, and write it with canonical columns in another format.

    To have a file of your own as pairmine writes it, or one of ours for other tools. A corpus and a query file are
    streamed. A pair set may also come as triplets, n-tuples,
    query/pos/neg lists, a BEIR folder or whatever 'pairmine export' writes; rows of one query are brought together.

    \b
      pairmine convert corpus.jsonl.gz -o corpus.parquet
      pairmine convert triplets.jsonl --as pairs -o pairs.parquet
    """
    from pairmine.errors import PairmineError

    if to not in ("corpus", "queries", "pairs"):
        raise PairmineError(f"--as {to}: corpus, queries or pairs")
    documents = {"id": id_column, "text": text_column, "title": title_column}
    pairs = {
        "query": query_column,
        "document": document_column,
        "query_id": query_id_column,
        "doc_id": doc_id_column,
        "label": label_column,
    }
    others = {"pairs": documents, "corpus": pairs, "queries": {**pairs, "title": title_column}}[to]
    unused = [name for name, value in others.items() if value]
    if unused:
        raise PairmineError(f"--{unused[0].replace('_', '-')}-column has no effect with --as {to}")
    if positive_from is not None and to != "pairs":
        raise PairmineError(f"--positive-from has no effect with --as {to}")
    fields = shared.field_names(columns)
    with Run(context, output, kind=kind, summary=summary, quiet=quiet) as run:
        if to == "pairs":
            _pairs(run, source, split, positive_from, pairs, fields)
        else:
            _rows(run, source, to, split, documents, fields)


def _pairs(
    run: Run,
    source: str,
    split: str | None,
    positive_from: float | None,
    columns: dict[str, str | None],
    fields: Sequence[str],
) -> None:
    from pairmine.files.forms import pairs_of
    from pairmine.files.source import PairSource, open_pairs
    from pairmine.outcome import Outcome, no_rejects

    opened: PairSource
    if fields or positive_from is not None or any(columns.values()):
        opened = open_pairs(source, run.say, split=split, positive_from=positive_from, columns=columns, fields=fields)
    else:
        opened = pairs_of(source, run.say, split=split)
    table = run.reads(opened, "source").read()
    run.write(Outcome(table, no_rejects(table), rows_in=table.num_rows))


def _rows(
    run: Run, source: str, to: str, split: str | None, columns: dict[str, str | None], fields: Sequence[str]
) -> None:
    from pairmine.errors import PairmineError
    from pairmine.files.source import ColumnsChanged, open_documents, open_queries

    if split:
        raise PairmineError("--split has an effect with --as pairs alone")
    open_rows = open_documents if to == "corpus" else open_queries
    opened = run.reads(open_rows(source, run.say, columns=columns, fields=fields), "source")
    try:
        _copy(run, opened.tables(look_ahead=not run.can_restart))
    except ColumnsChanged:
        run.restart()
        _copy(run, opened.tables())


def _copy(run: Run, tables: Iterable[pa.Table]) -> None:
    from pairmine.outcome import Outcome, no_rejects

    advance = run.begin("rows")
    for table in tables:
        run.write(Outcome(table, no_rejects(table), rows_in=table.num_rows))
        advance(table.num_rows)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(convert)
