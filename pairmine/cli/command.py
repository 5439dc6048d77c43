"""What every command has in common: options from the environment, --quiet and --verbose, its help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from pairmine.cli import environment, voice
from pairmine.cli.asked import Idle
from pairmine.cli.named_places import check_places
from pairmine.cli.options import Quiet, Verbose
from pairmine.errors import PairmineError

_QUIET = "pairmine.quiet"
_VERBOSE = "pairmine.verbose"
_COMMANDS = "pairmine.commands"


class _Habits:
    """Mixed into commands and groups alike."""

    params: list[Any]

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **settings)
        has = {each.name for each in self.params}
        self._added = [each for each in _habits() if each.name not in has]
        self.params = list(_beside(self.params, self._added))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; what they leave open comes from the environment."""
        if ctx.resilient_parsing:
            from pairmine.cli.completion import offer

            offer(" ".join(environment.path_of(ctx)[:1]), self.params)
        else:
            environment.offer(ctx)
        try:
            rest: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        except typer.BadParameter as error:
            raise environment.blame(ctx, error) from None
        if not ctx.resilient_parsing:
            _listen(ctx)
        for each in self._added:
            ctx.params.pop(each.name, None)
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What the first line of the help shows after the command."""
        from pairmine.cli.manual import usage

        return usage(self)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The page of this command."""
        from pairmine.cli.manual import write_page

        write_page(self, ctx, formatter)


class Command(_Habits, TyperCommand):
    """A command."""

    def invoke(self, ctx: Any) -> Any:
        """Run it; an error about an option names the variable that set it."""
        if not voice.is_quiet():
            for line in environment.remarks(ctx, ctx.meta.get(_COMMANDS, ())):
                voice.say(line)
        try:
            with voice.timed():
                return self._start(ctx)
        except PairmineError as error:
            explained = environment.explain(ctx, error)
            if explained is error:
                raise
            raise explained from error

    def _start(self, ctx: Any) -> Any:
        """Run it, again without each option from the environment that turns out to have no effect."""
        check_places(ctx)
        while True:
            try:
                return super().invoke(ctx)
            except Idle:
                continue


class Group(_Habits, TyperGroup):
    """A command with commands below it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command below; whoever goes on in this process hears as much as before."""
        try:
            return super().invoke(ctx)
        finally:
            voice.speak(quiet=False, verbose=False)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant; `help mine` is `mine --help`."""
        if args[0] == "help" and ctx.resilient_parsing:
            return super().resolve_command(ctx, args[1:]) if args[1:] else (None, None, [])
        if args[0] == "help":
            if len(args) == 1:
                typer.echo(ctx.get_help())
                raise typer.Exit
            args = [*args[1:], "--help"]
        return super().resolve_command(ctx, args)

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """The commands, each with its first sentence."""
        from pairmine.cli.manual import summary_of

        found: list[tuple[str, Any]] = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [(name, summary_of(each.help or "")) for name, each in found if not each.hidden]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands that begin so, or the options."""
        from pairmine.cli.completion import items

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return items([each for each in self.summaries(ctx) if each[0].startswith(incomplete)])


def adopt(app: typer.Typer) -> typer.Typer:
    """`app` with these classes for all that was registered with it and named none."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            adopt(group.typer_instance)
            info = group.typer_instance.info
            info.cls = info.cls if isinstance(info.cls, type) and issubclass(info.cls, Group) else Group
    return app


def note_all(context: Any, commands: list[str], *, quiet: bool, verbose: bool) -> None:
    """Keep what was said before the command for the command."""
    context.meta[_COMMANDS] = commands
    context.meta[_QUIET], context.meta[_VERBOSE] = quiet, verbose
    voice.speak(quiet=quiet, verbose=verbose and not quiet)


def _habits() -> list[Any]:
    """--quiet and --verbose, as typer makes options."""

    def stand_in(quiet: Quiet = False, verbose: Verbose = False) -> None: ...

    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command()(stand_in)
    return list(typer.main.get_command(single).params)


def _beside(params: list[Any], added: list[Any]) -> Iterator[Any]:
    """`params` with those `added` after a --quiet of their own, or at the end."""
    for each in params:
        yield each
        if each.name == "quiet":
            yield from added
    if not any(each.name == "quiet" for each in params):
        yield from added


def _listen(context: Any) -> None:
    """Settle how much is said: the command line before the environment, the command's own words before earlier ones."""
    written = {name for name in ("quiet", "verbose") if _is_written(context, name)}
    if len(written) == 2:
        raise PairmineError("--quiet and --verbose say the opposite; leave one of them out")
    meta = context.meta
    if meta.get(_QUIET) and meta.get(_VERBOSE):
        raise PairmineError("--quiet and --verbose say the opposite; leave one of them out")
    before = {"quiet"} if meta.get(_QUIET) else {"verbose"} if meta.get(_VERBOSE) else set()
    chosen = written or before or {name for name in ("quiet", "verbose") if context.params.get(name)}
    quiet = "quiet" in chosen
    context.params["quiet"], context.params["verbose"] = quiet, "verbose" in chosen and not quiet
    meta[_QUIET], meta[_VERBOSE] = quiet, context.params["verbose"]
    voice.speak(quiet=quiet, verbose=context.params["verbose"])


def _is_written(context: Any, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE" and bool(context.params.get(name))
