"""The page that `--help` shows: what a command is for, examples that can be pasted, its options in groups."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from pairmine.cli.environment import path_of
from pairmine.cli.see_also import notes_on

_EXAMPLE = re.compile(r"(pairmine|echo|printf)\b|#")
_COLUMN = 26
_INDENT = 2
_FIRST, _LAST = "Recipe", ("Columns", "Output")
_HARD = "\u00a0"
"""Stands for a blank at which no line is broken."""
_KINDS = {"int": "N", "float": "X", "str": "TEXT"}
Rows = list[tuple[str, str]]


def usage(command: Any) -> list[str]:
    """The pieces of the first line, after the command's own name."""
    pieces = ["[OPTIONS]"] if any(each.param_type_name == "option" for each in command.params) else []
    for each in command.params:
        if each.param_type_name == "argument":
            name = _argument(each)
            pieces.append(name if each.required else f"[{name}]")
    return [*pieces, "COMMAND ..."] if hasattr(command, "list_commands") else pieces


def write_page(command: Any, context: Any, formatter: Any) -> None:
    """Write the whole page of `command`."""
    width = formatter.width
    formatter.write_usage(context.command_path, " ".join(usage(command)))
    text, examples = parts_of(command.help or "")
    for paragraph in text:
        formatter.write("\n" + _paragraph(paragraph, width))
    _section(formatter, "Examples" if len(examples) > 1 else "Example", (_folded(each, width) for each in examples))
    if hasattr(command, "summaries"):
        _section(formatter, "Commands", _definitions(command.summaries(context), width))
    for title, rows in _groups(command, context):
        _section(formatter, title, _definitions(rows, width))
    notes = notes_on(path_of(context))
    if notes:
        _section(formatter, "Notes", _definitions(notes, width))


def parts_of(text: str) -> tuple[list[str], list[str]]:
    """A help text as its paragraphs and its examples, which may span several lines and have a comment before them."""
    paragraphs: list[str] = []
    examples: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        is_raw = lines[0].strip() == "\b"
        body = textwrap.dedent("\n".join(lines[1:] if is_raw else lines))
        if is_raw and _EXAMPLE.match(body.lstrip()):
            examples += _commands_in(body)
        else:
            paragraphs.append(f"\b\n{body}" if is_raw else " ".join(body.split()))
    return paragraphs, examples


def summary_of(text: str) -> str:
    """The first sentence of a help text, without its full stop."""
    paragraphs, _ = parts_of(text)
    first = paragraphs[0] if paragraphs else ""
    return re.split(r"(?<=[.!])\s", first, maxsplit=1)[0].rstrip(".")


def _commands_in(body: str) -> Iterator[str]:
    """The commands of an example block; one goes on where its line ends in a pipe or a backslash."""
    command = ""
    for line in body.splitlines():
        if line.lstrip().startswith("#"):
            yield line.strip()
            continue
        command = f"{command} {line.strip()}".strip()
        if command.endswith("\\"):
            command = command[:-1].strip()
        elif not command.endswith("|"):
            yield command
            command = ""


def _paragraph(text: str, width: int) -> str:
    if text.startswith("\b\n"):
        return textwrap.indent(text[2:], " " * _INDENT) + "\n"
    return _wrapped(text, width, " " * _INDENT) + "\n"


def _folded(command: str, width: int) -> str:
    """A command in lines of the page's width, each but the last ending in a backslash: pasted, it is one command."""
    margin = " " * _INDENT
    if command.startswith("#"):
        return textwrap.fill(command, width, initial_indent=margin, subsequent_indent=f"{margin}# ") + "\n"
    lines = [margin]
    for piece in _pieces(command):
        if len(lines[-1]) + len(piece) + 3 > width and lines[-1].strip():
            lines.append(" " * (_INDENT + 4))
        lines[-1] += piece if not lines[-1].strip() else f" {piece}"
    return " \\\n".join(lines) + "\n"


