"""How a file came to be: one entry per stage, kept in the schema metadata of every output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pairmine.errors import PairmineError
from pairmine.versions import check_format

KEY = b"pairmine"
FORMAT = 1

Entry = dict[str, Any]


def encode(entries: list[Entry]) -> dict[bytes, bytes]:
    """Schema metadata that carries `entries`."""
    body = {"format": FORMAT, "lineage": entries}
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # A file's name may have bytes that are no UTF-8; JSON has a spelling for what stands for them.
    return {KEY: text.encode("utf-8", "backslashreplace")}


def decode(metadata: Mapping[bytes, bytes] | None, where: str) -> list[Entry]:
    """The entries in `metadata`, none for a file from elsewhere; a newer format is refused."""
    raw = (metadata or {}).get(KEY)
    if raw is None:
        return []
    try:
        body = json.loads(raw)
        check_format(body["format"], FORMAT, where)
        return checked_entries(body["lineage"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PairmineError(f"{where}: its pairmine metadata is damaged; write the file again") from None


_DEEPEST = 60
_SHAPE = {
    "command": str,
    "version": str,
    "split": str,
    "options": dict,
    "counts": dict,
    "inputs": list,
    "models": list,
    "prompts": list,
    "sources": list,
}
_TEXTS = ("name", "model", "sha256", "server")


def checked_entries(found: Any) -> list[Entry]:
    """`found` as a lineage; raises ValueError for what none of ours looks like, since all that reads one relies on it.

    Options may hold anything, since a later pairmine may have other ones.
    """
    if not isinstance(found, list) or _is_deep(found):
        raise ValueError("no list of entries")
    if not all(_is_entry(entry, number) for number, entry in enumerate(found)):
        raise ValueError("an entry that is none")
    return found


def _is_deep(value: Any) -> bool:
    """Whether it is nested deeper than anything that we write, and than what can be written again."""
    level = [value]
    for _ in range(_DEEPEST):
        inside = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [each for some in inside for each in some]
    return bool(level)


def _is_entry(entry: Any, number: int) -> bool:
    if not isinstance(entry, dict) or "command" not in entry:
        return False
    if not all(isinstance(entry[name], kind) for name, kind in _SHAPE.items() if name in entry):
        return False
    named = [*entry.get("models", []), *entry.get("prompts", [])]
    return (
        _are_counts(entry.get("counts", {}))
        and all(_is_input(each, number) for each in entry.get("inputs", []))
        and all(isinstance(each, dict) and _has_texts(each, _TEXTS) for each in named)
        and all(isinstance(each.get("name"), str) for each in entry.get("prompts", []))
        and all(isinstance(each, str) for each in entry.get("sources", []))
    )


def _are_counts(counts: dict[str, Any]) -> bool:
    rejected = counts.get("rejected", {})
    if not (isinstance(rejected, dict) and isinstance(counts.get("notes", {}), dict)):
        return False
    told = [counts.get(name, 0) for name in ("rows_in", "rows_out", "added")]
    return all(type(count) is int for count in (*told, *rejected.values()))


def _is_input(item: Any, number: int) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str) or type(item.get("rows", 0)) is not int:
        return False
    if "stage" in item:
        return type(item["stage"]) is int and 0 <= item["stage"] < number
    return isinstance(item.get("file"), str) and _has_texts(item, ("sha256",))


def _has_texts(item: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(isinstance(item.get(name), str | None) for name in names)


def shown_path(path: str) -> str:
    """`path` as a lineage names it: relative ones as typed, absolute ones by their last part alone.

    Folders of one machine have no place in a file that travels, nor has what opens somebody's
    bucket: a name and password in an address, or a signature behind its question mark.
    """
    if "://" in path:
        scheme, _, rest = path.partition("?")[0].partition("://")
        host, slash, inner = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{inner}"
    return PurePath(path).name if PurePath(path).is_absolute() else path


@dataclass
class Lineage:
    """The entries behind a stage's inputs, merged, and the inputs themselves as references into them."""

    entries: list[Entry] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)

    def add_input(self, role: str, entries: list[Entry], *, path: str, sha256: str | None, rows: int) -> None:
        """Record an input: by the stage that made it where `entries` says so, else by name and digest.

        A file's own name does not matter once its lineage is known; that is why a pipe and
        files between two stages give the same bytes.
        """
        record: dict[str, Any] = {"role": role, "rows": rows}
        if entries:
            record["stage"] = self._merge(entries)
        else:
            record["file"] = shown_path(path)
            if sha256:
                record["sha256"] = sha256
        self.inputs.append(record)

    def _merge(self, entries: list[Entry]) -> int:
        """Append `entries` with their references moved to where they now stand; the index of the last one."""
        moved: dict[int, int] = {}
        for number, entry in enumerate(entries):
            inputs = [
                {**item, "stage": moved.get(item["stage"], item["stage"])} if "stage" in item else item
                for item in entry.get("inputs", [])
            ]
            placed = {**entry, "inputs": inputs}
            if placed not in self.entries:
                self.entries.append(placed)
            moved[number] = self.entries.index(placed)
        return moved[len(entries) - 1]
