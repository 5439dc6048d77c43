"""A lineage as shell commands."""

from __future__ import annotations

import shlex
from typing import Any

import typer

_INPUT_FLAGS = ("corpus", "queries", "fill", "bad_examples")


def commands(entries: list[dict[str, Any]]) -> list[str]:
    """The commands that rebuild a file, in order, with its inputs' digests and every count as comments.

    Options that stand at their default are left out. What was read from a file without a lineage
    goes by that file's name, everything between by step1.parquet, step2.parquet, ...
    """
    return [line for lines in steps(entries) for line in lines]


def steps(entries: list[dict[str, Any]]) -> list[list[str]]:
    """The lines of `commands` by entry, each entry's command after its comments."""
    found = []
    for number, entry in enumerate(entries, 1):
        part = ".{split}" if "split" in entry else ""
        output = f"step{number}{part}.parquet" if number < len(entries) else f"out{part}{_ending(entry)}"
        found.append(_command(entry, output, entries))
    return found


def _written(number: int, entry: dict[str, Any]) -> str:
    """The name of what an earlier command wrote: of `mix --split` the file of one split."""
    return f"step{number}.{entry['split']}.parquet" if "split" in entry else f"step{number}.parquet"


def _command(entry: dict[str, Any], output: str, entries: list[dict[str, Any]]) -> list[str]:
    words, flagged, comments = ["pairmine", *entry["command"].split(), *_positions(entry)], [], []
    names = iter(entry.get("sources", []))
    flags = {name for name, each in _parameters(entry["command"]).items() if not _is_position(each)}
    for item in entry.get("inputs", []):
        name = _written(item["stage"] + 1, entries[item["stage"]]) if "stage" in item else item["file"]
        if item["role"] in _INPUT_FLAGS or item["role"] in flags:
            flagged += [f"--{item['role'].replace('_', '-')}", name]
        else:
            words.append(f"{called}={name}" if (called := next(names, None)) else name)
        if item.get("sha256"):
            comments.append(f"# {name}: {item.get('rows', 0):,} rows, sha256 {item['sha256'][:16]}...")
    words += [*flagged, *_options(entry), "-o", output]
    comments += [f"# {_model(model)}" for model in entry.get("models", [])]
    counts = entry.get("counts", {})
    rejected = sum(counts.get("rejected", {}).values())
    tail = f", {rejected:,} rejected" if rejected else ""
    rows = f"{counts.get('rows_in', 0):,} rows in, {counts.get('rows_out', 0):,} out{tail}"
    return [*comments, f"# {rows} (pairmine {entry.get('version', '?')})", shlex.join(words)]


def _model(model: dict[str, Any]) -> str:
    digest = f", sha256 {model['sha256'][:16]}..." if model.get("sha256") else ""
    place = f", at the server of {model['server']}" if model.get("server") else ""
    return f"{model.get('model', model.get('name', 'a model'))}{digest}{place}"


def _positions(entry: dict[str, Any]) -> list[str]:
    """Options that have no flag: the recipe of 'generate'."""
    given = entry.get("options", {})
    parameters = _parameters(entry["command"])
    return [str(given[name]) for name, each in parameters.items() if _is_position(each) and given.get(name)]


def _is_position(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _options(entry: dict[str, Any]) -> list[str]:
    parameters = _parameters(entry["command"])
    words: list[str] = []
    for name, value in sorted(entry.get("options", {}).items()):
        parameter = parameters.get(name)
        if parameter is None:
            words += _as_words("--" + name.replace("_", "-"), None, value)
        elif not _is_position(parameter) and value != _plain(parameter.default):
            on = next(flag for flag in parameter.opts if flag.startswith("--"))
            words += _as_words(on, next(iter(parameter.secondary_opts), None), value)
    return words


def _as_words(flag: str, off: str | None, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag] if value else [off] if off else []
    if isinstance(value, list):
        return [word for item in value for word in _as_words(flag, off, item)]
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _parameters(command: str) -> dict[str, Any]:
    """The parameters of a command of this pairmine by name; none for a command that it does not have."""
    from pairmine.cli.main import app
    from pairmine.errors import PairmineError

    found: Any = typer.main.get_command(app)
    for word in command.split():
        try:
            found = found.get_command(typer.Context(found), word)
        except PairmineError:
            found = None
        if found is None:
            return {}
    return {parameter.name: parameter for parameter in found.params}


def _ending(entry: dict[str, Any]) -> str:
    """What the last command writes: Parquet, unless its trainer reads something else; nothing for a folder."""
    if entry["command"] != "export":
        return ".parquet"
    from pairmine.stages.export import TARGETS

    target = TARGETS.get(str(entry.get("options", {}).get("to", "")))
    if target is None or "parquet" in target.formats:
        return ".parquet"
    return "" if target.fill else f".{target.formats[0]}"
