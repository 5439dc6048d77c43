"""`mine --fuse`: one list out of several equals what plain Python makes of them, and what each retriever brought."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.encoders import FakeEncoder
from pairmine.backends.retrievers import NOT_FOUND, Bm25Retriever, DenseRetriever
from pairmine.backends.specs import Spec
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.schema import as_pairs, empty_pairs, scale_of
from pairmine.stages.mine import Strategy, mine, mine_blocks
from pairmine.stages.mine.candidates import Candidates, last_fused_rank, last_ranks
from pairmine.stages.mine.fusion import UNION, Fusion
from pairmine.stages.mine.overlap import Sources

WIDTH = 1000
Ranked = list[list[int]]
"""The places that one retriever found for each query, best first."""


def hits_of(found: Ranked, depth: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.full((len(found), depth), NOT_FOUND, np.int64)
    for row, own in enumerate(found):
        places[row, : len(own)] = own
    return places, -np.arange(depth, dtype=np.float32)[None].repeat(len(found), axis=0)


def union_of(lists: Sequence[Ranked], first: int = 0, earlier: np.ndarray | None = None) -> Candidates:
    """The candidates of a block whose first query has the number `first`."""
    count = len(lists[0])
    depth = max([1, *(len(own) for found in lists for own in found)])
    if earlier is None:
        earlier = np.zeros((len(lists), count), np.int64)
    hits = [hits_of(found, depth) for found in lists]
    return Candidates.of(hits, np.arange(first, first + count), WIDTH, earlier)


def fused(fusion: Fusion, lists: Sequence[Ranked], depth: int, first: int = 0) -> Candidates:
    return fusion.fused(union_of(lists, first), depth, first, np.zeros(len(lists[0]), np.int64))


def places_of(found: Candidates, count: int, first: int = 0) -> Ranked:
    """The places of each query in the order of its rows, whose ranks are checked."""
    result: Ranked = []
    for number in range(first, first + count):
        own = found.query == number
        assert found.rank[own].tolist() == list(range(1, int(own.sum()) + 1))
        result.append(found.place[own].tolist())
    return result


def plain_rrf(lists: list[list[int]], k: int, weights: Sequence[float], keep: int) -> list[int]:
    """Reciprocal rank fusion of one query's lists, in exact fractions."""
    score: dict[int, Fraction] = {}
    best: dict[int, tuple[int, int]] = {}
    for number, (own, weight) in enumerate(zip(lists, weights, strict=True)):
        for rank, place in enumerate(own, start=1):
            score[place] = score.get(place, Fraction(0)) + Fraction(weight) / (k + rank)
            best[place] = min(best.get(place, (rank, number)), (rank, number))
    order = sorted(score, key=lambda place: (-np.float32(float(score[place])), *best[place], place))
    return order[:keep]


def plain_turns(lists: list[list[int]], keep: int) -> list[tuple[int, int]]:
    """Turn about: the place and who took it."""
    waiting = [list(own) for own in lists]
    taken: list[tuple[int, int]] = []
    while any(waiting) and len(taken) < keep:
        for number, own in enumerate(waiting):
            while own and own[0] in {place for place, _ in taken}:
                own.pop(0)
            if own and len(taken) < keep:
                taken.append((own.pop(0), number))
    return taken


ranked = st.lists(st.integers(0, 14), unique=True, max_size=10)
blocks = st.integers(2, 4).flatmap(
    lambda retrievers: st.integers(1, 4).flatmap(
        lambda queries: st.lists(
            st.lists(ranked, min_size=queries, max_size=queries), min_size=retrievers, max_size=retrievers
        )
    )
)


def by_query(lists: Sequence[Ranked]) -> list[list[list[int]]]:
    return [[found[query] for found in lists] for query in range(len(lists[0]))]


