"""All pairs of texts with an exact Jaccard similarity of 0.5 or more on word n-grams: what a tool should have found.

No sketch and no hash: words are numbered, n-grams are numbered by pairs of numbers, and two sets are compared only
where they share one of their rarest members (prefix filter; Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007). Words are read as pairmine documents it: NFKC, case folded, runs of letters, digits, marks and "_",
and each code point of a script without blanks alone.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

LOWEST = 0.5
CHECKED = 1_000

_UNSPACED = ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "MYANMAR", "KHMER", "KANGXI")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)


def write(corpus: Path, planted: Path, path: Path, ngram: int) -> None:
    """Write the pairs: left, right (row numbers, left < right), similarity; compared with brute force on a sample."""
    import pyarrow.parquet as pq

    texts = pq.read_table(corpus, columns=["text"])["text"].to_pylist()
    members, offsets = shingles(texts, ngram)
    left, right, similarity = join(members, offsets, LOWEST)
    plants = pq.read_table(planted)
    sample = sorted({*_sample(plants["copy"].to_pylist()), *_sample(plants["original"].to_pylist())})
    _compare(texts, sample, ngram, left, right, similarity)
    np.savez(path, left=left, right=right, similarity=similarity, rows=len(texts))


def words_of(text: str) -> list[str]:
    """The words of a text, by what its code points are called and not by their number."""
    text = unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        return _ASCII_WORD.findall(text)
    words, is_open = [], False
    for sign in text:
        what = _class(sign)
        if what == "alone":
            words.append(sign)
        elif is_open and what in ("letter", "mark"):
            words[-1] += sign
        elif what == "letter":
            words.append(sign)
        is_open = what == "letter" or (is_open and what == "mark")
    return words


@cache
def _class(sign: str) -> str:
    category = unicodedata.category(sign)[0]
    if category in "LMN" and unicodedata.name(sign, "").startswith(_UNSPACED):
        return "alone"
    if category == "M":
        return "mark"
    return "letter" if sign.isalnum() or sign == "_" else ""


def shingles(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """The set of n-grams of each text, numbered; rarest first: `members[offsets[i]:offsets[i + 1]]`, int64.

    A text of fewer than n words is one n-gram of all its words.
    """
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(word, len(numbers)) for word in words_of(text)] for text in texts]
    counts = np.array([len(row) for row in rows])
    words = np.fromiter((word for row in rows for word in row), np.int64, counts.sum())
    owners = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(words)) - np.repeat(np.cumsum(counts) - counts, counts)
    grams, left = words + 1, counts[owners] - place
    for further in range(1, ngram):
        following = np.zeros(len(words), np.int64)
        reaches = np.flatnonzero(left > further)
        following[reaches] = words[reaches + further] + 1
        grams = np.unique(grams * (len(numbers) + 1) + following, return_inverse=True)[1] + 1
    grams = grams[(left >= ngram) | (place == 0)]
    owners = owners[(left >= ngram) | (place == 0)]
    return _sets(owners, grams, len(rows))


def _sets(owners: np.ndarray, grams: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The grams renumbered, the rarest one 0, each once in a text, ascending in it."""
    keys = np.unique(owners * (grams.max(initial=0) + 1) + grams)
    owners, grams = np.divmod(keys, grams.max(initial=0) + 1)
    counts = np.bincount(grams)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    members = rank[grams]
    members = members[np.lexsort((members, owners))]
    return members, np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=rows))])


def join(members: np.ndarray, offsets: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of sets with a Jaccard similarity of `lowest` or more: left < right, by left and right."""
    sizes = np.diff(offsets)
    # The small number keeps 0.8 * 5 = 4.000000000000001 from being rounded up to 5.
    prefix = np.where(sizes > 0, sizes - np.ceil(lowest * sizes - 1e-9).astype(np.int64) + 1, 0)
    is_prefix = np.arange(len(members)) - np.repeat(offsets[:-1], sizes) < np.repeat(prefix, sizes)
    lists = np.concatenate([[0], np.cumsum(np.bincount(members[is_prefix], minlength=members.max(initial=0) + 1))])
    order = np.argsort(sizes, kind="stable")
    found = _compiled_join()(members, offsets, prefix, lists, order, lowest)
    left, right = np.minimum(found[0], found[1]), np.maximum(found[0], found[1])
    by = np.lexsort((right, left))
    return left[by], right[by], found[2][by]


@cache
def _compiled_join() -> Callable[..., Any]:
    import numba

    overlap = numba.njit(_overlap)

    @numba.njit
    def run(members, offsets, prefix, lists, order, lowest):  # type: ignore[no-untyped-def]
        """Sets by rising size, each with the smaller ones before it that share a member of both prefixes."""
        held = np.zeros(len(lists) - 1, np.int64)
        postings = np.empty(lists[-1], np.int64)
        asked = np.full(len(prefix), -1, np.int64)
        lefts, rights, similarities = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024)
        count = 0
        for one in order:
            size = offsets[one + 1] - offsets[one]
            for at in range(offsets[one], offsets[one] + prefix[one]):
                member = members[at]
                for posting in range(lists[member], lists[member] + held[member]):
                    other = postings[posting]
                    smaller = offsets[other + 1] - offsets[other]
                    if asked[other] == one or smaller < lowest * size - 1e-9:
                        continue
                    asked[other] = one
                    shared = overlap(members, offsets[one], offsets[one + 1], offsets[other], offsets[other + 1])
                    similarity = shared / (size + smaller - shared)
                    if similarity >= lowest:
                        if count == len(lefts):
                            lefts = np.concatenate((lefts, np.empty_like(lefts)))
                            rights = np.concatenate((rights, np.empty_like(rights)))
                            similarities = np.concatenate((similarities, np.empty_like(similarities)))
                        lefts[count], rights[count], similarities[count] = one, other, similarity
                        count += 1
            for at in range(offsets[one], offsets[one] + prefix[one]):
                member = members[at]
                postings[lists[member] + held[member]] = one
                held[member] += 1
        return lefts[:count], rights[:count], similarities[:count]

    return run


def _overlap(members, one, one_end, other, other_end):  # type: ignore[no-untyped-def]
    shared = 0
    while one < one_end and other < other_end:
        if members[one] == members[other]:
            shared += 1
            one += 1
            other += 1
        elif members[one] < members[other]:
            one += 1
        else:
            other += 1
    return shared


def _sample(rows: list[int]) -> list[int]:
    return random.Random(0).sample(rows, min(CHECKED, len(rows)))


def _compare(
    texts: list[str], sample: list[int], ngram: int, left: np.ndarray, right: np.ndarray, similarity: np.ndarray
) -> None:
    """Stop unless the pairs among the rows of `sample` are those of sets of words compared one by one."""
    sets = [_tuples(words_of(texts[row]), ngram) for row in sample]
    expected = {}
    for number, one in enumerate(sets):
        for further in range(number + 1, len(sets)):
            shared = len(one & sets[further])
            union = len(one) + len(sets[further]) - shared
            if shared >= LOWEST * union and union:
                expected[sample[number], sample[further]] = shared / union
    inside = np.isin(left, sample) & np.isin(right, sample)
    found = dict(zip(zip(left[inside].tolist(), right[inside].tolist(), strict=True), similarity[inside], strict=True))
    if expected != found:
        raise SystemExit(f"the join and brute force differ in {len(expected.items() ^ found.items())} pairs")


def _tuples(words: list[str], ngram: int) -> set[tuple[str, ...]]:
    ends = range(max(1, len(words) - ngram + 1)) if words else range(0)
    return {tuple(words[start : start + ngram]) for start in ends}
