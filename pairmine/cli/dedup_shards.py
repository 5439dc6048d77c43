"""`pairmine dedup` on shards: keys, the groups that they meet in, bundles of documents, and what stays of each."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pairmine.cli.dedup_tasks import (
    IDS,
    TEXTS,
    Cutting,
    Deciding,
    Gathering,
    MeetingBands,
    MeetingWhole,
    Rules,
    Sketching,
    WritingWork,
    read_shard,
    verdicts_of,
)
from pairmine.distinct import union
from pairmine.engines.parcels import read_parcel, write_parcel
from pairmine.engines.spool import shuffle
from pairmine.errors import PairmineError
from pairmine.stages.dedup import bundles, shards
from pairmine.stages.dedup.bounded import MOST, Found, between, nothing_found
from pairmine.stages.dedup.leaving import Loss
from pairmine.stages.dedup.sketching import band_count, band_name

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece
    from pairmine.files.source import Source

_RANGE_KEYS = 4 << 20
"""Keys that meet in a group: some 200 MB while they are sorted."""
_BUNDLE = 20_000
"""Documents of a bundle, unless more are connected: some 100 MB with their sets, for passages."""
_FOUND, _MARKER = "found", "done/found.json"


class ShardedDedup:
    """Dedup of the corpus whose shards are `pieces`, on the workers of `engine`: `find` what leaves, then `write`."""

    def __init__(self, engine: RayEngine, run: Run, pieces: Sequence[Piece], rules: Rules) -> None:
        self._engine, self._run, self._pieces, self._rules = engine, run, pieces, rules
        self._folder = engine.folder
        self._rows = sum(piece.rows for piece in pieces)

    def find(self, conflict: Callable[[], None]) -> Found:
        """Which documents copy another one; `conflict` is called where one id has two texts, to tell of it."""
        if self._folder.read(_MARKER) is not None:
            found: Found = read_parcel(self._folder.place(_FOUND))
            return found
        found = nothing_found(self._rows) if self._rules.against_only else self._find(conflict)
        for piece in self._pieces:
            verdicts = bundles.found_of_shard(found, piece.first, piece.rows)
            write_parcel(self._folder.place(verdicts_of(piece)), verdicts)
        write_parcel(self._folder.place(_FOUND), found)
        self._folder.write(_MARKER, "whole")
        return found

    def write(self) -> list[Loss]:
        """Write what stays and what leaves, and say what each source lost."""
        work = WritingWork(self._rules, self._folder)
        sums = self._engine.write(self._run, self._pieces, work, what="documents written")
        return _losses(sums)

    def _find(self, conflict: Callable[[], None]) -> Found:
        for _ in self._engine.fold(
            self._run, self._pieces, Sketching(self._rules, self._folder), what="documents sketched", step="sketch"
        ):
            pass
        copies, firsts, again = self._exact_copies()
        pairs, crowded = self._neighbours(copies)
        shared = self._bundled(copies, firsts, pairs, crowded)
        groups, has_conflict = self._decided(shared, again, pairs)
        if has_conflict:
            conflict()
        return bundles.found_in(groups, self._rows)

    def _exact_copies(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Documents with the text of an earlier one, the first that has it, and rows whose id may stand there twice."""
        ranges = shards.Ranges((IDS, TEXTS), self._ranges)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        again = [np.empty(0, np.int64)]
        items = [(piece, np.empty(0, np.int64)) for piece in self._pieces]
        for group, result in self._meet(ranges, items, MeetingWhole(ranges), "texts"):
            if ranges.name_of(group) == TEXTS:
                found.append(result)
            else:
                again.append(result)
        copies, firsts = shards.all_copies(found)
        return copies, firsts, np.sort(np.concatenate(again))

    def _neighbours(self, copies: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Files of pairs to compare, each once in its file, and the crowded documents, ascending."""
        names = [band_name(band) for band in range(band_count(self._rules.near))]
        ranges = shards.Ranges(names, self._ranges)
        files: dict[int, str] = {}
        crowded = [np.empty(0, np.int64)]
        items = [(piece, _within(copies, piece)) for piece in self._pieces] if names else []
        for group, (path, many) in self._meet(ranges, items, MeetingBands(self._folder), "bands"):
            crowded = [union(crowded[0], many)]
            if path:
                files[group] = path
        return [files[group] for group in sorted(files)], crowded[0]

    def _meet(self, ranges: shards.Ranges, items: Sequence[Any], join: Any, name: str) -> Iterator[tuple[int, Any]]:
        """What comes of each group of keys, as they are done."""
        advance = self._run.begin(f"key ranges of {name}")
        cut = Cutting(ranges, self._folder, name)
        for group, result in self._shuffle(cut, items, join, ranges.groups, name):
            yield group, result
            advance(1)

    def _shuffle(
        self, split: Any, items: Sequence[Any], join: Any, groups: int, name: str
    ) -> Iterator[tuple[int, Any]]:
        return shuffle(self._engine.cluster, split, items, join, groups=groups, folder=self._folder, name=name)

    @property
    def _ranges(self) -> int:
        return -(-self._rows // _RANGE_KEYS)

    def _bundled(
        self, copies: np.ndarray, firsts: np.ndarray, pairs: Sequence[str], crowded: np.ndarray
    ) -> bundles.Shared:
        from pairmine.engines.components import components

        def place(name: str) -> str:
            return self._folder.place(f"components/{name}")

        vertices, labels = components(self._engine.cluster, pairs, place)
        return bundles.bundled(copies, firsts, vertices, labels, crowded, _BUNDLE)

    def _decided(
        self, shared: bundles.Shared, again: np.ndarray, pairs: Sequence[str]
    ) -> tuple[list[bundles.Groups], bool]:
        """What stays of each bundle, and whether one id has two texts."""
        last = int(shared.bundles.max(initial=bundles.CROWD))
        pool = self._engine.cluster
        items: list[Any] = [
            (piece, shared.between(piece.first, piece.first + piece.rows), _within(again, piece))
            for piece in self._pieces
        ]
        items = [item for item in items if len(item[1].rows) or len(item[2])]
        rules = replace(self._rules, against=None)
        split, join = Gathering(rules, pool.share(shared), last + 1), Deciding(rules, last + 1)
        advance = self._run.begin("documents compared", len(shared.rows))
        groups: list[bundles.Groups] = []
        has_conflict = False
        for group, result in self._shuffle(split, _mixed(items, pairs), join, last + 2, "bundles"):
            if group > last:
                has_conflict = result
            else:
                groups.append(result)
                advance(result.documents)
        return groups, has_conflict


def _mixed(some: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """All of both, evenly among each other: neighbours are one task, and those of one kind take longer."""
    each = [(at / len(kind), number, kind[at]) for number, kind in enumerate((some, others)) for at in range(len(kind))]
    return [item for *_, item in sorted(each, key=lambda one: one[:2])]


def dedup_shards(engine: RayEngine, run: Run, source: Source, options: Mapping[str, Any]) -> Any:
    """Write what stays of a corpus and what leaves, as `dedup_scale.Scale.stream` does; `options` are those of `dedup`.

    Once cut, shards are read three times: for their keys, for the words of documents that share some, to be written.
    """
    from pairmine.cli import dedup_scale as scale
    from pairmine.engines.shards import Counts
    from pairmine.files.source import PairSource
    from pairmine.stages.dedup.preference import check_keep

    if isinstance(source, PairSource):
        raise PairmineError(f"{source.name}: is a pair set, and --engine ray dedups a corpus; leave it out")
    scale.check_corpus(source, options)
    source.compares_ids = False
    pieces = engine.pieces(run, source)
    rows = sum(piece.rows for piece in pieces)
    if not rows:
        raise PairmineError(f"{source.name}: no rows in it; a corpus needs at least one, name another")
    if rows > MOST:
        raise PairmineError(f"more than {MOST:,} documents; dedup the corpus in parts that share an --index")
    check_keep(options["keep"], next(iter(read_shard(pieces[0]))).schema)
    whole = ShardedDedup(engine, run, pieces, _rules(options))
    found = whole.find(lambda: scale.compare_ids(source))
    losses = whole.write()
    run.add(Counts(notes=Counter(found.notes)))
    return scale.Streamed([found.choice], found.giants, losses)


def _rules(options: Mapping[str, Any]) -> Rules:
    from pairmine.cli.dedup_scale import near_of

    chosen = {name: options[name] for name in ("exact", "keep", "group", "action", "group_ids", "ids_only")}
    against = options["against"]
    return Rules(
        replace(near, workers=1) if (near := near_of(options)) else None,
        **chosen,
        against=against.quiet() if against is not None else None,
        against_only=options["against_only"],
    )


def _losses(sums: Mapping[str, int]) -> list[Loss]:
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for key, count in sums.items():
        name, *source = json.loads(key)
        found[tuple(source)][name] = count
    return [Loss(column, value, **counts) for (column, value), counts in sorted(found.items())]


def _within(rows: np.ndarray, piece: Piece) -> np.ndarray:
    """Those of the ascending `rows` that are a shard's."""
    return between(rows, piece.first, piece.first + piece.rows)
