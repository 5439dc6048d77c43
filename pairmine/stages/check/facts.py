"""What is kept of every row, so that tests over the whole set need no second reading: some 40 bytes each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.check.chunk import Chunk, id_keys

NONE = -1
MOST_SPLITS = 100
"""A column with more values tells no splits (ours)."""


@dataclass(frozen=True)
class Facts:
    """The n rows of a pair set in whole numbers; things with one number are the same, `NONE` is no thing.

    `query` and `doc` (n,) are the ids, `asked` and `told` the texts of both sides, numbered together, `source` the
    document that the row's pair was cut from, numbered as `doc`. `run` (n,) counts the stretches of one query and
    text; the base of an id is that before "#2", which `mix` writes.
    """

    label: np.ndarray
    run: np.ndarray
    query: np.ndarray
    base: np.ndarray
    doc: np.ndarray
    asked: np.ndarray
    told: np.ndarray
    source: np.ndarray | None
    batch: np.ndarray | None
    split: np.ndarray | None
    split_names: list[str]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def positive(self) -> np.ndarray:
        """(n,) bool."""
        found: np.ndarray = self.label == POSITIVE
        return found

    @property
    def negative(self) -> np.ndarray:
        """(n,) bool."""
        found: np.ndarray = self.label == NEGATIVE
        return found

    @property
    def blank(self) -> np.ndarray:
        """Rows without a text on a side where others have one, (n,) bool."""
        found: np.ndarray = np.zeros(len(self), bool)
        for side in (self.asked, self.told):
            if (side != NONE).any():
                found |= side == NONE
        return found


class Keeper:
    """Gathers `Facts` chunk by chunk."""

    def __init__(self, *, with_splits: bool = True) -> None:
        self._with_splits = with_splits
        self._parts: dict[str, list[np.ndarray]] = {}
        self._runs = 0
        self._splits: dict[str, int] = {}

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk."""
        self._keep("label", chunk.label)
        self._keep("doc", chunk.doc_ids)
        self._keep("told", chunk.told)
        self._keep_runs(chunk)
        if "source_id" in chunk.pairs.column_names:
            self._keep("source", id_keys(chunk.pairs["source_id"]))
        batch = chunk.numbers("batch")
        if batch is not None:
            self._keep("batch", np.nan_to_num(batch, nan=NONE).astype(np.int64))
        if self._with_splits and "split" in chunk.pairs.column_names:
            self._keep("split", self._split_codes(chunk.pairs["split"]))

    def ends(self) -> tuple[int, int] | None:
        """The queries of the first and the last row, as keys of their ids; None without rows."""
        parts = [each for each in self._parts.get("run_query", []) if len(each)]
        return (int(parts[0][0]), int(parts[-1][-1])) if parts else None

    def merge(self, later: Keeper) -> None:
        """Take in the rows that follow."""
        codes = np.array([*map(self._split_code, later._splits), NONE], np.int16)
        moved = {"run": lambda runs: runs + np.int32(self._runs), "split": lambda splits: codes[splits]}
        for name, parts in later._parts.items():
            for values in parts:
                self._keep(name, moved[name](values) if name in moved else values)
        self._runs += later._runs

    def _keep(self, name: str, values: np.ndarray) -> None:
        self._parts.setdefault(name, []).append(values)

    def _keep_runs(self, chunk: Chunk) -> None:
        """The stretches of one query id and text, of each its ids and text, of each row its number."""
        starts = np.ones(len(chunk), bool)
        starts[1:] = (np.diff(chunk.query_ids) != 0) | (np.diff(chunk.asked) != 0)
        at = np.flatnonzero(starts)
        self._keep("run", (np.cumsum(starts) - 1 + self._runs).astype(np.int32))
        self._keep("run_query", chunk.query_ids[at])
        self._keep("run_asked", chunk.asked[at])
        ids = chunk.pairs["query_id"].take(pa.array(at)).cast(pa.large_string())
        self._keep("run_base", id_keys(pc.replace_substring_regex(ids, r"#\d+$", "")))
        self._runs += len(at)

    def _split_codes(self, column: pa.ChunkedArray) -> np.ndarray:
        try:
            encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
        except pa.ArrowNotImplementedError:
            raise PairmineError(f'the column "split" holds {column.type}; the name of a split is a text') from None
        codes = [self._split_code(name) for name in encoded.dictionary.to_pylist()]
        places = encoded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
        return np.array([*codes, NONE], np.int16)[places]

    def _split_code(self, name: str) -> int:
        code = self._splits.setdefault(name, len(self._splits))
        if code >= MOST_SPLITS:
            raise PairmineError(
                f'the column "split" names over {MOST_SPLITS} splits, as "{next(iter(self._splits))}"; '
                "name it otherwise if it is none, or pass --skip straddling"
            )
        return code

    def facts(self) -> Facts:
        """The facts of all rows; what was kept for them is let go of."""
        take = self._take
        run, run_query, run_base, run_asked = take("run"), take("run_query"), take("run_base"), take("run_asked")
        queries = _codes(run_query)
        bases = _codes(run_base)
        told, asked = _together(take("told"), run_asked)
        docs, sources = take("doc"), take("source") if "source" in self._parts else None
        source = None
        if sources is None:
            doc = _codes(docs)
        else:
            doc, source = _together(docs, sources)
        return Facts(
            label=take("label"),
            run=run,
            query=queries[run] if len(run) else queries,
            base=bases[run] if len(run) else bases,
            doc=doc,
            asked=asked[run] if len(run) else asked,
            told=told,
            source=source,
            batch=take("batch") if "batch" in self._parts else None,
            split=take("split") if "split" in self._parts else None,
            split_names=list(self._splits),
        )

    def _take(self, name: str) -> np.ndarray:
        parts = self._parts.pop(name, [np.empty(0, np.int64)])
        return np.concatenate(parts)


def _codes(keys: np.ndarray) -> np.ndarray:
    """A number for each distinct key, (n,) int32; `NONE` for the key 0."""
    distinct, codes = np.unique(keys, return_inverse=True)
    if len(distinct) and distinct[0] == 0:
        codes = codes - 1
    return codes.astype(np.int32)


def _together(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = _codes(np.concatenate([one, other]))
    return codes[: len(one)], codes[len(one) :]


def joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One number for each pair of numbers below 2^31, (n,) int64."""
    packed: np.ndarray = one.astype(np.int64) << 32 | other.astype(np.int64) & 0xFFFFFFFF
    return packed
