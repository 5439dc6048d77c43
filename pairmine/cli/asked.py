"""What the user asked for: by a word of the command line, or a variable of the environment."""

from __future__ import annotations

from typing import Any

import typer

from pairmine.errors import PairmineError

_IS_RUNNING = "pairmine.running"


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


class Idle(Exception):
    """Ends a command that was about to start with an option that has no effect; it starts again without it."""


def lay_aside(context: typer.Context, name: str) -> None:
    """Put an option that a variable set, and that has no effect here, back to its default, as if it were not set.

    The command starts anew where it has the value in hand already; not once its outputs are open.
    """
    if not given(context, name) or written(context, name):
        return
    option = next(each for each in context.command.params if each.name == name)
    default = option.process_value(context, option.default)
    in_hand = context.params[name] != default and not context.meta.get(_IS_RUNNING)
    context.params[name] = default
    context.set_parameter_source(name, type(context.get_parameter_source(name)).DEFAULT)  # type: ignore[union-attr]
    if in_hand:
        raise Idle(name)


def note_running(context: typer.Context) -> None:
    """Outputs are open and an input may be on its way: from here on a command cannot start anew."""
    context.meta[_IS_RUNNING] = True


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
