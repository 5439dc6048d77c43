"""Where a command runs: the options that all commands which run on Ray share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine

_PANEL = "Engine"
ENGINES = ("local", "ray")
ROWS = 65_536

Engine = Annotated[
    str,
    typer.Option("--engine", help="Where the work is done: local, or ray, on a cluster.", rich_help_panel=_PANEL),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="A Ray cluster that is there; without it, one on this machine for as long as the command runs.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
GpusPerWorker = Annotated[
    float,
    typer.Option(
        "--gpus-per-worker", min=0, help="ray: GPUs of each worker; 0.5 puts two on one.", rich_help_panel=_PANEL
    ),
]
CpusPerWorker = Annotated[
    float, typer.Option("--cpus-per-worker", min=0.1, help="ray: cores of each worker.", rich_help_panel=_PANEL)
]
ShardRows = Annotated[
    int,
    typer.Option(
        "--shard-rows", min=1, help="ray: rows of a shard, of an input that has none.", rich_help_panel=_PANEL
    ),
]
WorkFolder = Annotated[
    str | None,
    typer.Option(
        "--work-folder",
        metavar="FOLDER",
        help="ray: where shards lie meanwhile, seen by all machines; by default here, or beside OUT.",
        rich_help_panel=_PANEL,
    ),
]
OF_RAY = ("ray_address", "gpus_per_worker", "cpus_per_worker", "shard_rows")


def engine_of(context: typer.Context, place: str | None = None) -> RayEngine | None:
    """The engine that the options of a command name, None for the local one; the cluster starts when it is needed.

    The folder of the run is made beside `place`, which nothing need be written to, without it beside the output.
    """
    from pairmine.cli.run import choice, without_effect

    values = context.params
    choice("--engine", values["engine"], ENGINES)
    if values["engine"] == "local":
        without_effect(context, "without --engine ray", *OF_RAY)
        return None
    from pairmine.cli.ray_run import RayEngine

    return RayEngine(context, place)


def one_machine(context: typer.Context, *names: str) -> None:
    """Raise PairmineError where --engine ray stands beside one of the options `names`, which one machine does."""
    from pairmine.errors import PairmineError

    for name in names:
        if context.params[name] and context.params["engine"] == "ray":
            raise PairmineError(f"--{name.replace('_', '-')} is for one machine; leave out --engine ray")


def place_without_output(context: typer.Context) -> str:
    """What the folder of a run that writes no output is named after: the input, in --work-folder or right here."""
    values = context.params
    name = str(values["source"]).rstrip("/").rpartition("/")[2]
    return f"{(values['work_folder'] or '.').rstrip('/')}/{'input' if name == '-' else name}.{context.info_name}"
