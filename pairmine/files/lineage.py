"""How a file came to be: one entry per stage, kept in the schema metadata of every output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pairmine.errors import PairmineError

KEY = b"pairmine"
FORMAT = 1

Entry = dict[str, Any]


def encode(entries: list[Entry]) -> dict[bytes, bytes]:
    """Schema metadata that carries `entries`."""
    body = {"format": FORMAT, "lineage": entries}
    return {KEY: json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()}


def decode(metadata: Mapping[bytes, bytes] | None, where: str) -> list[Entry]:
    """The entries in `metadata`, none for a file from elsewhere; a newer format is refused."""
    raw = (metadata or {}).get(KEY)
    if raw is None:
        return []
    try:
        body = json.loads(raw)
        version, entries = int(body["format"]), list(body["lineage"])
    except (ValueError, KeyError, TypeError):
        raise PairmineError(f"{where}: its pairmine metadata is damaged; write the file again") from None
    if version > FORMAT:
        raise PairmineError(
            f"{where}: written by a newer pairmine (format {version}, this one reads {FORMAT}); upgrade pairmine"
        )
    return entries


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
