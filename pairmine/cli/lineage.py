"""A lineage as shell commands."""

from __future__ import annotations

import shlex
from typing import Any

_FLAGS = {"kind": "--format", "to": "--to"}


def commands(entries: list[dict[str, Any]]) -> list[str]:
    """The commands that rebuild a file, in order, with its inputs' digests and every count as comments."""
    lines: list[str] = []
    for number, entry in enumerate(entries, 1):
        lines += _command(number, entry, len(entries))
    return lines


def _command(number: int, entry: dict[str, Any], last: int) -> list[str]:
    words = ["pairmine", *entry["command"].split()]
    extra: list[str] = []
    comments = []
    for item in entry.get("inputs", []):
        name = _file(item["stage"] + 1, None) if "stage" in item else item["file"]
        if item["role"] in ("corpus", "queries", "fill"):
            extra += [f"--{item['role']}", name]
        else:
            words.append(name)
        if "sha256" in item:
            comments.append(f"# {name}: {item['rows']:,} rows, sha256 {item['sha256'][:16]}...")
    for name, value in sorted(entry.get("options", {}).items()):
        extra += _option(name, value, entry["command"])
    words += [*extra, "-o", _file(number, None if number < last else "out")]
    comments += [f"# {name}" for name in _models(entry)]
    counts = entry.get("counts", {})
    rejected = sum(counts.get("rejected", {}).values())
    tail = f", {rejected:,} rejected" if rejected else ""
    comments.append(
        f"# {counts.get('rows_in', 0):,} rows in, {counts.get('rows_out', 0):,} out{tail} (pairmine {entry['version']})"
    )
    return [*comments, shlex.join(words)]


def _file(number: int, name: str | None) -> str:
    return f"{name}.parquet" if name else f"step{number}.parquet"


def _models(entry: dict[str, Any]) -> list[str]:
    found = []
    for model in entry.get("models", []):
        digest = f", sha256 {model['sha256'][:16]}..." if model.get("sha256") else ""
        found.append(f"{model['model']}{digest}")
    return found


def _option(name: str, value: Any, command: str) -> list[str]:
    flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
    if command == "convert" and name == "to":
        flag = "--as"
    if isinstance(value, bool):
        return _switch(name, value)
    if isinstance(value, list):
        return [word for item in value for word in (flag, str(item))]
    return [flag, str(value)]


def _switch(name: str, value: bool) -> list[str]:
    """A switch's flag; one that has no --no- form of its own is left out where it is off."""
    flag = name.replace("_", "-")
    if name.startswith("no_") or name == "exact_only":
        return [f"--{flag}"] if value else []
    return [f"--{flag}" if value else f"--no-{flag}"]
