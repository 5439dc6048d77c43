"""The keys of documents as a bounded dedup keeps them: of ids, of whole texts, of each band."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.identity import NO_TEXT
from pairmine.stages.dedup.bounds import Keys
from pairmine.stages.dedup.kernel import exact_keys, read_column, sketch
from pairmine.stages.dedup.kernel.hashes import mixed, powers
from pairmine.stages.dedup.kernel.minhash import Bands, band_keys, banding
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.stages.dedup.matches import Near

KEYS = 1
"""The version of all keys and sets: others mean another thing by the same number."""


def band_count(near: Near | None) -> int:
    """How many bands there are; none where only exact copies are looked for."""
    return banding(near.threshold, near.permutations)[0] if near else 0


def band_name(band: int) -> str:
    """Under which name the keys of a band lie."""
    return f"band-{band:03d}"


def keys_of(
    ids: pa.Array, texts: pa.ChunkedArray, gone: np.ndarray, first: int, *, near: Near | None, exact: str, workers: int
) -> dict[str, Keys]:
    """The keys of some documents, `first` of which stand before them, by name, with the row of each.

    A blank text has no key, one without a shingle none in any band, and one at the places `gone` none but its id's.
    All are mixed, so that they are evenly spread.
    """
    rows = np.arange(first, first + len(ids), dtype=np.uint32)
    found = sketch(texts, near, exact=exact) if near else None
    of_text = found.exact if found else exact_keys(texts, exact, workers=workers)
    stays = np.ones(len(rows), bool)
    stays[gone] = False
    has_text = stays & (of_text != NO_TEXT)
    keys = {"id": (hashed(ids), rows), "exact": (mixed(of_text[has_text]), rows[has_text])}
    if found is None:
        return keys
    has_shingles = stays & (found.shingles > 0)
    shingled = rows[has_shingles]
    for band, of_band in enumerate(found.keys):
        keys[band_name(band)] = mixed(of_band[has_shingles]), shingled
    return keys


def hashed(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A hash of each text's bytes, (n,) uint64; there are no nulls."""
    whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    whole = whole.cast(pa.large_string())
    if not len(whole):
        return np.empty(0, np.uint64)
    ends = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = np.frombuffer(whole.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    sizes, ends = np.diff(ends), ends - ends[0]
    place = np.arange(len(data)) - np.repeat(ends[:-1], sizes)
    terms = (data.astype(np.uint64) + np.uint64(1)) * powers(_BASE, int(sizes.max()))[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    return mixed(sums[ends[1:]] - sums[ends[:-1]])


_BASE = 0x9E3779B97F4A7C15


def sets_of(texts: pa.ChunkedArray, near: Near) -> Texts:
    """The shingles and the words of each text."""
    return read_column(texts, near)


def keys_of_sets(shingles: Ragged, near: Near) -> np.ndarray:
    """The band keys of texts whose shingles are known, (bands, n) uint64."""
    return band_keys(shingles, Bands.drawn(*banding(near.threshold, near.permutations), near.seed))