@settings(deadline=None, max_examples=200)
@given(lists=blocks, k=st.integers(0, 70), keep=st.integers(1, 12), first=st.integers(0, 3), data=st.data())
def test_reciprocal_ranks_order_candidates_as_plain_python_does(
    lists: list[Ranked], k: int, keep: int, first: int, data: st.DataObject
) -> None:
    drawn = st.none() | st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(lists), max_size=len(lists))
    weights = data.draw(drawn)
    fusion = Fusion("rrf", keep, k, None if weights is None else tuple(weights))
    found = fused(fusion, lists, 10, first)
    wanted = [plain_rrf(own, k, weights or [1.0] * len(lists), keep) for own in by_query(lists)]
    assert places_of(found, len(lists[0]), first) == wanted


@settings(deadline=None, max_examples=200)
@given(lists=blocks, keep=st.integers(1, 25), first=st.integers(0, 3))
def test_turns_are_taken_as_plain_python_takes_them(lists: list[Ranked], keep: int, first: int) -> None:
    found = fused(Fusion("round-robin", keep), lists, 10, first)
    wanted = [plain_turns(own, keep) for own in by_query(lists)]
    assert places_of(found, len(lists[0]), first) == [[place for place, _ in own] for own in wanted]
    assert found.source.tolist() == [source for own in wanted for _, source in own]


@settings(deadline=None, max_examples=100)
@given(lists=blocks)
def test_the_union_has_every_document_once_at_its_best_rank(lists: list[Ranked]) -> None:
    found = union_of(lists)
    rows = []
    for query, own in enumerate(by_query(lists)):
        best: dict[int, tuple[int, int]] = {}
        for number, places in enumerate(own):
            for rank, place in enumerate(places, start=1):
                best[place] = min(best.get(place, (rank, number)), (rank, number))
        for place in sorted(best, key=lambda place: best[place]):
            rows.append((query, place, best[place][1], best[place][0]))
    told = zip(found.query, found.place, found.source, found.rank, strict=True)
    assert [tuple(map(int, row)) for row in told] == rows
    assert UNION.fused(found, 10, 0, np.zeros(len(lists[0]), np.int64)) is found


def test_a_hand_worked_fusion_of_two_lists() -> None:
    # With k = 1: a 1/2, b 1/3 + 1/2, c 1/4 + 1/4, d 1/3. Of a and c, which tie, a has the better rank.
    a, b, c, d = range(4)
    found = fused(Fusion("rrf", None, 1), [[[a, b, c]], [[b, d, c]]], 4)
    assert found.place.tolist() == [b, a, c, d]
    assert found.rrf is not None
    assert found.rrf.tolist() == pytest.approx([5 / 6, 1 / 2, 1 / 2, 1 / 3])
    assert found.ranks.T.tolist() == [[2, 1], [1, 0], [3, 3], [0, 2]]
    assert found.source.tolist() == [1, 0, 0, 1]
    # Twice the weight for the second: b 1/3 + 1, c 1/4 + 1/2, d 2/3, a 1/2.
    assert fused(Fusion("rrf", None, 1, (1, 2)), [[[a, b, c]], [[b, d, c]]], 4).place.tolist() == [b, c, d, a]
    # In turns: a, b, then the first has c and the second d.
    assert fused(Fusion("round-robin"), [[[a, b, c]], [[b, d, c]]], 4).place.tolist() == [a, b, c, d]


def test_equal_sums_in_another_order_are_equal_and_the_first_retriever_wins() -> None:
    # Ranks 1, 2, 3 and 3, 1, 2: three shares whose sum in another order differs in its last bit for some k.
    for k in range(100):
        lists = [[[7, 8, 9]], [[8, 9, 7]], [[9, 7, 8]]]
        found = fused(Fusion("rrf", None, k), lists, 3)
        assert found.place.tolist() == [7, 8, 9]
        assert found.rrf is not None
        assert len(set(found.rrf.tolist())) == 1


