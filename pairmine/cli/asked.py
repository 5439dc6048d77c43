"""What the user asked for: by a word of the command line, or a variable of the environment."""

from __future__ import annotations

from typing import Any

import typer

from pairmine.errors import PairmineError


def given(context: typer.Context, name: str) -> bool:
    """Whether the user set this option, on the command line or in the environment, rather than leave its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def written(context: typer.Context, name: str) -> bool:
    """Whether the user wrote this option on the command line.

    To be refused where it has no effect: a variable is set once for many commands, and may be idle in some.
    """
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def lay_aside(context: typer.Context, name: str) -> None:
    """Put an option that a variable set, and that has no effect here, back to its default for the lineage."""
    if given(context, name) and not written(context, name):
        context.params[name] = next(each.default for each in context.command.params if each.name == name)


def without_idle(context: typer.Context, settings: dict[str, Any], *names: str) -> dict[str, Any]:
    """`settings` with those of `names` back at their defaults that a variable set; what was written stays."""
    for name in names:
        lay_aside(context, name)
    return settings | {name: context.params[name] for name in names if name in settings}


def without_effect(context: typer.Context, because: str, *names: str) -> None:
    """Raise a PairmineError when the user wrote one of the options `names`, which `because` of another do nothing."""
    for name in names:
        lay_aside(context, name)
        if written(context, name):
            option = next(each for each in context.command.params if each.name == name)
            is_off = context.params[name] is False and option.secondary_opts
            flag = option.secondary_opts[0] if is_off else option.opts[0]
            raise PairmineError(f"{flag} has no effect {because}; leave one of them out")


def choice(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a PairmineError unless `value` is one of the `allowed` ones."""
    if value not in allowed:
        raise PairmineError(f"{flag} {value}: choose {', '.join(allowed)}")
