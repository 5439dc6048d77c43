"""Tests across queries: ids, hubs, crowds, batches and splits."""

from __future__ import annotations

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.check.catalog import CROWD_BATCH, CROWD_LEAST, HUB_LEAST, HUB_SHARE, HUB_TIMES
from pairmine.stages.check.facts import NONE, Facts, joined
from pairmine.stages.check.of_queries import first_rows, repeated
from pairmine.stages.check.tallies import Note, Tallies


def check_across(facts: Facts, found: Tallies) -> None:
    """All of them, over the facts of a whole pair set."""
    _two_texts(facts, found)
    _duplicate_queries(facts, found)
    _hubs(facts, found)
    _crowded_positives(facts, found)
    _batch_conflicts(facts, found)


def _two_texts(facts: Facts, found: Tallies) -> None:
    """Ids with another text than in their first row; one row of each such id is shown."""
    for ids, texts, what in ((facts.query, facts.asked, "query_id"), (facts.doc, facts.told, "doc_id")):
        written = np.flatnonzero(texts != NONE)
        if not len(written):
            continue
        first = first_rows(ids)
        with_text = np.zeros(len(first), np.int64)
        with_text[ids[written[::-1]]] = written[::-1]
        found.looked("one-id-two-texts", len(distinct(ids[written])))
        other = written[texts[written] != texts[with_text[ids[written]]]]
        other = other[~repeated(ids[other])]
        note = _earlier(what, with_text[ids[other]])
        found.found("one-id-two-texts", other, note)


def _earlier(what: str, rows: np.ndarray) -> Note:
    return lambda at: f"its {what} has another text in row {rows[at] + 1:,}"


def _duplicate_queries(facts: Facts, found: Tallies) -> None:
    """Queries with the text of an earlier one. "7#2" is 7 once more, as `mix` writes it."""
    first = np.sort(first_rows(facts.query))
    first = first[facts.asked[first] != NONE]
    found.looked("duplicate-queries", len(first))
    once = first[~repeated(joined(facts.base[first], facts.asked[first]))]
    again = repeated(facts.asked[once])
    found.found("duplicate-queries", once[again])


def _hubs(facts: Facts, found: Tallies) -> None:
    """Rows of documents that are negatives of many queries."""
    rows = np.flatnonzero(facts.negative)
    found.looked("hubs", len(rows))
    rows = rows[~repeated(joined(facts.query[rows], facts.doc[rows]))]
    if not len(rows):
        return
    queries = len(distinct(facts.query[rows]))
    times = np.bincount(facts.doc[rows])
    mean = len(rows) / np.count_nonzero(times)
    bound = max(HUB_SHARE * queries, HUB_TIMES * mean, HUB_LEAST)
    _crowds("hubs", rows, facts.doc[rows], times > bound, times, queries, found)


def _crowded_positives(facts: Facts, found: Tallies) -> None:
    """Rows of documents that are positives of many queries; a plan of batches keeps those apart."""
    rows = np.flatnonzero(facts.positive)
    if facts.batch is not None and facts.batch.max(initial=NONE) >= 0:
        return
    found.looked("crowded-positives", len(rows))
    rows = rows[~repeated(joined(facts.query[rows], facts.doc[rows]))]
    if not len(rows):
        return
    queries = len(distinct(facts.query[rows]))
    times = np.bincount(facts.doc[rows])
    bound = max(queries / CROWD_BATCH, CROWD_LEAST)
    _crowds("crowded-positives", rows, facts.doc[rows], times > bound, times, queries, found)


def _crowds(
    name: str, rows: np.ndarray, doc: np.ndarray, many: np.ndarray, times: np.ndarray, queries: int, found: Tallies
) -> None:
    """Take in the `rows` of documents that are `many`, the first row of each first, so that each is shown once."""
    rows, doc = rows[many[doc]], doc[many[doc]]
    label = "negative" if name == "hubs" else "positive"

    def note(at: int) -> str:
        return f"a {label} of {times[doc[at]]:,} of {queries:,} queries ({times[doc[at]] / queries:.1%})"

    found.found(name, rows, note)


