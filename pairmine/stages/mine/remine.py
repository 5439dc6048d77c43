"""Mining anew with another model: what its candidates have in common with those of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND, Retriever
from pairmine.errors import PairmineError
from pairmine.stages.mine.candidates import Candidates
from pairmine.stages.mine.masks import Masks
from pairmine.stages.mine.overlap import _percent, _share, _table
from pairmine.stages.mine.texts import Documents, Queries

DEPTHS = (10, 50, 100)
_SHOWN_QUERIES = 5
# A negative has become easy where its cosine times the first is below what it was, and it is below the second: the
# rule by which Conan-embedding replaces its negatives (Li et al. 2024, arXiv 2408.15710), there for their mean.
EASED_FACTOR, EASED_BELOW = 1.15, 0.8
_TALLIES = (
    *("_shift", "_rho", "_kept", "_in_place", "_rho_queries", "_new"),
    *("_negatives", "_still_hard", "_eased"),
)


@dataclass
class Old:
    """Rows of an earlier mined set that could be found again, by query and then by place.

    `key` is ``query * width + place``, `rank` the rank that they had, `negative` whether a filter made them
    negatives, `score` their score then, NaN where there is none.
    """

    key: np.ndarray
    rank: np.ndarray
    negative: np.ndarray
    score: np.ndarray


class Since:
    """The candidates of this run beside those of `old`, an earlier mined set of the same queries.

    Rows of `old` count that have a rank and are no positives. Those that this run cannot find, as their document is
    not searched any more or is masked now, say nothing about the model and are counted apart.

    `where` names `old` in errors. Raises PairmineError where it is no mined set.
    """

    def __init__(self, old: pa.Table, *, where: str = "the earlier set") -> None:
        self._where = where
        missing = [name for name in ("query_id", "doc_id", "rank") if name not in old.column_names]
        if missing:
            raise PairmineError(
                f'{where}: no "{missing[0]}" (found: {", ".join(old.column_names)}); '
                "--since takes what an earlier 'pairmine mine' wrote"
            )
        is_mined = pc.is_valid(old["rank"])
        if "label" in old.column_names:
            is_mined = pc.and_(is_mined, pc.not_equal(pc.fill_null(old["label"], schema.NEGATIVE), schema.POSITIVE))
        self._old = old.filter(is_mined)
        if not self._old.num_rows:
            raise PairmineError(f"{where}: has no mined rows; --since takes what an earlier 'pairmine mine' wrote")
        self._rows = Old(*(np.empty(0, kind) for kind in (np.int64, np.int64, bool, np.float32)))
        self._width = 1
        self._is_asked = np.empty(0, bool)
        self._scorer: Retriever | None = None
        self._counts: dict[str, int] = {}
        self._depths: tuple[int, ...] = ()
        self._depth = 0
        self._at: dict[int, np.ndarray] = {}
        self._shift = self._rho = 0.0
        self._kept = self._in_place = self._rho_queries = self._new = 0
        self._negatives = self._still_hard = self._eased = 0
        self._most_changed: list[tuple[float, int]] = []
        self._is_whole = True
        self._query_ids: pa.Array = pa.array([], pa.string())

    def prepare(
        self, queries: Queries, documents: Documents, masks: Masks, retrievers: Sequence[Retriever], depth: int
    ) -> None:
        """Find the old rows among `queries` and `documents`; `depth` is the last rank of this run's lists."""
        old, self._depth, self._width = self._old, depth, masks.width
        self._query_ids = queries.ids
        query = _numbers(old["query_id"], queries.ids)
        place = _places(old["doc_id"], documents.ids)
        if not (query != NOT_FOUND).any() and len(queries):
            shown = pc.unique(old["query_id"])[0]
            raise PairmineError(
                f'{self._where}: has none of the pair set\'s queries, its first is "{shown}"; '
                "--since takes an earlier run on the same queries"
            )
        known, searched = query != NOT_FOUND, place != NOT_FOUND
        masked = np.zeros(len(query), bool)
        here = np.flatnonzero(known & searched)
        masked[here] = masks.find(query[here], place[here, None])[:, 0] != NOT_FOUND
        self._counts = {
            "of queries that are not mined now": int((~known).sum()),
            "of documents that are not searched now": int((known & ~searched).sum()),
            "masked now": int(masked.sum()),
        }
        free = np.flatnonzero(known & searched & ~masked)
        if len(queries) and not len(free):
            raise PairmineError(
                f"{self._where}: none of its {old.num_rows:,} mined rows can be found again "
                f"({', '.join(f'{count:,} {what}' for what, count in self._counts.items() if count)}); "
                "mine the pairs as they were before that run, from the same corpus"
            )
        self._scorer = next((each for each in retrievers if self._compares(each)), None)
        self._settle(query, place, free)
        self._is_asked = np.zeros(len(queries), bool)
        self._is_asked[query[known]] = True
        last = int(self._rows.rank.max(initial=0))
        self._depths = tuple(k for k in DEPTHS if k <= min(depth, last)) or (min(depth, max(last, 1)),)
        self._at = {k: np.zeros(3, np.int64) for k in self._depths}

    def blank(self) -> Since:
        """One that compares with the same rows and has counted nothing."""
        other = copy(self)
        for name in _TALLIES:
            setattr(other, name, type(getattr(self, name))())
        other._at = {k: np.zeros_like(counts) for k, counts in self._at.items()}
        other._most_changed = []
        return other

    def tallies(self) -> dict[str, Any]:
        """All that was counted, for `add_tallies`."""
        return {name: getattr(self, name) for name in (*_TALLIES, "_at", "_most_changed")}

    def add_tallies(self, found: Mapping[str, Any]) -> None:
        """Add what was counted elsewhere, of queries behind those that were counted so far."""
        for name in _TALLIES:
            setattr(self, name, getattr(self, name) + found[name])
        for k, counts in found["_at"].items():
            self._at[k] += counts
        self._most_changed = sorted(self._most_changed + found["_most_changed"])[:_SHOWN_QUERIES]

    def _compares(self, retriever: Retriever) -> bool:
        """Whether a cosine of this retriever can be held against one of the earlier run."""
        name = schema.SCORE_PREFIX + retriever.score
        return retriever.scale == "cosine" and name in self._old.column_names

    def _settle(self, query: np.ndarray, place: np.ndarray, rows: np.ndarray) -> None:
        """Keep `rows` of the old set as arrays; where a document came twice, its best rank."""
        taken = self._old.take(pa.array(rows))
        rank = schema.cast_column(taken["rank"], pa.int64(), "rank").to_numpy()
        negative = np.zeros(len(rows), bool)
        if "label" in taken.column_names:
            negative = pc.is_valid(taken["label"]).to_numpy()
        score = np.full(len(rows), np.nan, np.float32)
        if self._scorer is not None:
            column = taken[schema.SCORE_PREFIX + self._scorer.score]
            score = pc.fill_null(column.cast(pa.float32()), np.nan).to_numpy()
        key = query[rows] * self._width + place[rows]
        order = np.lexsort((rank, key))
        order = order[np.append(True, key[order][1:] != key[order][:-1])] if len(order) else order
        self._rows = Old(key[order], rank[order], negative[order], score[order])
        self._is_whole = not negative.any()
        self._old = self._old.slice(0, 0)

    def add(self, found: Candidates, first: int, last: int) -> np.ndarray:
        """Compare a block, the queries `first` to `last`; gives the rank that each candidate had, 0 where it is new."""
        low, high = np.searchsorted(self._rows.key, [first * self._width, last * self._width])
        old = Old(*(part[low:high] for part in vars(self._rows).values()))
        keys = found.query * self._width + found.place
        at = np.searchsorted(old.key, keys)
        matches = np.zeros(len(keys), bool)
        inside = at < len(old.key)
        matches[inside] = old.key[at[inside]] == keys[inside]
        previous = np.zeros(len(keys), np.int32)
        previous[matches] = old.rank[at[matches]]
        now = np.zeros(len(old.key), np.int64)
        now[at[matches]] = found.rank[matches]
        asked = self._is_asked[found.query]
        self._new += int((asked & ~matches).sum())
        for k, counts in self._at.items():
            was, still = old.rank <= k, (now > 0) & (now <= k)
            counts += [was.sum(), (asked & (found.rank <= k)).sum(), (was & still).sum()]
        self._note_ranks(old, now)
        self._note_negatives(old, now)
        self._note_queries(old, now)
        return previous

    def _note_ranks(self, old: Old, now: np.ndarray) -> None:
        """How far the ranks of those found again have moved, and how far they stand in the same order."""
        kept = np.flatnonzero(now > 0)
        self._kept += len(kept)
        self._shift += float(np.abs(now[kept] - old.rank[kept]).sum())
        self._in_place += int((now[kept] == old.rank[kept]).sum())
        query = old.key[kept] // self._width
        owners, start, count = np.unique(query, return_index=True, return_counts=True)
        squares = (_order(query, old.rank[kept], start, count) - _order(query, now[kept], start, count)) ** 2
        several = np.flatnonzero(count > 1)
        sums = np.add.reduceat(squares, start) if len(owners) else squares
        size = count[several].astype(float)
        self._rho += float((1 - 6 * sums[several] / (size * (size**2 - 1))).sum())
        self._rho_queries += len(several)

    def _note_negatives(self, old: Old, now: np.ndarray) -> None:
        negatives = np.flatnonzero(old.negative)
        self._negatives += len(negatives)
        self._still_hard += int((now[negatives] > 0).sum())
        if self._scorer is None or not len(negatives):
            return
        query, place = np.divmod(old.key[negatives], self._width)
        score = self._scorer.pair_scores(query, place)
        self._eased += int(((score * EASED_FACTOR < old.score[negatives]) & (score < EASED_BELOW)).sum())

    def _note_queries(self, old: Old, now: np.ndarray) -> None:
        """Remember the queries that lost most of their candidates, up to the greatest depth compared."""
        k = self._depths[-1]
        was = old.rank <= k
        query = old.key[was] // self._width
        owners, start, count = np.unique(query, return_index=True, return_counts=True)
        if not len(owners):
            return
        stayed = np.add.reduceat(((now[was] > 0) & (now[was] <= k)).astype(np.int64), start)
        shares = stayed / count
        worst = np.lexsort((owners, shares))[:_SHOWN_QUERIES]
        changed = [(float(shares[at]), int(owners[at])) for at in worst if shares[at] < 1]
        self._most_changed = sorted(self._most_changed + changed)[:_SHOWN_QUERIES]

    def facts(self) -> dict[str, Any]:
        """All counts, for JSON."""
        facts: dict[str, Any] = {
            "compared": len(self._rows.key),
            "left_out": {what: count for what, count in self._counts.items() if count},
            "depth": self._depth,
            "at": {
                str(k): {"old": int(old), "now": int(new), "both": int(both), "kept": _share(both, old)}
                for k, (old, new, both) in self._at.items()
            },
            "kept": self._kept,
            "gone": len(self._rows.key) - self._kept,
            "new": self._new,
            "at_the_same_rank": self._in_place,
            "mean_rank_shift": round(self._shift / self._kept, 4) if self._kept else None,
            "spearman": round(self._rho / self._rho_queries, 4) if self._rho_queries else None,
        }
        if self._negatives:
            facts["negatives"] = {"old": self._negatives, "still_hard": self._still_hard}
            if self._scorer is not None:
                facts["negatives"]["eased"] = self._eased
        facts["most_changed"] = [
            {"query_id": self._query_ids[query].as_py(), "kept": round(share, 4)} for share, query in self._most_changed
        ]
        return facts

    def lines(self) -> list[str]:
        """The same for people."""
        facts = self.facts()
        compared = facts["compared"]
        lines = [f"since {self._where}: {compared:,} of its candidates can be found again"]
        lines += [f"  left out: {count:,} {what}" for what, count in facts["left_out"].items()]
        if facts["at_the_same_rank"] == compared and not (facts["new"] and self._is_whole):
            return [*lines, "  nothing changed: they are the same, at the same ranks"]
        # Where a filter picked negatives out of a list, what it left out is not known from what is new.
        rows = [["of the first", "kept", "gone"] + ["new"] * self._is_whole]
        for k, at in facts["at"].items():
            kept, gone = _percent(at["both"], at["old"]), _percent(at["old"] - at["both"], at["old"])
            rows.append([k, kept, gone] + [_percent(at["now"] - at["both"], at["now"])] * self._is_whole)
        lines += _table(rows)
        if facts["kept"]:
            rho = "" if facts["spearman"] is None else f", Spearman's rho {facts['spearman']:.2f}"
            lines.append(
                f"  {facts['kept']:,} were found again, {facts['mean_rank_shift']:.1f} ranks away on average{rho}"
            )
        if negatives := facts.get("negatives"):
            still = _percent(negatives["still_hard"], negatives["old"])
            lines.append(
                f"  {negatives['still_hard']:,} of its {negatives['old']:,} negatives ({still}) are still among the "
                f"first {self._depth}"
            )
            if "eased" in negatives:
                lines.append(
                    f"  {negatives['eased']:,} have become easy (cosine x {EASED_FACTOR:g} below what it was, "
                    f"and below {EASED_BELOW:g})"
                )
        if changed := facts["most_changed"]:
            shown = ", ".join(f"{one['query_id']} ({one['kept']:.0%})" for one in changed)
            lines.append(f"  queries that kept least: {shown}")
        return lines


def _order(query: np.ndarray, rank: np.ndarray, start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The place of each row among those of its query by `rank`, from 0; equal ranks in the order of the rows."""
    order = np.lexsort((rank, query))
    places = np.empty(len(query), np.int64)
    places[order] = np.arange(len(query)) - np.repeat(start, count)
    return places


def _numbers(names: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """The number of each name among the `known` ones, -1 where it is none."""
    found = pc.index_in(names.cast(pa.string()), value_set=known, skip_nulls=True)
    return np.asarray(pc.fill_null(found, NOT_FOUND).to_numpy()).astype(np.int64)


def _places(names: pa.ChunkedArray, ids: pa.Array) -> np.ndarray:
    """As `_numbers`, with a table of `names` instead of the `ids`, which may be millions."""
    few = pc.unique(names.cast(pa.string()))
    at = pc.index_in(ids, value_set=few, skip_nulls=True)
    places = np.full(len(few), NOT_FOUND, np.int64)
    rows = np.flatnonzero(pc.is_valid(at).to_numpy(zero_copy_only=False))
    places[at.take(pa.array(rows)).to_numpy()] = rows
    return places[_numbers(names, few)]
