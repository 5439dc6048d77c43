"""Vectors are kept: what was embedded once is never embedded again, and nothing stale is ever used.

A store is a folder. Below it, everything that a vector depends on beside its text (weights, prompt, length,
dtype, backend, the type on disk) has a folder of its own, named by a digest of that and described in its
`identity.json`; in there lie shards, each with the digests of texts and their vectors. A shard is never
changed: small ones are written while a run goes on, and put together into larger ones, in the order of the
texts, when a stretch of some ten thousand is done. So a run that is killed loses some seconds of work. Scores
of pairs are kept in folders of the same kind (`scorers.kept`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pairmine.backends.encoders import Encoder, Side, nothing
from pairmine.backends.models import Advance
from pairmine.backends.vectors.codec import VECTOR_TYPES, Codec
from pairmine.backends.vectors.matrix import InMemory, Vectors
from pairmine.backends.vectors.shards import (
    ENDING,
    FORMAT,
    Damaged,
    Rows,
    Shard,
    put_whole,
    sweep,
    sync_folder,
    write_shard,
)
from pairmine.errors import GAVE_UP, PairmineError, code_of
from pairmine.files.locations import cause, tempdir
from pairmine.files.whole import read_whole
from pairmine.versions import check_format

COMMIT_S = 5.0
"""So much work is lost at most when a run is killed."""
_COMMIT_BYTES = 32 << 20
_SHARD_ROWS = 65_536
_SCORE_ROWS = 1 << 20
"""Scores are many and small, and every shard is an open file."""
_SHARD_BYTES = 256 << 20
_WINDOW_CHARACTERS = 32 << 20
_PIECE = 65_536
_GATHERED = 8_192
_MANY_SMALL = 8
_ATTEMPTS = 4
_IDENTITY = "identity.json"
_SAME_MODEL = 0.99
"""The least cosine of two answers of one server for one text; int8 and sums in another order stay well above it."""
VECTORS, SCORES = "vectors", "scores"
"""What a folder of the store may hold; its description says so of scores."""
UNKNOWN_WEIGHTS = "unknown_weights"
"""Stands in the identity of a model of which nobody can say later whether it is the same."""
_NAME = re.compile(r"[0-9a-f]{32}")
_LOCK = ".lock"

_log = logging.getLogger(__name__)
Say = Callable[[str], None]
Made = Iterator[tuple[np.ndarray, np.ndarray]]
"""Some rows at a time, (m,), and what belongs to them, (m, dim) float32."""


class VectorStore:
    """Gives the vectors of texts: from `folder` where they are there, else from the encoder, and then keeps them.

    Without a folder nothing is kept. Vectors lie there as `vector_type`, and are used as they would be read
    back, so that a first and a second run see the same ones. `embedded` and `reused` count distinct
    texts so far. `say` takes lines for people.

    Several processes may use one store at once. Raises PairmineError for a folder that cannot be
    written when something is to be embedded, or that a newer pairmine wrote (exit code 2), and for a full disk (3).
    """

    def __init__(
        self, folder: str | Path | None = None, *, vector_type: str = "float32", say: Say = lambda _: None
    ) -> None:
        if vector_type not in VECTOR_TYPES:
            raise PairmineError(f"--vector-type {vector_type}: choose {', '.join(VECTOR_TYPES)}")
        self.folder = None if folder is None else checked_folder(folder)
        self.vector_type = vector_type
        self.embedded = 0
        self.reused = 0
        self._say = say
        self._shelves: dict[str, Shelf] = {}
        self._unknown: set[str] = set()
        self._served: dict[Encoder, _Served] = {}

    def vectors(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        side: Side,
        advance: Advance = nothing,
        budget_bytes: int | None = None,
    ) -> Vectors:
        """The vectors of `texts` in their order; each distinct text is embedded once.

        A slice of `texts` must be a list; no list of all of them is made. They come as one float32
        matrix in memory where that has at most `budget_bytes`, else they are read from disk a few at a time.
        """
        keys, first, of_text = distinct(texts)
        shelf = self._shelf(encoder, side)
        if shelf is None:
            return self._unkept(encoder, texts, side, advance, budget_bytes, first, of_text)
        found = shelf.find(keys)
        missing = np.flatnonzero(found.shard < 0)
        if getattr(encoder, "may_change", False):
            self._check_unchanged(encoder, shelf, texts, side, first, found)
        advance(len(texts) - len(missing))

        def embed(missing: np.ndarray) -> int:
            windows = _windows(texts, first[missing])
            return sum(shelf.embed(encoder, each.texts, keys[missing[each.numbers]], side, advance) for each in windows)

        found, embedded = shelf.complete(keys, found, embed)
        self.embedded += embedded
        self.reused += max(len(keys) - embedded, 0)
        _log.info(
            "%s: %s of %s texts were embedded before", shelf.folder, f"{len(keys) - embedded:,}", f"{len(keys):,}"
        )
        return _within(StoredVectors(found.of(of_text)), budget_bytes)

    def known(self, encoder: Encoder, texts: Sequence[str], side: Side) -> np.ndarray:
        """Which of `texts` have a vector in the store, or come a second time, (n,) bool."""
        keys, first, _ = distinct(texts)
        known = np.ones(len(texts), bool)
        shelf = self._shelf(encoder, side)
        known[first] = False if shelf is None else shelf.find(keys).shard >= 0
        return known

    def _check_unchanged(
        self, encoder: Encoder, shelf: Shelf, texts: Sequence[str], side: Side, first: np.ndarray, found: Found
    ) -> None:
        """Raise a PairmineError where a server that is known by name alone has another model now.

        One text whose vector is kept from an earlier run is asked for again, once a run, and only in a run that also
        asks for others: old and new vectors would stand beside each other.
        """
        state = self._served.setdefault(encoder, _Served())
        state.asks |= bool((found.shard < 0).any())
        if state.kept is None:
            is_old = np.array([Path(shard.path).name not in shelf.own for shard in found.shards] + [False])
            if len(old := np.flatnonzero(is_old[found.shard])):
                place = int(first[old[0]])
                state.kept = (texts[place : place + 1][0], side, StoredVectors(found.of(old[:1])).block(0, 1)[0])
        if state.is_checked or state.kept is None or not state.asks:
            return
        state.is_checked = True
        text, its_side, vector = state.kept
        again = encoder.encode([text], its_side)[0]
        cosine = float(again @ vector / np.linalg.norm(vector)) if len(again) == len(vector) else 0.0
        if cosine < _SAME_MODEL:
            model, shown = encoder.facts.get("model", "?"), " ".join(text[:40].split())
            raise PairmineError(
                f'{model}: the server gives "{shown}" another vector than the one kept from an earlier run (cosine '
                f"{cosine:.2f}), so another model goes by this name now; name another --store, or remove the old "
                f"vectors with 'pairmine store prune --model {model}'"
            )

    def _shelf(self, encoder: Encoder, side: Side) -> Shelf | None:
        """Where the vectors of this encoder lie; None where none are kept."""
        if self.folder is None:
            return None
        identity = encoder.identity(side)
        model = str(encoder.facts.get("model", "?"))
        if UNKNOWN_WEIGHTS in identity:
            if model not in self._unknown:
                self._say(f"{model}: neither a digest nor a revision of its weights is known; its vectors are not kept")
            self._unknown.add(model)
            return None
        identity = {"type": self.vector_type, "identity": identity}
        name = shelf_name(identity)
        if name not in self._shelves:
            self._shelves[name] = Shelf(self.folder / name, identity, self._say)
        shelf = self._shelves[name]
        shelf.names["sides"].add(side)
        shelf.names["models"].add(model)
        return shelf

    def _unkept(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        side: Side,
        advance: Advance,
        budget_bytes: int | None,
        first: np.ndarray,
        of_text: np.ndarray,
    ) -> Vectors:
        """Vectors of all texts, in memory or in a temporary file that has no name and so goes with the process."""
        self.embedded += len(first)
        advance(len(texts) - len(first))
        made: _Matrix | _Spool | None = None
        for window in _windows(texts, first):
            for rows, vectors in encoder.parts(window.texts, side, advance):
                if made is None:
                    codec = Codec(self.vector_type, vectors.shape[1])
                    fits = budget_bytes is None or len(texts) * codec.dim * 4 <= budget_bytes
                    made = _Matrix(codec, len(texts), first) if fits else _Spool(codec, len(first))
                made.put(window.numbers[rows], vectors)
        return InMemory(np.empty((0, 0), np.float32)) if made is None else made.result(of_text)


@dataclass
class _Served:
    """What is known of a server in this run: a text with its vector of an earlier run, and whether it is asked."""

    kept: tuple[str, Side, np.ndarray] | None = None
    asks: bool = False
    is_checked: bool = False


# --- one folder of vectors ----------------------------------------------------------------------------


@dataclass
class Found:
    """Where keys were found: the number of the shard among `shards`, -1 for none, and the row in it, (n,) each."""

    shards: list[Shard]
    shard: np.ndarray
    row: np.ndarray

    def of(self, numbers: np.ndarray) -> Found:
        """The same for some of the keys."""
        return Found(self.shards, self.shard[numbers], self.row[numbers])


class Shelf:
    """The vectors or scores of one identity, (weights, prompt, ...), in a folder of their own."""

    def __init__(self, folder: Path, identity: dict[str, Any], say: Say) -> None:
        self.folder = folder
        self._shard_rows = _SHARD_ROWS if identity.get("holds", VECTORS) == VECTORS else _SCORE_ROWS
        self.holds: str = identity.get("holds", VECTORS)
        # What goes by these vectors is told to people; they do not depend on it.
        self.names: dict[str, set[str]] = {"models": set(), "sides": set()}
        self._identity = identity
        self._say = say
        self._shards: dict[str, Shard] = {}
        self.own: set[str] = set()  # the shards that this process wrote
        self._last = 0
        self._is_open = False
        read_identity(folder)

    def find(self, keys: np.ndarray) -> Found:
        """Look distinct keys (n, 2) up in the shards that are there now; a damaged one is said and left out."""
        self._look()
        while True:
            found = self._lookup(keys)
            bad = [each for each in np.unique(found.shard[found.shard >= 0]) if not found.shards[each].is_sound]
            if not bad:
                return found
            for each in bad:
                shard = found.shards[each]
                why = f"its {self.holds} do not agree with their checksum; {shard.rows:,} of them"
                self._drop(Path(shard.path), why)

    def _look(self) -> None:
        """Open the shards that came, forget those that went."""
        for _ in range(_ATTEMPTS):
            if self._open_all():
                return

    def _open_all(self) -> bool:
        """Open what is listed in the folder; False where some of it went meanwhile.

        Another process has put that together with others, in a file that may not have been listed yet: whoever took
        its vectors for missing would have them made, and paid for, a second time.
        """
        names = {path.name: path for path in sorted(self.folder.glob(f"[0-9a-f]*{ENDING}"))}
        known = {}
        is_whole = True
        for name, path in names.items():
            try:
                known[name] = self._shards.get(name) or Shard(path)
            except FileNotFoundError:
                is_whole = False
            except OSError as error:
                raise PairmineError(f"{path}: {os.strerror(error.errno or 0).lower()}; mend that") from None
            except Damaged as error:
                self._drop(path, f"{error}; what it held")
        self._shards = known
        return is_whole

    def _drop(self, path: Path, why: str) -> None:
        verb = "embedded" if self.holds == VECTORS else "scored"
        self._say(f"{path}: {why} is {verb} anew".replace("of them is", "of them are"))
        self._shards.pop(path.name, None)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def _lookup(self, keys: np.ndarray) -> Found:
        """From the shard on that was last looked in: a corpus that is read on finds its next texts there."""
        shards = list(self._shards.values())
        shard = np.full(len(keys), -1, np.int32)
        row = np.zeros(len(keys), np.int64)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        needles = keys[order]
        left = len(keys)
        for step in range(len(shards)):
            if not left:
                break
            number = (self._last + step) % len(shards)
            at = match(shards[number].keys, needles)
            rows = np.flatnonzero(at >= 0)
            places = order[at[rows]]
            new = shard[places] < 0
            shard[places[new]] = number
            row[places[new]] = rows[new]
            left = int((shard < 0).sum())
            if not left:
                self._last = number
        return Found(shards, shard, row)

    def open_for_writing(self) -> None:
        """Make the folder and its description; raises PairmineError where that cannot be done."""
        if self._is_open and self.folder.is_dir():
            return
        try:
            _make_private(self.folder.parent)
            self.folder.mkdir(exist_ok=True)
            sweep(self.folder)
            self._describe()
        except OSError as error:
            raise _cannot_write(self.folder.parent, error, self.holds) from None
        self._is_open = True

    def _describe(self) -> None:
        there = read_identity(self.folder)
        names = {what: sorted({*some, *there.get(what, ())}) for what, some in self.names.items()}
        body = {"format": FORMAT, **names, **self._identity}
        text = json.dumps(body, indent=2, ensure_ascii=False, sort_keys=True, default=str) + "\n"
        with put_whole(self.folder / _IDENTITY) as handle:
            handle.write(text.encode("utf-8", "surrogatepass"))
        sync_folder(self.folder.parent)

    def touch(self) -> None:
        """Note that it was used, where it can be noted, and remove what killed runs left there."""
        with contextlib.suppress(OSError):
            sweep(self.folder)
            there = read_identity(self.folder)
            if all(some <= set(there.get(what, ())) for what, some in self.names.items()):
                os.utime(self.folder / _IDENTITY)
            else:
                self._describe()

    def complete(self, keys: np.ndarray, found: Found, write: Callable[[np.ndarray], int]) -> tuple[Found, int]:
        """Where all `keys` are, and how many were made, once `write` has made those that `found` does not have.

        `write` gets their numbers among the keys, and says how many it wrote.
        """
        made = 0
        missing = np.flatnonzero(found.shard < 0)
        for _ in range(_ATTEMPTS):
            if not len(missing):
                break
            self.open_for_writing()
            made += write(missing)
            found = self.find(keys)
            missing = np.flatnonzero(found.shard < 0)
        else:  # somebody removes or damages what was just written
            raise PairmineError(f"{self.folder}: {self.holds} do not stay there; look at that disk", exit_code=GAVE_UP)
        if self.tidy(found):
            found = self.find(keys)
        self.touch()
        return found, made

    def embed(self, encoder: Encoder, texts: list[str], keys: np.ndarray, side: Side, advance: Advance) -> int:
        """Embed `texts`, whose `keys` are (n, 2), write their vectors as they come, and say how many it were."""
        return self.fill(keys, lambda todo: encoder.parts([texts[each] for each in todo], side, advance), advance)

    def fill(self, keys: np.ndarray, make: Callable[[list[int]], Made], advance: Advance) -> int:
        """Write what `make` gives for those of `keys` (n, 2) that are not there yet, and say how many it were.

        `make` gets their numbers, and yields some of them at a time: their places among these, and a row for each.
        """
        self._look()
        found = self._lookup(keys)  # another process may have been here
        todo = np.flatnonzero(found.shard < 0)
        advance(len(keys) - len(todo))
        if not len(todo):
            return 0
        writer = _Writer(self, keys[todo])
        try:
            for rows, vectors in make(todo.tolist()):
                writer.add(rows, vectors)
            writer.finish()
        except BaseException:
            writer.save()
            raise
        return len(todo)

    def codec(self, dim: int) -> Codec:
        """How vectors of `dim` are packed here; raises PairmineError where others lie."""
        if others := {shard.codec.dim for shard in self._shards.values()} - {dim}:
            raise _another_dim(self.folder, dim, min(others))
        return Codec(self._identity["type"], dim)

    def write(self, codec: Codec, keys: np.ndarray, pieces: Iterator[np.ndarray]) -> Shard:
        """Write a shard and open it."""
        try:
            try:
                path = write_shard(self.folder, codec, keys, pieces)
            except FileNotFoundError:  # somebody removed the folder
                self._is_open = False
                self.open_for_writing()
                raise _removed(self.folder) from None
            shard = Shard(path)
        except OSError as error:
            raise _cannot_write(self.folder.parent, error, self.holds, is_in_use=True) from None
        self._shards[path.name] = shard
        self.own.add(path.name)
        return shard

    def merge(self, found: Found, keys: np.ndarray) -> None:
        """Put rows of some shards, in this order, into new large ones, and remove the old."""
        codec = found.shards[0].codec
        step = max(min(self._shard_rows, _SHARD_BYTES // codec.row_bytes), 1)
        rows = np.arange(len(keys))
        for start in range(0, len(keys), step):
            some = rows[start : start + step]
            self.write(codec, keys[some], gathered(found.of(some)))
        self.remove(found.shards)

    def remove(self, shards: Sequence[Shard]) -> None:
        """Remove shards whose rows stand elsewhere; whoever reads them has them open."""
        for shard in shards:
            path = Path(shard.path)
            self._shards.pop(path.name, None)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def tidy(self, found: Found) -> bool:
        """Put small shards together where there are many, the rows in the order of `found`; whether it was done.

        They come from runs that were killed, and from corpora that grow a little at a time. One process
        at a time does it, and it is no harm if none can.
        """
        if sum(map(self._is_small, self._shards.values())) < _MANY_SMALL:
            return False
        with contextlib.suppress(OSError, PairmineError), (self.folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            small = [shard for shard in self._shards.values() if self._is_small(shard) and shard.is_sound]
            large = [shard for shard in self._shards.values() if not self._is_small(shard)]
            gathering = _in_order(small, large, found)
            keys = np.concatenate([shard.keys for shard in small])
            starts = np.cumsum([0, *(shard.rows for shard in small)])
            self.merge(gathering, keys[starts[gathering.shard] + gathering.row])
            return True
        return False

    def _is_small(self, shard: Shard) -> bool:
        return shard.rows < self._shard_rows // 4 and shard.bytes < _SHARD_BYTES // 4


def _in_order(small: list[Shard], large: list[Shard], found: Found) -> Found:
    """The rows of `small`, each key once and none of `large`, those of `found` first."""
    numbers = {str(shard.path): number for number, shard in enumerate(small)}
    of_found = np.array([numbers.get(str(shard.path), -1) for shard in found.shards], np.int64)
    used = np.flatnonzero(of_found[found.shard] >= 0)
    first = np.stack([of_found[found.shard[used]], found.row[used]], axis=1)
    every = [np.stack([np.full(shard.rows, number), np.arange(shard.rows)], 1) for number, shard in enumerate(small)]
    rows = np.concatenate([first, *every])
    starts = np.cumsum([0, *(shard.rows for shard in small)])
    keys = np.concatenate([shard.keys for shard in small])[starts[rows[:, 0]] + rows[:, 1]]
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    # The sort is stable, so the first of equal keys is the first in `rows`.
    ahead = np.append(True, (np.diff(keys[order], axis=0) != 0).any(axis=1)) if len(order) else np.empty(0, bool)
    is_wanted = np.zeros(len(rows), bool)
    is_wanted[order[ahead]] = True
    kept = np.sort(order[ahead])
    for shard in large:
        at = match(shard.keys, keys[order[ahead]])
        is_wanted[order[ahead][at[at >= 0]]] = False
    kept = kept[is_wanted[kept]]
    return Found(small, rows[kept, 0], rows[kept, 1])


class _Writer:
    """Takes the vectors of a stretch of texts in any order and writes them, small shards at first."""

    def __init__(self, shelf: Shelf, keys: np.ndarray) -> None:
        self._shelf = shelf
        self._keys = keys
        self._codec: Codec | None = None
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._bytes = 0
        self._since = time.monotonic()
        self._written: list[tuple[Shard, np.ndarray]] = []
        self._is_broken = False

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Take some vectors in, and write what came when it is time."""
        dim = vectors.shape[1]
        if self._codec is None:
            self._codec = self._shelf.codec(dim)
        if dim != self._codec.dim:
            raise _another_dim(self._shelf.folder, dim, self._codec.dim)
        packed = self._codec.pack(vectors)
        self._pending.append((np.asarray(rows, np.int64), packed))
        self._bytes += packed.nbytes
        if self._bytes >= _COMMIT_BYTES or time.monotonic() - self._since >= COMMIT_S:
            self._commit()

    def save(self) -> None:
        """Write what is ready before an error or an interrupt goes on its way."""
        if not self._is_broken:
            with contextlib.suppress(PairmineError):
                self._commit()

    def finish(self) -> None:
        """Write the rest, and put everything together in the order of the texts."""
        self._commit()
        if len(self._written) < 2:
            return
        shards = [shard for shard, _ in self._written]
        number = np.concatenate([np.full(len(rows), at) for at, (_, rows) in enumerate(self._written)])
        row = np.concatenate([np.arange(len(rows)) for _, rows in self._written])
        order = np.argsort(np.concatenate([rows for _, rows in self._written]))
        places = np.concatenate([rows for _, rows in self._written])[order]
        self._shelf.merge(Found(shards, number[order], row[order]), self._keys[places])

    def _commit(self) -> None:
        if not self._pending:
            return
        assert self._codec is not None
        pending = list(self._pending)
        rows = np.concatenate([rows for rows, _ in pending])
        packed = np.concatenate([packed for _, packed in pending])
        order = np.argsort(rows)
        try:
            shard = self._shelf.write(self._codec, self._keys[rows[order]], _pieces(packed, order))
        except PairmineError:
            self._is_broken = True
            raise
        self._written.append((shard, rows[order]))
        del self._pending[: len(pending)]
        self._bytes = 0
        self._since = time.monotonic()