def _batch_conflicts(facts: Facts, found: Tallies) -> None:
    """Rows whose document answers a query of their batch that is not theirs, by id or by text."""
    if (batch := facts.batch) is None:
        return
    planned = np.flatnonzero(batch >= 0)
    found.looked("batch-conflicts", len(planned))
    wrong = np.zeros(len(facts), bool)
    for things in (facts.doc, facts.told):
        wrong |= _answers_another(facts, batch, planned, things)
    found.found("batch-conflicts", np.flatnonzero(wrong))


def _answers_another(facts: Facts, batch: np.ndarray, planned: np.ndarray, things: np.ndarray) -> np.ndarray:
    """Which rows have one of `things` (n,) that is known to answer another query of their batch, (n,) bool.

    Queries are the same by text here, or by id where they have none.
    """
    asked = np.where(facts.asked == NONE, facts.query + int(facts.asked.max(initial=0)) + 1, facts.asked)
    positive = np.flatnonzero(facts.positive & (things != NONE))
    known = distinct(joined(asked[positive], things[positive]))
    known_asked, known_thing = known >> 32, known & 0xFFFFFFFF
    draws = planned[~repeated(joined(facts.query[planned], batch[planned]))]
    low = np.searchsorted(known_asked, asked[draws], "left")
    high = np.searchsorted(known_asked, asked[draws], "right")
    owner = np.repeat(draws, high - low)
    ends = np.cumsum(high - low)
    answer = known_thing[np.arange(len(owner)) + np.repeat(low - (ends - (high - low)), high - low)]
    wrong = np.zeros(len(facts), bool)
    if len(owner):
        held = _held_by_others(
            joined(batch[planned], things[planned]),
            facts.query[planned],
            joined(batch[owner], answer),
            facts.query[owner],
        )
        wrong[planned[held & (things[planned] != NONE)]] = True
    return wrong


def _held_by_others(keys: np.ndarray, query: np.ndarray, held: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Which `keys` of a `query` (n,) are among those `held` by an `owner`, a query (m,), that is another, (n,) bool."""
    order = np.lexsort((owner, held))
    held, owner = held[order], owner[order]
    starts = np.flatnonzero(np.append(True, held[1:] != held[:-1]))
    lowest, highest, held = owner[starts], owner[np.append(starts[1:], len(owner)) - 1], held[starts]
    at = np.minimum(np.searchsorted(held, keys), len(held) - 1)
    found: np.ndarray = (held[at] == keys) & ((lowest[at] != query) | (highest[at] != query))
    return found


def straddling(facts: Facts, found: Tallies) -> np.ndarray:
    """Rows whose query or positive is in a row of another split, by id or by text; (n,) bool."""
    if (split := facts.split) is None:
        return np.zeros(len(facts), bool)
    placed = split >= 0
    found.looked("straddling", int(placed.sum()))
    shared = np.zeros(len(facts), bool)
    for things, rows in (
        (facts.query, placed),
        (facts.asked, placed & (facts.asked != NONE)),
        (facts.doc, placed & (facts.label != 0)),
        (facts.told, placed & (facts.label != 0) & (facts.told != NONE)),
    ):
        shared |= _in_two(things, split, np.flatnonzero(rows))
    rows = np.flatnonzero(shared)
    found.found("straddling", rows, lambda at: f"in {facts.split_names[split[rows[at]]]}, and in another split")
    return shared


def _in_two(things: np.ndarray, split: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of `rows` have a thing that rows of two splits have, (n,) bool."""
    wrong = np.zeros(len(things), bool)
    if not len(rows):
        return wrong
    size = int(things[rows].max()) + 1
    lowest, highest = np.full(size, 1 << 14), np.full(size, -1)
    np.minimum.at(lowest, things[rows], split[rows])
    np.maximum.at(highest, things[rows], split[rows])
    wrong[rows[lowest[things[rows]] != highest[things[rows]]]] = True
    return wrong