def _pieces(command: str) -> Iterator[str]:
    """Where a command may be folded: before an option, which keeps its value, before a pipe and between files."""
    held = ""
    for word in re.split(r" (?=-{1,2}[A-Za-z]|\|)", command):
        held = f"{held} {word}" if held else word
        if held.count("'") % 2 == 0 and held.count('"') % 2 == 0:
            yield held
            held = ""
    if held:
        yield held


def _groups(command: Any, context: Any) -> Iterator[tuple[str, Rows]]:
    """Arguments, then the options by group, those about files last; each as its rows. A group has one kind alone."""
    first = [_FIRST] if path_of(context)[:1] == ["derive"] else []
    groups: dict[str, Rows] = {"Arguments": [], **{title: [] for title in first}, "Options": []}
    is_group = hasattr(command, "list_commands")
    for each in command.get_params(context):
        if getattr(each, "hidden", False):
            continue
        if each.param_type_name == "argument":
            groups["Arguments"].append((_argument(each), _help_of(each)))
        else:
            title = "Options" if is_group else each.rich_help_panel or "Options"
            groups.setdefault(title, []).append((_option(each), _help_of(each)))
    for title in _LAST:
        if title in groups:
            groups[title] = groups.pop(title)
    yield from ((title, rows) for title, rows in groups.items() if rows)


def _argument(each: Any) -> str:
    name = (each.metavar or each.name.upper()).removesuffix("...")
    return f"{name}..." if each.nargs != 1 else name


def _option(each: Any) -> str:
    """The flags of an option, the short one first, with what follows them."""
    flags = ", ".join(sorted(each.opts, key=len))
    if each.secondary_opts:
        flags += f" / {each.secondary_opts[0]}"
    return flags if each.is_flag else f"{flags} {each.metavar or _kind(each)}"


def _kind(each: Any) -> str:
    return _KINDS.get(each.bare_type().removeprefix("list[").rstrip("]"), "TEXT")


def _help_of(each: Any) -> str:
    """What an option does, then its default and its range."""
    extra = []
    if each.required and each.param_type_name == "option":
        extra.append("required")
    if default := _default(each):
        extra.append(f"default: {default}")
    if limits := _limits(each):
        extra.append(limits)
    if getattr(each, "multiple", False) and "everal" not in (each.help or "") and "epeat" not in (each.help or ""):
        extra.append("may be repeated")
    return "  ".join([*([each.help] if each.help else []), *([f"[{'; '.join(extra)}]"] if extra else [])])


def _default(each: Any) -> str:
    value = each.default
    if not each.show_default or value is None or value == () or value == [] or value == "":
        return ""
    if getattr(each, "is_flag", False):
        return (each.opts[-1] if value else each.secondary_opts[0]) if each.secondary_opts else ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _limits(each: Any) -> str:
    """The range of a number in words, where it says more than that it is a number."""
    low, high = (None if value is None or abs(value) >= 2**62 else value for value in (each.min, each.max))
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"{low:g} or more"
    return "" if high is None else f"{high:g} or less"


def _section(formatter: Any, title: str, blocks: Iterable[str]) -> None:
    shown = list(blocks)
    if shown:
        formatter.write(f"\n{title}:\n" + "".join(shown))


def _definitions(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Two columns; a first part that is too long stands on a line of its own."""
    found = list(rows)
    column = min(max((len(first) for first, _ in found), default=0), _COLUMN) + 2
    for first, second in found:
        margin = " " * (_INDENT + column)
        body = _wrapped(second, width, margin)
        if len(first) + 2 <= column:
            yield f"{' ' * _INDENT}{first:<{column}}{body.lstrip()}".rstrip() + "\n"
        else:
            yield f"{' ' * _INDENT}{first}\n{body}".rstrip() + "\n"


def _wrapped(text: str, width: int, margin: str) -> str:
    whole = re.sub(r"pairmine (?=[a-z])", f"pairmine{_HARD}", text)
    lines = textwrap.fill(
        whole, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False, break_long_words=False
    )
    return lines.replace(_HARD, " ")
