"""The documents that runs of dedup kept, so that the next one's are checked against them: a folder of sets and keys.

Each run that adds documents adds a segment, four files that never change, and then names it in `manifest.json`:
without that a segment does not count. The documents are numbered through all segments.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files.arrays import ArrayFile, ArrayWriter, KeyRun, Pieces, damaged
from pairmine.files.locations import cause, is_remote
from pairmine.files.partial import said_plainly, write_atomically
from pairmine.files.sketches import locked
from pairmine.files.whole import read_whole
from pairmine.versions import check_format

FORMAT = 1
_MANIFEST = "manifest.json"
_HOLDS = "documents that dedup kept"
_LOCK = "lock"
_PARTS = ("keys", "ids", "shingles", "words")
_OURS = re.compile(rf"(segment-\d+)\.(?:{'|'.join(_PARTS)})")

Found = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Segment:
    """What one run added: `rows` documents, and from which inputs, as (name, rows)."""

    name: str
    rows: int
    sources: Sequence[tuple[str, int]]
    files: Mapping[str, ArrayFile]

    def stretches(self, part: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `part` holds of the documents at ascending `rows` of this segment, and how much of each."""
        if rows[-1] >= self.rows:  # told by keys that were damaged
            raise damaged(self.files[part].path)
        ends = self.files[part].read_many("ends", rows, np.full(len(rows), 2)).astype(np.int64)
        starts, sizes = ends[::2], ends[1::2] - ends[::2]
        return self.files[part].read_many("values", starts, sizes), sizes