def _pieces(packed: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(order), _GATHERED):
        yield packed[order[start : start + _GATHERED]]


def gathered(found: Found) -> Iterator[np.ndarray]:
    """The packed rows of `found` in its order, (m, row_bytes) uint8, some thousand at a time."""
    for start in range(0, len(found.row), _GATHERED):
        yield _gather(found.of(np.arange(start, min(start + _GATHERED, len(found.row)))))


def _gather(found: Found) -> np.ndarray:
    if len(found.shard) and (found.shard == found.shard[0]).all():
        return found.shards[found.shard[0]].take(found.row)
    rows = np.empty((len(found.row), found.shards[0].codec.row_bytes), np.uint8)
    for number in np.unique(found.shard):
        at = np.flatnonzero(found.shard == number)
        rows[at] = found.shards[number].take(found.row[at])
    return rows


# --- vectors as they are read -------------------------------------------------------------------------


class StoredVectors:
    """Vectors that lie in shards, read from disk whenever they are asked for; peak memory is what is asked for."""

    def __init__(self, found: Found) -> None:
        used = np.unique(found.shard)
        number = np.searchsorted(used, found.shard).astype(np.uint16 if len(used) < 1 << 16 else np.int32)
        self._found = Found([found.shards[each] for each in used], number, found.row.astype(np.int32))
        dims = {shard.codec.dim for shard in self._found.shards}
        if len(dims) > 1:
            raise _another_dim(Path(self._found.shards[0].path).parent, *sorted(dims)[:2])
        self.dim = dims.pop() if dims else 0

    def __len__(self) -> int:
        return len(self._found.row)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Those at `places`, (n, dim) float32."""
        return self._read(self._found.of(places))

    def block(self, start: int, stop: int) -> np.ndarray:
        """Neighbours, (stop - start, dim) float32."""
        some = slice(start, stop)
        return self._read(Found(self._found.shards, self._found.shard[some], self._found.row[some]))

    def _read(self, found: Found) -> np.ndarray:
        if not len(found.row):
            return np.empty((0, self.dim), np.float32)
        codec = found.shards[0].codec
        if codec.kind == "float32" and _is_run(found):
            return codec.unpack(_gather(found))
        vectors = np.empty((len(found.row), self.dim), np.float32)
        for start in range(0, len(vectors), _GATHERED):
            some = slice(start, start + _GATHERED)
            vectors[some] = codec.unpack(_gather(Found(found.shards, found.shard[some], found.row[some])))
        return vectors


def _is_run(found: Found) -> bool:
    row = found.row
    return bool(
        found.shard[0] == found.shard[-1]
        and int(row[-1]) - int(row[0]) == len(row) - 1
        and (found.shard == found.shard[0]).all()
        and (np.diff(row) == 1).all()
    )


def _within(vectors: StoredVectors, budget_bytes: int | None) -> Vectors:
    """`vectors` as a matrix in memory where that fits."""
    size = 4 * vectors.dim * len(vectors)
    if budget_bytes is not None and size > budget_bytes:
        return vectors
    matrix = np.empty((len(vectors), vectors.dim), np.float32)
    for start in range(0, len(vectors), _GATHERED):
        matrix[start : start + _GATHERED] = vectors.block(start, min(start + _GATHERED, len(vectors)))
    return InMemory(matrix)


class _Matrix:
    """All vectors in memory; a text that comes again gets a copy."""

    def __init__(self, codec: Codec, texts: int, first: np.ndarray) -> None:
        self._codec = codec
        self._first = first
        self._matrix = np.empty((texts, codec.dim), np.float32)

    def put(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Take the vectors of some distinct texts."""
        self._matrix[self._first[numbers]] = self._codec.unpack(self._codec.pack(vectors))

    def result(self, of_text: np.ndarray) -> Vectors:
        """All of them."""
        is_again = np.ones(len(of_text), bool)
        is_again[self._first] = False
        again = np.flatnonzero(is_again)
        for start in range(0, len(again), _GATHERED):
            some = again[start : start + _GATHERED]
            self._matrix[some] = self._matrix[self._first[of_text[some]]]
        return InMemory(self._matrix)