def test_a_band_of_ranks_is_one_of_the_fused_list() -> None:
    lists: list[Ranked] = [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]
    found = fused(Fusion("round-robin", 6, ranks=(3, 5)), lists, 4)
    assert found.place.tolist() == [1, 5, 2]
    assert found.rank.tolist() == [3, 4, 5]


def test_an_empty_list_and_no_list_at_all_are_fused_too() -> None:
    for way in ("rrf", "round-robin"):
        assert fused(Fusion(way), [[[]], [[3, 2]]], 2).place.tolist() == [3, 2]
        none = fused(Fusion(way), [[[]], [[]]], 2)
        assert len(none) == 0
        assert (none.rrf is not None) == (way == "rrf")
        assert len(fused(Fusion(way), [[], []], 2)) == 0


def given_rows(*rows: dict[str, Any]) -> pa.Table:
    base = {"query_id": "q", "query": "q", "document": "t", "label": None, "origin": "given"}
    table = pa.Table.from_pylist([{**base, "doc_id": f"d{number}", **row} for number, row in enumerate(rows)])
    return as_pairs(table)


def test_a_later_run_goes_on_after_the_last_fused_rank_and_each_list_after_its_own() -> None:
    rows = given_rows(
        {"origin": "mine:bm25", "rank": 1, "rank_bm25": 1, "rank_dense": None},
        {"origin": "mine:fake", "rank": 2, "rank_bm25": 4, "rank_dense": 1},
        {"origin": "mine:fake", "rank": 3, "rank_bm25": None, "rank_dense": 2},
        {"origin": "mine:else", "rank": 9, "rank_bm25": None, "rank_dense": None},
    )
    retrievers = [fake(), bm25()]
    query = np.zeros(4, np.int64)
    assert last_ranks(rows, query, 1, retrievers).tolist() == [[2], [4]]
    assert last_fused_rank(rows, query, 1, retrievers).tolist() == [3]
    # Lists that go on weigh accordingly: a sum can be worked out from the ranks that stand beside it.
    union = union_of([[[10, 11]], [[12, 10]]], earlier=np.array([[2], [4]]))
    found = Fusion("rrf", 3).fused(union, 2, 0, np.array([3]))
    assert found.ranks.T.tolist() == [[3, 6], [4, 0], [0, 5]]
    assert found.rank.tolist() == [4, 5, 6]
    assert found.rrf is not None
    assert found.rrf.tolist() == pytest.approx([1 / 63 + 1 / 66, 1 / 64, 1 / 65])


@pytest.mark.parametrize(
    ("fusion", "retrievers", "line"),
    [
        (Fusion("sum"), 2, "--fuse sum: choose union, rrf, round-robin"),
        (Fusion("rrf"), 1, "--fuse rrf is for several --retriever, and there is 1"),
        (Fusion("union", 5), 2, "--keep cuts a fused list, and --fuse union makes none; choose rrf or round-robin"),
        (Fusion("rrf", 0), 2, "--keep 0: at least 1"),
        (Fusion("rrf", 21), 2, "--keep 21: 2 retrievers find 20 at most; raise --depth, which is 10"),
        (Fusion("rrf", None, -1), 2, "--rrf-k -1: 0 or more"),
        (Fusion("rrf", None, float("nan")), 2, "--rrf-k nan: 0 or more"),
        (Fusion("rrf", weights=(1.0,)), 2, "--fuse-weights: 1 numbers for 2 --retriever; give one each"),
        (
            Fusion("rrf", weights=(1.0, 0.0)),
            2,
            "--fuse-weights 0: above 0; leave out a --retriever that is not to count",
        ),
        (Fusion("round-robin", weights=(1.0, 2.0)), 2, "--fuse-weights is for --fuse rrf, and it is round-robin;"),
        (Fusion("rrf", 5, ranks=(3, 6)), 2, "--ranks 3:6 wants --keep 6 or more, and it is 5"),
    ],
)
def test_what_cannot_be_fused_so_is_an_error(fusion: Fusion, retrievers: int, line: str) -> None:
    with pytest.raises(PairmineError) as raised:
        fusion.check(10, retrievers, fusion.ranks)
    assert str(raised.value).startswith(line)