class DedupIndex:
    """An index in `folder`, made where there is none.

    `settings` are what its keys and sets depend on: the values of options by their names, and of those in `made` what
    pairmine itself decides.
    `run` names what a run reads and writes. Where the last run had the same name, as one that was killed at its very
    end, what it added does not count, and `add` puts this run's documents in their place.
    One run at a time may add to it. Raises PairmineError for an index with other settings or of a newer
    format, for one that is damaged, and while another run holds it.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        append: bool,
        made: Sequence[str] = (),
        run: str | None = None,
    ) -> None:
        self.folder = folder
        self._made = made
        self._run = run
        self._entries: list[dict[str, Any]] = []
        self._replaced: dict[str, Any] | None = None
        self.segments: list[Segment] = []
        self._runs: dict[str, list[KeyRun]] = {}
        self.settings = dict(settings)
        if folder.exists() and not folder.is_dir():
            raise PairmineError(f"--index {folder}: is a file; name a folder")
        if not append and not (folder / _MANIFEST).exists():
            raise PairmineError(f"--index {folder}: there is no index to look in; a run that may add to it makes one")
        with said_plainly(str(folder), opens=True):
            folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _MANIFEST).exists() and (others := self._others()):
            raise PairmineError(f"--index {folder}: holds {others[0]} and no index; name a new or an empty folder")
        busy = f"--index {folder}: another run is at work with it; wait for it and run the same command again"
        self._lock: IO[bytes] = locked(folder / _LOCK, busy, shared=not append)
        try:
            self._open(append)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """How many documents it holds."""
        return sum(segment.rows for segment in self.segments)

    def find(self, name: str, keys: np.ndarray) -> Found:
        """Where the ascending `keys` stand: the number of each found one among them, and the document that has it."""
        if name not in self._runs:
            # One name at a time: the fences of all would be some hundred megabytes for a hundred million documents.
            self._runs = {name: [segment.files["keys"].keys(name) for segment in self.segments]}
        numbers, rows, first = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        for segment, run in zip(self.segments, self._runs[name], strict=True):
            number, row = run.find(keys)
            if row.max(initial=0) >= max(segment.rows, 1):
                raise damaged(segment.files["keys"].path)
            numbers.append(number)
            rows.append(row.astype(np.int64) + first)
            first += segment.rows
        return np.concatenate(numbers), np.concatenate(rows)

    def ids(self, rows: np.ndarray) -> pa.Array:
        """The ids of the documents at ascending `rows`, as large strings."""
        values, sizes = self._gathered("ids", rows)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        data = np.ascontiguousarray(values, np.uint8)
        found = pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(ends), pa.py_buffer(data))
        try:
            found.validate(full=True)
        except pa.ArrowInvalid:
            raise PairmineError(f"--index {self.folder}: its ids are damaged; make it anew") from None
        return found

    def rows_of(self, part: str, rows: np.ndarray) -> Found:
        """The "shingles" or "words" of the documents at ascending `rows`, and how many each has."""
        return self._gathered(part, rows)

    def counts(self, part: str, rows: np.ndarray) -> np.ndarray:
        """How many "shingles" or "words" each of these documents has, whether they are kept here or not."""
        found = [
            segment.files[part].read_many("counts", some, np.ones(len(some), np.int64))
            for segment, some in self._split(rows)
        ]
        return np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)

    def seen_in(self, rows: np.ndarray) -> pa.Array:
        """The name of the input that each document came from."""
        names, ends, end = [], [], 0
        for segment in self.segments:
            for name, count in segment.sources:
                end += count
                names.append(name)
                ends.append(end)
        return pa.array(names, pa.string()).take(pa.array(np.searchsorted(ends, rows, side="right")))

    @property
    def runs_again(self) -> bool:
        """Whether the last run did what this one does, so that it takes its place."""
        return self._replaced is not None

    def writer(self) -> SegmentWriter:
        """What takes the documents that this run adds."""
        names = [each["name"] for each in (*self._entries, self._replaced) if each]
        last = int(names[-1].rpartition("-")[2]) if names else 0
        return SegmentWriter(self.folder, f"segment-{last + 1:05d}")

    def add(self, writer: SegmentWriter | None) -> None:
        """Have the documents that `writer` took count; without one the run adds none."""
        entries = list(self._entries)
        if writer is not None:
            entries.append({"name": writer.name, "rows": writer.rows, "sources": writer.sources, "run": self._run})
        body = {"holds": _HOLDS, "format": FORMAT, "settings": self.settings, "segments": entries}
        write_atomically(str(self.folder / _MANIFEST), json.dumps(body, indent=1) + "\n")
        self._sweep({each["name"] for each in entries})

    def close(self) -> None:
        """Let go of it."""
        self._lock.close()

    def _open(self, append: bool) -> None:
        manifest = read_manifest(self.folder)
        if manifest is not None:
            self._check(manifest["settings"])
            self._entries = list(manifest["segments"])
        if append:
            self._sweep({each["name"] for each in self._entries})
            if self._run and self._entries and self._entries[-1].get("run") == self._run:
                self._replaced = self._entries.pop()
        self.segments = [self._segment(each) for each in self._entries]

    def _others(self) -> list[str]:
        """What lies in the folder beside what a run leaves that was killed before it added anything."""
        names = sorted(path.name for path in self.folder.iterdir())
        return [name for name in names if name != _LOCK and not name.endswith(".partial") and not _OURS.fullmatch(name)]

    def _check(self, there: Mapping[str, Any]) -> None:
        """Raise a PairmineError where this run has other settings than those `there`, the first of which it names."""
        for name, value in self.settings.items():
            if (other := there.get(name)) == value:
                continue
            if isinstance(value, bool):
                have, has = ("without", "has it") if value else ("with", "has not")
                told = f"{have} --{name.replace('_', '-')}, and this run {has}"
            elif name in self._made:
                told = f"by another pairmine, whose {name} differ"
            else:
                told = f"with --{name.replace('_', '-')} {other}, and this run has {value}"
            raise PairmineError(f"--index {self.folder}: was made {told}; name another folder, or run as before")

    def _segment(self, entry: Mapping[str, Any]) -> Segment:
        try:
            files = {part: ArrayFile(self.folder / f"{entry['name']}.{part}") for part in _PARTS}
            of_all = ("ids",) if self.settings["exact_only"] else ("ids", "shingles", "words")
            if any(files[part].count("ends") != entry["rows"] + 1 for part in of_all):
                raise damaged(self.folder / entry["name"])
        except OSError as error:
            raise PairmineError(
                f"{self.folder}: a part of {entry['name']} is gone ({cause(error)}); make it anew"
            ) from None
        return Segment(entry["name"], entry["rows"], [(name, rows) for name, rows in entry["sources"]], files)

    def _sweep(self, known: set[str]) -> None:
        """Remove the files of segments that are not `known`, as a killed run leaves them behind."""
        for path in self.folder.iterdir():
            if (found := _OURS.fullmatch(path.name)) and found[1] not in known:
                path.unlink(missing_ok=True)

    def _split(self, rows: np.ndarray) -> Iterator[tuple[Segment, np.ndarray]]:
        first = 0
        for segment in self.segments:
            start, stop = np.searchsorted(rows, [first, first + segment.rows])
            if stop > start:
                yield segment, rows[start:stop] - first
            first += segment.rows

    def _gathered(self, part: str, rows: np.ndarray) -> Found:
        found = [segment.stretches(part, some) for segment, some in self._split(rows)]
        values = np.concatenate([values for values, _ in found]) if found else np.empty(0, np.uint64)
        return values, np.concatenate([np.empty(0, np.int64), *(sizes for _, sizes in found)])


class SegmentWriter:
    """Takes the documents of one run, in their order, then their keys; they count once `DedupIndex.add` was called."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.rows = 0
        self.sources: list[tuple[str, int]] = []
        self._writers = {part: ArrayWriter(folder / f"{name}.{part}") for part in _PARTS}
        kinds = {"ids": np.uint8, "shingles": np.uint64, "words": np.uint64}
        self._append: dict[str, Callable[[np.ndarray], None]] = {
            part: self._writers[part].begin("values", kind) for part, kind in kinds.items()
        }
        self._sizes: dict[str, list[np.ndarray]] = {part: [np.empty(0, np.int64)] for part in kinds}
        self._counts: dict[str, list[np.ndarray]] = {part: [np.empty(0, np.uint32)] for part in kinds}

    def put(self, part: str, values: np.ndarray, sizes: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Take the values of the next documents, one after the other: "ids", "shingles" or "words".

        `counts` says how many each has where not all are kept.
        """
        self._append[part](values)
        self._sizes[part].append(sizes)
        self._counts[part].append((sizes if counts is None else counts).astype(np.uint32))
        if part == "ids":
            self.rows += len(sizes)

    def finish(self, keys: Mapping[str, Pieces], sources: list[tuple[str, int]]) -> None:
        """Write the keys, with rows that count these documents from 0, and put the files in their places."""
        self.sources = sources
        for name, pieces in keys.items():
            self._writers["keys"].put_keys(name, pieces)
        for part, sizes in self._sizes.items():
            ends = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
            self._writers[part].put("ends", ends)
            self._writers[part].put("counts", np.concatenate(self._counts[part]))
        for writer in self._writers.values():
            writer.commit()

    def remove(self) -> None:
        """Drop what is unfinished."""
        for writer in self._writers.values():
            writer.remove()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What an index says of itself; None where `folder` holds none."""
    if not (folder / _MANIFEST).exists():
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        body = json.loads(_read_text(folder / _MANIFEST))
        if body["holds"] == _HOLDS:
            check_format(body["format"], FORMAT, str(folder))
            if isinstance(body["settings"], dict) and all(map(_is_segment, body["segments"])):
                return dict(body)
    raise PairmineError(f"{folder}: its {_MANIFEST} is damaged or none of an index; name another folder")


def _is_segment(entry: dict[str, Any]) -> bool:
    return (
        re.fullmatch(r"segment-\d+", entry["name"]) is not None
        and type(entry["rows"]) is int
        and all(isinstance(name, str) and type(rows) is int for name, rows in entry["sources"])
    )


def described_index(path: str) -> dict[str, Any] | None:
    """The number of documents in an index, its settings, and what each run added: (run, input, documents).

    None for whatever is no index.
    """
    if is_remote(path) or _HOLDS not in _read_text(Path(path) / _MANIFEST):
        return None
    manifest = read_manifest(Path(path)) or {}
    added = [
        (number, name, rows) for number, each in enumerate(manifest["segments"], 1) for name, rows in each["sources"]
    ]
    documents = sum(each["rows"] for each in manifest["segments"])
    return {"documents": documents, "settings": manifest["settings"], "added": added}


def _read_text(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return read_whole(path).decode()
    return ""