class _Spool:
    """All vectors in a temporary file without a name."""

    def __init__(self, codec: Codec, texts: int) -> None:
        self._codec = codec
        self._texts = texts
        self._folder = tempdir()
        try:
            with tempfile.TemporaryFile(prefix="pairmine-", buffering=0) as handle:
                self._rows = Rows(Path(self._folder), os.dup(handle.fileno()), 0, codec.row_bytes)
        except OSError as error:
            raise self._full(cause(error)) from None
        need, free = texts * codec.row_bytes, shutil.disk_usage(self._folder).free
        if need > free:
            raise self._full(f"{need / 1e9:,.1f} GB of vectors are to be put there, and {free / 1e9:,.1f} GB are free")

    def put(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Take the vectors of some distinct texts."""
        try:
            self._rows.write(numbers, self._codec.pack(vectors))
        except OSError as error:
            raise self._full(os.strerror(error.errno or 0).lower()) from None

    def _full(self, why: str) -> PairmineError:
        remedy = "name another folder in TMPDIR, or keep vectors with --store PATH"
        return PairmineError(f"{self._folder}: {why}; {remedy}", exit_code=GAVE_UP)

    def result(self, of_text: np.ndarray) -> Vectors:
        """All of them, read from the file."""
        return _Spooled(self._codec, self._rows, of_text)


class _Spooled:
    """Vectors in a temporary file; `of_text` is the row of each."""

    def __init__(self, codec: Codec, rows: Rows, of_text: np.ndarray) -> None:
        self.dim = codec.dim
        self._codec = codec
        self._rows = rows
        self._of_text = of_text

    def __len__(self) -> int:
        return len(self._of_text)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Those at `places`, (n, dim) float32."""
        return self._codec.unpack(self._rows.take(self._of_text[places]))

    def block(self, start: int, stop: int) -> np.ndarray:
        """Neighbours, (stop - start, dim) float32."""
        return self._codec.unpack(self._rows.take(self._of_text[start:stop]))


# --- texts and their keys -----------------------------------------------------------------------------


def distinct(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct texts in the order in which they first come.

    (m, 2) uint64 halves of their BLAKE2b digests, (m,) the first place of each, and for each text its number, (n,).
    """
    parts = []
    for start in range(0, len(texts), _PIECE):
        piece = texts[start : start + _PIECE]
        digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in piece)
        parts.append(np.frombuffer(digests, "<u8").reshape(-1, 2))
    return distinct_keys(np.concatenate(parts) if parts else np.empty((0, 2), np.uint64))


def distinct_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for digests that are there: the distinct of `keys` (n, 2), where they first come, the number of each."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    is_new = np.ones(len(keys), bool)
    for start in range(1, len(keys), _PIECE):
        here, before = order[start : start + _PIECE], order[start - 1 : start - 1 + _PIECE]
        is_new[start : start + _PIECE] = (keys[here] != keys[before[: len(here)]]).any(axis=1)
    if is_new.all():
        every = np.arange(len(keys))
        return keys, every, every
    starts = order[is_new]  # the sort is stable, so the first place of each
    first = np.sort(starts)
    of_text = np.empty(len(keys), np.int64)
    of_text[order] = np.searchsorted(first, starts)[np.cumsum(is_new) - 1]
    return keys[first], first, of_text


def match(keys: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The place of each of `keys` (n, 2) in `among` (m, 2), which are sorted and distinct, -1 where it is not there."""
    found = np.full(len(keys), -1, np.int64)
    if not len(among):
        return found
    at = np.searchsorted(among[:, 0], keys[:, 0])
    rows = np.arange(len(keys))
    while len(rows):
        rows = rows[at[rows] < len(among)]
        rows = rows[among[at[rows], 0] == keys[rows, 0]]
        is_it = among[at[rows], 1] == keys[rows, 1]
        found[rows[is_it]] = at[rows[is_it]]
        rows = rows[~is_it]
        at[rows] += 1
    return found


@dataclass
class _Window:
    """Some texts, and the number of each among those that are wanted, (n,)."""

    numbers: np.ndarray
    texts: list[str]


def _windows(texts: Sequence[str], places: np.ndarray) -> Iterator[_Window]:
    """The texts at `places`, which rise, in stretches of a shard's length and a bounded number of characters."""
    taken: list[str] = []
    start = size = 0
    pieces = np.searchsorted(places, np.arange(0, len(texts) + _PIECE, _PIECE))
    for number, (low, high) in enumerate(pairwise(pieces.tolist())):
        if low == high:
            continue
        piece = texts[number * _PIECE : (number + 1) * _PIECE]
        for place in (places[low:high] - number * _PIECE).tolist():
            text = piece[place]
            taken.append(text)
            size += len(text)
            if len(taken) >= _SHARD_ROWS or size >= _WINDOW_CHARACTERS:
                yield _Window(np.arange(start, start + len(taken)), taken)
                start, size, taken = start + len(taken), 0, []
    if taken:
        yield _Window(np.arange(start, start + len(taken)), taken)


# --- the store as users see it ------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """The vectors or scores of one identity as a list of them shows it; `used` is in seconds since 1970.

    `model` is what their model was called, several names parted by commas where it had several.
    """

    folder: Path
    holds: str
    model: str
    prompt: str
    sides: tuple[str, ...]
    vector_type: str
    dim: int
    rows: int
    bytes: int
    used: int
    identity: dict[str, Any]


def kept_in(folder: str | Path) -> list[Kept]:
    """What the store in `folder` holds, by model and prompt. Raises PairmineError where there is none."""
    root = Path(folder)
    if not root.is_dir():
        raise PairmineError(
            f"{folder}: nothing is kept there; 'pairmine embed', 'mine' and 'score' keep, or name another with --store"
        )
    found = []
    for each in sorted(root.iterdir()):
        if not (_NAME.fullmatch(each.name) and (each / _IDENTITY).is_file()):
            continue
        body = read_identity(each)
        rows = size = dim = 0
        for path in each.glob(f"*{ENDING}"):
            with contextlib.suppress(OSError, Damaged):
                shard = Shard(path)
                rows, size, dim = rows + shard.rows, size + shard.bytes, shard.codec.dim
        identity = body.get("identity", {})
        found.append(
            Kept(
                each,
                str(body.get("holds", VECTORS)),
                ", ".join(body.get("models", ())) or "?",
                str(identity.get("prompt") or ""),
                tuple(body.get("sides", ())),
                str(body.get("type", "?")),
                dim,
                rows,
                size,
                int((each / _IDENTITY).stat().st_mtime),
                identity,
            )
        )
    return sorted(found, key=lambda kept: (kept.model, kept.prompt, kept.vector_type, kept.folder.name))


def remove(kept: Kept) -> None:
    """Remove these vectors or scores for good; files that are not the store's own stay."""
    try:
        for path in [*kept.folder.glob(f"*{ENDING}"), *kept.folder.glob(".*.partial"), kept.folder / _LOCK]:
            path.unlink(missing_ok=True)
        (kept.folder / _IDENTITY).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            kept.folder.rmdir()
    except OSError as error:
        raise _cannot_write(kept.folder.parent, error, kept.holds) from None


def read_identity(folder: Path) -> dict[str, Any]:
    """What describes the vectors in `folder`, nothing where it is not there or torn; a newer format is refused."""
    try:
        body = json.loads(read_whole(folder / _IDENTITY))
        check_format(body["format"], FORMAT, str(folder), ", or name another --store")
        return dict(body) if all(_is_shaped(name, value) for name, value in body.items()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


_LISTS, _OBJECTS = ("models", "sides"), ("identity",)


def _is_shaped(name: str, value: Any) -> bool:
    """Whether a value of a description is of the kind that stands there."""
    if name in _LISTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, dict) if name in _OBJECTS else True


def shelf_name(identity: dict[str, Any]) -> str:
    """The name of the folder for what has this identity."""
    return blake2b(_canonical(identity).encode(), digest_size=16).hexdigest()


def _canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


# --- errors -------------------------------------------------------------------------------------------


def _make_private(store: Path) -> None:
    """Make the store's folder where there is none, for its user alone: what is embedded can be guessed from vectors.

    One that is there keeps its permissions, as those of a folder that a team shares.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        store.mkdir(0o700)


def checked_folder(folder: str | Path) -> Path:
    """`folder` as a path; raises PairmineError where it is a file."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise PairmineError(f"{folder}: is a file; name a folder with --store, or none")
    return path


def _cannot_write(folder: Path, error: OSError, holds: str, *, is_in_use: bool = False) -> PairmineError:
    why = os.strerror(error.errno).lower() if error.errno else str(error)
    if is_in_use or code_of(error) == GAVE_UP:
        return PairmineError(
            f"{folder}: {why}; the {holds} that are there are safe, mend that and run the same command again",
            exit_code=GAVE_UP,
        )
    return PairmineError(f"{folder}: {holds} cannot be kept there ({why}); name another --store, or none")


def _removed(folder: Path) -> PairmineError:
    return PairmineError(f"{folder}: was removed by somebody; run the same command again", exit_code=GAVE_UP)


def _another_dim(folder: Path, one: int, other: int) -> PairmineError:
    return PairmineError(
        f"{folder}: vectors of {one} and of {other} dimensions under one name of a model; "
        "remove them with 'pairmine store prune', or name another --store"
    )
