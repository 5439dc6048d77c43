"""Each document once: ids numbered in the order in which they first come, through all chunks of an export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError

Run = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Numbered:
    """`number` (n,) int64 is the number of each row's id from 0; `first` the rows whose id was not there before."""

    number: np.ndarray
    first: np.ndarray


class Once:
    """Remembers ids by their digests, 16 bytes each, so that a document is written once whatever the chunks.

    Digests lie in sorted runs of growing size, as in `pairmine.files.seen`. An id has 64 bits: a chance
    collision among 100 million has a probability of 0.0003. A text has 32, so that another text under the
    same id is noticed.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._runs: list[Run] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ids: pa.Array, texts: pa.Array, codes: np.ndarray) -> Numbered:
        """Number the `ids` (n,) whose texts are ``texts[codes]``; raises PairmineError for an id with two texts."""
        encoded = ids.dictionary_encode()
        code = encoded.indices.to_numpy()
        first = np.unique(code, return_index=True)[1]
        differ = np.flatnonzero(codes != codes[first][code])
        for row in differ.tolist():
            if texts[codes[row]] != texts[codes[first[code[row]]]]:
                raise self._two_texts(ids[row].as_py())
        keys = _digests(encoded.dictionary)
        values = _digests(texts.take(pa.array(codes[first]))).astype(np.uint32)
        number, known = self._look_up(keys, values, encoded.dictionary)
        fresh = np.flatnonzero(~known)
        number[fresh] = self._count + np.arange(len(fresh))
        self._keep(keys[fresh], values[fresh], number[fresh].astype(np.uint32))
        self._count += len(fresh)
        return Numbered(number[code], first[fresh])

    def _look_up(self, keys: np.ndarray, values: np.ndarray, ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        number, known = np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        for run_keys, run_values, run_numbers in self._runs:
            at = np.minimum(np.searchsorted(run_keys, keys), len(run_keys) - 1)
            hit = run_keys[at] == keys
            if (differ := np.flatnonzero(hit & (run_values[at] != values))).size:
                raise self._two_texts(ids[int(differ[0])].as_py())
            number[hit] = run_numbers[at[hit]]
            known |= hit
        return number, known

    def _two_texts(self, one: str) -> PairmineError:
        return PairmineError(
            f'{self._what} "{one}" has two texts, and this format writes each {self._what} once; '
            f"give every text an id of its own ('pairmine mix' does so for sets of several sources)"
        )

    def _keep(self, keys: np.ndarray, values: np.ndarray, numbers: np.ndarray) -> None:
        if not len(keys):
            return
        run = _sorted(keys, values, numbers)
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            last = self._runs.pop()
            run = _sorted(*(np.concatenate(parts) for parts in zip(last, run, strict=True)))
        self._runs.append(run)


def _digests(values: pa.Array) -> np.ndarray:
    return np.fromiter(map(hash, values.to_pylist()), np.int64, len(values))


def _sorted(keys: np.ndarray, values: np.ndarray, numbers: np.ndarray) -> Run:
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order], numbers[order]