# --- what each retriever brought --------------------------------------------------------------------------


def fake() -> DenseRetriever:
    return DenseRetriever(Spec("fake", "", "fake"), FakeEncoder(), score="dense")


def bm25() -> Bm25Retriever:
    return Bm25Retriever(Spec("bm25", ""))


@settings(deadline=None, max_examples=100)
@given(lists=blocks, keep=st.integers(1, 10))
def test_overlap_and_yield_are_those_that_sets_give(lists: list[Ranked], keep: int) -> None:
    names = [f"r{number}" for number in range(len(lists))]
    sources = Sources(names, 10, recall=False)
    counts = np.zeros(len(lists[0]), np.int64)
    union = union_of(lists)
    kept = Fusion("round-robin", keep).fused(union, 10, 0, counts)
    sources.add(union, kept)
    pairs = [{(query, place) for query, own in enumerate(found) for place in own} for found in lists]
    facts = sources.facts()
    turns = [source for own in by_query(lists) for _, source in plain_turns(own, keep)]
    for number, name in enumerate(names):
        others = set().union(*(own for at, own in enumerate(pairs) if at != number))
        assert facts["sources"][name] == {
            "candidates": len(pairs[number]),
            "only_by_it": len(pairs[number] - others),
            "rows": turns.count(number),
        }
    for cell in facts["overlap"]:
        one, other = pairs[names.index(cell["of"])], pairs[names.index(cell["with"])]
        assert cell["both"] == len(one & other)
        assert cell["share"] == (round(len(one & other) / len(one), 4) if one else None)
        assert cell["jaccard"] == (round(len(one & other) / len(one | other), 4) if one | other else None)
    assert len(facts["overlap"]) == len(lists) * (len(lists) - 1)


def corpus_of(*texts: str) -> pa.Table:
    return pa.table({"id": [f"d{number}" for number in range(len(texts))], "text": pa.array(texts, pa.large_string())})


def positive_of(query: str, doc_id: str, document: str) -> dict[str, Any]:
    return {"query_id": f"q {query}", "query": query, "doc_id": doc_id, "document": document, "label": 1}


def mined(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["origin"].startswith("mine:")]


def many() -> tuple[pa.Table, pa.Table]:
    draw = np.random.default_rng(5)
    words = ["wing", "lift", "drag", "flow", "fin", "heat", "jet", "shock", "plate", "Grüße"]
    texts = list(dict.fromkeys(" ".join(draw.choice(words, draw.integers(2, 9))) for _ in range(150)))
    rows = [positive_of(f"{words[n]} {words[(n * 3 + 1) % 10]}", f"d{n}", texts[n]) for n in range(10)]
    return given_rows(*rows), corpus_of(*texts)


@pytest.mark.parametrize("way", ["rrf", "round-robin"])
def test_mining_fuses_the_lists_that_the_union_shows(way: str) -> None:
    pairs, corpus = many()
    union = mine(pairs, corpus, [bm25(), fake()], depth=12)
    outcome = mine(pairs, corpus, [bm25(), fake()], depth=12, fusion=Fusion(way, 9))
    for query in set(pairs["query_id"].to_pylist()):
        rows = [row for row in mined(union.kept) if row["query_id"] == query]
        lists: list[list[Any]] = []
        for name in ("rank_bm25", "rank_dense"):
            found = sorted((row for row in rows if row[name]), key=lambda row: row[name])
            lists.append([int(row["doc_id"][1:]) for row in found])
        wanted = plain_rrf(lists, 60, (1, 1), 9) if way == "rrf" else [place for place, _ in plain_turns(lists, 9)]
        own = [row for row in mined(outcome.kept) if row["query_id"] == query]
        assert [int(row["doc_id"][1:]) for row in own] == wanted
        assert [row["rank"] for row in own] == list(range(1, 10))
        before = {row["doc_id"]: row for row in rows}
        for row in own:
            for name in ("rank_bm25", "rank_dense", "score_bm25", "score_dense"):
                assert row[name] == before[row["doc_id"]][name]
            if way == "rrf":
                shares = [1 / (60 + row[name]) for name in ("rank_bm25", "rank_dense") if row[name]]
                assert row["score_rrf"] == pytest.approx(sum(shares), rel=1e-6)
    if way == "rrf":
        assert scale_of(outcome.kept.schema.field("score_rrf")) == "rrf"
        assert all(row["score_rrf"] is None for row in outcome.kept.to_pylist() if row["label"] == 1)
    else:
        assert "score_rrf" not in outcome.kept.column_names


