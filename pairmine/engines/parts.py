"""Shard by shard: the parts of each output, and a marker for every shard that is finished."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pairmine.engines import kept
from pairmine.engines.shards import Counts, Job, Make, Piece, Pool, Work, Written
from pairmine.files.sharded import PartedOutput, WorkFolder, exists, open_part, remove_file
from pairmine.files.sink import Sink

KEPT, REJECTED = "out", "rejects"


@dataclass
class Done:
    """What a shard came to; `parts` are the files that it wrote."""

    counts: Counts
    facts: dict[str, Any] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether its parts lie where it wrote them: a run that was stopped at its very end has moved them."""
        return all(map(exists, self.parts))


def write_parts(
    pool: Pool,
    folder: WorkFolder,
    pieces: Sequence[Piece],
    work: Work,
    outputs: Mapping[str, PartedOutput],
    *,
    step: str,
    resident: bool = False,
) -> Iterator[tuple[Piece, Done]]:
    """Do `work` on every shard and write its part of each of `outputs`: "out", "rejects" and those named in extras.

    Yields the shards as they are finished, first those that an earlier run of this `step` had finished. Work that
    holds models is `resident`.
    """
    for output in outputs.values():
        output.expect(len(pieces))
    places = {name: [output.part(piece.number) for piece in pieces] for name, output in outputs.items()}
    make = _Writing(work, folder, places, step)
    yield from _each(pool, folder, pieces, make, step, resident)


def fold(
    pool: Pool,
    folder: WorkFolder,
    pieces: Sequence[Piece],
    make: Make[Piece, Any],
    *,
    step: str,
    resident: bool = False,
) -> Iterator[Any]:
    """What `make()(piece)` gives for every shard, with the shard, as they are done; kept for a run that goes on."""
    yield from _each(pool, folder, pieces, _Folding(make, folder, step), step, resident)


def forget(folder: WorkFolder, pieces: Sequence[Piece], *, step: str) -> None:
    """Have `step` done again on these shards, since what it reads has changed."""
    for piece in pieces:
        remove_file(f"{folder.path}/{_marker(step, piece)}")


def _each(
    pool: Pool, folder: WorkFolder, pieces: Sequence[Piece], make: Make[Piece, Any], step: str, resident: bool
) -> Iterator[tuple[Piece, Any]]:
    missing: list[Piece] = []
    for piece in pieces:
        text = folder.read(_marker(step, piece))
        result = None if text is None else _unpacked(text, f"{folder.path}/{_marker(step, piece)}")
        if text is None or (isinstance(result, Done) and not result.is_there):
            missing.append(piece)
        else:
            yield piece, result
    for place, result in pool.map(make, missing, resident=resident):
        yield missing[place], result


def _marker(step: str, piece: Piece) -> str:
    return f"done/{step}/{piece.number:05}.json"


def _packed(result: Any) -> str:
    return json.dumps({"result": base64.b64encode(kept.dumps(result)).decode()})


def _unpacked(text: str, where: str) -> Any:
    try:
        content = base64.b64decode(json.loads(text)["result"])
    except (ValueError, KeyError, TypeError, RecursionError):
        content = b""
    return kept.loads(content, where)


@dataclass(frozen=True)
class _Folding:
    make: Make[Piece, Any]
    folder: WorkFolder
    step: str

    def __call__(self) -> Callable[[Piece], Any]:
        self.folder.check_seen()
        function = self.make()

        def fold_one(piece: Piece) -> Any:
            result = function(piece)
            self.folder.write(_marker(self.step, piece), _packed(result))
            return result

        return fold_one


@dataclass(frozen=True)
class _Writing:
    """Makes what writes the parts of a shard, on a worker."""

    work: Work
    folder: WorkFolder
    places: Mapping[str, Sequence[str]]
    step: str

    def __call__(self) -> Callable[[Piece], Done]:
        self.folder.check_seen()
        job = self.work.open()

        def write_one(piece: Piece) -> Done:
            done = self._write(job, piece)
            self.folder.write(_marker(self.step, piece), _packed(done))
            return done

        return write_one

    def _write(self, job: Job, piece: Piece) -> Done:
        sinks: dict[str, Sink] = {}
        counts = Counts()
        try:
            for each in job.outcomes(piece):
                written = each if isinstance(each, Written) else Written(each)
                counts.add(Counts.of(written.outcome))
                tables = {KEPT: written.outcome.kept, REJECTED: written.outcome.rejected, **written.extras}
                for name, table in tables.items():
                    self._put(sinks, name, piece, table)
            for sink in sinks.values():
                sink.commit([])
        except BaseException:
            for sink in sinks.values():
                sink.abort()
            raise
        parts = tuple(self.places[name][piece.number] for name in sinks)
        return Done(counts, job.facts(), Counter(job.sums()), parts)

    def _put(self, sinks: dict[str, Sink], name: str, piece: Piece, table: pa.Table) -> None:
        if name not in self.places:
            return
        if name not in sinks:
            sinks[name] = open_part(self.places[name][piece.number])
        sinks[name].write(table)
