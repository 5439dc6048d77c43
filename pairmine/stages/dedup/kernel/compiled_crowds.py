"""The compiled loops of `crowds` and `groups`; those do the same by NumPy. Imports numba: see `compiled`."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from pairmine.stages.dedup.kernel.compiled_pairs import FRESH, HASHES, NUMBERS, shared_by

_keys = types.Array(types.uint64, 2, "C", readonly=True)
_lists = types.UniTuple(NUMBERS, 2)
_crowd = (
    types.Tuple((HASHES, NUMBERS, HASHES, NUMBERS)),
    _keys,
    types.UniTuple(NUMBERS, 5),
    types.Tuple((types.float64, types.int64, types.int64)),
    types.int64,
    types.int64,
)
_FLOATS = types.float64[::1]
_LOW = 0xFFFFFFFF


@njit(types.uint64[::1](HASHES, NUMBERS, NUMBERS, types.uint64, NUMBERS, types.int64), cache=True, nogil=True)
def rarest(values, offsets, counts, shift, wanted, total):
    """The `wanted` rarest members of each set, set after set, `total` together."""
    found = np.empty(total, np.uint64)
    done = 0
    for item in range(len(wanted)):
        members = values[offsets[item] : offsets[item + 1]]
        order = np.empty(len(members), np.int64)
        for place in range(len(members)):
            order[place] = counts[np.int64(members[place] >> shift)] << 32 | place
        order = np.sort(order)
        for place in range(wanted[item]):
            found[done] = members[order[place] & _LOW]
            done += 1
    return found


@njit(nogil=True)
def _similarity(sets, one, other, rules):
    """The Jaccard similarity of two texts that are near copies, else -1."""
    values, offsets, words, word_offsets = sets
    threshold, sentence_words, short_text_words = rules
    both = offsets[one + 1] - offsets[one] + offsets[other + 1] - offsets[other]
    least = np.int64(np.ceil(threshold / (1 + threshold) * both - 1e-6))
    shared = shared_by(values, offsets, one, other, least)
    if shared < 0 or shared / (both - shared) < threshold:
        return -1.0
    size, other_size = word_offsets[one + 1] - word_offsets[one], word_offsets[other + 1] - word_offsets[other]
    shorter, longer = min(size, other_size), max(size, other_size)
    if longer < sentence_words and shorter != longer:
        return -1.0
    is_short = longer < max(sentence_words, short_text_words)
    if is_short and shared_by(words, word_offsets, one, other, shorter) != shorter:
        return -1.0
    return shared / (both - shared)


@njit(nogil=True)
def _common_bands(sets, keys, one, other, threshold):
    """How many bands two texts share, 0 where their sizes tell that they are no near copies."""
    offsets = sets[1]
    size, other_size = offsets[one + 1] - offsets[one], offsets[other + 1] - offsets[other]
    if min(size, other_size) / max(size, other_size) < threshold:
        return 0
    common = 0
    for band in range(keys.shape[1]):
        common += keys[one, band] == keys[other, band]
    return common


@njit(nogil=True)
def _closest(others, bands, count):
    """The first `count` texts, those first that share the most bands, then in their order."""
    order = np.empty(count, np.int64)
    for place in range(count):
        order[place] = -bands[place] << 32 | others[place]
    return np.sort(order) & _LOW


@njit(nogil=True)
def _root(parents, item):
    root = item
    while parents[root] != root:
        root = parents[root]
    while parents[item] != root:
        parents[item], item = root, parents[item]
    return root


@njit(nogil=True)
def _next_apart(members, place, end, next_run, parents, root):
    """The first place from `place` on, before `end`, whose text is not connected with `root`.

    ``next_run[place]`` leads past places with texts connected to that of `place`: once found, for good.
    """
    stop = place
    while stop < end and _root(parents, members[stop]) == root:
        stop = next_run[stop]
    while place < stop:
        next_run[place], place = stop, next_run[place]
    return stop


@njit(nogil=True)
def _still_apart(left_out, buckets, next_run, parents):
    """How many of the pairs left out, by text, are connected by nothing."""
    members, starts, bucket_of, listed, listed_offsets = buckets
    total = 0
    for text in range(len(left_out)):
        apart = 0
        for at in range(listed_offsets[text], listed_offsets[text + 1]):
            place, end = listed[at], starts[bucket_of[listed[at]] + 1]
            while apart < left_out[text]:
                place = _next_apart(members, place, end, next_run, parents, _root(parents, text)) + 1
                if place > end:
                    break
                apart += 1
        total += apart
    return total


@njit(types.Tuple((FRESH, FRESH, _FLOATS, types.int64, types.int64))(*_crowd), cache=True, nogil=True)
def join_crowd(sets, keys, buckets, rules, most, looked_at):
    """As `crowds.join`: left, right and similarity of the pairs, then the numbers compared and passed over."""
    members, starts, bucket_of, listed, listed_offsets = buckets
    count = len(keys)
    parents, next_run = np.arange(count), np.arange(1, len(members) + 1)
    seen = np.full(count, -1)
    found, bands = np.empty(count, np.int64), np.empty(count, np.int64)
    left, right, similarity = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count)
    left_out = np.zeros(count, np.int64)
    pairs = compared = 0
    for text in range(count):
        looked = kept = unseen = 0
        for at in range(listed_offsets[text], listed_offsets[text + 1]):
            place, end = listed[at], starts[bucket_of[listed[at]] + 1]
            if looked > looked_at:
                unseen += end - place - 1
                continue
            while True:
                place = _next_apart(members, place, end, next_run, parents, _root(parents, text))
                if place >= end:
                    break
                looked += 1
                if looked > looked_at:
                    unseen += end - place
                    break
                other = members[place]
                if seen[other] != text:
                    seen[other] = text
                    common = _common_bands(sets, keys, text, other, rules[0])
                    if common:
                        found[kept], bands[kept] = other, common
                        kept += 1
                place += 1
        unlike = 0
        others = _closest(found, bands, kept)
        for number in range(kept):
            one, two = _root(parents, text), _root(parents, others[number])
            if one == two:
                continue
            if unlike == most:
                left_out[text] = kept - number
                break
            compared += 1
            alike = _similarity(sets, text, others[number], rules)
            if alike >= 0:
                parents[max(one, two)] = min(one, two)
                left[pairs], right[pairs], similarity[pairs] = text, others[number], alike
                pairs += 1
            else:
                unlike += 1
        left_out[text] += unseen if unlike else 0
    passed_over = _still_apart(left_out, buckets, next_run, parents)
    return left[:pairs], right[:pairs], similarity[:pairs], compared, passed_over


@njit(nogil=True)
def _first_kept(known, leaders, item):
    """The first of the texts known to match `item` that is kept, else the number of all texts."""
    matches, offsets = known
    for at in range(offsets[item], offsets[item + 1]):
        if leaders[matches[at]] == matches[at]:
            return matches[at]
    return len(leaders)


@njit(
    types.Tuple((FRESH, _FLOATS, types.int64, types.int64))(_lists, NUMBERS, *_crowd),
    cache=True,
    nogil=True,
)
def stars_of_crowd(known, place, sets, keys, buckets, rules, most, looked_at):
    """As `groups.stars`: the leaders and the similarity to them, then the numbers compared and passed over."""
    members, starts, bucket_of, listed, listed_offsets = buckets
    kept_in, filled = np.empty(len(members), np.int64), starts[:-1].copy()
    leaders, similarity = np.arange(len(place)), np.full(len(place), -1.0)
    seen = np.full(len(place), -1)
    found, bands = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    compared = passed_over = 0
    for item in range(len(place)):
        leader = _first_kept(known, leaders, item)
        text, looked, count = place[item], 0, 0
        own = listed[listed_offsets[text] : listed_offsets[text + 1]] if text >= 0 else listed[:0]
        for at in own:
            first, end = starts[bucket_of[at]], filled[bucket_of[at]]
            if looked > looked_at:
                passed_over += end - first
                continue
            for spot in range(first, end):
                other = kept_in[spot]
                if other >= leader:
                    break
                looked += 1
                if looked > looked_at:
                    passed_over += end - spot
                    break
                if seen[other] != item:
                    seen[other] = item
                    common = _common_bands(sets, keys, text, place[other], rules[0])
                    if common:
                        found[count], bands[count] = other, common
                        count += 1
        passed_over += max(0, count - most)
        for other in np.sort(_closest(found, bands, count)[:most]):
            compared += 1
            alike = _similarity(sets, place[other], text, rules)
            if alike >= 0:
                leader, similarity[item] = other, alike
                break
        if leader < len(place):
            leaders[item] = leader
            continue
        for at in own:
            kept_in[filled[bucket_of[at]]] = item
            filled[bucket_of[at]] += 1
    return leaders, similarity, compared, passed_over