@pytest.mark.parametrize("way", ["rrf", "round-robin"])
def test_fused_rows_are_the_same_whatever_the_block(way: str) -> None:
    pairs, corpus = many()
    whole, parts = (
        pa.concat_tables(
            outcome.kept
            for outcome in mine_blocks(pairs, corpus, [bm25(), fake()], depth=7, fusion=Fusion(way, 10), block=block)
        ).to_pylist()
        for block in (4096, 3)
    )
    assert whole == parts


def test_fusing_again_brings_others_with_ranks_that_go_on() -> None:
    pairs, corpus = many()
    once = mine(pairs, corpus, [bm25(), fake()], depth=5, fusion=Fusion("rrf")).kept
    twice = mine(once, corpus, [bm25(), fake()], depth=5, fusion=Fusion("rrf")).kept
    for query in set(pairs["query_id"].to_pylist()):
        rows = [row for row in mined(twice) if row["query_id"] == query]
        assert [row["rank"] for row in rows] == list(range(1, 11))
        assert len({row["doc_id"] for row in rows}) == 10
        assert all(row["score_rrf"] for row in rows)
        for name in ("rank_bm25", "rank_dense"):
            ranks = [row[name] for row in rows if row[name]]
            assert len(set(ranks)) == len(ranks)


def test_an_empty_pair_set_and_a_small_corpus_can_be_fused() -> None:
    nothing = mine(empty_pairs(), corpus_of("lift"), [fake(), bm25()], depth=5, fusion=Fusion("rrf"))
    assert nothing.kept.num_rows == 0
    assert "score_rrf" in nothing.kept.column_names
    pairs = given_rows(positive_of("wing", "p", "lift"))
    few = mine(
        pairs, corpus_of("wing", "wing tip", "fin"), [fake(), bm25()], depth=50, fusion=Fusion("round-robin", 90)
    )
    assert [row["rank"] for row in mined(few.kept)] == [1, 2]


def test_a_band_with_fusion_is_one_of_the_fused_ranks() -> None:
    pairs, corpus = many()
    ranks = Strategy(ranks=(3, 5))
    # Feedback is measured against a query's candidates, which a band makes fewer.
    every = mine(pairs, corpus, [bm25(), fake()], depth=8, fusion=Fusion("rrf"), feedback=False).kept
    band = mine(pairs, corpus, [bm25(), fake()], depth=8, fusion=Fusion("rrf"), strategy=ranks, feedback=False).kept
    assert mined(band) == [row for row in mined(every) if 3 <= row["rank"] <= 5]
    with pytest.raises(PairmineError, match="--ranks 3:5 wants --keep 5 or more, and it is 4"):
        mine(pairs, corpus, [bm25(), fake()], depth=8, fusion=Fusion("rrf", 4), strategy=Strategy(ranks=(3, 5)))


