"""The files and folders that a command line names: none is "", and no output takes the place of what is read.

A stage holds its inputs against its outputs once more when it opens them, with what it finds in folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from pairmine.cli import environment
from pairmine.errors import PairmineError

_WRITTEN = {"output", "rejects", "summary", "groups_file", "junit", "sidecar", "card", "picture"}
_READ_BY = {"rejects": ("stats", "report")}
_WRITTEN_BY = {"as_json": ("calibrate",), "target": ("ledger export",)}
_FILES = {"FILE", "PATH", "FOLDER", "DIR", "EVAL", "PAIRS", "CORPUS", "INPUT", "OUT", "OLD", "RECIPE"}
_FILES |= {"PAIRS...", "FILE..."}
_FILE_NAMES = {"source", "pairs", "corpus"}
_TELL = {"index", "scratch", "card"}
"""What says itself that it is empty."""
_OF_LEDGER = ("-wal", "-shm", "-asking")
_VECTORS, _IDS = ".npy", (".ids.txt", ".ids.npy", ".ids.json")
_WHAT = {
    "ledger": "the ledger",
    "recipe": "the recipe",
    "recipe_file": "the recipe",
    "api_key_file": "the file with the key",
    "retriever": "what a retriever reads",
    "vectors": "vectors of the queries",
}
_PARTS = re.compile(r"[:=,]")


def check_places(context: Any) -> None:
    """Raise PairmineError where an option names no place, or an output one that the command reads."""
    command = " ".join(environment.path_of(context))
    options = [(each, _texts(context.params.get(each.name)), _is_file(each)) for each in context.command.params]
    for option, values, is_file in options:
        if is_file and "" in values and option.name not in _TELL and _is_typed(context, option.name):
            raise PairmineError(f"{_flag(option)}: is empty; name a place, or leave it out")
    files = [(option, values) for option, values, is_file in options if is_file]
    _check_pipe(command, [(_flag(each), values) for each, values in files if not _is_written(each, command, True)])
    outputs = [(_flag(option), values) for option, values, is_file in options if _is_written(option, command, is_file)]
    if not any(values for _, values in outputs):
        return
    from pairmine.cli.run import place_of

    written = {place_of(value): (flag, value) for flag, values in outputs for value in values if value}
    for flag, values in outputs:
        for ids in (each for value in values for each in _beside(value)[:1]):
            other, _ = written.setdefault(place_of(ids), (flag, ids))
            if other != flag:
                raise PairmineError(f"{flag} and {other} both name {ids}; give each a place of its own")
    for option, values, is_file in options:
        for path in () if _is_written(option, command, is_file) else _all_read(option.name, values, is_file):
            flag, _ = written.get(place_of(path), ("", ""))
            if flag and path != "-":
                what = _WHAT.get(option.name, "an input too")
                raise PairmineError(f"{flag} {path}: is {what} and would be lost; name another file")
    _check_folders(context, command, written)


def _check_pipe(command: str, inputs: list[tuple[str, list[str]]]) -> None:
    """Standard input is read once; `mix` may name it as NAME=-."""
    piped = [flag for flag, values in inputs for value in values if value == "-" or re.fullmatch(r"[\w.-]+=-", value)]
    if len(piped) > 1:
        which = f"{piped[0]} names it {len(piped)} times" if len(set(piped)) == 1 else f"{_and(piped)} name it"
        raise PairmineError(f"{command} reads standard input once, and {which}; name a file")


def _and(words: list[str]) -> str:
    several = list(dict.fromkeys(words))
    return f"{', '.join(several[:-1])} and {several[-1]}"


def _check_folders(context: Any, command: str, written: dict[str, tuple[str, str]]) -> None:
    """An index and a store are folders of files that belong together."""
    from pairmine.cli.run import place_of

    for name in ("index", "store") if command == "dedup" else ("store",):
        folder = context.params.get(name)
        if isinstance(folder, str) and folder not in ("", "none"):
            for place, (flag, path) in written.items():
                if place.startswith(f"{place_of(folder)}/"):
                    raise PairmineError(f"{flag} {path}: is in the folder of --{name}; name another place")


def _all_read(name: str, values: list[str], is_file: bool) -> Iterator[str]:
    for value in values:
        yield from _read(name, value, is_file)


def _read(name: str, value: str, is_file: bool) -> Iterator[str]:
    """The files that a value names, and those that are read with them."""
    if name == "ledger":
        yield from (value, *(value + ending for ending in _OF_LEDGER))
        return
    if name.endswith("_column") or name == "columns":
        return
    pieces = [value] if is_file else []
    if "/" in value or "." in value:
        pieces += [each for each in (value, *_PARTS.split(value)) if os.path.exists(each)]
    for piece in filter(None, pieces):
        yield from (piece, *_beside(piece))


def _beside(path: str) -> list[str]:
    """Files of ids that go with a file of vectors, the one that is written first."""
    return [path.removesuffix(_VECTORS) + ending for ending in _IDS] if path.endswith(_VECTORS) else []


def _is_file(option: Any) -> bool:
    return (option.metavar or "") in _FILES or option.name in _FILE_NAMES


def _is_written(option: Any, command: str, is_file: bool) -> bool:
    name = option.name
    if name in _WRITTEN_BY:
        return command in _WRITTEN_BY[name] and is_file
    return name in _WRITTEN and command not in _READ_BY.get(name, ())


def _is_typed(context: Any, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _flag(option: Any) -> str:
    if option.param_type_name == "argument":
        return str(option.metavar or option.name.upper()).removesuffix("...")
    return "-o" if option.name == "output" else environment.flag_of(option)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, (list, tuple)) else []
