"""What the workers of `pairmine dedup` do on shards: step by step, each as plain data that makes it on a worker."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairmine.engines.parcels import read_parcel, write_parcel
from pairmine.stages.dedup import bundles, shards
from pairmine.stages.dedup.bounded import parts
from pairmine.stages.dedup.leaving import Loss

if TYPE_CHECKING:
    from pairmine.engines.shards import Piece, Shared
    from pairmine.files.sharded import WorkFolder
    from pairmine.outcome import Outcome
    from pairmine.stages.dedup.against import Against
    from pairmine.stages.dedup.bounds import Keys
    from pairmine.stages.dedup.matches import Near

_BUDGET_BYTES = 256 << 20
"""Sets of a bundle that are in memory, and those that are compared at a time."""
IDS, TEXTS = "id", "exact"
"""Names of keys, beside those of bands."""


@dataclass(frozen=True)
class Rules:
    """What dedup on shards depends on: options of `stages.dedup.dedup`, as plain data that travels."""

    near: Near | None
    exact: str
    keep: str
    group: str
    action: str
    group_ids: bool
    ids_only: bool
    against: Against | None
    against_only: bool


@dataclass(frozen=True)
class Sketching:
    """Makes what puts the keys of a shard into the work folder: those of ids and texts, and those of bands."""

    rules: Rules
    folder: WorkFolder

    def __call__(self) -> Callable[[Piece], int]:
        rules = self.rules

        def sketch(piece: Piece) -> int:
            keys = shards.sketch_shard(
                read_shard(piece), near=rules.near, exact=rules.exact, workers=1, against=rules.against
            )
            whole = {name: keys[name] for name in (IDS, TEXTS) if name in keys}
            write_parcel(self.folder.place(keys_of("texts", piece)), whole)
            bands = {name: keys[name] for name in keys if name not in whole}
            write_parcel(self.folder.place(keys_of("bands", piece)), bands)
            return piece.rows

        return sketch


@dataclass(frozen=True)
class Cutting:
    """Makes what cuts the keys of a shard into ranges, save for those of the rows that are left out."""

    ranges: shards.Ranges
    folder: WorkFolder
    name: str

    def __call__(self) -> Callable[[tuple[Piece, np.ndarray]], Iterator[tuple[int, Keys]]]:
        self.folder.check_seen()

        def cut(item: tuple[Piece, np.ndarray]) -> Iterator[tuple[int, Keys]]:
            piece, left_out = item
            keys = read_parcel(self.folder.place(keys_of(self.name, piece)))
            stays = np.ones(piece.rows, bool)
            stays[left_out - piece.first] = False
            return self.ranges.parts(keys, piece.first, stays)

        return cut


@dataclass(frozen=True)
class MeetingWhole:
    """Makes what finds exact copies, or ids that stand there twice, where all documents of a range of keys meet."""

    ranges: shards.Ranges

    def __call__(self) -> Callable[[tuple[int, Iterator[Keys]]], Any]:
        def meet(group: tuple[int, Iterator[Keys]]) -> Any:
            number, parts = group
            is_of_texts = self.ranges.name_of(number) == TEXTS
            return shards.exact_copies(parts) if is_of_texts else shards.repeated_ids(parts)

        return meet


@dataclass(frozen=True)
class MeetingBands:
    """Makes what puts pairs to compare into a file: it gives the file, "" without any, and the crowded documents."""

    folder: WorkFolder

    def __call__(self) -> Callable[[tuple[int, Iterator[Keys]]], tuple[str, np.ndarray]]:
        def meet(group: tuple[int, Iterator[Keys]]) -> tuple[str, np.ndarray]:
            number, parts = group
            pairs, crowded = shards.neighbours(parts)
            if not len(pairs):
                return "", crowded
            path = self.folder.place(f"pairs/{number:06}")
            write_parcel(path, pairs)
            return path, crowded

        return meet


@dataclass(frozen=True)
class Gathering:
    """Makes what sends documents of a shard, and pairs out of a file, to their bundles; what ids say to `of_ids`."""

    rules: Rules
    shared: Shared[bundles.Shared]
    of_ids: int

    def __call__(self) -> Callable[[Any], Iterator[tuple[int, Any]]]:
        rules = self.rules
        known: list[bundles.Shared] = []

        def gather(item: Any) -> Iterator[tuple[int, Any]]:
            if isinstance(item, str):
                if not known:
                    known.append(self.shared.get())
                yield from bundles.pairs_by_bundle(read_parcel(item), known[0])
                return
            piece, here, again = item
            yield from bundles.gather(read_shard(piece), piece.first, here, rules.near, rules.keep)
            for said in bundles.said_of_ids(read_shard(piece) if len(again) else (), piece.first, again):
                yield self.of_ids, said

        return gather


@dataclass(frozen=True)
class Deciding:
    """Makes what decides a bundle out of its documents and pairs; of group `of_ids`, whether one id has two texts."""

    rules: Rules
    of_ids: int

    def __call__(self) -> Callable[[tuple[int, Iterator[Any]]], Any]:
        from pairmine.files.spills import Spills

        rules = self.rules

        def decide(group: tuple[int, Iterator[Any]]) -> Any:
            number, parcels = group
            if number == self.of_ids:
                return bundles.have_conflict(parcels)
            documents: list[bundles.Gathered] = []
            pairs: list[np.ndarray] = []
            for each in parcels:
                (pairs if isinstance(each, np.ndarray) else documents).append(each)
            with tempfile.TemporaryDirectory(prefix="pairmine-dedup-") as folder:
                spills = Spills(Path(folder), _BUDGET_BYTES)
                return bundles.groups_of(
                    documents, pairs, spills, _BUDGET_BYTES, near=rules.near, keep=rules.keep, group=rules.group
                )

        return decide


@dataclass(frozen=True)
class WritingWork:
    """What stays and what leaves of a shard; see `engines.shards.Work`."""

    rules: Rules
    folder: WorkFolder

    def open(self) -> WritingJob:
        """See `Work`."""
        return WritingJob(self.rules, self.folder, Counter())


@dataclass(frozen=True)
class WritingJob:
    """See `engines.shards.Job`; its sums are what sources lost."""

    rules: Rules
    folder: WorkFolder
    lost: Counter[str]

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """See `Job`."""
        from pairmine.stages.dedup.stage import only_ids

        rules = self.rules
        found = read_parcel(self.folder.place(verdicts_of(piece)))
        for part in parts(
            lambda: iter(read_shard(piece)),
            found,
            against=rules.against,
            action=rules.action,
            group_ids=rules.group_ids,
            advance=lambda rows: None,
        ):
            for loss in part.losses:
                self.lost.update(_sums(loss))
            outcome = part.outcome
            yield replace(outcome, kept=only_ids(outcome.kept)) if rules.ids_only else outcome

    def facts(self) -> dict[str, Any]:
        """Nothing that the driver does not know."""
        return {}

    def sums(self) -> dict[str, int]:
        """See `Job`."""
        found = dict(self.lost)
        self.lost.clear()
        return found


def _sums(loss: Loss) -> dict[str, int]:
    """A source's losses as numbers that add up."""
    return {json.dumps([name, loss.column, loss.value]): getattr(loss, name) for name in ("rows", "left")}


def read_shard(piece: Piece) -> Iterable[pa.Table]:
    """The documents of a shard, with those that repeat an id."""
    from pairmine.files.source import open_either

    source = open_either(piece.path, lambda line: None)
    source.role = replace(source.role, may_be_empty=True)
    source.compares_ids = False
    return source.tables()


def keys_of(name: str, piece: Piece) -> str:
    return f"keys/{name}-{piece.number:05}"


def verdicts_of(piece: Piece) -> str:
    return f"verdicts/{piece.number:05}"
