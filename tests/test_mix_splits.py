"""`mix --split`: nothing straddles two splits, by brute force; numbers that are met; files that appear together."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.schema import as_pairs, empty_pairs
from pairmine.stages.mix.components import APART, COPIES, Ties, telling
from pairmine.stages.mix.parts import parse_parts, wanted
from pairmine.stages.mix.splits import SplitPlan, fitting, part_pairs, plan_splits

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")

Row = dict[str, Any]


def row(query: str, doc: str, label: int | None = 1, /, **columns: Any) -> Row:
    """A pair whose texts are its ids' own, unless `columns` say otherwise."""
    texts = {"query": f"question {query}", "document": f"passage {doc}"}
    return {"query_id": query, "doc_id": doc, "label": label, "origin": "given", **texts, **columns}


def pairs_of(rows: Sequence[Row]) -> pa.Table:
    """A column that only some rows name is null in the others."""
    names = dict.fromkeys(name for each in rows for name in each)
    return as_pairs(pa.Table.from_pylist([{**names, **each} for each in rows])) if rows else empty_pairs()


def singles(count: int, prefix: str = "q", **columns: Any) -> list[Row]:
    """Queries that have nothing in common."""
    return [row(f"{prefix}{n}", f"{prefix}d{n}", **columns) for n in range(count)]


def split(rows: Sequence[Row], parts: str, ties: Ties = Ties(), *, seed: int = 0, **settings: Any) -> dict[str, str]:  # noqa: B008
    """The split of each query that is in one."""
    pairs = pairs_of(rows)
    outcome = part_pairs(pairs, plan_splits(pairs, parse_parts(parts), seed=seed, ties=ties, **settings))
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows)
    return dict(zip(outcome.kept["query_id"].to_pylist(), outcome.kept["split"].to_pylist(), strict=True))


def keys_of(each: Row, ties: Ties) -> Iterator[Hashable]:
    """Everything that a row shares with others, spelled out; each query has a row of label 1."""
    if ties.copies != "ids" and normalise(each["query"] or ""):
        yield "text", normalise(each["query"])
    if ties.group and each["topic"] is not None:
        yield "topic", each["topic"]
    if ties.apart == "documents" or (ties.apart == "positives" and each["label"] == 1):
        yield "id", each["doc_id"]
        if each["source_id"]:
            yield "id", each["source_id"]
        if ties.copies != "ids" and normalise(each["document"] or ""):
            yield "text", normalise(each["document"])


def components(rows: Sequence[Row], ties: Ties) -> list[set[str]]:
    """The queries that hang together, by joining sets until nothing changes."""
    holders = defaultdict[Hashable, set[str]](set)
    for each in rows:
        holders["query", each["query_id"]].add(each["query_id"])
        for key in keys_of(each, ties):
            holders[key].add(each["query_id"])
    found: list[set[str]] = []
    for group in holders.values():
        touched = [other for other in found if other & group]
        found = [other for other in found if not other & group] + [group.union(*touched)]
    return found


TEXTS = st.sampled_from([None, "", " ", *"abcdefgh", "A", " b", "ﬁ", "FI", "ünïcode"])


@st.composite
def pair_sets(draw: st.DrawFn) -> list[Row]:
    rows = []
    for number in range(draw(st.integers(1, 14))):
        text, topic = draw(TEXTS), draw(st.sampled_from([None, "x", "y", "z", "w"]))
        source = draw(st.sampled_from(["nli", "faq"]))
        for place in range(draw(st.integers(1, 3))):
            rows.append(
                {
                    "query_id": f"q{number}",
                    "query": text,
                    "doc_id": f"d{draw(st.integers(0, 20))}",
                    "document": draw(TEXTS),
                    "label": 1 if place == 0 else draw(st.sampled_from([0, 1, None])),
                    "origin": "given",
                    "source_id": draw(st.sampled_from([None, None, "s1", "d1"])),
                    "topic": topic,
                    "source": source,
                }
            )
    return rows


