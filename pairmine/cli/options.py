"""Options that several commands share, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

_OUTPUT = "Output"
_COLUMNS = "Columns"

Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="OUT", help="File to write, by ending; - is standard output.", rich_help_panel=_OUTPUT
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="parquet, arrow, jsonl, csv or tsv, where the ending does not say it.", rich_help_panel=_OUTPUT
    ),
]
Rejects = Annotated[
    str | None,
    typer.Option(
        "--rejects", metavar="FILE", help="Write every rejected row there, with its reason.", rich_help_panel=_OUTPUT
    ),
]
Summary = Annotated[
    str | None,
    typer.Option("--summary", metavar="FILE", help="Write the counts there, as JSON.", rich_help_panel=_OUTPUT),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", rich_help_panel=_OUTPUT)]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also what is read, loaded and found, the time of each phase, and memory.",
        rich_help_panel=_OUTPUT,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", min=-(2**63), max=2**63 - 1, help="Settles every draw.", show_default=True)
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory that the run may take, as 8GB; what does not fit lies on disk. Half of what is free by default.",
        show_default=False,
    ),
]
Workers = Annotated[
    int,
    typer.Option("--workers", min=0, help="Processes or threads; 0 takes every core. The rows do not depend on it."),
]
Split = Annotated[str | None, typer.Option("--split", help="Which judgments of a BEIR folder.")]

IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column with the ids.", rich_help_panel=_COLUMNS)]
Fields = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="A,B,...",
        help="Names for the fields of a text table without a header line: parted by tabs where its first line has "
        "one, else by commas; _ leaves a field out, ... at the end all that follow, a single name takes whole lines.",
        rich_help_panel=_COLUMNS,
        show_default=False,
    ),
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column with the texts.", rich_help_panel=_COLUMNS)
]
TitleColumn = Annotated[
    str | None, typer.Option("--title-column", help="Column with the titles.", rich_help_panel=_COLUMNS)
]
QueryColumn = Annotated[
    str | None, typer.Option("--query-column", help="Column with the query texts.", rich_help_panel=_COLUMNS)
]
DocumentColumn = Annotated[
    str | None, typer.Option("--document-column", help="Column with the document texts.", rich_help_panel=_COLUMNS)
]
QueryIdColumn = Annotated[
    str | None, typer.Option("--query-id-column", help="Column with the query ids.", rich_help_panel=_COLUMNS)
]
DocIdColumn = Annotated[
    str | None, typer.Option("--doc-id-column", help="Column with the document ids.", rich_help_panel=_COLUMNS)
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the labels.", rich_help_panel=_COLUMNS)
]

NOT_IN_LINEAGE = {
    "output",
    "kind",
    "rejects",
    "groups_file",
    "summary",
    "quiet",
    "verbose",
    "workers",
    "batch_rows",
    "threads",
    "dry_run",
    "sidecar",
    "card",
    "license_",
    "languages",
    "push_to",
    "private",
    "debug",
    "list_",
    "engine",
    "ray_address",
    "gpus_per_worker",
    "cpus_per_worker",
    "shard_rows",
    "work_folder",
    "base_url",
    "api_key_file",
    "concurrency",
    "rpm",
    "tpm",
    "timeout",
    "retries",
    "batch",
    "batch_files",
    "batch_documents",
    "ledger",
    "store",
    "memory",
    "scratch",
    "append",
    "offline",
    "price",
    "max_usd",
    "max_tokens",
    "tokenizer",
    "max_failed",
    "probe",
    "as_json",
    "junit",
    "examples",
    "most",
}
"""Parameters that change where, how fast or at what cost rows are written, never the rows."""


OF_A_MODEL = ("device", "dtype", "backend", "trust_remote_code")
"""Parameters that only a model which runs here can obey."""


def field_names(given: str | None) -> tuple[str, ...]:
    """What `--columns` says, name by name."""
    return tuple(name.strip() for name in given.split(",")) if given else ()