def test_the_ranks_of_known_positives_are_those_of_a_search_with_nothing_masked() -> None:
    pairs, corpus = many()
    sources = Sources(["bm25", "fake"], 20)
    mine(pairs, corpus, [bm25(), fake()], depth=20, sources=sources)
    # The same search without labels masks nothing but the query's own text, which is no document here.
    asked = pa.table({"query_id": pairs["query_id"], "query": pairs["query"]})
    dummy = as_pairs(
        asked.append_column("doc_id", pa.array(["x"] * 10))
        .append_column("document", pa.array(["no document at all"] * 10))
        .append_column("label", pa.array([1] * 10, pa.int8()))
        .append_column("origin", pa.array(["given"] * 10))
    )
    facts = sources.facts()["sources"]
    known = {(row["query_id"], row["doc_id"]) for row in pairs.to_pylist()}
    for retriever in (bm25(), fake()):
        ranks = []
        for row in mined(mine(dummy, corpus, [retriever], depth=150).kept):
            if (row["query_id"], row["doc_id"]) in known:
                ranks.append(row["rank"])
        ranks += [151] * (10 - len(ranks))  # not found at all, as BM25 finds nothing without a common word
        own = facts[retriever.name]
        assert own["positives"] == 10
        assert own["recall_at_10"] == sum(rank <= 10 for rank in ranks) / 10
        assert own["recall_at_20"] == sum(rank <= 20 for rank in ranks) / 10
        middle = sorted(ranks)[4]
        assert own["median_rank"] == (middle if middle <= 20 else None)
        assert 0 < own["recall_at_20"] <= 1


def test_people_read_a_table_of_what_each_retriever_brought() -> None:
    sources = Sources(["bm25", "dense"], 2)
    union = union_of([[[0, 1], [2]], [[1, 3], [2, 4]]])
    sources.add(union, union)
    assert sources.lines() == [
        "  retriever  candidates  only by it  rows",
        "  bm25                3       33.3%     2",
        "  dense               4       50.0%     3",
        "of the candidates of each row, those found by the column too",
        "  found by   bm25  dense",
        "  bm25          -  66.7%",
        "  dense     50.0%      -",
    ]
    alone = Sources(["bm25"], 2)
    one = union_of([[[0, 1], [2]]])
    alone.add(one, one)
    assert alone.lines() == []
    assert alone.facts() == {
        "sources": {
            "bm25": {
                "candidates": 3,
                "rows": 3,
                "positives": 0,
                "positives_found": 0,
                "recall_at_2": None,
                "median_rank": None,
            }
        }
    }


def test_the_command_fuses_reports_and_refuses_what_has_no_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, corpus = many()
    for name, table in (("pairs", pairs), ("corpus", corpus)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    base = ["mine", f"{tmp_path}/pairs.parquet", "--corpus", f"{tmp_path}/corpus.parquet", "--retriever", "bm25"]
    base += ["-o", f"{tmp_path}/out.parquet", "--summary", f"{tmp_path}/out.json", "--depth", "12", "--store", "none"]
    both = [*base, "--retriever", "fake:", "--fuse", "rrf"]
    app([*both, "--keep", "9", "--fuse-weights", "1,0.5"], standalone_mode=False)
    found = pq.read_table(tmp_path / "out.parquet")
    wanted = mine(pairs, corpus, ["bm25", "fake:"], depth=12, fusion=Fusion("rrf", 9, weights=(1, 0.5))).kept
    assert mined(found) == mined(wanted)
    told = json.loads((tmp_path / "out.json").read_text())
    assert sum(source["rows"] for source in told["sources"].values()) == 90
    assert "found by the column too" in capsys.readouterr().err
    for wrong, line in (
        ([*both, "--fuse-weights", "a,b"], "--fuse-weights a,b: write a number for each --retriever"),
        ([*base, "--fuse", "union"], "--fuse union is for several --retriever, and there is 1"),
        ([*base, "--retriever", "fake:", "--rrf-k", "3"], "--rrf-k has no effect without --fuse rrf"),
    ):
        with pytest.raises(PairmineError, match=line):
            app(wrong, standalone_mode=False)