@settings(max_examples=40, deadline=None)
@given(
    rows=pair_sets(),
    apart=st.sampled_from(APART),
    copies=st.sampled_from(COPIES),
    group=st.sampled_from([None, "topic"]),
    parts=st.sampled_from(["a=.5,b=.5", "train=.6,dev=.2,test=.2", "a=.4,b=.3", "b=.3,a=rest"]),
    seed=st.integers(0, 3),
)
def test_nothing_straddles_two_splits_and_numbers_are_met_within_a_component(
    rows: list[Row], apart: str, copies: str, group: str | None, parts: str, seed: int
) -> None:
    ties = Ties(apart, copies, group)
    expected = components(rows, ties)
    queries = len({each["query_id"] for each in rows})
    try:
        placed = split(rows, parts, ties, seed=seed)
    except PairmineError as error:
        assert "stays empty" in str(error) or "none of" in str(error)  # noqa: PT017 (most examples raise nothing)
        return
    for component in expected:
        assert len({placed.get(query) for query in component}) == 1
    largest = max(map(len, expected))
    counts = Counter(placed.values())
    asked = wanted(parse_parts(parts), queries)
    takes_all = asked.sum() == queries
    assert not takes_all or len(placed) == queries
    for part, count in zip(parse_parts(parts), asked.tolist(), strict=True):
        # What the others miss, the split that takes the rest has too much.
        most = largest * (len(asked) - 1 if takes_all else 1)
        assert abs(counts[part.name] - count) < max(most, 1)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def test_near_copies_of_queries_and_positives_never_straddle() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{each}" for each in rng.integers(0, 60, 14)) for _ in range(60)]
    texts += [text.rpartition(" ")[0] for text in texts] + [f"{text} more" for text in texts[:20]]
    sides = rng.permutation(["query", "document"] * (len(texts) // 2))
    rows = [row(f"q{n}", f"d{n}", **{side: text}) for n, (text, side) in enumerate(zip(texts, sides, strict=True))]
    placed = split(rows, "a=.5,b=.5")
    compared = 0
    for (n, one), (m, other) in itertools.combinations(enumerate(map(shingles, texts)), 2):
        if len(one & other) >= 0.8 * len(one | other):
            assert placed[f"q{n}"] == placed[f"q{m}"]
            compared += 1
    assert compared >= 100
    exact = split(rows, "a=.5,b=.5", Ties(copies="exact"))
    assert any(exact[f"q{n}"] != exact[f"q{n + 60}"] for n in range(60))


def test_what_ties_two_queries_case_by_case() -> None:
    others = singles(40)

    def together(*two: Row, ties: Ties = Ties()) -> bool:  # noqa: B008
        names = [each["query_id"] for each in two]
        found = [split([*two, *others], "a=.5,b=.5", ties, seed=seed) for seed in range(6)]
        return all(len({each[name] for name in names}) == 1 for each in found)

    assert not together(row("x", "d"), row("y", "e"))
    assert together(row("x", "d"), row("y", "d"))
    assert together(row("x", "d", query="How ﬁne?"), row("y", "e", query=" how FINE?"))
    assert together(row("x", "d", query="a b"), row("y", "e", document="A  b"))
    assert together(row("x", "d", source_id="page"), row("y", "e", source_id="page"))
    assert together(row("x", "page"), row("y", "e", source_id="page"))
    assert not together(row("x", "d", query=""), row("y", "e", query=""))
    assert not together(row("x", "d", query=None), row("y", "e", query=None))
    hard = row("x", "d"), row("x", "n", 0), row("y", "e"), row("y", "n", 0)
    assert not together(*hard)
    assert together(*hard, ties=Ties("documents"))
    assert not together(row("x", "d"), row("y", "d"), ties=Ties("queries"))
    assert together(row("x", "d", None, grade=0.4), row("y", "d", None, grade=0.9))
    assert not together(row("x", "e"), row("x", "d", None), row("y", "d"))


def test_chunks_of_any_size_give_the_plan_of_the_whole() -> None:
    rows = [each for n in range(50) for each in (row(f"q{n}", f"d{n // 2}"), row(f"q{n}", f"d{n + 90}", 0))]
    pairs, parts = pairs_of(rows), parse_parts("a=.5,b=.5")
    whole = plan_splits(pairs, parts, seed=0)
    told = pa.concat_tables([telling(pairs.slice(at, 10), Ties()) for at in range(0, 100, 10)]).unify_dictionaries()
    assert told.num_rows == 50
    assert np.array_equal(plan_splits(told, parts, seed=0).placed, whole.placed)
    pieces = [part_pairs(pairs.slice(at, 10), whole, at // 2).kept for at in range(0, 100, 10)]
    assert pa.concat_tables(pieces)["split"].to_pylist() == part_pairs(pairs, whole).kept["split"].to_pylist()


def test_each_source_gives_its_fraction() -> None:
    rows = singles(40, "a", source="small") + singles(400, "b", source="large")
    counts = Counter((query[0], part) for query, part in split(rows, "train=.8,dev=.1,test=.1").items())
    assert counts["a", "dev"] == counts["a", "test"] == 4
    assert counts["b", "dev"] == counts["b", "test"] == 40


def test_a_split_stays_as_it_is_when_the_set_grows() -> None:
    before = split(singles(200), "train=.8,dev=.2")
    after = split(singles(200) + singles(20, "new"), "train=.8,dev=.2")
    moved = [query for query in before if before[query] != after[query]]
    assert len(moved) <= 6
    larger = split(singles(200), "train=.7,dev=.2")
    assert all(larger[query] == "dev" for query in before if before[query] == "dev")


def test_groups_go_together_and_a_negative_from_elsewhere_says_nothing() -> None:
    rows = [row(f"q{n}", f"d{n}", page=n // 5) for n in range(100)] + [row("alone", "e", page=None)]
    rows[3:3] = [row("q2", "far", 0, page=19), row("q2", "mined", None, page=None)]
    placed = split(rows, "a=.5,b=.5", Ties(group="page"))
    for page in range(20):
        assert len({placed[f"q{n}"] for n in range(5 * page, 5 * page + 5)}) == 1
    assert len({placed[f"q{5 * page}"] for page in range(20)}) == 2
    with pytest.raises(PairmineError, match='--split-by: the pair set has no "pag"'):
        split(rows, "a=.5,b=.5", Ties(group="pag"))


def test_by_time_the_last_are_in_the_last_split_and_one_day_is_not_parted() -> None:
    days = [date(2024, 1, 1 + n // 4) for n in range(80)]
    rows = [row(f"q{n}", f"d{n}", day=day) for n, day in enumerate(days)]
    order = np.random.default_rng(0).permutation(80)
    placed = split([rows[n] for n in order], "train=.8,dev=.1,test=.1", time="day")
    assert [placed[f"q{n}"] for n in range(80)] == ["train"] * 64 + ["dev"] * 8 + ["test"] * 8
    # 30 queries would cut a day: the nearest end of one is taken; what is in no split is the earliest.
    placed = split(rows, "train=20,dev=10", time="day")
    assert sorted(placed, key=lambda name: int(name[1:])) == [f"q{n}" for n in range(48, 80)]
    assert Counter(placed.values()) == {"train": 20, "dev": 12}
    # One document on the first and on the last day: both queries go to where the later one belongs.
    rows[0]["doc_id"] = rows[79]["doc_id"]
    assert split(rows, "train=.9,dev=.1", time="day")["q0"] == "dev"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (["3/11/2024"] * 4, '"3/11/2024" is text that does not sort by time'),
        (["2024-11-03", None, "2024", None], '"day" is null in all rows of 2 of 4 queries'),
        ([[1]] * 4, '"day" holds list<'),
        (["2024"] * 4, 'split "dev" stays empty, 1 queries wanted'),
    ],
)
def test_times_that_are_none_are_told(values: list[Any], line: str) -> None:
    rows = [row(f"q{n}", f"d{n}", day=value) for n, value in enumerate(values)]
    with pytest.raises(PairmineError) as found:
        split(rows, "train=.75,dev=.25", time="day")
    assert line in str(found.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train", '"train" is no NAME=SHARE'),
        ("a b=.5", '"a b=.5" is no NAME=SHARE'),
        ("../a=.5", '"../a=.5" is no NAME=SHARE'),
        ("train=.9,dev=.2", "the shares add up to 1.1"),
        ("a=.5,a=.5", '"a" stands there twice'),
        ("a=rest,b=rest", "one split alone can have the rest"),
        ("a=0", "leave a split without queries out"),
        ("a=1", "one query, or all of them? write 100%"),
        ("a=-.1", "a share is above 0 and up to 1"),
        ("a=nan", "a share is above 0 and up to 1"),
        ("a=half", "a share is above 0 and up to 1"),
        ("", '"" is no NAME=SHARE'),
    ],
)
def test_what_split_cannot_mean_is_told(text: str, line: str) -> None:
    with pytest.raises(PairmineError) as found:
        parse_parts(text)
    assert line in str(found.value)


def test_shares_counts_and_the_rest_come_out_as_asked() -> None:
    def counts(text: str, queries: int) -> list[int]:
        found: list[int] = wanted(parse_parts(text), queries).tolist()
        return found

    assert counts("train=.9,dev=.1", 225) == [202, 23]
    assert counts("train=80%,dev=10%", 225) == [180, 23]
    assert counts("dev=25,test=25,train=rest", 225) == [25, 25, 175]
    assert counts("dev=25,test=.1", 225) == [25, 23]
    assert counts("train=.9,dev=.1", 0) == [0, 0]
    with pytest.raises(PairmineError, match="there are 225 queries in all; ask for fewer"):
        counts("dev=226", 225)
    with pytest.raises(PairmineError, match=r"--split dev=0.1: none of 4 queries; ask for more"):
        counts("train=.9,dev=.1", 4)


def test_what_fits_is_taken_in_order() -> None:
    assert fitting(np.array([2, 5, 1, 3]), 6).tolist() == [True, False, True, True]
    assert fitting(np.array([4, 4, 4, 1]), 9).tolist() == [True, True, False, True]
    assert fitting(np.array([7]), 6).tolist() == [False]
    assert fitting(np.array([], np.int64), 6).tolist() == []


def test_a_component_larger_than_a_split_is_told_with_what_would_part_it() -> None:
    rows = [row(f"q{n}", "hub") for n in range(30)] + singles(30, "s")
    plan = plan_splits(pairs_of(rows), parse_parts("train=.8,dev=.2"), seed=0)
    assert str(plan.giant) == (
        "30 of 60 queries (50.0 %) hang together and go into one split, more than the 12 that dev is to have; the most "
        "would be 1 with --split-apart queries"
    )
    assert Counter(plan.placed.tolist()) == {0: 48, 1: 12}
    with pytest.raises(PairmineError, match='split "dev" stays empty, 6 queries wanted: 30 of 30 queries'):
        split(rows[:30], "train=.8,dev=.2")


def plan_of(table: pa.Table) -> SplitPlan:
    return plan_splits(table, parse_parts("train=.5,dev=.5"), seed=0)


def test_sets_that_lack_what_is_needed_are_told() -> None:
    with pytest.raises(PairmineError, match="every row has label 0, so no document would count as shared"):
        plan_of(pairs_of([row(f"q{n}", f"d{n}", 0) for n in range(4)]))
    with pytest.raises(PairmineError, match=r'no "document" .*pass --split-copies ids'):
        plan_of(pairs_of(singles(3)).drop_columns("document"))
    bare = pairs_of(singles(4)).drop_columns(["document", "query"])
    assert len(plan_splits(bare, parse_parts("a=.5,b=.5"), seed=0, ties=Ties(copies="ids")).placed) == 4
    assert len(plan_of(empty_pairs()).placed) == 0
