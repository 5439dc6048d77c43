"""What is decided of each row: the reason it leaves with, or what is to be said of a row that stays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


class Verdicts:
    """The reason of each rejected row: that of the first rule which fired."""

    def __init__(self, rows: int) -> None:
        self._reasons: dict[str, int] = {}
        self._code = np.zeros(rows, np.int32)

    @property
    def alive(self) -> np.ndarray:
        return self._code == 0

    def reject(self, rows: np.ndarray, reason: str) -> None:
        """Reject `rows`, given by number or as a mask, unless an earlier rule did."""
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        at = at[self._code[at] == 0]
        if len(at):
            self._code[at] = self._reasons.setdefault(reason, len(self._reasons) + 1)

    def take_back(self, rows: np.ndarray) -> None:
        """Let `rows`, given by number or as a mask, stay after all."""
        self._code[rows] = 0

    def reasons(self) -> pa.Array:
        """The reasons of the rejected rows, in row order."""
        codes = self._code[self._code > 0] - 1
        return pa.array(list(self._reasons), pa.string()).take(pa.array(codes))


class Remarks:
    """What is to be said of rows that stay, in the column `decision`; several remarks on one row follow each other."""

    def __init__(self, rows: int) -> None:
        self._texts: dict[str, int] = {"": 0}
        self._code = np.zeros(rows, np.int32)

    def add(self, rows: np.ndarray, text: str) -> None:
        """Say `text` of `rows`, given by number or as a mask."""
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        said = list(self._texts)
        codes = np.arange(len(said), dtype=np.int32)
        for code in np.flatnonzero(np.bincount(self._code[at], minlength=len(said))):
            longer = f"{said[code]}; {text}" if said[code] else text
            codes[code] = self._texts.setdefault(longer, len(self._texts))
        self._code[at] = codes[self._code[at]]

    def of(self, rows: np.ndarray) -> pa.Array:
        """What is said of each of `rows`, null where that is nothing; -1 is a row that nobody spoke of."""
        codes = np.where(rows < 0, 0, self._code[np.maximum(rows, 0)]) if len(self._code) else np.zeros(len(rows), int)
        return pa.array([None, *list(self._texts)[1:]], pa.string()).take(pa.array(codes))
