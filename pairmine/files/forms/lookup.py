"""Texts by their ids, for layouts that keep queries and documents in files of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.files.columns import listed
from pairmine.files.forms.group import Row
from pairmine.files.forms.notes import Notes
from pairmine.files.forms.rows import BROKEN, Batch
from pairmine.files.forms.values import kind, with_title
from pairmine.files.seen import SeenIds
from pairmine.files.text_pool import TextPool

_LIMIT_BYTES = 256 << 20


@dataclass(frozen=True)
class Names:
    """The columns of a file of texts: the first of each that a row has is taken, and a title goes before its text."""

    id: tuple[str, ...]
    text: tuple[str, ...] = ("text",)
    title: bool = False


class Lookup:
    """Texts by id, 16 bytes for each id in memory; the texts lie in a file once they are many.

    What is wrong with the file is noted while it is read. Of one id that comes again the first text is taken.
    """

    def __init__(self, batches: Iterable[Batch], names: Names, notes: Notes) -> None:
        self._pool = TextPool(_LIMIT_BYTES)
        seen = SeenIds()
        keys: list[np.ndarray] = []
        for batch in batches:
            ids, texts = _pairs_in(batch, names, notes)
            repeated = seen.add([each for each, _ in ids]).repeated
            for at in np.flatnonzero(repeated).tolist():
                notes.add("duplicate-ids", ids[at][1], f'"{ids[at][0]}" stands above')
            keys.append(np.fromiter((hash(each) for each, _ in ids), np.int64, len(ids)))
            self._pool.append(pa.chunked_array([pa.array(texts, pa.large_string())]))
            notes.among("duplicate-ids", len(batch.rows), f"{batch.unit}s")
        found = np.concatenate([np.empty(0, np.int64), *keys])
        self._keys, self._rows = np.unique(found, return_index=True)

    def __len__(self) -> int:
        return len(self._keys)

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """The text of each id, None where there is none."""
        if not len(self._keys) or not ids:
            return [None] * len(ids)
        keys = np.fromiter(map(hash, ids), np.int64, len(ids))
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found = np.flatnonzero(self._keys[at] == keys)
        texts: list[str | None] = [None] * len(ids)
        for place, text in zip(found.tolist(), self._pool.take(self._rows[at[found]]).to_pylist(), strict=True):
            texts[place] = text
        return texts


def _pairs_in(batch: Batch, names: Names, notes: Notes) -> tuple[list[tuple[str, str]], list[str]]:
    """The ids of a batch, each with its place, and their texts."""
    ids: list[tuple[str, str]] = []
    texts: list[str] = []
    for at, row in enumerate(batch.rows):
        if row is BROKEN:
            continue
        found = _first(row, names.id)
        text = _first(row, names.text)
        place = batch.place(at)
        if found is None or found == "" or not isinstance(found, str | int):
            notes.add("missing-field", place, f'no "{names.id[0]}" (found: {listed(list(row))})')
            continue
        if text is None:
            notes.add("missing-field", place, f'no "{names.text[0]}" (found: {listed(list(row))})')
        elif not isinstance(text, str):
            notes.add("not-text", place, f'"{names.text[0]}" is {kind(text)}')
        ids.append((str(found), place))
        whole = with_title(row.get("title") if names.title else None, text if isinstance(text, str) else "")
        texts.append(whole or "")
    return ids, texts


def _first(row: Row, names: Sequence[str]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)
