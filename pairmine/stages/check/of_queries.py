"""Tests of what stands within a query: copies, conflicts, how many of each label there are."""

from __future__ import annotations

import numpy as np

from pairmine.stages.check.facts import NONE, Facts, joined
from pairmine.stages.check.tallies import Tallies


def check_queries(facts: Facts, found: Tallies) -> None:
    """All of them, over the facts of a whole pair set."""
    _labels_of(facts, found)
    among = _positives_among_negatives(facts, found)
    _label_conflicts(facts, among, found)
    _repeats(facts, facts.positive, "duplicate-positives", found)
    _repeats(facts, facts.negative, "duplicate-negatives", found)
    _numbers(facts, found)
    _apart(facts, found)


def _labels_of(facts: Facts, found: Tallies) -> None:
    """Negatives with the text of their query."""
    looked = facts.negative & (facts.asked != NONE)
    found.looked("negative-copies-query", int((looked & (facts.told != NONE)).sum()))
    found.found("negative-copies-query", np.flatnonzero(looked & (facts.told == facts.asked)))


def _positives_among_negatives(facts: Facts, found: Tallies) -> np.ndarray:
    """Negatives that are positives of their query, (n,) bool."""
    positive, negative = facts.positive, facts.negative
    documents, texts = joined(facts.query, facts.doc), joined(facts.query, facts.told)
    by_id = negative & np.isin(documents, documents[positive])
    by_text = negative & (facts.told != NONE) & np.isin(texts, texts[positive]) & ~by_id
    by_source = np.zeros(len(facts), bool)
    if facts.source is not None:
        cut_from = joined(facts.query, facts.source)[positive & (facts.source != NONE)]
        by_source = negative & np.isin(documents, cut_from) & ~by_id & ~by_text
    if positive.any():
        found.looked("positive-among-negatives", int(negative.sum()))
    for rows, note in (
        (by_id, "it is a positive of this query by its id"),
        (by_text, "a positive of this query has its text"),
        (by_source, "a positive of this query was cut from it (source_id)"),
    ):
        found.found("positive-among-negatives", np.flatnonzero(rows), note)
    all_of_them: np.ndarray = by_id | by_text | by_source
    return all_of_them


def _label_conflicts(facts: Facts, among: np.ndarray, found: Tallies) -> None:
    """Negatives whose query text and document text are a positive pair under another query id."""
    there = (facts.asked != NONE) & (facts.told != NONE)
    negative = np.flatnonzero(there & facts.negative & ~among)
    positive = np.flatnonzero(there & facts.positive)
    found.looked("label-conflicts", len(negative) if len(positive) else 0)
    keys = joined(facts.asked, facts.told)
    known = np.unique(keys[positive])
    if len(known):
        at = np.minimum(np.searchsorted(known, keys[negative]), len(known) - 1)
        found.found("label-conflicts", negative[known[at] == keys[negative]])


def _repeats(facts: Facts, chosen: np.ndarray, name: str, found: Tallies) -> None:
    """Rows of one label that repeat an earlier row of their query."""
    rows = np.flatnonzero(chosen)
    found.looked(name, len(rows))
    by_id = repeated(joined(facts.query[rows], facts.doc[rows]))
    written = facts.told[rows] != NONE
    by_text = np.zeros(len(rows), bool)
    by_text[written] = repeated(joined(facts.query[rows[written]], facts.told[rows[written]]))
    found.found(name, rows[by_id], "its doc_id stands in an earlier row of this query")
    found.found(name, rows[by_text & ~by_id], "an earlier row of this query has its text under another id")


def _numbers(facts: Facts, found: Tallies) -> None:
    """Queries without a positive or a negative, or with few negatives."""
    if not len(facts):
        return
    first = first_rows(facts.query)
    queries = len(first)
    positives, negatives = (
        np.bincount(facts.query[chosen], minlength=queries) for chosen in (facts.positive, facts.negative)
    )
    undecided = np.bincount(facts.query[facts.label == NONE], minlength=queries) > 0
    found.looked("undecided", len(facts))
    if positives.any():
        decided = (positives > 0) | (negatives > 0)
        found.looked("no-positive", int(decided.sum()))
        found.found("no-positive", np.sort(first[(positives == 0) & (negatives > 0)]))
    if negatives.any() and positives.any():
        answered = positives > 0
        found.looked("no-negative", int(answered.sum()))
        found.found("no-negative", np.sort(first[answered & (negatives == 0) & ~undecided]))
    _uneven(negatives, first, found)


def _uneven(negatives: np.ndarray, first: np.ndarray, found: Tallies) -> None:
    """Queries with fewer negatives than the most common number, where most queries have that."""
    some = negatives > 0
    if not some.any():
        return
    found.looked("uneven-negatives", int(some.sum()))
    counts = np.bincount(negatives[some])
    usual = int(np.argmax(counts))
    if 2 * counts[usual] < some.sum():
        return
    few = np.flatnonzero(some & (negatives < usual))
    order = np.argsort(first[few])
    few = few[order]
    found.found("uneven-negatives", first[few], lambda at: f"{negatives[few[at]]} of {usual} negatives")


def _apart(facts: Facts, found: Tallies) -> None:
    """Queries whose rows come again after those of others."""
    starts = np.flatnonzero(np.diff(facts.query, prepend=-2) != 0)
    again = repeated(facts.query[starts])
    found.looked("rows-apart", len(starts) - int(again.sum()))
    rows = starts[again]
    once = ~repeated(facts.query[rows])
    found.found("rows-apart", rows[once], "its query has rows further up, with others between")


def repeated(values: np.ndarray) -> np.ndarray:
    """Which values stood further up too, (n,) bool."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return ~first


def first_rows(codes: np.ndarray) -> np.ndarray:
    """The first row of each code, by code, where the codes are 0 up to some number; those below 0 are left out."""
    rows = np.flatnonzero(codes >= 0)
    found = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
    found[codes[rows[::-1]]] = rows[::-1]
    return found
