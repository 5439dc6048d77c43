"""Runs: ranked lists of documents that some search has written, in TREC's format and its relatives."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.files.locations import Shard, line_shard
from pairmine.files.raw import line_blocks

_COLUMNS = {
    6: ("query", "_q0", "document", "rank", "score", "_tag"),
    5: ("query", "_q0", "document", "rank", "score"),
    4: ("query", "document", "rank", "score"),
    3: ("query", "document", "score"),
}
_USED = ("query", "document", "rank", "score")
_FORMS = '"query Q0 document rank score tag", "query document score" or "query document rank"'
_SNIFFED_BYTES = 1 << 20
_BLOCK_BYTES = 32 << 20
_BOM = b"\xef\xbb\xbf"
_PIECE_LINES = 100_000
_LONGEST_RANK = 18
# So many lines are held before those beyond the bound are dropped.
_HELD_LINES = 20_000_000


@dataclass(frozen=True)
class Bound:
    """What of a run is kept: of each query its best `most` (queries,), and single pairs (n,) however deep they are."""

    most: np.ndarray
    pair_queries: np.ndarray
    pair_places: np.ndarray


@dataclass
class RunLists:
    """The lists of the wanted queries, one behind the other, each best first.

    `starts` (queries + 1,) is where each begins; `places` (n,) int64 and `scores` (n,) float32. `by_rank` says that the
    run has ranks alone, and scores are their reciprocals. The counts are of lines, but for `disagreeing`, which counts
    queries whose ranks are in another order than their scores.
    """

    starts: np.ndarray
    places: np.ndarray
    scores: np.ndarray
    sha256: str
    by_rank: bool
    lines: int = 0
    disagreeing: int = 0
    twice: int = 0
    unknown_queries: int = 0
    unknown_documents: int = 0
    first_unknown: dict[str, str] = field(default_factory=dict)


def read_run(
    path: str, query_ids: pa.Array, ids: pa.Array, places: np.ndarray, *, bound: Bound | None = None
) -> RunLists:
    """The lists that the run at `path` has for `query_ids`, of documents among `ids` (m,), whose places are `places`.

    Lists are ordered as trec_eval does, by score; equal scores by rank, and then as the lines stand. A document that
    is listed twice for a query counts where it is first. Blanks or tabs stand between the columns.

    Raises PairmineError for a line that does not fit, or a run that shares no query or no document with what is given.
    """
    shard = line_shard(path)
    form = _Form.of(shard)
    try:
        lists = _Collected(query_ids, ids, places, bound)
        for block in _fast(shard, form) if form.delimiter else _slow(shard, form):
            lists.add(block)
    except pa.ArrowInvalid:
        lists = _Collected(query_ids, ids, places, bound)
        for block in _slow(shard, form):
            lists.add(block)
    found = lists.finished(form.by_rank, _digest(shard))
    _check_shared(shard.name, found, query_ids, ids)
    return found


def _check_shared(name: str, found: RunLists, query_ids: pa.Array, ids: pa.Array) -> None:
    if not found.lines:
        raise PairmineError(f"{name}: no lines in it; write each line as {_FORMS}")
    if len(found.places):
        return
    for what, given, unknown in (
        ("queries", query_ids, found.unknown_queries == found.lines),
        ("documents", ids, True),
    ):
        if unknown and len(given):
            its = found.first_unknown.get(what, "")
            raise PairmineError(
                f'{name}: none of its {what} are known: it has "{its}", and known is "{given[0]}"; '
                "ids in a run must be those of the pair set and the corpus"
            )


@dataclass(frozen=True)
class _Form:
    """How a run is written: its columns, what stands between them ("" for any blanks), whether scores are ranks."""

    columns: tuple[str, ...]
    delimiter: str
    by_rank: bool
    first_rank: int

    @classmethod
    def of(cls, shard: Shard) -> _Form:
        """By its first lines."""
        with _readable(shard), shard.open() as handle:
            head = handle.read(_SNIFFED_BYTES)
        head = head.removeprefix(_BOM)
        is_cut = len(head) + len(_BOM) >= _SNIFFED_BYTES
        lines = [line for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
        if is_cut:
            lines = lines[:-1]
        if not lines:
            raise PairmineError(f"{shard.name}: no lines in it; write each line as {_FORMS}")
        first = lines[0].split()
        columns = _COLUMNS.get(len(first))
        if columns is None:
            raise PairmineError(f"{shard.name}:1: {len(first)} columns ({lines[0][:60]}); write each line as {_FORMS}")
        delimiter = next((char for char in " \t" if lines[0].split(char) == first), "")
        if len(first) == 4 and _are_judgements(lines):
            raise PairmineError(
                f'{shard.name}: looks like judgements ("query 0 document grade"), which --known takes; '
                f"write each line as {_FORMS}"
            )
        first_rank = _first_rank(_whole_queries(lines) if is_cut else lines) if len(first) == 3 else None
        return cls(columns, delimiter, first_rank is not None, first_rank or 0)


def _are_judgements(lines: list[str]) -> bool:
    """Whether a query has several lines that all have 0 or Q0 where the document stands."""
    heads = [tuple(line.split()[:2]) for line in lines]
    return {head[1] for head in heads if len(head) == 2} <= {"0", "Q0"} and len(set(heads)) < len(heads)


def _whole_queries(lines: list[str]) -> list[str]:
    """The lines without those of the last query, whose list may go on."""
    last = lines[-1].split()[:1]
    return [line for line in lines if line.split()[:1] != last] or lines


def _first_rank(lines: list[str]) -> int | None:
    """0 or 1 where the third column counts up from there for each query, None where it is a score."""
    numbers = defaultdict(list)
    for fields in (line.split() for line in lines):
        if len(fields) != 3 or not fields[2].isdecimal() or len(fields[2]) > _LONGEST_RANK:
            return None
        numbers[fields[0]].append(int(fields[2]))
    for first in (1, 0):
        if all(sorted(own) == list(range(first, first + len(own))) for own in numbers.values()):
            return first
    return None


@dataclass(frozen=True)
class _Block:
    """Some lines: ids (n,) as text, (n,) float64 ranks and scores. Ranks count up where a run has none."""

    queries: pa.Array
    documents: pa.Array
    ranks: np.ndarray
    scores: np.ndarray


def _block(form: _Form, shard: Shard, columns: dict[str, pa.Array], before: int) -> _Block:
    given = [name for name in ("rank", "score") if name in columns]
    numbers = {name: columns[name].to_numpy(zero_copy_only=False) for name in given}
    count = len(columns["query"])
    scores = numbers["score"]
    if not np.isfinite(scores).all():
        line = before + int(np.flatnonzero(~np.isfinite(scores))[0]) + 1
        raise PairmineError(f"{shard.name}: line {line}: a score that is no finite number; mend or remove the line")
    ranks = numbers.get("rank", np.arange(before, before + count, dtype=np.float64))
    if form.by_rank:
        if (odd := np.flatnonzero((scores < form.first_rank) | (scores != np.floor(scores)))).size:
            line, shown = before + int(odd[0]) + 1, scores[odd[0]]
            raise PairmineError(f"{shard.name}: line {line}: {shown:g} is no rank, and lines before it have ranks")
        ranks, scores = scores, 1 / (scores + 1 - form.first_rank)
    return _Block(columns["query"], columns["document"], ranks, scores)


def _fast(shard: Shard, form: _Form) -> Iterator[_Block]:
    """The lines of a run with one delimiter; raises ArrowInvalid for one that does not fit."""
    from pyarrow import csv

    types = {name: pa.float64() if name in ("rank", "score") else pa.string() for name in form.columns}
    options = {
        "read_options": csv.ReadOptions(column_names=list(form.columns), block_size=_BLOCK_BYTES),
        "parse_options": csv.ParseOptions(delimiter=form.delimiter, quote_char=False, double_quote=False),
        "convert_options": csv.ConvertOptions(
            column_types=types,
            include_columns=[name for name in form.columns if name in _USED],
            null_values=[],
            strings_can_be_null=False,
        ),
    }
    before = 0
    with _readable(shard), shard.open() as handle, csv.open_csv(handle, **options) as reader:
        for batch in reader:
            yield _block(form, shard, dict(zip(batch.schema.names, batch.columns, strict=True)), before)
            before += batch.num_rows


def _slow(shard: Shard, form: _Form) -> Iterator[_Block]:
    """The lines of any run; raises PairmineError for one that does not fit."""
    rows: dict[str, list[object]] = {name: [] for name in form.columns}
    before = 0
    with _readable(shard), shard.open() as handle:
        numbered = ((first + at, line) for first, block in line_blocks(shard, handle) for at, line in enumerate(block))
        for number, line in numbered:
            fields = line.split()
            if not fields:
                continue
            if len(fields) != len(form.columns):
                what = f"{len(fields)} columns, and the first line has {len(form.columns)}"
                raise PairmineError(f"{shard.name}:{number}: {what}; write each line as {_FORMS}")
            for name, value in zip(form.columns, fields, strict=True):
                rows[name].append(_value(shard, number, name, value))
            if len(rows["query"]) == _PIECE_LINES:
                yield _block(form, shard, _arrays(rows), before)
                before += _PIECE_LINES
                rows = {name: [] for name in form.columns}
    if rows["query"]:
        yield _block(form, shard, _arrays(rows), before)


def _arrays(rows: dict[str, list[object]]) -> dict[str, pa.Array]:
    return {name: pa.array(values) for name, values in rows.items() if name in _USED}


def _value(shard: Shard, number: int, name: str, value: bytes) -> object:
    try:
        return float(value) if name in ("rank", "score") else value.decode()
    except ValueError:
        what = "is no number" if name in ("rank", "score") else "is not UTF-8"
        shown = value.decode("utf-8", "replace")[:40]
        where = f'{shard.name}:{number}: the {name} "{shown}"'
        raise PairmineError(f"{where} {what}; write each line as {_FORMS}") from None


class _readable:
    """Makes one line of a file that cannot be read or unpacked."""

    def __init__(self, shard: Shard) -> None:
        self._name = shard.name

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | EOFError):
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise PairmineError(f"{self._name}: cannot be read ({reason})") from None


class _Collected:
    """The lines that are wanted, in the order in which they come."""

    def __init__(self, query_ids: pa.Array, ids: pa.Array, places: np.ndarray, bound: Bound | None) -> None:
        self._query_ids = query_ids.cast(pa.string())
        self._ids = ids
        self._places = places
        self._width = int(places.max(initial=0)) + 1
        self._bound = bound
        self._pinned = np.empty(0, np.int64)
        if bound is not None:
            self._pinned = distinct(bound.pair_queries * self._width + bound.pair_places)
        self._held: list[list[np.ndarray]] = [[], [], [], []]
        small = max(self._width, len(query_ids)) <= np.iinfo(np.int32).max
        number = np.int32 if small else np.int64
        self._kinds = (number, number, np.float64, np.float64)
        self._count = self._twice = 0
        self._lines = self._unknown_queries = self._unknown_documents = 0
        self._first_unknown: dict[str, str] = {}

    def add(self, block: _Block) -> None:
        """Take what is wanted of some lines."""
        count = len(block.queries)
        queries = _numbers(block.queries, self._query_ids)
        known = np.flatnonzero(queries >= 0)
        self._note("queries", block.queries, queries)
        documents = np.full(count, -1)
        documents[known] = _numbers(block.documents.take(pa.array(known)), self._ids)
        self._note("documents", block.documents.take(pa.array(known)), documents[known])
        self._lines += count
        self._unknown_queries += count - len(known)
        rows = np.flatnonzero(documents >= 0)
        self._unknown_documents += len(known) - len(rows)
        kept = (queries[rows], self._places[documents[rows]], block.scores[rows], block.ranks[rows])
        for column, values, kind in zip(self._held, kept, self._kinds, strict=True):
            column.append(values.astype(kind))
        self._count += len(rows)
        if self._bound is not None and self._count > _HELD_LINES:
            self._held = [[column] for column in self._ordered()]
            self._count = len(self._held[0][0])

    def _note(self, what: str, ids: pa.Array, numbers: np.ndarray) -> None:
        if what not in self._first_unknown and (unknown := np.flatnonzero(numbers < 0)).size:
            self._first_unknown[what] = str(ids[int(unknown[0])])

    def finished(self, by_rank: bool, sha256: str) -> RunLists:
        """The lists."""
        queries, places, scores, ranks = self._ordered()
        starts = np.searchsorted(queries, np.arange(len(self._query_ids) + 1, dtype=queries.dtype))
        backwards = np.flatnonzero((ranks[1:] < ranks[:-1]) & (queries[1:] == queries[:-1]))
        return RunLists(
            starts,
            places.astype(np.int64),
            scores.astype(np.float32),
            sha256,
            by_rank,
            lines=self._lines,
            disagreeing=len(distinct(queries[backwards])),
            twice=self._twice,
            unknown_queries=self._unknown_queries,
            unknown_documents=self._unknown_documents,
            first_unknown=self._first_unknown,
        )

    def _ordered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What is held in the order of the lists, each pair once, within the bound."""
        joined: list[Any] = []
        for column, kind in zip(self._held, self._kinds, strict=True):
            joined.append(np.concatenate(column) if column else np.empty(0, kind))
            column.clear()  # a run of 100 million lines is here once, not twice
        order = np.lexsort((joined[3], -joined[2], joined[0]))
        for number in range(len(joined)):
            joined[number] = joined[number][order]
        del order
        queries, places, scores, ranks = joined
        keys = queries.astype(np.int64) * self._width + places
        kept = np.ones(len(keys), bool)
        ordered = np.sort(keys)
        if (ordered[1:] == ordered[:-1]).any():
            kept[:] = False
            kept[np.unique(keys, return_index=True)[1]] = True
        del ordered
        self._twice += len(keys) - int(kept.sum())
        if self._bound is not None:
            nth = np.cumsum(kept)
            starts = np.searchsorted(queries, queries)
            nth -= np.append(0, nth)[starts]
            kept &= (nth <= self._bound.most[queries]) | np.isin(keys, self._pinned)
        return queries[kept], places[kept], scores[kept], ranks[kept]


def _numbers(ids: pa.Array, known: pa.Array) -> np.ndarray:
    """The number of each id among the known ones, -1 for others."""
    found = pc.fill_null(pc.index_in(ids.cast(known.type), value_set=known), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False)).astype(np.int64)


def _digest(shard: Shard) -> str:
    if shard.filesystem is not None:
        return ""
    with open(shard.path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
