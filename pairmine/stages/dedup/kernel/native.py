"""The compiled path: what `plain`, `candidates` and `verify` do by numpy, in machine code and in threads.

To import this loads nothing; `load` does. Use it by way of `compiled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pairmine.stages.dedup.kernel import machine_code, minhash, tables
from pairmine.stages.dedup.kernel.looks import Look, Sighting
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.stages.dedup.kernel.slices import EXACT, Plan, Sketches, Slice

_OWN = Path(__file__).parent
SOURCES = [
    *(_OWN / f"compiled_{name}.py" for name in ("words", "texts", "pairs", "scan")),
    *(_OWN / f"{name}.py" for name in ("hashes", "tables", "minhash", "slices", "looks")),
    *(_OWN.parents[2] / f"{name}.py" for name in ("tokens", "identity")),
]
"""What the machine code is made from."""

_ROOM = 1024
_SORTED = 4096
"""Hashes of a text that are sorted by buckets at most; a power of two."""


def load(*, may_compile: bool = True) -> bool:
    """Load the machine code, and compile it where there is none yet; whether it is there.

    Raises ImportError without llvmlite, or without numba where there is something to compile.
    """
    global _library
    with _one_at_a_time:
        if _library is None:
            _library = machine_code.kept(SOURCES)
        if _library is None and may_compile:
            from pairmine.stages.dedup.kernel.compiled_pairs import count_shared, repeated
            from pairmine.stages.dedup.kernel.compiled_scan import scan
            from pairmine.stages.dedup.kernel.compiled_texts import read, sketch
            from pairmine.stages.dedup.kernel.compiled_words import mark_uneven

            _library = machine_code.keep(SOURCES, [mark_uneven, sketch, read, scan, repeated, count_shared])
        return _library is not None


_library: machine_code.Library | None = None
_one_at_a_time = Lock()


def _code() -> machine_code.Library:
    assert _library is not None, "load() comes first"
    return _library


def is_loaded() -> bool:
    """Whether nothing is left to wait for."""
    return _library is not None


def uneven(texts: Slice) -> np.ndarray:
    """See `slices.Engine`."""
    known = tables.letters()
    while True:
        found = np.zeros(len(texts), bool)
        wanted = np.zeros(tables.CODES, bool)
        _code().mark_uneven(texts.data, texts.offsets, known.folded, known.order, found, wanted)
        # Where another thread has just filled these entries, what was found before is as stale as where this one does.
        if not wanted.any():
            return found
        known.fill(np.flatnonzero(wanted))


def sketch(texts: Slice, plan: Plan, out: Sketches) -> None:
    """See `slices.Engine`."""
    bands = plan.bands or minhash.Bands.drawn(0, 1, 0)
    minima, state, room = np.empty(len(bands.scale), np.uint32), np.zeros(2, np.int64), _ROOM
    while state[0] < len(texts):
        room = max(room, int(state[1]))
        words, characters = _working_room(room, plan)
        _code().sketch(
            *_about(texts, plan), plan.shingle, bands.scale, bands.shift, bands.factors, texts.place,
            words, characters, minima, state, out.exact, out.keys, out.shingles, out.words,
        )  # fmt: skip


def read(texts: Slice, plan: Plan) -> Texts:
    """See `slices.Engine`."""
    state, room, members = np.zeros(3, np.int64), _ROOM, len(texts.data) // 4 + 16
    set_ends, bag_ends = np.zeros(len(texts) + 1, np.int64), np.zeros(len(texts) + 1, np.int64)
    sets, bags = np.empty(members, np.uint64), np.empty(members, np.uint64)
    spare, ends = np.empty(_SORTED, np.uint64), np.empty(_SORTED + 1, np.int64)
    while state[0] < len(texts):
        room = max(room, int(state[1]))
        if state[2] > len(sets):
            members = max(2 * members, int(state[2]))
            sets, bags = _larger(sets, set_ends[state[0]], members), _larger(bags, bag_ends[state[0]], members)
        words, characters = _working_room(room, plan)
        _code().read(
            *_about(texts, plan), plan.shingle, words, characters, spare, ends, state, sets, set_ends, bags, bag_ends
        )  # fmt: skip
    return Texts(Ragged(sets[: set_ends[-1]].copy(), set_ends), Ragged(bags[: bag_ends[-1]].copy(), bag_ends))


def scan(texts: Slice, by_character: bool, looks: Sequence[Look]) -> tuple[np.ndarray, list[Sighting]]:
    """See `scan.Scan`."""
    lengths = np.array([look.length for look in looks], np.int64)
    of_members = np.array([look.of_members and by_character for look in looks], np.int64)
    sizes = np.array([len(look.bits) for look in looks], np.int64)
    bits = np.concatenate([np.empty(0, np.uint64), *(look.bits for look in looks)])
    whole, state, room = np.zeros(len(texts), np.uint64), np.zeros(4, np.int64), _ROOM
    of, where, hashes = np.empty(_ROOM, np.int64), np.empty(_ROOM, np.int64), np.empty(_ROOM, np.uint64)
    plan = Plan("words", by_character, np.empty(0, np.uint64), None)
    while state[0] < len(texts):
        room = max(room, int(state[1]))
        if state[2] > len(of):
            most, filled = max(2 * len(of), int(state[2])), state[3]
            of, where, hashes = (_larger(each, filled, most) for each in (of, where, hashes))
        words, characters = _working_room(room, plan)
        _code().scan(
            *_about(texts, plan), lengths, of_members, bits, sizes, words, characters, state, whole, of, where, hashes
        )
    found = [np.flatnonzero(of[: state[3]] == look) for look in range(len(looks))]
    return whole, [Sighting(where[some], hashes[some]) for some in found]


def repeated(keys: np.ndarray) -> np.ndarray:
    """The positions, ascending int64, of all keys (n,) uint64 that occur more than once, and of a few others."""
    bits = max(3, (8 * len(keys) - 1).bit_length())
    once, twice = np.zeros(1 << (bits - 3), np.uint8), np.zeros(1 << (bits - 3), np.uint8)
    found = np.empty(len(keys), np.int64)
    return found[: _code().repeated(keys, bits, once, twice, found)]


def count_shared(sets: Ragged, left: np.ndarray, right: np.ndarray, least: np.ndarray, shared: np.ndarray) -> None:
    """Fill `shared` for each pair of sets: how many members they share, -1 where they cannot share `least`."""
    _code().count_shared(sets.values, sets.offsets, left, right, least, shared)


def _about(texts: Slice, plan: Plan) -> tuple[Any, ...]:
    known = tables.letters()
    return (
        texts.data, texts.offsets, texts.own, known.folded, known.own, known.more,
        EXACT.index(plan.exact), plan.by_character,
    )  # fmt: skip


def _working_room(room: int, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """For the words and the characters of one text."""
    return np.empty(room, np.uint64), np.empty(room if plan.by_character else 0, np.uint64)


def _larger(values: np.ndarray, filled: int, room: int) -> np.ndarray:
    found = np.empty(room, values.dtype)
    found[:filled] = values[:filled]
    return found
