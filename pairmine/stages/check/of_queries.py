"""Tests of what stands within a query: copies, conflicts, how many of each label there are."""

from __future__ import annotations

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.check.facts import NONE, Facts, joined
from pairmine.stages.check.tallies import Tallies


def check_queries(facts: Facts, found: Tallies) -> None:
    """All of them, over the facts of a whole pair set."""
    copies = _copies_of_queries(facts, found)
    among = _positives_among_negatives(facts, found)
    conflicts = _label_conflicts(facts, among, found)
    at_fault = facts.blank | copies | among | conflicts
    _repeats(facts, facts.positive, at_fault, "duplicate-positives", found)
    _repeats(facts, facts.negative, at_fault, "duplicate-negatives", found)
    _numbers(facts, found)
    _apart(facts, found)


def _copies_of_queries(facts: Facts, found: Tallies) -> np.ndarray:
    """Negatives with the text of their query, (n,) bool."""
    looked = facts.negative & (facts.asked != NONE)
    found.looked("negative-copies-query", int((looked & (facts.told != NONE)).sum()))
    copies: np.ndarray = looked & (facts.told == facts.asked)
    found.found("negative-copies-query", np.flatnonzero(copies))
    return copies


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


def _label_conflicts(facts: Facts, among: np.ndarray, found: Tallies) -> np.ndarray:
    """Negatives whose query text and document text are a positive pair under another query id, (n,) bool."""
    there = (facts.asked != NONE) & (facts.told != NONE)
    negative = np.flatnonzero(there & facts.negative & ~among)
    positive = np.flatnonzero(there & facts.positive)
    found.looked("label-conflicts", len(negative) if len(positive) else 0)
    keys = joined(facts.asked, facts.told)
    known = distinct(keys[positive])
    conflicts = np.zeros(len(facts), bool)
    if len(known):
        at = np.minimum(np.searchsorted(known, keys[negative]), len(known) - 1)
        conflicts[negative[known[at] == keys[negative]]] = True
    found.found("label-conflicts", np.flatnonzero(conflicts))
    return conflicts


def _repeats(facts: Facts, chosen: np.ndarray, at_fault: np.ndarray, name: str, found: Tallies) -> None:
    """Rows of one label that repeat an earlier row of their query, by text, or by id where there are no texts.

    Rows of one id and two texts are no copies. The first that is not `at_fault` is none either, since `--fix` drops
    those before it.
    """
    found.looked(name, int(chosen.sum()))
    rows = np.flatnonzero(chosen & ~facts.blank)
    ids = joined(facts.query[rows], facts.doc[rows])
    keys = joined(facts.query[rows], facts.told[rows]) if (facts.told != NONE).any() else ids
    good = np.flatnonzero(~at_fault[rows])
    again, by_id = repeated(keys), repeated(ids)
    again[good[~repeated(keys[good])]] = False
    found.found(name, rows[again & by_id], "its doc_id stands in an earlier row of this query")
    found.found(name, rows[again & ~by_id], "an earlier row of this query has its text under another id")


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
