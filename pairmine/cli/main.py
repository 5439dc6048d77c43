"""The `pairmine` command: its subcommands, and how errors become a line and an exit code."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from importlib import import_module
from types import TracebackType
from typing import Annotated, Any, NoReturn

import typer

from pairmine import streams
from pairmine.cli.command import Group, adopt, note_all
from pairmine.cli.environment import is_debugging
from pairmine.cli.interrupts import CONTINUE, heard, settle
from pairmine.cli.options import Quiet, Verbose
from pairmine.cli.run import command_path
from pairmine.cli.voice import shown
from pairmine.errors import BAD_INPUT, GAVE_UP, INTERRUPTED, PairmineError, code_of
from pairmine.keys import remember_address, without_keys
from pairmine.visible import visible_lines

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
    _write_utf8()
    sys.excepthook = _tell_our_fault
    for word in sys.argv[1:]:
        if "://" in word:
            remember_address("x" + word[word.index("://") :])  # behind --flag=, NAME= or KIND: too
    streams.open_all()
    with heard():
        try:
            _run()
        except KeyboardInterrupt:  # it came while the line about another error was made
            _leave(CONTINUE, INTERRUPTED)
        finally:
            _clear_up()


def _run() -> NoReturn:
    usage_error: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        code = app(standalone_mode=False)
    except PairmineError as error:
        _debug()
        _leave(str(error), error.exit_code)
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{visible_lines(str(error))}\n")
            sys.exit(BAD_INPUT)
        _leave(_usage_line(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        streams.silence(sys.stdout)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _debug()
        place = f"{error.filename}: " if error.filename else ""
        what = " ".join((error.strerror or str(error) or type(error).__name__).lower().split())
        _leave(f"{place}{what}; mend that and run the same command again", code_of(error))
    except UnicodeEncodeError as error:
        if not isinstance(error.object, str) or not _HALF.search(error.object):
            raise
        _debug()
        half = error.object[error.start].encode("unicode_escape").decode()
        line = f"a text or a name has {half}, half of a character, which UTF-8 cannot hold; write it in UTF-8"
        _leave(line, BAD_INPUT)
    except MemoryError:
        _debug()
        _leave("out of memory; work on a slice, or on a machine with more", GAVE_UP)
    except Exception as error:
        # What Arrow says where the texts of one column do not fit into an array.
        if type(error).__name__ != "ArrowCapacityError" and "offset overflow" not in str(error):
            raise
        _debug()
        _leave("over 2 GB of texts come together in one column; work on fewer rows, or on shorter texts", BAD_INPUT)
    if code == INTERRUPTED:
        _leave(CONTINUE, INTERRUPTED)
    _put_out()
    settle()
    sys.exit(code if isinstance(code, int) else 0)


def _put_out() -> None:
    """Have all that was printed where it belongs, or say that it is not there."""
    error = streams.flushed(sys.stdout)
    if isinstance(error, BrokenPipeError):
        sys.exit(128 + signal.SIGPIPE)
    if error is not None:
        what = (error.strerror or str(error)).lower()
        _leave(f"standard output: {what}; not all of it is there, mend that and run the same command again", GAVE_UP)


_HALF = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes on a command line that are no UTF-8, and of half an emoji in JSON."""


def _write_utf8() -> None:
    """Have files and pipes get the same bytes in every locale; a terminal gets the letters that it has."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding=out.encoding if out.isatty() else "utf-8", errors="backslashreplace")


def _clear_up() -> None:
    """Remove unfinished files that nobody could remove, as an interrupt came between their making and their keeper."""
    if unfinished := sys.modules.get("pairmine.files.unfinished"):
        unfinished.clear_up()


def _usage_line(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    where = command_path(context) if context else ""
    message = error.format_message().strip() if hasattr(error, "format_message") else str(error)
    first = " ".join(message.split()).rstrip(".")
    command = f"pairmine {where}".strip()
    line = f"{first[:1].lower()}{first[1:]}".replace("'. Did you mean", "'; did you mean")
    return f"{line}{' See' if line.endswith('?') else '; see'} '{command} --help'"


def _debug() -> None:
    if is_debugging() and (error := sys.exception()) is not None:
        _tell_our_fault(type(error), error, error.__traceback__)


def _tell_our_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, without keys that stand in an error of a library."""
    import traceback

    sys.stderr.write(visible_lines(without_keys("".join(traceback.format_exception(kind, error, trace)))))


def _leave(line: str, code: int) -> NoReturn:
    settle()
    sys.stderr.write(f"pairmine: {shown(line)}\n")
    sys.stderr.flush()
    streams.flushed(sys.stdout)
    sys.exit(code)
