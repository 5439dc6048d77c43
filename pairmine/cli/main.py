"""The `pairmine` command: its subcommands, and how errors become a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from pairmine.cli.command import Group, adopt, note_all
from pairmine.cli.environment import is_debugging
from pairmine.cli.options import Quiet, Verbose
from pairmine.cli.run import command_path
from pairmine.errors import BAD_INPUT, GAVE_UP, INTERRUPTED, PairmineError

_MODULES = {
    "recipes": "recipes",
    "derive": "derive",
    "generate": "generate",
    "ledger": "ledger",
    "embed": "embed",
    "store": "store",
    "mine": "mine",
    "score": "score",
    "filter": "filter",
    "calibrate": "calibrate",
    "dedup": "dedup",
    "mix": "mix",
    "export": "export",
    "convert": "convert",
    "check": "check",
    "info": "look",
    "head": "look",
    "stats": "stats",
    "report": "report",
    "doctor": "doctor",
}
"""Where each command is, in the order in which data flows through them."""


class _Commands(Group):
    """The commands in that order; the module of one is imported when it is asked for, which halves the start."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for name in [cmd_name] if cmd_name in _MODULES else _MODULES:  # all, to say which one was meant
            if name not in self.commands:
                own = typer.Typer(rich_markup_mode=None)
                import_module(f"pairmine.cli.{_MODULES[name]}").register(own)
                self.commands.update(typer.main.get_group(adopt(own)).commands)
        return super().get_command(ctx, cmd_name)


_HELP = """Build training pairs for embedding models, retrievers and rerankers.

A pair set is one table with a row per (query, document) pair. Every command reads one and
writes one, as a file or through a pipe:

\b
  pairmine derive ict corpus.jsonl -o - | pairmine mine - --corpus corpus.jsonl --retriever bm25 -o - |
  pairmine filter - --negatives 5 -o - | pairmine export - --to st-ntuple -o train.parquet
"""

app = typer.Typer(
    name="pairmine",
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from pairmine import __version__

        typer.echo(f"pairmine {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    note_all(context, list(_MODULES), quiet=quiet, verbose=verbose)
    if debug:
        os.environ["PAIRMINE_DEBUG"] = "1"


def main() -> NoReturn:
    """Run the command line; every error that a user can cause leaves as one line on stderr."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    usage_error: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        code = app(standalone_mode=False)
    except PairmineError as error:
        _debug()
        _leave(str(error), error.exit_code)
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{error}\n")
            sys.exit(BAD_INPUT)
        _leave(_usage_line(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _debug()
        place = f"{error.filename}: " if error.filename else ""
        _leave(f"{place}{(error.strerror or str(error)).lower()}; mend that and run the same command again", GAVE_UP)
    except MemoryError:
        _debug()
        _leave("out of memory; work on a slice, or on a machine with more", GAVE_UP)
    if code == INTERRUPTED:
        _leave("interrupted", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _usage_line(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    where = command_path(context) if context else ""
    message = error.format_message().strip() if hasattr(error, "format_message") else str(error)
    first = " ".join(message.split()).rstrip(".")
    command = f"pairmine {where}".strip()
    line = f"{first[:1].lower()}{first[1:]}".replace("'. Did you mean", "'; did you mean")
    return f"{line}{' See' if line.endswith('?') else '; see'} '{command} --help'"


def _debug() -> None:
    if is_debugging():
        import traceback

        traceback.print_exc()


def _leave(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"pairmine: {line}\n")
    sys.stderr.flush()
    sys.exit(code)
